//! One HTTP request to a peer, within a time limit and with hard limits on the size of the reply. Each request opens a
//! connection, since a probe tests the whole path.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustls::ClientConfig;

use super::http_reply::{Reply, ReplyError, read_reply};
use super::peer_url::PeerUrl;
use super::tls;
use crate::deadline_stream::DeadlineStream;
use crate::mesh::wire::observation::Failure;

/// The size that suffices for the head of most requests, in bytes.
const TYPICAL_HEAD: usize = 1024;

/// A request to send.
pub(super) struct HttpRequest {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// An unverified reply.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// The time from the name lookup to the last byte.
    pub(super) elapsed: Duration,
}

impl HttpResponse {
    /// The value of a header, with several fields joined by commas (RFC 9110, section 5.2); empty without the header.
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

/// Sends `request` and reads the whole reply, in this thread. The connection closes at the end of `timeout`. Only the
/// lookup of a host name can exceed it, and callers must abandon the call then.
pub(super) fn fetch(request: &HttpRequest, timeout: Duration) -> Result<HttpResponse, Failure> {
    fetch_with(tls::client_config, request, timeout)
}

fn fetch_with(
    tls_config: impl FnOnce() -> Result<Arc<ClientConfig>, rustls::Error>,
    request: &HttpRequest,
    timeout: Duration,
) -> Result<HttpResponse, Failure> {
    let start = Instant::now();
    let url = PeerUrl::parse(&request.url).ok_or(Failure::Other)?;
    let tls_config = if url.https { Some(tls_config().map_err(|_| Failure::Tls)?) } else { None };
    let addresses = resolve(&url)?;
    let limit = TimeLimit { start, timeout };
    let bytes = serialize(request, &url);
    let reply = exchange(addresses, limit, |mut socket| {
        if let Some(config) = tls_config {
            return read_reply(tls::stream(config, url.host, &bytes, socket)?);
        }
        socket.write_all(&bytes)?;
        read_reply(socket)
    });
    let Reply { status, headers, body } = reply.map_err(classify)?;
    Ok(HttpResponse { status, headers, body, elapsed: start.elapsed() })
}

/// Resolves the host in this thread; an IP address needs no lookup.
fn resolve(url: &PeerUrl<'_>) -> Result<impl Iterator<Item = SocketAddr> + use<>, Failure> {
    match (url.host, url.port).to_socket_addrs() {
        Ok(addresses) if addresses.len() > 0 => Ok(addresses),
        Err(error) if is_resource_exhausted(&error) => Err(Failure::Other),
        Ok(_) | Err(_) => Err(Failure::Dns),
    }
}

/// Returns the head and the body of `request`.
fn serialize(request: &HttpRequest, url: &PeerUrl<'_>) -> Vec<u8> {
    let HttpRequest { headers, body, .. } = request;
    let mut text = String::with_capacity(TYPICAL_HEAD + body.len());
    for part in ["POST ", url.path, " HTTP/1.1\r\nHost: ", url.authority, "\r\nConnection: close\r\n"] {
        text.push_str(part);
    }
    for (name, value) in headers {
        for part in [name, ": ", value, "\r\n"] {
            text.push_str(part);
        }
    }
    let _ = write!(text, "Content-Length: {}\r\n\r\n", body.len());
    text.push_str(body);
    text.into_bytes()
}

/// Connects to the first of `addresses` that accepts a connection, and returns the result of `exchange`.
fn exchange(
    addresses: impl Iterator<Item = SocketAddr>,
    limit: TimeLimit,
    exchange: impl FnOnce(Socket<'_>) -> Result<Reply, ReplyError>,
) -> Result<Reply, ReplyError> {
    let mut failed = io::ErrorKind::TimedOut.into();
    for address in addresses {
        let left = limit.timeout.saturating_sub(limit.start.elapsed());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return exchange(Socket { stream: DeadlineStream::new(&stream), limit }),
            Err(error) => failed = error,
        }
    }
    Err(failed.into())
}

/// The time limit of a request.
#[derive(Clone, Copy)]
struct TimeLimit {
    start: Instant,
    timeout: Duration,
}

/// A connection to a peer that fails with [`io::ErrorKind::TimedOut`] after the time limit.
struct Socket<'a> {
    stream: DeadlineStream<'a>,
    limit: TimeLimit,
}

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read_until(buffer, self.limit.start + self.limit.timeout)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write_all(bytes, self.limit.start, self.limit.timeout)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn classify(error: ReplyError) -> Failure {
    match error {
        ReplyError::Stream(error) => classify_io(&error),
        ReplyError::Reply(failure) => failure,
    }
}

fn classify_io(error: &io::Error) -> Failure {
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
        // rustls reports its errors as invalid data on the stream.
        Kind::InvalidData => Failure::Tls,
        _ if is_resource_exhausted(error) => Failure::Other,
        _ => Failure::BadReply,
    }
}

/// Whether this process or machine has run out of descriptors or memory, which says nothing about the peer.
fn is_resource_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

#[cfg(test)]
mod tests;
