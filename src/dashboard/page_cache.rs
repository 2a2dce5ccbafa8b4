//! A cache of rendered pages: many viewers of one page cost little more than one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::assets;
use super::matrix_cells::{Delta, MatrixCells, SnapshotVersion};
use super::page_content::PageContent;
use crate::mesh::Snapshot;
use crate::mesh::id::NetworkId;

/// The maximum number of pages in the cache. A new page beyond it empties the cache.
const MAX_PAGES: usize = 64;

/// The minimum time between two renderings of a page, even if its snapshots have changed. A page that takes longer
/// than a tenth of this to render is cached for ten times its rendering time.
const MIN_AGE: Duration = Duration::from_millis(400);

/// The time after which a page is rendered again even if its snapshots have not changed, since it shows durations.
const MAX_AGE: Duration = Duration::from_secs(5);

/// A cache of recently requested pages.
#[derive(Default)]
pub(super) struct PageCache {
    pages: Mutex<HashMap<String, CacheEntry>>,
    /// The newest matrix of each network. All pages of a network share it, whatever their query.
    matrices: Mutex<HashMap<NetworkId, Arc<Matrix>>>,
}

/// A cached page. The thread that renders it holds the inner lock.
type CacheEntry = Arc<Mutex<Option<Arc<CachedPage>>>>;

/// The matrix of a snapshot.
struct Matrix {
    cells: MatrixCells,
    snapshot: Arc<Snapshot>,
}

/// A rendered page.
pub(super) struct CachedPage {
    pub(super) content: PageContent,
    matrix: Option<Arc<Matrix>>,
    versions: Vec<SnapshotVersion>,
    rendered_at: Instant,
    render_time: Duration,
}

/// The JSON with which a script updates a page.
#[derive(Serialize)]
struct LiveUpdate<'a> {
    /// A page of another build or configuration must be loaded again.
    build: &'static str,
    config_digest: &'a str,
    title: String,
    health: &'static str,
    icon: &'static str,
    announcement: &'a str,
    /// Name, hash and content of each region that has changed.
    regions: Vec<(&'a str, &'a str, &'a str)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<Delta<'a>>,
    /// The time since the event loop's last tick, in ms.
    last_tick_age_ms: u64,
}

impl PageCache {
    /// Returns the page `key` of these snapshots from the cache, or renders it. A page `with_matrix` includes the
    /// matrix of the first snapshot.
    pub(super) fn get(
        &self,
        key: String,
        snapshots: &[Arc<Snapshot>],
        with_matrix: bool,
        render: impl FnOnce() -> PageContent,
    ) -> Arc<CachedPage> {
        let entry = {
            let mut pages = self.pages.lock();
            if pages.len() >= MAX_PAGES && !pages.contains_key(&key) {
                pages.clear();
            }
            pages.entry(key).or_default().clone()
        };
        // Other requests wait meanwhile: rendering takes milliseconds, and rendering twice would take longer.
        let mut entry = entry.lock();
        let versions: Vec<SnapshotVersion> =
            snapshots.iter().map(|snapshot| SnapshotVersion::of(snapshot)).collect();
        if let Some(page) = entry.as_ref().filter(|page| page.is_valid(&versions)) {
            return page.clone();
        }
        let rendered_at = Instant::now();
        let content = render();
        let matrix = snapshots.first().filter(|_| with_matrix).map(|snapshot| self.matrix(snapshot));
        let page = CachedPage { content, matrix, versions, rendered_at, render_time: rendered_at.elapsed() };
        let page = Arc::new(page);
        *entry = Some(page.clone());
        page
    }

    /// Returns the matrix of `snapshot`, or a newer one, and derives it from the previous one.
    fn matrix(&self, snapshot: &Arc<Snapshot>) -> Arc<Matrix> {
        let id = snapshot.membership().network_id();
        let mut matrices = self.matrices.lock();
        let previous = matrices.get(id);
        // A thread with an older snapshot may arrive later.
        let is_newer = |matrix: &&Arc<Matrix>| {
            matrix.snapshot.membership().digest() == snapshot.membership().digest()
                && matrix.snapshot.revision() >= snapshot.revision()
        };
        let version = SnapshotVersion::of(snapshot);
        let is_current = |matrix: &&Arc<Matrix>| matrix.cells.has_version(version);
        if let Some(matrix) = previous.filter(is_current).or(previous.filter(is_newer)) {
            return matrix.clone();
        }
        let cells = MatrixCells::new(snapshot, previous.map(|matrix| &matrix.cells));
        let matrix = Arc::new(Matrix { cells, snapshot: snapshot.clone() });
        matrices.insert(id.clone(), matrix.clone());
        matrix
    }
}

impl CachedPage {
    fn is_valid(&self, versions: &[SnapshotVersion]) -> bool {
        let age = self.rendered_at.elapsed();
        age < (self.render_time * 10).clamp(MIN_AGE, MAX_AGE) || (age < MAX_AGE && self.versions == versions)
    }

    /// Returns as JSON what has changed for a script that has the regions with the hashes `have` and the matrix of
    /// the version `since`. `mono_ms` is now and `last_tick_ms` the event loop's last tick, both monotonic time.
    pub(super) fn live_update(&self, have: &str, since: &str, mono_ms: u64, last_tick_ms: u64) -> Vec<u8> {
        let update = LiveUpdate {
            build: assets::build(),
            config_digest: &self.content.config_digest,
            title: self.content.full_title(),
            health: self.content.health.as_str(),
            icon: &self.content.health.icon().path,
            announcement: &self.content.announcement,
            regions: self.content.regions.iter().filter_map(|region| region.update(have)).collect(),
            cells: self.matrix.as_ref().map(|matrix| matrix.cells.delta(&matrix.snapshot, since, mono_ms)),
            last_tick_age_ms: mono_ms.saturating_sub(last_tick_ms),
        };
        serde_json::to_vec(&update).expect("strings and numbers always serialise")
    }
}
