//! `distomon status --watch`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::fake_node::{running, snapshot};
use super::{Host, LOGIN, Process, TIMEOUT, port, unused_url};

fn watch(host: &Host, args: &[&str]) -> (Process, impl Iterator<Item = String> + use<>) {
    let mut command = host.command(&[&["status", "--watch", "0.1"], args].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    (Process(child), lines.map(|line| line.expect("text")))
}

/// Waits for the end of the process and returns its exit status.
fn end(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
}

#[test]
fn watching() {
    let node = running(snapshot("lan", "", r#""a":{},"b":{"status":"offline"}"#));
    // Until Ctrl-C, with the last status.
    let (mut process, mut lines) = watch(&node.host, &["--json"]);
    for line in [lines.next(), lines.next(), lines.next()] {
        let line = line.expect("a line");
        let view: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(view["lan"]["nodes"]["b"]["status"], "offline", "{line}");
    }
    interrupt(&process.0);
    assert_eq!(end(&mut process.0), Some(1));

    // Until standard output closes.
    let (mut process, mut lines) = watch(&node.host, &["lan"]);
    let heads = lines.by_ref().filter(|line| line.starts_with("lan, seen by a: ")).take(2);
    assert_eq!(heads.count(), 2);
    drop(lines);
    assert_eq!(end(&mut process.0), Some(1));
}

#[test]
fn watching_a_node_that_does_not_answer_yet() {
    let url = unused_url();
    let host = Host::new(port(&url), LOGIN);
    let (mut process, _lines) = watch(&host, &["lan"]);
    let stderr = BufReader::new(process.0.stderr.take().expect("a pipe"));
    let complaints = stderr
        .lines()
        .filter(|line| line.as_ref().is_ok_and(|line| line.contains("does not answer: connection refused")));
    assert_eq!(complaints.take(2).count(), 2);
    interrupt(&process.0);
    assert_eq!(end(&mut process.0), Some(2));
}
