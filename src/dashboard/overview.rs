//! The page of all networks that a session may read.

use maud::{Markup, html};

use super::health::{Health, title_summary};
use super::page_content::{PageContent, Region};
use super::route::Links;
use super::{format, matrix, network_summary, timeline};
use crate::mesh::Snapshot;
use crate::present::summary::summary;

/// The maximum number of listed changes of each network.
const MAX_CHANGES: usize = 3;

/// The maximum size of a network with a small matrix, in nodes. The cells of a larger one would be too small to see.
const MAX_MATRIX_NODES: usize = 256;

/// Renders the page of the networks in these snapshots.
pub(super) fn page(snapshots: &[impl AsRef<Snapshot>], root: &str) -> PageContent {
    let snapshots = || snapshots.iter().map(AsRef::as_ref);
    let health = snapshots().map(Health::of_network).max().unwrap_or(Health::Unknown);
    let not_ok: Vec<_> = snapshots().filter(|snapshot| Health::of_network(snapshot) != Health::Ok).collect();
    let title = match (&not_ok[..], snapshots().count()) {
        (_, 0) => "no network".to_owned(),
        ([], 1) => "all well".to_owned(),
        ([], count) => format!("all {count} networks well"),
        ([one], _) => format!("{}: {}", one.membership().network_id(), title_summary(one)),
        (some, count) => format!("{} of {count} networks", some.len()),
    };
    let sentences: Vec<_> = snapshots()
        .map(|snapshot| format!("{}: {}", snapshot.membership().network_id(), summary(snapshot)))
        .collect();
    let mut regions = vec![Region::fixed("head", html! { h1 { "Networks" } })];
    regions.extend(snapshots().map(|snapshot| {
        Region::new(format!("network-{}", snapshot.membership().network_id()), article(snapshot, root))
    }));
    if snapshots().count() == 0 {
        regions.push(Region::new("none", html! {
            p.alert.caution role="note" { "This login grants access to no network of this instance. Its " code { "nodeconf.yml" } " lists them under " code { "networks" } "." }
        }));
    }
    let digests: Vec<_> = snapshots().map(|snapshot| snapshot.membership().digest()).collect();
    PageContent {
        title,
        health,
        announcement: sentences.join(". "),
        breadcrumbs: Vec::new(),
        regions,
        config_digest: digests.join(" "),
    }
}

fn article(snapshot: &Snapshot, root: &str) -> Markup {
    let id = snapshot.membership().network_id();
    let own_id = &snapshot.membership().own().id;
    let links = Links::new(root, id.as_str());
    let changes: Vec<_> = snapshot.history().of_node(None).take(MAX_CHANGES).collect();
    let has_matrix = (2..=MAX_MATRIX_NODES).contains(&snapshot.membership().members().len());
    html! {
        article class={ "network verdict " (Health::of_network(snapshot).class()) } aria-labelledby={ "n-" (id) } {
            div.network-text {
                h2 id={ "n-" (id) } { a href=(links.network()) { (id) } }
                p.sentence { (format::network_sentence(snapshot)) }
                (network_summary::duplicate_key_alert(snapshot))
                (network_summary::counts(snapshot))
                p.faint { "seen from " a href=(links.node(own_id)) { (own_id) } }
                @if !changes.is_empty() {
                    h3 { "Newest changes" }
                    (timeline::list(&changes, links))
                }
            }
            @if has_matrix { (matrix::small(snapshot)) }
        }
    }
}
