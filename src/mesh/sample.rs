//! Keys, members, reports and pictures for unit tests; what the simulator needs as well stands there.

use std::sync::Arc;

use super::snapshot::{Counters, MemberState, Snapshot, Timestamps};
use super::report::VerifiedReport;

#[path = "../../tests/simulation/sample.rs"]
mod shared;

pub(super) use shared::*;

/// What node 0 of `count` sees that holds `held`, each for a second at 10,000 ms of monotonic time.
pub(super) fn picture(count: usize, held: &[VerifiedReport]) -> Snapshot {
    let roster = roster(&members(count), 0);
    let mut slots = vec![MemberState::default(); count];
    for report in held {
        let index = roster.index(report.author().as_str()).expect("a member");
        let mut slot =
            MemberState { created_ms: 9_000, received_ms: 9_000, advanced: true, ..MemberState::default() };
        slot.set_latest(Arc::new(report.clone()), &roster);
        slots[index] = slot;
    }
    Snapshot {
        membership: roster,
        states: slots.into_iter().collect(),
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
