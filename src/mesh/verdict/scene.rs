//! Who lives and who may vote, as far as reports and their ages show.

use super::LEAVE_GRACE_MS;
use super::ballot::{Abstention, Vote};
use crate::mesh::id::Stamp;
use crate::mesh::observation::Status;
use crate::mesh::picture::{Picture, Slot};
use crate::mesh::report::Report;
use crate::mesh::roster::Roster;

/// How long silence may last, in ms. I is the longest time between two arrivals of reports, T the longest
/// timeout, both by this node's configuration.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_field_names, reason = "they are all times in ms, and say so")]
pub(super) struct Bounds {
    /// 1.5 I + 0.75 T.
    pub(super) refused_ms: u64,
    /// 2 I + 1.75 T.
    pub(super) unrefuted_ms: u64,
    /// 2.5 I: whose report is older does not vote.
    pub(super) fresh_ms: u64,
    /// 4 I + 2 T: whose report is older is not alive.
    pub(super) alive_ms: u64,
    /// I: a witness has reported so much later than the silent node at least.
    pub(super) witness_ms: u64,
}

impl Bounds {
    fn of(roster: &Roster) -> Self {
        let (i, t) = (roster.interval_ms(), roster.longest_timeout_ms());
        Self {
            refused_ms: i * 3 / 2 + t * 3 / 4,
            unrefuted_ms: i * 2 + t * 7 / 4,
            fresh_ms: i * 5 / 2,
            alive_ms: i * 4 + t * 2,
            witness_ms: i,
        }
    }
}

/// Whether a node gives signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// Its reports advance.
    Alive,
    /// They did not for too long.
    Silent,
    /// It was stopped on purpose, not long ago.
    Stopped,
    /// No report since the configuration named it.
    NeverSeen,
}

/// How a node lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// For how long its reports have not advanced, in ms.
    pub(super) silent_ms: u64,
    /// What that says.
    pub(super) sign: Sign,
    /// It doubts itself, or finds most others offline.
    pub(super) isolated: bool,
    /// Why it does not vote, if it does not.
    pub(super) abstains: Option<Abstention>,
}

/// A picture at one moment.
pub(super) struct Scene<'p> {
    picture: &'p Picture,
    now_ms: u64,
    bounds: Bounds,
    lives: Vec<Life>,
    /// When the reports of each configured node were last seen to advance, in ascending order.
    advances_ms: Vec<u64>,
}

impl<'p> Scene<'p> {
    pub(super) fn of(picture: &'p Picture, now_ms: u64) -> Self {
        let bounds = Bounds::of(picture.roster());
        let mut scene = Self { picture, now_ms, bounds, lives: Vec::new(), advances_ms: Vec::new() };
        let able =
            (0..picture.slots().len()).filter(|&index| !picture.roster().members()[index].keys.is_empty());
        scene.advances_ms = able.filter_map(|index| scene.advanced_ms(index)).collect();
        scene.advances_ms.sort_unstable();
        scene.lives = (0..picture.slots().len()).map(|index| scene.live(index)).collect();
        // Who is left out of the half that isolates is known only now.
        for index in 0..scene.lives.len() {
            let isolated = scene.is_isolated(index);
            let abstains = scene.abstains(index, isolated);
            scene.lives[index].isolated = isolated;
            scene.lives[index].abstains = abstains;
        }
        scene
    }

    pub(super) fn count(&self) -> usize {
        self.lives.len()
    }

    pub(super) fn me(&self) -> usize {
        self.picture.roster().me()
    }

