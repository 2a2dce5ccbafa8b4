//! `distomon demo`: a whole network on this machine, each node a process of its own, until Ctrl-C.

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

/// How long all nodes together may take until they answer.
const START: Duration = Duration::from_secs(20);

/// How often the nodes are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Start a whole network on this machine, to look at and to play with
///
/// Each node is a process of its own, with a configuration as `distomon init` writes it, in a temporary
/// directory. Ctrl-C ends them all and leaves nothing behind.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many nodes, 2 to 64
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=64))]
    nodes: u16,
    /// The first node's port, the others take the following ones; 0: any that are free
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Time between probes of a node, in seconds, 0.1 to 86400
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    poll_rate: f64,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Show what the nodes log
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the demo until it is told to stop. Exit status 0, or 64 for arguments that make no network, 69 for
/// a taken port or when no node is left, 70 where a node does not start, 73 where nothing can be written.
pub(super) fn run(args: &Args, _: &Global) -> ExitCode {
    match demo(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report("demo"),
    }
}

fn demo(args: &Args) -> Result<(), CliError> {
    // First of all: from here on Ctrl-C goes through the end of this function.
    let signals = Signals::listen()
        .map_err(|error| CliError::new(EX_SOFTWARE, format!("listening to signals: {error}")))?;
    let addresses = free_addresses(args)?;
    let dir = DemoDir::make()
        .map_err(|error| CliError::new(EX_CANTCREAT, format!("making a temporary directory: {error}")))?;
    let members: Vec<_> =
        addresses.iter().enumerate().map(|(index, &address)| (node_id(index), url(address))).collect();
    let told = members.iter().map(|(id, url)| format!("{id}={url}")).collect();
    let times = (args.poll_rate, timeout_s(args.poll_rate));
    let password = init::write_network(dir.path(), NETWORK, told, times, args.bind)?;

    // Below the dir: the nodes end before it goes.
    let mut nodes = Nodes::default();
    for (id, url) in members {
        let command = dir.command(&id).map_err(|error| cannot_start(&id, &error))?;
        let node = Node::start(id.clone(), url, command, args.verbose);
        nodes.push(node.map_err(|error| cannot_start(&id, &error))?);
    }
    let result = match all_answer(&mut nodes, &signals)? {
        Told::ToStop => Ok(()),
        Told::Nothing => {
            super::print(&instructions(&nodes, &password));
            watch(&mut nodes, &signals, &dir)
        }
    };
    nodes.stop();
    dir.remove().map_err(|error| CliError::new(EX_CANTCREAT, error.to_string()))?;
    result?;
    super::print("\nThe demo has ended. Nothing of it is left.\n");
    Ok(())
}

fn cannot_start(id: &str, error: &std::io::Error) -> CliError {
    CliError::new(EX_SOFTWARE, format!("starting {id}: {error}"))
}

fn node_id(index: usize) -> String {
    format!("node-{}", index + 1)
}

/// Where the node that listens on `address` is reached from this machine.
fn url(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(host, address.port()))
}

/// On one machine an answer comes at once or not at all: no need to wait as long as `init` would have it.
fn timeout_s(poll_rate: f64) -> u32 {
    [1, 2, 3, 4].into_iter().find(|&timeout| f64::from(timeout) >= poll_rate).unwrap_or(5)
}

/// An address for each node, all of them free a moment ago.
fn free_addresses(args: &Args) -> Result<Vec<SocketAddr>, CliError> {
    let range = || {
        format!(
            "--port {}: expected a port that leaves room for {} nodes below 65536, or 0 for any free ones",
            args.port, args.nodes
        )
    };
    let (mut listeners, mut refused) = (Vec::new(), Vec::new());
    for index in 0..args.nodes {
        let port = match args.port {
            0 => 0,
            first => first.checked_add(index).ok_or_else(|| CliError::new(EX_USAGE, range()))?,
        };
        // Kept until the last is found, so that no two of any free ones are the same.
        match std::net::TcpListener::bind((args.bind, port)) {
            Ok(listener) => listeners.push(listener),
            Err(error) => refused.push((port, error)),
        }
    }
    if refused.is_empty() {
        let addresses = listeners.iter().map(std::net::TcpListener::local_addr).collect::<Result<_, _>>();
        return addresses.map_err(|error| CliError::new(EX_SOFTWARE, format!("finding ports: {error}")));
    }
    let mut message = String::new();
    for (port, error) in &refused {
        let address = SocketAddr::new(args.bind, *port);
        let _ = match error.kind() {
            std::io::ErrorKind::AddrInUse => writeln!(message, "{address} is taken by another program"),
            _ => writeln!(message, "listening on {address}: {error}"),
        };
    }
    message += "stop what listens there, or say --port with another first port (0: any free ones), or --bind";
    Err(CliError::new(EX_UNAVAILABLE, message))
}

