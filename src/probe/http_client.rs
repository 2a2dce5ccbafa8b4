//! One HTTP request to a peer, with hard limits on the size of the reply.

use std::io::{self, Read as _};
use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::mesh::wire::message::MAX_BYTES;
use crate::mesh::wire::observation::Failure;

/// The reason phrase that minreq returns if the reply has no status line.
const NO_STATUS_LINE: &str = "Server did not provide a status line";

/// The maximum size of the head of a reply, in bytes.
const MAX_HEAD: usize = 16 * 1024;

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

/// Sends `request` and reads the whole reply. minreq has timeouts in whole seconds and none for name lookups, so a call
/// can exceed `timeout`, and callers must abandon it then.
pub(super) fn fetch(request: HttpRequest, timeout: Duration) -> Result<HttpResponse, Failure> {
    let start = Instant::now();
    resolve(&request.url)?;
    let mut pending = minreq::post(request.url)
        .with_body(request.body)
        .with_timeout(timeout.as_secs() + 1)
        .with_follow_redirects(false)
        .with_max_headers_size(MAX_HEAD)
        .with_max_status_line_length(1024);
    for (name, value) in request.headers {
        pending = pending.with_header(name, value);
    }
    let mut response = pending.send_lazy().map_err(|error| classify(&error))?;
    let mut body = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    response.by_ref().take(limit).read_to_end(&mut body).map_err(|error| classify_io(&error))?;
    if body.len() > MAX_BYTES {
        return Err(Failure::TooLarge);
    }
    let headers = std::mem::take(&mut response.headers);
    // The peer closed the connection without a reply, or the reply was not HTTP.
    if response.reason_phrase == NO_STATUS_LINE {
        return Err(if headers.is_empty() && body.is_empty() { Failure::Reset } else { Failure::BadReply });
    }
    // RFC 9110, section 15: other numbers are not status codes.
    if !(100..600).contains(&response.status_code) {
        return Err(Failure::BadReply);
    }
    Ok(HttpResponse { status: response.status_code, headers, body, elapsed: start.elapsed() })
}

/// Resolves the host name in this thread, and fails if that fails. minreq resolves it again in a separate thread, which it
/// abandons after a timeout: with a name server that never answers, such threads would accumulate without limit.
fn resolve(url: &str) -> Result<(), Failure> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let port = if scheme == "https" { 443 } else { 80 };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let addresses =
        if has_port { authority.to_socket_addrs() } else { format!("{authority}:{port}").to_socket_addrs() };
    match addresses.map(|mut addresses| addresses.next()) {
        Ok(Some(_)) => Ok(()),
        Err(error) if is_resource_exhausted(&error) => Err(Failure::Other),
        Ok(None) | Err(_) => Err(Failure::Dns),
    }
}

fn classify(error: &minreq::Error) -> Failure {
    match error {
        minreq::Error::IoError(error) => classify_io(error),
        minreq::Error::RustlsCreateConnection(_) => Failure::Tls,
        minreq::Error::AddressNotFound => Failure::Dns,
        minreq::Error::HeadersOverflow | minreq::Error::StatusLineOverflow => Failure::TooLarge,
        _ => Failure::BadReply,
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
        // rustls reports a failed handshake as invalid data on the stream.
        Kind::InvalidData if error.get_ref().is_some_and(|inner| !inner.is::<minreq::Error>()) => {
            Failure::Tls
        }
        _ if is_resource_exhausted(error) => Failure::Other,
        // The standard library has no kind for a failed name lookup, only this text.
        _ if error.to_string().contains("failed to lookup address") => Failure::Dns,
        _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<minreq::Error>()) {
            Some(inner) => classify(inner),
            None => Failure::BadReply,
        },
    }
}

/// Whether this process or machine has run out of descriptors or memory, which says nothing about the peer.
fn is_resource_exhausted(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// Calls a peer that answers with `reply`. Returns the failure and the number of bytes that were read.
    fn fetch_reply(reply: &[&[u8]]) -> (Option<Failure>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/mon/n", listener.local_addr().expect("its address"));
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                let _ = stream.read(&mut [0; 4096]);
                let sent = reply.iter().take_while(|part| stream.write_all(part).is_ok());
                sent.map(|part| part.len()).sum()
            });
            let request = HttpRequest { url, headers: Vec::new(), body: String::new() };
            // The threads of peers catch panics as well.
            let result = catch_unwind(AssertUnwindSafe(|| fetch(request, Duration::from_secs(10))));
            let failure = result.unwrap_or(Err(Failure::BadReply)).err();
            (failure, server.join().expect("the server"))
        })
    }

    #[test]
    fn an_endless_head_is_rejected() {
        const TOTAL: usize = 64 << 20;
        let line = [b"a: ", &[b'x'; 1000][..], b"\r\n"].concat();
        let lines = vec![&line[..]; TOTAL / line.len()];
        // minreq counts a line without CR one byte too long: here, one byte beyond the limit.
        let overlong = [b"a: ", &[b'x'; MAX_HEAD - 4][..], b"\n"].concat();
        for first in [&b""[..], &overlong] {
            let reply = [&[b"HTTP/1.1 200 OK\r\n", first], &lines[..]].concat();
            let (failure, sent) = fetch_reply(&reply);
            assert!(matches!(failure, Some(Failure::TooLarge | Failure::BadReply)), "{failure:?}");
            assert!(sent < TOTAL / 2, "{sent}");
        }
    }

    #[test]
    fn malformed_status_lines_are_failures() {
        for (reply, expected) in [
            (&b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"[..], Some(Failure::BadReply)),
            (b"HTTP/1.1 42 Odd\r\nContent-Length: 0\r\n\r\n", Some(Failure::BadReply)),
            (b"", Some(Failure::Reset)),
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None),
        ] {
            let (failure, _) = fetch_reply(&[reply]);
            assert_eq!(failure, expected, "{}", String::from_utf8_lossy(reply));
        }
    }

    #[test]
    fn exhausted_resources_are_not_a_failure_of_the_peer() {
        for (errno, expected) in [
            (Errno::MFILE, Failure::Other),
            (Errno::NOBUFS, Failure::Other),
            (Errno::CONNREFUSED, Failure::Refused),
            (Errno::HOSTUNREACH, Failure::Unreachable),
        ] {
            assert_eq!(classify_io(&errno.into()), expected, "{errno}");
        }
    }

    #[test]
    fn plain_http_on_a_tls_port_is_a_tls_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://{}/mon/n", listener.local_addr().expect("its address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        });
        let request = HttpRequest { url, headers: Vec::new(), body: String::new() };
        let result = fetch(request, Duration::from_secs(10));
        assert_eq!(result.err(), Some(Failure::Tls));
        server.join().expect("the server");
    }

    #[test]
    fn host_names_are_resolved() {
        for (url, expected) in [
            ("http://127.0.0.1:8000/mon/n", Ok(())),
            ("https://127.0.0.1/mon/n", Ok(())),
            ("http://[::1]:8000", Ok(())),
            ("http://[::1]/a:b", Ok(())),
            ("http://nowhere.invalid:80/", Err(Failure::Dns)),
            ("https://nowhere.invalid", Err(Failure::Dns)),
        ] {
            assert_eq!(resolve(url), expected, "{url}");
        }
    }
}
