//! The setup of a simulated network, and how it starts.

use super::{Network, Traffic};
use crate::fixtures;
use crate::message::Transport;
use crate::virtual_host::Clock;
use distomon::mesh::membership::{Member, ObserverPolicy};

/// Everything that determines a simulated network.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) transport: Transport,
    pub(crate) observers: ObserverPolicy,
    /// Named `node-00` and so on.
    pub(crate) members: Vec<Member>,
    /// By member.
    pub(crate) clocks: Vec<Clock>,
    /// None if processor time costs nothing.
    pub(crate) processors: Option<Machines>,
    pub(crate) seed: u64,
}

/// The machines that hosts run on.
#[derive(Debug, Clone)]
pub(crate) struct Machines {
    /// The number of cores of each.
    pub(super) cores: Vec<usize>,
    /// By member.
    pub(super) machine_of: Vec<usize>,
}

impl Setup {
    /// A network in which every node observes every other, with encoded messages and exact clocks.
    pub(crate) fn new(members: Vec<Member>, seed: u64) -> Self {
        let clocks = vec![Clock::default(); members.len()];
        Self {
            transport: Transport::Encoded,
            observers: ObserverPolicy::All,
            members,
            clocks,
            processors: None,
            seed,
        }
    }

    /// The same with typed messages, which are much faster.
    pub(crate) fn typed(self) -> Self {
        Self { transport: Transport::Typed, ..self }
    }

    /// The same with observers in this number of rings.
    pub(crate) fn in_rings(self, rings: u32) -> Self {
        Self { observers: ObserverPolicy::Rings(rings), ..self }
    }

    /// The same with all hosts on one machine with this number of cores.
    pub(crate) fn on_one_machine(self, cores: usize) -> Self {
        let machine_of = vec![0; self.members.len()];
        Self { processors: Some(Machines { cores: vec![cores], machine_of }), ..self }
    }

    /// The same with each host on its own machine with one core.
    pub(crate) fn on_own_machines(self) -> Self {
        let count = self.members.len();
        Self {
            processors: Some(Machines { cores: vec![1; count], machine_of: (0..count).collect() }),
            ..self
        }
    }

    /// Starts all nodes within half a second.
    pub(crate) fn start(self) -> Network {
        Network::start(self)
    }

    /// Starts the nodes and runs until every node reports every other online; panics after `limit_ms`.
    pub(crate) fn converge(self, limit_ms: u64, settle_ms: u64) -> Network {
        let mut network = self.start();
        network.run_until(limit_ms, "all online", Network::is_converged);
        network.run(settle_ms);
        network.traffic = Traffic::default();
        network
    }
}

/// A converged network of `count` nodes that all observe each other.
pub(crate) fn converged(count: usize, seed: u64) -> Network {
    converged_with(fixtures::members(count), seed)
}

/// A converged network of `members` that all observe each other.
pub(crate) fn converged_with(members: Vec<Member>, seed: u64) -> Network {
    Setup::new(members, seed).converge(5_000, 2_000)
}

/// A converged network of `members` with long poll rates.
pub(crate) fn converged_slowly(members: Vec<Member>, seed: u64) -> Network {
    Setup::new(members, seed).converge(60_000, 20_000)
}

/// A converged network of `members`, each observed in this number of rings.
pub(crate) fn converged_in_rings(rings: u32, members: Vec<Member>, seed: u64) -> Network {
    Setup::new(members, seed).in_rings(rings).converge(8_000, 2_000)
}
