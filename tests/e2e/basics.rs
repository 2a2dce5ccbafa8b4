//! A network without faults, with a killed node and with a stopped node.

use std::fs;

use crate::network::Network;
use crate::wait::wait;
use crate::watcher::Watcher;

#[test]
fn a_killed_node_is_offline_and_online_again_after_its_start() {
    let mut network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    network.host_mut("c").kill();
    for at in ["a", "b"] {
        for observer in ["a", "b"] {
            network.wait_reported(at, observer, "c", "offline");
            network.wait_reported(at, observer, if observer == "a" { "b" } else { "a" }, "online");
        }
    }
    network.host_mut("c").start();
    network.wait_all_online();
}

#[test]
fn a_stopping_node_reports_that_it_leaves_and_keeps_its_epoch() {
    let mut network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    let status = network.host_mut("c").stop();
    assert!(status.success(), "{status}\n{}", network.logs());
    network.wait("a holds a report in which c leaves", || {
        network.watcher.reports(network.host("a"))?["c"].leaving.is_some().then_some(())
    });
    let epoch =
        fs::read_to_string(network.dir.path().join("c/state/net/c/epoch")).expect("the epoch is stored");
    assert!(epoch.trim().parse::<u64>().is_ok(), "{epoch:?}");
}

#[test]
fn a_replayed_request_is_rejected() {
    let network = Network::running(&["a"]);
    let host = network.host("a");
    let call = network.watcher.call(host, Watcher::empty().to_string()).sign();
    let first = call.send(host).expect("a reply");
    assert!(first.status == 200 && first.signed, "{first:?}");
    let second = call.send(host).expect("a reply");
    assert!(second.status == 409 && second.signed, "{second:?}");
    assert_eq!(second.headers["content-type"], "application/problem+json");
    host.wait_log("rejected a request from watcher: the nonce is not larger");
    let later = wait("a reply to a later request", || network.watcher.reports(host));
    assert!(later.contains_key("a"), "{later:?}");
}

#[test]
fn every_survivor_finds_a_killed_node_down_and_explains_it() {
    let mut network = Network::running(&["a", "b", "c", "d"]);
    network.wait_all_online();
    let view_if = |network: &Network, at: &str, node: &str, status: &str| {
        let view = network.host(at).get("/view/net")?;
        (view["verdicts"][node]["status"] == status).then_some(view)
    };
    for at in ["a", "b", "c", "d"] {
        network.wait("all are up", || view_if(&network, at, "d", "up"));
    }
    let last =
        network.watcher.reports(network.host("d")).expect("a reply").remove("d").expect("its own report");
    network.host_mut("d").kill();
    for at in ["a", "b", "c"] {
        let view = network.wait("d is down", || view_if(&network, at, "d", "down"));
        let verdict = &view["verdicts"]["d"];
        assert_eq!(verdict["cause"], "node", "{verdict}");
        assert!(verdict["votes"]["offline"].as_array().is_some_and(|votes| votes.len() >= 2), "{verdict}");
        assert!(verdict["evidence"][0][0] == "d" && verdict["evidence"][0][1] == last.epoch, "{verdict}");
        assert!(
            view["headline"].as_str().is_some_and(|text| text.contains("d is down")),
            "{}",
            view["headline"]
        );
        for survivor in ["a", "b", "c"] {
            assert_ne!(view["verdicts"][survivor]["status"], "down");
        }
        let explained = network.host(at).get("/explain/net/d").expect("an explanation");
        assert_eq!(explained["verdict"]["status"], "down");
        network.host(at).wait_log("d is down (was ");
    }
    network.host_mut("d").start();
    for at in ["a", "b", "c"] {
        network.wait("d is up again", || view_if(&network, at, "d", "up"));
    }
}
