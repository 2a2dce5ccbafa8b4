//! Threads whose panic ends the process.
//!
//! If a thread that serves one request or one call panics, only that request or call fails. All other threads are
//! essential: without one of them the process would continue incompletely, so a panic in it ends the process, and the
//! service manager restarts it. This module depends on no other module of the crate.

use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};

thread_local! {
    static IS_ESSENTIAL: Cell<bool> = const { Cell::new(false) };
}

/// Starts an essential thread called `name`. Fails if the system has no resources for another thread.
pub fn spawn_essential<T: Send + 'static>(
    name: impl Into<String>,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.into()).spawn(|| {
        mark_essential();
        body()
    })
}

/// Makes the current thread essential.
pub fn mark_essential() {
    IS_ESSENTIAL.set(true);
}

/// Makes every later panic of an essential thread end the process: calls `exit` after the current panic hook.
pub fn exit_on_panic(exit: impl Fn() + Send + Sync + 'static) {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        previous(panic);
        if is_essential() {
            exit();
        }
    }));
}

fn is_essential() -> bool {
    // A thread may panic while it ends, after its thread-local values were dropped.
    IS_ESSENTIAL.try_with(Cell::get).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_threads_started_as_essential_are_essential() {
        let essential = spawn_essential("essential", is_essential).expect("a thread");
        assert!(essential.join().expect("no panic"));
        for name in [Some("http-12"), Some("peer-node-1"), None] {
            let builder = name.map_or_else(Builder::new, |name| Builder::new().name(name.to_owned()));
            let contained = builder.spawn(is_essential).expect("a thread");
            assert!(!contained.join().expect("no panic"), "{name:?}");
        }
    }
}
