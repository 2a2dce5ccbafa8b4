//! The login password: set in nodeconf.yml, in a file beside the private keys or in a systemd credential, or
//! generated at the first start and stored in the state directory.
//!
//! The file of a generated password has two lines: the password, for root, and its argon2id hash, with which login
//! attempts are checked. The hash is stored because tokens are bound to it and must stay valid after a restart.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::ConfigErrors;
use super::file::{self, Contents, FileError};
use super::keys::{CREDENTIAL_PREFIX, PRIVATE_KEYS_DIR};
use super::secret_file;
use crate::crypto::password::{self, MAX_PASSWORD, Password};

/// The name of the file or credential with a password in plain text, the same as the key of nodeconf.yml.
const PLAIN_CREDENTIAL: &str = "login_password";
/// The name of the file or credential with the argon2id hash of a password.
const HASH_CREDENTIAL: &str = "login_password_hash";

/// The file in the state directory with a generated password. No network directory beside it can have this name.
const GENERATED_FILE: &str = ".password";

/// The maximum size of a file with a password, in bytes.
const MAX_FILE: u64 = 4 << 10;

/// The source of the login password.
#[derive(Debug, Clone)]
pub enum LoginConfig {
    /// The password in nodeconf.yml.
    Configured(Password),
    /// The password in this file or credential.
    Credential(Password, PathBuf),
    /// The generated password; `None` until it is generated or loaded.
    Generated(Option<Password>),
    /// No login: `login: false`.
    Off,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self::Generated(None)
    }
}

impl LoginConfig {
    /// Returns the password that login attempts are checked with.
    pub fn password(&self) -> Option<&Password> {
        match self {
            Self::Configured(password) | Self::Credential(password, _) => Some(password),
            Self::Generated(password) => password.as_ref(),
            Self::Off => None,
        }
    }
}

/// A generated password.
pub struct GeneratedPassword {
    /// The plain text, which only root may see.
    pub plain: Zeroizing<String>,
    /// The password that login attempts are checked with.
    pub password: Password,
}

/// Returns the path of the generated password.
pub fn generated_path(state_dir: &Path) -> PathBuf {
    state_dir.join(GENERATED_FILE)
}

/// Returns the path of a password beside the private keys.
pub fn config_path(config_dir: &Path) -> PathBuf {
    config_dir.join(PRIVATE_KEYS_DIR).join(PLAIN_CREDENTIAL)
}

/// Loads the password that nodeconf.yml does not contain: from a systemd credential, from a file beside the private
/// keys, which systemd loads as a credential as well, or the generated one. Changes nothing.
pub fn load(
    login: LoginConfig,
    config_dir: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
) -> Result<LoginConfig, ConfigErrors> {
    if !matches!(login, LoginConfig::Generated(_)) {
        return Ok(login);
    }
    for (name, parse) in [(PLAIN_CREDENTIAL, plain as Parse), (HASH_CREDENTIAL, hash as Parse)] {
        if let Some(path) = credentials_dir.map(|dir| dir.join(name)) {
            if let Some(password) = read_credential(&path, parse, Access::Credential)? {
                return Ok(LoginConfig::Credential(password, path));
            }
        }
        let path = config_dir.join(PRIVATE_KEYS_DIR).join(name);
        let loaded = credentials_dir.map(|dir| dir.join(format!("{CREDENTIAL_PREFIX}{name}")));
        // If the service may not read the file, systemd loads it. The result has the path of the file that the
        // administrator can change, not that of systemd's copy.
        let found = match loaded {
            Some(loaded) if file::is_unreadable(&path) => {
                read_credential(&loaded, parse, Access::Credential)?
            }
            _ => read_credential(&path, parse, Access::OwnerOnly)?,
        };
        if let Some(password) = found {
            return Ok(LoginConfig::Credential(password, path));
        }
    }
    Ok(LoginConfig::Generated(load_generated(state_dir)?.map(|generated| generated.password)))
}

/// Loads the generated password, if there is one.
pub fn load_generated(state_dir: &Path) -> Result<Option<GeneratedPassword>, ConfigErrors> {
    let path = generated_path(state_dir);
    let Some(contents) = read_file(&path, Access::OwnerOnly)? else { return Ok(None) };
    let text = std::str::from_utf8(&contents.bytes).unwrap_or_default();
    match parse_generated(text) {
        Some(generated) => Ok(Some(generated)),
        None => Err(rejected(
            &path,
            "expected a password and its argon2id hash: remove the file to have the next start generate a password",
        )),
    }
}

