//! This node's own reports: when the next one is due, and its place in the chain.

use std::collections::VecDeque;

use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::observation::Observation;
use crate::mesh::wire::report::{Digest, Report, VerifiedReport};

/// Two reports are at least this far apart, in ms.
const MIN_GAP_MS: u64 = 100;

/// Reports in any second at most: below what receivers take of one author (`intake::AUTHOR_RATE`).
const MAX_PER_SECOND: usize = 4;

/// Why a report is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishReason {
    /// The interval has passed.
    Interval,
    /// Something has changed.
    Change,
}

impl PublishReason {
    pub(super) fn is_change(self) -> bool {
        self == Self::Change
    }
}

/// Signs payloads with this node's key. Ed25519 is deterministic (RFC 8032), so this adds no randomness.
pub trait Signer: Send {
    /// The report in a signed DSSE envelope.
    fn sign(&self, report: Report) -> VerifiedReport;
}

/// What a report says besides its id and configuration.
pub(super) struct ReportContent {
    pub(super) isolated: bool,
    pub(super) leaving: bool,
    pub(super) observations: Vec<(NodeId, Observation)>,
}

/// Makes this node's reports.
pub(super) struct Publisher {
    signer: Box<dyn Signer>,
    last_id: ReportId,
    prev: Option<Digest>,
    publish_requested: bool,
    final_published: bool,
    /// When the newest few were made, in monotonic ms.
    recent_ms: VecDeque<u64>,
}

impl Publisher {
    pub(super) fn new(signer: Box<dyn Signer>, epoch: u64) -> Self {
        let last_id = ReportId { epoch, seq: 0 };
        Self {
            signer,
            last_id,
            prev: None,
            publish_requested: true,
            final_published: false,
            recent_ms: VecDeque::new(),
        }
    }

    /// The newest report's place; `seq` 0 before the first.
    pub(super) fn last_id(&self) -> ReportId {
        self.last_id
    }

    /// Something has changed that others should hear of at once.
    pub(super) fn request_publish(&mut self) {
        self.publish_requested = true;
    }

    /// Begins a new chain.
    pub(super) fn start_epoch(&mut self, epoch: u64) {
        self.last_id = ReportId { epoch, seq: 0 };
        self.prev = None;
        self.publish_requested = true;
    }

    /// When the next report is due, in monotonic ms.
    pub(super) fn due_ms(&self, interval_ms: u64) -> u64 {
        if self.final_published {
            return u64::MAX;
        }
        let Some(&last_ms) = self.recent_ms.back() else { return 0 };
        let pause_ms = if self.publish_requested { MIN_GAP_MS } else { interval_ms.max(MIN_GAP_MS) };
        let full = self.recent_ms.len() >= MAX_PER_SECOND;
        let crowded_ms = if full { self.recent_ms[self.recent_ms.len() - MAX_PER_SECOND] + 1_000 } else { 0 };
        (last_ms + pause_ms).max(crowded_ms)
    }

    /// Whether a report is due now. The last one, on leaving, waits for nothing and comes once.
    pub(super) fn due(&mut self, now: Timestamps, interval_ms: u64, leaving: bool) -> Option<PublishReason> {
        if leaving {
            return (!std::mem::replace(&mut self.final_published, true)).then_some(PublishReason::Change);
        }
        if self.due_ms(interval_ms) > now.mono_ms {
            return None;
        }
        Some(if self.publish_requested { PublishReason::Change } else { PublishReason::Interval })
    }

    /// Makes and seals the next report.
    pub(super) fn publish(
        &mut self,
        now: Timestamps,
        membership: &Membership,
        content: ReportContent,
    ) -> VerifiedReport {
        self.last_id.seq += 1;
        let report = self.signer.sign(Report {
            network_id: membership.network_id().clone(),
            node_id: membership.own().id.clone(),
            epoch: self.last_id.epoch,
            seq: self.last_id.seq,
            prev: self.prev,
            at_ms: now.wall_ms,
            interval_ms: membership.publish_ms(),
            version: crate::VERSION.to_owned(),
            config: membership.digest().to_owned(),
            isolated: content.isolated,
            leaving: content.leaving,
            observations: content.observations,
        });
        self.prev = Some(*report.digest());
        self.publish_requested = false;
        self.recent_ms.push_back(now.mono_ms);
        if self.recent_ms.len() > MAX_PER_SECOND {
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

    fn at(mono_ms: u64) -> Timestamps {
        Timestamps { mono_ms, wall_ms: 1_000_000 + mono_ms }
    }

    fn publish(publisher: &mut Publisher, mono_ms: u64) -> VerifiedReport {
        let membership = sample::membership(&sample::members(2), 0);
        publisher.publish(
            at(mono_ms),
            &membership,
            ReportContent { isolated: false, leaving: false, observations: Vec::new() },
        )
    }

    #[test]
    fn each_report_names_the_one_before_and_an_epoch_begins_anew() {
        let mut publisher = publisher();
        let first = publish(&mut publisher, 0);
        assert_eq!((first.id(), first.report().prev), (ReportId { epoch: 7, seq: 1 }, None));
        let second = publish(&mut publisher, 1_000);
        let place = ReportId { epoch: 7, seq: 2 };
        assert_eq!((second.id(), second.report().prev), (place, Some(*first.digest())));
        publisher.start_epoch(9);
        let third = publish(&mut publisher, 2_000);
        assert_eq!((third.id(), third.report().prev), (ReportId { epoch: 9, seq: 1 }, None));
    }

    #[test]
    fn a_change_waits_for_a_tenth_of_a_second_and_for_less_than_five_in_one() {
        let mut publisher = publisher();
        assert_eq!(
            publisher.due(at(0), 1_000, false),
            Some(PublishReason::Change),
            "the first is due at once"
        );
        publish(&mut publisher, 0);
        assert_eq!(publisher.due_ms(1_000), 1_000, "nothing has changed");
        // Each change comes 10 ms after the report before it.
        for (last_ms, expected_ms) in [(0, 100), (100, 200), (200, 300), (300, 1_000), (1_000, 1_100)] {
            publisher.request_publish();
            assert_eq!(publisher.due_ms(1_000), expected_ms, "after the report of {last_ms}");
            assert_eq!(publisher.due(at(expected_ms - 1), 1_000, false), None);
            assert_eq!(publisher.due(at(expected_ms), 1_000, false), Some(PublishReason::Change));
            publish(&mut publisher, expected_ms);
        }
        assert_eq!(publisher.due(at(2_100), 1_000, false), Some(PublishReason::Interval));
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
        assert_eq!(publisher.due(at(1), 1_000, true), Some(PublishReason::Change));
        publish(&mut publisher, 1);
        assert_eq!(publisher.due(at(5_000), 1_000, true), None);
        assert_eq!(publisher.due_ms(1_000), u64::MAX);
    }
}
