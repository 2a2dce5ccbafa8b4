//! The body of `GET /explain/{network_id}/{node_id}`: a verdict, current or past, with all of its votes.

use serde::Serialize;

use super::verdict::VerdictBody;
use crate::mesh::Snapshot;
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::verdict::history::LookupError;
use crate::mesh::verdict::{Abstention, Vote};
use crate::mesh::wire::observation::{Failure, ProbeStatus};
use crate::present::timestamp;
use crate::present::verdict_view::VerdictView;

/// How far the clock of a client may be ahead of this node's, in ms.
const MAX_CLOCK_AHEAD_MS: u64 = 60_000;

/// The verdict on a node with the votes that it was reached from.
#[derive(Serialize)]
pub struct Explanation<'a> {
    network_id: &'a str,
    node_id: &'a NodeId,
    viewer: &'a NodeId,
    /// The requested time, if any: Unix time in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<u64>,
    /// When a past verdict was reached, or the time of the snapshot for the current one: Unix time in ms.
    at: u64,
    /// When the next verdict was reached; null for the current one.
    until: Option<u64>,
    verdict: VerdictBody<'a>,
    /// The time since the node's last sign of life.
    silent_ms: u64,
    newest_report: Option<ReportId>,
    interval_ms: u64,
    timeout_ms: u64,
    ballot: Vec<VoteBody<'a>>,
}

/// One vote.
#[derive(Serialize)]
struct VoteBody<'a> {
    voter: &'a NodeId,
    says: ProbeStatus,
    error: Option<Failure>,
    /// Unix time in ms, by the voter's clock.
    since: u64,
    report: ReportId,
    refuted: bool,
    abstains: Option<Abstention>,
}

/// The reason why there is no verdict to explain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// No node of this name is configured or has a recorded verdict.
    #[error("no such node in this network")]
    UnknownNode,
    /// The requested time is in the future.
    #[error("at: this time is {} s in the future, by this node's clock", .ahead_ms / 1000)]
    InFuture {
        /// How far, in ms.
        ahead_ms: u64,
    },
    /// The requested time is before the oldest recorded verdict.
    #[error("the oldest recorded verdict on {node} is from {}", timestamp::format(*.oldest_ms))]
    BeforeOldest {
        /// The node.
        node: String,
        /// When the oldest verdict was reached: Unix time in ms.
        oldest_ms: u64,
    },
    /// Every verdict on the node was evicted by newer ones on other nodes.
    #[error("no verdict on {0} is recorded: newer ones on other nodes have displaced it")]
    Displaced(String),
}

impl<'a> Explanation<'a> {
    /// Explains the current verdict on the node `id`, or with `asked_ms` the one at that time (Unix time in ms).
    pub fn new(snapshot: &'a Snapshot, id: &str, asked_ms: Option<u64>) -> Result<Self, ExplainError> {
        let Some(asked_ms) = asked_ms else {
            let index = snapshot.membership().index(id).ok_or(ExplainError::UnknownNode)?;
            let view = VerdictView::current(snapshot).nth(index).ok_or(ExplainError::UnknownNode)?;
            return Ok(Self::of_view(&view, None, None));
        };
        let now_ms = snapshot.at().wall_ms;
        if asked_ms > now_ms.saturating_add(MAX_CLOCK_AHEAD_MS) {
            return Err(ExplainError::InFuture { ahead_ms: asked_ms - now_ms });
        }
        let (record, until) = snapshot.history().at(id, asked_ms).map_err(|error| match error {
            LookupError::BeforeOldest(oldest_ms) => {
                ExplainError::BeforeOldest { node: id.to_owned(), oldest_ms }
            }
            // A configured node has a verdict from the start of this process.
            LookupError::NoRecord if snapshot.membership().index(id).is_some() => {
                ExplainError::Displaced(id.to_owned())
            }
            LookupError::NoRecord => ExplainError::UnknownNode,
        })?;
        Ok(Self::of_view(&VerdictView::from(&**record), Some(asked_ms), until))
    }

    fn of_view(view: &VerdictView<'a>, asked_at: Option<u64>, until: Option<u64>) -> Self {
        Self {
            network_id: view.membership.network_id().as_str(),
            node_id: view.id(view.index),
            viewer: &view.membership.own().id,
            asked_at,
            at: view.at_ms,
            until,
            verdict: VerdictBody::new(view),
            silent_ms: view.silent_ms,
            newest_report: view.newest_report,
            interval_ms: view.membership.interval_ms(),
            timeout_ms: view.membership.max_timeout_ms(),
            ballot: view.verdict.vote_count.votes.iter().map(|vote| VoteBody::new(view, vote)).collect(),
        }
    }
}

impl<'a> VoteBody<'a> {
    fn new(view: &VerdictView<'a>, vote: &Vote) -> Self {
        Self {
            voter: view.id(vote.voter),
            says: vote.status,
            error: vote.error,
            since: vote.since_ms,
            report: vote.report_id,
            refuted: vote.refuted,
            abstains: vote.abstains,
        }
    }
}