/// Loads the generated password. If there is no file, generates one first.
pub fn load_or_generate(state_dir: &Path) -> io::Result<Password> {
    let (generated, text) = generate()?;
    match secret_file::create(&generated_path(state_dir), text.as_bytes()) {
        Ok(()) => Ok(generated.password),
        // There is a file from an earlier start or another process: use that one.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match load_generated(state_dir) {
            Ok(Some(generated)) => Ok(generated.password),
            Ok(None) => Err(io::ErrorKind::NotFound.into()),
            Err(errors) => Err(io::Error::other(errors)),
        },
        Err(error) => Err(error),
    }
}

/// Replaces the generated password. A running service uses the old one until it reloads its configuration.
pub fn regenerate(state_dir: &Path) -> io::Result<GeneratedPassword> {
    let (generated, text) = generate()?;
    secret_file::replace(&generated_path(state_dir), text.as_bytes())?;
    Ok(generated)
}

/// Returns a new password and the text of its file.
fn generate() -> io::Result<(GeneratedPassword, Zeroizing<String>)> {
    let plain = password::generate().map_err(io::Error::other)?;
    let hash = password::hash(&plain).map_err(io::Error::other)?;
    let text = Zeroizing::new(format!("{}\n{hash}\n", *plain));
    let password = Password::from_hash(&hash).map_err(io::Error::other)?;
    Ok((GeneratedPassword { plain, password }, text))
}

/// Parses the text of a file with a generated password.
fn parse_generated(text: &str) -> Option<GeneratedPassword> {
    let (plain, hash) = text.strip_suffix('\n')?.split_once('\n')?;
    let password = Password::from_hash(hash).ok().filter(|_| is_password(plain))?;
    Some(GeneratedPassword { plain: Zeroizing::new(plain.to_owned()), password })
}

fn is_password(line: &str) -> bool {
    (1..=MAX_PASSWORD).contains(&line.len()) && !line.contains(char::is_control)
}

/// A parser for the line of a credential, whose error says what was expected.
type Parse = fn(&str) -> Result<Password, String>;

fn plain(line: &str) -> Result<Password, String> {
    if is_password(line) {
        return Ok(Password::from_plain(line));
    }
    Err(format!("expected a password of 1 to {MAX_PASSWORD} bytes on one line"))
}

fn hash(line: &str) -> Result<Password, String> {
    Password::from_hash(line).map_err(|error| error.to_string())
}

/// The rule for the permissions of a file with a password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Not checked: systemd sets the permissions.
    Credential,
    /// Rejected if others than the owner can read or change it.
    OwnerOnly,
}

/// Reads the password in the file `path`, if that exists.
fn read_credential(path: &Path, parse: Parse, access: Access) -> Result<Option<Password>, ConfigErrors> {
    let Some(contents) = read_file(path, access)? else { return Ok(None) };
    let text = std::str::from_utf8(&contents.bytes).unwrap_or_default();
    parse(text.strip_suffix('\n').unwrap_or(text)).map(Some).map_err(|message| rejected(path, message))
}

/// Reads the file `path`, if that exists, and applies `access` to its permissions.
fn read_file(path: &Path, access: Access) -> Result<Option<Contents>, ConfigErrors> {
    let contents = match file::read(path, MAX_FILE) {
        Ok(contents) => contents,
        Err(FileError::Missing) => return Ok(None),
        Err(error) => return Err(rejected(path, &error).with_io_kind(error.io_kind())),
    };
    let mode = contents.metadata.permissions().mode() & 0o7777;
    if access == Access::OwnerOnly && mode & 0o077 != 0 {
        let message = format!("others can read or change it (mode {mode:04o}): chmod 600 {}", path.display());
        return Err(rejected(path, message));
    }
    Ok(Some(contents))
}

