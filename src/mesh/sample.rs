//! Sample tables and snapshots for unit tests; the samples that the simulator shares are in its directory.

use std::sync::Arc;

use super::member_state::MemberState;
use super::report_table::ReportTable;
use super::snapshot::{Counters, Snapshot};
use super::timestamps::Timestamps;
use crate::mesh::wire::report::VerifiedReport;

#[path = "../../tests/simulation/sample.rs"]
mod shared;

pub(super) use shared::*;

/// The report table of node 0 of `count` nodes with the reports `latest`, each one second old at 10,000 ms of
/// monotonic time.
pub(super) fn table(count: usize, latest: &[VerifiedReport]) -> ReportTable {
    let membership = membership(&members(count), 0);
    let mut states = vec![MemberState::default(); count];
    for report in latest {
        let index = membership.index(report.author().as_str()).expect("a member");
        let mut state =
            MemberState { created_ms: 9_000, received_ms: 9_000, advanced: true, ..MemberState::default() };
        state.set_latest(Arc::new(report.clone()), &membership);
        states[index] = state;
    }
    ReportTable { membership, states: states.into_iter().collect() }
}

/// The snapshot of node 0 with the same table.
pub(super) fn snapshot(count: usize, latest: &[VerifiedReport]) -> Snapshot {
    Snapshot {
        table: table(count, latest),
        at: Timestamps { mono_ms: 10_000, wall_ms: 1_763_884_900_000 },
        revision: 1,
        isolated: false,
        duplicate_key: false,
        counters: Counters::default(),
        verdicts: Arc::default(),
        tracker: Arc::default(),
        history: Arc::default(),
    }
}
