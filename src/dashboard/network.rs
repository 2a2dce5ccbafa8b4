//! The page of one network, as one of its nodes sees it.

use maud::{Markup, html};

use super::sheet::{Region, Sheet};
use super::state::{State, brief, counts, knows_nobody};
use super::{graph, matrix, nodes, timeline, words};
use crate::mesh::verdict::{Link, NodeStatus, Partition};
use crate::mesh::wire::observation::ProbeStatus;
use crate::mesh::{Snapshot, Timestamps};
use crate::present::summary::{severity, summary};

/// So many troubles are told one by one.
const MOST_TROUBLES: usize = 12;

/// So many links are told, and so many nodes of each side.
const MOST_LINKS: usize = 8;
const MOST_NAMES: usize = 12;

/// The page. `root` leads to the site's root, `query` is the request's.
pub(super) fn sheet(snapshot: &Snapshot, root: &str, query: &nodes::Query, now: Timestamps) -> Sheet {
    let id = snapshot.membership().network_id();
    let me = &snapshot.membership().own().id;
    let base = format!("{root}network/{id}");
    Sheet {
        title: format!("{} – {id}", brief(snapshot)),
        state: State::of(snapshot),
        told: format!("{id}: {}", summary(snapshot)),
        trail: vec![(id.to_string(), format!("network/{id}"))],
        regions: vec![
            Region::still(
                "head",
                html! {
                    h1 { (id) " " small { "seen from " a href={ (base) "/node/" (me) } { (me) } } }
                },
            ),
            Region::new("verdict", verdict(snapshot)),
            Region::new("problems", problems(snapshot, &base)),
            Region::still("matrix", matrix::section(snapshot, &base, now.mono_ms)),
            Region::new("graph", graph::section(snapshot, &base)),
            Region::new("changes", timeline::section(snapshot, None, &base, now.wall_ms)),
            Region::new("nodes", nodes::section(snapshot, &base, query)),
        ],
        made_for: snapshot.membership().digest().to_owned(),
    }
}

/// The sentence, how many nodes stand how, and what concerns the whole page.
fn verdict(snapshot: &Snapshot) -> Markup {
    let state = State::of(snapshot);
    html! {
        section #verdict class={ "verdict " (state.as_str()) } aria-label="Verdict" {
            p #sentence { (words::told(snapshot)) }
            (tally(snapshot))
        }
        (twin(snapshot))
        @if snapshot.isolated() {
            p.alert role="alert" {
                strong { "This node may be cut off. " }
                "More than half of the others are offline from here, so what it says of them is in doubt. Look \
                 at another node."
            }
        } @else if knows_nobody(snapshot) {
            p.alert.caution role="note" {
                strong { "Nothing is known yet. " }
                "No other node has reported to this one since it was started. If that lasts: are the others \
                 started, do the urls in config.yml lead to them, and have they the same keys? "
                code { "journalctl -u distomon@NAME" } " tells what is refused."
            }
        }
    }
}

/// That somebody else signs with this node's key, if so.
pub(super) fn twin(snapshot: &Snapshot) -> Markup {
    html! {
        @if snapshot.duplicate_key() {
            p.alert role="alert" {
                strong { "This node has a twin. " }
                "Another process signs with its key: stop one of the two, then give this node a new key."
            }
        }
    }
}

/// How many nodes stand how.
pub(super) fn tally(snapshot: &Snapshot) -> Markup {
    let links = snapshot.verdicts().links.len();
    html! {
        ul.tally {
            @for (standing, count) in counts(snapshot) {
                li { span class={ "is " (words::class(standing)) } { (count) " " (standing) } }
            }
            @if links > 0 { li { span.is.degraded { (links) @if links == 1 { " link cut" } @else { " links cut" } } } }
        }
    }
}

