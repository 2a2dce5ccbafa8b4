//! A simulated network: virtual hosts, and the packets between them, in virtual time.

mod inspect;
mod packet;
pub(crate) mod setup;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::byzantine::{Behavior, Misbehavior};
use crate::fixtures;
use crate::link_model::LinkModel;
use crate::virtual_host::{
    Clock, Disk, HostInit, Payload, Response, Sender, SignedRequest, Transport, VirtualHost,
};
use distomon::crypto::{Keypair, PublicKey};
use distomon::mesh::Event;
use distomon::mesh::engine::event::{Call, CallFinished, CallPurpose};
use distomon::mesh::id::NodeId;
use distomon::mesh::membership::{Member, Membership, ObserverPolicy};
use distomon::mesh::wire::observation::Failure;
use packet::{Packet, PacketQueue};
pub(crate) use setup::Setup;

/// A network under virtual time. Hosts have numbers; at first each runs the node of its number.
pub(crate) struct Network {
    pub(crate) now_ms: u64,
    pub(crate) links: LinkModel,
    /// The configuration that the next start or reconfiguration of a node applies.
    pub(crate) members: Vec<Member>,
    pub(crate) observers: ObserverPolicy,
    /// The number of a node's key where that is not the node's number.
    pub(crate) keys: BTreeMap<usize, u64>,
    pub(crate) traffic: Traffic,
    slots: Vec<Slot>,
    /// The host at a node's first address.
    addresses: BTreeMap<NodeId, usize>,
    /// The host at a url that a node has moved to.
    moved: BTreeMap<String, usize>,
    /// The requests that arrived since capturing began, if it did.
    captured: Option<Vec<CapturedRequest>>,
    transport: Transport,
    queue: PacketQueue,
    /// Calls in flight, by number.
    pending: BTreeMap<u64, PendingCall>,
    last_call: u64,
    /// Steps since time last advanced, to detect an engine that is always due.
    steps_without_progress: u32,
    rng: fastrand::Rng,
    seed: u64,
}

/// A place for a virtual host, which may be off.
#[derive(Default)]
struct Slot {
    host: Option<VirtualHost>,
    /// The key that the process signs with.
    key: Option<PublicKey>,
    frozen_until_ms: u64,
    /// When the event loop ticks next, as of its last step; none while the host is off.
    next_tick_ms: Option<u64>,
    behavior: Arc<Behavior>,
}

/// The number of calls by purpose, and the bytes of all messages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) probes: u32,
    pub(crate) follow_ups: u32,
    pub(crate) pushes: u32,
    pub(crate) bytes: usize,
}

struct PendingCall {
    from: usize,
    call: Call,
    sent_ms: u64,
}

/// A request as it arrived at a host.
#[derive(Clone)]
pub(crate) struct CapturedRequest {
    pub(crate) to: usize,
    pub(crate) request: SignedRequest,
}

impl Drop for Network {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with DISTOMON_SEED={} at {} ms", self.seed, self.now_ms);
        }
    }
}

/// Setup, and changes to hosts and configuration.
impl Network {
    fn start(setup: Setup) -> Self {
        let Setup { transport, observers, members, clocks, seed } = setup;
        let count = members.len();
        let mut network = Self {
            now_ms: 0,
            links: LinkModel::new(),
            members,
            observers,
            keys: BTreeMap::new(),
            traffic: Traffic::default(),
            slots: (0..count).map(|_| Slot::default()).collect(),
            addresses: (0..count).map(|index| (fixtures::node_id(index), index)).collect(),
            moved: BTreeMap::new(),
            captured: None,
            transport,
            queue: PacketQueue::default(),
            pending: BTreeMap::new(),
            last_call: 0,
            steps_without_progress: 0,
            rng: fastrand::Rng::with_seed(seed),
            seed,
        };
        for (index, clock) in clocks.iter().enumerate() {
            network.boot_with(index, index, Disk::default(), *clock);
            let until_ms = network.now_ms + network.rng.u64(0..=500 / count as u64);
            network.advance_to(until_ms);
        }
        network
    }

    /// Starts the node with the number `node` on `host`.
    pub(crate) fn boot(&mut self, host: usize, node: usize, disk: Disk) {
        self.boot_with(host, node, disk, Clock::default());
    }

