//! The event loop: the one thread that owns a network's [`Engine`], steps it, publishes its snapshot and carries out
//! its effects.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use log::{Level, error, info, log, warn};
use parking_lot::Mutex;

use super::network_handle::NetworkHandle;
use super::published::SnapshotPublisher;
use super::state_files::StateFiles;
use crate::journal::log_limiter::LogLimiter;
use crate::journal::message_id;
use crate::mesh::engine::event::{Call, CallFinished, Notice};
use crate::mesh::membership::Membership;
use crate::mesh::verdict::NodeStatus;
use crate::mesh::verdict::tracker::VerdictChange;
use crate::mesh::{Effect, Engine, Event};

/// The longest time between two ticks: health checks watch for them.
const MAX_TICK_INTERVAL: Duration = Duration::from_millis(500);

/// Events handled in one tick at most, so that the snapshot follows.
const MAX_BATCH: usize = 256;

/// How much later overdue calls are abandoned while events wait.
const CALL_GRACE: Duration = Duration::from_millis(250);

/// How long a leaving node waits until its last report is delivered.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes calls to peers for the event loop.
pub trait Caller: Send {
    /// Prepares for calls to the members of `membership`, and to no others.
    fn reconcile(&mut self, membership: &Membership);
    /// Starts a call. Its result comes as [`Event::CallFinished`]; a call that cannot be started finishes here.
    fn call(&mut self, call: Call) -> Result<(), Box<CallFinished>>;
    /// Learns that a call has finished.
    fn finished(&mut self, finished: &CallFinished);
    /// Abandons the calls that are overdue at `now` and returns them as failed. Their later results are ignored.
    fn abandon_overdue(&mut self, now: Instant) -> Vec<CallFinished>;
    /// When the next call will be overdue.
    fn deadline(&self) -> Option<Instant>;
}

/// What an event loop works with.
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
}

/// A running event loop.
pub struct EventLoopThread {
    thread: JoinHandle<()>,
}

