//! Many concurrent clients, and a process that runs out of file descriptors.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use distomon::server::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::{Client, TEST_TIMEOUT, wait_until};
use crate::echo_server::Server;

/// Raises the timeouts, so that only eviction can end a connection.
fn without_timeouts(limits: Limits) -> Limits {
    Limits { head_timeout: TEST_TIMEOUT * 4, idle_timeout: TEST_TIMEOUT * 4, ..limits }
}

/// Opens `count` connections from `from` that send half a head, or fewer if the system limits them.
fn half_open(from: &str, address: SocketAddr, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let Ok(mut client) = Client::connect_from(from, address) else { break };
        // The server may have evicted the connection already.
        let _ = client.stream.write_all(b"GET / HT");
        clients.push(client);
    }
    clients
}

/// Raises the limit on open files as far as possible; returns how many connections a test may open.
fn raise_file_limit() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).expect("up to the hard limit");
    hard.map_or(3000, |hard| (hard / 3).min(3000)).try_into().expect("a small number")
}

#[test]
fn thousands_of_half_open_connections_block_no_other_client() {
    let count = raise_file_limit();
    let server = Server::start(without_timeouts(Limits::default()));
    server.echo.senders.store(256, Ordering::Relaxed);
    let address = server.address();
    let mut member = Client::connect_from("127.0.0.1", address).expect("a connection");
    assert_eq!(member.get("/a", "X-Member: a\r\n").status, 200);

    let mut half_open = half_open("127.0.0.2", address, count);
    assert!(half_open.len() > 600, "only {} connections", half_open.len());
    assert_eq!(member.get("/b", "X-Member: a\r\n").status, 200, "the member's connection is still open");
    let mut again = Client::connect_from("127.0.0.1", address).expect("a connection");
    assert_eq!(again.get("/c", "X-Member: a\r\n").status, 200, "the member connects again");
    let mut fresh = Client::connect_from("127.0.0.3", address).expect("a connection");
    assert_eq!(fresh.get("/d", "").status, 200, "a new client");
    // 256 of 512 connections are reserved; all older ones of unknown clients were evicted.
    for client in half_open.iter_mut().rev().skip(300) {
        assert!(client.is_closed());
    }
    let last = half_open.last_mut().expect("half-open connections");
    assert_eq!(
        last.send("TP/1.1\r\nHost: h\r\n\r\n").reply().status,
        200,
        "the newest half-open connection is still open"
    );
}

#[test]
fn a_new_client_is_refused_while_each_connection_is_the_only_one_of_a_sender() {
    let server = Server::start(without_timeouts(Limits { connections: 4, ..Limits::default() }));
    let mut members = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let mut member = Client::connect(server.address());
        assert_eq!(member.get("/a", &format!("X-Member: {name}\r\n")).status, 200);
        members.push(member);
    }
    let mut client = Client::connect(server.address());
    let reply = client.reply();
    assert_eq!((reply.status, reply.closes()), (503, true));
    assert!(reply.header("retry-after").is_some());
    serde_json::from_slice::<serde_json::Value>(&reply.body).expect("the whole body");
    assert!(client.is_closed());
    // A request that is not verified ends the standing of its connection.
    assert_eq!(members[1].get("/b", "").status, 200);
    assert_eq!(Client::connect(server.address()).get_status(), Some(200));
    assert!(members.remove(1).is_closed());
    for (member, name) in members.iter_mut().zip(["a", "c", "d"]) {
        assert_eq!(member.get("/b", &format!("X-Member: {name}\r\n")).status, 200);
    }
}

#[test]
fn standing_ends_after_a_while() {
    let standing_duration = Duration::from_millis(200);
    let limits = Limits { connections: 2, standing_duration, ..Limits::default() };
    let server = Server::start(without_timeouts(limits));
    for name in ["a", "b"] {
        let mut member = Client::connect(server.address());
        assert_eq!(member.get("/a", &format!("X-Member: {name}\r\n")).status, 200);
        // Keeps the connection open for the rest of the test.
        std::mem::forget(member);
    }
    wait_until("a connection has no standing", || {
        Client::connect(server.address()).get_status() == Some(200)
    });
}

