//! The SQLite file: opened with its settings, its schema made or checked, its failures put into words.
//!
//! SQLite must not cross a fork: a child inherits locks that its process does not hold, and the library's own notes of which files are open.
//! So every connection is a [`Session`], counted for the process; in a process that was forked while one was open none can be had, and one
//! that was inherited is never closed.

use crate::error::Error;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// The version of the schema; a larger one was made by a later release.
const VERSION: i64 = 2;

/// Marks the file as ours ("Iron" in ASCII).
const APPLICATION: i64 = 0x4972_6f6e;

/// How long opening waits for a lock.
pub(super) const OPEN_WAIT: Duration = Duration::from_secs(5);

/// How long the fold thread waits for a lock, before it goes on to its next round.
pub(super) const FOLD_WAIT: Duration = Duration::from_millis(250);

/// Files up to this size are checked whole when they are opened.
const CHECKED_WHOLE: u64 = 8 << 20;

const SCHEMA: &str = include_str!("schema.sql");

/// Makes the schema of one of version 1.
const FROM_1: &str = include_str!("schema-1-to-2.sql");

/// Process (upper half) and number (lower half) of open sessions.
static OPEN: AtomicU64 = AtomicU64::new(0);

/// A connection, as long as it may be used.
pub(super) struct Session {
    /// Always there; an `Option` so that a forked child can forget it.
    connection: Option<Connection>,
    process: u32,
}

impl Session {
    /// Opens the ledger for writing; makes it where there is none.
    pub(super) fn writer(path: &Path, wait: Duration) -> Result<Self, Error> {
        create(path).map_err(|source| Error::Io { what: format!("make ledger {}", path.display()), source })?;
        let mut session = Self::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        session.prepare(wait).map_err(|error| failure(path, &error))?;
        session.schema(path)?;
        Ok(session)
    }

    /// Opens a ledger that is there for reading.
    pub(super) fn reader(path: &Path) -> Result<Self, Error> {
        let session = Self::open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        session.busy_timeout(OPEN_WAIT).map_err(|error| failure(path, &error))?;
        if session.version(path)? == 0 {
            return Err(refused(path, ErrorKind::InvalidData, "it is empty: nothing was ever kept in it"));
        }
        Ok(session)
    }

    /// Sets how long statements wait for a lock.
    pub(super) fn wait(&self, path: &Path, wait: Duration) -> Result<(), Error> {
        self.busy_timeout(wait).map_err(|error| failure(path, &error))
    }

    /// Whether this process may use SQLite at all.
    pub(super) fn allowed() -> bool {
        may_use(OPEN.load(SeqCst), std::process::id())
    }

    fn open(path: &Path, flags: OpenFlags) -> Result<Self, Error> {
        if !Self::allowed() {
            let why =
                "this process was forked while its parent was writing to the ledger, and SQLite does not survive that: use a new process";
            return Err(refused(path, ErrorKind::Unsupported, why));
        }
        if path.exists() && !path.is_file() {
            return Err(refused(path, ErrorKind::InvalidInput, "not a file: it must be a file's path"));
        }
        let process = std::process::id();
        let mine = u64::from(process) << 32;
        // Counted before it is opened: a fork in between must see it.
        let count = |open: u64| Some(if open >> 32 == mine >> 32 { open + 1 } else { mine + 1 });
        let _ = OPEN.fetch_update(SeqCst, SeqCst, count);
        match Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX) {
            Ok(connection) => Ok(Self { connection: Some(connection), process }),
            Err(error) => {
                OPEN.fetch_sub(1, SeqCst);
                Err(failure(path, &error))
            }
        }
    }

    /// The settings. A group of rows is synced when it is in: power loss costs no more than what the journal did not hand over yet.
    fn prepare(&self, wait: Duration) -> rusqlite::Result<()> {
        self.busy_timeout(wait)?;
        self.pragma_update(None, "synchronous", "FULL")?;
        self.pragma_update(None, "cache_size", -2000)?;
        self.pragma_update(None, "journal_size_limit", 4 << 20)
    }

    /// Makes the schema in an empty file, brings an earlier one up to date; checks it in any other.
    fn schema(&mut self, path: &Path) -> Result<(), Error> {
        let made = match self.version(path)? {
            0 => self.make(),
            1 => self.update(),
            _ => Ok(()),
        };
        made.map_err(|error| failure(path, &error))
    }

    /// Turns to the write-ahead log. Where another process does the same at this moment, SQLite says so at once, whatever the time to wait.
    fn use_wal(&self) -> rusqlite::Result<()> {
        for _ in 0..200 {
            match self.pragma_update(None, "journal_mode", "WAL") {
                Err(rusqlite::Error::SqliteFailure(fault, _)) if fault.code == rusqlite::ErrorCode::DatabaseBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                other => return other,
            }
        }
        self.pragma_update(None, "journal_mode", "WAL")
    }

    fn make(&mut self) -> rusqlite::Result<()> {
        self.use_wal()?;
        let work = self.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if number(&work, "user_version")? == 0 {
            work.execute_batch(SCHEMA)?;
            work.pragma_update(None, "application_id", APPLICATION)?;
            work.pragma_update(None, "user_version", VERSION)?;
        }
        work.commit()
    }

    fn update(&mut self) -> rusqlite::Result<()> {
        let work = self.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been first.
        if number(&work, "user_version")? == 1 {
            work.execute_batch(FROM_1)?;
            work.pragma_update(None, "user_version", VERSION)?;
        }
        work.commit()
    }

    /// The version of the file's schema; 0: it has none yet.
    pub(super) fn version(&self, path: &Path) -> Result<i64, Error> {
        let read = || {
            let tables: i64 = self.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
            Ok((number(self, "application_id")?, number(self, "user_version")?, tables))
        };
        match read().map_err(|error| failure(path, &error))? {
            (0, 0, 0) => Ok(0),
            (APPLICATION, version, _) if version > VERSION => {
                let why = format!("made by a later release (version {version}, this one knows {VERSION}): update, or give another --state");
                Err(refused(path, ErrorKind::Unsupported, &why))
            }
            (APPLICATION, version, _) => Ok(version),
            _ => {
                Err(refused(path, ErrorKind::InvalidData, "a database of another program: give another --state; nothing was changed in it"))
            }
        }
    }

    /// Looks for damage; the whole of a small file, of a large one only its start and its end.
    pub(super) fn check(&self, path: &Path) -> Result<(), Error> {
        let small = std::fs::metadata(path).is_ok_and(|file| file.len() <= CHECKED_WHOLE);
        let look = || {
            // One by one: asked for together, SQLite reads every row.
            for end in ["min(id)", "max(id)", "max(at_ms)"] {
                self.query_row(&format!("SELECT {end} FROM rows"), [], |_| Ok(()))?;
            }
            if small { self.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)) } else { Ok("ok".to_string()) }
        };
        match look().map_err(|error| failure(path, &error))?.as_str() {
            "ok" => Ok(()),
            found => Err(refused(path, ErrorKind::InvalidData, &damaged(found))),
        }
    }
}

