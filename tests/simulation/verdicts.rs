//! The verdicts of every node under each kind of fault, and how soon they are reached.

use crate::network::setup::{converged, converged_with};
use crate::network::{Network, Setup};
use crate::virtual_host::Disk;
use crate::{fixtures, seeds};
use distomon::mesh::Event;
use distomon::mesh::verdict::outage::OutageKind;
use distomon::mesh::verdict::{Cause, NodeStatus};
use distomon::present::summary::summary;

fn causes(network: &Network, viewer: usize, target: usize) -> Vec<Cause> {
    let snapshot = &network.host(viewer).snapshot;
    let index = snapshot.membership().index(fixtures::node_id(target).as_str()).expect("a member");
    snapshot.verdicts().nodes[index].causes.clone()
}

/// The partitions that the host `viewer` reports.
fn partitions(network: &Network, viewer: usize) -> Vec<Vec<usize>> {
    network
        .host(viewer)
        .snapshot
        .verdicts()
        .partitions
        .iter()
        .map(|partition| partition.nodes.clone())
        .collect()
}

/// Whether all of `viewers` have this verdict on `target`.
fn agree(network: &Network, viewers: &[usize], target: usize, status: NodeStatus) -> bool {
    viewers.iter().all(|&viewer| network.verdict(viewer, target) == status)
}

/// Whether all running nodes find all running nodes up.
fn all_up(network: &Network) -> bool {
    let running: Vec<_> = network.running().map(|(index, _)| index).collect();
    running.iter().all(|&target| agree(network, &running, target, NodeStatus::Up))
}

/// Whether no running node finds any of `targets` down.
fn none_down(network: &Network, targets: &[usize]) -> bool {
    let viewers: Vec<_> = network.running().map(|(index, _)| index).collect();
    viewers
        .iter()
        .all(|&viewer| targets.iter().all(|&target| network.verdict(viewer, target) != NodeStatus::Down))
}

fn all_except(node: usize, count: usize) -> Vec<usize> {
    (0..count).filter(|index| *index != node).collect()
}

#[test]
fn all_nodes_are_up_without_faults() {
    for seed in seeds() {
        for count in [2, 3, 9] {
            let mut network = converged(count, seed);
            network.run_asserting(20_000, "all up", all_up);
        }
    }
}

#[test]
fn a_crashed_node_is_down_for_every_survivor_and_then_restarted() {
    for seed in seeds() {
        for count in [3, 5, 16] {
            let mut network = converged(count, seed);
            let disk = network.kill(0);
            let survivors = all_except(0, count);
            let took_ms = network
                .run_until(3_400, "down for all", |network| agree(network, &survivors, 0, NodeStatus::Down));
            assert!(took_ms > 1_000, "down after {took_ms} ms, before the silence limit");
            assert!(none_down(&network, &survivors));
            assert_eq!(causes(&network, 1, 0), [Cause::Node]);
            network.run_asserting(10_000, "only node 0 is down", |network| {
                agree(network, &survivors, 0, NodeStatus::Down) && none_down(network, &survivors)
            });
            network.boot(0, 0, disk);
            network.run_until(3_500, "up again", all_up);
            let tracked = network.host(1).snapshot.tracker().nodes().next().expect("node 0").clone();
            assert!(
                tracked.outage.is_some_and(|outage| outage.kind == OutageKind::Restarted),
                "{:?}",
                tracked.outage
            );
        }
    }
}

#[test]
fn a_hung_node_is_down_for_every_survivor_and_finds_no_other_down() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        network.freeze(0, 30_000);
        let survivors = all_except(0, 5);
        network.run_until(5_000, "down for all", |network| agree(network, &survivors, 0, NodeStatus::Down));
        network.run(25_500);
        network.run_asserting(10_000, "no other node is down for any node", |network| {
            none_down(network, &survivors)
        });
        assert!(all_up(&network), "all are up again");
        let tracked = network.host(1).snapshot.tracker().nodes().next().expect("node 0").clone();
        assert!(tracked.outage.is_some_and(|outage| outage.kind == OutageKind::Hung), "{:?}", tracked.outage);
    }
}

#[test]
fn with_two_nodes_a_crashed_node_is_unknown() {
    for seed in seeds() {
        let mut network = converged(2, seed);
        network.kill(0);
        network.run_asserting(20_000, "no verdict without a quorum", |network| {
            network.verdict(1, 0) != NodeStatus::Down
        });
        assert_eq!(network.verdict(1, 0), NodeStatus::Unknown);
    }
}

