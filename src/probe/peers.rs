//! The threads of the peers: each makes the calls to its peer, one after the other.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
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

/// The maximum number of calls of a network that may wait for a late reply. Each peer has one at most.
const MAX_WAITING: usize = 16;

/// How much longer than its time limit a call without a name lookup may take.
const OVERTIME: Duration = Duration::from_millis(500);

/// The address space of a thread's stack in bytes; only touched pages use memory.
const STACK_BYTES: usize = 512 * 1024;

/// The prefix of the names of worker threads. They are not essential: a panic ends one call.
const THREAD_PREFIX: &str = "peer-";

/// The workers of all peers.
pub struct PeerWorkers {
    node: Arc<NetworkHandle>,
    workers: BTreeMap<NodeId, PeerWorker>,
    waiting: WaitingCalls,
    log_limiter: LogLimiter,
}

/// The calls of all peers whose threads may wait for a late reply.
#[derive(Default)]
struct WaitingCalls(Vec<Weak<CallProgress>>);

/// The worker of one peer.
#[derive(Default)]
struct PeerWorker {
    thread: Option<WorkerThread>,
    /// The call in flight, with its id.
    in_flight: Option<(u64, Arc<CallProgress>)>,
    /// The last call that another thread was started for although it had not ended.
    abandoned: Weak<CallProgress>,
}

/// The progress of a call. Its thread holds it until the call ends.
struct CallProgress {
    sent: Instant,
    timeout: Duration,
    /// How long to wait for the reply: `timeout` or longer, since a late reply shows that the peer lives.
    patience: Duration,
    /// When the thread began it.
    begun: OnceLock<Instant>,
}

/// A call as its thread receives it.
struct QueuedCall {
    call: Call,
    progress: Arc<CallProgress>,
}

/// A thread that makes calls.
struct WorkerThread {
    // Must be dropped before the thread is joined: the thread ends when the channel closes.
    calls: SyncSender<QueuedCall>,
    thread: JoinHandle<()>,
    /// The call that it was sent last; none once that has ended.
    last: Weak<CallProgress>,
}

impl PeerWorkers {
    /// Creates the workers, without threads.
    pub fn new(node: Arc<NetworkHandle>) -> Self {
        let waiting = WaitingCalls::default();
        Self { node, workers: BTreeMap::new(), waiting, log_limiter: LogLimiter::default() }
    }

    fn start_thread(&self, peer: &NodeId) -> Result<WorkerThread, Failure> {
        WorkerThread::start(&self.node, peer).map_err(|error| {
            if let Some(more) = self.log_limiter.allow("thread") {
                error!(
                    "starting a thread to call {peer} failed: {error}; raise the limit on tasks (TasksMax=){more}"
                );
            }
            Failure::Other
        })
    }

    /// Sends `call` to the thread of the peer, and starts the thread if necessary.
    fn start(&mut self, call: Call) -> Result<(), Failure> {
        let worker = self.workers.get_mut(&call.peer).ok_or(Failure::Other)?;
        worker.abandon_overdue_thread()?;
        let mut thread = match worker.thread.take() {
            Some(thread) => thread,
            None => self.start_thread(&call.peer)?,
        };
        let worker = self.workers.get_mut(&call.peer).ok_or(Failure::Other)?;
        let timeout = Duration::from_millis(call.timeout_ms);
        let may_wait = worker.abandoned.strong_count() == 0 && self.waiting.has_room();
        let patience = if may_wait { timeout.max(Duration::from_millis(call.patience_ms)) } else { timeout };
        let progress =
            Arc::new(CallProgress { sent: Instant::now(), timeout, patience, begun: OnceLock::new() });
        if patience > timeout {
            self.waiting.0.push(Arc::downgrade(&progress));
        }
        thread.last = Arc::downgrade(&progress);
        worker.in_flight = Some((call.id, Arc::clone(&progress)));
        let is_sent = thread.calls.try_send(QueuedCall { call, progress }).is_ok();
        worker.thread = Some(thread);
        if is_sent {
            return Ok(());
        }
        // The thread has panicked outside of a call.
        (worker.thread, worker.in_flight) = (None, None);
        Err(Failure::Other)
    }
}

