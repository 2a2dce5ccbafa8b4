//! Which calls a node makes: probes, follow-ups to a reply, pushes of a change, and refutation.

use std::sync::Arc;

use super::event::{Call, CallPurpose, Effect};
use super::peers::{CallContent, Peers};
use crate::mesh::report_table::ReportTable;
use crate::mesh::sync::missing::{missing_proofs, missing_reports};
use crate::mesh::sync::round_robin::RoundRobin;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::heads::Heads;
use crate::mesh::wire::report::VerifiedReport;

/// A change is pushed to at most this many peers.
const PUSH_PEERS: usize = 8;

/// The number of calls in flight from which this node pushes no changes: peers or this node answer late, and the next
/// probes bring the reports as well. Probes have no such limit.
const MAX_CALLS_BESIDE_PUSHES: usize = 16;

/// The number of calls in flight from which this node asks for no other reports than the peers' own: requests at the same
/// time name the same heads, so their replies would contain the same reports.
const MAX_FETCHES: usize = 3;

/// Of this number of calls, one asks for all reports even then: where replies take long because of the distance, many calls
/// are always in flight, and reports must travel around broken links.
const CALLS_PER_FETCH: u64 = 8;

/// The number of calls in flight from which this node makes no follow-ups.
const MAX_CALLS_BESIDE_FOLLOW_UPS: usize = 24;

/// Makes calls during one step of the engine.
pub(super) struct CallPlanner<'e> {
    pub(super) table: &'e ReportTable,
    pub(super) peers: &'e mut Peers,
    /// Shares follow-ups between the authors.
    pub(super) round_robin: &'e mut RoundRobin,
    pub(super) effects: &'e mut Vec<Effect>,
    pub(super) now: Timestamps,
    /// The epoch of the nonces of new calls.
    pub(super) epoch: u64,
}

impl CallPlanner<'_> {
    /// Makes the probes that are due.
    pub(super) fn probe(&mut self) {
        let membership = self.table.membership().clone();
        for index in membership.probed() {
            let peer = &self.peers[index];
            if peer.in_flight.is_none() && peer.next_ms() <= self.now.mono_ms {
                let own =
                    if self.own_report_is_spreading() { self.own_report_for(index) } else { Vec::new() };
                self.call(index, CallPurpose::Probe, own, Vec::new());
            }
        }
    }

    /// Sends the reports that the sender of `heads` lacks and that should not wait for the next probe: this node's own,
    /// those of a member of which it holds none, and those that it has lacked for `Membership::follow_up_wait_ms`, so
    /// that no other node seems to send them. Also sends the proofs that it lacks.
    pub(super) fn follow_up(&mut self, index: usize, heads: &Heads) {
        let membership = self.table.membership();
        if !heads.matches(membership) || self.peers.calls_in_flight() >= MAX_CALLS_BESIDE_FOLLOW_UPS {
            return;
        }
        let stored_by_ms = self.now.mono_ms.saturating_sub(membership.follow_up_wait_ms());
        let missing = missing_reports(heads, self.table, |author| {
            let state = &self.table.states()[author];
            let Some(head) = heads.get(membership, author) else { return true };
            let is_conflicting = state.latest_id() == Some(head.id);
            author == membership.me()
                || is_conflicting
                || state.received_ms <= stored_by_ms
                || head.id < state.ages.stored_by(stored_by_ms)
        });
        let proofs = missing_proofs(heads, self.table);
        let reports = self.round_robin.select(index, missing.beside(&proofs));
        if !reports.is_empty() || !proofs.is_empty() {
            self.call(index, CallPurpose::FollowUp, reports, proofs);
        }
    }

    /// Pushes this node's newest report to at most [`PUSH_PEERS`] reachable peers, idle ones first. With `leaving`, this
    /// is the last report, and the results of earlier calls are ignored.
    pub(super) fn push(&mut self, leaving: bool) {
        if !leaving && self.peers.calls_in_flight() >= MAX_CALLS_BESIDE_PUSHES {
            return;
        }
        let mut peers = self.peers.shuffled_reachable(self.table.membership());
        peers.sort_by_key(|&index| self.peers[index].in_flight.is_some());
        let earlier = self.peers.last_call();
        for index in peers.into_iter().take(PUSH_PEERS) {
            if self.peers[index].in_flight.is_some() {
                self.peers[index].push_pending = true;
            } else {
                let own = self.own_report_for(index);
                self.call(index, CallPurpose::Push, own, Vec::new());
            }
        }
        if leaving {
            self.peers.forget_calls_until(earlier);
        }
    }

    /// Pushes a report that waited for a call to end, unless that call or a follow-up has sent it.
    pub(super) fn push_pending(&mut self, index: usize) {
        let own = self.own_report_for(index);
        if self.peers[index].in_flight.is_none() && !own.is_empty() {
            self.call(index, CallPurpose::Push, own, Vec::new());
        }
    }

    /// Calls [`PUSH_PEERS`] reachable peers, to show them that this node is alive.
    pub(super) fn refute(&mut self) {
        let peers = self.peers.shuffled_reachable(self.table.membership());
        let idle = peers.into_iter().filter(|&index| self.peers[index].in_flight.is_none());
        for index in idle.take(PUSH_PEERS).collect::<Vec<_>>() {
            let own = self.own_report_for(index);
            self.call(index, CallPurpose::Push, own, Vec::new());
        }
    }

    fn call(
        &mut self,
        index: usize,
        purpose: CallPurpose,
        reports: Vec<Arc<VerifiedReport>>,
        proofs: Vec<Arc<EquivocationProof>>,
    ) {
        let membership = self.table.membership();
        let base = self.table.states()[index].sync.base(membership);
        let may_fetch = self.peers.last_call() % CALLS_PER_FETCH == 0;
        let own_only = !may_fetch && self.peers.calls_in_flight() >= MAX_FETCHES;
        let content = CallContent { purpose, reports, proofs, epoch: self.epoch, base, own_only };
        let call: Call = self.peers.start_call(membership, self.now, index, content);
        self.effects.push(Effect::Call(call));
    }

    /// Whether peers are still likely to lack this node's newest report. Each of n nodes fetches the reports that it
    /// lacks from p others once in an interval, so a report has reached half of the nodes after ln(n) / p intervals,
    /// and most after log2(n) / p. Later, a follow-up sends it to a peer that lacks it. (With 16 nodes, one report in
    /// five arrives twice with this rule, one in two without, for 2 % more follow-ups.)
    fn own_report_is_spreading(&self) -> bool {
        let membership = self.table.membership();
        let doublings = u64::from(membership.members().len().ilog2()) + 1;
        let spread_ms = membership.max_poll_ms() * doublings / (membership.exchange_peers() as u64).max(1);
        let published_ms = self.table.states()[membership.me()].received_ms;
        self.now.mono_ms.saturating_sub(published_ms) <= spread_ms
    }

    /// This node's newest report, unless the peer is known to hold it.
    fn own_report_for(&self, index: usize) -> Vec<Arc<VerifiedReport>> {
        let known = self.peers[index].known_own_report;
        let own = self.table.own_report().filter(|own| known != Some(own.id()));
        own.cloned().into_iter().collect()
    }
}
