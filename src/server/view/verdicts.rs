//! Verdicts as JSON.

use serde::{Serialize, Serializer};

use crate::mesh::Snapshot;
use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::membership::Membership;
use crate::mesh::verdict::history::VerdictRecord;
use crate::mesh::verdict::tracker::{OutageKind, TrackedVerdict};
use crate::mesh::verdict::{Abstention, Cause, Link, NodeStatus, Partition, Verdict, Vote};
use crate::mesh::wire::observation::ProbeStatus;

/// A verdict with what it was reached from: one of now, or one of the past.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    /// Who is or was configured.
    pub(crate) membership: &'a Membership,
    /// The node, by its index in that membership.
    pub(crate) index: usize,
    /// What is concluded of it.
    pub(crate) verdict: &'a Verdict,
    /// How that stands in time.
    pub(crate) settled: &'a TrackedVerdict,
    /// The node's newest report.
    pub(crate) newest: Option<ReportId>,
    /// For how long it has not reported, in ms.
    pub(crate) silent_ms: u64,
    /// When this was so: Unix time in ms.
    pub(crate) at_ms: u64,
}

impl<'a> Found<'a> {
    /// What `snapshot` shows of each node, in the order of its membership.
    pub(crate) fn all(snapshot: &'a Snapshot) -> impl Iterator<Item = Self> {
        let verdicts = snapshot.verdicts().nodes.iter().zip(snapshot.tracker().nodes()).enumerate();
        verdicts.map(|(index, (verdict, settled))| Self {
            membership: snapshot.membership(),
            index,
            verdict,
            settled,
            newest: snapshot.states()[index].latest.as_ref().map(|latest| latest.id()),
            silent_ms: snapshot.at().mono_ms.saturating_sub(verdict.silent_since_ms),
            at_ms: snapshot.at().wall_ms,
        })
    }

    /// What was decided in the past.
    pub(crate) fn then(decision: &'a VerdictRecord) -> Self {
        Self {
            membership: &decision.membership,
            index: decision.index,
            verdict: &decision.verdict,
            settled: &decision.tracked,
            newest: decision.newest,
            silent_ms: decision.silent_ms,
            at_ms: decision.at_ms,
        }
    }

    /// The id of the member with this index.
    pub(crate) fn id(&self, index: usize) -> &'a NodeId {
        &self.membership.members()[index].id
    }

    /// What explains it; several that explain it equally well are joined by `or`.
    pub(super) fn cause(&self) -> Option<String> {
        let causes: Vec<_> = self.verdict.causes.iter().map(|cause| cause.as_str()).collect();
        (!causes.is_empty()).then(|| causes.join(" or "))
    }

    /// The reports that decided it: node, epoch, seq. A living node's newest report decides; else those that
    /// say offline, beside the last of its own.
    fn evidence(&self) -> Vec<(&'a NodeId, u64, u64)> {
        let own = self.newest.map(|newest| (self.id(self.index), newest.epoch, newest.seq));
        let offline = self.verdict.vote_count.counted().filter(|vote| vote.status == ProbeStatus::Offline);
        let offline = offline.map(|vote| (self.id(vote.voter), vote.report_id.epoch, vote.report_id.seq));
        own.into_iter().chain(offline).collect()
    }
}

/// What is concluded of one node.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    status: NodeStatus,
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
    status: NodeStatus,
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
    /// Whether more than half of all nodes find it offline, or have reported since a quorum did.
    witnessed: bool,
}

fn write_map<S: Serializer>(list: &[(&NodeId, Abstention)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(list.iter().map(|(id, reason)| (id, reason)))
}

impl<'a> Votes<'a> {
    fn of(found: &Found<'a>) -> Self {
        let ballot = &found.verdict.vote_count;
        let ids = |of: &dyn Fn(&Vote) -> bool| {
            ballot.counted().filter(|vote| of(vote)).map(|vote| found.id(vote.voter)).collect()
        };
        Self {
            online: ids(&|vote| vote.status == ProbeStatus::Online),
            offline: ids(&|vote| vote.status == ProbeStatus::Offline),
            unknown: ids(&|vote| vote.status == ProbeStatus::Unknown),
            refuted: ids(&|vote| vote.refuted),
            abstained: ballot
                .votes
                .iter()
                .filter_map(|vote| Some((found.id(vote.voter), vote.abstains?)))
                .collect(),
            electorate: ballot.electorate,
            witnessed: ballot.is_witnessed,
        }
    }
}

impl<'a> Entry<'a> {
    pub(super) fn of(found: &Found<'a>) -> Self {
        let Found { verdict, settled, .. } = found;
        Self {
            status: verdict.status,
            since: settled.since_ms,
            cause: found.cause(),
            causes: &verdict.causes,
            rule: verdict.rule.as_str(),
            votes: Votes::of(found),
            evidence: found.evidence(),
            decided: settled.decided.map(|(status, since)| Decided { status, since }),
            outage: settled.outage.map(|outage| Outage {
                from: outage.from_ms,
                to: outage.to_ms,
                cut_off: outage.kind == OutageKind::CutOff,
                ending: outage.kind.as_str(),
            }),
        }
    }
}

/// All verdicts, by node.
pub(super) fn write_verdicts<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Found::all(snapshot).map(|found| (found.id(found.index), Entry::of(&found))))
}

/// Links that do not work, as `{"from","to","both"}`.
pub(super) fn write_links<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Entry<'a> {
        from: &'a NodeId,
        to: &'a NodeId,
        both: bool,
    }
    let id = |index: usize| &snapshot.membership().members()[index].id;
    let links = snapshot.verdicts().links.iter();
    serializer.collect_seq(links.map(|&Link { from, to, both }| Entry { from: id(from), to: id(to), both }))
}

/// The sides of a network that has fallen apart, this node's first.
pub(super) fn write_sides<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    let members = snapshot.membership().members();
    let sides = snapshot.verdicts().partitions.iter();
    let ids = |side: &Partition| side.nodes.iter().map(|&index| &members[index].id).collect::<Vec<_>>();
    serializer.collect_seq(sides.map(ids))
}

/// The sites that make up each of these sides, where that fits.
pub(super) fn write_sites<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(snapshot.verdicts().partitions.iter().map(|side| &side.sites))
}
