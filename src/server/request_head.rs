//! The head of an HTTP/1 request (RFC 9112) and its strict parser. Heads that two servers could interpret
//! differently are rejected, so that no proxy in front of this server can be exploited.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use super::limits::MAX_HEADER_FIELDS;

/// A request error that the listener itself answers; the connection closes after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestError {
    /// The status of the reply.
    pub(super) status: u16,
    /// The description for the client.
    pub(super) detail: &'static str,
}

impl RequestError {
    pub(super) const fn new(status: u16, detail: &'static str) -> Self {
        Self { status, detail }
    }

    const fn bad(detail: &'static str) -> Self {
        Self::new(400, detail)
    }
}

/// The head of a request: the request line and the header fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    content_length: u64,
    lacks_length: bool,
    keep_alive: bool,
    expects_continue: bool,
    queued: Duration,
}

impl RequestHead {
    /// Returns how long the connection waited for a thread before this request, its first one; 0 for later ones.
    pub fn queued(&self) -> Duration {
        self.queued
    }

    /// Returns the head with this [`RequestHead::queued`].
    pub(super) fn with_queued(self, queued: Duration) -> Self {
        Self { queued, ..self }
    }

    /// Returns the method as received; methods are case-sensitive.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the target as received: a path that starts with `/`, optionally with a query, in visible ASCII.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the target without its query, not decoded.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// Returns the value of the field `name` (case-insensitive), without white space around it. Several values
    /// are joined in order by `, `, those of Cookie by `; ` (RFC 9110, section 5.2).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the length of the body in bytes, 0 without a body.
    pub fn content_length(&self) -> u64 {
        self.content_length
    }

    /// Returns whether the method expects a body but Content-Length is missing. The request has no body then
    /// (RFC 9112, section 6.3).
    pub fn lacks_length(&self) -> bool {
        self.lacks_length
    }

    /// Returns whether the connection may continue after this request.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Returns whether the client waits for `100 Continue` before it sends the body.
    pub(super) fn expects_continue(&self) -> bool {
        self.expects_continue
    }
}

/// A request that was read to its end.
#[derive(Debug)]
pub struct ReceivedRequest {
    /// The head.
    pub head: RequestHead,
    /// The client's address, as at the admission of the request.
    pub remote: SocketAddr,
    /// The body, whose capacity is its length: the share of its owner bounds both.
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    /// Converts the request to rouille's type, whose body can only be copied.
    pub fn into_rouille(self) -> rouille::Request {
        let RequestHead { method, target, fields, .. } = self.head;
        rouille::Request::fake_http_from(self.remote, method, target, fields, self.body)
    }
}

/// Parses the head at the start of `bytes`, which must not begin with an empty line. Returns the head and its
/// length in bytes; `None` if it is not complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(RequestHead, usize)>, RequestError> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADER_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut storage) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(request_error(error)),
    };
    // httparse rejects a lone CR, but accepts a lone LF as the end of a line.
    if bytes[..length].windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r') {
        return Err(RequestError::bad("a line of the head does not end in CR LF"));
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Ok(None);
    };
    check_target(target)?;
    let mut builder = HeaderBuilder::default();
    for field in &*request.headers {
        builder.add(field.name, &String::from_utf8_lossy(field.value))?;
    }
    builder.into_head(method, target, minor).map(|head| Some((head, length)))
}

fn request_error(error: httparse::Error) -> RequestError {
    match error {
        httparse::Error::Version => RequestError::new(505, "only HTTP/1.1 and HTTP/1.0 are supported"),
        httparse::Error::TooManyHeaders => RequestError::new(431, "more than 64 header fields"),
        _ => RequestError::bad("the head is not HTTP/1.1; is the client speaking TLS or another protocol?"),
    }
}

fn check_target(target: &str) -> Result<(), RequestError> {
    if !target.starts_with('/') {
        return Err(RequestError::bad("expected a target that is a path starting with /"));
    }
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(RequestError::bad("the target contains a byte that a URI must percent-encode"));
    }
    Ok(())
}

/// A builder that collects header fields and interprets those that concern the connection.
#[derive(Default)]
struct HeaderBuilder {
    fields: Vec<(String, String)>,
    host: bool,
    content_length: Option<u64>,
    close: bool,
    expect: bool,
}

