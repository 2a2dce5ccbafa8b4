//! Test networks with real keys and snapshots of the real engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::NetworkHandle;
use super::clock::{self, Clock};
use super::nonce_file::NonceFile;
use super::nonce_store::NonceStore;
use crate::crypto::Keypair;
use crate::mesh::engine::event::{CallFinished, CallReply, ReceivedReports};
use crate::mesh::id::{MAX_INTEGER, NetworkId, NodeId, ReportId};
use crate::mesh::membership::{Member, Membership};
use crate::mesh::wire::heads::Heads;
use crate::mesh::wire::observation::{Failure, Observation, ProbeStatus};
use crate::mesh::wire::report::{Report, VerifiedReport};
use crate::mesh::{Effect, Engine, EngineInit, Event, Signer, Snapshot, StartEpoch, Timestamps};

/// A network with all of its private keys. The node under test is node 0.
pub(crate) struct Net {
    pub(crate) id: NetworkId,
    pub(crate) keys: Vec<Keypair>,
    pub(crate) membership: Arc<Membership>,
}

/// A signer with the key of node 0.
struct NodeSigner(Keypair);

impl Signer for NodeSigner {
    fn sign(&self, report: Report) -> VerifiedReport {
        VerifiedReport::sign(report, &self.0)
    }
}

pub(crate) fn node_id(index: usize) -> NodeId {
    format!("node-{index:02}").parse().expect("a name")
}

impl Net {
    /// Creates a network of `count` nodes.
    pub(crate) fn new(name: &str, count: usize) -> Self {
        let id: NetworkId = name.parse().expect("a name");
        let keys: Vec<Keypair> =
            (0..count).map(|_| Keypair::generate().expect("the system's random source")).collect();
        let members = keys.iter().enumerate().map(|(index, key)| Member {
            id: node_id(index),
            url: Some(format!("http://10.0.0.{index}:8000/?a=1&b=\"<2>\"")),
            poll_rate_ms: if index == 1 { 2_500 } else { 10_000 },
            retry: 0,
            timeout_ms: 5_000,
            keys: vec![key.public().clone()],
            site: None,
        });
        let membership =
            Membership::new(id.clone(), members.collect(), &node_id(0)).expect("node 0 is a member");
        Self { id, keys, membership: Arc::new(membership) }
    }

    /// Returns node 0 before its first probe.
    pub(crate) fn node(&self) -> NetworkHandle {
        let mut engine = self.engine();
        engine.step(now(), Event::Tick);
        self.handle(engine)
    }

    /// Returns node 0 after 20 s, in which it reached node 1, received its report, and failed to reach node 2.
    pub(crate) fn busy_node(&self) -> NetworkHandle {
        let mut engine = self.engine();
        let mut now = now();
        let mut effects = engine.step(now, Event::Tick);
        for _ in 0..40 {
            now = Timestamps { mono_ms: now.mono_ms + 500, wall_ms: now.wall_ms + 500 };
            let calls: Vec<_> = effects
                .into_iter()
                .filter_map(|effect| match effect {
                    Effect::Call(call) => Some(call),
                    _ => None,
                })
                .collect();
            effects = engine.step(now, Event::Tick);
            engine.take_snapshot(now);
            for call in calls {
                let outcome = if call.peer == node_id(1) {
                    Ok(self.reply(vec![self.report(1, now)]))
                } else if call.peer == node_id(2) {
                    Err(Failure::Refused)
                } else {
                    continue;
                };
                let finished = CallFinished {
                    id: call.id,
                    peer: call.peer,
                    outcome,
                    evidence: Vec::new(),
                    lateness_ms: 0,
                    may_answer_late: false,
                };
                effects.extend(engine.step(now, Event::CallFinished(finished)));
            }
        }
        // The engine offers a snapshot only after a change.
        engine.step(now, Event::Reconfigured(self.membership.clone()));
        self.handle(engine)
    }

