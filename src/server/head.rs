//! The head of one HTTP/1 request (RFC 9112), read strictly: what two servers could understand
//! differently is refused, so that no proxy in front of this one can be tricked.

use std::mem::MaybeUninit;

use super::limits::MAX_HEADER_FIELDS;

/// Why a request is answered by the listener itself; its connection closes after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status of the reply.
    pub(super) status: u16,
    /// What was wrong, for the client.
    pub(super) detail: &'static str,
}

impl Refusal {
    pub(super) const fn new(status: u16, detail: &'static str) -> Self {
        Self { status, detail }
    }

    const fn bad(detail: &'static str) -> Self {
        Self::new(400, detail)
    }
}

/// The head of a request: its line and its header fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    content_length: u64,
    lacks_length: bool,
    keep_alive: bool,
    expects_continue: bool,
}

impl Head {
    /// The method as it came; methods are case-sensitive.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The target as it came: a path that starts with `/`, and perhaps a query; visible ASCII only.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The target without its query, not decoded.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(&self.target, |(path, _)| path)
    }

    /// The value of the field `name` (in any case), without white space around it. If it came several
    /// times, its values in order, joined by `, ` (cookies by `; `), as RFC 9110, section 5.2 has it.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The length of the body in bytes, 0 if there is none.
    pub fn content_length(&self) -> u64 {
        self.content_length
    }

    /// Whether the method lets a body be expected and no length of it was told. By RFC 9112, section 6.3,
    /// there is none then.
    pub fn lacks_length(&self) -> bool {
        self.lacks_length
    }

    /// Whether the client wants to go on after this request.
    pub fn keep_alive(&self) -> bool {
        self.keep_alive
    }

    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub(super) fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// The request for rouille's router.
    pub(super) fn into_request(self, remote: std::net::SocketAddr, body: Vec<u8>) -> rouille::Request {
        rouille::Request::fake_http_from(remote, self.method, self.target, self.fields, body)
    }
}

/// Reads the head at the start of `bytes`, which holds no empty line before it. Gives the head and its
/// length in bytes; `None` if it is not complete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut storage = [const { MaybeUninit::uninit() }; MAX_HEADER_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let length = match request.parse_with_uninit_headers(bytes, &mut storage) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(refusal(error)),
    };
    // The parser refuses a lone CR, but takes a lone LF for the end of a line.
    if bytes[..length].windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r') {
        return Err(Refusal::bad("a line of the head does not end in CR LF"));
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Ok(None);
    };
    check_target(target)?;
    let mut fields = Fields::default();
    for field in &*request.headers {
        fields.add(field.name, &String::from_utf8_lossy(field.value))?;
    }
    fields.into_head(method, target, minor).map(|head| Some((head, length)))
}

fn refusal(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::Version => Refusal::new(505, "only HTTP/1.1 and HTTP/1.0 are spoken here"),
        httparse::Error::TooManyHeaders => Refusal::new(431, "more than 64 header fields"),
        _ => Refusal::bad("the head is not HTTP/1.1; is the client speaking TLS or another protocol?"),
    }
}

fn check_target(target: &str) -> Result<(), Refusal> {
    if !target.starts_with('/') {
        return Err(Refusal::bad("expected a path as target, starting with /"));
    }
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(Refusal::bad("the target holds a byte that a URI must encode"));
    }
    Ok(())
}

/// The fields of a head while they are gathered, and what some of them mean.
#[derive(Default)]
struct Fields {
    list: Vec<(String, String)>,
    host: bool,
    content_length: Option<u64>,
    close: bool,
    expect: bool,
}

impl Fields {
    fn add(&mut self, name: &str, value: &str) -> Result<(), Refusal> {
        let value = value.trim_matches([' ', '\t']);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        if is("transfer-encoding") {
            return Err(Refusal::bad("Transfer-Encoding is not spoken here, send Content-Length"));
        } else if is("content-length") {
            if self.content_length.is_some() {
                return Err(Refusal::bad("more than one Content-Length"));
            }
            self.content_length = Some(decimal(value).ok_or(Refusal::bad("Content-Length is not a number"))?);
        } else if is("host") {
            if std::mem::replace(&mut self.host, true) {
                return Err(Refusal::bad("more than one Host"));
            }
            check_host(value)?;
        } else if is("connection") {
            self.close |= value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
        } else if is("expect") {
            if !value.eq_ignore_ascii_case("100-continue") {
                return Err(Refusal::new(417, "of Expect, only 100-continue is known here"));
            }
            self.expect = true;
        }
        match self.list.iter_mut().find(|(known, _)| is(known)) {
            Some((_, values)) => {
                values.push_str(if is("cookie") { "; " } else { ", " });
                values.push_str(value);
            }
            None => self.list.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    fn into_head(self, method: &str, target: &str, minor: u8) -> Result<Head, Refusal> {
        if minor == 1 && !self.host {
            return Err(Refusal::bad("HTTP/1.1 without Host"));
        }
        let lacks_length = matches!(method, "POST" | "PUT" | "PATCH") && self.content_length.is_none();
        let content_length = self.content_length.unwrap_or(0);
        if matches!(method, "GET" | "HEAD") && content_length > 0 {
            return Err(Refusal::bad("GET and HEAD have no body here"));
        }
        Ok(Head {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: self.list,
            content_length,
            lacks_length,
            // What follows may be a body whose length was not told.
            keep_alive: minor == 1 && !self.close && !lacks_length,
            expects_continue: minor == 1 && self.expect,
        })
    }
}

/// Digits only: `parse` alone would take `+5`.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A host and perhaps a port (RFC 3986, section 3.2), or nothing; no user, path or list.
fn check_host(value: &str) -> Result<(), Refusal> {
    let good = value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&b));
    if good { Ok(()) } else { Err(Refusal::bad("Host is not a host name with or without a port")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let (head, length) = parse(text.as_bytes()).expect("a good head").expect("a complete head");
        assert_eq!(length, text.len());
        head
    }

    #[test]
    fn a_head_tells_its_parts() {
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
    fn keep_alive() {
        let check = |text: &str, expected: bool| assert_eq!(head(text).keep_alive(), expected, "{text:?}");
        check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true);
        check("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Close\r\n\r\n", false);
        check("GET / HTTP/1.0\r\n\r\n", false);
        check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false);
    }

    #[test]
    fn a_length_that_is_not_told() {
        let head = head("POST / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(head.lacks_length() && !head.keep_alive());
        assert_eq!(head.content_length(), 0);
    }

    #[test]
    fn good_heads() {
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
    fn bad_heads() {
        let check = |fields: &str, status: u16| {
            let found = parse(fields.as_bytes()).map_err(|refusal| refusal.status);
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
    fn incomplete_heads() {
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