impl HeaderBuilder {
    fn add(&mut self, name: &str, value: &str) -> Result<(), RequestError> {
        let value = value.trim_matches([' ', '\t']);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("transfer-encoding") {
            return Err(RequestError::bad("Transfer-Encoding is not supported; send Content-Length"));
        } else if is("content-length") {
            if self.content_length.is_some() {
                return Err(RequestError::bad("more than one Content-Length"));
            }
            self.content_length =
                Some(decimal(value).ok_or(RequestError::bad("Content-Length is not a number"))?);
        } else if is("host") {
            if std::mem::replace(&mut self.host, true) {
                return Err(RequestError::bad("more than one Host"));
            }
            check_host(value)?;
        } else if is("connection") {
            self.close |= value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
        } else if is("expect") {
            if !value.eq_ignore_ascii_case("100-continue") {
                return Err(RequestError::new(417, "Expect supports only 100-continue"));
            }
            self.expect = true;
        }
        match self.fields.iter_mut().find(|(known, _)| is(known)) {
            Some((_, values)) => {
                values.push_str(if is("cookie") { "; " } else { ", " });
                values.push_str(value);
            }
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    fn into_head(self, method: &str, target: &str, minor: u8) -> Result<RequestHead, RequestError> {
        if minor == 1 && !self.host {
            return Err(RequestError::bad("HTTP/1.1 requires Host"));
        }
        let lacks_length = matches!(method, "POST" | "PUT" | "PATCH") && self.content_length.is_none();
        let content_length = self.content_length.unwrap_or(0);
        if matches!(method, "GET" | "HEAD") && content_length > 0 {
            return Err(RequestError::bad("GET and HEAD must not have a body"));
        }
        Ok(RequestHead {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: self.fields,
            content_length,
            lacks_length,
            // The bytes that follow may be a body of unknown length.
            keep_alive: minor == 1 && !self.close && !lacks_length,
            expects_continue: minor == 1 && self.expect,
            queued: Duration::ZERO,
        })
    }
}

/// Parses digits only: `parse` alone accepts `+5`.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Accepts an empty value or a host with an optional port (RFC 3986, section 3.2), but no user, path or list.
fn check_host(value: &str) -> Result<(), RequestError> {
    let good = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&b));
    if good { Ok(()) } else { Err(RequestError::bad("Host is not a host name with or without a port")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> RequestHead {
        let (head, length) = parse(text.as_bytes()).expect("a good head").expect("a complete head");
        assert_eq!(length, text.len());
        head
    }

    #[test]
    fn a_head_is_parsed_into_its_parts() {
        let head = head(
            "POST /mon/a%20b?x=1 HTTP/1.1\r\nHost: h:8000\r\nContent-Length: 12\r\nSignature: \t a \r\n\
             X: 1\r\nsignature: b\r\nCookie: c=1\r\nCookie: d=2\r\nExpect: 100-Continue\r\n\r\n",
        );
        assert_eq!(head.method(), "POST");
        assert_eq!(head.target(), "/mon/a%20b?x=1");
        assert_eq!(head.path(), "/mon/a%20b");
        assert_eq!(head.header("SIGNATURE"), Some("a, b"));
        assert_eq!(head.header("cookie"), Some("c=1; d=2"));
        assert_eq!(head.header("absent"), None);
        assert_eq!(head.content_length(), 12);
        assert!(head.keep_alive() && head.expects_continue());
    }

    #[test]
    fn keep_alive_depends_on_version_and_connection_field() {
        let check = |text: &str, expected: bool| assert_eq!(head(text).keep_alive(), expected, "{text:?}");
        check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true);
        check("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Close\r\n\r\n", false);
        check("GET / HTTP/1.0\r\n\r\n", false);
        check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false);
    }

    #[test]
    fn a_post_without_length_has_no_body() {
        let head = head("POST / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(head.lacks_length() && !head.keep_alive());
        assert_eq!(head.content_length(), 0);
    }

    #[test]
    fn unusual_but_valid_heads_are_accepted() {
        for good in [
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "DELETE /x HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\n",
        ] {
            head(good);
        }
        let latin = b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=\xe4; b=1\r\n\r\n";
        let (parsed, _) = parse(latin).expect("a good head").expect("a complete head");
        assert!(parsed.header("cookie").is_some_and(|value| value.ends_with("; b=1")));
    }

    #[test]
    fn ambiguous_and_malformed_heads_are_rejected() {
        let check = |fields: &str, status: u16| {
            let found = parse(fields.as_bytes()).map_err(|error| error.status);
            assert_eq!(found.map(|_| ()), Err(status), "{fields:?}");
        };
        let with =
            |fields: &str, status| check(&format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n"), status);
        with("Content-Length: 1\r\nContent-Length: 1\r\n", 400);
        with("Content-Length: 1\r\ncontent-length: 2\r\n", 400);
        for length in ["", "+1", "-1", "1,1", "1, 1", "0x1", "1 1", "1.0", "18446744073709551616", "\u{b2}"] {
            with(&format!("Content-Length: {length}\r\n"), 400);
        }
        with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400);
        with("Transfer-Encoding: identity\r\nContent-Length: 1\r\n", 400);
        with("Transfer-Encoding : chunked\r\nContent-Length: 1\r\n", 400);
        with("Content-Length: 1\r\nHost: h\r\n", 400);
        with("Content-Length: 1\r\nExpect: 200-ok\r\n", 417);
        with("Content-Length: 1\r\nA: b\r\n c\r\n", 400);
        with("Content-Length: 1\r\nA: b\n", 400);
        with("Content-Length: 1\r\nA: b\rc\r\n", 400);
        with("Content-Length: 1\r\nA: b\0\r\n", 400);
        with("Content-Length: 1\r\nA b: c\r\n", 400);
        with("Content-Length: 1\r\n: c\r\n", 400);
        with("Content-Length: 1\r\nno colon\r\n", 400);
        with(&format!("Content-Length: 1\r\n{}", "A: b\r\n".repeat(63)), 431);
        check("GET / HTTP/1.1\r\n\r\n", 400);
        for host in ["a b", "a,b", "user@h", "h/p", "\u{e4}"] {
            check(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
        }
        check("GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400);
        check("GET / HTTP/1.1\nHost: h\n\n", 400);
        check("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n", 400);
        check("HEAD / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n", 400);
        for target in ["http://h/", "*", "h:80", "x", "/\u{e4}", "/a#b"] {
            check(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), 400);
        }
        check("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400);
        for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9"] {
            check(&format!("GET / {version}\r\nHost: h\r\n\r\n"), 505);
        }
        check("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
        check("\u{16}\u{3}\u{1}\u{2}\0", 400);
    }

    #[test]
    fn an_incomplete_head_is_no_error() {
        let whole = "POST /mon/n HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..end]), Ok(None), "{:?}", &whole[..end]);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_parsed_without_a_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_fields_are_parsed_without_a_panic(fields in "[ -~\r\n\t]{0,200}") {
            let text = format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n");
            if let Ok(Some((head, length))) = parse(text.as_bytes()) {
                assert!(length <= text.len());
                assert_eq!(head.method(), "GET");
            }
        }
    }
}
