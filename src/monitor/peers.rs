//! The peers' threads: each waits for calls to its peer and carries them out, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use log::error;

use super::attempt::Attempts;
use super::exchange::exchange;
use crate::mesh::Event;
use crate::mesh::event::{Call, Called};
use crate::mesh::id::NodeId;
use crate::mesh::observation::Failure;
use crate::mesh::roster::Roster;
use crate::store::Node;
use crate::store::collector::Dial;

/// A peer has at most one call under way; one more may wait while a configuration changes.
const CALLS: usize = 2;

/// One thread for each peer.
pub struct Peers {
    node: Arc<Node>,
    // Above the threads: they end when their lane closes.
    calls: BTreeMap<NodeId, Lane>,
    threads: Vec<JoinHandle<()>>,
}

/// The way to a peer's thread.
struct Lane {
    calls: Sender<Call>,
    /// Never used; its end tells the thread to stop waiting for an answer.
    _open: Sender<()>,
}

impl Peers {
    /// No threads yet.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, calls: BTreeMap::new(), threads: Vec::new() }
    }

    fn start(&mut self, peer: &NodeId) {
        let (calls, waiting) = crossbeam_channel::bounded(CALLS);
        let (open, closed) = crossbeam_channel::bounded(0);
        let node = self.node.clone();
        let name = format!("peer-{peer}");
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .stack_size(1024 * 1024)
            .spawn(move || make_calls(&node, name, &waiting, closed));
        match thread {
            Ok(thread) => {
                self.calls.insert(peer.clone(), Lane { calls, _open: open });
                self.threads.push(thread);
            }
            Err(error) => error!("starting the thread of peer {peer}: {error}; raise the limit on tasks"),
        }
    }
}

fn make_calls(node: &Node, name: String, waiting: &Receiver<Call>, closed: Receiver<()>) {
    let attempts = Attempts::new(name, closed);
    for call in waiting {
        let called = exchange(node, &attempts, &call);
        if !node.tell(Event::Called(called)) {
            return;
        }
    }
}

impl Dial for Peers {
    fn reconcile(&mut self, roster: &Roster) {
        let own = roster.own().id.clone();
        let callable =
            |id: &NodeId| *id != own && roster.member(id.as_str()).is_some_and(|member| member.url.is_some());
        self.calls.retain(|id, _| callable(id));
        self.threads.retain(|thread| !thread.is_finished());
        for member in roster.members() {
            if callable(&member.id) && !self.calls.contains_key(&member.id) {
                self.start(&member.id);
            }
        }
    }

    fn call(&mut self, call: Call) -> Result<(), Box<Called>> {
        let (id, peer) = (call.id, call.peer.clone());
        let started = self.calls.get(&peer).is_some_and(|lane| lane.calls.try_send(call).is_ok());
        if started {
            return Ok(());
        }
        error!("no thread to call {peer}");
        Err(Box::new(Called { id, peer, outcome: Err(Failure::Other), evidence: Vec::new() }))
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.calls.clear();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a peer's thread panicked");
            }
        }
    }
}
