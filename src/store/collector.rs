//! The collector: the one thread that owns a network's [`Mesh`], turns it, shows its picture and carries
//! out what it asks for.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use log::{Level, error, info, log, warn};
use parking_lot::Mutex;

use super::files::StateFiles;
use super::limit::Limiter;
use super::node::Node;
use crate::mesh::event::{Call, Called, Note};
use crate::mesh::roster::Roster;
use crate::mesh::verdict::Standing;
use crate::mesh::verdict::latch::Change;
use crate::mesh::{Effect, Event, Mesh};
use crate::message_id;

/// The collector turns at least this often: a health check sees that it does.
const TURN: Duration = Duration::from_millis(500);

/// Events taken in one turn at most, so that the picture follows.
const BATCH: usize = 256;

/// How much later calls are given up while events wait.
const GRACE: Duration = Duration::from_millis(250);

/// How long a leaving node waits for its last report to be handed over.
const FAREWELL: Duration = Duration::from_secs(2);

/// Makes calls. The collector asks; nobody else does.
pub trait Dial: Send {
    /// Makes sure that every member can be called, and nobody else.
    fn reconcile(&mut self, roster: &Roster);
    /// Starts a call. How it ends comes as [`Event::Called`]; one that cannot be started ends here.
    fn call(&mut self, call: Call) -> Result<(), Box<Called>>;
    /// Is told of each call that has ended.
    fn ended(&mut self, called: &Called);
    /// Gives up the calls whose time is over: they have ended so. What comes of them later counts no more.
    fn give_up(&mut self, now: Instant) -> Vec<Called>;
    /// When there will be one to give up.
    fn deadline(&self) -> Option<Instant>;
}

/// The collector's thread.
pub struct Collector {
    thread: JoinHandle<()>,
}

impl Collector {
    /// Starts the thread. It ends after [`Event::Leaving`], when the last report was handed over or
    /// two seconds have passed, and ends the calls' threads with it.
    pub fn start(
        mesh: Mesh,
        node: Arc<Node>,
        files: Arc<Mutex<StateFiles>>,
        events: Receiver<Event>,
        dial: Box<dyn Dial>,
    ) -> io::Result<Self> {
        let name = format!("collect-{}", node.picture().roster().network_id());
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            Turning { mesh, node, files, events, dial, leave_by: None, lines: Limiter::default() }.run();
        })?;
        Ok(Self { thread })
    }

    /// Waits for the thread's end.
    pub fn join(self) {
        if self.thread.join().is_err() {
            error!("the collector panicked");
        }
    }
}

struct Turning {
    mesh: Mesh,
    node: Arc<Node>,
    files: Arc<Mutex<StateFiles>>,
    events: Receiver<Event>,
    dial: Box<dyn Dial>,
    leave_by: Option<Instant>,
    lines: Limiter,
}

impl Turning {
    fn run(mut self) {
        self.dial.reconcile(self.node.picture().roster());
        let mut first = VecDeque::new();
        while !self.is_done() {
            first = self.turn(first);
            if first.is_empty() {
                first.extend(self.events.recv_timeout(self.wait()));
            }
        }
    }

    fn is_done(&self) -> bool {
        self.leave_by.is_some_and(|by| self.mesh.is_idle() || Instant::now() >= by)
    }

    fn wait(&self) -> Duration {
        let now_ms = self.node.clock.mono_ms();
        let due = Duration::from_millis(self.mesh.deadline_ms().saturating_sub(now_ms));
        let calls = self.dial.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        due.min(calls.unwrap_or(TURN)).min(TURN)
    }

    /// Takes `first` and what else has come. Gives back what is to be taken next.
    fn turn(&mut self, mut first: VecDeque<Event>) -> VecDeque<Event> {
        let mut effects = self.mesh.step(self.node.clock.now(), Event::Turn);
        let mut roster = None;
        // One that has ended in time may still wait in the channel: a slow turn must not fail it.
        let grace = if self.events.is_empty() { Duration::ZERO } else { GRACE };
        let overdue = Instant::now().checked_sub(grace).map(|by| self.dial.give_up(by));
        first.extend(overdue.into_iter().flatten().map(Event::Called));
        for _ in 0..BATCH {
            let Some(event) = first.pop_front().or_else(|| self.events.try_recv().ok()) else { break };
            match &event {
                Event::Leaving => self.leave_by = Some(Instant::now() + FAREWELL),
                Event::Reconfigured(new) => roster = Some(new.clone()),
                Event::Called(called) => self.dial.ended(called),
                _ => {}
            }
            effects.extend(self.mesh.step(self.node.clock.now(), event));
        }
        if let Some(roster) = roster {
            self.dial.reconcile(&roster);
        }
        self.keep(&effects);
        // Calls read the picture, so it is shown first.
        if let Some(picture) = self.mesh.take_picture(self.node.clock.now()) {
            self.node.show(picture);
        }
        for effect in effects {
            match effect {
                Effect::Call(call) => {
                    if let Err(called) = self.dial.call(call) {
                        first.push_back(Event::Called(*called));
                    }
                }
                Effect::Note(note) => self.write(&note),
                Effect::SaveEpoch(_) | Effect::SaveProof(_) => {}
            }
        }
        self.node.turned();
        first
    }

