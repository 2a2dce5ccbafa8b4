//! The status in one line, for `systemctl status`.

use std::fmt::Write as _;

use crate::mesh::Picture;
use crate::mesh::observation::Status;
use crate::mesh::verdict::Standing;
use crate::mesh::verdict::headline::headline;
use crate::server::Instance;

/// How many nodes there are and how many are online, as this node finds them; it counts itself.
pub(super) fn line(instance: &Instance) -> String {
    let one = instance.nodes.len() == 1;
    let words = instance.nodes.iter().map(|(id, node)| {
        let counts = counts(&node.picture());
        if one { counts } else { format!("{id}: {counts}") }
    });
    words.collect::<Vec<_>>().join("; ")
}

fn counts(picture: &Picture) -> String {
    let nodes = picture.roster().members().len();
    let own = picture.own_report();
    let observations = own.into_iter().flat_map(|own| &own.report().observations);
    let online = 1 + observations.filter(|(_, found)| found.status == Status::Online).count();
    let mut line = format!("{nodes} {}, {online} online", if nodes == 1 { "node" } else { "nodes" });
    if picture.verdicts().nodes.iter().any(|verdict| verdict.standing != Standing::Up) {
        let _ = write!(line, "; {}", headline(picture));
    }
    if picture.twin() {
        line.push_str(" (ANOTHER PROCESS USES THIS NODE'S KEY)");
    }
    line
}
