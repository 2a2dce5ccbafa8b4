//! Past verdicts, each with the votes that it was reached from: why was it down at three in the morning?
//!
//! They are kept in memory, since this process' start and within bounds; the oldest go first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::latch::Settled;
use super::{Standing, Verdict};
use crate::mesh::id::{NodeId, Stamp};
use crate::mesh::roster::{Member, Roster};

/// So many decisions are kept of one node.
pub const OF_ONE: usize = 64;

/// So many votes are kept in all, at some 60 bytes each; a decision without any counts as four.
pub const VOTES: usize = 20_000;

/// One verdict on one node, from when it was reached until the next.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Who was configured then.
    pub roster: Arc<Roster>,
    /// The node, by its index in that roster.
    pub index: usize,
    /// When it was reached: Unix time in ms.
    pub at_ms: u64,
    /// What stood there before; none for this process' first.
    pub from: Option<Standing>,
    /// What was concluded, and from which votes.
    pub verdict: Verdict,
    /// How it stood in time.
    pub settled: Settled,
    /// The node's newest report here.
    pub newest: Option<Stamp>,
    /// For how long it had not reported, in ms.
    pub silent_ms: u64,
}

impl Decision {
    /// The node.
    pub fn member(&self) -> &Member {
        &self.roster.members()[self.index]
    }

    fn cost(&self) -> usize {
        self.verdict.ballot.votes.len().max(4)
    }
}

/// What is kept of the past, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    decisions: VecDeque<Arc<Decision>>,
}

/// Why there is no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// What is kept of the node begins only then: Unix time in ms.
    Before(u64),
    /// Nothing is kept of the node.
    Never,
}

impl History {
    /// Keeps `decisions`, which are newer than all before.
    pub fn record(&mut self, decisions: impl IntoIterator<Item = Decision>) {
        self.decisions.extend(decisions.into_iter().map(Arc::new));
        let mut of_node: HashMap<NodeId, usize> = HashMap::new();
        let mut votes = 0;
        let kept = self.decisions.drain(..).rev().filter(|decision| {
            let count = of_node.entry(decision.member().id.clone()).or_default();
            *count += 1;
            if *count > OF_ONE {
                return false;
            }
            votes += decision.cost();
            votes <= VOTES
        });
        let mut kept: VecDeque<_> = kept.collect();
        kept.make_contiguous().reverse();
        self.decisions = kept;
    }

    /// The decision on `node` that stood at `at_ms`, and when the next was reached; Unix time in ms. Where the
    /// wall clock was set back, the newer one.
    pub fn at(&self, node: &str, at_ms: u64) -> Result<(&Arc<Decision>, Option<u64>), Unknown> {
        let mut next_ms = None;
        for decision in self.of(Some(node)) {
            if decision.at_ms <= at_ms {
                return Ok((decision, next_ms));
            }
            next_ms = Some(decision.at_ms);
        }
        Err(next_ms.map_or(Unknown::Never, Unknown::Before))
    }

    /// The decisions on `node`, or on all, newest first.
    pub fn of<'h, 'n>(
        &'h self,
        node: Option<&'n str>,
    ) -> impl Iterator<Item = &'h Arc<Decision>> + use<'h, 'n> {
        let all = self.decisions.iter().rev();
        all.filter(move |decision| node.is_none_or(|node| decision.member().id.as_str() == node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::observation::Status;
    use crate::mesh::sample;
    use crate::mesh::verdict::latch::Latch;
    use crate::mesh::verdict::{Ballot, Vote, judge};

    fn decision(index: usize, at_ms: u64, votes: usize) -> Decision {
        let picture = sample::picture(3, &[]);
        let verdicts = judge(&picture, picture.at());
        let vote = Vote {
            voter: 0,
            stamp: Stamp::default(),
            status: Status::Online,
            error: None,
            since_ms: 0,
            refuted: false,
            abstains: None,
        };
        let settled = Latch::default().settle(&picture, &verdicts, picture.at()).swap_remove(index).to;
        let ballot = Ballot { votes: vec![vote; votes], ..Ballot::default() };
        let verdict = Verdict { ballot, ..verdicts.nodes[index].clone() };
        let roster = picture.roster().clone();
        Decision { roster, index, at_ms, from: None, verdict, settled, newest: None, silent_ms: 0 }
    }

    #[test]
    fn what_stood_then() {
        let mut history = History::default();
        history.record([decision(1, 100, 2), decision(2, 150, 2)]);
        history.record([decision(1, 200, 2)]);
        let check = |node: &str, at_ms: u64, expected: Result<(u64, Option<u64>), Unknown>| {
            let found = history.at(node, at_ms).map(|(decision, until_ms)| (decision.at_ms, until_ms));
            assert_eq!(found, expected, "{node} at {at_ms}");
        };
        check("node-01", 99, Err(Unknown::Before(100)));
        check("node-01", 100, Ok((100, Some(200))));
        check("node-01", 199, Ok((100, Some(200))));
        check("node-01", 200, Ok((200, None)));
        check("node-01", u64::MAX, Ok((200, None)));
        check("node-02", 180, Ok((150, None)));
        check("node-09", 180, Err(Unknown::Never));
        let order = |node| history.of(node).map(|decision| decision.at_ms).collect::<Vec<_>>();
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
        assert_eq!(history.of(Some("node-01")).count(), OF_ONE);
        assert_eq!(history.at("node-01", 20).map(|_| ()), Err(Unknown::Before(200 - OF_ONE as u64)));
        assert!(history.at("node-02", 20).is_ok(), "one that flaps pushes no other out");

        history.record([decision(1, 300, VOTES - 10), decision(1, 301, 5)]);
        assert_eq!(history.of(None).map(|decision| decision.at_ms).collect::<Vec<_>>(), [301, 300, 199]);
    }
}
