//! Growth of one node's work with its network: messages, bytes and processor time per interval, with 1,000 and
//! 10,000 nodes in rings.
//!
//! One node and all its partners are real engines that exchange real messages in virtual time. The other authors
//! publish real signed reports at the usual rate, which reach each partner after a random delay between a tenth
//! and eight tenths of a `poll_rate`, as through rings. Only the one node is measured, from the bodies of its
//! messages to its snapshot: parsing and writing, signatures of reports, steps of the engine and verdicts; not HTTP and
//! the signatures of messages, whose costs do not depend on the size of the network.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded for display")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use distomon::crypto::Keypair;
use distomon::mesh::engine::event::{Call, CallFinished, CallReply, ReceivedReports};
use distomon::mesh::id::NodeId;
use distomon::mesh::membership::{Member, Membership, ObserverPolicy};
use distomon::mesh::verdict::NodeStatus;
use distomon::mesh::wire::heads::Heads;
use distomon::mesh::wire::observation::{Observation, ProbeStatus, ProbeTries};
use distomon::mesh::wire::report::{Digest, Report, VerifiedReport};
use distomon::mesh::{Event, Signer as _};
use message::{Response, Sender, SignedRequest, Transport};
use rustix::time::{ClockId, clock_gettime};
use virtual_host::{Clock, Disk, HostInit, VirtualHost, WALL_MS};

#[path = "../simulation/fixtures.rs"]
#[allow(dead_code, reason = "the simulator uses more of it")]
mod fixtures;
#[path = "../simulation/message.rs"]
#[allow(dead_code, reason = "the simulator uses more of it")]
mod message;
#[path = "../simulation/virtual_host.rs"]
#[allow(dead_code, reason = "the simulator uses more of it")]
mod virtual_host;

/// The highest acceptable ratio of a node's processor time in the larger network to that in the smaller one.
const TARGET: f64 = 1.5;

const RINGS: u32 = 10;
const POLL_MS: u64 = 1_000;
/// Step of virtual time, in ms.
const TICK_MS: u64 = 5;
/// Intervals before the measurement, in which all nodes report and the first full messages pass.
const WARM_UP: u64 = 25;
/// Measured intervals.
const MEASURED: u64 = 20;

fn main() -> ExitCode {
    // Cargo adds --bench.
    if std::env::args().skip(1).any(|argument| argument != "--bench") {
        eprintln!("usage: cargo bench --bench growth");
        return ExitCode::from(64);
    }
    println!("one node of a network in {RINGS} rings, per interval of {POLL_MS} ms:");
    println!("  nodes   messages    reports   kB sent  kB received   of it heads   processor ms   up");
    let [small, large] = [1_000, 10_000].map(|count| {
        let cost = measure(count);
        println!("{count:>7} {cost}");
        cost
    });
    let ratio = large.processor_ms() / small.processor_ms();
    let bytes = large.bytes() / small.bytes();
    println!(
        "10,000 compared with 1,000: {ratio:.2} x the processor time, {bytes:.2} x the bytes (target: {TARGET} x)"
    );
    ExitCode::SUCCESS
}

/// Work of one node in [`MEASURED`] intervals.
#[derive(Default)]
struct Cost {
    messages: u64,
    reports: u32,
    sent: usize,
    received: usize,
    heads: usize,
    processor: Duration,
    up: usize,
}

impl Cost {
    fn processor_ms(&self) -> f64 {
        self.processor.as_secs_f64() * 1_000.0 / MEASURED as f64
    }

    fn bytes(&self) -> f64 {
        (self.sent + self.received) as f64 / MEASURED as f64
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kb = |bytes: usize| bytes as f64 / 1_000.0 / MEASURED as f64;
        let messages = self.messages as f64 / MEASURED as f64;
        let reports = f64::from(self.reports) / MEASURED as f64;
        write!(
            f,
            "{messages:>10.1} {reports:>10.1} {:>9.0} {:>12.0} {:>13.0} {:>14.1} {:>4}",
            kb(self.sent),
            kb(self.received),
            kb(self.heads),
            self.processor_ms(),
            self.up
        )
    }
}

/// A node that only publishes reports.
struct Author {
    id: NodeId,
    keypair: Keypair,
    seq: u64,
    prev: Option<Digest>,
    next_ms: u64,
    observed: Vec<NodeId>,
}

