//! The votes on one node: who says what by which report, who abstains and why, and whether it is a quorum.

use std::fmt;

use serde::{Serialize, Serializer};

use super::scene::{Scene, Sign};
use crate::mesh::id::Stamp;
use crate::mesh::observation::{Failure, Status};

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
    /// Who says it, by index into the roster.
    pub voter: usize,
    /// By which report.
    pub stamp: Stamp,
    /// What it says.
    pub status: Status,
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
pub struct Ballot {
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

impl Ballot {
    /// The votes on `target`.
    pub(super) fn of(scene: &Scene<'_>, target: usize) -> Self {
        let mut ballot = Self::default();
        let mut voices = Voices::new(scene, target);
        let mut living = Voices::new(scene, target);
        let observers = scene.roster().observers(target);
        ballot.votes.reserve(observers.size_hint().1.unwrap_or_default());
        for voter in observers {
            if scene.life(voter).sign == Sign::Alive && living.is_new(scene, voter) {
                ballot.electorate += 1;
            }
            let Some(mut vote) = vote(scene, voter, target) else { continue };
            if vote.abstains.is_none() && !voices.is_new(scene, voter) {
                vote.abstains = Some(Abstention::SameKey);
            }
            if vote.abstains.is_none() {
                ballot.count(&vote);
            }
            ballot.votes.push(vote);
        }
        ballot.is_witnessed = ballot.is_witnessed(scene, target);
        ballot
    }

    /// Whoever is cut off together with many others finds these offline only after the cut, and hears nothing
    /// from beyond it that is younger: so it never hears from more than half of all once most of its own side
    /// have found one of the others offline. That holds however long reports take to come, which the time of
    /// the node's last report does not: some came sooner than others before the cut.
    fn is_witnessed(&self, scene: &Scene<'_>, target: usize) -> bool {
        let bounds = scene.bounds();
        let last_ms = scene.silent_since_ms(target);
        let offline = self.counted().filter(|vote| vote.status == Status::Offline);
        let mut found_ms: Vec<u64> = offline
            .map(|vote| {
                // A vote from before its newest report says nothing of this silence.
                let after_ms = if vote.refuted { bounds.fresh_ms } else { bounds.witness_ms };
                scene.found_ms(vote).max(last_ms.saturating_add(after_ms))
            })
            .collect();
        found_ms.sort_unstable();
        let Some(quorum) = (1..=found_ms.len()).find(|&votes| self.is_quorum(votes)) else { return false };
        let after_ms = found_ms[quorum - 1];
        let voters = self.counted().filter(|vote| vote.status == Status::Offline && !vote.refuted);
        let earlier =
            voters.filter(|vote| scene.advanced_ms(vote.voter).is_none_or(|ms| ms < after_ms)).count();
        (scene.reported_since(after_ms) + earlier) * 2 > scene.roster().able()
    }

    fn count(&mut self, vote: &Vote) {
        match vote.status {
            Status::Online => self.online += 1,
            Status::Offline => {
                self.offline += 1;
                self.unrefuted += usize::from(!vote.refuted);
                self.refused += usize::from(!vote.refuted && vote.error == Some(Failure::Refused));
            }
            Status::Unknown => {}
        }
    }

    /// Whether so many votes decide: more than half of those that could vote, and at least two.
    pub fn is_quorum(&self, votes: usize) -> bool {
        votes * 2 > self.electorate && votes >= 2
    }

    /// The votes that count.
    pub fn counted(&self) -> impl Iterator<Item = &Vote> {
        self.votes.iter().filter(|vote| vote.abstains.is_none())
    }
}

fn vote(scene: &Scene<'_>, voter: usize, target: usize) -> Option<Vote> {
    let report = scene.report(voter)?;
    let found = scene.slot(voter).observation(target)?;
    let newest = scene.report(target).map(crate::mesh::report::Report::stamp);
    let refuted = found.status == Status::Offline
        && newest.is_some_and(|newest| {
            let head = found.head.unwrap_or_default();
            newest.epoch > head.epoch || (newest.epoch == head.epoch && newest.seq > head.seq + 1)
        });
    Some(Vote {
        voter,
        stamp: report.stamp(),
        status: found.status,
        error: found.error,
        since_ms: found.since_ms,
        refuted,
        abstains: scene.life(voter).abstains,
    })
}

/// Voices that were heard already.
struct Voices {
    heard: Vec<usize>,
}

impl Voices {
    /// The target's own voice does not count.
    fn new(scene: &Scene<'_>, target: usize) -> Self {
        Self { heard: vec![scene.voice(target)] }
    }

    fn is_new(&mut self, scene: &Scene<'_>, index: usize) -> bool {
        let voice = scene.voice(index);
        // Only those who share a key can be heard twice.
        if voice == index && !scene.roster().has_shared_keys() {
            return true;
        }
        let new = !self.heard.contains(&voice);
        if new {
            self.heard.push(voice);
        }
        new
    }
}
