//! A network of real nodes on loopback: directories, processes, and ways to look at them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use distomon::crypto::{Keypair, token};
use distomon::store::clock::wall_us;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::watcher::{WATCHER, Watcher};

/// How long a test waits for what must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The network's name.
pub(crate) const NETWORK: &str = "net";

/// The password of every node.
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// One node: its directory, its address, and its process while it runs.
pub(crate) struct Host {
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) keypair: Keypair,
    process: Option<Child>,
}

/// A network, written to a directory that goes with this value; its processes go, too.
pub(crate) struct Network {
    pub(crate) hosts: Vec<Host>,
    /// A member that only calls out: the test itself.
    pub(crate) watcher: Watcher,
    pub(crate) dir: TempDir,
    /// Lines of YAML for all members, such as `poll_rate: 0.2`.
    pub(crate) settings: String,
}

/// Waits until `condition` gives something, or fails with what it was to be and what is known.
pub(crate) fn wait<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    wait_or(what, String::new, &mut condition)
}

fn wait_or<T>(what: &str, known: impl Fn() -> String, condition: &mut dyn FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "still not: {what}\n{}", known());
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Network {
    /// Writes the directories of nodes with these names, each with an address of its own. Nothing runs yet.
    pub(crate) fn of(ids: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let watcher = Watcher::new(NETWORK);
        let hosts = ids.iter().map(|id| Host::new(id, dir.path())).collect();
        let settings = "defaults: {poll_rate: 0.2, retry: 2, timeout: 1}\n".to_owned();
        let network = Self { hosts, watcher, dir, settings };
        network.write();
        network
    }

    /// As [`Network::of`], and all of them run.
    pub(crate) fn running(ids: &[&str]) -> Self {
        let mut network = Self::of(ids);
        for host in &mut network.hosts {
            host.start();
        }
        network
    }

    /// Writes every node's configuration anew.
    pub(crate) fn write(&self) {
        for host in &self.hosts {
            host.write(&self.config_yml(|id| self.url_of(id)));
        }
    }

    fn url_of(&self, id: &str) -> Option<String> {
        self.hosts.iter().find(|host| host.id == id).map(Host::url)
    }

    /// The network's config.yml with the urls that `url` gives; None for a node that only calls out.
    pub(crate) fn config_yml(&self, url: impl Fn(&str) -> Option<String>) -> String {
        let mut text = format!("network_id: {NETWORK}\n{}node_config:\n", self.settings);
        let members = self.hosts.iter().map(|host| (host.id.as_str(), &host.keypair));
        for (id, keypair) in members.chain([(WATCHER, self.watcher.keypair())]) {
            let _ = writeln!(text, "  - node_id: {id}");
            if let Some(url) = url(id) {
                let _ = writeln!(text, "    url: {url}");
            }
            let _ = writeln!(text, "    public_key: \"{}\"", keypair.public().to_base64_spki());
        }
        text
    }

    pub(crate) fn host(&self, id: &str) -> &Host {
        self.hosts.iter().find(|host| host.id == id).expect("a node of the network")
    }

    pub(crate) fn host_mut(&mut self, id: &str) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.id == id).expect("a node of the network")
    }

    /// What all nodes logged.
    pub(crate) fn logs(&self) -> String {
        let logs: Vec<_> = self.hosts.iter().map(|host| format!("--- {}\n{}", host.id, host.log())).collect();
        logs.concat()
    }

    /// What the node `observer` last said of `target`, as the node `at` holds it: its status word.
    pub(crate) fn found(&self, at: &str, observer: &str, target: &str) -> Option<String> {
        let reports = self.watcher.reports(self.host(at))?;
        let report = reports.get(observer)?;
        Some(report.observation(target)?.status.as_str().to_owned())
    }

    /// As [`wait`]; a failure tells what all nodes logged.
    pub(crate) fn wait<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        wait_or(what, || self.logs(), &mut condition)
    }

    /// Waits until `observer` says `status` of `target`, as the node `at` holds it.
    pub(crate) fn wait_found(&self, at: &str, observer: &str, target: &str, status: &str) {
        let what = format!("at {at}: {observer} finds {target} {status}");
        wait_or(&what, || self.logs(), &mut || {
            (self.found(at, observer, target).as_deref() == Some(status)).then_some(())
        });
    }

    /// Waits until every running node holds that every node finds every other online.
    pub(crate) fn wait_all_online(&self) {
        let ids: Vec<_> = self.hosts.iter().filter(|host| host.is_started()).map(|host| &host.id).collect();
        for at in &ids {
            for observer in &ids {
                for target in ids.iter().filter(|target| *target != observer) {
                    self.wait_found(at, observer, target, "online");
                }
            }
        }
    }
}

