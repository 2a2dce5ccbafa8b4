//! The state of a node at one moment, immutable and shared by all readers.

use std::sync::Arc;

use super::id::NodeId;
use super::member_state::MemberState;
use super::member_states::MemberStates;
use super::membership::{Member, Membership};
use super::report_table::ReportTable;
use super::timestamps::Timestamps;
use super::verdict::Verdicts;
use super::verdict::history::History;
use super::verdict::tracker::VerdictTracker;
use super::wire::report::VerifiedReport;

/// Counters of reports and exchanges since the start of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Reports that were stored.
    pub reports_stored: u64,
    /// Reports that did not advance when the engine stored them; most are dropped earlier, by verification.
    pub reports_stale: u64,
    /// Exchanges started by this node that succeeded.
    pub exchanges_ok: u64,
    /// Exchanges started by this node that failed.
    pub exchanges_failed: u64,
    /// Requests of peers whose content the engine applied.
    pub requests: u64,
}

/// The state of a node at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) table: ReportTable,
    pub(super) at: Timestamps,
    pub(super) revision: u64,
    pub(super) epoch: u64,
    pub(super) isolated: bool,
    pub(super) overloaded: bool,
    pub(super) duplicate_key: bool,
    pub(super) counters: Counters,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) tracker: Arc<VerdictTracker>,
    pub(super) history: Arc<History>,
}

impl Snapshot {
    /// The latest reports of all members.
    pub fn table(&self) -> &ReportTable {
        &self.table
    }

    /// The members, and which of them this node is.
    pub fn membership(&self) -> &Arc<Membership> {
        self.table.membership()
    }

    /// The state of each member, by index into the membership.
    pub fn states(&self) -> &MemberStates {
        self.table.states()
    }

    /// The state of the member `id`.
    pub fn state(&self, id: &NodeId) -> Option<&MemberState> {
        self.table.state(id)
    }

    /// Each member with its state.
    pub fn members(&self) -> impl Iterator<Item = (&Member, &MemberState)> {
        self.table.members()
    }

    /// This node's own newest report.
    pub fn own_report(&self) -> Option<&Arc<VerifiedReport>> {
        self.table.own_report()
    }

    /// See [`ReportTable::is_fresh`].
    pub fn is_fresh(&self, index: usize, mono_ms: u64) -> bool {
        self.table.is_fresh(index, mono_ms)
    }

    /// See [`ReportTable::config_differs`].
    pub fn config_differs(&self, index: usize) -> bool {
        self.table.config_differs(index)
    }

    /// When this snapshot was taken.
    pub fn at(&self) -> Timestamps {
        self.at
    }

    /// The number of this snapshot, from 1. Within one process, equal revisions are equal snapshots.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The epoch of this node; provisional until its first report, and never that of another process.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// See [`ReportTable::recovers_epoch`].
    pub fn recovers_epoch(&self) -> bool {
        self.table.recovers_epoch()
    }

    /// See [`ReportTable::epoch_exhausted`].
    pub fn epoch_exhausted(&self) -> bool {
        self.table.epoch_exhausted()
    }

    /// Whether this node observes more than half of its peers offline, so that it may be cut off itself.
    pub fn isolated(&self) -> bool {
        self.isolated
    }

    /// Whether this node is overloaded, so that its threads are late.
    pub fn overloaded(&self) -> bool {
        self.overloaded
    }

    /// Whether another process signs with this node's key.
    pub fn duplicate_key(&self) -> bool {
        self.duplicate_key
    }

    /// The verdict on each node, by index into the membership.
    pub fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// The verdicts over time: since when each holds, and the last decided status.
    pub fn tracker(&self) -> &VerdictTracker {
        &self.tracker
    }

    /// The history of verdicts.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Counters of reports and exchanges.
    pub fn counters(&self) -> Counters {
        self.counters
    }
}
