//! One exchange as the caller sees it: sign, send, check what comes back (RFC 9421, RFC 9530).

use std::sync::Arc;
use std::time::Duration;

use super::http_client::{HttpRequest, HttpResponse, fetch};
use crate::crypto::http_signature::{self, ReplyError, RequestContext};
use crate::crypto::{self, Nonce};
use crate::mesh::Snapshot;
use crate::mesh::engine::delta_sync::DeltaBase;
use crate::mesh::engine::event::{Call, CallFinished, CallReply, ReceivedReports};
use crate::mesh::membership::Member;
use crate::mesh::wire::message::{self, Reply};
use crate::mesh::wire::observation::Failure;
use crate::mesh::wire::report::VerifiedReport;
use crate::store::NetworkHandle;
use crate::store::clock::wall_us;

/// Carries out `call` and says how it ended.
pub(super) fn exchange(node: &NetworkHandle, call: &Call) -> CallFinished {
    let (id, peer) = (call.id, call.peer.clone());
    let mut evidence = Vec::new();
    let outcome = carry_out(node, call, &mut evidence);
    CallFinished { id, peer, outcome, evidence }
}

fn carry_out(
    node: &NetworkHandle,
    call: &Call,
    evidence: &mut Vec<VerifiedReport>,
) -> Result<CallReply, Failure> {
    let snapshot = node.snapshot();
    let membership = snapshot.membership();
    let Some(member) = membership.member(call.peer.as_str()) else { return Err(Failure::Other) };
    let Some(url) = &member.url else { return Err(Failure::Other) };
    let path = member.exchange_path(membership.network_id());
    let own_id = membership.own().id.as_str();

    let since = node.delta_sync().base_for(&member.id, &snapshot);
    let mono_ms = node.clock.mono_ms();
    let to = member.id.as_str();
    let body = message::write_request(to, &snapshot, mono_ms, since, &call.reports, &call.proofs);
    let digest = crypto::content_digest(body.as_bytes());
    let nonce = Nonce { epoch: call.epoch, counter: node.next_request() };
    let sent_us = wall_us();
    let head =
        http_signature::sign_request(&node.keypair, own_id, &path, &digest, sent_us / 1_000_000, nonce);
    let headers = vec![
        ("Content-Type", "application/json".to_owned()),
        ("Content-Digest", digest.clone()),
        ("Signature-Input", head.signature_input.clone()),
        ("Signature", head.signature.clone()),
    ];
    let outgoing = HttpRequest { url: format!("{url}/mon/{}", membership.network_id()), headers, body };
    let incoming = fetch(outgoing, Duration::from_millis(call.timeout_ms))?;
    let received_us = wall_us();

    let context = RequestContext {
        path: &path,
        content_digest: &digest,
        signature_input: &head.signature_input,
        signature: &head.signature,
    };
    check_signature(&incoming, &context, member)?;
    if incoming.status != 200 {
        *evidence = read_evidence(node, &snapshot, member, &incoming.body);
        return Err(refusal(incoming.status));
    }
    read_reply(node, &snapshot, member, since, &incoming, sent_us, received_us)
}

/// Nothing of a reply counts before this.
fn check_signature(
    incoming: &HttpResponse,
    context: &RequestContext<'_>,
    member: &Member,
) -> Result<(), Failure> {
    let digest = incoming.header("content-digest");
    let checked = http_signature::verify_reply(
        &incoming.header("signature-input"),
        &incoming.header("signature"),
        incoming.status,
        &digest,
        context,
        member.id.as_str(),
        &member.keys,
    );
    match checked {
        Ok(()) if crypto::digest_matches(&digest, &incoming.body) => Ok(()),
        Err(ReplyError::OtherKeyId { .. }) => Err(Failure::WrongNode),
        // Whatever answered with another status without a signature was not the node.
        _ if incoming.status != 200 => Err(Failure::HttpStatus),
        _ => Err(Failure::BadSignature),
    }
}

fn refusal(status: u16) -> Failure {
    match status {
        409 => Failure::Replayed,
        421 => Failure::Misdirected,
        _ => Failure::Rejected,
    }
}

/// A refusal because of a used nonce carries this node's own newest report at the peer.
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
    node.verify_message(snapshot, member.id.as_str(), &problem.reports, &[]).reports
}

fn read_reply(
    node: &NetworkHandle,
    snapshot: &Arc<Snapshot>,
    member: &Member,
    since: Option<DeltaBase>,
    incoming: &HttpResponse,
    sent_us: u64,
    received_us: u64,
) -> Result<CallReply, Failure> {
    let reply = Reply::parse(&incoming.body, snapshot.membership()).map_err(|_| Failure::BadReply)?;
    if reply.from != member.id.as_str() {
        return Err(Failure::WrongNode);
    }
    let intake = node.verify_message(snapshot, member.id.as_str(), &reply.reports, &reply.proofs);
    let heads = node.delta_sync().on_reply(&member.id, snapshot, since, reply.heads, reply.mark);
    let elapsed_us = u32::try_from(incoming.elapsed.as_micros()).unwrap_or(u32::MAX);
    let took_us = reply.took_us.min(elapsed_us);
    Ok(CallReply {
        rtt_us: elapsed_us - took_us,
        took_us,
        clock_offset_ms: clock_offset_ms(sent_us, received_us, reply.now_ms, took_us),
        received: ReceivedReports { heads, reports: intake.reports, proofs: intake.proofs },
    })
}

/// The peer's clock less ours, in ms: the mean of what both directions show (RFC 5905, section 8).
fn clock_offset_ms(sent_us: u64, received_us: u64, peer_now_ms: u64, took_us: u32) -> i64 {
    let there_us = i128::from(peer_now_ms) * 1000 - i128::from(took_us) - i128::from(sent_us);
    let back_us = i128::from(peer_now_ms) * 1000 - i128::from(received_us);
    i64::try_from((there_us + back_us) / 2000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::clock_offset_ms;

    #[test]
    fn offsets_of_clocks() {
        // Sent at 1 s, there for 10 ms, back after 30 ms: 10 ms each way.
        for (peer_now_ms, expected) in [(1_020, 0), (289_020, 288_000), (0, -1_020)] {
            assert_eq!(clock_offset_ms(1_000_000, 1_030_000, peer_now_ms, 10_000), expected);
        }
    }
}
