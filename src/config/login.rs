//! How one logs in: with the password of nodeconf.yml, with one that lies beside the private keys or that systemd
//! hands over, or with one that the instance made for itself at its first start and keeps in its state directory.
//!
//! The kept file has two lines: the password, which root may have shown ([`read`]), and its argon2id hash, the
//! only thing that attempts are checked with. The hash is kept too so that it stays the same over restarts:
//! tokens are tied to it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::file::{self, Contents, FileError};
use super::keys::{LOADED, PRIVATE};
use super::{ConfigErrors, secret_file};
use crate::crypto::password::{self, MAX_PASSWORD, Password};

/// The credential with a password in plain text, as the key of nodeconf.yml.
const PLAIN_CREDENTIAL: &str = "login_password";
/// The credential with its argon2id hash.
const HASH_CREDENTIAL: &str = "login_password_hash";

/// The file in the state directory. No network can have this name, whose directories lie beside it.
const FILE: &str = ".password";

/// The largest file with a password, in bytes.
const MAX_FILE: u64 = 4 << 10;

/// How one logs in to an instance.
#[derive(Debug, Clone)]
pub enum Login {
    /// With what nodeconf.yml says.
    Configured(Password),
    /// With what this credential says.
    Credential(Password, PathBuf),
    /// With the password that the instance made for itself. None: it has made none yet, or nobody has looked.
    Own(Option<Password>),
    /// Not at all: `login: false`.
    Off,
}

impl Default for Login {
    fn default() -> Self {
        Self::Own(None)
    }
}

impl Login {
    /// What attempts are checked with.
    pub fn password(&self) -> Option<&Password> {
        match self {
            Self::Configured(password) | Self::Credential(password, _) => Some(password),
            Self::Own(password) => password.as_ref(),
            Self::Off => None,
        }
    }
}

/// A password that an instance made for itself.
pub struct Kept {
    /// To be shown to root, and to nobody else.
    pub plain: Zeroizing<String>,
    /// What attempts are checked with.
    pub password: Password,
}

/// Where an instance keeps the password that it made.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// `login` with the password that lies elsewhere than in nodeconf.yml, if it says nothing of one: in a systemd
/// credential, or beside the private keys, which systemd hands over as credentials as well. Changes nothing.
pub fn look(
    login: Login,
    config_dir: &Path,
    credentials_dir: Option<&Path>,
    state_dir: &Path,
) -> Result<Login, ConfigErrors> {
    if !matches!(login, Login::Own(_)) {
        return Ok(login);
    }
    for (name, parse) in [(PLAIN_CREDENTIAL, plain as Parse), (HASH_CREDENTIAL, hash as Parse)] {
        if let Some(path) = credentials_dir.map(|dir| dir.join(name)) {
            if let Some(password) = credential(&path, parse, true)? {
                return Ok(Login::Credential(password, path));
            }
        }
        let path = config_dir.join(PRIVATE).join(name);
        let loaded = credentials_dir.map(|dir| dir.join(format!("{LOADED}{name}")));
        // The service itself may not look here: what systemd handed over is all there is. Whoever is told of it is
        // to find what they can change.
        let found = match loaded {
            Some(loaded) if file::is_closed(&path) => credential(&loaded, parse, true)?,
            _ => credential(&path, parse, false)?,
        };
        if let Some(password) = found {
            return Ok(Login::Credential(password, path));
        }
    }
    Ok(Login::Own(read(state_dir)?.map(|kept| kept.password)))
}

/// Where a password lies beside the private keys.
pub fn config_path(config_dir: &Path) -> PathBuf {
    config_dir.join(PRIVATE).join(PLAIN_CREDENTIAL)
}

