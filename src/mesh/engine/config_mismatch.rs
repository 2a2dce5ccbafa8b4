//! Detects that other nodes have had another configuration for a minute. A mismatch is expected while a change is rolled
//! out; one that lasts means that the change has not reached a host.

use super::event::Notice;
use crate::mesh::id::NodeId;
use crate::mesh::report_table::ReportTable;
use crate::mesh::timestamps::Timestamps;

/// A mismatch is reported once it has lasted this long, in ms.
const REPORT_AFTER_MS: u64 = 60_000;

/// The duration of a configuration mismatch.
#[derive(Debug, Default)]
pub(super) struct MismatchTimer {
    /// Monotonic time in ms.
    since_ms: Option<u64>,
    reported: bool,
}

impl MismatchTimer {
    /// Compares the configuration of all nodes with fresh reports. Returns a notice when a mismatch has lasted for
    /// [`REPORT_AFTER_MS`], and when a reported one has ended.
    pub(super) fn update(&mut self, table: &ReportTable, now: Timestamps) -> Option<Notice> {
        let nodes: Vec<NodeId> = (0..table.states().len())
            .filter(|&index| table.config_differs(index) && table.is_fresh(index, now.mono_ms))
            .map(|index| table.membership().members()[index].id.clone())
            .collect();
        if nodes.is_empty() {
            return std::mem::take(self).reported.then_some(Notice::ConfigMatch);
        }
        let since_ms = *self.since_ms.get_or_insert(now.mono_ms);
        if self.reported || now.mono_ms.saturating_sub(since_ms) < REPORT_AFTER_MS {
            return None;
        }
        self.reported = true;
        Some(Notice::ConfigMismatch { nodes })
    }
}
