//! The last nonce of each peer: a request is answered only once.

use std::collections::{BTreeMap, BTreeSet};

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use crate::crypto::Nonce;
use crate::mesh::id::NodeId;

/// The last nonce that was answered of each peer, and which of them are not on disk yet.
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
    /// A book that begins with what was kept; `wake` is told, without waiting, when there is something
    /// to keep.
    pub fn new(last: BTreeMap<NodeId, Nonce>, wake: Sender<()>) -> Self {
        Self { nonces: Mutex::new(Nonces { last, unsaved: BTreeSet::new() }), wake }
    }

    /// Takes `nonce` if it is larger than the last of this peer, else gives that.
    pub fn accept(&self, peer: &NodeId, nonce: Nonce) -> Result<(), Nonce> {
        {
            let mut pages = self.nonces.lock();
            match pages.last.get(peer) {
                Some(last) if *last >= nonce => return Err(*last),
                _ => {}
            }
            pages.last.insert(peer.clone(), nonce);
            pages.unsaved.insert(peer.clone());
        }
        // Full means that it is about to look anyway.
        let _ = self.wake.try_send(());
        Ok(())
    }

    /// What has changed since this was last asked.
    pub fn unsaved(&self) -> Vec<(NodeId, Nonce)> {
        let mut pages = self.nonces.lock();
        let ids = std::mem::take(&mut pages.unsaved);
        ids.into_iter().filter_map(|id| pages.last.get(&id).copied().map(|nonce| (id, nonce))).collect()
    }

    /// Keeping these failed: they are to be kept still, at the latest state of each.
    pub fn mark_unsaved(&self, nonces: Vec<(NodeId, Nonce)>) {
        self.nonces.lock().unsaved.extend(nonces.into_iter().map(|(id, _)| id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_taken_once() {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let book = NonceStore::new(BTreeMap::new(), wake);
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
            assert_eq!(book.accept(&peer, given), expected, "{given:?}");
        }
        assert_eq!(woken.len(), 1);
        assert_eq!(book.unsaved(), [(peer, nonce(6, 1))]);
        assert!(book.unsaved().is_empty());
        let peer: NodeId = "a".parse().expect("a name");
        book.mark_unsaved(vec![(peer.clone(), nonce(5, 3))]);
        assert_eq!(book.unsaved(), [(peer, nonce(6, 1))], "what could not be kept is to be kept still");
    }
}
