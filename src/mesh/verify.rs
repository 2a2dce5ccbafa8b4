//! What to take of the reports that a message brings: the cheap checks first, the signature last, and
//! no more of it than an author may send.

use serde_json::value::RawValue;

use super::snapshot::Snapshot;
use crate::mesh::wire::message::MAX_PROOFS;
use crate::mesh::wire::report::{
    EquivocationProof, ReportError, UnverifiedEquivocation, UnverifiedReport, VerifiedReport,
};

/// New reports that are taken of one author in a second.
pub const AUTHOR_REPORTS_PER_SECOND: u64 = 5;

/// So many refused reports are borne in one message of a sender with another configuration.
pub const MAX_MISMATCH_FAILURES: u32 = 8;

/// What a node still takes of each author: a token bucket of [`AUTHOR_RATE`] tokens a second, holding
/// as many. Only verified reports take a token, so nobody can use up another's.
#[derive(Debug, Default)]
pub struct AuthorRateLimit {
    /// For each author of the membership: tokens in thousandths, and when they were last counted, in ms.
    buckets: Vec<(u64, u64)>,
}

impl AuthorRateLimit {
    fn refill(&mut self, author: usize, mono_ms: u64) -> &mut u64 {
        const FULL: u64 = AUTHOR_REPORTS_PER_SECOND * 1000;
        if self.buckets.len() <= author {
            self.buckets.resize(author + 1, (FULL, mono_ms));
        }
        let (tokens, counted_ms) = &mut self.buckets[author];
        *tokens = (*tokens + mono_ms.saturating_sub(*counted_ms) * AUTHOR_REPORTS_PER_SECOND).min(FULL);
        *counted_ms = mono_ms.max(*counted_ms);
        tokens
    }

    /// Whether a report of this author would be taken now.
    pub fn allows(&mut self, author: usize, mono_ms: u64) -> bool {
        *self.refill(author, mono_ms) >= 1000
    }

    /// Takes a token.
    pub fn consume(&mut self, author: usize, mono_ms: u64) {
        let tokens = self.refill(author, mono_ms);
        *tokens = tokens.saturating_sub(1000);
    }
}

/// What came of a message's reports.
#[derive(Debug, Default)]
pub struct VerifyOutcome {
    /// Verified, and newer than what the snapshot holds, or in conflict with it.
    pub reports: Vec<VerifiedReport>,
    /// Verified.
    pub proofs: Vec<EquivocationProof>,
    /// Did not advance, or came twice.
    pub stale: u32,
    /// More than the author may send.
    pub rate_limited: u32,
    /// The first that was refused, and how many were.
    pub rejected: Option<(ReportError, u32)>,
    /// Signatures that did not verify, which a difference of configuration may explain.
    mismatch_failures: u32,
    /// One did not verify, and nothing explains it.
    forged: bool,
}

impl VerifyOutcome {
    fn reject(&mut self, error: ReportError) {
        let (first, count) = self.rejected.unwrap_or((error, 0));
        // The worst is told: a bad signature is always the last.
        let told = if error == ReportError::BadSignature { error } else { first };
        self.rejected = Some((told, count + 1));
    }

    /// Whether a signature did not verify, which ends the exchange.
    pub fn is_forged(&self) -> bool {
        self.forged
    }

    /// Refuses what a key of the author's did not sign, and says whether to go on: whoever has another
    /// configuration may know another key, and hands on in good faith what it has verified itself.
    fn tolerates(&mut self, snapshot: &Snapshot, sender: &str, error: ReportError) -> bool {
        self.reject(error);
        let newest = self.reports.iter().find(|report| report.author().as_str() == sender);
        let latest = || snapshot.states()[snapshot.membership().index(sender)?].latest.as_deref();
        let config = newest.or_else(latest).map(|report| report.report().config.as_str());
        let excused = config.is_some_and(|config| config != snapshot.membership().digest());
        self.mismatch_failures += 1;
        self.forged |= !excused || self.mismatch_failures > MAX_MISMATCH_FAILURES;
        !self.forged
    }
}

