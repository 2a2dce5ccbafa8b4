//! The last nonce of each peer, for replay protection: a request is answered only once.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use crate::crypto::Nonce;
use crate::mesh::id::NodeId;

/// The last accepted nonce of each peer, and which of these are not on disk yet.
pub struct NonceStore {
    nonces: Mutex<Nonces>,
    wake: Sender<()>,
}

#[derive(Default)]
struct Nonces {
    last: BTreeMap<NodeId, Nonce>,
    unsaved: BTreeSet<NodeId>,
}

impl NonceStore {
    /// Creates a store with the nonces restored from disk. `wake` receives a message, without blocking, when there is a
    /// nonce to save.
    pub fn new(last: BTreeMap<NodeId, Nonce>, wake: Sender<()>) -> Self {
        Self { nonces: Mutex::new(Nonces { last, unsaved: BTreeSet::new() }), wake }
    }

    /// Accepts `nonce` if it is larger than the last one of `peer`, otherwise returns the last one as the error.
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
        // If the channel is full, the writer is about to read the nonces anyway.
        let _ = self.wake.try_send(());
        Ok(())
    }

    /// Takes the nonces that have been accepted since the last call.
    pub fn take_unsaved(&self) -> Vec<(NodeId, Nonce)> {
        let mut nonces = self.nonces.lock();
        let ids = std::mem::take(&mut nonces.unsaved);
        ids.into_iter().filter_map(|id| nonces.last.get(&id).copied().map(|nonce| (id, nonce))).collect()
    }

    /// Marks the nonces of these peers as unsaved again, after a failed write.
    pub fn mark_unsaved(&self, nonces: Vec<(NodeId, Nonce)>) {
        self.nonces.lock().unsaved.extend(nonces.into_iter().map(|(id, _)| id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_accepted_once() {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let store = NonceStore::new(BTreeMap::new(), wake);
        let peer: NodeId = "a".parse().expect("a name");
        let nonce = |epoch, counter| Nonce { epoch, counter };
        for (given, expected) in [
            (nonce(5, 1), Ok(())),
            (nonce(5, 1), Err(nonce(5, 1))),
            (nonce(5, 3), Ok(())),
            (nonce(5, 2), Err(nonce(5, 3))),
            (nonce(6, 1), Ok(())),
            (nonce(5, 9), Err(nonce(6, 1))),
        ] {
            assert_eq!(store.accept(&peer, given), expected, "{given:?}");
        }
        assert_eq!(woken.len(), 1);
        assert_eq!(store.take_unsaved(), [(peer, nonce(6, 1))]);
        assert!(store.take_unsaved().is_empty());
        let peer: NodeId = "a".parse().expect("a name");
        store.mark_unsaved(vec![(peer.clone(), nonce(5, 3))]);
        assert_eq!(
            store.take_unsaved(),
            [(peer, nonce(6, 1))],
            "a failed write is retried with the newest nonce"
        );
    }
}
