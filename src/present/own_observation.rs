//! The observations of the node that took a snapshot, as opposed to the verdicts of the network.

use crate::mesh::Snapshot;
use crate::mesh::wire::observation::{Observation, ProbeStatus};

/// Returns this node's newest observation of the member with this index, or `None` for this node itself.
pub fn own_observation(snapshot: &Snapshot, index: usize) -> Option<&Observation> {
    let member = snapshot.membership().members().get(index)?;
    snapshot.own_report()?.report().observation(member.id.as_str())
}

/// Returns the status of the member with this index as this node observes it. This node itself is online.
pub fn own_status(snapshot: &Snapshot, index: usize) -> ProbeStatus {
    if index == snapshot.membership().me() {
        return ProbeStatus::Online;
    }
    own_observation(snapshot, index).map_or(ProbeStatus::Unknown, |observation| observation.status)
}
