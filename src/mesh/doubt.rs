//! Doubt about this node itself: its own, and its observers', which it refutes (Lifeguard).

use super::event::{Effect, Note};
use super::observation::Status;
use super::picture::Now;
use super::state::Mesh;

/// For how long a node that was stopped on purpose says nothing about its observers' uplinks, in ms.
const LEAVE_GRACE_MS: u64 = 600_000;

impl Mesh {
    /// This node doubts itself when more than half of those it observes are offline. Peers that were
    /// never seen and those that left on purpose say nothing about its own uplink.
    pub(super) fn weigh_isolation(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (mut observed, mut offline) = (0, 0);
        for &index in self.picture.roster.observed() {
            let (target, slot) = (&self.targets[index], &self.picture.slots[index]);
            let recent = now.mono_ms.saturating_sub(slot.arrived_ms) <= LEAVE_GRACE_MS;
            let left = recent && slot.held.as_ref().is_some_and(|held| held.report().leaving);
            if left || !(target.seen || slot.held.is_some()) {
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

    /// More than a quarter of this node's observers call it offline: it shows that it lives.
    pub(super) fn refute(&mut self, now: Now) {
        let own = self.publisher.stamp();
        let me = self.picture.roster.me();
        let (mut observers, mut doubters, mut new) = (0, 0, false);
        let roster = self.picture.roster.clone();
        for index in roster.observers(roster.me()) {
            if !self.picture.is_fresh(index, now.mono_ms) {
                continue;
            }
            let Some(found) = self.picture.slots[index].observation(me) else { continue };
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
            self.refuting_until_ms = now.mono_ms + 2 * self.picture.roster.round_ms();
            self.refute_ms = now.mono_ms;
            self.publisher.hurry();
        }
    }
}
