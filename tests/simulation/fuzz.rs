//! A fuzzer of networks: random faults in thousands of networks, where any wrong verdict is a failure.
//!
//! `DISTOMON_SCENARIOS=<n>` runs more. A failing scenario is simplified and printed with the variables that replay it:
//! `DISTOMON_SEED=<n>` alone runs the scenario of that seed, `DISTOMON_FAULTS='<text>'` besides it the scenario of the
//! text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::invariant_checker::check_scenario;
use crate::message::Transport;
use crate::scenario::Scenario;
use crate::seeds;
use crate::violation::Violation;
use distomon::present::journal::notice_text;

/// The number of scenarios in an ordinary run.
const SCENARIOS: u64 = 1000;

/// The number of shards, which are tests that run in parallel.
const SHARDS: u64 = 4;

/// The number of failures after which a shard ends.
const MAX_FAILURES: usize = 3;

/// The maximum number of simplified scenarios to try.
const MAX_SHRINK_STEPS: u32 = 400;

/// Scenarios that failed in the past, simplified, with their seeds.
const REGRESSIONS: &[(u64, &str)] = &[
    // A node that had just started reported a node as restarted that had not restarted.
    (13, "nodes 3; delay 2; 0+126 crash 0; 0+4244 hang 2"),
    (15, "nodes 3; delay 2; 0+121 wipe 2; 0+3068 hang 0"),
    (16, "nodes 3; delay 2; 0+3257 cut 1 0; 0+111 crash 2; 0+3414 cut 2 0"),
    (66, "nodes 3; delay 2; 0+2635 hang 1; 0+121 wipe 0"),
    // A node that had hung reported a node that had restarted meanwhile as cut off.
    (40, "nodes 3; delay 2; 0+105 step-clock 2 -41805; 0+1307 stop 0"),
    (176, "nodes 3; delay 2; 53+3492 stop 1; 0+3051 hang 0"),
    (58, "nodes 3; delay 2; 3507+3011 hang 0; 0+6876 stop 1"),
    (482, "nodes 3; delay 2; 0+112 stop 1; 0+132 step-clock 2 233713"),
    (874, "nodes 3; delay 2; 6863+2674 hang 2; 5384+4956 stop 1"),
];

/// Runs `scenario`; a panic is a violation.
fn run(scenario: &Scenario) -> Result<(), Violation> {
    let result = catch_unwind(AssertUnwindSafe(|| check_scenario(scenario, Transport::Typed).map(|_| ())));
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Violation::new("panic", text.unwrap_or_default()))
    })
}

/// Simplifies a scenario as long as it breaks the same rule.
fn shrink(mut scenario: Scenario, mut violation: Violation) -> (Scenario, Violation) {
    let mut steps = 0;
    'simpler: loop {
        for candidate in scenario.simplified() {
            steps += 1;
            if steps > MAX_SHRINK_STEPS {
                return (scenario, violation);
            }
            match run(&candidate) {
                Err(same) if same.rule == violation.rule => {
                    (scenario, violation) = (candidate, same);
                    continue 'simpler;
                }
                _ => {}
            }
        }
        return (scenario, violation);
    }
}

