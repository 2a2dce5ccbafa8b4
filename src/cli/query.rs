//! Asks a running node about one of its networks, as whoever owns its key.

use super::client;
use super::error::CliError;
use super::instance::Instance;
use super::{EX_UNAVAILABLE, Global};
use crate::config::NodeUrl;

/// How long the token that is signed for the request is good, in seconds.
const LIFETIME_S: u64 = 60;

/// The node's answer to `GET` of a path that `path` makes of the network's id. `network`: that id, or the
/// directory under networks/; `url`: the node to ask, none for the one of this configuration. `verb` is what a
/// node that refuses does not do.
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
    let token = instance.signer(Some(&network))?.token(LIFETIME_S)?;
    let url = match url {
        Some(url) => url.as_str().to_owned(),
        None => instance.url()?,
    };
    client::get(&format!("{url}{}", path(&network)), &token).map_err(|error| {
        let advice = match error {
            // It is there and has said why.
            client::ClientError::Refused(400 | 404, _) => String::new(),
            _ => format!("\n{}", instance.advice()),
        };
        CliError::new(EX_UNAVAILABLE, format!("the node at {url} does not {verb}: {error}{advice}"))
    })
}
