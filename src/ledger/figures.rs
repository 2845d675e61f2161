//! Figures over all rows, kept beside them as a text whose meaning is its user's business, with the id of the last row that is in them. Rows
//! are never changed and their ids only grow: whoever has that text and counts the rows behind it has counted every row once, whichever process
//! wrote the text, and whenever it was killed.
//!
//! Reading a text and writing the next one costs what taking in a hundred rows does. So rows are counted when [`MANY`] of them have come, and
//! the last of them when a run ends; after a kill a start counts the rest, which are few. Rows of a program that keeps no figures are counted
//! later, a piece at a time.

use super::db::{Session, failure};
use super::entry::Entry;
use super::record;
use crate::error::Error;
use crate::money::NanoUsd;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};
use std::path::{Path, PathBuf};

/// Counts rows on top of an earlier text of its own (empty: there is none) and gives the new one. Of the rows it sees what [`Earlier::each`]
/// says.
pub type Digest = fn(earlier: &str, rows: &mut dyn Iterator<Item = Entry>) -> String;

/// So many rows are counted together: a start that has as many to count takes some milliseconds for it.
pub(super) const MANY: i64 = 2_000;

/// The most rows counted at once: a larger backlog must not keep rows waiting.
const PIECE: i64 = 10_000;

/// What figures are made of.
const COUNTED: &str = "provider, model, stream, status, ended, input, cache_read, cache_write_5m, cache_write_1h, input_audio, input_image, \
    output, output_audio, output_image, reasoning, cost_nano_usd, first_byte_us, total_us, sent_us, head_us";

/// What a ledger held when a run began.
#[derive(Clone, Debug)]
pub struct Earlier {
    path: PathBuf,
    text: String,
    /// The last row in the text, and the last row there was.
    upto: i64,
    last: i64,
}

impl Earlier {
    /// What it holds now.
    pub(super) fn read(session: &Session, path: &Path) -> Result<Self, Error> {
        let read = || {
            let (upto, text) = kept(session)?;
            Ok(Self { path: path.into(), text, upto, last: last(session)? })
        };
        read().map_err(|error| failure(path, &error))
    }

    /// What a [`Digest`] last made of the rows; empty: nothing yet.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many rows are not in that text, at most.
    pub fn rows(&self) -> u64 {
        self.last.saturating_sub(self.upto).max(0).cast_unsigned()
    }

