//! The page of two nodes: what each observes of the other.

use maud::{Markup, html};

use super::health::Health;
use super::observation;
use super::page_content::{PageContent, Region};
use super::route::{Links, PageRoute};
use crate::mesh::wire::observation::ProbeStatus;
use crate::mesh::{Snapshot, Timestamps};

/// Renders the page of the members with the indices in `pair`.
pub(super) fn page(snapshot: &Snapshot, pair: (usize, usize), root: &str, now: Timestamps) -> PageContent {
    let membership = snapshot.membership();
    let network = membership.network_id();
    let (a, b) = (&membership.members()[pair.0].id, &membership.members()[pair.1].id);
    let links = Links::new(root, network.as_str());
    // An old report is shown but does not count: both nodes may be dead.
    let status = |from: usize, to: usize| {
        let observation = snapshot.states()[from].observation(to);
        observation.filter(|_| snapshot.is_fresh(from, now.mono_ms)).map(|observation| observation.status)
    };
    let statuses = [status(pair.0, pair.1), status(pair.1, pair.0)];
    let health = match statuses {
        _ if snapshot.isolated() => Health::Unknown,
        _ if statuses.contains(&Some(ProbeStatus::Offline)) => Health::Critical,
        _ if statuses.contains(&Some(ProbeStatus::Unknown)) => Health::Warning,
        [None, None] => Health::Unknown,
        _ => Health::Ok,
    };
    PageContent {
        title: format!("{a} ↔ {b} – {network}"),
        health,
        announcement: format!(
            "{a} → {b}: {}; {b} → {a}: {}",
            status_text(statuses[0]),
            status_text(statuses[1])
        ),
        breadcrumbs: vec![
            (network.to_string(), PageRoute::Network(network.as_str()).to_string()),
            (format!("{a} ↔ {b}"), PageRoute::Link(network.as_str(), a.as_str(), b.as_str()).to_string()),
        ],
        regions: vec![
            Region::fixed("head", html! { h1 { (a) " ↔ " (b) } }),
            Region::new("pair", both_directions(snapshot, pair, links, now)),
        ],
        config_digest: membership.digest().to_owned(),
    }
}

fn status_text(status: Option<ProbeStatus>) -> &'static str {
    status.map_or("no recent report", ProbeStatus::as_str)
}

fn both_directions(snapshot: &Snapshot, pair: (usize, usize), links: Links<'_>, now: Timestamps) -> Markup {
    html! {
        section.pair aria-label="Both directions" {
            (direction(snapshot, pair, links, now))
            (direction(snapshot, (pair.1, pair.0), links, now))
        }
    }
}

/// Renders what the first node of `pair` observes of the second.
fn direction(snapshot: &Snapshot, (from, to): (usize, usize), links: Links<'_>, now: Timestamps) -> Markup {
    let members = snapshot.membership().members();
    let (a, b) = (&members[from].id, &members[to].id);
    let state = &snapshot.states()[from];
    html! {
        div.direction {
            p.title { a href=(links.node(a)) { (a) } " → " a href=(links.node(b)) { (b) } }
            @match state.observation(to) {
                None => p.faint {
                    @if state.latest.is_none() { (a) " has not reported yet." }
                    @else if snapshot.membership().observes(from, to) { (a) " has not reported an observation of " (b) " yet." }
                    @else { (a) " does not observe " (b) "." }
                },
                Some(found) => (observation::details(found, observation::since_ms(snapshot, from, found, now))),
            }
            @if let Some(latest) = &state.latest {
                p.faint {
                    "by " (a) "'s report " (latest.report().epoch) "/" (latest.report().seq)
                    @if !snapshot.is_fresh(from, now.mono_ms) { ", " strong { "which is too old to count" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{self, Net};

    #[test]
    fn old_reports_do_not_count() {
        let snapshot = Net::new("net-1", 3).busy_node().snapshot();
        let reported_ms = snapshot.states()[1].created_ms;
        let check = |later_ms: u64, pair: (usize, usize), health: Health, announcement: &str| {
            let now = Timestamps { mono_ms: reported_ms + later_ms, ..fixture::now() };
            let content = page(&snapshot, pair, "./", now);
            let found = (content.health, content.announcement.as_str());
            assert_eq!(found, (health, announcement), "{later_ms} {pair:?}");
        };
        check(0, (0, 1), Health::Ok, "node-00 → node-01: online; node-01 → node-00: online");
        check(0, (1, 2), Health::Critical, "node-01 → node-02: offline; node-02 → node-01: no recent report");
        let long_ms = 600_000;
        check(long_ms, (0, 1), Health::Ok, "node-00 → node-01: online; node-01 → node-00: no recent report");
        check(
            long_ms,
            (1, 2),
            Health::Unknown,
            "node-01 → node-02: no recent report; node-02 → node-01: no recent report",
        );
    }
}
