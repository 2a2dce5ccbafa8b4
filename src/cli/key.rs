//! `distomon key`: shows public keys, generates key pairs.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use super::{EX_CANTCREAT, EX_CONFIG, EX_USAGE, Global};
use crate::config::{self, Config, ConfigErrors, Network, keys};
use crate::crypto::Keypair;

/// Show keys, or generate a key for this host's node
///
/// Exit status 0, 64 for an unknown network, 73 for a file that cannot be written, 78 for an invalid configuration.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the public keys and fingerprints of all nodes
    Show(ShowArgs),
    /// Generate a key pair for this host's node in a network
    ///
    /// Writes the private key to the state directory, or to FILE, and prints the public key as PEM (for
    /// pubkeys/<node_id>.pub) and as base64 (for public_key in config.yml). Never overwrites a key.
    Generate(GenerateArgs),
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Only this network: its network_id or its directory under networks/
    network: Option<String>,
    /// Print only the public key of this host's node, as PEM
    #[arg(long)]
    pem: bool,
}

#[derive(Debug, clap::Args)]
struct GenerateArgs {
    /// The network: its network_id or its directory under networks/; optional if there is only one
    network: Option<String>,
    /// Write the private key to this new file instead, for example for a key that will replace the current one
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Shows or generates keys.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    let config = match config::load(&global.config) {
        Ok(config) => config,
        Err(errors) => return fail(EX_CONFIG, &errors.to_string()),
    };
    match &args.command {
        Command::Show(args) => show(args, global, &config),
        Command::Generate(args) => generate(args, global, &config),
    }
}

fn show(args: &ShowArgs, global: &Global, config: &Config) -> ExitCode {
    let networks: Vec<&Network> = match args.network.as_deref().map(|name| find_network(config, name)) {
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

/// Lists the members of `network` with a line for each key.
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

fn generate(args: &GenerateArgs, global: &Global, config: &Config) -> ExitCode {
    let network = match (&args.network, &config.networks[..]) {
        (None, [only]) => only,
        (None, _) => return fail(EX_USAGE, &format!("expected a network, one of: {}", network_ids(config))),
        (Some(name), _) => match find_network(config, name) {
            Ok(network) => network,
            Err(message) => return fail(EX_USAGE, &message),
        },
    };
    let membership = &network.membership;
    let (state, credentials) = (global.state_dir(), global.credentials_dir());
    let path = if let Some(path) = &args.out {
        path.clone()
    } else if let Some(path) = keys::existing_path(&config.dir, credentials.as_deref(), &state, membership) {
        return fail(EX_CANTCREAT, &key_exists(&path));
    } else {
        keys::state_path(&state, membership.network_id(), &membership.own().id)
    };
    let keypair = match Keypair::generate() {
        Ok(keypair) => keypair,
        Err(error) => return fail(EX_CANTCREAT, &format!("generating a key: {error}")),
    };
    match keys::write(&path, &keypair) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return fail(EX_CANTCREAT, &key_exists(&path));
        }
        Err(error) => return fail(EX_CANTCREAT, &format!("writing {}: {error}", path.display())),
    }
    let public = keypair.public();
    super::print(&format!("{}{}\n", public.to_pem(), public.to_base64_spki()));
    let id = &membership.own().id;
    eprintln!("private key of {id} in {}: {}", membership.network_id(), path.display());
    if membership.own().keys.is_empty() {
        eprintln!("next, on every host: set public_key of {id} in networks/{}/config.yml", network.name);
    } else {
        eprintln!(
            "next: 1. on every host, add it to public_key of {id} in networks/{}/config.yml (a list of two) and reload; \
             2. on this host, replace the old private key and restart; 3. on every host, remove the old public_key \
             and reload",
            network.name
        );
    }
    ExitCode::SUCCESS
}

fn key_exists(path: &Path) -> String {
    format!("{} exists and is not overwritten: to generate a replacement, use --out FILE", path.display())
}

/// Returns the network with the id or directory `name`.
pub(super) fn find_network<'c>(config: &'c Config, name: &str) -> Result<&'c Network, String> {
    let by_id = config.networks.iter().find(|network| network.membership.network_id().as_str() == name);
    let found = by_id.or_else(|| config.networks.iter().find(|network| network.name == name));
    found.ok_or_else(|| format!("no network {name}: expected one of {}", network_ids(config)))
}

fn network_ids(config: &Config) -> String {
    let names: Vec<_> =
        config.networks.iter().map(|network| network.membership.network_id().as_str()).collect();
    names.join(", ")
}

fn fail(status: u8, message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(status)
}
