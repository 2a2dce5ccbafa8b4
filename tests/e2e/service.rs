//! The life of the service: start and failed starts, stop, notifications to systemd, and reload.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use distomon::crypto::token;
use rustix::process::Signal;

use crate::host::{Host, NETWORK, free_address, write_private};
use crate::network::Network;
use crate::wait::wait;
use crate::watcher::Watcher;

/// Starts a node that must exit with this status and log this text.
#[track_caller]
fn check_exit(host: &mut Host, status: i32, text: &str) {
    host.spawn(&mut host.run_command());
    let exit = host.wait_exit();
    assert_eq!(exit.code(), Some(status), "{}", host.log());
    assert!(host.log().contains(text), "expected {text:?}:\n{}", host.log());
}

#[test]
fn a_start_fails_with_status_and_reason() {
    let mut network = Network::new(&["a"]);
    let taken = std::net::TcpListener::bind(network.host("a").address).expect("a free address");
    check_exit(network.host_mut("a"), 69, "another program or instance may use it");
    drop(taken);

    let nodeconf = network.host("a").dir.join("nodeconf.yml");
    let good = fs::read_to_string(&nodeconf).expect("a file");
    write_private(&nodeconf, &good.replace("listen:", "lisden:"));
    check_exit(network.host_mut("a"), 78, "nodeconf.yml:4:1: lisden: unknown key: did you mean listen?");
    write_private(&nodeconf, &good);

    let key = network.host("a").node_dir().join("key.pem");
    let pem = fs::read_to_string(&key).expect("a file");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("a file of this test");
    check_exit(network.host_mut("a"), 78, "key.pem");
    write_private(&key, "not a key\n");
    check_exit(network.host_mut("a"), 78, "expected an Ed25519 private key");
    write_private(&key, &distomon::crypto::Keypair::generate().expect("randomness").to_pem());
    check_exit(network.host_mut("a"), 78, "private key of a in net");
    fs::remove_file(&key).expect("a file");
    check_exit(network.host_mut("a"), 78, "private key of a in net");
    write_private(&key, &pem);
    network.host_mut("a").start();
}

#[test]
fn an_unusable_state_directory_fails_the_start() {
    let mut network = Network::new(&["a"]);
    let state = network.host("a").state_dir();
    // The key is elsewhere, so that only the state is missing.
    let key = fs::read_to_string(network.host("a").node_dir().join("key.pem")).expect("a file");
    let private = network.host("a").dir.join(".private_keys");
    fs::create_dir(&private).expect("a directory");
    write_private(&private.join("a_net.key"), &key);
    fs::remove_dir_all(&state).expect("a directory");
    fs::write(&state, "a file where a directory should be").expect("a file");
    let host = network.host_mut("a");
    host.spawn(&mut host.run_command());
    let status = host.wait_exit();
    assert!(matches!(status.code(), Some(73 | 78)), "{status}\n{}", host.log());
    assert!(host.log().contains("state"), "{}", host.log());
}

#[test]
fn a_second_process_with_the_same_state_fails_to_start() {
    let mut network = Network::new(&["a"]);
    network.host_mut("a").start();
    let nodeconf = network.host("a").dir.join("nodeconf.yml");
    let text = fs::read_to_string(&nodeconf).expect("a file");
    let other = free_address();
    let address = network.host("a").address.to_string();
    write_private(&nodeconf, &text.replace(&address, &other.to_string()));
    let output = network.host("a").run_command().output().expect("the built program starts");
    assert_eq!(output.status.code(), Some(73));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("is in use by another process: is this node already running?"), "{stderr}");
    assert!(network.host("a").is_healthy());
}

#[test]
fn hung_peers_and_unfinished_requests_do_not_delay_a_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut network = Network::running(&["a", "b", "c"]);
        network.wait_all_online();
        network.host("c").signal(Signal::STOP);
        let mut idle: Vec<_> =
            (0..20).map(|_| TcpStream::connect(network.host("a").address).expect("a connection")).collect();
        let unfinished = b"POST /token HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf a body";
        idle[0].write_all(unfinished).expect("sent");
        // Probes of the hung node are in flight most of the time.
        network.wait_reported("a", "a", "c", "offline");
        let start = Instant::now();
        network.host("a").signal(signal);
        let status = network.host_mut("a").wait_exit();
        assert!(status.success(), "{status}\n{}", network.host("a").log());
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        network.wait("b holds a report in which a leaves", || {
            network.watcher.reports(network.host("b"))?["a"].leaving.is_some().then_some(())
        });
        network.host("c").signal(Signal::CONT);
    }
}

