//! The state directory of one node in one network: its lock, epoch, last heads and nonces, and proofs.
//!
//! Epoch, heads and proofs are replaced atomically. Nonces, which change with every request, are overwritten in place, in
//! one line of fixed width for each peer.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use log::warn;
use rustix::fs::FlockOperation;

use crate::crypto::Nonce;
use crate::durable_file;
use crate::mesh::id::{MAX_INTEGER, MAX_NAME, NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::prior_run::PriorRun;

/// The maximum size of a state file, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// The length of a line in `nonces`, in bytes: name, epoch and counter, padded, with separators.
const NONCE_LINE: usize = MAX_NAME + 1 + 16 + 1 + 16 + 1;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or directory operation failed.
    #[error("state directory: {action} {path}: {error}; {}", remedy(error))]
    Io {
        /// The operation.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        error: io::Error,
    },
    /// Another process holds the lock.
    #[error("state directory {0} is in use by another process: is this node already running?")]
    InUse(PathBuf),
    /// The epoch file is not a number: without it, an epoch could be used twice.
    #[error(
        "state file {0} is damaged: expected one number; remove it, and the node starts with a new epoch"
    )]
    BadEpoch(PathBuf),
    /// The largest possible epoch was used.
    #[error(
        "state file {0} contains the largest possible epoch; give this node a new key and remove the file"
    )]
    NoEpoch(PathBuf),
}

/// The open state directory, locked until it is dropped.
pub struct StateFiles {
    dir: PathBuf,
    _lock: File,
    nonces: File,
    nonce_lines: BTreeMap<NodeId, u64>,
}

/// The state that an earlier process saved.
pub struct RestoredState {
    /// The last nonce of each peer.
    pub nonces: BTreeMap<NodeId, Nonce>,
    /// The id of the newest report of each node.
    pub min_reports: Vec<(NodeId, ReportId)>,
    /// Proofs of equivocation.
    pub proofs: Vec<EquivocationProof>,
    /// How the process ended.
    pub prior: Option<PriorRun>,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |error| StateError::Io { action, path: path.to_owned(), error }
}

