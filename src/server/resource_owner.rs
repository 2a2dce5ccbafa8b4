//! The owner of connections and of request bodies, against whose share they count.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::client_address::ClientPrefix;

/// The id of a verified sender of requests. The listener only compares and logs it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SenderId(Arc<str>);

impl SenderId {
    /// Creates the id with this text, which log lines show.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The owner of a connection or of a request body.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ResourceOwner {
    /// A sender that a request proved.
    Sender(SenderId),
    /// Any other client, identified by its address.
    Client(ClientPrefix),
}

impl ResourceOwner {
    /// Returns the owner of a request from `address`.
    pub(super) fn of(sender: Option<&SenderId>, address: IpAddr) -> Self {
        sender.map_or_else(|| Self::Client(address.into()), |sender| Self::Sender(sender.clone()))
    }
}

impl fmt::Display for ResourceOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sender(sender) => sender.fmt(f),
            Self::Client(prefix) => prefix.fmt(f),
        }
    }
}
