use proptest::prelude::*;

use super::*;

/// A stream that returns at most `step` bytes from a read.
struct Slow<'a> {
    bytes: &'a [u8],
    step: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.step.min(buffer.len());
        self.bytes.read(&mut buffer[..length])
    }
}

/// The result of a reply, independent of how its bytes arrive.
fn read(bytes: &[u8]) -> Result<(u16, Vec<u8>), Failure> {
    let mut results = [usize::MAX, 700, 3, 1].map(|step| {
        let step = if bytes.len() > 100_000 { step.max(700) } else { step };
        read_reply(Slow { bytes, step }).map(|reply| (reply.status, reply.body)).map_err(
            |error| match error {
                ReplyError::Stream(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                    Failure::Reset
                }
                ReplyError::Reply(failure) => failure,
            },
        )
    });
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    assert!(results.iter().all(|result| *result == results[0]), "{shown}: {results:?}");
    std::mem::replace(&mut results[0], Err(Failure::Other))
}

fn check(bytes: impl AsRef<[u8]>, expected: Result<(u16, &str), Failure>) {
    let bytes = bytes.as_ref();
    let expected = expected.map(|(status, body)| (status, body.as_bytes().to_vec()));
    assert_eq!(read(bytes), expected, "{}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)]));
}

const COMPLETE: [&str; 4] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n1 ; a=\"b\"\r\no\r\n0\r\nA: b\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello",
    "HTTP/1.0 200\r\nTRANSFER-ENCODING: Chunked\r\nContent-Length: 9\r\n\r\n5\r\nhello\r\n000\r\n\r\n",
];

#[test]
fn complete_replies_are_read_and_shorter_ones_are_resets() {
    for text in COMPLETE {
        check(text, Ok((200, "hello")));
        check(format!("{text}more"), Ok((200, "hello")));
        for length in 0..text.len() {
            check(&text[..length], Err(Failure::Reset));
        }
    }
}

#[test]
fn replies_without_a_length_end_with_the_connection() {
    let head = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    check(head, Ok((200, "")));
    check(format!("{head}hello"), Ok((200, "hello")));
    for status in [204, 304] {
        check(format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\nhello"), Ok((status, "")));
    }
}

#[test]
fn headers_are_trimmed_and_bytes_kept_readable() {
    let reply = b"HTTP/1.1 200 OK\r\nA:  b \t\r\nA:\xe4\r\nContent-Length: 0\r\n\r\n";
    let reply = read_reply(&reply[..]).expect("a reply");
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    assert_eq!(headers, [("A", "b"), ("A", "\u{fffd}"), ("Content-Length", "0")]);
}

#[test]
fn malformed_replies_are_rejected() {
    for text in [
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 600 X\r\n\r\n",
        "HTTP/1.1 099 X\r\n\r\n",
        "HTTP/1.1 20 X\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    ] {
        check(text, Err(Failure::BadReply));
    }
    check("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\nContent-Length: 1\r\n\r\nab", Ok((200, "a")));
}

#[test]
fn heads_are_limited() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let end = "Content-Length: 0\r\n\r\n";
    let field = |total: usize| format!("{ok}A: {}\r\n{end}", "x".repeat(total - ok.len() - 5 - end.len()));
    assert_eq!(field(MAX_HEAD).len(), MAX_HEAD);
    check(field(MAX_HEAD), Ok((200, "")));
    check(field(MAX_HEAD + 1), Err(Failure::TooLarge));
    let fields = |count| format!("{ok}{}{end}", "A: b\r\n".repeat(count - 1));
    check(fields(MAX_FIELDS), Ok((200, "")));
    check(fields(MAX_FIELDS + 1), Err(Failure::TooLarge));
    let status = |length: usize| format!("HTTP/1.1 200 {}\n{end}", "x".repeat(length - 14));
    check(status(MAX_LINE + 1), Ok((200, "")));
    check(status(MAX_LINE + 2), Err(Failure::TooLarge));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let fitting = (MAX_HEAD - ok.len() - end.len()) / interim.len();
    check(format!("{}{ok}{end}", interim.repeat(fitting)), Ok((200, "")));
    check(format!("{}{ok}{end}", interim.repeat(fitting + 1)), Err(Failure::TooLarge));
}

#[test]
fn bodies_are_limited() {
    let full = "x".repeat(MAX_BYTES);
    let length = |length: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{full}x");
    check(length(&MAX_BYTES.to_string()), Ok((200, &full)));
    check(length(&(MAX_BYTES + 1).to_string()), Err(Failure::TooLarge));
    check(length("99999999999999999999999"), Err(Failure::TooLarge));
    check(format!("HTTP/1.1 200 OK\r\n\r\n{full}"), Ok((200, &full)));
    check(format!("HTTP/1.1 200 OK\r\n\r\n{full}x"), Err(Failure::TooLarge));
    let chunked = |rest: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
    check(chunked(&format!("{MAX_BYTES:x}\r\n{full}\r\n0\r\n\r\n")), Ok((200, &full)));
    check(chunked(&format!("{MAX_BYTES:x}\r\n{full}\r\n1\r\nx\r\n0\r\n\r\n")), Err(Failure::TooLarge));
    check(chunked("ffffffffffffffff\r\n"), Err(Failure::TooLarge));
    check(chunked("fffffffffffffffff\r\n"), Err(Failure::BadReply));
    let extension = |length: usize| chunked(&format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(length - 4)));
    check(extension(MAX_LINE), Ok((200, "x")));
    check(extension(MAX_LINE + 1), Err(Failure::TooLarge));
}

#[test]
fn endless_chunk_framing_is_limited() {
    for (first, repeated) in
        [("", &format!("1;{}\r\nx\r\n", "x".repeat(1000))), ("0\r\n", &"A: b\r\n".to_owned())]
    {
        let head = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{first}");
        let mut stream = head.as_bytes().chain(Repeat { bytes: repeated.as_bytes(), at: 0, sent: 0 });
        let result = read_reply(&mut stream);
        assert!(matches!(result, Err(ReplyError::Reply(Failure::TooLarge))), "{repeated}: {result:?}");
        let (_, repeat) = stream.into_inner();
        assert!(repeat.sent <= 2 * MAX_BYTES as u64 + MAX_HEAD as u64, "{}", repeat.sent);
    }
}

/// The same bytes again and again.
struct Repeat<'a> {
    bytes: &'a [u8],
    at: usize,
    sent: u64,
}

impl Read for Repeat<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = (&self.bytes[self.at..]).read(buffer)?;
        self.at = (self.at + read) % self.bytes.len();
        self.sent += read as u64;
        Ok(read)
    }
}

proptest! {
    #[test]
    fn random_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }

    #[test]
    fn damaged_replies_are_never_a_panic(
        reply in 0..COMPLETE.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = COMPLETE[reply].as_bytes().to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read(&bytes);
    }
}
