//! `distomon token`: a login token for scripts, signed with the key of this host's node or fetched with a password.

use std::path::PathBuf;
use std::process::ExitCode;

use super::client::{self, ClientError};
use super::error::CliError;
use super::instance::Instance;
use super::{EX_NOPERM, EX_PROTOCOL, EX_TEMPFAIL, EX_UNAVAILABLE, Global, secret_file};
use crate::config::NodeUrl;
use crate::crypto::password::MAX_PASSWORD;

const EXAMPLES: &str = "\
Examples:
  curl -H \"Authorization: Bearer $(sudo distomon token)\" http://127.0.0.1:8000/view
  distomon token --url http://10.0.0.2:8000 --password-file ~/.distomon-password

The node on this host accepts the token for all its networks. Another node accepts it for one network: the first \
of this host, or that of --network.";

/// Print a login token for scripts
///
/// The token is signed with the key of this host's node, so a user who can read that key (root) needs no password.
/// Tokens grant read access and expire after at most 30 minutes. Standard output contains only the token. Exit status
/// 0, 64 for an unknown network, 66 for a password file that cannot be read, 69 if the node does not answer, 75 after
/// too many attempts, 76 for an unexpected reply, 77 for a wrong password or a lack of permission, 78 for a
/// configuration that is invalid or has no login or key.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Only for this network: its network_id or its directory under networks/ [default: all networks]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// The lifetime of the token, 1 to 30
    #[arg(long, value_name = "MINUTES", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=30))]
    lifetime: u64,
    /// Fetch the token from the node at this address instead of signing one
    #[arg(long, value_name = "URL", value_parser = NodeUrl::parse, requires = "password_file")]
    #[arg(conflicts_with_all = ["network", "lifetime"])]
    url: Option<NodeUrl>,
    /// The file with the password of that node, or - for standard input
    #[arg(long, value_name = "FILE", requires = "url")]
    password_file: Option<PathBuf>,
}

/// Prints a token.
pub(super) fn run(args: &Args, global: &Global) -> ExitCode {
    match make(args, global) {
        Ok(token) => {
            super::print(&format!("{token}\n"));
            ExitCode::SUCCESS
        }
        Err(error) => error.report("token"),
    }
}

fn make(args: &Args, global: &Global) -> Result<String, CliError> {
    if let (Some(url), Some(file)) = (&args.url, &args.password_file) {
        let password = secret_file::read(file, "password", MAX_PASSWORD)?;
        if !url.is_encrypted_or_loopback() {
            eprintln!("warning: {}: over plain http, the password can be read in transit", url.as_str());
        }
        return client::log_in(url.as_str(), &password).map_err(|error| client_error(url, &error));
    }
    let instance = Instance::open(global)?;
    let signer = instance.signer(args.network.as_deref())?;
    instance.check_login()?;
    signer.token(args.lifetime * 60)
}

fn client_error(url: &NodeUrl, error: &ClientError) -> CliError {
    let status = match error {
        ClientError::Unreachable(_) => EX_UNAVAILABLE,
        ClientError::Refused(401 | 403, _) => EX_NOPERM,
        ClientError::Refused(429 | 503, _) => EX_TEMPFAIL,
        ClientError::Refused(..) | ClientError::Malformed(_) => EX_PROTOCOL,
    };
    CliError::new(status, format!("fetching a token from {}: {error}", url.as_str()))
}
