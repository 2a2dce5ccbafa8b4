//! `distomon demo`: its nodes, its output and its end.

use std::io::{BufRead as _, BufReader, Lines};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// A running demo with its directory inside a temporary one.
struct Demo {
    child: Child,
    out: Lines<BufReader<ChildStdout>>,
    temp: TempDir,
    nodes: Vec<Node>,
}

struct Node {
    id: String,
    url: String,
    pid: Pid,
}

fn command(temp: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_distomon"));
    command.arg("demo").args(args).env("TMPDIR", temp);
    command
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let temp = TempDir::new().expect("a directory");
        let mut command = command(temp.path(), args);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the built program starts");
        let out = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        // Complete before the first assertion, so that a failure drops it and ends the demo.
        let mut demo = Self { child, out, temp, nodes: Vec::new() };
        let mut output = String::new();
        for line in demo.out.by_ref().map(|line| line.expect("text")) {
            let words: Vec<_> = line.split_whitespace().collect();
            if let [id, url, pid] = words[..] {
                let pid = pid.parse().ok().and_then(Pid::from_raw);
                if let Some(pid) = pid.filter(|_| url.starts_with("http://")) {
                    demo.nodes.push(Node { id: id.to_owned(), url: url.to_owned(), pid });
                }
            }
            output = output + &line + "\n";
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        assert!(output.contains("user      admin") && output.contains("password  "), "{output}");
        for (node, id) in demo.nodes.iter().zip(["node-1", "node-2", "node-3"]) {
            assert_eq!(node.id, id, "{output}");
        }
        demo
    }

    fn own_pid(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("an id")
    }

    fn directory(&self) -> Option<PathBuf> {
        let mut entries = std::fs::read_dir(self.temp.path()).expect("readable");
        entries.next().map(|entry| entry.expect("an entry").path())
    }

    /// Waits for a line with `text` and returns it.
    fn wait_for_line(&mut self, text: &str) -> String {
        let mut lines = self.out.by_ref().map(|line| line.expect("text"));
        lines.find(|line| line.contains(text)).unwrap_or_else(|| panic!("no line with {text:?}"))
    }

    fn all_nodes_ended(&self) -> bool {
        self.nodes.iter().all(|node| test_kill_process(node.pid).is_err())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // The nodes end with the demo.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait(mut done: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nodes_answer_and_end_without_leftovers() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut demo = Demo::start(&["--nodes", "3", "--port", "0"]);
        assert_eq!(demo.nodes.len(), 3);
        for node in &demo.nodes {
            let reply = minreq::get(format!("{}/healthz", node.url)).with_timeout(10).send();
            assert_eq!(reply.expect("an answer").status_code, 200, "{}", node.id);
        }
        let mode = std::os::unix::fs::MetadataExt::mode(
            &demo.directory().expect("one").metadata().expect("readable"),
        );
        assert_eq!(mode & 0o777, 0o700);

        kill_process(demo.nodes[2].pid, Signal::KILL).expect("it runs");
        let line = demo.wait_for_line("node-3 was killed");
        assert!(line.contains("Nodes left: 2."), "{line}");

        kill_process(demo.own_pid(), signal).expect("it runs");
        demo.wait_for_line("has stopped and removed its files");
        assert_eq!(demo.child.wait().expect("its status").code(), Some(0), "{signal:?}");
        assert!(demo.all_nodes_ended(), "{signal:?}");
        assert_eq!(demo.directory(), None, "{signal:?}");
    }
}

#[test]
fn nodes_do_not_outlive_a_killed_demo() {
    let mut demo = Demo::start(&["--nodes", "2", "--port", "0"]);
    demo.child.kill().expect("it runs");
    demo.child.wait().expect("its status");
    wait(|| demo.all_nodes_ended(), "the end of the nodes");
}

#[test]
fn the_demo_ends_with_its_last_node() {
    let mut demo = Demo::start(&["--nodes", "2", "--port", "0"]);
    for node in &demo.nodes {
        kill_process(node.pid, Signal::KILL).expect("it runs");
    }
    assert_eq!(demo.child.wait().expect("its status").code(), Some(69));
    assert_eq!(demo.directory(), None);
    demo.wait_for_line("Nodes left: 0");
}

/// Listens on a port whose neighbours are free. The kernel gives none of them to outgoing connections.
fn listen_between_free_ports() -> TcpListener {
    let bind = |port| TcpListener::bind(("127.0.0.1", port)).ok();
    let attempts = std::iter::repeat_with(|| fastrand::u16(10_000..32_000)).take(1_000);
    let mut listeners = attempts.filter_map(|port| Some([bind(port - 1)?, bind(port)?, bind(port + 1)?]));
    let [_, listener, _] = listeners.next().expect("three free ports in a row");
    listener
}

#[test]
fn a_demo_that_cannot_start_reports_the_cause() {
    let taken = listen_between_free_ports();
    let port = taken.local_addr().expect("its address").port();
    let named = format!("127.0.0.1:{port} is in use by another program");
    let port = (port - 1).to_string();
    for (args, status, expected) in [
        (&["--port", &port][..], 69, named.as_str()),
        (&["--port", "65535"], 64, "expected a port that leaves room for 3 nodes"),
        (&["--port", "0", "--poll-rate", "0"], 64, "--poll-rate 0: expected 0.1 to 86400 s"),
        (&["--nodes", "1"], 64, "1 is not in 2..=64"),
        (&["--nodes", "65"], 64, "65 is not in 2..=64"),
    ] {
        let temp = TempDir::new().expect("a directory");
        let output = command(temp.path(), args).output().expect("the built program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
        assert_eq!(std::fs::read_dir(temp.path()).expect("readable").count(), 0, "{args:?}");
    }
    let nowhere = command(Path::new("/nonexistent"), &["--port", "0"]).output().expect("it starts");
    assert_eq!(nowhere.status.code(), Some(73), "{}", String::from_utf8_lossy(&nowhere.stderr));
}
