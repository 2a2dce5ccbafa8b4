//! The private keys of this host's nodes: where they are searched for, when one is generated, and which are rejected.
//!
//! The search order is:
//! 1. the systemd credential `<network_id>.key`
//! 2. `<state>/<network_id>/<node_id>/key.pem`
//! 3. `<config>/.private_keys/<node_id>_<network_id>.key`. The files in this directory belong to root, so systemd loads
//!    them for the service, which reads the credential `private_keys_<node_id>_<network_id>.key` instead.
//!
//! The first file that exists is used; if it is unusable, that is an error and the search ends.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::error::ConfigErrors;
use super::file::{self, Contents, FileError};
use super::secret_file;
use crate::crypto::{Keypair, PublicKey};
use crate::mesh::id::{NetworkId, NodeId};
use crate::mesh::membership::Membership;

/// The maximum size of a file with a private key, in bytes.
const MAX_KEY_FILE: u64 = 16 << 10;

/// The prefix of the credentials that systemd loads from `.private_keys`, set in the unit.
pub(super) const CREDENTIAL_PREFIX: &str = "private_keys_";
/// The directory with the secrets of a configuration.
pub(super) const PRIVATE_KEYS_DIR: &str = ".private_keys";

/// The private key of this host's node in one network.
#[derive(Debug, Clone)]
pub struct OwnKey {
    /// The key pair.
    pub keypair: Keypair,
    /// Its file, as the administrator knows it: not the copy that systemd loaded.
    pub path: PathBuf,
    /// Whether this call generated it, so that the other nodes need its public key.
    pub generated: bool,
    /// The membership, with this public key for the own node if it had no key.
    pub membership: Membership,
    /// Warnings for the administrator, one line each.
    pub warnings: Vec<String>,
}

/// Loads the key of the own node of `membership`. Generates one if there is no file and the configuration has no
/// public key for the node. Restricts a key of v0.1 that others can read to its owner.
pub fn load_or_create(
    config_dir: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
    membership: &Membership,
) -> Result<OwnKey, ConfigErrors> {
    let paths = KeyPaths::new(config_dir, credentials_dir, state_dir, membership);
    if let Some(key) = paths.search(membership, OpenKeys::Restrict)? {
        return Ok(key);
    }
    let keypair = Keypair::generate()
        .map_err(|error| ConfigErrors::in_file(&paths.state, format!("generating a key: {error}")))?;
    match write(&paths.state, &keypair) {
        Ok(()) => Ok(OwnKey::new(keypair, paths.state, true, membership)),
        // Another process generated a key first: use that one.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let key = paths.search(membership, OpenKeys::Restrict)?;
            key.ok_or_else(|| ConfigErrors::in_file(&paths.state, "was removed while it was read"))
        }
        Err(error) => {
            let message = format!(
                "writing a new key of {} in {}: {error}: expected a state directory that this user can write",
                membership.own().id,
                membership.network_id()
            );
            Err(ConfigErrors::in_file(&paths.state, message).with_io_kind(Some(error.kind())))
        }
    }
}

/// Loads the key of the own node of `membership` and changes nothing. Returns `None` if [`load_or_create`] would
/// generate one.
pub fn load(
    config_dir: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
    membership: &Membership,
) -> Result<Option<OwnKey>, ConfigErrors> {
    KeyPaths::new(config_dir, credentials_dir, state_dir, membership).search(membership, OpenKeys::Warn)
}

/// Returns the first existing path in the search order of the own key of `membership`, without a check of the file.
pub fn existing_path(
    config_dir: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
    membership: &Membership,
) -> Option<PathBuf> {
    let paths = KeyPaths::new(config_dir, credentials_dir, state_dir, membership);
    let mut paths = paths.in_search_order().into_iter().map(|(path, _)| path);
    paths.find(|path| path.symlink_metadata().is_ok()).map(Path::to_owned)
}

/// Returns the path of a generated key: `<state>/<network_id>/<node_id>/key.pem`.
pub fn state_path(state_dir: &Path, network_id: &NetworkId, node_id: &NodeId) -> PathBuf {
    state_dir.join(network_id.as_str()).join(node_id.as_str()).join("key.pem")
}

