//! Rogue peers: a server of the test at the address of a member, with or without that member's key.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use distomon::crypto::http_signature::{self, SignatureParams, SignedRequest};
use distomon::crypto::{self, Keypair};
use distomon::store::clock::wall_us;
use serde_json::json;

use crate::host::free_address;
use crate::network::Network;

/// A received request.
struct ReceivedRequest {
    head: String,
    path: String,
}

impl ReceivedRequest {
    fn field(&self, name: &str) -> String {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(String::new(), |(_, value)| value.to_owned())
    }

    /// Creates a reply to this request, signed by `key` as `keyid`.
    fn reply(&self, key: &Keypair, keyid: &str, status: u16, body: &str) -> Vec<u8> {
        let digest = crypto::content_digest(body.as_bytes());
        let (input, signature) = (self.field("signature-input"), self.field("signature"));
        let content_digest = self.field("content-digest");
        let context = SignedRequest {
            path: &self.path,
            content_digest: &content_digest,
            signature_input: &input,
            signature: &signature,
        };
        let nonce = input.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce");
        let nonce = nonce.parse().expect("a nonce");
        let created_s = wall_us() / 1_000_000;
        let params = SignatureParams { keyid, created_s, nonce };
        let head = http_signature::sign_reply(key, &params, status, &digest, &context);
        let head = head.expect("a signed request");
        format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Digest: {digest}\r\n\
             Signature-Input: {}\r\nSignature: {}\r\nContent-Length: {}\r\n\r\n{body}",
            head.signature_input,
            head.signature,
            body.len()
        )
        .into_bytes()
    }
}

/// Returns a valid body of a reply.
fn valid_body(from: &str) -> String {
    json!({"v": 2, "from": from, "now": wall_us() / 1000, "took_us": 1, "heads": {}, "reports": []})
        .to_string()
}

/// A server that stops when it is dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Starts a server that passes each complete request to `answer`.
    fn start(answer: impl Fn(&ReceivedRequest, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).expect("a free address");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, answer) = (stop.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let (mut stream, answer) = (stream.expect("a connection"), answer.clone());
                std::thread::spawn(move || {
                    if let Some(request) = read(&mut stream) {
                        answer(&request, &mut stream);
                    }
                });
            }
        });
        Self { address, stop }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Reads one request to its end.
fn read(stream: &mut TcpStream) -> Option<ReceivedRequest> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let request = ReceivedRequest { head: head.to_owned(), path: head.split(' ').nth(1)?.to_owned() };
        if body.len() >= request.field("content-length").parse().ok()? {
            return Some(request);
        }
    }
}

