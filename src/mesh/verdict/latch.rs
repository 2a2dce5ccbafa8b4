//! Verdicts over time: since when each stands, what stood there before, and what an outage was afterwards.

use std::fmt;

use super::{Cause, Standing, Verdicts};
use crate::mesh::id::NodeId;
use crate::mesh::picture::{Now, Picture};

/// A time without a sign of life that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When the last sign of life before it was: Unix time in ms.
    pub from_ms: u64,
    /// When the first one after it came: Unix time in ms.
    pub to_ms: u64,
    /// The node lived on: it kept numbering its reports through all of it, so it was cut off, not down.
    pub cut_off: bool,
}

/// How a verdict on one node stands in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The verdict.
    pub standing: Standing,
    /// Since when: Unix time in ms. For a node that is silent, its last sign of life.
    pub since_ms: u64,
    /// What was last decided, where nothing can be decided now; and since when.
    pub decided: Option<(Standing, u64)>,
    /// The newest outage that is over.
    pub outage: Option<Outage>,
    /// The start that its newest report before the silence came from.
    epoch: u64,
}

/// A verdict that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of whom.
    pub node: NodeId,
    /// What it was; none before the first.
    pub from: Option<Standing>,
    /// What it is.
    pub to: Settled,
    /// What explains it.
    pub causes: Vec<Cause>,
    /// How many find it offline, and how many could say so.
    pub offline: (usize, usize),
    /// For how long its reports have not advanced, in ms.
    pub silent_ms: u64,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.node, self.to.standing)?;
        if let Some(from) = self.from {
            write!(f, " (was {from})")?;
        }
        let causes: Vec<_> = self.causes.iter().map(|cause| cause.as_str()).collect();
        if !causes.is_empty() {
            write!(f, ", cause: {}", causes.join(" or "))?;
        }
        let (offline, electorate) = self.offline;
        if matches!(self.to.standing, Standing::Down | Standing::Unknown | Standing::Degraded) {
            write!(f, "; {offline} of {electorate} observers do not reach it")?;
        }
        if matches!(self.to.standing, Standing::Down | Standing::Unknown) {
            write!(f, ", no sign of life for {}.{} s", self.silent_ms / 1000, self.silent_ms % 1000 / 100)?;
        }
        match self.to.outage {
            Some(outage) if self.to.standing.is_alive() && outage.to_ms == self.to.since_ms => {
                let what =
                    if outage.cut_off { "it lived on, cut off from here" } else { "it was started anew" };
                write!(f, "; {what}, after {} s", outage.to_ms.saturating_sub(outage.from_ms) / 1000)
            }
            _ => Ok(()),
        }
    }
}

/// The verdicts of a network over time.
#[derive(Debug, Clone, Default)]
pub struct Latch {
    settled: Vec<(NodeId, Settled)>,
}

impl Latch {
    /// Takes new verdicts; says what has changed.
    pub fn settle(&mut self, picture: &Picture, verdicts: &Verdicts, now: Now) -> Vec<Change> {
        let before = std::mem::take(&mut self.settled);
        let mut changes = Vec::new();
        for ((member, slot), verdict) in picture.members().zip(&verdicts.nodes) {
            let old = before.binary_search_by(|(id, _)| id.cmp(&member.id)).ok().map(|at| &before[at].1);
            // What an earlier process of this node held counts as well.
            let epoch = slot.held.as_ref().map_or(slot.floor, |held| held.stamp()).epoch;
            let silent_ms = now.wall_ms.saturating_sub(now.mono_ms.saturating_sub(verdict.silent_since_ms));
            let next = step(old, verdict.standing, epoch, silent_ms, now.wall_ms);
            let from = old.map(|old| old.standing);
            if from != Some(next.standing) {
                changes.push(Change {
                    node: member.id.clone(),
                    from,
                    to: next.clone(),
                    causes: verdict.causes.clone(),
                    offline: (verdict.ballot.offline, verdict.ballot.electorate),
                    silent_ms: now.mono_ms.saturating_sub(verdict.silent_since_ms),
                });
            }
            self.settled.push((member.id.clone(), next));
        }
        changes
    }

    /// Of each node, in the order of the roster.
    pub fn nodes(&self) -> impl Iterator<Item = &Settled> {
        self.settled.iter().map(|(_, settled)| settled)
    }
}

fn step(
    old: Option<&Settled>,
    standing: Standing,
    epoch: u64,
    silent_since_ms: u64,
    wall_ms: u64,
) -> Settled {
    let is_silent = matches!(standing, Standing::Down | Standing::Unknown);
    let was_silent = old.is_some_and(|old| matches!(old.standing, Standing::Down | Standing::Unknown));
    let since_ms = match old {
        Some(old) if old.standing == standing => old.since_ms,
        // Down after unknown, or the other way round, is the same silence.
        Some(old) if is_silent && was_silent => old.since_ms,
        _ if is_silent => silent_since_ms,
        _ => wall_ms,
    };
    let decided = match old {
        _ if standing != Standing::Unknown => None,
        Some(old) if old.standing == Standing::Unknown => old.decided,
        Some(old) if old.standing != Standing::NeverSeen => Some((old.standing, old.since_ms)),
        _ => None,
    };
    // A node that nothing was known of before did not come back.
    let known = |old: &&Settled| old.standing == Standing::Down || old.decided.is_some();
    let ended = old.filter(|_| was_silent && standing.is_alive()).filter(known).map(|old| Outage {
        from_ms: old.since_ms,
        to_ms: wall_ms,
        cut_off: old.epoch != 0 && old.epoch == epoch,
    });
    let outage = ended.or_else(|| old.and_then(|old| old.outage));
    // A viewer that was itself just started may learn of a silent node's newest report only later.
    let epoch = old.map(|old| old.epoch).filter(|before| is_silent && *before != 0).unwrap_or(epoch);
    Settled { standing, since_ms, decided, outage, epoch }
}
