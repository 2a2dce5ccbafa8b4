//! What has changed: verdicts over time, as lanes and as a list.

use std::collections::HashMap;

use maud::{Markup, html};

use super::words;
use crate::mesh::Snapshot;
use crate::mesh::verdict::history::VerdictRecord;
use crate::present::summary::severity;

/// So many lanes are drawn at most.
const LANES: usize = 12;

/// So many changes are listed.
const LISTED: usize = 30;

/// The time that is drawn, in ms: the shortest of these that holds all that is kept, or the last.
const SPANS_MS: [(u64, &str); 5] = [
    (600_000, "10 min"),
    (3_600_000, "1 h"),
    (21_600_000, "6 h"),
    (86_400_000, "24 h"),
    (604_800_000, "7 d"),
];

/// The drawing goes on in such steps, in ms: a page that is looked at need not change with every second.
const STEP_MS: u64 = 10_000;

/// The width of a lane, in the drawing's own units.
const WIDTH: u64 = 1_000;

/// The section of a page: of one node, or of all.
pub(super) fn section(snapshot: &Snapshot, node: Option<&str>, base: &str, now_ms: u64) -> Markup {
    let mut changes = snapshot.history().of_node(node);
    let listed: Vec<_> = changes.by_ref().take(LISTED).collect();
    let more = changes.count();
    html! {
        section #changes aria-labelledby="changes-title" {
            h2 #changes-title { "What has changed" }
            @if listed.is_empty() {
                p.faint { "Nothing yet." }
            } @else {
                (lanes(snapshot, node, now_ms / STEP_MS * STEP_MS + STEP_MS))
                (list(&listed, base))
                @if more > 0 { p.faint { (more) " older changes: " code { "GET /changes/" (snapshot.membership().network_id()) } " has them." } }
                p.faint { "Kept in memory since this node was started." }
            }
        }
    }
}

/// The newest changes, newest first.
pub(super) fn list(changes: &[&std::sync::Arc<VerdictRecord>], base: &str) -> Markup {
    html! {
        ol.changes {
            @for decision in changes { (entry(decision, base)) }
        }
    }
}

fn entry(decision: &VerdictRecord, base: &str) -> Markup {
    let id = &decision.member().id;
    let ballot = &decision.verdict.vote_count;
    let causes: Vec<_> = decision.verdict.causes.iter().map(|cause| cause.as_str()).collect();
    html! {
        li {
            (words::clock(decision.at_ms)) " "
            a.name href={ (base) "/node/" (id) "?at=" (decision.at_ms) "#why" } { (id) } " "
            @if let Some(from) = decision.from { span.was { (from) " → " } }
            (words::standing(decision.verdict.status))
            @if !causes.is_empty() { ", cause: " (causes.join(" or ")) }
            @if ballot.offline > 0 { "; " (ballot.offline) " of " (ballot.electorate) " observers do not reach it" }
        }
    }
}

/// One lane for each node of which there is something to see.
fn lanes(snapshot: &Snapshot, node: Option<&str>, now_ms: u64) -> Markup {
    let Some(oldest) = snapshot.history().of_node(node).last() else { return html! {} };
    let kept_ms = now_ms.saturating_sub(oldest.at_ms);
    let longest = SPANS_MS[SPANS_MS.len() - 1];
    let (span_ms, span) = SPANS_MS.into_iter().find(|(ms, _)| kept_ms <= *ms).unwrap_or(longest);
    let begin_ms = now_ms.saturating_sub(span_ms);
    let mut changes: HashMap<&str, usize> = HashMap::new();
    for decision in snapshot.history().of_node(node) {
        *changes.entry(decision.member().id.as_str()).or_default() += 1;
    }
    let mut shown: Vec<Lane<'_>> = snapshot
        .membership()
        .members()
        .iter()
        .zip(&snapshot.verdicts().nodes)
        .filter(|(member, _)| node.is_none_or(|node| member.id.as_str() == node))
        .map(|(member, verdict)| {
            let id = member.id.as_str();
            Lane { id, changes: changes.get(id).copied().unwrap_or(0), severity: severity(verdict.status) }
        })
        .collect();
    shown.sort_by_key(|lane| std::cmp::Reverse((lane.severity, lane.changes)));
    let left = shown.len().saturating_sub(LANES);
    shown.truncate(LANES);
    html! {
        div.lanes {
            @for lane in &shown {
                span.lane-name title=(lane.id) { (lane.id) }
                (drawn(snapshot, lane.id, begin_ms, now_ms))
            }
            span.lane-name {}
            span.axis { span { (span) " ago" } span { "now" } }
        }
        @if left > 0 { p.faint { "Lanes of " (left) " more nodes, with fewer changes, are left out." } }
    }
}

struct Lane<'a> {
    id: &'a str,
    changes: usize,
    severity: u8,
}

fn drawn(snapshot: &Snapshot, id: &str, begin_ms: u64, now_ms: u64) -> Markup {
    let at =
        |ms: u64| ms.clamp(begin_ms, now_ms).saturating_sub(begin_ms) * WIDTH / (now_ms - begin_ms).max(1);
    let mut until_ms = now_ms;
    let mut bars = Vec::new();
    let mut told = Vec::new();
    for decision in snapshot.history().of_node(Some(id)) {
        let (from, to) = (at(decision.at_ms), at(until_ms));
        bars.push((from, to.saturating_sub(from), decision.verdict.status));
        if told.len() < 4 {
            told.push(decision.verdict.status.as_str());
        }
        if decision.at_ms <= begin_ms {
            break;
        }
        until_ms = decision.at_ms.min(until_ms);
    }
    html! {
        svg.lane viewBox={ "0 0 " (WIDTH) " 20" } preserveAspectRatio="none" role="img" aria-label={ (id) ", newest first: " (told.join(", ")) } {
            @for (x, width, standing) in bars.iter().rev() {
                rect class=(words::class(*standing)) x=(x) y=(if *standing == crate::mesh::verdict::NodeStatus::Up { 8 } else { 2 })
                    width=(width.max(&2)) height=(if *standing == crate::mesh::verdict::NodeStatus::Up { 4 } else { 16 }) {
                    title { (id) " " (standing) }
                }
            }
        }
    }
}
