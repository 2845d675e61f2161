//! What the mock charges: a literal table of its own for the models it lists, so that a router's bill has something to be held against that was
//! not computed by the router's own code and tables.
//!
//! Models it does not know cost nothing, dated names and aliases among them.

use super::answer::Tokens;

/// A model with its rates in pico-USD a token. None of these models has rates for long contexts, and the mock knows no service tiers.
pub(super) struct ModelRates {
    /// The name, exactly.
    pub(super) model: &'static str,
    input: u64,
    cache_read: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    output: u64,
}

#[rustfmt::skip]
static MODELS: [ModelRates; 8] = [
    ModelRates { model: "gpt-4o", input: 2_500_000, cache_read: 1_250_000, cache_write_5m: 2_500_000, cache_write_1h: 2_500_000, output: 10_000_000 },
    ModelRates { model: "gpt-4o-mini", input: 150_000, cache_read: 75_000, cache_write_5m: 150_000, cache_write_1h: 150_000, output: 600_000 },
    ModelRates { model: "gpt-4.1", input: 2_000_000, cache_read: 500_000, cache_write_5m: 2_000_000, cache_write_1h: 2_000_000, output: 8_000_000 },
    ModelRates { model: "gpt-5-nano", input: 50_000, cache_read: 5_000, cache_write_5m: 50_000, cache_write_1h: 50_000, output: 400_000 },
    ModelRates { model: "o3-mini", input: 1_100_000, cache_read: 550_000, cache_write_5m: 1_100_000, cache_write_1h: 1_100_000, output: 4_400_000 },
    ModelRates { model: "text-embedding-3-small", input: 20_000, cache_read: 20_000, cache_write_5m: 20_000, cache_write_1h: 20_000, output: 0 },
    ModelRates { model: "claude-sonnet-4-20250514", input: 3_000_000, cache_read: 300_000, cache_write_5m: 3_750_000, cache_write_1h: 6_000_000, output: 15_000_000 },
    ModelRates { model: "claude-3-5-haiku-latest", input: 800_000, cache_read: 80_000, cache_write_5m: 1_000_000, cache_write_1h: 1_600_000, output: 4_000_000 },
];

/// The rates of a model; `None`: it costs nothing.
pub(super) fn rates(model: &str) -> Option<&'static ModelRates> {
    MODELS.iter().find(|rates| rates.model == model)
}

impl ModelRates {
    /// What a reply costs: the sum over its classes, rounded half up once to nano-USD.
    pub(super) fn nano_usd(&self, tokens: Tokens) -> u64 {
        let five_minutes = tokens.cache_write - tokens.cache_write_1h;
        let pico_usd = tokens.input * self.input
            + tokens.cache_read * self.cache_read
            + five_minutes * self.cache_write_5m
            + tokens.cache_write_1h * self.cache_write_1h
            + tokens.output * self.output;
        (pico_usd + 500) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Protocol;
    use crate::policy::Prices;

    #[test]
    fn the_literal_rates_are_those_of_the_bundled_table() {
        let prices = Prices::bundled();
        for own in &MODELS {
            let protocol = if own.model.starts_with("claude") { Protocol::Anthropic } else { Protocol::OpenAi };
            let price = prices.find(protocol.as_str(), protocol, own.model).unwrap_or_else(|| panic!("{} is known", own.model));
            let base = &price.standard.base;
            assert_eq!(
                (base.input, base.cache_read, base.cache_write_5m, base.cache_write_1h, base.output),
                (own.input, own.cache_read, own.cache_write_5m, own.cache_write_1h, own.output),
                "{}",
                own.model
            );
            assert!(price.standard.long.is_empty(), "{}", own.model);
        }
    }

    #[test]
    fn replies_are_rounded_half_up_once() {
        let cost = |model, tokens| rates(model).map(|rates| rates.nano_usd(tokens));
        let none = Tokens::default();
        assert_eq!(cost("gpt-4o-mini", Tokens { input: 8, output: 20, ..none }), Some(13_200));
        assert_eq!(cost("gpt-5-nano", Tokens { cache_read: 1, ..none }), Some(5));
        assert_eq!(cost("o3-mini", Tokens { cache_read: 1, ..none }), Some(550));
        assert_eq!(cost("claude-3-5-haiku-latest", Tokens { cache_write: 3, cache_write_1h: 2, reasoning: 9, ..none }), Some(4_200));
        assert_eq!(cost("gpt-4o-2024-11-20", Tokens { input: 8, ..none }), None);
        let half = ModelRates { model: "half", input: 500, cache_read: 499, cache_write_5m: 0, cache_write_1h: 0, output: 0 };
        assert_eq!((half.nano_usd(Tokens { input: 1, ..none }), half.nano_usd(Tokens { cache_read: 1, ..none })), (1, 0));
    }
}
