//! One node's verdict step by step, for who asks how this node knows; as it is now, or as it stood at a time.

use serde::Serialize;

use super::verdicts::{Entry, Found};
use crate::mesh::Snapshot;
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::verdict::Abstention;
use crate::mesh::verdict::history::LookupError;
use crate::mesh::wire::observation::{Failure, ProbeStatus};
use crate::present::timestamp;

/// How a verdict was reached.
#[derive(Serialize)]
pub(super) struct Explanation<'a> {
    network_id: &'a str,
    node_id: &'a NodeId,
    viewer: &'a NodeId,
    /// What time was asked about, if any: Unix time in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_at: Option<u64>,
    /// When it was reached, or that it is so now: Unix time in ms.
    at: u64,
    /// When the next one was reached; null while it stands.
    until: Option<u64>,
    verdict: Entry<'a>,
    silent_ms: u64,
    newest_report: Option<ReportId>,
    interval_ms: u64,
    timeout_ms: u64,
    ballot: Vec<Statement<'a>>,
}

/// One vote.
#[derive(Serialize)]
struct Statement<'a> {
    voter: &'a NodeId,
    says: ProbeStatus,
    error: Option<Failure>,
    since: u64,
    report: ReportId,
    refuted: bool,
    abstains: Option<Abstention>,
}

/// Why there is nothing to explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// No such node now or in what is kept.
    Node,
    /// The time is yet to come; by how many ms.
    Future(u64),
    /// What is kept begins later.
    Past(String),
}

/// The clocks of who asks and who answers may differ by so much, in ms.
const AHEAD_MS: u64 = 60_000;

impl<'a> Explanation<'a> {
    /// How `snapshot`'s node comes to its verdict on `id`; with `asked_ms`, how it came to the one that stood
    /// then (Unix time in ms).
    pub(super) fn of(snapshot: &'a Snapshot, id: &str, asked_ms: Option<u64>) -> Result<Self, Missing> {
        let Some(asked_ms) = asked_ms else {
            let index = snapshot.membership().index(id);
            let found = index.and_then(|index| Found::all(snapshot).nth(index)).ok_or(Missing::Node)?;
            return Ok(Self::from(&found, None, None));
        };
        let now_ms = snapshot.at().wall_ms;
        if asked_ms > now_ms.saturating_add(AHEAD_MS) {
            return Err(Missing::Future(asked_ms - now_ms));
        }
        let (decision, until) = snapshot.history().at(id, asked_ms).map_err(|unknown| match unknown {
            LookupError::KeptSince(ms) => {
                Missing::Past(format!("what is kept of {id} begins at {}", timestamp::write(ms)))
            }
            // Whoever is configured has a verdict from the start, so nothing of it is lost but by age.
            LookupError::NothingKept if snapshot.membership().index(id).is_some() => {
                Missing::Past(format!("nothing is kept of {id}: too much has happened since"))
            }
            LookupError::NothingKept => Missing::Node,
        })?;
        Ok(Self::from(&Found::then(decision), Some(asked_ms), until))
    }

    fn from(found: &Found<'a>, asked_at: Option<u64>, until: Option<u64>) -> Self {
        let ballot = found.verdict.vote_count.votes.iter().map(|vote| Statement {
            voter: found.id(vote.voter),
            says: vote.status,
            error: vote.error,
            since: vote.since_ms,
            report: vote.report_id,
            refuted: vote.refuted,
            abstains: vote.abstains,
        });
        Self {
            network_id: found.membership.network_id().as_str(),
            node_id: found.id(found.index),
            viewer: &found.membership.own().id,
            asked_at,
            at: found.at_ms,
            until,
            verdict: Entry::of(found),
            silent_ms: found.silent_ms,
            newest_report: found.newest,
            interval_ms: found.membership.interval_ms(),
            timeout_ms: found.membership.max_timeout_ms(),
            ballot: ballot.collect(),
        }
    }
}
