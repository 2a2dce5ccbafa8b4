//! Broken links, lost state and a cloned node.

use std::fs;

use distomon::store::clock::wall_us;

use crate::host::{free_address, write_private};
use crate::network::Network;
use crate::wait::wait;

/// Writes an unused address of `peer` to the configuration of `host`.
fn break_link(network: &Network, host: &str, peer: &str) {
    let unused = format!("http://{}", free_address());
    let yml = network.config_yml(|id| if id == peer { Some(unused.clone()) } else { network.url_of(id) });
    network.host(host).write(&yml);
}

#[test]
fn reports_are_relayed_around_a_broken_link() {
    let mut network = Network::new(&["a", "b", "c"]);
    break_link(&network, "a", "b");
    break_link(&network, "b", "a");
    for host in &mut network.hosts {
        host.start();
    }
    for (observer, target, status) in
        [("a", "b", "offline"), ("b", "a", "offline"), ("c", "a", "online"), ("c", "b", "online")]
    {
        for at in ["a", "b", "c"] {
            network.wait_reported(at, observer, target, status);
        }
    }
    // Not only the first report is relayed.
    let seq =
        |at: &str, author: &str| network.watcher.reports(network.host(at)).map(|reports| reports[author].seq);
    for (at, author) in [("a", "b"), ("b", "a")] {
        let before = wait("a reply", || seq(at, author));
        wait("new reports", || (seq(at, author)? > before + 3).then_some(()));
    }
}

#[test]
fn a_link_broken_in_one_direction_is_offline_in_that_direction() {
    let mut network = Network::new(&["a", "b", "c"]);
    break_link(&network, "a", "b");
    for host in &mut network.hosts {
        host.start();
    }
    network.wait_reported("c", "a", "b", "offline");
    for (observer, target) in [("b", "a"), ("c", "b"), ("c", "a"), ("a", "c")] {
        network.wait_reported("c", observer, target, "online");
    }
}

#[test]
fn an_outbound_only_node_is_online_until_it_is_killed() {
    let mut network = Network::new(&["a", "b", "caller"]);
    for host in &network.hosts {
        host.write(&network.config_yml(|id| if id == "caller" { None } else { network.url_of(id) }));
    }
    for host in &mut network.hosts {
        host.start();
    }
    for at in ["a", "b"] {
        for observer in ["a", "b"] {
            network.wait_reported(at, observer, "caller", "online");
        }
        network.wait_reported(at, "caller", "a", "online");
    }
    network.host_mut("caller").kill();
    for at in ["a", "b"] {
        network.wait_reported(at, at, "caller", "offline");
    }
}

#[test]
fn a_node_that_lost_its_state_resumes_with_a_higher_epoch() {
    let mut network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    // An epoch of a clock that was five years ahead.
    network.host_mut("c").stop();
    let ahead = wall_us() / 1000 + 5 * 366 * 86_400_000;
    fs::write(network.host("c").node_dir().join("epoch"), format!("{ahead}\n")).expect("a file");
    network.host_mut("c").start();
    network.wait_all_online();
    network.host_mut("c").stop();
    for file in ["epoch", "last_run", "nonces", "heads.json"] {
        fs::remove_file(network.host("c").node_dir().join(file)).expect("a file");
    }
    network.host_mut("c").start();
    network.host("c").wait_log("the state of this node was lost or restored");
    network.wait_all_online();
    let epoch = fs::read_to_string(network.host("c").node_dir().join("epoch")).expect("the epoch is stored");
    let epoch: u64 = epoch.trim().parse().expect("a number");
    assert!(epoch > ahead + 1, "not larger than the epochs before: {epoch}");
    wait("a accepts its reports again", || {
        (network.watcher.reports(network.host("a"))?["c"].epoch == epoch).then_some(())
    });
    assert!(!network.host("c").log().contains("another process signs"), "{}", network.host("c").log());
}

#[test]
fn a_clone_and_its_original_detect_the_duplicate_key() {
    let network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    // The clone of c has the same key and state, and another address.
    let clone = network.dir.path().join("clone");
    let copied = std::process::Command::new("cp").arg("-a").arg(&network.host("c").dir).arg(&clone).status();
    assert!(copied.expect("cp runs").success());
    let nodeconf = clone.join("nodeconf.yml");
    let (own, other) = (network.host("c").address.to_string(), free_address().to_string());
    let text = fs::read_to_string(&nodeconf).expect("a file").replace(&own, &other);
    write_private(&nodeconf, &text);
    let mut copy = network.host("c").copy_at(&clone);
    copy.spawn(&mut copy.run_command());
    wait("one of the two logs a duplicate key", || {
        let both = network.host("c").log() + &copy.log();
        both.contains("another process signs with this node's key").then_some(())
    });
}
