//! The state of a node in one network, and its one verb: [`Mesh::step`].

mod call;
mod config_mismatch;
pub mod delta_sync;
pub mod event;
mod ingest;
mod peer_state;
mod publisher;
mod self_health;

use std::sync::Arc;

use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::snapshot::{Counters, MemberState, Snapshot, Timestamps};
use crate::mesh::verdict;
use crate::mesh::verdict::history::VerdictRecord;
use crate::mesh::verdict::tracker::VerdictChange;
use crate::mesh::wire::observation::{Observation, ProbeStatus};
use crate::mesh::wire::report::{EquivocationProof, VerifiedReport};
use config_mismatch::MismatchTimer;
use event::{Effect, Event, Notice};
use peer_state::PeerState;
use publisher::Publisher;

/// Verdicts are reached at most this often, in ms; in networks of more than 200 nodes less often, in
/// proportion, since all of them are reached at once.
const EVALUATION_GAP_MS: u64 = 50;

/// Signs payloads with this node's key. Ed25519 is deterministic (RFC 8032), so this is no randomness.
pub trait Signer: Send {
    /// The report's payload in a DSSE envelope, signed.
    fn sign(&self, report: crate::mesh::wire::report::Report) -> VerifiedReport;
}

/// What a node starts with.
pub struct EngineInit {
    /// The network.
    pub membership: Arc<Membership>,
    /// Signs.
    pub signer: Box<dyn Signer>,
    /// Spreads probes; any number.
    pub seed: u64,
    /// Larger than any epoch this node used before.
    pub epoch: u64,
    /// Reports older than these were held before and are not taken again.
    pub min_reports: Vec<(NodeId, ReportId)>,
    /// Proofs of equivocation that were kept.
    pub proofs: Vec<EquivocationProof>,
}

/// The state of a node in one network.
pub struct Engine {
    snapshot: Snapshot,
    /// By index into the membership; this node's own is unused.
    peers: Vec<PeerState>,
    fresh: Vec<bool>,
    publisher: Publisher,
    superseded: bool,
    refuting_until_ms: u64,
    next_refute_ms: u64,
    last_tick: Timestamps,
    /// Until then, requests may come in that had waited since before a gap of time.
    backlog_until_ms: u64,
    next_call: u64,
    rng: fastrand::Rng,
    changed: bool,
    leaving: bool,
    config_mismatch: MismatchTimer,
    /// When verdicts were last reached, and when to reach them anew: monotonic time in ms.
    evaluated_ms: u64,
    next_evaluation_ms: u64,
}

impl Engine {
    /// A node that knows nothing yet, and probes its first peer at once.
    pub fn new(setup: EngineInit, now: Timestamps) -> Self {
        let count = setup.membership.members().len();
        let mut states = vec![MemberState { waiting_since_ms: now.mono_ms, ..MemberState::default() }; count];
        for proof in setup.proofs {
            if let Some(index) = setup.membership.index(proof.author().as_str()) {
                states[index].equivocation = Some(Arc::new(proof));
            }
        }
        for (id, report_id) in setup.min_reports {
            if let Some(index) = setup.membership.index(id.as_str()) {
                states[index].min_report = report_id;
            }
        }
        let snapshot = Snapshot {
            membership: setup.membership,
            states: states.into_iter().collect(),
            at: now,
            revision: 0,
            isolated: false,
            duplicate_key: false,
            counters: Counters::default(),
            verdicts: Arc::default(),
            tracker: Arc::default(),
            history: Arc::default(),
        };
        let mut mesh = Self {
            peers: Vec::new(),
            fresh: vec![false; count],
            publisher: Publisher::new(setup.signer, setup.epoch),
            superseded: false,
            refuting_until_ms: 0,
            next_refute_ms: 0,
            last_tick: now,
            backlog_until_ms: 0,
            next_call: 0,
            rng: fastrand::Rng::with_seed(setup.seed),
            changed: true,
            leaving: false,
            config_mismatch: MismatchTimer::default(),
            evaluated_ms: 0,
            next_evaluation_ms: 0,
            snapshot,
        };
        mesh.peers = (0..count).map(|index| mesh.new_peer(now, index)).collect();
        mesh.evaluate(now);
        mesh
    }

    /// A target whose first probe is spread evenly over its `poll_rate`, by its place in the membership.
    fn new_peer(&self, now: Timestamps, index: usize) -> PeerState {
        let membership = &self.snapshot.membership;
        let (count, me) = (membership.probed().count(), membership.me());
        let before = membership.probed().filter(|&other| other < index).count();
        let mine = membership.probed().filter(|&other| other < me).count();
        let place = (before + count - mine) % count.max(1);
        let phase_ms = membership.members()[index].poll_rate_ms * place as u64 / count.max(1) as u64;
        PeerState::new(now, now.mono_ms + phase_ms)
    }

