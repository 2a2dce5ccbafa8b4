//! A greedy member, or an outsider without a key, that uses up what it can: all other members stay served.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::host::Host;
use crate::network::Network;
use crate::overload::{check_bounds, connect_unknown};
use crate::watcher::{Call, Reply, Watcher};

/// The connections of a node.
const CAPACITY: usize = 512;

/// The exchanges that a node with `poll_rate: 0.2` accepts without a pause, and in each second.
const BURST: usize = 80;
const PER_SECOND: f64 = 40.0;

/// Creates a network with the running members `a` and `b`, and the member `c`, whose key the test uses.
fn network() -> Network {
    let mut network = Network::new(&["a", "b", "c"]);
    network.host_mut("a").start();
    network.host_mut("b").start();
    network.wait_all_online();
    network
}

/// The state of `a` and `b` in each other's view before an attack.
struct Before {
    since_ms: Vec<u64>,
    seqs: Vec<u64>,
}

/// The reports of `a` and `b`.
const PAIRS: [(&str, &str); 2] = [("a", "b"), ("b", "a")];

impl Before {
    fn of(network: &Network) -> Self {
        let reports = network.wait("reports at a", || network.watcher.reports(network.host("a")));
        let observation =
            |(observer, target): (&str, &str)| reports[observer].observation(target).expect("a peer");
        let since_ms = PAIRS.iter().map(|pair| observation(*pair).since_ms).collect();
        Self { since_ms, seqs: PAIRS.iter().map(|(observer, _)| reports[*observer].seq).collect() }
    }

    /// Waits until both have published `reports` reports and `a` has received them, and checks that each was online for
    /// the other one all the time.
    #[track_caller]
    fn check_undisturbed(&self, network: &Network, reports: u64) {
        for (at, (observer, target)) in PAIRS.iter().enumerate() {
            let report = network.wait(&format!("{reports} reports of {observer}"), || {
                let report = network.watcher.reports(network.host("a"))?.remove(*observer)?;
                (report.seq >= self.seqs[at] + reports).then_some(report)
            });
            let observation = report.observation(target).expect("a peer");
            assert_eq!(
                (observation.status.as_str(), observation.since_ms),
                ("online", self.since_ms[at]),
                "{observer} reports {target}\n{}",
                network.logs()
            );
        }
    }
}

/// Connects to `host` from a loopback address that belongs to no member, which each call changes.
fn connect(host: &Host, number: usize) -> Option<TcpStream> {
    let stream = connect_unknown(host, u8::try_from(number % 250 + 1).expect("small"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    Some(stream)
}

/// Reads a reply; returns its status.
fn read_status(stream: &TcpStream) -> io::Result<u16> {
    let mut reader = BufReader::new(stream);
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end().to_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest[..3].parse().map_err(io::Error::other)?;
        } else if let Some(rest) = line.strip_prefix("content-length: ") {
            length = rest.parse().map_err(io::Error::other)?;
        } else if line.is_empty() {
            reader.read_exact(&mut vec![0; length])?;
            return Ok(status);
        }
    }
}

/// Threads that hold connections to a host until this is dropped.
struct Attack {
    stop: Arc<AtomicBool>,
    /// Connections opened since the start, and rounds in which all of them were kept open.
    opened: Arc<AtomicUsize>,
    rounds: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Attack {
    /// Holds `count` connections that send an unauthenticated request each 200 ms. `open` opens one of them.
    fn start(count: usize, open: impl Fn(usize) -> Option<TcpStream> + Send + Sync + 'static) -> Self {
        const THREADS: usize = 4;
        let (stop, open) = (Arc::new(AtomicBool::new(false)), Arc::new(open));
        let (opened, rounds) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..THREADS).map(|_| {
            let (stop, open, opened, rounds) = (stop.clone(), open.clone(), opened.clone(), rounds.clone());
            std::thread::spawn(move || {
                let mut streams: Vec<Option<TcpStream>> =
                    (0..count.div_ceil(THREADS)).map(|_| None).collect();
                while !stop.load(Ordering::Relaxed) {
                    for slot in &mut streams {
                        let kept = slot.take().filter(|stream| {
                            let mut writer = stream;
                            writer.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").is_ok()
                                && read_status(stream).is_ok()
                        });
                        *slot = kept.or_else(|| open(opened.fetch_add(1, Ordering::Relaxed)));
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(200));
                }
            })
        });
        let threads = threads.collect();
        Self { stop, opened, rounds, threads }
    }

