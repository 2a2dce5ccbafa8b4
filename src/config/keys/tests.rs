//! The search for private keys, their generation, and rejected files.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::mesh::membership::Member;

/// A host's directories, and its network `net` with the nodes `me` and `peer`.
struct Host {
    dir: TempDir,
    membership: Membership,
}

impl Host {
    fn new(keys: &[&Keypair]) -> Self {
        let member = |id: &str, keys: &[&Keypair]| Member {
            id: id.parse().expect("a name"),
            url: None,
            poll_rate_ms: 1000,
            retry: 2,
            timeout_ms: 1000,
            keys: keys.iter().map(|key| key.public().clone()).collect(),
            site: None,
        };
        let members = vec![member("me", keys), member("peer", &[])];
        let me = "me".parse().expect("a name");
        let membership = Membership::new("net".parse().expect("a name"), members, &me).expect("a membership");
        Self { dir: tempfile::tempdir().expect("temporary directory"), membership }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().expect("in the directory")).expect("mkdir");
        path
    }

    fn put(&self, name: &str, text: &str, mode: u32) {
        let path = self.path(name);
        fs::write(&path, text).expect("write");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).expect("a file").permissions().mode() & 0o777
    }

    fn load_or_create(&self) -> Result<OwnKey, ConfigErrors> {
        let [config, credentials, state] =
            ["config", "credentials", "state"].map(|dir| self.dir.path().join(dir));
        load_or_create(&config, Some(&credentials), &state, &self.membership)
    }

    fn load(&self) -> Result<Option<OwnKey>, ConfigErrors> {
        let [config, credentials, state] =
            ["config", "credentials", "state"].map(|dir| self.dir.path().join(dir));
        load(&config, Some(&credentials), &state, &self.membership)
    }

    /// Both fail with `expected`.
    #[track_caller]
    fn rejects(&self, expected: &str) {
        for error in [self.load_or_create().map(|_| ()), self.load().map(|_| ())] {
            let error = error.expect_err("rejected").to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "expected {expected}\nfound {error}");
        }
    }
}

const CREDENTIAL: &str = "credentials/net.key";
const STATE: &str = "state/net/me/key.pem";
const LOADED_CONFIG: &str = "credentials/private_keys_me_net.key";
const CONFIG: &str = "config/.private_keys/me_net.key";

fn keypair() -> Keypair {
    Keypair::generate().expect("random source")
}

#[test]
fn search_order() {
    let host = Host::new(&[]);
    // The path of a key that systemd loaded is that of the original.
    for (file, path) in [(LOADED_CONFIG, CONFIG), (CONFIG, CONFIG), (STATE, STATE), (CREDENTIAL, CREDENTIAL)]
    {
        let key = keypair();
        host.put(file, &key.to_pem(), 0o600);
        let found = host.load_or_create().expect("the key");
        assert_eq!(
            (found.keypair.public(), &found.path, found.generated),
            (key.public(), &host.path(path), false)
        );
        assert_eq!(found.membership.own().keys, [key.public().clone()]);
        assert!(host.load().expect("the key").is_some_and(|loaded| loaded.path == found.path));
    }
}

#[test]
fn a_key_is_generated_once() {
    let host = Host::new(&[]);
    assert!(host.load().expect("nothing wrong").is_none());
    assert!(!host.dir.path().join("state").exists(), "load creates nothing");
    let new = host.load_or_create().expect("a new key");
    assert!(new.generated);
    assert_eq!(new.path, host.path(STATE));
    assert_eq!(new.membership.own().keys, [new.keypair.public().clone()]);
    assert_eq!((host.mode(STATE), host.mode("state/net/me"), host.mode("state")), (0o600, 0o700, 0o700));
    assert_eq!(
        fs::read_dir(host.path("state/net/me")).expect("list").count(),
        1,
        "no temporary file remains"
    );
    let again = host.load_or_create().expect("the key");
    assert_eq!((again.generated, again.keypair.public()), (false, new.keypair.public()));
}

