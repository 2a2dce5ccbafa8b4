//! What was dropped or refused, counted by kind, and told to the journal without flooding it.

use std::sync::atomic::{AtomicU64, Ordering};

use log::warn;

use super::limit::Limiter;
use crate::mesh::intake::Intake;
use crate::message_id;

/// Counts since the start of the process.
#[derive(Default)]
pub struct Tally {
    refused: AtomicU64,
    surplus: AtomicU64,
    stale: AtomicU64,
    overrun: AtomicU64,
    rejected: AtomicU64,
    lines: Limiter,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
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

impl Tally {
    /// What a message of `sender` brought that was not kept.
    pub fn count_intake(&self, network: &str, sender: &str, intake: &Intake) {
        self.stale.fetch_add(u64::from(intake.stale), Ordering::Relaxed);
        if intake.surplus > 0 {
            self.surplus.fetch_add(u64::from(intake.surplus), Ordering::Relaxed);
            if let Some(more) = self.lines.pass(&format!("surplus {sender}")) {
                warn!(
                    MESSAGE_ID = message_id::DROPPED, DISTOMON_NETWORK = network, DISTOMON_PEER = sender;
                    "{network}: {sender} brought more new reports of one node than five a second, the surplus is dropped{more}"
                );
            }
        }
        if let Some((error, count)) = intake.refused {
            self.refused.fetch_add(u64::from(count), Ordering::Relaxed);
            if let Some(more) = self.lines.pass(&format!("refused {sender} {error}")) {
                warn!(
                    MESSAGE_ID = message_id::REFUSED, DISTOMON_NETWORK = network, DISTOMON_PEER = sender;
                    "{network}: refused a report that {sender} brought: {error}{more}"
                );
            }
        }
    }

    /// Reports that the collector had no room for.
    pub fn count_overrun(&self, network: &str, reports: usize) {
        self.overrun.fetch_add(reports as u64, Ordering::Relaxed);
        if let Some(more) = self.lines.pass("overrun") {
            warn!(MESSAGE_ID = message_id::DROPPED, DISTOMON_NETWORK = network; "{network}: too much to take in at once, {reports} reports dropped for now{more}");
        }
    }

    /// A request of `subject` (a known peer's name, or an address) that was refused: of one `kind` once a
    /// minute, whatever differs in `why` from one request to the next.
    pub fn count_rejected(&self, network: &str, subject: &str, kind: &str, why: &str) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        if let Some(more) = self.lines.pass(&format!("refused a request of {subject}: {kind}")) {
            warn!(MESSAGE_ID = message_id::REFUSED, DISTOMON_NETWORK = network; "{network}: refused a request of {subject}: {why}{more}");
        }
    }

    /// Tells what the lines of the last minute left out, once nothing of the kind has come for a while.
    pub fn tell_rest(&self, network: &str) {
        for (subject, more) in self.lines.overdue() {
            warn!(DISTOMON_NETWORK = network; "{network}: {subject}{more}");
        }
    }

    /// The counts now.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            reports_refused: read(&self.refused),
            reports_surplus: read(&self.surplus),
            reports_stale: read(&self.stale),
            reports_overrun: read(&self.overrun),
            requests_refused: read(&self.rejected),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_varies_makes_no_new_lines() {
        let tally = Tally::default();
        for number in 0..100 {
            tally.count_rejected("net", "a", "Conflict", &format!("the nonce is not larger than {number}"));
        }
        tally.count_rejected("net", "a", "Bad Request", "");
        tally.count_rejected("net", "b", "Conflict", "");
        assert_eq!(tally.counts().requests_refused, 102);
        assert_eq!(format!("{:?}", tally.lines).matches("Silence").count(), 3);
    }
}
