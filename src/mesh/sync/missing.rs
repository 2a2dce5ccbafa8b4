//! Selects the reports and proofs that a peer lacks, by its heads.

use std::sync::Arc;

use crate::mesh::report_table::ReportTable;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::heads::Heads;
use crate::mesh::wire::message::MAX_PROOFS;
use crate::mesh::wire::report::VerifiedReport;

/// The reports that a peer lacks. [`RoundRobin`](super::round_robin::RoundRobin) selects those that fit in a message.
#[derive(Debug)]
pub struct MissingReports {
    /// This node's own.
    pub(super) own: Option<Arc<VerifiedReport>>,
    /// Those of others with their authors, in ascending order of the author's index.
    pub(super) others: Vec<(usize, Arc<VerifiedReport>)>,
    /// The size of all of them in a message.
    pub(super) bytes: usize,
    /// The room for reports in a message, in bytes.
    pub(super) room: usize,
}

impl MissingReports {
    /// The same reports for a message that contains `proofs` as well, which may be larger than their part of it.
    #[must_use]
    pub fn beside(self, proofs: &[Arc<EquivocationProof>]) -> Self {
        let bytes: usize = proofs.iter().map(|proof| proof_bytes(proof)).sum();
        Self { room: self.room.min((2 * self.room).saturating_sub(bytes)), ..self }
    }
}

/// The size of `proof` in a message: its envelopes with brackets and commas, in bytes.
fn proof_bytes(proof: &EquivocationProof) -> usize {
    proof.reports().iter().map(|report| report.envelope().len()).sum::<usize>() + 4
}

/// The size of `report` in a message: its envelope and a comma, in bytes.
pub(super) fn bytes_in_message(report: &VerifiedReport) -> usize {
    report.envelope().len() + 1
}

/// Whether the sender of `heads` lacks the latest report of the member `index`: it holds none or an older one, or a
/// different one with the same id and no proof.
pub fn lacks_report(heads: &Heads, table: &ReportTable, index: usize) -> bool {
    let Some(latest) = &table.states()[index].latest else { return false };
    match heads.get(table.membership(), index) {
        Some(head) if head.id == latest.id() => !head.equivocated && head.hash != latest.short_digest(),
        Some(head) => head.id < latest.id(),
        None => true,
    }
}

/// The reports of `table` that the sender of `heads` lacks and that are `wanted`, by the author's index.
pub fn missing_reports(heads: &Heads, table: &ReportTable, wanted: impl Fn(usize) -> bool) -> MissingReports {
    let me = table.membership().me();
    let mut missing =
        MissingReports { own: None, others: Vec::new(), bytes: 0, room: table.membership().fill_bytes() };
    for (index, state) in table.states().iter().enumerate() {
        let Some(latest) = &state.latest else { continue };
        if !lacks_report(heads, table, index) || !wanted(index) {
            continue;
        }
        missing.bytes += bytes_in_message(latest);
        if index == me {
            missing.own = Some(latest.clone());
        } else {
            missing.others.push((index, latest.clone()));
        }
    }
    missing
}

/// The proofs that the sender of `heads` lacks: at most [`MAX_PROOFS`], and no more than
/// [`Membership::fill_bytes`](crate::mesh::membership::Membership::fill_bytes) except that the
/// first one may take the room for reports as well. A proof that does not fit is skipped.
pub fn missing_proofs(heads: &Heads, table: &ReportTable) -> Vec<Arc<EquivocationProof>> {
    let states = table.states().iter().enumerate();
    let missing = states
        .filter(|(index, _)| heads.get(table.membership(), *index).is_none_or(|head| !head.equivocated))
        .filter_map(|(_, state)| state.equivocation.clone());
    let room = table.membership().fill_bytes();
    let mut total_bytes = 0;
    let fitting = missing.filter(|proof| {
        let bytes = proof_bytes(proof);
        let fits = if total_bytes == 0 { bytes <= 2 * room } else { total_bytes + bytes <= room };
        if fits {
            total_bytes += bytes;
        }
        fits
    });
    fitting.take(MAX_PROOFS).collect()
}
