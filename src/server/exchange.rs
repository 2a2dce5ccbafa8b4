//! `POST /mon/{network_id}`: the server side of an exchange between nodes (RFC 9421, RFC 9530).
//!
//! The head is verified first: its signature and the freshness of its nonce. Only then is the body read. From
//! then on every reply, errors included, is signed and bound to this one request.

use std::borrow::Cow;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rouille::{Request, Response, ResponseBody};

use super::client_address::ClientPrefix;
use super::exchange_rate::{ExchangeLimits, ExchangeRates, RejectStage};
use super::handler::Admission;
use super::limits::MAX_EXCHANGE_BODY_BYTES;
use super::problem::{self, problem};
use super::request_head::RequestHead;
use super::resource_owner::SenderId;
use crate::crypto::http_signature::{self, RequestParts, SignatureParams, SignedRequest};
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
use crate::store::clock::wall_us;

/// The maximum length of an error detail, in characters.
const MAX_DETAIL: usize = 200;

/// The title of an error beyond a limit of the sender.
const TOO_MANY_REQUESTS: &str = "Too Many Requests";

/// An exchange whose head was verified.
pub struct AdmittedExchange {
    node: Arc<NetworkHandle>,
    sender: NodeId,
    sender_id: SenderId,
    signed: SignedHead,
    nonce: Nonce,
    /// The duration of the verification of the head.
    verified_in: Duration,
}

/// The signed parts of the request, to which the reply is bound.
struct SignedHead {
    path: String,
    content_digest: String,
    signature_input: String,
    signature: String,
}

/// An error of an exchange with a verified sender; its reply is signed like any other.
struct ExchangeError {
    status: u16,
    title: &'static str,
    detail: Cow<'static, str>,
    /// A JSON array of report envelopes that proves the reason.
    evidence: Option<String>,
}

impl ExchangeError {
    fn new(status: u16, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, title, detail: detail.into(), evidence: None }
    }
}

/// Verifies the head of a request to `node`, and counts it against the rate of its sender. Replies before its signature
/// is verified are unsigned.
pub(super) fn admit(
    node: &Arc<NetworkHandle>,
    rates: &ExchangeRates,
    head: &RequestHead,
    remote: SocketAddr,
) -> Admission<AdmittedExchange> {
    let received = Instant::now();
    let snapshot = node.snapshot();
    let network = snapshot.membership().network_id().as_str();
    let reject = |status: u16, title: &str, detail: &str| {
        node.drop_counters.count_rejected_request(
            network,
            &ClientPrefix::from(remote.ip()).to_string(),
            title,
            detail,
        );
        Admission::Reject(problem(status, title, detail))
    };
    if head.target().contains('?') {
        return reject(400, "Bad Request", "the signature does not cover a query: remove it");
    }
    if head.method() != "POST" {
        let response = problem(405, "Method Not Allowed", "an exchange is a POST");
        return Admission::Reject(response.with_additional_header("Allow", "POST"));
    }
    let (Some(signature_input), Some(signature), Some(content_digest)) =
        (head.header("signature-input"), head.header("signature"), head.header("content-digest"))
    else {
        return reject(
            401,
            "Unauthorized",
            "the request is not signed: Content-Digest, Signature-Input or Signature is missing",
        );
    };
    let claim = match http_signature::parse_request(signature_input, signature) {
        Ok(claim) => claim,
        Err(error) => return reject(401, "Unauthorized", &error.to_string()),
    };
    let Some(member) = snapshot.membership().member(&claim.keyid).filter(|member| !member.keys.is_empty())
    else {
        return reject(403, "Forbidden", "the keyid names no node of this network with a public key");
    };
    let path = snapshot.membership().own().exchange_path(snapshot.membership().network_id());
    let to = head.header("distomon-to").unwrap_or_default();
    let parts = RequestParts { path: &path, to, content_digest };
    if !member.keys.iter().any(|key| claim.verify(key, head.method(), &parts)) {
        return reject(401, "Unauthorized", "the signature does not verify");
    }
    let signed = SignedHead {
        path,
        content_digest: content_digest.to_owned(),
        signature_input: signature_input.to_owned(),
        signature: signature.to_owned(),
    };
    let nonce = claim.nonce;
    let admitted = AdmittedExchange {
        node: node.clone(),
        sender: member.id.clone(),
        sender_id: SenderId::new(&format!("{network}/{}", member.id)),
        signed,
        nonce,
        verified_in: received.elapsed(),
    };
    let limits = ExchangeLimits::new(member.poll_rate_ms.min(snapshot.membership().own().poll_rate_ms));
    let checked = if claim.is_incompatible() {
        Err(incompatible(&admitted, &snapshot))
    } else {
        check_verified(&admitted, &snapshot, head)
    };
    if let Err(error) = checked {
        let signs = rates.may_sign_error(&admitted.sender_id, limits, RejectStage::BeforeNonce, received);
        return Admission::Reject(if signs {
            admitted.reject(&error)
        } else {
            admitted.reject_unsigned(&error)
        });
    }
    if let Err(wait) = rates.try_exchange(&admitted.sender_id, limits, received) {
        let error =
            ExchangeError::new(429, TOO_MANY_REQUESTS, "the requests of this node exceed its rate limit");
        let signs = rates.may_sign_error(&admitted.sender_id, limits, RejectStage::RateLimit, received);
        let response = if signs { admitted.reject(&error) } else { admitted.reject_unsigned(&error) };
        return Admission::Reject(
            response.with_unique_header("Retry-After", (wait.as_secs() + 1).to_string()),
        );
    }
    let sender = Some(admitted.sender_id.clone());
    Admission::Accept { max_body_bytes: MAX_EXCHANGE_BODY_BYTES, sender, admitted }
}

