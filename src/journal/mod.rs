//! The logger of the process, which writes to the journal with structured fields or to standard error.
//!
//! Fields are the key-value pairs of [`log`] under their journal names: `DISTOMON_NETWORK` (the network's id),
//! `DISTOMON_NODE` (this node), `DISTOMON_PEER` (the node that a line is about) and further names with the
//! prefix `DISTOMON_`; `journalctl DISTOMON_PEER=node-2` selects by them. `MESSAGE_ID` is the kind of a line
//! ([`message_id`]); only the journal receives it.
//!
//! This module depends on no other module of the crate.

pub mod log_limiter;
pub mod message_id;
mod stderr;

use std::io::IsTerminal as _;

use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use self::log_limiter::LogLimiter;
use self::stderr::{Prefix, StderrLog};

/// The syslog identifier, independent of the name of the program's file.
const IDENTIFIER: &str = "distomon";

/// The least severe level of lines that other crates may write, unless the level is trace.
const DEPENDENCY_LEVEL: Level = Level::Warn;

/// Starts logging for the whole process and logs panics; further calls only change the level.
///
/// Lines go to the journal's socket if standard error is connected to the journal, otherwise to standard error:
/// with the prefix `<N>` for the priority (`sd-daemon(3)`) if systemd reads it, otherwise with the time.
pub fn init(level: LevelFilter) {
    if log::set_boxed_logger(Box::new(Logger::choose())).is_ok() {
        let limiter = LogLimiter::default();
        std::panic::set_hook(Box::new(move |panic| {
            // A peer may be able to cause the same caught panic repeatedly.
            let location = panic.location().map(ToString::to_string).unwrap_or_default();
            let Some(suppressed) = limiter.allow(&location) else { return };
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or("<unnamed>");
            log::error!(MESSAGE_ID = message_id::THREAD_PANICKED; "thread {thread} panicked: {panic}{suppressed}");
        }));
    }
    log::set_max_level(level);
}

/// The logger of the process.
enum Logger {
    Journal(JournalLog),
    Stderr(StderrLog),
}

impl Logger {
    fn choose() -> Self {
        let journal = connected_to_journal().then(JournalLog::empty);
        if let Some(Ok(journal)) = journal {
            return Self::Journal(journal.with_syslog_identifier(IDENTIFIER.to_owned()));
        }
        let systemd = ["JOURNAL_STREAM", "INVOCATION_ID"].iter().any(|name| std::env::var_os(name).is_some());
        let prefix =
            if systemd && !std::io::stderr().is_terminal() { Prefix::Priority } else { Prefix::Time };
        Self::Stderr(StderrLog { prefix })
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        own || metadata.level() <= DEPENDENCY_LEVEL || log::max_level() == LevelFilter::Trace
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        match self {
            Self::Journal(journal) => journal.log(record),
            Self::Stderr(stderr) => stderr.log(record),
        }
    }

    fn flush(&self) {}
}

/// Returns the syslog(3) priority of a level, as systemd-journal-logger maps it: `info` is a notice.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 5,
        Level::Debug => 6,
        Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_log_only_warnings_and_errors() {
        let logger = Logger::Stderr(StderrLog { prefix: Prefix::Time });
        for (target, level, passes) in [
            ("distomon", Level::Debug, true),
            ("distomon::store", Level::Debug, true),
            ("distomonster", Level::Info, false),
            ("rustls::client", Level::Info, false),
            ("rustls::client", Level::Warn, true),
        ] {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(logger.enabled(&metadata), passes, "{target} {level}");
        }
    }
}
