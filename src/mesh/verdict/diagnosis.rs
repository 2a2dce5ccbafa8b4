//! Finds the causes of verdicts in the matrix of observers and targets. If several explain it equally well, it names
//! all of them.

use super::cause::{Cause, Link};
use super::context::{EvalContext, Liveness};
use super::node_status::NodeStatus;
use super::node_verdict::{Rule, Verdict};
use super::partition::Partition;
use super::vote::Vote;
use crate::mesh::wire::observation::{Failure, ProbeStatus};

/// The observation of `to` in the latest report of `from`, if `from` is alive.
fn reported_status(
    context: &EvalContext<'_>,
    from: usize,
    to: usize,
) -> Option<(ProbeStatus, Option<Failure>)> {
    // An isolated node does not vote, but its observations do show which of its links are broken.
    if context.node(from).liveness != Liveness::Alive {
        return None;
    }
    let observation = context.state(from).observation(to)?;
    Some((observation.status, observation.error))
}

/// The causes of the status of `nodes[index]`.
pub(super) fn causes_of(
    context: &EvalContext<'_>,
    nodes: &[Verdict],
    partitions: &[Partition],
    index: usize,
) -> Vec<Cause> {
    match nodes[index].status {
        NodeStatus::Down => silent_causes(&nodes[index], partitions, index),
        NodeStatus::Unknown => unknown_causes(context, &nodes[index], partitions, index),
        NodeStatus::Degraded if matches!(nodes[index].rule, Rule::Recovering | Rule::EpochExhausted) => {
            vec![Cause::NotPublishing]
        }
        NodeStatus::Degraded if nodes[index].rule == Rule::Busy => vec![Cause::Overload],
        NodeStatus::Degraded => degraded_causes(context, nodes, index),
        NodeStatus::Up if is_unreachable(context, &nodes[index]) => vec![Cause::Ingress],
        NodeStatus::Up | NodeStatus::Stopped | NodeStatus::NeverSeen | NodeStatus::Conflict => Vec::new(),
    }
}

fn silent_causes(verdict: &Verdict, partitions: &[Partition], index: usize) -> Vec<Cause> {
    if verdict.refuses_connections() {
        return vec![Cause::Node];
    }
    // Several nodes that fell silent together are more likely cut off than dead.
    let is_in_group =
        partitions.iter().any(|partition| partition.nodes.len() > 1 && partition.nodes.contains(&index));
    if is_in_group { vec![Cause::Partition, Cause::Node] } else { vec![Cause::Node, Cause::Partition] }
}

fn unknown_causes(
    context: &EvalContext<'_>,
    verdict: &Verdict,
    partitions: &[Partition],
    index: usize,
) -> Vec<Cause> {
    let vote_count = &verdict.vote_count;
    if vote_count.is_incompatible() {
        return vec![Cause::IncompatibleRelease];
    }
    if vote_count.online * 2 > vote_count.electorate && vote_count.online > 0 {
        return vec![Cause::NotPublishing];
    }
    if vote_count.offline == 0
        && !verdict.vote_count.votes.iter().any(|vote| vote.status == ProbeStatus::Offline)
    {
        return Vec::new();
    }
    let mut causes = silent_causes(verdict, partitions, index);
    if context.node(context.me()).isolated && causes.contains(&Cause::Partition) {
        // This node lost its connection to the others.
        causes = vec![Cause::Partition];
    }
    if vote_count.electorate < 2 && causes.contains(&Cause::Partition) {
        causes.push(Cause::Link);
    }
    causes
}

/// Whether at least two votes say offline and no live node reaches it. The latest reports of all live nodes count, even
/// those too old for a vote, since reports take long to arrive in a large network.
fn is_unreachable(context: &EvalContext<'_>, verdict: &Verdict) -> bool {
    let reaches = |vote: &Vote| {
        vote.status == ProbeStatus::Online && context.node(vote.voter).liveness == Liveness::Alive
    };
    verdict.vote_count.offline >= 2 && !verdict.vote_count.votes.iter().any(reaches)
}

/// Whether unrefuted votes for offline are a quorum: so it is at first for a node that just died.
fn may_be_dead(verdict: &Verdict) -> bool {
    verdict.vote_count.is_quorum(verdict.vote_count.unrefuted)
}

fn degraded_causes(context: &EvalContext<'_>, nodes: &[Verdict], index: usize) -> Vec<Cause> {
    let mut causes = Vec::new();
    if is_unreachable(context, &nodes[index]) {
        causes.push(Cause::Ingress);
    }
    if reaches_nobody(context, nodes, index) {
        causes.push(Cause::Egress);
    }
    if causes.is_empty() {
        causes.push(Cause::Link);
    }
    if index != context.me() && may_be_dead(&nodes[index]) {
        causes.insert(0, Cause::Node);
    }
    causes
}

/// Whether a node observes at least two live nodes offline that others reach, and none of these online.
fn reaches_nobody(context: &EvalContext<'_>, nodes: &[Verdict], index: usize) -> bool {
    let mut failed = 0;
    for (peer, verdict) in nodes.iter().enumerate() {
        if peer == index || !verdict.status.is_alive() || is_unreachable(context, verdict) {
            continue;
        }
        match reported_status(context, index, peer) {
            Some((ProbeStatus::Offline, _)) => failed += 1,
            Some((ProbeStatus::Online, _)) => return false,
            _ => {}
        }
    }
    failed >= 2
}

/// The broken links between live nodes, except those that a cause of the node at one end explains.
pub(super) fn broken_links(context: &EvalContext<'_>, nodes: &[Verdict], causes: &[Vec<Cause>]) -> Vec<Link> {
    let broken = |from: usize, to: usize| {
        nodes[from].status.is_alive()
            && nodes[to].status.is_alive()
            && !causes[from].contains(&Cause::Egress)
            && !causes[to].contains(&Cause::Ingress)
            && !causes[to].contains(&Cause::Node)
            && matches!(reported_status(context, from, to), Some((ProbeStatus::Offline, _)))
    };
    let mut links = Vec::new();
    let alive = nodes.iter().enumerate().filter(|(_, node)| node.status.is_alive());
    for (from, _) in alive {
        // With observer rings, reports contain far fewer observations than there are pairs of nodes.
        for (to, observation) in context.state(from).observations() {
            if observation.status != ProbeStatus::Offline || !broken(from, to) {
                continue;
            }
            let both = broken(to, from);
            if !both || from < to {
                links.push(Link { from, to, both });
            }
        }
    }
    links
}
