//! The matrix of observers and targets: status and round-trip time of each observation. A small network has a table; a
//! large one has a canvas, for which a script requests the cells.

use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use super::format;
use super::route::Links;
use crate::mesh::Snapshot;
use crate::mesh::wire::observation::{Observation, ProbeStatus};

/// The maximum size of a network with a table, in nodes.
const MAX_TABLE_NODES: usize = 64;

/// The maximum size of a network without a canvas, in nodes. In a larger one the table, which scrolls slowly, is only
/// for screen readers and for browsers without scripts.
const MAX_NODES_WITHOUT_CANVAS: usize = 16;

/// The maximum size of a network whose cells show round-trip times as text, in nodes.
const MAX_NODES_WITH_TEXT: usize = 12;

/// The maximum number of pairs in the list of those that are not online, which replaces a table.
const MAX_LISTED_PAIRS: usize = 200;

/// The classes of round-trip times, each with its upper bound in µs.
const RTT_CLASSES: [(u32, char); 5] =
    [(1_000, 'a'), (10_000, 'b'), (50_000, 'c'), (200_000, 'd'), (u32::MAX, 'e')];

/// Returns the class of a cell, for style and script.
fn class(observation: &Observation) -> char {
    match observation.status {
        ProbeStatus::Online => {
            let us = observation.rtt_us.unwrap_or(0);
            RTT_CLASSES.iter().find(|(max_us, _)| us <= *max_us).map_or('e', |(_, class)| *class)
        }
        ProbeStatus::Offline => 'x',
        ProbeStatus::Unknown => 'q',
    }
}

/// Renders the section of a network's page; `now_ms` is monotonic time.
pub(super) fn section(snapshot: &Snapshot, links: Links<'_>, now_ms: u64) -> Markup {
    let count = snapshot.membership().members().len();
    html! {
        section #matrix data-nodes=(count) aria-labelledby="matrix-title" {
            div.bar {
                h2 #matrix-title { "Observations" }
                form.controls hidden {
                    (order_select("rows", "Rows"))
                    (order_select("columns", "Columns"))
                    @if count > MAX_NODES_WITHOUT_CANVAS {
                        label { "Size " select #zoom {
                            option value="fit" { "whole" }
                            option value="6" { "small" }
                            option value="14" selected[count <= MAX_TABLE_NODES] { "medium" }
                            option value="28" { "large" }
                        } }
                    }
                }
            }
            (legend())
            @if count <= MAX_TABLE_NODES { (table(snapshot, links, now_ms)) }
            @if count > MAX_NODES_WITHOUT_CANVAS { (canvas(links)) }
            @if count > MAX_TABLE_NODES { (pair_list(snapshot, links)) }
            div #pair aria-live="off" { p.faint { "Point at a cell, or move there with the arrow keys, to see both directions of the pair." } }
        }
    }
}

fn order_select(id: &str, label: &str) -> Markup {
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
            "Each row shows what one node observes of the others. "
            @for (class, word) in [
                ("a", "up to 1 ms"), ("b", "10 ms"), ("c", "50 ms"), ("d", "200 ms"), ("e", "more"),
                ("x", "offline"), ("q", "unknown"), ("n", "not observed"), ("outdated", "its report is too old"),
            ] {
                span.key { span class={ "swatch " (class) } {} (word) } " "
            }
        }
    }
}

fn table(snapshot: &Snapshot, links: Links<'_>, now_ms: u64) -> Markup {
    let members = snapshot.membership().members();
    let has_text = members.len() <= MAX_NODES_WITH_TEXT;
    html! {
        div.box.snug {
            table.matrix.with-text[has_text] data-base=(links.network()) {
                caption.visually-hidden { "What each node (row) observes of each other (column): the round-trip time in ms, or offline or unknown" }
                thead { tr {
                    td { "from ↓ to →" }
                    @for member in members { th scope="col" title=(member.id) { span { (member.id) } } }
                } }
                tbody {
                    @for index in 0..members.len() { (PreEscaped(row(snapshot, index, links, now_ms))) }
                }
            }
        }
    }
}