/// The measured node with its partners and all other authors.
struct Testbed {
    /// The first one is measured.
    machines: Vec<VirtualHost>,
    authors: Vec<Author>,
    /// Time in ms, machine and report of each coming delivery.
    arrivals: BinaryHeap<Reverse<(u64, usize, usize)>>,
    reports: Vec<VerifiedReport>,
    publish_ms: u64,
    rng: fastrand::Rng,
    cost: Cost,
}

fn node_id(number: usize) -> NodeId {
    format!("node-{number:05}").parse().expect("a name")
}

fn measure(count: usize) -> Cost {
    let keypairs: Vec<Keypair> = (0..count).map(|number| fixtures::keypair(number as u64)).collect();
    let members: Vec<Member> = keypairs
        .iter()
        .enumerate()
        .map(|(number, keypair)| Member {
            id: node_id(number),
            url: Some(format!("http://node-{number:05}:8000")),
            keys: vec![keypair.public().clone()],
            poll_rate_ms: POLL_MS,
            ..fixtures::member(0)
        })
        .collect();
    let membership_of = |number: usize| {
        let membership =
            Membership::new(fixtures::network_id(), members.clone(), &node_id(number)).expect("a member");
        Arc::new(membership.with_observers(ObserverPolicy::Rings(RINGS)))
    };
    // All ids have one length, so that they sort by number.
    let membership = membership_of(0);
    let partners = (1..count).filter(|&peer| membership.calls(0, peer) || membership.calls(peer, 0));
    let simulated: Vec<usize> = std::iter::once(0).chain(partners).collect();
    let mut rng = fastrand::Rng::with_seed(1);
    let machines = simulated.iter().map(|&number| {
        let init = HostInit {
            signer: Box::new(fixtures::KeySigner(keypairs[number].clone())),
            transport: Transport::Encoded,
            membership: membership_of(number),
            disk: Disk::default(),
            clock: Clock::default(),
            seed: number as u64,
        };
        VirtualHost::start(init, 0)
    });
    let machines: Vec<VirtualHost> = machines.collect();
    let publish_ms = membership.publish_ms();
    let authors = keypairs.into_iter().enumerate().filter(|(number, _)| !simulated.contains(number));
    let authors: Vec<Author> = authors
        .map(|(number, keypair)| Author {
            id: node_id(number),
            keypair,
            seq: 0,
            prev: None,
            // All have just started, and publish immediately.
            next_ms: rng.u64(0..publish_ms.min(2 * POLL_MS)),
            observed: (0..count).filter(|&peer| membership.observes(number, peer)).map(node_id).collect(),
        })
        .collect();
    let mut testbed = Testbed {
        machines,
        authors,
        arrivals: BinaryHeap::new(),
        reports: Vec::new(),
        publish_ms,
        rng,
        cost: Cost::default(),
    };
    let start_ms = WARM_UP * POLL_MS;
    let end_ms = start_ms + MEASURED * POLL_MS;
    for now_ms in (0..end_ms).step_by(usize::try_from(TICK_MS).expect("short")) {
        if now_ms == start_ms {
            testbed.cost = Cost::default();
            testbed.machines[0].received.new = 0;
        }
        testbed.tick(now_ms);
    }
    let verdicts = testbed.machines[0].snapshot.verdicts();
    testbed.cost.up = verdicts.nodes.iter().filter(|verdict| verdict.status == NodeStatus::Up).count();
    testbed.cost.reports = testbed.machines[0].received.new;
    testbed.cost
}

fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Returns the size of the heads in a message, in bytes.
fn heads_bytes(body: &str) -> usize {
    let Some(start) = body.find("\"heads\":{") else { return 0 };
    body[start..].find("},\"reports\"").unwrap_or(0)
}

impl Testbed {
    fn tick(&mut self, now_ms: u64) {
        self.publish(now_ms);
        self.deliver(now_ms);
        for machine in 0..self.machines.len() {
            if self.machines[machine].next_tick_ms(now_ms) <= now_ms {
                self.step(now_ms, machine, Event::Tick);
            }
        }
    }

    /// Runs `work` on a machine, and adds its processor time to the cost if the machine is the measured one.
    fn run_on<T>(&mut self, machine: usize, work: impl FnOnce(&mut VirtualHost) -> T) -> T {
        let before = processor_time();
        let done = work(&mut self.machines[machine]);
        if machine == 0 {
            self.cost.processor += processor_time().saturating_sub(before);
        }
        done
    }

    fn step(&mut self, now_ms: u64, machine: usize, event: Event) {
        let calls = self.run_on(machine, |machine| machine.step(now_ms, event));
        for call in calls {
            let finished = self.call(now_ms, machine, &call);
            self.step(now_ms, machine, Event::CallFinished(finished));
        }
    }

