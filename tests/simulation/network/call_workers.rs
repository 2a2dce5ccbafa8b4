//! The threads of one process that make calls, as `probe::peers` has them: one for each peer, and another one while that
//! one waits for a late reply.

use std::collections::BTreeMap;

use distomon::mesh::engine::event::{Call, CallFinished};
use distomon::mesh::id::NodeId;
use distomon::mesh::wire::observation::Failure;

/// The maximum number of threads that wait for a reply although the time of their call is over.
const MAX_ABANDONED: usize = 16;

/// How much longer than its time limit a call without a name lookup may take, in ms.
const OVERTIME_MS: u64 = 500;

/// How long overdue calls are spared while the queue of events is not empty, in ms.
const CALL_GRACE_MS: u64 = 250;

/// The calls of one process, by id.
#[derive(Default)]
pub(super) struct CallWorkers(BTreeMap<u64, WorkerCall>);

struct WorkerCall {
    peer: NodeId,
    sent_ms: u64,
    timeout_ms: u64,
    /// How long the thread waits for the reply, in ms.
    patience_ms: u64,
    /// When the thread began it.
    begun_ms: Option<u64>,
    /// Whether another thread was started for the next call to the peer.
    is_abandoned: bool,
    /// Whether the thread has not ended it.
    is_running: bool,
    /// Whether the event loop has received no result.
    is_in_flight: bool,
}

impl WorkerCall {
    fn deadline_ms(&self) -> u64 {
        self.sent_ms + self.timeout_ms
    }

    /// When the event loop reports the timeout, which a thread that waits no longer reports itself.
    fn overdue_ms(&self) -> u64 {
        self.deadline_ms() + if self.patience_ms > self.timeout_ms { 0 } else { OVERTIME_MS }
    }

    fn lateness_ms(&self, now_ms: u64, due_ms: Option<u64>) -> u64 {
        let delay_ms = self.begun_ms.unwrap_or(now_ms) - self.sent_ms;
        due_ms.map_or(delay_ms, |due_ms| delay_ms.max(now_ms.saturating_sub(due_ms)))
    }
}

impl CallWorkers {
    /// Starts a call. Returns how long to wait for the reply, in ms, or the result if the call cannot start.
    pub(super) fn start(&mut self, call: &Call, now_ms: u64) -> Result<u64, Box<CallFinished>> {
        let running = |call: &&mut WorkerCall| call.is_running;
        let has_abandoned =
            self.0.values().any(|one| one.is_abandoned && one.is_running && one.peer == call.peer);
        let last = self.0.values_mut().filter(running).find(|one| one.peer == call.peer && !one.is_abandoned);
        if let Some(last) = last {
            if has_abandoned {
                return Err(Box::new(failed(
                    call.id,
                    call.peer.clone(),
                    Failure::Timeout,
                    2 * call.timeout_ms,
                )));
            }
            last.is_abandoned = true;
        }
        let abandoned = self.0.values().filter(|one| one.is_abandoned && one.is_running);
        let (mut total, mut of_peer) = (0, 0);
        for one in abandoned {
            total += 1;
            of_peer += usize::from(one.peer == call.peer);
        }
        let may_wait = of_peer == 0 && total < MAX_ABANDONED;
        let patience_ms = if may_wait { call.timeout_ms.max(call.patience_ms) } else { call.timeout_ms };
        let started = WorkerCall {
            peer: call.peer.clone(),
            sent_ms: now_ms,
            timeout_ms: call.timeout_ms,
            patience_ms,
            begun_ms: None,
            is_abandoned: false,
            is_running: true,
            is_in_flight: true,
        };
        self.0.insert(call.id, started);
        Ok(patience_ms)
    }

    /// Whether the event loop waits for the result of a call.
    pub(super) fn is_in_flight(&self, id: u64) -> bool {
        self.0.get(&id).is_some_and(|call| call.is_in_flight)
    }

    /// Records that the thread begins a call.
    pub(super) fn begin(&mut self, id: u64, now_ms: u64) {
        if let Some(call) = self.0.get_mut(&id) {
            call.begun_ms = Some(now_ms);
        }
    }

    /// Records that the thread ends a call. Returns how late this process was with the call, in ms.
    pub(super) fn end(&mut self, id: u64, now_ms: u64, outcome: Result<(), Failure>) -> u64 {
        let Some(call) = self.0.get_mut(&id) else { return 0 };
        let is_over = outcome == Err(Failure::Timeout) && call.patience_ms <= call.timeout_ms;
        let lateness_ms = call.lateness_ms(now_ms, is_over.then(|| call.deadline_ms()));
        call.is_running = false;
        self.forget_finished(id);
        lateness_ms
    }

    /// Records that the event loop received the result of a call.
    pub(super) fn finished(&mut self, id: u64) {
        if let Some(call) = self.0.get_mut(&id) {
            call.is_in_flight = false;
        }
        self.forget_finished(id);
    }

    /// Returns the calls whose time is over as failed; they are spared for a while if events are queued.
    pub(super) fn take_overdue(&mut self, now_ms: u64, has_events: bool) -> Vec<CallFinished> {
        let grace_ms = if has_events { CALL_GRACE_MS } else { 0 };
        let is_overdue = |call: &WorkerCall| call.is_in_flight && call.overdue_ms() + grace_ms <= now_ms;
        let overdue = self.0.iter_mut().filter(|(_, call)| is_overdue(call)).map(|(id, call)| {
            call.is_in_flight = false;
            let lateness_ms = call.lateness_ms(now_ms, Some(call.overdue_ms()));
            let may_answer_late = call.patience_ms > call.timeout_ms;
            CallFinished { may_answer_late, ..failed(*id, call.peer.clone(), Failure::Timeout, lateness_ms) }
        });
        let overdue: Vec<_> = overdue.collect();
        for call in &overdue {
            self.forget_finished(call.id);
        }
        overdue
    }

    /// When the event loop reports the next timeout, in ms.
    pub(super) fn overdue_ms(&self) -> Option<u64> {
        self.0.values().filter(|call| call.is_in_flight).map(WorkerCall::overdue_ms).min()
    }

    fn forget_finished(&mut self, id: u64) {
        if self.0.get(&id).is_some_and(|call| !call.is_running && !call.is_in_flight) {
            self.0.remove(&id);
        }
    }
}

/// A call that failed.
pub(super) fn failed(id: u64, peer: NodeId, failure: Failure, lateness_ms: u64) -> CallFinished {
    let evidence = Vec::new();
    CallFinished { id, peer, outcome: Err(failure), evidence, lateness_ms, may_answer_late: false }
}
