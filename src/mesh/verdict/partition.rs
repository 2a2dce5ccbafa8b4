//! The partitions of a network: groups of nodes that cannot reach each other, and their sites.

use std::collections::BTreeSet;

use super::context::EvalContext;
use super::node_verdict::Verdict;
use crate::mesh::id::Site;
use crate::mesh::membership::Member;

/// A group of nodes that cannot reach the other groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its nodes, by index into the membership, in ascending order.
    pub nodes: Vec<usize>,
    /// The sites of its nodes, if each node has one and no node of these sites is in another partition of several nodes;
    /// otherwise empty. (A partition of a single silent node may just be a dead node.)
    pub sites: Vec<Site>,
}

/// The partitions of the network, this node's first. Live nodes form one; nodes that fell silent at about the same time
/// form another. Empty if no silence needs a partition as its explanation.
pub(super) fn find(context: &EvalContext<'_>, nodes: &[Verdict]) -> Vec<Partition> {
    let silent: Vec<usize> = (0..nodes.len())
        .filter(|&index| nodes[index].status.is_silent())
        .filter(|&index| context.report(index).is_some() && !nodes[index].refuses_connections())
        .collect();
    let groups = by_time(context, silent);
    // A node that is silent alone may as well be dead, unless this node is isolated.
    let is_split = groups.iter().any(|group| group.len() > 1) || context.node(context.me()).isolated;
    if !is_split || groups.is_empty() {
        return Vec::new();
    }
    let alive = (0..nodes.len()).filter(|&index| index == context.me() || nodes[index].status.is_alive());
    let groups: Vec<Vec<usize>> = std::iter::once(alive.collect()).chain(groups).collect();
    let sites: Vec<_> =
        (0..groups.len()).map(|at| sites(context.membership().members(), &groups, at)).collect();
    groups.into_iter().zip(sites).map(|(nodes, sites)| Partition { nodes, sites }).collect()
}

/// Groups of nodes that fell silent within one interval and a timeout of each other.
fn by_time(context: &EvalContext<'_>, mut silent: Vec<usize>) -> Vec<Vec<usize>> {
    silent.sort_by_key(|&index| (context.silent_since_ms(index), index));
    let window_ms = context.limits(context.me()).witness_ms + context.membership().max_timeout_ms();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut first_ms = 0;
    for index in silent {
        let since_ms = context.silent_since_ms(index);
        match groups.last_mut() {
            Some(group) if since_ms.saturating_sub(first_ms) <= window_ms => group.push(index),
            _ => {
                first_ms = since_ms;
                groups.push(vec![index]);
            }
        }
    }
    for group in &mut groups {
        group.sort_unstable();
    }
    groups
}

/// [`Partition::sites`] of `groups[at]`.
fn sites(members: &[Member], groups: &[Vec<usize>], at: usize) -> Vec<Site> {
    let of = |nodes: &[usize]| -> BTreeSet<Option<Site>> {
        nodes.iter().map(|&index| members[index].site.clone()).collect()
    };
    let own = of(&groups[at]);
    let mut others = groups.iter().enumerate().filter(|(other, group)| *other != at && group.len() > 1);
    if own.contains(&None) || others.any(|(_, group)| !of(group).is_disjoint(&own)) {
        return Vec::new();
    }
    own.into_iter().flatten().collect()
}
