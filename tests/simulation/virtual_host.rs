//! A virtual host: an engine, and the work that the threads of the service do for it, without threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::message::{Payload, Response, Sender, SignedRequest, Transport};
use distomon::crypto::{Nonce, PublicKey};
use distomon::mesh::delta_sync;
use distomon::mesh::engine::event::{Call, CallFinished, CallReply, Notice, ReceivedReports};
use distomon::mesh::id::{NodeId, ReportId};
use distomon::mesh::membership::Membership;
use distomon::mesh::sync::compose::{ArrivedHeads, ReplyContent, RequestContent, write_reply, write_request};
use distomon::mesh::sync::missing::{missing_proofs, missing_reports};
use distomon::mesh::sync::round_robin::RoundRobin;
use distomon::mesh::verify::{self, AuthorRateLimit, MessageReports, VerifyOutcome};
use distomon::mesh::wire::equivocation::EquivocationProof;
use distomon::mesh::wire::message::{Reply, Request};
use distomon::mesh::wire::observation::{Failure, Observation};
use distomon::mesh::wire::prior_run::PriorRun;
use distomon::mesh::wire::report::VerifiedReport;
use distomon::mesh::{Effect, Engine, EngineInit, Event, Signer, Snapshot, StartEpoch, Timestamps};

/// The Unix time at which virtual time begins, in ms.
pub(crate) const WALL_MS: u64 = 1_763_884_800_000;

/// The state that survives a restart.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) epoch: u64,
    /// Whether the epoch cannot be read.
    pub(crate) epoch_is_damaged: bool,
    /// The newest report of the previous process.
    pub(crate) prior: Option<PriorRun>,
    pub(crate) nonces: BTreeMap<NodeId, Nonce>,
    pub(crate) min_reports: Vec<(NodeId, ReportId)>,
    pub(crate) proofs: Vec<EquivocationProof>,
}

/// The error of a host's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Clock {
    /// The offset of the wall clock from virtual time.
    pub(crate) skew_ms: i64,
    /// How much faster both clocks run, in parts per million.
    pub(crate) drift_ppm: i64,
}

impl Clock {
    fn drift(self, for_ms: u64) -> u64 {
        let drift_ms = i128::from(for_ms) * i128::from(self.drift_ppm) / 1_000_000;
        for_ms.saturating_add_signed(i64::try_from(drift_ms).expect("less than the elapsed time"))
    }
}

/// The number of reports that a host received, by outcome.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReceiveCounters {
    pub(crate) new: u32,
    pub(crate) stale: u32,
    pub(crate) rate_limited: u32,
    pub(crate) rejected: u32,
}

impl ReceiveCounters {
    /// The number of reports that were verified since `before`.
    pub(crate) fn verified_since(self, before: Self) -> u64 {
        u64::from(self.new - before.new + self.rejected - before.rejected)
    }
}

/// The parameters of a process.
pub(crate) struct HostInit {
    pub(crate) signer: Box<dyn Signer>,
    pub(crate) transport: Transport,
    pub(crate) membership: Arc<Membership>,
    pub(crate) disk: Disk,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
}

/// A host with one process of a node. Methods get the virtual time as `at_ms`.
pub(crate) struct VirtualHost {
    pub(crate) engine: Engine,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) disk: Disk,
    pub(crate) notices: Vec<Notice>,
    pub(crate) received: ReceiveCounters,
    pub(crate) clock: Clock,
    pub(crate) last_tick_ms: u64,
    started_ms: u64,
    rate_limit: AuthorRateLimit,
    round_robin: RoundRobin,
    requests: u64,
    /// For each call in flight, the time of the snapshot from which its request was written: monotonic time in ms.
    written: BTreeMap<u64, u64>,
    transport: Transport,
}

