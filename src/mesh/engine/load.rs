//! Whether this node is overloaded, by how late its own threads are.

use std::collections::VecDeque;

use crate::mesh::timestamps::Timestamps;

/// The late time within two intervals from which this node is overloaded, as a multiple of the greatest lateness that does
/// not count: a short delay happens on every host.
const MIN_LATE: u64 = 3;

/// The lateness of this node's threads.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// The delays in the last two intervals that count, without what overlaps with an earlier one: their end, as monotonic
    /// time in ms, and their length in ms.
    delays: VecDeque<(u64, u64)>,
    /// The greatest lateness since the last report, in ms.
    max_ms: u64,
    overloaded: bool,
}

impl Load {
    /// Records that a thread was late by `lateness_ms`; `limit_ms` is the greatest lateness that does not count. Threads
    /// that were late at the same time count once.
    pub(super) fn record(&mut self, now: Timestamps, lateness_ms: u64, limit_ms: u64) {
        self.max_ms = self.max_ms.max(lateness_ms);
        let counted_until_ms = self.delays.back().map_or(0, |(end_ms, _)| *end_ms);
        let delay_ms = lateness_ms.min(now.mono_ms.saturating_sub(counted_until_ms));
        if lateness_ms > limit_ms && delay_ms > 0 {
            self.delays.push_back((now.mono_ms, delay_ms));
        }
    }

    /// Decides whether this node is overloaded: its threads were late for [`MIN_LATE`] × `limit_ms` in the last two
    /// intervals. Returns whether that changed.
    pub(super) fn update(&mut self, now: Timestamps, interval_ms: u64, limit_ms: u64) -> bool {
        let since_ms = now.mono_ms.saturating_sub(2 * interval_ms);
        while self.delays.front().is_some_and(|(end_ms, _)| *end_ms < since_ms) {
            self.delays.pop_front();
        }
        let late_ms = self.delays.iter().fold(0, |sum: u64, (_, delay_ms)| sum.saturating_add(*delay_ms));
        let overloaded = late_ms > MIN_LATE * limit_ms;
        std::mem::replace(&mut self.overloaded, overloaded) != overloaded
    }

    /// Whether this node is overloaded.
    pub(super) fn is_overloaded(&self) -> bool {
        self.overloaded
    }

    /// Returns the greatest lateness since the last call, in ms.
    pub(super) fn take_max_ms(&mut self) -> u64 {
        std::mem::take(&mut self.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL_MS: u64 = 1_000;
    const LIMIT_MS: u64 = 250;

    fn at(mono_ms: u64) -> Timestamps {
        Timestamps { mono_ms, wall_ms: 0 }
    }

    #[test]
    fn late_time_of_three_limits_in_two_intervals_is_overload() {
        let is_overloaded = |late: &[(u64, u64)], now_ms: u64| {
            let mut load = Load::default();
            for (at_ms, lateness_ms) in late {
                load.record(at(*at_ms), *lateness_ms, LIMIT_MS);
            }
            load.update(at(now_ms), INTERVAL_MS, LIMIT_MS);
            load.is_overloaded()
        };
        assert!(!is_overloaded(&[], 10_000));
        assert!(!is_overloaded(&[(6_000, 750)], 6_000));
        assert!(is_overloaded(&[(6_000, 751)], 6_000));
        assert!(is_overloaded(&[(5_000, 251), (5_500, 251), (6_000, 251)], 6_000));
        assert!(!is_overloaded(&[(5_000, 250), (5_500, 251), (6_000, 251)], 6_000));
        assert!(is_overloaded(&[(5_000, 400), (6_000, 400)], 7_000));
        assert!(!is_overloaded(&[(5_000, 400), (6_000, 400)], 7_001), "5,000 is too long ago");
        // Several threads were late at the same time.
        assert!(!is_overloaded(&[(6_000, 700), (6_000, 700), (6_010, 700)], 6_010));
        assert!(is_overloaded(&[(6_000, 700), (6_300, 700)], 6_300));
    }

    #[test]
    fn changes_and_the_greatest_lateness_are_returned_once() {
        let mut load = Load::default();
        for (at_ms, lateness_ms) in [(4_000, 300), (5_000, 900), (5_000, 400)] {
            load.record(at(at_ms), lateness_ms, LIMIT_MS);
        }
        assert!(load.update(at(5_000), INTERVAL_MS, LIMIT_MS));
        assert!(!load.update(at(5_001), INTERVAL_MS, LIMIT_MS));
        assert!(load.update(at(7_001), INTERVAL_MS, LIMIT_MS) && !load.is_overloaded());
        assert_eq!((load.take_max_ms(), load.take_max_ms()), (900, 0));
    }
}
