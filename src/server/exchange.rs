//! `POST /mon/{network_id}`: the server side of an exchange between nodes (RFC 9421, RFC 9530).
//!
//! The head is verified first: its signature, the freshness of its nonce, and the rate of its sender. Only then is the
//! body read. From then on every reply, errors included, is signed and bound to this one request. An error of a
//! verified head is signed as well, except beyond the sender's limit of signed errors.
//!
//! | file | contents |
//! | --- | --- |
//! | `error` | the errors of exchanges |
//! | `signed_reply` | replies that are signed for one request |

mod error;
mod signed_reply;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rouille::Response;

use self::error::ExchangeError;
use super::client_address::ClientPrefix;
use super::exchange_capacity::ExchangeCapacity;
use super::exchange_rate::{ExchangeLimits, ExchangeRates, RejectStage};
use super::handler::Admission;
use super::limits::MAX_EXCHANGE_BODY_BYTES;
use super::problem::problem;
use super::request_head::RequestHead;
use super::resource_owner::SenderId;
use crate::crypto::http_signature::{self, RequestParts};
use crate::crypto::{self, Nonce};
use crate::mesh::Snapshot;
use crate::mesh::delta_sync;
use crate::mesh::engine::event::ReceivedReports;
use crate::mesh::id::NodeId;
use crate::mesh::sync::compose::{ArrivedHeads, ReplyContent, write_reply};
use crate::mesh::sync::missing::{missing_proofs, missing_reports};
use crate::mesh::verify::MessageReports;
use crate::mesh::wire::heads::Heads;
use crate::mesh::wire::{PROTOCOL_VERSION, message};
use crate::store::NetworkHandle;

/// An exchange whose head was verified.
pub struct AdmittedExchange {
    node: Arc<NetworkHandle>,
    sender: NodeId,
    sender_id: SenderId,
    /// The limits of the sender.
    limits: ExchangeLimits,
    signed: SignedHead,
    nonce: Nonce,
    /// The duration of the verification of the head.
    verified_in: Duration,
}

/// The limits of all exchanges of a listener.
#[derive(Clone, Copy)]
pub(super) struct SharedLimits<'a> {
    pub(super) rates: &'a ExchangeRates,
    pub(super) capacity: &'a ExchangeCapacity,
}

/// The signed parts of the request, to which the reply is bound.
struct SignedHead {
    path: String,
    content_digest: String,
    signature_input: String,
    signature: String,
}

/// Verifies the head of a request to `node`, and counts it against the rate of its sender. Replies before its signature
/// is verified are unsigned.
pub(super) fn admit(
    node: &Arc<NetworkHandle>,
    SharedLimits { rates, capacity }: SharedLimits<'_>,
    head: &RequestHead,
    remote: SocketAddr,
) -> Admission<AdmittedExchange> {
    if head.method() != "POST" {
        let response = problem(405, "Method Not Allowed", "an exchange is a POST");
        return Admission::Reject(response.with_additional_header("Allow", "POST"));
    }
    let Some(_slot) = capacity.try_take_head_slot() else {
        let error = ExchangeError::busy();
        error.count(node, "");
        return Admission::Reject(error.to_unsigned());
    };
    let snapshot = node.snapshot();
    let (admitted, is_incompatible) = match verify_head(node, &snapshot, head) {
        Ok(verified) => verified,
        Err(error) => {
            error.count(node, &ClientPrefix::from(remote.ip()).to_string());
            return Admission::Reject(error.to_unsigned());
        }
    };
    node.record_lateness(head.queued());
    let checked = if is_incompatible {
        take_nonce(&admitted, &snapshot)
    } else {
        check_verified(&admitted, &snapshot, head)
    };
    if let Err(error) = checked {
        return Admission::Reject(admitted.reject_limited(&error, rates, RejectStage::BeforeNonce));
    }
    if let Err(wait) = rates.try_exchange(&admitted.sender_id, admitted.limits, Instant::now()) {
        let error = ExchangeError::too_many("the requests of this node exceed its rate limit");
        let response = admitted.reject_limited(&error, rates, RejectStage::RateLimit);
        let retry_s = wait.as_secs() + 1;
        return Admission::Reject(response.with_unique_header("Retry-After", retry_s.to_string()));
    }
    if is_incompatible {
        node.note_incompatible(&admitted.sender);
        return Admission::Reject(admitted.reject_limited(&incompatible(), rates, RejectStage::BeforeNonce));
    }
    let sender = Some(admitted.sender_id.clone());
    Admission::Accept { max_body_bytes: MAX_EXCHANGE_BODY_BYTES, sender, admitted }
}

