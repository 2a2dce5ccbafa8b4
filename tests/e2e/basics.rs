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

#[test]
fn every_survivor_concludes_that_a_killed_node_is_down_and_says_why() {
    let mut network = Network::running(&["a", "b", "c", "d"]);
    network.wait_all_online();
    let concludes = |network: &Network, at: &str, node: &str, standing: &str| {
        let view = network.host(at).get("/view/net")?;
        (view["verdicts"][node]["status"] == standing).then_some(view)
    };
    for at in ["a", "b", "c", "d"] {
        network.wait("all are up", || concludes(&network, at, "d", "up"));
    }
    let last = network.watcher.reports(network.host("d")).expect("an answer").remove("d").expect("its own");
    network.host_mut("d").kill();
    for at in ["a", "b", "c"] {
        let view = network.wait("d is down", || concludes(&network, at, "d", "down"));
        let verdict = &view["verdicts"]["d"];
        assert_eq!(verdict["cause"], "node", "{verdict}");
        assert!(verdict["votes"]["offline"].as_array().is_some_and(|votes| votes.len() >= 2), "{verdict}");
        assert!(verdict["evidence"][0][0] == "d" && verdict["evidence"][0][1] == last.epoch, "{verdict}");
        assert!(
            view["headline"].as_str().is_some_and(|text| text.contains("d is down")),
            "{}",
            view["headline"]
        );
        for living in ["a", "b", "c"] {
            assert_ne!(view["verdicts"][living]["status"], "down");
        }
        let explained = network.host(at).get("/explain/net/d").expect("an explanation");
        assert_eq!(explained["verdict"]["status"], "down");
        network.host(at).wait_log("d is down (was ");
    }
    network.host_mut("d").start();
    for at in ["a", "b", "c"] {
        network.wait("d is up again", || concludes(&network, at, "d", "up"));
    }
}
