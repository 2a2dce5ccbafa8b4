//! The cells of the matrix for a script: what each node found of each other, in four bytes, and only what has
//! changed since the script last asked.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::words;
use crate::mesh::Snapshot;
use crate::mesh::id::{NodeId, ReportId, Site};
use crate::mesh::wire::observation::{Observation, ProbeStatus};

/// Steps of a round-trip time in each power of two: it is told to 2 %, which is enough to look at, and small
/// changes of it need not be told.
const STEPS: f64 = 32.0;

/// All cells of a network at one moment.
pub(super) struct Cells {
    frame: Frame,
    /// The digest of the configuration: with another one, indices mean other nodes.
    config: String,
    rows: Vec<Row>,
}

/// A moment in the life of a node: its start, and the revision of its snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) epoch: u64,
    pub(super) revision: u64,
}

impl Frame {
    /// Of `snapshot`.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let epoch = snapshot.own_report().map_or(0, |own| own.id().epoch);
        Self { epoch, revision: snapshot.revision() }
    }

    /// As a script gives it back.
    fn read(text: &str) -> Option<Self> {
        let (epoch, revision) = text.split_once('.')?;
        Some(Self { epoch: epoch.parse().ok()?, revision: revision.parse().ok()? })
    }

    fn write(self) -> String {
        format!("{}.{}", self.epoch, self.revision)
    }
}

/// What one node found of the others.
#[derive(Clone)]
struct Row {
    /// By which report.
    stamp: Option<ReportId>,
    cells: Arc<[Cell]>,
}

#[derive(Clone, Copy)]
struct Cell {
    target: u16,
    value: u16,
    /// The revision in which it became so.
    since: u64,
}

/// What a script is told.
#[derive(Serialize)]
pub(super) struct News<'a> {
    /// What to ask for next.
    frame: String,
    /// All nodes with their sites, if all cells follow; else only cells that have changed do.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<(&'a NodeId, Option<&'a Site>)>>,
    /// A letter for each node: how it stands.
    standings: String,
    /// Whose reports are too old, by index.
    late: Vec<usize>,
    /// For each observer its index, and pairs of target and value, as 16-bit little-endian numbers in base64. The
    /// value's upper two bits are the status (1 online, 2 offline, 3 unknown), the others the round-trip time: 32
    /// times the binary logarithm of 1 µs more than it, or 0 where it is not known.
    rows: Vec<(usize, String)>,
}

impl Cells {
    /// The cells of `snapshot`; `before` tells which of them are new.
    pub(super) fn new(snapshot: &Snapshot, before: Option<&Self>) -> Self {
        let frame = Frame::of(snapshot);
        let config = snapshot.membership().digest();
        let known = before.filter(|before| before.frame.epoch == frame.epoch && before.config == config);
        let rows = snapshot.states().iter().enumerate().map(|(observer, slot)| {
            let stamp = slot.latest.as_ref().map(|latest| latest.id());
            let old = known.map(|known| &known.rows[observer]);
            if let Some(old) = old.filter(|old| old.stamp == stamp) {
                return old.clone();
            }
            let old = old.map(|old| &old.cells[..]).unwrap_or_default();
            let cells = slot.observations().filter_map(|(target, found)| {
                let (target, value) = (u16::try_from(target).ok()?, value(found));
                let same = old.binary_search_by_key(&target, |cell| cell.target).ok().map(|at| old[at]);
                let since = same.filter(|same| same.value == value).map_or(frame.revision, |same| same.since);
                Some(Cell { target, value, since })
            });
            Row { stamp, cells: cells.collect() }
        });
        Self { frame, config: config.to_owned(), rows: rows.collect() }
    }

    /// Whether these are of that frame.
    pub(super) fn is_at(&self, frame: Frame) -> bool {
        self.frame == frame
    }

