//! The cells of the matrix for a script: each observation in four bytes, and only those that changed since the
//! script's last request.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::format;
use crate::mesh::Snapshot;
use crate::mesh::id::{NodeId, ReportId, Site};
use crate::mesh::wire::observation::{Observation, ProbeStatus};

/// The number of steps of a round-trip time per power of two: a precision of 2 %. Smaller changes are not sent.
const STEPS: f64 = 32.0;

/// All cells of a network in one snapshot.
pub(super) struct MatrixCells {
    version: SnapshotVersion,
    /// The digest of the configuration: with another one, the indices refer to other nodes.
    config_digest: String,
    rows: Vec<Row>,
}

/// The version of a snapshot: the epoch of the node that took it, and its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotVersion {
    epoch: u64,
    revision: u64,
}

impl SnapshotVersion {
    /// Returns the version of `snapshot`.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        Self { epoch: snapshot.epoch(), revision: snapshot.revision() }
    }

    /// Parses a version that a script sends back.
    fn parse(text: &str) -> Option<Self> {
        let (epoch, revision) = text.split_once('.')?;
        Some(Self { epoch: epoch.parse().ok()?, revision: revision.parse().ok()? })
    }

    fn format(self) -> String {
        format!("{}.{}", self.epoch, self.revision)
    }
}

/// The observations of one node.
#[derive(Clone)]
struct Row {
    report: Option<ReportId>,
    cells: Arc<[Cell]>,
}

#[derive(Clone, Copy)]
struct Cell {
    target: u16,
    value: u16,
    /// The revision in which the value changed last.
    changed_in: u64,
}

/// The JSON that brings the matrix of a script up to date.
#[derive(Serialize)]
pub(super) struct Delta<'a> {
    /// The version that the script sends with its next request.
    version: String,
    /// All nodes with their sites if `rows` holds all cells. Absent if it holds only cells that have changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<(&'a NodeId, Option<&'a Site>)>>,
    /// The status of each node as a letter.
    statuses: String,
    /// The indices of the nodes whose report is too old.
    outdated: Vec<usize>,
    /// For each observer its index, and pairs of target and value, as 16-bit little-endian numbers in base64. The
    /// value's upper two bits are the status (1 online, 2 offline, 3 unknown), the others the round-trip time: 32
    /// times the binary logarithm of 1 µs more than it, or 0 where it is not known.
    rows: Vec<(usize, String)>,
}

impl MatrixCells {
    /// Creates the cells of `snapshot`. Cells that equal those in `previous` keep the revision of their change.
    pub(super) fn new(snapshot: &Snapshot, previous: Option<&Self>) -> Self {
        let version = SnapshotVersion::of(snapshot);
        let config_digest = snapshot.membership().digest();
        let comparable = |previous: &&Self| {
            previous.version.epoch == version.epoch && previous.config_digest == config_digest
        };
        let previous = previous.filter(comparable);
        let rows = snapshot.states().iter().enumerate().map(|(observer, state)| {
            let report = state.latest_id();
            let old = previous.map(|previous| &previous.rows[observer]);
            if let Some(old) = old.filter(|old| old.report == report) {
                return old.clone();
            }
            let old_cells = old.map(|old| &old.cells[..]).unwrap_or_default();
            let cells = state.observations().filter_map(|(target, observation)| {
                let (target, value) = (u16::try_from(target).ok()?, encode(observation));
                let old = old_cells.binary_search_by_key(&target, |cell| cell.target).ok();
                let same = old.map(|position| old_cells[position]).filter(|old| old.value == value);
                let changed_in = same.map_or(version.revision, |same| same.changed_in);
                Some(Cell { target, value, changed_in })
            });
            Row { report, cells: cells.collect() }
        });
        Self { version, config_digest: config_digest.to_owned(), rows: rows.collect() }
    }

    /// Returns whether these are the cells of the snapshot with this version.
    pub(super) fn has_version(&self, version: SnapshotVersion) -> bool {
        self.version == version
    }

