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
use distomon::present::journal::notice_text;

/// Scenarios in an ordinary run.
const SCENARIOS: u64 = 1000;

/// Each is a test of its own, so that as many run at once.
const SHARES: u64 = 4;

/// So many wrong ones end a hunt.
const ENOUGH: usize = 3;

/// How many smaller scenarios are tried at most.
const TRIES: u32 = 400;

/// What the hunt has found before, in short: seed and scenario.
const FOUND: &[(u64, &str)] = &[
    // A viewer that was just started called a node that had lived on "started anew".
    (13, "nodes 3; delay 2; 0+126 kill 0; 0+4244 hang 2"),
    (15, "nodes 3; delay 2; 0+121 wipe 2; 0+3068 hang 0"),
    (16, "nodes 3; delay 2; 0+3257 cut 1 0; 0+111 kill 2; 0+3414 cut 2 0"),
    (66, "nodes 3; delay 2; 0+2635 hang 1; 0+121 wipe 0"),
    // Who had not run for a while told a node that was started anew meanwhile as cut off.
    (40, "nodes 3; delay 2; 0+105 jump 2 -41805; 0+1307 stop 0"),
    (176, "nodes 3; delay 2; 53+3492 stop 1; 0+3051 hang 0"),
    (58, "nodes 3; delay 2; 3507+3011 hang 0; 0+6876 stop 1"),
    (482, "nodes 3; delay 2; 0+112 stop 1; 0+132 jump 2 233713"),
    (874, "nodes 3; delay 2; 6863+2674 hang 2; 5384+4956 stop 1"),
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

/// Says what is wrong with `scenario`, if anything is, and which smallest one breaks the same rule.
fn check(scenario: Scenario) -> Result<(), String> {
    let Err(wrong) = play(&scenario) else { return Ok(()) };
    let (seed, text) = (scenario.seed, scenario.to_string());
    let (small, wrong) = shrink(scenario, wrong);
    let text = format!(
        "seed {seed}: {text}\nin short: {small}\n{}\nreplay: DISTOMON_SEED={seed} DISTOMON_FAULTS='{small}' \
         cargo test --test simulation hunt\n",
        wrong.text
    );
    // The hunt goes on.
    eprintln!("{text}");
    Err(text)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn hunt(share: u64) {
    let scenarios: Vec<Scenario> = match number("DISTOMON_SEED") {
        Some(_) if share != 0 => return,
        Some(seed) => match std::env::var("DISTOMON_FAULTS") {
            Ok(text) => vec![read(seed, &text)],
            Err(_) => vec![Scenario::draw(seed)],
        },
        None => {
            let seeds = 1..=number("DISTOMON_SCENARIOS").unwrap_or(SCENARIOS);
            seeds.filter(|seed| seed % SHARES == share).map(Scenario::draw).collect()
        }
    };
    let (began, count) = (Instant::now(), scenarios.len());
    let wrong = scenarios.into_iter().filter_map(|scenario| check(scenario).err()).take(ENOUGH);
    let wrong: Vec<_> = wrong.collect();
    eprintln!("{count} scenarios in {:.1} s", began.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn read(seed: u64, text: &str) -> Scenario {
    Scenario { seed, ..text.parse().unwrap_or_else(|error| panic!("{error}")) }
}

#[test]
fn what_was_found_before_is_mended() {
    for &(seed, text) in FOUND {
        check(read(seed, text)).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}

/// Values travel much faster than messages are sealed, written, read and verified. It makes no difference.
#[test]
fn both_wires_come_to_the_same() {
    let honest = |scenario: &Scenario| scenario.faults.iter().all(|fault| fault.what.liar().is_none());
    let mut compared = 0;
    for scenario in
        (1..).map(Scenario::draw).filter(|scenario| honest(scenario) && scenario.nodes <= 5).take(15)
    {
        let [one, other] = [Wire::Values, Wire::Whole].map(|wire| {
            let network = hunter::play(&scenario, wire).unwrap_or_else(|wrong| panic!("{}", wrong.text));
            let told = network.running().map(|(_, machine)| {
                let notes: Vec<_> = machine.notes.iter().map(notice_text).collect();
                (machine.snapshot.own_report().map(|own| own.id()), notes)
            });
            told.collect::<Vec<_>>()
        });
        assert_eq!(one, other, "seed {}: {scenario}", scenario.seed);
        compared += one.iter().map(|(_, notes)| notes.len()).sum::<usize>();
    }
    assert!(compared > 100, "something is to happen");
}

/// Large networks are too much work for chance: this is one partition in which a node dies, another hangs,
/// and another lies. It has 64 nodes where the hunt is to be long.
#[test]
fn of_many() {
    if number("DISTOMON_SEED").is_some() {
        return;
    }
    let nodes = if number("DISTOMON_SCENARIOS").is_some_and(|count| count > SCENARIOS) { 64 } else { 32 };
    let (dead, hung, liar, victim) = (nodes - 10, nodes - 8, nodes - 5, nodes - 4);
    let side: Vec<_> = (0..nodes * 3 / 7).map(|node| node.to_string()).collect();
    let text = format!(
        "nodes {nodes}; delay 4; clock 3 288000 0; 0+9000 part {}; 200+8000 kill {dead}; 700+6000 hang {hung}; \
         0+9000 without {liar} {victim}",
        side.join(" ")
    );
    check(read(1, &text)).unwrap_or_else(|wrong| panic!("{wrong}"));
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
