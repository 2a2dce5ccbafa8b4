//! Applies the results of calls: what they say about the peer, and when to probe it next.

use super::Engine;
use super::event::{CallFinished, CallPurpose, CallReply, Effect, ReceivedReports};
use super::peer_state::{InFlight, OverdueCall, RttSample, TryResult};
use crate::mesh::delta_sync::ReplyHeads;
use crate::mesh::membership::Member;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::observation::{Failure, ProbeStatus};

/// The part of the timeout by which this node may delay a call before its result says nothing about the peer.
pub(super) const LATENESS_DIVISOR: u64 = 4;

impl Engine {
    /// Applies the result of a call in flight, or a reply that arrived after the time of its call was over.
    pub(super) fn on_call_finished(
        &mut self,
        now: Timestamps,
        finished: CallFinished,
        effects: &mut Vec<Effect>,
    ) {
        let membership = self.table.membership.clone();
        let Some(index) = membership.index(finished.peer.as_str()) else { return };
        self.record_lateness(now, finished.lateness_ms);
        let Some(call) = self.peers[index].end_call(finished.id) else {
            return self.on_overdue_result(now, index, finished, effects);
        };
        let is_late = is_late(&finished, &membership.members()[index]);
        if finished.may_answer_late {
            self.peers[index].set_overdue(call, !is_late);
        }
        let push_pending = std::mem::take(&mut self.peers[index].push_pending);
        // The proof of a used nonce is this node's own report; a refusal spreads no others.
        let own_id = &membership.own().id;
        for report in finished.evidence.into_iter().filter(|report| report.author() == own_id) {
            self.store_report(now, report, 0, false, effects);
        }
        if let (Some(recovery), Err(Failure::Replayed)) = (&mut self.epoch_recovery, &finished.outcome) {
            recovery.on_refused_nonce(call.epoch);
            self.publisher.start_epoch(recovery.provisional());
        }
        // The request had an epoch that this node has replaced since, perhaps because of the evidence.
        let is_outdated = call.epoch < self.publisher.last_id().epoch;
        let is_probe = call.purpose == CallPurpose::Probe;
        if is_probe {
            self.count_probe(index, try_result(&finished.outcome, is_late));
        }
        let mut retry = false;
        let member = &membership.members()[index];
        let before = match finished.outcome {
            Ok(reply) => {
                let before = self.on_reply(now, index, call, reply, effects);
                if is_late {
                    self.peers[index].widen_timeouts();
                }
                if push_pending {
                    self.calls(now, effects).push_pending(index);
                }
                before
            }
            Err(Failure::Replayed) if is_outdated => {
                retry = true;
                None
            }
            Err(failure) if is_late && !failure.is_conclusive() => {
                self.counters.exchanges_failed += 1;
                if is_probe {
                    self.peers[index].on_late_failure();
                    retry = !self.load.is_overloaded() && self.peers[index].should_retry_late(member);
                }
                None
            }
            Err(failure) => {
                let before = self.on_call_failure(now, index, call.purpose, failure);
                retry = self.peers[index].should_retry();
                before
            }
        };
        let jitter = self.peers.jitter();
        let peer = &mut self.peers[index];
        if is_probe && retry {
            peer.schedule_retry(now, member, call.started_ms);
        } else if is_probe {
            peer.schedule_round(now, member, jitter);
        }
        self.record_status_change(now, index, before, effects);
    }

    /// Applies the result of a call whose time was over. A reply proves that the peer lives, but is slow; a refusal
    /// counts if this node delayed the call, so that the timeout did not.
    fn on_overdue_result(
        &mut self,
        now: Timestamps,
        index: usize,
        finished: CallFinished,
        effects: &mut Vec<Effect>,
    ) {
        let Some(OverdueCall { call, is_counted }) = self.peers[index].end_overdue(finished.id) else {
            return;
        };
        let before = match finished.outcome {
            Ok(CallReply { received, .. }) => {
                let before = self.peers[index].on_late_success(now);
                self.ingest(now, Some(index), received, effects);
                before
            }
            Err(failure) if failure.is_conclusive() && !is_counted => {
                self.on_call_failure(now, index, call.purpose, failure)
            }
            Err(_) => None,
        };
        self.record_status_change(now, index, before, effects);
    }

