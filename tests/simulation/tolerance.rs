//! When a verdict that contradicts the ground truth is tolerated, because reports cannot have arrived yet.

use crate::node_set::NodeSet;
use crate::scenario_run::{FIRST_REPORT_MS, HOP_MS, ScenarioRun};

/// For each viewer and target, until when a wrong verdict was tolerated.
pub(crate) struct Tolerance {
    /// When `down` was last a possible verdict.
    maybe_down_ms: Vec<Vec<u64>>,
    /// When no path last brought the target's reports to the viewer.
    disconnected_ms: Vec<Vec<u64>>,
    /// The nodes that may have reported to the viewer since the target's reports stopped.
    witnesses: Vec<Vec<NodeSet>>,
    /// When messages were last lost at random.
    lossy_ms: u64,
}

impl Tolerance {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            maybe_down_ms: vec![vec![0; count]; count],
            disconnected_ms: vec![vec![0; count]; count],
            witnesses: vec![vec![NodeSet::EMPTY; count]; count],
            lossy_ms: 0,
        }
    }

    /// Records the ground truth up to now; to be called before it changes.
    pub(crate) fn record(&mut self, run: &ScenarioRun) {
        let now_ms = run.network.now_ms;
        if run.truth.conditions.lossy {
            self.lossy_ms = now_ms;
        }
        for viewer in 0..run.truth.count {
            for target in 0..run.truth.count {
                if self.may_be_down_now(run, viewer, target) {
                    self.maybe_down_ms[viewer][target] = now_ms;
                }
                if !is_connected(run, viewer, target) {
                    self.disconnected_ms[viewer][target] = now_ms;
                }
                self.witnesses[viewer][target] = self.witnesses_now(run, viewer, target);
            }
        }
    }

    /// Whether `viewer` may find `target` down.
    pub(crate) fn may_be_down(&self, run: &ScenarioRun, viewer: usize, target: usize) -> bool {
        let since_ms = run.network.now_ms - self.maybe_down_ms[viewer][target];
        self.may_be_down_now(run, viewer, target) || since_ms <= propagation_ms(run, viewer)
    }

    /// Whether `viewer` must find `target` alive.
    pub(crate) fn must_be_alive(&self, run: &ScenarioRun, viewer: usize, target: usize) -> bool {
        let within_ms = propagation_ms(run, viewer);
        let is_lossy = run.truth.conditions.lossy || run.network.now_ms - self.lossy_ms <= within_ms;
        is_connected(run, viewer, target)
            && self.connected_for_ms(run, viewer, target) > within_ms
            && !is_lossy
    }

    /// Whether more than half of all nodes may have reported to `viewer` since `target` became silent.
    pub(crate) fn may_have_majority(&self, run: &ScenarioRun, viewer: usize, target: usize) -> bool {
        let witnesses = self.witnesses_now(run, viewer, target).union(run.truth.maybe_connected(viewer));
        witnesses.difference(NodeSet::single(target)).len() * 2 > run.truth.count
    }

    fn may_be_down_now(&self, run: &ScenarioRun, viewer: usize, target: usize) -> bool {
        // A majority that reconnects learns what each of its nodes found before reports of others arrive.
        let has_arrived = || {
            run.truth.connected(viewer).contains(target)
                && self.connected_for_ms(run, viewer, target) > propagation_ms(run, viewer)
        };
        !run.truth.is_running(viewer)
            || !run.truth.is_running(target)
            || (self.may_have_majority(run, viewer, target) && !has_arrived())
    }

    fn connected_for_ms(&self, run: &ScenarioRun, viewer: usize, target: usize) -> u64 {
        run.network.now_ms - self.disconnected_ms[viewer][target].max(run.start_ms)
    }

    fn witnesses_now(&self, run: &ScenarioRun, viewer: usize, target: usize) -> NodeSet {
        let truth = &run.truth;
        if truth.is_running(target) && truth.maybe_connected(viewer).contains(target) {
            return NodeSet::EMPTY;
        }
        self.witnesses[viewer][target].union(truth.maybe_connected(viewer))
    }
}

/// Whether reports of `target` reach `viewer` now.
fn is_connected(run: &ScenarioRun, viewer: usize, target: usize) -> bool {
    let truth = &run.truth;
    truth.is_running(viewer) && truth.is_running(target) && truth.connected(viewer).contains(target)
}

/// The time in which a report reaches `viewer` from any node that a path connects, in ms.
fn propagation_ms(run: &ScenarioRun, viewer: usize) -> u64 {
    let delay_ms = run.scenario.delay_ms.max(110);
    let propagation_ms = FIRST_REPORT_MS + run.truth.hops(viewer) * (HOP_MS + 4 * delay_ms);
    if run.truth.conditions.lossy { propagation_ms * 2 } else { propagation_ms }
}
