//! The file `nonces`: the last nonce of each peer, in one line of fixed width for each, overwritten in place.
//!
//! A request's nonce is in the page cache before the request is answered, so it survives the death of this process. It
//! does not survive a power cut or the death of the kernel: syncing each nonce would limit exchanges to the speed of the
//! disk. After a power cut, a request that was recorded in the last seconds before it may be answered once more.
//!
//! No line crosses a page, since a signal that kills this process can end a write between two pages, and a part of a line
//! could be read as another nonce.

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

/// The length of a line, in bytes, which divides the size of a page: name, epoch and counter with separators, padded.
const LINE: usize = 128;

/// The length of a line in files of earlier releases, in bytes.
const OLD_LINE: usize = MAX_NAME + 1 + 16 + 1 + 16 + 1;

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
            if let Some((id, nonce)) = parse_line(line, LINE) {
                self.lines.get_mut().insert(id.clone(), number);
                // A line stays after its node has left the network, in case the node returns.
                let last: &mut Nonce = nonces.entry(id).or_insert(nonce);
                *last = (*last).max(nonce);
            } else {
                warn!(
                    DISTOMON_NETWORK = network;
                    "{}:{}: damaged line; ignoring it: an old request of one peer could be answered again",
                    path.display(), number + 1
                );
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
        let text = format_line(peer, nonce, LINE);
        self.file.file.write_all_at(text.as_bytes(), line * LINE as u64)?;
        // A thread that waited for this one may have timed out just now; if so, the next one waits once more.
        self.file.is_stuck.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Converts the content of a file of an earlier release to lines of [`LINE`] bytes; none if `bytes` is not such content.
/// A damaged line stays damaged, so that [`NonceFile::parse`] logs it.
pub(super) fn convert_old(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.chunks(LINE).any(|line| parse_line(line, LINE).is_some()) {
        return None;
    }
    let lines = bytes.chunks(OLD_LINE).map(|line| parse_line(line, OLD_LINE));
    let lines: Vec<_> = lines.collect();
    let convert = |line: &Option<(NodeId, Nonce)>| match line {
        Some((id, nonce)) => format_line(id, *nonce, LINE),
        None => "\0".repeat(LINE),
    };
    lines.iter().any(Option::is_some).then(|| lines.iter().map(convert).collect::<String>().into_bytes())
}

/// Formats a line of `length` bytes.
fn format_line(peer: &NodeId, nonce: Nonce, length: usize) -> String {
    let text = format!("{peer:<MAX_NAME$} {:>16} {:>16}", nonce.epoch, nonce.counter);
    format!("{text:<width$}\n", width = length - 1)
}

/// Parses a line of exactly the form that [`format_line`] returns.
fn parse_line(line: &[u8], length: usize) -> Option<(NodeId, Nonce)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let id = words.next()?.parse().ok()?;
    let nonce = Nonce { epoch: words.next()?.parse().ok()?, counter: words.next()?.parse().ok()? };
    (format_line(&id, nonce, length).as_bytes() == line).then_some((id, nonce))
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

    #[test]
    fn no_line_crosses_a_page() {
        let (largest, name) = (u64::MAX >> 11, "n".repeat(MAX_NAME));
        let (peer, _) = nonce(&name, 1);
        for (peer, number) in [(&peer, largest), (&nonce("a", 1).0, 0)] {
            let line = format_line(peer, Nonce { epoch: number, counter: number }, LINE);
            assert_eq!(line.len(), LINE, "{line}");
        }
        assert_eq!(4096 % LINE, 0);
    }

    #[test]
    fn file_of_an_earlier_release_is_converted() {
        // Enough for a line of the new file to be read as one of the old length, if that were tried first.
        let names: Vec<_> = (0..200).map(|number| format!("{number:n>64}")).collect();
        let nonces: Vec<_> = names.iter().map(|name| nonce(name, 1_763_884_900_000)).collect();
        let old: String = nonces.iter().map(|(id, nonce)| format_line(id, *nonce, OLD_LINE)).collect();
        let mut old = old.into_bytes();
        let first = format!("{:<64} {:>16} {:>16}\n", "a", 1_763_884_900_000_u64, 7);
        old.splice(..OLD_LINE, first.bytes());
        old[OLD_LINE..2 * OLD_LINE].fill(0);
        old.extend_from_slice(b"torn");
        let new = convert_old(&old).expect("old lines");
        assert_eq!(new.len(), 201 * LINE);
        assert_eq!(convert_old(&new), None, "converted once");
        assert_eq!(convert_old(b""), None);
        assert_eq!(convert_old(b"damaged"), None);

        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("nonces");
        fs::write(&path, &new).expect("written");
        let mut expected: BTreeMap<_, _> = nonces.iter().skip(2).cloned().collect();
        expected.insert(nonce("a", 1).0, Nonce { epoch: 1_763_884_900_000, counter: 7 });
        assert_eq!(read(&path).1, expected);
    }

    #[test]
    fn line_of_another_form_is_damaged() {
        let (peer, nonce) = nonce("a", 20);
        let line = format_line(&peer, nonce, LINE);
        assert_eq!(parse_line(line.as_bytes(), LINE), Some((peer, nonce)));
        let changed = [line.replace("20", "2\n"), line.replace("20", "02"), line.replace('\n', " ")];
        for damaged in changed.iter().map(String::as_str).chain([&line[..LINE - 1], ""]) {
            assert_eq!(parse_line(damaged.as_bytes(), LINE), None, "{damaged:?}");
        }
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
