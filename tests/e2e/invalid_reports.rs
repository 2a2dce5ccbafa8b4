//! Invalid reports in valid exchanges: a node neither stores nor relays them.

use std::time::{Duration, Instant};

use distomon::crypto::{Keypair, dsse};
use distomon::mesh::wire::report::{PAYLOAD_TYPE, Report};
use serde_json::{Value, json};

use crate::host::NETWORK;
use crate::network::Network;
use crate::watcher::WATCHER;

/// Returns a report of the watcher as JSON.
fn report(epoch: u64, seq: u64) -> Value {
    json!({
        "v": 2, "network_id": NETWORK, "node_id": WATCHER, "epoch": epoch, "seq": seq, "prev": null,
        "at": 1_763_884_912_345_u64, "interval_ms": 1000, "version": "9.9", "config": "AAAAAAAAAAA=",
        "isolated": false, "observations": {},
    })
}

fn seal(key: &Keypair, keyid: &str, report: &Value) -> Value {
    let envelope = dsse::seal(key, keyid, PAYLOAD_TYPE, report.to_string().as_bytes());
    serde_json::from_str(&envelope).expect("JSON")
}

/// Sends `envelopes` to node `a` in a valid exchange; returns the status of the reply.
fn send(network: &Network, envelopes: &[Value]) -> u16 {
    let host = network.host("a");
    let body = json!({"v": 2, "heads": {}, "reports": envelopes});
    let reply = network.watcher.call(host, body.to_string()).sign().send(host).expect("a reply");
    assert!(reply.signed, "{reply:?}");
    reply.status
}

/// Returns the report of the watcher that `a` holds.
fn stored(network: &Network) -> Option<Report> {
    network.watcher.reports(network.host("a")).expect("a reply").remove(WATCHER)
}

/// Creates a network in which only `a` runs.
fn network() -> Network {
    let mut network = Network::new(&["a", "b"]);
    network.host_mut("a").start();
    network
}

fn wait_stored(network: &Network, epoch: u64, seq: u64) {
    crate::wait::wait("the report is stored", || {
        stored(network).filter(|report| (report.epoch, report.seq) == (epoch, seq))
    });
}

#[test]
fn a_newer_report_is_stored_and_older_ones_are_not() {
    let network = network();
    let key = network.watcher.keypair();
    assert_eq!(send(&network, &[seal(key, WATCHER, &report(5, 7))]), 200);
    wait_stored(&network, 5, 7);
    for (epoch, seq) in [(5, 6), (5, 7), (4, 99)] {
        assert_eq!(send(&network, &[seal(key, WATCHER, &report(epoch, seq))]), 200);
    }
    assert_eq!(send(&network, &[seal(key, WATCHER, &report(6, 1))]), 200);
    wait_stored(&network, 6, 1);
}

