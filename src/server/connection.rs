//! A connection: its requests, one after the other, until a limit, an error or the client ends it.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rouille::{Response, ResponseBody};

use super::client_address;
use super::connection_limiter::ConnectionPermit;
use super::handler::{Admission, Handler};
use super::limits::Limits;
use super::memory_budget::MemoryReservation;
use super::problem::problem;
use super::read_buffer::ReadBuffer;
use super::reply::{ReplyMode, ReplyWriter, reason};
use super::request_head::{ReceivedRequest, RequestError, RequestHead};
use super::resource_owner::ResourceOwner;
use crate::deadline_stream::DeadlineStream;

/// The smallest buffer of a longer body, and the largest read into it, in bytes.
const BODY_STEP: usize = 16 * 1024;

/// The time after which to retry a request that exceeded the share of its owner, in seconds.
const SHARE_RETRY_S: u64 = 5;

/// An accepted connection that the limiter has admitted.
pub(super) struct AcceptedConnection {
    pub(super) permit: ConnectionPermit,
    pub(super) peer: SocketAddr,
    pub(super) accepted_at: Instant,
}

impl AcceptedConnection {
    /// Serves the connection until it ends.
    pub(super) fn serve<H: Handler>(&self, handler: &H) {
        let permit = &self.permit;
        let mut connection = Connection {
            permit,
            peer: self.peer,
            handler,
            limits: permit.limiter().limits(),
            stream: DeadlineStream::new(permit.stream()),
            input: ReadBuffer::default(),
            writer: ReplyWriter::default(),
            requests: 0,
        };
        let mut accepted_at = Some(self.accepted_at);
        let mut queued = self.accepted_at.elapsed();
        loop {
            let head = match connection.read_head(accepted_at.take()) {
                Ok(Some(head)) => head.with_queued(std::mem::take(&mut queued)),
                Ok(None) => return,
                Err(error) => return connection.reject_head(error),
            };
            permit.begin_request();
            let next = connection.serve_request(head);
            permit.finish_request();
            match next {
                NextStep::KeepAlive if !permit.limiter().is_stopping() => {}
                NextStep::KeepAlive | NextStep::Close => return,
                NextStep::Drain => return connection.drain(),
            }
        }
    }
}

/// How a connection continues after a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextStep {
    /// Wait for the next request.
    KeepAlive,
    /// Close, since no byte of the request is unread.
    Close,
    /// Discard what the client may still send, then close.
    Drain,
}

/// The outcome of a request whose head was read.
enum RequestOutcome<'a> {
    /// The reply to a request that was read to its end, with the memory that is reserved until it is written.
    Complete(Response, Option<MemoryReservation<'a>>),
    /// The reply to a request whose body was not read to its end.
    Unread(Response),
    /// The client disconnected before the end of the request.
    Disconnected,
}

/// The reason for which a body was not read to its end.
enum BodyError {
    /// The client disconnected.
    Disconnected,
    /// The body is too large or too slow.
    Request(RequestError),
    /// The requests of the owner exceed their share of memory.
    BeyondShare,
}

impl From<RequestError> for BodyError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

struct Connection<'a, H> {
    permit: &'a ConnectionPermit,
    peer: SocketAddr,
    handler: &'a H,
    limits: &'a Limits,
    stream: DeadlineStream<'a>,
    input: ReadBuffer,
    writer: ReplyWriter,
    requests: u32,
}

impl<'a, H: Handler> Connection<'a, H> {
    /// Reads the next head; `None` if the client disconnected or was idle for too long. The timeout of a head
    /// starts at `accepted_at` on a new connection and at the first byte otherwise; later reads do not extend
    /// it.
    fn read_head(&mut self, accepted_at: Option<Instant>) -> Result<Option<RequestHead>, RequestError> {
        let limits = self.limits;
        // A pipelined request begins with bytes that were read together with the one before.
        let mut started = !self.input.is_empty();
        let start = accepted_at.or_else(|| started.then(Instant::now));
        let mut deadline = start.map(|start| start + limits.head_timeout);
        loop {
            if let Some(head) = self.input.take_head(limits.head_bytes)? {
                return Ok(Some(head));
            }
            let space = self.input.space(limits.head_bytes);
            let read = match deadline {
                Some(deadline) => self.stream.read_until(space, deadline),
                None => self.stream.read(space, limits.idle_timeout),
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(read) => self.input.filled(read),
                Err(error) if error.kind() == io::ErrorKind::TimedOut && started => {
                    return Err(RequestError::new(408, "the request head did not arrive in time"));
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut && accepted_at.is_some() {
                        self.permit.limiter().counters.slow.increment();
                    }
                    return Ok(None);
                }
            }
            started = true;
            deadline.get_or_insert_with(|| Instant::now() + limits.head_timeout);
        }
    }

