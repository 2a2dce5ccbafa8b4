//! One HTTP request to a peer, with hard limits on its size.

use std::io::{self, Read as _};
use std::time::{Duration, Instant};

use crate::mesh::message::MAX_BYTES;
use crate::mesh::observation::Failure;

/// The reason that minreq puts where there is none.
const NO_STATUS_LINE: &str = "Server did not provide a status line";

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

/// Sends `outgoing` and reads the whole reply. minreq counts whole seconds and knows no limit on name lookups:
/// who needs `timeout` to the letter stops waiting for this.
pub(super) fn fetch(outgoing: Outgoing, timeout: Duration) -> Result<Incoming, Failure> {
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
    // What minreq says for a connection that was closed without an answer, or whose answer is not HTTP.
    if response.reason_phrase == NO_STATUS_LINE {
        return Err(if headers.is_empty() && body.is_empty() { Failure::Reset } else { Failure::BadReply });
    }
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
