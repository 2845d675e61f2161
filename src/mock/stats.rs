//! What the mock has seen: the other end's account, against which a router's own can be checked.
//!
//! Counters only. A request's status and tokens are counted before its last byte leaves, so that a client which saw the end of a reply
//! finds it counted.

use super::answer::Tokens;
use super::prices::ModelRates;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The request ids kept.
const MAX_IDS: usize = 100;

/// A mock's counters since its start or the last reset; `GET /__stats` gives them as JSON. Its own requests are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MockStats {
    /// Requests to the provider and control endpoints, answered or not.
    pub requests: u64,
    /// The same by path; ids in paths are written `{id}`, paths the mock does not know are `other`.
    pub by_path: BTreeMap<&'static str, u64>,
    /// Replies by status; a reply that was asked to break off counts, one that never began does not.
    pub by_status: BTreeMap<u16, u64>,
    /// Tokens by class. A stream that ended early counts what it sent.
    pub tokens: Tokens,
    /// What they cost by the mock's own price table, reply by reply, in nano-USD; models it does not know cost nothing.
    pub nano_usd: u64,
    /// The same by model, those without a price left out.
    pub nano_usd_by_model: BTreeMap<&'static str, u64>,
    /// Streams begun.
    pub streams: u64,
    /// Replies during which the client went away.
    pub client_gone: u64,
    /// Control-server calls by kind.
    pub control: BTreeMap<&'static str, u64>,
    /// What the control server has booked.
    pub booked: Booked,
    /// The ids of the last 100 requests to the provider, oldest first.
    pub request_ids: VecDeque<String>,
}

/// The control server's books: what counts, however often it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Booked {
    /// Micro-USD spent on leases, of all tokens.
    pub spent_micro_usd: u64,
    /// Micro-USD lent and neither spent nor returned.
    pub lent_micro_usd: u64,
    /// Reports of spending.
    pub reports: u64,
    /// Analytics events.
    pub events: u64,
}

/// The counters under their lock; each method is one short hold.
#[derive(Default)]
pub(super) struct Counters(Mutex<MockStats>);

impl Counters {
    /// A request has arrived.
    pub(super) fn arrived(&self, path: &'static str) {
        let mut stats = self.lock();
        stats.requests += 1;
        *stats.by_path.entry(path).or_default() += 1;
    }

    /// A request to the provider has its id.
    pub(super) fn named(&self, request_id: &str) {
        let mut stats = self.lock();
        if stats.request_ids.len() == MAX_IDS {
            stats.request_ids.pop_front();
        }
        stats.request_ids.push_back(request_id.to_owned());
    }

    /// A control call has arrived.
    pub(super) fn controlled(&self, kind: &'static str) {
        *self.lock().control.entry(kind).or_default() += 1;
    }

    /// A stream has begun.
    pub(super) fn streaming(&self) {
        self.lock().streams += 1;
    }

    /// A reply is about to end, whose tokens have these rates.
    pub(super) fn ending(&self, status: u16, tokens: Tokens, rates: Option<&'static ModelRates>) {
        let mut stats = self.lock();
        if let Some(rates) = rates {
            let cost = rates.nano_usd(tokens);
            stats.nano_usd += cost;
            *stats.nano_usd_by_model.entry(rates.model).or_default() += cost;
        }
        *stats.by_status.entry(status).or_default() += 1;
        stats.tokens.add(tokens);
    }

    /// The client has gone before the end of its reply.
    pub(super) fn client_gone(&self) {
        self.lock().client_gone += 1;
    }

    /// The counters now.
    pub(super) fn read(&self) -> MockStats {
        self.lock().clone()
    }

    /// Back to zero.
    pub(super) fn reset(&self) {
        *self.lock() = MockStats::default();
    }

    fn lock(&self) -> MutexGuard<'_, MockStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::prices;

    #[test]
    fn counters_count_and_reset() {
        let counters = Counters::default();
        counters.arrived("/v1/models");
        counters.ending(200, Tokens { input: 3, ..Tokens::default() }, None);
        counters.ending(200, Tokens { input: 2, ..Tokens::default() }, prices::rates("gpt-4o"));
        (0..MAX_IDS + 1).for_each(|nth| counters.named(&nth.to_string()));
        let stats = counters.read();
        assert_eq!((stats.requests, stats.by_status[&200], stats.tokens.input), (1, 2, 5));
        assert_eq!((stats.nano_usd, &stats.nano_usd_by_model), (5000, &[("gpt-4o", 5000)].into()));
        assert_eq!((stats.request_ids.len(), stats.request_ids[0].as_str()), (MAX_IDS, "1"));
        assert_eq!(serde_json::to_value(&stats).expect("JSON")["by_status"]["200"], 2);
        counters.reset();
        assert_eq!(counters.read(), MockStats::default());
    }
}