    /// Answers the request with this head.
    fn serve_request(&mut self, head: RequestHead) -> NextStep {
        self.requests += 1;
        let close = !head.keep_alive()
            || self.requests >= self.limits.requests
            || self.handler.closes_connection(&head);
        let mode = ReplyMode { with_body: head.method() != "HEAD", close };
        match self.handle(head) {
            RequestOutcome::Complete(response, reservation) => self.reply(response, mode, reservation),
            RequestOutcome::Unread(response) => {
                self.reply(response, mode.closing(), None);
                NextStep::Drain
            }
            RequestOutcome::Disconnected => NextStep::Close,
        }
    }

    /// Admits the request, reads its body and calls the handler.
    fn handle(&mut self, head: RequestHead) -> RequestOutcome<'a> {
        let forwarded_for = head.header("x-forwarded-for");
        let remote = client_address::behind_proxies(self.peer, forwarded_for, &self.limits.trusted_proxies);
        let handler = self.handler;
        if head.lacks_length() && !handler.allows_missing_length(&head) {
            let error = RequestError::new(411, "send Content-Length, 0 without a body");
            return RequestOutcome::Unread(self.error_reply(error));
        }
        let admission = catch_panic(|| handler.admit(&head, remote)).unwrap_or_else(|panic| {
            log::error!("the handler panicked at the head of a request from {remote}: {panic}");
            Admission::Reject(internal_error())
        });
        let (max_body_bytes, sender, admitted) = match admission {
            Admission::Reject(response) => {
                self.permit.admit(None);
                return match head.content_length() {
                    0 => RequestOutcome::Complete(response, None),
                    _ => RequestOutcome::Unread(response),
                };
            }
            Admission::Accept { max_body_bytes, sender, admitted } => (max_body_bytes, sender, admitted),
        };
        self.permit.admit(sender.as_ref());
        let owner = ResourceOwner::of(sender.as_ref(), remote.ip());
        let permit = self.permit;
        let mut reservation = permit.limiter().memory_budget.reservation(owner);
        let body = match self.read_body(&head, max_body_bytes, &mut reservation) {
            Ok(body) => body,
            Err(BodyError::Disconnected) => return RequestOutcome::Disconnected,
            Err(BodyError::Request(error)) => return RequestOutcome::Unread(self.error_reply(error)),
            Err(BodyError::BeyondShare) => {
                return RequestOutcome::Unread(self.reject_beyond_share(&reservation, remote, &admitted));
            }
        };
        // A peer that has given up needs no answer. Other clients may end their side after the request.
        if sender.is_some() && self.stream.has_ended() {
            return RequestOutcome::Disconnected;
        }
        permit.set_handling(true);
        let response = guarded(remote, || handler.respond(ReceivedRequest { head, remote, body }, &admitted));
        permit.set_handling(false);
        reservation.release_body();
        // Other clients are limited by the connections of their address.
        let (response, bytes) = if sender.is_some() { measured(response) } else { (response, 0) };
        let response = if reservation.try_add_reply(bytes) {
            response
        } else {
            drop(response);
            self.reject_beyond_share(&reservation, remote, &admitted)
        };
        RequestOutcome::Complete(response, Some(reservation))
    }

    /// Creates the reply to a request that exceeds the share of its owner, and logs it.
    fn reject_beyond_share(
        &self,
        reservation: &MemoryReservation<'_>,
        remote: SocketAddr,
        admitted: &H::Admitted,
    ) -> Response {
        self.permit.limiter().counters.log_beyond_share(reservation.owner());
        let response = guarded(remote, || self.handler.reject_beyond_share(admitted));
        response.with_unique_header("Retry-After", SHARE_RETRY_S.to_string())
    }

    /// Reads the body of an admitted request. Its memory grows with the received bytes, within `reservation`, so
    /// that a large Content-Length alone allocates nothing.
    fn read_body(
        &mut self,
        head: &RequestHead,
        max_body_bytes: usize,
        reservation: &mut MemoryReservation<'_>,
    ) -> Result<Vec<u8>, BodyError> {
        let length = match usize::try_from(head.content_length()) {
            Ok(length) if length <= max_body_bytes => length,
            _ => return Err(RequestError::new(413, "the request body exceeds the size limit").into()),
        };
        let deadline = Instant::now() + self.limits.body_timeout;
        let mut body = Vec::new();
        let mut reserved = 0;
        while body.len() < length {
            if body.len() == reserved {
                reserved = (2 * reserved).max(BODY_STEP).min(length);
                if !reservation.grow_to(reserved) {
                    return Err(BodyError::BeyondShare);
                }
                body.reserve_exact(reserved - body.len());
            }
            let received = body.len();
            self.input.take_body(reserved - received, &mut body);
            if body.len() > received {
                continue;
            }
            if head.expects_continue() && body.is_empty() {
                let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
                self.stream
                    .write_all(interim, Instant::now(), self.limits.reply_timeout)
                    .map_err(|_| BodyError::Disconnected)?;
            }
            body.resize((received + BODY_STEP).min(reserved), 0);
            match self.stream.read_until(&mut body[received..], deadline) {
                Ok(0) => return Err(BodyError::Disconnected),
                Ok(read) => body.truncate(received + read),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(RequestError::new(408, "the request body did not arrive in time").into());
                }
                Err(_) => return Err(BodyError::Disconnected),
            }
        }
        Ok(body)
    }

    /// Writes a reply, and counts a client that reads too slowly. The reservation ends before the last chunk is written,
    /// so that a client that has read the reply can use its share again.
    fn reply(
        &mut self,
        response: Response,
        mode: ReplyMode,
        reservation: Option<MemoryReservation<'_>>,
    ) -> NextStep {
        let mode = ReplyMode { close: mode.close || self.permit.limiter().is_stopping(), ..mode };
        let start = Instant::now();
        let writer = &mut self.writer;
        // The response may compute its body while it is read, and panic.
        let begun = catch_panic(|| writer.begin(response, mode))
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .or_else(|error| {
                log::error!("reading the body of a reply to {} failed: {error}", self.peer);
                writer.begin(internal_error(), mode)
            });
        let written = begun.and_then(|(mut body, close)| {
            while !body.is_at_end() {
                self.stream.write_all(self.writer.chunk(), start, self.limits.reply_timeout)?;
                self.writer.next_chunk(&mut body)?;
            }
            drop((body, reservation));
            self.stream.write_all(self.writer.chunk(), start, self.limits.reply_timeout)?;
            Ok(close)
        });
        self.writer.finish();
        match written {
            Ok(false) => NextStep::KeepAlive,
            Ok(true) => NextStep::Close,
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    self.permit.limiter().counters.slow.increment();
                }
                // Without a reset the client could mistake a truncated reply for a complete one.
                self.stream.abort();
                NextStep::Close
            }
        }
    }

    /// Answers a request whose head could not be read, and ends the connection.
    fn reject_head(mut self, error: RequestError) {
        let response = self.error_reply(error);
        self.reply(response, ReplyMode { with_body: true, close: true }, None);
        self.drain();
    }

    fn error_reply(&self, error: RequestError) -> Response {
        let counters = &self.permit.limiter().counters;
        if error.status == 408 {
            counters.slow.increment();
        } else {
            counters.malformed.increment();
        }
        problem(error.status, reason(error.status), error.detail)
    }

    fn drain(&mut self) {
        let scratch = self.input.clear_to_space();
        self.stream.drain(scratch, self.limits.drain_bytes, self.limits.drain_timeout);
    }
}

/// Calls a handler; replies 500 if it panics.
fn guarded(remote: SocketAddr, call: impl FnOnce() -> Response) -> Response {
    catch_panic(call).unwrap_or_else(|panic| {
        log::error!("the handler panicked at a request from {remote}: {panic}");
        internal_error()
    })
}

/// Returns the response and the length of its body in bytes, 0 if it is unknown since the body is not in memory.
fn measured(response: Response) -> (Response, usize) {
    let (reader, size) = response.data.into_reader_and_size();
    let data = match size {
        Some(size) => ResponseBody::from_reader_and_size(reader, size),
        None => ResponseBody::from_reader(reader),
    };
    (Response { data, ..response }, size.unwrap_or(0))
}

/// Creates the reply for a failed handler.
fn internal_error() -> Response {
    problem(500, reason(500), "the server failed to handle this request; its log has the reason")
}

/// Runs `call`; fails with the message of a panic in it.
fn catch_panic<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| panic_message(&*panic))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
