//! The status of a node.

use std::fmt;

use serde::{Serialize, Serializer};

/// The status of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeStatus {
    /// Alive: its reports arrive on some path.
    Up,
    /// Alive, but two voters or more do not reach it, or it is itself isolated; or it is this node, which publishes no
    /// reports until it has recovered its epoch, or for good since none is left.
    Degraded,
    /// No sign of life arrives on any path, and a quorum confirms it.
    Down,
    /// Its latest report announces its stop, and is at most ten minutes old.
    Stopped,
    /// No sign of life, and no quorum confirms that it is down.
    Unknown,
    /// No report of it is known, neither to this process nor to an earlier one.
    NeverSeen,
    /// It signed two different reports with the same id.
    Conflict,
}

impl NodeStatus {
    /// All statuses.
    pub const ALL: [Self; 7] =
        [Self::Up, Self::Degraded, Self::Down, Self::Stopped, Self::Unknown, Self::NeverSeen, Self::Conflict];

    /// The word in JSON and in texts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Stopped => "stopped",
            Self::Unknown => "unknown",
            Self::NeverSeen => "never seen",
            Self::Conflict => "conflict",
        }
    }

    /// Whether the status is one of a node that is silent without an announced stop.
    pub fn is_silent(self) -> bool {
        matches!(self, Self::Down | Self::Unknown)
    }

    /// Whether the status is one of a live node.
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Up | Self::Degraded)
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for NodeStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