#[test]
fn with_two_of_four_nodes_dead_both_are_unknown() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.kill(0);
        network.kill(1);
        network.run_asserting(20_000, "no quorum", |network| {
            [2, 3]
                .iter()
                .all(|&viewer| [0, 1].iter().all(|&dead| network.verdict(viewer, dead) != NodeStatus::Down))
        });
        assert!(
            agree(&network, &[2, 3], 0, NodeStatus::Unknown)
                && agree(&network, &[2, 3], 1, NodeStatus::Unknown)
        );
    }
}

#[test]
fn an_isolated_node_finds_all_others_unknown() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        let rest = all_except(0, 5);
        for &other in &rest {
            network.links.cut(0, other);
        }
        network.run_until(5_000, "down for the rest", |network| agree(network, &rest, 0, NodeStatus::Down));
        network.run_asserting(20_000, "the isolated node finds no node down", |network| {
            rest.iter().all(|&target| network.verdict(0, target) != NodeStatus::Down)
                && none_down(network, &rest)
        });
        assert!(rest.iter().all(|&target| network.verdict(0, target) == NodeStatus::Unknown));
        assert!(causes(&network, 1, 0).contains(&Cause::Partition));
        network.links.reset();
        network.run_until(5_000, "all are up again", all_up);
        let tracked = network.host(1).snapshot.tracker().nodes().next().expect("node 0").clone();
        assert!(
            tracked.outage.is_some_and(|outage| outage.kind == OutageKind::CutOff),
            "{:?}",
            tracked.outage
        );
    }
}

#[test]
fn a_broken_link_is_reported_and_all_nodes_stay_up() {
    for seed in seeds() {
        for count in [3, 5] {
            let mut network = converged(count, seed);
            network.links.cut(0, 1);
            network.run_asserting(30_000, "no node is down", |network| {
                let all: Vec<_> = (0..count).collect();
                none_down(network, &all)
            });
            for viewer in 0..count {
                let verdicts = network.host(viewer).snapshot.verdicts();
                let [link] = verdicts.links[..] else { panic!("{:?}", verdicts.links) };
                assert!(link.from == 0 && link.to == 1 && link.both, "{link:?}");
                assert!(all_up(&network));
            }
        }
    }
}

#[test]
fn only_the_larger_side_of_a_partition_finds_nodes_down_and_both_report_it() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        let (small, large) = ([0, 1], [2, 3, 4]);
        for one in small {
            for other in large {
                network.links.cut(one, other);
            }
        }
        network.run_until(7_000, "the larger side finds the smaller down", |network| {
            small.iter().all(|&target| agree(network, &large, target, NodeStatus::Down))
        });
        network.run_asserting(20_000, "the smaller side finds no node down", |network| {
            large.iter().all(|&target| {
                small.iter().all(|&viewer| network.verdict(viewer, target) != NodeStatus::Down)
            }) && agree(network, &large, 2, NodeStatus::Up)
        });
        assert_eq!(partitions(&network, 2), [vec![2, 3, 4], vec![0, 1]]);
        assert_eq!(partitions(&network, 0), [vec![0, 1], vec![2, 3, 4]]);
        assert!(causes(&network, 2, 0).contains(&Cause::Partition));
        network.links.reset();
        network.run_until(6_000, "all are up again", all_up);
    }
}

#[test]
fn the_summary_names_the_sites_of_a_partition_that_follows_their_borders() {
    // The sites of the five nodes, of which the first two are cut off, and the beginning of the summary.
    for (labels, expected) in [
        (["fra", "fra", "ams", "ams", "ams"], "site fra (node-00 and node-01) is down since"),
        (["fra", "ams", "lon", "lon", "lon"], "sites ams and fra (node-00 and node-01) are down since"),
        (["fra", "fra", "fra", "ams", "ams"], "node-00 and node-01 are down since"),
        (["fra", "", "ams", "ams", "ams"], "node-00 and node-01 are down since"),
    ] {
        let mut members = fixtures::members(5);
        for (member, label) in members.iter_mut().zip(labels) {
            member.site = label.parse().ok();
        }
        let mut network = converged_with(members, 1);
        for (one, other) in [0, 1].into_iter().flat_map(|one| [2, 3, 4].map(|other| (one, other))) {
            network.links.cut(one, other);
        }
        network.run_until(7_000, "both are down", |network| {
            (0..2).all(|target| agree(network, &[2, 3, 4], target, NodeStatus::Down))
        });
        network.run(2_000);
        let text = summary(&network.host(2).snapshot);
        assert!(text.starts_with(expected) && text.contains("cause: partition or node"), "{text}");
    }
}

