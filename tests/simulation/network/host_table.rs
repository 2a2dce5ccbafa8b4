//! The hosts of a network by number, with what the network keeps for each.

use std::sync::Arc;

use crate::byzantine::Behavior;
use crate::virtual_host::VirtualHost;
use distomon::crypto::PublicKey;

/// The hosts of a network by number.
#[derive(Default)]
pub(super) struct HostTable {
    slots: Vec<Slot>,
}

/// A place for a virtual host, which may be off.
#[derive(Default)]
struct Slot {
    host: Option<VirtualHost>,
    /// The key that the process signs with.
    key: Option<PublicKey>,
    frozen_until_ms: u64,
    /// When the event loop ticks next, as of its last step; none while the host is off.
    next_tick_ms: Option<u64>,
    behavior: Arc<Behavior>,
}

impl HostTable {
    /// Makes `host` a valid number; a new host is off.
    pub(super) fn allocate(&mut self, host: usize) {
        let count = self.slots.len().max(host + 1);
        self.slots.resize_with(count, Slot::default);
    }

    /// Puts a process that signs with `key` on `host`.
    pub(super) fn start(&mut self, host: usize, process: VirtualHost, key: PublicKey) {
        let slot = &mut self.slots[host];
        (slot.host, slot.key) = (Some(process), Some(key));
    }

    /// Removes the process from `host`.
    pub(super) fn stop(&mut self, host: usize) -> Option<VirtualHost> {
        let slot = &mut self.slots[host];
        slot.frozen_until_ms = 0;
        slot.next_tick_ms = None;
        slot.host.take()
    }

    pub(super) fn freeze(&mut self, host: usize, until_ms: u64) {
        self.slots[host].frozen_until_ms = until_ms;
    }

    /// When `host` continues if it is frozen, in ms.
    pub(super) fn frozen_until_ms(&self, host: usize) -> u64 {
        self.slots[host].frozen_until_ms
    }

    pub(super) fn get(&self, host: usize) -> Option<&VirtualHost> {
        self.slots[host].host.as_ref()
    }

    pub(super) fn get_mut(&mut self, host: usize) -> Option<&mut VirtualHost> {
        self.slots[host].host.as_mut()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (usize, &VirtualHost)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.host.as_ref()?)))
    }

    /// The public key of the process on `host`, or of its last one.
    pub(super) fn key(&self, host: usize) -> PublicKey {
        self.slots[host].key.clone().expect("a process has run here")
    }

    pub(super) fn behavior(&self, host: usize) -> &Arc<Behavior> {
        &self.slots[host].behavior
    }

    /// Recalculates when the event loop on `host` ticks next.
    pub(super) fn schedule_tick(&mut self, host: usize, now_ms: u64) {
        let slot = &mut self.slots[host];
        let tick_ms = slot.host.as_ref().map(|process| process.next_tick_ms(now_ms));
        slot.next_tick_ms = tick_ms.map(|tick_ms| tick_ms.max(slot.frozen_until_ms));
    }

    /// When the next event loop ticks, in ms.
    pub(super) fn next_tick_ms(&self) -> Option<u64> {
        self.slots.iter().filter_map(|slot| slot.next_tick_ms).min()
    }

    /// The first host whose event loop ticks by `now_ms`.
    pub(super) fn due(&self, now_ms: u64) -> Option<usize> {
        self.slots.iter().position(|slot| slot.next_tick_ms.is_some_and(|tick_ms| tick_ms <= now_ms))
    }
}
