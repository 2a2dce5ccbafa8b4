//! Configuration changes while the network runs.

use crate::byzantine::Misbehavior;
use crate::network::setup::converged;
use crate::network::{Network, Setup};
use crate::virtual_host::Disk;
use crate::{fixtures, seeds};
use distomon::mesh::engine::event::Notice;
use distomon::mesh::verdict::{Abstention, NodeStatus, VoteCount};
use distomon::mesh::wire::observation::ProbeStatus;

fn vote_count(network: &Network, viewer: usize, target: usize) -> &VoteCount {
    &network.host(viewer).snapshot.verdicts().nodes[target].vote_count
}

/// Whether all nodes below `count` find each other up.
fn all_up(network: &Network, count: usize) -> bool {
    (0..count).all(|viewer| (0..count).all(|target| network.verdict(viewer, target) == NodeStatus::Up))
}

/// Applies the current configuration to `nodes`.
fn reconfigure(network: &mut Network, nodes: impl IntoIterator<Item = usize>) {
    nodes.into_iter().for_each(|node| network.reconfigure(node, node));
}

#[test]
fn adding_a_member_keeps_the_status_of_the_others() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        let epoch = network.host(0).snapshot.own_report().expect("each node reports").id().epoch;
        network.add_member();
        network.boot(4, 4, Disk::default());
        for index in 0..4 {
            network.reconfigure(index, index);
            let known = (0..4).filter(|peer| *peer != index);
            assert!(known.clone().all(|peer| network.probe_status(index, peer) == ProbeStatus::Online));
            network.run(700);
        }
        network.run_until(4_000, "all five are online", Network::is_converged);
        assert_eq!(network.host(0).snapshot.own_report().expect("each node reports").id().epoch, epoch);
    }
}

#[test]
fn a_removed_member_disappears_from_reports() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.members.pop();
        for index in 0..3 {
            network.reconfigure(index, index);
        }
        network.run(3_000);
        for index in 0..3 {
            let host = network.host(index);
            assert_eq!(host.snapshot.states().len(), 3);
            assert!(host.observation(&fixtures::node_id(3)).is_none(), "reported although removed");
        }
        // The removed node still calls the others.
        network.kill(3);
        assert!(network.is_converged());
    }
}

#[test]
fn replacing_a_key_resets_the_status_of_the_node() {
    for seed in seeds() {
        let mut network = converged(3, seed);
        network.kill(2);
        network.run(5_000);
        network.members[2].keys = vec![fixtures::keypair(99).public().clone()];
        for index in 0..2 {
            network.reconfigure(index, index);
            // Reports are at least 100 ms apart.
            network.run(120);
            let host = network.host(index);
            assert!(host.latest(&fixtures::node_id(2)).is_none(), "has a report with a removed key");
            assert_eq!(network.probe_status(index, 2), ProbeStatus::Unknown);
        }
    }
}

#[test]
fn adding_a_key_keeps_the_status_of_the_node() {
    for seed in seeds() {
        let mut network = converged(3, seed);
        network.members[2].keys.push(fixtures::keypair(99).public().clone());
        for index in 0..3 {
            network.reconfigure(index, index);
        }
        network.run_asserting(5_000, "stays converged", Network::is_converged);
    }
}

#[test]
fn a_shorter_poll_rate_applies_immediately() {
    for seed in seeds() {
        let mut members = fixtures::members(2);
        members[1].poll_rate_ms = 3_600_000;
        let mut network = Setup::new(members, seed).start();
        network.run(3_000);
        network.members[1].poll_rate_ms = 1_000;
        network.reconfigure(0, 0);
        network.reconfigure(1, 1);
        network.kill(1);
        network.run_until(3_500, "offline at the new rate", |network| {
            network.probe_status(0, 1) == ProbeStatus::Offline
        });
    }
}

#[test]
fn a_removed_member_has_no_vote_until_it_is_added_again() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        assert_eq!((vote_count(&network, 0, 1).electorate, vote_count(&network, 0, 1).online), (4, 4));
        let removed = network.members.pop().expect("five members");
        reconfigure(&mut network, 0..4);
        network.run_asserting(200, "the removed node is not in the electorate", |network| {
            (0..4).all(|viewer| {
                let vote_counts = (0..4).map(|target| vote_count(network, viewer, target));
                vote_counts
                    .into_iter()
                    .all(|vote_count| vote_count.electorate == 3 && vote_count.votes.len() <= 3)
            })
        });
        // It still calls: no report of it is accepted, and it finds no node down.
        let requests: Vec<_> = (0..4).map(|node| network.host(node).snapshot.counters().requests).collect();
        network.links.cut(0, 1);
        network.run_asserting(15_000, "the removed node finds no node down", |network| {
            (0..4).all(|target| network.verdict(4, target) != NodeStatus::Down)
        });
        assert!((0..4).all(|target| network.verdict(4, target) == NodeStatus::Unknown));
        network.links.reset();
        for (node, before) in requests.into_iter().enumerate() {
            let host = network.host(node);
            assert!(host.latest(&fixtures::node_id(4)).is_none());
            assert!(host.snapshot.counters().requests > before, "the removed node still calls");
            assert_eq!(host.received.rejected, 0);
        }
        // The same process is added again.
        network.members.push(removed);
        reconfigure(&mut network, 0..5);
        network.run_until(6_000, "it votes again", |network| {
            (0..5).all(|viewer| {
                (0..5).all(|target| {
                    network.verdict(viewer, target) == NodeStatus::Up
                        && vote_count(network, viewer, target).electorate == 4
                        && vote_count(network, viewer, target).online == 4
                })
            })
        });
        // It is removed, and a new process is added.
        network.members.pop();
        reconfigure(&mut network, 0..4);
        let disk = network.kill(4);
        network.run(5_000);
        network.add_member();
        reconfigure(&mut network, 0..4);
        network.boot(4, 4, disk);
        network.run_until(6_000, "up again", |network| all_up(network, 5));
    }
}

