//! The one thread that talks to the control server in the background: it sends what lies in the outbox, asks for more budget before the
//! lease runs dry, returns leases. No request ever waits for it.
//!
//! [`Pace::plan`] decides what is next, from the books and the time, without I/O; the rest carries it out. Reports and events leave in
//! the order in which they were put in, each until a 2xx or a refusal; a server in trouble is asked again after a pause that doubles
//! ([`FIRST_PAUSE`] to [`LONGEST_PAUSE`], or as `Retry-After` says). Trouble with events never holds up money, nor the other way round.

use super::lease::book::{Book, Closing, Cut, Status};
use super::lease::talk::{self, Refreshed, Sent};
use super::lease::{CALL_LIMIT, Shared, unix};
use super::{control::Answer, ids};
use crate::money::NanoUsd;
use crate::outbox::{Item, ItemKind};
use serde_json::{Value, json};
use std::time::Duration;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The pause while the router stops.
const STOP_PAUSE: Duration = Duration::from_millis(250);

/// How long the last word, the lease's return, may take when the deadline has passed already.
const LAST_LIMIT: Duration = Duration::from_secs(1);

/// How long a refresh waits for reports that are just being put into the outbox.
const STILL_LIMIT: Duration = Duration::from_secs(1);

/// Items read from the outbox at once; and the most, where what comes first can't be sent.
const BATCH: usize = 256;
const WIDEST: usize = 64 << 10;

/// The work of the thread, until the router stops.
pub(super) fn run(shared: &Shared) {
    let _over = Over(shared);
    let mut courier = Courier::new(shared);
    while let Some(job) = courier.next() {
        courier.carry_out(job);
    }
    let orphaned = shared.lock().orphaned();
    if orphaned > NanoUsd::ZERO {
        log::warn!("{orphaned} were settled without a lease and are not reported");
    }
}

/// Says that the thread is done, also when it panics.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        self.0.notify();
    }
}

/// Something to do.
#[derive(Debug, PartialEq, Eq)]
enum Job {
    /// Send what lies in the outbox.
    Send,
    /// Ask for another lease in the place of the one in use.
    Refresh,
    /// Return the next lease that waits for it.
    Return,
    /// Add the lease in use to them.
    Retire,
    /// Return it, the deadline notwithstanding.
    LastReturn,
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Do(Job),
    /// Nothing until then, or until something changes.
    Sleep(Option<Duration>),
    End,
}

/// The state of the thread.
struct Courier<'a> {
    shared: &'a Shared,
    pace: Pace,
    /// Items to read at once.
    reach: usize,
    /// How many of those read last were for other servers or tokens.
    foreign: usize,
    /// The server takes no events.
    no_events: bool,
    hurried: bool,
}

/// How the messages get on.
#[derive(Default)]
struct Pace {
    /// Reports, refreshes, returns.
    reports: Lane,
    events: Lane,
    /// The last try to return the lease has been made.
    last_tried: bool,
}

/// One of the two kinds of messages, and how it gets on.
#[derive(Default)]
struct Lane {
    /// Nothing is sent before.
    until: Duration,
    pause: Duration,
    /// Something waits for that.
    held_up: bool,
}

impl Lane {
    fn is_ready(&self, now: Duration) -> bool {
        self.until <= now
    }

    fn is_due(&self, now: Duration) -> bool {
        self.held_up && self.is_ready(now)
    }

    /// After a failure; whether it is the first in a row. `share` of the second half of the pause is waited for.
    fn fail(&mut self, now: Duration, retry_after: Option<Duration>, hurried: bool, share: f64) -> bool {
        let first = self.pause.is_zero();
        self.pause = if first { FIRST_PAUSE } else { (self.pause * 2).min(LONGEST_PAUSE) };
        let wait = self.pause.mul_f64(0.5 + share / 2.0).max(retry_after.unwrap_or_default());
        self.until = now.saturating_add(if hurried { wait.min(STOP_PAUSE) } else { wait });
        first
    }

