//! Tracks verdicts over time: since when each holds, the last decided status, and which outages ended.

use super::cause::Cause;
use super::node_status::NodeStatus;
use super::node_verdict::Verdict;
use super::outage::{OpenOutage, Outage};
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::report_table::ReportTable;
use crate::mesh::timestamps::Timestamps;

/// The verdict on a node, with its past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedVerdict {
    /// The status.
    pub status: NodeStatus,
    /// Since when: Unix time in ms. For a silent node, its last sign of life.
    pub since_ms: u64,
    /// While the status is unknown: the last decided status, and since when it held.
    pub decided: Option<(NodeStatus, u64)>,
    /// The latest outage that is over.
    pub outage: Option<Outage>,
    /// The newest report that was a sign of life. A report that arrives right after a gap of this node does not count, so
    /// that the next report can still show that the node restarted.
    newest: ReportId,
    open_outage: Option<OpenOutage>,
    causes: Vec<Cause>,
}

/// A change of a verdict's status or causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictChange {
    /// The node.
    pub node: NodeId,
    /// Its index in the membership.
    pub index: usize,
    /// The status before; none for the first verdict.
    pub from: Option<NodeStatus>,
    /// The verdict now.
    pub to: TrackedVerdict,
    /// Its causes now.
    pub causes: Vec<Cause>,
    /// Its causes before.
    pub previous_causes: Vec<Cause>,
    /// The number of votes for offline, and the electorate.
    pub offline: (usize, usize),
    /// How long the node's reports have not advanced, in ms.
    pub silent_ms: u64,
}

impl VerdictChange {
    /// Whether to notify the operator: the status differs, or the node has proved to be alive. The first verdict is not
    /// notable.
    pub fn is_notable(&self) -> bool {
        self.from.is_some_and(|from| from != self.to.status || self.proves_life())
    }

    /// Whether the node might have been dead, and has proved to be alive before any verdict called it down.
    pub fn proves_life(&self) -> bool {
        let degraded = Some(NodeStatus::Degraded);
        (self.from, Some(self.to.status)) == (degraded, degraded)
            && self.previous_causes.contains(&Cause::Node)
            && !self.causes.contains(&Cause::Node)
    }
}

/// The verdicts of a network over time.
#[derive(Debug, Clone, Default)]
pub struct VerdictTracker {
    nodes: Vec<(NodeId, TrackedVerdict)>,
}

impl VerdictTracker {
    /// Applies new verdicts, one for each member of `table`, and returns what changed.
    pub fn update(
        &mut self,
        table: &ReportTable,
        verdicts: &[Verdict],
        now: Timestamps,
    ) -> Vec<VerdictChange> {
        let before = std::mem::take(&mut self.nodes);
        let mut changes = Vec::new();
        for (index, (member, verdict)) in table.membership().members().iter().zip(verdicts).enumerate() {
            let old = before.binary_search_by(|(id, _)| id.cmp(&member.id)).ok().map(|at| &before[at].1);
            let input = TrackInput::of(table, index, verdict, now);
            let next = TrackedVerdict { causes: verdict.causes.clone(), ..step(old, &input) };
            if old.is_none_or(|old| (old.status, &old.causes) != (next.status, &next.causes)) {
                changes.push(VerdictChange {
                    node: member.id.clone(),
                    index,
                    from: old.map(|old| old.status),
                    to: next.clone(),
                    causes: verdict.causes.clone(),
                    previous_causes: old.map(|old| old.causes.clone()).unwrap_or_default(),
                    offline: (verdict.vote_count.offline, verdict.vote_count.electorate),
                    silent_ms: now.mono_ms.saturating_sub(verdict.silent_since_ms),
                });
            }
            self.nodes.push((member.id.clone(), next));
        }
        changes
    }

    /// The verdict on each node, in the order of the membership.
    pub fn nodes(&self) -> impl Iterator<Item = &TrackedVerdict> {
        self.nodes.iter().map(|(_, tracked)| tracked)
    }
}

/// The input of one tracking step.
struct TrackInput {
    status: NodeStatus,
    /// The node's newest report that this process or an earlier one held.
    newest: ReportId,
    /// Whether that report is a sign of life.
    advanced: bool,
    /// The node's last sign of life: Unix time in ms.
    last_ms: u64,
    /// Whether this node has only observed the silence since its own start or gap.
    only_here: bool,
    /// Unix time in ms.
    wall_ms: u64,
    /// The longest time between two of the node's reports, in ms.
    interval_ms: u64,
}

impl TrackInput {
    fn of(table: &ReportTable, index: usize, verdict: &Verdict, now: Timestamps) -> Self {
        let state = &table.states()[index];
        let silent_ms = now.mono_ms.saturating_sub(verdict.silent_since_ms);
        Self {
            status: verdict.status,
            newest: state.latest_id().unwrap_or(state.min_report),
            advanced: state.advanced,
            last_ms: now.wall_ms.saturating_sub(silent_ms),
            only_here: verdict.silent_since_ms == state.waiting_since_ms,
            wall_ms: now.wall_ms,
            interval_ms: table.membership().interval_ms(),
        }
    }

    fn phase(&self) -> Phase {
        if self.status.is_silent() {
            Phase::Silent
        } else if self.status.is_alive() {
            Phase::Alive
        } else {
            Phase::Other
        }
    }
}

/// The effect of a status on an outage.
enum Phase {
    /// It opens or continues.
    Silent,
    /// It ends with the next report.
    Alive,
    /// No outage: stopped, never seen or in conflict.
    Other,
}

