//! A node that sends captured requests and old reports again, which must change nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::fault::FaultKind;
use crate::fixtures;
use crate::message::Payload;
use crate::network::setup::converged;
use crate::network::{CapturedRequest, Network};
use crate::scenario_run::ScenarioRun;
use crate::seeds;
use crate::violation::Violation;
use crate::virtual_host::VirtualHost;
use distomon::mesh::id::ReportId;

/// Replays random captured messages.
pub(crate) struct ReplayAttack {
    rng: fastrand::Rng,
}

impl ReplayAttack {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: fastrand::Rng::with_seed(seed) }
    }

    /// Replays a request and old reports for each active fault of this kind, and checks that neither has an effect.
    pub(crate) fn run(&mut self, run: &mut ScenarioRun) -> Result<(), Violation> {
        let attackers = run.active_faults().filter_map(|fault| match fault.kind {
            FaultKind::Replay(node) => Some(node),
            _ => None,
        });
        let attackers: Vec<_> = attackers.filter(|node| run.network.is_responsive(*node)).collect();
        for attacker in attackers {
            let captured = run.network.captured();
            if captured.is_empty() {
                continue;
            }
            let mut request = captured[self.rng.usize(0..captured.len())].clone();
            let mut payload = captured[self.rng.usize(0..captured.len())].request.payload.clone();
            // It listens where it is: reports that have not reached it are out of its reach.
            payload.reports.retain(|report| {
                let latest = run.network.host(attacker).latest(report.author());
                latest.is_some_and(|latest| report.id() <= latest.id())
            });
            if self.rng.bool() {
                request.to = self.rng.usize(0..run.truth.count);
            }
            check_replayed_request(run, request)?;
            let victim = self.rng.usize(0..run.truth.count);
            if victim != attacker && run.truth.can_call(attacker, victim) {
                check_no_effect(run, victim, "reports", |network| {
                    replay_reports(network, attacker, victim, payload);
                })?;
            }
        }
        Ok(())
    }
}

/// Replays `request`, and checks that it has no effect; nor, at a host that is not its recipient, on the nonces that the
/// host accepts.
fn check_replayed_request(run: &mut ScenarioRun, request: CapturedRequest) -> Result<(), Violation> {
    let victim = request.to;
    let is_forwarded = run.network.host_of(request.request.recipient()) != victim;
    let nonces = |run: &ScenarioRun| {
        let is_running = is_forwarded && run.network.is_responsive(victim);
        is_running.then(|| run.network.host(victim).disk.nonces.clone())
    };
    let before = nonces(run);
    check_no_effect(run, victim, "a request", |network| network.replay(request))?;
    if nonces(run) != before {
        let text = format!("{victim} took the nonce of a request to another node");
        return Err(Violation::new("a replay had an effect", text));
    }
    Ok(())
}

/// Runs `replay`, and checks that `victim` neither returns to an older report of a node nor counts the report that it
/// already has as a sign of life.
fn check_no_effect(
    run: &mut ScenarioRun,
    victim: usize,
    what: &str,
    replay: impl FnOnce(&mut Network),
) -> Result<(), Violation> {
    if !run.is_checkable(victim) {
        return Ok(());
    }
    let before = latest_reports(run.network.host(victim));
    replay(&mut run.network);
    let after = latest_reports(run.network.host(victim));
    for (target, (before, after)) in before.into_iter().zip(after).enumerate() {
        let (Some(id_before), Some(id_after)) = (before.0, after.0) else { continue };
        let is_revived = id_after == id_before && after.1 && !before.1;
        if target != victim && (id_after < id_before || is_revived) {
            let text = format!(
                "{what} sent to {victim} changed its latest report of {target} from {before:?} to {after:?}"
            );
            return Err(Violation::new("a replay had an effect", text));
        }
    }
    Ok(())
}

/// For each node, the id of the latest report that `host` has, and whether it is a sign of life.
fn latest_reports(host: &VirtualHost) -> Vec<(Option<ReportId>, bool)> {
    let states = host.snapshot.states().iter();
    states.map(|state| (state.latest.as_ref().map(|latest| latest.id()), state.advanced)).collect()
}

/// Sends old reports to `victim`, with heads that claim that all reports of `victim` are new.
fn replay_reports(network: &mut Network, attacker: usize, victim: usize, payload: Payload) {
    let mut heads = Vec::new();
    for (member, state) in network.host(victim).snapshot.members() {
        if let Some(latest) = &state.latest {
            let hash = STANDARD.encode(latest.short_digest());
            let report_id = latest.id();
            heads.push(format!("\"{}\":[{},{},\"{hash}\",0]", member.id, report_id.epoch, report_id.seq));
        }
    }
    let body = format!("{{\"v\":2,\"heads\":{{{}}},\"reports\":[]}}", heads.join(","));
    network.inject(victim, &fixtures::node_id(attacker), &body, payload);
}

/// The newest request that one node sent to another, after this number of captured ones.
fn captured_request(network: &Network, from: usize, to: usize, after: usize) -> Option<CapturedRequest> {
    let from = fixtures::node_id(from);
    let mut newer = network.captured()[after..].iter();
    newer.rfind(|captured| captured.request.sender.id == from && captured.to == to).cloned()
}

#[test]
fn a_request_that_is_forwarded_to_another_node_does_not_block_the_senders_next_one() {
    for seed in seeds() {
        let mut network = converged(3, seed);
        // Requests to node 2 take longer, so that a later request to node 1 with a larger nonce overtakes some of them.
        network.links.set_pair_delay(0, 2, 60);
        network.capture(true);
        let failed = |network: &Network| network.host(0).snapshot.counters().exchanges_failed;
        let before = failed(&network);
        for _ in 0..100 {
            let count = network.captured().len();
            network.run_until(3_000, "node 0 calls node 1", |network| {
                captured_request(network, 0, 1, count).is_some()
            });
            let request = captured_request(&network, 0, 1, count).expect("just captured");
            network.replay(CapturedRequest { to: 2, ..request });
        }
        network.run(2_000);
        assert_eq!(failed(&network), before, "{}", network.describe());
        assert!(network.is_converged());
    }
}
