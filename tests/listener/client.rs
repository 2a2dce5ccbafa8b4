//! A client that sends raw bytes and reads replies.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// The longest wait for an expected event; only a failing test reaches it.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a server under test.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

/// One reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::wrap(TcpStream::connect_timeout(&address, TEST_TIMEOUT).expect("a listener"))
    }

    /// Connects from another loopback address, such as 127.0.0.2.
    pub(crate) fn connect_from(from: &str, address: SocketAddr) -> io::Result<Self> {
        let family = AddressFamily::INET;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        let from: SocketAddr = format!("{from}:0").parse().expect("an address");
        rustix::net::bind(&socket, &from)?;
        rustix::net::connect(&socket, &address)?;
        Ok(Self::wrap(socket.into()))
    }

    fn wrap(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(TEST_TIMEOUT)).expect("a socket");
        stream.set_write_timeout(Some(TEST_TIMEOUT)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, received: Vec::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("the server reads");
        self
    }

    /// Sends `GET path` with additional `fields`, and returns the reply.
    pub(crate) fn get(&mut self, path: &str, fields: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n")).reply()
    }

    /// Returns the next reply.
    pub(crate) fn reply(&mut self) -> Reply {
        self.try_reply(true).expect("a reply")
    }

    /// Returns the next reply, to a HEAD.
    pub(crate) fn reply_without_body(&mut self) -> Reply {
        self.try_reply(false).expect("a reply")
    }

    pub(crate) fn try_reply(&mut self, with_body: bool) -> io::Result<Reply> {
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if self.receive()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8(self.received.drain(..end).collect()).expect("a head of ASCII");
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let mut reply = Reply { status, head, body: Vec::new() };
        if !with_body || matches!(status, 100 | 204 | 304) {
            return Ok(reply);
        }
        let length = reply.header("content-length").map(|length| length.parse().expect("a number"));
        while self.received.len() < length.unwrap_or(usize::MAX) {
            if self.receive()? == 0 {
                if length.is_some() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                break;
            }
        }
        reply.body = self.received.drain(..length.unwrap_or(self.received.len())).collect();
        Ok(reply)
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let read = self.stream.read(&mut buffer)?;
        self.received.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    /// Waits until the server closes the connection; returns the bytes it sent before that.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.receive() {
                Ok(0) => return std::mem::take(&mut self.received),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return std::mem::take(&mut self.received);
                }
                Err(error) => panic!("the server did not close: {error}"),
            }
        }
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }
}

/// Waits until `condition` is true; `what` describes it in the failure message.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timeout while waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
