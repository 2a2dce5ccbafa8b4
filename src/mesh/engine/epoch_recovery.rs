//! Recovery of the epoch after the state file with it was damaged: this node listens before it publishes again, since
//! two reports with one id would convict it of equivocation.
//!
//! Only reports that verify with this node's own key raise the epoch. The heads of a peer are its claims, and one that
//! named the largest epoch could end this node for good; they only delay the end, within [`MAX_WAIT_MS`].

use std::collections::BTreeSet;

use crate::mesh::id::{MAX_INTEGER, NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::timestamps::Timestamps;

/// The longest time before this node publishes, in ms, even if no peer answers.
const MAX_WAIT_MS: u64 = 30_000;

/// The random part of the recovered epoch: two processes that recover without a clock and without peers must not choose
/// the same one.
const RANDOM: u64 = 1 << 20;

/// The random part of a provisional epoch: small, so that the recovered epoch of the next process exceeds it.
const PROVISIONAL_RANDOM: u64 = 1 << 10;

/// The random part of the step by which a refused nonce raises the provisional epoch. A process that ended while it
/// recovered may have used a higher one.
const REFUSED_STEP: u64 = 1 << 16;

/// The epoch with which an engine starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartEpoch {
    /// An epoch that is saved and larger than any that this node used before.
    New(u64),
    /// The saved epoch is damaged: the engine recovers one from its peers before it publishes.
    Lost {
        /// The largest epoch that other state names; 0 if none does.
        known: u64,
    },
}

/// A recovery in progress.
pub(super) struct EpochRecovery {
    /// The epoch of nonces until the end: larger than every epoch in a verified report under this node's key.
    provisional: u64,
    started_ms: u64,
    /// The peers that hold no later report under this node's key.
    answered: BTreeSet<NodeId>,
    /// Whether a report with the largest possible epoch was found, so that no epoch is left.
    exhausted: bool,
    rng: fastrand::Rng,
}

impl EpochRecovery {
    /// Starts a recovery; `known` is the largest epoch that this node's state names.
    pub(super) fn new(now: Timestamps, known: u64, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        // Without proof that this node signed it, the largest epoch counts as damage.
        let known = if known < MAX_INTEGER { known } else { 0 };
        let provisional = now.wall_ms.max(known + 1) + rng.u64(..PROVISIONAL_RANDOM);
        Self {
            provisional: provisional.min(MAX_INTEGER),
            started_ms: now.mono_ms,
            answered: BTreeSet::new(),
            exhausted: false,
            rng,
        }
    }

    /// The epoch of nonces until the end.
    pub(super) fn provisional(&self) -> u64 {
        self.provisional
    }

    /// Listens from the beginning after a gap in time, in which this node received nothing.
    pub(super) fn start_over(&mut self, now: Timestamps) {
        self.started_ms = now.mono_ms;
        self.answered.clear();
    }

    /// Applies a verified report under this node's key. Returns whether it shows, for the first time, that no epoch is
    /// left.
    pub(super) fn on_own_key_report(&mut self, held: ReportId) -> bool {
        if held.epoch >= MAX_INTEGER {
            return !std::mem::replace(&mut self.exhausted, true);
        }
        self.provisional = self.provisional.max(held.epoch + 1);
        false
    }

    /// Applies the heads in a message of `peer`, which name `held` as this node's newest report, after the reports in the
    /// message.
    pub(super) fn on_heads(&mut self, peer: &NodeId, held: Option<ReportId>) {
        // Otherwise a later message brings the report.
        if held.is_none_or(|held| held.epoch < self.provisional) {
            self.answered.insert(peer.clone());
        }
    }

    /// Raises the provisional epoch `used`, whose nonce a peer refused.
    pub(super) fn on_refused_nonce(&mut self, used: u64) {
        if used >= self.provisional {
            self.provisional = (used + 1 + self.rng.u64(..REFUSED_STEP)).min(MAX_INTEGER);
        }
    }

    /// When the recovery may end next, as of the step at `mono_ms`: monotonic time in ms.
    pub(super) fn due_ms(&self, mono_ms: u64, membership: &Membership) -> u64 {
        let listened_ms = self.started_ms + listen_ms(membership);
        if self.exhausted {
            u64::MAX
        } else if mono_ms < listened_ms {
            listened_ms
        } else {
            self.started_ms + MAX_WAIT_MS
        }
    }

    /// The recovered epoch, larger than all that this node is known to have used, once most of the peers that this node
    /// exchanges reports with have answered in two rounds of probes, or [`MAX_WAIT_MS`] have passed.
    pub(super) fn recovered(&mut self, now: Timestamps, membership: &Membership) -> Option<u64> {
        let waited_ms = now.mono_ms.saturating_sub(self.started_ms);
        let has_listened = waited_ms >= listen_ms(membership) && self.has_majority(membership);
        if self.exhausted || !(has_listened || waited_ms >= MAX_WAIT_MS) {
            return None;
        }
        let epoch = now.wall_ms.max(self.provisional) + self.rng.u64(..RANDOM);
        Some(epoch.min(MAX_INTEGER))
    }

    fn has_majority(&self, membership: &Membership) -> bool {
        let index = |id: &NodeId| membership.index(id.as_str());
        let answered =
            self.answered.iter().filter_map(index).filter(|&index| membership.exchanges_with(index));
        answered.count() * 2 > membership.exchange_peers()
    }
}

