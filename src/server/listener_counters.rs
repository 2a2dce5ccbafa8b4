//! Counters of what the listener rejected, and the rate-limited log of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::resource_owner::ResourceOwner;
use crate::journal::log_limiter::LogLimiter;
use crate::journal::message_id;

/// Counts of rejected work since the last log line.
#[derive(Debug, Default)]
pub(super) struct ListenerCounters {
    /// Connections answered with 503.
    pub(super) refused: Counter,
    /// Connections closed to make room for others.
    pub(super) evicted: Counter,
    /// Requests rejected by the listener itself with 4xx or 505.
    pub(super) malformed: Counter,
    /// Heads, bodies and replies that exceeded their timeout.
    pub(super) slow: Counter,
    body_log: LogLimiter,
}

impl ListenerCounters {
    /// Logs a request that was rejected because its owner's requests exceed their share of memory; one line a minute for each
    /// owner.
    pub(super) fn log_beyond_share(&self, owner: &ResourceOwner) {
        if let Some(more) = self.body_log.allow(&body_subject(owner)) {
            log::warn!(
                MESSAGE_ID = message_id::CONNECTION_LIMIT;
                "rejected a request of {owner}: its unfinished requests use up its share of memory{more}"
            );
        }
    }

    /// Logs the number of suppressed lines for each owner whose minute is over.
    pub(super) fn flush_suppressed(&self) {
        for (subject, more) in self.body_log.overdue() {
            log::warn!(MESSAGE_ID = message_id::CONNECTION_LIMIT; "{subject}{more}");
        }
    }
}

fn body_subject(owner: &ResourceOwner) -> String {
    format!("rejected requests of {owner} beyond its share of memory")
}

/// A counter that any thread may increment.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// The log of the counters and of failed accepts. The first line of each kind appears immediately, further
/// ones at most once per interval.
#[derive(Debug)]
pub(super) struct CounterLog {
    interval: Duration,
    counters_logged: Option<Instant>,
    accept_logged: Option<Instant>,
    accept_failures: u64,
}

impl CounterLog {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, counters_logged: None, accept_logged: None, accept_failures: 0 }
    }

    /// Logs and resets the counters if one of them is above zero and the last line is old enough.
    pub(super) fn log_counters(&mut self, counters: &ListenerCounters, now: Instant) {
        counters.flush_suppressed();
        if !self.is_due(self.counters_logged, now) {
            return;
        }
        let (refused, evicted) = (counters.refused.take(), counters.evicted.take());
        let (malformed, slow) = (counters.malformed.take(), counters.slow.take());
        if refused + evicted + malformed + slow > 0 {
            self.counters_logged = Some(now);
            log::warn!(
                MESSAGE_ID = message_id::CONNECTION_LIMIT;
                "connection limits: refused {refused} connections and closed {evicted} early to make room, \
                 rejected {malformed} malformed requests, cut off {slow} slow clients since the last such line"
            );
        }
    }

    /// Counts a connection that could not be accepted or got no thread, and logs it if the last line is old
    /// enough.
    pub(super) fn log_accept_failure(&mut self, error: &std::io::Error, now: Instant) {
        self.accept_failures += 1;
        if self.is_due(self.accept_logged, now) {
            self.accept_logged = Some(now);
            let times = std::mem::take(&mut self.accept_failures);
            log::warn!(
                MESSAGE_ID = message_id::CONNECTION_LIMIT;
                "accepting a connection failed ({times} times since the last such line): {error}; the \
                 listener retries; if this persists, raise LimitNOFILE= and TasksMax="
            );
        }
    }

    fn is_due(&self, logged: Option<Instant>, now: Instant) -> bool {
        logged.is_none_or(|logged| now.saturating_duration_since(logged) >= self.interval)
    }
}
