//! Journal lines about the state of a network.

use std::fmt::{Display, Write as _};

use log::{Level, error, info, log, warn};

use super::causes::{cause_clause, join_causes};
use super::duration::format_seconds;
use crate::journal::message_id;
use crate::mesh::Snapshot;
use crate::mesh::engine::event::Notice;
use crate::mesh::id::NodeId;
use crate::mesh::verdict::NodeStatus;
use crate::mesh::verdict::outage::OutageKind;
use crate::mesh::verdict::tracker::VerdictChange;

/// The number of nodes that a line names; the others are counted.
const MAX_NAMED: usize = 5;

/// Writes `notice` of `snapshot`'s node to the journal.
///
/// `allow` limits lines that a peer can repeat: for the subject of such a line it returns `None` to suppress the
/// line, or the text that ends it, such as the number of suppressed lines.
pub fn log_notice<S: Display>(snapshot: &Snapshot, notice: &Notice, allow: impl FnOnce(&str) -> Option<S>) {
    let network = snapshot.membership().network_id().as_str();
    let node = snapshot.membership().own().id.as_str();
    let id = message_id_of(notice);
    let text = notice_text(notice);
    match notice {
        Notice::VerdictChanged(change) => log!(
            verdict_level(change),
            MESSAGE_ID = id,
            DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = change.node.as_str(),
            DISTOMON_VERDICT = change.to.status.as_str(), DISTOMON_CAUSE = join_causes(&change.causes).as_str();
            "{network}: {text}"
        ),
        // The observation of a single node is no reason for an alarm; a verdict is.
        Notice::PeerStatusChanged { .. }
        | Notice::IsolationChanged(false)
        | Notice::OverloadChanged(false)
        | Notice::ConfigMatch
        | Notice::EpochRecovered { .. } => {
            let peer = subject(notice);
            info!(MESSAGE_ID = id, DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = peer; "{network}: {text}");
        }
        Notice::DuplicateKey { .. } | Notice::Equivocated { .. } => {
            // Each report of the other process raises this notice.
            let peer = subject(notice);
            let Some(suppressed) = allow(peer) else { return };
            error!(MESSAGE_ID = id, DISTOMON_NETWORK = network, DISTOMON_NODE = node, DISTOMON_PEER = peer; "{network}: {text}{suppressed}");
        }
        Notice::NoEpochLeft { .. } => {
            error!(MESSAGE_ID = id, DISTOMON_NETWORK = network, DISTOMON_NODE = node; "{network}: {text}");
        }
        Notice::Superseded { .. }
        | Notice::ResumedAfterGap { .. }
        | Notice::IsolationChanged(true)
        | Notice::OverloadChanged(true)
        | Notice::ConfigMismatch { .. } => {
            warn!(MESSAGE_ID = id, DISTOMON_NETWORK = network, DISTOMON_NODE = node; "{network}: {text}");
        }
    }
}

/// Returns the peer that `notice` is about, or an empty text for a notice about this node itself.
fn subject(notice: &Notice) -> &str {
    match notice {
        Notice::PeerStatusChanged { peer: node, .. } | Notice::Equivocated { node, .. } => node.as_str(),
        _ => "",
    }
}

fn verdict_level(change: &VerdictChange) -> Level {
    match change.to.status {
        NodeStatus::Down | NodeStatus::Conflict => Level::Error,
        // Every node is unknown right after the start.
        NodeStatus::Unknown if change.to.decided.is_none() => Level::Info,
        NodeStatus::Degraded | NodeStatus::Unknown => Level::Warn,
        NodeStatus::Up | NodeStatus::Stopped | NodeStatus::NeverSeen => Level::Info,
    }
}

fn message_id_of(notice: &Notice) -> &'static str {
    match notice {
        Notice::PeerStatusChanged { .. } => message_id::PEER_STATUS,
        Notice::Equivocated { .. } => message_id::EQUIVOCATION,
        Notice::Superseded { .. } => message_id::SUPERSEDED,
        Notice::DuplicateKey { .. } => message_id::DUPLICATE_KEY,
        Notice::EpochRecovered { .. } => message_id::EPOCH_RECOVERED,
        Notice::NoEpochLeft { .. } => message_id::NO_EPOCH_LEFT,
        Notice::ResumedAfterGap { .. } => message_id::RESUMED,
        Notice::IsolationChanged(true) => message_id::ISOLATED,
        Notice::IsolationChanged(false) => message_id::ISOLATION_CLEARED,
        Notice::OverloadChanged(true) => message_id::OVERLOADED,
        Notice::OverloadChanged(false) => message_id::OVERLOAD_ENDED,
        Notice::ConfigMismatch { .. } => message_id::CONFIG_MISMATCH,
        Notice::ConfigMatch => message_id::CONFIG_MATCH,
        Notice::VerdictChanged(change) => match change.to.status {
            NodeStatus::Up => message_id::UP,
            NodeStatus::Degraded => message_id::DEGRADED,
            NodeStatus::Down => message_id::DOWN,
            NodeStatus::Stopped => message_id::STOPPED,
            NodeStatus::Unknown => message_id::UNKNOWN,
            NodeStatus::NeverSeen => message_id::NEVER_SEEN,
            NodeStatus::Conflict => message_id::CONFLICT,
        },
    }
}

