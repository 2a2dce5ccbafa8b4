//! Journal lines that a peer could provoke: one a subject and minute, with a count of the others.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a subject is silent after a line.
const PERIOD: Duration = Duration::from_secs(60);

/// Subjects that are told apart; beyond them all others share one.
const SUBJECTS: usize = 1024;

/// Lets one line a subject and minute pass.
#[derive(Default)]
pub struct Limiter {
    subjects: Mutex<HashMap<String, (Instant, u64)>>,
}

/// How many lines of a subject were left out since the last that passed. Displays as nothing for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOut(u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str(" (once more since the last such line)"),
            count => write!(f, " ({count} times more since the last such line)"),
        }
    }
}

impl Limiter {
    /// Whether a line about `subject` may be written now.
    pub fn pass(&self, subject: &str) -> Option<LeftOut> {
        self.pass_at(subject, Instant::now())
    }

    fn pass_at(&self, subject: &str, now: Instant) -> Option<LeftOut> {
        let mut subjects = self.subjects.lock();
        if subjects.len() >= SUBJECTS && !subjects.contains_key(subject) {
            subjects.retain(|_, (since, _)| now.duration_since(*since) < PERIOD);
        }
        let subject =
            if subjects.len() >= SUBJECTS && !subjects.contains_key(subject) { "" } else { subject };
        match subjects.get_mut(subject) {
            Some((since, left_out)) if now.duration_since(*since) < PERIOD => {
                *left_out += 1;
                None
            }
            Some(entry) => {
                let (_, left_out) = std::mem::replace(entry, (now, 0));
                Some(LeftOut(left_out))
            }
            None => {
                subjects.insert(subject.to_owned(), (now, 0));
                Some(LeftOut(0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_subject_and_minute() {
        let limiter = Limiter::default();
        let start = Instant::now();
        assert_eq!(limiter.pass_at("a", start), Some(LeftOut(0)));
        assert_eq!(limiter.pass_at("a", start), None);
        assert_eq!(limiter.pass_at("b", start), Some(LeftOut(0)));
        assert_eq!(limiter.pass_at("a", start + PERIOD), Some(LeftOut(1)));
    }

    #[test]
    fn subjects_are_bounded() {
        let limiter = Limiter::default();
        let start = Instant::now();
        let passed = (0..5_000).filter(|n| limiter.pass_at(&n.to_string(), start).is_some()).count();
        assert_eq!(passed, SUBJECTS + 1, "the rest share one line");
        assert!(limiter.subjects.lock().len() <= SUBJECTS + 1);
    }
}
