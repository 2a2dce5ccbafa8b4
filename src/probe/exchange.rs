//! The client side of an exchange: signs and sends the request, verifies the reply (RFC 9421, RFC 9530).

use std::sync::Arc;
use std::time::Duration;

use super::earlier_release;
use super::http_client::{HttpRequest, fetch};
use super::reply_signature::check_signature;
use crate::crypto::http_signature::{self, RequestParts, SignatureParams, SignedRequest};
use crate::crypto::{self, Nonce};
use crate::mesh::Snapshot;
use crate::mesh::engine::event::{Call, CallReply, ReceivedReports};
use crate::mesh::membership::Member;
use crate::mesh::sync::compose::{RequestContent, write_request};
use crate::mesh::verify::MessageReports;
use crate::mesh::wire::message::{MessageError, Reply};
use crate::mesh::wire::observation::Failure;
use crate::mesh::wire::report::VerifiedReport;
use crate::store::NetworkHandle;
use crate::store::clock::wall_us;

/// Makes `call`, waits for the reply for up to `patience`, and returns the result and the verified reports in a signed
/// refusal.
pub(super) fn exchange(
    node: &NetworkHandle,
    call: &Call,
    patience: Duration,
) -> (Result<CallReply, Failure>, Vec<VerifiedReport>) {
    let mut evidence = Vec::new();
    let outcome = call_peer(node, call, patience, &mut evidence);
    (outcome, evidence)
}

fn call_peer(
    node: &NetworkHandle,
    call: &Call,
    patience: Duration,
    evidence: &mut Vec<VerifiedReport>,
) -> Result<CallReply, Failure> {
    let snapshot = node.snapshot();
    let membership = snapshot.membership();
    let Some(member) = membership.member(call.peer.as_str()) else { return Err(Failure::Other) };
    let Some(url) = &member.url else { return Err(Failure::Other) };
    let path = member.exchange_path(membership.network_id());
    let own_id = membership.own().id.as_str();

    let body = write_request(
        snapshot.table(),
        RequestContent {
            mono_ms: node.clock.mono_ms(),
            base: call.base,
            own_only: call.own_only,
            reports: &call.reports,
            proofs: &call.proofs,
        },
    );
    let digest = crypto::content_digest(body.as_bytes());
    let nonce = Nonce { epoch: call.epoch, counter: node.next_request() };
    let sent_us = wall_us();
    let params = SignatureParams { keyid: own_id, created_s: sent_us / 1_000_000, nonce };
    let parts = RequestParts { path: &path, to: member.id.as_str(), content_digest: &digest };
    let head = http_signature::sign_request(&node.keypair, &params, &parts);
    let headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Content-Digest", digest.clone()),
        ("Distomon-To", member.id.to_string()),
        ("Signature-Input", head.signature_input.clone()),
        ("Signature", head.signature.clone()),
    ];
    let request = HttpRequest { url: format!("{url}/mon/{}", membership.network_id()), headers, body };
    let response = fetch(&request, patience)?;
    let received_us = wall_us();

    let context = SignedRequest {
        path: &path,
        content_digest: &digest,
        signature_input: &head.signature_input,
        signature: &head.signature,
    };
    if let Err(failure) = check_signature(&response, &context, member) {
        let left = patience.saturating_sub(response.elapsed);
        // So a node of the earlier release answers, among others.
        let may_be_earlier = response.status == 401 && !left.is_zero();
        return Err(if may_be_earlier && earlier_release::answers(node, call, membership, member, left) {
            Failure::Incompatible
        } else {
            failure
        });
    }
    if response.status != 200 {
        *evidence = read_evidence(node, &snapshot, member, &response.body);
        return Err(refusal_of(response.status));
    }
    let timing = ExchangeTiming { sent_us, received_us, elapsed: response.elapsed };
    let mut reply = read_reply(node, &node.snapshot(), member, &response.body, timing)?;
    reply.snapshot_ms = snapshot.at().mono_ms;
    Ok(reply)
}

/// The times of an exchange.
#[derive(Clone, Copy)]
struct ExchangeTiming {
    /// When the request was sent, and when the reply was received: Unix times in µs.
    sent_us: u64,
    received_us: u64,
    /// The time from the name lookup to the last byte of the reply.
    elapsed: Duration,
}

fn refusal_of(status: u16) -> Failure {
    match status {
        409 => Failure::Replayed,
        421 => Failure::Misdirected,
        426 => Failure::Incompatible,
        503 => Failure::Busy,
        _ => Failure::Rejected,
    }
}

/// Verifies the reports in a signed refusal. For a used nonce, it contains the newest report under this node's key that
/// the peer has.
fn read_evidence(
    node: &NetworkHandle,
    snapshot: &Snapshot,
    member: &Member,
    body: &[u8],
) -> Vec<VerifiedReport> {
    #[derive(serde::Deserialize)]
    struct Problem<'a> {
        #[serde(borrow, default)]
        reports: Vec<&'a serde_json::value::RawValue>,
    }
    let Ok(problem) = serde_json::from_slice::<Problem<'_>>(body) else { return Vec::new() };
    let message = MessageReports { sender: member.id.as_str(), reports: &problem.reports, proofs: &[] };
    node.verify_message(snapshot, message).reports
}

fn read_reply(
    node: &NetworkHandle,
    snapshot: &Arc<Snapshot>,
    member: &Member,
    body: &[u8],
    timing: ExchangeTiming,
) -> Result<CallReply, Failure> {
    let reply = Reply::parse(body, snapshot.membership()).map_err(|error| match error {
        MessageError::OtherProtocol => Failure::Incompatible,
        MessageError::Malformed(_) => Failure::BadReply,
    })?;
    if reply.from != member.id.as_str() {
        return Err(Failure::WrongNode);
    }
    let sender = member.id.as_str();
    let message = MessageReports { sender, reports: &reply.reports, proofs: &reply.proofs };
    let verified = node.verify_message(snapshot, message);
    let ExchangeTiming { sent_us, received_us, elapsed } = timing;
    let elapsed_us = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX);
    let took_us = reply.took_us.min(elapsed_us);
    Ok(CallReply {
        rtt_us: elapsed_us - took_us,
        took_us,
        clock_offset_ms: clock_offset_ms(sent_us, received_us, reply.now_ms, took_us),
        received: ReceivedReports { heads: reply.heads, reports: verified.reports, proofs: verified.proofs },
        mark: reply.mark,
        snapshot_ms: snapshot.at().mono_ms,
    })
}

/// The peer's clock minus this node's, in ms: the mean of the offsets in both directions (RFC 5905, section 8).
fn clock_offset_ms(sent_us: u64, received_us: u64, peer_now_ms: u64, took_us: u32) -> i64 {
    let there_us = i128::from(peer_now_ms) * 1000 - i128::from(took_us) - i128::from(sent_us);
    let back_us = i128::from(peer_now_ms) * 1000 - i128::from(received_us);
    i64::try_from((there_us + back_us) / 2000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::clock_offset_ms;

    #[test]
    fn clock_offset_is_the_mean_of_both_directions() {
        // Sent at 1 s, processed for 10 ms, received after 30 ms: 10 ms each way.
        for (peer_now_ms, expected) in [(1_020, 0), (289_020, 288_000), (0, -1_020)] {
            assert_eq!(clock_offset_ms(1_000_000, 1_030_000, peer_now_ms, 10_000), expected);
        }
    }
}
