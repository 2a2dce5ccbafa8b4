//! `distomon demo`: what it starts, what it says, and that nothing is left of it.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(30);

/// A running demo whose directory is inside of a directory of the test's.
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
        // Whole at once, so that it is dropped, and the demo ended, if it does not say what it should.
        let mut demo = Self { child, out, temp, nodes: Vec::new() };
        let mut told = String::new();
        for line in demo.out.by_ref().map(|line| line.expect("text")) {
            let words: Vec<_> = line.split_whitespace().collect();
            if let [id, url, pid] = words[..] {
                let pid = pid.parse().ok().and_then(Pid::from_raw);
                if let Some(pid) = pid.filter(|_| url.starts_with("http://")) {
                    demo.nodes.push(Node { id: id.to_owned(), url: url.to_owned(), pid });
                }
            }
            told = told + &line + "\n";
            if line.starts_with("Ctrl-C") {
                break;
            }
        }
        assert!(told.contains("user      admin") && told.contains("password  "), "{told}");
        for (node, id) in demo.nodes.iter().zip(["node-1", "node-2", "node-3"]) {
            assert_eq!(node.id, id, "{told}");
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
    fn says(&mut self, text: &str) -> String {
        let mut lines = self.out.by_ref().map(|line| line.expect("text"));
        lines.find(|line| line.contains(text)).unwrap_or_else(|| panic!("it never said {text:?}"))
    }

    fn all_gone(&self) -> bool {
        self.nodes.iter().all(|node| test_kill_process(node.pid).is_err())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Its nodes end with it.
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
fn nodes_serve_die_and_leave_nothing_behind() {
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
        let line = demo.says("node-3 was killed");
        assert!(line.contains("The others go on; 2 left."), "{line}");

        kill_process(demo.own_pid(), signal).expect("it runs");
        demo.says("Nothing of it is left.");
        assert_eq!(demo.child.wait().expect("its status").code(), Some(0), "{signal:?}");
        assert!(demo.all_gone(), "{signal:?}");
        assert_eq!(demo.directory(), None, "{signal:?}");
    }
}

#[test]
fn nodes_do_not_outlive_a_killed_demo() {
    let mut demo = Demo::start(&["--nodes", "2", "--port", "0"]);
    demo.child.kill().expect("it runs");
    demo.child.wait().expect("its status");
    wait(|| demo.all_gone(), "the end of the nodes");
}

#[test]
fn without_nodes_there_is_no_demo() {
    let mut demo = Demo::start(&["--nodes", "2", "--port", "0"]);
    for node in &demo.nodes {
        kill_process(node.pid, Signal::KILL).expect("it runs");
    }
    assert_eq!(demo.child.wait().expect("its status").code(), Some(69));
    assert_eq!(demo.directory(), None);
    demo.says("0 left");
}

#[test]
fn what_cannot_start_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let named = format!("127.0.0.1:{port} is taken by another program");
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
