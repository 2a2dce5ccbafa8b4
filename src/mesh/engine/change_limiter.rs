//! Limits the reports of changes, so that changes cannot cause an endless storm: each report is pushed to several peers
//! and verified by all nodes, and while many hosts are overloaded, that work itself causes timeouts, which are changes.
//!
//! The mesh has about 12 reports of ordinary changes in a second, however many nodes it has: each node may publish two
//! immediately and then one in [`REFILL_MS_PER_NODE`] × N ms.

/// How soon to report a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Immediately, without a token.
    Immediate,
    /// Immediately for [`MAX_URGENT`] targets, then like an ordinary change: a target that had been the same for long is
    /// offline.
    Urgent,
    /// Two immediately, then one after the other.
    Ordinary,
    /// With the next regular report.
    Deferred,
}

/// The number of ordinary changes that may be reported immediately.
const MAX_ORDINARY: u64 = 2;

/// The number of urgent changes that may be reported immediately: as many nodes of a site may fail together.
const MAX_URGENT: u64 = 8;

/// The time until another ordinary change may be reported, in ms for each node of the network.
const REFILL_MS_PER_NODE: u64 = 80;

/// The rates of one network.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChangeRates {
    /// The number of nodes with a key.
    pub(super) nodes: u64,
    /// [`Membership::interval_ms`](crate::mesh::membership::Membership::interval_ms).
    pub(super) interval_ms: u64,
}

impl ChangeRates {
    /// The time until another ordinary change may be reported, in ms.
    fn ordinary_ms(self) -> u64 {
        (self.nodes * REFILL_MS_PER_NODE).max(1)
    }

    /// The time until another urgent change may be reported, in ms: all in four intervals.
    fn urgent_ms(self) -> u64 {
        (4 * self.interval_ms / MAX_URGENT).max(1)
    }
}

/// A token bucket that is full at first. Time is monotonic, in ms.
#[derive(Debug)]
struct Bucket {
    max: u64,
    tokens: u64,
    /// When the newest token was added, or the bucket was full.
    refilled_ms: u64,
}

impl Bucket {
    fn full(max: u64) -> Self {
        Self { max, tokens: max, refilled_ms: 0 }
    }

    fn refill(&mut self, now_ms: u64, token_ms: u64) {
        let added = now_ms.saturating_sub(self.refilled_ms) / token_ms;
        self.tokens = self.tokens.saturating_add(added).min(self.max);
        self.refilled_ms = if self.tokens == self.max { now_ms } else { self.refilled_ms + added * token_ms };
    }

    fn try_take(&mut self, now_ms: u64, token_ms: u64) -> bool {
        self.refill(now_ms, token_ms);
        let has_token = self.tokens > 0;
        self.tokens -= u64::from(has_token);
        has_token
    }

    /// When the next token is available.
    fn next_ms(&self, token_ms: u64) -> u64 {
        if self.tokens > 0 { 0 } else { self.refilled_ms + token_ms }
    }
}

/// The changes that are not yet in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pending {
    Nothing,
    /// They wait for a token.
    Waiting,
    /// They may be reported now.
    Granted,
}

/// The limiter of one node's reports of changes.
#[derive(Debug)]
pub(super) struct ChangeLimiter {
    pending: Pending,
    ordinary: Bucket,
    urgent: Bucket,
}

impl ChangeLimiter {
    /// A limiter that grants the first report.
    pub(super) fn new() -> Self {
        Self {
            pending: Pending::Granted,
            ordinary: Bucket::full(MAX_ORDINARY),
            urgent: Bucket::full(MAX_URGENT),
        }
    }

    /// Requests a report of a change at `now_ms`. Changes share a report that is already granted.
    pub(super) fn request(&mut self, now_ms: u64, urgency: Urgency, rates: ChangeRates) {
        if self.pending == Pending::Granted || urgency == Urgency::Deferred {
            return;
        }
        let is_granted = urgency == Urgency::Immediate
            || (urgency == Urgency::Urgent && self.urgent.try_take(now_ms, rates.urgent_ms()))
            || self.ordinary.try_take(now_ms, rates.ordinary_ms());
        self.pending = if is_granted { Pending::Granted } else { Pending::Waiting };
    }

    /// When a report of the pending changes is granted: 0 for now, none without changes.
    pub(super) fn granted_ms(&self, rates: ChangeRates) -> Option<u64> {
        match self.pending {
            Pending::Nothing => None,
            Pending::Waiting => Some(self.ordinary.next_ms(rates.ordinary_ms())),
            Pending::Granted => Some(0),
        }
    }

