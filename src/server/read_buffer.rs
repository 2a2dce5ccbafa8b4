//! The read buffer of a connection: received bytes that no request has consumed yet.

use super::request_head::{self, RequestError, RequestHead};

/// The size of the buffer between two requests, in bytes; a large head grows it.
const MIN_SIZE: usize = 4 * 1024;

/// Received bytes that no request has consumed yet.
#[derive(Default)]
pub(super) struct ReadBuffer {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The end of the bytes that were searched for an empty line.
    searched: usize,
    /// The number of bytes at which an incomplete head is parsed again.
    parse_at: usize,
}

impl ReadBuffer {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Removes and returns the head at the start of the buffer; `None` if it is not complete. Fails if the
    /// head is malformed, or incomplete at `max_bytes`.
    pub(super) fn take_head(&mut self, max_bytes: usize) -> Result<Option<RequestHead>, RequestError> {
        self.skip_empty_lines();
        let length = self.bytes().len();
        // A head that arrives byte by byte is not parsed again for each byte.
        if length > 0 && (self.has_new_empty_line() || length >= self.parse_at) {
            if let Some((head, used)) = request_head::parse(self.bytes())? {
                self.consume(used);
                return Ok(Some(head));
            }
            self.parse_at = length * 2;
        }
        if length >= max_bytes {
            return Err(too_large(self.bytes()));
        }
        Ok(None)
    }

    /// Moves up to `length` bytes to the end of `body`.
    pub(super) fn take_body(&mut self, length: usize, body: &mut Vec<u8>) {
        let length = length.min(self.bytes().len());
        body.extend_from_slice(&self.bytes()[..length]);
        self.consume(length);
    }

    /// Returns free space to read into, so that the buffer holds at most `max_bytes`; empty only if it holds
    /// that many already.
    pub(super) fn space(&mut self, max_bytes: usize) -> &mut [u8] {
        if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched = self.searched.saturating_sub(self.start);
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize((self.end * 2).clamp(MIN_SIZE, max_bytes.max(MIN_SIZE)), 0);
        }
        let until = self.buffer.len().min(self.start + max_bytes);
        &mut self.buffer[self.end..until]
    }

    /// Adds the first `length` bytes of [`Self::space`] to the buffer.
    pub(super) fn filled(&mut self, length: usize) {
        self.end += length;
    }

    /// Discards all bytes, and returns free space to read into.
    pub(super) fn clear_to_space(&mut self) -> &mut [u8] {
        self.clear();
        self.space(MIN_SIZE)
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn clear(&mut self) {
        (self.start, self.end, self.searched, self.parse_at) = (0, 0, 0, 0);
        if self.buffer.len() > MIN_SIZE {
            self.buffer = Vec::new();
        }
    }

    fn consume(&mut self, length: usize) {
        self.start += length;
        self.searched = self.start;
        self.parse_at = 0;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Skips empty lines before a request line (RFC 9112, section 2.2).
    fn skip_empty_lines(&mut self) {
        while self.bytes().starts_with(b"\r\n") {
            self.consume(2);
        }
    }

    /// Returns whether an empty line arrived since the last call, even one that ends in a bare LF.
    fn has_new_empty_line(&mut self) -> bool {
        let from = self.searched.saturating_sub(3).max(self.start);
        self.searched = self.end;
        let unsearched = &self.buffer[from..self.end];
        unsearched.windows(2).any(|pair| pair == b"\n\n")
            || unsearched.windows(3).any(|three| three == b"\n\r\n")
    }
}

fn too_large(bytes: &[u8]) -> RequestError {
    if bytes.contains(&b'\n') {
        RequestError::new(431, "the request head exceeds the size limit")
    } else {
        RequestError::new(414, "the request line exceeds the size limit of the whole head")
    }
}
