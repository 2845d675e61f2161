//! Books and outbox in memory: for routers without a ledger file. Bounded, and gone with the process.

use crate::error::Error;
use crate::outbox::{Item, ItemKind, Outbox};
use crate::row::{Books, Row};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Rows kept by [`Memory`].
pub const MAX_ROWS: usize = 10_000;

/// Items of a kind kept by [`MemoryOutbox`].
pub const MAX_ITEMS: usize = 10_000;

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

/// An outbox of at most [`MAX_ITEMS`] of a kind; the oldest are dropped, counted, when more wait.
#[derive(Debug, Default)]
pub struct MemoryOutbox {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    reports: VecDeque<Item>,
    events: VecDeque<Item>,
    dropped: u64,
}

impl Waiting {
    fn of(&mut self, kind: ItemKind) -> &mut VecDeque<Item> {
        match kind {
            ItemKind::Report => &mut self.reports,
            ItemKind::Event => &mut self.events,
        }
    }
}

impl MemoryOutbox {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many items were dropped because too many waited.
    pub fn dropped(&self) -> u64 {
        guard(&self.waiting).dropped
    }
}

impl Outbox for MemoryOutbox {
    /// Keys are the caller's to keep apart: ten thousand are not searched on a request's thread.
    fn put(&self, item: Item) -> Result<(), Error> {
        let mut waiting = guard(&self.waiting);
        let (kind, items) = (item.kind, waiting.of(item.kind));
        items.push_back(item);
        if items.len() <= MAX_ITEMS {
            return Ok(());
        }
        items.pop_front();
        waiting.dropped += 1;
        let dropped = waiting.dropped;
        drop(waiting);
        if dropped.is_power_of_two() {
            log::warn!("{MAX_ITEMS} {}s wait for the control server; {dropped} items dropped so far, oldest first", kind.as_str());
        }
        Ok(())
    }

    fn pending(&self, limit: usize) -> Result<Vec<Item>, Error> {
        let waiting = guard(&self.waiting);
        Ok(waiting.reports.iter().chain(&waiting.events).take(limit).cloned().collect())
    }

    fn done(&self, key: &str) -> Result<(), Error> {
        let mut waiting = guard(&self.waiting);
        for kind in [ItemKind::Report, ItemKind::Event] {
            let items = waiting.of(kind);
            // Nearly always the first: items are sent in order.
            if let Some(at) = items.iter().position(|item| item.key == key) {
                items.remove(at);
                return Ok(());
            }
        }
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

    #[test]
    fn the_oldest_items_go_when_too_many_wait() {
        let outbox = MemoryOutbox::new();
        for n in 0..MAX_ITEMS + 3 {
            outbox.put(Item { kind: ItemKind::Event, key: n.to_string(), body: "{}".into() }).expect("memory");
        }
        let first = outbox.pending(1).expect("memory");
        assert_eq!((first[0].key.as_str(), outbox.dropped()), ("3", 3));
        outbox.done("3").expect("memory");
        assert_eq!(outbox.pending(1).expect("memory")[0].key, "4");
        assert_eq!(outbox.pending(usize::MAX).expect("memory").len(), MAX_ITEMS - 1);
    }

    #[test]
    fn a_crowd_of_events_hides_no_report() {
        let outbox = MemoryOutbox::new();
        outbox.put(Item { kind: ItemKind::Report, key: "report".into(), body: "{}".into() }).expect("memory");
        for n in 0..MAX_ITEMS + 3 {
            outbox.put(Item { kind: ItemKind::Event, key: n.to_string(), body: "{}".into() }).expect("memory");
        }
        let first = outbox.pending(2).expect("memory");
        assert_eq!(first.iter().map(|item| item.key.as_str()).collect::<Vec<_>>(), ["report", "3"]);
    }
}
