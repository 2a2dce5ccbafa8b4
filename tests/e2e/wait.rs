//! Waiting for a condition with a deadline.

use std::time::{Duration, Instant};

/// The longest wait for a condition.
const DEADLINE: Duration = Duration::from_secs(30);

/// Waits until `condition` returns a value. Panics after [`DEADLINE`] with `what`, the expected event.
pub(crate) fn wait<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_or(what, String::new, condition)
}

/// Waits like [`wait`]. The message of the panic ends with the text of `context`.
pub(crate) fn wait_or<T>(
    what: &str,
    context: impl Fn() -> String,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}\n{}", context());
        std::thread::sleep(Duration::from_millis(10));
    }
}
