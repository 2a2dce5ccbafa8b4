//! Verifies the reports in messages, in the thread that received them, within a rate for each author.

use parking_lot::Mutex;

use super::clock::Clock;
use super::drop_counters::DropCounters;
use crate::mesh::Snapshot;
use crate::mesh::id::ReportId;
use crate::mesh::verify::{self, AuthorRateLimit, GateDecision, MessageReports, VerifyGate, VerifyOutcome};
use crate::mesh::wire::report::{Digest, UnverifiedReport, VerifiedReport};

/// For how long a verified report counts as stored, in ms: the event loop may be that late. It may also drop the report,
/// so that another copy must be verified later.
const QUEUED_MS: u64 = 1_000;

/// The verifier of a network.
///
/// The I/O threads share its state, which is not part of the snapshot: it bounds the processor time of verification, so
/// it must hold while the event loop is behind. A limit in the snapshot would admit one report of an author for each
/// message that arrives between two snapshots (`cargo bench --bench reports` prints their number).
#[derive(Default)]
pub(super) struct ReportVerifier {
    state: Mutex<VerifierState>,
}

#[derive(Default)]
struct VerifierState {
    /// The digest of the configuration to whose members the indices below refer.
    config: String,
    rates: AuthorRateLimit,
    /// By author.
    recent: Vec<RecentReports>,
}

/// The reports of one author that were verified recently or are being verified.
#[derive(Debug, Clone, Default)]
struct RecentReports {
    /// The newest verified one, and when it was verified: monotonic time in ms.
    newest: Option<(ReportId, Digest, u64)>,
    /// The one that is being verified.
    in_progress: Option<SignedDigest>,
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
        let membership = snapshot.membership();
        self.state.lock().use_membership(membership.digest(), membership.members().len());
        let gate = SharedGate { state: &self.state, clock: &|| clock.mono_ms(), in_progress: None };
        let outcome = verify::verify_message(snapshot.table(), message, gate);
        counters.count_verified(membership.network_id().as_str(), message.sender, &outcome);
        outcome
    }
}

impl VerifierState {
    /// Starts over if the configuration has changed.
    fn use_membership(&mut self, config: &str, members: usize) {
        if self.config != config || self.recent.len() != members {
            let (config, recent) = (config.to_owned(), vec![RecentReports::default(); members]);
            *self = Self { config, rates: AuthorRateLimit::default(), recent };
        }
    }
}

/// The gate of one message.
struct SharedGate<'a> {
    state: &'a Mutex<VerifierState>,
    /// Returns monotonic time in ms.
    clock: &'a dyn Fn() -> u64,
    /// The report that this thread verifies, with its author.
    in_progress: Option<(usize, SignedDigest)>,
}

/// The digest and the signature of a report.
type SignedDigest = (Digest, [u8; 64]);

impl SharedGate<'_> {
    /// Ends the verification in progress.
    fn end(&mut self, state: &mut VerifierState) {
        let Some((author, signed)) = self.in_progress.take() else { return };
        if let Some(recent) = state.recent.get_mut(author) {
            recent.in_progress.take_if(|other| *other == signed);
        }
    }
}

impl Drop for SharedGate<'_> {
    fn drop(&mut self) {
        // A verification that panicked.
        if self.in_progress.is_some() {
            let state = self.state;
            self.end(&mut state.lock());
        }
    }
}

impl VerifyGate for SharedGate<'_> {
    fn check(&mut self, report: &UnverifiedReport) -> GateDecision {
        let now_ms = (self.clock)();
        let mut state = self.state.lock();
        let state = &mut *state;
        let author = report.author();
        // The configuration may have been replaced since, with fewer members.
        let Some(recent) = state.recent.get_mut(author) else { return GateDecision::Superseded };
        let signed = (*report.digest(), *report.signature());
        if recent.is_superseded(report, now_ms) || recent.in_progress == Some(signed) {
            return GateDecision::Superseded;
        }
        if !state.rates.allows(author, now_ms) {
            return GateDecision::RateLimited;
        }
        // Another report in progress may be forged, so it does not replace this one.
        recent.in_progress = Some(signed);
        self.in_progress = Some((author, signed));
        GateDecision::Verify
    }

    fn on_verified(&mut self, author: usize, verified: Option<&VerifiedReport>) {
        let now_ms = (self.clock)();
        let shared = self.state;
        let mut state = shared.lock();
        self.end(&mut state);
        let Some(recent) = state.recent.get_mut(author) else { return };
        let Some(report) = verified else { return };
        if recent.newest.is_none_or(|(id, ..)| report.id() > id) {
            recent.newest = Some((report.id(), *report.digest(), now_ms));
        }
        state.rates.consume(author, now_ms);
    }
}

