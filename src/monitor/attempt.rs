//! One HTTP request to a peer, in a thread of its own, with hard limits on time and size.

use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use crate::mesh::message::MAX_BYTES;
use crate::mesh::observation::Failure;

/// Attempts of one peer that may be under way: a name server that never answers must not pile up threads.
const OUTSTANDING: usize = 4;

/// The names of the threads that make attempts start with this: a panic there is one attempt's.
pub const ATTEMPT_PREFIX: &str = "try-";

/// The largest head of a reply, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// A request to be sent.
pub(super) struct Outgoing {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// A reply, not checked yet.
pub(super) struct Incoming {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// From before the name lookup until the last byte.
    pub(super) elapsed: Duration,
}

impl Incoming {
    /// A header's value, several joined as RFC 9110, section 5.2, says; empty if there is none.
    pub(super) fn header(&self, name: &str) -> String {
        let values: Vec<&str> = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        values.join(", ")
    }
}

/// Makes attempts and stops waiting for them in time.
pub(super) struct Attempts {
    name: String,
    closed: Receiver<()>,
    outstanding: Arc<AtomicUsize>,
}

impl Attempts {
    /// For the peer `name`, until the other end of `closed` is gone.
    pub(super) fn new(name: String, closed: Receiver<()>) -> Self {
        Self { name, closed, outstanding: Arc::default() }
    }

    /// Sends `outgoing` and waits for the whole reply, at most `timeout`. minreq counts whole seconds and
    /// knows no limit on name lookups, so the attempt has a thread of its own that may be left behind.
    pub(super) fn make(&self, outgoing: Outgoing, timeout: Duration) -> Result<Incoming, Failure> {
        if self.outstanding.fetch_add(1, Ordering::SeqCst) >= OUTSTANDING {
            self.outstanding.fetch_sub(1, Ordering::SeqCst);
            // Nothing but a name lookup outlives its time by that much.
            return Err(Failure::Dns);
        }
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let count = self.outstanding.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("{ATTEMPT_PREFIX}{}", self.name))
            .stack_size(512 * 1024)
            .spawn(move || {
                let _counted = Counted(count);
                // A peer's reply must not end the process, whatever the client library makes of it.
                let result = std::panic::catch_unwind(|| fetch(outgoing, timeout));
                let _ = sender.send(result.unwrap_or(Err(Failure::BadReply)));
            });
        if let Err(error) = spawned {
            self.outstanding.fetch_sub(1, Ordering::SeqCst);
            log::error!("starting a thread to call {}: {error}; raise the limit on tasks", self.name);
            return Err(Failure::Other);
        }
        select! {
            recv(receiver) -> result => result.unwrap_or(Err(Failure::Other)),
            recv(self.closed) -> _ => Err(Failure::Other),
            default(timeout) => Err(Failure::Timeout),
        }
    }
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn fetch(outgoing: Outgoing, timeout: Duration) -> Result<Incoming, Failure> {
    let start = Instant::now();
    let mut request = minreq::post(outgoing.url)
        .with_body(outgoing.body)
        .with_timeout(timeout.as_secs() + 1)
        .with_follow_redirects(false)
        .with_max_headers_size(MAX_HEAD)
        .with_max_status_line_length(1024);
    for (name, value) in outgoing.headers {
        request = request.with_header(name, value);
    }
    let mut response = request.send_lazy().map_err(|error| kind(&error))?;
    let mut body = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    response.by_ref().take(limit).read_to_end(&mut body).map_err(|error| io_kind(&error))?;
    if body.len() > MAX_BYTES {
        return Err(Failure::TooLarge);
    }
    let headers = std::mem::take(&mut response.headers);
    Ok(Incoming { status: response.status_code, headers, body, elapsed: start.elapsed() })
}

fn kind(error: &minreq::Error) -> Failure {
    match error {
        minreq::Error::IoError(error) => io_kind(error),
        minreq::Error::RustlsCreateConnection(_) => Failure::Tls,
        minreq::Error::AddressNotFound => Failure::Dns,
        minreq::Error::HeadersOverflow | minreq::Error::StatusLineOverflow => Failure::TooLarge,
        _ => Failure::BadReply,
    }
}

fn io_kind(error: &io::Error) -> Failure {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Failure::Refused,
        Kind::TimedOut | Kind::WouldBlock => Failure::Timeout,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown | Kind::AddrNotAvailable => {
            Failure::Unreachable
        }
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe | Kind::UnexpectedEof => {
            Failure::Reset
        }
        // rustls reports a failed handshake as invalid data on the stream.
        Kind::InvalidData if error.get_ref().is_some_and(|inner| !inner.is::<minreq::Error>()) => {
            Failure::Tls
        }
        // The standard library has no kind for a failed lookup, only this text.
        _ if error.to_string().contains("failed to lookup address") => Failure::Dns,
        _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<minreq::Error>()) {
            Some(inner) => kind(inner),
            None => Failure::BadReply,
        },
    }
}
