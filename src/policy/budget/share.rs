//! How much of what is free a call takes: its worst case whole, or lowered.

use crate::config::OnBudget;
use crate::money::NanoUsd;
use crate::policy::Quote;

/// The output tokens that a call without a limit of its own may always be lowered to, however little that leaves to others.
const MODEST_TOKENS: u64 = 1024;

/// What a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// What it holds on each account.
    pub(super) amount: NanoUsd,
    /// The output limit that it must be lowered to.
    pub(super) clamp: Option<u64>,
}

impl Share {
    /// That of a call which costs nothing.
    pub(super) const NOTHING: Self = Self { amount: NanoUsd::ZERO, clamp: None };

    /// The most that a call gets of `free` (`None`: unlimited); `None`: it does not fit.
    ///
    /// What fits whole is left alone. Else its output limit is lowered: one of its own to what fits; a call without one moreover to an
    /// eighth of what is free, or [`MODEST_TOKENS`], whichever is more, so that it does not starve the rest.
    pub(super) fn of(free: Option<NanoUsd>, quote: &Quote, on_budget: OnBudget) -> Option<Self> {
        let whole = quote.at(quote.limit());
        let Some(free) = free.filter(|free| *free < whole) else { return Some(Self { amount: whole, clamp: None }) };
        let least = least_limit(quote, on_budget).filter(|least| *least < quote.limit())?;
        let fitting = quote.fitting(free).filter(|fitting| *fitting >= least)?;
        let fair = if quote.own_limit.is_some() { fitting } else { modest(quote, free).max(least) };
        let limit = fitting.min(fair);
        Some(Self { amount: quote.at(limit), clamp: Some(limit) })
    }
}

/// The least that a call can be admitted with.
pub(super) fn least(quote: &Quote, on_budget: OnBudget) -> NanoUsd {
    quote.at(least_limit(quote, on_budget).unwrap_or(quote.limit()))
}

/// The lowest output limit that a call may be given; `None`: it must be left alone.
fn least_limit(quote: &Quote, on_budget: OnBudget) -> Option<u64> {
    (on_budget == OnBudget::Clamp && quote.field.is_some()).then(|| quote.least_limit.min(quote.limit()))
}

fn modest(quote: &Quote, free: NanoUsd) -> u64 {
    let eighth = (u128::from(free.0) * 1000 / 8).checked_div(quote.output_pico_usd);
    eighth.map_or(u64::MAX, |tokens| u64::try_from(tokens).unwrap_or(u64::MAX)).max(MODEST_TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1 nano-USD for the input, 1 for each token of output.
    fn quote(own_limit: Option<u64>, least_limit: u64) -> Quote {
        Quote { input_pico_usd: 1000, output_pico_usd: 1000, own_limit, model_limit: 100_000, least_limit, field: Some("max_tokens") }
    }

    #[test]
    fn shares() {
        use OnBudget::{Clamp, Refuse};
        for (own_limit, least_limit, on_budget, free, expected) in [
            // Fits whole: left alone, with or without a limit of its own.
            (Some(500), 16, Clamp, Some(501), Some((501, None))),
            (None, 16, Clamp, Some(100_001), Some((100_001, None))),
            (None, 16, Refuse, None, Some((100_001, None))),
            // Its own limit is lowered to what fits.
            (Some(500), 16, Clamp, Some(500), Some((500, Some(499)))),
            (Some(500), 16, Clamp, Some(17), Some((17, Some(16)))),
            (Some(500), 16, Clamp, Some(16), None),
            (Some(500), 16, Refuse, Some(500), None),
            // So is one above the model's.
            (Some(900_000), 16, Clamp, Some(100_001), Some((100_001, Some(100_000)))),
            (Some(900_000), 16, Clamp, Some(900_001), Some((900_001, None))),
            // A small one of its own is never lowered.
            (Some(5), 16, Clamp, Some(6), Some((6, None))),
            (Some(5), 16, Clamp, Some(5), None),
            // None of its own: an eighth, or 1024 tokens, and what fits.
            (None, 16, Clamp, Some(80_000), Some((10_001, Some(10_000)))),
            (None, 16, Clamp, Some(8_000), Some((1_025, Some(1_024)))),
            (None, 16, Clamp, Some(1_000), Some((1_000, Some(999)))),
            (None, 16, Clamp, Some(16), None),
            // Above a thinking budget, even where that is more than an eighth.
            (None, 20_001, Clamp, Some(80_000), Some((20_002, Some(20_001)))),
            (None, 20_001, Clamp, Some(20_001), None),
        ] {
            let share = Share::of(free.map(NanoUsd), &quote(own_limit, least_limit), on_budget);
            let case = format!("{own_limit:?} {least_limit} {on_budget:?} {free:?}");
            assert_eq!(share.map(|share| (share.amount.0, share.clamp)), expected, "{case}");
            let least = least(&quote(own_limit, least_limit), on_budget);
            assert_eq!(expected.is_some(), free.is_none_or(|free| least <= NanoUsd(free)), "{case}: the least is {least}");
        }
    }

    #[test]
    fn without_a_field_there_is_nothing_to_lower() {
        let embedding = Quote { field: None, output_pico_usd: 0, model_limit: 0, ..quote(None, 16) };
        assert_eq!(Share::of(Some(NanoUsd(0)), &embedding, OnBudget::Clamp), None);
        assert_eq!(Share::of(Some(NanoUsd(1)), &embedding, OnBudget::Clamp), Some(Share { amount: NanoUsd(1), clamp: None }));
    }
}
