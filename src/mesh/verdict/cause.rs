//! What explains the matrix of observers and targets. Where several causes explain it equally well, all of
//! them are named: nothing is guessed.

use serde::{Serialize, Serializer};

use super::context::{EvalContext, Liveness};
use super::{NodeStatus, Partition, Verdict, Vote};
use crate::mesh::wire::observation::{Failure, ProbeStatus};

/// What explains a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The node itself, or its host.
    Node,
    /// Nobody reaches it, and it lives: a firewall, or address translation.
    Ingress,
    /// It lives, and reaches nobody.
    Egress,
    /// A link does not work: see [`Link`].
    Link,
    /// It answers, but its reports do not advance.
    NotPublishing,
    /// It is, or this node is, on another side of a network that has fallen apart.
    Partition,
}

impl Cause {
    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Link => "link",
            Self::NotPublishing => "not publishing",
            Self::Partition => "partition",
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A link that does not work although both of its ends live, by index into the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Who does not reach the other.
    pub from: usize,
    /// Who is not reached.
    pub to: usize,
    /// Whether the other way does not work either; then `from` is the smaller index.
    pub both: bool,
}

/// What the newest reports of `from` say of `to`, if it may vote.
fn reported_status(
    context: &EvalContext<'_>,
    from: usize,
    to: usize,
) -> Option<(ProbeStatus, Option<Failure>)> {
    // An isolated node is no good voter, but what it says of itself and its links is worth hearing.
    if context.node(from).liveness != Liveness::Alive {
        return None;
    }
    let found = context.state(from).observation(to)?;
    Some((found.status, found.error))
}

/// The causes of `nodes[index]`'s status.
pub(super) fn of(
    context: &EvalContext<'_>,
    nodes: &[Verdict],
    sides: &[Partition],
    index: usize,
) -> Vec<Cause> {
    match nodes[index].status {
        NodeStatus::Down => silent_causes(&nodes[index], sides, index),
        NodeStatus::Unknown => unknown_causes(context, &nodes[index], sides, index),
        NodeStatus::Degraded => degraded_causes(context, nodes, index),
        NodeStatus::Up if is_unreachable(context, &nodes[index]) => vec![Cause::Ingress],
        NodeStatus::Up | NodeStatus::Stopped | NodeStatus::NeverSeen | NodeStatus::Conflict => Vec::new(),
    }
}

/// A host that refuses connections is there, and its node is not.
pub(super) fn refuses_connections(verdict: &Verdict) -> bool {
    verdict.vote_count.votes.iter().any(|vote| {
        vote.status == ProbeStatus::Offline && !vote.refuted && vote.error == Some(Failure::Refused)
    })
}

fn silent_causes(verdict: &Verdict, sides: &[Partition], index: usize) -> Vec<Cause> {
    if refuses_connections(verdict) {
        return vec![Cause::Node];
    }
    // Several that fell silent at once are more likely a side than several that died at once.
    let in_company = sides.iter().any(|side| side.nodes.len() > 1 && side.nodes.contains(&index));
    if in_company { vec![Cause::Partition, Cause::Node] } else { vec![Cause::Node, Cause::Partition] }
}

fn unknown_causes(
    context: &EvalContext<'_>,
    verdict: &Verdict,
    sides: &[Partition],
    index: usize,
) -> Vec<Cause> {
    let vote_count = &verdict.vote_count;
    if vote_count.online * 2 > vote_count.electorate && vote_count.online > 0 {
        return vec![Cause::NotPublishing];
    }
    if vote_count.offline == 0
        && !verdict.vote_count.votes.iter().any(|vote| vote.status == ProbeStatus::Offline)
    {
        return Vec::new();
    }
    let mut causes = silent_causes(verdict, sides, index);
    if context.node(context.me()).isolated && causes.contains(&Cause::Partition) {
        // It is this node that lost the others.
        causes = vec![Cause::Partition];
    }
    if vote_count.electorate < 2 && causes.contains(&Cause::Partition) {
        causes.push(Cause::Link);
    }
    causes
}

/// Whether nobody who lives reaches it, as far as anybody's newest report shows: one that comes a long way may
/// be too old for a vote.
fn is_unreachable(context: &EvalContext<'_>, verdict: &Verdict) -> bool {
    let reaches = |vote: &Vote| {
        vote.status == ProbeStatus::Online && context.node(vote.voter).liveness == Liveness::Alive
    };
    verdict.vote_count.offline >= 2 && !verdict.vote_count.votes.iter().any(reaches)
}

/// Whether it has not reported since a quorum last reached it: so far, that is how a death begins.
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

/// Whether a node finds everyone offline who lives and whom somebody else reaches; two of them at least.
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

/// The links that do not work between nodes that live, less those that an end of theirs explains.
pub(super) fn links(context: &EvalContext<'_>, nodes: &[Verdict], causes: &[Vec<Cause>]) -> Vec<Link> {
    let broken = |from: usize, to: usize| {
        nodes[from].status.is_alive()
            && nodes[to].status.is_alive()
            && !causes[from].contains(&Cause::Egress)
            && !causes[to].contains(&Cause::Ingress)
            && !causes[to].contains(&Cause::Node)
            && matches!(reported_status(context, from, to), Some((ProbeStatus::Offline, _)))
    };
    let mut links = Vec::new();
    let living = nodes.iter().enumerate().filter(|(_, node)| node.status.is_alive());
    for (from, _) in living {
        // Only what a report names is looked at: in rings that is far less than everybody.
        for (to, found) in context.state(from).observations() {
            if found.status != ProbeStatus::Offline || !broken(from, to) {
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
