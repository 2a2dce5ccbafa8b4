//! The private keys of this host's nodes: where they are looked for, when one is made, what is refused.
//!
//! The places, in this order: the systemd credential `<network_id>.key`, then
//! `<state>/<network_id>/<node_id>/key.pem`, then `<config>/.private_keys/<node_id>_<network_id>.key`, which the
//! service gets as the credential `private_keys_<node_id>_<network_id>.key`: its unit has systemd load that
//! directory, since its files belong to root. The first that is there decides; one that is there and cannot be
//! used is an error, never passed over.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::file::{self, Contents, FileError};
use super::{ConfigErrors, secret_file};
use crate::crypto::{Keypair, PublicKey};
use crate::mesh::id::{NetworkId, NodeId};
use crate::mesh::membership::Membership;

/// The largest file with a private key, in bytes.
const MAX_KEY_FILE: u64 = 16 << 10;

/// What systemd puts before the names of the files of `.private_keys`, as the unit says.
pub(super) const LOADED: &str = "private_keys_";
/// The directory with secrets of the configuration.
pub(super) const PRIVATE: &str = ".private_keys";

/// The key that signs for this host's node in one network.
#[derive(Debug, Clone)]
pub struct OwnKey {
    /// The key.
    pub keypair: Keypair,
    /// Its file.
    pub path: PathBuf,
    /// Whether it was made just now, so that the other nodes need its public key.
    pub made: bool,
    /// The membership with this key as the own node's, if it had none.
    pub membership: Membership,
    /// What is allowed and yet surprising, one line each.
    pub warnings: Vec<String>,
}

/// Finds the key of `membership`'s own node, or makes it if there is none and the configuration has no public
/// key for the node yet. A key of v0.1 that others can read is closed to them.
pub fn find(
    config_dir: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
    membership: &Membership,
) -> Result<OwnKey, ConfigErrors> {
    let places = Places::of(config_dir, credentials_dir, state_dir, membership);
    if let Some(key) = places.search(membership, true)? {
        return Ok(key);
    }
    let keypair = Keypair::generate()
        .map_err(|error| ConfigErrors::whole_file(&places.state, format!("making a key: {error}")))?;
    match write(&places.state, &keypair) {
        Ok(()) => Ok(own_key(keypair, places.state, true, membership)),
        // Another process was faster, and its key is the key.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let key = places.search(membership, true)?;
            key.ok_or_else(|| ConfigErrors::whole_file(&places.state, "vanished while it was read"))
        }
        Err(error) => Err(ConfigErrors::whole_file(
            &places.state,
            format!(
                "making the key of {} in {}: {error}: expected a state directory that this user can write",
                membership.own().id,
                membership.network_id()
            ),
        )),
    }
}

/// Finds the key of `membership`'s own node and changes nothing. None if [`find`] would make one.
pub fn look(
    config_dir: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
    membership: &Membership,
) -> Result<Option<OwnKey>, ConfigErrors> {
    Places::of(config_dir, credentials_dir, state_dir, membership).search(membership, false)
}

/// The first of the places where `membership`'s own key is looked for that is taken, whatever stands there.
pub fn present(
    config_dir: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
    membership: &Membership,
) -> Option<PathBuf> {
    let places = Places::of(config_dir, credentials_dir, state_dir, membership);
    let mut places = places.in_order().into_iter().map(|(path, _)| path);
    places.find(|path| path.symlink_metadata().is_ok()).map(Path::to_owned)
}

/// Where the key of a node is made: `<state>/<network_id>/<node_id>/key.pem`.
pub fn state_path(state_dir: &Path, network_id: &NetworkId, node_id: &NodeId) -> PathBuf {
    state_dir.join(network_id.as_str()).join(node_id.as_str()).join("key.pem")
}

/// Where v0.1 kept the key of a node: `<config>/.private_keys/<node_id>_<network_id>.key`.
pub fn config_path(config_dir: &Path, network_id: &NetworkId, node_id: &NodeId) -> PathBuf {
    config_dir.join(PRIVATE).join(format!("{node_id}_{network_id}.key"))
}

/// Writes `keypair` to the new file `path`, readable by its owner alone: whole or not at all, and on disk
/// when this returns. Missing directories are made, for the owner alone. A file that is there stays as it
/// is, and the error is `AlreadyExists`.
pub fn write(path: &Path, keypair: &Keypair) -> io::Result<()> {
    secret_file::create(path, keypair.to_pem().as_bytes())
}

/// Where to look for one key.
struct Places {
    credential: Option<PathBuf>,
    state: PathBuf,
    /// What systemd loaded of `config` for a service that may not read that. It stays as it was at the start.
    loaded: Option<PathBuf>,
    config: PathBuf,
}

impl Places {
    fn of(
        config_dir: &Path,
        credentials_dir: Option<&Path>,
        state_dir: &Path,
        membership: &Membership,
    ) -> Self {
        let (network_id, node_id) = (membership.network_id(), &membership.own().id);
        Self {
            credential: credentials_dir.map(|dir| dir.join(format!("{network_id}.key"))),
            state: state_path(state_dir, network_id, node_id),
            loaded: credentials_dir.map(|dir| dir.join(format!("{LOADED}{node_id}_{network_id}.key"))),
            config: config_path(config_dir, network_id, node_id),
        }
    }

    /// Each place, and who may read what lies there.
    fn in_order(&self) -> Vec<(&Path, Access)> {
        let places = [
            (self.credential.as_deref(), Access::Given),
            (Some(&*self.state), Access::Closed),
            (Some(&*self.config), Access::Mended),
            (self.loaded.as_deref(), Access::Given),
        ];
        places.into_iter().filter_map(|(path, access)| Some((path?, access))).collect()
    }

