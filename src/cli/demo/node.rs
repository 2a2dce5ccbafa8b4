//! Nodes of the demo: their processes and latest log lines.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

/// The timeout of a stop. A node stops within 5 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// The interval of checks of a stopping node.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The maximum number of stored log lines.
const MAX_LINES: usize = 20;

/// The length limit of a log line in bytes; a longer one is split.
const MAX_LINE_BYTES: u64 = 2048;

/// Process of one node.
pub(super) struct Node {
    id: String,
    url: String,
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    // The end of the process closes the pipe, which ends the thread.
    reader: Option<JoinHandle<()>>,
    end_reported: bool,
}

impl Node {
    /// Starts `command` in a separate process group, which Ctrl-C does not reach, with a pipe as standard input that
    /// closes when this process ends. `echo` prints its log lines.
    pub(super) fn start(id: String, url: String, mut command: Command, echo: bool) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child.stderr.take();
        let mut node = Self { id, url, child, lines: Arc::clone(&lines), reader: None, end_reported: false };
        if let Some(stderr) = stderr {
            let prefix = echo.then(|| format!("{} | ", node.id));
            let thread = std::thread::Builder::new().name(node.id.clone());
            match thread.spawn(move || read_lines(stderr, prefix.as_deref(), &lines)) {
                Ok(reader) => node.reader = Some(reader),
                Err(error) => {
                    node.kill();
                    return Err(error);
                }
            }
        }
        Ok(node)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Queries the health of the node. The error is the reason why it is not healthy.
    pub(super) fn check_health(&self) -> Result<(), String> {
        let request = minreq::get(format!("{}/healthz", self.url)).with_follow_redirects(false);
        match request.with_timeout(1).send_lazy() {
            Ok(reply) if reply.status_code == 200 => Ok(()),
            Ok(reply) => Err(format!("it answers with status {}", reply.status_code)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Returns how the process ended, if it did.
    pub(super) fn end(&mut self) -> Option<End> {
        self.child.try_wait().ok().flatten().map(End)
    }

    /// Returns how the process ended, only once.
    pub(super) fn take_end(&mut self) -> Option<End> {
        if self.end_reported {
            return None;
        }
        let end = self.end();
        self.end_reported = end.is_some();
        end
    }

    /// Returns the latest log lines, indented by two spaces.
    pub(super) fn last_lines(&mut self) -> String {
        if self.end().is_some() {
            self.join();
        }
        self.lines.lock().iter().map(|line| "  ".to_owned() + line + "\n").collect()
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // The default panic hook has printed any panic.
            let _ = reader.join();
        }
    }

    /// Sends SIGTERM to the process unless it has ended. Its id is not reused until it is waited for.
    fn terminate(&mut self) {
        if self.end().is_none() {
            if let Ok(pid) = i32::try_from(self.child.id()) {
                // It fails only if the process has ended meanwhile.
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::TERM));
            }
        }
    }

