//! Doubt about this node itself: its own, and its observers', which it refutes (Lifeguard).

use super::event::{Effect, Notice};
use crate::mesh::engine::Engine;
use crate::mesh::snapshot::Timestamps;
use crate::mesh::wire::observation::ProbeStatus;

/// For how long a node that was stopped on purpose says nothing about its observers' uplinks, in ms.
const LEAVE_GRACE_MS: u64 = 600_000;

impl Engine {
    /// This node doubts itself when more than half of those it observes are offline. Peers that were
    /// never seen and those that left on purpose say nothing about its own uplink.
    pub(super) fn update_isolation(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let (mut observed, mut offline) = (0, 0);
        for &index in self.snapshot.membership.observed() {
            let (target, state) = (&self.peers[index], &self.snapshot.states[index]);
            let recent = now.mono_ms.saturating_sub(state.received_ms) <= LEAVE_GRACE_MS;
            let left = recent && state.latest.as_ref().is_some_and(|latest| latest.report().leaving);
            if left || !(target.ever_answered || state.latest.is_some()) {
                continue;
            }
            observed += 1;
            offline += usize::from(target.observation.status == ProbeStatus::Offline);
        }
        let isolated = offline * 2 > observed;
        if isolated != self.snapshot.isolated {
            self.snapshot.isolated = isolated;
            self.changed = true;
            self.publisher.request_publish();
            effects.push(Effect::Notice(Notice::IsolationChanged(isolated)));
        }
    }

    /// More than a quarter of this node's observers call it offline: it shows that it lives.
    pub(super) fn refute(&mut self, now: Timestamps) {
        let own = self.publisher.last_id();
        let me = self.snapshot.membership.me();
        let (mut observers, mut doubters, mut new) = (0, 0, false);
        let membership = self.snapshot.membership.clone();
        for index in membership.observers(membership.me()) {
            if !self.snapshot.is_fresh(index, now.mono_ms) {
                continue;
            }
            let Some(found) = self.snapshot.states[index].observation(me) else { continue };
            observers += 1;
            let answered = found.head.is_some_and(|head| {
                own.epoch > head.epoch || (own.epoch == head.epoch && own.seq > head.seq + 1)
            });
            if found.status != ProbeStatus::Offline || answered {
                continue;
            }
            doubters += 1;
            let refuted = &mut self.peers[index].refuted_since_ms;
            new |= refuted.replace(found.since_ms) != Some(found.since_ms);
        }
        if new && doubters * 4 > observers {
            self.refuting_until_ms = now.mono_ms + 2 * self.snapshot.membership.max_poll_ms();
            self.next_refute_ms = now.mono_ms;
            self.publisher.request_publish();
        }
    }
}
