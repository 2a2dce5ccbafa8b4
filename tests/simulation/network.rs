//! Machines and the messages between them, in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write as _;
use std::sync::Arc;

use crate::liar::Desk;
use crate::link::Links;
use crate::machine::{Cargo, Clock, Disk, Machine, Response, Sender, Wire};
use crate::sample;
use distomon::crypto::{Keypair, Nonce, PublicKey};
use distomon::mesh::Event;
use distomon::mesh::engine::event::{Call, CallFinished, CallPurpose, Notice};
use distomon::mesh::id::NodeId;
use distomon::mesh::membership::{Member, Membership, ObserverPolicy};
use distomon::mesh::wire::observation::{Failure, ProbeStatus};
use distomon::present::journal::notice_text;

/// A network under virtual time. Machines are named by number; at first each runs the node of its number.
pub(crate) struct Network {
    pub(crate) now_ms: u64,
    pub(crate) links: Links,
    pub(crate) members: Vec<Member>,
    pub(crate) observers: ObserverPolicy,
    pub(crate) traffic: Traffic,
    /// By machine; None for one that does not run.
    machines: Vec<Option<Machine>>,
    /// Which machine stands at a node's address.
    addresses: BTreeMap<NodeId, usize>,
    /// Which machine stands at a url that a node has moved to.
    moved: BTreeMap<String, usize>,
    /// The number of a node's key where that is not the node's own number.
    pub(crate) keys: BTreeMap<usize, u64>,
    /// What the process on each machine signs with.
    signers: Vec<PublicKey>,
    frozen_until_ms: Vec<u64>,
    /// When each collector turns next, as of its last step.
    turns_ms: Vec<u64>,
    /// Where each machine's reports are written, honestly or not.
    desks: Vec<Arc<Desk>>,
    /// What somebody sniffed, for as long as that is asked for.
    tape: Option<Vec<Sniffed>>,
    wire: Wire,
    under_way: BinaryHeap<Reverse<(u64, u64)>>,
    parcels: BTreeMap<u64, Parcel>,
    /// Calls that wait for their end, by a number of their own.
    pending: BTreeMap<u64, Pending>,
    next_number: u64,
    /// Steps since time last moved: a core that is always due is stuck.
    steps_at_once: u32,
    rng: fastrand::Rng,
    seed: u64,
}

/// What was sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) probes: u32,
    pub(crate) follow_ups: u32,
    pub(crate) pushes: u32,
    pub(crate) bytes: usize,
}

struct Pending {
    from: usize,
    call: Call,
    sent_ms: u64,
}

/// A request as it came over the wire.
#[derive(Clone)]
pub(crate) struct Sniffed {
    pub(crate) to: usize,
    sender: Sender,
    nonce: Nonce,
    body: String,
    pub(crate) cargo: Cargo,
}

enum Parcel {
    Request { from: usize, to: usize, call: u64, sender: Sender, nonce: Nonce, body: String, cargo: Cargo },
    Response { to: usize, call: u64, signer: PublicKey, response: Response },
    Failed { to: usize, call: u64, failure: Failure },
}

impl Parcel {
    fn recipient(&self) -> usize {
        match self {
            Self::Request { to, .. } | Self::Response { to, .. } | Self::Failed { to, .. } => *to,
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with DISTOMON_SEED={} at {} ms", self.seed, self.now_ms);
        }
    }
}

impl Network {
    /// A network of `members`, named `node-00` and so on, all of which start within half a second.
    pub(crate) fn start(members: Vec<Member>, seed: u64) -> Self {
        Self::start_in(ObserverPolicy::All, members, seed)
    }

    /// Likewise, where each is observed by `observers`.
    pub(crate) fn start_in(observers: ObserverPolicy, members: Vec<Member>, seed: u64) -> Self {
        let clocks = vec![Clock::default(); members.len()];
        Self::start_all(Wire::Whole, observers, members, &clocks, seed)
    }

    /// Likewise, with a wire and clocks of one's choice.
    pub(crate) fn start_over(wire: Wire, members: Vec<Member>, clocks: &[Clock], seed: u64) -> Self {
        Self::start_all(wire, ObserverPolicy::All, members, clocks, seed)
    }

