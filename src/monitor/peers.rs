//! The peers' threads: each carries out the calls to its peer, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use log::error;

use super::exchange::exchange;
use crate::mesh::Event;
use crate::mesh::event::{Call, Called};
use crate::mesh::id::NodeId;
use crate::mesh::observation::Failure;
use crate::mesh::roster::Roster;
use crate::store::Node;
use crate::store::collector::Dial;
use crate::store::limit::Limiter;

/// Threads of one peer that may live: more than one only while calls that were given up have not ended. A
/// name server that never answers must not pile them up.
const THREADS: usize = 4;

/// How much a call may outlive its time, since the client library counts whole seconds.
const OVERTIME: Duration = Duration::from_millis(1_500);

/// The names of the peers' threads start with this: a panic there is one call's.
pub const THREAD_PREFIX: &str = "peer-";

/// One thread for each peer.
pub struct Peers {
    node: Arc<Node>,
    lanes: BTreeMap<NodeId, Lane>,
    lines: Limiter,
}

/// The way to a peer.
#[derive(Default)]
struct Lane {
    worker: Option<Worker>,
    /// The call under way, and when it is given up.
    under_way: Option<(u64, Instant)>,
    /// Held by each living thread of this peer.
    alive: Arc<()>,
    /// When the last [`THREADS`] calls were given up.
    given_up: VecDeque<Instant>,
}

/// A peer's thread.
struct Worker {
    // Above the thread: it ends when this closes.
    calls: Sender<Call>,
    thread: JoinHandle<()>,
}

impl Peers {
    /// No threads yet.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, lanes: BTreeMap::new(), lines: Limiter::default() }
    }
}

impl Lane {
    /// Hands `call` to the peer's thread, which is started if there is none.
    fn start(&mut self, node: &Arc<Node>, call: Call, lines: &Limiter) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_millis(call.timeout_ms);
        let id = call.id;
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None if Arc::strong_count(&self.alive) > THREADS => return Err(self.why_so_many()),
            None => Worker::start(node, &call.peer, self.alive.clone()).map_err(|error| {
                if let Some(more) = lines.pass("thread") {
                    error!(
                        "starting a thread to call {}: {error}; raise the limit on tasks{more}",
                        call.peer
                    );
                }
                Failure::Other
            })?,
        };
        if worker.calls.try_send(call).is_err() {
            // It still has one, which nobody asks for twice; the next call gets a thread of its own.
            return Err(Failure::Other);
        }
        self.worker = Some(worker);
        self.under_way = Some((id, deadline));
        Ok(())
    }

    /// Why [`THREADS`] calls that were given up have not ended: the oldest of them was given up no later than
    /// the oldest of the last so many, and nothing but a name lookup outlives its time by much.
    fn why_so_many(&self) -> Failure {
        let oldest = self.given_up.front().filter(|_| self.given_up.len() == THREADS);
        if oldest.is_some_and(|at| at.elapsed() > OVERTIME) { Failure::Dns } else { Failure::Timeout }
    }

    /// Its thread ends with the call, and nobody listens to it any more.
    fn give_up(&mut self) {
        self.under_way = None;
        self.worker = None;
        if self.given_up.len() == THREADS {
            self.given_up.pop_front();
        }
        self.given_up.push_back(Instant::now());
    }
}

impl Worker {
    fn start(node: &Arc<Node>, peer: &NodeId, alive: Arc<()>) -> std::io::Result<Self> {
        let (calls, waiting) = crossbeam_channel::bounded(1);
        let node = node.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{THREAD_PREFIX}{peer}"))
            .stack_size(1024 * 1024)
            .spawn(move || {
                make_calls(&node, &waiting);
                drop(alive);
            })?;
        Ok(Self { calls, thread })
    }
}

fn make_calls(node: &Node, waiting: &Receiver<Call>) {
    for call in waiting {
        // A peer's reply must not end the process, whatever the client library makes of it.
        let called = catch_unwind(AssertUnwindSafe(|| exchange(node, &call)));
        let called = called.unwrap_or_else(|_| failed(&call, Failure::BadReply));
        if !node.tell(Event::Called(called)) {
            return;
        }
    }
}

fn failed(call: &Call, failure: Failure) -> Called {
    Called { id: call.id, peer: call.peer.clone(), outcome: Err(failure), evidence: Vec::new() }
}

impl Dial for Peers {
    fn reconcile(&mut self, roster: &Roster) {
        let own = roster.own().id.as_str();
        let callable = |id: &str| id != own && roster.member(id).is_some_and(|member| member.url.is_some());
        self.lanes.retain(|id, _| callable(id.as_str()));
        for member in roster.members().iter().filter(|member| callable(member.id.as_str())) {
            self.lanes.entry(member.id.clone()).or_default();
        }
    }

    fn call(&mut self, call: Call) -> Result<(), Box<Called>> {
        let refused = failed(&call, Failure::Other);
        let Some(lane) = self.lanes.get_mut(&call.peer) else { return Err(Box::new(refused)) };
        lane.start(&self.node, call, &self.lines)
            .map_err(|failure| Box::new(Called { outcome: Err(failure), ..refused }))
    }

    fn ended(&mut self, called: &Called) {
        if let Some(lane) = self.lanes.get_mut(&called.peer) {
            lane.under_way = lane.under_way.filter(|(id, _)| *id != called.id);
        }
    }

    fn give_up(&mut self, now: Instant) -> Vec<Called> {
        let overdue = self.lanes.iter_mut().filter_map(|(peer, lane)| {
            let (id, _) = lane.under_way.filter(|(_, deadline)| *deadline <= now)?;
            lane.give_up();
            let outcome = Err(Failure::Timeout);
            Some(Called { id, peer: peer.clone(), outcome, evidence: Vec::new() })
        });
        overdue.collect()
    }

    fn deadline(&self) -> Option<Instant> {
        self.lanes.values().filter_map(|lane| lane.under_way).map(|(_, deadline)| deadline).min()
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let lanes = std::mem::take(&mut self.lanes).into_values();
        // Those that wait for an answer end by themselves; a stop does not wait for them.
        let idle = lanes.filter(|lane| lane.under_way.is_none()).filter_map(|lane| lane.worker);
        let threads: Vec<_> = idle.map(|worker| worker.thread).collect();
        for thread in threads {
            if thread.join().is_err() {
                error!("a peer's thread panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_calls_do_not_end() {
        let mut lane = Lane::default();
        assert_eq!(lane.why_so_many(), Failure::Timeout);
        for _ in 0..2 * THREADS {
            lane.give_up();
        }
        assert_eq!((lane.given_up.len(), lane.why_so_many()), (THREADS, Failure::Timeout));
        let long_ago = Instant::now().checked_sub(OVERTIME + Duration::from_secs(1));
        lane.given_up[0] = long_ago.expect("the clock runs for longer");
        assert_eq!(lane.why_so_many(), Failure::Dns);
    }
}
