//! Journal lines that somebody else could provoke: one a subject and minute, with a count of the others.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a subject is silent after a line.
const PERIOD: Duration = Duration::from_secs(60);

/// Subjects that are told apart. Beyond them all new ones share one, [`OTHERS`].
const SUBJECTS: usize = 1024;

/// The most bytes of a subject's name that are looked at: subjects that differ only later are one.
const SUBJECT_BYTES: usize = 256;

/// The subject of everything beyond the first 1,024 subjects.
pub const OTHERS: &str = "other subjects";

/// Lets one line a subject and minute pass. Its memory is bounded, whatever the subjects.
#[derive(Debug, Default)]
pub struct LogLimiter {
    subjects: Mutex<HashMap<String, SubjectWindow>>,
}

/// What became of a subject since its last line.
#[derive(Debug)]
struct SubjectWindow {
    since: Instant,
    left_out: u64,
}

/// How many lines of a subject were left out since the last that passed. Displays as nothing for none, so
/// that it can end any message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppressed(pub u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (once more since the last such line)"),
            count => write!(f, " ({count} times more since the last such line)"),
        }
    }
}

impl LogLimiter {
    /// Whether a line about `subject` may be written now. If so, the count belongs to it.
    pub fn allow(&self, subject: &str) -> Option<Suppressed> {
        self.allow_at(subject, Instant::now())
    }

    /// The subjects whose minute is over and of which lines were left out, each with their count, in the
    /// order of their names; they are forgotten. Called now and then, it keeps the end of a burst from
    /// staying untold.
    pub fn overdue(&self) -> Vec<(String, Suppressed)> {
        self.overdue_at(Instant::now())
    }

    fn allow_at(&self, subject: &str, now: Instant) -> Option<Suppressed> {
        let mut subject = shortened(subject);
        let mut subjects = self.subjects.lock();
        if subjects.len() >= SUBJECTS && !subjects.contains_key(subject) {
            // Those with a count stay: it is still to be told.
            subjects.retain(|_, silence| !silence.is_over(now) || silence.left_out > 0);
            if subjects.len() >= SUBJECTS {
                subject = OTHERS;
            }
        }
        match subjects.get_mut(subject) {
            Some(silence) if !silence.is_over(now) => {
                silence.left_out = silence.left_out.saturating_add(1);
                None
            }
            Some(silence) => {
                let before = std::mem::replace(silence, SubjectWindow { since: now, left_out: 0 });
                Some(Suppressed(before.left_out))
            }
            None => {
                subjects.insert(subject.to_owned(), SubjectWindow { since: now, left_out: 0 });
                Some(Suppressed(0))
            }
        }
    }

    fn overdue_at(&self, now: Instant) -> Vec<(String, Suppressed)> {
        let mut overdue = Vec::new();
        self.subjects.lock().retain(|subject, silence| {
            let over = silence.is_over(now);
            if over && silence.left_out > 0 {
                overdue.push((subject.clone(), Suppressed(silence.left_out)));
            }
            !over
        });
        overdue.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        overdue
    }
}

impl SubjectWindow {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= PERIOD
    }
}

fn shortened(subject: &str) -> &str {
    if subject.len() <= SUBJECT_BYTES {
        return subject;
    }
    let ends = (0..=SUBJECT_BYTES).rev();
    let end = ends.into_iter().find(|&end| subject.is_char_boundary(end)).unwrap_or(0);
    &subject[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_subject_and_minute() {
        let limiter = LogLimiter::default();
        let start = Instant::now();
        let almost = start + PERIOD.mul_f32(0.99);
        for (subject, at, expected) in [
            ("a", start, Some(0)),
            ("a", start, None),
            ("b", start, Some(0)),
            ("a", almost, None),
            ("a", start + PERIOD, Some(2)),
            ("a", start + PERIOD, None),
            ("b", start + 10 * PERIOD, Some(0)),
        ] {
            assert_eq!(limiter.allow_at(subject, at), expected.map(Suppressed), "{subject}");
        }
    }

    #[test]
    fn the_end_of_a_burst_is_told() {
        let limiter = LogLimiter::default();
        let start = Instant::now();
        for subject in ["quiet", "b", "a", "a", "b", "a"] {
            limiter.allow_at(subject, start);
        }
        assert_eq!(limiter.overdue_at(start), []);
        let expected = [("a".to_owned(), Suppressed(2)), ("b".to_owned(), Suppressed(1))];
        assert_eq!(limiter.overdue_at(start + PERIOD), expected);
        assert_eq!(limiter.overdue_at(start + PERIOD), []);
        assert!(limiter.subjects.lock().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = LogLimiter::default();
        let start = Instant::now();
        let long = "ü".repeat(10_000);
        let passed =
            |at| (0..5_000).filter(|n| limiter.allow_at(&format!("{n}{long}"), at).is_some()).count();
        assert_eq!(passed(start), SUBJECTS + 1, "the rest share one line");
        let left_out = 5_000 - SUBJECTS as u64 - 1;
        assert_eq!(limiter.allow_at("another", start + PERIOD), Some(Suppressed(0)), "old ones make room");
        assert_eq!(limiter.overdue_at(start + PERIOD), [(OTHERS.to_owned(), Suppressed(left_out))]);
        passed(start + PERIOD);
        let subjects = limiter.subjects.lock();
        assert!(subjects.len() <= SUBJECTS + 1);
        assert!(subjects.keys().all(|subject| subject.len() <= SUBJECT_BYTES));
    }

    #[test]
    fn counts_in_words() {
        for (count, expected) in [
            (0, ""),
            (1, " (once more since the last such line)"),
            (12, " (12 times more since the last such line)"),
        ] {
            assert_eq!(Suppressed(count).to_string(), expected);
        }
    }
}
