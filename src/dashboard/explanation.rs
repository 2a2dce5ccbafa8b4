//! The steps that lead to a verdict, in the sentences of `distomon explain`.

use maud::{Markup, html};

use super::format;
use super::route::Links;
use crate::mesh::Snapshot;
use crate::mesh::silence_limits::SilenceLimits;
use crate::mesh::verdict::history::LookupError;
use crate::mesh::verdict::{Abstention, Vote};
use crate::mesh::wire::observation::ProbeStatus;
use crate::present::causes::cause_clause;
use crate::present::duration::format_seconds;
use crate::present::explanation::{
    NO_REPORT, NO_VOTES, quorum_sentence, vote_note, voters_sentence, witness_sentence,
};
use crate::present::verdict_view::VerdictView;

/// The maximum number of listed votes.
const MAX_VOTES: usize = 200;

/// Renders the section of a node's page: the current verdict, or with `at_ms` (Unix time in ms) the one at that time.
pub(super) fn section(snapshot: &Snapshot, index: usize, links: Links<'_>, at_ms: Option<u64>) -> Markup {
    let id = &snapshot.membership().members()[index].id;
    let current = links.explanation(id, None);
    let body = match at_ms.map(|ms| (ms, snapshot.history().at(id.as_str(), ms))) {
        None => html! {
            @if let Some(verdict) = VerdictView::current(snapshot).nth(index) { (steps(&verdict)) }
        },
        Some((ms, Ok((record, until_ms)))) => html! {
            p {
                "The verdict at " (format::time(ms)) ": reached at " (format::time(record.at_ms))
                @if let Some(until_ms) = until_ms { ", until " (format::time(until_ms)) } @else { ", and still current" }
                ". " a href=(current) { "Show the current verdict" }
            }
            (steps(&VerdictView::from(&**record)))
        },
        Some((ms, Err(error))) => html! {
            p {
                "No verdict recorded at " (format::time(ms)) ": "
                @match error {
                    LookupError::BeforeOldest(first_ms) => { "the records of this node begin at " (format::time(first_ms)) }
                    LookupError::NoRecord => "there are no records of this node",
                }
                ". " a href=(current) { "Show the current verdict" }
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

fn steps(view: &VerdictView<'_>) -> Markup {
    let votes = &view.verdict.vote_count;
    let id = view.id(view.index);
    html! {
        p { (id) " is " (format::node_status(view.verdict.status)) (cause_clause(&view.verdict.causes)) }
        ol.steps {
            li { strong { "Signs of life: " } (signs_of_life(view)) }
            li { strong { "Voters: " } (voters_sentence(votes.electorate)) }
            li { strong { "Votes: " } (votes.online) " online, " (votes.offline) " offline" (vote_list(view)) }
            li { strong { "Quorum: " } (quorum_sentence(votes.offline, votes.electorate)) }
            li { strong { "Witnesses: " } (witness_sentence(votes.is_witnessed)) }
            li { strong { "Decided by: " } (view.verdict.rule.as_str()) "." }
        }
        p.faint { "On a host: " code { "distomon explain " (view.membership.network_id()) " " (id) } }
    }
}

fn signs_of_life(view: &VerdictView<'_>) -> Markup {
    let fresh_ms = SilenceLimits::of(view.membership).fresh_ms;
    html! {
        @match view.newest_report {
            None => (NO_REPORT),
            Some(newest) => {
                "its newest report is " span.report-id { (newest.epoch) "/" (newest.seq) }
                @if view.silent_ms > fresh_ms { "; the next one is late." } @else { ", and fresh." }
                " Reports arrive every " (format_seconds(view.membership.interval_ms())) " or sooner."
            }
        }
    }
}

/// Renders the votes. Those that do not say online come first.
fn vote_list(view: &VerdictView<'_>) -> Markup {
    let mut votes: Vec<&Vote> = view.verdict.vote_count.votes.iter().collect();
    votes.sort_by_key(|vote| (vote.status == ProbeStatus::Online, vote.voter));
    html! {
        @if votes.is_empty() { "; " (NO_VOTES) }
        ul.votes {
            @for vote in votes.iter().take(MAX_VOTES) {
                li {
                    span.name { (view.id(vote.voter)) } ": "
                    (format::probe_status(vote.status))
                    @if let Some(error) = vote.error { " (" (error.meaning()) ")" }
                    @if vote.status != ProbeStatus::Online { ", by its report " span.report-id { (vote.report_id.epoch) "/" (vote.report_id.seq) } }
                    (vote_note(vote.abstains.map(Abstention::as_str), vote.refuted))
                }
            }
            @if votes.len() > MAX_VOTES { li { "and " (votes.len() - MAX_VOTES) " more" } }
        }
    }
}
