//! Reading a ledger: one state of it, rows that still stand in journals included. Nothing is written, and nobody who writes is waited for.
//!
//! The journals are opened first, then SQLite's snapshot is taken, which says how far each of them was in: a row is in the snapshot or in
//! the rest of a journal, never in both. A journal that is removed meanwhile stays readable, being open.

use super::db::{Session, failure};
use super::entry::{self, Entry};
use super::fold::{folded, int, unreadable};
use super::journal::{self, Frames, Id};
use super::record::{self, Part};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::money::NanoUsd;
use crate::tally::{Figures, Tally};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Row as SqlRow, params_from_iter};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Rows fetched at once.
const PAGE: usize = 500;

const COLUMNS: &str = "id, at_ms, run, serial, agent, model, provider, method, path, stream, status, ended, code, input, cache_read, \
    cache_write_5m, cache_write_1h, input_audio, input_image, output, output_audio, output_image, reasoning, cost_nano_usd, estimated, tier, \
    price_id, first_byte_us, total_us, reply_bytes";

/// What rows have since schema 2.
const MORE: &str = "request_id, request_bytes, translated, sent_us, head_us, received_us";

/// The same of an earlier schema.
const NO_MORE: &str = "NULL, NULL, NULL, NULL, NULL, NULL";

const SUMMED: &str = "at_ms, model, provider, agent, ended, status, \
    coalesce(input + cache_read + cache_write_5m + cache_write_1h + input_audio + input_image, 0), \
    coalesce(output + output_audio + output_image, 0), coalesce(cost_nano_usd, 0)";

/// Which rows a report is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// From this time on.
    pub since: Option<UnixMs>,
    /// Before this time.
    pub until: Option<UnixMs>,
    /// Of this agent.
    pub agent: Option<String>,
    /// For this model.
    pub model: Option<String>,
    /// Sent to this upstream.
    pub provider: Option<String>,
}

impl Filter {
    /// Whether it lets a row through.
    pub fn takes(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|wanted| found == Some(wanted));
        self.since.is_none_or(|since| entry.at >= since)
            && self.until.is_none_or(|until| entry.at < until)
            && is(&self.agent, entry.agent.as_deref())
            && is(&self.model, entry.model.as_deref())
            && is(&self.provider, Some(&entry.provider))
    }

    /// The same as a condition of SQL.
    fn condition(&self) -> (String, Vec<Value>) {
        let text = |text: &Option<String>| text.clone().map(Value::Text);
        let time = |time: Option<UnixMs>| time.map(|time| Value::Integer(int(time.0)));
        let all = [
            ("at_ms >= ?", time(self.since)),
            ("at_ms < ?", time(self.until)),
            ("agent = ?", text(&self.agent)),
            ("model = ?", text(&self.model)),
            ("provider = ?", text(&self.provider)),
        ];
        let (mut sql, mut values) = ("1".to_string(), Vec::new());
        for (condition, value) in all {
            if let Some(value) = value {
                sql.push_str(" AND ");
                sql.push_str(condition);
                values.push(value);
            }
        }
        (sql, values)
    }
}

/// One state of a ledger.
///
/// ```no_run
/// # #[cfg(feature = "ledger")] {
/// use iron_runtime::ledger::{Filter, Report};
/// let report = Report::open("ledger.db".as_ref())?;
/// println!("{} calls", report.tally(&Filter::default())?.all.requests);
/// # }
/// # Ok::<(), iron_runtime::Error>(())
/// ```
pub struct Report {
    path: PathBuf,
    session: Session,
    /// The journals, and how far the snapshot has them.
    journals: Vec<(Id, File, u64)>,
    /// [`MORE`], as far as this file has it.
    more: &'static str,
}

