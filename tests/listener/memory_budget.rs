//! The memory of request bodies and replies: in total, and for each sender or address.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use distomon::server::Limits;

use crate::client::{Client, TEST_TIMEOUT};
use crate::echo_server::{REPLY_BYTES, Server};

const KIB: usize = 1024;

/// A server with a budget of 128 KiB and shares of 64 KiB.
fn server() -> Server {
    Server::start(Limits {
        body_bytes: 128 * KIB,
        bytes_per_owner: 64 * KIB,
        body_timeout: TEST_TIMEOUT * 4,
        ..Limits::default()
    })
}

/// Creates a request with a body of `length` bytes.
fn request(fields: &str, length: usize) -> Vec<u8> {
    let head = format!("POST /echo HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), &vec![b'x'; length]].concat()
}

/// Sends the head of a request with a body of 16 KiB, and waits until the server has reserved memory for it.
fn send_unfinished(server: &Server, sender: &str) -> Client {
    let mut client = Client::connect(server.address());
    client.send(format!(
        "POST /echo HTTP/1.1\r\nHost: h\r\nX-Member: {sender}\r\nExpect: 100-continue\r\n\
         Content-Length: 16384\r\n\r\n"
    ));
    assert_eq!(client.reply().status, 100);
    client
}

/// Returns the status of the reply to a complete request.
fn status(server: &Server, fields: &str, length: usize) -> u16 {
    let mut client = Client::connect(server.address());
    // The server may reject the request before it has read all of it.
    let _ = client.stream.write_all(&request(fields, length));
    match client.try_reply(true) {
        Ok(reply) => {
            if reply.status == 429 {
                assert!(reply.closes() && reply.header("retry-after").is_some(), "{}", reply.head);
            }
            reply.status
        }
        Err(error) if error.kind() == ErrorKind::ConnectionReset => 429,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_bodies_of_one_sender_are_limited() {
    let server = server();
    let unfinished: Vec<_> = (0..3).map(|_| send_unfinished(&server, "c")).collect();
    assert_eq!(status(&server, "X-Member: c\r\n", 16 * KIB), 200, "the rest of the share");
    assert_eq!(status(&server, "X-Member: c\r\n", 16 * KIB + 1), 429, "more than the rest");
    assert_eq!(status(&server, "X-Member: b\r\n", 64 * KIB), 200, "the share of another sender");
    assert_eq!(status(&server, "X-Member: b\r\n", 64 * KIB + 1), 429, "more than a share");
    assert_eq!(status(&server, "", 16 * KIB), 200, "the share of an address");
    for mut client in unfinished {
        assert_eq!(client.send([b'x'; 16 * KIB]).reply().status, 200);
    }
    assert_eq!(status(&server, "X-Member: c\r\n", 64 * KIB), 200, "the whole share");
}

#[test]
fn memory_grows_with_the_received_bytes() {
    let server = server();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(server.address());
        client.send("POST /echo HTTP/1.1\r\nHost: h\r\nX-Member: c\r\nContent-Length: 65536\r\n\r\nx");
        server.echo.admitted.recv_timeout(TEST_TIMEOUT).expect("a request");
        clients.push(client);
    }
    // One buffer of the smallest size is left.
    drop(send_unfinished(&server, "c"));
}

#[test]
fn a_full_budget_leaves_small_requests_served() {
    let server = server();
    let mut unfinished: Vec<_> =
        ["c", "d"].repeat(4).into_iter().map(|name| send_unfinished(&server, name)).collect();
    assert_eq!(status(&server, "X-Member: b\r\n", 16 * KIB), 200);
    assert_eq!(status(&server, "X-Member: b\r\n", 16 * KIB + 1), 429);
    assert_eq!(status(&server, "", 16 * KIB), 200);
    assert_eq!(status(&server, "X-Member: c\r\n", 1), 429, "a sender that uses its share");
    assert_eq!(unfinished[0].send([b'x'; 16 * KIB]).reply().status, 200);
    assert_eq!(
        status(&server, "X-Member: b\r\n", 16 * KIB + 1),
        429,
        "16 KiB are free, but one body needs more"
    );
    assert_eq!(unfinished[1].send([b'x'; 16 * KIB]).reply().status, 200);
    assert_eq!(status(&server, "X-Member: b\r\n", 32 * KIB), 200);
}

#[test]
fn a_body_takes_exactly_its_length() {
    let server = server();
    for length in [1, 16 * KIB, 16 * KIB + 1, 40 * KIB, 64 * KIB] {
        let mut client = Client::connect(server.address());
        client.send(format!(
            "POST /capacity HTTP/1.1\r\nHost: h\r\nX-Member: c\r\nContent-Length: {length}\r\n\r\n"
        ));
        client.send(vec![b'x'; length]);
        assert_eq!(client.reply().text(), format!("{length} {length}"));
    }
}

/// Requests `/reply` and reads the start of the reply. Returns the connection and the status.
fn begin_reply(server: &Server, fields: &str) -> (Client, String) {
    let mut client = Client::connect(server.address());
    client.send(format!("GET /reply HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
    let mut start = [0; 12];
    client.stream.read_exact(&mut start).expect("a reply");
    (client, String::from_utf8_lossy(&start[9..]).into_owned())
}

#[test]
fn unread_replies_of_one_sender_are_limited() {
    for (share, served) in [(2 * REPLY_BYTES, 2), (2 * REPLY_BYTES - 1, 1)] {
        let server = Server::start(Limits {
            // Replies do not count against the total.
            body_bytes: 128 * KIB,
            bytes_per_owner: share,
            reply_timeout: TEST_TIMEOUT * 4,
            ..Limits::default()
        });
        let unread: Vec<_> = (0..served).map(|_| begin_reply(&server, "X-Member: c\r\n")).collect();
        assert!(unread.iter().all(|(_, status)| status == "200"));
        let (mut rejected, status) = begin_reply(&server, "X-Member: c\r\n");
        assert_eq!(status, "429", "share {share}");
        let mut rest = String::new();
        rejected.stream.shutdown(Shutdown::Write).expect("a connection");
        rejected.stream.read_to_string(&mut rest).expect("a reply");
        assert!(rest.to_lowercase().contains("\r\nretry-after: "), "{rest}");
        assert_eq!(begin_reply(&server, "X-Member: b\r\n").1, "200", "the share of another sender");
        assert_eq!(begin_reply(&server, "").1, "200", "a reply to no sender");
        drop(unread);
        let deadline = Instant::now() + TEST_TIMEOUT;
        while begin_reply(&server, "X-Member: c\r\n").1 != "200" {
            assert!(Instant::now() < deadline, "the memory of a reply was not released");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