    pub(crate) fn start_all(
        wire: Wire,
        observers: ObserverPolicy,
        members: Vec<Member>,
        clocks: &[Clock],
        seed: u64,
    ) -> Self {
        let count = members.len();
        let mut network = Self {
            now_ms: 0,
            links: Links::new(),
            addresses: (0..count).map(|index| (sample::node_id(index), index)).collect(),
            moved: BTreeMap::new(),
            keys: BTreeMap::new(),
            signers: Vec::new(),
            machines: (0..count).map(|_| None).collect(),
            frozen_until_ms: vec![0; count],
            turns_ms: vec![u64::MAX; count],
            desks: (0..count).map(|_| Arc::default()).collect(),
            tape: None,
            wire,
            members,
            observers,
            traffic: Traffic::default(),
            under_way: BinaryHeap::new(),
            parcels: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_number: 0,
            steps_at_once: 0,
            rng: fastrand::Rng::with_seed(seed),
            seed,
        };
        for (index, clock) in clocks.iter().enumerate() {
            network.boot_with(index, index, Disk::default(), *clock);
            let until_ms = network.now_ms + network.rng.u64(0..=500 / count as u64);
            network.run_until(until_ms);
        }
        network
    }

    /// Starts the node with the number `node` on `machine`.
    pub(crate) fn boot(&mut self, machine: usize, node: usize, disk: Disk) {
        self.boot_with(machine, node, disk, Clock::default());
    }

    /// Likewise, with a wall clock that is off by `skew_ms`.
    pub(crate) fn boot_skewed(&mut self, machine: usize, node: usize, disk: Disk, skew_ms: i64) {
        self.boot_with(machine, node, disk, Clock { skew_ms, ..Clock::default() });
    }

    /// Likewise, with clocks of one's choice.
    pub(crate) fn boot_with(&mut self, machine: usize, node: usize, disk: Disk, clock: Clock) {
        self.provide(machine);
        let membership = self.membership(node);
        let seed = self.rng.u64(..);
        let key = self.key(node);
        self.signers.resize(self.machines.len(), key.public().clone());
        self.signers[machine] = key.public().clone();
        let seal = self.desks[machine].pen(key, self.wire);
        let started = Machine::start(seal, self.wire, membership, disk, clock, self.now_ms, seed);
        self.machines[machine] = Some(started);
        self.plan_turn(machine);
    }

    /// What a node's next process signs with.
    pub(crate) fn key(&self, node: usize) -> Keypair {
        sample::keypair(self.keys.get(&node).copied().unwrap_or(node as u64))
    }

    /// Provides a machine, on which nothing runs yet.
    fn provide(&mut self, machine: usize) {
        while self.machines.len() <= machine {
            self.machines.push(None);
            self.frozen_until_ms.push(0);
            self.turns_ms.push(u64::MAX);
            self.desks.push(Arc::default());
        }
    }

    fn plan_turn(&mut self, machine: usize) {
        let wakes_ms = self.machines[machine].as_ref().map(|running| running.wakes_ms(self.now_ms));
        self.turns_ms[machine] = wakes_ms.map_or(u64::MAX, |at_ms| at_ms.max(self.frozen_until_ms[machine]));
    }

    /// Which machine stands at the node's address.
    pub(crate) fn machine_of(&self, id: &NodeId) -> usize {
        self.addresses[id]
    }

    /// Where `machine` writes its reports.
    pub(crate) fn desk(&self, machine: usize) -> &Desk {
        &self.desks[machine]
    }

    /// Sets the clocks of `machine`, which runs.
    pub(crate) fn set_clock(&mut self, machine: usize, change: impl FnOnce(&mut Clock)) {
        change(&mut self.machines[machine].as_mut().expect("it runs").clock);
        self.plan_turn(machine);
    }

    /// Ends the process on `machine` without a word, and gives what its disk holds.
    pub(crate) fn kill(&mut self, machine: usize) -> Disk {
        self.pending.retain(|_, pending| pending.from != machine);
        self.frozen_until_ms[machine] = 0;
        self.turns_ms[machine] = u64::MAX;
        self.machines[machine].take().expect("it runs").shut()
    }

    /// Stops the process on `machine`, or the machine, for a while.
    pub(crate) fn freeze(&mut self, machine: usize, for_ms: u64) {
        self.frozen_until_ms[machine] = self.now_ms + for_ms;
        self.plan_turn(machine);
    }

    /// Begins or ends to keep what goes over the wire.
    pub(crate) fn sniff(&mut self, on: bool) {
        self.tape = on.then(|| self.tape.take().unwrap_or_default());
    }

    /// What was sniffed, oldest first.
    pub(crate) fn tape(&self) -> &[Sniffed] {
        self.tape.as_deref().unwrap_or_default()
    }

