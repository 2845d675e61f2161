//! What was before: earlier calls as pages of JSON, the last of them as events for those who come later, and the figures of earlier runs.
//! Here the ledger, which keeps rows, and the live view, which shows calls, meet.

use super::keeping::Keeping;
use crate::call::{Reason, Refusal};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::event::Event;
#[cfg(feature = "ledger")]
use crate::ledger::{Earlier, Entry, Filter};
use crate::live::Live;
#[cfg(feature = "ledger")]
use crate::live::metrics::{Closed, Ending, Metrics};
use crate::row::Row;
use crate::wire::news;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Calls on a page, where the request does not say how many.
const USUAL: usize = 200;

/// The most calls on a page.
const MOST: usize = 1000;

/// Rows that a start counts before it goes on: some milliseconds. More are counted beside it.
#[cfg(feature = "ledger")]
const FEW: u64 = 4000;

/// What a request for `/history` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    limit: usize,
    /// Calls that began before this time.
    before: Option<UnixMs>,
}

impl Ask {
    /// By the query: `limit` (200; 1,000 at most) and `before` (Unix milliseconds). What else stands there is passed over.
    ///
    /// # Errors
    /// One of them is no whole number.
    pub(super) fn of(query: Option<&str>) -> Result<Self, Refusal> {
        let mut ask = Self { limit: USUAL, before: None };
        for (name, value) in query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')) {
            let number = || {
                let wrong = || Refusal::new(Reason::Invalid("invalid_query"), format!("{name} must be a whole number"));
                value.parse::<u64>().map_err(|_| wrong())
            };
            match name {
                "limit" => ask.limit = usize::try_from(number()?).unwrap_or(MOST).clamp(1, MOST),
                "before" => ask.before = Some(UnixMs(number()?)),
                _ => {}
            }
        }
        Ok(ask)
    }

    /// The page: `{"calls":[…newest first],"more":…}`. Who asks for what is before its oldest call gets the next one, and no call twice or
    /// not at all; where so many began within one millisecond that they fill a page, the page is longer.
    ///
    /// # Errors
    /// The ledger can't be read.
    pub(super) fn page(self, keeping: &Keeping) -> Result<String, Error> {
        let (rows, more) = self.rows(keeping)?;
        let mut page = String::with_capacity(64 + rows.len() * 700);
        page.push_str("{\"calls\":[");
        for (at, row) in rows.into_iter().enumerate() {
            if at > 0 {
                page.push(',');
            }
            page.push_str(&call(row));
        }
        page.push_str(if more { "],\"more\":true}" } else { "],\"more\":false}" });
        Ok(page)
    }

    /// The rows of the page, and whether there are more.
    fn rows(self, keeping: &Keeping) -> Result<(Vec<Arc<Row>>, bool), Error> {
        let mut rows = fetch(keeping, None, self.before, self.limit + 1)?;
        if rows.len() <= self.limit {
            return Ok((rows, false));
        }
        let next = rows[self.limit].info.at;
        rows.truncate(self.limit);
        // Those of the millisecond in which the next page begins are left to it, whole.
        rows.retain(|row| row.info.at > next);
        if rows.is_empty() {
            rows = fetch(keeping, Some(next), Some(UnixMs(next.0.saturating_add(1))), MOST)?;
        }
        Ok((rows, true))
    }
}

/// A call as subscribers see its end, without the number of the event.
fn call(row: Arc<Row>) -> String {
    let json = news::json(0, &Event::closing(row));
    match json.strip_prefix("{\"seq\":0,") {
        Some(rest) => format!("{{{rest}"),
        None => json,
    }
}

/// Calls that began in a time, newest first.
fn fetch(keeping: &Keeping, since: Option<UnixMs>, until: Option<UnixMs>, limit: usize) -> Result<Vec<Arc<Row>>, Error> {
    match keeping {
        Keeping::Memory(memory) => {
            let mut rows = memory.rows(usize::MAX);
            let takes = |at: UnixMs| since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until);
            rows.retain(|row| takes(row.info.at));
            rows.sort_by_key(|row| std::cmp::Reverse((row.info.at, row.info.serial)));
            rows.truncate(limit);
            Ok(rows)
        }
        #[cfg(feature = "ledger")]
        Keeping::File(ledger) => {
            let report = ledger.report()?;
            let filter = Filter { since, until, ..Filter::default() };
            report.rows(&filter, limit)?.map(|entry| Ok(Arc::new(entry?.to_row()))).collect()
        }
    }
}

