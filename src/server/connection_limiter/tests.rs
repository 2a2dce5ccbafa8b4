use std::net::TcpListener;

use super::*;

/// Clients of a limiter under test, whose addresses are made up.
struct Clients {
    listener: TcpListener,
    limiter: Arc<ConnectionLimiter>,
    sockets: Vec<TcpStream>,
    now: Instant,
}

impl Clients {
    fn new(limits: Limits) -> Self {
        let capacity = limits.connections;
        Self {
            listener: TcpListener::bind("127.0.0.1:0").expect("a free port"),
            limiter: Arc::new(ConnectionLimiter::new(limits, capacity)),
            sockets: Vec::new(),
            now: Instant::now(),
        }
    }

    fn connect(&mut self, from: &str) -> Option<ConnectionPermit> {
        let address = self.listener.local_addr().expect("a bound socket");
        self.sockets.push(TcpStream::connect(address).expect("a listener"));
        let (stream, _) = self.listener.accept().expect("a connection");
        self.limiter.try_acquire(stream, from.parse().expect("an address"), self.now).ok()
    }
}

fn limits(connections: usize, connections_per_address: usize) -> Limits {
    Limits { connections, connections_per_address, ..Limits::default() }
}

fn is_closed(permit: &ConnectionPermit) -> bool {
    permit.limiter.state.lock().entries[&permit.id].closed
}

fn closed(permits: &[ConnectionPermit]) -> Vec<bool> {
    permits.iter().map(is_closed).collect()
}

#[test]
fn unknown_clients_get_half_and_the_oldest_is_evicted() {
    let mut clients = Clients::new(limits(32, 64));
    let mut permits: Vec<ConnectionPermit> =
        (0..16).map(|i| clients.connect(&format!("192.0.2.{i}")).expect("room")).collect();
    assert!(!closed(&permits).contains(&true));
    permits.push(clients.connect("192.0.2.100").expect("the oldest is evicted"));
    permits.push(clients.connect("192.0.2.101").expect("the second oldest is evicted"));
    let expected: Vec<bool> = (0..18).map(|i| i < 2).collect();
    assert_eq!(closed(&permits), expected);
}

#[test]
fn verified_connections_stay_and_their_addresses_use_the_reserved_half() {
    let mut clients = Clients::new(limits(8, 64));
    let member = clients.connect("192.0.2.1").expect("room");
    member.mark_verified();
    let mut unknown: Vec<ConnectionPermit> =
        (0..4).map(|i| clients.connect(&format!("198.51.100.{i}")).expect("room")).collect();
    // Three more of the member fit beside the half that unknown clients use.
    let more: Vec<ConnectionPermit> = (0..3).map(|_| clients.connect("192.0.2.1").expect("room")).collect();
    assert!(!closed(&unknown).contains(&true));
    // All eight are in use: the oldest without a verified request is evicted, which is an unknown client.
    let last = clients.connect("192.0.2.1").expect("an unknown client is evicted");
    assert_eq!(closed(&unknown), [true, false, false, false]);
    drop(unknown.remove(0));
    for permit in more.iter().chain([&last]) {
        permit.mark_verified();
    }
    for permit in &unknown {
        permit.mark_verified();
    }
    assert!(clients.connect("203.0.113.1").is_none(), "all eight have a verified request");
    assert!(clients.connect("192.0.2.1").is_none(), "all eight have a verified request");
    assert!(!is_closed(&member));
}

#[test]
fn a_verified_exchange_is_trusted_for_ten_minutes() {
    let mut clients = Clients::new(limits(4, 64));
    clients.connect("192.0.2.1").expect("room").mark_verified();
    let check = |clients: &mut Clients, seconds: u64, recent: bool| {
        clients.now = Instant::now() + Duration::from_secs(seconds);
        let permit = clients.connect("192.0.2.1").expect("room");
        let trust = clients.limiter.state.lock().entries[&permit.id].client.trust;
        assert_eq!(trust == Trust::Recent, recent, "after {seconds} s");
    };
    check(&mut clients, 0, true);
    check(&mut clients, 590, true);
    check(&mut clients, 610, false);
}

#[test]
fn connections_of_one_address_are_limited() {
    let mut clients = Clients::new(limits(100, 2));
    let first = clients.connect("2001:db8::1").expect("room");
    let second = clients.connect("2001:db8::2").expect("room");
    let third = clients.connect("2001:db8::3").expect("the half-open first is evicted");
    assert_eq!([is_closed(&first), is_closed(&second), is_closed(&third)], [true, false, false]);
    for permit in [&second, &third] {
        permit.begin_request();
        permit.finish_request();
    }
    assert!(clients.connect("2001:db8::4").is_none(), "both were answered");
    assert!(clients.connect("2001:db8:0:1::1").is_some(), "another network");
    drop(second);
    assert!(clients.connect("2001:db8::4").is_some(), "a connection was released");
}

#[test]
fn loopback_and_trusted_proxies_have_no_limit_per_address() {
    let proxies = vec!["10.0.0.0/8".parse().expect("a range")];
    let mut clients = Clients::new(Limits { trusted_proxies: proxies, ..limits(100, 2) });
    for from in ["127.0.0.1", "::1", "::ffff:127.0.0.9", "10.1.2.3", "::ffff:10.1.2.3"] {
        let permits: Vec<ConnectionPermit> = (0..5).map(|_| clients.connect(from).expect("room")).collect();
        assert!(!closed(&permits).contains(&true), "{from}");
    }
}

#[test]
fn all_connections_are_released() {
    let mut clients = Clients::new(limits(16, 3));
    let mut permits = Vec::new();
    for i in 0..200_u8 {
        let permit = clients.connect(&format!("192.0.2.{}", i % 7));
        if i % 5 == 0 {
            permit.iter().for_each(ConnectionPermit::mark_verified);
        }
        permits.extend(permit);
        if i % 3 == 0 {
            permits.remove(usize::from(i) % permits.len());
        }
        permits.retain(|permit| !is_closed(permit));
        assert!(permits.len() <= 16);
    }
    drop(permits);
    let state = clients.limiter.state.lock();
    assert!(state.entries.is_empty());
    assert_eq!(state.occupancy(ClientPrefix::from(IpAddr::from([192, 0, 2, 1]))), Occupancy::default());
    assert_eq!(state.closed(), 0);
}
