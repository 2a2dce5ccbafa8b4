//! Trends: round-trip times and failures of the last hour, in memory, for charts.

use std::collections::HashMap;

use crate::mesh::id::{NodeId, ReportId};
use crate::mesh::member_state::ProbeCounts;
use crate::mesh::membership::Membership;
use crate::mesh::snapshot::Snapshot;
use crate::mesh::wire::observation::{Observation, ProbeStatus};

/// The length of a minute, in ms.
pub const MINUTE_MS: u64 = 60_000;

/// The number of minutes in the trends, including the current one.
pub const MINUTES: usize = 61;

/// The observers whose measurements a trend covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// All observers together.
    AllObservers,
    /// This node alone.
    OwnProbes,
}

/// The measurements of one node in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Minute {
    /// The start of the minute: Unix time in ms.
    pub start_ms: u64,
    /// The number of reports that observe the node online; with [`Source::OwnProbes`], of answered probes.
    pub answered: u32,
    /// The number of reports that observe the node offline; with [`Source::OwnProbes`], of failed probes.
    pub failed: u32,
    /// The shortest round-trip time, in µs; 0 if none was measured.
    pub shortest_us: u32,
    /// The longest round-trip time, in µs.
    pub longest_us: u32,
    /// The number of measured round-trip times.
    pub measured: u32,
    /// The sum of the measured round-trip times, in µs.
    pub sum_us: u64,
}

impl Minute {
    /// The mean round-trip time, in µs; none if nothing was measured.
    pub fn mean_us(&self) -> Option<u32> {
        u32::try_from(self.sum_us.checked_div(u64::from(self.measured))?).ok()
    }

    /// The fraction of reports or probes that failed, from 0 to 1; none without any report or probe.
    pub fn loss(&self) -> Option<f64> {
        let all = f64::from(self.answered) + f64::from(self.failed);
        (all > 0.0).then(|| f64::from(self.failed) / all)
    }

    fn count(&mut self, observation: &Observation) {
        match observation.status {
            ProbeStatus::Offline => self.failed = self.failed.saturating_add(1),
            ProbeStatus::Online => {
                self.answered = self.answered.saturating_add(1);
                self.measure(observation.rtt_us);
            }
            // Neither answered nor failed.
            ProbeStatus::Unknown => {}
        }
    }

    fn measure(&mut self, rtt_us: Option<u32>) {
        let Some(us) = rtt_us else { return };
        self.shortest_us = if self.measured == 0 { us } else { self.shortest_us.min(us) };
        self.longest_us = self.longest_us.max(us);
        self.measured = self.measured.saturating_add(1);
        self.sum_us = self.sum_us.saturating_add(us.into());
    }
}

/// The minutes of one node, oldest first, without those in which nothing was measured: at most [`MINUTES`], 40 bytes each.
#[derive(Debug, Default)]
struct Series(Vec<Minute>);

impl Series {
    fn at(&mut self, start_ms: u64) -> &mut Minute {
        let is_newest = self.0.last().is_some_and(|minute| minute.start_ms == start_ms);
        if !is_newest {
            // After the clock was set back, also removes minutes that are in the future now.
            self.0.retain(|minute| {
                minute.start_ms < start_ms && start_ms - minute.start_ms < MINUTE_MS * MINUTES as u64
            });
            self.0.push(Minute { start_ms, ..Minute::default() });
        }
        self.0.last_mut().expect("the minute exists or was just pushed")
    }
}

/// The trends of all nodes of a network: some 2.5 KB for each node, and as much again for a node that this one probes.
#[derive(Debug, Default)]
pub struct Trends {
    /// The digest of the configuration that `nodes` follows.
    config: String,
    /// In the order of the membership, so that a snapshot without new reports costs almost nothing.
    nodes: Vec<Trend>,
}

/// The trend of one node.
#[derive(Debug)]
struct Trend {
    id: NodeId,
    /// The newest report of the node that was counted.
    counted: Option<ReportId>,
    /// The probes of the node by this one that were counted.
    probed: ProbeCounts,
    everyone: Series,
    here: Series,
}

impl Trends {
    /// Counts the reports and probes that are new in `snapshot`.
    pub fn record(&mut self, snapshot: &Snapshot) {
        let membership = snapshot.membership();
        if self.config != membership.digest() {
            self.follow(membership);
        }
        let start_ms = snapshot.at().wall_ms / MINUTE_MS * MINUTE_MS;
        for (observer, state) in snapshot.states().iter().enumerate() {
            let Some(report_id) = state.latest.as_ref().map(|latest| latest.id()) else { continue };
            if self.nodes[observer].counted.replace(report_id) == Some(report_id) {
                continue;
            }
            for (target, observation) in state.observations() {
                let node = &mut self.nodes[target];
                node.everyone.at(start_ms).count(observation);
            }
        }
        let own = &snapshot.states()[membership.me()];
        for (target, (state, node)) in snapshot.states().iter().zip(&mut self.nodes).enumerate() {
            let before = std::mem::replace(&mut node.probed, state.probes);
            let since = |now: u32, then: u32| now.checked_sub(then).unwrap_or(now);
            let answered = since(state.probes.answered, before.answered);
            let failed = since(state.probes.failed, before.failed);
            if answered + failed == 0 {
                continue;
            }
            let minute = node.here.at(start_ms);
            minute.answered = minute.answered.saturating_add(answered);
            minute.failed = minute.failed.saturating_add(failed);
            if answered > 0 {
                minute.measure(own.observation(target).and_then(|observation| observation.rtt_us));
            }
        }
    }

