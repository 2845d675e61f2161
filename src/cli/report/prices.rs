//! Prices: what a model is charged and why, and the list of all. USD per million tokens, as providers publish them; no float is computed
//! with.

use super::table::{columns, name};
use crate::cli::bill::grouped;
use crate::config::Spending;
use crate::money::{Card, NanoUsd, Price, Rates, Terms, Tier};
use crate::policy;
use serde_json::{Map, Value, json};

/// The input of the call whose hold is shown as an example.
const EXAMPLE_INPUT: u64 = 1000;

/// The provider of a price from a file that names none.
const ANY: &str = "any";

/// A class of tokens: its word, and its rate on a card in pico-USD a token.
type Class = (&'static str, fn(&Rates) -> Option<u64>);

const CLASSES: [Class; 9] = [
    ("input", |rates| Some(rates.input)),
    ("cache_read", |rates| Some(rates.cache_read)),
    ("cache_write_5m", |rates| Some(rates.cache_write_5m)),
    ("cache_write_1h", |rates| Some(rates.cache_write_1h)),
    ("input_audio", |rates| rates.input_audio),
    ("input_image", |rates| rates.input_image),
    ("output", |rates| Some(rates.output)),
    ("output_audio", |rates| rates.output_audio),
    ("output_image", |rates| rates.output_image),
];

/// The price that was found for a model, and how.
pub(super) struct Explained<'p> {
    /// The name that was asked for.
    pub model: &'p str,
    pub price: &'p Price,
    /// Which rule of names led to it.
    pub rule: &'p str,
}

impl Explained<'_> {
    /// For people.
    pub(super) fn text(&self) -> String {
        let price = self.price;
        let mut text = format!("{}\n", name(self.model));
        text += &format!("  charged as     {} of {} ({})\n", name(&price.model), whose(price), self.rule);
        text += &format!("  price from     {}\n", name(&price.source));
        let limit = |tokens: Option<u64>| tokens.map_or_else(|| "not known".into(), |tokens| format!("{} tokens", grouped(tokens)));
        text += &format!("  longest answer {}\n", limit(price.max_output_tokens));
        text += &format!("  context window {}\n", limit(price.context_window));
        text += &format!("  under a budget {}\n\n", self.hold_in_words());
        for line in rates_of(price) {
            text += &format!("  {line}\n");
        }
        text
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        let mut json = as_json(self.price);
        json["asked"] = self.model.into();
        json["rule"] = self.rule.into();
        json["worst_case"] = json!({ "input_tokens": EXAMPLE_INPUT, "hold_usd": self.hold().map(NanoUsd::usd) });
        json
    }

    /// What is held for a call with [`EXAMPLE_INPUT`] tokens and no output limit of its own.
    fn hold(&self) -> Option<NanoUsd> {
        let terms = Terms { input_tokens: EXAMPLE_INPUT, output_field: Some("max_tokens"), choices: 1, ..Terms::default() };
        let quote = policy::quote(Some(self.price), &terms, Some(self.model), &Spending::default()).ok().flatten()?;
        Some(quote.at(quote.limit()))
    }

    fn hold_in_words(&self) -> String {
        match self.hold() {
            Some(hold) => format!(
                "a call with {} tokens in and no limit of its own holds {hold} until its answer is whole; clamped, less",
                grouped(EXAMPLE_INPUT)
            ),
            None => "a call without a limit of its own has no worst case, and is refused".into(),
        }
    }
}

/// The provider that charges it; a price from a file may be for all.
fn whose(price: &Price) -> String {
    if price.provider == ANY { "any upstream".into() } else { name(&price.provider) }
}

/// The rates of a price, a line a tier and a length of context; classes that none of them has are left out.
fn rates_of(price: &Price) -> Vec<String> {
    let rates: Vec<(String, &Rates)> = cards(price).into_iter().flat_map(|(tier, card)| lengths(tier, card)).collect();
    let classes: Vec<&Class> = CLASSES.iter().filter(|(_, rate)| rates.iter().any(|(_, rates)| rate(rates).is_some())).collect();
    let heads: Vec<String> = classes.iter().map(|(word, _)| word.replace('_', " ")).collect();
    let heads: Vec<&str> = std::iter::once("USD per million tokens").chain(heads.iter().map(String::as_str)).collect();
    let row = |(label, rates): &(String, &Rates)| {
        let cells = classes.iter().map(|(_, rate)| rate(rates).map_or_else(|| "-".into(), per_million));
        std::iter::once(label.clone()).chain(cells).collect::<Vec<_>>()
    };
    columns(&heads, 1, &rates.iter().map(row).collect::<Vec<_>>())
}

fn cards(price: &Price) -> Vec<(Tier, &Card)> {
    std::iter::once((Tier::Standard, &price.standard)).chain(price.tiers.iter().map(|(tier, card)| (*tier, card))).collect()
}

fn lengths(tier: Tier, card: &Card) -> Vec<(String, &Rates)> {
    let word = tier.as_str();
    let long = card.long.iter().map(|(over, rates)| (format!("{word}, over {} tokens in", grouped(*over)), rates));
    std::iter::once((word.to_string(), &card.base)).chain(long).collect()
}

/// Pico-USD a token as USD per million tokens: the same digits with the point elsewhere.
fn per_million(rate: u64) -> String {
    let decimals = format!("{:06}", rate % 1_000_000);
    let kept = decimals.trim_end_matches('0').len().max(2);
    format!("{}.{}", rate / 1_000_000, &decimals[..kept])
}

