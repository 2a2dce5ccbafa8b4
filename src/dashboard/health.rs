//! The health of a network or node, for titles, icons and colours.

use super::assets::{self, Asset};
use crate::mesh::Snapshot;
use crate::mesh::verdict::NodeStatus;

/// The health of a network, node or link, in ascending order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// Every node is up or was stopped on purpose, and every link works.
    Ok,
    /// A node is degraded, unknown or was never seen, or a link does not work.
    Warning,
    /// This node is isolated, or has no report of any other node yet.
    Unknown,
    /// A node is down, or two processes sign with the same key.
    Critical,
}

impl Health {
    /// Returns the health of the network in `snapshot`.
    pub(super) fn of_network(snapshot: &Snapshot) -> Self {
        let nodes = &snapshot.verdicts().nodes;
        let any = |statuses: &[NodeStatus]| nodes.iter().any(|verdict| statuses.contains(&verdict.status));
        if snapshot.duplicate_key() || any(&[NodeStatus::Conflict]) {
            return Self::Critical;
        }
        if snapshot.isolated() || no_peer_seen(snapshot) {
            return Self::Unknown;
        }
        if any(&[NodeStatus::Down]) {
            return Self::Critical;
        }
        let is_ok = !any(&[NodeStatus::Degraded, NodeStatus::Unknown, NodeStatus::NeverSeen])
            && snapshot.verdicts().links.is_empty();
        if is_ok { Self::Ok } else { Self::Warning }
    }

    /// Returns the health of a node with this status.
    pub(super) fn of_node(status: NodeStatus) -> Self {
        match status {
            NodeStatus::Up | NodeStatus::Stopped => Self::Ok,
            NodeStatus::Degraded | NodeStatus::Unknown | NodeStatus::NeverSeen => Self::Warning,
            NodeStatus::Down | NodeStatus::Conflict => Self::Critical,
        }
    }

    /// Returns the value of `data-health`, which scripts and styles use.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
        }
    }

    /// Returns the class that colours an element.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Ok => "health-ok",
            Self::Warning => "health-warning",
            Self::Unknown => "health-unknown",
            Self::Critical => "health-critical",
        }
    }

    /// Returns the symbol at the start of a title.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Ok => "✓",
            Self::Warning => "▲",
            Self::Unknown => "?",
            Self::Critical => "✕",
        }
    }

    /// Returns the icon of a page with this health.
    pub(super) fn icon(self) -> &'static Asset {
        match self {
            Self::Ok => &assets::OK,
            Self::Warning => &assets::WARNING,
            Self::Unknown => &assets::UNKNOWN,
            Self::Critical => &assets::CRITICAL,
        }
    }
}

/// Returns whether no other node has shown a sign of life since this node started.
pub(super) fn no_peer_seen(snapshot: &Snapshot) -> bool {
    let me = snapshot.membership().me();
    let verdicts = snapshot.verdicts().nodes.iter().zip(snapshot.tracker().nodes()).enumerate();
    let no_sign = verdicts.filter(|(index, _)| *index != me).all(|(_, (verdict, tracked))| {
        verdict.status == NodeStatus::NeverSeen
            || (verdict.status == NodeStatus::Unknown && tracked.decided.is_none())
    });
    no_sign && snapshot.membership().members().len() > 1
}

/// Summarises a network for a title, worst first: `1 down, 2 stopped, 1 link cut`, or `all 5 up`.
pub(super) fn title_summary(snapshot: &Snapshot) -> String {
    if snapshot.duplicate_key() {
        return "duplicate key".to_owned();
    }
    if snapshot.isolated() {
        return "isolated".to_owned();
    }
    let links = match snapshot.verdicts().links.len() {
        0 => None,
        1 => Some("1 link cut".to_owned()),
        links => Some(format!("{links} links cut")),
    };
    let counts = status_counts(snapshot);
    let not_up = counts.iter().filter(|(status, _)| *status != NodeStatus::Up);
    let parts: Vec<_> = not_up.map(|(status, count)| format!("{count} {status}")).chain(links).collect();
    if parts.is_empty() {
        return format!("all {} up", snapshot.membership().members().len());
    }
    parts.join(", ")
}

/// Counts the nodes with each status, worst first, without statuses that no node has.
pub(super) fn status_counts(snapshot: &Snapshot) -> Vec<(NodeStatus, usize)> {
    use NodeStatus::{Conflict, Degraded, Down, NeverSeen, Stopped, Unknown, Up};
    let nodes = &snapshot.verdicts().nodes;
    let count = |status| nodes.iter().filter(|verdict| verdict.status == status).count();
    [Conflict, Down, Unknown, Degraded, NeverSeen, Stopped, Up]
        .into_iter()
        .map(|status| (status, count(status)))
        .filter(|(_, count)| *count > 0)
        .collect()
}
