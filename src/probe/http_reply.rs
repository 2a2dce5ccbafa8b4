//! Reads an HTTP/1 reply (RFC 9112) under hard limits. The connection ends with it, so nothing after the reply matters.

use std::io::{self, BufRead as _, BufReader, Read};
use std::mem::MaybeUninit;

use crate::mesh::wire::message::MAX_BYTES;
use crate::mesh::wire::observation::Failure;

/// The maximum size of the heads of a reply, in bytes, interim replies included.
const MAX_HEAD: usize = 16 * 1024;
/// The maximum length of a status line or of the size line of a chunk, in bytes.
const MAX_LINE: usize = 1024;
/// The maximum number of header fields.
const MAX_FIELDS: usize = 64;
/// The maximum size of a chunked body with its sizes, extensions and trailers, in bytes.
const MAX_CHUNKED: u64 = 2 * MAX_BYTES as u64;
/// The initial memory for a body, in bytes; more only as bytes arrive.
const INITIAL_BODY: usize = 64 * 1024;

/// A complete, unverified reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// How the end of a body is found (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    EndOfStream,
}

/// The status and header fields of a reply.
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
    /// The size in bytes.
    size: usize,
}

/// The reason why a reply could not be read.
#[derive(Debug)]
pub(super) enum ReplyError {
    /// The stream failed, or ended early: [`io::ErrorKind::UnexpectedEof`].
    Stream(io::Error),
    /// The reply is malformed or too large.
    Reply(Failure),
}

impl From<io::Error> for ReplyError {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

impl From<Failure> for ReplyError {
    fn from(failure: Failure) -> Self {
        Self::Reply(failure)
    }
}

/// Reads one reply from `stream`, without interim replies (1xx).
pub(super) fn read_reply(mut stream: impl Read) -> Result<Reply, ReplyError> {
    let mut buffer = vec![0; MAX_HEAD];
    let (mut start, mut end) = (0, 0);
    let head = loop {
        match parse_head(&buffer[start..end])? {
            // This client does not ask for another protocol.
            Some(Head { status: 101, .. }) => return Err(Failure::BadReply.into()),
            Some(head) if head.status < 200 => start += head.size,
            Some(head) => break head,
            None => end += read_until_line_end(&mut stream, &mut buffer[end..])?,
        }
    };
    let received = &buffer[start + head.size..end];
    let framing = framing(&head)?;
    let body = read_body(received.chain(stream), framing)?;
    Ok(Reply { status: head.status, headers: head.headers, body })
}

/// Reads into `space` until the end of a line has arrived, since parsing again is useless before, or the stream ends.
fn read_until_line_end(stream: &mut impl Read, space: &mut [u8]) -> Result<usize, ReplyError> {
    let mut received = 0;
    loop {
        if received == space.len() {
            return Err(Failure::TooLarge.into());
        }
        let read = stream.read(&mut space[received..])?;
        let has_line_end = space[received..received + read].contains(&b'\n');
        received += read;
        if received == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if has_line_end || read == 0 {
            return Ok(received);
        }
    }
}

/// Parses the head at the start of `bytes`. Returns `None` if it is not complete.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    // httparse skips any number of empty lines.
    if bytes.first().is_some_and(u8::is_ascii_whitespace) {
        return Err(Failure::BadReply);
    }
    let line_end = bytes.iter().take(MAX_LINE + 1).position(|byte| *byte == b'\n');
    if line_end.is_none() && bytes.len() > MAX_LINE {
        return Err(Failure::TooLarge);
    }
    let mut storage = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut reply = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut reply, bytes, &mut storage);
    let size = match parsed {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Failure::TooLarge),
        Err(_) => return Err(Failure::BadReply),
    };
    // RFC 9110, section 15: other numbers are not status codes.
    let status = reply.code.filter(|code| (100..600).contains(code)).ok_or(Failure::BadReply)?;
    let fields = reply.headers.iter();
    let headers = fields.map(|field| (field.name.to_owned(), text(field.value))).collect();
    Ok(Some(Head { status, headers, size }))
}

