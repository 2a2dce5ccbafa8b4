use std::net::TcpListener;

use super::connection_table::Occupancy;
use super::*;

/// The time between two events, so that each connection has a different age.
const STEP: Duration = Duration::from_millis(1);

/// Clients of a limiter under test, whose addresses are made up. Each connection has a number, from 0 on.
struct Clients {
    listener: TcpListener,
    limiter: Arc<ConnectionLimiter>,
    sockets: Vec<TcpStream>,
    permits: Vec<Option<ConnectionPermit>>,
    senders: usize,
    /// The threads of closed connections end, and so drop their permits.
    threads_end: bool,
    now: Instant,
}

impl Clients {
    fn new(limits: Limits, senders: usize) -> Self {
        let capacity = limits.connections;
        Self {
            listener: TcpListener::bind("127.0.0.1:0").expect("a free port"),
            limiter: Arc::new(ConnectionLimiter::new(limits, capacity)),
            sockets: Vec::new(),
            permits: Vec::new(),
            senders,
            threads_end: true,
            now: Instant::now(),
        }
    }

    /// Connects a client; returns the number of the connection, or `None` if it is refused.
    fn try_connect(&mut self, from: &str) -> Option<usize> {
        self.now += STEP;
        let address = self.listener.local_addr().expect("a bound socket");
        self.sockets.push(TcpStream::connect(address).expect("a listener"));
        let (stream, _) = self.listener.accept().expect("a connection");
        let from = from.parse().expect("an address");
        let permit = self.limiter.try_acquire(stream, from, self.senders, self.now).ok()?;
        self.permits.push(Some(permit));
        if self.threads_end {
            for number in self.closed() {
                self.permits[number] = None;
            }
        }
        Some(self.permits.len() - 1)
    }

    #[track_caller]
    fn connect(&mut self, from: &str) -> usize {
        self.try_connect(from).expect("room")
    }

    fn connect_all(&mut self, from: &[&str]) {
        for from in from {
            self.connect(from);
        }
    }

    /// Connects `count` clients from different addresses of a subnet.
    fn connect_many(&mut self, subnet: &str, count: usize) {
        for i in 0..count {
            self.connect(&format!("{subnet}.{}.{}", i / 256, i % 256));
        }
    }

    fn admit(&mut self, number: usize, sender: Option<&str>) {
        self.now += STEP;
        let id = self.permits[number].as_ref().expect("an open connection").id;
        self.limiter.admit(id, sender.map(SenderId::new).as_ref(), self.now);
    }

    fn set_handling(&mut self, number: usize, handling: bool) {
        self.now += STEP;
        let id = self.permits[number].as_ref().expect("an open connection").id;
        self.limiter.state.lock().table.set_handling(id, handling, self.now);
    }

    /// Completes a request on a connection, verified if it has a sender.
    fn request(&mut self, number: usize, sender: Option<&str>) {
        self.admit(number, sender);
        self.set_handling(number, true);
        self.set_handling(number, false);
    }

    fn member(&mut self, from: &str, sender: &str) -> usize {
        let number = self.connect(from);
        self.request(number, Some(sender));
        number
    }

    /// Returns the numbers of the connections that the limiter has closed or the client has ended.
    fn closed(&self) -> Vec<usize> {
        let state = self.limiter.state.lock();
        let is_open = |permit: &Option<ConnectionPermit>| {
            permit.as_ref().is_some_and(|permit| !state.table.entry(permit.id).is_closed())
        };
        (0..self.permits.len()).filter(|&number| !is_open(&self.permits[number])).collect()
    }

    #[track_caller]
    fn check_closed(&self, expected: impl IntoIterator<Item = usize>, what: &str) {
        assert_eq!(self.closed(), expected.into_iter().collect::<Vec<_>>(), "{what}");
    }
}

fn limits(connections: usize, connections_per_address: usize) -> Limits {
    Limits { connections, connections_per_address, ..Limits::default() }
}

#[test]
fn unknown_clients_leave_the_reserved_slots_free() {
    // Capacity, senders, and the number of connections that unknown clients may hold; loopback gets one more.
    for (capacity, senders, expected) in [
        (32, 0, 31),
        (32, 5, 26),
        (32, 15, 16),
        (32, 16, 15),
        (32, 17, 15),
        (600, 255, 344),
        (600, 257, 343),
        (4, 2, 1),
    ] {
        let what = format!("{capacity} {senders}");
        let mut clients = Clients::new(limits(capacity, 64), senders);
        clients.connect_many("10.0", expected);
        clients.check_closed([], &what);
        clients.connect("127.0.0.1");
        clients.check_closed([], &what);
        clients.connect("10.1.0.1");
        clients.check_closed([0], &what);
        clients.connect("10.1.0.2");
        clients.check_closed([0, 1], &what);
    }
}

