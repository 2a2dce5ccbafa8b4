//! `distomon init`: writes the configuration of a new network, for one node or for all of them at once.

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
/// Without --self, one directory for each node: DIR/<node_id>/ with nodeconf.yml, the network's
/// config.yml, which names all nodes and their public keys, and the node's private key. Copy each to its
/// host as /etc/distomon/<node_id> and start distomon@<node_id> there.
///
/// With --self, DIR itself is the directory of that one node; the other nodes' public keys are to be added
/// to config.yml later.
///
/// One password is made for all nodes and printed once. Nothing that exists is overwritten.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory to write to, as /etc/distomon
    dir: PathBuf,
    /// The network's name
    #[arg(long, value_name = "NAME")]
    network: String,
    /// A node and where the others reach it; without =URL: one that only calls out. Repeat for each node
    #[arg(long = "node", value_name = "ID=URL", required = true)]
    nodes: Vec<String>,
    /// Write only this node's directory, with a key for it alone
    #[arg(long = "self", value_name = "ID")]
    own: Option<String>,
    /// Time between probes of a node, in seconds, 0.1 to 86400
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    poll_rate: f64,
    /// Store the password itself in .private_keys/login_password, instead of its argon2id hash in nodeconf.yml
    #[arg(long)]
    plain_password: bool,
}

/// Writes the files. Exit status 0, 64 for arguments that make no network, 73 where nothing can be written.
pub(super) fn run(args: &Args, _: &Global) -> ExitCode {
    let plan = match Plan::of(args) {
        Ok(plan) => plan,
        Err(message) => return CliError::new(EX_USAGE, message).report("init"),
    };
    match plan.carry_out(args) {
        Ok(written) => {
            super::print(&written.instructions);
            ExitCode::SUCCESS
        }
        Err(error) => error.report("init"),
    }
}

/// Writes the directories of the network `network` below `dir`, one for each of `nodes` (`ID=URL`), as the
/// command does. Each node listens at the port of its url, on the address `bind` alone. Returns the password.
///
/// `poll_rate` and `timeout` in seconds. Errors are in words of the command's options.
pub(super) fn write_network(
    dir: &Path,
    network: &str,
    nodes: Vec<String>,
    (poll_rate, timeout): (f64, u32),
    bind: IpAddr,
) -> Result<Zeroizing<String>, CliError> {
    let (dir, network) = (dir.to_owned(), network.to_owned());
    let args = Args { dir, network, nodes, own: None, poll_rate, plain_password: false };
    let plan = Plan::of(&args).map_err(|message| CliError::new(EX_USAGE, message))?;
    let plan = Plan { timeout, bind: Some(bind), ..plan };
    plan.carry_out(&args).map(|written| written.password)
}

/// Why `path` was not written.
fn cannot(what: &str, path: &Path, error: &io::Error) -> CliError {
    CliError::new(
        EX_CANTCREAT,
        match error.kind() {
            io::ErrorKind::AlreadyExists => format!("{} exists already, and stays as it is", path.display()),
            _ => format!("{what} {}: {error}", path.display()),
        },
    )
}

/// What came of a plan.
struct Written {
    instructions: String,
    password: Zeroizing<String>,
}

/// A network that makes sense.
struct Plan {
    network_id: NetworkId,
    nodes: Vec<(NodeId, Option<NodeUrl>)>,
    own: Option<NodeId>,
    poll_rate: f64,
    timeout: u32,
    /// Where the nodes listen, each at the port of its url. None: the default.
    bind: Option<IpAddr>,
}

impl Plan {
    fn of(args: &Args) -> Result<Self, String> {
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
                return Err(format!("--node {text}: {id} is there already"));
            }
            if url.as_ref().is_some_and(|url| !urls.insert(url.as_str().to_owned())) {
                return Err(format!("--node {text}: another node has this url"));
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

    /// Writes and checks everything, or leaves nothing behind.
    fn carry_out(&self, args: &Args) -> Result<Written, CliError> {
        let mut files = Files::default();
        let result = self.write(args, &mut files).and_then(|written| self.check(args).map(|()| written));
        if result.is_err() {
            files.remove();
        }
        result
    }

    /// The nodes whose directories are written, each with its directory.
    fn written<'a>(&'a self, dir: &'a Path) -> impl Iterator<Item = (&'a NodeId, PathBuf)> {
        let all = self.nodes.iter().map(|(id, _)| id);
        all.filter(|id| self.own.as_ref().is_none_or(|own| own == *id)).map(|id| (id, self.dir_of(dir, id)))
    }

    fn dir_of(&self, dir: &Path, id: &NodeId) -> PathBuf {
        if self.own.is_some() { dir.to_owned() } else { dir.join(id.as_str()) }
    }

