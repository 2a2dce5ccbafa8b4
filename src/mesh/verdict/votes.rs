//! The votes on one node, counted by distinct keys, and the quorum.

use super::context::{EvalContext, Liveness};
use super::vote::{Abstention, Vote};
use crate::mesh::id::ReportId;
use crate::mesh::wire::observation::{Failure, Observation, ProbeStatus};

/// The votes on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoteCount {
    /// All votes, also those that do not count, in the order of the voters' ids.
    pub votes: Vec<Vote>,
    /// The number of possible voters: the live nodes configured to observe it, by distinct keys.
    pub electorate: usize,
    /// The number of votes for online, by distinct keys; the same below.
    pub online: usize,
    /// The number of votes for offline.
    pub offline: usize,
    /// The number of unrefuted votes for offline.
    pub unrefuted: usize,
    /// The number of unrefuted votes for offline with a refused connection at every attempt.
    pub refused: usize,
    /// The number of votes that say it runs an incompatible release.
    pub incompatible: usize,
    /// The number of votes of observers that it answered that it is overloaded.
    pub busy: usize,
    /// Whether more than half of the members with a key observed it offline, or have reported since a quorum did.
    pub is_witnessed: bool,
}

impl VoteCount {
    /// Counts the votes on each node. Collects them report by report instead of node by node, because the latter would
    /// read distant memory for every vote when there are thousands of reports.
    pub(super) fn all(context: &EvalContext<'_>) -> Vec<Self> {
        let membership = context.membership();
        let capacity = |target| membership.observers(target).size_hint().1.unwrap_or_default();
        let empty = |target| Self { votes: Vec::with_capacity(capacity(target)), ..Self::default() };
        let mut vote_counts: Vec<Self> = (0..context.count()).map(empty).collect();
        for voter in 0..context.count() {
            let Some(report_id) = context.report_id(voter) else { continue };
            for (target, observation) in context.state(voter).observations() {
                if membership.observes(voter, target) {
                    vote_counts[target].votes.push(vote(context, voter, report_id, target, observation));
                }
            }
        }
        vote_counts
            .into_iter()
            .enumerate()
            .map(|(target, vote_count)| vote_count.count_for(context, target))
            .collect()
    }

    fn count_for(mut self, context: &EvalContext<'_>, target: usize) -> Self {
        let mut alive = DistinctKeys::new(context, target);
        for observer in context.membership().observers(target) {
            if context.node(observer).liveness == Liveness::Alive && alive.is_new(context, observer) {
                self.electorate += 1;
            }
        }
        let mut voters = DistinctKeys::new(context, target);
        for at in 0..self.votes.len() {
            let vote = &mut self.votes[at];
            if vote.abstains.is_none() && !voters.is_new(context, vote.voter) {
                vote.abstains = Some(Abstention::SameKey);
            }
            let vote = *vote;
            if vote.abstains.is_none() {
                self.count(&vote);
            }
        }
        self.is_witnessed = self.compute_witnessed(context, target);
        self
    }

    /// Whether more than half of the members with a key observed the node offline, or have reported since a quorum did.
    ///
    /// A node on the small side of a partition observes the other side offline only after the cut, and receives no
    /// younger report from beyond it. So it never has reports from more than half of all nodes that are younger than
    /// the moment at which a quorum on its side observed a node of the other side offline. Measuring from that
    /// moment works however long reports take to arrive; measuring from the silent node's last report does not,
    /// since reports from before the cut arrive at different times.
    fn compute_witnessed(&self, context: &EvalContext<'_>, target: usize) -> bool {
        let limits = context.limits(target);
        let last_ms = context.silent_since_ms(target);
        let offline = self.counted().filter(|vote| vote.status == ProbeStatus::Offline);
        let mut observed_ms: Vec<u64> = offline
            .map(|vote| {
                // A vote from before the node's latest report says nothing about this silence.
                let after_ms = if vote.refuted { limits.fresh_ms } else { limits.witness_ms };
                context.observed_ms(vote).max(last_ms.saturating_add(after_ms))
            })
            .collect();
        observed_ms.sort_unstable();
        let Some(quorum) = (1..=observed_ms.len()).find(|&votes| self.is_quorum(votes)) else { return false };
        let after_ms = observed_ms[quorum - 1];
        let voters = self.counted().filter(|vote| vote.status == ProbeStatus::Offline && !vote.refuted);
        let earlier =
            voters.filter(|vote| context.advanced_ms(vote.voter).is_none_or(|ms| ms < after_ms)).count();
        (context.reported_since(after_ms) + earlier) * 2 > context.membership().keyed_count()
    }

    fn count(&mut self, vote: &Vote) {
        if vote.error == Some(Failure::Busy) {
            self.busy += 1;
            // The answer proves that the node lives, although its status stays for a while.
            if vote.status == ProbeStatus::Offline {
                return;
            }
        }
        match vote.status {
            ProbeStatus::Online => self.online += 1,
            ProbeStatus::Offline => {
                self.offline += 1;
                self.unrefuted += usize::from(!vote.refuted);
                self.refused += usize::from(!vote.refuted && vote.error == Some(Failure::Refused));
            }
            ProbeStatus::Unknown => {
                self.incompatible += usize::from(vote.error == Some(Failure::Incompatible));
            }
        }
    }

    /// Whether most votes say that the node runs an incompatible release.
    pub(super) fn is_incompatible(&self) -> bool {
        self.incompatible * 2 > self.counted().count()
    }

    /// Whether this number of votes is a quorum of the electorate.
    pub fn is_quorum(&self, votes: usize) -> bool {
        votes >= quorum(self.electorate)
    }

    /// The votes that count.
    pub fn counted(&self) -> impl Iterator<Item = &Vote> {
        self.votes.iter().filter(|vote| vote.abstains.is_none())
    }
}

/// The quorum: more than half of the electorate, and at least two votes.
pub fn quorum(electorate: usize) -> usize {
    (electorate / 2 + 1).max(2)
}

fn vote(
    context: &EvalContext<'_>,
    voter: usize,
    report_id: ReportId,
    target: usize,
    observation: &Observation,
) -> Vote {
    let refuted = observation.status == ProbeStatus::Offline
        && context
            .report_id(target)
            .is_some_and(|newest| newest.refutes(observation.head.unwrap_or_default()));
    Vote {
        voter,
        report_id,
        status: observation.status,
        error: observation.error,
        since_ms: observation.since_ms,
        refuted,
        abstains: context.node(voter).abstains,
    }
}

/// The key groups that have been counted.
struct DistinctKeys {
    seen: Vec<usize>,
}

impl DistinctKeys {
    /// Starts with the target's own key group, which has no vote.
    fn new(context: &EvalContext<'_>, target: usize) -> Self {
        Self { seen: vec![context.key_group(target)] }
    }

    fn is_new(&mut self, context: &EvalContext<'_>, index: usize) -> bool {
        let key = context.key_group(index);
        // Only members that share a key can vote twice.
        if key == index && !context.membership().has_shared_keys() {
            return true;
        }
        let new = !self.seen.contains(&key);
        if new {
            self.seen.push(key);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorum_is_more_than_half_and_at_least_two() {
        for (electorate, expected) in
            [(0, 2), (1, 2), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4), (63, 32), (64, 33)]
        {
            assert_eq!(quorum(electorate), expected, "of {electorate}");
            let count = VoteCount { electorate, ..VoteCount::default() };
            assert!(count.is_quorum(expected) && !count.is_quorum(expected - 1), "of {electorate}");
        }
    }
}
