//! The peers as this node probes them, and the calls to them.

use std::ops::{Index, IndexMut};
use std::sync::Arc;

use super::event::{Call, CallPurpose};
use super::peer_state::{InFlight, PeerState};
use crate::mesh::delta_sync::DeltaBase;
use crate::mesh::membership::Membership;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::report::VerifiedReport;

/// All members as peers, by index into the membership; this node's own entry is unused.
pub(super) struct Peers {
    states: Vec<PeerState>,
    last_call: u64,
    rng: fastrand::Rng,
}

/// The purpose and the content of a call.
pub(super) struct CallContent {
    pub(super) purpose: CallPurpose,
    pub(super) reports: Vec<Arc<VerifiedReport>>,
    pub(super) proofs: Vec<Arc<EquivocationProof>>,
    /// The epoch of the request's nonce.
    pub(super) epoch: u64,
    /// Name only heads that changed since.
    pub(super) base: Option<DeltaBase>,
    /// Ask for no other report than the peer's own.
    pub(super) own_only: bool,
}

impl Peers {
    /// Creates peers of which nothing is known. Their first probes are spread by position in the membership, later ones
    /// by `seed`.
    pub(super) fn new(membership: &Membership, now: Timestamps, seed: u64) -> Self {
        let states = (0..membership.members().len()).map(|index| new_peer(membership, now, index)).collect();
        Self { states, last_call: 0, rng: fastrand::Rng::with_seed(seed) }
    }

    /// A number from 0 to 1000, evenly distributed.
    pub(super) fn jitter(&mut self) -> u64 {
        self.rng.u64(0..=1_000)
    }

    /// The reachable peers that this node probes, in random order.
    pub(super) fn shuffled_reachable(&mut self, membership: &Membership) -> Vec<usize> {
        let mut peers: Vec<usize> = self.reachable(membership).collect();
        self.rng.shuffle(&mut peers);
        peers
    }

    /// The reachable peers that this node probes: see [`PeerState::is_reachable`].
    pub(super) fn reachable(&self, membership: &Membership) -> impl Iterator<Item = usize> {
        membership.probed().filter(|&index| self.states[index].is_reachable())
    }

    /// The number of calls in flight to peers that are not known to fail: many of them mean that these peers or this node
    /// answer late.
    pub(super) fn calls_in_flight(&self) -> usize {
        self.states.iter().filter(|peer| peer.in_flight.is_some() && !peer.is_failing()).count()
    }

    /// Whether no call is in flight.
    pub(super) fn are_idle(&self) -> bool {
        self.states.iter().all(|peer| peer.in_flight.is_none())
    }

    /// When the next probe is due, if no call occupies its peer: monotonic time in ms.
    pub(super) fn next_probe_ms(&self, membership: &Membership) -> Option<u64> {
        let peers = membership.probed().map(|index| &self.states[index]);
        peers.filter(|peer| peer.in_flight.is_none()).map(PeerState::next_ms).min()
    }

    /// The id of the call that was made last.
    pub(super) fn last_call(&self) -> u64 {
        self.last_call
    }

    /// Creates a call to the peer `index`, which has none in flight.
    pub(super) fn start_call(
        &mut self,
        membership: &Membership,
        now: Timestamps,
        index: usize,
        content: CallContent,
    ) -> Call {
        self.last_call += 1;
        let id = self.last_call;
        let CallContent { purpose, reports, proofs, epoch, base, own_only } = content;
        let member = &membership.members()[index];
        let peer = &mut self.states[index];
        let timeout_ms = peer.timeout_ms(member, purpose);
        let patience_ms = peer.longest_timeout_ms(member);
        peer.in_flight = Some(InFlight { id, purpose, epoch, base, started_ms: now.mono_ms });
        let peer = member.id.clone();
        Call { id, peer, purpose, timeout_ms, patience_ms, own_only, reports, proofs, epoch, base }
    }

    /// Counts the attempts of all probes from 0 again, since a new epoch begins.
    pub(super) fn reset_tries(&mut self) {
        self.states.iter_mut().for_each(PeerState::reset_tries);
    }

    /// Drops pushes that wait for a call to end.
    pub(super) fn cancel_pending_pushes(&mut self) {
        for peer in &mut self.states {
            peer.push_pending = false;
        }
    }

    /// Forgets the calls up to the id `last`, except to peers with a pending push: their results are of no interest.
    pub(super) fn forget_calls_until(&mut self, last: u64) {
        for peer in self.states.iter_mut().filter(|peer| !peer.push_pending) {
            peer.in_flight = peer.in_flight.filter(|call| call.id > last);
        }
    }

    /// Starts over after a gap in time, with probes spread again.
    pub(super) fn resume_after_gap(&mut self, membership: &Membership, now: Timestamps) {
        for (index, peer) in self.states.iter_mut().enumerate() {
            peer.resume_after_gap(now, first_probe_ms(membership, now, index));
        }
    }

    /// Applies a changed membership. `previous` names, for each new index, the old index of the same member; `old` is the
    /// membership of the old indices.
    pub(super) fn reconfigure(
        &mut self,
        old: &Membership,
        membership: &Membership,
        previous: &[Option<usize>],
        now: Timestamps,
    ) {
        let mut known: Vec<_> = std::mem::take(&mut self.states).into_iter().map(Some).collect();
        for (index, member) in membership.members().iter().enumerate() {
            let mut peer = match previous[index].and_then(|at| Some((at, known[at].take()?))) {
                Some((at, peer)) if old.observes(old.me(), at) => peer,
                // Not observed until now: what was observed before is outdated.
                Some((_, peer)) => peer.reset(now, first_probe_ms(membership, now, index)),
                None => new_peer(membership, now, index),
            };
            peer.bring_forward(now, member);
            self.states.push(peer);
        }
    }
}

fn new_peer(membership: &Membership, now: Timestamps, index: usize) -> PeerState {
    PeerState::new(now, first_probe_ms(membership, now, index))
}

/// When the peer `index` is first probed: the first probes are spread evenly over `poll_rate`, by position in the
/// membership. Monotonic time in ms.
fn first_probe_ms(membership: &Membership, now: Timestamps, index: usize) -> u64 {
    let (count, me) = (membership.probed().count(), membership.me());
    let rank = membership.probed().filter(|&other| other < index).count();
    let own_rank = membership.probed().filter(|&other| other < me).count();
    let position = (rank + count - own_rank) % count.max(1);
    let poll_ms = membership.members()[index].poll_rate_ms;
    now.mono_ms + poll_ms * position as u64 / count.max(1) as u64
}

impl Index<usize> for Peers {
    type Output = PeerState;

    fn index(&self, index: usize) -> &PeerState {
        &self.states[index]
    }
}

impl IndexMut<usize> for Peers {
    fn index_mut(&mut self, index: usize) -> &mut PeerState {
        &mut self.states[index]
    }
}
