//! One node's observation of another, as pages show it.

use maud::{Markup, html};

use super::format;
use crate::mesh::wire::observation::{Observation, ProbeStatus};
use crate::mesh::{Snapshot, Timestamps};

/// Returns since when the observed status holds, by this node's clock: Unix time in ms. The clock of the observer may
/// be wrong, but the time between its observation and its report is right.
pub(super) fn since_ms(
    snapshot: &Snapshot,
    observer: usize,
    observation: &Observation,
    now: Timestamps,
) -> u64 {
    let state = &snapshot.states()[observer];
    match &state.latest {
        Some(latest) if observer != snapshot.membership().me() => {
            let before_report_ms = latest.report().at_ms.saturating_sub(observation.since_ms);
            let report_age_ms = now.mono_ms.saturating_sub(state.created_ms);
            now.wall_ms.saturating_sub(report_age_ms).saturating_sub(before_report_ms)
        }
        _ => observation.since_ms,
    }
}

/// Renders an observation with all details.
pub(super) fn details(observation: &Observation, since_ms: u64) -> Markup {
    let is_online = observation.status == ProbeStatus::Online;
    html! {
        p {
            (format::probe_status(observation.status))
            " since " (format::time(since_ms)) " (" (format::time_ago(since_ms)) ")"
        }
        @if observation.rtt_us.is_some() || observation.error.is_some() {
            p {
                @if let Some(us) = observation.rtt_us {
                    @if is_online { "round trip " } @else { "last round trip " } (format::milliseconds(us)) " ms"
                }
                @if let Some(ms) = observation.clock_offset_ms { ", its clock " (format::clock_offset(ms)) }
                @if let Some(error) = observation.error {
                    @if observation.rtt_us.is_some() { "; " }
                    "last attempt failed: " (error.meaning())
                }
            }
        }
    }
}

/// Renders the cells of a table row: status, round-trip time and since when.
pub(super) fn table_cells(
    observation: Option<&Observation>,
    is_fresh: bool,
    since_ms: impl FnOnce(&Observation) -> u64,
) -> Markup {
    html! {
        @match observation {
            None => { td { span.faint { "nothing reported" } } td {} td {} }
            Some(observation) => {
                td {
                    (format::probe_status(observation.status))
                    @if let Some(error) = observation.error { " " small { (error.meaning()) } }
                    // The observer may be dead, so an old observation is marked.
                    @if !is_fresh { " " small { "by an old report" } }
                }
                td.num { @if let Some(us) = observation.rtt_us { (format::milliseconds(us)) " ms" } }
                td { (format::time_ago(since_ms(observation))) }
            }
        }
    }
}
