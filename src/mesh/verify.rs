//! Verifies the reports in a message: the cheap checks first, the signature last, within a rate for each author.

use std::ops::ControlFlow;

use serde_json::value::RawValue;

use super::report_table::ReportTable;
use super::wire::equivocation::{EquivocationProof, UnverifiedEquivocation};
use super::wire::message::MAX_PROOFS;
use super::wire::report::{ReportError, UnverifiedReport, VerifiedReport};

/// The maximum number of reports of one author that are verified in a second.
pub const AUTHOR_REPORTS_PER_SECOND: u64 = 5;

/// The number of bad signatures in one message that are tolerated if its sender has another configuration.
pub const MAX_MISMATCH_FAILURES: u32 = 8;

/// A token bucket for each author with [`AUTHOR_REPORTS_PER_SECOND`] tokens, refilled within a second. Only verified
/// reports consume a token, so that no node can use up the tokens of another.
#[derive(Debug, Default)]
pub struct AuthorRateLimit {
    /// For each author of the membership: tokens in thousandths, and when they were last refilled, in ms.
    buckets: Vec<(u64, u64)>,
}

impl AuthorRateLimit {
    fn refill(&mut self, author: usize, mono_ms: u64) -> &mut u64 {
        const FULL: u64 = AUTHOR_REPORTS_PER_SECOND * 1000;
        if self.buckets.len() <= author {
            self.buckets.resize(author + 1, (FULL, mono_ms));
        }
        let (tokens, refilled_ms) = &mut self.buckets[author];
        *tokens = (*tokens + mono_ms.saturating_sub(*refilled_ms) * AUTHOR_REPORTS_PER_SECOND).min(FULL);
        *refilled_ms = mono_ms.max(*refilled_ms);
        tokens
    }

    /// Whether a report of this author would be verified now.
    pub fn allows(&mut self, author: usize, mono_ms: u64) -> bool {
        *self.refill(author, mono_ms) >= 1000
    }

    /// Consumes a token of this author.
    pub fn consume(&mut self, author: usize, mono_ms: u64) {
        let tokens = self.refill(author, mono_ms);
        *tokens = tokens.saturating_sub(1000);
    }
}

/// What to do with a report that the table lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateDecision {
    /// Verify its signature, and pass the result to [`VerifyGate::on_verified`].
    Verify,
    /// Skip it: a newer one was verified, or the same one is being verified.
    Superseded,
    /// Skip it: it is beyond the rate limit of its author.
    RateLimited,
}

/// Decides which reports are verified.
pub trait VerifyGate {
    /// Decides about a report that the table lacks.
    fn check(&mut self, report: &UnverifiedReport) -> GateDecision;
    /// Records the result of a verification: the report if its signature is good.
    fn on_verified(&mut self, author: usize, verified: Option<&VerifiedReport>);
}

/// A rate limit alone: the closure gets the author's index and whether to consume a token, and returns whether the author
/// has one.
impl<F: FnMut(usize, bool) -> bool> VerifyGate for F {
    fn check(&mut self, report: &UnverifiedReport) -> GateDecision {
        if self(report.author(), false) { GateDecision::Verify } else { GateDecision::RateLimited }
    }

    fn on_verified(&mut self, author: usize, verified: Option<&VerifiedReport>) {
        if verified.is_some() {
            self(author, true);
        }
    }
}

/// The reports and proofs in a message, unverified.
#[derive(Clone, Copy)]
pub struct MessageReports<'a> {
    /// The sender's node id.
    pub sender: &'a str,
    /// DSSE envelopes.
    pub reports: &'a [&'a RawValue],
    /// Pairs of DSSE envelopes.
    pub proofs: &'a [&'a RawValue],
}

