//! Every number that bounds what a client may cost.

use std::time::Duration;

use crate::config::Subnet;

/// The most header fields of one request. A constant, since they are parsed into a fixed array.
pub const HEAD_FIELDS: usize = 64;

/// The largest body of a request whose sender is not known from its head, in bytes.
pub const BODY: usize = 16 * 1024;

/// The largest body of an exchange whose signature was verified, in bytes.
pub const EXCHANGE_BODY: usize = 1024 * 1024;

/// The limits of a listener. The default is what the service runs with; tests shrink the times.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at the same time. Half of them are kept for addresses with a verified exchange. No
    /// more than half of the file descriptors that the process may open are used.
    pub connections: usize,
    /// Connections from one address (IPv6: one /64); loopback and trusted proxies have no limit of their own.
    pub connections_per_address: usize,
    /// How long after its last verified exchange an address has a claim on the kept half.
    pub verified_for: Duration,
    /// The bytes of a request's head, from its first to the end of its empty line.
    pub head_bytes: usize,
    /// From a head's first byte (on a new connection: from its acceptance) to its last.
    pub head_time: Duration,
    /// From a request's admission to the last byte of its body.
    pub body_time: Duration,
    /// From a reply to the first byte of the next request.
    pub idle_time: Duration,
    /// Requests on one connection.
    pub requests: u32,
    /// From a reply's first byte to its last.
    pub reply_time: Duration,
    /// After a reply to a request that was not read to its end: how long to go on reading, so that the
    /// client sees the reply rather than a reset.
    pub linger_time: Duration,
    /// How much to read then, in bytes.
    pub linger_bytes: usize,
    /// The pause after an accept that failed.
    pub accept_pause: Duration,
    /// The least time between two journal lines of one kind.
    pub journal_pause: Duration,
    /// How long a stop waits for the request of a connection that was taken just before it: nobody who
    /// connected shall go without an answer because of a restart. At most half of `stop_time`.
    pub first_request_time: Duration,
    /// From the wish to stop to the end of the last connection.
    pub stop_time: Duration,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Subnet>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_per_address: 64,
            verified_for: Duration::from_secs(600),
            head_bytes: 16 * 1024,
            head_time: Duration::from_secs(5),
            body_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(15),
            requests: 1000,
            reply_time: Duration::from_secs(10),
            linger_time: Duration::from_millis(250),
            linger_bytes: 64 * 1024,
            accept_pause: Duration::from_millis(100),
            journal_pause: Duration::from_secs(60),
            first_request_time: Duration::from_millis(200),
            stop_time: Duration::from_secs(2),
            trusted_proxies: Vec::new(),
        }
    }
}
