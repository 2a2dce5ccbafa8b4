//! What a request may look like, and what its reply looks like.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use distomon::server::{BindAddress, Limits, Listener};

use crate::client::{Client, PATIENCE, wait_until};
use crate::echo::{Echo, Server};

const SECOND: &str = "GET /second HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn requests_share_a_connection() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    for path in ["/a", "/b?x=1", "/c"] {
        let reply = client.get(path, "");
        assert_eq!(reply.status, 200);
        assert_eq!(reply.text(), format!("GET {}", &path[..2]));
        assert!(reply.header("date").is_some_and(|date| date.ends_with(" GMT")));
        assert!(!reply.closes());
    }
    let reply = client.get("/d", "Connection: close\r\n");
    assert!(reply.closes() && client.is_closed());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    let mut bytes = String::new();
    for i in 0..200 {
        write!(bytes, "GET /{i} HTTP/1.1\r\nHost: h\r\n\r\n").expect("memory");
        write!(bytes, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n{i:03}\r\n")
            .expect("memory");
    }
    client.send(bytes);
    for i in 0..200 {
        assert_eq!(client.reply().text(), format!("GET /{i}"));
        assert_eq!(client.reply().text(), format!("{i:03}"));
    }
}

#[test]
fn a_request_in_crumbs_is_one_request() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    for byte in b"\r\n\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" {
        client.send([*byte]);
    }
    assert_eq!(client.reply().text(), "hello");
    assert_eq!(client.get("/next", "").text(), "GET /next");
}

#[test]
fn bodies_up_to_the_limit() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    for (fields, length) in [("", 0), ("", 16 * 1024), ("X-Member: yes\r\n", 1 << 20)] {
        let body = vec![b'x'; length];
        client.send(format!("POST /echo HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {length}\r\n\r\n"));
        client.send(&body);
        let reply = client.reply();
        assert_eq!((reply.status, reply.body == body), (200, true), "{length}");
    }
}

#[test]
fn a_larger_body_is_not_read() {
    let server = Server::start(Limits::default());
    for (fields, length) in [("", "16385"), ("X-Member: yes\r\n", "1048577"), ("", "18446744073709551615")] {
        let mut client = Client::connect(server.address());
        client.send(format!("POST /echo HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {length}\r\n\r\n"));
        let reply = client.reply();
        assert_eq!((reply.status, reply.closes()), (413, true), "{length}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert!(client.is_closed());
    }
}

#[test]
fn a_refused_client_may_send_on_for_a_while() {
    let server = Server::start(Limits { drain_timeout: PATIENCE, ..Limits::default() });
    let mut client = Client::connect(server.address());
    let reply = client.send("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").reply();
    assert_eq!((reply.status, reply.closes()), (401, true));
    for _ in 0..20 {
        // A reset would arrive between two of these and fail the later one.
        client.send([b'x'; 2000]);
        std::thread::sleep(Duration::from_millis(5));
    }
    // But not for ever.
    wait_until("the server has enough", || client.stream.write_all(&[b'x'; 2000]).is_err());
    // Where no body follows, there is no need to close.
    let mut client = Client::connect(server.address());
    assert_eq!(client.get("/refuse", "").status, 401);
    assert_eq!(client.get("/next", "").status, 200);
}

#[test]
fn expect_continue_is_answered_once_admitted() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    let head = |path, length| {
        format!("POST {path} HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
    };
    client.send(head("/echo", 2));
    assert_eq!(client.reply().status, 100);
    client.send("hi");
    assert_eq!(client.reply().text(), "hi");
    for (path, length, status) in [("/refuse", 2, 401), ("/echo", 20_000, 413)] {
        let mut client = Client::connect(server.address());
        client.send(head(path, length));
        assert_eq!(client.reply().status, status, "{path}");
    }
}

#[test]
fn head_and_http_1_0() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    client.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    let reply = client.reply_without_body();
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("7")));
    assert_eq!(client.get("/b", "").text(), "GET /b");

    let mut old = Client::connect(server.address());
    let reply = old.send("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reply();
    assert_eq!((reply.text(), reply.closes(), old.is_closed()), ("GET /a", true, true));
}

