//! Many clients at once, and a process that runs out of descriptors.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use distomon::server::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::client::{Client, PATIENCE, wait_until};
use crate::echo::Server;

/// Only being turned out can end a connection of these tests, not time.
fn patient(limits: Limits) -> Limits {
    Limits { head_timeout: PATIENCE * 4, idle_timeout: PATIENCE * 4, ..limits }
}

/// Opens `count` connections from `from` that send half a head, or as many as the system allows.
fn half_open(from: &str, address: SocketAddr, count: usize) -> Vec<Client> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        let Ok(mut client) = Client::connect_from(from, address) else { break };
        // It may have been turned out by now.
        let _ = client.stream.write_all(b"GET / HT");
        crowd.push(client);
    }
    crowd
}

/// Lets this process open what it may, and says how many connections a test can have.
fn room() -> usize {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: hard, maximum: hard }).expect("up to the hard limit");
    hard.map_or(3000, |hard| (hard / 3).min(3000)).try_into().expect("a small number")
}

#[test]
fn thousands_of_half_open_connections_keep_nobody_out() {
    let count = room();
    let server = Server::start(patient(Limits::default()));
    let address = server.address();
    let mut member = Client::connect_from("127.0.0.1", address).expect("a connection");
    assert_eq!(member.get("/a", "X-Member: yes\r\n").status, 200);

    let crowd = half_open("127.0.0.2", address, count);
    assert!(crowd.len() > 600, "only {} connections", crowd.len());
    assert_eq!(member.get("/b", "").status, 200, "the member's connection stands");
    let mut again = Client::connect_from("127.0.0.1", address).expect("a connection");
    assert_eq!(again.get("/c", "X-Member: yes\r\n").status, 200, "the member comes again");
    let mut fresh = Client::connect_from("127.0.0.3", address).expect("a connection");
    assert_eq!(fresh.get("/d", "").status, 200, "a fresh client");
    // Half of 512 is what strangers have; all before those were turned out.
    let mut crowd = crowd;
    for client in crowd.iter_mut().rev().skip(300) {
        assert!(client.is_closed());
    }
    let last = crowd.last_mut().expect("a crowd");
    assert_eq!(last.send("TP/1.1\r\nHost: h\r\n\r\n").reply().status, 200, "the last of the crowd stands");
}

#[test]
fn where_all_are_verified_there_is_no_room() {
    let server = Server::start(patient(Limits { connections: 4, ..Limits::default() }));
    let mut members = Vec::new();
    for _ in 0..4 {
        let mut member = Client::connect(server.address());
        assert_eq!(member.get("/a", "X-Member: yes\r\n").status, 200);
        members.push(member);
    }
    let mut client = Client::connect(server.address());
    let reply = client.reply();
    assert_eq!((reply.status, reply.closes()), (503, true));
    assert!(reply.header("retry-after").is_some());
    serde_json::from_slice::<serde_json::Value>(&reply.body).expect("the whole body");
    assert!(client.is_closed());
    for member in &mut members {
        assert_eq!(member.get("/b", "").status, 200);
    }
    members.pop();
    wait_until("a place is free", || Client::connect(server.address()).get_status() == Some(200));
}

impl Client {
    fn get_status(&mut self) -> Option<u16> {
        let _ = self.stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        self.try_reply(true).ok().map(|reply| reply.status)
    }
}

#[test]
fn many_requests_of_many_clients() {
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

/// A server in a process of its own, which may open few files.
struct Poor {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

/// The variable that tells [`poor_server`] how many files it may open.
const FILES: &str = "DISTOMON_TEST_FILES";

impl Poor {
    fn start(files: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["crowd::poor_server", "--exact", "--nocapture", "--test-threads=1"])
            .env(FILES, files.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = Self::answer(&mut lines, "address").parse().expect("an address");
        Self { child, lines, address }
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.child.stdin.as_mut().expect("piped"), "{question}").expect("the child reads");
        Self::answer(&mut self.lines, question)
    }

    /// The child's answers stand among the lines of its test harness.
    fn answer(lines: &mut Lines<BufReader<ChildStdout>>, question: &str) -> String {
        lines
            .map(|line| line.expect("text"))
            .find_map(|line| Some(line.split_once(&format!("{question}: "))?.1.to_owned()))
            .expect("an answer")
    }
}

impl Drop for Poor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Not a test but the child of those below.
#[test]
fn poor_server() {
    let Ok(files) = std::env::var(FILES) else { return };
    let files = files.parse().ok();
    setrlimit(Resource::Nofile, Rlimit { current: files, maximum: files }).expect("a lower limit");
    let server =
        Server::start(patient(Limits { accept_retry_delay: Duration::from_millis(10), ..Limits::default() }));
    let heart = server.handle.heartbeat();
    let answer = |text: String| writeln!(io::stdout(), "{text}").expect("the parent reads");
    answer(format!("address: {}", server.address()));
    let mut hoard = Vec::new();
    for question in io::stdin().lines().map_while(Result::ok) {
        match question.as_str() {
            "hoard" => {
                while let Ok(file) = File::open("/dev/null") {
                    hoard.push(file);
                }
            }
            "free" => hoard.clear(),
            _ => {}
        }
        answer(format!("{question}: {}", heart.last_ms()));
    }
}

#[test]
fn half_open_connections_under_256_files() {
    let mut server = Poor::start(256);
    let crowd = half_open("127.0.0.2", server.address, 400);
    assert_eq!(crowd.len(), 400);
    assert_eq!(Client::connect(server.address).get("/a", "").status, 200);
    server.ask("beat");
}

#[test]
fn out_of_files_and_back() {
    let mut server = Poor::start(64);
    let mut idle = Client::connect(server.address);
    assert_eq!(idle.get("/a", "").status, 200);
    let before: u64 = server.ask("hoard").parse().expect("a number");
    // The idle connection's descriptor is the only one that can be had, and is given to the next.
    let mut next = Client::connect(server.address);
    assert_eq!(next.get("/b", "X-Member: yes\r\n").status, 200);
    assert!(idle.is_closed());
    // That one stays, so now there is nothing to be had, and the loop turns nevertheless.
    let mut waiting = Client::connect(server.address);
    waiting.send("GET /c HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the heart beats", || server.ask("beat").parse::<u64>().is_ok_and(|beat| beat > before + 100));
    assert_eq!(next.get("/d", "").status, 200);
    server.ask("free");
    assert_eq!(waiting.reply().text(), "GET /c");
    assert_eq!(Client::connect(server.address).get("/e", "").status, 200);
}
