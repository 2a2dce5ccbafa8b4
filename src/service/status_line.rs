//! The status line for `systemctl status`.

use std::fmt::Write as _;

use crate::mesh::Snapshot;
use crate::mesh::verdict::NodeStatus;
use crate::mesh::wire::observation::ProbeStatus;
use crate::present::summary::summary;
use crate::server::ServedInstance;

/// Returns for each network the number of nodes and of those that this node finds online, itself included; a summary
/// unless all are up; and a warning if another process uses this node's key. Without an own report, what the node finds
/// is not shown.
pub(super) fn status_line(instance: &ServedInstance) -> String {
    let one = instance.nodes.len() == 1;
    let words = instance.nodes.iter().map(|(id, node)| {
        let counts = counts(&node.snapshot());
        if one { counts } else { format!("{id}: {counts}") }
    });
    words.collect::<Vec<_>>().join("; ")
}

fn counts(snapshot: &Snapshot) -> String {
    let nodes = snapshot.membership().members().len();
    let word = if nodes == 1 { "node" } else { "nodes" };
    if snapshot.epoch_exhausted() {
        return format!("{nodes} {word}; NO EPOCH IS LEFT, publishing no reports: give this node a new key");
    }
    if snapshot.recovers_epoch() {
        return format!("{nodes} {word}; recovering the epoch, publishing no reports yet");
    }
    let own = snapshot.own_report();
    let observations = own.into_iter().flat_map(|own| &own.report().observations);
    let online = 1 + observations.filter(|(_, found)| found.status == ProbeStatus::Online).count();
    let mut line = format!("{nodes} {word}, {online} online");
    if snapshot.verdicts().nodes.iter().any(|verdict| verdict.status != NodeStatus::Up) {
        let _ = write!(line, "; {}", summary(snapshot));
    }
    if snapshot.duplicate_key() {
        line.push_str(" (ANOTHER PROCESS USES THIS NODE'S KEY)");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Net;

    #[test]
    fn node_without_reports() {
        let net = Net::new("net", 2);
        for (is_exhausted, expected) in [
            (false, "2 nodes; recovering the epoch, publishing no reports yet"),
            (true, "2 nodes; NO EPOCH IS LEFT, publishing no reports: give this node a new key"),
        ] {
            assert_eq!(counts(&net.recovering_node(is_exhausted).snapshot()), expected);
        }
    }
}
