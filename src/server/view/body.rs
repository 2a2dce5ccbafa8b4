//! The JSON of one network's snapshot: a superset of what the Python Distomon v0.1 gave, whose consumers read
//! `data.<observer>.node_version` and `data.<observer>.ping_data.<target>`.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::mesh::id::{NetworkId, NodeId, ReportId};
use crate::mesh::member_state::MemberState;
use crate::mesh::membership::Member;
use crate::mesh::snapshot::Counters;
use crate::mesh::wire::observation::{Failure, Observation, ProbeStatus};
use crate::mesh::wire::report::Report;
use crate::mesh::{Snapshot, Timestamps};
use crate::present::summary::summary;
use crate::store::drop_counters::DropCounts;

use super::verdicts::{write_links, write_sides, write_sites, write_verdicts};
use super::{finding, status};

/// The whole reply.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    network_id: &'a NetworkId,
    node_id: &'a NodeId,
    /// Unix time in ms.
    generated_at: u64,
    version: &'static str,
    revision: u64,
    isolated: bool,
    twin: bool,
    config: &'a str,
    /// The answer in one sentence.
    headline: String,
    #[serde(serialize_with = "write_data")]
    data: &'a Snapshot,
    #[serde(serialize_with = "write_verdicts")]
    verdicts: &'a Snapshot,
    #[serde(serialize_with = "write_links")]
    links: &'a Snapshot,
    #[serde(serialize_with = "write_sides")]
    partitions: &'a Snapshot,
    #[serde(serialize_with = "write_sites")]
    partition_sites: &'a Snapshot,
    #[serde(serialize_with = "write_nodes")]
    nodes: &'a Snapshot,
    counters: AllCounters,
}

impl<'a> Body<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, dropped: DropCounts) -> Self {
        let membership = snapshot.membership();
        Self {
            network_id: membership.network_id(),
            node_id: &membership.own().id,
            generated_at: snapshot.at().wall_ms,
            version: crate::VERSION,
            revision: snapshot.revision(),
            isolated: snapshot.isolated(),
            twin: snapshot.duplicate_key(),
            config: membership.digest(),
            headline: summary(snapshot),
            data: snapshot,
            verdicts: snapshot,
            links: snapshot,
            partitions: snapshot,
            partition_sites: snapshot,
            nodes: snapshot,
            counters: AllCounters::new(snapshot.counters(), dropped),
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }
}

/// What one observer reported, and what is known of that report.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a member of the JSON")]
struct Observer<'a> {
    node_version: &'a str,
    #[serde(serialize_with = "write_pings")]
    ping_data: &'a Report,
    epoch: u64,
    seq: u64,
    at: u64,
    age_ms: u64,
    fresh: bool,
    isolated: bool,
    leaving: bool,
    interval_ms: u64,
    config: &'a str,
    conflict: bool,
}

impl<'a> Observer<'a> {
    fn new(report: &'a Report, slot: &MemberState, at: Timestamps, fresh: bool) -> Self {
        Self {
            node_version: &report.version,
            ping_data: report,
            epoch: report.epoch,
            seq: report.seq,
            at: report.at_ms,
            age_ms: at.mono_ms.saturating_sub(slot.created_ms),
            fresh,
            isolated: report.isolated,
            leaving: report.leaving,
            interval_ms: report.interval_ms,
            config: &report.config,
            conflict: slot.equivocation.is_some(),
        }
    }
}

/// What an observer found of one target.
#[derive(Serialize)]
struct Ping {
    status: ProbeStatus,
    /// The network alone, in ms.
    response_time: Option<f64>,
    /// The whole exchange, in ms.
    response_time_rtt: Option<f64>,
    since: u64,
    error: Option<Failure>,
    clock_offset_ms: Option<i64>,
    head: Option<ReportId>,
}

impl From<&Observation> for Ping {
    fn from(found: &Observation) -> Self {
        let ms = |us: u32| f64::from(us) / 1000.0;
        let whole_us = found.rtt_us.map(|rtt_us| rtt_us.saturating_add(found.took_us.unwrap_or(0)));
        Self {
            status: found.status,
            response_time: found.rtt_us.map(ms),
            response_time_rtt: whole_us.map(ms),
            since: found.since_ms,
            error: found.error,
            clock_offset_ms: found.clock_offset_ms,
            head: found.head,
        }
    }
}

/// A member as configured, and as this node finds it.
#[derive(Serialize)]
struct NodeEntry<'a> {
    url: Option<&'a str>,
    #[serde(serialize_with = "write_seconds")]
    poll_rate: u64,
    retry: u32,
    #[serde(serialize_with = "write_seconds")]
    timeout: u64,
    keys: usize,
    /// Its newest report names another configuration than this node's.
    config_differs: bool,
    status: ProbeStatus,
    since: Option<u64>,
    error: Option<Failure>,
}

impl<'a> NodeEntry<'a> {
    fn new(member: &'a Member, snapshot: &Snapshot, index: usize) -> Self {
        let found = finding(snapshot, index).filter(|_| index != snapshot.membership().me());
        Self {
            url: member.url.as_deref(),
            poll_rate: member.poll_rate_ms,
            retry: member.retry,
            timeout: member.timeout_ms,
            keys: member.keys.len(),
            config_differs: snapshot.config_differs(index),
            status: status(snapshot, index),
            since: found.map(|found| found.since_ms),
            error: found.and_then(|found| found.error),
        }
    }
}

/// What came, went and was dropped since the start of the process.
#[derive(Serialize)]
struct AllCounters {
    reports_stored: u64,
    reports_stale: u64,
    reports_refused: u64,
    reports_surplus: u64,
    reports_overrun: u64,
    exchanges_ok: u64,
    exchanges_failed: u64,
    requests: u64,
    requests_refused: u64,
}

impl AllCounters {
    fn new(kept: Counters, dropped: DropCounts) -> Self {
        Self {
            reports_stored: kept.reports_stored,
            // Some are found stale before their signature is checked, some when they are to be stored.
            reports_stale: kept.reports_stale + dropped.reports_stale,
            reports_refused: dropped.reports_refused,
            reports_surplus: dropped.reports_surplus,
            reports_overrun: dropped.reports_overrun,
            exchanges_ok: kept.exchanges_ok,
            exchanges_failed: kept.exchanges_failed,
            requests: kept.requests,
            requests_refused: dropped.requests_refused,
        }
    }
}

/// Members without a report have no entry.
fn write_data<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    let at = snapshot.at();
    let mut map = serializer.serialize_map(None)?;
    for (index, (member, slot)) in snapshot.members().enumerate() {
        let Some(latest) = &slot.latest else { continue };
        let fresh = snapshot.is_fresh(index, at.mono_ms);
        map.serialize_entry(&member.id, &Observer::new(latest.report(), slot, at, fresh))?;
    }
    map.end()
}

fn write_pings<S: Serializer>(report: &Report, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(report.observations.iter().map(|(id, found)| (id, Ping::from(found))))
}

fn write_nodes<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    let members = snapshot.membership().members().iter().enumerate();
    serializer
        .collect_map(members.map(|(index, member)| (&member.id, NodeEntry::new(member, snapshot, index))))
}

/// Milliseconds as seconds, as config.yml has them: whole where they are.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference to the member")]
#[expect(clippy::cast_precision_loss, reason = "times in ms are far below 2^52")]
fn write_seconds<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if ms % 1000 == 0 {
        serializer.serialize_u64(ms / 1000)
    } else {
        serializer.serialize_f64(*ms as f64 / 1000.0)
    }
}
