//! Verifies the reports in messages, in the thread that received them, within a rate for each author.

use parking_lot::Mutex;

use super::clock::Clock;
use super::drop_counters::DropCounters;
use crate::mesh::Snapshot;
use crate::mesh::verify::{self, AuthorRateLimit, MessageReports, VerifyOutcome};

/// The verifier of a network.
///
/// The rate limit is shared by the I/O threads instead of being part of the snapshot: it protects the processor from
/// verifying, so it must hold while the event loop is behind. Read from a snapshot, it admits one report of an author
/// for each message that arrives between two publications (`cargo bench --bench reports` prints how many).
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
