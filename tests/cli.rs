//! The built program: `version`, `token` and `status`, the latter against a node whose picture is written by
//! hand and served over a real socket.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use distomon::config::keys;
use distomon::crypto::{Keypair, PublicKey, token};
use distomon::server::listener::{Admission, Listener, ListenerHandle, Service};
use distomon::server::{Head, Limits, problem};
use rouille::{Request, Response, ResponseBody};
use tempfile::TempDir;

/// How long a test waits for what must happen. Reached only when it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// The configuration and key of node `a` of the networks `lan` and `wan`.
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
        // Else a plain password warns, as the umask will have it.
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

/// A node whose pictures are `lan` and `wan`, and which serves the holders of tokens of `key`.
struct Fake {
    key: PublicKey,
    lan: String,
    asked: AtomicUsize,
}

impl Service for Fake {
    type Ticket = ();

    fn admit(&self, _: &Head, _: SocketAddr) -> Admission<()> {
        Admission::Read { max_body: 0, verified: false, ticket: () }
    }

    fn answer(&self, request: Request, (): ()) -> Response {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if request.url() == "/token" {
            return self.token(&request);
        }
        let bearer = request.header("Authorization").and_then(|value| value.strip_prefix("Bearer "));
        let network = request.url().strip_prefix("/view/").unwrap_or("lan").to_owned();
        let good = |token| token::verify(token, &self.key, "a", &network, now_s()).is_ok();
        if !bearer.is_some_and(good) {
            return problem(401, "Unauthorized", "log in\u{1b}[2J first");
        }
        let json = |text: &str| Response::from_data("application/json", text);
        match request.url().as_str() {
            "/view" => json(r#"{"networks":[{"network_id":"wan","nodes":1},{"network_id":"lan"}]}"#),
            "/view/lan" if self.lan == "endless" => {
                let data = ResponseBody::from_reader_and_size(std::io::repeat(b' '), 1 << 40);
                Response { data, ..Response::text("") }
            }
            "/view/lan" if self.lan == "elsewhere" => Response::redirect_302("/view/wan"),
            "/view/lan" => json(&self.lan),
            "/view/wan" => json(&picture("wan", "", r#""a":{"status":"online"}"#)),
            _ => problem(404, "Not Found", "no such network"),
        }
    }
}

impl Fake {
    fn token(&self, request: &Request) -> Response {
        // admin:secret
        if request.header("Authorization") != Some("Basic YWRtaW46c2VjcmV0") {
            return problem(401, "Unauthorized", "wrong password");
        }
        match self.lan.as_str() {
            "bad token" => Response::text(r#"{"access_token":"\u001b[2J"}"#),
            "busy" => problem(429, "Too Many Requests", "later"),
            _ => Response::text(r#"{"access_token":"aa.bb.cc","token_type":"bearer","expires_in":1800}"#),
        }
    }
}

/// A picture taken now by node `a`.
fn picture(network: &str, more: &str, nodes: &str) -> String {
    let at = now_s() * 1000;
    format!(r#"{{"network_id":"{network}","node_id":"a","generated_at":{at},{more}"nodes":{{{nodes}}}}}"#)
}

/// A host with a running node that shows `lan`.
struct Running {
    host: Host,
    url: String,
    fake: Arc<Fake>,
    _handle: ListenerHandle,
}

fn running(lan: impl Into<String>) -> Running {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(&[any], Limits::default()).expect("a free port");
    let address = listener.addresses()[0];
    let host = Host::new(address.port(), LOGIN);
    let fake = Arc::new(Fake { key: host.key.clone(), lan: lan.into(), asked: AtomicUsize::new(0) });
    let handle = listener.start(fake.clone()).expect("a thread");
    Running { host, url: format!("http://{address}"), fake, _handle: handle }
}

const BOTH_UP: &str = r#""a":{"status":"online","keys":1},"b":{"status":"online","keys":1}"#;

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
fn a_token_that_the_node_takes() {
    let host = Host::new(8000, LOGIN);
    let check = |args: &[&str], kid: &str, audience: &[&str], lifetime_s: u64| {
        let (stdout, stderr) = host.run(args, 0);
        assert_eq!(stderr, "");
        let token = stdout.strip_suffix('\n').expect("one line");
        assert_eq!(token::key_id(token).as_deref(), Some(kid));
        let claims = token::verify(token, &host.key, "a", audience[0], now_s()).expect("a good token");
        assert_eq!(claims.aud, audience, "{args:?}");
        assert_eq!(claims.exp - claims.iat, lifetime_s, "{args:?}");
    };
    check(&["token"], "lan/a", &["lan", "wan"], 1800);
    check(&["token", "--lifetime", "1"], "lan/a", &["lan", "wan"], 60);
    check(&["token", "--network", "wan"], "wan/a", &["wan"], 1800);
    check(&["token", "--network", "far"], "wan/a", &["wan"], 1800);
}

#[test]
fn no_token() {
    let check = |host: &Host, args: &[&str], status: i32, expected: &str| {
        let (stdout, stderr) = host.run(args, status);
        assert_eq!(stdout, "", "{args:?}");
        assert!(stderr.starts_with("distomon token: ") && stderr.contains(expected), "{stderr}");
    };
    check(&Host::new(8000, ""), &["token"], 78, "has no login, so it takes no token");

    let host = Host::new(8000, LOGIN);
    check(&host, &["token", "--network", "man"], 64, "no network man: expected one of lan, wan");
    let key = host.path("state/lan/a/key.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
    check(&host, &["token"], 78, "state/lan/a/key.pem: private key of a in lan: others can read");
    host.run(&["token", "--network", "wan"], 0);
    fs::remove_file(&key).expect("the key");
    check(&host, &["token"], 78, "a in lan has no key yet: expected one in ");
    assert!(!key.exists(), "no key was made");
    fs::remove_file(host.path("nodeconf.yml")).expect("the file");
    check(&host, &["token"], 78, "nodeconf.yml: no such file");
}

#[test]
fn wrong_use() {
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
    let (_, stderr) = Host::new(8000, "").run(&["status"], 78);
    assert!(stderr.contains("has no login"), "{stderr}");
}

/// `distomon token` for the password of the node at `url`.
#[track_caller]
fn log_in(url: &str, password: &str, status: i32) -> (String, String) {
    let args = ["token", "--url", url, "--password-file", "-"];
    let mut command = command(&args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the built program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(password.as_bytes()).expect("room in the pipe");
    drop(stdin);
    finished(child.wait_with_output().expect("an end"), &args, status)
}

#[test]
fn a_token_for_a_password() {
    let node = running(picture("lan", "", BOTH_UP));
    assert_eq!(log_in(&node.url, "secret\n", 0), ("aa.bb.cc\n".to_owned(), String::new()));
    let (_, stderr) = log_in(&node.url, "wrong", 77);
    assert!(stderr.contains("status 401: wrong password") && !stderr.contains("secret"), "{stderr}");
    let (stdout, stderr) = log_in(&running("bad token").url, "secret", 76);
    assert!(stdout.is_empty() && stderr.contains("not with a token"), "{stdout}{stderr}");
    log_in(&running("busy").url, "secret", 75);
    log_in(&silent(), "secret", 69);
    log_in(&node.url, "", 64);
}

/// The address of a port where nothing listens.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("a bound socket"))
}

#[test]
fn a_node_that_does_not_run() {
    let url = silent();
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let host = Host::new(port, LOGIN);
    let (stdout, stderr) = host.run(&["status"], 2);
    let expected = format!(
        "distomon status: the node at {url} does not answer: connection refused\n\
         start it: distomon run --config {}\n",
        host.dir.path().display()
    );
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", expected.as_str()));
    // Of a node elsewhere, this host cannot tell how to start it.
    let (_, stderr) = host.run(&["status", "--json", "--url", &url], 2);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn exit_statuses() {
    let check = |nodes: &str, more: &str, status: i32| {
        let node = running(picture("lan", more, nodes));
        node.host.run(&["status"], status);
        node.host.run(&["status", "--json"], status);
        node.host.run(&["status", "wan"], 0);
    };
    let offline = r#""a":{"status":"online"},"b":{"status":"offline"},"c":{"status":"unknown"}"#;
    let unknown = r#""a":{"status":"online"},"b":{"status":"unknown"}"#;
    check(BOTH_UP, "", 0);
    check(offline, "", 1);
    check(unknown, "", 2);
    check("", "", 2);
    check(offline, r#""isolated":true,"#, 2);
    check(BOTH_UP, r#""data":{"b":{"conflict":true}},"#, 1);
    let old = format!(r#"{{"node_id":"a","generated_at":{},"nodes":{{{BOTH_UP}}}}}"#, (now_s() - 120) * 1000);
    let node = running(old.clone());
    let (stdout, _) = node.host.run(&["status"], 2);
    assert!(stdout.contains("this picture is old"), "{stdout}");
    // The clock of another host may be that wrong.
    node.host.run(&["status", "--url", &node.url], 0);
    for odd in ["", "[]", "null", "{", "\u{feff}{}", r#"{"nodes":7}"#] {
        let (_, stderr) = running(odd).host.run(&["status"], 2);
        assert!(stderr.contains("in a form that is not understood"), "{odd}: {stderr}");
    }
}

#[test]
fn the_table() {
    let at = now_s() * 1000;
    let more = r#""config":"AA","data":{
        "a":{"node_version":"0.1.0","age_ms":100,"fresh":true,"ping_data":{
            "b":{"status":"offline","error":"timeout"},"c":{"status":"online","response_time":1.25}}},
        "c":{"node_version":"0.2.0","age_ms":4200,"fresh":true,"config":"BB","ping_data":{
            "a":{"status":"online"},"b":{"status":"offline"}}}},"#;
    let nodes = format!(
        r#""a":{{"status":"online","keys":1}},"c":{{"status":"online","since":{at},"keys":1}},
           "b":{{"status":"offline","since":{},"error":"timeout","keys":1}}"#,
        at - 125_000
    );
    let node = running(picture("lan", more, &nodes));
    let (stdout, stderr) = node.host.run(&["status", "lan"], 1);
    assert_eq!(stderr, "");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines: Vec<_> = stdout.lines().map(words).collect();
    assert!(
        lines[0].starts_with("lan, seen by a: 3 nodes, 2 online; ") && lines[0].ends_with(" GMT"),
        "{stdout}"
    );
    assert_eq!(
        lines[1..],
        [
            "NODE STATUS SINCE RTT CLOCK VERSION REPORT NOTES",
            "a online - - - 0.1.0 0.1 s this node",
            "b offline 2 min 5 s - - - - timeout: no answer in time",
            "c online 0.0 s 1.25 ms - 0.2.0 4.2 s other configuration",
            "",
            "observer \\ target 1 2 3",
            "1 a · ✗ ●",
            "2 b · · ·",
            "3 c ● ✗ ·",
            "● online ✗ offline ? unknown · nothing said",
        ]
    );
    assert!(!stdout.contains('\x1b'), "no terminal, no colours");
    let mut narrow = node.host.command(&["status", "lan"]);
    let output = narrow.env("COLUMNS", "20").env("LC_ALL", "C").output().expect("the built program starts");
    let (stdout, _) = finished(output, &["COLUMNS=20"], 1);
    assert!(stdout.is_ascii() && stdout.contains("the matrix needs 25 columns and has 20"), "{stdout}");
}

#[test]
fn several_networks() {
    let node = running(picture("lan", "", BOTH_UP));
    let heads = |args: &[&str]| {
        let (stdout, _) = node.host.run(args, 0);
        let heads = stdout.lines().filter_map(|line| line.split_once(", seen by a: "));
        heads.map(|(network, _)| network.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(heads(&["status"]), ["lan", "wan"]);
    assert_eq!(heads(&["status", "far"]), ["wan"]);
    assert_eq!(heads(&["status", "wan", "--url", &node.url]), ["wan"]);
}

#[test]
fn json_as_it_came() {
    let more = "\"new\":[1.50,{\"x\":\"\u{9b}\"}],\n\t";
    let lan = picture("lan", more, BOTH_UP);
    let node = running(lan.clone());
    let (stdout, _) = node.host.run(&["status", "--json"], 0);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stdout.contains("1.50") && !stdout.contains('\u{9b}'), "{stdout}");
    let found: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let expected: serde_json::Value = serde_json::from_str(&lan).expect("JSON");
    assert_eq!(found["lan"], expected);
    assert_eq!(found["wan"]["network_id"], "wan");
}

#[test]
fn tokens_from_files() {
    let node = running(picture("lan", "", BOTH_UP));
    let (token, _) = node.host.run(&["token"], 0);
    let file = node.host.path("token");
    fs::write(&file, &token).expect("write");
    let path = file.to_str().expect("a path in UTF-8");
    // Not even a configuration is needed.
    run(&["status", "--url", &node.url, "--token-file", path, "--config", "/nonexistent"], 0);
    fs::write(&file, "aa.bb.cc").expect("write");
    let (_, stderr) = node.host.run(&["status", "--token-file", path], 2);
    assert!(stderr.contains("refuses this token: log in?[2J first"), "{stderr}");
    fs::write(&file, "a\nHost: b").expect("write");
    let asked = node.fake.asked.load(Ordering::SeqCst);
    node.host.run(&["status", "--token-file", path], 64);
    assert_eq!(node.fake.asked.load(Ordering::SeqCst), asked);
}

#[test]
fn nothing_gives_orders_to_the_terminal() {
    let bad = r"\u001b[2J\u009b1m\u0007\r\n";
    let more = format!(r#""data":{{"b{bad}":{{"node_version":"{bad}","config":"{bad}"}}}},"#);
    let nodes = format!(r#""a":{{}},"b{bad}":{{"status":"offline","error":"{bad}"}}"#);
    let node = running(picture(bad, &more, &nodes));
    let (stdout, _) = node.host.run(&["status", "lan"], 1);
    assert!(stdout.chars().all(|c| c == '\n' || !c.is_control()), "{stdout:?}");
    assert!(stdout.contains("b?[2J?1m???"), "{stdout:?}");
}

#[test]
fn answers_without_end() {
    let (_, stderr) = running("endless").host.run(&["status", "lan"], 2);
    assert!(stderr.contains("it answers with more than 16 MiB"), "{stderr}");
    let (_, stderr) = running("elsewhere").host.run(&["status", "lan"], 2);
    assert!(stderr.contains("it answers with status 302"), "{stderr}");
}

#[test]
fn answers_that_do_not_come() {
    for drip in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let host = Host::new(port, LOGIN);
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            // A byte now and then keeps a timeout from passing that begins anew with each.
            let begun = Instant::now();
            let mut sent = stream.write_all(drip).is_ok();
            while sent && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(100));
                sent = stream.write_all(b" ").is_ok();
            }
            assert!(begun.elapsed() < PATIENCE, "the client is still there");
        });
        let (_, stderr) = host.run(&["status", "lan"], 2);
        assert!(stderr.contains("no answer within 5 s"), "{stderr}");
        server.join().expect("the client has gone");
    }
}

/// `distomon status --watch`, ended with the test.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(host: &Host, args: &[&str]) -> (Watch, impl Iterator<Item = String> + use<>) {
    let mut command = host.command(&[&["status", "--watch", "0.1"], args].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    (Watch(child), lines.map(|line| line.expect("text")))
}

/// The exit status, once the process has ended by itself.
fn end(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
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
    let node = running(picture("lan", "", r#""a":{},"b":{"status":"offline"}"#));
    // Until Ctrl-C, with the last status.
    let (mut process, mut lines) = watch(&node.host, &["--json"]);
    for line in [lines.next(), lines.next(), lines.next()] {
        let line = line.expect("a line");
        let view: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(view["lan"]["nodes"]["b"]["status"], "offline", "{line}");
    }
    interrupt(&process.0);
    assert_eq!(end(&mut process.0), Some(1));

    // Until nobody reads any more.
    let (mut process, mut lines) = watch(&node.host, &["lan"]);
    let heads = lines.by_ref().filter(|line| line.starts_with("lan, seen by a: ")).take(2);
    assert_eq!(heads.count(), 2);
    drop(lines);
    assert_eq!(end(&mut process.0), Some(1));
}

#[test]
fn watching_a_node_that_does_not_answer_yet() {
    let url = silent();
    let port = url.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let host = Host::new(port, LOGIN);
    let (mut process, _lines) = watch(&host, &["lan"]);
    let stderr = BufReader::new(process.0.stderr.take().expect("a pipe"));
    let complaints = stderr
        .lines()
        .filter(|line| line.as_ref().is_ok_and(|line| line.contains("does not answer: connection refused")));
    assert_eq!(complaints.take(2).count(), 2);
    interrupt(&process.0);
    assert_eq!(end(&mut process.0), Some(2));
}
