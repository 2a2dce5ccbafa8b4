//! Packets on their way between virtual hosts.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::messages::{Job, JobResult};
use crate::message::{Response, SignedRequest};
use distomon::crypto::PublicKey;
use distomon::mesh::wire::observation::Failure;

/// What one host sends to another, or what a process waits for. `call` numbers the call.
pub(super) enum Packet {
    Request {
        from: usize,
        to: usize,
        call: u64,
        request: Box<SignedRequest>,
    },
    Response {
        to: usize,
        call: u64,
        signer: PublicKey,
        response: Box<Response>,
    },
    /// The connection is refused, or the thread of the call has waited for as long as it does.
    Failed {
        to: usize,
        call: u64,
        failure: Failure,
    },
    /// The time of a call is over.
    Deadline {
        host: usize,
        process: u64,
    },
    /// A job is ready again.
    Ready {
        host: usize,
        process: u64,
        job: Job,
    },
    /// A job ends.
    Done {
        host: usize,
        process: u64,
        result: JobResult,
    },
}

impl Packet {
    pub(super) fn recipient(&self) -> usize {
        match self {
            Self::Request { to, .. } | Self::Response { to, .. } | Self::Failed { to, .. } => *to,
            Self::Deadline { host, .. } | Self::Ready { host, .. } | Self::Done { host, .. } => *host,
        }
    }

    /// The process on its recipient that this concerns, if it concerns no other.
    pub(super) fn process(&self) -> Option<u64> {
        match self {
            Self::Request { .. } | Self::Response { .. } | Self::Failed { .. } => None,
            Self::Deadline { process, .. } | Self::Ready { process, .. } | Self::Done { process, .. } => {
                Some(*process)
            }
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
