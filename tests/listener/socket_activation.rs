//! Listening sockets inherited from the service manager or the previous process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use distomon::server::{InheritedSockets, Limits, Listener};

use crate::client::{Client, wait_until};
use crate::echo_server::Echo;

/// Opens a listening socket at a free port of `address`.
fn inherited(address: Ipv4Addr) -> (TcpListener, u16) {
    let socket = TcpListener::bind((address, 0)).expect("a free port");
    let port = socket.local_addr().expect("its address").port();
    (socket, port)
}

fn from_units(socket: TcpListener) -> InheritedSockets {
    InheritedSockets { from_units: vec![socket], ..InheritedSockets::default() }
}

fn from_previous(socket: TcpListener) -> InheritedSockets {
    InheritedSockets { from_previous: vec![socket], ..InheritedSockets::default() }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[test]
fn an_inherited_socket_serves_its_address() {
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        let (socket, port) = inherited(address);
        let listener =
            Listener::bind_with_inherited(from_units(socket), &[loopback(port)], Limits::default())
                .expect("no second socket");
        assert_eq!(listener.addresses(), [SocketAddr::from((address, port))]);
        let server = listener.start(Arc::new(Echo::new())).expect("threads");
        assert_eq!(Client::connect(loopback(port)).get("/a", "").text(), "GET /a");
        server.stop();
    }
}

#[test]
fn addresses_without_an_inherited_socket_are_opened() {
    let (socket, port) = inherited(Ipv4Addr::LOCALHOST);
    // The tests of many clients connect from 127.0.0.2 and .3, and occupy hundreds of ports there.
    let other = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 4), port));
    let free = loopback(0);
    let listener = Listener::bind_with_inherited(from_units(socket), &[other, free], Limits::default())
        .expect("free addresses");
    let [first, second, third] = *listener.addresses() else { panic!("{:?}", listener.addresses()) };
    assert_eq!((first, second), (loopback(port), other));
    assert_ne!(third.port(), port);
    let server = listener.start(Arc::new(Echo::new())).expect("threads");
    for address in [first, second, third] {
        assert_eq!(Client::connect(address).get("/a", "").status, 200);
    }
    server.stop();
}

#[test]
fn connections_between_two_processes_wait_for_the_second() {
    let start = |inherited, address| {
        let listener =
            Listener::bind_with_inherited(inherited, &[address], Limits::default()).expect("an address");
        listener.start(Arc::new(Echo::new())).expect("threads")
    };
    let first = start(InheritedSockets::default(), loopback(0));
    let address = first.addresses()[0];
    let mut before = Client::connect(address);
    assert_eq!(before.get("/a", "").status, 200);
    let [socket] = first.retained_sockets() else { panic!("one address") };
    let socket = socket.try_clone().expect("a descriptor");
    first.stop();
    let mut between = Client::connect(address);
    between.send("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    let second = start(from_previous(socket), address);
    assert_eq!(between.reply().text(), "GET /b");
    second.stop();
    wait_until("the socket is closed", || TcpStream::connect(address).is_err());
}

#[test]
fn a_socket_of_the_previous_process_without_a_configured_address_is_closed() {
    // While open, it also blocks the configured address.
    let (socket, port) = inherited(Ipv4Addr::UNSPECIFIED);
    let listener = Listener::bind_with_inherited(from_previous(socket), &[loopback(port)], Limits::default())
        .expect("free again");
    assert_eq!(listener.addresses(), [loopback(port)]);
}

#[test]
fn sockets_of_units_are_not_retained() {
    let (socket, port) = inherited(Ipv4Addr::LOCALHOST);
    let listener =
        Listener::bind_with_inherited(from_units(socket), &[loopback(port), loopback(0)], Limits::default());
    let server = listener.expect("a free port").start(Arc::new(Echo::new())).expect("threads");
    let [own] = server.retained_sockets() else { panic!("{:?}", server.retained_sockets()) };
    assert_eq!(own.local_addr().ok(), Some(server.addresses()[1]));
}
