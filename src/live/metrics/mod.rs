//! Figures for Prometheus: counters and histograms of calls by provider and model (`labels` bounds how many of those are kept apart), their
//! text (`text`), and what is kept of them across a restart (`saved`).
//!
//! A call is counted once, by its closing event; the event of its start only moves the gauge. What is counted of it is what the ledger keeps of
//! its row, microseconds and all, so that figures counted anew from rows are the same to the last digit.

mod histogram;
mod labels;
mod saved;
mod text;

pub use labels::{MAX_GROUPS, MAX_LABEL, MAX_STATUSES};
pub use text::CONTENT_TYPE;

use crate::call::{Outcome, Stages};
use crate::event::Event;
use crate::money::{NanoUsd, Usage};
use crate::row::Row;
use histogram::{COST, DURATION, FIRST_TOKEN, Histogram, OVERHEAD, REPLY_TOKENS};
use labels::{Groups, Statuses};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is counted.
///
/// ```
/// use iron_runtime::live::metrics::{Metrics, Money};
/// let text = Metrics::default().to_text(&Money::default());
/// assert!(text.contains("# TYPE iron_requests_total counter\n"));
/// ```
#[derive(Debug, Default)]
pub struct Metrics {
    calls: Mutex<Calls>,
    events: [AtomicU64; EVENTS.len()],
    in_flight: AtomicI64,
    /// Unix milliseconds; 0: the router has not started.
    started: AtomicU64,
    /// Earlier figures are still being read.
    waits: AtomicBool,
}

/// The figures that come from closed calls.
#[derive(Clone, Debug, Default)]
struct Calls {
    groups: Groups,
    statuses: Statuses,
}

/// The figures of one provider and model.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// By class, in the order of [`CLASSES`].
    tokens: [u64; CLASSES.len()],
    cost_nano_usd: u64,
    duration: Histogram,
    first_token: Histogram,
    overhead: Histogram,
    reply_tokens: Histogram,
    cost: Histogram,
}

/// The words of `iron_events_total`. Of a type that is not here, only what comes later is not told apart.
const EVENTS: [&str; 8] = [
    "router_started",
    "router_stopped",
    "llm_request_started",
    "llm_request_completed",
    "llm_request_failed",
    "budget_threshold_reached",
    "ledger_failed",
    "other",
];

/// The classes of `iron_tokens_total`, disjoint: their sum is all tokens. `output` is without reasoning.
const CLASSES: [&str; 5] = ["input", "cache_read", "cache_write", "output", "reasoning"];

/// How a call ended, for `iron_requests_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a whole 2xx reply.
    Completed,
    /// Sent, and without one.
    Failed,
    /// Not sent: refused by us.
    Refused,
}

impl Ending {
    /// All of them.
    const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// What is counted of a closed call. Times are microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Closed<'c> {
    /// The upstream's name.
    pub provider: &'c str,
    /// The model the client named, if any.
    pub model: Option<&'c str>,
    /// The status the client saw; 0: none.
    pub status: u16,
    /// How it ended.
    pub ending: Ending,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// The tokens that were billed.
    pub usage: Option<Usage>,
    /// What they cost; `None`: not known.
    pub cost: Option<NanoUsd>,
    /// Until the first byte of the reply went out.
    pub first_byte_us: Option<u64>,
    /// Until the end.
    pub total_us: u64,
    /// Until it left for the upstream, to the nearest.
    pub sent_us: Option<u64>,
    /// Until the head of the upstream's reply had come.
    pub head_us: Option<u64>,
}

impl<'c> Closed<'c> {
    /// The row of a call that was closed.
    fn of(row: &'c Row) -> Self {
        let Outcome { status, first_byte, total, stages: Stages { sent, head, .. }, .. } = row.outcome;
        let ending = match (row.is_refused(), row.outcome.succeeded()) {
            (true, _) => Ending::Refused,
            (false, true) => Ending::Completed,
            (false, false) => Ending::Failed,
        };
        Self {
            provider: &row.info.upstream,
            model: row.info.model.as_deref(),
            status,
            ending,
            stream: row.info.stream,
            usage: row.bill.usage,
            cost: row.bill.cost,
            first_byte_us: first_byte.map(micros),
            total_us: micros(total),
            sent_us: sent.map(|sent| micros(sent + Duration::from_nanos(500))),
            head_us: head.map(micros),
        }
    }

    /// What we added: before it was sent, and from the head of the reply to its first byte passed on.
    fn overhead_us(&self) -> Option<u64> {
        let (sent, head, first) = (self.sent_us?, self.head_us?, self.first_byte_us?);
        Some(sent.saturating_add(first.saturating_sub(head)))
    }
}

/// Money that gauges show: the budget's figures at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Money {
    /// What counts against the budget.
    pub spent: NanoUsd,
    /// What is held for calls under way.
    pub held: NanoUsd,
    /// The budget; `None`: unlimited.
    pub limit: Option<NanoUsd>,
}

