//! Past verdicts, each with the votes that it was reached from: why was it down at three in the morning?
//!
//! They are kept in memory, since this process' start and within bounds; the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::node_status::NodeStatus;
use super::node_verdict::Verdict;
use super::tracker::TrackedVerdict;
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::{Member, Membership};

/// So many decisions are kept of one node.
pub const MAX_PER_NODE: usize = 64;

/// So many votes are kept in all, at some 60 bytes each; a decision without any counts as four.
pub const MAX_VOTES: usize = 20_000;

/// One verdict on one node, from when it was reached until the next.
#[derive(Debug, Clone)]
pub struct VerdictRecord {
    /// Who was configured then.
    pub membership: Arc<Membership>,
    /// The node, by its index in that membership.
    pub index: usize,
    /// When it was reached: Unix time in ms.
    pub at_ms: u64,
    /// What stood there before; none for this process' first.
    pub from: Option<NodeStatus>,
    /// What was concluded, and from which votes.
    pub verdict: Verdict,
    /// How it stood in time.
    pub tracked: TrackedVerdict,
    /// The node's newest report here.
    pub newest: Option<ReportId>,
    /// For how long it had not reported, in ms.
    pub silent_ms: u64,
}

impl VerdictRecord {
    /// The node.
    pub fn member(&self) -> &Member {
        &self.membership.members()[self.index]
    }

    fn cost(&self) -> usize {
        self.verdict.vote_count.votes.len().max(4)
    }
}

/// What is kept of the past, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    records: VecDeque<Arc<VerdictRecord>>,
}

/// Why there is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// What is kept of the node begins only then: Unix time in ms.
    KeptSince(u64),
    /// Nothing is kept of the node.
    NothingKept,
}

impl History {
    /// Keeps `decisions`, which are newer than all before.
    pub fn record(&mut self, decisions: impl IntoIterator<Item = VerdictRecord>) {
        self.records.extend(decisions.into_iter().map(Arc::new));
        let mut of_node: HashMap<NodeId, usize> = HashMap::new();
        let mut votes = 0;
        let kept = self.records.drain(..).rev().filter(|decision| {
            let count = of_node.entry(decision.member().id.clone()).or_default();
            *count += 1;
            if *count > MAX_PER_NODE {
                return false;
            }
            votes += decision.cost();
            votes <= MAX_VOTES
        });
        let mut kept: VecDeque<_> = kept.collect();
        kept.make_contiguous().reverse();
        self.records = kept;
    }

    /// The decision on `node` that stood at `at_ms`, and when the next was reached; Unix time in ms. Where the
    /// wall clock was set back, the newer one.
    pub fn at(&self, node: &str, at_ms: u64) -> Result<(&Arc<VerdictRecord>, Option<u64>), LookupError> {
        let mut next_ms = None;
        for decision in self.of_node(Some(node)) {
            if decision.at_ms <= at_ms {
                return Ok((decision, next_ms));
            }
            next_ms = Some(decision.at_ms);
        }
        Err(next_ms.map_or(LookupError::NothingKept, LookupError::KeptSince))
    }

    /// The decisions on `node`, or on all, newest first.
    pub fn of_node<'h, 'n>(
        &'h self,
        node: Option<&'n str>,
    ) -> impl Iterator<Item = &'h Arc<VerdictRecord>> + use<'h, 'n> {
        let all = self.records.iter().rev();
        all.filter(move |decision| node.is_none_or(|node| decision.member().id.as_str() == node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample;
    use crate::mesh::verdict::tracker::VerdictTracker;
    use crate::mesh::verdict::{Vote, VoteCount, evaluate};
    use crate::mesh::wire::observation::ProbeStatus;

    fn decision(index: usize, at_ms: u64, votes: usize) -> VerdictRecord {
        let snapshot = sample::snapshot(3, &[]);
        let verdicts = evaluate(snapshot.table(), snapshot.at());
        let vote = Vote {
            voter: 0,
            report_id: ReportId::default(),
            status: ProbeStatus::Online,
            error: None,
            since_ms: 0,
            refuted: false,
            abstains: None,
        };
        let tracked = VerdictTracker::default()
            .update(snapshot.table(), &verdicts.nodes, snapshot.at())
            .swap_remove(index)
            .to;
        let vote_count = VoteCount { votes: vec![vote; votes], ..VoteCount::default() };
        let verdict = Verdict { vote_count, ..verdicts.nodes[index].clone() };
        let membership = snapshot.membership().clone();
        VerdictRecord { membership, index, at_ms, from: None, verdict, tracked, newest: None, silent_ms: 0 }
    }

    #[test]
    fn what_stood_then() {
        let mut history = History::default();
        history.record([decision(1, 100, 2), decision(2, 150, 2)]);
        history.record([decision(1, 200, 2)]);
        let check = |node: &str, at_ms: u64, expected: Result<(u64, Option<u64>), LookupError>| {
            let found = history.at(node, at_ms).map(|(decision, until_ms)| (decision.at_ms, until_ms));
            assert_eq!(found, expected, "{node} at {at_ms}");
        };
        check("node-01", 99, Err(LookupError::KeptSince(100)));
        check("node-01", 100, Ok((100, Some(200))));
        check("node-01", 199, Ok((100, Some(200))));
        check("node-01", 200, Ok((200, None)));
        check("node-01", u64::MAX, Ok((200, None)));
        check("node-02", 180, Ok((150, None)));
        check("node-09", 180, Err(LookupError::NothingKept));
        let order = |node| history.of_node(node).map(|decision| decision.at_ms).collect::<Vec<_>>();
        assert_eq!(order(None), [200, 150, 100]);
        assert_eq!(order(Some("node-01")), [200, 100]);
    }

    #[test]
    fn a_clock_that_is_set_back_hides_nothing_newer() {
        let mut history = History::default();
        history.record([decision(1, 500, 0), decision(1, 300, 0)]);
        assert_eq!(history.at("node-01", 600).map(|(decision, _)| decision.at_ms), Ok(300));
    }

    #[test]
    fn the_oldest_go_first() {
        let mut history = History::default();
        history.record([decision(2, 1, 0)]);
        for at_ms in 2..200 {
            history.record([decision(1, at_ms, 0)]);
        }
        assert_eq!(history.of_node(Some("node-01")).count(), MAX_PER_NODE);
        assert_eq!(
            history.at("node-01", 20).map(|_| ()),
            Err(LookupError::KeptSince(200 - MAX_PER_NODE as u64))
        );
        assert!(history.at("node-02", 20).is_ok(), "one that flaps pushes no other out");

        history.record([decision(1, 300, MAX_VOTES - 10), decision(1, 301, 5)]);
        assert_eq!(history.of_node(None).map(|decision| decision.at_ms).collect::<Vec<_>>(), [301, 300, 199]);
    }
}
