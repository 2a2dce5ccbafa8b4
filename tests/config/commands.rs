//! The commands `check`, `init` and `key` of the built program, and their exit statuses.

use std::fs;
use std::path::Path;
use std::process::Command;

use distomon::config::keys;

use super::{NETWORK, NODECONF, V0_1_KEY, config, instance, keypair, mode, v0_1};

/// Runs the program and returns what it printed to standard output and standard error.
#[track_caller]
fn run(args: &[&str], status: i32) -> (String, String) {
    run_with(&[], args, status)
}

/// Does what [`run`] does, with additional environment variables.
#[track_caller]
fn run_with(environment: &[(&str, &Path)], args: &[&str], status: i32) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distomon"));
    command.args(args).env_remove("STATE_DIRECTORY").env_remove("CREDENTIALS_DIRECTORY");
    let output = command.envs(environment.iter().copied()).output().expect("the built program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{args:?}\n{stdout}{stderr}");
    (stdout, stderr)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn replace(path: &Path, from: &str, to: &str) {
    let before = fs::read_to_string(path).expect("read");
    assert!(before.contains(from), "{before}");
    fs::write(path, before.replace(from, to)).expect("write");
}

#[test]
fn check() {
    let dir = v0_1();
    let (stdout, stderr) = run(&["check", "--config", text(dir.path())], 0);
    let ok = "ok: test-network: this is node-1 of 2 nodes, 2 with a public key; key SHA256:";
    assert!(stdout.starts_with(ok), "{stdout}");
    assert!(stderr.starts_with("warning: "), "{stderr}");

    // The same file under another name; then an error in it, in the network's file and in the key.
    let nodeconf = dir.path().join("host-a.yml");
    fs::rename(dir.path().join("nodeconf.yml"), &nodeconf).expect("rename");
    run(&["check", "--config", text(&nodeconf)], 0);
    replace(&nodeconf, "config_type", "config_typ");
    replace(&dir.path().join("networks/test/config.yml"), "retry: 2", "retry: two");
    fs::write(dir.path().join(V0_1_KEY), "").expect("write");
    let (stdout, stderr) = run(&["--config", text(&nodeconf), "check"], 78);
    assert_eq!(stdout, "");
    let expected = [
        "host-a.yml:5:7: networks[0].config_typ: unknown key: did you mean config_type?",
        "config.yml:6:12: node_config[0].retry: expected a whole number from 0 to 100, found \"two\"",
        "node-1_test-network.key: private key of node-1 in test-network: expected an Ed25519 private key",
    ];
    assert_eq!(stderr.lines().count(), expected.len(), "{stderr}");
    for (line, expected) in stderr.lines().zip(expected) {
        assert!(line.contains(expected), "expected {expected}\nfound {line}");
    }
    run(&["check", "--config", text(&dir.path().join("missing"))], 78);
}

#[test]
fn systemd_directories() {
    let dir = instance(NODECONF, NETWORK);
    let (credentials, state) = (dir.path().join("credentials"), dir.path().join("var"));
    let check = |environment: &[(&str, &Path)], more: &[&str], expected: &Path| {
        let args = [&["check", "--config", text(dir.path())], more].concat();
        let (stdout, _) = run_with(environment, &args, 0);
        assert!(stdout.contains(&format!(" in {}\n", expected.display())), "{stdout}");
    };
    let in_state = Path::new("net/node-1/key.pem");
    for state in [&state, &dir.path().join("state"), &dir.path().join("given")] {
        keys::write(&state.join(in_state), &keypair()).expect("write");
    }
    check(&[], &[], &dir.path().join("state").join(in_state));
    check(&[("STATE_DIRECTORY", &state)], &[], &state.join(in_state));
    let given = dir.path().join("given");
    check(&[("STATE_DIRECTORY", &state)], &["--state", text(&given)], &given.join(in_state));
    let credential = credentials.join("net.key");
    keys::write(&credential, &keypair()).expect("write");
    check(&[("CREDENTIALS_DIRECTORY", &credentials), ("STATE_DIRECTORY", &state)], &[], &credential);
}

#[test]
fn usage() {
    run(&["chek"], 64);
    run(&["check", "--conf", "x"], 64);
    run(&["--help"], 0);
    run(&["init", "--help"], 0);
}

const NODES: [&str; 6] =
    ["--node", "a=http://10.0.0.1:8000/", "--node", "b=http://10.0.0.2:8000", "--node", "1e3"];

fn init(dir: &Path, more: &[&str], status: i32) -> (String, String) {
    run(&[&["init", text(dir), "--network", "net"], more].concat(), status)
}

