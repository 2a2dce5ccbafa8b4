//! The generated login password: generated once, shown to root, replaced, and never logged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::host::{Host, NETWORK, write_private};
use crate::network::Network;

/// Logs in with `password`; returns the status, and the token if there is one.
fn log_in(host: &Host, password: &str) -> (u16, String) {
    let basic = STANDARD.encode(format!("admin:{password}"));
    let request = minreq::post(format!("{}/token", host.url())).with_timeout(10);
    let reply = request.with_header("Authorization", format!("Basic {basic}")).send().expect("a reply");
    let body: serde_json::Value = serde_json::from_slice(reply.as_bytes()).expect("JSON");
    (reply.status_code, body["access_token"].as_str().unwrap_or_default().to_owned())
}

/// Requests the view with `token`; returns the status.
fn view(host: &Host, token: &str) -> u16 {
    let request = minreq::get(format!("{}/view/{NETWORK}", host.url())).with_timeout(5);
    let request = request.with_header("Authorization", format!("Bearer {token}"));
    request.send().expect("a reply").status_code
}

/// Replaces the login settings in nodeconf.yml with `login`.
fn write_login(host: &Host, login: &str) {
    let path = host.dir.join("nodeconf.yml");
    let text = fs::read_to_string(&path).expect("a file");
    let other_lines: Vec<_> = text.lines().filter(|line| !line.starts_with("login")).collect();
    write_private(&path, &format!("{}\n{login}", other_lines.join("\n")));
}

#[test]
fn a_generated_password_survives_restarts_until_it_is_replaced() {
    let mut network = Network::new(&["a"]);
    write_login(network.host("a"), "");
    let refused = network.host("a").run_subcommand(&["password"]).expect_err("no password yet");
    assert!(refused.contains("no password yet") && refused.contains("distomon run"), "{refused}");
    network.host_mut("a").start();

    let host = network.host("a");
    let first = host.run_subcommand(&["password"]).expect("a password");
    let first = first.trim_end();
    let file = host.state_dir().join(".password");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o7777, 0o600);
    host.wait_log("generated a login password");
    assert_eq!(log_in(host, "wrong").0, 401);
    let (status, token) = log_in(host, first);
    assert_eq!((status, view(host, &token)), (200, 200));

    // The password and its tokens survive a restart.
    let host = network.host_mut("a");
    assert!(host.stop().success(), "{}", host.log());
    host.start();
    assert_eq!(host.run_subcommand(&["password"]).expect("a password").trim_end(), first);
    assert_eq!(view(host, &token), 200);
    assert_eq!(host.log().matches("generated a login password").count(), 1, "{}", host.log());

    // The old password applies until the service reloads; then its tokens expire too.
    let second = host.run_subcommand(&["password", "--new"]).expect("a writable file");
    let second = second.trim_end();
    assert_ne!(first, second);
    assert_eq!(view(host, &token), 200);
    host.signal(Signal::HUP);
    let host = network.host("a");
    network.wait("the new password applies", || (log_in(host, second).0 == 200).then_some(()));
    assert_eq!((log_in(host, first).0, view(host, &token)), (401, 401));
    for secret in [first, second] {
        assert!(!host.log().contains(secret), "{}", host.log());
    }
}

#[test]
fn a_configured_or_disabled_password_is_not_shown() {
    let mut network = Network::new(&["a"]);
    let host = network.host_mut("a");
    let refused = host.run_subcommand(&["password"]).expect_err("a configured password");
    assert!(refused.contains("nodeconf.yml: login_password"), "{refused}");
    let hash = distomon::crypto::password::hash("secret").expect("a hash");
    write_login(host, &format!("login_password_hash: \"{hash}\"\n"));
    let refused = host.run_subcommand(&["password", "--new"]).expect_err("a configured hash");
    assert!(refused.contains("remove that key and reload"), "{refused}");
    write_login(host, "login: false\n");
    let refused = host.run_subcommand(&["password"]).expect_err("login is disabled");
    assert!(refused.contains("login: false"), "{refused}");
    host.start();
    assert_eq!(log_in(host, "secret").0, 403);
    assert!(!host.state_dir().join(".password").exists());
    for arguments in [["password", "/etc"], ["password", "network"]] {
        let refused = host.run_subcommand(&arguments).expect_err("an argument that conflicts with --config");
        assert!(refused.contains("--config"), "{refused}");
    }
}
