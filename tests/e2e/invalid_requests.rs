//! Invalid requests: each is rejected with its status, and the node stays available.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use distomon::crypto::{self, Keypair};
use serde_json::json;

use crate::host::Host;
use crate::network::Network;
use crate::watcher::{Call, Reply, Watcher};

/// Creates a network with the members `a` and `b`, of which only `a` runs.
fn network() -> Network {
    let mut network = Network::new(&["a", "b"]);
    network.host_mut("a").start();
    network
}

/// Sends `call` and checks the status of the reply, and whether the node signed it.
#[track_caller]
fn check(what: &str, host: &Host, call: &Call, status: u16, signed: bool) -> Reply {
    let reply = call.send(host).unwrap_or_else(|| panic!("{what}: no reply\n{}", host.log()));
    assert_eq!((reply.status, reply.signed), (status, signed), "{what}: {reply:?}");
    if status != 200 {
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{what}");
        assert_eq!(reply.json()["status"], status, "{what}");
    }
    reply
}

/// Creates a valid request that is not signed yet.
fn valid(watcher: &Watcher, host: &Host) -> Call {
    watcher.call(host, Watcher::empty().to_string())
}

/// Checks that the node still answers a valid request.
#[track_caller]
fn check_available(network: &Network) {
    check(
        "a valid request",
        network.host("a"),
        &valid(&network.watcher, network.host("a")).sign(),
        200,
        true,
    );
}

#[test]
fn invalid_bodies_are_rejected() {
    let network = network();
    let (host, watcher) = (network.host("a"), &network.watcher);
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let whole = Watcher::empty().to_string();
    for (what, body) in [
        ("garbage", "\u{0}\u{1}garbage".to_owned()),
        ("nothing", String::new()),
        ("truncated", whole[..whole.len() - 1].to_owned()),
        ("not an object", "[]".to_owned()),
        ("no heads", json!({"v": 2, "reports": []}).to_string()),
        ("no version", json!({"heads": {}, "reports": []}).to_string()),
        ("another version", json!({"v": 3, "heads": {}, "reports": []}).to_string()),
        ("deep arrays", deep("[", "]")),
        ("deep objects", deep("{\"a\":", "}")),
        ("malformed heads", json!({"v": 2, "heads": {"a": 1}, "reports": []}).to_string()),
        (
            "a huge number",
            json!({"v": 2, "heads": {"a": [1e300, 1, "AAAAAAAAAAA=", 0]}, "reports": []}).to_string(),
        ),
        (
            "over 2^53",
            "{\"v\":2,\"heads\":{\"a\":[9007199254740993,1,\"AAAAAAAAAAA=\",0]},\"reports\":[]}".to_owned(),
        ),
    ] {
        check(what, host, &watcher.call(host, body).sign(), 400, true);
    }
    // Values that are never parsed are accepted, and need neither stack nor memory.
    for (what, body) in [
        (
            "500,001 zeros as reports",
            format!("{{\"v\":2,\"heads\":{{}},\"reports\":[0{}]}}", ",0".repeat(500_000)),
        ),
        ("deep reports", format!("{{\"v\":2,\"heads\":{{}},\"reports\":{}}}", deep("[", "]"))),
        ("deep unknown", format!("{{\"v\":2,\"heads\":{{}},\"reports\":[],\"x\":{}}}", deep("[", "]"))),
    ] {
        check(what, host, &watcher.call(host, body).sign(), 200, true);
    }
    let mut unknown = Watcher::empty();
    unknown["from the future"] = json!({"a": [1, 2, 3]});
    check("an unknown member", host, &watcher.call(host, unknown.to_string()).sign(), 200, true);
    let largest = format!("{}{}", Watcher::empty(), " ".repeat(1024 * 1024 - 64));
    check("as large as allowed", host, &watcher.call(host, largest).sign(), 200, true);
    let larger = format!("{}{}", Watcher::empty(), " ".repeat(1024 * 1024));
    check("too large", host, &watcher.call(host, larger).sign(), 413, true);
    let mut media = valid(watcher, host).sign();
    media.set("Content-Type", "text/html");
    check("another media type", host, &media, 415, true);
    check_available(&network);
}

#[test]
fn requests_for_other_nodes_and_networks_are_rejected() {
    let network = network();
    let (host, watcher) = (network.host("a"), &network.watcher);
    for _ in 0..20 {
        // What an eavesdropper saw on the way to `b` does not use up the sender's nonce here.
        let mut own = valid(watcher, host);
        let mut call = valid(watcher, network.host("b"));
        own.nonce = call.nonce;
        let recorded = call.sign();
        check("for another node", host, &recorded, 421, true);
        check("the sender's own request", host, &own.sign(), 200, true);
        call = valid(watcher, network.host("b")).sign();
        call.set("Distomon-To", "a");
        check("with a changed recipient", host, &call, 401, false);
    }
    let mut query = valid(watcher, host).sign();
    query.path = "/mon/net?a=b".to_owned();
    check("with a query", host, &query, 400, false);
    let mut call = valid(watcher, host);
    call.path = "/mon/other".to_owned();
    check("of another network", host, &call.sign(), 404, false);
    for path in ["/mon/", "/mon/net/", "/mon/net/a", "/MON/net", "/mon/%6eet", "/mon/..%2fnet", "//mon/net"] {
        let mut call = valid(watcher, host).sign();
        call.path = path.to_owned();
        let reply = call.send(host).expect("a reply");
        assert!(matches!(reply.status, 404 | 401) && !reply.signed, "{path}: {reply:?}");
    }
    let reply = minreq::get(format!("{}/mon/net", host.url())).with_timeout(5).send().expect("a reply");
    assert_eq!(reply.status_code, 405);
    check_available(&network);
}

