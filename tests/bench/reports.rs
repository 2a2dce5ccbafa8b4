//! Reports per second that one thread verifies and stores, compared with `verify_strict` alone over the same bytes in
//! the same run.
//!
//! Measures the processing of a request from its body to the snapshot: parsing of the message, envelopes and payloads,
//! the check for known reports, signatures, the step of the engine and the snapshot; not HTTP, the message signature and
//! the channel between the threads.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use distomon::crypto::{Keypair, dsse};
use distomon::mesh::engine::event::ReceivedReports;
use distomon::mesh::id::{NetworkId, NodeId, ReportId};
use distomon::mesh::membership::{Member, Membership};
use distomon::mesh::verify::{self, AuthorRateLimit, MessageReports};
use distomon::mesh::wire::observation::{Observation, ProbeStatus, ProbeTries};
use distomon::mesh::wire::prior_run::PriorRun;
use distomon::mesh::wire::report::{PAYLOAD_TYPE, Report, VerifiedReport};
use distomon::mesh::wire::{Base64Bytes, message};
use distomon::mesh::{Engine, EngineInit, Event, Signer, Snapshot, StartEpoch, Timestamps};
use ed25519_dalek::{Signature, VerifyingKey};
use parking_lot::Mutex;

/// The lowest acceptable share of the rate of `verify_strict` alone, in per cent.
const TARGET: f64 = 80.0;

/// Creation of the first report: Unix time in ms.
const START_MS: u64 = 1_763_884_800_000;

/// Duration of each case. Both sides alternate, so that other load slows both.
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
    measure_rate_limit();
    ExitCode::SUCCESS
}

/// Compares two designs of the author rate limit while many reports of one author arrive between two snapshots: a limit
/// shared by the receiving threads, and a limit in the snapshot, which does not change meanwhile.
fn measure_rate_limit() {
    const MESSAGES: u64 = 512;
    let keys: Vec<Keypair> = (0..3).map(|_| Keypair::generate().expect("random source")).collect();
    let membership = Arc::new(membership(&keys));
    let now = Timestamps { mono_ms: 1, wall_ms: START_MS };
    let mut engine = new_engine(&membership, keys[membership.me()].clone(), now);
    let snapshot = engine.take_snapshot(now).expect("a new engine has a snapshot");
    let author = (membership.me() + 1) % keys.len();
    let bodies: Vec<String> = (1..=MESSAGES)
        .map(|seq| sample(&membership, &keys[author], author, seq).envelope)
        .map(|envelope| format!("{{\"v\":2,\"heads\":{{}},\"reports\":[{envelope}]}}"))
        .collect();
    let shared = Mutex::new(AuthorRateLimit::default());
    let verify_all = |limit: &dyn Fn(usize, bool) -> bool| {
        let start = Instant::now();
        let verified = bodies.iter().map(|body| {
            let message =
                message::Request::parse(body.as_bytes(), &membership).expect("a well-formed message");
            let reports =
                MessageReports { sender: "node-01", reports: &message.reports, proofs: &message.proofs };
            verify::verify_message(snapshot.table(), reports, limit).reports.len()
        });
        (verified.sum::<usize>(), start.elapsed())
    };
    let (by_shared, shared_time) = verify_all(&|author, consume| {
        let mut limit = shared.lock();
        if consume {
            limit.consume(author, now.mono_ms);
        }
        limit.allows(author, now.mono_ms)
    });
    let (by_snapshot, snapshot_time) = verify_all(&|_, _| true);
    println!(
        "rate limit, {MESSAGES} reports of one author between two snapshots: shared limit verifies {by_shared} in \
         {:.1} ms, limit in the snapshot {by_snapshot} in {:.1} ms",
        shared_time.as_secs_f64() * 1e3,
        snapshot_time.as_secs_f64() * 1e3,
    );
}

/// A signed report as an envelope, and as the arguments of `verify_strict`.
struct Sample {
    envelope: String,
    signed: Vec<u8>,
    signature: Signature,
    key: VerifyingKey,
}

/// Time spent on each part.
#[derive(Default)]
struct Spent {
    reading: Duration,
    checking: Duration,
    storing: Duration,
    bare: Duration,
    reports: u32,
}

