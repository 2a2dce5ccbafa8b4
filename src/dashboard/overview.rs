//! All networks of this instance, each with its verdict in words.

use maud::{Markup, html};

use super::sheet::{Region, Sheet};
use super::state::{State, brief};
use super::{matrix, network, timeline, words};
use crate::mesh::Snapshot;
use crate::present::summary::summary;

/// So many changes are told of each network.
const CHANGES: usize = 3;

/// A network larger than this has no small matrix: its cells would be too small to be seen.
const MOST_DRAWN: usize = 256;

/// The page of the networks that these snapshots show.
pub(super) fn sheet(snapshots: &[impl AsRef<Snapshot>], root: &str) -> Sheet {
    let snapshots = || snapshots.iter().map(AsRef::as_ref);
    let state = snapshots().map(State::of).max().unwrap_or(State::Blind);
    let ill: Vec<_> = snapshots().filter(|snapshot| State::of(snapshot) != State::Good).collect();
    let title = match (&ill[..], snapshots().count()) {
        (_, 0) => "no network".to_owned(),
        ([], 1) => "all well".to_owned(),
        ([], count) => format!("all {count} networks well"),
        ([one], _) => format!("{}: {}", one.membership().network_id(), brief(one)),
        (some, count) => format!("{} of {count} networks", some.len()),
    };
    let told: Vec<_> = snapshots()
        .map(|snapshot| format!("{}: {}", snapshot.membership().network_id(), summary(snapshot)))
        .collect();
    let mut regions = vec![Region::still("head", html! { h1 { "Networks" } })];
    regions.extend(snapshots().map(|snapshot| {
        Region::new(format!("network-{}", snapshot.membership().network_id()), article(snapshot, root))
    }));
    if snapshots().count() == 0 {
        regions.push(Region::new("none", html! {
            p.alert.caution role="note" { "This login opens no network of this instance. Its " code { "nodeconf.yml" } " lists them under " code { "networks" } "." }
        }));
    }
    let made_for: Vec<_> = snapshots().map(|snapshot| snapshot.membership().digest()).collect();
    Sheet { title, state, told: told.join(". "), trail: Vec::new(), regions, made_for: made_for.join(" ") }
}

fn article(snapshot: &Snapshot, root: &str) -> Markup {
    let id = snapshot.membership().network_id();
    let base = format!("{root}network/{id}");
    let changes: Vec<_> = snapshot.history().of_node(None).take(CHANGES).collect();
    html! {
        article class={ "network verdict " (State::of(snapshot).as_str()) } aria-labelledby={ "n-" (id) } {
            div.words {
                h2 id={ "n-" (id) } { a href=(base) { (id) } }
                p.sentence { (words::told(snapshot)) }
                (network::twin(snapshot))
                (network::tally(snapshot))
                p.faint { "seen from " a href={ (base) "/node/" (snapshot.membership().own().id) } { (snapshot.membership().own().id) } }
                @if !changes.is_empty() {
                    h3 { "Newest changes" }
                    (timeline::list(&changes, &base))
                }
            }
            @if (2..=MOST_DRAWN).contains(&snapshot.membership().members().len()) { (matrix::small(snapshot)) }
        }
    }
}
