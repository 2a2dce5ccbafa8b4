//! A large network for tests of the dashboard: one real node with its event loop, routes and listener, and any number
//! of simulated others. These publish real signed reports, which the node receives as if from peers. Round-trip times
//! change with each report, some nodes become silent, and some links do not work.
//!
//! `large_network NODES PASSWORD` listens on a free port of loopback, prints the address of its page and ends with
//! its standard input.

#![expect(clippy::print_stdout, reason = "the caller waits for the address")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use distomon::crypto::Keypair;
use distomon::crypto::password::Password;
use distomon::mesh::engine::event::{Call, CallFinished, CallReply, ReceivedReports};
use distomon::mesh::id::NodeId;
use distomon::mesh::membership::{Member, Membership, ObserverPolicy};
use distomon::mesh::wire::heads::Heads;
use distomon::mesh::wire::observation::{Failure, Observation, ProbeStatus};
use distomon::mesh::wire::report::{Digest, Report};
use distomon::mesh::{Engine, EngineInit, Event, Signer as _};
use distomon::server::auth::Auth;
use distomon::server::{Limits, Listener, Routes, ServedInstance};
use distomon::store::clock::{Clock, wall_us};
use distomon::store::event_loop::{Caller, EventLoopInit, EventLoopThread};
use distomon::store::nonce_store::NonceStore;
use distomon::store::{NetworkHandle, StateFiles};
use parking_lot::Mutex;

#[path = "../simulation/fixtures.rs"]
#[allow(dead_code, reason = "the simulator uses more of it")]
mod fixtures;

const POLL_MS: u64 = 5_000;
/// Largest network in which all nodes observe all others.
const MAX_OBSERVED_BY_ALL: usize = 64;
const RINGS: u32 = 10;
/// One in this number of nodes publishes only one report.
const SILENT_EVERY: usize = 97;
/// One in this number of links does not work.
const CUT_EVERY: usize = 211;
/// After this number of reports one more node becomes silent, or reports again.
const CHANGE_EVERY: usize = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, password] = &arguments[..] else { panic!("usage: large_network NODES PASSWORD") };
    let count: usize = count.parse().expect("a number of nodes");
    let network = LargeNetwork::new(count);
    let directory = tempfile::tempdir().expect("a directory");
    let node = network.start(directory.path());

    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(&[any], Limits::default()).expect("a free port");
    let instance = ServedInstance {
        name: "large-network".to_owned(),
        nodes: BTreeMap::from([(fixtures::network_id(), node.clone())]),
        login: Some(Password::from_plain(password)),
        secure: false,
    };
    let handle = listener.start(Arc::new(Routes::new(instance, Auth::new()))).expect("a thread");
    std::thread::spawn(move || network.publish(&node));
    println!("http://{}/network/{}", handle.addresses()[0], fixtures::network_id());
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input");
}

struct LargeNetwork {
    keypairs: Vec<Keypair>,
    membership: Arc<Membership>,
    clock: Clock,
}

/// Returns an id. All ids have one length, so that they sort by number.
fn node_id(number: usize) -> NodeId {
    format!("node-{number:04}").parse().expect("a name")
}

fn site(number: usize) -> Option<distomon::mesh::id::Site> {
    ["amsterdam", "berlin", "cairo", "delhi"][number * 7 % 4].parse().ok()
}

impl LargeNetwork {
    fn new(count: usize) -> Self {
        let keypairs: Vec<Keypair> = (0..count).map(|number| fixtures::keypair(number as u64)).collect();
        let members = keypairs.iter().enumerate().map(|(number, keypair)| Member {
            id: node_id(number),
            url: Some(format!("http://node-{number:04}:8000")),
            keys: vec![keypair.public().clone()],
            poll_rate_ms: POLL_MS,
            site: site(number),
            ..fixtures::member(0)
        });
        let observers =
            if count > MAX_OBSERVED_BY_ALL { ObserverPolicy::Rings(RINGS) } else { ObserverPolicy::All };
        let membership =
            Membership::new(fixtures::network_id(), members.collect(), &node_id(0)).expect("node 0");
        Self { keypairs, membership: Arc::new(membership.with_observers(observers)), clock: Clock::start() }
    }

