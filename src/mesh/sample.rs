//! Keys, members, reports and pictures for unit tests; what the simulator needs as well stands there.

use std::sync::Arc;

use super::picture::{Counters, Now, Picture, Slot};
use super::report::VerifiedReport;

#[path = "../../tests/simulation/sample.rs"]
mod shared;

pub(super) use shared::*;

/// What node 0 of `count` sees that holds `held`, each for a second at 10,000 ms of monotonic time.
pub(super) fn picture(count: usize, held: &[VerifiedReport]) -> Picture {
    let roster = roster(&members(count), 0);
    let mut slots = vec![Arc::<Slot>::default(); count];
    for report in held {
        let index = roster.index(report.author().as_str()).expect("a member");
        let mut slot = Slot { origin_ms: 9_000, arrived_ms: 9_000, advanced: true, ..Slot::default() };
        slot.hold(Arc::new(report.clone()), &roster);
        slots[index] = Arc::new(slot);
    }
    Picture {
        roster,
        slots,
        at: Now { mono_ms: 10_000, wall_ms: 1_763_884_900_000 },
        revision: 1,
        isolated: false,
        twin: false,
        counters: Counters::default(),
        verdicts: Arc::default(),
        settled: Arc::default(),
        history: Arc::default(),
    }
}
