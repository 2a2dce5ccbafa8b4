//! Nodes whose state directory is damaged, or whose process is killed.

use std::fs;

use crate::network::Network;

#[test]
fn a_node_with_a_damaged_epoch_recovers_without_help() {
    let mut network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    let epoch_of_a = |network: &Network| {
        let reports = network.watcher.reports(network.host("b"))?;
        Some(reports.get("a")?.epoch)
    };
    let mut last = network.wait("b holds a report of a", || epoch_of_a(&network));
    let path = network.host("a").node_dir().join("epoch");
    for damaged in ["", "soon\n", "9007199254740991\n"] {
        network.host_mut("a").kill();
        for peer in ["b", "c"] {
            network.host_mut(peer).stop();
        }
        fs::write(&path, damaged).expect("a file");
        network.host_mut("a").start();
        let host = network.host("a");
        host.wait_log("epoch: expected one number less than 9007199254740991");
        let view = host.get("/view/net").expect("a view");
        let verdict = &view["verdicts"]["a"];
        assert_eq!((&verdict["status"], &verdict["cause"]), (&"degraded".into(), &"not publishing".into()));
        assert!(!network.watcher.reports(host).expect("a reply").contains_key("a"), "it must not publish");
        assert_eq!(fs::read_to_string(&path).expect("a file"), damaged);
        for peer in ["b", "c"] {
            network.host_mut(peer).start();
        }
        let epoch = network.wait("b holds a report of a with a later epoch", || {
            epoch_of_a(&network).filter(|epoch| *epoch > last)
        });
        network.wait_all_online();
        assert_eq!(fs::read_to_string(&path).expect("a file").trim(), epoch.to_string());
        last = epoch;
    }
    for host in &network.hosts {
        let log = host.log();
        assert!(!log.contains("two different reports") && !log.contains("another process"), "{log}");
    }
    assert_eq!(network.host("a").log().matches("recovered the epoch").count(), 3, "{}", network.logs());
}
