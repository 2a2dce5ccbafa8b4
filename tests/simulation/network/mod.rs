//! A simulated network: virtual hosts, and the packets between them, in virtual time.

mod call_workers;
mod host_table;
mod inspect;
mod messages;
mod packet;
pub(crate) mod processor;
pub(crate) mod setup;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::byzantine::Misbehavior;
use crate::fixtures;
use crate::link_model::LinkModel;
use crate::message::{Payload, SignedRequest, Transport};
use crate::virtual_host::{Clock, Disk, HostInit, VirtualHost};
use distomon::crypto::Keypair;
use distomon::mesh::Event;
use distomon::mesh::id::NodeId;
use distomon::mesh::membership::{Member, Membership, ObserverPolicy};
use host_table::HostTable;
use messages::{Job, PendingCall};
use packet::PacketQueue;
use processor::{Processors, Share};
use setup::Machines;
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
    hosts: HostTable,
    /// The host at a node's original address.
    addresses: BTreeMap<NodeId, usize>,
    /// The host at a url that a node has moved to.
    moved: BTreeMap<String, usize>,
    /// The requests that arrived since capturing began, if it did.
    captured: Option<Vec<CapturedRequest>>,
    transport: Transport,
    queue: PacketQueue,
    /// The jobs of processes, with the number of each host and process; none if processor time costs nothing.
    processors: Option<Processors<(usize, u64, Job)>>,
    /// Calls in flight, by number.
    pending: BTreeMap<u64, PendingCall>,
    last_call: u64,
    /// Steps since time last advanced, to detect an engine that is always due.
    steps_without_progress: u32,
    rng: fastrand::Rng,
    seed: u64,
}

