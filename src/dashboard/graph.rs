//! A network as a graph: nodes on circles, one for each partition; links that do not work, with their direction; and
//! working links in a small network.

use std::f64::consts::TAU;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::format;
use super::route::Links;
use crate::mesh::Snapshot;
use crate::mesh::id::NodeId;
use crate::mesh::verdict::Partition;
use crate::mesh::wire::observation::ProbeStatus;

/// The maximum size of a network that is drawn, in nodes.
const MAX_NODES: usize = 64;

/// The maximum size of a network whose working links are drawn, in nodes.
const MAX_NODES_WITH_WORKING_LINKS: usize = 32;

/// The maximum size of a network with horizontal labels, in nodes. Those of a larger one would overlap, so they are
/// radial.
const MAX_NODES_WITH_HORIZONTAL_LABELS: usize = 16;

/// The maximum length of a label, in characters.
const MAX_LABEL_CHARS: usize = 18;

/// The width for one circle.
const WIDTH: f64 = 520.0;

/// The height of the drawing.
const HEIGHT: f64 = 420.0;

/// The margin for labels left and right of a circle.
const MARGIN: f64 = 90.0;

/// The position of a node.
#[derive(Clone, Copy)]
struct Point {
    x: f64,
    y: f64,
    /// The direction from the centre of the circle, as a fraction of a turn, clockwise from the right.
    turn: f64,
}

/// Renders the section of a network's page, or nothing for a network that is too large or has one node.
pub(super) fn section(snapshot: &Snapshot, links: Links<'_>) -> Markup {
    let members = snapshot.membership().members();
    if members.len() > MAX_NODES || members.len() < 2 {
        return html! {};
    }
    let groups = groups(snapshot);
    let mut points = vec![Point { x: 0.0, y: 0.0, turn: 0.0 }; members.len()];
    for (position, group) in groups.iter().enumerate() {
        arrange(group, position, &mut points);
    }
    #[expect(clippy::cast_precision_loss, reason = "there are at most 64")]
    let width = WIDTH * groups.len() as f64;
    html! {
        section #graph aria-labelledby="graph-title" {
            h2 #graph-title { "Links" }
            p.legend {
                span.key { span.stroke.ok {} "works both ways" } " " span.key { span.stroke.cut {} "does not work, in the arrow's direction" }
                @if members.len() > MAX_NODES_WITH_WORKING_LINKS { " Only links that do not work are drawn." }
                @if groups.len() > 1 { " Each circle is a part of the network: no report passes between them." }
            }
            div.box {
                svg viewBox={ "0 0 " (width) " " (HEIGHT) } class={ "graph of-" (groups.len().min(4)) } role="group" aria-labelledby="graph-title" {
                    defs {
                        marker #tip viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse" {
                            path.tip d="M0 0 8 4 0 8z" {}
                        }
                    }
                    @if members.len() <= MAX_NODES_WITH_WORKING_LINKS { path.ok d=(working_links(snapshot, &points)) {} }
                    @for link in &snapshot.verdicts().links {
                        @let line = line_between(points[link.from], points[link.to]);
                        a href=(links.link(&members[link.from].id, &members[link.to].id)) {
                            title {
                                (members[link.from].id) @if link.both { " ↔ " } @else { " → " } (members[link.to].id) ": does not work"
                            }
                            path.cut d=(line) marker-end="url(#tip)" marker-start=[link.both.then_some("url(#tip)")] {}
                        }
                    }
                    @for (index, member) in members.iter().enumerate() { (node(snapshot, index, &member.id, points[index], links)) }
                }
            }
        }
    }
}

/// Returns the nodes by partition. Nodes of a site are neighbours.
fn groups(snapshot: &Snapshot) -> Vec<Vec<usize>> {
    let members = snapshot.membership().members();
    let partitions: &[Partition] = &snapshot.verdicts().partitions;
    let mut groups: Vec<Vec<usize>> = partitions.iter().map(|partition| partition.nodes.clone()).collect();
    let rest: Vec<usize> = (0..members.len())
        .filter(|index| !partitions.iter().any(|partition| partition.nodes.contains(index)))
        .collect();
    match groups.first_mut() {
        Some(first) => first.extend(rest),
        None => groups.push(rest),
    }
    for group in &mut groups {
        group.sort_by(|&a, &b| (&members[a].site, a).cmp(&(&members[b].site, b)));
    }
    groups
}

