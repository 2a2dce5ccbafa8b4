//! How a network stands, at one glance: for titles, icons and colours.

use super::assets::{self, Asset};
use crate::mesh::Snapshot;
use crate::mesh::verdict::NodeStatus;

/// How a network stands. The worst of several is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// All is as it should be; some may be stopped on purpose.
    Good,
    /// Something is not as it should be, or could not be decided.
    Warn,
    /// This node cannot tell: it is cut off, or has heard of nobody yet.
    Blind,
    /// A node is down, or a key is misused.
    Bad,
}

impl State {
    /// What `snapshot` comes to.
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let nodes = &snapshot.verdicts().nodes;
        let any = |standings: &[NodeStatus]| nodes.iter().any(|verdict| standings.contains(&verdict.status));
        if snapshot.duplicate_key() || any(&[NodeStatus::Conflict]) {
            return Self::Bad;
        }
        if snapshot.isolated() || knows_nobody(snapshot) {
            return Self::Blind;
        }
        if any(&[NodeStatus::Down]) {
            return Self::Bad;
        }
        let is_well = !any(&[NodeStatus::Degraded, NodeStatus::Unknown, NodeStatus::NeverSeen])
            && snapshot.verdicts().links.is_empty();
        if is_well { Self::Good } else { Self::Warn }
    }

    /// How one node stands.
    pub(super) fn of_node(standing: NodeStatus) -> Self {
        match standing {
            NodeStatus::Up | NodeStatus::Stopped => Self::Good,
            NodeStatus::Degraded | NodeStatus::Unknown | NodeStatus::NeverSeen => Self::Warn,
            NodeStatus::Down | NodeStatus::Conflict => Self::Bad,
        }
    }

    /// The word that scripts and styles know it by.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Blind => "blind",
        }
    }

    /// The symbol that a title begins with.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Warn => "▲",
            Self::Bad => "✕",
            Self::Blind => "?",
        }
    }

    /// The icon of a page.
    pub(super) fn icon(self) -> &'static Asset {
        match self {
            Self::Good => &assets::GOOD,
            Self::Warn => &assets::WARN,
            Self::Bad => &assets::BAD,
            Self::Blind => &assets::BLIND,
        }
    }
}

/// Whether nothing was ever heard of any other node.
pub(super) fn knows_nobody(snapshot: &Snapshot) -> bool {
    let me = snapshot.membership().me();
    let standings = snapshot.verdicts().nodes.iter().zip(snapshot.tracker().nodes()).enumerate();
    let silent = standings.filter(|(index, _)| *index != me).all(|(_, (verdict, settled))| {
        verdict.status == NodeStatus::NeverSeen
            || (verdict.status == NodeStatus::Unknown && settled.decided.is_none())
    });
    silent && snapshot.membership().members().len() > 1
}

/// What is not as it should be, worst first: `1 down, 2 stopped, 1 link cut`; with nothing, `all 5 up`.
pub(super) fn brief(snapshot: &Snapshot) -> String {
    if snapshot.duplicate_key() {
        return "this node has a twin".to_owned();
    }
    if snapshot.isolated() {
        return "cut off".to_owned();
    }
    let links = match snapshot.verdicts().links.len() {
        0 => None,
        1 => Some("1 link cut".to_owned()),
        links => Some(format!("{links} links cut")),
    };
    let counts = counts(snapshot);
    let others = counts.iter().filter(|(standing, _)| *standing != NodeStatus::Up);
    let words: Vec<_> = others.map(|(standing, count)| format!("{count} {standing}")).chain(links).collect();
    if words.is_empty() {
        return format!("all {} up", snapshot.membership().members().len());
    }
    words.join(", ")
}

/// How many nodes stand how, worst first, without those of which there are none.
pub(super) fn counts(snapshot: &Snapshot) -> Vec<(NodeStatus, usize)> {
    use NodeStatus::{Conflict, Degraded, Down, NeverSeen, Stopped, Unknown, Up};
    let nodes = &snapshot.verdicts().nodes;
    let count = |standing| nodes.iter().filter(|verdict| verdict.status == standing).count();
    [Conflict, Down, Unknown, Degraded, NeverSeen, Stopped, Up]
        .into_iter()
        .map(|standing| (standing, count(standing)))
        .filter(|(_, count)| *count > 0)
        .collect()
}
