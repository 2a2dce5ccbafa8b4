//! The login limiter: bounds failed logins, from one address and in total, and concurrent password hashes.
//!
//! No request is delayed: one that exceeds a limit is rejected with the time after which to retry.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rouille::Response;

use super::client_address::ClientPrefix;
use super::problem::problem;
use super::recent_clients::RecentClients;
use super::token_bucket::{BucketLevel, TokenBucket};

/// Concurrent password hashes, since each uses some 20 MB and a core.
const MAX_HASHES: usize = 2;

/// Consecutive failures of one address, each of which uses a token.
const PER_ADDRESS: TokenBucket = TokenBucket { capacity: 10, refill: Duration::from_secs(6) };

/// The same for all addresses together, except loopback and those that logged in recently: guessing from many
/// addresses must not lock out the owner.
const TOTAL: TokenBucket = TokenBucket { capacity: 60, refill: Duration::from_secs(1) };

/// How long an address is exempt from [`TOTAL`] after a login.
const EXEMPT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The maximum number of addresses remembered for failures, and for logins. More than [`TOTAL`] admits in the
/// time that [`PER_ADDRESS`] remembers.
const MAX_ADDRESSES: usize = 1024;

/// The login limiter of an instance.
#[derive(Debug)]
pub struct LoginLimiter(Mutex<State>);

#[derive(Debug)]
struct State {
    hashes: usize,
    total: Option<BucketLevel>,
    per_address: HashMap<ClientPrefix, BucketLevel>,
    logged_in: RecentClients,
}

/// The error of a login attempt beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many login attempts, try again in {retry_after_s} s")]
pub struct TooManyAttempts {
    /// The time after which to retry, in seconds, at least 1.
    pub retry_after_s: u64,
}

impl TooManyAttempts {
    /// Creates the reply: 429 with `Retry-After`.
    pub fn response(&self) -> Response {
        problem(429, "Too Many Requests", &self.to_string())
            .with_additional_header("Retry-After", self.retry_after_s.to_string())
    }
}

impl Default for LoginLimiter {
    fn default() -> Self {
        Self::new()
    }
}

impl LoginLimiter {
    /// Creates a limiter without attempts.
    pub fn new() -> Self {
        Self(Mutex::new(State {
            hashes: 0,
            total: None,
            per_address: HashMap::new(),
            logged_in: RecentClients::new(EXEMPT_FOR, MAX_ADDRESSES),
        }))
    }

    /// Admits a login attempt from `from`; to be called before its password is hashed. The attempt counts as
    /// failed until [`LoginAttempt::succeeded`], so that concurrent attempts are counted as well.
    pub fn begin(&self, from: IpAddr, now: Instant) -> Result<LoginAttempt<'_>, TooManyAttempts> {
        let from = from.to_canonical();
        let prefix = ClientPrefix::from(from);
        let mut guard = self.0.lock();
        let state = &mut *guard;
        let full = BucketLevel::full(now);
        let of_address = state.per_address.get(&prefix).copied().unwrap_or(full);
        let exempt = from.is_loopback() || state.logged_in.contains(prefix, now);
        let total = state.total.get_or_insert(full);
        let wait = PER_ADDRESS.wait(of_address, now).max(TOTAL.wait(*total, now).filter(|_| !exempt));
        if let Some(wait) = wait {
            return Err(TooManyAttempts { retry_after_s: wait.as_secs() + 1 });
        }
        if state.hashes >= MAX_HASHES {
            return Err(TooManyAttempts { retry_after_s: 1 });
        }
        if !has_room(&mut state.per_address, prefix, now) {
            return Err(TooManyAttempts { retry_after_s: PER_ADDRESS.refill.as_secs() });
        }
        state.hashes += 1;
        PER_ADDRESS.take(state.per_address.entry(prefix).or_insert(full), now);
        if !exempt {
            TOTAL.take(total, now);
        }
        Ok(LoginAttempt { limiter: self, prefix, exempt })
    }
}

/// Returns whether `levels` holds `prefix` or has room for it, if necessary after dropping full buckets.
fn has_room(levels: &mut HashMap<ClientPrefix, BucketLevel>, prefix: ClientPrefix, now: Instant) -> bool {
    if levels.contains_key(&prefix) {
        return true;
    }
    if levels.len() >= MAX_ADDRESSES {
        levels.retain(|_, level| !level.is_full(now));
    }
    levels.len() < MAX_ADDRESSES
}

/// An admitted login attempt, to be held while the password is hashed. It counts as failed when dropped.
#[derive(Debug)]
pub struct LoginAttempt<'a> {
    limiter: &'a LoginLimiter,
    prefix: ClientPrefix,
    exempt: bool,
}

