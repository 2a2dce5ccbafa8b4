//! What the listener turned away, counted, and told to the journal at most once a minute.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::journal::message_id;

/// Counts since the last line of the journal.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Connections that were answered with 503.
    pub(super) refused: Count,
    /// Connections that were closed to make room for others.
    pub(super) evicted: Count,
    /// Requests that were not HTTP as we take it: 4xx or 505 from the listener itself.
    pub(super) malformed: Count,
    /// Heads, bodies and readers of replies that took too long.
    pub(super) late: Count,
}

/// One number that any thread may raise.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Writes the tally and failed accepts to the journal, each at once when it begins and then at most once
/// in `pause`. Belongs to the accept loop, which turns at least once a second.
#[derive(Debug)]
pub(super) struct Reporter {
    pause: Duration,
    tally_told: Option<Instant>,
    accept_told: Option<Instant>,
    accept_failures: u64,
}

impl Reporter {
    pub(super) fn new(pause: Duration) -> Self {
        Self { pause, tally_told: None, accept_told: None, accept_failures: 0 }
    }

    /// Tells the tally if there is something to tell and the last line is old enough.
    pub(super) fn report(&mut self, tally: &Tally, now: Instant) {
        if !self.is_due(self.tally_told, now) {
            return;
        }
        let (refused, evicted) = (tally.refused.take(), tally.evicted.take());
        let (malformed, late) = (tally.malformed.take(), tally.late.take());
        if refused + evicted + malformed + late > 0 {
            self.tally_told = Some(now);
            log::warn!(
                MESSAGE_ID = message_id::CONNECTION_LIMIT;
                "since the last such line: {refused} connections refused and {evicted} closed early for \
                 want of room, {malformed} bad requests, {late} clients too slow"
            );
        }
    }

    /// Counts an accept or thread that failed, and tells it if the last line is old enough.
    pub(super) fn accept_failed(&mut self, error: &std::io::Error, now: Instant) {
        self.accept_failures += 1;
        if self.is_due(self.accept_told, now) {
            self.accept_told = Some(now);
            let times = std::mem::take(&mut self.accept_failures);
            log::warn!(
                MESSAGE_ID = message_id::CONNECTION_LIMIT;
                "taking a connection failed ({times} times since the last such line): {error}; the \
                 listener goes on, check the limits on open files and tasks if this stays"
            );
        }
    }

    fn is_due(&self, told: Option<Instant>, now: Instant) -> bool {
        told.is_none_or(|told| now.saturating_duration_since(told) >= self.pause)
    }
}
