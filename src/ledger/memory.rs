//! Books in memory: for routers without a ledger file. Bounded, and gone with the process.

use crate::error::Error;
use crate::row::{Books, Row};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows kept by [`Memory`].
pub const MAX_ROWS: usize = 10_000;

/// The last [`MAX_ROWS`] rows.
///
/// ```
/// # #[cfg(feature = "enabled")] {
/// assert!(iron_runtime::ledger::Memory::new().rows(10).is_empty());
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Memory {
    rows: Mutex<VecDeque<Arc<Row>>>,
}

impl Memory {
    /// Without rows; memory is taken as they come.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest rows, newest first, `limit` at most.
    pub fn rows(&self, limit: usize) -> Vec<Arc<Row>> {
        guard(&self.rows).iter().rev().take(limit).cloned().collect()
    }
}

impl Books for Memory {
    fn record(&self, row: &Arc<Row>) -> Result<(), Error> {
        let mut rows = guard(&self.rows);
        let oldest = if rows.len() >= MAX_ROWS { rows.pop_front() } else { None };
        rows.push_back(Arc::clone(row));
        drop(rows);
        // Freed only now: the lock is for pushing, not for giving memory back.
        drop(oldest);
        Ok(())
    }
}

/// The lock, also after a panic elsewhere: what it guards is whole after every statement.
pub(super) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_last_rows_are_kept_newest_first() {
        let memory = Memory::new();
        for serial in 1..=MAX_ROWS as u64 + 5 {
            memory.record(&Arc::new(sample::row(serial))).expect("memory");
        }
        let rows = memory.rows(usize::MAX);
        assert_eq!(rows.len(), MAX_ROWS);
        assert_eq!((rows[0].info.serial, rows[MAX_ROWS - 1].info.serial), (MAX_ROWS as u64 + 5, 6));
        assert_eq!(memory.rows(2).iter().map(|row| row.info.serial).collect::<Vec<_>>(), [10_005, 10_004]);
    }
}
