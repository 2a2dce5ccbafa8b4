//! A configuration that changes while the network runs.

use crate::machine::Disk;
use crate::network::{Network, settled};
use crate::{sample, seeds};
use distomon::mesh::observation::Status;

#[test]
fn a_new_member_joins_and_what_is_known_stays() {
    for seed in seeds() {
        let mut network = settled(4, seed);
        let epoch = network.machine(0).picture.own_report().expect("it reports").stamp().epoch;
        network.add_member();
        network.boot(4, 4, Disk::default());
        for index in 0..4 {
            network.reconfigure(index, index);
            let known = (0..4).filter(|peer| *peer != index);
            assert!(known.clone().all(|peer| network.finds(index, peer) == Status::Online));
            network.run(700);
        }
        network.wait(4_000, "five are whole", Network::is_whole);
        assert_eq!(network.machine(0).picture.own_report().expect("it reports").stamp().epoch, epoch);
    }
}

#[test]
fn a_removed_member_is_forgotten() {
    for seed in seeds() {
        let mut network = settled(4, seed);
        network.members.pop();
        for index in 0..3 {
            network.reconfigure(index, index);
        }
        network.run(3_000);
        for index in 0..3 {
            let machine = network.machine(index);
            assert_eq!(machine.picture.slots().len(), 3);
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
        let mut network = settled(3, seed);
        network.kill(2);
        network.run(5_000);
        network.members[2].keys = vec![sample::keypair(99).public().clone()];
        for index in 0..2 {
            network.reconfigure(index, index);
            // Its next report may have to wait 100 ms for the one before.
            network.run(120);
            let machine = network.machine(index);
            assert!(machine.holds(&sample::node_id(2)).is_none(), "signed by a key that no longer counts");
            assert_eq!(network.finds(index, 2), Status::Unknown);
        }
    }
}

#[test]
fn a_rotated_key_keeps_what_is_known() {
    for seed in seeds() {
        let mut network = settled(3, seed);
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
        network.wait(3_500, "noticed at the new rate", |network| network.finds(0, 1) == Status::Offline);
    }
}
