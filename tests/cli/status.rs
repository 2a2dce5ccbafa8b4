//! `distomon status` without `--watch`.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::fake_node::{BOTH_UP, running, snapshot};
use super::{Host, LOGIN, Process, TIMEOUT, finished, now_s, port, run, unused_url};

#[test]
fn a_node_that_does_not_run() {
    let url = unused_url();
    let host = Host::new(port(&url), LOGIN);
    let (stdout, stderr) = host.run(&["status"], 2);
    let expected = format!(
        "distomon status: the node at {url} does not answer: connection refused\n\
         start it: distomon run --config {}\n",
        host.dir.path().display()
    );
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", expected.as_str()));
    // There is no advice for a node on another host.
    let (_, stderr) = host.run(&["status", "--json", "--url", &url], 2);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn exit_statuses() {
    let check = |nodes: &str, more: &str, status: i32| {
        let node = running(snapshot("lan", more, nodes));
        node.host.run(&["status"], status);
        node.host.run(&["status", "--json"], status);
        node.host.run(&["status", "wan"], 0);
    };
    let offline = r#""a":{"status":"online"},"b":{"status":"offline"},"c":{"status":"unknown"}"#;
    let unknown = r#""a":{"status":"online"},"b":{"status":"unknown"}"#;
    check(BOTH_UP, "", 0);
    check(offline, "", 1);
    check(unknown, "", 2);
    check("", "", 2);
    check(offline, r#""isolated":true,"#, 2);
    check(BOTH_UP, r#""data":{"b":{"conflict":true}},"#, 1);
    let old = format!(r#"{{"node_id":"a","generated_at":{},"nodes":{{{BOTH_UP}}}}}"#, (now_s() - 120) * 1000);
    let node = running(old.clone());
    let (stdout, _) = node.host.run(&["status"], 2);
    assert!(stdout.contains("this snapshot is old"), "{stdout}");
    // The clock of another host may differ by that much.
    node.host.run(&["status", "--url", &node.url], 0);
    for malformed in ["", "[]", "null", "{", "\u{feff}{}", r#"{"nodes":7}"#] {
        let (_, stderr) = running(malformed).host.run(&["status"], 2);
        assert!(stderr.contains("sent a malformed reply"), "{malformed}: {stderr}");
    }
}

#[test]
fn the_table() {
    let at = now_s() * 1000;
    let more = r#""config":"AA","data":{
        "a":{"node_version":"0.1.0","age_ms":100,"fresh":true,"ping_data":{
            "b":{"status":"offline","error":"timeout"},"c":{"status":"online","response_time":1.25}}},
        "c":{"node_version":"0.2.0","age_ms":4200,"fresh":true,"config":"BB","ping_data":{
            "a":{"status":"online"},"b":{"status":"offline"}}}},"#;
    let nodes = format!(
        r#""a":{{"status":"online","keys":1}},"c":{{"status":"online","since":{at},"keys":1}},
           "b":{{"status":"offline","since":{},"error":"timeout","keys":1}}"#,
        at - 125_000
    );
    let node = running(snapshot("lan", more, &nodes));
    let (stdout, stderr) = node.host.run(&["status", "lan"], 1);
    assert_eq!(stderr, "");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = stdout.lines().map(words).collect();
    assert!(
        lines[0].starts_with("lan, seen by a: 3 nodes, 2 online; ") && lines[0].ends_with(" GMT"),
        "{stdout}"
    );
    assert_eq!(
        lines[1..],
        [
            "NODE STATUS SINCE RTT CLOCK VERSION REPORT NOTES",
            "a online - - - 0.1.0 0.1 s this node",
            "b offline 2 min 5 s - - - - timeout: no answer in time",
            "c online 0.0 s 1.25 ms - 0.2.0 4.2 s other configuration",
            "",
            "observer \\ target 1 2 3",
            "1 a · ✗ ●",
            "2 b · · ·",
            "3 c ● ✗ ·",
            "● online ✗ offline ? unknown · no observation",
        ]
    );
    assert!(!stdout.contains('\x1b'), "no colours without a terminal");
    let mut narrow = node.host.command(&["status", "lan"]);
    let output = narrow.env("COLUMNS", "20").env("LC_ALL", "C").output().expect("the built program starts");
    let (stdout, _) = finished(output, &["COLUMNS=20"], 1);
    assert!(
        stdout.is_ascii() && stdout.contains("the matrix requires 25 columns, available are 20"),
        "{stdout}"
    );
}

#[test]
fn several_networks() {
    let node = running(snapshot("lan", "", BOTH_UP));
    let heads = |args: &[&str]| {
        let (stdout, _) = node.host.run(args, 0);
        let heads = stdout.lines().filter_map(|line| line.split_once(", seen by a: "));
        heads.map(|(network, _)| network.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(heads(&["status"]), ["lan", "wan"]);
    assert_eq!(heads(&["status", "far"]), ["wan"]);
    assert_eq!(heads(&["status", "wan", "--url", &node.url]), ["wan"]);
}

#[test]
fn json_is_unchanged() {
    let more = "\"new\":[1.50,{\"x\":\"\u{9b}\"}],\n\t";
    let lan = snapshot("lan", more, BOTH_UP);
    let node = running(lan.clone());
    let (stdout, _) = node.host.run(&["status", "--json"], 0);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stdout.contains("1.50") && !stdout.contains('\u{9b}'), "{stdout}");
    let found: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let expected: serde_json::Value = serde_json::from_str(&lan).expect("JSON");
    assert_eq!(found["lan"], expected);
    assert_eq!(found["wan"]["network_id"], "wan");
}

#[test]
fn tokens_from_files() {
    let node = running(snapshot("lan", "", BOTH_UP));
    let (token, _) = node.host.run(&["token"], 0);
    let file = node.host.path("token");
    fs::write(&file, &token).expect("write");
    let path = file.to_str().expect("a path in UTF-8");
    // No configuration is needed.
    run(&["status", "--url", &node.url, "--token-file", path, "--config", "/nonexistent"], 0);
    fs::write(&file, "aa.bb.cc").expect("write");
    let (_, stderr) = node.host.run(&["status", "--token-file", path], 2);
    assert!(stderr.contains("rejects this token: log in?[2J first"), "{stderr}");
    fs::write(&file, "a\nHost: b").expect("write");
    let asked = node.fake.asked.load(Ordering::SeqCst);
    node.host.run(&["status", "--token-file", path], 64);
    assert_eq!(node.fake.asked.load(Ordering::SeqCst), asked);
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let bad = r"\u001b[2J\u009b1m\u0007\r\n";
    let more = format!(r#""data":{{"b{bad}":{{"node_version":"{bad}","config":"{bad}"}}}},"#);
    let nodes = format!(r#""a":{{}},"b{bad}":{{"status":"offline","error":"{bad}"}}"#);
    let node = running(snapshot(bad, &more, &nodes));
    let (stdout, _) = node.host.run(&["status", "lan"], 1);
    assert!(stdout.chars().all(|c| c == '\n' || !c.is_control()), "{stdout:?}");
    assert!(stdout.contains("b?[2J?1m???"), "{stdout:?}");
}

#[test]
fn replies_without_end() {
    let (_, stderr) = running("endless").host.run(&["status", "lan"], 2);
    assert!(stderr.contains("it answers with more than 16 MiB"), "{stderr}");
    let (_, stderr) = running("elsewhere").host.run(&["status", "lan"], 2);
    assert!(stderr.contains("it answers with status 302"), "{stderr}");
}

#[test]
fn slow_replies_time_out() {
    for drip in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let host = Host::new(port, LOGIN);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            // A slow stream of bytes resets a timeout between reads, so the client needs one for the whole request.
            let begun = Instant::now();
            let mut sent = stream.write_all(drip).is_ok();
            while sent && begun.elapsed() < TIMEOUT {
                std::thread::sleep(Duration::from_millis(100));
                sent = stream.write_all(b" ").is_ok();
            }
            assert!(begun.elapsed() < TIMEOUT, "the client is still there");
        });
        let (_, stderr) = host.run(&["status", "lan"], 2);
        assert!(stderr.contains("no answer within 5 s"), "{stderr}");
        server.join().expect("the client has gone");
    }
}

#[test]
fn a_real_node() {
    let url = unused_url();
    let host = Host::new(port(&url), LOGIN);
    let log = fs::File::create(host.path("log")).expect("a file");
    let mut command = host.command(&["run"]);
    let _process = Process(command.stderr(log).spawn().expect("the built program starts"));
    let deadline = Instant::now() + TIMEOUT;
    let stdout = loop {
        let output = host.command(&["status"]).output().expect("the built program starts");
        // The state of the other node, which has no key, is unknown.
        let (stdout, stderr) = finished(output, &["status"], 2);
        if stderr.is_empty() {
            break stdout;
        }
        let log = fs::read_to_string(host.path("log")).expect("a file");
        assert!(stderr.contains("does not answer") && Instant::now() < deadline, "{stderr}{log}");
        std::thread::sleep(Duration::from_millis(50));
    };
    for network in ["lan", "wan"] {
        assert!(stdout.contains(&format!("{network}, seen by a: 2 nodes, 1 online; ")), "{stdout}");
    }
    assert!(stdout.contains("no public key, so it does not participate"), "{stdout}");
    // The node accepts a token from its own login.
    let password = host.path("password");
    fs::write(&password, "secret").expect("write");
    let password = password.to_str().expect("a path in UTF-8");
    let (token, _) = run(&["token", "--url", &url, "--password-file", password], 0);
    let file = host.path("token");
    fs::write(&file, token).expect("write");
    let file = file.to_str().expect("a path in UTF-8");
    let (json, _) = run(&["status", "lan", "--json", "--url", &url, "--token-file", file], 2);
    let view: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(view["lan"]["nodes"]["a"]["status"], "online", "{json}");
}
