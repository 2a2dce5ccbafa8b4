//! Applies a changed configuration.

use std::sync::Arc;

use super::Engine;
use super::change_limiter::Urgency;
use crate::mesh::member_state::MemberState;
use crate::mesh::membership::Membership;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::report::VerifiedReport;

impl Engine {
    /// Continues with another membership. A member that still has one of its keys keeps the reports that it signed.
    pub(super) fn reconfigure(&mut self, now: Timestamps, membership: &Arc<Membership>) {
        let old = std::mem::replace(&mut self.table.membership, membership.clone());
        let states = std::mem::take(&mut self.table.states);
        let previous: Vec<Option<usize>> = membership
            .members()
            .iter()
            .map(|member| {
                old.index(member.id.as_str()).filter(|&at| {
                    let keys = &old.members()[at].keys;
                    *keys == member.keys || keys.iter().any(|key| member.keys.contains(key))
                })
            })
            .collect();
        let carried = previous.iter().enumerate().map(|(index, previous)| match previous {
            Some(at) => carry_over(&states[*at], membership, index, now),
            None => MemberState::awaited_since(now.mono_ms),
        });
        self.table.states = carried.collect();
        self.peers.reconfigure(&old, membership, &previous, now);
        self.evaluator.reconfigure(membership);
        self.publisher.report_change(now, Urgency::Ordinary, membership);
        self.changed = true;
    }
}

/// The part of `state` that stays valid for the member with this index in `membership`: reports signed by its keys.
fn carry_over(state: &MemberState, membership: &Membership, index: usize, now: Timestamps) -> MemberState {
    let keys = &membership.members()[index].keys;
    let is_valid = |report: &VerifiedReport| keys.contains(report.key());
    let equivocation = state.equivocation.clone().filter(|proof| proof.reports().into_iter().all(is_valid));
    let mut carried = match &state.latest {
        Some(latest) if !is_valid(latest) => MemberState::awaited_since(now.mono_ms),
        _ => state.clone(),
    };
    carried.equivocation = equivocation;
    // Observations are indexed by the new membership.
    if let Some(latest) = carried.latest.take() {
        carried.set_latest(latest, membership);
    }
    carried
}