/// Returns the path of a key in the configuration, as in v0.1:
/// `<config>/.private_keys/<node_id>_<network_id>.key`.
pub fn config_path(config_dir: &Path, network_id: &NetworkId, node_id: &NodeId) -> PathBuf {
    config_dir.join(PRIVATE_KEYS_DIR).join(format!("{node_id}_{network_id}.key"))
}

/// Writes `keypair` to the new file `path`, mode 0600, and creates missing directories, mode 0700. The file is
/// complete and on disk when this returns. If it exists, leaves it unchanged and returns `AlreadyExists`.
pub fn write(path: &Path, keypair: &Keypair) -> io::Result<()> {
    secret_file::create(path, keypair.to_pem().as_bytes())
}

/// The paths where one key is searched for.
struct KeyPaths {
    credential: Option<PathBuf>,
    state: PathBuf,
    /// The copy of `config` that systemd loads when the service starts.
    loaded: Option<PathBuf>,
    config: PathBuf,
}

/// What to do about a key of v0.1 that others can read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenKeys {
    /// Change its mode to 0600.
    Restrict,
    /// Return a warning.
    Warn,
}

impl KeyPaths {
    fn new(
        config_dir: &Path,
        credentials_dir: Option<&Path>,
        state_dir: &Path,
        membership: &Membership,
    ) -> Self {
        let (network_id, node_id) = (membership.network_id(), &membership.own().id);
        let loaded = format!("{CREDENTIAL_PREFIX}{node_id}_{network_id}.key");
        Self {
            credential: credentials_dir.map(|dir| dir.join(format!("{network_id}.key"))),
            state: state_path(state_dir, network_id, node_id),
            loaded: credentials_dir.map(|dir| dir.join(loaded)),
            config: config_path(config_dir, network_id, node_id),
        }
    }

    /// Returns the paths with the access rules of each.
    fn in_search_order(&self) -> Vec<(&Path, Access)> {
        let paths = [
            (self.credential.as_deref(), Access::Credential),
            (Some(&*self.state), Access::OwnerOnly),
            (Some(&*self.config), Access::LegacyOpen),
            (self.loaded.as_deref(), Access::Credential),
        ];
        paths.into_iter().filter_map(|(path, access)| Some((path?, access))).collect()
    }

