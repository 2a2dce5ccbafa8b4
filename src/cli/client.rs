//! HTTP client for the API of a node, with limits on time and size and without redirects.

use std::fmt;
use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::styled_line::sanitize;
use crate::crypto::token::{MAX_TOKEN, SUBJECT};

/// The timeout of a whole request in seconds.
const TIMEOUT_S: u64 = 5;

/// The largest body of a successful reply in bytes.
const MAX_BODY: u64 = 16 << 20;

/// The largest head of a reply in bytes.
const MAX_HEAD: usize = 16 << 10;

/// The largest body of an error reply in bytes.
const MAX_PROBLEM: u64 = 4 << 10;

/// Error of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClientError {
    /// No connection, a connection that closed early, or a timeout.
    Unreachable(String),
    /// A status other than 200, with the detail of the reply, sanitized for a terminal.
    Refused(u16, String),
    /// A reply that cannot be used.
    Malformed(&'static str),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Refused(status, detail) if detail.is_empty() => {
                write!(f, "it answers with status {status}")
            }
            Self::Refused(status, detail) => write!(f, "it answers with status {status}: {detail}"),
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

/// Returns the body of `GET url` with a bearer token.
pub(super) fn get(url: &str, token: &str) -> Result<String, ClientError> {
    if !is_token(token) {
        return Err(ClientError::Malformed("expected a token of three parts in base64url"));
    }
    send(minreq::get(url).with_header("Authorization", format!("Bearer {token}")))
}

/// Requests a token from the node at `url` with its password.
pub(super) fn log_in(url: &str, password: &str) -> Result<String, ClientError> {
    #[derive(Deserialize)]
    struct Reply {
        access_token: String,
    }
    let credentials = STANDARD.encode(format!("{SUBJECT}:{password}"));
    let request =
        minreq::post(format!("{url}/token")).with_header("Authorization", format!("Basic {credentials}"));
    let malformed = ClientError::Malformed("it answers, but not with a token: is this a node?");
    match serde_json::from_str::<Reply>(&send(request)?) {
        Ok(reply) if is_token(&reply.access_token) => Ok(reply.access_token),
        _ => Err(malformed),
    }
}

/// Returns whether `text` consists of the characters of a JWT, so that it cannot add a header or control a terminal.
pub(super) fn is_token(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(letter)
}

fn send(request: minreq::Request) -> Result<String, ClientError> {
    let request = request
        .with_timeout(TIMEOUT_S)
        .with_follow_redirects(false)
        .with_max_headers_size(MAX_HEAD)
        .with_max_status_line_length(1024);
    // The client library may panic on a malformed reply.
    let result = std::panic::catch_unwind(|| fetch(request));
    result.unwrap_or(Err(ClientError::Malformed("it sent a malformed reply")))
}

fn fetch(request: minreq::Request) -> Result<String, ClientError> {
    let mut reply = request.send_lazy().map_err(|error| match error {
        minreq::Error::IoError(error) => unreachable(&error),
        error => ClientError::Unreachable(sanitize(&error.to_string(), 200)),
    })?;
    let status = reply.status_code;
    let limit = if status == 200 { MAX_BODY } else { MAX_PROBLEM };
    let mut body = Vec::new();
    let read = (&mut reply).take(limit + 1).read_to_end(&mut body);
    if status != 200 {
        return Err(ClientError::Refused(status, detail(&body)));
    }
    read.map_err(|error| unreachable(&error))?;
    if body.len() as u64 > limit {
        return Err(ClientError::Malformed("it answers with more than 16 MiB"));
    }
    String::from_utf8(body).map_err(|_| ClientError::Malformed("it answers with something other than UTF-8"))
}

fn unreachable(error: &io::Error) -> ClientError {
    ClientError::Unreachable(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!("no answer within {TIMEOUT_S} s"),
        _ => sanitize(&error.to_string(), 200),
    })
}

/// Returns the detail of a problem (RFC 9457), sanitized for a terminal.
fn detail(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        detail: String,
        #[serde(default)]
        title: String,
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if problem.detail.is_empty() => sanitize(&problem.title, 200),
        Ok(problem) => sanitize(&problem.detail, 200),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let check = |text: &str, expected: bool| assert_eq!(is_token(text), expected, "{text:?}");
        check("eyJ.eyJ-_.x0", true);
        check("", false);
        check("a b", false);
        check("a\r\nHost: x", false);
        check("a\u{1b}[2J", false);
        check(&"a".repeat(MAX_TOKEN), true);
        check(&"a".repeat(MAX_TOKEN + 1), false);
    }

    #[test]
    fn details_of_problems() {
        let check = |body: &str, expected: &str| assert_eq!(detail(body.as_bytes()), expected, "{body}");
        check(r#"{"title":"Unauthorized","detail":"log in"}"#, "log in");
        check(r#"{"title":"Unauthorized"}"#, "Unauthorized");
        check(r#"{"detail":"a\u001b[2Jb"}"#, "a?[2Jb");
        check("<html>", "");
        check("", "");
    }
}
