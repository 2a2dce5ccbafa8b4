//! A hunt for wrong verdicts: random faults, one after the other, in networks of random size. Whatever
//! happens, nobody who lives and is joined to the viewer by some path is ever called down.
//!
//! `DISTOMON_SCENARIOS=<n>` hunts longer, `DISTOMON_SEED=<n>` replays one scenario.

use std::collections::BTreeSet;

use crate::machine::Disk;
use crate::network::{Network, settled};
use crate::sample;
use distomon::mesh::verdict::Standing;

/// Scenarios in an ordinary run.
const SCENARIOS: u64 = 12;

/// How long a fault lasts, and how long the network has afterwards, in ms.
const FAULT_MS: u64 = 15_000;
const PEACE_MS: u64 = 12_000;

/// Within so long a dead node is told by everyone who can tell: 4 I + 2 T, and a round.
const BOUND_MS: u64 = 7_000;

/// After so long in one piece again, everybody has heard of everybody, in ms.
const HEARD_MS: u64 = 5_000;

/// What the test itself knows of the network.
struct Truth {
    count: usize,
    dead: BTreeSet<usize>,
    frozen: BTreeSet<usize>,
    disks: Vec<Option<Disk>>,
    /// Pairs that cannot talk.
    cut: BTreeSet<(usize, usize)>,
    walled: BTreeSet<usize>,
    deaf: BTreeSet<usize>,
    since_ms: u64,
}

impl Truth {
    fn lives(&self, node: usize) -> bool {
        !self.dead.contains(&node) && !self.frozen.contains(&node)
    }

    fn can_call(&self, from: usize, to: usize) -> bool {
        let pair = (from.min(to), from.max(to));
        !self.cut.contains(&pair) && !self.walled.contains(&to) && !self.deaf.contains(&from)
    }

    /// Those whose reports some path brings to `viewer`: an exchange carries them both ways.
    fn joined(&self, viewer: usize) -> BTreeSet<usize> {
        let (mut known, mut open) = (BTreeSet::from([viewer]), vec![viewer]);
        while let Some(node) = open.pop() {
            for other in (0..self.count).filter(|&other| self.lives(other)) {
                let talk = self.can_call(node, other) || self.can_call(other, node);
                if talk && known.insert(other) {
                    open.push(other);
                }
            }
        }
        known
    }
}

fn standing(network: &Network, viewer: usize, target: usize) -> Standing {
    let picture = &network.machine(viewer).picture;
    let index = picture.roster().index(sample::node_id(target).as_str()).expect("a member");
    picture.verdicts().nodes[index].standing
}

/// Brings one fault at random, and says which.
fn strike(network: &mut Network, truth: &mut Truth, rng: &mut fastrand::Rng) -> String {
    let node = rng.usize(0..truth.count);
    truth.since_ms = network.now_ms;
    match rng.u8(0..7) {
        0 => {
            truth.disks[node] = Some(network.kill(node));
            truth.dead.insert(node);
            format!("{node} is killed")
        }
        1 => {
            network.freeze(node, FAULT_MS, rng.bool());
            truth.frozen.insert(node);
            format!("{node} hangs")
        }
        2 => {
            let pairs = rng.usize(1..=truth.count);
            for _ in 0..pairs {
                let (one, other) = (rng.usize(0..truth.count), rng.usize(0..truth.count));
                if one != other {
                    network.links.cut(one, other);
                    truth.cut.insert((one.min(other), one.max(other)));
                }
            }
            format!("links are cut: {:?}", truth.cut)
        }
        3 => {
            let side = rng.usize(1..truth.count);
            for one in 0..side {
                for other in side..truth.count {
                    network.links.cut(one, other);
                    truth.cut.insert((one, other));
                }
            }
            format!("0..{side} are apart from the others")
        }
        4 => {
            network.links.wall(node);
            truth.walled.insert(node);
            format!("{node} can only call")
        }
        5 => {
            network.links.deafen(node);
            truth.deaf.insert(node);
            format!("{node} can only be called")
        }
        _ => {
            network.links.lose(10);
            "one message of ten is lost".to_owned()
        }
    }
}

