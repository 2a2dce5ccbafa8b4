//! One machine: a core, and what its threads do around it, without threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use distomon::crypto::{Nonce, PublicKey};
use distomon::mesh::delta_sync;
use distomon::mesh::engine::event::{Call, CallFinished, CallReply, Notice, ReceivedReports};
use distomon::mesh::id::{NodeId, ReportId};
use distomon::mesh::membership::Membership;
use distomon::mesh::sync::compose::{ArrivedHeads, ReplyContent, RequestContent, write_reply, write_request};
use distomon::mesh::sync::missing::{missing_proofs, missing_reports};
use distomon::mesh::verify::{self, AuthorRateLimit, MessageReports, VerifyOutcome};
use distomon::mesh::wire::equivocation::EquivocationProof;
use distomon::mesh::wire::message::{Reply, Request};
use distomon::mesh::wire::observation::{Failure, Observation};
use distomon::mesh::wire::report::VerifiedReport;
use distomon::mesh::{Effect, Engine, EngineInit, Event, Signer, Snapshot, Timestamps};

/// The wall clock when virtual time begins: Unix time in ms.
pub(crate) const WALL_MS: u64 = 1_763_884_800_000;

/// What survives a restart.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) epoch: u64,
    pub(crate) nonces: BTreeMap<NodeId, Nonce>,
    pub(crate) floors: Vec<(NodeId, ReportId)>,
    pub(crate) proofs: Vec<EquivocationProof>,
}

/// How reports travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// As the service sends them: sealed, written into messages, read and verified.
    Whole,
    /// As values beside the messages, signed by nobody and believed by everybody: much faster.
    Values,
}

/// What travels beside a message where reports do so as values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cargo {
    pub(crate) reports: Vec<Arc<VerifiedReport>>,
    pub(crate) proofs: Vec<Arc<EquivocationProof>>,
}

/// Who signs a request, as its head shows.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) id: NodeId,
    pub(crate) key: PublicKey,
}

/// How a machine's clocks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Clock {
    /// Added to virtual time to get its wall clock.
    pub(crate) skew_ms: i64,
    /// How much faster both clocks run, in parts of a million.
    pub(crate) drift_ppm: i64,
}

impl Cargo {
    /// Takes of it what `intake::check` would take of a message: what advances, and no more of an author
    /// than is taken.
    fn sort(
        self,
        snapshot: &Snapshot,
        allowance: &mut AuthorRateLimit,
        mono_ms: u64,
        intake: &mut VerifyOutcome,
    ) {
        for report in self.reports {
            let Some(author) = snapshot.membership().index(report.author().as_str()) else { continue };
            let state = &snapshot.states()[author];
            let report_id = report.id();
            let is_news = match &state.latest {
                None => report_id >= state.min_report,
                Some(latest) if latest.id() == report_id => {
                    state.equivocation.is_none() && latest.digest() != report.digest()
                }
                Some(latest) => report_id > latest.id(),
            };
            if !is_news || intake.reports.iter().any(|other| other.author() == report.author()) {
                intake.stale += 1;
            } else if !allowance.allows(author, mono_ms) {
                intake.rate_limited += 1;
            } else {
                allowance.consume(author, mono_ms);
                intake.reports.push(report.as_ref().clone());
            }
        }
        for proof in self.proofs {
            let known = snapshot.state(proof.author()).is_none_or(|state| state.equivocation.is_some());
            if known || intake.proofs.iter().any(|other| other.author() == proof.author()) {
                intake.stale += 1;
            } else {
                intake.proofs.push(proof.as_ref().clone());
            }
        }
    }
}

impl Clock {
    fn drift(self, for_ms: u64) -> u64 {
        let drift_ms = i128::from(for_ms) * i128::from(self.drift_ppm) / 1_000_000;
        for_ms.saturating_add_signed(i64::try_from(drift_ms).expect("short"))
    }
}

