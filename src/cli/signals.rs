//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once.

use super::INTERRUPTED;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// How many signals have come.
static RECEIVED: Mutex<u32> = Mutex::new(0);
static CHANGED: Condvar = Condvar::new();
static INSTALLED: OnceLock<Result<(), String>> = OnceLock::new();

/// From now on signals are caught. Called before anything is announced, so that who reads the announcement may send one.
///
/// # Errors
/// The handler can't be installed.
pub(super) fn catch() -> Result<(), String> {
    INSTALLED.get_or_init(|| ctrlc::set_handler(received).map_err(|error| format!("can't catch signals: {error}"))).clone()
}

/// Blocks until the first signal.
pub(super) fn wait() {
    let count = RECEIVED.lock().unwrap_or_else(PoisonError::into_inner);
    drop(CHANGED.wait_while(count, |count| *count == 0).unwrap_or_else(PoisonError::into_inner));
}

fn received() {
    let mut count = RECEIVED.lock().unwrap_or_else(PoisonError::into_inner);
    *count += 1;
    if *count > 1 {
        std::process::exit(i32::from(INTERRUPTED));
    }
    CHANGED.notify_all();
}

/// From now on signals do nothing here: they are for the program that was started.
#[cfg(not(unix))]
pub(super) fn ignore() {
    let _ = ctrlc::set_handler(|| {});
}
