//! Faults during the rollout of a configuration change.

use crate::network::Network;
use crate::node_set::NodeSet;
use crate::rollout::{PAUSE_MS, Rollout, node_number};
use crate::virtual_host::Disk;
use crate::{fixtures, seeds};
use distomon::mesh::membership::ObserverPolicy;
use distomon::mesh::verdict::NodeStatus;

/// A configuration change.
#[derive(Debug, Clone, Copy)]
enum Change {
    Add,
    Remove,
    Rotate,
    Rings,
}

impl Change {
    const ALL: [Self; 4] = [Self::Add, Self::Remove, Self::Rotate, Self::Rings];

    /// Prepares the change in a network of nine; it affects the last nodes.
    fn begin(self, seed: u64) -> Rollout {
        let mut rollout = Rollout::of_many(fixtures::members(9), &[], seed);
        let network = &mut rollout.network;
        match self {
            Self::Add => network.add_member(),
            Self::Remove => drop(network.members.pop()),
            Self::Rotate => network.members[8].keys.push(fixtures::keypair(99).public().clone()),
            Self::Rings => network.observers = ObserverPolicy::Rings(4),
        }
        if let Self::Add = self {
            network.boot(9, 9, Disk::default());
        }
        rollout.changed = NodeSet::single(8).with(9);
        rollout
    }
}

/// Whether all running nodes that the change does not affect find `target` down.
fn is_down(network: &Network, target: usize) -> bool {
    let mut viewers = network.running().filter(|(viewer, _)| *viewer < 8);
    viewers.all(|(_, host)| host.snapshot.verdicts().nodes[target].status == NodeStatus::Down)
}

#[test]
fn a_crash_during_a_rollout_is_detected_in_time() {
    for (seed, change) in seeds().into_iter().flat_map(|seed| Change::ALL.map(|change| (seed, change))) {
        let mut rollout = change.begin(seed);
        let [early, later] = rollout.split(0..8);
        rollout.apply_to(early);
        let disk = rollout.network.kill(5);
        rollout.unavailable = NodeSet::single(5);
        let later: Vec<_> = later.into_iter().filter(|(node, _)| *node != 5).collect();
        // While observers differ between nodes, the electorates do too.
        if !matches!(change, Change::Rings) {
            rollout.network.run_until(3_400, "down for all", |network| is_down(network, 5));
        }
        rollout.apply_to(later);
        rollout.network.run_until(3_400, "down for all after the rollout", |network| is_down(network, 5));
        if let Change::Remove = change {
            rollout.network.kill(8);
        }
        rollout.network.boot(5, 5, disk);
        rollout.network.reconfigure(5, 5);
        rollout.network.run_until(5_000, "up again", |network| {
            let mut viewers = network.running().filter(|(viewer, _)| *viewer < 8);
            viewers.all(|(_, host)| {
                let verdicts = host.snapshot.verdicts();
                verdicts.links.is_empty()
                    && verdicts.nodes[..8].iter().all(|node| node.status == NodeStatus::Up)
            })
        });
        rollout.unavailable = NodeSet::EMPTY;
        rollout.run(3_000);
    }
}

#[test]
fn a_partition_during_a_rollout_makes_no_connected_node_down() {
    for (seed, change) in seeds().into_iter().flat_map(|seed| Change::ALL.map(|change| (seed, change))) {
        let mut rollout = change.begin(seed);
        let [early, later] = rollout.split(0..8);
        rollout.apply_to(early);
        let side = rollout.rng.u64(1..0x1ff);
        let apart = |one: usize, other: usize| side >> one & 1 != side >> other & 1;
        for one in 0..10 {
            for other in (one + 1..10).filter(|&other| apart(one, other)) {
                rollout.network.links.cut(one, other);
            }
        }
        let invariant = |network: &Network| {
            network.running().all(|(viewer, host)| {
                let members = host.snapshot.members().zip(&host.snapshot.verdicts().nodes);
                members.into_iter().all(|((member, _), verdict)| {
                    verdict.status != NodeStatus::Down || apart(viewer, node_number(&member.id))
                })
            })
        };
        for (host, node) in later {
            rollout.network.reconfigure(host, node);
            let pause_ms = rollout.rng.u64(0..PAUSE_MS);
            rollout.network.run_asserting(pause_ms, "no node finds a node of its side down", invariant);
        }
        rollout.network.run_asserting(8_000, "no node finds a node of its side down", invariant);
        rollout.network.links.reset();
        rollout.network.run_asserting(1_000, "no node finds a node of its side down", invariant);
        rollout.network.run(8_000);
        rollout.run(2_000);
    }
}
