//! A change of the configuration comes to one node after another, with pauses in between, in an order that
//! the seed draws: whoever is not part of it must not notice.

use crate::machine::{Clock, Disk, Machine, Wire};
use crate::network::{Network, tracked};
use crate::truth::Nodes;
use crate::{sample, seeds};
use distomon::mesh::Event;
use distomon::mesh::engine::event::Notice;
use distomon::mesh::id::NodeId;
use distomon::mesh::membership::{Member, ObserverPolicy};
use distomon::mesh::verdict::NodeStatus;
use distomon::mesh::wire::observation::ProbeStatus;
use distomon::present::journal::notice_text;

/// The longest pause between two nodes, in ms.
pub(crate) const PAUSE_MS: u64 = 4_000;

/// A network in which the configuration changes.
pub(crate) struct Rollout {
    pub(crate) network: Network,
    /// Those whom the change is about: they may be unknown or degraded, but not down.
    pub(crate) subjects: Nodes,
    /// Those that do not live, or that no path joins to the others.
    pub(crate) lost: Nodes,
    pub(crate) rng: fastrand::Rng,
}

impl Rollout {
    fn new(network: Network, subjects: &[usize], seed: u64) -> Self {
        let subjects = subjects.iter().copied().fold(Nodes::default(), Nodes::with);
        Self { network, subjects, lost: Nodes::default(), rng: fastrand::Rng::with_seed(seed) }
    }

    /// Of five that have tracked.
    fn of_five(subjects: &[usize], seed: u64) -> Self {
        Self::new(tracked(5, seed), subjects, seed)
    }

    /// Of so many that their signatures would take too long.
    pub(crate) fn of_many(members: Vec<Member>, subjects: &[usize], seed: u64) -> Self {
        let clocks = vec![Clock::default(); members.len()];
        let mut network = Network::start_all(Wire::Values, ObserverPolicy::All, members, &clocks, seed);
        network.wait(8_000, "all up", all_up);
        network.run(2_000);
        Self::new(network, subjects, seed)
    }

    /// Hands the configuration as it now is to each machine that runs.
    fn reach_all(&mut self) {
        let nodes: Vec<_> =
            self.network.running().map(|(index, machine)| (index, number(machine.id()))).collect();
        self.reach(nodes);
    }

    /// Hands the configuration as it now is to these machines, which run these nodes.
    pub(crate) fn reach(&mut self, mut nodes: Vec<(usize, usize)>) {
        self.rng.shuffle(&mut nodes);
        for (machine, node) in nodes {
            self.network.reconfigure(machine, node);
            let pause_ms = self.rng.u64(0..PAUSE_MS);
            self.pass(pause_ms);
        }
    }

    fn set_rates(&mut self, poll_rate_ms: u64, timeout_ms: u64, retry: u32) {
        for member in &mut self.network.members {
            (member.poll_rate_ms, member.timeout_ms, member.retry) = (poll_rate_ms, timeout_ms, retry);
        }
    }

    /// These nodes in a drawn order, in two parts: who gets a new configuration before something
    /// happens, and who does after it.
    pub(crate) fn halves(&mut self, nodes: impl Iterator<Item = usize>) -> [Vec<(usize, usize)>; 2] {
        let mut early: Vec<_> = nodes.map(|node| (node, node)).collect();
        self.rng.shuffle(&mut early);
        let later = early.split_off(self.rng.usize(0..=early.len()));
        [early, later]
    }

    /// Lets time pass and looks on.
    pub(crate) fn pass(&mut self, for_ms: u64) {
        let (subjects, lost) = (self.subjects, self.lost);
        self.network.run_checking(for_ms, "something is wrong", |network| {
            let wrong = find_wrong(network, subjects, lost);
            wrong.inspect(|wrong| eprintln!("{wrong}")).is_none()
        });
    }

    /// All nodes agree that all are up, and nobody was told of anybody who is not part of the change.
    fn ends_well(&mut self) {
        self.network.wait(6_000, "all up for all", all_up);
        self.subjects = Nodes::default();
        self.pass(4_000);
    }

    /// What those who are not part of the change told their operators of each other.
    fn has_no_news(&self) {
        for (_, machine) in self.network.running() {
            let untouched = |id: &NodeId| !self.subjects.has(number(id));
            if !untouched(machine.id()) {
                continue;
            }
            // At its start, a node comes to know what it did not.
            let news = machine.notes.iter().find(|note| match note {
                Notice::PeerStatusChanged { peer, from, .. } => {
                    untouched(peer) && *from != ProbeStatus::Unknown
                }
                Notice::VerdictChanged(change) => {
                    let was_known = change
                        .from
                        .is_some_and(|from| !matches!(from, NodeStatus::NeverSeen | NodeStatus::Unknown));
                    untouched(&change.node) && was_known
                }
                _ => true,
            });
            assert!(
                news.is_none(),
                "{} told its operator: {}",
                machine.id(),
                notice_text(news.expect("news"))
            );
        }
    }
}

