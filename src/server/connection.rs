//! One connection: its requests, one after the other, until a limit, an error or the client ends it.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use rouille::Response;

use super::client_address;
use super::connection_limiter::ConnectionPermit;
use super::head::{self, Head, Refusal};
use super::limits::Limits;
use super::listener::{Admission, Service};
use super::problem::problem;
use super::reply::{Writer, reason};
use super::wire::Wire;

/// The buffer for heads between two requests; it grows to the limit when a head needs it.
const INPUT: usize = 4 * 1024;

/// How much room a body is given beyond what has arrived.
const BODY_STEP: usize = 16 * 1024;

/// Serves the connection in `permit` until it ends. `accepted` is when it began.
pub(super) fn serve<S: Service>(permit: &ConnectionPermit, peer: SocketAddr, accepted: Instant, service: &S) {
    let limits = permit.limiter().limits();
    let mut connection = Connection {
        permit,
        peer,
        service,
        limits,
        wire: Wire::new(permit.stream()),
        input: Input::default(),
        writer: Writer::default(),
        requests: 0,
    };
    let mut first = Some(accepted);
    loop {
        let head = match connection.read_head(first.take()) {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(refusal) => return connection.refuse(refusal),
        };
        permit.begin_request();
        let outcome = connection.exchange(head);
        permit.finish_request();
        match outcome {
            Outcome::GoOn if !permit.limiter().is_stopping() => {}
            Outcome::GoOn | Outcome::Close => return,
            Outcome::Linger => return connection.linger(),
        }
    }
}

/// How a connection goes on after a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    GoOn,
    /// Nothing of the request is left unread.
    Close,
    /// The client may still be sending.
    Linger,
}

struct Connection<'a, S> {
    permit: &'a ConnectionPermit,
    peer: SocketAddr,
    service: &'a S,
    limits: &'a Limits,
    wire: Wire<'a>,
    input: Input,
    writer: Writer,
    requests: u32,
}

impl<S: Service> Connection<'_, S> {
    /// The next head; none if the client has gone, or was idle for too long. A head's time counts from
    /// its first byte, or from `accepted` on a new connection, and does not start again with each read.
    fn read_head(&mut self, accepted: Option<Instant>) -> Result<Option<Head>, Refusal> {
        let mut deadline = accepted.map(|at| at + self.limits.head_timeout);
        let mut begun = !self.input.is_empty();
        let mut next_try = 0;
        loop {
            self.input.skip_empty_lines();
            let length = self.input.bytes().len();
            // A head that comes in crumbs is not parsed again for each.
            if length > 0 && (self.input.saw_empty_line() || length >= next_try) {
                if let Some((head, used)) = head::parse(self.input.bytes())? {
                    self.input.consume(used);
                    return Ok(Some(head));
                }
                next_try = length * 2;
            }
            if length >= self.limits.head_bytes {
                return Err(too_large(self.input.bytes()));
            }
            if begun && deadline.is_none() {
                deadline = Some(Instant::now() + self.limits.head_timeout);
            }
            let space = self.input.space(self.limits.head_bytes);
            let read = match deadline {
                Some(deadline) => self.wire.read_until(space, deadline),
                None => self.wire.read(space, self.limits.idle_timeout),
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(read) => self.input.filled(read),
                Err(error) if error.kind() == io::ErrorKind::TimedOut && deadline.is_some() => {
                    if !begun {
                        self.permit.limiter().counters.slow.increment();
                        return Ok(None);
                    }
                    return Err(Refusal::new(408, "the head was not complete in time"));
                }
                Err(_) => return Ok(None),
            }
            begun = true;
        }
    }

    /// Answers one request.
    fn exchange(&mut self, head: Head) -> Outcome {
        self.requests += 1;
        let close =
            !head.keep_alive() || self.requests >= self.limits.requests || self.service.is_brief(&head);
        let form = Form { body: head.method() != "HEAD", close };
        let unread = head.content_length() > 0;
        let remote = client_address::behind_proxies(
            self.peer,
            head.header("x-forwarded-for"),
            &self.limits.trusted_proxies,
        );
        let service = self.service;
        if head.lacks_length() && !service.is_bodiless(&head) {
            let refusal = Refusal::new(411, "send Content-Length, 0 if there is no body");
            self.reply(self.refusal(refusal), form);
            return Outcome::Linger;
        }
        let admission = caught(|| service.admit(&head, remote)).unwrap_or_else(|panic| {
            log::error!("a request from {remote} panicked before its body was read: {panic}");
            Admission::Refuse(internal_error())
        });
        let (max_body, ticket) = match admission {
            Admission::Refuse(response) if unread => {
                self.reply(response, Form { close: true, ..form });
                return Outcome::Linger;
            }
            Admission::Refuse(response) => return self.reply(response, form),
            Admission::Read { max_body, verified, ticket } => {
                if verified {
                    self.permit.mark_verified();
                }
                (max_body, ticket)
            }
        };
        let body = match self.read_body(&head, max_body) {
            Ok(Some(body)) => body,
            Ok(None) => return Outcome::Close,
            Err(refusal) => {
                self.reply(self.refusal(refusal), Form { close: true, ..form });
                return Outcome::Linger;
            }
        };
        let response =
            caught(|| service.answer(head.into_request(remote, body), ticket)).unwrap_or_else(|panic| {
                log::error!("a request from {remote} panicked: {panic}");
                internal_error()
            });
        self.reply(response, form)
    }

    /// The body of a request that was admitted; none if the client went away.
    fn read_body(&mut self, head: &Head, max_body: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let length = match usize::try_from(head.content_length()) {
            Ok(length) if length <= max_body => length,
            _ => return Err(Refusal::new(413, "the body is larger than allowed here")),
        };
        if length == 0 {
            return Ok(Some(Vec::new()));
        }
        let deadline = Instant::now() + self.limits.body_timeout;
        let mut body = Vec::with_capacity(length.min(BODY_STEP));
        self.input.take(length, &mut body);
        if head.expects_continue() && body.is_empty() {
            let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
            if self.wire.write_all(go_on, Instant::now(), self.limits.reply_timeout).is_err() {
                return Ok(None);
            }
        }
        while body.len() < length {
            // Room follows what arrived, so a claimed length alone takes no memory.
            let have = body.len();
            body.resize((have + BODY_STEP).min(length), 0);
            match self.wire.read_until(&mut body[have..], deadline) {
                Ok(0) => return Ok(None),
                Ok(read) => body.truncate(have + read),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(Refusal::new(408, "the body was not complete in time"));
                }
                Err(_) => return Ok(None),
            }
        }
        Ok(Some(body))
    }

    /// Writes a reply, in one piece if it is small.
    fn reply(&mut self, response: Response, form: Form) -> Outcome {
        let close = form.close || self.permit.limiter().is_stopping();
        let start = Instant::now();
        let writer = &mut self.writer;
        // The body may be made while it is read.
        let begun = caught(|| writer.begin(response, form.body, close))
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
            .or_else(|error| {
                log::error!("reading the body of a reply to {} failed: {error}", self.peer);
                writer.begin(internal_error(), form.body, close)
            });
        let written = begun.and_then(|(mut rest, close)| {
            self.wire.write_all(self.writer.piece(), start, self.limits.reply_timeout)?;
            while self.writer.next(&mut rest)? {
                self.wire.write_all(self.writer.piece(), start, self.limits.reply_timeout)?;
            }
            Ok(close)
        });
        self.writer.end();
        match written {
            Ok(false) => Outcome::GoOn,
            Ok(true) => Outcome::Close,
            Err(error) => {
                if error.kind() == io::ErrorKind::TimedOut {
                    self.permit.limiter().counters.slow.increment();
                }
                // The client must not take a cut reply for a whole one.
                self.wire.abort();
                Outcome::Close
            }
        }
    }

    /// Answers what is not a request that a route could see, and ends the connection.
    fn refuse(mut self, refusal: Refusal) {
        let response = self.refusal(refusal);
        self.reply(response, Form { body: true, close: true });
        self.linger();
    }

    fn refusal(&self, refusal: Refusal) -> Response {
        let counters = &self.permit.limiter().counters;
        if refusal.status == 408 {
            counters.slow.increment();
        } else {
            counters.malformed.increment();
        }
        problem(refusal.status, reason(refusal.status), refusal.detail)
    }

    fn linger(&mut self) {
        self.input.clear();
        let scratch = self.input.space(INPUT);
        self.wire.linger(scratch, self.limits.drain_bytes, self.limits.drain_timeout);
    }
}

