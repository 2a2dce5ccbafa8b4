//! The stop of the listener, and its heartbeat.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use distomon::server::{Limits, ListenerHandle};

use crate::client::{Client, TEST_TIMEOUT, wait_until};
use crate::echo_server::Server;

/// Stops the listener in a separate thread; the receiver gets a message when that is done.
fn stop(handle: ListenerHandle) -> crossbeam_channel::Receiver<()> {
    let (done, receiver) = bounded(1);
    thread::spawn(move || {
        handle.stop();
        let _ = done.send(());
    });
    receiver
}

#[test]
fn requests_in_progress_are_finished() {
    let server = Server::start(Limits { stop_timeout: TEST_TIMEOUT, ..Limits::default() });
    let address = server.address();
    let mut waiting = Client::connect(address);
    waiting.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut sending = Client::connect(address);
    sending.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nha");
    for _ in 0..2 {
        server.echo.admitted.recv_timeout(TEST_TIMEOUT).expect("a request that is admitted");
    }
    let mut idle = Client::connect(address);
    assert_eq!(idle.get("/a", "").status, 200);
    let mut halfway = Client::connect(address);
    halfway.send("GET /a HT");

    let stopped = stop(server.handle);
    assert!(idle.is_closed() && halfway.is_closed());
    wait_until("connections are refused", || TcpStream::connect(address).is_err());
    assert!(stopped.try_recv().is_err(), "two requests are in progress");
    sending.send("lf");
    let reply = sending.reply();
    assert_eq!((reply.text(), reply.closes()), ("half", true));
    server.echo.release.send(()).expect("a handler that waits");
    let reply = waiting.reply();
    assert_eq!((reply.text(), reply.closes()), ("waited", true));
    stopped.recv_timeout(TEST_TIMEOUT).expect("the end");
}

#[test]
fn a_new_connection_is_still_answered() {
    let server = Server::start(Limits {
        stop_timeout: 2 * TEST_TIMEOUT,
        first_request_timeout: TEST_TIMEOUT,
        ..Limits::default()
    });
    let address = server.address();
    let mut idle = Client::connect(address);
    assert_eq!(idle.get("/a", "").status, 200);
    let mut fresh = Client::connect(address);
    // Connections are accepted in order: after this reply the fresh one is accepted as well.
    assert_eq!(Client::connect(address).get("/a", "").status, 200);
    let stopped = stop(server.handle);
    assert!(idle.is_closed());
    fresh.send("GET /fresh HTTP/1.1\r\nHost: h\r\n\r\n");
    let reply = fresh.reply();
    assert_eq!((reply.text(), reply.closes()), ("GET /fresh", true));
    stopped.recv_timeout(TEST_TIMEOUT).expect("the end");
}

#[test]
fn a_hanging_handler_does_not_delay_the_stop() {
    let server = Server::start(Limits { stop_timeout: Duration::from_millis(200), ..Limits::default() });
    let mut client = Client::connect(server.address());
    client.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    server.echo.admitted.recv_timeout(TEST_TIMEOUT).expect("a request that is admitted");
    stop(server.handle).recv_timeout(TEST_TIMEOUT).expect("the end");
    assert!(client.is_closed());
    server.echo.release.send(()).expect("a handler that waits");
}

#[test]
fn a_stopped_listener_releases_its_port() {
    let server = Server::start(Limits::default());
    let address = server.address();
    let mut client = Client::connect(address);
    assert_eq!(client.get("/a", "").status, 200);
    drop(server);
    assert!(client.is_closed());
    distomon::server::Listener::bind(&[address], Limits::default()).expect("the port to be free again");
}

#[test]
fn the_heartbeat_continues_without_connections() {
    let server = Server::start(Limits::default());
    let heartbeat = server.handle.heartbeat();
    let first = heartbeat.last_ms();
    wait_until("the loop has beaten twice", || heartbeat.last_ms() > first + 1000);
    assert!(heartbeat.age() < TEST_TIMEOUT);
}
