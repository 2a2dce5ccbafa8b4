//! The body of `GET /view/{network_id}`: a network's snapshot. It is a superset of the reply of the Python Distomon
//! v0.1, whose clients read `data.<observer>.node_version` and `data.<observer>.ping_data.<target>`.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::mesh::id::{NetworkId, NodeId, ReportId};
use crate::mesh::member_state::MemberState;
use crate::mesh::membership::Member;
use crate::mesh::wire::observation::{Failure, Observation, ProbeStatus};
use crate::mesh::wire::report::Report;
use crate::mesh::{Snapshot, Timestamps};
use crate::present::own_observation::{own_observation, own_status};
use crate::present::summary::summary;

use super::verdict::{write_links, write_partition_sites, write_partitions, write_verdicts};

/// A snapshot of a network.
#[derive(Serialize)]
pub struct NetworkBody<'a> {
    network_id: &'a NetworkId,
    node_id: &'a NodeId,
    /// Unix time in ms.
    generated_at: u64,
    version: &'static str,
    revision: u64,
    isolated: bool,
    overloaded: bool,
    twin: bool,
    config: &'a str,
    /// The summary of the network in one sentence.
    headline: String,
    #[serde(serialize_with = "write_reports")]
    data: &'a Snapshot,
    #[serde(serialize_with = "write_verdicts")]
    verdicts: &'a Snapshot,
    #[serde(serialize_with = "write_links")]
    links: &'a Snapshot,
    #[serde(serialize_with = "write_partitions")]
    partitions: &'a Snapshot,
    #[serde(serialize_with = "write_partition_sites")]
    partition_sites: &'a Snapshot,
    #[serde(serialize_with = "write_members")]
    nodes: &'a Snapshot,
    counters: NetworkCounters,
}

impl<'a> NetworkBody<'a> {
    /// Returns the body for `snapshot`.
    pub fn new(snapshot: &'a Snapshot, counters: NetworkCounters) -> Self {
        let membership = snapshot.membership();
        Self {
            network_id: membership.network_id(),
            node_id: &membership.own().id,
            generated_at: snapshot.at().wall_ms,
            version: crate::VERSION,
            revision: snapshot.revision(),
            isolated: snapshot.isolated(),
            overloaded: snapshot.overloaded(),
            twin: snapshot.duplicate_key(),
            config: membership.digest(),
            headline: summary(snapshot),
            data: snapshot,
            verdicts: snapshot,
            links: snapshot,
            partitions: snapshot,
            partition_sites: snapshot,
            nodes: snapshot,
            counters,
        }
    }

    /// Serialises the body.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always serialise")
    }
}

/// The newest report of an observer.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "the fields are those of the JSON object")]
struct ObserverBody<'a> {
    node_version: &'a str,
    #[serde(serialize_with = "write_observations")]
    ping_data: &'a Report,
    epoch: u64,
    seq: u64,
    /// Unix time in ms, by the observer's clock.
    at: u64,
    age_ms: u64,
    fresh: bool,
    isolated: bool,
    overloaded: bool,
    /// The greatest lateness of its threads in ms, if it is overloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    lateness_ms: Option<u64>,
    leaving: bool,
    interval_ms: u64,
    config: &'a str,
    conflict: bool,
}

impl<'a> ObserverBody<'a> {
    fn new(report: &'a Report, state: &MemberState, at: Timestamps, fresh: bool) -> Self {
        Self {
            node_version: &report.version,
            ping_data: report,
            epoch: report.epoch,
            seq: report.seq,
            at: report.at_ms,
            age_ms: at.mono_ms.saturating_sub(state.created_ms),
            fresh,
            isolated: report.isolated,
            overloaded: report.overloaded == Some(true),
            lateness_ms: report.lateness_ms,
            leaving: report.leaving.is_some(),
            interval_ms: report.interval_ms,
            config: &report.config,
            conflict: state.equivocation.is_some(),
        }
    }
}

