//! Whether others have had another configuration than this node for long. While a change is rolled out they
//! have, and that is no news; later somebody was left out.

use super::event::{Effect, Note};
use super::id::NodeId;
use super::picture::{Now, Picture};
use super::state::Mesh;

/// A difference is told once it has lasted so long, in ms.
pub(super) const LONG_MS: u64 = 60_000;

/// Since when configurations have differed.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Monotonic time in ms.
    since_ms: Option<u64>,
    told: bool,
}

impl Picture {
    /// Whether the newest report of the member with this index names another configuration than this node's,
    /// as [`Roster::digest`](super::roster::Roster::digest) tells them apart.
    pub fn differs(&self, index: usize) -> bool {
        let held = self.slots[index].held.as_ref();
        index != self.roster.me() && held.is_some_and(|held| held.report().config != self.roster.digest())
    }
}

impl Mesh {
    /// Looks at all whose reports come, with each report of this node's own.
    pub(super) fn compare_configurations(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let picture = &self.picture;
        let nodes: Vec<NodeId> = (0..picture.slots.len())
            .filter(|&index| picture.differs(index) && picture.is_fresh(index, now.mono_ms))
            .map(|index| picture.roster.members()[index].id.clone())
            .collect();
        if nodes.is_empty() {
            if std::mem::take(&mut self.difference).told {
                effects.push(Effect::Note(Note::Alike));
            }
            return;
        }
        let since_ms = *self.difference.since_ms.get_or_insert(now.mono_ms);
        if now.mono_ms.saturating_sub(since_ms) >= LONG_MS && !self.difference.told {
            self.difference.told = true;
            effects.push(Effect::Note(Note::Differs { nodes }));
        }
    }
}