impl Metrics {
    /// Counts what an event says. Quick: called on the request's thread.
    pub fn see(&self, event: &Event) {
        let index = EVENTS.iter().position(|name| *name == event.name()).unwrap_or(EVENTS.len() - 1);
        self.events[index].fetch_add(1, Relaxed);
        match event {
            Event::RouterStarted { at, .. } => self.started.store(at.0, Relaxed),
            Event::RequestStarted(_) => drop(self.in_flight.fetch_add(1, Relaxed)),
            Event::RequestCompleted(row) | Event::RequestFailed(row) => {
                // A refusal was never under way.
                if !row.is_refused() {
                    self.in_flight.fetch_sub(1, Relaxed);
                }
                self.lock().count(&Closed::of(row));
            }
            _ => {}
        }
    }

    /// Counts a call of an earlier run, its events included.
    pub fn count_earlier(&self, call: &Closed<'_>) {
        self.lock().count(call);
        let closing = if call.ending == Ending::Completed { "llm_request_completed" } else { "llm_request_failed" };
        let started = (call.ending != Ending::Refused).then_some("llm_request_started");
        for name in started.into_iter().chain([closing]) {
            self.add_events(name, 1);
        }
    }

    /// The figures in Prometheus' text format 0.0.4.
    pub fn to_text(&self, money: &Money) -> String {
        text::render(self, money)
    }

    /// Figures of earlier runs are on their way: until [`Metrics::is_whole`] says so, a scrape would take what is there for a reset.
    pub fn wait_for_earlier(&self) {
        self.waits.store(true, Relaxed);
    }

    /// Adds what another counted. The gauge and the time of the start are not taken over.
    pub fn add(&self, earlier: &Self) {
        let other = earlier.lock().clone();
        self.lock().add(&other);
        for (mine, theirs) in self.events.iter().zip(&earlier.events) {
            mine.fetch_add(theirs.load(Relaxed), Relaxed);
        }
        self.waits.store(false, Relaxed);
    }

    /// Whether no figures of earlier runs are still being read.
    pub fn is_whole(&self) -> bool {
        !self.waits.load(Relaxed)
    }

    fn add_events(&self, name: &str, more: u64) {
        if let Some(index) = EVENTS.iter().position(|known| *known == name) {
            self.events[index].fetch_add(more, Relaxed);
        }
    }

    /// The lock, also after a panic elsewhere: every figure is whole after every statement.
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    fn count(&mut self, call: &Closed<'_>) {
        let group = self.groups.find(call.provider, call.model, call.ending == Ending::Completed);
        self.statuses.add(group, Some(call.status), call.ending, 1);
        self.groups.figures_mut(group).count(call);
    }

    fn add(&mut self, other: &Self) {
        let mut places = Vec::with_capacity(MAX_GROUPS);
        for (provider, model, figures) in other.groups.iter() {
            let group = self.groups.restore(provider, model);
            self.groups.figures_mut(group).add(figures);
            places.push(group);
        }
        for (group, status, ending, count) in other.statuses.iter() {
            if let Some(place) = places.get(group) {
                self.statuses.add(*place, status, ending, count);
            }
        }
    }
}

impl Figures {
    const ZERO: Self = Self {
        tokens: [0; CLASSES.len()],
        cost_nano_usd: 0,
        duration: Histogram::new(&DURATION),
        first_token: Histogram::new(&FIRST_TOKEN),
        overhead: Histogram::new(&OVERHEAD),
        reply_tokens: Histogram::new(&REPLY_TOKENS),
        cost: Histogram::new(&COST),
    };

    fn count(&mut self, call: &Closed<'_>) {
        if call.ending == Ending::Refused {
            return;
        }
        self.duration.observe(call.total_us);
        if let Some(overhead) = call.overhead_us() {
            self.overhead.observe(overhead);
        }
        let answered = (200..300).contains(&call.status);
        if let Some(first) = call.first_byte_us.filter(|_| call.stream && answered) {
            self.first_token.observe(first);
        }
        let cost = call.cost.unwrap_or_default().0;
        self.cost_nano_usd = self.cost_nano_usd.saturating_add(cost);
        if let Some(usage) = &call.usage {
            self.use_tokens(usage);
            if call.cost.is_some() {
                self.cost.observe(cost);
            }
        }
    }

    fn use_tokens(&mut self, usage: &Usage) {
        let output = usage.output_tokens();
        let cached = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
        let input = usage.input.saturating_add(usage.input_audio).saturating_add(usage.input_image);
        // A provider may claim more reasoning than output.
        let reasoning = usage.reasoning.min(output);
        for (sum, more) in self.tokens.iter_mut().zip([input, usage.cache_read, cached, output - reasoning, reasoning]) {
            *sum = sum.saturating_add(more);
        }
        self.reply_tokens.observe(output);
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.tokens.iter_mut().zip(other.tokens) {
            *sum = sum.saturating_add(more);
        }
        self.cost_nano_usd = self.cost_nano_usd.saturating_add(other.cost_nano_usd);
        for (mine, theirs) in self.histograms_mut().into_iter().zip(other.histograms()) {
            mine.add(theirs);
        }
    }

    fn histograms(&self) -> [&Histogram; 5] {
        [&self.duration, &self.first_token, &self.overhead, &self.reply_tokens, &self.cost]
    }

    fn histograms_mut(&mut self) -> [&mut Histogram; 5] {
        [&mut self.duration, &mut self.first_token, &mut self.overhead, &mut self.reply_tokens, &mut self.cost]
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(i64::MAX as u64)
}
