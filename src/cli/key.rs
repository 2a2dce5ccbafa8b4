//! `distomon key`: shows the public keys of the networks, makes a private one.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{EX_CANTCREAT, EX_CONFIG, EX_USAGE, Global};
use crate::config::{self, Config, ConfigErrors, Network, keys};
use crate::crypto::Keypair;

/// Show or make the keys of this host's nodes
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the public keys of all nodes, with fingerprints to compare by eye
    Show(Show),
    /// Make a new key pair for this host's node in a network
    ///
    /// Writes the private key to the state directory, or to FILE, and prints the public key as PEM (for
    /// pubkeys/<node_id>.pub) and as base64 (for public_key in config.yml). Never overwrites a key.
    Generate(Generate),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Only this network: its network_id or its directory under networks/
    network: Option<String>,
    /// Print the own node's public key alone, as PEM
    #[arg(long)]
    pem: bool,
}

#[derive(Debug, clap::Args)]
struct Generate {
    /// The network: its network_id or its directory under networks/; may be left out if there is just one
    network: Option<String>,
    /// Write the private key to this new file instead, as for a key that will replace the present one
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Shows or makes keys. Exit status 0, 64 for an unknown network, 73 where nothing can be written, 78.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let config = match config::load(&global.config) {
        Ok(config) => config,
        Err(errors) => return fail(EX_CONFIG, &errors.to_string()),
    };
    match &args.command {
        Command::Show(show) => run_show(show, global, &config),
        Command::Generate(generate) => run_generate(generate, global, &config),
    }
}

fn run_show(args: &Show, global: &Global, config: &Config) -> ExitCode {
    let networks: Vec<&Network> = match args.network.as_deref().map(|name| named(config, name)) {
        None => config.networks.iter().collect(),
        Some(Ok(network)) => vec![network],
        Some(Err(message)) => return fail(EX_USAGE, &message),
    };
    let credentials = global.credentials_dir();
    let mut shown = String::new();
    let mut errors = Vec::new();
    for network in networks {
        let state = global.state_dir();
        match keys::load(&config.dir, credentials.as_deref(), &state, &network.membership) {
            Ok(key) if args.pem => match key {
                Some(key) => shown += &key.keypair.public().to_pem(),
                None => errors.push(format!("{}: no key yet: distomon key generate", network.name)),
            },
            Ok(key) => shown += &listing(network, key.as_ref()),
            Err(ConfigErrors(more)) => {
                errors.extend(more.iter().map(ToString::to_string));
                if !args.pem {
                    shown += &listing(network, None);
                }
            }
        }
    }
    super::print(&shown);
    if errors.is_empty() { ExitCode::SUCCESS } else { fail(EX_CONFIG, &errors.join("\n")) }
}

/// The members of `network`, a line for each of their keys.
fn listing(network: &Network, own: Option<&keys::OwnKey>) -> String {
    let membership = own.map_or(&network.membership, |own| &own.membership);
    let mut text = format!("{}\n", membership.network_id());
    let width = membership.members().iter().map(|member| member.id.as_str().len()).max().unwrap_or(0);
    for member in membership.members() {
        for key in &member.keys {
            let _ = write!(text, "  {:width$}  {}  {}", member.id, key.fingerprint(), key.to_base64_spki());
            if let Some(own) = own.filter(|own| own.keypair.public() == key) {
                let _ = write!(text, "  private key in {}", own.path.display());
            }
            text.push('\n');
        }
        if member.keys.is_empty() {
            let _ = writeln!(text, "  {:width$}  no key yet", member.id);
        }
    }
    text
}

fn run_generate(args: &Generate, global: &Global, config: &Config) -> ExitCode {
    let network = match (&args.network, &config.networks[..]) {
        (None, [only]) => only,
        (None, _) => return fail(EX_USAGE, &format!("say for which network: {}", names(config))),
        (Some(name), _) => match named(config, name) {
            Ok(network) => network,
            Err(message) => return fail(EX_USAGE, &message),
        },
    };
    let membership = &network.membership;
    let (state, credentials) = (global.state_dir(), global.credentials_dir());
    let path = if let Some(path) = &args.out {
        path.clone()
    } else if let Some(path) = keys::existing_path(&config.dir, credentials.as_deref(), &state, membership) {
        return fail(EX_CANTCREAT, &taken(&path));
    } else {
        keys::state_path(&state, membership.network_id(), &membership.own().id)
    };
    let keypair = match Keypair::generate() {
        Ok(keypair) => keypair,
        Err(error) => return fail(EX_CANTCREAT, &format!("making a key: {error}")),
    };
    match keys::write(&path, &keypair) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return fail(EX_CANTCREAT, &taken(&path));
        }
        Err(error) => return fail(EX_CANTCREAT, &format!("writing {}: {error}", path.display())),
    }
    let public = keypair.public();
    super::print(&format!("{}{}\n", public.to_pem(), public.to_base64_spki()));
    let id = &membership.own().id;
    eprintln!("private key of {id} in {}: {}", membership.network_id(), path.display());
    if membership.own().keys.is_empty() {
        eprintln!("next, on every node: public_key of {id} in networks/{}/config.yml", network.name);
    } else {
        eprintln!(
            "next, on every node: add it to public_key of {id} in networks/{}/config.yml (a list of two), \
             reload; then put the new private key in the old one's place and restart; then remove the old public_key",
            network.name
        );
    }
    ExitCode::SUCCESS
}

fn taken(path: &Path) -> String {
    format!(
        "{}: there is a key already, and it stays: for one that will replace it, say --out FILE",
        path.display()
    )
}

/// The network that is called `name`, by its id or its directory.
pub(super) fn named<'c>(config: &'c Config, name: &str) -> Result<&'c Network, String> {
    let by_id = config.networks.iter().find(|network| network.membership.network_id().as_str() == name);
    let found = by_id.or_else(|| config.networks.iter().find(|network| network.name == name));
    found.ok_or_else(|| format!("no network {name}: expected one of {}", names(config)))
}

fn names(config: &Config) -> String {
    let names: Vec<_> =
        config.networks.iter().map(|network| network.membership.network_id().as_str()).collect();
    names.join(", ")
}

fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(status)
}
