//! How many reports a second one thread verifies and stores, beside what bare `verify_strict` reaches over
//! the same bytes in the same run.
//!
//! Included: everything from the body of a request to the snapshot that readers see, which is reading the
//! message, its envelopes and payloads, checking what is news, the signature, the core's step, and the
//! snapshot. Not included: HTTP, the message signature, and the channel between the threads.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use distomon::crypto::{Keypair, dsse};
use distomon::mesh::engine::event::ReceivedReports;
use distomon::mesh::id::{NetworkId, NodeId};
use distomon::mesh::membership::{Member, Membership};
use distomon::mesh::verify::{self, MessageReports};
use distomon::mesh::wire::message;
use distomon::mesh::wire::observation::{Observation, ProbeStatus};
use distomon::mesh::wire::report::{Report, VerifiedReport};
use distomon::mesh::{Engine, EngineInit, Event, Signer, Snapshot, Timestamps};
use ed25519_dalek::{Signature, VerifyingKey};

/// What is to be reached of the bare rate, in per cent.
const TARGET: f64 = 80.0;

/// When the first report was made: Unix time in ms.
const START_MS: u64 = 1_763_884_800_000;

/// How long each case is measured. Both sides take turns, so that what slows this machine slows both.
const MEASURED: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    // Cargo adds --bench.
    if std::env::args().skip(1).any(|argument| argument != "--bench") {
        eprintln!("usage: cargo bench --bench reports");
        return ExitCode::from(64);
    }
    for (nodes, together) in [(3, false), (3, true), (64, false), (64, true)] {
        measure(nodes, together);
    }
    ExitCode::SUCCESS
}

/// A signed report, twice: as it travels, and as what the bare verification wants.
struct Sample {
    envelope: String,
    signed: Vec<u8>,
    signature: Signature,
    key: VerifyingKey,
}

/// Time spent on each part of the way.
#[derive(Default)]
struct Spent {
    reading: Duration,
    checking: Duration,
    storing: Duration,
    bare: Duration,
    reports: u32,
}

/// A network of `nodes`, whose reports come to one of them one in a message, or those of all authors
/// `together`.
fn measure(nodes: usize, together: bool) {
    let keys: Vec<Keypair> = (0..nodes).map(|_| Keypair::generate().expect("random source")).collect();
    let membership = Arc::new(membership(&keys));
    let mut now = Timestamps { mono_ms: 1, wall_ms: START_MS };
    let mut mesh = new_mesh(&membership, keys[membership.me()].clone(), now);
    let mut snapshot = mesh.take_snapshot(now).expect("a new mesh has a snapshot");
    let mut spent = Spent::default();
    let mut payload_bytes = 0;
    let begun = Instant::now();
    for seq in 1.. {
        if begun.elapsed() >= MEASURED {
            break;
        }
        let samples: Vec<Sample> = (0..nodes)
            .filter(|&author| author != membership.me())
            .map(|author| sample(&membership, &keys[author], author, seq))
            .collect();
        payload_bytes = samples[0].signed.len();
        for message in samples.chunks(if together { samples.len() } else { 1 }) {
            now = Timestamps { mono_ms: now.mono_ms + 1, wall_ms: now.wall_ms + 1 };
            let envelopes: Vec<&str> = message.iter().map(|sample| sample.envelope.as_str()).collect();
            let body = format!("{{\"to\":\"node-0\",\"heads\":{{}},\"reports\":[{}]}}", envelopes.join(","));
            receive(&mut mesh, &mut snapshot, now, body.as_bytes(), &mut spent);
            let start = Instant::now();
            for Sample { signed, signature, key, .. } in message {
                assert!(black_box(key).verify_strict(black_box(signed), signature).is_ok());
            }
            spent.bare += start.elapsed();
        }
        spent.reports += u32::try_from(samples.len()).expect("few nodes");
    }
    assert_eq!(snapshot.counters().reports_stored, u64::from(spent.reports), "every report is stored");
    spent.print(nodes, together, payload_bytes);
}

/// From the body to the snapshot.
fn receive(mesh: &mut Engine, snapshot: &mut Snapshot, now: Timestamps, body: &[u8], spent: &mut Spent) {
    let start = Instant::now();
    let message = message::Request::parse(body, snapshot.membership()).expect("a well-formed message");
    let read = Instant::now();
    let intake = verify::verify_message(
        snapshot.table(),
        MessageReports { sender: "node-01", reports: &message.reports, proofs: &message.proofs },
        |_, _| true,
    );
    let checked = Instant::now();
    let delivery = ReceivedReports { heads: message.heads, reports: intake.reports, proofs: intake.proofs };
    let from = snapshot.membership().members()[1].id.clone();
    black_box(mesh.step(now, Event::RequestReceived { from, received: delivery }));
    *snapshot = mesh.take_snapshot(now).expect("a report came, so the snapshot changed");
    spent.reading += read - start;
    spent.checking += checked - read;
    spent.storing += checked.elapsed();
}

