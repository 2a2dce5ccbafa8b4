//! How soon every surviving node finds a failed node down.
//!
//! `DISTOMON_TRIALS=<n>` prints a table of that number of trials each, for comparison with the figures on which the
//! rules are based.

use std::time::Duration;

use crate::fixtures;
use crate::network::{Network, Setup};
use distomon::mesh::verdict::NodeStatus;

/// How node 0 fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Crash,
    Hang,
    /// It loses all links.
    Isolation,
}

/// The delays of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Latency {
    /// 2 to 4 ms each way.
    Local,
    /// For each pair a round-trip time of 1 to 200 ms, uniform in its logarithm. An exchange takes two round trips,
    /// since it opens a connection first.
    Global,
}

/// An experiment, to be repeated with different seeds. Times are in ms.
#[derive(Debug, Clone, Copy)]
struct Experiment {
    count: usize,
    failure: Failure,
    latency: Latency,
    poll_rate_ms: u64,
    timeout_ms: u64,
}

/// Detection times of an experiment, in ms.
struct DetectionTimes {
    median: u64,
    percentile_95: u64,
    worst: u64,
}

impl Experiment {
    const fn new(count: usize, failure: Failure) -> Self {
        Self { count, failure, latency: Latency::Local, poll_rate_ms: 1_000, timeout_ms: 1_000 }
    }

    /// Runs the experiment once; returns the time until every surviving node finds node 0 down, in ms.
    fn detection_ms(self, seed: u64) -> u64 {
        let mut members = fixtures::members(self.count);
        for member in &mut members {
            (member.poll_rate_ms, member.timeout_ms) = (self.poll_rate_ms, self.timeout_ms);
        }
        let mut network = Setup::new(members, seed).typed().start();
        let mut rng = fastrand::Rng::with_seed(seed);
        if self.latency == Latency::Global {
            for one in 0..self.count {
                for other in one + 1..self.count {
                    network.links.set_pair_delay(one, other, random_delay_ms(&mut rng));
                }
            }
        }
        let limit_ms = 20 * self.poll_rate_ms;
        network.run_until(limit_ms, "all online", Network::is_converged);
        network.run(self.poll_rate_ms * 2 + rng.u64(0..self.poll_rate_ms));
        match self.failure {
            Failure::Crash => drop(network.kill(0)),
            Failure::Hang => network.freeze(0, 1_000_000),
            Failure::Isolation => (1..self.count).for_each(|other| network.links.cut(0, other)),
        }
        let start_ms = network.now_ms;
        let mut undecided: Vec<usize> = (1..self.count).collect();
        while !undecided.is_empty() {
            let next = network.advance(start_ms + limit_ms);
            assert!(next.is_some(), "{self:?}, seed {seed}: {undecided:?} do not find node 0 down");
            undecided.retain(|viewer| {
                network.host(*viewer).snapshot.verdicts().nodes[0].status != NodeStatus::Down
            });
        }
        network.now_ms - start_ms
    }

    fn repeat(self, trials: u64) -> DetectionTimes {
        let mut times: Vec<u64> = (1..=trials).map(|seed| self.detection_ms(seed)).collect();
        times.sort_unstable();
        DetectionTimes {
            median: times[times.len() / 2],
            percentile_95: times[times.len() * 95 / 100],
            worst: times[times.len() - 1],
        }
    }
}

fn random_delay_ms(rng: &mut fastrand::Rng) -> u64 {
    let round_trip_us = 1_000.0 * 200_f64.powf(rng.f64());
    // Each of the four messages takes 1 to 2 times the delay, on average 1.5 times.
    let delay = Duration::from_secs_f64(round_trip_us * 2.0 / 3.0 / 1e6);
    u64::try_from(delay.as_millis()).expect("at most 133 ms")
}

#[test]
fn every_survivor_detects_a_failure_within_the_documented_time() {
    for (failure, median_ms, worst_ms) in
        [(Failure::Crash, 2_200, 3_200), (Failure::Hang, 3_800, 5_000), (Failure::Isolation, 3_800, 5_000)]
    {
        for count in [3, 5, 9] {
            let times = Experiment::new(count, failure).repeat(31);
            assert!(times.median <= median_ms, "{count} nodes, {failure:?}: median {} ms", times.median);
            assert!(times.worst <= worst_ms, "{count} nodes, {failure:?}: worst {} ms", times.worst);
        }
    }
}

#[test]
fn print_detection_times_if_trials_are_given() {
    let Ok(trials) = std::env::var("DISTOMON_TRIALS") else { return };
    let trials: u64 = trials.parse().expect("DISTOMON_TRIALS is a number");
    for latency in [Latency::Local, Latency::Global] {
        for experiment in [
            Experiment::new(3, Failure::Crash),
            Experiment::new(5, Failure::Crash),
            Experiment::new(64, Failure::Crash),
            Experiment::new(3, Failure::Hang),
            Experiment::new(5, Failure::Hang),
            Experiment::new(64, Failure::Hang),
            Experiment::new(5, Failure::Isolation),
            Experiment { poll_rate_ms: 10_000, timeout_ms: 5_000, ..Experiment::new(5, Failure::Crash) },
        ] {
            let Experiment { count, failure, poll_rate_ms, .. } = experiment;
            // One trial of a large network is as much work as many of a small one.
            let trials = if count > 16 { trials.div_ceil(30) } else { trials };
            let times = Experiment { latency, ..experiment }.repeat(trials);
            eprintln!(
                "{latency:?}, {failure:?}, {count} nodes, poll rate {} s: median {}, 95 % {}, worst {} ms of {trials}",
                poll_rate_ms / 1000,
                times.median,
                times.percentile_95,
                times.worst
            );
        }
    }
}
