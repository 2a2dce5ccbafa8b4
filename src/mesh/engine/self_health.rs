//! The health of this node by its own evidence: whether it is isolated, whether it must refute its observers
//! (Lifeguard), and whether another process uses its key.

use super::peers::Peers;
use crate::mesh::id::{MAX_INTEGER, ReportId};
use crate::mesh::isolation::is_isolated;
use crate::mesh::report_table::ReportTable;
use crate::mesh::silence_limits::LEAVE_GRACE_MS;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::observation::ProbeStatus;

/// The health of this node in the network, by its own evidence.
#[derive(Debug, Default)]
pub(super) struct SelfHealth {
    isolated: bool,
    duplicate_key: bool,
    /// Whether the epoch was raised once because a peer held a newer report under this node's key.
    superseded: bool,
    /// When refuting ends: monotonic time in ms.
    refute_until_ms: u64,
    /// When the next refuting calls are due: monotonic time in ms.
    next_refute_ms: u64,
    /// When this node last published a report immediately in order to refute: monotonic time in ms.
    refuted_ms: Option<u64>,
}

/// The meaning of a report under this node's own key that this process did not publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum OwnKeyReport {
    /// It is older than what this process published.
    Old,
    /// State was lost or restored: this node continues with a higher epoch.
    Superseded {
        /// The epoch from now on.
        epoch: u64,
    },
    /// Not the first such report: another process signs with the same key.
    DuplicateKey,
}

impl SelfHealth {
    pub(super) fn is_isolated(&self) -> bool {
        self.isolated
    }

    pub(super) fn has_duplicate_key(&self) -> bool {
        self.duplicate_key
    }

    /// Applies the isolation rule to this node's own observations. Returns whether the result changed.
    pub(super) fn update_isolation(&mut self, table: &ReportTable, peers: &Peers, now: Timestamps) -> bool {
        let counted = table.membership().observed().iter().filter(|&&index| {
            let state = &table.states()[index];
            let is_recent = now.mono_ms.saturating_sub(state.received_ms) <= LEAVE_GRACE_MS;
            let left =
                is_recent && state.latest.as_ref().is_some_and(|latest| latest.report().leaving.is_some());
            !left && (peers[index].ever_answered || state.latest.is_some())
        });
        let isolated = is_isolated(counted.map(|&index| peers[index].observation.status));
        std::mem::replace(&mut self.isolated, isolated) != isolated
    }

    /// Starts to refute if more than a quarter of this node's observers with fresh reports report it offline, `own`, its
    /// newest report, does not refute them, and one of these observations is new. Returns whether it starts, so that a
    /// report is to be published.
    pub(super) fn update_refutation(
        &mut self,
        table: &ReportTable,
        peers: &mut Peers,
        own: ReportId,
        now: Timestamps,
    ) -> bool {
        let membership = table.membership();
        let (mut observers, mut doubters, mut is_new) = (0, 0, false);
        for index in membership.observers(membership.me()) {
            if !table.is_fresh(index, now.mono_ms) {
                continue;
            }
            let Some(observation) = table.states()[index].observation(membership.me()) else { continue };
            observers += 1;
            let is_refuted = observation.head.is_some_and(|head| own.refutes(head));
            if observation.status != ProbeStatus::Offline || is_refuted {
                continue;
            }
            doubters += 1;
            let refuted = &mut peers[index].refuted_since_ms;
            is_new |= refuted.replace(observation.since_ms) != Some(observation.since_ms);
        }
        if !is_new || doubters * 4 <= observers {
            return false;
        }
        self.refute_until_ms = now.mono_ms + 2 * membership.max_poll_ms();
        self.next_refute_ms = now.mono_ms;
        true
    }

    /// Whether a refuting report may be published without a limit, as one in each interval is.
    pub(super) fn may_refute_immediately(&mut self, now: Timestamps, interval_ms: u64) -> bool {
        let may = self.refuted_ms.is_none_or(|last_ms| now.mono_ms.saturating_sub(last_ms) >= interval_ms);
        if may {
            self.refuted_ms = Some(now.mono_ms);
        }
        may
    }

    /// Whether refuting calls are due. If so, schedules the next ones a quarter of `max_poll_ms` later.
    pub(super) fn refutation_is_due(&mut self, now: Timestamps, max_poll_ms: u64) -> bool {
        if now.mono_ms >= self.refute_until_ms || now.mono_ms < self.next_refute_ms {
            return false;
        }
        self.next_refute_ms = now.mono_ms + max_poll_ms / 4;
        true
    }

    /// When the next refuting calls are due, as of the step at `mono_ms`: monotonic time in ms.
    pub(super) fn refutation_due_ms(&self, mono_ms: u64) -> Option<u64> {
        (mono_ms < self.refute_until_ms).then_some(self.next_refute_ms)
    }

    /// Classifies a report `held` by a peer under this node's key; `own` is the newest that this process published.
    pub(super) fn on_own_key_report(
        &mut self,
        held: ReportId,
        own: ReportId,
        now: Timestamps,
    ) -> OwnKeyReport {
        if held < own {
            return OwnKeyReport::Old;
        }
        if std::mem::replace(&mut self.superseded, true) || held.epoch >= MAX_INTEGER {
            self.duplicate_key = true;
            return OwnKeyReport::DuplicateKey;
        }
        OwnKeyReport::Superseded { epoch: (held.epoch + 1).max(now.wall_ms).min(MAX_INTEGER) }
    }
}
