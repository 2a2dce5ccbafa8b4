//! The rollout of a configuration change: one node after another in random order, with random pauses.

use crate::fixtures;
use crate::network::setup::converged;
use crate::network::{Network, Setup};
use crate::node_set::NodeSet;
use crate::virtual_host::VirtualHost;
use distomon::mesh::engine::event::Notice;
use distomon::mesh::id::NodeId;
use distomon::mesh::membership::Member;
use distomon::mesh::verdict::NodeStatus;
use distomon::mesh::wire::observation::ProbeStatus;
use distomon::present::journal::notice_text;

/// The longest pause between two nodes, in ms.
pub(crate) const PAUSE_MS: u64 = 4_000;

/// A network in which the configuration changes.
pub(crate) struct Rollout {
    pub(crate) network: Network,
    /// Nodes that the change affects: they may be unknown or degraded, but not down.
    pub(crate) changed: NodeSet,
    /// Nodes that do not run, or that no path connects to the others.
    pub(crate) unavailable: NodeSet,
    pub(crate) rng: fastrand::Rng,
}

impl Rollout {
    pub(crate) fn new(network: Network, changed: &[usize], seed: u64) -> Self {
        let changed = changed.iter().copied().collect();
        Self { network, changed, unavailable: NodeSet::EMPTY, rng: fastrand::Rng::with_seed(seed) }
    }

    /// A rollout in a converged network of five.
    pub(crate) fn of_five(changed: &[usize], seed: u64) -> Self {
        Self::new(converged(5, seed), changed, seed)
    }

    /// A rollout in a large network, with typed messages.
    pub(crate) fn of_many(members: Vec<Member>, changed: &[usize], seed: u64) -> Self {
        let mut network = Setup::new(members, seed).typed().start();
        network.run_until(8_000, "all up", all_up);
        network.run(2_000);
        Self::new(network, changed, seed)
    }

    /// Applies the current configuration to each running host.
    pub(crate) fn apply_to_all(&mut self) {
        let nodes: Vec<_> =
            self.network.running().map(|(index, host)| (index, node_number(host.id()))).collect();
        self.apply_to(nodes);
    }

    /// Applies the current configuration to these hosts, each with the node that it runs.
    pub(crate) fn apply_to(&mut self, mut nodes: Vec<(usize, usize)>) {
        self.rng.shuffle(&mut nodes);
        for (host, node) in nodes {
            self.network.reconfigure(host, node);
            let pause_ms = self.rng.u64(0..PAUSE_MS);
            self.run(pause_ms);
        }
    }

    pub(crate) fn set_rates(&mut self, poll_rate_ms: u64, timeout_ms: u64, retry: u32) {
        for member in &mut self.network.members {
            (member.poll_rate_ms, member.timeout_ms, member.retry) = (poll_rate_ms, timeout_ms, retry);
        }
    }

    /// Splits these nodes at random into those that get a new configuration before some event, and those that get it
    /// after.
    pub(crate) fn split(&mut self, nodes: impl Iterator<Item = usize>) -> [Vec<(usize, usize)>; 2] {
        let mut early: Vec<_> = nodes.map(|node| (node, node)).collect();
        self.rng.shuffle(&mut early);
        let later = early.split_off(self.rng.usize(0..=early.len()));
        [early, later]
    }

    /// Runs for a time, in ms, and asserts that no unaffected node is noticed.
    pub(crate) fn run(&mut self, for_ms: u64) {
        let exempt = Exempt { changed: self.changed, unavailable: self.unavailable };
        self.network.run_asserting(for_ms, "the change goes unnoticed", |network| {
            let violation = exempt.find_violation(network);
            violation.inspect(|violation| eprintln!("{violation}")).is_none()
        });
    }

    /// Asserts that all nodes soon find all nodes up, and that this lasts.
    pub(crate) fn assert_recovers(&mut self) {
        self.network.run_until(6_000, "all find all up", all_up);
        self.changed = NodeSet::EMPTY;
        self.run(4_000);
    }