#[test]
fn a_crashed_node_is_never_explained_by_a_firewall() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.kill(0);
        network.run_asserting(9_000, "the first cause of a degraded node is the node", |network| {
            (1..4).all(|viewer| {
                network.verdict(viewer, 0) != NodeStatus::Degraded
                    || causes(network, viewer, 0)[0] == Cause::Node
            })
        });
        for viewer in 1..4 {
            assert_eq!(network.verdict(viewer, 0), NodeStatus::Down);
            assert_eq!(causes(&network, viewer, 0), [Cause::Node]);
        }
    }
}

#[test]
fn a_node_behind_a_firewall_is_degraded_by_ingress() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.links.block_inbound(0);
        network.run_asserting(20_000, "no node is down", |network| none_down(network, &[0, 1, 2, 3]));
        for viewer in 1..4 {
            assert_eq!(network.verdict(viewer, 0), NodeStatus::Degraded);
            assert_eq!(causes(&network, viewer, 0), [Cause::Ingress]);
        }
    }
}

#[test]
fn a_node_whose_calls_all_fail_is_degraded_by_egress() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.links.block_outbound(0);
        network.run_asserting(20_000, "no node is down", |network| none_down(network, &[0, 1, 2, 3]));
        for viewer in 1..4 {
            assert_eq!(network.verdict(viewer, 0), NodeStatus::Degraded);
            assert_eq!(causes(&network, viewer, 0), [Cause::Egress]);
        }
    }
}

#[test]
fn an_outbound_only_node_is_up_and_down_like_any_other() {
    for seed in seeds() {
        let mut members = fixtures::members(4);
        members[0].url = None;
        let mut network = converged_with(members, seed);
        network.run_asserting(20_000, "all up", all_up);
        network.kill(0);
        network.run_until(7_500, "down for all", |network| agree(network, &[1, 2, 3], 0, NodeStatus::Down));
    }
}

#[test]
fn a_node_stopped_on_purpose_is_stopped_for_ten_minutes_then_down() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.step(0, Event::Leaving(fixtures::LEAVE));
        network.run_until(500, "no call is in flight", |network| network.host(0).engine.is_idle());
        network.kill(0);
        network.run_until(2_500, "stopped for all", |network| {
            agree(network, &[1, 2, 3], 0, NodeStatus::Stopped)
        });
        network.run_asserting(590_000, "stopped for ten minutes", |network| {
            agree(network, &[1, 2, 3], 0, NodeStatus::Stopped)
        });
        network.run_until(15_000, "down after the grace period", |network| {
            agree(network, &[1, 2, 3], 0, NodeStatus::Down)
        });
    }
}

#[test]
fn a_node_that_never_ran_is_never_seen() {
    for seed in seeds() {
        let mut network = Setup::new(fixtures::members(4), seed).start();
        network.kill(3);
        for host in 0..3 {
            network.kill(host);
        }
        network.run(100);
        for host in 0..3 {
            network.boot(host, host, Disk::default());
        }
        network.run(10_000);
        for viewer in 0..3 {
            assert_eq!(network.verdict(viewer, 3), NodeStatus::NeverSeen);
            assert_eq!(network.verdict(viewer, (viewer + 1) % 3), NodeStatus::Up);
        }
    }
}

#[test]
fn twenty_per_cent_loss_makes_no_node_down() {
    for seed in seeds() {
        for count in [3, 5] {
            let mut network = converged(count, seed);
            network.links.set_delay(20);
            network.links.set_loss(20);
            let all: Vec<_> = (0..count).collect();
            network.run_asserting(120_000, "no node is down", |network| none_down(network, &all));
        }
    }
}

#[test]
fn a_restarted_node_finds_a_dead_node_down() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        network.kill(0);
        network.run_until(3_400, "down", |network| agree(network, &[1, 2, 3, 4], 0, NodeStatus::Down));
        let disk = network.kill(4);
        network.run(500);
        network.boot(4, 4, disk);
        network.run_until(6_000, "down for the restarted node", |network| {
            agree(network, &[4], 0, NodeStatus::Down)
        });
        network.run_asserting(5_000, "no other node is down", |network| none_down(network, &[1, 2, 3, 4]));
    }
}

#[test]
fn a_reconfiguration_evaluates_verdicts_immediately() {
    for seed in seeds() {
        let mut network = converged(3, seed);
        network.add_member();
        for host in 0..3 {
            network.reconfigure(host, host);
            let snapshot = &network.host(host).snapshot;
            assert_eq!(snapshot.verdicts().nodes.len(), 4);
            assert_eq!(snapshot.tracker().nodes().count(), 4);
            assert_eq!(network.verdict(host, 3), NodeStatus::NeverSeen);
        }
    }
}
