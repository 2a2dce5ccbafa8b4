//! `distomon demo`: a network on this machine with a process for each node, until Ctrl-C.

mod directory;
mod node;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::error::CliError;
use super::{EX_CANTCREAT, EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE, Global, init};
use crate::service::signals::Signals;
use directory::DemoDir;
use node::{Node, Nodes};

/// The network's name.
const NETWORK: &str = "demo";

/// The timeout for the start of all nodes.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// The interval of checks of the nodes.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Run a network of several nodes on this machine, to try out
///
/// Each node is a separate process with a configuration as distomon init writes it, in a temporary directory. Ctrl-C
/// stops all nodes and removes the directory.
///
/// Exit status 0, 64 for invalid arguments, 69 for an address that cannot be listened on or if no node is left, 70 if a
/// node does not start, 73 for a file that cannot be written.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The number of nodes, 2 to 64
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=64))]
    nodes: u16,
    /// The port of the first node; the others use the following ports. 0: any free ports
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// The time between probes of a node in seconds, 0.1 to 86400
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    poll_rate: f64,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Show the log lines of the nodes
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the demo until a signal stops it.
pub(super) fn run(args: &Args, _: &Global) -> ExitCode {
    match demo(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report("demo"),
    }
}

fn demo(args: &Args) -> Result<(), CliError> {
    // First, so that Ctrl-C always reaches the cleanup below.
    let signals = Signals::listen()
        .map_err(|error| CliError::new(EX_SOFTWARE, format!("installing signal handlers: {error}")))?;
    let addresses = free_addresses(args)?;
    let dir = DemoDir::create()
        .map_err(|error| CliError::new(EX_CANTCREAT, format!("creating a temporary directory: {error}")))?;
    let members: Vec<_> =
        addresses.iter().enumerate().map(|(index, &address)| (node_id(index), url(address))).collect();
    let nodes_arg = members.iter().map(|(id, url)| format!("{id}={url}")).collect();
    let times = (args.poll_rate, timeout_s(args.poll_rate));
    let password = init::write_network(dir.path(), NETWORK, nodes_arg, times, args.bind)?;

    // Declared after `dir`, so that the nodes end before the directory is removed.
    let mut nodes = Nodes::default();
    for (id, url) in members {
        let command = dir.command(&id).map_err(|error| cannot_start(&id, &error))?;
        let node = Node::start(id.clone(), url, command, args.verbose);
        nodes.push(node.map_err(|error| cannot_start(&id, &error))?);
    }
    let result = if wait_until_healthy(&mut nodes, &signals)? {
        super::print(&instructions(&nodes, &password));
        watch(&mut nodes, &signals, &dir)
    } else {
        Ok(())
    };
    nodes.stop();
    dir.remove().map_err(|error| CliError::new(EX_CANTCREAT, error.to_string()))?;
    result?;
    super::print("\nThe demo has stopped and removed its files.\n");
    Ok(())
}

fn cannot_start(id: &str, error: &std::io::Error) -> CliError {
    CliError::new(EX_SOFTWARE, format!("starting {id}: {error}"))
}

