//! Scenarios of the fuzzer: networks and their faults, generated from a seed and simplified after a failure.

use crate::fault::{Fault, FaultKind};
use crate::virtual_host::Clock;

/// One scenario in this number has a lack of processor time.
const LOAD_SHARE: u64 = 6;

/// A network and its faults. [`crate::scenario_text`] writes and parses its text form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scenario {
    /// The seed of all random values of the network.
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// The shortest time a message takes, in ms; the longest is twice that.
    pub(crate) delay_ms: u64,
    /// By node.
    pub(crate) clocks: Vec<Clock>,
    pub(crate) faults: Vec<Fault>,
}

impl Scenario {
    /// The scenario of this seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x4455_4e54);
        // The work grows with the third power of the nodes, so large networks are rare.
        let nodes = match rng.u16(0..1_000) {
            0..=3 => rng.usize(17..=24),
            4..=19 => rng.usize(10..=16),
            20..=199 => rng.usize(6..=9),
            _ => rng.usize(3..=5),
        };
        let mut clocks = vec![Clock::default(); nodes];
        if rng.u8(0..3) == 0 {
            for clock in &mut clocks {
                clock.skew_ms = rng.i64(-288_000..=288_000);
                clock.drift_ppm = if rng.bool() { rng.i64(-10_000..=10_000) } else { 0 };
            }
        }
        let mut byzantine: Vec<usize> = (0..nodes).collect();
        rng.shuffle(&mut byzantine);
        byzantine.truncate(if rng.bool() { rng.usize(0..=(nodes - 1) / 2) } else { 0 });
        let mut scenario = Self { seed, nodes, delay_ms: rng.u64(1..40), clocks, faults: Vec::new() };
        let span_ms = rng.u64(1..=10_000);
        for _ in 0..rng.u8(1..=5) {
            let kind = FaultKind::random(&mut rng, nodes, &byzantine);
            let for_ms = if rng.bool() { rng.u64(8_000..=14_000) } else { rng.u64(500..=8_000) };
            let fault = Fault { at_ms: rng.u64(0..span_ms), for_ms, kind };
            if scenario.faults.iter().all(|other| !fault.conflicts_with(other)) {
                scenario.faults.push(fault);
            }
        }
        if seed % LOAD_SHARE == 0 {
            scenario.add_load(&mut rng);
        }
        scenario
    }

    /// Adds a lack of processor time, half the time in place of all other faults.
    fn add_load(&mut self, rng: &mut fastrand::Rng) {
        if rng.bool() {
            self.faults.clear();
        }
        for _ in 0..rng.u8(1..=2) {
            let kind = FaultKind::random_load(rng, self.nodes);
            let fault = Fault { at_ms: rng.u64(0..5_000), for_ms: rng.u64(2_000..=14_000), kind };
            if self.faults.iter().all(|other| !fault.conflicts_with(other)) {
                self.faults.push(fault);
            }
        }
    }

    /// When the last fault has ended, in ms.
    pub(crate) fn end_ms(&self) -> u64 {
        self.faults.iter().map(Fault::end_ms).max().unwrap_or(0)
    }

    /// Scenarios that are slightly simpler, those that lose most first.
    pub(crate) fn simplified(&self) -> Vec<Self> {
        let mut simplified = Vec::new();
        for index in 0..self.faults.len() {
            let mut faults = self.faults.clone();
            faults.remove(index);
            simplified.push(Self { faults, ..self.clone() });
        }
        for removed in (0..self.nodes).filter(|_| self.nodes > 3) {
            let mut clocks = self.clocks.clone();
            clocks.remove(removed);
            let faults = self.faults.iter().filter_map(|fault| {
                let kind = fault.kind.without(removed)?;
                Some(Fault { kind, ..*fault })
            });
            simplified.push(Self { nodes: self.nodes - 1, clocks, faults: faults.collect(), ..self.clone() });
        }
        for index in 0..self.nodes {
            if self.clocks[index] != Clock::default() {
                let mut clocks = self.clocks.clone();
                clocks[index] = Clock::default();
                simplified.push(Self { clocks, ..self.clone() });
            }
        }
        if self.delay_ms > 2 {
            simplified.push(Self { delay_ms: 2, ..self.clone() });
        }
        simplified.extend((0..self.faults.len()).flat_map(|index| self.with_earlier_or_shorter(index)));
        simplified
    }

    /// The scenario with one fault earlier or shorter, where that conflicts with no other fault.
    fn with_earlier_or_shorter(&self, index: usize) -> impl Iterator<Item = Self> {
        let Fault { at_ms, for_ms, .. } = self.faults[index];
        let times = [(0, for_ms), (at_ms / 2, for_ms), (at_ms, for_ms / 2), (at_ms, for_ms * 3 / 4)];
        times.into_iter().filter_map(move |(at_ms, for_ms)| {
            let mut faults = self.faults.clone();
            faults[index] = Fault { at_ms, for_ms, ..faults[index] };
            let mut others = (0..faults.len()).filter(|other| *other != index);
            let conflicts = others.any(|other| faults[index].conflicts_with(&faults[other]));
            (for_ms >= 100 && !conflicts && faults != self.faults).then(|| Self { faults, ..self.clone() })
        })
    }
}
