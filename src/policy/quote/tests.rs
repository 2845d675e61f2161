//! Tables for the worst case and its refusals, and the property that no bill passes it. The prices of other tests come from here too.

use super::*;
use crate::money::{Card, Usage};
use crate::policy::bill;
use proptest::prelude::*;
use std::borrow::Cow;

/// 1 nano-USD a token in, 4 out; 8000 tokens in all, 1000 out.
pub(in crate::policy) fn plain_price() -> Price {
    Price {
        provider: "openai".into(),
        model: "m".into(),
        source: "test".into(),
        standard: card(Rates { input: 1000, cache_read: 500, output: 4000, ..Rates::default() }),
        tiers: Cow::Borrowed(&[]),
        max_output_tokens: Some(1000),
        context_window: Some(8000),
        image_tokens: 100,
        reasoning: false,
    }
}

fn card(base: Rates) -> Card {
    Card { base, long: Cow::Borrowed(&[]) }
}

pub(in crate::policy) fn chat_terms(input_tokens: u64) -> Terms {
    Terms { input_tokens, output_field: Some("max_tokens"), choices: 1, tiers: Tiers::Only(Tier::Standard), ..Terms::default() }
}

/// What is held for the whole of it, in nano-USD.
fn worst(price: &Price, terms: &Terms) -> u64 {
    let quote = quote(Some(price), terms, Some("m"), &Spending::default()).expect("bounded").expect("a quote");
    quote.at(quote.limit()).0
}

#[test]
fn worst_cases() {
    let plain = plain_price();
    let dear = Rates { input: 3000, cache_write_5m: 4000, cache_write_1h: 6000, input_audio: Some(9000), output: 8000, ..Rates::default() };
    let tiered =
        Price { tiers: vec![(Tier::Priority, card(dear)), (Tier::Batch, card(Rates { input: 99_000, ..dear }))].into(), ..plain_price() };
    let long = Price { standard: Card { long: vec![(100, dear)].into(), ..plain.standard.clone() }, ..plain_price() };
    let draws = Rates { input: 1000, input_image: Some(5000), output: 4000, output_image: Some(40_000), ..Rates::default() };
    let draws = Price { standard: card(draws), ..plain_price() };
    let window = |context_window| Price { context_window, ..plain_price() };
    let terms = || chat_terms(100);
    let any = || Terms { tiers: Tiers::Any, ..terms() };
    for (case, price, terms, nano_usd) in [
        ("input and output", &plain, terms(), 100 + 4000),
        ("its own limit", &plain, Terms { output_limit: Some(10), ..terms() }, 100 + 40),
        ("more than the table says the model can", &plain, Terms { output_limit: Some(5000), ..terms() }, 100 + 20_000),
        ("more than the window", &plain, Terms { output_limit: Some(50_000), ..terms() }, 100 + 32_000),
        ("two answers", &plain, Terms { choices: 2, output_limit: Some(10), ..terms() }, 100 + 80),
        ("no count of answers is one", &plain, Terms { choices: 0, ..terms() }, 100 + 4000),
        ("no output", &plain, Terms { output_field: None, ..terms() }, 100),
        ("images", &plain, Terms { images: 3, ..terms() }, 400 + 4000),
        ("images at their own rate", &draws, Terms { images: 3, ..terms() }, 100 + 1500 + 40_000),
        ("no more than the window", &plain, chat_terms(9000), 8000 + 4000),
        ("images first into the window", &draws, Terms { images: 70, ..chat_terms(9000) }, 1000 + 35_000 + 40_000),
        ("a window for each prompt", &plain, Terms { choices: 2, ..chat_terms(9000) }, 9000 + 8000),
        ("no window for embeddings", &plain, Terms { output_field: None, ..chat_terms(9000) }, 9000),
        ("a document fills the window", &plain, Terms { documents: true, ..terms() }, 8000 + 4000),
        ("any tier but batch", &tiered, any(), 300 + 8000),
        ("a tier that was not asked for", &tiered, Terms { tiers: Tiers::Only(Tier::Flex), ..terms() }, 100 + 4000),
        ("batch, asked for", &tiered, Terms { tiers: Tiers::Only(Tier::Batch), ..terms() }, 9900 + 8000),
        ("a cache is written", &tiered, Terms { cache_write: true, ..any() }, 600 + 8000),
        ("audio", &tiered, Terms { audio_input: true, ..any() }, 900 + 8000),
        ("a long context out of reach", &long, terms(), 100 + 4000),
        ("a long context", &long, chat_terms(101), 303 + 8000),
        ("a window that the table contradicts", &Price { context_window: Some(100), ..long.clone() }, chat_terms(200), 600 + 8000),
        ("the window for a limit", &Price { max_output_tokens: None, ..window(Some(500)) }, terms(), 100 + 2000),
        (
            "the request's own for a limit",
            &Price { max_output_tokens: None, ..window(None) },
            Terms { output_limit: Some(7), ..terms() },
            128,
        ),
    ] {
        assert_eq!(worst(price, &terms), nano_usd, "{case}");
    }
}

