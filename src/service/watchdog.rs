//! Keep-alive messages to the watchdog of the service manager while all watched loops make progress.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::notify::Notifier;
use crate::journal::message_id;
use crate::threads;

/// The number of checks of the loops in each keep-alive interval.
const CHECKS_PER_INTERVAL: u32 = 4;

/// The minimum time between two checks.
const MIN_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// A loop that shows its progress by changing a number, such as the monotonic time of its last iteration.
pub struct WatchedLoop {
    name: &'static str,
    progress: Box<dyn Fn() -> u64 + Send>,
}

impl WatchedLoop {
    /// Creates a loop with the function that returns its number. Any change of the number is progress.
    pub fn new(name: &'static str, progress: impl Fn() -> u64 + Send + 'static) -> Self {
        Self { name, progress: Box::new(progress) }
    }

    /// Creates a loop that stores its number in `progress`.
    pub fn with_counter(name: &'static str, progress: Arc<AtomicU64>) -> Self {
        Self::new(name, move || progress.load(Ordering::Relaxed))
    }
}

/// Thread that sends the keep-alive messages until this is dropped.
pub struct Watchdog {
    // Closing this channel ends the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Sends a keep-alive message twice in each period of `WATCHDOG_USEC` while each of `loops` made progress within
    /// the last half period. Returns `None` if the service manager has no watchdog for this process.
    pub fn start(notifier: Arc<Notifier>, loops: Vec<WatchedLoop>) -> io::Result<Option<Self>> {
        match sd_notify::watchdog_enabled() {
            Some(period) if !period.is_zero() && notifier.is_connected() => {
                Self::start_with_interval(period / 2, notifier, loops).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn start_with_interval(
        interval: Duration,
        notifier: Arc<Notifier>,
        loops: Vec<WatchedLoop>,
    ) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread = threads::spawn_essential("watchdog", move || {
            watch(interval, &notifier, loops.into_iter().map(LoopMonitor::new).collect(), &stopped);
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // The panic hook has logged any panic.
            let _ = thread.join();
        }
    }
}

fn watch(interval: Duration, notifier: &Notifier, mut monitors: Vec<LoopMonitor>, stopped: &Receiver<()>) {
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        // No short circuit: each stuck loop has its own journal line.
        let mut all_live = true;
        for monitor in &mut monitors {
            all_live &= monitor.check(now, interval);
        }
        if all_live && now >= next {
            notifier.watchdog();
            next = now + interval;
        }
        if stopped.recv_timeout((interval / CHECKS_PER_INTERVAL).max(MIN_CHECK_INTERVAL))
            != Err(RecvTimeoutError::Timeout)
        {
            return;
        }
    }
}

/// Progress of one loop.
struct LoopMonitor {
    watched: WatchedLoop,
    last: u64,
    changed: Instant,
    is_stuck: bool,
}

impl LoopMonitor {
    fn new(watched: WatchedLoop) -> Self {
        let last = (watched.progress)();
        Self { watched, last, changed: Instant::now(), is_stuck: false }
    }

    /// Returns whether the loop made progress within `limit` before `now`. Logs when it gets stuck and when it recovers.
    fn check(&mut self, now: Instant, limit: Duration) -> bool {
        let progress = (self.watched.progress)();
        if progress != self.last {
            self.last = progress;
            self.changed = now;
        }
        let idle = now.saturating_duration_since(self.changed);
        let is_stuck = idle > limit;
        if is_stuck != self.is_stuck {
            self.is_stuck = is_stuck;
            let name = self.watched.name;
            if is_stuck {
                let idle_s = idle.as_secs_f32();
                log::error!(
                    MESSAGE_ID = message_id::THREAD_STUCK;
                    "{name} stuck: no progress for {idle_s:.1} s; keep-alive messages to the watchdog are paused"
                );
            } else {
                log::warn!("{name} makes progress again");
            }
        }
        !is_stuck
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::notify::tests::{Manager, run_isolated};
    use super::*;

    #[test]
    fn a_loop_gets_stuck_and_recovers() {
        let progress = Arc::new(AtomicU64::new(7));
        let mut monitor = LoopMonitor::new(WatchedLoop::with_counter("event loop", Arc::clone(&progress)));
        let start = monitor.changed;
        let limit = Duration::from_secs(10);
        for (at_s, advances, expected) in
            [(0, true, true), (10, false, true), (11, false, false), (30, true, true), (40, false, true)]
        {
            if advances {
                progress.fetch_add(1, Ordering::Relaxed);
            }
            let now = start + Duration::from_secs(at_s);
            assert_eq!(monitor.check(now, limit), expected, "after {at_s} s");
        }
    }

    #[test]
    fn keep_alive_requires_progress_of_every_loop() {
        let manager = Manager::new("@");
        let (steady, stuck) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&steady);
        let loops = vec![
            WatchedLoop::new("steady", move || counter.fetch_add(1, Ordering::Relaxed)),
            WatchedLoop::with_counter("stuck", Arc::clone(&stuck)),
        ];
        let interval = Duration::from_millis(400);
        let watchdog =
            Watchdog::start_with_interval(interval, Arc::new(manager.notifier()), loops).expect("a thread");
        assert_eq!(manager.next(), "WATCHDOG=1\n", "alive at the start");
        assert!(manager.falls_silent(interval * 3), "one loop is stuck");
        stuck.fetch_add(1, Ordering::Relaxed);
        assert_eq!(manager.next(), "WATCHDOG=1\n", "alive again");
        drop(watchdog);
        assert!(manager.falls_silent(interval * 3), "the thread has ended");
    }

    #[test]
    fn the_environment_enables_the_watchdog() {
        for (usec, pid, watched) in [
            (Some("400000"), None, true),
            (Some("400000"), Some("1"), false),
            (Some("0"), None, false),
            (Some("soon"), None, false),
            (None, None, false),
        ] {
            let manager = Manager::new("@");
            let mut environment = vec![("NOTIFY_SOCKET", manager.name.clone())];
            environment.extend(usec.map(|usec| ("WATCHDOG_USEC", OsString::from(usec))));
            environment.extend(pid.map(|pid| ("WATCHDOG_PID", OsString::from(pid))));
            run_isolated("service::watchdog::tests::isolated_short_watchdog", &environment);
            let messages = manager.all();
            assert_eq!(
                messages.first().map(String::as_str) == Some("WATCHDOG=1\n"),
                watched,
                "{usec:?} {pid:?}"
            );
        }
    }

    #[test]
    #[ignore = "runs in a separate process with its own environment"]
    fn isolated_short_watchdog() {
        let watchdog = Watchdog::start(Arc::new(Notifier::from_env()), Vec::new()).expect("a thread");
        // The thread sends its first message before it checks whether to end.
        drop(watchdog);
    }
}