/// The reply to a request of an incompatible release, of which the event loop learns if the request is new.
fn incompatible(admitted: &AdmittedExchange, snapshot: &Snapshot) -> ExchangeError {
    if let Err(error) = take_nonce(admitted, snapshot) {
        return error;
    }
    admitted.node.note_incompatible(&admitted.sender);
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
        return Err(misdirected(
            "the sender is this node itself; check whether the url of another node points here",
        ));
    }
    let own = snapshot.membership().own().id.as_str();
    if head.header("distomon-to") != Some(own) {
        return Err(misdirected(format!("this node is {own}")));
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

/// Truncates a detail, which may quote the sender, to a length suitable for the log.
fn truncated(mut detail: String) -> String {
    if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
        detail.truncate(end);
        detail.push('…');
    }
    detail
}

fn misdirected(detail: impl Into<Cow<'static, str>>) -> ExchangeError {
    ExchangeError::new(421, "Misdirected Request", detail)
}

/// Answers an admitted exchange.
pub(super) fn respond(request: &Request, admitted: &AdmittedExchange) -> Response {
    match process(request, admitted) {
        Ok(body) => admitted.sign(200, "application/json", body),
        Err(error) => admitted.reject(&error),
    }
}

fn process(request: &Request, admitted: &AdmittedExchange) -> Result<String, ExchangeError> {
    let start = Instant::now();
    let bad = |detail: String| ExchangeError::new(400, "Bad Request", truncated(detail));
    let node = &admitted.node;
    let mut body = Vec::new();
    let data = request.data().ok_or_else(|| bad("the body was already read".to_owned()))?;
    data.take(MAX_EXCHANGE_BODY_BYTES as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|error| bad(format!("reading the body: {error}")))?;
    if !crypto::digest_matches(&admitted.signed.content_digest, &body) {
        return Err(bad("the body does not match Content-Digest".to_owned()));
    }
    let snapshot = node.snapshot();
    let own = snapshot.membership().own().id.as_str();
    let message =
        message::Request::parse(&body, snapshot.membership()).map_err(|error| bad(error.to_string()))?;
    let reports = MessageReports {
        sender: admitted.sender.as_str(),
        reports: &message.reports,
        proofs: &message.proofs,
    };
    let verified = node.verify_message(&snapshot, reports);
    let is_forged = verified.is_forged();
    let arrived = ArrivedHeads::of(snapshot.membership(), &verified.reports);
    let (heads, complete) = complete_heads(&snapshot, &admitted.sender, message.heads.clone());
    // The event loop receives the reports before a forged one: each has used up part of its author's rate limit, which
    // a member must not be able to waste.
    let received =
        ReceivedReports { heads: message.heads, reports: verified.reports, proofs: verified.proofs };
    let was_sent = node.try_send(&admitted.sender, received);
    let dropped = ArrivedHeads::default();
    if is_forged {
        return Err(bad("a report's signature does not verify".to_owned()));
    }
    let table = snapshot.table();
    let missing =
        missing_reports(&heads, table, |index| complete || heads.knows(snapshot.membership(), index));
    // A sender that is no longer a member receives no reports.
    let sender = snapshot.membership().index(admitted.sender.as_str());
    let reports = sender.map_or_else(Vec::new, |sender| node.select_reports(sender, missing));
    let proofs = if complete { missing_proofs(&heads, table) } else { Vec::new() };
    // The transfer time of the body is not processing time.
    let took = admitted.verified_in + start.elapsed();
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let now = node.clock.now();
    let content = ReplyContent {
        from: own,
        now_ms: now.wall_ms,
        took_us,
        mono_ms: now.mono_ms,
        // If the request omits heads that this node does not know, the reply is complete, and the peer names all heads
        // next time.
        since: message.since.filter(|_| complete),
        // Without a mark the peer names all heads next time, which it must if the event loop did not receive these.
        mark: delta_sync::mark(snapshot.membership(), snapshot.at()).filter(|_| was_sent),
        // Dropped reports are not acknowledged, so that the peer sends them again.
        arrived: if was_sent { &arrived } else { &dropped },
        reports: &reports,
        proofs: &proofs,
    };
    Ok(write_reply(table, content))
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

impl AdmittedExchange {
    /// Creates the signed reply to a request whose body exceeds the sender's share of memory.
    pub(super) fn reject_body(&self) -> Response {
        let detail = "other requests of this node use up its share of memory";
        self.sign(429, problem::MEDIA_TYPE, problem::body(429, TOO_MANY_REQUESTS, detail))
    }

    /// Creates the unsigned reply of an error, and counts it.
    fn reject_unsigned(&self, error: &ExchangeError) -> Response {
        self.count_rejected(error);
        problem(error.status, error.title, &error.detail)
    }

    fn count_rejected(&self, error: &ExchangeError) {
        let snapshot = self.node.snapshot();
        let network = snapshot.membership().network_id().as_str();
        let (subject, counters) = (self.sender.as_str(), &self.node.drop_counters);
        counters.count_rejected_request(network, subject, error.title, &error.detail);
    }

    /// Creates the signed reply of an error, and counts it.
    fn reject(&self, error: &ExchangeError) -> Response {
        self.count_rejected(error);
        let mut body = problem::body(error.status, error.title, &error.detail);
        if let Some(evidence) = &error.evidence {
            body.truncate(body.len() - 1);
            body = format!("{body},\"reports\":{evidence}}}");
        }
        self.sign(error.status, problem::MEDIA_TYPE, body)
    }

    /// Creates a reply with its digest and signature.
    fn sign(&self, status: u16, media_type: &'static str, body: String) -> Response {
        let node = &self.node;
        let digest = crypto::content_digest(body.as_bytes());
        let signed_head = &self.signed;
        let context = SignedRequest {
            path: &signed_head.path,
            content_digest: &signed_head.content_digest,
            signature_input: &signed_head.signature_input,
            signature: &signed_head.signature,
        };
        let own = node.id();
        let created_s = wall_us() / 1_000_000;
        let params = SignatureParams { keyid: own.as_str(), created_s, nonce: self.nonce };
        let signed = http_signature::sign_reply(&node.keypair, &params, status, &digest, &context);
        let signed = match signed {
            Ok(signed) => signed,
            // The request's fields were parsed successfully before, so they are not the cause.
            Err(error) => {
                return problem(500, "Internal Server Error", &format!("signing the reply: {error}"));
            }
        };
        Response {
            status_code: status,
            headers: vec![
                (Cow::Borrowed("Content-Type"), Cow::Borrowed(media_type)),
                (Cow::Borrowed("Cache-Control"), Cow::Borrowed("no-store")),
                (Cow::Borrowed("Content-Digest"), digest.into()),
                (Cow::Borrowed("Signature-Input"), signed.signature_input.into()),
                (Cow::Borrowed("Signature"), signed.signature.into()),
            ],
            data: ResponseBody::from_string(body),
            upgrade: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::dsse;
    use crate::mesh::Event;
    use crate::mesh::wire::report::PAYLOAD_TYPE;
    use crate::server::fixture::{request, text};
    use crate::store::fixture::{self, Net, node_id};

    fn exchange(net: &Net, node: &Arc<NetworkHandle>, body: &str) -> Response {
        let path = net.membership.own().exchange_path(&net.id);
        let content_digest = crypto::content_digest(body.as_bytes());
        let nonce = Nonce { epoch: 1, counter: 1 };
        let sender = node_id(2);
        let params = SignatureParams { keyid: sender.as_str(), created_s: 1, nonce };
        let parts = RequestParts { path: &path, to: "node-00", content_digest: &content_digest };
        let head = http_signature::sign_request(&net.keys[2], &params, &parts);
        let signed = SignedHead {
            path,
            content_digest,
            signature_input: head.signature_input,
            signature: head.signature,
        };
        let admitted = AdmittedExchange {
            node: node.clone(),
            sender_id: SenderId::new("net/node-02"),
            sender,
            signed,
            nonce,
            verified_in: Duration::ZERO,
        };
        respond(&request("POST", "/mon/net", &[], body), &admitted)
    }

    #[test]
    fn a_forged_report_does_not_exhaust_the_rate_limit_of_others() {
        let net = Net::new("net", 3);
        let (node, events) = net.node_with_events();
        let node = Arc::new(node);
        let good = net.report(1, fixture::now());
        // Claims to be of node 2, but is signed by node 1.
        let forged = dsse::seal(
            &net.keys[1],
            "node-02",
            PAYLOAD_TYPE,
            &net.report(2, fixture::now()).report().to_payload(),
        );
        let body = format!("{{\"v\":2,\"heads\":{{}},\"reports\":[{},{forged}]}}", good.envelope());
        assert_eq!(exchange(&net, &node, &body).status_code, 400);
        let Some(Event::RequestReceived { from, received }) = events.try_iter().next() else {
            panic!("no event was sent")
        };
        assert_eq!(from, node_id(2));
        let reports: Vec<_> = received.reports.iter().map(|report| (report.author(), report.id())).collect();
        assert_eq!(reports, [(good.author(), good.id())]);
    }

    #[test]
    fn a_detail_that_quotes_the_sender_is_truncated() {
        let net = Net::new("net", 3);
        let (node, _events) = net.node_with_events();
        let body = format!("{{\"v\":2,\"now\":\"{}\"}}", "ä".repeat(100_000));
        let response = exchange(&net, &Arc::new(node), &body);
        assert_eq!(response.status_code, 400);
        let text = text(response);
        assert!(text.len() < 1_000 && text.contains('…'), "{} bytes", text.len());
    }
}