fn heal(network: &mut Network, truth: &mut Truth) {
    network.links.mend();
    network.links.lose(0);
    for node in std::mem::take(&mut truth.dead) {
        let disk = truth.disks[node].take().expect("kept when it died");
        network.boot(node, node, disk);
    }
    truth.cut.clear();
    truth.walled.clear();
    truth.deaf.clear();
    truth.frozen.clear();
    truth.since_ms = network.now_ms;
}

/// Whether no viewer is wrong now.
fn is_right(network: &Network, truth: &Truth, ever_whole: bool) -> bool {
    let settled = network.now_ms - truth.since_ms > HEARD_MS;
    (0..truth.count).filter(|&viewer| truth.lives(viewer)).all(|viewer| {
        let joined = truth.joined(viewer);
        (0..truth.count).filter(|target| *target != viewer).all(|target| {
            let down = standing(network, viewer, target) == Standing::Down;
            let right = if joined.contains(&target) {
                // What was apart before may take a moment to be heard of.
                !down || (!ever_whole && !settled)
            } else {
                // A minority decides nothing of those who live elsewhere.
                !down
                    || truth.dead.contains(&target)
                    || truth.frozen.contains(&target)
                    || joined.len() * 2 > truth.count
            };
            if !right {
                eprintln!("{viewer} calls {target} down, wrongly");
            }
            right
        })
    })
}

/// Everyone who can tell says so of the dead.
fn is_told(network: &Network, truth: &Truth) -> bool {
    let silent: Vec<usize> = truth.dead.iter().chain(&truth.frozen).copied().collect();
    (0..truth.count).filter(|&viewer| truth.lives(viewer)).all(|viewer| {
        let told = silent.iter().map(|&target| standing(network, viewer, target));
        let can_tell = truth.joined(viewer).len() * 2 > truth.count && truth.joined(viewer).len() > 2;
        told.into_iter()
            .all(|standing| if can_tell { standing == Standing::Down } else { standing != Standing::Up })
    })
}

fn run(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let count = rng.usize(3..=7);
    let mut network = settled(count, seed);
    network.links.slow(rng.u64(1..40));
    let mut truth = Truth {
        count,
        dead: BTreeSet::new(),
        frozen: BTreeSet::new(),
        disks: vec![None; count],
        cut: BTreeSet::new(),
        walled: BTreeSet::new(),
        deaf: BTreeSet::new(),
        since_ms: 0,
    };
    for _ in 0..3 {
        let what = strike(&mut network, &mut truth, &mut rng);
        let what = format!("seed {seed}, {count} nodes: {what}");
        network.run_checking(BOUND_MS, &what, |network| is_right(network, &truth, true));
        let lossy = truth.cut.is_empty() && truth.walled.is_empty() && truth.deaf.is_empty();
        if lossy && !(truth.dead.is_empty() && truth.frozen.is_empty()) {
            assert!(is_told(&network, &truth), "{what}: not told in time");
        }
        network.run_checking(FAULT_MS - BOUND_MS, &what, |network| is_right(network, &truth, true));
        heal(&mut network, &mut truth);
        let what = format!("{what}, and healed");
        network.run_checking(PEACE_MS, &what, |network| is_right(network, &truth, false));
        for viewer in 0..count {
            for target in 0..count {
                assert_eq!(standing(&network, viewer, target), Standing::Up, "{what}: {viewer} of {target}");
            }
        }
    }
}

#[test]
fn no_wrong_verdict_under_random_faults() {
    if let Ok(seed) = std::env::var("DISTOMON_SEED") {
        return run(seed.parse().expect("DISTOMON_SEED is a number"));
    }
    let scenarios = std::env::var("DISTOMON_SCENARIOS").ok().and_then(|text| text.parse().ok());
    for seed in 1..=scenarios.unwrap_or(SCENARIOS) {
        run(seed);
    }
}