    /// Starts a node with a given clock.
    pub(crate) fn boot_with(&mut self, host: usize, node: usize, disk: Disk, clock: Clock) {
        self.allocate(host);
        let membership = self.membership(node);
        let seed = self.rng.u64(..);
        let key = self.key(node);
        let slot = &mut self.slots[host];
        slot.key = Some(key.public().clone());
        let signer = slot.behavior.signer(key, self.transport);
        let init = HostInit { signer, transport: self.transport, membership, disk, clock, seed };
        slot.host = Some(VirtualHost::start(init, self.now_ms));
        self.schedule_tick(host);
    }

    /// The key that a node's next process signs with.
    pub(crate) fn key(&self, node: usize) -> Keypair {
        fixtures::keypair(self.keys.get(&node).copied().unwrap_or(node as u64))
    }

    /// Makes `host` a valid number; the host is off.
    fn allocate(&mut self, host: usize) {
        let count = self.slots.len().max(host + 1);
        self.slots.resize_with(count, Slot::default);
    }

    /// Kills the process on `host` and returns its disk.
    pub(crate) fn kill(&mut self, host: usize) -> Disk {
        self.pending.retain(|_, pending| pending.from != host);
        let slot = &mut self.slots[host];
        slot.frozen_until_ms = 0;
        slot.next_tick_ms = None;
        slot.host.take().expect("the host runs").into_disk()
    }

    /// Suspends the process on `host` for a time, in ms.
    pub(crate) fn freeze(&mut self, host: usize, for_ms: u64) {
        self.slots[host].frozen_until_ms = self.now_ms + for_ms;
        self.schedule_tick(host);
    }

    /// Changes the clock of a running host.
    pub(crate) fn change_clock(&mut self, host: usize, change: impl FnOnce(&mut Clock)) {
        change(&mut self.host_mut(host).clock);
        self.schedule_tick(host);
    }

    /// Sets how the node on `host` misbehaves from now on; none makes it honest.
    pub(crate) fn set_misbehavior(&self, host: usize, misbehavior: Option<Misbehavior>) {
        self.slots[host].behavior.set(misbehavior);
    }

    /// Adds the next node to the configuration. Nodes learn of it when they are reconfigured.
    pub(crate) fn add_member(&mut self) {
        let number = self.members.len();
        self.members.push(fixtures::member(number));
        self.addresses.insert(fixtures::node_id(number), number);
        self.allocate(number);
    }

    /// Gives a node in the configuration the url of `host`.
    pub(crate) fn move_member(&mut self, node: usize, host: usize) {
        let url = format!("http://host-{host:02}:8000");
        self.members[node].url = Some(url.clone());
        self.moved.insert(url, host);
        self.allocate(host);
    }

    /// Applies the current configuration, as the node with the number `node` sees it, to `host`.
    pub(crate) fn reconfigure(&mut self, host: usize, node: usize) {
        let membership = self.membership(node);
        self.step(host, Event::Reconfigured(membership));
    }

    fn membership(&self, node: usize) -> Arc<Membership> {
        let membership = fixtures::membership(&self.members, node);
        Arc::new(Arc::unwrap_or_clone(membership).with_observers(self.observers))
    }
}

/// Access to hosts.
impl Network {
    pub(crate) fn host(&self, host: usize) -> &VirtualHost {
        self.slots[host].host.as_ref().expect("the host runs")
    }

    fn host_mut(&mut self, host: usize) -> &mut VirtualHost {
        self.slots[host].host.as_mut().expect("the host runs")
    }

    /// The running hosts with their numbers.
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &VirtualHost)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.host.as_ref()?)))
    }

    /// Whether `host` runs and is not frozen.
    pub(crate) fn is_responsive(&self, host: usize) -> bool {
        let slot = &self.slots[host];
        slot.host.is_some() && slot.frozen_until_ms <= self.now_ms
    }

    /// The host at the node's first address.
    pub(crate) fn host_of(&self, id: &NodeId) -> usize {
        self.addresses[id]
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }
}