#[test]
fn a_body_of_unknown_length_ends_with_the_connection() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    let reply = client.get("/unknown-length", "");
    assert_eq!((reply.text(), reply.closes(), reply.header("content-length")), ("no length", true, None));
}

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    let server = Server::start(Limits::default());
    // `status`, one reply only, and the end of the connection: what follows is never a request.
    let check = |request: &str, status: u16| {
        let mut client = Client::connect(server.address());
        client.send(request).send(SECOND);
        let reply = client.reply();
        assert_eq!((reply.status, reply.closes()), (status, true), "{request:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{request:?}");
        assert_eq!(client.rest(), b"", "{request:?}");
    };
    let post = |fields: &str| format!("POST /echo HTTP/1.1\r\nHost: h\r\n{fields}\r\n0\r\n\r\n");
    check(&post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400);
    check(&post("Content-Length: 5\r\nContent-Length: 0\r\n"), 400);
    check(&post("Content-Length: 5, 5\r\n"), 400);
    check(&post("Content-Length: +5\r\n"), 400);
    check(&post("Transfer-Encoding: chunked\r\n"), 400);
    check(&post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400);
    check(&post("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n"), 400);
    check(&post("Content-Length: 5\r\nTransfer-Encoding : chunked\r\n"), 400);
    check(&post("Content-Length: 5\r\nX: a\r\n Transfer-Encoding: chunked\r\n"), 400);
    check(&post("Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked\r\n"), 400);
    check(&post("Content-Length: 5\r\nX: a\rb\r\n"), 400);
    check(&post(""), 411);
    check("GET /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400);
    check("HEAD /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400);
    check("GET / HTTP/1.1\r\n\r\n", 400);
    check("GET / HTTP/1.1\nHost: h\n\n", 400);
    check("GET / HTTP/1.1\r\nHost: h\r\nA: b\n\r\n", 400);
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    check("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400);
    check("GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505);
    check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    check("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}", 400);
    check("garbage\r\n\r\n", 400);
    check(&format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(64)), 431);
    check(&format!("GET / HTTP/1.1\r\nHost: h\r\nA: {}\r\n\r\n", "x".repeat(16 * 1024)), 431);
    check(&format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(16 * 1024)), 414);
}

#[test]
fn a_head_of_just_the_limit_is_taken() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    let start = "GET /a HTTP/1.1\r\nHost: h\r\nA: ";
    for excess in [0, 1] {
        let fill = "x".repeat(16 * 1024 - start.len() - 4 + excess);
        client.send(format!("{start}{fill}\r\n\r\n"));
        assert_eq!(client.reply().status, if excess == 0 { 200 } else { 431 });
    }
}

#[test]
fn a_panic_is_the_end_of_its_request_only() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    for path in ["/panic", "/panic-admit", "/panic-body"] {
        let reply = client.get(path, "");
        assert_eq!(reply.status, 500, "{path}");
        assert!(!reply.text().contains("as asked"), "{path}");
    }
    assert_eq!(client.get("/next", "").text(), "GET /next");
}

#[test]
fn a_connection_has_so_many_requests() {
    let server = Server::start(Limits { requests: 3, ..Limits::default() });
    let mut client = Client::connect(server.address());
    assert!(!client.get("/1", "").closes());
    assert!(!client.get("/2", "").closes());
    assert!(client.get("/3", "").closes());
    assert!(client.is_closed());
}

#[test]
fn clients_of_trusted_proxies() {
    let check = |trusted: &[&str], forwarded: &str, expected: &str| {
        let trusted_proxies = trusted.iter().map(|range| range.parse().expect("a range")).collect();
        let server = Server::start(Limits { trusted_proxies, ..Limits::default() });
        let reply = Client::connect(server.address()).get("/remote", forwarded);
        assert_eq!(reply.text(), expected, "{trusted:?} {forwarded:?}");
    };
    check(&[], "X-Forwarded-For: 192.0.2.1\r\n", "127.0.0.1");
    check(&["127.0.0.1"], "", "127.0.0.1");
    check(&["127.0.0.1"], "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1");
    check(
        &["127.0.0.0/8"],
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.1, 127.0.0.2\r\n",
        "192.0.2.1",
    );
}

#[test]
fn several_addresses() {
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
fn ipv4_beside_ipv6() {
    // Another test may take a port between two binds, so each is tried with several ports.
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
    assert!(beside.is_some(), "IPv4 is left alone");
}

#[test]
fn a_taken_port_is_named() {
    let server = Server::start(Limits::default());
    let error = Listener::bind(&[server.address()], Limits::default()).map(|_| ()).expect_err("a taken port");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
}
