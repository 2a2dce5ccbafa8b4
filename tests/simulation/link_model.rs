//! The links between virtual hosts: latency, loss, cuts and firewalls.

use std::collections::{BTreeMap, BTreeSet};

/// One direction between two hosts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// The shortest time a message takes, in ms; the longest is twice that.
    pub(crate) delay_ms: u64,
    /// Messages lost of a hundred.
    pub(crate) loss_percent: u8,
    /// No message arrives.
    pub(crate) cut: bool,
}

/// All links by source and destination, and the firewalls on them.
#[derive(Debug)]
pub(crate) struct LinkModel {
    default: Link,
    overrides: BTreeMap<(usize, usize), Link>,
    inbound_blocked: BTreeSet<usize>,
    outbound_blocked: BTreeSet<usize>,
    pair_blocked: BTreeSet<(usize, usize)>,
}

impl LinkModel {
    pub(crate) fn new() -> Self {
        Self {
            default: Link { delay_ms: 2, loss_percent: 0, cut: false },
            overrides: BTreeMap::new(),
            inbound_blocked: BTreeSet::new(),
            outbound_blocked: BTreeSet::new(),
            pair_blocked: BTreeSet::new(),
        }
    }

    pub(crate) fn get(&self, from: usize, to: usize) -> Link {
        self.overrides.get(&(from, to)).copied().unwrap_or(self.default)
    }

    /// Sets the delay of every link without an override, in ms; a message takes up to twice that.
    pub(crate) fn set_delay(&mut self, delay_ms: u64) {
        self.default.delay_ms = delay_ms;
    }

    /// Sets the delay between two hosts, in ms; a message takes up to twice that.
    pub(crate) fn set_pair_delay(&mut self, one: usize, other: usize, delay_ms: u64) {
        for (from, to) in [(one, other), (other, one)] {
            let link = Link { delay_ms, ..self.get(from, to) };
            self.overrides.insert((from, to), link);
        }
    }

    /// Sets the loss of every link without an override, in per cent.
    pub(crate) fn set_loss(&mut self, percent: u8) {
        self.default.loss_percent = percent;
    }

    /// Cuts both directions.
    pub(crate) fn cut(&mut self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Cuts one direction.
    pub(crate) fn cut_one_way(&mut self, from: usize, to: usize) {
        let link = Link { cut: true, ..self.get(from, to) };
        self.overrides.insert((from, to), link);
    }

    /// Blocks requests to a host; replies to its own requests still arrive.
    pub(crate) fn block_inbound(&mut self, host: usize) {
        self.inbound_blocked.insert(host);
    }

    /// Blocks requests from a host; its replies still leave.
    pub(crate) fn block_outbound(&mut self, host: usize) {
        self.outbound_blocked.insert(host);
    }

    /// Blocks requests from one host to another; replies still pass.
    pub(crate) fn block_requests(&mut self, from: usize, to: usize) {
        self.pair_blocked.insert((from, to));
    }

    /// Whether no firewall blocks requests from one host to another.
    pub(crate) fn admits(&self, from: usize, to: usize) -> bool {
        !self.inbound_blocked.contains(&to)
            && !self.outbound_blocked.contains(&from)
            && !self.pair_blocked.contains(&(from, to))
    }

    /// Whether a call succeeds, random loss aside.
    pub(crate) fn call_succeeds(&self, from: usize, to: usize) -> bool {
        self.request_arrives(from, to) && !self.get(to, from).cut
    }

    /// Whether a request arrives, random loss aside.
    pub(crate) fn request_arrives(&self, from: usize, to: usize) -> bool {
        self.admits(from, to) && !self.get(from, to).cut
    }

    /// Removes all overrides and firewalls.
    pub(crate) fn reset(&mut self) {
        self.overrides.clear();
        self.inbound_blocked.clear();
        self.outbound_blocked.clear();
        self.pair_blocked.clear();
    }
}
