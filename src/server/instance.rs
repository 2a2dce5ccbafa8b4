//! What this process serves.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::crypto::password::Password;
use crate::mesh::id::NetworkId;
use crate::store::NetworkHandle;

/// What this process serves: replaced as a whole when the configuration is read again.
#[derive(Default)]
pub struct Instance {
    /// Its name, as in `distomon@NAME`: cookies carry it, since they ignore ports.
    pub name: String,
    /// Its nodes, one for each network.
    pub nodes: BTreeMap<NetworkId, Arc<NetworkHandle>>,
    /// The password of `admin`; none: nobody can log in.
    pub login: Option<Password>,
    /// Whether the own urls are https, so that cookies may be marked Secure.
    pub secure: bool,
}

impl Instance {
    /// The node in the network with that id.
    pub fn node(&self, network_id: &str) -> Option<&Arc<NetworkHandle>> {
        self.nodes.get(&network_id.parse::<NetworkId>().ok()?)
    }
}
