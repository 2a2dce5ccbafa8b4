//! The text form of a [`Scenario`], which a failing run prints and `DISTOMON_FAULTS` replays:
//! `nodes 3; delay 2; clock 1 500 0; 0+126 crash 0; 40+900 partition 0 2`. A fault begins with its start and
//! its duration in ms. The seed is not part of the text.

use std::fmt;
use std::str::FromStr;

use crate::byzantine::Misbehavior;
use crate::fault::{Fault, FaultKind};
use crate::node_set::NodeSet;
use crate::scenario::Scenario;
use crate::virtual_host::Clock;

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nodes {}; delay {}", self.nodes, self.delay_ms)?;
        for (node, clock) in self.clocks.iter().enumerate().filter(|(_, clock)| **clock != Clock::default()) {
            write!(f, "; clock {node} {} {}", clock.skew_ms, clock.drift_ppm)?;
        }
        self.faults.iter().try_for_each(|fault| write!(f, "; {fault}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{} ", self.at_ms, self.for_ms)?;
        match self.kind {
            FaultKind::Crash(node) => write!(f, "crash {node}"),
            FaultKind::Wipe(node) => write!(f, "wipe {node}"),
            FaultKind::Stop(node) => write!(f, "stop {node}"),
            FaultKind::Hang(node) => write!(f, "hang {node}"),
            FaultKind::StepClock(node, by_ms) => write!(f, "step-clock {node} {by_ms}"),
            FaultKind::Cut(one, other) => write!(f, "cut {one} {other}"),
            FaultKind::CutOneWay(from, to) => write!(f, "cut-one-way {from} {to}"),
            FaultKind::BlockRequests(from, to) => write!(f, "block-requests {from} {to}"),
            FaultKind::BlockInbound(node) => write!(f, "block-inbound {node}"),
            FaultKind::BlockOutbound(node) => write!(f, "block-outbound {node}"),
            FaultKind::Partition(side) => {
                f.write_str("partition")?;
                side.iter().try_for_each(|node| write!(f, " {node}"))
            }
            FaultKind::Chain => f.write_str("chain"),
            FaultKind::Star(node) => write!(f, "star {node}"),
            FaultKind::Bridge(node, side) => {
                write!(f, "bridge {node}")?;
                side.iter().try_for_each(|node| write!(f, " {node}"))
            }
            FaultKind::Loss(percent) => write!(f, "loss {percent}"),
            FaultKind::Delay(delay_ms) => write!(f, "delay {delay_ms}"),
            FaultKind::Misbehave(node, misbehavior) => match misbehavior {
                Misbehavior::ReportAllOffline => write!(f, "report-all-offline {node}"),
                Misbehavior::ReportAllOnline => write!(f, "report-all-online {node}"),
                Misbehavior::ReportOffline(victim) => write!(f, "report-offline {node} {victim}"),
                Misbehavior::Equivocate => write!(f, "equivocate {node}"),
                Misbehavior::Withhold => write!(f, "withhold {node}"),
                Misbehavior::Hoard => write!(f, "hoard {node}"),
                Misbehavior::Pad => write!(f, "pad {node}"),
                Misbehavior::JumpSeq => write!(f, "jump-seq {node}"),
                Misbehavior::Flood => write!(f, "flood {node}"),
            },
            FaultKind::Replay(node) => write!(f, "replay {node}"),
            FaultKind::Load(node, permille) => write!(f, "load {node} {permille}"),
            FaultKind::ForeignLoad(permille) => write!(f, "foreign-load {permille}"),
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut scenario = Self { seed: 0, nodes: 0, delay_ms: 2, clocks: Vec::new(), faults: Vec::new() };
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let mut words = part.split_whitespace();
            let word = words.next().ok_or("expected a word")?;
            match (word, word.split_once('+')) {
                (_, Some((at_ms, for_ms))) => {
                    let number =
                        |text: &str| text.parse().map_err(|_| format!("expected <start>+<duration>: {part}"));
                    let invalid = || format!("expected a fault: {part}");
                    let word = words.next().ok_or_else(invalid)?;
                    let kind = parse_kind(word, &numbers(words, part)?).ok_or_else(invalid)?;
                    scenario.faults.push(Fault { at_ms: number(at_ms)?, for_ms: number(for_ms)?, kind });
                }
                ("nodes", _) => {
                    scenario.nodes = node(&numbers(words, part)?, 0).ok_or("expected a number of nodes")?;
                    scenario.clocks = vec![Clock::default(); scenario.nodes];
                }
                ("delay", _) => {
                    let numbers = numbers(words, part)?;
                    scenario.delay_ms = numbers.first().map_or(2, |ms| ms.unsigned_abs());
                }
                ("clock", _) => {
                    let numbers = numbers(words, part)?;
                    let [node, skew_ms, drift_ppm] = numbers[..] else {
                        return Err(format!("expected clock <node> <skew_ms> <drift_ppm>: {part}"));
                    };
                    let clock = usize::try_from(node).ok().and_then(|node| scenario.clocks.get_mut(node));
                    *clock.ok_or_else(|| format!("no such node: {part}"))? = Clock { skew_ms, drift_ppm };
                }
                _ => return Err(format!("expected nodes, delay, clock or <start>+<duration>: {part}")),
            }
        }
        Ok(scenario)
    }
}

