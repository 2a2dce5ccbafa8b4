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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample::{self, Pen};

    fn publisher() -> Publisher {
        Publisher::new(Box::new(Pen(sample::keypair(0))), 7)
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 1_000_000 + mono_ms }
    }

    fn publish(publisher: &mut Publisher, mono_ms: u64) -> VerifiedReport {
        let roster = sample::roster(&sample::members(2), 0);
        publisher.publish(at(mono_ms), &roster, false, false, Vec::new())
    }

    #[test]
    fn each_report_names_the_one_before_and_an_epoch_begins_anew() {
        let mut publisher = publisher();
        let first = publish(&mut publisher, 0);
        assert_eq!((first.stamp(), first.report().prev), (Stamp { epoch: 7, seq: 1 }, None));
        let second = publish(&mut publisher, 1_000);
        let place = Stamp { epoch: 7, seq: 2 };
        assert_eq!((second.stamp(), second.report().prev), (place, Some(*first.digest())));
        publisher.start_epoch(9);
        let third = publish(&mut publisher, 2_000);
        assert_eq!((third.stamp(), third.report().prev), (Stamp { epoch: 9, seq: 1 }, None));
    }

    #[test]
    fn a_change_waits_for_a_tenth_of_a_second_and_for_less_than_five_in_one() {
        let mut publisher = publisher();
        assert_eq!(publisher.due(at(0), 1_000, false), Some(Due::Change), "the first is due at once");
        publish(&mut publisher, 0);
        assert_eq!(publisher.due_ms(1_000), 1_000, "nothing has changed");
        // Each change comes 10 ms after the report before it.
        for (last_ms, expected_ms) in [(0, 100), (100, 200), (200, 300), (300, 1_000), (1_000, 1_100)] {
            publisher.hurry();
            assert_eq!(publisher.due_ms(1_000), expected_ms, "after the report of {last_ms}");
            assert_eq!(publisher.due(at(expected_ms - 1), 1_000, false), None);
            assert_eq!(publisher.due(at(expected_ms), 1_000, false), Some(Due::Change));
            publish(&mut publisher, expected_ms);
        }
        assert_eq!(publisher.due(at(2_100), 1_000, false), Some(Due::Interval));
    }

    #[test]
    fn no_interval_outruns_what_receivers_take() {
        let mut publisher = publisher();
        let mut made = 0;
        for mono_ms in 0..10_000 {
            if publisher.due(at(mono_ms), 1, false).is_some() {
                publish(&mut publisher, mono_ms);
                made += 1;
            }
        }
        assert_eq!(made, 40);
    }

    #[test]
    fn the_last_report_waits_for_nothing_and_comes_once() {
        let mut publisher = publisher();
        publish(&mut publisher, 0);
        assert_eq!(publisher.due(at(1), 1_000, true), Some(Due::Change));
        publish(&mut publisher, 1);
        assert_eq!(publisher.due(at(5_000), 1_000, true), None);
        assert_eq!(publisher.due_ms(1_000), u64::MAX);
    }
}
