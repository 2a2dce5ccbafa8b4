//! Byzantine nodes: they hold a valid key and sign false reports, show different reports to different peers, withhold or
//! delay the reports of others, or take up as much of every message as they can.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::fixtures::{self, KeySigner};
use crate::message::{Payload, Transport};
use crate::network::setup::converged;
use crate::seeds;
use distomon::crypto::dsse::{self, MAX_ENVELOPE};
use distomon::crypto::{Keypair, PublicKey};
use distomon::mesh::Signer;
use distomon::mesh::id::{MAX_INTEGER, NodeId, ReportId};
use distomon::mesh::wire::observation::{Failure, Observation, ProbeStatus};
use distomon::mesh::wire::report::{PAYLOAD_TYPE, Report, VerifiedReport};
use distomon::mesh::wire::report_size::max_payload_bytes;

/// The largest step of a sequence number by [`Misbehavior::JumpSeq`].
const MAX_SEQ_STEP: u64 = 1 << 40;

/// How long a hoarding node keeps a report at least, in ms.
const HOARD_MS: u64 = 2_000;

/// The maximum number of reports that a hoarding node keeps.
const MAX_HOARD: usize = 1_000;

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
    /// It relays the reports of others late, and older ones after newer ones.
    Hoard,
    /// Its reports have the largest allowed size.
    Pad,
    /// The sequence numbers of its reports grow in large steps.
    JumpSeq,
    /// It publishes as often as receivers accept its reports, and sends them to half of its peers only, so that the others
    /// lack a report of it in almost every exchange.
    Flood,
}

/// The behavior of the node on one host: honest by default.
#[derive(Debug, Default)]
pub(crate) struct Behavior(Mutex<BehaviorState>);

#[derive(Debug, Default)]
struct BehaviorState {
    active: Vec<Misbehavior>,
    /// The second version of the newest report, which half of the peers receive.
    conflicting: Option<Arc<VerifiedReport>>,
    /// By how much the sequence numbers are ahead of those of an honest node. It stays, so that reports advance.
    seq_ahead: u64,
    hoard: Hoard,
}

impl Behavior {
    fn lock(&self) -> MutexGuard<'_, BehaviorState> {
        self.0.lock().expect("only one thread uses it")
    }

    /// A signer that falsifies reports according to the behavior.
    pub(crate) fn signer(self: &Arc<Self>, key: Keypair, transport: Transport) -> Box<dyn Signer> {
        Box::new(ByzantineSigner { key, transport, behavior: self.clone() })
    }

    /// Begins or ends a way to misbehave. A node may misbehave in several ways at the same time.
    pub(crate) fn set(&self, misbehavior: Misbehavior, begins: bool) {
        let mut state = self.lock();
        state.active.retain(|active| *active != misbehavior);
        if begins {
            state.active.push(misbehavior);
        }
        if !state.is(Misbehavior::Equivocate) {
            state.conflicting = None;
        }
    }

    /// Changes `payload`, which the node `me` sends to the host `to`, according to the behavior.
    pub(crate) fn tamper(&self, payload: &mut Payload, me: &NodeId, to: usize, now_ms: u64) {
        let mut state = self.lock();
        if state.is(Misbehavior::Hoard) {
            state.hoard.replace_reports(payload, me, now_ms);
        }
        if state.is(Misbehavior::Withhold) {
            payload.reports.retain(|report| report.author() == me);
            payload.proofs.clear();
        }
        if to % 2 == 0 {
            return;
        }
        if let Some(conflicting) = &state.conflicting {
            for report in &mut payload.reports {
                if report.author() == me && report.id() == conflicting.id() {
                    *report = conflicting.clone();
                }
            }
            // An equivocator does not spread the proof against itself.
            payload.proofs.retain(|proof| proof.author() != me);
        }
        if state.is(Misbehavior::Flood) {
            payload.reports.retain(|report| report.author() != me);
        }
    }
}

impl BehaviorState {
    fn is(&self, misbehavior: Misbehavior) -> bool {
        self.active.contains(&misbehavior)
    }
}

/// The reports of others that a hoarding node keeps, with the time since when, in ms.
#[derive(Debug, Default)]
struct Hoard {
    reports: VecDeque<(u64, Arc<VerifiedReport>)>,
    messages: usize,
}

