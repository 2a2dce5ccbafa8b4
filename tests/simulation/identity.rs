//! One key in two places, and a node that lost its memory.

use crate::machine::Disk;
use crate::network::{Network, tracked};
use crate::{sample, seeds};
use distomon::mesh::Event;
use distomon::mesh::engine::event::{Notice, ReceivedReports};
use distomon::mesh::wire::heads::Heads;
use distomon::mesh::wire::report::Report;

fn proofs(network: &Network) -> usize {
    let machines = network.running();
    machines.filter(|(_, machine)| machine.snapshot.states()[0].equivocation.is_some()).count()
}

/// A thief of node 0's key, while that is away, tells node 1 one thing and node 3 another, in one place.
fn robbed(seed: u64) -> Network {
    let mut network = tracked(5, seed);
    network.kill(0);
    network.run(100);
    let epoch = network.machine(1).holds(&sample::node_id(0)).expect("tracked").id().epoch + 1_000;
    for (victim, isolated) in [(1, true), (3, false)] {
        let report = sample::sealed(0, Report { isolated, ..sample::report(0, epoch, 7) });
        let heads = Heads::empty(network.machine(victim).snapshot.membership().clone());
        let delivery = ReceivedReports { heads, reports: vec![report], proofs: Vec::new() };
        network.tell(victim, Event::RequestReceived { from: sample::node_id(0), received: delivery });
    }
    network
}

#[test]
fn an_equivocation_is_proven_kept_and_relayed_to_everybody() {
    for seed in seeds() {
        let mut network = robbed(seed);
        assert_eq!(proofs(&network), 0);
        let disk = network.kill(4);
        network.wait(3_000, "the two meet, and all that run hold the proof", |network| proofs(network) == 3);
        assert_eq!(network.machine(2).disk.proofs.len(), 1, "kept once");
        assert_eq!(network.told(2, |note| matches!(note, Notice::Equivocated { .. })), 1, "told once");
        network.boot(4, 4, disk);
        network.boot(0, 0, Disk::default());
        network.wait(4_000, "who was away hears of it", |network| proofs(network) == 5);
        assert!(network.running().all(|(_, machine)| machine.received.refused == 0), "nothing was forged");
    }
}

#[test]
fn a_proof_outlives_a_restart_and_is_not_sent_again_and_again() {
    for seed in seeds() {
        let mut network = robbed(seed);
        network.wait(3_000, "all hold the proof", |network| proofs(network) == 4);
        // The culprit stays away, so that after this nobody holds a report of it any more.
        let disks = [1, 2, 3, 4].map(|machine| (machine, network.kill(machine)));
        for (machine, disk) in disks {
            network.boot(machine, machine, disk);
        }
        network.run(5_000);
        assert_eq!(proofs(&network), 4);
        assert!((1..5).all(|machine| network.machine(machine).holds(&sample::node_id(0)).is_none()));
        let before = network.traffic;
        network.run(10_000);
        let (probes, follow_ups) =
            (network.traffic.probes - before.probes, network.traffic.follow_ups - before.follow_ups);
        assert!(follow_ups * 2 < probes, "{follow_ups} follow-ups to {probes} probes");
    }
}

#[test]
fn a_clone_beside_its_original_is_noticed() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        let disk = network.kill(0);
        network.boot(0, 0, disk.clone());
        network.boot(5, 0, disk);
        network.wait(10_000, "one of the two says it has a twin", |network| {
            [0, 5].into_iter().any(|machine| network.machine(machine).snapshot.duplicate_key())
        });
    }
}

#[test]
fn lost_state_heals_with_a_higher_epoch() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        network.kill(0);
        network.run(3_000);
        // No memory, and a clock that is a day behind: its epoch is lower than any it used.
        network.boot_skewed(0, 0, Disk::default(), -86_400_000);
        network.wait(5_000, "whole again", Network::is_whole);
        assert_eq!(network.told(0, |note| matches!(note, Notice::Superseded { .. })), 1);
        assert!(!network.machine(0).snapshot.duplicate_key());
        network.run_checking(10_000, "it stays healed", Network::is_whole);
        let epoch = network.machine(0).snapshot.own_report().expect("it reports").id().epoch;
        assert_eq!(network.machine(0).disk.epoch, epoch, "kept before it was used");
        // The next start goes on from there, whatever the clock says.
        let disk = network.kill(0);
        network.boot_skewed(0, 0, disk, -86_400_000);
        network.wait(5_000, "whole again", Network::is_whole);
        assert_eq!(network.told(0, |note| matches!(note, Notice::Superseded { .. })), 0);
    }
}

#[test]
fn the_second_time_it_is_a_twin() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        // The clone starts later, so its epoch is higher and its reports replace the first one's.
        network.run(1_000);
        network.boot(4, 0, Disk::default());
        network.wait(10_000, "the twins notice", |network| {
            [0, 4].into_iter().any(|machine| network.machine(machine).snapshot.duplicate_key())
        });
        for machine in [0, 4] {
            let superseded = network.told(machine, |note| matches!(note, Notice::Superseded { .. }));
            assert!(superseded <= 1, "machine {machine} took a higher epoch {superseded} times");
        }
        for bystander in 1..4 {
            assert!(!network.machine(bystander).snapshot.duplicate_key());
        }
    }
}

#[test]
fn a_restart_is_no_twin_and_older_reports_are_not_taken_again() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        for _ in 0..3 {
            let disk = network.kill(0);
            network.boot(0, 0, disk);
            network.wait(3_000, "whole again", Network::is_whole);
            assert!(
                network
                    .machine(0)
                    .notes
                    .iter()
                    .all(|note| matches!(note, Notice::PeerStatusChanged { .. } | Notice::VerdictChanged(_)))
            );
        }
        assert!(network.running().all(|(_, machine)| machine.received.refused == 0));
        assert_eq!(sample::node_id(0), *network.machine(0).id());
    }
}