#[test]
fn invalid_signatures_are_rejected() {
    let network = network();
    let (host, watcher) = (network.host("a"), &network.watcher);
    let foreign = Keypair::generate().expect("randomness");
    for name in ["Signature", "Signature-Input", "Content-Digest", "Distomon-To"] {
        let mut call = valid(watcher, host).sign();
        call.headers.retain(|(known, _)| known != name);
        check(&format!("without {name}"), host, &call, 401, false);
        for garbage in ["", "garbage", "sig1=()", "sig1=:AAAA:", "\u{fffd}", &"a".repeat(8000)] {
            call.set(name, garbage);
            check(&format!("{name}: {garbage:.20}"), host, &call, 401, false);
        }
    }
    let mut forged = valid(watcher, host);
    forged.keypair = foreign.clone();
    check("another key", host, &forged.sign(), 401, false);
    let mut unknown = valid(watcher, host);
    unknown.keyid = "nobody".to_owned();
    unknown.keypair = foreign;
    check("an unknown node", host, &unknown.sign(), 403, false);
    let mut impersonating = valid(watcher, host);
    impersonating.keyid = "b".to_owned();
    check("in another member's name", host, &impersonating.sign(), 401, false);

    let (one, mut other) = (valid(watcher, host).sign(), valid(watcher, host).sign());
    other.set("Signature", one.header("Signature"));
    check("another request's signature", host, &other, 401, false);
    let mut elsewhere = valid(watcher, host);
    elsewhere.path = "/mon/other".to_owned();
    let mut elsewhere = elsewhere.sign();
    elsewhere.path = "/mon/net".to_owned();
    check("signed for another path", host, &elsewhere, 401, false);

    let mut swapped = valid(watcher, host).sign();
    swapped.body = json!({"v": 2, "heads": {}, "reports": [], "x": 1}).to_string().into_bytes();
    check("another body", host, &swapped, 400, true);
    let mut digest = valid(watcher, host).sign();
    digest.set("Content-Digest", crypto::content_digest(b"other"));
    check("another digest", host, &digest, 401, false);

    for (what, from, to) in [
        ("other components", " \"distomon-to\")", ")"),
        ("more components", "\"distomon-to\")", "\"distomon-to\" \"host\")"),
        ("another algorithm", "alg=\"ed25519\"", "alg=\"hmac-sha256\""),
        ("another tag", "tag=\"distomon-v2\"", "tag=\"other\""),
        ("the tag of the earlier protocol", "tag=\"distomon-v2\"", "tag=\"distomon\""),
        ("an expiry", ";tag=", ";expires=1;tag="),
        ("no nonce", ";nonce=", ";nonse="),
        ("another label", "sig1=", "sig2="),
    ] {
        let mut call = valid(watcher, host).sign();
        let input = call.header("Signature-Input").replace(from, to);
        assert_ne!(input, call.header("Signature-Input"), "{what}");
        call.set("Signature-Input", input);
        check(what, host, &call, 401, false);
    }
    let mut twice = valid(watcher, host).sign();
    let input = twice.header("Signature-Input").to_owned();
    twice.set("Signature-Input", format!("{input}, {}", input.replace("sig1=", "sig9=")));
    check("two with our tag", host, &twice, 401, false);
    check_available(&network);
}

/// The number of times that a process is killed right after a reply.
const CRASHES: usize = 10;

/// Sends `call` to the node and kills the process with the first byte of the reply.
fn send_and_kill(host: &mut Host, call: &Call) {
    let mut stream = TcpStream::connect(host.address).expect("the node listens");
    let mut head =
        format!("POST {} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n", call.path, call.body.len());
    for (name, value) in &call.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let request = [head.as_bytes(), b"\r\n", &call.body].concat();
    stream.write_all(&request).expect("sent");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("a reply");
    host.kill();
    assert_eq!(&status, b"HTTP/1.1 200", "{}", host.log());
}

#[test]
fn used_nonces_are_rejected_even_after_a_crash() {
    let mut network = network();
    let host = network.host("a");
    let watcher = &network.watcher;
    let (early, late) = (valid(watcher, host).sign(), valid(watcher, host).sign());
    check("a later one first", host, &late, 200, true);
    check("an earlier one after it", host, &early, 409, true);
    check("the same again", host, &late, 409, true);
    // Each nonce is saved before the reply, in the first round in a new file.
    let mut recorded = valid(watcher, host).sign();
    let mut replayed = 0;
    for _ in 0..CRASHES {
        recorded = valid(&network.watcher, network.host("a")).sign();
        send_and_kill(network.host_mut("a"), &recorded);
        network.host_mut("a").start();
        replayed += usize::from(recorded.send(network.host("a")).expect("a reply").status != 409);
    }
    assert_eq!(replayed, 0, "requests of {CRASHES} that were answered twice");
    network.host_mut("a").stop();
    network.host_mut("a").start();
    check("replayed after a stop", network.host("a"), &recorded, 409, true);
    check_available(&network);
}

#[test]
fn repeated_rejections_are_logged_once() {
    let network = network();
    let (host, watcher) = (network.host("a"), &network.watcher);
    for _ in 0..50 {
        let mut call = valid(watcher, host);
        call.keypair = Keypair::generate().expect("randomness");
        check("another key", host, &call.sign(), 401, false);
    }
    let lines = host.log().lines().filter(|line| line.contains("the signature does not verify")).count();
    assert_eq!(lines, 1, "{}", host.log());
}
