//! What happens to a network in one hunt, as data: drawn from a seed, written and read as text.

use std::fmt;
use std::str::FromStr;

use crate::liar::Lie;
use crate::machine::Clock;

/// A network and what happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// For everything that the network itself leaves to chance.
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// Messages take so long, in ms, and up to as long again.
    pub(crate) delay_ms: u64,
    /// By node.
    pub(crate) clocks: Vec<Clock>,
    pub(crate) faults: Vec<Fault>,
}

/// Something that happens and passes. Times count from when the network had tracked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) at_ms: u64,
    pub(crate) for_ms: u64,
    pub(crate) what: What,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A node crashes, and is started again with what its disk holds.
    Kill(usize),
    /// A node crashes, and is started again with an empty disk.
    Wipe(usize),
    /// A node is stopped on purpose, and started again.
    Stop(usize),
    /// A process hangs, or its machine sleeps.
    Hang(usize),
    /// A node's wall clock is set, by so many ms, and back again.
    Jump(usize, i64),
    /// A link is cut.
    Cut(usize, usize),
    /// A link loses all messages in one direction, so that no call comes about in either.
    Drop(usize, usize),
    /// A one-way firewall: the one cannot call the other.
    Bar(usize, usize),
    /// Nobody can call a node.
    Wall(usize),
    /// A node can call nobody.
    Deafen(usize),
    /// The nodes of this set are apart from the others.
    Part(u64),
    /// Each reaches only the next: links but those between neighbours are cut.
    Chain,
    /// All reach only this one.
    Star(usize),
    /// The nodes of this set reach the others only by way of this one, which is none of them.
    Bridge(usize, u64),
    /// So many of a hundred messages are lost.
    Lose(u8),
    /// Messages take so long, in ms, and up to as long again.
    Slow(u64),
    /// A node lies.
    Lie(usize, Lie),
    /// A node sends old requests again, and old reports as if they were new.
    Replay(usize),
}

impl What {
    /// What becomes of a node's process or clock: two of these at once make no sense.
    pub(crate) fn body(&self) -> Option<usize> {
        match *self {
            Self::Kill(node)
            | Self::Wipe(node)
            | Self::Stop(node)
            | Self::Hang(node)
            | Self::Jump(node, _) => Some(node),
            _ => None,
        }
    }

    /// Who lies.
    pub(crate) fn liar(&self) -> Option<usize> {
        match *self {
            Self::Lie(node, _) | Self::Replay(node) => Some(node),
            _ => None,
        }
    }

    /// The same without the node `gone`, where those after it move up. None if there is nothing left.
    fn without(self, gone: usize) -> Option<Self> {
        let moved = |node: usize| (node != gone).then(|| node - usize::from(node > gone));
        Some(match self {
            Self::Kill(node) => Self::Kill(moved(node)?),
            Self::Wipe(node) => Self::Wipe(moved(node)?),
            Self::Stop(node) => Self::Stop(moved(node)?),
            Self::Hang(node) => Self::Hang(moved(node)?),
            Self::Jump(node, by_ms) => Self::Jump(moved(node)?, by_ms),
            Self::Cut(one, other) => Self::Cut(moved(one)?, moved(other)?),
            Self::Drop(from, to) => Self::Drop(moved(from)?, moved(to)?),
            Self::Bar(from, to) => Self::Bar(moved(from)?, moved(to)?),
            Self::Wall(node) => Self::Wall(moved(node)?),
            Self::Deafen(node) => Self::Deafen(moved(node)?),
            Self::Part(side) => Self::Part((side & ((1 << gone) - 1)) | ((side >> 1) & !((1 << gone) - 1))),
            Self::Star(node) => Self::Star(moved(node)?),
            Self::Bridge(node, side) => match Self::Part(side).without(gone)? {
                Self::Part(side) => Self::Bridge(moved(node)?, side),
                other => other,
            },
            Self::Lie(node, Lie::Without(victim)) => Self::Lie(moved(node)?, Lie::Without(moved(victim)?)),
            Self::Lie(node, lie) => Self::Lie(moved(node)?, lie),
            Self::Replay(node) => Self::Replay(moved(node)?),
            Self::Chain | Self::Lose(_) | Self::Slow(_) => self,
        })
    }

