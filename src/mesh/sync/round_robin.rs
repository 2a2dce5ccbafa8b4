//! Shares the messages to a peer between the authors of the reports that it lacks.
//!
//! The authors take turns, so that nothing that an author chooses, neither sequence numbers nor sizes, gives it priority
//! or keeps the reports of others from travelling.

use std::sync::Arc;

use super::missing::{MissingReports, bytes_in_message};
use crate::mesh::wire::report::VerifiedReport;

/// For each peer, the author whose turn it is. Needs 8 bytes for each member at most.
#[derive(Debug, Default)]
pub struct RoundRobin {
    /// By the peer's index in the membership. After a change of the membership, the turns begin elsewhere, which is as
    /// fair.
    turns: Vec<Turn>,
}

/// With which report the next message to a peer begins if not all reports fit.
#[derive(Debug, Clone, Copy, Default)]
struct Turn {
    /// The index of the author whose turn it is: of those that the peer lacked, the first that did not fit.
    author: u32,
    /// Whether the last message contained this node's own report.
    own_was_sent: bool,
}

impl RoundRobin {
    /// Selects the reports for the next message to the peer with the index `peer`, within its room.
    ///
    /// If not all of them fit, they are added in this order, and one that does not fit is skipped:
    /// 1. this node's own, except after a message that contained it if the next report does not fit beside it;
    /// 2. that of the author whose turn it is, so that each author is served once in a round whatever the sizes are;
    /// 3. those that are no larger than an equal share, by turn;
    /// 4. the larger ones, by turn.
    pub fn select(&mut self, peer: usize, missing: MissingReports) -> Vec<Arc<VerifiedReport>> {
        let MissingReports { own, mut others, bytes, room } = missing;
        if bytes <= room {
            if let Some(turn) = self.turns.get_mut(peer) {
                turn.own_was_sent = own.is_some();
            }
            return own.into_iter().chain(others.into_iter().map(|(_, report)| report)).collect();
        }
        if self.turns.len() <= peer {
            self.turns.resize(peer + 1, Turn::default());
        }
        let turn = &mut self.turns[peer];
        let start = others.partition_point(|(author, _)| *author < turn.author as usize);
        others.rotate_left(start);

        let share = room / (others.len() + usize::from(own.is_some()));
        let next_bytes = others.first().map_or(0, |(_, report)| bytes_in_message(report));
        let own = own.filter(|own| !turn.own_was_sent || bytes_in_message(own) + next_bytes <= room);
        turn.own_was_sent = own.is_some();

        let mut room = room.saturating_sub(own.as_deref().map_or(0, bytes_in_message));
        let mut selected: Vec<_> = own.into_iter().collect();
        let is_small = |at: &usize| bytes_in_message(&others[*at].1) <= share;
        let small = (1..others.len()).filter(is_small);
        let large = (1..others.len()).filter(|at| !is_small(at));
        let mut first_skipped = usize::MAX;
        for at in (0..others.len().min(1)).chain(small).chain(large) {
            let report = &others[at].1;
            if let Some(left) = room.checked_sub(bytes_in_message(report)) {
                room = left;
                selected.push(report.clone());
            } else {
                first_skipped = first_skipped.min(at);
            }
        }
        if let Some((author, _)) = others.get(first_skipped) {
            turn.author = u32::try_from(*author).unwrap_or_default();
        }
        selected
    }
}

#[cfg(test)]
mod tests;