/// Time.
impl Network {
    /// Runs until `condition` holds and returns the time that took, in ms; panics after `limit_ms`.
    pub(crate) fn run_until(
        &mut self,
        limit_ms: u64,
        what: &str,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> u64 {
        let start_ms = self.now_ms;
        while !condition(self) {
            let Some(next_ms) = self.next_ms().filter(|next_ms| *next_ms <= start_ms + limit_ms) else {
                panic!("{what}: not within {limit_ms} ms\n{}", self.describe());
            };
            self.advance_to(next_ms);
        }
        self.now_ms - start_ms
    }

    /// Runs for a time, in ms.
    pub(crate) fn run(&mut self, for_ms: u64) {
        self.advance_to(self.now_ms + for_ms);
    }

    /// Runs for a time, in ms, and asserts `invariant` whenever time advances.
    pub(crate) fn run_asserting(
        &mut self,
        for_ms: u64,
        what: &str,
        mut invariant: impl FnMut(&Self) -> bool,
    ) {
        let end_ms = self.now_ms + for_ms;
        while let Some(next_ms) = self.next_ms().filter(|next_ms| *next_ms <= end_ms) {
            self.advance_to(next_ms);
            assert!(invariant(self), "violated: {what}\n{}", self.describe());
        }
        self.now_ms = end_ms;
    }

    /// Runs until the next packet or tick and returns the host it concerned. If none is due by `end_ms`, only
    /// time advances.
    pub(crate) fn advance(&mut self, end_ms: u64) -> Option<usize> {
        let Some(next_ms) = self.next_ms().filter(|next_ms| *next_ms <= end_ms) else {
            self.now_ms = end_ms.max(self.now_ms);
            return None;
        };
        self.steps_without_progress =
            if next_ms == self.now_ms { self.steps_without_progress + 1 } else { 0 };
        assert!(self.steps_without_progress < 10_000, "time does not advance\n{}", self.describe());
        self.now_ms = next_ms;
        if let Some(packet) = self.queue.pop(next_ms) {
            let recipient = packet.recipient();
            self.deliver(packet);
            return Some(recipient);
        }
        let is_due = |slot: &Slot| slot.next_tick_ms.is_some_and(|tick_ms| tick_ms <= next_ms);
        let due = self.slots.iter().position(is_due).expect("a packet or a tick is due");
        self.step(due, Event::Tick);
        Some(due)
    }

    fn advance_to(&mut self, end_ms: u64) {
        while self.advance(end_ms).is_some() {}
    }

    /// When the next packet arrives or the next tick is due, in ms.
    fn next_ms(&self) -> Option<u64> {
        let ticks = self.slots.iter().filter_map(|slot| slot.next_tick_ms);
        ticks.chain(self.queue.next_ms()).min().map(|next_ms| next_ms.max(self.now_ms))
    }

    fn schedule_tick(&mut self, host: usize) {
        let slot = &mut self.slots[host];
        let tick_ms = slot.host.as_ref().map(|running| running.next_tick_ms(self.now_ms));
        slot.next_tick_ms = tick_ms.map(|tick_ms| tick_ms.max(slot.frozen_until_ms));
    }
}

/// Messages.
impl Network {
    /// Passes an event to the engine on `host` and sends the calls that it asks for.
    pub(crate) fn step(&mut self, host: usize, event: Event) {
        let now_ms = self.now_ms;
        let calls = self.host_mut(host).step(now_ms, event);
        self.schedule_tick(host);
        for call in calls {
            self.send(host, call);
        }
    }

    /// Starts or stops capturing requests.
    pub(crate) fn capture(&mut self, on: bool) {
        self.captured = on.then(|| self.captured.take().unwrap_or_default());
    }

    /// The captured requests, oldest first.
    pub(crate) fn captured(&self) -> &[CapturedRequest] {
        self.captured.as_deref().unwrap_or_default()
    }

    /// Sends a captured request again to the same host.
    pub(crate) fn replay(&mut self, CapturedRequest { to, request }: CapturedRequest) {
        let now_ms = self.now_ms;
        let Some(host) = self.slots[to].host.as_mut() else { return };
        let from = request.sender.id.clone();
        let (_, received) = host.on_request(now_ms, request);
        if let Some(received) = received {
            self.step(to, Event::RequestReceived { from, received });
        }
    }

    /// Sends `payload` beside the heads in `body` to `to` as the member `from`.
    pub(crate) fn inject(&mut self, to: usize, from: &NodeId, body: &str, payload: Payload) {
        let now_ms = self.now_ms;
        let Some(host) = self.slots[to].host.as_mut() else { return };
        let received = host.verify_request(now_ms, from, body, payload);
        self.step(to, Event::RequestReceived { from: from.clone(), received });
    }

