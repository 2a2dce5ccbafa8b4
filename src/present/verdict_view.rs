//! A verdict with the data that it was reached from.

use crate::mesh::Snapshot;
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::verdict::Verdict;
use crate::mesh::verdict::history::VerdictRecord;
use crate::mesh::verdict::tracker::TrackedVerdict;
use crate::mesh::wire::observation::ProbeStatus;

use super::causes::join_causes;

/// A current or past verdict with the data that it was reached from.
#[derive(Clone, Copy)]
pub struct VerdictView<'a> {
    /// The members that were configured.
    pub membership: &'a Membership,
    /// The index of the node in the membership.
    pub index: usize,
    /// The verdict on the node.
    pub verdict: &'a Verdict,
    /// The verdict over time.
    pub tracked: &'a TrackedVerdict,
    /// The node's newest report.
    pub newest_report: Option<ReportId>,
    /// The time since the node's last sign of life, in ms.
    pub silent_ms: u64,
    /// When a past verdict was reached, or the time of the snapshot for the current one: Unix time in ms.
    pub at_ms: u64,
}

impl<'a> VerdictView<'a> {
    /// Returns the current verdict on each node, in the order of the membership.
    pub fn current(snapshot: &'a Snapshot) -> impl Iterator<Item = Self> {
        let verdicts = snapshot.verdicts().nodes.iter().zip(snapshot.tracker().nodes()).enumerate();
        verdicts.map(|(index, (verdict, tracked))| Self {
            membership: snapshot.membership(),
            index,
            verdict,
            tracked,
            newest_report: snapshot.states()[index].latest.as_ref().map(|latest| latest.id()),
            silent_ms: snapshot.at().mono_ms.saturating_sub(verdict.silent_since_ms),
            at_ms: snapshot.at().wall_ms,
        })
    }

    /// Returns the node with this index.
    pub fn id(&self, index: usize) -> &'a NodeId {
        &self.membership.members()[index].id
    }

    /// Returns the causes as text, or `None` for no cause.
    pub fn cause(&self) -> Option<String> {
        let causes = &self.verdict.causes;
        (!causes.is_empty()).then(|| join_causes(causes))
    }

    /// Returns the reports that decided the verdict, as node, epoch and seq: the newest report of the node itself,
    /// then the counted reports that say offline.
    pub fn evidence(&self) -> Vec<(&'a NodeId, u64, u64)> {
        let own = self.newest_report.map(|newest| (self.id(self.index), newest.epoch, newest.seq));
        let offline = self.verdict.vote_count.counted().filter(|vote| vote.status == ProbeStatus::Offline);
        let offline = offline.map(|vote| (self.id(vote.voter), vote.report_id.epoch, vote.report_id.seq));
        own.into_iter().chain(offline).collect()
    }
}

impl<'a> From<&'a VerdictRecord> for VerdictView<'a> {
    fn from(record: &'a VerdictRecord) -> Self {
        Self {
            membership: &record.membership,
            index: record.index,
            verdict: &record.verdict,
            tracked: &record.tracked,
            newest_report: record.newest,
            silent_ms: record.silent_ms,
            at_ms: record.at_ms,
        }
    }
}