impl Deref for Session {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("taken by drop only")
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("taken by drop only")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            return std::mem::forget(self.connection.take());
        }
        drop(self.connection.take());
        OPEN.fetch_sub(1, SeqCst);
    }
}

/// Whether a process may use SQLite, by the count of open sessions: those of another process were inherited open.
fn may_use(open: u64, process: u32) -> bool {
    open >> 32 == u64::from(process) || open & u64::from(u32::MAX) == 0
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Makes the directory (0700) and an empty file (0600), which is an empty database. A file that is there is not even opened: closing it would
/// give up the locks that SQLite holds on it for this process.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut directory = DirBuilder::new();
    directory.recursive(true);
    #[cfg(unix)]
    {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        std::os::unix::fs::DirBuilderExt::mode(&mut directory, 0o700);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        directory.create(parent)?;
    }
    match options.open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// What SQLite said, with what to do about it.
pub(super) fn failure(path: &Path, error: &rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refused(path, ErrorKind::InvalidData, &damaged("not a database")),
        Some(ErrorCode::DatabaseCorrupt) => refused(path, ErrorKind::InvalidData, &damaged("its content is malformed")),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            refused(path, ErrorKind::TimedOut, "locked by another program: close that one, or give another --state")
        }
        Some(ErrorCode::DiskFull) => refused(path, ErrorKind::StorageFull, "disk full"),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
            refused(path, ErrorKind::PermissionDenied, &error.to_string())
        }
        _ => refused(path, ErrorKind::Other, &error.to_string()),
    }
}

fn damaged(how: &str) -> String {
    format!("damaged or no ledger ({how}): move it away to begin a new one, or run with --state none; nothing was changed in it")
}

fn refused(path: &Path, kind: ErrorKind, why: &str) -> Error {
    Error::Io { what: format!("ledger {}", path.display()), source: io::Error::new(kind, why.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_process_that_inherited_open_sessions_may_not_use_sqlite() {
        for (owner, open, process, may) in [(0, 0, 7, true), (7, 3, 7, true), (7, 0, 8, true), (7, 1, 8, false)] {
            assert_eq!(may_use(owner << 32 | open, process), may, "{open} of {owner} in {process}");
        }
    }

    #[test]
    fn an_inherited_session_is_not_closed() {
        let dir = sample::dir();
        let path = dir.path().join("l.db");
        let mut session = Session::writer(&path, FOLD_WAIT).expect("a ledger");
        session.execute_batch("BEGIN IMMEDIATE").expect("the lock");
        session.process += 1;
        drop(session);
        let other = Session::reader(&path).expect("a ledger");
        assert!(other.execute_batch("BEGIN; SELECT 1").is_ok());
        let writer = Connection::open(&path).expect("a ledger");
        writer.busy_timeout(Duration::ZERO).expect("set");
        assert!(writer.execute_batch("BEGIN IMMEDIATE").is_err(), "the lock is still the parent's");
        OPEN.fetch_sub(1, SeqCst);
    }
}