    /// Sends a sniffed request again to the machine it went to.
    pub(crate) fn replay(&mut self, sniffed: Sniffed) {
        let Sniffed { to, sender, nonce, body, cargo } = sniffed;
        let now_ms = self.now_ms;
        let Some(machine) = self.machines[to].as_mut() else { return };
        let (_, delivery) = machine.answer(now_ms, &sender, nonce, &body, cargo);
        if let Some(delivery) = delivery {
            self.tell(to, Event::RequestReceived { from: sender.id, received: delivery });
        }
    }

    /// Hands `cargo` to `to` in the name of the member `from`, beside the heads in `body`.
    pub(crate) fn hand(&mut self, to: usize, from: &NodeId, body: &str, cargo: Cargo) {
        let now_ms = self.now_ms;
        let Some(machine) = self.machines[to].as_mut() else { return };
        let delivery = machine.take(now_ms, from, body, cargo);
        self.tell(to, Event::RequestReceived { from: from.clone(), received: delivery });
    }

    /// Whether `machine` runs and is not frozen.
    pub(crate) fn turns(&self, machine: usize) -> bool {
        self.machines[machine].is_some() && self.frozen_until_ms[machine] <= self.now_ms
    }

    /// Tells the core on `machine` something.
    pub(crate) fn tell(&mut self, machine: usize, event: Event) {
        let calls = self.machines[machine].as_mut().expect("it runs").step(self.now_ms, event);
        self.plan_turn(machine);
        for call in calls {
            self.send(machine, call);
        }
    }

    /// Adds the next node to the configuration; who is not told does not know it.
    pub(crate) fn add_member(&mut self) {
        let number = self.members.len();
        self.members.push(sample::member(number));
        self.addresses.insert(sample::node_id(number), number);
        self.provide(number);
    }

    /// Gives a node another url, at which `machine` stands.
    pub(crate) fn move_member(&mut self, node: usize, machine: usize) {
        let url = format!("http://machine-{machine:02}:8000");
        self.members[node].url = Some(url.clone());
        self.moved.insert(url, machine);
        self.provide(machine);
    }

    /// Which machine stands where `from` is configured to reach a node.
    fn find(&self, from: usize, id: &NodeId) -> usize {
        let member = self.machine(from).snapshot.membership().member(id.as_str());
        let url = member.and_then(|member| member.url.as_ref());
        url.and_then(|url| self.moved.get(url)).copied().unwrap_or(self.addresses[id])
    }

    /// Gives `machine` the configuration as it now is.
    pub(crate) fn reconfigure(&mut self, machine: usize, node: usize) {
        let membership = self.membership(node);
        self.tell(machine, Event::Reconfigured(membership));
    }

    /// The configuration as it now is, seen from a node.
    fn membership(&self, node: usize) -> Arc<Membership> {
        let membership = sample::membership(&self.members, node);
        Arc::new(Arc::unwrap_or_clone(membership).with_observers(self.observers))
    }

    pub(crate) fn machine(&self, machine: usize) -> &Machine {
        self.machines[machine].as_ref().expect("it runs")
    }

