//! The state of one member at this node: its latest report, the age of that report, and what else is known.

use std::sync::Arc;

use super::delta_sync::PartnerSync;
use super::id::ReportId;
use super::membership::Membership;
use super::report_ages::ReportAges;
use super::wire::equivocation::EquivocationProof;
use super::wire::observation::Observation;
use super::wire::report::VerifiedReport;

/// The state of one member at this node.
#[derive(Debug, Clone, Default)]
pub struct MemberState {
    /// Its newest report; only `set_latest` changes it.
    pub latest: Option<Arc<VerifiedReport>>,
    /// For each observation in that report, the observed member's index and the position in the report, in
    /// ascending order of the index. Verdicts read all observations on every evaluation.
    pub observation_index: Arc<[(u32, u32)]>,
    /// When that report was created, by the lowest age that any sender claimed, at most `received_ms`: monotonic time in
    /// ms.
    pub created_ms: u64,
    /// When that report first arrived here: monotonic time in ms.
    pub received_ms: u64,
    /// How long this node has held its reports.
    pub ages: ReportAges,
    /// Whether that report counts as a sign of life: it advanced since this node started, or its author sent it in a
    /// signed reply.
    pub advanced: bool,
    /// When this node began to wait for a sign of life: its start, the end of a gap in time, or the moment the
    /// configuration named the member. Monotonic time in ms.
    pub waiting_since_ms: u64,
    /// The id of the newest report that an earlier process stored; older reports are not stored.
    pub min_report: ReportId,
    /// When the member's entry in heads last changed: monotonic time in ms.
    pub head_changed_ms: u64,
    /// The proof that it signed two different reports with the same id.
    pub equivocation: Option<Arc<EquivocationProof>>,
    /// The results of this node's probes of the member since the start, or since the configuration named it.
    pub probes: ProbeCounts,
    /// The state of delta-encoded heads with the member.
    pub sync: PartnerSync,
}

/// Numbers of probe attempts by result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeCounts {
    /// Attempts that were answered, also with a signed refusal.
    pub answered: u32,
    /// Attempts that were not answered within the timeout, or failed earlier.
    pub failed: u32,
}

impl MemberState {
    /// The state of a member of which nothing is known, awaited since `mono_ms`.
    pub(super) fn awaited_since(mono_ms: u64) -> Self {
        Self { waiting_since_ms: mono_ms, ..Self::default() }
    }

    /// Stores `report` as the latest.
    pub(super) fn set_latest(&mut self, report: Arc<VerifiedReport>, membership: &Membership) {
        self.observation_index = index_observations(&report, membership);
        self.latest = Some(report);
    }

    /// The id of the latest report.
    pub fn latest_id(&self) -> Option<ReportId> {
        self.latest.as_ref().map(|latest| latest.id())
    }

    /// The observation of the member with index `target` in the latest report.
    pub fn observation(&self, target: usize) -> Option<&Observation> {
        let at = self.observation_index.binary_search_by_key(&target, |&(index, _)| index as usize).ok()?;
        self.observation_at(self.observation_index[at].1)
    }

    /// All observations in the latest report, with the index of the observed member.
    pub fn observations(&self) -> impl Iterator<Item = (usize, &Observation)> {
        self.observation_index
            .iter()
            .filter_map(|&(index, position)| Some((index as usize, self.observation_at(position)?)))
    }

    fn observation_at(&self, position: u32) -> Option<&Observation> {
        Some(&self.latest.as_ref()?.report().observations.get(position as usize)?.1)
    }
}

fn index_observations(report: &VerifiedReport, membership: &Membership) -> Arc<[(u32, u32)]> {
    let observations = report.report().observations.iter().enumerate();
    let mut expected = 0;
    let indexed = observations.filter_map(|(position, (id, _))| {
        let index = membership.index_near(expected, id.as_str())?;
        expected = index + 1;
        Some((u32::try_from(index).ok()?, u32::try_from(position).ok()?))
    });
    let mut indexed: Vec<_> = indexed.collect();
    indexed.sort_unstable();
    indexed.into()
}