    /// Returns whether to use the copy of systemd instead of the file in the configuration: this user may not read the
    /// file, or may not search its directory, in which case the file may not exist.
    fn is_loaded_by_systemd(&self) -> bool {
        let is_hidden = |path: &Path| {
            path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        self.loaded.as_deref().is_some_and(|loaded| {
            is_hidden(&self.config) || (loaded.exists() && file::is_unreadable(&self.config))
        })
    }

    /// Returns the first key that exists, or `None` if no file exists and the configuration has no public key.
    fn search(&self, membership: &Membership, open_keys: OpenKeys) -> Result<Option<OwnKey>, ConfigErrors> {
        for (path, access) in self.in_search_order() {
            if path == self.config && self.is_loaded_by_systemd() {
                continue;
            }
            if let Some((keypair, warning)) = read(path, access, open_keys, membership)? {
                // Messages name the file that the administrator can change, not the copy that systemd loaded.
                let path = if Some(path) == self.loaded.as_deref() { &self.config } else { path };
                let mut key = OwnKey::new(keypair, path.to_owned(), false, membership);
                key.warnings.extend(warning);
                return Ok(Some(key));
            }
        }
        match membership.own().keys.first() {
            None => Ok(None),
            Some(public_key) => Err(self.not_found(membership, public_key)),
        }
    }

    fn not_found(&self, membership: &Membership, public_key: &PublicKey) -> ConfigErrors {
        let mut others: Vec<_> = self.credential.iter().map(|path| path.display().to_string()).collect();
        others.push(self.config.display().to_string());
        let restart = if self.loaded.is_some() {
            "; if it was put into .private_keys after the service started, restart the service"
        } else {
            ""
        };
        let message = format!(
            "no private key of {} in {} for its configured public key {}: expected here, or in {}; restore the key \
             (is the state directory mounted?), or remove the public key from the configuration to generate a new \
             key{restart}",
            membership.own().id,
            membership.network_id(),
            public_key.fingerprint(),
            others.join(" or "),
        );
        ConfigErrors::in_file(&self.state, message)
    }
}

impl OwnKey {
    fn new(keypair: Keypair, path: PathBuf, generated: bool, membership: &Membership) -> Self {
        let membership = if membership.own().keys.is_empty() {
            membership.with_own_key(keypair.public())
        } else {
            membership.clone()
        };
        Self { keypair, path, generated, membership, warnings: Vec::new() }
    }
}

/// The rule for the permissions of a key file.
#[derive(Clone, Copy)]
enum Access {
    /// Not checked: systemd sets the permissions.
    Credential,
    /// Rejected if others can read or change it, or the group can change it.
    OwnerOnly,
    /// Checked like [`Self::OwnerOnly`], but handled by [`OpenKeys`] instead of rejected: all users could read the
    /// keys of v0.1.
    LegacyOpen,
}

/// Reads the key in the file `path` and returns it, with a warning about its permissions. `None` if there is no
/// such file.
fn read(
    path: &Path,
    access: Access,
    open_keys: OpenKeys,
    membership: &Membership,
) -> Result<Option<(Keypair, Option<String>)>, ConfigErrors> {
    let (id, network_id) = (&membership.own().id, membership.network_id());
    let reject = |message: String| {
        ConfigErrors::in_file(path, format!("private key of {id} in {network_id}: {message}"))
    };
    let contents = match file::read(path, MAX_KEY_FILE) {
        Ok(contents) => contents,
        Err(FileError::Missing) => return Ok(None),
        Err(error) => {
            let mut message = error.to_string();
            if matches!(access, Access::LegacyOpen)
                && error.io_kind() == Some(io::ErrorKind::PermissionDenied)
            {
                message += ": expected a file that this user can read; systemd loads it when the service starts: restart the service";
            }
            return Err(reject(message).with_io_kind(error.io_kind()));
        }
    };
    let warning = check_permissions(path, &contents, access, open_keys).map_err(reject)?;
    let text = std::str::from_utf8(&contents.bytes).unwrap_or_default();
    let keypair = Keypair::from_pem(text).map_err(|error| {
        let found = if contents.bytes.is_empty() { "an empty file" } else { "something else" };
        reject(format!("{error}, found {found}"))
    })?;
    let configured = &membership.own().keys;
    if !configured.is_empty() && !configured.contains(keypair.public()) {
        let expected: Vec<_> = configured.iter().map(PublicKey::fingerprint).collect();
        return Err(reject(format!(
            "does not match the configured public key: expected {}, found {}: replace this private key, or set \
             public_key in the configuration of every node to {}",
            expected.join(" or "),
            keypair.public().fingerprint(),
            keypair.public().to_base64_spki()
        )));
    }
    Ok(Some((keypair, warning)))
}

/// Applies `access` to the permissions of a key file. Returns a warning, or the reason to reject the key.
fn check_permissions(
    path: &Path,
    contents: &Contents,
    access: Access,
    open_keys: OpenKeys,
) -> Result<Option<String>, String> {
    let mode = contents.metadata.permissions().mode() & 0o7777;
    if mode & 0o027 == 0 {
        return Ok(None);
    }
    match access {
        Access::Credential => Ok(None),
        Access::OwnerOnly => Err(format!(
            "others can read or change it (mode {mode:04o}): expected 0600: chmod 600 {}",
            path.display()
        )),
        Access::LegacyOpen => {
            let mut failed = String::new();
            if open_keys == OpenKeys::Restrict {
                match contents.file.set_permissions(Permissions::from_mode(0o600)) {
                    Ok(()) => return Ok(None),
                    Err(error) => failed = format!("; setting it to 0600 failed: {error}"),
                }
            }
            Ok(Some(format!(
                "{}: others can read or change this private key (mode {mode:04o}{failed}): chmod 600",
                path.display()
            )))
        }
    }
}

#[cfg(test)]
mod tests;