/// What an exchange came to, before it travels back.
pub(crate) enum Response {
    /// A reply's body, and what travels beside it.
    Reply(String, Cargo),
    /// A signed 409 with the evidence.
    Replayed(Vec<VerifiedReport>),
    /// Another signed refusal.
    Rejected(Failure),
}

/// What came of the reports that this machine received.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Received {
    pub(crate) new: u32,
    pub(crate) stale: u32,
    pub(crate) surplus: u32,
    pub(crate) refused: u32,
}

/// One process of a node.
pub(crate) struct Machine {
    pub(crate) mesh: Engine,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) disk: Disk,
    pub(crate) notes: Vec<Notice>,
    pub(crate) received: Received,
    pub(crate) clock: Clock,
    pub(crate) last_turn_ms: u64,
    started_ms: u64,
    allowance: AuthorRateLimit,
    requests: u64,
    /// For each call in flight, when the snapshot was taken that it was written from: monotonic time in ms.
    written: BTreeMap<u64, u64>,
    wire: Wire,
}

impl Machine {
    /// Starts a process at `at_ms` of virtual time with what `disk` holds.
    pub(crate) fn start(
        seal: Box<dyn Signer>,
        wire: Wire,
        membership: Arc<Membership>,
        mut disk: Disk,
        clock: Clock,
        at_ms: u64,
        seed: u64,
    ) -> Self {
        let wall_ms = (WALL_MS + at_ms).saturating_add_signed(clock.skew_ms);
        let now = Timestamps { mono_ms: 1, wall_ms };
        disk.epoch = (disk.epoch + 1).max(wall_ms);
        let setup = EngineInit {
            membership,
            signer: seal,
            seed,
            epoch: disk.epoch,
            min_reports: disk.floors.clone(),
            proofs: disk.proofs.clone(),
        };
        let mut mesh = Engine::new(setup, now);
        let snapshot = mesh.take_snapshot(now).expect("the first snapshot");
        Self {
            mesh,
            snapshot: Arc::new(snapshot),
            disk,
            notes: Vec::new(),
            received: Received::default(),
            clock,
            last_turn_ms: at_ms,
            started_ms: at_ms,
            allowance: AuthorRateLimit::default(),
            requests: 0,
            written: BTreeMap::new(),
            wire,
        }
    }

    pub(crate) fn now(&self, at_ms: u64) -> Timestamps {
        let ran_ms = at_ms - self.started_ms;
        let wall_ms = WALL_MS + self.started_ms + self.clock.drift(ran_ms);
        Timestamps {
            mono_ms: self.clock.drift(ran_ms) + 1,
            wall_ms: wall_ms.saturating_add_signed(self.clock.skew_ms),
        }
    }

    pub(crate) fn id(&self) -> &NodeId {
        &self.snapshot.membership().own().id
    }

    /// When its collector turns at the latest, in virtual ms.
    pub(crate) fn wakes_ms(&self, at_ms: u64) -> u64 {
        let now = self.now(at_ms);
        let mut wait_ms = self.mesh.deadline_ms().saturating_sub(now.mono_ms).min(1_000);
        while self.clock.drift_ppm != 0 && self.now(at_ms + wait_ms).mono_ms < now.mono_ms + wait_ms.min(500)
        {
            wait_ms += 1;
        }
        at_ms.saturating_add(wait_ms).min(self.last_turn_ms + 500).max(at_ms)
    }

    /// Takes an event as the collector does, and gives back the calls to make.
    pub(crate) fn step(&mut self, at_ms: u64, event: Event) -> Vec<Call> {
        self.last_turn_ms = at_ms;
        let now = self.now(at_ms);
        let effects = self.mesh.step(now, event);
        if let Some(snapshot) = self.mesh.take_snapshot(now) {
            self.snapshot = Arc::new(snapshot);
        }
        let mut calls = Vec::new();
        for effect in effects {
            match effect {
                Effect::SaveEpoch(epoch) => self.disk.epoch = epoch,
                Effect::SaveProof(proof) => self.disk.proofs.push(proof.as_ref().clone()),
                Effect::Call(call) => calls.push(call),
                Effect::Notice(note) => self.notes.push(note),
            }
        }
        calls
    }

