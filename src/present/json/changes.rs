//! The body of `GET /changes/{network_id}`: changes of verdicts, newest first.

use serde::Serialize;

use crate::mesh::Snapshot;
use crate::mesh::id::NodeId;
use crate::mesh::verdict::NodeStatus;
use crate::mesh::verdict::history::VerdictRecord;
use crate::present::verdict_view::VerdictView;

/// The changes of a network's verdicts.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the fields are named as in the JSON object")]
pub struct Changes<'a> {
    network_id: &'a str,
    viewer: &'a NodeId,
    /// Unix time in ms.
    at: u64,
    changes: Vec<ChangeBody<'a>>,
    /// Whether older changes are left out.
    more: bool,
}

/// A verdict that differs from the previous one in status or cause.
#[derive(Serialize)]
struct ChangeBody<'a> {
    /// Unix time in ms.
    at: u64,
    node_id: &'a NodeId,
    /// Null for the first verdict.
    from: Option<NodeStatus>,
    status: NodeStatus,
    /// Unix time in ms. For a silent node, its last sign of life.
    since: u64,
    cause: Option<String>,
    /// The number of observers that find the node offline, of the `electorate` that could vote.
    offline: usize,
    electorate: usize,
}

impl<'a> Changes<'a> {
    /// Returns the newest `limit` changes of `node`, or of all nodes.
    pub fn new(snapshot: &'a Snapshot, node: Option<&str>, limit: usize) -> Self {
        let mut records = snapshot.history().of_node(node);
        let changes = records.by_ref().take(limit).map(|record| ChangeBody::new(record)).collect();
        Self {
            network_id: snapshot.membership().network_id().as_str(),
            viewer: &snapshot.membership().own().id,
            at: snapshot.at().wall_ms,
            changes,
            more: records.next().is_some(),
        }
    }
}

impl<'a> ChangeBody<'a> {
    fn new(record: &'a VerdictRecord) -> Self {
        let view = VerdictView::from(record);
        Self {
            at: record.at_ms,
            node_id: view.id(view.index),
            from: record.from,
            status: record.verdict.status,
            since: record.tracked.since_ms,
            cause: view.cause(),
            offline: record.verdict.vote_count.offline,
            electorate: record.verdict.vote_count.electorate,
        }
    }
}
