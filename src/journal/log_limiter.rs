//! Rate limit for journal lines that peers or clients can cause: one line a minute for each subject.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long further lines of a subject are suppressed after one was written.
const PERIOD: Duration = Duration::from_secs(60);

/// The maximum number of separate subjects. Further subjects share [`OTHERS`].
const MAX_SUBJECTS: usize = 1024;

/// The maximum length of a subject, in bytes. Subjects that differ only beyond it count as one.
const MAX_SUBJECT_BYTES: usize = 256;

/// The subject of lines about further subjects while 1,024 subjects are in use.
pub const OTHERS: &str = "other subjects";

/// Limiter that allows one line a minute for each subject, with bounded memory.
#[derive(Debug, Default)]
pub struct LogLimiter {
    subjects: Mutex<HashMap<String, SubjectWindow>>,
}

/// The minute after a subject's last line.
#[derive(Debug)]
struct SubjectWindow {
    since: Instant,
    suppressed: u64,
}

/// The number of a subject's lines that were suppressed since the last one written. Displays as a suffix for any
/// message, empty if the number is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suppressed(pub u64);

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (1 similar line suppressed)"),
            count => write!(f, " ({count} similar lines suppressed)"),
        }
    }
}

impl LogLimiter {
    /// Returns the number of lines suppressed since the last one if a line about `subject` may be written now, otherwise
    /// `None`.
    pub fn allow(&self, subject: &str) -> Option<Suppressed> {
        self.allow_at(subject, Instant::now())
    }

    /// Removes and returns the subjects whose minute is over and of which lines were suppressed, sorted by name.
    /// Periodic calls make the end of a burst visible although no further line of its subject follows.
    pub fn overdue(&self) -> Vec<(String, Suppressed)> {
        self.overdue_at(Instant::now())
    }

    fn allow_at(&self, subject: &str, now: Instant) -> Option<Suppressed> {
        let mut subject = truncate(subject);
        let mut subjects = self.subjects.lock();
        if subjects.len() >= MAX_SUBJECTS && !subjects.contains_key(subject) {
            // Subjects with suppressed lines stay until their number is logged.
            subjects.retain(|_, window| !window.is_over(now) || window.suppressed > 0);
            if subjects.len() >= MAX_SUBJECTS {
                subject = OTHERS;
            }
        }
        match subjects.get_mut(subject) {
            Some(window) if !window.is_over(now) => {
                window.suppressed = window.suppressed.saturating_add(1);
                None
            }
            Some(window) => {
                let before = std::mem::replace(window, SubjectWindow { since: now, suppressed: 0 });
                Some(Suppressed(before.suppressed))
            }
            None => {
                subjects.insert(subject.to_owned(), SubjectWindow { since: now, suppressed: 0 });
                Some(Suppressed(0))
            }
        }
    }

    fn overdue_at(&self, now: Instant) -> Vec<(String, Suppressed)> {
        let mut overdue = Vec::new();
        self.subjects.lock().retain(|subject, window| {
            let over = window.is_over(now);
            if over && window.suppressed > 0 {
                overdue.push((subject.clone(), Suppressed(window.suppressed)));
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

fn truncate(subject: &str) -> &str {
    if subject.len() <= MAX_SUBJECT_BYTES {
        return subject;
    }
    let ends = (0..=MAX_SUBJECT_BYTES).rev();
    let end = ends.into_iter().find(|&end| subject.is_char_boundary(end)).unwrap_or(0);
    &subject[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allows_one_line_a_minute_for_each_subject() {
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
    fn the_end_of_a_burst_is_overdue_after_a_minute() {
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
        assert_eq!(passed(start), MAX_SUBJECTS + 1, "the rest share one line");
        let suppressed = 5_000 - MAX_SUBJECTS as u64 - 1;
        assert_eq!(limiter.allow_at("another", start + PERIOD), Some(Suppressed(0)), "old ones make room");
        assert_eq!(limiter.overdue_at(start + PERIOD), [(OTHERS.to_owned(), Suppressed(suppressed))]);
        passed(start + PERIOD);
        let subjects = limiter.subjects.lock();
        assert!(subjects.len() <= MAX_SUBJECTS + 1);
        assert!(subjects.keys().all(|subject| subject.len() <= MAX_SUBJECT_BYTES));
    }

    #[test]
    fn suppressed_counts_as_text() {
        for (count, expected) in
            [(0, ""), (1, " (1 similar line suppressed)"), (12, " (12 similar lines suppressed)")]
        {
            assert_eq!(Suppressed(count).to_string(), expected);
        }
    }
}
