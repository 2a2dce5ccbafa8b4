//! Nodes that others wrongly report offline, and nodes that report themselves isolated.

use crate::network::setup::{converged, converged_slowly};
use crate::{fixtures, seeds};
use distomon::mesh::wire::observation::ProbeStatus;

#[test]
fn an_unreachable_node_refutes_offline_votes() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        network.links.block_inbound(0);
        network.run_until(5_000, "all report it offline", |network| {
            (1..5).all(|observer| network.probe_status(observer, 0) == ProbeStatus::Offline)
        });
        assert!(!network.host(0).snapshot.isolated(), "it reaches every peer");
        network.run_until(2_500, "every offline vote is refuted", |network| {
            (1..5).all(|observer| {
                let head = network
                    .host(observer)
                    .observation(&fixtures::node_id(0))
                    .and_then(|observation| observation.head);
                let head = head.expect("a converged network");
                network.running().all(|(_, host)| {
                    let latest = host.latest(&fixtures::node_id(0)).expect("a converged network").id();
                    latest.epoch == head.epoch && latest.seq > head.seq + 1
                })
            })
        });
        network.run_asserting(20_000, "its reports are fresh", |network| {
            (1..5).all(|observer| {
                let host = network.host(observer);
                host.snapshot.is_fresh(0, host.now(network.now_ms).mono_ms)
            })
        });
    }
}

#[test]
fn a_refuting_node_pushes_more_often_than_it_probes() {
    for seed in seeds() {
        let mut members = fixtures::members(5);
        for member in &mut members {
            member.poll_rate_ms = 8_000;
        }
        let mut network = converged_slowly(members, seed);
        network.run(8_000);
        network.links.block_inbound(0);
        network.run_until(30_000, "all report it offline", |network| {
            (1..5).all(|observer| network.probe_status(observer, 0) == ProbeStatus::Offline)
        });
        let before = network.traffic.pushes;
        network.run(8_000);
        let pushes = network.traffic.pushes - before;
        assert!((14..=50).contains(&pushes), "four peers every two seconds, not {pushes} in 8 s");
        network.run(30_000);
        let before = network.traffic.pushes;
        network.run(30_000);
        assert_eq!(network.traffic.pushes, before, "a refutation is pushed once");
    }
}

#[test]
fn a_node_without_uplink_reports_itself_isolated() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        for other in 1..5 {
            network.links.cut(0, other);
        }
        network.run_until(5_000, "node 0 is isolated", |network| network.host(0).snapshot.isolated());
        network.run_asserting(10_000, "no other node is isolated", |network| {
            (1..5).all(|index| !network.host(index).snapshot.isolated())
        });
        network.run_until(1_000, "its report says so", |network| {
            network.host(0).snapshot.own_report().is_some_and(|own| own.report().isolated)
        });
        network.links.reset();
        network.run_until(3_000, "no longer isolated", |network| !network.host(0).snapshot.isolated());
    }
}

#[test]
fn both_nodes_of_a_broken_pair_are_isolated() {
    for seed in seeds() {
        let mut network = converged(2, seed);
        network.links.cut(0, 1);
        network.run_until(5_000, "both are isolated", |network| {
            network.running().all(|(_, host)| host.snapshot.isolated())
        });
    }
}
