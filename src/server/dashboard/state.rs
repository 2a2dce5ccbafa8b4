//! How a network stands, at one glance: for titles, icons and colours.

use super::assets::{self, Asset};
use crate::mesh::Picture;
use crate::mesh::verdict::Standing;

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
    /// What `picture` comes to.
    pub(super) fn of(picture: &Picture) -> Self {
        let nodes = &picture.verdicts().nodes;
        let any = |standings: &[Standing]| nodes.iter().any(|verdict| standings.contains(&verdict.standing));
        if picture.twin() || any(&[Standing::Conflict]) {
            return Self::Bad;
        }
        if picture.isolated() || knows_nobody(picture) {
            return Self::Blind;
        }
        if any(&[Standing::Down]) {
            return Self::Bad;
        }
        let is_well = !any(&[Standing::Degraded, Standing::Unknown, Standing::NeverSeen])
            && picture.verdicts().links.is_empty();
        if is_well { Self::Good } else { Self::Warn }
    }

    /// How one node stands.
    pub(super) fn of_node(standing: Standing) -> Self {
        match standing {
            Standing::Up | Standing::Stopped => Self::Good,
            Standing::Degraded | Standing::Unknown | Standing::NeverSeen => Self::Warn,
            Standing::Down | Standing::Conflict => Self::Bad,
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
pub(super) fn knows_nobody(picture: &Picture) -> bool {
    let me = picture.roster().me();
    let standings = picture.verdicts().nodes.iter().zip(picture.settled().nodes()).enumerate();
    let silent = standings.filter(|(index, _)| *index != me).all(|(_, (verdict, settled))| {
        verdict.standing == Standing::NeverSeen
            || (verdict.standing == Standing::Unknown && settled.decided.is_none())
    });
    silent && picture.roster().members().len() > 1
}

/// What is not as it should be, worst first: `1 down, 2 stopped, 1 link cut`; with nothing, `all 5 up`.
pub(super) fn brief(picture: &Picture) -> String {
    if picture.twin() {
        return "this node has a twin".to_owned();
    }
    if picture.isolated() {
        return "cut off".to_owned();
    }
    let links = match picture.verdicts().links.len() {
        0 => None,
        1 => Some("1 link cut".to_owned()),
        links => Some(format!("{links} links cut")),
    };
    let counts = counts(picture);
    let others = counts.iter().filter(|(standing, _)| *standing != Standing::Up);
    let words: Vec<_> = others.map(|(standing, count)| format!("{count} {standing}")).chain(links).collect();
    if words.is_empty() {
        return format!("all {} up", picture.roster().members().len());
    }
    words.join(", ")
}

/// How many nodes stand how, worst first, without those of which there are none.
pub(super) fn counts(picture: &Picture) -> Vec<(Standing, usize)> {
    use Standing::{Conflict, Degraded, Down, NeverSeen, Stopped, Unknown, Up};
    let nodes = &picture.verdicts().nodes;
    let count = |standing| nodes.iter().filter(|verdict| verdict.standing == standing).count();
    [Conflict, Down, Unknown, Degraded, NeverSeen, Stopped, Up]
        .into_iter()
        .map(|standing| (standing, count(standing)))
        .filter(|(_, count)| *count > 0)
        .collect()
}
