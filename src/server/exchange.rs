//! `POST /mon/{network_id}`: an exchange as the one who is asked sees it (RFC 9421, RFC 9530).
//!
//! The head decides: whose signature it carries, and whether its nonce is new. Only then is the body read.
//! From then on every answer, an error as well, is signed and bound to this one request.

use std::borrow::Cow;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rouille::{Request, Response, ResponseBody};

use super::client_address::ClientPrefix;
use super::handler::Admission;
use super::limits::MAX_EXCHANGE_BODY_BYTES;
use super::problem::{self, problem};
use super::request_head::RequestHead;
use crate::crypto::http_signature::{self, RequestContext};
use crate::crypto::{self, Nonce};
use crate::mesh::Snapshot;
use crate::mesh::engine::event::ReceivedReports;
use crate::mesh::id::NodeId;
use crate::mesh::wire::message::{self, ReplyMeta};
use crate::store::NetworkHandle;
use crate::store::clock::wall_us;

/// The longest detail of a refusal, in characters.
const MAX_DETAIL: usize = 200;

/// What the head of an exchange has proven.
pub struct AdmittedExchange {
    node: Arc<NetworkHandle>,
    sender: NodeId,
    asked: Asked,
    nonce: Nonce,
    /// How long it took to judge the head.
    judged: Duration,
}

/// The signed parts of the request, to which the answer is bound.
struct Asked {
    path: String,
    content_digest: String,
    signature_input: String,
    signature: String,
}

/// A refusal of a known sender: signed like any answer.
struct Refusal {
    status: u16,
    title: &'static str,
    detail: Cow<'static, str>,
    /// A JSON array of envelopes that shows why.
    evidence: Option<String>,
}

impl Refusal {
    fn new(status: u16, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, title, detail: detail.into(), evidence: None }
    }
}

/// Judges the head of a request to `node`. Nothing is signed before its sender is known.
pub(super) fn admit(
    node: &Arc<NetworkHandle>,
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
    if head.method() != "POST" {
        let refusal = problem(405, "Method Not Allowed", "an exchange is a POST");
        return Admission::Reject(refusal.with_additional_header("Allow", "POST"));
    }
    let (Some(signature_input), Some(signature), Some(content_digest)) =
        (head.header("signature-input"), head.header("signature"), head.header("content-digest"))
    else {
        return reject(
            401,
            "Unauthorized",
            "not signed: Content-Digest, Signature-Input or Signature is missing",
        );
    };
    let claim = match http_signature::parse_request(signature_input, signature) {
        Ok(claim) => claim,
        Err(error) => return reject(401, "Unauthorized", &error.to_string()),
    };
    let Some(member) = snapshot.membership().member(&claim.keyid).filter(|member| !member.keys.is_empty())
    else {
        return reject(403, "Forbidden", "the keyid is not a node of this network with a public key");
    };
    let path = snapshot.membership().own().exchange_path(snapshot.membership().network_id());
    if !member.keys.iter().any(|key| claim.verify(key, head.method(), &path, content_digest)) {
        return reject(401, "Unauthorized", "the signature does not verify");
    }
    let asked = Asked {
        path,
        content_digest: content_digest.to_owned(),
        signature_input: signature_input.to_owned(),
        signature: signature.to_owned(),
    };
    let nonce = claim.nonce;
    let admitted = AdmittedExchange {
        node: node.clone(),
        sender: member.id.clone(),
        asked,
        nonce,
        judged: received.elapsed(),
    };
    match check_known(&admitted, &snapshot, head) {
        Ok(()) => Admission::Accept { max_body_bytes: MAX_EXCHANGE_BODY_BYTES, verified: true, admitted },
        Err(refusal) => Admission::Reject(admitted.refuse(&refusal)),
    }
}

