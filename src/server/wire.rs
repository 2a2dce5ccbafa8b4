//! A socket whose reads and writes end in time.
//!
//! The socket blocks, and the kernel ends the wait: that costs no call of its own, as a `poll` before
//! each read would, as long as the time allowed stays the same.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// The shortest wait that the kernel keeps apart from "for ever".
const SHORTEST: Duration = Duration::from_millis(1);

/// A connected socket, and the waits that are set on it.
pub(super) struct Wire<'a> {
    stream: &'a TcpStream,
    read_wait: Option<Duration>,
    write_wait: Option<Duration>,
}

impl<'a> Wire<'a> {
    pub(super) fn new(stream: &'a TcpStream) -> Self {
        // Each reply is one write, so there is nothing to wait for; if this fails, replies are slower.
        let _ = stream.set_nodelay(true);
        Self { stream, read_wait: None, write_wait: None }
    }

    /// Reads what is there, or waits for it at most `allowed`; [`io::ErrorKind::TimedOut`] after that.
    /// 0 at the end of the stream.
    pub(super) fn read(&mut self, buffer: &mut [u8], allowed: Duration) -> io::Result<usize> {
        if self.read_wait != Some(allowed) {
            self.stream.set_read_timeout(Some(allowed.max(SHORTEST)))?;
            self.read_wait = Some(allowed);
        }
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(timed_out),
            }
        }
    }

    /// As [`Self::read`], until `deadline`.
    pub(super) fn read_until(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        self.read(buffer, left(deadline)?)
    }

    /// Writes all of `bytes` before `allowed`, counted from `start`, has passed.
    pub(super) fn write_all(&mut self, bytes: &[u8], start: Instant, allowed: Duration) -> io::Result<()> {
        let mut rest = bytes;
        // The whole time is used for a first write, which mostly is the only one: no call to set it.
        let mut wait = if start.elapsed() < SHORTEST { allowed } else { left(start + allowed)? };
        loop {
            if self.write_wait != Some(wait) {
                self.stream.set_write_timeout(Some(wait.max(SHORTEST)))?;
                self.write_wait = Some(wait);
            }
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error)),
            }
            if rest.is_empty() {
                return Ok(());
            }
            wait = left(start + allowed)?;
        }
    }

    /// Says that nothing more will be written, then reads and drops what still comes, at most `bytes`
    /// and for at most `time`. A socket that is closed with unread bytes resets the connection, and
    /// the client may lose the reply.
    pub(super) fn linger(&mut self, scratch: &mut [u8], bytes: usize, time: Duration) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + time;
        let mut dropped = 0;
        while dropped < bytes {
            match self.read_until(scratch, deadline) {
                Ok(0) | Err(_) => return,
                Ok(read) => dropped += read,
            }
        }
    }

    /// Makes the close a reset: the kernel forgets at once what the client never read.
    pub(super) fn abort(&self) {
        let _ = rustix::net::sockopt::set_socket_linger(self.stream, Some(Duration::ZERO));
    }
}

/// The time until `deadline`, an error if it has passed.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The kernel says `EAGAIN` when the wait is over.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}
