//! The peers' threads: each carries out the calls to its peer, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use log::error;

use super::exchange::exchange;
use crate::journal::log_limiter::LogLimiter;
use crate::mesh::Event;
use crate::mesh::engine::event::{Call, CallFinished};
use crate::mesh::id::NodeId;
use crate::mesh::membership::Membership;
use crate::mesh::wire::observation::Failure;
use crate::store::NetworkHandle;
use crate::store::event_loop::Caller;

/// Threads of one peer that may live: more than one only while calls that were given up have not ended. A
/// name server that never answers must not pile them up.
const MAX_THREADS: usize = 4;

/// How much a call may outlive its time, since the client library counts whole seconds.
const OVERTIME: Duration = Duration::from_millis(1_500);

/// The names of the peers' threads start with this: a panic there is one call's.
pub const THREAD_PREFIX: &str = "peer-";

/// One thread for each peer.
pub struct PeerWorkers {
    node: Arc<NetworkHandle>,
    workers: BTreeMap<NodeId, PeerWorker>,
    lines: LogLimiter,
}

/// The way to a peer.
#[derive(Default)]
struct PeerWorker {
    thread: Option<WorkerThread>,
    /// The call under way, and when it is given up.
    in_flight: Option<(u64, Instant)>,
    /// Held by each living thread of this peer.
    alive: Arc<()>,
    /// When the last [`THREADS`] calls were given up.
    abandoned: VecDeque<Instant>,
}

/// A peer's thread.
struct WorkerThread {
    // Above the thread: it ends when this closes.
    calls: Sender<Call>,
    thread: JoinHandle<()>,
}

impl PeerWorkers {
    /// No threads yet.
    pub fn new(node: Arc<NetworkHandle>) -> Self {
        Self { node, workers: BTreeMap::new(), lines: LogLimiter::default() }
    }
}

impl PeerWorker {
    /// Hands `call` to the peer's thread, which is started if there is none.
    fn start(&mut self, node: &Arc<NetworkHandle>, call: Call, lines: &LogLimiter) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_millis(call.timeout_ms);
        let id = call.id;
        let worker = match self.thread.take() {
            Some(worker) => worker,
            None if Arc::strong_count(&self.alive) > MAX_THREADS => return Err(self.stall_reason()),
            None => WorkerThread::start(node, &call.peer, self.alive.clone()).map_err(|error| {
                if let Some(more) = lines.allow("thread") {
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
        self.thread = Some(worker);
        self.in_flight = Some((id, deadline));
        Ok(())
    }

    /// Why [`THREADS`] calls that were given up have not ended: the oldest of them was given up no later than
    /// the oldest of the last so many, and nothing but a name lookup outlives its time by much.
    fn stall_reason(&self) -> Failure {
        let oldest = self.abandoned.front().filter(|_| self.abandoned.len() == MAX_THREADS);
        if oldest.is_some_and(|at| at.elapsed() > OVERTIME) { Failure::Dns } else { Failure::Timeout }
    }

    /// Its thread ends with the call, and nobody listens to it any more.
    fn abandon(&mut self) {
        self.in_flight = None;
        self.thread = None;
        if self.abandoned.len() == MAX_THREADS {
            self.abandoned.pop_front();
        }
        self.abandoned.push_back(Instant::now());
    }
}

impl WorkerThread {
    fn start(node: &Arc<NetworkHandle>, peer: &NodeId, alive: Arc<()>) -> std::io::Result<Self> {
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

fn make_calls(node: &NetworkHandle, waiting: &Receiver<Call>) {
    for call in waiting {
        // A peer's reply must not end the process, whatever the client library makes of it.
        let called = catch_unwind(AssertUnwindSafe(|| exchange(node, &call)));
        let called = called.unwrap_or_else(|_| failed(&call, Failure::BadReply));
        if !node.send(Event::CallFinished(called)) {
            return;
        }
    }
}

fn failed(call: &Call, failure: Failure) -> CallFinished {
    CallFinished { id: call.id, peer: call.peer.clone(), outcome: Err(failure), evidence: Vec::new() }
}

impl Caller for PeerWorkers {
    fn reconcile(&mut self, membership: &Membership) {
        let own = membership.own().id.as_str();
        let callable =
            |id: &str| id != own && membership.member(id).is_some_and(|member| member.url.is_some());
        self.workers.retain(|id, _| callable(id.as_str()));
        for member in membership.members().iter().filter(|member| callable(member.id.as_str())) {
            self.workers.entry(member.id.clone()).or_default();
        }
    }

    fn call(&mut self, call: Call) -> Result<(), Box<CallFinished>> {
        let refused = failed(&call, Failure::Other);
        let Some(lane) = self.workers.get_mut(&call.peer) else { return Err(Box::new(refused)) };
        lane.start(&self.node, call, &self.lines)
            .map_err(|failure| Box::new(CallFinished { outcome: Err(failure), ..refused }))
    }

    fn ended(&mut self, called: &CallFinished) {
        if let Some(lane) = self.workers.get_mut(&called.peer) {
            lane.in_flight = lane.in_flight.filter(|(id, _)| *id != called.id);
        }
    }

    fn abandon_overdue(&mut self, now: Instant) -> Vec<CallFinished> {
        let overdue = self.workers.iter_mut().filter_map(|(peer, lane)| {
            let (id, _) = lane.in_flight.filter(|(_, deadline)| *deadline <= now)?;
            lane.abandon();
            let outcome = Err(Failure::Timeout);
            Some(CallFinished { id, peer: peer.clone(), outcome, evidence: Vec::new() })
        });
        overdue.collect()
    }

    fn deadline(&self) -> Option<Instant> {
        self.workers.values().filter_map(|lane| lane.in_flight).map(|(_, deadline)| deadline).min()
    }
}

impl Drop for PeerWorkers {
    fn drop(&mut self) {
        let lanes = std::mem::take(&mut self.workers).into_values();
        // Those that wait for an answer end by themselves; a stop does not wait for them.
        let idle = lanes.filter(|lane| lane.in_flight.is_none()).filter_map(|lane| lane.thread);
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
        let mut lane = PeerWorker::default();
        assert_eq!(lane.stall_reason(), Failure::Timeout);
        for _ in 0..2 * MAX_THREADS {
            lane.abandon();
        }
        assert_eq!((lane.abandoned.len(), lane.stall_reason()), (MAX_THREADS, Failure::Timeout));
        let long_ago = Instant::now().checked_sub(OVERTIME + Duration::from_secs(1));
        lane.abandoned[0] = long_ago.expect("the clock runs for longer");
        assert_eq!(lane.stall_reason(), Failure::Dns);
    }
}
