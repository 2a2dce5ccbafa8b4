//! Keys, members and reports for tests.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::crypto::{Keypair, dsse};
use crate::mesh::Seal;
use crate::mesh::id::{NetworkId, NodeId};
use crate::mesh::picture::{Counters, Now, Picture, Slot};
use crate::mesh::report::{Report, VerifiedReport};
use crate::mesh::roster::{Member, Roster};

/// The same key for the same number.
pub(in crate::mesh) fn keypair(number: u64) -> Keypair {
    // PKCS#8 of an Ed25519 key is this head and the 32 bytes of the seed (RFC 8410, section 7).
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend_from_slice(&[number.to_be_bytes(); 4].concat());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
    Keypair::from_pem(&pem).expect("a well-formed key")
}

/// `node-00`, `node-01` and so on.
pub(in crate::mesh) fn node_id(number: usize) -> NodeId {
    format!("node-{number:02}").parse().expect("a name")
}

pub(in crate::mesh) fn network_id() -> NetworkId {
    "net".parse().expect("a name")
}

/// A member with the key of its number, probed each second, two retries, timeout 1 s.
pub(in crate::mesh) fn member(number: usize) -> Member {
    Member {
        id: node_id(number),
        url: Some(format!("http://node-{number:02}:8000")),
        poll_rate_ms: 1_000,
        retry: 2,
        timeout_ms: 1_000,
        keys: vec![keypair(number as u64).public().clone()],
    }
}

pub(in crate::mesh) fn members(count: usize) -> Vec<Member> {
    (0..count).map(member).collect()
}

/// `members` as the one with the number `me` sees them.
pub(in crate::mesh) fn roster(members: &[Member], me: usize) -> Arc<Roster> {
    Arc::new(Roster::new(network_id(), members.to_vec(), &node_id(me)).expect("distinct members with me"))
}

/// A report of `author` that says nothing of others.
pub(in crate::mesh) fn report(author: usize, epoch: u64, seq: u64) -> Report {
    Report {
        network_id: network_id(),
        node_id: node_id(author),
        epoch,
        seq,
        prev: None,
        at_ms: 1_763_884_800_000,
        interval_ms: 1_000,
        version: "0.1.0".to_owned(),
        config: "AAAAAAAAAAA=".to_owned(),
        isolated: false,
        leaving: false,
        observations: Vec::new(),
    }
}

/// `report` signed with the key of its author's number.
pub(in crate::mesh) fn sealed(author: usize, report: Report) -> VerifiedReport {
    Pen(keypair(author as u64)).seal(report)
}

/// What node 0 of `count` sees that holds `held`, each for a second at 10,000 ms of monotonic time.
pub(in crate::mesh) fn picture(count: usize, held: &[VerifiedReport]) -> Picture {
    let roster = roster(&members(count), 0);
    let mut slots = vec![Slot::default(); count];
    for report in held {
        let index = roster.index(report.author().as_str()).expect("a member");
        slots[index] = Slot {
            held: Some(Arc::new(report.clone())),
            origin_ms: 9_000,
            arrived_ms: 9_000,
            advanced: true,
            ..Slot::default()
        };
    }
    Picture {
        roster,
        slots,
        at: Now { mono_ms: 10_000, wall_ms: 1_763_884_900_000 },
        revision: 1,
        isolated: false,
        twin: false,
        counters: Counters::default(),
    }
}

/// Signs as the service does.
pub(in crate::mesh) struct Pen(pub(in crate::mesh) Keypair);

impl Seal for Pen {
    fn seal(&self, report: Report) -> VerifiedReport {
        let payload = report.to_payload();
        let envelope = dsse::seal(&self.0, report.node_id.as_str(), &payload);
        VerifiedReport::own(report, &payload, envelope, self.0.public().clone())
    }
}
