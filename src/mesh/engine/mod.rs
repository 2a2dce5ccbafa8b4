//! The engine: the state of a node in one network, changed only by [`Engine::step`].

mod call_results;
mod calls;
mod change_limiter;
mod config_mismatch;
mod epoch_recovery;
mod evaluator;
pub mod event;
mod gap_detector;
mod ingest;
mod load;
mod peer_state;
mod peers;
mod publisher;
mod reconfigure;
mod self_health;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::call_results::LATENESS_DIVISOR;
use self::calls::CallPlanner;
use self::change_limiter::Urgency;
use self::config_mismatch::MismatchTimer;
use self::epoch_recovery::EpochRecovery;
pub use self::epoch_recovery::StartEpoch;
use self::evaluator::Evaluator;
use self::event::{Effect, Event, Notice, ReceivedReports};
use self::gap_detector::GapDetector;
use self::load::Load;
use self::peers::Peers;
pub use self::publisher::Signer;
use self::publisher::{OwnRun, Publisher, ReportContent};
use self::self_health::SelfHealth;
use super::id::{NodeId, ReportId};
use super::member_state::MemberState;
use super::membership::Membership;
use super::report_table::ReportTable;
use super::snapshot::{Counters, Snapshot};
use super::sync::round_robin::RoundRobin;
use super::timestamps::Timestamps;
use super::verdict::tracker::VerdictChange;
use super::wire::equivocation::EquivocationProof;
use super::wire::heads::Heads;
use super::wire::held;
use super::wire::leave::LeaveNotice;
use super::wire::observation::{Observation, ProbeStatus};
use super::wire::prior_run::PriorRun;

/// The parameters of an [`Engine`].
pub struct EngineInit {
    /// The network.
    pub membership: Arc<Membership>,
    /// Signs reports.
    pub signer: Box<dyn Signer>,
    /// Seeds the random spread of probes and pushes.
    pub seed: u64,
    /// The first epoch.
    pub epoch: StartEpoch,
    /// The previous process of this node, as far as it is known.
    pub prior: Option<PriorRun>,
    /// Ids of reports that an earlier process held: older reports are not stored.
    pub min_reports: Vec<(NodeId, ReportId)>,
    /// Stored proofs of equivocation.
    pub proofs: Vec<EquivocationProof>,
    /// The first 8 bytes of a hash of the host's boot id, if that is known.
    pub boot: Option<[u8; 8]>,
}

/// The state of a node in one network.
pub struct Engine {
    table: ReportTable,
    peers: Peers,
    round_robin: RoundRobin,
    publisher: Publisher,
    /// While this is set, this node publishes nothing.
    epoch_recovery: Option<EpochRecovery>,
    self_health: SelfHealth,
    evaluator: Evaluator,
    config_mismatch: MismatchTimer,
    gap_detector: GapDetector,
    load: Load,
    counters: Counters,
    revision: u64,
    /// Whether a snapshot would differ from the one taken last.
    changed: bool,
    leaving: Option<LeaveNotice>,
}

impl Engine {
    /// Creates the engine of a node that knows nothing yet; its first probe is due immediately.
    pub fn new(init: EngineInit, now: Timestamps) -> Self {
        let membership = init.membership;
        let mut states = vec![MemberState::awaited_since(now.mono_ms); membership.members().len()];
        for proof in init.proofs {
            if let Some(index) = membership.index(proof.author().as_str()) {
                states[index].equivocation = Some(Arc::new(proof));
            }
        }
        for (id, report_id) in init.min_reports {
            if let Some(index) = membership.index(id.as_str()) {
                states[index].min_report = report_id;
            }
        }
        let peers = Peers::new(&membership, now, init.seed);
        let run = OwnRun { began: now, boot: init.boot, prior: init.prior };
        let (epoch, epoch_recovery) = match init.epoch {
            StartEpoch::New(epoch) => (epoch, None),
            StartEpoch::Lost { known } => {
                let recovery = EpochRecovery::new(now, known, init.seed);
                (recovery.provisional(), Some(recovery))
            }
        };
        let recovers_epoch = epoch_recovery.is_some();
        let states = states.into_iter().collect();
        let table = ReportTable { membership, states, recovers_epoch, epoch_exhausted: false };
        Self {
            peers,
            round_robin: RoundRobin::default(),
            publisher: Publisher::new(init.signer, epoch, run),
            epoch_recovery,
            self_health: SelfHealth::default(),
            evaluator: Evaluator::new(&table, now),
            config_mismatch: MismatchTimer::default(),
            gap_detector: GapDetector::new(now),
            load: Load::default(),
            counters: Counters::default(),
            revision: 0,
            changed: true,
            leaving: None,
            table,
        }
    }