    fn kill(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All nodes of the demo, stopped on drop.
#[derive(Default)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    pub(super) fn push(&mut self, node: Node) {
        self.0.push(node);
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, Node> {
        self.0.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Node> {
        self.0.iter_mut()
    }

    /// Stops all nodes in parallel; kills and reports those that do not stop in time.
    pub(super) fn stop(&mut self) {
        self.stop_within(STOP_TIMEOUT);
    }

    fn stop_within(&mut self, time: Duration) {
        for node in &mut self.0 {
            node.terminate();
        }
        let deadline = Instant::now() + time;
        for mut node in self.0.drain(..) {
            while node.end().is_none() && Instant::now() < deadline {
                std::thread::sleep(CHECK_INTERVAL);
            }
            if node.end().is_none() {
                eprintln!("distomon demo: {} did not stop within {} s: killed", node.id, time.as_secs());
                node.kill();
            }
            node.join();
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Exit status of a process. Displays as a predicate: "ended with status 78".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End(ExitStatus);

impl End {
    /// Returns whether the user probably stopped the node, by a signal or gracefully.
    pub(super) fn is_intended(self) -> bool {
        self.0.success() || matches!(self.0.signal(), Some(2 | 9 | 15))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.signal(), self.0.code()) {
            (Some(9), _) => f.write_str("was killed"),
            (Some(signal), _) => write!(f, "was ended by signal {signal}"),
            (None, Some(0)) => f.write_str("has stopped"),
            (None, code) => write!(f, "ended with status {}", code.unwrap_or(-1)),
        }
    }
}

/// Stores the latest lines in `lines`, and prints each with `prefix`, if given.
fn read_lines(from: ChildStderr, prefix: Option<&str>, lines: &Mutex<VecDeque<String>>) {
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match from.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
        if let Some(prefix) = prefix {
            // One write, so that lines of several nodes do not mix.
            let _ = io::stderr().write_all(format!("{prefix}{line}\n").as_bytes());
        }
        let mut lines = lines.lock();
        if lines.len() == MAX_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Node {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Node::start("node-1".to_owned(), "http://127.0.0.1:1".to_owned(), command, false).expect("a shell")
    }

    #[track_caller]
    fn wait(mut done: impl FnMut() -> bool, what: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !done() {
            assert!(Instant::now() < deadline, "{what} did not happen");
            std::thread::sleep(CHECK_INTERVAL);
        }
    }

    #[test]
    fn ends_as_text() {
        for (script, expected, intended) in [
            ("exit 0", "has stopped", true),
            ("exit 78", "ended with status 78", false),
            ("kill -9 $$", "was killed", true),
            ("kill -15 $$", "was ended by signal 15", true),
            ("kill -6 $$", "was ended by signal 6", false),
        ] {
            let mut node = shell(script);
            wait(|| node.end().is_some(), script);
            let end = node.take_end().expect("the first time");
            assert_eq!((end.to_string().as_str(), end.is_intended()), (expected, intended), "{script}");
            assert_eq!(node.take_end(), None, "{script}");
        }
    }

    #[test]
    fn the_latest_lines_are_stored() {
        let mut node =
            shell("i=0; while [ $i -lt 50 ]; do echo line $i >&2; i=$((i+1)); done; printf end >&2");
        wait(|| node.end().is_some(), "the end");
        let lines = node.last_lines();
        assert_eq!(lines.lines().count(), MAX_LINES);
        assert!(lines.starts_with("  line 31\n") && lines.ends_with("  line 49\n  end\n"), "{lines}");
    }

    #[test]
    fn long_lines_are_split() {
        let mut node = shell("head -c 10000 /dev/zero | tr '\\0' x >&2");
        wait(|| node.end().is_some(), "the end");
        let lengths: Vec<_> = node.last_lines().lines().map(str::len).collect();
        assert_eq!(lengths, [2050, 2050, 2050, 2050, 1810]);
    }

    #[test]
    fn nodes_that_do_not_stop_are_killed() {
        let ready = "echo ready >&2";
        let mut nodes = Nodes::default();
        for script in [
            format!("trap 'echo bye >&2; exit 0' TERM; {ready}; while :; do sleep 0.05; done"),
            format!("trap '' TERM; {ready}; while :; do sleep 0.05; done"),
            "exit 3".to_owned(),
        ] {
            nodes.push(shell(&script));
        }
        for node in &nodes.0[..2] {
            wait(|| !node.lines.lock().is_empty(), "ready");
        }
        let logs: Vec<_> = nodes.iter().map(|node| Arc::clone(&node.lines)).collect();
        let pids: Vec<_> = nodes.iter().map(Node::pid).collect();
        nodes.stop_within(Duration::from_secs(2));
        assert_eq!(logs[0].lock().back().map(String::as_str), Some("bye"));
        for pid in pids {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("an id");
            assert!(rustix::process::test_kill_process(pid).is_err(), "{pid:?} is still there");
        }
    }

    #[test]
    fn closing_standard_input_ends_the_process() {
        let mut node = shell("cat; exit 5");
        assert_eq!(node.end(), None);
        drop(node.child.stdin.take());
        wait(|| node.end().is_some(), "the end");
        assert_eq!(node.end().map(|end| end.to_string()).as_deref(), Some("ended with status 5"));
    }

    #[test]
    fn health_is_queried() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut node = shell("exec cat");
        for (status_line, expected) in [
            ("200 OK", Ok(())),
            ("503 Service Unavailable", Err("it answers with status 503".to_owned())),
            ("302 Found\r\nLocation: http://127.0.0.1:1/", Err("it answers with status 302".to_owned())),
        ] {
            node.url = format!("http://{address}");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (mut stream, _) = listener.accept().expect("a connection");
                    let mut head = BufReader::new(stream.try_clone().expect("a clone")).lines();
                    let first = head.next().expect("a line").expect("text");
                    assert!(first.starts_with("GET /healthz HTTP/1."), "{first}");
                    head.find(|line| line.as_ref().is_ok_and(String::is_empty));
                    let reply = format!("HTTP/1.1 {status_line}\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(reply.as_bytes()).expect("written");
                });
                assert_eq!(node.check_health(), expected, "{status_line}");
            });
        }
        drop(listener);
        assert!(node.check_health().is_err());
        node.kill();
    }
}
