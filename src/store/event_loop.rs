//! The event loop: the one thread that owns a network's [`Engine`], steps it, publishes its snapshot and carries out
//! its effects.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select};
use log::error;
use parking_lot::Mutex;

use super::network_handle::NetworkHandle;
use super::published::SnapshotPublisher;
use super::state_files::{StateFiles, remedy};
use crate::journal::message_id;
use crate::mesh::engine::event::{Call, CallFinished, Notice};
use crate::mesh::membership::Membership;
use crate::mesh::{Effect, Engine, Event, Snapshot};
use crate::threads;

/// The longest time between two ticks, which health checks watch.
const MAX_TICK_INTERVAL: Duration = Duration::from_millis(500);

/// The maximum number of events applied in one tick, so that the snapshot stays current.
const MAX_BATCH: usize = 256;

/// How long overdue calls are spared while the queue is not empty.
const CALL_GRACE: Duration = Duration::from_millis(250);

/// The shortest lateness of a thread to report to the engine, in ms.
const MIN_LATENESS_MS: u64 = 20;

/// How long a leaving node waits for the delivery of its last report.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes calls to peers for the event loop.
pub trait Caller: Send {
    /// Prepares for calls to the members of `membership`, and removes all other peers.
    fn reconcile(&mut self, membership: &Membership);
    /// Starts a call, whose result arrives as [`Event::CallFinished`]. Returns the result if the call cannot start.
    fn call(&mut self, call: Call) -> Result<(), Box<CallFinished>>;
    /// Records that a call has finished.
    fn finished(&mut self, finished: &CallFinished);
    /// Returns the calls whose time was over at `by` as failed. A late reply to one of them still arrives as
    /// [`Event::CallFinished`].
    fn take_overdue(&mut self, by: Instant) -> Vec<CallFinished>;
    /// When the time of the next call is over; none without calls in flight.
    fn deadline(&self) -> Option<Instant>;
}

/// Reports a notice to the operator, with the newest snapshot.
pub type OnNotice = Box<dyn FnMut(&Snapshot, &Notice) + Send>;

/// The parameters of an event loop.
pub struct EventLoopInit {
    /// The engine, stepped by this loop alone.
    pub engine: Engine,
    /// The network's handle, for its clock and snapshot.
    pub node: Arc<NetworkHandle>,
    /// Publishes snapshots.
    pub publisher: SnapshotPublisher,
    /// The state directory.
    pub files: Arc<Mutex<StateFiles>>,
    /// The queue that [`NetworkHandle`] sends to.
    pub events: Receiver<Event>,
    /// Makes calls to peers.
    pub caller: Box<dyn Caller>,
    /// Reports notices.
    pub on_notice: OnNotice,
}

/// A running event loop.
pub struct EventLoopThread {
    thread: JoinHandle<()>,
}

impl EventLoopThread {
    /// Starts the thread. After [`Event::Leaving`], it ends when the last report is delivered or two seconds have passed,
    /// and drops `caller`.
    pub fn start(init: EventLoopInit) -> io::Result<Self> {
        let EventLoopInit { engine, node, publisher, files, events, caller, on_notice } = init;
        let name = format!("events-{}", node.snapshot().membership().network_id());
        let thread = threads::spawn_essential(name, move || {
            let due_ms = node.clock.mono_ms();
            let leave_by = None;
            EventLoop { engine, node, publisher, files, events, caller, on_notice, leave_by, due_ms }.run();
        })?;
        Ok(Self { thread })
    }

    /// Waits until the thread ends.
    pub fn join(self) {
        if self.thread.join().is_err() {
            error!("the event loop panicked");
        }
    }
}

struct EventLoop {
    engine: Engine,
    node: Arc<NetworkHandle>,
    publisher: SnapshotPublisher,
    files: Arc<Mutex<StateFiles>>,
    events: Receiver<Event>,
    caller: Box<dyn Caller>,
    on_notice: OnNotice,
    leave_by: Option<Instant>,
    /// When the next tick is due: monotonic time in ms.
    due_ms: u64,
}