#[test]
fn votes_of_removed_members_do_not_count() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        // Nodes 3 and 4 report node 2 offline although it is not.
        network.set_misbehavior(3, Misbehavior::ReportOffline(2), true);
        network.set_misbehavior(4, Misbehavior::ReportOffline(2), true);
        network.run_until(3_000, "their votes count", |network| {
            (0..2).all(|viewer| network.verdict(viewer, 2) == NodeStatus::Degraded)
        });
        network.members.truncate(3);
        reconfigure(&mut network, 0..3);
        network.run(100);
        for viewer in 0..3 {
            assert_eq!(network.verdict(viewer, 2), NodeStatus::Up);
            assert_eq!(vote_count(&network, viewer, 2).offline, 0);
        }
    }
}

/// A network of `count` nodes in which node 1 has the key of node 0 if `shared`.
fn with_shared_key(count: usize, shared: bool, seed: u64) -> Network {
    let mut network = converged(count, seed);
    if shared {
        network.keys.insert(1, 0);
        network.members[1].keys = vec![fixtures::keypair(0).public().clone()];
        let disk = network.kill(1);
        network.boot(1, 1, disk);
        reconfigure(&mut network, (0..count).filter(|&node| node != 1));
        network.run_until(6_000, "all are up", |network| all_up(network, count));
        network.run(2_000);
    }
    network
}

#[test]
fn two_nodes_with_one_key_have_one_vote() {
    for (seed, shared) in seeds().into_iter().flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut network = with_shared_key(5, shared, seed);
        network.links.cut(0, 3);
        network.links.cut(1, 3);
        network.run(6_000);
        for viewer in 0..5 {
            let vote_count = vote_count(&network, viewer, 3);
            let expected = if shared { (3, 1, NodeStatus::Up) } else { (4, 2, NodeStatus::Degraded) };
            assert_eq!((vote_count.electorate, vote_count.offline, network.verdict(viewer, 3)), expected);
            let abstentions =
                vote_count.votes.iter().filter(|vote| vote.abstains == Some(Abstention::SameKey));
            assert_eq!(abstentions.count(), usize::from(shared));
            // The two have no vote about each other.
            let electorate = if shared { 3 } else { 4 };
            assert_eq!(self::vote_count(&network, viewer, 0).electorate, electorate, "about node 0");
        }
    }
}

#[test]
fn two_nodes_with_one_key_are_not_a_quorum() {
    for (seed, shared) in seeds().into_iter().flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut network = with_shared_key(4, shared, seed);
        // The only other voter reports the crashed node online.
        network.set_misbehavior(2, Misbehavior::ReportAllOnline, true);
        network.kill(3);
        if shared {
            network.run_asserting(15_000, "one key is not a quorum", |network| {
                (0..3).all(|viewer| network.verdict(viewer, 3) != NodeStatus::Down)
            });
            assert!((0..2).all(|viewer| network.verdict(viewer, 3) == NodeStatus::Unknown));
        } else {
            network.run_until(8_000, "two keys are a quorum", |network| {
                (0..2).all(|viewer| network.verdict(viewer, 3) == NodeStatus::Down)
            });
        }
    }
}

/// The nodes whose configuration differs, as `viewer` shows.
fn mismatches(network: &Network, viewer: usize) -> Vec<usize> {
    let snapshot = &network.host(viewer).snapshot;
    (0..snapshot.states().len()).filter(|&index| snapshot.config_differs(index)).collect()
}

#[test]
fn a_config_mismatch_is_shown_immediately_and_logged_after_a_minute() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        let logged = |network: &Network, viewer: usize| {
            let mismatched =
                network.count_notices(viewer, |notice| matches!(notice, Notice::ConfigMismatch { .. }));
            (mismatched, network.count_notices(viewer, |notice| *notice == Notice::ConfigMatch))
        };
        network.run_asserting(2_000, "no mismatch", |network| {
            (0..4).all(|viewer| mismatches(network, viewer).is_empty())
        });
        network.members[3].keys.push(fixtures::keypair(99).public().clone());
        reconfigure(&mut network, [0, 1]);
        network.run_until(2_500, "the mismatch is shown", |network| {
            (0..4).all(|viewer| mismatches(network, viewer) == [[2, 3], [0, 1]][usize::from(viewer >= 2)])
        });
        network.run(55_000);
        assert!((0..4).all(|viewer| logged(&network, viewer) == (0, 0)), "logged in the first minute");
        network.run(10_000);
        assert!((0..4).all(|viewer| logged(&network, viewer) == (1, 0)));
        reconfigure(&mut network, [2]);
        network.run_until(2_500, "only node 3 mismatches", |network| {
            (0..4)
                .all(|viewer| mismatches(network, viewer) == [&[3][..], &[0, 1, 2]][usize::from(viewer == 3)])
        });
        reconfigure(&mut network, [3]);
        network.run_until(2_500, "no mismatch", |network| {
            (0..4).all(|viewer| mismatches(network, viewer).is_empty())
        });
        network.run(2_000);
        assert!((0..4).all(|viewer| logged(&network, viewer) == (1, 1)));
        // The configuration of a dead node is old, which is no mismatch.
        network.kill(3);
        network.run(5_000);
        network.members[3].keys.pop();
        reconfigure(&mut network, 0..3);
        network.run(70_000);
        assert!((0..3).all(|viewer| logged(&network, viewer) == (1, 1)));
    }
}
