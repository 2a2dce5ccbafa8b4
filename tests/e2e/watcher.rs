//! The test itself as an outbound-only member, built from parts of the library.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use distomon::crypto::http_signature::{self, RequestParts, SignatureParams, SignedReply, SignedRequest};
use distomon::crypto::{self, Keypair, Nonce, dsse};
use distomon::mesh::wire::PROTOCOL_VERSION;
use distomon::mesh::wire::report::{PAYLOAD_TYPE, Report};
use serde_json::{Value, json};

use crate::host::{Host, NETWORK};

/// A request of the watcher, every part of which a test can falsify.
pub(crate) struct Call {
    pub(crate) keyid: String,
    pub(crate) keypair: Keypair,
    pub(crate) nonce: Nonce,
    /// The path, which is signed.
    pub(crate) path: String,
    /// The recipient, which is signed.
    pub(crate) to: String,
    pub(crate) body: Vec<u8>,
    /// Header fields. [`Call::sign`] adds those of the signature.
    pub(crate) headers: Vec<(String, String)>,
}

/// A reply of a node.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the node signed this reply to this request.
    pub(crate) signed: bool,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| {
            panic!("{} is no JSON: {error}: {}", self.status, String::from_utf8_lossy(&self.body))
        })
    }
}

/// The `node_id` of the watcher.
pub(crate) const WATCHER: &str = "watcher";

/// The member [`WATCHER`].
pub(crate) struct Watcher {
    id: String,
    network: String,
    keypair: Keypair,
    epoch: u64,
    counter: AtomicU64,
}

impl Watcher {
    pub(crate) fn new(network: &str) -> Self {
        let keypair = Keypair::generate().expect("randomness");
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let epoch = u64::try_from(since.as_millis()).expect("a time that fits");
        Self {
            id: WATCHER.to_owned(),
            network: network.to_owned(),
            keypair,
            epoch,
            counter: AtomicU64::new(0),
        }
    }

    pub(crate) fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    pub(crate) fn next_nonce(&self) -> Nonce {
        Nonce { epoch: self.epoch, counter: self.counter.fetch_add(1, Ordering::Relaxed) + 1 }
    }

    /// Creates a watcher that uses the id and the key of `host`, whose process does not run.
    pub(crate) fn as_member(host: &Host) -> Self {
        Self { id: host.id.clone(), keypair: host.keypair.clone(), ..Self::new(NETWORK) }
    }

    /// Creates a valid request to `host` with this body, not signed yet.
    pub(crate) fn call(&self, host: &Host, body: impl Into<Vec<u8>>) -> Call {
        self.call_node(&host.id, body)
    }

    /// Creates a valid request to the node `to` with this body, not signed yet.
    pub(crate) fn call_node(&self, to: &str, body: impl Into<Vec<u8>>) -> Call {
        Call {
            keyid: self.id.clone(),
            keypair: self.keypair.clone(),
            nonce: self.next_nonce(),
            path: format!("/mon/{}", self.network),
            to: to.to_owned(),
            body: body.into(),
            headers: Vec::new(),
        }
    }

    /// Returns the body of a request without heads and reports.
    pub(crate) fn empty() -> Value {
        json!({"v": PROTOCOL_VERSION, "heads": {}, "reports": []})
    }

    /// Returns all reports that `host` holds, by author, or `None` if it does not reply or the watcher has polled it
    /// more often than a member may.
    pub(crate) fn reports(&self, host: &Host) -> Option<BTreeMap<String, Report>> {
        let reply = self.call(host, Self::empty().to_string()).sign().send(host)?;
        if reply.status == 429 {
            return None;
        }
        assert!(reply.status == 200 && reply.signed, "{reply:?}");
        let envelopes = reply.json()["reports"].as_array().expect("an array").clone();
        let reports = envelopes.iter().map(|envelope| {
            let envelope = dsse::Envelope::parse(&envelope.to_string(), PAYLOAD_TYPE).expect("an envelope");
            let report: Report = serde_json::from_slice(&envelope.payload).expect("a report");
            (envelope.keyid, report)
        });
        Some(reports.collect())
    }
}

impl Call {
    /// Adds the header fields of a signed request.
    pub(crate) fn sign(mut self) -> Self {
        let digest = crypto::content_digest(&self.body);
        let created_s = self.nonce.epoch / 1000;
        let params = SignatureParams { keyid: &self.keyid, created_s, nonce: self.nonce };
        let parts = RequestParts { path: &self.path, to: &self.to, content_digest: &digest };
        let head = http_signature::sign_request(&self.keypair, &params, &parts);
        for (name, value) in [
            ("Content-Type", "application/json".to_owned()),
            ("Content-Digest", digest),
            ("Distomon-To", self.to.clone()),
            ("Signature-Input", head.signature_input),
            ("Signature", head.signature),
        ] {
            self.set(name, value);
        }
        self
    }

    /// Sets a header field.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.into()));
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Returns the bytes of the request, for a connection that stays open.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let fields: Vec<_> =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (path, length) = (&self.path, self.body.len());
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: h\r\n{}Content-Length: {length}\r\n\r\n", fields.concat());
        [head.as_bytes(), &self.body].concat()
    }

    /// Sends the request. Returns `None` if there is no reply.
    pub(crate) fn send(&self, host: &Host) -> Option<Reply> {
        let mut request = minreq::post(format!("{}{}", host.url(), self.path))
            .with_body(self.body.clone())
            .with_timeout(5)
            .with_follow_redirects(false);
        for (name, value) in &self.headers {
            request = request.with_header(name, value);
        }
        let response = request.send().ok()?;
        let headers: BTreeMap<_, _> =
            response.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        let field = |name: &str| headers.get(name).map_or("", String::as_str);
        let context = SignedRequest {
            path: &self.path,
            content_digest: self.header("Content-Digest"),
            signature_input: self.header("Signature-Input"),
            signature: self.header("Signature"),
        };
        let status = response.status_code;
        let reply = SignedReply {
            status,
            content_digest: field("content-digest"),
            signature_input: field("signature-input"),
            signature: field("signature"),
        };
        let keys = [host.keypair.public().clone()];
        let signed = http_signature::verify_reply(&reply, &context, &host.id, &keys).is_ok()
            && crypto::digest_matches(field("content-digest"), response.as_bytes());
        Some(Reply { status, body: response.as_bytes().to_vec(), signed, headers: headers.clone() })
    }
}
