//! A large network to be looked at: one real node with its collector, routes and listener, which hears of as many
//! others as one likes. These publish real signed reports, handed over as if peers had brought them; round-trip
//! times change with each, a few nodes fall silent, and a link here and there does not work.
//!
//! `crowd NODES PASSWORD`: listens on a free port of loopback, prints its address, and ends with its standard input.

#![expect(clippy::print_stdout, reason = "whoever starts it waits for the address")]

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
use distomon::server::{Instance, Limits, Listener, Routes};
use distomon::store::clock::{Clock, wall_us};
use distomon::store::event_loop::{Caller, EventLoopInit, EventLoopThread};
use distomon::store::nonce_store::NonceStore;
use distomon::store::{NetworkHandle, StateFiles};
use parking_lot::Mutex;

#[path = "../simulation/fixtures.rs"]
#[allow(dead_code, reason = "the simulator uses more of it")]
mod fixtures;

const POLL_MS: u64 = 5_000;
/// Above this many nodes, not all observe all.
const MOST_ALL: usize = 64;
const RINGS: u32 = 10;
/// One in so many nodes falls silent after its first report.
const DEAD: usize = 97;
/// One in so many links does not work.
const CUT: usize = 211;
/// After so many reports of the others one more node falls silent, or the last one comes back.
const CHANGE: usize = 1_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, password] = &arguments[..] else { panic!("usage: crowd NODES PASSWORD") };
    let count: usize = count.parse().expect("a number of nodes");
    let crowd = Crowd::new(count);
    let place = tempfile::tempdir().expect("a directory");
    let node = crowd.start(place.path());

    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(&[any], Limits::default()).expect("a free port");
    let instance = Instance {
        name: "crowd".to_owned(),
        nodes: BTreeMap::from([(fixtures::network_id(), node.clone())]),
        login: Some(Password::from_plain(password)),
        secure: false,
    };
    let handle = listener.start(Arc::new(Routes::new(instance))).expect("a thread");
    std::thread::spawn(move || crowd.publish(&node));
    println!("http://{}/network/{}", handle.addresses()[0], fixtures::network_id());
    std::io::stdin().read_to_end(&mut Vec::new()).expect("standard input");
}

struct Crowd {
    keypairs: Vec<Keypair>,
    membership: Arc<Membership>,
    clock: Clock,
}

/// As long as each other, so that the order of ids is that of the numbers.
fn node_id(number: usize) -> NodeId {
    format!("node-{number:04}").parse().expect("a name")
}

fn site(number: usize) -> Option<distomon::mesh::id::Site> {
    ["amsterdam", "berlin", "cairo", "delhi"][number * 7 % 4].parse().ok()
}

impl Crowd {
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
        let observers = if count > MOST_ALL { ObserverPolicy::Rings(RINGS) } else { ObserverPolicy::All };
        let membership =
            Membership::new(fixtures::network_id(), members.collect(), &node_id(0)).expect("node 0");
        Self { keypairs, membership: Arc::new(membership.with_observers(observers)), clock: Clock::start() }
    }

    /// The node that is looked at: number 0.
    fn start(&self, place: &std::path::Path) -> Arc<NetworkHandle> {
        let files = StateFiles::open(place, &self.membership).expect("a directory");
        let now = self.clock.now();
        let setup = EngineInit {
            membership: self.membership.clone(),
            signer: Box::new(fixtures::KeySigner(self.keypairs[0].clone())),
            seed: 1,
            epoch: files.take_epoch(now.wall_ms).expect("a directory"),
            min_reports: Vec::new(),
            proofs: Vec::new(),
        };
        let mut mesh = Engine::new(setup, now);
        let (wake, _) = crossbeam_channel::bounded(1);
        let (events, waiting) = crossbeam_channel::bounded(distomon::store::network_handle::EVENT_QUEUE_LEN);
        let snapshot = mesh.take_snapshot(now).expect("a new mesh has one");
        let book = NonceStore::new(BTreeMap::new(), wake);
        let (node, publisher) =
            NetworkHandle::new(self.keypairs[0].clone(), self.clock, book, snapshot, events);
        let node = Arc::new(node);
        let dial = Box::new(Answers(self.membership.clone()));
        // It runs until the process ends.
        let init = EventLoopInit {
            engine: mesh,
            node: node.clone(),
            publisher,
            files: Arc::new(Mutex::new(files)),
            events: waiting,
            caller: dial,
            on_notice: Box::new(|_, _| ()),
        };
        EventLoopThread::start(init).expect("a thread");
        node
    }

    /// All others report, in turn, each once in a poll rate.
    fn publish(&self, node: &NetworkHandle) {
        let count = self.keypairs.len();
        let mut prev: Vec<Option<Digest>> = vec![None; count];
        let mut extra: Option<usize> = None;
        let begun = Instant::now();
        for turn in 0.. {
            let author = 1 + turn % (count - 1);
            let round = turn / (count - 1);
            if turn % CHANGE == 0 {
                extra = if extra.is_none() { Some(count / 2) } else { None };
            }
            if round > 0 {
                let due = Duration::from_millis((turn as u64) * POLL_MS / (count as u64 - 1));
                std::thread::sleep(due.saturating_sub(begun.elapsed() + Duration::from_millis(POLL_MS)));
                if is_dead(author) || extra == Some(author) {
                    continue;
                }
            }
            let report = self.report(author, round as u64 + 1, prev[author], round > 0, extra);
            let sealed = fixtures::KeySigner(self.keypairs[author].clone()).sign(report);
            prev[author] = Some(*sealed.digest());
            let heads = Heads::empty(self.membership.clone());
            let delivery = ReceivedReports { heads, reports: vec![sealed], proofs: Vec::new() };
            if !node.send(Event::RequestReceived { from: node_id(author), received: delivery }) {
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
            let is_lost =
                later && (is_dead(target) || extra == Some(target) || (author * 31 + target * 17) % CUT == 0);
            let far = site(author) != site(target);
            let rtt_us = fastrand::u32(if far { 12_000..90_000 } else { 300..1_400 });
            Observation {
                status: if is_lost { ProbeStatus::Offline } else { ProbeStatus::Online },
                since_ms: wall_ms - 3_600_000,
                rtt_us: Some(rtt_us),
                took_us: Some(200),
                clock_offset_ms: Some(fastrand::i64(-3..=3)),
                error: is_lost.then_some(Failure::Refused),
                head: None,
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

fn is_dead(number: usize) -> bool {
    number % DEAD == DEAD - 1
}

/// What node 0 finds when it calls the others.
struct Answers(Arc<Membership>);

impl Caller for Answers {
    fn reconcile(&mut self, _: &Membership) {}

    fn call(&mut self, call: Call) -> Result<(), Box<CallFinished>> {
        let number = self.0.index(call.peer.as_str()).expect("a member");
        let delivery =
            ReceivedReports { heads: Heads::empty(self.0.clone()), reports: Vec::new(), proofs: Vec::new() };
        let rtt_us = fastrand::u32(300..60_000);
        let answer = CallReply {
            rtt_us,
            took_us: 200,
            clock_offset_ms: 0,
            received: delivery,
            mark: None,
            snapshot_ms: 0,
        };
        let outcome = if is_dead(number) { Err(Failure::Refused) } else { Ok(answer) };
        // A call that ends here and now.
        Err(Box::new(CallFinished { id: call.id, peer: call.peer, outcome, evidence: Vec::new() }))
    }

    fn finished(&mut self, _: &CallFinished) {}

    fn abandon_overdue(&mut self, _: Instant) -> Vec<CallFinished> {
        Vec::new()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}
