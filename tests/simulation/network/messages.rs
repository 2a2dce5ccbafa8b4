//! The work of hosts: events of their event loops, calls and answers, each a job of a thread on a processor.
//!
//! Without processors, each job takes no time.

use super::call_workers::failed;
use super::packet::Packet;
use super::processor::{ANSWER_US, CLOSE_US, HEAD_US, READ_US, REPORT_US, SEND_US, STEP_US};
use super::{CapturedRequest, Network};
use crate::message::{Response, Sender, SignedRequest};
use distomon::crypto::PublicKey;
use distomon::mesh::Event;
use distomon::mesh::engine::event::{Call, CallFinished, CallPurpose, ReceivedReports};
use distomon::mesh::id::NodeId;
use distomon::mesh::wire::observation::Failure;

/// The maximum number of events applied in one tick.
const MAX_BATCH: usize = 256;

/// The shortest lateness of the event loop to report to the engine, in ms.
const MIN_LATENESS_MS: u64 = 20;

/// The maximum number of requests of members that a host works on at the same time, for each core.
const MAX_REQUESTS_PER_CORE: usize = 4;

/// A call whose thread has not ended it.
pub(super) struct PendingCall {
    pub(super) from: usize,
    call: Call,
    /// How long the thread waits for the reply, in ms.
    patience_ms: u64,
    /// When the thread began it.
    begun_ms: u64,
    /// Whether the thread has closed the connection, since it waited for that long.
    is_closed: bool,
    /// Whether the reply, or the failure, has arrived at the host.
    has_arrived: bool,
}

/// A job of a thread. `call` numbers the call.
pub(super) enum Job {
    /// The event loop ticks.
    Tick,
    /// A call begins.
    Send { call: u64 },
    /// A request has arrived.
    ReadHead { from: usize, call: u64, request: Box<SignedRequest> },
    /// A request is to be answered.
    Answer { from: usize, call: u64, request: Box<SignedRequest> },
    /// A reply has arrived.
    ReadReply { call: u64, signer: PublicKey, response: Box<Response> },
    /// A call fails.
    Fail { call: u64, failure: Failure },
}

/// The result of a job, which others see when the job ends.
pub(super) enum JobResult {
    Nothing,
    Ticked { calls: Vec<Call> },
    Sent { to: usize, call: u64, request: Box<SignedRequest> },
    Admitted { from: usize, call: u64, request: Box<SignedRequest> },
    Answered { from: usize, call: u64, response: Box<Response>, received: Option<(NodeId, ReceivedReports)> },
    Finished { call: u64, finished: Option<Box<CallFinished>> },
}

/// Events.
impl Network {
    /// Passes an event to the engine on `host`, and makes the calls that it requests.
    pub(crate) fn step(&mut self, host: usize, event: Event) {
        if self.processors.is_some() {
            self.hosts.event_loop(host).events.push_back(event);
            return self.wake(host);
        }
        let now_ms = self.now_ms;
        if let Event::CallFinished(finished) = &event {
            self.hosts.event_loop(host).workers.finished(finished.id);
        }
        let calls = self.host_mut(host).step(now_ms, event);
        self.hosts.schedule_tick(host, now_ms);
        for call in calls {
            if let Err(finished) = self.start_call(host, call) {
                self.step(host, Event::CallFinished(*finished));
            }
        }
    }

    /// Lets the event loop on `host` tick, unless it does so already.
    pub(super) fn wake(&mut self, host: usize) {
        if !std::mem::replace(&mut self.hosts.event_loop(host).is_awake, true) {
            self.hosts.cancel_tick(host);
            self.submit(host, Job::Tick);
        }
    }

    /// Steps the engine on `host` with the events in the queue. Returns the number of steps.
    fn tick(&mut self, host: usize) -> (u64, JobResult) {
        let now_ms = self.now_ms;
        let event_loop = self.hosts.event_loop(host);
        let overdue = event_loop.workers.take_overdue(now_ms, !event_loop.events.is_empty());
        let due_ms = event_loop.due_ms;
        let lateness_ms = self.host(host).now(now_ms).mono_ms.saturating_sub(due_ms);
        let first = if lateness_ms >= MIN_LATENESS_MS { Event::Late(lateness_ms) } else { Event::Tick };
        let mut events = vec![first];
        events.extend(overdue.into_iter().map(Event::CallFinished));
        let event_loop = self.hosts.event_loop(host);
        let count = event_loop.events.len().min(MAX_BATCH);
        events.extend(event_loop.events.drain(..count));
        let (steps, mut calls) = (events.len() as u64, Vec::new());
        for event in events {
            if let Event::CallFinished(finished) = &event {
                self.hosts.event_loop(host).workers.finished(finished.id);
            }
            calls.extend(self.host_mut(host).step(now_ms, event));
        }
        (steps, JobResult::Ticked { calls })
    }