impl RecentReports {
    /// Whether a report is older than the newest verified one, or the same.
    fn is_superseded(&self, report: &UnverifiedReport, now_ms: u64) -> bool {
        self.newest.is_some_and(|(id, digest, verified_ms)| {
            let is_recent = now_ms.saturating_sub(verified_ms) < QUEUED_MS;
            is_recent && (report.id() < id || (report.id() == id && *report.digest() == digest))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::wire::report::Report;
    use crate::store::fixture::{self, Net};

    fn unverified(net: &Net, report: &VerifiedReport) -> UnverifiedReport {
        UnverifiedReport::parse(report.envelope(), &net.membership).expect("a report")
    }

    fn gate<'a>(state: &'a Mutex<VerifierState>, clock: &'a dyn Fn() -> u64) -> SharedGate<'a> {
        SharedGate { state, clock, in_progress: None }
    }

    /// A report of node 1 with this sequence number.
    fn report(net: &Net, seq: u64, isolated: bool) -> VerifiedReport {
        let base = net.report(1, fixture::now());
        let changed = Report { seq, isolated, ..base.report().clone() };
        VerifiedReport::sign(changed, &net.keys[1])
    }

    #[test]
    fn superseded_reports_are_not_verified_until_the_event_loop_may_have_dropped_them() {
        let net = Net::new("net", 3);
        let state = Mutex::new(VerifierState::default());
        state.lock().use_membership("config", 3);
        let newest = report(&net, 7, false);
        let checked = |report: &VerifiedReport, now_ms| {
            let clock = || now_ms;
            let mut gate = gate(&state, &clock);
            let decision = gate.check(&unverified(&net, report));
            gate.on_verified(1, None);
            decision
        };
        let mut first = gate(&state, &|| 5_000);
        assert_eq!(first.check(&unverified(&net, &newest)), GateDecision::Verify);
        first.on_verified(1, Some(&newest));
        assert_eq!(checked(&newest, 5_000), GateDecision::Superseded);
        assert_eq!(checked(&report(&net, 6, false), 5_999), GateDecision::Superseded);
        assert_eq!(checked(&report(&net, 6, false), 6_000), GateDecision::Verify);
        assert_eq!(checked(&newest, 6_000), GateDecision::Verify);
        assert_eq!(checked(&report(&net, 8, false), 5_000), GateDecision::Verify);
        assert_eq!(checked(&report(&net, 7, true), 5_000), GateDecision::Verify, "it convicts its author");
        state.lock().use_membership("other config", 3);
        assert_eq!(checked(&report(&net, 6, false), 5_000), GateDecision::Verify);
    }

    #[test]
    fn a_report_that_is_being_verified_is_not_verified_again() {
        let net = Net::new("net", 3);
        let state = Mutex::new(VerifierState::default());
        state.lock().use_membership("config", 3);
        let (one, other) = (report(&net, 7, false), report(&net, 6, false));
        let mut first = gate(&state, &|| 5_000);
        let mut second = gate(&state, &|| 5_000);
        assert_eq!(first.check(&unverified(&net, &one)), GateDecision::Verify);
        assert_eq!(second.check(&unverified(&net, &one)), GateDecision::Superseded);
        // The first one may be forged.
        assert_eq!(second.check(&unverified(&net, &other)), GateDecision::Verify);
        second.on_verified(1, Some(&other));
        first.on_verified(1, None);
        assert_eq!(second.check(&unverified(&net, &one)), GateDecision::Verify);
    }

    #[test]
    fn reports_beyond_the_rate_of_their_author_are_not_verified() {
        let net = Net::new("net", 3);
        let state = Mutex::new(VerifierState::default());
        state.lock().use_membership("config", 3);
        let decisions: Vec<_> = (1..=6)
            .map(|seq| {
                let (mut gate, report) = (gate(&state, &|| 5_000), report(&net, seq, false));
                let decision = gate.check(&unverified(&net, &report));
                if decision == GateDecision::Verify {
                    gate.on_verified(1, Some(&report));
                }
                decision
            })
            .collect();
        assert_eq!(decisions[..5], [GateDecision::Verify; 5]);
        assert_eq!(decisions[5], GateDecision::RateLimited);
    }
}