#[test]
fn invalid_reports_are_not_stored() {
    let network = network();
    let key = network.watcher.keypair();
    let unknown = Keypair::generate().expect("randomness");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut report = report(1, 1);
        change(&mut report);
        seal(key, WATCHER, &report)
    };
    let edited = |change: &dyn Fn(&mut Value)| {
        let mut envelope = seal(key, WATCHER, &report(1, 1));
        change(&mut envelope);
        envelope
    };
    let signature = edited(&|_| {})["signatures"][0].clone();
    let long = "n".repeat(200 * 1024);
    for (what, envelope, status) in [
        ("forged", seal(&unknown, WATCHER, &report(1, 1)), 400),
        ("of another signer", seal(key, "b", &report(1, 1)), 200),
        ("about another node", changed(&|report| report["node_id"] = json!("b")), 200),
        (
            "about another node, with its keyid",
            seal(key, "b", &{
                let mut r = report(1, 1);
                r["node_id"] = json!("b");
                r
            }),
            400,
        ),
        ("of another network", changed(&|report| report["network_id"] = json!("other")), 200),
        (
            "of an unknown node",
            seal(&unknown, "nobody", &{
                let mut r = report(1, 1);
                r["node_id"] = json!("nobody");
                r
            }),
            200,
        ),
        ("without a signature", edited(&|envelope| envelope["signatures"] = json!([])), 200),
        (
            "with two signatures",
            edited(&|envelope| envelope["signatures"] = json!([signature, signature])),
            200,
        ),
        ("another type", edited(&|envelope| envelope["payloadType"] = json!("text/plain")), 200),
        ("no payload", edited(&|envelope| envelope["payload"] = json!("")), 200),
        ("too large", changed(&|report| report["padding"] = json!(long)), 200),
        ("a number over 2^53", changed(&|report| report["seq"] = json!(9_007_199_254_740_993_u64)), 200),
        ("a negative number", changed(&|report| report["seq"] = json!(-1)), 200),
        ("number 0", changed(&|report| report["seq"] = json!(0)), 200),
        ("control characters", changed(&|report| report["version"] = json!("1\u{1b}[31m")), 200),
        ("a long version", changed(&|report| report["version"] = json!("1".repeat(33))), 200),
        ("of protocol version 1", changed(&|report| report["v"] = json!(1)), 200),
        (
            "larger than its observations allow",
            changed(&|report| report["padding"] = json!("n".repeat(70_000))),
            200,
        ),
        ("not an object", json!([1, 2]), 200),
        ("null", Value::Null, 200),
    ] {
        assert_eq!(send(&network, &[envelope]), status, "{what}");
        assert_eq!(stored(&network), None, "{what}");
    }
    network.host("a").wait_log("rejected a report from watcher: its signature does not verify");
    network.host("a").wait_log("rejected a report from watcher: a report of another network");
    network.host("a").wait_log("rejected a report from watcher: from an incompatible release");
    let larger = "rejected a report from watcher: larger than the maximum size of a report of its author";
    network.host("a").wait_log(larger);
    // Observations of unknown nodes and unknown errors are removed, and the rest is stored.
    let with_unknown = changed(&|report| {
        report["observations"] = json!({
            "nobody": {"status": "online", "since": 1},
            "b": {"status": "offline", "since": 1, "error": "<script>"},
        });
    });
    assert_eq!(send(&network, &[with_unknown]), 200);
    wait_stored(&network, 1, 1);
}

#[test]
fn reports_after_a_forged_one_are_not_stored() {
    let network = network();
    let unknown = Keypair::generate().expect("randomness");
    let forged = seal(&unknown, WATCHER, &report(2, 1));
    let good = seal(network.watcher.keypair(), WATCHER, &report(2, 1));
    assert_eq!(send(&network, &[forged, good]), 400);
    assert_eq!(stored(&network), None);
}

#[test]
fn at_most_five_new_reports_of_an_author_are_accepted_per_second() {
    let network = Network::running(&["a", "b"]);
    network.wait_all_online();
    let key = network.watcher.keypair();
    let start = Instant::now();
    for seq in 1..=60 {
        assert_eq!(send(&network, &[seal(key, WATCHER, &report(3, seq))]), 200);
    }
    let took = start.elapsed() + Duration::from_secs(1);
    let reports = network.watcher.reports(network.host("a")).expect("a reply");
    assert!(reports.contains_key("a") && reports.contains_key("b"), "reports of other authors");
    let most = 5 + 5 * took.as_secs();
    network.wait(&format!("at most {most} of 60 accepted within {took:?}"), || {
        let view = network.host("a").get(&format!("/view/{NETWORK}"))?;
        let dropped = view["counters"]["reports_surplus"].as_u64().expect("a count");
        (60 - dropped <= most).then_some(())
    });
    let lines = network.host("a").log().matches("more than 5 new reports of one author").count();
    assert_eq!(lines, 1, "{}", network.host("a").log());
    network.wait_all_online();
}
