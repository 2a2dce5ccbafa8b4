//! The snapshot again and again: in place on a terminal, else one after the other.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, select};

use super::query::{Answer, Question, Show};
use super::screen::Screen;
use crate::cli::EX_OSERR;
use crate::cli::failure::Failure;
use crate::cli::line::{Line, Style};
use crate::service::signals::Signals;

/// Shows the snapshot every `interval`, until Ctrl-C or until nobody reads any more. The exit status is that
/// of the last snapshot.
pub(super) fn run(question: Question, show: Show, interval: Duration) -> ExitCode {
    match watch(question, show, interval) {
        Ok(status) => ExitCode::from(status),
        Err(error) => Failure::new(EX_OSERR, format!("watching: {error}")).tell("status"),
    }
}

fn watch(question: Question, show: Show, interval: Duration) -> io::Result<u8> {
    let signals = Signals::listen()?;
    let (sender, answers) = bounded(0);
    let (_stop, stopped) = bounded(0);
    // Not joined: it may be waiting for an answer, and Ctrl-C should not. It ends with the process.
    std::thread::Builder::new()
        .name("asker".to_owned())
        .spawn(move || keep_asking(&question, interval, &sender, &stopped))?;
    let mut place = Place::default();
    let mut status = super::outcome::Outcome::CannotTell.code();
    loop {
        select! {
            recv(signals.controls()) -> _ => break,
            recv(answers) -> answer => {
                let Ok(answer) = answer else { break };
                status = answer.as_ref().map_or_else(|failure| failure.status, |answer| answer.outcome().code());
                if place.show(&answer, show).is_err() {
                    // Whoever closed it has seen enough.
                    break;
                }
            }
        }
    }
    place.leave();
    Ok(status)
}

/// Asks at even times, until the other end of `to` or `stopped` is gone.
fn keep_asking(
    question: &Question,
    interval: Duration,
    to: &Sender<Result<Answer, Failure>>,
    stopped: &Receiver<()>,
) {
    loop {
        let next = Instant::now() + interval;
        if to.send(question.ask()).is_err() {
            return;
        }
        match stopped.recv_deadline(next) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Where snapshots go.
#[derive(Default)]
struct Place {
    used: bool,
}

impl Place {
    fn show(&mut self, answer: &Result<Answer, Failure>, show: Show) -> io::Result<()> {
        let screen = Screen::now();
        let text = match (answer, screen.height) {
            (Err(failure), height) if show == Show::Json || height.is_none() => {
                // Not by `eprintln!`, which panics once nobody reads.
                return writeln!(io::stderr(), "distomon status: {}", failure.message);
            }
            (Ok(answer), height) if show == Show::Json || height.is_none() => {
                let gap = if self.used && show == Show::Table { "\n" } else { "" };
                gap.to_owned() + &answer.text(show, &screen)
            }
            (answer, height) => {
                let lines = match answer {
                    Ok(answer) => answer.lines(&screen),
                    Err(failure) => failure.message.lines().map(|line| Line::new(line, Style::Bad)).collect(),
                };
                self.redrawn(&lines, &screen, height.unwrap_or(usize::MAX))
            }
        };
        self.used = true;
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// What comes next, a prompt, begins on a line of its own: the terminal wrote ^C below the snapshot.
    fn leave(&self) {
        if self.used && io::stdout().is_terminal() {
            crate::cli::print("\n");
        }
    }

    /// `lines` over what stands on the screen, without a flicker: only what is left of it is cleared.
    fn redrawn(&self, lines: &[Line], screen: &Screen, height: usize) -> String {
        let mut text = String::from(if self.used { "\x1b[H" } else { "\x1b[2J\x1b[H" });
        // The last line stays free for the cursor.
        let room = height.saturating_sub(1);
        let shown = if lines.len() > room { room.saturating_sub(1) } else { lines.len() };
        let end = |line: &Line| line.render(screen.width, screen.colour) + "\x1b[K\n";
        text.extend(lines[..shown].iter().map(end));
        if shown < lines.len() {
            let hidden = lines.len() - shown;
            text += &end(&Line::new(format!("{hidden} more lines: this terminal is too low"), Style::Faint));
        }
        text + "\x1b[J"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redrawing() {
        let lines: Vec<Line> =
            ["one", "two", "three"].iter().map(|text| Line::new(*text, Style::Bad)).collect();
        let check = |height, used, colour, expected: &str| {
            let screen = Screen { width: 4, height: Some(height), colour, utf8: true };
            assert_eq!(Place { used }.redrawn(&lines, &screen, height), expected);
        };
        check(24, false, false, "\x1b[2J\x1b[Hone\x1b[K\ntwo\x1b[K\nthre\x1b[K\n\x1b[J");
        check(4, true, false, "\x1b[Hone\x1b[K\ntwo\x1b[K\nthre\x1b[K\n\x1b[J");
        check(3, true, false, "\x1b[Hone\x1b[K\n2 mo\x1b[K\n\x1b[J");
        check(3, true, true, "\x1b[H\x1b[1;31mone\x1b[0m\x1b[K\n\x1b[2m2 mo\x1b[0m\x1b[K\n\x1b[J");
        check(1, true, false, "\x1b[H3 mo\x1b[K\n\x1b[J");
    }
}