    fn end_tick(&mut self, host: usize, calls: Vec<Call>) {
        let now_ms = self.now_ms;
        for call in calls {
            if let Err(finished) = self.start_call(host, call) {
                self.hosts.event_loop(host).events.push_front(Event::CallFinished(*finished));
            }
        }
        let process = self.host(host);
        let due_ms = process.engine.deadline_ms().max(process.now(now_ms).mono_ms);
        let event_loop = self.hosts.event_loop(host);
        (event_loop.due_ms, event_loop.is_awake) = (due_ms, false);
        let is_overdue = event_loop.workers.overdue_ms().is_some_and(|overdue_ms| overdue_ms <= now_ms);
        if is_overdue || !event_loop.events.is_empty() {
            self.wake(host);
        } else {
            self.hosts.schedule_tick(host, now_ms);
        }
    }

    /// Reports the calls of `host` whose time is over.
    fn end_overdue_calls(&mut self, host: usize) {
        if self.processors.is_some() {
            return self.wake(host);
        }
        let now_ms = self.now_ms;
        for finished in self.hosts.event_loop(host).workers.take_overdue(now_ms, false) {
            self.step(host, Event::CallFinished(finished));
        }
    }
}

/// Jobs.
impl Network {
    /// Lets a thread of `host` do `job`.
    fn submit(&mut self, host: usize, job: Job) {
        let process = self.hosts.process(host);
        if let Some(processors) = &mut self.processors {
            return processors.push(host, (host, process, job));
        }
        let (_, result) = self.begin_job(host, job);
        self.end_job(host, result);
    }

    /// Begins the next job of a processor. Returns its host.
    pub(super) fn run_next_job(&mut self) -> Option<usize> {
        let now_ms = self.now_ms;
        let processors = self.processors.as_mut()?;
        let ((host, process, job), core) = processors.begin(now_ms)?;
        if self.hosts.process(host) != process {
            return Some(host);
        }
        let thaws_ms = self.hosts.frozen_until_ms(host);
        if thaws_ms > now_ms {
            self.queue.push(thaws_ms, Packet::Ready { host, process, job });
            return Some(host);
        }
        let (cost_us, result) = self.begin_job(host, job);
        let processors = self.processors.as_mut().expect("a job began on one");
        let end_ms = processors.occupy(&core, cost_us);
        self.queue.push(end_ms, Packet::Done { host, process, result });
        Some(host)
    }

    /// Does `job`. Returns its cost in µs, and the result.
    fn begin_job(&mut self, host: usize, job: Job) -> (u64, JobResult) {
        match job {
            Job::Tick => {
                let (steps, result) = self.tick(host);
                (steps * STEP_US, result)
            }
            Job::Send { call } => (SEND_US, self.begin_call(host, call)),
            Job::ReadHead { from, call, request } => self.read_head(host, from, call, request),
            Job::Answer { from, call, request } => self.answer(host, from, call, request),
            Job::ReadReply { call, signer, response } => self.read_reply(host, call, &signer, *response),
            Job::Fail { call, failure } => (CLOSE_US, self.fail_call(host, call, failure)),
        }
    }

    /// Applies the result of a job that ends now.
    pub(super) fn end_job(&mut self, host: usize, result: JobResult) {
        match result {
            JobResult::Nothing => {}
            JobResult::Ticked { calls } => self.end_tick(host, calls),
            JobResult::Sent { to, call, request } => self.send(host, to, call, request),
            JobResult::Admitted { from, call, request } => {
                self.submit(host, Job::Answer { from, call, request });
            }
            JobResult::Answered { from, call, response, received } => {
                self.reply(host, from, call, response);
                if let Some((from, received)) = received {
                    self.step(host, Event::RequestReceived { from, received });
                }
            }
            JobResult::Finished { call, finished } => {
                self.pending.remove(&call);
                if let Some(finished) = finished {
                    self.step(host, Event::CallFinished(*finished));
                }
            }
        }
    }
}

/// Calls.
impl Network {
    /// The host that `from` reaches at the url configured for a node.
    fn resolve(&self, from: usize, id: &NodeId) -> usize {
        let member = self.host(from).snapshot.membership().member(id.as_str());
        let url = member.and_then(|member| member.url.as_ref());
        url.and_then(|url| self.moved.get(url)).copied().unwrap_or(self.addresses[id])
    }

