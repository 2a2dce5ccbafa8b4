//! What messages bring: which reports and proofs are taken, and how old they are.

use std::sync::Arc;

use super::event::{Effect, Notice, ReceivedReports};
use super::id::{MAX_INTEGER, NodeId, ReportId};
use super::message::Heads;
use super::snapshot::{Snapshot, Timestamps};
use super::report::{EquivocationProof, VerifiedReport};
use super::engine::Engine;

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
        let slot = &self.snapshot.states[index];
        match &slot.latest {
            Some(held) if report.id() == held.id() && report.digest() != held.digest() => {
                if let Some(proof) = EquivocationProof::new(held.as_ref().clone(), report.clone()) {
                    self.record_equivocation(now, proof, effects);
                }
                if index == self.snapshot.membership.me() {
                    self.supersede(now, report.id(), effects);
                }
            }
            Some(held) if report.id() <= held.id() => self.snapshot.counters.reports_stale += 1,
            _ if index == self.snapshot.membership.me() => self.supersede(now, report.id(), effects),
            None if report.id() < slot.min_report => self.snapshot.counters.reports_stale += 1,
            _ => {
                let Snapshot { states: slots, membership: roster, .. } = &mut self.snapshot;
                let slot = slots.get_mut(index);
                // Right after a start, what is older than the start may advance what was held before.
                let heard = std::mem::replace(&mut self.peers[index].has_report, true);
                slot.advanced |= from_author || (heard && now.mono_ms >= self.backlog_until_ms);
                // It is younger than the one before it, whatever age is claimed.
                slot.created_ms = slot.created_ms.max(now.mono_ms.saturating_sub(age_ms));
                slot.received_ms = now.mono_ms;
                slot.head_changed_ms = now.mono_ms;
                slot.set_latest(Arc::new(report), roster);
                self.snapshot.counters.reports_stored += 1;
                self.changed = true;
            }
        }
    }

    /// A report under this node's own key that this process did not make: the state was lost or restored
    /// once; the second time there is a twin.
    fn supersede(&mut self, now: Timestamps, held: ReportId, effects: &mut Vec<Effect>) {
        if held < self.publisher.last_id() {
            return;
        }
        if std::mem::replace(&mut self.superseded, true) || held.epoch >= MAX_INTEGER {
            self.snapshot.duplicate_key = true;
            self.changed = true;
            effects.push(Effect::Notice(Notice::DuplicateKey { report_id: held }));
            return;
        }
        let epoch = (held.epoch + 1).max(now.wall_ms).min(MAX_INTEGER);
        self.publisher.start_epoch(epoch);
        effects.push(Effect::SaveEpoch(epoch));
        effects.push(Effect::Notice(Notice::Superseded { held, epoch }));
    }

    fn record_equivocation(&mut self, now: Timestamps, proof: EquivocationProof, effects: &mut Vec<Effect>) {
        let Some(index) = self.snapshot.membership.index(proof.author().as_str()) else { return };
        let keys = &self.snapshot.membership.members()[index].keys;
        let slot = &self.snapshot.states[index];
        if slot.equivocation.is_some() || !proof.reports().iter().all(|report| keys.contains(report.key())) {
            return;
        }
        let proof = Arc::new(proof);
        let slot = self.snapshot.states.get_mut(index);
        slot.equivocation = Some(proof.clone());
        slot.head_changed_ms = now.mono_ms;
        self.changed = true;
        let (node, stamp) = (proof.author().clone(), proof.report_id());
        effects.push(Effect::SaveProof(proof));
        effects.push(Effect::Notice(Notice::Equivocated { node, report_id: stamp }));
    }

    /// A report is as young as anyone claims it to be, but never younger than its arrival here.
    fn update_ages(&mut self, now: Timestamps, replier: Option<usize>, heads: &Heads) {
        let Snapshot { states: slots, membership: roster, .. } = &mut self.snapshot;
        for (place, head) in heads.named() {
            let known = if heads.matches(roster) {
                Some(*place)
            } else {
                roster.index(heads.membership().members()[*place].id.as_str())
            };
            let Some(index) = known else { continue };
            let slot = &slots[index];
            let Some(held) = slot.latest.as_ref().filter(|held| held.id() == head.id) else { continue };
            if held.short_digest() != head.hash {
                continue;
            }
            let claimed_ms = now.mono_ms.saturating_sub(head.age_ms);
            let origin_ms = slot.created_ms.max(claimed_ms).min(slot.received_ms);
            let advanced = slot.advanced || replier == Some(index);
            // Most know nothing better, and stay shared with the picture before.
            if (slot.created_ms, slot.advanced) != (origin_ms, advanced) {
                let slot = slots.get_mut(index);
                (slot.created_ms, slot.advanced) = (origin_ms, advanced);
            }
        }
    }
}
