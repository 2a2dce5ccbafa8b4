//! A `rouille::Response` as bytes on the wire.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use rouille::Response;

/// The most that is gathered for one write, head included.
const PIECE: usize = 32 * 1024;

/// What is kept of a buffer between two replies.
const KEPT: usize = 8 * 1024;

/// Turns responses into bytes, piece by piece, in a buffer that it keeps.
#[derive(Default)]
pub(super) struct Writer {
    buffer: Vec<u8>,
    date: Date,
}

/// What is left of a reply once its first piece is in the buffer.
pub(super) struct Rest {
    reader: Box<dyn Read + Send>,
    left: Left,
}

enum Left {
    /// This many bytes.
    Exactly(u64),
    /// Until the reader ends: its length was not known, so closing the connection tells it.
    UntilEnd,
}

impl Writer {
    /// Puts the head and as much of the body as fits into the buffer. The length of the body decides
    /// whether the connection can stay: the second value says whether it must close. `body` is false
    /// for the reply to a HEAD.
    pub(super) fn begin(&mut self, response: Response, body: bool, close: bool) -> io::Result<(Rest, bool)> {
        let status = if (200..=599).contains(&response.status_code) { response.status_code } else { 500 };
        let (reader, size) = response.data.into_reader_and_size();
        let bodiless = matches!(status, 204 | 304);
        let close = close || (size.is_none() && body && !bodiless);
        self.buffer.clear();
        write!(self.buffer, "HTTP/1.1 {status} {}\r\nDate: {}\r\n", reason(status), self.date.now())?;
        for (name, value) in &response.headers {
            if is_ours(name) {
                continue;
            }
            if !is_field(name, value) {
                log::error!("left out the header field {name:?} of a reply: not a valid name or value");
                continue;
            }
            for part in [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.buffer.extend_from_slice(part);
            }
        }
        if let Some(size) = size.filter(|_| !bodiless) {
            write!(self.buffer, "Content-Length: {size}\r\n")?;
        }
        self.buffer.extend_from_slice(if close { b"Connection: close\r\n\r\n" } else { b"\r\n" });
        let left = match size {
            _ if !body || bodiless => Left::Exactly(0),
            Some(size) => Left::Exactly(size as u64),
            None => Left::UntilEnd,
        };
        let mut rest = Rest { reader, left };
        self.fill(&mut rest)?;
        Ok((rest, close))
    }

    /// The bytes to write now.
    pub(super) fn piece(&self) -> &[u8] {
        &self.buffer
    }

    /// Puts the next piece into the buffer; false if there is none.
    pub(super) fn next(&mut self, rest: &mut Rest) -> io::Result<bool> {
        self.buffer.clear();
        self.fill(rest)?;
        Ok(!self.buffer.is_empty())
    }

    /// Gives back what a large reply took.
    pub(super) fn end(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(KEPT);
    }

    fn fill(&mut self, rest: &mut Rest) -> io::Result<()> {
        let room = PIECE.saturating_sub(self.buffer.len()) as u64;
        match &mut rest.left {
            Left::Exactly(0) => {}
            Left::Exactly(left) => {
                let wanted = room.min(*left);
                self.buffer.reserve(usize::try_from(wanted).unwrap_or(PIECE));
                let read = rest.reader.by_ref().take(wanted).read_to_end(&mut self.buffer)? as u64;
                if read < wanted {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= read;
            }
            Left::UntilEnd => {
                rest.reader.by_ref().take(room).read_to_end(&mut self.buffer)?;
            }
        }
        Ok(())
    }
}

/// The fields that describe the connection are the listener's; a route cannot set them.
fn is_ours(name: &str) -> bool {
    const OURS: [&str; 6] =
        ["connection", "content-length", "date", "trailer", "transfer-encoding", "upgrade"];
    OURS.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Whether this may stand in a head: nothing that ends a line, or a text from a request could add fields.
fn is_field(name: &str, value: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        && !value.bytes().any(|b| b.is_ascii_control() && b != b'\t')
}

/// The current time as `Date` wants it, written anew once a second.
#[derive(Default)]
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text.clear();
            let _ = write!(self.text, "{}", httpdate::HttpDate::from(now));
        }
        &self.text
    }
}

/// The phrase for people that follows the status; clients ignore it.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use rouille::ResponseBody;

    use super::*;

    /// The whole reply without its date, whether the connection closes, and in how many pieces it came.
    fn render(response: Response, body: bool, close: bool) -> (String, bool, usize) {
        let mut writer = Writer::default();
        let (mut rest, close) = writer.begin(response, body, close).expect("a body in memory");
        let mut text = String::from_utf8(writer.piece().to_vec()).expect("text");
        let mut pieces = 1;
        while writer.next(&mut rest).expect("a body in memory") {
            text.push_str(std::str::from_utf8(writer.piece()).expect("text"));
            pieces += 1;
        }
        let date = text.find("Date: ").expect("a date");
        let end = date + text[date..].find("\r\n").expect("an end of line") + 2;
        assert!(text[date..end].ends_with(" GMT\r\n"), "{text}");
        text.replace_range(date..end, "");
        (text, close, pieces)
    }

    #[test]
    fn forms() {
        let check = |response: Response, body, close, expected: &str, closes| {
            assert_eq!(render(response, body, close), (expected.to_owned(), closes, 1));
        };
        let plain = || Response {
            headers: vec![("X".into(), "1".into())],
            ..Response {
                data: ResponseBody::from_string("hi"),
                ..Response::empty_204().with_status_code(200)
            }
        };
        check(plain(), true, false, "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\nhi", false);
        check(plain(), false, false, "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\n\r\n", false);
        check(
            plain(),
            true,
            true,
            "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            true,
        );
        check(Response::empty_204(), true, false, "HTTP/1.1 204 No Content\r\n\r\n", false);
        let not_modified = plain().with_status_code(304);
        check(not_modified, true, false, "HTTP/1.1 304 Not Modified\r\nX: 1\r\n\r\n", false);
        let odd = plain().with_status_code(42);
        check(
            odd,
            true,
            false,
            "HTTP/1.1 500 Internal Server Error\r\nX: 1\r\nContent-Length: 2\r\n\r\nhi",
            false,
        );
        let unknown =
            Response { data: ResponseBody::from_reader(io::Cursor::new("hi")), ..Response::empty_400() };
        check(unknown, true, false, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nhi", true);
    }

    #[test]
    fn fields_cannot_split_a_reply() {
        let mut response = Response::empty_404();
        for (name, value) in [
            ("Location", "/a\r\nSet-Cookie: x=1"),
            ("Bad\r\nName", "x"),
            ("", "x"),
            ("A:B", "x"),
            ("content-length", "99"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "upgrade"),
            ("Kept", "a\tb"),
        ] {
            response.headers.push((name.into(), value.into()));
        }
        let (text, ..) = render(response, true, false);
        assert_eq!(text, "HTTP/1.1 404 Not Found\r\nKept: a\tb\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn a_large_body_goes_in_pieces() {
        let large = "x".repeat(3 * PIECE);
        let (text, close, pieces) = render(Response::text(large.clone()), true, false);
        assert!(text.ends_with(&format!("\r\n\r\n{large}")));
        assert_eq!((close, pieces), (false, 4));
        let mut writer = Writer::default();
        writer.begin(Response::text(large), true, false).expect("a body in memory");
        writer.end();
        assert!(writer.buffer.capacity() <= KEPT);
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        let mut response = Response::empty_204().with_status_code(200);
        response.data = ResponseBody::from_reader_and_size(io::Cursor::new("hi"), 3);
        assert!(Writer::default().begin(response, true, false).is_err());
    }
}
