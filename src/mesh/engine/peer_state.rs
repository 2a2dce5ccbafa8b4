//! The state of one peer: what this node observes of it, and when to probe it next.

use super::event::CallPurpose;
use crate::mesh::delta_sync::DeltaBase;
use crate::mesh::id::ReportId;
use crate::mesh::membership::Member;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::observation::{Failure, Observation, ProbeStatus, ProbeTries};

/// The longest pause before a failed probe is retried, in ms.
const RETRY_MS: u64 = 1_000;

/// The number of probes in succession that the peer may answer that it is overloaded before its status is unknown.
const MAX_BUSY: u32 = 3;

/// The number of successes on time after which longer time limits end.
const ON_TIME_SUCCESSES: u32 = 3;

/// A call in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) id: u64,
    pub(super) purpose: CallPurpose,
    /// The epoch of the request's nonce.
    pub(super) epoch: u64,
    /// The base of the request; none if it named all heads.
    pub(super) base: Option<DeltaBase>,
    pub(super) started_ms: u64,
}

/// A call whose time was over.
#[derive(Debug, Clone, Copy)]
pub(super) struct OverdueCall {
    pub(super) call: InFlight,
    /// Whether that counted as a failure.
    pub(super) is_counted: bool,
}

/// The measurements of a successful exchange.
#[derive(Debug, Clone, Copy)]
pub(super) struct RttSample {
    pub(super) rtt_us: u32,
    pub(super) took_us: u32,
    pub(super) offset_ms: i64,
}

/// The result of a probe attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TryResult {
    /// The peer answered, perhaps with a signed refusal.
    Answered,
    /// It did not answer.
    Failed,
    /// It did not answer, but this node delayed the attempt itself.
    Late,
}

/// A request of a peer.
#[derive(Debug, Clone, Copy)]
struct ReceivedRequest {
    /// When it arrived: monotonic time in ms.
    at_ms: u64,
    /// Whether it had the format of an incompatible release.
    is_incompatible: bool,
}

/// The state of one peer.
#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) observation: Observation,
    /// Whether the peer ever answered this process.
    pub(super) ever_answered: bool,
    /// At most one call at a time.
    pub(super) in_flight: Option<InFlight>,
    /// The last call whose time was over: a reply may still arrive.
    overdue: Option<OverdueCall>,
    /// Whether a change is to be pushed when the call in flight has ended.
    pub(super) push_pending: bool,
    /// Whether a report of the peer was stored since this node's start or the last gap in time.
    pub(super) has_report: bool,
    /// The newest of this node's own reports that the peer is known to hold.
    pub(super) known_own_report: Option<ReportId>,
    /// The start of the offline observation by the peer that this node has already refuted.
    pub(super) refuted_since_ms: Option<u64>,
    consecutive_failures: u32,
    /// The number of failed probes since the last round began that this node delayed itself.
    late_failures: u32,
    consecutive_busy: u32,
    /// The number of successes on time that are missing until the longer time limits end; 0 if they do not apply.
    slow_successes: u32,
    /// When the status began: monotonic time in ms.
    status_since_ms: u64,
    /// How long the status before it had held, in ms.
    previous_held_ms: u64,
    /// The number of successful exchanges.
    successes: u32,
    /// The number of consecutive failures, up to the latest one, that were refused connections.
    consecutive_refusals: u32,
    /// When the current round of probes was due; the next round is due a `poll_rate` later.
    round_due_ms: u64,
    next_ms: u64,
    smoothed_exchange_us: Option<u64>,
    last_request: Option<ReceivedRequest>,
    /// Since when something else answers at the peer's address: monotonic time in ms.
    impostor_since_ms: Option<u64>,
}

impl PeerState {
    /// Creates a peer of which nothing is known, first probed at `first_ms`.
    pub(super) fn new(now: Timestamps, first_ms: u64) -> Self {
        Self {
            observation: Observation::new(ProbeStatus::Unknown, now.wall_ms),
            ever_answered: false,
            in_flight: None,
            overdue: None,
            push_pending: false,
            has_report: false,
            known_own_report: None,
            refuted_since_ms: None,
            consecutive_failures: 0,
            late_failures: 0,
            consecutive_busy: 0,
            slow_successes: 0,
            status_since_ms: now.mono_ms,
            previous_held_ms: 0,
            successes: 0,
            consecutive_refusals: 0,
            round_due_ms: first_ms,
            next_ms: first_ms,
            smoothed_exchange_us: None,
            last_request: None,
            impostor_since_ms: None,
        }
    }

