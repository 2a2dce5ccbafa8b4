//! One peer as this node probes it: what was found, and when to look again.

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
    pub(super) probe: bool,
    pub(super) started_ms: u64,
}

/// One peer as this node probes it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) observation: Observation,
    /// Whether it ever answered this process.
    pub(super) seen: bool,
    /// At most one call at a time.
    pub(super) busy: Option<Busy>,
    /// Which of this node's own reports it is known to hold.
    pub(super) knows_own: Option<Stamp>,
    /// Since when it calls this node offline, as far as that was refuted already.
    pub(super) refuted_since_ms: Option<u64>,
    failures: u32,
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
            knows_own: None,
            refuted_since_ms: None,
            failures: 0,
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

    /// How long to wait for an answer, in ms. A peer that was online gets less for every attempt but the
    /// last, so that one lost packet does not cost the whole timeout.
    pub(super) fn timeout_ms(&self, member: &Member) -> u64 {
        let full = member.timeout_ms;
        if self.observation.status != Status::Online || self.failures >= member.retry {
            return full;
        }
        let twice_usual = self.smoothed_us.map_or(full, |us| us / 500);
        (full / 4).max(twice_usual).min(full)
    }

    /// An exchange succeeded: one success is online again. `probe` moves the schedule on. Returns the
    /// status before, if it has changed.
    pub(super) fn succeeded(
        &mut self,
        now: Now,
        rtt_us: u32,
        took_us: u32,
        offset_ms: i64,
    ) -> Option<Status> {
        let whole_us = u64::from(rtt_us) + u64::from(took_us);
        self.smoothed_us = Some(self.smoothed_us.map_or(whole_us, |usual| (usual * 7 + whole_us) / 8));
        self.failures = 0;
        self.seen = true;
        let before = self.become_status(now, Status::Online, None);
        self.observation.rtt_us = Some(rtt_us);
        self.observation.took_us = Some(took_us);
        self.observation.clock_offset_ms = Some(offset_ms);
        before
    }

    /// It answered and refused: it lives, but says nothing more.
    pub(super) fn refused(&mut self, now: Now, failure: Failure) -> Option<Status> {
        self.failures = 0;
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
        if self.failures <= member.retry && self.observation.status != Status::Offline {
            return None;
        }
        if self.observation.status != Status::Offline {
            self.observation.head = head;
        }
        self.become_status(now, Status::Offline, Some(failure))
    }

    /// Whether the failure just counted is to be tried again before the next round.
    pub(super) fn retries(&self) -> bool {
        self.failures > 0 && self.observation.status != Status::Offline
    }

    /// It sent a request with a new nonce.
    pub(super) fn asked(&mut self, now: Now) {
        self.asked_ms = Some(now.mono_ms);
    }

    /// Judges a peer that only calls out by when it last called.
    pub(super) fn judge_caller(&mut self, now: Now, member: &Member, head: Option<Stamp>) -> Option<Status> {
        let asked_ms = self.asked_ms?;
        let grace_ms = u64::from(member.retry + 1) * member.poll_rate_ms + member.timeout_ms;
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

    /// Starts over: whatever is under way tells nothing, and the next probe is due at `first_ms`.
    pub(super) fn start_over(&mut self, first_ms: u64) {
        self.failures = 0;
        self.busy = self.busy.map(|busy| Busy { probe: false, ..busy });
        self.round_ms = first_ms;
        self.next_ms = first_ms;
    }
}
