//! Verdicts over time: since when each stands, what stood there before, and what an outage was afterwards.

use super::{Cause, NodeStatus, Verdicts};
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::report_table::ReportTable;
use crate::mesh::timestamps::Timestamps;

/// A time without a sign of life that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the last sign of life before it was: Unix time in ms.
    pub from_ms: u64,
    /// When the first one after it came: Unix time in ms.
    pub to_ms: u64,
    /// What the node's own numbering tells of it.
    pub kind: OutageKind,
}

/// What a node did while no sign of life came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageKind {
    /// It lived on and numbered its reports through all of it: it was cut off, not down.
    CutOff,
    /// It was started anew.
    Restarted,
    /// It is the same process, and made no reports meanwhile: it, or its host, stood still.
    Hung,
}

impl OutageKind {
    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CutOff => "cut off",
            Self::Restarted => "started anew",
            Self::Hung => "hung",
        }
    }
}

/// A time without a sign of life that is not over, or not yet explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenOutage {
    from_ms: u64,
    newest: ReportId,
    /// It says something of the node.
    is_known: bool,
}

/// How a verdict on one node stands in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedVerdict {
    /// The verdict.
    pub status: NodeStatus,
    /// Since when: Unix time in ms. For a node that is silent, its last sign of life.
    pub since_ms: u64,
    /// What was last decided, where nothing can be decided now; and since when.
    pub decided: Option<(NodeStatus, u64)>,
    /// The newest outage that is over.
    pub outage: Option<Outage>,
    /// The newest report that was a sign of life. One that came right after a gap of this node's own time was
    /// none, and may yet tell of another process.
    newest: ReportId,
    open_outage: Option<OpenOutage>,
    causes: Vec<Cause>,
}

/// A verdict that has changed, or only what explains it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictChange {
    /// Of whom.
    pub node: NodeId,
    /// The same, by index into the membership.
    pub index: usize,
    /// What it was; none before the first.
    pub from: Option<NodeStatus>,
    /// What it is.
    pub to: TrackedVerdict,
    /// What explains it.
    pub causes: Vec<Cause>,
    /// What explained it before.
    pub previous_causes: Vec<Cause>,
    /// How many find it offline, and how many could say so.
    pub offline: (usize, usize),
    /// For how long its reports have not advanced, in ms.
    pub silent_ms: u64,
}

impl VerdictChange {
    /// Whether the status is another than before, or it is tracked now that the node lives. What is found
    /// first, when nothing is known yet, is no news.
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
    /// Takes new verdicts; says what has changed.
    pub fn update(
        &mut self,
        table: &ReportTable,
        verdicts: &Verdicts,
        now: Timestamps,
    ) -> Vec<VerdictChange> {
        let before = std::mem::take(&mut self.nodes);
        let mut changes = Vec::new();
        for (index, ((member, state), verdict)) in table.members().zip(&verdicts.nodes).enumerate() {
            let old = before.binary_search_by(|(id, _)| id.cmp(&member.id)).ok().map(|at| &before[at].1);
            // What an earlier process of this node held counts as well.
            let newest = state.latest.as_ref().map_or(state.min_report, |latest| latest.id());
            let silent_ms = now.mono_ms.saturating_sub(verdict.silent_since_ms);
            let moment = TrackInput {
                status: verdict.status,
                newest,
                advanced: state.advanced,
                last_ms: now.wall_ms.saturating_sub(silent_ms),
                only_here: verdict.silent_since_ms == state.waiting_since_ms,
                wall_ms: now.wall_ms,
                interval_ms: table.membership().interval_ms(),
            };
            let next = TrackedVerdict { causes: verdict.causes.clone(), ..step(old, &moment) };
            let from = old.map(|old| old.status);
            if old.is_none_or(|old| (old.status, &old.causes) != (next.status, &next.causes)) {
                changes.push(VerdictChange {
                    node: member.id.clone(),
                    index,
                    from,
                    to: next.clone(),
                    causes: verdict.causes.clone(),
                    previous_causes: old.map(|old| old.causes.clone()).unwrap_or_default(),
                    offline: (verdict.vote_count.offline, verdict.vote_count.electorate),
                    silent_ms,
                });
            }
            self.nodes.push((member.id.clone(), next));
        }
        changes
    }

    /// Of each node, in the order of the membership.
    pub fn nodes(&self) -> impl Iterator<Item = &TrackedVerdict> {
        self.nodes.iter().map(|(_, tracked)| tracked)
    }
}

/// What a verdict is reached from.
struct TrackInput {
    status: NodeStatus,
    /// The newest report of the node that this one or an earlier process of this node held.
    newest: ReportId,
    /// That report is a sign of life.
    advanced: bool,
    /// Its last sign of life: Unix time in ms.
    last_ms: u64,
    /// It is only since this node's own start, or a gap of its own time, that there was none.
    only_here: bool,
    /// Unix time in ms.
    wall_ms: u64,
    /// Its reports come so often at least, in ms.
    interval_ms: u64,
}

