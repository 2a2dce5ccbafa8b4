//! The last nonce of each peer, for replay protection: a request is answered only once.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::nonce_file::{NonceFile, NonceWriter};
use crate::crypto::Nonce;
use crate::mesh::id::NodeId;

/// The last accepted nonce of each peer, and which of these are not saved yet.
pub struct NonceStore {
    nonces: Mutex<Nonces>,
    file: NonceFile,
    wake: Sender<()>,
}

#[derive(Default)]
struct Nonces {
    last: BTreeMap<NodeId, Nonce>,
    unsaved: BTreeSet<NodeId>,
}

impl NonceStore {
    /// Creates a store with the nonces restored from `file`. `wake` receives a message, without blocking, when there is a
    /// nonce to save by [`NonceStore::save`].
    pub fn new(last: BTreeMap<NodeId, Nonce>, file: NonceFile, wake: Sender<()>) -> Self {
        Self { nonces: Mutex::new(Nonces { last, unsaved: BTreeSet::new() }), file, wake }
    }

    /// Accepts `nonce` if it is larger than the last one of `peer`, otherwise returns the last one as the error. Saves it
    /// before returning, unless the disk is slow or fails: then [`NonceStore::save`] is to save it later.
    pub fn accept(&self, peer: &NodeId, nonce: Nonce) -> Result<(), Nonce> {
        {
            let mut nonces = self.nonces.lock();
            match nonces.last.get(peer) {
                Some(last) if *last >= nonce => return Err(*last),
                _ => {}
            }
            nonces.last.insert(peer.clone(), nonce);
            nonces.unsaved.insert(peer.clone());
        }
        let writer = self.file.try_writer();
        let saved = writer.is_some_and(|mut writer| self.save_one(&mut writer, peer).is_ok());
        if !saved {
            // If the channel is full, the writer is about to read the nonces anyway.
            let _ = self.wake.try_send(());
        }
        Ok(())
    }

    /// Saves the nonces that are not saved yet, however long that takes.
    pub fn save(&self) -> io::Result<()> {
        let unsaved = self.nonces.lock().unsaved.clone();
        if unsaved.is_empty() {
            return Ok(());
        }
        let mut writer = self.file.writer();
        unsaved.iter().try_for_each(|peer| self.save_one(&mut writer, peer))
    }

    /// Waits until all saved nonces are on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    /// Saves the newest nonce of `peer` if no other thread has. The caller holds the right to write, so a nonce never
    /// replaces a newer one.
    fn save_one(&self, writer: &mut NonceWriter<'_>, peer: &NodeId) -> io::Result<()> {
        let nonce = {
            let mut nonces = self.nonces.lock();
            if !nonces.unsaved.remove(peer) {
                return Ok(());
            }
            nonces.last.get(peer).copied()
        };
        let Some(nonce) = nonce else { return Ok(()) };
        writer.write(peer, nonce).inspect_err(|_| {
            self.nonces.lock().unsaved.insert(peer.clone());
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn peer() -> NodeId {
        "a".parse().expect("a name")
    }

    fn nonce(epoch: u64, counter: u64) -> Nonce {
        Nonce { epoch, counter }
    }

    fn saved(path: &Path) -> Option<Nonce> {
        let mut file = NonceFile::open(path).expect("a writable directory");
        file.parse("net", path, &fs::read(path).expect("a file")).get(&peer()).copied()
    }

    #[test]
    fn nonce_is_accepted_once_and_saved() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("nonces");
        let (wake, woken) = crossbeam_channel::bounded(1);
        let file = NonceFile::open(&path).expect("a writable directory");
        let store = NonceStore::new(BTreeMap::new(), file, wake);
        for (given, expected, last) in [
            (nonce(5, 1), Ok(()), nonce(5, 1)),
            (nonce(5, 1), Err(nonce(5, 1)), nonce(5, 1)),
            (nonce(5, 3), Ok(()), nonce(5, 3)),
            (nonce(5, 2), Err(nonce(5, 3)), nonce(5, 3)),
            (nonce(6, 1), Ok(()), nonce(6, 1)),
            (nonce(5, 9), Err(nonce(6, 1)), nonce(6, 1)),
        ] {
            assert_eq!(store.accept(&peer(), given), expected, "{given:?}");
            assert_eq!(saved(&path), Some(last), "{given:?}");
        }
        assert_eq!(woken.len(), 0, "nothing is left to save");
    }

    #[test]
    fn nonce_is_saved_later_while_the_file_is_stuck() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("nonces");
        let (wake, woken) = crossbeam_channel::bounded(1);
        let file = NonceFile::open(&path).expect("a writable directory");
        let store = NonceStore::new(BTreeMap::new(), file, wake);
        let stuck = store.file.writer();
        for counter in 1..4 {
            let accepted = std::thread::scope(|scope| {
                scope.spawn(|| store.accept(&peer(), nonce(5, counter))).join().expect("no panic")
            });
            assert_eq!(accepted, Ok(()), "{counter}");
        }
        assert_eq!(saved(&path), None);
        drop(stuck);
        woken.try_recv().expect("the writer was woken");
        store.save().expect("written");
        assert_eq!(saved(&path), Some(nonce(5, 3)));
    }

    #[test]
    fn failed_write_is_retried_with_the_newest_nonce() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("nonces");
        let (wake, woken) = crossbeam_channel::bounded(1);
        fs::write(&path, "").expect("written");
        let read_only = NonceFile::of(fs::File::open(&path).expect("a file"));
        let mut store = NonceStore::new(BTreeMap::new(), read_only, wake);
        assert_eq!(store.accept(&peer(), nonce(5, 1)), Ok(()));
        assert_eq!(woken.len(), 1);
        assert!(store.save().is_err());
        assert_eq!(store.accept(&peer(), nonce(5, 2)), Ok(()));
        store.file = NonceFile::open(&path).expect("a writable directory");
        store.save().expect("written");
        assert_eq!(saved(&path), Some(nonce(5, 2)));
    }

    #[test]
    fn accepted_nonce_is_never_replaced_by_an_older_one() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("nonces");
        let (wake, _woken) = crossbeam_channel::bounded(1);
        let file = NonceFile::open(&path).expect("a writable directory");
        let store = NonceStore::new(BTreeMap::new(), file, wake);
        let next = std::sync::atomic::AtomicU64::new(1);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let counter = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if store.accept(&peer(), nonce(5, counter)).is_ok() {
                            let saved = saved(&path).expect("a whole line");
                            assert!(saved >= nonce(5, counter), "{saved} replaced {counter}");
                        }
                    }
                });
            }
        });
        assert_eq!(saved(&path), Some(nonce(5, 800)));
    }
}
