//! Recognises a peer that runs the earlier, incompatible release. It answers requests of this release without a
//! signature, as anything else at its address might; but it signs its refusal of a request in its own format, which
//! proves that it is alive.

use std::time::Duration;

use super::http_client::{HttpRequest, fetch};
use super::reply_signature::check_signature;
use crate::crypto::http_signature::{self, SignatureParams, SignedRequest};
use crate::crypto::{self, Nonce};
use crate::mesh::engine::event::Call;
use crate::mesh::membership::{Member, Membership};
use crate::store::NetworkHandle;
use crate::store::clock::wall_us;

/// No message of any release, so that the peer refuses it, but only after it has verified the sender.
const BODY: &str = "{}";

/// Whether `member`, the peer of `call`, signs its refusal of a request of the earlier release within `timeout`.
pub(super) fn answers(
    node: &NetworkHandle,
    call: &Call,
    membership: &Membership,
    member: &Member,
    timeout: Duration,
) -> bool {
    let Some(url) = &member.url else { return false };
    let path = member.exchange_path(membership.network_id());
    let digest = crypto::content_digest(BODY.as_bytes());
    let nonce = Nonce { epoch: call.epoch, counter: node.next_request() };
    let params =
        SignatureParams { keyid: membership.own().id.as_str(), created_s: wall_us() / 1_000_000, nonce };
    let head = http_signature::sign_earlier_request(&node.keypair, &params, &path, &digest);
    let headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Content-Digest", digest.clone()),
        ("Signature-Input", head.signature_input.clone()),
        ("Signature", head.signature.clone()),
    ];
    let url = format!("{url}/mon/{}", membership.network_id());
    let Ok(response) = fetch(&HttpRequest { url, headers, body: BODY.to_owned() }, timeout) else {
        return false;
    };
    let request = SignedRequest {
        path: &path,
        content_digest: &digest,
        signature_input: &head.signature_input,
        signature: &head.signature,
    };
    check_signature(&response, &request, member).is_ok()
}