/// Runs node `a` with a rogue peer in place of `b`, and waits until it reports `status` with `error` of it. The real
/// node `c` stays online.
fn check(
    what: &str,
    status: &str,
    error: &str,
    answer: impl Fn(&Keypair, &ReceivedRequest, &mut TcpStream) + Send + Sync + 'static,
) -> Network {
    let mut network = Network::new(&["a", "b", "c"]);
    let key = network.host("b").keypair.clone();
    let server = Server::start(move |request, stream| answer(&key, request, stream));
    network.host_mut("b").address = server.address;
    network.write_configs();
    network.host_mut("a").start();
    network.host_mut("c").start();
    crate::wait::wait(&format!("{what}: {status}, {error}"), || {
        let reports = network.watcher.reports(network.host("a"))?;
        let observation = reports.get("a")?.observation("b")?;
        let found_error = observation.error.map_or("", |error| error.as_str());
        (observation.status.as_str() == status && found_error == error).then_some(())
    });
    network.wait_reported("a", "a", "c", "online");
    drop(server);
    network
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

#[test]
fn a_peer_with_valid_replies_is_online() {
    check("valid replies", "online", "", |key, request, stream| {
        send(stream, &request.reply(key, "b", 200, &valid_body("b")));
    });
}

#[test]
fn replies_of_another_node_are_offline() {
    check("another key under the right name", "offline", "bad-signature", |_, request, stream| {
        let other_key = Keypair::generate().expect("randomness");
        send(stream, &request.reply(&other_key, "b", 200, &valid_body("b")));
    });
    check("another node", "offline", "wrong-node", |_, request, stream| {
        let other_key = Keypair::generate().expect("randomness");
        send(stream, &request.reply(&other_key, "c", 200, &valid_body("c")));
    });
    check("another node in the body", "offline", "wrong-node", |key, request, stream| {
        send(stream, &request.reply(key, "b", 200, &valid_body("c")));
    });
}

#[test]
fn unsigned_replayed_and_altered_replies_are_offline() {
    check("no signature", "offline", "bad-signature", |_, _, stream| {
        send(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    });
    let first = std::sync::OnceLock::new();
    check("the reply to another request", "offline", "bad-signature", move |key, request, stream| {
        let reply = first.get_or_init(|| request.reply(key, "b", 200, &valid_body("b")));
        // The first reply is valid, and then replayed.
        send(stream, reply);
    });
    check("another body", "offline", "bad-signature", |key, request, stream| {
        let reply = String::from_utf8(request.reply(key, "b", 200, &valid_body("b"))).expect("text");
        send(stream, reply.replace("\"took_us\":1", "\"took_us\":2").as_bytes());
    });
    check("signed garbage", "offline", "bad-reply", |key, request, stream| {
        send(stream, &request.reply(key, "b", 200, "garbage"));
    });
}

#[test]
fn a_peer_with_signed_rejections_is_unknown_and_with_unsigned_ones_offline() {
    for (status, error) in [(409, "replayed"), (421, "misdirected"), (400, "rejected"), (500, "rejected")] {
        check(&format!("a signed {status}"), "unknown", error, move |key, request, stream| {
            send(stream, &request.reply(key, "b", status, "{}"));
        });
    }
    check("an unsigned 403", "offline", "http-status", |_, _, stream| {
        send(stream, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    check("a redirect", "offline", "http-status", |_, _, stream| {
        send(stream, b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    });
}

#[test]
fn a_peer_without_http_is_offline() {
    check("garbage", "offline", "bad-reply", |_, _, stream| {
        send(stream, b"220 smtp\r\nx: y\r\nready\r\n\r\n");
    });
    check("nothing at all", "offline", "reset", |_, _, _| {});
    check("silence", "offline", "timeout", |_, _, _| std::thread::sleep(Duration::from_secs(5)));
    check("one byte a second", "offline", "timeout", |_, _, stream| {
        for byte in "HTTP/1.1 2".bytes() {
            send(stream, &[byte]);
            std::thread::sleep(Duration::from_secs(1));
        }
    });
}

#[test]
fn endless_replies_are_cut_off_with_bounded_memory() {
    let flood = |head: &'static [u8], piece: Vec<u8>| {
        move |_: &Keypair, _: &ReceivedRequest, stream: &mut TcpStream| {
            let mut sent = stream.write_all(head);
            // 100 MB, or until the node closes the connection.
            for _ in 0..(100_000_000 / piece.len()) {
                sent = sent.and_then(|()| stream.write_all(&piece));
            }
        }
    };
    for (what, head, piece) in [
        (
            "100 MB of body",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n".as_slice(),
            vec![b'x'; 65_536],
        ),
        ("100 MB of head", b"HTTP/1.1 200 OK\r\nX: ".as_slice(), vec![b'x'; 65_536]),
        ("100 MB of head lines", b"HTTP/1.1 200 OK\r\n".as_slice(), b"X: y\r\n".repeat(10_000)),
    ] {
        let network = check(what, "offline", "too-large", flood(head, piece));
        let status = format!("/proc/{}/status", network.host("a").pid().as_raw_nonzero());
        let status = std::fs::read_to_string(status).expect("the process runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(peak_kb < 64 * 1024, "{what}: {peak_kb} kB");
    }
}
