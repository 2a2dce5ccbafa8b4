//! Nodes that lie with a real key: what their reports say, whom they show which, and what they keep to
//! themselves.

use std::sync::{Arc, Mutex};

use crate::machine::{Cargo, Wire};
use crate::sample::{self, Pen};
use distomon::crypto::Keypair;
use distomon::mesh::Signer;
use distomon::mesh::id::{MAX_INTEGER, NodeId, ReportId};
use distomon::mesh::wire::observation::{Failure, Observation, ProbeStatus};
use distomon::mesh::wire::report::{Report, VerifiedReport};

/// How a node lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// It finds nobody.
    Nobody,
    /// It finds everybody, the dead included.
    Everybody,
    /// It does not find this one.
    Without(usize),
    /// It signs two different reports in one place and shows each to half of the others.
    Double,
    /// It hands on no reports but its own.
    Mute,
}

/// Where a machine's reports are written.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    lie: Mutex<Option<Lie>>,
    /// Of the newest report, what half of the others are shown.
    twin: Mutex<Option<Arc<VerifiedReport>>>,
}

impl Desk {
    /// What seals the reports that are written here.
    pub(crate) fn pen(self: &Arc<Self>, key: Keypair, wire: Wire) -> Box<dyn Signer> {
        Box::new(Author { key, wire, desk: self.clone() })
    }

    /// Lies from now on, or no more.
    pub(crate) fn lie(&self, lie: Option<Lie>) {
        *self.lie.lock().expect("one thread") = lie;
        *self.twin.lock().expect("one thread") = None;
    }

    /// What `me` sends to the machine `to` instead of `cargo`.
    pub(crate) fn tamper(&self, cargo: &mut Cargo, me: &NodeId, to: usize) {
        match *self.lie.lock().expect("one thread") {
            Some(Lie::Mute) => {
                cargo.reports.retain(|report| report.author() == me);
                cargo.proofs.clear();
            }
            Some(Lie::Double) if to % 2 == 1 => {
                let twin = self.twin.lock().expect("one thread");
                let Some(twin) = twin.as_ref() else { return };
                for report in &mut cargo.reports {
                    if report.author() == me && report.id() == twin.id() {
                        *report = twin.clone();
                    }
                }
                // Nobody convicts himself.
                cargo.proofs.retain(|proof| proof.author() != me);
            }
            _ => {}
        }
    }
}

/// Signs what the desk makes of what was found.
struct Author {
    key: Keypair,
    wire: Wire,
    desk: Arc<Desk>,
}

impl Author {
    fn write(&self, report: Report) -> VerifiedReport {
        match self.wire {
            Wire::Whole => Pen(self.key.clone()).sign(report),
            Wire::Values => {
                let payload = report.to_payload();
                // As long as the envelope would be: messages are filled by bytes.
                let envelope = " ".repeat(payload.len() * 4 / 3 + 200);
                VerifiedReport::own(report, &payload, envelope, self.key.public().clone())
            }
        }
    }
}

impl Signer for Author {
    fn sign(&self, mut report: Report) -> VerifiedReport {
        let lie = *self.desk.lie.lock().expect("one thread");
        for (id, found) in &mut report.observations {
            match lie {
                Some(Lie::Nobody) => deny(found),
                Some(Lie::Without(victim)) if *id == sample::node_id(victim) => deny(found),
                Some(Lie::Everybody) => {
                    found.status = ProbeStatus::Online;
                    found.error = None;
                    found.head = None;
                }
                _ => {}
            }
        }
        if matches!(lie, Some(Lie::Nobody | Lie::Without(_) | Lie::Everybody)) {
            report.isolated = false;
        }
        if lie == Some(Lie::Double) {
            let other = Report { at_ms: report.at_ms + 1, ..report.clone() };
            *self.desk.twin.lock().expect("one thread") = Some(Arc::new(self.write(other)));
        }
        self.write(report)
    }
}

/// Offline in the way that weighs most: refused, and by a head that nothing ever refutes.
fn deny(found: &mut Observation) {
    *found = Observation {
        status: ProbeStatus::Offline,
        error: Some(Failure::Refused),
        head: Some(ReportId { epoch: MAX_INTEGER, seq: MAX_INTEGER }),
        rtt_us: None,
        took_us: None,
        clock_offset_ms: None,
        ..*found
    };
}
