//! What the test itself knows of a network: who lives, and which reports some path brings to whom.

use crate::link::Links;

/// A set of nodes, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Nodes(pub(crate) u64);

impl Nodes {
    pub(crate) fn all(count: usize) -> Self {
        Self(u64::MAX >> (64 - count))
    }

    pub(crate) fn one(node: usize) -> Self {
        Self(1 << node)
    }

    pub(crate) fn has(self, node: usize) -> bool {
        self.0 >> node & 1 == 1
    }

    pub(crate) fn with(self, node: usize) -> Self {
        Self(self.0 | 1 << node)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn less(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = usize> {
        (0..64).filter(move |&node| self.has(node))
    }
}

/// How things are, until the next fault begins or passes.
#[derive(Debug, Clone)]
pub(crate) struct Truth {
    pub(crate) count: usize,
    /// Those whose process runs and turns.
    pub(crate) lives: Nodes,
    /// Those that said goodbye and did not come back.
    pub(crate) stopped: Nodes,
    /// Messages are lost.
    pub(crate) lossy: bool,
    /// Those that each could call, whoever lives.
    calls: Vec<Nodes>,
    /// Those whose reports some path brings, over nodes that hand them on.
    joined: Vec<Nodes>,
    /// How many exchanges the longest of these paths takes.
    hops: Vec<u64>,
    /// Those of whom something may come: if the mute should hand it on after all, or with requests that get
    /// through although their replies do not.
    perhaps: Vec<Nodes>,
}

impl Truth {
    pub(crate) fn of(
        links: &Links,
        count: usize,
        lives: Nodes,
        stopped: Nodes,
        mute: Nodes,
        lossy: bool,
    ) -> Self {
        let calls: Vec<Nodes> = (0..count)
            .map(|from| {
                let called = (0..count).filter(|&to| to != from && links.carries(from, to));
                called.fold(Nodes::default(), Nodes::with)
            })
            .collect();
        // An exchange carries reports both ways, whoever calls.
        let talks: Vec<Nodes> = (0..count)
            .map(|one| {
                let called_by = (0..count).filter(|&other| calls[other].has(one));
                called_by.fold(calls[one], Nodes::with).and(lives)
            })
            .collect();
        let (mut joined, mut hops) = (Vec::new(), Vec::new());
        for viewer in 0..count {
            let (known, count) = reach(&talks, viewer, mute);
            joined.push(known);
            hops.push(count);
        }
        let hears: Vec<Nodes> = (0..count)
            .map(|one| {
                let heard = (0..count).filter(|&other| other != one && links.brings(other, one));
                heard.fold(talks[one], Nodes::with).and(lives)
            })
            .collect();
        let perhaps = (0..count).map(|viewer| reach(&hears, viewer, Nodes::default()).0).collect();
        Self { count, lives, stopped, lossy, calls, joined, hops, perhaps }
    }

    pub(crate) fn can_call(&self, from: usize, to: usize) -> bool {
        self.calls[from].has(to)
    }

    /// Those whose reports some path brings to `viewer`, itself included.
    pub(crate) fn joined(&self, viewer: usize) -> Nodes {
        self.joined[viewer]
    }

    /// The most exchanges that a report takes to come to `viewer`.
    pub(crate) fn hops(&self, viewer: usize) -> u64 {
        self.hops[viewer]
    }

    /// Those of whom something may come to `viewer`, itself included.
    pub(crate) fn hears(&self, viewer: usize) -> Nodes {
        self.perhaps[viewer]
    }

    /// Those that `node` cannot call, or that do not answer, of those that did not say goodbye.
    fn misses(&self, node: usize) -> Nodes {
        let reached = self.calls[node].and(self.lives);
        Nodes::all(self.count).less(reached).less(Nodes::one(node)).less(self.stopped)
    }

    fn is_isolated(&self, node: usize) -> bool {
        let others = Nodes::all(self.count).less(Nodes::one(node)).less(self.stopped);
        self.misses(node).len() * 2 > others.len()
    }

    /// Whether any two voters that `viewer` still hears may say that `target` is offline.
    pub(crate) fn may_tell(&self, viewer: usize, target: usize) -> bool {
        let voters = self.hears(viewer).less(Nodes::one(target));
        voters.iter().filter(|&voter| !self.is_isolated(voter)).count() >= 2
    }

    /// Whether a majority around `viewer` is certain to find out that `dead` is.
    pub(crate) fn can_tell(&self, viewer: usize, dead: usize, liars: Nodes) -> bool {
        let others = self.joined[viewer].less(Nodes::one(dead));
        let voters = others.less(liars).iter().filter(|&voter| !self.is_isolated(voter)).count();
        let electorate = self.perhaps[viewer].less(Nodes::one(dead)).len();
        voters >= 2 && voters * 2 > electorate && others.len() * 2 > self.count
    }
}

fn reach(talks: &[Nodes], viewer: usize, mute: Nodes) -> (Nodes, u64) {
    let (mut known, mut edge, mut hops) = (Nodes::one(viewer), Nodes::one(viewer), 0);
    loop {
        let open = edge.iter().filter(|&node| node == viewer || !mute.has(node));
        let next = open.fold(Nodes::default(), |next, node| next.or(talks[node])).less(known);
        if next == Nodes::default() {
            return (known, hops);
        }
        known = known.or(next);
        edge = next;
        hops += 1;
    }
}
