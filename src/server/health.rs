//! `GET /healthz`: the health of this process, for load balancers and container runtimes.

use rouille::Response;

use super::problem::problem;
use super::served_instance::ServedInstance;

/// The age of an event loop's last tick, in ms, beyond which it counts as stalled; it ticks twice a second.
const STALLED_MS: u64 = 5_000;

/// Returns 200 while every event loop ticks and has published a report or recovers its epoch, which a restart would
/// prolong, unless no epoch is left; else 503 with the reasons. The reply names no network, since it needs no token.
pub(super) fn get(instance: &ServedInstance) -> Response {
    let mut problems = Vec::new();
    for node in instance.nodes.values() {
        let since_tick_ms = node.clock.mono_ms().saturating_sub(node.last_tick_ms());
        if since_tick_ms > STALLED_MS {
            problems.push(format!("an event loop has been stalled for {} s", since_tick_ms / 1000));
            continue;
        }
        let snapshot = node.snapshot();
        if snapshot.epoch_exhausted() {
            problems.push("a node has no epoch left and publishes no reports: give it a new key".to_owned());
        } else if snapshot.own_report().is_none() && !snapshot.recovers_epoch() {
            problems.push("a node has not published its first report yet".to_owned());
        }
    }
    if instance.nodes.is_empty() {
        problems.push("no network is running".to_owned());
    }
    if problems.is_empty() {
        Response::json(&serde_json::json!({"status": "ok", "version": crate::VERSION}))
            .with_unique_header("Cache-Control", "no-store")
    } else {
        problem(503, "Service Unavailable", &problems.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::fixture::{instance, text};
    use crate::store::fixture::Net;

    #[test]
    fn node_without_an_epoch_is_unhealthy_and_one_that_recovers_it_is_not() {
        let net = Net::new("net", 2);
        let mut instance = instance(&[]);
        for (is_exhausted, status) in [(false, 200), (true, 503)] {
            instance.nodes.insert(net.id.clone(), net.recovering_node(is_exhausted).into());
            let reply = get(&instance);
            assert_eq!(reply.status_code, status);
            assert_eq!(text(reply).contains("give it a new key"), is_exhausted);
        }
    }
}
