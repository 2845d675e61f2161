//! Which name finds which row.

use super::*;
use crate::money::Tier;
use Protocol::{Anthropic, OpenAi};

fn found(prices: &Prices, upstream: &str, protocol: Protocol, model: &str) -> Option<(String, &'static str)> {
    prices.explain(upstream, protocol, model).map(|found| (format!("{}/{}", found.price.provider, found.price.model), found.rule))
}

#[test]
fn names_as_providers_take_them() {
    let prices = Prices::bundled();
    /// Upstream, its protocol, model, row and rule.
    type Case = (&'static str, Protocol, &'static str, Option<(&'static str, &'static str)>);
    let table: [Case; 39] = [
        ("openai", OpenAi, "gpt-4o", Some(("openai/gpt-4o", "exact name"))),
        ("openai", OpenAi, "GPT-4o", Some(("openai/gpt-4o", "name in lower case"))),
        ("openai", OpenAi, "gpt-4o-2024-11-20", Some(("openai/gpt-4o", "another name of the model"))),
        ("openai", OpenAi, "gpt-4o-2024-05-13", Some(("openai/gpt-4o-2024-05-13", "exact name"))),
        ("openai", OpenAi, "gpt-4o-2031-01-01", Some(("openai/gpt-4o", "date dropped"))),
        ("openai", OpenAi, "gpt-4o-latest", Some(("openai/gpt-4o", "-latest dropped"))),
        ("openai", OpenAi, "chatgpt-4o-latest", Some(("openai/chatgpt-4o-latest", "exact name"))),
        ("openai", OpenAi, "gpt-5-nano-2025-08-07", Some(("openai/gpt-5-nano", "another name of the model"))),
        ("openai", OpenAi, "gpt-4-0613", Some(("openai/gpt-4", "another name of the model"))),
        ("openai", OpenAi, "openai/gpt-4o", Some(("openai/gpt-4o", "provider prefix"))),
        ("openai", OpenAi, "openai/gpt-4o-2031-01-01", Some(("openai/gpt-4o", "provider prefix, date dropped"))),
        (
            "openai",
            OpenAi,
            "anthropic/claude-sonnet-4.5",
            Some(("anthropic/claude-sonnet-4-5", "provider prefix, another name of the model")),
        ),
        ("openai", OpenAi, "gpt-4o-super-new", None),
        ("openai", OpenAi, "gpt-4o-", None),
        ("openai", OpenAi, "gpt", None),
        ("openai", OpenAi, "", None),
        ("openai", OpenAi, "/", None),
        ("openai", OpenAi, "gpt-4o-2024-99-99", None),
        ("openai", OpenAi, "nobody/gpt-4o", None),
        ("openai", OpenAi, "claude-sonnet-4-5", None),
        ("openai", OpenAi, "whisper-1", None),
        ("openai", OpenAi, "ft:gpt-4o-mini-2024-07-18:org::id", Some(("openai/ft:gpt-4o-mini-2024-07-18", "fine-tune"))),
        ("openai", OpenAi, "ft:gpt-3.5-turbo:org:name:id", Some(("openai/ft:gpt-3.5-turbo", "fine-tune"))),
        ("openai", OpenAi, "ft:gpt-4o-2031-01-01:org::id", None),
        ("openai", OpenAi, "ft:gpt-5-nano-2025-08-07:org::id", None),
        (
            "azure",
            OpenAi,
            "gpt-4o-mini-2024-07-18.ft-0123",
            Some(("openai/ft:gpt-4o-mini-2024-07-18", "price of the protocol's provider, fine-tune")),
        ),
        ("anthropic", Anthropic, "claude-sonnet-4-20250514", Some(("anthropic/claude-sonnet-4-0", "another name of the model"))),
        ("anthropic", Anthropic, "claude-sonnet-4@20250514", Some(("anthropic/claude-sonnet-4-0", "date dropped"))),
        ("anthropic", Anthropic, "claude-3-5-haiku-latest", Some(("anthropic/claude-3-5-haiku-latest", "exact name"))),
        ("anthropic", Anthropic, "claude-3-5-haiku-20241022", Some(("anthropic/claude-3-5-haiku-latest", "another name of the model"))),
        ("anthropic", Anthropic, "claude-sonnet-5-latest", Some(("anthropic/claude-sonnet-5", "-latest dropped"))),
        ("anthropic", Anthropic, "claude-99", None),
        ("my-proxy", OpenAi, "gpt-4o", Some(("openai/gpt-4o", "price of the protocol's provider"))),
        (
            "my-proxy",
            Anthropic,
            "claude-opus-4-5-20311101",
            Some(("anthropic/claude-opus-4-5", "price of the protocol's provider, date dropped")),
        ),
        ("my-proxy", OpenAi, "gpt-oss-120b", None),
        ("my-proxy", OpenAi, "openai/gpt-4o", Some(("openai/gpt-4o", "provider prefix"))),
        ("openrouter", OpenAi, "openai/gpt-4o", Some(("openrouter/openai/gpt-4o", "exact name"))),
        ("xai", OpenAi, "grok-4.3", Some(("x-ai/grok-4.3", "exact name"))),
        ("ollama", OpenAi, "llama3", None),
    ];
    for (upstream, protocol, model, expected) in table {
        let expected = expected.map(|(row, rule)| (row.to_owned(), rule));
        assert_eq!(found(&prices, upstream, protocol, model), expected, "{model} at {upstream}");
    }
}

