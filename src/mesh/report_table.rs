//! The table of the latest report of each member, from which verdicts are evaluated.

use std::sync::Arc;

use super::id::NodeId;
use super::member_state::MemberState;
use super::member_states::MemberStates;
use super::membership::{Member, Membership};
use super::silence_limits::SilenceLimits;
use super::timestamps::Timestamps;
use super::wire::equivocation::EquivocationProof;
use super::wire::heads::Heads;
use super::wire::report::VerifiedReport;

/// The members of a network and the state of each, by index into the membership.
#[derive(Debug, Clone)]
pub struct ReportTable {
    pub(super) membership: Arc<Membership>,
    pub(super) states: MemberStates,
    /// Whether this node publishes no reports until it has recovered its epoch.
    pub(super) recovers_epoch: bool,
    /// Whether that recovery cannot end, since this node has used the largest possible epoch.
    pub(super) epoch_exhausted: bool,
}

/// The outcome of storing a received report.
#[derive(Debug)]
pub(super) enum StoreOutcome {
    /// It advanced and is the latest now.
    Stored,
    /// It did not advance.
    Stale,
    /// It differs from the stored report with the same id.
    Conflicting(Option<Box<EquivocationProof>>),
}

impl ReportTable {
    /// The members, and which of them this node is.
    pub fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// The state of each member, by index into the membership.
    pub fn states(&self) -> &MemberStates {
        &self.states
    }

    /// The state of the member `id`.
    pub fn state(&self, id: &NodeId) -> Option<&MemberState> {
        self.membership.index(id.as_str()).map(|index| &self.states[index])
    }

    /// Each member with its state.
    pub fn members(&self) -> impl Iterator<Item = (&Member, &MemberState)> {
        self.membership.members().iter().zip(self.states.iter())
    }

    /// Whether this node publishes no reports until it has recovered its epoch.
    pub fn recovers_epoch(&self) -> bool {
        self.recovers_epoch
    }

    /// Whether this node publishes no reports for good, since it has used the largest possible epoch: it needs a new key.
    /// Implies [`ReportTable::recovers_epoch`].
    pub fn epoch_exhausted(&self) -> bool {
        self.epoch_exhausted
    }

    /// This node's own newest report.
    pub fn own_report(&self) -> Option<&Arc<VerifiedReport>> {
        self.states[self.membership.me()].latest.as_ref()
    }

    /// Whether the member's latest report is recent enough for its author to vote: it is a sign of life and no older
    /// than [`SilenceLimits::fresh_ms`].
    pub fn is_fresh(&self, index: usize, mono_ms: u64) -> bool {
        let state = &self.states[index];
        let limit_ms = SilenceLimits::of(&self.membership).fresh_ms;
        index == self.membership.me()
            || (state.latest.is_some()
                && state.advanced
                && mono_ms.saturating_sub(state.created_ms) <= limit_ms)
    }

    /// Whether the member's latest report names another configuration than this node's, by
    /// [`Membership::digest`].
    pub fn config_differs(&self, index: usize) -> bool {
        let latest = self.states[index].latest.as_ref();
        index != self.membership.me()
            && latest.is_some_and(|latest| latest.report().config != self.membership.digest())
    }

    /// Stores `report` of the member `index` if it advances. `age_ms` is its age as claimed by the sender; `proves_alive`:
    /// it counts as a sign of life.
    pub(super) fn store(
        &mut self,
        now: Timestamps,
        index: usize,
        report: VerifiedReport,
        age_ms: u64,
        proves_alive: bool,
    ) -> StoreOutcome {
        let state = &self.states[index];
        match &state.latest {
            Some(latest) if report.id() == latest.id() && report.digest() != latest.digest() => {
                let proof = EquivocationProof::new(latest.as_ref().clone(), report);
                return StoreOutcome::Conflicting(proof.map(Box::new));
            }
            Some(latest) if report.id() <= latest.id() => return StoreOutcome::Stale,
            None if report.id() < state.min_report => return StoreOutcome::Stale,
            _ => {}
        }
        let state = self.states.get_mut(index);
        state.advanced |= proves_alive;
        // Whatever age the sender claims, a report is younger than its predecessor.
        state.created_ms = state.created_ms.max(now.mono_ms.saturating_sub(age_ms));
        state.received_ms = now.mono_ms;
        state.head_changed_ms = now.mono_ms;
        state.ages.record(report.id(), now.mono_ms, self.membership.follow_up_wait_ms());
        state.set_latest(Arc::new(report), &self.membership);
        StoreOutcome::Stored
    }

    /// Stores this node's own new report.
    pub(super) fn store_own(&mut self, now: Timestamps, report: VerifiedReport) {
        let state = self.states.get_mut(self.membership.me());
        state.set_latest(Arc::new(report), &self.membership);
        state.created_ms = now.mono_ms;
        state.received_ms = now.mono_ms;
        state.head_changed_ms = now.mono_ms;
        state.advanced = true;
    }

    /// Stores `proof` if its author's keys signed both reports and no proof against the author is stored. Returns the
    /// proof if it was stored.
    pub(super) fn record_equivocation(
        &mut self,
        now: Timestamps,
        proof: EquivocationProof,
    ) -> Option<Arc<EquivocationProof>> {
        let index = self.membership.index(proof.author().as_str())?;
        let keys = &self.membership.members()[index].keys;
        let known = self.states[index].equivocation.is_some();
        if known || !proof.reports().iter().all(|report| keys.contains(report.key())) {
            return None;
        }
        let proof = Arc::new(proof);
        let state = self.states.get_mut(index);
        state.equivocation = Some(proof.clone());
        state.head_changed_ms = now.mono_ms;
        Some(proof)
    }

    /// Updates the ages of stored reports by `heads`: a report is as young as any sender claims, but not younger than its
    /// arrival here. `replier` is the index of the sender of a signed reply: its own report counts as a sign of life.
    pub(super) fn update_ages(&mut self, now: Timestamps, replier: Option<usize>, heads: &Heads) {
        for (position, head) in heads.named() {
            let known = if heads.matches(&self.membership) {
                Some(*position)
            } else {
                self.membership.index(heads.membership().members()[*position].id.as_str())
            };
            let Some(index) = known else { continue };
            let state = &self.states[index];
            let Some(latest) = state.latest.as_ref().filter(|latest| latest.id() == head.id) else {
                continue;
            };
            if latest.short_digest() != head.hash {
                continue;
            }
            let claimed_ms = now.mono_ms.saturating_sub(head.age_ms);
            let created_ms = state.created_ms.max(claimed_ms).min(state.received_ms);
            let advanced = state.advanced || replier == Some(index);
            // Most heads change nothing; an unchanged state remains shared with earlier snapshots.
            if (state.created_ms, state.advanced) != (created_ms, advanced) {
                let state = self.states.get_mut(index);
                (state.created_ms, state.advanced) = (created_ms, advanced);
            }
        }
    }
}
