//! The answer in one sentence.

use super::causes::cause_clause;
use crate::mesh::Snapshot;
use crate::mesh::id::Site;
use crate::mesh::verdict::{Cause, NodeStatus, Partition};
use crate::mesh::wire::observation::ProbeStatus;

/// How many nodes are named; the others are counted.
const NAMED: usize = 3;

/// What `snapshot` comes to, in one sentence without a final stop.
pub fn summary(snapshot: &Snapshot) -> String {
    summary_with(snapshot, &clock_time)
}

/// The same, with moments (Unix time in ms) as `clock` writes them.
pub fn summary_with(snapshot: &Snapshot, clock: Clock<'_>) -> String {
    let nodes = &snapshot.verdicts().nodes;
    if snapshot.isolated() {
        return isolated_sentence(snapshot);
    }
    let together = grouped_outages(snapshot);
    let alone = (0..nodes.len())
        .filter(|index| severity(nodes[*index].status) > 0)
        .filter(|index| !together.iter().any(|side| side.nodes.contains(index)))
        .map(|index| (severity(nodes[index].status), index, 1, sentence(snapshot, index, clock)));
    let groups = together.iter().map(|side| {
        let first = side.nodes[0];
        (severity(nodes[first].status), first, side.nodes.len(), group_sentence(snapshot, side, clock))
    });
    let mut troubles: Vec<_> = groups.chain(alone).collect();
    troubles.sort_by_key(|(severity, first, _, _)| (std::cmp::Reverse(*severity), *first));
    if troubles.is_empty() {
        return match (nodes.len(), snapshot.verdicts().links.len()) {
            (1, _) => "this node is up, and alone".to_owned(),
            (count, 0) => format!("all {count} nodes are up"),
            (count, 1) => format!("all {count} nodes are up, and one link does not work"),
            (count, links) => format!("all {count} nodes are up, and {links} links do not work"),
        };
    }
    let left = troubles.split_off(troubles.len().min(NAMED));
    let mut named: Vec<String> = troubles.into_iter().map(|(_, _, _, sentence)| sentence).collect();
    let left: usize = left.iter().map(|(_, _, count, _)| count).sum();
    if left > 0 {
        named.push(format!("and {left} more are not up"));
    }
    named.join("; ")
}

/// Writes a moment: Unix time in ms.
pub type Clock<'c> = &'c dyn Fn(u64) -> String;

/// Sides whose nodes fell silent together and are judged alike: one trouble, not many.
fn grouped_outages(snapshot: &Snapshot) -> Vec<&Partition> {
    let nodes = &snapshot.verdicts().nodes;
    let alike = |side: &&Partition| {
        let first = nodes[side.nodes[0]].status;
        side.nodes.len() > 1
            && matches!(first, NodeStatus::Down | NodeStatus::Unknown)
            && side.nodes.iter().all(|&index| nodes[index].status == first)
    };
    snapshot.verdicts().partitions.iter().filter(alike).collect()
}

fn group_sentence(snapshot: &Snapshot, side: &Partition, clock: Clock<'_>) -> String {
    let members = snapshot.membership().members();
    let mut names: Vec<&str> =
        side.nodes.iter().take(NAMED).map(|&index| members[index].id.as_str()).collect();
    let more = format!("{} more", side.nodes.len().saturating_sub(NAMED));
    if side.nodes.len() > NAMED {
        names.push(&more);
    }
    let sites: Vec<&str> = side.sites.iter().map(Site::as_str).collect();
    let who = match sites.len() {
        0 => list(&names),
        1 => format!("site {} ({})", sites[0], list(&names)),
        _ => format!("sites {} ({})", list(&sites), list(&names)),
    };
    let is = if sites.len() == 1 { "is" } else { "are" };
    let first = side.nodes[0];
    let verdict = &snapshot.verdicts().nodes[first];
    let since = since(snapshot, first, clock);
    let causes = cause_clause(&verdict.causes);
    if verdict.status == NodeStatus::Down {
        format!("{who} {is} down since {since}, all at once{causes}")
    } else {
        format!("{who} {is} silent since {since}, and no quorum confirms that they are down{causes}")
    }
}

/// `a, b and c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn since(snapshot: &Snapshot, index: usize, clock: Clock<'_>) -> String {
    snapshot.tracker().nodes().nth(index).map(|tracked| clock(tracked.since_ms)).unwrap_or_default()
}

/// How much a status matters, from 0 for what is as it should be to 6.
pub fn severity(status: NodeStatus) -> u8 {
    match status {
        NodeStatus::Up => 0,
        NodeStatus::Stopped => 1,
        NodeStatus::NeverSeen => 2,
        NodeStatus::Degraded => 3,
        NodeStatus::Unknown => 4,
        NodeStatus::Down => 5,
        NodeStatus::Conflict => 6,
    }
}

fn isolated_sentence(snapshot: &Snapshot) -> String {
    let own = snapshot.own_report().map(|own| &own.report().observations[..]).unwrap_or_default();
    let reached = own.iter().filter(|(_, found)| found.status == ProbeStatus::Online).count();
    format!("you are cut off: this node reaches {reached} of {}; I cannot tell about the others", own.len())
}

/// What is concluded of the node with this index, in one sentence without a final stop.
pub fn sentence(snapshot: &Snapshot, index: usize, clock: Clock<'_>) -> String {
    let verdict = &snapshot.verdicts().nodes[index];
    let id = &snapshot.membership().members()[index].id;
    let tracked = snapshot.tracker().nodes().nth(index);
    let vote_count = &verdict.vote_count;
    let since = since(snapshot, index, clock);
    let causes = cause_clause(&verdict.causes);
    match verdict.status {
        NodeStatus::Down => {
            format!(
                "{id} is down: {} of {} observers, since {since}{causes}",
                vote_count.offline, vote_count.electorate
            )
        }
        NodeStatus::Unknown => {
            let before = tracked.and_then(|tracked| tracked.decided);
            let before = before.map_or(String::new(), |(status, _)| format!(" (was {status})"));
            format!("{id} is silent since {since}{before}, and no quorum confirms that it is down{causes}")
        }
        NodeStatus::Degraded if verdict.causes.contains(&Cause::Node) => {
            format!(
                "{id} may be down: {} of {} observers do not reach it, and it has not reported since{causes}",
                vote_count.offline, vote_count.electorate
            )
        }
        NodeStatus::Degraded if vote_count.offline < 2 => {
            format!("{id} is alive, but does not reach most of the others{causes}")
        }
        NodeStatus::Degraded => {
            format!(
                "{id} is alive, but {} of {} observers do not reach it{causes}",
                vote_count.offline, vote_count.electorate
            )
        }
        NodeStatus::Stopped => format!("{id} was stopped on purpose"),
        NodeStatus::NeverSeen => format!("{id} was never seen"),
        NodeStatus::Conflict => {
            format!(
                "{id} signed two different reports with one number: a clone, a restored snapshot or a stolen key"
            )
        }
        NodeStatus::Up => format!("{id} is up"),
    }
}

/// The time of the day of Unix time in ms, as `12:03:10 UTC`.
fn clock_time(wall_ms: u64) -> String {
    let s = wall_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02} UTC", s / 3600, s / 60 % 60, s % 60)
}