impl LoginAttempt<'_> {
    /// Marks the attempt as successful: it does not count, and its address becomes exempt from the limit on all attempts.
    pub fn succeeded(self, now: Instant) {
        let mut guard = self.limiter.0.lock();
        let state = &mut *guard;
        if let Some(level) = state.per_address.get_mut(&self.prefix) {
            PER_ADDRESS.give_back(level);
        }
        if let Some(level) = state.total.as_mut().filter(|_| !self.exempt) {
            TOTAL.give_back(level);
        }
        state.logged_in.insert(self.prefix, now);
    }
}

impl Drop for LoginAttempt<'_> {
    fn drop(&mut self) {
        self.limiter.0.lock().hashes -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Fails from `from` until the limiter rejects an attempt; returns the number of failures and the wait in
    /// seconds.
    fn fail_until_limited(limiter: &LoginLimiter, from: IpAddr, now: Instant) -> (u32, u64) {
        let mut failures = 0;
        loop {
            match limiter.begin(from, now) {
                Ok(_) => failures += 1,
                Err(too_many) => return (failures, too_many.retry_after_s),
            }
            assert!(failures < 1000, "never limited");
        }
    }

    #[test]
    fn failures_of_one_address_are_limited() {
        let (limiter, start) = (LoginLimiter::new(), Instant::now());
        assert_eq!(fail_until_limited(&limiter, ip("192.0.2.1"), start), (10, 7));
        assert_eq!(fail_until_limited(&limiter, ip("::ffff:192.0.2.1"), start), (0, 7));
        assert_eq!(fail_until_limited(&limiter, ip("192.0.2.2"), start).0, 10);
        let later = start + PER_ADDRESS.refill;
        assert_eq!(fail_until_limited(&limiter, ip("192.0.2.1"), later).0, 1);
        assert_eq!(fail_until_limited(&limiter, ip("192.0.2.1"), start + Duration::from_secs(3600)).0, 10);
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let (limiter, now) = (LoginLimiter::new(), Instant::now());
        assert_eq!(fail_until_limited(&limiter, ip("2001:db8::1"), now).0, 10);
        assert_eq!(fail_until_limited(&limiter, ip("2001:db8::2"), now).0, 0);
        assert_eq!(fail_until_limited(&limiter, ip("2001:db8:0:1::1"), now).0, 10);
    }

    #[test]
    fn failures_of_all_addresses_are_limited() {
        let (limiter, now) = (LoginLimiter::new(), Instant::now());
        limiter.begin(ip("198.51.100.1"), now).expect("the first attempt").succeeded(now);
        let failures: u32 =
            (0..200).map(|i| fail_until_limited(&limiter, ip(&format!("192.0.2.{i}")), now).0).sum();
        assert_eq!(failures, TOTAL.capacity);
        // Addresses that logged in before, and loopback, are exempt from that limit, but not from their own.
        assert_eq!(fail_until_limited(&limiter, ip("198.51.100.1"), now).0, 10);
        assert_eq!(fail_until_limited(&limiter, ip("127.0.0.1"), now).0, 10);
        assert_eq!(fail_until_limited(&limiter, ip("198.51.100.2"), now).0, 0);
    }

    #[test]
    fn right_passwords_are_not_counted() {
        let (limiter, now) = (LoginLimiter::new(), Instant::now());
        for _ in 0..100 {
            limiter.begin(ip("192.0.2.1"), now).expect("no failure yet").succeeded(now);
        }
        assert_eq!(fail_until_limited(&limiter, ip("192.0.2.1"), now).0, 10);
    }

    #[test]
    fn two_hashes_run_concurrently() {
        let (limiter, now) = (LoginLimiter::new(), Instant::now());
        let first = limiter.begin(ip("192.0.2.1"), now).expect("room");
        let _second = limiter.begin(ip("192.0.2.2"), now).expect("room");
        let third = limiter.begin(ip("192.0.2.3"), now).map(|_| ());
        assert_eq!(third, Err(TooManyAttempts { retry_after_s: 1 }));
        drop(first);
        assert!(limiter.begin(ip("192.0.2.3"), now).is_ok());
    }

    #[test]
    fn memory_is_bounded() {
        let (limiter, start) = (LoginLimiter::new(), Instant::now());
        for i in 0..20_000_u32 {
            let now = start + Duration::from_secs(i.into());
            let from = IpAddr::from(std::net::Ipv4Addr::from_bits(i << 8));
            if let Ok(attempt) = limiter.begin(from, now) {
                attempt.succeeded(now);
            }
        }
        let state = limiter.0.lock();
        assert!(state.per_address.len() <= MAX_ADDRESSES && state.logged_in.len() <= MAX_ADDRESSES);
    }

    #[test]
    fn the_reply_says_when_to_retry() {
        let response = TooManyAttempts { retry_after_s: 7 }.response();
        assert_eq!(response.status_code, 429);
        assert!(response.headers.iter().any(|(name, value)| name == "Retry-After" && value == "7"));
    }
}
