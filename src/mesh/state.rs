//! The state of a node in one network, and its one verb: [`Mesh::step`].

use std::sync::Arc;

use super::difference::Difference;
use super::event::{Effect, Event, Note};
use super::id::{NodeId, Stamp};
use super::observation::{Observation, Status};
use super::picture::{Counters, Now, Picture, Slot};
use super::publisher::Publisher;
use super::report::{Proof, VerifiedReport};
use super::roster::Roster;
use super::target::Target;
use super::verdict;
use super::verdict::history::Decision;
use super::verdict::latch::Change;

/// Verdicts are reached at most this often, in ms; in networks of more than 200 nodes less often, in
/// proportion, since all of them are reached at once.
const JUDGE_GAP_MS: u64 = 50;

/// Signs payloads with this node's key. Ed25519 is deterministic (RFC 8032), so this is no randomness.
pub trait Seal: Send {
    /// The report's payload in a DSSE envelope, signed.
    fn seal(&self, report: super::report::Report) -> VerifiedReport;
}

/// What a node starts with.
pub struct Setup {
    /// The network.
    pub roster: Arc<Roster>,
    /// Signs.
    pub seal: Box<dyn Seal>,
    /// Spreads probes; any number.
    pub seed: u64,
    /// Larger than any epoch this node used before.
    pub epoch: u64,
    /// Reports older than these were held before and are not taken again.
    pub floors: Vec<(NodeId, Stamp)>,
    /// Proofs of equivocation that were kept.
    pub proofs: Vec<Proof>,
}

/// The state of a node in one network.
pub struct Mesh {
    pub(super) picture: Picture,
    /// By index into the roster; this node's own is unused.
    pub(super) targets: Vec<Target>,
    pub(super) fresh: Vec<bool>,
    pub(super) publisher: Publisher,
    pub(super) superseded: bool,
    pub(super) refuting_until_ms: u64,
    pub(super) refute_ms: u64,
    pub(super) last_turn: Now,
    /// Until then, requests may come in that had waited since before a gap of time.
    pub(super) settled_ms: u64,
    pub(super) next_call: u64,
    pub(super) rng: fastrand::Rng,
    pub(super) changed: bool,
    pub(super) leaving: bool,
    pub(super) difference: Difference,
    /// When verdicts were last reached, and when to reach them anew: monotonic time in ms.
    pub(super) judged_ms: u64,
    pub(super) judge_ms: u64,
}

impl Mesh {
    /// A node that knows nothing yet, and probes its first peer at once.
    pub fn new(setup: Setup, now: Now) -> Self {
        let count = setup.roster.members().len();
        let mut slots = vec![Slot { awaited_ms: now.mono_ms, ..Slot::default() }; count];
        for proof in setup.proofs {
            if let Some(index) = setup.roster.index(proof.author().as_str()) {
                slots[index].proof = Some(Arc::new(proof));
            }
        }
        for (id, stamp) in setup.floors {
            if let Some(index) = setup.roster.index(id.as_str()) {
                slots[index].floor = stamp;
            }
        }
        let picture = Picture {
            roster: setup.roster,
            slots: slots.into_iter().map(Arc::new).collect(),
            at: now,
            revision: 0,
            isolated: false,
            twin: false,
            counters: Counters::default(),
            verdicts: Arc::default(),
            settled: Arc::default(),
            history: Arc::default(),
        };
        let mut mesh = Self {
            targets: Vec::new(),
            fresh: vec![false; count],
            publisher: Publisher::new(setup.seal, setup.epoch),
            superseded: false,
            refuting_until_ms: 0,
            refute_ms: 0,
            last_turn: now,
            settled_ms: 0,
            next_call: 0,
            rng: fastrand::Rng::with_seed(setup.seed),
            changed: true,
            leaving: false,
            difference: Difference::default(),
            judged_ms: 0,
            judge_ms: 0,
            picture,
        };
        mesh.targets = (0..count).map(|index| mesh.new_target(now, index)).collect();
        mesh.conclude(now);
        mesh
    }

    /// A target whose first probe is spread evenly over its `poll_rate`, by its place in the roster.
    fn new_target(&self, now: Now, index: usize) -> Target {
        let roster = &self.picture.roster;
        let (count, me) = (roster.probed().count(), roster.me());
        let before = roster.probed().filter(|&other| other < index).count();
        let mine = roster.probed().filter(|&other| other < me).count();
        let place = (before + count - mine) % count.max(1);
        let phase_ms = roster.members()[index].poll_rate_ms * place as u64 / count.max(1) as u64;
        Target::new(now, now.mono_ms + phase_ms)
    }

