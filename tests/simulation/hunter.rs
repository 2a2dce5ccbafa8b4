//! Plays one scenario and holds what every node concludes against the truth, whenever a node changes its
//! mind and a few times a second.

use std::collections::BTreeMap;

use crate::liar::Lie;
use crate::link::Links;
use crate::machine::{Cargo, Disk, Machine, Wire};
use crate::network::Network;
use crate::sample;
use crate::scenario::{Scenario, What};
use crate::truth::{Nodes, Truth};
use distomon::mesh::Event;
use distomon::mesh::id::ReportId;
use distomon::mesh::verdict::outage::OutageKind;
use distomon::mesh::verdict::{Cause, NodeStatus};

/// Who is joined anew is heard of within so long and a while for each exchange on the way, in ms: a call
/// that hangs ends after 1 s, the next round is due within 1.1 s, and the first report within 1 s.
const HEARD_MS: u64 = 3_500;

/// What each exchange on the way adds, in ms: a probe every 1.1 s from either side.
const HOP_MS: u64 = 1_200;

/// Silence means death after 4 I + 2 T, in ms; and a verdict is reached within a moment.
const SILENT_MS: u64 = 6_000 + 500;

/// So long after the last fault has passed all is well, and all agree, in ms: whatever was silent or voted
/// stale is over by 4 I + 2 T, then a round and a retry bring what is new, and a report takes its hops.
pub(crate) const QUIET_MS: u64 = 10_000;

/// How often all is looked at, in ms.
const LOOK_MS: u64 = 250;

/// What went wrong.
#[derive(Debug, Clone)]
pub(crate) struct Wrong {
    /// The rule that was broken.
    pub(crate) rule: &'static str,
    pub(crate) text: String,
}

/// What one node said of another when it was last looked at.
#[derive(Clone, Copy)]
struct Said {
    /// The process that its newest report came from.
    process: Option<u32>,
    /// Since when that process is known.
    since_ms: u64,
    /// It was known, and has fallen silent; the process is from then.
    silent: bool,
    /// The process that fell silent, until a report tells what it was; and since when it is alive again.
    lost: Option<u32>,
    back_ms: u64,
}

/// A verdict may lag a little behind what came meanwhile: then nobody knows which process was meant, in ms.
const LAG_MS: u64 = 100;

/// After so long in sight again, no outage is left to be explained, in ms.
const EXPLAINED_MS: u64 = 3_000;

/// One scenario being played.
pub(crate) struct Hunter<'s> {
    scenario: &'s Scenario,
    pub(crate) network: Network,
    truth: Truth,
    /// When the network had tracked.
    start_ms: u64,
    /// When a fault last began or passed.
    since_ms: u64,
    /// Until when it last was no wonder that the one called the other down, and did not hear of it.
    excused_ms: Vec<Vec<u64>>,
    unheard_ms: Vec<Vec<u64>>,
    /// Of whom the one may have heard since the other fell silent: these witness its silence.
    witnesses: Vec<Vec<Nodes>>,
    /// When messages were last lost.
    lossy_ms: u64,
    disks: Vec<Option<Disk>>,
    /// What each process's forerunner held of each node, where the disk kept it.
    floors: Vec<Vec<ReportId>>,
    said: Vec<Vec<Option<Said>>>,
    /// Which verdicts of each machine were looked at last.
    seen: Vec<u64>,
    starts: Vec<u32>,
    /// Which process of a node used which epoch.
    epochs: BTreeMap<(usize, u64), u32>,
    active: Vec<bool>,
    /// Those that lie at any time.
    liars: Nodes,
    /// Who heard the goodbye of each node.
    farewells: Vec<Nodes>,
    leaving: BTreeMap<usize, u64>,
    /// Since when both halves of an equivocator's audience can meet.
    doubled_ms: Vec<Option<u64>>,
    convicted: Nodes,
    rng: fastrand::Rng,
}

/// Plays `scenario`; says what went wrong.
pub(crate) fn play(scenario: &Scenario, wire: Wire) -> Result<Network, Wrong> {
    let mut hunter = Hunter::new(scenario, wire);
    match hunter.play() {
        Ok(()) => Ok(hunter.network),
        Err(wrong) => {
            let at_ms = hunter.network.now_ms - hunter.start_ms;
            let text = format!("{} at {at_ms} ms: {}\n{}", wrong.rule, wrong.text, hunter.network.describe());
            Err(Wrong { text, ..wrong })
        }
    }
}

