//! The page of one node: who sees it, whom it sees, why its verdict is what it is, and its signed report.

use maud::{Markup, html};

use super::link;
use super::sheet::{Region, Sheet};
use super::state::State;
use super::{nodes, proof, timeline, why, words};
use crate::mesh::wire::observation::{Observation, ProbeStatus};
use crate::mesh::{Snapshot, Timestamps};

/// So many others are listed at most; what is not online first.
const MOST_PAIRS: usize = 200;

/// The page of the member with this index; `at_ms` asks for the verdict that stood then (Unix time in ms), and
/// `charts` draw its last hour.
pub(super) fn sheet(
    snapshot: &Snapshot,
    index: usize,
    root: &str,
    at_ms: Option<u64>,
    charts: &Markup,
    now: Timestamps,
) -> Sheet {
    let membership = snapshot.membership();
    let network = membership.network_id();
    let id = &membership.members()[index].id;
    let base = format!("{root}network/{network}");
    let standing = snapshot.verdicts().nodes[index].status;
    let state = if snapshot.isolated() { State::Blind } else { State::of_node(standing) };
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
                html! { h1 { (id) " " small { "in " a href=(base) { (network) } ", seen from " (membership.own().id) } } },
            ),
            Region::new("verdict", verdict(snapshot, index, state)),
            Region::new("why", why::section(snapshot, index, &base, at_ms)),
            Region::new("pairs", pairs(snapshot, index, &base, now)),
            Region::new(
                "charts",
                html! { section #charts aria-labelledby="charts-title" { h2 #charts-title { "The last hour" } (charts) } },
            ),
            Region::new("changes", timeline::section(snapshot, Some(id.as_str()), &base, now.wall_ms)),
            Region::new("report", proof::section(snapshot, index, root)),
        ],
        made_for: membership.digest().to_owned(),
    }
}

fn verdict(snapshot: &Snapshot, index: usize, state: State) -> Markup {
    let (member, slot) = (&snapshot.membership().members()[index], &snapshot.states()[index]);
    let settled = snapshot.tracker().nodes().nth(index);
    html! {
        section #verdict class={ "verdict " (state.as_str()) } aria-label="Verdict" {
            p #sentence { (words::told_of(snapshot, index)) }
            p.facts {
                @if let Some(settled) = settled { "since " (words::clock(settled.since_ms)) " (" (words::ago(settled.since_ms)) ")" }
                @if let Some(site) = &member.site { " · site " (site.as_str()) }
                @if let Some(url) = &member.url { " · " (url) }
                " " (nodes::notes(snapshot, member, slot))
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
fn pairs(snapshot: &Snapshot, index: usize, base: &str, now: Timestamps) -> Markup {
    let is_fresh = |reporter: usize| snapshot.is_fresh(reporter, now.mono_ms);
    let members = snapshot.membership().members();
    let id = &members[index].id;
    let mut others: Vec<_> = (0..members.len())
        .filter(|&other| other != index)
        .map(|other| {
            (other, snapshot.states()[other].observation(index), snapshot.states()[index].observation(other))
        })
        .filter(|(other, to, from)| {
            let membership = snapshot.membership();
            to.is_some()
                || from.is_some()
                || membership.observes(index, *other)
                || membership.observes(*other, index)
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
                                    (found(*to, is_fresh(*number), |found| link::since_ms(snapshot, *number, found, now)))
                                    (found(*from, is_fresh(index), |found| link::since_ms(snapshot, index, found, now)))
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
