//! The summary on the overview and on the page of a network: the number of nodes by status, and a duplicate key.

use maud::{Markup, html};

use super::format;
use super::health::status_counts;
use crate::mesh::Snapshot;

/// Renders the number of nodes with each status, and of links that do not work.
pub(super) fn counts(snapshot: &Snapshot) -> Markup {
    let links = snapshot.verdicts().links.len();
    html! {
        ul.status-counts {
            @for (status, count) in status_counts(snapshot) {
                li { span class={ "node-status " (format::status_class(status)) } { (count) " " (status) } }
            }
            @if links > 0 {
                li { span.node-status.degraded { (links) @if links == 1 { " link cut" } @else { " links cut" } } }
            }
        }
    }
}

/// Renders an alert if another process signs with this node's key.
pub(super) fn duplicate_key_alert(snapshot: &Snapshot) -> Markup {
    html! {
        @if snapshot.duplicate_key() {
            p.alert role="alert" {
                strong { "Duplicate key. " }
                "Another process signs with this node's key: stop one of the two, then give this node a new key."
            }
        }
    }
}
