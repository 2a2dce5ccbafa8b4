//! What messages bring: which reports and proofs are taken, and how old they are.

use std::sync::Arc;

use super::event::{Effect, Notice, ReceivedReports};
use crate::mesh::engine::Engine;
use crate::mesh::id::{MAX_INTEGER, NodeId, ReportId};
use crate::mesh::snapshot::{Snapshot, Timestamps};
use crate::mesh::wire::message::Heads;
use crate::mesh::wire::report::{EquivocationProof, VerifiedReport};

impl Engine {
    pub(super) fn on_request(
        &mut self,
        now: Timestamps,
        from: &NodeId,
        delivery: ReceivedReports,
        effects: &mut Vec<Effect>,
    ) {
        self.snapshot.counters.requests += 1;
        if let Some(index) = self.snapshot.membership.index(from.as_str()) {
            self.peers[index].on_request(now);
            if let Some(head) = delivery.heads.get(&self.snapshot.membership, self.snapshot.membership.me()) {
                self.peers[index].known_own_report = Some(head.id);
            }
        }
        self.ingest(now, None, delivery, effects);
    }

    /// Takes what a message brought; `replier` is set for a signed reply. Gives its heads back.
    pub(super) fn ingest(
        &mut self,
        now: Timestamps,
        replier: Option<usize>,
        delivery: ReceivedReports,
        effects: &mut Vec<Effect>,
    ) -> Heads {
        let ReceivedReports { heads, reports, proofs } = delivery;
        for report in reports {
            let Some(author) = self.snapshot.membership.index(report.author().as_str()) else { continue };
            let age_ms = heads.age_ms(&self.snapshot.membership, author, report.id());
            self.store_report(now, report, age_ms, replier == Some(author), effects);
        }
        for proof in proofs {
            self.record_equivocation(now, proof, effects);
        }
        self.update_ages(now, replier, &heads);
        if let Some(index) = replier {
            let me = self.snapshot.membership.me();
            self.peers[index].known_own_report = heads.get(&self.snapshot.membership, me).map(|head| head.id);
        }
        self.refute(now);
        heads
    }

    /// Stores a report if it advances.
    pub(super) fn store_report(
        &mut self,
        now: Timestamps,
        report: VerifiedReport,
        age_ms: u64,
        from_author: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.snapshot.membership.index(report.author().as_str()) else { return };
        // The configuration may have changed since the signature was checked.
        if !self.snapshot.membership.members()[index].keys.contains(report.key()) {
            return;
        }
        let state = &self.snapshot.states[index];
        match &state.latest {
            Some(latest) if report.id() == latest.id() && report.digest() != latest.digest() => {
                if let Some(proof) = EquivocationProof::new(latest.as_ref().clone(), report.clone()) {
                    self.record_equivocation(now, proof, effects);
                }
                if index == self.snapshot.membership.me() {
                    self.supersede(now, report.id(), effects);
                }
            }
            Some(latest) if report.id() <= latest.id() => self.snapshot.counters.reports_stale += 1,
            _ if index == self.snapshot.membership.me() => self.supersede(now, report.id(), effects),
            None if report.id() < state.min_report => self.snapshot.counters.reports_stale += 1,
            _ => {
                let Snapshot { states, membership, .. } = &mut self.snapshot;
                let state = states.get_mut(index);
                // Right after a start, what is older than the start may advance what was held before.
                let heard = std::mem::replace(&mut self.peers[index].has_report, true);
                state.advanced |= from_author || (heard && now.mono_ms >= self.backlog_until_ms);
                // It is younger than the one before it, whatever age is claimed.
                state.created_ms = state.created_ms.max(now.mono_ms.saturating_sub(age_ms));
                state.received_ms = now.mono_ms;
                state.head_changed_ms = now.mono_ms;
                state.set_latest(Arc::new(report), membership);
                self.snapshot.counters.reports_stored += 1;
                self.changed = true;
            }
        }
    }

    /// A report under this node's own key that this process did not make: the state was lost or restored
    /// once; the second time there is a twin.
    fn supersede(&mut self, now: Timestamps, latest: ReportId, effects: &mut Vec<Effect>) {
        if latest < self.publisher.last_id() {
            return;
        }
        if std::mem::replace(&mut self.superseded, true) || latest.epoch >= MAX_INTEGER {
            self.snapshot.duplicate_key = true;
            self.changed = true;
            effects.push(Effect::Notice(Notice::DuplicateKey { report_id: latest }));
            return;
        }
        let epoch = (latest.epoch + 1).max(now.wall_ms).min(MAX_INTEGER);
        self.publisher.start_epoch(epoch);
        effects.push(Effect::SaveEpoch(epoch));
        effects.push(Effect::Notice(Notice::Superseded { latest, epoch }));
    }

    fn record_equivocation(&mut self, now: Timestamps, proof: EquivocationProof, effects: &mut Vec<Effect>) {
        let Some(index) = self.snapshot.membership.index(proof.author().as_str()) else { return };
        let keys = &self.snapshot.membership.members()[index].keys;
        let state = &self.snapshot.states[index];
        if state.equivocation.is_some() || !proof.reports().iter().all(|report| keys.contains(report.key())) {
            return;
        }
        let proof = Arc::new(proof);
        let state = self.snapshot.states.get_mut(index);
        state.equivocation = Some(proof.clone());
        state.head_changed_ms = now.mono_ms;
        self.changed = true;
        let (node, report_id) = (proof.author().clone(), proof.report_id());
        effects.push(Effect::SaveProof(proof));
        effects.push(Effect::Notice(Notice::Equivocated { node, report_id }));
    }

    /// A report is as young as anyone claims it to be, but never younger than its arrival here.
    fn update_ages(&mut self, now: Timestamps, replier: Option<usize>, heads: &Heads) {
        let Snapshot { states, membership, .. } = &mut self.snapshot;
        for (place, head) in heads.named() {
            let known = if heads.matches(membership) {
                Some(*place)
            } else {
                membership.index(heads.membership().members()[*place].id.as_str())
            };
            let Some(index) = known else { continue };
            let state = &states[index];
            let Some(latest) = state.latest.as_ref().filter(|latest| latest.id() == head.id) else {
                continue;
            };
            if latest.short_digest() != head.hash {
                continue;
            }
            let claimed_ms = now.mono_ms.saturating_sub(head.age_ms);
            let origin_ms = state.created_ms.max(claimed_ms).min(state.received_ms);
            let advanced = state.advanced || replier == Some(index);
            // Most know nothing better, and stay shared with the snapshot before.
            if (state.created_ms, state.advanced) != (origin_ms, advanced) {
                let state = states.get_mut(index);
                (state.created_ms, state.advanced) = (origin_ms, advanced);
            }
        }
    }
}
