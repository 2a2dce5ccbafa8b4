//! What is concluded under each fault, by every node, and how soon.

use crate::machine::Disk;
use crate::network::{Network, settled_with, tracked};
use crate::{sample, seeds};
use distomon::mesh::Event;
use distomon::mesh::verdict::outage::OutageKind;
use distomon::mesh::verdict::{Cause, NodeStatus};
use distomon::present::summary::summary;

/// What the machine `viewer` concludes of the node `target`.
fn concludes(network: &Network, viewer: usize, target: usize) -> NodeStatus {
    let snapshot = &network.machine(viewer).snapshot;
    let index = snapshot.membership().index(sample::node_id(target).as_str()).expect("a member");
    snapshot.verdicts().nodes[index].status
}

fn causes(network: &Network, viewer: usize, target: usize) -> Vec<Cause> {
    let snapshot = &network.machine(viewer).snapshot;
    let index = snapshot.membership().index(sample::node_id(target).as_str()).expect("a member");
    snapshot.verdicts().nodes[index].causes.clone()
}

/// The sides of the network as the machine `viewer` sees it.
fn sides(network: &Network, viewer: usize) -> Vec<Vec<usize>> {
    network.machine(viewer).snapshot.verdicts().partitions.iter().map(|side| side.nodes.clone()).collect()
}

/// Whether all of `viewers` conclude so of `target`.
fn agree(network: &Network, viewers: &[usize], target: usize, status: NodeStatus) -> bool {
    viewers.iter().all(|&viewer| concludes(network, viewer, target) == status)
}

/// Whether everyone that runs concludes that everyone that runs is up.
fn all_up(network: &Network) -> bool {
    let running: Vec<_> = network.running().map(|(index, _)| index).collect();
    running.iter().all(|&target| agree(network, &running, target, NodeStatus::Up))
}

/// Whether nobody concludes that any of `living` is down.
fn nobody_down(network: &Network, living: &[usize]) -> bool {
    let viewers: Vec<_> = network.running().map(|(index, _)| index).collect();
    viewers
        .iter()
        .all(|&viewer| living.iter().all(|&target| concludes(network, viewer, target) != NodeStatus::Down))
}

fn others(count: usize, but: usize) -> Vec<usize> {
    (0..count).filter(|index| *index != but).collect()
}

#[test]
fn when_all_is_well_all_are_up() {
    for seed in seeds() {
        for count in [2, 3, 9] {
            let mut network = tracked(count, seed);
            network.run_checking(20_000, "all up", all_up);
        }
    }
}

#[test]
fn a_killed_node_is_down_for_every_survivor() {
    for seed in seeds() {
        for count in [3, 5, 16] {
            let mut network = tracked(count, seed);
            let disk = network.kill(0);
            let survivors = others(count, 0);
            let took_ms = network
                .wait(3_400, "down for all", |network| agree(network, &survivors, 0, NodeStatus::Down));
            assert!(took_ms > 1_000, "{took_ms} ms: silence was not waited for");
            assert!(nobody_down(&network, &survivors));
            assert_eq!(causes(&network, 1, 0), [Cause::Node]);
            network.run_checking(10_000, "it stays down, and only it", |network| {
                agree(network, &survivors, 0, NodeStatus::Down) && nobody_down(network, &survivors)
            });
            network.boot(0, 0, disk);
            network.wait(3_500, "up again", all_up);
            let tracked = network.machine(1).snapshot.tracker().nodes().next().expect("node 0").clone();
            assert!(tracked.outage.is_some_and(|outage| outage.kind == OutageKind::Restarted), "as it was");
        }
    }
}

#[test]
fn a_hung_node_is_down_for_every_survivor_and_says_so_of_nobody() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        network.freeze(0, 30_000);
        let survivors = others(5, 0);
        network.wait(5_000, "down for all", |network| agree(network, &survivors, 0, NodeStatus::Down));
        network.run(25_500);
        network.run_checking(10_000, "nobody else is down for anyone", |network| {
            nobody_down(network, &survivors)
        });
        assert!(all_up(&network), "all is well again");
        let tracked = network.machine(1).snapshot.tracker().nodes().next().expect("node 0").clone();
        assert!(tracked.outage.is_some_and(|outage| outage.kind == OutageKind::Hung), "it never died");
    }
}

#[test]
fn two_nodes_can_only_say_unknown() {
    for seed in seeds() {
        let mut network = tracked(2, seed);
        network.kill(0);
        network.run_checking(20_000, "no verdict without a quorum", |network| {
            concludes(network, 1, 0) != NodeStatus::Down
        });
        assert_eq!(concludes(&network, 1, 0), NodeStatus::Unknown);
    }
}

