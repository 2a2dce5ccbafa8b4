//! Publishes this node's reports: decides when the next one is due and chains it to the previous one.

use std::collections::VecDeque;

use super::change_limiter::{ChangeLimiter, ChangeRates, Urgency};
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::Base64Bytes;
use crate::mesh::wire::leave::LeaveNotice;
use crate::mesh::wire::observation::Observation;
use crate::mesh::wire::prior_run::PriorRun;
use crate::mesh::wire::report::{Digest, Report, VerifiedReport};

/// The shortest time between two reports, in ms.
const MIN_GAP_MS: u64 = 100;

/// The maximum number of reports in a second: fewer than receivers verify of one author
/// ([`AUTHOR_REPORTS_PER_SECOND`](crate::mesh::verify::AUTHOR_REPORTS_PER_SECOND)).
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

/// Signs reports with this node's key. Ed25519 is deterministic (RFC 8032), so this adds no randomness.
pub trait Signer: Send {
    /// Signs `report` as a DSSE envelope.
    fn sign(&self, report: Report) -> VerifiedReport;
}

/// This process, as its reports describe it.
#[derive(Debug, Clone, Copy)]
pub(super) struct OwnRun {
    /// When the process began.
    pub(super) began: Timestamps,
    /// The first 8 bytes of a hash of the host's boot id.
    pub(super) boot: Option<[u8; 8]>,
    /// How the previous process ended.
    pub(super) prior: Option<PriorRun>,
}

/// The content of a report besides its id, its author's process and its configuration.
pub(super) struct ReportContent {
    pub(super) isolated: bool,
    /// How late this node's threads are, in ms, if it is overloaded.
    pub(super) lateness_ms: Option<u64>,
    pub(super) leaving: Option<LeaveNotice>,
    pub(super) held: Option<Digest>,
    pub(super) observations: Vec<(NodeId, Observation)>,
}

/// The publisher of this node's reports.
pub(super) struct Publisher {
    signer: Box<dyn Signer>,
    run: OwnRun,
    last_id: ReportId,
    prev: Option<Digest>,
    changes: ChangeLimiter,
    final_published: bool,
    /// When the newest reports were published: monotonic times in ms.
    recent_ms: VecDeque<u64>,
}

impl Publisher {
    pub(super) fn new(signer: Box<dyn Signer>, epoch: u64, run: OwnRun) -> Self {
        let last_id = ReportId { epoch, seq: 0 };
        Self {
            signer,
            run,
            last_id,
            prev: None,
            changes: ChangeLimiter::new(),
            final_published: false,
            recent_ms: VecDeque::new(),
        }
    }

    /// The id of the newest report; its `seq` is 0 before the first.
    pub(super) fn last_id(&self) -> ReportId {
        self.last_id
    }

    /// The id of the next report.
    pub(super) fn next_id(&self) -> ReportId {
        ReportId { seq: self.last_id.seq + 1, ..self.last_id }
    }

    /// Requests a report of a change.
    pub(super) fn report_change(&mut self, now: Timestamps, urgency: Urgency, membership: &Membership) {
        self.changes.request(now.mono_ms, urgency, change_rates(membership));
    }

    /// Starts a new chain in `epoch`.
    pub(super) fn start_epoch(&mut self, epoch: u64) {
        self.last_id = ReportId { epoch, seq: 0 };
        self.prev = None;
        self.changes = ChangeLimiter::new();
    }

    /// When the next report is due: monotonic time in ms.
    pub(super) fn due_ms(&self, membership: &Membership) -> u64 {
        if self.final_published {
            return u64::MAX;
        }
        let Some(&last_ms) = self.recent_ms.back() else { return 0 };
        let regular_ms = last_ms + membership.publish_ms().max(MIN_GAP_MS);
        let granted_ms = self.changes.granted_ms(change_rates(membership)).unwrap_or(u64::MAX);
        let is_at_limit = self.recent_ms.len() >= MAX_PER_SECOND;
        let rate_limit_ms =
            if is_at_limit { self.recent_ms[self.recent_ms.len() - MAX_PER_SECOND] + 1_000 } else { 0 };
        granted_ms.max(last_ms + MIN_GAP_MS).min(regular_ms).max(rate_limit_ms)
    }

    /// Returns why a report is due now, if one is. With `leaving`, the final report is due immediately, and only once.
    pub(super) fn due(
        &mut self,
        now: Timestamps,
        membership: &Membership,
        leaving: bool,
    ) -> Option<PublishReason> {
        if leaving {
            return (!std::mem::replace(&mut self.final_published, true)).then_some(PublishReason::Change);
        }
        if self.due_ms(membership) > now.mono_ms {
            return None;
        }
        let granted_ms = self.changes.granted_ms(change_rates(membership));
        let has_change = granted_ms.is_some_and(|granted_ms| granted_ms <= now.mono_ms);
        Some(if has_change { PublishReason::Change } else { PublishReason::Interval })
    }

