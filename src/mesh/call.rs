//! A node's calls to its peers: probes, what follows a reply, pushes; and how they end.

use std::sync::Arc;

use super::event::{Answer, Call, Called, Effect, Purpose};
use super::message::{self, Heads};
use super::observation::{Failure, Status};
use super::picture::Now;
use super::report::{Proof, VerifiedReport};
use super::state::Mesh;
use super::target::{Busy, Timing};

/// A change is pushed at once to at most this many peers.
const PUSH_PEERS: usize = 8;

impl Mesh {
    pub(super) fn called(&mut self, now: Now, called: Called, effects: &mut Vec<Effect>) {
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
        if busy.purpose == Purpose::Probe {
            let probes = &mut self.picture.slots.get_mut(index).probes;
            let is_answered = called.outcome.as_ref().map_or_else(|failure| failure.is_refusal(), |_| true);
            let count = if is_answered { &mut probes.answered } else { &mut probes.failed };
            *count = count.saturating_add(1);
        }
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
        let probe = busy.purpose == Purpose::Probe;
        let jitter = self.rng.u64(0..=1_000);
        let target = &mut self.targets[index];
        if probe && (again || target.retries()) {
            target.schedule_retry(now, member, busy.started_ms);
        } else if probe {
            target.schedule_round(now, member, jitter);
        }
        self.note_change(index, before, effects);
    }

    /// Only a probe's failure counts; a refusal counts whatever the call was for.
    fn call_failed(&mut self, now: Now, index: usize, busy: Busy, failure: Failure) -> Option<Status> {
        let head = self.picture.slots[index].held.as_ref().map(|held| held.stamp());
        let since_ms = self.targets[index].strange_since(now, failure);
        let is_stranger = since_ms.is_some_and(|since_ms| self.is_stranger(now, index, since_ms));
        let target = &mut self.targets[index];
        if failure.is_refusal() || (is_stranger && busy.purpose == Purpose::Probe) {
            target.refused(now, failure)
        } else if busy.purpose == Purpose::Probe {
            target.failed(now, &self.picture.roster.members()[index], failure, head)
        } else {
            None
        }
    }

    /// Whether a peer at whose address something else has answered since `since_ms` may just have another
    /// configuration, by which it does not know this node, or another key: its reports come and say so, or
    /// nothing is known of it yet.
    fn is_stranger(&self, now: Now, index: usize, since_ms: u64) -> bool {
        let (roster, slot) = (&self.picture.roster, &self.picture.slots[index]);
        if self.picture.is_fresh(index, now.mono_ms) {
            self.picture.differs(index) || slot.origin_ms <= since_ms
        } else {
            !slot.advanced && now.mono_ms.saturating_sub(slot.awaited_ms) <= 4 * roster.interval_ms()
        }
    }

    /// Hands over at once what a reply showed its sender to lack, where waiting would cost: this node's
    /// own report, what it is far behind with, and what nobody else seems to bring it.
    fn follow_up(&mut self, now: Now, index: usize, heads: &Heads, effects: &mut Vec<Effect>) {
        if !heads.fit(&self.picture.roster) {
            return;
        }
        let patience_ms = self.picture.roster.round_ms() / 4;
        let me = self.picture.roster.me();
        let reports = message::lacking(heads, &self.picture, |author, lag| {
            let slot = &self.picture.slots[author];
            author == me || lag != 1 || now.mono_ms.saturating_sub(slot.arrived_ms) >= patience_ms
        });
        let proofs = message::lacking_proofs(heads, &self.picture);
        if !reports.is_empty() || !proofs.is_empty() {
            self.call(now, index, Purpose::FollowUp, reports, proofs, effects);
        }
    }

    pub(super) fn push(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let mut peers: Vec<usize> = self.reachable().collect();
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

    pub(super) fn probe(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let roster = self.picture.roster.clone();
        for index in roster.probed() {
            let target = &self.targets[index];
            if target.busy.is_none() && target.next_ms() <= now.mono_ms {
                let own = if self.own_is_young(now) { self.own_for(index) } else { Vec::new() };
                self.call(now, index, Purpose::Probe, own, Vec::new(), effects);
            }
        }
    }

    pub(super) fn call_refuting(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if now.mono_ms >= self.refuting_until_ms || now.mono_ms < self.refute_ms {
            return;
        }
        self.refute_ms = now.mono_ms + (self.picture.roster.round_ms() / 4).min(1_000);
        let reachable: Vec<usize> = self.reachable().collect();
        for index in reachable {
            if self.targets[index].busy.is_none() {
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
        let epoch = self.publisher.stamp().epoch;
        target.busy = Some(Busy { id, purpose, epoch, started_ms: now.mono_ms });
        let peer = member.id.clone();
        effects.push(Effect::Call(Call { id, peer, purpose, timeout_ms, reports, proofs, epoch }));
    }

    fn reachable(&self) -> impl Iterator<Item = usize> + '_ {
        self.picture.roster.probed().filter(|&index| self.targets[index].is_reachable())
    }

    /// Whether peers are still likely to lack this node's newest report. Of n nodes each fetches what it
    /// lacks from each of p others once in an interval, so a report has reached half of them after ln(n) / p
    /// intervals, and most after log2(n) / p. Who lacks it later is handed it as a follow-up. (Of 16 nodes'
    /// reports, one in five comes twice with this, one in two without, for 2 % more follow-ups.)
    fn own_is_young(&self, now: Now) -> bool {
        let roster = &self.picture.roster;
        let doublings = u64::from(roster.members().len().ilog2()) + 1;
        let spread_ms = roster.round_ms() * doublings / (roster.partners() as u64).max(1);
        let made_ms = self.picture.slots[self.picture.roster.me()].arrived_ms;
        now.mono_ms.saturating_sub(made_ms) <= spread_ms
    }

    /// This node's newest report, unless the peer is known to hold it.
    fn own_for(&self, index: usize) -> Vec<Arc<VerifiedReport>> {
        let knows = self.targets[index].knows_own;
        let own = self.picture.own_report().filter(|own| knows != Some(own.stamp()));
        own.cloned().into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
