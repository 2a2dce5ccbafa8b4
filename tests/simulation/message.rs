//! Messages between virtual hosts, and the two ways in which reports travel with them.

use std::sync::Arc;

use distomon::crypto::{Nonce, PublicKey};
use distomon::mesh::Snapshot;
use distomon::mesh::id::NodeId;
use distomon::mesh::verify::{AuthorRateLimit, VerifyOutcome};
use distomon::mesh::wire::equivocation::EquivocationProof;
use distomon::mesh::wire::observation::Failure;
use distomon::mesh::wire::report::VerifiedReport;

/// How reports travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Signed and encoded in messages, then parsed and verified, as in the service.
    Encoded,
    /// As values beside the messages, without signatures: much faster.
    Typed,
}

/// The reports and proofs of a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Payload {
    pub(crate) reports: Vec<Arc<VerifiedReport>>,
    pub(crate) proofs: Vec<Arc<EquivocationProof>>,
}

/// The signer of a request, as its header names it.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) id: NodeId,
    pub(crate) key: PublicKey,
}

/// A request with a valid HTTP signature.
#[derive(Clone)]
pub(crate) struct SignedRequest {
    pub(crate) sender: Sender,
    /// The node that the signature names as the recipient: a node that forwards the request cannot change it.
    recipient: NodeId,
    pub(crate) nonce: Nonce,
    pub(crate) body: String,
    /// What travels beside the body under [`Transport::Typed`].
    pub(crate) payload: Payload,
}

impl SignedRequest {
    /// A request that `sender` signed for `recipient`.
    pub(crate) fn new(
        sender: Sender,
        recipient: NodeId,
        nonce: Nonce,
        body: String,
        payload: Payload,
    ) -> Self {
        Self { sender, recipient, nonce, body, payload }
    }

    pub(crate) fn recipient(&self) -> &NodeId {
        &self.recipient
    }
}

/// The response to a request.
pub(crate) enum Response {
    /// The body of a reply, and what travels beside it under [`Transport::Typed`].
    Reply(String, Payload),
    /// A signed 409 with the evidence.
    Replayed(Vec<VerifiedReport>),
    /// Another rejection.
    Rejected(Failure),
}

impl Payload {
    /// Adds to `outcome` what [`distomon::mesh::verify::verify_message`] would accept of this payload.
    pub(crate) fn accept(
        self,
        snapshot: &Snapshot,
        rate_limit: &mut AuthorRateLimit,
        mono_ms: u64,
        outcome: &mut VerifyOutcome,
    ) {
        for report in self.reports {
            let Some(author) = snapshot.membership().index(report.author().as_str()) else { continue };
            let state = &snapshot.states()[author];
            let report_id = report.id();
            let is_new = match &state.latest {
                None => report_id >= state.min_report,
                Some(latest) if latest.id() == report_id => {
                    state.equivocation.is_none() && latest.digest() != report.digest()
                }
                Some(latest) => report_id > latest.id(),
            };
            if !is_new || outcome.reports.iter().any(|other| other.author() == report.author()) {
                outcome.stale += 1;
            } else if !rate_limit.allows(author, mono_ms) {
                outcome.rate_limited += 1;
            } else {
                rate_limit.consume(author, mono_ms);
                outcome.reports.push(report.as_ref().clone());
            }
        }
        for proof in self.proofs {
            let known = snapshot.state(proof.author()).is_none_or(|state| state.equivocation.is_some());
            if known || outcome.proofs.iter().any(|other| other.author() == proof.author()) {
                outcome.stale += 1;
            } else {
                outcome.proofs.push(proof.as_ref().clone());
            }
        }
    }
}