impl Report {
    /// Opens a ledger for reading; also one that a router is writing to.
    ///
    /// # Errors
    /// There is none, it is damaged, of a later release, or can't be read.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = resolved(path)?;
        if !path.exists() {
            let why = "none there yet: `iron-runtime serve` and `iron-runtime run` keep one, and so does a router with `state` set";
            let what = format!("no ledger at {}", path.display());
            return Err(Error::Io { what, source: io::Error::new(ErrorKind::NotFound, why) });
        }
        let files = open_journals(&path)?;
        let session = Session::reader(&path)?;
        let sql = |error| failure(&path, &error);
        session.execute_batch("BEGIN").map_err(sql)?;
        let mut journals = Vec::new();
        for (id, file) in files {
            let from = folded(&session, &id).map_err(sql)?;
            journals.push((id, file, from));
        }
        // With no journal to ask for, this takes the snapshot.
        session.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(sql)?;
        let more = if session.version(&path)? < 2 { NO_MORE } else { MORE };
        Ok(Self { path, session, journals, more })
    }

    /// Sums over the rows that the filter takes. Memory does not grow with their number.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn tally(&self, filter: &Filter) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        self.sums(filter, &mut tally).map_err(|error| failure(&self.path, &error))?;
        self.rest(|entry| {
            if filter.takes(&entry) {
                tally.put(entry.at, entry.model.as_deref(), Some(&entry.provider), entry.agent.as_deref(), &entry.figures());
            }
        })?;
        Ok(tally)
    }

    /// Row by row: SQLite would sort a million rows to group them, which takes thrice as long.
    fn sums(&self, filter: &Filter, tally: &mut Tally) -> rusqlite::Result<()> {
        let (condition, values) = filter.condition();
        let mut statement = self.session.prepare(&format!("SELECT {SUMMED} FROM rows WHERE {condition}"))?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let (model, provider, agent) = (text(row, 1)?, text(row, 2)?, text(row, 3)?);
            tally.put(UnixMs(unsigned(row, 0)?), model, provider, agent, &figures(row)?);
        }
        Ok(())
    }

    /// What the rows that the filter takes cost together.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn spent(&self, filter: &Filter) -> Result<NanoUsd, Error> {
        let (condition, values) = filter.condition();
        let sql = format!(
            "SELECT coalesce(sum(cost_nano_usd / 1000000000), 0), coalesce(sum(cost_nano_usd % 1000000000), 0) FROM rows WHERE {condition}"
        );
        let read = |row: &SqlRow<'_>| Ok(NanoUsd(dollars(row, 0)?));
        let mut spent = self.session.query_row(&sql, params_from_iter(values), read).map_err(|error| failure(&self.path, &error))?;
        self.rest(|entry| {
            if filter.takes(&entry) {
                spent = spent.plus(entry.cost.unwrap_or_default());
            }
        })?;
        Ok(spent)
    }

    /// The rows that the filter takes, newest first, `limit` at most; read as they are asked for.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn rows(&self, filter: &Filter, limit: usize) -> Result<Rows<'_>, Error> {
        let mut rest = Vec::new();
        self.rest(|entry| {
            if filter.takes(&entry) {
                rest.push(entry);
            }
            if rest.len() >= limit.saturating_mul(2).max(2 * PAGE) {
                newest(&mut rest, limit);
            }
        })?;
        newest(&mut rest, limit);
        Ok(Rows { report: self, filter: filter.clone(), rest, page: VecDeque::new(), before: Some((i64::MAX, i64::MAX)), left: limit })
    }

    /// The price that rows with this [`Entry::price_id`] were computed with: JSON with `provider`, `model`, `source`, `tier`, and pico-USD
    /// a token by class.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn price(&self, id: i64) -> Result<Option<String>, Error> {
        let found = self.session.query_row("SELECT text FROM prices WHERE id = ?", [id], |row| row.get(0)).optional();
        if let Some(text) = found.map_err(|error| failure(&self.path, &error))? {
            return Ok(Some(text));
        }
        let mut text = None;
        self.parts(|part| match part {
            Part::Price(key, price) if key == id => text = Some(price),
            _ => {}
        })?;
        Ok(text)
    }

    /// The rows that are only in journals.
    fn rest(&self, mut take: impl FnMut(Entry)) -> Result<(), Error> {
        self.parts(|part| {
            if let Part::Row(entry) = part {
                take(*entry);
            }
        })
    }

    fn parts(&self, mut take: impl FnMut(Part)) -> Result<(), Error> {
        for (id, file, from) in &self.journals {
            let unreadable = |error| unreadable(&self.path, id, error);
            let mut frames = Frames::new(file, *from, u64::MAX).map_err(unreadable)?;
            while let Ok(payload) = frames.next().map_err(unreadable)? {
                record::parts(payload, &id.run).into_iter().flatten().for_each(&mut take);
            }
        }
        Ok(())
    }

    fn page(&self, filter: &Filter, before: (i64, i64)) -> rusqlite::Result<VecDeque<(i64, Entry)>> {
        let more = self.more;
        let (condition, mut values) = filter.condition();
        values.extend([before.0, before.1].map(Value::Integer));
        let sql = format!(
            "SELECT {COLUMNS}, {more} FROM rows WHERE {condition} AND (at_ms, id) < (?, ?) ORDER BY at_ms DESC, id DESC LIMIT {PAGE}"
        );
        let mut statement = self.session.prepare(&sql)?;
        statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, whole(row)?)))?.collect()
    }
}

