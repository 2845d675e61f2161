//! Tables for the bill, and the property that an estimate is never less than the truth and never more than the hold.

use super::*;
use crate::config::Spending;
use crate::money::Tier;
use crate::policy::quote::tests::{any_price, any_terms, billable, chat_terms, plain_price, possible_usage};
use crate::policy::{Quote, quote};
use proptest::prelude::*;

/// A whole reply with 200.
pub(in crate::policy) fn answered(clamp: Option<u64>) -> Ended {
    Ended { sent: true, status: 200, streamed: true, reply_bytes: 500, end: End::Complete, clamp }
}

fn usage(input: u64, output: u64) -> Usage {
    Usage { input, output, ..Usage::default() }
}

/// Usage, cost in nano-USD and whether it is an estimate.
fn brief(bill: &Bill) -> (Option<(u64, u64)>, Option<u64>, bool) {
    (bill.usage.map(|usage| (usage.input_tokens(), usage.output_tokens())), bill.cost.map(|cost| cost.0), bill.estimated)
}

#[test]
fn bills() {
    let nothing = (None, Some(0), false);
    let told = |complete| Reported { usage: Some(usage(10, 5)), complete, tier: None };
    let silent = Reported::default;
    let whole = answered(None);
    let cut = Ended { end: End::UpstreamCut, ..whole };
    for (case, reported, ended, expected) in [
        ("told", told(true), whole, (Some((10, 5)), Some(30), false)),
        ("told, client gone at the end", told(true), Ended { end: End::ClientGone, ..whole }, (Some((10, 5)), Some(30), false)),
        ("told by an error", told(true), Ended { status: 500, ..whole }, (Some((10, 5)), Some(30), false)),
        ("not sent", silent(), Ended { sent: false, status: 0, end: End::UpstreamFailed, ..whole }, nothing),
        ("refused", silent(), Ended { end: End::Refused, status: 402, ..whole }, nothing),
        ("an error", silent(), Ended { status: 429, ..whole }, nothing),
        ("a redirect", silent(), Ended { status: 304, ..whole }, nothing),
        ("an error with a start", told(false), Ended { status: 529, ..whole }, nothing),
        (
            "no reply",
            silent(),
            Ended { status: 0, reply_bytes: 0, end: End::UpstreamFailed, ..whole },
            (Some((100, 1000)), Some(4100), true),
        ),
        ("cut", silent(), cut, (Some((100, 1000)), Some(4100), true)),
        ("cut after a start", told(false), cut, (Some((10, 1000)), Some(4010), true)),
        ("cut, clamped", silent(), Ended { clamp: Some(50), ..cut }, (Some((100, 50)), Some(300), true)),
        ("whole without figures", silent(), whole, (Some((100, 1000)), Some(4100), true)),
    ] {
        let bill = bill(Some(&Arc::new(plain_price())), &reported, || chat_terms(100), &ended);
        assert_eq!(brief(&bill), expected, "{case}");
        assert_eq!(bill.price.is_some(), expected != nothing, "{case}");
    }
}

#[test]
fn bytes_tell_only_of_plain_streams_of_models_that_do_not_think() {
    let large = Price { max_output_tokens: Some(100_000), ..plain_price() };
    let thinker = Price { reasoning: true, ..large.clone() };
    let cut = Ended { end: End::ClientGone, reply_bytes: 76, ..answered(None) };
    let terms = || chat_terms(100);
    for (case, price, terms, ended, output) in [
        ("plain", &large, terms(), cut, 1100),
        ("two answers", &large, Terms { choices: 2, ..terms() }, cut, 2124),
        ("never more than the limit", &large, Terms { output_limit: Some(40), ..terms() }, cut, 40),
        ("in one piece or compressed", &large, terms(), Ended { streamed: false, ..cut }, 100_000),
        ("not begun", &large, terms(), Ended { status: 0, ..cut }, 100_000),
        ("thinks", &thinker, terms(), cut, 100_000),
        ("asked to think", &large, Terms { thinking_budget: Some(2000), ..terms() }, cut, 100_000),
        ("asked to think, clamped", &large, Terms { thinking_budget: Some(2000), ..terms() }, Ended { clamp: Some(2001), ..cut }, 2001),
        ("embeddings", &large, Terms { output_field: None, ..terms() }, cut, 0),
        ("no limit known", &Price { max_output_tokens: None, context_window: None, ..thinker.clone() }, terms(), cut, 1100),
    ] {
        let bill = bill(Some(&Arc::new(price.clone())), &Reported::default(), || terms, &ended);
        assert_eq!(bill.usage.map(|usage| usage.output), Some(output), "{case}");
    }
}