    /// The observation for the report with the id `report`, which holds the peer's report `newest`.
    pub(super) fn observe(&mut self, report: ReportId, newest: Option<ReportId>) -> Observation {
        if self.observation.status == ProbeStatus::Online {
            return self.observation;
        }
        self.observation.first.get_or_insert(report);
        Observation { newest, ..self.observation }
    }

    /// Counts a probe attempt.
    pub(super) fn count_try(&mut self, result: TryResult) {
        let tries = self.observation.tries.get_or_insert_default();
        tries.attempts = tries.attempts.saturating_add(1);
        tries.failures = tries.failures.saturating_add(u32::from(result == TryResult::Failed));
        tries.late = tries.late.saturating_add(u32::from(result == TryResult::Late));
    }

    /// Ends the call with this id if it is in flight.
    pub(super) fn end_call(&mut self, id: u64) -> Option<InFlight> {
        self.in_flight.take_if(|call| call.id == id)
    }

    /// Records that the time of a call was over, which counted as a failure or not: a reply may still arrive.
    pub(super) fn set_overdue(&mut self, call: InFlight, is_counted: bool) {
        self.overdue = Some(OverdueCall { call, is_counted });
    }

    /// Ends the call with this id if its time was over.
    pub(super) fn end_overdue(&mut self, id: u64) -> Option<OverdueCall> {
        self.overdue.take_if(|overdue| overdue.call.id == id)
    }

    /// Counts attempts from 0 again, since a new epoch begins.
    pub(super) fn reset_tries(&mut self) {
        self.observation.tries = self.observation.tries.map(|_| ProbeTries::default());
    }

    /// When the next probe is due: monotonic time in ms.
    pub(super) fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// Whether the peer is online, no probe has failed since it last answered, and it did not answer that it is overloaded.
    pub(super) fn is_reachable(&self) -> bool {
        self.observation.status == ProbeStatus::Online
            && self.consecutive_failures == 0
            && self.consecutive_busy == 0
    }

    /// Whether the peer is offline, or its newest probes failed.
    pub(super) fn is_failing(&self) -> bool {
        self.observation.status == ProbeStatus::Offline || self.consecutive_failures > 0
    }

    /// Whether exactly one exchange has succeeded until now.
    pub(super) fn is_first_contact(&self) -> bool {
        self.successes == 1
    }

    /// How long the status before the current one had held, in ms.
    pub(super) fn previous_held_ms(&self) -> u64 {
        self.previous_held_ms
    }

    /// The longest time limit of a call, in ms: the configured timeout, or twice that while the peer answers late.
    pub(super) fn longest_timeout_ms(&self, member: &Member) -> u64 {
        if self.slow_successes > 0 { 2 * member.timeout_ms } else { member.timeout_ms }
    }

    /// The time limit of a call, in ms. It is shorter than the configured timeout for all probes of an online peer but
    /// the last retry, so that one lost packet does not cost the whole timeout, and for pushes, since they delay the
    /// next probe. A follow-up has the whole timeout: its peer has just answered. While the peer
    /// answers late, the full time is twice the configured timeout, and the shorter one is half of that.
    pub(super) fn timeout_ms(&self, member: &Member, purpose: CallPurpose) -> u64 {
        let full = self.longest_timeout_ms(member);
        let is_full = match purpose {
            CallPurpose::Probe => {
                self.observation.status != ProbeStatus::Online || self.consecutive_failures >= member.retry
            }
            CallPurpose::FollowUp => true,
            CallPurpose::Push => false,
        };
        if is_full {
            return full;
        }
        let twice_smoothed_ms = self.smoothed_exchange_us.map_or(full, |us| us / 500);
        // Attempts at a slow peer that end too early are work without a result.
        let short = if self.slow_successes > 0 { full / 2 } else { full / 4 };
        short.max(twice_smoothed_ms).min(full)
    }

    /// Applies a successful exchange: the peer is online. Returns the status before, if it has changed.
    pub(super) fn on_success(
        &mut self,
        now: Timestamps,
        timing: RttSample,
        purpose: CallPurpose,
    ) -> Option<ProbeStatus> {
        let RttSample { rtt_us, took_us, offset_ms } = timing;
        self.slow_successes = self.slow_successes.saturating_sub(1);
        self.overdue = None;
        let before = self.set_answered(now);
        // A follow-up may be large, so its duration does not predict that of the next probe.
        if purpose != CallPurpose::FollowUp || self.observation.rtt_us.is_none() {
            let whole_us = u64::from(rtt_us) + u64::from(took_us);
            self.smoothed_exchange_us =
                Some(self.smoothed_exchange_us.map_or(whole_us, |smoothed| (smoothed * 7 + whole_us) / 8));
            self.observation.rtt_us = Some(rtt_us);
            self.observation.took_us = Some(took_us);
            self.observation.clock_offset_ms = Some(offset_ms);
        }
        before
    }

