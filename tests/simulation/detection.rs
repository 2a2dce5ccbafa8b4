//! How soon a node that is gone is down on every survivor.
//!
//! `DISTOMON_TRIALS=<n>` makes a table of as many trials each, to be held beside the figures that the rules
//! were chosen by.

use crate::machine::{Clock, Wire};
use crate::network::Network;
use crate::sample;
use distomon::mesh::verdict::NodeStatus;

/// What becomes of node 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Killed,
    Hung,
    /// It loses all its links.
    Isolated,
}

/// How long messages take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Distance {
    /// 2 to 4 ms each way.
    Near,
    /// An exchange takes two round trips, for it makes a connection first; these take 1 to 200 ms, evenly by
    /// their logarithm, for each pair.
    Anywhere,
}

/// A network whose node 0 was lost, and how long it took until every survivor said down, in ms.
fn trial(count: usize, loss: Loss, distance: Distance, poll_ms: (u64, u64), seed: u64) -> u64 {
    let mut members = sample::members(count);
    for member in &mut members {
        (member.poll_rate_ms, member.timeout_ms) = poll_ms;
    }
    let clocks = vec![Clock::default(); count];
    let mut network = Network::start_over(Wire::Values, members, &clocks, seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    if distance == Distance::Anywhere {
        for one in 0..count {
            for other in one + 1..count {
                // Twice as long at most is drawn for each message: 0.75 makes it right on average.
                let round_trip_us = 1_000.0 * 200_f64.powf(rng.f64());
                let delay = std::time::Duration::from_secs_f64(round_trip_us * 2.0 / 3.0 / 1e6);
                let delay_ms = u64::try_from(delay.as_millis()).expect("short");
                network.links.delay(one, other, delay_ms);
            }
        }
    }
    let limit_ms = 20 * poll_ms.0;
    network.wait(limit_ms, "all online", Network::is_whole);
    network.run(poll_ms.0 * 2 + rng.u64(0..poll_ms.0));
    match loss {
        Loss::Killed => drop(network.kill(0)),
        Loss::Hung => network.freeze(0, 1_000_000),
        Loss::Isolated => (1..count).for_each(|other| network.links.cut(0, other)),
    }
    let start_ms = network.now_ms;
    let mut yet: Vec<usize> = (1..count).collect();
    while !yet.is_empty() {
        let next = network.advance(start_ms + limit_ms);
        assert!(next.is_some(), "{count} nodes, {loss:?}, seed {seed}: {yet:?} do not say down");
        yet.retain(|viewer| network.machine(*viewer).snapshot.verdicts().nodes[0].status != NodeStatus::Down);
    }
    network.now_ms - start_ms
}

/// Median, 95th percentile and worst of `trials`, in ms.
fn spread(count: usize, loss: Loss, distance: Distance, poll_ms: (u64, u64), trials: u64) -> (u64, u64, u64) {
    let mut times: Vec<u64> = (1..=trials).map(|seed| trial(count, loss, distance, poll_ms, seed)).collect();
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 95 / 100], times[times.len() - 1])
}

#[test]
fn a_node_that_is_gone_is_told_within_the_budget() {
    for (loss, median_ms, worst_ms) in
        [(Loss::Killed, 2_200, 3_200), (Loss::Hung, 3_800, 5_000), (Loss::Isolated, 3_800, 5_000)]
    {
        for count in [3, 5, 9] {
            let (median, _, worst) = spread(count, loss, Distance::Near, (1_000, 1_000), 31);
            assert!(median <= median_ms, "{count} nodes, {loss:?}: median {median} ms");
            assert!(worst <= worst_ms, "{count} nodes, {loss:?}: worst {worst} ms");
        }
    }
}

#[test]
fn table() {
    let Ok(trials) = std::env::var("DISTOMON_TRIALS") else { return };
    let trials: u64 = trials.parse().expect("DISTOMON_TRIALS is a number");
    for distance in [Distance::Near, Distance::Anywhere] {
        for (count, loss, poll_ms) in [
            (3, Loss::Killed, (1_000, 1_000)),
            (5, Loss::Killed, (1_000, 1_000)),
            (64, Loss::Killed, (1_000, 1_000)),
            (3, Loss::Hung, (1_000, 1_000)),
            (5, Loss::Hung, (1_000, 1_000)),
            (64, Loss::Hung, (1_000, 1_000)),
            (5, Loss::Isolated, (1_000, 1_000)),
            (5, Loss::Killed, (10_000, 5_000)),
        ] {
            // As many nodes are as much work as many trials.
            let trials = if count > 16 { trials.div_ceil(30) } else { trials };
            let (median, most, worst) = spread(count, loss, distance, poll_ms, trials);
            eprintln!(
                "{distance:?}, {loss:?}, {count} nodes, poll {} s: median {median}, 95 % {most}, worst {worst} ms \
                 of {trials}",
                poll_ms.0 / 1000
            );
        }
    }
}
