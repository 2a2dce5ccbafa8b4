//! The handle of a network for the threads around its event loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use parking_lot::{Mutex, RwLockReadGuard};

use super::clock::Clock;
use super::drop_counters::DropCounters;
use super::nonce_store::NonceStore;
use super::published::{Published, SnapshotPublisher};
use super::report_verifier::ReportVerifier;
use super::trends::Trends;
use crate::crypto::Keypair;
use crate::mesh::engine::event::ReceivedReports;
use crate::mesh::id::NodeId;
use crate::mesh::sync::missing::MissingReports;
use crate::mesh::sync::round_robin::RoundRobin;
use crate::mesh::verify::{MessageReports, VerifyOutcome};
use crate::mesh::wire::report::VerifiedReport;
use crate::mesh::{Event, Snapshot};

/// The capacity of the event loop's queue, in events.
pub const EVENT_QUEUE_LEN: usize = 1024;

/// The handle of a network: reads the state that the event loop publishes, and sends events to the loop.
pub struct NetworkHandle {
    /// Signs reports, requests and replies.
    pub keypair: Keypair,
    /// Both clocks.
    pub clock: Clock,
    /// The last nonce of each peer.
    pub nonces: NonceStore,
    /// Counters of dropped and rejected messages.
    pub drop_counters: DropCounters,
    verifier: ReportVerifier,
    /// Shares replies between the authors.
    round_robin: Mutex<RoundRobin>,
    published: Arc<Published>,
    events: Sender<Event>,
    requests: AtomicU64,
    /// The greatest lateness of a thread since the event loop asked, in ms.
    lateness_ms: AtomicU64,
}

impl NetworkHandle {
    /// Creates a handle that starts with `snapshot` and sends events to `events`, and the publisher for the event loop.
    pub fn new(
        keypair: Keypair,
        clock: Clock,
        nonces: NonceStore,
        snapshot: Snapshot,
        events: Sender<Event>,
    ) -> (Self, SnapshotPublisher) {
        let published = Arc::new(Published::new(snapshot, clock.mono_ms()));
        let publisher = SnapshotPublisher::new(published.clone());
        let handle = Self {
            keypair,
            clock,
            nonces,
            drop_counters: DropCounters::default(),
            verifier: ReportVerifier::default(),
            round_robin: Mutex::default(),
            published,
            events,
            requests: AtomicU64::new(0),
            lateness_ms: AtomicU64::new(0),
        };
        (handle, publisher)
    }

    /// The newest snapshot. Waits at most for the swap of a pointer.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.published.snapshot()
    }

    /// The measurements of the last hour.
    pub fn trends(&self) -> RwLockReadGuard<'_, Trends> {
        self.published.trends()
    }

    /// When the event loop last ticked, in monotonic ms.
    pub fn last_tick_ms(&self) -> u64 {
        self.published.last_tick_ms()
    }

    /// This node's id in the network.
    pub fn id(&self) -> NodeId {
        self.snapshot().membership().own().id.clone()
    }

    /// The counter in the next request's nonce, from 1 on.
    pub fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Records that a thread did its work late.
    pub fn record_lateness(&self, lateness: Duration) {
        let lateness_ms = u64::try_from(lateness.as_millis()).unwrap_or(u64::MAX);
        if lateness_ms > 0 {
            self.lateness_ms.fetch_max(lateness_ms, Ordering::Relaxed);
        }
    }

    /// Returns the greatest lateness of a thread since the last call, in ms.
    pub(super) fn take_lateness_ms(&self) -> u64 {
        self.lateness_ms.swap(0, Ordering::Relaxed)
    }

    /// Verifies the reports and proofs in a message, and counts those that are rejected or dropped.
    pub fn verify_message(&self, snapshot: &Snapshot, message: MessageReports<'_>) -> VerifyOutcome {
        self.verifier.verify(self.clock, &self.drop_counters, snapshot, message)
    }

    /// Selects the reports for a reply to the member with the index `peer`.
    pub fn select_reports(&self, peer: usize, missing: MissingReports) -> Vec<Arc<VerifiedReport>> {
        self.round_robin.lock().select(peer, missing)
    }

    /// Sends an event that must not be lost, and waits while the queue is full. False if the event loop has ended.
    pub fn send(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }

    /// Reports to the event loop that `from` sent a request of an incompatible release, unless the queue is full: the peer
    /// calls again.
    pub fn note_incompatible(&self, from: &NodeId) {
        let _ = self.events.try_send(Event::IncompatibleRequest { from: from.clone() });
    }

    /// Sends the content of a peer's request, and returns whether it was sent. If the queue is full, drops and counts the
    /// reports: by the heads of later messages, peers send them again.
    pub fn try_send(&self, from: &NodeId, received: ReceivedReports) -> bool {
        let event = Event::RequestReceived { from: from.clone(), received };
        match self.events.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(Event::RequestReceived { received, .. })) => {
                let network = self.snapshot().membership().network_id().clone();
                self.drop_counters.count_queue_full(network.as_str(), received.reports.len());
                false
            }
            Err(_) => false,
        }
    }
}
