//! The matrix of observers and targets: who sees whom, and how fast, by each node's own word. A table up to a size;
//! beyond it a drawing, for which a script fetches the cells.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::words;
use crate::mesh::Snapshot;
use crate::mesh::wire::observation::{Observation, ProbeStatus};

/// There is a table of up to so many rows and columns.
pub(super) const MOST_CELLS: usize = 64;

/// A table of more rows and columns is for those who hear it, and for where no script runs: others have a drawing,
/// which stays smooth.
const MOST_SHOWN: usize = 16;

/// Up to this many nodes there is room for the round-trip times to be read.
const ROOMY: usize = 12;

/// What is not online is listed up to this length where there is no table.
const MOST_LISTED: usize = 200;

/// Up to which round-trip time, in µs, a link is of which class: `a` to `e`, the last without bound.
const CLASSES: [(u32, char); 5] =
    [(1_000, 'a'), (10_000, 'b'), (50_000, 'c'), (200_000, 'd'), (u32::MAX, 'e')];

/// The class by which style and script know what a node found of another.
fn class(found: &Observation) -> char {
    match found.status {
        ProbeStatus::Online => {
            let us = found.rtt_us.unwrap_or(0);
            CLASSES.iter().find(|(most, _)| us <= *most).map_or('e', |(_, class)| *class)
        }
        ProbeStatus::Offline => 'x',
        ProbeStatus::Unknown => 'q',
    }
}

/// The section of a network's page.
pub(super) fn section(snapshot: &Snapshot, base: &str, now_ms: u64) -> Markup {
    let count = snapshot.membership().members().len();
    html! {
        section #matrix data-nodes=(count) aria-labelledby="matrix-title" {
            div.bar {
                h2 #matrix-title { "Who sees whom" }
                form.controls hidden {
                    (order("rows", "Rows"))
                    (order("columns", "Columns"))
                    @if count > MOST_SHOWN {
                        label { "Size " select #zoom {
                            option value="fit" { "whole" }
                            option value="6" { "small" }
                            option value="14" selected[count <= MOST_CELLS] { "middle" }
                            option value="28" { "large" }
                        } }
                    }
                }
            }
            (legend())
            @if count <= MOST_CELLS { (table(snapshot, base, now_ms)) }
            @if count > MOST_SHOWN { (drawing(base)) }
            @if count > MOST_CELLS { (listed(snapshot, base)) }
            div #pair aria-live="off" { p.faint { "Point at a cell, or move there by the arrow keys: both directions are told here." } }
        }
    }
}

fn order(id: &str, label: &str) -> Markup {
    html! {
        label { (label) " " select id=(id) {
            option value="name" { "by name" }
            option value="site" { "by site" }
            option value="worst" { "worst first" }
            option value="slowest" { "slowest first" }
        } }
    }
}

fn legend() -> Markup {
    html! {
        p.legend {
            "Each row is what one node found of the others. "
            @for (class, word) in [
                ("a", "up to 1 ms"), ("b", "10 ms"), ("c", "50 ms"), ("d", "200 ms"), ("e", "more"),
                ("x", "offline"), ("q", "unknown"), ("n", "not observed"), ("late", "its report is too old"),
            ] {
                span.key { span class={ "swatch " (class) } {} (word) } " "
            }
        }
    }
}

fn table(snapshot: &Snapshot, base: &str, now_ms: u64) -> Markup {
    let members = snapshot.membership().members();
    let roomy = members.len() <= ROOMY;
    html! {
        div.box.snug {
            table.matrix.roomy[roomy] data-base=(base) {
                caption.quiet { "What each node (row) found of each other (column): its round-trip time in ms, or that it is offline or unknown" }
                thead { tr {
                    td { "from ↓ to →" }
                    @for member in members { th scope="col" title=(member.id) { span { (member.id) } } }
                } }
                tbody {
                    @for index in 0..members.len() { (PreEscaped(row(snapshot, index, base, now_ms))) }
                }
            }
        }
    }
}