#[test]
fn files_go_first() {
    let text = r#"{"models": {
        "gpt-4o": {"provider": "openai", "input": 1, "output": 2},
        "gpt-4o-2024-05-13": {"provider": "openai", "input": 3, "output": 4},
        "gpt-5": {"provider": "my-proxy", "input": 5, "output": 6},
        "o3": {"input": 7, "output": 8, "max_output_tokens": 9, "context_window": 10},
        "claude-sonnet-4-5": {"input": 8, "output": 8},
        "local": {"provider": "ollama", "input": 0, "output": 0},
        "grok-4.3": {"provider": "xai", "input": 9, "output": 9}}}"#;
    let prices = Prices::bundled().with_file(text, "mine.json").expect("it is well-formed");
    for (upstream, model, dollars) in [
        ("openai", "gpt-4o", Some(1)),
        // A bundled model is overridden by all its names, but where a name has its own row.
        ("openai", "gpt-4o-2024-11-20", Some(1)),
        ("openai", "gpt-4o-2024-05-13", Some(3)),
        ("my-proxy", "gpt-4o", Some(1)),
        ("my-proxy", "gpt-5", Some(5)),
        ("my-proxy", "local", Some(0)),
        ("my-proxy", "o3", Some(7)),
        ("openai", "o3", Some(7)),
        ("openai", "openai/o3", Some(7)),
        ("openai", "ollama/local", Some(0)),
        ("openai", "local", None),
        ("ollama", "local", Some(0)),
        ("x-ai", "grok-4.3", Some(9)),
        ("xai", "grok-4.3", Some(9)),
    ] {
        let input = prices.find(upstream, OpenAi, model).map(|price| price.standard.base.input);
        assert_eq!(input, dollars.map(|dollars: u64| dollars * 1_000_000), "{model} at {upstream}");
    }
    // The openai upstream does not take what was priced for another one.
    assert_eq!(prices.find("openai", OpenAi, "gpt-5").map(|price| price.standard.base.input), Some(1_250_000));
    assert_eq!(prices.version(), format!("{}+mine.json", Prices::bundled().version()));
}

