//! The body of `GET /view`: the networks of an instance.

use serde::Serialize;

use crate::mesh::Snapshot;
use crate::mesh::id::{NetworkId, NodeId};
use crate::mesh::wire::observation::ProbeStatus;
use crate::present::own_observation::own_status;

/// The networks that a user may read.
#[derive(Debug, Serialize)]
pub struct NetworkList {
    /// One entry for each network.
    pub networks: Vec<NetworkSummary>,
}

/// A network as counts of what this node observes.
#[derive(Debug, Serialize)]
pub struct NetworkSummary {
    network_id: NetworkId,
    /// This node.
    node_id: NodeId,
    /// The number of configured nodes. This node counts, here and as online.
    nodes: usize,
    online: usize,
    offline: usize,
    unknown: usize,
}

impl NetworkSummary {
    /// Counts the members of `snapshot` by status.
    pub fn new(snapshot: &Snapshot) -> Self {
        let membership = snapshot.membership();
        let nodes = membership.members().len();
        let count = |status| (0..nodes).filter(|&index| own_status(snapshot, index) == status).count();
        Self {
            network_id: membership.network_id().clone(),
            node_id: membership.own().id.clone(),
            nodes,
            online: count(ProbeStatus::Online),
            offline: count(ProbeStatus::Offline),
            unknown: count(ProbeStatus::Unknown),
        }
    }
}