    /// Applies a reply that arrived after the time of the call was over: the peer is online, but slow. Returns the status
    /// before, if it has changed.
    pub(super) fn on_late_success(&mut self, now: Timestamps) -> Option<ProbeStatus> {
        self.widen_timeouts();
        self.set_answered(now)
    }

    /// Makes the time limits longer until the peer has answered on time again.
    pub(super) fn widen_timeouts(&mut self) {
        self.slow_successes = ON_TIME_SUCCESSES;
    }

    fn set_answered(&mut self, now: Timestamps) -> Option<ProbeStatus> {
        self.reset_failures();
        self.consecutive_busy = 0;
        self.impostor_since_ms = None;
        self.ever_answered = true;
        self.successes = self.successes.saturating_add(1);
        self.set_status(now, ProbeStatus::Online, None)
    }

    fn reset_failures(&mut self) {
        self.consecutive_failures = 0;
        self.consecutive_refusals = 0;
        self.late_failures = 0;
    }

    /// Applies a failed probe that this node delayed itself, which says nothing about the peer.
    pub(super) fn on_late_failure(&mut self) {
        self.late_failures = self.late_failures.saturating_add(1);
    }

    /// Applies a probe that the peer answered with a signed refusal since it is overloaded: the status stays for
    /// [`MAX_BUSY`] probes and is unknown then. Returns the status before, if it has changed.
    pub(super) fn on_busy(&mut self, now: Timestamps) -> Option<ProbeStatus> {
        self.consecutive_busy = self.consecutive_busy.saturating_add(1);
        if self.consecutive_busy > MAX_BUSY {
            return self.on_refusal(now, Failure::Busy);
        }
        self.reset_failures();
        self.ever_answered = true;
        self.observation.error = Some(Failure::Busy);
        None
    }

    /// Records whether `failure` shows that something else answers at the peer's address. Returns since when, if so:
    /// monotonic time in ms.
    pub(super) fn record_impostor(&mut self, now: Timestamps, failure: Failure) -> Option<u64> {
        let since_ms = self.impostor_since_ms.unwrap_or(now.mono_ms);
        self.impostor_since_ms = failure.is_impostor().then_some(since_ms);
        self.impostor_since_ms
    }

    /// Applies a signed refusal, or a failed probe that a misconfiguration may explain: the status is unknown. Returns
    /// the status before, if it has changed.
    pub(super) fn on_refusal(&mut self, now: Timestamps, failure: Failure) -> Option<ProbeStatus> {
        self.reset_failures();
        self.ever_answered = true;
        self.set_status(now, ProbeStatus::Unknown, Some(failure))
    }

    /// Applies a failed probe: the peer is offline after `retry` + 1 consecutive failures. `head` is the peer's newest
    /// report that this node holds. Returns the status before, if it has changed.
    pub(super) fn on_failure(
        &mut self,
        now: Timestamps,
        member: &Member,
        failure: Failure,
        head: Option<ReportId>,
    ) -> Option<ProbeStatus> {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.consecutive_busy = 0;
        self.observation.error.take_if(|error| *error == Failure::Busy);
        self.consecutive_refusals =
            if failure == Failure::Refused { self.consecutive_refusals.saturating_add(1) } else { 0 };
        if self.consecutive_failures <= member.retry && self.observation.status != ProbeStatus::Offline {
            return None;
        }
        if self.observation.status != ProbeStatus::Offline {
            self.observation.head = head;
        }
        // The error is "refused" only if every attempt was: verdicts apply a shorter limit to it.
        let mixed = failure == Failure::Refused
            && self.consecutive_refusals < self.consecutive_failures.min(member.retry + 1);
        let error = if mixed { self.observation.error.or(Some(Failure::Timeout)) } else { Some(failure) };
        self.set_status(now, ProbeStatus::Offline, error)
    }

    /// Whether to retry the failed probe before the next round.
    pub(super) fn should_retry(&self) -> bool {
        self.consecutive_failures > 0 && self.observation.status != ProbeStatus::Offline
    }

