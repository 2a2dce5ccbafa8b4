//! Sockets that listen already, as a service manager hands them over.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use distomon::server::{InheritedSockets, Limits, Listener};

use crate::client::{Client, wait_until};
use crate::echo::Echo;

/// A socket that listens at a free port of this address.
fn handed(address: Ipv4Addr) -> (TcpListener, u16) {
    let socket = TcpListener::bind((address, 0)).expect("a free port");
    let port = socket.local_addr().expect("its address").port();
    (socket, port)
}

fn units(socket: TcpListener) -> InheritedSockets {
    InheritedSockets { from_units: vec![socket], ..InheritedSockets::default() }
}

fn kept(socket: TcpListener) -> InheritedSockets {
    InheritedSockets { from_previous: vec![socket], ..InheritedSockets::default() }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[test]
fn a_socket_that_was_handed_over_serves_its_address() {
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        let (socket, port) = handed(address);
        let listener = Listener::bind_with_inherited(units(socket), &[at(port)], Limits::default())
            .expect("no second socket");
        assert_eq!(listener.addresses(), [SocketAddr::from((address, port))]);
        let server = listener.start(Arc::new(Echo::new())).expect("threads");
        assert_eq!(Client::connect(at(port)).get("/a", "").text(), "GET /a");
        server.stop();
    }
}

#[test]
fn other_addresses_are_listened_on_as_well() {
    let (socket, port) = handed(Ipv4Addr::LOCALHOST);
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), port));
    let free = at(0);
    let listener = Listener::bind_with_inherited(units(socket), &[other, free], Limits::default())
        .expect("free addresses");
    let [first, second, third] = *listener.addresses() else { panic!("{:?}", listener.addresses()) };
    assert_eq!((first, second), (at(port), other));
    assert_ne!(third.port(), port);
    let server = listener.start(Arc::new(Echo::new())).expect("threads");
    for address in [first, second, third] {
        assert_eq!(Client::connect(address).get("/a", "").status, 200);
    }
    server.stop();
}

#[test]
fn what_comes_between_two_processes_waits() {
    let start = |inherited, address| {
        let listener =
            Listener::bind_with_inherited(inherited, &[address], Limits::default()).expect("an address");
        listener.start(Arc::new(Echo::new())).expect("threads")
    };
    let first = start(InheritedSockets::default(), at(0));
    let address = first.addresses()[0];
    let mut before = Client::connect(address);
    assert_eq!(before.get("/a", "").status, 200);
    let [socket] = first.retained_sockets() else { panic!("one address") };
    let socket = socket.try_clone().expect("a descriptor");
    first.stop();
    let mut between = Client::connect(address);
    between.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    let second = start(kept(socket), address);
    assert_eq!(between.reply().text(), "GET /b");
    second.stop();
    wait_until("nobody listens", || TcpStream::connect(address).is_err());
}

#[test]
fn a_kept_socket_that_is_not_wanted_any_more_is_closed() {
    // It would be in the way, too.
    let (socket, port) = handed(Ipv4Addr::UNSPECIFIED);
    let listener =
        Listener::bind_with_inherited(kept(socket), &[at(port)], Limits::default()).expect("free again");
    assert_eq!(listener.addresses(), [at(port)]);
}

#[test]
fn the_sockets_of_units_are_not_kept() {
    let (socket, port) = handed(Ipv4Addr::LOCALHOST);
    let listener = Listener::bind_with_inherited(units(socket), &[at(port), at(0)], Limits::default());
    let server = listener.expect("a free port").start(Arc::new(Echo::new())).expect("threads");
    let [own] = server.retained_sockets() else { panic!("{:?}", server.retained_sockets()) };
    assert_eq!(own.local_addr().ok(), Some(server.addresses()[1]));
}
