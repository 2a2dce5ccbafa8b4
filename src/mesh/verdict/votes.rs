//! The votes on one node: who says what by which report, who abstains and why, and whether it is a quorum.

use std::fmt;

use serde::{Serialize, Serializer};

use super::context::{EvalContext, Liveness};
use crate::mesh::id::ReportId;
use crate::mesh::wire::observation::{Failure, Observation, ProbeStatus};

/// Why a vote does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abstention {
    /// The voter's newest report is too old.
    Stale,
    /// The voter doubts itself, or finds most others offline: it may itself be cut off.
    Isolated,
    /// The voter signed two different reports with one number.
    Conflict,
    /// The voter was stopped.
    Left,
    /// Another node with the same key votes already, or the key is that of the node in question.
    SameKey,
}

impl Abstention {
    /// The reason in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "its report is too old",
            Self::Isolated => "it finds most others offline, so it may itself be cut off",
            Self::Conflict => "it signed two different reports with one number",
            Self::Left => "it was stopped",
            Self::SameKey => "its key votes already",
        }
    }
}

impl fmt::Display for Abstention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Abstention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What one node's newest report says of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Who says it, by index into the membership.
    pub voter: usize,
    /// By which report.
    pub report_id: ReportId,
    /// What it says.
    pub status: ProbeStatus,
    /// Why the newest exchange failed.
    pub error: Option<Failure>,
    /// Since when, by the voter's wall clock: Unix time in ms.
    pub since_ms: u64,
    /// It says offline, but the node has reported more than once since.
    pub refuted: bool,
    /// Why it does not count, if it does not.
    pub abstains: Option<Abstention>,
}

/// The votes on one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VoteCount {
    /// All of them, those that do not count as well, in the order of the voters' ids.
    pub votes: Vec<Vote>,
    /// How many could vote: those configured to observe it that are alive, by distinct keys.
    pub electorate: usize,
    /// How many say online, by distinct keys.
    pub online: usize,
    /// How many say offline.
    pub offline: usize,
    /// How many say offline and are not refuted.
    pub unrefuted: usize,
    /// How many of these were refused at every attempt.
    pub refused: usize,
    /// Whether more than half of all configured nodes find it offline, or have reported since a quorum did.
    pub is_witnessed: bool,
}

impl VoteCount {
    /// The votes on each node. They are gathered report by report, not node by node: of thousands, reports that
    /// lie far apart would be looked at again and again.
    pub(super) fn all(context: &EvalContext<'_>) -> Vec<Self> {
        let membership = context.membership();
        let room = |target| membership.observers(target).size_hint().1.unwrap_or_default();
        let empty = |target| Self { votes: Vec::with_capacity(room(target)), ..Self::default() };
        let mut vote_counts: Vec<Self> = (0..context.count()).map(empty).collect();
        for voter in 0..context.count() {
            let Some(report_id) = context.report_id(voter) else { continue };
            for (target, found) in context.state(voter).observations() {
                if membership.observes(voter, target) {
                    vote_counts[target].votes.push(vote(context, voter, report_id, target, found));
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
        let mut living = DistinctKeys::new(context, target);
        for observer in context.membership().observers(target) {
            if context.node(observer).liveness == Liveness::Alive && living.is_new(context, observer) {
                self.electorate += 1;
            }
        }
        let mut voices = DistinctKeys::new(context, target);
        for at in 0..self.votes.len() {
            let vote = &mut self.votes[at];
            if vote.abstains.is_none() && !voices.is_new(context, vote.voter) {
                vote.abstains = Some(Abstention::SameKey);
            }
            let vote = *vote;
            if vote.abstains.is_none() {
                self.count(&vote);
            }
        }
        self.is_witnessed = self.is_witnessed(context, target);
        self
    }

    /// Whoever is cut off together with many others finds these offline only after the cut, and hears nothing
    /// from beyond it that is younger: so it never hears from more than half of all once most of its own side
    /// have found one of the others offline. That holds however long reports take to come, which the time of
    /// the node's last report does not: some came sooner than others before the cut.
    fn is_witnessed(&self, context: &EvalContext<'_>, target: usize) -> bool {
        let bounds = context.limits();
        let last_ms = context.silent_since_ms(target);
        let offline = self.counted().filter(|vote| vote.status == ProbeStatus::Offline);
        let mut found_ms: Vec<u64> = offline
            .map(|vote| {
                // A vote from before its newest report says nothing of this silence.
                let after_ms = if vote.refuted { bounds.fresh_ms } else { bounds.witness_ms };
                context.observed_ms(vote).max(last_ms.saturating_add(after_ms))
            })
            .collect();
        found_ms.sort_unstable();
        let Some(quorum) = (1..=found_ms.len()).find(|&votes| self.is_quorum(votes)) else { return false };
        let after_ms = found_ms[quorum - 1];
        let voters = self.counted().filter(|vote| vote.status == ProbeStatus::Offline && !vote.refuted);
        let earlier =
            voters.filter(|vote| context.advanced_ms(vote.voter).is_none_or(|ms| ms < after_ms)).count();
        (context.reported_since(after_ms) + earlier) * 2 > context.membership().keyed_count()
    }

    fn count(&mut self, vote: &Vote) {
        match vote.status {
            ProbeStatus::Online => self.online += 1,
            ProbeStatus::Offline => {
                self.offline += 1;
                self.unrefuted += usize::from(!vote.refuted);
                self.refused += usize::from(!vote.refuted && vote.error == Some(Failure::Refused));
            }
            ProbeStatus::Unknown => {}
        }
    }

    /// Whether this number of votes decides.
    pub fn is_quorum(&self, votes: usize) -> bool {
        votes >= quorum(self.electorate)
    }

    /// The votes that count.
    pub fn counted(&self) -> impl Iterator<Item = &Vote> {
        self.votes.iter().filter(|vote| vote.abstains.is_none())
    }
}

/// The number of votes that decides: more than half of the electorate, and at least two.
pub fn quorum(electorate: usize) -> usize {
    (electorate / 2 + 1).max(2)
}

fn vote(
    context: &EvalContext<'_>,
    voter: usize,
    report_id: ReportId,
    target: usize,
    found: &Observation,
) -> Vote {
    let refuted = found.status == ProbeStatus::Offline
        && context.report_id(target).is_some_and(|newest| newest.refutes(found.head.unwrap_or_default()));
    Vote {
        voter,
        report_id,
        status: found.status,
        error: found.error,
        since_ms: found.since_ms,
        refuted,
        abstains: context.node(voter).abstains,
    }
}

/// Voices that were heard already.
struct DistinctKeys {
    seen: Vec<usize>,
}

impl DistinctKeys {
    /// The target's own voice does not count.
    fn new(context: &EvalContext<'_>, target: usize) -> Self {
        Self { seen: vec![context.key_group(target)] }
    }

    fn is_new(&mut self, context: &EvalContext<'_>, index: usize) -> bool {
        let voice = context.key_group(index);
        // Only those who share a key can be heard twice.
        if voice == index && !context.membership().has_shared_keys() {
            return true;
        }
        let new = !self.seen.contains(&voice);
        if new {
            self.seen.push(voice);
        }
        new
    }
}