/// How a reply is to be written.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// False for the reply to a HEAD.
    body: bool,
    close: bool,
}

/// What has been read and not yet used.
#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Up to where an empty line was looked for.
    looked: usize,
}

impl Input {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn clear(&mut self) {
        (self.start, self.end, self.looked) = (0, 0, 0);
        if self.buffer.len() > INPUT {
            self.buffer = Vec::new();
        }
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        self.looked = self.start;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Skips empty lines before a request line (RFC 9112, section 2.2).
    fn skip_empty_lines(&mut self) {
        while self.bytes().starts_with(b"\r\n") {
            self.consume(2);
        }
    }

    /// Whether an empty line, good or bad, arrived since the last call.
    fn saw_empty_line(&mut self) -> bool {
        let from = self.looked.saturating_sub(3).max(self.start);
        self.looked = self.end;
        let fresh = &self.buffer[from..self.end];
        fresh.windows(2).any(|pair| pair == b"\n\n") || fresh.windows(3).any(|three| three == b"\n\r\n")
    }

    /// Moves up to `length` bytes into `body`.
    fn take(&mut self, length: usize, body: &mut Vec<u8>) {
        let length = length.min(self.bytes().len());
        body.extend_from_slice(&self.bytes()[..length]);
        self.consume(length);
    }

    /// Room to read into, so that at most `most` bytes are held. Empty only if so many are held.
    fn space(&mut self, most: usize) -> &mut [u8] {
        if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end, self.looked) =
                (0, self.end - self.start, self.looked.saturating_sub(self.start));
        }
        if self.end == self.buffer.len() {
            self.buffer.resize((self.end * 2).clamp(INPUT, most.max(INPUT)), 0);
        }
        let until = self.buffer.len().min(self.start + most);
        &mut self.buffer[self.end..until]
    }

    fn filled(&mut self, length: usize) {
        self.end += length;
    }
}

/// The reply when a route fails.
fn internal_error() -> Response {
    problem(500, reason(500), "this request failed inside the server; its journal says why")
}

/// A head that has no end within the limit.
fn too_large(bytes: &[u8]) -> Refusal {
    if bytes.contains(&b'\n') {
        Refusal::new(431, "the head is larger than allowed")
    } else {
        Refusal::new(414, "the request line is larger than the whole head may be")
    }
}

/// Runs `request`; gives the message of its panic, if it does.
fn caught<T>(request: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(request)).map_err(|panic| message(&*panic))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}