    /// Asserts that unaffected nodes logged nothing about each other.
    pub(crate) fn assert_no_notices(&self) {
        for (_, host) in self.network.running() {
            let unaffected = |id: &NodeId| !self.changed.contains(node_number(id));
            if !unaffected(host.id()) {
                continue;
            }
            // The first status after a start is not a change.
            let notice = host.notices.iter().find(|notice| match notice {
                Notice::PeerStatusChanged { peer, from, .. } => {
                    unaffected(peer) && *from != ProbeStatus::Unknown
                }
                Notice::VerdictChanged(change) => {
                    let was_known = change
                        .from
                        .is_some_and(|from| !matches!(from, NodeStatus::NeverSeen | NodeStatus::Unknown));
                    unaffected(&change.node) && was_known
                }
                _ => true,
            });
            if let Some(notice) = notice {
                panic!("{} logged: {}", host.id(), notice_text(notice));
            }
        }
    }
}

pub(crate) fn node_number(id: &NodeId) -> usize {
    id.as_str()["node-".len()..].parse().expect("the name of a node ends with its number")
}

/// The nodes of a rollout whose verdicts may be wrong.
#[derive(Clone, Copy)]
struct Exempt {
    changed: NodeSet,
    unavailable: NodeSet,
}

impl Exempt {
    fn contains(self, node: usize) -> bool {
        self.changed.union(self.unavailable).contains(node)
    }

    /// The first wrong verdict of any node.
    fn find_violation(self, network: &Network) -> Option<String> {
        network.running().find_map(|(index, host)| {
            let is_checked =
                !self.unavailable.contains(node_number(host.id())) && network.is_responsive(index);
            is_checked.then(|| self.find_violation_by(network, host))?
        })
    }

    /// The first wrong verdict of the node on `host`.
    fn find_violation_by(self, network: &Network, host: &VirtualHost) -> Option<String> {
        let snapshot = &host.snapshot;
        let viewer = node_number(host.id());
        let numbers: Vec<_> = snapshot.members().map(|(member, _)| node_number(&member.id)).collect();
        for (&target, verdict) in numbers.iter().zip(&snapshot.verdicts().nodes) {
            let status = verdict.status;
            let is_wrong = match status {
                NodeStatus::Down => !self.unavailable.contains(target) && accepts_key(network, host, target),
                NodeStatus::Up if verdict.causes.is_empty() => false,
                _ => !self.contains(viewer) && !self.contains(target),
            };
            if is_wrong {
                return Some(format!("{viewer} finds {target} {status} {:?}", verdict.causes));
            }
        }
        let links = &snapshot.verdicts().links;
        let ends = links.iter().map(|link| (numbers[link.from], numbers[link.to]));
        let (from, to) = ends
            .filter(|_| !self.contains(viewer))
            .find(|&(from, to)| !self.contains(from) && !self.contains(to))?;
        Some(format!("{viewer} reports the link {from} to {to} broken"))
    }
}

/// Whether `host` accepts the key of `target`'s process. If it does not, the reports of `target` do not count there.
fn accepts_key(network: &Network, host: &VirtualHost, target: usize) -> bool {
    let member = host.snapshot.membership().member(fixtures::node_id(target).as_str());
    member.is_some_and(|member| member.keys.contains(network.key(target).public()))
}

/// Whether all running nodes have one configuration and find all of its members up.
pub(crate) fn all_up(network: &Network) -> bool {
    let digest =
        network.running().next().expect("some node runs").1.snapshot.membership().digest().to_owned();
    network.running().all(|(_, host)| {
        let verdicts = host.snapshot.verdicts();
        host.snapshot.membership().digest() == digest
            && verdicts.nodes.iter().all(|verdict| verdict.status == NodeStatus::Up)
            && verdicts.links.is_empty()
    })
}
