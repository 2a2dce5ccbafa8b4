//! The built program: `version`, `token` and `status`, the latter against a fake node that serves given snapshots over a
//! real socket.

mod fake_node;
mod status;
mod token;
mod watch;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use distomon::config::keys;
use distomon::crypto::{Keypair, PublicKey};
use tempfile::TempDir;

/// The timeout of a test, reached only when it fails.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Configuration and key of node `a` of the networks `lan` and `wan`.
struct Host {
    dir: TempDir,
    key: PublicKey,
}

impl Host {
    fn new(port: u16, login: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let keypair = Keypair::generate().expect("random source");
        let host = Self { key: keypair.public().clone(), dir };
        let networks = "networks: [{name: lan, node_id: a}, {name: far, node_id: a}]\n";
        host.write("nodeconf.yml", &format!("{networks}listen: 127.0.0.1:{port}\n{login}"));
        for (name, network) in [("lan", "lan"), ("far", "wan")] {
            let text = format!("network_id: {network}\nnode_config: [{{node_id: a}}, {{node_id: b}}]\n");
            host.write(&format!("networks/{name}/config.yml"), &text);
            keys::write(&host.path(&format!("state/{network}/a/key.pem")), &keypair).expect("write");
        }
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file in the directory")).expect("mkdir");
        fs::write(&path, text).expect("write");
        // The umask must not cause a warning about a plain password.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.arg("--config").arg(self.dir.path());
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str], status: i32) -> (String, String) {
        finished(self.command(args).output().expect("the built program starts"), args, status)
    }
}

/// Process that is killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distomon"));
    for name in ["STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "COLUMNS", "LC_CTYPE", "LANG"] {
        command.env_remove(name);
    }
    command.args(args).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

#[track_caller]
fn run(args: &[&str], status: i32) -> (String, String) {
    finished(command(args).output().expect("the built program starts"), args, status)
}

#[track_caller]
fn finished(output: Output, args: &[&str], status: i32) -> (String, String) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (code, stdout, stderr) = (output.status.code(), text(output.stdout), text(output.stderr));
    assert_eq!(code, Some(status), "{args:?}\n{stdout}{stderr}");
    (stdout, stderr)
}

const LOGIN: &str = "login_password: secret\n";

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

#[test]
fn version() {
    let expected = (format!("distomon {}\n", distomon::VERSION), String::new());
    assert_eq!(run(&["version"], 0), expected);
    assert_eq!(run(&["--version"], 0), expected);
}

#[test]
fn help() {
    for name in ["version", "token", "status"] {
        let (long, _) = run(&[name, "--help"], 0);
        assert!(long.contains("Usage: distomon"), "{long}");
    }
    let (help, _) = run(&["status", "--help"], 0);
    assert!(help.contains("Exit status:"), "{help}");
}

#[test]
fn invalid_arguments() {
    for args in [
        &["token", "--lifetime", "31"][..],
        &["token", "--lifetime", "0"],
        &["token", "--url", "http://127.0.0.1:1"],
        &["token", "--password-file", "-"],
        &["token", "--url", "127.0.0.1:1", "--password-file", "-"],
        &["token", "--url", "http://127.0.0.1:1", "--password-file", "-", "--network", "lan"],
        &["status", "--watch", "0"],
        &["status", "--watch", "lan"],
        &["status", "--url", "http://127.0.0.1:1/?"],
    ] {
        let (stdout, stderr) = run(args, 64);
        assert!(stdout.is_empty() && stderr.contains("error: "), "{args:?}\n{stdout}{stderr}");
    }
    let host = Host::new(8000, LOGIN);
    let (_, stderr) = host.run(&["status", "man"], 64);
    assert!(stderr.contains("no network man: expected one of lan, wan"), "{stderr}");
    host.run(&["status", "--token-file", "/nonexistent/token"], 66);
    let (_, stderr) = Host::new(8000, "login: false\n").run(&["status"], 78);
    assert!(stderr.contains("has no login"), "{stderr}");
}

/// Returns the URL of a port where nothing listens.
fn unused_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("a bound socket"))
}

/// Returns the port of `url`.
fn port(url: &str) -> u16 {
    url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port")
}
