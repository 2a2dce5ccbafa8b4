//! The page of one node: its verdict with the explanation, both directions to each other node, and its signed report.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::health::Health;
use super::last_hour::LastHour;
use super::page_content::{PageContent, Region};
use super::route::{Links, PageRoute};
use super::{explanation, format, node_table, observation, signed_report, timeline};
use crate::mesh::wire::observation::{Observation, ProbeStatus};
use crate::mesh::{Snapshot, Timestamps};

/// The maximum number of other nodes in the table.
const MAX_PAIRS: usize = 200;

/// The page of one node.
pub(super) struct NodePage<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// The index of the node.
    pub(super) index: usize,
    /// The relative path to the root.
    pub(super) root: &'a str,
    /// The time of the verdict to explain, as Unix time in ms, or `None` for the current one.
    pub(super) at_ms: Option<u64>,
    pub(super) now: Timestamps,
}

impl NodePage<'_> {
    /// Renders the page.
    pub(super) fn render(&self, last_hour: &LastHour) -> PageContent {
        let Self { snapshot, index, .. } = *self;
        let membership = snapshot.membership();
        let network = membership.network_id();
        let id = &membership.members()[index].id;
        let links = self.links();
        let status = snapshot.verdicts().nodes[index].status;
        let health = if snapshot.isolated() { Health::Unknown } else { Health::of_node(status) };
        let head = html! {
            h1 { (id) " " small { "in " a href=(links.network()) { (network) } ", seen from " (membership.own().id) } }
        };
        PageContent {
            title: format!("{id} {status} – {network}"),
            health,
            announcement: format!("{id} is {status}"),
            breadcrumbs: vec![
                (network.to_string(), PageRoute::Network(network.as_str()).to_string()),
                (id.to_string(), PageRoute::Node(network.as_str(), id.as_str()).to_string()),
            ],
            regions: vec![
                Region::fixed("head", head),
                Region::new("verdict", self.verdict(health)),
                Region::new("why", explanation::section(snapshot, index, links, self.at_ms)),
                Region::new("pairs", self.pairs()),
                Region::new("charts", last_hour.section(self.now.wall_ms)),
                Region::new("changes", timeline::section(snapshot, Some(id), links, self.now.wall_ms)),
                Region::new("report", signed_report::section(snapshot, index, links)),
            ],
            config_digest: membership.digest().to_owned(),
        }
    }

    fn links(&self) -> Links<'_> {
        Links::new(self.root, self.snapshot.membership().network_id().as_str())
    }

    fn verdict(&self, health: Health) -> Markup {
        let Self { snapshot, index, .. } = *self;
        let (member, state) = (&snapshot.membership().members()[index], &snapshot.states()[index]);
        let tracked = snapshot.tracker().nodes().nth(index);
        html! {
            section #verdict class={ "verdict " (health.class()) } aria-label="Verdict" {
                p #sentence { (format::node_sentence(snapshot, index)) }
                p.facts {
                    @if let Some(tracked) = tracked { "since " (format::time(tracked.since_ms)) " (" (format::time_ago(tracked.since_ms)) ")" }
                    @if let Some(site) = &member.site { " · site " (site.as_str()) }
                    @if let Some(url) = &member.url { " · " (url) }
                    " " (node_table::notes(snapshot, member, state))
                }
                @if let Some(outage) = tracked.and_then(|tracked| tracked.outage) {
                    p.facts {
                        "Last outage: " (format::time(outage.from_ms)) " to " (format::time(outage.to_ms)) ", "
                        (format::duration(outage.to_ms.saturating_sub(outage.from_ms))) "; " (outage.kind.as_str())
                    }
                }
            }
        }
    }

    /// Renders both directions between the node and each other one. Directions that are not online come first.
    fn pairs(&self) -> Markup {
        let Self { snapshot, index, .. } = *self;
        let membership = snapshot.membership();
        let id = &membership.members()[index].id;
        let is_observed = |other: usize| {
            snapshot.states()[other].observation(index).is_some()
                || snapshot.states()[index].observation(other).is_some()
                || membership.observes(index, other)
                || membership.observes(other, index)
        };
        let mut others: Vec<usize> =
            (0..membership.members().len()).filter(|&other| other != index && is_observed(other)).collect();
        others.sort_by_key(|&other| {
            let incoming = importance(snapshot.states()[other].observation(index));
            let outgoing = importance(snapshot.states()[index].observation(other));
            (Reverse(incoming.max(outgoing)), other)
        });
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
                            tbody { @for other in others.iter().take(MAX_PAIRS) { (self.pair(*other)) } }
                        }
                    }
                    @if others.len() > MAX_PAIRS { p.faint { "and " (others.len() - MAX_PAIRS) " more" } }
                }
            }
        }
    }

    fn pair(&self, other: usize) -> Markup {
        let members = self.snapshot.membership().members();
        html! {
            tr {
                th scope="row" {
                    a href=(self.links().link(&members[self.index].id, &members[other].id)) { (members[other].id) }
                }
                (self.direction(other, self.index))
                (self.direction(self.index, other))
            }
        }
    }

    fn direction(&self, from: usize, to: usize) -> Markup {
        let observation = self.snapshot.states()[from].observation(to);
        let is_fresh = self.snapshot.is_fresh(from, self.now.mono_ms);
        let since_ms =
            |observation: &Observation| observation::since_ms(self.snapshot, from, observation, self.now);
        observation::table_cells(observation, is_fresh, since_ms)
    }
}

fn importance(observation: Option<&Observation>) -> u8 {
    match observation.map(|observation| observation.status) {
        Some(ProbeStatus::Offline) => 3,
        Some(ProbeStatus::Unknown) => 2,
        None => 1,
        Some(ProbeStatus::Online) => 0,
    }
}