    /// Returns node 0, which recovers its epoch; `is_exhausted`: it cannot, since node 1 holds its report with the
    /// largest possible epoch.
    pub(crate) fn recovering_node(&self, is_exhausted: bool) -> NetworkHandle {
        let mut engine = self.engine_in(StartEpoch::Lost { known: 0 });
        let mut effects = engine.step(now(), Event::Tick);
        if is_exhausted {
            let id = ReportId { epoch: MAX_INTEGER, seq: 1 };
            let own = VerifiedReport::sign(Report::new(self.id.clone(), node_id(0), id), &self.keys[0]);
            let call = effects.drain(..).find_map(|effect| match effect {
                Effect::Call(call) => Some(call),
                _ => None,
            });
            let call = call.expect("a first probe");
            let outcome = Ok(self.reply(vec![own]));
            let finished = CallFinished {
                id: call.id,
                peer: call.peer,
                outcome,
                evidence: Vec::new(),
                lateness_ms: 0,
                may_answer_late: false,
            };
            engine.step(now(), Event::CallFinished(finished));
        }
        let Timestamps { mono_ms, wall_ms } = now();
        engine.step(Timestamps { mono_ms: mono_ms + 500, wall_ms: wall_ms + 500 }, Event::Tick);
        self.handle(engine)
    }

    fn engine(&self) -> Engine {
        self.engine_in(StartEpoch::New(now().wall_ms))
    }

    fn engine_in(&self, epoch: StartEpoch) -> Engine {
        let init = EngineInit {
            membership: self.membership.clone(),
            signer: Box::new(NodeSigner(self.keys[0].clone())),
            seed: 1,
            epoch,
            prior: None,
            min_reports: Vec::new(),
            proofs: Vec::new(),
            boot: None,
        };
        Engine::new(init, now())
    }

    fn handle(&self, mut engine: Engine) -> NetworkHandle {
        self.node_with(engine.take_snapshot(now()).expect("a changed snapshot"))
    }

    pub(crate) fn node_with(&self, snapshot: Snapshot) -> NetworkHandle {
        self.with_events(snapshot).0
    }

    /// Returns node 0 and the receiver of its events.
    pub(crate) fn node_with_events(&self) -> (NetworkHandle, Receiver<Event>) {
        self.with_events(self.node().snapshot().as_ref().clone())
    }

    fn with_events(&self, snapshot: Snapshot) -> (NetworkHandle, Receiver<Event>) {
        let (events, receiver) = crossbeam_channel::bounded(16);
        let (wake, _) = crossbeam_channel::bounded(1);
        let file = NonceFile::of(tempfile::tempfile().expect("a temporary file"));
        let nonces = NonceStore::new(BTreeMap::new(), file, wake);
        let (node, _) = NetworkHandle::new(self.keys[0].clone(), Clock::start(), nonces, snapshot, events);
        (node, receiver)
    }

    fn reply(&self, reports: Vec<VerifiedReport>) -> CallReply {
        let received =
            ReceivedReports { heads: Heads::empty(self.membership.clone()), reports, proofs: Vec::new() };
        CallReply { rtt_us: 812, took_us: 1_400, clock_offset_ms: -3, received, mark: None, snapshot_ms: 0 }
    }

    /// Returns a report of the node with this index, which reaches node 0, does not reach node 2, and has a
    /// different configuration.
    pub(crate) fn report(&self, index: usize, now: Timestamps) -> VerifiedReport {
        let observation = |status, rtt_us, error| Observation {
            rtt_us,
            took_us: rtt_us.map(|us| us * 2),
            clock_offset_ms: rtt_us.map(|_| 3),
            error,
            ..Observation::new(status, now.wall_ms - 90_000)
        };
        let report = Report {
            at_ms: now.wall_ms,
            interval_ms: 10_000,
            version: "9.8.7".to_owned(),
            config: "AAAAAAAAAAA=".to_owned(),
            observations: vec![
                (node_id(0), observation(ProbeStatus::Online, Some(5_000), None)),
                (node_id(2), observation(ProbeStatus::Offline, None, Some(Failure::Timeout))),
            ],
            ..Report::new(self.id.clone(), node_id(index), ReportId { epoch: 7, seq: now.mono_ms })
        };
        VerifiedReport::sign(report, &self.keys[index])
    }
}

/// Returns the time of the first step: 20 s ago.
pub(crate) fn now() -> Timestamps {
    Timestamps { mono_ms: 1, wall_ms: clock::wall_us() / 1000 - 20_000 }
}