fn rejected(path: &Path, message: impl std::fmt::Display) -> ConfigErrors {
    ConfigErrors::in_file(path, format!("login password: {message}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn state() -> tempfile::TempDir {
        tempfile::tempdir().expect("temporary directory")
    }

    #[test]
    fn generated_once_and_replaced() {
        let dir = state();
        let state = dir.path().join("state");
        assert!(load_generated(&state).expect("nothing yet").is_none());
        let generated = load_or_generate(&state).expect("written");
        let stored = load_generated(&state).expect("readable").expect("a password");
        assert!(generated.is_costly() && generated.verify(&stored.plain));
        assert_eq!(generated.stored(), stored.password.stored(), "tokens are bound to the hash");
        assert_eq!(
            fs::metadata(generated_path(&state)).expect("a file").permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(
            load_or_generate(&state).expect("exists").stored(),
            generated.stored(),
            "generated only once"
        );

        let new = regenerate(&state).expect("written");
        assert!(new.plain != stored.plain && !new.password.verify(&stored.plain));
        assert_eq!(*load_generated(&state).expect("readable").expect("a password").plain, *new.plain);
        assert_eq!(fs::read_dir(&state).expect("a directory").count(), 1, "no temporary file remains");
        assert!(regenerate(&dir.path().join("elsewhere")).is_err(), "creates no directory");
    }

    #[test]
    fn files_of_root_get_the_owner_of_the_directory() {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let dir = state();
        // Only root can change the owner of the directory; other users cannot run this test.
        if chown(dir.path(), Some(65_534), Some(65_534)).is_ok() {
            regenerate(dir.path()).expect("written");
            let file = fs::metadata(generated_path(dir.path())).expect("a file");
            assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (65_534, 65_534, 0o600));
        }
    }

    #[test]
    fn invalid_files() {
        let dir = state();
        let check = |text: &str, mode: u32, expected: &str| {
            fs::write(generated_path(dir.path()), text).expect("write");
            fs::set_permissions(generated_path(dir.path()), fs::Permissions::from_mode(mode)).expect("chmod");
            let error = load_generated(dir.path()).map(|_| ()).expect_err("rejected").to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{text:?}: {error}");
        };
        let hash = password::hash("hunter2").expect("hash");
        check(&format!("hunter2\n{hash}\n"), 0o640, "mode 0640");
        for text in
            ["", "hunter2\n", "hunter2\nhunter2\n", &format!("\n{hash}\n"), &format!("hunter2\n{hash}")]
        {
            check(text, 0o600, "expected a password and its argon2id hash");
        }
    }

    #[test]
    fn search_order() {
        let (dir, credentials) = (state(), state());
        let config = state();
        let found = |login: LoginConfig| {
            load(login, config.path(), Some(credentials.path()), dir.path()).expect("no errors")
        };
        assert!(matches!(found(LoginConfig::Off), LoginConfig::Off));
        assert!(matches!(found(LoginConfig::default()), LoginConfig::Generated(None)));
        load_or_generate(dir.path()).expect("written");
        assert!(matches!(found(LoginConfig::default()), LoginConfig::Generated(Some(_))));
        let beside_keys = config_path(config.path());
        secret_file::create(&beside_keys, b"k\n").expect("written");
        assert!(found(LoginConfig::default()).password().expect("a password").verify("k"));
        fs::set_permissions(&beside_keys, fs::Permissions::from_mode(0o644)).expect("chmod");
        for credentials in [None, Some(credentials.path())] {
            let open = load(LoginConfig::default(), config.path(), credentials, dir.path()).map(|_| ());
            let open = open.expect_err("open to all");
            assert!(open.to_string().contains("mode 0644"), "{open}");
        }
        // A readable file takes precedence over systemd's older copy.
        fs::set_permissions(&beside_keys, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::write(credentials.path().join("private_keys_login_password"), "l\n").expect("write");
        assert!(found(LoginConfig::default()).password().expect("a password").verify("k"));
        fs::remove_file(credentials.path().join("private_keys_login_password")).expect("removed");
        fs::remove_file(&beside_keys).expect("removed");
        fs::write(credentials.path().join(HASH_CREDENTIAL), password::hash("b").expect("hash"))
            .expect("write");
        assert!(found(LoginConfig::default()).password().expect("a password").verify("b"));
        fs::write(credentials.path().join(PLAIN_CREDENTIAL), "a\n").expect("write");
        assert!(found(LoginConfig::default()).password().expect("a password").verify("a"));
        let configured = LoginConfig::Configured(Password::from_plain("c"));
        assert!(found(configured).password().expect("a password").verify("c"));
        fs::write(credentials.path().join(PLAIN_CREDENTIAL), "a\nb\n").expect("write");
        assert!(load(LoginConfig::default(), config.path(), Some(credentials.path()), dir.path()).is_err());
    }
}