#[test]
fn rows_of_files_are_whole() {
    let text = r#"{"models": {"gpt-4o": {"provider": "openai", "input": 1, "output": 2}, "o3": {"input": 7, "output": 8, "max_output_tokens": 9},
        "claude-x": {"input": 4, "output": 8}}}"#;
    let prices = Prices::bundled().with_file(text, "mine.json").expect("it is well-formed");
    let find = |model| prices.find("openai", OpenAi, model).expect("a price");
    let (taken, given, claude) = (find("gpt-4o"), find("o3"), find("claude-x"));
    assert_eq!((taken.max_output_tokens, taken.context_window, taken.reasoning), (Some(16_384), Some(128_000), false));
    assert_eq!((taken.provider.as_ref(), taken.source.as_ref(), taken.image_tokens), ("openai", "mine.json", 1_445));
    assert_eq!((given.max_output_tokens, given.context_window, given.provider.as_ref()), (Some(9), Some(200_000), "any"));
    assert_eq!((claude.standard.base.cache_write_5m, claude.standard.base.cache_write_1h), (5_000_000, 8_000_000));
    assert!(taken.tiers.is_empty());
    let error = Prices::bundled().with_file("{", "mine.json").expect_err("no JSON").to_string();
    assert!(error.starts_with("mine.json: "), "{error}");
}

#[test]
fn a_later_file_goes_before_an_earlier_one() {
    let file = |input: u64| format!(r#"{{"models": {{"m": {{"input": {input}, "output": 0}}}}}}"#);
    let prices = Prices::bundled().with_file(&file(1), "a").and_then(|prices| prices.with_file(&file(2), "b")).expect("well-formed");
    assert_eq!(prices.find("openai", OpenAi, "m").map(|price| price.standard.base.input), Some(2_000_000));
    assert!(prices.version().ends_with("+a+b"));
}

#[test]
fn lists_are_sorted_and_hold_each_row_once() {
    let text = r#"{"models": {"gpt-4o": {"input": 1, "output": 2}, "zz": {"provider": "openai", "input": 1, "output": 2}}}"#;
    let prices = Prices::bundled().with_file(text, "mine.json").expect("it is well-formed");
    let all: Vec<_> = prices.all().map(|price| (price.provider.as_ref(), price.model.as_ref())).collect();
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(all.contains(&("any", "gpt-4o")) && all.contains(&("openai", "zz")) && !all.contains(&("openai", "gpt-4o")));
    let names = |text| prices.matching(text).map(|price| format!("{}/{}", price.provider, price.model)).collect::<Vec<_>>();
    assert_eq!(names("OpenAI/gpt-5-nano")[0], "openai/gpt-5-nano");
    assert_eq!(names("anthropic/claude-sonnet-4.5")[0], "anthropic/claude-sonnet-4-5");
    assert!(names("no such model").is_empty());
}

#[test]
fn the_bundled_figures_are_whole() {
    let prices = Prices::bundled();
    let find = |upstream, protocol, model| prices.find(upstream, protocol, model).unwrap_or_else(|| panic!("{model} is known"));
    let sonnet = find("anthropic", Anthropic, "claude-sonnet-4-20250514");
    let base = &sonnet.standard.base;
    assert_eq!(
        (base.input, base.cache_read, base.cache_write_5m, base.cache_write_1h, base.output),
        (3_000_000, 300_000, 3_750_000, 6_000_000, 15_000_000)
    );
    assert_eq!((sonnet.max_output_tokens, sonnet.context_window), (Some(64_000), Some(200_000)));
    let gpt = find("openai", OpenAi, "gpt-5-nano");
    assert_eq!((gpt.card(Tier::Flex).base.input, gpt.card(Tier::Batch).base.output), (25_000, 200_000));
    assert_eq!((gpt.card(Tier::Priority), gpt.reasoning), (&gpt.standard, true));
    let long = find("openai", OpenAi, "gpt-5.4");
    assert_eq!((long.standard.rates(272_000).input, long.standard.rates(272_001).input), (2_500_000, 5_000_000));
    let audio = find("openai", OpenAi, "gpt-4o-audio-preview").standard.base.input_audio;
    assert_eq!(audio, Some(40_000_000));
    let embedding = find("openai", OpenAi, "text-embedding-3-small");
    assert_eq!((embedding.standard.base.output, embedding.max_output_tokens, embedding.context_window), (0, None, Some(8192)));
}
