//! The figures of a running router at one moment, as `stats()` and `GET /stats` give them.

use super::{State, Totals};
use crate::money::NanoUsd;
use crate::tally::{Figures, Tally};
use serde_json::{Map, Value, json};

/// Counts and money since the router started.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Calls by how they ended, and those under way.
    pub totals: Totals,
    /// Settled and refused calls, all together and by name.
    pub tally: Tally,
    /// What counts against the budget: with a window, earlier rows included.
    pub spent: NanoUsd,
    /// What is held for calls under way.
    pub held: NanoUsd,
    /// The budget; `None`: unlimited.
    pub limit: Option<NanoUsd>,
}

impl Stats {
    /// The figures now.
    pub fn of(state: &State) -> Self {
        Self {
            totals: state.totals(),
            tally: state.tally().clone(),
            spent: state.budget_status().map_or_else(|| state.spent(), |(spent, _)| spent),
            held: state.held(),
            limit: state.budget(),
        }
    }

    /// One object: `in_flight`, then the keys that [`tally_json`] describes.
    pub fn to_json(&self) -> Value {
        let mut object = tally_json(&self.tally, self.spent, self.held, self.limit);
        object.insert("in_flight".into(), self.totals.in_flight.into());
        Value::Object(object)
    }
}

/// The keys that `stats()`, `GET /stats` and `report --json` share: `requests`, `failed`, `refused`, `input_tokens`, `output_tokens`,
/// `cost_nano_usd`, `spent_usd`, `held_usd`, `limit_usd`, and `by_model`, `by_provider`, `by_agent`, `by_day`: objects from a name to the
/// first six.
pub fn tally_json(tally: &Tally, spent: NanoUsd, held: NanoUsd, limit: Option<NanoUsd>) -> Map<String, Value> {
    let table = |rows: &mut dyn Iterator<Item = (String, &Figures)>| Value::Object(rows.map(|(name, row)| (name, json!(row))).collect());
    let named = |rows: &std::collections::BTreeMap<String, Figures>| table(&mut rows.iter().map(|(name, row)| (name.clone(), row)));
    let Value::Object(mut object) = json!(tally.all) else { return Map::new() };
    object.insert("spent_usd".into(), spent.usd().into());
    object.insert("held_usd".into(), held.usd().into());
    object.insert("limit_usd".into(), limit.map(NanoUsd::usd).into());
    object.insert("by_model".into(), named(&tally.by_model));
    object.insert("by_provider".into(), named(&tally.by_provider));
    object.insert("by_agent".into(), named(&tally.by_agent));
    object.insert("by_day".into(), table(&mut tally.by_day()));
    object
}