/// An observation of one target.
#[derive(Serialize)]
struct ObservationBody {
    status: ProbeStatus,
    /// Without the time that the target needed, in ms.
    response_time: Option<f64>,
    /// The whole exchange, in ms.
    response_time_rtt: Option<f64>,
    /// Unix time in ms, by the observer's clock.
    since: u64,
    error: Option<Failure>,
    clock_offset_ms: Option<i64>,
    head: Option<ReportId>,
}

impl From<&Observation> for ObservationBody {
    fn from(observation: &Observation) -> Self {
        let ms = |us: u32| f64::from(us) / 1000.0;
        let whole_us =
            observation.rtt_us.map(|rtt_us| rtt_us.saturating_add(observation.took_us.unwrap_or(0)));
        Self {
            status: observation.status,
            response_time: observation.rtt_us.map(ms),
            response_time_rtt: whole_us.map(ms),
            since: observation.since_ms,
            error: observation.error,
            clock_offset_ms: observation.clock_offset_ms,
            head: observation.head,
        }
    }
}

/// A member as configured, and as this node observes it.
#[derive(Serialize)]
struct MemberBody<'a> {
    url: Option<&'a str>,
    #[serde(serialize_with = "write_seconds")]
    poll_rate: u64,
    retry: u32,
    #[serde(serialize_with = "write_seconds")]
    timeout: u64,
    keys: usize,
    /// Whether the configuration digest in its newest report differs from this node's.
    config_differs: bool,
    status: ProbeStatus,
    /// Unix time in ms.
    since: Option<u64>,
    error: Option<Failure>,
}

impl<'a> MemberBody<'a> {
    fn new(member: &'a Member, snapshot: &Snapshot, index: usize) -> Self {
        let observation = own_observation(snapshot, index).filter(|_| index != snapshot.membership().me());
        Self {
            url: member.url.as_deref(),
            poll_rate: member.poll_rate_ms,
            retry: member.retry,
            timeout: member.timeout_ms,
            keys: member.keys.len(),
            config_differs: snapshot.config_differs(index),
            status: own_status(snapshot, index),
            since: observation.map(|observation| observation.since_ms),
            error: observation.and_then(|observation| observation.error),
        }
    }
}

/// Counts of reports and requests since the start of the process.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct NetworkCounters {
    /// Reports that were stored.
    pub reports_stored: u64,
    /// Reports that were no newer than the stored one.
    pub reports_stale: u64,
    /// Reports that failed verification.
    pub reports_refused: u64,
    /// Reports beyond the rate that an author may publish at.
    pub reports_surplus: u64,
    /// Reports that were dropped because the event queue was full.
    pub reports_overrun: u64,
    /// Exchanges of this node that succeeded.
    pub exchanges_ok: u64,
    /// Exchanges of this node that failed.
    pub exchanges_failed: u64,
    /// Requests of peers that were answered.
    pub requests: u64,
    /// Requests of peers that were rejected.
    pub requests_refused: u64,
}

/// Writes the newest report of each member that has one.
fn write_reports<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    let at = snapshot.at();
    let mut map = serializer.serialize_map(None)?;
    for (index, (member, state)) in snapshot.members().enumerate() {
        let Some(latest) = &state.latest else { continue };
        let fresh = snapshot.is_fresh(index, at.mono_ms);
        map.serialize_entry(&member.id, &ObserverBody::new(latest.report(), state, at, fresh))?;
    }
    map.end()
}

fn write_observations<S: Serializer>(report: &Report, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(report.observations.iter().map(|(id, found)| (id, ObservationBody::from(found))))
}

fn write_members<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    let members = snapshot.membership().members().iter().enumerate();
    serializer
        .collect_map(members.map(|(index, member)| (&member.id, MemberBody::new(member, snapshot, index))))
}

/// Writes milliseconds as seconds, as an integer where possible, as in config.yml.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
#[expect(clippy::cast_precision_loss, reason = "times in ms are far below 2^52")]
fn write_seconds<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    if ms % 1000 == 0 {
        serializer.serialize_u64(ms / 1000)
    } else {
        serializer.serialize_f64(*ms as f64 / 1000.0)
    }
}
