//! Verifies the reports in messages, in the thread that received them, within a rate for each author.

use parking_lot::Mutex;

use super::clock::Clock;
use super::drop_counters::DropCounters;
use crate::mesh::Snapshot;
use crate::mesh::verify::{self, AuthorRateLimit, MessageReports, VerifyOutcome};

/// The verifier of a network.
///
/// The I/O threads share the rate limit, which is not part of the snapshot: it bounds the processor time of verification,
/// so it must hold while the event loop is behind. A limit in the snapshot would admit one report of an author for each
/// message that arrives between two snapshots (`cargo bench --bench reports` prints their number).
#[derive(Default)]
pub(super) struct ReportVerifier {
    limit: Mutex<AuthorRateLimit>,
}

impl ReportVerifier {
    /// Verifies the reports and proofs in a message, and counts those that are rejected or dropped.
    pub(super) fn verify(
        &self,
        clock: Clock,
        counters: &DropCounters,
        snapshot: &Snapshot,
        message: MessageReports<'_>,
    ) -> VerifyOutcome {
        let now_ms = clock.mono_ms();
        let outcome = verify::verify_message(snapshot.table(), message, |author, consume| {
            let mut limit = self.limit.lock();
            if consume {
                limit.consume(author, now_ms);
            }
            limit.allows(author, now_ms)
        });
        counters.count_verified(snapshot.membership().network_id().as_str(), message.sender, &outcome);
        outcome
    }
}
