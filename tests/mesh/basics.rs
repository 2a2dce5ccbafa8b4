//! What a network does when nothing is wrong, and the plainest thing that can go wrong.

use crate::network::Network;

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
}