    /// All that run, with their numbers.
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Machine)> {
        self.machines.iter().enumerate().filter_map(|(index, machine)| Some((index, machine.as_ref()?)))
    }

    /// What the machine `observer` says of the node `target`.
    pub(crate) fn finds(&self, observer: usize, target: usize) -> ProbeStatus {
        let found = self.machine(observer).finds(&sample::node_id(target));
        found.map_or(ProbeStatus::Unknown, |found| found.status)
    }

    /// Whether `note` fits anything that `machine` told its operator.
    pub(crate) fn told(&self, machine: usize, note: impl Fn(&Notice) -> bool) -> usize {
        self.machine(machine).notes.iter().filter(|told| note(told)).count()
    }

    /// Whether every running machine finds all whom it observes online and holds a fresh report of each.
    pub(crate) fn is_whole(&self) -> bool {
        let nodes: Vec<_> = self.running().map(|(index, machine)| (index, machine.id().clone())).collect();
        self.running().all(|(index, machine)| {
            let now = machine.now(self.now_ms);
            nodes.iter().filter(|(other, _)| *other != index).all(|(_, id)| {
                let membership = machine.snapshot.membership();
                membership.index(id.as_str()).is_some_and(|at| {
                    let online = machine.finds(id).is_some_and(|found| found.status == ProbeStatus::Online);
                    (online || !membership.observes(membership.me(), at))
                        && machine.snapshot.is_fresh(at, now.mono_ms)
                })
            })
        })
    }

    /// Lets time pass until `done`; panics after `limit_ms`. Gives how long it took, in ms.
    pub(crate) fn wait(&mut self, limit_ms: u64, what: &str, mut done: impl FnMut(&Self) -> bool) -> u64 {
        let start_ms = self.now_ms;
        while !done(self) {
            let Some(next_ms) = self.next_ms().filter(|next_ms| *next_ms <= start_ms + limit_ms) else {
                panic!("{what}: not within {limit_ms} ms\n{}", self.describe());
            };
            self.run_until(next_ms);
        }
        self.now_ms - start_ms
    }

    /// Lets so much time pass.
    pub(crate) fn run(&mut self, for_ms: u64) {
        self.run_until(self.now_ms + for_ms);
    }

    /// Lets so much time pass and checks `holds` after everything that happens.
    pub(crate) fn run_checking(&mut self, for_ms: u64, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end_ms = self.now_ms + for_ms;
        while let Some(next_ms) = self.next_ms().filter(|next_ms| *next_ms <= end_ms) {
            self.run_until(next_ms);
            assert!(holds(self), "{what}\n{}", self.describe());
        }
        self.now_ms = end_ms;
    }

    /// Lets the next thing happen if it does by `end_ms`, and says which machine it concerned; else lets
    /// time pass until then.
    pub(crate) fn advance(&mut self, end_ms: u64) -> Option<usize> {
        let Some(next_ms) = self.next_ms().filter(|next_ms| *next_ms <= end_ms) else {
            self.now_ms = end_ms.max(self.now_ms);
            return None;
        };
        self.steps_at_once = if next_ms == self.now_ms { self.steps_at_once + 1 } else { 0 };
        assert!(self.steps_at_once < 10_000, "stuck\n{}", self.describe());
        self.now_ms = next_ms;
        if self.under_way.peek().is_some_and(|Reverse((at_ms, _))| *at_ms <= next_ms) {
            let Reverse((_, id)) = self.under_way.pop().expect("just seen");
            let parcel = self.parcels.remove(&id).expect("sent once");
            let recipient = parcel.recipient();
            self.arrive(parcel);
            return Some(recipient);
        }
        let due = self.turns_ms.iter().position(|turn_ms| *turn_ms <= next_ms).expect("someone is due");
        self.tell(due, Event::Tick);
        Some(due)
    }

    fn next_ms(&self) -> Option<u64> {
        let parcel = self.under_way.peek().map_or(u64::MAX, |Reverse((at_ms, _))| *at_ms);
        let turn = self.turns_ms.iter().copied().min().unwrap_or(u64::MAX);
        let next_ms = parcel.min(turn);
        (next_ms < u64::MAX).then_some(next_ms.max(self.now_ms))
    }

    fn run_until(&mut self, end_ms: u64) {
        while self.advance(end_ms).is_some() {}
    }

    fn post(&mut self, at_ms: u64, parcel: Parcel) {
        self.next_number += 1;
        self.under_way.push(Reverse((at_ms, self.next_number)));
        self.parcels.insert(self.next_number, parcel);
    }

    /// When a message arrives, if it does.
    fn travel(&mut self, from: usize, to: usize) -> Option<u64> {
        let link = self.links.get(from, to);
        let lost = self.rng.u8(0..100) < link.loss_percent;
        let delay_ms = self.rng.u64(link.delay_ms..=2 * link.delay_ms);
        (!lost && !link.cut).then_some(self.now_ms + delay_ms)
    }

    fn send(&mut self, from: usize, call: Call) {
        let now_ms = self.now_ms;
        let machine = self.machines[from].as_mut().expect("it runs");
        let (nonce, body, mut cargo) = machine.write(now_ms, &call);
        let sender = Sender { id: machine.id().clone(), key: self.signers[from].clone() };
        let to = self.find(from, &call.peer);
        self.desks[from].tamper(&mut cargo, &sender.id, to);
        self.next_number += 1;
        let id = self.next_number;
        self.traffic.bytes += body.len();
        match call.purpose {
            CallPurpose::Probe => self.traffic.probes += 1,
            CallPurpose::FollowUp => self.traffic.follow_ups += 1,
            CallPurpose::Push => self.traffic.pushes += 1,
        }
        let timeout_ms = now_ms + call.timeout_ms;
        self.pending.insert(id, Pending { from, call, sent_ms: now_ms });
        self.post(timeout_ms, Parcel::Failed { to: from, call: id, failure: Failure::Timeout });
        let arrival = self.travel(from, to).filter(|_| self.links.admits(from, to));
        if let Some(at_ms) = arrival {
            self.post(at_ms, Parcel::Request { from, to, call: id, sender, nonce, body, cargo });
        }
    }

    fn arrive(&mut self, parcel: Parcel) {
        let recipient = parcel.recipient();
        if self.frozen_until_ms[recipient] > self.now_ms {
            return self.post(self.frozen_until_ms[recipient], parcel);
        }
        match parcel {
            Parcel::Request { from, to, call, sender, nonce, body, cargo } => {
                self.answer(from, to, call, (&sender, nonce), &body, cargo);
            }
            Parcel::Response { to, call, signer, response } => {
                let Some(Pending { call, sent_ms, .. }) = self.pending.remove(&call) else { return };
                let elapsed_ms = self.now_ms - sent_ms;
                let now_ms = self.now_ms;
                let machine = self.machines[to].as_mut().expect("what waits runs");
                let response = machine.check_signer(&call.peer, &signer, response);
                let called = machine.read(now_ms, &call, response, elapsed_ms);
                self.tell(to, Event::CallFinished(called));
            }
            Parcel::Failed { to, call, failure } => {
                let Some(Pending { call, .. }) = self.pending.remove(&call) else { return };
                let called = CallFinished {
                    id: call.id,
                    peer: call.peer,
                    outcome: Err(failure),
                    evidence: Vec::new(),
                };
                self.tell(to, Event::CallFinished(called));
            }
        }
    }

    fn answer(
        &mut self,
        from: usize,
        to: usize,
        call: u64,
        (sender, nonce): (&Sender, Nonce),
        body: &str,
        cargo: Cargo,
    ) {
        let now_ms = self.now_ms;
        let back_ms = self.travel(to, from);
        let Some(machine) = self.machines[to].as_mut() else {
            // The machine runs and says that nobody listens there.
            if let Some(at_ms) = back_ms {
                self.post(at_ms, Parcel::Failed { to: from, call, failure: Failure::Refused });
            }
            return;
        };
        if let Some(tape) = &mut self.tape {
            tape.push(Sniffed {
                to,
                sender: sender.clone(),
                nonce,
                body: body.to_owned(),
                cargo: cargo.clone(),
            });
        }
        let (mut response, delivery) = machine.answer(now_ms, sender, nonce, body, cargo);
        if let Response::Reply(body, cargo) = &mut response {
            self.traffic.bytes += body.len();
            self.desks[to].tamper(cargo, machine.id(), from);
        }
        if let Some(at_ms) = back_ms {
            let signer = self.signers[to].clone();
            self.post(at_ms, Parcel::Response { to: from, call, signer, response });
        }
        if let Some(delivery) = delivery {
            self.tell(to, Event::RequestReceived { from: sender.id.clone(), received: delivery });
        }
    }

    /// Who finds what of whom, for a failing test.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("seed {}, at {} ms\n", self.seed, self.now_ms);
        for (index, machine) in self.running() {
            let _ = write!(text, "machine {index} ({}):", machine.id());
            let now = machine.now(self.now_ms);
            for (at, (member, state)) in machine.snapshot.members().enumerate() {
                let found = machine.finds(&member.id).map(|found| found.status.as_str());
                let latest = state.latest.as_ref().map(|latest| latest.id().seq);
                let fresh = if machine.snapshot.is_fresh(at, now.mono_ms) { "" } else { " not fresh" };
                let _ = write!(text, " {} {found:?} latest {latest:?}{fresh};", member.id);
            }
            text.push('\n');
            for note in &machine.notes {
                let _ = writeln!(text, "    {}", notice_text(note));
            }
        }
        text
    }
}

/// A network of `count` nodes in which everybody knows everything.
pub(crate) fn tracked(count: usize, seed: u64) -> Network {
    settled_with(sample::members(count), seed)
}

/// Likewise where probes are rare.
pub(crate) fn settled_slowly(members: Vec<Member>, seed: u64) -> Network {
    let mut network = Network::start(members, seed);
    network.wait(60_000, "all online", Network::is_whole);
    network.run(20_000);
    network.traffic = Traffic::default();
    network
}

/// Likewise where each is observed in so many rings.
pub(crate) fn settled_in_rings(rings: u32, members: Vec<Member>, seed: u64) -> Network {
    let mut network = Network::start_in(ObserverPolicy::Rings(rings), members, seed);
    network.wait(8_000, "all online", Network::is_whole);
    network.run(2_000);
    network.traffic = Traffic::default();
    network
}

pub(crate) fn settled_with(members: Vec<Member>, seed: u64) -> Network {
    let mut network = Network::start(members, seed);
    network.wait(5_000, "all online", Network::is_whole);
    network.run(2_000);
    network.traffic = Traffic::default();
    network
}