/// Puts the nodes of a group on the circle at this position, from the top, clockwise.
#[expect(clippy::cast_precision_loss, reason = "there are at most 64")]
fn arrange(group: &[usize], position: usize, points: &mut [Point]) {
    let (x, y) = (WIDTH * (position as f64 + 0.5), HEIGHT / 2.0);
    let (wide, high) = (WIDTH / 2.0 - MARGIN, HEIGHT / 2.0 - MARGIN / 2.0);
    let (wide, high) = if group.len() == 1 { (0.0, 0.0) } else { (wide, high) };
    for (position, &index) in group.iter().enumerate() {
        let turn = (position as f64 / group.len() as f64 + 0.75).fract();
        let (sin, cos) = (turn * TAU).sin_cos();
        points[index] = Point { x: x + wide * cos, y: y + high * sin, turn };
    }
}

/// Returns a line from the edge of one node to that of the other.
fn line_between(from: Point, to: Point) -> String {
    let (dx, dy) = (to.x - from.x, to.y - from.y);
    let length = dx.hypot(dy).max(1.0);
    let (ux, uy) = (dx / length * 11.0, dy / length * 11.0);
    format!("M{:.1} {:.1}L{:.1} {:.1}", from.x + ux, from.y + uy, to.x - ux, to.y - uy)
}

/// Returns the lines between nodes that find each other online. If only one of two observes the other, its observation
/// suffices.
fn working_links(snapshot: &Snapshot, points: &[Point]) -> String {
    let online = |from: usize, to: usize| {
        snapshot.verdicts().nodes[from].status.is_alive()
            && snapshot.states()[from]
                .observation(to)
                .is_some_and(|observation| observation.status == ProbeStatus::Online)
    };
    let mut path = String::new();
    for from in 0..points.len() {
        for to in from + 1..points.len() {
            let observes = |a, b| snapshot.membership().observes(a, b);
            let works =
                (!observes(from, to) || online(from, to)) && (!observes(to, from) || online(to, from));
            if works && (online(from, to) || online(to, from)) {
                let (a, b) = (points[from], points[to]);
                let _ = write!(path, "M{:.0} {:.0}L{:.0} {:.0}", a.x, a.y, b.x, b.y);
            }
        }
    }
    path
}

fn node(snapshot: &Snapshot, index: usize, id: &NodeId, point: Point, links: Links<'_>) -> Markup {
    let status = snapshot.verdicts().nodes[index].status;
    let is_radial = snapshot.membership().members().len() > MAX_NODES_WITH_HORIZONTAL_LABELS;
    let label = if is_radial { Label::radial(point) } else { Label::horizontal(point) };
    html! {
        a.node href=(links.node(id)) {
            title { (id) " is " (status) }
            circle class=(format::status_class(status)) cx={ (format!("{:.1}", point.x)) } cy={ (format!("{:.1}", point.y)) } r="9" {}
            text.symbol x={ (format!("{:.1}", point.x)) } y={ (format!("{:.1}", point.y + 4.0)) } text-anchor="middle" { (format::status_symbol(status)) }
            text.label x={ (format!("{:.1}", point.x + label.dx)) } y={ (format!("{:.1}", point.y + label.dy)) } text-anchor=(label.anchor) transform=[label.transform] { (shortened(id.as_str())) }
        }
    }
}

fn shortened(id: &str) -> String {
    if id.chars().count() <= MAX_LABEL_CHARS {
        return id.to_owned();
    }
    id.chars().take(MAX_LABEL_CHARS - 1).chain(['…']).collect()
}

/// The position of a label, relative to its node and outside the circle.
struct Label {
    dx: f64,
    dy: f64,
    anchor: &'static str,
    transform: Option<String>,
}

impl Label {
    fn horizontal(point: Point) -> Self {
        let (dx, dy, anchor) = match point.turn {
            0.2..0.3 => (0.0, 26.0, "middle"),
            0.7..0.8 => (0.0, -16.0, "middle"),
            0.3..0.7 => (-14.0, 4.0, "end"),
            _ => (14.0, 4.0, "start"),
        };
        Self { dx, dy, anchor, transform: None }
    }

    /// Returns the position of a label that points away from the centre and reads from left to right.
    fn radial(point: Point) -> Self {
        let (sin, cos) = (point.turn * TAU).sin_cos();
        let is_left = (0.25..0.75).contains(&point.turn);
        let degrees = point.turn * 360.0 - if is_left { 180.0 } else { 0.0 };
        let (dx, dy) = (14.0 * cos, 14.0 * sin);
        let transform =
            format!("rotate({degrees:.1} {:.1} {:.1}) translate(0 4)", point.x + dx, point.y + dy);
        Self { dx, dy, anchor: if is_left { "end" } else { "start" }, transform: Some(transform) }
    }
}
