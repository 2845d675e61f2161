//! The ledger as its users see it: [`Ledger`] is the books, the outbox and the keeper of leases of one run.

use super::db::{OPEN_WAIT, Session, failure};
use super::entry::price_line;
use super::figures::{Digest, Earlier};
use super::fold;
use super::keeper::Keeper;
use super::memory::guard;
use super::record::Frame;
use super::report::{Filter, Report, resolved};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::money::{NanoUsd, Price, Rates, Tier};
use crate::outbox::{Item, ItemKind, Leases, Outbox, SavedLease};
use crate::row::{Books, Row};
use rusqlite::{Row as SqlRow, params};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a ledger that is dropped waits for its last rows to be folded.
const DROP_WAIT: Duration = Duration::from_secs(2);

/// How long reading the outbox waits for rows to be folded.
const FLUSH_WAIT: Duration = Duration::from_secs(5);

/// Prices remembered as written down.
const MAX_PRICES: usize = 1024;

/// The ledger in a file, open for a run's rows.
///
/// After a fork it belongs to the process that opened it: in the child every call is an error, and nothing is touched.
///
/// ```no_run
/// # #[cfg(feature = "ledger")] {
/// use iron_runtime::ledger::Ledger;
/// let ledger = Ledger::open("ledger.db".as_ref())?;
/// println!("spent so far: {}", ledger.spent_since(None)?);
/// # }
/// # Ok::<(), iron_runtime::Error>(())
/// ```
pub struct Ledger {
    keeper: Arc<Keeper>,
    thread: Mutex<Option<JoinHandle<()>>>,
    prices: Mutex<Prices>,
    earlier: Mutex<Option<Earlier>>,
}

/// The prices that are written down, with their keys. Found by the address of the rates, which the price beside keeps from being used anew.
type Prices = HashMap<(usize, Tier), (Arc<Price>, i64)>;

impl Ledger {
    /// Opens the ledger, or makes it: directory 0700, files 0600. Takes in what dead runs left behind.
    ///
    /// In a process that was forked while its parent was writing to a ledger SQLite can't be used; the rows of such a ledger wait in its
    /// journal for the next process.
    ///
    /// # Errors
    /// Damaged, not a ledger, of a later release, locked by another program for 5 s, or the disk says no. Nothing was overwritten then.
    pub fn open(path: &Path) -> Result<Arc<Self>, Error> {
        Self::begin(path, None)
    }

