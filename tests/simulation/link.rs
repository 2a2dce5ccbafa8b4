//! What happens to a message on its way from one machine to another.

use std::collections::{BTreeMap, BTreeSet};

/// One direction between two machines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// Messages take this long, in ms, and up to as long again.
    pub(crate) delay_ms: u64,
    /// How many of a hundred messages are lost.
    pub(crate) loss_percent: u8,
    /// Nothing gets through.
    pub(crate) cut: bool,
}

/// All links; those not named are alike.
#[derive(Debug)]
pub(crate) struct Links {
    usual: Link,
    others: BTreeMap<(usize, usize), Link>,
    walled: BTreeSet<usize>,
    deaf: BTreeSet<usize>,
    barred: BTreeSet<(usize, usize)>,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self {
            usual: Link { delay_ms: 2, loss_percent: 0, cut: false },
            others: BTreeMap::new(),
            walled: BTreeSet::new(),
            deaf: BTreeSet::new(),
            barred: BTreeSet::new(),
        }
    }

    pub(crate) fn get(&self, from: usize, to: usize) -> Link {
        self.others.get(&(from, to)).copied().unwrap_or(self.usual)
    }

    /// Makes messages take so long on every link, in ms, and up to as long again.
    pub(crate) fn slow(&mut self, delay_ms: u64) {
        self.usual.delay_ms = delay_ms;
    }

    /// Makes messages between two take so long, in ms, and up to as long again.
    pub(crate) fn delay(&mut self, one: usize, other: usize, delay_ms: u64) {
        for (from, to) in [(one, other), (other, one)] {
            let link = Link { delay_ms, ..self.get(from, to) };
            self.others.insert((from, to), link);
        }
    }

    /// Loses so many of a hundred messages on every link.
    pub(crate) fn lose(&mut self, percent: u8) {
        self.usual.loss_percent = percent;
    }

    /// Cuts one direction.
    pub(crate) fn cut_one_way(&mut self, from: usize, to: usize) {
        let link = Link { cut: true, ..self.get(from, to) };
        self.others.insert((from, to), link);
    }

    /// Puts a firewall before a machine: no request reaches it, but replies to its own do.
    pub(crate) fn wall(&mut self, machine: usize) {
        self.walled.insert(machine);
    }

    /// Lets no request of a machine out, but its replies.
    pub(crate) fn deafen(&mut self, machine: usize) {
        self.deaf.insert(machine);
    }

    /// Puts a one-way firewall on a link: no request gets from the one to the other, but replies do.
    pub(crate) fn bar(&mut self, from: usize, to: usize) {
        self.barred.insert((from, to));
    }

    /// Whether no firewall stops requests.
    pub(crate) fn admits(&self, from: usize, to: usize) -> bool {
        !self.walled.contains(&to) && !self.deaf.contains(&from) && !self.barred.contains(&(from, to))
    }

    /// Whether a call gets through and is answered, unless messages are lost.
    pub(crate) fn carries(&self, from: usize, to: usize) -> bool {
        self.admits(from, to) && !self.get(from, to).cut && !self.get(to, from).cut
    }

    /// Whether a request gets through, unless messages are lost.
    pub(crate) fn brings(&self, from: usize, to: usize) -> bool {
        self.admits(from, to) && !self.get(from, to).cut
    }

    /// Cuts both directions.
    pub(crate) fn cut(&mut self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Makes all links as they were.
    pub(crate) fn mend(&mut self) {
        self.others.clear();
        self.walled.clear();
        self.deaf.clear();
        self.barred.clear();
    }
}