/// Every price, in lines for people. `version` is the bundled table's.
pub(super) fn list(prices: &[&Price], version: &str) -> String {
    let row = |price: &&Price| {
        let base = &price.standard.base;
        let limit = price.max_output_tokens.map_or_else(|| "-".into(), grouped);
        let rates = [base.input, base.cache_read, base.cache_write_5m, base.output].map(per_million);
        [name(&price.provider), name(&price.model)].into_iter().chain(rates).chain([limit]).collect::<Vec<_>>()
    };
    let heads = ["provider", "model", "input", "cache read", "cache write", "output", "longest answer"];
    let rows: Vec<_> = prices.iter().map(row).collect();
    let count = if prices.len() == 1 { "1 price".into() } else { format!("{} prices", grouped(prices.len() as u64)) };
    let about = format!("{count}, USD per million tokens; bundled table: {version}\n\n");
    about + &columns(&heads, 2, &rows).join("\n") + "\n"
}

/// Every price, for programs.
pub(super) fn list_json(prices: &[&Price], version: &str) -> Value {
    json!({ "version": version, "prices": prices.iter().map(|price| as_json(price)).collect::<Vec<_>>() })
}

/// A price with all its rates: USD per million tokens, under the words of the price file.
fn as_json(price: &Price) -> Value {
    let tiers: Map<String, Value> = cards(price).into_iter().map(|(tier, card)| (tier.as_str().to_string(), card_json(card))).collect();
    json!({
        "provider": price.provider,
        "model": price.model,
        "source": price.source,
        "usd_per_million_tokens": tiers,
        "max_output_tokens": price.max_output_tokens,
        "context_window": price.context_window,
        "image_tokens": price.image_tokens,
        "reasoning": price.reasoning,
    })
}

fn card_json(card: &Card) -> Value {
    let mut base = rates_json(&card.base);
    if !card.long.is_empty() {
        let long = |(over, rates): &(u64, Rates)| {
            let mut long = rates_json(rates);
            long["over_input_tokens"] = (*over).into();
            long
        };
        base["long_context"] = card.long.iter().map(long).collect();
    }
    base
}

fn rates_json(rates: &Rates) -> Value {
    let rate = |(word, rate): &Class| rate(rates).map(|rate| (word.to_string(), json!(rate as f64 / 1e6)));
    Value::Object(CLASSES.iter().filter_map(rate).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn price() -> Price {
        let base = Rates {
            input: 150_000,
            cache_read: 75_000,
            cache_write_5m: 150_000,
            cache_write_1h: 150_000,
            output: 600_000,
            ..Rates::default()
        };
        let long = Rates { input: 300_000, ..base };
        let batch = Rates { input: 75_000, output: 300_000, output_audio: Some(12_345), ..base };
        Price {
            provider: "openai".into(),
            model: "gpt-4o-mini".into(),
            source: "table 2026-01".into(),
            standard: Card { base, long: Cow::Owned(vec![(200_000, long)]) },
            tiers: Cow::Owned(vec![(Tier::Batch, Card { base: batch, long: Cow::Borrowed(&[]) })]),
            max_output_tokens: Some(16_384),
            context_window: None,
            image_tokens: 0,
            reasoning: false,
        }
    }

    #[test]
    fn published_figures() {
        for (rate, text) in
            [(150_000, "0.15"), (2_500_000, "2.50"), (0, "0.00"), (18_750_000, "18.75"), (12_345, "0.012345"), (75_000_000, "75.00")]
        {
            assert_eq!(per_million(rate), text);
        }
    }

    #[test]
    fn a_price_explained() {
        let price = price();
        let found = Explained { model: "gpt-4o-mini-2024-07-18", price: &price, rule: "its name without the date" };
        let text = found.text();
        for line in [
            "gpt-4o-mini-2024-07-18",
            "  charged as     gpt-4o-mini of openai (its name without the date)",
            "  price from     table 2026-01",
            "  longest answer 16,384 tokens",
            "  context window not known",
            "  USD per million tokens            input  cache read  cache write 5m  cache write 1h  output  output audio",
            "  standard                           0.15       0.075            0.15            0.15    0.60             -",
            "  standard, over 200,000 tokens in   0.30       0.075            0.15            0.15    0.60             -",
            "  batch                             0.075       0.075            0.15            0.15    0.30      0.012345",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let json = found.as_json();
        assert_eq!((&json["asked"], &json["model"]), (&json!("gpt-4o-mini-2024-07-18"), &json!("gpt-4o-mini")));
        let tiers = &json["usd_per_million_tokens"];
        assert_eq!((&tiers["standard"]["input"], &tiers["batch"]["output"]), (&json!(0.15), &json!(0.3)));
        assert_eq!(
            tiers["standard"]["long_context"][0],
            json!({
                "over_input_tokens": 200_000, "input": 0.3, "cache_read": 0.075, "cache_write_5m": 0.15, "cache_write_1h": 0.15, "output": 0.6
            })
        );
    }

    #[test]
    fn every_price() {
        let price = price();
        let text = list(&[&price], "2026-01");
        assert!(text.starts_with("1 price, USD per million tokens; bundled table: 2026-01\n"), "{text}");
        assert!(text.ends_with("openai    gpt-4o-mini   0.15       0.075         0.15    0.60          16,384\n"), "{text}");
        assert_eq!(list_json(&[&price], "v")["prices"][0]["max_output_tokens"], 16_384);
    }
}
