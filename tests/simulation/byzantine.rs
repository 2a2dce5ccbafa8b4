//! Byzantine nodes: they hold a valid key and sign false reports, show different reports to different peers, or
//! withhold the reports of others.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::fixtures::{self, KeySigner};
use crate::message::{Payload, Transport};
use distomon::crypto::Keypair;
use distomon::mesh::Signer;
use distomon::mesh::id::{MAX_INTEGER, NodeId, ReportId};
use distomon::mesh::wire::observation::{Failure, Observation, ProbeStatus};
use distomon::mesh::wire::report::{Report, VerifiedReport};

/// A way to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Misbehavior {
    /// It reports every node offline.
    ReportAllOffline,
    /// It reports every node online, dead ones included.
    ReportAllOnline,
    /// It reports this node offline.
    ReportOffline(usize),
    /// It signs two different reports with one id and shows each to half of its peers.
    Equivocate,
    /// It relays no reports but its own.
    Withhold,
}

/// The behavior of the node on one host: honest by default.
#[derive(Debug, Default)]
pub(crate) struct Behavior {
    misbehavior: Mutex<Option<Misbehavior>>,
    /// The second version of the newest report, which half of the peers receive.
    conflicting: Mutex<Option<Arc<VerifiedReport>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("only one thread uses it")
}

impl Behavior {
    /// A signer that falsifies reports according to the behavior.
    pub(crate) fn signer(self: &Arc<Self>, key: Keypair, transport: Transport) -> Box<dyn Signer> {
        Box::new(ByzantineSigner { key, transport, behavior: self.clone() })
    }

    /// Sets how the node misbehaves from now on; none makes it honest.
    pub(crate) fn set(&self, misbehavior: Option<Misbehavior>) {
        *lock(&self.misbehavior) = misbehavior;
        *lock(&self.conflicting) = None;
    }

    /// Changes `payload`, which the node `me` sends to the host `to`, according to the behavior.
    pub(crate) fn tamper(&self, payload: &mut Payload, me: &NodeId, to: usize) {
        match *lock(&self.misbehavior) {
            Some(Misbehavior::Withhold) => {
                payload.reports.retain(|report| report.author() == me);
                payload.proofs.clear();
            }
            Some(Misbehavior::Equivocate) if to % 2 == 1 => {
                let conflicting = lock(&self.conflicting);
                let Some(conflicting) = conflicting.as_ref() else { return };
                for report in &mut payload.reports {
                    if report.author() == me && report.id() == conflicting.id() {
                        *report = conflicting.clone();
                    }
                }
                // An equivocator does not spread the proof against itself.
                payload.proofs.retain(|proof| proof.author() != me);
            }
            _ => {}
        }
    }
}

/// Signs the reports of a node after its [`Behavior`] has changed them.
struct ByzantineSigner {
    key: Keypair,
    transport: Transport,
    behavior: Arc<Behavior>,
}

impl ByzantineSigner {
    fn sign_as_is(&self, report: Report) -> VerifiedReport {
        match self.transport {
            Transport::Encoded => KeySigner(self.key.clone()).sign(report),
            Transport::Typed => {
                let payload = report.to_payload();
                // As long as the envelope would be, since messages are limited by bytes.
                let envelope = " ".repeat(payload.len() * 4 / 3 + 200);
                VerifiedReport::own(report, &payload, envelope, self.key.public().clone())
            }
        }
    }
}

impl Signer for ByzantineSigner {
    fn sign(&self, mut report: Report) -> VerifiedReport {
        let misbehavior = *lock(&self.behavior.misbehavior);
        for (id, observation) in &mut report.observations {
            match misbehavior {
                Some(Misbehavior::ReportAllOffline) => set_offline(observation),
                Some(Misbehavior::ReportOffline(victim)) if *id == fixtures::node_id(victim) => {
                    set_offline(observation);
                }
                Some(Misbehavior::ReportAllOnline) => {
                    observation.status = ProbeStatus::Online;
                    observation.error = None;
                    observation.head = None;
                }
                _ => {}
            }
        }
        if matches!(
            misbehavior,
            Some(
                Misbehavior::ReportAllOffline | Misbehavior::ReportOffline(_) | Misbehavior::ReportAllOnline
            )
        ) {
            report.isolated = false;
        }
        if misbehavior == Some(Misbehavior::Equivocate) {
            let other = Report { at_ms: report.at_ms + 1, ..report.clone() };
            *lock(&self.behavior.conflicting) = Some(Arc::new(self.sign_as_is(other)));
        }
        self.sign_as_is(report)
    }
}

/// Makes the most damaging false observation: refused, with a head that no report can refute.
fn set_offline(observation: &mut Observation) {
    *observation = Observation {
        error: Some(Failure::Refused),
        head: Some(ReportId { epoch: MAX_INTEGER, seq: MAX_INTEGER }),
        ..Observation::new(ProbeStatus::Offline, observation.since_ms)
    };
}
