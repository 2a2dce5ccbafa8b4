//! This node's own reports: when the next one is due, and its place in the chain.

use std::collections::VecDeque;

use super::id::{NodeId, Stamp};
use super::observation::Observation;
use super::picture::Now;
use super::report::{Digest, Report, VerifiedReport};
use super::roster::Roster;
use super::state::Seal;

/// Two reports are at least this far apart, in ms.
const GAP_MS: u64 = 100;

/// Reports in any second at most: below what receivers take of one author (`intake::AUTHOR_RATE`).
const PER_SECOND: usize = 4;

/// Why a report is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The interval has passed.
    Interval,
    /// Something has changed.
    Change,
}

impl Due {
    pub(super) fn is_change(self) -> bool {
        self == Self::Change
    }
}

/// Makes this node's reports.
pub(super) struct Publisher {
    seal: Box<dyn Seal>,
    stamp: Stamp,
    prev: Option<Digest>,
    hurried: bool,
    left: bool,
    /// When the newest few were made, in monotonic ms.
    recent_ms: VecDeque<u64>,
}

impl Publisher {
    pub(super) fn new(seal: Box<dyn Seal>, epoch: u64) -> Self {
        let stamp = Stamp { epoch, seq: 0 };
        Self { seal, stamp, prev: None, hurried: true, left: false, recent_ms: VecDeque::new() }
    }

    /// The newest report's place; `seq` 0 before the first.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Something has changed that others should hear of at once.
    pub(super) fn hurry(&mut self) {
        self.hurried = true;
    }

    /// Begins a new chain.
    pub(super) fn start_epoch(&mut self, epoch: u64) {
        self.stamp = Stamp { epoch, seq: 0 };
        self.prev = None;
        self.hurried = true;
    }

    /// When the next report is due, in monotonic ms.
    pub(super) fn due_ms(&self, interval_ms: u64) -> u64 {
        if self.left {
            return u64::MAX;
        }
        let Some(&last_ms) = self.recent_ms.back() else { return 0 };
        let pause_ms = if self.hurried { GAP_MS } else { interval_ms.max(GAP_MS) };
        let full = self.recent_ms.len() >= PER_SECOND;
        let crowded_ms = if full { self.recent_ms[self.recent_ms.len() - PER_SECOND] + 1_000 } else { 0 };
        (last_ms + pause_ms).max(crowded_ms)
    }

    /// Whether a report is due now. The last one, on leaving, waits for nothing and comes once.
    pub(super) fn due(&mut self, now: Now, interval_ms: u64, leaving: bool) -> Option<Due> {
        if leaving {
            return (!std::mem::replace(&mut self.left, true)).then_some(Due::Change);
        }
        if self.due_ms(interval_ms) > now.mono_ms {
            return None;
        }
        Some(if self.hurried { Due::Change } else { Due::Interval })
    }

    /// Makes and seals the next report.
    pub(super) fn publish(
        &mut self,
        now: Now,
        roster: &Roster,
        isolated: bool,
        leaving: bool,
        observations: Vec<(NodeId, Observation)>,
    ) -> VerifiedReport {
        self.stamp.seq += 1;
        let report = self.seal.seal(Report {
            network_id: roster.network_id().clone(),
            node_id: roster.own().id.clone(),
            epoch: self.stamp.epoch,
            seq: self.stamp.seq,
            prev: self.prev,
            at_ms: now.wall_ms,
            interval_ms: roster.publish_ms(),
            version: crate::VERSION.to_owned(),
            config: roster.digest().to_owned(),
            isolated,
            leaving,
            observations,
        });
        self.prev = Some(*report.digest());
        self.hurried = false;
        self.recent_ms.push_back(now.mono_ms);
        if self.recent_ms.len() > PER_SECOND {
            self.recent_ms.pop_front();
        }
        report
    }
}
