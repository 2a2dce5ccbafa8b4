//! Schedules the evaluation of verdicts and holds the results: the current verdicts, their tracker and their history.

use std::sync::Arc;

use crate::mesh::membership::Membership;
use crate::mesh::report_table::ReportTable;
use crate::mesh::timestamps::Timestamps;
use crate::mesh::verdict::history::{History, VerdictRecord};
use crate::mesh::verdict::tracker::{VerdictChange, VerdictTracker};
use crate::mesh::verdict::{self, Verdicts};

/// The shortest time between two evaluations, in ms; more in networks of over 200 nodes, in proportion, since every
/// evaluation covers all nodes.
const MIN_GAP_MS: u64 = 50;

/// The verdicts on all nodes, and when their next evaluation is due.
#[derive(Debug, Default)]
pub(super) struct Evaluator {
    /// Which members were fresh at the last evaluation.
    fresh: Vec<bool>,
    /// When the last evaluation was, and when the next one is due: monotonic times in ms.
    evaluated_ms: u64,
    next_ms: u64,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) tracker: Arc<VerdictTracker>,
    pub(super) history: Arc<History>,
}

impl Evaluator {
    /// An evaluator with the first verdicts on `table`.
    pub(super) fn new(table: &ReportTable, now: Timestamps) -> Self {
        let mut evaluator = Self { fresh: vec![false; table.states().len()], ..Self::default() };
        evaluator.evaluate(table, now);
        evaluator
    }

    /// When the next evaluation is due: monotonic time in ms.
    pub(super) fn due_ms(&self) -> u64 {
        self.next_ms
    }

    /// Whether a quorum of votes said at the last evaluation that the node is offline.
    pub(super) fn has_offline_quorum(&self, index: usize) -> bool {
        let verdict = self.verdicts.nodes.get(index);
        verdict.is_some_and(|verdict| verdict.vote_count.is_quorum(verdict.vote_count.offline))
    }

    /// Applies a changed membership. The next evaluation is due immediately, so that no snapshot has verdicts by the
    /// indices of another membership.
    pub(super) fn reconfigure(&mut self, membership: &Membership) {
        self.fresh = vec![false; membership.members().len()];
        self.next_ms = 0;
    }

    /// Evaluates verdicts if `table` changed or a silence exceeds a limit, at most once in [`MIN_GAP_MS`]. Sets
    /// `changed` if a snapshot looks different afterwards.
    pub(super) fn run_if_due(
        &mut self,
        table: &ReportTable,
        now: Timestamps,
        changed: &mut bool,
    ) -> Vec<VerdictChange> {
        let gap_ms = MIN_GAP_MS.max(table.membership().keyed_count() as u64 / 4);
        if *changed {
            self.next_ms = self.next_ms.min(self.evaluated_ms + gap_ms);
        }
        if now.mono_ms < self.next_ms {
            return Vec::new();
        }
        self.evaluated_ms = now.mono_ms;
        for (index, was_fresh) in self.fresh.iter_mut().enumerate() {
            let is_fresh = table.is_fresh(index, now.mono_ms);
            *changed |= std::mem::replace(was_fresh, is_fresh) != is_fresh;
        }
        let before = self.verdicts.clone();
        let changes = self.evaluate(table, now);
        *changed |= !Arc::ptr_eq(&before, &self.verdicts);
        self.next_ms = self.verdicts.due_ms.max(now.mono_ms + gap_ms);
        changes
    }

    fn evaluate(&mut self, table: &ReportTable, now: Timestamps) -> Vec<VerdictChange> {
        let verdicts = verdict::evaluate(table, now);
        if *self.verdicts == verdicts {
            return Vec::new();
        }
        let changes = Arc::make_mut(&mut self.tracker).update(table, &verdicts.nodes, now);
        if !changes.is_empty() {
            let records = changes.iter().map(|change| VerdictRecord {
                membership: table.membership().clone(),
                index: change.index,
                at_ms: now.wall_ms,
                from: change.from,
                verdict: verdicts.nodes[change.index].clone(),
                tracked: change.to.clone(),
                newest: table.states()[change.index].latest_id(),
                silent_ms: change.silent_ms,
            });
            Arc::make_mut(&mut self.history).record(records);
        }
        self.verdicts = Arc::new(verdicts);
        changes
    }
}