    fn succeed(&mut self) {
        (self.until, self.pause) = (Duration::ZERO, Duration::ZERO);
    }
}

impl Pace {
    fn plan(&self, book: &Book, status: Option<Status>, now: Duration) -> Step {
        if book.abandoned {
            return Step::End;
        }
        if let Some(until) = book.stopping {
            return self.plan_stop(book, now, until);
        }
        let mut wake = None;
        let mut at = |time: Duration| wake = Some(wake.map_or(time, |other: Duration| other.min(time)));
        match book.refresh_due(status, now) {
            Ok(()) if self.reports.is_ready(now) => return Step::Do(Job::Refresh),
            Ok(()) => at(self.reports.until),
            Err(later) => later.into_iter().for_each(&mut at),
        }
        if book.unsent || self.reports.is_due(now) || self.events.is_due(now) {
            return Step::Do(Job::Send);
        }
        if book.is_closing() {
            if self.reports.is_ready(now) {
                return Step::Do(Job::Return);
            }
            at(self.reports.until);
        }
        [&self.reports, &self.events].iter().filter(|lane| lane.held_up).for_each(|lane| at(lane.until));
        Step::Sleep(wake)
    }

    /// Messages first, then leases, then the end; after the deadline nothing but one try to return the lease.
    fn plan_stop(&self, book: &Book, now: Duration, until: Duration) -> Step {
        if now >= until {
            return match (book.is_open(), self.last_tried) {
                (true, _) => Step::Do(Job::Retire),
                (false, false) if book.is_closing() => Step::Do(Job::LastReturn),
                _ => Step::End,
            };
        }
        if book.unsent || self.reports.is_due(now) || self.events.is_due(now) {
            return Step::Do(Job::Send);
        }
        let lanes = [&self.reports, &self.events];
        if let Some(next) = lanes.iter().filter(|lane| lane.held_up).map(|lane| lane.until).min() {
            return Step::Sleep(Some(next.min(until)));
        }
        match (book.is_open(), book.is_closing()) {
            (true, _) => Step::Do(Job::Retire),
            (false, true) if self.reports.is_ready(now) => Step::Do(Job::Return),
            (false, true) => Step::Sleep(Some(self.reports.until.min(until))),
            (false, false) => Step::End,
        }
    }
}

