//! The faults of a scenario, and their times.

use crate::byzantine::Misbehavior;
use crate::node_set::NodeSet;

/// A fault that begins and ends. Times count from when the network has converged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at_ms: u64,
    pub(crate) for_ms: u64,
    pub(crate) kind: FaultKind,
}

/// The kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// A node crashes, and restarts with its disk.
    Crash(usize),
    /// A node crashes, and restarts with an empty disk.
    Wipe(usize),
    /// A node is stopped on purpose, and restarts.
    Stop(usize),
    /// A process hangs, or its host sleeps.
    Hang(usize),
    /// A node's wall clock is set by a number of ms, and back again.
    StepClock(usize, i64),
    /// A link is cut.
    Cut(usize, usize),
    /// A link loses all messages in one direction, so that calls fail in both.
    CutOneWay(usize, usize),
    /// A firewall blocks requests from one node to another.
    BlockRequests(usize, usize),
    /// A firewall blocks all requests to a node.
    BlockInbound(usize),
    /// A firewall blocks all requests from a node.
    BlockOutbound(usize),
    /// The nodes of this set are cut from the others.
    Partition(NodeSet),
    /// Only links between neighbouring numbers work.
    Chain,
    /// Only links of this node work.
    Star(usize),
    /// The nodes of this set reach the others only through this node, which is not in the set.
    Bridge(usize, NodeSet),
    /// Messages are lost, in per cent.
    Loss(u8),
    /// Messages take at least this number of ms, and at most twice that.
    Delay(u64),
    /// A node misbehaves.
    Misbehave(usize, Misbehavior),
    /// A node sends captured requests and reports again, also to others than their recipients.
    Replay(usize),
    /// The machine of a node gives it this part of its processor, in thousandths.
    Load(usize, u64),
    /// Other work leaves all nodes this part of the processors, in thousandths.
    ForeignLoad(u64),
}

impl FaultKind {
    /// A random fault in a network of `nodes`; only those in `byzantine` misbehave.
    pub(crate) fn random(rng: &mut fastrand::Rng, nodes: usize, byzantine: &[usize]) -> Self {
        let node = rng.usize(0..nodes);
        let other = (node + rng.usize(1..nodes)) % nodes;
        let side = NodeSet(rng.u64(1..(1 << (nodes - 1)) * 2 - 1));
        match rng.u8(0..44) {
            0..=3 => Self::Crash(node),
            4 => Self::Wipe(node),
            5..=7 => Self::Stop(node),
            8..=10 => Self::Hang(node),
            11 => Self::StepClock(node, rng.i64(-288_000..=288_000)),
            12..=14 => Self::Cut(node, other),
            15 => Self::CutOneWay(node, other),
            16..=17 => Self::BlockRequests(node, other),
            18 => Self::BlockInbound(node),
            19 => Self::BlockOutbound(node),
            20..=23 => Self::Partition(side),
            24..=25 => Self::Chain,
            26 => Self::Star(node),
            27 => Self::Bridge(node, side.difference(NodeSet::single(node))),
            28..=30 => Self::Loss(rng.u8(1..=25)),
            31 => Self::Delay(rng.u64(40..=110)),
            _ if byzantine.is_empty() => Self::Cut(node, other),
            _ => {
                let actor = byzantine[rng.usize(0..byzantine.len())];
                let victim = (actor + rng.usize(1..nodes)) % nodes;
                match rng.u8(0..12) {
                    0 => Self::Misbehave(actor, Misbehavior::ReportAllOffline),
                    1 => Self::Misbehave(actor, Misbehavior::ReportAllOnline),
                    2..=3 => Self::Misbehave(actor, Misbehavior::ReportOffline(victim)),
                    4 => Self::Misbehave(actor, Misbehavior::Equivocate),
                    5 => Self::Misbehave(actor, Misbehavior::Withhold),
                    6 => Self::Misbehave(actor, Misbehavior::Hoard),
                    7 => Self::Misbehave(actor, Misbehavior::Pad),
                    8 => Self::Misbehave(actor, Misbehavior::JumpSeq),
                    9 => Self::Misbehave(actor, Misbehavior::Flood),
                    _ => Self::Replay(actor),
                }
            }
        }
    }