fn node_id(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// Returns the URL on this machine of the node that listens on `address`.
fn url(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

/// Returns the timeout in seconds: less than the default of `init`, since replies on one machine are fast.
fn timeout_s(poll_rate: f64) -> u32 {
    [1, 2, 3, 4].into_iter().find(|&timeout| f64::from(timeout) >= poll_rate).unwrap_or(5)
}

/// Returns a free address for each node.
fn free_addresses(args: &Args) -> Result<Vec<SocketAddr>, CliError> {
    let range = || {
        format!(
            "--port {}: expected a port that leaves room for {} nodes below 65536, or 0 for any free ports",
            args.port, args.nodes
        )
    };
    let (mut listeners, mut errors) = (Vec::new(), Vec::new());
    for index in 0..args.nodes {
        let port = match args.port {
            0 => 0,
            first => first.checked_add(index).ok_or_else(|| CliError::new(EX_USAGE, range()))?,
        };
        // All sockets stay open until the end of the loop, so that no two ports are equal.
        match std::net::TcpListener::bind((args.bind, port)) {
            Ok(listener) => listeners.push(listener),
            Err(error) => errors.push((port, error)),
        }
    }
    if errors.is_empty() {
        let addresses = listeners.iter().map(std::net::TcpListener::local_addr).collect::<Result<_, _>>();
        return addresses.map_err(|error| CliError::new(EX_SOFTWARE, format!("finding ports: {error}")));
    }
    let mut message = String::new();
    for (port, error) in &errors {
        let address = SocketAddr::new(args.bind, *port);
        let _ = match error.kind() {
            std::io::ErrorKind::AddrInUse => writeln!(message, "{address} is in use by another program"),
            _ => writeln!(message, "listening on {address}: {error}"),
        };
    }
    message += "stop that program, or choose another first port with --port (0: any free ports) or another address with --bind";
    Err(CliError::new(EX_UNAVAILABLE, message))
}

/// Waits for `time` or a signal; returns whether the demo must stop. A closed terminal (SIGHUP) also stops it.
fn wait_for_stop(time: Duration, signals: &Signals) -> bool {
    signals.controls().recv_timeout(time) != Err(RecvTimeoutError::Timeout)
}

/// Waits until each node is healthy. Returns false if the demo must stop before that.
fn wait_until_healthy(nodes: &mut Nodes, signals: &Signals) -> Result<bool, CliError> {
    let deadline = Instant::now() + START_TIMEOUT;
    for node in nodes.iter_mut() {
        while let Err(reason) = node.check_health() {
            let failure = match node.end() {
                Some(end) => Some(end.to_string()),
                None => (Instant::now() > deadline)
                    .then(|| format!("is not healthy after {} s ({reason})", START_TIMEOUT.as_secs())),
            };
            if let Some(failure) = failure {
                let lines = node.last_lines();
                let message = format!("{} {failure}; its last log lines:\n{lines}", node.id());
                return Err(CliError::new(EX_SOFTWARE, message));
            }
            if wait_for_stop(CHECK_INTERVAL, signals) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Reports nodes that end, until the demo must stop or no node is left.
fn watch(nodes: &mut Nodes, signals: &Signals, dir: &DemoDir) -> Result<(), CliError> {
    let mut left = nodes.iter_mut().count();
    while !wait_for_stop(CHECK_INTERVAL, signals) {
        for node in nodes.iter_mut() {
            let Some(end) = node.take_end() else { continue };
            left -= 1;
            let lines = if end.is_intended() { String::new() } else { node.last_lines() };
            super::print(&format!(
                "\n{} {end}. Nodes left: {left}. To start it again, run in another terminal:\n  {}\n{lines}",
                node.id(),
                dir.command_line(node.id())
            ));
        }
        if left == 0 {
            return Err(CliError::new(EX_UNAVAILABLE, "no node is left: stopping"));
        }
    }
    Ok(())
}

/// Returns the addresses of the nodes and some things to try.
fn instructions(nodes: &Nodes, password: &str) -> String {
    let mut text =
        format!("\n{} nodes monitor each other, each in a separate process:\n\n", nodes.iter().count());
    let _ = writeln!(text, "  {:<8}  {:<28}  process", "node", "dashboard");
    for node in nodes.iter() {
        let _ = writeln!(text, "  {:<8}  {:<28}  {}", node.id(), node.url(), node.pid());
    }
    let (Some(first), Some(last)) = (nodes.iter().next(), nodes.iter().last()) else { return text };
    let url = first.url();
    let _ = write!(
        text,
        r#"
  user      admin
  password  {password}

Three things to try:

  1. Open {url} in a browser.

  2. Query the API from a script:
       token=$(curl -s -u admin:{password} -X POST {url}/token | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')
       curl -s -H "Authorization: Bearer $token" {url}/view/{NETWORK}

  3. Kill {last_id}, and see how the others report it:
       kill -9 {last_pid}

Ctrl-C stops the demo and removes its files.
"#,
        last_id = last.id(),
        last_pid = last.pid(),
    );
    text
}

/// Quotes the path for a shell.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:@%".contains(letter);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn args(nodes: u16, port: u16) -> Args {
        Args { nodes, port, poll_rate: 1.0, bind: IpAddr::from([127, 0, 0, 1]), verbose: false }
    }

    #[test]
    fn urls() {
        for (address, expected) in [
            ("127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("0.0.0.0:8001", "http://127.0.0.1:8001"),
            ("192.0.2.7:80", "http://192.0.2.7:80"),
            ("[::]:8000", "http://[::1]:8000"),
            ("[2001:db8::1]:8000", "http://[2001:db8::1]:8000"),
        ] {
            assert_eq!(url(address.parse().expect("an address")), expected);
        }
    }

    #[test]
    fn timeouts() {
        for (poll_rate, expected) in [(0.1, 1), (1.0, 1), (1.5, 2), (4.0, 4), (10.0, 5)] {
            assert_eq!(timeout_s(poll_rate), expected, "{poll_rate}");
        }
    }

    #[test]
    fn free_ports_differ() {
        let addresses = free_addresses(&args(16, 0)).unwrap_or_else(|error| panic!("{}", error.message));
        let ports: std::collections::HashSet<_> = addresses.iter().map(SocketAddr::port).collect();
        assert_eq!(ports.len(), 16);
    }

    #[test]
    fn ports_in_use_are_reported() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("its address");
        // The second of three ports, so that a check of only the first would miss it.
        let error = free_addresses(&args(3, address.port() - 1)).expect_err("taken");
        assert_eq!(error.status, EX_UNAVAILABLE);
        let line = format!("{address} is in use by another program\n");
        assert!(error.message.contains(&line), "{}", error.message);
    }

    #[test]
    fn ports_beyond_the_last() {
        let error = free_addresses(&args(3, 65_534)).expect_err("no such port");
        assert_eq!(error.status, EX_USAGE);
        let start = "--port 65534: expected a port that leaves room for 3 nodes";
        assert!(error.message.starts_with(start), "{}", error.message);
    }

    #[test]
    fn shell_quoting() {
        for (path, expected) in [
            ("/usr/bin/distomon", "/usr/bin/distomon"),
            ("/home/o'b/a b", r"'/home/o'\''b/a b'"),
            ("/$x;*", "'/$x;*'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), expected);
        }
    }
}