impl StateFiles {
    /// Opens `<state>/<network_id>/<node_id>/`, creates it if it is missing, and locks it.
    pub fn open(state: &Path, membership: &Membership) -> Result<Self, StateError> {
        let dir = state.join(membership.network_id().as_str()).join(membership.own().id.as_str());
        let proofs = dir.join("proofs");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&proofs)
            .map_err(failed("creating", &proofs))?;
        let lock_path = dir.join("lock");
        let lock = open(&lock_path).map_err(failed("opening", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::InUse(dir)),
            Err(error) => return Err(failed("locking", &lock_path)(error.into())),
        }
        // The lock excludes other writers.
        for dir in [&dir, &proofs] {
            durable_file::remove_temporary(dir).map_err(failed("removing temporary files from", dir))?;
        }
        let nonces_path = dir.join("nonces");
        let nonces = open(&nonces_path).map_err(failed("opening", &nonces_path))?;
        Ok(Self { dir, _lock: lock, nonces, nonce_lines: BTreeMap::new() })
    }

    /// The path of the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Chooses the next epoch, larger than any before and at least `wall_ms`, and saves it.
    pub fn next_epoch(&self, wall_ms: u64) -> Result<u64, StateError> {
        let path = self.dir.join("epoch");
        let last = match read_text(&path) {
            Ok(text) => text.trim().parse::<u64>().map_err(|_| StateError::BadEpoch(path.clone()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(failed("reading", &path)(error)),
        };
        let epoch = last.saturating_add(1).max(wall_ms);
        if epoch > MAX_INTEGER {
            return Err(StateError::NoEpoch(path));
        }
        self.save_epoch(epoch).map_err(failed("writing", &path))?;
        Ok(epoch)
    }

    /// Saves `epoch`. It must not be used before this returns.
    pub fn save_epoch(&self, epoch: u64) -> io::Result<()> {
        durable_file::replace(&self.dir.join("epoch"), format!("{epoch}\n").as_bytes())
    }

    /// Reads the state that an earlier process saved. Damaged files are logged and ignored: the node recovers their
    /// content from its peers.
    pub fn read(&mut self, membership: &Membership) -> RestoredState {
        let nonces = self.read_nonces(membership);
        RestoredState {
            nonces,
            min_reports: self.read_heads(),
            proofs: self.read_proofs(membership),
            prior: None,
        }
    }

    fn read_nonces(&mut self, membership: &Membership) -> BTreeMap<NodeId, Nonce> {
        let mut nonces = BTreeMap::new();
        let path = self.dir.join("nonces");
        let network = membership.network_id().as_str();
        let bytes = match read_bytes(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                warn!(
                    DISTOMON_NETWORK = network;
                    "{}: {error}; ignoring it: an old request of each peer could be answered again", path.display()
                );
                return nonces;
            }
        };
        // Split by length, not by line ends: a line that was never written must not shift those after it.
        for (number, line) in (0..).zip(bytes.chunks(NONCE_LINE)) {
            let line = std::str::from_utf8(line).unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let id = words.next().and_then(|word| word.parse::<NodeId>().ok());
            let mut next = || words.next().and_then(|word| word.parse::<u64>().ok());
            match (id, next(), next()) {
                (Some(id), Some(epoch), Some(counter)) if line.ends_with('\n') => {
                    self.nonce_lines.insert(id.clone(), number);
                    // A line stays after its node has left the network, in case the node returns.
                    let last: &mut Nonce = nonces.entry(id).or_insert(Nonce { epoch, counter });
                    *last = (*last).max(Nonce { epoch, counter });
                }
                _ => warn!(
                    DISTOMON_NETWORK = network;
                    "{}:{}: damaged line; ignoring it: an old request of one peer could be answered again",
                    path.display(), number + 1
                ),
            }
        }
        nonces
    }

    /// Saves nonces, each in the line of its peer.
    pub fn save_nonces(&mut self, nonces: &[(NodeId, Nonce)]) -> io::Result<()> {
        for (id, nonce) in nonces {
            let next = self.nonce_lines.values().max().map_or(0, |last| last + 1);
            let line = *self.nonce_lines.entry(id.clone()).or_insert(next);
            let text = format!("{id:<MAX_NAME$} {:>16} {:>16}\n", nonce.epoch, nonce.counter);
            self.nonces.write_all_at(text.as_bytes(), line * NONCE_LINE as u64)?;
        }
        Ok(())
    }

    fn read_heads(&self) -> Vec<(NodeId, ReportId)> {
        let path = self.dir.join("heads.json");
        let text = match read_text(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                warn!(
                    "{}: {error}; ignoring it: old reports of peers could be accepted again",
                    path.display()
                );
                return Vec::new();
            }
        };
        match serde_json::from_str::<BTreeMap<NodeId, ReportId>>(&text) {
            Ok(heads) => heads.into_iter().collect(),
            Err(error) => {
                warn!(
                    "{}: {error}; ignoring it: old reports of peers could be accepted again",
                    path.display()
                );
                Vec::new()
            }
        }
    }

    /// Saves the ids of the newest reports.
    pub fn save_heads(&self, heads: &BTreeMap<NodeId, ReportId>) -> io::Result<()> {
        let text = serde_json::to_vec(heads).map_err(io::Error::other)?;
        durable_file::replace(&self.dir.join("heads.json"), &text)
    }

    fn read_proofs(&self, membership: &Membership) -> Vec<EquivocationProof> {
        let members = membership.members().iter();
        members
            .filter_map(|member| {
                let path = self.proof_path(member.id.as_str());
                let text = match read_text(&path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
                    Err(error) => {
                        warn!("{}: {error}; ignoring this proof", path.display());
                        return None;
                    }
                };
                match EquivocationProof::from_json(&text, membership) {
                    Ok(proof) => Some(proof),
                    Err(error) => {
                        // After a change of key, a proof against the old key no longer applies.
                        log::info!("{}: {error}; ignoring this proof", path.display());
                        None
                    }
                }
            })
            .collect()
    }

    /// Saves a proof.
    pub fn save_proof(&self, proof: &EquivocationProof) -> io::Result<()> {
        durable_file::replace(&self.proof_path(proof.author().as_str()), proof.to_json().as_bytes())
    }

    fn proof_path(&self, id: &str) -> PathBuf {
        self.dir.join("proofs").join(format!("{id}.json"))
    }

    /// Waits until all nonces are on disk, not only in the page cache.
    pub fn sync(&self) -> io::Result<()> {
        self.nonces.sync_data()
    }
}

