//! The rate limits of exchanges: how many requests of each sender are processed, and how many errors are signed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::resource_owner::SenderId;
use super::token_bucket::{BucketLevel, TokenBucket};

/// Exchanges of a sender in a second, besides those in proportion to its probes. A node pushes up to four reports a
/// second, and may follow up each of these.
const EXCHANGES_PER_SECOND: u64 = 20;

/// Exchanges for each probe: a failed probe is repeated after a quarter of `poll_rate`.
const EXCHANGES_PER_PROBE: u64 = 4;

/// One of this number of exchanges may be answered with a signed error, at each of the two stages.
const EXCHANGES_PER_SIGNED_ERROR: u64 = 4;

/// The number of senders above which those whose buckets are full are forgotten. Only members are senders, so the
/// configuration bounds the rest.
const MAX_IDLE_SENDERS: usize = 4096;

/// The limits of one sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExchangeLimits {
    exchanges: TokenBucket,
    signed_errors: TokenBucket,
}

impl ExchangeLimits {
    /// Returns the limits of a sender that probes this node every `poll_rate_ms`.
    pub(super) fn new(poll_rate_ms: u64) -> Self {
        // In 1,000 s, so that the rates of slow probes are not rounded to 0.
        let probes = 1_000_000 / poll_rate_ms.max(1);
        let exchanges = EXCHANGES_PER_SECOND * 1000 + EXCHANGES_PER_PROBE * probes;
        let bucket = |per_1000_s: u64| TokenBucket {
            capacity: u32::try_from(per_1000_s / 500).unwrap_or(u32::MAX).max(1),
            refill: Duration::from_micros(1_000_000_000 / per_1000_s.max(1)),
        };
        Self { exchanges: bucket(exchanges), signed_errors: bucket(exchanges / EXCHANGES_PER_SIGNED_ERROR) }
    }
}

/// The stage at which an exchange with a verified head is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RejectStage {
    /// Before the nonce was accepted: by replaying a captured request anybody can cause this.
    BeforeNonce,
    /// By the rate limit, after the nonce was accepted.
    RateLimit,
}

/// The exchanges and signed errors of each sender in the last seconds.
#[derive(Debug, Default)]
pub(super) struct ExchangeRates(Mutex<HashMap<SenderId, SenderLevels>>);

#[derive(Debug)]
struct SenderLevels {
    exchanges: BucketLevel,
    errors_before_nonce: BucketLevel,
    errors_of_rate_limit: BucketLevel,
}

impl ExchangeRates {
    /// Counts an exchange whose nonce was accepted; fails with how long to wait if it is beyond the limit.
    pub(super) fn try_exchange(
        &self,
        sender: &SenderId,
        limits: ExchangeLimits,
        now: Instant,
    ) -> Result<(), Duration> {
        self.with_levels(sender, now, |levels| limits.exchanges.try_take(&mut levels.exchanges, now))
    }

    /// Counts a rejected exchange; returns whether the reply may be signed, which costs more than it costs to repeat
    /// the request. The stages have separate limits, so that replayed requests of a sender use up only one.
    pub(super) fn may_sign_error(
        &self,
        sender: &SenderId,
        limits: ExchangeLimits,
        stage: RejectStage,
        now: Instant,
    ) -> bool {
        self.with_levels(sender, now, |levels| {
            let level = match stage {
                RejectStage::BeforeNonce => &mut levels.errors_before_nonce,
                RejectStage::RateLimit => &mut levels.errors_of_rate_limit,
            };
            limits.signed_errors.try_take(level, now).is_ok()
        })
    }

    fn with_levels<T>(
        &self,
        sender: &SenderId,
        now: Instant,
        change: impl FnOnce(&mut SenderLevels) -> T,
    ) -> T {
        let mut senders = self.0.lock();
        if let Some(levels) = senders.get_mut(sender) {
            return change(levels);
        }
        if senders.len() >= MAX_IDLE_SENDERS {
            senders.retain(|_, levels| !levels.are_full(now));
        }
        change(senders.entry(sender.clone()).or_insert_with(|| SenderLevels::full(now)))
    }
}

