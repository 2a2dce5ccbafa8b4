//! The sides of a network that has fallen apart, and what their nodes have in common.

use std::collections::BTreeSet;

use super::cause::refuses_connections;
use super::context::EvalContext;
use super::{NodeStatus, Verdict};
use crate::mesh::id::Site;
use crate::mesh::membership::Member;

/// Nodes that cannot reach the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Who is on it, by index into the membership, in ascending order.
    pub nodes: Vec<usize>,
    /// The sites whose nodes these are, where that fits: each node has one, and no node of these sites is on
    /// another side, but for single ones, which may just be dead.
    pub sites: Vec<Site>,
}

/// The sides of a network that has fallen apart, this node's first. Nodes whose reports still come and who
/// reach each other are one side; those who fell silent at about the same time are another. None where
/// nobody is silent but for a reason of its own.
pub(super) fn find(context: &EvalContext<'_>, nodes: &[Verdict]) -> Vec<Partition> {
    let silent: Vec<usize> = (0..nodes.len())
        .filter(|&index| matches!(nodes[index].status, NodeStatus::Down | NodeStatus::Unknown))
        .filter(|&index| context.report(index).is_some() && !refuses_connections(&nodes[index]))
        .collect();
    let groups = by_time(context, silent);
    let here = component(context, nodes);
    // One that is silent alone may as well be dead, unless this node doubts itself.
    let apart = groups.iter().any(|group| group.len() > 1) || context.node(context.me()).isolated;
    if !apart || groups.is_empty() {
        return Vec::new();
    }
    let mut sides = vec![here];
    sides.extend(groups);
    let mut sides: Vec<Partition> =
        sides.into_iter().map(|nodes| Partition { nodes, sites: Vec::new() }).collect();
    let sites: Vec<_> =
        (0..sides.len()).map(|at| sites(context.membership().members(), &sides, at)).collect();
    for (side, sites) in sides.iter_mut().zip(sites) {
        side.sites = sites;
    }
    sides
}

/// Groups of nodes that fell silent within one interval and a timeout of each other.
fn by_time(context: &EvalContext<'_>, mut silent: Vec<usize>) -> Vec<Vec<usize>> {
    silent.sort_by_key(|&index| (context.silent_since_ms(index), index));
    let window_ms = context.limits().witness_ms + context.membership().max_timeout_ms();
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

/// Those alive, whom some path joins to this node.
fn component(context: &EvalContext<'_>, nodes: &[Verdict]) -> Vec<usize> {
    (0..nodes.len()).filter(|&index| index == context.me() || nodes[index].status.is_alive()).collect()
}

/// The sites that make up `sides[at]`, if some do.
fn sites(members: &[Member], sides: &[Partition], at: usize) -> Vec<Site> {
    let of = |nodes: &[usize]| -> BTreeSet<Option<Site>> {
        nodes.iter().map(|&index| members[index].site.clone()).collect()
    };
    let mine = of(&sides[at].nodes);
    let others = sides.iter().enumerate().filter(|(other, side)| *other != at && side.nodes.len() > 1);
    if mine.contains(&None) || others.into_iter().any(|(_, side)| !of(&side.nodes).is_disjoint(&mine)) {
        return Vec::new();
    }
    mine.into_iter().flatten().collect()
}