#[test]
fn least_limits() {
    for (thinking_budget, least) in [(None, 16), (Some(5), 16), (Some(16), 17), (Some(4096), 4097), (Some(u64::MAX), u64::MAX)] {
        let terms = Terms { thinking_budget, ..chat_terms(1) };
        let quote = quote(Some(&plain_price()), &terms, None, &Spending::default()).unwrap().unwrap();
        assert_eq!(quote.least_limit, least);
    }
}

#[test]
fn what_has_no_worst_case() {
    use Reason::{ThreadNotFound, UnknownModelPrice, Unmetered};
    let plain = plain_price();
    let no_window = Price { context_window: None, ..plain_price() };
    let no_limit = Price { max_output_tokens: None, ..no_window.clone() };
    let blind = Price { image_tokens: 0, ..plain_price() };
    let terms = || chat_terms(100);
    let searching = Price { model: "gpt-4o-search-preview".into(), ..plain_price() };
    let hosted = Terms { unbounded: Some("`tools` holds a hosted tool".into()), ..terms() };
    let thread = Terms { continues_thread: true, ..hosted.clone() };
    for (price, terms, reason, words) in [
        (
            Some(&plain),
            thread,
            ThreadNotFound,
            "send the whole conversation, without `thread`, or let threads through with --unmetered allow",
        ),
        (
            None,
            terms(),
            UnknownModelPrice,
            "no price is known for model \"x\": give one with --prices FILE ({\"models\": {\"x\": {\"input\": …",
        ),
        (None, terms(), UnknownModelPrice, "--unknown-model allow"),
        (Some(&no_limit), terms(), UnknownModelPrice, "set max_tokens in the request"),
        (Some(&no_limit), terms(), UnknownModelPrice, "\"max_output_tokens\""),
        (Some(&plain), hosted.clone(), Unmetered, "`tools` holds a hosted tool; let it through with --unmetered allow"),
        (Some(&searching), terms(), Unmetered, "searches by itself"),
        (Some(&no_window), Terms { documents: true, ..terms() }, Unmetered, "holds a document"),
        (Some(&plain), Terms { audio_input: true, ..terms() }, Unmetered, "no price of audio input"),
        (Some(&plain), Terms { audio_output: true, ..terms() }, Unmetered, "no price of audio output"),
        (Some(&blind), Terms { images: 1, ..terms() }, Unmetered, "holds an image"),
    ] {
        let refusal = quote(price, &terms, Some("x"), &Spending::default()).expect_err("no worst case");
        assert_eq!(refusal.reason, reason, "{words}");
        assert!(refusal.message.contains(words), "{words} is not in: {}", refusal.message);
    }
    let allowing = Spending { unknown_model: Allow::Allow, unmetered: Allow::Allow, ..Spending::default() };
    assert_eq!(quote(None, &terms(), Some("x"), &allowing), Ok(None));
    let rest = |price, terms| quote(Some(price), &terms, Some("x"), &allowing).unwrap().unwrap();
    assert_eq!(rest(&plain, hosted), rest(&plain, terms()));
    let unknown_output = rest(&no_limit, terms());
    assert_eq!(unknown_output.at(unknown_output.limit()), NanoUsd(100));
}

#[test]
fn a_name_of_any_length_and_kind_is_readable() {
    let name = format!("\"\n{}", "x".repeat(5000));
    let refusal = quote(None, &chat_terms(1), Some(&name), &Spending::default()).unwrap_err();
    assert!(refusal.message.len() < 600 && !refusal.message.contains('\n'), "{}", refusal.message);
}

/// Rates up to a thousand dollars a million tokens.
fn rates() -> impl Strategy<Value = Rates> {
    let rate = || 0..1_000_000_000_u64;
    let some = || prop::option::of(rate());
    ((rate(), rate(), rate(), rate(), rate()), (some(), some(), some(), some())).prop_map(|(text, other)| Rates {
        input: text.0,
        cache_read: text.1,
        cache_write_5m: text.2,
        cache_write_1h: text.3,
        output: text.4,
        input_audio: other.0,
        input_image: other.1,
        output_audio: other.2,
        output_image: other.3,
    })
}

fn any_card() -> impl Strategy<Value = Card> {
    (rates(), prop::option::of((1..5000_u64, rates())))
        .prop_map(|(base, long)| Card { base, long: long.into_iter().collect::<Vec<_>>().into() })
}

pub(in crate::policy) fn any_price() -> impl Strategy<Value = Price> {
    let tier = || prop::sample::select(vec![Tier::Flex, Tier::Priority, Tier::Batch, Tier::Standard]);
    let tiers = prop::collection::vec((tier(), any_card()), 0..3);
    (any_card(), tiers, prop::option::of(1..2000_u64), prop::option::of(1..8000_u64), 0..300_u64, any::<bool>()).prop_map(
        |(standard, tiers, max_output_tokens, context_window, image_tokens, reasoning)| Price {
            standard,
            tiers: tiers.into(),
            max_output_tokens,
            context_window,
            image_tokens,
            reasoning,
            ..plain_price()
        },
    )
}

