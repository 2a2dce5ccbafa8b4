//! `distomon init`: writes the configuration of a new network, for one node or for all nodes.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use zeroize::Zeroizing;

use super::error::CliError;
use super::{EX_CANTCREAT, EX_SOFTWARE, EX_USAGE, Global};
use crate::config::{self, NodeUrl, keys, login};
use crate::crypto::{Keypair, password};
use crate::mesh::id::{NetworkId, NodeId};

/// Write the configuration of a new network
///
/// Without --self, this command writes one directory for each node: DIR/<node_id>/ with nodeconf.yml, the network's
/// config.yml, which lists all nodes and their public keys, and the node's private key. Copy each directory to its
/// host as /etc/distomon/<node_id> and start distomon@<node_id> there.
///
/// With --self, DIR is the directory of that node only; add the other nodes' public keys to config.yml later.
///
/// It generates one password for all nodes and prints it once. It never overwrites existing files.
///
/// Exit status 0, 64 for invalid arguments, 70 after an internal error, 73 for a file that cannot be written.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory to write to, for example /etc/distomon
    dir: PathBuf,
    /// The network's name
    #[arg(long, value_name = "NAME")]
    network: String,
    /// A node and its URL for other nodes; without =URL, the node only calls out. Repeat for each node
    #[arg(long = "node", value_name = "ID=URL", required = true)]
    nodes: Vec<String>,
    /// Write only the directory and the key of this node
    #[arg(long = "self", value_name = "ID")]
    own: Option<String>,
    /// The time between probes of a node in seconds, 0.1 to 86400
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    poll_rate: f64,
    /// Store the password in .private_keys/login_password instead of its argon2id hash in nodeconf.yml
    #[arg(long)]
    plain_password: bool,
}

/// Writes the files and prints the next commands.
pub(super) fn run(args: &Args, _: &Global) -> ExitCode {
    let plan = match Plan::from_args(args) {
        Ok(plan) => plan,
        Err(message) => return CliError::new(EX_USAGE, message).report("init"),
    };
    match plan.execute(args) {
        Ok(written) => {
            super::print(&written.instructions);
            ExitCode::SUCCESS
        }
        Err(error) => error.report("init"),
    }
}

/// Writes a directory for each of `nodes` (`ID=URL`) of the network `network` below `dir`, and returns the password.
/// Each node listens only on the address `bind` and the port of its URL.
///
/// `poll_rate` and `timeout` are in seconds. Errors refer to the options of the command.
pub(super) fn write_network(
    dir: &Path,
    network: &str,
    nodes: Vec<String>,
    (poll_rate, timeout): (f64, u32),
    bind: IpAddr,
) -> Result<Zeroizing<String>, CliError> {
    let (dir, network) = (dir.to_owned(), network.to_owned());
    let args = Args { dir, network, nodes, own: None, poll_rate, plain_password: false };
    let plan = Plan::from_args(&args).map_err(|message| CliError::new(EX_USAGE, message))?;
    let plan = Plan { timeout, bind: Some(bind), ..plan };
    plan.execute(&args).map(|written| written.password)
}

/// Returns the error of creating or writing `path`.
fn write_error(what: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::new(
        EX_CANTCREAT,
        match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{} exists and is not overwritten", path.display()),
            _ => format!("{what} {}: {error}", path.display()),
        },
    )
}

/// Output of an executed plan.
struct PlanOutput {
    instructions: String,
    password: Zeroizing<String>,
}

/// Validated arguments.
struct Plan {
    network_id: NetworkId,
    nodes: Vec<(NodeId, Option<NodeUrl>)>,
    own: Option<NodeId>,
    poll_rate: f64,
    timeout: u32,
    /// The address to listen on, with the port of the URL; `None` for the default.
    bind: Option<IpAddr>,
}

impl Plan {
    fn from_args(args: &Args) -> Result<Self, String> {
        let network_id =
            args.network.parse().map_err(|error| format!("--network {}: {error}", args.network))?;
        let mut nodes: Vec<(NodeId, Option<NodeUrl>)> = Vec::new();
        let mut urls = HashSet::new();
        for text in &args.nodes {
            let (id, url) = text.split_once('=').map_or((&**text, None), |(id, url)| (id, Some(url)));
            let id: NodeId = id.parse().map_err(|error| format!("--node {text}: {error}"))?;
            let url =
                url.map(NodeUrl::parse).transpose().map_err(|error| format!("--node {text}: {error}"))?;
            if nodes.iter().any(|(other, _)| *other == id) {
                return Err(format!("--node {text}: {id} occurs twice"));
            }
            if url.as_ref().is_some_and(|url| !urls.insert(url.as_str().to_owned())) {
                return Err(format!("--node {text}: another node has this URL"));
            }
            nodes.push((id, url));
        }
        let own = args.own.as_deref().map(|own| {
            let found = nodes.iter().find(|(id, _)| id.as_str() == own);
            found
                .map(|(id, _)| id.clone())
                .ok_or_else(|| format!("--self {own}: expected one of the --node ids"))
        });
        let own = own.transpose()?;
        if !(0.1..=86_400.0).contains(&args.poll_rate) {
            return Err(format!("--poll-rate {}: expected 0.1 to 86400 s", args.poll_rate));
        }
        Ok(Self { network_id, nodes, own, poll_rate: args.poll_rate, timeout: 5, bind: None })
    }

