//! Where log lines go: to the journal with their fields, else to standard error.
//!
//! Fields are the key-value pairs of [`log`], named as the journal will have them: `DISTOMON_NETWORK` (the
//! network's id), `DISTOMON_NODE` (this node), `DISTOMON_PEER` (the node that a line is about), and others
//! that begin with `DISTOMON_`. `journalctl DISTOMON_PEER=node-2` finds them. `MESSAGE_ID` is the line's kind
//! ([`message_id`]), for the journal alone.

pub mod log_limiter;
pub mod message_id;
mod stderr;

use std::io::IsTerminal as _;

use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::{JournalLog, connected_to_journal};

use self::log_limiter::LogLimiter;
use self::stderr::{Stderr, Style};

/// The name in the journal, whatever the program's file is called.
const IDENTIFIER: &str = "distomon";

/// Lines of other crates' are noise below this level, unless everything is asked for.
const OTHERS: Level = Level::Warn;

/// Starts logging, once for the whole process; later calls only change the level. From then on a panic is
/// a log line as well.
///
/// Lines go to the journal's own socket where standard error is connected to the journal. Elsewhere they go
/// to standard error: with the priority in front as `<N>` (`sd-daemon(3)`) where systemd reads it, else
/// with the time.
pub fn init(level: LevelFilter) {
    if log::set_boxed_logger(Box::new(Logger::choose())).is_ok() {
        let lines = LogLimiter::default();
        std::panic::set_hook(Box::new(move |panic| {
            // Some are caught, and whoever caused them may do so again.
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            let Some(more) = lines.allow(&place) else { return };
            let thread = std::thread::current();
            let thread = thread.name().unwrap_or("without a name");
            log::error!(MESSAGE_ID = message_id::THREAD_PANICKED; "thread {thread} panicked: {panic}{more}");
        }));
    }
    log::set_max_level(level);
}

/// The one logger of the process.
enum Logger {
    Journal(JournalLog),
    Stderr(Stderr),
}

impl Logger {
    fn choose() -> Self {
        let journal = connected_to_journal().then(JournalLog::empty);
        if let Some(Ok(journal)) = journal {
            return Self::Journal(journal.with_syslog_identifier(IDENTIFIER.to_owned()));
        }
        let systemd = ["JOURNAL_STREAM", "INVOCATION_ID"].iter().any(|name| std::env::var_os(name).is_some());
        let style = if systemd && !std::io::stderr().is_terminal() { Style::Priority } else { Style::Time };
        Self::Stderr(Stderr { style })
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
        own || metadata.level() <= OTHERS || log::max_level() == LevelFilter::Trace
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

/// The priority of a level (syslog(3)), the same on both ways: as systemd-journal-logger has it, whose
/// `info` is a notice.
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
    fn whose_lines_pass() {
        let logger = Logger::Stderr(Stderr { style: Style::Time });
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
