//! The state that the event loop publishes and all other threads read: the newest snapshot, the measurements of the last
//! hour, and the time of the last tick.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};

use super::trends::Trends;
use crate::mesh::Snapshot;

/// The published state, for readers.
pub(super) struct Published {
    snapshot: RwLock<Arc<Snapshot>>,
    trends: RwLock<Trends>,
    last_tick_ms: AtomicU64,
}

/// The write access to the published state, owned by the event loop.
pub struct SnapshotPublisher(Arc<Published>);

impl Published {
    pub(super) fn new(snapshot: Snapshot, mono_ms: u64) -> Self {
        Self {
            snapshot: RwLock::new(Arc::new(snapshot)),
            trends: RwLock::default(),
            last_tick_ms: AtomicU64::new(mono_ms),
        }
    }

    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    pub(super) fn trends(&self) -> RwLockReadGuard<'_, Trends> {
        self.trends.read()
    }

    pub(super) fn last_tick_ms(&self) -> u64 {
        self.last_tick_ms.load(Ordering::Relaxed)
    }
}

impl SnapshotPublisher {
    pub(super) fn new(published: Arc<Published>) -> Self {
        Self(published)
    }

    /// Replaces the snapshot and adds its reports and probes to the trends.
    pub(super) fn publish(&mut self, snapshot: Snapshot) {
        self.0.trends.write().record(&snapshot);
        let snapshot = Arc::new(snapshot);
        // The old snapshot may be large, so it is dropped after the lock is released.
        let old = std::mem::replace(&mut *self.0.snapshot.write(), snapshot);
        drop(old);
    }

    /// Records that the event loop ticked at `mono_ms`.
    pub(super) fn record_tick(&mut self, mono_ms: u64) {
        self.0.last_tick_ms.store(mono_ms, Ordering::Relaxed);
    }
}