    /// When a message that is sent now arrives, in ms; none if it is lost.
    fn arrival_ms(&mut self, from: usize, to: usize) -> Option<u64> {
        let link = self.links.get(from, to);
        let lost = self.rng.u8(0..100) < link.loss_percent;
        let delay_ms = self.rng.u64(link.delay_ms..=2 * link.delay_ms);
        (!lost && !link.cut).then_some(self.now_ms + delay_ms)
    }

    /// Starts the thread of a call. Returns the result if it cannot start.
    fn start_call(&mut self, from: usize, call: Call) -> Result<(), Box<CallFinished>> {
        let now_ms = self.now_ms;
        let patience_ms = self.hosts.event_loop(from).workers.start(&call, now_ms)?;
        self.last_call += 1;
        let number = self.last_call;
        match call.purpose {
            CallPurpose::Probe => self.traffic.probes += 1,
            CallPurpose::FollowUp => self.traffic.follow_ups += 1,
            CallPurpose::Push => self.traffic.pushes += 1,
        }
        let process = self.hosts.process(from);
        if patience_ms > call.timeout_ms {
            self.queue.push(now_ms + call.timeout_ms, Packet::Deadline { host: from, process });
        }
        let pending =
            PendingCall { from, call, patience_ms, begun_ms: now_ms, is_closed: false, has_arrived: false };
        self.pending.insert(number, pending);
        self.submit(from, Job::Send { call: number });
        Ok(())
    }

    fn begin_call(&mut self, from: usize, number: u64) -> JobResult {
        let now_ms = self.now_ms;
        let Some(pending) = self.pending.get_mut(&number) else { return JobResult::Nothing };
        pending.begun_ms = now_ms;
        let (call, patience_ms) = (pending.call.clone(), pending.patience_ms);
        self.hosts.event_loop(from).workers.begin(call.id, now_ms);
        self.queue
            .push(now_ms + patience_ms, Packet::Failed { to: from, call: number, failure: Failure::Timeout });
        let to = self.resolve(from, &call.peer);
        let key = self.hosts.key(from);
        let host = self.host_mut(from);
        let (nonce, body, mut payload) = host.write_request(now_ms, &call);
        let sender = Sender { id: host.id().clone(), key };
        self.hosts.behavior(from).tamper(&mut payload, &sender.id, to, now_ms);
        self.traffic.bytes += body.len();
        let request = SignedRequest::new(sender, call.peer, nonce, body, payload);
        JobResult::Sent { call: number, to, request: Box::new(request) }
    }

    fn send(&mut self, from: usize, to: usize, call: u64, request: Box<SignedRequest>) {
        let arrival_ms = self.arrival_ms(from, to).filter(|_| self.links.admits(from, to));
        if let Some(arrival_ms) = arrival_ms {
            self.queue.push(arrival_ms, Packet::Request { from, to, call, request });
        }
    }

    /// Lets the thread of a call read the reply.
    fn on_reply(&mut self, host: usize, call: u64, job: Job) {
        let Some(pending) = self.pending.get_mut(&call) else { return };
        if !pending.is_closed && !std::mem::replace(&mut pending.has_arrived, true) {
            self.submit(host, job);
        }
    }

    /// Lets the thread of a call end it: the connection was refused, or the thread has waited too long.
    fn on_failure(&mut self, host: usize, call: u64, failure: Failure) {
        let Some(pending) = self.pending.get_mut(&call) else { return };
        if !pending.has_arrived && !std::mem::replace(&mut pending.is_closed, true) {
            self.submit(host, Job::Fail { call, failure });
        }
    }

    fn read_reply(
        &mut self,
        host: usize,
        number: u64,
        signer: &PublicKey,
        response: Response,
    ) -> (u64, JobResult) {
        let now_ms = self.now_ms;
        let Some(PendingCall { call, begun_ms, .. }) = self.pending.get(&number) else {
            return (CLOSE_US, JobResult::Nothing);
        };
        let (call, elapsed_ms) = (call.clone(), now_ms - begun_ms);
        let process = self.host_mut(host);
        let before = process.received;
        let response = process.verify_signer(&call.peer, signer, response);
        let mut finished = process.on_response(now_ms, &call, response, elapsed_ms);
        let cost_us = READ_US + REPORT_US * process.received.verified_since(before);
        let outcome = finished.outcome.as_ref().map(|_| ()).map_err(|failure| *failure);
        finished.lateness_ms = self.hosts.event_loop(host).workers.end(call.id, now_ms, outcome);
        (cost_us, JobResult::Finished { call: number, finished: Some(Box::new(finished)) })
    }