/// The closing events of the last calls of earlier runs, oldest first; none without a ledger. For [`Live::replay`], before anything is told.
///
/// # Errors
/// The ledger can't be read.
pub(super) fn recent(keeping: &Keeping, limit: usize) -> Result<Vec<Event>, Error> {
    let mut rows = fetch(keeping, None, None, limit)?;
    rows.reverse();
    Ok(rows.into_iter().map(Event::closing).collect())
}

/// Gives the figures what earlier runs counted; does nothing without a ledger. Many rows that nobody has counted yet are counted on a thread of
/// its own, and until they are, [`Metrics::is_whole`](crate::live::metrics::Metrics::is_whole) says no. What can't be read is left out, and
/// said.
pub(super) fn restore(keeping: &Keeping, live: &Arc<Live>) -> Restoring {
    let restoring = Restoring::default();
    match keeping {
        Keeping::Memory(_) => {
            let _ = live;
        }
        #[cfg(feature = "ledger")]
        Keeping::File(ledger) => {
            if let Some(earlier) = ledger.earlier() {
                restoring.begin(earlier, live);
            }
        }
    }
    restoring
}

/// Earlier figures on their way. Dropped, it ends.
#[derive(Default)]
pub(super) struct Restoring {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<(JoinHandle<()>, u32)>>,
}

impl Restoring {
    #[cfg(feature = "ledger")]
    fn begin(&self, earlier: Earlier, live: &Arc<Live>) {
        live.metrics().wait_for_earlier();
        if earlier.rows() <= FEW {
            return add(&earlier, live, &self.stop);
        }
        let (theirs, stop) = (live.clone(), self.stop.clone());
        match std::thread::Builder::new().name("iron-figures".into()).spawn(move || add(&earlier, &theirs, &stop)) {
            Ok(thread) => *self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((thread, std::process::id())),
            Err(error) => {
                log::warn!("figures of earlier runs are left out: {error}");
                live.metrics().add(&Metrics::default());
            }
        }
    }

    /// Ends it, done or not, and waits for that. In a forked child, where no thread is, it is let go of.
    pub(super) fn end(&self) {
        self.stop.store(true, Relaxed);
        let thread = self.thread.try_lock().ok().and_then(|mut thread| thread.take());
        match thread {
            Some((thread, process)) if process == std::process::id() => drop(thread.join()),
            other => std::mem::forget(other),
        }
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        self.end();
    }
}

/// Counts what was there before, apart, and adds it at once: nobody sees a part of it.
#[cfg(feature = "ledger")]
fn add(earlier: &Earlier, live: &Live, stop: &AtomicBool) {
    let counted = Metrics::default();
    if !earlier.text().is_empty() && !counted.restore(earlier.text()) {
        log::warn!("figures of earlier runs were kept by another release and are left out");
    }
    let rows = earlier.each(|entry| {
        counted.count_earlier(&closed(&entry));
        !stop.load(Relaxed)
    });
    if let Err(error) = rows {
        log::warn!("figures of earlier runs are not whole: {error}");
    }
    if !stop.load(Relaxed) {
        live.metrics().add(&counted);
    }
}

/// What the ledger keeps of all rows beside them.
#[cfg(feature = "ledger")]
pub(super) fn digest(earlier: &str, rows: &mut dyn Iterator<Item = Entry>) -> String {
    let metrics = Metrics::default();
    // Figures of another release begin anew with the rows to come.
    let _ = metrics.restore(earlier);
    rows.for_each(|entry| metrics.count_earlier(&closed(&entry)));
    metrics.snapshot()
}

#[cfg(feature = "ledger")]
fn closed(entry: &Entry) -> Closed<'_> {
    let ending = match (entry.is_refused(), entry.is_failed()) {
        (true, _) => Ending::Refused,
        (false, true) => Ending::Failed,
        (false, false) => Ending::Completed,
    };
    Closed {
        provider: &entry.provider,
        model: entry.model.as_deref(),
        status: entry.status,
        ending,
        stream: entry.stream,
        usage: entry.usage,
        cost: entry.cost,
        first_byte_us: entry.first_byte_us,
        total_us: entry.total_us,
        sent_us: entry.sent_us,
        head_us: entry.head_us,
    }
}

#[cfg(test)]
mod tests;
