//! Keys, members, reports and snapshots for unit tests.
//!
//! The simulator has its own copy of the first three in `tests/simulation/fixtures.rs`: sharing them would put known
//! private keys into the public interface of the library.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::member_state::MemberState;
use super::report_table::ReportTable;
use super::snapshot::{Counters, Snapshot};
use super::timestamps::Timestamps;
use crate::crypto::Keypair;
use crate::mesh::Signer;
use crate::mesh::id::{NetworkId, NodeId, ReportId};
use crate::mesh::membership::{Member, Membership};
use crate::mesh::wire::report::{Report, VerifiedReport};

/// The report table of node 0 of `count` nodes with the reports `latest`, each one second old at 10,000 ms of
/// monotonic time.
pub(super) fn table(count: usize, latest: &[VerifiedReport]) -> ReportTable {
    let membership = membership(&members(count), 0);
    let mut states = vec![MemberState::default(); count];
    for report in latest {
        let index = membership.index(report.author().as_str()).expect("a member");
        let mut state =
            MemberState { created_ms: 9_000, received_ms: 9_000, advanced: true, ..MemberState::default() };
        state.set_latest(Arc::new(report.clone()), &membership);
        states[index] = state;
    }
    let states = states.into_iter().collect();
    ReportTable { membership, states, recovers_epoch: false, epoch_exhausted: false }
}

/// The snapshot of node 0 with the same table.
pub(super) fn snapshot(count: usize, latest: &[VerifiedReport]) -> Snapshot {
    Snapshot {
        table: table(count, latest),
        at: Timestamps { mono_ms: 10_000, wall_ms: 1_763_884_900_000 },
        revision: 1,
        epoch: 1,
        isolated: false,
        overloaded: false,
        duplicate_key: false,
        counters: Counters::default(),
        verdicts: Arc::default(),
        tracker: Arc::default(),
        history: Arc::default(),
    }
}

/// The key pair that belongs to a number.
pub(super) fn keypair(number: u64) -> Keypair {
    // PKCS#8 of an Ed25519 key is this prefix and the 32 bytes of the seed (RFC 8410, section 7).
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend_from_slice(&[number.to_be_bytes(); 4].concat());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    Keypair::from_pem(&pem).expect("a well-formed key")
}

/// `node-00`, `node-01` and so on.
pub(super) fn node_id(number: usize) -> NodeId {
    format!("node-{number:02}").parse().expect("a valid name")
}

pub(super) fn network_id() -> NetworkId {
    "net".parse().expect("a valid name")
}

/// The member with this number: its key has the same number, poll rate 1 s, two retries, timeout 1 s.
pub(super) fn member(number: usize) -> Member {
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

pub(super) fn members(count: usize) -> Vec<Member> {
    (0..count).map(member).collect()
}

/// `members` as the node with the number `me` sees them.
pub(super) fn membership(members: &[Member], me: usize) -> Arc<Membership> {
    let membership = Membership::new(network_id(), members.to_vec(), &node_id(me));
    Arc::new(membership.expect("distinct members, `me` among them"))
}

/// A report without observations.
pub(super) fn report(author: usize, epoch: u64, seq: u64) -> Report {
    Report {
        at_ms: 1_763_884_800_000,
        interval_ms: 1_000,
        version: "0.1.0".to_owned(),
        config: "AAAAAAAAAAA=".to_owned(),
        ..Report::new(network_id(), node_id(author), ReportId { epoch, seq })
    }
}

/// `report`, signed with the key of its author's number.
pub(super) fn sealed(author: usize, report: Report) -> VerifiedReport {
    TestSigner(keypair(author as u64)).sign(report)
}

/// Signs reports as the service does.
pub(super) struct TestSigner(pub(super) Keypair);

impl Signer for TestSigner {
    fn sign(&self, report: Report) -> VerifiedReport {
        VerifiedReport::sign(report, &self.0)
    }
}
