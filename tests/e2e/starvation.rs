//! Hostile members that fill the messages of a node: the reports of others still travel by way of that node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use distomon::crypto::{Keypair, dsse};
use distomon::mesh::verify::AUTHOR_REPORTS_PER_SECOND;
use distomon::mesh::wire::message::FILL_BYTES;
use distomon::mesh::wire::report::PAYLOAD_TYPE;
use distomon::mesh::wire::report_size::max_payload_bytes;
use distomon::store::clock::wall_us;
use serde_json::{Value, json};

use crate::host::{NETWORK, free_address};
use crate::network::Network;
use crate::watcher::Watcher;

/// The hostile members. The reports of five of them exceed a message.
const HOSTILE: usize = 10;

/// The interval between reports, and the silence after which the author of a report no longer votes: 2.5 intervals.
const INTERVAL: Duration = Duration::from_secs(1);
const FRESH_MS: u64 = 2_500;

/// The intervals that the attack lasts.
const INTERVALS: u32 = 20;

/// The two nodes that do not reach each other.
const CUT: [(&str, &str); 2] = [("a", "c"), ("c", "a")];

fn is_hostile(id: &str) -> bool {
    id.starts_with("hostile")
}

/// Creates a network in which `a` and `c` exchange reports through `b` only, and in which the test has the keys of
/// [`HOSTILE`] outbound-only members.
fn network() -> Network {
    let hostile: Vec<_> = (1..=HOSTILE).map(|number| format!("hostile-{number}")).collect();
    let ids: Vec<_> = ["a", "b", "c"].into_iter().chain(hostile.iter().map(String::as_str)).collect();
    let mut network = Network::new(&ids);
    "defaults: {poll_rate: 1, retry: 2, timeout: 1}\n".clone_into(&mut network.settings);
    let unused = format!("http://{}", free_address());
    for host in network.hosts.iter().filter(|host| !is_hostile(&host.id)) {
        let url = |id: &str| match id {
            _ if is_hostile(id) => None,
            _ if CUT.contains(&(host.id.as_str(), id)) => Some(unused.clone()),
            _ => network.url_of(id),
        };
        host.write(&network.config_yml(url));
    }
    for host in network.hosts.iter_mut().filter(|host| !is_hostile(&host.id)) {
        host.start();
    }
    network
}

/// Returns a report of the maximum size with the sequence number `seq`, signed.
fn largest_report(author: &str, key: &Keypair, epoch: u64, seq: u64) -> Value {
    let mut report = json!({
        "v": 2, "network_id": NETWORK, "node_id": author, "epoch": epoch, "seq": seq, "prev": null,
        "at": epoch, "interval_ms": 1000, "version": "9.9", "config": "AAAAAAAAAAA=", "isolated": false,
        "observations": {}, "padding": "",
    });
    // An outbound-only member observes the nodes with a url: a, b and c.
    let padding = max_payload_bytes(3) - report.to_string().len();
    report["padding"] = "n".repeat(padding).into();
    let envelope = dsse::seal(key, author, PAYLOAD_TYPE, report.to_string().as_bytes());
    serde_json::from_str(&envelope).expect("JSON")
}

/// A thread that sends `b` a new report of each hostile member as often as `b` accepts one, until this is dropped.
struct Attack {
    stop: Arc<AtomicBool>,
    /// The messages that `b` accepted, each with a report of every hostile member.
    rounds: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Attack {
    fn start(network: &Network) -> Self {
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let hosts: Vec<_> = network.hosts.iter().filter(|host| is_hostile(&host.id)).collect();
        let keys: Vec<_> = hosts.iter().map(|host| (host.id.clone(), host.keypair.clone())).collect();
        let (sender, url) = (Watcher::as_member(hosts[0]), network.host("b").url());
        let thread = std::thread::spawn({
            let (stop, rounds) = (stop.clone(), rounds.clone());
            move || {
                let epoch = wall_us() / 1000;
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    let next = Instant::now() + Duration::from_millis(1000 / AUTHOR_REPORTS_PER_SECOND);
                    round += 1;
                    // Each report is a thousand ahead of the last one.
                    let reports = keys.iter().map(|(id, key)| largest_report(id, key, epoch, 1000 * round));
                    let reports: Vec<_> = reports.collect();
                    let body = json!({"v": 2, "heads": {}, "reports": reports}).to_string();
                    let call = sender.call_node("b", body).sign();
                    let mut request = minreq::post(format!("{url}{}", call.path)).with_body(call.body);
                    for (name, value) in call.headers {
                        request = request.with_header(name, value);
                    }
                    if request.with_timeout(5).send().is_ok_and(|reply| reply.status_code == 200) {
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            }
        });
        Self { stop, rounds, thread: Some(thread) }
    }

    fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns the view of the node `at`.
fn view(network: &Network, at: &str) -> Value {
    network.wait(&format!("the view of {at}"), || network.host(at).get(&format!("/view/{NETWORK}")))
}

/// Returns the newest sequence number of each hostile member of which the node `at` has a report.
fn hostile_seqs(network: &Network, at: &str) -> Vec<u64> {
    let view = view(network, at);
    let data = view["data"].as_object().expect("an object").iter().filter(|(id, _)| is_hostile(id));
    data.map(|(_, found)| found["seq"].as_u64().expect("a number")).collect()
}

#[test]
fn reports_travel_while_hostile_members_fill_all_messages() {
    let network = network();
    network.wait("a and c are up on each other", || {
        let is_up = |(at, subject): (&str, &str)| view(&network, at)["verdicts"][subject]["status"] == "up";
        CUT.into_iter().all(is_up).then_some(())
    });
    let attack = Attack::start(&network);
    network.wait("every hostile member has a report at each node", || {
        ["a", "b", "c"].iter().all(|at| hostile_seqs(&network, at).len() == HOSTILE).then_some(())
    });

    let (begin, first_round) = (Instant::now(), attack.rounds());
    let mut ages_ms = Vec::new();
    while begin.elapsed() < INTERVAL * INTERVALS {
        for (at, subject) in CUT {
            let view = view(&network, at);
            let (verdict, data) = (&view["verdicts"][subject], &view["data"][subject]);
            assert_eq!(verdict["status"], "up", "{subject} at {at}: {verdict}\n{}", network.logs());
            ages_ms.push(data["age_ms"].as_u64().expect("a number"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // Two hops take up to 2.5 intervals now and then without an attack too.
    let old = ages_ms.iter().filter(|age_ms| **age_ms > FRESH_MS).count();
    assert!(old * 20 <= ages_ms.len(), "{old} of {} reports are old\n{}", ages_ms.len(), network.logs());
    // In each interval every hostile member had a new report, and those together did not fit in a message.
    let rounds = attack.rounds() - first_round;
    assert!(rounds >= 2 * INTERVALS as usize, "only {rounds} rounds\n{}", network.logs());
    let seqs = hostile_seqs(&network, "b");
    assert!(seqs.iter().all(|seq| *seq > 1000 * u64::from(INTERVALS)), "{seqs:?}\n{}", network.logs());
    assert!(HOSTILE / 2 * max_payload_bytes(3) * 4 / 3 > FILL_BYTES);
}