/// Runs `scenario`. A failure has the text of the simplest scenario that breaks the same rule.
fn check(scenario: Scenario) -> Result<(), String> {
    let Err(violation) = run(&scenario) else { return Ok(()) };
    let (seed, original) = (scenario.seed, scenario.to_string());
    let (simplified, violation) = shrink(scenario, violation);
    let text = format!(
        "seed {seed}: {original}\nsimplified: {simplified}\n{}\nreplay: DISTOMON_SEED={seed} \
         DISTOMON_FAULTS='{simplified}' cargo test --test simulation fuzz\n",
        violation.text
    );
    // Printed now, since the shard goes on.
    eprintln!("{text}");
    Err(text)
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn parse(seed: u64, text: &str) -> Scenario {
    Scenario { seed, ..text.parse().unwrap_or_else(|error| panic!("{error}")) }
}

fn run_shard(shard: u64) {
    let scenarios: Vec<Scenario> = match number("DISTOMON_SEED") {
        Some(_) if shard != 0 => return,
        Some(seed) => match std::env::var("DISTOMON_FAULTS") {
            Ok(text) => vec![parse(seed, &text)],
            Err(_) => vec![Scenario::random(seed)],
        },
        None => {
            let seeds = 1..=number("DISTOMON_SCENARIOS").unwrap_or(SCENARIOS);
            seeds.filter(|seed| seed % SHARDS == shard).map(Scenario::random).collect()
        }
    };
    let (start, count) = (Instant::now(), scenarios.len());
    let failures = scenarios.into_iter().filter_map(|scenario| check(scenario).err());
    let failures: Vec<_> = failures.take(MAX_FAILURES).collect();
    eprintln!("{count} scenarios in {:.1} s", start.elapsed().as_secs_f64());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn no_invariant_is_violated_1_of_4() {
    run_shard(0);
}

#[test]
fn no_invariant_is_violated_2_of_4() {
    run_shard(1);
}

#[test]
fn no_invariant_is_violated_3_of_4() {
    run_shard(2);
}

#[test]
fn no_invariant_is_violated_4_of_4() {
    run_shard(3);
}

#[test]
fn past_failures_do_not_recur() {
    for &(seed, text) in REGRESSIONS {
        check(parse(seed, text)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// Nodes 2 and 4 report node 3 offline, whose reports reach node 1 only through node 0, and keep the messages from node 0
/// to node 1 filled with their own.
#[test]
fn large_reports_far_ahead_do_not_keep_others_from_travelling() {
    let text = "nodes 5; delay 2; 0+15000 cut 1 3; \
        0+15000 report-offline 2 3; 0+15000 withhold 2; 0+15000 flood 2; 0+15000 pad 2; 0+15000 jump-seq 2; \
        0+15000 report-offline 4 3; 0+15000 withhold 4; 0+15000 flood 4; 0+15000 pad 4; 0+15000 jump-seq 4";
    for seed in seeds() {
        check(parse(seed, text)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn typed_and_encoded_transport_give_equal_results() {
    let is_honest =
        |scenario: &Scenario| scenario.faults.iter().all(|fault| fault.kind.byzantine_node().is_none());
    let mut compared = 0;
    let scenarios = (1..).map(Scenario::random);
    for scenario in scenarios.filter(|scenario| is_honest(scenario) && scenario.nodes <= 5).take(15) {
        let [typed, encoded] = [Transport::Typed, Transport::Encoded].map(|transport| {
            let network =
                check_scenario(&scenario, transport).unwrap_or_else(|violation| panic!("{}", violation.text));
            let reports = network.running().map(|(_, host)| {
                let notices: Vec<_> = host.notices.iter().map(notice_text).collect();
                (host.snapshot.own_report().map(|own| own.id()), notices)
            });
            reports.collect::<Vec<_>>()
        });
        assert_eq!(typed, encoded, "seed {}: {scenario}", scenario.seed);
        compared += typed.iter().map(|(_, notices)| notices.len()).sum::<usize>();
    }
    assert!(compared > 100, "only {compared} notices were compared");
}

/// Random large networks would take too long. This one has a partition, a crash, a hang and a false report, and 64 nodes
/// if `DISTOMON_SCENARIOS` is larger than [`SCENARIOS`].
#[test]
fn no_invariant_is_violated_in_a_large_network() {
    if number("DISTOMON_SEED").is_some() {
        return;
    }
    let nodes = if number("DISTOMON_SCENARIOS").is_some_and(|count| count > SCENARIOS) { 64 } else { 32 };
    let (crashed, hung, byzantine, victim) = (nodes - 10, nodes - 8, nodes - 5, nodes - 4);
    let side: Vec<_> = (0..nodes * 3 / 7).map(|node| node.to_string()).collect();
    let text = format!(
        "nodes {nodes}; delay 4; clock 3 288000 0; 0+9000 partition {}; 200+8000 crash {crashed}; \
         700+6000 hang {hung}; 0+9000 report-offline {byzantine} {victim}",
        side.join(" ")
    );
    check(parse(1, &text)).unwrap_or_else(|failure| panic!("{failure}"));
}