    /// Writes everything.
    fn write(&self, args: &Args, files: &mut Files) -> Result<Written, CliError> {
        let random = |error: &dyn std::fmt::Display| {
            CliError::new(EX_SOFTWARE, format!("making keys and password: {error}"))
        };
        let mut keypairs = Vec::new();
        for (id, dir) in self.written(&args.dir) {
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
        Ok(Written { instructions: self.instructions(args, &keypairs, &password), password })
    }

    /// Whether what was written would start.
    fn check(&self, args: &Args) -> Result<(), CliError> {
        for (_, dir) in self.written(&args.dir) {
            config::inspect(&dir, None, &dir.join("state"))
                .map_err(|errors| CliError::new(EX_SOFTWARE, errors.to_string()))?;
        }
        Ok(())
    }

    /// config.yml, which is the same for all nodes.
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

    /// nodeconf.yml of the node `id`.
    fn nodeconf(&self, id: &NodeId, hash: Option<&str>) -> String {
        let doc = NodeconfDoc {
            networks: vec![MembershipDoc { name: self.network_id.to_string(), node_id: id.to_string() }],
            listen: self.listen(id),
            login_password_hash: hash.map(str::to_owned),
        };
        let head = "# This host alone. The network's nodes are in networks/<name>/config.yml.\n";
        head.to_owned() + &yaml(&doc)
    }

    /// Where `id` is to listen, if that is not the default.
    fn listen(&self, id: &NodeId) -> Option<String> {
        let (_, url) = self.nodes.iter().find(|(node, _)| node == id)?;
        Some(SocketAddr::new(self.bind?, url.as_ref()?.listen_port()).to_string())
    }

    /// What was made, and the next commands.
    fn instructions(&self, args: &Args, keypairs: &[(&NodeId, PathBuf, Keypair)], password: &str) -> String {
        let mut text = String::new();
        for (id, dir, keypair) in keypairs {
            let fingerprint = keypair.public().fingerprint();
            let _ = writeln!(text, "{id} of {}: {}, key {fingerprint}", self.network_id, dir.display());
        }
        let stored = if args.plain_password {
            "it is in .private_keys/login_password"
        } else {
            "shown only now: its hash is stored"
        };
        let _ = writeln!(text, "log in as admin with {password} ({stored})\n");
        if let (Some(own), [(_, dir, keypair)]) = (&self.own, keypairs) {
            let key = keypair.public().to_base64_spki();
            let _ = writeln!(
                text,
                "next: give this to the other nodes, for {own} in their config.yml, and add theirs here:\n  \
                 public_key: {key}\nthen:\n{}",
                start(dir)
            );
            return text;
        }
        text + &self.next_commands(&args.dir)
    }

    /// Copies to the other hosts, and starts: the first node is taken to be this host.
    fn next_commands(&self, dir: &Path) -> String {
        let (mut copies, mut starts) = (String::new(), String::new());
        for (index, (id, url)) in self.nodes.iter().enumerate() {
            let host = url.as_ref().map_or_else(|| format!("HOST-OF-{id}"), |url| url.host().to_owned());
            let here = dir.join(id.as_str());
            if index == 0 || is_loopback(&host) {
                let _ = writeln!(starts, "{}", start(&here));
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

/// `10` rather than `10.0`.
fn number(value: f64) -> serde_yaml::Number {
    format!("{value}").parse::<u64>().map_or_else(|_| value.into(), Into::into)
}

/// The command that starts the node of the directory `dir` on this host.
fn start(dir: &Path) -> String {
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

/// What was written so far, to be taken back if the rest fails.
#[derive(Default)]
struct Files {
    files: Vec<PathBuf>,
    directories: Vec<PathBuf>,
}

impl Files {
    /// Makes the directory `path`, which must not exist.
    fn directory(&mut self, path: &Path, mode: u32) -> Result<(), CliError> {
        let failed = |error: io::Error| cannot("making", path, &error);
        DirBuilder::new().mode(mode).create(path).map_err(failed)?;
        self.directories.push(path.to_owned());
        // The service reads this as another user than the one who writes it, whatever that one's umask.
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
    }

    /// Makes those directories of `path` that are missing.
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
        let failed = |error: io::Error| cannot("writing", path, &error);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
        self.files.push(path.to_owned());
        let closed = file.set_permissions(Permissions::from_mode(mode));
        closed.and_then(|()| file.write_all(text.as_bytes())).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Writes a private key, in a directory for the owner alone.
    fn key(&mut self, path: &Path, keypair: &Keypair) -> Result<(), CliError> {
        if let Some(dir) = path.parent() {
            // The service has to see that nothing else is there; what is there, systemd hands over.
            self.directories(dir, 0o755)?;
        }
        keys::write(path, keypair).map_err(|error| cannot("writing", path, &error))?;
        self.files.push(path.to_owned());
        Ok(())
    }

    /// Takes it all back, as far as that can be done: what failed first is what gets reported.
    fn remove(self) {
        for file in self.files {
            let _ = std::fs::remove_file(file);
        }
        for directory in self.directories.into_iter().rev() {
            let _ = std::fs::remove_dir(directory);
        }
    }
}
