//! What pages show, kept for a moment: many who look at one page cost little more than one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::assets;
use super::cells::{Cells, Frame, News};
use super::sheet::Sheet;
use crate::mesh::Snapshot;
use crate::mesh::id::NetworkId;

/// So many pages are kept, each with its query; more are forgotten all at once.
const PAGES: usize = 64;

/// A page is made anew at most so often, or after ten times as long as it takes.
const SHORTEST: Duration = Duration::from_millis(400);

/// A page whose snapshots have not changed is made anew after this time, since it shows how time passes.
const LONGEST: Duration = Duration::from_secs(5);

/// The pages that were looked at last.
#[derive(Default)]
pub(super) struct Panes {
    places: Mutex<HashMap<String, Place>>,
    /// Of each network, whatever its page is asked for.
    cells: Mutex<HashMap<NetworkId, Arc<Shown>>>,
}

/// The cells of a snapshot.
struct Shown {
    cells: Cells,
    snapshot: Arc<Snapshot>,
}

/// Where a page is kept; whoever makes it anew holds the lock.
type Place = Arc<Mutex<Option<Arc<Pane>>>>;

/// A page as it was made.
pub(super) struct Pane {
    pub(super) sheet: Sheet,
    shown: Option<Arc<Shown>>,
    frames: Vec<Frame>,
    made: Instant,
    took: Duration,
}

/// What a script is told that keeps a page up to date.
#[derive(Serialize)]
struct Live<'a> {
    /// Another build of the program, or another configuration, needs another page.
    build: &'static str,
    made_for: &'a str,
    title: String,
    state: &'static str,
    icon: &'static str,
    told: &'a str,
    /// Name, hash and content of what has changed.
    regions: Vec<(&'a str, &'a str, &'a str)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<News<'a>>,
    /// How long ago this node's collector last turned, in ms.
    turned_ms: u64,
}

impl Panes {
    /// The page known as `key`, which shows `snapshots`: as it was made a moment ago, or made by `make`. With
    /// `with_cells` it has the matrix of the first snapshot.
    pub(super) fn get(
        &self,
        key: String,
        snapshots: &[Arc<Snapshot>],
        with_cells: bool,
        make: impl FnOnce() -> Sheet,
    ) -> Arc<Pane> {
        let place = {
            let mut places = self.places.lock();
            if places.len() >= PAGES && !places.contains_key(&key) {
                places.clear();
            }
            places.entry(key).or_default().clone()
        };
        // Whoever comes while it is made waits: it takes milliseconds, and making it twice would take longer.
        let mut place = place.lock();
        let frames: Vec<Frame> = snapshots.iter().map(|snapshot| Frame::of(snapshot)).collect();
        if let Some(pane) = place.as_ref().filter(|pane| pane.is_good(&frames)) {
            return pane.clone();
        }
        let made = Instant::now();
        let sheet = make();
        let shown = snapshots.first().filter(|_| with_cells).map(|snapshot| self.show(snapshot));
        let pane = Arc::new(Pane { sheet, shown, frames, made, took: made.elapsed() });
        *place = Some(pane.clone());
        pane
    }

    /// The cells of `snapshot`, made from those before.
    fn show(&self, snapshot: &Arc<Snapshot>) -> Arc<Shown> {
        let id = snapshot.membership().network_id();
        let mut all = self.cells.lock();
        let before = all.get(id);
        // Who took the snapshot earlier may come later.
        let is_newer = |shown: &&Arc<Shown>| {
            shown.snapshot.membership().digest() == snapshot.membership().digest()
                && shown.snapshot.revision() >= snapshot.revision()
        };
        if let Some(shown) =
            before.filter(|shown| shown.cells.is_at(Frame::of(snapshot))).or(before.filter(is_newer))
        {
            return shown.clone();
        }
        let cells = Cells::new(snapshot, before.map(|shown| &shown.cells));
        let shown = Arc::new(Shown { cells, snapshot: snapshot.clone() });
        all.insert(id.clone(), shown.clone());
        shown
    }
}

impl Pane {
    fn is_good(&self, frames: &[Frame]) -> bool {
        let age = self.made.elapsed();
        age < (self.took * 10).clamp(SHORTEST, LONGEST) || (age < LONGEST && self.frames == frames)
    }

    /// What is new to a script that has the regions of these hashes and the cells of this frame, as JSON.
    pub(super) fn live(&self, have: &str, since: &str, mono_ms: u64, turned_ms: u64) -> Vec<u8> {
        let live = Live {
            build: assets::build(),
            made_for: &self.sheet.made_for,
            title: super::page::title(&self.sheet),
            state: self.sheet.state.as_str(),
            icon: &self.sheet.state.icon().path,
            told: &self.sheet.told,
            regions: self.sheet.regions.iter().filter_map(|region| region.news(have)).collect(),
            cells: self.shown.as_ref().map(|shown| shown.cells.news(&shown.snapshot, since, mono_ms)),
            turned_ms: mono_ms.saturating_sub(turned_ms),
        };
        serde_json::to_vec(&live).expect("strings and numbers always serialise")
    }
}