    /// Returns what has changed for a script that has the cells of the version `have`. `mono_ms` is now, in
    /// monotonic time.
    pub(super) fn delta<'a>(&self, snapshot: &'a Snapshot, have: &str, mono_ms: u64) -> Delta<'a> {
        let have = SnapshotVersion::parse(have).filter(|have| have.epoch == self.version.epoch);
        let members = snapshot.membership().members();
        let nodes =
            have.is_none().then(|| members.iter().map(|member| (&member.id, member.site.as_ref())).collect());
        let is_new = |cell: &&Cell| have.is_none_or(|have| cell.changed_in > have.revision);
        let rows = self.rows.iter().enumerate().map(|(observer, row)| {
            let cells = row.cells.iter().filter(is_new);
            let bytes: Vec<u8> = cells
                .flat_map(|cell| [cell.target.to_le_bytes(), cell.value.to_le_bytes()])
                .flatten()
                .collect();
            (observer, bytes)
        });
        let rows = rows.filter(|(_, bytes)| !bytes.is_empty());
        let verdicts = snapshot.verdicts().nodes.iter();
        Delta {
            version: self.version.format(),
            nodes,
            statuses: verdicts.map(|verdict| format::status_letter(verdict.status)).collect(),
            outdated: (0..members.len()).filter(|&index| !snapshot.is_fresh(index, mono_ms)).collect(),
            rows: rows.map(|(observer, bytes)| (observer, STANDARD.encode(bytes))).collect(),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "32 times log2 of 2^32 is 1,024")]
fn encode(observation: &Observation) -> u16 {
    let status = match observation.status {
        ProbeStatus::Online => 1,
        ProbeStatus::Offline => 2,
        ProbeStatus::Unknown => 3,
    };
    let rtt = observation.rtt_us.map_or(0, |us| ((f64::from(us) + 1.0).log2() * STEPS).round() as u16);
    (status << 14) + rtt
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Net;

    #[test]
    fn only_changes_are_sent() {
        let net = Net::new("net-1", 4);
        let (node, quiet) = (net.busy_node(), net.node());
        let snapshot = node.snapshot();
        let cells = MatrixCells::new(&snapshot, None);
        let all = cells.delta(&snapshot, "", 0);
        assert_eq!(all.nodes.as_ref().map(Vec::len), Some(4));
        // Node 0 observes the three others, node 1 two.
        let cell = |row: &(usize, String)| (row.0, STANDARD.decode(&row.1).expect("base64").len() / 4);
        assert_eq!(all.rows.iter().map(cell).collect::<Vec<_>>(), [(0, 3), (1, 2)]);
        assert_eq!(all.statuses.len(), 4);

        let none = cells.delta(&snapshot, &all.version, 0);
        assert!(none.nodes.is_none() && none.rows.is_empty());
        let again = MatrixCells::new(&snapshot, Some(&cells));
        assert!(again.delta(&snapshot, &all.version, 0).rows.is_empty());
        // Another epoch or an invalid version: everything.
        for other in ["1.1", "x", "", "5", ".", "99999999999999999999.1"] {
            assert_eq!(cells.delta(&snapshot, other, 0).rows.len(), 2, "{other}");
        }
        // One cell has changed since.
        let mut older = MatrixCells::new(&snapshot, None);
        let first = older.rows[0].cells.iter().map(|cell| Cell { changed_in: 0, ..*cell });
        let first: Vec<Cell> = first
            .enumerate()
            .map(|(at, cell)| Cell { value: cell.value + u16::from(at == 1), ..cell })
            .collect();
        older.rows[0] = Row { report: None, cells: first.into() };
        older.version.revision = 0;
        let other = MatrixCells { config_digest: "another".to_owned(), rows: Vec::new(), ..older };
        assert_eq!(
            MatrixCells::new(&snapshot, Some(&other)).rows.len(),
            4,
            "another configuration is not compared"
        );
        let newer = MatrixCells::new(&snapshot, Some(&older));
        let delta = newer.delta(&snapshot, &SnapshotVersion { revision: 0, ..newer.version }.format(), 0);
        assert_eq!(cell(&delta.rows[0]), (0, 1));
        assert!(MatrixCells::new(&quiet.snapshot(), None).delta(&quiet.snapshot(), "", 0).rows.len() <= 1);
    }

    #[test]
    fn encoding() {
        let observation = |status, rtt_us| Observation { rtt_us, ..Observation::new(status, 0) };
        assert_eq!(encode(&observation(ProbeStatus::Online, Some(1_023))), (1 << 14) + 320);
        assert_eq!(encode(&observation(ProbeStatus::Online, Some(u32::MAX))), (1 << 14) + 1_024);
        assert_eq!(encode(&observation(ProbeStatus::Offline, None)), 2 << 14);
        assert_eq!(encode(&observation(ProbeStatus::Unknown, Some(0))), 3 << 14);
    }
}