#[test]
fn concurrent_calls_return_one_key() {
    let host = Host::new(&[]);
    let found: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| host.load_or_create().expect("a key"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert!(found.iter().all(|key| key.keypair.public() == found[0].keypair.public()));
    assert_eq!(found.iter().filter(|key| key.generated).count(), 1);
}

#[test]
fn a_lost_key_is_not_replaced() {
    let host = Host::new(&[&keypair()]);
    host.rejects("no private key of me in net for its configured public key SHA256:");
    assert!(!host.dir.path().join(STATE).exists());
}

#[test]
fn a_key_that_does_not_match_is_rejected() {
    let (old, new) = (keypair(), keypair());
    let host = Host::new(&[&old, &new]);
    host.put(STATE, &new.to_pem(), 0o600);
    let found = host.load_or_create().expect("one of the two");
    assert_eq!(found.membership, host.membership);
    host.put(STATE, &keypair().to_pem(), 0o600);
    host.rejects("does not match the configured public key: expected SHA256:");
}

#[test]
fn permissions_are_checked_by_the_kind_of_path() {
    let check = |file_name: &str, mode: u32, expected: Result<u32, &str>| {
        let host = Host::new(&[]);
        host.put(file_name, &keypair().to_pem(), mode);
        match expected {
            Ok(mode) => {
                let found = host.load_or_create().expect("the key");
                assert_eq!((host.mode(file_name), found.warnings), (mode, Vec::new()), "{file_name}");
            }
            Err(expected) => host.rejects(expected),
        }
    };
    check(STATE, 0o640, Ok(0o640));
    check(STATE, 0o644, Err("others can read or change it (mode 0644): expected 0600: chmod 600 "));
    check(STATE, 0o660, Err("(mode 0660)"));
    check(STATE, 0o602, Err("(mode 0602)"));
    check(CREDENTIAL, 0o644, Ok(0o644));
    check(CONFIG, 0o644, Ok(0o600));
    check(CONFIG, 0o640, Ok(0o640));
    check(LOADED_CONFIG, 0o644, Ok(0o644));
}

#[test]
fn the_original_is_preferred_to_the_copy_of_systemd() {
    let host = Host::new(&[]);
    let (old, new) = (keypair(), keypair());
    host.put(LOADED_CONFIG, &old.to_pem(), 0o400);
    // Without the original, the copy counts, with the path of the original.
    let found = host.load_or_create().expect("the key");
    assert_eq!((found.keypair.public(), found.path), (old.public(), host.path(CONFIG)));
    // The original counts where this user can read it, and its mode is restricted.
    host.put(CONFIG, &new.to_pem(), 0o644);
    let loaded = host.load().expect("the key").expect("the key");
    assert_eq!((loaded.keypair.public(), loaded.warnings.len()), (new.public(), 1));
    assert_eq!(host.load_or_create().expect("the key").keypair.public(), new.public());
    assert_eq!(host.mode(CONFIG), 0o600);
}

#[test]
fn load_warns_about_an_open_key_and_leaves_it() {
    let host = Host::new(&[]);
    host.put(CONFIG, &keypair().to_pem(), 0o644);
    let loaded = host.load().expect("the key").expect("the key");
    assert_eq!(host.mode(CONFIG), 0o644);
    assert!(loaded.warnings[0].contains("others can read or change this private key (mode 0644)"));
}

#[test]
fn invalid_key_files() {
    let check = |file_name: &str, make: &dyn Fn(&Path), expected: &str| {
        let host = Host::new(&[]);
        make(&host.path(file_name));
        // A valid key later in the search order does not hide it.
        if file_name != CONFIG {
            host.put(CONFIG, &keypair().to_pem(), 0o600);
        }
        host.rejects(expected);
    };
    let file = |text: &str| {
        let text = text.to_owned();
        move |path: &Path| {
            fs::write(path, &text).expect("write");
            fs::set_permissions(path, Permissions::from_mode(0o600)).expect("chmod");
        }
    };
    let form = "expected an Ed25519 private key as PEM PKCS#8";
    for file_name in [CREDENTIAL, STATE, CONFIG] {
        check(
            file_name,
            &file(""),
            &format!("{form} (\"-----BEGIN PRIVATE KEY-----\"), found an empty file"),
        );
        check(file_name, &file("garbage\0"), form);
        check(file_name, &file(&keypair().public().to_pem()), form);
        check(file_name, &file(EC_KEY), form);
        check(file_name, &|path| fs::create_dir(path).expect("mkdir"), "expected a file, found a directory");
        check(file_name, &|path| symlink(path, path).expect("symlink"), "symbolic links");
        check(
            file_name,
            &|path| symlink("unmounted", path).expect("symlink"),
            "link to a file that does not exist",
        );
        let large =
            |path: &Path| File::create(path).and_then(|file| file.set_len(100 << 20)).expect("sparse file");
        check(file_name, &large, "is too large: expected at most 16 KiB");
    }
}

#[test]
fn unwritable_state_directory() {
    let host = Host::new(&[]);
    fs::write(host.path("state"), "in the way").expect("write");
    let error = host.load_or_create().map(|_| ()).expect_err("a file is not a directory").to_string();
    assert!(error.contains("Not a directory"), "{error}");
    let config = host.dir.path().join("config");
    let error = load_or_create(&config, None, Path::new("/proc/none"), &host.membership)
        .map(|_| ())
        .expect_err("/proc");
    assert!(error.to_string().contains("expected a state directory that this user can write"), "{error}");
}

/// A private key on the curve P-256, which is not supported.
const EC_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMlwa1Gab7fPUWYEl
wl+hutEzbrwHNPIeFJBxuMHMXqahRANCAASfiHtCBzY6OVzb7V7emqDPgCeA2amf
Sac2zUQBJhHHzu3bAxKvlck7Pmx6HCnxjLbOUfFGK7i+4FLv0Ad2lcd/
-----END PRIVATE KEY-----
";
