//! How soon probes find a node online or offline.

use crate::network::setup::{converged, converged_with};
use crate::network::{Network, Setup};
use crate::virtual_host::Disk;
use crate::{fixtures, seeds};
use distomon::mesh::Event;
use distomon::mesh::engine::event::Notice;
use distomon::mesh::wire::observation::{Failure, ProbeStatus};

/// Whether all other running nodes report this status of the node `target`.
fn all_report(network: &Network, target: usize, status: ProbeStatus) -> bool {
    let mut others = network.running().filter(|(index, _)| *index != target);
    others.all(|(index, _)| network.probe_status(index, target) == status)
}

/// Whether another running node reports this status of the node `target`.
fn any_reports(network: &Network, target: usize, status: ProbeStatus) -> bool {
    let mut others = network.running().filter(|(index, _)| *index != target);
    others.any(|(index, _)| network.probe_status(index, target) == status)
}

#[test]
fn a_network_converges_within_2500_ms_and_stays_converged() {
    for seed in seeds() {
        for count in [2, 3, 16] {
            let mut network = Setup::new(fixtures::members(count), seed).start();
            network.run_until(2_500, "all online", Network::is_converged);
            network.run_asserting(5_000, "stays converged", Network::is_converged);
        }
    }
}

#[test]
fn offline_after_retry_plus_one_failures_and_online_after_one_success() {
    for seed in seeds() {
        for count in [3, 9] {
            let mut network = converged(count, seed);
            let disk = network.kill(0);
            // The first attempt and two retries, each a quarter of the poll rate after the one before.
            network.run_asserting(490, "not offline yet", |network| {
                !any_reports(network, 0, ProbeStatus::Offline)
            });
            network
                .run_until(1_350, "offline for all", |network| all_report(network, 0, ProbeStatus::Offline));
            let observation = network.host(1).observation(&fixtures::node_id(0)).expect("a member");
            assert_eq!(observation.error, Some(Failure::Refused));
            let latest = network.host(1).latest(&fixtures::node_id(0)).expect("a converged network").id();
            assert_eq!(observation.head, Some(latest), "the newest report before the crash");
            network.boot(0, 0, disk);
            network.run_until(2_500, "online again", Network::is_converged);
        }
    }
}

#[test]
fn retries_of_a_hung_node_use_short_timeouts() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        network.freeze(0, 60_000);
        // 1.1 s until the next probe, two short attempts of 0.25 s, and the last of 1 s; pushes wait 0.25 s as well.
        network.run_until(2_900, "offline for all", |network| all_report(network, 0, ProbeStatus::Offline));
        let observation = network.host(1).observation(&fixtures::node_id(0)).expect("a member");
        assert_eq!(observation.error, Some(Failure::Timeout));
    }
}

#[test]
fn a_node_that_never_ran_is_offline_and_isolates_no_other() {
    for seed in seeds() {
        let mut network = Setup::new(fixtures::members(2), seed).start();
        network.kill(1);
        network.kill(0);
        // Packets in flight arrive before node 0 restarts.
        network.run(100);
        network.boot(0, 0, Disk::default());
        network.run_until(4_000, "node 1 is offline", |network| {
            network.probe_status(0, 1) == ProbeStatus::Offline
        });
        assert!(!network.host(0).snapshot.isolated(), "a node that was never seen isolates no other");
    }
}

#[test]
fn one_per_cent_loss_makes_no_node_offline() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.links.set_loss(1);
        network.run_asserting(60_000, "no node is offline", |network| {
            (0..4).all(|target| !any_reports(network, target, ProbeStatus::Offline))
        });
    }
}

/// A network of four nodes, of which node 0 has no url: it only calls.
fn with_outbound_only_node(seed: u64) -> Network {
    let mut members = fixtures::members(4);
    members[0].url = None;
    converged_with(members, seed)
}