impl EventLoop {
    fn run(mut self) {
        self.caller.reconcile(self.node.snapshot().membership());
        let mut first = VecDeque::new();
        while !self.is_done() {
            first = self.tick(first);
            if first.is_empty() {
                first.extend(self.receive(self.wait()));
            }
        }
    }

    fn is_done(&self) -> bool {
        self.leave_by.is_some_and(|by| self.engine.is_idle() || Instant::now() >= by)
    }

    fn wait(&self) -> Duration {
        let now_ms = self.node.clock.mono_ms();
        let due = Duration::from_millis(self.engine.deadline_ms().saturating_sub(now_ms));
        let calls = self.caller.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        due.min(calls.unwrap_or(MAX_TICK_INTERVAL)).min(MAX_TICK_INTERVAL)
    }

    /// Waits for an event. `recv_timeout` would spin before it sleeps; a selection does not.
    fn receive(&self, limit: Duration) -> Option<Event> {
        let mut select = Select::new();
        select.recv(&self.events);
        select.select_timeout(limit).ok()?.recv(&self.events).ok()
    }

    /// Steps the engine with the events in `first` and in the queue, and carries out its effects. Returns events to
    /// start the next tick with.
    fn tick(&mut self, mut first: VecDeque<Event>) -> VecDeque<Event> {
        let now = self.node.clock.now();
        let lateness_ms = self.lateness_ms(now.mono_ms);
        // First, so that a report that is due says whether this node is overloaded.
        let first_event = if lateness_ms >= MIN_LATENESS_MS { Event::Late(lateness_ms) } else { Event::Tick };
        let mut effects = self.engine.step(now, first_event);
        let mut membership = None;
        // The result of a call that ended in time may still be in the queue: a slow tick must not fail the call.
        let grace = if self.events.is_empty() { Duration::ZERO } else { CALL_GRACE };
        let overdue = Instant::now().checked_sub(grace).map(|by| self.caller.take_overdue(by));
        first.extend(overdue.into_iter().flatten().map(Event::CallFinished));
        for _ in 0..MAX_BATCH {
            let Some(event) = first.pop_front().or_else(|| self.events.try_recv().ok()) else { break };
            match &event {
                Event::Leaving(_) => self.leave_by = Some(Instant::now() + LEAVE_TIMEOUT),
                Event::Reconfigured(new) => membership = Some(new.clone()),
                Event::CallFinished(finished) => self.caller.finished(finished),
                _ => {}
            }
            effects.extend(self.engine.step(self.node.clock.now(), event));
        }
        if let Some(membership) = membership {
            self.caller.reconcile(&membership);
        }
        self.save(&effects);
        // Calls read the snapshot, so it is published first.
        if let Some(snapshot) = self.engine.take_snapshot(self.node.clock.now()) {
            self.publisher.publish(snapshot);
        }
        for effect in effects {
            match effect {
                Effect::Call(call) => {
                    if let Err(finished) = self.caller.call(call) {
                        first.push_back(Event::CallFinished(*finished));
                    }
                }
                Effect::Notice(notice) => (self.on_notice)(&self.node.snapshot(), &notice),
                Effect::SaveEpoch(_) | Effect::SaveProof(_) => {}
            }
        }
        self.due_ms = self.engine.deadline_ms().max(self.node.clock.mono_ms());
        self.publisher.record_tick(self.node.clock.mono_ms());
        first
    }

    /// How late this tick is, or how late other threads have been since the last one, in ms.
    fn lateness_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.due_ms).max(self.node.take_lateness_ms())
    }

    /// Saves epochs and proofs, which must be on disk before any message depends on them.
    fn save(&self, effects: &[Effect]) {
        for effect in effects {
            let result = match effect {
                Effect::SaveEpoch(epoch) => self.files.lock().save_epoch(*epoch),
                Effect::SaveProof(proof) => self.files.lock().save_proof(proof),
                Effect::Call(_) | Effect::Notice(_) => continue,
            };
            if let Err(error) = result {
                error!(
                    MESSAGE_ID = message_id::STATE_WRITE_FAILED;
                    "state directory: writing failed: {error}; {}; continuing from memory", remedy(&error)
                );
            }
        }
    }
}
