//! The sessions that a logout has ended before their tokens expire.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};

use crate::crypto::token::{LEEWAY_S, MAX_LIFETIME_S};
use crate::durable_file;

/// The file in the state directory. No network directory beside it can have this name.
const FILE: &str = ".revoked_sessions";

/// The maximum number of sessions.
const MAX_SESSIONS: usize = 1024;

/// The maximum size of the file, in bytes: [`MAX_SESSIONS`] entries of about 40 bytes, with room to spare.
const MAX_BYTES: u64 = 128 << 10;

/// The maximum length of a session id, in bytes; this program's have 22.
const MAX_ID: usize = 32;

/// The time after a logout during which a token of the session may still be valid, in seconds. No token is issued after
/// the logout, but this node's clock may be set back.
const KEEP_S: u64 = MAX_LIFETIME_S + 2 * LEEWAY_S;

/// Revoked sessions by id, each until all its tokens have expired: Unix time in seconds.
type Sessions = BTreeMap<String, u64>;

/// The revoked sessions of an instance, in memory and in a file.
#[derive(Default)]
pub(super) struct RevokedSessions {
    sessions: RwLock<Sessions>,
    /// The path of the file; none to keep the sessions in memory only. Locked while the file is written.
    path: Mutex<Option<PathBuf>>,
}

impl RevokedSessions {
    /// Restores the sessions that an earlier process revoked. A damaged file is logged and ignored.
    pub(super) fn restore(state_dir: &Path, now_s: u64) -> Self {
        let path = state_dir.join(FILE);
        let mut sessions = read(&path).unwrap_or_else(|error| {
            log::warn!(
                "{}: {error}; ignoring it: a token whose session was ended by a logout is valid until it expires",
                path.display()
            );
            Sessions::new()
        });
        limit(&mut sessions, now_s);
        Self { sessions: RwLock::new(sessions), path: Mutex::new(Some(path)) }
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.sessions.read().contains_key(id)
    }

    /// Revokes the session immediately, then saves that. An error means that it was not saved.
    pub(super) fn revoke(&self, id: &str, now_s: u64) -> io::Result<()> {
        {
            let mut sessions = self.sessions.write();
            sessions.insert(id.to_owned(), now_s.saturating_add(KEEP_S));
            limit(&mut sessions, now_s);
        }
        let path = self.path.lock();
        let Some(path) = path.as_deref() else { return Ok(()) };
        // Instances may share a state directory, so the file may hold sessions of others.
        let mut saved = read(path).unwrap_or_default();
        saved.extend(self.sessions.read().clone());
        limit(&mut saved, now_s);
        durable_file::replace(path, &serde_json::to_vec(&saved).map_err(io::Error::other)?)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.sessions.read().len()
    }
}

/// Removes the sessions whose tokens have expired, and of more than [`MAX_SESSIONS`] those that expire first.
fn limit(sessions: &mut Sessions, now_s: u64) {
    sessions.retain(|_, until_s| *until_s > now_s);
    let excess = sessions.len().saturating_sub(MAX_SESSIONS);
    if excess > 0 {
        let mut by_expiry: Vec<_> = sessions.iter().map(|(id, until_s)| (*until_s, id.clone())).collect();
        by_expiry.sort_unstable();
        for (_, id) in by_expiry.into_iter().take(excess) {
            sessions.remove(&id);
        }
    }
}

/// Reads the file; no sessions if it does not exist.
fn read(path: &Path) -> io::Result<Sessions> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    let bytes = match durable_file::read(path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sessions::new()),
        Err(error) => return Err(error),
    };
    let sessions: Sessions = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    if sessions.keys().any(|id| id.len() > MAX_ID) {
        return Err(invalid(format!("a session id of more than {MAX_ID} bytes")));
    }
    Ok(sessions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_S: u64 = 1_763_884_800;

    #[test]
    fn revoked_session_survives_a_restart_until_its_tokens_have_expired() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let revoked = RevokedSessions::restore(dir.path(), NOW_S);
        revoked.revoke("a", NOW_S).expect("written");
        revoked.revoke("b", NOW_S + 100).expect("written");
        assert!(revoked.contains("a") && revoked.contains("b") && !revoked.contains("c"));
        let valid_s = MAX_LIFETIME_S + LEEWAY_S;
        for (later_s, expected) in [
            (valid_s, [true, true]),
            (KEEP_S - 1, [true, true]),
            (KEEP_S, [false, true]),
            (KEEP_S + 100, [false, false]),
        ] {
            let restored = RevokedSessions::restore(dir.path(), NOW_S + later_s);
            assert_eq!(["a", "b"].map(|id| restored.contains(id)), expected, "{later_s}");
        }
    }

    #[test]
    fn number_of_sessions_is_limited() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let revoked = RevokedSessions::default();
        // Later ids expire later, but are not larger.
        let id = |number: usize| format!("{:04}", 9_999 - number);
        for number in 0..MAX_SESSIONS + 3 {
            revoked.revoke(&id(number), NOW_S + number as u64 / 2).expect("in memory");
        }
        assert_eq!(revoked.len(), MAX_SESSIONS);
        assert!(!revoked.contains(&id(0)) && !revoked.contains(&id(1)) && revoked.contains(&id(4)));
        *revoked.path.lock() = Some(dir.path().join(FILE));
        revoked.revoke("last", NOW_S + 600).expect("written");
        let restored = RevokedSessions::restore(dir.path(), NOW_S);
        assert_eq!(restored.len(), MAX_SESSIONS);
        assert!(restored.contains("last"));
    }

    #[test]
    fn sessions_of_another_instance_with_the_same_directory_stay() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let [one, other] = [(); 2].map(|()| RevokedSessions::restore(dir.path(), NOW_S));
        one.revoke("a", NOW_S).expect("written");
        other.revoke("b", NOW_S).expect("written");
        let restored = RevokedSessions::restore(dir.path(), NOW_S);
        assert!(restored.contains("a") && restored.contains("b"));
    }

    #[test]
    fn damaged_file_is_ignored_and_replaced() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join(FILE);
        let (long, large) = (format!("{{\"{}\":9}}", "a".repeat(MAX_ID + 1)), " ".repeat(200_000));
        for damaged in [b"".as_slice(), b"[", b"\xff", b"{\"a\":-1}", long.as_bytes(), large.as_bytes()] {
            std::fs::write(&path, damaged).expect("written");
            let revoked = RevokedSessions::restore(dir.path(), NOW_S);
            assert_eq!(revoked.len(), 0);
            revoked.revoke("a", NOW_S).expect("written");
            assert!(RevokedSessions::restore(dir.path(), NOW_S).contains("a"));
        }
    }

    #[test]
    fn session_is_revoked_even_if_that_cannot_be_saved() {
        let revoked = RevokedSessions::restore(Path::new("/nonexistent"), NOW_S);
        assert!(revoked.revoke("a", NOW_S).is_err());
        assert!(revoked.contains("a"));
    }
}
