//! How reports reach all nodes: quickly, around broken links, and without much duplication.

use crate::byzantine::Misbehavior;
use crate::network::Network;
use crate::network::setup::{converged, converged_slowly};
use crate::{fixtures, seeds};
use distomon::mesh::engine::event::Notice;
use distomon::mesh::wire::observation::ProbeStatus;

#[test]
fn a_status_change_is_pushed_to_all_peers_within_20_ms() {
    for seed in seeds() {
        let mut network = converged(8, seed);
        network.kill(0);
        let changed =
            |notice: &Notice| matches!(notice, Notice::PeerStatusChanged { to: ProbeStatus::Offline, .. });
        network.run_until(2_000, "the change is noticed", |network| network.count_notices(1, changed) > 0);
        network.run_until(100, "the change is in a report", |network| {
            network.probe_status(1, 0) == ProbeStatus::Offline
        });
        let report_id = network.host(1).snapshot.own_report().expect("each node reports").id();
        // Each way takes up to 4 ms. A peer that is calling the dead node is called after that.
        network.run_until(20, "the report is pushed to all", |network| {
            let mut others = network.running().filter(|(index, _)| *index != 1);
            let id = fixtures::node_id(1);
            others.all(|(_, host)| host.latest(&id).is_some_and(|latest| latest.id() >= report_id))
        });
    }
}

#[test]
fn a_status_change_reaches_peers_that_were_busy() {
    for seed in seeds() {
        let mut members = fixtures::members(4);
        for member in &mut members {
            member.poll_rate_ms = 10_000;
        }
        let mut network = converged_slowly(members, seed);
        network.kill(0);
        // Slow calls make the pushes of all three nodes overlap.
        network.links.set_delay(200);
        network.run_until(20_000, "all report it offline", |network| {
            (1..4).all(|index| network.probe_status(index, 0) == ProbeStatus::Offline)
        });
        network.run_until(2_000, "all hold the reports of all", |network| {
            (1..4).all(|holder| {
                (1..4).all(|author| {
                    let latest =
                        network.host(holder).latest(&fixtures::node_id(author)).expect("a converged network");
                    latest.report().observation("node-00").is_some_and(|o| o.status == ProbeStatus::Offline)
                })
            })
        });
    }
}

#[test]
fn reports_are_relayed_around_a_broken_link() {
    for seed in seeds() {
        let mut network = converged(3, seed);
        network.links.cut(0, 1);
        network.run_until(4_000, "both ends report it", |network| {
            network.probe_status(0, 1) == ProbeStatus::Offline
                && network.probe_status(1, 0) == ProbeStatus::Offline
        });
        // One second until the next report and until each of two exchanges, each at most a tenth late. That is
        // less than the silence limit of 4 intervals and 2 timeouts.
        network.run_asserting(30_000, "each has a recent report of the other", |network| {
            [(0, 1), (1, 0)].into_iter().all(|(one, other)| {
                let host = network.host(one);
                let state = &host.snapshot.states()[other];
                state.advanced && host.now(network.now_ms).mono_ms - state.created_ms <= 3_300
            })
        });
        assert_eq!(network.probe_status(2, 0), ProbeStatus::Online);
        network.links.reset();
        network.run_until(2_500, "converged again", Network::is_converged);
    }
}

#[test]
fn reports_are_relayed_along_a_chain() {
    for seed in seeds() {
        let mut network = converged(6, seed);
        for one in 0..6 {
            for other in one + 2..6 {
                network.links.cut(one, other);
            }
        }
        network.run(10_000);
        let last = |network: &Network| {
            network.host(5).latest(&fixtures::node_id(0)).expect("a converged network").id().seq
        };
        let before = last(&network);
        network.run(20_000);
        assert!(last(&network) >= before + 15, "sequence number {before} became {} in 20 s", last(&network));
    }
}

#[test]
fn at_most_a_fifth_of_received_reports_are_stale() {
    for (seed, jumps) in seeds().into_iter().flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut network = converged(16, seed);
        // Their sequence numbers give nodes no priority.
        for node in (8..16).filter(|_| jumps) {
            network.set_misbehavior(node, Misbehavior::JumpSeq, true);
        }
        let count = |network: &Network| {
            let received = network.running().map(|(_, host)| host.received);
            received.fold((0, 0), |(new, stale), received| (new + received.new, stale + received.stale))
        };
        let (new_before, stale_before) = count(&network);
        network.run(10_000);
        let (new_after, stale_after) = count(&network);
        let (new, stale) = (new_after - new_before, stale_after - stale_before);
        let traffic = network.traffic;
        // Each of 16 nodes receives a report of 15 others in each interval.
        assert!((2_200..=2_700).contains(&new), "{new} new reports");
        assert!(stale * 4 <= new, "{stale} stale beside {new} new reports; {traffic:?}");
        assert!((2_200..=2_700).contains(&traffic.probes), "{traffic:?}");
        assert!(traffic.follow_ups * 10 <= traffic.probes, "{traffic:?}");
        assert_eq!(traffic.pushes, 0, "pushed although nothing changed; {traffic:?}");
    }
}