fn wrong(rule: &'static str, text: impl Into<String>) -> Wrong {
    Wrong { rule, text: text.into() }
}

fn stamps(machine: &Machine) -> Vec<(Option<ReportId>, bool)> {
    let states = machine.snapshot.states().iter();
    states.map(|state| (state.latest.as_ref().map(|latest| latest.id()), state.advanced)).collect()
}

impl<'s> Hunter<'s> {
    fn new(scenario: &'s Scenario, wire: Wire) -> Self {
        let count = scenario.nodes;
        let mut network = Network::start_over(wire, sample::members(count), &scenario.clocks, scenario.seed);
        network.links.slow(scenario.delay_ms);
        let liars = scenario.faults.iter().filter_map(|fault| fault.what.liar());
        let (all, none) = (Nodes::all(count), Nodes::default());
        Self {
            truth: Truth::of(&network.links, count, all, none, none, false),
            scenario,
            start_ms: 0,
            since_ms: 0,
            excused_ms: vec![vec![0; count]; count],
            unheard_ms: vec![vec![0; count]; count],
            witnesses: vec![vec![none; count]; count],
            lossy_ms: 0,
            disks: vec![None; count],
            floors: vec![vec![ReportId::default(); count]; count],
            said: vec![vec![None; count]; count],
            seen: vec![0; count],
            starts: vec![0; count],
            epochs: BTreeMap::new(),
            active: vec![false; scenario.faults.len()],
            liars: liars.fold(none, Nodes::with),
            farewells: vec![none; count],
            leaving: BTreeMap::new(),
            doubled_ms: vec![None; count],
            convicted: none,
            rng: fastrand::Rng::with_seed(scenario.seed),
            network,
        }
    }