/// Measures one of `nodes`, which receives each report in a separate message, or those of all authors `together`.
fn measure(nodes: usize, together: bool) {
    let keys: Vec<Keypair> = (0..nodes).map(|_| Keypair::generate().expect("random source")).collect();
    let membership = Arc::new(membership(&keys));
    let mut now = Timestamps { mono_ms: 1, wall_ms: START_MS };
    let mut engine = new_engine(&membership, keys[membership.me()].clone(), now);
    let mut snapshot = engine.take_snapshot(now).expect("a new engine has a snapshot");
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
            let body = format!("{{\"v\":2,\"heads\":{{}},\"reports\":[{}]}}", envelopes.join(","));
            receive(&mut engine, &mut snapshot, now, body.as_bytes(), &mut spent);
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

/// Processes a message, from its body to the snapshot.
fn receive(engine: &mut Engine, snapshot: &mut Snapshot, now: Timestamps, body: &[u8], spent: &mut Spent) {
    let start = Instant::now();
    let message = message::Request::parse(body, snapshot.membership()).expect("a well-formed message");
    let read = Instant::now();
    let outcome = verify::verify_message(
        snapshot.table(),
        MessageReports { sender: "node-01", reports: &message.reports, proofs: &message.proofs },
        |_, _| true,
    );
    let checked = Instant::now();
    let received = ReceivedReports { heads: message.heads, reports: outcome.reports, proofs: outcome.proofs };
    let from = snapshot.membership().members()[1].id.clone();
    black_box(engine.step(now, Event::RequestReceived { from, received }));
    *snapshot = engine.take_snapshot(now).expect("a new report changes the snapshot");
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
        let grouping = if together { "all authors in a message" } else { "one in a message" };
        println!(
            "reports of {nodes} nodes ({payload_bytes} bytes), {grouping}: {:.0} verified and stored per second, \
             verify_strict alone {:.0}: {share:.1} % (target {TARGET} %: {})",
            rate(whole),
            rate(self.bare),
            if share >= TARGET { "met" } else { "NOT MET" },
        );
        println!(
            "    each: parsing {:.1} µs, verification {:.1} µs (verify_strict alone {:.1} µs), \
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

/// Returns an id. Ids sort by number, so that the indices of the membership are those of the keys.
fn id(index: usize) -> NodeId {
    format!("node-{index:03}").parse().expect("a name")
}

fn network() -> NetworkId {
    "production-network".parse().expect("a name")
}

fn new_engine(membership: &Arc<Membership>, key: Keypair, now: Timestamps) -> Engine {
    let init = EngineInit {
        membership: membership.clone(),
        signer: Box::new(KeySigner(key)),
        seed: 1,
        epoch: StartEpoch::New(START_MS),
        prior: None,
        min_reports: Vec::new(),
        proofs: Vec::new(),
        boot: None,
    };
    Engine::new(init, now)
}

struct KeySigner(Keypair);

impl Signer for KeySigner {
    fn sign(&self, report: Report) -> VerifiedReport {
        VerifiedReport::sign(report, &self.0)
    }
}

/// Returns the author's report `seq`, which shows all others online.
fn sample(membership: &Membership, key: &Keypair, author: usize, seq: u64) -> Sample {
    let found = Observation {
        rtt_us: Some(812),
        took_us: Some(140),
        clock_offset_ms: Some(-3),
        tries: Some(ProbeTries { attempts: 8_640, failures: 3, late: 0 }),
        ..Observation::new(ProbeStatus::Online, START_MS)
    };
    let others = membership.members().iter().enumerate().filter(|(index, _)| *index != author);
    let report = Report {
        prev: Some([7; 32]),
        at_ms: START_MS + seq,
        interval_ms: 10_000,
        config: membership.digest().to_owned(),
        began_ms: Some(START_MS),
        up_ms: Some(seq * 10_000),
        boot: Some(Base64Bytes([7; 8])),
        prior: Some(PriorRun { report: ReportId { epoch: START_MS - 1, seq: 999 }, clean: true }),
        held: Some(Base64Bytes([7; 32])),
        observations: others.map(|(_, member)| (member.id.clone(), found)).collect(),
        ..Report::new(
            membership.network_id().clone(),
            membership.members()[author].id.clone(),
            ReportId { epoch: START_MS, seq },
        )
    };
    let payload = report.to_payload();
    let envelope = dsse::seal(key, report.node_id.as_str(), PAYLOAD_TYPE, &payload);
    let head = format!("DSSEv1 {} {} {} ", PAYLOAD_TYPE.len(), PAYLOAD_TYPE, payload.len());
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