impl WaitingCalls {
    fn has_room(&mut self) -> bool {
        self.0.retain(|call| call.strong_count() > 0);
        self.0.len() < MAX_WAITING
    }
}

impl PeerWorker {
    /// Abandons the thread if its last call has not ended, although its time is over: the thread ends with that call.
    /// Fails if the thread of an earlier call is still busy, too, as while a name server does not answer.
    fn abandon_overdue_thread(&mut self) -> Result<(), Failure> {
        let Some(last) = self.thread.as_ref().and_then(|thread| thread.last.upgrade()) else { return Ok(()) };
        if let Some(earlier) = self.abandoned.upgrade() {
            return Err(earlier.stall_reason());
        }
        self.thread = None;
        self.abandoned = Arc::downgrade(&last);
        Ok(())
    }
}

impl CallProgress {
    fn deadline(&self) -> Instant {
        self.sent + self.timeout
    }

    /// When the event loop reports the timeout. A thread that waits no longer than that reports it itself, and so is idle
    /// when the next call starts.
    fn overdue_at(&self) -> Instant {
        self.deadline() + if self.patience > self.timeout { Duration::ZERO } else { OVERTIME }
    }

    /// How late this process was with the call at `now`: with its begin, or with noticing that its time was over at `due`.
    fn lateness_ms(&self, now: Instant, due: Option<Instant>) -> u64 {
        let begun = self.begun.get().copied().unwrap_or(now);
        let delay = begun.saturating_duration_since(self.sent);
        let overshoot = due.map_or(Duration::ZERO, |due| now.saturating_duration_since(due));
        u64::try_from(delay.max(overshoot).as_millis()).unwrap_or(u64::MAX)
    }

    /// Why the call has not ended. Only a name lookup exceeds the time limits by more than [`OVERTIME`].
    fn stall_reason(&self) -> Failure {
        let is_lookup = self.begun.get().is_some_and(|begun| begun.elapsed() > self.patience + OVERTIME);
        if is_lookup { Failure::Dns } else { Failure::Timeout }
    }
}

impl WorkerThread {
    fn start(node: &Arc<NetworkHandle>, peer: &NodeId) -> std::io::Result<Self> {
        // Its receiver sleeps immediately; those of crossbeam channels spin before.
        let (calls, waiting) = sync_channel(1);
        let node = node.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{THREAD_PREFIX}{peer}"))
            .stack_size(STACK_BYTES)
            .spawn(move || make_calls(&node, &waiting))?;
        Ok(Self { calls, thread, last: Weak::new() })
    }
}

fn make_calls(node: &NetworkHandle, waiting: &Receiver<QueuedCall>) {
    for QueuedCall { call, progress } in waiting {
        let _ = progress.begun.set(Instant::now());
        // A reply that makes the HTTP client panic must not end the process.
        let result = catch_unwind(AssertUnwindSafe(|| exchange(node, &call, progress.patience)));
        let (outcome, evidence) = result.unwrap_or_else(|_| (Err(Failure::BadReply), Vec::new()));
        // Beyond the time limit, the event loop has reported the timeout already.
        let is_timeout = matches!(outcome, Err(Failure::Timeout)) && progress.patience <= progress.timeout;
        let lateness_ms = progress.lateness_ms(Instant::now(), is_timeout.then(|| progress.deadline()));
        drop(progress);
        let (id, peer, may_answer_late) = (call.id, call.peer, false);
        let finished = CallFinished { id, peer, outcome, evidence, lateness_ms, may_answer_late };
        if !node.send(Event::CallFinished(finished)) {
            return;
        }
    }
}