    /// Says goodbye in the next report, and begins nothing else.
    fn leave(&mut self) {
        self.leaving = true;
        for target in &mut self.targets {
            target.owed = false;
        }
    }

    /// Takes what happened and says what is to be done, in this order.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.watch_clock(now, &mut effects);
        match event {
            Event::Turn => {}
            Event::Called(called) => self.called(now, called, &mut effects),
            Event::Asked { from, delivery } => self.asked(now, &from, delivery, &mut effects),
            Event::Reconfigured(roster) => self.reconfigure(now, &roster),
            Event::Leaving => self.leave(),
        }
        self.turn(now, &mut effects);
        effects
    }

    /// The newest picture, if it differs from the one taken before.
    pub fn take_picture(&mut self, now: Now) -> Option<Picture> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        self.picture.revision += 1;
        self.picture.at = now;
        Some(self.picture.clone())
    }

    /// When to step at the latest, in monotonic ms. Silence is noticed in passing, so a step is due at
    /// least once a second as well.
    pub fn deadline_ms(&self) -> u64 {
        if self.leaving {
            return u64::MAX;
        }
        let roster = &self.picture.roster;
        let probes = roster.probed().map(|index| &self.targets[index]);
        let probes = probes.filter(|target| target.busy.is_none()).map(Target::next_ms);
        let refute = (self.last_turn.mono_ms < self.refuting_until_ms).then_some(self.refute_ms);
        let own = self.publisher.due_ms(roster.publish_ms());
        probes.chain(refute).chain([own, self.judge_ms]).min().unwrap_or(own)
    }

    /// Whether nothing is under way that this node still waits for; after [`Event::Leaving`] that is
    /// only its last report.
    pub fn is_idle(&self) -> bool {
        self.targets.iter().all(|target| target.busy.is_none())
    }

    /// A long gap between two turns is a start: what was heard before it says nothing about now, and
    /// failures across it are this node's own.
    fn watch_clock(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let gap_ms = now.mono_ms.saturating_sub(self.last_turn.mono_ms);
        self.last_turn = now;
        // Turns come at least once a second, so a short interval alone makes no gap.
        if gap_ms <= (2 * self.picture.roster.round_ms()).max(3_000) {
            return;
        }
        effects.push(Effect::Note(Note::Resumed { gap_ms }));
        self.settled_ms = now.mono_ms + self.picture.roster.round_ms();
        for slot in &mut self.picture.slots {
            let slot = Arc::make_mut(slot);
            slot.advanced = false;
            slot.awaited_ms = now.mono_ms;
        }
        for index in 0..self.targets.len() {
            let first_ms = self.new_target(now, index).next_ms();
            self.targets[index].start_over(now, first_ms);
        }
        self.changed = true;
    }

    pub(super) fn note_change(&mut self, index: usize, before: Option<Status>, effects: &mut Vec<Effect>) {
        let Some(from) = before else { return };
        let Observation { status: to, error, .. } = self.targets[index].observation;
        let peer = self.picture.roster.members()[index].id.clone();
        effects.push(Effect::Note(Note::Changed { peer, from, to, error }));
        self.publisher.hurry();
    }

    /// Goes on with another roster, keeping what it still allows: what is known of a member that has one
    /// of its keys still, as far as those keys signed it.
    fn reconfigure(&mut self, now: Now, roster: &Arc<Roster>) {
        let old = std::mem::replace(&mut self.picture.roster, roster.clone());
        let slots = std::mem::take(&mut self.picture.slots).into_iter();
        let mut known: Vec<_> = slots.zip(std::mem::take(&mut self.targets)).map(Some).collect();
        for (index, member) in roster.members().iter().enumerate() {
            let at = old.index(member.id.as_str()).filter(|&at| {
                let keys = &old.members()[at].keys;
                *keys == member.keys || keys.iter().any(|key| member.keys.contains(key))
            });
            let unknown = Slot { awaited_ms: now.mono_ms, ..Slot::default() };
            let (slot, mut target) = match at.and_then(|at| known[at].take()) {
                Some((slot, target)) => (Arc::unwrap_or_clone(slot), target),
                None => (unknown.clone(), self.new_target(now, index)),
            };
            if at.is_some_and(|at| !old.observes(old.me(), at)) {
                target = target.found_anew(now, self.new_target(now, index).next_ms());
            }
            let valid = |report: &VerifiedReport| member.keys.contains(report.key());
            let proof = slot.proof.clone().filter(|proof| proof.reports().into_iter().all(valid));
            let mut slot = match &slot.held {
                Some(held) if !valid(held) => unknown,
                _ => slot,
            };
            slot.proof = proof;
            // Another roster has other indices.
            if let Some(held) = slot.held.take() {
                slot.hold(held, roster);
            }
            self.picture.slots.push(Arc::new(slot));
            self.targets.push(target);
            self.targets[index].hasten(now, member);
        }
        self.fresh = vec![false; roster.members().len()];
        self.publisher.hurry();
        self.changed = true;
        // No picture may show the verdicts of another roster.
        self.judge_ms = 0;
    }

    /// Does what is due.
    fn turn(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.judge_callers(now, effects);
        self.weigh_isolation(now, effects);
        self.publish(now, effects);
        if !self.leaving {
            self.probe(now, effects);
            self.call_refuting(now, effects);
        }
        self.judge(now, effects);
    }

    /// Reaches verdicts anew where something has changed, or somebody's silence has passed a bound.
    fn judge(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.changed {
            self.judge_ms = self.judge_ms.min(self.judged_ms + self.judge_gap_ms());
        }
        if now.mono_ms < self.judge_ms {
            return;
        }
        self.judged_ms = now.mono_ms;
        for index in 0..self.fresh.len() {
            let fresh = self.picture.is_fresh(index, now.mono_ms);
            self.changed |= std::mem::replace(&mut self.fresh[index], fresh) != fresh;
        }
        let changes = self.conclude(now);
        self.judge_ms = self.picture.verdicts.due_ms.max(now.mono_ms + self.judge_gap_ms());
        let news = changes.into_iter().filter(Change::is_news);
        effects.extend(news.map(|change| Effect::Note(Note::Judged(change))));
    }

    fn judge_gap_ms(&self) -> u64 {
        JUDGE_GAP_MS.max(self.picture.roster.able() as u64 / 4)
    }

    /// Judges everyone.
    fn conclude(&mut self, now: Now) -> Vec<Change> {
        let verdicts = verdict::judge(&self.picture, now);
        if *self.picture.verdicts == verdicts {
            return Vec::new();
        }
        let mut settled = Arc::unwrap_or_clone(std::mem::take(&mut self.picture.settled));
        let changes = settled.settle(&self.picture, &verdicts, now);
        self.picture.settled = Arc::new(settled);
        if !changes.is_empty() {
            let decisions = changes.iter().map(|change| Decision {
                roster: self.picture.roster.clone(),
                index: change.index,
                at_ms: now.wall_ms,
                from: change.from,
                verdict: verdicts.nodes[change.index].clone(),
                settled: change.to.clone(),
                newest: self.picture.slots[change.index].held.as_ref().map(|held| held.stamp()),
                silent_ms: change.silent_ms,
            });
            Arc::make_mut(&mut self.picture.history).record(decisions);
        }
        self.picture.verdicts = Arc::new(verdicts);
        self.changed = true;
        changes
    }

    fn judge_callers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let roster = self.picture.roster.clone();
        for &index in roster.observed() {
            let member = &roster.members()[index];
            if member.url.is_some() {
                continue;
            }
            let head = self.picture.slots[index].held.as_ref().map(|held| held.stamp());
            let before = self.targets[index].judge_caller(now, member, roster.own(), head);
            self.note_change(index, before, effects);
        }
    }

    /// Makes this node's next report when it is due, and pushes it where it tells of a change.
    fn publish(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let roster = self.picture.roster.clone();
        let Some(reason) = self.publisher.due(now, roster.publish_ms(), self.leaving) else { return };
        let me = roster.me();
        let observed = roster.observed().iter();
        let observations = observed
            .map(|&index| (roster.members()[index].id.clone(), self.targets[index].observation))
            .collect();
        let report = self.publisher.publish(now, &roster, self.picture.isolated, self.leaving, observations);
        let slot = self.picture.slot_mut(me);
        slot.hold(Arc::new(report), &roster);
        slot.origin_ms = now.mono_ms;
        slot.arrived_ms = now.mono_ms;
        slot.changed_ms = now.mono_ms;
        slot.advanced = true;
        self.changed = true;
        if reason.is_change() {
            self.push(now, effects);
        }
        self.compare_configurations(now, effects);
    }
}
