//! Queries to a running node about one of its networks, with a token signed with the key of this host's node.

use super::client;
use super::error::CliError;
use super::instance::Instance;
use super::{EX_UNAVAILABLE, Global};
use crate::config::NodeUrl;

/// The lifetime of the token for one request, in seconds.
const TOKEN_LIFETIME_S: u64 = 60;

/// Sends `GET` for the path that `path` returns for the network's id; returns the body of the reply.
///
/// `network` is that id or the directory under networks/. `url` is the node to query, by default the one of this
/// configuration. `verb` completes the error "the node does not …".
pub(super) fn query(
    global: &Global,
    network: &str,
    url: Option<&NodeUrl>,
    verb: &str,
    path: impl FnOnce(&str) -> String,
) -> Result<String, CliError> {
    let instance = Instance::open(global)?;
    instance.check_login()?;
    let network = instance.network_id(network)?;
    let token = instance.signer(Some(&network))?.token(TOKEN_LIFETIME_S)?;
    let url = match url {
        Some(url) => url.as_str().to_owned(),
        None => instance.url()?,
    };
    client::get(&format!("{url}{}", path(&network)), &token).map_err(|error| {
        let advice = match error {
            // The node runs, and its reply has the reason.
            client::ClientError::Refused(400 | 404, _) => String::new(),
            _ => format!("\n{}", instance.advice()),
        };
        CliError::new(EX_UNAVAILABLE, format!("the node at {url} does not {verb}: {error}{advice}"))
    })
}
