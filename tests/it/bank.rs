//! A control server with books of its own, which does wrong where a test tells it to.

use super::WAIT;
use super::rig::OPENAI_KEY;
use super::upstream::{Recorded, Upstream, json, reply};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// The calls of the protocol.
pub(crate) const HANDSHAKE: &str = "/api/v1/budget/handshake";
pub(crate) const REPORT: &str = "/api/v1/budget/report";
pub(crate) const REFRESH: &str = "/api/v1/budget/refresh";
pub(crate) const RETURN: &str = "/api/v1/budget/return";
pub(crate) const EVENT: &str = "/api/v1/analytics/events";

/// A lease as the bank has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) granted: u64,
    pub(crate) spent: u64,
    pub(crate) open: bool,
}

/// What the bank knows.
#[derive(Default)]
pub(crate) struct Books {
    /// Micro-USD of the next grants; the last one for ever. A refresh may ask for less.
    grants: Vec<u64>,
    /// Micro-USD left to lend.
    pub(crate) left: u64,
    /// When leases end, seconds since 1970.
    pub(crate) expires_at: Option<u64>,
    pub(crate) leases: BTreeMap<String, Lease>,
    /// By request id.
    pub(crate) reports: HashMap<String, u64>,
    /// Accepted, by event id.
    pub(crate) events: HashMap<String, Value>,
    /// Calls by path, answered or not.
    pub(crate) calls: HashMap<String, usize>,
    /// The bodies of all of them.
    pub(crate) bodies: Vec<(String, Value)>,
    /// What a path answers instead.
    faults: HashMap<&'static str, Vec<u8>>,
    /// A path that answers nothing until it is let go.
    stuck: Option<&'static str>,
}

impl Books {
    /// Micro-USD spent on all leases.
    pub(crate) fn spent(&self) -> u64 {
        self.leases.values().map(|lease| lease.spent).sum()
    }

    /// How many leases are open.
    pub(crate) fn open(&self) -> usize {
        self.leases.values().filter(|lease| lease.open).count()
    }