    /// The nonce and the body of a request.
    pub(crate) fn write(&mut self, at_ms: u64, call: &Call) -> (Nonce, String, Cargo) {
        self.requests += 1;
        let nonce = Nonce { epoch: call.epoch, counter: self.requests };
        let mono_ms = self.now(at_ms).mono_ms;
        self.written.retain(|_, snapshot_ms| *snapshot_ms + 60_000 > mono_ms);
        self.written.insert(call.id, self.snapshot.at().mono_ms);
        let (inside, beside) = self.load(call.reports.clone(), call.proofs.clone());
        let content = RequestContent {
            to: call.peer.as_str(),
            mono_ms,
            base: call.base,
            reports: &inside.reports,
            proofs: &inside.proofs,
        };
        let body = write_request(self.snapshot.table(), content);
        (nonce, body, beside)
    }

    /// What travels inside a message, and what beside it.
    fn load(&self, reports: Vec<Arc<VerifiedReport>>, proofs: Vec<Arc<EquivocationProof>>) -> (Cargo, Cargo) {
        let cargo = Cargo { reports, proofs };
        match self.wire {
            Wire::Whole => (cargo, Cargo::default()),
            Wire::Values => (Cargo::default(), cargo),
        }
    }

    /// Answers a request, and says what it brought.
    pub(crate) fn answer(
        &mut self,
        at_ms: u64,
        from: &Sender,
        nonce: Nonce,
        body: &str,
        cargo: Cargo,
    ) -> (Response, Option<ReceivedReports>) {
        let snapshot = self.snapshot.clone();
        let Sender { id: from, key } = from;
        if snapshot.membership().member(from.as_str()).is_none_or(|member| !member.keys.contains(key)) {
            return (Response::Rejected(Failure::HttpStatus), None);
        }
        if self.disk.nonces.get(from).is_some_and(|last| *last >= nonce) {
            let latest = snapshot.state(from).and_then(|state| state.latest.clone());
            return (Response::Replayed(latest.as_deref().cloned().into_iter().collect()), None);
        }
        self.disk.nonces.insert(from.clone(), nonce);
        let message = Request::parse(body.as_bytes(), snapshot.membership()).expect("a message");
        if message.to != self.id().as_str() {
            return (Response::Rejected(Failure::Misdirected), None);
        }
        let intake = self.check(at_ms, &snapshot, from, &message.reports, &message.proofs, cargo);
        let index = snapshot.membership().index(from.as_str()).expect("a member");
        let sync = &snapshot.states()[index].sync;
        let (heads, complete) = sync.completed(snapshot.membership(), index, message.heads.clone());
        let arrived = ArrivedHeads::of(snapshot.membership(), &intake.reports);
        let is_forged = intake.is_forged();
        let received =
            ReceivedReports { heads: message.heads, reports: intake.reports, proofs: intake.proofs };
        if is_forged {
            // The reports before the forged one were verified, and are kept.
            return (Response::Rejected(Failure::Rejected), Some(received));
        }
        let reports = missing_reports(&heads, snapshot.table(), |index, _| {
            complete || heads.knows(snapshot.membership(), index)
        });
        let proofs = if complete { missing_proofs(&heads, snapshot.table()) } else { Vec::new() };
        let now = self.now(at_ms);
        let (inside, beside) = self.load(reports, proofs);
        let content = ReplyContent {
            from: self.id().as_str(),
            now_ms: now.wall_ms,
            took_us: 100,
            mono_ms: now.mono_ms,
            since: message.since.filter(|_| complete),
            mark: delta_sync::mark(snapshot.membership(), snapshot.at()),
            arrived: &arrived,
            reports: &inside.reports,
            proofs: &inside.proofs,
        };
        let reply = write_reply(snapshot.table(), content);
        (Response::Reply(reply, beside), Some(received))
    }