/// Checks what a message of the member `sender` brought against `snapshot`. Stops at the first bad signature,
/// or after [`MAX_DOUBTS`] of a sender whose newest report shows another configuration. `allowance` is asked
/// with the author's index and whether to take a token, and answers whether there was one.
pub fn verify_message(
    snapshot: &Snapshot,
    sender: &str,
    reports: &[&RawValue],
    proofs: &[&RawValue],
    mut allowance: impl FnMut(usize, bool) -> bool,
) -> VerifyOutcome {
    let mut intake = VerifyOutcome::default();
    let membership = snapshot.membership();
    let mut seen = vec![false; membership.members().len()];
    for raw in reports {
        let report = match UnverifiedReport::parse(raw.get(), membership) {
            Ok(report) => report,
            Err(error) => {
                intake.reject(error);
                continue;
            }
        };
        let author = report.author();
        if std::mem::replace(&mut seen[author], true) || !is_new(snapshot, &report) {
            intake.stale += 1;
            continue;
        }
        if !allowance(author, false) {
            intake.rate_limited += 1;
            continue;
        }
        match report.verify(membership) {
            Ok(report) => {
                allowance(author, true);
                intake.reports.push(report);
            }
            Err(error) => {
                if !intake.tolerates(snapshot, sender, error) {
                    return intake;
                }
            }
        }
    }
    for raw in proofs.iter().take(MAX_PROOFS) {
        let proof = match UnverifiedEquivocation::parse(raw.get(), membership) {
            Ok(proof) => proof,
            Err(error) => {
                intake.reject(error);
                continue;
            }
        };
        // One proof convicts; another is not worth two signatures.
        if snapshot.states()[proof.author()].equivocation.is_some()
            || intake
                .proofs
                .iter()
                .any(|known| membership.index(known.author().as_str()) == Some(proof.author()))
        {
            intake.stale += 1;
            continue;
        }
        match proof.verify(membership) {
            Ok(proof) => intake.proofs.push(proof),
            Err(error) => {
                if !intake.tolerates(snapshot, sender, error) {
                    return intake;
                }
            }
        }
    }
    intake
}

