//! A scenario in progress: its network, the faults that are active, and the ground truth about them.

use std::collections::BTreeMap;

use crate::byzantine::Misbehavior;
use crate::fault::{Fault, FaultKind};
use crate::fixtures;
use crate::ground_truth::{Conditions, GroundTruth};
use crate::link_model::LinkModel;
use crate::message::Transport;
use crate::network::processor::Share;
use crate::network::{Network, Setup};
use crate::node_set::NodeSet;
use crate::scenario::Scenario;
use crate::violation::Violation;
use crate::virtual_host::Disk;
use distomon::mesh::Event;
use distomon::mesh::id::ReportId;

/// The time in which the first report of a node arrives after a path to it appears, in ms: a hanging call ends
/// after 1 s, the next probe is due within 1.1 s, and the first report within 1 s. [`HOP_MS`] comes on top.
pub(crate) const FIRST_REPORT_MS: u64 = 3_500;

/// What each exchange on the path of a report adds, in ms: a probe every 1.1 s from either side.
pub(crate) const HOP_MS: u64 = 1_200;

/// The time that a stopping process has for its last report, in ms.
const STOP_MS: u64 = 400;

/// A scenario in progress.
pub(crate) struct ScenarioRun<'s> {
    pub(crate) scenario: &'s Scenario,
    pub(crate) network: Network,
    pub(crate) truth: GroundTruth,
    /// When the network had converged.
    pub(crate) start_ms: u64,
    /// When a fault last began or ended.
    pub(crate) changed_ms: u64,
    /// Nodes that misbehave at any time.
    pub(crate) byzantine: NodeSet,
    /// For each fault, whether it is active.
    active: Vec<bool>,
    disks: Vec<Option<Disk>>,
    /// For each viewer and target, the newest report that the viewer's previous process saved.
    min_reports: Vec<Vec<ReportId>>,
    restarts: Vec<u32>,
    /// The process of a node, counted by restarts, that used an epoch.
    processes: BTreeMap<(usize, u64), u32>,
    /// For each stopped node, the nodes that received its last report.
    stop_receivers: Vec<NodeSet>,
    /// Nodes that are stopping, and when they are killed at the latest, in ms.
    stopping: BTreeMap<usize, u64>,
}

impl<'s> ScenarioRun<'s> {
    pub(crate) fn new(scenario: &'s Scenario, transport: Transport) -> Self {
        let count = scenario.nodes;
        let clocks = scenario.clocks.clone();
        let setup = Setup { transport, clocks, ..Setup::new(fixtures::members(count), scenario.seed) };
        let has_load = |kind: fn(&FaultKind) -> bool| scenario.faults.iter().any(|fault| kind(&fault.kind));
        // Foreign load concerns nodes that share a machine, as long as no single one is limited.
        let setup = if has_load(|kind| matches!(kind, FaultKind::Load(..))) {
            setup.on_own_machines()
        } else if has_load(FaultKind::is_load) {
            setup.on_one_machine(1)
        } else {
            setup
        };
        let mut network = setup.start();
        network.links.set_delay(scenario.delay_ms);
        let conditions = Conditions { running: NodeSet::all(count), ..Conditions::default() };
        Self {
            truth: GroundTruth::new(&network.links, count, conditions),
            scenario,
            network,
            start_ms: 0,
            changed_ms: 0,
            byzantine: scenario.faults.iter().filter_map(|fault| fault.kind.byzantine_node()).collect(),
            active: vec![false; scenario.faults.len()],
            disks: vec![None; count],
            min_reports: vec![vec![ReportId::default(); count]; count],
            restarts: vec![0; count],
            processes: BTreeMap::new(),
            stop_receivers: vec![NodeSet::EMPTY; count],
            stopping: BTreeMap::new(),
        }
    }

