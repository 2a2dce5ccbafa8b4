//! Whether this node is overloaded, by how late its own threads are.

use std::collections::VecDeque;

use crate::mesh::timestamps::Timestamps;

/// The number of late moments within two intervals from which this node is overloaded: a single one happens on every
/// host.
const MIN_LATE: usize = 3;

/// The lateness of this node's threads.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// When threads were last late: monotonic times in ms, at most [`MIN_LATE`].
    late_ms: VecDeque<u64>,
    /// The greatest lateness since the last report, in ms.
    max_ms: u64,
    overloaded: bool,
}

impl Load {
    /// Records that a thread was late by `lateness_ms`. `limit_ms` is the greatest lateness that does not count; a longer
    /// one counts once for each time that it exceeds.
    pub(super) fn record(&mut self, now: Timestamps, lateness_ms: u64, limit_ms: u64) {
        self.max_ms = self.max_ms.max(lateness_ms);
        // A long delay hides several late moments.
        let moments = lateness_ms.saturating_sub(1) / limit_ms.max(1);
        for _ in 0..moments.min(MIN_LATE as u64) {
            if self.late_ms.len() == MIN_LATE {
                self.late_ms.pop_front();
            }
            self.late_ms.push_back(now.mono_ms);
        }
    }

    /// Decides whether this node is overloaded: its threads were late [`MIN_LATE`] times in the last two intervals.
    /// Returns whether that changed.
    pub(super) fn update(&mut self, now: Timestamps, interval_ms: u64) -> bool {
        let since_ms = now.mono_ms.saturating_sub(2 * interval_ms);
        let overloaded = self.late_ms.len() == MIN_LATE && self.late_ms.front() >= Some(&since_ms);
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

    fn at(mono_ms: u64) -> Timestamps {
        Timestamps { mono_ms, wall_ms: 0 }
    }

    #[test]
    fn three_late_moments_in_two_intervals_are_overload() {
        const INTERVAL_MS: u64 = 1_000;
        let is_overloaded = |late: &[(u64, u64)], now_ms: u64| {
            let mut load = Load::default();
            for (at_ms, lateness_ms) in late {
                load.record(at(*at_ms), *lateness_ms, 250);
            }
            load.update(at(now_ms), INTERVAL_MS);
            load.is_overloaded()
        };
        assert!(!is_overloaded(&[], 10_000));
        assert!(!is_overloaded(&[(5_000, 500), (6_000, 500)], 6_000));
        assert!(is_overloaded(&[(5_000, 501), (6_000, 251)], 6_000));
        assert!(!is_overloaded(&[(6_000, 750)], 6_000));
        assert!(is_overloaded(&[(6_000, 751)], 6_000), "three times the limit");
        assert!(is_overloaded(&[(6_000, u64::MAX)], 6_000));
        assert!(is_overloaded(&[(5_000, 251), (5_500, 251), (6_000, 251)], 6_000));
        assert!(!is_overloaded(&[(5_000, 250), (5_500, 251), (6_000, 251)], 6_000));
        assert!(is_overloaded(&[(1_000, 251), (5_000, 251), (5_500, 251), (6_000, 251)], 7_000));
        assert!(!is_overloaded(&[(5_000, 251), (5_500, 251), (6_000, 251)], 7_001), "5,000 is too long ago");
    }

    #[test]
    fn changes_and_the_greatest_lateness_are_returned_once() {
        let mut load = Load::default();
        for lateness_ms in [300, 900, 400] {
            load.record(at(5_000), lateness_ms, 250);
        }
        assert!(load.update(at(5_000), 1_000));
        assert!(!load.update(at(5_001), 1_000));
        assert!(load.update(at(7_001), 1_000) && !load.is_overloaded());
        assert_eq!((load.take_max_ms(), load.take_max_ms()), (900, 0));
    }
}