impl VirtualHost {
    /// Starts a process.
    pub(crate) fn start(init: HostInit, at_ms: u64) -> Self {
        let HostInit { signer, transport, membership, mut disk, clock, seed } = init;
        let wall_ms = (WALL_MS + at_ms).saturating_add_signed(clock.skew_ms);
        let now = Timestamps { mono_ms: 1, wall_ms };
        let epoch = if disk.epoch_is_damaged {
            let own = disk.min_reports.iter().find(|(id, _)| *id == membership.own().id);
            let saved = own.map(|(_, report)| *report).max(disk.prior.map(|prior| prior.report));
            StartEpoch::Lost { known: saved.unwrap_or_default().epoch }
        } else {
            disk.epoch = (disk.epoch + 1).max(wall_ms);
            StartEpoch::New(disk.epoch)
        };
        let init = EngineInit {
            membership,
            signer,
            seed,
            epoch,
            prior: disk.prior,
            min_reports: disk.min_reports.clone(),
            proofs: disk.proofs.clone(),
            boot: None,
        };
        let mut engine = Engine::new(init, now);
        let snapshot = engine.take_snapshot(now).expect("a new engine has a snapshot");
        Self {
            engine,
            snapshot: Arc::new(snapshot),
            disk,
            notices: Vec::new(),
            received: ReceiveCounters::default(),
            clock,
            last_tick_ms: at_ms,
            started_ms: at_ms,
            rate_limit: AuthorRateLimit::default(),
            round_robin: RoundRobin::default(),
            requests: 0,
            written: BTreeMap::new(),
            transport,
        }
    }

    /// The time by this host's clocks.
    pub(crate) fn now(&self, at_ms: u64) -> Timestamps {
        let uptime_ms = self.clock.drift(at_ms - self.started_ms);
        let wall_ms = WALL_MS + self.started_ms + uptime_ms;
        Timestamps { mono_ms: uptime_ms + 1, wall_ms: wall_ms.saturating_add_signed(self.clock.skew_ms) }
    }

    pub(crate) fn id(&self) -> &NodeId {
        &self.snapshot.membership().own().id
    }

    /// The virtual time at which the event loop ticks next if nothing else happens, in ms.
    pub(crate) fn next_tick_ms(&self, at_ms: u64) -> u64 {
        let now = self.now(at_ms);
        let mut wait_ms = self.engine.deadline_ms().saturating_sub(now.mono_ms).min(1_000);
        while self.clock.drift_ppm != 0 && self.now(at_ms + wait_ms).mono_ms < now.mono_ms + wait_ms.min(500)
        {
            wait_ms += 1;
        }
        at_ms.saturating_add(wait_ms).min(self.last_tick_ms + 500).max(at_ms)
    }

    /// Passes an event to the engine, as the event loop does, and returns the calls to make.
    pub(crate) fn step(&mut self, at_ms: u64, event: Event) -> Vec<Call> {
        self.last_tick_ms = at_ms;
        let now = self.now(at_ms);
        let effects = self.engine.step(now, event);
        if let Some(snapshot) = self.engine.take_snapshot(now) {
            self.snapshot = Arc::new(snapshot);
        }
        let mut calls = Vec::new();
        for effect in effects {
            match effect {
                Effect::SaveEpoch(epoch) => {
                    self.disk.epoch = epoch;
                    self.disk.epoch_is_damaged = false;
                }
                Effect::SaveProof(proof) => self.disk.proofs.push(proof.as_ref().clone()),
                Effect::Call(call) => calls.push(call),
                Effect::Notice(notice) => self.notices.push(notice),
            }
        }
        calls
    }

    /// Writes the nonce, the body and the payload beside the body of a request.
    pub(crate) fn write_request(&mut self, at_ms: u64, call: &Call) -> (Nonce, String, Payload) {
        self.requests += 1;
        let nonce = Nonce { epoch: call.epoch, counter: self.requests };
        let mono_ms = self.now(at_ms).mono_ms;
        self.written.retain(|_, snapshot_ms| *snapshot_ms + 60_000 > mono_ms);
        self.written.insert(call.id, self.snapshot.at().mono_ms);
        let (inside, beside) = self.split(call.reports.clone(), call.proofs.clone());
        let content = RequestContent {
            mono_ms,
            base: call.base,
            own_only: call.own_only,
            reports: &inside.reports,
            proofs: &inside.proofs,
        };
        let body = write_request(self.snapshot.table(), content);
        (nonce, body, beside)
    }

