//! The network as a drawing: nodes on circles, one for each side where it has fallen apart; links that do not
//! work, with the direction; and those that do, while there are few.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::{matrix::MOST_CELLS, words};
use crate::mesh::Snapshot;
use crate::mesh::verdict::Partition;
use crate::mesh::wire::observation::ProbeStatus;

/// Up to so many nodes, links that work are drawn, too.
const MOST_LINKED: usize = 32;

/// Names of more nodes than this go outwards like rays, or they would cover each other.
const MOST_UPRIGHT: usize = 16;

/// The width of one circle's room, the height of all, and the distance that names keep from the edge.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 90.0;

/// Where a node stands.
#[derive(Clone, Copy)]
struct Spot {
    x: f64,
    y: f64,
    /// The direction from its circle's centre, as a part of a whole turn from the right, clockwise.
    turn: f64,
}

/// The section of a network's page; nothing for a network that is too large to be drawn so, or of one node.
pub(super) fn section(snapshot: &Snapshot, base: &str) -> Markup {
    let members = snapshot.membership().members();
    if members.len() > MOST_CELLS || members.len() < 2 {
        return html! {};
    }
    let groups = groups(snapshot);
    let mut spots = vec![Spot { x: 0.0, y: 0.0, turn: 0.0 }; members.len()];
    for (place, group) in groups.iter().enumerate() {
        arrange(group, place, &mut spots);
    }
    #[expect(clippy::cast_precision_loss, reason = "there are at most 64")]
    let width = WIDTH * groups.len() as f64;
    html! {
        section #graph aria-labelledby="graph-title" {
            h2 #graph-title { "Links" }
            p.legend {
                span.key { span.stroke.ok {} "works both ways" } " " span.key { span.stroke.cut {} "does not work, in the arrow's direction" }
                @if members.len() > MOST_LINKED { " Only links that do not work are drawn." }
                @if groups.len() > 1 { " Each circle is a side of the network: between them no report passes." }
            }
            div.box {
                svg viewBox={ "0 0 " (width) " " (HEIGHT) } class={ "graph of-" (groups.len().min(4)) } role="group" aria-labelledby="graph-title" {
                    defs {
                        marker #tip viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse" {
                            path.tip d="M0 0 8 4 0 8z" {}
                        }
                    }
                    @if members.len() <= MOST_LINKED { path.ok d=(working(snapshot, &spots)) {} }
                    @for link in &snapshot.verdicts().links {
                        @let line = between(spots[link.from], spots[link.to]);
                        a href={ (base) "/link/" (members[link.from].id) "/" (members[link.to].id) } {
                            title {
                                (members[link.from].id) @if link.both { " ↔ " } @else { " → " } (members[link.to].id) ": does not work"
                            }
                            path.cut d=(line) marker-end="url(#tip)" marker-start=[link.both.then_some("url(#tip)")] {}
                        }
                    }
                    @for (index, member) in members.iter().enumerate() { (node(snapshot, index, member.id.as_str(), spots[index], base)) }
                }
            }
        }
    }
}

/// The nodes, side by side where the network has fallen apart; those of a site stand together.
fn groups(snapshot: &Snapshot) -> Vec<Vec<usize>> {
    let members = snapshot.membership().members();
    let sides: &[Partition] = &snapshot.verdicts().partitions;
    let mut groups: Vec<Vec<usize>> = sides.iter().map(|side| side.nodes.clone()).collect();
    let rest: Vec<usize> =
        (0..members.len()).filter(|index| !sides.iter().any(|side| side.nodes.contains(index))).collect();
    match groups.first_mut() {
        Some(first) => first.extend(rest),
        None => groups.push(rest),
    }
    for group in &mut groups {
        group.sort_by(|&a, &b| (&members[a].site, a).cmp(&(&members[b].site, b)));
    }
    groups
}