    /// Whether to retry the probe that this node delayed itself before the next round: not more often than others, since
    /// retries are more work.
    pub(super) fn should_retry_late(&self, member: &Member) -> bool {
        self.late_failures <= member.retry
    }

    /// Records a request from the peer.
    pub(super) fn on_request(&mut self, now: Timestamps) {
        self.last_request = Some(ReceivedRequest { at_ms: now.mono_ms, is_incompatible: false });
    }

    /// Records a request of an incompatible release from the peer.
    pub(super) fn on_incompatible_request(&mut self, now: Timestamps) {
        self.last_request = Some(ReceivedRequest { at_ms: now.mono_ms, is_incompatible: true });
    }

    /// Sets the status of a peer without url, which only calls others, by the time of its last call. The peer calls
    /// `own` at the `poll_rate` configured for `own`, so the slower of the two rates counts. Returns the status before,
    /// if it has changed.
    pub(super) fn evaluate_caller(
        &mut self,
        now: Timestamps,
        member: &Member,
        own: &Member,
        head: Option<ReportId>,
    ) -> Option<ProbeStatus> {
        let ReceivedRequest { at_ms, is_incompatible } = self.last_request?;
        let rate_ms = member.poll_rate_ms.max(own.poll_rate_ms);
        let grace_ms = (u64::from(member.retry) + 1) * rate_ms + member.timeout_ms;
        self.ever_answered = true;
        if now.mono_ms.saturating_sub(at_ms) <= grace_ms {
            return if is_incompatible {
                self.set_status(now, ProbeStatus::Unknown, Some(Failure::Incompatible))
            } else {
                self.set_status(now, ProbeStatus::Online, None)
            };
        }
        if self.observation.status != ProbeStatus::Offline {
            self.observation.head = head;
        }
        self.set_status(now, ProbeStatus::Offline, Some(Failure::Timeout))
    }

    fn set_status(
        &mut self,
        now: Timestamps,
        status: ProbeStatus,
        error: Option<Failure>,
    ) -> Option<ProbeStatus> {
        let before = self.observation.status;
        self.observation.error = error;
        if before == status {
            return None;
        }
        self.observation.status = status;
        self.observation.since_ms = now.wall_ms;
        self.previous_held_ms = now.mono_ms.saturating_sub(self.status_since_ms);
        self.status_since_ms = now.mono_ms;
        self.observation.first = None;
        if status != ProbeStatus::Offline {
            self.observation.head = None;
        }
        if status != ProbeStatus::Online {
            self.observation.rtt_us = None;
            self.observation.took_us = None;
            self.observation.clock_offset_ms = None;
        }
        Some(before)
    }

    /// Schedules a retry of the probe that started at `started_ms` and failed.
    pub(super) fn schedule_retry(&mut self, now: Timestamps, member: &Member, started_ms: u64) {
        let pause_ms = (member.poll_rate_ms / 4).min(RETRY_MS);
        self.next_ms = (started_ms + pause_ms).max(now.mono_ms);
    }

    /// Schedules the next round: a `poll_rate` after this one was due, give or take a tenth by `jitter`, a random number
    /// from 0 to 1000. Rounds that were missed are skipped.
    pub(super) fn schedule_round(&mut self, now: Timestamps, member: &Member, jitter: u64) {
        let span_ms = member.poll_rate_ms * jitter / 5_000;
        self.late_failures = 0;
        self.round_due_ms += member.poll_rate_ms - member.poll_rate_ms / 10 + span_ms;
        if self.round_due_ms <= now.mono_ms {
            self.round_due_ms = now.mono_ms + span_ms;
        }
        self.next_ms = self.round_due_ms;
    }

    /// Brings the next probe forward if the configured rate has become shorter.
    pub(super) fn bring_forward(&mut self, now: Timestamps, member: &Member) {
        self.round_due_ms = self.round_due_ms.min(now.mono_ms + member.poll_rate_ms);
        self.next_ms = self.next_ms.min(now.mono_ms + member.poll_rate_ms);
    }

    /// The same peer without its observations, which are outdated because this node stopped observing it. The first
    /// probe is due at `first_ms`.
    pub(super) fn reset(&self, now: Timestamps, first_ms: u64) -> Self {
        let fresh = Self::new(now, first_ms);
        Self {
            observation: Observation { tries: self.observation.tries, ..fresh.observation },
            ever_answered: self.ever_answered,
            in_flight: self.in_flight,
            has_report: self.has_report,
            known_own_report: self.known_own_report,
            ..fresh
        }
    }

