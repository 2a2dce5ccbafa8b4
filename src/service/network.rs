//! A running network: the node of this host, its event loop and the thread that writes its state.

use std::io;
use std::path::Path;
use std::sync::Arc;

use log::info;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::config::OwnKey;
use crate::crypto::{Keypair, PublicKey};
use crate::journal::log_limiter::LogLimiter;
use crate::journal::message_id;
use crate::mesh::membership::Membership;
use crate::mesh::wire::leave::{LeaveKind, LeaveNotice};
use crate::mesh::wire::report::{Report, VerifiedReport};
use crate::mesh::{Engine, EngineInit, Event, Signer, StartEpoch};
use crate::present::journal;
use crate::probe::PeerWorkers;
use crate::store::clock::Clock;
use crate::store::event_loop::{EventLoopInit, EventLoopThread, OnNotice};
use crate::store::network_handle::EVENT_QUEUE_LEN;
use crate::store::nonce_store::NonceStore;
use crate::store::state_writer::StateWriter;
use crate::store::{NetworkHandle, StateError, StateFiles};

/// Error of a network that cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A thread cannot be started.
    #[error("starting a thread: {0}; raise the limit on tasks (TasksMax=)")]
    Thread(#[from] io::Error),
}

/// The threads and the handle of one network.
pub(super) struct RunningNetwork {
    node: Arc<NetworkHandle>,
    event_loop: EventLoopThread,
    state_writer: StateWriter,
    membership: Arc<Membership>,
}

impl RunningNetwork {
    /// Starts the node that owns `key`.
    pub(super) fn start(key: &OwnKey, state_dir: &Path, clock: Clock) -> Result<Self, StartError> {
        let membership = Arc::new(key.membership.clone());
        let mut files = StateFiles::open(state_dir, &membership)?;
        let now = clock.now();
        let restored = files.read(&membership);
        let (nonce_file, nonces) = files.open_nonces(&membership)?;
        let epoch = files.next_epoch(&membership, &restored, now.wall_ms)?;
        let min_reports = restored.min_reports.iter().cloned().collect();
        log_start(key, &files, epoch);
        let signer = Box::new(ReportSigner(key.keypair.clone()));
        let init = EngineInit {
            membership: membership.clone(),
            signer,
            seed: fastrand::u64(..),
            epoch,
            prior: restored.prior,
            min_reports: restored.min_reports,
            proofs: restored.proofs,
            boot: boot_hash(),
        };
        let mut engine = Engine::new(init, now);
        let (wake_sender, wake) = crossbeam_channel::bounded(1);
        let (event_sender, events) = crossbeam_channel::bounded(EVENT_QUEUE_LEN);
        let snapshot = engine.take_snapshot(now).expect("a new engine has an unpublished snapshot");
        let nonces = NonceStore::new(nonces, nonce_file, wake_sender);
        let (node, publisher) =
            NetworkHandle::new(key.keypair.clone(), clock, nonces, snapshot, event_sender);
        let node = Arc::new(node);
        let files = Arc::new(Mutex::new(files));
        let state_writer = StateWriter::start(node.clone(), files.clone(), min_reports, wake)?;
        let event_loop = EventLoopThread::start(EventLoopInit {
            engine,
            node: node.clone(),
            publisher,
            files,
            events,
            caller: Box::new(PeerWorkers::new(node.clone())),
            on_notice: notice_log(),
        })?;
        Ok(Self { node, event_loop, state_writer, membership })
    }

    /// Returns the handle that the routes use.
    pub(super) fn node(&self) -> &Arc<NetworkHandle> {
        &self.node
    }

    /// Returns whether `key` belongs to this node and network, so that the node can continue with the new configuration.
    pub(super) fn has_key(&self, key: &OwnKey) -> bool {
        self.membership.network_id() == key.membership.network_id()
            && self.membership.own().id == key.membership.own().id
            && self.node.keypair.public() == key.keypair.public()
    }

    /// Applies a new membership of the same network. Returns whether it differs from the current one.
    pub(super) fn reconfigure(&mut self, membership: &Membership) -> bool {
        if *self.membership == *membership {
            return false;
        }
        self.membership = Arc::new(membership.clone());
        self.node.send(Event::Reconfigured(self.membership.clone()));
        true
    }

    /// Starts a graceful stop: announces to the peers that this node is leaving.
    pub(super) fn leave(&self) {
        self.node.send(Event::Leaving(LeaveNotice { kind: LeaveKind::Stop, expect_ms: None }));
    }

    /// Waits until the threads have ended, at most two seconds after [`RunningNetwork::leave`], and the state is on disk.
    pub(super) fn join(self) {
        self.event_loop.join();
        self.state_writer.stop();
    }
}

/// Returns the first 8 bytes of SHA-256 of the kernel's boot id, which changes whenever the host boots.
fn boot_hash() -> Option<[u8; 8]> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let hash = Sha256::digest(id.trim());
    hash.first_chunk().copied()
}

/// Returns a callback that writes notices to the journal.
fn notice_log() -> OnNotice {
    let limiter = LogLimiter::default();
    Box::new(move |snapshot, notice| journal::log_notice(snapshot, notice, |subject| limiter.allow(subject)))
}

fn log_start(key: &OwnKey, files: &StateFiles, epoch: StartEpoch) {
    let epoch = match epoch {
        StartEpoch::New(epoch) => epoch.to_string(),
        StartEpoch::Lost { .. } => "lost".to_owned(),
    };
    let network = key.membership.network_id().as_str();
    let node = key.membership.own().id.as_str();
    let public: &PublicKey = key.keypair.public();
    info!(
        MESSAGE_ID = message_id::NODE_STARTED, DISTOMON_NETWORK = network, DISTOMON_NODE = node;
        "{network}: started as {node}, one of {} nodes; key {} from {}, state in {}, epoch {epoch}",
        key.membership.members().len(), public.fingerprint(), key.path.display(), files.dir().display()
    );
    if key.generated {
        info!(
            MESSAGE_ID = message_id::KEY_GENERATED, DISTOMON_NETWORK = network, DISTOMON_NODE = node;
            "{network}: generated a key for {node}; add to config.yml on every host: public_key: \"{}\"",
            public.to_base64_spki()
        );
    }
}

/// Signer of this node's reports.
struct ReportSigner(Keypair);

impl Signer for ReportSigner {
    fn sign(&self, report: Report) -> VerifiedReport {
        VerifiedReport::sign(report, &self.0)
    }
}
