//! The signature of a reply, by which a peer proves that it answered this request.

use super::http_client::HttpResponse;
use crate::crypto;
use crate::crypto::http_signature::{self, ReplyError, SignedReply, SignedRequest};
use crate::mesh::membership::Member;
use crate::mesh::wire::observation::Failure;

/// Verifies that `member` signed the reply to this request. Nothing in the reply may be used before.
pub(super) fn check_signature(
    response: &HttpResponse,
    context: &SignedRequest<'_>,
    member: &Member,
) -> Result<(), Failure> {
    let digest = response.header("content-digest");
    let reply = SignedReply {
        status: response.status,
        content_digest: &digest,
        signature_input: &response.header("signature-input"),
        signature: &response.header("signature"),
    };
    let verified = http_signature::verify_reply(&reply, context, member.id.as_str(), &member.keys);
    match verified {
        Ok(()) if crypto::digest_matches(&digest, &response.body) => Ok(()),
        Err(ReplyError::OtherKeyId { .. }) => Err(Failure::WrongNode),
        // A node without the capacity to verify the request answers so.
        _ if response.status == 503 => Err(Failure::Timeout),
        // An unsigned reply with another status comes from something other than the node.
        _ if response.status != 200 => Err(Failure::HttpStatus),
        _ => Err(Failure::BadSignature),
    }
}