    /// Starts over after a gap in time. A call in flight is forgotten, since its reply may be as old as the gap, and a
    /// missing request of the peer does not count against it. The next probe is due at `first_ms`.
    pub(super) fn resume_after_gap(&mut self, now: Timestamps, first_ms: u64) {
        self.reset_failures();
        self.has_report = false;
        self.in_flight = None;
        self.overdue = None;
        self.push_pending = false;
        if self.observation.status == ProbeStatus::Online {
            self.last_request = self.last_request.map(|last| ReceivedRequest { at_ms: now.mono_ms, ..last });
        }
        self.round_due_ms = first_ms;
        self.next_ms = first_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample;

    fn at(mono_ms: u64) -> Timestamps {
        Timestamps { mono_ms, wall_ms: 1_000_000 + mono_ms }
    }

    const TIMING: RttSample = RttSample { rtt_us: 20_000, took_us: 5_000, offset_ms: 7 };

    fn fail(peer: &mut PeerState, mono_ms: u64, failure: Failure) -> Option<ProbeStatus> {
        peer.on_failure(at(mono_ms), &sample::member(1), failure, Some(ReportId { epoch: 1, seq: mono_ms }))
    }

    #[test]
    fn peer_is_offline_after_all_retries_and_online_after_one_success() {
        for retry in [0, 1, 2, 5] {
            let member = Member { retry, ..sample::member(1) };
            let mut peer = PeerState::new(at(0), 0);
            assert_eq!(peer.on_success(at(1), TIMING, CallPurpose::Probe), Some(ProbeStatus::Unknown));
            for attempt in 1..=u64::from(retry) {
                assert_eq!(
                    peer.on_failure(at(attempt * 10), &member, Failure::Timeout, None),
                    None,
                    "{attempt}"
                );
                assert!(peer.should_retry() && !peer.is_reachable());
                assert_eq!(peer.observation.status, ProbeStatus::Online);
            }
            let before = peer.on_failure(at(100), &member, Failure::Refused, None);
            assert_eq!(before, Some(ProbeStatus::Online), "retry {retry}");
            assert!(!peer.should_retry(), "the next round is next");
            assert_eq!(peer.observation.since_ms, 1_000_100);
            // The error is "refused" only if every attempt was.
            let error = if retry == 0 { Failure::Refused } else { Failure::Timeout };
            assert_eq!(peer.observation.error, Some(error));
            assert_eq!((peer.observation.rtt_us, peer.observation.clock_offset_ms), (None, None));
            assert_eq!(peer.on_success(at(200), TIMING, CallPurpose::Push), Some(ProbeStatus::Offline));
            assert_eq!(peer.observation.rtt_us, Some(20_000));
            assert_eq!((peer.observation.error, peer.observation.head), (None, None));
        }
    }

    #[test]
    fn observation_names_the_head_held_when_the_peer_went_offline() {
        let mut peer = PeerState::new(at(0), 0);
        for mono_ms in [10, 20, 30, 40, 50] {
            fail(&mut peer, mono_ms, Failure::Timeout);
        }
        assert_eq!(peer.observation.head, Some(ReportId { epoch: 1, seq: 30 }));
        assert_eq!(peer.observation.since_ms, 1_000_030);
    }

    #[test]
    fn refusal_sets_unknown_and_resets_failures() {
        let mut peer = PeerState::new(at(0), 0);
        peer.on_success(at(1), TIMING, CallPurpose::Probe);
        fail(&mut peer, 10, Failure::Timeout);
        fail(&mut peer, 20, Failure::Timeout);
        assert_eq!(peer.on_refusal(at(30), Failure::Misdirected), Some(ProbeStatus::Online));
        assert_eq!(peer.observation.error, Some(Failure::Misdirected));
        assert!(!peer.should_retry());
        assert_eq!(fail(&mut peer, 40, Failure::Timeout), None, "failures count from zero");
        assert_eq!(peer.on_refusal(at(50), Failure::Rejected), None, "still unknown");
    }

    #[test]
    fn timeout_depends_on_status_failures_and_purpose() {
        // Whether online, failures, smoothed exchange in ms, purpose, and the expected part of the timeout of 1 s.
        for (online, failures, smoothed_ms, purpose, expected_ms) in [
            (false, 0, 0, CallPurpose::Probe, 1_000),
            (true, 0, 20, CallPurpose::Probe, 250),
            (true, 1, 20, CallPurpose::Probe, 250),
            (true, 2, 20, CallPurpose::Probe, 1_000),
            (true, 0, 300, CallPurpose::Probe, 600),
            (true, 0, 900, CallPurpose::Probe, 1_000),
            (true, 0, 20, CallPurpose::Push, 250),
            (true, 2, 20, CallPurpose::Push, 250),
            (true, 0, 20, CallPurpose::FollowUp, 1_000),
        ] {
            let mut peer = PeerState::new(at(0), 0);
            if online {
                let timing = RttSample { rtt_us: smoothed_ms * 1_000, took_us: 0, offset_ms: 0 };
                peer.on_success(at(1), timing, CallPurpose::Probe);
            }
            for attempt in 0..failures {
                fail(&mut peer, 10 + attempt, Failure::Timeout);
            }
            let timeout_ms = peer.timeout_ms(&sample::member(1), purpose);
            assert_eq!(timeout_ms, expected_ms, "{online} {failures} {smoothed_ms} {purpose:?}");
        }
    }

    #[test]
    fn retry_is_due_soon_after_the_failed_probe_started() {
        // Poll rate, when the probe started and ended, and when the retry is due.
        for (poll_rate_ms, started_ms, ended_ms, expected_ms) in [
            (1_000, 5_000, 5_002, 5_250),
            (1_000, 5_000, 5_400, 5_400),
            (10_000, 5_000, 5_002, 6_000),
            (100, 5_000, 5_002, 5_025),
        ] {
            let member = Member { poll_rate_ms, ..sample::member(1) };
            let mut peer = PeerState::new(at(0), 0);
            peer.schedule_retry(at(ended_ms), &member, started_ms);
            assert_eq!(peer.next_ms(), expected_ms, "{poll_rate_ms} {started_ms} {ended_ms}");
        }
    }

    #[test]
    fn rounds_keep_the_rate_within_a_tenth_and_skip_missed_ones() {
        let member = sample::member(1);
        for (now_ms, jitter, expected_ms) in [
            (500, 0, 1_300),
            (500, 500, 1_400),
            (500, 1_000, 1_500),
            // The retries of the round of 400 took until now: the rounds of 1,400 and 2,400 are skipped.
            (2_600, 500, 2_700),
        ] {
            let mut peer = PeerState::new(at(0), 400);
            peer.schedule_round(at(now_ms), &member, jitter);
            assert_eq!(peer.next_ms(), expected_ms, "{now_ms} {jitter}");
        }
    }

    #[test]
    fn follow_ups_do_not_change_the_smoothed_duration() {
        let mut peer = PeerState::new(at(0), 0);
        peer.on_success(at(1), TIMING, CallPurpose::Probe);
        let slow = RttSample { rtt_us: 900_000, ..TIMING };
        peer.on_success(at(2), slow, CallPurpose::FollowUp);
        assert_eq!(peer.observation.rtt_us, Some(20_000));
        assert_eq!(peer.timeout_ms(&sample::member(1), CallPurpose::Probe), 250);
    }

    #[test]
    fn status_of_a_caller_depends_on_its_last_request() {
        let (member, own) = (sample::member(1), sample::member(0));
        let mut peer = PeerState::new(at(0), 0);
        let status_at = |peer: &mut PeerState, mono_ms| {
            peer.evaluate_caller(at(mono_ms), &member, &own, None);
            peer.observation.status
        };
        assert_eq!(status_at(&mut peer, 60_000), ProbeStatus::Unknown, "it has not called yet");
        peer.on_request(at(60_000));
        assert_eq!(status_at(&mut peer, 64_000), ProbeStatus::Online);
        assert_eq!(
            status_at(&mut peer, 64_001),
            ProbeStatus::Offline,
            "after three poll rates and the timeout"
        );
        peer.on_request(at(70_000));
        assert_eq!(status_at(&mut peer, 70_001), ProbeStatus::Online);
        peer.resume_after_gap(at(900_000), 900_000);
        assert_eq!(status_at(&mut peer, 904_000), ProbeStatus::Online, "it may have called during the gap");
        assert_eq!(status_at(&mut peer, 904_001), ProbeStatus::Offline);
        peer.resume_after_gap(at(950_000), 950_000);
        assert_eq!(status_at(&mut peer, 950_001), ProbeStatus::Offline, "a gap does not set it online");
    }
}
