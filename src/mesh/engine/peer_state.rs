//! One peer as this node probes it: what was found, and when to look again.

use super::event::CallPurpose;
use crate::mesh::delta_sync::DeltaBase;
use crate::mesh::id::ReportId;
use crate::mesh::membership::Member;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::observation::{Failure, Observation, ProbeStatus};

/// A failed attempt is tried again after at most this long, in ms.
const RETRY_MS: u64 = 1_000;

/// A call under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct InFlight {
    pub(super) id: u64,
    pub(super) purpose: CallPurpose,
    /// The epoch of its nonce.
    pub(super) epoch: u64,
    /// What its heads are named from.
    pub(super) base: Option<DeltaBase>,
    pub(super) started_ms: u64,
}

/// What a successful exchange measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct RttSample {
    pub(super) rtt_us: u32,
    pub(super) took_us: u32,
    pub(super) offset_ms: i64,
}

/// One peer as this node probes it.
#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) observation: Observation,
    /// Whether it ever answered this process.
    pub(super) ever_answered: bool,
    /// At most one call at a time.
    pub(super) in_flight: Option<InFlight>,
    /// A change waits for the call under way, to be pushed when that has ended.
    pub(super) push_pending: bool,
    /// Whether a report of it was stored since this node's start, or since the last gap of time.
    pub(super) has_report: bool,
    /// Which of this node's own reports it is known to hold.
    pub(super) known_own_report: Option<ReportId>,
    /// Since when it calls this node offline, as far as that was refuted already.
    pub(super) refuted_since_ms: Option<u64>,
    consecutive_failures: u32,
    /// How many of the newest failures in a row were refusals of the connection.
    consecutive_refusals: u32,
    /// When the current round of attempts was due; the next one is due a `poll_rate` later.
    round_due_ms: u64,
    next_ms: u64,
    smoothed_exchange_us: Option<u64>,
    last_request_ms: Option<u64>,
    /// Since when something else answers at its address: monotonic time in ms.
    impostor_since_ms: Option<u64>,
}

impl PeerState {
    /// A peer of which nothing is known, first probed at `first_ms`.
    pub(super) fn new(now: Timestamps, first_ms: u64) -> Self {
        let observation = Observation {
            status: ProbeStatus::Unknown,
            since_ms: now.wall_ms,
            rtt_us: None,
            took_us: None,
            clock_offset_ms: None,
            error: None,
            head: None,
        };
        Self {
            observation,
            ever_answered: false,
            in_flight: None,
            push_pending: false,
            has_report: false,
            known_own_report: None,
            refuted_since_ms: None,
            consecutive_failures: 0,
            consecutive_refusals: 0,
            round_due_ms: first_ms,
            next_ms: first_ms,
            smoothed_exchange_us: None,
            last_request_ms: None,
            impostor_since_ms: None,
        }
    }

    /// When to probe it next, in monotonic ms.
    pub(super) fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// Whether it answered when it was last asked.
    pub(super) fn is_reachable(&self) -> bool {
        self.observation.status == ProbeStatus::Online && self.consecutive_failures == 0
    }

    /// How long to wait for an answer, in ms. A peer that was online gets less for every attempt but the
    /// last, so that one lost packet does not cost the whole timeout; and for a push, since the next
    /// probe waits for its end. What follows a reply goes to a peer that just answered.
    pub(super) fn timeout_ms(&self, member: &Member, purpose: CallPurpose) -> u64 {
        let full = member.timeout_ms;
        let patient = match purpose {
            CallPurpose::Probe => {
                self.observation.status != ProbeStatus::Online || self.consecutive_failures >= member.retry
            }
            CallPurpose::FollowUp => true,
            CallPurpose::Push => false,
        };
        if patient {
            return full;
        }
        let twice_usual = self.smoothed_exchange_us.map_or(full, |us| us / 500);
        (full / 4).max(twice_usual).min(full)
    }

