//! Processor time: machines whose cores hosts share, and what the work of a process costs.
//!
//! Each machine has one queue of jobs: the event loop and each call and request of a process are threads, each with at
//! most one job in the queue at a time, so that all threads that are ready get their turn, as from the kernel. A job runs
//! to its end: it is shorter than a time slice of the kernel or about as long.

use std::collections::VecDeque;

/// To write, sign and send a request. With the next three, an exchange costs 0.7 ms on both ends together, over plain
/// HTTP (`cargo bench --bench exchanges`).
pub(super) const SEND_US: u64 = 200;

/// To accept a connection, and to read and verify the head of a request.
pub(super) const HEAD_US: u64 = 100;

/// To read the body of a request, and to write, sign and send the reply.
pub(super) const ANSWER_US: u64 = 200;

/// To read a reply and to verify its head.
pub(super) const READ_US: u64 = 200;

/// To verify one report (`cargo bench --bench reports`).
pub(super) const REPORT_US: u64 = 150;

/// To apply one event, with its share of verdicts and snapshots (`cargo bench --bench reports`).
pub(super) const STEP_US: u64 = 50;

/// To notice that the other end has closed a connection, or that the time of a call is over.
pub(super) const CLOSE_US: u64 = 20;

/// The part of its cores that a machine gives to the hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// The part in thousandths, at least 1.
    pub(crate) permille: u64,
    /// How long such a part and the pause after it take together, in ms.
    pub(crate) period_ms: u64,
}

impl Share {
    /// All processor time.
    pub(crate) const ALL: Self = Self { permille: 1_000, period_ms: 1 };

    /// A part in thousandths, in slices of a period of 100 ms: the default of the kernel's limit for a group of processes.
    pub(crate) const fn permille(permille: u64) -> Self {
        Self { permille, period_ms: 100 }
    }

    fn slice_us(self) -> u64 {
        self.period_ms * self.permille.clamp(1, 1_000)
    }

    /// The first moment from `us` on within a slice, in µs.
    fn available_us(self, us: u64) -> u64 {
        let period_us = self.period_ms * 1_000;
        if us % period_us < self.slice_us() { us } else { us - us % period_us + period_us }
    }

    /// When work of `cost_us` that starts at `start_us` ends, in µs.
    fn end_us(self, start_us: u64, cost_us: u64) -> u64 {
        let period_us = self.period_ms * 1_000;
        let start_us = self.available_us(start_us);
        let first_us = self.slice_us() - start_us % period_us;
        if cost_us <= first_us {
            return start_us + cost_us;
        }
        let rest_us = cost_us - first_us - 1;
        let next_us = start_us - start_us % period_us + period_us;
        next_us + rest_us / self.slice_us() * period_us + rest_us % self.slice_us() + 1
    }
}

/// The machines, and which host runs on which.
pub(super) struct Processors<J> {
    /// By host.
    machine_of: Vec<usize>,
    machines: Vec<Machine<J>>,
}

struct Machine<J> {
    /// For each core, when its job ends, in µs.
    free_us: Vec<u64>,
    share: Share,
    /// The jobs that are ready, oldest first.
    ready: VecDeque<J>,
}

/// The core that begins a job.
pub(super) struct Core {
    machine: usize,
    number: usize,
    start_us: u64,
}

impl<J> Processors<J> {
    /// Machines with these numbers of cores; `machine_of` names the machine of each host.
    pub(super) fn new(cores: &[usize], machine_of: Vec<usize>) -> Self {
        let machines = cores.iter().map(|&cores| Machine {
            free_us: vec![0; cores],
            share: Share::ALL,
            ready: VecDeque::new(),
        });
        Self { machine_of, machines: machines.collect() }
    }

    /// The number of cores of the machine of `host`.
    pub(super) fn cores(&self, host: usize) -> usize {
        self.machines[self.machine_of[host]].free_us.len()
    }

    /// Limits the machine of `host`.
    pub(super) fn set_share(&mut self, host: usize, share: Share) {
        self.machines[self.machine_of[host]].share = share;
    }

    /// Adds a job of `host`.
    pub(super) fn push(&mut self, host: usize, job: J) {
        self.machines[self.machine_of[host]].ready.push_back(job);
    }

    /// The number of jobs that are ready.
    pub(super) fn backlog(&self) -> usize {
        self.machines.iter().map(|machine| machine.ready.len()).sum()
    }

    /// When the next job begins, in ms.
    pub(super) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        let machines = self.machines.iter().filter(|machine| !machine.ready.is_empty());
        machines.map(|machine| machine.next(now_ms).0 / 1_000).min()
    }

    /// Removes a job that begins at `now_ms`. Its core is to be occupied then.
    pub(super) fn begin(&mut self, now_ms: u64) -> Option<(J, Core)> {
        self.machines.iter_mut().enumerate().find_map(|(index, machine)| {
            let (start_us, number) = machine.next(now_ms);
            if start_us / 1_000 > now_ms {
                return None;
            }
            let job = machine.ready.pop_front()?;
            Some((job, Core { machine: index, number, start_us }))
        })
    }

    /// Occupies a core for `cost_us`. Returns when the job ends, in ms.
    pub(super) fn occupy(&mut self, core: &Core, cost_us: u64) -> u64 {
        let machine = &mut self.machines[core.machine];
        let end_us = machine.share.end_us(core.start_us, cost_us);
        machine.free_us[core.number] = end_us;
        end_us.div_ceil(1_000)
    }
}

impl<J> Machine<J> {
    /// When the next job begins, in µs, and on which core.
    fn next(&self, now_ms: u64) -> (u64, usize) {
        let cores = self.free_us.iter().enumerate().map(|(core, free_us)| (*free_us, core));
        let (free_us, core) = cores.min().expect("a machine has a core");
        (self.share.available_us(free_us.max(now_ms * 1_000)), core)
    }
}

#[test]
fn a_share_runs_at_the_beginning_of_each_period() {
    let fifth = Share { permille: 200, period_ms: 100 };
    // When the work starts, its cost, and when it ends, in ms.
    for (start_ms, cost_ms, end_ms) in [
        (0, 20, 20),
        (0, 21, 101),
        (0, 40, 120),
        (0, 41, 201),
        (19, 1, 20),
        (19, 2, 101),
        (20, 1, 101),
        (99, 1, 101),
        (105, 15, 120),
        (105, 16, 201),
    ] {
        let end_us = fifth.end_us(start_ms * 1_000, cost_ms * 1_000);
        assert_eq!(end_us, end_ms * 1_000, "{cost_ms} ms from {start_ms} on");
    }
    assert_eq!(Share::ALL.end_us(1_234, 987_654), 988_888);
}

#[test]
fn jobs_share_the_cores_of_their_machine() {
    let mut processors = Processors::new(&[2, 1], vec![0, 0, 1]);
    for (host, job) in [(0, 'a'), (1, 'b'), (0, 'c'), (2, 'd')] {
        processors.push(host, job);
    }
    let mut begun = Vec::new();
    let mut now_ms = 0;
    while let Some(next_ms) = processors.next_ms(now_ms) {
        now_ms = next_ms;
        let (job, core) = processors.begin(now_ms).expect("a job is due");
        let end_ms = processors.occupy(&core, 3_500);
        begun.push((job, now_ms, end_ms));
    }
    assert_eq!(begun, [('a', 0, 4), ('b', 0, 4), ('d', 0, 4), ('c', 3, 7)]);
    assert_eq!((processors.cores(1), processors.cores(2)), (2, 1));
}