    /// What the heads in `body` and `cargo` bring.
    pub(crate) fn take(&mut self, at_ms: u64, from: &NodeId, body: &str, cargo: Cargo) -> ReceivedReports {
        let snapshot = self.snapshot.clone();
        let message = Request::parse(body.as_bytes(), snapshot.membership()).expect("a message");
        let intake = self.check(at_ms, &snapshot, from, &message.reports, &message.proofs, cargo);
        ReceivedReports { heads: message.heads, reports: intake.reports, proofs: intake.proofs }
    }

    /// What counts of a response that `signer` has signed.
    pub(crate) fn check_signer(&self, peer: &NodeId, signer: &PublicKey, response: Response) -> Response {
        let member = self.snapshot.membership().member(peer.as_str());
        match response {
            Response::Rejected(Failure::HttpStatus) => response,
            _ if member.is_some_and(|member| member.keys.contains(signer)) => response,
            Response::Reply(..) => Response::Rejected(Failure::BadSignature),
            _ => Response::Rejected(Failure::HttpStatus),
        }
    }

    /// How a call ended that was answered after `elapsed_ms`.
    pub(crate) fn read(
        &mut self,
        at_ms: u64,
        call: &Call,
        response: Response,
        elapsed_ms: u64,
    ) -> CallFinished {
        let (id, peer) = (call.id, call.peer.clone());
        let snapshot = self.snapshot.clone();
        let (outcome, evidence) = match response {
            Response::Rejected(failure) => (Err(failure), Vec::new()),
            Response::Replayed(evidence) => (Err(Failure::Replayed), evidence),
            Response::Reply(body, cargo) => {
                let reply = Reply::parse(body.as_bytes(), snapshot.membership()).expect("a message");
                let intake = self.check(at_ms, &snapshot, &peer, &reply.reports, &reply.proofs, cargo);
                let snapshot_ms = self.written.remove(&id).expect("it was written");
                let took_us = reply.took_us;
                let rtt_us = u32::try_from(elapsed_ms * 1000).expect("short") - took_us;
                let received =
                    ReceivedReports { heads: reply.heads, reports: intake.reports, proofs: intake.proofs };
                let mark = reply.mark;
                let reply = CallReply { rtt_us, took_us, clock_offset_ms: 0, received, mark, snapshot_ms };
                (Ok(reply), Vec::new())
            }
        };
        CallFinished { id, peer, outcome, evidence }
    }

    fn check(
        &mut self,
        at_ms: u64,
        snapshot: &Snapshot,
        sender: &NodeId,
        reports: &[&serde_json::value::RawValue],
        proofs: &[&serde_json::value::RawValue],
        cargo: Cargo,
    ) -> VerifyOutcome {
        let mono_ms = self.now(at_ms).mono_ms;
        let allowance = &mut self.allowance;
        let message = MessageReports { sender: sender.as_str(), reports, proofs };
        let mut intake = verify::verify_message(snapshot.table(), message, |author, take| {
            if take {
                allowance.consume(author, mono_ms);
            }
            allowance.allows(author, mono_ms)
        });
        cargo.sort(snapshot, allowance, mono_ms, &mut intake);
        self.received.new += u32::try_from(intake.reports.len()).expect("few");
        self.received.stale += intake.stale;
        self.received.surplus += intake.rate_limited;
        self.received.refused += intake.rejected.map_or(0, |(_, count)| count);
        intake
    }

    /// What this machine's newest report says of `peer`.
    pub(crate) fn finds(&self, peer: &NodeId) -> Option<Observation> {
        self.snapshot.own_report()?.report().observation(peer.as_str()).copied()
    }

    /// What it holds of `author`.
    pub(crate) fn holds(&self, author: &NodeId) -> Option<Arc<VerifiedReport>> {
        self.snapshot.state(author)?.latest.clone()
    }

    /// What is kept for the next process.
    pub(crate) fn shut(&self) -> Disk {
        let mut disk = self.disk.clone();
        let members = self.snapshot.members();
        disk.floors = members
            .filter_map(|(member, state)| {
                state.latest.as_ref().map(|latest| (member.id.clone(), latest.id()))
            })
            .collect();
        disk
    }
}
