//! The bill of a call that has ended: by the provider's own figures, else by an upper estimate.

#[cfg(test)]
pub(super) mod tests;

use super::quote::{Bounds, selectable};
use crate::call::End;
use crate::money::{NanoUsd, Price, Reported, Terms, Tiers, Usage};
use crate::row::Bill;
use std::sync::Arc;

/// Output tokens of one answer that may have been made, and not seen yet, when a stream breaks off.
const UNSEEN_TOKENS: u64 = 1024;

/// How far a call had come when it ended: what [`bill`] goes by where the provider gave no figures.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Whether the request, or a part of it, had left for the upstream.
    pub sent: bool,
    /// The status of the upstream's reply; 0: none came.
    pub status: u16,
    /// Whether the reply is a stream of events without a content coding: then its bytes come as its tokens are made, and no token is less
    /// than a byte. A reply in one piece comes when all of its tokens have been made, and a compressed one has any number of them in a byte.
    pub streamed: bool,
    /// Bytes of the reply's body that came.
    pub reply_bytes: u64,
    /// How the exchange ended.
    pub end: End,
    /// The output limit that a clamp had set.
    pub clamp: Option<u64>,
}

/// What a call cost: by the provider's own figures, else by an upper estimate from its terms, which are only asked for then. For metered
/// endpoints; what costs nothing by its nature has [`Bill::nothing`].
///
/// Nothing was used by a call that was not sent, or answered without a 2xx and without figures: providers do not bill errors. What broke off,
/// was never answered, or was answered without figures is estimated:
/// - input: what the start of the reply told of it, else the bound, at the dearest rates;
/// - output: the limit in force for each answer. Where the reply is a plain stream and the model does not think unseen, no more than the
///   bytes that came, and 1024 tokens an answer for what was on its way.
///
/// The estimate is at least what the provider can bill and at most what was held: both follow from the argument at
/// [`quote`](super::quote), since each token is charged by the same rates, and there are no more of them. One exception: where a request was
/// let through that has no bound (`--unmetered allow`, no budget), the estimate is of what can be bounded.
pub fn bill(price: Option<&Arc<Price>>, reported: &Reported, terms: impl FnOnce() -> Terms, ended: &Ended) -> Bill {
    let is_success = (200..300).contains(&ended.status);
    let is_told = reported.complete && reported.usage.is_some();
    let is_error = ended.status != 0 && !is_success;
    if !is_told && (!ended.sent || ended.end == End::Refused || is_error) {
        return Bill::nothing();
    }
    let tier = reported.tier.unwrap_or_default();
    match (price, reported.usage) {
        (None, usage) => Bill { usage, cost: None, tier, ..Bill::default() },
        (Some(price), Some(usage)) if is_told => {
            Bill { usage: Some(usage), cost: Some(price.cost(tier, &usage)), estimated: false, price: Some(price.clone()), tier }
        }
        (Some(price), _) => {
            let (usage, cost) = estimate(price, reported, terms(), ended);
            Bill { usage: Some(usage), cost: Some(cost), estimated: true, price: Some(price.clone()), tier }
        }
    }
}

fn estimate(price: &Price, reported: &Reported, mut terms: Terms, ended: &Ended) -> (Usage, NanoUsd) {
    if let Some(tier) = reported.tier {
        terms.tiers = Tiers::Only(tier);
    }
    let bounds = Bounds::of(price, &terms);
    let told = reported.usage.unwrap_or_default();
    let (input, input_pico_usd) = if told.input_tokens() > 0 {
        let input = Usage { output: 0, output_audio: 0, output_image: 0, reasoning: 0, ..told };
        let cost = |tier| price.card(tier).rates(input.input_tokens()).pico_usd(&input);
        (input, selectable(terms.tiers).map(cost).max().unwrap_or_default())
    } else {
        (Usage { input: bounds.input, ..Usage::default() }, bounds.input_pico_usd)
    };
    let output = most_output(price, &terms, &bounds, ended).max(told.output_tokens());
    let pico_usd = input_pico_usd.saturating_add(bounds.output_rate.saturating_mul(output.into()));
    let cost = NanoUsd(u64::try_from(pico_usd.div_ceil(1000)).unwrap_or(u64::MAX));
    (Usage { output, reasoning: told.reasoning, ..input }, cost)
}

/// The output tokens of all answers together that the provider can have made.
fn most_output(price: &Price, terms: &Terms, bounds: &Bounds, ended: &Ended) -> u64 {
    let choices = terms.choices.max(1);
    let seen = ended.reply_bytes.saturating_add(UNSEEN_TOKENS.saturating_mul(choices));
    let Some(limit) = ended.clamp.or(bounds.own_limit).or(bounds.model_limit) else { return seen };
    let most = limit.saturating_mul(choices);
    let bytes_tell = ended.streamed && (200..300).contains(&ended.status) && !price.reasoning && terms.thinking_budget.is_none();
    if bytes_tell { most.min(seen) } else { most }
}
