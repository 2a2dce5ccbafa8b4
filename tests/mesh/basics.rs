//! What a network does when nothing is wrong, and the plainest thing that can go wrong.

use std::fs;

use crate::network::{Network, wait};

#[test]
fn three_nodes_see_each_other_and_one_that_is_killed() {
    let mut network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    network.host_mut("c").kill();
    for at in ["a", "b"] {
        for observer in ["a", "b"] {
            network.wait_found(at, observer, "c", "offline");
            network.wait_found(at, observer, if observer == "a" { "b" } else { "a" }, "online");
        }
    }
    network.host_mut("c").start();
    network.wait_all_online();
}

#[test]
fn a_stop_is_quick_and_told() {
    let mut network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    let status = network.host_mut("c").stop();
    assert!(status.success(), "{status}\n{}", network.logs());
    let report = network.watcher.reports(network.host("a")).expect("an answer").remove("c");
    assert!(report.expect("a report of c").leaving, "c told a that it leaves");
    let epoch =
        fs::read_to_string(network.dir.path().join("c/state/net/c/epoch")).expect("its epoch is kept");
    assert!(epoch.trim().parse::<u64>().is_ok(), "{epoch:?}");
}

#[test]
fn a_request_is_answered_once() {
    let network = Network::running(&["a"]);
    let host = network.host("a");
    let call = network.watcher.call(network.watcher.empty(host).to_string()).sign();
    let first = call.send(host).expect("an answer");
    assert!(first.status == 200 && first.signed, "{first:?}");
    let second = call.send(host).expect("an answer");
    assert!(second.status == 409 && second.signed, "{second:?}");
    assert_eq!(second.headers["content-type"], "application/problem+json");
    host.wait_log("refused a request of watcher: the nonce is not larger");
    let later = wait("a later one is answered", || network.watcher.reports(host));
    assert!(later.contains_key("a"), "{later:?}");
}