/// Converts a value of a header field, without white space around it.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.trim_ascii()).into_owned()
}

fn framing(head: &Head) -> Result<Framing, Failure> {
    if matches!(head.status, 204 | 304) {
        return Ok(Framing::Length(0));
    }
    let values = |name: &'static str| {
        let fields = head.headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        fields.flat_map(|(_, value)| value.split(',')).map(str::trim)
    };
    let mut codings = values("transfer-encoding");
    match (codings.next(), codings.next()) {
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") => return Ok(Framing::Chunked),
        (None, _) => {}
        // This client offers no other coding.
        _ => return Err(Failure::BadReply),
    }
    let mut lengths = values("content-length");
    let Some(first) = lengths.next() else { return Ok(Framing::EndOfStream) };
    if first.is_empty()
        || !first.bytes().all(|byte| byte.is_ascii_digit())
        || lengths.any(|other| other != first)
    {
        return Err(Failure::BadReply);
    }
    // A number that does not fit is too large as well.
    let length = first.parse().ok().filter(|length| *length <= MAX_BYTES).ok_or(Failure::TooLarge)?;
    Ok(Framing::Length(length))
}

fn read_body(stream: impl Read, framing: Framing) -> Result<Vec<u8>, ReplyError> {
    match framing {
        Framing::Length(length) => {
            let mut body = Vec::with_capacity(length.min(INITIAL_BODY));
            read_exactly(stream, length, &mut body)?;
            Ok(body)
        }
        Framing::Chunked => read_chunks(stream),
        Framing::EndOfStream => {
            let mut body = Vec::new();
            stream.take(MAX_BYTES as u64 + 1).read_to_end(&mut body)?;
            if body.len() > MAX_BYTES { Err(Failure::TooLarge.into()) } else { Ok(body) }
        }
    }
}

/// Appends `length` bytes of `stream` to `body`.
fn read_exactly(stream: impl Read, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
    let read = stream.take(length as u64).read_to_end(body)?;
    if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Reads a chunked body and its trailer (RFC 9112, section 7.1). The trailer is discarded: no signature covers it.
fn read_chunks(stream: impl Read) -> Result<Vec<u8>, ReplyError> {
    let mut stream = BufReader::new(stream.take(MAX_CHUNKED));
    let mut body = Vec::new();
    let mut line = Vec::new();
    loop {
        read_line(&mut stream, &mut line)?;
        let Ok(httparse::Status::Complete((_, size))) = httparse::parse_chunk_size(&line) else {
            return Err(Failure::BadReply.into());
        };
        // httparse accepts a line without a digit.
        if !line[0].is_ascii_hexdigit() {
            return Err(Failure::BadReply.into());
        }
        if size == 0 {
            break;
        }
        let fits = |size: &usize| *size <= MAX_BYTES - body.len();
        let size = usize::try_from(size).ok().filter(fits).ok_or(Failure::TooLarge)?;
        read_exactly(&mut stream, size, &mut body)?;
        read_line(&mut stream, &mut line)?;
        if line != b"\r\n" {
            return Err(Failure::BadReply.into());
        }
    }
    while line != b"\r\n" {
        read_line(&mut stream, &mut line)?;
    }
    Ok(body)
}

/// Reads a line with its end into `line`.
fn read_line<S: Read>(stream: &mut BufReader<io::Take<S>>, line: &mut Vec<u8>) -> Result<(), ReplyError> {
    line.clear();
    stream.by_ref().take(MAX_LINE as u64).read_until(b'\n', line)?;
    if line.ends_with(b"\n") {
        Ok(())
    } else if line.len() == MAX_LINE || stream.get_ref().limit() == 0 {
        Err(Failure::TooLarge.into())
    } else {
        Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
    }
}

#[cfg(test)]
mod tests;