    /// Splits a payload into what travels inside a message and what travels beside it.
    fn split(
        &self,
        reports: Vec<Arc<VerifiedReport>>,
        proofs: Vec<Arc<EquivocationProof>>,
    ) -> (Payload, Payload) {
        let payload = Payload { reports, proofs };
        match self.transport {
            Transport::Encoded => (payload, Payload::default()),
            Transport::Typed => (Payload::default(), payload),
        }
    }

    /// Answers a request, and returns its verified content if it was valid.
    pub(crate) fn on_request(
        &mut self,
        at_ms: u64,
        request: SignedRequest,
    ) -> (Response, Option<ReceivedReports>) {
        match self.admit(&request) {
            Ok(()) => self.answer(at_ms, request),
            Err(response) => (response, None),
        }
    }

    /// Verifies the head of a request and takes its nonce, or returns the rejection.
    pub(crate) fn admit(&mut self, request: &SignedRequest) -> Result<(), Response> {
        let snapshot = self.snapshot.clone();
        let SignedRequest { sender: Sender { id: from, key }, nonce, .. } = request;
        if snapshot.membership().member(from.as_str()).is_none_or(|member| !member.keys.contains(key)) {
            return Err(Response::Rejected(Failure::HttpStatus));
        }
        // Before the nonce is taken, so that a forwarded request does not block the sender's own next one.
        if request.recipient() != self.id() {
            return Err(Response::Rejected(Failure::Misdirected));
        }
        if self.disk.nonces.get(from).is_some_and(|last| last >= nonce) {
            let latest = snapshot.state(from).and_then(|state| state.latest.clone());
            return Err(Response::Replayed(latest.as_deref().cloned().into_iter().collect()));
        }
        self.disk.nonces.insert(from.clone(), *nonce);
        Ok(())
    }