    fn draw(rng: &mut fastrand::Rng, nodes: usize, liars: &[usize]) -> Self {
        let node = rng.usize(0..nodes);
        let other = (node + rng.usize(1..nodes)) % nodes;
        let side = rng.u64(1..(1 << (nodes - 1)) * 2 - 1);
        match rng.u8(0..40) {
            0..=3 => Self::Kill(node),
            4 => Self::Wipe(node),
            5..=7 => Self::Stop(node),
            8..=10 => Self::Hang(node),
            11 => Self::Jump(node, rng.i64(-288_000..=288_000)),
            12..=14 => Self::Cut(node, other),
            15 => Self::Drop(node, other),
            16..=17 => Self::Bar(node, other),
            18 => Self::Wall(node),
            19 => Self::Deafen(node),
            20..=23 => Self::Part(side),
            24..=25 => Self::Chain,
            26 => Self::Star(node),
            27 => Self::Bridge(node, side & !(1 << node)),
            28..=30 => Self::Lose(rng.u8(1..=25)),
            31 => Self::Slow(rng.u64(40..=110)),
            _ if liars.is_empty() => Self::Cut(node, other),
            _ => {
                let liar = liars[rng.usize(0..liars.len())];
                let victim = (liar + rng.usize(1..nodes)) % nodes;
                match rng.u8(0..7) {
                    0 => Self::Lie(liar, Lie::Nobody),
                    1 => Self::Lie(liar, Lie::Everybody),
                    2..=3 => Self::Lie(liar, Lie::Without(victim)),
                    4 => Self::Lie(liar, Lie::Double),
                    5 => Self::Lie(liar, Lie::Mute),
                    _ => Self::Replay(liar),
                }
            }
        }
    }
}

impl Scenario {
    /// The scenario of this seed.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x4455_4e54);
        // The work grows with the third power of the nodes: few are many.
        let nodes = match rng.u16(0..1_000) {
            0..=3 => rng.usize(17..=24),
            4..=19 => rng.usize(10..=16),
            20..=199 => rng.usize(6..=9),
            _ => rng.usize(3..=5),
        };
        let mut clocks = vec![Clock::default(); nodes];
        if rng.u8(0..3) == 0 {
            for clock in &mut clocks {
                clock.skew_ms = rng.i64(-288_000..=288_000);
                clock.drift_ppm = if rng.bool() { rng.i64(-10_000..=10_000) } else { 0 };
            }
        }
        let mut liars: Vec<usize> = (0..nodes).collect();
        rng.shuffle(&mut liars);
        liars.truncate(if rng.bool() { rng.usize(0..=(nodes - 1) / 2) } else { 0 });
        let mut scenario = Self { seed, nodes, delay_ms: rng.u64(1..40), clocks, faults: Vec::new() };
        let span_ms = rng.u64(1..=10_000);
        for _ in 0..rng.u8(1..=5) {
            let what = What::draw(&mut rng, nodes, &liars);
            let for_ms = if rng.bool() { rng.u64(8_000..=14_000) } else { rng.u64(500..=8_000) };
            let fault = Fault { at_ms: rng.u64(0..span_ms), for_ms, what };
            if scenario.faults.iter().all(|other| !fault.clashes(other)) {
                scenario.faults.push(fault);
            }
        }
        scenario
    }

    /// When the last fault has passed.
    pub(crate) fn ends_ms(&self) -> u64 {
        self.faults.iter().map(|fault| fault.at_ms + fault.for_ms).max().unwrap_or(0)
    }

    /// Scenarios that are a little smaller, the smallest first.
    pub(crate) fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for at in 0..self.faults.len() {
            let mut faults = self.faults.clone();
            faults.remove(at);
            smaller.push(Self { faults, ..self.clone() });
        }
        for gone in (0..self.nodes).filter(|_| self.nodes > 3) {
            let mut clocks = self.clocks.clone();
            clocks.remove(gone);
            let faults = self.faults.iter().filter_map(|fault| {
                let what = fault.what.without(gone)?;
                Some(Fault { what, ..*fault })
            });
            smaller.push(Self { nodes: self.nodes - 1, clocks, faults: faults.collect(), ..self.clone() });
        }
        for at in 0..self.nodes {
            if self.clocks[at] != Clock::default() {
                let mut clocks = self.clocks.clone();
                clocks[at] = Clock::default();
                smaller.push(Self { clocks, ..self.clone() });
            }
        }
        if self.delay_ms > 2 {
            smaller.push(Self { delay_ms: 2, ..self.clone() });
        }
        for at in 0..self.faults.len() {
            let Fault { at_ms, for_ms, .. } = self.faults[at];
            for (at_ms, for_ms) in
                [(0, for_ms), (at_ms / 2, for_ms), (at_ms, for_ms / 2), (at_ms, for_ms * 3 / 4)]
            {
                let mut faults = self.faults.clone();
                faults[at] = Fault { at_ms, for_ms, ..faults[at] };
                let clashes =
                    (0..faults.len()).any(|other| other != at && faults[at].clashes(&faults[other]));
                if for_ms >= 100 && !clashes && faults != self.faults {
                    smaller.push(Self { faults, ..self.clone() });
                }
            }
        }
        smaller
    }
}