impl<'a> Courier<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, pace: Pace::default(), reach: BATCH, foreign: 0, no_events: false, hurried: false }
    }

    /// Waits for the next job; `None`: there will be none.
    fn next(&mut self) -> Option<Job> {
        loop {
            let status = self.shared.account.status();
            let mut book = self.shared.lock();
            let now = self.shared.now();
            if book.stopping.is_some() && !std::mem::replace(&mut self.hurried, true) {
                (self.pace.reports.until, self.pace.events.until) = (now, now);
            }
            match self.pace.plan(&book, status, now) {
                Step::Do(job) => {
                    book.unsent &= job != Job::Send;
                    return Some(job);
                }
                Step::Sleep(until) => drop(self.shared.wait(book, until.map(|until| until.saturating_sub(now)))),
                Step::End => return None,
            }
        }
    }

    fn carry_out(&mut self, job: Job) {
        match job {
            Job::Send => self.send(),
            Job::Refresh => self.refresh(),
            Job::Return => self.give_back(),
            Job::Retire => drop(self.shared.lock().end(true)),
            Job::LastReturn => {
                self.pace.last_tried = true;
                let closing = self.shared.lock().take_own_closing();
                if let Some(Err((why, _))) = closing.map(|closing| self.shared.give_back(&closing, LAST_LIMIT)) {
                    log::warn!("the lease could not be returned: {why}");
                }
            }
        }
    }

    /// What a call may take now.
    fn limit(&self) -> Duration {
        let until = self.shared.lock().stopping;
        until.map_or(CALL_LIMIT, |until| until.saturating_sub(self.shared.now()).clamp(STOP_PAUSE, CALL_LIMIT))
    }

    /// Sends what lies in the outbox, as far as its lane is open.
    fn send(&mut self) {
        let items = match self.shared.outbox.pending(self.reach) {
            Ok(items) => items,
            Err(error) => return self.unreadable(&error.to_string()),
        };
        (self.pace.reports.held_up, self.pace.events.held_up) = (false, false);
        let mut gone = 0;
        let ours: Vec<_> = items.iter().filter(|item| self.shared.is_ours(&item.key)).collect();
        for item in &ours {
            if self.is_interrupted() {
                self.shared.lock().unsent = true;
                break;
            }
            gone += usize::from(self.send_one(item));
        }
        self.save_spent();
        self.foreign = items.len() - ours.len();
        self.reach_on(items.len(), gone);
    }

    /// The outbox holds more than was read: reads on, further where nothing of it could be sent.
    fn reach_on(&mut self, read: usize, gone: usize) {
        let now = self.shared.now();
        if read < self.reach || gone > 0 {
            self.shared.lock().unsent |= read >= self.reach;
            self.reach = BATCH + self.foreign;
        } else if self.reach < WIDEST && (self.pace.reports.is_ready(now) || self.pace.events.is_ready(now)) {
            self.reach *= 4;
            self.shared.lock().unsent = true;
        }
    }

    fn unreadable(&mut self, why: &str) {
        let now = self.shared.now();
        for lane in [&mut self.pace.reports, &mut self.pace.events] {
            lane.held_up = true;
            lane.fail(now, None, self.hurried, ids::share());
        }
        self.shared.lock().trouble(format!("what was spent can't be reported: {why}"));
        log::warn!("what waits for the control server can't be read: {why}");
    }

    /// Whether something more urgent has come up.
    fn is_interrupted(&self) -> bool {
        let status = self.shared.account.status();
        let book = self.shared.lock();
        let now = self.shared.now();
        let refresh = || book.stopping.is_none() && self.pace.reports.is_ready(now) && book.refresh_due(status, now).is_ok();
        book.abandoned || book.stopping.is_some_and(|until| now >= until) || refresh()
    }

    /// Sends one message, if its lane is open; whether it is out of the outbox.
    fn send_one(&mut self, item: &Item) -> bool {
        let now = self.shared.now();
        let lane = self.lane(item.kind);
        if !lane.is_ready(now) {
            lane.held_up = true;
            return false;
        }
        let sent = match item.kind {
            ItemKind::Report => self.send_report(item),
            ItemKind::Event => self.send_event(item),
        };
        match sent {
            Ok(()) => {
                self.succeeded(item.kind);
                if let Err(error) = self.shared.outbox.done(&item.key) {
                    log::warn!("{} {} may be sent once more: {error}", item.kind.as_str(), item.key);
                }
                true
            }
            Err((why, retry_after)) => {
                self.lane(item.kind).held_up = true;
                self.failed(item.kind, &why, retry_after);
                false
            }
        }
    }

    fn lane(&mut self, kind: ItemKind) -> &mut Lane {
        match kind {
            ItemKind::Report => &mut self.pace.reports,
            ItemKind::Event => &mut self.pace.events,
        }
    }

    fn succeeded(&mut self, kind: ItemKind) {
        self.lane(kind).succeed();
        if kind == ItemKind::Report {
            self.shared.lock().no_trouble();
        }
    }

    fn failed(&mut self, kind: ItemKind, why: &str, retry_after: Option<Duration>) {
        let (now, hurried) = (self.shared.now(), self.hurried);
        let first = self.lane(kind).fail(now, retry_after, hurried, ids::share());
        let level = if first { log::Level::Warn } else { log::Level::Debug };
        let what = if kind == ItemKind::Report { "budget" } else { "analytics" };
        if kind == ItemKind::Report {
            self.shared.lock().trouble(why.to_owned());
        }
        log::log!(level, "control server {}: {what}: {why}; trying again", self.shared.client.control().server_url);
    }

    /// `Ok`: it arrived, or never will; `Err`: once more, later.
    fn send_report(&mut self, item: &Item) -> Result<(), (String, Option<Duration>)> {
        let Ok(mut body @ Value::Object(_)) = serde_json::from_str::<Value>(&item.body) else {
            log::warn!("a report in the outbox is no report: {}", item.key);
            return Ok(());
        };
        let booked_on = body["lease_id"].as_str().unwrap_or_default().to_owned();
        let lease_id = match self.shared.serial_of(&item.key) {
            Some(serial) => self.shared.lock().reported_on(serial, &booked_on).to_owned(),
            None => booked_on,
        };
        body["lease_id"] = lease_id.as_str().into();
        let answer = self.post("/api/v1/budget/report", body, false)?;
        match talk::sent(&answer, self.shared.client.control()) {
            Sent::Done => {}
            Sent::Later(why) => return Err((why, answer.retry_after)),
            Sent::Dropped(why) => log::warn!("report {} is not taken: {why}", item.key),
            Sent::Ended(why) => self.report_refused(&lease_id, &item.key, &why, true),
            Sent::Unknown => self.report_refused(&lease_id, &item.key, &answer.status.to_string(), true),
            Sent::Revoked(why) => self.report_refused(&lease_id, &item.key, &why, false),
        }
        Ok(())
    }

    /// A report was refused because of its lease or token: if the lease is the one in use, it ends. Its return will count what was refused.
    fn report_refused(&self, lease_id: &str, key: &str, why: &str, give_back: bool) {
        let known = self.shared.lock().has_ended(lease_id);
        if known {
            log::debug!("report {key} came after its lease was returned: {why}");
            return;
        }
        log::warn!("report {key} on lease {lease_id} is not taken: {why}");
        self.end_lease(lease_id, why, give_back);
    }

    fn end_lease(&self, lease_id: &str, why: &str, give_back: bool) {
        let mut book = self.shared.lock();
        if book.end_of(lease_id, give_back) {
            self.shared.account.end();
            log::warn!("lease {lease_id} has ended: {why}; the next call asks for another");
        }
    }

    fn send_event(&mut self, item: &Item) -> Result<(), (String, Option<Duration>)> {
        if self.no_events {
            return Ok(());
        }
        let Ok(body @ Value::Object(_)) = serde_json::from_str::<Value>(&item.body) else {
            log::warn!("an event in the outbox is no event: {}", item.key);
            return Ok(());
        };
        let answer = self.post("/api/v1/analytics/events", body, true)?;
        match talk::sent(&answer, self.shared.client.control()) {
            Sent::Done => {}
            Sent::Later(why) => return Err((why, answer.retry_after)),
            Sent::Unknown => {
                self.no_events = true;
                log::warn!("control server {} takes no analytics events: none are sent", self.shared.client.control().server_url);
            }
            Sent::Dropped(why) | Sent::Ended(why) | Sent::Revoked(why) => log::warn!("event {} is not taken: {why}", item.key),
        }
        Ok(())
    }

    fn post(&self, path: &str, body: Value, with_token: bool) -> Result<Answer, (String, Option<Duration>)> {
        self.shared.call(path, body, with_token, self.limit()).map_err(|cause| (cause, None))
    }

    /// Keeps the lease's figure where a crash does not reach it.
    fn save_spent(&self) {
        let saved = self.shared.saved_now(&self.shared.lock());
        saved.iter().for_each(|saved| self.shared.save(saved));
    }

    /// Asks for another lease. Before, everything that belongs to the old one is reported.
    fn refresh(&mut self) {
        let now = self.shared.now();
        let Some(cut) = self.shared.lock().freeze(now) else { return };
        self.wait_until_still(&cut);
        let flushed = self.flush(&cut);
        let (status, wanted) = (self.shared.account.status(), self.shared.account.wanted());
        let mut book = self.shared.lock();
        if !flushed || !book.is_current(&cut.lease_id) {
            return book.thaw(self.shared.now());
        }
        let sum = book.sum_to_ask(status, wanted);
        drop(book);
        let body = json!({"current_lease_id": cut.lease_id, "requested_budget": sum});
        let control = self.shared.client.control();
        let (refreshed, retry_after) = match self.post("/api/v1/budget/refresh", body, true) {
            Ok(answer) => (talk::refresh(&answer, control, &cut.lease_id, unix()), answer.retry_after),
            Err((cause, _)) => (Refreshed::Failed(cause), None),
        };
        self.land_refresh(&cut, refreshed, retry_after);
    }

    fn land_refresh(&mut self, cut: &Cut, refreshed: Refreshed, retry_after: Option<Duration>) {
        let shared = self.shared;
        match refreshed {
            Refreshed::Approved(grant) => {
                self.succeeded(ItemKind::Report);
                let provider = shared.lock().spent().map(|(_, provider, ..)| provider);
                provider.iter().for_each(|provider| shared.save(&shared.saved(&grant.lease_id, *provider, grant.granted, 0)));
                let mut book = shared.lock();
                if book.is_current(&cut.lease_id) {
                    let mut exhausted = false;
                    shared.account.renew(&mut |spent| {
                        let (granted, none_left) = book.renew(cut, &grant, spent, shared.now(), unix());
                        exhausted = none_left;
                        granted
                    });
                    shared.account.exhausted(exhausted);
                    log::info!("lease {} of {} micro-USD goes on for {}", grant.lease_id, grant.granted, cut.lease_id);
                } else {
                    book.give_back(Closing { lease_id: grant.lease_id, spent: 0, recovered: false });
                }
                book.unsent = true;
                // What was settled since the line was drawn is the new one's.
                let saved = shared.saved_now(&book);
                drop(book);
                saved.iter().for_each(|saved| shared.save(saved));
                shared.forget(&cut.lease_id);
            }
            Refreshed::Denied => {
                self.succeeded(ItemKind::Report);
                let mut book = shared.lock();
                book.deny(shared.now());
                if book.is_current(&cut.lease_id) {
                    shared.account.exhausted(true);
                }
                log::warn!("the control server has no more budget to lend; the rest of lease {} is spent", cut.lease_id);
            }
            Refreshed::Ended(why) => self.end_lease(&cut.lease_id, &why, true),
            Refreshed::Revoked(why) => self.end_lease(&cut.lease_id, &why, false),
            Refreshed::Failed(why) => {
                self.failed(ItemKind::Report, &why, retry_after);
                shared.lock().thaw(shared.now());
            }
        }
    }

    fn wait_until_still(&self, cut: &Cut) {
        let until = self.shared.now().saturating_add(STILL_LIMIT);
        let mut book = self.shared.lock();
        while !book.is_still(cut) && self.shared.now() < until {
            book = self.shared.wait(book, Some(STILL_LIMIT));
        }
    }

    /// Sends every report before the line; whether none is left.
    fn flush(&mut self, cut: &Cut) -> bool {
        let items = match self.shared.outbox.pending(WIDEST) {
            Ok(items) => items,
            Err(error) => {
                self.unreadable(&error.to_string());
                return false;
            }
        };
        let shared = self.shared;
        let before = |item: &&Item| shared.is_ours(&item.key) && shared.serial_of(&item.key).is_none_or(|own| own < cut.serial);
        let reports: Vec<_> = items.iter().filter(|item| item.kind == ItemKind::Report).filter(before).collect();
        reports.into_iter().all(|report| self.send_one(report))
    }

    /// Returns the next lease that waits for it.
    fn give_back(&mut self) {
        let Some(closing) = self.shared.lock().take_closing() else { return };
        match self.shared.give_back(&closing, self.limit()) {
            Ok(()) => self.succeeded(ItemKind::Report),
            Err((why, retry_after)) => {
                self.shared.lock().give_back(closing);
                self.failed(ItemKind::Report, &why, retry_after);
            }
        }
    }
}

#[cfg(test)]
mod tests;
