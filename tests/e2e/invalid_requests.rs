//! Requests that are not what they should be: each gets its status, and the node goes on as if nothing were.

use distomon::crypto::{self, Keypair};
use serde_json::json;

use crate::network::{Host, Network};
use crate::watcher::{Call, Reply, Watcher};

/// A running node `a`, beside a member `b` that does not run.
fn network() -> Network {
    let mut network = Network::of(&["a", "b"]);
    network.host_mut("a").start();
    network
}

/// Sends `call` and checks the status of the answer, and whether the node signed it.
#[track_caller]
fn check(what: &str, host: &Host, call: &Call, status: u16, signed: bool) -> Reply {
    let reply = call.send(host).unwrap_or_else(|| panic!("{what}: no answer\n{}", host.log()));
    assert_eq!((reply.status, reply.signed), (status, signed), "{what}: {reply:?}");
    if status != 200 {
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{what}");
        assert_eq!(reply.json()["status"], status, "{what}");
    }
    reply
}

fn good(watcher: &Watcher, host: &Host) -> Call {
    watcher.call(watcher.empty(host).to_string())
}

/// The node still answers what is right.
#[track_caller]
fn check_alive(network: &Network) {
    check("a good one", network.host("a"), &good(&network.watcher, network.host("a")).sign(), 200, true);
}

#[test]
fn bodies() {
    let network = network();
    let (host, watcher) = (network.host("a"), &network.watcher);
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let whole = watcher.empty(host).to_string();
    for (what, body) in [
        ("garbage", "\u{0}\u{1}garbage".to_owned()),
        ("nothing", String::new()),
        ("truncated", whole[..whole.len() - 1].to_owned()),
        ("not an object", "[]".to_owned()),
        ("no heads", json!({"to": "a", "reports": []}).to_string()),
        ("no addressee", json!({"heads": {}, "reports": []}).to_string()),
        ("deep arrays", deep("[", "]")),
        ("deep objects", deep("{\"a\":", "}")),
        (
            "a million nothings",
            format!("{{\"to\":\"a\",\"heads\":{{}},\"reports\":[0{}]}}", ",0".repeat(500_000)),
        ),
        ("heads of a wrong form", json!({"to": "a", "heads": {"a": 1}, "reports": []}).to_string()),
        (
            "a huge number",
            json!({"to": "a", "heads": {"a": [1e300, 1, "AAAAAAAAAAA=", 0]}, "reports": []}).to_string(),
        ),
        (
            "over 2^53",
            "{\"to\":\"a\",\"heads\":{\"a\":[9007199254740993,1,\"AAAAAAAAAAA=\",0]},\"reports\":[]}"
                .to_owned(),
        ),
    ] {
        check(what, host, &watcher.call(body).sign(), 400, true);
    }
    // Depth alone is no fault where nothing is read of it: not even the stack notices.
    for (what, body) in [
        ("deep reports", format!("{{\"to\":\"a\",\"heads\":{{}},\"reports\":{}}}", deep("[", "]"))),
        ("deep unknown", format!("{{\"to\":\"a\",\"heads\":{{}},\"reports\":[],\"x\":{}}}", deep("[", "]"))),
    ] {
        check(what, host, &watcher.call(body).sign(), 200, true);
    }
    let mut unknown = watcher.empty(host);
    unknown["from the future"] = json!({"a": [1, 2, 3]});
    check("an unknown member", host, &watcher.call(unknown.to_string()).sign(), 200, true);
    let largest = format!("{}{}", watcher.empty(host), " ".repeat(1024 * 1024 - 64));
    check("as large as allowed", host, &watcher.call(largest).sign(), 200, true);
    let larger = format!("{}{}", watcher.empty(host), " ".repeat(1024 * 1024));
    check("too large", host, &watcher.call(larger).sign(), 413, true);
    let mut media = good(watcher, host).sign();
    media.set("Content-Type", "text/html");
    check("another media type", host, &media, 415, true);
    check_alive(&network);
}

#[test]
fn addressees() {
    let network = network();
    let (host, watcher) = (network.host("a"), &network.watcher);
    let other = json!({"to": "b", "heads": {}, "reports": []}).to_string();
    check("for another node", host, &watcher.call(other).sign(), 421, true);
    let mut call = good(watcher, host);
    call.path = "/mon/other".to_owned();
    check("of another network", host, &call.sign(), 404, false);
    for path in ["/mon/", "/mon/net/", "/mon/net/a", "/MON/net", "/mon/%6eet", "/mon/..%2fnet", "//mon/net"] {
        let mut call = good(watcher, host).sign();
        call.path = path.to_owned();
        let reply = call.send(host).expect("an answer");
        assert!(matches!(reply.status, 404 | 401) && !reply.signed, "{path}: {reply:?}");
    }
    let reply = minreq::get(format!("{}/mon/net", host.url())).with_timeout(5).send().expect("an answer");
    assert_eq!(reply.status_code, 405);
    check_alive(&network);
}

