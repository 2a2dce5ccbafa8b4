//! Login attempts: how many may fail, from one address and in all, and how many hashes run at once.
//!
//! Nobody sleeps to slow a caller: who may not try is told so at once, and when to come back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rouille::Response;

use super::client_address::ClientPrefix;
use super::problem::problem;

/// Password hashes at the same time, since each takes some 20 MB and a core.
const HASHES: usize = 2;

/// Failures in a row that one address may have, and how long until one of them is forgiven.
const PER_ADDRESS: Bucket = Bucket { size: 10, refill: Duration::from_secs(6) };

/// The same for all addresses together. Addresses that logged in lately and loopback stand apart, so
/// that guessing from everywhere does not keep the owner out.
const IN_ALL: Bucket = Bucket { size: 60, refill: Duration::from_secs(1) };

/// How long an address stands apart after a login.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

/// The most addresses that are remembered, each kind. More than [`IN_ALL`] lets through in the time that
/// [`PER_ADDRESS`] remembers.
const MAX_ADDRESSES: usize = 1024;

/// A number of tokens that come back with time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    size: u32,
    refill: Duration,
}

/// The use of a bucket, as the time at which it is full again: that is all it takes.
#[derive(Debug, Clone, Copy)]
struct Level {
    full_at: Instant,
}

impl Bucket {
    /// How long to wait until one more can be taken.
    fn wait(self, level: Level, now: Instant) -> Option<Duration> {
        let owed = level.full_at.saturating_duration_since(now);
        owed.checked_sub(self.refill * (self.size - 1)).filter(|wait| !wait.is_zero())
    }

    fn take(self, level: &mut Level, now: Instant) {
        level.full_at = level.full_at.max(now) + self.refill;
    }

    fn give_back(self, level: &mut Level) {
        level.full_at = level.full_at.checked_sub(self.refill).unwrap_or(level.full_at);
    }
}

/// Counts login attempts.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    hashes: usize,
    in_all: Option<Level>,
    per_address: HashMap<ClientPrefix, Level>,
    known: HashMap<ClientPrefix, Instant>,
}

/// An attempt may not be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many login attempts, try again in {retry_after_s} s")]
pub struct TooMany {
    /// When to come back, in seconds, at least 1.
    pub retry_after_s: u64,
}

impl TooMany {
    /// The reply: 429 with `Retry-After`.
    pub fn response(&self) -> Response {
        problem(429, "Too Many Requests", &self.to_string())
            .with_additional_header("Retry-After", self.retry_after_s.to_string())
    }
}

impl Attempts {
    /// No attempts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether someone at `from` may try a password now; ask before its hash is computed. The attempt
    /// counts as failed unless [`Attempt::succeeded`] says otherwise, so attempts that run side by side
    /// are counted, too.
    pub fn begin(&self, from: IpAddr, now: Instant) -> Result<Attempt<'_>, TooMany> {
        let from = from.to_canonical();
        let origin = ClientPrefix::from(from);
        let mut guard = self.0.lock();
        let state = &mut *guard;
        let fresh = Level { full_at: now };
        let of_address = state.per_address.get(&origin).copied().unwrap_or(fresh);
        let apart = from.is_loopback()
            || state.known.get(&origin).is_some_and(|at| now.saturating_duration_since(*at) <= KNOWN_FOR);
        let in_all = state.in_all.get_or_insert(fresh);
        let wait = PER_ADDRESS.wait(of_address, now).max(IN_ALL.wait(*in_all, now).filter(|_| !apart));
        if let Some(wait) = wait {
            return Err(TooMany { retry_after_s: wait.as_secs() + 1 });
        }
        if state.hashes >= HASHES {
            return Err(TooMany { retry_after_s: 1 });
        }
        make_room(&mut state.per_address, origin, |level| level.full_at > now);
        if state.per_address.len() >= MAX_ADDRESSES && !state.per_address.contains_key(&origin) {
            return Err(TooMany { retry_after_s: PER_ADDRESS.refill.as_secs() });
        }
        state.hashes += 1;
        PER_ADDRESS.take(state.per_address.entry(origin).or_insert(fresh), now);
        if !apart {
            IN_ALL.take(in_all, now);
        }
        Ok(Attempt { attempts: self, origin, apart })
    }
}

/// Drops what is no longer of use if `origin` would not fit otherwise.
fn make_room<T>(map: &mut HashMap<ClientPrefix, T>, origin: ClientPrefix, keep: impl Fn(&T) -> bool) {
    if map.len() >= MAX_ADDRESSES && !map.contains_key(&origin) {
        map.retain(|_, value| keep(value));
    }
}