/// Whether a report advances what is held of its author, or contradicts it and no proof is held yet.
fn is_new(snapshot: &Snapshot, report: &UnverifiedReport) -> bool {
    let state = &snapshot.states()[report.author()];
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
    use crate::mesh::sample::{self, Pen};
    use crate::mesh::wire::report::Report;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    /// Takes `envelopes` and `proofs` without a limit on their number.
    fn take(snapshot: &Snapshot, envelopes: &[&str], proofs: &[&str]) -> VerifyOutcome {
        let envelopes: Vec<_> = envelopes.iter().map(|json| raw(json)).collect();
        let proofs: Vec<_> = proofs.iter().map(|json| raw(json)).collect();
        let (envelopes, proofs): (Vec<_>, Vec<_>) =
            (envelopes.iter().map(|raw| &**raw).collect(), proofs.iter().map(|raw| &**raw).collect());
        verify_message(snapshot, "nobody", &envelopes, &proofs, |_, _| true)
    }

    /// Not signed by the node that it names.
    fn forged(author: usize, epoch: u64, seq: u64) -> VerifiedReport {
        crate::mesh::Signer::sign(&Pen(sample::keypair(77)), sample::report(author, epoch, seq))
    }

    fn conflicting(author: usize) -> [VerifiedReport; 2] {
        [true, false]
            .map(|isolated| sample::sealed(author, Report { isolated, ..sample::report(author, 5, 3) }))
    }

    #[test]
    fn an_author_has_five_tokens_a_second() {
        let mut allowance = AuthorRateLimit::default();
        let mut taken = 0;
        for mono_ms in (1_000..3_000).step_by(10) {
            if allowance.allows(2, mono_ms) {
                allowance.consume(2, mono_ms);
                taken += 1;
            }
        }
        assert_eq!(taken, 5 + 9, "a full bucket, and what two seconds less 10 ms refill");
        assert!(allowance.allows(1, 3_000), "another author has its own");
    }

    #[test]
    fn only_what_advances_is_verified_and_taken() {
        let snapshot = sample::snapshot(3, &[sample::sealed(1, sample::report(1, 5, 3))]);
        // Were these verified, their signatures would be refused.
        for (epoch, seq) in [(5, 2), (5, 1), (4, 99)] {
            let intake = take(&snapshot, &[forged(1, epoch, seq).envelope()], &[]);
            assert_eq!((intake.stale, intake.rejected), (1, None), "({epoch}, {seq})");
        }
        let same = take(&snapshot, &[sample::sealed(1, sample::report(1, 5, 3)).envelope()], &[]);
        assert_eq!((same.stale, same.reports.len()), (1, 0));
        for (epoch, seq) in [(5, 4), (6, 1)] {
            let intake = take(&snapshot, &[sample::sealed(1, sample::report(1, epoch, seq)).envelope()], &[]);
            assert_eq!(intake.reports[0].id(), ReportId { epoch, seq });
        }
    }

    #[test]
    fn what_an_earlier_process_held_is_not_taken_again() {
        let mut snapshot = sample::snapshot(3, &[]);
        snapshot.states.get_mut(1).min_report = ReportId { epoch: 5, seq: 3 };
        for (seq, stale) in [(2, 1), (3, 0), (4, 0)] {
            let intake = take(&snapshot, &[sample::sealed(1, sample::report(1, 5, seq)).envelope()], &[]);
            assert_eq!(intake.stale, stale, "{seq}");
        }
    }

    #[test]
    fn at_most_one_report_of_each_author() {
        let snapshot = sample::snapshot(3, &[]);
        let one = sample::sealed(1, sample::report(1, 5, 3));
        let next = sample::sealed(1, sample::report(1, 5, 4));
        let other = sample::sealed(2, sample::report(2, 1, 1));
        let intake = take(&snapshot, &[one.envelope(), next.envelope(), other.envelope()], &[]);
        assert_eq!((intake.reports.len(), intake.stale), (2, 1));
    }

    #[test]
    fn the_surplus_is_dropped_unverified_and_forgeries_take_nothing() {
        let snapshot = sample::snapshot(3, &[]);
        let report = raw(forged(1, 5, 3).envelope());
        let intake = verify_message(&snapshot, "nobody", &[&report], &[], |_, _| false);
        assert_eq!((intake.rate_limited, intake.rejected), (1, None));
        let intake = verify_message(&snapshot, "nobody", &[&report], &[], |_, take| {
            assert!(!take, "a forgery uses up what its pretended author may send");
            true
        });
        assert!(intake.is_forged());
        let good = raw(sample::sealed(1, sample::report(1, 5, 3)).envelope());
        let mut taken = 0;
        verify_message(&snapshot, "nobody", &[&good], &[], |author, take| {
            assert_eq!(author, 1);
            taken += u32::from(take);
            true
        });
        assert_eq!(taken, 1);
    }

    #[test]
    fn the_first_bad_signature_ends_the_exchange() {
        let snapshot = sample::snapshot(4, &[]);
        let good = sample::sealed(1, sample::report(1, 5, 3));
        let late = sample::sealed(3, sample::report(3, 5, 3));
        let [one, other] = conflicting(3);
        let proof = EquivocationProof::new(one, other).expect("they differ").to_json();
        let intake =
            take(&snapshot, &[good.envelope(), forged(2, 5, 3).envelope(), late.envelope()], &[&proof]);
        assert!(intake.is_forged());
        assert_eq!(intake.rejected, Some((ReportError::BadSignature, 1)));
        assert_eq!((intake.reports.len(), intake.proofs.len()), (1, 0), "nothing after it is looked at");
    }

    #[test]
    fn who_has_another_configuration_may_bring_what_does_not_verify() {
        let snapshot = sample::snapshot(16, &[]);
        let own = snapshot.membership().digest().to_owned();
        let good = sample::sealed(3, sample::report(3, 5, 3));
        let forgeries: Vec<_> = (4..16).map(|author| forged(author, 5, 3)).collect();
        // The configuration that its sender's own report names, how many forgeries, and how many are looked at.
        for (config, count, looked_at, is_forged) in
            [("AAAAAAAAAAA=", 8, 8, false), ("AAAAAAAAAAA=", 12, 9, true), (own.as_str(), 8, 1, true)]
        {
            let report = Report { config: config.to_owned(), ..sample::report(2, 5, 3) };
            let raws: Vec<_> = std::iter::once(raw(sample::sealed(2, report).envelope()))
                .chain(forgeries.iter().take(count).map(|forgery| raw(forgery.envelope())))
                .chain([raw(good.envelope())])
                .collect();
            let raws: Vec<_> = raws.iter().map(|raw| &**raw).collect();
            let intake = verify_message(&snapshot, "node-02", &raws, &[], |_, _| true);
            let expected = (is_forged, Some((ReportError::BadSignature, looked_at)));
            assert_eq!((intake.is_forged(), intake.rejected), expected, "{config} {count}");
            assert_eq!(intake.reports.len(), if is_forged { 1 } else { 2 }, "{config} {count}");
        }
    }

    #[test]
    fn what_is_not_this_networks_is_refused_and_the_rest_is_taken() {
        let snapshot = sample::snapshot(3, &[]);
        let good = sample::sealed(1, sample::report(1, 5, 3));
        let network_id: NetworkId = "other".parse().expect("a name");
        let foreign = sample::sealed(2, Report { network_id, ..sample::report(2, 5, 3) });
        let payload = sample::report(2, 5, 3).to_payload();
        let borrowed = dsse::seal(&sample::keypair(1), "node-01", &payload);
        let stranger = sample::sealed(9, sample::report(9, 5, 3));
        for (what, envelope, error) in [
            ("of another network", &**foreign.envelope(), ReportError::OtherNetwork),
            ("signed by another", &borrowed, ReportError::OtherSigner),
            ("by a stranger", stranger.envelope(), ReportError::UnknownAuthor),
            ("garbage", "[7]", ReportError::Malformed),
        ] {
            let intake = take(&snapshot, &[envelope, good.envelope()], &[]);
            assert_eq!(intake.rejected, Some((error, 1)), "{what}");
            assert!(!intake.is_forged(), "{what}");
            assert_eq!(intake.reports.len(), 1, "{what}");
        }
    }

    #[test]
    fn another_payload_in_the_same_place_is_news_until_it_is_proven() {
        let [one, other] = conflicting(1);
        let mut snapshot = sample::snapshot(3, std::slice::from_ref(&one));
        assert_eq!(take(&snapshot, &[other.envelope()], &[]).reports.len(), 1);
        snapshot.states.get_mut(1).equivocation =
            EquivocationProof::new(one, other.clone()).map(std::sync::Arc::new);
        assert_eq!(take(&snapshot, &[other.envelope()], &[]).stale, 1);
    }

    #[test]
    fn proofs_are_taken_once_and_verified_only_where_none_is_held() {
        let [one, other] = conflicting(1);
        let proof = EquivocationProof::new(one, other).expect("they differ");
        let json = proof.to_json();
        let mut snapshot = sample::snapshot(3, &[]);
        let intake = take(&snapshot, &[], &[&json, &json]);
        assert_eq!((intake.proofs.len(), intake.stale), (1, 1));
        let mut fake = sample::report(1, 5, 3);
        fake.leaving = true;
        let fake = crate::mesh::Signer::sign(&Pen(sample::keypair(77)), fake);
        let fake = format!("[{},{}]", forged(1, 5, 3).envelope(), fake.envelope());
        assert!(take(&snapshot, &[], &[&fake, &json]).is_forged());
        snapshot.states.get_mut(1).equivocation = Some(std::sync::Arc::new(proof));
        let intake = take(&snapshot, &[], &[&fake]);
        assert_eq!((intake.stale, intake.rejected), (1, None), "dropped unverified");
    }
}
