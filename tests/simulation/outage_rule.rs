//! The rule for outages that have ended: a node is reported as restarted if and only if another process followed.

use crate::scenario_run::ScenarioRun;
use crate::violation::Violation;
use distomon::mesh::verdict::NodeStatus;
use distomon::mesh::verdict::outage::OutageKind;

/// The time by which a verdict may lag behind reports, in ms. Within it, it is uncertain which process became silent.
const VERDICT_LAG_MS: u64 = 100;

/// The time after the end of an outage within which it is explained, in ms.
const EXPLANATION_MS: u64 = 3_000;

/// The conclusions of a viewer about a target.
#[derive(Clone, Copy)]
struct Observed {
    /// The process that signed the newest report; the viewer learned of it at `since_ms`.
    process: Option<u32>,
    since_ms: u64,
    /// The target was known and became silent.
    silent: bool,
    /// The process that became silent, until the outage is explained.
    lost: Option<u32>,
    /// Since when the target is alive again, in ms.
    back_ms: u64,
}

/// Checks how each node explains the outages of each other node.
pub(crate) struct OutageRule {
    /// By viewer and target.
    observed: Vec<Vec<Option<Observed>>>,
}

impl OutageRule {
    pub(crate) fn new(count: usize) -> Self {
        Self { observed: vec![vec![None; count]; count] }
    }

    /// Forgets what a node that restarts had concluded.
    pub(crate) fn forget(&mut self, viewer: usize) {
        self.observed[viewer].fill(None);
    }

    /// Checks an outage of `target` that `viewer` reports as ended now, and records the verdict.
    pub(crate) fn check(&mut self, run: &ScenarioRun, viewer: usize, target: usize) -> Result<(), Violation> {
        let host = run.network.host(viewer);
        let tracked = host.snapshot.tracker().nodes().nth(target).expect("each node is tracked");
        let status = host.snapshot.verdicts().nodes[target].status;
        let epoch = host.snapshot.states()[target].latest.as_ref().map(|latest| latest.id().epoch);
        let process = epoch.and_then(|epoch| run.process(target, epoch));
        let now_ms = run.network.now_ms;
        let wall_ms = host.now(now_ms).wall_ms;
        let ended = tracked.outage.filter(|outage| outage.to_ms == wall_ms);
        let before = self.observed[viewer][target];
        let lost_before = before.and_then(|before| before.lost);
        if let (Some(lost), Some(process), Some(ended)) = (lost_before, process, ended) {
            let is_restart = ended.kind == OutageKind::Restarted;
            if is_restart == (lost == process) && !run.byzantine.contains(target) {
                let text = format!(
                    "{viewer} reports {ended:?} of {target}, whose processes were {lost} before and {process} after"
                );
                return Err(Violation::new("an outage has the wrong kind", text));
            }
        }
        let is_silent = matches!(status, NodeStatus::Down | NodeStatus::Unknown);
        let was_silent = before.is_some_and(|before| before.silent);
        let is_known = status == NodeStatus::Down || tracked.decided.is_some();
        let observed = match before {
            Some(before) if was_silent && is_silent => before,
            Some(before) if is_silent && now_ms - before.since_ms < VERDICT_LAG_MS => {
                Observed { process: None, ..before }
            }
            Some(before) if is_silent || before.process == process => before,
            _ => Observed { process, since_ms: now_ms, silent: false, lost: lost_before, back_ms: now_ms },
        };
        let silent = is_silent && (is_known || was_silent);
        let back_ms = if is_silent { now_ms } else { observed.back_ms };
        let is_explained = ended.is_some() || now_ms - back_ms > EXPLANATION_MS;
        let lost = if silent && !was_silent { lost_before.or(observed.process) } else { observed.lost };
        let lost = lost.filter(|_| is_silent || !is_explained);
        self.observed[viewer][target] = Some(Observed { silent, lost, back_ms, ..observed });
        Ok(())
    }
}
