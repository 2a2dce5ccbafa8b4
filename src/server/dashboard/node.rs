//! The page of one node: who sees it, whom it sees, why its verdict is what it is, and its signed report.

use maud::{Markup, html};

use super::link;
use super::sheet::{Region, Sheet};
use super::state::State;
use super::{nodes, proof, timeline, why, words};
use crate::mesh::observation::{Observation, ProbeStatus};
use crate::mesh::{Snapshot, Timestamps};

/// So many others are listed at most; what is not online first.
const MOST_PAIRS: usize = 200;

/// The page of the member with this index; `at_ms` asks for the verdict that stood then (Unix time in ms), and
/// `charts` draw its last hour.
pub(super) fn sheet(
    picture: &Snapshot,
    index: usize,
    root: &str,
    at_ms: Option<u64>,
    charts: &Markup,
    now: Timestamps,
) -> Sheet {
    let roster = picture.membership();
    let network = roster.network_id();
    let id = &roster.members()[index].id;
    let base = format!("{root}network/{network}");
    let standing = picture.verdicts().nodes[index].status;
    let state = if picture.isolated() { State::Blind } else { State::of_node(standing) };
    Sheet {
        title: format!("{id} {standing} – {network}"),
        state,
        told: format!("{id} is {standing}"),
        trail: vec![
            (network.to_string(), format!("network/{network}")),
            (id.to_string(), format!("network/{network}/node/{id}")),
        ],
        regions: vec![
            Region::still(
                "head",
                html! { h1 { (id) " " small { "in " a href=(base) { (network) } ", seen from " (roster.own().id) } } },
            ),
            Region::new("verdict", verdict(picture, index, state)),
            Region::new("why", why::section(picture, index, &base, at_ms)),
            Region::new("pairs", pairs(picture, index, &base, now)),
            Region::new(
                "charts",
                html! { section #charts aria-labelledby="charts-title" { h2 #charts-title { "The last hour" } (charts) } },
            ),
            Region::new("changes", timeline::section(picture, Some(id.as_str()), &base, now.wall_ms)),
            Region::new("report", proof::section(picture, index, root)),
        ],
        made_for: roster.digest().to_owned(),
    }
}

fn verdict(picture: &Snapshot, index: usize, state: State) -> Markup {
    let (member, slot) = (&picture.membership().members()[index], &picture.states()[index]);
    let settled = picture.tracker().nodes().nth(index);
    html! {
        section #verdict class={ "verdict " (state.as_str()) } aria-label="Verdict" {
            p #sentence { (words::told_of(picture, index)) }
            p.facts {
                @if let Some(settled) = settled { "since " (words::clock(settled.since_ms)) " (" (words::ago(settled.since_ms)) ")" }
                @if let Some(site) = &member.site { " · site " (site.as_str()) }
                @if let Some(url) = &member.url { " · " (url) }
                " " (nodes::notes(picture, member, slot))
            }
            @if let Some(outage) = settled.and_then(|settled| settled.outage) {
                p.facts {
                    "Last outage: " (words::clock(outage.from_ms)) " to " (words::clock(outage.to_ms)) ", "
                    (words::duration(outage.to_ms.saturating_sub(outage.from_ms))) "; " (outage.kind.as_str())
                }
            }
        }
    }
}

/// Both directions between the node and each other, side by side; what is not online first.
fn pairs(picture: &Snapshot, index: usize, base: &str, now: Timestamps) -> Markup {
    let is_fresh = |reporter: usize| picture.is_fresh(reporter, now.mono_ms);
    let members = picture.membership().members();
    let id = &members[index].id;
    let mut others: Vec<_> = (0..members.len())
        .filter(|&other| other != index)
        .map(|other| {
            (other, picture.states()[other].observation(index), picture.states()[index].observation(other))
        })
        .filter(|(other, to, from)| {
            let roster = picture.membership();
            to.is_some() || from.is_some() || roster.observes(index, *other) || roster.observes(*other, index)
        })
        .collect();
    let weight = |found: Option<&Observation>| {
        found.map_or(1, |found| match found.status {
            ProbeStatus::Offline => 3,
            ProbeStatus::Unknown => 2,
            ProbeStatus::Online => 0,
        })
    };
    others.sort_by_key(|(other, to, from)| (std::cmp::Reverse(weight(*to).max(weight(*from))), *other));
    html! {
        section #pairs aria-labelledby="pairs-title" {
            h2 #pairs-title { "Both directions" }
            @if others.is_empty() {
                p.faint { "There is no other node." }
            } @else {
                div.box tabindex="0" {
                    table.list.both {
                        thead { tr {
                            th scope="col" { "Other node" }
                            th scope="col" { "sees " (id) }
                            th.num scope="col" { "Round trip" }
                            th scope="col" { "Since" }
                            th scope="col" { "is seen by " (id) }
                            th.num scope="col" { "Round trip" }
                            th scope="col" { "Since" }
                        } }
                        tbody {
                            @for (number, to, from) in others.iter().take(MOST_PAIRS) {
                                @let other = &members[*number].id;
                                tr {
                                    th scope="row" { a href={ (base) "/link/" (id) "/" (other) } { (other) } }
                                    (found(*to, is_fresh(*number), |found| link::since_ms(picture, *number, found, now)))
                                    (found(*from, is_fresh(index), |found| link::since_ms(picture, index, found, now)))
                                }
                            }
                        }
                    }
                }
                @if others.len() > MOST_PAIRS { p.faint { "and " (others.len() - MOST_PAIRS) " more" } }
            }
        }
    }
}

/// Three cells; what an old report says is told as such, since its author may be dead.
fn found(found: Option<&Observation>, is_fresh: bool, since_ms: impl FnOnce(&Observation) -> u64) -> Markup {
    html! {
        @match found {
            None => { td { span.faint { "nothing reported" } } td {} td {} }
            Some(found) => {
                td {
                    span class={ "state " (link::class(found.status)) } { (found.status) }
                    @if let Some(error) = found.error { " " small { (error.meaning()) } }
                    @if !is_fresh { " " small { "by an old report" } }
                }
                td.num { @if let Some(us) = found.rtt_us { (words::milliseconds(us)) " ms" } }
                td { (words::ago(since_ms(found))) }
            }
        }
    }
}
