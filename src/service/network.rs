//! One network that runs: its node, its collector, and the thread that writes its state.

use std::io;
use std::path::Path;
use std::sync::Arc;

use log::{error, info};
use parking_lot::Mutex;

use crate::config::OwnKey;
use crate::crypto::{Keypair, PublicKey, dsse};
use crate::journal::log_limiter::LogLimiter;
use crate::journal::message_id;
use crate::mesh::membership::Membership;
use crate::mesh::wire::report::{Report, VerifiedReport};
use crate::mesh::{Engine, EngineInit, Event, Signer};
use crate::present::journal;
use crate::probe::PeerWorkers;
use crate::store::clock::Clock;
use crate::store::event_loop::{EventLoopInit, EventLoopThread, OnNotice};
use crate::store::network_handle::EVENT_QUEUE_LEN;
use crate::store::nonce_store::NonceStore;
use crate::store::state_writer::StateWriter;
use crate::store::{NetworkHandle, StateError, StateFiles};

/// Why a network does not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A thread cannot be started.
    #[error("starting a thread: {0}; raise the limit on tasks (TasksMax=)")]
    Thread(#[from] io::Error),
}

/// A network that runs.
pub(super) struct Network {
    node: Arc<NetworkHandle>,
    collector: EventLoopThread,
    keeper: StateWriter,
    membership: Arc<Membership>,
}

impl Network {
    /// Starts the node that `key` belongs to.
    pub(super) fn start(key: &OwnKey, state_dir: &Path, clock: Clock) -> Result<Self, StartError> {
        let membership = Arc::new(key.membership.clone());
        let mut files = StateFiles::open(state_dir, &membership)?;
        let now = clock.now();
        let epoch = files.next_epoch(now.wall_ms)?;
        let kept = files.read(&membership);
        let floors = kept.min_reports.iter().cloned().collect();
        tell_start(key, &files, epoch);
        let seal = Box::new(Pen { key: key.keypair.clone(), lines: LogLimiter::default() });
        let setup = EngineInit {
            membership: membership.clone(),
            signer: seal,
            seed: fastrand::u64(..),
            epoch,
            min_reports: kept.min_reports,
            proofs: kept.proofs,
        };
        let mut mesh = Engine::new(setup, now);
        let (wake, woken) = crossbeam_channel::bounded(1);
        let (events, waiting) = crossbeam_channel::bounded(EVENT_QUEUE_LEN);
        let snapshot = mesh.take_snapshot(now).expect("a new mesh has a snapshot that nobody took");
        let nonces = NonceStore::new(kept.nonces, wake);
        let (node, publisher) = NetworkHandle::new(key.keypair.clone(), clock, nonces, snapshot, events);
        let node = Arc::new(node);
        let files = Arc::new(Mutex::new(files));
        let keeper = StateWriter::start(node.clone(), files.clone(), floors, woken)?;
        let collector = EventLoopThread::start(EventLoopInit {
            engine: mesh,
            node: node.clone(),
            publisher,
            files,
            events: waiting,
            caller: Box::new(PeerWorkers::new(node.clone())),
            on_notice: notice_log(),
        })?;
        Ok(Self { node, collector, keeper, membership })
    }

    /// The node, as the routes read it.
    pub(super) fn node(&self) -> &Arc<NetworkHandle> {
        &self.node
    }

    /// Whether `key` is this very node's, so that a new configuration can be taken while it runs.
    pub(super) fn is_of(&self, key: &OwnKey) -> bool {
        self.membership.network_id() == key.membership.network_id()
            && self.membership.own().id == key.membership.own().id
            && self.node.keypair.public() == key.keypair.public()
    }

    /// Goes on with another membership of the same network. False if nothing differs.
    pub(super) fn reconfigure(&mut self, membership: &Membership) -> bool {
        if *self.membership == *membership {
            return false;
        }
        self.membership = Arc::new(membership.clone());
        self.node.send(Event::Reconfigured(self.membership.clone()));
        true
    }

    /// Begins to stop: the others are told that this node leaves on purpose.
    pub(super) fn leave(&self) {
        self.node.send(Event::Leaving);
    }

    /// Waits for the end, two seconds at most after [`Network::leave`]; then everything is on disk.
    pub(super) fn join(self) {
        self.collector.join();
        self.keeper.stop();
    }
}

/// Writes notices to the journal.
fn notice_log() -> OnNotice {
    let limiter = LogLimiter::default();
    Box::new(move |snapshot, notice| journal::log_notice(snapshot, notice, |subject| limiter.allow(subject)))
}

fn tell_start(key: &OwnKey, files: &StateFiles, epoch: u64) {
    let network = key.membership.network_id().as_str();
    let node = key.membership.own().id.as_str();
    let public: &PublicKey = key.keypair.public();
    info!(
        MESSAGE_ID = message_id::NODE_STARTED, DISTOMON_NETWORK = network, DISTOMON_NODE = node;
        "{network}: this is {node}, one of {} nodes; key {} of {}, state in {}, epoch {epoch}",
        key.membership.members().len(), public.fingerprint(), key.path.display(), files.dir().display()
    );
    if key.generated {
        info!(
            MESSAGE_ID = message_id::KEY_GENERATED, DISTOMON_NETWORK = network, DISTOMON_NODE = node;
            "{network}: a new key was made for {node}; put this into config.yml on every node: public_key: \"{}\"",
            public.to_base64_spki()
        );
    }
}

/// Signs this node's reports.
struct Pen {
    key: Keypair,
    lines: LogLimiter,
}

impl Signer for Pen {
    fn sign(&self, report: Report) -> VerifiedReport {
        let payload = report.to_payload();
        if payload.len() > dsse::MAX_PAYLOAD {
            if let Some(more) = self.lines.allow("size") {
                error!(
                    "this node's report has {} bytes, more than others take; shorten node ids or observe fewer nodes{more}",
                    payload.len()
                );
            }
        }
        let envelope = dsse::seal(&self.key, report.node_id.as_str(), &payload);
        VerifiedReport::own(report, &payload, envelope, self.key.public().clone())
    }
}
