//! Money and tokens as whole numbers: no figure here is ever a float, but at the edge where a user gives or reads dollars.
//!
//! A rate is pico-USD a token, which holds every published price exactly ($0.15 a million tokens = 150,000). A row's cost is the sum over
//! its classes of tokens, rounded half up once to nano-USD; what is *held* for a call rounds up.

use std::borrow::Cow;
use std::fmt;

/// Nano-USD in a dollar.
pub const NANO: u64 = 1_000_000_000;

/// The most dollars a setting may name: what is left of the range is room for sums.
pub const MOST_USD: f64 = 1e9;

/// An amount of money: 10⁻⁹ dollars.
///
/// ```
/// use iron_runtime::money::NanoUsd;
/// let five_cents = NanoUsd::from_usd(0.05).unwrap();
/// assert_eq!((five_cents.0, five_cents.to_string().as_str()), (50_000_000, "$0.05"));
/// assert_eq!(NanoUsd::from_usd(-1.0), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From dollars, rounded to the nearest; `None` for a negative number, NaN, or more than [`MOST_USD`].
    pub fn from_usd(usd: f64) -> Option<Self> {
        (0.0..=MOST_USD).contains(&usd).then(|| Self((usd * NANO as f64).round() as u64))
    }

    /// In dollars.
    pub fn usd(self) -> f64 {
        self.0 as f64 / NANO as f64
    }

    /// From the control protocol's unit.
    pub fn from_micro_usd(micro_usd: u64) -> Self {
        Self(micro_usd.saturating_mul(1000))
    }

    /// In the control protocol's unit, rounded up.
    pub fn micro_usd_up(self) -> u64 {
        self.0.div_ceil(1000)
    }

    /// The sum; the largest amount where it would be larger.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; nothing where it would be less.
    pub fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for NanoUsd {
    /// `$` and the exact amount, with two to nine decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:09}", self.0 % NANO);
        let kept = decimals.trim_end_matches('0').len().max(2);
        write!(f, "${}.{}", self.0 / NANO, &decimals[..kept])
    }
}

/// The tokens of one call in disjoint classes, as the provider reported them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Text input that no cache knew.
    pub input: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to a cache that keeps it for 5 minutes.
    pub cache_write_5m: u64,
    /// Input written to a cache that keeps it for an hour.
    pub cache_write_1h: u64,
    /// Audio input.
    pub input_audio: u64,
    /// Image input where the provider counts it apart.
    pub input_image: u64,
    /// Text output, reasoning included.
    pub output: u64,
    /// Audio output.
    pub output_audio: u64,
    /// Image output.
    pub output_image: u64,
    /// Reasoning: a part of `output`, never billed again.
    pub reasoning: u64,
}

impl Usage {
    /// All input, cached included.
    pub fn input_tokens(&self) -> u64 {
        [self.cache_read, self.cache_write_5m, self.cache_write_1h, self.input_audio, self.input_image]
            .iter()
            .fold(self.input, |sum, class| sum.saturating_add(*class))
    }

    /// All output.
    pub fn output_tokens(&self) -> u64 {
        self.output.saturating_add(self.output_audio).saturating_add(self.output_image)
    }
}

/// Pico-USD a token, class by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Text input.
    pub input: u64,
    /// Read from a cache.
    pub cache_read: u64,
    /// Written to a 5-minute cache.
    pub cache_write_5m: u64,
    /// Written to a 1-hour cache.
    pub cache_write_1h: u64,
    /// Audio input; `None`: no price is known.
    pub input_audio: Option<u64>,
    /// Image input counted apart; `None`: as text.
    pub input_image: Option<u64>,
    /// Text output.
    pub output: u64,
    /// Audio output; `None`: no price is known.
    pub output_audio: Option<u64>,
    /// Image output; `None`: no price is known.
    pub output_image: Option<u64>,
}

impl Rates {
    /// What the usage costs, in pico-USD. A class without a price of its own is charged as the dearest text class of its direction.
    pub fn pico_usd(&self, usage: &Usage) -> u128 {
        let class = |tokens: u64, rate: u64| u128::from(tokens) * u128::from(rate);
        class(usage.input, self.input)
            + class(usage.cache_read, self.cache_read)
            + class(usage.cache_write_5m, self.cache_write_5m)
            + class(usage.cache_write_1h, self.cache_write_1h)
            + class(usage.input_audio, self.input_audio.unwrap_or(self.input))
            + class(usage.input_image, self.input_image.unwrap_or(self.input))
            + class(usage.output, self.output)
            + class(usage.output_audio, self.output_audio.unwrap_or(self.output))
            + class(usage.output_image, self.output_image.unwrap_or(self.output))
    }
}

/// The provider's service tiers that have prices of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The usual one.
    #[default]
    Standard,
    /// OpenAI's cheaper, slower one.
    Flex,
    /// The dearer, faster one.
    Priority,
    /// The batch API.
    Batch,
}

impl Tier {
    /// The provider's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Batch => "batch",
        }
    }
}

/// The rates of one service tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The usual rates.
    pub base: Rates,
    /// Rates of long contexts: `(more input tokens than this, rates of the whole call)`, ascending.
    pub long: Cow<'static, [(u64, Rates)]>,
}

impl Card {
    /// The rates for a call with so many input tokens.
    pub fn rates(&self, input_tokens: u64) -> &Rates {
        self.long.iter().rev().find(|(over, _)| input_tokens > *over).map_or(&self.base, |(_, rates)| rates)
    }

    /// Every set of rates on it.
    pub fn all(&self) -> impl Iterator<Item = &Rates> {
        std::iter::once(&self.base).chain(self.long.iter().map(|(_, rates)| rates))
    }
}