#[test]
fn an_outbound_only_node_is_online_while_it_calls() {
    for seed in seeds() {
        let mut network = with_outbound_only_node(seed);
        network.run_asserting(20_000, "node 0 stays online", Network::is_converged);
        network.kill(0);
        // The limit is three poll rates and the timeout after its last call.
        network.run_asserting(2_000, "not offline yet", |network| {
            !any_reports(network, 0, ProbeStatus::Offline)
        });
        network.run_until(3_000, "offline for all", |network| all_report(network, 0, ProbeStatus::Offline));
    }
}

#[test]
fn an_outbound_only_node_is_measured_by_the_interval_of_its_calls() {
    for seed in seeds() {
        let mut members = fixtures::members(3);
        members[0].url = None;
        // Node 0 calls node 1 every 8 s, which is longer than three of its poll rates.
        members[1].poll_rate_ms = 8_000;
        let mut network = Setup::new(members, seed).start();
        network.run_until(12_000, "all online", Network::is_converged);
        network.run_asserting(40_000, "node 0 stays online", |network| {
            network.probe_status(1, 0) == ProbeStatus::Online
        });
    }
}

#[test]
fn a_node_that_resumes_after_a_gap_reports_no_other_offline() {
    for seed in seeds() {
        let mut network = with_outbound_only_node(seed);
        network.freeze(1, 20_000);
        network.run(19_990);
        assert!(all_report(&network, 1, ProbeStatus::Offline), "node 1 hung");
        network.run_asserting(8_000, "node 1 reports no other offline", |network| {
            [0, 2, 3].into_iter().all(|peer| network.probe_status(1, peer) != ProbeStatus::Offline)
        });
        assert_eq!(network.count_notices(1, |notice| matches!(notice, Notice::ResumedAfterGap { .. })), 1);
        assert!(network.is_converged(), "converged again");
    }
}

#[test]
fn a_report_older_than_the_gap_is_not_fresh_after_it() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.freeze(1, 60_000);
        // Node 3 crashes later than node 1 hung: the others hold newer reports of it than node 1 does, and requests of
        // node 3 are queued at node 1.
        network.run(20_000);
        network.kill(3);
        network.run(39_000);
        let at = network.host(1).snapshot.membership().index("node-03").expect("a member");
        network.run(1_010);
        network.run_asserting(10_000, "the dead node is not fresh", |network| {
            let host = network.host(1);
            !host.snapshot.is_fresh(at, host.now(network.now_ms).mono_ms)
        });
    }
}

#[test]
fn a_leaving_report_reaches_all_peers_and_a_hung_peer_delays_it_at_most_300_ms() {
    for seed in seeds() {
        let mut network = converged(12, seed);
        let id = fixtures::node_id(0);
        // The push to the hung peer times out as any other.
        network.freeze(5, 60_000);
        network.step(0, Event::Leaving(fixtures::LEAVE));
        network.run_until(300, "no call is in flight", |network| network.host(0).engine.is_idle());
        network.kill(0);
        network.run_until(1_500, "the last report reaches all others", |network| {
            let mut others = network.running().filter(|(index, _)| *index != 5);
            others.all(|(_, host)| host.latest(&id).is_some_and(|latest| latest.report().leaving.is_some()))
        });
    }
}

#[test]
fn stopped_nodes_isolate_no_other_for_ten_minutes() {
    for seed in seeds() {
        let mut network = converged(3, seed);
        for leaver in [1, 2] {
            network.step(leaver, Event::Leaving(fixtures::LEAVE));
            network.run_until(500, "no call is in flight", |network| network.host(leaver).engine.is_idle());
            network.kill(leaver);
        }
        network.run(10_000);
        assert_eq!(network.probe_status(0, 1), ProbeStatus::Offline);
        assert!(!network.host(0).snapshot.isolated(), "they were stopped on purpose");
        network.run(600_000);
        assert!(network.host(0).snapshot.isolated(), "the grace period is over");
    }
}