    /// An exchange succeeded: one success is online again. Returns the status before, if it has changed.
    pub(super) fn on_success(
        &mut self,
        now: Timestamps,
        timing: RttSample,
        purpose: CallPurpose,
    ) -> Option<ProbeStatus> {
        let RttSample { rtt_us, took_us, offset_ms } = timing;
        self.consecutive_failures = 0;
        self.consecutive_refusals = 0;
        self.impostor_since_ms = None;
        self.ever_answered = true;
        let before = self.set_status(now, ProbeStatus::Online, None);
        // A follow-up may carry much, so its time says little about the next probe's.
        if purpose != CallPurpose::FollowUp || self.observation.rtt_us.is_none() {
            let whole_us = u64::from(rtt_us) + u64::from(took_us);
            self.smoothed_exchange_us =
                Some(self.smoothed_exchange_us.map_or(whole_us, |usual| (usual * 7 + whole_us) / 8));
            self.observation.rtt_us = Some(rtt_us);
            self.observation.took_us = Some(took_us);
            self.observation.clock_offset_ms = Some(offset_ms);
        }
        before
    }

    /// A call failed. Since when something else than it answers at its address, if that is so: monotonic time
    /// in ms.
    pub(super) fn impostor_since(&mut self, now: Timestamps, failure: Failure) -> Option<u64> {
        let since_ms = self.impostor_since_ms.unwrap_or(now.mono_ms);
        self.impostor_since_ms = failure.is_strange().then_some(since_ms);
        self.impostor_since_ms
    }

    /// It answered and refused: it lives, but says nothing more.
    pub(super) fn on_refusal(&mut self, now: Timestamps, failure: Failure) -> Option<ProbeStatus> {
        self.consecutive_failures = 0;
        self.consecutive_refusals = 0;
        self.ever_answered = true;
        self.set_status(now, ProbeStatus::Unknown, Some(failure))
    }

    /// A probe failed. It is offline after `retry` + 1 failures in a row; `head` is its newest report
    /// that this node holds.
    pub(super) fn on_failure(
        &mut self,
        now: Timestamps,
        member: &Member,
        failure: Failure,
        head: Option<ReportId>,
    ) -> Option<ProbeStatus> {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.consecutive_refusals =
            if failure == Failure::Refused { self.consecutive_refusals.saturating_add(1) } else { 0 };
        if self.consecutive_failures <= member.retry && self.observation.status != ProbeStatus::Offline {
            return None;
        }
        if self.observation.status != ProbeStatus::Offline {
            self.observation.head = head;
        }
        // "Refused" says that every attempt was: a verdict comes sooner by it.
        let mixed = failure == Failure::Refused
            && self.consecutive_refusals < self.consecutive_failures.min(member.retry + 1);
        let error = if mixed { self.observation.error.or(Some(Failure::Timeout)) } else { Some(failure) };
        self.set_status(now, ProbeStatus::Offline, error)
    }

    /// Whether the failure just counted is to be tried again before the next round.
    pub(super) fn should_retry(&self) -> bool {
        self.consecutive_failures > 0 && self.observation.status != ProbeStatus::Offline
    }

    /// It sent a request with a new nonce.
    pub(super) fn on_request(&mut self, now: Timestamps) {
        self.last_request_ms = Some(now.mono_ms);
    }

