//! The file `nonces`: the last nonce of each peer, in one line of fixed width for each, overwritten in place.
//!
//! A request's nonce is in the page cache before the request is answered, so it survives the death of this process. It
//! does not survive a power cut or the death of the kernel: syncing each nonce would limit exchanges to the speed of the
//! disk. After a power cut, a request that was recorded in the last seconds before it may be answered once more.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::warn;
use parking_lot::{Mutex, MutexGuard};

use crate::crypto::Nonce;
use crate::mesh::id::{MAX_NAME, NodeId};

/// The length of a line, in bytes: name, epoch and counter, padded, with separators.
const LINE: usize = MAX_NAME + 1 + 16 + 1 + 16 + 1;

/// The longest time that an exchange waits for another write to end.
const MAX_WAIT: Duration = Duration::from_millis(50);

/// The open file.
pub struct NonceFile {
    file: File,
    /// The line number of each peer. The lock is held during a write, so that writes happen one after the other.
    lines: Mutex<BTreeMap<NodeId, u64>>,
    /// Whether a write has taken longer than [`MAX_WAIT`] and has not ended.
    is_stuck: AtomicBool,
}

/// The right to write to a [`NonceFile`].
pub(super) struct NonceWriter<'f> {
    file: &'f NonceFile,
    lines: MutexGuard<'f, BTreeMap<NodeId, u64>>,
}

impl NonceFile {
    /// Opens or creates the file.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(Self::of(file))
    }

    /// An empty, open file.
    pub(super) fn of(file: File) -> Self {
        Self { file, lines: Mutex::default(), is_stuck: AtomicBool::new(false) }
    }

    /// Parses `bytes`, the content of the file at `path`. Damaged lines are logged and ignored.
    pub(super) fn parse(&mut self, network: &str, path: &Path, bytes: &[u8]) -> BTreeMap<NodeId, Nonce> {
        let mut nonces = BTreeMap::new();
        // Split by length, not by line ends: a line that was never written must not shift those after it.
        for (number, line) in (0..).zip(bytes.chunks(LINE)) {
            let line = std::str::from_utf8(line).unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let id = words.next().and_then(|word| word.parse::<NodeId>().ok());
            let mut next = || words.next().and_then(|word| word.parse::<u64>().ok());
            match (id, next(), next()) {
                (Some(id), Some(epoch), Some(counter)) if line.ends_with('\n') => {
                    self.lines.get_mut().insert(id.clone(), number);
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

    /// Waits for the right to write, at most [`MAX_WAIT`], and not at all while an earlier write is stuck.
    pub(super) fn try_writer(&self) -> Option<NonceWriter<'_>> {
        let wait = if self.is_stuck.load(Ordering::Relaxed) { Duration::ZERO } else { MAX_WAIT };
        let Some(lines) = self.lines.try_lock_for(wait) else {
            self.is_stuck.store(true, Ordering::Relaxed);
            return None;
        };
        Some(NonceWriter { file: self, lines })
    }

    /// Waits for the right to write, however long that takes.
    pub(super) fn writer(&self) -> NonceWriter<'_> {
        NonceWriter { file: self, lines: self.lines.lock() }
    }

    /// Waits until all nonces are on disk, not only in the page cache.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl NonceWriter<'_> {
    /// Overwrites the line of `peer`.
    pub(super) fn write(&mut self, peer: &NodeId, nonce: Nonce) -> io::Result<()> {
        let line = self.lines.get(peer).copied().unwrap_or_else(|| {
            let next = self.lines.values().max().map_or(0, |last| last + 1);
            self.lines.insert(peer.clone(), next);
            next
        });
        let text = format!("{peer:<MAX_NAME$} {:>16} {:>16}\n", nonce.epoch, nonce.counter);
        self.file.file.write_all_at(text.as_bytes(), line * LINE as u64)?;
        // A thread that waited for this one may have timed out just now; if so, the next one waits once more.
        self.file.is_stuck.store(false, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn nonce(name: &str, epoch: u64) -> (NodeId, Nonce) {
        (name.parse().expect("a name"), Nonce { epoch, counter: 1 })
    }

    fn read(path: &Path) -> (NonceFile, BTreeMap<NodeId, Nonce>) {
        let mut file = NonceFile::open(path).expect("a writable directory");
        let nonces = file.parse("net", path, &fs::read(path).expect("a file"));
        (file, nonces)
    }

    fn write(file: &NonceFile, nonces: &[(NodeId, Nonce)]) {
        for (peer, nonce) in nonces {
            file.writer().write(peer, *nonce).expect("written");
        }
    }

    #[test]
    fn nonces_survive_a_damaged_line_between_them() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("nonces");
        let (file, _) = read_new(&path);
        write(&file, &["a", "b", "c"].map(|name| nonce(name, 1)));
        // A write that a full disk rejected before later ones succeeded, and one that a crash interrupted.
        let mut bytes = fs::read(&path).expect("a file");
        bytes[LINE..2 * LINE].fill(0);
        bytes.extend_from_slice(b"torn \xff");
        fs::write(&path, bytes).expect("written");

        let (file, nonces) = read(&path);
        assert_eq!(nonces, BTreeMap::from([nonce("a", 1), nonce("c", 1)]));
        write(&file, &[nonce("c", 2), nonce("b", 2), nonce("a", 2)]);
        assert_eq!(read(&path).1, BTreeMap::from(["a", "b", "c"].map(|name| nonce(name, 2))));
    }

    fn read_new(path: &Path) -> (NonceFile, BTreeMap<NodeId, Nonce>) {
        fs::write(path, "").expect("written");
        read(path)
    }

    #[test]
    fn only_one_thread_waits_for_a_stuck_write() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (file, _) = read_new(&dir.path().join("nonces"));
        let mut stuck = file.writer();
        assert!(!file.is_stuck.load(Ordering::Relaxed));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| file.try_writer().is_none());
            assert!(waiting.join().expect("no panic"));
            assert!(file.is_stuck.load(Ordering::Relaxed), "the next one does not wait");
            assert!(scope.spawn(|| file.try_writer().is_none()).join().expect("no panic"));
        });
        let (peer, nonce) = nonce("a", 1);
        stuck.write(&peer, nonce).expect("written");
        drop(stuck);
        assert!(!file.is_stuck.load(Ordering::Relaxed));
        assert!(file.try_writer().is_some());
    }
}
