//! What messages bring: which reports and proofs are taken, and how old they are.

use std::sync::Arc;

use super::event::{Delivery, Effect, Note};
use super::id::{MAX_INTEGER, NodeId, Stamp};
use super::message::Heads;
use super::picture::{Now, Picture};
use super::report::{Proof, VerifiedReport};
use super::state::Mesh;

impl Mesh {
    pub(super) fn asked(&mut self, now: Now, from: &NodeId, delivery: Delivery, effects: &mut Vec<Effect>) {
        self.picture.counters.requests += 1;
        if let Some(index) = self.picture.roster.index(from.as_str()) {
            self.targets[index].asked(now);
            if let Some(head) = delivery.heads.get(&self.picture.roster, self.picture.roster.me()) {
                self.targets[index].knows_own = Some(head.stamp);
            }
        }
        self.deliver(now, None, delivery, effects);
    }

    /// Takes what a message brought; `replier` is set for a signed reply. Gives its heads back.
    pub(super) fn deliver(
        &mut self,
        now: Now,
        replier: Option<usize>,
        delivery: Delivery,
        effects: &mut Vec<Effect>,
    ) -> Heads {
        let Delivery { heads, reports, proofs } = delivery;
        for report in reports {
            let Some(author) = self.picture.roster.index(report.author().as_str()) else { continue };
            let head = heads.get(&self.picture.roster, author);
            let age_ms = head.filter(|head| head.stamp == report.stamp()).map_or(0, |head| head.age_ms);
            self.accept(now, report, age_ms, replier == Some(author), effects);
        }
        for proof in proofs {
            self.keep_proof(now, proof, effects);
        }
        self.learn_ages(now, replier, &heads);
        if let Some(index) = replier {
            let me = self.picture.roster.me();
            self.targets[index].knows_own = heads.get(&self.picture.roster, me).map(|head| head.stamp);
        }
        self.refute(now);
        heads
    }

    /// Stores a report if it advances.
    pub(super) fn accept(
        &mut self,
        now: Now,
        report: VerifiedReport,
        age_ms: u64,
        from_author: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.picture.roster.index(report.author().as_str()) else { return };
        // The configuration may have changed since the signature was checked.
        if !self.picture.roster.members()[index].keys.contains(report.key()) {
            return;
        }
        let slot = &self.picture.slots[index];
        match &slot.held {
            Some(held) if report.stamp() == held.stamp() && report.digest() != held.digest() => {
                if let Some(proof) = Proof::new(held.as_ref().clone(), report.clone()) {
                    self.keep_proof(now, proof, effects);
                }
                if index == self.picture.roster.me() {
                    self.supersede(now, report.stamp(), effects);
                }
            }
            Some(held) if report.stamp() <= held.stamp() => self.picture.counters.reports_stale += 1,
            _ if index == self.picture.roster.me() => self.supersede(now, report.stamp(), effects),
            None if report.stamp() < slot.floor => self.picture.counters.reports_stale += 1,
            _ => {
                let Picture { slots, roster, .. } = &mut self.picture;
                let slot = Arc::make_mut(&mut slots[index]);
                // Right after a start, what is older than the start may advance what was held before.
                let heard = std::mem::replace(&mut self.targets[index].heard, true);
                slot.advanced |= from_author || (heard && now.mono_ms >= self.settled_ms);
                // It is younger than the one before it, whatever age is claimed.
                slot.origin_ms = slot.origin_ms.max(now.mono_ms.saturating_sub(age_ms));
                slot.arrived_ms = now.mono_ms;
                slot.changed_ms = now.mono_ms;
                slot.hold(Arc::new(report), roster);
                self.picture.counters.reports_stored += 1;
                self.changed = true;
            }
        }
    }

    /// A report under this node's own key that this process did not make: the state was lost or restored
    /// once; the second time there is a twin.
    fn supersede(&mut self, now: Now, held: Stamp, effects: &mut Vec<Effect>) {
        if held < self.publisher.stamp() {
            return;
        }
        if std::mem::replace(&mut self.superseded, true) || held.epoch >= MAX_INTEGER {
            self.picture.twin = true;
            self.changed = true;
            effects.push(Effect::Note(Note::Twin { held }));
            return;
        }
        let epoch = (held.epoch + 1).max(now.wall_ms).min(MAX_INTEGER);
        self.publisher.start_epoch(epoch);
        effects.push(Effect::SaveEpoch(epoch));
        effects.push(Effect::Note(Note::Superseded { held, epoch }));
    }

    fn keep_proof(&mut self, now: Now, proof: Proof, effects: &mut Vec<Effect>) {
        let Some(index) = self.picture.roster.index(proof.author().as_str()) else { return };
        let keys = &self.picture.roster.members()[index].keys;
        let slot = &self.picture.slots[index];
        if slot.proof.is_some() || !proof.reports().iter().all(|report| keys.contains(report.key())) {
            return;
        }
        let proof = Arc::new(proof);
        let slot = self.picture.slot_mut(index);
        slot.proof = Some(proof.clone());
        slot.changed_ms = now.mono_ms;
        self.changed = true;
        let (node, stamp) = (proof.author().clone(), proof.stamp());
        effects.push(Effect::SaveProof(proof));
        effects.push(Effect::Note(Note::Equivocated { node, stamp }));
    }

    /// A report is as young as anyone claims it to be, but never younger than its arrival here.
    fn learn_ages(&mut self, now: Now, replier: Option<usize>, heads: &Heads) {
        for (index, slot) in self.picture.slots.iter_mut().enumerate() {
            let Some(head) = heads.get(&self.picture.roster, index) else { continue };
            let Some(held) = slot.held.as_ref().filter(|held| held.stamp() == head.stamp) else { continue };
            if held.short_digest() != head.hash {
                continue;
            }
            let claimed_ms = now.mono_ms.saturating_sub(head.age_ms);
            let origin_ms = slot.origin_ms.max(claimed_ms).min(slot.arrived_ms);
            let advanced = slot.advanced || replier == Some(index);
            // Most know nothing better, and stay shared with the picture before.
            if (slot.origin_ms, slot.advanced) != (origin_ms, advanced) {
                let slot = Arc::make_mut(slot);
                (slot.origin_ms, slot.advanced) = (origin_ms, advanced);
            }
        }
    }
}
