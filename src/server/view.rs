//! `GET /view`, `/explain`, `/changes` and `/report`: the state of a network as JSON.

use rouille::{Request, Response, ResponseBody};

use super::auth::Viewer;
use super::problem::problem;
use super::served_instance::ServedInstance;
use crate::mesh::id::is_name;
use crate::present::json::{Changes, ExplainError, Explanation, NetworkList, NetworkSummary};
use crate::present::timestamp;
use crate::store::NetworkHandle;

mod cache;

pub use cache::ViewCache;

/// The number of changes in a reply to a request without `limit`.
const DEFAULT_LIMIT: usize = 100;

/// The largest `limit` that a request may have.
const MAX_LIMIT: usize = 1_000;

/// Returns the parameter `at` of the query, if there is one: Unix time in ms. Fails if it is not a time.
pub(crate) fn time_param(request: &Request) -> Result<Option<u64>, ()> {
    let Some(text) = request.get_param("at") else { return Ok(None) };
    timestamp::parse_query(&text).map(Some).ok_or(())
}

/// Handles `GET /view`: replies with a summary of each network that `viewer` may read.
pub fn list_networks(instance: &ServedInstance, viewer: &Viewer) -> Response {
    let readable = instance.nodes.iter().filter(|(id, _)| viewer.may_read(id));
    let networks = readable.map(|(_, node)| NetworkSummary::new(&node.snapshot())).collect();
    Response::json(&NetworkList { networks }).with_unique_header("Cache-Control", "private, no-cache")
}

/// Handles `GET /explain/{network_id}/{node_id}?at=TIME`: replies with the verdict of `node` on the node `id`, now
/// or at a time, and with its votes.
pub fn explain(node: &NetworkHandle, id: &str, request: &Request) -> Response {
    let Ok(at_ms) = time_param(request) else {
        return problem(400, "Bad Request", &format!("at: {}", timestamp::EXPECTED));
    };
    match Explanation::new(&node.snapshot(), id, at_ms) {
        Ok(explanation) => Response::json(&explanation).with_unique_header("Cache-Control", "no-store"),
        Err(error @ ExplainError::InFuture { .. }) => problem(400, "Bad Request", &error.to_string()),
        Err(error) => problem(404, "Not Found", &error.to_string()),
    }
}

/// Handles `GET /changes/{network_id}?node=ID&limit=N`: replies with the changes of verdicts since the start of this
/// process, newest first.
pub fn changes(node: &NetworkHandle, request: &Request) -> Response {
    let limit = request.get_param("limit").map_or(Some(DEFAULT_LIMIT), |text| text.parse().ok());
    let Some(limit) = limit.filter(|limit| (1..=MAX_LIMIT).contains(limit)) else {
        return problem(400, "Bad Request", &format!("limit: expected a number from 1 to {MAX_LIMIT}"));
    };
    let only = request.get_param("node");
    if only.as_deref().is_some_and(|id| !is_name(id)) {
        return problem(400, "Bad Request", "node: expected the node_id of a node");
    }
    let snapshot = node.snapshot();
    let changes = Changes::new(&snapshot, only.as_deref(), limit);
    Response::json(&changes).with_unique_header("Cache-Control", "no-store")
}

/// Handles `GET /report/{network_id}/{node_id}`: replies with the newest report of the node `id` in the DSSE envelope
/// that its author signed.
pub fn report(node: &NetworkHandle, id: &str) -> Response {
    let snapshot = node.snapshot();
    let Some(index) = snapshot.membership().index(id) else {
        return problem(404, "Not Found", "no such node in this network");
    };
    let Some(latest) = &snapshot.states()[index].latest else {
        return problem(404, "Not Found", "this node has no report of that node");
    };
    let name = format!("attachment; filename=\"{id}.report.json\"");
    let headers = vec![
        ("Content-Type".into(), "application/json".into()),
        ("Content-Disposition".into(), name.into()),
        ("Cache-Control".into(), "private, no-store".into()),
        ("X-Content-Type-Options".into(), "nosniff".into()),
    ];
    let data = ResponseBody::from_data(latest.envelope().as_bytes());
    Response { status_code: 200, headers, data, upgrade: None }
}

#[cfg(test)]
mod tests;
