//! The thread that writes the state directory, so that a slow or full disk delays nobody else.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use log::error;
use parking_lot::Mutex;

use super::network_handle::NetworkHandle;
use super::state_files::StateFiles;
use crate::journal::log_limiter::LogLimiter;
use crate::mesh::Snapshot;
use crate::mesh::id::{NodeId, ReportId};
use crate::threads;

/// How often the newest reports' places are kept.
const HEADS_PERIOD: Duration = Duration::from_secs(5);

/// Writes what changes, until [`Keeper::stop`]; then everything is written.
pub struct StateWriter {
    stop: crossbeam_channel::Sender<()>,
    thread: JoinHandle<()>,
}

impl StateWriter {
    /// Starts the thread. `kept` are the places that an earlier process left; `wake` is told
    /// whenever a nonce was taken.
    pub fn start(
        node: Arc<NetworkHandle>,
        files: Arc<Mutex<StateFiles>>,
        kept: BTreeMap<NodeId, ReportId>,
        wake: Receiver<()>,
    ) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let name = format!("keep-{}", node.snapshot().membership().network_id());
        let thread = threads::spawn_essential(name, move || {
            write_until_stopped(&node, &files, kept, &wake, &stopped);
        })?;
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

fn write_until_stopped(
    node: &NetworkHandle,
    files: &Mutex<StateFiles>,
    mut kept: BTreeMap<NodeId, ReportId>,
    wake: &Receiver<()>,
    stopped: &Receiver<()>,
) {
    let lines = LogLimiter::default();
    let is_done = |what: &str, result: io::Result<()>| {
        let Err(error) = result else { return true };
        if let Some(more) = lines.allow(what) {
            error!(
                MESSAGE_ID = crate::journal::message_id::STATE_WRITE_FAILED;
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
            node.nonces.mark_unsaved(unsaved);
        }
        if ending || Instant::now() >= due {
            let heads = heads(&node.snapshot(), &kept);
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
fn heads(snapshot: &Snapshot, kept: &BTreeMap<NodeId, ReportId>) -> BTreeMap<NodeId, ReportId> {
    let mut heads = kept.clone();
    for (member, state) in snapshot.members() {
        if let Some(latest) = &state.latest {
            heads.insert(member.id.clone(), latest.id());
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Keypair;
    use crate::mesh::membership::{Member, Membership};
    use crate::mesh::wire::report::{Report, VerifiedReport};
    use crate::mesh::{Engine, EngineInit, Event, Signer, Timestamps};

    struct Pen(Keypair);

    impl Signer for Pen {
        fn sign(&self, report: Report) -> VerifiedReport {
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
        let membership =
            Membership::new(network, vec![member("me"), member("silent")], &id("me")).expect("a member");
        let report_id = |epoch, seq| ReportId { epoch, seq };
        let kept = BTreeMap::from([
            (id("gone"), report_id(3, 9)),
            (id("me"), report_id(1, 5)),
            (id("silent"), report_id(2, 7)),
        ]);
        let setup = EngineInit {
            membership: Arc::new(membership),
            signer: Box::new(Pen(key.clone())),
            seed: 1,
            epoch: 10,
            min_reports: kept.clone().into_iter().collect(),
            proofs: Vec::new(),
        };
        let now = Timestamps { mono_ms: 1, wall_ms: 1 };
        let mut mesh = Engine::new(setup, now);
        mesh.step(now, Event::Tick);
        let snapshot = mesh.take_snapshot(now).expect("a first report");
        let expected = BTreeMap::from([
            (id("gone"), report_id(3, 9)),
            (id("me"), report_id(10, 1)),
            (id("silent"), report_id(2, 7)),
        ]);
        assert_eq!(heads(&snapshot, &kept), expected);
    }
}
