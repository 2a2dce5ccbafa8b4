//! The state of a node in one network, and its one verb: [`Mesh::step`].

use std::sync::Arc;

use super::event::{Answer, Call, Called, Delivery, Effect, Event, Note, Purpose};
use super::id::{MAX_INTEGER, NodeId, Stamp};
use super::message::{self, Heads};
use super::observation::{Failure, Observation, Status};
use super::picture::{Counters, Now, Picture, Slot};
use super::publisher::Publisher;
use super::report::{Proof, VerifiedReport};
use super::roster::Roster;
use super::target::{Busy, Target, Timing};

/// A change is pushed at once to at most this many peers.
const PUSH_PEERS: usize = 8;

/// For how long a node that was stopped on purpose says nothing about its observers' uplinks, in ms.
const LEAVE_GRACE_MS: u64 = 600_000;

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
    picture: Picture,
    /// By index into the roster; this node's own is unused.
    targets: Vec<Target>,
    fresh: Vec<bool>,
    publisher: Publisher,
    superseded: bool,
    refuting_until_ms: u64,
    refute_ms: u64,
    last_turn: Now,
    next_call: u64,
    rng: fastrand::Rng,
    changed: bool,
    leaving: bool,
}

impl Mesh {
    /// A node that knows nothing yet, and probes its first peer at once.
    pub fn new(setup: Setup, now: Now) -> Self {
        let count = setup.roster.members().len();
        let mut slots = vec![Slot::default(); count];
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
            slots,
            at: now,
            revision: 0,
            isolated: false,
            twin: false,
            counters: Counters::default(),
        };
        let mut mesh = Self {
            targets: Vec::new(),
            fresh: vec![false; count],
            publisher: Publisher::new(setup.seal, setup.epoch),
            superseded: false,
            refuting_until_ms: 0,
            refute_ms: 0,
            last_turn: now,
            next_call: 0,
            rng: fastrand::Rng::with_seed(setup.seed),
            changed: true,
            leaving: false,
            picture,
        };
        mesh.targets = (0..count).map(|index| mesh.new_target(now, index)).collect();
        mesh
    }

    /// A target whose first probe is spread evenly over its `poll_rate`, by its place in the roster.
    fn new_target(&self, now: Now, index: usize) -> Target {
        let roster = &self.picture.roster;
        let (count, me) = (roster.members().len(), roster.me());
        let place = (index + count - me).saturating_sub(1) % count;
        let phase_ms = roster.members()[index].poll_rate_ms * place as u64 / count.max(2) as u64;
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
        let probes = self.targets.iter().enumerate();
        let probes = probes
            .filter(|(index, target)| self.is_probed(*index) && target.busy.is_none())
            .map(|(_, target)| target.next_ms());
        let refute = (self.last_turn.mono_ms < self.refuting_until_ms).then_some(self.refute_ms);
        let own = self.publisher.due_ms(roster.publish_ms());
        probes.chain(refute).chain([own]).min().unwrap_or(own)
    }

    /// Whether nothing is under way that this node still waits for; after [`Event::Leaving`] that is
    /// only its last report.
    pub fn is_idle(&self) -> bool {
        self.targets.iter().all(|target| target.busy.is_none())
    }

    fn is_probed(&self, index: usize) -> bool {
        let member = &self.picture.roster.members()[index];
        index != self.picture.roster.me() && member.url.is_some() && !member.keys.is_empty()
    }

    /// A long gap between two turns is a start: what was heard before it says nothing about now, and
    /// failures across it are this node's own.
    fn watch_clock(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let by_mono_ms = now.mono_ms.saturating_sub(self.last_turn.mono_ms);
        let by_wall_ms = now.wall_ms.saturating_sub(self.last_turn.wall_ms);
        let gap_ms = by_mono_ms.max(by_wall_ms);
        // The monotonic clock stands still while the machine sleeps; reports grow older all the same.
        let asleep_ms = by_wall_ms.saturating_sub(by_mono_ms);
        self.last_turn = now;
        // Turns come at least once a second, so a short interval alone makes no gap.
        if gap_ms <= (2 * self.picture.roster.interval_ms()).max(3_000) {
            return;
        }
        effects.push(Effect::Note(Note::Resumed { gap_ms }));
        for slot in &mut self.picture.slots {
            slot.advanced = false;
            slot.origin_ms = slot.origin_ms.saturating_sub(asleep_ms);
            slot.arrived_ms = slot.arrived_ms.saturating_sub(asleep_ms);
        }
        for index in 0..self.targets.len() {
            let first_ms = self.new_target(now, index).next_ms();
            self.targets[index].start_over(now, first_ms);
        }
        self.changed = true;
    }

    fn called(&mut self, now: Now, called: Called, effects: &mut Vec<Effect>) {
        let Some(index) = self.picture.roster.index(called.peer.as_str()) else { return };
        let Some(busy) = self.targets[index].busy.filter(|busy| busy.id == called.id) else { return };
        self.targets[index].busy = None;
        let owed = std::mem::take(&mut self.targets[index].owed);
        let roster = self.picture.roster.clone();
        let member = &roster.members()[index];
        for report in called.evidence {
            self.accept(now, report, 0, false, effects);
        }
        // Meant for an epoch that this node has left meanwhile, as the evidence may just have shown.
        let outdated = busy.epoch < self.publisher.stamp().epoch;
        let mut again = false;
        let before = match called.outcome {
            Ok(Answer { rtt_us, took_us, clock_offset_ms, delivery }) => {
                self.picture.counters.exchanges_ok += 1;
                let timing = Timing { rtt_us, took_us, offset_ms: clock_offset_ms };
                let before = self.targets[index].succeeded(now, timing, busy.purpose);
                let heads = self.deliver(now, Some(index), delivery, effects);
                if busy.purpose == Purpose::Probe && !self.leaving {
                    self.follow_up(now, index, &heads, effects);
                }
                if owed {
                    self.push_owed(now, index, effects);
                }
                before
            }
            Err(Failure::Replayed) if outdated => {
                again = true;
                None
            }
            Err(failure) => {
                self.picture.counters.exchanges_failed += 1;
                self.call_failed(now, index, busy, failure)
            }
        };
        let jitter = self.rng.u64(0..=1_000);
        let target = &mut self.targets[index];
        if busy.counts && (again || target.retries()) {
            target.schedule_retry(now, member, busy.started_ms);
        } else if busy.counts {
            target.schedule_round(now, member, jitter);
        }
        self.note_change(index, before, effects);
    }

    /// Only a probe's failure counts; a refusal counts whatever the call was for.
    fn call_failed(&mut self, now: Now, index: usize, busy: Busy, failure: Failure) -> Option<Status> {
        let head = self.picture.slots[index].held.as_ref().map(|held| held.stamp());
        let target = &mut self.targets[index];
        if failure.is_refusal() {
            target.refused(now, failure)
        } else if busy.counts {
            target.failed(now, &self.picture.roster.members()[index], failure, head)
        } else {
            None
        }
    }

    fn note_change(&mut self, index: usize, before: Option<Status>, effects: &mut Vec<Effect>) {
        let Some(from) = before else { return };
        let Observation { status: to, error, .. } = self.targets[index].observation;
        let peer = self.picture.roster.members()[index].id.clone();
        effects.push(Effect::Note(Note::Changed { peer, from, to, error }));
        self.publisher.hurry();
    }

    /// This node doubts itself when more than half of those it observes are offline. Peers that were
    /// never seen and those that left on purpose say nothing about its own uplink.
    fn weigh_isolation(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let me = self.picture.roster.me();
        let (mut observed, mut offline) = (0, 0);
        for (index, target) in self.targets.iter().enumerate() {
            let slot = &self.picture.slots[index];
            let recent = now.mono_ms.saturating_sub(slot.arrived_ms) <= LEAVE_GRACE_MS;
            let left = recent && slot.held.as_ref().is_some_and(|held| held.report().leaving);
            if index == me || left || !(target.seen || slot.held.is_some()) {
                continue;
            }
            observed += 1;
            offline += usize::from(target.observation.status == Status::Offline);
        }
        let isolated = offline * 2 > observed;
        if isolated != self.picture.isolated {
            self.picture.isolated = isolated;
            self.changed = true;
            self.publisher.hurry();
            effects.push(Effect::Note(Note::Isolated(isolated)));
        }
    }

    fn asked(&mut self, now: Now, from: &NodeId, delivery: Delivery, effects: &mut Vec<Effect>) {
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
    fn deliver(
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
            self.keep_proof(proof, effects);
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
    fn accept(
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
        let slot = &mut self.picture.slots[index];
        match &slot.held {
            Some(held) if report.stamp() == held.stamp() && report.digest() != held.digest() => {
                if let Some(proof) = Proof::new(held.as_ref().clone(), report.clone()) {
                    self.keep_proof(proof, effects);
                }
                if index == self.picture.roster.me() {
                    self.supersede(now, report.stamp(), effects);
                }
            }
            Some(held) if report.stamp() <= held.stamp() => self.picture.counters.reports_stale += 1,
            _ if index == self.picture.roster.me() => self.supersede(now, report.stamp(), effects),
            None if report.stamp() < slot.floor => self.picture.counters.reports_stale += 1,
            _ => {
                // Right after a start, what is older than the start may advance what was held before.
                let heard = std::mem::replace(&mut self.targets[index].heard, true);
                slot.advanced = heard || from_author;
                slot.origin_ms = now.mono_ms.saturating_sub(age_ms);
                slot.arrived_ms = now.mono_ms;
                slot.held = Some(Arc::new(report));
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

    fn keep_proof(&mut self, proof: Proof, effects: &mut Vec<Effect>) {
        let Some(index) = self.picture.roster.index(proof.author().as_str()) else { return };
        let keys = &self.picture.roster.members()[index].keys;
        let slot = &mut self.picture.slots[index];
        if slot.proof.is_some() || !proof.reports().iter().all(|report| keys.contains(report.key())) {
            return;
        }
        let proof = Arc::new(proof);
        slot.proof = Some(proof.clone());
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
            slot.origin_ms = slot.origin_ms.max(claimed_ms).min(slot.arrived_ms);
            slot.advanced |= replier == Some(index);
        }
    }

    /// Hands over at once what a reply showed its sender to lack, where waiting would cost: this node's
    /// own report, what it is far behind with, and what nobody else seems to bring it.
    fn follow_up(&mut self, now: Now, index: usize, heads: &Heads, effects: &mut Vec<Effect>) {
        if !heads.fit(&self.picture.roster) {
            return;
        }
        let patience_ms = self.picture.roster.interval_ms() / 4;
        let me = self.picture.roster.me();
        let reports = message::lacking(heads, &self.picture, |author| {
            let slot = &self.picture.slots[author];
            author == me
                || message::lag(heads, &self.picture, author) != 1
                || now.mono_ms.saturating_sub(slot.arrived_ms) >= patience_ms
        });
        let proofs = message::lacking_proofs(heads, &self.picture);
        if !reports.is_empty() || !proofs.is_empty() {
            self.call(now, index, Purpose::FollowUp, reports, proofs, effects);
        }
    }

    /// More than a quarter of this node's observers call it offline: it shows that it lives.
    fn refute(&mut self, now: Now) {
        let own = self.publisher.stamp();
        let me = self.picture.roster.own().id.clone();
        let (mut observers, mut doubters, mut new) = (0, 0, false);
        for index in 0..self.targets.len() {
            if index == self.picture.roster.me() || !self.picture.is_fresh(index, now.mono_ms) {
                continue;
            }
            let Some(held) = &self.picture.slots[index].held else { continue };
            let Some(found) = held.report().observation(me.as_str()) else { continue };
            observers += 1;
            let answered = found.head.is_some_and(|head| {
                own.epoch > head.epoch || (own.epoch == head.epoch && own.seq > head.seq + 1)
            });
            if found.status != Status::Offline || answered {
                continue;
            }
            doubters += 1;
            let refuted = &mut self.targets[index].refuted_since_ms;
            new |= refuted.replace(found.since_ms) != Some(found.since_ms);
        }
        if new && doubters * 4 > observers {
            self.refuting_until_ms = now.mono_ms + 2 * self.picture.roster.interval_ms();
            self.refute_ms = now.mono_ms;
            self.publisher.hurry();
        }
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
            let (mut slot, target) = at
                .and_then(|at| known[at].take())
                .unwrap_or_else(|| (Slot::default(), self.new_target(now, index)));
            let valid = |report: &VerifiedReport| member.keys.contains(report.key());
            if slot.held.as_deref().is_some_and(|held| !valid(held)) {
                slot = Slot { proof: slot.proof, ..Slot::default() };
            }
            slot.proof = slot.proof.filter(|proof| proof.reports().into_iter().all(valid));
            self.picture.slots.push(slot);
            self.targets.push(target);
            self.targets[index].hasten(now, member);
        }
        self.fresh = vec![false; roster.members().len()];
        self.publisher.hurry();
        self.changed = true;
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
        for index in 0..self.fresh.len() {
            let fresh = self.picture.is_fresh(index, now.mono_ms);
            self.changed |= std::mem::replace(&mut self.fresh[index], fresh) != fresh;
        }
    }

    fn judge_callers(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let roster = self.picture.roster.clone();
        for (index, member) in roster.members().iter().enumerate() {
            if index == roster.me() || member.url.is_some() {
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
        let observations = self.targets.iter().zip(roster.members()).enumerate();
        let observations = observations
            .filter(|(index, (_, member))| *index != me && !member.keys.is_empty())
            .map(|(_, (target, member))| (member.id.clone(), target.observation))
            .collect();
        let report = self.publisher.publish(now, &roster, self.picture.isolated, self.leaving, observations);
        let slot = &mut self.picture.slots[me];
        slot.held = Some(Arc::new(report));
        slot.origin_ms = now.mono_ms;
        slot.arrived_ms = now.mono_ms;
        slot.advanced = true;
        self.changed = true;
        if reason.is_change() {
            self.push(now, effects);
        }
    }

    fn push(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut peers: Vec<usize> =
            (0..self.targets.len()).filter(|&index| self.is_reachable(index)).collect();
        self.rng.shuffle(&mut peers);
        peers.sort_by_key(|&index| self.targets[index].busy.is_some());
        let earlier = self.next_call;
        for index in peers.into_iter().take(PUSH_PEERS) {
            if self.targets[index].busy.is_some() {
                self.targets[index].owed = true;
            } else {
                let own = self.own_for(index);
                self.call(now, index, Purpose::Push, own, Vec::new(), effects);
            }
        }
        if self.leaving {
            for target in self.targets.iter_mut().filter(|target| !target.owed) {
                // How other calls end is of no interest any more.
                target.busy = target.busy.filter(|busy| busy.id > earlier);
            }
        }
    }

    /// Pushes what had to wait for a call that has ended, unless that or a follow-up brought it.
    fn push_owed(&mut self, now: Now, index: usize, effects: &mut Vec<Effect>) {
        let own = self.own_for(index);
        if self.targets[index].busy.is_none() && !own.is_empty() {
            self.call(now, index, Purpose::Push, own, Vec::new(), effects);
        }
    }

    fn is_reachable(&self, index: usize) -> bool {
        self.is_probed(index) && self.targets[index].is_reachable()
    }

    /// This node's newest report, unless the peer is known to hold it.
    fn own_for(&self, index: usize) -> Vec<Arc<VerifiedReport>> {
        let knows = self.targets[index].knows_own;
        let own = self.picture.own_report().filter(|own| knows != Some(own.stamp()));
        own.cloned().into_iter().collect()
    }

    fn probe(&mut self, now: Now, effects: &mut Vec<Effect>) {
        for index in 0..self.targets.len() {
            let target = &self.targets[index];
            if self.is_probed(index) && target.busy.is_none() && target.next_ms() <= now.mono_ms {
                let own = self.own_for(index);
                self.call(now, index, Purpose::Probe, own, Vec::new(), effects);
            }
        }
    }

    fn call_refuting(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if now.mono_ms >= self.refuting_until_ms || now.mono_ms < self.refute_ms {
            return;
        }
        self.refute_ms = now.mono_ms + (self.picture.roster.interval_ms() / 4).min(1_000);
        for index in 0..self.targets.len() {
            if self.is_reachable(index) && self.targets[index].busy.is_none() {
                let own = self.own_for(index);
                self.call(now, index, Purpose::Push, own, Vec::new(), effects);
            }
        }
    }

    fn call(
        &mut self,
        now: Now,
        index: usize,
        purpose: Purpose,
        reports: Vec<Arc<VerifiedReport>>,
        proofs: Vec<Arc<Proof>>,
        effects: &mut Vec<Effect>,
    ) {
        self.next_call += 1;
        let id = self.next_call;
        let member = &self.picture.roster.members()[index];
        let target = &mut self.targets[index];
        let timeout_ms = target.timeout_ms(member, purpose);
        let counts = purpose == Purpose::Probe;
        let epoch = self.publisher.stamp().epoch;
        target.busy = Some(Busy { id, purpose, counts, epoch, started_ms: now.mono_ms });
        let peer = member.id.clone();
        effects.push(Effect::Call(Call { id, peer, purpose, timeout_ms, reports, proofs, epoch }));
    }
}