    /// Starts node 0, whose dashboard is tested.
    fn start(&self, directory: &std::path::Path) -> Arc<NetworkHandle> {
        let mut files = StateFiles::open(directory, &self.membership).expect("a directory");
        let (nonce_file, nonces) = files.open_nonces(&self.membership).expect("a file");
        let restored = files.read(&self.membership);
        let now = self.clock.now();
        let init = EngineInit {
            membership: self.membership.clone(),
            signer: Box::new(fixtures::KeySigner(self.keypairs[0].clone())),
            seed: 1,
            epoch: files.next_epoch(&self.membership, &restored, now.wall_ms).expect("a directory"),
            prior: restored.prior,
            min_reports: Vec::new(),
            proofs: Vec::new(),
            boot: None,
        };
        let mut engine = Engine::new(init, now);
        let (wake, _) = crossbeam_channel::bounded(1);
        let (events, queue) = crossbeam_channel::bounded(distomon::store::network_handle::EVENT_QUEUE_LEN);
        let snapshot = engine.take_snapshot(now).expect("a new engine has one");
        let nonces = NonceStore::new(nonces, nonce_file, wake);
        let (node, publisher) =
            NetworkHandle::new(self.keypairs[0].clone(), self.clock, nonces, snapshot, events);
        let node = Arc::new(node);
        // It runs until the process ends.
        let init = EventLoopInit {
            engine,
            node: node.clone(),
            publisher,
            files: Arc::new(Mutex::new(files)),
            events: queue,
            caller: Box::new(InstantCaller(self.membership.clone())),
            on_notice: Box::new(|_, _| ()),
        };
        EventLoopThread::start(init).expect("a thread");
        node
    }

    /// Publishes the reports of all others in turn, each once in a poll interval.
    fn publish(&self, node: &NetworkHandle) {
        let count = self.keypairs.len();
        let mut prev: Vec<Option<Digest>> = vec![None; count];
        let mut extra: Option<usize> = None;
        let begun = Instant::now();
        for turn in 0.. {
            let author = 1 + turn % (count - 1);
            let round = turn / (count - 1);
            if turn % CHANGE_EVERY == 0 {
                extra = if extra.is_none() { Some(count / 2) } else { None };
            }
            if round > 0 {
                let due = Duration::from_millis((turn as u64) * POLL_MS / (count as u64 - 1));
                std::thread::sleep(due.saturating_sub(begun.elapsed() + Duration::from_millis(POLL_MS)));
                if is_silent(author) || extra == Some(author) {
                    continue;
                }
            }
            let report = self.report(author, round as u64 + 1, prev[author], round > 0, extra);
            let sealed = fixtures::KeySigner(self.keypairs[author].clone()).sign(report);
            prev[author] = Some(*sealed.digest());
            let heads = Heads::empty(self.membership.clone());
            let received = ReceivedReports { heads, reports: vec![sealed], proofs: Vec::new() };
            if !node.send(Event::RequestReceived { from: node_id(author), received }) {
                return;
            }
        }
    }

    fn report(
        &self,
        author: usize,
        seq: u64,
        prev: Option<Digest>,
        later: bool,
        extra: Option<usize>,
    ) -> Report {
        let wall_ms = self.clock.now().wall_ms;
        let found = |target: usize| {
            let is_lost = later
                && (is_silent(target)
                    || extra == Some(target)
                    || (author * 31 + target * 17) % CUT_EVERY == 0);
            let far = site(author) != site(target);
            let rtt_us = fastrand::u32(if far { 12_000..90_000 } else { 300..1_400 });
            let status = if is_lost { ProbeStatus::Offline } else { ProbeStatus::Online };
            Observation {
                rtt_us: Some(rtt_us),
                took_us: Some(200),
                clock_offset_ms: Some(fastrand::i64(-3..=3)),
                error: is_lost.then_some(Failure::Refused),
                ..Observation::new(status, wall_ms - 3_600_000)
            }
        };
        let observed = (0..self.keypairs.len()).filter(|&target| self.membership.observes(author, target));
        Report {
            node_id: node_id(author),
            prev,
            at_ms: wall_ms,
            interval_ms: POLL_MS,
            config: self.membership.digest().to_owned(),
            observations: observed.map(|target| (node_id(target), found(target))).collect(),
            ..fixtures::report(0, wall_us() / 1_000_000 * 1_000 - 60_000_000, seq)
        }
    }
}

fn is_silent(number: usize) -> bool {
    number % SILENT_EVERY == SILENT_EVERY - 1
}

/// A caller whose calls end immediately: the simulated nodes answer, silent ones refuse.
struct InstantCaller(Arc<Membership>);

impl Caller for InstantCaller {
    fn reconcile(&mut self, _: &Membership) {}

    fn call(&mut self, call: Call) -> Result<(), Box<CallFinished>> {
        let number = self.0.index(call.peer.as_str()).expect("a member");
        let received =
            ReceivedReports { heads: Heads::empty(self.0.clone()), reports: Vec::new(), proofs: Vec::new() };
        let rtt_us = fastrand::u32(300..60_000);
        let reply =
            CallReply { rtt_us, took_us: 200, clock_offset_ms: 0, received, mark: None, snapshot_ms: 0 };
        let outcome = if is_silent(number) { Err(Failure::Refused) } else { Ok(reply) };
        Err(Box::new(CallFinished {
            id: call.id,
            peer: call.peer,
            outcome,
            evidence: Vec::new(),
            lateness_ms: 0,
            may_answer_late: false,
        }))
    }

    fn finished(&mut self, _: &CallFinished) {}

    fn take_overdue(&mut self, _: Instant) -> Vec<CallFinished> {
        Vec::new()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