/// One attempt that may be made: hold it while the password is hashed. It counts as failed when dropped.
#[derive(Debug)]
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    origin: ClientPrefix,
    apart: bool,
}

impl Attempt<'_> {
    /// The password was right: the attempt does not count, and the address is known from now on.
    pub fn succeeded(self, now: Instant) {
        let mut guard = self.attempts.0.lock();
        let state = &mut *guard;
        if let Some(level) = state.per_address.get_mut(&self.origin) {
            PER_ADDRESS.give_back(level);
        }
        if let Some(level) = state.in_all.as_mut().filter(|_| !self.apart) {
            IN_ALL.give_back(level);
        }
        make_room(&mut state.known, self.origin, |at| now.saturating_duration_since(*at) <= KNOWN_FOR);
        if state.known.len() < MAX_ADDRESSES || state.known.contains_key(&self.origin) {
            state.known.insert(self.origin, now);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.attempts.0.lock().hashes -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Fails from `from` until it is told to wait; the number of failures and the wait.
    fn fail_until_told(attempts: &Attempts, from: IpAddr, now: Instant) -> (u32, u64) {
        let mut failures = 0;
        loop {
            match attempts.begin(from, now) {
                Ok(_) => failures += 1,
                Err(too_many) => return (failures, too_many.retry_after_s),
            }
            assert!(failures < 1000, "never told to wait");
        }
    }

    #[test]
    fn one_address() {
        let (attempts, start) = (Attempts::new(), Instant::now());
        assert_eq!(fail_until_told(&attempts, ip("192.0.2.1"), start), (10, 7));
        assert_eq!(fail_until_told(&attempts, ip("::ffff:192.0.2.1"), start), (0, 7));
        assert_eq!(fail_until_told(&attempts, ip("192.0.2.2"), start).0, 10);
        let later = start + PER_ADDRESS.refill;
        assert_eq!(fail_until_told(&attempts, ip("192.0.2.1"), later).0, 1);
        assert_eq!(fail_until_told(&attempts, ip("192.0.2.1"), start + Duration::from_secs(3600)).0, 10);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        assert_eq!(fail_until_told(&attempts, ip("2001:db8::1"), now).0, 10);
        assert_eq!(fail_until_told(&attempts, ip("2001:db8::2"), now).0, 0);
        assert_eq!(fail_until_told(&attempts, ip("2001:db8:0:1::1"), now).0, 10);
    }

    #[test]
    fn all_addresses() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        attempts.begin(ip("198.51.100.1"), now).expect("the first attempt").succeeded(now);
        let failures: u32 =
            (0..200).map(|i| fail_until_told(&attempts, ip(&format!("192.0.2.{i}")), now).0).sum();
        assert_eq!(failures, IN_ALL.size);
        // Those who logged in before, and loopback, are not kept out by that; but they have limits, too.
        assert_eq!(fail_until_told(&attempts, ip("198.51.100.1"), now).0, 10);
        assert_eq!(fail_until_told(&attempts, ip("127.0.0.1"), now).0, 10);
        assert_eq!(fail_until_told(&attempts, ip("198.51.100.2"), now).0, 0);
    }

    #[test]
    fn right_passwords_are_not_counted() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        for _ in 0..100 {
            attempts.begin(ip("192.0.2.1"), now).expect("no failure yet").succeeded(now);
        }
        assert_eq!(fail_until_told(&attempts, ip("192.0.2.1"), now).0, 10);
    }

    #[test]
    fn two_hashes_at_once() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        let first = attempts.begin(ip("192.0.2.1"), now).expect("room");
        let _second = attempts.begin(ip("192.0.2.2"), now).expect("room");
        let third = attempts.begin(ip("192.0.2.3"), now).map(|_| ());
        assert_eq!(third, Err(TooMany { retry_after_s: 1 }));
        drop(first);
        assert!(attempts.begin(ip("192.0.2.3"), now).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let (attempts, start) = (Attempts::new(), Instant::now());
        for i in 0..20_000_u32 {
            let now = start + Duration::from_secs(i.into());
            let from = IpAddr::from(std::net::Ipv4Addr::from_bits(i << 8));
            if let Ok(attempt) = attempts.begin(from, now) {
                attempt.succeeded(now);
            }
        }
        let state = attempts.0.lock();
        assert!(state.per_address.len() <= MAX_ADDRESSES && state.known.len() <= MAX_ADDRESSES);
    }

    #[test]
    fn the_reply() {
        let response = TooMany { retry_after_s: 7 }.response();
        assert_eq!(response.status_code, 429);
        assert!(response.headers.iter().any(|(name, value)| name == "Retry-After" && value == "7"));
    }
}
