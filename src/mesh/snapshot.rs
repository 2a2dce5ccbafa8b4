//! What a node knows at one moment: immutable, shared by all who read.

use std::sync::Arc;

use super::id::{NodeId, ReportId};
use super::member_states::MemberStates;
use super::membership::{Member, Membership};
use super::verdict::Verdicts;
use super::verdict::history::History;
use super::verdict::tracker::VerdictTracker;
use crate::mesh::wire::observation::Observation;
use crate::mesh::wire::report::{EquivocationProof, VerifiedReport};

/// One moment, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// A clock that never goes back and that goes on while the machine sleeps, in ms since some fixed moment.
    pub mono_ms: u64,
    /// The wall clock: Unix time in ms.
    pub wall_ms: u64,
}

/// What is held of one member.
#[derive(Debug, Clone, Default)]
pub struct MemberState {
    /// Its newest report; set by `Slot::hold` alone.
    pub latest: Option<Arc<VerifiedReport>>,
    /// Of whom that report tells: each observation's node, by index into the membership, in ascending order, and
    /// its place in the report. Verdicts are reached from all observations, again and again.
    pub observation_index: Arc<[(u32, u32)]>,
    /// When that report was made as far as anybody's claims can show, never later than its first
    /// arrival here: monotonic time in ms.
    pub created_ms: u64,
    /// When that report first arrived here: monotonic time in ms.
    pub received_ms: u64,
    /// Whether it counts as a sign of life: it advanced since this node's start, or its author handed
    /// it over in a signed reply.
    pub advanced: bool,
    /// Since when this node waits for a sign of life: its start, a gap of time, or when the configuration
    /// named the member. Monotonic time in ms.
    pub waiting_since_ms: u64,
    /// Reports before this one were held by an earlier process and are not taken again.
    pub min_report: ReportId,
    /// When anything of this last changed that heads name: monotonic time in ms.
    pub head_changed_ms: u64,
    /// Two different reports with one report_id.
    pub equivocation: Option<Arc<EquivocationProof>>,
    /// How this node's own probes of it went since the start, or since the configuration named it.
    pub probes: ProbeCounts,
}

/// How many attempts of probes went which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeCounts {
    /// Answered, by whatever.
    pub answered: u32,
    /// Not answered in time, or not at all.
    pub failed: u32,
}

impl MemberState {
    /// Holds `report`.
    pub(super) fn set_latest(&mut self, report: Arc<VerifiedReport>, membership: &Membership) {
        self.observation_index = index_observations(&report, membership);
        self.latest = Some(report);
    }

    /// What its newest report says of the member with that index.
    pub fn observation(&self, target: usize) -> Option<&Observation> {
        let at = self.observation_index.binary_search_by_key(&target, |&(index, _)| index as usize).ok()?;
        self.observation_at(self.observation_index[at].1)
    }

    /// All that its newest report says, with the members' indices.
    pub fn observations(&self) -> impl Iterator<Item = (usize, &Observation)> {
        self.observation_index
            .iter()
            .filter_map(|&(index, place)| Some((index as usize, self.observation_at(place)?)))
    }

    fn observation_at(&self, place: u32) -> Option<&Observation> {
        Some(&self.latest.as_ref()?.report().observations.get(place as usize)?.1)
    }
}

fn index_observations(report: &VerifiedReport, membership: &Membership) -> Arc<[(u32, u32)]> {
    let observations = report.report().observations.iter().enumerate();
    let told = observations.filter_map(|(place, (id, _))| {
        let index = u32::try_from(membership.index(id.as_str())?).ok()?;
        Some((index, u32::try_from(place).ok()?))
    });
    let mut told: Vec<_> = told.collect();
    told.sort_unstable();
    told.into()
}

/// How much of what came was not kept, and why; since the start of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counters {
    /// Reports that were stored.
    pub reports_stored: u64,
    /// Reports that did not advance.
    pub reports_stale: u64,
    /// Own exchanges that succeeded.
    pub exchanges_ok: u64,
    /// Own exchanges that failed.
    pub exchanges_failed: u64,
    /// Requests of peers that were answered.
    pub requests: u64,
}

/// What a node knows at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    pub(super) membership: Arc<Membership>,
    pub(super) states: MemberStates,
    pub(super) at: Timestamps,
    pub(super) revision: u64,
    pub(super) isolated: bool,
    pub(super) duplicate_key: bool,
    pub(super) counters: Counters,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) tracker: Arc<VerdictTracker>,
    pub(super) history: Arc<History>,
}

impl Snapshot {
    /// The members, and which of them this node is.
    pub fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// What is held of each member, by its index in the membership.
    pub fn states(&self) -> &MemberStates {
        &self.states
    }

    /// When this snapshot was taken.
    pub fn at(&self) -> Timestamps {
        self.at
    }

    /// Counts the changes of what can be seen; equal revisions of one process are equal snapshots.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether this node sees more than half of the others offline, and so doubts itself.
    pub fn isolated(&self) -> bool {
        self.isolated
    }

    /// Whether another process signs with this node's key.
    pub fn duplicate_key(&self) -> bool {
        self.duplicate_key
    }

    /// What is concluded of each node, by its index in the membership.
    pub fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// How these verdicts stand in time.
    pub fn tracker(&self) -> &VerdictTracker {
        &self.tracker
    }

    /// The verdicts of the past, as far as they are kept.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// What came and went.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// This node's own newest report.
    pub fn own_report(&self) -> Option<&Arc<VerifiedReport>> {
        self.states[self.membership.me()].latest.as_ref()
    }

    /// Members with what is held of them.
    pub fn members(&self) -> impl Iterator<Item = (&Member, &MemberState)> {
        self.membership.members().iter().zip(self.states.iter())
    }

    /// What is held of the member `id`.
    pub fn state(&self, id: &NodeId) -> Option<&MemberState> {
        self.membership.index(id.as_str()).map(|index| &self.states[index])
    }

    /// Whether the member's newest report is recent enough to count: it is a sign of life, and no older
    /// than two and a half of the intervals in which the author's reports can arrive.
    pub fn is_fresh(&self, index: usize, mono_ms: u64) -> bool {
        let state = &self.states[index];
        let limit = self.membership.interval_ms() * 5 / 2;
        index == self.membership.me()
            || (state.latest.is_some() && state.advanced && mono_ms.saturating_sub(state.created_ms) <= limit)
    }
}
