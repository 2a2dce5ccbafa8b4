//! The thread that writes the state directory, so that a slow or full disk delays no other thread.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use log::error;
use parking_lot::Mutex;

use super::network_handle::NetworkHandle;
use super::state_files::{StateFiles, remedy};
use crate::journal::log_limiter::LogLimiter;
use crate::mesh::Snapshot;
use crate::mesh::id::{NodeId, ReportId};
use crate::threads;

/// The time between two writes of the ids of the newest reports.
const HEADS_PERIOD: Duration = Duration::from_secs(5);

/// The time from the start to the first write. The first report is published before, unless the host is slow or the epoch
/// is recovered.
const FIRST_WRITE: Duration = Duration::from_millis(200);

/// The thread that saves the ids of the newest reports, and nonces that were not saved before a reply, until
/// [`StateWriter::stop`].
pub struct StateWriter {
    stop: crossbeam_channel::Sender<()>,
    thread: JoinHandle<()>,
}

impl StateWriter {
    /// Starts the thread. `saved` are the ids that an earlier process saved; `wake` receives a message when there
    /// are nonces that could not be saved before a reply.
    pub fn start(
        node: Arc<NetworkHandle>,
        files: Arc<Mutex<StateFiles>>,
        saved: BTreeMap<NodeId, ReportId>,
        wake: Receiver<()>,
    ) -> io::Result<Self> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let name = format!("state-{}", node.snapshot().membership().network_id());
        let thread = threads::spawn_essential(name, move || {
            write_until_stopped(&node, &files, saved, &wake, &stopped);
        })?;
        Ok(Self { stop, thread })
    }

    /// Saves everything, and waits until the thread ends.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            error!("state directory: the thread that writes it panicked");
        }
    }
}

fn write_until_stopped(
    node: &NetworkHandle,
    files: &Mutex<StateFiles>,
    mut saved: BTreeMap<NodeId, ReportId>,
    wake: &Receiver<()>,
    stopped: &Receiver<()>,
) {
    let log_limiter = LogLimiter::default();
    let is_saved = |what: &str, result: io::Result<()>| {
        let Err(error) = result else { return true };
        if let Some(more) = log_limiter.allow(what) {
            error!(
                MESSAGE_ID = crate::journal::message_id::STATE_WRITE_FAILED;
                "state directory: writing {what} failed: {error}; {}; continuing from memory{more}", remedy(&error)
            );
        }
        false
    };
    let mut due = Instant::now() + FIRST_WRITE;
    loop {
        let mut select = crossbeam_channel::Select::new();
        select.recv(wake);
        select.recv(stopped);
        let _ = select.ready_deadline(due);
        while wake.try_recv().is_ok() {}
        let is_stopping = matches!(stopped.try_recv(), Err(TryRecvError::Disconnected));
        is_saved("nonces", node.nonces.save());
        if is_stopping || Instant::now() >= due {
            let heads = merged_heads(&node.snapshot(), &saved);
            if heads != saved && is_saved("heads", files.lock().save_heads(&heads)) {
                saved = heads;
            }
            if let Some(own) = node.snapshot().own_report() {
                let result = files.lock().save_own_report(own.id(), own.report().leaving.is_some());
                is_saved("the last report", result);
            }
            due = Instant::now() + HEADS_PERIOD;
        }
        if is_stopping {
            is_saved("nonces", node.nonces.sync());
            return;
        }
    }
}

/// The ids of the newest reports of all nodes. Nodes that have been silent since the start, or are no longer members, keep
/// their saved ids, so that old reports of a dead node do not look new after the next start.
fn merged_heads(snapshot: &Snapshot, saved: &BTreeMap<NodeId, ReportId>) -> BTreeMap<NodeId, ReportId> {
    let mut heads = saved.clone();
    for (member, state) in snapshot.members() {
        if let Some(latest) = &state.latest {
            heads.insert(member.id.clone(), latest.id());
        }
    }
    heads
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Net;
    use super::super::last_run::LastRun;
    use super::*;
    use crate::crypto::Keypair;
    use crate::mesh::membership::{Member, Membership};
    use crate::mesh::wire::prior_run::PriorRun;
    use crate::mesh::wire::report::{Report, VerifiedReport};
    use crate::mesh::{Engine, EngineInit, Event, Signer, StartEpoch, Timestamps};

    #[test]
    fn the_first_own_report_is_saved_soon() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let net = Net::new("net", 2);
        let node = Arc::new(net.node());
        let own = node.snapshot().own_report().expect("it reports").id();
        let mut files = StateFiles::open(dir.path(), &net.membership).expect("a writable directory");
        files.save_epoch(own.epoch).expect("written");
        let path = files.dir().join("last_run");
        let files = Arc::new(Mutex::new(files));
        let (_wake_sender, wake) = crossbeam_channel::bounded(1);
        let started = Instant::now();
        let writer = StateWriter::start(node, files, BTreeMap::new(), wake).expect("a thread");
        let saved = || LastRun::read(&path).expect("readable").and_then(|last| last.prior(None));
        while saved().is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(started.elapsed() < HEADS_PERIOD, "only the periodic write saves it");
        assert_eq!(saved(), Some(PriorRun { report: own, clean: false }));
        writer.stop();
    }

    struct TestSigner(Keypair);

    impl Signer for TestSigner {
        fn sign(&self, report: Report) -> VerifiedReport {
            VerifiedReport::sign(report, &self.0)
        }
    }

    #[test]
    fn the_saved_id_of_a_silent_node_stays() {
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
        let saved = BTreeMap::from([
            (id("gone"), report_id(3, 9)),
            (id("me"), report_id(1, 5)),
            (id("silent"), report_id(2, 7)),
        ]);
        let init = EngineInit {
            membership: Arc::new(membership),
            signer: Box::new(TestSigner(key.clone())),
            seed: 1,
            epoch: StartEpoch::New(10),
            prior: None,
            min_reports: saved.clone().into_iter().collect(),
            proofs: Vec::new(),
            boot: None,
        };
        let now = Timestamps { mono_ms: 1, wall_ms: 1 };
        let mut engine = Engine::new(init, now);
        engine.step(now, Event::Tick);
        let snapshot = engine.take_snapshot(now).expect("a first report");
        let expected = BTreeMap::from([
            (id("gone"), report_id(3, 9)),
            (id("me"), report_id(10, 1)),
            (id("silent"), report_id(2, 7)),
        ]);
        assert_eq!(merged_heads(&snapshot, &saved), expected);
    }
}