pub(crate) fn number(id: &NodeId) -> usize {
    id.as_str()["node-".len()..].parse().expect("a node's name ends with its number")
}

/// What is wrong by the verdicts of anybody.
fn find_wrong(network: &Network, subjects: Nodes, lost: Nodes) -> Option<String> {
    network.running().find_map(|(index, machine)| {
        let viewer = number(machine.id());
        let looks = !lost.has(viewer) && network.turns(index);
        looks.then(|| find_wrong_of(network, machine, viewer, subjects, lost))?
    })
}

fn find_wrong_of(
    network: &Network,
    machine: &Machine,
    viewer: usize,
    subjects: Nodes,
    lost: Nodes,
) -> Option<String> {
    let snapshot = &machine.snapshot;
    let numbers: Vec<_> = snapshot.members().map(|(member, _)| number(&member.id)).collect();
    let spared = |node: usize| subjects.has(node) || lost.has(node);
    for (&target, verdict) in numbers.iter().zip(&snapshot.verdicts().nodes) {
        let status = verdict.status;
        let is_wrong = match status {
            NodeStatus::Down => !lost.has(target) && knows_key(network, machine, target),
            NodeStatus::Up => !verdict.causes.is_empty() && !spared(viewer) && !spared(target),
            _ => !spared(viewer) && !spared(target),
        };
        if is_wrong {
            return Some(format!("{viewer} says that {target} is {status} {:?}", verdict.causes));
        }
    }
    let links = &snapshot.verdicts().links;
    let link = links.iter().find(|link| !spared(numbers[link.from]) && !spared(numbers[link.to]));
    let link = link.filter(|_| !spared(viewer));
    link.map(|link| format!("{viewer} names the link {} {}", numbers[link.from], numbers[link.to]))
}

/// Whether what the process of `target` signs counts on `machine`: where it does not, no sign of life of it
/// can.
fn knows_key(network: &Network, machine: &Machine, target: usize) -> bool {
    let member = machine.snapshot.membership().member(sample::node_id(target).as_str());
    member.is_some_and(|member| member.keys.contains(network.key(target).public()))
}

/// Whether all that run have one configuration, and find all of it up.
fn all_up(network: &Network) -> bool {
    let digest = network.running().next().expect("some run").1.snapshot.membership().digest().to_owned();
    network.running().all(|(_, machine)| {
        let verdicts = machine.snapshot.verdicts();
        machine.snapshot.membership().digest() == digest
            && verdicts.nodes.iter().all(|verdict| verdict.status == NodeStatus::Up)
            && verdicts.links.is_empty()
    })
}

#[test]
fn nodes_are_added() {
    for (seed, count) in seeds().into_iter().flat_map(|seed| [(seed, 1), (seed, 3)]) {
        let new: Vec<_> = (5..5 + count).collect();
        let mut rollout = Rollout::of_five(&new, seed);
        let [early, later] = rollout.halves(0..5);
        for _ in &new {
            rollout.network.add_member();
        }
        rollout.reach(early);
        for &node in &new {
            rollout.network.boot(node, node, Disk::default());
        }
        rollout.reach(later);
        rollout.network.wait(8_000, "all up for all", all_up);
        rollout.has_no_news();
        rollout.ends_well();
    }
}

#[test]
fn nodes_are_removed_that_live_for_a_while_or_are_dead() {
    for (seed, count) in seeds().into_iter().flat_map(|seed| [(seed, 1), (seed, 2)]) {
        for dead in [false, true] {
            let gone: Vec<_> = (7 - count..7).collect();
            let mut rollout = Rollout::new(tracked(7, seed), &gone, seed);
            if dead {
                for &node in &gone {
                    rollout.lost = rollout.lost.with(node);
                    rollout.network.kill(node);
                }
                rollout.pass(6_000);
            }
            rollout.network.members.truncate(7 - count);
            rollout.reach((0..7 - count).map(|node| (node, node)).collect());
            rollout.pass(3_000);
            for &node in gone.iter().filter(|_| !dead) {
                rollout.network.kill(node);
            }
            rollout.has_no_news();
            rollout.ends_well();
        }
    }
}