#[test]
fn a_resumed_node_is_online_again_and_reports_no_other_offline() {
    let network = Network::running(&["a", "b", "c"]);
    network.wait_all_online();
    let logged = network.host("c").log().len();
    network.host("c").signal(Signal::STOP);
    network.wait_reported("a", "a", "c", "offline");
    network.wait_reported("b", "b", "c", "offline");
    // Longer than any interval, so that c detects a gap.
    let stopped = Instant::now();
    wait("a gap of four seconds", || (stopped.elapsed() > Duration::from_secs(4)).then_some(()));
    network.host("c").signal(Signal::CONT);
    network.wait_all_online();
    network.host("c").wait_log("this process did not run for");
    // What c logged before it hung may depend on the load of this machine.
    let log = network.host("c").log().split_off(logged);
    assert!(!log.contains("is offline"), "{log}");
}

/// The service manager's end of the notification socket.
struct ServiceManager(UnixDatagram);

impl ServiceManager {
    fn new(network: &Network) -> (Self, String) {
        let path = network.dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
        (Self(socket), path.to_str().expect("text").to_owned())
    }

    /// Waits for a message with a line that begins with `line`, and returns it.
    fn wait(&self, line: &str) -> String {
        let mut buffer = [0; 4096];
        let mut seen = String::new();
        loop {
            let length =
                self.0.recv(&mut buffer).unwrap_or_else(|error| panic!("no {line}: {error}\n{seen}"));
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if message.lines().any(|known| known.starts_with(line)) {
                return message;
            }
            seen += &message;
        }
    }
}

#[test]
fn the_service_manager_receives_ready_status_watchdog_reload_and_stop() {
    let mut network = Network::new(&["a", "b"]);
    network.host_mut("b").start();
    let (manager, path) = ServiceManager::new(&network);
    let host = network.host_mut("a");
    let mut command = host.run_command();
    command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", "1000000").env_remove("WATCHDOG_PID");
    host.spawn(&mut command);
    manager.wait("READY=1");
    assert!(network.host("a").is_healthy(), "READY=1 before it serves");
    // The watcher is the third node, and has not called any node.
    manager.wait("STATUS=3 nodes, 2 online");
    for _ in 0..3 {
        manager.wait("WATCHDOG=1");
    }
    network.host_mut("b").kill();
    manager.wait("STATUS=3 nodes, 1 online");
    network.host("a").signal(Signal::HUP);
    let message = manager.wait("RELOADING=1");
    assert!(message.contains("MONOTONIC_USEC="), "{message}");
    manager.wait("READY=1");
    network.host("a").signal(Signal::TERM);
    manager.wait("STOPPING=1");
    assert!(network.host_mut("a").wait_exit().success());
}

#[test]
fn a_reload_applies_valid_configurations_and_rejects_invalid_ones() {
    let mut network = Network::running(&["a", "b"]);
    network.wait_all_online();
    let config = network.host("a").network_dir().join("config.yml");
    let good = fs::read_to_string(&config).expect("a file");

    fs::write(&config, good.replace("retry: 2", "retry: two").replace("url: http", "url: ftp"))
        .expect("a file");
    network.host("a").signal(Signal::HUP);
    network.host("a").wait_log("continuing with the previous configuration");
    network.host("a").wait_log("config.yml:2:35: defaults.retry: expected a whole number");
    network.host("a").wait_log("config.yml:5:10: node_config[0].url: expected");
    network.wait_all_online();

    // a removes the member b and adds it again.
    let (head, members) = good.split_once("node_config:\n").expect("members");
    let without: String =
        members.split_inclusive("  - node_id").filter(|member| !member.starts_with(": b\n")).collect();
    fs::write(&config, format!("{head}node_config:\n{without}")).expect("a file");
    network.host("a").signal(Signal::HUP);
    network.wait("a has no report of b", || {
        let reports = network.watcher.reports(network.host("a"))?;
        (!reports.contains_key("b") && reports["a"].observation("b").is_none()).then_some(())
    });
    fs::write(&config, good).expect("a file");
    network.host("a").signal(Signal::HUP);
    network.wait_all_online();

    // a gets another key; its node restarts within the process.
    network.host_mut("a").keypair = distomon::crypto::Keypair::generate().expect("randomness");
    network.write_configs();
    network.host("a").signal(Signal::HUP);
    network.host("b").signal(Signal::HUP);
    for (id, times) in [("a", 3), ("b", 1)] {
        let done = || network.host(id).log().matches("configuration reloaded; ").count() == times;
        network.wait("both have reloaded", || done().then_some(()));
    }
    network.wait_all_online();
    assert_eq!(network.host("a").log().matches("ready after").count(), 1, "the process restarted");
}

