//! The context of an evaluation: which nodes are alive and which may vote, by the ages and contents of their reports.

use super::vote::{Abstention, Vote};
use crate::mesh::id::ReportId;
use crate::mesh::isolation::is_isolated;
use crate::mesh::member_state::MemberState;
use crate::mesh::membership::Membership;
use crate::mesh::report_table::ReportTable;
use crate::mesh::silence_limits::{LEAVE_GRACE_MS, SilenceLimits};
use crate::mesh::wire::report::Report;

/// The liveness of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Liveness {
    /// Its reports advance.
    Alive,
    /// Its reports have not advanced for too long.
    Silent,
    /// It announced its stop at most [`LEAVE_GRACE_MS`] ago.
    Stopped,
    /// No report of it is known, neither to this process nor to an earlier one.
    NeverSeen,
}

/// The liveness of a node, and whether it votes.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeLiveness {
    /// How long its reports have not advanced, in ms.
    pub(super) silent_ms: u64,
    /// The liveness by that silence and by the latest report.
    pub(super) liveness: Liveness,
    /// Whether it is isolated, by its report or its observations.
    pub(super) isolated: bool,
    /// Why it does not vote; none if it does.
    pub(super) abstains: Option<Abstention>,
}

/// A report table at one moment, with the liveness that follows for each node.
pub(super) struct EvalContext<'t> {
    table: &'t ReportTable,
    now_ms: u64,
    limits: SilenceLimits,
    /// The limits for nodes whose newest report says that they are overloaded.
    overloaded_limits: SilenceLimits,
    nodes: Vec<NodeLiveness>,
    /// When the reports of each configured node were last seen to advance, in ascending order.
    advances_ms: Vec<u64>,
}

impl<'t> EvalContext<'t> {
    pub(super) fn of(table: &'t ReportTable, now_ms: u64) -> Self {
        let limits = SilenceLimits::of(table.membership());
        let overloaded_limits = SilenceLimits::of_overloaded(table.membership());
        let mut context =
            Self { table, now_ms, limits, overloaded_limits, nodes: Vec::new(), advances_ms: Vec::new() };
        let keyed =
            (0..table.states().len()).filter(|&index| !table.membership().members()[index].keys.is_empty());
        context.advances_ms = keyed.filter_map(|index| context.advanced_ms(index)).collect();
        context.advances_ms.sort_unstable();
        context.nodes = (0..table.states().len()).map(|index| context.assess(index)).collect();
        // Isolation depends on the liveness of all nodes, so it follows in a second pass.
        for index in 0..context.nodes.len() {
            let isolated = context.is_isolated(index);
            let abstains = context.abstains(index, isolated);
            context.nodes[index].isolated = isolated;
            context.nodes[index].abstains = abstains;
        }
        context
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn me(&self) -> usize {
        self.table.membership().me()
    }

    /// Whether this node publishes no reports until it has recovered its epoch.
    pub(super) fn recovers_epoch(&self) -> bool {
        self.table.recovers_epoch()
    }

    /// Whether this node publishes no reports for good, since it has used the largest possible epoch.
    pub(super) fn epoch_exhausted(&self) -> bool {
        self.table.epoch_exhausted()
    }

    pub(super) fn membership(&self) -> &'t Membership {
        self.table.membership()
    }

