//! Access to what the hosts of a network report, for assertions and for the text of a failure.

use std::fmt::Write as _;

use super::Network;
use crate::fixtures;
use distomon::mesh::engine::event::Notice;
use distomon::mesh::verdict::NodeStatus;
use distomon::mesh::wire::observation::ProbeStatus;
use distomon::present::journal::notice_text;

impl Network {
    /// The status of the node `target` in the newest report of the host `observer`.
    pub(crate) fn probe_status(&self, observer: usize, target: usize) -> ProbeStatus {
        let observation = self.host(observer).observation(&fixtures::node_id(target));
        observation.map_or(ProbeStatus::Unknown, |observation| observation.status)
    }

    /// The verdict of the host `viewer` on the node `target`.
    pub(crate) fn verdict(&self, viewer: usize, target: usize) -> NodeStatus {
        let snapshot = &self.host(viewer).snapshot;
        let index = snapshot.membership().index(fixtures::node_id(target).as_str()).expect("a member");
        snapshot.verdicts().nodes[index].status
    }

    /// The number of notices of `host` that `matches`.
    pub(crate) fn count_notices(&self, host: usize, matches: impl Fn(&Notice) -> bool) -> usize {
        self.host(host).notices.iter().filter(|notice| matches(notice)).count()
    }

    /// Whether every running host reports every node that it observes online, and has a fresh report of every
    /// running node.
    pub(crate) fn is_converged(&self) -> bool {
        let nodes: Vec<_> = self.running().map(|(index, host)| (index, host.id().clone())).collect();
        self.running().all(|(index, host)| {
            let now = host.now(self.now_ms);
            let membership = host.snapshot.membership();
            nodes.iter().filter(|(other, _)| *other != index).all(|(_, id)| {
                membership.index(id.as_str()).is_some_and(|target| {
                    let status = host.observation(id).map(|observation| observation.status);
                    (status == Some(ProbeStatus::Online) || !membership.observes(membership.me(), target))
                        && host.snapshot.is_fresh(target, now.mono_ms)
                })
            })
        })
    }

    /// The seed, the time, and what every host reports and logged.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("seed {}, at {} ms\n", self.seed(), self.now_ms);
        for (index, host) in self.running() {
            let _ = write!(text, "host {index} ({}):", host.id());
            let now = host.now(self.now_ms);
            for (at, (member, state)) in host.snapshot.members().enumerate() {
                let status = host.observation(&member.id).map(|observation| observation.status.as_str());
                let seq = state.latest.as_ref().map(|latest| latest.id().seq);
                let fresh = if host.snapshot.is_fresh(at, now.mono_ms) { "" } else { " not fresh" };
                let _ = write!(text, " {} {status:?} latest {seq:?}{fresh};", member.id);
            }
            text.push('\n');
            for notice in &host.notices {
                let _ = writeln!(text, "    {}", notice_text(notice));
            }
        }
        text
    }
}
