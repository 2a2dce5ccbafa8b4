//! Signals, and the end of standard input, as values in a channel.

use std::io;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Handle;

/// Room for what the service has not taken yet; more of the same would tell it nothing new.
const WAITING: usize = 4;

/// What the process is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM, SIGINT, or the end of standard input: stop, and lose nothing.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// Turns signals into [`Request`]s for as long as it lives.
///
/// However often one comes, none ends the process by itself: to stop takes a few seconds at most, and
/// what is written meanwhile is written whole. SIGQUIT is left to those who cannot wait.
pub struct Signals {
    requests: Receiver<Request>,
    sender: Sender<Request>,
    handle: Handle,
    // The thread ends because `drop` closes the handle.
    thread: Option<JoinHandle<()>>,
    input: Option<Input>,
}

impl Signals {
    /// From now on signals no longer end the process.
    pub fn listen() -> io::Result<Self> {
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = signals.handle();
        let (sender, requests) = bounded(WAITING);
        let out = sender.clone();
        let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in &mut signals {
                pass_on(&out, if signal == SIGHUP { Request::Reload } else { Request::Stop });
            }
        })?;
        Ok(Self { requests, sender, handle, thread: Some(thread), input: None })
    }

    /// The end of standard input is a [`Request::Stop`] as well: a process that holds the other end of that
    /// pipe takes this one with it, however it ends.
    pub fn stop_with_stdin(&mut self) -> io::Result<()> {
        let input = rustix::io::dup(rustix::stdio::stdin())?;
        self.input = Some(Input::watch(input, self.sender.clone())?);
        Ok(())
    }

    /// Where the requests come out.
    pub fn requests(&self) -> &Receiver<Request> {
        &self.requests
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic there was logged when it happened.
            let _ = thread.join();
        }
    }
}

/// Never waits: what does not fit is there already.
fn pass_on(to: &Sender<Request>, request: Request) {
    // Reloads leave room, so that there is always some for a stop.
    if request == Request::Stop || to.len() < WAITING / 2 {
        let _ = to.try_send(request);
    }
}

/// The thread that waits for the end of an input.
struct Input {
    // The thread ends because this end of its pipe closes.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Input {
    fn watch(input: OwnedFd, to: Sender<Request>) -> io::Result<Self> {
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            if ends(&input, &stopped) {
                pass_on(&to, Request::Stop);
            }
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was logged when it happened.
            let _ = thread.join();
        }
    }
}

/// Reads `input` and throws it away until it ends (true) or the other end of `stopped` closes (false).
fn ends(input: &OwnedFd, stopped: &OwnedFd) -> bool {
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
    fn signals_become_requests() {
        // The signals reach the whole process: other tests of it must not listen to them.
        let signals = Signals::listen().expect("handlers");
        for (signal, expected) in [
            (Signal::HUP, Request::Reload),
            (Signal::TERM, Request::Stop),
            (Signal::HUP, Request::Reload),
            (Signal::INT, Request::Stop),
            (Signal::INT, Request::Stop),
        ] {
            kill_process(getpid(), signal).expect("own process");
            assert_eq!(signals.requests().recv_timeout(DEADLINE), Ok(expected), "{signal:?}");
        }
    }

    #[test]
    fn reloads_leave_room_for_a_stop() {
        let (sender, receiver) = bounded(WAITING);
        for _ in 0..100 {
            pass_on(&sender, Request::Reload);
        }
        pass_on(&sender, Request::Stop);
        let all: Vec<_> = receiver.try_iter().collect();
        assert_eq!(all.last(), Some(&Request::Stop), "{all:?}");
    }

    #[test]
    fn the_end_of_input_stops() {
        let (sender, receiver) = bounded(WAITING);
        let (input, other_end) = rustix::pipe::pipe().expect("a pipe");
        let _watched = Input::watch(input, sender).expect("a thread");
        rustix::io::write(&other_end, b"ignored").expect("room in the pipe");
        assert_eq!(receiver.recv_timeout(Duration::from_millis(50)).ok(), None, "not the end yet");
        drop(other_end);
        assert_eq!(receiver.recv_timeout(DEADLINE), Ok(Request::Stop));
    }

    #[test]
    fn watching_an_input_that_does_not_end_can_be_given_up() {
        let (sender, receiver) = bounded(WAITING);
        let (input, _other_end) = rustix::pipe::pipe().expect("a pipe");
        drop(Input::watch(input, sender).expect("a thread"));
        assert_eq!(receiver.recv_timeout(DEADLINE).ok(), None, "the thread has ended, without a word");
        assert!(receiver.try_recv().is_err_and(|error| error.is_disconnected()));
    }
}
