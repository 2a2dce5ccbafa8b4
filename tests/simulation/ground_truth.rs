//! The true state of a network: which nodes run, and which reports can reach which node.

use crate::link_model::LinkModel;
use crate::node_set::NodeSet;

/// The condition of the nodes and of the network as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Conditions {
    /// Nodes whose process runs and does not hang.
    pub(crate) running: NodeSet,
    /// Nodes that were stopped on purpose and have not restarted.
    pub(crate) stopped: NodeSet,
    /// Nodes that relay no reports of others.
    pub(crate) withholding: NodeSet,
    /// Messages are lost at random.
    pub(crate) lossy: bool,
}

/// The true state of a network, constant between two changes of its faults.
#[derive(Debug, Clone)]
pub(crate) struct GroundTruth {
    pub(crate) count: usize,
    pub(crate) conditions: Conditions,
    /// For each node, the nodes that it could call if they ran.
    callable: Vec<NodeSet>,
    /// For each node, the nodes whose reports some path of relaying nodes brings, itself included.
    connected: Vec<NodeSet>,
    /// For each node, the number of exchanges on the longest of these paths.
    hops: Vec<u64>,
    /// For each node, the nodes whose reports may arrive: if withholding nodes relay them after all, or in
    /// requests whose replies are lost.
    maybe_connected: Vec<NodeSet>,
}

impl GroundTruth {
    pub(crate) fn new(links: &LinkModel, count: usize, conditions: Conditions) -> Self {
        let Conditions { running, withholding, .. } = conditions;
        let callable: Vec<NodeSet> = (0..count)
            .map(|from| (0..count).filter(|&to| to != from && links.call_succeeds(from, to)).collect())
            .collect();
        // An exchange carries reports both ways, whichever side calls.
        let exchanges: Vec<NodeSet> = (0..count)
            .map(|one| {
                let callers: NodeSet = (0..count).filter(|&other| callable[other].contains(one)).collect();
                callable[one].union(callers).intersection(running)
            })
            .collect();
        let (connected, hops) = (0..count).map(|viewer| reach(&exchanges, viewer, withholding)).unzip();
        let may_send: Vec<NodeSet> = (0..count)
            .map(|one| {
                let senders = (0..count).filter(|&other| other != one && links.request_arrives(other, one));
                exchanges[one].union(senders.collect()).intersection(running)
            })
            .collect();
        let maybe_connected = (0..count).map(|viewer| reach(&may_send, viewer, NodeSet::EMPTY).0).collect();
        Self { count, conditions, callable, connected, hops, maybe_connected }
    }

    pub(crate) fn is_running(&self, node: usize) -> bool {
        self.conditions.running.contains(node)
    }

    pub(crate) fn can_call(&self, from: usize, to: usize) -> bool {
        self.callable[from].contains(to)
    }

    /// The nodes whose reports some path brings to `viewer`, itself included.
    pub(crate) fn connected(&self, viewer: usize) -> NodeSet {
        self.connected[viewer]
    }

    /// The largest number of exchanges that a report needs to reach `viewer`.
    pub(crate) fn hops(&self, viewer: usize) -> u64 {
        self.hops[viewer]
    }

    /// The nodes whose reports may reach `viewer`, itself included.
    pub(crate) fn maybe_connected(&self, viewer: usize) -> NodeSet {
        self.maybe_connected[viewer]
    }

    /// Whether at least two voters whose reports may reach `viewer` may find `target` offline.
    pub(crate) fn may_have_quorum(&self, viewer: usize, target: usize) -> bool {
        let voters = self.maybe_connected(viewer).difference(NodeSet::single(target));
        voters.iter().filter(|&voter| !self.is_isolated(voter)).count() >= 2
    }

    /// Whether an honest majority whose reports reach `viewer` is certain to find `dead` down.
    pub(crate) fn must_have_quorum(&self, viewer: usize, dead: usize, byzantine: NodeSet) -> bool {
        let others = self.connected[viewer].difference(NodeSet::single(dead));
        let voters = others.difference(byzantine).iter().filter(|&voter| !self.is_isolated(voter)).count();
        let electorate = self.maybe_connected[viewer].difference(NodeSet::single(dead)).len();
        voters >= 2 && voters * 2 > electorate && others.len() * 2 > self.count
    }

    fn is_isolated(&self, node: usize) -> bool {
        let others = self.not_stopped().difference(NodeSet::single(node));
        self.unreachable_from(node).len() * 2 > others.len()
    }

    /// The nodes, those stopped on purpose excepted, whose replies do not reach `node`.
    fn unreachable_from(&self, node: usize) -> NodeSet {
        let reached = self.callable[node].intersection(self.conditions.running);
        self.not_stopped().difference(reached).difference(NodeSet::single(node))
    }

    fn not_stopped(&self) -> NodeSet {
        NodeSet::all(self.count).difference(self.conditions.stopped)
    }
}

/// The nodes whose reports reach `viewer` over `exchanges`, and the length of the longest path.
fn reach(exchanges: &[NodeSet], viewer: usize, withholding: NodeSet) -> (NodeSet, u64) {
    let (mut known, mut edge, mut hops) = (NodeSet::single(viewer), NodeSet::single(viewer), 0);
    loop {
        let relays = edge.iter().filter(|&node| node == viewer || !withholding.contains(node));
        let next = relays.fold(NodeSet::EMPTY, |next, node| next.union(exchanges[node])).difference(known);
        if next.is_empty() {
            return (known, hops);
        }
        known = known.union(next);
        edge = next;
        hops += 1;
    }
}
