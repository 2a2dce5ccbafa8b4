//! Stores the content of messages: reports, proofs, and what they say about this node itself.

use super::Engine;
use super::change_limiter::Urgency;
use super::event::{Effect, Notice, ReceivedReports};
use super::self_health::OwnKeyReport;
use crate::mesh::id::ReportId;
use crate::mesh::report_table::StoreOutcome;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::report::VerifiedReport;

impl Engine {
    /// Stores the content of a message; `replier` is the sender's index if the message is a signed reply.
    pub(super) fn ingest(
        &mut self,
        now: Timestamps,
        replier: Option<usize>,
        received: ReceivedReports,
        effects: &mut Vec<Effect>,
    ) {
        let ReceivedReports { heads, reports, proofs } = received;
        for report in reports {
            let membership = &self.table.membership;
            let Some(author) = membership.index(report.author().as_str()) else { continue };
            let age_ms = heads.age_ms(membership, author, report.id());
            self.store_report(now, report, age_ms, replier == Some(author), effects);
        }
        for proof in proofs {
            self.record_equivocation(now, proof, effects);
        }
        self.table.update_ages(now, replier, &heads);
        let own = self.publisher.last_id();
        if self.self_health.update_refutation(&self.table, &mut self.peers, own, now) {
            let is_first = self.self_health.may_refute_immediately(now, self.table.membership.interval_ms());
            let urgency = if is_first { Urgency::Immediate } else { Urgency::Ordinary };
            self.publisher.report_change(now, urgency, &self.table.membership);
        }
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
        let membership = &self.table.membership;
        let Some(index) = membership.index(report.author().as_str()) else { return };
        // The configuration may have changed since the signature was verified.
        if !membership.members()[index].keys.contains(report.key()) {
            return;
        }
        let (is_own, id) = (index == membership.me(), report.id());
        let is_newer_than_held = self.table.states[index].latest_id().is_none_or(|latest| id > latest);
        if is_own && is_newer_than_held {
            return self.on_own_key_report(now, id, effects);
        }
        // Right after this node's start, a report that was created before may still advance the held one.
        let proves_alive =
            from_author || (self.peers[index].has_report && !self.gap_detector.may_be_backlog(now));
        match self.table.store(now, index, report, age_ms, proves_alive) {
            StoreOutcome::Stored => {
                self.peers[index].has_report = true;
                self.counters.reports_stored += 1;
                self.changed = true;
            }
            StoreOutcome::Stale => self.counters.reports_stale += 1,
            StoreOutcome::Conflicting(proof) => {
                if let Some(proof) = proof {
                    self.record_equivocation(now, *proof, effects);
                }
                if is_own {
                    self.on_own_key_report(now, id, effects);
                }
            }
        }
    }

    /// Applies a report under this node's key that this process did not publish: the first one means that state was lost
    /// or restored, a second one that another process uses the key. While the epoch is recovered, it only raises the
    /// epoch.
    fn on_own_key_report(&mut self, now: Timestamps, report_id: ReportId, effects: &mut Vec<Effect>) {
        if let Some(recovery) = &mut self.epoch_recovery {
            if recovery.on_own_key_report(report_id) {
                self.table.epoch_exhausted = true;
                self.changed = true;
                effects.push(Effect::Notice(Notice::NoEpochLeft { report_id }));
            }
            self.publisher.start_epoch(recovery.provisional());
            return;
        }
        match self.self_health.on_own_key_report(report_id, self.publisher.last_id(), now) {
            OwnKeyReport::Old => {}
            OwnKeyReport::DuplicateKey => {
                self.changed = true;
                effects.push(Effect::Notice(Notice::DuplicateKey { report_id }));
            }
            OwnKeyReport::Superseded { epoch } => {
                self.publisher.start_epoch(epoch);
                self.peers.reset_tries();
                effects.push(Effect::SaveEpoch(epoch));
                effects.push(Effect::Notice(Notice::Superseded { report_id, epoch }));
            }
        }
    }

    fn record_equivocation(&mut self, now: Timestamps, proof: EquivocationProof, effects: &mut Vec<Effect>) {
        let Some(proof) = self.table.record_equivocation(now, proof) else { return };
        self.changed = true;
        let (node, report_id) = (proof.author().clone(), proof.report_id());
        effects.push(Effect::SaveProof(proof));
        effects.push(Effect::Notice(Notice::Equivocated { node, report_id }));
    }
}