    /// Waits until more connections were opened than the host may hold, and each was used several times.
    fn wait_full(&self, network: &Network) {
        network.wait("all connections are in use", || {
            let (opened, rounds) = (self.opened.load(Ordering::Relaxed), self.rounds.load(Ordering::Relaxed));
            (opened >= CAPACITY && rounds >= 4 * self.threads.len()).then_some(())
        });
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Checks that /healthz replies to each of many new clients: on loopback, and from separate addresses.
#[track_caller]
fn check_healthy(host: &Host) {
    for number in 0..20 {
        assert!(host.is_healthy(), "request {number}\n{}", host.log());
        let mut stream = connect(host, 200 + number).expect("a connection");
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").expect("the host reads");
        assert_eq!(read_status(&stream).ok(), Some(200), "request {number}\n{}", host.log());
    }
}

#[test]
fn connections_of_one_member_leave_all_others_served() {
    let network = network();
    let host = network.host("a");
    let before = Before::of(&network);
    let (member, body) = (Watcher::as_member(network.host("c")), Watcher::empty().to_string());
    let address = host.address;
    let attack = Attack::start(CAPACITY, move |_| {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        loop {
            stream.write_all(&member.call_node("a", body.clone()).sign().to_bytes()).ok()?;
            match read_status(&stream).ok()? {
                200 => return Some(stream),
                429 => {
                    std::thread::sleep(Duration::from_millis(50));
                    stream = TcpStream::connect(address).ok()?;
                    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
                }
                _ => return None,
            }
        }
    });
    attack.wait_full(&network);
    check_healthy(host);
    before.check_undisturbed(&network, 50);
    check_healthy(host);
    drop(attack);
    check_bounds(host);
}

#[test]
fn connections_of_an_outsider_leave_members_served() {
    let network = network();
    let host = network.host("a");
    let before = Before::of(&network);
    let address = host.address;
    let attack = Attack::start(600, move |number| {
        let from = u8::try_from(number % 200 + 1).ok()?;
        let stream = crate::overload::connect_from(address, from)?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        Some(stream)
    });
    attack.wait_full(&network);
    check_healthy(host);
    before.check_undisturbed(&network, 50);
    check_healthy(host);
    drop(attack);
    check_bounds(host);
}

/// Returns an address of this host that is not loopback.
fn external_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    // Only selects a route: a datagram socket sends nothing when it connects.
    socket.connect("198.51.100.1:9").expect("a network interface with a route");
    let address = socket.local_addr().expect("a bound socket").ip();
    assert!(!address.is_loopback(), "{address}");
    address
}

#[test]
fn connections_from_one_external_address_are_limited() {
    const PER_ADDRESS: usize = 64;
    let mut network = Network::new(&["a", "b", "c"]);
    let port = TcpListener::bind((external_address(), 0)).and_then(|listener| listener.local_addr());
    network.host_mut("a").address = SocketAddr::new(external_address(), port.expect("a free port").port());
    network.write_configs();
    network.host_mut("a").start();
    network.host_mut("b").start();
    network.wait_all_online();
    let host = network.host("a");
    let before = Before::of(&network);
    let is_served = |stream: &TcpStream| {
        let mut writer = stream;
        writer.write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n").is_ok()
            && read_status(stream).is_ok_and(|status| status == 200)
    };
    let mut streams = Vec::new();
    for _ in 0..2 * PER_ADDRESS {
        let stream = TcpStream::connect(host.address).expect("a listener");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        is_served(&stream);
        streams.push(stream);
    }
    // The connection of `b`, from the same address, may be one of those that the host accepts.
    let open = streams.iter().filter(|stream| is_served(stream)).count();
    assert!((PER_ADDRESS / 2..=PER_ADDRESS).contains(&open), "{open} connections are open\n{}", host.log());
    before.check_undisturbed(&network, 10);
    check_bounds(host);
}

/// Opens a connection and sends a verified request of 1 MiB without its last byte.
fn send_unfinished(member: &Watcher, host: &Host) -> Option<TcpStream> {
    let body = format!("{}{}", Watcher::empty(), " ".repeat(1024 * 1024 - 64));
    let bytes = member.call(host, body).sign().to_bytes();
    let mut stream = connect(host, 0)?;
    stream.write_all(&bytes[..bytes.len() - 1]).ok()?;
    Some(stream)
}

#[test]
fn unfinished_bodies_of_one_member_use_little_memory() {
    let network = network();
    let host = network.host("a");
    let before = Before::of(&network);
    let member = Watcher::as_member(network.host("c"));
    let mut streams = Vec::new();
    for _ in 0..500 {
        streams.extend(send_unfinished(&member, host));
        // Slow enough that the rate of requests alone does not limit them.
        std::thread::sleep(Duration::from_millis(10));
    }
    before.check_undisturbed(&network, 50);
    check_healthy(host);
    check_bounds(host);
}

/// Sends the head of a verified request with a body of 16 KiB. Returns the connection once the host has reserved memory
/// for the body, or `None` if it rejects the request.
fn reserve_body(member: &Watcher, host: &Host) -> Option<TcpStream> {
    let mut call = member.call(host, vec![b' '; 16 * 1024]).sign();
    call.set("Expect", "100-continue");
    let bytes = call.to_bytes();
    let mut stream = connect(host, 0)?;
    stream.write_all(&bytes[..bytes.len() - call.body.len()]).ok()?;
    (read_status(&stream).ok()? == 100).then_some(stream)
}

#[test]
fn a_body_beyond_the_share_of_its_sender_is_rejected() {
    let network = network();
    let host = network.host("a");
    let member = Watcher::as_member(network.host("c"));
    let mut reserved = Vec::new();
    network.wait("2 MiB are reserved", || {
        // At first more than the rate of requests allows.
        reserved.extend(reserve_body(&member, host));
        (reserved.len() == 128).then_some(())
    });
    let reply = network.wait("an exchange within the rate limit", || {
        let reply = member.call(host, Watcher::empty().to_string()).sign().send(host)?;
        (!reply.json()["detail"].as_str()?.contains("rate")).then_some(reply)
    });
    assert_eq!((reply.status, reply.signed), (429, true), "{reply:?}");
    assert!(reply.headers.contains_key("retry-after"), "{reply:?}");
    network.wait("another member is served", || network.watcher.reports(host));
    host.wait_log("rejected a request of net/c: its unfinished requests use up its share of memory");
}

/// Sends `calls` and returns the replies, and how many signed errors and exchanges the limits allow in this time.
fn send_all(host: &Host, calls: impl Iterator<Item = Call>) -> (Vec<Reply>, usize, usize) {
    let start = Instant::now();
    let replies = calls.map(|call| call.send(host).expect("a reply")).collect();
    let seconds = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let refilled = |per_second: f64| (seconds * per_second) as usize + 1;
    (replies, BURST / 4 + refilled(PER_SECOND / 4.0), BURST + refilled(PER_SECOND))
}

fn count(replies: &[Reply], status: u16, signed: bool) -> usize {
    replies.iter().filter(|reply| (reply.status, reply.signed) == (status, signed)).count()
}

#[test]
fn exchanges_of_one_member_beyond_its_rate_are_rejected() {
    let network = network();
    let host = network.host("a");
    let before = Before::of(&network);
    let member = Watcher::as_member(network.host("c"));
    let body = Watcher::empty().to_string();
    let (replies, max_signed, max_accepted) =
        send_all(host, (0..600).map(|_| member.call_node("a", body.clone()).sign()));
    let accepted = count(&replies, 200, true);
    assert!((BURST..=max_accepted).contains(&accepted), "{accepted}, at most {max_accepted}");
    assert!(replies[..BURST].iter().all(|reply| reply.status == 200));
    let (signed, unsigned) = (count(&replies, 429, true), count(&replies, 429, false));
    assert!((BURST / 4..=max_signed).contains(&signed), "{signed}, at most {max_signed}");
    assert_eq!(accepted + signed + unsigned, 600);
    assert!(unsigned > 0);
    assert!(replies.iter().all(|reply| reply.status == 200 || reply.headers.contains_key("retry-after")));
    before.check_undisturbed(&network, 10);
    host.wait_log("net: rejected a request from c: the requests of this node exceed its rate limit");
}

#[test]
fn replayed_requests_use_up_neither_the_rate_nor_many_signatures() {
    let network = network();
    let host = network.host("a");
    let member = Watcher::as_member(network.host("c"));
    let fresh = || member.call(host, Watcher::empty().to_string()).sign();
    let captured = fresh();
    assert_eq!(captured.send(host).map(|reply| reply.status), Some(200));
    let bytes = captured.to_bytes();
    let start = Instant::now();
    let mut signed = 0;
    for number in 0..600 {
        // As an outsider does, who has no key and comes from another address.
        let mut stream = connect(host, number).expect("a connection");
        stream.write_all(&bytes).expect("the host reads");
        let mut reply = String::new();
        stream.shutdown(std::net::Shutdown::Write).expect("a connection");
        stream.read_to_string(&mut reply).expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 409 "), "{reply}");
        signed += usize::from(reply.to_lowercase().contains("\r\nsignature: "));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let refilled = (start.elapsed().as_secs_f64() * PER_SECOND / 4.0) as usize + 1;
    assert!((BURST / 4..=BURST / 4 + refilled).contains(&signed), "{signed}, {refilled}");
    assert!(signed < 600);
    for number in 0..BURST {
        let reply = fresh().send(host).expect("a reply");
        assert_eq!((reply.status, reply.signed), (200, true), "request {number}");
    }
}
