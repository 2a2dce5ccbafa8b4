//! Votes: the observation of a node by one observer, and whether it counts.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::mesh::id::ReportId;
use crate::mesh::wire::observation::{Failure, ProbeStatus};

/// Why a vote does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abstention {
    /// The voter's newest report is too old.
    Stale,
    /// The voter is isolated: it reports so, or most of its observations are offline.
    Isolated,
    /// The voter signed two different reports with the same id.
    Conflict,
    /// The voter announced its stop.
    Stopped,
    /// Another node with the same key votes already, or the key is that of the node voted on.
    SameKey,
}

impl Abstention {
    /// The reason as a clause about the voter (a JSON value).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "its report is too old",
            Self::Isolated => "it finds most others offline, so it may itself be cut off",
            Self::Conflict => "it signed two different reports with one number",
            Self::Stopped => "it was stopped",
            Self::SameKey => "its key votes already",
        }
    }
}

impl fmt::Display for Abstention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Abstention {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The observation of one node in the latest report of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The observer, by index into the membership.
    pub voter: usize,
    /// The report that carries the vote.
    pub report_id: ReportId,
    /// The observed status.
    pub status: ProbeStatus,
    /// Why the last exchange failed.
    pub error: Option<Failure>,
    /// Since when, by the voter's wall clock: Unix time in ms.
    pub since_ms: u64,
    /// Whether it says offline, but the node has published more than one report, or restarted, since.
    pub refuted: bool,
    /// Why it does not count; none if it counts.
    pub abstains: Option<Abstention>,
}