    /// Runs until the network has converged.
    pub(crate) fn converge(&mut self) -> Result<(), Violation> {
        let limit_ms = self.network.now_ms + 8_000;
        while !self.network.is_converged() {
            if self.network.advance(limit_ms).is_none() {
                return Err(Violation::new("start", "not all nodes are online within 8 s"));
            }
        }
        self.network.run(1_500);
        self.start_ms = self.network.now_ms;
        self.changed_ms = self.start_ms;
        for node in 0..self.truth.count {
            self.record_process(node);
        }
        if self.scenario.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Replay(_))) {
            self.network.capture(true);
        }
        self.network.advance(self.start_ms + 1);
        Ok(())
    }

    /// The time since the network converged, in ms.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.network.now_ms - self.start_ms
    }

    pub(crate) fn active_faults(&self) -> impl Iterator<Item = &'s Fault> {
        self.scenario.faults.iter().zip(&self.active).filter(|(_, active)| **active).map(|(fault, _)| fault)
    }

    /// Whether all faults are a lack of processor time.
    pub(crate) fn has_only_load(&self) -> bool {
        self.scenario.faults.iter().all(|fault| fault.kind.is_load())
    }

    /// Whether `node` equivocates at any time.
    pub(crate) fn equivocates(&self, node: usize) -> bool {
        let equivocation = FaultKind::Misbehave(node, Misbehavior::Equivocate);
        self.scenario.faults.iter().any(|fault| fault.kind == equivocation)
    }

    /// Whether `node` hides its reports from some peers at any time.
    pub(crate) fn hides_reports(&self, node: usize) -> bool {
        let flood = FaultKind::Misbehave(node, Misbehavior::Flood);
        self.scenario.faults.iter().any(|fault| fault.kind == flood)
    }

    /// Makes the nodes that flood publish again.
    pub(crate) fn flood(&mut self) {
        let flooders: Vec<_> = self.active_faults().filter_map(|fault| fault.kind.flooding_node()).collect();
        for node in flooders {
            if self.is_checkable(node) {
                // A changed configuration is published as soon as the limit of reports in a second permits.
                self.network.reconfigure(node, node);
            }
        }
    }

    /// Whether the verdicts of the node on `host` can be checked now.
    pub(crate) fn is_checkable(&self, host: usize) -> bool {
        self.network.is_responsive(host) && !self.stopping.contains_key(&host)
    }

    /// The newest report of `target` that the previous process of `viewer` saved.
    pub(crate) fn min_report(&self, viewer: usize, target: usize) -> ReportId {
        self.min_reports[viewer][target]
    }

    /// The nodes that received the last report of `node` before it stopped.
    pub(crate) fn stop_receivers(&self, node: usize) -> NodeSet {
        self.stop_receivers[node]
    }

    /// Records the epoch that the process on `host` uses.
    pub(crate) fn record_process(&mut self, host: usize) {
        let epoch = self.network.host(host).disk.epoch;
        self.processes.entry((host, epoch)).or_insert(self.restarts[host]);
    }

    /// The process of `node`, counted by restarts, that used `epoch`.
    pub(crate) fn process(&self, node: usize, epoch: u64) -> Option<u32> {
        self.processes.get(&(node, epoch)).copied()
    }

    /// Kills the processes that have finished stopping.
    pub(crate) fn reap_stopped(&mut self) {
        if let Some((&node, &until_ms)) = self.stopping.first_key_value() {
            if self.network.host(node).engine.is_idle() || self.network.now_ms >= until_ms {
                self.stopping.remove(&node);
                self.disks[node] = Some(self.network.kill(node));
            }
        }
    }

    /// Begins or ends the fault with this index. Returns the node that restarts, if one does.
    pub(crate) fn change_fault(&mut self, index: usize, begins: bool) -> Option<usize> {
        let fault = self.scenario.faults[index];
        self.active[index] = begins;
        let network = &mut self.network;
        let mut restarted = None;
        match fault.kind {
            FaultKind::Crash(node) | FaultKind::Wipe(node) if begins => {
                self.disks[node] = Some(network.kill(node));
            }
            FaultKind::Stop(node) if begins => {
                let is_settled = network.now_ms - self.changed_ms >= FIRST_REPORT_MS;
                let is_certain = is_settled && !self.truth.conditions.lossy;
                self.stop_receivers[node] =
                    if is_certain { self.truth.connected(node) } else { NodeSet::EMPTY };
                self.stopping.insert(node, network.now_ms + STOP_MS);
                network.step(node, Event::Leaving(fixtures::LEAVE));
            }
            FaultKind::Crash(node) | FaultKind::Stop(node) => {
                self.restart(node, false);
                restarted = Some(node);
            }
            FaultKind::Wipe(node) => {
                self.restart(node, true);
                restarted = Some(node);
            }
            FaultKind::Hang(node) if begins => network.freeze(node, fault.for_ms),
            FaultKind::StepClock(node, by_ms) => {
                network.change_clock(node, |clock| clock.skew_ms += if begins { by_ms } else { -by_ms });
            }
            FaultKind::Misbehave(node, misbehavior) => {
                network.set_misbehavior(node, misbehavior, begins);
            }
            _ => {}
        }
        self.changed_ms = self.network.now_ms;
        self.apply_active_faults();
        restarted
    }

    fn restart(&mut self, node: usize, wiped: bool) {
        if self.stopping.remove(&node).is_some() {
            self.disks[node] = Some(self.network.kill(node));
        }
        let disk = self.disks[node].take().expect("saved when the process ended");
        let disk = if wiped { Disk::default() } else { disk };
        self.min_reports[node].fill(ReportId::default());
        for (id, report_id) in &disk.min_reports {
            let target = self.network.host_of(id);
            self.min_reports[node][target] = *report_id;
        }
        self.network.boot_with(node, node, disk, self.scenario.clocks[node]);
        self.restarts[node] += 1;
    }

    /// Applies the active faults to the links and the ground truth.
    fn apply_active_faults(&mut self) {
        let count = self.scenario.nodes;
        let (mut loss_percent, mut delay_ms) = (0, self.scenario.delay_ms);
        let mut conditions = Conditions { running: NodeSet::all(count), ..Conditions::default() };
        let faults: Vec<_> = self.active_faults().collect();
        for node in 0..count {
            let limits = faults.iter().filter_map(|fault| match fault.kind {
                FaultKind::Load(limited, permille) if limited == node => Some(permille),
                FaultKind::ForeignLoad(permille) => Some(permille),
                _ => None,
            });
            self.network.set_share(node, limits.min().map_or(Share::ALL, Share::permille));
        }
        let links = &mut self.network.links;
        links.reset();
        for fault in faults {
            match fault.kind {
                FaultKind::Crash(node) | FaultKind::Wipe(node) | FaultKind::Hang(node) => {
                    conditions.running = conditions.running.difference(NodeSet::single(node));
                }
                FaultKind::Stop(node) => {
                    conditions.running = conditions.running.difference(NodeSet::single(node));
                    conditions.stopped = conditions.stopped.with(node);
                }
                FaultKind::Cut(one, other) => links.cut(one, other),
                FaultKind::CutOneWay(from, to) => links.cut_one_way(from, to),
                FaultKind::BlockRequests(from, to) => links.block_requests(from, to),
                FaultKind::BlockInbound(node) => links.block_inbound(node),
                FaultKind::BlockOutbound(node) => links.block_outbound(node),
                FaultKind::Partition(side) => {
                    cut_where(links, count, |one, other| side.contains(one) != side.contains(other));
                }
                FaultKind::Bridge(bridge, side) => cut_where(links, count, |one, other| {
                    one != bridge && other != bridge && side.contains(one) != side.contains(other)
                }),
                FaultKind::Chain => cut_where(links, count, |one, other| one + 1 < other),
                FaultKind::Star(hub) => cut_where(links, count, |one, other| one != hub && other != hub),
                FaultKind::Loss(percent) => loss_percent = loss_percent.max(percent),
                FaultKind::Delay(ms) => delay_ms = delay_ms.max(ms),
                FaultKind::Misbehave(node, Misbehavior::Withhold | Misbehavior::Hoard) => {
                    conditions.withholding = conditions.withholding.with(node);
                }
                FaultKind::Misbehave(..) | FaultKind::Replay(_) | FaultKind::StepClock(..) => {}
                // Messages are late, as if they were lost.
                FaultKind::Load(..) | FaultKind::ForeignLoad(_) => conditions.lossy = true,
            }
        }
        links.set_loss(loss_percent);
        links.set_delay(delay_ms);
        conditions.lossy |= loss_percent > 0;
        self.truth = GroundTruth::new(links, count, conditions);
    }
}

/// Cuts the links for which `is_cut` holds; it gets the lower number first.
fn cut_where(links: &mut LinkModel, count: usize, is_cut: impl Fn(usize, usize) -> bool) {
    for one in 0..count {
        for other in (one + 1..count).filter(|&other| is_cut(one, other)) {
            links.cut(one, other);
        }
    }
}
