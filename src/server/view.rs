//! `GET /view/{network_id}` and `GET /view`: what a node knows, as JSON.
//!
//! A network's snapshot is rendered once and then served to everyone until it changes.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rouille::{Request, Response, ResponseBody};
use serde::Serialize;

use self::body::Body;
use self::changes::{Changes, MOST, SOME};
use self::explanation::{Explanation, Missing};
use super::login::Viewer;
use super::problem::problem;
use super::served_instance::ServedInstance;
use crate::mesh::Snapshot;
use crate::mesh::id::{NetworkId, NodeId, is_name};
use crate::mesh::wire::observation::{Observation, ProbeStatus};
use crate::present::timestamp;
use crate::store::NetworkHandle;

mod body;
mod changes;
mod explanation;
mod verdicts;

pub(crate) use verdicts::Found;

/// While a snapshot is being rendered, the one before is served if it was taken at most this much earlier,
/// in ms.
const STALE_MS: u64 = 1_000;

/// The rendered snapshots.
#[derive(Default)]
pub struct Views(RwLock<HashMap<NetworkId, Arc<View>>>);

/// One network's rendered snapshot.
#[derive(Default)]
struct View {
    newest: RwLock<Option<Arc<Rendered>>>,
    /// Held while a snapshot is being rendered.
    rendering: Mutex<()>,
}

struct Rendered {
    key: Key,
    at_ms: u64,
    etag: String,
    json: Arc<[u8]>,
}

/// Tells snapshots apart, across restarts, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    epoch: u64,
    revision: u64,
}

impl Key {
    fn of(snapshot: &Snapshot) -> Self {
        let epoch = snapshot.own_report().map_or(0, |own| own.id().epoch);
        Self { epoch, revision: snapshot.revision() }
    }
}

#[derive(Serialize)]
struct Networks<'a> {
    networks: Vec<Summary<'a>>,
}

/// A network in short, as this node finds it.
#[derive(Debug, Serialize)]
pub struct Summary<'a> {
    /// The network.
    pub network_id: &'a NetworkId,
    /// This node.
    pub node_id: NodeId,
    /// How many nodes are configured, this one included.
    pub nodes: usize,
    /// How many of them are online from here, this one included.
    pub online: usize,
    /// How many are offline from here.
    pub offline: usize,
    /// Of how many nothing can be said from here.
    pub unknown: usize,
}

impl<'a> Summary<'a> {
    /// Counts what `snapshot` shows of the network.
    pub fn new(network_id: &'a NetworkId, snapshot: &Snapshot) -> Self {
        let membership = snapshot.membership();
        let statuses = (0..membership.members().len()).map(|index| status(snapshot, index));
        let (mut online, mut offline, mut unknown) = (0, 0, 0);
        for status in statuses {
            match status {
                ProbeStatus::Online => online += 1,
                ProbeStatus::Offline => offline += 1,
                ProbeStatus::Unknown => unknown += 1,
            }
        }
        let nodes = membership.members().len();
        Self { network_id, node_id: membership.own().id.clone(), nodes, online, offline, unknown }
    }
}

/// What this node last reported of a member, by its index; none of itself.
pub(crate) fn finding(snapshot: &Snapshot, index: usize) -> Option<&Observation> {
    let member = snapshot.membership().members().get(index)?;
    snapshot.own_report()?.report().observation(member.id.as_str())
}

/// What a member is from here: this node itself is online.
pub(super) fn status(snapshot: &Snapshot, index: usize) -> ProbeStatus {
    if index == snapshot.membership().me() {
        return ProbeStatus::Online;
    }
    finding(snapshot, index).map_or(ProbeStatus::Unknown, |found| found.status)
}

/// The query's `at`, if it has one: Unix time in ms. An error if that is no time.
pub(crate) fn asked_at(request: &Request) -> Result<Option<u64>, ()> {
    let Some(text) = request.get_param("at") else { return Ok(None) };
    // A plus sign in a query means a blank, and who writes an offset may not know that.
    let at = timestamp::read(&text).or_else(|| timestamp::read(&text.replace(' ', "+")));
    at.map(Some).ok_or(())
}

impl Views {
    /// Nothing is rendered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// `GET /view/{network_id}`: the whole snapshot, or 304 if the client has it.
    pub fn get_network(&self, node: &NetworkHandle, request: &Request) -> Response {
        let snapshot = node.snapshot();
        let view = self.view(snapshot.membership().network_id());
        let rendered = view.get(node, &snapshot);
        let is_known = request.header("If-None-Match").is_some_and(|list| names(list, &rendered.etag));
        let (status_code, data) = if is_known {
            (304, ResponseBody::empty())
        } else {
            let json = rendered.json.clone();
            let size = json.len();
            (200, ResponseBody::from_reader_and_size(Cursor::new(json), size))
        };
        let headers = vec![
            ("Content-Type".into(), "application/json".into()),
            ("Cache-Control".into(), "private, no-cache".into()),
            ("ETag".into(), rendered.etag.clone().into()),
        ];
        Response { status_code, headers, data, upgrade: None }
    }

