//! The thread that writes the state directory, so that a slow or full disk delays nobody else.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::error;
use parking_lot::Mutex;

use super::files::StateFiles;
use super::limit::Limiter;
use super::node::Node;
use crate::mesh::id::{NodeId, Stamp};

/// How often the newest reports' places are kept.
const HEADS_PERIOD: Duration = Duration::from_secs(5);

/// Writes what changes. It ends, having written everything, when `wake`'s other end is gone or
/// [`Keeper::stop`] is called.
pub struct Keeper {
    stop: crossbeam_channel::Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread. `wake` is told whenever a nonce was taken.
    pub fn start(node: Arc<Node>, files: Arc<Mutex<StateFiles>>, wake: Receiver<()>) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let name = format!("keep-{}", node.picture().roster().network_id());
        let thread =
            std::thread::Builder::new().name(name).spawn(move || keep(&node, &files, &wake, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread once everything is written.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            error!("the thread that writes the state directory panicked");
        }
    }
}

fn keep(node: &Node, files: &Mutex<StateFiles>, wake: &Receiver<()>, stopped: &Receiver<()>) {
    let lines = Limiter::default();
    let tell = |what: &str, result: io::Result<()>| {
        let Err(error) = result else { return };
        if let Some(more) = lines.pass(what) {
            error!("writing {what} to the state directory: {error}; going on from memory{more}");
        }
    };
    let mut due = Instant::now() + HEADS_PERIOD;
    let mut kept = BTreeMap::new();
    loop {
        let mut select = crossbeam_channel::Select::new();
        select.recv(wake);
        select.recv(stopped);
        let _ = select.ready_deadline(due);
        while wake.try_recv().is_ok() {}
        let ending = matches!(stopped.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
        tell("nonces", files.lock().save_nonces(&node.nonces.unsaved()));
        if ending || Instant::now() >= due {
            let heads = heads(node);
            if heads != kept {
                tell("heads", files.lock().save_heads(&heads));
                kept = heads;
            }
            due = Instant::now() + HEADS_PERIOD;
        }
        if ending {
            tell("nonces", files.lock().sync());
            return;
        }
    }
}

fn heads(node: &Node) -> BTreeMap<NodeId, Stamp> {
    let picture = node.picture();
    let held = picture
        .members()
        .filter_map(|(member, slot)| slot.held.as_ref().map(|report| (member.id.clone(), report.stamp())));
    held.collect()
}
