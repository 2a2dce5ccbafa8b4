//! Counts dropped and rejected reports and requests by kind, and logs them at a limited rate.

use std::sync::atomic::{AtomicU64, Ordering};

use log::warn;

use crate::journal::log_limiter::LogLimiter;
use crate::journal::message_id;
use crate::mesh::verify::{AUTHOR_REPORTS_PER_SECOND, VerifyOutcome};

/// Counters of dropped and rejected reports and requests since the start of the process.
#[derive(Default)]
pub struct DropCounters {
    rejected_reports: AtomicU64,
    rate_limited: AtomicU64,
    stale: AtomicU64,
    queue_full: AtomicU64,
    rejected_requests: AtomicU64,
    log_limiter: LogLimiter,
}

/// The values of the counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropCounts {
    /// Rejected reports: malformed, of another network, of an unknown author, or with a bad signature.
    pub rejected_reports: u64,
    /// Reports beyond the rate limit of their author.
    pub rate_limited_reports: u64,
    /// Reports that did not advance.
    pub stale_reports: u64,
    /// Reports dropped because the event queue was full.
    pub queue_full_reports: u64,
    /// Rejected requests.
    pub rejected_requests: u64,
}

impl DropCounters {
    /// Counts the reports in a message of `sender` that were dropped or rejected.
    pub fn count_verified(&self, network: &str, sender: &str, outcome: &VerifyOutcome) {
        self.stale.fetch_add(u64::from(outcome.stale), Ordering::Relaxed);
        if outcome.rate_limited > 0 {
            self.rate_limited.fetch_add(u64::from(outcome.rate_limited), Ordering::Relaxed);
            if let Some(more) = self
                .log_limiter
                .allow(&format!("dropped reports that {sender} sent beyond the rate limit of authors"))
            {
                warn!(
                    MESSAGE_ID = message_id::DROPPED, DISTOMON_NETWORK = network, DISTOMON_PEER = sender;
                    "{network}: dropped reports that {sender} sent: more than {AUTHOR_REPORTS_PER_SECOND} new reports of one author arrived within a second{more}"
                );
            }
        }
        if let Some((error, count)) = outcome.rejected {
            self.rejected_reports.fetch_add(u64::from(count), Ordering::Relaxed);
            if let Some(more) = self.log_limiter.allow(&format!("rejected a report from {sender}: {error}")) {
                warn!(
                    MESSAGE_ID = message_id::REJECTED, DISTOMON_NETWORK = network, DISTOMON_PEER = sender;
                    "{network}: rejected a report from {sender}: {error}{more}"
                );
            }
        }
    }

    /// Counts `reports` that were dropped because the event queue was full.
    pub fn count_queue_full(&self, network: &str, reports: usize) {
        self.queue_full.fetch_add(reports as u64, Ordering::Relaxed);
        if let Some(more) = self.log_limiter.allow("event queue full") {
            warn!(MESSAGE_ID = message_id::DROPPED, DISTOMON_NETWORK = network; "{network}: event queue full; dropped {reports} relayed reports{more}");
        }
    }

    /// Counts a rejected request of `subject`, a peer's id or an address. Logs one line a minute for each subject and
    /// `kind`, even if `why` differs.
    pub fn count_rejected_request(&self, network: &str, subject: &str, kind: &str, why: &str) {
        self.rejected_requests.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.log_limiter.allow(&format!("rejected a request from {subject}: {kind}")) {
            warn!(MESSAGE_ID = message_id::REJECTED, DISTOMON_NETWORK = network; "{network}: rejected a request from {subject}: {why}{more}");
        }
    }

    /// Counts a request that was rejected since this node is overloaded.
    pub fn count_busy(&self, network: &str) {
        self.rejected_requests.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.log_limiter.allow("rejected requests: this node is overloaded") {
            warn!(MESSAGE_ID = message_id::REJECTED, DISTOMON_NETWORK = network; "{network}: rejected a request: this node is overloaded{more}");
        }
    }

    /// Logs the number of suppressed lines for each subject whose minute is over.
    pub fn flush_suppressed(&self, network: &str) {
        for (subject, more) in self.log_limiter.overdue() {
            warn!(DISTOMON_NETWORK = network; "{network}: {subject}{more}");
        }
    }

    /// The current values.
    pub fn counts(&self) -> DropCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DropCounts {
            rejected_reports: read(&self.rejected_reports),
            rate_limited_reports: read(&self.rate_limited),
            stale_reports: read(&self.stale),
            queue_full_reports: read(&self.queue_full),
            rejected_requests: read(&self.rejected_requests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_logged_for_each_subject_and_kind() {
        let counters = DropCounters::default();
        for number in 0..100 {
            counters.count_rejected_request(
                "net",
                "a",
                "Conflict",
                &format!("the nonce is not larger than {number}"),
            );
        }
        counters.count_rejected_request("net", "a", "Bad Request", "");
        counters.count_rejected_request("net", "b", "Conflict", "");
        assert_eq!(counters.counts().rejected_requests, 102);
        assert_eq!(format!("{:?}", counters.log_limiter).matches("SubjectWindow").count(), 3);
    }
}
