//! One peer as this node probes it: what was found, and when to look again.

use super::event::Purpose;
use super::id::Stamp;
use super::observation::{Failure, Observation, Status};
use super::picture::Now;
use super::roster::Member;

/// A failed attempt is tried again after at most this long, in ms.
const RETRY_MS: u64 = 1_000;

/// A call under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy {
    pub(super) id: u64,
    pub(super) purpose: Purpose,
    /// The epoch of its nonce.
    pub(super) epoch: u64,
    pub(super) started_ms: u64,
}

/// What a successful exchange measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) rtt_us: u32,
    pub(super) took_us: u32,
    pub(super) offset_ms: i64,
}

/// One peer as this node probes it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) observation: Observation,
    /// Whether it ever answered this process.
    pub(super) seen: bool,
    /// At most one call at a time.
    pub(super) busy: Option<Busy>,
    /// A change waits for the call under way, to be pushed when that has ended.
    pub(super) owed: bool,
    /// Whether a report of it was stored since this node's start, or since the last gap of time.
    pub(super) heard: bool,
    /// Which of this node's own reports it is known to hold.
    pub(super) knows_own: Option<Stamp>,
    /// Since when it calls this node offline, as far as that was refuted already.
    pub(super) refuted_since_ms: Option<u64>,
    failures: u32,
    /// How many of the newest failures in a row were refusals of the connection.
    refusals: u32,
    /// When the current round of attempts was due; the next one is due a `poll_rate` later.
    round_ms: u64,
    next_ms: u64,
    smoothed_us: Option<u64>,
    asked_ms: Option<u64>,
}

impl Target {
    /// A peer of which nothing is known, first probed at `first_ms`.
    pub(super) fn new(now: Now, first_ms: u64) -> Self {
        let observation = Observation {
            status: Status::Unknown,
            since_ms: now.wall_ms,
            rtt_us: None,
            took_us: None,
            clock_offset_ms: None,
            error: None,
            head: None,
        };
        Self {
            observation,
            seen: false,
            busy: None,
            owed: false,
            heard: false,
            knows_own: None,
            refuted_since_ms: None,
            failures: 0,
            refusals: 0,
            round_ms: first_ms,
            next_ms: first_ms,
            smoothed_us: None,
            asked_ms: None,
        }
    }

    /// When to probe it next, in monotonic ms.
    pub(super) fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// Whether it answered when it was last asked.
    pub(super) fn is_reachable(&self) -> bool {
        self.observation.status == Status::Online && self.failures == 0
    }

    /// How long to wait for an answer, in ms. A peer that was online gets less for every attempt but the
    /// last, so that one lost packet does not cost the whole timeout; and for a push, since the next
    /// probe waits for its end. What follows a reply goes to a peer that just answered.
    pub(super) fn timeout_ms(&self, member: &Member, purpose: Purpose) -> u64 {
        let full = member.timeout_ms;
        let patient = match purpose {
            Purpose::Probe => self.observation.status != Status::Online || self.failures >= member.retry,
            Purpose::FollowUp => true,
            Purpose::Push => false,
        };
        if patient {
            return full;
        }
        let twice_usual = self.smoothed_us.map_or(full, |us| us / 500);
        (full / 4).max(twice_usual).min(full)
    }

    /// An exchange succeeded: one success is online again. Returns the status before, if it has changed.
    pub(super) fn succeeded(&mut self, now: Now, timing: Timing, purpose: Purpose) -> Option<Status> {
        let Timing { rtt_us, took_us, offset_ms } = timing;
        self.failures = 0;
        self.refusals = 0;
        self.seen = true;
        let before = self.become_status(now, Status::Online, None);
        // A follow-up may carry much, so its time says little about the next probe's.
        if purpose != Purpose::FollowUp || self.observation.rtt_us.is_none() {
            let whole_us = u64::from(rtt_us) + u64::from(took_us);
            self.smoothed_us = Some(self.smoothed_us.map_or(whole_us, |usual| (usual * 7 + whole_us) / 8));
            self.observation.rtt_us = Some(rtt_us);
            self.observation.took_us = Some(took_us);
            self.observation.clock_offset_ms = Some(offset_ms);
        }
        before
    }

    /// It answered and refused: it lives, but says nothing more.
    pub(super) fn refused(&mut self, now: Now, failure: Failure) -> Option<Status> {
        self.failures = 0;
        self.refusals = 0;
        self.seen = true;
        self.become_status(now, Status::Unknown, Some(failure))
    }

