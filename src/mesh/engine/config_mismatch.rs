//! Whether others have had another configuration than this node for long. While a change is rolled out they
//! have, and that is no news; later somebody was left out.

use super::event::{Effect, Notice};
use crate::mesh::engine::Engine;
use crate::mesh::id::NodeId;
use crate::mesh::snapshot::{Snapshot, Timestamps};

/// A difference is told once it has lasted so long, in ms.
pub(super) const REPORT_AFTER_MS: u64 = 60_000;

/// Since when configurations have differed.
#[derive(Debug, Default)]
pub(super) struct MismatchTimer {
    /// Monotonic time in ms.
    since_ms: Option<u64>,
    reported: bool,
}

impl Snapshot {
    /// Whether the newest report of the member with this index names another configuration than this node's,
    /// as [`Membership::digest`](crate::mesh::membership::Membership::digest) tells them apart.
    pub fn config_differs(&self, index: usize) -> bool {
        let latest = self.states[index].latest.as_ref();
        index != self.membership.me()
            && latest.is_some_and(|latest| latest.report().config != self.membership.digest())
    }
}

impl Engine {
    /// Looks at all whose reports come, with each report of this node's own.
    pub(super) fn compare_configurations(&mut self, now: Timestamps, effects: &mut Vec<Effect>) {
        let snapshot = &self.snapshot;
        let nodes: Vec<NodeId> = (0..snapshot.states.len())
            .filter(|&index| snapshot.config_differs(index) && snapshot.is_fresh(index, now.mono_ms))
            .map(|index| snapshot.membership.members()[index].id.clone())
            .collect();
        if nodes.is_empty() {
            if std::mem::take(&mut self.config_mismatch).reported {
                effects.push(Effect::Notice(Notice::ConfigMatch));
            }
            return;
        }
        let since_ms = *self.config_mismatch.since_ms.get_or_insert(now.mono_ms);
        if now.mono_ms.saturating_sub(since_ms) >= REPORT_AFTER_MS && !self.config_mismatch.reported {
            self.config_mismatch.reported = true;
            effects.push(Effect::Notice(Notice::ConfigMismatch { nodes }));
        }
    }
}
