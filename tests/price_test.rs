//! The bundled price table against a second published source, and as users meet it.

use iron_runtime::Protocol;
use iron_runtime::money::{Price, Tier, Usage};
use iron_runtime::policy::Prices;
use std::sync::Arc;

/// Figures of litellm's table, which is kept by other people than the one most bundled prices come from.
const CROSSCHECK: &str = include_str!("data/prices_crosscheck.tsv");

fn protocol(provider: &str) -> Protocol {
    if provider == "anthropic" { Protocol::Anthropic } else { Protocol::OpenAi }
}

fn find(prices: &Prices, provider: &str, model: &str) -> Arc<Price> {
    prices.find(provider, protocol(provider), model).unwrap_or_else(|| panic!("{provider} {model} is not in the table"))
}

/// USD a token in pico-USD. Published rates have few digits, so that the nearest whole number is the number.
fn pico_usd(usd: &str) -> u64 {
    let pico_usd = usd.parse::<f64>().unwrap_or_else(|error| panic!("{usd}: {error}")) * 1e12;
    assert!((pico_usd - pico_usd.round()).abs() < 1e-3, "{usd} is no whole number of pico-USD");
    pico_usd.round() as u64
}

#[test]
fn the_most_used_models_cost_what_a_second_source_says() {
    let prices = Prices::bundled();
    let (mut models, mut figures) = (0, 0);
    for line in CROSSCHECK.lines().filter(|line| !line.starts_with('#')).skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [provider, model, _, rates @ .., limit] = &columns[..] else { panic!("{line}") };
        let price = find(&prices, provider, model);
        let own = &price.standard.base;
        let own = [own.input, own.output, own.cache_read, own.cache_write_5m, own.cache_write_1h];
        assert_eq!(rates.len(), own.len(), "{line}");
        for ((own, theirs), column) in own.into_iter().zip(rates).zip(4..).filter(|((_, theirs), _)| !theirs.is_empty()) {
            assert_eq!(own, pico_usd(theirs), "{model}, column {column}");
            figures += 1;
        }
        assert_eq!(price.max_output_tokens, limit.parse().ok(), "{model}");
        models += 1;
    }
    assert!(models >= 20 && figures >= 80, "{models} models, {figures} figures");
}

#[test]
fn the_models_every_part_of_the_product_knows_have_limits() {
    let prices = Prices::bundled();
    for model in ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-5-nano", "o3-mini", "claude-sonnet-4-20250514", "claude-3-5-haiku-latest"] {
        let provider = if model.starts_with("claude") { "anthropic" } else { "openai" };
        let price = find(&prices, provider, model);
        assert!(price.max_output_tokens.is_some() && price.context_window.is_some(), "{model}");
        assert!(prices.version().starts_with(price.source.as_ref()), "{model}");
    }
    let embedding = find(&prices, "openai", "text-embedding-3-small");
    assert_eq!((embedding.max_output_tokens, embedding.context_window, embedding.standard.base.output), (None, Some(8192), 0));
}

#[test]
fn every_row_is_found_by_its_own_name_at_its_own_provider() {
    let prices = Prices::bundled();
    for price in prices.all() {
        let found = prices.explain(&price.provider, Protocol::OpenAi, &price.model).unwrap_or_else(|| panic!("{price:?}"));
        assert!(Arc::ptr_eq(&found.price, price) && found.rule == "exact name", "{price:?}");
        assert!(!price.source.is_empty());
    }
}

#[test]
fn a_worst_case_is_never_below_a_real_one() {
    let usage = |input, output| Usage { input, output, ..Usage::default() };
    for price in Prices::bundled().all() {
        for tier in [Tier::Standard, Tier::Flex, Tier::Priority, Tier::Batch] {
            let small = price.cost(tier, &usage(1_000, 1_000));
            let large = price.cost(tier, &usage(2_000_000, 1_000));
            assert!(large >= small, "{} {}", price.provider, price.model);
        }
    }
}

#[test]
fn free_models_of_ones_own_cost_nothing() {
    let text = r#"{"models": {"llama3": {"provider": "ollama", "input": 0, "output": 0, "max_output_tokens": 4096}}}"#;
    let prices = Prices::bundled().with_file(text, "prices.json").expect("it is well-formed");
    let price = find(&prices, "ollama", "llama3");
    assert_eq!(price.cost(Tier::Standard, &Usage { input: 1 << 40, output: 1 << 40, ..Usage::default() }).0, 0);
    assert_eq!((price.source.as_ref(), price.max_output_tokens), ("prices.json", Some(4096)));
    assert!(Prices::bundled().with_file(r#"{"models": {"m": {"input": "1", "output": 1}}}"#, "prices.json").is_err());
}
