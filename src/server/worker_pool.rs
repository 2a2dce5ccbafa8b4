//! The worker threads that serve connections.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::connection::AcceptedConnection;
use super::handler::Handler;

/// The prefix of the names of worker threads. They are not essential: a panic ends one request.
const THREAD_PREFIX: &str = "http-";

/// The address space of a worker's stack in bytes; only touched pages use memory.
const STACK_BYTES: usize = 1024 * 1024;

/// The number of idle workers that are kept for good, since starting a thread costs more than a reply: peers open a
/// connection for each exchange, one or two at a time.
const KEPT_WORKERS: usize = 2;

/// How long a further idle worker waits for a connection before it ends.
const WORKER_IDLE: Duration = Duration::from_millis(100);

/// A pool that serves each connection in a thread. It starts a thread when none is idle; the connection
/// limiter bounds their number.
pub(super) struct WorkerPool<H> {
    handler: Arc<H>,
    idle_workers: Arc<IdleWorkers<AcceptedConnection>>,
    threads: Vec<JoinHandle<()>>,
    started: u64,
}

impl<H: Handler> WorkerPool<H> {
    pub(super) fn new(handler: Arc<H>) -> Self {
        Self { handler, idle_workers: Arc::default(), threads: Vec::new(), started: 0 }
    }

    pub(super) fn handler(&self) -> &H {
        &self.handler
    }

    /// Serves the connection in an idle or a new thread. Fails if no thread can be started; the connection is
    /// closed then.
    pub(super) fn dispatch(&mut self, accepted: AcceptedConnection) -> io::Result<()> {
        let Err(accepted) = self.idle_workers.assign(accepted) else { return Ok(()) };
        let (handler, idle_workers) = (Arc::clone(&self.handler), Arc::clone(&self.idle_workers));
        self.started += 1;
        let name = format!("{THREAD_PREFIX}{}", self.started);
        let work = move || {
            let mut next = Some(accepted);
            while let Some(accepted) = next.take() {
                accepted.serve(&*handler);
                // Releases the permit before the wait.
                drop(accepted);
                next = idle_workers.wait(WORKER_IDLE);
            }
        };
        self.threads.push(thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(work)?);
        Ok(())
    }

    /// Ends idle workers; busy ones end after their connection.
    pub(super) fn close(&mut self) {
        self.idle_workers.close();
    }

    /// Joins the workers that have ended.
    pub(super) fn join_ended(&mut self) {
        let mut index = 0;
        while index < self.threads.len() {
            if self.threads[index].is_finished() {
                join(self.threads.swap_remove(index));
            } else {
                index += 1;
            }
        }
    }

    /// Waits until all workers have ended.
    pub(super) fn join_all(&mut self) {
        self.threads.drain(..).for_each(join);
    }
}

/// Passes work to threads that wait for it. A channel would do, but its receivers spin before they sleep, which costs more
/// than a reply.
struct IdleWorkers<T> {
    queue: Mutex<IdleQueue<T>>,
    changed: Condvar,
}

struct IdleQueue<T> {
    /// Work for waiting threads: at most as many as wait.
    assigned: VecDeque<T>,
    waiting: usize,
    closed: bool,
}

impl<T> Default for IdleWorkers<T> {
    fn default() -> Self {
        let queue = IdleQueue { assigned: VecDeque::new(), waiting: 0, closed: false };
        Self { queue: Mutex::new(queue), changed: Condvar::new() }
    }
}

impl<T> IdleWorkers<T> {
    /// Passes `work` to a waiting thread. Returns it if none waits for work.
    fn assign(&self, work: T) -> Result<(), T> {
        let mut queue = self.queue.lock();
        if queue.assigned.len() == queue.waiting {
            return Err(work);
        }
        queue.assigned.push_back(work);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for work. None after [`IdleWorkers::close`], or if more than [`KEPT_WORKERS`] threads wait after `limit`.
    fn wait(&self, limit: Duration) -> Option<T> {
        let mut queue = self.queue.lock();
        queue.waiting += 1;
        let mut deadline = Instant::now().checked_add(limit);
        let work = loop {
            if let Some(work) = queue.assigned.pop_front() {
                break Some(work);
            }
            if queue.closed {
                break None;
            }
            match deadline {
                None => self.changed.wait(&mut queue),
                Some(at) if !self.changed.wait_until(&mut queue, at).timed_out() => {}
                Some(_) if queue.waiting > KEPT_WORKERS && queue.assigned.is_empty() => break None,
                Some(_) => deadline = None,
            }
        };
        queue.waiting -= 1;
        work
    }

    /// Ends all waits.
    fn close(&self) {
        self.queue.lock().closed = true;
        self.changed.notify_all();
    }
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        log::error!("thread {name} panicked outside of a request");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until `count` threads wait for work.
    fn wait_until_waiting<T>(workers: &IdleWorkers<T>, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while workers.queue.lock().waiting != count {
            assert!(Instant::now() < deadline, "{} wait, expected {count}", workers.queue.lock().waiting);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn work_goes_to_waiting_threads_only() {
        let workers = IdleWorkers::default();
        assert_eq!(workers.assign(0), Err(0), "no thread waits");
        thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(|| workers.wait(WORKER_IDLE)));
            wait_until_waiting(&workers, 2);
            assert_eq!((workers.assign(1), workers.assign(2)), (Ok(()), Ok(())));
            let mut done = threads.map(|thread| thread.join().expect("no panic"));
            done.sort_unstable();
            assert_eq!(done, [Some(1), Some(2)]);
        });
        assert_eq!(workers.assign(3), Err(3));
    }

    #[test]
    fn few_idle_threads_remain_until_the_end() {
        let workers = IdleWorkers::<u8>::default();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..KEPT_WORKERS + 3)
                .map(|_| scope.spawn(|| workers.wait(Duration::from_millis(20))))
                .collect();
            let ended = || threads.iter().filter(|thread| thread.is_finished()).count();
            let deadline = Instant::now() + Duration::from_secs(20);
            while ended() < 3 && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(1));
            }
            let numbers = (ended(), workers.queue.lock().waiting);
            // The threads must end before a failure can be reported.
            workers.close();
            assert_eq!(numbers, (3, KEPT_WORKERS));
        });
        assert_eq!(workers.wait(WORKER_IDLE), None, "after the end");
    }
}
