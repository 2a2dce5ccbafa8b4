//! Nodes that are doubted, and nodes that doubt themselves.

use crate::network::tracked;
use crate::{sample, seeds};
use distomon::mesh::wire::observation::ProbeStatus;

#[test]
fn a_node_that_nobody_reaches_refutes() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        network.links.wall(0);
        network.wait(5_000, "all call it offline", |network| {
            (1..5).all(|observer| network.finds(observer, 0) == ProbeStatus::Offline)
        });
        assert!(!network.machine(0).snapshot.isolated(), "it reaches everybody");
        network.wait(2_500, "every offline vote is refuted", |network| {
            (1..5).all(|observer| {
                let head = network.machine(observer).finds(&sample::node_id(0)).and_then(|found| found.head);
                let head = head.expect("it was heard before");
                network.running().all(|(_, machine)| {
                    let latest = machine.holds(&sample::node_id(0)).expect("it was heard before").id();
                    latest.epoch == head.epoch && latest.seq > head.seq + 1
                })
            })
        });
        network.run_checking(20_000, "its reports still come", |network| {
            (1..5).all(|observer| {
                let machine = network.machine(observer);
                machine.snapshot.is_fresh(0, machine.now(network.now_ms).mono_ms)
            })
        });
    }
}

#[test]
fn refuting_calls_more_often_than_probing() {
    for seed in seeds() {
        let mut members = sample::members(5);
        for member in &mut members {
            member.poll_rate_ms = 8_000;
        }
        let mut network = super::network::settled_slowly(members, seed);
        network.run(8_000);
        network.links.wall(0);
        network.wait(30_000, "all call it offline", |network| {
            (1..5).all(|observer| network.finds(observer, 0) == ProbeStatus::Offline)
        });
        let before = network.traffic.pushes;
        network.run(8_000);
        let pushes = network.traffic.pushes - before;
        assert!((20..=50).contains(&pushes), "four peers each second, not {pushes} in 8 s");
        network.run(30_000);
        let before = network.traffic.pushes;
        network.run(30_000);
        assert_eq!(network.traffic.pushes, before, "it was said once");
    }
}

#[test]
fn a_node_without_its_uplink_doubts_itself() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        for other in 1..5 {
            network.links.cut(0, other);
        }
        network.wait(5_000, "isolated", |network| network.machine(0).snapshot.isolated());
        network.run_checking(10_000, "nobody else is", |network| {
            (1..5).all(|index| !network.machine(index).snapshot.isolated())
        });
        network.wait(1_000, "it says so", |network| {
            network.machine(0).snapshot.own_report().is_some_and(|own| own.report().isolated)
        });
        network.links.mend();
        network.wait(3_000, "not any more", |network| !network.machine(0).snapshot.isolated());
    }
}

#[test]
fn both_halves_of_a_pair_doubt_themselves() {
    for seed in seeds() {
        let mut network = tracked(2, seed);
        network.links.cut(0, 1);
        network.wait(5_000, "both isolated", |network| {
            network.running().all(|(_, machine)| machine.snapshot.isolated())
        });
    }
}