#[test]
fn a_listener_with_few_slots_serves_unknown_clients() {
    let mut clients = Clients::new(limits(2, 64), 2);
    clients.connect("192.0.2.1");
    clients.connect("192.0.2.2");
    clients.check_closed([0], "one slot is left for them");
}

#[test]
fn verified_senders_use_the_reserved_slots() {
    let mut clients = Clients::new(limits(8, 64), 3);
    clients.connect_many("10.0", 4);
    // Only the first connection from the address of senders is unknown before its request.
    for (number, name) in [(4, "a"), (5, "b"), (6, "c")] {
        assert_eq!(clients.member("192.0.2.1", name), number);
    }
    clients.check_closed([0], "unknown");
    clients.connect_many("10.1", 8);
    clients.check_closed((0..4).chain(7..11), "the members' connections stay");
}

#[test]
fn the_greediest_owner_loses_its_idlest_connection() {
    let mut clients = Clients::new(limits(8, 64), 0);
    clients.connect_all(&["192.0.2.1", "192.0.2.1", "192.0.2.1"]);
    clients.connect_all(&["192.0.2.2", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
    clients.request(0, None);
    for (from, expected, what) in [
        ("192.0.2.5", vec![1], "the one without a request for longest"),
        ("192.0.2.6", vec![1, 2], "two owners have two"),
        ("192.0.2.7", vec![1, 2, 3], "one owner has two"),
        ("192.0.2.8", vec![1, 2, 3, 4], "each has one: the idlest"),
        ("192.0.2.5", vec![1, 2, 3, 4, 5], "each has one: the idlest"),
        ("192.0.2.9", vec![1, 2, 3, 4, 5, 7], "two of the same address"),
    ] {
        clients.connect(from);
        clients.check_closed(expected, what);
    }
}

#[test]
fn of_one_owner_connections_that_handle_a_request_are_closed_last() {
    let mut clients = Clients::new(limits(6, 64), 0);
    clients.connect_all(&["192.0.2.1"; 5]);
    clients.set_handling(0, true);
    clients.set_handling(1, true);
    clients.set_handling(1, false);
    clients.request(3, None);
    clients.request(2, None);
    for (last, expected) in [(1, vec![4]), (2, vec![1, 4]), (3, vec![1, 3, 4]), (4, vec![1, 2, 3, 4])] {
        clients.connect(&format!("192.0.2.1{last}"));
        clients.check_closed(expected, "the idlest first");
    }
}

#[test]
fn a_sender_keeps_one_connection_however_many_the_others_have() {
    let mut clients = Clients::new(limits(16, 64), 2);
    let modest = clients.member("192.0.2.1", "b");
    for i in 0..14 {
        clients.member(&format!("192.0.2.{}", i + 2), "c");
    }
    clients.check_closed([], "room for all");
    for round in 0..60 {
        let number = clients.connect(&format!("198.51.100.{round}"));
        if round % 2 == 0 {
            clients.request(number, Some("c"));
        }
        if round % 3 == 0 {
            clients.request(number, None);
        }
        assert!(!clients.closed().contains(&modest), "round {round}");
    }
}

#[test]
fn no_client_is_refused_while_an_owner_has_several_connections() {
    let mut clients = Clients::new(limits(5, 64), 4);
    for name in ["a", "b", "c", "a"] {
        clients.member("192.0.2.1", name);
    }
    let new = clients.connect("198.51.100.1");
    clients.check_closed([0], "the idlest of a");
    clients.request(new, Some("d"));
    assert_eq!(clients.try_connect("198.51.100.2"), None, "each of four is the only one of a sender");
    let local = clients.connect("127.0.0.1");
    let next = clients.connect("127.0.0.2");
    clients.check_closed([0, local], "one slot is kept for loopback");
    clients.request(next, Some("e"));
    assert_eq!(clients.try_connect("127.0.0.1"), None, "each of five is the only one of a sender");
    clients.permits[new] = None;
    clients.connect("127.0.0.1");
}

#[test]
fn of_equally_greedy_owners_one_without_standing_loses_a_connection() {
    let mut clients = Clients::new(limits(5, 64), 0);
    clients.member("192.0.2.1", "a");
    clients.member("192.0.2.1", "a");
    clients.connect_all(&["198.51.100.1", "198.51.100.2", "198.51.100.3"]);
    clients.check_closed([2], "a has one besides the one that it keeps");
    clients.member("192.0.2.1", "a");
    clients.check_closed([2, 3], "a has one besides the one that it keeps");
    clients.connect("198.51.100.4");
    clients.check_closed([0, 2, 3], "a has two besides the one that it keeps");
}

#[test]
fn standing_lapses() {
    // The requests on a connection, the time since the last one, and whether the connection has standing.
    let standing = Duration::from_secs(30);
    for (requests, elapsed, expected) in [
        (&[][..], STEP, false),
        (&[Some("a")], STEP, true),
        (&[Some("a")], standing, true),
        (&[Some("a")], standing + STEP, false),
        (&[Some("a"), None], STEP, false),
        (&[Some("a"), None, Some("a")], STEP, true),
        (&[None, Some("b")], STEP, true),
    ] {
        let mut clients = Clients::new(limits(3, 64), 0);
        clients.connect("192.0.2.1");
        for sender in requests {
            clients.admit(0, *sender);
        }
        // The second connection below is the one that evicts.
        clients.now += elapsed.saturating_sub(STEP * 2);
        clients.connect("192.0.2.2");
        clients.connect("192.0.2.3");
        clients.check_closed([usize::from(expected)], &format!("{requests:?} {elapsed:?}"));
    }
}

#[test]
fn a_connection_without_standing_counts_against_its_sender() {
    let mut clients = Clients::new(limits(9, 64), 0);
    for last in 0..4 {
        let number = clients.member(&format!("192.0.2.{last}"), "c");
        clients.request(number, None);
    }
    clients.connect_all(&["198.51.100.1", "198.51.100.1", "198.51.100.1", "198.51.100.3"]);
    clients.connect("198.51.100.4");
    clients.check_closed([0], "four of c, three of an address");
}

#[test]
fn the_address_of_a_sender_is_known_for_ten_minutes() {
    for (elapsed, known) in
        [(STEP, true), (Duration::from_secs(600), true), (Duration::from_secs(600) + STEP, false)]
    {
        let mut clients = Clients::new(limits(8, 64), 0);
        let member = clients.connect("192.0.2.1");
        clients.admit(member, Some("a"));
        clients.now += elapsed.saturating_sub(STEP);
        let number = clients.connect("192.0.2.1");
        let id = clients.permits[number].as_ref().expect("an open connection").id;
        assert_eq!(clients.limiter.state.lock().table.entry(id).client.known, known, "after {elapsed:?}");
    }
}

#[test]
fn connections_of_one_address_are_limited() {
    let mut clients = Clients::new(limits(100, 2), 0);
    clients.connect_all(&["2001:db8::1", "2001:db8::2"]);
    clients.check_closed([], "two");
    clients.connect("2001:db8::3");
    clients.check_closed([0], "the idlest of three");
    clients.request(1, None);
    clients.connect("2001:db8::4");
    clients.check_closed([0, 2], "the idlest of three");
    clients.connect("2001:db8:0:1::1");
    clients.check_closed([0, 2], "another network");
    clients.request(1, Some("a"));
    clients.request(3, Some("b"));
    assert_eq!(clients.try_connect("2001:db8::5"), None, "each is the only one of a sender");
    clients.permits[1] = None;
    clients.connect("2001:db8::5");
}

#[test]
fn loopback_and_trusted_proxies_have_no_limit_per_address() {
    let proxies = vec!["10.0.0.0/8".parse().expect("a range")];
    let mut clients = Clients::new(Limits { trusted_proxies: proxies, ..limits(100, 2) }, 0);
    for from in ["127.0.0.1", "::1", "::ffff:127.0.0.9", "10.1.2.3", "::ffff:10.1.2.3"] {
        clients.connect_all(&[from; 5]);
        clients.check_closed([], from);
    }
}

#[test]
fn threads_that_do_not_end_leave_room_for_loopback() {
    let mut clients = Clients::new(limits(16, 64), 0);
    clients.threads_end = false;
    clients.connect_many("10.0", 17);
    clients.check_closed([0, 1], "two of 16 may be closed while their threads run");
    assert_eq!(clients.try_connect("198.51.100.3"), None);
    clients.connect_all(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    clients.check_closed([0, 1, 2, 3], "four for loopback");
    assert_eq!(clients.try_connect("127.0.0.4"), None);
    clients.permits[0] = None;
    clients.connect("127.0.0.4");
    clients.permits[1] = None;
    clients.permits[2] = None;
    assert_eq!(clients.try_connect("198.51.100.3"), None);
    clients.permits[3] = None;
    clients.connect("198.51.100.3");
}

#[test]
fn all_connections_are_released() {
    let mut clients = Clients::new(limits(16, 3), 4);
    for i in 0..200_usize {
        let Some(number) = clients.try_connect(&format!("192.0.2.{}", i % 7)) else { continue };
        if i % 5 != 0 {
            clients.request(number, (i % 2 == 0).then_some("a"));
        }
        if i % 3 == 0 {
            clients.permits[number / 2] = None;
        }
        assert!(clients.permits.iter().flatten().count() <= 16);
    }
    clients.permits.clear();
    let state = clients.limiter.state.lock();
    let prefix = ClientPrefix::from(IpAddr::from([192, 0, 2, 1]));
    assert_eq!((state.table.len(), state.table.closed()), (0, 0));
    assert_eq!(state.table.occupancy(prefix, clients.now), Occupancy::default());
}