    /// `GET /explain/{network_id}/{node_id}?at=TIME`: how `node` comes to its verdict on another, step by step;
    /// with a time, how it came to the one that stood then.
    pub fn explain(node: &NetworkHandle, id: &str, request: &Request) -> Response {
        let Ok(at) = asked_at(request) else {
            return problem(400, "Bad Request", &format!("at: {}", timestamp::EXPECTED));
        };
        let snapshot = node.snapshot();
        match Explanation::of(&snapshot, id, at) {
            Ok(explanation) => Response::json(&explanation).with_unique_header("Cache-Control", "no-store"),
            Err(Missing::Node) => problem(404, "Not Found", "no such node in this network"),
            Err(Missing::Past(why)) => problem(404, "Not Found", &why),
            Err(Missing::Future(ms)) => {
                let detail = format!("at: that is {} s after now, by this node's clock", ms / 1000);
                problem(400, "Bad Request", &detail)
            }
        }
    }

    /// `GET /changes/{network_id}?node=ID&limit=N`: what has changed since this process' start, newest first.
    pub fn changes(node: &NetworkHandle, request: &Request) -> Response {
        let limit = request.get_param("limit").map(|text| text.parse().ok());
        let Some(limit) = limit.unwrap_or(Some(SOME)).filter(|limit| (1..=MOST).contains(limit)) else {
            return problem(400, "Bad Request", &format!("limit: expected a number from 1 to {MOST}"));
        };
        let snapshot = node.snapshot();
        let only = request.get_param("node");
        if only.as_deref().is_some_and(|id| !is_name(id)) {
            return problem(400, "Bad Request", "node: expected the node_id of a node");
        }
        let changes = Changes::of(&snapshot, only.as_deref(), limit);
        Response::json(&changes).with_unique_header("Cache-Control", "no-store")
    }

    /// `GET /report/{network_id}/{node_id}`: the newest report of that node that is held here, as its author signed
    /// it: a DSSE envelope, to be kept, handed on, and checked by anyone.
    pub fn report(node: &NetworkHandle, id: &str) -> Response {
        let snapshot = node.snapshot();
        let Some(index) = snapshot.membership().index(id) else {
            return problem(404, "Not Found", "no such node in this network");
        };
        let Some(latest) = &snapshot.states()[index].latest else {
            return problem(404, "Not Found", "no report of this node is latest here");
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

    /// `GET /view`: the networks that are open to `viewer`, in short.
    pub fn get_all(&self, instance: &ServedInstance, viewer: &Viewer) -> Response {
        let open = instance.nodes.iter().filter(|(id, _)| viewer.may_read(id));
        let networks = open.map(|(id, node)| Summary::new(id, &node.snapshot())).collect();
        Response::json(&Networks { networks }).with_unique_header("Cache-Control", "private, no-cache")
    }

    fn view(&self, network: &NetworkId) -> Arc<View> {
        if let Some(view) = self.0.read().get(network) {
            return view.clone();
        }
        self.0.write().entry(network.clone()).or_default().clone()
    }
}

impl View {
    /// The snapshot, rendered. Who comes while another renders it takes the one before; only where that is
    /// too old, or there is none, is waiting cheaper than doing the same work.
    fn get(&self, node: &NetworkHandle, snapshot: &Snapshot) -> Arc<Rendered> {
        let key = Key::of(snapshot);
        let newest = self.newest.read().clone();
        if let Some(newest) = newest.as_ref().filter(|newest| newest.key == key) {
            return newest.clone();
        }
        let rendering = match (self.rendering.try_lock(), newest) {
            (Some(rendering), _) => rendering,
            (None, Some(before)) if snapshot.at().mono_ms <= before.at_ms + STALE_MS => return before,
            (None, _) => self.rendering.lock(),
        };
        // Another may have rendered this snapshot, or a newer one, since it was looked at.
        let newest = self.newest.read().clone();
        if let Some(newest) =
            newest.filter(|newest| newest.key == key || newest.at_ms > snapshot.at().mono_ms)
        {
            return newest;
        }
        let rendered = Arc::new(Rendered {
            key,
            at_ms: snapshot.at().mono_ms,
            etag: format!("\"{}-{}\"", key.epoch, key.revision),
            json: Body::new(snapshot, node.drop_counters.counts()).to_json().into(),
        });
        *self.newest.write() = Some(rendered.clone());
        drop(rendering);
        rendered
    }
}

/// Whether a list of `If-None-Match` names `etag`, by the weak comparison (RFC 9110, section 13.1.2).
pub(crate) fn names(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests;