    /// The same, and keeps figures of all rows beside them.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_with(path: &Path, digest: Digest) -> Result<Arc<Self>, Error> {
        Self::begin(path, Some(digest))
    }

    fn begin(path: &Path, digest: Option<Digest>) -> Result<Arc<Self>, Error> {
        let mut session = Session::allowed().then(|| Session::writer(path, OPEN_WAIT)).transpose()?;
        let path = resolved(path)?;
        if let Some(session) = &mut session {
            session.check(&path)?;
            fold::replay(session, &path, digest)?;
        }
        let keeper = Arc::new(Keeper::new(&path, digest)?);
        let mut earlier = None;
        if let Some(session) = &mut session {
            fold::adopt(session, &path, &keeper.run)?;
            // Before this run's first row can be in.
            earlier = Some(Earlier::read(session, &path)?);
        }
        let thread = session.map(|session| fold_thread(&keeper, session)).transpose()?;
        if thread.is_none() {
            keeper.over();
            log::warn!("ledger {}: this process was forked from one that was writing to it; rows wait in a journal", path.display());
        }
        Ok(Arc::new(Self { keeper, thread: Mutex::new(thread), prices: Mutex::default(), earlier: Mutex::new(earlier) }))
    }

    /// The random name of this run, as rows have it.
    pub fn run(&self) -> &str {
        &self.keeper.run
    }

    /// What the ledger held when this run began, for whoever counts on; given out once. `None` also where SQLite can't be used.
    pub fn earlier(&self) -> Option<Earlier> {
        self.keeper.here().ok()?;
        guard(&self.earlier).take()
    }

    /// Keeps a row together with what must be sent because of it and what is new of its lease: all of it survives, or nothing.
    ///
    /// # Errors
    /// As [`Books::record`].
    pub fn record_all(&self, row: &Arc<Row>, items: &[Item], lease: Option<&SavedLease>) -> Result<(), Error> {
        let mut frame = Frame::begin();
        let used = row.bill.price.as_ref().map(|price| self.price(price, row, &mut frame));
        frame.row(row, used.as_ref().map(|used| used.id));
        items.iter().for_each(|item| frame.item(item));
        if let Some(lease) = lease {
            frame.lease(lease);
        }
        self.keeper.append(&mut frame)?;
        if let Some(Used { id, new: Some((key, price)) }) = used
            && let Ok(mut prices) = self.prices.try_lock()
        {
            if prices.len() >= MAX_PRICES {
                prices.clear();
            }
            prices.insert(key, (price, id));
        }
        Ok(())
    }

    /// The key of the price a row used; a price that was not yet written down goes into the frame.
    fn price(&self, price: &Arc<Price>, row: &Row, frame: &mut Frame) -> Used {
        let tier = row.bill.tier;
        let rates = price.card(tier).rates(row.bill.usage.map_or(0, |usage| usage.input_tokens()));
        let key = (std::ptr::from_ref::<Rates>(rates).addr(), tier);
        // Never waited for: a price that is written down twice is one all the same, and in a forked child nobody would give it back.
        if let Ok(prices) = self.prices.try_lock()
            && let Some((_, id)) = prices.get(&key)
        {
            return Used { id: *id, new: None };
        }
        let (id, text) = price_line(price, tier, rates);
        frame.price(id, &text);
        Used { id, new: Some((key, Arc::clone(price))) }
    }

    /// What everything kept since a time has cost, this run's rows and those of other runs included; `None`: since ever.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn spent_since(&self, since: Option<UnixMs>) -> Result<NanoUsd, Error> {
        self.report()?.spent(&Filter { since, ..Filter::default() })
    }

    /// The same for each of these agents.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn spent_since_by_agent(&self, since: Option<UnixMs>, agents: &[&str]) -> Result<Vec<NanoUsd>, Error> {
        let report = self.report()?;
        agents.iter().map(|agent| report.spent(&Filter { since, agent: Some((*agent).into()), ..Filter::default() })).collect()
    }

    /// One state of everything kept so far, for reading.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub fn report(&self) -> Result<Report, Error> {
        self.keeper.here()?;
        Report::open(&self.keeper.path)
    }

    /// Ends the run: no more rows; folds those that wait, until the deadline. What is not folded then is taken in at the next start.
    pub fn stop(&self, deadline: Duration) {
        if !self.keeper.is_here() {
            return;
        }
        self.keeper.stop(deadline);
        let thread = guard(&self.thread).take();
        if let Some(thread) = thread.filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }

    fn append(&self, fill: impl FnOnce(&mut Frame)) -> Result<(), Error> {
        let mut frame = Frame::begin();
        fill(&mut frame);
        self.keeper.append(&mut frame)
    }

    /// What a statement gives for this run and one more value, after everything that waits was folded.
    fn select<T>(&self, sql: &str, value: &dyn rusqlite::ToSql, read: fn(&SqlRow<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>, Error> {
        self.keeper.flush(FLUSH_WAIT)?;
        let path = &self.keeper.path;
        let session = Session::reader(path)?;
        let query = || -> rusqlite::Result<Vec<T>> { session.prepare(sql)?.query_map(params![self.run(), value], read)?.collect() };
        query().map_err(|error| failure(path, &error))
    }
}

/// The key of a price, and what to remember once it is written down.
struct Used {
    id: i64,
    new: Option<((usize, Tier), Arc<Price>)>,
}

fn fold_thread(keeper: &Arc<Keeper>, session: Session) -> Result<JoinHandle<()>, Error> {
    let shared = Arc::clone(keeper);
    let thread = std::thread::Builder::new().name("iron-ledger".into()).spawn(move || shared.keep(session));
    thread.map_err(|source| Error::Io { what: "start the ledger's thread".into(), source })
}

impl Books for Ledger {
    fn record(&self, row: &Arc<Row>) -> Result<(), Error> {
        self.record_all(row, &[], None)
    }

    fn record_with(&self, row: &Arc<Row>, items: &[Item], lease: Option<&SavedLease>) -> Result<bool, Error> {
        self.record_all(row, items, lease).map(|()| true)
    }

    fn ready(&self) -> Result<(), Error> {
        self.keeper.ready()
    }
}

impl Outbox for Ledger {
    fn put(&self, item: Item) -> Result<(), Error> {
        self.append(|frame| frame.item(&item))
    }

    /// Also what dead runs left; not what is another live run's to send.
    fn pending(&self, limit: usize) -> Result<Vec<Item>, Error> {
        let sql = "SELECT kind, key, body FROM outbox WHERE run = ? ORDER BY kind = 'event', id LIMIT ?";
        let rows = self
            .select(sql, &fold::int(limit as u64), |row| Ok((ItemKind::from_word(&row.get::<_, String>(0)?), row.get(1)?, row.get(2)?)))?;
        Ok(rows.into_iter().filter_map(|(kind, key, body)| Some(Item { kind: kind?, key, body })).collect())
    }

    fn done(&self, key: &str) -> Result<(), Error> {
        self.append(|frame| frame.done(key))
    }
}

impl Leases for Ledger {
    fn save_lease(&self, lease: &SavedLease) -> Result<(), Error> {
        self.append(|frame| frame.lease(lease))
    }

    fn close_lease(&self, lease_id: &str) -> Result<(), Error> {
        self.append(|frame| frame.lease_closed(lease_id))
    }

    fn open_leases(&self, server: &str) -> Result<Vec<SavedLease>, Error> {
        let sql = "SELECT lease_id, server, provider, granted_micro, spent_micro, token_hash FROM leases WHERE run = ? AND server = ? \
                   ORDER BY rowid";
        self.select(sql, &server, |row| {
            Ok(SavedLease {
                lease_id: row.get(0)?,
                server: row.get(1)?,
                provider: row.get(2)?,
                granted_micro: row.get::<_, i64>(3)?.max(0).cast_unsigned(),
                spent_micro: row.get::<_, i64>(4)?.max(0).cast_unsigned(),
                token_hash: row.get(5)?,
            })
        })
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if self.keeper.is_here() {
            return self.stop(DROP_WAIT);
        }
        // In a forked child the thread is not there to be let go of.
        if let Ok(thread) = self.thread.get_mut() {
            std::mem::forget(thread.take());
        }
    }
}
