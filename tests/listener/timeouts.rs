//! Timeouts and limits of a client. The times are shortened; no test measures a time, each waits for an event.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use distomon::server::Limits;

use crate::client::{Client, TEST_TIMEOUT, wait_until};
use crate::echo_server::Server;

const SHORT: Duration = Duration::from_millis(300);

/// Sends one byte at a time until the server closes the connection; returns the bytes it sent.
fn send_slowly(client: &mut Client, bytes: impl Iterator<Item = u8>) -> Vec<u8> {
    client.stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
    let deadline = Instant::now() + TEST_TIMEOUT;
    let mut received = Vec::new();
    for byte in bytes {
        assert!(Instant::now() < deadline, "the server never closed the connection");
        if client.stream.write_all(&[byte]).is_err() {
            break;
        }
        let mut buffer = [0; 1024];
        match client.stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => received.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    received
}

#[test]
fn a_slow_head_times_out() {
    let server = Server::start(Limits { head_timeout: SHORT, ..Limits::default() });
    let endless = || b"GET / HTTP/1.1\r\nHost: h\r\nA: ".iter().copied().chain(std::iter::repeat(b'x'));
    let mut client = Client::connect(server.address());
    assert!(send_slowly(&mut client, endless()).starts_with(b"HTTP/1.1 408 "));
    // The same for a later request of a connection, and for endless empty lines.
    for empty_lines in [false, true] {
        let mut client = Client::connect(server.address());
        assert_eq!(client.get("/a", "").status, 200);
        if empty_lines {
            send_slowly(&mut client, b"\r\n".iter().copied().cycle());
        } else {
            assert!(send_slowly(&mut client, endless()).starts_with(b"HTTP/1.1 408 "));
        }
    }
}

#[test]
fn a_silent_connection_times_out() {
    let server = Server::start(Limits { head_timeout: SHORT, ..Limits::default() });
    assert!(Client::connect(server.address()).is_closed());
}

#[test]
fn idle_timeout_and_head_timeout_are_separate() {
    let server =
        Server::start(Limits { idle_timeout: SHORT, head_timeout: TEST_TIMEOUT * 2, ..Limits::default() });
    let mut client = Client::connect(server.address());
    assert_eq!(client.get("/a", "").status, 200);
    assert!(client.is_closed());

    let server =
        Server::start(Limits { idle_timeout: TEST_TIMEOUT * 2, head_timeout: SHORT, ..Limits::default() });
    let mut client = Client::connect(server.address());
    assert_eq!(client.get("/a", "").status, 200);
    std::thread::sleep(SHORT * 2);
    assert_eq!(client.get("/b", "").status, 200);
}

#[test]
fn a_missing_or_slow_body_times_out() {
    let server = Server::start(Limits { body_timeout: SHORT, ..Limits::default() });
    let head = "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 16000\r\n\r\n";
    let mut client = Client::connect(server.address());
    let reply = client.send(head).reply();
    assert_eq!((reply.status, reply.closes()), (408, true));
    assert!(client.is_closed());

    let mut client = Client::connect(server.address());
    client.send(head);
    assert!(send_slowly(&mut client, std::iter::repeat(b'x')).starts_with(b"HTTP/1.1 408 "));
}

#[test]
fn a_truncated_body_is_no_request() {
    let server = Server::start(Limits::default());
    let mut client = Client::connect(server.address());
    client.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    client.stream.shutdown(std::net::Shutdown::Write).expect("a connection");
    assert!(client.is_closed());
}

#[test]
fn a_client_that_never_reads_is_reset() {
    let server = Server::start(Limits { reply_timeout: SHORT, ..Limits::default() });
    let mut client = Client::connect(server.address());
    client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    let open = &server.echo.open_bodies;
    wait_until("the reply begins", || open.load(Ordering::SeqCst) == 1);
    wait_until("the reply is aborted", || open.load(Ordering::SeqCst) == 0);
    // A truncated reply must not look like a complete one.
    let mut sink = vec![0; 256 * 1024];
    let end = std::iter::repeat_with(|| client.stream.read(&mut sink)).find(|read| !matches!(read, Ok(1..)));
    assert!(matches!(end, Some(Err(error)) if error.kind() == ErrorKind::ConnectionReset));
}

#[test]
fn a_client_that_reads_slowly_is_cut_off() {
    let server = Server::start(Limits { reply_timeout: SHORT, ..Limits::default() });
    let mut client = Client::connect(server.address());
    client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    let open = &server.echo.open_bodies;
    wait_until("the reply begins", || open.load(Ordering::SeqCst) == 1);
    // Fast enough that no single write times out.
    let mut sink = vec![0; 256 * 1024];
    wait_until("the reply is aborted", || {
        let _ = client.stream.read(&mut sink);
        open.load(Ordering::SeqCst) == 0
    });
}

#[test]
fn a_header_line_of_100_mb_allocates_no_memory() {
    let server = Server::start(Limits::default());
    let before = resident_kb();
    let mut client = Client::connect(server.address());
    client.send("GET / HTTP/1.1\r\nHost: h\r\nA: ");
    let chunk = vec![b'x'; 64 * 1024];
    let mut sent = 0_usize;
    while sent < 100 << 20 && client.stream.write_all(&chunk).is_ok() {
        sent += chunk.len();
    }
    // Only the socket buffers could accept bytes.
    assert!(sent < 32 << 20, "{sent} bytes were sent");
    if let Ok(reply) = client.try_reply(true) {
        assert_eq!((reply.status, reply.closes()), (431, true));
    }
    assert_eq!(Client::connect(server.address()).get("/a", "").status, 200);
    let grown = resident_kb().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} kB");
}

/// Returns the resident memory of this process in kB, that of concurrent tests included.
fn resident_kb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4
}
