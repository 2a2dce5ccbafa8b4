//! The table of a network's nodes.

use maud::{Markup, html};

use super::{matrix, words};
use crate::mesh::observation::Status;
use crate::mesh::picture::Slot;
use crate::mesh::roster::Member;
use crate::mesh::verdict::Standing;
use crate::mesh::{Now, Picture};
use crate::server::view::{finding, status};

/// From which offset on a clock is marked, in ms.
const MARKED_OFFSET_MS: u64 = 1_000;

/// One row for each node.
pub(super) fn table(picture: &Picture, now: Now) -> Markup {
    html! {
        div.box tabindex="0" {
            table.list {
                thead { tr {
                    th scope="col" { "Node" }
                    th scope="col" { "Verdict" }
                    th scope="col" { "From here" }
                    th scope="col" { "Since" }
                    th.num scope="col" { "Round trip" }
                    th.num scope="col" { "Clock" }
                    th scope="col" { "Version" }
                    th.num scope="col" { "Report" }
                    th scope="col" { "Notes" }
                } }
                tbody {
                    @for (index, (member, slot)) in picture.members().enumerate() {
                        (row(picture, now, index, member, slot))
                    }
                }
            }
        }
    }
}

fn row(picture: &Picture, now: Now, index: usize, member: &Member, slot: &Slot) -> Markup {
    let is_me = index == picture.roster().me();
    let found = finding(picture, index).filter(|_| !is_me);
    let status = status(picture, index);
    let report = slot.held.as_ref().map(|held| held.report());
    let error = found.and_then(|found| found.error).filter(|_| status != Status::Online);
    html! {
        tr {
            th scope="row" title=[member.url.as_deref()] { (member.id) }
            td {
                @if let Some(verdict) = picture.verdicts().nodes.get(index) {
                    span class={ "state " (class(verdict.standing)) } title=(verdict.rule.as_str()) { (verdict.standing) }
                    @for cause in &verdict.causes { " " small { (cause.as_str()) } }
                }
            }
            td {
                span class={ "state " (matrix::class(status)) } { (status) }
                @if is_me { " " small { "this node" } }
                @if let Some(error) = error { " " small { (error.meaning()) } }
            }
            td {
                @if let Some(found) = found {
                    span title=(words::exact(found.since_ms)) { (words::since(found.since_ms, now.wall_ms)) }
                }
            }
            td.num { @if let Some(us) = found.and_then(|found| found.rtt_us) { (words::milliseconds(us)) " ms" } }
            td.num {
                @if let Some((found, ms)) = found.and_then(|found| found.clock_offset_ms.map(|ms| (found, ms))) {
                    span.marked[ms.unsigned_abs() >= MARKED_OFFSET_MS]
                        title={ "exact to ± " (words::milliseconds(found.rtt_us.unwrap_or(0) / 2)) " ms" } {
                        (words::offset(ms))
                    }
                }
            }
            td { @if let Some(report) = report { (report.version) } }
            td.num {
                @if let Some(report) = report {
                    span title={ "number " (report.seq) " since its start" } {
                        (words::duration(now.mono_ms.saturating_sub(slot.origin_ms))) " ago"
                    }
                }
            }
            td { (notes(picture, now, index, member, slot)) }
        }
    }
}

/// The look of a verdict.
fn class(standing: Standing) -> &'static str {
    match standing {
        Standing::Up => "on",
        Standing::Down | Standing::Degraded | Standing::Conflict => "off",
        Standing::Stopped | Standing::Unknown | Standing::NeverSeen => "un",
    }
}

/// What is out of the ordinary.
fn notes(picture: &Picture, now: Now, index: usize, member: &Member, slot: &Slot) -> Markup {
    let roster = picture.roster();
    let report = slot.held.as_ref().map(|held| held.report());
    let mut notes: Vec<(&str, &str, &str)> = Vec::new();
    if slot.proof.is_some() {
        notes.push(("bad", "conflict", "It signed two different reports with one number: a cloned machine, a restored snapshot or a stolen key. Both are kept as proof."));
    }
    if member.keys.is_empty() {
        notes.push(("", "no key", "The configuration has no public key for it, so it takes no part yet."));
    }
    match report {
        None if member.keys.is_empty() => {}
        None => {
            notes.push((
                "",
                "no report yet",
                "Nothing that it signed has come here since this node started.",
            ));
        }
        Some(report) => {
            if report.leaving {
                notes.push(("", "stopped", "It was stopped on purpose: this is its last report."));
            } else if !picture.is_fresh(index, now.mono_ms) {
                notes.push(("bad", "silent", "Its reports do not advance."));
            }
            if report.isolated {
                notes.push((
                    "bad",
                    "in doubt",
                    "It sees more than half of the others offline, and doubts itself.",
                ));
            }
            if report.config != roster.digest() {
                notes.push((
                    "bad",
                    "other configuration",
                    "Its config.yml names other nodes or keys than this node's.",
                ));
            }
        }
    }
    html! {
        @for (class, word, meaning) in notes { span class={ "note " (class) } title=(meaning) { (word) } " " }
    }
}
