//! `distomon token`: signed here, or fetched with a password.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use distomon::crypto::token;

use super::fake_node::{BOTH_UP, running, snapshot};
use super::{Host, LOGIN, command, finished, now_s, unused_url};

#[test]
fn signed_tokens_are_valid() {
    let host = Host::new(8000, LOGIN);
    let check = |args: &[&str], kid: &str, audience: &[&str], lifetime_s: u64| {
        let (stdout, stderr) = host.run(args, 0);
        assert_eq!(stderr, "");
        let token = stdout.strip_suffix('\n').expect("one line");
        assert_eq!(token::key_id(token).as_deref(), Some(kid));
        let claims = token::verify(token, &host.key, "a", audience[0], now_s()).expect("a good token");
        assert_eq!(claims.aud, audience, "{args:?}");
        assert_eq!(claims.exp - claims.iat, lifetime_s, "{args:?}");
    };
    check(&["token"], "lan/a", &["lan", "wan"], 1800);
    check(&["token", "--lifetime", "1"], "lan/a", &["lan", "wan"], 60);
    check(&["token", "--network", "wan"], "wan/a", &["wan"], 1800);
    check(&["token", "--network", "far"], "wan/a", &["wan"], 1800);
}

#[test]
fn refused_tokens() {
    let check = |host: &Host, args: &[&str], status: i32, expected: &str| {
        let (stdout, stderr) = host.run(args, status);
        assert_eq!(stdout, "", "{args:?}");
        assert!(stderr.starts_with("distomon token: ") && stderr.contains(expected), "{stderr}");
    };
    check(&Host::new(8000, "login: false\n"), &["token"], 78, "has no login, so it accepts no token");

    let host = Host::new(8000, LOGIN);
    check(&host, &["token", "--network", "man"], 64, "no network man: expected one of lan, wan");
    let key = host.path("state/lan/a/key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
    check(&host, &["token"], 78, "state/lan/a/key.pem: private key of a in lan: others can read");
    host.run(&["token", "--network", "wan"], 0);
    fs::remove_file(&key).expect("the key");
    check(&host, &["token"], 78, "a in lan has no key yet: expected one in ");
    assert!(!key.exists(), "no key was made");
    fs::remove_file(host.path("nodeconf.yml")).expect("the file");
    check(&host, &["token"], 78, "nodeconf.yml: no such file");
}

/// Runs `distomon token` with the password of the node at `url`.
#[track_caller]
fn log_in(url: &str, password: &str, status: i32) -> (String, String) {
    let args = ["token", "--url", url, "--password-file", "-"];
    let mut command = command(&args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the built program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(password.as_bytes()).expect("room in the pipe");
    drop(stdin);
    finished(child.wait_with_output().expect("an end"), &args, status)
}

#[test]
fn tokens_for_a_password() {
    let node = running(snapshot("lan", "", BOTH_UP));
    assert_eq!(log_in(&node.url, "secret\n", 0), ("aa.bb.cc\n".to_owned(), String::new()));
    let (_, stderr) = log_in(&node.url, "wrong", 77);
    assert!(stderr.contains("status 401: wrong password") && !stderr.contains("secret"), "{stderr}");
    let (stdout, stderr) = log_in(&running("bad token").url, "secret", 76);
    assert!(stdout.is_empty() && stderr.contains("not with a token"), "{stdout}{stderr}");
    log_in(&running("busy").url, "secret", 75);
    log_in(&unused_url(), "secret", 69);
    log_in(&node.url, "", 64);
}