/// The password that the instance made, if it did.
pub fn read(state_dir: &Path) -> Result<Option<Kept>, ConfigErrors> {
    let path = path(state_dir);
    let refuse = |message: String| ConfigErrors::whole_file(&path, format!("login password: {message}"));
    let contents = match file::read(&path, MAX_FILE) {
        Ok(contents) => contents,
        Err(FileError::Missing) => return Ok(None),
        Err(error) => return Err(refuse(error.to_string())),
    };
    check_closed(&path, &contents).map_err(refuse)?;
    let text = std::str::from_utf8(&contents.bytes).unwrap_or_default();
    let kept = kept(text).ok_or_else(|| {
        refuse(
            "expected a password and its argon2id hash: remove the file, and the next start makes one".into(),
        )
    })?;
    Ok(Some(kept))
}

/// Makes a password where there is none yet, and gives the one that is there then.
pub fn make(state_dir: &Path) -> io::Result<Password> {
    let (kept, text) = generate()?;
    match secret_file::create(&path(state_dir), text.as_bytes()) {
        Ok(()) => Ok(kept.password),
        // Another process was faster, and its password is the password.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match read(state_dir) {
            Ok(Some(kept)) => Ok(kept.password),
            Ok(None) => Err(io::ErrorKind::NotFound.into()),
            Err(errors) => Err(io::Error::other(errors.to_string())),
        },
        Err(error) => Err(error),
    }
}

/// Makes a new password in the place of the one that is there. A running service goes on with the old one until
/// it reads its configuration again.
pub fn replace(state_dir: &Path) -> io::Result<Kept> {
    let (kept, text) = generate()?;
    secret_file::replace(&path(state_dir), text.as_bytes())?;
    Ok(kept)
}

/// A new password, and the text of its file.
fn generate() -> io::Result<(Kept, Zeroizing<String>)> {
    let plain = password::generate().map_err(io::Error::other)?;
    let hash = password::hash(&plain).map_err(io::Error::other)?;
    let text = Zeroizing::new(format!("{}\n{hash}\n", *plain));
    let password = Password::from_hash(&hash).map_err(io::Error::other)?;
    Ok((Kept { plain, password }, text))
}

/// What a kept file says.
fn kept(text: &str) -> Option<Kept> {
    let (plain, hash) = text.strip_suffix('\n')?.split_once('\n')?;
    let is_plain = (1..=MAX_PASSWORD).contains(&plain.len()) && !plain.contains(char::is_control);
    let password = Password::from_hash(hash).ok().filter(|_| is_plain)?;
    Some(Kept { plain: Zeroizing::new(plain.to_owned()), password })
}

/// Understands the one line of a credential. The error says what was expected.
type Parse = fn(&str) -> Result<Password, String>;

fn plain(line: &str) -> Result<Password, String> {
    if (1..=MAX_PASSWORD).contains(&line.len()) && !line.contains(char::is_control) {
        return Ok(Password::from_plain(line));
    }
    Err(format!("expected a password of 1 to {MAX_PASSWORD} bytes on one line"))
}

fn hash(line: &str) -> Result<Password, String> {
    Password::from_hash(line).map_err(|error| error.to_string())
}

/// The password in the file `path`. Who may read it is for systemd to say if it is `given` by that.
fn credential(path: &Path, parse: Parse, given: bool) -> Result<Option<Password>, ConfigErrors> {
    let refuse = |message: String| ConfigErrors::whole_file(path, format!("login password: {message}"));
    let contents = match file::read(path, MAX_FILE) {
        Ok(contents) => contents,
        Err(FileError::Missing) => return Ok(None),
        Err(error) => return Err(refuse(error.to_string())),
    };
    if !given {
        check_closed(path, &contents).map_err(refuse)?;
    }
    let text = std::str::from_utf8(&contents.bytes).unwrap_or_default();
    parse(text.strip_suffix('\n').unwrap_or(text)).map(Some).map_err(refuse)
}

