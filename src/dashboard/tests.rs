//! Pages as values, without HTTP.

use maud::html;

use super::*;
use crate::mesh::Timestamps;
use crate::store::fixture::{self, Net};

#[test]
fn a_stalled_node_is_marked_without_scripts_as_well() {
    let net = Net::new("net-1", 3);
    let content = overview::page(&[net.busy_node().snapshot()], "./");
    let request =
        PageRequest { url: "/", theme: theme::Theme::Auto, is_plain_http: false, now_ms: 1_000_000 };
    let page = |is_stalled: bool| {
        let frame = PageFrame {
            request: &request,
            title: "title",
            is_logged_in: true,
            live_content: Some(&content),
            stalled_since_ms: is_stalled.then_some(784_111_777_123),
        };
        frame.render(&html! {})
    };
    let marks = [
        "<title>? stale – ",
        "class=\"stale\"",
        "role=\"alert\">This node has stopped evaluating; the data below is from <time datetime=\"1994-11-06T08:49:37Z\"",
    ];
    for part in marks {
        assert!(page(true).contains(part) && !page(false).contains(part), "{part} in {}", page(true));
    }
}

#[test]
fn observations_of_an_old_report_are_marked() {
    let net = Net::new("net-1", 3);
    let network = net.busy_node();
    let snapshot = network.snapshot();
    let reported_ms = snapshot.states()[1].created_ms;
    let page = |mono_ms| {
        let now = Timestamps { mono_ms, ..fixture::now() };
        let page = NodePage { snapshot: &snapshot, index: 1, root: "./", at_ms: None, now };
        page.render(&LastHour::of(&network, "node-01")).body().into_string()
    };
    assert!(!page(reported_ms).contains("by an old report"));
    // The observations of node-01 of node-00 and node-02. Those of this node are never old.
    assert_eq!(page(reported_ms + 600_000).matches("by an old report").count(), 2);
}
