//! The causes that a verdict can name, and broken links.

use serde::{Serialize, Serializer};

/// A cause that explains a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The node itself, or its host.
    Node,
    /// It is alive, but no other node reaches it: a firewall, or address translation.
    Ingress,
    /// It is alive but reaches no other node.
    Egress,
    /// A link is broken: see [`Link`].
    Link,
    /// It answers, but its reports do not advance; or it is this node, which is recovering its epoch or has
    /// none left.
    NotPublishing,
    /// It answers that it is overloaded.
    Overload,
    /// It runs a release with another protocol version.
    IncompatibleRelease,
    /// It is separated from this node by a network partition.
    Partition,
}

impl Cause {
    /// The word in JSON and in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Link => "link",
            Self::NotPublishing => "not publishing",
            Self::Overload => "overload",
            Self::IncompatibleRelease => "incompatible release",
            Self::Partition => "partition",
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A broken link between two live nodes, by index into the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The node that does not reach the other.
    pub from: usize,
    /// The node that is not reached.
    pub to: usize,
    /// Whether the other direction is broken as well; then `from` is the smaller index.
    pub both: bool,
}