#[expect(clippy::cast_precision_loss, reason = "there are at most 64")]
fn arrange(group: &[usize], place: usize, spots: &mut [Spot]) {
    let (x, y) = (WIDTH * (place as f64 + 0.5), HEIGHT / 2.0);
    let (wide, high) = (WIDTH / 2.0 - MARGIN, HEIGHT / 2.0 - MARGIN / 2.0);
    let (wide, high) = if group.len() == 1 { (0.0, 0.0) } else { (wide, high) };
    for (position, &index) in group.iter().enumerate() {
        // From the top, clockwise.
        let turn = (position as f64 / group.len() as f64 + 0.75).fract();
        let (sin, cos) = (turn * TAU).sin_cos();
        spots[index] = Spot { x: x + wide * cos, y: y + high * sin, turn };
    }
}

/// A line from one node's edge to the other's.
fn between(from: Spot, to: Spot) -> String {
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let length = dx.hypot(dy).max(1.0);
    let (ux, uy) = (dx / length * 11.0, dy / length * 11.0);
    format!("M{:.1} {:.1}L{:.1} {:.1}", from.x + ux, from.y + uy, to.x - ux, to.y - uy)
}

/// The lines between nodes that find each other online; or one the other, where that one is not probed.
fn working(snapshot: &Snapshot, spots: &[Spot]) -> String {
    let online = |from: usize, to: usize| {
        snapshot.verdicts().nodes[from].status.is_alive()
            && snapshot.states()[from]
                .observation(to)
                .is_some_and(|found| found.status == ProbeStatus::Online)
    };
    let mut path = String::new();
    for from in 0..spots.len() {
        for to in from + 1..spots.len() {
            let known = |a, b| snapshot.membership().observes(a, b);
            let works = (!known(from, to) || online(from, to)) && (!known(to, from) || online(to, from));
            if works && (online(from, to) || online(to, from)) {
                let (a, b) = (spots[from], spots[to]);
                let _ = write!(path, "M{:.0} {:.0}L{:.0} {:.0}", a.x, a.y, b.x, b.y);
            }
        }
    }
    path
}

fn node(snapshot: &Snapshot, index: usize, id: &str, spot: Spot, base: &str) -> Markup {
    let standing = snapshot.verdicts().nodes[index].status;
    let class = words::class(standing);
    // Names stand outside of the circle.
    let (dx, anchor) = match spot.turn {
        0.2..0.3 | 0.7..0.8 => (0.0, "middle"),
        0.3..0.7 => (-14.0, "end"),
        _ => (14.0, "start"),
    };
    let dy = match spot.turn {
        0.2..0.3 => 26.0,
        0.7..0.8 => -16.0,
        _ => 4.0,
    };
    let is_ray = snapshot.membership().members().len() > MOST_UPRIGHT;
    let (dx, dy, anchor, turn) = if is_ray { ray(spot) } else { (dx, dy, anchor, None) };
    let short: String =
        if id.chars().count() > 18 { id.chars().take(17).chain(['…']).collect() } else { id.to_owned() };
    html! {
        a.node href={ (base) "/node/" (id) } {
            title { (id) " is " (standing) }
            circle class=(class) cx={ (format!("{:.1}", spot.x)) } cy={ (format!("{:.1}", spot.y)) } r="9" {}
            text.sign x={ (format!("{:.1}", spot.x)) } y={ (format!("{:.1}", spot.y + 4.0)) } text-anchor="middle" { (words::symbol(standing)) }
            text.label x={ (format!("{:.1}", spot.x + dx)) } y={ (format!("{:.1}", spot.y + dy)) } text-anchor=(anchor) transform=[turn] { (short) }
        }
    }
}

/// Where a name stands that goes outwards, readable from left to right, and how it is turned.
fn ray(spot: Spot) -> (f64, f64, &'static str, Option<String>) {
    let (sin, cos) = (spot.turn * TAU).sin_cos();
    let is_left = (0.25..0.75).contains(&spot.turn);
    let degrees = spot.turn * 360.0 - if is_left { 180.0 } else { 0.0 };
    let (dx, dy) = (14.0 * cos, 14.0 * sin);
    let turn = format!("rotate({degrees:.1} {:.1} {:.1}) translate(0 4)", spot.x + dx, spot.y + dy);
    (dx, dy, if is_left { "end" } else { "start" }, Some(turn))
}
