//! Verdicts on a network: which nodes are up, which links are broken, and why.
//!
//! [`evaluate`] is a pure function of the report table and the time: with the same reports of the same ages every node
//! reaches the same verdicts. [`tracker`] adds what depends on earlier verdicts: since when, and what was decided
//! before.
//!
//! [`crate::mesh`] names the publications on which the rules are based.

pub mod cause;
mod context;
mod diagnosis;
pub mod history;
pub mod node_status;
pub mod node_verdict;
pub mod outage;
pub mod partition;
pub mod tracker;
pub mod vote;
pub mod votes;

use crate::mesh::report_table::ReportTable;
use crate::mesh::timestamps::Timestamps;
pub use cause::{Cause, Link};
use context::{EvalContext, Liveness};
pub use node_status::NodeStatus;
pub use node_verdict::{Rule, Verdict};
pub use partition::Partition;
pub use vote::{Abstention, Vote};
pub use votes::VoteCount;

/// The verdicts on a network at one moment, by index into its membership.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// The verdict on each node.
    pub nodes: Vec<Verdict>,
    /// The broken links between live nodes.
    pub links: Vec<Link>,
    /// The partitions, this node's first; empty if the network is whole.
    pub partitions: Vec<Partition>,
    /// When a verdict may change without a new report: monotonic time in ms.
    pub due_ms: u64,
}

/// Evaluates every node of the network.
pub fn evaluate(table: &ReportTable, now: Timestamps) -> Verdicts {
    let context = EvalContext::of(table, now.mono_ms);
    let vote_counts = VoteCount::all(&context).into_iter().enumerate();
    let mut nodes: Vec<Verdict> =
        vote_counts.map(|(index, vote_count)| evaluate_node(&context, index, vote_count)).collect();
    let partitions = partition::find(&context, &nodes);
    let causes: Vec<_> =
        (0..nodes.len()).map(|index| diagnosis::causes_of(&context, &nodes, &partitions, index)).collect();
    let links = diagnosis::broken_links(&context, &nodes, &causes);
    for (node, causes) in nodes.iter_mut().zip(causes) {
        node.causes = causes;
    }
    Verdicts { nodes, links, partitions, due_ms: context.due_ms() }
}

fn evaluate_node(context: &EvalContext<'_>, index: usize, vote_count: VoteCount) -> Verdict {
    let (status, rule) = classify(context, index, &vote_count);
    let silent_since_ms = context.silent_since_ms(index);
    Verdict { status, causes: Vec::new(), rule, vote_count, silent_since_ms }
}

fn classify(context: &EvalContext<'_>, index: usize, vote_count: &VoteCount) -> (NodeStatus, Rule) {
    let node = context.node(index);
    if context.state(index).equivocation.is_some() {
        return (NodeStatus::Conflict, Rule::Equivocation);
    }
    match node.liveness {
        Liveness::Stopped => return (NodeStatus::Stopped, Rule::Stopped),
        // A node of an incompatible release answers, but its reports cannot be read.
        Liveness::NeverSeen | Liveness::Silent if vote_count.is_incompatible() => {
            return (NodeStatus::Unknown, Rule::Incompatible);
        }
        Liveness::NeverSeen => return (NodeStatus::NeverSeen, Rule::NeverReported),
        Liveness::Alive | Liveness::Silent => {}
    }
    let is_own = index == context.me();
    if is_own && context.epoch_exhausted() {
        return (NodeStatus::Degraded, Rule::EpochExhausted);
    }
    if is_own && context.recovers_epoch() {
        return (NodeStatus::Degraded, Rule::Recovering);
    }
    if !is_own {
        if let Some(rule) = down_rule(context, index, vote_count) {
            return (NodeStatus::Down, rule);
        }
    }
    if !is_own && vote_count.is_quorum(vote_count.busy) {
        return (NodeStatus::Degraded, Rule::Busy);
    }
    if node.liveness == Liveness::Silent {
        return (NodeStatus::Unknown, Rule::NoQuorum);
    }
    let status = if vote_count.offline >= 2 || node.isolated { NodeStatus::Degraded } else { NodeStatus::Up };
    (status, if is_own { Rule::Own } else { Rule::Alive })
}

/// The rule by which the node is down, if it is.
fn down_rule(context: &EvalContext<'_>, index: usize, vote_count: &VoteCount) -> Option<Rule> {
    if !vote_count.is_quorum(vote_count.offline) || !vote_count.is_witnessed {
        return None;
    }
    let (silent_ms, limits) = (context.node(index).silent_ms, context.limits(index));
    if silent_ms > limits.refused_ms && vote_count.is_quorum(vote_count.refused) {
        return Some(Rule::Refused);
    }
    if silent_ms > limits.unrefuted_ms && vote_count.is_quorum(vote_count.unrefuted) {
        return Some(Rule::Unrefuted);
    }
    (silent_ms > limits.alive_ms).then_some(Rule::Silent)
}

#[cfg(test)]
mod tests;
