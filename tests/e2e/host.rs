//! One node of a test network: its directory, its address, and its process while it runs.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use distomon::crypto::Keypair;
use distomon::crypto::token::{self, Claims};
use distomon::store::clock::wall_us;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wait::wait_or;

/// The name of the test network.
pub(crate) const NETWORK: &str = "net";

/// The password of every node.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// One node. Its process is killed when this is dropped.
pub(crate) struct Host {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) keypair: Keypair,
    process: Option<Child>,
}

impl Host {
    pub(crate) fn new(id: &str, dir: &Path) -> Self {
        let dir = dir.join(id);
        let keypair = Keypair::generate().expect("randomness");
        Self { id: id.to_owned(), dir, address: free_address(), keypair, process: None }
    }

    /// Creates a clone of the node in another directory.
    pub(crate) fn copy_at(&self, dir: &Path) -> Self {
        let (id, keypair) = (self.id.clone(), self.keypair.clone());
        Self { id, dir: dir.to_owned(), address: self.address, keypair, process: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the directory of the network's configuration.
    pub(crate) fn network_dir(&self) -> PathBuf {
        self.dir.join("networks").join(NETWORK)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Returns the directory of the node's state and key.
    pub(crate) fn node_dir(&self) -> PathBuf {
        self.state_dir().join(NETWORK).join(&self.id)
    }

    /// Writes the files of this node, with `config_yml` as the text of config.yml.
    pub(crate) fn write(&self, config_yml: &str) {
        let nodeconf = format!(
            "networks:\n  - name: {NETWORK}\n    node_id: {}\nlisten: \"{}\"\nlogin_password: \"{PASSWORD}\"\n",
            self.id, self.address
        );
        fs::create_dir_all(self.network_dir()).expect("a directory");
        write_private(&self.dir.join("nodeconf.yml"), &nodeconf);
        fs::write(self.network_dir().join("config.yml"), config_yml).expect("a file");
        fs::create_dir_all(self.node_dir()).expect("a directory");
        write_private(&self.node_dir().join("key.pem"), &self.keypair.to_pem());
    }

    /// Starts the process and waits until its health check passes.
    pub(crate) fn start(&mut self) {
        self.spawn(&mut self.run_command());
        wait_or(&format!("{} is healthy", self.id), || self.log(), || self.is_healthy().then_some(()));
    }

    /// Creates the command that [`Host::start`] spawns.
    pub(crate) fn run_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distomon"));
        command.arg("run").arg("--config").arg(&self.dir).arg("--state").arg(self.state_dir());
        for name in ["NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID", "STATE_DIRECTORY"] {
            command.env_remove(name);
        }
        command
    }

    /// Starts `command` as the process of this node, without waiting.
    pub(crate) fn spawn(&mut self, command: &mut Command) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(process.expect("the built program starts"));
    }

    pub(crate) fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Returns whether the health check passes.
    pub(crate) fn is_healthy(&self) -> bool {
        let reply = minreq::get(format!("{}/healthz", self.url())).with_timeout(5).send();
        reply.is_ok_and(|reply| reply.status_code == 200)
    }

    /// Sends `GET {path}` with a token that the node's key signed. Returns the JSON, or `None` unless the status is 200.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let reply = self.request(path).filter(|reply| reply.status_code == 200)?;
        Some(serde_json::from_slice(reply.as_bytes()).expect("JSON"))
    }

    /// Sends `GET {path}` with a token that the node's key signed. Returns the reply.
    pub(crate) fn request(&self, path: &str) -> Option<minreq::Response> {
        let now_s = wall_us() / 1_000_000;
        let kid = format!("{NETWORK}/{}", self.id);
        let token =
            token::sign(&self.keypair, &kid, &Claims::new(&self.id, &[NETWORK.to_owned()], now_s, 60));
        let request = minreq::get(format!("{}{path}", self.url()));
        let request = request.with_header("Authorization", format!("Bearer {token}")).with_timeout(5);
        request.send().ok()
    }

    /// Runs another subcommand with the configuration of this node. Returns standard output, or standard error if it
    /// fails.
    pub(crate) fn run_subcommand(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distomon"));
        command.args(arguments).arg("--config").arg(&self.dir).arg("--state").arg(self.state_dir());
        let output = command.env_remove("STATE_DIRECTORY").output().expect("the built program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.process.as_ref().expect("the process was started"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the process runs");
    }

    /// Waits until the process exits.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let log = self.log_path();
        let mut process = self.process.take().expect("the process was started");
        wait_or(
            &format!("{} exits", self.id),
            || fs::read_to_string(&log).unwrap_or_default(),
            || process.try_wait().expect("a child of this process"),
        )
    }

    /// Sends SIGTERM and waits until the process exits.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit()
    }

    /// Sends SIGKILL and waits until the process exits.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_exit();
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Returns the log of all processes of this node.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Waits until a log line contains `text`.
    pub(crate) fn wait_log(&self, text: &str) {
        wait_or(
            &format!("{} logs {text:?}", self.id),
            || self.log(),
            || self.log().contains(text).then_some(()),
        );
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a file of this test");
}

/// Returns an address that no other test uses. Each process uses a different loopback address.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(8000);
    let id = std::process::id();
    let octet = |number: u32| u8::try_from(number).expect("below 256");
    // The last octet is neither 0 nor 255.
    let address = [127, octet(100 + id / (254 * 256) % 100), octet(id / 254 % 256), octet(1 + id % 254)];
    SocketAddr::from((address, NEXT.fetch_add(1, Ordering::Relaxed)))
}
