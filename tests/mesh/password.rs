//! The password that an instance makes for itself: made once, shown to root, replaced, and never logged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::network::{Host, NETWORK, Network, write_private};

/// The answer to a login with `password`: its status, and the token if there is one.
fn log_in(host: &Host, password: &str) -> (u16, String) {
    let basic = STANDARD.encode(format!("admin:{password}"));
    let request = minreq::post(format!("{}/token", host.url())).with_timeout(10);
    let reply = request.with_header("Authorization", format!("Basic {basic}")).send().expect("an answer");
    let body: serde_json::Value = serde_json::from_slice(reply.as_bytes()).expect("JSON");
    (reply.status_code, body["access_token"].as_str().unwrap_or_default().to_owned())
}

/// The status of the view for the holder of `token`.
fn view(host: &Host, token: &str) -> u16 {
    let request = minreq::get(format!("{}/view/{NETWORK}", host.url())).with_timeout(5);
    let request = request.with_header("Authorization", format!("Bearer {token}"));
    request.send().expect("an answer").status_code
}

/// Writes nodeconf.yml with `login` as its last lines.
fn write_login(host: &Host, login: &str) {
    let path = host.dir.join("nodeconf.yml");
    let text = fs::read_to_string(&path).expect("a file");
    let kept: Vec<_> = text.lines().filter(|line| !line.starts_with("login")).collect();
    write_private(&path, &format!("{}\n{login}", kept.join("\n")));
}

#[test]
fn made_shown_and_replaced() {
    let mut network = Network::of(&["a"]);
    write_login(network.host("a"), "");
    let refused = network.host("a").command_line(&["password"]).expect_err("nothing was made yet");
    assert!(refused.contains("no password yet") && refused.contains("distomon run"), "{refused}");
    network.host_mut("a").start();

    let host = network.host("a");
    let first = host.command_line(&["password"]).expect("it was made");
    let first = first.trim_end();
    let file = host.state_dir().join(".password");
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o7777, 0o600);
    host.wait_log("generated a login password");
    assert_eq!(log_in(host, "wrong").0, 401);
    let (status, token) = log_in(host, first);
    assert_eq!((status, view(host, &token)), (200, 200));

    // It stays over a restart, and so do the tokens that it gave.
    let host = network.host_mut("a");
    assert!(host.stop().success(), "{}", host.log());
    host.start();
    assert_eq!(host.command_line(&["password"]).expect("it was made").trim_end(), first);
    assert_eq!(view(host, &token), 200);
    assert_eq!(host.log().matches("generated a login password").count(), 1, "{}", host.log());

    // Until the service reads it, the old one holds; then all that it opened ends.
    let second = host.command_line(&["password", "--new"]).expect("writable");
    let second = second.trim_end();
    assert_ne!(first, second);
    assert_eq!(view(host, &token), 200);
    host.signal(Signal::HUP);
    let host = network.host("a");
    network.wait("the new password", || (log_in(host, second).0 == 200).then_some(()));
    assert_eq!((log_in(host, first).0, view(host, &token)), (401, 401));
    for secret in [first, second] {
        assert!(!host.log().contains(secret), "{}", host.log());
    }
}

#[test]
fn what_cannot_be_shown() {
    let mut network = Network::of(&["a"]);
    let host = network.host_mut("a");
    let refused = host.command_line(&["password"]).expect_err("it is in the configuration");
    assert!(refused.contains("nodeconf.yml: login_password"), "{refused}");
    let hash = distomon::crypto::password::hash("secret").expect("a hash");
    write_login(host, &format!("login_password_hash: \"{hash}\"\n"));
    let refused = host.command_line(&["password", "--new"]).expect_err("a hash tells no password");
    assert!(refused.contains("remove that key and reload"), "{refused}");
    write_login(host, "login: false\n");
    let refused = host.command_line(&["password"]).expect_err("there is none");
    assert!(refused.contains("login: false"), "{refused}");
    host.start();
    assert_eq!(log_in(host, "secret").0, 403);
    assert!(!host.state_dir().join(".password").exists());
    for arguments in [["password", "/etc"], ["password", "network"]] {
        let refused = host.command_line(&arguments).expect_err("beside --config");
        assert!(refused.contains("--config"), "{refused}");
    }
}
