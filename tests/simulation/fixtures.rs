//! Keys, members and reports for the simulator and the benchmark that uses its hosts.
//!
//! The unit tests of the mesh have their own copy in `src/mesh/sample.rs`: sharing it would put known private keys into
//! the public interface of the library.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use distomon::crypto::Keypair;
use distomon::mesh::Signer;
use distomon::mesh::id::{NetworkId, NodeId, ReportId};
use distomon::mesh::membership::{Member, Membership};
use distomon::mesh::wire::leave::{LeaveKind, LeaveNotice};
use distomon::mesh::wire::report::{Report, VerifiedReport};

/// The key pair that belongs to a number.
pub(crate) fn keypair(number: u64) -> Keypair {
    // PKCS#8 of an Ed25519 key is this prefix and the 32 bytes of the seed (RFC 8410, section 7).
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend_from_slice(&[number.to_be_bytes(); 4].concat());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    Keypair::from_pem(&pem).expect("a well-formed key")
}

/// `node-00`, `node-01` and so on.
pub(crate) fn node_id(number: usize) -> NodeId {
    format!("node-{number:02}").parse().expect("a valid name")
}

pub(crate) fn network_id() -> NetworkId {
    "net".parse().expect("a valid name")
}

/// The member with this number: its key has the same number, poll rate 1 s, two retries, timeout 1 s.
pub(crate) fn member(number: usize) -> Member {
    Member {
        id: node_id(number),
        url: Some(format!("http://node-{number:02}:8000")),
        poll_rate_ms: 1_000,
        retry: 2,
        timeout_ms: 1_000,
        keys: vec![keypair(number as u64).public().clone()],
        site: None,
    }
}

pub(crate) fn members(count: usize) -> Vec<Member> {
    (0..count).map(member).collect()
}

/// `members` as the node with the number `me` sees them.
pub(crate) fn membership(members: &[Member], me: usize) -> Arc<Membership> {
    let membership = Membership::new(network_id(), members.to_vec(), &node_id(me));
    Arc::new(membership.expect("distinct members, `me` among them"))
}

/// A report without observations.
pub(crate) fn report(author: usize, epoch: u64, seq: u64) -> Report {
    Report {
        at_ms: 1_763_884_800_000,
        interval_ms: 1_000,
        version: "0.1.0".to_owned(),
        config: "AAAAAAAAAAA=".to_owned(),
        ..Report::new(network_id(), node_id(author), ReportId { epoch, seq })
    }
}

/// The announcement of a node that an operator stops.
pub(crate) const LEAVE: LeaveNotice = LeaveNotice { kind: LeaveKind::Stop, expect_ms: None };

/// Signs reports as the service does.
pub(crate) struct KeySigner(pub(crate) Keypair);

impl Signer for KeySigner {
    fn sign(&self, report: Report) -> VerifiedReport {
        VerifiedReport::sign(report, &self.0)
    }
}
