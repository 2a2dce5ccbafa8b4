//! One HTTP request to a peer, with hard limits on its size.

use std::io::{self, Read as _};
use std::net::ToSocketAddrs as _;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::mesh::wire::message::MAX_BYTES;
use crate::mesh::wire::observation::Failure;

/// The reason that minreq puts where there is none.
const NO_STATUS_LINE: &str = "Server did not provide a status line";

/// The largest head of a reply, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// A request to be sent.
pub(super) struct HttpRequest {
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// A reply, not checked yet.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// From before the name lookup until the last byte.
    pub(super) elapsed: Duration,
}

impl HttpResponse {
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
pub(super) fn fetch(outgoing: HttpRequest, timeout: Duration) -> Result<HttpResponse, Failure> {
    let start = Instant::now();
    resolve(&outgoing.url)?;
    let mut request = minreq::post(outgoing.url)
        .with_body(outgoing.body)
        .with_timeout(timeout.as_secs() + 1)
        .with_follow_redirects(false)
        .with_max_headers_size(MAX_HEAD)
        .with_max_status_line_length(1024);
    for (name, value) in outgoing.headers {
        request = request.with_header(name, value);
    }
    let mut response = request.send_lazy().map_err(|error| classify(&error))?;
    let mut body = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    response.by_ref().take(limit).read_to_end(&mut body).map_err(|error| classify_io(&error))?;
    if body.len() > MAX_BYTES {
        return Err(Failure::TooLarge);
    }
    let headers = std::mem::take(&mut response.headers);
    // What minreq says for a connection that was closed without an answer, or whose answer is not HTTP.
    if response.reason_phrase == NO_STATUS_LINE {
        return Err(if headers.is_empty() && body.is_empty() { Failure::Reset } else { Failure::BadReply });
    }
    // RFC 9110, section 15: anything else is no status.
    if !(100..600).contains(&response.status_code) {
        return Err(Failure::BadReply);
    }
    Ok(HttpResponse { status: response.status_code, headers, body, elapsed: start.elapsed() })
}

/// Looks the name up in this thread. minreq does so again, in a thread of its own that it leaves behind when
/// time is up: with a name server that never answers these would pile up, uncounted.
fn resolve(url: &str) -> Result<(), Failure> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split('/').next().unwrap_or_default();
    let port = if scheme == "https" { 443 } else { 80 };
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let found =
        if has_port { authority.to_socket_addrs() } else { format!("{authority}:{port}").to_socket_addrs() };
    match found.map(|mut addresses| addresses.next()) {
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
        // The standard library has no kind for a failed lookup, only this text.
        _ if error.to_string().contains("failed to lookup address") => Failure::Dns,
        _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<minreq::Error>()) {
            Some(inner) => classify(inner),
            None => Failure::BadReply,
        },
    }
}

/// Whether this process or machine is short of descriptors or memory: nothing was learnt of the peer.
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

    /// What comes of a peer that answers with `reply`, and of how many bytes of it were taken.
    fn answered_with(reply: &[&[u8]]) -> (Option<Failure>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/mon/n", listener.local_addr().expect("its address"));
        std::thread::scope(|scope| {
            let server = scope.spawn(move || {
                let (mut stream, _) = listener.accept().expect("a connection");
                let _ = stream.read(&mut [0; 4096]);
                let taken = reply.iter().take_while(|part| stream.write_all(part).is_ok());
                taken.map(|part| part.len()).sum()
            });
            let outgoing = HttpRequest { url, headers: Vec::new(), body: String::new() };
            // As the peers' threads do.
            let result = catch_unwind(AssertUnwindSafe(|| fetch(outgoing, Duration::from_secs(10))));
            let failure = result.unwrap_or(Err(Failure::BadReply)).err();
            (failure, server.join().expect("the server"))
        })
    }

    #[test]
    fn a_head_without_end_is_not_read() {
        const MUCH: usize = 64 << 20;
        let line = [b"a: ", &[b'x'; 1000][..], b"\r\n"].concat();
        let lines = vec![&line[..]; MUCH / line.len()];
        // Without a CR, minreq counts a line one byte too long: here that is one more than is left.
        let odd = [b"a: ", &[b'x'; MAX_HEAD - 4][..], b"\n"].concat();
        for first in [&b""[..], &odd] {
            let reply = [&[b"HTTP/1.1 200 OK\r\n", first], &lines[..]].concat();
            let (failure, taken) = answered_with(&reply);
            assert!(matches!(failure, Some(Failure::TooLarge | Failure::BadReply)), "{failure:?}");
            assert!(taken < MUCH / 2, "{taken}");
        }
    }

    #[test]
    fn what_is_no_answer() {
        for (reply, expected) in [
            (&b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"[..], Some(Failure::BadReply)),
            (b"HTTP/1.1 42 Odd\r\nContent-Length: 0\r\n\r\n", Some(Failure::BadReply)),
            (b"", Some(Failure::Reset)),
            (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None),
        ] {
            let (failure, _) = answered_with(&[reply]);
            assert_eq!(failure, expected, "{}", String::from_utf8_lossy(reply));
        }
    }

    #[test]
    fn what_this_host_lacks_is_no_peers_failure() {
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
    fn what_is_no_tls_is_no_secure_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://{}/mon/n", listener.local_addr().expect("its address"));
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        });
        let outgoing = HttpRequest { url, headers: Vec::new(), body: String::new() };
        let result = fetch(outgoing, Duration::from_secs(10));
        assert_eq!(result.err(), Some(Failure::Tls));
        server.join().expect("the server");
    }

    #[test]
    fn names() {
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
