//! Something happens while a change of the configuration comes to one node after another.

use crate::machine::Disk;
use crate::network::Network;
use crate::rollout::{PAUSE_MS, Rollout, number};
use crate::truth::Nodes;
use crate::{sample, seeds};
use distomon::mesh::membership::ObserverPolicy;
use distomon::mesh::verdict::NodeStatus;

/// What changes while something else happens.
#[derive(Debug, Clone, Copy)]
enum Change {
    Add,
    Remove,
    Rotate,
    Rings,
}

impl Change {
    const ALL: [Self; 4] = [Self::Add, Self::Remove, Self::Rotate, Self::Rings];

    /// Begins it in a network of nine, of which the last is its subject.
    fn begin(self, seed: u64) -> Rollout {
        let mut rollout = Rollout::of_many(sample::members(9), &[], seed);
        let network = &mut rollout.network;
        match self {
            Self::Add => network.add_member(),
            Self::Remove => drop(network.members.pop()),
            Self::Rotate => network.members[8].keys.push(sample::keypair(99).public().clone()),
            Self::Rings => network.observers = ObserverPolicy::Rings(4),
        }
        if let Self::Add = self {
            network.boot(9, 9, Disk::default());
        }
        rollout.subjects = Nodes::one(8).with(9);
        rollout
    }
}

fn are_down(network: &Network, target: usize) -> bool {
    let mut viewers = network.running().filter(|(viewer, _)| *viewer < 8);
    viewers.all(|(_, machine)| machine.snapshot.verdicts().nodes[target].status == NodeStatus::Down)
}

#[test]
fn who_dies_meanwhile_is_found_down_in_time() {
    for (seed, change) in seeds().into_iter().flat_map(|seed| Change::ALL.map(|change| (seed, change))) {
        let mut rollout = change.begin(seed);
        let [early, later] = rollout.halves(0..8);
        rollout.reach(early);
        let disk = rollout.network.kill(5);
        rollout.lost = Nodes::one(5);
        let later: Vec<_> = later.into_iter().filter(|(node, _)| *node != 5).collect();
        // Between all and rings, nobody knows whose votes to wait for.
        if !matches!(change, Change::Rings) {
            rollout.network.wait(3_400, "down for all", |network| are_down(network, 5));
        }
        rollout.reach(later);
        rollout.network.wait(3_400, "down for all in the end", |network| are_down(network, 5));
        if let Change::Remove = change {
            rollout.network.kill(8);
        }
        rollout.network.boot(5, 5, disk);
        rollout.network.reconfigure(5, 5);
        rollout.network.wait(5_000, "up again", |network| {
            let mut viewers = network.running().filter(|(viewer, _)| *viewer < 8);
            viewers.all(|(_, machine)| {
                let verdicts = machine.snapshot.verdicts();
                verdicts.links.is_empty()
                    && verdicts.nodes[..8].iter().all(|node| node.status == NodeStatus::Up)
            })
        });
        rollout.lost = Nodes::default();
        rollout.pass(3_000);
    }
}

#[test]
fn a_partition_meanwhile_makes_nobody_down_who_is_connected() {
    for (seed, change) in seeds().into_iter().flat_map(|seed| Change::ALL.map(|change| (seed, change))) {
        let mut rollout = change.begin(seed);
        let [early, later] = rollout.halves(0..8);
        rollout.reach(early);
        let side = rollout.rng.u64(1..0x1ff);
        let apart = |one: usize, other: usize| side >> one & 1 != side >> other & 1;
        for one in 0..10 {
            for other in (one + 1..10).filter(|&other| apart(one, other)) {
                rollout.network.links.cut(one, other);
            }
        }
        let checked = |network: &Network| {
            network.running().all(|(viewer, machine)| {
                let members = machine.snapshot.members().zip(&machine.snapshot.verdicts().nodes);
                members.into_iter().all(|((member, _), verdict)| {
                    verdict.status != NodeStatus::Down || apart(viewer, number(&member.id))
                })
            })
        };
        for (machine, node) in later {
            rollout.network.reconfigure(machine, node);
            let pause_ms = rollout.rng.u64(0..PAUSE_MS);
            rollout.network.run_checking(pause_ms, "nobody on the same side is down", checked);
        }
        rollout.network.run_checking(8_000, "nobody on the same side is down", checked);
        rollout.network.links.mend();
        rollout.network.run_checking(1_000, "nobody on the same side is down", checked);
        rollout.network.run(8_000);
        rollout.pass(2_000);
    }
}
