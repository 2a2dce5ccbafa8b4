//! The worker threads that serve connections.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::connection::AcceptedConnection;
use super::handler::Handler;

/// The prefix of the names of worker threads. They are not essential: a panic ends one request.
const THREAD_PREFIX: &str = "http-";

/// The address space of a worker's stack in bytes; only touched pages use memory.
const STACK_BYTES: usize = 1024 * 1024;

/// How long an idle worker waits for a connection before it ends; starting a thread costs more than many
/// replies.
const WORKER_IDLE: Duration = Duration::from_secs(1);

/// A pool that serves each connection in a thread. It starts a thread when none is idle; the connection
/// limiter bounds their number.
pub(super) struct WorkerPool<H> {
    handler: Arc<H>,
    /// Passes a connection to an idle worker. Closing the channel ends idle workers.
    idle_workers: Option<(Sender<AcceptedConnection>, Receiver<AcceptedConnection>)>,
    threads: Vec<JoinHandle<()>>,
    started: u64,
}

impl<H: Handler> WorkerPool<H> {
    pub(super) fn new(handler: Arc<H>) -> Self {
        let idle_workers = Some(crossbeam_channel::bounded(0));
        Self { handler, idle_workers, threads: Vec::new(), started: 0 }
    }

    pub(super) fn handler(&self) -> &H {
        &self.handler
    }

    /// Serves the connection in an idle or a new thread. Fails if no thread can be started; the connection is
    /// closed then.
    pub(super) fn dispatch(&mut self, accepted: AcceptedConnection) -> io::Result<()> {
        let Some((sender, receiver)) = &self.idle_workers else { return Ok(()) };
        let accepted = match sender.try_send(accepted) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(accepted) | TrySendError::Disconnected(accepted)) => accepted,
        };
        let (handler, receiver) = (Arc::clone(&self.handler), receiver.clone());
        self.started += 1;
        let name = format!("{THREAD_PREFIX}{}", self.started);
        let work = move || {
            let mut next = Some(accepted);
            while let Some(accepted) = next.take() {
                accepted.serve(&*handler);
                // Releases the permit before the wait.
                drop(accepted);
                next = receiver.recv_timeout(WORKER_IDLE).ok();
            }
        };
        self.threads.push(thread::Builder::new().name(name).stack_size(STACK_BYTES).spawn(work)?);
        Ok(())
    }

    /// Ends idle workers; busy ones end after their connection.
    pub(super) fn close(&mut self) {
        self.idle_workers = None;
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

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        log::error!("thread {name} panicked outside of a request");
    }
}