impl OpenOutage {
    /// What it was, once a report has come that is newer than all before.
    fn end(self, moment: &TrackInput) -> Outage {
        let elapsed_ms = moment.wall_ms.saturating_sub(self.from_ms);
        let numbered = moment.newest.seq.saturating_sub(self.newest.seq);
        let ending = if moment.newest.epoch != self.newest.epoch {
            OutageKind::Restarted
        } else if numbered.saturating_mul(2 * moment.interval_ms) >= elapsed_ms {
            OutageKind::CutOff
        } else {
            OutageKind::Hung
        };
        Outage { from_ms: self.from_ms, to_ms: moment.wall_ms, kind: ending }
    }
}

fn step(old: Option<&TrackedVerdict>, moment: &TrackInput) -> TrackedVerdict {
    let &TrackInput { status, newest, last_ms, wall_ms, .. } = moment;
    let is_silent = matches!(status, NodeStatus::Down | NodeStatus::Unknown);
    let was_silent = old.is_some_and(|old| matches!(old.status, NodeStatus::Down | NodeStatus::Unknown));
    let since_ms = match old {
        Some(old) if old.status == status => old.since_ms,
        // Down after unknown, or the other way round, is the same silence.
        Some(old) if is_silent && was_silent => old.since_ms,
        _ if is_silent => last_ms,
        _ => wall_ms,
    };
    let decided = match old {
        _ if status != NodeStatus::Unknown => None,
        Some(old) if old.status == NodeStatus::Unknown => old.decided,
        Some(old) if old.status != NodeStatus::NeverSeen => Some((old.status, old.since_ms)),
        _ => None,
    };
    let known = old.map(|old| old.newest).filter(|_| !moment.advanced).unwrap_or(newest);
    let silence = old.and_then(|old| old.open_outage);
    let mut outage = old.and_then(|old| old.outage);
    let silence = if is_silent {
        let begun =
            OpenOutage { from_ms: since_ms, newest: known, is_known: decided.is_some() && !moment.only_here };
        let mut silence = silence.unwrap_or(begun);
        silence.is_known |= status == NodeStatus::Down;
        // A viewer that was itself just started may learn of a silent node's newest report only later.
        if silence.newest == ReportId::default() {
            silence.newest = newest;
        }
        Some(silence)
    } else {
        // Others may reach it again before its first report has come, which tells what it was.
        let ended = silence.filter(|silence| newest > silence.newest && status.is_alive());
        outage = ended.filter(|silence| silence.is_known).map(|silence| silence.end(moment)).or(outage);
        silence.filter(|_| ended.is_none() && status.is_alive())
    };
    TrackedVerdict {
        status,
        since_ms,
        decided,
        outage,
        newest: known,
        open_outage: silence,
        causes: Vec::new(),
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

    /// What remains of a silence from 103 s to 130 s.
    fn after(moments: &[TrackInput]) -> Option<Outage> {
        let mut tracked = step(None, &at(100_000, NodeStatus::Up, (7, 10)));
        for moment in moments {
            tracked = step(Some(&tracked), moment);
        }
        tracked.outage
    }

    fn down() -> TrackInput {
        at(106_000, NodeStatus::Down, (7, 13))
    }

    #[test]
    fn the_first_report_after_a_silence_tells_what_it_was() {
        for (newest, ending) in
            [((7, 40), OutageKind::CutOff), ((7, 14), OutageKind::Hung), ((8, 1), OutageKind::Restarted)]
        {
            let outage = Outage { from_ms: 103_000, to_ms: 130_000, kind: ending };
            assert_eq!(after(&[down(), at(130_000, NodeStatus::Up, newest)]), Some(outage));
            // It was decided before, or not at all.
            let unknown = TrackInput { status: NodeStatus::Unknown, ..down() };
            assert_eq!(after(&[unknown, at(130_000, NodeStatus::Degraded, newest)]), Some(outage));
        }
    }

    #[test]
    fn that_others_reach_it_again_does_not_tell() {
        let early = at(128_000, NodeStatus::Degraded, (7, 13));
        assert_eq!(after(&[down(), early]), None);
        let early = at(128_000, NodeStatus::Degraded, (7, 13));
        let told = after(&[down(), early, at(130_000, NodeStatus::Up, (8, 1))]);
        assert_eq!(told.map(|outage| outage.kind), Some(OutageKind::Restarted));
    }

    #[test]
    fn what_came_right_after_a_gap_does_not_hide_who_was_started_anew() {
        let gap = TrackInput { advanced: false, ..at(106_000, NodeStatus::Unknown, (8, 1)) };
        let told = after(&[gap, at(107_000, NodeStatus::Up, (8, 2))]);
        assert_eq!(told.map(|outage| outage.kind), Some(OutageKind::Restarted));
    }

    #[test]
    fn a_silence_of_this_node_itself_is_no_outage_of_others() {
        let gap = || TrackInput { status: NodeStatus::Unknown, only_here: true, ..down() };
        assert_eq!(after(&[gap(), at(130_000, NodeStatus::Up, (7, 40))]), None);
        // But the node may have died meanwhile.
        let told = after(&[gap(), down(), at(130_000, NodeStatus::Up, (8, 1))]);
        assert_eq!(told.map(|outage| outage.kind), Some(OutageKind::Restarted));
    }
}