impl EventLoopThread {
    /// Starts the thread. It ends after [`Event::Leaving`], when the last report was delivered or two seconds have
    /// passed, and drops `caller` then.
    pub fn start(init: EventLoopInit) -> io::Result<Self> {
        let EventLoopInit { engine, node, publisher, files, events, caller } = init;
        let name = format!("collect-{}", node.snapshot().membership().network_id());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let lines = LogLimiter::default();
            EventLoop { engine, node, publisher, files, events, caller, leave_by: None, lines }.run();
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
    leave_by: Option<Instant>,
    lines: LogLimiter,
}

impl EventLoop {
    fn run(mut self) {
        self.caller.reconcile(self.node.snapshot().membership());
        let mut first = VecDeque::new();
        while !self.is_done() {
            first = self.tick(first);
            if first.is_empty() {
                first.extend(self.events.recv_timeout(self.wait()));
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

    /// Takes `first` and what else has come. Gives back what is to be taken next.
    fn tick(&mut self, mut first: VecDeque<Event>) -> VecDeque<Event> {
        let mut effects = self.engine.step(self.node.clock.now(), Event::Tick);
        let mut membership = None;
        // One that has ended in time may still wait in the channel: a slow turn must not fail it.
        let grace = if self.events.is_empty() { Duration::ZERO } else { CALL_GRACE };
        let overdue = Instant::now().checked_sub(grace).map(|by| self.caller.abandon_overdue(by));
        first.extend(overdue.into_iter().flatten().map(Event::CallFinished));
        for _ in 0..MAX_BATCH {
            let Some(event) = first.pop_front().or_else(|| self.events.try_recv().ok()) else { break };
            match &event {
                Event::Leaving => self.leave_by = Some(Instant::now() + LEAVE_TIMEOUT),
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
        // Calls read the snapshot, so it is shown first.
        if let Some(snapshot) = self.engine.take_snapshot(self.node.clock.now()) {
            self.publisher.publish(snapshot);
        }
        for effect in effects {
            match effect {
                Effect::Call(call) => {
                    if let Err(called) = self.caller.call(call) {
                        first.push_back(Event::CallFinished(*called));
                    }
                }
                Effect::Notice(note) => self.log_notice(&note),
                Effect::SaveEpoch(_) | Effect::SaveProof(_) => {}
            }
        }
        self.publisher.record_tick(self.node.clock.mono_ms());
        first
    }

    /// Keeps what must be on disk before anyone hears of it.
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
                    "writing to the state directory: {error}; free space or mend its permissions"
                );
            }
        }
    }

    fn log_notice(&self, note: &Notice) {
        let snapshot = self.node.snapshot();
        let network = snapshot.membership().network_id().as_str();
        let node = snapshot.membership().own().id.as_str();
        if let Notice::VerdictChanged(change) = note {
            return log_verdict(network, node, message_id_of(note), change);
        }
        let kind = message_id_of(note);
        let peer = match note {
            Notice::PeerStatusChanged { peer, .. } | Notice::Equivocated { node: peer, .. } => peer.as_str(),
            _ => "",
        };
        match note {
            // What one node finds is no alarm yet: the verdict is.
            Notice::PeerStatusChanged { .. } | Notice::IsolationChanged(false) | Notice::ConfigMatch => {
                info!(MESSAGE_ID = kind, DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = peer; "{network}: {note}");
            }
            Notice::DuplicateKey { .. } | Notice::Equivocated { .. } => {
                // A twin is noticed with every report it makes.
                let Some(more) = self.lines.allow(peer) else { return };
                error!(MESSAGE_ID = kind, DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = peer; "{network}: {note}{more}");
            }
            _ => {
                warn!(MESSAGE_ID = kind, DISTOMON_NETWORK = network, DISTOMON_NODE = node; "{network}: {note}");
            }
        }
    }
}

/// The kind of the line that tells `note`.
fn message_id_of(note: &Notice) -> &'static str {
    match note {
        Notice::PeerStatusChanged { .. } => message_id::PEER_STATUS,
        Notice::Equivocated { .. } => message_id::EQUIVOCATION,
        Notice::Superseded { .. } => message_id::SUPERSEDED,
        Notice::DuplicateKey { .. } => message_id::DUPLICATE_KEY,
        Notice::ResumedAfterGap { .. } => message_id::RESUMED,
        Notice::IsolationChanged(true) => message_id::ISOLATED,
        Notice::IsolationChanged(false) => message_id::ISOLATION_CLEARED,
        Notice::ConfigMismatch { .. } => message_id::CONFIG_MISMATCH,
        Notice::ConfigMatch => message_id::CONFIG_MATCH,
        Notice::VerdictChanged(change) => match change.to.status {
            NodeStatus::Up => message_id::UP,
            NodeStatus::Degraded => message_id::DEGRADED,
            NodeStatus::Down => message_id::DOWN,
            NodeStatus::Stopped => message_id::STOPPED,
            NodeStatus::Unknown => message_id::UNKNOWN,
            NodeStatus::NeverSeen => message_id::NEVER_SEEN,
            NodeStatus::Conflict => message_id::CONFLICT,
        },
    }
}

fn log_verdict(network: &str, node: &str, kind: &str, change: &VerdictChange) {
    let level = match change.to.status {
        NodeStatus::Down | NodeStatus::Conflict => Level::Error,
        // Right after the start nothing is known yet, and that is no news.
        NodeStatus::Unknown if change.to.decided.is_none() => Level::Info,
        NodeStatus::Degraded | NodeStatus::Unknown => Level::Warn,
        NodeStatus::Up | NodeStatus::Stopped | NodeStatus::NeverSeen => Level::Info,
    };
    let causes: Vec<_> = change.causes.iter().map(|cause| cause.as_str()).collect();
    log!(
        level,
        MESSAGE_ID = kind,
        DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = change.node.as_str(),
        DISTOMON_VERDICT = change.to.status.as_str(), DISTOMON_CAUSE = causes.join(" or ").as_str();
        "{network}: {change}"
    );
}