/// Whether the demo was asked to end.
enum Told {
    ToStop,
    Nothing,
}

impl Told {
    /// Waits for `time`, or until the demo is asked to end. A closed terminal (SIGHUP) asks for that too.
    fn within(time: Duration, signals: &Signals) -> Self {
        match signals.controls().recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Self::Nothing,
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Self::ToStop,
        }
    }
}

/// Waits until each node answers that it is well.
fn all_answer(nodes: &mut Nodes, signals: &Signals) -> Result<Told, CliError> {
    let deadline = Instant::now() + START;
    for node in nodes.iter_mut() {
        while let Err(why) = node.is_well() {
            let why = match node.end() {
                Some(end) => Some(end.to_string()),
                None => (Instant::now() > deadline)
                    .then(|| format!("is not well after {} s ({why})", START.as_secs())),
            };
            if let Some(why) = why {
                let lines = node.last_lines();
                let message = format!("{} {why}; its last log lines:\n{lines}", node.id());
                return Err(CliError::new(EX_SOFTWARE, message));
            }
            if let Told::ToStop = Told::within(LOOK, signals) {
                return Ok(Told::ToStop);
            }
        }
    }
    Ok(Told::Nothing)
}

/// Says when a node ends, until the demo is asked to end or no node is left.
fn watch(nodes: &mut Nodes, signals: &Signals, dir: &DemoDir) -> Result<(), CliError> {
    let mut left = nodes.iter_mut().count();
    while let Told::Nothing = Told::within(LOOK, signals) {
        for node in nodes.iter_mut() {
            let Some(end) = node.news_of_end() else { continue };
            left -= 1;
            let lines = if end.was_asked_for() { String::new() } else { node.last_lines() };
            super::print(&format!(
                "\n{} {end}. The others go on; {left} left. To start it again, elsewhere:\n  {}\n{lines}",
                node.id(),
                dir.command_line(node.id())
            ));
        }
        if left == 0 {
            return Err(CliError::new(EX_UNAVAILABLE, "no node is left, the demo ends"));
        }
    }
    Ok(())
}

/// What there is, and what to do with it.
fn instructions(nodes: &Nodes, password: &str) -> String {
    let mut text =
        format!("\n{} nodes watch each other, each a process of its own:\n\n", nodes.iter().count());
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

  2. Ask the API, as a script would:
       token=$(curl -s -u admin:{password} -X POST {url}/token | sed 's/.*"access_token": *"\([^"]*\)".*/\1/')
       curl -s -H "Authorization: Bearer $token" {url}/view/{NETWORK}

  3. Kill {last_id}, and see what the others make of it:
       kill -9 {last_pid}

Ctrl-C ends the demo and removes everything.
"#,
        last_id = last.id(),
        last_pid = last.pid(),
    );
    text
}

/// The text as one word of a shell's command line.
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
    fn free_ports_are_each_another() {
        let addresses = free_addresses(&args(16, 0)).unwrap_or_else(|error| panic!("{}", error.message));
        let ports: std::collections::HashSet<_> = addresses.iter().map(SocketAddr::port).collect();
        assert_eq!(ports.len(), 16);
    }

    #[test]
    fn taken_ports_are_named() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("its address");
        // As the second port of three, so that more than the first is looked at.
        let error = free_addresses(&args(3, address.port() - 1)).expect_err("taken");
        assert_eq!(error.status, EX_UNAVAILABLE);
        let line = format!("{address} is taken by another program\n");
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
    fn words_for_a_shell() {
        for (path, expected) in [
            ("/usr/bin/distomon", "/usr/bin/distomon"),
            ("/home/o'b/a b", r"'/home/o'\''b/a b'"),
            ("/$x;*", "'/$x;*'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), expected);
        }
    }
}
