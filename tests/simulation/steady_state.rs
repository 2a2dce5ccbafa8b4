//! Invariants of a network whose faults have not changed for some time.

use crate::byzantine::Misbehavior;
use crate::fault::FaultKind;
use crate::node_set::NodeSet;
use crate::scenario_run::{HOP_MS, ScenarioRun};
use crate::tolerance::Tolerance;
use crate::violation::Violation;
use distomon::mesh::verdict::{Cause, NodeStatus, Verdicts};

/// The silence after which a node is down or unknown, 4 intervals and 2 timeouts, and the time for a verdict, in ms.
const SILENCE_MS: u64 = 6_000 + 500;

/// The time after the last fault in which every node must find every other up, in ms: silence and stale votes end
/// after 4 intervals and 2 timeouts; a probe, its retry and the hops of a report follow.
pub(crate) const RECOVERY_MS: u64 = 10_000;

/// A network whose faults have not changed for some time.
pub(crate) struct SteadyState<'a> {
    run: &'a ScenarioRun<'a>,
    tolerance: &'a Tolerance,
    /// Whether an equivocator has been convicted.
    has_convicted: bool,
    /// Honest running nodes that have had the time to reach their verdicts.
    viewers: NodeSet,
}

impl<'a> SteadyState<'a> {
    /// The steady state of `run`; none if its faults changed recently or messages are lost.
    pub(crate) fn of(
        run: &'a ScenarioRun<'a>,
        tolerance: &'a Tolerance,
        has_convicted: bool,
    ) -> Option<Self> {
        let rest_ms = run.network.now_ms - run.changed_ms;
        let conditions = run.truth.conditions;
        let honest = conditions.running.difference(run.byzantine);
        let settled_after_ms = |viewer| SILENCE_MS + run.truth.hops(viewer) * HOP_MS + 1_000;
        let viewers = honest.iter().filter(|&viewer| rest_ms > settled_after_ms(viewer)).collect();
        (rest_ms > SILENCE_MS && !conditions.lossy).then_some(Self { run, tolerance, has_convicted, viewers })
    }

    pub(crate) fn check(&self) -> Result<(), Violation> {
        for viewer in self.viewers.iter() {
            let connected = self.run.truth.connected(viewer);
            for target in (0..self.run.truth.count).filter(|target| !connected.contains(*target)) {
                self.check_silent(viewer, target)?;
            }
            self.check_links(viewer)?;
            self.check_partitions(viewer)?;
        }
        for one in self.viewers.iter() {
            for other in self.viewers.intersection(self.run.truth.connected(one)).iter() {
                self.check_agreement(one, other)?;
            }
        }
        self.check_convictions()
    }

    fn verdicts(&self, viewer: usize) -> &Verdicts {
        self.run.network.host(viewer).snapshot.verdicts()
    }

    /// A node whose reports do not arrive is stopped, down or unknown, as far as the viewer can know.
    fn check_silent(&self, viewer: usize, target: usize) -> Result<(), Violation> {
        let (run, truth) = (self.run, &self.run.truth);
        let status = self.verdicts(viewer).nodes[target].status;
        let is_stopped = truth.conditions.stopped.contains(target);
        let broken = if is_stopped && run.stop_receivers(target).contains(viewer) {
            (!matches!(status, NodeStatus::Stopped | NodeStatus::Conflict)).then_some("not stopped")
        } else if !truth.is_running(target)
            && !is_stopped
            && truth.must_have_quorum(viewer, target, run.byzantine)
        {
            let found = matches!(status, NodeStatus::Down | NodeStatus::NeverSeen | NodeStatus::Conflict);
            (!found).then_some("dead but not down")
        } else if status.is_alive() && !truth.maybe_connected(viewer).contains(target) {
            Some("alive without a report")
        } else {
            let may_be_down = self.tolerance.may_have_majority(run, viewer, target)
                && truth.may_have_quorum(viewer, target);
            (status == NodeStatus::Down && !may_be_down).then_some("down without a quorum")
        };
        let violation = |rule| Violation::new(rule, format!("{viewer} finds {target} {status}"));
        broken.map_or(Ok(()), |rule| Err(violation(rule)))
    }

