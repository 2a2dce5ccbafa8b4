//! The answer in one sentence.

use super::{Standing, Verdict};
use crate::mesh::Picture;
use crate::mesh::observation::Status;

/// How many nodes are named; the others are counted.
const NAMED: usize = 3;

/// What `picture` comes to, in one sentence without a final stop.
pub fn headline(picture: &Picture) -> String {
    let nodes = &picture.verdicts().nodes;
    if picture.isolated() {
        return cut_off(picture);
    }
    let mut troubled: Vec<usize> =
        (0..nodes.len()).filter(|&index| severity(nodes[index].standing) > 0).collect();
    troubled.sort_by_key(|&index| (std::cmp::Reverse(severity(nodes[index].standing)), index));
    if troubled.is_empty() {
        return match nodes.len() {
            1 => "this node is up, and alone".to_owned(),
            count => format!("all {count} nodes are up"),
        };
    }
    let mut named: Vec<String> =
        troubled.iter().take(NAMED).map(|&index| sentence(picture, index, &nodes[index])).collect();
    if troubled.len() > NAMED {
        named.push(format!("and {} more are not up", troubled.len() - NAMED));
    }
    named.join("; ")
}

/// How much a standing matters; 0 for what is as it should be.
fn severity(standing: Standing) -> u8 {
    match standing {
        Standing::Up => 0,
        Standing::Stopped => 1,
        Standing::NeverSeen => 2,
        Standing::Degraded => 3,
        Standing::Unknown => 4,
        Standing::Down => 5,
        Standing::Conflict => 6,
    }
}

fn cut_off(picture: &Picture) -> String {
    let own = picture.own_report().map(|own| &own.report().observations[..]).unwrap_or_default();
    let reached = own.iter().filter(|(_, found)| found.status == Status::Online).count();
    format!("you are cut off: this node reaches {reached} of {}; I cannot tell about the others", own.len())
}

fn sentence(picture: &Picture, index: usize, verdict: &Verdict) -> String {
    let id = &picture.roster().members()[index].id;
    let settled = picture.settled().nodes().nth(index);
    let ballot = &verdict.ballot;
    let since = settled.map(|settled| clock_time(settled.since_ms)).unwrap_or_default();
    let causes: Vec<_> = verdict.causes.iter().map(|cause| cause.as_str()).collect();
    let causes = if causes.is_empty() { String::new() } else { format!(", cause: {}", causes.join(" or ")) };
    match verdict.standing {
        Standing::Down => {
            format!(
                "{id} is down: {} of {} observers, since {since} UTC{causes}",
                ballot.offline, ballot.electorate
            )
        }
        Standing::Unknown => {
            let before = settled.and_then(|settled| settled.decided);
            let before = before.map_or(String::new(), |(standing, _)| format!(" (was {standing})"));
            format!(
                "{id} is silent since {since} UTC{before}, and no quorum confirms that it is down{causes}"
            )
        }
        Standing::Degraded => {
            format!(
                "{id} is alive, but {} of {} observers do not reach it{causes}",
                ballot.offline, ballot.electorate
            )
        }
        Standing::Stopped => format!("{id} was stopped on purpose"),
        Standing::NeverSeen => format!("{id} was never seen"),
        Standing::Conflict => {
            format!(
                "{id} signed two different reports with one number: a clone, a restored snapshot or a stolen key"
            )
        }
        Standing::Up => format!("{id} is up"),
    }
}

/// The time of the day of Unix time in ms, as `12:03:10`.
fn clock_time(wall_ms: u64) -> String {
    let s = wall_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}
