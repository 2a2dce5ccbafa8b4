//! What a node concludes from all reports: who is up, who is down, and why.
//!
//! [`judge`] is a function of one [`Snapshot`] and the time, and of nothing else: with the same reports and
//! ages every node concludes the same. [`latch`] adds what only time can tell: since when, and what stood
//! there before.
//!
//! | file | noun |
//! | --- | --- |
//! | [`vote_count`] | votes, who may vote, and the quorum |
//! | [`cause`] | what explains the matrix of observers and targets |
//! | [`headline`] | the answer in one sentence |
//! | [`history`] | past verdicts with their votes |
//! | [`latch`] | verdicts over time |
//! | [`side`] | the sides of a network that has fallen apart |
//! | `context` | who lives and who may vote, as far as reports and their ages show |
//!
//! Where ideas come from: SWIM (Das, Gupta, Motivala 2002) for many vantage points, Lifeguard (Dadgar,
//! Phillips, Currey 2017) for voters that doubt themselves, Rapid (Suresh et al. 2018) for agreement of
//! most observers before anything is said, `PeerReview` (Haeberlen et al. 2007) for evidence that convicts,
//! boolean tomography (Duffield 2006) for naming the link.

pub mod cause;
mod context;
pub mod history;
pub mod partition;
pub mod tracker;
pub mod votes;

use std::fmt;

use serde::{Serialize, Serializer};

use crate::mesh::report_table::ReportTable;
use crate::mesh::timestamps::Timestamps;
pub use cause::{Cause, Link};
use context::{EvalContext, Liveness};
pub use partition::Partition;
pub use votes::{Abstention, Vote, VoteCount};

/// What is concluded of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeStatus {
    /// Alive: some path brings its reports.
    Up,
    /// Alive, but two voters or more do not reach it, or it is itself isolated.
    Degraded,
    /// No path brings a sign of life, and a majority confirms it.
    Down,
    /// It said that it is being stopped on purpose.
    Stopped,
    /// No sign of life, and nobody can confirm it.
    Unknown,
    /// No report since the configuration named it.
    NeverSeen,
    /// It signed two different reports with one number.
    Conflict,
}

impl NodeStatus {
    /// Every status.
    pub const ALL: [Self; 7] =
        [Self::Up, Self::Degraded, Self::Down, Self::Stopped, Self::Unknown, Self::NeverSeen, Self::Conflict];

    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
            Self::NeverSeen => "never seen",
            Self::Conflict => "conflict",
        }
    }

    /// Whether a sign of life is known.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Up | Self::Degraded)
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for NodeStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Two reports with one number.
    Equivocation,
    /// Its last report says that it leaves.
    Left,
    /// It is this node itself.
    Own,
    /// Nothing was ever heard of it.
    NeverReported,
    /// Its reports advance.
    Alive,
    /// A quorum says offline, every attempt was refused, none of these votes is refuted, and it is silent for
    /// longer than 1.5 intervals and 0.75 timeouts.
    Refused,
    /// A quorum of votes that are not refuted says offline, and it is silent for longer than 2 intervals and
    /// 1.75 timeouts.
    Unrefuted,
    /// A quorum says offline, and it is silent for longer than 4 intervals and 2 timeouts.
    Silent,
    /// It is silent, and too few say offline, or too many have fallen silent with it.
    NoQuorum,
}

impl Rule {
    /// The rule in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equivocation => "it signed two different reports with one number",
            Self::Left => "its last report says that it was stopped on purpose",
            Self::Own => "it is the node that judges",
            Self::NeverReported => "no report of it was ever seen",
            Self::Alive => "its reports advance, or are not overdue yet",
            Self::Refused => "a quorum was refused at every attempt, and it is silent",
            Self::Unrefuted => "a quorum finds it offline, nothing refutes that, and it is silent",
            Self::Silent => "a quorum finds it offline, and it is silent for long",
            Self::NoQuorum => "it is silent, and no quorum confirms that it is down",
        }
    }
}

/// What is concluded of one node, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The answer.
    pub status: NodeStatus,
    /// What explains it; several where they explain it equally well, none for a node that is up.
    pub causes: Vec<Cause>,
    /// What decided.
    pub rule: Rule,
    /// The votes on it.
    pub vote_count: VoteCount,
    /// Since when its reports do not advance: monotonic time in ms.
    pub silent_since_ms: u64,
}

/// What is concluded of a network at one moment, by index into its membership.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Of each node.
    pub nodes: Vec<Verdict>,
    /// Links that do not work between nodes that live.
    pub links: Vec<Link>,
    /// The sides that cannot reach each other, this node's first; empty if there is only one.
    pub partitions: Vec<Partition>,
    /// When something changes by the mere passing of time: monotonic time in ms.
    pub due_ms: u64,
}

/// Judges every node of `snapshot`'s network.
pub fn evaluate(table: &ReportTable, now: Timestamps) -> Verdicts {
    let context = EvalContext::of(table, now.mono_ms);
    let vote_counts = VoteCount::all(&context).into_iter().enumerate();
    let mut nodes: Vec<Verdict> =
        vote_counts.map(|(index, vote_count)| evaluate_node(&context, index, vote_count)).collect();
    let sides = partition::find(&context, &nodes);
    let causes: Vec<_> = (0..nodes.len()).map(|index| cause::of(&context, &nodes, &sides, index)).collect();
    let links = cause::links(&context, &nodes, &causes);
    for (node, causes) in nodes.iter_mut().zip(causes) {
        node.causes = causes;
    }
    Verdicts { nodes, links, partitions: sides, due_ms: context.due_ms() }
}

fn evaluate_node(context: &EvalContext<'_>, index: usize, vote_count: VoteCount) -> Verdict {
    let (status, rule) = classify(context, index, &vote_count);
    let silent_since_ms = context.silent_since_ms(index);
    Verdict { status, causes: Vec::new(), rule, vote_count, silent_since_ms }
}

fn classify(context: &EvalContext<'_>, index: usize, vote_count: &VoteCount) -> (NodeStatus, Rule) {
    let life = context.node(index);
    if context.state(index).equivocation.is_some() {
        return (NodeStatus::Conflict, Rule::Equivocation);
    }
    match life.liveness {
        Liveness::Stopped => return (NodeStatus::Stopped, Rule::Left),
        Liveness::NeverSeen => return (NodeStatus::NeverSeen, Rule::NeverReported),
        Liveness::Alive | Liveness::Silent => {}
    }
    let is_own = index == context.me();
    if !is_own {
        if let Some(rule) = down_rule(context, life.silent_ms, vote_count) {
            return (NodeStatus::Down, rule);
        }
    }
    if life.liveness == Liveness::Silent {
        return (NodeStatus::Unknown, Rule::NoQuorum);
    }
    let status = if vote_count.offline >= 2 || life.isolated { NodeStatus::Degraded } else { NodeStatus::Up };
    (status, if is_own { Rule::Own } else { Rule::Alive })
}

/// Whether it is down, and by which rule.
fn down_rule(context: &EvalContext<'_>, silent_ms: u64, vote_count: &VoteCount) -> Option<Rule> {
    if !vote_count.is_quorum(vote_count.offline) || !vote_count.is_witnessed {
        return None;
    }
    let bounds = context.limits();
    if silent_ms > bounds.refused_ms && vote_count.is_quorum(vote_count.refused) {
        return Some(Rule::Refused);
    }
    if silent_ms > bounds.unrefuted_ms && vote_count.is_quorum(vote_count.unrefuted) {
        return Some(Rule::Unrefuted);
    }
    (silent_ms > bounds.alive_ms).then_some(Rule::Silent)
}
