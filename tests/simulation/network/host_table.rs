//! The hosts of a network by number, with the state of each that outlives its process.

use std::collections::VecDeque;
use std::sync::Arc;

use super::call_workers::CallWorkers;
use crate::byzantine::Behavior;
use crate::virtual_host::VirtualHost;
use distomon::crypto::PublicKey;
use distomon::mesh::Event;

/// The hosts of a network by number.
#[derive(Default)]
pub(super) struct HostTable {
    entries: Vec<HostEntry>,
}

/// A virtual host, which may be off.
#[derive(Default)]
struct HostEntry {
    host: Option<VirtualHost>,
    /// The key that the process signs with.
    key: Option<PublicKey>,
    frozen_until_ms: u64,
    /// When the event loop ticks next, as of its last step; none while the host is off.
    next_tick_ms: Option<u64>,
    behavior: Arc<Behavior>,
    /// Numbers the processes of this host.
    process: u64,
    event_loop: EventLoop,
}

/// The event loop of a process, and the threads that work for it.
#[derive(Default)]
pub(super) struct EventLoop {
    /// The events in the queue, if processor time costs something.
    pub(super) events: VecDeque<Event>,
    /// Whether a tick is ready to run, or runs.
    pub(super) is_awake: bool,
    /// When the next tick is due: monotonic time in ms.
    pub(super) due_ms: u64,
    pub(super) workers: CallWorkers,
    /// The number of requests with a valid head that wait to be answered.
    pub(super) waiting_requests: usize,
}

impl HostTable {
    /// Adds hosts, which are off, until `host` is a valid number.
    pub(super) fn allocate(&mut self, host: usize) {
        let count = self.entries.len().max(host + 1);
        self.entries.resize_with(count, HostEntry::default);
    }

    /// Puts a process that signs with `key` on `host`.
    pub(super) fn start(&mut self, host: usize, process: VirtualHost, key: PublicKey) {
        let entry = &mut self.entries[host];
        (entry.host, entry.key) = (Some(process), Some(key));
        entry.process += 1;
        entry.event_loop = EventLoop::default();
    }

    /// Removes the process from `host`.
    pub(super) fn stop(&mut self, host: usize) -> Option<VirtualHost> {
        let entry = &mut self.entries[host];
        entry.frozen_until_ms = 0;
        entry.next_tick_ms = None;
        entry.process += 1;
        entry.host.take()
    }

    pub(super) fn freeze(&mut self, host: usize, until_ms: u64) {
        self.entries[host].frozen_until_ms = until_ms;
    }

    /// When `host` continues if it is frozen, in ms.
    pub(super) fn frozen_until_ms(&self, host: usize) -> u64 {
        self.entries[host].frozen_until_ms
    }

    pub(super) fn get(&self, host: usize) -> Option<&VirtualHost> {
        self.entries[host].host.as_ref()
    }

    pub(super) fn get_mut(&mut self, host: usize) -> Option<&mut VirtualHost> {
        self.entries[host].host.as_mut()
    }

    pub(super) fn running(&self) -> impl Iterator<Item = (usize, &VirtualHost)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.host.as_ref()?)))
    }

    /// The public key of the process on `host`, or of its last one.
    pub(super) fn key(&self, host: usize) -> PublicKey {
        self.entries[host].key.clone().expect("a process has run here")
    }

    /// The number of the process on `host`.
    pub(super) fn process(&self, host: usize) -> u64 {
        self.entries[host].process
    }

    /// The event loop of the process on `host`.
    pub(super) fn event_loop(&mut self, host: usize) -> &mut EventLoop {
        &mut self.entries[host].event_loop
    }

    pub(super) fn behavior(&self, host: usize) -> &Arc<Behavior> {
        &self.entries[host].behavior
    }

    /// Recalculates when the event loop on `host` ticks next.
    pub(super) fn schedule_tick(&mut self, host: usize, now_ms: u64) {
        let entry = &mut self.entries[host];
        let process = entry.host.as_ref().filter(|_| !entry.event_loop.is_awake);
        let tick_ms = process.map(|process| process.next_tick_ms(now_ms));
        entry.next_tick_ms = tick_ms.map(|tick_ms| tick_ms.max(entry.frozen_until_ms));
    }

    /// Schedules no tick on `host`, since its event loop is awake.
    pub(super) fn cancel_tick(&mut self, host: usize) {
        self.entries[host].next_tick_ms = None;
    }

    /// When the next event loop ticks, in ms.
    pub(super) fn next_tick_ms(&self) -> Option<u64> {
        self.entries.iter().filter_map(|entry| entry.next_tick_ms).min()
    }

    /// The first host whose event loop ticks by `now_ms`.
    pub(super) fn due(&self, now_ms: u64) -> Option<usize> {
        self.entries.iter().position(|entry| entry.next_tick_ms.is_some_and(|tick_ms| tick_ms <= now_ms))
    }
}