    /// The host that `from` reaches at the url configured for a node.
    fn resolve(&self, from: usize, id: &NodeId) -> usize {
        let member = self.host(from).snapshot.membership().member(id.as_str());
        let url = member.and_then(|member| member.url.as_ref());
        url.and_then(|url| self.moved.get(url)).copied().unwrap_or(self.addresses[id])
    }

    /// When a message that is sent now arrives, in ms; none if it is lost.
    fn arrival_ms(&mut self, from: usize, to: usize) -> Option<u64> {
        let link = self.links.get(from, to);
        let lost = self.rng.u8(0..100) < link.loss_percent;
        let delay_ms = self.rng.u64(link.delay_ms..=2 * link.delay_ms);
        (!lost && !link.cut).then_some(self.now_ms + delay_ms)
    }

    fn public_key(&self, host: usize) -> PublicKey {
        self.slots[host].key.clone().expect("a process has run here")
    }

    fn send(&mut self, from: usize, call: Call) {
        let now_ms = self.now_ms;
        let to = self.resolve(from, &call.peer);
        let key = self.public_key(from);
        let host = self.host_mut(from);
        let (nonce, body, mut payload) = host.write_request(now_ms, &call);
        let sender = Sender { id: host.id().clone(), key };
        self.slots[from].behavior.tamper(&mut payload, &sender.id, to);
        self.last_call += 1;
        let number = self.last_call;
        self.traffic.bytes += body.len();
        match call.purpose {
            CallPurpose::Probe => self.traffic.probes += 1,
            CallPurpose::FollowUp => self.traffic.follow_ups += 1,
            CallPurpose::Push => self.traffic.pushes += 1,
        }
        let timeout = Packet::Failed { to: from, call: number, failure: Failure::Timeout };
        self.queue.push(now_ms + call.timeout_ms, timeout);
        self.pending.insert(number, PendingCall { from, call, sent_ms: now_ms });
        let arrival_ms = self.arrival_ms(from, to).filter(|_| self.links.admits(from, to));
        if let Some(arrival_ms) = arrival_ms {
            let request = SignedRequest { sender, nonce, body, payload };
            self.queue.push(arrival_ms, Packet::Request { from, to, call: number, request });
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let thaws_ms = self.slots[packet.recipient()].frozen_until_ms;
        if thaws_ms > self.now_ms {
            return self.queue.push(thaws_ms, packet);
        }
        match packet {
            Packet::Request { from, to, call, request } => self.answer(from, to, call, request),
            Packet::Response { to, call, signer, response } => {
                let Some(PendingCall { call, sent_ms, .. }) = self.pending.remove(&call) else { return };
                let now_ms = self.now_ms;
                let host = self.host_mut(to);
                let response = host.verify_signer(&call.peer, &signer, response);
                let finished = host.on_response(now_ms, &call, response, now_ms - sent_ms);
                self.step(to, Event::CallFinished(finished));
            }
            Packet::Failed { to, call, failure } => {
                let Some(PendingCall { call, .. }) = self.pending.remove(&call) else { return };
                let finished = CallFinished {
                    id: call.id,
                    peer: call.peer,
                    outcome: Err(failure),
                    evidence: Vec::new(),
                };
                self.step(to, Event::CallFinished(finished));
            }
        }
    }

    fn answer(&mut self, from: usize, to: usize, call: u64, request: SignedRequest) {
        let now_ms = self.now_ms;
        let arrival_ms = self.arrival_ms(to, from);
        if self.slots[to].host.is_none() {
            // The host's kernel refuses the connection.
            if let Some(arrival_ms) = arrival_ms {
                let refused = Packet::Failed { to: from, call, failure: Failure::Refused };
                self.queue.push(arrival_ms, refused);
            }
            return;
        }
        if let Some(captured) = &mut self.captured {
            captured.push(CapturedRequest { to, request: request.clone() });
        }
        let peer = request.sender.id.clone();
        let host = self.host_mut(to);
        let (mut response, received) = host.on_request(now_ms, request);
        let id = host.id().clone();
        if let Response::Reply(body, payload) = &mut response {
            self.traffic.bytes += body.len();
            self.slots[to].behavior.tamper(payload, &id, from);
        }
        if let Some(arrival_ms) = arrival_ms {
            let signer = self.public_key(to);
            self.queue.push(arrival_ms, Packet::Response { to: from, call, signer, response });
        }
        if let Some(received) = received {
            self.step(to, Event::RequestReceived { from: peer, received });
        }
    }
}