    /// Judges a peer that only calls out by when it last called. It calls `own` as often as `own` is to
    /// be probed, so the slower of the two rates counts.
    pub(super) fn evaluate_caller(
        &mut self,
        now: Timestamps,
        member: &Member,
        own: &Member,
        head: Option<ReportId>,
    ) -> Option<ProbeStatus> {
        let asked_ms = self.last_request_ms?;
        let rate_ms = member.poll_rate_ms.max(own.poll_rate_ms);
        let grace_ms = (u64::from(member.retry) + 1) * rate_ms + member.timeout_ms;
        self.ever_answered = true;
        if now.mono_ms.saturating_sub(asked_ms) <= grace_ms {
            return self.set_status(now, ProbeStatus::Online, None);
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

    /// After an attempt that is to be tried again: soon after the failed one started.
    pub(super) fn schedule_retry(&mut self, now: Timestamps, member: &Member, started_ms: u64) {
        let pause_ms = (member.poll_rate_ms / 4).min(RETRY_MS);
        self.next_ms = (started_ms + pause_ms).max(now.mono_ms);
    }

    /// After a round of attempts: a `poll_rate` after this round was due, give or take a tenth. `jitter`
    /// is even in 0..=1000. Rounds that were missed are left out.
    pub(super) fn schedule_round(&mut self, now: Timestamps, member: &Member, jitter: u64) {
        let span_ms = member.poll_rate_ms * jitter / 5_000;
        self.round_due_ms += member.poll_rate_ms - member.poll_rate_ms / 10 + span_ms;
        if self.round_due_ms <= now.mono_ms {
            self.round_due_ms = now.mono_ms + span_ms;
        }
        self.next_ms = self.round_due_ms;
    }

    /// Brings the next probe forward where the configured rate has become shorter.
    pub(super) fn bring_forward(&mut self, now: Timestamps, member: &Member) {
        self.round_due_ms = self.round_due_ms.min(now.mono_ms + member.poll_rate_ms);
        self.next_ms = self.next_ms.min(now.mono_ms + member.poll_rate_ms);
    }

    /// The same peer, which this node did not observe for a while: what was found before says nothing any more.
    /// It is first probed at `first_ms`.
    pub(super) fn reset(&self, now: Timestamps, first_ms: u64) -> Self {
        Self {
            ever_answered: self.ever_answered,
            in_flight: self.in_flight,
            has_report: self.has_report,
            known_own_report: self.known_own_report,
            ..Self::new(now, first_ms)
        }
    }

    /// Starts over: a call under way is forgotten, since its reply may be as old as the gap, and that
    /// nobody called meanwhile tells nothing. The next probe is due at `first_ms`.
    pub(super) fn resume_after_gap(&mut self, now: Timestamps, first_ms: u64) {
        self.consecutive_failures = 0;
        self.consecutive_refusals = 0;
        self.has_report = false;
        self.in_flight = None;
        self.push_pending = false;
        if self.observation.status == ProbeStatus::Online {
            self.last_request_ms = self.last_request_ms.map(|_| now.mono_ms);
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

    fn fail(target: &mut PeerState, mono_ms: u64, failure: Failure) -> Option<ProbeStatus> {
        target.on_failure(at(mono_ms), &sample::member(1), failure, Some(ReportId { epoch: 1, seq: mono_ms }))
    }

    #[test]
    fn offline_after_retry_and_one_failures_online_after_one_success() {
        for retry in [0, 1, 2, 5] {
            let member = Member { retry, ..sample::member(1) };
            let mut target = PeerState::new(at(0), 0);
            assert_eq!(target.on_success(at(1), TIMING, CallPurpose::Probe), Some(ProbeStatus::Unknown));
            for attempt in 1..=u64::from(retry) {
                assert_eq!(
                    target.on_failure(at(attempt * 10), &member, Failure::Timeout, None),
                    None,
                    "{attempt}"
                );
                assert!(target.should_retry() && !target.is_reachable());
                assert_eq!(target.observation.status, ProbeStatus::Online);
            }
            let before = target.on_failure(at(100), &member, Failure::Refused, None);
            assert_eq!(before, Some(ProbeStatus::Online), "retry {retry}");
            assert!(!target.should_retry(), "the next attempt is the next round's");
            assert_eq!(target.observation.since_ms, 1_000_100);
            // Refused is said only where every attempt was.
            let error = if retry == 0 { Failure::Refused } else { Failure::Timeout };
            assert_eq!(target.observation.error, Some(error));
            assert_eq!((target.observation.rtt_us, target.observation.clock_offset_ms), (None, None));
            assert_eq!(target.on_success(at(200), TIMING, CallPurpose::Push), Some(ProbeStatus::Offline));
            assert_eq!(target.observation.rtt_us, Some(20_000));
            assert_eq!((target.observation.error, target.observation.head), (None, None));
        }
    }

    #[test]
    fn the_head_is_the_one_held_when_it_was_declared_offline() {
        let mut target = PeerState::new(at(0), 0);
        for mono_ms in [10, 20, 30, 40, 50] {
            fail(&mut target, mono_ms, Failure::Timeout);
        }
        assert_eq!(target.observation.head, Some(ReportId { epoch: 1, seq: 30 }));
        assert_eq!(target.observation.since_ms, 1_000_030);
    }

    #[test]
    fn a_refusal_is_unknown_and_forgets_failures() {
        let mut target = PeerState::new(at(0), 0);
        target.on_success(at(1), TIMING, CallPurpose::Probe);
        fail(&mut target, 10, Failure::Timeout);
        fail(&mut target, 20, Failure::Timeout);
        assert_eq!(target.on_refusal(at(30), Failure::Misdirected), Some(ProbeStatus::Online));
        assert_eq!(target.observation.error, Some(Failure::Misdirected));
        assert!(!target.should_retry());
        assert_eq!(fail(&mut target, 40, Failure::Timeout), None, "it starts from none");
        assert_eq!(target.on_refusal(at(50), Failure::Rejected), None, "unknown as before");
    }

    #[test]
    fn timeouts() {
        // Status, failures, usual exchange in ms, purpose, and the timeout of 1 s that is left of it.
        for (online, failures, usual_ms, purpose, expected_ms) in [
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
            let mut target = PeerState::new(at(0), 0);
            if online {
                let timing = RttSample { rtt_us: usual_ms * 1_000, took_us: 0, offset_ms: 0 };
                target.on_success(at(1), timing, CallPurpose::Probe);
            }
            for attempt in 0..failures {
                fail(&mut target, 10 + attempt, Failure::Timeout);
            }
            let timeout_ms = target.timeout_ms(&sample::member(1), purpose);
            assert_eq!(timeout_ms, expected_ms, "{online} {failures} {usual_ms} {purpose:?}");
        }
    }

    #[test]
    fn retries_come_soon_after_the_failed_attempt_started() {
        // Poll rate, when the attempt started and ended, and when the next one is due.
        for (poll_rate_ms, started_ms, ended_ms, expected_ms) in [
            (1_000, 5_000, 5_002, 5_250),
            (1_000, 5_000, 5_400, 5_400),
            (10_000, 5_000, 5_002, 6_000),
            (100, 5_000, 5_002, 5_025),
        ] {
            let member = Member { poll_rate_ms, ..sample::member(1) };
            let mut target = PeerState::new(at(0), 0);
            target.schedule_retry(at(ended_ms), &member, started_ms);
            assert_eq!(target.next_ms(), expected_ms, "{poll_rate_ms} {started_ms} {ended_ms}");
        }
    }

    #[test]
    fn rounds_keep_the_rate_within_a_tenth_and_leave_out_what_was_missed() {
        let member = sample::member(1);
        for (now_ms, jitter, expected_ms) in [
            (500, 0, 1_300),
            (500, 500, 1_400),
            (500, 1_000, 1_500),
            // The retries of the round of 400 took until now: the rounds of 1,400 and 2,400 are left out.
            (2_600, 500, 2_700),
        ] {
            let mut target = PeerState::new(at(0), 400);
            target.schedule_round(at(now_ms), &member, jitter);
            assert_eq!(target.next_ms(), expected_ms, "{now_ms} {jitter}");
        }
    }

    #[test]
    fn a_follow_up_says_nothing_about_the_usual_time() {
        let mut target = PeerState::new(at(0), 0);
        target.on_success(at(1), TIMING, CallPurpose::Probe);
        let slow = RttSample { rtt_us: 900_000, ..TIMING };
        target.on_success(at(2), slow, CallPurpose::FollowUp);
        assert_eq!(target.observation.rtt_us, Some(20_000));
        assert_eq!(target.timeout_ms(&sample::member(1), CallPurpose::Probe), 250);
    }

    #[test]
    fn a_caller_is_judged_by_its_calls() {
        let (member, own) = (sample::member(1), sample::member(0));
        let mut target = PeerState::new(at(0), 0);
        let judge = |target: &mut PeerState, mono_ms| {
            target.evaluate_caller(at(mono_ms), &member, &own, None);
            target.observation.status
        };
        assert_eq!(judge(&mut target, 60_000), ProbeStatus::Unknown, "it never called");
        target.on_request(at(60_000));
        assert_eq!(judge(&mut target, 64_000), ProbeStatus::Online);
        assert_eq!(judge(&mut target, 64_001), ProbeStatus::Offline, "three poll rates and the timeout");
        target.on_request(at(70_000));
        assert_eq!(judge(&mut target, 70_001), ProbeStatus::Online);
        target.resume_after_gap(at(900_000), 900_000);
        assert_eq!(judge(&mut target, 904_000), ProbeStatus::Online, "nobody listened meanwhile");
        assert_eq!(judge(&mut target, 904_001), ProbeStatus::Offline);
        target.resume_after_gap(at(950_000), 950_000);
        assert_eq!(judge(&mut target, 950_001), ProbeStatus::Offline, "nor does a gap bring it back");
    }
}