/// Renders a row without optional tags and quotes: a table of 64 nodes has 4,096 cells. Ids need no escaping.
fn row(snapshot: &Snapshot, index: usize, links: Links<'_>, now_ms: u64) -> String {
    let id = &snapshot.membership().members()[index].id;
    let class_attribute = if snapshot.is_fresh(index, now_ms) { "" } else { " class=outdated" };
    let href = links.node(id);
    let mut html = format!("<tr{class_attribute}><th scope=row title={id}><a href={href}>{id}</a>");
    for target in 0..snapshot.membership().members().len() {
        if target == index {
            html += "<td class=m>–";
            continue;
        }
        let _ = match snapshot.states()[index].observation(target) {
            None => write!(html, "<td class=n>·"),
            Some(observation) => write!(html, "<td class={}>{}", class(observation), text(observation)),
        };
    }
    html
}

fn text(observation: &Observation) -> String {
    match (observation.status, observation.rtt_us) {
        (ProbeStatus::Online, Some(us)) => format::milliseconds(us),
        (status, _) => status.as_str().to_owned(),
    }
}

fn canvas(links: Links<'_>) -> Markup {
    html! {
        div.box.matrix-canvas data-base=(links.network()) hidden {
            canvas tabindex="0" role="img" aria-labelledby="matrix-title" aria-describedby="pair" {}
        }
    }
}

/// Renders the pairs that are not online as a list.
fn pair_list(snapshot: &Snapshot, links: Links<'_>) -> Markup {
    let members = snapshot.membership().members();
    let not_online = || {
        snapshot.states().iter().enumerate().flat_map(|(from, state)| {
            let observations = state.observations().map(move |(to, found)| (from, to, found.status));
            observations.filter(|(_, _, status)| *status != ProbeStatus::Online)
        })
    };
    let more = not_online().count().saturating_sub(MAX_LISTED_PAIRS);
    html! {
        details.pair-list open {
            summary { "Pairs that are not online" }
            ul {
                @for (from, to, status) in not_online().take(MAX_LISTED_PAIRS) {
                    @let (from, to) = (&members[from].id, &members[to].id);
                    li { a href=(links.link(from, to)) { (from) " → " (to) } " " (status) }
                }
                @if more > 0 { li { "and " (more) " more: see the pages of the nodes" } }
            }
        }
    }
}

/// Renders a small matrix without text. Adjacent cells of a row with the same status share a shape.
pub(super) fn small(snapshot: &Snapshot) -> Markup {
    let count = snapshot.membership().members().len();
    let (mut online, mut offline, mut unknown) =
        (CellPath::default(), CellPath::default(), CellPath::default());
    for (from, state) in snapshot.states().iter().enumerate() {
        for (to, observation) in state.observations() {
            match observation.status {
                ProbeStatus::Online => online.add(to, from),
                ProbeStatus::Offline => offline.add(to, from),
                ProbeStatus::Unknown => unknown.add(to, from),
            }
        }
    }
    html! {
        svg.small-matrix viewBox={ "0 0 " (count) " " (count) } role="img" aria-label="Observations" {
            path.a d=(online.path()) {}
            path.q d=(unknown.path()) {}
            path.x d=(offline.path()) {}
        }
    }
}

/// A path around cells with one status.
#[derive(Default)]
struct CellPath {
    path: String,
    /// Column, row and length of the run that is not in the path yet.
    run: Option<(usize, usize, usize)>,
}

impl CellPath {
    /// Adds a cell. Cells arrive row by row.
    fn add(&mut self, column: usize, row: usize) {
        if let Some((first_column, run_row, length)) = &mut self.run {
            if (*run_row, *first_column + *length) == (row, column) {
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
    fn neighbouring_cells_share_a_shape() {
        let mut cells = CellPath::default();
        for (column, row) in [(1, 0), (2, 0), (4, 0), (0, 1), (1, 1)] {
            cells.add(column, row);
        }
        assert_eq!(cells.path(), "M1 0h2v1h-2zM4 0h1v1h-1zM0 1h2v1h-2z");
        assert_eq!(CellPath::default().path(), "");
    }
}