fn failed(call: &Call, failure: Failure) -> CallFinished {
    CallFinished {
        id: call.id,
        peer: call.peer.clone(),
        outcome: Err(failure),
        evidence: Vec::new(),
        lateness_ms: 0,
        may_answer_late: false,
    }
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
        let (not_started, timeout_ms) = (failed(&call, Failure::Other), call.timeout_ms);
        self.start(call).map_err(|failure| {
            // A call that was not sent since earlier ones have not ended says nothing about the peer.
            let lateness_ms = if failure == Failure::Timeout { 2 * timeout_ms } else { 0 };
            Box::new(CallFinished { outcome: Err(failure), lateness_ms, ..not_started })
        })
    }

    fn finished(&mut self, finished: &CallFinished) {
        if let Some(worker) = self.workers.get_mut(&finished.peer) {
            worker.in_flight.take_if(|(id, _)| *id == finished.id);
        }
    }

    fn take_overdue(&mut self, by: Instant) -> Vec<CallFinished> {
        let overdue = self.workers.iter_mut().filter_map(|(peer, worker)| {
            let (id, call) = worker.in_flight.take_if(|(_, call)| call.overdue_at() <= by)?;
            Some(CallFinished {
                id,
                peer: peer.clone(),
                outcome: Err(Failure::Timeout),
                evidence: Vec::new(),
                lateness_ms: call.lateness_ms(Instant::now(), Some(call.overdue_at())),
                may_answer_late: call.patience > call.timeout,
            })
        });
        overdue.collect()
    }

    fn deadline(&self) -> Option<Instant> {
        let in_flight = self.workers.values().filter_map(|worker| worker.in_flight.as_ref());
        in_flight.map(|(_, call)| call.overdue_at()).min()
    }
}

impl Drop for PeerWorkers {
    fn drop(&mut self) {
        let workers = std::mem::take(&mut self.workers).into_values();
        // Threads with a call in flight end by themselves; a stop does not wait for them.
        let idle =
            workers.filter_map(|worker| worker.thread).filter(|thread| thread.last.strong_count() == 0);
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

    fn progress(sent: Instant, timeout_ms: u64, begun: Option<Instant>) -> CallProgress {
        let begun = begun.map(OnceLock::from).unwrap_or_default();
        let timeout = Duration::from_millis(timeout_ms);
        CallProgress { sent, timeout, patience: timeout, begun }
    }

    #[test]
    fn lateness_is_the_delay_of_the_begin_or_of_the_timeout() {
        let sent = Instant::now();
        let after = |ms| sent + Duration::from_millis(ms);
        for (begun_ms, now_ms, is_over, expected) in [
            (Some(0), 50, false, 0),
            (Some(30), 50, false, 30),
            (Some(30), 100, true, 30),
            (Some(30), 131, true, 31),
            (Some(30), 131, false, 30),
            // The thread has not begun the call.
            (None, 100, true, 100),
        ] {
            let call = progress(sent, 100, begun_ms.map(after));
            let due = is_over.then(|| call.deadline());
            assert_eq!(call.lateness_ms(after(now_ms), due), expected, "{begun_ms:?} {now_ms} {is_over}");
        }
    }

    #[test]
    fn a_thread_that_does_not_wait_for_late_replies_reports_the_timeout_itself() {
        let sent = Instant::now();
        for (patience_ms, expected_ms) in [(100, 600), (101, 100), (400, 100)] {
            let patience = Duration::from_millis(patience_ms);
            let call = CallProgress { patience, ..progress(sent, 100, None) };
            assert_eq!(call.overdue_at(), sent + Duration::from_millis(expected_ms), "{patience_ms}");
        }
    }

    #[test]
    fn stall_reason_is_dns_once_no_time_limit_explains_the_call() {
        let long_ago =
            Instant::now().checked_sub(Duration::from_secs(10)).expect("the clock started earlier");
        assert_eq!(progress(long_ago, 100, Some(Instant::now())).stall_reason(), Failure::Timeout);
        assert_eq!(progress(long_ago, 100, None).stall_reason(), Failure::Timeout, "it has not begun");
        assert_eq!(progress(long_ago, 100, Some(long_ago)).stall_reason(), Failure::Dns);
        assert_eq!(progress(long_ago, 10_000, Some(long_ago)).stall_reason(), Failure::Timeout);
    }
}
