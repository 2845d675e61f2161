//! From journals into SQLite. How far a journal was taken in is written in the same transaction as what was taken: every frame gets in
//! exactly once, whenever whoever does it is killed.

use super::db::{Session, failure};
use super::entry::Entry;
use super::figures::{self, Digest};
use super::journal::{self, Ending, Frames, Id};
use super::record::{self, Part};
use crate::error::Error;
use crate::outbox::{Item, SavedLease};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Statement, Transaction, TransactionBehavior, params};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// The most frames of one transaction.
pub(super) const GROUP: u64 = 1000;

/// Events kept for a control server that does not answer; reports of spending are all kept.
const MAX_EVENTS: i64 = 100_000;

/// How far a journal has been taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folded {
    /// Up to where.
    pub(super) offset: u64,
    /// Frames taken in by this call.
    pub(super) frames: u64,
    /// Why it went no further.
    pub(super) ending: Ending,
}

/// Takes a journal in, up to an offset, a group a transaction; where there is a digest, figures with it.
pub(super) fn fold(session: &mut Session, ledger: &Path, id: &Id, file: &File, to: u64, digest: Option<Digest>) -> Result<Folded, Error> {
    let mut total = 0;
    loop {
        let group = group(session, ledger, id, file, to, digest)?;
        total += group.frames;
        if group.frames < GROUP {
            return Ok(Folded { frames: total, ..group });
        }
    }
}

fn group(session: &mut Session, ledger: &Path, id: &Id, file: &File, to: u64, digest: Option<Digest>) -> Result<Folded, Error> {
    let sql = |error| failure(ledger, &error);
    let work = session.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let from = folded(&work, id).map_err(sql)?;
    let mut frames = Frames::new(file, from, to).map_err(|error| unreadable(ledger, id, error))?;
    let before = figures::last(&work).map_err(sql)?;
    let mut rows = Vec::new();
    let intake = Intake::new(&work, &id.run, digest.map(|_| &mut rows)).map_err(sql)?;
    let (taken, ending) = intake.take(&mut frames, ledger, id)?;
    let offset = frames.offset();
    if taken > 0 {
        let known = "INSERT INTO journals (run, number, folded) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET folded = ?3";
        work.execute(known, params![id.run, int(id.number), int(offset)]).map_err(sql)?;
        if let Some(digest) = digest {
            figures::extend(&work, digest, before, rows).map_err(sql)?;
        }
        work.commit().map_err(sql)?;
    }
    Ok(Folded { offset, frames: taken, ending })
}

/// Up to where a journal was taken in; 0: not yet.
pub(super) fn folded(connection: &Connection, id: &Id) -> rusqlite::Result<u64> {
    let sql = "SELECT folded FROM journals WHERE run = ? AND number = ?";
    Ok(connection.query_row(sql, params![id.run, int(id.number)], |row| row.get(0)).optional()?.map_or(0, i64::cast_unsigned))
}

/// That a journal can't be read.
pub(super) fn unreadable(ledger: &Path, id: &Id, source: io::Error) -> Error {
    Error::Io { what: format!("read {}", id.path(ledger).display()), source }
}

/// The statements of one transaction.
struct Intake<'c> {
    run: &'c str,
    row: Statement<'c>,
    price: Statement<'c>,
    item: Statement<'c>,
    bound: Statement<'c>,
    done: Statement<'c>,
    lease: Statement<'c>,
    closed: Statement<'c>,
    /// The rows that were taken in, where somebody counts them.
    rows: Option<&'c mut Vec<Entry>>,
}

