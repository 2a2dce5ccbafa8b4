//! What is held of all members, by their indices in the membership.

use std::ops::Index;
use std::sync::Arc;

use super::member_state::MemberState;

/// So many states are shared or copied together.
const CHUNK: usize = 16;

/// A list of states that is cheap to copy: snapshots share what has not changed between them, since a large
/// network has one snapshot after the other, and each differs from the one before in a few states.
#[derive(Debug, Clone, Default)]
pub struct MemberStates {
    chunks: Vec<Arc<[MemberState]>>,
    len: usize,
}

impl MemberStates {
    /// How many there are: as many as members.
    #[expect(clippy::len_without_is_empty, reason = "a node is a member itself, so there is one at least")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &MemberState> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// A state to be changed, apart from those that other snapshots show.
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
    fn copies_share_what_has_not_changed() {
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
