//! The instance that this process serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::crypto::password::Password;
use crate::mesh::id::NetworkId;
use crate::store::NetworkHandle;

/// The served instance: its nodes and its login. A reload replaces it as a whole.
#[derive(Default)]
pub struct ServedInstance {
    /// The name, as in `distomon@NAME`. Cookie names contain it, since browsers ignore the port of a cookie.
    pub name: String,
    /// The nodes, one for each network.
    pub nodes: BTreeMap<NetworkId, Arc<NetworkHandle>>,
    /// The password of `admin`; `None` disables logins.
    pub login: Option<Password>,
    /// Whether this instance's urls are https, so that cookies may be marked Secure.
    pub secure: bool,
}

impl ServedInstance {
    /// Returns the node in the network with this id.
    pub fn node(&self, network_id: &str) -> Option<&Arc<NetworkHandle>> {
        self.nodes.get(&network_id.parse::<NetworkId>().ok()?)
    }
}
