//! The handler of requests: what the listener calls and the routes implement.

use std::net::SocketAddr;

use rouille::Response;

use super::problem::problem;
use super::request_head::{ReceivedRequest, RequestHead};
use super::resource_owner::SenderId;

/// A handler of requests.
pub trait Handler: Send + Sync + 'static {
    /// Data from the admission of a request, passed to [`Handler::respond`].
    type Admitted: Send;

    /// Admits or rejects a request by its head, before its body is read. `remote` is the client's address;
    /// behind a trusted proxy its port is 0.
    fn admit(&self, head: &RequestHead, remote: SocketAddr) -> Admission<Self::Admitted>;

    /// Returns whether a POST without Content-Length is accepted as one without a body, as `curl -X POST`
    /// sends it; the listener answers any other with 411. Its connection closes either way.
    fn allows_missing_length(&self, _head: &RequestHead) -> bool {
        false
    }

    /// Returns whether the connection closes after the reply: for requests that many clients repeat with
    /// pauses during which an open connection would occupy a thread.
    fn closes_connection(&self, _head: &RequestHead) -> bool {
        false
    }

    /// Returns the number of senders whose requests can be verified; the listener reserves a connection for each.
    fn senders(&self) -> usize {
        0
    }

    /// Returns the reply to an admitted request whose body, or whose reply, exceeds the share of its owner. The
    /// connection closes after a body that was not read.
    fn reject_beyond_share(&self, _admitted: &Self::Admitted) -> Response {
        memory_share_exceeded()
    }

    /// Answers an admitted request.
    fn respond(&self, request: ReceivedRequest, admitted: &Self::Admitted) -> Response;
}

/// The decision about a request, made from its head.
pub enum Admission<A> {
    /// The listener reads the body and calls [`Handler::respond`].
    Accept {
        /// The maximum body in bytes; the listener answers a larger one with 413, unread.
        max_body_bytes: usize,
        /// The sender, if the head proves it. The connection, the body and the reply then count against the sender's share
        /// instead of that of its address, and the sender may use reserved connections for a while.
        sender: Option<SenderId>,
        /// The argument of [`Handler::respond`].
        admitted: A,
    },
    /// The listener sends this reply and does not read the body.
    Reject(Response),
}

/// Creates the reply to a request whose body or reply exceeds the share of its owner.
pub(super) fn memory_share_exceeded() -> Response {
    problem(429, "Too Many Requests", "other requests of this client use up its share of memory")
}