    /// Keeps what must be on disk before anyone hears of it.
    fn keep(&self, effects: &[Effect]) {
        for effect in effects {
            let result = match effect {
                Effect::SaveEpoch(epoch) => self.files.lock().save_epoch(*epoch),
                Effect::SaveProof(proof) => self.files.lock().save_proof(proof),
                Effect::Call(_) | Effect::Note(_) => continue,
            };
            if let Err(error) = result {
                error!(
                    MESSAGE_ID = message_id::STATE_NOT_WRITTEN;
                    "writing to the state directory: {error}; free space or mend its permissions"
                );
            }
        }
    }

    fn write(&self, note: &Note) {
        let picture = self.node.picture();
        let network = picture.roster().network_id().as_str();
        let node = picture.roster().own().id.as_str();
        if let Note::Judged(change) = note {
            return write_verdict(network, node, kind(note), change);
        }
        let kind = kind(note);
        let peer = match note {
            Note::Changed { peer, .. } | Note::Equivocated { node: peer, .. } => peer.as_str(),
            _ => "",
        };
        match note {
            // What one node finds is no alarm yet: the verdict is.
            Note::Changed { .. } | Note::Isolated(false) | Note::Alike => {
                info!(MESSAGE_ID = kind, DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = peer; "{network}: {note}");
            }
            Note::Twin { .. } | Note::Equivocated { .. } => {
                // A twin is noticed with every report it makes.
                let Some(more) = self.lines.pass(peer) else { return };
                error!(MESSAGE_ID = kind, DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = peer; "{network}: {note}{more}");
            }
            _ => {
                warn!(MESSAGE_ID = kind, DISTOMON_NETWORK = network, DISTOMON_NODE = node; "{network}: {note}");
            }
        }
    }
}

/// The kind of the line that tells `note`.
fn kind(note: &Note) -> &'static str {
    match note {
        Note::Changed { .. } => message_id::FOUND,
        Note::Equivocated { .. } => message_id::EQUIVOCATED,
        Note::Superseded { .. } => message_id::SUPERSEDED,
        Note::Twin { .. } => message_id::TWIN,
        Note::Resumed { .. } => message_id::RESUMED,
        Note::Isolated(true) => message_id::ISOLATED,
        Note::Isolated(false) => message_id::REJOINED,
        Note::Differs { .. } => message_id::DIFFERS,
        Note::Alike => message_id::ALIKE,
        Note::Judged(change) => match change.to.standing {
            Standing::Up => message_id::UP,
            Standing::Degraded => message_id::DEGRADED,
            Standing::Down => message_id::DOWN,
            Standing::Stopped => message_id::STOPPED,
            Standing::Unknown => message_id::UNKNOWN,
            Standing::NeverSeen => message_id::NEVER_SEEN,
            Standing::Conflict => message_id::CONFLICT,
        },
    }
}

fn write_verdict(network: &str, node: &str, kind: &str, change: &Change) {
    let level = match change.to.standing {
        Standing::Down | Standing::Conflict => Level::Error,
        // Right after the start nothing is known yet, and that is no news.
        Standing::Unknown if change.to.decided.is_none() => Level::Info,
        Standing::Degraded | Standing::Unknown => Level::Warn,
        Standing::Up | Standing::Stopped | Standing::NeverSeen => Level::Info,
    };
    let causes: Vec<_> = change.causes.iter().map(|cause| cause.as_str()).collect();
    log!(
        level,
        MESSAGE_ID = kind,
        DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = change.node.as_str(),
        DISTOMON_VERDICT = change.to.standing.as_str(), DISTOMON_CAUSE = causes.join(" or ").as_str();
        "{network}: {change}"
    );
}
