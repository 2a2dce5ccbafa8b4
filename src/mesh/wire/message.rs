//! The bodies of exchanges: the heads of what their sender holds, and the reports that the other side
//! lacks.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::Deserialize;
use serde::de::Visitor;
use serde_json::value::RawValue;

use super::heads;
pub use super::heads::{Head, Heads};
use super::report::{EquivocationProof, VerifiedReport};
use crate::mesh::engine::delta_sync::{self, DeltaBase};
use crate::mesh::id::MAX_INTEGER;
use crate::mesh::membership::Membership;
use crate::mesh::snapshot::Snapshot;

/// Messages are filled with reports up to this many bytes.
pub const FILL_BYTES: usize = 256 * 1024;

/// Reports in one message at most: one of each node of the largest network.
pub const MAX_REPORTS: usize = 4096;

/// The largest message that is read, in bytes.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Proofs of equivocation in one message at most.
pub const MAX_PROOFS: usize = 8;

/// A request's body, read.
#[derive(Debug)]
pub struct Request<'a> {
    /// Whom it is for.
    pub to: String,
    /// What its sender holds.
    pub heads: Heads,
    /// The mark of the answerer's reply that its sender read last: heads name what has changed since.
    pub since: Option<u64>,
    /// DSSE envelopes, unverified.
    pub reports: Vec<&'a RawValue>,
    /// Pairs of DSSE envelopes, unverified.
    pub proofs: Vec<&'a RawValue>,
}

/// A reply's body, read.
#[derive(Debug)]
pub struct Reply<'a> {
    /// Who answers.
    pub from: String,
    /// The answerer's wall clock when it wrote this: Unix time in ms.
    pub now_ms: u64,
    /// How long the request had been with the answerer, in µs.
    pub took_us: u32,
    /// What the answerer holds.
    pub heads: Heads,
    /// What to hand back as `since` with the next request.
    pub mark: Option<u64>,
    /// DSSE envelopes, unverified.
    pub reports: Vec<&'a RawValue>,
    /// Pairs of DSSE envelopes, unverified.
    pub proofs: Vec<&'a RawValue>,
}

/// A body that is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message: {0}")]
pub struct MalformedMessage(String);

impl<'a> Request<'a> {
    /// Reads a request's body. Ids that the membership lacks are ignored.
    pub fn parse(body: &'a [u8], membership: &Arc<Membership>) -> Result<Self, MalformedMessage> {
        let raw: WireMessage<'a> =
            serde_json::from_slice(body).map_err(|e| MalformedMessage(e.to_string()))?;
        let to = raw.to.ok_or_else(|| MalformedMessage("missing field `to`".to_owned()))?;
        let heads = read_heads(raw.heads, membership, raw.since.is_some())?;
        Ok(Self { to: to.into_owned(), heads, since: raw.since, reports: raw.reports, proofs: raw.proofs })
    }
}

impl<'a> Reply<'a> {
    /// Reads a reply's body. Ids that the membership lacks are ignored.
    pub fn parse(body: &'a [u8], membership: &Arc<Membership>) -> Result<Self, MalformedMessage> {
        let raw: WireMessage<'a> =
            serde_json::from_slice(body).map_err(|e| MalformedMessage(e.to_string()))?;
        let missing = |name: &str| MalformedMessage(format!("missing field `{name}`"));
        let now_ms = raw.now.ok_or_else(|| missing("now"))?;
        if now_ms > MAX_INTEGER {
            return Err(MalformedMessage("integer larger than 2^53 - 1".to_owned()));
        }
        let heads = read_heads(raw.heads, membership, raw.partial)?;
        Ok(Self {
            from: raw.from.ok_or_else(|| missing("from"))?.into_owned(),
            now_ms,
            took_us: raw.took_us.ok_or_else(|| missing("took_us"))?,
            heads,
            mark: raw.mark,
            reports: raw.reports,
            proofs: raw.proofs,
        })
    }
}

/// Both kinds of body at once.
#[derive(Deserialize)]
struct WireMessage<'a> {
    #[serde(borrow)]
    to: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    from: Option<std::borrow::Cow<'a, str>>,
    now: Option<u64>,
    took_us: Option<u32>,
    since: Option<u64>,
    mark: Option<u64>,
    #[serde(default)]
    partial: bool,
    #[serde(borrow)]
    heads: &'a RawValue,
    #[serde(borrow, deserialize_with = "read_bounded_list")]
    reports: Vec<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "read_bounded_list")]
    proofs: Vec<&'a RawValue>,
}

/// At most one report of each node can be meant: a list of a million nothings would take memory alone.
fn read_bounded_list<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<&'de RawValue>, D::Error> {
    struct BoundedList;
    impl<'de> Visitor<'de> for BoundedList {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_REPORTS} envelopes")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(envelope) = seq.next_element()? {
                if list.len() == MAX_REPORTS {
                    return Err(serde::de::Error::invalid_length(list.len() + 1, &self));
                }
                list.push(envelope);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(BoundedList)
}

fn read_heads(
    raw: &RawValue,
    membership: &Arc<Membership>,
    partial: bool,
) -> Result<Heads, MalformedMessage> {
    Heads::parse(raw.get(), membership, partial).map_err(|e| MalformedMessage(format!("heads: {e}")))
}

