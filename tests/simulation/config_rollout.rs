//! Configuration changes that reach one node after another: nodes that are not part of a change must not notice it.

use crate::fixtures;
use crate::network::setup::converged;
use crate::node_set::NodeSet;
use crate::rollout::{PAUSE_MS, Rollout, all_up};
use crate::seeds;
use crate::virtual_host::Disk;
use distomon::mesh::Event;
use distomon::mesh::membership::ObserverPolicy;

#[test]
fn adding_nodes_goes_unnoticed() {
    for (seed, count) in seeds().into_iter().flat_map(|seed| [(seed, 1), (seed, 3)]) {
        let new: Vec<_> = (5..5 + count).collect();
        let mut rollout = Rollout::of_five(&new, seed);
        let [early, later] = rollout.split(0..5);
        for _ in &new {
            rollout.network.add_member();
        }
        rollout.apply_to(early);
        for &node in &new {
            rollout.network.boot(node, node, Disk::default());
        }
        rollout.apply_to(later);
        rollout.network.run_until(8_000, "all find all up", all_up);
        rollout.assert_no_notices();
        rollout.assert_recovers();
    }
}

#[test]
fn removing_running_or_dead_nodes_goes_unnoticed() {
    for (seed, count) in seeds().into_iter().flat_map(|seed| [(seed, 1), (seed, 2)]) {
        for dead in [false, true] {
            let removed: Vec<_> = (7 - count..7).collect();
            let mut rollout = Rollout::new(converged(7, seed), &removed, seed);
            if dead {
                for &node in &removed {
                    rollout.unavailable = rollout.unavailable.with(node);
                    rollout.network.kill(node);
                }
                rollout.run(6_000);
            }
            rollout.network.members.truncate(7 - count);
            rollout.apply_to((0..7 - count).map(|node| (node, node)).collect());
            rollout.run(3_000);
            for &node in removed.iter().filter(|_| !dead) {
                rollout.network.kill(node);
            }
            rollout.assert_no_notices();
            rollout.assert_recovers();
        }
    }
}

#[test]
fn rotating_a_key_goes_unnoticed() {
    for seed in seeds() {
        let mut rollout = Rollout::of_five(&[], seed);
        let new = fixtures::keypair(99).public().clone();
        rollout.network.members[2].keys.push(new.clone());
        rollout.apply_to_all();
        rollout.assert_no_notices();
        // The process restarts with the new key.
        rollout.changed = NodeSet::single(2);
        rollout.network.step(2, Event::Leaving(fixtures::LEAVE));
        rollout.run(300);
        let disk = rollout.network.kill(2);
        rollout.network.keys.insert(2, 99);
        rollout.network.boot(2, 2, disk);
        rollout.run(4_000);
        rollout.assert_no_notices();
        rollout.network.members[2].keys = vec![new];
        rollout.apply_to_all();
        rollout.assert_no_notices();
        rollout.assert_recovers();
    }
}

#[test]
fn replacing_a_key_in_one_step_affects_only_its_node() {
    for seed in seeds() {
        for keep in [true, false] {
            let mut rollout = Rollout::of_five(&[2], seed);
            rollout.network.members[2].keys = vec![fixtures::keypair(99).public().clone()];
            rollout.network.keys.insert(2, 99);
            let [early, later] = rollout.split([0, 1, 3, 4].into_iter());
            rollout.apply_to(early);
            let disk = rollout.network.kill(2);
            rollout.network.boot(2, 2, if keep { disk } else { Disk::default() });
            rollout.run(PAUSE_MS);
            rollout.apply_to(later);
            rollout.network.run_until(8_000, "all find all up", all_up);
            rollout.assert_no_notices();
            rollout.assert_recovers();
        }
    }
}

#[test]
fn changing_the_number_of_rings_goes_unnoticed() {
    for (seed, count) in seeds().into_iter().zip([12, 16].into_iter().cycle()) {
        let mut rollout = Rollout::of_many(fixtures::members(count), &[], seed);
        for observers in [ObserverPolicy::Rings(4), ObserverPolicy::Rings(6), ObserverPolicy::All] {
            rollout.network.observers = observers;
            rollout.apply_to_all();
            rollout.assert_no_notices();
            rollout.assert_recovers();
        }
    }
}

#[test]
fn changing_rates_timeouts_and_retries_goes_unnoticed() {
    for seed in seeds() {
        let mut rollout = Rollout::of_five(&[], seed);
        // A node that reports half as often as another expects stays alive for it.
        for (poll_rate_ms, timeout_ms, retry) in [(2_000, 2_000, 1), (1_000, 500, 0), (500, 1_000, 2)] {
            rollout.set_rates(poll_rate_ms, timeout_ms, retry);
            rollout.apply_to_all();
            rollout.assert_no_notices();
        }
        rollout.assert_recovers();
    }
}

#[test]
fn a_node_that_reports_too_rarely_is_at_worst_unknown() {
    for seed in seeds() {
        let mut rollout = Rollout::of_five(&[0, 1, 2, 3, 4], seed);
        for poll_rate_ms in [10_000, 250, 1_000] {
            rollout.set_rates(poll_rate_ms, 1_000, 2);
            rollout.apply_to_all();
        }
        rollout.assert_recovers();
    }
}

#[test]
fn moving_a_node_to_another_url_affects_only_that_node() {
    for seed in seeds() {
        let mut rollout = Rollout::of_five(&[1], seed);
        rollout.network.move_member(1, 5);
        let [early, later] = rollout.split([0, 2, 3, 4].into_iter());
        rollout.apply_to(early);
        let disk = rollout.network.kill(1);
        rollout.network.boot(5, 1, disk);
        rollout.run(PAUSE_MS);
        rollout.apply_to(later);
        rollout.assert_no_notices();
        rollout.assert_recovers();
    }
}

#[test]
fn changing_rings_affects_outbound_only_nodes_for_6_s_at_most() {
    for seed in seeds() {
        let mut members = fixtures::members(12);
        (members[3].url, members[8].url) = (None, None);
        let mut rollout = Rollout::of_many(members, &[3, 8], seed);
        for observers in [ObserverPolicy::Rings(4), ObserverPolicy::All] {
            rollout.network.observers = observers;
            rollout.apply_to_all();
            rollout.run(6_000);
            rollout.assert_no_notices();
            assert!(all_up(&rollout.network), "{}", rollout.network.describe());
        }
    }
}

#[test]
fn a_node_without_observers_recovers_after_its_first_probe() {
    for seed in seeds() {
        let mut rollout = Rollout::of_many(fixtures::members(12), &[], seed);
        let disk = rollout.network.kill(0);
        rollout.unavailable = NodeSet::single(0);
        rollout.run(6_000);
        rollout.network.observers = ObserverPolicy::Rings(3);
        rollout.apply_to_all();
        rollout.network.boot(0, 0, disk);
        rollout.network.run_until(8_000, "up again", all_up);
        rollout.unavailable = NodeSet::EMPTY;
        rollout.network.observers = ObserverPolicy::All;
        rollout.apply_to_all();
        rollout.assert_recovers();
    }
}
