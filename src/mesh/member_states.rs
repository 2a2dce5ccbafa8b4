//! The states of all members, by index into the membership.

use std::ops::Index;
use std::sync::Arc;

use super::member_state::MemberState;

/// The number of states in a chunk, which is shared or copied as a whole.
const CHUNK: usize = 16;

/// A list of states that is cheap to clone: snapshots share the chunks that have not changed between them, since in a
/// large network each snapshot differs from the previous one in a few states.
#[derive(Debug, Clone, Default)]
pub struct MemberStates {
    chunks: Vec<Arc<[MemberState]>>,
    len: usize,
}

impl MemberStates {
    /// The number of states, which is the number of members.
    #[expect(clippy::len_without_is_empty, reason = "this node is a member, so the list is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// All states, in order.
    pub fn iter(&self) -> impl Iterator<Item = &MemberState> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The state at `index`, to be changed. Copies its chunk if a snapshot shares it.
    pub(super) fn get_mut(&mut self, index: usize) -> &mut MemberState {
        &mut Arc::make_mut(&mut self.chunks[index / CHUNK])[index % CHUNK]
    }
}

impl Index<usize> for MemberStates {
    type Output = MemberState;

    fn index(&self, index: usize) -> &MemberState {
        &self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl FromIterator<MemberState> for MemberStates {
    fn from_iter<I: IntoIterator<Item = MemberState>>(states: I) -> Self {
        let states: Vec<MemberState> = states.into_iter().collect();
        Self { chunks: states.chunks(CHUNK).map(Arc::from).collect(), len: states.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_unchanged_chunks() {
        let before: MemberStates =
            (0..40).map(|number| MemberState { created_ms: number, ..MemberState::default() }).collect();
        let mut after = before.clone();
        after.get_mut(17).created_ms = 1_000;
        let times = |states: &MemberStates| states.iter().map(|state| state.created_ms).collect::<Vec<_>>();
        assert_eq!(times(&before), (0..40).collect::<Vec<_>>());
        assert_eq!((times(&after).len(), after[17].created_ms, after[16].created_ms), (40, 1_000, 16));
        let shared = before.chunks.iter().zip(&after.chunks).map(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.collect::<Vec<_>>(), [true, false, true]);
    }
}
