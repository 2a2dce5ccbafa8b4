//! Past verdicts and their explanations.

use serde_json::Value;

use crate::network::Network;

/// Waits until the verdict of `at` on `node` has this status; returns the Unix time of that change, in ms.
fn wait_verdict(network: &Network, at: &str, node: &str, status: &str) -> u64 {
    network.wait(&format!("{node} is {status} at {at}"), || {
        let changes = network.host(at).get(&format!("/changes/net?node={node}&limit=1"))?;
        let newest = &changes["changes"][0];
        (newest["status"] == status).then(|| newest["at"].as_u64().expect("a time"))
    })
}

#[test]
fn a_past_outage_is_explained_after_the_node_is_up_again() {
    let mut network = Network::running(&["a", "b", "c", "d"]);
    network.wait_all_online();
    wait_verdict(&network, "a", "c", "up");
    network.host_mut("c").kill();
    let down_ms = wait_verdict(&network, "a", "c", "down");
    network.host_mut("c").start();
    let up_ms = wait_verdict(&network, "a", "c", "up");
    let host = network.host("a");

    // Another verdict may occur briefly between down and up.
    let first = host.get(&format!("/explain/net/c?at={down_ms}")).expect("an explanation");
    let until_ms = first["until"].as_u64().expect("the verdict has ended");
    assert!(down_ms < until_ms && until_ms <= up_ms, "{first}");
    for at in [down_ms, until_ms - 1] {
        let then = host.get(&format!("/explain/net/c?at={at}")).expect("an explanation");
        assert_eq!(then["verdict"]["status"], "down", "{then}");
        assert_eq!(then["verdict"]["cause"], "node", "{then}");
        assert_eq!(then["asked_at"], at, "{then}");
        assert_eq!(then["at"], down_ms, "{then}");
        assert_eq!(then["until"], until_ms, "{then}");
        let votes = then["ballot"].as_array().expect("votes");
        let is_refused = |vote: &&Value| vote["says"] == "offline" && vote["error"] == "refused";
        assert!(votes.iter().filter(is_refused).count() >= 2, "{then}");
    }
    let now = host.get(&format!("/explain/net/c?at={up_ms}")).expect("an explanation");
    assert!(now["verdict"]["status"] == "up" && now["until"] == Value::Null, "{now}");
    let now = host.get("/explain/net/c").expect("an explanation");
    assert!(now["verdict"]["status"] == "up" && now.get("asked_at").is_none(), "{now}");

    let at = (until_ms - 1).to_string();
    let text = host.run_subcommand(&["explain", "net", "c", "--at", &at]).expect("an explanation");
    assert!(text.starts_with("c of net was down, cause: node at "), "{text}");
    assert!(text.contains("b: offline (refused), by its report ("), "{text}");
    let list = host.run_subcommand(&["changes", "net", "--node", "c"]).expect("a list");
    let lines: Vec<_> = list.lines().collect();
    assert!(lines.len() >= 3 && lines.iter().any(|line| line.contains("c is up")), "{list}");
    assert!(list.contains("c is down, cause: node (was "), "{list}");
}

#[test]
fn times_outside_the_history_and_invalid_times_are_rejected() {
    let network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    let host = network.host("a");
    let check = |path: &str, status: u16, expected: &str| {
        let reply = host.request(path).expect("a reply");
        let text = reply.as_str().expect("text");
        assert!(
            reply.status_code == status && text.contains(expected),
            "{path}: {} {text}",
            reply.status_code
        );
    };
    check("/explain/net/c?at=2020-01-31T03:00:00Z", 404, "the oldest recorded verdict on c is from 20");
    check("/explain/net/c?at=2020-01-31T03:00:00+01:00", 404, "the oldest recorded verdict on c is from 20");
    check("/explain/net/x?at=2020-01-31T03:00:00Z", 404, "no such node");
    check("/explain/net/c?at=2099-01-31T03:00:00Z", 400, "s in the future, by this node's clock");
    check("/explain/net/c?at=yesterday", 400, "at: expected a time as 2026-01-31T03:00:00Z");
    check("/explain/net/c?at=", 400, "at: expected a time");
    check("/changes/net?limit=0", 400, "limit: expected a number from 1 to 1000");
    check("/changes/net?limit=x", 400, "limit: expected a number");
    check("/changes/net?node=a%20b", 400, "node: expected the node_id");
    check("/changes/net?node=x", 200, "\"changes\":[]");
    check("/changes/other", 404, "no such network");
    let error = host.run_subcommand(&["explain", "net", "c", "--at", "1d"]).expect_err("before the history");
    assert!(error.contains("status 404: the oldest recorded verdict on c is from "), "{error}");
    let error = host.run_subcommand(&["explain", "net", "c", "--at", "3 a.m."]).expect_err("an invalid time");
    assert!(error.contains("or a duration before now: 90s, 15m, 2h, 1d"), "{error}");
}