fn step(old: Option<&TrackedVerdict>, input: &TrackInput) -> TrackedVerdict {
    let since_ms = since_ms(old, input);
    let decided = last_decided(old, input.status);
    let newest = old.map(|old| old.newest).filter(|_| !input.advanced).unwrap_or(input.newest);
    let open = old.and_then(|old| old.open_outage);
    let last = old.and_then(|old| old.outage);
    let (open_outage, outage) = match input.phase() {
        Phase::Silent => {
            let is_confirmed = decided.is_some() && !input.only_here;
            let open = open.unwrap_or(OpenOutage { from_ms: since_ms, newest, is_confirmed });
            (Some(continued(open, input)), last)
        }
        Phase::Alive => ended(open, last, input),
        Phase::Other => (None, last),
    };
    let status = input.status;
    TrackedVerdict { status, since_ms, decided, outage, newest, open_outage, causes: Vec::new() }
}

fn since_ms(old: Option<&TrackedVerdict>, input: &TrackInput) -> u64 {
    let is_silent = input.status.is_silent();
    match old {
        Some(old) if old.status == input.status => old.since_ms,
        // The silence continues between down and unknown.
        Some(old) if is_silent && old.status.is_silent() => old.since_ms,
        _ if is_silent => input.last_ms,
        _ => input.wall_ms,
    }
}

fn last_decided(old: Option<&TrackedVerdict>, status: NodeStatus) -> Option<(NodeStatus, u64)> {
    let old = old.filter(|_| status == NodeStatus::Unknown)?;
    match old.status {
        NodeStatus::Unknown => old.decided,
        NodeStatus::NeverSeen => None,
        decided => Some((decided, old.since_ms)),
    }
}

fn continued(mut open: OpenOutage, input: &TrackInput) -> OpenOutage {
    open.is_confirmed |= input.status == NodeStatus::Down;
    // A viewer that just started may receive a silent node's newest report only later.
    if open.newest == ReportId::default() {
        open.newest = input.newest;
    }
    open
}

/// The open and the last outage of a live node. Others may reach the node before its first report arrives. Only that
/// report shows what the node did during the outage, so the outage stays open until then.
fn ended(
    open: Option<OpenOutage>,
    last: Option<Outage>,
    input: &TrackInput,
) -> (Option<OpenOutage>, Option<Outage>) {
    match open {
        Some(open) if input.newest > open.newest => {
            let closed = || open.close(input.newest, input.wall_ms, input.interval_ms);
            (None, open.is_confirmed.then(closed).or(last))
        }
        open => (open, last),
    }
}

#[cfg(test)]
impl TrackedVerdict {
    /// The first verdict on a node, for tests.
    pub(crate) fn sample(status: NodeStatus) -> Self {
        let newest = ReportId { epoch: 7, seq: 10 };
        let advanced = true;
        let (last_ms, wall_ms, interval_ms) = (97_000, 100_000, 1_000);
        step(None, &TrackInput { status, newest, advanced, last_ms, only_here: false, wall_ms, interval_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::verdict::outage::OutageKind;

    fn at(wall_ms: u64, status: NodeStatus, newest: (u64, u64)) -> TrackInput {
        TrackInput {
            status,
            newest: ReportId { epoch: newest.0, seq: newest.1 },
            advanced: true,
            last_ms: wall_ms - 3_000,
            only_here: false,
            wall_ms,
            interval_ms: 1_000,
        }
    }

    /// The outage after a silence from 103 s to 130 s.
    fn outage_after(inputs: &[TrackInput]) -> Option<Outage> {
        let mut tracked = step(None, &at(100_000, NodeStatus::Up, (7, 10)));
        for input in inputs {
            tracked = step(Some(&tracked), input);
        }
        tracked.outage
    }

    fn down() -> TrackInput {
        at(106_000, NodeStatus::Down, (7, 13))
    }

    #[test]
    fn the_first_report_after_a_silence_determines_the_kind_of_outage() {
        for (newest, kind) in
            [((7, 40), OutageKind::CutOff), ((7, 14), OutageKind::Hung), ((8, 1), OutageKind::Restarted)]
        {
            let outage = Outage { from_ms: 103_000, to_ms: 130_000, kind };
            assert_eq!(outage_after(&[down(), at(130_000, NodeStatus::Up, newest)]), Some(outage));
            // The same, if no quorum decided that it is down.
            let unknown = TrackInput { status: NodeStatus::Unknown, ..down() };
            assert_eq!(outage_after(&[unknown, at(130_000, NodeStatus::Degraded, newest)]), Some(outage));
        }
    }

    #[test]
    fn an_outage_stays_open_until_a_report_arrives() {
        let early = at(128_000, NodeStatus::Degraded, (7, 13));
        assert_eq!(outage_after(&[down(), early]), None);
        let early = at(128_000, NodeStatus::Degraded, (7, 13));
        let outage = outage_after(&[down(), early, at(130_000, NodeStatus::Up, (8, 1))]);
        assert_eq!(outage.map(|outage| outage.kind), Some(OutageKind::Restarted));
    }

    #[test]
    fn a_report_right_after_a_gap_does_not_hide_a_restart() {
        let gap = TrackInput { advanced: false, ..at(106_000, NodeStatus::Unknown, (8, 1)) };
        let outage = outage_after(&[gap, at(107_000, NodeStatus::Up, (8, 2))]);
        assert_eq!(outage.map(|outage| outage.kind), Some(OutageKind::Restarted));
    }

    #[test]
    fn a_gap_of_this_node_is_no_outage_of_others() {
        let gap = || TrackInput { status: NodeStatus::Unknown, only_here: true, ..down() };
        assert_eq!(outage_after(&[gap(), at(130_000, NodeStatus::Up, (7, 40))]), None);
        // But the node may have died meanwhile.
        let outage = outage_after(&[gap(), down(), at(130_000, NodeStatus::Up, (8, 1))]);
        assert_eq!(outage.map(|outage| outage.kind), Some(OutageKind::Restarted));
    }
}
