//! A node that sends captured requests and old reports again, which must change nothing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::fault::FaultKind;
use crate::fixtures;
use crate::message::Payload;
use crate::network::Network;
use crate::scenario_run::ScenarioRun;
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
            let request = captured[self.rng.usize(0..captured.len())].clone();
            let payload = captured[self.rng.usize(0..captured.len())].request.payload.clone();
            check_no_effect(run, request.to, "a request", |network| network.replay(request))?;
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
    let to = fixtures::node_id(victim);
    let body = format!("{{\"to\":\"{to}\",\"heads\":{{{}}},\"reports\":[]}}", heads.join(","));
    network.inject(victim, &fixtures::node_id(attacker), &body, payload);
}