    /// Applies `event` and returns the effects to carry out, in this order.
    pub fn step(&mut self, now: Timestamps, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.detect_gap(now, &mut effects);
        match event {
            Event::Tick => {}
            Event::Late(lateness_ms) => self.record_lateness(now, lateness_ms),
            Event::CallFinished(finished) => self.on_call_finished(now, finished, &mut effects),
            Event::RequestReceived { from, received } => {
                self.on_request(now, &from, received, &mut effects);
            }
            Event::IncompatibleRequest { from } => self.on_incompatible_request(now, &from),
            Event::Reconfigured(membership) => self.reconfigure(now, &membership),
            Event::Leaving(notice) => self.start_leaving(notice),
        }
        self.run_due_work(now, &mut effects);
        effects
    }

    /// The current snapshot, if it differs from the one taken last.
    pub fn take_snapshot(&mut self, now: Timestamps) -> Option<Snapshot> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.revision += 1;
        Some(Snapshot {
            table: self.table.clone(),
            at: now,
            revision: self.revision,
            epoch: self.publisher.last_id().epoch,
            isolated: self.self_health.is_isolated(),
            overloaded: self.load.is_overloaded(),
            duplicate_key: self.self_health.has_duplicate_key(),
            counters: self.counters,
            verdicts: self.evaluator.verdicts.clone(),
            tracker: self.evaluator.tracker.clone(),
            history: self.evaluator.history.clone(),
        })
    }

    /// When to step at the latest, in monotonic ms. Callers also step at least once a second, so that a peer without url
    /// that stopped calling is noticed.
    pub fn deadline_ms(&self) -> u64 {
        if self.leaving.is_some() {
            return u64::MAX;
        }
        let membership = self.table.membership();
        let last_step_ms = self.gap_detector.last_step_ms();
        let own_ms = match &self.epoch_recovery {
            Some(recovery) => recovery.due_ms(last_step_ms, membership),
            None => self.publisher.due_ms(membership),
        };
        let probe_ms = self.peers.next_probe_ms(membership);
        let refute_ms = self.self_health.refutation_due_ms(last_step_ms);
        let optional = probe_ms.into_iter().chain(refute_ms);
        optional.fold(own_ms.min(self.evaluator.due_ms()), u64::min)
    }

    /// Whether no call is in flight. After [`Event::Leaving`], only calls with the last report count.
    pub fn is_idle(&self) -> bool {
        self.peers.are_idle()
    }

    /// Treats a long gap between two steps like a start: reports from before it are no sign of life, and calls in flight
    /// are forgotten, so that their failures do not count against peers.
    fn detect_gap(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let Some(gap_ms) = self.gap_detector.step(now, self.table.membership().max_poll_ms()) else { return };
        effects.push(Effect::Notice(Notice::ResumedAfterGap { gap_ms }));
        for index in 0..self.table.states.len() {
            let state = self.table.states.get_mut(index);
            state.advanced = false;
            state.waiting_since_ms = now.mono_ms;
        }
        self.peers.resume_after_gap(&self.table.membership, now);
        if let Some(recovery) = &mut self.epoch_recovery {
            recovery.start_over(now);
        }
        // Peers that waited for this node's report need not wait for its next probes.
        self.publisher.report_change(now, Urgency::Ordinary, &self.table.membership);
        self.changed = true;
    }

    /// Announces the stop in the next report, and starts nothing else. Without an epoch there is no such report, so no
    /// call counts.
    fn start_leaving(&mut self, notice: LeaveNotice) {
        self.leaving = Some(notice);
        self.peers.cancel_pending_pushes();
        if self.epoch_recovery.is_some() {
            self.peers.forget_calls_until(self.peers.last_call());
        }
    }

    fn run_due_work(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        self.evaluate_callers(now, effects);
        if self.load.update(now, self.table.membership.interval_ms(), self.late_limit_ms()) {
            self.changed = true;
            self.publisher.report_change(now, Urgency::Ordinary, &self.table.membership);
            effects.push(Effect::Notice(Notice::OverloadChanged(self.load.is_overloaded())));
        }
        if self.self_health.update_isolation(&self.table, &self.peers, now) {
            self.changed = true;
            self.publisher.report_change(now, Urgency::Ordinary, &self.table.membership);
            effects.push(Effect::Notice(Notice::IsolationChanged(self.self_health.is_isolated())));
        }
        self.finish_epoch_recovery(now, effects);
        self.publish(now, effects);
        if self.leaving.is_none() {
            self.calls(now, effects).probe();
            if self.self_health.refutation_is_due(now, self.table.membership().max_poll_ms()) {
                self.calls(now, effects).refute();
            }
        }
        let changes = self.evaluator.run_if_due(&self.table, now, &mut self.changed);
        let notable = changes.into_iter().filter(VerdictChange::is_notable);
        effects.extend(notable.map(|change| Effect::Notice(Notice::VerdictChanged(change))));
    }

    fn calls<'e>(&'e mut self, now: Timestamps, effects: &'e mut Vec<Effect>) -> CallPlanner<'e> {
        let epoch = self.publisher.last_id().epoch;
        CallPlanner {
            table: &self.table,
            peers: &mut self.peers,
            round_robin: &mut self.round_robin,
            effects,
            now,
            epoch,
        }
    }

    /// Sets the status of the peers without a url, which only call out, by their last call.
    fn evaluate_callers(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let membership = self.table.membership.clone();
        for &index in membership.observed() {
            let member = &membership.members()[index];
            if member.url.is_some() {
                continue;
            }
            let head = self.table.states[index].latest_id();
            let before = self.peers[index].evaluate_caller(now, member, membership.own(), head);
            self.record_status_change(now, index, before, effects);
        }
    }

    /// Ends the recovery of the epoch if an epoch can be chosen now.
    fn finish_epoch_recovery(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let Some(recovery) = self.epoch_recovery.as_mut().filter(|_| self.leaving.is_none()) else { return };
        let Some(epoch) = recovery.recovered(now, &self.table.membership) else { return };
        self.epoch_recovery = None;
        self.table.recovers_epoch = false;
        self.publisher.start_epoch(epoch);
        self.peers.reset_tries();
        effects.push(Effect::SaveEpoch(epoch));
        effects.push(Effect::Notice(Notice::EpochRecovered { epoch }));
    }

    /// Publishes this node's next report when it is due, and pushes it if it reports a change.
    fn publish(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        if self.epoch_recovery.is_some() {
            return;
        }
        let membership = self.table.membership.clone();
        let is_leaving = self.leaving.is_some();
        let Some(reason) = self.publisher.due(now, &membership, is_leaving) else { return };
        let id = self.publisher.next_id();
        let observe = |&index: &usize| {
            let newest = self.table.states[index].latest_id();
            (membership.members()[index].id.clone(), self.peers[index].observe(id, newest))
        };
        let observations = membership.observed().iter().map(observe).collect();
        let reports = self.table.states.iter().filter_map(|state| state.latest.as_deref());
        let held = held::merkle_root(reports);
        let isolated = self.self_health.is_isolated();
        let lateness_ms = Some(self.load.take_max_ms()).filter(|_| self.load.is_overloaded());
        let content = ReportContent { isolated, lateness_ms, leaving: self.leaving, held, observations };
        let report = self.publisher.publish(now, &membership, content);
        self.table.store_own(now, report);
        self.changed = true;
        if reason.is_change() {
            self.calls(now, effects).push(is_leaving);
        }
        effects.extend(self.config_mismatch.update(&self.table, now).map(Effect::Notice));
    }

    fn record_status_change(
        &mut self,
        now: Timestamps,
        index: usize,
        before: Option<ProbeStatus>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(from) = before else { return };
        let Observation { status: to, error, .. } = self.peers[index].observation;
        let peer = self.table.membership.members()[index].id.clone();
        effects.push(Effect::Notice(Notice::PeerStatusChanged { peer, from, to, error }));
        let urgency = self.urgency(index, from, to);
        self.publisher.report_change(now, urgency, &self.table.membership);
    }

    /// How soon to report that the status of a peer has changed.
    fn urgency(&self, index: usize, from: ProbeStatus, to: ProbeStatus) -> Urgency {
        let stable_ms = 4 * self.table.membership.interval_ms();
        match (from, to) {
            // At the start of a network, every node has such a change for each other one. None of them decides a verdict.
            (ProbeStatus::Unknown, ProbeStatus::Online) if self.peers[index].is_first_contact() => {
                Urgency::Deferred
            }
            (ProbeStatus::Offline, ProbeStatus::Online) if self.evaluator.has_offline_quorum(index) => {
                Urgency::Immediate
            }
            (_, ProbeStatus::Offline) if self.peers[index].previous_held_ms() >= stable_ms => Urgency::Urgent,
            _ => Urgency::Ordinary,
        }
    }

    /// Records that a thread of this process was late. A gap in time is no overload.
    fn record_lateness(&mut self, now: Timestamps, lateness_ms: u64) {
        if !GapDetector::is_gap(lateness_ms, self.table.membership.max_poll_ms()) {
            self.load.record(now, lateness_ms, self.late_limit_ms());
        }
    }

    /// The greatest lateness that does not count, in ms.
    fn late_limit_ms(&self) -> u64 {
        self.table.membership.max_timeout_ms() / LATENESS_DIVISOR
    }

    fn on_request(
        &mut self,
        now: Timestamps,
        from: &NodeId,
        mut received: ReceivedReports,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.requests += 1;
        let membership = self.table.membership.clone();
        let sender = membership.index(from.as_str());
        if let Some(index) = sender {
            self.peers[index].on_request(now);
            let sync = &mut self.table.states.get_mut(index).sync;
            received.heads = sync.on_request(&membership, index, received.heads);
            if received.heads.knows(&membership, membership.me()) {
                self.note_held_own_report(index, &received.heads);
            }
        }
        let heads = received.heads.clone();
        self.ingest(now, None, received, effects);
        if let Some(index) = sender.filter(|_| !heads.is_partial()) {
            self.note_recovery_answer(index, &heads);
        }
    }

    /// Records what the peer holds of this node's reports, by its complete heads, while the epoch is recovered.
    fn note_recovery_answer(&mut self, index: usize, heads: &Heads) {
        let Some(recovery) = &mut self.epoch_recovery else { return };
        let membership = &self.table.membership;
        let held = heads.get(membership, membership.me()).map(|head| head.id);
        recovery.on_heads(&membership.members()[index].id, held);
    }

    /// Records a request of an incompatible release. It shows nothing of a peer with a url, which probes find to be
    /// incompatible: the format of that release does not protect a request from being replayed to other nodes.
    fn on_incompatible_request(&mut self, now: Timestamps, from: &NodeId) {
        let membership = &self.table.membership;
        let Some(index) = membership.index(from.as_str()) else { return };
        if membership.members()[index].url.is_none() {
            self.peers[index].on_incompatible_request(now);
            self.table.states.get_mut(index).waiting_since_ms = now.mono_ms;
        }
    }

    /// Records the newest of this node's reports that the peer holds, by its heads.
    fn note_held_own_report(&mut self, index: usize, heads: &Heads) {
        let membership = &self.table.membership;
        self.peers[index].known_own_report = heads.get(membership, membership.me()).map(|head| head.id);
    }
}