    /// Completes a call without delay.
    fn call(&mut self, now_ms: u64, from: usize, call: &Call) -> CallFinished {
        let Some(to) = self.machines.iter().position(|machine| *machine.id() == call.peer) else {
            // A peer that is not simulated answers without reports.
            let heads = Heads::empty(self.machines[from].snapshot.membership().clone());
            let received = ReceivedReports { heads, reports: Vec::new(), proofs: Vec::new() };
            let reply = CallReply {
                rtt_us: 2_000,
                took_us: 100,
                clock_offset_ms: 0,
                received,
                mark: None,
                snapshot_ms: 0,
            };
            return CallFinished {
                id: call.id,
                peer: call.peer.clone(),
                outcome: Ok(reply),
                evidence: Vec::new(),
                lateness_ms: 0,
                may_answer_late: false,
            };
        };
        let (nonce, body, payload) = self.run_on(from, |machine| machine.write_request(now_ms, call));
        let own = self.machines[from].snapshot.membership().own();
        let sender = Sender { id: own.id.clone(), key: own.keys[0].clone() };
        self.count(from, to, &body);
        let from_id = sender.id.clone();
        let request = SignedRequest::new(sender, call.peer.clone(), nonce, body, payload);
        let (response, received) = self.run_on(to, |machine| machine.on_request(now_ms, request));
        if let Response::Reply(reply, _) = &response {
            self.count(to, from, reply);
        }
        if let Some(received) = received {
            self.step(now_ms, to, Event::RequestReceived { from: from_id, received });
        }
        self.run_on(from, |machine| machine.on_response(now_ms, call, response, 2))
    }

    fn count(&mut self, from: usize, to: usize, body: &str) {
        if from == 0 {
            self.cost.messages += 1;
            self.cost.sent += body.len();
            self.cost.heads += heads_bytes(body);
        } else if to == 0 {
            self.cost.messages += 1;
            self.cost.received += body.len();
            self.cost.heads += heads_bytes(body);
        }
    }

    /// Publishes the due reports of the other authors.
    fn publish(&mut self, now_ms: u64) {
        for author in &mut self.authors {
            if author.next_ms > now_ms {
                continue;
            }
            author.next_ms = now_ms + self.publish_ms;
            let report = author.report(now_ms);
            for machine in 1..self.machines.len() {
                let at_ms = now_ms + self.rng.u64(POLL_MS / 10..POLL_MS * 8 / 10);
                self.arrivals.push(Reverse((at_ms, machine, self.reports.len())));
            }
            self.reports.push(report);
        }
    }

    /// Delivers the reports that are due to the partners.
    fn deliver(&mut self, now_ms: u64) {
        let mut arrived: Vec<Vec<VerifiedReport>> = self.machines.iter().map(|_| Vec::new()).collect();
        while self.arrivals.peek().is_some_and(|Reverse((at_ms, _, _))| *at_ms <= now_ms) {
            let Reverse((_, machine, report)) = self.arrivals.pop().expect("just seen");
            arrived[machine].push(self.reports[report].clone());
        }
        for (machine, reports) in arrived.into_iter().enumerate().filter(|(_, reports)| !reports.is_empty()) {
            let heads = Heads::empty(self.machines[machine].snapshot.membership().clone());
            let from = reports[0].author().clone();
            self.step(
                now_ms,
                machine,
                Event::RequestReceived {
                    from,
                    received: ReceivedReports { heads, reports, proofs: Vec::new() },
                },
            );
        }
    }
}

impl Author {
    fn report(&mut self, now_ms: u64) -> VerifiedReport {
        self.seq += 1;
        let online = Observation {
            rtt_us: Some(812 + u32::try_from(self.seq).expect("few")),
            took_us: Some(140),
            clock_offset_ms: Some(-3),
            tries: Some(ProbeTries { attempts: u32::try_from(self.seq).expect("few"), failures: 0, late: 0 }),
            ..Observation::new(ProbeStatus::Online, WALL_MS)
        };
        let report = fixtures::KeySigner(self.keypair.clone()).sign(Report {
            node_id: self.id.clone(),
            prev: self.prev,
            at_ms: WALL_MS + now_ms,
            observations: self.observed.iter().map(|id| (id.clone(), online)).collect(),
            ..fixtures::report(0, WALL_MS, self.seq)
        });
        self.prev = Some(*report.digest());
        report
    }
}
