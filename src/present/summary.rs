//! The state of a network, or of a node, in one sentence.
//!
//! `headline` in the JSON of a network is [`summary`], so programs may compare these sentences: they do not change.

use super::causes::cause_clause;
use crate::mesh::Snapshot;
use crate::mesh::id::Site;
use crate::mesh::verdict::{Cause, NodeStatus, Partition, Rule};
use crate::mesh::wire::observation::ProbeStatus;

/// The number of nodes that a sentence names; the others are counted.
const MAX_NAMED: usize = 3;

/// Summarises `snapshot` in one sentence without a final stop.
pub fn summary(snapshot: &Snapshot) -> String {
    summary_with(snapshot, &time_of_day)
}

/// Like [`summary`], with times formatted by `format_time`.
pub fn summary_with(snapshot: &Snapshot, format_time: TimeFormat<'_>) -> String {
    let nodes = &snapshot.verdicts().nodes;
    // The sentence counts the observations in this node's report.
    if snapshot.isolated() && !snapshot.recovers_epoch() {
        return isolated_sentence(snapshot);
    }
    let grouped = grouped_outages(snapshot);
    let single = (0..nodes.len())
        .filter(|index| severity(nodes[*index].status) > 0)
        .filter(|index| !grouped.iter().any(|group| group.nodes.contains(index)))
        .map(|index| (severity(nodes[index].status), index, 1, sentence(snapshot, index, format_time)));
    let groups = grouped.iter().map(|group| {
        let first = group.nodes[0];
        (
            severity(nodes[first].status),
            first,
            group.nodes.len(),
            group_sentence(snapshot, group, format_time),
        )
    });
    let mut problems: Vec<_> = groups.chain(single).collect();
    problems.sort_by_key(|(severity, first, _, _)| (std::cmp::Reverse(*severity), *first));
    if problems.is_empty() {
        return match (nodes.len(), snapshot.verdicts().links.len()) {
            (1, _) => "this node is up, and alone".to_owned(),
            (count, 0) => format!("all {count} nodes are up"),
            (count, 1) => format!("all {count} nodes are up, and one link does not work"),
            (count, links) => format!("all {count} nodes are up, and {links} links do not work"),
        };
    }
    let rest = problems.split_off(problems.len().min(MAX_NAMED));
    let mut named: Vec<String> = problems.into_iter().map(|(_, _, _, sentence)| sentence).collect();
    let more: usize = rest.iter().map(|(_, _, count, _)| count).sum();
    if more > 0 {
        named.push(format!("and {more} more are not up"));
    }
    named.join("; ")
}

/// Formats a time, given as Unix time in ms.
pub type TimeFormat<'f> = &'f dyn Fn(u64) -> String;

/// Returns the partitions whose nodes are silent and have the same status: each is one problem.
fn grouped_outages(snapshot: &Snapshot) -> Vec<&Partition> {
    let nodes = &snapshot.verdicts().nodes;
    let has_one_status = |partition: &&Partition| {
        let first = nodes[partition.nodes[0]].status;
        partition.nodes.len() > 1
            && matches!(first, NodeStatus::Down | NodeStatus::Unknown)
            && partition.nodes.iter().all(|&index| nodes[index].status == first)
    };
    snapshot.verdicts().partitions.iter().filter(has_one_status).collect()
}

fn group_sentence(snapshot: &Snapshot, group: &Partition, format_time: TimeFormat<'_>) -> String {
    let members = snapshot.membership().members();
    let mut names: Vec<&str> =
        group.nodes.iter().take(MAX_NAMED).map(|&index| members[index].id.as_str()).collect();
    let more = format!("{} more", group.nodes.len().saturating_sub(MAX_NAMED));
    if group.nodes.len() > MAX_NAMED {
        names.push(&more);
    }
    let sites: Vec<&str> = group.sites.iter().map(Site::as_str).collect();
    let subject = match sites.len() {
        0 => list(&names),
        1 => format!("site {} ({})", sites[0], list(&names)),
        _ => format!("sites {} ({})", list(&sites), list(&names)),
    };
    let is = if sites.len() == 1 { "is" } else { "are" };
    let first = group.nodes[0];
    let verdict = &snapshot.verdicts().nodes[first];
    let since = since(snapshot, first, format_time);
    let causes = cause_clause(&verdict.causes);
    if verdict.rule == Rule::Incompatible {
        let run = if group.nodes.len() == 1 || sites.len() == 1 { "runs" } else { "run" };
        format!(
            "{subject} {run} an incompatible release, since {since}: install the same release on all hosts"
        )
    } else if verdict.status == NodeStatus::Down {
        format!("{subject} {is} down since {since}, all at once{causes}")
    } else {
        format!("{subject} {is} silent since {since}, and no quorum confirms that they are down{causes}")
    }
}

/// Joins names as in `a, b and c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn since(snapshot: &Snapshot, index: usize, format_time: TimeFormat<'_>) -> String {
    snapshot.tracker().nodes().nth(index).map(|tracked| format_time(tracked.since_ms)).unwrap_or_default()
}

/// Returns the severity of a status, from 0 for a healthy node to 6.
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

/// Summarises the verdict on the node with this index in one sentence without a final stop.
pub fn sentence(snapshot: &Snapshot, index: usize, format_time: TimeFormat<'_>) -> String {
    let verdict = &snapshot.verdicts().nodes[index];
    let id = &snapshot.membership().members()[index].id;
    let tracked = snapshot.tracker().nodes().nth(index);
    let vote_count = &verdict.vote_count;
    let since = since(snapshot, index, format_time);
    let causes = cause_clause(&verdict.causes);
    match verdict.status {
        NodeStatus::Down => {
            format!(
                "{id} is down: {} of {} observers, since {since}{causes}",
                vote_count.offline, vote_count.electorate
            )
        }
        NodeStatus::Unknown if verdict.rule == Rule::Incompatible => {
            format!("{id} runs an incompatible release, since {since}: install the same release on all hosts")
        }
        NodeStatus::Unknown => {
            let before = tracked.and_then(|tracked| tracked.decided);
            let before = before.map_or(String::new(), |(status, _)| format!(" (was {status})"));
            format!("{id} is silent since {since}{before}, and no quorum confirms that it is down{causes}")
        }
        NodeStatus::Degraded if verdict.rule == Rule::Recovering => {
            format!("{id} is recovering its epoch and publishes no reports yet{causes}")
        }
        NodeStatus::Degraded if verdict.rule == Rule::EpochExhausted => {
            format!("{id} has no epoch left and publishes no reports: give it a new key{causes}")
        }
        NodeStatus::Degraded if verdict.rule == Rule::Busy => {
            format!("{id} answers {} of its observers that it is overloaded{causes}", vote_count.busy)
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

/// Formats the time of day of Unix time in ms as `12:03:10 UTC`.
fn time_of_day(wall_ms: u64) -> String {
    let s = wall_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02} UTC", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Net;

    #[test]
    fn node_without_reports() {
        let net = Net::new("net", 2);
        for (is_exhausted, expected) in [
            (false, "node-00 is recovering its epoch and publishes no reports yet, cause: not publishing"),
            (
                true,
                "node-00 has no epoch left and publishes no reports: give it a new key, cause: not publishing",
            ),
        ] {
            let summary = summary(&net.recovering_node(is_exhausted).snapshot());
            assert!(summary.contains(expected), "{summary}");
        }
    }
}
