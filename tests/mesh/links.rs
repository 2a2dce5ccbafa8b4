//! Links that do not work, and nodes that are not what their state says.

use std::fs;

use crate::network::{Host, Network, free_address, wait};

/// Lets `host` believe that `peer` is at an address where nobody is.
fn misdirect(network: &Network, host: &str, peer: &str) {
    let dead = format!("http://{}", free_address());
    let yml = network.config_yml(|id| if id == peer { Some(dead.clone()) } else { url(network, id) });
    network.host(host).write(&yml);
}

fn url(network: &Network, id: &str) -> Option<String> {
    network.hosts.iter().find(|host| host.id == id).map(Host::url)
}

#[test]
fn reports_go_around_a_broken_link() {
    let mut network = Network::of(&["a", "b", "c"]);
    misdirect(&network, "a", "b");
    misdirect(&network, "b", "a");
    for host in &mut network.hosts {
        host.start();
    }
    for (observer, target, status) in
        [("a", "b", "offline"), ("b", "a", "offline"), ("c", "a", "online"), ("c", "b", "online")]
    {
        for at in ["a", "b", "c"] {
            network.wait_found(at, observer, target, status);
        }
    }
    // They keep coming, not only once.
    let seq =
        |at: &str, author: &str| network.watcher.reports(network.host(at)).map(|reports| reports[author].seq);
    for (at, author) in [("a", "b"), ("b", "a")] {
        let before = wait("an answer", || seq(at, author));
        wait("reports go on", || (seq(at, author)? > before + 3).then_some(()));
    }
}

#[test]
fn a_link_that_is_broken_one_way() {
    let mut network = Network::of(&["a", "b", "c"]);
    misdirect(&network, "a", "b");
    for host in &mut network.hosts {
        host.start();
    }
    network.wait_found("c", "a", "b", "offline");
    for (observer, target) in [("b", "a"), ("c", "b"), ("c", "a"), ("a", "c")] {
        network.wait_found("c", observer, target, "online");
    }
}

#[test]
fn a_node_that_only_calls_out_takes_part() {
    let mut network = Network::of(&["a", "b", "caller"]);
    for host in &network.hosts {
        host.write(&network.config_yml(|id| if id == "caller" { None } else { url(&network, id) }));
    }
    for host in &mut network.hosts {
        host.start();
    }
    for at in ["a", "b"] {
        for observer in ["a", "b"] {
            network.wait_found(at, observer, "caller", "online");
        }
        network.wait_found(at, "caller", "a", "online");
    }
    network.host_mut("caller").kill();
    for at in ["a", "b"] {
        network.wait_found(at, at, "caller", "offline");
    }
}

#[test]
fn lost_state_heals_with_a_higher_epoch() {
    let mut network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    // An epoch from a clock that was far ahead.
    network.host_mut("c").stop();
    fs::write(network.host("c").node_dir().join("epoch"), "2763884800000\n").expect("a file");
    network.host_mut("c").start();
    network.wait_all_online();
    network.host_mut("c").stop();
    for file in ["epoch", "nonces", "heads.json"] {
        fs::remove_file(network.host("c").node_dir().join(file)).expect("a file");
    }
    network.host_mut("c").start();
    network.host("c").wait_log("the state of this node was lost or restored");
    network.wait_all_online();
    let kept = fs::read_to_string(network.host("c").node_dir().join("epoch")).expect("kept");
    let kept: u64 = kept.trim().parse().expect("a number");
    assert!(kept > 2_763_884_800_001, "larger than any it used before: {kept}");
    wait("a takes its reports again", || {
        (network.watcher.reports(network.host("a"))?["c"].epoch == kept).then_some(())
    });
    assert!(!network.host("c").log().contains("another process signs"), "{}", network.host("c").log());
}

#[test]
fn a_cloned_machine_is_noticed() {
    let network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    // The clone of c has its key and its state, and another address.
    let clone = network.dir.path().join("clone");
    let copied = std::process::Command::new("cp").arg("-a").arg(&network.host("c").dir).arg(&clone).status();
    assert!(copied.expect("cp runs").success());
    let nodeconf = clone.join("nodeconf.yml");
    let (own, other) = (network.host("c").address.to_string(), free_address().to_string());
    let text = fs::read_to_string(&nodeconf).expect("a file").replace(&own, &other);
    crate::network::write_private(&nodeconf, &text);
    let mut twin = network.host("c").copy_at(&clone);
    twin.spawn(&mut twin.command());
    wait("one of the two says that it has a twin", || {
        let both = network.host("c").log() + &twin.log();
        both.contains("another process signs with this node's key").then_some(())
    });
}
