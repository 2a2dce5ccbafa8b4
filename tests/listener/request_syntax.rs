//! The syntax of requests, and their replies.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use distomon::server::Limits;

use crate::client::{Client, TEST_TIMEOUT, wait_until};
use crate::echo_server::Server;

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
fn a_request_sent_byte_by_byte_is_one_request() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    for byte in b"\r\n\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" {
        client.send([*byte]);
    }
    assert_eq!(client.reply().text(), "hello");
    assert_eq!(client.get("/next", "").text(), "GET /next");
}

#[test]
fn bodies_up_to_the_limit_are_read() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    for (fields, length) in [("", 0), ("", 16 * 1024), ("X-Member: a\r\n", 1 << 20)] {
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
    for (fields, length) in [("", "16385"), ("X-Member: a\r\n", "1048577"), ("", "18446744073709551615")] {
        let mut client = Client::connect(server.address());
        client.send(format!("POST /echo HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {length}\r\n\r\n"));
        let reply = client.reply();
        assert_eq!((reply.status, reply.closes()), (413, true), "{length}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert!(client.is_closed());
    }
}

#[test]
fn a_rejected_client_may_continue_to_send_for_a_while() {
    let server = Server::start(Limits { drain_timeout: TEST_TIMEOUT, ..Limits::default() });
    let mut client = Client::connect(server.address());
    let reply = client.send("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n").reply();
    assert_eq!((reply.status, reply.closes()), (401, true));
    for _ in 0..20 {
        // A reset would arrive between two of these and fail the later one.
        client.send([b'x'; 2000]);
        std::thread::sleep(Duration::from_millis(5));
    }
    // The server stops draining after a limit.
    wait_until("the server closes the connection", || client.stream.write_all(&[b'x'; 2000]).is_err());
    // Without a body the connection stays open.
    let mut client = Client::connect(server.address());
    assert_eq!(client.get("/refuse", "").status, 401);
    assert_eq!(client.get("/next", "").status, 200);
}

#[test]
fn expect_continue_is_answered_after_admission() {
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
fn head_and_http_1_0_are_supported() {
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
fn ambiguous_requests_are_rejected() {
    let server = Server::start(Limits::default());
    // Expects one reply with `status` and the end of the connection: the bytes that follow are no request.
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
fn a_head_of_exactly_the_limit_is_accepted() {
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
fn a_panic_ends_only_its_request() {
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
fn requests_per_connection_are_limited() {
    let server = Server::start(Limits { requests: 3, ..Limits::default() });
    let mut client = Client::connect(server.address());
    assert!(!client.get("/1", "").closes());
    assert!(!client.get("/2", "").closes());
    assert!(client.get("/3", "").closes());
    assert!(client.is_closed());
}

#[test]
fn trusted_proxies_name_the_client() {
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
