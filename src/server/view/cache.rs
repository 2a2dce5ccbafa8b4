//! Snapshots as JSON, serialised once for all clients.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rouille::{Request, Response, ResponseBody};

use crate::mesh::Snapshot;
use crate::mesh::id::NetworkId;
use crate::present::json::{NetworkBody, NetworkCounters};
use crate::server::etag::matches_etag;
use crate::store::NetworkHandle;

/// How much older than the current snapshot a served one may be while the current one is being serialised, in ms.
const MAX_STALE_MS: u64 = 1_000;

/// The number of bytes of JSON for which a view is served for 1 ms while newer snapshots exist. In a network of 1,000
/// nodes, snapshots change a hundred times a second and a view takes 6 ms to serialise: it is served for some 150 ms,
/// so that clients without pause cost little more than their replies. Smaller views than this are always current.
const BYTES_PER_REUSED_MS: usize = 16 * 1024;

/// The serialised snapshot of each network.
#[derive(Default)]
pub struct ViewCache(RwLock<HashMap<NetworkId, Arc<NetworkCache>>>);

/// The serialised snapshot of one network.
#[derive(Default)]
pub(super) struct NetworkCache {
    newest: RwLock<Option<Arc<CachedView>>>,
    /// Held while a snapshot is being serialised.
    pub(super) serialising: Mutex<()>,
}

/// A serialised snapshot.
pub(super) struct CachedView {
    key: SnapshotKey,
    /// When the snapshot was taken: monotonic time in ms.
    taken_ms: u64,
    pub(super) etag: String,
    json: Arc<[u8]>,
}

/// The identity of a snapshot, unique across restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SnapshotKey {
    epoch: u64,
    revision: u64,
}

impl SnapshotKey {
    fn of(snapshot: &Snapshot) -> Self {
        Self { epoch: snapshot.epoch(), revision: snapshot.revision() }
    }
}

impl ViewCache {
    /// Creates an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles `GET /view/{network_id}`: replies with the snapshot, or with 304 if the client has it.
    pub fn get_network(&self, node: &NetworkHandle, request: &Request) -> Response {
        let snapshot = node.snapshot();
        let view = self.of_network(snapshot.membership().network_id()).get(node, &snapshot);
        let is_known = request.header("If-None-Match").is_some_and(|list| matches_etag(list, &view.etag));
        let (status_code, data) = if is_known {
            (304, ResponseBody::empty())
        } else {
            (200, ResponseBody::from_reader_and_size(Cursor::new(view.json.clone()), view.json.len()))
        };
        let headers = vec![
            ("Content-Type".into(), "application/json".into()),
            ("Cache-Control".into(), "private, no-cache".into()),
            ("ETag".into(), view.etag.clone().into()),
        ];
        Response { status_code, headers, data, upgrade: None }
    }

    pub(super) fn of_network(&self, network: &NetworkId) -> Arc<NetworkCache> {
        if let Some(cache) = self.0.read().get(network) {
            return cache.clone();
        }
        self.0.write().entry(network.clone()).or_default().clone()
    }
}

impl NetworkCache {
    /// Returns `snapshot` as JSON. While another thread serialises it, returns the previous one unless that is
    /// too old: then waiting costs less than serialising the snapshot twice.
    pub(super) fn get(&self, node: &NetworkHandle, snapshot: &Snapshot) -> Arc<CachedView> {
        let key = SnapshotKey::of(snapshot);
        let taken_ms = snapshot.at().mono_ms;
        let newest = self.newest.read().clone();
        if let Some(newest) = newest.as_ref().filter(|newest| newest.serves(key, taken_ms)) {
            return newest.clone();
        }
        let serialising = match (self.serialising.try_lock(), newest) {
            (Some(serialising), _) => serialising,
            (None, Some(previous)) if taken_ms <= previous.taken_ms + MAX_STALE_MS => return previous,
            (None, _) => self.serialising.lock(),
        };
        // Another thread may have serialised this snapshot or a newer one in the meantime.
        let newest = self.newest.read().clone();
        if let Some(newest) = newest.filter(|newest| newest.serves(key, taken_ms)) {
            return newest;
        }
        let view = Arc::new(CachedView {
            key,
            taken_ms,
            etag: format!("\"{}-{}\"", key.epoch, key.revision),
            json: NetworkBody::new(snapshot, counters(node, snapshot)).to_json().into(),
        });
        *self.newest.write() = Some(view.clone());
        drop(serialising);
        view
    }
}

impl CachedView {
    /// Whether this view is the reply to a request at the time of the snapshot `key`, which was taken at `taken_ms`.
    fn serves(&self, key: SnapshotKey, taken_ms: u64) -> bool {
        let reused_ms = (self.json.len() / BYTES_PER_REUSED_MS) as u64;
        self.key == key || taken_ms < self.taken_ms + reused_ms
    }
}

/// Returns the counters of the engine and of the threads in front of it.
fn counters(node: &NetworkHandle, snapshot: &Snapshot) -> NetworkCounters {
    let (stored, dropped) = (snapshot.counters(), node.drop_counters.counts());
    NetworkCounters {
        reports_stored: stored.reports_stored,
        // Stale reports are dropped before verification, or else when they are stored.
        reports_stale: stored.reports_stale + dropped.stale_reports,
        reports_refused: dropped.rejected_reports,
        reports_surplus: dropped.rate_limited_reports,
        reports_overrun: dropped.queue_full_reports,
        exchanges_ok: stored.exchanges_ok,
        exchanges_failed: stored.exchanges_failed,
        requests: stored.requests,
        requests_refused: dropped.rejected_requests,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_views_are_served_for_a_time_in_proportion_to_their_size() {
        let key = |revision| SnapshotKey { epoch: 5, revision };
        for (bytes, reused_ms) in
            [(0, 0), (BYTES_PER_REUSED_MS - 1, 0), (BYTES_PER_REUSED_MS, 1), (100 * BYTES_PER_REUSED_MS, 100)]
        {
            let view =
                CachedView { key: key(1), taken_ms: 1_000, etag: String::new(), json: vec![0; bytes].into() };
            assert!(view.serves(key(1), 9_000), "the same snapshot");
            assert!(view.serves(key(2), 999 + reused_ms), "{bytes} bytes");
            assert!(!view.serves(key(2), 1_000 + reused_ms), "{bytes} bytes");
        }
    }
}
