//! The state directory of one node in one network: its lock, epoch, last heads and nonces, and proofs.
//!
//! Epoch, heads and proofs are replaced atomically. Nonces change with every request: see [`NonceFile`].

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use log::warn;
use rustix::fs::FlockOperation;

use super::epoch_file::{LostEpoch, last_epoch};
use super::last_run::LastRun;
use super::nonce_file::{self, NonceFile};
use crate::crypto::Nonce;
use crate::durable_file;
use crate::journal::message_id;
use crate::mesh::StartEpoch;
use crate::mesh::id::{MAX_INTEGER, NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::prior_run::PriorRun;

/// The maximum size of a state file, in bytes.
const MAX_FILE: u64 = 16 * 1024 * 1024;

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
}

/// The open state directory, locked until it is dropped.
pub struct StateFiles {
    dir: PathBuf,
    _lock: File,
    last_run: LastRun,
}

/// The state that an earlier process saved.
pub struct RestoredState {
    /// The id of the newest report of each node.
    pub min_reports: Vec<(NodeId, ReportId)>,
    /// Proofs of equivocation.
    pub proofs: Vec<EquivocationProof>,
    /// The previous process of this node; none if it published nothing, or its record is missing or damaged.
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
        Ok(Self { dir, _lock: lock, last_run: LastRun::default() })
    }

    /// The path of the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Chooses the next epoch, larger than any that `epoch`, `last_run` or `heads.json` names and at least `wall_ms`, and
    /// saves it. If one of them is damaged so that this is uncertain, logs that and saves none: an epoch that is not larger
    /// could be used twice. To be called after [`StateFiles::read`], which returned `restored`.
    pub fn next_epoch(
        &mut self,
        membership: &Membership,
        restored: &RestoredState,
        wall_ms: u64,
    ) -> Result<StartEpoch, StateError> {
        let path = self.dir.join("epoch");
        let file = match read_text(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let head = own_head(&restored.min_reports, membership).unwrap_or_default();
        match last_epoch(file, [self.last_run.largest_epoch(), head.epoch], wall_ms) {
            Ok(last) => {
                let epoch = (last + 1).max(wall_ms.min(MAX_INTEGER));
                self.save_epoch(epoch).map_err(failed("writing", &path))?;
                Ok(StartEpoch::New(epoch))
            }
            Err(LostEpoch { known, error }) => {
                warn!(
                    MESSAGE_ID = message_id::EPOCH_LOST, DISTOMON_NETWORK = membership.network_id().as_str();
                    "{}: {error}; publishing no reports until this node has recovered an epoch from its peers, at most 30 s",
                    path.display()
                );
                Ok(StartEpoch::Lost { known })
            }
        }
    }

    /// Saves `epoch`. It must not be used before this returns.
    pub fn save_epoch(&mut self, epoch: u64) -> io::Result<()> {
        self.save_last_run(LastRun { epoch, ..self.last_run })?;
        durable_file::replace(&self.dir.join("epoch"), format!("{epoch}\n").as_bytes())
    }

    /// Reads the state that an earlier process saved. Damaged files are logged and ignored: the node recovers their
    /// content from its peers.
    pub fn read(&mut self, membership: &Membership) -> RestoredState {
        let min_reports = self.read_heads();
        let prior = self.read_prior(own_head(&min_reports, membership));
        RestoredState { min_reports, proofs: self.read_proofs(membership), prior }
    }

    /// Opens the file of nonces, and reads the last nonce of each peer. Rewrites a file of an earlier release.
    pub fn open_nonces(
        &self,
        membership: &Membership,
    ) -> Result<(NonceFile, BTreeMap<NodeId, Nonce>), StateError> {
        let path = self.dir.join("nonces");
        let network = membership.network_id().as_str();
        let bytes = match durable_file::read(&path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                warn!(
                    DISTOMON_NETWORK = network;
                    "{}: {error}; ignoring it: an old request of each peer could be answered again", path.display()
                );
                Vec::new()
            }
        };
        let converted = nonce_file::convert_old(&bytes);
        if let Some(converted) = &converted {
            durable_file::replace(&path, converted).map_err(failed("writing", &path))?;
        }
        let mut file = NonceFile::open(&path).map_err(failed("opening", &path))?;
        let nonces = file.parse(network, &path, converted.as_deref().unwrap_or(&bytes));
        Ok((file, nonces))
    }

    /// Reads the record of the last run; `head` is this node's report in `heads.json`.
    fn read_prior(&mut self, head: Option<ReportId>) -> Option<PriorRun> {
        let path = self.dir.join("last_run");
        match LastRun::read(&path) {
            Ok(last_run) => {
                self.last_run = last_run?;
                self.last_run.prior(head)
            }
            Err(error) => {
                warn!("{}: {error}; ignoring it: whether this node crashed is unknown", path.display());
                None
            }
        }
    }

    fn save_last_run(&mut self, last_run: LastRun) -> io::Result<()> {
        last_run.write(&self.dir.join("last_run"))?;
        self.last_run = last_run;
        Ok(())
    }

    /// Saves the id of this node's newest report, and whether it announces the stop of this process.
    pub fn save_own_report(&mut self, report: ReportId, clean: bool) -> io::Result<()> {
        let last_run = LastRun { report: Some(report), clean, ..self.last_run };
        if last_run == self.last_run { Ok(()) } else { self.save_last_run(last_run) }
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

/// This node's report among `heads`.
fn own_head(heads: &[(NodeId, ReportId)], membership: &Membership) -> Option<ReportId> {
    let own = &membership.own().id;
    heads.iter().find(|(id, _)| id == own).map(|(_, report_id)| *report_id)
}

fn read_text(path: &Path) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "expected UTF-8 text");
    String::from_utf8(durable_file::read(path, MAX_FILE)?).map_err(not_text)
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

    fn open_files(dir: &Path) -> StateFiles {
        StateFiles::open(dir, &membership()).expect("a writable directory")
    }

    /// The epoch of a process that starts now.
    fn next_epoch(dir: &Path, wall_ms: u64) -> StartEpoch {
        let mut files = open_files(dir);
        let restored = files.read(&membership());
        files.next_epoch(&membership(), &restored, wall_ms).expect("a writable directory")
    }

    fn save_own_head(dir: &Path, epoch: u64) {
        let heads = BTreeMap::from([("me".parse().expect("a name"), ReportId { epoch, seq: 3 })]);
        open_files(dir).save_heads(&heads).expect("written");
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
        for (wall_ms, expected) in [(0, 1), (500, 500), (100, 501), (500, 502)] {
            assert_eq!(next_epoch(dir.path(), wall_ms), StartEpoch::New(expected), "{wall_ms}");
        }
    }

    #[test]
    fn missing_epoch_file_repeats_no_epoch() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let remove = |name: &str| fs::remove_file(dir.path().join("net/me").join(name)).expect("a file");
        assert_eq!(next_epoch(dir.path(), 500), StartEpoch::New(500));
        remove("epoch");
        assert_eq!(next_epoch(dir.path(), 1), StartEpoch::New(501), "by last_run");
        save_own_head(dir.path(), 600);
        remove("epoch");
        assert_eq!(next_epoch(dir.path(), 1), StartEpoch::New(601), "by heads.json");
        remove("epoch");
        remove("last_run");
        assert_eq!(next_epoch(dir.path(), 1), StartEpoch::New(601), "by heads.json alone");
    }

    #[test]
    fn epoch_far_above_its_copies_is_lost() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let largest = MAX_INTEGER - 1;
        let path = dir.path().join("net/me/epoch");
        assert_eq!(next_epoch(dir.path(), 500), StartEpoch::New(500));
        fs::write(&path, largest.to_string()).expect("written");
        assert_eq!(next_epoch(dir.path(), 501), StartEpoch::Lost { known: 500 });
        assert_eq!(fs::read_to_string(&path).expect("a file"), largest.to_string(), "nothing was saved");
        // Both files name it, so this node used it: the clock was ahead.
        open_files(dir.path()).save_epoch(largest - 1).expect("written");
        assert_eq!(next_epoch(dir.path(), 501), StartEpoch::New(largest));
        assert_eq!(next_epoch(dir.path(), 501), StartEpoch::New(MAX_INTEGER));
        assert_eq!(next_epoch(dir.path(), 501), StartEpoch::Lost { known: 0 });
    }

    #[test]
    fn damaged_epoch_is_lost_until_another_is_saved() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("net/me/epoch");
        assert_eq!(next_epoch(dir.path(), 500), StartEpoch::New(500));
        let (largest, larger) = (MAX_INTEGER.to_string(), u64::MAX.to_string());
        for damaged in [b"".as_slice(), b"x", b"-1", b"1 2", b"\xff", largest.as_bytes(), larger.as_bytes()] {
            fs::write(&path, damaged).expect("written");
            assert_eq!(next_epoch(dir.path(), 900), StartEpoch::Lost { known: 500 }, "{damaged:?}");
            assert_eq!(fs::read(&path).expect("a file"), damaged, "nothing was saved");
        }
        save_own_head(dir.path(), 600);
        assert_eq!(next_epoch(dir.path(), 900), StartEpoch::Lost { known: 600 });
        open_files(dir.path()).save_epoch(700).expect("written");
        assert_eq!(next_epoch(dir.path(), 1), StartEpoch::New(701));
        fs::remove_file(&path).expect("a file");
        fs::create_dir(&path).expect("a directory that cannot be read as a file");
        assert_eq!(next_epoch(dir.path(), 1), StartEpoch::Lost { known: 701 });
        // Without any other state, nothing is known.
        for name in ["last_run", "heads.json"] {
            fs::write(dir.path().join("net/me").join(name), "damaged").expect("written");
        }
        assert_eq!(next_epoch(dir.path(), 1), StartEpoch::Lost { known: 0 });
    }

    #[test]
    fn nonces_of_an_earlier_release_are_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let files = open_files(dir.path());
        let path = files.dir().join("nonces");
        let old =
            |name: &str, counter: u64| format!("{name:<64} {:>16} {counter:>16}\n", 1_763_884_900_000_u64);
        fs::write(&path, old("a", 7) + &old("b", 8)).expect("written");
        let id = |name: &str| name.parse::<NodeId>().expect("a name");
        let nonce = |counter| Nonce { epoch: 1_763_884_900_000, counter };
        let mut expected = BTreeMap::from([(id("a"), nonce(7)), (id("b"), nonce(8))]);
        let (file, nonces) = files.open_nonces(&membership()).expect("a writable directory");
        assert_eq!(nonces, expected);
        assert_eq!(fs::metadata(&path).expect("a file").len(), 2 * 128);
        // Writes go to the file that replaced the old one.
        file.writer().write(&id("b"), nonce(9)).expect("written");
        expected.insert(id("b"), nonce(9));
        assert_eq!(files.open_nonces(&membership()).expect("a writable directory").1, expected);
    }

    #[test]
    fn prior_run_survives_until_the_next_report_is_saved() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let prior = |dir: &Path| open_files(dir).read(&membership()).prior;
        let id = |epoch, seq| ReportId { epoch, seq };
        assert_eq!(prior(dir.path()), None);
        next_epoch(dir.path(), 5);
        assert_eq!(prior(dir.path()), None, "nothing was published");
        for (report, clean) in [(id(5, 1), false), (id(5, 2), false), (id(5, 3), true)] {
            let mut files = open_files(dir.path());
            files.read(&membership());
            files.save_own_report(report, clean).expect("written");
            drop(files);
            assert_eq!(prior(dir.path()), Some(PriorRun { report, clean }));
        }
        // A process that starts and saves no report does not stop cleanly.
        next_epoch(dir.path(), 5);
        assert_eq!(prior(dir.path()), Some(PriorRun { report: id(5, 3), clean: false }));
        fs::write(dir.path().join("net/me/last_run"), "damaged").expect("written");
        assert_eq!(prior(dir.path()), None);
    }
}
