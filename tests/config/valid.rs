//! Valid configurations, including those of v0.1 and the shipped sample, and their parsed values.

use std::fs;
use std::path::Path;

use distomon::mesh::id::Site;

use super::{
    Config, NODECONF, V0_1_KEY, config, directory, etc, instance, loaded, mode, public_key, set_mode, v0_1,
};

/// Returns `[::]` with `port`.
fn all_addresses(port: u16) -> Vec<std::net::SocketAddr> {
    vec![(std::net::Ipv6Addr::UNSPECIFIED, port).into()]
}

#[test]
fn value_syntax() {
    let nodeconf = "\
---
networks:
  - name: net
    node_id: 1
    config_type: local
    git_repo: null
login_password: 12345
trusted_proxies: 10.0.0.0/8
";
    let network = "\
network_id: 7
defaults: {poll_rate: 0.25, timeout: 1.5}
node_config:
- &base {node_id: 1, url: 'https://h:8443/x/', retry: '3'}
- {<<: *base, node_id: 2, url: null, poll_rate: 86400, retry: 0, site: fra-1}
- node_id: 'yes'
  retry: 2.0
";
    let Config { networks, listen, login, trusted_proxies, warnings, .. } =
        loaded(&instance(nodeconf, network));
    let membership = &networks[0].membership;
    assert_eq!(membership.network_id().as_str(), "7");
    assert_eq!(membership.own().id.as_str(), "1");
    let members = membership.members().iter();
    let shown: Vec<_> =
        members.map(|m| (m.id.as_str(), m.url.as_deref(), m.poll_rate_ms, m.retry, m.timeout_ms)).collect();
    assert_eq!(
        shown,
        [
            ("1", Some("https://h:8443/x"), 250, 3, 1500),
            ("2", None, 86_400_000, 0, 1500),
            ("yes", None, 250, 2, 1500),
        ]
    );
    let sites: Vec<_> = membership.members().iter().map(|m| m.site.as_ref().map(Site::as_str)).collect();
    assert_eq!(sites, [None, Some("fra-1"), None]);
    assert_eq!(listen, all_addresses(8000), "the port of an https:// url is the proxy's");
    assert!(login.password().expect("a login").verify("12345"));
    assert!(trusted_proxies[0].contains("10.1.2.3".parse().expect("address")));
    assert_eq!(warnings.len(), 2, "two peers have no keys: {warnings:?}");
}

#[test]
fn defaults() {
    let config = loaded(&instance(
        "networks: [{name: net, node_id: a}]\n",
        "network_id: net\ndefaults:\nnode_config: [{node_id: a}]\n",
    ));
    let own = config.networks[0].membership.own();
    assert_eq!((own.poll_rate_ms, own.retry, own.timeout_ms), (10_000, 2, 5_000));
    assert!(
        own.url.is_none()
            && own.keys.is_empty()
            && matches!(config.login, config::LoginConfig::Generated(None))
    );
    assert_eq!(config.listen, all_addresses(8000));
    assert!(config.warnings.is_empty(), "its own key will be generated: {:?}", config.warnings);
}

#[test]
fn several_networks() {
    let nodeconf = "networks:\n  - {name: one, node_id: a}\n  - {name: two, node_id: b}\n";
    let check = |more: &str, port: u16, expected: &[std::net::SocketAddr]| {
        let second = format!("network_id: second\nnode_config: [{{node_id: b, url: 'http://h:{port}'}}]\n");
        let config = loaded(&directory(&[
            ("nodeconf.yml", &format!("{nodeconf}{more}")),
            (
                "networks/one/config.yml",
                "network_id: first\nnode_config: [{node_id: a, url: 'http://h:1'}]\n",
            ),
            ("networks/two/config.yml", &second),
        ]));
        let names: Vec<_> = config.networks.iter().map(|network| network.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(config.listen, expected);
    };
    check("", 1, &all_addresses(1));
    let both = ["127.0.0.1:5", "[::1]:5"].map(|address| address.parse().expect("address"));
    check("listen: [127.0.0.1:5, '[::1]:5']\n", 2, &both);
}

#[test]
fn warnings() {
    let check = |dir: &tempfile::TempDir, expected: &[&str]| {
        let warnings = loaded(dir).warnings;
        assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{expected}: {warning}");
        }
    };
    let nodes: Vec<_> =
        (0..65).map(|number| format!("  - {{node_id: n{number}, public_key: {}}}\n", public_key())).collect();
    let nodeconf = "networks: [{name: net, node_id: n0, git_repo: http://x}]\nlogin_password: x\n";
    let dir = instance(nodeconf, &format!("network_id: net\nnode_config:\n{}", nodes.concat()));
    set_mode(&dir.path().join("nodeconf.yml"), 0o644);
    check(
        &dir,
        &["git_repo is ignored", "other users can read this file", "65 nodes all observe each other"],
    );

    let ringed = |rings: u32| {
        instance(nodeconf, &format!("network_id: net\nobservers: {rings}\nnode_config:\n{}", nodes.concat()))
    };
    check(&ringed(3), &["git_repo is ignored", "observers: 3: each node has at most 3 observers"]);
    check(&ringed(10), &["git_repo is ignored"]);

    let key = public_key();
    let duplicates = format!(
        "network_id: net\nnode_config:\n  - {{node_id: node-1, url: http://h, public_key: {key}}}\n  - {{node_id: \
         b, url: http://h/, public_key: {key}}}\n  - node_id: c\n"
    );
    check(
        &instance(NODECONF, &duplicates),
        &["have the same url", "have the same public key", "c has no public key and does not participate"],
    );
}