    /// A probe failed. It is offline after `retry` + 1 failures in a row; `head` is its newest report
    /// that this node holds.
    pub(super) fn failed(
        &mut self,
        now: Now,
        member: &Member,
        failure: Failure,
        head: Option<Stamp>,
    ) -> Option<Status> {
        self.failures = self.failures.saturating_add(1);
        self.refusals = if failure == Failure::Refused { self.refusals.saturating_add(1) } else { 0 };
        if self.failures <= member.retry && self.observation.status != Status::Offline {
            return None;
        }
        if self.observation.status != Status::Offline {
            self.observation.head = head;
        }
        // "Refused" says that every attempt was: a verdict comes sooner by it.
        let mixed = failure == Failure::Refused && self.refusals < self.failures.min(member.retry + 1);
        let error = if mixed { self.observation.error.or(Some(Failure::Timeout)) } else { Some(failure) };
        self.become_status(now, Status::Offline, error)
    }

    /// Whether the failure just counted is to be tried again before the next round.
    pub(super) fn retries(&self) -> bool {
        self.failures > 0 && self.observation.status != Status::Offline
    }

    /// It sent a request with a new nonce.
    pub(super) fn asked(&mut self, now: Now) {
        self.asked_ms = Some(now.mono_ms);
    }

    /// Judges a peer that only calls out by when it last called. It calls `own` as often as `own` is to
    /// be probed, so the slower of the two rates counts.
    pub(super) fn judge_caller(
        &mut self,
        now: Now,
        member: &Member,
        own: &Member,
        head: Option<Stamp>,
    ) -> Option<Status> {
        let asked_ms = self.asked_ms?;
        let rate_ms = member.poll_rate_ms.max(own.poll_rate_ms);
        let grace_ms = (u64::from(member.retry) + 1) * rate_ms + member.timeout_ms;
        self.seen = true;
        if now.mono_ms.saturating_sub(asked_ms) <= grace_ms {
            return self.become_status(now, Status::Online, None);
        }
        if self.observation.status != Status::Offline {
            self.observation.head = head;
        }
        self.become_status(now, Status::Offline, Some(Failure::Timeout))
    }

    fn become_status(&mut self, now: Now, status: Status, error: Option<Failure>) -> Option<Status> {
        let before = self.observation.status;
        self.observation.error = error;
        if before == status {
            return None;
        }
        self.observation.status = status;
        self.observation.since_ms = now.wall_ms;
        if status != Status::Offline {
            self.observation.head = None;
        }
        if status != Status::Online {
            self.observation.rtt_us = None;
            self.observation.took_us = None;
            self.observation.clock_offset_ms = None;
        }
        Some(before)
    }

    /// After an attempt that is to be tried again: soon after the failed one started.
    pub(super) fn schedule_retry(&mut self, now: Now, member: &Member, started_ms: u64) {
        let pause_ms = (member.poll_rate_ms / 4).min(RETRY_MS);
        self.next_ms = (started_ms + pause_ms).max(now.mono_ms);
    }

    /// After a round of attempts: a `poll_rate` after this round was due, give or take a tenth. `jitter`
    /// is even in 0..=1000. Rounds that were missed are left out.
    pub(super) fn schedule_round(&mut self, now: Now, member: &Member, jitter: u64) {
        let span_ms = member.poll_rate_ms * jitter / 5_000;
        self.round_ms += member.poll_rate_ms - member.poll_rate_ms / 10 + span_ms;
        if self.round_ms <= now.mono_ms {
            self.round_ms = now.mono_ms + span_ms;
        }
        self.next_ms = self.round_ms;
    }

    /// Brings the next probe forward where the configured rate has become shorter.
    pub(super) fn hasten(&mut self, now: Now, member: &Member) {
        self.round_ms = self.round_ms.min(now.mono_ms + member.poll_rate_ms);
        self.next_ms = self.next_ms.min(now.mono_ms + member.poll_rate_ms);
    }

    /// Starts over: a call under way is forgotten, since its reply may be as old as the gap, and that
    /// nobody called meanwhile tells nothing. The next probe is due at `first_ms`.
    pub(super) fn start_over(&mut self, now: Now, first_ms: u64) {
        self.failures = 0;
        self.refusals = 0;
        self.heard = false;
        self.busy = None;
        self.owed = false;
        if self.observation.status == Status::Online {
            self.asked_ms = self.asked_ms.map(|_| now.mono_ms);
        }
        self.round_ms = first_ms;
        self.next_ms = first_ms;
    }
}