/// The time for two rounds of probes, in ms, at most [`MAX_WAIT_MS`].
fn listen_ms(membership: &Membership) -> u64 {
    (2 * membership.max_poll_ms()).min(MAX_WAIT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample;

    const EPOCH: u64 = 1_000_000_000;

    fn at(mono_ms: u64) -> Timestamps {
        Timestamps { mono_ms, wall_ms: 5_000 + mono_ms }
    }

    fn id(epoch: u64) -> ReportId {
        ReportId { epoch, seq: 7 }
    }

    fn recovery(known: u64) -> EpochRecovery {
        EpochRecovery::new(at(0), known, 1)
    }

    /// The recovered epoch when no peer answers.
    fn recovered(mut recovery: EpochRecovery) -> Option<u64> {
        let membership = sample::membership(&sample::members(3), 0);
        assert_eq!(recovery.recovered(at(MAX_WAIT_MS - 1), &membership), None);
        recovery.recovered(at(MAX_WAIT_MS), &membership)
    }

    #[test]
    fn epoch_exceeds_the_clock_and_all_own_reports() {
        for (known, held, least) in [
            (0, None, 5_000 + MAX_WAIT_MS),
            (EPOCH, None, EPOCH + 1),
            (EPOCH, Some(EPOCH + 9), EPOCH + 10),
            (EPOCH, Some(EPOCH - 9), EPOCH + 1),
        ] {
            let mut recovery = recovery(known);
            if let Some(held) = held {
                assert!(!recovery.on_own_key_report(id(held)));
            }
            let epoch = recovered(recovery).expect("an epoch");
            assert!((least..least + RANDOM + PROVISIONAL_RANDOM).contains(&epoch), "{epoch} of {least}");
        }
        let epochs = (0..20).map(|seed| EpochRecovery::new(at(0), EPOCH, seed));
        let epochs: BTreeSet<_> = epochs.filter_map(recovered).collect();
        assert!(epochs.len() >= 19, "random: {epochs:?}");
    }

    #[test]
    fn epoch_never_exceeds_the_largest_integer() {
        let mut almost = recovery(EPOCH);
        assert!(!almost.on_own_key_report(id(MAX_INTEGER - 1)));
        assert_eq!(recovered(almost), Some(MAX_INTEGER));
        let mut refused = recovery(MAX_INTEGER - 1);
        refused.on_refused_nonce(refused.provisional());
        assert_eq!(refused.provisional(), MAX_INTEGER);
        // An epoch in a file is no proof that this node used it.
        assert!(recovery(MAX_INTEGER).provisional() < EPOCH);
        let mut exhausted = recovery(EPOCH);
        assert!(exhausted.on_own_key_report(id(MAX_INTEGER)));
        assert!(!exhausted.on_own_key_report(id(MAX_INTEGER)), "reported once");
        assert_eq!(exhausted.due_ms(0, &sample::membership(&sample::members(3), 0)), u64::MAX);
        assert_eq!(recovered(exhausted), None);
    }

    #[test]
    fn recovery_ends_after_two_rounds_with_a_majority() {
        let mut members = sample::members(5);
        members[4].url = None;
        members[3].poll_rate_ms = 10_000;
        let membership = sample::membership(&members, 0);
        let mut recovery = recovery(EPOCH);
        for (peer, early) in [(1, None), (2, None), (2, None), (0, None), (9, None)] {
            recovery.on_heads(&sample::node_id(peer), early);
        }
        assert_eq!(recovery.recovered(at(20_000), &membership), None, "two of four peers");
        assert_eq!(recovery.due_ms(20_000, &membership), MAX_WAIT_MS);
        recovery.on_heads(&sample::node_id(4), None);
        assert_eq!(recovery.recovered(at(19_999), &membership), None, "two rounds of the slowest");
        assert_eq!(recovery.due_ms(19_999, &membership), 20_000);
        assert!(recovery.recovered(at(20_000), &membership).is_some());
        recovery.start_over(at(60_000));
        assert_eq!(recovery.recovered(at(80_000), &membership), None, "answers from before a gap");
        assert!(recovery.recovered(at(90_000), &membership).is_some());
    }

    #[test]
    fn peer_with_a_later_own_report_answers_once_it_has_sent_it() {
        let membership = sample::membership(&sample::members(2), 0);
        let mut recovery = recovery(EPOCH);
        let later = id(recovery.provisional());
        recovery.on_heads(&sample::node_id(1), Some(later));
        assert_eq!(recovery.recovered(at(2_000), &membership), None, "a head is only a claim");
        recovery.on_own_key_report(later);
        recovery.on_heads(&sample::node_id(1), Some(later));
        assert!(recovery.recovered(at(2_000), &membership).is_some_and(|epoch| epoch > later.epoch));
    }

    #[test]
    fn refused_nonce_raises_only_the_epoch_that_it_used() {
        let mut recovery = recovery(EPOCH);
        let used = recovery.provisional();
        recovery.on_refused_nonce(used - 1);
        assert_eq!(recovery.provisional(), used);
        recovery.on_refused_nonce(used);
        assert!(recovery.provisional() > used);
    }
}