impl Fault {
    /// Whether both want the same node's process at about the same time, or are two of a kind.
    fn clashes(&self, other: &Self) -> bool {
        const APART_MS: u64 = 200;
        let apart = self.at_ms + self.for_ms + APART_MS < other.at_ms
            || other.at_ms + other.for_ms + APART_MS < self.at_ms;
        let same_body = self.what.body().is_some() && self.what.body() == other.what.body();
        let same_liar = self.what.liar().is_some() && self.what.liar() == other.what.liar();
        !apart && (same_body || same_liar)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nodes {}; delay {}", self.nodes, self.delay_ms)?;
        for (node, clock) in self.clocks.iter().enumerate().filter(|(_, clock)| **clock != Clock::default()) {
            write!(f, "; clock {node} {} {}", clock.skew_ms, clock.drift_ppm)?;
        }
        self.faults.iter().try_for_each(|fault| write!(f, "; {fault}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{} ", self.at_ms, self.for_ms)?;
        match self.what {
            What::Kill(node) => write!(f, "kill {node}"),
            What::Wipe(node) => write!(f, "wipe {node}"),
            What::Stop(node) => write!(f, "stop {node}"),
            What::Hang(node) => write!(f, "hang {node}"),
            What::Jump(node, by_ms) => write!(f, "jump {node} {by_ms}"),
            What::Cut(one, other) => write!(f, "cut {one} {other}"),
            What::Drop(from, to) => write!(f, "drop {from} {to}"),
            What::Bar(from, to) => write!(f, "bar {from} {to}"),
            What::Wall(node) => write!(f, "wall {node}"),
            What::Deafen(node) => write!(f, "deafen {node}"),
            What::Part(side) => {
                f.write_str("part")?;
                (0..64).filter(|node| side >> node & 1 == 1).try_for_each(|node| write!(f, " {node}"))
            }
            What::Chain => f.write_str("chain"),
            What::Star(node) => write!(f, "star {node}"),
            What::Bridge(node, side) => {
                write!(f, "bridge {node}")?;
                (0..64).filter(|node| side >> node & 1 == 1).try_for_each(|node| write!(f, " {node}"))
            }
            What::Lose(percent) => write!(f, "lose {percent}"),
            What::Slow(delay_ms) => write!(f, "slow {delay_ms}"),
            What::Lie(node, Lie::Nobody) => write!(f, "nobody {node}"),
            What::Lie(node, Lie::Everybody) => write!(f, "everybody {node}"),
            What::Lie(node, Lie::Without(victim)) => write!(f, "without {node} {victim}"),
            What::Lie(node, Lie::Double) => write!(f, "double {node}"),
            What::Lie(node, Lie::Mute) => write!(f, "mute {node}"),
            What::Replay(node) => write!(f, "replay {node}"),
        }
    }
}

/// Reads what was written, with seed 0.
impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut scenario = Self { seed: 0, nodes: 0, delay_ms: 2, clocks: Vec::new(), faults: Vec::new() };
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let mut words = part.split_whitespace();
            let word = words.next().ok_or("nothing")?;
            match (word, word.split_once('+')) {
                (_, Some((at_ms, for_ms))) => {
                    let number = |text: &str| text.parse().map_err(|_| format!("no time: {part}"));
                    let kind = words.next().ok_or_else(|| format!("no fault: {part}"))?;
                    let what =
                        read_what(kind, &numbers(words, part)?).ok_or_else(|| format!("no fault: {part}"))?;
                    scenario.faults.push(Fault { at_ms: number(at_ms)?, for_ms: number(for_ms)?, what });
                }
                ("nodes", _) => {
                    scenario.nodes = node(&numbers(words, part)?, 0).ok_or("no number of nodes")?;
                    scenario.clocks = vec![Clock::default(); scenario.nodes];
                }
                ("delay", _) => {
                    let numbers = numbers(words, part)?;
                    scenario.delay_ms = numbers.first().map_or(2, |ms| ms.unsigned_abs());
                }
                ("clock", _) => {
                    let numbers = numbers(words, part)?;
                    let [node, skew_ms, drift_ppm] = numbers[..] else {
                        return Err(format!("no clock: {part}"));
                    };
                    let clock = usize::try_from(node).ok().and_then(|node| scenario.clocks.get_mut(node));
                    *clock.ok_or_else(|| format!("no node: {part}"))? = Clock { skew_ms, drift_ppm };
                }
                _ => return Err(format!("not understood: {part}")),
            }
        }
        Ok(scenario)
    }
}

