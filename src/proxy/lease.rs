//! Server mode's budget: money lent by the control server, asked for when it is first needed, spent without asking, reported and given back.
//!
//! A call that a lease must pay for passes [`Leases::ensure`] before it is admitted and [`Leases::note`] when its row is kept. In between
//! the budget's state machine decides, as for any other limit; it hears of the lease through [`LeaseAccount`]. The rules:
//!
//! - No lease: one handshake at a time, however many calls want it; those that wait share its result, also a failure, which is remembered
//!   for a second. A server that can't be reached is a 503 that names it, never a false "budget exceeded".
//! - With a lease no call waits for the server: reports, refreshes and returns are the background thread's (`sync`). While the server is
//!   down, spending goes on within the lease.
//! - A lease that is about to end, or that is another provider's, is returned and replaced before the next call.
//! - A server that does not know the handshake (an older one) keeps no budgets: calls go on without a lease.
//!
//! `book` is the state machine, `talk` the protocol's words; here are the mutex, the condition variable and the handshake's POST.

pub(super) mod book;
pub(super) mod talk;

use super::control::{Answer, Client, Manner};
use super::{ids, sync};
use crate::call::{Protocol, Reason, Refusal};
use crate::config::Control;
use crate::error::Error;
use crate::money::NanoUsd;
use crate::outbox::{Item, ItemKind, Leases as LeaseStore, Outbox, SavedLease};
use crate::row::Row;
use book::{Action, Book, Charge, Closing};
use serde::Serialize;
use serde_json::json;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use talk::{Grant, Sent, Unshaken};
use zeroize::Zeroizing;

/// The whole of one call to the server may take this long.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);

/// As [`CALL_LIMIT`], where an old lease is returned while a call waits for a new one.
const ASIDE_LIMIT: Duration = Duration::from_secs(2);

/// The usual deadline of [`Leases::stop`].
pub(crate) const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// What [`Leases::stop`] takes beyond its deadline at most.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Where the lease is spent: the budget's state machine behind its lock. Every change wakes the calls that wait for money.
///
/// The methods are called with the books of the lease locked: they must not call back, and whoever calls [`Leases`] must not hold the
/// lock of the account.
pub(crate) trait LeaseAccount: Send + Sync {
    /// A lease begins: so much may be spent, and nothing of it is.
    fn begin(&self, granted: NanoUsd);

    /// Another lease in the place of this one; what is held stays held. Under its lock, the account says what has been spent of the lease
    /// by now, gets what may be spent from now on, and counts that from nothing: so no call is lost that settles at this moment.
    fn renew(&self, granted: &mut dyn FnMut(NanoUsd) -> NanoUsd);

    /// There is no lease.
    fn end(&self);

    /// Whether the server has no more to lend: calls that don't fit need not wait for it.
    fn exhausted(&self, yes: bool);

    /// The most that one of the calls needs which wait for the lease; nothing where none waits.
    fn wanted(&self) -> NanoUsd {
        NanoUsd::ZERO
    }

    /// Granted, spent and held; `None` without a lease.
    fn status(&self) -> Option<(NanoUsd, NanoUsd, NanoUsd)>;
}

/// The lease of one router, and the thread that sends what must reach the control server.
pub(crate) struct Leases {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The process that started it: in a forked child there is no thread, and a lock that it held then is held for ever.
    pid: u32,
}

/// What is to be sent because of a call.
#[derive(Debug, Default)]
#[must_use = "what is noted must be put into the outbox and said to be there"]
pub(crate) struct Note {
    /// For the outbox.
    pub(crate) items: Vec<Item>,
    /// What is new of the lease, for its store.
    pub(crate) lease: Option<SavedLease>,
    serial: Option<u64>,
}

/// What requests and the background thread share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) account: Arc<dyn LeaseAccount>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) store: Option<Arc<dyn LeaseStore>>,
    /// The id of this run; begins the ids of its reports.
    run: String,
    /// Server and token, as a hash: begins the keys of what lies in the outbox.
    account_hash: String,
    token_hash: String,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    call_limit: Duration,
    book: Mutex<Book>,
    changed: Condvar,
}

