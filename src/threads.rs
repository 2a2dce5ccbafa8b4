//! Threads whose panic ends the process.
//!
//! A thread that serves one request or one call may panic: only that request or call fails. Without any other thread
//! the process would continue incompletely, so these threads are started as essential, and their panic ends the
//! process, so that the service manager restarts it. This module depends on no other module of the crate.

use std::cell::Cell;
use std::io;
use std::thread::{Builder, JoinHandle};

thread_local! {
    static IS_ESSENTIAL: Cell<bool> = const { Cell::new(false) };
}

/// Starts the essential thread `name`.
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
    // A thread that ends may panic after its local values were dropped.
    IS_ESSENTIAL.try_with(Cell::get).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_declared_threads_are_essential() {
        let essential = spawn_essential("essential", is_essential).expect("a thread");
        assert!(essential.join().expect("no panic"));
        for name in [Some("http-12"), Some("peer-node-1"), None] {
            let builder = name.map_or_else(Builder::new, |name| Builder::new().name(name.to_owned()));
            let contained = builder.spawn(is_essential).expect("a thread");
            assert!(!contained.join().expect("no panic"), "{name:?}");
        }
    }
}
