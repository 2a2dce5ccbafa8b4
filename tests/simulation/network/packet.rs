//! Packets on their way between virtual hosts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::message::{Response, SignedRequest};
use distomon::crypto::PublicKey;
use distomon::mesh::wire::observation::Failure;

/// What one host sends to another, or the failure of a call. `call` numbers the call.
pub(super) enum Packet {
    Request { from: usize, to: usize, call: u64, request: SignedRequest },
    Response { to: usize, call: u64, signer: PublicKey, response: Response },
    Failed { to: usize, call: u64, failure: Failure },
}

impl Packet {
    pub(super) fn recipient(&self) -> usize {
        match self {
            Self::Request { to, .. } | Self::Response { to, .. } | Self::Failed { to, .. } => *to,
        }
    }
}

/// The packets in flight, ordered by arrival; those that arrive together are in the order of sending.
#[derive(Default)]
pub(super) struct PacketQueue {
    arrivals: BinaryHeap<Reverse<(u64, u64)>>,
    packets: BTreeMap<u64, Packet>,
    last_number: u64,
}

impl PacketQueue {
    pub(super) fn push(&mut self, arrival_ms: u64, packet: Packet) {
        self.last_number += 1;
        self.arrivals.push(Reverse((arrival_ms, self.last_number)));
        self.packets.insert(self.last_number, packet);
    }

    /// When the next packet arrives, in ms.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.arrivals.peek().map(|Reverse((arrival_ms, _))| *arrival_ms)
    }

    /// Removes the next packet if it arrives by `now_ms`.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<Packet> {
        self.next_ms().filter(|arrival_ms| *arrival_ms <= now_ms)?;
        let Reverse((_, number)) = self.arrivals.pop()?;
        self.packets.remove(&number)
    }
}
