//! A peer that is not what it should be: a server of the test's at the address of a member whose key it has.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use distomon::crypto::http_signature::{self, RequestContext};
use distomon::crypto::{self, Keypair};
use distomon::store::clock::wall_us;
use serde_json::json;

use crate::network::{Network, free_address};

/// A request as it came.
pub(crate) struct Asked {
    head: String,
    path: String,
}

impl Asked {
    fn field(&self, name: &str) -> String {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(String::new(), |(_, value)| value.to_owned())
    }

    /// A reply that is signed by `key` as `keyid` for this request.
    fn reply(&self, key: &Keypair, keyid: &str, status: u16, body: &str) -> Vec<u8> {
        let digest = crypto::content_digest(body.as_bytes());
        let (input, signature) = (self.field("signature-input"), self.field("signature"));
        let content_digest = self.field("content-digest");
        let context = RequestContext {
            path: &self.path,
            content_digest: &content_digest,
            signature_input: &input,
            signature: &signature,
        };
        let nonce = input.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce");
        let nonce = nonce.parse().expect("a nonce");
        let created_s = wall_us() / 1_000_000;
        let head = http_signature::sign_reply(key, keyid, status, &digest, &context, created_s, nonce);
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

/// A body that is as it should be.
fn body(from: &str) -> String {
    json!({"from": from, "now": wall_us() / 1000, "took_us": 1, "heads": {}, "reports": []}).to_string()
}

/// A server that ends with this value.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Server {
    /// Answers each request, once it was read, with what `answer` writes.
    fn start(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
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
                    if let Some(asked) = read(&mut stream) {
                        answer(&asked, &mut stream);
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
fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let asked = Asked { head: head.to_owned(), path: head.split(' ').nth(1)?.to_owned() };
        if body.len() >= asked.field("content-length").parse().ok()? {
            return Some(asked);
        }
    }
}

/// Lets node `a` call an impostor in place of `b`, and waits until it says `status` with `error` of it; `c` is
/// a real node, and stays online.
fn check(
    what: &str,
    status: &str,
    error: &str,
    answer: impl Fn(&Keypair, &Asked, &mut TcpStream) + Send + Sync + 'static,
) -> Network {
    let mut network = Network::of(&["a", "b", "c"]);
    let key = network.host("b").keypair.clone();
    let server = Server::start(move |asked, stream| answer(&key, asked, stream));
    network.host_mut("b").address = server.address;
    network.write();
    network.host_mut("a").start();
    network.host_mut("c").start();
    crate::network::wait(&format!("{what}: {status}, {error}"), || {
        let reports = network.watcher.reports(network.host("a"))?;
        let found = reports.get("a")?.observation("b")?;
        let error_found = found.error.map_or("", |error| error.as_str());
        (found.status.as_str() == status && error_found == error).then_some(())
    });
    network.wait_found("a", "a", "c", "online");
    drop(server);
    network
}

fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

#[test]
fn a_true_one_is_online() {
    check("a peer made by the test", "online", "", |key, asked, stream| {
        send(stream, &asked.reply(key, "b", 200, &body("b")));
    });
}

#[test]
fn another_nodes_key() {
    check("another key under the right name", "offline", "bad-signature", |_, asked, stream| {
        let stranger = Keypair::generate().expect("randomness");
        send(stream, &asked.reply(&stranger, "b", 200, &body("b")));
    });
    check("another node", "offline", "wrong-node", |_, asked, stream| {
        let stranger = Keypair::generate().expect("randomness");
        send(stream, &asked.reply(&stranger, "c", 200, &body("c")));
    });
    check("another node in the body", "offline", "wrong-node", |key, asked, stream| {
        send(stream, &asked.reply(key, "b", 200, &body("c")));
    });
}

#[test]
fn unsigned_and_replayed_replies() {
    check("no signature", "offline", "bad-signature", |_, _, stream| {
        send(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    });
    let first = std::sync::OnceLock::new();
    check("the reply to another request", "offline", "bad-signature", move |key, asked, stream| {
        let reply = first.get_or_init(|| asked.reply(key, "b", 200, &body("b")));
        // The first one is answered truly, or there would be nothing to replay.
        send(stream, reply);
    });
    check("another body", "offline", "bad-signature", |key, asked, stream| {
        let reply = String::from_utf8(asked.reply(key, "b", 200, &body("b"))).expect("text");
        send(stream, reply.replace("\"took_us\":1", "\"took_us\":2").as_bytes());
    });
    check("garbage, signed", "offline", "bad-reply", |key, asked, stream| {
        send(stream, &asked.reply(key, "b", 200, "garbage"));
    });
}

#[test]
fn refusals_are_signs_of_life_if_signed() {
    for (status, error) in [(409, "replayed"), (421, "misdirected"), (400, "rejected"), (500, "rejected")] {
        check(&format!("a signed {status}"), "unknown", error, move |key, asked, stream| {
            send(stream, &asked.reply(key, "b", status, "{}"));
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
fn no_http() {
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
fn endless_replies_take_no_memory() {
    let flood = |head: &'static [u8], piece: Vec<u8>| {
        move |_: &Keypair, _: &Asked, stream: &mut TcpStream| {
            let mut sent = stream.write_all(head);
            // 100 MB, or until nobody reads any more.
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
        let status = std::fs::read_to_string(status).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(peak_kb < 64 * 1024, "{what}: {peak_kb} kB");
    }
}
