//! The interface of the engine: the events that it applies and the effects that it returns.

use std::sync::Arc;

use crate::mesh::delta_sync::DeltaBase;
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::verdict::tracker::VerdictChange;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::heads::Heads;
use crate::mesh::wire::leave::LeaveNotice;
use crate::mesh::wire::observation::{Failure, ProbeStatus};
use crate::mesh::wire::report::VerifiedReport;

/// An input of the engine.
#[derive(Debug)]
pub enum Event {
    /// Time passed.
    Tick,
    /// A call of this node has ended.
    CallFinished(CallFinished),
    /// A request of a peer arrived; its reports are verified.
    RequestReceived {
        /// The peer.
        from: NodeId,
        /// The content of the request.
        received: ReceivedReports,
    },
    /// A peer sent a request in the format of an incompatible release, signed with its key. It counts only for a peer
    /// without url, which cannot be probed.
    IncompatibleRequest {
        /// The peer.
        from: NodeId,
    },
    /// A thread of this process did its work late, in ms: the event loop, or the answer to a request.
    Late(u64),
    /// The configuration was reloaded.
    Reconfigured(Arc<Membership>),
    /// The operator is stopping this node, for this reason.
    Leaving(LeaveNotice),
}

/// The content of a verified message.
#[derive(Debug)]
pub struct ReceivedReports {
    /// The reports that its sender holds.
    pub heads: Heads,
    /// Verified reports that were new when they arrived.
    pub reports: Vec<VerifiedReport>,
    /// Verified proofs of equivocation.
    pub proofs: Vec<EquivocationProof>,
}

/// The purpose of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallPurpose {
    /// To check whether the peer answers. A peer with a url becomes offline only by failed probes.
    Probe,
    /// To send the reports that the peer lacks by its reply to a probe, without waiting for the next probe.
    FollowUp,
    /// To send this node's new report immediately.
    Push,
}

/// A call to a peer.
#[derive(Debug, Clone)]
pub struct Call {
    /// The id of the call, unique in the process.
    pub id: u64,
    /// The peer to call.
    pub peer: NodeId,
    /// The purpose.
    pub purpose: CallPurpose,
    /// The time limit, in ms.
    pub timeout_ms: u64,
    /// How long to wait for a late reply, in ms from the begin of the call: it shows that the peer lives.
    pub patience_ms: u64,
    /// Ask for no other report than the peer's own, since several calls in flight would all return the others.
    pub own_only: bool,
    /// Reports to send.
    pub reports: Vec<Arc<VerifiedReport>>,
    /// Proofs to send.
    pub proofs: Vec<Arc<EquivocationProof>>,
    /// The epoch of the request's nonce.
    pub epoch: u64,
    /// The base for delta-encoded heads; none to name all heads.
    pub base: Option<DeltaBase>,
}

/// The result of a call.
#[derive(Debug)]
pub struct CallFinished {
    /// [`Call::id`].
    pub id: u64,
    /// The peer that was called.
    pub peer: NodeId,
    /// The reply, or why the call failed.
    pub outcome: Result<CallReply, Failure>,
    /// The verified reports in a signed refusal: as a rule the newest one under this node's key that the peer holds.
    pub evidence: Vec<VerifiedReport>,
    /// How late this node's own threads were with the call, in ms: they began it late, or noticed late that its time was
    /// over.
    pub lateness_ms: u64,
    /// Whether the time of the call is over, but its thread still waits for a reply.
    pub may_answer_late: bool,
}

/// A verified reply.
#[derive(Debug)]
pub struct CallReply {
    /// The duration of the exchange less `took_us`, in µs.
    pub rtt_us: u32,
    /// The processing time that the peer reports, in µs.
    pub took_us: u32,
    /// The peer's clock minus this node's, in ms.
    pub clock_offset_ms: i64,
    /// The content of the reply, with the heads that it names.
    pub received: ReceivedReports,
    /// The number to return as `since` in the next request.
    pub mark: Option<u64>,
    /// The time of the snapshot from which the request was written: monotonic time in ms.
    pub snapshot_ms: u64,
}

/// An action that the engine requests.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Save this epoch before anything is sent with it.
    SaveEpoch(u64),
    /// Save this proof.
    SaveProof(Arc<EquivocationProof>),
    /// Make a call.
    Call(Call),
    /// Notify the operator.
    Notice(Notice),
}

/// A message for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The status of a peer, as this node observes it, has changed.
    PeerStatusChanged {
        /// The peer.
        peer: NodeId,
        /// The status before.
        from: ProbeStatus,
        /// The status now.
        to: ProbeStatus,
        /// The newest failure.
        error: Option<Failure>,
    },
    /// A node signed two different reports with the same id.
    Equivocated {
        /// The node.
        node: NodeId,
        /// The id of both reports.
        report_id: ReportId,
    },
    /// A peer held a newer report under this node's own key: this node lost its state, or was restored from an older
    /// copy. It continues with a higher epoch.
    Superseded {
        /// The report that the peer held.
        report_id: ReportId,
        /// The epoch from now on.
        epoch: u64,
    },
    /// A peer held such a report again: another process signs with this node's key.
    DuplicateKey {
        /// The report that this process did not publish.
        report_id: ReportId,
    },
    /// The recovery of a lost epoch is complete: this node publishes again.
    EpochRecovered {
        /// The epoch from now on.
        epoch: u64,
    },
    /// A report under this node's key has the largest possible epoch, so that no epoch can be recovered.
    NoEpochLeft {
        /// The report that a peer held.
        report_id: ReportId,
    },
    /// This process did not run for a while: it was stopped, or the machine was suspended or stalled.
    ResumedAfterGap {
        /// The length of the gap, in ms.
        gap_ms: u64,
    },
    /// A verdict has changed.
    VerdictChanged(VerdictChange),
    /// This node became isolated (true), or is no longer isolated.
    IsolationChanged(bool),
    /// This node became overloaded (true), so that its threads are late, or is no longer overloaded.
    OverloadChanged(bool),
    /// Other nodes have had another configuration than this node for a minute or more.
    ConfigMismatch {
        /// The nodes, in the order of their ids.
        nodes: Vec<NodeId>,
    },
    /// All nodes with fresh reports have the same configuration as this node again.
    ConfigMatch,
}