/// What is known of a model's price: one row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// The provider whose price it is.
    pub provider: Cow<'static, str>,
    /// The name in the table.
    pub model: Cow<'static, str>,
    /// The table: its version, or the file it came from.
    pub source: Cow<'static, str>,
    /// The usual tier.
    pub standard: Card,
    /// The others, where they have prices of their own.
    pub tiers: Cow<'static, [(Tier, Card)]>,
    /// The most output tokens of one answer; `None`: not known, so that a call without a limit has no worst case.
    pub max_output_tokens: Option<u64>,
    /// The most tokens of input and output together.
    pub context_window: Option<u64>,
    /// The most tokens that one picture in the request can cost.
    pub image_tokens: u64,
    /// Whether it may think unseen: then the bytes of a reply say nothing about its tokens.
    pub reasoning: bool,
}

impl Price {
    /// The rates of a tier; where it has none of its own, the usual ones.
    pub fn card(&self, tier: Tier) -> &Card {
        self.tiers.iter().find(|(own, _)| *own == tier).map_or(&self.standard, |(_, card)| card)
    }

    /// What the provider charges for this usage: the sum over its classes, rounded half up once.
    pub fn cost(&self, tier: Tier, usage: &Usage) -> NanoUsd {
        let pico_usd = self.card(tier).rates(usage.input_tokens()).pico_usd(usage);
        NanoUsd(u64::try_from((pico_usd + 500) / 1000).unwrap_or(u64::MAX))
    }
}

/// What a reply said about its own cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// The usage, as far as it was told.
    pub usage: Option<Usage>,
    /// Whether that is the whole of it: not only what a message's start tells.
    pub complete: bool,
    /// The tier the provider says it used.
    pub tier: Option<Tier>,
}

/// What a request may cost, as read off its body. Upper bounds, not estimates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// No more text tokens than this go in.
    pub input_tokens: u64,
    /// Pictures inside the request; each costs [`Price::image_tokens`] at most.
    pub images: u64,
    /// Whether it holds documents (PDF) whose bytes do not bound their tokens: then the context window does.
    pub documents: bool,
    /// Whether audio goes in.
    pub audio_input: bool,
    /// Whether audio is asked for.
    pub audio_output: bool,
    /// Whether it asks for a cache to be written.
    pub cache_write: bool,
    /// The name of the field that limits the output; `None` where the endpoint has no output (embeddings).
    pub output_field: Option<&'static str>,
    /// The limit the request itself gives.
    pub output_limit: Option<u64>,
    /// How many answers it asks for, at least 1.
    pub choices: u64,
    /// Tokens of thinking asked for; the output limit must stay above. 0: as many as the model likes.
    pub thinking_budget: Option<u64>,
    /// The dearest tier the request could be served by.
    pub tiers: Tiers,
    /// What makes the worst case unbounded, in words that name the field.
    pub unbounded: Option<String>,
    /// Whether it continues a conversation that the provider keeps for a while (`thread`), which its client could send whole instead.
    pub continues_thread: bool,
}

/// Which tiers a request could be served by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tiers {
    /// This one, or the usual one where the provider falls back.
    Only(Tier),
    /// Whatever the provider's settings say.
    #[default]
    Any,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars() {
        for (usd, nano) in [
            (0.0, Some(0)),
            (-0.0, Some(0)),
            (10.0, Some(10 * NANO)),
            (1e-9, Some(1)),
            (0.1, Some(100_000_000)),
            (-0.01, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (2e9, None),
        ] {
            assert_eq!(NanoUsd::from_usd(usd).map(|amount| amount.0), nano, "{usd}");
        }
    }

    #[test]
    fn shown_exactly() {
        for (nano, text) in
            [(0, "$0.00"), (1, "$0.000000001"), (1_500_000_000, "$1.50"), (12_345_678, "$0.012345678"), (10 * NANO, "$10.00")]
        {
            assert_eq!(NanoUsd(nano).to_string(), text);
        }
    }

    fn price() -> Price {
        let rates = |input, output| Rates { input, cache_read: input / 10, output, ..Rates::default() };
        Price {
            provider: "openai".into(),
            model: "m".into(),
            source: "test".into(),
            standard: Card { base: rates(150_000, 600_000), long: vec![(100, rates(300_000, 900_000))].into() },
            tiers: vec![(Tier::Flex, Card { base: rates(75_000, 300_000), long: Cow::Borrowed(&[]) })].into(),
            max_output_tokens: None,
            context_window: None,
            image_tokens: 0,
            reasoning: false,
        }
    }

    #[test]
    fn costs_round_half_up_once() {
        let usage = |input, output| Usage { input, output, ..Usage::default() };
        for (tier, usage, nano) in [
            (Tier::Standard, usage(8, 20), 13_200),
            (Tier::Standard, usage(100, 0), 15_000),
            (Tier::Standard, usage(101, 0), 30_300),
            (Tier::Flex, usage(1, 0), 75),
            (Tier::Priority, usage(1, 0), 150),
            (Tier::Standard, Usage { cache_read: 1, ..Usage::default() }, 15),
            (Tier::Standard, usage(u64::MAX, u64::MAX), u64::MAX),
        ] {
            assert_eq!(price().cost(tier, &usage), NanoUsd(nano), "{tier:?} {usage:?}");
        }
        let half = Price { standard: Card { base: Rates { input: 500, ..Rates::default() }, long: Cow::Borrowed(&[]) }, ..price() };
        assert_eq!(half.cost(Tier::Standard, &usage(1, 0)), NanoUsd(1));
    }
}
