//! The verdict on one node, with the rule, the causes and the votes behind it.

use super::cause::Cause;
use super::node_status::NodeStatus;
use super::votes::VoteCount;
use crate::mesh::wire::observation::{Failure, ProbeStatus};

/// The rule that decided a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Two different reports with the same id.
    Equivocation,
    /// Its latest report announces its stop, and is at most ten minutes old.
    Stopped,
    /// It is the node that evaluates.
    Own,
    /// It is the node that evaluates, and publishes no reports until it has recovered its epoch.
    Recovering,
    /// It is the node that evaluates, and publishes no reports, since it has used the largest possible epoch.
    EpochExhausted,
    /// No report of it is known, neither to this process nor to an earlier one.
    NeverReported,
    /// Its reports advance, or their silence is within the limit of 4 intervals and 2 timeouts, twice that if its latest
    /// report says that it is overloaded.
    Alive,
    /// A quorum of unrefuted votes says offline with every attempt refused, and it has been silent for longer than 1.5
    /// intervals and 0.75 timeouts.
    Refused,
    /// A quorum of unrefuted votes says offline, and it has been silent for longer than 2 intervals and 1.75
    /// timeouts, or 4 intervals and 2 timeouts if its latest report says that it is overloaded.
    Unrefuted,
    /// A quorum says offline, and it has been silent for longer than the limit of [`Rule::Alive`].
    Silent,
    /// A quorum was answered that it is overloaded.
    Busy,
    /// It is silent, and most votes say that it runs an incompatible release.
    Incompatible,
    /// It is silent, but no quorum says offline, or most nodes fell silent with it.
    NoQuorum,
}

impl Rule {
    /// The rule as a clause about the node (a JSON value).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equivocation => "it signed two different reports with one number",
            Self::Stopped => "its last report says that it was stopped on purpose",
            Self::Own => "it is the node that judges",
            Self::Recovering => {
                "it is the node that judges, and publishes no reports until it has recovered its epoch"
            }
            Self::EpochExhausted => {
                "it is the node that judges, and publishes no reports until it has a new key, since no epoch is left"
            }
            Self::NeverReported => "no report of it was ever seen",
            Self::Alive => "its reports advance, or are not overdue yet",
            Self::Refused => "a quorum was refused at every attempt, and it is silent",
            Self::Unrefuted => "a quorum finds it offline, nothing refutes that, and it is silent",
            Self::Silent => "a quorum finds it offline, and it is silent for long",
            Self::Busy => "it answers a quorum that it is overloaded",
            Self::Incompatible => "its reports cannot be read, since it runs an incompatible release",
            Self::NoQuorum => "it is silent, and no quorum confirms that it is down",
        }
    }
}

/// The verdict on one node at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The status.
    pub status: NodeStatus,
    /// The causes that explain it equally well; none for a node that is up.
    pub causes: Vec<Cause>,
    /// The rule that decided.
    pub rule: Rule,
    /// The votes on the node.
    pub vote_count: VoteCount,
    /// Since when its reports have not advanced: monotonic time in ms.
    pub silent_since_ms: u64,
}

impl Verdict {
    /// Whether an unrefuted vote reports refused connections: the host of the node runs, but not its process.
    pub(super) fn refuses_connections(&self) -> bool {
        self.vote_count.votes.iter().any(|vote| {
            vote.status == ProbeStatus::Offline && !vote.refuted && vote.error == Some(Failure::Refused)
        })
    }
}
