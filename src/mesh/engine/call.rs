//! A node's calls to its peers: probes, what follows a reply, pushes; and how they end.

use std::sync::Arc;

use super::event::{Call, CallFinished, CallPurpose, CallReply, Effect};
use super::peer_state::{InFlight, RttSample};
use crate::mesh::engine::Engine;
use crate::mesh::snapshot::Timestamps;
use crate::mesh::wire::message::{self, Heads};
use crate::mesh::wire::observation::{Failure, ProbeStatus};
use crate::mesh::wire::report::{EquivocationProof, VerifiedReport};

/// A change is pushed at once to at most this many peers.
const PUSH_PEERS: usize = 8;

impl Engine {
    pub(super) fn on_call_finished(
        &mut self,
        now: Timestamps,
        called: CallFinished,
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.snapshot.membership.index(called.peer.as_str()) else { return };
        let Some(busy) = self.peers[index].in_flight.filter(|busy| busy.id == called.id) else { return };
        self.peers[index].in_flight = None;
        let owed = std::mem::take(&mut self.peers[index].push_pending);
        let membership = self.snapshot.membership.clone();
        let member = &membership.members()[index];
        for report in called.evidence {
            self.store_report(now, report, 0, false, effects);
        }
        // Meant for an epoch that this node has left meanwhile, as the evidence may just have shown.
        let outdated = busy.epoch < self.publisher.last_id().epoch;
        let mut again = false;
        if busy.purpose == CallPurpose::Probe {
            let probes = &mut self.snapshot.states.get_mut(index).probes;
            let is_answered = called.outcome.as_ref().map_or_else(|failure| failure.is_refusal(), |_| true);
            let count = if is_answered { &mut probes.answered } else { &mut probes.failed };
            *count = count.saturating_add(1);
        }
        let before = match called.outcome {
            Ok(CallReply { rtt_us, took_us, clock_offset_ms, received: delivery }) => {
                self.snapshot.counters.exchanges_ok += 1;
                let timing = RttSample { rtt_us, took_us, offset_ms: clock_offset_ms };
                let before = self.peers[index].on_success(now, timing, busy.purpose);
                let heads = self.ingest(now, Some(index), delivery, effects);
                if busy.purpose == CallPurpose::Probe && !self.leaving {
                    self.follow_up(now, index, &heads, effects);
                }
                if owed {
                    self.push_pending(now, index, effects);
                }
                before
            }
            Err(Failure::Replayed) if outdated => {
                again = true;
                None
            }
            Err(failure) => {
                self.snapshot.counters.exchanges_failed += 1;
                self.on_call_failure(now, index, busy, failure)
            }
        };
        let probe = busy.purpose == CallPurpose::Probe;
        let jitter = self.rng.u64(0..=1_000);
        let target = &mut self.peers[index];
        if probe && (again || target.should_retry()) {
            target.schedule_retry(now, member, busy.started_ms);
        } else if probe {
            target.schedule_round(now, member, jitter);
        }
        self.record_status_change(index, before, effects);
    }

    /// Only a probe's failure counts; a refusal counts whatever the call was for.
    fn on_call_failure(
        &mut self,
        now: Timestamps,
        index: usize,
        busy: InFlight,
        failure: Failure,
    ) -> Option<ProbeStatus> {
        let head = self.snapshot.states[index].latest.as_ref().map(|latest| latest.id());
        let since_ms = self.peers[index].impostor_since(now, failure);
        let is_stranger = since_ms.is_some_and(|since_ms| self.may_be_misconfigured(now, index, since_ms));
        let target = &mut self.peers[index];
        if failure.is_refusal() || (is_stranger && busy.purpose == CallPurpose::Probe) {
            target.on_refusal(now, failure)
        } else if busy.purpose == CallPurpose::Probe {
            target.on_failure(now, &self.snapshot.membership.members()[index], failure, head)
        } else {
            None
        }
    }

    /// Whether a peer at whose address something else has answered since `since_ms` may just have another
    /// configuration, by which it does not know this node, or another key: its reports come and say so, or
    /// nothing is known of it yet.
    fn may_be_misconfigured(&self, now: Timestamps, index: usize, since_ms: u64) -> bool {
        let (membership, state) = (&self.snapshot.membership, &self.snapshot.states[index]);
        if self.snapshot.is_fresh(index, now.mono_ms) {
            self.snapshot.config_differs(index) || state.created_ms <= since_ms
        } else {
            !state.advanced
                && now.mono_ms.saturating_sub(state.waiting_since_ms) <= 4 * membership.interval_ms()
        }
    }

