//! A configuration that changes while the network runs.

use crate::liar::Lie;
use crate::machine::Disk;
use crate::network::{Network, tracked};
use crate::{sample, seeds};
use distomon::mesh::engine::event::Notice;
use distomon::mesh::verdict::{Abstention, NodeStatus, VoteCount};
use distomon::mesh::wire::observation::ProbeStatus;

fn vote_count(network: &Network, viewer: usize, target: usize) -> &VoteCount {
    &network.machine(viewer).snapshot.verdicts().nodes[target].vote_count
}

fn concludes(network: &Network, viewer: usize, target: usize) -> NodeStatus {
    network.machine(viewer).snapshot.verdicts().nodes[target].status
}

/// Hands the configuration as it now is to all of `nodes`.
fn reconfigure(network: &mut Network, nodes: impl IntoIterator<Item = usize>) {
    nodes.into_iter().for_each(|node| network.reconfigure(node, node));
}

#[test]
fn a_new_member_joins_and_what_is_known_stays() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        let epoch = network.machine(0).snapshot.own_report().expect("it reports").id().epoch;
        network.add_member();
        network.boot(4, 4, Disk::default());
        for index in 0..4 {
            network.reconfigure(index, index);
            let known = (0..4).filter(|peer| *peer != index);
            assert!(known.clone().all(|peer| network.finds(index, peer) == ProbeStatus::Online));
            network.run(700);
        }
        network.wait(4_000, "five are whole", Network::is_whole);
        assert_eq!(network.machine(0).snapshot.own_report().expect("it reports").id().epoch, epoch);
    }
}

#[test]
fn a_removed_member_is_forgotten() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        network.members.pop();
        for index in 0..3 {
            network.reconfigure(index, index);
        }
        network.run(3_000);
        for index in 0..3 {
            let machine = network.machine(index);
            assert_eq!(machine.snapshot.states().len(), 3);
            assert!(machine.finds(&sample::node_id(3)).is_none(), "its report leaves it out");
        }
        // The removed one goes on calling and is refused.
        network.kill(3);
        assert!(network.is_whole());
    }
}

#[test]
fn another_key_is_another_identity() {
    for seed in seeds() {
        let mut network = tracked(3, seed);
        network.kill(2);
        network.run(5_000);
        network.members[2].keys = vec![sample::keypair(99).public().clone()];
        for index in 0..2 {
            network.reconfigure(index, index);
            // Its next report may have to wait 100 ms for the one before.
            network.run(120);
            let machine = network.machine(index);
            assert!(machine.holds(&sample::node_id(2)).is_none(), "signed by a key that no longer counts");
            assert_eq!(network.finds(index, 2), ProbeStatus::Unknown);
        }
    }
}

#[test]
fn a_rotated_key_keeps_what_is_known() {
    for seed in seeds() {
        let mut network = tracked(3, seed);
        network.members[2].keys.push(sample::keypair(99).public().clone());
        for index in 0..3 {
            network.reconfigure(index, index);
        }
        network.run_checking(5_000, "both keys count", Network::is_whole);
    }
}

#[test]
fn a_shorter_poll_rate_counts_at_once() {
    for seed in seeds() {
        let mut members = sample::members(2);
        members[1].poll_rate_ms = 3_600_000;
        let mut network = Network::start(members, seed);
        network.run(3_000);
        network.members[1].poll_rate_ms = 1_000;
        network.reconfigure(0, 0);
        network.reconfigure(1, 1);
        network.kill(1);
        network.wait(3_500, "noticed at the new rate", |network| network.finds(0, 1) == ProbeStatus::Offline);
    }
}

#[test]
fn who_was_removed_has_no_say_and_may_come_back() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        assert_eq!((vote_count(&network, 0, 1).electorate, vote_count(&network, 0, 1).online), (4, 4));
        let removed = network.members.pop().expect("the last");
        reconfigure(&mut network, 0..4);
        network.run_checking(200, "it counts no more at once", |network| {
            (0..4).all(|viewer| {
                let vote_counts = (0..4).map(|target| vote_count(network, viewer, target));
                vote_counts
                    .into_iter()
                    .all(|vote_count| vote_count.electorate == 3 && vote_count.votes.len() <= 3)
            })
        });
        // It goes on calling: nothing of it is taken, and it says of nobody that he is down.
        let requests: Vec<_> =
            (0..4).map(|node| network.machine(node).snapshot.counters().requests).collect();
        network.links.cut(0, 1);
        network.run_checking(15_000, "it cannot tell", |network| {
            (0..4).all(|target| concludes(network, 4, target) != NodeStatus::Down)
        });
        assert!((0..4).all(|target| concludes(&network, 4, target) == NodeStatus::Unknown));
        network.links.mend();
        for (node, before) in requests.into_iter().enumerate() {
            let machine = network.machine(node);
            assert!(machine.holds(&sample::node_id(4)).is_none());
            assert!(machine.snapshot.counters().requests > before, "others still call it");
            assert_eq!(machine.received.refused, 0);
        }
        // It comes back as the process that it was.
        network.members.push(removed);
        reconfigure(&mut network, 0..5);
        network.wait(6_000, "it has its say again", |network| {
            (0..5).all(|viewer| {
                (0..5).all(|target| {
                    concludes(network, viewer, target) == NodeStatus::Up
                        && vote_count(network, viewer, target).electorate == 4
                        && vote_count(network, viewer, target).online == 4
                })
            })
        });
        // And as another one.
        network.members.pop();
        reconfigure(&mut network, 0..4);
        let disk = network.kill(4);
        network.run(5_000);
        network.add_member();
        reconfigure(&mut network, 0..4);
        network.boot(4, 4, disk);
        network.wait(6_000, "up again", |network| {
            (0..5).all(|viewer| (0..5).all(|target| concludes(network, viewer, target) == NodeStatus::Up))
        });
    }
}

