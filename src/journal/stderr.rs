//! Log lines for standard error: what a terminal, a file or systemd's pipe reads.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};

use super::priority;

/// What stands in front of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// `<N>`, which systemd takes for the line's priority and does not show.
    Priority,
    /// The time (UTC) and the level.
    Time,
}

/// Writes to standard error, one write for each record.
pub(super) struct Stderr {
    pub(super) style: Style,
}

impl Stderr {
    pub(super) fn log(&self, record: &Record<'_>) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let text = format(self.style, since, record);
        // Where nobody reads the log, nobody can be told.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The record as one line, or as several where the message has several: each with its own front, so that
/// no text of a peer's can pass for a line of ours.
fn format(style: Style, since_1970: Duration, record: &Record<'_>) -> String {
    let front = match style {
        Style::Priority => format!("<{}>", priority(record.level())),
        Style::Time => format!("{} {} ", utc(since_1970), level_name(record.level())),
    };
    let message = record.args().to_string();
    let mut fields = Fields { message: &message, text: String::new() };
    // The only errors are those of the visitor, which has none.
    let _ = record.key_values().visit(&mut fields);
    let fields = fields.text;
    let mut text = String::with_capacity(front.len() + message.len() + fields.len() + 1);
    let mut lines = message.lines().peekable();
    let mut continued = false;
    while let Some(line) = lines.next() {
        text += &front;
        if continued {
            text += "  ";
        }
        continued = true;
        push_visible(&mut text, line);
        if lines.peek().is_none() {
            push_visible(&mut text, &fields);
        }
        text.push('\n');
    }
    text
}

/// Collects the fields that the message does not name already, as ` peer=node-2`.
struct Fields<'m> {
    message: &'m str,
    text: String,
}

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        // Those without are for machines.
        let Some(key) = key.as_str().strip_prefix("DISTOMON_") else { return Ok(()) };
        let value = value.to_string();
        if !names(self.message, &value) && !value.is_empty() {
            let _ = write!(self.text, " {}={value}", key.to_ascii_lowercase());
        }
        Ok(())
    }
}

/// Whether `message` has `value` as a word (or words) of its own.
fn names(message: &str, value: &str) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    message
        .match_indices(value)
        .any(|(at, _)| !message[..at].ends_with(inside) && !message[at + value.len()..].starts_with(inside))
}

/// Appends `text`; what moves a terminal's cursor or changes its state becomes an escape.
fn push_visible(to: &mut String, text: &str) {
    for letter in text.chars() {
        if letter.is_control() && letter != '\t' {
            to.extend(letter.escape_default());
        } else {
            to.push(letter);
        }
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "error:",
        Level::Warn => "warning:",
        Level::Info => "info:",
        Level::Debug => "debug:",
        Level::Trace => "trace:",
    }
}

/// RFC 3339 with ms, in UTC. From the days since 1970 to the date as in Howard Hinnant's
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn utc(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let ms = since_1970.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_763_884_800_123, "2025-11-23T08:00:00.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(Duration::from_millis(ms)), expected, "{ms}");
        }
    }

    #[test]
    fn lines() {
        let check = |style, level, message: &str, fields: &[(&str, &str)], expected: &str| {
            let written = format(
                style,
                Duration::ZERO,
                &Record::builder().level(level).args(format_args!("{message}")).key_values(&fields).build(),
            );
            assert_eq!(written, expected, "{message:?} {fields:?}");
        };
        let none: &[(&str, &str)] = &[];
        check(Style::Time, Level::Info, "starts", none, "1970-01-01T00:00:00.000Z info: starts\n");
        check(Style::Priority, Level::Error, "fails", none, "<3>fails\n");
        check(Style::Priority, Level::Info, "", none, "");
        let fields: &[_] = &[("DISTOMON_NETWORK", "n"), ("DISTOMON_PEER", "node-2")];
        check(Style::Priority, Level::Warn, "lost", fields, "<4>lost network=n peer=node-2\n");
        check(Style::Priority, Level::Warn, "n: lost node-2", fields, "<4>n: lost node-2\n");
        check(Style::Priority, Level::Warn, "lost node-21", &fields[1..], "<4>lost node-21 peer=node-2\n");
        check(
            Style::Priority,
            Level::Warn,
            "two\nlines",
            fields,
            "<4>two\n<4>  lines network=n peer=node-2\n",
        );
        check(Style::Priority, Level::Debug, "a\n<0>forged", none, "<6>a\n<6>  <0>forged\n");
        let kind: &[_] = &[("MESSAGE_ID", "0123"), ("DISTOMON_PEER", "")];
        check(Style::Priority, Level::Info, "a", kind, "<5>a\n");
        let evil: &[_] = &[("DISTOMON_ERROR", "x\n<0>y\u{1b}[2J")];
        check(
            Style::Priority,
            Level::Trace,
            "a\u{1b}[31m\rb",
            evil,
            "<7>a\\u{1b}[31m\\rb error=x\\n<0>y\\u{1b}[2J\n",
        );
    }
}
