//! One key used by two processes, and nodes that lost their state.

use crate::network::Network;
use crate::network::setup::converged;
use crate::virtual_host::{Clock, Disk};
use crate::{fixtures, seeds};
use distomon::mesh::engine::event::{Notice, ReceivedReports};
use distomon::mesh::id::ReportId;
use distomon::mesh::verdict::NodeStatus;
use distomon::mesh::wire::heads::Heads;
use distomon::mesh::wire::report::Report;
use distomon::mesh::{Event, Signer as _};

/// The number of running hosts with a proof that node 0 equivocated.
fn count_proofs(network: &Network) -> usize {
    let hosts = network.running();
    hosts.filter(|(_, host)| host.snapshot.states()[0].equivocation.is_some()).count()
}

/// A clock that is a day behind, as after a power cut without a battery.
fn day_behind() -> Clock {
    Clock { skew_ms: -86_400_000, ..Clock::default() }
}

/// The id of the newest report of the node on `host`.
fn own_id(network: &Network, host: usize) -> ReportId {
    network.host(host).snapshot.own_report().expect("each node reports").id()
}

fn count_recovered(network: &Network, host: usize) -> usize {
    network.count_notices(host, |notice| matches!(notice, Notice::EpochRecovered { .. }))
}

/// Whether no node is in conflict for any other, and none reports a duplicate key.
fn is_honest(network: &Network) -> bool {
    network.running().all(|(_, host)| {
        let verdicts = &host.snapshot.verdicts().nodes;
        !host.snapshot.duplicate_key()
            && verdicts.iter().all(|verdict| verdict.status != NodeStatus::Conflict)
    })
}

/// A network in which a thief of node 0's key sent different reports with one id to nodes 1 and 3, while node 0 is
/// off.
fn with_stolen_key(seed: u64) -> Network {
    let mut network = converged(5, seed);
    network.kill(0);
    network.run(100);
    let epoch =
        network.host(1).latest(&fixtures::node_id(0)).expect("a converged network").id().epoch + 1_000;
    for (victim, isolated) in [(1, true), (3, false)] {
        let report = Report { isolated, ..fixtures::report(0, epoch, 7) };
        let report = fixtures::KeySigner(fixtures::keypair(0)).sign(report);
        let heads = Heads::empty(network.host(victim).snapshot.membership().clone());
        let received = ReceivedReports { heads, reports: vec![report], proofs: Vec::new() };
        network.step(victim, Event::RequestReceived { from: fixtures::node_id(0), received });
    }
    network
}

#[test]
fn a_proof_of_equivocation_is_stored_and_relayed_to_all_nodes() {
    for seed in seeds() {
        let mut network = with_stolen_key(seed);
        assert_eq!(count_proofs(&network), 0);
        let disk = network.kill(4);
        network.run_until(3_000, "all running nodes hold the proof", |network| count_proofs(network) == 3);
        assert_eq!(network.host(2).disk.proofs.len(), 1, "stored once");
        assert_eq!(
            network.count_notices(2, |notice| matches!(notice, Notice::Equivocated { .. })),
            1,
            "logged once"
        );
        network.boot(4, 4, disk);
        network.boot(0, 0, Disk::default());
        network.run_until(4_000, "restarted nodes hold the proof", |network| count_proofs(network) == 5);
        assert!(network.running().all(|(_, host)| host.received.rejected == 0), "no report was forged");
    }
}

#[test]
fn a_proof_survives_a_restart_and_causes_no_repeated_follow_ups() {
    for seed in seeds() {
        let mut network = with_stolen_key(seed);
        network.run_until(3_000, "all hold the proof", |network| count_proofs(network) == 4);
        // Node 0 stays off, so that no node holds a report of it after the restart.
        let disks = [1, 2, 3, 4].map(|host| (host, network.kill(host)));
        for (host, disk) in disks {
            network.boot(host, host, disk);
        }
        network.run(5_000);
        assert_eq!(count_proofs(&network), 4);
        assert!((1..5).all(|host| network.host(host).latest(&fixtures::node_id(0)).is_none()));
        let before = network.traffic;
        network.run(10_000);
        let (probes, follow_ups) =
            (network.traffic.probes - before.probes, network.traffic.follow_ups - before.follow_ups);
        assert!(follow_ups * 2 < probes, "{follow_ups} follow-ups to {probes} probes");
    }
}

#[test]
fn a_clone_and_its_original_detect_the_duplicate_key() {
    for seed in seeds() {
        let mut network = converged(5, seed);
        let disk = network.kill(0);
        network.boot(0, 0, disk.clone());
        network.boot(5, 0, disk);
        network.run_until(10_000, "one of the two reports a duplicate key", |network| {
            [0, 5].into_iter().any(|host| network.host(host).snapshot.duplicate_key())
        });
    }
}

#[test]
fn a_node_that_lost_its_state_resumes_with_a_higher_epoch() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        network.kill(0);
        network.run(3_000);
        // Without state, and with a clock that is a day behind, its epoch is lower than any that it used before.
        network.boot_with(0, 0, Disk::default(), day_behind());
        network.run_until(5_000, "converged again", Network::is_converged);
        assert_eq!(network.count_notices(0, |notice| matches!(notice, Notice::Superseded { .. })), 1);
        assert!(!network.host(0).snapshot.duplicate_key());
        network.run_asserting(10_000, "it stays converged", Network::is_converged);
        let epoch = own_id(&network, 0).epoch;
        assert_eq!(network.host(0).disk.epoch, epoch, "stored before it was used");
        // The next start continues from that epoch in spite of the clock.
        let disk = network.kill(0);
        network.boot_with(0, 0, disk, day_behind());
        network.run_until(5_000, "converged again", Network::is_converged);
        assert_eq!(network.count_notices(0, |notice| matches!(notice, Notice::Superseded { .. })), 0);
    }
}

