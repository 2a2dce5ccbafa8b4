//! Why a verdict is what it is, step by step: the same as `distomon explain` says.

use maud::{Markup, html};

use super::words;
use crate::mesh::Snapshot;
use crate::mesh::verdict::Vote;
use crate::mesh::verdict::history::LookupError;
use crate::mesh::wire::observation::ProbeStatus;
use crate::present::verdict_view::VerdictView;

/// So many votes are listed; those that do not say online first.
const MOST_VOTES: usize = 200;

/// The section of a node's page: the verdict of now, or with `at_ms` (Unix time in ms) the one that stood then.
pub(super) fn section(snapshot: &Snapshot, index: usize, base: &str, at_ms: Option<u64>) -> Markup {
    let id = snapshot.membership().members()[index].id.as_str();
    let path = format!("{base}/node/{id}#why");
    let body = match at_ms.map(|ms| (ms, snapshot.history().at(id, ms))) {
        None => html! { @if let Some(found) = VerdictView::current(snapshot).nth(index) { (steps(&found)) } },
        Some((ms, Ok((decision, until_ms)))) => html! {
            p {
                "As it stood at " (words::clock(ms)) ": reached at " (words::clock(decision.at_ms))
                @if let Some(until_ms) = until_ms { ", until " (words::clock(until_ms)) } @else { ", and stands still" }
                ". " a href=(path) { "As it is now" }
            }
            (steps(&VerdictView::from(&**decision)))
        },
        Some((ms, Err(unknown))) => html! {
            p {
                "Nothing is kept of " (words::clock(ms)) ": "
                @match unknown {
                    LookupError::KeptSince(first_ms) => { "what is kept of it begins at " (words::clock(first_ms)) }
                    LookupError::NothingKept => "nothing is kept of it",
                }
                ". " a href=(path) { "As it is now" }
            }
        },
    };
    html! {
        section #why aria-labelledby="why-title" {
            h2 #why-title { "Why this verdict" }
            (body)
        }
    }
}

fn steps(found: &VerdictView<'_>) -> Markup {
    let ballot = &found.verdict.vote_count;
    let id = found.id(found.index);
    let quorum = ballot.offline >= 2 && ballot.offline * 2 > ballot.electorate;
    let causes: Vec<_> = found.verdict.causes.iter().map(|cause| cause.as_str()).collect();
    html! {
        p { (id) " is " (words::standing(found.verdict.status)) @if !causes.is_empty() { ", cause: " (causes.join(" or ")) } }
        ol.steps {
            li {
                strong { "Signs of life: " }
                @match found.newest_report {
                    None => "no report of it is latest here.",
                    Some(newest) => {
                        "its newest report is " span.stamp { (newest.epoch) "/" (newest.seq) }
                        @if found.silent_ms > found.membership.interval_ms() * 5 / 2 { "; the next one is late." } @else { ", and young." }
                        " Reports come every " (seconds(found.membership.interval_ms())) " or sooner."
                    }
                }
            }
            li { strong { "Voters: " } (ballot.electorate) " could vote: they are alive and observe it; nodes with one key count once." }
            li { strong { "Votes: " } (ballot.online) " online, " (ballot.offline) " offline" (votes(found)) }
            li {
                strong { "Quorum: " } (ballot.offline) " say offline, which is " @if quorum { "a quorum" } @else { "none" }
                " (more than half of those that could vote, and at least two)."
            }
            li {
                strong { "Witnesses: " } @if ballot.is_witnessed { "more than half" } @else { "no more than half" }
                " of all nodes find it offline, or have reported since a quorum did."
            }
            li { strong { "Decided by: " } (found.verdict.rule.as_str()) "." }
        }
        p.faint { "On a host: " code { "distomon explain " (found.membership.network_id()) " " (id) } }
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

fn votes(found: &VerdictView<'_>) -> Markup {
    let mut votes: Vec<&Vote> = found.verdict.vote_count.votes.iter().collect();
    votes.sort_by_key(|vote| (vote.status == ProbeStatus::Online, vote.voter));
    html! {
        @if votes.is_empty() { "; nobody has said anything" }
        ul.votes {
            @for vote in votes.iter().take(MOST_VOTES) {
                li {
                    span.name { (found.id(vote.voter)) } ": "
                    span class={ "state " (super::link::class(vote.status)) } { (vote.status) }
                    @if let Some(error) = vote.error { " (" (error.meaning()) ")" }
                    @if vote.status != ProbeStatus::Online { ", by its report " span.stamp { (vote.report_id.epoch) "/" (vote.report_id.seq) } }
                    @if let Some(reason) = vote.abstains { "; does not count: " (reason) }
                    @else if vote.refuted { "; refuted: the node has reported since" }
                }
            }
            @if votes.len() > MOST_VOTES { li { "and " (votes.len() - MOST_VOTES) " more" } }
        }
    }
}
