//! The end of the process that ran a node before.

use crate::mesh::id::ReportId;

/// The newest report of a node's previous process, and whether that process announced its stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PriorRun {
    /// The newest report that is known to have been published.
    pub report: ReportId,
    /// Whether that report announced the stop; otherwise the process crashed or was killed.
    pub clean: bool,
}
