//! Sums over rows, as `stats()` and `report --json` give them.

use crate::clock::UnixMs;
use crate::row::Row;
use serde::Serialize;
use std::collections::BTreeMap;

/// Names kept apart in each table; further ones are summed under [`OTHERS`].
pub const MAX_NAMES: usize = 1000;

/// Where names past [`MAX_NAMES`] are summed.
pub const OTHERS: &str = "(others)";

/// Where rows without a name are summed.
pub const NONE: &str = "(none)";

const DAY_MS: u64 = 86_400_000;

/// The figures of some calls together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// Calls.
    pub requests: u64,
    /// Of them, those sent that ended without a 2xx, or were cut.
    pub failed: u64,
    /// Of them, those we refused.
    pub refused: u64,
    /// Tokens in, cached included.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// What they cost, as far as prices are known.
    pub cost_nano_usd: u64,
}

impl Figures {
    /// The figures of one row.
    pub fn of(row: &Row) -> Self {
        Self {
            requests: 1,
            failed: row.is_failed().into(),
            refused: row.is_refused().into(),
            input_tokens: row.bill.usage.map_or(0, |usage| usage.input_tokens()),
            output_tokens: row.bill.usage.map_or(0, |usage| usage.output_tokens()),
            cost_nano_usd: row.bill.cost.unwrap_or_default().0,
        }
    }

    /// Adds others'.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.refused += other.refused;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_nano_usd = self.cost_nano_usd.saturating_add(other.cost_nano_usd);
    }
}

/// All calls together, and by name. Bounded: [`MAX_NAMES`] a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub all: Figures,
    /// By the model that was asked for.
    pub by_model: BTreeMap<String, Figures>,
    /// By upstream.
    pub by_provider: BTreeMap<String, Figures>,
    /// By agent.
    pub by_agent: BTreeMap<String, Figures>,
    /// By day: days since 1970-01-01, UTC.
    by_day: BTreeMap<u64, Figures>,
}

impl Tally {
    /// Counts a row.
    pub fn add(&mut self, row: &Row) {
        let model = row.info.model.as_deref();
        self.put(row.info.at, model, Some(&row.info.upstream), row.info.agent.as_deref(), &Figures::of(row));
    }

    /// Counts figures of one day, model, upstream and agent.
    pub fn put(&mut self, at: UnixMs, model: Option<&str>, upstream: Option<&str>, agent: Option<&str>, figures: &Figures) {
        self.all.add(figures);
        named(&mut self.by_model, model.unwrap_or(NONE)).add(figures);
        named(&mut self.by_provider, upstream.unwrap_or(NONE)).add(figures);
        named(&mut self.by_agent, agent.unwrap_or(NONE)).add(figures);
        let day = at.0 / DAY_MS;
        if self.by_day.len() >= MAX_NAMES && !self.by_day.contains_key(&day) {
            self.by_day.pop_first();
        }
        self.by_day.entry(day).or_default().add(figures);
    }

    /// By day, `YYYY-MM-DD` (UTC), ascending; the last [`MAX_NAMES`] days.
    pub fn by_day(&self) -> impl Iterator<Item = (String, &Figures)> {
        self.by_day.iter().map(|(day, figures)| (UnixMs(day * DAY_MS).rfc3339()[..10].to_string(), figures))
    }
}

/// The entry of a name, found without copying the name where it is there already.
fn named<'t>(table: &'t mut BTreeMap<String, Figures>, name: &str) -> &'t mut Figures {
    let name = if table.len() >= MAX_NAMES && !table.contains_key(name) { OTHERS } else { name };
    if !table.contains_key(name) {
        table.insert(name.to_string(), Figures::default());
    }
    table.get_mut(name).expect("it was put in above")
}
