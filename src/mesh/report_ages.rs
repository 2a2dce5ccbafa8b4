//! How long this node has held reports of a member, so that it sends a peer what no other node seems to send.

use super::id::ReportId;

/// When the reports of one member were stored, by samples: the time is measured, not the number of reports, which their
/// author chooses.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportAges {
    /// The newest report that was at least `wait_ms` old when `sample` was taken.
    settled: ReportId,
    /// A report, and when it was stored: monotonic time in ms.
    sample: (ReportId, u64),
}

impl ReportAges {
    /// Records that the report `id` is stored at `now_ms`. `wait_ms` is the age for which [`Self::stored_by`] is asked.
    pub(super) fn record(&mut self, id: ReportId, now_ms: u64, wait_ms: u64) {
        let (sampled, sampled_ms) = self.sample;
        if sampled_ms + wait_ms <= now_ms {
            self.settled = sampled;
            self.sample = (id, now_ms);
        }
    }

    /// The newest sampled report that was stored by `by_ms`; (0, 0) without one.
    pub fn stored_by(&self, by_ms: u64) -> ReportId {
        let (sampled, sampled_ms) = self.sample;
        if sampled_ms <= by_ms { sampled } else { self.settled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> ReportId {
        ReportId { epoch: 7, seq }
    }

    #[test]
    fn reports_of_a_fast_author_settle_like_those_of_others() {
        let mut held = ReportAges::default();
        assert_eq!(held.stored_by(10_000), ReportId::default());
        // One report in 100 ms, each a thousand ahead.
        for at in 0..=10 {
            held.record(id(at * 1_000), 1_000 + at * 100, 250);
        }
        // Samples at 1.0, 1.3, 1.6 and 1.9 s.
        assert_eq!(held.stored_by(1_899), id(6_000));
        assert_eq!(held.stored_by(1_900), id(9_000));
    }

    #[test]
    fn a_report_settles_after_the_wait() {
        let mut held = ReportAges::default();
        held.record(id(1), 1_000, 250);
        assert_eq!((held.stored_by(999), held.stored_by(1_000)), (ReportId::default(), id(1)));
        held.record(id(2), 1_249, 250);
        assert_eq!(held.stored_by(1_249), id(1), "the first has not settled yet, so there is no new sample");
        held.record(id(3), 1_250, 250);
        assert_eq!((held.stored_by(1_249), held.stored_by(1_250)), (id(1), id(3)));
    }
}
