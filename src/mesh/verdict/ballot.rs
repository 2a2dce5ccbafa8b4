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
    /// Whether more than half of all configured nodes have reported since it fell silent.
    pub is_witnessed: bool,
}

impl Ballot {
    /// The votes on `target`.
    pub(super) fn of(scene: &Scene<'_>, target: usize) -> Self {
        let mut ballot = Self { is_witnessed: scene.is_witnessed(target), ..Self::default() };
        let mut voices = Voices::new(scene, target);
        let mut living = Voices::new(scene, target);
        for voter in (0..scene.count()).filter(|voter| scene.observes(*voter, target)) {
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
        ballot
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
    let found = report.observation(scene.roster().members()[target].id.as_str())?;
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
