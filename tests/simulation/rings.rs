//! Networks in which each node is observed by some.

use std::collections::BTreeSet;

use crate::network::{Network, settled_in_rings};
use crate::{sample, seeds};
use distomon::mesh::verdict::NodeStatus;
use distomon::mesh::wire::observation::ProbeStatus;

const COUNT: usize = 40;
const NODES: u32 = 40;
const RINGS: u32 = 6;

fn concludes(network: &Network, viewer: usize, target: usize) -> NodeStatus {
    network.machine(viewer).snapshot.verdicts().nodes[target].status
}

/// Whether all that run say so of `target`.
fn agree(network: &Network, target: usize, status: NodeStatus) -> bool {
    network.running().all(|(viewer, _)| concludes(network, viewer, target) == status)
}

fn all_up(network: &Network) -> bool {
    network.running().all(|(target, _)| agree(network, target, NodeStatus::Up))
}

#[test]
fn each_is_probed_and_told_of_by_its_observers_only() {
    for seed in seeds() {
        let mut network = settled_in_rings(RINGS, sample::members(COUNT), seed);
        assert!(all_up(&network));
        let before = network.traffic.probes;
        network.run(10_000);
        let probes = network.traffic.probes - before;
        let most = 10 * NODES * RINGS;
        assert!(probes <= most + most / 9 && probes > most / 2, "{probes} probes in 10 s");
        let membership = network.machine(0).snapshot.membership().clone();
        for (viewer, machine) in network.running() {
            let own = machine.snapshot.own_report().expect("it reports");
            let told: BTreeSet<_> = own.report().observations.iter().map(|(id, _)| id.clone()).collect();
            let meant = (0..COUNT).filter(|&target| membership.observes(viewer, target)).map(sample::node_id);
            assert_eq!(told, meant.collect());
        }
    }
}

#[test]
fn a_killed_node_is_down_for_everybody_by_the_votes_of_its_observers() {
    for seed in seeds() {
        let mut network = settled_in_rings(RINGS, sample::members(COUNT), seed);
        let disk = network.kill(0);
        network.wait(3_800, "down for all", |network| agree(network, 0, NodeStatus::Down));
        let vote_count = network.machine(20).snapshot.verdicts().nodes[0].vote_count.clone();
        let observers: Vec<_> = network.machine(20).snapshot.membership().observers(0).collect();
        assert_eq!(vote_count.votes.iter().map(|vote| vote.voter).collect::<Vec<_>>(), observers);
        assert!(vote_count.electorate <= RINGS as usize);
        network.run_checking(5_000, "nobody else is", |network| {
            (1..COUNT).all(|target| !agree(network, target, NodeStatus::Down))
        });
        network.boot(0, 0, disk);
        network.wait(4_500, "up again", all_up);
    }
}

#[test]
fn a_partition_of_rings_is_decided_by_its_greater_side_only() {
    for seed in seeds() {
        let mut network = settled_in_rings(RINGS, sample::members(COUNT), seed);
        let side = 16;
        for one in 0..side {
            for other in side..COUNT {
                network.links.cut(one, other);
            }
        }
        network.run_checking(15_000, "the smaller side calls nobody down", |network| {
            (0..side)
                .all(|viewer| (0..COUNT).all(|target| concludes(network, viewer, target) != NodeStatus::Down))
        });
        for viewer in side..COUNT {
            for target in 0..COUNT {
                // Whom most of its observers on this side cannot outvote is left undecided, never wrong.
                let said = concludes(&network, viewer, target);
                assert_eq!(said.is_alive(), target >= side, "{viewer} says {said} of {target}");
            }
        }
        network.links.mend();
        network.wait(8_000, "all is well again", all_up);
    }
}

#[test]
fn in_rings_too_those_who_only_call_out_are_known_by_whom_they_call() {
    for seed in seeds() {
        let mut members = sample::members(COUNT);
        for member in members.iter_mut().step_by(4) {
            member.url = None;
        }
        let mut network = settled_in_rings(RINGS, members, seed);
        assert!(all_up(&network));
        let callees: Vec<_> = network.machine(0).snapshot.membership().observers(0).collect();
        assert!(callees.iter().all(|&observer| network.finds(observer, 0) == ProbeStatus::Online));
        network.kill(0);
        network.wait(9_000, "down for all", |network| agree(network, 0, NodeStatus::Down));
    }
}