/// What is asked of a sender whose signature fits. The nonce is last: what is refused before it may be
/// sent again.
fn check_known(admitted: &AdmittedExchange, snapshot: &Snapshot, head: &RequestHead) -> Result<(), Refusal> {
    if admitted.sender == snapshot.membership().own().id {
        return Err(misdirected("this node does not talk to itself: is its address that of another node?"));
    }
    let media = head.header("content-type").unwrap_or_default();
    if !media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal::new(415, "Unsupported Media Type", "expected application/json"));
    }
    if head.content_length() > MAX_EXCHANGE_BODY_BYTES as u64 {
        let detail = format!("a message may have {MAX_EXCHANGE_BODY_BYTES} bytes");
        return Err(Refusal::new(413, "Content Too Large", detail));
    }
    admitted.node.nonces.accept(&admitted.sender, admitted.nonce).map_err(|last| {
        let detail = format!("the nonce is not larger than the last one, {last}");
        let latest = snapshot.state(&admitted.sender).and_then(|state| state.latest.as_ref());
        let evidence = latest.map(|latest| format!("[{}]", latest.envelope()));
        Refusal { evidence, ..Refusal::new(409, "Conflict", detail) }
    })
}

/// A detail that may repeat what the sender wrote, at a length fit for a journal.
fn shortened(mut detail: String) -> String {
    if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
        detail.truncate(end);
        detail.push('…');
    }
    detail
}

fn misdirected(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(421, "Misdirected Request", detail)
}

/// Answers an exchange that was admitted.
pub(super) fn respond(request: &Request, admitted: &AdmittedExchange) -> Response {
    match respond_to_verified(request, admitted) {
        Ok(body) => admitted.sign(200, "application/json", body),
        Err(refusal) => admitted.refuse(&refusal),
    }
}

fn respond_to_verified(request: &Request, admitted: &AdmittedExchange) -> Result<String, Refusal> {
    let begun = Instant::now();
    let bad = |detail: String| Refusal::new(400, "Bad Request", shortened(detail));
    let node = &admitted.node;
    let mut body = Vec::new();
    let data = request.data().ok_or_else(|| bad("the body was read before".to_owned()))?;
    data.take(MAX_EXCHANGE_BODY_BYTES as u64 + 1)
        .read_to_end(&mut body)
        .map_err(|error| bad(format!("reading the body: {error}")))?;
    if !crypto::digest_matches(&admitted.asked.content_digest, &body) {
        return Err(bad("the body is not what Content-Digest says".to_owned()));
    }
    let snapshot = node.snapshot();
    let own = snapshot.membership().own().id.as_str();
    let message =
        message::Request::parse(&body, snapshot.membership()).map_err(|error| bad(error.to_string()))?;
    if message.to != own {
        return Err(misdirected(format!("this is {own}")));
    }
    let intake = node.verify_message(&snapshot, admitted.sender.as_str(), &message.reports, &message.proofs);
    let (heads, whole) = node.delta_sync().on_request(&admitted.sender, &snapshot, message.heads);
    if intake.is_forged() {
        // What came before it was verified, and so took of what its authors may send: it is kept, or a member
        // could use that up with what never arrives.
        let delivery = ReceivedReports { heads, reports: intake.reports, proofs: intake.proofs };
        node.try_send(&admitted.sender, delivery);
        return Err(bad("a report's signature does not verify".to_owned()));
    }
    // Of what it left out and nobody remembers here, it names everything next time.
    let reports =
        message::missing_reports(&heads, &snapshot, |index, _| whole || heads.knows(&snapshot, index));
    let proofs = if whole { message::missing_proofs(&heads, &snapshot) } else { Vec::new() };
    // The time that the body was under way is the network's, not this node's.
    let took = admitted.judged + begun.elapsed();
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let now = node.clock.now();
    let since = message.since.filter(|_| whole);
    let facts = ReplyMeta { from: own, now_ms: now.wall_ms, took_us, mono_ms: now.mono_ms, since };
    let reply = message::write_reply(facts, &snapshot, &intake.reports, &reports, &proofs);
    let delivery = ReceivedReports { heads, reports: intake.reports, proofs: intake.proofs };
    node.try_send(&admitted.sender, delivery);
    Ok(reply)
}

