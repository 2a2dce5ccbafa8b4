//! Verdicts, links and partitions.

use serde::{Serialize, Serializer};

use crate::mesh::Snapshot;
use crate::mesh::id::NodeId;
use crate::mesh::verdict::outage::{Outage, OutageKind};
use crate::mesh::verdict::{Abstention, Cause, Link, NodeStatus, Partition, Vote};
use crate::mesh::wire::observation::ProbeStatus;
use crate::present::verdict_view::VerdictView;

/// The verdict on one node.
#[derive(Serialize)]
pub(super) struct VerdictBody<'a> {
    status: NodeStatus,
    /// Unix time in ms.
    since: u64,
    /// Causes that explain the verdict equally well are joined by `or`.
    cause: Option<String>,
    causes: &'a [Cause],
    rule: &'static str,
    votes: VotesBody<'a>,
    /// The reports that decided the verdict, as node, epoch and seq.
    evidence: Vec<(&'a NodeId, u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<DecidedBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outage: Option<OutageBody>,
}

/// The last decided status of a node whose status is unknown.
#[derive(Serialize)]
struct DecidedBody {
    status: NodeStatus,
    /// Unix time in ms.
    since: u64,
}

/// The latest outage that is over.
#[derive(Serialize)]
struct OutageBody {
    /// Unix time in ms, as `to`.
    from: u64,
    to: u64,
    cut_off: bool,
    ending: &'static str,
}

/// The votes, grouped by status.
#[derive(Serialize)]
struct VotesBody<'a> {
    online: Vec<&'a NodeId>,
    offline: Vec<&'a NodeId>,
    unknown: Vec<&'a NodeId>,
    /// Votes for offline after which the node has reported more than once.
    refuted: Vec<&'a NodeId>,
    #[serde(serialize_with = "write_map")]
    abstained: Vec<(&'a NodeId, Abstention)>,
    electorate: usize,
    /// Whether more than half of all nodes find the node offline, or have reported since a quorum did.
    witnessed: bool,
}

fn write_map<S: Serializer>(list: &[(&NodeId, Abstention)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(list.iter().map(|(id, reason)| (id, reason)))
}

impl<'a> VotesBody<'a> {
    fn new(view: &VerdictView<'a>) -> Self {
        let vote_count = &view.verdict.vote_count;
        let ids = |is_listed: &dyn Fn(&Vote) -> bool| {
            vote_count.counted().filter(|vote| is_listed(vote)).map(|vote| view.id(vote.voter)).collect()
        };
        let abstained =
            vote_count.votes.iter().filter_map(|vote| Some((view.id(vote.voter), vote.abstains?)));
        Self {
            online: ids(&|vote| vote.status == ProbeStatus::Online),
            offline: ids(&|vote| vote.status == ProbeStatus::Offline),
            unknown: ids(&|vote| vote.status == ProbeStatus::Unknown),
            refuted: ids(&|vote| vote.refuted),
            abstained: abstained.collect(),
            electorate: vote_count.electorate,
            witnessed: vote_count.is_witnessed,
        }
    }
}

impl From<Outage> for OutageBody {
    fn from(outage: Outage) -> Self {
        Self {
            from: outage.from_ms,
            to: outage.to_ms,
            cut_off: outage.kind == OutageKind::CutOff,
            ending: outage.kind.as_str(),
        }
    }
}

impl<'a> VerdictBody<'a> {
    pub(super) fn new(view: &VerdictView<'a>) -> Self {
        let VerdictView { verdict, tracked, .. } = view;
        Self {
            status: verdict.status,
            since: tracked.since_ms,
            cause: view.cause(),
            causes: &verdict.causes,
            rule: verdict.rule.as_str(),
            votes: VotesBody::new(view),
            evidence: view.evidence(),
            decided: tracked.decided.map(|(status, since)| DecidedBody { status, since }),
            outage: tracked.outage.map(OutageBody::from),
        }
    }
}

/// Writes the verdict on each node, by node.
pub(super) fn write_verdicts<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    let views = VerdictView::current(snapshot);
    serializer.collect_map(views.map(|view| (view.id(view.index), VerdictBody::new(&view))))
}

/// Writes the broken links.
pub(super) fn write_links<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct LinkBody<'a> {
        from: &'a NodeId,
        to: &'a NodeId,
        both: bool,
    }
    let id = |index: usize| &snapshot.membership().members()[index].id;
    let links = snapshot.verdicts().links.iter();
    serializer.collect_seq(links.map(|&Link { from, to, both }| LinkBody {
        from: id(from),
        to: id(to),
        both,
    }))
}

/// Writes the nodes of each partition; the partition of this node is the first.
pub(super) fn write_partitions<S: Serializer>(snapshot: &Snapshot, serializer: S) -> Result<S::Ok, S::Error> {
    let members = snapshot.membership().members();
    let partitions = snapshot.verdicts().partitions.iter();
    let ids = |partition: &Partition| -> Vec<_> {
        partition.nodes.iter().map(|&index| &members[index].id).collect()
    };
    serializer.collect_seq(partitions.map(ids))
}

/// Writes the sites of each partition; an empty list for a partition that does not consist of whole sites.
pub(super) fn write_partition_sites<S: Serializer>(
    snapshot: &Snapshot,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(snapshot.verdicts().partitions.iter().map(|partition| &partition.sites))
}