    /// Answers a request whose head is valid, and returns its verified content.
    pub(crate) fn answer(
        &mut self,
        at_ms: u64,
        request: SignedRequest,
    ) -> (Response, Option<ReceivedReports>) {
        let snapshot = self.snapshot.clone();
        let SignedRequest { sender: Sender { id: from, .. }, body, payload, .. } = request;
        let message = Request::parse(body.as_bytes(), snapshot.membership()).expect("a well-formed message");
        let outcome = self.verify(
            at_ms,
            MessageReports { sender: from.as_str(), reports: &message.reports, proofs: &message.proofs },
            payload,
        );
        let index = snapshot.membership().index(from.as_str()).expect("a member");
        let sync = &snapshot.states()[index].sync;
        let (heads, complete) = sync.completed(snapshot.membership(), index, message.heads.clone());
        let arrived = ArrivedHeads::of(snapshot.membership(), &outcome.reports, &message.heads);
        let is_forged = outcome.is_forged();
        let received =
            ReceivedReports { heads: message.heads, reports: outcome.reports, proofs: outcome.proofs };
        if is_forged {
            // Reports before the forged one were verified, so they count.
            return (Response::Rejected(Failure::Rejected), Some(received));
        }
        let missing = missing_reports(&heads, snapshot.table(), |index| {
            complete || heads.knows(snapshot.membership(), index)
        });
        let proofs = if complete { missing_proofs(&heads, snapshot.table()) } else { Vec::new() };
        let reports = self.round_robin.select(index, missing.beside(&proofs));
        let now = self.now(at_ms);
        let (inside, beside) = self.split(reports, proofs);
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

    /// The verified content of `body` and `payload`, as in a request with a valid signature.
    pub(crate) fn verify_request(
        &mut self,
        at_ms: u64,
        from: &NodeId,
        body: &str,
        payload: Payload,
    ) -> ReceivedReports {
        let snapshot = self.snapshot.clone();
        let message = Request::parse(body.as_bytes(), snapshot.membership()).expect("a well-formed message");
        let outcome = self.verify(
            at_ms,
            MessageReports { sender: from.as_str(), reports: &message.reports, proofs: &message.proofs },
            payload,
        );
        ReceivedReports { heads: message.heads, reports: outcome.reports, proofs: outcome.proofs }
    }

    /// The response as the caller sees it after the check that `signer` is the peer.
    pub(crate) fn verify_signer(&self, peer: &NodeId, signer: &PublicKey, response: Response) -> Response {
        let member = self.snapshot.membership().member(peer.as_str());
        match response {
            Response::Rejected(Failure::HttpStatus) => response,
            _ if member.is_some_and(|member| member.keys.contains(signer)) => response,
            Response::Reply(..) => Response::Rejected(Failure::BadSignature),
            _ => Response::Rejected(Failure::HttpStatus),
        }
    }

    /// The result of a call whose response arrived after `elapsed_ms`.
    pub(crate) fn on_response(
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
            Response::Reply(body, payload) => {
                let reply =
                    Reply::parse(body.as_bytes(), snapshot.membership()).expect("a well-formed message");
                let message =
                    MessageReports { sender: peer.as_str(), reports: &reply.reports, proofs: &reply.proofs };
                let outcome = self.verify(at_ms, message, payload);
                let snapshot_ms = self.written.remove(&id).expect("the request was written");
                let took_us = reply.took_us;
                let rtt_us = u32::try_from(elapsed_ms * 1000).expect("less than an hour") - took_us;
                let received =
                    ReceivedReports { heads: reply.heads, reports: outcome.reports, proofs: outcome.proofs };
                let mark = reply.mark;
                let reply = CallReply { rtt_us, took_us, clock_offset_ms: 0, received, mark, snapshot_ms };
                (Ok(reply), Vec::new())
            }
        };
        CallFinished { id, peer, outcome, evidence, lateness_ms: 0, may_answer_late: false }
    }

    /// Verifies the encoded reports and proofs of a message, and those that travelled beside it.
    fn verify(&mut self, at_ms: u64, message: MessageReports, payload: Payload) -> VerifyOutcome {
        let mono_ms = self.now(at_ms).mono_ms;
        let rate_limit = &mut self.rate_limit;
        let snapshot = &self.snapshot;
        let mut outcome = verify::verify_message(snapshot.table(), message, |author, take| {
            if take {
                rate_limit.consume(author, mono_ms);
            }
            rate_limit.allows(author, mono_ms)
        });
        payload.accept(snapshot, rate_limit, mono_ms, &mut outcome);
        self.received.new += u32::try_from(outcome.reports.len()).expect("at most one for each member");
        self.received.stale += outcome.stale;
        self.received.rate_limited += outcome.rate_limited;
        self.received.rejected += outcome.rejected.map_or(0, |(_, count)| count);
        outcome
    }

    /// The observation of `peer` in the newest report of this node.
    pub(crate) fn observation(&self, peer: &NodeId) -> Option<Observation> {
        self.snapshot.own_report()?.report().observation(peer.as_str()).copied()
    }

    /// The newest report of `author` that this node has.
    pub(crate) fn latest(&self, author: &NodeId) -> Option<Arc<VerifiedReport>> {
        self.snapshot.state(author)?.latest.clone()
    }

    /// Ends the process and returns what the next one starts with.
    pub(crate) fn into_disk(self) -> Disk {
        let own = self.snapshot.own_report();
        let prior = own.map(|own| PriorRun { report: own.id(), clean: own.report().leaving.is_some() });
        let members = self.snapshot.members();
        let latest = members.filter_map(|(member, state)| Some((&member.id, state.latest.as_ref()?)));
        let min_reports = latest.map(|(id, latest)| (id.clone(), latest.id())).collect();
        Disk { min_reports, prior: prior.or(self.disk.prior), ..self.disk }
    }
}
