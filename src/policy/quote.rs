//! The worst case of a call in money, and afterwards its bill. Pure arithmetic over a [`Price`] and the request's [`Terms`].

use crate::call::{End, Refusal};
use crate::config::Spending;
use crate::money::{NanoUsd, Price, Reported, Terms};
use crate::row::Bill;
use std::sync::Arc;

/// The worst case of a call, as a function of its output limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// All input at the dearest rate the request could select, pico-USD.
    pub input_pico_usd: u128,
    /// One token of output of every answer asked for, likewise.
    pub output_pico_usd: u128,
    /// The output limit of the request itself.
    pub own_limit: Option<u64>,
    /// The most the model puts out.
    pub model_limit: u64,
    /// No limit below this makes sense: 16, or more than the thinking budget.
    pub least_limit: u64,
    /// The field that limits the output; `None`: there is none to lower.
    pub field: Option<&'static str>,
}

impl Quote {
    /// What must be held for an output limit, rounded up.
    pub fn at(&self, output_limit: u64) -> NanoUsd {
        let pico_usd = self.input_pico_usd.saturating_add(self.output_pico_usd.saturating_mul(u128::from(output_limit)));
        NanoUsd(u64::try_from(pico_usd.div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// The output limit in force without a clamp.
    pub fn limit(&self) -> u64 {
        self.own_limit.unwrap_or(self.model_limit).min(self.model_limit)
    }
}

/// The worst case of a request under a budget. `Ok(None)`: unbounded or unknown, and the settings let it through.
///
/// # Errors
/// 402 [`Unmetered`](crate::call::Reason::Unmetered), [`UnknownModelPrice`](crate::call::Reason::UnknownModelPrice).
pub fn quote(_price: Option<&Price>, _terms: &Terms, _model: Option<&str>, _spending: &Spending) -> Result<Option<Quote>, Refusal> {
    Ok(None)
}

/// How far a call had come when it ended: what [`bill`] goes by where the provider gave no figures.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Whether the request, or a part of it, had left for the upstream.
    pub sent: bool,
    /// The status of the upstream's reply; 0: none came.
    pub status: u16,
    /// Bytes of the reply's body that came.
    pub reply_bytes: u64,
    /// How the exchange ended.
    pub end: End,
    /// The output limit that a clamp had set.
    pub clamp: Option<u64>,
}

/// What a call cost: by the provider's own figures, else by an upper estimate from its terms, which are only asked for then.
pub fn bill(_price: Option<&Arc<Price>>, _reported: &Reported, _terms: impl FnOnce() -> Terms, _ended: &Ended) -> Bill {
    Bill::nothing()
}
