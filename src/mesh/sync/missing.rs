//! Selects the reports and proofs that a peer lacks, by its heads.

use std::sync::Arc;

use crate::mesh::report_table::ReportTable;
use crate::mesh::wire::equivocation::EquivocationProof;
use crate::mesh::wire::heads::Heads;
use crate::mesh::wire::message::{FILL_BYTES, MAX_PROOFS};
use crate::mesh::wire::report::VerifiedReport;

/// By how many reports of the member `index` the sender of `heads` is behind `table`: 0 if it holds a different report
/// with the same id and no proof, `u64::MAX` if it holds no report of this epoch; none if it is up to date.
pub fn reports_behind(heads: &Heads, table: &ReportTable, index: usize) -> Option<u64> {
    let latest = table.states()[index].latest.as_ref()?;
    let report_id = latest.id();
    match heads.get(table.membership(), index) {
        Some(head) if head.id == report_id => {
            (!head.equivocated && head.hash != latest.short_digest()).then_some(0)
        }
        Some(head) if head.id > report_id => None,
        Some(head) if head.id.epoch == report_id.epoch => Some(report_id.seq - head.id.seq),
        _ => Some(u64::MAX),
    }
}

/// The reports of `table` that the sender of `heads` lacks and that are `wanted`, by the author's index and
/// [`reports_behind`]: this node's own first, then the furthest behind, up to [`FILL_BYTES`].
pub fn missing_reports(
    heads: &Heads,
    table: &ReportTable,
    wanted: impl Fn(usize, u64) -> bool,
) -> Vec<Arc<VerifiedReport>> {
    let me = table.membership().me();
    let behind = (0..table.states().len()).filter_map(|index| {
        let behind = reports_behind(heads, table, index).filter(|&behind| wanted(index, behind))?;
        Some((index != me, std::cmp::Reverse(behind), index))
    });
    let mut behind: Vec<_> = behind.collect();
    behind.sort_unstable();
    within_size_limit(behind.into_iter().filter_map(|(_, _, index)| table.states()[index].latest.clone()))
}

/// The leading `reports` that fit in one message; at least the first, since no report exceeds [`FILL_BYTES`].
fn within_size_limit(reports: impl Iterator<Item = Arc<VerifiedReport>>) -> Vec<Arc<VerifiedReport>> {
    let mut bytes = 0;
    reports
        .take_while(|report| {
            bytes += report.envelope().len() + 1;
            bytes <= FILL_BYTES
        })
        .collect()
}

/// The proofs that the sender of `heads` lacks: at most [`MAX_PROOFS`], and no more than [`FILL_BYTES`] except that the
/// first one is always included.
pub fn missing_proofs(heads: &Heads, table: &ReportTable) -> Vec<Arc<EquivocationProof>> {
    let states = table.states().iter().enumerate();
    let missing = states
        .filter(|(index, _)| heads.get(table.membership(), *index).is_none_or(|head| !head.equivocated))
        .filter_map(|(_, state)| state.equivocation.clone());
    let mut bytes = 0;
    missing
        .enumerate()
        .take(MAX_PROOFS)
        .take_while(|(at, proof)| {
            bytes += proof.reports().iter().map(|report| report.envelope().len()).sum::<usize>();
            *at == 0 || bytes <= FILL_BYTES
        })
        .map(|(_, proof)| proof)
        .collect()
}