    /// Whether systemd has loaded what this user may not read in the configuration: the key, or the whole of a
    /// directory that is closed, in which case there may be none.
    fn is_handed_over(&self) -> bool {
        let closed = |path: &Path| {
            path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        self.loaded
            .as_deref()
            .is_some_and(|loaded| closed(&self.config) || (loaded.exists() && file::is_closed(&self.config)))
    }

    /// The first key that is there. None if there is none and none is expected.
    fn search(&self, membership: &Membership, mend: bool) -> Result<Option<OwnKey>, ConfigErrors> {
        for (path, access) in self.in_order() {
            if path == self.config && self.is_handed_over() {
                continue;
            }
            if let Some((keypair, warning)) = read(path, access, mend, membership)? {
                // Whoever is told of it is to find what they can change, not systemd's copy of that.
                let path = if Some(path) == self.loaded.as_deref() { &self.config } else { path };
                let mut key = own_key(keypair, path.to_owned(), false, membership);
                key.warnings.extend(warning);
                return Ok(Some(key));
            }
        }
        let Some(configured) = membership.own().keys.first() else { return Ok(None) };
        let mut looked: Vec<_> = self.credential.iter().map(|path| path.display().to_string()).collect();
        looked.push(self.config.display().to_string());
        let restart = if self.loaded.is_some() {
            "; what has come into .private_keys since the service was started takes a restart of it"
        } else {
            ""
        };
        let message = format!(
            "no private key of {} in {}, whose configured public key is {}: looked here and in {}; put the \
             key back (is the state directory mounted?), or remove the public key from the configuration to \
             have a new one made{restart}",
            membership.own().id,
            membership.network_id(),
            configured.fingerprint(),
            looked.join(" and "),
        );
        Err(ConfigErrors::whole_file(&self.state, message))
    }
}

/// Who may read a key file.
#[derive(Clone, Copy)]
enum Access {
    /// Whoever systemd lets.
    Given,
    /// The owner, and the group if the owner let it; else the key is refused.
    Closed,
    /// Likewise, yet v0.1 wrote these open to all: they are closed where that is asked for.
    Mended,
}

/// The key in the file `path`, with a warning; None if there is no such file.
fn read(
    path: &Path,
    access: Access,
    mend: bool,
    membership: &Membership,
) -> Result<Option<(Keypair, Option<String>)>, ConfigErrors> {
    let (id, network_id) = (&membership.own().id, membership.network_id());
    let refuse = |message: String| {
        ConfigErrors::whole_file(path, format!("private key of {id} in {network_id}: {message}"))
    };
    let contents = match file::read(path, MAX_KEY_FILE) {
        Ok(contents) => contents,
        Err(FileError::Missing) => return Ok(None),
        Err(FileError::Io(error))
            if matches!(access, Access::Mended) && error.kind() == io::ErrorKind::PermissionDenied =>
        {
            let why = "expected that this user may read it; systemd hands it to the service when that starts: restart it";
            return Err(refuse(format!("cannot be read: {error}: {why}")));
        }
        Err(error) => return Err(refuse(error.to_string())),
    };
    let warning = close_to_others(path, &contents, access, mend).map_err(refuse)?;
    let text = std::str::from_utf8(&contents.bytes).unwrap_or_default();
    let keypair = Keypair::from_pem(text).map_err(|error| {
        let found = if contents.bytes.is_empty() { "an empty file" } else { "something else" };
        refuse(format!("{error}, found {found}"))
    })?;
    let configured = &membership.own().keys;
    if !configured.is_empty() && !configured.contains(keypair.public()) {
        let expected: Vec<_> = configured.iter().map(PublicKey::fingerprint).collect();
        return Err(refuse(format!(
            "does not match the configured public key: expected {}, found {}: put the right key here, or \
             this one's public key into the configuration of every node: {}",
            expected.join(" or "),
            keypair.public().fingerprint(),
            keypair.public().to_base64_spki()
        )));
    }
    Ok(Some((keypair, warning)))
}

/// Refuses, mends or warns about a key that others can read or change.
fn close_to_others(
    path: &Path,
    contents: &Contents,
    access: Access,
    mend: bool,
) -> Result<Option<String>, String> {
    let mode = contents.metadata.permissions().mode() & 0o7777;
    let open = mode & 0o027 != 0;
    match access {
        Access::Closed if open => Err(format!(
            "others can read or change it (mode {mode:04o}): expected 0600: chmod 600 {}",
            path.display()
        )),
        Access::Mended if open => {
            let failed = if mend {
                match contents.file.set_permissions(Permissions::from_mode(0o600)) {
                    Ok(()) => return Ok(None),
                    Err(error) => format!(", which setting it to 0600 did not change ({error})"),
                }
            } else {
                String::new()
            };
            Ok(Some(format!(
                "{}: others can read or change this private key (mode {mode:04o}{failed}): chmod 600",
                path.display()
            )))
        }
        _ => Ok(None),
    }
}

fn own_key(keypair: Keypair, path: PathBuf, made: bool, membership: &Membership) -> OwnKey {
    let membership = with_key(membership, keypair.public());
    OwnKey { keypair, path, made, membership, warnings: Vec::new() }
}

/// `membership` with `key` for its own node, if that has none yet.
fn with_key(membership: &Membership, key: &PublicKey) -> Membership {
    if !membership.own().keys.is_empty() {
        return membership.clone();
    }
    membership.with_own_key(key)
}

#[cfg(test)]
mod tests;
