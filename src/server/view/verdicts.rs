//! Verdicts as JSON.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::mesh::Picture;
use crate::mesh::id::{NodeId, Stamp};
use crate::mesh::observation::{Failure, Status};
use crate::mesh::verdict::latch::{Ending, Settled};
use crate::mesh::verdict::{Abstention, Cause, Link, Side, Standing, Verdict};

/// What is concluded of one node.
#[derive(Serialize)]
struct Entry<'a> {
    status: Standing,
    /// Unix time in ms.
    since: u64,
    /// Several that explain it equally well are joined by `or`.
    cause: Option<String>,
    causes: &'a [Cause],
    rule: &'static str,
    votes: Votes<'a>,
    /// The reports that decided it: node, epoch, seq.
    evidence: Vec<(&'a NodeId, u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<Decided>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outage: Option<Outage>,
}

/// What was last decided, where nothing can be decided now.
#[derive(Serialize)]
struct Decided {
    status: Standing,
    since: u64,
}

/// The newest time without a sign of life that is over.
#[derive(Serialize)]
struct Outage {
    from: u64,
    to: u64,
    cut_off: bool,
    ending: &'static str,
}

/// The votes, by what they say.
#[derive(Serialize)]
struct Votes<'a> {
    online: Vec<&'a NodeId>,
    offline: Vec<&'a NodeId>,
    unknown: Vec<&'a NodeId>,
    /// Say offline, and the node has reported more than once since.
    refuted: Vec<&'a NodeId>,
    #[serde(serialize_with = "write_map")]
    abstained: Vec<(&'a NodeId, Abstention)>,
    electorate: usize,
    /// Whether most of all nodes have reported since this one fell silent.
    witnessed: bool,
}

fn write_map<S: Serializer>(list: &[(&NodeId, Abstention)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(list.iter().map(|(id, reason)| (id, reason)))
}

impl<'a> Votes<'a> {
    fn of(picture: &'a Picture, verdict: &Verdict) -> Self {
        let id = |voter: usize| &picture.roster().members()[voter].id;
        let counted = |status: Status| {
            verdict.ballot.counted().filter(|vote| vote.status == status).map(|vote| id(vote.voter)).collect()
        };
        let all = verdict.ballot.votes.iter();
        Self {
            online: counted(Status::Online),
            offline: counted(Status::Offline),
            unknown: counted(Status::Unknown),
            refuted: verdict
                .ballot
                .counted()
                .filter(|vote| vote.refuted)
                .map(|vote| id(vote.voter))
                .collect(),
            abstained: all.filter_map(|vote| Some((id(vote.voter), vote.abstains?))).collect(),
            electorate: verdict.ballot.electorate,
            witnessed: verdict.ballot.is_witnessed,
        }
    }
}

impl<'a> Entry<'a> {
    fn of(picture: &'a Picture, index: usize, verdict: &'a Verdict, settled: &Settled) -> Self {
        let causes: Vec<_> = verdict.causes.iter().map(|cause| cause.as_str()).collect();
        Self {
            status: verdict.standing,
            since: settled.since_ms,
            cause: (!causes.is_empty()).then(|| causes.join(" or ")),
            causes: &verdict.causes,
            rule: verdict.rule.as_str(),
            votes: Votes::of(picture, verdict),
            evidence: evidence(picture, index, verdict),
            decided: settled.decided.map(|(status, since)| Decided { status, since }),
            outage: settled.outage.map(|outage| Outage {
                from: outage.from_ms,
                to: outage.to_ms,
                cut_off: outage.ending == Ending::CutOff,
                ending: outage.ending.as_str(),
            }),
        }
    }
}

/// A living node's newest report decides; else those that say offline, beside the last of its own.
fn evidence<'a>(picture: &'a Picture, index: usize, verdict: &Verdict) -> Vec<(&'a NodeId, u64, u64)> {
    let id = |index: usize| &picture.roster().members()[index].id;
    let own =
        picture.slots()[index].held.as_ref().map(|held| (id(index), held.stamp().epoch, held.stamp().seq));
    let offline = verdict.ballot.counted().filter(|vote| vote.status == Status::Offline);
    let offline = offline.map(|vote| (id(vote.voter), vote.stamp.epoch, vote.stamp.seq));
    own.into_iter().chain(offline).collect()
}

