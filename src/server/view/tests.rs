//! The JSON of a snapshot, and when it is sent and serialised again.

use std::sync::Arc;
use std::time::Duration;

use super::cache::NetworkCache;
use super::*;
use crate::server::fixture::{self, field, json, request, text};
use crate::store::fixture::{Net, node_id};

#[test]
fn network_body() {
    let net = Net::new("net-1", 4);
    let node = net.busy_node();
    let value = json(ViewCache::new().get_network(&node, &request("GET", "/view/net-1", &[], "")));
    let snapshot = node.snapshot();
    assert_eq!(value["network_id"], "net-1");
    assert_eq!(value["node_id"], "node-00");
    assert_eq!(value["generated_at"], snapshot.at().wall_ms);
    assert_eq!(value["version"], crate::VERSION);
    assert_eq!(value["config"], snapshot.membership().digest());
    assert_eq!((&value["isolated"], &value["twin"]), (&false.into(), &false.into()));
    let data = value["data"].as_object().expect("an object");
    assert_eq!(
        data.keys().collect::<Vec<_>>(),
        ["node-00", "node-01"],
        "members without a report are left out"
    );

    let own = &data["node-00"];
    assert_eq!(own["node_version"], crate::VERSION);
    let ping = &own["ping_data"]["node-01"];
    assert_eq!(ping["status"], "online");
    assert_eq!(ping["response_time"].as_f64(), Some(0.812));
    assert_eq!(ping["response_time_rtt"].as_f64(), Some(2.212));
    assert_eq!(ping["clock_offset_ms"], -3);
    assert!(ping["since"].is_u64() && ping["error"].is_null() && ping["head"].is_null());
    let ping = &own["ping_data"]["node-02"];
    assert_eq!((&ping["status"], &ping["error"]), (&"offline".into(), &"refused".into()));
    assert!(ping["response_time"].is_null() && ping["response_time_rtt"].is_null());
    assert_eq!(own["ping_data"]["node-03"]["status"], "unknown");

    let other = &data["node-01"];
    assert_eq!((&other["node_version"], &other["config"]), (&"9.8.7".into(), &"AAAAAAAAAAA=".into()));
    assert_eq!(other["epoch"], 7);
    assert_eq!(other["ping_data"]["node-00"]["response_time"].as_f64(), Some(5.0));
    assert_eq!(other["ping_data"]["node-00"]["response_time_rtt"].as_f64(), Some(15.0));
    for name in ["fresh", "isolated", "leaving", "conflict"] {
        assert!(other[name].is_boolean(), "{name}");
    }
    for name in ["seq", "at", "age_ms", "interval_ms"] {
        assert!(other[name].is_u64(), "{name}");
    }

    let nodes = value["nodes"].as_object().expect("an object");
    assert_eq!(nodes.len(), 4);
    for (name, status) in
        [("node-00", "online"), ("node-01", "online"), ("node-02", "offline"), ("node-03", "unknown")]
    {
        assert_eq!(nodes[name]["status"], status, "{name}");
        assert_eq!(nodes[name]["config_differs"], name == "node-01", "{name}");
        assert_eq!((&nodes[name]["keys"], &nodes[name]["retry"]), (&1.into(), &0.into()));
    }
    assert_eq!(nodes["node-00"]["poll_rate"].as_u64(), Some(10));
    assert_eq!(nodes["node-01"]["poll_rate"].as_f64(), Some(2.5));
    assert_eq!(nodes["node-02"]["error"], "refused");
    assert!(nodes["node-00"]["since"].is_null());
    assert!(value["counters"]["exchanges_ok"].as_u64() > Some(0));
    for name in ["reports_stored", "reports_stale", "reports_refused", "requests_refused"] {
        assert!(value["counters"][name].is_u64(), "{name}");
    }
}

#[test]
fn json_has_no_duplicate_members() {
    let text = text(ViewCache::new().get_network(&Net::new("a", 2).node(), &request("GET", "/", &[], "")));
    assert_eq!(text.matches("\"reports_stale\"").count(), 1);
}

#[test]
fn unchanged_snapshot_is_not_sent_again() {
    let net = Net::new("net-1", 3);
    let (node, cache) = (net.busy_node(), ViewCache::new());
    let get = |fields: &[(&str, &str)]| cache.get_network(&node, &request("GET", "/view/net-1", fields, ""));
    let first = get(&[]);
    let epoch = node.snapshot().own_report().expect("a report").id().epoch;
    let etag = field(&first, "ETag").expect("an ETag").to_owned();
    assert_eq!(etag, format!("\"{epoch}-{}\"", node.snapshot().revision()));
    assert_eq!(field(&first, "Cache-Control"), Some("private, no-cache"));
    assert_eq!(field(&first, "Content-Type"), Some("application/json"));
    for (known, status) in [
        (etag.clone(), 304),
        (format!("W/{etag}"), 304),
        (format!("\"x\", {etag}"), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
        (String::new(), 200),
        (etag.trim_matches('"').to_owned(), 200),
    ] {
        let reply = get(&[("if-none-match", &known)]);
        assert_eq!(reply.status_code, status, "{known}");
        assert_eq!(field(&reply, "ETag"), Some(etag.as_str()));
        assert_eq!(text(reply).is_empty(), status == 304);
    }
    let network = cache.of_network(&net.id);
    let first = network.get(&node, &node.snapshot());
    assert!(Arc::ptr_eq(&first, &network.get(&node, &node.snapshot())), "serialised once");
    let other = net.node();
    let changed = cache.get_network(&other, &request("GET", "/", &[("If-None-Match", &etag)], ""));
    assert_eq!(changed.status_code, 200);
    assert_ne!(field(&changed, "ETag"), Some(etag.as_str()));
}

#[test]
fn a_request_gets_the_previous_snapshot_during_serialisation() {
    let net = Net::new("net-1", 3);
    let (old, new) = (net.node(), net.busy_node());
    let cache = NetworkCache::default();
    let before = cache.get(&old, &old.snapshot());
    let serialising = cache.serialising.lock();
    let (done, shown) = crossbeam_channel::bounded(1);
    std::thread::scope(|scope| {
        scope.spawn(|| done.send(cache.get(&new, &new.snapshot())));
        let shown = shown.recv_timeout(Duration::from_secs(10));
        drop(serialising);
        assert!(Arc::ptr_eq(&before, &shown.expect("nothing to wait for")));
    });
    assert_ne!(cache.get(&new, &new.snapshot()).etag, before.etag);
}

#[test]
fn networks_that_the_viewer_may_read() {
    let (one, two) = (Net::new("net-1", 4), Net::new("net-2", 2));
    let instance = fixture::instance(&[&one, &two]);
    let value = json(list_networks(&instance, &Viewer::of(&[&one.id])));
    let expected = serde_json::json!({"networks": [
        {"network_id": "net-1", "node_id": node_id(0), "nodes": 4, "online": 2, "offline": 1, "unknown": 1}]});
    assert_eq!(value, expected);
    let value = json(list_networks(&instance, &Viewer::of(&[&one.id, &two.id])));
    assert_eq!(value["networks"].as_array().map(Vec::len), Some(2));
}