impl AdmittedExchange {
    fn refuse(&self, refusal: &Refusal) -> Response {
        let snapshot = self.node.snapshot();
        let network = snapshot.membership().network_id().as_str();
        self.node.drop_counters.count_rejected_request(
            network,
            self.sender.as_str(),
            refusal.title,
            &refusal.detail,
        );
        let mut body = problem::body(refusal.status, refusal.title, &refusal.detail);
        if let Some(evidence) = &refusal.evidence {
            body.truncate(body.len() - 1);
            body = format!("{body},\"reports\":{evidence}}}");
        }
        self.sign(refusal.status, problem::MEDIA_TYPE, body)
    }

    /// The reply with its digest and its signature.
    fn sign(&self, status: u16, media_type: &'static str, body: String) -> Response {
        let node = &self.node;
        let digest = crypto::content_digest(body.as_bytes());
        let asked = &self.asked;
        let context = RequestContext {
            path: &asked.path,
            content_digest: &asked.content_digest,
            signature_input: &asked.signature_input,
            signature: &asked.signature,
        };
        let own = node.id();
        let created_s = wall_us() / 1_000_000;
        let signed = http_signature::sign_reply(
            &node.keypair,
            own.as_str(),
            status,
            &digest,
            &context,
            created_s,
            self.nonce,
        );
        let signed = match signed {
            Ok(signed) => signed,
            // The request's fields were read once already, so this cannot come of them.
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
    use crate::server::fixture::{self, Net, node_id};

    fn asked(net: &Net, node: &Arc<NetworkHandle>, body: &str) -> Response {
        let path = net.membership.own().exchange_path(&net.id);
        let content_digest = crypto::content_digest(body.as_bytes());
        let nonce = Nonce { epoch: 1, counter: 1 };
        let sender = node_id(2);
        let head =
            http_signature::sign_request(&net.keys[2], sender.as_str(), &path, &content_digest, 1, nonce);
        let asked =
            Asked { path, content_digest, signature_input: head.signature_input, signature: head.signature };
        let admitted = AdmittedExchange { node: node.clone(), sender, asked, nonce, judged: Duration::ZERO };
        respond(&fixture::request("POST", "/mon/net", &[], body), &admitted)
    }

    #[test]
    fn a_forgery_does_not_use_up_what_others_may_send() {
        let net = Net::new("net", 3);
        let (node, told) = net.heard_node();
        let node = Arc::new(node);
        let good = net.report(1, fixture::now());
        // Signed by node 1, whose word it is not.
        let forged =
            dsse::seal(&net.keys[1], "node-02", &net.report(2, fixture::now()).report().to_payload());
        let body =
            format!("{{\"to\":\"node-00\",\"heads\":{{}},\"reports\":[{},{forged}]}}", good.envelope());
        assert_eq!(asked(&net, &node, &body).status_code, 400);
        let Some(Event::RequestReceived { from, received: delivery }) = told.try_iter().next() else {
            panic!("nothing was told")
        };
        assert_eq!(from, node_id(2));
        let reports: Vec<_> = delivery.reports.iter().map(|report| (report.author(), report.id())).collect();
        assert_eq!(reports, [(good.author(), good.id())]);
    }

    #[test]
    fn what_a_sender_wrote_is_told_in_short() {
        let net = Net::new("net", 3);
        let (node, _told) = net.heard_node();
        let body = format!("{{\"to\":\"node-00\",\"now\":\"{}\"}}", "ä".repeat(100_000));
        let response = asked(&net, &Arc::new(node), &body);
        assert_eq!(response.status_code, 400);
        let text = fixture::text(response);
        assert!(text.len() < 1_000 && text.contains('…'), "{} bytes", text.len());
    }
}