    fn play(&mut self) -> Result<(), Wrong> {
        let limit_ms = self.network.now_ms + 8_000;
        while !self.network.is_whole() {
            if self.network.advance(limit_ms).is_none() {
                return Err(wrong("start", "not all online within 8 s"));
            }
        }
        self.network.run(1_500);
        self.start_ms = self.network.now_ms;
        self.since_ms = self.start_ms;
        for (machine, running) in self.network.running() {
            self.epochs.insert((machine, running.disk.epoch), 0);
        }
        if self.scenario.faults.iter().any(|fault| matches!(fault.what, What::Replay(_))) {
            self.network.sniff(true);
        }
        self.network.advance(self.start_ms + 1);
        for viewer in 0..self.truth.count {
            self.look(viewer)?;
        }
        let mut turns: Vec<(u64, bool, usize)> = Vec::new();
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            turns.push((self.start_ms + fault.at_ms, true, index));
            turns.push((self.start_ms + fault.at_ms + fault.for_ms, false, index));
        }
        turns.sort_unstable();
        for (at_ms, begins, index) in turns {
            self.pass(at_ms)?;
            self.turn(index, begins);
        }
        let end_ms = self.start_ms + self.scenario.ends_ms() + QUIET_MS;
        self.pass(end_ms)?;
        self.look_at_the_end()
    }

    /// Lets time pass and looks on.
    fn pass(&mut self, end_ms: u64) -> Result<(), Wrong> {
        while self.network.now_ms < end_ms {
            let next_ms = end_ms.min(self.network.now_ms - self.network.now_ms % LOOK_MS + LOOK_MS);
            while let Some(machine) = self.network.advance(next_ms) {
                self.bury();
                self.look_at(machine)?;
            }
            for viewer in 0..self.truth.count {
                self.look(viewer)?;
            }
            if self.network.now_ms - self.since_ms > SILENT_MS && !self.truth.lossy {
                self.look_at_rest()?;
            }
            self.replay()?;
        }
        Ok(())
    }

    /// Ends the processes that have said goodbye.
    fn bury(&mut self) {
        if let Some((&node, &until_ms)) = self.leaving.first_key_value() {
            if self.network.machine(node).mesh.is_idle() || self.network.now_ms >= until_ms {
                self.leaving.remove(&node);
                self.disks[node] = Some(self.network.kill(node));
            }
        }
    }

    /// A fault begins or passes.
    fn turn(&mut self, index: usize, begins: bool) {
        let fault = self.scenario.faults[index];
        self.remember();
        self.active[index] = begins;
        let network = &mut self.network;
        match fault.what {
            What::Kill(node) | What::Wipe(node) if begins => self.disks[node] = Some(network.kill(node)),
            What::Stop(node) if begins => {
                self.farewells[node] = if self.truth.lossy || network.now_ms - self.since_ms < HEARD_MS {
                    Nodes::default()
                } else {
                    self.truth.joined(node)
                };
                self.leaving.insert(node, network.now_ms + 400);
                network.tell(node, Event::Leaving);
            }
            What::Kill(node) | What::Wipe(node) | What::Stop(node) => {
                if self.leaving.remove(&node).is_some() {
                    self.disks[node] = Some(network.kill(node));
                }
                let disk = self.disks[node].take().expect("kept when it died");
                let disk = if matches!(fault.what, What::Wipe(_)) { Disk::default() } else { disk };
                self.floors[node].fill(ReportId::default());
                for (id, report_id) in &disk.floors {
                    let target = network.machine_of(id);
                    self.floors[node][target] = *report_id;
                }
                network.boot_with(node, node, disk, self.scenario.clocks[node]);
                self.starts[node] += 1;
                self.said[node].fill(None);
            }
            What::Hang(node) if begins => network.freeze(node, fault.for_ms),
            What::Jump(node, by_ms) => {
                network.set_clock(node, |clock| clock.skew_ms += if begins { by_ms } else { -by_ms });
            }
            What::Lie(node, lie) => {
                network.desk(node).lie(begins.then_some(lie));
                self.doubled_ms[node] = None;
            }
            _ => {}
        }
        self.since_ms = self.network.now_ms;
        self.set();
    }

    /// Keeps what was true until now.
    fn remember(&mut self) {
        let now_ms = self.network.now_ms;
        if self.truth.lossy {
            self.lossy_ms = now_ms;
        }
        for viewer in 0..self.truth.count {
            for target in 0..self.truth.count {
                if self.is_excused(viewer, target) {
                    self.excused_ms[viewer][target] = now_ms;
                }
                if !self.is_heard(viewer, target) {
                    self.unheard_ms[viewer][target] = now_ms;
                }
                self.witnesses[viewer][target] = self.witnesses(viewer, target);
            }
        }
    }

    /// Makes links and truth what the active faults make of them.
    fn set(&mut self) {
        let (network, count) = (&mut self.network, self.scenario.nodes);
        let links = &mut network.links;
        links.mend();
        let (mut loss, mut delay_ms) = (0, self.scenario.delay_ms);
        let (mut dead, mut stopped, mut mute) = (Nodes::default(), Nodes::default(), Nodes::default());
        for (fault, _) in self.scenario.faults.iter().zip(&self.active).filter(|(_, active)| **active) {
            match fault.what {
                What::Kill(node) | What::Wipe(node) | What::Hang(node) => {
                    dead = dead.with(node);
                }
                What::Stop(node) => (dead, stopped) = (dead.with(node), stopped.with(node)),
                What::Cut(one, other) => links.cut(one, other),
                What::Drop(from, to) => links.cut_one_way(from, to),
                What::Bar(from, to) => links.bar(from, to),
                What::Wall(node) => links.wall(node),
                What::Deafen(node) => links.deafen(node),
                What::Part(side) => part(links, count, Nodes(side), None),
                What::Bridge(node, side) => part(links, count, Nodes(side), Some(node)),
                What::Chain => {
                    let pairs = (0..count).flat_map(|one| (one + 2..count).map(move |other| (one, other)));
                    pairs.for_each(|(one, other)| links.cut(one, other));
                }
                What::Star(hub) => {
                    let pairs = (0..count).flat_map(|one| (one + 1..count).map(move |other| (one, other)));
                    pairs
                        .filter(|(one, other)| *one != hub && *other != hub)
                        .for_each(|(one, other)| links.cut(one, other));
                }
                What::Lose(percent) => loss = loss.max(percent),
                What::Slow(ms) => delay_ms = delay_ms.max(ms),
                What::Lie(node, Lie::Mute) => mute = mute.with(node),
                What::Lie(..) | What::Replay(_) | What::Jump(..) => {}
            }
        }
        links.lose(loss);
        links.slow(delay_ms);
        let lives = Nodes::all(count).less(dead);
        self.truth = Truth::of(links, count, lives, stopped, mute, loss > 0);
    }

    fn witnesses(&self, viewer: usize, target: usize) -> Nodes {
        if self.truth.lives.has(target) && self.truth.hears(viewer).has(target) {
            return Nodes::default();
        }
        self.witnesses[viewer][target].or(self.truth.hears(viewer))
    }

    /// Whether more than half of all may have reported to `viewer` since `target` fell silent.
    fn is_majority(&self, viewer: usize, target: usize) -> bool {
        let heard = self.witnesses(viewer, target).or(self.truth.hears(viewer));
        heard.less(Nodes::one(target)).len() * 2 > self.truth.count
    }

    /// Whether it is no wonder now that `viewer` calls `target` down.
    fn is_excused(&self, viewer: usize, target: usize) -> bool {
        let truth = &self.truth;
        // A majority that is joined anew finds out what each of it knew before it hears of anybody else.
        let heard = || {
            let unheard_ms = self.unheard_ms[viewer][target];
            truth.joined(viewer).has(target)
                && self.network.now_ms - unheard_ms.max(self.start_ms) > self.heard_within_ms(viewer)
        };
        !truth.lives.has(viewer) || !truth.lives.has(target) || (self.is_majority(viewer, target) && !heard())
    }

    /// Whether reports of `target` come to `viewer` now.
    fn is_heard(&self, viewer: usize, target: usize) -> bool {
        let truth = &self.truth;
        truth.lives.has(viewer) && truth.lives.has(target) && truth.joined(viewer).has(target)
    }

    fn heard_within_ms(&self, viewer: usize) -> u64 {
        let delay_ms = self.scenario.delay_ms.max(110);
        let heard_ms = HEARD_MS + self.truth.hops(viewer) * (HOP_MS + 4 * delay_ms);
        if self.truth.lossy { heard_ms * 2 } else { heard_ms }
    }

    /// Looks at what a machine may have changed.
    fn look_at(&mut self, machine: usize) -> Result<(), Wrong> {
        if !self.network.turns(machine) {
            return Ok(());
        }
        let running = self.network.machine(machine);
        let epoch = running.disk.epoch;
        self.epochs.entry((machine, epoch)).or_insert(self.starts[machine]);
        let revision = running.snapshot.revision();
        if std::mem::replace(&mut self.seen[machine], revision) == revision {
            return Ok(());
        }
        self.look(machine)
    }

    /// Holds what `viewer` concludes against the truth.
    fn look(&mut self, viewer: usize) -> Result<(), Wrong> {
        if !self.network.turns(viewer) || self.liars.has(viewer) || self.leaving.contains_key(&viewer) {
            return Ok(());
        }
        let now_ms = self.network.now_ms;
        let within_ms = self.heard_within_ms(viewer);
        for target in (0..self.truth.count).filter(|target| *target != viewer) {
            let status = self.network.machine(viewer).snapshot.verdicts().nodes[target].status;
            let tell = || format!("{viewer} says that {target} is {status}");
            let latest = self.network.machine(viewer).snapshot.states()[target].latest.as_ref();
            if latest.is_some_and(|latest| latest.id() < self.floors[viewer][target]) {
                return Err(wrong("taken although an earlier process latest newer", tell()));
            }
            if status == NodeStatus::Down
                && !self.is_excused(viewer, target)
                && now_ms - self.excused_ms[viewer][target] > within_ms
            {
                return Err(wrong("down although it lives", tell()));
            }
            if !status.is_alive()
                && status != NodeStatus::Conflict
                && self.is_heard(viewer, target)
                && now_ms - self.unheard_ms[viewer][target].max(self.start_ms) > within_ms
                && !self.truth.lossy
                && now_ms - self.lossy_ms > within_ms
            {
                return Err(wrong("not alive although it is heard", tell()));
            }
            if status == NodeStatus::Conflict {
                if !self.doubles(target) {
                    return Err(wrong("convicted without guilt", tell()));
                }
                self.convicted = self.convicted.with(target);
            }
            self.follow(viewer, target, status)?;
        }
        Ok(())
    }

    /// Whether `node` ever signs two reports in one place.
    fn doubles(&self, node: usize) -> bool {
        self.scenario.faults.iter().any(|fault| fault.what == What::Lie(node, Lie::Double))
    }

    /// Whoever was silent and lived on is told as cut off when it is heard of again.
    fn follow(&mut self, viewer: usize, target: usize, status: NodeStatus) -> Result<(), Wrong> {
        let snapshot = &self.network.machine(viewer).snapshot;
        let epoch = snapshot.states()[target].latest.as_ref().map(|latest| latest.id().epoch);
        let process = epoch.and_then(|epoch| self.epochs.get(&(target, epoch)).copied());
        let tracked = snapshot.tracker().nodes().nth(target).expect("tracked with its verdict");
        let before = self.said[viewer][target];
        let is_silent = matches!(status, NodeStatus::Down | NodeStatus::Unknown);
        let known = status == NodeStatus::Down || tracked.decided.is_some();
        let now_ms = self.network.now_ms;
        let was_silent = before.is_some_and(|before| before.silent);
        let then = before.and_then(|before| before.lost);
        let wall_ms = self.network.machine(viewer).now(now_ms).wall_ms;
        let ended = tracked.outage.filter(|outage| outage.to_ms == wall_ms);
        if let (Some(then), Some(now), Some(ended)) = (then, process, ended) {
            if (ended.kind != OutageKind::Restarted) != (then == now) && !self.liars.has(target) {
                let text = format!("{viewer} of {target}: {ended:?}, and it was the processes {then}, {now}");
                return Err(wrong("cut off or started anew", text));
            }
        }
        let said = match before {
            Some(said) if was_silent && is_silent => said,
            Some(said) if is_silent && now_ms - said.since_ms < LAG_MS => Said { process: None, ..said },
            Some(said) if is_silent => said,
            Some(said) if said.process == process => said,
            _ => Said { process, since_ms: now_ms, silent: false, lost: then, back_ms: now_ms },
        };
        let silent = is_silent && (known || was_silent);
        let back_ms = if is_silent { now_ms } else { said.back_ms };
        let explained = ended.is_some() || now_ms - back_ms > EXPLAINED_MS;
        let lost = if silent && !was_silent { then.or(said.process) } else { said.lost };
        let lost = lost.filter(|_| is_silent || !explained);
        self.said[viewer][target] = Some(Said { silent, lost, back_ms, ..said });
        Ok(())
    }

    /// What must hold where nothing has changed for a while.
    fn look_at_rest(&mut self) -> Result<(), Wrong> {
        let rest_ms = self.network.now_ms - self.since_ms;
        let honest: Vec<usize> = self
            .truth
            .lives
            .less(self.liars)
            .iter()
            .filter(|&viewer| rest_ms > SILENT_MS + self.truth.hops(viewer) * HOP_MS + 1_000)
            .collect();
        for &viewer in &honest {
            let verdicts = self.network.machine(viewer).snapshot.verdicts();
            let joined = self.truth.joined(viewer);
            for target in (0..self.truth.count).filter(|target| !joined.has(*target)) {
                let status = verdicts.nodes[target].status;
                let tell = || format!("{viewer} says that {target} is {status}");
                let died = !self.truth.lives.has(target);
                if self.truth.stopped.has(target) && self.farewells[target].has(viewer) {
                    if status != NodeStatus::Stopped && status != NodeStatus::Conflict {
                        return Err(wrong("stopped on purpose", tell()));
                    }
                } else if died
                    && !self.truth.stopped.has(target)
                    && self.truth.can_tell(viewer, target, self.liars)
                {
                    if !matches!(status, NodeStatus::Down | NodeStatus::NeverSeen | NodeStatus::Conflict) {
                        return Err(wrong("not told that it is dead", tell()));
                    }
                } else if status.is_alive() && !self.truth.hears(viewer).has(target) {
                    return Err(wrong("alive without a sign of life", tell()));
                } else if status == NodeStatus::Down
                    && !(self.is_majority(viewer, target) && self.truth.may_tell(viewer, target))
                {
                    return Err(wrong("down without a quorum", tell()));
                }
            }
            self.look_at_links(viewer)?;
            self.look_at_sides(viewer)?;
        }
        for &one in &honest {
            for &other in honest.iter().filter(|other| self.truth.joined(one).has(**other)) {
                self.compare(one, other)?;
            }
        }
        self.look_at_proofs(&honest)
    }

    /// Who is joined agrees.
    fn compare(&self, one: usize, other: usize) -> Result<(), Wrong> {
        let says = |viewer: usize| &self.network.machine(viewer).snapshot.verdicts().nodes;
        for (target, (a, b)) in says(one).iter().zip(says(other)).enumerate() {
            let forgot = [a, b].iter().any(|verdict| verdict.status == NodeStatus::NeverSeen);
            if a.status != b.status && !forgot {
                let text =
                    format!("{one} says that {target} is {}, {other} that it is {}", a.status, b.status);
                return Err(wrong("disagree", text));
            }
        }
        Ok(())
    }

    /// A link that does not work is named with its direction, unless an end of it explains it; one that
    /// works never is.
    fn look_at_links(&self, viewer: usize) -> Result<(), Wrong> {
        let verdicts = self.network.machine(viewer).snapshot.verdicts();
        let joined = self.truth.joined(viewer).less(self.liars);
        for from in joined.iter() {
            for to in joined.iter().filter(|to| *to != from) {
                let named = verdicts.links.iter().find(|link| {
                    (link.from, link.to) == (from, to) || (link.both && (link.to, link.from) == (from, to))
                });
                let explained = verdicts.nodes[from].causes.contains(&Cause::Egress)
                    || verdicts.nodes[to].causes.contains(&Cause::Ingress);
                let conflict =
                    [from, to].iter().any(|end| verdicts.nodes[*end].status == NodeStatus::Conflict);
                let works = self.truth.can_call(from, to);
                if works && named.is_some() {
                    return Err(wrong("a link that works", format!("{viewer} names {named:?}")));
                }
                if !works && named.is_none() && !explained && !conflict {
                    let text = format!("{viewer} does not name {from} to {to}: {:?}", verdicts.links);
                    return Err(wrong("a link that does not work", text));
                }
            }
        }
        Ok(())
    }

    /// A network that fell apart in two, with nothing else amiss, names both sides.
    fn look_at_sides(&self, viewer: usize) -> Result<(), Wrong> {
        let mut active = self.scenario.faults.iter().zip(&self.active).filter(|(_, active)| **active);
        let (Some((fault, _)), None) = (active.next(), active.next()) else { return Ok(()) };
        let What::Part(side) = fault.what else { return Ok(()) };
        let whole = self.scenario.faults.iter().all(|other| {
            let passed_ms = other.at_ms + other.for_ms;
            let now_ms = self.network.now_ms - self.start_ms;
            other == fault || other.at_ms > now_ms || passed_ms + QUIET_MS < fault.at_ms
        });
        let side = Nodes(side).and(Nodes::all(self.truth.count));
        let other = Nodes::all(self.truth.count).less(side);
        if !whole || side.len().min(other.len()) == 0 || self.convicted != Nodes::default() {
            return Ok(());
        }
        let (mine, theirs) = if side.has(viewer) { (side, other) } else { (other, side) };
        let expected = [mine, theirs].map(|side| side.iter().collect::<Vec<_>>());
        let verdicts = self.network.machine(viewer).snapshot.verdicts();
        let alone = theirs.len() == 1 && !self.network.machine(viewer).snapshot.isolated();
        let named: Vec<_> = verdicts.partitions.iter().map(|side| side.nodes.clone()).collect();
        if named != expected && !(alone && named.is_empty()) {
            return Err(wrong("sides", format!("{viewer} names {named:?}, not {expected:?}")));
        }
        Ok(())
    }

    /// Whoever shows different reports to nodes that can meet is convicted by everybody.
    fn look_at_proofs(&mut self, honest: &[usize]) -> Result<(), Wrong> {
        let holds = |viewer: usize, target: usize| {
            self.network.machine(viewer).snapshot.states()[target].equivocation.is_some()
        };
        for (fault, active) in self.scenario.faults.iter().zip(&self.active) {
            let What::Lie(target, Lie::Double) = fault.what else { continue };
            let audience = |parity: usize| {
                let near = honest.iter().copied().filter(|&viewer| {
                    viewer % 2 == parity
                        && (self.truth.can_call(viewer, target) || self.truth.can_call(target, viewer))
                });
                near.fold(Nodes::default(), Nodes::with)
            };
            let (even, odd) = (audience(0), audience(1));
            let meet = even.iter().any(|one| self.truth.joined(one).and(odd) != Nodes::default());
            if !*active || !self.truth.lives.has(target) || !meet {
                continue;
            }
            for &viewer in honest.iter().filter(|viewer| self.truth.joined(**viewer).has(target)) {
                if !holds(viewer, target) {
                    return Err(wrong("no proof", format!("{viewer} has none against {target}")));
                }
            }
        }
        Ok(())
    }

    /// What a node that replays sends again, and that it advances nothing.
    fn replay(&mut self) -> Result<(), Wrong> {
        let active = self.scenario.faults.iter().zip(&self.active).filter(|(_, active)| **active);
        let replayers = active.filter_map(|(fault, _)| match fault.what {
            What::Replay(node) => Some(node),
            _ => None,
        });
        let replayers = replayers.filter(|node| self.network.turns(*node)).collect::<Vec<_>>();
        for liar in replayers {
            let tape = self.network.tape();
            if tape.is_empty() {
                continue;
            }
            let request = tape[self.rng.usize(0..tape.len())].clone();
            let cargo = tape[self.rng.usize(0..tape.len())].cargo.clone();
            self.check_replay(request.to, "a request", |network| network.replay(request))?;
            let victim = self.rng.usize(0..self.truth.count);
            if victim != liar && self.truth.can_call(liar, victim) {
                self.check_replay(victim, "reports", |network| hand_over(network, liar, victim, cargo))?;
            }
        }
        Ok(())
    }

    fn check_replay(
        &mut self,
        victim: usize,
        what: &str,
        send: impl FnOnce(&mut Network),
    ) -> Result<(), Wrong> {
        if !self.network.turns(victim) || self.leaving.contains_key(&victim) {
            return Ok(());
        }
        let before = stamps(self.network.machine(victim));
        send(&mut self.network);
        let after = stamps(self.network.machine(victim));
        for (target, (before, after)) in before.into_iter().zip(after).enumerate() {
            let (Some(latest), Some(holds)) = (before.0, after.0) else { continue };
            let revived = holds == latest && after.1 && !before.1;
            if target != victim && (holds < latest || revived) {
                let text =
                    format!("{what} to {victim}: of {target} it latest {before:?} and holds {after:?}");
                return Err(wrong("replay", text));
            }
        }
        Ok(())
    }

    /// What must hold when all has passed.
    fn look_at_the_end(&mut self) -> Result<(), Wrong> {
        if !self.network.is_whole() {
            return Err(wrong("not whole again", "somebody does not find somebody online"));
        }
        for viewer in 0..self.truth.count {
            let verdicts = self.network.machine(viewer).snapshot.verdicts();
            for (target, verdict) in verdicts.nodes.iter().enumerate() {
                let convicted = verdict.status == NodeStatus::Conflict && self.doubles(target);
                if verdict.status != NodeStatus::Up && !convicted {
                    let text = format!("{viewer} says that {target} is {}", verdict.status);
                    return Err(wrong("not well again", text));
                }
                let known = self.convicted.has(target) || convicted;
                if known && verdict.status != NodeStatus::Conflict {
                    return Err(wrong("no proof", format!("{viewer} has none against {target} at the end")));
                }
            }
            if !verdicts.links.is_empty() || !verdicts.partitions.is_empty() {
                let text = format!("{viewer} names {:?} and {:?}", verdicts.links, verdicts.partitions);
                return Err(wrong("not well again", text));
            }
        }
        Ok(())
    }
}

/// Cuts all links between `side` and the others, but those of a bridge.
fn part(links: &mut Links, count: usize, side: Nodes, bridge: Option<usize>) {
    for one in side.and(Nodes::all(count)).iter().filter(|one| Some(*one) != bridge) {
        for other in Nodes::all(count).less(side).iter().filter(|other| Some(*other) != bridge) {
            links.cut(one, other);
        }
    }
}

/// `liar` gives old reports to `victim`, and says that all that this holds is brand-new.
fn hand_over(network: &mut Network, liar: usize, victim: usize, cargo: Cargo) {
    use base64::Engine as _;
    let mut heads = Vec::new();
    for (member, state) in network.machine(victim).snapshot.members() {
        if let Some(latest) = &state.latest {
            let hash = base64::engine::general_purpose::STANDARD.encode(latest.short_digest());
            let report_id = latest.id();
            heads.push(format!("\"{}\":[{},{},\"{hash}\",0]", member.id, report_id.epoch, report_id.seq));
        }
    }
    let to = sample::node_id(victim);
    let body = format!("{{\"to\":\"{to}\",\"heads\":{{{}}},\"reports\":[]}}", heads.join(","));
    network.hand(victim, &sample::node_id(liar), &body, cargo);
}