impl Leases {
    /// Starts the background thread, which first sends what an earlier run left in the outbox, and returns its leases. No lease is asked
    /// for before a call needs one. `agent` brings the connect limit, the TLS roots and the proxy.
    ///
    /// # Errors
    /// The thread can't be started.
    pub(crate) fn new(
        control: Control,
        agent: ureq::Agent,
        account: Arc<dyn LeaseAccount>,
        outbox: Arc<dyn Outbox>,
        store: Option<Arc<dyn LeaseStore>>,
    ) -> Result<Self, Error> {
        Self::start(Shared::new(Client::new(control, agent), account, outbox, store))
    }

    fn start(shared: Shared) -> Result<Self, Error> {
        // Here and not in the thread: after this, leases of our own come into the store.
        shared.recover();
        let shared = Arc::new(shared);
        let its = shared.clone();
        let thread = std::thread::Builder::new().name("iron-sync".into()).spawn(move || sync::run(&its));
        let thread = thread.map_err(|source| Error::Io { what: "start the thread that talks to the control server".into(), source })?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)), pid: std::process::id() })
    }

    /// Whether a lease pays for a call with a key of `provider`; `false`: the server keeps no budgets. At once while there is a lease, else
    /// after a handshake: [`CALL_LIMIT`] and a few seconds at most.
    ///
    /// # Errors
    /// The refusal to answer: `control_server_unreachable`, `control_server_refused`, `budget_exceeded`.
    pub(crate) fn ensure(&self, provider: Protocol) -> Result<bool, Refusal> {
        let shared = &self.shared;
        let mut book = shared.lock();
        match book.decide(provider, shared.now()) {
            Action::Go(pays) => Ok(pays),
            Action::Fail(refusal) => Err(refusal),
            Action::Wait => shared.wait_for_handshake(book),
            Action::Shake if book.stopping.is_some() => {
                Err(Refusal::new(Reason::Overloaded("router_stopping"), "the router is stopping and asks for no more budget"))
            }
            Action::Shake => {
                if book.end(true) {
                    shared.account.end();
                }
                let flight = Flight::begin(shared, &mut book);
                drop(book);
                flight.land(shared.shake(provider), provider)
            }
        }
    }

    /// What is to be sent because of a settled call; `leased`: a lease pays for it. Whoever keeps the call's row puts the items into the
    /// outbox with it, at one stroke where the ledger can, and says so with [`Leases::noted`]. Cheap: no I/O.
    pub(crate) fn note(&self, row: &Row, leased: bool) -> Note {
        let shared = &self.shared;
        let mut note = Note::default();
        let cost = row.bill.cost.unwrap_or_default();
        if leased && (cost > NanoUsd::ZERO || row.bill.usage.is_some()) {
            let mut book = shared.lock();
            if let Some(charge) = book.charge(cost) {
                note.lease = shared.saved_now(&book);
                drop(book);
                note.items.push(shared.report(&charge, row));
                note.serial = Some(charge.serial);
            }
        }
        #[cfg(feature = "analytics")]
        note.items.push(shared.keyed(crate::wire::event::event_item(row, ids::uuid4())));
        note
    }

    /// What was noted lies in the outbox, or is lost: the background thread takes it from there.
    pub(crate) fn noted(&self, note: &Note) {
        let mut book = self.shared.lock();
        match note.serial {
            Some(serial) => book.put(serial),
            None => book.unsent = true,
        }
        drop(book);
        self.shared.changed.notify_all();
    }

    /// Puts items into the outbox that were not kept with their row.
    pub(crate) fn put(&self, items: Vec<Item>) {
        for item in items {
            if let Err(error) = self.shared.outbox.put(item) {
                log::warn!("the control server will not hear of a call, but for the lease's sum: {error}");
            }
        }
    }

    /// [`Leases::note`], [`Leases::put`] and [`Leases::noted`] in one.
    #[cfg(test)]
    fn settled(&self, row: &Row, leased: bool) {
        let mut note = self.note(row, leased);
        self.put(std::mem::take(&mut note.items));
        self.noted(&note);
    }

    /// A call did not fit into the lease: the server is asked for more, soon and in the background.
    pub(crate) fn ask_more(&self) {
        self.shared.lock().ask_more();
        self.shared.changed.notify_all();
    }

    /// What a call is answered for which the lease is too small: `refused`, unless more was asked for and there is no answer. Then nobody
    /// knows whether the budget is spent, and the server is named. `true`: it has just lent more, perhaps enough.
    pub(crate) fn short(&self, refused: Refusal) -> (Refusal, bool) {
        let shared = &self.shared;
        let mut book = shared.lock();
        let unanswered = book.unanswered().map(|cause| talk::not_lent(shared.client.control(), cause));
        let lent = unanswered.is_none() && !book.is_exhausted() && refused.reason == Reason::BudgetExceeded;
        book.ask_more();
        drop(book);
        shared.notify();
        (unanswered.unwrap_or(refused), lent)
    }

    /// Sends what waits until the deadline, returns the lease, and ends the thread. What can't be sent stays in
    /// the outbox and the store. To be called when no call is under way any more; twice is fine; nothing happens in a forked child.
    pub(crate) fn stop(&self, deadline: Duration) {
        if self.pid != std::process::id() {
            return;
        }
        let shared = &self.shared;
        let mut book = shared.lock();
        let until = shared.now().saturating_add(deadline);
        book.stopping.get_or_insert(until);
        shared.changed.notify_all();
        let limit = deadline.saturating_add(STOP_GRACE);
        let waited = shared.changed.wait_timeout_while(book, limit, |book| !book.over);
        let (book, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(book);
        if waited.timed_out() {
            log::warn!("control server {}: no answer while stopping", shared.client.control().server_url);
            return;
        }
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Leases {
    /// Without [`Leases::stop`] nothing is sent and nobody waited for: the lease stays in the store.
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
            // Letting go of the handle would look after a thread that is not there.
            std::mem::forget(thread.take());
            return;
        }
        self.shared.lock().abandoned = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn new(client: Client, account: Arc<dyn LeaseAccount>, outbox: Arc<dyn Outbox>, store: Option<Arc<dyn LeaseStore>>) -> Self {
        let start = Instant::now();
        let control = client.control();
        let token_hash = ids::hash(&[control.ic_token.expose()]);
        let account_hash = ids::hash(&[&control.server_url.to_string(), control.ic_token.expose()]);
        Self {
            client,
            account,
            outbox,
            store,
            run: ids::run(),
            account_hash,
            token_hash,
            clock: Box::new(move || start.elapsed()),
            call_limit: CALL_LIMIT,
            book: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// A panic elsewhere leaves books that are still right: every change is a whole one.
    pub(super) fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the start.
    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// Gives the lock up until something changes, or for that long.
    pub(super) fn wait<'a>(&'a self, book: MutexGuard<'a, Book>, limit: Option<Duration>) -> MutexGuard<'a, Book> {
        match limit {
            Some(limit) => self.changed.wait_timeout(book, limit).unwrap_or_else(PoisonError::into_inner).0,
            None => self.changed.wait(book).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Wakes everybody who waits for a change.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Whether an item is for this server and token; others' may lie in the same ledger, left behind by a run that had another.
    pub(super) fn is_ours(&self, key: &str) -> bool {
        key.strip_prefix(&self.account_hash).is_some_and(|rest| rest.starts_with(':'))
    }

    /// The serial of a report of this run.
    pub(super) fn serial_of(&self, key: &str) -> Option<u64> {
        key.split_once(':')?.1.strip_prefix(&self.run)?.strip_prefix('-')?.parse().ok()
    }

    fn keyed(&self, item: Item) -> Item {
        Item { key: format!("{}:{}", self.account_hash, item.key), ..item }
    }

    /// One call in JSON; `with_token`: the token goes into the body too.
    pub(super) fn call(&self, path: &str, mut body: serde_json::Value, with_token: bool, limit: Duration) -> Result<Answer, String> {
        if with_token {
            body["ic_token"] = self.client.control().ic_token.expose().into();
        }
        let text = Zeroizing::new(body.to_string());
        if let Some(serde_json::Value::String(token)) = body.get_mut("ic_token") {
            zeroize::Zeroize::zeroize(token);
        }
        self.client.post(path, &text, Manner { limit: limit.min(self.call_limit), bearer: true, keep: true })
    }

    /// Takes over what an earlier run left behind.
    fn recover(&self) {
        let server = self.client.control().server_url.to_string();
        let left = match self.store.as_ref().map(|store| store.open_leases(&server)) {
            Some(Ok(leases)) => leases,
            Some(Err(error)) => {
                log::warn!("leases of earlier runs can't be returned: {error}");
                Vec::new()
            }
            None => Vec::new(),
        };
        let mut book = self.lock();
        for lease in left.into_iter().filter(|lease| lease.token_hash == self.token_hash) {
            book.give_back(Closing { lease_id: lease.lease_id, spent: lease.spent_micro.min(lease.granted_micro), recovered: true });
        }
        book.unsent = true;
    }

    /// A lease, as the store keeps it.
    pub(super) fn saved(&self, lease_id: &str, provider: Protocol, granted: u64, spent: u64) -> SavedLease {
        SavedLease {
            lease_id: lease_id.to_owned(),
            server: self.client.control().server_url.to_string(),
            provider: provider.as_str().to_owned(),
            granted_micro: granted,
            spent_micro: spent,
            token_hash: self.token_hash.clone(),
        }
    }

    /// The lease in use, as the store keeps it.
    pub(super) fn saved_now(&self, book: &Book) -> Option<SavedLease> {
        book.spent().map(|(id, provider, granted, spent)| self.saved(id, provider, granted, spent))
    }

    /// Keeps what is new of a lease where a crash does not reach it.
    pub(super) fn save(&self, lease: &SavedLease) {
        if let Some(Err(error)) = self.store.as_ref().map(|store| store.save_lease(lease)) {
            log::warn!("lease {} could not be returned after a crash: {error}", lease.lease_id);
        }
    }

    /// Forgets a lease that the server has closed.
    pub(super) fn forget(&self, lease_id: &str) {
        if let Some(Err(error)) = self.store.as_ref().map(|store| store.close_lease(lease_id)) {
            log::warn!("lease {lease_id} will be returned once more: {error}");
        }
    }

    /// Returns a lease; whether that is done with. If not, `Err` says why and when to try again.
    pub(super) fn give_back(&self, closing: &Closing, limit: Duration) -> Result<(), (String, Option<Duration>)> {
        let body = json!({"lease_id": closing.lease_id, "spent_microdollars": closing.spent});
        let answer = self.call("/api/v1/budget/return", body, false, limit).map_err(|cause| (cause, None))?;
        let id = &closing.lease_id;
        match talk::sent(&answer, self.client.control()) {
            Sent::Done => log::info!("lease {id} returned, {} micro-USD spent", closing.spent),
            Sent::Later(why) => return Err((why, answer.retry_after)),
            // It stays in the store: a token that works may come.
            Sent::Revoked(why) => {
                log::warn!("lease {id} can't be returned: {why}");
                return Ok(());
            }
            Sent::Dropped(why) | Sent::Ended(why) => log::warn!("lease {id} was closed already: {why}"),
            Sent::Unknown => log::warn!("lease {id}: the control server takes no returns"),
        }
        self.forget(id);
        Ok(())
    }

    /// Asks for a lease. An old one that it replaces goes back first: its rest may be all there is.
    fn shake(&self, provider: Protocol) -> Result<Option<Grant>, Unshaken> {
        while let Some(closing) = self.take_own_closing() {
            if self.give_back(&closing, ASIDE_LIMIT).is_err() {
                self.lock().give_back(closing);
                break;
            }
        }
        let control = self.client.control();
        let body = json!({"provider": provider.as_str()});
        let answer = self.call("/api/v1/budget/handshake", body, true, CALL_LIMIT);
        let answer = answer.map_err(|cause| talk::unreachable(control, &cause))?;
        talk::handshake(&answer, control, unix())
    }

    fn take_own_closing(&self) -> Option<Closing> {
        self.lock().take_own_closing()
    }

    /// Waits for the end of the handshake under way and takes its result.
    fn wait_for_handshake(&self, book: MutexGuard<'_, Book>) -> Result<bool, Refusal> {
        let round = book.handshakes.rounds;
        // The handshake has its own limit; the second on top is for a machine that is slow to wake us.
        let limit = self.call_limit + ASIDE_LIMIT + Duration::from_secs(1);
        let waited = self.changed.wait_timeout_while(book, limit, |book| book.handshakes.rounds == round);
        let (book, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(talk::unreachable(self.client.control(), "no answer within the time limit"));
        }
        book.handshakes.last.clone().unwrap_or_else(|| Err(self.broke_off()))
    }

    fn broke_off(&self) -> Refusal {
        talk::unreachable(self.client.control(), "the handshake broke off")
    }

    /// The report of a charge.
    fn report(&self, charge: &Charge, row: &Row) -> Item {
        let tokens = row.bill.usage.map_or(0, |usage| usage.input_tokens().saturating_add(usage.output_tokens()));
        let key = format!("{}-{}", self.run, charge.serial);
        let report = Report {
            lease_id: &charge.lease_id,
            request_id: &key,
            tokens,
            cost_microdollars: charge.micro,
            model: row.info.model.as_deref().filter(|model| !model.is_empty()).unwrap_or("unknown"),
            provider: charge.provider.as_str(),
        };
        let body = serde_json::to_string(&report).unwrap_or_default();
        self.keyed(Item { kind: ItemKind::Report, key, body })
    }
}

/// The body of a report.
#[derive(Serialize)]
struct Report<'a> {
    lease_id: &'a str,
    request_id: &'a str,
    tokens: u64,
    cost_microdollars: u64,
    model: &'a str,
    provider: &'a str,
}

/// Seconds since 1970.
pub(super) fn unix() -> u64 {
    super::tell::now().0 / 1000
}

/// A handshake under way. Dropped without a result (a panic), it lands as a failure: nobody waits for ever.
#[must_use]
struct Flight<'a> {
    shared: &'a Shared,
    over: bool,
}

impl<'a> Flight<'a> {
    fn begin(shared: &'a Shared, book: &mut Book) -> Self {
        book.handshakes.in_flight = true;
        Self { shared, over: false }
    }

    /// Ends the handshake: the lease begins, and those who wait wake up.
    fn land(mut self, result: Result<Option<Grant>, Unshaken>, provider: Protocol) -> Result<bool, Refusal> {
        self.over = true;
        let shared = self.shared;
        if let Ok(Some(grant)) = &result {
            shared.save(&shared.saved(&grant.lease_id, provider, grant.granted, 0));
        }
        let mut book = shared.lock();
        let now = shared.now();
        let outcome = match result {
            Ok(Some(grant)) => {
                let (granted, exhausted) = book.begin(&grant, provider, now, unix());
                shared.account.begin(granted);
                shared.account.exhausted(exhausted);
                log::info!("lease {} of {} micro-USD for {} begins", grant.lease_id, grant.granted, provider.as_str());
                Ok(true)
            }
            Ok(None) if book.has_lent() => {
                Err(talk::unreachable(shared.client.control(), "it answers as one that keeps no budgets, but has lent before"))
            }
            Ok(None) => {
                book.keep_none();
                let url = &shared.client.control().server_url;
                log::warn!("control server {url} keeps no budgets: calls go on without a lease, only budget= limits them");
                Ok(false)
            }
            Err(Unshaken { refusal, lent }) => {
                if let Some(lease_id) = lent {
                    book.give_back(Closing { lease_id, spent: 0, recovered: false });
                }
                Err(refusal)
            }
        };
        book.handshakes.land(&outcome, now);
        drop(book);
        shared.notify();
        outcome
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.over {
            let broke_off = Err(self.shared.broke_off());
            let mut book = self.shared.lock();
            book.handshakes.land(&broke_off, self.shared.now());
            drop(book);
            self.shared.notify();
        }
    }
}

#[cfg(test)]
mod tests;