/// How an operator can remove the cause of `error` in the state directory, as a clause.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "let the user of this process write to it",
        io::ErrorKind::StorageFull => "free space on its filesystem",
        io::ErrorKind::QuotaExceeded => "free space or raise the quota of this user",
        io::ErrorKind::ReadOnlyFilesystem => "mount its filesystem writable",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "remove the file in place of the directory"
        }
        _ => "check this directory and its filesystem",
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read_text(path: &Path) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "expected UTF-8 text");
    String::from_utf8(read_bytes(path)?).map_err(not_text)
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes exceed the maximum of {MAX_FILE}"),
        ));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Keypair;
    use crate::mesh::membership::Member;

    fn membership() -> Membership {
        let key = Keypair::generate().expect("random source");
        let id: NodeId = "me".parse().expect("a name");
        let me = Member {
            id: id.clone(),
            url: None,
            poll_rate_ms: 1_000,
            retry: 0,
            timeout_ms: 1_000,
            keys: vec![key.public().clone()],
            site: None,
        };
        Membership::new("net".parse().expect("a name"), vec![me], &id).expect("a member")
    }

    #[test]
    fn nonces_survive_a_damaged_line_between_them() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let membership = membership();
        let nonce =
            |name: &str, epoch| (name.parse::<NodeId>().expect("a name"), Nonce { epoch, counter: 1 });
        let mut files = StateFiles::open(dir.path(), &membership).expect("a new directory");
        files.save_nonces(&["a", "b", "c"].map(|name| nonce(name, 1))).expect("written");
        let path = files.dir().join("nonces");
        drop(files);
        // A write that a full disk rejected before later ones succeeded, and one that a crash interrupted.
        let mut bytes = fs::read(&path).expect("the file of nonces");
        bytes[NONCE_LINE..2 * NONCE_LINE].fill(0);
        bytes.extend_from_slice(b"torn \xff");
        fs::write(&path, bytes).expect("written");

        let mut files = StateFiles::open(dir.path(), &membership).expect("the same directory");
        assert_eq!(files.read(&membership).nonces, BTreeMap::from([nonce("a", 1), nonce("c", 1)]));
        files.save_nonces(&[nonce("c", 2), nonce("b", 2), nonce("a", 2)]).expect("written");
        drop(files);
        let mut files = StateFiles::open(dir.path(), &membership).expect("the same directory");
        let expected = BTreeMap::from(["a", "b", "c"].map(|name| nonce(name, 2)));
        assert_eq!(files.read(&membership).nonces, expected);
    }

    #[test]
    fn state_directory_is_locked() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let membership = membership();
        let files = StateFiles::open(dir.path(), &membership).expect("a new directory");
        assert!(matches!(StateFiles::open(dir.path(), &membership), Err(StateError::InUse(_))));
        drop(files);
        assert!(StateFiles::open(dir.path(), &membership).is_ok());
    }

    #[test]
    fn error_names_the_cause_and_its_remedy() {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("net"), "").expect("written");
        let error = StateFiles::open(dir.path(), &membership()).err().expect("a file is in the way");
        let text = error.to_string();
        assert!(text.ends_with("remove the file in place of the directory"), "{text}");
        assert!(std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<io::Error>));
    }

    #[test]
    fn epochs_increase() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let files = StateFiles::open(dir.path(), &membership()).expect("a new directory");
        for (wall_ms, expected) in [(0, 1), (500, 500), (100, 501), (500, 502)] {
            assert_eq!(files.next_epoch(wall_ms).ok(), Some(expected), "{wall_ms}");
        }
        fs::write(files.dir().join("epoch"), "x").expect("written");
        assert!(matches!(files.next_epoch(1), Err(StateError::BadEpoch(_))));
        fs::write(files.dir().join("epoch"), MAX_INTEGER.to_string()).expect("written");
        assert!(matches!(files.next_epoch(1), Err(StateError::NoEpoch(_))));
    }
}
