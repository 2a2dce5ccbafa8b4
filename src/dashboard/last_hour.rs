//! The last hour of a node: round-trip times and failures as charts.

use maud::{Markup, html};

use super::chart;
use crate::store::NetworkHandle;
use crate::store::trends::{Minute, Source};

/// The last hour of a node, minute by minute.
pub(super) struct LastHour {
    all_observers: Vec<Minute>,
    /// The probes of this node; `None` for this node itself.
    own_probes: Option<Vec<Minute>>,
}

impl LastHour {
    /// Returns the last hour of the node `id`.
    pub(super) fn of(network: &NetworkHandle, id: &str) -> Self {
        let is_me = network.id().as_str() == id;
        let trends = network.trends();
        Self {
            all_observers: trends.of(id, Source::AllObservers),
            own_probes: (!is_me).then(|| trends.of(id, Source::OwnProbes)),
        }
    }

    /// Renders the section of the node's page; `now_ms` is Unix time in ms.
    pub(super) fn section(&self, now_ms: u64) -> Markup {
        html! {
            section #charts aria-labelledby="charts-title" {
                h2 #charts-title { "The last hour" }
                div.charts {
                    figure {
                        figcaption { "Round trip, all observers" }
                        (chart::round_trip(&self.all_observers, now_ms))
                    }
                    figure {
                        figcaption { "Offline reports, all observers" }
                        (chart::loss(&self.all_observers, now_ms, "reports", "found it offline"))
                    }
                    @if let Some(own_probes) = &self.own_probes {
                        figure {
                            figcaption { "Round trip from this node" }
                            (chart::round_trip(own_probes, now_ms))
                        }
                        figure {
                            figcaption { "Loss: failed probes of this node" }
                            (chart::loss(own_probes, now_ms, "probes", "failed"))
                        }
                    }
                }
                p.faint { "One value per minute, in memory since this node started." }
            }
        }
    }
}