#[test]
fn two_networks_in_one_process_are_isolated() {
    let mut network = Network::new(&["a", "b"]);
    // A second network in the same processes, with the same node ids and other keys.
    let keys: Vec<_> = (0..2).map(|_| distomon::crypto::Keypair::generate().expect("randomness")).collect();
    for (host, key) in network.hosts.iter().zip(&keys) {
        let mut text =
            "network_id: second\ndefaults: {poll_rate: 0.2, retry: 2, timeout: 1}\nnode_config:\n".to_owned();
        for (member, key) in network.hosts.iter().zip(&keys) {
            let spki = key.public().to_base64_spki();
            let (id, url) = (&member.id, member.url());
            let _ = writeln!(text, "  - {{node_id: {id}, url: \"{url}\", public_key: \"{spki}\"}}");
        }
        let dir = host.dir.join("networks").join("second");
        fs::create_dir_all(&dir).expect("a directory");
        fs::write(dir.join("config.yml"), text).expect("a file");
        let state = host.state_dir().join("second").join(&host.id);
        fs::create_dir_all(&state).expect("a directory");
        write_private(&state.join("key.pem"), &key.to_pem());
        let nodeconf = host.dir.join("nodeconf.yml");
        let line = format!("networks:\n  - {{name: second, node_id: {}}}\n", host.id);
        let text = fs::read_to_string(&nodeconf).expect("a file").replace("networks:\n", &line);
        write_private(&nodeconf, &text);
    }
    for id in ["a", "b"] {
        network.host_mut(id).start();
    }
    network.wait_all_online();
    let host = network.host("a");
    host.wait_log("second: b is online");
    // The watcher is a member of the first network only.
    let mut call = network.watcher.call(host, Watcher::empty().to_string());
    call.path = "/mon/second".to_owned();
    let reply = call.sign().send(host).expect("a reply");
    assert_eq!((reply.status, reply.signed), (403, false), "{reply:?}");
    // A request with b's key of the first network is invalid in the second, although the node ids are equal.
    let mut call = network.watcher.call(host, Watcher::empty().to_string());
    (call.keyid, call.keypair, call.path) =
        ("b".to_owned(), network.host("b").keypair.clone(), "/mon/second".to_owned());
    assert_eq!(call.sign().send(host).expect("a reply").status, 401);
    let token = |network: &str, key: &distomon::crypto::Keypair| {
        let now_s = distomon::store::clock::wall_us() / 1_000_000;
        let claims = token::Claims::new("b", &["net".to_owned(), "second".to_owned()], now_s, 60);
        token::sign(key, &format!("{network}/b"), &claims)
    };
    let view = |network: &str, token: &str| {
        let request = minreq::get(format!("{}/view/{network}", host.url()));
        let reply = request.with_header("Authorization", format!("Bearer {token}")).with_timeout(5).send();
        reply.expect("a reply").status_code
    };
    let of_net = token(NETWORK, &network.host("b").keypair);
    assert_eq!((view(NETWORK, &of_net), view("second", &of_net)), (200, 403));
    let crossed = token("second", &network.host("b").keypair);
    assert_eq!((view(NETWORK, &crossed), view("second", &crossed)), (401, 401));
    for id in [NETWORK, "second"] {
        let dir = host.state_dir().join(id).join("a");
        // A separate thread stores nonces after the reply.
        network.wait(&format!("a nonce of b in {id}"), || {
            let nonces = fs::read_to_string(dir.join("nonces")).ok()?;
            nonces.lines().any(|line| line.starts_with("b ")).then_some(())
        });
        assert!(dir.join("epoch").exists(), "{id}");
    }
}
