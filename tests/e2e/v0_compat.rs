//! Configuration directories of the Python Distomon v0.1 run as they are.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use distomon::crypto::Keypair;
use serde_json::Value;
use tempfile::TempDir;

use crate::network::wait;

const PASSWORD: &str = "hunter22";

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

/// The two directories, as v0.1 had them: public keys as files, private ones readable by all, and no word
/// about where to listen or where state goes.
fn write(root: &TempDir) -> Vec<(PathBuf, u16)> {
    let ports: Vec<u16> = (0..2)
        .map(|_| TcpListener::bind("[::]:0").and_then(|any| any.local_addr()).expect("a port").port())
        .collect();
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
        fs::set_permissions(&private, fs::Permissions::from_mode(0o644)).expect("its own file");
    };
    let dirs = ports.iter().enumerate().map(|(number, port)| {
        let dir = root.path().join(format!("host-{number}"));
        write(&dir, number);
        (dir, *port)
    });
    dirs.collect()
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
            "its key is no longer open to all"
        );
        assert!(node.dir.join("state/test-network").is_dir(), "state lies beside the configuration");
    }
}
