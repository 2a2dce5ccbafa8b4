//! The history of verdicts, each with its votes, to explain later why a node was down.
//!
//! Records are in memory, from the start of this process and within bounds; the oldest are evicted first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::cause::Cause;
use super::node_status::NodeStatus;
use super::node_verdict::Verdict;
use super::tracker::TrackedVerdict;
use super::vote::Vote;
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::{Member, Membership};

/// The maximum number of records of one node.
pub const MAX_PER_NODE: usize = 64;

/// The maximum size of all records, in bytes of memory, with the earlier memberships that they refer to.
pub const MAX_BYTES: usize = 1024 * 1024;

/// The maximum size of the records of one node, in bytes: a flapping node must not evict those of others.
const MAX_NODE_BYTES: usize = MAX_BYTES / 4;

/// The size of a member in memory, beside its strings, in bytes.
const MEMBER_BYTES: usize = 512;

/// One verdict on one node, from when it was reached until the next.
#[derive(Debug, Clone)]
pub struct VerdictRecord {
    /// The membership at that time.
    pub membership: Arc<Membership>,
    /// The node, by its index in that membership.
    pub index: usize,
    /// When the verdict was reached: Unix time in ms.
    pub at_ms: u64,
    /// The status before; none for the first verdict of this process.
    pub from: Option<NodeStatus>,
    /// The verdict, with its votes.
    pub verdict: Verdict,
    /// The verdict as tracked over time.
    pub tracked: TrackedVerdict,
    /// The node's newest report that this node held.
    pub newest: Option<ReportId>,
    /// How long the node's reports had not advanced, in ms.
    pub silent_ms: u64,
}

impl VerdictRecord {
    /// The node.
    pub fn member(&self) -> &Member {
        &self.membership.members()[self.index]
    }

    /// The size of the record in memory, in bytes.
    fn bytes(&self) -> usize {
        let votes = self.verdict.vote_count.votes.capacity() * size_of::<Vote>();
        // The tracked verdict has the same causes.
        let causes = 2 * self.verdict.causes.capacity() * size_of::<Cause>();
        size_of::<Self>() + votes + causes
    }
}

/// The records of past verdicts, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    records: VecDeque<Arc<VerdictRecord>>,
}

/// Why no record was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupError {
    /// All records of the node are newer; the oldest is from this Unix time in ms.
    BeforeOldest(u64),
    /// The history has no record of the node.
    NoRecord,
}

impl History {
    /// Appends `records`, newer than all before, and evicts the oldest beyond [`MAX_PER_NODE`] and [`MAX_BYTES`].
    pub fn record(&mut self, records: impl IntoIterator<Item = VerdictRecord>) {
        self.records.extend(records.into_iter().map(Arc::new));
        let mut of_node: HashMap<NodeId, (usize, usize)> = HashMap::new();
        let mut bytes = 0;
        let mut newer: Option<*const Membership> = None;
        let retained = self.records.drain(..).rev().filter(|record| {
            let (count, node_bytes) = of_node.entry(record.member().id.clone()).or_default();
            *count += 1;
            *node_bytes += record.bytes();
            if *count > MAX_PER_NODE || *node_bytes > MAX_NODE_BYTES {
                return false;
            }
            // This node keeps the newest membership anyway; records keep the earlier ones in memory.
            let membership = Arc::as_ptr(&record.membership);
            if newer.is_some_and(|newer| newer != membership) {
                bytes += record.membership.members().len() * MEMBER_BYTES;
            }
            newer = Some(membership);
            bytes += record.bytes();
            bytes <= MAX_BYTES
        });
        let mut retained: VecDeque<_> = retained.collect();
        retained.make_contiguous().reverse();
        self.records = retained;
    }

    /// The verdict on `node` that was in effect at `at_ms`, and when the next one was reached, if one was; Unix times in
    /// ms. If the wall clock was set back, so that two verdicts were in effect, the newer one.
    pub fn at(&self, node: &str, at_ms: u64) -> Result<(&Arc<VerdictRecord>, Option<u64>), LookupError> {
        let mut next_ms = None;
        for record in self.of_node(Some(node)) {
            if record.at_ms <= at_ms {
                return Ok((record, next_ms));
            }
            next_ms = Some(record.at_ms);
        }
        Err(next_ms.map_or(LookupError::NoRecord, LookupError::BeforeOldest))
    }