    /// Hands over at once what a reply showed its sender to lack, where waiting would cost: this node's
    /// own report, what it is far behind with, and what nobody else seems to bring it.
    fn follow_up(&mut self, now: Timestamps, index: usize, heads: &Heads, effects: &mut Vec<Effect>) {
        if !heads.matches(&self.snapshot.membership) {
            return;
        }
        let patience_ms = self.snapshot.membership.max_poll_ms() / 4;
        let me = self.snapshot.membership.me();
        let reports = message::missing_reports(heads, &self.snapshot, |author, lag| {
            let state = &self.snapshot.states[author];
            author == me || lag != 1 || now.mono_ms.saturating_sub(state.received_ms) >= patience_ms
        });
        let proofs = message::missing_proofs(heads, &self.snapshot);
        if !reports.is_empty() || !proofs.is_empty() {
            self.call(now, index, CallPurpose::FollowUp, reports, proofs, effects);
        }
    }

    pub(super) fn push(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let mut peers: Vec<usize> = self.reachable().collect();
        self.rng.shuffle(&mut peers);
        peers.sort_by_key(|&index| self.peers[index].in_flight.is_some());
        let earlier = self.next_call;
        for index in peers.into_iter().take(PUSH_PEERS) {
            if self.peers[index].in_flight.is_some() {
                self.peers[index].push_pending = true;
            } else {
                let own = self.own_report_for(index);
                self.call(now, index, CallPurpose::Push, own, Vec::new(), effects);
            }
        }
        if self.leaving {
            for target in self.peers.iter_mut().filter(|target| !target.push_pending) {
                // How other calls end is of no interest any more.
                target.in_flight = target.in_flight.filter(|busy| busy.id > earlier);
            }
        }
    }

    /// Pushes what had to wait for a call that has ended, unless that or a follow-up brought it.
    fn push_pending(&mut self, now: Timestamps, index: usize, effects: &mut Vec<Effect>) {
        let own = self.own_report_for(index);
        if self.peers[index].in_flight.is_none() && !own.is_empty() {
            self.call(now, index, CallPurpose::Push, own, Vec::new(), effects);
        }
    }

    pub(super) fn probe(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let membership = self.snapshot.membership.clone();
        for index in membership.probed() {
            let target = &self.peers[index];
            if target.in_flight.is_none() && target.next_ms() <= now.mono_ms {
                let own =
                    if self.own_report_is_spreading(now) { self.own_report_for(index) } else { Vec::new() };
                self.call(now, index, CallPurpose::Probe, own, Vec::new(), effects);
            }
        }
    }

    pub(super) fn push_refutation(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        if now.mono_ms >= self.refuting_until_ms || now.mono_ms < self.next_refute_ms {
            return;
        }
        self.next_refute_ms = now.mono_ms + (self.snapshot.membership.max_poll_ms() / 4).min(1_000);
        let reachable: Vec<usize> = self.reachable().collect();
        for index in reachable {
            if self.peers[index].in_flight.is_none() {
                let own = self.own_report_for(index);
                self.call(now, index, CallPurpose::Push, own, Vec::new(), effects);
            }
        }
    }

    fn call(
        &mut self,
        now: Timestamps,
        index: usize,
        purpose: CallPurpose,
        reports: Vec<Arc<VerifiedReport>>,
        proofs: Vec<Arc<EquivocationProof>>,
        effects: &mut Vec<Effect>,
    ) {
        self.next_call += 1;
        let id = self.next_call;
        let member = &self.snapshot.membership.members()[index];
        let target = &mut self.peers[index];
        let timeout_ms = target.timeout_ms(member, purpose);
        let epoch = self.publisher.last_id().epoch;
        target.in_flight = Some(InFlight { id, purpose, epoch, started_ms: now.mono_ms });
        let peer = member.id.clone();
        effects.push(Effect::Call(Call { id, peer, purpose, timeout_ms, reports, proofs, epoch }));
    }

    fn reachable(&self) -> impl Iterator<Item = usize> + '_ {
        self.snapshot.membership.probed().filter(|&index| self.peers[index].is_reachable())
    }

    /// Whether peers are still likely to lack this node's newest report. Of n nodes each fetches what it
    /// lacks from each of p others once in an interval, so a report has reached half of them after ln(n) / p
    /// intervals, and most after log2(n) / p. Who lacks it later is handed it as a follow-up. (Of 16 nodes'
    /// reports, one in five comes twice with this, one in two without, for 2 % more follow-ups.)
    fn own_report_is_spreading(&self, now: Timestamps) -> bool {
        let membership = &self.snapshot.membership;
        let doublings = u64::from(membership.members().len().ilog2()) + 1;
        let spread_ms = membership.max_poll_ms() * doublings / (membership.exchange_peers() as u64).max(1);
        let made_ms = self.snapshot.states[self.snapshot.membership.me()].received_ms;
        now.mono_ms.saturating_sub(made_ms) <= spread_ms
    }

    /// This node's newest report, unless the peer is known to hold it.
    fn own_report_for(&self, index: usize) -> Vec<Arc<VerifiedReport>> {
        let knows = self.peers[index].known_own_report;
        let own = self.snapshot.own_report().filter(|own| knows != Some(own.id()));
        own.cloned().into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
