//! The urls of nodes: `http://` or `https://`, a host, optionally a port and a path. Queries and passwords are rejected
//! because they would appear in journals. `.` and `..` in paths are rejected because HTTP clients resolve them, so that the
//! path differs from the signed one.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::yaml::excerpt;

/// The port of a url without one, and the default port to listen on; the same as in v0.1.
pub(super) const DEFAULT_PORT: u16 = 8000;
/// The maximum length of a url, in bytes.
const MAX_URL: usize = 2048;

/// A valid url of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl {
    text: String,
    host: String,
    https: bool,
    port: Option<u16>,
}

/// The error for a text that is not a url of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, found \"{}\"", excerpt(found))]
pub struct BadUrl {
    expected: &'static str,
    found: String,
}

impl NodeUrl {
    /// Parses `text`. Removes slashes at the end and converts the scheme to lower case.
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let bad = |expected| BadUrl { expected, found: without_user(text) };
        if text.len() > MAX_URL {
            return Err(bad("a url of at most 2048 bytes"));
        }
        let (https, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, rest),
            _ => return Err(bad("a url that starts with http:// or https://")),
        };
        if !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("a url of visible ASCII characters (an international name as xn--…)"));
        }
        if rest.contains(['?', '#']) {
            return Err(bad("a url without ? and #"));
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.contains('@') {
            return Err(bad("a url without user name and password"));
        }
        let (host, port) =
            split_port(authority).ok_or_else(|| bad("a port from 1 to 65535 after the host"))?;
        if !is_host(host) {
            return Err(bad("a host name, an IPv4 address or an [IPv6 address]"));
        }
        let path = path.trim_end_matches('/');
        if !is_path(path) {
            return Err(bad("a path without \"//\", \".\", \"..\" and characters that must be %-encoded"));
        }
        let scheme = if https { "https" } else { "http" };
        let text = format!("{scheme}://{authority}{path}");
        Ok(Self { text, host: host.trim_matches(['[', ']']).to_owned(), https, port })
    }

    /// Returns the url, without a slash at the end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns whether traffic to this url is encrypted or does not leave this host.
    pub fn is_encrypted_or_loopback(&self) -> bool {
        let host = self.host.as_str();
        self.https
            || host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Returns the default port to listen on for a node with this url: the port of the url, or 8000 if the url has no
    /// port or is `https://`, since a proxy in front of the node listens at an https url.
    pub fn listen_port(&self) -> u16 {
        if self.https { DEFAULT_PORT } else { self.port.unwrap_or(DEFAULT_PORT) }
    }
}

/// Returns `text` for error messages, without what may be a password.
fn without_user(text: &str) -> String {
    let Some((before, rest)) = text.rsplit_once('@') else { return text.to_owned() };
    let scheme = before.find("://").map_or("", |at| &before[..at + 3]);
    format!("{scheme}…@{rest}")
}

/// Splits `authority` into host and port. Returns `None` for an invalid port.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after_address = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None if authority.starts_with('[') => authority.len(),
        None => 0,
    };
    let Some(colon) = authority[after_address..].find(':') else { return Some((authority, None)) };
    let (host, port) = authority.split_at(after_address + colon);
    let port = &port[1..];
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    port.parse().ok().filter(|port| *port != 0).map(|port| (host, Some(port)))
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A host that ends in a number must be an IPv4 address (WHATWG URL, "ends in a number").
    let numeric = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && (!numeric || name.parse::<Ipv4Addr>().is_ok())
}

/// Returns whether proxies and clients leave `path` (empty or `/a/b`) unchanged: only characters of RFC 3986, no dot
/// segments, no empty segments.
fn is_path(path: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%".contains(&b);
    let encoded = |segment: &str| {
        segment
            .split('%')
            .skip(1)
            .all(|rest| rest.len() >= 2 && rest.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit))
    };
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed) && encoded(segment)
    };
    path.is_empty() || path[1..].split('/').all(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_urls() {
        let check = |text: &str, expected: &str, host: &str, listen_port: u16| {
            let url = NodeUrl::parse(text).expect(text);
            assert_eq!(
                (url.as_str(), url.host(), url.listen_port()),
                (expected, host, listen_port),
                "{text}"
            );
        };
        check("http://10.0.0.1:8000", "http://10.0.0.1:8000", "10.0.0.1", 8000);
        check("http://10.0.0.1:9000/", "http://10.0.0.1:9000", "10.0.0.1", 9000);
        check("HTTP://Node_1.example.:81//", "http://Node_1.example.:81", "Node_1.example.", 81);
        check("http://host", "http://host", "host", 8000);
        check("https://host:8443/a/b%20c/", "https://host:8443/a/b%20c", "host", 8000);
        check("http://[::1]:7", "http://[::1]:7", "::1", 7);
        check("http://[fe80::1]", "http://[fe80::1]", "fe80::1", 8000);
        check("http://h/~x/(y)", "http://h/~x/(y)", "h", 8000);
    }

    #[test]
    fn invalid_urls() {
        let check = |text: &str, expected: &str| {
            let error = NodeUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        };
        for text in ["", "node-1:8000", "ftp://h", "http:/h", "//h"] {
            check(text, "starts with http:// or https://");
        }
        for text in ["http://h:", "http://h:0", "http://h:65536", "http://h:+1", "http://h:1:2", "http://::1"]
        {
            check(text, "a port from 1 to 65535");
        }
        for text in [
            "http://",
            "http:///x",
            "http://a..b",
            "http://-a",
            "http://[::1",
            "http://[::g]",
            "http://1.2.3",
            "http://256.1.1.1",
            "http://a%20b",
            "http://[::1]x",
            "http://[1.2.3.4]",
        ] {
            check(text, "a host name");
        }
        check(&format!("http://{}", "a".repeat(64)), "a host name");
        for text in
            ["http://h/a//b", "http://h/./a", "http://h/a/..", "http://h/%2", "http://h/%zz", "http://h/a|b"]
        {
            check(text, "a path without");
        }
        check("http://u:p@h", "without user name");
        check("http://u:p@h", "found \"http://…@h\"");
        check("ftp://u:p@x@h/", "found \"ftp://…@h/\"");
        check("http://h/?q", "without ? and #");
        check("http://h#f", "without ? and #");
        for text in ["http://ä.example", "http://h /", "http://h\n", "http://h\0"] {
            check(text, "visible ASCII");
        }
        check(&format!("http://h/{}", "a".repeat(2048)), "at most 2048 bytes");
    }

    proptest::proptest! {
        #[test]
        fn parsing_is_idempotent(text in "https?://[-a-c0-9.:\\[\\]/%@?]{0,30}") {
            if let Ok(url) = NodeUrl::parse(&text) {
                proptest::prop_assert_eq!(NodeUrl::parse(url.as_str()), Ok(url));
            }
        }
    }
}