/// The number of calls by purpose, and the bytes of all messages.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) probes: u32,
    pub(crate) follow_ups: u32,
    pub(crate) pushes: u32,
    pub(crate) bytes: usize,
    /// The requests that a host answered to be overloaded.
    pub(crate) busy: u32,
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
        let Setup { transport, observers, members, clocks, processors, seed } = setup;
        let count = members.len();
        let mut network = Self {
            now_ms: 0,
            links: LinkModel::new(),
            members,
            observers,
            keys: BTreeMap::new(),
            traffic: Traffic::default(),
            hosts: HostTable::default(),
            addresses: (0..count).map(|index| (fixtures::node_id(index), index)).collect(),
            moved: BTreeMap::new(),
            captured: None,
            transport,
            queue: PacketQueue::default(),
            processors: processors.map(|Machines { cores, machine_of }| Processors::new(&cores, machine_of)),
            pending: BTreeMap::new(),
            last_call: 0,
            steps_without_progress: 0,
            rng: fastrand::Rng::with_seed(seed),
            seed,
        };
        network.hosts.allocate(count - 1);
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
        self.hosts.allocate(host);
        let membership = self.membership(node);
        let seed = self.rng.u64(..);
        let key = self.key(node);
        let public_key = key.public().clone();
        let signer = self.hosts.behavior(host).signer(key, self.transport);
        let init = HostInit { signer, transport: self.transport, membership, disk, clock, seed };
        self.hosts.start(host, VirtualHost::start(init, self.now_ms), public_key);
        self.hosts.schedule_tick(host, self.now_ms);
    }

    /// The key that a node's next process signs with.
    pub(crate) fn key(&self, node: usize) -> Keypair {
        fixtures::keypair(self.keys.get(&node).copied().unwrap_or(node as u64))
    }

    /// Kills the process on `host` and returns its disk.
    pub(crate) fn kill(&mut self, host: usize) -> Disk {
        self.pending.retain(|_, pending| pending.from != host);
        self.hosts.stop(host).expect("the host runs").into_disk()
    }

    /// Suspends the process on `host` for a time, in ms.
    pub(crate) fn freeze(&mut self, host: usize, for_ms: u64) {
        self.hosts.freeze(host, self.now_ms + for_ms);
        self.hosts.schedule_tick(host, self.now_ms);
    }

    pub(crate) fn backlog(&self) -> usize {
        self.processors.as_ref().map_or(0, Processors::backlog)
    }

    /// Limits the processors of the machine that `host` runs on.
    pub(crate) fn set_share(&mut self, host: usize, share: Share) {
        if let Some(processors) = &mut self.processors {
            processors.set_share(host, share);
        }
    }

    /// Changes the clock of a running host.
    pub(crate) fn change_clock(&mut self, host: usize, change: impl FnOnce(&mut Clock)) {
        change(&mut self.host_mut(host).clock);
        self.hosts.schedule_tick(host, self.now_ms);
    }

    /// Begins or ends a way in which the node on `host` misbehaves.
    pub(crate) fn set_misbehavior(&self, host: usize, misbehavior: Misbehavior, begins: bool) {
        self.hosts.behavior(host).set(misbehavior, begins);
    }

    /// Adds the next node to the configuration, which [`Self::reconfigure`] applies to hosts.
    pub(crate) fn add_member(&mut self) {
        let number = self.members.len();
        self.members.push(fixtures::member(number));
        self.addresses.insert(fixtures::node_id(number), number);
        self.hosts.allocate(number);
    }

    /// Gives a node in the configuration the url of `host`.
    pub(crate) fn move_member(&mut self, node: usize, host: usize) {
        let url = format!("http://host-{host:02}:8000");
        self.members[node].url = Some(url.clone());
        self.moved.insert(url, host);
        self.hosts.allocate(host);
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
        self.hosts.get(host).expect("the host runs")
    }

    fn host_mut(&mut self, host: usize) -> &mut VirtualHost {
        self.hosts.get_mut(host).expect("the host runs")
    }

    /// The running hosts with their numbers.
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &VirtualHost)> {
        self.hosts.running()
    }

    /// Whether `host` runs and is not frozen.
    pub(crate) fn is_responsive(&self, host: usize) -> bool {
        self.hosts.get(host).is_some() && self.hosts.frozen_until_ms(host) <= self.now_ms
    }

    /// The host at the node's original address.
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

    /// Runs until the next packet, job or tick and returns the host it concerned. If none is due by `end_ms`, only
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
        if let Some(host) = self.run_next_job() {
            return Some(host);
        }
        let due = self.hosts.due(next_ms).expect("a packet, a job or a tick is due");
        if self.processors.is_some() {
            self.wake(due);
        } else {
            self.step(due, Event::Tick);
        }
        Some(due)
    }

    fn advance_to(&mut self, end_ms: u64) {
        while self.advance(end_ms).is_some() {}
    }

    /// When the next packet arrives, or the next job or tick is due, in ms.
    fn next_ms(&self) -> Option<u64> {
        let job_ms = self.processors.as_ref().and_then(|processors| processors.next_ms(self.now_ms));
        let next = [self.hosts.next_tick_ms(), self.queue.next_ms(), job_ms].into_iter().flatten().min();
        next.map(|next_ms| next_ms.max(self.now_ms))
    }
}

/// Captured and injected requests.
impl Network {
    /// Starts or stops capturing requests.
    pub(crate) fn capture(&mut self, on: bool) {
        self.captured = on.then(|| self.captured.take().unwrap_or_default());
    }

    /// The captured requests, oldest first.
    pub(crate) fn captured(&self) -> &[CapturedRequest] {
        self.captured.as_deref().unwrap_or_default()
    }

    /// Sends a captured request again to the host `to`.
    pub(crate) fn replay(&mut self, CapturedRequest { to, request }: CapturedRequest) {
        let now_ms = self.now_ms;
        let Some(host) = self.hosts.get_mut(to) else { return };
        let from = request.sender.id.clone();
        let (_, received) = host.on_request(now_ms, request);
        if let Some(received) = received {
            self.step(to, Event::RequestReceived { from, received });
        }
    }

    /// Sends `payload` beside the heads in `body` to `to` as the member `from`.
    pub(crate) fn inject(&mut self, to: usize, from: &NodeId, body: &str, payload: Payload) {
        let now_ms = self.now_ms;
        let Some(host) = self.hosts.get_mut(to) else { return };
        let received = host.verify_request(now_ms, from, body, payload);
        self.step(to, Event::RequestReceived { from: from.clone(), received });
    }
}