/// Rows of a [`Report`], newest first.
pub struct Rows<'r> {
    report: &'r Report,
    filter: Filter,
    /// From the journals, oldest first.
    rest: Vec<Entry>,
    page: VecDeque<(i64, Entry)>,
    /// Where the next page begins; `None`: there is none.
    before: Option<(i64, i64)>,
    left: usize,
}

impl Rows<'_> {
    fn refill(&mut self) -> Result<(), Error> {
        if let (true, Some(before)) = (self.page.is_empty(), self.before) {
            let page = self.report.page(&self.filter, before).map_err(|error| failure(&self.report.path, &error))?;
            self.before = page.back().filter(|_| page.len() == PAGE).map(|(id, entry)| (int(entry.at.0), *id));
            self.page = page;
        }
        Ok(())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if let Err(error) = self.refill() {
            self.left = 0;
            return Some(Err(error));
        }
        let kept = self.page.front().map(|(_, entry)| entry.at);
        let newer = self.rest.last().is_some_and(|entry| kept.is_none_or(|kept| entry.at >= kept));
        if newer { self.rest.pop().map(Ok) } else { self.page.pop_front().map(|(_, entry)| Ok(entry)) }
    }
}

/// Sorts rows by time and drops all but the last of them.
fn newest(rows: &mut Vec<Entry>, most: usize) {
    rows.sort_by_key(|entry| (entry.at, entry.serial));
    rows.drain(..rows.len().saturating_sub(most));
}

/// Every journal there is, open; one that goes while the list is read was taken in before it went.
fn open_journals(path: &Path) -> Result<Vec<(Id, File)>, Error> {
    let unlisted = |source| Error::Io { what: format!("list journals of {}", path.display()), source };
    let mut files = Vec::new();
    for id in journal::list(path).map_err(unlisted)? {
        match File::open(id.path(path)) {
            Ok(file) => files.push((id, file)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(path, &id, error)),
        }
    }
    Ok(files)
}

/// The path by which everybody knows the file, also when the process goes to another directory: journals stand beside that.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .map_err(|source| Error::Io { what: format!("ledger {}", path.display()), source })
}

fn unsigned(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.max(0).cast_unsigned())
}

/// A sum kept as dollars and nano-dollars, so that no sum of costs is too large for SQLite's integers.
fn dollars(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(unsigned(row, column)?.saturating_mul(1_000_000_000).saturating_add(unsigned(row, column + 1)?))
}

/// The figures of one row of [`SUMMED`].
fn figures(row: &SqlRow<'_>) -> rusqlite::Result<Figures> {
    let (failed, refused) = entry::ending(text(row, 4)?.unwrap_or_default(), row.get(5)?);
    Ok(Figures {
        requests: 1,
        failed: failed.into(),
        refused: refused.into(),
        input_tokens: unsigned(row, 6)?,
        output_tokens: unsigned(row, 7)?,
        cost_nano_usd: unsigned(row, 8)?,
    })
}

/// A text, not copied.
fn text<'r>(row: &'r SqlRow<'_>, column: usize) -> rusqlite::Result<Option<&'r str>> {
    Ok(row.get_ref(column)?.as_str_or_null()?)
}

/// The columns of [`COLUMNS`] and [`MORE`].
fn whole(row: &SqlRow<'_>) -> rusqlite::Result<Entry> {
    let number = |column| row.get::<_, Option<i64>>(column).map(|number| number.map(|number| number.max(0).cast_unsigned()));
    let mut classes = [0; 10];
    for (at, class) in classes.iter_mut().enumerate() {
        *class = number(13 + at)?.unwrap_or(0);
    }
    Ok(Entry {
        at: UnixMs(unsigned(row, 1)?),
        run: row.get(2)?,
        serial: unsigned(row, 3)?,
        agent: row.get(4)?,
        model: row.get(5)?,
        provider: row.get(6)?,
        method: row.get(7)?,
        path: row.get(8)?,
        stream: row.get(9)?,
        status: row.get(10)?,
        end: row.get(11)?,
        code: row.get(12)?,
        usage: number(13)?.map(|_| record::usage(classes)),
        cost: number(23)?.map(NanoUsd),
        estimated: row.get(24)?,
        tier: row.get(25)?,
        price_id: row.get(26)?,
        first_byte_us: number(27)?,
        total_us: unsigned(row, 28)?,
        reply_bytes: unsigned(row, 29)?,
        request_id: row.get(30)?,
        request_bytes: number(31)?,
        translated: row.get::<_, Option<bool>>(32)?.unwrap_or(false),
        sent_us: number(33)?,
        head_us: number(34)?,
        received_us: number(35)?,
    })
}