    /// Applies a changed membership. Nodes that are still members keep their trends.
    fn follow(&mut self, membership: &Membership) {
        let mut before: HashMap<NodeId, Trend> =
            self.nodes.drain(..).map(|node| (node.id.clone(), node)).collect();
        let empty = |id: &NodeId| Trend {
            id: id.clone(),
            counted: None,
            probed: ProbeCounts::default(),
            everyone: Series::default(),
            here: Series::default(),
        };
        let ids = membership.members().iter().map(|member| &member.id);
        self.nodes = ids.map(|id| before.remove(id).unwrap_or_else(|| empty(id))).collect();
        membership.digest().clone_into(&mut self.config);
    }

    /// The minutes of the node `id`, oldest first, without those in which nothing was measured.
    pub fn of(&self, id: &str, source: Source) -> Vec<Minute> {
        let node =
            self.nodes.binary_search_by(|node| node.id.as_str().cmp(id)).ok().map(|at| &self.nodes[at]);
        let series = node.map(|node| match source {
            Source::AllObservers => &node.everyone,
            Source::OwnProbes => &node.here,
        });
        series.map(|series| series.0.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::wire::observation::Failure;
    use crate::store::fixture::Net;

    fn observation(status: ProbeStatus, rtt_us: Option<u32>, error: Option<Failure>) -> Observation {
        Observation { rtt_us, error, ..Observation::new(status, 0) }
    }

    #[test]
    fn a_minute_counts_observations() {
        let mut minute = Minute::default();
        assert_eq!((minute.mean_us(), minute.loss()), (None, None));
        for us in [800, 400, 600] {
            minute.count(&observation(ProbeStatus::Online, Some(us), None));
        }
        // Two are offline, one is unknown.
        minute.count(&observation(ProbeStatus::Offline, Some(9_999), Some(Failure::Timeout)));
        minute.count(&observation(ProbeStatus::Offline, None, None));
        minute.count(&observation(ProbeStatus::Unknown, None, None));
        minute.count(&observation(ProbeStatus::Online, None, None));
        assert_eq!((minute.answered, minute.failed, minute.measured), (4, 2, 3));
        assert_eq!((minute.shortest_us, minute.longest_us, minute.mean_us()), (400, 800, Some(600)));
        assert!((minute.loss().expect("reports") - 2.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn minutes_older_than_an_hour_are_removed() {
        let mut series = Series::default();
        let starts =
            |series: &Series| series.0.iter().map(|minute| minute.start_ms / MINUTE_MS).collect::<Vec<_>>();
        for minute in [100, 100, 101, 105] {
            series.at(minute * MINUTE_MS).answered += 1;
        }
        assert_eq!(starts(&series), [100, 101, 105]);
        assert_eq!(series.0[0].answered, 2);
        for minute in 106..400 {
            series.at(minute * MINUTE_MS);
        }
        assert_eq!((series.0.len(), series.0[0].start_ms), (MINUTES, (399 - 60) * MINUTE_MS));
        // The clock is set back by ten minutes, then forward by a day.
        series.at(390 * MINUTE_MS);
        assert_eq!((starts(&series).last(), series.0.len()), (Some(&390), 52));
        series.at(2_000 * MINUTE_MS);
        assert_eq!(starts(&series), [2_000]);
    }

    #[test]
    fn each_report_and_probe_counts_once() {
        let net = Net::new("net-1", 3);
        let snapshot = net.busy_node().snapshot();
        let mut trends = Trends::default();
        let check = |trends: &Trends, id: &str, source: Source, expected: &[(u32, u32)]| {
            let found: Vec<_> =
                trends.of(id, source).iter().map(|minute| (minute.answered, minute.failed)).collect();
            assert_eq!(found, expected, "{id} {source:?}");
        };
        for _ in 0..2 {
            trends.record(&snapshot);
            check(&trends, "node-00", Source::AllObservers, &[(1, 0)]);
            check(&trends, "node-00", Source::OwnProbes, &[]);
            check(&trends, "node-01", Source::AllObservers, &[(1, 0)]);
            // Probed every 2.5 s from the start to 20 s, and each probe counts.
            check(&trends, "node-01", Source::OwnProbes, &[(9, 0)]);
            check(&trends, "node-02", Source::AllObservers, &[(0, 2)]);
            check(&trends, "node-02", Source::OwnProbes, &[(0, 2)]);
        }
        // A node that is no longer a member is forgotten.
        trends.record(&Net::new("net-1", 2).busy_node().snapshot());
        check(&trends, "node-02", Source::AllObservers, &[]);
    }
}
