//! Networks in which each node has a few observers, in rings.

use std::collections::BTreeSet;

use crate::network::Network;
use crate::network::setup::converged_in_rings;
use crate::{fixtures, seeds};
use distomon::mesh::verdict::NodeStatus;
use distomon::mesh::wire::observation::ProbeStatus;

const COUNT: usize = 40;
const NODES: u32 = 40;
const RINGS: u32 = 6;

/// Whether all running nodes have this verdict on `target`.
fn agree(network: &Network, target: usize, status: NodeStatus) -> bool {
    network.running().all(|(viewer, _)| network.verdict(viewer, target) == status)
}

/// Whether all running nodes find all running nodes up.
fn all_up(network: &Network) -> bool {
    network.running().all(|(target, _)| agree(network, target, NodeStatus::Up))
}

#[test]
fn only_its_observers_probe_and_report_a_node() {
    for seed in seeds() {
        let mut network = converged_in_rings(RINGS, fixtures::members(COUNT), seed);
        assert!(all_up(&network));
        let before = network.traffic.probes;
        network.run(10_000);
        let probes = network.traffic.probes - before;
        let most = 10 * NODES * RINGS;
        assert!(probes <= most + most / 9 && probes > most / 2, "{probes} probes in 10 s");
        let membership = network.host(0).snapshot.membership().clone();
        for (viewer, host) in network.running() {
            let own = host.snapshot.own_report().expect("each node reports");
            let reported: BTreeSet<_> = own.report().observations.iter().map(|(id, _)| id.clone()).collect();
            let observed =
                (0..COUNT).filter(|&target| membership.observes(viewer, target)).map(fixtures::node_id);
            assert_eq!(reported, observed.collect());
        }
    }
}

#[test]
fn the_votes_of_its_observers_make_a_crashed_node_down_for_all() {
    for seed in seeds() {
        let mut network = converged_in_rings(RINGS, fixtures::members(COUNT), seed);
        let disk = network.kill(0);
        network.run_until(3_800, "down for all", |network| agree(network, 0, NodeStatus::Down));
        let vote_count = network.host(20).snapshot.verdicts().nodes[0].vote_count.clone();
        let observers: Vec<_> = network.host(20).snapshot.membership().observers(0).collect();
        assert_eq!(vote_count.votes.iter().map(|vote| vote.voter).collect::<Vec<_>>(), observers);
        assert!(vote_count.electorate <= RINGS as usize);
        network.run_asserting(5_000, "no other node is down", |network| {
            (1..COUNT).all(|target| !agree(network, target, NodeStatus::Down))
        });
        network.boot(0, 0, disk);
        network.run_until(4_500, "up again", all_up);
    }
}

#[test]
fn only_the_larger_side_of_a_partition_finds_nodes_down() {
    for seed in seeds() {
        let mut network = converged_in_rings(RINGS, fixtures::members(COUNT), seed);
        let side = 16;
        for one in 0..side {
            for other in side..COUNT {
                network.links.cut(one, other);
            }
        }
        network.run_asserting(15_000, "the smaller side finds no node down", |network| {
            (0..side)
                .all(|viewer| (0..COUNT).all(|target| network.verdict(viewer, target) != NodeStatus::Down))
        });
        for viewer in side..COUNT {
            for target in 0..COUNT {
                // Nodes whose observers are mostly on the other side are unknown, never wrong.
                let status = network.verdict(viewer, target);
                assert_eq!(status.is_alive(), target >= side, "{viewer} finds {target} {status}");
            }
        }
        network.links.reset();
        network.run_until(8_000, "all are up again", all_up);
    }
}

#[test]
fn the_observers_of_an_outbound_only_node_are_the_nodes_that_it_calls() {
    for seed in seeds() {
        let mut members = fixtures::members(COUNT);
        for member in members.iter_mut().step_by(4) {
            member.url = None;
        }
        let mut network = converged_in_rings(RINGS, members, seed);
        assert!(all_up(&network));
        let observers: Vec<_> = network.host(0).snapshot.membership().observers(0).collect();
        assert!(observers.iter().all(|&observer| network.probe_status(observer, 0) == ProbeStatus::Online));
        network.kill(0);
        network.run_until(9_000, "down for all", |network| agree(network, 0, NodeStatus::Down));
    }
}