    /// Writes and checks all files, or removes them on an error.
    fn execute(&self, args: &Args) -> Result<PlanOutput, CliError> {
        let mut files = WrittenFiles::default();
        let result = self.write(args, &mut files).and_then(|written| self.check(args).map(|()| written));
        if result.is_err() {
            files.remove();
        }
        result
    }

    /// Returns the nodes to write with their directories.
    fn selected_nodes<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (&'a NodeId, PathBuf)> {
        let all = self.nodes.iter().map(|(id, _)| id);
        all.filter(|id| self.own.as_ref().is_none_or(|own| own == *id)).map(|id| (id, self.dir_of(dir, id)))
    }

    fn dir_of(&self, dir: &Path, id: &NodeId) -> PathBuf {
        if self.own.is_some() { dir.to_owned() } else { dir.join(id.as_str()) }
    }

    /// Writes all files.
    fn write(&self, args: &Args, files: &mut WrittenFiles) -> Result<PlanOutput, CliError> {
        let random = |error: &dyn std::fmt::Display| {
            CliError::new(EX_SOFTWARE, format!("generating keys and password: {error}"))
        };
        let mut keypairs = Vec::new();
        for (id, dir) in self.selected_nodes(&args.dir) {
            keypairs.push((id, dir, Keypair::generate().map_err(|error| random(&error))?));
        }
        let password = password::generate().map_err(|error| random(&error))?;
        let hash =
            if args.plain_password { None } else { Some(password::hash(&password).map_err(|e| random(&e))?) };
        let network = self.network_file(&keypairs);
        files.directories(&args.dir, 0o755)?;
        for (id, dir, keypair) in &keypairs {
            if self.own.is_none() {
                files.directory(dir, 0o755)?;
            }
            let networks = dir.join("networks").join(self.network_id.as_str());
            files.directories(&networks, 0o755)?;
            files.file(&networks.join("config.yml"), 0o644, &network)?;
            files.key(&keys::config_path(dir, &self.network_id, id), keypair)?;
            if args.plain_password {
                files.file(&login::config_path(dir), 0o600, &format!("{}\n", *password))?;
            }
            files.file(&dir.join("nodeconf.yml"), 0o644, &self.nodeconf(id, hash.as_deref()))?;
        }
        Ok(PlanOutput { instructions: self.instructions(args, &keypairs, &password), password })
    }

    /// Checks that the service accepts the written configuration.
    fn check(&self, args: &Args) -> Result<(), CliError> {
        for (_, dir) in self.selected_nodes(&args.dir) {
            config::inspect(&dir, None, &dir.join("state"))
                .map_err(|errors| CliError::new(EX_SOFTWARE, errors.to_string()))?;
        }
        Ok(())
    }

    /// Returns the text of config.yml, the same for all nodes.
    fn network_file(&self, keypairs: &[(&NodeId, PathBuf, Keypair)]) -> String {
        let node = |(id, url): &(NodeId, Option<NodeUrl>)| NodeDoc {
            node_id: id.to_string(),
            url: url.as_ref().map(|url| url.as_str().to_owned()),
            public_key: keypairs
                .iter()
                .find(|(other, ..)| *other == id)
                .map(|(.., keypair)| keypair.public().to_base64_spki()),
        };
        let doc = NetworkDoc {
            network_id: self.network_id.to_string(),
            defaults: DefaultsDoc { poll_rate: number(self.poll_rate), retry: 2, timeout: self.timeout },
            node_config: self.nodes.iter().map(node).collect(),
        };
        let head = "# The same on every node of the network. poll_rate and timeout are in seconds.\n";
        head.to_owned() + &yaml(&doc)
    }

    /// Returns the text of nodeconf.yml of the node `id`.
    fn nodeconf(&self, id: &NodeId, hash: Option<&str>) -> String {
        let doc = NodeconfDoc {
            networks: vec![MembershipDoc { name: self.network_id.to_string(), node_id: id.to_string() }],
            listen: self.listen(id),
            login_password_hash: hash.map(str::to_owned),
        };
        let head = "# This host alone. The network's nodes are in networks/<name>/config.yml.\n";
        head.to_owned() + &yaml(&doc)
    }

    /// Returns the address that `id` listens on, unless it is the default.
    fn listen(&self, id: &NodeId) -> Option<String> {
        let (_, url) = self.nodes.iter().find(|(node, _)| node == id)?;
        Some(SocketAddr::new(self.bind?, url.as_ref()?.listen_port()).to_string())
    }