#[test]
fn the_votes_of_who_was_removed_make_no_quorum() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        // 3 and 4 lie of 2, and 2 falls silent because it hangs.
        network.desk(3).lie(Some(Lie::Without(2)));
        network.desk(4).lie(Some(Lie::Without(2)));
        network.wait(3_000, "they are believed so far", |network| {
            (0..2).all(|viewer| concludes(network, viewer, 2) == NodeStatus::Degraded)
        });
        network.members.truncate(3);
        reconfigure(&mut network, 0..3);
        network.run(100);
        for viewer in 0..3 {
            assert_eq!(concludes(&network, viewer, 2), NodeStatus::Up);
            assert_eq!(vote_count(&network, viewer, 2).offline, 0);
        }
    }
}

/// So many nodes, of which 1 has the key of 0 as well, or one of its own.
fn with_twins(count: usize, shared: bool, seed: u64) -> Network {
    let mut network = tracked(count, seed);
    if shared {
        network.keys.insert(1, 0);
        network.members[1].keys = vec![sample::keypair(0).public().clone()];
        let disk = network.kill(1);
        network.boot(1, 1, disk);
        reconfigure(&mut network, (0..count).filter(|&node| node != 1));
        network.wait(6_000, "all are up", |network| {
            (0..count)
                .all(|viewer| (0..count).all(|target| concludes(network, viewer, target) == NodeStatus::Up))
        });
        network.run(2_000);
    }
    network
}

#[test]
fn two_nodes_with_one_key_are_one_voter_about_who_lives() {
    for (seed, shared) in seeds().into_iter().flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut network = with_twins(5, shared, seed);
        network.links.cut(0, 3);
        network.links.cut(1, 3);
        network.run(6_000);
        for viewer in 0..5 {
            let vote_count = vote_count(&network, viewer, 3);
            let expected = if shared { (3, 1, NodeStatus::Up) } else { (4, 2, NodeStatus::Degraded) };
            assert_eq!((vote_count.electorate, vote_count.offline, concludes(&network, viewer, 3)), expected);
            let silenced = vote_count.votes.iter().filter(|vote| vote.abstains == Some(Abstention::SameKey));
            assert_eq!(silenced.count(), usize::from(shared));
            // Of each other the two have no say at all.
            let electorate = if shared { 3 } else { 4 };
            assert_eq!(self::vote_count(&network, viewer, 0).electorate, electorate, "of node 0");
        }
    }
}

#[test]
fn two_nodes_with_one_key_are_no_quorum() {
    for (seed, shared) in seeds().into_iter().flat_map(|seed| [(seed, true), (seed, false)]) {
        let mut network = with_twins(4, shared, seed);
        // The only other voter says that it sees the one who is dead.
        network.desk(2).lie(Some(Lie::Everybody));
        network.kill(3);
        if shared {
            network.run_checking(15_000, "one voter is no quorum", |network| {
                (0..3).all(|viewer| concludes(network, viewer, 3) != NodeStatus::Down)
            });
            assert!((0..2).all(|viewer| concludes(&network, viewer, 3) == NodeStatus::Unknown));
        } else {
            network.wait(8_000, "two voters are", |network| {
                (0..2).all(|viewer| concludes(network, viewer, 3) == NodeStatus::Down)
            });
        }
    }
}

/// Of whom `viewer` shows that they have another configuration.
fn differing(network: &Network, viewer: usize) -> Vec<usize> {
    let snapshot = &network.machine(viewer).snapshot;
    (0..snapshot.states().len()).filter(|&index| snapshot.config_differs(index)).collect()
}

#[test]
fn a_difference_of_configuration_is_shown_at_once_and_told_after_a_minute() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        let told = |network: &Network, viewer: usize| {
            let differs = network.told(viewer, |note| matches!(note, Notice::ConfigMismatch { .. }));
            (differs, network.told(viewer, |note| *note == Notice::ConfigMatch))
        };
        network.run_checking(2_000, "nothing differs", |network| {
            (0..4).all(|viewer| differing(network, viewer).is_empty())
        });
        network.members[3].keys.push(sample::keypair(99).public().clone());
        reconfigure(&mut network, [0, 1]);
        network.wait(2_500, "shown", |network| {
            (0..4).all(|viewer| differing(network, viewer) == [[2, 3], [0, 1]][usize::from(viewer >= 2)])
        });
        network.run(55_000);
        assert!((0..4).all(|viewer| told(&network, viewer) == (0, 0)), "a roll-out takes its time");
        network.run(10_000);
        assert!((0..4).all(|viewer| told(&network, viewer) == (1, 0)));
        reconfigure(&mut network, [2]);
        network.wait(2_500, "who is left", |network| {
            (0..4)
                .all(|viewer| differing(network, viewer) == [&[3][..], &[0, 1, 2]][usize::from(viewer == 3)])
        });
        reconfigure(&mut network, [3]);
        network.wait(2_500, "shown no more", |network| {
            (0..4).all(|viewer| differing(network, viewer).is_empty())
        });
        network.run(2_000);
        assert!((0..4).all(|viewer| told(&network, viewer) == (1, 1)));
        // One that is dead is out of date, but that is another matter.
        network.kill(3);
        network.run(5_000);
        network.members[3].keys.pop();
        reconfigure(&mut network, 0..3);
        network.run(70_000);
        assert!((0..3).all(|viewer| told(&network, viewer) == (1, 1)));
    }
}