    /// What is new to a script that has the cells of the frame `have`, as it wrote it.
    pub(super) fn news<'a>(&self, snapshot: &'a Snapshot, have: &str, mono_ms: u64) -> News<'a> {
        let have = Frame::read(have).filter(|have| have.epoch == self.frame.epoch);
        let members = snapshot.membership().members();
        let nodes =
            have.is_none().then(|| members.iter().map(|member| (&member.id, member.site.as_ref())).collect());
        let news = self.rows.iter().enumerate().map(|(observer, row)| {
            let fresh = row.cells.iter().filter(|cell| have.is_none_or(|have| cell.since > have.revision));
            let bytes: Vec<u8> = fresh
                .flat_map(|cell| [cell.target.to_le_bytes(), cell.value.to_le_bytes()])
                .flatten()
                .collect();
            (observer, bytes)
        });
        let rows = news.filter(|(_, bytes)| !bytes.is_empty());
        News {
            frame: self.frame.write(),
            nodes,
            standings: snapshot
                .verdicts()
                .nodes
                .iter()
                .map(|verdict| words::letter(verdict.status))
                .collect(),
            late: (0..members.len()).filter(|&index| !snapshot.is_fresh(index, mono_ms)).collect(),
            rows: rows.map(|(observer, bytes)| (observer, STANDARD.encode(bytes))).collect(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 times log2 of 2^32 is 1,024")]
fn value(found: &Observation) -> u16 {
    let status = match found.status {
        ProbeStatus::Online => 1,
        ProbeStatus::Offline => 2,
        ProbeStatus::Unknown => 3,
    };
    let time = found.rtt_us.map_or(0, |us| ((f64::from(us) + 1.0).log2() * STEPS).round() as u16);
    (status << 14) + time
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::fixture::Net;

    #[test]
    fn only_what_has_changed_is_told() {
        let net = Net::new("net-1", 4);
        let (node, quiet) = (net.busy_node(), net.node());
        let snapshot = node.snapshot();
        let cells = Cells::new(&snapshot, None);
        let all = cells.news(&snapshot, "", 0);
        assert_eq!(all.nodes.as_ref().map(Vec::len), Some(4));
        // Node 0 tells of the three others, node 1 of two.
        let cell = |row: &(usize, String)| (row.0, STANDARD.decode(&row.1).expect("base64").len() / 4);
        assert_eq!(all.rows.iter().map(cell).collect::<Vec<_>>(), [(0, 3), (1, 2)]);
        assert_eq!(all.standings.len(), 4);

        let none = cells.news(&snapshot, &all.frame, 0);
        assert!(none.nodes.is_none() && none.rows.is_empty());
        let again = Cells::new(&snapshot, Some(&cells));
        assert!(again.news(&snapshot, &all.frame, 0).rows.is_empty());
        // Another start of the node, or no number of ours: everything.
        for other in ["1.1", "x", "", "5", ".", "99999999999999999999.1"] {
            assert_eq!(cells.news(&snapshot, other, 0).rows.len(), 2, "{other}");
        }
        // One cell after the other changes.
        let mut older = Cells::new(&snapshot, None);
        let first = older.rows[0].cells.iter().map(|cell| Cell { since: 0, ..*cell });
        let first: Vec<Cell> = first
            .enumerate()
            .map(|(at, cell)| Cell { value: cell.value + u16::from(at == 1), ..cell })
            .collect();
        older.rows[0] = Row { stamp: None, cells: first.into() };
        older.frame.revision = 0;
        let other = Cells { config: "another".to_owned(), rows: Vec::new(), ..older };
        assert_eq!(
            Cells::new(&snapshot, Some(&other)).rows.len(),
            4,
            "with another configuration nothing is known"
        );
        let newer = Cells::new(&snapshot, Some(&older));
        let news = newer.news(&snapshot, &Frame { revision: 0, ..newer.frame }.write(), 0);
        assert_eq!(cell(&news.rows[0]), (0, 1));
        assert!(Cells::new(&quiet.snapshot(), None).news(&quiet.snapshot(), "", 0).rows.len() <= 1);
    }

    #[test]
    fn values() {
        let found = |status, rtt_us| Observation {
            status,
            since_ms: 0,
            rtt_us,
            took_us: None,
            clock_offset_ms: None,
            error: None,
            head: None,
        };
        assert_eq!(value(&found(ProbeStatus::Online, Some(1_023))), (1 << 14) + 320);
        assert_eq!(value(&found(ProbeStatus::Online, Some(u32::MAX))), (1 << 14) + 1_024);
        assert_eq!(value(&found(ProbeStatus::Offline, None)), 2 << 14);
        assert_eq!(value(&found(ProbeStatus::Unknown, Some(0))), 3 << 14);
    }
}