impl Host {
    fn new(id: &str, dir: &Path) -> Self {
        let dir = dir.join(id);
        let keypair = Keypair::generate().expect("randomness");
        Self { id: id.to_owned(), dir, address: free_address(), keypair, process: None }
    }

    /// The same node in another directory: its clone.
    pub(crate) fn copy_at(&self, dir: &Path) -> Self {
        let (id, keypair) = (self.id.clone(), self.keypair.clone());
        Self { id, dir: dir.to_owned(), address: self.address, keypair, process: None }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The directory of the network's configuration.
    pub(crate) fn network_dir(&self) -> PathBuf {
        self.dir.join("networks").join(NETWORK)
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Where the node itself keeps its state and its key.
    pub(crate) fn node_dir(&self) -> PathBuf {
        self.state_dir().join(NETWORK).join(&self.id)
    }

    /// Writes this node's files, with that config.yml.
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

    /// Starts the process and waits until it is well.
    pub(crate) fn start(&mut self) {
        self.spawn(&mut self.command());
        wait_or(&format!("{} is well", self.id), || self.log(), &mut || self.is_well().then_some(()));
    }

    /// The command that [`Host::start`] runs.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distomon"));
        command.arg("run").arg("--config").arg(&self.dir).arg("--state").arg(self.state_dir());
        for name in ["NOTIFY_SOCKET", "JOURNAL_STREAM", "INVOCATION_ID", "STATE_DIRECTORY"] {
            command.env_remove(name);
        }
        command
    }

    /// Starts `command` as this node's process, and waits for nothing.
    pub(crate) fn spawn(&mut self, command: &mut Command) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.process = Some(process.expect("the built program starts"));
    }

    pub(crate) fn is_started(&self) -> bool {
        self.process.is_some()
    }

    /// Whether its health check says so.
    pub(crate) fn is_well(&self) -> bool {
        let reply = minreq::get(format!("{}/healthz", self.url())).with_timeout(5).send();
        reply.is_ok_and(|reply| reply.status_code == 200)
    }

    /// What `GET {path}` gives to the holder of a token that the node's own key signed.
    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let reply = self.request(path).filter(|reply| reply.status_code == 200)?;
        Some(serde_json::from_slice(reply.as_bytes()).expect("JSON"))
    }

    /// The answer to such a request, whatever its status.
    pub(crate) fn request(&self, path: &str) -> Option<minreq::Response> {
        let now_s = wall_us() / 1_000_000;
        let kid = format!("{NETWORK}/{}", self.id);
        let token = token::issue(&self.keypair, &kid, &self.id, &[NETWORK.to_owned()], now_s, 60);
        let request = minreq::get(format!("{}{path}", self.url()));
        let request = request.with_header("Authorization", format!("Bearer {token}")).with_timeout(5);
        request.send().ok()
    }

    /// What another subcommand prints with this node's configuration: standard output, and all of what a
    /// failure says.
    pub(crate) fn command_line(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distomon"));
        command.args(arguments).arg("--config").arg(&self.dir).arg("--state").arg(self.state_dir());
        let output = command.env_remove("STATE_DIRECTORY").output().expect("the built program starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(self.process.as_ref().expect("it was started"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let log = self.log_path();
        let mut process = self.process.take().expect("it was started");
        wait_or(&format!("{} ends", self.id), || fs::read_to_string(&log).unwrap_or_default(), &mut || {
            process.try_wait().expect("a child of this process")
        })
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end()
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait_end();
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What it logged so far, over all of its processes.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Waits for a line with `text`.
    pub(crate) fn wait_log(&self, text: &str) {
        wait_or(&format!("{} logs {text:?}", self.id), || self.log(), &mut || {
            self.log().contains(text).then_some(())
        });
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

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its own file");
}

/// An address that no other test uses: loopback has 2^24 of them, and each process has its own.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(8000);
    let id = std::process::id();
    let octet = |number: u32| u8::try_from(number).expect("below 256");
    // The last octet is neither 0 nor 255.
    let address = [127, octet(100 + id / (254 * 256) % 100), octet(id / 254 % 256), octet(1 + id % 254)];
    SocketAddr::from((address, NEXT.fetch_add(1, Ordering::Relaxed)))
}