    /// Those rows, oldest first, until `take` says that it is enough. Of an entry there are provider, model, whether a stream was asked for,
    /// status, end, usage, cost and times; the rest is as by default.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn each(&self, mut take: impl FnMut(Entry) -> bool) -> Result<(), Error> {
        if self.rows() == 0 {
            return Ok(());
        }
        let session = Session::reader(&self.path)?;
        let mut read = || {
            let mut statement = session.prepare(&between())?;
            let mut rows = statement.query(params![self.upto, self.last])?;
            while let Some(row) = rows.next()? {
                if !take(entry(row)?) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(|error| failure(&self.path, &error))
    }
}

/// Counts the rows of a transaction into the figures. Where rows before them (`before` was the last one) are missing there, these are left to
/// [`catch_up`] too.
pub(super) fn extend(work: &Connection, digest: Digest, before: i64, rows: Vec<Entry>) -> rusqlite::Result<()> {
    let (upto, text) = kept(work)?;
    if rows.is_empty() || upto != before {
        return Ok(());
    }
    keep(work, last(work)?, &digest(&text, &mut rows.into_iter()), upto)
}

/// Counts a piece of the rows that the figures miss, if those are at least `least`; whether there are more. No lock is held meanwhile: where another process was faster, its
/// text stays.
pub(super) fn catch_up(session: &Session, digest: Digest, least: i64) -> rusqlite::Result<bool> {
    let last = last(session)?;
    let upto: i64 = session.query_row("SELECT upto FROM figures", [], |row| row.get(0)).optional()?.unwrap_or(0);
    if last.saturating_sub(upto) < least.max(1) {
        return Ok(false);
    }
    let (from, text) = kept(session)?;
    let to = last.min(from.saturating_add(PIECE));
    keep(session, to, &count(session, digest, &text, from, to)?, from)?;
    // Another process may have been faster, with fewer.
    let upto: i64 = session.query_row("SELECT upto FROM figures", [], |row| row.get(0)).optional()?.unwrap_or(0);
    Ok(upto < last)
}

/// Puts a text in the place of the one that had the rows up to `from`.
fn keep(connection: &Connection, to: i64, text: &str, from: i64) -> rusqlite::Result<()> {
    let sql = "INSERT INTO figures (id, upto, text) VALUES (1, ?1, ?2) ON CONFLICT DO UPDATE SET upto = ?1, text = ?2 WHERE upto = ?3";
    connection.execute(sql, params![to, text, from]).map(drop)
}

/// The text with the rows between two others.
fn count(connection: &Connection, digest: Digest, text: &str, from: i64, to: i64) -> rusqlite::Result<String> {
    let mut statement = connection.prepare(&between())?;
    let mut fault = None;
    let mut rows = statement.query_map(params![from, to], entry)?.map_while(|row| row.map_err(|error| fault = Some(error)).ok());
    let text = digest(text, &mut rows);
    drop(rows);
    fault.map_or(Ok(text), Err)
}

/// The id of the last row that is counted, and the text.
fn kept(connection: &Connection) -> rusqlite::Result<(i64, String)> {
    let found = connection.query_row("SELECT upto, text FROM figures", [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(found.unwrap_or_default())
}

/// The id of the last row; 0: there is none.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(id), 0) FROM rows", [], |row| row.get(0))
}

fn between() -> String {
    format!("SELECT {COUNTED} FROM rows WHERE id > ? AND id <= ? ORDER BY id")
}

/// The columns of [`COUNTED`].
fn entry(row: &SqlRow<'_>) -> rusqlite::Result<Entry> {
    let number = |column| row.get::<_, Option<i64>>(column).map(|number| number.map(|number| number.max(0).cast_unsigned()));
    let mut classes = [0; 10];
    for (at, class) in classes.iter_mut().enumerate() {
        *class = number(5 + at)?.unwrap_or(0);
    }
    Ok(Entry {
        provider: row.get(0)?,
        model: row.get(1)?,
        stream: row.get(2)?,
        status: row.get(3)?,
        end: row.get(4)?,
        usage: number(5)?.map(|_| record::usage(classes)),
        cost: number(15)?.map(NanoUsd),
        first_byte_us: number(16)?,
        total_us: number(17)?.unwrap_or(0),
        sent_us: number(18)?,
        head_us: number(19)?,
        ..Entry::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::db::OPEN_WAIT;
    use super::super::{Ledger, sample};
    use super::*;
    use crate::row::Books;
    use std::sync::Arc;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// How many rows, and the sum of what they cost.
    fn digest(earlier: &str, rows: &mut dyn Iterator<Item = Entry>) -> String {
        let (count, sum) = earlier.split_once(' ').unwrap_or(("0", "0"));
        let before: (u64, u64) = (count.parse().unwrap_or(0), sum.parse().unwrap_or(0));
        let (count, sum) = rows.fold(before, |(count, sum), row| (count + 1, sum + row.cost.unwrap_or_default().0));
        format!("{count} {sum}")
    }

    /// The figures with the rows behind them.
    fn all(earlier: &Earlier) -> String {
        let mut rows = Vec::new();
        earlier
            .each(|entry| {
                rows.push(entry);
                true
            })
            .expect("a ledger");
        assert_eq!(rows.len() as u64, earlier.rows());
        digest(earlier.text(), &mut rows.into_iter())
    }

    fn record(ledger: &Ledger, serials: std::ops::RangeInclusive<u64>) {
        serials.for_each(|serial| ledger.record(&Arc::new(sample::row(serial))).expect("kept"));
    }

    #[test]
    fn every_run_begins_with_every_row_counted_once() {
        let dir = sample::dir();
        let path = dir.path().join("l.db");
        let mut so_far = 0;
        for rows in [0, 1, 250, 2_500, 3, 12_000] {
            let ledger = Ledger::open_with(&path, digest).expect("a ledger");
            let earlier = ledger.earlier().expect("once");
            assert_eq!(all(&earlier), format!("{so_far} {}", so_far * (so_far + 1) / 2));
            assert_eq!(earlier.rows(), 0);
            assert!(ledger.earlier().is_none());
            record(&ledger, so_far + 1..=so_far + rows);
            ledger.stop(PATIENCE);
            assert_eq!(all(&earlier), format!("{so_far} {}", so_far * (so_far + 1) / 2), "what came since is not earlier");
            so_far += rows;
        }
    }

    #[test]
    fn rows_that_nobody_counted_are_counted_a_piece_at_a_time() {
        let dir = sample::dir();
        let path = dir.path().join("l.db");
        let ledger = Ledger::open(&path).expect("a ledger");
        record(&ledger, 1..=25_000);
        ledger.stop(PATIENCE);
        let session = Session::writer(&path, OPEN_WAIT).expect("a ledger");
        let pieces: Vec<_> = std::iter::from_fn(|| catch_up(&session, digest, 1).expect("counted").then_some(())).collect();
        assert_eq!(pieces.len(), 2);
        let earlier = Earlier::read(&session, &path).expect("a ledger");
        assert_eq!((earlier.text(), earlier.rows()), ("25000 312512500", 0));
    }

    #[test]
    fn rows_behind_a_gap_wait_until_it_is_closed() {
        let dir = sample::dir();
        let path = dir.path().join("l.db");
        for (open, serials) in [(None, 1..=10), (Some(digest as Digest), 11..=20), (None, 21..=30), (Some(digest), 31..=40)] {
            let ledger = match open {
                None => Ledger::open(&path).expect("a ledger"),
                Some(digest) => Ledger::open_with(&path, digest).expect("a ledger"),
            };
            record(&ledger, serials);
            ledger.stop(PATIENCE);
        }
        assert_eq!(kept(&Session::writer(&path, OPEN_WAIT).expect("a ledger")).expect("figures"), (40, "40 820".into()));
    }

    #[test]
    fn of_two_who_count_the_same_rows_one_is_kept() {
        let dir = sample::dir();
        let path = dir.path().join("l.db");
        let ledger = Ledger::open(&path).expect("a ledger");
        record(&ledger, 1..=10);
        ledger.stop(PATIENCE);
        let session = Session::writer(&path, OPEN_WAIT).expect("a ledger");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let path = &path;
                scope.spawn(move || catch_up(&Session::writer(path, OPEN_WAIT).expect("a ledger"), digest, 1).expect("counted"));
            }
        });
        assert_eq!(kept(&session).expect("figures"), (10, "10 55".into()));
    }

    #[test]
    fn a_ledger_of_schema_1_is_brought_up_to_date_and_read_before_that() {
        let dir = sample::dir();
        let path = dir.path().join("l.db");
        let ledger = Ledger::open(&path).expect("a ledger");
        record(&ledger, 1..=3);
        ledger.stop(PATIENCE);
        let back = Connection::open(&path).expect("a ledger");
        for column in ["request_id", "request_bytes", "translated", "sent_us", "head_us", "received_us"] {
            back.execute_batch(&format!("ALTER TABLE rows DROP COLUMN {column}")).expect("dropped");
        }
        back.execute_batch("DROP TABLE figures; PRAGMA user_version = 1").expect("dropped");
        drop(back);
        let count = || super::super::Report::open(&path).expect("read").rows(&super::super::Filter::default(), 10).expect("rows").count();
        assert_eq!(count(), 3);
        let ledger = Ledger::open_with(&path, digest).expect("brought up to date");
        assert_eq!(all(&ledger.earlier().expect("once")), "0 0", "figures begin with the rows to come");
        record(&ledger, 4..=4);
        ledger.stop(PATIENCE);
        assert_eq!(count(), 4);
        let again = Ledger::open_with(&path, digest).expect("a ledger");
        assert_eq!(all(&again.earlier().expect("once")), "1 4");
    }
}
