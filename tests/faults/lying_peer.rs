//! A member with false reports, for `tests/faults/run`: it has a node's key, answers at its address and calls its
//! peers.
//!
//! `lying_peer KEY_FILE NETWORK NODE LISTEN PEER=URL,… LIE…`, where LIE is one of
//!
//! * `equivocate`: signs two different reports with one number;
//! * `ages`: relays the reports of others faster than a node, with a false age;
//! * the name of a peer: reports it offline.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use distomon::crypto::http_signature::{self, RequestParts, SignatureParams, SignedRequest};
use distomon::crypto::{self, Keypair, Nonce, dsse};
use distomon::mesh::wire::report::PAYLOAD_TYPE;
use distomon::store::clock::wall_us;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Time between its reports.
const INTERVAL: Duration = Duration::from_secs(1);

/// Calls to each peer per [`INTERVAL`] with the lie `ages`: it must relay reports before their authors send them.
const CALLS_PER_INTERVAL: u32 = 10;

/// False age of the reports of others, in ms.
const FALSE_AGE_MS: u64 = 3_600_000;

struct LyingPeer {
    key: Keypair,
    network: String,
    id: String,
    /// Peers and their URLs.
    peers: Vec<(String, String)>,
    lies: Vec<String>,
    epoch: u64,
    counter: AtomicU64,
    /// Its newest report for peers with an even index and for those with an odd index. They differ with the lie
    /// `equivocate`.
    newest: Mutex<[Value; 2]>,
    /// Epoch and number of the newest known report of each peer. False observations name them to look current.
    heads: Mutex<HashMap<String, (u64, u64)>>,
    /// The newest report of each peer to relay, with its false head.
    relayed: Mutex<HashMap<String, (Value, Value)>>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [key_file, network, id, listen, peers, lies @ ..] = arguments.as_slice() else {
        panic!("expected KEY_FILE NETWORK NODE LISTEN PEERS LIE…");
    };
    let pem = std::fs::read_to_string(key_file).expect("a key file");
    let peers = peers.split(',').map(|peer| peer.split_once('=').expect("PEER=URL"));
    let member = Arc::new(LyingPeer {
        key: Keypair::from_pem(&pem).expect("a private key"),
        network: network.clone(),
        id: id.clone(),
        peers: peers.map(|(peer, url)| (peer.to_owned(), url.to_owned())).collect(),
        lies: lies.to_vec(),
        epoch: wall_us() / 1000,
        counter: AtomicU64::new(0),
        newest: Mutex::default(),
        heads: Mutex::default(),
        relayed: Mutex::default(),
    });
    let listener = TcpListener::bind(listen.as_str()).expect("a free address");
    let server = member.clone();
    member.publish(1);
    std::thread::spawn(move || server.serve(&listener));
    let calls = if member.has_lie("ages") { CALLS_PER_INTERVAL } else { 1 };
    for seq in 2.. {
        for _ in 0..calls {
            for at in 0..member.peers.len() {
                let caller = member.clone();
                std::thread::spawn(move || caller.call(at));
            }
            std::thread::sleep(INTERVAL / calls);
        }
        member.publish(seq);
    }
}

impl LyingPeer {
    fn has_lie(&self, lie: &str) -> bool {
        self.lies.iter().any(|known| known == lie)
    }

    fn publish(&self, seq: u64) {
        let at_ms = wall_us() / 1000;
        let report = self.report(seq, at_ms);
        let other = if self.has_lie("equivocate") { self.report(seq, at_ms + 1) } else { report.clone() };
        *lock(&self.newest) = [report, other];
    }

    /// Returns the newest report for that peer.
    fn newest(&self, reader: &str) -> Value {
        let at = self.peers.iter().position(|(peer, _)| peer == reader).unwrap_or(0);
        lock(&self.newest)[at % 2].clone()
    }

    /// Signs a report with that number.
    fn report(&self, seq: u64, at_ms: u64) -> Value {
        let heads = lock(&self.heads);
        let observations = self.peers.iter().map(|(peer, _)| {
            let observation = if self.lies.contains(peer) {
                let head = heads.get(peer).map(|&(epoch, seq)| json!([epoch, seq]));
                json!({"status": "offline", "since": self.epoch, "error": "refused", "head": head})
            } else {
                json!({"status": "online", "since": self.epoch, "rtt_us": 500})
            };
            (peer.clone(), observation)
        });
        let report = json!({
            "v": 2, "network_id": self.network, "node_id": self.id, "epoch": self.epoch, "seq": seq, "prev": null,
            "at": at_ms, "interval_ms": 1000, "version": "6.6.6", "config": "AAAAAAAAAAA=", "isolated": false,
            "observations": observations.collect::<serde_json::Map<_, _>>(),
        });
        let envelope = dsse::seal(&self.key, &self.id, PAYLOAD_TYPE, report.to_string().as_bytes());
        serde_json::from_str(&envelope).expect("an envelope is JSON")
    }