    /// Says goodbye in the next report, and begins nothing else.
    fn start_leaving(&mut self) {
        self.leaving = true;
        for target in &mut self.peers {
            target.push_pending = false;
        }
    }

    /// Takes what happened and says what is to be done, in this order.
    pub fn step(&mut self, now: Timestamps, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.detect_gap(now, &mut effects);
        match event {
            Event::Tick => {}
            Event::CallFinished(called) => self.on_call_finished(now, called, &mut effects),
            Event::RequestReceived { from, received: delivery } => {
                self.on_request(now, &from, delivery, &mut effects)
            }
            Event::Reconfigured(membership) => self.reconfigure(now, &membership),
            Event::Leaving => self.start_leaving(),
        }
        self.run_due_work(now, &mut effects);
        effects
    }

    /// The newest snapshot, if it differs from the one taken before.
    pub fn take_snapshot(&mut self, now: Timestamps) -> Option<Snapshot> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.snapshot.revision += 1;
        self.snapshot.at = now;
        Some(self.snapshot.clone())
    }

    /// When to step at the latest, in monotonic ms. Silence is noticed in passing, so a step is due at
    /// least once a second as well.
    pub fn deadline_ms(&self) -> u64 {
        if self.leaving {
            return u64::MAX;
        }
        let membership = &self.snapshot.membership;
        let probes = membership.probed().map(|index| &self.peers[index]);
        let probes = probes.filter(|target| target.in_flight.is_none()).map(PeerState::next_ms);
        let refute = (self.last_tick.mono_ms < self.refuting_until_ms).then_some(self.next_refute_ms);
        let own = self.publisher.due_ms(membership.publish_ms());
        probes.chain(refute).chain([own, self.next_evaluation_ms]).min().unwrap_or(own)
    }

    /// Whether nothing is under way that this node still waits for; after [`Event::Leaving`] that is
    /// only its last report.
    pub fn is_idle(&self) -> bool {
        self.peers.iter().all(|target| target.in_flight.is_none())
    }

    /// A long gap between two turns is a start: what was heard before it says nothing about now, and
    /// failures across it are this node's own.
    fn detect_gap(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let gap_ms = now.mono_ms.saturating_sub(self.last_tick.mono_ms);
        self.last_tick = now;
        // Turns come at least once a second, so a short interval alone makes no gap.
        if gap_ms <= (2 * self.snapshot.membership.max_poll_ms()).max(3_000) {
            return;
        }
        effects.push(Effect::Notice(Notice::ResumedAfterGap { gap_ms }));
        self.backlog_until_ms = now.mono_ms + self.snapshot.membership.max_poll_ms();
        for index in 0..self.snapshot.states.len() {
            let state = self.snapshot.states.get_mut(index);
            state.advanced = false;
            state.waiting_since_ms = now.mono_ms;
        }
        for index in 0..self.peers.len() {
            let first_ms = self.new_peer(now, index).next_ms();
            self.peers[index].resume_after_gap(now, first_ms);
        }
        self.changed = true;
    }

    pub(super) fn record_status_change(
        &mut self,
        index: usize,
        before: Option<ProbeStatus>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(from) = before else { return };
        let Observation { status: to, error, .. } = self.peers[index].observation;
        let peer = self.snapshot.membership.members()[index].id.clone();
        effects.push(Effect::Notice(Notice::PeerStatusChanged { peer, from, to, error }));
        self.publisher.request_publish();
    }

    /// Goes on with another membership, keeping what it still allows: what is known of a member that has one
    /// of its keys still, as far as those keys signed it.
    fn reconfigure(&mut self, now: Timestamps, membership: &Arc<Membership>) {
        let old = std::mem::replace(&mut self.snapshot.membership, membership.clone());
        let states = std::mem::take(&mut self.snapshot.states);
        let targets = std::mem::take(&mut self.peers);
        let mut known: Vec<_> = states.iter().cloned().zip(targets).map(Some).collect();
        let mut states = Vec::with_capacity(membership.members().len());
        for (index, member) in membership.members().iter().enumerate() {
            let at = old.index(member.id.as_str()).filter(|&at| {
                let keys = &old.members()[at].keys;
                *keys == member.keys || keys.iter().any(|key| member.keys.contains(key))
            });
            let unknown = MemberState { waiting_since_ms: now.mono_ms, ..MemberState::default() };
            let (state, mut target) = match at.and_then(|at| known[at].take()) {
                Some(known) => known,
                None => (unknown.clone(), self.new_peer(now, index)),
            };
            if at.is_some_and(|at| !old.observes(old.me(), at)) {
                target = target.reset(now, self.new_peer(now, index).next_ms());
            }
            let valid = |report: &VerifiedReport| member.keys.contains(report.key());
            let proof = state.equivocation.clone().filter(|proof| proof.reports().into_iter().all(valid));
            let mut state = match &state.latest {
                Some(latest) if !valid(latest) => unknown,
                _ => state,
            };
            state.equivocation = proof;
            // Another membership has other indices.
            if let Some(latest) = state.latest.take() {
                state.set_latest(latest, membership);
            }
            states.push(state);
            self.peers.push(target);
            self.peers[index].bring_forward(now, member);
        }
        self.snapshot.states = states.into_iter().collect();
        self.fresh = vec![false; membership.members().len()];
        self.publisher.request_publish();
        self.changed = true;
        // No snapshot may show the verdicts of another membership.
        self.next_evaluation_ms = 0;
    }

    /// Does what is due.
    fn run_due_work(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        self.evaluate_callers(now, effects);
        self.update_isolation(now, effects);
        self.publish(now, effects);
        if !self.leaving {
            self.probe(now, effects);
            self.push_refutation(now, effects);
        }
        self.evaluate_if_due(now, effects);
    }

    /// Reaches verdicts anew where something has changed, or somebody's silence has passed a bound.
    fn evaluate_if_due(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        if self.changed {
            self.next_evaluation_ms =
                self.next_evaluation_ms.min(self.evaluated_ms + self.evaluation_gap_ms());
        }
        if now.mono_ms < self.next_evaluation_ms {
            return;
        }
        self.evaluated_ms = now.mono_ms;
        for index in 0..self.fresh.len() {
            let fresh = self.snapshot.is_fresh(index, now.mono_ms);
            self.changed |= std::mem::replace(&mut self.fresh[index], fresh) != fresh;
        }
        let changes = self.evaluate(now);
        self.next_evaluation_ms = self.snapshot.verdicts.due_ms.max(now.mono_ms + self.evaluation_gap_ms());
        let news = changes.into_iter().filter(VerdictChange::is_notable);
        effects.extend(news.map(|change| Effect::Notice(Notice::VerdictChanged(change))));
    }

    fn evaluation_gap_ms(&self) -> u64 {
        EVALUATION_GAP_MS.max(self.snapshot.membership.keyed_count() as u64 / 4)
    }

    /// Judges everyone.
    fn evaluate(&mut self, now: Timestamps) -> Vec<VerdictChange> {
        let verdicts = verdict::evaluate(&self.snapshot, now);
        if *self.snapshot.verdicts == verdicts {
            return Vec::new();
        }
        let mut tracked = Arc::unwrap_or_clone(std::mem::take(&mut self.snapshot.tracker));
        let changes = tracked.update(&self.snapshot, &verdicts, now);
        self.snapshot.tracker = Arc::new(tracked);
        if !changes.is_empty() {
            let decisions = changes.iter().map(|change| VerdictRecord {
                membership: self.snapshot.membership.clone(),
                index: change.index,
                at_ms: now.wall_ms,
                from: change.from,
                verdict: verdicts.nodes[change.index].clone(),
                tracked: change.to.clone(),
                newest: self.snapshot.states[change.index].latest.as_ref().map(|latest| latest.id()),
                silent_ms: change.silent_ms,
            });
            Arc::make_mut(&mut self.snapshot.history).record(decisions);
        }
        self.snapshot.verdicts = Arc::new(verdicts);
        self.changed = true;
        changes
    }

    fn evaluate_callers(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let membership = self.snapshot.membership.clone();
        for &index in membership.observed() {
            let member = &membership.members()[index];
            if member.url.is_some() {
                continue;
            }
            let head = self.snapshot.states[index].latest.as_ref().map(|latest| latest.id());
            let before = self.peers[index].evaluate_caller(now, member, membership.own(), head);
            self.record_status_change(index, before, effects);
        }
    }

    /// Makes this node's next report when it is due, and pushes it where it tells of a change.
    fn publish(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let membership = self.snapshot.membership.clone();
        let Some(reason) = self.publisher.due(now, membership.publish_ms(), self.leaving) else { return };
        let me = membership.me();
        let observed = membership.observed().iter();
        let observations = observed
            .map(|&index| (membership.members()[index].id.clone(), self.peers[index].observation))
            .collect();
        let report =
            self.publisher.publish(now, &membership, self.snapshot.isolated, self.leaving, observations);
        let state = self.snapshot.states.get_mut(me);
        state.set_latest(Arc::new(report), &membership);
        state.created_ms = now.mono_ms;
        state.received_ms = now.mono_ms;
        state.head_changed_ms = now.mono_ms;
        state.advanced = true;
        self.changed = true;
        if reason.is_change() {
            self.push(now, effects);
        }
        self.compare_configurations(now, effects);
    }
}