    fn count_probe(&mut self, index: usize, result: TryResult) {
        self.peers[index].count_try(result);
        let probes = &mut self.table.states.get_mut(index).probes;
        let count = if result == TryResult::Answered { &mut probes.answered } else { &mut probes.failed };
        *count = count.saturating_add(1);
    }

    fn on_reply(
        &mut self,
        now: Timestamps,
        index: usize,
        call: InFlight,
        reply: CallReply,
        effects: &mut Vec<Effect>,
    ) -> Option<ProbeStatus> {
        self.counters.exchanges_ok += 1;
        let CallReply { rtt_us, took_us, clock_offset_ms, received, mark, snapshot_ms } = reply;
        let sample = RttSample { rtt_us, took_us, offset_ms: clock_offset_ms };
        let before = self.peers[index].on_success(now, sample, call.purpose);
        let ReceivedReports { heads, reports, proofs } = received;
        let reply = ReplyHeads { base: call.base, snapshot_ms, heads, mark };
        let heads = self.table.states.get_mut(index).sync.on_reply(&self.table.membership, reply);
        let received = ReceivedReports { heads: heads.clone(), reports, proofs };
        self.ingest(now, Some(index), received, effects);
        self.note_held_own_report(index, &heads);
        self.note_recovery_answer(index, &heads);
        if call.purpose == CallPurpose::Probe && self.leaving.is_none() {
            self.calls(now, effects).follow_up(index, &heads);
        }
        before
    }

    /// Applies a failed call. Only a failed probe changes the peer's status, but a signed refusal of any call does. Returns
    /// the status before, if it has changed.
    fn on_call_failure(
        &mut self,
        now: Timestamps,
        index: usize,
        purpose: CallPurpose,
        failure: Failure,
    ) -> Option<ProbeStatus> {
        self.counters.exchanges_failed += 1;
        if failure == Failure::Incompatible {
            // It is alive, although its reports cannot be read.
            self.table.states.get_mut(index).waiting_since_ms = now.mono_ms;
        }
        let head = self.table.states[index].latest_id();
        let since_ms = self.peers[index].record_impostor(now, failure);
        let is_misconfigured = since_ms.is_some_and(|ms| self.may_be_misconfigured(now, index, ms));
        let is_probe = purpose == CallPurpose::Probe;
        let peer = &mut self.peers[index];
        if failure == Failure::Busy {
            return if is_probe { peer.on_busy(now) } else { None };
        }
        if failure.is_refusal() || (is_misconfigured && is_probe) {
            peer.on_refusal(now, failure)
        } else if is_probe {
            peer.on_failure(now, &self.table.membership.members()[index], failure, head)
        } else {
            None
        }
    }

    /// Whether a peer may be healthy but misconfigured, if something else has answered at its address since `since_ms`:
    /// its configuration may lack this node or contain another key of it. So it is if the peer's fresh report names
    /// another configuration or is older than `since_ms`, or if no sign of life of the peer has arrived and this node
    /// has waited for one for at most 4 intervals.
    fn may_be_misconfigured(&self, now: Timestamps, index: usize, since_ms: u64) -> bool {
        let state = &self.table.states[index];
        if self.table.is_fresh(index, now.mono_ms) {
            self.table.config_differs(index) || state.created_ms <= since_ms
        } else {
            let waited_ms = now.mono_ms.saturating_sub(state.waiting_since_ms);
            !state.advanced && waited_ms <= 4 * self.table.membership.interval_ms()
        }
    }
}

/// Whether this node delayed the call itself by more than a quarter of the timeout.
fn is_late(finished: &CallFinished, member: &Member) -> bool {
    finished.lateness_ms > member.timeout_ms / LATENESS_DIVISOR
}

fn try_result(outcome: &Result<CallReply, Failure>, is_late: bool) -> TryResult {
    match outcome {
        Ok(_) => TryResult::Answered,
        Err(failure) if failure.is_refusal() => TryResult::Answered,
        Err(failure) if is_late && !failure.is_conclusive() => TryResult::Late,
        Err(_) => TryResult::Failed,
    }
}