    /// Keeps the heads of a message, and its reports for relaying.
    fn learn(&self, message: &Value) {
        let mut heads = lock(&self.heads);
        for (peer, head) in message["heads"].as_object().into_iter().flatten() {
            if let (Some(epoch), Some(seq)) = (head[0].as_u64(), head[1].as_u64()) {
                let newest = heads.entry(peer.clone()).or_default();
                *newest = (*newest).max((epoch, seq));
            }
        }
        if self.has_lie("ages") {
            let reports = message["reports"].as_array().into_iter().flatten();
            lock(&self.relayed).extend(reports.filter_map(|report| self.relayed_report(report, &heads)));
        }
    }

    /// Returns the author, the report and its false head, unless a newer report of the author is known.
    fn relayed_report(
        &self,
        report: &Value,
        heads: &HashMap<String, (u64, u64)>,
    ) -> Option<(String, (Value, Value))> {
        let envelope = dsse::Envelope::parse(&report.to_string(), PAYLOAD_TYPE).ok()?;
        let payload: Value = serde_json::from_slice(&envelope.payload).ok()?;
        let report_id = (payload["epoch"].as_u64()?, payload["seq"].as_u64()?);
        let is_newest = heads.get(&envelope.keyid).is_none_or(|newest| *newest <= report_id);
        let hash = STANDARD.encode(&Sha256::digest(&envelope.payload)[..8]);
        let head = json!([report_id.0, report_id.1, hash, FALSE_AGE_MS]);
        (is_newest && envelope.keyid != self.id).then_some((envelope.keyid, (report.clone(), head)))
    }

    /// Returns the heads and reports of a message for that peer.
    fn heads_and_reports(&self, reader: &str) -> (Value, Value) {
        let (mut heads, mut reports) = (serde_json::Map::new(), vec![self.newest(reader)]);
        for (peer, (report, head)) in lock(&self.relayed).iter() {
            heads.insert(peer.clone(), head.clone());
            reports.push(report.clone());
        }
        (heads.into(), reports.into())
    }

    /// Sends the newest report to a peer in an exchange.
    fn call(&self, at: usize) {
        let (peer, url) = &self.peers[at];
        let path = format!("/mon/{}", self.network);
        let (heads, reports) = self.heads_and_reports(peer);
        // Without heads of true reports the peer replies with all of its reports.
        let body = json!({"v": 2, "heads": heads, "reports": reports}).to_string();
        let digest = crypto::content_digest(body.as_bytes());
        let nonce = Nonce { epoch: self.epoch, counter: self.counter.fetch_add(1, Ordering::Relaxed) + 1 };
        let created_s = wall_us() / 1_000_000;
        let params = SignatureParams { keyid: &self.id, created_s, nonce };
        let parts = RequestParts { path: &path, to: peer, content_digest: &digest };
        let head = http_signature::sign_request(&self.key, &params, &parts);
        let reply = minreq::post(format!("{url}{path}"))
            .with_header("Content-Type", "application/json")
            .with_header("Content-Digest", &digest)
            .with_header("Distomon-To", peer)
            .with_header("Signature-Input", head.signature_input)
            .with_header("Signature", head.signature)
            .with_body(body)
            .with_timeout(2)
            .send();
        if let Some(message) = reply.ok().and_then(|reply| serde_json::from_slice(reply.as_bytes()).ok()) {
            self.learn(&message);
        }
    }

    fn serve(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            let member = self.clone();
            std::thread::spawn(move || member.answer(stream));
        }
    }

    /// Answers one request like a node, but without verifying the signature.
    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let (head, body) = read(&mut stream)?;
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        };
        let (input, signature) = (field("signature-input")?, field("signature")?);
        let request = http_signature::parse_request(&input, &signature).ok()?;
        self.learn(&serde_json::from_slice(&body).ok()?);
        let (heads, reports) = self.heads_and_reports(&request.keyid);
        let reply = json!({"v": 2, "from": self.id, "now": wall_us() / 1000, "took_us": 100, "heads": heads, "reports": reports});
        let (reply, request_digest) = (reply.to_string(), field("content-digest")?);
        let digest = crypto::content_digest(reply.as_bytes());
        let context = SignedRequest {
            path: head.split(' ').nth(1)?,
            content_digest: &request_digest,
            signature_input: &input,
            signature: &signature,
        };
        let created_s = wall_us() / 1_000_000;
        let params = SignatureParams { keyid: &self.id, created_s, nonce: request.nonce };
        let signed = http_signature::sign_reply(&self.key, &params, 200, &digest, &context);
        let signed = signed.ok()?;
        let text = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Digest: {digest}\r\nSignature-Input: \
             {}\r\nSignature: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reply}",
            signed.signature_input,
            signed.signature,
            reply.len()
        );
        stream.write_all(text.as_bytes()).ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads one request and returns its head and body.
fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&buffer[..length]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let length = head.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if bytes.len() >= end + 4 + length? {
            return Some((head, bytes[end + 4..].to_vec()));
        }
    }
}
