//! What was dropped or refused, counted by kind, and told to the journal without flooding it.

use std::sync::atomic::{AtomicU64, Ordering};

use log::warn;

use crate::journal::log_limiter::LogLimiter;
use crate::journal::message_id;
use crate::mesh::verify::VerifyOutcome;

/// Counts since the start of the process.
#[derive(Default)]
pub struct DropCounters {
    rejected_reports: AtomicU64,
    rate_limited: AtomicU64,
    stale: AtomicU64,
    queue_full: AtomicU64,
    rejected_requests: AtomicU64,
    lines: LogLimiter,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct DropCounts {
    /// Reports whose form, network, author or signature did not fit.
    pub reports_refused: u64,
    /// Reports beyond what an author may send.
    pub reports_surplus: u64,
    /// Reports that did not advance.
    pub reports_stale: u64,
    /// Reports dropped because the collector was busy.
    pub reports_overrun: u64,
    /// Requests that were refused.
    pub requests_refused: u64,
}

impl DropCounters {
    /// What a message of `sender` brought that was not kept.
    pub fn count_verified(&self, network: &str, sender: &str, intake: &VerifyOutcome) {
        self.stale.fetch_add(u64::from(intake.stale), Ordering::Relaxed);
        if intake.rate_limited > 0 {
            self.rate_limited.fetch_add(u64::from(intake.rate_limited), Ordering::Relaxed);
            if let Some(more) = self.lines.allow(&format!("surplus {sender}")) {
                warn!(
                    MESSAGE_ID = message_id::DROPPED, DISTOMON_NETWORK = network, DISTOMON_PEER = sender;
                    "{network}: {sender} brought more new reports of one node than five a second, the surplus is dropped{more}"
                );
            }
        }
        if let Some((error, count)) = intake.rejected {
            self.rejected_reports.fetch_add(u64::from(count), Ordering::Relaxed);
            if let Some(more) = self.lines.allow(&format!("refused {sender} {error}")) {
                warn!(
                    MESSAGE_ID = message_id::REJECTED, DISTOMON_NETWORK = network, DISTOMON_PEER = sender;
                    "{network}: refused a report that {sender} brought: {error}{more}"
                );
            }
        }
    }

    /// Reports that the collector had no room for.
    pub fn count_queue_full(&self, network: &str, reports: usize) {
        self.queue_full.fetch_add(reports as u64, Ordering::Relaxed);
        if let Some(more) = self.lines.allow("overrun") {
            warn!(MESSAGE_ID = message_id::DROPPED, DISTOMON_NETWORK = network; "{network}: too much to take in at once, {reports} reports dropped for now{more}");
        }
    }

    /// A request of `subject` (a known peer's name, or an address) that was refused: of one `kind` once a
    /// minute, whatever differs in `why` from one request to the next.
    pub fn count_rejected_request(&self, network: &str, subject: &str, kind: &str, why: &str) {
        self.rejected_requests.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.lines.allow(&format!("refused a request of {subject}: {kind}")) {
            warn!(MESSAGE_ID = message_id::REJECTED, DISTOMON_NETWORK = network; "{network}: refused a request of {subject}: {why}{more}");
        }
    }

    /// Tells what the lines of the last minute left out, once nothing of the kind has come for a while.
    pub fn flush_suppressed(&self, network: &str) {
        for (subject, more) in self.lines.overdue() {
            warn!(DISTOMON_NETWORK = network; "{network}: {subject}{more}");
        }
    }

    /// The counts now.
    pub fn counts(&self) -> DropCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DropCounts {
            reports_refused: read(&self.rejected_reports),
            reports_surplus: read(&self.rate_limited),
            reports_stale: read(&self.stale),
            reports_overrun: read(&self.queue_full),
            requests_refused: read(&self.rejected_requests),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_varies_makes_no_new_lines() {
        let tally = DropCounters::default();
        for number in 0..100 {
            tally.count_rejected_request(
                "net",
                "a",
                "Conflict",
                &format!("the nonce is not larger than {number}"),
            );
        }
        tally.count_rejected_request("net", "a", "Bad Request", "");
        tally.count_rejected_request("net", "b", "Conflict", "");
        assert_eq!(tally.counts().requests_refused, 102);
        assert_eq!(format!("{:?}", tally.lines).matches("SubjectWindow").count(), 3);
    }
}