#[test]
fn of_four_with_two_dead_nothing_is_decided() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        network.kill(0);
        network.kill(1);
        network.run_checking(20_000, "no quorum", |network| {
            [2, 3].iter().all(|&viewer| {
                [0, 1].iter().all(|&dead| concludes(network, viewer, dead) != NodeStatus::Down)
            })
        });
        assert!(
            agree(&network, &[2, 3], 0, NodeStatus::Unknown)
                && agree(&network, &[2, 3], 1, NodeStatus::Unknown)
        );
    }
}

#[test]
fn a_node_that_is_cut_off_says_that_it_cannot_tell() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        let rest = others(5, 0);
        for &other in &rest {
            network.links.cut(0, other);
        }
        network.wait(5_000, "down for the rest", |network| agree(network, &rest, 0, NodeStatus::Down));
        network.run_checking(20_000, "the one cut off says down of nobody", |network| {
            rest.iter().all(|&target| concludes(network, 0, target) != NodeStatus::Down)
                && nobody_down(network, &rest)
        });
        assert!(rest.iter().all(|&target| concludes(&network, 0, target) == NodeStatus::Unknown));
        assert!(causes(&network, 1, 0).contains(&Cause::Partition));
        network.links.mend();
        network.wait(5_000, "all is well again", all_up);
        let tracked = network.machine(1).snapshot.tracker().nodes().next().expect("node 0").clone();
        assert!(tracked.outage.is_some_and(|outage| outage.kind == OutageKind::CutOff), "not down");
    }
}

#[test]
fn one_broken_link_is_named_and_harms_nobody() {
    for seed in seeds() {
        for count in [3, 5] {
            let mut network = tracked(count, seed);
            network.links.cut(0, 1);
            network.run_checking(30_000, "all are alive", |network| {
                let all: Vec<_> = (0..count).collect();
                nobody_down(network, &all)
            });
            for viewer in 0..count {
                let verdicts = network.machine(viewer).snapshot.verdicts();
                let [link] = verdicts.links[..] else { panic!("{:?}", verdicts.links) };
                assert!(link.from == 0 && link.to == 1 && link.both, "{link:?}");
                assert!(all_up(&network));
            }
        }
    }
}

#[test]
fn a_partition_is_decided_by_its_greater_side_only_and_names_the_sides() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        let (small, great) = ([0, 1], [2, 3, 4]);
        for one in small {
            for other in great {
                network.links.cut(one, other);
            }
        }
        network.wait(7_000, "the greater side decides", |network| {
            small.iter().all(|&target| agree(network, &great, target, NodeStatus::Down))
        });
        network.run_checking(20_000, "the smaller side does not", |network| {
            great.iter().all(|&target| {
                small.iter().all(|&viewer| concludes(network, viewer, target) != NodeStatus::Down)
            }) && agree(network, &great, 2, NodeStatus::Up)
        });
        assert_eq!(sides(&network, 2), [vec![2, 3, 4], vec![0, 1]]);
        assert_eq!(sides(&network, 0), [vec![0, 1], vec![2, 3, 4]]);
        assert!(causes(&network, 2, 0).contains(&Cause::Partition));
        network.links.mend();
        network.wait(6_000, "all is well again", all_up);
    }
}

#[test]
fn a_side_is_named_by_its_sites_where_these_are_not_torn() {
    // The sites of the five nodes, of which the first two are cut off, and what is said of these.
    for (labels, expected) in [
        (["fra", "fra", "ams", "ams", "ams"], "site fra (node-00 and node-01) is down since"),
        (["fra", "ams", "lon", "lon", "lon"], "sites ams and fra (node-00 and node-01) are down since"),
        (["fra", "fra", "fra", "ams", "ams"], "node-00 and node-01 are down since"),
        (["fra", "", "ams", "ams", "ams"], "node-00 and node-01 are down since"),
    ] {
        let mut members = sample::members(5);
        for (member, label) in members.iter_mut().zip(labels) {
            member.site = label.parse().ok();
        }
        let mut network = settled_with(members, 1);
        for (one, other) in [0, 1].into_iter().flat_map(|one| [2, 3, 4].map(|other| (one, other))) {
            network.links.cut(one, other);
        }
        network.wait(7_000, "both are down", |network| {
            (0..2).all(|target| agree(network, &[2, 3, 4], target, NodeStatus::Down))
        });
        network.run(2_000);
        let said = summary(&network.machine(2).snapshot);
        assert!(said.starts_with(expected) && said.contains("cause: partition or node"), "{said}");
    }
}

