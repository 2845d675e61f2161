//! The worst case of a call in money, before it is sent. Pure arithmetic over a [`Price`] and the request's [`Terms`].

#[cfg(test)]
pub(super) mod tests;

use crate::call::{Reason, Refusal};
use crate::config::{Allow, Spending};
use crate::money::{NanoUsd, Price, Rates, Terms, Tier, Tiers};
use crate::policy::price::searches;

/// No output limit is lowered below this: an answer of fewer tokens is of no use to anybody.
const LEAST_TOKENS: u64 = 16;

/// The worst case of a call, as a function of its output limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// All input at the dearest rate the request could select, pico-USD.
    pub input_pico_usd: u128,
    /// One token of output of every answer asked for, likewise.
    pub output_pico_usd: u128,
    /// The output limit of the request itself. It may be above the model's: a provider that takes it may know more than the table.
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
        self.own_limit.unwrap_or(self.model_limit)
    }

    /// The highest output limit that an amount pays for, the inverse of [`Quote::at`]; `None`: not even the input.
    pub fn fitting(&self, amount: NanoUsd) -> Option<u64> {
        let rest = (u128::from(amount.0) * 1000).checked_sub(self.input_pico_usd)?;
        let tokens = rest.checked_div(self.output_pico_usd).unwrap_or(u128::MAX);
        Some(u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

/// The worst case of a request under a budget. `Ok(None)`: unbounded or unknown, and the settings let it through.
///
/// # Why it is an upper bound
/// Given that [`Terms`] are upper bounds (that is shown where they are read), take any usage the provider can report for the request, at any
/// tier that `terms.tiers` names.
///
/// *Rates.* The provider charges every token by one set of rates: that of the tier it served and of the context length it saw. The tier
/// is the standard one or one of `terms.tiers`, and the length is at most the input bound, so that set is among those that `reachable`
/// names, over which each class's maximum is taken. So no token of a class costs more than the maximum of its class.
///
/// *Input.* At most `I = images × image_tokens` tokens come from pictures, and at most `T = input_tokens` from everything else (text,
/// tools, audio); a document's tokens are bounded by the context window instead, which no conversation can exceed (a request of
/// `choices` prompts so many windows; one without output, embeddings, has any number of texts, so that no window bounds it). A token that
/// is no picture is of a class that the request can cause: uncached, read from a cache, written to one if it asks for that, audio if it holds any; let `d`
/// be the dearest of these. A picture's token costs `d` or the picture rate, at most `i = max(d, picture)`. If `x ≤ I` tokens are billed
/// as pictures and `t ≤ T + I - x` otherwise, the cost is `≤ (T + I - x)·d + x·i ≤ T·d + I·i`, as `i ≥ d`. If the window `w < T + I` bounds
/// the sum, pictures come first: `min(I, w)·i + (w - min(I, w))·d` is the largest value of that expression with `T + I ≤ w`.
///
/// *Output.* Each of the `choices` answers has at most as many tokens as the limit in force (reasoning included), which the provider
/// enforces, and each token costs at most the dearest output class. The limit is the request's own, else the model's; an own one above the
/// model's is held in full, up to the context window: tables grow old, and a provider that takes the request may well answer it.
///
/// *Rounding.* The cost is `⌊(p + 500)/1000⌋ ≤ ⌈p/1000⌉` nano-USD for an exact `p` pico-USD, the hold is `⌈P/1000⌉` with `P ≥ p`. Sums that
/// would overflow become the largest number, which no account can pay. ∎
///
/// # Errors
/// 402 [`Unmetered`](crate::call::Reason::Unmetered), [`UnknownModelPrice`](crate::call::Reason::UnknownModelPrice); 404
/// [`ThreadNotFound`](crate::call::Reason::ThreadNotFound).
pub fn quote(price: Option<&Price>, terms: &Terms, model: Option<&str>, spending: &Spending) -> Result<Option<Quote>, Refusal> {
    let lets_unknown_pass = spending.unknown_model == Allow::Allow;
    let Some(price) = price else {
        return if lets_unknown_pass { Ok(None) } else { Err(unknown_price(model)) };
    };
    if spending.unmetered == Allow::Refuse
        && let Some(why) = unbounded(price, terms)
    {
        return Err(if terms.continues_thread { unbounded_thread(model) } else { unmetered(model, &why) });
    }
    let bounds = Bounds::of(price, terms);
    if bounds.model_limit.is_none() && terms.output_limit.is_none() && !lets_unknown_pass {
        return Err(unknown_limit(model, terms.output_field));
    }
    Ok(Some(Quote {
        input_pico_usd: bounds.input_pico_usd,
        output_pico_usd: bounds.output_rate.saturating_mul(u128::from(terms.choices.max(1))),
        own_limit: bounds.own_limit,
        // A request's own limit bounds the output where nothing is known of the model.
        model_limit: bounds.model_limit.or(terms.output_limit).unwrap_or(0),
        least_limit: LEAST_TOKENS.max(terms.thinking_budget.map_or(0, |thinking| thinking.saturating_add(1))),
        field: terms.output_field,
    }))
}

/// What bounds the cost of a request, apart from its output limit.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Input tokens.
    pub(super) input: u64,
    /// What they can cost together.
    pub(super) input_pico_usd: u128,
    /// What one token of output can cost.
    pub(super) output_rate: u128,
    /// The output tokens of one answer; `None`: not known.
    pub(super) model_limit: Option<u64>,
    /// The request's own limit, as far as the context window allows.
    pub(super) own_limit: Option<u64>,
}

impl Bounds {
    /// The bounds of what can be bounded; [`unbounded`] tells what can't.
    pub(super) fn of(price: &Price, terms: &Terms) -> Self {
        let most = most_input(price, terms);
        let image = terms.images.saturating_mul(price.image_tokens).min(most.unwrap_or(u64::MAX));
        let text = if terms.documents { most.unwrap_or(terms.input_tokens) } else { terms.input_tokens };
        let text = text.min(most.unwrap_or(u64::MAX) - image);
        let input = text + image;
        let (mut text_rate, mut image_rate, mut output_rate) = (0, 0, 0);
        for rates in reachable(price, terms.tiers, input) {
            text_rate = text_rate.max(dearest_input(rates, terms));
            image_rate = image_rate.max(rates.input_image.unwrap_or(0));
            output_rate = output_rate.max(dearest_output(rates, terms));
        }
        let cost = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
        let input_pico_usd = cost(text, text_rate).saturating_add(cost(image, image_rate.max(text_rate)));
        let (output_rate, model_limit) = match terms.output_field {
            None => (0, Some(0)),
            Some(_) => (output_rate.into(), price.max_output_tokens.or(price.context_window)),
        };
        let own_limit = terms.output_field.and(terms.output_limit).map(|own| own.min(window(price).unwrap_or(u64::MAX)));
        Self { input, input_pico_usd, output_rate, model_limit, own_limit }
    }
}

/// The input tokens that the context window allows; `None`: any number.
fn most_input(price: &Price, terms: &Terms) -> Option<u64> {
    let window = window(price)?;
    terms.output_field.map(|_| window.saturating_mul(terms.choices.max(1)))
}

/// The context window. A table that has a price for longer contexts than its window contradicts itself: then the window is not believed.
fn window(price: &Price) -> Option<u64> {
    let mut cards = std::iter::once(&price.standard).chain(price.tiers.iter().map(|(_, card)| card));
    price.context_window.filter(|window| cards.all(|card| card.long.iter().all(|(over, _)| over < window)))
}

/// The sets of rates by which a request with at most `input` tokens can be charged.
fn reachable(price: &Price, tiers: Tiers, input: u64) -> impl Iterator<Item = &Rates> {
    selectable(tiers).flat_map(move |tier| {
        let card = price.card(tier);
        std::iter::once(&card.base).chain(card.long.iter().filter(move |(over, _)| input > *over).map(|(_, rates)| rates))
    })
}

/// The tiers that can serve a request: the usual one always, and no batch unless it was asked for.
pub(super) fn selectable(tiers: Tiers) -> impl Iterator<Item = Tier> {
    [Tier::Standard, Tier::Flex, Tier::Priority, Tier::Batch].into_iter().filter(move |tier| match tiers {
        Tiers::Any => *tier != Tier::Batch,
        Tiers::Only(only) => *tier == only || *tier == Tier::Standard,
    })
}

fn dearest_input(rates: &Rates, terms: &Terms) -> u64 {
    let written = if terms.cache_write { rates.cache_write_5m.max(rates.cache_write_1h) } else { 0 };
    let audio = if terms.audio_input { rates.input_audio.unwrap_or(0) } else { 0 };
    rates.input.max(rates.cache_read).max(written).max(audio)
}

/// A model that can draw may do so unasked; it speaks only when asked.
fn dearest_output(rates: &Rates, terms: &Terms) -> u64 {
    let audio = if terms.audio_output { rates.output_audio.unwrap_or(0) } else { 0 };
    rates.output.max(rates.output_image.unwrap_or(0)).max(audio)
}

/// What makes the worst case of a request unbounded, in words.
fn unbounded(price: &Price, terms: &Terms) -> Option<String> {
    let has_rate = |rate: fn(&Rates) -> Option<u64>| reachable(price, terms.tiers, u64::MAX).any(|rates| rate(rates).is_some());
    if let Some(why) = &terms.unbounded {
        return Some(why.clone());
    }
    if terms.output_field.is_some() && searches(&price.model) {
        return Some("the model searches by itself, and every search is billed beside its tokens".into());
    }
    if terms.documents && most_input(price, terms).is_none() {
        return Some("it holds a document, and no context window is known that would bound its tokens".into());
    }
    if terms.audio_input && !has_rate(|rates| rates.input_audio) {
        return Some("it holds audio, and no price of audio input is known".into());
    }
    if terms.audio_output && !has_rate(|rates| rates.output_audio) {
        return Some("it asks for audio, and no price of audio output is known".into());
    }
    (terms.images > 0 && price.image_tokens == 0).then(|| "it holds an image, and it is not known how many tokens one costs".into())
}

fn unmetered(model: Option<&str>, why: &str) -> Refusal {
    let message = format!(
        "the cost of this request to {} has no upper bound, and the router has a budget: {why}; let it through with --unmetered allow",
        named(model)
    );
    Refusal::new(Reason::Unmetered, message)
}

/// Threads may be gone at any time, and whoever uses them sends the whole conversation when told so: that has a bound.
fn unbounded_thread(model: Option<&str>) -> Refusal {
    let message = format!(
        "the router has a budget, and how much the thread continued in this request to {} holds can't be known: send the whole \
         conversation, without `thread`, or let threads through with --unmetered allow",
        named(model)
    );
    Refusal::new(Reason::ThreadNotFound, message)
}

fn unknown_price(model: Option<&str>) -> Refusal {
    let name = in_file(model);
    let message = format!(
        "no price is known for {}: give one with --prices FILE ({{\"models\": {{{name}: {{\"input\": …, \"output\": …}}}}}}, USD per million \
         tokens) or let it through with --unknown-model allow",
        named(model)
    );
    Refusal::new(Reason::UnknownModelPrice, message)
}

fn unknown_limit(model: Option<&str>, field: Option<&str>) -> Refusal {
    let name = in_file(model);
    let message = format!(
        "it is not known how many output tokens {} can cost: set {} in the request, give its maximum with --prices FILE ({{\"models\": {{{name}: \
         {{\"input\": …, \"output\": …, \"max_output_tokens\": …}}}}}}) or let it through with --unknown-model allow",
        named(model),
        field.unwrap_or("a limit"),
    );
    Refusal::new(Reason::UnknownModelPrice, message)
}

/// The model as it stands in a sentence. Whatever a client sends as a name, a message stays readable.
fn named(model: Option<&str>) -> String {
    model.map_or("a request that names no model".into(), |_| format!("model {}", in_file(model)))
}

fn in_file(model: Option<&str>) -> String {
    format!("{:?}", model.unwrap_or("NAME").chars().take(100).collect::<String>())
}