#[test]
fn init_writes_a_network_that_loads() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let root = dir.path().join("conf");
    let (stdout, _) = init(&root, &[&NODES[..], &["--poll-rate", "0.5"]].concat(), 0);
    let commands = stdout.lines().filter(|line| line.starts_with("  ")).count();
    assert_eq!(commands, 5, "two copies and three starts: {stdout}");
    let rest = stdout.split("log in as admin with ").nth(1).expect("the password is shown");
    let password = rest.split(' ').next().expect("a word");
    let mut networks = Vec::new();
    for id in ["a", "b", "1e3"] {
        let dir = root.join(id);
        let (config, keys) = config::inspect(&dir, None, &dir.join("state")).expect("valid");
        assert!(config.login.password().expect("a login").verify(password));
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        let own = config.networks[0].membership.own();
        assert_eq!((own.id.as_str(), own.poll_rate_ms), (id, 500));
        assert_eq!(mode(&keys[0].as_ref().expect("a key").path), 0o600);
        assert_eq!(mode(&dir.join(".private_keys")), 0o755);
        networks.push(fs::read_to_string(dir.join("networks/net/config.yml")).expect("read"));
        assert!(!fs::read_to_string(dir.join("nodeconf.yml")).expect("read").contains(password));
        run(&["check", "--config", text(&dir)], 0);
    }
    assert!(networks.iter().all(|network| *network == networks[0]), "one config.yml for all");
}

#[test]
fn init_for_one_node() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (stdout, _) = init(dir.path(), &[&NODES[..], &["--self", "b", "--plain-password"]].concat(), 0);
    assert!(stdout.contains("public_key: MCow"), "{stdout}");
    let rest = stdout.split("log in as admin with ").nth(1).expect("the password is shown");
    let password = dir.path().join(".private_keys/login_password");
    assert_eq!(
        fs::read_to_string(&password).expect("read").trim_end(),
        rest.split(' ').next().expect("a word")
    );
    assert_eq!((mode(&password), mode(&dir.path().join("nodeconf.yml"))), (0o600, 0o644));
    let (_, warnings) = run(&["check", "--config", text(dir.path())], 0);
    assert_eq!(warnings.matches("has no public key").count(), 2, "{warnings}");
}

#[test]
fn failed_init_changes_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let root = dir.path().join("conf");
    init(&root, &NODES, 0);
    fs::remove_dir_all(root.join("a")).expect("remove");
    let nodeconf = root.join("b/nodeconf.yml");
    let before = fs::read_to_string(&nodeconf).expect("read");
    let (_, stderr) = init(&root, &NODES, 73);
    assert!(stderr.contains("b exists and is not overwritten"), "{stderr}");
    assert!(!root.join("a").exists(), "the directory created before the failure is removed");
    assert_eq!(fs::read_to_string(&nodeconf).expect("read"), before);
    let (_, stderr) = init(&root.join("b"), &[&NODES[..], &["--self", "b"]].concat(), 73);
    assert!(stderr.contains("exists and is not overwritten"), "{stderr}");
    assert_eq!(fs::read_to_string(&nodeconf).expect("read"), before);
    run(&["check", "--config", text(&root.join("b"))], 0);
    let (_, stderr) = init(&nodeconf.join("x"), &NODES, 73);
    assert!(stderr.contains("nodeconf.yml exists and is not overwritten"), "{stderr}");

    let none = dir.path().join("none");
    for bad in [
        &["--node", "a/b=http://h"][..],
        &["--node", "a=h:8000"],
        &["--node", "a="],
        &["--node", "a=http://h", "--node", "a=http://i"],
        &["--node", "a=http://h", "--node", "b=http://h/"],
        &["--node", "a=http://h", "--self", "b"],
        &["--node", "a=http://h", "--poll-rate", "0"],
        &["--node", "a=http://h", "--poll-rate", "NaN"],
        &[],
    ] {
        init(&none, bad, 64);
        assert!(!none.exists(), "{bad:?}");
    }
}

#[test]
fn key() {
    let dir = instance(NODECONF, NETWORK);
    let config = text(dir.path());
    let (shown, _) = run(&["key", "show", "--config", config], 0);
    assert_eq!(shown, "net\n  node-1  no key yet\n  node-2  no key yet\n");
    run(&["key", "show", "--pem", "--config", config], 78);

    let (generated, _) = run(&["key", "generate", "--config", config], 0);
    let spki = generated.lines().last().expect("base64");
    let file = dir.path().join("state/net/node-1/key.pem");
    assert_eq!(mode(&file), 0o600);
    let (shown, _) = run(&["key", "show", "net", "--config", config], 0);
    assert!(shown.contains(spki) && shown.contains(text(&file)), "{shown}");
    let (pem, _) = run(&["key", "show", "--pem", "--config", config], 0);
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----") && generated.starts_with(&pem), "{pem}");
    assert!(run(&["check", "--config", config], 0).0.contains("1 with a public key"));

    let before = fs::read_to_string(&file).expect("key");
    run(&["key", "generate", "--config", config], 73);
    let next = dir.path().join("next.pem");
    run(&["key", "generate", "--config", config, "--out", text(&next)], 0);
    run(&["key", "generate", "--config", config, "--out", text(&next)], 73);
    assert_eq!(fs::read_to_string(&file).expect("key"), before);
    run(&["key", "generate", "other", "--config", config], 64);
    run(&["key", "show", "--config", "/nonexistent"], 78);
}
