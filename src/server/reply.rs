//! Replies: the serialization of a `rouille::Response`.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use rouille::Response;

/// The maximum size of one write in bytes, head included.
const CHUNK_BYTES: usize = 32 * 1024;

/// The capacity of the buffer that is retained between two replies, in bytes.
const RETAINED_BYTES: usize = 8 * 1024;

/// How a reply is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplyMode {
    /// False for the reply to a HEAD.
    pub(super) with_body: bool,
    /// The connection closes after the reply.
    pub(super) close: bool,
}

impl ReplyMode {
    pub(super) fn closing(self) -> Self {
        Self { close: true, ..self }
    }
}

/// A serializer of responses that produces chunks in a reused buffer.
#[derive(Default)]
pub(super) struct ReplyWriter {
    buffer: Vec<u8>,
    date: Date,
}

/// The part of a body that follows the first chunk of its reply.
pub(super) struct BodyStream {
    reader: Box<dyn Read + Send>,
    remaining: Remaining,
}

impl BodyStream {
    /// Returns whether the current chunk is the last one.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.remaining, Remaining::Bytes(0))
    }
}

enum Remaining {
    /// A known number of bytes.
    Bytes(u64),
    /// An unknown number of bytes, whose end the close of the connection marks.
    UntilEnd,
}

impl ReplyWriter {
    /// Fills the chunk with the head and the start of the body. Returns the rest of the body and whether the
    /// connection must close, as it must after a body of unknown length.
    pub(super) fn begin(&mut self, response: Response, mode: ReplyMode) -> io::Result<(BodyStream, bool)> {
        let status = if (200..=599).contains(&response.status_code) { response.status_code } else { 500 };
        let (reader, size) = response.data.into_reader_and_size();
        let bodiless = matches!(status, 204 | 304);
        let close = mode.close || (size.is_none() && mode.with_body && !bodiless);
        self.buffer.clear();
        write!(self.buffer, "HTTP/1.1 {status} {}\r\nDate: {}\r\n", reason(status), self.date.now())?;
        for (name, value) in &response.headers {
            if is_reserved(name) {
                continue;
            }
            if !is_valid_field(name, value) {
                log::error!("omitted the header field {name:?} from a reply: its name or value is invalid");
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
        let remaining = match size {
            _ if !mode.with_body || bodiless => Remaining::Bytes(0),
            Some(size) => Remaining::Bytes(size as u64),
            None => Remaining::UntilEnd,
        };
        let mut body = BodyStream { reader, remaining };
        self.fill(&mut body)?;
        Ok((body, close))
    }

    /// Returns the current chunk.
    pub(super) fn chunk(&self) -> &[u8] {
        &self.buffer
    }

    /// Fills the next chunk; returns false at the end of the body.
    pub(super) fn next_chunk(&mut self, body: &mut BodyStream) -> io::Result<bool> {
        self.buffer.clear();
        self.fill(body)?;
        Ok(!self.buffer.is_empty())
    }

    /// Releases the memory of a large reply.
    pub(super) fn finish(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(RETAINED_BYTES);
    }

    fn fill(&mut self, body: &mut BodyStream) -> io::Result<()> {
        let room = CHUNK_BYTES.saturating_sub(self.buffer.len()) as u64;
        match &mut body.remaining {
            Remaining::Bytes(0) => {}
            Remaining::Bytes(remaining) => {
                let wanted = room.min(*remaining);
                self.buffer.reserve(usize::try_from(wanted).unwrap_or(CHUNK_BYTES));
                let read = body.reader.by_ref().take(wanted).read_to_end(&mut self.buffer)? as u64;
                if read < wanted {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *remaining -= read;
            }
            Remaining::UntilEnd => {
                let read = body.reader.by_ref().take(room).read_to_end(&mut self.buffer)? as u64;
                if read < room {
                    body.remaining = Remaining::Bytes(0);
                }
            }
        }
        Ok(())
    }
}

/// Returns whether the field describes the connection, which the listener controls and routes cannot set.
fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 6] =
        ["connection", "content-length", "date", "trailer", "transfer-encoding", "upgrade"];
    RESERVED.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Returns whether name and value are valid in a head: text from a request must not end a line and so add
/// fields.
fn is_valid_field(name: &str, value: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        && !value.bytes().any(|b| b.is_ascii_control() && b != b'\t')
}

/// The current time in the format of the `Date` field, formatted once a second.
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

/// Returns the reason phrase of a status, empty for an unknown one; clients ignore it.
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
        426 => "Upgrade Required",
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

    const KEEP_ALIVE: ReplyMode = ReplyMode { with_body: true, close: false };

    /// Returns the whole reply without its date, whether the connection closes, and the number of chunks.
    fn render(response: Response, with_body: bool, close: bool) -> (String, bool, usize) {
        let mut writer = ReplyWriter::default();
        let mode = ReplyMode { with_body, close };
        let (mut body, close) = writer.begin(response, mode).expect("a body in memory");
        let mut text = String::from_utf8(writer.chunk().to_vec()).expect("text");
        let mut chunks = 1;
        while writer.next_chunk(&mut body).expect("a body in memory") {
            text.push_str(std::str::from_utf8(writer.chunk()).expect("text"));
            chunks += 1;
        }
        let date = text.find("Date: ").expect("a date");
        let end = date + text[date..].find("\r\n").expect("an end of line") + 2;
        assert!(text[date..end].ends_with(" GMT\r\n"), "{text}");
        text.replace_range(date..end, "");
        (text, close, chunks)
    }

    #[test]
    fn status_length_and_connection_are_written() {
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
    fn invalid_and_reserved_fields_are_omitted() {
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
    fn a_large_body_is_written_in_chunks() {
        let large = "x".repeat(3 * CHUNK_BYTES);
        let (text, close, chunks) = render(Response::text(large.clone()), true, false);
        assert!(text.ends_with(&format!("\r\n\r\n{large}")));
        assert_eq!((close, chunks), (false, 4));
        let mut writer = ReplyWriter::default();
        writer.begin(Response::text(large), KEEP_ALIVE).expect("a body in memory");
        writer.finish();
        assert!(writer.buffer.capacity() <= RETAINED_BYTES);
    }

    #[test]
    fn a_body_that_ends_early_is_an_error() {
        let mut response = Response::empty_204().with_status_code(200);
        response.data = ResponseBody::from_reader_and_size(io::Cursor::new("hi"), 3);
        assert!(ReplyWriter::default().begin(response, KEEP_ALIVE).is_err());
    }
}