/// One row, closely written: a table of 64 nodes has 4,096 cells. Names have no character that needs to be escaped.
fn row(snapshot: &Snapshot, index: usize, base: &str, now_ms: u64) -> String {
    let id = &snapshot.membership().members()[index].id;
    let late = if snapshot.is_fresh(index, now_ms) { "" } else { " class=late" };
    let mut html = format!("<tr{late}><th scope=row title={id}><a href={base}/node/{id}>{id}</a>");
    for target in 0..snapshot.membership().members().len() {
        if target == index {
            html += "<td class=m>–";
            continue;
        }
        let _ = match snapshot.states()[index].observation(target) {
            None => write!(html, "<td class=n>·"),
            Some(found) => write!(html, "<td class={}>{}", class(found), text(found)),
        };
    }
    html
}

fn text(found: &Observation) -> String {
    match (found.status, found.rtt_us) {
        (ProbeStatus::Online, Some(us)) => words::milliseconds(us),
        (status, _) => status.as_str().to_owned(),
    }
}

/// What a script draws on.
fn drawing(base: &str) -> Markup {
    html! {
        div.box.field data-base=(base) hidden {
            canvas tabindex="0" role="img" aria-labelledby="matrix-title" aria-describedby="pair" {}
        }
    }
}

/// What is not as it should be, in words, where there is no table.
fn listed(snapshot: &Snapshot, base: &str) -> Markup {
    let members = snapshot.membership().members();
    let not_online = || {
        snapshot.states().iter().enumerate().flat_map(|(from, slot)| {
            let bad = slot.observations().filter(|(_, found)| found.status != ProbeStatus::Online);
            bad.map(move |(to, found)| (from, to, found.status))
        })
    };
    let more = not_online().count().saturating_sub(MOST_LISTED);
    html! {
        details.listed open {
            summary { "Pairs that are not online" }
            ul {
                @for (from, to, status) in not_online().take(MOST_LISTED) {
                    @let (from, to) = (&members[from].id, &members[to].id);
                    li { a href={ (base) "/link/" (from) "/" (to) } { (from) " → " (to) } " " (status) }
                }
                @if more > 0 { li { "and " (more) " more: each node's page has its own" } }
            }
        }
    }
}

/// A small matrix without words: cells that are alike side by side are one shape.
pub(super) fn small(snapshot: &Snapshot) -> Markup {
    let count = snapshot.membership().members().len();
    let (mut online, mut offline, mut unknown) = (Cells::default(), Cells::default(), Cells::default());
    for (from, slot) in snapshot.states().iter().enumerate() {
        for (to, found) in slot.observations() {
            match found.status {
                ProbeStatus::Online => online.add(to, from),
                ProbeStatus::Offline => offline.add(to, from),
                ProbeStatus::Unknown => unknown.add(to, from),
            }
        }
    }
    html! {
        svg.small viewBox={ "0 0 " (count) " " (count) } role="img" aria-label="Who sees whom, in small" {
            path.a d=(online.path()) {}
            path.q d=(unknown.path()) {}
            path.x d=(offline.path()) {}
        }
    }
}

/// Cells of one kind, row by row, as a path.
#[derive(Default)]
struct Cells {
    path: String,
    /// Column, row and length of the cells that are not in the path yet.
    run: Option<(usize, usize, usize)>,
}

impl Cells {
    fn add(&mut self, column: usize, row: usize) {
        if let Some((first, same, length)) = &mut self.run {
            if (*same, *first + *length) == (row, column) {
                *length += 1;
                return;
            }
        }
        self.flush();
        self.run = Some((column, row, 1));
    }

    fn flush(&mut self) {
        if let Some((column, row, length)) = self.run.take() {
            let _ = write!(self.path, "M{column} {row}h{length}v1h-{length}z");
        }
    }

    fn path(mut self) -> String {
        self.flush();
        self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_side_by_side_are_one_shape() {
        let mut cells = Cells::default();
        for (column, row) in [(1, 0), (2, 0), (4, 0), (0, 1), (1, 1)] {
            cells.add(column, row);
        }
        assert_eq!(cells.path(), "M1 0h2v1h-2zM4 0h1v1h-1zM0 1h2v1h-2z");
        assert_eq!(Cells::default().path(), "");
    }
}