    /// Records that a report was published at `now_ms`, which contains all changes. Those that waited use the token for
    /// which they waited, if it is there.
    pub(super) fn published(&mut self, now_ms: u64, rates: ChangeRates) {
        if self.pending == Pending::Waiting {
            self.ordinary.try_take(now_ms, rates.ordinary_ms());
        }
        self.pending = Pending::Nothing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: ChangeRates = ChangeRates { nodes: 64, interval_ms: 10_000 };

    /// When each of `count` changes, requested at `from_ms`, is reported if that takes as long as its limit.
    fn reported_ms(limiter: &mut ChangeLimiter, from_ms: u64, count: usize, urgency: Urgency) -> Vec<u64> {
        let mut now_ms = from_ms;
        let report = |_| {
            limiter.request(now_ms, urgency, RATES);
            now_ms = now_ms.max(limiter.granted_ms(RATES)?);
            limiter.published(now_ms, RATES);
            Some(now_ms)
        };
        (0..count).map_while(report).collect()
    }

    fn started() -> ChangeLimiter {
        let mut limiter = ChangeLimiter::new();
        assert_eq!(limiter.granted_ms(RATES), Some(0), "the first report is due");
        limiter.published(0, RATES);
        assert_eq!(limiter.granted_ms(RATES), None);
        limiter
    }

    #[test]
    fn two_ordinary_changes_are_immediate_then_one_in_80_ms_a_node() {
        let mut limiter = started();
        let reported = reported_ms(&mut limiter, 100_000, 5, Urgency::Ordinary);
        assert_eq!(reported, [100_000, 100_000, 105_120, 110_240, 115_360]);
        // One token is back after 5.12 s of quiet, both after 10.24 s.
        for (quiet_ms, expected) in [(5_119, 0), (5_120, 1), (10_239, 1), (10_240, 2), (99_999, 2)] {
            let mut limiter = started();
            reported_ms(&mut limiter, 100_000, 2, Urgency::Ordinary);
            let reported = reported_ms(&mut limiter, 100_000 + quiet_ms, 3, Urgency::Ordinary);
            let immediate = reported.iter().filter(|at_ms| **at_ms == 100_000 + quiet_ms).count();
            assert_eq!(immediate, expected, "after {quiet_ms} ms");
        }
    }

    #[test]
    fn eight_urgent_changes_are_immediate_then_they_are_ordinary() {
        let mut limiter = started();
        let reported = reported_ms(&mut limiter, 100_000, 11, Urgency::Urgent);
        assert_eq!(reported[..10], [100_000; 10], "eight urgent and two ordinary tokens");
        assert_eq!(reported[10], 105_120);
        // Eight urgent tokens are back after four intervals.
        let reported = reported_ms(&mut limiter, 145_000, 11, Urgency::Urgent);
        assert_eq!(reported[9], 145_000);
        assert!(reported[10] > 145_000);
    }

    #[test]
    fn immediate_changes_are_never_limited_and_deferred_ones_request_nothing() {
        let mut limiter = started();
        assert_eq!(reported_ms(&mut limiter, 7, 100, Urgency::Immediate), [7; 100]);
        assert!(reported_ms(&mut limiter, 7, 1, Urgency::Deferred).is_empty());
        assert_eq!(reported_ms(&mut limiter, 7, 2, Urgency::Ordinary), [7; 2], "no token was used");
    }

    #[test]
    fn changes_share_a_granted_report_and_waiting_ones_follow_with_an_immediate_one() {
        let mut limiter = started();
        for _ in 0..50 {
            limiter.request(7, Urgency::Ordinary, RATES);
        }
        limiter.published(7, RATES);
        assert_eq!(reported_ms(&mut limiter, 7, 1, Urgency::Ordinary), [7], "the first ones used one token");
        limiter.request(8, Urgency::Ordinary, RATES);
        assert!(limiter.granted_ms(RATES) > Some(8));
        limiter.request(8, Urgency::Immediate, RATES);
        assert_eq!(limiter.granted_ms(RATES), Some(0));
    }

    #[test]
    fn a_regular_report_takes_waiting_changes_along_without_a_token() {
        let mut limiter = started();
        reported_ms(&mut limiter, 100_000, 2, Urgency::Ordinary);
        limiter.request(100_000, Urgency::Ordinary, RATES);
        limiter.published(103_000, RATES);
        assert_eq!(limiter.granted_ms(RATES), None);
        assert_eq!(reported_ms(&mut limiter, 105_120, 1, Urgency::Ordinary), [105_120]);
    }
}