/// Verifies the signature of a head. Returns the exchange, and whether the sender runs an incompatible release.
fn verify_head(
    node: &Arc<NetworkHandle>,
    snapshot: &Snapshot,
    head: &RequestHead,
) -> Result<(AdmittedExchange, bool), ExchangeError> {
    let start = Instant::now();
    let unauthorized = |detail: Cow<'static, str>| ExchangeError::new(401, "Unauthorized", detail);
    if head.target().contains('?') {
        return Err(ExchangeError::bad_request("the signature does not cover a query: remove it".to_owned()));
    }
    let (Some(signature_input), Some(signature), Some(content_digest)) =
        (head.header("signature-input"), head.header("signature"), head.header("content-digest"))
    else {
        let detail = "the request is not signed: Content-Digest, Signature-Input or Signature is missing";
        return Err(unauthorized(detail.into()));
    };
    let claim = http_signature::parse_request(signature_input, signature)
        .map_err(|error| unauthorized(error.to_string().into()))?;
    let membership = snapshot.membership();
    let member =
        membership.member(&claim.keyid).filter(|member| !member.keys.is_empty()).ok_or_else(|| {
            let detail = "the keyid names no node of this network with a public key";
            ExchangeError::new(403, "Forbidden", detail)
        })?;
    let path = membership.own().exchange_path(membership.network_id());
    let to = head.header("distomon-to").unwrap_or_default();
    let parts = RequestParts { path: &path, to, content_digest };
    if !member.keys.iter().any(|key| claim.verify(key, head.method(), &parts)) {
        return Err(unauthorized("the signature does not verify".into()));
    }
    let signed = SignedHead {
        path,
        content_digest: content_digest.to_owned(),
        signature_input: signature_input.to_owned(),
        signature: signature.to_owned(),
    };
    let admitted = AdmittedExchange {
        node: node.clone(),
        sender: member.id.clone(),
        sender_id: SenderId::new(&format!("{}/{}", membership.network_id().as_str(), member.id)),
        limits: ExchangeLimits::new(member.poll_rate_ms.min(membership.own().poll_rate_ms)),
        signed,
        nonce: claim.nonce,
        verified_in: start.elapsed(),
    };
    Ok((admitted, claim.is_incompatible()))
}

/// The error of a request of an incompatible release.
fn incompatible() -> ExchangeError {
    ExchangeError::new(
        426,
        "Upgrade Required",
        format!("the sender runs an incompatible release: expected protocol version {PROTOCOL_VERSION}"),
    )
}

/// Checks a head whose signature is verified. The nonce is checked last, so that a request rejected before that
/// may be sent again, and a request to another node cannot use up the sender's nonces here.
fn check_verified(
    admitted: &AdmittedExchange,
    snapshot: &Snapshot,
    head: &RequestHead,
) -> Result<(), ExchangeError> {
    if admitted.sender == snapshot.membership().own().id {
        return Err(ExchangeError::misdirected(
            "the sender is this node itself; check whether the url of another node points here",
        ));
    }
    let own = snapshot.membership().own().id.as_str();
    if head.header("distomon-to") != Some(own) {
        return Err(ExchangeError::misdirected(format!("this node is {own}")));
    }
    let media = head.header("content-type").unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(ExchangeError::new(415, "Unsupported Media Type", "expected application/json"));
    }
    if head.content_length() > MAX_EXCHANGE_BODY_BYTES as u64 {
        let detail = format!("the message exceeds {MAX_EXCHANGE_BODY_BYTES} bytes");
        return Err(ExchangeError::new(413, "Content Too Large", detail));
    }
    take_nonce(admitted, snapshot)
}

/// Uses up the nonce of a verified head.
fn take_nonce(admitted: &AdmittedExchange, snapshot: &Snapshot) -> Result<(), ExchangeError> {
    admitted.node.nonces.accept(&admitted.sender, admitted.nonce).map_err(|last| {
        let detail = format!("the nonce is not larger than the last one, {last}");
        let latest = snapshot.state(&admitted.sender).and_then(|state| state.latest.as_ref());
        let evidence = latest.map(|latest| format!("[{}]", latest.envelope()));
        ExchangeError { evidence, ..ExchangeError::new(409, "Conflict", detail) }
    })
}

/// Answers an admitted exchange.
pub(super) fn respond(body: Vec<u8>, admitted: &AdmittedExchange, limits: SharedLimits<'_>) -> Response {
    let Some(_slot) = limits.capacity.try_take_answer_slot(&admitted.sender_id) else {
        return admitted.reject_limited(&ExchangeError::busy(), limits.rates, RejectStage::RateLimit);
    };
    let start = Instant::now();
    let snapshot = admitted.node.snapshot();
    let received = receive(&body, admitted, &snapshot);
    // The reply takes its place in memory.
    drop(body);
    match received {
        Ok(message) => {
            admitted.sign(200, "application/json", compose_reply(&message, admitted, &snapshot, start))
        }
        Err(error) => admitted.reject(&error),
    }
}