#[test]
fn the_connections_of_one_sender_leave_all_others_served() {
    let limits = Limits { connections: 32, ..Limits::default() };
    let server = Server::start(without_timeouts(limits));
    server.echo.senders.store(2, Ordering::Relaxed);
    let address = server.address();
    let mut modest = Client::connect(address);
    assert_eq!(modest.get("/a", "X-Member: b\r\n").status, 200);
    let mut greedy = Vec::new();
    for number in 0..200 {
        let mut client =
            Client::connect_from(&format!("127.0.1.{}", number % 100 + 1), address).expect("a port");
        assert_eq!(client.get("/a", "X-Member: c\r\n").status, 200, "connection {number}");
        greedy.push(client);
        if number % 10 == 0 {
            assert_eq!(Client::connect(address).get_status(), Some(200), "a client without connections");
        }
    }
    assert_eq!(modest.get("/b", "X-Member: b\r\n").status, 200, "the only connection of its sender");
    assert_eq!(greedy[199].get("/b", "").status, 200, "the newest one");
    assert!(greedy[..150].iter_mut().all(Client::is_closed));
}

impl Client {
    fn get_status(&mut self) -> Option<u16> {
        let _ = self.stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        self.try_reply(true).ok().map(|reply| reply.status)
    }
}

#[test]
fn concurrent_clients_send_many_requests() {
    let server = Server::start(Limits::default());
    let address = server.address();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(move || {
                for _ in 0..20 {
                    let mut client = Client::connect(address);
                    for _ in 0..20 {
                        assert_eq!(client.get("/a", "").text(), "GET /a");
                    }
                }
            });
        }
    });
}

/// A server in a separate process that may open few files.
struct ConstrainedServer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

/// The environment variable with the number of files that [`constrained_server`] may open.
const MAX_FILES: &str = "DISTOMON_TEST_FILES";

impl ConstrainedServer {
    fn start(files: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["many_clients::constrained_server", "--exact", "--nocapture", "--test-threads=1"])
            .env(MAX_FILES, files.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = Self::output(&mut lines, "address").parse().expect("an address");
        Self { child, lines, address }
    }

    fn command(&mut self, command: &str) -> String {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{command}").expect("the child reads");
        Self::output(&mut self.lines, command)
    }

    /// Returns the child's output for `command`, which is mixed with the output of its test harness.
    fn output(lines: &mut Lines<BufReader<ChildStdout>>, command: &str) -> String {
        lines
            .map(|line| line.expect("text"))
            .find_map(|line| Some(line.split_once(&format!("{command}: "))?.1.to_owned()))
            .expect("output")
    }
}

impl Drop for ConstrainedServer {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The child process of the tests below; it does nothing in a test run.
#[test]
fn constrained_server() {
    let Ok(files) = std::env::var(MAX_FILES) else { return };
    let files = files.parse().ok();
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files }).expect("a lower limit");
    let server = Server::start(without_timeouts(Limits {
        accept_retry_delay: Duration::from_millis(10),
        ..Limits::default()
    }));
    let heartbeat = server.handle.heartbeat();
    let output = |text: String| writeln!(io::stdout(), "{text}").expect("the parent reads");
    output(format!("address: {}", server.address()));
    let mut files = Vec::new();
    for command in io::stdin().lines().map_while(Result::ok) {
        match command.as_str() {
            "exhaust" => {
                while let Ok(file) = File::open("/dev/null") {
                    files.push(file);
                }
            }
            "release" => files.clear(),
            _ => {}
        }
        output(format!("{command}: {}", heartbeat.last_ms()));
    }
}

#[test]
fn half_open_connections_block_no_client_of_a_process_with_256_files() {
    let mut server = ConstrainedServer::start(256);
    let half_open = half_open("127.0.0.2", server.address, 400);
    assert_eq!(half_open.len(), 400);
    assert_eq!(Client::connect(server.address).get("/a", "").status, 200);
    server.command("heartbeat");
}

#[test]
fn the_listener_recovers_from_a_lack_of_files() {
    let mut server = ConstrainedServer::start(64);
    let mut idle = Client::connect(server.address);
    assert_eq!(idle.get("/a", "").status, 200);
    let before: u64 = server.command("exhaust").parse().expect("a number");
    // The only descriptor available is that of the idle connection, which is evicted for the next one.
    let mut next = Client::connect(server.address);
    assert_eq!(next.get("/b", "X-Member: a\r\n").status, 200);
    assert!(idle.is_closed());
    // That one is verified, so no descriptor is available now; the accept loop continues nevertheless.
    let mut waiting = Client::connect(server.address);
    waiting.send("GET /c HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the accept loop beats", || {
        server.command("heartbeat").parse::<u64>().is_ok_and(|last| last > before + 100)
    });
    assert_eq!(next.get("/d", "").status, 200);
    server.command("release");
    assert_eq!(waiting.reply().text(), "GET /c");
    assert_eq!(Client::connect(server.address).get("/e", "").status, 200);
}
