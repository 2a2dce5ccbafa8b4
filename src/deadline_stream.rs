//! A stream whose reads and writes have deadlines.
//!
//! The socket blocks with the kernel's timeout set. While the timeout stays the same, this needs no additional
//! system call, unlike `poll` before each read.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The shortest timeout: the kernel would treat 0 as none.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);

/// A connected socket with the timeouts that are set on it.
pub(crate) struct DeadlineStream<'a> {
    stream: &'a TcpStream,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl<'a> DeadlineStream<'a> {
    pub(crate) fn new(stream: &'a TcpStream) -> Self {
        // Each message is one write, so waiting for more is useless; a failure only makes messages slower.
        let _ = stream.set_nodelay(true);
        Self { stream, read_timeout: None, write_timeout: None }
    }

    /// Reads available bytes, or waits up to `timeout` for them. Returns their number, 0 at the end of the
    /// stream; fails with [`io::ErrorKind::TimedOut`].
    pub(crate) fn read(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        if self.read_timeout != Some(timeout) {
            self.stream.set_read_timeout(Some(timeout.max(MIN_TIMEOUT)))?;
            self.read_timeout = Some(timeout);
        }
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map_err(timed_out),
            }
        }
    }

    /// Like [`Self::read`], but waits until `deadline`.
    pub(crate) fn read_until(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        self.read(buffer, remaining(deadline)?)
    }

    /// Writes all of `bytes` within `timeout` after `start`; fails with [`io::ErrorKind::TimedOut`].
    pub(crate) fn write_all(&mut self, bytes: &[u8], start: Instant, timeout: Duration) -> io::Result<()> {
        let mut rest = bytes;
        // The first write, usually the only one, uses the full timeout, which is set already.
        let mut wait = if start.elapsed() < MIN_TIMEOUT { timeout } else { remaining(start + timeout)? };
        loop {
            if self.write_timeout != Some(wait) {
                self.stream.set_write_timeout(Some(wait.max(MIN_TIMEOUT)))?;
                self.write_timeout = Some(wait);
            }
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error)),
            }
            if rest.is_empty() {
                return Ok(());
            }
            wait = remaining(start + timeout)?;
        }
    }

    /// Ends the writing side, then reads and discards bytes, up to `bytes` and for up to `timeout`. Closing a
    /// socket with unread bytes resets the connection, and the other side may lose the reply.
    pub(crate) fn drain(&mut self, scratch: &mut [u8], bytes: usize, timeout: Duration) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let deadline = Instant::now() + timeout;
        let mut discarded = 0;
        while discarded < bytes {
            match self.read_until(scratch, deadline) {
                Ok(0) | Err(_) => return,
                Ok(read) => discarded += read,
            }
        }
    }

    /// Returns whether the other side has closed the connection, or its half of it.
    pub(super) fn has_ended(&self) -> bool {
        let mut watched = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Makes the close a reset, which discards bytes that the other side has not read.
    pub(crate) fn abort(&self) {
        let _ = rustix::net::sockopt::set_socket_linger(self.stream, Some(Duration::ZERO));
    }
}

/// Returns the time until `deadline`; fails with [`io::ErrorKind::TimedOut`] if it has passed.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(remaining) }
}

/// Converts `EAGAIN`, which the kernel returns after a timeout.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}
