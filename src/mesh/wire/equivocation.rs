//! Proof of equivocation: what convicts a node, and the only ways to get it.

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
    /// A proof, if author and id are the same and the payloads differ.
    pub fn new(first: VerifiedReport, second: VerifiedReport) -> Option<Self> {
        let conflict = first.author() == second.author()
            && first.id() == second.id()
            && first.digest() != second.digest();
        conflict.then_some(Self { first, second })
    }

    /// Who equivocated.
    pub fn author(&self) -> &NodeId {
        self.first.author()
    }

    /// Where the two reports stand among the author's.
    pub fn report_id(&self) -> ReportId {
        self.first.id()
    }

    /// The two reports.
    pub fn reports(&self) -> [&VerifiedReport; 2] {
        [&self.first, &self.second]
    }

    /// The two envelopes as a JSON array, as messages and the state directory hold them.
    pub fn to_json(&self) -> String {
        format!("[{},{}]", self.first.envelope(), self.second.envelope())
    }

    /// Reads and verifies what [`Proof::to_json`] wrote.
    pub fn from_json(json: &str, membership: &Membership) -> Result<Self, ReportError> {
        UnverifiedEquivocation::parse(json, membership)?.verify(membership)
    }
}

/// Two reports that would be a [`Proof`] if their signatures were good, which nobody checked yet.
pub struct UnverifiedEquivocation {
    first: UnverifiedReport,
    second: UnverifiedReport,
}

impl UnverifiedEquivocation {
    /// Reads what [`Proof::to_json`] wrote. Cheap beside [`UnverifiedProof::verify`].
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

    /// The index in the membership of the node that would be convicted.
    pub fn author(&self) -> usize {
        self.first.author()
    }

    /// Checks both signatures with the author's keys.
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
    fn a_proof_is_two_reports_in_one_place() {
        let membership = sample::membership(&sample::members(3), 0);
        let [one, other] = conflicting();
        let proof = EquivocationProof::new(one.clone(), other.clone()).expect("they differ");
        let again = EquivocationProof::from_json(&proof.to_json(), &membership).expect("own JSON");
        assert_eq!((again.author(), again.report_id()), (&sample::node_id(1), ReportId { epoch: 5, seq: 3 }));
        let later = sample::sealed(1, sample::report(1, 5, 4));
        let elsewhere = sample::sealed(2, sample::report(2, 5, 3));
        for (what, second) in [("the same", &one), ("the next", &later), ("another's", &elsewhere)] {
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
    fn a_proof_with_a_forged_half_convicts_nobody() {
        let membership = sample::membership(&sample::members(3), 0);
        let [one, _] = conflicting();
        let forged = sample::Pen(sample::keypair(2));
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