impl SenderLevels {
    fn full(now: Instant) -> Self {
        let full = BucketLevel::full(now);
        Self { exchanges: full, errors_before_nonce: full, errors_of_rate_limit: full }
    }

    fn are_full(&self, now: Instant) -> bool {
        [self.exchanges, self.errors_before_nonce, self.errors_of_rate_limit]
            .iter()
            .all(|level| level.is_full(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(name: &str) -> SenderId {
        SenderId::new(name)
    }

    /// Returns how many exchanges are allowed at `now`.
    fn exchanges(rates: &ExchangeRates, name: &str, limits: ExchangeLimits, now: Instant) -> usize {
        (0..1000).take_while(|_| rates.try_exchange(&sender(name), limits, now).is_ok()).count()
    }

    fn signed(rates: &ExchangeRates, name: &str, stage: RejectStage, now: Instant) -> usize {
        let limits = ExchangeLimits::new(10_000);
        (0..1000).filter(|_| rates.may_sign_error(&sender(name), limits, stage, now)).count()
    }

    #[test]
    fn the_limits_grow_with_the_rate_of_probes() {
        for (poll_rate_ms, burst, in_10_s) in
            [(100, 120, 600), (200, 80, 400), (1_000, 48, 240), (10_000, 40, 204), (86_400_000, 40, 200)]
        {
            let (rates, limits, start) =
                (ExchangeRates::default(), ExchangeLimits::new(poll_rate_ms), Instant::now());
            assert_eq!(exchanges(&rates, "a", limits, start), burst, "{poll_rate_ms}");
            assert_eq!(exchanges(&rates, "a", limits, start), 0, "{poll_rate_ms}");
            assert_eq!(exchanges(&rates, "b", limits, start), burst, "another sender");
            let mut now = start;
            let mut count = 0;
            for _ in 0..1000 {
                now += Duration::from_millis(10);
                count += exchanges(&rates, "a", limits, now);
            }
            assert!((in_10_s - 1..=in_10_s + 1).contains(&count), "{poll_rate_ms}: {count}");
        }
    }

    #[test]
    fn a_rejected_exchange_uses_no_token() {
        let (rates, limits, now) = (ExchangeRates::default(), ExchangeLimits::new(10_000), Instant::now());
        exchanges(&rates, "a", limits, now);
        let wait = rates.try_exchange(&sender("a"), limits, now).expect_err("the bucket is empty");
        let early = wait.checked_sub(Duration::from_micros(1)).expect("a longer time");
        assert!(rates.try_exchange(&sender("a"), limits, now + early).is_err());
        assert!(rates.try_exchange(&sender("a"), limits, now + wait).is_ok());
    }

    #[test]
    fn signed_errors_are_limited_for_each_stage() {
        let (rates, now) = (ExchangeRates::default(), Instant::now());
        assert_eq!(signed(&rates, "a", RejectStage::BeforeNonce, now), 10);
        assert_eq!(signed(&rates, "a", RejectStage::RateLimit, now), 10);
        assert_eq!(signed(&rates, "b", RejectStage::BeforeNonce, now), 10);
        assert_eq!(signed(&rates, "a", RejectStage::BeforeNonce, now + Duration::from_secs(1)), 5);
        assert_eq!(exchanges(&rates, "a", ExchangeLimits::new(10_000), now), 40, "errors use no exchange");
    }

    #[test]
    fn idle_senders_are_forgotten() {
        let (rates, limits, start) = (ExchangeRates::default(), ExchangeLimits::new(10_000), Instant::now());
        for number in 0..3 * MAX_IDLE_SENDERS {
            let now = start + Duration::from_millis(number as u64);
            assert!(rates.try_exchange(&sender(&number.to_string()), limits, now).is_ok());
        }
        assert!(rates.0.lock().len() <= MAX_IDLE_SENDERS);
    }
}
