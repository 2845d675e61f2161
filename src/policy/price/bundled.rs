//! The bundled table: integers compiled by the build script out of `data/*.tsv`, with no work at start.
//!
//! Prices are those of genai-prices, as a snapshot of its figures that `data/refresh.py` makes: the crate computes costs in floats and
//! does not show its rates, and a snapshot lets a change of a price be seen in review. Output limits come from litellm's table, as do classes
//! and tiers that genai-prices lacks, and models that it does not know; the data files say which figure is whose.

use super::rates::{Given, complete};
use crate::money::{Card, Price, Rates, Tier};
use std::borrow::Cow;

/// Stands for "the source gives none".
const NONE: u32 = u32::MAX;

/// A model: where its other figures are.
struct Row {
    provider: u8,
    /// Its own name in `NAMES`.
    name: u16,
    /// Its range in `CARDS`.
    cards: (u16, u16),
    max_output_tokens: u32,
    context_window: u32,
    /// Whether the second source gives its usual price.
    second: bool,
}

// VERSION, SECOND, PROVIDERS (name, range in NAMES), POOL, NAMES (place in POOL, length, row), ROWS, CARDS (tier, over, rates), RATES.
include!(concat!(env!("OUT_DIR"), "/prices.rs"));

/// The number of models.
pub(super) fn len() -> usize {
    ROWS.len()
}

/// Whether a provider of this name is in the table.
pub(super) fn knows(provider: &str) -> bool {
    range(provider).is_some()
}

/// The row of one of a provider's models, by any of its names.
pub(super) fn lookup(provider: &str, name: &str) -> Option<usize> {
    let names = &NAMES[range(provider)?];
    let at = names.binary_search_by(|entry| text(entry).cmp(name)).ok()?;
    Some(usize::from(names[at].2))
}

/// The provider of a row.
pub(super) fn provider(row: usize) -> &'static str {
    PROVIDERS[usize::from(ROWS[row].provider)].0
}

/// The model of a row.
pub(super) fn model(row: usize) -> &'static str {
    text(&NAMES[usize::from(ROWS[row].name)])
}

/// Every name that a row goes by, its own included.
pub(super) fn names(row: usize) -> impl Iterator<Item = &'static str> {
    let names = range(provider(row)).map_or(&[][..], |range| &NAMES[range]);
    names.iter().filter(move |entry| usize::from(entry.2) == row).map(text)
}

/// The price of a row.
pub(super) fn price(row: usize) -> Price {
    let figures = &ROWS[row];
    let (provider, model) = (provider(row), model(row));
    let (first, end) = figures.cards;
    let cards = &CARDS[usize::from(first)..usize::from(end)];
    let standard = card(provider, cards, Tier::Standard).unwrap_or_else(|| Card { base: Rates::default(), long: Cow::Borrowed(&[]) });
    let tiers = [Tier::Flex, Tier::Priority, Tier::Batch];
    let tiers: Vec<_> = tiers.into_iter().filter_map(|tier| Some((tier, card(provider, cards, tier)?))).collect();
    let tokens = |count: u32| (count != NONE).then_some(u64::from(count));
    Price {
        provider: provider.into(),
        model: model.into(),
        source: if figures.second { SECOND } else { VERSION }.into(),
        standard,
        tiers: tiers.into(),
        max_output_tokens: tokens(figures.max_output_tokens),
        context_window: tokens(figures.context_window),
        image_tokens: super::family::image_tokens(provider, model),
        reasoning: super::family::reasons(model),
    }
}

/// The card of a tier, if there is one.
fn card(provider: &str, cards: &[(u8, u32, u16)], tier: Tier) -> Option<Card> {
    let number = match tier {
        Tier::Standard => 0,
        Tier::Flex => 1,
        Tier::Priority => 2,
        Tier::Batch => 3,
    };
    let mut own = cards.iter().filter(|card| card.0 == number).map(|(_, over, rates)| {
        let given: Given = RATES[usize::from(*rates)].map(|rate| (rate != NONE).then_some(u64::from(rate)));
        (u64::from(*over), complete(provider, &given))
    });
    let (_, base) = own.next()?;
    Some(Card { base, long: own.collect::<Vec<_>>().into() })
}

/// A provider's range in `NAMES`.
fn range(provider: &str) -> Option<std::ops::Range<usize>> {
    let at = PROVIDERS.binary_search_by(|(name, ..)| (*name).cmp(provider)).ok()?;
    Some(usize::from(PROVIDERS[at].1)..usize::from(PROVIDERS[at].2))
}

fn text(entry: &(u32, u8, u16)) -> &'static str {
    let from = entry.0 as usize;
    &POOL[from..from + usize::from(entry.1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_row() {
        for row in 0..len() {
            assert_eq!(lookup(provider(row), model(row)), Some(row));
            assert!(names(row).all(|name| lookup(provider(row), name) == Some(row)));
        }
        assert_eq!((lookup("openai", "gpt-4o-super-new"), lookup("nobody", "gpt-4o")), (None, None));
    }

    #[test]
    fn the_table_is_small() {
        let size = POOL.len() + size_of_val(&NAMES) + size_of_val(&ROWS) + size_of_val(&CARDS) + size_of_val(&RATES);
        assert!(size < 200_000, "{size} bytes");
        assert!(len() > 1500, "{} models", len());
    }

    #[test]
    fn every_model_has_a_usual_price_and_its_long_rates_ascend() {
        for row in 0..len() {
            let price = price(row);
            for card in std::iter::once(&price.standard).chain(price.tiers.iter().map(|(_, card)| card)) {
                assert!(card.long.windows(2).all(|pair| pair[0].0 < pair[1].0), "{price:?}");
                assert!(card.all().all(|rates| rates.cache_write_1h >= rates.cache_write_5m), "{price:?}");
            }
            let (output, window) = (price.max_output_tokens, price.context_window);
            assert!(output.zip(window).is_none_or(|(output, window)| output <= window), "{price:?}");
        }
    }
}
