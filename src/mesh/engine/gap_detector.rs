//! Detects that this process did not run for a while: it was stopped, or the machine was suspended or stalled.

use crate::mesh::timestamps::Timestamps;

/// The shortest gap, in ms: the event loop ticks at least once a second, so a shorter one proves nothing.
const MIN_GAP_MS: u64 = 3_000;

/// When the engine last ran.
#[derive(Debug)]
pub(super) struct GapDetector {
    last_step_ms: u64,
    /// Until when requests that were queued during a gap may arrive: monotonic time in ms.
    backlog_until_ms: u64,
}

impl GapDetector {
    pub(super) fn new(now: Timestamps) -> Self {
        Self { last_step_ms: now.mono_ms, backlog_until_ms: 0 }
    }

    /// Whether this process did not run for a while if it did nothing for `gap_ms`.
    pub(super) fn is_gap(gap_ms: u64, max_poll_ms: u64) -> bool {
        gap_ms > (2 * max_poll_ms).max(MIN_GAP_MS)
    }

    /// Records a step. Returns the length in ms of the gap before it, if it was longer than two rounds of probes.
    pub(super) fn step(&mut self, now: Timestamps, max_poll_ms: u64) -> Option<u64> {
        let gap_ms = now.mono_ms.saturating_sub(self.last_step_ms);
        self.last_step_ms = now.mono_ms;
        if !Self::is_gap(gap_ms, max_poll_ms) {
            return None;
        }
        self.backlog_until_ms = now.mono_ms + max_poll_ms;
        Some(gap_ms)
    }

    /// The last step: monotonic time in ms.
    pub(super) fn last_step_ms(&self) -> u64 {
        self.last_step_ms
    }

    /// Whether a request that arrives now may have been sent before the end of a gap.
    pub(super) fn may_be_backlog(&self, now: Timestamps) -> bool {
        now.mono_ms < self.backlog_until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Timestamps {
        Timestamps { mono_ms, wall_ms: 0 }
    }

    #[test]
    fn gap_is_longer_than_two_rounds_and_three_seconds() {
        for (max_poll_ms, gap_ms, expected) in [
            (1_000, 3_000, None),
            (1_000, 3_001, Some(3_001)),
            (10_000, 20_000, None),
            (10_000, 20_001, Some(20_001)),
        ] {
            let mut detector = GapDetector::new(at(5));
            assert_eq!(detector.step(at(5 + gap_ms), max_poll_ms), expected, "{max_poll_ms}");
            assert_eq!(detector.may_be_backlog(at(5 + gap_ms + max_poll_ms - 1)), expected.is_some());
            assert!(!detector.may_be_backlog(at(5 + gap_ms + max_poll_ms)));
        }
    }
}