    /// A random lack of processor time in a network of `nodes`: a hundredth of a core is enough for a few nodes, a
    /// thousandth for none.
    pub(crate) fn random_load(rng: &mut fastrand::Rng, nodes: usize) -> Self {
        let permille = 1 << rng.u64(0..=8);
        if rng.u8(0..3) == 0 {
            Self::ForeignLoad(permille)
        } else {
            Self::Load(rng.usize(0..nodes), permille)
        }
    }

    /// Whether this is a lack of processor time.
    pub(crate) fn is_load(&self) -> bool {
        matches!(self, Self::Load(..) | Self::ForeignLoad(_))
    }

    /// The node whose process or clock this affects.
    fn affected_process(&self) -> Option<usize> {
        match *self {
            Self::Crash(node)
            | Self::Wipe(node)
            | Self::Stop(node)
            | Self::Hang(node)
            | Self::StepClock(node, _)
            | Self::Load(node, _) => Some(node),
            _ => None,
        }
    }

    /// The node that this makes Byzantine.
    pub(crate) fn byzantine_node(&self) -> Option<usize> {
        match *self {
            Self::Misbehave(node, _) | Self::Replay(node) => Some(node),
            _ => None,
        }
    }

    /// The node that floods.
    pub(crate) fn flooding_node(&self) -> Option<usize> {
        match *self {
            Self::Misbehave(node, Misbehavior::Flood) => Some(node),
            _ => None,
        }
    }

    /// The same fault in the network without the node `removed`, where later nodes move down by one; none if it
    /// concerns that node.
    pub(crate) fn without(self, removed: usize) -> Option<Self> {
        let renumber = |node: usize| (node != removed).then(|| node - usize::from(node > removed));
        let renumber_set = |set: NodeSet| set.iter().filter_map(renumber).collect::<NodeSet>();
        Some(match self {
            Self::Crash(node) => Self::Crash(renumber(node)?),
            Self::Wipe(node) => Self::Wipe(renumber(node)?),
            Self::Stop(node) => Self::Stop(renumber(node)?),
            Self::Hang(node) => Self::Hang(renumber(node)?),
            Self::StepClock(node, by_ms) => Self::StepClock(renumber(node)?, by_ms),
            Self::Cut(one, other) => Self::Cut(renumber(one)?, renumber(other)?),
            Self::CutOneWay(from, to) => Self::CutOneWay(renumber(from)?, renumber(to)?),
            Self::BlockRequests(from, to) => Self::BlockRequests(renumber(from)?, renumber(to)?),
            Self::BlockInbound(node) => Self::BlockInbound(renumber(node)?),
            Self::BlockOutbound(node) => Self::BlockOutbound(renumber(node)?),
            Self::Partition(side) => Self::Partition(renumber_set(side)),
            Self::Star(node) => Self::Star(renumber(node)?),
            Self::Bridge(node, side) => Self::Bridge(renumber(node)?, renumber_set(side)),
            Self::Misbehave(node, Misbehavior::ReportOffline(victim)) => {
                Self::Misbehave(renumber(node)?, Misbehavior::ReportOffline(renumber(victim)?))
            }
            Self::Misbehave(node, misbehavior) => Self::Misbehave(renumber(node)?, misbehavior),
            Self::Replay(node) => Self::Replay(renumber(node)?),
            Self::Load(node, permille) => Self::Load(renumber(node)?, permille),
            Self::Chain | Self::Loss(_) | Self::Delay(_) | Self::ForeignLoad(_) => self,
        })
    }
}

impl Fault {
    pub(crate) fn end_ms(&self) -> u64 {
        self.at_ms + self.for_ms
    }

    /// Whether both affect one node's process, or make one node Byzantine in the same way, at about the same time.
    pub(crate) fn conflicts_with(&self, other: &Self) -> bool {
        const MIN_GAP_MS: u64 = 200;
        let apart = self.end_ms() + MIN_GAP_MS < other.at_ms || other.end_ms() + MIN_GAP_MS < self.at_ms;
        let affected = self.kind.affected_process();
        let same_process = affected.is_some() && affected == other.kind.affected_process();
        let same_way = self.kind.byzantine_node().is_some() && self.kind == other.kind;
        !apart && (same_process || same_way)
    }
}
