//! Invalid configurations: the exact line, column, key and message of each error, and all errors together.

use std::fs;

use proptest::prelude::*;

use super::{
    NETWORK, NODECONF, check_errors, config, directory, instance, keypair, lines, loaded, public_key, write,
};

const NAME: &str = "expected 1 to 64 of a-z A-Z 0-9 . _ - starting with a letter or digit";

#[test]
fn nodeconf() {
    #[track_caller]
    fn check(nodeconf: &str, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|line| format!("nodeconf.yml:{line}")).collect();
        check_errors(&instance(nodeconf, NETWORK), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let known = "networks, login_password, login_password_hash, login, listen, trusted_proxies";
    check("", &["1:1: expected a mapping, found an empty file"]);
    check("- a\n", &[&format!("1:1: expected a mapping with {known}, found a list")]);
    check("{}", &["1:1: networks: missing: expected a list of the networks of this host"]);
    check("networks: net\n", &["1:11: networks: expected a list of networks (\"- name: …\"), found \"net\""]);
    check("networks:\n", &["1:1: networks: expected a list of networks (\"- name: …\"), found nothing"]);
    check(
        "networks: []\n",
        &["1:11: networks: expected at least one network (\"- name: …\"), found an empty list"],
    );
    check(
        "networks:\n  - net\n",
        &["2:5: networks[0]: expected a mapping with name, node_id, config_type, git_repo, found \"net\""],
    );
    check(
        "networks:\n  - nam: net\n",
        &[
            "2:5: networks[0].nam: unknown key: did you mean name?",
            "2:5: networks[0].node_id: missing: expected the name of this host's node in the network",
            "2:5: networks[0].name: missing: expected the name of the directory under networks/",
        ],
    );
    check(
        "networks:\n  - name: ../net\n    node_id: n o\n",
        &[
            &format!("2:11: networks[0].name: {NAME}, found \"../net\""),
            &format!("3:14: networks[0].node_id: {NAME}, found \"n o\""),
        ],
    );
    check(
        "networks:\n  - name: true\n    node_id: 1.5\n",
        &[
            "2:11: networks[0].name: expected the name of a directory under networks/, found true: quote it \
             (\"true\")",
            "3:14: networks[0].node_id: expected a name, found the number 1.5: quote it (\"1.5\")",
        ],
    );
    check(
        &format!("{NODECONF}login_pasword: x\ncolour: red\n"),
        &[
            "5:1: login_pasword: unknown key: did you mean login_password?",
            &format!("6:1: colour: unknown key: expected one of {known}"),
        ],
    );
    check(
        "networks:\n  - {name: net, node_id: node-1}\n  - {name: net, node_id: node-2}\n",
        &["3:12: networks[1].name: duplicate network \"net\", first in networks[0]: remove one"],
    );
    for kind in ["git", "github"] {
        check(
            &format!(
                "networks:\n  - {{name: net, node_id: node-1, config_type: {kind}, git_repo: http://x}}\n"
            ),
            &[
                "2:47: networks[0].config_type: this version cannot fetch configurations with git: expected local: \
               clone the repository to networks/<name>",
            ],
        );
    }
    check(
        "networks:\n  - {name: net, node_id: node-1, config_type: svn}\n",
        &["2:47: networks[0].config_type: expected local, found \"svn\""],
    );
}

#[test]
fn missing_nodes_and_networks() {
    let dir =
        instance("networks:\n  - {name: net, node_id: node-3}\n  - {name: other, node_id: x}\n", NETWORK);
    check_errors(
        &dir,
        &[
            "nodeconf.yml:2:26: networks[0].node_id: node-3 is not in node_config of networks/net/config.yml: \
             expected one of node-1, node-2",
            "nodeconf.yml:3:12: networks[1].name: networks/other/config.yml: no such file",
        ],
    );
    let nodes: Vec<_> = (10..20).map(|number| format!("  - {{node_id: city-{number}}}\n")).collect();
    check_errors(
        &instance(
            "networks:\n  - {name: net, node_id: CITY-13}\n",
            &format!("network_id: net\nnode_config:\n{}", nodes.concat()),
        ),
        &[
            "nodeconf.yml:2:26: networks[0].node_id: CITY-13 is not in node_config of networks/net/config.yml: did you mean city-13?",
        ],
    );
    check_errors(
        &instance("networks:\n  - {name: net, node_id: berlin}\n", NETWORK),
        &[
            "nodeconf.yml:2:26: networks[0].node_id: berlin is not in node_config of networks/net/config.yml: \
           expected one of node-1, node-2",
        ],
    );
}

#[test]
fn login_and_addresses() {
    #[track_caller]
    fn check(more: &str, expected: &[&str]) {
        let nodeconf = format!("networks: [{{name: net, node_id: node-1}}]\n{more}");
        let expected: Vec<_> = expected.iter().map(|line| format!("nodeconf.yml:{line}")).collect();
        check_errors(&instance(&nodeconf, NETWORK), &expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    check(
        "login_password: a\nlogin_password_hash: b\n",
        &[
            "3:22: login_password_hash: expected login_password or login_password_hash, found both: remove one",
        ],
    );
    check("login: no\n", &["2:8: login: expected true or false, found \"no\""]);
    check("login: 'true'\n", &["2:8: login: expected true or false, found \"true\""]);
    check(
        "login: false\nlogin_password: hunter2\n",
        &["3:17: login_password: conflicts with login: false: remove one of the two"],
    );
    check("login_password: [hunter2]\n", &["2:17: login_password: expected a password, found a list"]);
    check(
        "login_password: 1.5\n",
        &["2:17: login_password: expected a password, found a number or a boolean: quote it"],
    );
    check("login_password:\n", &["2:1: login_password: expected a password, found nothing"]);
    check("login_password: ''\n", &["2:17: login_password: expected a password, found an empty string"]);
    check(
        &format!("login_password: {}\n", "x".repeat(1025)),
        &["2:17: login_password: expected a password of at most 1024 bytes, found 1025"],
    );
    check(
        "login_password_hash: hunter2\n",
        &["2:22: login_password_hash: expected an argon2id hash as \
           \"$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>\""],
    );
    let address = "ADDRESS:PORT (\"[::]:8000\", \"127.0.0.1:8000\")";
    check(
        "listen: 8000\n",
        &[&format!("2:9: listen: expected {address}, found the number 8000: quote it (\"8000\")")],
    );
    check(
        "listen: ['[::]:1', localhost:8000, '[::]:1']\n",
        &[
            &format!("2:20: listen[1]: expected {address}, found \"localhost:8000\""),
            "2:36: listen[2]: duplicate address [::]:1: remove one",
        ],
    );
    check(
        "listen: []\n",
        &[&format!("2:9: listen: expected {address}, found an empty list: remove listen to use the default")],
    );
    let subnet = "an IP address or a subnet (192.0.2.0/24, 2001:db8::/32)";
    check(
        "trusted_proxies: [10.0.0.1/8, proxy, 1]\n",
        &[
            "2:19: trusted_proxies[0]: expected the first address of a subnet, 10.0.0.0/8, found \"10.0.0.1/8\"",
            &format!("2:31: trusted_proxies[1]: expected {subnet}, found \"proxy\""),
            &format!("2:38: trusted_proxies[2]: expected {subnet}, found the number 1: quote it (\"1\")"),
        ],
    );
}

/// Checks that this config.yml fails with exactly the errors `expected`, each without its file.
#[track_caller]
fn check_network(network: &str, expected: &[&str]) {
    let expected: Vec<_> = expected.iter().map(|line| format!("networks/net/config.yml:{line}")).collect();
    check_errors(&instance(NODECONF, network), &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn config_yml() {
    /// Returns a file with a node in lines 3 and 4, and `more` after it.
    fn node(more: &str) -> String {
        format!("network_id: net\nnode_config:\n  - node_id: node-1\n    url: http://h\n{more}")
    }
    check_network(
        "{}",
        &[
            "1:1: network_id: missing: expected the name of the network",
            "1:1: node_config: missing: expected a list of the network's nodes",
        ],
    );
    check_network(
        "network_id: net\nnode_config: {}\n",
        &["2:14: node_config: expected a list of nodes (\"- node_id: …\"), found a mapping"],
    );
    check_network(
        "network_id: net\nnode_config: []\n",
        &["2:14: node_config: expected at least one node (\"- node_id: …\"), found an empty list"],
    );
    let (poll_rate, retry, timeout) = (
        "node_config[0].poll_rate: expected a number from 0.1 to 86400 s, found",
        "node_config[0].retry: expected a whole number from 0 to 100, found",
        "node_config[0].timeout: expected a number from 0.1 to 300 s, found",
    );
    for [(first, first_found), (second, second_found), (third, third_found)] in [
        [("0", "the number 0"), ("-1", "the number -1"), ("301", "the number 301")],
        [("fast", "\"fast\""), ("1.5", "the number 1.5"), (".nan", "the number .nan")],
        [("86400.1", "the number 86400.1"), ("101", "the number 101"), ("010", "the number 010")],
        [("[1]", "a list"), ("true", "true"), ("{}", "a mapping")],
        [("~", "nothing"), ("1e9", "the number 1e9"), ("-.inf", "the number -.inf")],
    ] {
        check_network(
            &node(&format!("    poll_rate: {first}\n    retry: {second}\n    timeout: {third}\n")),
            &[
                &format!("5:16: {poll_rate} {first_found}"),
                &format!("6:12: {retry} {second_found}"),
                &format!("7:14: {timeout} {third_found}"),
            ],
        );
    }
    check_network(&node("    poll_rate:\n"), &[&format!("5:5: {poll_rate} nothing")]);
    check_network(
        &node("defaults: {poll_rate: 1e9, retries: 1}\n"),
        &[
            "5:23: defaults.poll_rate: expected a number from 0.1 to 86400 s, found the number 1e9",
            "5:28: defaults.retries: unknown key: expected one of poll_rate, retry, timeout",
        ],
    );
    check_network(
        &node("    url: http://again\n"),
        &["5:5: node_config[0].url: duplicate key, first in line 4: remove one"],
    );
    check_network(
        &node("  - node_id: node-1\n  - url: http://h2\n  - node_id: x\n    url: ftp://h\n"),
        &[
            "5:14: node_config[1].node_id: duplicate node_id node-1, first in line 3: expected a unique name",
            "6:5: node_config[2].node_id: missing: expected the name of a node",
            "8:10: node_config[3].url: expected a url that starts with http:// or https://, found \"ftp://h\"",
        ],
    );
    check_network(
        &node("    site: Berlin Mitte\n"),
        &[
            "5:11: node_config[0].site: expected 1 to 64 of a-z A-Z 0-9 . _ - starting with a letter or digit, \
           found \"Berlin Mitte\"",
        ],
    );
}

#[test]
fn sizes_of_a_network() {
    let many = |observers: &str, count: usize| {
        let nodes: Vec<_> = (1..=count).map(|number| format!("  - {{node_id: node-{number}}}\n")).collect();
        format!("network_id: net\n{observers}node_config:\n{}", nodes.concat())
    };
    check_network(&many("", 10_001), &["3:3: node_config: expected at most 10000 entries, found 10001"]);
    // The largest report: some 22 KiB, and 250 bytes for each of the others.
    let meshed = "a report of these 429 nodes can reach 131240 bytes, and peers accept 131072: limit the observers \
                  of each node (observers: 10)";
    check_network(&many("", 429), &[&format!("3:3: node_config: {meshed}")]);
    check_network(&many("observers: all\n", 429), &[&format!("2:12: observers: {meshed}")]);
    let long = |count: usize| {
        let nodes: Vec<_> =
            (1..=count).map(|number| format!("  - {{node_id: \"{number:064}\"}}\n")).collect();
        format!("network_id: net\nobservers: 10\nnode_config:\n{}", nodes.concat())
    };
    let missing = "nodeconf.yml:3:14: networks[0].node_id: node-1 is not in node_config of networks/net/config.yml: \
                   expected one of 000000000000000000000000000000000000000000000000000000000000…";
    check_errors(&instance(NODECONF, &long(6_504)), &[missing]);
    let crowded = "networks/net/config.yml:4:3: node_config: beside the ids of 6505 nodes, a message has room for 87698 \
                   bytes, and a report can need 87704: shorten the ids";
    check_errors(&instance(NODECONF, &long(6_505)), &[missing, crowded]);
    for (observers, found) in [
        ("0", "the number 0"),
        ("65", "the number 65"),
        ("1.5", "the number 1.5"),
        ("some", "\"some\""),
        ("[all]", "a list"),
    ] {
        check_network(
            &many(&format!("observers: {observers}\n"), 3),
            &[&format!("2:12: observers: expected all, or a number of rings from 1 to 64, found {found}")],
        );
    }
}

#[test]
fn public_keys() {
    let form = "an Ed25519 public key as base64 SubjectPublicKeyInfo (\"MCowBQYDK2VwAyEA…\")";
    let network =
        |key: &str| format!("network_id: net\nnode_config:\n  - node_id: node-1\n    public_key: {key}\n");
    let check = |key: &str, expected: &str| {
        let expected = format!("networks/net/config.yml:4:{expected}");
        check_errors(&instance(NODECONF, &network(key)), &[&expected]);
    };
    let good = public_key();
    check("MCow", &format!("17: node_config[0].public_key: expected {form}, found \"MCow\""));
    check("[a, b, c]", "17: node_config[0].public_key: expected at most 2 entries, found 3");
    check(&format!("[{good}, {good}]"), "80: node_config[0].public_key[1]: duplicate public key: remove one");

    let (first, other) = (keypair(), public_key());
    let check_file = |text: &str, key: &str, expected: Result<usize, &str>| {
        let dir = instance(NODECONF, &network(key));
        write(dir.path(), "networks/net/pubkeys/node-1.pub", text);
        match expected {
            Ok(keys) => assert_eq!(loaded(&dir).networks[0].membership.own().keys.len(), keys),
            Err(line) => check_errors(&dir, &[&format!("networks/net/{line}")]),
        }
    };
    let (pem, spki) = (first.public().to_pem(), first.public().to_base64_spki());
    check_file(&pem, "null", Ok(1));
    check_file(&pem, &spki, Ok(1));
    check_file(&pem, &format!("[{other}, {spki}]"), Ok(2));
    let differs = format!(
        "config.yml:4:17: node_config[0].public_key: does not match pubkeys/node-1.pub ({}): remove the \
         wrong key",
        first.public().fingerprint()
    );
    check_file(&pem, &other, Err(&differs));
    let form = "pubkeys/node-1.pub: public key of node-1: expected an Ed25519 public key as PEM \
                SubjectPublicKeyInfo (\"-----BEGIN PUBLIC KEY-----\")";
    check_file("garbage", "null", Err(form));
    check_file("", &spki, Err(form));
}

#[test]
fn unreadable_files() {
    let dir = instance(NODECONF, NETWORK);
    let nodeconf = dir.path().join("nodeconf.yml");
    fs::write(&nodeconf, b"networks: []\n  \xff").expect("write");
    check_errors(&dir, &["nodeconf.yml:2:3: expected UTF-8 text, found invalid bytes"]);
    fs::write(&nodeconf, vec![b'#'; (1 << 20) + 1]).expect("write");
    check_errors(&dir, &["nodeconf.yml: is too large: expected at most 1024 KiB"]);
    fs::remove_file(&nodeconf).expect("remove");
    check_errors(
        &dir,
        &[
            "nodeconf.yml: no such file: expected a directory with nodeconf.yml, or that file; create one with \
           \"distomon init\"",
        ],
    );
    fs::create_dir(&nodeconf).expect("mkdir");
    check_errors(&dir, &["nodeconf.yml: expected a file, found a directory"]);
}

#[test]
fn conflicting_networks() {
    let nodeconf = "networks:\n  - {name: one, node_id: a}\n  - {name: two, node_id: b}\n";
    let check = |second: &str, expected: &str| {
        let first = "network_id: first\nnode_config: [{node_id: a, url: 'http://h:1'}]\n";
        let files = [
            ("nodeconf.yml", nodeconf),
            ("networks/one/config.yml", first),
            ("networks/two/config.yml", second),
        ];
        check_errors(&directory(&files), &[expected]);
    };
    check(
        "network_id: first\nnode_config: [{node_id: b, url: 'http://h:1'}]\n",
        "networks/two/config.yml:1:13: network_id: duplicate network_id first, also in networks/one/config.yml: \
         expected a unique id",
    );
    check(
        "network_id: second\nnode_config: [{node_id: b, url: 'http://h:2'}]\n",
        "nodeconf.yml:2:3: listen: missing: this host's url has port 1 in one and port 2 in two: set the address to \
         listen on (listen: \"[::]:1\")",
    );
}

/// Independent errors: the valid text, the invalid text that replaces it, and the start of the expected line.
const ERRORS: &[(&str, &str, &str)] = &[
    ("name: two", "name: t/o", "nodeconf.yml:4:11: networks[1].name: expected 1 to 64"),
    ("config_type: local", "config_type: git", "nodeconf.yml:6:18: networks[1].config_type: this version"),
    ("login_password: x", "login_password: {}", "nodeconf.yml:7:17: login_password: expected a password"),
    ("listen: 127.0.0.1:80", "listen: 127.0.0.1", "nodeconf.yml:8:9: listen: expected ADDRESS:PORT"),
    ("trusted_proxies: ::1", "trusted_proxies: no", "nodeconf.yml:9:18: trusted_proxies: expected an IP"),
    ("# 1", "lisen: 1", "nodeconf.yml:10:1: lisen: unknown key: did you mean listen?"),
    ("network_id: first", "network_id: .first", "networks/one/config.yml:1:13: network_id: expected 1 to 64"),
    ("poll_rate: 1,", "poll_rate: 0,", "networks/one/config.yml:2:23: defaults.poll_rate: expected a number"),
    ("retry: 1}", "retry: x}", "networks/one/config.yml:2:33: defaults.retry: expected a whole number"),
    (
        "url: http://h:1",
        "url: http://h:0",
        "networks/one/config.yml:5:10: node_config[0].url: expected a port",
    ),
    ("timeout: 2", "timeout: 0", "networks/one/config.yml:6:14: node_config[0].timeout: expected a number"),
    ("# 2", "public_key: A", "networks/one/config.yml:7:17: node_config[0].public_key: expected an Ed25519"),
    ("# 3", "pol_rate: 2", "networks/one/config.yml:9:5: node_config[1].pol_rate: unknown key: did you mean"),
    ("url: http://i:1", "url: [1]", "networks/one/config.yml:10:10: node_config[1].url: expected a url"),
    ("# 4", "retry: 101", "networks/one/config.yml:11:12: node_config[1].retry: expected a whole number"),
    ("# 5", "url: x", "networks/one/config.yml:14:5: node_config[2].url: duplicate key"),
];

const MANY: &str = "\
networks:
  - name: one
    node_id: a
  - name: two
    node_id: a
    config_type: local
login_password: x
listen: 127.0.0.1:80
trusted_proxies: ::1
# 1
";

const MANY_NODES: &str = "\
network_id: first
defaults: {poll_rate: 1, retry: 1}
node_config:
  - node_id: a
    url: http://h:1
    timeout: 2
    # 2
  - node_id: b
    # 3
    url: http://i:1
    # 4
  - node_id: c
    url: http://j:1
    # 5
";

proptest! {
    #[test]
    fn all_errors_are_reported(selected in prop::sample::subsequence(ERRORS, 0..=ERRORS.len())) {
        let (mut nodeconf, mut network) = (MANY.to_owned(), MANY_NODES.to_owned());
        for (valid, invalid, _) in &selected {
            nodeconf = nodeconf.replace(valid, invalid);
            network = network.replace(valid, invalid);
        }
        let dir = directory(&[
            ("nodeconf.yml", &nodeconf),
            ("networks/one/config.yml", &network),
            ("networks/two/config.yml", "network_id: second\nnode_config: [{node_id: a}]\n"),
        ]);
        let found = config::load(dir.path()).map_or_else(|errors| lines(&errors, dir.path()), |_| Vec::new());
        prop_assert_eq!(found.len(), selected.len(), "{:#?}", found);
        for (line, (_, _, expected)) in found.iter().zip(&selected) {
            prop_assert!(line.starts_with(expected), "expected {}\nfound {}", expected, line);
        }
    }
}
