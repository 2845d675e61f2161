//! Where rows are kept: [`Memory`] for a router without a file, and with the feature `ledger` the ledger proper.
//!
//! A settled call is appended to the run's journal on the request's own thread: one `write`, about a microsecond, and the row survives
//! `kill -9`. One thread folds journals into SQLite, in groups; the transaction that takes a group in also says how far the journal is in, so
//! that every row gets in exactly once, whenever whoever is killed. Journals of runs that are over are taken in when the ledger is next
//! opened, and read by reports until then.
//!
//! While SQLite can't be written to (locked, disk full), rows wait in the journal, 64 MiB of them at most. When the journal itself can't be
//! written to, `record` says so, and `ready` until there is room again; nothing half-written is ever read.
//!
//! Figures over all rows are kept beside them in the same transactions ([`Earlier`]): a start need not count a million rows.
//!
//! Files: `LEDGER` (with SQLite's `-wal` and `-shm`), and `LEDGER.RUN.NUMBER.rows` while a run lives; all 0600. Several processes may keep
//! their rows in one ledger at once. Nothing is ever deleted from it.

#[cfg(feature = "ledger")]
mod back;
#[cfg(feature = "ledger")]
mod db;
#[cfg(feature = "ledger")]
mod entry;
#[cfg(feature = "ledger")]
mod figures;
#[cfg(feature = "ledger")]
mod file;
#[cfg(feature = "ledger")]
mod fold;
#[cfg(feature = "ledger")]
mod journal;
#[cfg(feature = "ledger")]
mod keeper;
mod memory;
#[cfg(feature = "ledger")]
mod record;
#[cfg(feature = "ledger")]
mod report;
#[cfg(test)]
mod sample;

#[cfg(feature = "ledger")]
pub use entry::Entry;
#[cfg(feature = "ledger")]
pub use figures::{Digest, Earlier};
#[cfg(feature = "ledger")]
pub use file::Ledger;
pub use memory::{MAX_ITEMS, MAX_ROWS, Memory, MemoryOutbox};
#[cfg(feature = "ledger")]
pub use report::{Filter, Report, Rows};
