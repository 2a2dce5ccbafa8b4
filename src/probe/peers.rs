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

/// Threads that one peer may have: more than one only while abandoned calls have not returned. A name server that
/// never answers must not accumulate threads.
const MAX_THREADS: usize = 4;

/// How much longer than its timeout a call may take, since the HTTP client counts whole seconds.
const OVERTIME: Duration = Duration::from_millis(1_500);

/// The prefix of the names of worker threads. They are not essential: a panic ends one call.
const THREAD_PREFIX: &str = "peer-";

/// One thread for each peer.
pub struct PeerWorkers {
    node: Arc<NetworkHandle>,
    workers: BTreeMap<NodeId, PeerWorker>,
    lines: LogLimiter,
}

/// The calls to one peer.
#[derive(Default)]
struct PeerWorker {
    thread: Option<WorkerThread>,
    /// The call in flight, and when it is overdue.
    in_flight: Option<(u64, Instant)>,
    /// Held by each living thread of this peer.
    alive: Arc<()>,
    /// When the last [`THREADS`] calls were given up.
    abandoned: VecDeque<Instant>,
}

/// A thread that makes calls.
struct WorkerThread {
    // Dropped before the thread is joined: the thread ends when this closes.
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
    /// Sends `call` to the peer's thread, which is started if there is none.
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
            // The thread still has a call, which the engine never asks for; the next call gets a new thread.
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

    /// Abandons the call in flight; its thread ends with it, and its result is ignored.
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
        // No reply of a peer may end the process, even if it makes the HTTP client panic.
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
        let Some(worker) = self.workers.get_mut(&call.peer) else { return Err(Box::new(refused)) };
        worker
            .start(&self.node, call, &self.lines)
            .map_err(|failure| Box::new(CallFinished { outcome: Err(failure), ..refused }))
    }

    fn finished(&mut self, called: &CallFinished) {
        if let Some(worker) = self.workers.get_mut(&called.peer) {
            worker.in_flight = worker.in_flight.filter(|(id, _)| *id != called.id);
        }
    }

    fn abandon_overdue(&mut self, now: Instant) -> Vec<CallFinished> {
        let overdue = self.workers.iter_mut().filter_map(|(peer, worker)| {
            let (id, _) = worker.in_flight.filter(|(_, deadline)| *deadline <= now)?;
            worker.abandon();
            let outcome = Err(Failure::Timeout);
            Some(CallFinished { id, peer: peer.clone(), outcome, evidence: Vec::new() })
        });
        overdue.collect()
    }

    fn deadline(&self) -> Option<Instant> {
        self.workers.values().filter_map(|worker| worker.in_flight).map(|(_, deadline)| deadline).min()
    }
}

impl Drop for PeerWorkers {
    fn drop(&mut self) {
        let workers = std::mem::take(&mut self.workers).into_values();
        // Threads with a call in flight end by themselves; a stop does not wait for them.
        let idle = workers.filter(|worker| worker.in_flight.is_none()).filter_map(|worker| worker.thread);
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
    fn stall_reason_is_dns_once_the_oldest_call_is_overdue() {
        let mut worker = PeerWorker::default();
        assert_eq!(worker.stall_reason(), Failure::Timeout);
        for _ in 0..2 * MAX_THREADS {
            worker.abandon();
        }
        assert_eq!((worker.abandoned.len(), worker.stall_reason()), (MAX_THREADS, Failure::Timeout));
        let long_ago = Instant::now().checked_sub(OVERTIME + Duration::from_secs(1));
        worker.abandoned[0] = long_ago.expect("the clock runs for longer");
        assert_eq!(worker.stall_reason(), Failure::Dns);
    }
}
