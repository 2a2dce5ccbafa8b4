//! Proofs of equivocation: two conflicting reports signed by one node.

use super::report::{ReportError, UnverifiedReport, VerifiedReport};
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::Membership;

/// Two payloads that one key signed with the same report id: proof that its holder, or a copy of it, equivocated.
#[derive(Debug, Clone)]
pub struct EquivocationProof {
    first: VerifiedReport,
    second: VerifiedReport,
}

impl EquivocationProof {
    /// Creates a proof, if author and id are the same and the payloads differ.
    pub fn new(first: VerifiedReport, second: VerifiedReport) -> Option<Self> {
        let conflict = first.author() == second.author()
            && first.id() == second.id()
            && first.digest() != second.digest();
        conflict.then_some(Self { first, second })
    }

    /// The node that equivocated.
    pub fn author(&self) -> &NodeId {
        self.first.author()
    }

    /// The id of the two reports.
    pub fn report_id(&self) -> ReportId {
        self.first.id()
    }

    /// The two reports.
    pub fn reports(&self) -> [&VerifiedReport; 2] {
        [&self.first, &self.second]
    }

    /// The two envelopes as a JSON array, the form in messages and in the state directory.
    pub fn to_json(&self) -> String {
        format!("[{},{}]", self.first.envelope(), self.second.envelope())
    }

    /// Parses and verifies the form of [`EquivocationProof::to_json`].
    pub fn from_json(json: &str, membership: &Membership) -> Result<Self, ReportError> {
        UnverifiedEquivocation::parse(json, membership)?.verify(membership)
    }
}

/// Two conflicting reports whose signatures have not been verified.
pub struct UnverifiedEquivocation {
    first: UnverifiedReport,
    second: UnverifiedReport,
}

impl UnverifiedEquivocation {
    /// Parses the form of [`EquivocationProof::to_json`]. Cheap compared to [`UnverifiedEquivocation::verify`].
    pub fn parse(json: &str, membership: &Membership) -> Result<Self, ReportError> {
        let [first, second]: [&serde_json::value::RawValue; 2] =
            serde_json::from_str(json).map_err(|_| ReportError::Malformed)?;
        let first = UnverifiedReport::parse(first.get(), membership)?;
        let second = UnverifiedReport::parse(second.get(), membership)?;
        let conflict = first.author() == second.author()
            && first.id() == second.id()
            && first.digest() != second.digest();
        if conflict { Ok(Self { first, second }) } else { Err(ReportError::Malformed) }
    }

    /// The author's index in the membership.
    pub fn author(&self) -> usize {
        self.first.author()
    }

    /// Verifies both signatures with the author's keys.
    pub fn verify(self, membership: &Membership) -> Result<EquivocationProof, ReportError> {
        Ok(EquivocationProof {
            first: self.first.verify(membership)?,
            second: self.second.verify(membership)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample;
    use crate::mesh::wire::report::Report;

    fn conflicting() -> [VerifiedReport; 2] {
        [true, false].map(|isolated| sample::sealed(1, Report { isolated, ..sample::report(1, 5, 3) }))
    }

    #[test]
    fn proof_needs_two_payloads_with_the_same_author_and_id() {
        let membership = sample::membership(&sample::members(3), 0);
        let [one, other] = conflicting();
        let proof = EquivocationProof::new(one.clone(), other.clone()).expect("they differ");
        let parsed = EquivocationProof::from_json(&proof.to_json(), &membership).expect("own JSON");
        assert_eq!(
            (parsed.author(), parsed.report_id()),
            (&sample::node_id(1), ReportId { epoch: 5, seq: 3 })
        );
        let later = sample::sealed(1, sample::report(1, 5, 4));
        let foreign = sample::sealed(2, sample::report(2, 5, 3));
        for (what, second) in
            [("the same payload", &one), ("another id", &later), ("another author", &foreign)]
        {
            assert!(EquivocationProof::new(one.clone(), second.clone()).is_none(), "{what}");
            let json = format!("[{},{}]", one.envelope(), second.envelope());
            assert_eq!(
                EquivocationProof::from_json(&json, &membership).err(),
                Some(ReportError::Malformed),
                "{what}"
            );
        }
    }

    #[test]
    fn proof_with_a_forged_report_is_rejected() {
        let membership = sample::membership(&sample::members(3), 0);
        let [one, _] = conflicting();
        let forged = sample::TestSigner(sample::keypair(2));
        let forged = crate::mesh::Signer::sign(&forged, sample::report(1, 5, 3));
        for json in [
            format!("[{},{}]", one.envelope(), forged.envelope()),
            format!("[{},{}]", forged.envelope(), one.envelope()),
        ] {
            assert_eq!(
                EquivocationProof::from_json(&json, &membership).err(),
                Some(ReportError::BadSignature)
            );
        }
        for json in ["", "[]", "[1,2]", "{}", "[[],[],[]]"] {
            assert_eq!(
                EquivocationProof::from_json(json, &membership).err(),
                Some(ReportError::Malformed),
                "{json:?}"
            );
        }
    }
}