impl Hoard {
    /// Keeps the reports of others in `payload`, and puts late ones in their place: one of each author, in no order.
    fn replace_reports(&mut self, payload: &mut Payload, me: &NodeId, now_ms: u64) {
        let (own, others): (Vec<_>, Vec<_>) =
            payload.reports.drain(..).partition(|report| report.author() == me);
        payload.reports = own;
        for report in others {
            let is_same =
                |kept: &VerifiedReport| kept.author() == report.author() && kept.id() == report.id();
            if !self.reports.iter().any(|(_, kept)| is_same(kept)) {
                self.reports.push_back((now_ms, report));
            }
        }
        let excess = self.reports.len().saturating_sub(MAX_HOARD);
        self.reports.drain(..excess);
        let is_late = |(kept_ms, _): &&(u64, _)| kept_ms + HOARD_MS <= now_ms;
        let late: Vec<_> = self.reports.iter().filter(is_late).map(|(_, report)| report).collect();
        self.messages += 1;
        let start = (self.messages * 7_919) % late.len().max(1);
        for report in late[start..].iter().chain(&late[..start]) {
            if payload.reports.iter().all(|other| other.author() != report.author()) {
                payload.reports.push((*report).clone());
            }
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
    fn seal(&self, report: Report, is_padded: bool) -> VerifiedReport {
        let key = self.key.public().clone();
        match (self.transport, is_padded) {
            (Transport::Encoded, false) => KeySigner(self.key.clone()).sign(report),
            (Transport::Encoded, true) => padded(&self.key, report),
            (Transport::Typed, _) => typed(key, report, is_padded),
        }
    }
}

/// A report of the largest allowed size: an unknown member fills it.
fn padded(key: &Keypair, report: Report) -> VerifiedReport {
    let mut payload = report.to_payload();
    assert_eq!(payload.pop(), Some(b'}'), "a JSON object");
    payload.extend(b",\"filler\":\"");
    payload.resize(max_payload_bytes(report.observations.len()) - 2, b'x');
    payload.extend(b"\"}");
    let envelope = dsse::seal(key, report.node_id.as_str(), PAYLOAD_TYPE, &payload);
    VerifiedReport::own(report, &payload, envelope, key.public().clone())
}

/// A report without a signature whose envelope is as long as a signed one would be, since messages are limited by bytes.
fn typed(key: PublicKey, report: Report, is_padded: bool) -> VerifiedReport {
    let payload = report.to_payload();
    let bytes = if is_padded { MAX_ENVELOPE } else { payload.len() * 4 / 3 + 200 };
    VerifiedReport::own(report, &payload, " ".repeat(bytes), key)
}

impl Signer for ByzantineSigner {
    fn sign(&self, mut report: Report) -> VerifiedReport {
        let mut state = self.behavior.lock();
        for misbehavior in &state.active {
            falsify(&mut report, *misbehavior);
        }
        if state.is(Misbehavior::JumpSeq) {
            state.seq_ahead += (state.seq_ahead + 1_000).min(MAX_SEQ_STEP);
        }
        report.seq += state.seq_ahead;
        let is_padded = state.is(Misbehavior::Pad);
        if state.is(Misbehavior::Equivocate) {
            let other = Report { at_ms: report.at_ms + 1, ..report.clone() };
            state.conflicting = Some(Arc::new(self.seal(other, is_padded)));
        }
        self.seal(report, is_padded)
    }
}

/// Changes the observations of `report`.
fn falsify(report: &mut Report, misbehavior: Misbehavior) {
    for (id, observation) in &mut report.observations {
        match misbehavior {
            Misbehavior::ReportAllOffline => set_offline(observation),
            Misbehavior::ReportOffline(victim) if *id == fixtures::node_id(victim) => {
                set_offline(observation);
            }
            Misbehavior::ReportAllOnline => {
                observation.status = ProbeStatus::Online;
                observation.error = None;
                observation.head = None;
            }
            _ => {}
        }
    }
    if matches!(
        misbehavior,
        Misbehavior::ReportAllOffline | Misbehavior::ReportOffline(_) | Misbehavior::ReportAllOnline
    ) {
        report.isolated = false;
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

#[test]
fn a_report_of_the_largest_size_is_accepted() {
    for seed in seeds() {
        let mut network = converged(3, seed);
        network.set_misbehavior(2, Misbehavior::Pad, true);
        network.set_misbehavior(2, Misbehavior::JumpSeq, true);
        network.run_until(3_000, "node 1 holds it", |network| {
            let latest = network.host(1).latest(&fixtures::node_id(2)).expect("a converged network");
            latest.envelope().len() > max_payload_bytes(2) / 3 * 4 && latest.id().seq > 1_000
        });
        network.run(10_000);
        assert!(network.is_converged());
        assert_eq!(network.host(1).received.rejected, 0);
    }
}
