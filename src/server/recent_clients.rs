//! A bounded set of client prefixes that expire.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::client_address::ClientPrefix;

/// Client prefixes inserted within the last `lifetime`, at most `capacity`.
#[derive(Debug)]
pub(super) struct RecentClients {
    inserted: HashMap<ClientPrefix, Instant>,
    lifetime: Duration,
    capacity: usize,
}

impl RecentClients {
    pub(super) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { inserted: HashMap::new(), lifetime, capacity }
    }

    pub(super) fn contains(&self, prefix: ClientPrefix, now: Instant) -> bool {
        self.inserted.get(&prefix).is_some_and(|at| self.is_fresh(*at, now))
    }

    /// Inserts or renews `prefix`. A full set drops expired entries first; if none has expired, a new prefix
    /// is ignored.
    pub(super) fn insert(&mut self, prefix: ClientPrefix, now: Instant) {
        if self.is_full_for(prefix) {
            let lifetime = self.lifetime;
            self.inserted.retain(|_, at| now.saturating_duration_since(*at) <= lifetime);
        }
        if !self.is_full_for(prefix) {
            self.inserted.insert(prefix, now);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.inserted.len()
    }

    fn is_full_for(&self, prefix: ClientPrefix) -> bool {
        self.inserted.len() >= self.capacity && !self.inserted.contains_key(&prefix)
    }

    fn is_fresh(&self, inserted: Instant, now: Instant) -> bool {
        now.saturating_duration_since(inserted) <= self.lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(last: u8) -> ClientPrefix {
        ClientPrefix::V4([192, 0, 2, last])
    }

    #[test]
    fn a_full_set_ignores_new_prefixes_until_old_ones_expire() {
        let lifetime = Duration::from_secs(10);
        let mut recent = RecentClients::new(lifetime, 2);
        let start = Instant::now();
        recent.insert(prefix(1), start);
        recent.insert(prefix(2), start + Duration::from_secs(5));
        recent.insert(prefix(3), start + lifetime);
        assert!(!recent.contains(prefix(3), start + lifetime));
        recent.insert(prefix(1), start + lifetime);
        assert!(recent.contains(prefix(1), start + lifetime * 2));
        let later = start + Duration::from_secs(16);
        assert!(!recent.contains(prefix(2), later));
        recent.insert(prefix(3), later);
        assert!(recent.contains(prefix(3), later));
        assert_eq!(recent.len(), 2);
    }
}
