//! Who is found online and offline, and how soon.

use crate::machine::Disk;
use crate::network::{Network, settled_with, tracked};
use crate::{sample, seeds};
use distomon::mesh::Event;
use distomon::mesh::engine::event::Notice;
use distomon::mesh::wire::observation::{Failure, ProbeStatus};

/// Whether all that run say so of the node `target`.
fn all_find(network: &Network, target: usize, status: ProbeStatus) -> bool {
    let mut others = network.running().filter(|(index, _)| *index != target);
    others.all(|(index, _)| network.finds(index, target) == status)
}

fn anyone_finds(network: &Network, target: usize, status: ProbeStatus) -> bool {
    let mut others = network.running().filter(|(index, _)| *index != target);
    others.any(|(index, _)| network.finds(index, target) == status)
}

#[test]
fn all_are_online_within_seconds_and_hold_everyones_reports() {
    for seed in seeds() {
        for count in [2, 3, 16] {
            let mut network = Network::start(sample::members(count), seed);
            network.wait(2_500, "all online", Network::is_whole);
            network.run_checking(5_000, "all stays well", Network::is_whole);
        }
    }
}

#[test]
fn a_killed_node_is_offline_after_its_retries_and_online_after_one_success() {
    for seed in seeds() {
        for count in [3, 9] {
            let mut network = tracked(count, seed);
            let disk = network.kill(0);
            // The first attempt and two more, each a quarter of the poll rate after the one before.
            network.run_checking(490, "offline too early", |network| {
                !anyone_finds(network, 0, ProbeStatus::Offline)
            });
            network.wait(1_350, "offline for all", |network| all_find(network, 0, ProbeStatus::Offline));
            let found = network.machine(1).finds(&sample::node_id(0)).expect("it is a member");
            assert_eq!(found.error, Some(Failure::Refused));
            let latest = network.machine(1).holds(&sample::node_id(0)).expect("it was there").id();
            assert_eq!(found.head, Some(latest), "the newest report before it died");
            network.boot(0, 0, disk);
            network.wait(2_500, "online again", Network::is_whole);
        }
    }
}

#[test]
fn a_hung_node_is_offline_before_its_whole_timeouts_add_up() {
    for seed in seeds() {
        let mut network = tracked(5, seed);
        network.freeze(0, 60_000);
        // Until its turn 1.1 s, two short attempts of 0.25 s, and the last of 1 s; pushes wait as briefly.
        network.wait(2_900, "offline for all", |network| all_find(network, 0, ProbeStatus::Offline));
        let found = network.machine(1).finds(&sample::node_id(0)).expect("it is a member");
        assert_eq!(found.error, Some(Failure::Timeout));
    }
}

#[test]
fn a_node_that_was_never_there_is_offline_and_isolates_nobody() {
    for seed in seeds() {
        let mut network = Network::start(sample::members(2), seed);
        network.kill(1);
        network.kill(0);
        // What was under way is gone before the first of the two starts again.
        network.run(100);
        network.boot(0, 0, Disk::default());
        network.wait(4_000, "offline", |network| network.finds(0, 1) == ProbeStatus::Offline);
        assert!(!network.machine(0).snapshot.isolated(), "never seen");
    }
}

#[test]
fn lost_messages_are_not_lost_nodes() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        network.links.lose(1);
        network.run_checking(60_000, "offline by loss", |network| {
            (0..4).all(|target| !anyone_finds(network, target, ProbeStatus::Offline))
        });
    }
}

/// Four nodes, of which the first is reached by nobody and calls the others.
fn with_caller(seed: u64) -> Network {
    let mut members = sample::members(4);
    members[0].url = None;
    settled_with(members, seed)
}

#[test]
fn a_node_that_only_calls_out_takes_part() {
    for seed in seeds() {
        let mut network = with_caller(seed);
        network.run_checking(20_000, "the caller stays online", Network::is_whole);
        network.kill(0);
        // Three poll rates and the timeout, counted from its last call.
        network.run_checking(2_000, "offline too early", |network| {
            !anyone_finds(network, 0, ProbeStatus::Offline)
        });
        network.wait(3_000, "offline for all", |network| all_find(network, 0, ProbeStatus::Offline));
    }
}

#[test]
fn a_slow_caller_is_judged_by_how_often_it_calls() {
    for seed in seeds() {
        let mut members = sample::members(3);
        members[0].url = None;
        // Node 1 is to be called every 8 s: more rarely than three times the caller's own rate.
        members[1].poll_rate_ms = 8_000;
        let mut network = Network::start(members, seed);
        network.wait(12_000, "all online", Network::is_whole);
        network.run_checking(40_000, "the slow caller stays online", |network| {
            network.finds(1, 0) == ProbeStatus::Online
        });
    }
}

#[test]
fn a_gap_of_time_is_a_start_and_calls_nobody_offline() {
    for seed in seeds() {
        let mut network = with_caller(seed);
        network.freeze(1, 20_000);
        network.run(19_990);
        assert!(all_find(&network, 1, ProbeStatus::Offline), "it was away");
        network.run_checking(8_000, "calls others offline after a gap", |network| {
            [0, 2, 3].into_iter().all(|peer| network.finds(1, peer) != ProbeStatus::Offline)
        });
        assert!(network.told(1, |note| matches!(note, Notice::ResumedAfterGap { .. })) == 1);
        assert!(network.is_whole(), "all is well again");
    }
}

#[test]
fn after_a_gap_what_is_older_than_the_gap_is_no_sign_of_life() {
    for seed in seeds() {
        let mut network = tracked(4, seed);
        network.freeze(1, 60_000);
        // Node 3 goes on for a while and dies: the others hold newer reports than the sleeper, and its
        // own requests wait to be read.
        network.run(20_000);
        network.kill(3);
        network.run(39_000);
        let at = network.machine(1).snapshot.membership().index("node-03").expect("a member");
        network.run(1_010);
        network.run_checking(10_000, "the dead one looks alive", |network| {
            let machine = network.machine(1);
            !machine.snapshot.is_fresh(at, machine.now(network.now_ms).mono_ms)
        });
    }
}

#[test]
fn leaving_is_told_at_once_and_keeps_nobody_waiting() {
    for seed in seeds() {
        let mut network = tracked(12, seed);
        let id = sample::node_id(0);
        // One peer hangs; the goodbye does not wait for it longer than for any push.
        network.freeze(5, 60_000);
        network.tell(0, Event::Leaving);
        network.wait(300, "idle", |network| network.machine(0).mesh.is_idle());
        network.kill(0);
        network.wait(1_500, "the last report reaches everybody", |network| {
            let mut others = network.running().filter(|(index, _)| *index != 5);
            others.all(|(_, machine)| machine.holds(&id).is_some_and(|latest| latest.report().leaving))
        });
    }
}

#[test]
fn those_who_left_isolate_nobody_until_their_grace_is_over() {
    for seed in seeds() {
        let mut network = tracked(3, seed);
        for leaver in [1, 2] {
            network.tell(leaver, Event::Leaving);
            network.wait(500, "idle", |network| network.machine(leaver).mesh.is_idle());
            network.kill(leaver);
        }
        network.run(10_000);
        assert_eq!(network.finds(0, 1), ProbeStatus::Offline);
        assert!(!network.machine(0).snapshot.isolated(), "they said goodbye");
        network.run(600_000);
        assert!(network.machine(0).snapshot.isolated(), "ten minutes later they are missed");
    }
}