#[test]
fn a_directory_of_v0_1() {
    let dir = v0_1();
    let (key, state) = (dir.path().join(V0_1_KEY), dir.path().join("state"));

    let (inspected, keys) = config::inspect(dir.path(), None, &state).expect("valid");
    assert_eq!(mode(&key), 0o644, "inspect changes nothing");
    assert!(inspected.warnings[0].contains("others can read"), "{:?}", inspected.warnings);
    assert_eq!(keys[0].as_ref().expect("its key").path, key);

    let (config, keys) = config::prepare(dir.path(), None, &state).expect("valid");
    assert_eq!((mode(&key), &keys[0].path, keys[0].generated), (0o600, &key, false));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.listen, all_addresses(8000));
    assert_eq!(config.networks[0].membership.own().keys, [keys[0].keypair.public().clone()]);
    assert!(config.login.password().expect("a login").verify("password"));
    assert!(!state.exists(), "no key was generated");
}

#[test]
fn keys_are_generated_only_without_errors() {
    let nodeconf = "networks:\n  - {name: one, node_id: a}\n  - {name: two, node_id: a}\n";
    let two = |retry: &str| format!("network_id: second\nnode_config: [{{node_id: a, retry: {retry}}}]\n");
    let dir = directory(&[
        ("nodeconf.yml", nodeconf),
        ("networks/one/config.yml", "network_id: first\nnode_config: [{node_id: a}]\n"),
        ("networks/two/config.yml", &two("x")),
    ]);
    let state = dir.path().join("state");
    config::prepare(dir.path(), None, &state).map(|_| ()).expect_err("an error in the second network");
    assert!(!state.exists());
    super::write(dir.path(), "networks/two/config.yml", &two("1"));
    let key = ".private_keys/a_second.key";
    super::write(dir.path(), key, "garbage");
    config::prepare(dir.path(), None, &state).map(|_| ()).expect_err("an invalid key of the second network");
    assert!(!state.exists());
    fs::remove_file(dir.path().join(key)).expect("remove");
    let (config, keys) = config::prepare(dir.path(), None, &state).expect("valid");
    for (network, key) in config.networks.iter().zip(&keys) {
        assert!(key.generated);
        assert_eq!(network.membership.own().keys, [key.keypair.public().clone()]);
    }
    let (_, again) = config::prepare(dir.path(), None, &state).expect("valid");
    assert!(again.iter().zip(&keys).all(|(a, b)| !a.generated && a.keypair.public() == b.keypair.public()));
}

#[test]
fn the_shipped_sample() {
    let config = config::load(&etc()).expect("valid");
    assert_eq!(config.networks[0].membership.members().len(), 3);
    assert_eq!(config.listen, all_addresses(8000));
    assert!(matches!(config.login, config::LoginConfig::Generated(None)));
}

#[derive(serde::Deserialize)]
struct SerdeNetwork {
    network_id: String,
    node_config: Vec<SerdeNode>,
}

#[derive(serde::Deserialize)]
struct SerdeNode {
    node_id: String,
    url: Option<String>,
    retry: Option<u32>,
}

#[test]
fn same_values_as_serde_yaml() {
    let check = |dir: &Path| {
        let config = config::load(dir).expect("valid");
        let network = &config.networks[0];
        let file = dir.join("networks").join(&network.name).join("config.yml");
        let text = fs::read_to_string(file).expect("read");
        let mut theirs: SerdeNetwork = serde_yaml::from_str(&text).expect("serde_yaml");
        theirs.node_config.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        assert_eq!(network.membership.network_id().as_str(), theirs.network_id);
        let ours = network.membership.members().iter();
        let ours: Vec<_> = ours.map(|m| (m.id.to_string(), m.url.clone(), m.retry)).collect();
        let theirs = theirs.node_config.into_iter();
        let theirs: Vec<_> = theirs
            .map(|n| {
                let url = n.url.map(|url| url.trim_end_matches('/').to_owned());
                (n.node_id, url, n.retry.unwrap_or(2))
            })
            .collect();
        assert_eq!(ours, theirs);
    };
    check(v0_1().path());
    check(&etc());
}
