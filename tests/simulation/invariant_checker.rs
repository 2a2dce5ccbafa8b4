//! Runs a scenario and compares the verdicts of every node with the ground truth, whenever they change and four
//! times a second.

use crate::message::Transport;
use crate::network::Network;
use crate::node_set::NodeSet;
use crate::outage_rule::OutageRule;
use crate::replay_attack::ReplayAttack;
use crate::scenario::Scenario;
use crate::scenario_run::ScenarioRun;
use crate::steady_state::{RECOVERY_MS, SteadyState};
use crate::tolerance::Tolerance;
use crate::violation::Violation;
use distomon::mesh::verdict::NodeStatus;

/// The time between two checks of all nodes, in ms.
const CHECK_INTERVAL_MS: u64 = 250;

/// The longest gap of an event loop that is never a reason to find its node down, in ms: a report waits for the processor
/// about as long again before it is sent, then for peers, and 2 intervals and 1.75 timeouts are 3.75 s.
const MAX_GAP_MS: u64 = 1_000;

/// How long a report of a node with a longer gap may be missing, in ms.
const GAP_REPORT_MS: u64 = 8_000;

/// The time in which all pairs of nodes are online again after a lack of processor time, three intervals, in ms.
const LOAD_RECOVERY_MS: u64 = 3_000;

/// The state of the checks of one scenario.
struct InvariantChecker {
    tolerance: Tolerance,
    outages: OutageRule,
    replay: ReplayAttack,
    /// The snapshot revision of each host that was checked last.
    checked_revisions: Vec<u64>,
    /// Nodes that some node has convicted of equivocation.
    convicted: NodeSet,
    /// For each host, when its event loop last had not run for [`MAX_GAP_MS`].
    long_gap_ms: Vec<u64>,
}

/// Runs `scenario`. Returns its network at the end, or the first violation.
pub(crate) fn check_scenario(scenario: &Scenario, transport: Transport) -> Result<Network, Violation> {
    let mut run = ScenarioRun::new(scenario, transport);
    match InvariantChecker::new(scenario).check(&mut run) {
        Ok(()) => Ok(run.network),
        Err(Violation { rule, text }) => {
            let text = format!("{rule} at {} ms: {text}\n{}", run.elapsed_ms(), run.network.describe());
            Err(Violation { rule, text })
        }
    }
}

impl InvariantChecker {
    fn new(scenario: &Scenario) -> Self {
        let count = scenario.nodes;
        Self {
            tolerance: Tolerance::new(count),
            outages: OutageRule::new(count),
            replay: ReplayAttack::new(scenario.seed),
            checked_revisions: vec![0; count],
            convicted: NodeSet::EMPTY,
            long_gap_ms: vec![0; count],
        }
    }

    fn check(&mut self, run: &mut ScenarioRun) -> Result<(), Violation> {
        run.converge()?;
        self.check_all(run)?;
        let mut changes: Vec<(u64, bool, usize)> = Vec::new();
        for (index, fault) in run.scenario.faults.iter().enumerate() {
            changes.push((fault.at_ms, true, index));
            changes.push((fault.end_ms(), false, index));
        }
        changes.sort_unstable();
        for (at_ms, begins, index) in changes {
            self.run_until(run, run.start_ms + at_ms)?;
            self.tolerance.record(run);
            if let Some(node) = run.change_fault(index, begins) {
                self.outages.forget(node);
            }
        }
        let end_ms = run.start_ms + run.scenario.end_ms();
        if run.has_only_load() {
            self.run_until(run, end_ms + LOAD_RECOVERY_MS)?;
            if !run.network.is_converged() {
                return Err(Violation::new(
                    "load leaves a trace",
                    "a pair is not online after three intervals",
                ));
            }
        }
        self.run_until(run, end_ms + RECOVERY_MS)?;
        self.check_recovered(run)
    }

    fn run_until(&mut self, run: &mut ScenarioRun, end_ms: u64) -> Result<(), Violation> {
        while run.network.now_ms < end_ms {
            let now_ms = run.network.now_ms;
            let next_ms = end_ms.min(now_ms - now_ms % CHECK_INTERVAL_MS + CHECK_INTERVAL_MS);
            while let Some(host) = run.network.advance(next_ms) {
                run.reap_stopped();
                self.check_changed(run, host)?;
            }
            self.check_all(run)?;
            let steady = SteadyState::of(run, &self.tolerance, !self.convicted.is_empty());
            steady.map_or(Ok(()), |steady| steady.check())?;
            self.replay.run(run)?;
            run.flood();
        }
        Ok(())
    }

