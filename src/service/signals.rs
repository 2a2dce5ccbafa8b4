//! Signals and the end of standard input, as [`Control`] values in a channel.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Handle;

use crate::threads;

/// The capacity of the channel; further values would repeat the pending ones.
const QUEUE_LEN: usize = 4;

/// A request to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// SIGTERM, SIGINT, or the end of standard input: stop gracefully.
    Stop,
    /// SIGHUP: reload the configuration.
    Reload,
}

/// Signal handlers that send [`Control`] values until this is dropped.
///
/// Repeated signals do not end the process either: a graceful stop needs only a few seconds, and files are written
/// completely. SIGQUIT keeps its default action and ends the process immediately.
pub struct Signals {
    controls: Receiver<Control>,
    sender: Sender<Control>,
    handle: Handle,
    // Ends when the handle is closed.
    thread: Option<JoinHandle<()>>,
    stdin: Option<EndWatcher>,
}

impl Signals {
    /// Installs the handlers for SIGTERM, SIGINT and SIGHUP.
    pub fn listen() -> io::Result<Self> {
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let (sender, controls) = bounded(QUEUE_LEN);
        let out = sender.clone();
        let thread = threads::spawn_essential("signals", move || {
            for signal in &mut signals {
                send_control(&out, if signal == SIGHUP { Control::Reload } else { Control::Stop });
            }
        })?;
        Ok(Self { controls, sender, handle, thread: Some(thread), stdin: None })
    }

    /// Also sends [`Control::Stop`] at the end of standard input, so that this process ends with the one that holds
    /// the other end of the pipe.
    pub fn stop_at_end_of_stdin(&mut self) -> io::Result<()> {
        let input = rustix::io::dup(rustix::stdio::stdin())?;
        self.stdin = Some(EndWatcher::watch(input, self.sender.clone())?);
        Ok(())
    }

    /// Returns the receiving end of the channel.
    pub fn controls(&self) -> &Receiver<Control> {
        &self.controls
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged any panic.
            let _ = thread.join();
        }
    }
}

/// Sends without waiting. A value that does not fit is already pending.
fn send_control(to: &Sender<Control>, control: Control) {
    // Reloads leave room for a stop.
    if control == Control::Stop || to.len() < QUEUE_LEN / 2 {
        let _ = to.try_send(control);
    }
}

/// Thread that waits for the end of an input.
struct EndWatcher {
    // Closing this end of the pipe ends the thread.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl EndWatcher {
    fn watch(input: OwnedFd, to: Sender<Control>) -> io::Result<Self> {
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let thread = threads::spawn_essential("stdin", move || {
            if reaches_end(&input, &stopped) {
                send_control(&to, Control::Stop);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for EndWatcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged any panic.
            let _ = thread.join();
        }
    }
}

/// Discards `input` until it ends (true) or the other end of `stopped` closes (false).
fn reaches_end(input: &OwnedFd, stopped: &OwnedFd) -> bool {
    loop {
        let mut both = [PollFd::new(input, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        match poll(&mut both, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return true,
            Ok(_) => {}
        }
        let [input_events, stop_events] = both.map(|fd| fd.revents());
        if !stop_events.is_empty() {
            return false;
        }
        if !input_events.is_empty() {
            match rustix::io::read(input, &mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) | Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
                Err(_) => return true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn signals_become_controls() {
        // Signals reach the whole process, so no other test may install handlers.
        let signals = Signals::listen().expect("handlers");
        for (signal, expected) in [
            (Signal::HUP, Control::Reload),
            (Signal::TERM, Control::Stop),
            (Signal::HUP, Control::Reload),
            (Signal::INT, Control::Stop),
            (Signal::INT, Control::Stop),
        ] {
            kill_process(getpid(), signal).expect("own process");
            assert_eq!(signals.controls().recv_timeout(DEADLINE), Ok(expected), "{signal:?}");
        }
    }

    #[test]
    fn reloads_leave_room_for_a_stop() {
        let (sender, receiver) = bounded(QUEUE_LEN);
        for _ in 0..100 {
            send_control(&sender, Control::Reload);
        }
        send_control(&sender, Control::Stop);
        let all: Vec<_> = receiver.try_iter().collect();
        assert_eq!(all.last(), Some(&Control::Stop), "{all:?}");
    }

    #[test]
    fn the_end_of_input_stops() {
        let (sender, receiver) = bounded(QUEUE_LEN);
        let (input, other_end) = rustix::pipe::pipe().expect("a pipe");
        let _watched = EndWatcher::watch(input, sender).expect("a thread");
        rustix::io::write(&other_end, b"ignored").expect("room in the pipe");
        assert_eq!(receiver.recv_timeout(Duration::from_millis(50)).ok(), None, "not the end yet");
        drop(other_end);
        assert_eq!(receiver.recv_timeout(DEADLINE), Ok(Control::Stop));
    }

    #[test]
    fn dropping_the_watcher_ends_its_thread() {
        let (sender, receiver) = bounded(QUEUE_LEN);
        let (input, _other_end) = rustix::pipe::pipe().expect("a pipe");
        drop(EndWatcher::watch(input, sender).expect("a thread"));
        assert_eq!(receiver.recv_timeout(DEADLINE).ok(), None, "the thread has ended and sent nothing");
        assert!(receiver.try_recv().is_err_and(|error| error.is_disconnected()));
    }
}
