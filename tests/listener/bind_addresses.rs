//! Addresses to listen on: several, dual-stack, and in use.

use std::net::SocketAddr;
use std::sync::Arc;

use distomon::server::{BindAddress, Limits, Listener};

use crate::client::Client;
use crate::echo_server::{Echo, Server};

#[test]
fn several_addresses_are_served() {
    let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let two = [parse("127.0.0.1:0"), parse("127.0.0.2:0")];
    let listener = Listener::bind(&two, Limits::default()).expect("free ports");
    let handle = listener.start(Arc::new(Echo::new())).expect("a thread");
    for address in handle.addresses() {
        assert_eq!(Client::connect(*address).get("/a", "").status, 200, "{address}");
    }

    let dual = Listener::bind(&[parse("[::]:0")], Limits::default()).expect("a free port");
    let port = dual.addresses()[0].port();
    let handle = dual.start(Arc::new(Echo::new())).expect("a thread");
    let reply = Client::connect(SocketAddr::from(([127, 0, 0, 1], port))).get("/remote", "");
    assert_eq!(reply.text(), "127.0.0.1", "an IPv4 client of a dual-stack socket");
    drop(handle);
}

#[test]
fn ipv4_and_ipv6_share_a_port() {
    // Another test may occupy a port between two binds, so each case tries several ports.
    let bound =
        |text: &str| Listener::bind(&[text.parse::<SocketAddr>().expect("an address")], Limits::default());
    let both = (0..50).find_map(|_| {
        let port = bound("[::]:0").expect("a free port").addresses()[0].port();
        let both = [SocketAddr::from(([0; 4], port)), SocketAddr::from(([0; 8], port))];
        Listener::bind(&both, Limits::default()).ok()
    });
    assert_eq!(both.expect("a port").addresses().len(), 1, "[::] serves both");

    let only = BindAddress { address: SocketAddr::from(([0; 8], 0)), v6_only: true };
    if Listener::bind(&[only], Limits::default()).is_err() {
        return; // A host without IPv6.
    }
    let beside = (0..50).find_map(|_| {
        let only = Listener::bind(&[only], Limits::default()).ok()?;
        let beside = bound(&format!("0.0.0.0:{}", only.addresses()[0].port())).ok()?;
        Some((only, beside))
    });
    assert!(beside.is_some(), "an IPv6-only socket leaves IPv4 free");
}

#[test]
fn the_error_names_the_address_in_use() {
    let server = Server::start(Limits::default());
    let error =
        Listener::bind(&[server.address()], Limits::default()).map(|_| ()).expect_err("a port in use");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
}
