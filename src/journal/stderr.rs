//! Log lines on standard error, for a terminal, a file or a pipe of systemd.

use std::fmt::Write as _;
use std::io::Write as _;

use log::kv::{Error, Key, Value, VisitSource};
use log::{Level, Record};
use time::OffsetDateTime;

use super::priority;

/// The prefix of each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// `<N>`, which systemd reads as the priority and removes.
    Priority,
    /// The time (UTC) and the level.
    Time,
}

/// Logger that writes to standard error, with one write for each record.
pub(super) struct StderrLog {
    pub(super) prefix: Prefix,
}

impl StderrLog {
    pub(super) fn log(&self, record: &Record<'_>) {
        let text = format(self.prefix, OffsetDateTime::now_utc(), record);
        // There is no other place to report that standard error is closed.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Formats the record with the prefix before each line of its message, so that a peer's text cannot imitate a
/// log line.
fn format(prefix: Prefix, now: OffsetDateTime, record: &Record<'_>) -> String {
    let prefix = match prefix {
        Prefix::Priority => format!("<{}>", priority(record.level())),
        Prefix::Time => format!("{} {} ", rfc3339_ms(now), level_name(record.level())),
    };
    let message = record.args().to_string();
    let mut fields = Fields { message: &message, text: String::new() };
    // `visit` fails only if the visitor fails, and this one never does.
    let _ = record.key_values().visit(&mut fields);
    let fields = fields.text;
    let mut text = String::with_capacity(prefix.len() + message.len() + fields.len() + 1);
    let mut lines = message.lines().peekable();
    let mut continued = false;
    while let Some(line) = lines.next() {
        text += &prefix;
        if continued {
            text += "  ";
        }
        continued = true;
        push_escaped(&mut text, line);
        if lines.peek().is_none() {
            push_escaped(&mut text, &fields);
        }
        text.push('\n');
    }
    text
}

/// Visitor that collects the fields whose values the message does not contain, as ` peer=node-2`.
struct Fields<'m> {
    message: &'m str,
    text: String,
}

impl<'kvs> VisitSource<'kvs> for Fields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        // MESSAGE_ID has no use outside the journal.
        let Some(key) = key.as_str().strip_prefix("DISTOMON_") else { return Ok(()) };
        let value = value.to_string();
        if !contains_word(self.message, &value) && !value.is_empty() {
            let _ = write!(self.text, " {}={value}", key.to_ascii_lowercase());
        }
        Ok(())
    }
}

/// Returns whether `message` contains `value` between word boundaries.
fn contains_word(message: &str, value: &str) -> bool {
    let inside = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    message
        .match_indices(value)
        .any(|(at, _)| !message[..at].ends_with(inside) && !message[at + value.len()..].starts_with(inside))
}

/// Appends `text` with control characters escaped, so that they do not control a terminal.
fn push_escaped(to: &mut String, text: &str) {
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

/// Formats a time as RFC 3339 in UTC with milliseconds.
fn rfc3339_ms(at: OffsetDateTime) -> String {
    let (date, (hour, minute, second, ms)) = (at.date(), at.time().as_hms_milli());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_have_milliseconds() {
        for (ms, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_763_884_800_123, "2025-11-23T08:00:00.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let at = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(ms);
            assert_eq!(rfc3339_ms(at), expected, "{ms}");
        }
    }

    #[test]
    fn lines_have_prefix_message_and_fields() {
        let check = |prefix, level, message: &str, fields: &[(&str, &str)], expected: &str| {
            let written = format(
                prefix,
                OffsetDateTime::UNIX_EPOCH,
                &Record::builder().level(level).args(format_args!("{message}")).key_values(&fields).build(),
            );
            assert_eq!(written, expected, "{message:?} {fields:?}");
        };
        let none: &[(&str, &str)] = &[];
        check(Prefix::Time, Level::Info, "starts", none, "1970-01-01T00:00:00.000Z info: starts\n");
        check(Prefix::Priority, Level::Error, "fails", none, "<3>fails\n");
        check(Prefix::Priority, Level::Info, "", none, "");
        let fields: &[_] = &[("DISTOMON_NETWORK", "n"), ("DISTOMON_PEER", "node-2")];
        check(Prefix::Priority, Level::Warn, "lost", fields, "<4>lost network=n peer=node-2\n");
        check(Prefix::Priority, Level::Warn, "n: lost node-2", fields, "<4>n: lost node-2\n");
        check(Prefix::Priority, Level::Warn, "lost node-21", &fields[1..], "<4>lost node-21 peer=node-2\n");
        check(
            Prefix::Priority,
            Level::Warn,
            "two\nlines",
            fields,
            "<4>two\n<4>  lines network=n peer=node-2\n",
        );
        check(Prefix::Priority, Level::Debug, "a\n<0>forged", none, "<6>a\n<6>  <0>forged\n");
        let kind: &[_] = &[("MESSAGE_ID", "0123"), ("DISTOMON_PEER", "")];
        check(Prefix::Priority, Level::Info, "a", kind, "<5>a\n");
        let evil: &[_] = &[("DISTOMON_ERROR", "x\n<0>y\u{1b}[2J")];
        check(
            Prefix::Priority,
            Level::Trace,
            "a\u{1b}[31m\rb",
            evil,
            "<7>a\\u{1b}[31m\\rb error=x\\n<0>y\\u{1b}[2J\n",
        );
    }
}