#[test]
fn a_death_does_not_begin_as_a_firewall() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        network.kill(0);
        network.run_checking(9_000, "it may be dead, while it is not yet found so", |network| {
            (1..4).all(|viewer| {
                concludes(network, viewer, 0) != NodeStatus::Degraded
                    || causes(network, viewer, 0)[0] == Cause::Node
            })
        });
        for viewer in 1..4 {
            assert_eq!(concludes(&network, viewer, 0), NodeStatus::Down);
            assert_eq!(causes(&network, viewer, 0), [Cause::Node]);
        }
    }
}

#[test]
fn a_node_behind_a_firewall_is_alive_and_unreached() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        network.links.wall(0);
        network.run_checking(20_000, "it is alive", |network| nobody_down(network, &[0, 1, 2, 3]));
        for viewer in 1..4 {
            assert_eq!(concludes(&network, viewer, 0), NodeStatus::Degraded);
            assert_eq!(causes(&network, viewer, 0), [Cause::Ingress]);
        }
    }
}

#[test]
fn a_node_that_reaches_nobody_is_alive_and_named() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        // Everyone else is behind a firewall against node 0 alone: its calls fail, theirs do not.
        network.links.deafen(0);
        network.run_checking(20_000, "it is alive", |network| nobody_down(network, &[0, 1, 2, 3]));
        for viewer in 1..4 {
            assert_eq!(concludes(&network, viewer, 0), NodeStatus::Degraded);
            assert_eq!(causes(&network, viewer, 0), [Cause::Egress]);
        }
    }
}

#[test]
fn a_node_that_only_calls_out_is_judged_like_any_other() {
    for seed in seeds() {
        let mut members = sample::members(4);
        members[0].url = None;
        let mut network = settled_with(members, seed);
        network.run_checking(20_000, "all up", all_up);
        network.kill(0);
        network.wait(7_500, "down for all", |network| agree(network, &[1, 2, 3], 0, NodeStatus::Down));
    }
}

#[test]
fn who_was_stopped_on_purpose_is_stopped_and_after_ten_minutes_missed() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        network.tell(0, Event::Leaving);
        network.wait(500, "idle", |network| network.machine(0).mesh.is_idle());
        network.kill(0);
        network.wait(2_500, "stopped for all", |network| agree(network, &[1, 2, 3], 0, NodeStatus::Stopped));
        network.run_checking(590_000, "it stays so", |network| {
            agree(network, &[1, 2, 3], 0, NodeStatus::Stopped)
        });
        network.wait(15_000, "then it is missed", |network| agree(network, &[1, 2, 3], 0, NodeStatus::Down));
    }
}

#[test]
fn who_was_never_there_is_never_seen() {
    for seed in seeds() {
        let mut network = Network::start(sample::members(4), seed);
        network.kill(3);
        for machine in 0..3 {
            network.kill(machine);
        }
        network.run(100);
        for machine in 0..3 {
            network.boot(machine, machine, Disk::default());
        }
        network.run(10_000);
        for viewer in 0..3 {
            assert_eq!(concludes(&network, viewer, 3), NodeStatus::NeverSeen);
            assert_eq!(concludes(&network, viewer, (viewer + 1) % 3), NodeStatus::Up);
        }
    }
}

#[test]
fn loss_makes_nobody_down() {
    for seed in seeds() {
        for count in [3, 5] {
            let mut network = tracked(count, seed);
            network.links.slow(20);
            network.links.lose(20);
            let all: Vec<_> = (0..count).collect();
            network.run_checking(120_000, "wrong", |network| nobody_down(network, &all));
        }
    }
}

#[test]
fn a_viewer_that_starts_late_learns_that_one_is_down() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        network.kill(0);
        network.wait(3_400, "down", |network| agree(network, &[1, 2, 3, 4], 0, NodeStatus::Down));
        let disk = network.kill(4);
        network.run(500);
        network.boot(4, 4, disk);
        network
            .wait(6_000, "down for the late one, too", |network| agree(network, &[4], 0, NodeStatus::Down));
        network.run_checking(5_000, "and nobody else", |network| nobody_down(network, &[1, 2, 3, 4]));
    }
}

#[test]
fn a_new_configuration_has_its_own_verdicts_at_once() {
    for seed in seeds() {
        let mut network = tracked(3, seed);
        // Judged a moment ago: the next time is not due yet.
        network.add_member();
        for machine in 0..3 {
            network.reconfigure(machine, machine);
            let snapshot = &network.machine(machine).snapshot;
            assert_eq!(snapshot.verdicts().nodes.len(), 4);
            assert_eq!(snapshot.tracker().nodes().count(), 4);
            assert_eq!(concludes(&network, machine, 3), NodeStatus::NeverSeen);
        }
    }
}
