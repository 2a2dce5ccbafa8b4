//! What the core is told, and what it asks for: its whole interface.

use std::sync::Arc;

use crate::mesh::delta_sync::DeltaBase;
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::verdict::tracker::VerdictChange;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::heads::Heads;
use crate::mesh::wire::observation::{Failure, ProbeStatus};
use crate::mesh::wire::report::VerifiedReport;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Time passed.
    Tick,
    /// A call of this node has ended.
    CallFinished(CallFinished),
    /// A peer's request was verified and answered.
    RequestReceived {
        /// The peer.
        from: NodeId,
        /// What it brought.
        received: ReceivedReports,
    },
    /// The configuration was read again.
    Reconfigured(Arc<Membership>),
    /// This node is being stopped on purpose.
    Leaving,
}

/// What a verified message brought.
#[derive(Debug)]
pub struct ReceivedReports {
    /// What its sender holds.
    pub heads: Heads,
    /// Reports, verified, that looked new when they came.
    pub reports: Vec<VerifiedReport>,
    /// Proofs of equivocation, verified.
    pub proofs: Vec<EquivocationProof>,
}

/// Why this node calls a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallPurpose {
    /// To see whether it answers. The only purpose whose failure counts.
    Probe,
    /// To hand over at once what its reply showed it to lack.
    FollowUp,
    /// To hand over at once a change of this node's own report.
    Push,
}

/// A call to be made.
#[derive(Debug, Clone)]
pub struct Call {
    /// Names this call among all of the process.
    pub id: u64,
    /// Whom to call.
    pub peer: NodeId,
    /// Why.
    pub purpose: CallPurpose,
    /// When to stop waiting, in ms.
    pub timeout_ms: u64,
    /// What to hand over.
    pub reports: Vec<Arc<VerifiedReport>>,
    /// Proofs to hand over.
    pub proofs: Vec<Arc<EquivocationProof>>,
    /// The epoch of the request's nonce.
    pub epoch: u64,
    /// Name only heads that changed since; none for all.
    pub base: Option<DeltaBase>,
}

/// How a call ended.
#[derive(Debug)]
pub struct CallFinished {
    /// [`Call::id`].
    pub id: u64,
    /// Whom it went to.
    pub peer: NodeId,
    /// What came back, or why nothing did.
    pub outcome: Result<CallReply, Failure>,
    /// Reports that a signed refusal carried as its evidence: this node's own newest at the peer.
    pub evidence: Vec<VerifiedReport>,
}

/// A verified reply.
#[derive(Debug)]
pub struct CallReply {
    /// The whole exchange less what the peer says it took, in µs.
    pub rtt_us: u32,
    /// What the peer says it took, in µs.
    pub took_us: u32,
    /// The peer's clock less ours, in ms.
    pub clock_offset_ms: i64,
    /// What it brought; heads as the reply names them.
    pub received: ReceivedReports,
    /// The number to return as `since` in the next request.
    pub mark: Option<u64>,
    /// When the snapshot was taken that the request was written from: monotonic time in ms.
    pub snapshot_ms: u64,
}

/// What the core wants done, in this order.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Keep this epoch before anything is sent with it.
    SaveEpoch(u64),
    /// Keep this proof.
    SaveProof(Arc<EquivocationProof>),
    /// Make a call.
    Call(Call),
    /// Tell the operator.
    Notice(Notice),
}

/// What an operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// What this node finds of a peer has changed.
    PeerStatusChanged {
        /// The peer.
        peer: NodeId,
        /// What was found before.
        from: ProbeStatus,
        /// What is found now.
        to: ProbeStatus,
        /// The newest failure.
        error: Option<Failure>,
    },
    /// A node signed two different reports with the same id.
    Equivocated {
        /// The node.
        node: NodeId,
        /// Where both reports stand.
        report_id: ReportId,
    },
    /// A peer held a newer report under this node's own key: this node had lost its state, or was
    /// restored from an older copy. It goes on with a higher epoch.
    Superseded {
        /// The report that the peer held.
        report_id: ReportId,
        /// The epoch from now on.
        epoch: u64,
    },
    /// It happened again: another process signs with this node's key.
    DuplicateKey {
        /// The report that this node did not make.
        report_id: ReportId,
    },
    /// This process did not run for a while (suspended, stopped, or a stalled machine).
    ResumedAfterGap {
        /// How long, in ms.
        gap_ms: u64,
    },
    /// A verdict has changed.
    VerdictChanged(VerdictChange),
    /// This node's own doubt about itself has changed.
    IsolationChanged(bool),
    /// Others have had another configuration than this node for a minute or more.
    ConfigMismatch {
        /// Who, in the order of their ids.
        nodes: Vec<NodeId>,
    },
    /// After that, all whose reports come have the same configuration as this node.
    ConfigMatch,
}