fn numbers<'a>(words: impl Iterator<Item = &'a str>, part: &str) -> Result<Vec<i64>, String> {
    words.map(|word| word.parse().map_err(|_| format!("{word:?} is no number: {part}"))).collect()
}

fn node(numbers: &[i64], position: usize) -> Option<usize> {
    numbers.get(position).and_then(|number| usize::try_from(*number).ok())
}

fn node_set(numbers: &[i64]) -> Option<NodeSet> {
    numbers.iter().map(|number| usize::try_from(*number).ok().filter(|node| *node < 64)).collect()
}

fn parse_kind(word: &str, numbers: &[i64]) -> Option<FaultKind> {
    let one = || node(numbers, 0);
    let other = || node(numbers, 1);
    Some(match word {
        "crash" => FaultKind::Crash(one()?),
        "wipe" => FaultKind::Wipe(one()?),
        "stop" => FaultKind::Stop(one()?),
        "hang" => FaultKind::Hang(one()?),
        "step-clock" => FaultKind::StepClock(one()?, *numbers.get(1)?),
        "cut" => FaultKind::Cut(one()?, other()?),
        "cut-one-way" => FaultKind::CutOneWay(one()?, other()?),
        "block-requests" => FaultKind::BlockRequests(one()?, other()?),
        "block-inbound" => FaultKind::BlockInbound(one()?),
        "block-outbound" => FaultKind::BlockOutbound(one()?),
        "partition" => FaultKind::Partition(node_set(numbers)?),
        "chain" => FaultKind::Chain,
        "star" => FaultKind::Star(one()?),
        "bridge" => FaultKind::Bridge(one()?, node_set(&numbers[1..])?),
        "loss" => FaultKind::Loss(u8::try_from(one()?).ok()?),
        "delay" => FaultKind::Delay(one()? as u64),
        "report-all-offline" => FaultKind::Misbehave(one()?, Misbehavior::ReportAllOffline),
        "report-all-online" => FaultKind::Misbehave(one()?, Misbehavior::ReportAllOnline),
        "report-offline" => FaultKind::Misbehave(one()?, Misbehavior::ReportOffline(other()?)),
        "equivocate" => FaultKind::Misbehave(one()?, Misbehavior::Equivocate),
        "withhold" => FaultKind::Misbehave(one()?, Misbehavior::Withhold),
        "hoard" => FaultKind::Misbehave(one()?, Misbehavior::Hoard),
        "pad" => FaultKind::Misbehave(one()?, Misbehavior::Pad),
        "jump-seq" => FaultKind::Misbehave(one()?, Misbehavior::JumpSeq),
        "flood" => FaultKind::Misbehave(one()?, Misbehavior::Flood),
        "replay" => FaultKind::Replay(one()?),
        "load" => FaultKind::Load(one()?, other()? as u64),
        "foreign-load" => FaultKind::ForeignLoad(one()? as u64),
        _ => return None,
    })
}

#[test]
fn parsed_text_equals_the_written_scenario() {
    for seed in 1..2_000 {
        let scenario = Scenario::random(seed);
        let parsed: Scenario = scenario.to_string().parse().expect("a text that this module wrote");
        assert_eq!(Scenario { seed, ..parsed }, scenario, "{scenario}");
    }
}
