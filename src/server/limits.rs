//! Bounds on what a client may use: sizes, counts and times.

use std::time::Duration;

use crate::subnet::Subnet;

/// The maximum number of header fields in a request; a constant, since they are parsed into a fixed array.
pub const MAX_HEADER_FIELDS: usize = 64;

/// The maximum body of a request whose head does not prove its sender, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;

/// The maximum body of an exchange whose signature was verified, in bytes.
pub const MAX_EXCHANGE_BODY_BYTES: usize = 1024 * 1024;

/// The limits of a listener. The service runs with the default; tests shorten the times.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Concurrent connections. One is kept for loopback, and one for each verified sender, up to 256 and half of
    /// the connections. The listener uses at most half of the file descriptors that the process may open.
    pub connections: usize,
    /// Concurrent connections from one address (IPv6: one /64). Loopback and trusted proxies are exempt.
    pub connections_per_address: usize,
    /// How long the address of a sender may use reserved connections after its last verified exchange.
    pub trust_duration: Duration,
    /// How long a connection has standing after its last verified exchange: it then uses a reserved connection,
    /// and one such connection of each sender is never closed for others.
    pub standing_duration: Duration,
    /// The memory of all request bodies that are being received or processed, in bytes, without what a handler
    /// computes from them. Bodies of up to [`MAX_BODY_BYTES`] for each owner are accepted even beyond it.
    pub body_bytes: usize,
    /// The memory of one owner, a verified sender or an address, in bytes: its request bodies, and for a sender also
    /// the replies that are being written to it. Two of the largest messages: a peer has at most two exchanges at
    /// a time, and the body of each is released before its reply is reserved.
    pub bytes_per_owner: usize,
    /// The size of a request head in bytes, its final empty line included.
    pub head_bytes: usize,
    /// From the first byte of a head (on a new connection: from its acceptance) to the last.
    pub head_timeout: Duration,
    /// From the admission of a request to the last byte of its body.
    pub body_timeout: Duration,
    /// From a reply to the first byte of the next request.
    pub idle_timeout: Duration,
    /// Requests on one connection.
    pub requests: u32,
    /// From the first byte of a reply to the last.
    pub reply_timeout: Duration,
    /// How long to drain unread bytes of a rejected request, so that its client sees the reply instead of a
    /// reset.
    pub drain_timeout: Duration,
    /// How many bytes to drain at most.
    pub drain_bytes: usize,
    /// The delay after a failed accept.
    pub accept_retry_delay: Duration,
    /// The minimum time between two log lines of one kind.
    pub log_interval: Duration,
    /// How long a stop waits for the first request of a connection accepted just before: a restart must leave
    /// no client without a reply. At most half of `stop_timeout`.
    pub first_request_timeout: Duration,
    /// From the request to stop to the end of the last connection.
    pub stop_timeout: Duration,
    /// Peers whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<Subnet>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_address: 64,
            trust_duration: Duration::from_secs(600),
            standing_duration: Duration::from_secs(30),
            body_bytes: 32 * 1024 * 1024,
            bytes_per_owner: 2 * MAX_EXCHANGE_BODY_BYTES,
            head_bytes: 16 * 1024,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(15),
            requests: 1000,
            reply_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_millis(250),
            drain_bytes: 64 * 1024,
            accept_retry_delay: Duration::from_millis(100),
            log_interval: Duration::from_secs(60),
            first_request_timeout: Duration::from_millis(200),
            stop_timeout: Duration::from_secs(2),
            trusted_proxies: Vec::new(),
        }
    }
}
