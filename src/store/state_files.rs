//! The state directory of one node in one network: its lock, epoch, last heads and nonces, and proofs.
//!
//! What must not be lost is written whole, synced and renamed; nonces, which change with every request,
//! are overwritten in place, one fixed-width line a peer.

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

/// The largest state file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// A nonce's line: name, epoch and counter, padded, and the separators.
const NONCE_LINE: usize = MAX_NAME + 1 + 16 + 1 + 16 + 1;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or directory operation failed.
    #[error("state directory: {action} {path}: {error}; it must be a directory that this user may write to")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process holds the lock.
    #[error("state directory {0} is in use by another process: is this node already running?")]
    InUse(PathBuf),
    /// The epoch file is not a number: going on could reuse an epoch.
    #[error("state file {0} is damaged: expected one number; remove it, and the node heals with a new epoch")]
    BadEpoch(PathBuf),
    /// No epoch is left to take.
    #[error("state file {0} holds the last epoch there is; give this node a new key and remove the file")]
    NoEpoch(PathBuf),
}

/// The open state directory. The lock is held as long as this lives.
pub struct StateFiles {
    dir: PathBuf,
    _lock: File,
    nonces: File,
    nonce_lines: BTreeMap<NodeId, u64>,
}

/// What an earlier process left.
pub struct RestoredState {
    /// Nonces of peers.
    pub nonces: BTreeMap<NodeId, Nonce>,
    /// Newest reports of peers.
    pub min_reports: Vec<(NodeId, ReportId)>,
    /// Proofs of equivocation.
    pub proofs: Vec<EquivocationProof>,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |error| StateError::Io { action, path: path.to_owned(), error }
}

impl StateFiles {
    /// Opens `<state>/<network_id>/<node_id>/`, makes it where it is missing, and locks it.
    pub fn open(state: &Path, membership: &Membership) -> Result<Self, StateError> {
        let dir = state.join(membership.network_id().as_str()).join(membership.own().id.as_str());
        let proofs = dir.join("proofs");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&proofs)
            .map_err(failed("making", &proofs))?;
        let lock_path = dir.join("lock");
        let lock = open(&lock_path).map_err(failed("opening", &lock_path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::InUse(dir)),
            Err(error) => return Err(failed("locking", &lock_path)(error.into())),
        }
        // The lock makes this process the only writer of these directories.
        for dir in [&dir, &proofs] {
            durable_file::remove_temporary(dir).map_err(failed("removing temporary files from", dir))?;
        }
        let nonces_path = dir.join("nonces");
        let nonces = open(&nonces_path).map_err(failed("opening", &nonces_path))?;
        Ok(Self { dir, _lock: lock, nonces, nonce_lines: BTreeMap::new() })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Takes the next epoch: larger than any before, and at least `wall_ms`. It is on disk when this
    /// returns.
    pub fn take_epoch(&self, wall_ms: u64) -> Result<u64, StateError> {
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

    /// Keeps `epoch` before it is used.
    pub fn save_epoch(&self, epoch: u64) -> io::Result<()> {
        durable_file::replace(&self.dir.join("epoch"), format!("{epoch}\n").as_bytes())
    }

    /// Reads what an earlier process left. Damaged files are told and left out: what they held heals.
    pub fn read(&mut self, membership: &Membership) -> RestoredState {
        let nonces = self.read_nonces(membership);
        RestoredState { nonces, min_reports: self.read_heads(), proofs: self.read_proofs(membership) }
    }

    fn read_nonces(&mut self, membership: &Membership) -> BTreeMap<NodeId, Nonce> {
        let mut found = BTreeMap::new();
        let path = self.dir.join("nonces");
        let network = membership.network_id().as_str();
        let bytes = match read_bytes(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                warn!(
                    DISTOMON_NETWORK = network;
                    "{}: {error}; an old request of each peer could be answered once more", path.display()
                );
                return found;
            }
        };
        // By length, not by line ends: a line that was never written must not shift those behind it.
        for (number, line) in (0..).zip(bytes.chunks(NONCE_LINE)) {
            let line = std::str::from_utf8(line).unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let id = words.next().and_then(|word| word.parse::<NodeId>().ok());
            let mut next = || words.next().and_then(|word| word.parse::<u64>().ok());
            match (id, next(), next()) {
                (Some(id), Some(epoch), Some(counter)) if line.ends_with('\n') => {
                    self.nonce_lines.insert(id.clone(), number);
                    // A node that left the network keeps its line, in case it comes back.
                    let last: &mut Nonce = found.entry(id).or_insert(Nonce { epoch, counter });
                    *last = (*last).max(Nonce { epoch, counter });
                }
                _ => warn!(
                    DISTOMON_NETWORK = network;
                    "{}:{}: damaged line left out; an old request of one peer could be answered once more",
                    path.display(), number + 1
                ),
            }
        }
        found
    }

