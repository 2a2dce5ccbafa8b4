//! Configuration directories of the Python Distomon v0.1, which run unchanged.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use distomon::crypto::Keypair;
use serde_json::Value;
use tempfile::TempDir;

use crate::wait::wait;

const PASSWORD: &str = "hunter22";

/// A running node.
struct Node {
    dir: PathBuf,
    port: u16,
    process: Child,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Writes two directories as v0.1 did: public keys as files, private keys readable by all, and neither a listen address
/// nor a state directory. Returns them with their ports.
fn write(root: &TempDir) -> Vec<(PathBuf, u16)> {
    let ports = free_ports();
    let keys: Vec<_> = (0..2).map(|_| Keypair::generate().expect("randomness")).collect();
    let mut config = "network_id: test-network\nnode_config:\n".to_owned();
    for (number, port) in ports.iter().enumerate() {
        let _ = writeln!(config, "  - node_id: node-{number}\n    url: http://127.0.0.1:{port}");
        config += "    poll_rate: 1\n    retry: 2\n    timeout: 2\n";
    }
    let write = |dir: &PathBuf, number: usize| {
        let network = dir.join("networks/test");
        fs::create_dir_all(network.join("pubkeys")).expect("a directory");
        fs::create_dir_all(dir.join(".private_keys")).expect("a directory");
        fs::write(
            dir.join("nodeconf.yml"),
            format!(
                "networks:\n  - name: test\n    node_id: node-{number}\n    config_type: local\n    git_repo: null\n\
                 login_password: {PASSWORD}\n"
            ),
        )
        .expect("a file");
        fs::write(network.join("config.yml"), &config).expect("a file");
        for (other, key) in keys.iter().enumerate() {
            let path = network.join(format!("pubkeys/node-{other}.pub"));
            fs::write(path, key.public().to_pem()).expect("a file");
        }
        let private = dir.join(format!(".private_keys/node-{number}_test-network.key"));
        fs::write(&private, keys[number].to_pem().as_bytes()).expect("a file");
        fs::set_permissions(&private, fs::Permissions::from_mode(0o644)).expect("a file of this test");
    };
    let dirs = ports.iter().enumerate().map(|(number, port)| {
        let dir = root.path().join(format!("host-{number}"));
        write(&dir, number);
        (dir, *port)
    });
    dirs.collect()
}

/// Returns two free ports. They are below the range from which the kernel takes the source ports of connections, so that no
/// connection of another test occupies them before the node listens.
fn free_ports() -> Vec<u16> {
    let first = 10_000 + u16::try_from(std::process::id() % 20_000).expect("below 20,000");
    let candidates = (first..32_000).filter(|port| TcpListener::bind(("::", *port)).is_ok());
    candidates.take(2).collect()
}

#[test]
fn a_directory_of_v0_1_runs_unchanged() {
    let root = TempDir::new().expect("a directory");
    let nodes: Vec<Node> = write(&root)
        .into_iter()
        .map(|(dir, port)| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_distomon"));
            command.arg("run").arg("--config").arg(&dir).env_remove("STATE_DIRECTORY");
            let log = fs::File::create(dir.join("log")).expect("a file");
            let process = command.stdin(Stdio::null()).stderr(log).spawn().expect("the program starts");
            Node { dir, port, process }
        })
        .collect();
    for node in &nodes {
        let url = format!("http://127.0.0.1:{}", node.port);
        let token = wait("a token", || {
            // admin:hunter22
            let request = minreq::post(format!("{url}/token"));
            let request = request.with_header("Authorization", "Basic YWRtaW46aHVudGVyMjI=").with_body("");
            let reply = request.with_timeout(5).send().ok().filter(|reply| reply.status_code == 200)?;
            let reply: Value = serde_json::from_slice(reply.as_bytes()).expect("JSON");
            assert_eq!(reply["token_type"], "bearer");
            reply["access_token"].as_str().map(str::to_owned)
        });
        wait("both nodes find each other online", || {
            let request = minreq::get(format!("{url}/view/test-network"));
            let request = request.with_header("Authorization", format!("Bearer {token}")).with_timeout(5);
            let view: Value = serde_json::from_slice(request.send().ok()?.as_bytes()).expect("JSON");
            [("node-0", "node-1"), ("node-1", "node-0")]
                .iter()
                .all(|(observer, target)| {
                    let observer = &view["data"][observer];
                    let ping = &observer["ping_data"][target];
                    observer["node_version"].is_string()
                        && ping["status"] == "online"
                        && ping["response_time"].as_f64() <= ping["response_time_rtt"].as_f64()
                        && ping["response_time"].is_f64()
                })
                .then_some(())
        });
        let mut keys = fs::read_dir(node.dir.join(".private_keys")).expect("a directory");
        let mode = keys.next().expect("the key").and_then(|key| key.metadata());
        assert_eq!(
            mode.expect("a file").permissions().mode() & 0o777,
            0o600,
            "only the owner can read the key"
        );
        assert!(node.dir.join("state/test-network").is_dir(), "state is beside the configuration");
    }
}
