//! The handler of requests: what the listener calls and the routes implement.

use std::net::SocketAddr;

use rouille::{Request, Response};

use super::request_head::RequestHead;

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

    /// Answers an admitted request. `request.remote_addr()` is the `remote` of its admission.
    fn respond(&self, request: Request, admitted: Self::Admitted) -> Response;
}

/// The decision about a request, made from its head.
pub enum Admission<A> {
    /// The listener reads the body and calls [`Handler::respond`].
    Accept {
        /// The maximum body in bytes; the listener answers a larger one with 413, unread.
        max_body_bytes: usize,
        /// Whether the head proves that a member sent the request. The connection is then never closed to
        /// make room, and its address may use the reserved connections for a while.
        verified: bool,
        /// The argument of [`Handler::respond`].
        admitted: A,
    },
    /// The listener sends this reply and does not read the body.
    Reject(Response),
}