    /// Keeps nonces, each in its peer's own line.
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
                warn!("{}: {error}; older reports of peers could be taken once more", path.display());
                return Vec::new();
            }
        };
        match serde_json::from_str::<BTreeMap<NodeId, ReportId>>(&text) {
            Ok(heads) => heads.into_iter().collect(),
            Err(error) => {
                warn!("{}: {error}; older reports of peers could be taken once more", path.display());
                Vec::new()
            }
        }
    }

    /// Keeps the newest reports' places.
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
                        warn!("{}: {error}; this proof is not used", path.display());
                        return None;
                    }
                };
                match EquivocationProof::from_json(&text, membership) {
                    Ok(proof) => Some(proof),
                    Err(error) => {
                        // With another key in the configuration, the proof against the old one is history.
                        log::info!("{}: {error}; this proof is not used", path.display());
                        None
                    }
                }
            })
            .collect()
    }

    /// Keeps a proof.
    pub fn save_proof(&self, proof: &EquivocationProof) -> io::Result<()> {
        durable_file::replace(&self.proof_path(proof.author().as_str()), proof.to_json().as_bytes())
    }

    fn proof_path(&self, id: &str) -> PathBuf {
        self.dir.join("proofs").join(format!("{id}.json"))
    }

    /// Waits until nonces are on disk, not only with the kernel.
    pub fn sync(&self) -> io::Result<()> {
        self.nonces.sync_data()
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read_text(path: &Path) -> io::Result<String> {
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "expected UTF-8 text");
    String::from_utf8(read_bytes(path)?).map_err(no_text)
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes are too many")));
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
    fn nonces_around_a_hole_stay_in_their_lines() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let membership = membership();
        let nonce =
            |name: &str, epoch| (name.parse::<NodeId>().expect("a name"), Nonce { epoch, counter: 1 });
        let mut files = StateFiles::open(dir.path(), &membership).expect("a new directory");
        files.save_nonces(&["a", "b", "c"].map(|name| nonce(name, 1))).expect("written");
        let path = files.dir().join("nonces");
        drop(files);
        // As a full disk leaves it that took what came later, and a crash in the midst of a write.
        let mut bytes = fs::read(&path).expect("kept");
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
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let membership = membership();
        let files = StateFiles::open(dir.path(), &membership).expect("a new directory");
        assert!(matches!(StateFiles::open(dir.path(), &membership), Err(StateError::InUse(_))));
        drop(files);
        assert!(StateFiles::open(dir.path(), &membership).is_ok());
    }

    #[test]
    fn epochs_only_grow() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let files = StateFiles::open(dir.path(), &membership()).expect("a new directory");
        for (wall_ms, expected) in [(0, 1), (500, 500), (100, 501), (500, 502)] {
            assert_eq!(files.take_epoch(wall_ms).ok(), Some(expected), "{wall_ms}");
        }
        fs::write(files.dir().join("epoch"), "x").expect("written");
        assert!(matches!(files.take_epoch(1), Err(StateError::BadEpoch(_))));
        fs::write(files.dir().join("epoch"), MAX_INTEGER.to_string()).expect("written");
        assert!(matches!(files.take_epoch(1), Err(StateError::NoEpoch(_))));
    }
}