fn check_closed(path: &Path, contents: &Contents) -> Result<(), String> {
    let mode = contents.metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(format!("others can read or change it (mode {mode:04o}): chmod 600 {}", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn state() -> tempfile::TempDir {
        tempfile::tempdir().expect("temporary directory")
    }

    #[test]
    fn made_once_and_replaced() {
        let dir = state();
        let state = dir.path().join("state");
        assert!(read(&state).expect("nothing yet").is_none());
        let made = make(&state).expect("written");
        let kept = read(&state).expect("readable").expect("kept");
        assert!(made.is_costly() && made.verify(&kept.plain));
        assert_eq!(made.stored(), kept.password.stored(), "tokens are tied to it");
        assert_eq!(fs::metadata(path(&state)).expect("a file").permissions().mode() & 0o7777, 0o600);
        assert_eq!(make(&state).expect("is there").stored(), made.stored(), "made only once");

        let new = replace(&state).expect("written");
        assert!(new.plain != kept.plain && !new.password.verify(&kept.plain));
        assert_eq!(*read(&state).expect("readable").expect("kept").plain, *new.plain);
        assert_eq!(fs::read_dir(&state).expect("a directory").count(), 1, "no draft is left");
        assert!(replace(&dir.path().join("elsewhere")).is_err(), "makes no directory");
    }

    #[test]
    fn what_root_writes_is_the_services() {
        use std::os::unix::fs::{MetadataExt as _, chown};
        let dir = state();
        // Only root can make a directory another user's, and only then there is something to see.
        if chown(dir.path(), Some(65_534), Some(65_534)).is_ok() {
            replace(dir.path()).expect("written");
            let file = fs::metadata(path(dir.path())).expect("a file");
            assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (65_534, 65_534, 0o600));
        }
    }

    #[test]
    fn files_that_are_refused() {
        let dir = state();
        let check = |text: &str, mode: u32, expected: &str| {
            fs::write(path(dir.path()), text).expect("write");
            fs::set_permissions(path(dir.path()), fs::Permissions::from_mode(mode)).expect("chmod");
            let error = read(dir.path()).map(|_| ()).expect_err("refused").to_string();
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
    fn where_it_is_looked_for() {
        let (dir, credentials) = (state(), state());
        let config = state();
        let found = |login: Login| {
            look(login, config.path(), Some(credentials.path()), dir.path()).expect("no mistakes")
        };
        assert!(matches!(found(Login::Off), Login::Off));
        assert!(matches!(found(Login::default()), Login::Own(None)));
        make(dir.path()).expect("written");
        assert!(matches!(found(Login::default()), Login::Own(Some(_))));
        let beside_keys = config_path(config.path());
        secret_file::create(&beside_keys, b"k\n").expect("written");
        assert!(found(Login::default()).password().expect("a password").verify("k"));
        fs::set_permissions(&beside_keys, fs::Permissions::from_mode(0o644)).expect("chmod");
        for credentials in [None, Some(credentials.path())] {
            let open = look(Login::default(), config.path(), credentials, dir.path()).map(|_| ());
            let open = open.expect_err("open to all");
            assert!(open.to_string().contains("mode 0644"), "{open}");
        }
        // What systemd's copy says of a file that may be read is old.
        fs::set_permissions(&beside_keys, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::write(credentials.path().join("private_keys_login_password"), "l\n").expect("write");
        assert!(found(Login::default()).password().expect("a password").verify("k"));
        fs::remove_file(credentials.path().join("private_keys_login_password")).expect("removed");
        fs::remove_file(&beside_keys).expect("removed");
        fs::write(credentials.path().join(HASH_CREDENTIAL), password::hash("b").expect("hash"))
            .expect("write");
        assert!(found(Login::default()).password().expect("a password").verify("b"));
        fs::write(credentials.path().join(PLAIN_CREDENTIAL), "a\n").expect("write");
        assert!(found(Login::default()).password().expect("a password").verify("a"));
        let configured = Login::Configured(Password::from_plain("c"));
        assert!(found(configured).password().expect("a password").verify("c"));
        fs::write(credentials.path().join(PLAIN_CREDENTIAL), "a\nb\n").expect("write");
        assert!(look(Login::default(), config.path(), Some(credentials.path()), dir.path()).is_err());
    }
}