impl<'c> Intake<'c> {
    fn new(work: &'c Transaction<'_>, run: &'c str, rows: Option<&'c mut Vec<Entry>>) -> rusqlite::Result<Self> {
        Ok(Self {
            run,
            rows,
            row: work.prepare(
                "INSERT INTO rows (at_ms, run, serial, agent, model, provider, method, path, stream, status, ended, code, input, cache_read, \
                 cache_write_5m, cache_write_1h, input_audio, input_image, output, output_audio, output_image, reasoning, cost_nano_usd, \
                 estimated, tier, price_id, first_byte_us, total_us, reply_bytes, request_id, request_bytes, translated, sent_us, head_us, \
                 received_us) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            )?,
            price: work.prepare("INSERT OR IGNORE INTO prices (id, text) VALUES (?, ?)")?,
            item: work.prepare("INSERT OR IGNORE INTO outbox (run, kind, key, body) VALUES (?, ?, ?, ?)")?,
            bound: work.prepare("DELETE FROM outbox WHERE id <= ? AND kind = 'event'")?,
            done: work.prepare("DELETE FROM outbox WHERE key = ?")?,
            lease: work.prepare(
                "INSERT INTO leases (lease_id, run, server, provider, token_hash, granted_micro, spent_micro) VALUES (?, ?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET granted_micro = max(granted_micro, excluded.granted_micro), \
                 spent_micro = max(spent_micro, excluded.spent_micro)",
            )?,
            closed: work.prepare("DELETE FROM leases WHERE lease_id = ?")?,
        })
    }

    /// Takes a group of frames in; how many, and why no more.
    fn take(mut self, frames: &mut Frames<'_>, ledger: &Path, id: &Id) -> Result<(u64, Ending), Error> {
        for taken in 0..GROUP {
            let parts = match frames.next().map_err(|error| unreadable(ledger, id, error))? {
                Err(ending) => return Ok((taken, ending)),
                Ok(payload) => record::parts(payload, self.run),
            };
            // A checksum that holds over parts we do not know: written by a later release.
            let Some(parts) = parts else { return Ok((taken, Ending::Foreign)) };
            for part in parts {
                self.part(part).map_err(|error| failure(ledger, &error))?;
            }
        }
        Ok((GROUP, Ending::Clean))
    }

    fn part(&mut self, part: Part) -> rusqlite::Result<()> {
        match part {
            Part::Price(id, text) => self.price.execute(params![id, text]).map(drop),
            Part::Row(entry) => {
                insert(&mut self.row, &entry)?;
                if let Some(rows) = &mut self.rows {
                    rows.push(*entry);
                }
                Ok(())
            }
            Part::Item(item) => self.put(&item),
            Part::Done(key) => self.done.execute([key]).map(drop),
            Part::Lease(lease) => self.lease(&lease),
            Part::LeaseClosed(lease_id) => self.closed.execute([lease_id]).map(drop),
        }
    }

    fn put(&mut self, item: &Item) -> rusqlite::Result<()> {
        let id = self.item.insert(params![self.run, item.kind.as_str(), item.key, item.body]);
        let id = match id {
            // It waits already.
            Err(rusqlite::Error::StatementChangedRows(0)) => return Ok(()),
            other => other?,
        };
        let dropped = self.bound.execute([id - MAX_EVENTS])?;
        if dropped > 0 && id % 1000 == 0 {
            log::warn!("more than {MAX_EVENTS} events wait for the control server: the oldest are dropped");
        }
        Ok(())
    }

    fn lease(&mut self, lease: &SavedLease) -> rusqlite::Result<()> {
        let SavedLease { lease_id, server, provider, granted_micro, spent_micro, token_hash } = lease;
        self.lease.execute(params![lease_id, self.run, server, provider, token_hash, int(*granted_micro), int(*spent_micro)]).map(drop)
    }
}

/// As SQLite has it; what is larger was bounded when it was written.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn insert(statement: &mut Statement<'_>, entry: &Entry) -> rusqlite::Result<()> {
    let usage = entry.usage.map(|usage| record::classes(&usage));
    let tokens = |class: usize| usage.map_or(Value::Null, |classes| Value::Integer(classes[class] as i64));
    statement
        .execute(params![
            int(entry.at.0),
            entry.run,
            int(entry.serial),
            entry.agent,
            entry.model,
            entry.provider,
            entry.method,
            entry.path,
            entry.stream,
            entry.status,
            entry.end,
            entry.code,
            tokens(0),
            tokens(1),
            tokens(2),
            tokens(3),
            tokens(4),
            tokens(5),
            tokens(6),
            tokens(7),
            tokens(8),
            tokens(9),
            entry.cost.map(|cost| int(cost.0)),
            entry.estimated,
            entry.tier,
            entry.price_id,
            entry.first_byte_us.map(int),
            int(entry.total_us),
            int(entry.reply_bytes),
            entry.request_id,
            entry.request_bytes.map(int),
            entry.translated,
            entry.sent_us.map(int),
            entry.head_us.map(int),
            entry.received_us.map(int),
        ])
        .map(drop)
}

/// Takes in what runs that are over left behind, and removes it.
pub(super) fn replay(session: &mut Session, ledger: &Path, digest: Option<Digest>) -> Result<(), Error> {
    let unlisted = |source| Error::Io { what: format!("list journals of {}", ledger.display()), source };
    for id in journal::list(ledger).map_err(unlisted)? {
        let path = id.path(ledger);
        let Some(file) = journal::take_over(&path).map_err(|error| unreadable(ledger, &id, error))? else { continue };
        let folded = fold(session, ledger, &id, &file, u64::MAX, digest)?;
        if folded.frames > 0 {
            log::info!("ledger {}: {} records of a run that was cut short are in", ledger.display(), folded.frames);
        }
        remove(&path, &folded);
    }
    Ok(())
}

/// Removes a journal that was taken in, while its lock is held; one that has more in it than could be understood is kept.
pub(super) fn remove(path: &Path, folded: &Folded) {
    let removed = match folded.ending {
        Ending::Clean => fs::remove_file(path),
        Ending::Cut => {
            log::warn!("journal {}: its last record was cut and is ignored", path.display());
            fs::remove_file(path)
        }
        Ending::Foreign => {
            log::warn!("journal {}: written by another release, left for that one", path.display());
            Ok(())
        }
        Ending::Bad => {
            let kept = path.with_extension("rows.unread");
            log::error!("journal {}: unreadable from byte {} on, kept as {}", path.display(), folded.offset, kept.display());
            fs::rename(path, kept)
        }
    };
    if let Err(error) = removed {
        log::warn!("journal {}: {error}", path.display());
    }
}

/// Makes what dead runs left in the outbox, and their leases, ours; those of runs that live stay theirs.
pub(super) fn adopt(session: &mut Session, ledger: &Path, run: &str) -> Result<(), Error> {
    let sql = |error| failure(ledger, &error);
    let work = session.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sql)?;
    let owners = owners(&work, run).map_err(sql)?;
    // Read after the rows: a run that has rows had its journal, locked, before.
    let journals = journal::list(ledger).unwrap_or_default();
    let lives = |owner: &str| {
        let mut own = journals.iter().filter(|id| id.run == owner);
        own.any(|id| !matches!(journal::take_over(&id.path(ledger)), Ok(Some(_))))
    };
    for owner in owners.iter().filter(|owner| !lives(owner)) {
        for table in ["outbox", "leases"] {
            work.execute(&format!("UPDATE {table} SET run = ? WHERE run = ?"), [run, owner]).map_err(sql)?;
        }
    }
    work.commit().map_err(sql)
}

fn owners(work: &Transaction<'_>, run: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = work.prepare("SELECT run FROM outbox WHERE run <> ?1 UNION SELECT run FROM leases WHERE run <> ?1")?;
    statement.query_map([run], |row| row.get(0))?.collect()
}