    pub(super) fn state(&self, index: usize) -> &'t MemberState {
        &self.table.states()[index]
    }

    pub(super) fn report(&self, index: usize) -> Option<&'t Report> {
        self.state(index).latest.as_ref().map(|latest| latest.report())
    }

    /// The id of its latest report.
    pub(super) fn report_id(&self, index: usize) -> Option<ReportId> {
        self.report(index).map(Report::id)
    }

    pub(super) fn node(&self, index: usize) -> &NodeLiveness {
        &self.nodes[index]
    }

    /// The limits on the silence of a node.
    pub(super) fn limits(&self, index: usize) -> SilenceLimits {
        if self.is_overloaded(index) { self.overloaded_limits } else { self.limits }
    }

    /// Whether a node's newest report says that it is overloaded.
    pub(super) fn is_overloaded(&self, index: usize) -> bool {
        self.report(index).is_some_and(|report| report.overloaded == Some(true))
    }

    /// Its last sign of life, or when this node began to wait for one: monotonic time in ms.
    pub(super) fn silent_since_ms(&self, index: usize) -> u64 {
        let state = self.state(index);
        if index == self.me() {
            self.now_ms
        } else if state.latest.is_some() && state.advanced {
            state.created_ms
        } else {
            state.waiting_since_ms.max(state.created_ms)
        }
    }

    /// When its reports last advanced, if they did: monotonic time in ms.
    pub(super) fn advanced_ms(&self, index: usize) -> Option<u64> {
        let state = self.state(index);
        if index == self.me() {
            return Some(self.now_ms);
        }
        (state.latest.is_some() && state.advanced).then_some(state.created_ms)
    }

    /// When the voter of `vote` made the observation, by the age of its report and the times in it: monotonic time in
    /// ms.
    pub(super) fn observed_ms(&self, vote: &Vote) -> u64 {
        let made_ms = self.advanced_ms(vote.voter).unwrap_or(self.now_ms);
        let made_ms = if vote.voter == self.me() { self.state(vote.voter).created_ms } else { made_ms };
        let since_ms = self.report(vote.voter).map_or(0, |report| report.at_ms.saturating_sub(vote.since_ms));
        made_ms.saturating_sub(since_ms)
    }

    fn assess(&self, index: usize) -> NodeLiveness {
        let state = self.state(index);
        let is_own = index == self.me();
        let silent_ms = self.now_ms.saturating_sub(self.silent_since_ms(index));
        let stopped = !is_own
            && self.report(index).is_some_and(|report| report.leaving.is_some())
            && self.now_ms.saturating_sub(state.created_ms) <= LEAVE_GRACE_MS;
        let liveness = if stopped {
            Liveness::Stopped
        } else if is_own
            || (state.latest.is_some() && state.advanced && silent_ms <= self.limits(index).alive_ms)
        {
            Liveness::Alive
        } else if state.latest.is_none() && state.min_report == ReportId::default() {
            Liveness::NeverSeen
        } else {
            Liveness::Silent
        };
        NodeLiveness { silent_ms, liveness, isolated: false, abstains: None }
    }

    /// Whether a node's latest report declares it isolated, or the observations in the report show it.
    fn is_isolated(&self, index: usize) -> bool {
        let Some(report) = self.report(index) else { return false };
        let counted = self.state(index).observations().filter(|(peer, _)| {
            !matches!(self.nodes[*peer].liveness, Liveness::NeverSeen | Liveness::Stopped)
        });
        report.isolated || is_isolated(counted.map(|(_, observation)| observation.status))
    }

    fn abstains(&self, index: usize, isolated: bool) -> Option<Abstention> {
        let fresh = self.table.is_fresh(index, self.now_ms);
        if self.report(index).is_none() || !fresh {
            Some(Abstention::Stale)
        } else if self.state(index).equivocation.is_some() {
            Some(Abstention::Conflict)
        } else if self.nodes[index].liveness == Liveness::Stopped {
            Some(Abstention::Stopped)
        } else if isolated {
            Some(Abstention::Isolated)
        } else {
            None
        }
    }

    /// The number of nodes that have reported at `after_ms` or later.
    pub(super) fn reported_since(&self, after_ms: u64) -> usize {
        let before = self.advances_ms.partition_point(|advanced_ms| *advanced_ms < after_ms);
        self.advances_ms.len() - before
    }

    /// When the silence of some node next exceeds a limit: monotonic time in ms.
    pub(super) fn due_ms(&self) -> u64 {
        let next = (0..self.count()).filter(|index| *index != self.me()).filter_map(|index| {
            let since_ms = self.silent_since_ms(index);
            let silent_ms = self.now_ms.saturating_sub(since_ms);
            let SilenceLimits { refused_ms, unrefuted_ms, fresh_ms, alive_ms, .. } = self.limits(index);
            let limits_ms = [refused_ms, unrefuted_ms, fresh_ms, alive_ms];
            let limit_ms = limits_ms.into_iter().filter(|limit_ms| *limit_ms >= silent_ms).min()?;
            // A limit is exceeded one ms after it is reached.
            Some(since_ms + limit_ms + 1)
        });
        next.min().unwrap_or(u64::MAX)
    }

    /// The group of nodes that share its key and have one vote together.
    pub(super) fn key_group(&self, index: usize) -> usize {
        self.membership().key_groups()[index]
    }
}
