//! The threads of the peers: each makes the calls to its peer, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// The maximum number of threads for one peer. There are more than one only while abandoned calls have not ended: without
/// a limit, they would accumulate if a name server never answers.
const MAX_THREADS: usize = 4;

/// How much longer than its timeout a call without a name lookup may take, since the HTTP client has timeouts in whole
/// seconds.
const OVERTIME: Duration = Duration::from_millis(1_500);

/// The prefix of the names of worker threads. They are not essential: a panic ends one call.
const THREAD_PREFIX: &str = "peer-";

/// The workers of all peers.
pub struct PeerWorkers {
    node: Arc<NetworkHandle>,
    workers: BTreeMap<NodeId, PeerWorker>,
    log_limiter: LogLimiter,
}

/// The worker of one peer.
#[derive(Default)]
struct PeerWorker {
    thread: Option<WorkerThread>,
    /// The call in flight, and when it is overdue.
    in_flight: Option<(u64, Instant)>,
    /// Held by each running thread of this peer, to count them.
    alive: Arc<()>,
    /// When the last [`MAX_THREADS`] abandoned calls were abandoned.
    abandoned: VecDeque<Instant>,
}

/// A thread that makes calls.
struct WorkerThread {
    // Must be dropped before the thread is joined: the thread ends when the channel closes.
    calls: SyncSender<Call>,
    thread: JoinHandle<()>,
}

impl PeerWorkers {
    /// Creates the workers, without threads.
    pub fn new(node: Arc<NetworkHandle>) -> Self {
        Self { node, workers: BTreeMap::new(), log_limiter: LogLimiter::default() }
    }
}

impl PeerWorker {
    /// Sends `call` to the thread of the peer, and starts the thread if necessary.
    fn start(
        &mut self,
        node: &Arc<NetworkHandle>,
        call: Call,
        log_limiter: &LogLimiter,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_millis(call.timeout_ms);
        let id = call.id;
        let worker = match self.thread.take() {
            Some(worker) => worker,
            None if Arc::strong_count(&self.alive) > MAX_THREADS => return Err(self.stall_reason()),
            None => WorkerThread::start(node, &call.peer, self.alive.clone()).map_err(|error| {
                if let Some(more) = log_limiter.allow("thread") {
                    error!(
                        "starting a thread to call {} failed: {error}; raise the limit on tasks (TasksMax=){more}",
                        call.peer
                    );
                }
                Failure::Other
            })?,
        };
        if worker.calls.try_send(call).is_err() {
            // The thread still has a call, which the engine prevents. The next call starts a new thread.
            return Err(Failure::Other);
        }
        self.thread = Some(worker);
        self.in_flight = Some((id, deadline));
        Ok(())
    }

    /// Why [`MAX_THREADS`] abandoned calls have not ended. Only a name lookup exceeds the time limit by more than
    /// [`OVERTIME`].
    fn stall_reason(&self) -> Failure {
        let oldest = self.abandoned.front().filter(|_| self.abandoned.len() == MAX_THREADS);
        if oldest.is_some_and(|at| at.elapsed() > OVERTIME) { Failure::Dns } else { Failure::Timeout }
    }

    /// Abandons the call in flight: its thread ends with it, and its result is ignored.
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
        // Its receiver sleeps immediately; those of crossbeam channels spin before.
        let (calls, waiting) = sync_channel(1);
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
        // A reply that makes the HTTP client panic must not end the process.
        let result = catch_unwind(AssertUnwindSafe(|| exchange(node, &call)));
        let finished = result.unwrap_or_else(|_| failed(&call, Failure::BadReply));
        if !node.send(Event::CallFinished(finished)) {
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
        let not_started = failed(&call, Failure::Other);
        let Some(worker) = self.workers.get_mut(&call.peer) else { return Err(Box::new(not_started)) };
        worker
            .start(&self.node, call, &self.log_limiter)
            .map_err(|failure| Box::new(CallFinished { outcome: Err(failure), ..not_started }))
    }

    fn finished(&mut self, finished: &CallFinished) {
        if let Some(worker) = self.workers.get_mut(&finished.peer) {
            worker.in_flight = worker.in_flight.filter(|(id, _)| *id != finished.id);
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
                error!("the thread of a peer panicked");
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
        worker.abandoned[0] = long_ago.expect("the clock started earlier");
        assert_eq!(worker.stall_reason(), Failure::Dns);
    }
}