    /// Connected nodes agree.
    fn check_agreement(&self, one: usize, other: usize) -> Result<(), Violation> {
        let pairs = self.verdicts(one).nodes.iter().zip(&self.verdicts(other).nodes);
        for (target, (a, b)) in pairs.enumerate() {
            let forgot = [a, b].iter().any(|verdict| verdict.status == NodeStatus::NeverSeen);
            if a.status != b.status && !forgot && !self.run.hides_reports(target) {
                let text = format!("{one} finds {target} {}, {other} finds it {}", a.status, b.status);
                return Err(Violation::new("connected nodes disagree", text));
            }
        }
        Ok(())
    }

    /// Broken links are reported with their direction, unless a fault of one end explains them; working links
    /// never are.
    fn check_links(&self, viewer: usize) -> Result<(), Violation> {
        let verdicts = self.verdicts(viewer);
        let connected = self.run.truth.connected(viewer).difference(self.run.byzantine);
        for from in connected.iter() {
            for to in connected.iter().filter(|to| *to != from) {
                let reported = verdicts.links.iter().find(|link| {
                    (link.from, link.to) == (from, to) || (link.both && (link.to, link.from) == (from, to))
                });
                let explained = verdicts.nodes[from].causes.contains(&Cause::Egress)
                    || verdicts.nodes[to].causes.contains(&Cause::Ingress);
                let in_conflict =
                    [from, to].iter().any(|end| verdicts.nodes[*end].status == NodeStatus::Conflict);
                let works = self.run.truth.can_call(from, to);
                if works && reported.is_some() {
                    let text = format!("{viewer} reports {reported:?}");
                    return Err(Violation::new("a working link is reported", text));
                }
                if !works && reported.is_none() && !explained && !in_conflict {
                    let text = format!("{viewer} does not report {from} to {to}: {:?}", verdicts.links);
                    return Err(Violation::new("a broken link is not reported", text));
                }
            }
        }
        Ok(())
    }

    /// A partition without other faults is reported with both sides.
    fn check_partitions(&self, viewer: usize) -> Result<(), Violation> {
        let run = self.run;
        let mut active = run.active_faults();
        let (Some(fault), None) = (active.next(), active.next()) else { return Ok(()) };
        let FaultKind::Partition(side) = fault.kind else { return Ok(()) };
        let was_whole = run.scenario.faults.iter().all(|other| {
            other == fault || other.at_ms > run.elapsed_ms() || other.end_ms() + RECOVERY_MS < fault.at_ms
        });
        let all = NodeSet::all(run.truth.count);
        let (side, other) = (side.intersection(all), all.difference(side));
        if !was_whole || side.is_empty() || other.is_empty() || self.has_convicted {
            return Ok(());
        }
        let (near, far) = if side.contains(viewer) { (side, other) } else { (other, side) };
        let expected = [near, far].map(|side| side.iter().collect::<Vec<_>>());
        let reported: Vec<_> =
            self.verdicts(viewer).partitions.iter().map(|partition| partition.nodes.clone()).collect();
        // One lost node is a node failure for the others.
        let is_single = far.len() == 1 && !run.network.host(viewer).snapshot.isolated();
        if reported != expected && !(is_single && reported.is_empty()) {
            let text = format!("{viewer} reports {reported:?}, not {expected:?}");
            return Err(Violation::new("wrong partition", text));
        }
        Ok(())
    }

    /// A node that equivocates towards connected nodes is convicted by all of them.
    fn check_convictions(&self) -> Result<(), Violation> {
        let truth = &self.run.truth;
        for fault in self.run.active_faults() {
            let FaultKind::Misbehave(target, Misbehavior::Equivocate) = fault.kind else { continue };
            let audience = |parity: usize| -> NodeSet {
                let exchanges =
                    |viewer: &usize| truth.can_call(*viewer, target) || truth.can_call(target, *viewer);
                self.viewers.iter().filter(|viewer| viewer % 2 == parity).filter(exchanges).collect()
            };
            let (even, odd) = (audience(0), audience(1));
            let is_exposed = even.iter().any(|one| !truth.connected(one).intersection(odd).is_empty());
            // A node that shows nothing to half of its peers shows them no second version.
            if !truth.is_running(target) || !is_exposed || self.run.hides_reports(target) {
                continue;
            }
            for viewer in self.viewers.iter().filter(|viewer| truth.connected(*viewer).contains(target)) {
                let state = &self.run.network.host(viewer).snapshot.states()[target];
                if state.equivocation.is_none() {
                    let text = format!("{viewer} holds no proof against {target}");
                    return Err(Violation::new("an equivocator is not convicted", text));
                }
            }
        }
        Ok(())
    }
}