impl Spent {
    fn print(&self, nodes: usize, together: bool, payload_bytes: usize) {
        let whole = self.reading + self.checking + self.storing;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(self.reports);
        let rate = |time: Duration| f64::from(self.reports) / time.as_secs_f64();
        let share = 100.0 * self.bare.as_secs_f64() / whole.as_secs_f64();
        let way = if together { "all authors in a message" } else { "one in a message" };
        println!(
            "reports of {nodes} nodes ({payload_bytes} bytes), {way}: {:.0} verified and stored a second, bare \
             verify_strict {:.0}: {share:.1} % (target {TARGET} %: {})",
            rate(whole),
            rate(self.bare),
            if share >= TARGET { "met" } else { "NOT MET" },
        );
        println!(
            "    each: reading the message {:.1} µs, checking {:.1} µs (of which bare verify_strict {:.1} µs), \
             storing {:.1} µs",
            each(self.reading),
            each(self.checking),
            each(self.bare),
            each(self.storing),
        );
    }
}

fn membership(keys: &[Keypair]) -> Membership {
    let member = |(index, key): (usize, &Keypair)| Member {
        id: id(index),
        url: Some(format!("http://10.0.0.{index}:8000")),
        poll_rate_ms: 10_000,
        retry: 2,
        timeout_ms: 5_000,
        keys: vec![key.public().clone()],
        site: None,
    };
    Membership::new(network(), keys.iter().enumerate().map(member).collect(), &id(0))
        .expect("ids that differ")
}

/// Ids in the order of their numbers, so that the membership's indices are those of the keys.
fn id(index: usize) -> NodeId {
    format!("node-{index:03}").parse().expect("a name")
}

fn network() -> NetworkId {
    "production-network".parse().expect("a name")
}

fn new_mesh(membership: &Arc<Membership>, key: Keypair, now: Timestamps) -> Engine {
    let setup = EngineInit {
        membership: membership.clone(),
        signer: Box::new(Pen(key)),
        seed: 1,
        epoch: START_MS,
        min_reports: Vec::new(),
        proofs: Vec::new(),
    };
    Engine::new(setup, now)
}

struct Pen(Keypair);

impl Signer for Pen {
    fn sign(&self, report: Report) -> VerifiedReport {
        let payload = report.to_payload();
        let envelope = dsse::seal(&self.0, report.node_id.as_str(), &payload);
        VerifiedReport::own(report, &payload, envelope, self.0.public().clone())
    }
}

/// The author's report `seq`, as it is when all others are online.
fn sample(membership: &Membership, key: &Keypair, author: usize, seq: u64) -> Sample {
    let found = Observation {
        status: ProbeStatus::Online,
        since_ms: START_MS,
        rtt_us: Some(812),
        took_us: Some(140),
        clock_offset_ms: Some(-3),
        error: None,
        head: None,
    };
    let others = membership.members().iter().enumerate().filter(|(index, _)| *index != author);
    let report = Report {
        network_id: membership.network_id().clone(),
        node_id: membership.members()[author].id.clone(),
        epoch: START_MS,
        seq,
        prev: Some([7; 32]),
        at_ms: START_MS + seq,
        interval_ms: 10_000,
        version: distomon::VERSION.to_owned(),
        config: membership.digest().to_owned(),
        isolated: false,
        leaving: false,
        observations: others.map(|(_, member)| (member.id.clone(), found)).collect(),
    };
    let payload = report.to_payload();
    let envelope = dsse::seal(key, report.node_id.as_str(), &payload);
    let head = format!("DSSEv1 {} {} {} ", dsse::PAYLOAD_TYPE.len(), dsse::PAYLOAD_TYPE, payload.len());
    let parsed: serde_json::Value = serde_json::from_str(&envelope).expect("own envelope");
    let signature = parsed["signatures"][0]["sig"].as_str().expect("a signature");
    let signature = STANDARD.decode(signature).expect("base64");
    Sample {
        envelope,
        signed: [head.as_bytes(), &payload].concat(),
        signature: Signature::from_slice(&signature).expect("64 bytes"),
        key: VerifyingKey::from_bytes(key.public().as_bytes()).expect("a public key"),
    }
}