/// Describes `notice` in one sentence without a final stop.
pub fn notice_text(notice: &Notice) -> String {
    match notice {
        Notice::PeerStatusChanged { peer, from, to, error } => {
            let reason = error.map(|error| format!(": {}", error.meaning())).unwrap_or_default();
            format!("{peer} is {to} (was {from}){reason}")
        }
        Notice::Equivocated { node, report_id } => format!(
            "{node} signed two different reports as {report_id}: a cloned machine, a restored snapshot or a \
             stolen key; both are stored as evidence"
        ),
        Notice::Superseded { report_id, epoch } => format!(
            "a peer holds a newer report {report_id} under this node's key: the state of this node was lost or \
             restored from a copy; continuing with epoch {epoch}"
        ),
        Notice::DuplicateKey { report_id } => format!(
            "another process signs with this node's key (its report {report_id}): stop one of the two, then \
             give this node a new key"
        ),
        Notice::EpochRecovered { epoch } => {
            format!("recovered the epoch: publishing reports again, with epoch {epoch}")
        }
        Notice::NoEpochLeft { report_id } => format!(
            "a peer holds the report {report_id} under this node's key, which has the largest possible epoch: \
             cannot publish another report; give this node a new key"
        ),
        Notice::ResumedAfterGap { gap_ms } => format!(
            "this process did not run for {} s: the host was suspended or overloaded; discarded \
             what it received before",
            gap_ms / 1000
        ),
        Notice::VerdictChanged(change) => verdict_change_text(change),
        Notice::IsolationChanged(true) => {
            "more than half of the peers are offline from here: this node may be isolated; check its network"
                .to_owned()
        }
        Notice::IsolationChanged(false) => "most peers are online from here again".to_owned(),
        Notice::OverloadChanged(true) => {
            "this node is overloaded: its threads run late; other nodes wait longer before they call it down"
                .to_owned()
        }
        Notice::OverloadChanged(false) => "this node is no longer overloaded".to_owned(),
        Notice::ConfigMismatch { nodes } => format!(
            "{}: configuration has differed from this node's for a minute or more; update config.yml and the \
             public keys on all nodes",
            name_some(nodes)
        ),
        Notice::ConfigMatch => "all nodes that report have the same configuration again".to_owned(),
    }
}

fn name_some(nodes: &[NodeId]) -> String {
    let named: Vec<_> = nodes.iter().take(MAX_NAMED).map(NodeId::as_str).collect();
    match nodes.len().saturating_sub(MAX_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn verdict_change_text(change: &VerdictChange) -> String {
    let status = change.to.status;
    let mut text = format!("{} is {status}", change.node);
    if let Some(from) = change.from.filter(|from| *from != status) {
        let _ = write!(text, " (was {from})");
    }
    text += &cause_clause(&change.causes);
    if change.proves_life() {
        let _ = write!(text, " (was {}: it is alive)", join_causes(&change.previous_causes));
    }
    match (status, change.offline) {
        (NodeStatus::Degraded, (0 | 1, _)) => text += "; it does not reach most other nodes",
        (NodeStatus::Down | NodeStatus::Unknown | NodeStatus::Degraded, (offline, electorate)) => {
            let _ = write!(text, "; {offline} of {electorate} observers do not reach it");
        }
        _ => {}
    }
    if matches!(status, NodeStatus::Down | NodeStatus::Unknown) {
        let _ = write!(text, ", no sign of life for {}", format_seconds(change.silent_ms));
    }
    if let Some(outage) =
        change.to.outage.filter(|outage| status.is_alive() && outage.to_ms == change.to.since_ms)
    {
        let outage_s = outage.to_ms.saturating_sub(outage.from_ms) / 1000;
        let _ = match outage.kind {
            OutageKind::CutOff => write!(text, "; it kept running, cut off from this node for {outage_s} s"),
            OutageKind::Restarted => write!(text, "; it restarted after {outage_s} s without a sign of life"),
            OutageKind::Hung => write!(text, "; it hung for {outage_s} s"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::verdict::Cause;
    use crate::mesh::verdict::tracker::TrackedVerdict;

    #[test]
    fn verdict_changes() {
        use Cause::{Ingress, Link, Node};
        use NodeStatus::{Degraded, Down, Up};
        let change = |from, to: NodeStatus, causes: &[Cause], former: &[Cause], offline| {
            let change = VerdictChange {
                node: "b".parse().expect("a name"),
                index: 1,
                from,
                to: TrackedVerdict::sample(to),
                causes: causes.to_vec(),
                previous_causes: former.to_vec(),
                offline,
                silent_ms: 5_240,
            };
            (change.is_notable(), verdict_change_text(&change))
        };
        for ((from, to, causes, former, offline), is_notable, expected) in [
            ((None, Up, &[][..], &[][..], (0, 2)), false, "b is up"),
            (
                (Some(Up), Degraded, &[Node, Ingress], &[], (2, 2)),
                true,
                "b is degraded (was up), cause: node or ingress; 2 of 2 observers do not reach it",
            ),
            (
                (Some(Degraded), Degraded, &[Ingress], &[Node, Ingress], (2, 2)),
                true,
                "b is degraded, cause: ingress (was node or ingress: it is alive); 2 of 2 observers do not reach it",
            ),
            (
                (Some(Degraded), Degraded, &[Ingress], &[Link], (2, 2)),
                false,
                "b is degraded, cause: ingress; 2 of 2 observers do not reach it",
            ),
            (
                (Some(Up), Degraded, &[Link], &[], (0, 0)),
                true,
                "b is degraded (was up), cause: link; it does not reach most other nodes",
            ),
            (
                (Some(Degraded), Down, &[Node], &[Node, Ingress], (2, 2)),
                true,
                "b is down (was degraded), cause: node; 2 of 2 observers do not reach it, no sign of life for 5.2 s",
            ),
        ] {
            assert_eq!(change(from, to, causes, former, offline), (is_notable, expected.to_owned()));
        }
    }
}
