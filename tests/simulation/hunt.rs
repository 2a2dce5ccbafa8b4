//! A hunt for wrong verdicts: thousands of networks in which random things happen at once.
//!
//! `DISTOMON_SCENARIOS=<n>` hunts longer. What fails is made as small as it gets, and printed with what
//! replays it: `DISTOMON_SEED=<n>` alone plays the scenario of that seed, and with
//! `DISTOMON_FAULTS='<text>'` the scenario of the text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::hunter::{self, Wrong};
use crate::machine::Wire;
use crate::scenario::Scenario;

/// Scenarios in an ordinary run.
const SCENARIOS: u64 = 1000;

/// Each is a test of its own, so that as many run at once.
const SHARES: u64 = 4;

/// How many smaller scenarios are tried at most.
const TRIES: u32 = 400;

/// What the hunt has found before, in short: seed and scenario.
const FOUND: &[(u64, &str)] = &[
    // A viewer that was just started called a node that had lived on "started anew".
    (13, "nodes 3; delay 2; 0+126 kill 0; 0+4244 hang 2"),
    (15, "nodes 3; delay 2; 0+121 wipe 2; 0+3068 hang 0"),
    (16, "nodes 3; delay 2; 0+3257 cut 1 0; 0+111 kill 2; 0+3414 cut 2 0"),
    (66, "nodes 3; delay 2; 0+2635 hang 1; 0+121 wipe 0"),
];

/// Plays `scenario`; a panic is as wrong as anything.
fn play(scenario: &Scenario) -> Result<(), Wrong> {
    let played = catch_unwind(AssertUnwindSafe(|| hunter::play(scenario, Wire::Values).map(|_| ())));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(Wrong { rule: "panic", text: text.unwrap_or_default() })
    })
}

/// Makes a scenario smaller as long as it breaks the same rule.
fn shrink(mut scenario: Scenario, mut wrong: Wrong) -> (Scenario, Wrong) {
    let mut tries = 0;
    'smaller: loop {
        for candidate in scenario.smaller() {
            tries += 1;
            if tries > TRIES {
                return (scenario, wrong);
            }
            match play(&candidate) {
                Err(again) if again.rule == wrong.rule => {
                    (scenario, wrong) = (candidate, again);
                    continue 'smaller;
                }
                _ => {}
            }
        }
        return (scenario, wrong);
    }
}

/// Fails with the smallest scenario that breaks the rule that `scenario` breaks.
fn check(scenario: Scenario) {
    let Err(wrong) = play(&scenario) else { return };
    let (seed, text) = (scenario.seed, scenario.to_string());
    eprintln!("seed {seed} is wrong ({}): {text}", wrong.rule);
    let (small, wrong) = shrink(scenario, wrong);
    panic!(
        "{}\nseed {seed}: {text}\nin short: {small}\nreplay: DISTOMON_SEED={seed} DISTOMON_FAULTS='{small}' \
         cargo test --test simulation hunt",
        wrong.text
    );
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn hunt(share: u64) {
    if let Some(seed) = number("DISTOMON_SEED") {
        if share == 0 {
            let scenario = match std::env::var("DISTOMON_FAULTS") {
                Ok(text) => Scenario { seed, ..text.parse().unwrap_or_else(|error| panic!("{error}")) },
                Err(_) => Scenario::draw(seed),
            };
            check(scenario);
        }
        return;
    }
    let (began, mut count) = (Instant::now(), 0);
    for seed in (1..=number("DISTOMON_SCENARIOS").unwrap_or(SCENARIOS)).filter(|seed| seed % SHARES == share) {
        check(Scenario::draw(seed));
        count += 1;
    }
    eprintln!("{count} scenarios in {:.1} s", began.elapsed().as_secs_f64());
}

#[test]
fn what_was_found_before_is_mended() {
    for &(seed, text) in FOUND {
        let scenario = text.parse().unwrap_or_else(|error| panic!("{error}"));
        check(Scenario { seed, ..scenario });
    }
}

#[test]
fn first_share() {
    hunt(0);
}

#[test]
fn second_share() {
    hunt(1);
}

#[test]
fn third_share() {
    hunt(2);
}

#[test]
fn fourth_share() {
    hunt(3);
}
