//! The sizes of reports: how large a report of an author may be, and how large a report of a configuration can become.

use super::Base64Bytes;
use super::leave::{LeaveKind, LeaveNotice};
use super::observation::{Failure, Observation, ProbeStatus, ProbeTries};
use super::prior_run::PriorRun;
use super::report::{MAX_CHECKS, MAX_INCIDENTS, MAX_MARKS, MAX_PAYLOAD, Report};
use super::reserved::{LogHead, MAX_RECEIVERS, ReceiverHashes};
use crate::mesh::id::{MAX_INTEGER, NetworkId, NodeId, ReportId};

/// The part of a report's maximum size that does not depend on its author's observations, in bytes: the fixed members,
/// the reserved ones at their maximum, room for members of later releases, and for the observations of an author that
/// still has another configuration: while rings are introduced in a network of 400 nodes, some authors observe all.
const BASE_BYTES: usize = 64 * 1024;

/// The maximum size of an observation with its node id, in bytes, with room for members of later releases.
const OBSERVATION_BYTES: usize = 512;

/// The maximum size of the payload of an author that observes `observed` nodes, in bytes: an author with few observations
/// must not fill messages.
pub fn max_payload_bytes(observed: usize) -> usize {
    observed.saturating_mul(OBSERVATION_BYTES).saturating_add(BASE_BYTES).min(MAX_PAYLOAD)
}

/// The size of the largest report of a node that observes `observed` others, in bytes of payload: every member at its
/// maximum, reserved ones included. `longest` is the longest node id in the network.
pub fn largest_payload_bytes(network_id: &NetworkId, longest: &NodeId, observed: usize) -> usize {
    base_bytes(network_id, longest) + observed * observation_bytes(longest)
}

/// The size of the envelope of a payload of `payload` bytes in a message, in bytes.
pub fn envelope_bytes(payload: usize) -> usize {
    // The base64 of the payload, and the other members with a key id of the maximum length.
    payload.div_ceil(3) * 4 + 320
}

/// The size of a report without observations, every member at its maximum, in bytes.
fn base_bytes(network_id: &NetworkId, node_id: &NodeId) -> usize {
    let id = ReportId { epoch: MAX_INTEGER, seq: MAX_INTEGER };
    let report = Report {
        prev: Some([0; 32]),
        at_ms: MAX_INTEGER,
        interval_ms: MAX_INTEGER,
        config: Base64Bytes([0; 32]).to_string(),
        leaving: Some(LeaveNotice { kind: LeaveKind::Shutdown, expect_ms: Some(MAX_INTEGER) }),
        began_ms: Some(MAX_INTEGER),
        up_ms: Some(MAX_INTEGER),
        boot: Some(Base64Bytes([0; 8])),
        prior: Some(PriorRun { report: id, clean: false }),
        held: Some(Base64Bytes([0; 32])),
        overloaded: Some(false),
        lateness_ms: Some(MAX_INTEGER),
        state_writable: Some(false),
        policy: Some(Base64Bytes([0; 32])),
        can_send: Some(ReceiverHashes(vec![Base64Bytes([0; 6]); MAX_RECEIVERS])),
        config_version: Some(MAX_INTEGER),
        log: Some(LogHead { size: MAX_INTEGER, root: Base64Bytes([0; 32]) }),
        ..Report::new(network_id.clone(), node_id.clone(), id)
    };
    let names = ",\"incidents\":,\"marks\":,\"checks\":".len();
    report.to_payload().len() + names + MAX_INCIDENTS + MAX_MARKS + MAX_CHECKS
}

/// The size of an observation of `node_id`, every member at its maximum, in bytes with its separators.
fn observation_bytes(node_id: &NodeId) -> usize {
    let id = Some(ReportId { epoch: MAX_INTEGER, seq: MAX_INTEGER });
    let longest_word = Failure::ALL.iter().copied().max_by_key(|failure| failure.as_str().len());
    let observation = Observation {
        error: longest_word,
        head: id,
        first: id,
        newest: id,
        tries: Some(ProbeTries { attempts: u32::MAX, failures: u32::MAX, late: u32::MAX }),
        ..Observation::new(ProbeStatus::Offline, MAX_INTEGER)
    };
    let json = serde_json::to_vec(&observation).expect("plain members");
    node_id.as_str().len() + "\"\":,".len() + json.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample;

    #[test]
    fn maximum_grows_with_the_observations_up_to_that_of_a_payload() {
        for (observed, expected) in
            [(0, 65_536), (2, 66_560), (63, 97_792), (128, MAX_PAYLOAD), (10_000, MAX_PAYLOAD)]
        {
            assert_eq!(max_payload_bytes(observed), expected, "{observed}");
        }
        assert!(max_payload_bytes(127) < MAX_PAYLOAD);
    }

    #[test]
    fn largest_report_of_a_network_is_below_what_its_peers_accept() {
        let longest = "a".repeat(64);
        let (network_id, id) = (longest.parse().expect("a name"), longest.parse().expect("a name"));
        for observed in [0, 2, 63, 190] {
            let largest = largest_payload_bytes(&network_id, &id, observed);
            assert!(largest <= max_payload_bytes(observed), "{observed} observed: {largest} bytes");
        }
    }

    #[test]
    fn online_observations_are_smaller_than_the_largest() {
        let observation = Observation {
            rtt_us: Some(u32::MAX),
            took_us: Some(u32::MAX),
            clock_offset_ms: Some(-(1 << 53) + 1),
            tries: Some(ProbeTries { attempts: u32::MAX, failures: u32::MAX, late: u32::MAX }),
            ..Observation::new(ProbeStatus::Online, MAX_INTEGER)
        };
        let json = serde_json::to_vec(&observation).expect("plain members");
        assert!(json.len() + 4 < observation_bytes(&sample::node_id(1)) - sample::node_id(1).as_str().len());
    }
}