    /// How often a path was called.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.calls.get(path).copied().unwrap_or(0)
    }

    fn lend(&mut self, asked: u64) -> Option<(String, u64)> {
        let size = if self.grants.len() > 1 { self.grants.remove(0) } else { self.grants[0] };
        let granted = size.min(asked).min(self.left);
        if granted == 0 {
            return None;
        }
        self.left -= granted;
        let id = format!("lease_{:03}", self.leases.len());
        self.leases.insert(id.clone(), Lease { granted, spent: 0, open: true });
        Some((id, granted))
    }

    fn close(&mut self, id: &str, spent: u64) -> bool {
        let Some(lease) = self.leases.get_mut(id).filter(|lease| lease.open && spent <= lease.granted) else { return false };
        lease.spent = lease.spent.max(spent);
        lease.open = false;
        self.left += lease.granted - lease.spent;
        true
    }

    fn answer(&mut self, path: &str, body: &Value) -> Vec<u8> {
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_string();
        let error = |status, why: &str| reply(status, "", json!({ "error": why }).to_string());
        match path {
            "/api/v1/agents/provider-key" => json(&json!({"provider_key": OPENAI_KEY, "provider": "openai"}).to_string()),
            HANDSHAKE => match self.lend(u64::MAX) {
                Some((id, granted)) => json(
                    &json!({"ip_token": "AES256:a:b:c", "lease_id": id, "budget_granted": granted, "budget_remaining": null,
                        "expires_at": self.expires_at})
                    .to_string(),
                ),
                None => error(403, "Budget limit exceeded"),
            },
            REPORT => {
                let (id, request, cost) = (text("lease_id"), text("request_id"), body["cost_microdollars"].as_u64().expect("a cost"));
                if self.reports.contains_key(&request) {
                    return json(r#"{"success":true}"#);
                }
                let Some(lease) = self.leases.get_mut(&id).filter(|lease| lease.open && lease.spent + cost <= lease.granted) else {
                    return error(403, "lease is not active");
                };
                lease.spent += cost;
                self.reports.insert(request, cost);
                json(r#"{"success":true}"#)
            }
            REFRESH => {
                let old = text("current_lease_id");
                let asked = body["requested_budget"].as_u64().expect("a sum");
                let rest = self.leases.get(&old).filter(|lease| lease.open).map(|lease| lease.granted - lease.spent);
                let Some(rest) = rest else { return error(404, "unknown lease") };
                if self.left == 0 {
                    let denied = json!({"status": "denied", "budget_granted": null, "lease_id": null, "reason": "insufficient_budget"});
                    return json(&denied.to_string());
                }
                assert!(self.close(&old, 0), "{rest} goes back");
                let (id, granted) = self.lend(asked).expect("there is some");
                json(&json!({"status": "approved", "budget_granted": granted, "lease_id": id, "reason": null}).to_string())
            }
            RETURN => {
                let spent = body["spent_microdollars"].as_u64().expect("a sum");
                if self.close(&text("lease_id"), spent) { json(r#"{"success":true}"#) } else { error(400, "lease is not active") }
            }
            EVENT => {
                let id = text("event_id");
                let status = if self.events.insert(id, body.clone()).is_none() { 202 } else { 200 };
                reply(status, "", "{}")
            }
            _ => reply(404, "", "nothing here"),
        }
    }
}

/// The bank behind its address.
pub(crate) struct Bank {
    books: Arc<(Mutex<Books>, Condvar)>,
    /// Where it is reached.
    pub(crate) server: Upstream,
}

impl Bank {
    /// One that lends these sums (micro-USD), one after the other, and `left` in all.
    pub(crate) fn lending(grants: &[u64], left: u64) -> Self {
        let books = Books { grants: grants.to_vec(), left, ..Books::default() };
        let books = Arc::new((Mutex::new(books), Condvar::new()));
        let shared = books.clone();
        let server = Upstream::answering(move |request| serve(&shared, request));
        Self { books, server }
    }

    /// Its books.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.0.lock().expect("books")
    }

    /// What a path answers from now on.
    pub(crate) fn fault(&self, path: &'static str, answer: Vec<u8>) {
        self.books().faults.insert(path, answer);
    }

    /// Every call about money and events answers 503.
    pub(crate) fn down(&self) {
        for path in [HANDSHAKE, REPORT, REFRESH, RETURN, EVENT] {
            self.fault(path, reply(503, "", r#"{"error":"out for lunch"}"#));
        }
    }

    /// All is well again.
    pub(crate) fn mend(&self) {
        let mut books = self.books();
        books.faults.clear();
        books.stuck = None;
        self.books.1.notify_all();
    }

    /// A path answers nothing until [`Bank::mend`].
    pub(crate) fn stick(&self, path: &'static str) {
        self.books().stuck = Some(path);
    }

    /// Waits until the books are as wanted.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Books) -> bool) {
        let (books, waited) = self.books.1.wait_timeout_while(self.books(), WAIT, |books| !wanted(books)).expect("books");
        let (calls, leases) = (books.calls.clone(), books.leases.clone());
        drop(books);
        assert!(!waited.timed_out(), "waited in vain: {what}; {calls:?} {leases:?}");
    }
}

fn serve(shared: &(Mutex<Books>, Condvar), request: &Recorded) -> Vec<u8> {
    let (books, changed) = shared;
    let path = request.head.first.split(' ').nth(1).unwrap_or_default().to_string();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let mut books = books.lock().expect("books");
    *books.calls.entry(path.clone()).or_default() += 1;
    books.bodies.push((path.clone(), body.clone()));
    changed.notify_all();
    let mut books = changed.wait_timeout_while(books, WAIT, |books| books.stuck == Some(path.as_str())).expect("books").0;
    let answer = books.faults.get(path.as_str()).cloned().unwrap_or_else(|| books.answer(&path, &body));
    drop(books);
    changed.notify_all();
    answer
}