/// All verdicts, by node.
pub(super) fn write_verdicts<S: Serializer>(picture: &Picture, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    let verdicts = picture.verdicts().nodes.iter().zip(picture.settled().nodes());
    for (index, (member, (verdict, settled))) in picture.roster().members().iter().zip(verdicts).enumerate() {
        map.serialize_entry(&member.id, &Entry::of(picture, index, verdict, settled))?;
    }
    map.end()
}

/// Links that do not work, as `{"from","to","both"}`.
pub(super) fn write_links<S: Serializer>(picture: &Picture, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Entry<'a> {
        from: &'a NodeId,
        to: &'a NodeId,
        both: bool,
    }
    let id = |index: usize| &picture.roster().members()[index].id;
    let links = picture.verdicts().links.iter();
    serializer.collect_seq(links.map(|&Link { from, to, both }| Entry { from: id(from), to: id(to), both }))
}

/// The sides of a network that has fallen apart, this node's first.
pub(super) fn write_sides<S: Serializer>(picture: &Picture, serializer: S) -> Result<S::Ok, S::Error> {
    let members = picture.roster().members();
    let sides = picture.verdicts().sides.iter();
    let ids = |side: &Side| side.nodes.iter().map(|&index| &members[index].id).collect::<Vec<_>>();
    serializer.collect_seq(sides.map(ids))
}

/// The sites that make up each of these sides, where that fits.
pub(super) fn write_sites<S: Serializer>(picture: &Picture, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(picture.verdicts().sides.iter().map(|side| &side.sites))
}

/// One node's verdict step by step, for who asks how this node knows.
#[derive(Serialize)]
pub(super) struct Explanation<'a> {
    network_id: &'a str,
    node_id: &'a NodeId,
    viewer: &'a NodeId,
    /// Unix time in ms.
    at: u64,
    verdict: Entry<'a>,
    silent_ms: u64,
    newest_report: Option<Stamp>,
    interval_ms: u64,
    timeout_ms: u64,
    ballot: Vec<Statement<'a>>,
}

/// One vote.
#[derive(Serialize)]
struct Statement<'a> {
    voter: &'a NodeId,
    says: Status,
    error: Option<Failure>,
    since: u64,
    report: Stamp,
    refuted: bool,
    abstains: Option<Abstention>,
}

impl<'a> Explanation<'a> {
    /// How `picture`'s node comes to its verdict on the member with this index.
    pub(super) fn of(picture: &'a Picture, index: usize) -> Option<Self> {
        let roster = picture.roster();
        let verdict = picture.verdicts().nodes.get(index)?;
        let settled = picture.settled().nodes().nth(index)?;
        let ballot = verdict.ballot.votes.iter().map(|vote| Statement {
            voter: &roster.members()[vote.voter].id,
            says: vote.status,
            error: vote.error,
            since: vote.since_ms,
            report: vote.stamp,
            refuted: vote.refuted,
            abstains: vote.abstains,
        });
        Some(Self {
            network_id: roster.network_id().as_str(),
            node_id: &roster.members()[index].id,
            viewer: &roster.own().id,
            at: picture.at().wall_ms,
            silent_ms: picture.at().mono_ms.saturating_sub(verdict.silent_since_ms),
            newest_report: picture.slots()[index].held.as_ref().map(|held| held.stamp()),
            interval_ms: roster.interval_ms(),
            timeout_ms: roster.longest_timeout_ms(),
            ballot: ballot.collect(),
            verdict: Entry::of(picture, index, verdict, settled),
        })
    }
}
