//! Signs of life for the service manager, as long as the parts that matter live.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::notify::Notifier;

/// How often the hearts are listened to between two signs of life.
const LOOKS: u32 = 4;

/// The least time between two looks, however impatient the service manager is.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

/// A loop whose turning is watched: it keeps changing a number, such as the monotonic time of its last turn.
pub struct Heart {
    name: &'static str,
    read: Box<dyn Fn() -> u64 + Send>,
}

impl Heart {
    /// The heart `name`, whose last beat `read` returns. Any change of the number is a beat.
    pub fn new(name: &'static str, read: impl Fn() -> u64 + Send + 'static) -> Self {
        Self { name, read: Box::new(read) }
    }

    /// The heart `name`, whose beats are stored in `beat`.
    pub fn of(name: &'static str, beat: Arc<AtomicU64>) -> Self {
        Self::new(name, move || beat.load(Ordering::Relaxed))
    }
}

/// The thread that gives the signs of life. It ends with this value.
pub struct Watchdog {
    // Above the thread: it ends because this closes.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Gives a sign of life twice in each period of `WATCHDOG_USEC`, from now on, while each of `hearts`
    /// beat within the last half period. None where the service manager does not wait for signs of life.
    pub fn start(notifier: Arc<Notifier>, hearts: Vec<Heart>) -> io::Result<Option<Self>> {
        match sd_notify::watchdog_enabled() {
            Some(period) if !period.is_zero() && notifier.is_connected() => {
                Self::every(period / 2, notifier, hearts).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn every(interval: Duration, notifier: Arc<Notifier>, hearts: Vec<Heart>) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            watch(interval, &notifier, hearts.into_iter().map(Pulse::new).collect(), &stopped);
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was logged when it happened.
            let _ = thread.join();
        }
    }
}

fn watch(interval: Duration, notifier: &Notifier, mut pulses: Vec<Pulse>, stopped: &Receiver<()>) {
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        // Each one is looked at, so that each has its own line when it stops.
        let mut alive = true;
        for pulse in &mut pulses {
            alive &= pulse.beats(now, interval);
        }
        if alive && now >= next {
            notifier.watchdog();
            next = now + interval;
        }
        if stopped.recv_timeout((interval / LOOKS).max(SHORTEST_LOOK)) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// What is known of a heart.
struct Pulse {
    heart: Heart,
    last: u64,
    changed: Instant,
    stood_still: bool,
}

impl Pulse {
    fn new(heart: Heart) -> Self {
        let last = (heart.read)();
        Self { heart, last, changed: Instant::now(), stood_still: false }
    }

    /// Whether the heart beat within `time` before `now`.
    fn beats(&mut self, now: Instant, time: Duration) -> bool {
        let beat = (self.heart.read)();
        if beat != self.last {
            self.last = beat;
            self.changed = now;
        }
        let still = now.saturating_duration_since(self.changed);
        let stands_still = still > time;
        if stands_still != self.stood_still {
            self.stood_still = stands_still;
            let name = self.heart.name;
            if stands_still {
                let still = still.as_secs_f32();
                log::error!(
                    MESSAGE_ID = crate::journal::message_id::THREAD_STUCK;
                    "{name} has not turned for {still:.1} s: no signs of life to the service manager"
                );
            } else {
                log::warn!("{name} turns again");
            }
        }
        !stands_still
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::notify::tests::{Manager, run_alone};
    use super::*;

    #[test]
    fn a_heart_that_stops_and_goes_on() {
        let beat = Arc::new(AtomicU64::new(7));
        let mut pulse = Pulse::new(Heart::of("collector", Arc::clone(&beat)));
        let start = pulse.changed;
        let time = Duration::from_secs(10);
        for (at_s, beats_now, expected) in
            [(0, true, true), (10, false, true), (11, false, false), (30, true, true), (40, false, true)]
        {
            if beats_now {
                beat.fetch_add(1, Ordering::Relaxed);
            }
            let now = start + Duration::from_secs(at_s);
            assert_eq!(pulse.beats(now, time), expected, "after {at_s} s");
        }
    }

    #[test]
    fn signs_of_life_need_every_heart() {
        let manager = Manager::new("@");
        let (steady, weak) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let beating = Arc::clone(&steady);
        let hearts = vec![
            Heart::new("steady", move || beating.fetch_add(1, Ordering::Relaxed)),
            Heart::of("weak", Arc::clone(&weak)),
        ];
        let interval = Duration::from_millis(400);
        let watchdog = Watchdog::every(interval, Arc::new(manager.notifier()), hearts).expect("a thread");
        assert_eq!(manager.next(), "WATCHDOG=1\n", "alive at the start");
        assert!(manager.falls_silent(interval * 3), "the weak heart does not beat");
        weak.fetch_add(1, Ordering::Relaxed);
        assert_eq!(manager.next(), "WATCHDOG=1\n", "alive again");
        drop(watchdog);
        assert!(manager.falls_silent(interval * 3), "the thread has ended");
    }

    #[test]
    fn the_environment_decides() {
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
            run_alone("service::watchdog::tests::alone_watched_for_a_moment", &environment);
            let told = manager.all();
            assert_eq!(told.first().map(String::as_str) == Some("WATCHDOG=1\n"), watched, "{usec:?} {pid:?}");
        }
    }

    #[test]
    #[ignore = "the other half of a test: needs its environment"]
    fn alone_watched_for_a_moment() {
        let watchdog = Watchdog::start(Arc::new(Notifier::from_env()), Vec::new()).expect("a thread");
        // The thread gives its first sign of life before it looks whether it shall end.
        drop(watchdog);
    }
}