#[test]
fn a_key_is_rotated() {
    for seed in seeds() {
        let mut rollout = Rollout::of_five(&[], seed);
        let new = sample::keypair(99).public().clone();
        rollout.network.members[2].keys.push(new.clone());
        rollout.reach_all();
        rollout.has_no_news();
        // Its process is started anew with the other key, which it names first.
        rollout.subjects = Nodes::one(2);
        rollout.network.tell(2, Event::Leaving);
        rollout.pass(300);
        let disk = rollout.network.kill(2);
        rollout.network.keys.insert(2, 99);
        rollout.network.boot(2, 2, disk);
        rollout.pass(4_000);
        rollout.has_no_news();
        rollout.network.members[2].keys = vec![new];
        rollout.reach_all();
        rollout.has_no_news();
        rollout.ends_well();
    }
}

#[test]
fn a_key_is_replaced_at_once() {
    for seed in seeds() {
        for keep in [true, false] {
            let mut rollout = Rollout::of_five(&[2], seed);
            rollout.network.members[2].keys = vec![sample::keypair(99).public().clone()];
            rollout.network.keys.insert(2, 99);
            let [early, later] = rollout.halves([0, 1, 3, 4].into_iter());
            rollout.reach(early);
            let disk = rollout.network.kill(2);
            rollout.network.boot(2, 2, if keep { disk } else { Disk::default() });
            rollout.pass(PAUSE_MS);
            rollout.reach(later);
            rollout.network.wait(8_000, "all up for all", all_up);
            rollout.has_no_news();
            rollout.ends_well();
        }
    }
}

#[test]
fn rings_come_and_go() {
    for (seed, count) in seeds().into_iter().zip([12, 16].into_iter().cycle()) {
        let mut rollout = Rollout::of_many(sample::members(count), &[], seed);
        for observers in [ObserverPolicy::Rings(4), ObserverPolicy::Rings(6), ObserverPolicy::All] {
            rollout.network.observers = observers;
            rollout.reach_all();
            rollout.has_no_news();
            rollout.ends_well();
        }
    }
}

#[test]
fn rates_timeouts_and_retries_change() {
    for seed in seeds() {
        let mut rollout = Rollout::of_five(&[], seed);
        // Who reports half as often as another expects is alive for it all the same.
        for (poll_rate_ms, timeout_ms, retry) in [(2_000, 2_000, 1), (1_000, 500, 0), (500, 1_000, 2)] {
            rollout.set_rates(poll_rate_ms, timeout_ms, retry);
            rollout.reach_all();
            rollout.has_no_news();
        }
        rollout.ends_well();
    }
}

#[test]
fn who_reports_far_less_often_than_expected_is_unknown_at_worst() {
    for seed in seeds() {
        let mut rollout = Rollout::of_five(&[0, 1, 2, 3, 4], seed);
        for poll_rate_ms in [10_000, 250, 1_000] {
            rollout.set_rates(poll_rate_ms, 1_000, 2);
            rollout.reach_all();
        }
        rollout.ends_well();
    }
}

#[test]
fn a_node_moves() {
    for seed in seeds() {
        let mut rollout = Rollout::of_five(&[1], seed);
        rollout.network.move_member(1, 5);
        let [early, later] = rollout.halves([0, 2, 3, 4].into_iter());
        rollout.reach(early);
        let disk = rollout.network.kill(1);
        rollout.network.boot(5, 1, disk);
        rollout.pass(PAUSE_MS);
        rollout.reach(later);
        rollout.has_no_news();
        rollout.ends_well();
    }
}

#[test]
fn in_rings_those_who_only_call_out_are_not_missed_for_long() {
    for seed in seeds() {
        let mut members = sample::members(12);
        (members[3].url, members[8].url) = (None, None);
        let mut rollout = Rollout::of_many(members, &[3, 8], seed);
        for observers in [ObserverPolicy::Rings(4), ObserverPolicy::All] {
            rollout.network.observers = observers;
            rollout.reach_all();
            rollout.pass(6_000);
            rollout.has_no_news();
            assert!(all_up(&rollout.network), "{}", rollout.network.describe());
        }
    }
}

#[test]
fn whom_nobody_observed_for_a_while_is_unknown_until_looked_at() {
    for seed in seeds() {
        let mut rollout = Rollout::of_many(sample::members(12), &[], seed);
        let disk = rollout.network.kill(0);
        rollout.lost = Nodes::one(0);
        rollout.pass(6_000);
        rollout.network.observers = ObserverPolicy::Rings(3);
        rollout.reach_all();
        rollout.network.boot(0, 0, disk);
        rollout.network.wait(8_000, "up again", all_up);
        rollout.lost = Nodes::default();
        rollout.network.observers = ObserverPolicy::All;
        rollout.reach_all();
        rollout.ends_well();
    }
}