#[test]
fn without_a_price() {
    let whole = answered(None);
    for (reported, ended, expected) in [
        (Reported { usage: Some(usage(3, 4)), complete: true, tier: None }, whole, (Some((3, 4)), None, false)),
        (Reported::default(), whole, (None, None, false)),
        (Reported::default(), Ended { status: 0, ..whole }, (None, None, false)),
        (Reported::default(), Ended { status: 404, ..whole }, (None, Some(0), false)),
        (Reported::default(), Ended { sent: false, status: 0, ..whole }, (None, Some(0), false)),
    ] {
        let bill = bill(None, &reported, || unreachable!("terms are not needed"), &ended);
        assert_eq!(brief(&bill), expected, "{reported:?} {ended:?}");
    }
}

#[test]
fn the_tier_that_was_told() {
    let dear = crate::money::Card {
        base: crate::money::Rates { input: 2000, output: 9000, ..plain_price().standard.base },
        long: [].as_slice().into(),
    };
    let price = Arc::new(Price { tiers: vec![(Tier::Priority, dear)].into(), ..plain_price() });
    let terms = || Terms { tiers: Tiers::Any, ..chat_terms(100) };
    for (tier, complete, cost) in [
        (None, true, 30),
        (Some(Tier::Standard), true, 30),
        (Some(Tier::Priority), true, 65),
        (Some(Tier::Flex), true, 30),
        (None, false, 20 + 9000),
        (Some(Tier::Standard), false, 10 + 4000),
        (Some(Tier::Priority), false, 20 + 9000),
    ] {
        let reported = Reported { usage: Some(usage(10, 5)), complete, tier };
        let bill = bill(Some(&price), &reported, terms, &answered(None));
        assert_eq!((bill.cost, bill.tier), (Some(NanoUsd(cost)), tier.unwrap_or_default()), "{tier:?} {complete}");
    }
}

fn hold(price: &Price, terms: &Terms, clamp: Option<u64>) -> Option<(Quote, NanoUsd, u64)> {
    let quote = quote(Some(price), terms, Some("m"), &Spending::default()).ok()??;
    let limit = clamp.unwrap_or(quote.limit()).min(quote.limit());
    let amount = quote.at(limit);
    Some((quote, amount, limit))
}

proptest! {
    /// Whatever the provider made, as far as the bytes that came allow it, costs no more than the estimate, and that no more than the hold.
    #[test]
    fn estimates_lie_between_the_truth_and_the_hold(
        price in any_price(),
        terms in any_terms(),
        portions in any::<[u64; 8]>(),
        (made, reply_bytes, clamp) in (0..=100_u64, 0..3000_u64, prop::option::of(1..2000_u64)),
        (status, streamed, starts, tells_tier, pick) in (prop::sample::select(vec![0_u16, 200]), any::<bool>(), any::<bool>(), any::<bool>(), any::<usize>()),
    ) {
        let Some((quote, hold, limit)) = hold(&price, &terms, clamp) else { return Ok(()) };
        let clamp = clamp.filter(|clamp| *clamp < quote.limit());
        let mut most = limit * terms.choices;
        if streamed && status == 200 && !price.reasoning && terms.thinking_budget.is_none() {
            most = most.min(reply_bytes + 1024 * terms.choices);
        }
        if terms.output_field.is_none() {
            most = 0;
        }
        let usage = possible_usage(&price, &terms, most * made / 100, &portions);
        let tier = billable(&terms, pick);
        let truth = price.cost(tier, &usage);
        let told = Usage { output: usage.output.min(1), output_audio: 0, output_image: 0, ..usage };
        let reported = Reported { usage: starts.then_some(told), complete: false, tier: tells_tier.then_some(tier) };
        let ended = Ended { sent: true, status, streamed, reply_bytes, end: End::UpstreamCut, clamp };
        let bill = bill(Some(&Arc::new(price)), &reported, || terms, &ended);
        let cost = bill.cost.unwrap();
        prop_assert!(bill.estimated);
        prop_assert!(truth <= cost && cost <= hold, "{truth} <= {cost} <= {hold}");
        prop_assert!(usage.output_tokens() <= bill.usage.unwrap().output_tokens());
    }
}
