//! The end, and the heartbeat.

use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crossbeam_channel::bounded;
use distomon::server::{Limits, ListenerHandle};

use crate::client::{Client, PATIENCE, wait_until};
use crate::echo::Server;

/// Stops in a thread of its own; the receiver tells when that is done.
fn stop(handle: ListenerHandle) -> crossbeam_channel::Receiver<()> {
    let (done, receiver) = bounded(1);
    thread::spawn(move || {
        handle.stop();
        let _ = done.send(());
    });
    receiver
}

#[test]
fn a_reply_under_way_is_finished() {
    let server = Server::start(Limits { stop_timeout: PATIENCE, ..Limits::default() });
    let address = server.address();
    let mut waiting = Client::connect(address);
    waiting.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut sending = Client::connect(address);
    sending.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nha");
    for _ in 0..2 {
        server.echo.admitted.recv_timeout(PATIENCE).expect("a request that is admitted");
    }
    let mut idle = Client::connect(address);
    assert_eq!(idle.get("/a", "").status, 200);
    let mut halfway = Client::connect(address);
    halfway.send("GET /a HT");

    let stopped = stop(server.handle);
    assert!(idle.is_closed() && halfway.is_closed());
    wait_until("nobody is let in", || TcpStream::connect(address).is_err());
    assert!(stopped.try_recv().is_err(), "two requests are under way");
    sending.send("lf");
    let reply = sending.reply();
    assert_eq!((reply.text(), reply.closes()), ("half", true));
    server.echo.release.send(()).expect("a handler that waits");
    let reply = waiting.reply();
    assert_eq!((reply.text(), reply.closes()), ("waited", true));
    stopped.recv_timeout(PATIENCE).expect("the end");
}

#[test]
fn who_has_just_connected_is_still_answered() {
    let server = Server::start(Limits {
        stop_timeout: 2 * PATIENCE,
        first_request_timeout: PATIENCE,
        ..Limits::default()
    });
    let address = server.address();
    let mut idle = Client::connect(address);
    assert_eq!(idle.get("/a", "").status, 200);
    let mut fresh = Client::connect(address);
    // Connections are taken in their order: this answer means that the fresh one is in.
    assert_eq!(Client::connect(address).get("/a", "").status, 200);
    let stopped = stop(server.handle);
    assert!(idle.is_closed());
    fresh.send("GET /fresh HTTP/1.1\r\nHost: h\r\n\r\n");
    let reply = fresh.reply();
    assert_eq!((reply.text(), reply.closes()), ("GET /fresh", true));
    stopped.recv_timeout(PATIENCE).expect("the end");
}

#[test]
fn a_handler_that_hangs_does_not_hold_the_stop() {
    let server = Server::start(Limits { stop_timeout: Duration::from_millis(200), ..Limits::default() });
    let mut client = Client::connect(server.address());
    client.send("GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
    server.echo.admitted.recv_timeout(PATIENCE).expect("a request that is admitted");
    stop(server.handle).recv_timeout(PATIENCE).expect("the end");
    assert!(client.is_closed());
    server.echo.release.send(()).expect("a handler that waits");
}

#[test]
fn a_stopped_listener_leaves_its_port() {
    let server = Server::start(Limits::default());
    let address = server.address();
    let mut client = Client::connect(address);
    assert_eq!(client.get("/a", "").status, 200);
    drop(server);
    assert!(client.is_closed());
    distomon::server::Listener::bind(&[address], Limits::default()).expect("the port is free again");
}

#[test]
fn the_heart_beats_without_connections() {
    let server = Server::start(Limits::default());
    let heart = server.handle.heartbeat();
    let first = heart.last_ms();
    wait_until("two beats", || heart.last_ms() > first + 1000);
    assert!(heart.age() < PATIENCE);
}
