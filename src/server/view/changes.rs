//! What has changed, newest first.

use serde::Serialize;

use super::verdicts::Found;
use crate::mesh::Snapshot;
use crate::mesh::id::NodeId;
use crate::mesh::verdict::NodeStatus;

/// So many changes are told unless another number is asked for.
pub(super) const SOME: usize = 100;

/// So many are told at most.
pub(super) const MOST: usize = 1_000;

/// The changes of a network's verdicts.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the fields are named as in the JSON object")]
pub(super) struct Changes<'a> {
    network_id: &'a str,
    viewer: &'a NodeId,
    /// Unix time in ms.
    at: u64,
    changes: Vec<Change<'a>>,
    /// Whether older ones were left out.
    more: bool,
}

/// A verdict that is another than before, or has another cause.
#[derive(Serialize)]
struct Change<'a> {
    /// Unix time in ms.
    at: u64,
    node_id: &'a NodeId,
    /// Null for the first.
    from: Option<NodeStatus>,
    status: NodeStatus,
    /// Unix time in ms. For a node that is silent, its last sign of life.
    since: u64,
    cause: Option<String>,
    /// How many find it offline, of so many that could say so.
    offline: usize,
    electorate: usize,
}

impl<'a> Changes<'a> {
    /// The newest `limit` of `node`, or of all.
    pub(super) fn of(snapshot: &'a Snapshot, node: Option<&str>, limit: usize) -> Self {
        let mut decisions = snapshot.history().of_node(node);
        let changes = decisions.by_ref().take(limit).map(|decision| {
            let found = Found::then(decision);
            Change {
                at: decision.at_ms,
                node_id: found.id(found.index),
                from: decision.from,
                status: decision.verdict.status,
                since: decision.tracked.since_ms,
                cause: found.cause(),
                offline: decision.verdict.vote_count.offline,
                electorate: decision.verdict.vote_count.electorate,
            }
        });
        Self {
            network_id: snapshot.membership().network_id().as_str(),
            viewer: &snapshot.membership().own().id,
            at: snapshot.at().wall_ms,
            changes: changes.collect(),
            more: decisions.next().is_some(),
        }
    }
}