#[test]
fn signatures() {
    let network = network();
    let (host, watcher) = (network.host("a"), &network.watcher);
    let stranger = Keypair::generate().expect("randomness");
    for name in ["Signature", "Signature-Input", "Content-Digest"] {
        let mut call = good(watcher, host).sign();
        call.headers.retain(|(known, _)| known != name);
        check(&format!("without {name}"), host, &call, 401, false);
        for garbage in ["", "garbage", "sig1=()", "sig1=:AAAA:", "\u{fffd}", &"a".repeat(8000)] {
            call.set(name, garbage);
            check(&format!("{name}: {garbage:.20}"), host, &call, 401, false);
        }
    }
    let mut forged = good(watcher, host);
    forged.keypair = stranger.clone();
    check("another key", host, &forged.sign(), 401, false);
    let mut unknown = good(watcher, host);
    unknown.keyid = "nobody".to_owned();
    unknown.keypair = stranger;
    check("an unknown node", host, &unknown.sign(), 403, false);
    let mut posing = good(watcher, host);
    posing.keyid = "b".to_owned();
    check("in another member's name", host, &posing.sign(), 401, false);

    let (one, mut other) = (good(watcher, host).sign(), good(watcher, host).sign());
    other.set("Signature", one.header("Signature"));
    check("another request's signature", host, &other, 401, false);
    let mut elsewhere = good(watcher, host);
    elsewhere.path = "/mon/other".to_owned();
    let mut elsewhere = elsewhere.sign();
    elsewhere.path = "/mon/net".to_owned();
    check("signed for another path", host, &elsewhere, 401, false);

    let mut swapped = good(watcher, host).sign();
    swapped.body = json!({"to": "a", "heads": {}, "reports": [], "x": 1}).to_string().into_bytes();
    check("another body", host, &swapped, 400, true);
    let mut digest = good(watcher, host).sign();
    digest.set("Content-Digest", crypto::content_digest(b"other"));
    check("another digest", host, &digest, 401, false);

    for (what, from, to) in [
        ("other components", "(\"@method\" \"@path\" \"content-digest\")", "(\"@method\" \"@path\")"),
        ("more components", "\"content-digest\")", "\"content-digest\" \"host\")"),
        ("another algorithm", "alg=\"ed25519\"", "alg=\"hmac-sha256\""),
        ("another tag", "tag=\"distomon\"", "tag=\"other\""),
        ("an expiry", ";tag=", ";expires=1;tag="),
        ("no nonce", ";nonce=", ";nonse="),
        ("another label", "sig1=", "sig2="),
    ] {
        let mut call = good(watcher, host).sign();
        let input = call.header("Signature-Input").replace(from, to);
        assert_ne!(input, call.header("Signature-Input"), "{what}");
        call.set("Signature-Input", input);
        check(what, host, &call, 401, false);
    }
    let mut twice = good(watcher, host).sign();
    let input = twice.header("Signature-Input").to_owned();
    twice.set("Signature-Input", format!("{input}, {}", input.replace("sig1=", "sig9=")));
    check("two with our tag", host, &twice, 401, false);
    check_alive(&network);
}

#[test]
fn nonces() {
    let mut network = network();
    let host = network.host("a");
    let watcher = &network.watcher;
    let (early, late) = (good(watcher, host).sign(), good(watcher, host).sign());
    check("a later one first", host, &late, 200, true);
    check("an earlier one after it", host, &early, 409, true);
    check("the same again", host, &late, 409, true);
    let recorded = good(watcher, host).sign();
    check("one that is recorded", host, &recorded, 200, true);
    // A thread of its own writes it down, moments after the answer.
    let number = format!(" {}\n", recorded.nonce.counter);
    network.wait("it is written down", || {
        let nonces = std::fs::read_to_string(network.host("a").node_dir().join("nonces")).ok()?;
        nonces.contains(&number).then_some(())
    });
    // kill -9, and then a stop in order: neither forgets it.
    network.host_mut("a").kill();
    network.host_mut("a").start();
    check("replayed after a crash", network.host("a"), &recorded, 409, true);
    network.host_mut("a").stop();
    network.host_mut("a").start();
    check("replayed after a stop", network.host("a"), &recorded, 409, true);
    check_alive(&network);
}

#[test]
fn the_journal_has_a_line_and_not_a_flood() {
    let network = network();
    let (host, watcher) = (network.host("a"), &network.watcher);
    for _ in 0..50 {
        let mut call = good(watcher, host);
        call.keypair = Keypair::generate().expect("randomness");
        check("another key", host, &call.sign(), 401, false);
    }
    let lines = host.log().lines().filter(|line| line.contains("the signature does not verify")).count();
    assert_eq!(lines, 1, "{}", host.log());
}