    pub(super) fn roster(&self) -> &'p Roster {
        self.picture.roster()
    }

    pub(super) fn slot(&self, index: usize) -> &'p Slot {
        &self.picture.slots()[index]
    }

    pub(super) fn report(&self, index: usize) -> Option<&'p Report> {
        self.slot(index).held.as_ref().map(|held| held.report())
    }

    pub(super) fn life(&self, index: usize) -> &Life {
        &self.lives[index]
    }

    pub(super) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// When its newest sign of life was, or when this node began to wait for one: monotonic time in ms.
    pub(super) fn silent_since_ms(&self, index: usize) -> u64 {
        let slot = self.slot(index);
        if index == self.me() {
            self.now_ms
        } else if slot.held.is_some() && slot.advanced {
            slot.origin_ms
        } else {
            slot.awaited_ms.max(slot.origin_ms)
        }
    }

    /// When its reports were last seen to advance, if they were: monotonic time in ms.
    pub(super) fn advanced_ms(&self, index: usize) -> Option<u64> {
        let slot = self.slot(index);
        if index == self.me() {
            return Some(self.now_ms);
        }
        (slot.held.is_some() && slot.advanced).then_some(slot.origin_ms)
    }

    /// When `vote`'s voter came to what it says, by the age of its report and its own reckoning since:
    /// monotonic time in ms.
    pub(super) fn found_ms(&self, vote: &Vote) -> u64 {
        let made_ms = self.advanced_ms(vote.voter).unwrap_or(self.now_ms);
        let made_ms = if vote.voter == self.me() { self.slot(vote.voter).origin_ms } else { made_ms };
        let since_ms = self.report(vote.voter).map_or(0, |report| report.at_ms.saturating_sub(vote.since_ms));
        made_ms.saturating_sub(since_ms)
    }

    fn live(&self, index: usize) -> Life {
        let slot = self.slot(index);
        let own = index == self.me();
        let silent_ms = self.now_ms.saturating_sub(self.silent_since_ms(index));
        let stopped = !own
            && self.report(index).is_some_and(|report| report.leaving)
            && self.now_ms.saturating_sub(slot.origin_ms) <= LEAVE_GRACE_MS;
        let sign = if stopped {
            Sign::Stopped
        } else if own || (slot.held.is_some() && slot.advanced && silent_ms <= self.bounds.alive_ms) {
            Sign::Alive
        } else if slot.held.is_none() && slot.floor == Stamp::default() {
            Sign::NeverSeen
        } else {
            Sign::Silent
        };
        Life { silent_ms, sign, isolated: false, abstains: None }
    }

    /// Whether a node's newest report says that most of those that it observes are offline, whatever it says
    /// of itself. Peers that were never seen and those that were stopped are left out.
    fn is_isolated(&self, index: usize) -> bool {
        let Some(report) = self.report(index) else { return false };
        let (mut observed, mut offline) = (0, 0);
        for (peer, found) in self.slot(index).observations() {
            if matches!(self.lives[peer].sign, Sign::NeverSeen | Sign::Stopped) {
                continue;
            }
            observed += 1;
            offline += usize::from(found.status == Status::Offline);
        }
        report.isolated || offline * 2 > observed
    }

    fn abstains(&self, index: usize, isolated: bool) -> Option<Abstention> {
        let fresh = self.picture.is_fresh(index, self.now_ms);
        if self.report(index).is_none() || !fresh {
            Some(Abstention::Stale)
        } else if self.slot(index).proof.is_some() {
            Some(Abstention::Conflict)
        } else if self.lives[index].sign == Sign::Stopped {
            Some(Abstention::Left)
        } else if isolated {
            Some(Abstention::Isolated)
        } else {
            None
        }
    }

    /// How many have reported at `after_ms` or later.
    pub(super) fn reported_since(&self, after_ms: u64) -> usize {
        let before = self.advances_ms.partition_point(|advanced_ms| *advanced_ms < after_ms);
        self.advances_ms.len() - before
    }

    /// When somebody's silence next passes a bound: monotonic time in ms.
    pub(super) fn due_ms(&self) -> u64 {
        let Bounds { refused_ms, unrefuted_ms, fresh_ms, alive_ms, .. } = self.bounds;
        let marks = [refused_ms, unrefuted_ms, fresh_ms, alive_ms];
        let next = (0..self.count()).filter(|index| *index != self.me()).filter_map(|index| {
            let since_ms = self.silent_since_ms(index);
            let silent_ms = self.now_ms.saturating_sub(since_ms);
            let mark = marks.into_iter().filter(|mark| *mark >= silent_ms).min()?;
            // It is to be longer, not as long.
            Some(since_ms + mark + 1)
        });
        next.min().unwrap_or(u64::MAX)
    }

    /// The voice that a node votes with: nodes that share a key are one voter.
    pub(super) fn voice(&self, index: usize) -> usize {
        self.roster().voices()[index]
    }
}
