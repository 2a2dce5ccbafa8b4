//! What the threads of one network share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Sender, TrySendError};
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde_json::value::RawValue;

use super::clock::Clock;
use super::drop_counters::DropCounters;
use super::nonce_store::NonceStore;
use super::trends::Trends;
use crate::crypto::Keypair;
use crate::mesh::engine::delta_sync::DeltaSync;
use crate::mesh::engine::event::ReceivedReports;
use crate::mesh::id::NodeId;
use crate::mesh::verify::{self, AuthorRateLimit, VerifyOutcome};
use crate::mesh::{Event, Snapshot};

/// How many events may wait for the collector.
pub const EVENT_QUEUE_LEN: usize = 1024;

/// This node in one network, as its threads share it.
pub struct NetworkHandle {
    /// Signs reports, requests and replies.
    pub keypair: Keypair,
    /// Both clocks.
    pub clock: Clock,
    /// The last nonce of each peer.
    pub nonces: NonceStore,
    /// What was dropped, and why.
    pub drop_counters: DropCounters,
    snapshot: RwLock<Arc<Snapshot>>,
    events: Sender<Event>,
    rate_limit: Mutex<AuthorRateLimit>,
    trends: Mutex<Trends>,
    delta_sync: Mutex<DeltaSync>,
    requests: AtomicU64,
    last_tick_ms: AtomicU64,
}

impl NetworkHandle {
    /// A node that shows `snapshot` and tells what happens to `events`.
    pub fn new(
        keypair: Keypair,
        clock: Clock,
        nonces: NonceStore,
        snapshot: Snapshot,
        events: Sender<Event>,
    ) -> Self {
        Self {
            keypair,
            clock,
            nonces,
            drop_counters: DropCounters::default(),
            snapshot: RwLock::new(Arc::new(snapshot)),
            events,
            rate_limit: Mutex::default(),
            trends: Mutex::default(),
            delta_sync: Mutex::default(),
            requests: AtomicU64::new(0),
            last_tick_ms: AtomicU64::new(clock.mono_ms()),
        }
    }

    /// The newest snapshot. Never waits for more than a pointer to be swapped.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.trends.lock().record(&snapshot);
        let snapshot = Arc::new(snapshot);
        // The old snapshot may be large: it is dropped after the lock.
        let old = std::mem::replace(&mut *self.snapshot.write(), snapshot);
        drop(old);
    }

    /// This node's id in the network.
    pub fn id(&self) -> NodeId {
        self.snapshot().membership().own().id.clone()
    }

    /// The counter of the next request's nonce, from 1 on.
    pub fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The last hour of every node.
    pub fn trends(&self) -> MutexGuard<'_, Trends> {
        self.trends.lock()
    }

    /// What was told to each partner and by it.
    pub fn delta_sync(&self) -> MutexGuard<'_, DeltaSync> {
        self.delta_sync.lock()
    }

    /// Checks the reports and proofs that a message brought; what is refused or dropped is counted
    /// against `sender`.
    pub fn verify_message(
        &self,
        snapshot: &Snapshot,
        sender: &str,
        reports: &[&RawValue],
        proofs: &[&RawValue],
    ) -> VerifyOutcome {
        let now_ms = self.clock.mono_ms();
        let intake = verify::verify_message(snapshot, sender, reports, proofs, |author, take| {
            let mut allowance = self.rate_limit.lock();
            if take {
                allowance.consume(author, now_ms);
            }
            allowance.allows(author, now_ms)
        });
        self.drop_counters.count_verified(snapshot.membership().network_id().as_str(), sender, &intake);
        intake
    }

    /// Tells the collector and waits for room: for what must not be lost. False if there is no collector
    /// any more.
    pub fn send(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }

    /// Tells the collector what a peer's request brought. When the collector cannot keep up it is
    /// dropped and counted: the heads of later messages show what is missing.
    pub fn try_send(&self, from: &NodeId, delivery: ReceivedReports) {
        let event = Event::RequestReceived { from: from.clone(), received: delivery };
        if let Err(TrySendError::Full(Event::RequestReceived { received: delivery, .. })) =
            self.events.try_send(event)
        {
            let network = self.snapshot().membership().network_id().clone();
            self.drop_counters.count_queue_full(network.as_str(), delivery.reports.len());
        }
    }

    /// When the collector last turned, in monotonic ms.
    pub fn last_tick_ms(&self) -> u64 {
        self.last_tick_ms.load(Ordering::Relaxed)
    }

    pub(super) fn record_tick(&self) {
        self.last_tick_ms.store(self.clock.mono_ms(), Ordering::Relaxed);
    }
}