/// What a reply needs to know of the message in a request.
struct ReceivedMessage {
    /// The heads that the sender has.
    heads: Heads,
    /// Whether `heads` includes those that the request omits.
    complete: bool,
    /// The mark to which the request refers.
    since: Option<u64>,
    /// Whether the sender wants no other report than this node's own.
    own_only: bool,
    /// Whether the event loop receives the reports in the request.
    was_sent: bool,
    /// The heads of these reports. Dropped reports are not acknowledged, so that the peer sends them again.
    arrived: ArrivedHeads,
}

/// Verifies the message in `body`, and sends it to the event loop.
fn receive(
    body: &[u8],
    admitted: &AdmittedExchange,
    snapshot: &Snapshot,
) -> Result<ReceivedMessage, ExchangeError> {
    let node = &admitted.node;
    if !crypto::digest_matches(&admitted.signed.content_digest, body) {
        return Err(ExchangeError::bad_request("the body does not match Content-Digest".to_owned()));
    }
    let message = message::Request::parse(body, snapshot.membership())
        .map_err(|error| ExchangeError::bad_request(error.to_string()))?;
    let reports = MessageReports {
        sender: admitted.sender.as_str(),
        reports: &message.reports,
        proofs: &message.proofs,
    };
    let verified = node.verify_message(snapshot, reports);
    let is_forged = verified.is_forged();
    let arrived = ArrivedHeads::of(snapshot.membership(), &verified.reports, &message.heads);
    let (heads, complete) = complete_heads(snapshot, &admitted.sender, message.heads.clone());
    // The event loop receives the reports before a forged one: each has used up part of its author's rate limit, which
    // a member must not be able to waste.
    let received =
        ReceivedReports { heads: message.heads, reports: verified.reports, proofs: verified.proofs };
    let was_sent = node.try_send(&admitted.sender, received);
    if is_forged {
        return Err(ExchangeError::bad_request("a report's signature does not verify".to_owned()));
    }
    let arrived = if was_sent { arrived } else { ArrivedHeads::default() };
    let (since, own_only) = (message.since, message.own_only);
    Ok(ReceivedMessage { heads, complete, since, own_only, was_sent, arrived })
}

/// Writes the reply to `message`, whose processing began at `start`.
fn compose_reply(
    message: &ReceivedMessage,
    admitted: &AdmittedExchange,
    snapshot: &Snapshot,
    start: Instant,
) -> String {
    let ReceivedMessage { heads, complete, own_only, .. } = message;
    let (node, membership, table) = (&admitted.node, snapshot.membership(), snapshot.table());
    let missing = missing_reports(heads, table, |index| {
        (*complete || heads.knows(membership, index)) && (!own_only || index == membership.me())
    });
    // A sender that is no longer a member receives no reports.
    let sender = membership.index(admitted.sender.as_str());
    let proofs = if *complete && !own_only { missing_proofs(heads, table) } else { Vec::new() };
    let missing = missing.beside(&proofs);
    let reports = sender.map_or_else(Vec::new, |sender| node.select_reports(sender, missing));
    // The transfer time of the body is not processing time.
    let took = admitted.verified_in + start.elapsed();
    let now = node.clock.now();
    let content = ReplyContent {
        from: membership.own().id.as_str(),
        now_ms: now.wall_ms,
        took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        mono_ms: now.mono_ms,
        // If the request omits heads that this node does not know, the reply is complete, and the peer names all heads
        // next time.
        since: message.since.filter(|_| *complete),
        // Without a mark the peer names all heads next time, which it must if the event loop did not receive these.
        mark: delta_sync::mark(membership, snapshot.at()).filter(|_| message.was_sent),
        arrived: &message.arrived,
        reports: &reports,
        proofs: &proofs,
    };
    let mut body = write_reply(table, content);
    // The listener counts the length of a reply, while the capacity allows for the heads of all members.
    body.shrink_to_fit();
    body
}

/// Completes the heads `named` in a request of the member `sender`. Returns false with them if this node does not know
/// the omitted heads.
fn complete_heads(snapshot: &Snapshot, sender: &NodeId, named: Heads) -> (Heads, bool) {
    let membership = snapshot.membership();
    if let Some(index) = membership.index(sender.as_str()) {
        return snapshot.states()[index].sync.completed(membership, index, named);
    }
    let complete = !named.is_partial();
    (named, complete)
}

#[cfg(test)]
mod tests;
