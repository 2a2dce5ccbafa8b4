//! Repeated snapshots: in place on a terminal, otherwise one after the other.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};

use super::query::{Format, StatusQuery, StatusReply};
use super::screen::Screen;
use crate::cli::EX_OSERR;
use crate::cli::error::CliError;
use crate::cli::styled_line::{Style, StyledLine};
use crate::service::signals::Signals;

/// Shows the snapshot every `interval` until Ctrl-C or until standard output closes. The exit status is that of the last
/// snapshot.
pub(super) fn run(query: StatusQuery, format: Format, interval: Duration) -> ExitCode {
    match watch(query, format, interval) {
        Ok(status) => ExitCode::from(status),
        Err(error) => CliError::new(EX_OSERR, format!("watching: {error}")).report("status"),
    }
}

fn watch(query: StatusQuery, format: Format, interval: Duration) -> io::Result<u8> {
    let signals = Signals::listen()?;
    let (sender, replies) = bounded(0);
    let (_stop, stopped) = bounded(0);
    // Not joined, since Ctrl-C must not wait for a pending query. It ends with the process.
    std::thread::Builder::new()
        .name("query".to_owned())
        .spawn(move || poll(&query, interval, &sender, &stopped))?;
    let mut display = Display::default();
    let mut status = super::outcome::Outcome::Unknown.code();
    loop {
        select! {
            recv(signals.controls()) -> _ => break,
            recv(replies) -> reply => {
                let Ok(reply) = reply else { break };
                status = reply.as_ref().map_or_else(|error| error.status, |reply| reply.outcome().code());
                if display.show(&reply, format).is_err() {
                    // The reader has closed standard output.
                    break;
                }
            }
        }
    }
    display.finish();
    Ok(status)
}

/// Sends the query every `interval`, until the other end of `to` or `stopped` closes.
fn poll(
    query: &StatusQuery,
    interval: Duration,
    to: &Sender<Result<StatusReply, CliError>>,
    stopped: &Receiver<()>,
) {
    loop {
        let next = Instant::now() + interval;
        if to.send(query.send()).is_err() {
            return;
        }
        match stopped.recv_deadline(next) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Standard output with repeated snapshots.
#[derive(Default)]
struct Display {
    used: bool,
}

impl Display {
    fn show(&mut self, reply: &Result<StatusReply, CliError>, format: Format) -> io::Result<()> {
        let screen = Screen::now();
        let text = match (reply, screen.height) {
            (Err(error), height) if format == Format::Json || height.is_none() => {
                // `eprintln!` panics if standard error is closed.
                return writeln!(io::stderr(), "distomon status: {}", error.message);
            }
            (Ok(reply), height) if format == Format::Json || height.is_none() => {
                let gap = if self.used && format == Format::Table { "\n" } else { "" };
                gap.to_owned() + &reply.text(format, &screen)
            }
            (reply, height) => {
                let lines = match reply {
                    Ok(reply) => reply.lines(&screen),
                    Err(error) => {
                        error.message.lines().map(|line| StyledLine::new(line, Style::Bad)).collect()
                    }
                };
                self.overwrite(&lines, &screen, height.unwrap_or(usize::MAX))
            }
        };
        self.used = true;
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Starts a new line for the prompt, since the terminal wrote ^C below the snapshot.
    fn finish(&self) {
        if self.used && io::stdout().is_terminal() {
            crate::cli::print("\n");
        }
    }

    /// Formats `lines` to overwrite the screen, and clears only the rest to avoid flicker.
    fn overwrite(&self, lines: &[StyledLine], screen: &Screen, height: usize) -> String {
        let mut text = String::from(if self.used { "\x1b[H" } else { "\x1b[2J\x1b[H" });
        // The last line is for the cursor.
        let room = height.saturating_sub(1);
        let shown = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
        let end = |line: &StyledLine| line.render(screen.width, screen.colour) + "\x1b[K\n";
        text.extend(lines[..shown].iter().map(end));
        if shown < lines.len() {
            let hidden = lines.len() - shown;
            text += &end(&StyledLine::new(
                format!("{hidden} more lines: this terminal is too small"),
                Style::Dim,
            ));
        }
        text + "\x1b[J"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overwriting_the_screen() {
        let lines: Vec<StyledLine> =
            ["one", "two", "three"].iter().map(|text| StyledLine::new(*text, Style::Bad)).collect();
        let check = |height, used, colour, expected: &str| {
            let screen = Screen { width: 4, height: Some(height), colour, utf8: true };
            assert_eq!(Display { used }.overwrite(&lines, &screen, height), expected);
        };
        check(24, false, false, "\x1b[2J\x1b[Hone\x1b[K\ntwo\x1b[K\nthre\x1b[K\n\x1b[J");
        check(4, true, false, "\x1b[Hone\x1b[K\ntwo\x1b[K\nthre\x1b[K\n\x1b[J");
        check(3, true, false, "\x1b[Hone\x1b[K\n2 mo\x1b[K\n\x1b[J");
        check(3, true, true, "\x1b[H\x1b[1;31mone\x1b[0m\x1b[K\n\x1b[2m2 mo\x1b[0m\x1b[K\n\x1b[J");
        check(1, true, false, "\x1b[H3 mo\x1b[K\n\x1b[J");
    }
}
