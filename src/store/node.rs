//! What the threads of one network share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Sender, TrySendError};
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde_json::value::RawValue;

use super::clock::Clock;
use super::nonces::NonceBook;
use super::tally::Tally;
use super::trend::Trends;
use crate::crypto::Keypair;
use crate::mesh::correspondence::Correspondence;
use crate::mesh::event::Delivery;
use crate::mesh::id::NodeId;
use crate::mesh::intake::{self, Allowance, Intake};
use crate::mesh::{Event, Picture};

/// How many events may wait for the collector.
pub const EVENTS: usize = 1024;

/// This node in one network, as its threads share it.
pub struct Node {
    /// Signs reports, requests and replies.
    pub keypair: Keypair,
    /// Both clocks.
    pub clock: Clock,
    /// The last nonce of each peer.
    pub nonces: NonceBook,
    /// What was dropped, and why.
    pub tally: Tally,
    picture: RwLock<Arc<Picture>>,
    events: Sender<Event>,
    allowance: Mutex<Allowance>,
    trends: Mutex<Trends>,
    correspondence: Mutex<Correspondence>,
    requests: AtomicU64,
    turned_ms: AtomicU64,
}

impl Node {
    /// A node that shows `picture` and tells what happens to `events`.
    pub fn new(
        keypair: Keypair,
        clock: Clock,
        nonces: NonceBook,
        picture: Picture,
        events: Sender<Event>,
    ) -> Self {
        Self {
            keypair,
            clock,
            nonces,
            tally: Tally::default(),
            picture: RwLock::new(Arc::new(picture)),
            events,
            allowance: Mutex::default(),
            trends: Mutex::default(),
            correspondence: Mutex::default(),
            requests: AtomicU64::new(0),
            turned_ms: AtomicU64::new(clock.mono_ms()),
        }
    }

    /// The newest picture. Never waits for more than a pointer to be swapped.
    pub fn picture(&self) -> Arc<Picture> {
        self.picture.read().clone()
    }

    pub(super) fn show(&self, picture: Picture) {
        self.trends.lock().record(&picture);
        let picture = Arc::new(picture);
        // The old picture may be large: it is dropped after the lock.
        let old = std::mem::replace(&mut *self.picture.write(), picture);
        drop(old);
    }

    /// This node's id in the network.
    pub fn id(&self) -> NodeId {
        self.picture().roster().own().id.clone()
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
    pub fn correspondence(&self) -> MutexGuard<'_, Correspondence> {
        self.correspondence.lock()
    }

    /// Checks the reports and proofs that a message brought; what is refused or dropped is counted
    /// against `sender`.
    pub fn check(
        &self,
        picture: &Picture,
        sender: &str,
        reports: &[&RawValue],
        proofs: &[&RawValue],
    ) -> Intake {
        let now_ms = self.clock.mono_ms();
        let intake = intake::check(picture, sender, reports, proofs, |author, take| {
            let mut allowance = self.allowance.lock();
            if take {
                allowance.take(author, now_ms);
            }
            allowance.has(author, now_ms)
        });
        self.tally.count_intake(picture.roster().network_id().as_str(), sender, &intake);
        intake
    }

    /// Tells the collector and waits for room: for what must not be lost. False if there is no collector
    /// any more.
    pub fn tell(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }

    /// Tells the collector what a peer's request brought. When the collector cannot keep up it is
    /// dropped and counted: the heads of later messages show what is missing.
    pub fn tell_asked(&self, from: &NodeId, delivery: Delivery) {
        let event = Event::Asked { from: from.clone(), delivery };
        if let Err(TrySendError::Full(Event::Asked { delivery, .. })) = self.events.try_send(event) {
            let network = self.picture().roster().network_id().clone();
            self.tally.count_overrun(network.as_str(), delivery.reports.len());
        }
    }

    /// When the collector last turned, in monotonic ms.
    pub fn turned_ms(&self) -> u64 {
        self.turned_ms.load(Ordering::Relaxed)
    }

    pub(super) fn turned(&self) {
        self.turned_ms.store(self.clock.mono_ms(), Ordering::Relaxed);
    }
}
