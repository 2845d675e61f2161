//! A control server that keeps books, on loopback.

use crate::proxy::scripted::{Request, Server, answer};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The books of a control server, micro-USD.
#[derive(Default)]
pub(super) struct Bank {
    pub(super) remaining: u64,
    pub(super) spent: u64,
    pub(super) grants: u64,
    pub(super) leases: HashMap<String, Lent>,
    pub(super) reports: HashMap<String, u64>,
    pub(super) events: HashMap<String, u64>,
}

pub(super) struct Lent {
    pub(super) granted: u64,
    pub(super) spent: u64,
    pub(super) active: bool,
}

impl Bank {
    pub(super) fn of(remaining: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { remaining, ..Self::default() }))
    }

    pub(super) fn answer(&mut self, request: &Request) -> (u16, Value) {
        let body = request.json();
        let (id, number) = (|name| body[name].as_str().unwrap_or_default().to_owned(), |name| body[name].as_u64().unwrap_or(0));
        match request.path() {
            "/api/v1/budget/handshake" => match self.lend(10_000_000) {
                Some((id, granted)) => (200, json!({"lease_id": id, "budget_granted": granted, "budget_remaining": self.remaining})),
                None => (403, json!({"error": "Budget limit exceeded"})),
            },
            "/api/v1/budget/refresh" => match self.remaining {
                0 => (200, json!({"status": "denied", "budget_remaining": 0, "reason": "insufficient_budget"})),
                _ => {
                    self.close(&id("current_lease_id"), 0).expect("a refresh of an active lease");
                    let (id, granted) = self.lend(number("requested_budget")).expect("something to lend");
                    let (status, left) = ("approved", self.remaining);
                    (200, json!({"status": status, "lease_id": id, "budget_granted": granted, "budget_remaining": left}))
                }
            },
            "/api/v1/budget/report" => self.report(&id("lease_id"), &id("request_id"), number("cost_microdollars")),
            "/api/v1/budget/return" => match self.close(&id("lease_id"), number("spent_microdollars")) {
                Ok(returned) => (200, json!({"success": true, "returned": returned})),
                Err(why) => (400, json!({"error": why})),
            },
            "/api/v1/analytics/events" => {
                let count = self.events.entry(id("event_id")).or_default();
                *count += 1;
                (if *count == 1 { 202 } else { 200 }, json!({"event_id": id("event_id")}))
            }
            other => (404, json!({"error": other})),
        }
    }

    pub(super) fn lend(&mut self, asked: u64) -> Option<(String, u64)> {
        let granted = asked.min(self.remaining);
        self.remaining -= granted;
        self.grants += 1;
        let id = format!("lease_{}", self.grants);
        self.leases.insert(id.clone(), Lent { granted, spent: 0, active: true });
        (granted > 0).then_some((id, granted))
    }

    pub(super) fn report(&mut self, lease: &str, request: &str, cost: u64) -> (u16, Value) {
        if self.reports.contains_key(request) {
            return (200, json!({"success": true}));
        }
        match self.leases.get_mut(lease) {
            None => (404, json!({"error": "unknown lease"})),
            Some(lent) if !lent.active => (403, json!({"error": "lease is not active"})),
            Some(lent) if lent.spent + cost > lent.granted => (403, json!({"error": "over the lease"})),
            Some(lent) => {
                lent.spent += cost;
                self.spent += cost;
                self.reports.insert(request.to_owned(), cost);
                (200, json!({"success": true, "budget_remaining": self.remaining}))
            }
        }
    }

    pub(super) fn close(&mut self, lease: &str, spent: u64) -> Result<u64, &'static str> {
        let lent = self.leases.get_mut(lease).filter(|lent| lent.active).ok_or("lease is not active")?;
        let total = spent.max(lent.spent);
        if total > lent.granted {
            return Err("over the lease");
        }
        self.spent += total - lent.spent;
        self.remaining += lent.granted - total;
        (lent.spent, lent.active) = (total, false);
        Ok(lent.granted - total)
    }

    pub(super) fn reported(&self) -> u64 {
        self.reports.values().sum()
    }

    pub(super) fn open(&self) -> usize {
        self.leases.values().filter(|lent| lent.active).count()
    }
}

/// A server with these books.
pub(super) fn serving(bank: &Arc<Mutex<Bank>>) -> Server {
    failing(bank, |_, _| None)
}

/// The same; where `fault` has an answer, that comes in the place of the books' own.
pub(super) fn failing(
    bank: &Arc<Mutex<Bank>>,
    fault: impl Fn(usize, &Request) -> Option<(u16, &'static str)> + Send + Sync + 'static,
) -> Server {
    let bank = bank.clone();
    Server::hearing(move |number, request, stream| {
        let (status, body) = match fault(number, request) {
            Some((status, body)) => (status, body.to_owned()),
            None => {
                let (status, body) = bank.lock().expect("bank").answer(request);
                (status, body.to_string())
            }
        };
        answer(stream, status, &body);
    })
}