/// Everything that is not as it should be, the worst first; nothing where all is well.
fn problems(snapshot: &Snapshot, base: &str) -> Markup {
    let verdicts = snapshot.verdicts();
    let mut troubles: Vec<(usize, NodeStatus)> = verdicts
        .nodes
        .iter()
        .map(|verdict| verdict.status)
        .enumerate()
        .filter(|(_, standing)| severity(*standing) > 0)
        .collect();
    troubles.sort_by_key(|(index, standing)| (std::cmp::Reverse(severity(*standing)), *index));
    let left = troubles.len().saturating_sub(MOST_TROUBLES);
    if troubles.is_empty() && verdicts.links.is_empty() && verdicts.partitions.is_empty() {
        return html! {};
    }
    let is_meant = troubles.iter().all(|(_, standing)| *standing == NodeStatus::Stopped)
        && verdicts.links.is_empty()
        && verdicts.partitions.is_empty();
    html! {
        section #problems aria-labelledby="problems-title" {
            h2 #problems-title { @if is_meant { "Stopped on purpose" } @else { "What is wrong" } }
            ul.problems {
                @for &(index, standing) in troubles.iter().take(MOST_TROUBLES) {
                    (trouble(snapshot, index, standing, base))
                }
                @if left > 0 { li { "and " (left) " more: see the nodes below" } }
                @for link in verdicts.links.iter().take(MOST_LINKS) { (cut(snapshot, *link, base)) }
                @if verdicts.links.len() > MOST_LINKS {
                    li { "and " (verdicts.links.len() - MOST_LINKS) " more links: see the matrix" }
                }
                @if !verdicts.partitions.is_empty() { (sides(snapshot)) }
            }
        }
    }
}

fn trouble(snapshot: &Snapshot, index: usize, standing: NodeStatus, base: &str) -> Markup {
    let id = &snapshot.membership().members()[index].id;
    let verdict = &snapshot.verdicts().nodes[index];
    let ballot = &verdict.vote_count;
    let settled = snapshot.tracker().nodes().nth(index);
    html! {
        li {
            (words::standing(standing)) " "
            a.name href={ (base) "/node/" (id) } { (id) } " "
            @if !verdict.causes.is_empty() { span.cause { "cause: " (causes(snapshot, index)) } " " }
            @if let Some(settled) = settled { span.since { "since " (words::clock(settled.since_ms)) " (" (words::ago(settled.since_ms)) ")" } " " }
            @if ballot.electorate > 0 {
                span.votes { (ballot.offline) " of " (ballot.electorate) " observers do not reach it" } " "
            }
            a.why href={ (base) "/node/" (id) "#why" } { "why" span.quiet { " is " (id) " " (standing) "?" } }
        }
    }
}

/// What explains a node's verdict, in words.
pub(super) fn causes(snapshot: &Snapshot, index: usize) -> String {
    let causes: Vec<_> = snapshot.verdicts().nodes[index].causes.iter().map(|cause| cause.as_str()).collect();
    causes.join(" or ")
}

fn cut(snapshot: &Snapshot, link: Link, base: &str) -> Markup {
    let members = snapshot.membership().members();
    let (from, to) = (&members[link.from].id, &members[link.to].id);
    html! {
        li {
            span.is.degraded { "link" } " "
            a.name href={ (base) "/link/" (from) "/" (to) } { (from) @if link.both { " ↔ " } @else { " → " } (to) } " "
            @if link.both { (from) " and " (to) " do not reach each other" }
            @else {
                (from) " does not reach " (to)
                @if reaches(snapshot, link.to, link.from) { ", which reaches " (from) }
            }
        }
    }
}

/// Whether a node's newest report says that the other is online.
fn reaches(snapshot: &Snapshot, from: usize, to: usize) -> bool {
    snapshot.states()[from].observation(to).is_some_and(|found| found.status == ProbeStatus::Online)
}

fn sides(snapshot: &Snapshot) -> Markup {
    html! {
        li {
            span.is.degraded { "partition" } " the network has fallen into parts: "
            ol.sides { @for side in &snapshot.verdicts().partitions { li { (part(snapshot, side)) } } }
        }
    }
}

fn part(snapshot: &Snapshot, side: &Partition) -> Markup {
    let members = snapshot.membership().members();
    let sites: Vec<_> = side.sites.iter().map(crate::mesh::id::Site::as_str).collect();
    let ids: Vec<_> = side.nodes.iter().take(MOST_NAMES).map(|&index| members[index].id.as_str()).collect();
    html! {
        @if !sites.is_empty() { strong { "site " (sites.join(", ")) } ": " }
        (ids.join(", "))
        @if side.nodes.len() > MOST_NAMES { " and " (side.nodes.len() - MOST_NAMES) " more" }
    }
}
