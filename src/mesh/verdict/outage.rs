//! Outages: periods without a sign of life of a node, and what the node did meanwhile.

use crate::mesh::id::ReportId;

/// An outage that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The last sign of life before it: Unix time in ms.
    pub from_ms: u64,
    /// The first sign of life after it: Unix time in ms.
    pub to_ms: u64,
    /// The kind of outage.
    pub kind: OutageKind,
}

/// The kind of an outage, by the ids of the reports before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageKind {
    /// It published reports all the time: it was cut off, not down.
    CutOff,
    /// It restarted.
    Restarted,
    /// The same process published no reports meanwhile: it or its host hung.
    Hung,
}

impl OutageKind {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CutOff => "cut off",
            Self::Restarted => "started anew",
            Self::Hung => "hung",
        }
    }
}

/// An outage that is not over, or not explained yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenOutage {
    /// The last sign of life before it: Unix time in ms.
    pub(super) from_ms: u64,
    /// The node's newest report before it.
    pub(super) newest: ReportId,
    /// Whether the node itself was silent; false while this node may only have been unable to receive.
    pub(super) is_confirmed: bool,
}

impl OpenOutage {
    /// Closes the outage by the report `newest`, received at `wall_ms` (Unix time). `interval_ms` is the longest time
    /// between two of the node's reports.
    pub(super) fn close(self, newest: ReportId, wall_ms: u64, interval_ms: u64) -> Outage {
        let elapsed_ms = wall_ms.saturating_sub(self.from_ms);
        let reports = newest.seq.saturating_sub(self.newest.seq);
        let kind = if newest.epoch != self.newest.epoch {
            OutageKind::Restarted
        } else if reports.saturating_mul(2 * interval_ms) >= elapsed_ms {
            OutageKind::CutOff
        } else {
            OutageKind::Hung
        };
        Outage { from_ms: self.from_ms, to_ms: wall_ms, kind }
    }
}