    fn fail_call(&mut self, host: usize, number: u64, failure: Failure) -> JobResult {
        let now_ms = self.now_ms;
        let Some(PendingCall { call, .. }) = self.pending.get(&number) else {
            return JobResult::Nothing;
        };
        let (id, peer) = (call.id, call.peer.clone());
        let workers = &mut self.hosts.event_loop(host).workers;
        let is_in_flight = workers.is_in_flight(id);
        let lateness_ms = workers.end(id, now_ms, Err(failure));
        // The event loop has noticed the timeout, as a rule, and needs no second result.
        let is_needed = is_in_flight || failure != Failure::Timeout;
        let finished = is_needed.then(|| Box::new(failed(id, peer, failure, lateness_ms)));
        JobResult::Finished { call: number, finished }
    }
}

/// Answers.
impl Network {
    /// Delivers a packet to its recipient, or later if that is frozen.
    pub(super) fn deliver(&mut self, packet: Packet) {
        let recipient = packet.recipient();
        if packet.process().is_some_and(|process| process != self.hosts.process(recipient)) {
            return;
        }
        let thaws_ms = self.hosts.frozen_until_ms(recipient);
        if thaws_ms > self.now_ms {
            return self.queue.push(thaws_ms, packet);
        }
        match packet {
            Packet::Request { from, to, call, request } => self.on_request(to, from, call, request),
            Packet::Response { to, call, signer, response } => {
                self.on_reply(to, call, Job::ReadReply { call, signer, response });
            }
            Packet::Failed { to, call, failure } => self.on_failure(to, call, failure),
            Packet::Deadline { host, .. } => self.end_overdue_calls(host),
            Packet::Ready { host, job, .. } => self.submit(host, job),
            Packet::Done { host, result, .. } => self.end_job(host, result),
        }
    }

    fn on_request(&mut self, to: usize, from: usize, call: u64, request: Box<SignedRequest>) {
        if self.hosts.get(to).is_none() {
            // The host's kernel refuses the connection.
            if let Some(arrival_ms) = self.arrival_ms(to, from) {
                let refused = Packet::Failed { to: from, call, failure: Failure::Refused };
                self.queue.push(arrival_ms, refused);
            }
            return;
        }
        if let Some(captured) = &mut self.captured {
            captured.push(CapturedRequest { to, request: request.as_ref().clone() });
        }
        self.submit(to, Job::ReadHead { from, call, request });
    }

    /// Whether the caller has closed the connection. Without processors, every request is read as it arrives.
    fn is_closed(&self, call: u64) -> bool {
        self.processors.is_some() && self.pending.get(&call).is_none_or(|pending| pending.is_closed)
    }

    fn read_head(
        &mut self,
        host: usize,
        from: usize,
        call: u64,
        request: Box<SignedRequest>,
    ) -> (u64, JobResult) {
        if self.is_closed(call) {
            return (CLOSE_US, JobResult::Nothing);
        }
        let max_requests = self
            .processors
            .as_ref()
            .map_or(usize::MAX, |processors| MAX_REQUESTS_PER_CORE * processors.cores(host));
        if let Err(response) = self.host_mut(host).admit(&request) {
            let response = Box::new(response);
            return (HEAD_US, JobResult::Answered { from, call, response, received: None });
        }
        let event_loop = self.hosts.event_loop(host);
        if event_loop.waiting_requests >= max_requests {
            self.traffic.busy += 1;
            let response = Box::new(Response::Rejected(Failure::Busy));
            return (HEAD_US, JobResult::Answered { from, call, response, received: None });
        }
        event_loop.waiting_requests += 1;
        (HEAD_US, JobResult::Admitted { from, call, request })
    }

    fn answer(
        &mut self,
        host: usize,
        from: usize,
        call: u64,
        request: Box<SignedRequest>,
    ) -> (u64, JobResult) {
        self.hosts.event_loop(host).waiting_requests -= 1;
        if self.is_closed(call) {
            return (CLOSE_US, JobResult::Nothing);
        }
        let (now_ms, peer) = (self.now_ms, request.sender.id.clone());
        let process = self.host_mut(host);
        let before = process.received;
        let (mut response, received) = process.answer(now_ms, *request);
        let cost_us = ANSWER_US + REPORT_US * process.received.verified_since(before);
        let id = process.id().clone();
        if let Response::Reply(body, payload) = &mut response {
            self.traffic.bytes += body.len();
            self.hosts.behavior(host).tamper(payload, &id, from, now_ms);
        }
        let received = received.map(|received| (peer, received));
        let response = Box::new(response);
        (cost_us, JobResult::Answered { from, call, response, received })
    }

    fn reply(&mut self, from: usize, to: usize, call: u64, response: Box<Response>) {
        if let Some(arrival_ms) = self.arrival_ms(from, to) {
            let signer = self.hosts.key(from);
            self.queue.push(arrival_ms, Packet::Response { to, call, signer, response });
        }
    }
}
