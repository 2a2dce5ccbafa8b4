//! The errors of exchanges.

use std::borrow::Cow;

use rouille::Response;

use crate::server::problem::problem;
use crate::store::NetworkHandle;

/// The maximum length of an error detail that may quote the sender, in characters.
const MAX_DETAIL: usize = 200;

/// An error of an exchange.
pub(super) struct ExchangeError {
    pub(super) status: u16,
    pub(super) title: &'static str,
    pub(super) detail: Cow<'static, str>,
    /// A JSON array of report envelopes that proves the reason.
    pub(super) evidence: Option<String>,
}

impl ExchangeError {
    pub(super) fn new(status: u16, title: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, title, detail: detail.into(), evidence: None }
    }

    /// Creates the error of a malformed request. The detail may quote the sender, and is truncated.
    pub(super) fn bad_request(detail: String) -> Self {
        Self::new(400, "Bad Request", truncated(detail))
    }

    pub(super) fn misdirected(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(421, "Misdirected Request", detail)
    }

    /// Creates the error of a request beyond a limit of the sender.
    pub(super) fn too_many(detail: &'static str) -> Self {
        Self::new(429, "Too Many Requests", detail)
    }

    /// Creates the error of a request beyond the capacity of this node. Its sender must not conclude from an unsigned one
    /// that anything else answers at this address.
    pub(super) fn busy() -> Self {
        Self::new(503, "Service Unavailable", "this node is overloaded")
    }

    /// Counts a request of `subject`, a member's id or an address, that `node` rejects.
    pub(super) fn count(&self, node: &NetworkHandle, subject: &str) {
        let snapshot = node.snapshot();
        let network = snapshot.membership().network_id().as_str();
        if self.status == 503 {
            return node.drop_counters.count_busy(network);
        }
        node.drop_counters.count_rejected_request(network, subject, self.title, &self.detail);
    }

    /// Creates the unsigned reply.
    pub(super) fn to_unsigned(&self) -> Response {
        problem(self.status, self.title, &self.detail)
    }
}

/// Truncates a detail to a length suitable for the log.
fn truncated(mut detail: String) -> String {
    if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL) {
        detail.truncate(end);
        detail.push('…');
    }
    detail
}
