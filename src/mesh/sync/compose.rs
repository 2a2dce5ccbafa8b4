//! Writes the bodies of requests and replies.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::mesh::delta_sync::DeltaBase;
use crate::mesh::id::{MAX_INTEGER, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::report_table::ReportTable;
use crate::mesh::wire::PROTOCOL_VERSION;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::heads::{EQUIVOCATED, Heads};
use crate::mesh::wire::report::VerifiedReport;

/// The content of a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestContent<'a> {
    /// Monotonic time in ms, for the ages of the heads.
    pub mono_ms: u64,
    /// Name only the heads that changed since; none for all.
    pub base: Option<DeltaBase>,
    /// Ask for no other report than the peer's own.
    pub own_only: bool,
    /// Reports to send.
    pub reports: &'a [Arc<VerifiedReport>],
    /// Proofs to send.
    pub proofs: &'a [Arc<EquivocationProof>],
}

/// The content of a reply.
#[derive(Debug, Clone, Copy)]
pub struct ReplyContent<'a> {
    /// This node.
    pub from: &'a str,
    /// Its wall clock: Unix time in ms.
    pub now_ms: u64,
    /// The time since the request arrived, in µs.
    pub took_us: u64,
    /// Monotonic time in ms, for the ages of the heads.
    pub mono_ms: u64,
    /// Name only the heads that changed since: an earlier [`crate::mesh::delta_sync::mark`]; none for all.
    pub since: Option<u64>,
    /// The mark for the next request; none if the next one is to name all heads.
    pub mark: Option<u64>,
    /// The heads of the reports in the request. The table does not hold them yet, but the reply names them so that the
    /// peer does not send them again.
    pub arrived: &'a ArrivedHeads,
    /// Reports to send.
    pub reports: &'a [Arc<VerifiedReport>],
    /// Proofs to send.
    pub proofs: &'a [Arc<EquivocationProof>],
}

/// The heads of reports that just arrived, by index into the membership.
#[derive(Debug, Clone, Default)]
pub struct ArrivedHeads(Vec<Option<ArrivedHead>>);

/// The head of a report that just arrived.
#[derive(Debug, Clone, Copy)]
struct ArrivedHead {
    id: ReportId,
    digest: [u8; 8],
    age_ms: u64,
}

impl ArrivedHeads {
    /// The heads of `reports`, with the ages in `named`, the heads of the same message. A lower age would make the reports
    /// look younger than their authors' silence, and so as signs of life from beyond a partition.
    pub fn of(membership: &Arc<Membership>, reports: &[VerifiedReport], named: &Heads) -> Self {
        let mut heads = vec![None; membership.members().len()];
        for report in reports {
            if let Some(index) = membership.index(report.author().as_str()) {
                let age_ms = named.age_ms(membership, index, report.id());
                heads[index] = Some(ArrivedHead { id: report.id(), digest: report.short_digest(), age_ms });
            }
        }
        Self(heads)
    }

    fn get(&self, index: usize) -> Option<ArrivedHead> {
        *self.0.get(index)?
    }
}

/// Writes a request's body with the heads of `table`.
pub fn write_request(table: &ReportTable, content: RequestContent<'_>) -> String {
    let RequestContent { mono_ms, base, own_only, reports, proofs } = content;
    let mut body = String::with_capacity(capacity(table, reports));
    let _ = write!(body, "{{\"v\":{PROTOCOL_VERSION},");
    if let Some(DeltaBase { mark, .. }) = base {
        let _ = write!(body, "\"since\":{mark},");
    }
    if own_only {
        body.push_str("\"own_only\":true,");
    }
    write_heads(&mut body, table, mono_ms, base.map(|base| base.snapshot_ms), &ArrivedHeads::default());
    write_reports(&mut body, reports, proofs);
    body.push('}');
    body
}

/// Writes a reply's body with the heads of `table`.
pub fn write_reply(table: &ReportTable, content: ReplyContent<'_>) -> String {
    let ReplyContent { from, now_ms, mono_ms, since, mark, arrived, reports, proofs, .. } = content;
    let mut body = String::with_capacity(capacity(table, reports));
    let took_us = content.took_us.min(u64::from(u32::MAX));
    let _ = write!(
        body,
        "{{\"v\":{PROTOCOL_VERSION},\"from\":\"{from}\",\"now\":{now_ms},\"took_us\":{took_us},"
    );
    if let Some(mark) = mark {
        let _ = write!(body, "\"mark\":{mark},");
    }
    if since.is_some() {
        body.push_str("\"partial\":true,");
    }
    write_heads(&mut body, table, mono_ms, since, arrived);
    write_reports(&mut body, reports, proofs);
    body.push('}');
    body
}

fn capacity(table: &ReportTable, reports: &[Arc<VerifiedReport>]) -> usize {
    256 + 96 * table.states().len() + reports.iter().map(|report| report.envelope().len() + 1).sum::<usize>()
}

/// Writes the member `heads` and a comma: the heads of `table` at `mono_ms`, or those of `arrived` that are newer. With
/// `since_ms`, only heads that changed since then, and this node's own.
fn write_heads(
    body: &mut String,
    table: &ReportTable,
    mono_ms: u64,
    since_ms: Option<u64>,
    arrived: &ArrivedHeads,
) {
    body.push_str("\"heads\":{");
    let mut first = true;
    let me = table.membership().me();
    for (index, (member, state)) in table.members().enumerate() {
        let newer = arrived.get(index);
        if newer.is_none() && index != me && since_ms.is_some_and(|since_ms| state.head_changed_ms < since_ms)
        {
            continue;
        }
        let newer = newer.filter(|head| state.latest_id().is_none_or(|latest| latest < head.id));
        let (ReportId { epoch, seq }, digest, age_ms) = match (newer, &state.latest) {
            (Some(ArrivedHead { id, digest, age_ms }), _) => (id, digest, age_ms),
            (None, Some(latest)) => {
                let age_ms = mono_ms.saturating_sub(state.created_ms).min(MAX_INTEGER);
                (latest.id(), latest.short_digest(), age_ms)
            }
            // A head without a report names the proof, so that the peer does not send it again.
            (None, None) if state.equivocation.is_some() => (ReportId::default(), [0; 8], 0),
            (None, None) => continue,
        };
        if !first {
            body.push(',');
        }
        first = false;
        let mut hash = [0; 12];
        let _ = STANDARD.encode_slice(digest, &mut hash);
        let hash = std::str::from_utf8(&hash).unwrap_or_default();
        let _ = write!(body, "\"{}\":[{epoch},{seq},\"{hash}\",{age_ms}", member.id);
        if state.equivocation.is_some() {
            let _ = write!(body, ",{EQUIVOCATED}");
        }
        body.push(']');
    }
    body.push_str("},");
}

fn write_reports(body: &mut String, reports: &[Arc<VerifiedReport>], proofs: &[Arc<EquivocationProof>]) {
    body.push_str("\"reports\":[");
    for (at, report) in reports.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        body.push_str(report.envelope());
    }
    body.push(']');
    if !proofs.is_empty() {
        body.push_str(",\"proofs\":[");
        for (at, proof) in proofs.iter().enumerate() {
            if at > 0 {
                body.push(',');
            }
            body.push_str(&proof.to_json());
        }
        body.push(']');
    }
}
