//! The addresses of verified senders, by which the listener recognizes their next connections.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::client_address::ClientPrefix;
use super::resource_owner::SenderId;

/// The address of each sender's last verified request within `lifetime`. One address for each sender, so that a
/// sender cannot have connections from many addresses recognized.
#[derive(Debug)]
pub(super) struct SenderAddresses {
    last: HashMap<SenderId, LastRequest>,
    lifetime: Duration,
    capacity: usize,
}

#[derive(Debug)]
struct LastRequest {
    prefix: ClientPrefix,
    at: Instant,
}

impl SenderAddresses {
    pub(super) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { last: HashMap::new(), lifetime, capacity }
    }

    /// Returns whether `prefix` is the address of a sender.
    pub(super) fn contains(&self, prefix: ClientPrefix, now: Instant) -> bool {
        self.last.values().any(|last| last.prefix == prefix && self.is_fresh(last.at, now))
    }

    /// Records a verified request. A full map drops expired entries first; if none has expired, a new sender is
    /// ignored.
    pub(super) fn record(&mut self, sender: &SenderId, prefix: ClientPrefix, now: Instant) {
        if let Some(last) = self.last.get_mut(sender) {
            *last = LastRequest { prefix, at: now };
            return;
        }
        if self.last.len() >= self.capacity {
            let lifetime = self.lifetime;
            self.last.retain(|_, last| now.saturating_duration_since(last.at) <= lifetime);
        }
        if self.last.len() < self.capacity {
            self.last.insert(sender.clone(), LastRequest { prefix, at: now });
        }
    }

    fn is_fresh(&self, at: Instant, now: Instant) -> bool {
        now.saturating_duration_since(at) <= self.lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(last: u8) -> ClientPrefix {
        ClientPrefix::V4([192, 0, 2, last])
    }

    fn sender(name: &str) -> SenderId {
        SenderId::new(name)
    }

    #[test]
    fn a_sender_has_one_address() {
        let lifetime = Duration::from_secs(10);
        let mut addresses = SenderAddresses::new(lifetime, 2);
        let start = Instant::now();
        addresses.record(&sender("a"), prefix(1), start);
        addresses.record(&sender("b"), prefix(1), start);
        addresses.record(&sender("a"), prefix(2), start);
        assert!(addresses.contains(prefix(1), start), "the address of b");
        assert!(addresses.contains(prefix(2), start));
        addresses.record(&sender("b"), prefix(2), start + Duration::from_secs(1));
        assert!(!addresses.contains(prefix(1), start), "no longer the address of any");
    }

    #[test]
    fn a_full_map_ignores_new_senders_until_old_ones_expire() {
        let lifetime = Duration::from_secs(10);
        let mut addresses = SenderAddresses::new(lifetime, 2);
        let start = Instant::now();
        addresses.record(&sender("a"), prefix(1), start);
        addresses.record(&sender("b"), prefix(2), start + Duration::from_secs(5));
        assert!(addresses.contains(prefix(1), start + lifetime));
        addresses.record(&sender("c"), prefix(3), start + lifetime);
        assert!(!addresses.contains(prefix(3), start + lifetime), "the map is full");
        let later = start + lifetime + Duration::from_millis(1);
        assert!(!addresses.contains(prefix(1), later));
        addresses.record(&sender("c"), prefix(3), later);
        assert!(addresses.contains(prefix(3), later));
        assert_eq!(addresses.last.len(), 2);
    }
}
