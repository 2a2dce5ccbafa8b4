//! How reports travel: soon, around broken links, and not twice.

use crate::network::{Network, tracked};
use crate::{sample, seeds};
use distomon::mesh::engine::event::Notice;
use distomon::mesh::wire::observation::ProbeStatus;

#[test]
fn a_change_is_published_and_pushed_at_once() {
    for seed in seeds() {
        let mut network = tracked(8, seed);
        network.kill(0);
        let changed =
            |note: &Notice| matches!(note, Notice::PeerStatusChanged { to: ProbeStatus::Offline, .. });
        network.wait(2_000, "noticed", |network| network.told(1, changed) > 0);
        network.wait(100, "published", |network| network.finds(1, 0) == ProbeStatus::Offline);
        let report_id = network.machine(1).snapshot.own_report().expect("it reports").id();
        // Each way takes up to 4 ms; who is busy with the dead one is called when that is over.
        network.wait(20, "pushed", |network| {
            let mut others = network.running().filter(|(index, _)| *index != 1);
            let id = sample::node_id(1);
            others.all(|(_, machine)| machine.holds(&id).is_some_and(|latest| latest.id() >= report_id))
        });
    }
}

#[test]
fn a_change_that_meets_busy_peers_is_not_forgotten() {
    for seed in seeds() {
        let mut members = sample::members(4);
        for member in &mut members {
            member.poll_rate_ms = 10_000;
        }
        let mut network = super::network::settled_slowly(members, seed);
        network.kill(0);
        // Every call takes a while, so that the changes of all three cross each other's pushes.
        network.links.slow(200);
        network.wait(20_000, "all have noticed", |network| {
            (1..4).all(|index| network.finds(index, 0) == ProbeStatus::Offline)
        });
        network.wait(2_000, "all know what all found", |network| {
            (1..4).all(|holder| {
                (1..4).all(|author| {
                    let latest = network.machine(holder).holds(&sample::node_id(author)).expect("tracked");
                    latest.report().observation("node-00").is_some_and(|o| o.status == ProbeStatus::Offline)
                })
            })
        });
    }
}

#[test]
fn reports_go_around_a_broken_link() {
    for seed in seeds() {
        let mut network = tracked(3, seed);
        network.links.cut(0, 1);
        network.wait(4_000, "both say so", |network| {
            network.finds(0, 1) == ProbeStatus::Offline && network.finds(1, 0) == ProbeStatus::Offline
        });
        // A second until the next report, and as long until each of two exchanges, which come a tenth late
        // at worst: that is less than what counts as silence, 4 intervals and 2 timeouts.
        network.run_checking(30_000, "the reports still come", |network| {
            [(0, 1), (1, 0)].into_iter().all(|(one, other)| {
                let machine = network.machine(one);
                let state = &machine.snapshot.states()[other];
                state.advanced && machine.now(network.now_ms).mono_ms - state.created_ms <= 3_300
            })
        });
        assert_eq!(network.finds(2, 0), ProbeStatus::Online);
        network.links.mend();
        network.wait(2_500, "whole again", Network::is_whole);
    }
}

#[test]
fn reports_go_along_a_chain() {
    for seed in seeds() {
        let mut network = tracked(6, seed);
        for one in 0..6 {
            for other in one + 2..6 {
                network.links.cut(one, other);
            }
        }
        network.run(10_000);
        let last =
            |network: &Network| network.machine(5).holds(&sample::node_id(0)).expect("latest").id().seq;
        let before = last(&network);
        network.run(20_000);
        assert!(last(&network) >= before + 15, "from end to end, {before} then {}", last(&network));
    }
}

#[test]
fn little_travels_twice() {
    for seed in seeds() {
        let mut network = tracked(16, seed);
        let count = |network: &Network| {
            let received = network.running().map(|(_, machine)| machine.received);
            received.fold((0, 0), |(new, stale), received| (new + received.new, stale + received.stale))
        };
        let (new_before, stale_before) = count(&network);
        network.run(10_000);
        let (new_after, stale_after) = count(&network);
        let (new, stale) = (new_after - new_before, stale_after - stale_before);
        let traffic = network.traffic;
        // Each of 16 nodes hears of 15 others once in an interval.
        assert!((2_200..=2_700).contains(&new), "{new} reports");
        assert!(stale * 4 <= new, "{stale} of {new} reports came twice; {traffic:?}");
        assert!((2_200..=2_700).contains(&traffic.probes), "{traffic:?}");
        assert!(traffic.follow_ups * 10 <= traffic.probes, "{traffic:?}");
        assert_eq!(traffic.pushes, 0, "nothing changed; {traffic:?}");
    }
}