pub(in crate::policy) fn any_terms() -> impl Strategy<Value = Terms> {
    let flags = prop::collection::vec(any::<bool>(), 5);
    let tiers = prop::sample::select(vec![
        Tiers::Any,
        Tiers::Only(Tier::Standard),
        Tiers::Only(Tier::Flex),
        Tiers::Only(Tier::Priority),
        Tiers::Only(Tier::Batch),
    ]);
    let limits = (prop::option::of(1..3000_u64), 1..4_u64, prop::option::of(1..1000_u64));
    (0..6000_u64, 0..4_u64, flags, limits, tiers).prop_map(
        |(input_tokens, images, flags, (output_limit, choices, thinking_budget), tiers)| Terms {
            input_tokens,
            images,
            documents: flags[0],
            audio_input: flags[1],
            audio_output: flags[2],
            cache_write: flags[3],
            output_field: flags[4].then_some("max_tokens"),
            output_limit: output_limit.filter(|_| flags[4]),
            choices,
            thinking_budget,
            tiers,
            unbounded: None,
            continues_thread: false,
        },
    )
}

/// A usage that the provider can report for a request: the bounds filled by these portions, in classes that the request can cause.
pub(in crate::policy) fn possible_usage(price: &Price, terms: &Terms, output: u64, portions: &[u64; 8]) -> Usage {
    let portion = |whole: u64, index: usize| whole * (portions[index] % 101) / 100;
    let most = most_input(price, terms);
    let input_image = portion(terms.images * price.image_tokens, 0).min(most.unwrap_or(u64::MAX));
    let text = if terms.documents { most.unwrap_or(terms.input_tokens) } else { terms.input_tokens };
    let mut left = portion(text.min(most.unwrap_or(u64::MAX) - input_image), 1);
    let mut take = |index: usize, can_be: bool| {
        let tokens = if can_be { portion(left, index) } else { 0 };
        left -= tokens;
        tokens
    };
    let (input_audio, cache_write_1h) = (take(2, terms.audio_input), take(3, terms.cache_write));
    let (cache_write_5m, cache_read) = (take(4, terms.cache_write), take(5, true));
    let output_audio = if terms.audio_output { portion(output, 6) } else { 0 };
    let output_image = portion(output - output_audio, 7);
    let output = output - output_audio - output_image;
    Usage {
        input: left,
        cache_read,
        cache_write_5m,
        cache_write_1h,
        input_audio,
        input_image,
        output,
        output_audio,
        output_image,
        reasoning: 0,
    }
}

/// The tiers by which a provider can bill these terms.
pub(in crate::policy) fn billable(terms: &Terms, pick: usize) -> Tier {
    let tiers: Vec<_> = selectable(terms.tiers).collect();
    tiers[pick % tiers.len()]
}

proptest! {
    #[test]
    fn no_bill_passes_its_hold(
        price in any_price(),
        terms in any_terms(),
        portions in any::<[u64; 8]>(),
        (used, clamped, tier) in (0..=100_u64, prop::option::of(1..2000_u64), any::<usize>()),
    ) {
        let Ok(Some(quote)) = quote(Some(&price), &terms, Some("m"), &Spending::default()) else { return Ok(()) };
        let clamp = clamped.filter(|limit| *limit < quote.limit());
        let limit = clamp.unwrap_or(quote.limit());
        let output = limit * terms.choices * used / 100;
        let usage = possible_usage(&price, &terms, output, &portions);
        let hold = quote.at(limit);
        let reported = crate::money::Reported { usage: Some(usage), complete: true, tier: Some(billable(&terms, tier)) };
        let ended = bill::tests::answered(clamp);
        let bill = bill(Some(&std::sync::Arc::new(price)), &reported, || terms.clone(), &ended);
        prop_assert!(bill.cost.unwrap() <= hold, "{:?} > {hold}", bill.cost);
        prop_assert!(!bill.estimated);
    }

    #[test]
    fn fitting_is_the_inverse_of_at(
        (input_pico_usd, output_pico_usd) in (0..1_000_000_u128, 1..1_000_000_u128),
        amount in 0..10_000_000_u64,
    ) {
        let quote = Quote { input_pico_usd, output_pico_usd, model_limit: u64::MAX, ..Quote::default() };
        match quote.fitting(NanoUsd(amount)) {
            Some(tokens) => prop_assert!(quote.at(tokens) <= NanoUsd(amount) && quote.at(tokens + 1) > NanoUsd(amount)),
            None => prop_assert!(quote.at(0) > NanoUsd(amount)),
        }
    }

    #[test]
    fn arithmetic_never_overflows(input in any::<u128>(), output in any::<u128>(), limit in any::<u64>(), amount in any::<u64>()) {
        let quote = Quote { input_pico_usd: input, output_pico_usd: output, ..Quote::default() };
        quote.at(limit);
        quote.fitting(NanoUsd(amount));
        let huge = Rates { input: limit, output: amount, ..Rates::default() };
        let price = Price { standard: card(huge), image_tokens: amount, context_window: None, ..plain_price() };
        let terms = Terms { images: limit, choices: limit, ..chat_terms(amount) };
        let bounds = Bounds::of(&price, &terms);
        prop_assert!(bounds.input >= amount);
    }
}