/// The result of verifying a message.
#[derive(Debug, Default)]
pub struct VerifyOutcome {
    /// Verified reports that advance what the table holds, or conflict with it.
    pub reports: Vec<VerifiedReport>,
    /// Verified proofs.
    pub proofs: Vec<EquivocationProof>,
    /// Reports that did not advance, or were in the message twice.
    pub stale: u32,
    /// Reports beyond the rate of their author, not verified.
    pub rate_limited: u32,
    /// The first rejection (a bad signature before all others) and the number of rejections.
    pub rejected: Option<(ReportError, u32)>,
    /// The number of bad signatures.
    mismatch_failures: u32,
    /// Whether the verification ended at a bad signature that no other configuration explains.
    forged: bool,
}

impl VerifyOutcome {
    /// Whether the verification ended at a bad signature that no other configuration of the sender explains.
    pub fn is_forged(&self) -> bool {
        self.forged
    }

    fn reject(&mut self, error: ReportError) {
        let (first, count) = self.rejected.unwrap_or((error, 0));
        let shown = if error == ReportError::BadSignature { error } else { first };
        self.rejected = Some((shown, count + 1));
    }
}

/// Verifies `message` against `table`. Stops at the first bad signature, or after [`MAX_MISMATCH_FAILURES`] if the
/// sender's latest report shows another configuration.
pub fn verify_message(
    table: &ReportTable,
    message: MessageReports<'_>,
    gate: impl VerifyGate,
) -> VerifyOutcome {
    let seen = vec![false; table.membership().members().len()];
    let outcome = VerifyOutcome::default();
    let mut verifier = MessageVerifier { table, sender: message.sender, gate, seen, outcome };
    let proofs = message.proofs.iter().take(MAX_PROOFS);
    let reports = message.reports.iter().try_for_each(|raw| verifier.verify_report(raw.get()));
    if reports.is_continue() {
        let _ = proofs.into_iter().try_for_each(|raw| verifier.verify_proof(raw.get()));
    }
    verifier.outcome
}

/// Verifies one message.
struct MessageVerifier<'t, G> {
    table: &'t ReportTable,
    sender: &'t str,
    gate: G,
    /// Whether a report of each author has occurred in the message.
    seen: Vec<bool>,
    outcome: VerifyOutcome,
}