    /// Records which event loops have not run for a while.
    fn record_gaps(&mut self, run: &ScenarioRun) {
        for (host, process) in run.network.running() {
            if process.last_tick_ms + MAX_GAP_MS < run.network.now_ms {
                self.long_gap_ms[host] = run.network.now_ms;
            }
        }
    }

    /// Whether the event loop of `node` has not run for a while.
    fn has_long_gap(&self, run: &ScenarioRun, node: usize) -> bool {
        let gap_ms = self.long_gap_ms[node];
        gap_ms > 0 && run.network.now_ms <= gap_ms + GAP_REPORT_MS
    }

    fn check_all(&mut self, run: &ScenarioRun) -> Result<(), Violation> {
        self.record_gaps(run);
        (0..run.truth.count).try_for_each(|viewer| self.check_viewer(run, viewer))
    }

    /// Checks a host if it has published a new snapshot.
    fn check_changed(&mut self, run: &mut ScenarioRun, host: usize) -> Result<(), Violation> {
        if !run.network.is_responsive(host) {
            return Ok(());
        }
        run.record_process(host);
        let revision = run.network.host(host).snapshot.revision();
        if std::mem::replace(&mut self.checked_revisions[host], revision) == revision {
            return Ok(());
        }
        self.check_viewer(run, host)
    }

    /// Compares the verdicts of `viewer` with the ground truth.
    fn check_viewer(&mut self, run: &ScenarioRun, viewer: usize) -> Result<(), Violation> {
        if !run.is_checkable(viewer) || run.byzantine.contains(viewer) {
            return Ok(());
        }
        for target in (0..run.truth.count).filter(|target| *target != viewer) {
            let host = run.network.host(viewer);
            let status = host.snapshot.verdicts().nodes[target].status;
            let violation = |rule| Err(Violation::new(rule, format!("{viewer} finds {target} {status}")));
            let latest = host.snapshot.states()[target].latest.as_ref();
            if latest.is_some_and(|latest| latest.id() < run.min_report(viewer, target)) {
                return violation("a report is older than one before the restart");
            }
            // A node that hides its reports may be found silent.
            let hides = run.hides_reports(target);
            if status == NodeStatus::Down && run.has_only_load() && !self.has_long_gap(run, target) {
                return violation("down but only slow");
            }
            let may_be_down =
                self.has_long_gap(run, target) || self.tolerance.may_be_down(run, viewer, target);
            if status == NodeStatus::Down && !hides && !may_be_down {
                return violation("down but running");
            }
            if status == NodeStatus::Conflict {
                if !run.equivocates(target) {
                    return violation("convicted but honest");
                }
                self.convicted = self.convicted.with(target);
            } else if !status.is_alive() && !hides && self.tolerance.must_be_alive(run, viewer, target) {
                return violation("not alive but connected");
            }
            self.outages.check(run, viewer, target)?;
        }
        Ok(())
    }

    /// After all faults every node finds every other up, except convicted equivocators.
    fn check_recovered(&self, run: &ScenarioRun) -> Result<(), Violation> {
        const RULE: &str = "not recovered";
        if !run.network.is_converged() {
            return Err(Violation::new(RULE, "a node does not report another online"));
        }
        for viewer in 0..run.truth.count {
            let verdicts = run.network.host(viewer).snapshot.verdicts();
            for (target, verdict) in verdicts.nodes.iter().enumerate() {
                let is_convicted = verdict.status == NodeStatus::Conflict && run.equivocates(target);
                if verdict.status != NodeStatus::Up && !is_convicted {
                    let text = format!("{viewer} finds {target} {}", verdict.status);
                    return Err(Violation::new(RULE, text));
                }
                if self.convicted.contains(target) && !is_convicted {
                    let text = format!("{viewer} holds no proof against {target} at the end");
                    return Err(Violation::new("an equivocator is not convicted", text));
                }
            }
            if !verdicts.links.is_empty() || !verdicts.partitions.is_empty() {
                let text = format!("{viewer} reports {:?} and {:?}", verdicts.links, verdicts.partitions);
                return Err(Violation::new(RULE, text));
            }
        }
        Ok(())
    }
}