    /// Creates and signs the next report.
    pub(super) fn publish(
        &mut self,
        now: Timestamps,
        membership: &Membership,
        content: ReportContent,
    ) -> VerifiedReport {
        self.last_id = self.next_id();
        let OwnRun { began, boot, prior } = self.run;
        let report = self.signer.sign(Report {
            prev: self.prev,
            at_ms: now.wall_ms,
            interval_ms: membership.publish_ms(),
            config: membership.digest().to_owned(),
            isolated: content.isolated,
            overloaded: content.lateness_ms.map(|_| true),
            lateness_ms: content.lateness_ms,
            leaving: content.leaving,
            began_ms: Some(began.wall_ms),
            up_ms: Some(now.mono_ms.saturating_sub(began.mono_ms)),
            boot: boot.map(Base64Bytes),
            prior,
            held: content.held.map(Base64Bytes),
            observations: content.observations,
            ..Report::new(membership.network_id().clone(), membership.own().id.clone(), self.last_id)
        });
        self.prev = Some(*report.digest());
        self.changes.published(now.mono_ms, change_rates(membership));
        self.recent_ms.push_back(now.mono_ms);
        if self.recent_ms.len() > MAX_PER_SECOND {
            self.recent_ms.pop_front();
        }
        report
    }
}

fn change_rates(membership: &Membership) -> ChangeRates {
    ChangeRates { nodes: membership.keyed_count() as u64, interval_ms: membership.interval_ms() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::mesh::membership::Member;
    use crate::mesh::sample::{self, TestSigner};

    fn publisher() -> Publisher {
        let run = OwnRun { began: at(0), boot: None, prior: None };
        Publisher::new(Box::new(TestSigner(sample::keypair(0))), 7, run)
    }

    fn at(mono_ms: u64) -> Timestamps {
        Timestamps { mono_ms, wall_ms: 1_000_000 + mono_ms }
    }

    fn membership() -> Arc<Membership> {
        sample::membership(&sample::members(2), 0)
    }

    fn publish(publisher: &mut Publisher, mono_ms: u64) -> VerifiedReport {
        let content = ReportContent {
            isolated: false,
            lateness_ms: None,
            leaving: None,
            held: None,
            observations: Vec::new(),
        };
        publisher.publish(at(mono_ms), &membership(), content)
    }

    #[test]
    fn reports_are_chained_within_an_epoch() {
        let mut publisher = publisher();
        let first = publish(&mut publisher, 0);
        assert_eq!((first.id(), first.report().prev), (ReportId { epoch: 7, seq: 1 }, None));
        let second = publish(&mut publisher, 1_000);
        let second_id = ReportId { epoch: 7, seq: 2 };
        assert_eq!((second.id(), second.report().prev), (second_id, Some(*first.digest())));
        publisher.start_epoch(9);
        let third = publish(&mut publisher, 2_000);
        assert_eq!((third.id(), third.report().prev), (ReportId { epoch: 9, seq: 1 }, None));
    }

    #[test]
    fn changes_are_limited_to_one_in_100_ms_and_four_in_a_second() {
        let membership = membership();
        let mut publisher = publisher();
        let first = publisher.due(at(0), &membership, false);
        assert_eq!(first, Some(PublishReason::Change), "the first is due immediately");
        publish(&mut publisher, 0);
        assert_eq!(publisher.due_ms(&membership), 1_000, "nothing has changed");
        // When the last report was published, and when a change is due.
        for (last_ms, expected_ms) in [(0, 100), (100, 200), (200, 300), (300, 1_000), (1_000, 1_100)] {
            publisher.report_change(at(last_ms), Urgency::Immediate, &membership);
            assert_eq!(publisher.due_ms(&membership), expected_ms, "after the report of {last_ms}");
            assert_eq!(publisher.due(at(expected_ms - 1), &membership, false), None);
            let due = publisher.due(at(expected_ms), &membership, false);
            assert_eq!(due, Some(PublishReason::Change));
            publish(&mut publisher, expected_ms);
        }
        assert_eq!(publisher.due(at(2_100), &membership, false), Some(PublishReason::Interval));
    }

    #[test]
    fn a_change_without_a_token_waits_for_one_or_for_the_interval() {
        let membership = sample::membership(&sample::members(4), 0);
        let mut publisher = publisher();
        publish(&mut publisher, 0);
        for published_ms in [100, 200] {
            publisher.report_change(at(published_ms), Urgency::Ordinary, &membership);
            publish(&mut publisher, published_ms);
        }
        // Four nodes have a token every 320 ms.
        publisher.report_change(at(301), Urgency::Ordinary, &membership);
        assert_eq!(publisher.due_ms(&membership), 420);
        assert_eq!(publisher.due(at(419), &membership, false), None);
        assert_eq!(publisher.due(at(420), &membership, false), Some(PublishReason::Change));
        publish(&mut publisher, 420);
        publisher.report_change(at(421), Urgency::Deferred, &membership);
        assert_eq!(publisher.due_ms(&membership), 1_420);
        assert_eq!(publisher.due(at(1_420), &membership, false), Some(PublishReason::Interval));
    }

    #[test]
    fn short_intervals_respect_the_rate_limit() {
        let members = sample::members(2).into_iter().map(|member| Member { poll_rate_ms: 1, ..member });
        let membership = sample::membership(&members.collect::<Vec<_>>(), 0);
        let mut publisher = publisher();
        let mut published = 0;
        for mono_ms in 0..10_000 {
            if publisher.due(at(mono_ms), &membership, false).is_some() {
                publish(&mut publisher, mono_ms);
                published += 1;
            }
        }
        assert_eq!(published, 40);
    }

    #[test]
    fn final_report_is_due_immediately_and_only_once() {
        let membership = membership();
        let mut publisher = publisher();
        publish(&mut publisher, 0);
        assert_eq!(publisher.due(at(1), &membership, true), Some(PublishReason::Change));
        publish(&mut publisher, 1);
        assert_eq!(publisher.due(at(5_000), &membership, true), None);
        assert_eq!(publisher.due_ms(&membership), u64::MAX);
    }
}