    /// The records of `node`, or of all nodes, newest first.
    pub fn of_node<'h, 'n>(
        &'h self,
        node: Option<&'n str>,
    ) -> impl Iterator<Item = &'h Arc<VerdictRecord>> + use<'h, 'n> {
        let all = self.records.iter().rev();
        all.filter(move |record| node.is_none_or(|node| record.member().id.as_str() == node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::sample;
    use crate::mesh::verdict::tracker::VerdictTracker;
    use crate::mesh::verdict::{Vote, VoteCount, evaluate};
    use crate::mesh::wire::observation::ProbeStatus;

    fn record(index: usize, at_ms: u64, votes: usize) -> VerdictRecord {
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
    fn lookup_finds_the_verdict_in_effect() {
        let mut history = History::default();
        history.record([record(1, 100, 2), record(2, 150, 2)]);
        history.record([record(1, 200, 2)]);
        let check = |node: &str, at_ms: u64, expected: Result<(u64, Option<u64>), LookupError>| {
            let result = history.at(node, at_ms).map(|(record, until_ms)| (record.at_ms, until_ms));
            assert_eq!(result, expected, "{node} at {at_ms}");
        };
        check("node-01", 99, Err(LookupError::BeforeOldest(100)));
        check("node-01", 100, Ok((100, Some(200))));
        check("node-01", 199, Ok((100, Some(200))));
        check("node-01", 200, Ok((200, None)));
        check("node-01", u64::MAX, Ok((200, None)));
        check("node-02", 180, Ok((150, None)));
        check("node-09", 180, Err(LookupError::NoRecord));
        let order = |node| history.of_node(node).map(|record| record.at_ms).collect::<Vec<_>>();
        assert_eq!(order(None), [200, 150, 100]);
        assert_eq!(order(Some("node-01")), [200, 100]);
    }

    #[test]
    fn lookup_prefers_the_newer_verdict_if_the_clock_was_set_back() {
        let mut history = History::default();
        history.record([record(1, 500, 0), record(1, 300, 0)]);
        assert_eq!(history.at("node-01", 600).map(|(record, _)| record.at_ms), Ok(300));
    }

    #[test]
    fn oldest_records_are_evicted_first() {
        let mut history = History::default();
        history.record([record(2, 1, 0)]);
        for at_ms in 2..200 {
            history.record([record(1, at_ms, 0)]);
        }
        assert_eq!(history.of_node(Some("node-01")).count(), MAX_PER_NODE);
        assert_eq!(
            history.at("node-01", 20).map(|_| ()),
            Err(LookupError::BeforeOldest(200 - MAX_PER_NODE as u64))
        );
        assert!(history.at("node-02", 20).is_ok(), "a flapping node does not evict the records of others");
    }

    #[test]
    fn records_use_bounded_memory() {
        let kept = |records: Vec<VerdictRecord>| {
            let mut history = History::default();
            history.record(records);
            history.of_node(None).map(|record| record.at_ms).collect::<Vec<_>>()
        };
        let shared = |at_ms, votes, membership: &Arc<Membership>| VerdictRecord {
            membership: membership.clone(),
            ..record(1, at_ms, votes)
        };
        let membership = record(1, 1, 0).membership;
        let small = shared(2, 0, &membership);
        let most = (MAX_NODE_BYTES - 2 * small.bytes()) / size_of::<Vote>();
        assert_eq!(kept(vec![shared(1, most, &membership), small.clone()]), [2, 1]);
        assert_eq!(kept(vec![shared(1, most + 1, &membership), small.clone()]), [2]);
        // Another membership counts as well.
        let mut members = membership.members().to_vec();
        let id = |number: usize| format!("other-{number}").parse().expect("a name");
        members.extend(
            (0..MAX_BYTES / MEMBER_BYTES).map(|number| Member { id: id(number), ..sample::member(1) }),
        );
        let index = members.len();
        let large = sample::membership(&members, 0);
        assert_eq!(large.members().len(), index);
        let other = shared(1, 0, &large);
        assert_eq!(kept(vec![other.clone()]), [1], "this node keeps the newest membership anyway");
        assert_eq!(kept(vec![other, small]), [2]);
    }
}
