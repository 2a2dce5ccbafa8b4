//! The page of one network, as one of its nodes sees it.

use maud::{Markup, html};

use super::{matrix, nodes, words};
use crate::mesh::verdict::Standing;
use crate::mesh::verdict::headline::headline;
use crate::mesh::{Now, Picture};
use crate::server::view::Summary;

/// What stands below the page's head.
pub(super) fn body(picture: &Picture, now: Now) -> Markup {
    let roster = picture.roster();
    let summary = Summary::new(roster.network_id(), picture);
    html! {
        h1 { (roster.network_id()) " " small { "seen from " strong { (roster.own().id) } } }
        (alerts(picture))
        p.headline.bad[picture.verdicts().nodes.iter().any(|verdict| verdict.standing != Standing::Up)] {
            (headline(picture))
        }
        p.summary {
            (summary.nodes) @if summary.nodes == 1 { " node: " } @else { " nodes: " }
            (count(summary.online, "on", "online"))
            (count(summary.offline, "off", "offline"))
            (count(summary.unknown, "un", "unknown"))
            span.when title=(words::exact(now.wall_ms)) { "at " (clock_time(now.wall_ms)) " UTC" }
        }
        section {
            h2 { "Nodes" }
            (nodes::table(picture, now))
        }
        section {
            h2 { "Who sees whom" }
            (matrix::table(picture, now))
        }
    }
}

/// What concerns the whole page.
fn alerts(picture: &Picture) -> Markup {
    html! {
        @if picture.twin() {
            p.alert role="alert" {
                strong { "This node has a twin. " }
                "Another process signs with its key: stop one of the two, then give this node a new key."
            }
        }
        @if picture.isolated() {
            p.alert role="alert" {
                strong { "This node may be cut off. " }
                "More than half of the others are offline from here, so what it says of them is in doubt. Look \
                 at another node."
            }
        }
    }
}

fn count(number: usize, class: &str, word: &str) -> Markup {
    html! { @if number > 0 { span class={ "state " (class) } { (number) " " (word) } " " } }
}

/// The time of the day.
fn clock_time(wall_ms: u64) -> String {
    let s = wall_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}