    /// Returns a summary and the next commands.
    fn instructions(&self, args: &Args, keypairs: &[(&NodeId, PathBuf, Keypair)], password: &str) -> String {
        let mut text = String::new();
        for (id, dir, keypair) in keypairs {
            let fingerprint = keypair.public().fingerprint();
            let _ = writeln!(text, "{id} of {}: {}, key {fingerprint}", self.network_id, dir.display());
        }
        let stored = if args.plain_password {
            "stored in .private_keys/login_password"
        } else {
            "shown only once: nodeconf.yml has its hash"
        };
        let _ = writeln!(text, "log in as admin with {password} ({stored})\n");
        if let (Some(own), [(_, dir, keypair)]) = (&self.own, keypairs) {
            let key = keypair.public().to_base64_spki();
            let _ = writeln!(
                text,
                "next: add this public key of {own} to config.yml of the other nodes, and theirs to this one:\n  \
                 public_key: {key}\nthen:\n{}",
                start_command(dir)
            );
            return text;
        }
        text + &self.next_commands(&args.dir)
    }

    /// Returns the commands that copy the directories and start the nodes, on the assumption that this host is the first
    /// node.
    fn next_commands(&self, dir: &Path) -> String {
        let (mut copies, mut starts) = (String::new(), String::new());
        for (index, (id, url)) in self.nodes.iter().enumerate() {
            let host = url.as_ref().map_or_else(|| format!("HOST-OF-{id}"), |url| url.host().to_owned());
            let here = dir.join(id.as_str());
            if index == 0 || is_loopback(&host) {
                let _ = writeln!(starts, "{}", start_command(&here));
            } else {
                let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let _ = writeln!(copies, "  scp -rp {} root@{bracketed}:/etc/distomon/", here.display());
                let _ = writeln!(starts, "  ssh root@{host} systemctl enable --now distomon@{id}");
            }
        }
        let (first, _) = &self.nodes[0];
        format!("next, if this host is {first}:\n{copies}{starts}")
    }
}

#[derive(Serialize)]
struct NodeconfDoc {
    networks: Vec<MembershipDoc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login_password_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
}

#[derive(Serialize)]
struct MembershipDoc {
    name: String,
    node_id: String,
}

#[derive(Serialize)]
struct NetworkDoc {
    network_id: String,
    defaults: DefaultsDoc,
    node_config: Vec<NodeDoc>,
}

#[derive(Serialize)]
struct DefaultsDoc {
    poll_rate: serde_yaml::Number,
    retry: u32,
    timeout: u32,
}

#[derive(Serialize)]
struct NodeDoc {
    node_id: String,
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

fn yaml<T: Serialize>(doc: &T) -> String {
    serde_yaml::to_string(doc).expect("maps of texts and numbers have a YAML form")
}

/// Formats whole numbers without a fraction: `10`, not `10.0`.
fn number(value: f64) -> serde_yaml::Number {
    format!("{value}").parse::<u64>().map_or_else(|_| value.into(), Into::into)
}

/// Returns the command that starts the node of the directory `dir` on this host.
fn start_command(dir: &Path) -> String {
    match dir.file_name() {
        Some(instance) if dir.parent() == Some(Path::new("/etc/distomon")) => {
            format!("  systemctl enable --now distomon@{}", instance.to_string_lossy())
        }
        _ => format!("  distomon run --config {}", dir.display()),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Files and directories to remove if a later step fails.
#[derive(Default)]
struct WrittenFiles {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl WrittenFiles {
    /// Creates the directory `path`, which must not exist.
    fn directory(&mut self, path: &Path, mode: u32) -> Result<(), CliError> {
        let failed = |error: io::Error| write_error("creating", path, &error);
        DirBuilder::new().mode(mode).create(path).map_err(failed)?;
        self.directories.push(path.to_owned());
        // The service reads it as another user, so the umask of this user must not apply.
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
    }

    /// Creates the missing directories of `path`.
    fn directories(&mut self, path: &Path, mode: u32) -> Result<(), CliError> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directories(parent, mode)?;
        }
        self.directory(path, mode)
    }

    /// Writes the new file `path`.
    fn file(&mut self, path: &Path, mode: u32, text: &str) -> Result<(), CliError> {
        let failed = |error: io::Error| write_error("writing", path, &error);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
        self.files.push(path.to_owned());
        let closed = file.set_permissions(Permissions::from_mode(mode));
        closed.and_then(|()| file.write_all(text.as_bytes())).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Writes a private key.
    fn key(&mut self, path: &Path, keypair: &Keypair) -> Result<(), CliError> {
        if let Some(dir) = path.parent() {
            // The service lists this directory, but reads its files as credentials from systemd.
            self.directories(dir, 0o755)?;
        }
        keys::write(path, keypair).map_err(|error| write_error("writing", path, &error))?;
        self.files.push(path.to_owned());
        Ok(())
    }

    /// Removes everything. Errors are ignored, since the first error is reported.
    fn remove(self) {
        for file in self.files {
            let _ = std::fs::remove_file(file);
        }
        for directory in self.directories.into_iter().rev() {
            let _ = std::fs::remove_dir(directory);
        }
    }
}
