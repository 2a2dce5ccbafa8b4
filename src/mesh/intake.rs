//! What to take of the reports that a message brings: the cheap checks first, the signature last, and
//! no more of it than an author may send.

use serde_json::value::RawValue;

use super::message::MAX_PROOFS;
use super::picture::Picture;
use super::report::{Proof, ReportError, UnverifiedProof, UnverifiedReport, VerifiedReport};

/// New reports that are taken of one author in a second.
pub const AUTHOR_RATE: u64 = 5;

/// What a node still takes of each author: a token bucket of [`AUTHOR_RATE`] tokens a second, holding
/// as many. Only verified reports take a token, so nobody can use up another's.
#[derive(Debug, Default)]
pub struct Allowance {
    /// For each author of the roster: tokens in thousandths, and when they were last counted, in ms.
    buckets: Vec<(u64, u64)>,
}

impl Allowance {
    fn refill(&mut self, author: usize, mono_ms: u64) -> &mut u64 {
        const FULL: u64 = AUTHOR_RATE * 1000;
        if self.buckets.len() <= author {
            self.buckets.resize(author + 1, (FULL, mono_ms));
        }
        let (tokens, counted_ms) = &mut self.buckets[author];
        *tokens = (*tokens + mono_ms.saturating_sub(*counted_ms) * AUTHOR_RATE).min(FULL);
        *counted_ms = mono_ms.max(*counted_ms);
        tokens
    }

    /// Whether a report of this author would be taken now.
    pub fn has(&mut self, author: usize, mono_ms: u64) -> bool {
        *self.refill(author, mono_ms) >= 1000
    }

    /// Takes a token.
    pub fn take(&mut self, author: usize, mono_ms: u64) {
        let tokens = self.refill(author, mono_ms);
        *tokens = tokens.saturating_sub(1000);
    }
}

/// What came of a message's reports.
#[derive(Debug, Default)]
pub struct Intake {
    /// Verified, and newer than what the picture holds, or in conflict with it.
    pub reports: Vec<VerifiedReport>,
    /// Verified.
    pub proofs: Vec<Proof>,
    /// Did not advance, or came twice.
    pub stale: u32,
    /// More than the author may send.
    pub surplus: u32,
    /// The first that was refused, and how many were.
    pub refused: Option<(ReportError, u32)>,
}

impl Intake {
    fn refuse(&mut self, error: ReportError) {
        let (first, count) = self.refused.unwrap_or((error, 0));
        // The worst is told: a bad signature is always the last.
        let told = if error == ReportError::BadSignature { error } else { first };
        self.refused = Some((told, count + 1));
    }

    /// Whether a signature did not verify, which ends the exchange.
    pub fn is_forged(&self) -> bool {
        matches!(self.refused, Some((ReportError::BadSignature, _)))
    }
}

/// Checks what a message brought against `picture`. Stops at the first bad signature. `allowance` is
/// asked with the author's index and whether to take a token, and answers whether there was one.
pub fn check(
    picture: &Picture,
    reports: &[&RawValue],
    proofs: &[&RawValue],
    mut allowance: impl FnMut(usize, bool) -> bool,
) -> Intake {
    let mut intake = Intake::default();
    let roster = picture.roster();
    let mut seen = vec![false; roster.members().len()];
    for raw in reports {
        let report = match UnverifiedReport::parse(raw.get(), roster) {
            Ok(report) => report,
            Err(error) => {
                intake.refuse(error);
                continue;
            }
        };
        let author = report.author();
        if std::mem::replace(&mut seen[author], true) || !is_news(picture, &report) {
            intake.stale += 1;
            continue;
        }
        if !allowance(author, false) {
            intake.surplus += 1;
            continue;
        }
        match report.verify(roster) {
            Ok(report) => {
                allowance(author, true);
                intake.reports.push(report);
            }
            Err(error) => {
                intake.refuse(error);
                return intake;
            }
        }
    }
    for raw in proofs.iter().take(MAX_PROOFS) {
        let proof = match UnverifiedProof::parse(raw.get(), roster) {
            Ok(proof) => proof,
            Err(error) => {
                intake.refuse(error);
                continue;
            }
        };
        // One proof convicts; another is not worth two signatures.
        if picture.slots()[proof.author()].proof.is_some()
            || intake.proofs.iter().any(|known| roster.index(known.author().as_str()) == Some(proof.author()))
        {
            intake.stale += 1;
            continue;
        }
        match proof.verify(roster) {
            Ok(proof) => intake.proofs.push(proof),
            Err(error) => {
                intake.refuse(error);
                return intake;
            }
        }
    }
    intake
}

/// Whether a report advances what is held of its author, or contradicts it and no proof is held yet.
fn is_news(picture: &Picture, report: &UnverifiedReport) -> bool {
    let slot = &picture.slots()[report.author()];
    let Some(held) = &slot.held else { return report.stamp() >= slot.floor };
    if report.stamp() == held.stamp() {
        slot.proof.is_none() && report.digest() != held.digest()
    } else {
        report.stamp() > held.stamp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_has_five_tokens_a_second() {
        let mut allowance = Allowance::default();
        let mut taken = 0;
        for mono_ms in (1_000..3_000).step_by(10) {
            if allowance.has(2, mono_ms) {
                allowance.take(2, mono_ms);
                taken += 1;
            }
        }
        assert_eq!(taken, 5 + 9, "a full bucket, and what two seconds less 10 ms refill");
        assert!(allowance.has(1, 3_000), "another author has its own");
    }
}
