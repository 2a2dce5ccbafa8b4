//! Clients that overload a node: it keeps serving its peers within bounds of memory and log lines.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};

use crate::host::{Host, NETWORK};
use crate::network::Network;
use crate::wait::wait;

/// Connects to `host` from an address that no verified peer shares. Returns `None` if that fails.
pub(crate) fn connect_unknown(host: &Host, number: u8) -> Option<TcpStream> {
    connect_from(host.address, number)
}

/// Connects to `address` from 127.9.0.`number`.
pub(crate) fn connect_from(address: SocketAddr, number: u8) -> Option<TcpStream> {
    // Nodes that other threads spawn must not inherit it, since some may open only few files.
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::new(127, 9, 0, number), 0))).ok()?;
    let stream = TcpStream::from(socket);
    connect(&stream, &address).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(200))).ok()?;
    Some(stream)
}

/// Creates a network of three nodes, of which `a` may open 256 files.
fn network() -> Network {
    let mut network = Network::new(&["a", "b", "c"]);
    let command = network.host("a").run_command();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    network.host_mut("a").spawn(&mut limited);
    network.host_mut("b").start();
    network.host_mut("c").start();
    network.wait_all_online();
    network
}

fn seq(network: &Network, author: &str) -> u64 {
    wait("a report at a", || network.watcher.reports(network.host("a"))?.get(author).map(|report| report.seq))
}

/// Checks that `a` is healthy, and that it and its peers exchange reports.
#[track_caller]
fn check_serves_peers(network: &Network) {
    for author in ["a", "b", "c"] {
        let before = seq(network, author);
        wait("new reports", || (seq(network, author) > before + 3).then_some(()));
    }
    assert!(network.host("a").is_healthy(), "{}", network.host("a").log());
    for (observer, target) in [("a", "b"), ("a", "c"), ("b", "a"), ("c", "a")] {
        network.wait_reported("a", observer, target, "online");
    }
}

/// Checks peak memory and the number of log lines.
pub(crate) fn check_bounds(host: &Host) {
    let status = format!("/proc/{}/status", host.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(status).expect("the process runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak_kb < 96 * 1024, "{peak_kb} kB");
    let lines = host.log().lines().count();
    assert!(lines < 100, "{lines} lines\n{}", host.log());
}

#[test]
fn more_half_open_connections_than_descriptors_leave_peers_served() {
    let network = network();
    let host = network.host("a");
    let mut connections = Vec::new();
    for number in 0..1500_u32 {
        let from = u8::try_from(number % 250 + 1).expect("small");
        let Some(mut stream) = connect_unknown(host, from) else { continue };
        let _ = stream.write_all(b"POST /token HTTP/1.1\r\nHost: a\r\n");
        connections.push(stream);
    }
    assert!(connections.len() > 500, "only {} connections", connections.len());
    check_serves_peers(&network);
    drop(connections);
    check_serves_peers(&network);
    check_bounds(host);
}

#[test]
fn unfinished_heads_and_bodies_leave_peers_served() {
    let network = network();
    let host = network.host("a");
    let mut connections = Vec::new();
    for number in 1..=60 {
        let Some(mut stream) = connect_unknown(host, number) else { continue };
        let _ = stream.write_all(b"POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nslow");
        connections.push(stream);
    }
    let mut long = connect_unknown(host, 200).expect("a connection");
    let _ = long.write_all(b"GET / HTTP/1.1\r\nX: ");
    // Up to 100 MB in one line.
    let piece = vec![b'x'; 65_536];
    let sent = (0..1_600).take_while(|_| long.write_all(&piece).is_ok()).count();
    assert!(sent < 1_600, "a head of 100 MB was accepted");
    check_serves_peers(&network);
    drop(connections);
    check_bounds(host);
}

#[test]
fn wrong_passwords_are_limited_and_leave_peers_served() {
    let network = network();
    let host = network.host("a");
    let log_in = || {
        let reply = minreq::post(format!("{}/token", host.url()))
            .with_header("Authorization", "Basic YWRtaW46d3Jvbmc=")
            .with_body("")
            .with_timeout(5)
            .send();
        reply.expect("a reply")
    };
    let replies: Vec<_> = (0..60).map(|_| log_in()).collect();
    let count = |status| replies.iter().filter(|reply| reply.status_code == status).count();
    assert!(
        count(401) >= 5 && count(429) >= 30 && count(401) + count(429) == 60,
        "{} {}",
        count(401),
        count(429)
    );
    let limited = replies.iter().find(|reply| reply.status_code == 429).expect("one of them");
    let wait_s: u64 = limited.header("retry-after").expect("a field").parse().expect("seconds");
    assert!((1..=60).contains(&wait_s), "{wait_s}");
    host.wait_log("wrong password from 127.0.0.1");
    check_serves_peers(&network);
    check_bounds(host);
}

#[test]
fn garbage_at_every_route_causes_no_server_error() {
    let network = network();
    let host = network.host("a");
    for path in [
        "/",
        "/login",
        "/logout",
        "/token",
        "/view",
        "/view/net",
        "/view/nothing",
        "/healthz",
        "/network/net",
        "/assets/x",
        "/../../etc/passwd",
        "/%00",
        "/mon",
        "/view/%2e%2e",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
            let mut request = minreq::Request::new(
                minreq::Method::Custom(method.to_owned()),
                format!("{}{path}", host.url()),
            );
            if method != "GET" {
                request = request.with_body("\u{0}%%%&=&password=%ff{[");
            }
            let request = request
                .with_header("Authorization", "Bearer \u{1}.x.y")
                .with_header("Cookie", "distomon_a=;;=;");
            let reply = request.with_timeout(5).with_follow_redirects(false).send();
            if let Ok(reply) = reply {
                assert!(reply.status_code < 500, "{method} {path}: {}", reply.status_code);
                assert!(
                    !String::from_utf8_lossy(reply.as_bytes()).contains(NETWORK),
                    "{method} {path} reveals the network"
                );
            }
        }
    }
    check_serves_peers(&network);
    check_bounds(host);
}
