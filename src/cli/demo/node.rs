//! A node of the demo: its process, and the last of what it logged.

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

/// How long the nodes have to stop. One takes at most 5 s.
const STOP: Duration = Duration::from_secs(6);

/// How often a stopping node is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How many log lines of a node are kept.
const LINES: usize = 20;

/// The most bytes of a log line; what is longer is several.
const LINE_BYTES: u64 = 2048;

/// A process and what is known of it.
pub(super) struct Node {
    id: String,
    url: String,
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    // The thread ends because the process does, and its end of the pipe with it.
    reader: Option<JoinHandle<()>>,
    end_told: bool,
}

impl Node {
    /// Starts `command` in a process group of its own, which Ctrl-C does not reach, with a pipe as standard
    /// input that closes when this process ends. `echo`: its log lines are shown as they come.
    pub(super) fn start(id: String, url: String, mut command: Command, echo: bool) -> io::Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let stderr = child.stderr.take();
        let mut node = Self { id, url, child, lines: Arc::clone(&lines), reader: None, end_told: false };
        if let Some(stderr) = stderr {
            let front = echo.then(|| format!("{} | ", node.id));
            let thread = std::thread::Builder::new().name(node.id.clone());
            match thread.spawn(move || read(stderr, front.as_deref(), &lines)) {
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

    /// Asks the node. The error says how it does not answer.
    pub(super) fn is_well(&self) -> Result<(), String> {
        let request = minreq::get(format!("{}/healthz", self.url)).with_follow_redirects(false);
        match request.with_timeout(1).send_lazy() {
            Ok(reply) if reply.status_code == 200 => Ok(()),
            Ok(reply) => Err(format!("it answers with status {}", reply.status_code)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// How the process ended, if it did.
    pub(super) fn end(&mut self) -> Option<End> {
        self.child.try_wait().ok().flatten().map(End)
    }

    /// Likewise, once.
    pub(super) fn news_of_end(&mut self) -> Option<End> {
        if self.end_told {
            return None;
        }
        let end = self.end();
        self.end_told = end.is_some();
        end
    }

    /// The last log lines, each with two spaces in front.
    pub(super) fn last_lines(&mut self) -> String {
        if self.end().is_some() {
            self.join();
        }
        self.lines.lock().iter().map(|line| "  ".to_owned() + line + "\n").collect()
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // It cannot panic, and if it did that would have been shown.
            let _ = reader.join();
        }
    }

    /// Asks the process to stop, unless it has ended. Until it is waited for, its id is no other's.
    fn terminate(&mut self) {
        if self.end().is_none() {
            if let Ok(pid) = i32::try_from(self.child.id()) {
                // The only error is that it has ended meanwhile.
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::TERM));
            }
        }
    }

    fn kill(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All nodes. They end with this value.
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

    /// Stops all nodes at the same time; kills those that do not stop in time, and says so.
    pub(super) fn stop(&mut self) {
        self.stop_within(STOP);
    }

    fn stop_within(&mut self, time: Duration) {
        for node in &mut self.0 {
            node.terminate();
        }
        let deadline = Instant::now() + time;
        for mut node in self.0.drain(..) {
            while node.end().is_none() && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
            if node.end().is_none() {
                eprintln!(
                    "distomon demo: {} did not stop within {} s and is killed",
                    node.id,
                    time.as_secs()
                );
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

/// How a process ended. Displays as what it did: "ended with status 78".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End(ExitStatus);

impl End {
    /// Whether it looks as if the user did it: by a signal, or by asking the node to stop.
    pub(super) fn was_asked_for(self) -> bool {
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

/// Keeps the last lines, and shows all of them with `front` before each if there is one.
fn read(from: ChildStderr, front: Option<&str>, lines: &Mutex<VecDeque<String>>) {
    let mut from = BufReader::new(from);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match from.by_ref().take(LINE_BYTES).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
        if let Some(front) = front {
            // One write, so that lines of several nodes do not mix.
            let _ = io::stderr().write_all(format!("{front}{line}\n").as_bytes());
        }
        let mut lines = lines.lock();
        if lines.len() == LINES {
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
            std::thread::sleep(LOOK);
        }
    }

    #[test]
    fn ends_in_words() {
        for (script, expected, asked_for) in [
            ("exit 0", "has stopped", true),
            ("exit 78", "ended with status 78", false),
            ("kill -9 $$", "was killed", true),
            ("kill -15 $$", "was ended by signal 15", true),
            ("kill -6 $$", "was ended by signal 6", false),
        ] {
            let mut node = shell(script);
            wait(|| node.end().is_some(), script);
            let end = node.news_of_end().expect("the first time");
            assert_eq!((end.to_string().as_str(), end.was_asked_for()), (expected, asked_for), "{script}");
            assert_eq!(node.news_of_end(), None, "{script}");
        }
    }

    #[test]
    fn the_last_lines_are_kept() {
        let mut node =
            shell("i=0; while [ $i -lt 50 ]; do echo line $i >&2; i=$((i+1)); done; printf end >&2");
        wait(|| node.end().is_some(), "the end");
        let lines = node.last_lines();
        assert_eq!(lines.lines().count(), LINES);
        assert!(lines.starts_with("  line 31\n") && lines.ends_with("  line 49\n  end\n"), "{lines}");
    }

    #[test]
    fn long_lines_are_cut() {
        let mut node = shell("head -c 10000 /dev/zero | tr '\\0' x >&2");
        wait(|| node.end().is_some(), "the end");
        let lengths: Vec<_> = node.last_lines().lines().map(str::len).collect();
        assert_eq!(lengths, [2050, 2050, 2050, 2050, 1810]);
    }

    #[test]
    fn some_stop_and_others_must_be_killed() {
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
    fn standard_input_ends_with_the_value() {
        let mut node = shell("cat; exit 5");
        assert_eq!(node.end(), None);
        drop(node.child.stdin.take());
        wait(|| node.end().is_some(), "the end");
        assert_eq!(node.end().map(|end| end.to_string()).as_deref(), Some("ended with status 5"));
    }

    #[test]
    fn health_is_asked_for() {
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
                assert_eq!(node.is_well(), expected, "{status_line}");
            });
        }
        drop(listener);
        assert!(node.is_well().is_err());
        node.kill();
    }
}