fn numbers<'a>(words: impl Iterator<Item = &'a str>, part: &str) -> Result<Vec<i64>, String> {
    words.map(|word| word.parse().map_err(|_| format!("no number: {part}"))).collect()
}

fn node(numbers: &[i64], at: usize) -> Option<usize> {
    numbers.get(at).and_then(|number| usize::try_from(*number).ok())
}

fn read_what(kind: &str, numbers: &[i64]) -> Option<What> {
    let one = || node(numbers, 0);
    let other = || node(numbers, 1);
    Some(match kind {
        "kill" => What::Kill(one()?),
        "wipe" => What::Wipe(one()?),
        "stop" => What::Stop(one()?),
        "hang" => What::Hang(one()?),
        "jump" => What::Jump(one()?, *numbers.get(1)?),
        "cut" => What::Cut(one()?, other()?),
        "drop" => What::Drop(one()?, other()?),
        "bar" => What::Bar(one()?, other()?),
        "wall" => What::Wall(one()?),
        "deafen" => What::Deafen(one()?),
        "part" => What::Part(numbers.iter().fold(0, |side, node| side | 1 << node)),
        "chain" => What::Chain,
        "star" => What::Star(one()?),
        "bridge" => What::Bridge(one()?, numbers[1..].iter().fold(0, |side, node| side | 1 << node)),
        "lose" => What::Lose(u8::try_from(one()?).ok()?),
        "slow" => What::Slow(one()? as u64),
        "nobody" => What::Lie(one()?, Lie::Nobody),
        "everybody" => What::Lie(one()?, Lie::Everybody),
        "without" => What::Lie(one()?, Lie::Without(other()?)),
        "double" => What::Lie(one()?, Lie::Double),
        "mute" => What::Lie(one()?, Lie::Mute),
        "replay" => What::Replay(one()?),
        _ => return None,
    })
}

#[test]
fn what_is_written_is_read_again() {
    for seed in 1..2_000 {
        let scenario = Scenario::draw(seed);
        let again: Scenario = scenario.to_string().parse().expect("own text");
        assert_eq!(Scenario { seed, ..again }, scenario, "{scenario}");
    }
}
