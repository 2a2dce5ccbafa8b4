//! The thread that writes the state directory, so that a slow or full disk delays nobody else.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use log::error;
use parking_lot::Mutex;

use super::files::StateFiles;
use super::limit::Limiter;
use super::node::Node;
use crate::mesh::Picture;
use crate::mesh::id::{NodeId, Stamp};

/// How often the newest reports' places are kept.
const HEADS_PERIOD: Duration = Duration::from_secs(5);

/// Writes what changes, until [`Keeper::stop`]; then everything is written.
pub struct Keeper {
    stop: crossbeam_channel::Sender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Starts the thread. `kept` are the places that an earlier process left; `wake` is told
    /// whenever a nonce was taken.
    pub fn start(
        node: Arc<Node>,
        files: Arc<Mutex<StateFiles>>,
        kept: BTreeMap<NodeId, Stamp>,
        wake: Receiver<()>,
    ) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let name = format!("keep-{}", node.picture().roster().network_id());
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || keep(&node, &files, kept, &wake, &stopped))?;
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

fn keep(
    node: &Node,
    files: &Mutex<StateFiles>,
    mut kept: BTreeMap<NodeId, Stamp>,
    wake: &Receiver<()>,
    stopped: &Receiver<()>,
) {
    let lines = Limiter::default();
    let is_done = |what: &str, result: io::Result<()>| {
        let Err(error) = result else { return true };
        if let Some(more) = lines.pass(what) {
            error!(
                MESSAGE_ID = crate::message_id::STATE_NOT_WRITTEN;
                "writing {what} to the state directory: {error}; going on from memory{more}"
            );
        }
        false
    };
    let mut due = Instant::now() + HEADS_PERIOD;
    loop {
        let mut select = crossbeam_channel::Select::new();
        select.recv(wake);
        select.recv(stopped);
        let _ = select.ready_deadline(due);
        while wake.try_recv().is_ok() {}
        let ending = matches!(stopped.try_recv(), Err(TryRecvError::Disconnected));
        let unsaved = node.nonces.unsaved();
        if !is_done("nonces", files.lock().save_nonces(&unsaved)) {
            node.nonces.not_saved(unsaved);
        }
        if ending || Instant::now() >= due {
            let heads = heads(&node.picture(), &kept);
            if heads != kept && is_done("heads", files.lock().save_heads(&heads)) {
                kept = heads;
            }
            due = Instant::now() + HEADS_PERIOD;
        }
        if ending {
            is_done("nonces", files.lock().sync());
            return;
        }
    }
}

/// The places of the newest reports. Of whom nothing was heard since the start, and of those who are no
/// members any more, the place that was kept before stays: a dead node's old reports must not pass for new ones
/// after the next start.
fn heads(picture: &Picture, kept: &BTreeMap<NodeId, Stamp>) -> BTreeMap<NodeId, Stamp> {
    let mut heads = kept.clone();
    for (member, slot) in picture.members() {
        if let Some(held) = &slot.held {
            heads.insert(member.id.clone(), held.stamp());
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Keypair;
    use crate::mesh::report::{Report, VerifiedReport};
    use crate::mesh::roster::{Member, Roster};
    use crate::mesh::{Event, Mesh, Now, Seal, Setup};

    struct Pen(Keypair);

    impl Seal for Pen {
        fn seal(&self, report: Report) -> VerifiedReport {
            let payload = report.to_payload();
            let envelope = crate::crypto::dsse::seal(&self.0, report.node_id.as_str(), &payload);
            VerifiedReport::own(report, &payload, envelope, self.0.public().clone())
        }
    }

    #[test]
    fn the_place_of_a_silent_node_stays() {
        let key = Keypair::generate().expect("random source");
        let id = |name: &str| name.parse::<NodeId>().expect("a name");
        let member = |name: &str| Member {
            id: id(name),
            url: None,
            poll_rate_ms: 1_000,
            retry: 0,
            timeout_ms: 1_000,
            keys: vec![key.public().clone()],
            site: None,
        };
        let network = "net".parse().expect("a name");
        let roster = Roster::new(network, vec![member("me"), member("silent")], &id("me")).expect("a member");
        let stamp = |epoch, seq| Stamp { epoch, seq };
        let kept =
            BTreeMap::from([(id("gone"), stamp(3, 9)), (id("me"), stamp(1, 5)), (id("silent"), stamp(2, 7))]);
        let setup = Setup {
            roster: Arc::new(roster),
            seal: Box::new(Pen(key.clone())),
            seed: 1,
            epoch: 10,
            floors: kept.clone().into_iter().collect(),
            proofs: Vec::new(),
        };
        let now = Now { mono_ms: 1, wall_ms: 1 };
        let mut mesh = Mesh::new(setup, now);
        mesh.step(now, Event::Turn);
        let picture = mesh.take_picture(now).expect("a first report");
        let expected = BTreeMap::from([
            (id("gone"), stamp(3, 9)),
            (id("me"), stamp(10, 1)),
            (id("silent"), stamp(2, 7)),
        ]);
        assert_eq!(heads(&picture, &kept), expected);
    }
}