#[test]
fn a_node_with_a_damaged_epoch_recovers_one_from_its_peers() {
    for seed in seeds() {
        for forgets in [false, true] {
            let mut network = converged(4, seed);
            let before = own_id(&network, 0);
            let mut disk = network.kill(0);
            network.run(3_000);
            disk.epoch_is_damaged = true;
            if forgets {
                (disk.min_reports, disk.prior) = (Vec::new(), None);
            }
            network.boot_with(0, 0, disk, day_behind());
            // Two rounds of probes.
            network.run_asserting(1_999, "it publishes nothing", |network| {
                let snapshot = &network.host(0).snapshot;
                snapshot.own_report().is_none() && network.verdict(0, 0) == NodeStatus::Degraded
            });
            network.run_until(3_000, "all are up again", |network| {
                network.is_converged() && (0..4).all(|viewer| network.verdict(viewer, 0) == NodeStatus::Up)
            });
            let epoch = own_id(&network, 0).epoch;
            assert!(epoch > before.epoch && epoch < before.epoch + (1 << 22), "{epoch} after {before}");
            assert_eq!(network.host(0).disk.epoch, epoch, "stored before it was used");
            network.run_asserting(10_000, "it stays converged", |network| {
                network.is_converged() && is_honest(network)
            });
            assert_eq!(count_recovered(&network, 0), 1);
            let superseded = network.count_notices(0, |notice| matches!(notice, Notice::Superseded { .. }));
            assert_eq!(superseded, 0);
        }
    }
}

#[test]
fn a_node_with_a_damaged_epoch_and_dead_peers_publishes_after_30_s() {
    for seed in seeds() {
        let mut network = converged(3, seed);
        let before = own_id(&network, 0);
        let peers = [1, 2].map(|host| (host, network.kill(host)));
        let disk = Disk { epoch_is_damaged: true, ..network.kill(0) };
        network.boot_with(0, 0, disk, day_behind());
        network.run_asserting(29_999, "it publishes nothing", |network| {
            network.host(0).snapshot.own_report().is_none()
        });
        network.run_until(1, "it publishes", |network| network.host(0).snapshot.own_report().is_some());
        assert!(own_id(&network, 0) > before, "saved with the heads");
        for (host, disk) in peers {
            network.boot(host, host, disk);
        }
        network.run_until(10_000, "converged again", Network::is_converged);
        network.run_asserting(5_000, "no conflict", is_honest);
    }
}

/// The number of random recoveries.
const RECOVERIES: u64 = 60;

/// Peers that are off until later, restarts before the recovery ends, clocks that are behind or ahead, and lost heads.
#[test]
fn a_damaged_epoch_causes_no_conflict_in_random_networks() {
    for seed in seeds().into_iter().flat_map(|seed| seed * 1_000..seed * 1_000 + RECOVERIES / 2) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let count = rng.usize(3..=5);
        let mut network = converged(count, seed);
        let before = own_id(&network, 0);
        let off: Vec<_> = (1..count).filter(|_| rng.u8(0..3) == 0).collect();
        let mut off: Vec<_> = off.into_iter().map(|host| (host, network.kill(host))).collect();
        network.links.set_loss(if rng.bool() { 20 } else { 0 });
        for _ in 0..rng.u8(1..=4) {
            let mut disk = Disk { epoch_is_damaged: true, ..network.kill(0) };
            if rng.bool() {
                (disk.min_reports, disk.prior) = (Vec::new(), None);
            }
            let skew_ms = rng.i64(-100_000..100_000);
            network.boot_with(0, 0, disk, Clock { skew_ms, ..Clock::default() });
            network.run_asserting(rng.u64(1..4_000), "no conflict", is_honest);
        }
        if rng.bool() {
            network.run_asserting(rng.u64(1..40_000), "no conflict", is_honest);
        }
        network.links.set_loss(0);
        for (host, disk) in off.drain(..) {
            network.boot(host, host, disk);
        }
        network.run_until(35_000, "converged again", Network::is_converged);
        network.run_asserting(5_000, "no conflict", is_honest);
        assert!(network.is_converged() && own_id(&network, 0) > before, "seed {seed}");
    }
}

#[test]
fn a_second_newer_report_under_the_own_key_means_a_duplicate_key() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        // The clone starts later, so its epoch is higher and its reports replace those of the original.
        network.run(1_000);
        network.boot(4, 0, Disk::default());
        network.run_until(10_000, "one of the two reports a duplicate key", |network| {
            [0, 4].into_iter().any(|host| network.host(host).snapshot.duplicate_key())
        });
        for host in [0, 4] {
            let superseded =
                network.count_notices(host, |notice| matches!(notice, Notice::Superseded { .. }));
            assert!(superseded <= 1, "host {host} chose a higher epoch {superseded} times");
        }
        for bystander in 1..4 {
            assert!(!network.host(bystander).snapshot.duplicate_key());
        }
    }
}

#[test]
fn a_restart_is_not_a_duplicate_key() {
    for seed in seeds() {
        let mut network = converged(4, seed);
        for _ in 0..3 {
            let disk = network.kill(0);
            network.boot(0, 0, disk);
            network.run_until(3_000, "converged again", Network::is_converged);
            let unexpected = network.count_notices(0, |notice| {
                !matches!(notice, Notice::PeerStatusChanged { .. } | Notice::VerdictChanged(_))
            });
            assert_eq!(unexpected, 0, "{}", network.describe());
        }
        assert!(network.running().all(|(_, host)| host.received.rejected == 0));
        assert_eq!(fixtures::node_id(0), *network.host(0).id());
    }
}
