//! Configuration directories: which are valid, the exact errors of those that are not, and the commands `check`,
//! `init` and `key`.

mod commands;
mod invalid;
mod valid;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use distomon::config::{self, Config, ConfigErrors};
use distomon::crypto::Keypair;
use tempfile::TempDir;

const NODECONF: &str = "\
networks:
  - name: net
    node_id: node-1
login_password: secret
";

const NETWORK: &str = "\
network_id: net
node_config:
  - node_id: node-1
    url: http://10.0.0.1:8001
  - node_id: node-2
    url: http://10.0.0.2:8002
";

/// Creates a directory with `files`, pairs of path and text.
fn directory(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    for (name, text) in files {
        write(dir.path(), name, text);
    }
    dir
}

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().expect("a file in the directory")).expect("mkdir");
    fs::write(&path, text).expect("write");
    // With some umasks, other users could read the file and a plain password would cause a warning.
    set_mode(&path, 0o640);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

fn instance(nodeconf: &str, network: &str) -> TempDir {
    directory(&[("nodeconf.yml", nodeconf), ("networks/net/config.yml", network)])
}

fn loaded(dir: &TempDir) -> Config {
    config::load(dir.path()).unwrap_or_else(|errors| panic!("expected no errors, found:\n{errors}"))
}

/// Returns the lines of `errors`, with paths relative to `dir`.
fn lines(errors: &ConfigErrors, dir: &Path) -> Vec<String> {
    let prefix = format!("{}/", dir.display());
    errors.to_string().lines().map(|line| line.replace(&prefix, "")).collect()
}

/// Checks that loading `dir` fails with exactly the errors `expected`.
#[track_caller]
fn check_errors(dir: &TempDir, expected: &[&str]) {
    let errors = config::load(dir.path()).map(|_| ()).expect_err("errors");
    assert_eq!(lines(&errors, dir.path()), expected);
}

fn keypair() -> Keypair {
    Keypair::generate().expect("random source")
}

fn public_key() -> String {
    keypair().public().to_base64_spki()
}

/// Returns the directory of the shipped sample.
fn etc() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc")
}

/// Creates a directory as v0.1 left it: a private key that all can read, and the own public key in a file.
fn v0_1() -> TempDir {
    let (own, peer) = (keypair(), keypair());
    let nodeconf = "\
---
networks:
    - name: test
      node_id: node-1
      config_type: local
      git_repo: null

login_password: password
";
    let network = "\
network_id: test-network
node_config:
  - node_id: node-1
    url: http://127.0.0.1:8000
    poll_rate: 10
    retry: 2
  - node_id: node-2
    url: http://127.0.0.1:8001/
";
    let dir = directory(&[
        ("nodeconf.yml", nodeconf),
        ("networks/test/config.yml", network),
        ("networks/test/pubkeys/node-1.pub", &own.public().to_pem()),
        ("networks/test/pubkeys/node-2.pub", &peer.public().to_pem()),
        (V0_1_KEY, &own.to_pem()),
    ]);
    set_mode(&dir.path().join(V0_1_KEY), 0o644);
    dir
}

const V0_1_KEY: &str = ".private_keys/node-1_test-network.key";
