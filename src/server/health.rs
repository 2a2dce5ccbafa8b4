//! `GET /healthz`: whether this process does its work, for load balancers and container runtimes.

use rouille::Response;

use super::instance::Instance;
use super::problem::problem;

/// A collector turns twice a second; one that did not for this long is stuck, in ms.
const STUCK_MS: u64 = 5_000;

/// 200 while every collector turns and has published, else 503 and why. It tells nobody which networks there
/// are.
pub(super) fn get(instance: &Instance) -> Response {
    let mut troubles = Vec::new();
    for node in instance.nodes.values() {
        let still_ms = node.clock.mono_ms().saturating_sub(node.last_tick_ms());
        if still_ms > STUCK_MS {
            troubles.push(format!("a collector has not turned for {} s", still_ms / 1000));
        } else if node.snapshot().own_report().is_none() {
            troubles.push("a node is about to make its first report".to_owned());
        }
    }
    if instance.nodes.is_empty() {
        troubles.push("no network is running".to_owned());
    }
    if troubles.is_empty() {
        Response::json(&serde_json::json!({"status": "ok", "version": crate::VERSION}))
            .with_unique_header("Cache-Control", "no-store")
    } else {
        problem(503, "Service Unavailable", &troubles.join("; "))
    }
}
