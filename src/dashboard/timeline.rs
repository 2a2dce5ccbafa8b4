//! Verdicts over time: a row of bars for each node, and a list of changes.

use std::collections::HashMap;
use std::sync::Arc;

use maud::{Markup, html};

use super::format;
use super::route::Links;
use crate::mesh::Snapshot;
use crate::mesh::id::NodeId;
use crate::mesh::verdict::NodeStatus;
use crate::mesh::verdict::history::VerdictRecord;
use crate::present::causes::cause_clause;
use crate::present::summary::severity;

/// The maximum number of drawn rows.
const MAX_ROWS: usize = 12;

/// The maximum number of listed changes.
const MAX_CHANGES: usize = 30;

/// The maximum number of statuses in the text of a row.
const MAX_ROW_STATUSES: usize = 4;

/// The possible time spans of the drawing, in ms. It uses the shortest one that contains all records, or the longest.
const SPANS_MS: [(u64, &str); 5] = [
    (600_000, "10 min"),
    (3_600_000, "1 h"),
    (21_600_000, "6 h"),
    (86_400_000, "24 h"),
    (604_800_000, "7 d"),
];

/// The step to which the end of the drawing is rounded up, in ms, so that the region does not change every second.
const STEP_MS: u64 = 10_000;

/// The width of a row, in the units of the drawing.
const WIDTH: u64 = 1_000;

/// Renders the section of a page: the changes of one node, or of all. `now_ms` is Unix time in ms.
pub(super) fn section(snapshot: &Snapshot, node: Option<&NodeId>, links: Links<'_>, now_ms: u64) -> Markup {
    let mut changes = snapshot.history().of_node(node.map(NodeId::as_str));
    let listed: Vec<_> = changes.by_ref().take(MAX_CHANGES).collect();
    let more = changes.count();
    html! {
        section #changes aria-labelledby="changes-title" {
            h2 #changes-title { "What has changed" }
            @if listed.is_empty() {
                p.faint { "Nothing yet." }
            } @else {
                (drawing(snapshot, node, now_ms / STEP_MS * STEP_MS + STEP_MS))
                (list(&listed, links))
                @if more > 0 { p.faint { (more) " older changes: see " code { "GET /changes/" (snapshot.membership().network_id()) } "." } }
                p.faint { "In memory since this node started." }
            }
        }
    }
}

/// Renders a list of changes.
pub(super) fn list(changes: &[&Arc<VerdictRecord>], links: Links<'_>) -> Markup {
    html! {
        ol.changes {
            @for change in changes { (list_item(change, links)) }
        }
    }
}

fn list_item(change: &VerdictRecord, links: Links<'_>) -> Markup {
    let id = &change.member().id;
    let votes = &change.verdict.vote_count;
    html! {
        li {
            (format::time(change.at_ms)) " "
            a.name href=(links.explanation(id, Some(change.at_ms))) { (id) } " "
            @if let Some(from) = change.from { span.previous-status { (from) " → " } }
            (format::node_status(change.verdict.status))
            (cause_clause(&change.verdict.causes))
            @if votes.offline > 0 { "; " (votes.offline) " of " (votes.electorate) " observers do not reach it" }
        }
    }
}

/// The time span of the drawing, as Unix time in ms.
#[derive(Clone, Copy)]
struct Span {
    begin_ms: u64,
    end_ms: u64,
    label: &'static str,
}

impl Span {
    /// Returns the shortest span before `end_ms` that holds `oldest_ms`, or the longest one.
    fn holding(oldest_ms: u64, end_ms: u64) -> Self {
        let longest = SPANS_MS[SPANS_MS.len() - 1];
        let needed_ms = end_ms.saturating_sub(oldest_ms);
        let (span_ms, label) = SPANS_MS.into_iter().find(|(ms, _)| needed_ms <= *ms).unwrap_or(longest);
        Self { begin_ms: end_ms.saturating_sub(span_ms), end_ms, label }
    }

    /// Returns the position of a time in a row.
    fn x(self, ms: u64) -> u64 {
        let since_begin_ms = ms.clamp(self.begin_ms, self.end_ms).saturating_sub(self.begin_ms);
        since_begin_ms * WIDTH / (self.end_ms - self.begin_ms).max(1)
    }
}

struct Row<'a> {
    id: &'a NodeId,
    severity: u8,
    changes: usize,
}

/// Renders the rows of the nodes with the worst status and the most changes.
fn drawing(snapshot: &Snapshot, node: Option<&NodeId>, end_ms: u64) -> Markup {
    let records = || snapshot.history().of_node(node.map(NodeId::as_str));
    let Some(oldest) = records().last() else { return html! {} };
    let span = Span::holding(oldest.at_ms, end_ms);
    let mut changes: HashMap<&NodeId, usize> = HashMap::new();
    for record in records() {
        *changes.entry(&record.member().id).or_default() += 1;
    }
    let members = snapshot.membership().members().iter().zip(&snapshot.verdicts().nodes);
    let mut rows: Vec<Row<'_>> = members
        .filter(|(member, _)| node.is_none_or(|node| member.id == *node))
        .map(|(member, verdict)| Row {
            id: &member.id,
            severity: severity(verdict.status),
            changes: changes.get(&member.id).copied().unwrap_or(0),
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.severity, row.changes)));
    let omitted = rows.len().saturating_sub(MAX_ROWS);
    rows.truncate(MAX_ROWS);
    html! {
        div.timeline {
            @for row in &rows {
                span.timeline-label title=(row.id) { (row.id) }
                (bars(snapshot, row.id, span))
            }
            span.timeline-label {}
            span.axis { span { (span.label) " ago" } span { "now" } }
        }
        @if omitted > 0 { p.faint { (omitted) " nodes with fewer changes are not drawn." } }
    }
}

struct Bar {
    x: u64,
    width: u64,
    status: NodeStatus,
}

impl Bar {
    /// Returns the top and the height. A node that is up has a thin bar.
    fn vertical(&self) -> (u64, u64) {
        if self.status == NodeStatus::Up { (8, 4) } else { (2, 16) }
    }
}

fn bars(snapshot: &Snapshot, id: &NodeId, span: Span) -> Markup {
    let mut until_ms = span.end_ms;
    let mut bars = Vec::new();
    for record in snapshot.history().of_node(Some(id.as_str())) {
        let x = span.x(record.at_ms);
        let width = span.x(until_ms).saturating_sub(x);
        bars.push(Bar { x, width, status: record.verdict.status });
        if record.at_ms <= span.begin_ms {
            break;
        }
        until_ms = record.at_ms.min(until_ms);
    }
    let newest: Vec<_> = bars.iter().take(MAX_ROW_STATUSES).map(|bar| bar.status.as_str()).collect();
    html! {
        svg.timeline-row viewBox={ "0 0 " (WIDTH) " 20" } preserveAspectRatio="none" role="img" aria-label={ (id) ", newest first: " (newest.join(", ")) } {
            @for bar in bars.iter().rev() {
                @let (y, height) = bar.vertical();
                rect class=(format::status_class(bar.status)) x=(bar.x) y=(y) width=(bar.width.max(2)) height=(height) {
                    title { (id) " " (bar.status) }
                }
            }
        }
    }
}