/// How many reports the holder of `heads` is behind, if it lacks what `snapshot` holds of a member: 0 where it
/// has another with the same report_id, `u64::MAX` where it has none of this epoch.
pub fn reports_behind(heads: &Heads, snapshot: &Snapshot, index: usize) -> Option<u64> {
    let latest = snapshot.states()[index].latest.as_ref()?;
    let report_id = latest.id();
    match heads.get(snapshot.membership(), index) {
        Some(head) if head.id == report_id => {
            (!head.equivocated && head.hash != latest.short_digest()).then_some(0)
        }
        Some(head) if head.id > report_id => None,
        Some(head) if head.id.epoch == report_id.epoch => Some(report_id.seq - head.id.seq),
        _ => Some(u64::MAX),
    }
}

/// The reports of `snapshot` that the holder of `heads` lacks and that are `wanted`, by the author's index and
/// the [`lag`]: this node's own first, then those that lag the most, until [`FILL_BYTES`] are full.
pub fn missing_reports(
    heads: &Heads,
    snapshot: &Snapshot,
    wanted: impl Fn(usize, u64) -> bool,
) -> Vec<Arc<VerifiedReport>> {
    let me = snapshot.membership().me();
    let behind = (0..snapshot.states().len()).filter_map(|index| {
        let lag = reports_behind(heads, snapshot, index).filter(|&lag| wanted(index, lag))?;
        Some((index != me, std::cmp::Reverse(lag), index))
    });
    let mut behind: Vec<_> = behind.collect();
    behind.sort_unstable();
    take_fitting(behind.into_iter().filter_map(|(_, _, index)| snapshot.states()[index].latest.clone()))
}

/// As many reports as one message carries. The first always goes, since none is larger than a message.
pub fn take_fitting(reports: impl Iterator<Item = Arc<VerifiedReport>>) -> Vec<Arc<VerifiedReport>> {
    let mut bytes = 0;
    reports
        .take_while(|report| {
            bytes += report.envelope().len() + 1;
            bytes <= FILL_BYTES
        })
        .collect()
}

/// The proofs that the holder of `heads` lacks: at least one if there is any, no more than [`MAX_PROOFS`]
/// or [`FILL_BYTES`], so that with as many bytes of reports the message stays one that is read.
pub fn missing_proofs(heads: &Heads, snapshot: &Snapshot) -> Vec<Arc<EquivocationProof>> {
    let states = snapshot.states().iter().enumerate();
    let lacking = states
        .filter(|(index, _)| heads.get(snapshot.membership(), *index).is_none_or(|head| !head.equivocated))
        .filter_map(|(_, state)| state.equivocation.clone());
    let mut bytes = 0;
    lacking
        .enumerate()
        .take(MAX_PROOFS)
        .take_while(|(at, proof)| {
            bytes += proof.reports().iter().map(|report| report.envelope().len()).sum::<usize>();
            *at == 0 || bytes <= FILL_BYTES
        })
        .map(|(_, proof)| proof)
        .collect()
}

/// Writes a request's body: `heads` of `snapshot` as they are at `mono_ms`, all or `since`, and what is to be
/// carried.
pub fn write_request(
    to: &str,
    snapshot: &Snapshot,
    mono_ms: u64,
    since: Option<DeltaBase>,
    reports: &[Arc<VerifiedReport>],
    proofs: &[Arc<EquivocationProof>],
) -> String {
    let mut body = String::with_capacity(capacity(snapshot, reports));
    let _ = write!(body, "{{\"to\":\"{to}\",");
    if let Some(DeltaBase { mark, .. }) = since {
        let _ = write!(body, "\"since\":{mark},");
    }
    heads::write(&mut body, snapshot, mono_ms, since.map(|since| since.snapshot_ms), &[]);
    write_reports(&mut body, reports, proofs);
    body.push('}');
    body
}

/// What stands at the front of a reply.
#[derive(Debug, Clone, Copy)]
pub struct ReplyMeta<'a> {
    /// The answerer.
    pub from: &'a str,
    /// Its wall clock: Unix time in ms.
    pub now_ms: u64,
    /// How long the request has been here, in µs.
    pub took_us: u64,
    /// Monotonic time in ms, for the ages of the heads.
    pub mono_ms: u64,
    /// Name only heads that have changed since: an earlier [`correspondence::mark`].
    pub since: Option<u64>,
}

/// Writes a reply's body. `arrived` are the reports that came in the request: the heads name them
/// already, although `snapshot` does not hold them yet, so that they are not sent again.
pub fn write_reply(
    facts: ReplyMeta<'_>,
    snapshot: &Snapshot,
    arrived: &[VerifiedReport],
    reports: &[Arc<VerifiedReport>],
    proofs: &[Arc<EquivocationProof>],
) -> String {
    let mut body = String::with_capacity(capacity(snapshot, reports));
    let took_us = facts.took_us.min(u64::from(u32::MAX));
    let _ = write!(body, "{{\"from\":\"{}\",\"now\":{},\"took_us\":{took_us},", facts.from, facts.now_ms);
    if let Some(mark) = delta_sync::mark(snapshot) {
        let _ = write!(body, "\"mark\":{mark},");
    }
    if facts.since.is_some() {
        body.push_str("\"partial\":true,");
    }
    heads::write(&mut body, snapshot, facts.mono_ms, facts.since, arrived);
    write_reports(&mut body, reports, proofs);
    body.push('}');
    body
}

fn capacity(snapshot: &Snapshot, reports: &[Arc<VerifiedReport>]) -> usize {
    256 + 96 * snapshot.states().len()
        + reports.iter().map(|report| report.envelope().len() + 1).sum::<usize>()
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

#[cfg(test)]
mod tests;
