//! The page of one network.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::health::{Health, no_peer_seen, title_summary};
use super::node_table::NodeQuery;
use super::page_content::{PageContent, Region};
use super::route::{Links, PageRoute};
use super::{format, graph, matrix, network_summary, node_table, timeline};
use crate::mesh::id::{NodeId, Site};
use crate::mesh::verdict::{Link, NodeStatus, Partition};
use crate::mesh::wire::observation::ProbeStatus;
use crate::mesh::{Snapshot, Timestamps};
use crate::present::causes::join_causes;
use crate::present::summary::{severity, summary};

/// The maximum number of nodes in the list of problems.
const MAX_NODES: usize = 12;

/// The maximum number of links in the list of problems.
const MAX_LINKS: usize = 8;

/// The maximum number of named nodes of each partition.
const MAX_PARTITION_NODES: usize = 12;

/// Renders the page. `root` is the relative path to the root.
pub(super) fn page(snapshot: &Snapshot, root: &str, query: &NodeQuery, now: Timestamps) -> PageContent {
    let id = snapshot.membership().network_id();
    let own_id = &snapshot.membership().own().id;
    let links = Links::new(root, id.as_str());
    let head = html! { h1 { (id) " " small { "seen from " a href=(links.node(own_id)) { (own_id) } } } };
    PageContent {
        title: format!("{} – {id}", title_summary(snapshot)),
        health: Health::of_network(snapshot),
        announcement: format!("{id}: {}", summary(snapshot)),
        breadcrumbs: vec![(id.to_string(), PageRoute::Network(id.as_str()).to_string())],
        regions: vec![
            Region::fixed("head", head),
            Region::new("verdict", verdict(snapshot)),
            Region::new("problems", problems(snapshot, links)),
            Region::fixed("matrix", matrix::section(snapshot, links, now.mono_ms)),
            Region::new("graph", graph::section(snapshot, links)),
            Region::new("changes", timeline::section(snapshot, None, links, now.wall_ms)),
            Region::new("nodes", node_table::section(snapshot, links, query)),
        ],
        config_digest: snapshot.membership().digest().to_owned(),
    }
}

/// Renders the sentence, the number of nodes by status, and alerts about the whole page.
fn verdict(snapshot: &Snapshot) -> Markup {
    html! {
        section #verdict class={ "verdict " (Health::of_network(snapshot).class()) } aria-label="Verdict" {
            p #sentence { (format::network_sentence(snapshot)) }
            (network_summary::counts(snapshot))
        }
        (network_summary::duplicate_key_alert(snapshot))
        @if snapshot.isolated() {
            p.alert role="alert" {
                strong { "This node is isolated; the state of other nodes is unknown. " }
                "More than half of the others are offline from here. Look at the dashboard of another node."
            }
        } @else if no_peer_seen(snapshot) {
            p.alert.caution role="note" {
                strong { "Nothing is known yet. " }
                "No other node has reported to this one since it started. If this persists, check that the others \
                 run, that the urls in config.yml lead to them, and that they have the same keys. "
                code { "journalctl -u distomon@NAME" } " shows what is rejected."
            }
        }
    }
}

/// Renders everything that does not work, worst first, or nothing.
fn problems(snapshot: &Snapshot, links: Links<'_>) -> Markup {
    let verdicts = snapshot.verdicts();
    let statuses = verdicts.nodes.iter().map(|verdict| verdict.status).enumerate();
    let mut nodes: Vec<(usize, NodeStatus)> = statuses.filter(|(_, status)| severity(*status) > 0).collect();
    nodes.sort_by_key(|(index, status)| (Reverse(severity(*status)), *index));
    let no_link_problem = verdicts.links.is_empty() && verdicts.partitions.is_empty();
    if nodes.is_empty() && no_link_problem {
        return html! {};
    }
    let is_intended = no_link_problem && nodes.iter().all(|(_, status)| *status == NodeStatus::Stopped);
    html! {
        section #problems aria-labelledby="problems-title" {
            h2 #problems-title { @if is_intended { "Stopped on purpose" } @else { "What is wrong" } }
            ul.problems {
                @for (index, _) in nodes.iter().take(MAX_NODES) { (node_problem(snapshot, *index, links)) }
                @if nodes.len() > MAX_NODES { li { "and " (nodes.len() - MAX_NODES) " more: see the nodes below" } }
                @for link in verdicts.links.iter().take(MAX_LINKS) { (link_problem(snapshot, *link, links)) }
                @if verdicts.links.len() > MAX_LINKS {
                    li { "and " (verdicts.links.len() - MAX_LINKS) " more links: see the matrix" }
                }
                @if !verdicts.partitions.is_empty() { (partition_problem(snapshot)) }
            }
        }
    }
}

fn node_problem(snapshot: &Snapshot, index: usize, links: Links<'_>) -> Markup {
    let id = &snapshot.membership().members()[index].id;
    let verdict = &snapshot.verdicts().nodes[index];
    let votes = &verdict.vote_count;
    let tracked = snapshot.tracker().nodes().nth(index);
    html! {
        li {
            (format::node_status(verdict.status)) " "
            a.name href=(links.node(id)) { (id) } " "
            @if !verdict.causes.is_empty() { span.cause { "cause: " (join_causes(&verdict.causes)) } " " }
            @if let Some(tracked) = tracked { span.since { "since " (format::time(tracked.since_ms)) " (" (format::time_ago(tracked.since_ms)) ")" } " " }
            @if votes.electorate > 0 {
                span.votes { (votes.offline) " of " (votes.electorate) " observers do not reach it" } " "
            }
            a.why href=(links.explanation(id, None)) { "why" span.visually-hidden { " is " (id) " " (verdict.status) "?" } }
        }
    }
}

fn link_problem(snapshot: &Snapshot, link: Link, links: Links<'_>) -> Markup {
    let members = snapshot.membership().members();
    let (from, to) = (&members[link.from].id, &members[link.to].id);
    html! {
        li {
            span.node-status.degraded { "link" } " "
            a.name href=(links.link(from, to)) { (from) @if link.both { " ↔ " } @else { " → " } (to) } " "
            @if link.both { (from) " and " (to) " do not reach each other" }
            @else {
                (from) " does not reach " (to)
                @if reports_online(snapshot, link.to, link.from) { ", which reaches " (from) }
            }
        }
    }
}

/// Returns whether the newest report of `from` says that `to` is online.
fn reports_online(snapshot: &Snapshot, from: usize, to: usize) -> bool {
    let observation = snapshot.states()[from].observation(to);
    observation.is_some_and(|observation| observation.status == ProbeStatus::Online)
}

fn partition_problem(snapshot: &Snapshot) -> Markup {
    html! {
        li {
            span.node-status.degraded { "partition" } " the network is split into parts: "
            ol.partitions { @for partition in &snapshot.verdicts().partitions { li { (partition_nodes(snapshot, partition)) } } }
        }
    }
}

fn partition_nodes(snapshot: &Snapshot, partition: &Partition) -> Markup {
    let members = snapshot.membership().members();
    let sites: Vec<_> = partition.sites.iter().map(Site::as_str).collect();
    let ids = partition.nodes.iter().take(MAX_PARTITION_NODES).map(|&index| &members[index].id);
    let ids: Vec<_> = ids.map(NodeId::as_str).collect();
    html! {
        @if !sites.is_empty() { strong { "site " (sites.join(", ")) } ": " }
        (ids.join(", "))
        @if partition.nodes.len() > MAX_PARTITION_NODES { " and " (partition.nodes.len() - MAX_PARTITION_NODES) " more" }
    }
}