impl<G: VerifyGate> MessageVerifier<'_, G> {
    fn verify_report(&mut self, json: &str) -> ControlFlow<()> {
        if self.is_stored(json) {
            self.outcome.stale += 1;
            return ControlFlow::Continue(());
        }
        let report = match UnverifiedReport::parse(json, self.table.membership()) {
            Ok(report) => report,
            Err(error) => {
                self.outcome.reject(error);
                return ControlFlow::Continue(());
            }
        };
        let author = report.author();
        if std::mem::replace(&mut self.seen[author], true) || !is_new(self.table, &report) {
            self.outcome.stale += 1;
            return ControlFlow::Continue(());
        }
        match self.gate.check(&report) {
            GateDecision::Verify => {}
            GateDecision::Superseded => {
                self.outcome.stale += 1;
                return ControlFlow::Continue(());
            }
            GateDecision::RateLimited => {
                self.outcome.rate_limited += 1;
                return ControlFlow::Continue(());
            }
        }
        let verified = report.verify(self.table.membership());
        self.gate.on_verified(author, verified.as_ref().ok());
        match verified {
            Ok(report) => {
                self.outcome.reports.push(report);
                ControlFlow::Continue(())
            }
            Err(error) => self.on_bad_signature(error),
        }
    }

    /// Whether the table holds this very envelope: a cheap check, as in an overloaded network most reports arrive several
    /// times.
    fn is_stored(&self, json: &str) -> bool {
        // The key id follows the payload.
        let keyid = json.rsplit_once("\"keyid\":\"").and_then(|(_, rest)| rest.split_once('"'));
        let author = keyid.and_then(|(id, _)| self.table.membership().index(id));
        let latest = author.and_then(|author| self.table.states()[author].latest.as_ref());
        latest.is_some_and(|latest| **latest.envelope() == *json)
    }

    fn verify_proof(&mut self, json: &str) -> ControlFlow<()> {
        let membership = self.table.membership();
        let proof = match UnverifiedEquivocation::parse(json, membership) {
            Ok(proof) => proof,
            Err(error) => {
                self.outcome.reject(error);
                return ControlFlow::Continue(());
            }
        };
        // One proof convicts its author; a second one is not worth two signature checks.
        let author = Some(proof.author());
        let is_known = self.table.states()[proof.author()].equivocation.is_some()
            || self.outcome.proofs.iter().any(|known| membership.index(known.author().as_str()) == author);
        if is_known {
            self.outcome.stale += 1;
            return ControlFlow::Continue(());
        }
        match proof.verify(membership) {
            Ok(proof) => {
                self.outcome.proofs.push(proof);
                ControlFlow::Continue(())
            }
            Err(error) => self.on_bad_signature(error),
        }
    }

    /// Rejects a bad signature. Continues if the sender has another configuration: it may have another key of the author,
    /// with which the report verifies.
    fn on_bad_signature(&mut self, error: ReportError) -> ControlFlow<()> {
        self.outcome.reject(error);
        let (table, sender) = (self.table, self.sender);
        let newest = self.outcome.reports.iter().find(|report| report.author().as_str() == sender);
        let latest = || table.states()[table.membership().index(sender)?].latest.as_deref();
        let config = newest.or_else(latest).map(|report| report.report().config.as_str());
        let excused = config.is_some_and(|config| config != table.membership().digest());
        self.outcome.mismatch_failures += 1;
        self.outcome.forged |= !excused || self.outcome.mismatch_failures > MAX_MISMATCH_FAILURES;
        if self.outcome.forged { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Whether a report is newer than the stored one of its author, or conflicts with it and no proof is stored.
fn is_new(table: &ReportTable, report: &UnverifiedReport) -> bool {
    let state = &table.states()[report.author()];
    let Some(latest) = &state.latest else { return report.id() >= state.min_report };
    if report.id() == latest.id() {
        state.equivocation.is_none() && report.digest() != latest.digest()
    } else {
        report.id() > latest.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::dsse;
    use crate::mesh::id::{NetworkId, ReportId};
    use crate::mesh::sample::{self, TestSigner};
    use crate::mesh::wire::report::{PAYLOAD_TYPE, Report};

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    /// Verifies `envelopes` and `proofs` without a rate limit.
    fn verify(table: &ReportTable, envelopes: &[&str], proofs: &[&str]) -> VerifyOutcome {
        let envelopes: Vec<_> = envelopes.iter().map(|json| raw(json)).collect();
        let proofs: Vec<_> = proofs.iter().map(|json| raw(json)).collect();
        let (envelopes, proofs): (Vec<_>, Vec<_>) =
            (envelopes.iter().map(|raw| &**raw).collect(), proofs.iter().map(|raw| &**raw).collect());
        verify_message(
            table,
            MessageReports { sender: "nobody", reports: &envelopes, proofs: &proofs },
            |_, _| true,
        )
    }

    /// A report that is not signed by its author.
    fn forged(author: usize, epoch: u64, seq: u64) -> VerifiedReport {
        crate::mesh::Signer::sign(&TestSigner(sample::keypair(77)), sample::report(author, epoch, seq))
    }

    fn conflicting(author: usize) -> [VerifiedReport; 2] {
        [true, false]
            .map(|isolated| sample::sealed(author, Report { isolated, ..sample::report(author, 5, 3) }))
    }

    #[test]
    fn an_author_has_five_tokens_a_second() {
        let mut limit = AuthorRateLimit::default();
        let mut consumed = 0;
        for mono_ms in (1_000..3_000).step_by(10) {
            if limit.allows(2, mono_ms) {
                limit.consume(2, mono_ms);
                consumed += 1;
            }
        }
        assert_eq!(consumed, 5 + 9, "a full bucket, and the refill of two seconds less 10 ms");
        assert!(limit.allows(1, 3_000), "another author has a separate bucket");
    }

    #[test]
    fn only_reports_that_advance_are_verified() {
        let table = sample::table(3, &[sample::sealed(1, sample::report(1, 5, 3))]);
        // Verification would reject their signatures.
        for (epoch, seq) in [(5, 2), (5, 1), (4, 99)] {
            let outcome = verify(&table, &[forged(1, epoch, seq).envelope()], &[]);
            assert_eq!((outcome.stale, outcome.rejected), (1, None), "({epoch}, {seq})");
        }
        let same = verify(&table, &[sample::sealed(1, sample::report(1, 5, 3)).envelope()], &[]);
        assert_eq!((same.stale, same.reports.len()), (1, 0));
        for (epoch, seq) in [(5, 4), (6, 1)] {
            let outcome = verify(&table, &[sample::sealed(1, sample::report(1, epoch, seq)).envelope()], &[]);
            assert_eq!(outcome.reports[0].id(), ReportId { epoch, seq });
        }
    }

    #[test]
    fn reports_older_than_an_earlier_process_held_are_stale() {
        let mut table = sample::table(3, &[]);
        table.states.get_mut(1).min_report = ReportId { epoch: 5, seq: 3 };
        for (seq, stale) in [(2, 1), (3, 0), (4, 0)] {
            let outcome = verify(&table, &[sample::sealed(1, sample::report(1, 5, seq)).envelope()], &[]);
            assert_eq!(outcome.stale, stale, "{seq}");
        }
    }

    #[test]
    fn one_report_of_each_author_is_verified() {
        let table = sample::table(3, &[]);
        let one = sample::sealed(1, sample::report(1, 5, 3));
        let next = sample::sealed(1, sample::report(1, 5, 4));
        let other = sample::sealed(2, sample::report(2, 1, 1));
        let outcome = verify(&table, &[one.envelope(), next.envelope(), other.envelope()], &[]);
        assert_eq!((outcome.reports.len(), outcome.stale), (2, 1));
    }

    #[test]
    fn rate_limited_reports_are_dropped_and_forgeries_consume_no_token() {
        let table = sample::table(3, &[]);
        let report = raw(forged(1, 5, 3).envelope());
        let outcome = verify_message(
            &table,
            MessageReports { sender: "nobody", reports: &[&report], proofs: &[] },
            |_, _| false,
        );
        assert_eq!((outcome.rate_limited, outcome.rejected), (1, None));
        let outcome = verify_message(
            &table,
            MessageReports { sender: "nobody", reports: &[&report], proofs: &[] },
            |_, take: bool| {
                assert!(!take, "a forgery uses up what its pretended author may send");
                true
            },
        );
        assert!(outcome.is_forged());
        let good = raw(sample::sealed(1, sample::report(1, 5, 3)).envelope());
        let mut consumed = 0;
        verify_message(
            &table,
            MessageReports { sender: "nobody", reports: &[&good], proofs: &[] },
            |author, consume| {
                assert_eq!(author, 1);
                consumed += u32::from(consume);
                true
            },
        );
        assert_eq!(consumed, 1);
    }

    #[test]
    fn the_first_bad_signature_ends_verification() {
        let table = sample::table(4, &[]);
        let good = sample::sealed(1, sample::report(1, 5, 3));
        let late = sample::sealed(3, sample::report(3, 5, 3));
        let [one, other] = conflicting(3);
        let proof = EquivocationProof::new(one, other).expect("they differ").to_json();
        let outcome =
            verify(&table, &[good.envelope(), forged(2, 5, 3).envelope(), late.envelope()], &[&proof]);
        assert!(outcome.is_forged());
        assert_eq!(outcome.rejected, Some((ReportError::BadSignature, 1)));
        assert_eq!((outcome.reports.len(), outcome.proofs.len()), (1, 0), "the rest is not verified");
    }

    #[test]
    fn bad_signatures_from_a_sender_with_another_configuration_are_tolerated() {
        let table = sample::table(16, &[]);
        let own = table.membership().digest().to_owned();
        let good = sample::sealed(3, sample::report(3, 5, 3));
        let forgeries: Vec<_> = (4..16).map(|author| forged(author, 5, 3)).collect();
        // The configuration in the sender's report, the number of forgeries, and the number that are verified.
        for (config, count, verified, is_forged) in
            [("AAAAAAAAAAA=", 8, 8, false), ("AAAAAAAAAAA=", 12, 9, true), (own.as_str(), 8, 1, true)]
        {
            let report = Report { config: config.to_owned(), ..sample::report(2, 5, 3) };
            let raws: Vec<_> = std::iter::once(raw(sample::sealed(2, report).envelope()))
                .chain(forgeries.iter().take(count).map(|forgery| raw(forgery.envelope())))
                .chain([raw(good.envelope())])
                .collect();
            let raws: Vec<_> = raws.iter().map(|raw| &**raw).collect();
            let outcome = verify_message(
                &table,
                MessageReports { sender: "node-02", reports: &raws, proofs: &[] },
                |_, _| true,
            );
            let expected = (is_forged, Some((ReportError::BadSignature, verified)));
            assert_eq!((outcome.is_forged(), outcome.rejected), expected, "{config} {count}");
            assert_eq!(outcome.reports.len(), if is_forged { 1 } else { 2 }, "{config} {count}");
        }
    }

    #[test]
    fn invalid_reports_are_rejected_and_the_rest_is_verified() {
        let table = sample::table(3, &[]);
        let good = sample::sealed(1, sample::report(1, 5, 3));
        let network_id: NetworkId = "other".parse().expect("a name");
        let foreign = sample::sealed(2, Report { network_id, ..sample::report(2, 5, 3) });
        let payload = sample::report(2, 5, 3).to_payload();
        let borrowed = dsse::seal(&sample::keypair(1), "node-01", PAYLOAD_TYPE, &payload);
        let unknown = sample::sealed(9, sample::report(9, 5, 3));
        for (what, envelope, error) in [
            ("of another network", &**foreign.envelope(), ReportError::OtherNetwork),
            ("signed by another node", &borrowed, ReportError::OtherSigner),
            ("by an unknown author", unknown.envelope(), ReportError::UnknownAuthor),
            ("garbage", "[7]", ReportError::Malformed),
        ] {
            let outcome = verify(&table, &[envelope, good.envelope()], &[]);
            assert_eq!(outcome.rejected, Some((error, 1)), "{what}");
            assert!(!outcome.is_forged(), "{what}");
            assert_eq!(outcome.reports.len(), 1, "{what}");
        }
    }

    #[test]
    fn conflicting_payload_is_new_until_equivocation_is_proven() {
        let [one, other] = conflicting(1);
        let mut table = sample::table(3, std::slice::from_ref(&one));
        assert_eq!(verify(&table, &[other.envelope()], &[]).reports.len(), 1);
        table.states.get_mut(1).equivocation =
            EquivocationProof::new(one, other.clone()).map(std::sync::Arc::new);
        assert_eq!(verify(&table, &[other.envelope()], &[]).stale, 1);
    }

    #[test]
    fn proofs_are_verified_only_if_none_is_held() {
        let [one, other] = conflicting(1);
        let proof = EquivocationProof::new(one, other).expect("they differ");
        let json = proof.to_json();
        let mut table = sample::table(3, &[]);
        let outcome = verify(&table, &[], &[&json, &json]);
        assert_eq!((outcome.proofs.len(), outcome.stale), (1, 1));
        let mut fake = sample::report(1, 5, 3);
        fake.isolated = !fake.isolated;
        let fake = crate::mesh::Signer::sign(&TestSigner(sample::keypair(77)), fake);
        let fake = format!("[{},{}]", forged(1, 5, 3).envelope(), fake.envelope());
        assert!(verify(&table, &[], &[&fake, &json]).is_forged());
        table.states.get_mut(1).equivocation = Some(std::sync::Arc::new(proof));
        let outcome = verify(&table, &[], &[&fake]);
        assert_eq!((outcome.stale, outcome.rejected), (1, None), "dropped unverified");
    }
}
