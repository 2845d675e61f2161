//! From the text of a usage object to tokens in disjoint classes: [`Counts`].
//!
//! Providers count differently, and compatible servers differ from them. What is read here never makes a call cheaper than its figures
//! allow; see [`Counts::usage`]. A figure that is no number from 0 to 2⁵³ counts as not told, and so does a usage without a token.

use crate::call::Endpoint;
use crate::money::{Tier, Usage};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The largest count that is believed: what every JSON reader holds exactly.
const LARGEST: u64 = 1 << 53;

/// How a provider counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// The input includes what the cache knew.
    Whole,
    /// The same; there is no output.
    Embeddings,
    /// Cached input is counted beside the input.
    Apart,
}

impl Counting {
    pub(super) fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Messages | Endpoint::CountTokens => Self::Apart,
            Endpoint::Embeddings => Self::Embeddings,
            _ => Self::Whole,
        }
    }
}

/// The figures of a usage object, as told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    prompt: Option<u64>,
    input: Option<u64>,
    completion: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cache_hit: Option<u64>,
    cache_read: Option<u64>,
    cache_written: Option<u64>,
    written_5m: Option<u64>,
    written_1h: Option<u64>,
    prompt_parts: Parts,
    input_parts: Parts,
    completion_parts: Parts,
    output_parts: Parts,
    /// The service tier told last.
    pub(super) tier: Option<Tier>,
}

/// What a count is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Parts {
    cached: Option<u64>,
    written: Option<u64>,
    audio: Option<u64>,
    image: Option<u64>,
    reasoning: Option<u64>,
}

/// An object whose members are of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Usage,
    Prompt,
    Input,
    Completion,
    Output,
    Written,
}

/// Where a value goes.
enum Place<'c> {
    Group(Group, &'c mut Counts),
    Count(&'c mut Option<u64>),
    Tier(&'c mut Option<Tier>),
    Nowhere,
}

impl Counts {
    /// These figures, overridden by those of a usage object; `None` where there is no object, or it can't be read.
    pub(super) fn and(mut self, usage: &[u8]) -> Option<Self> {
        if usage.first() != Some(&b'{') {
            return None;
        }
        let mut json = serde_json::Deserializer::from_slice(usage);
        Place::Group(Group::Usage, &mut self).deserialize(&mut json).ok()?;
        Some(self)
    }

    /// Nothing but the tier.
    pub(super) fn only_tier(&self) -> Self {
        Self { tier: self.tier, ..Self::default() }
    }

    /// The tokens in disjoint classes; `None` where there are none.
    ///
    /// Counted as a whole (OpenAI), the input is made of: audio and cache writes; what was read from the cache, pictures included; other
    /// pictures; and the rest, which is text. Where the parts do not fit into the whole, the discount for cached input is not believed,
    /// so that no input is charged less than text, unless more was cached than there was input: then it is taken as counted beside it.
    /// The output is at least what the total leaves for it, because some servers count reasoning only there, and at least the reasoning.
    pub(super) fn usage(&self, counting: Counting) -> Option<Usage> {
        let usage = match counting {
            Counting::Apart => self.apart(),
            Counting::Whole | Counting::Embeddings => self.whole(counting),
        };
        (usage.input_tokens() > 0 || usage.output_tokens() > 0).then_some(usage)
    }

    fn apart(&self) -> Usage {
        let (short, long) = (or_none(self.written_5m), or_none(self.written_1h));
        // What is not broken down was written for the usual time.
        let unsaid = or_none(self.cache_written).saturating_sub(short.saturating_add(long));
        let output = or_none(self.output);
        Usage {
            input: or_none(self.input),
            cache_read: or_none(self.cache_read),
            cache_write_5m: short.saturating_add(unsaid),
            cache_write_1h: long,
            output,
            reasoning: or_none(self.output_parts.reasoning).min(output),
            ..Usage::default()
        }
    }

    fn whole(&self, counting: Counting) -> Usage {
        let (prompt, completion) = self.whole_counts(counting);
        let mut usage = Usage::default();
        self.split_input(prompt, &mut usage);
        let part = |of: fn(&Parts) -> Option<u64>| most(of(&self.completion_parts), of(&self.output_parts));
        let reasoning = part(|parts| parts.reasoning);
        let completion = completion.max(reasoning);
        usage.output_audio = part(|parts| parts.audio);
        usage.output_image = part(|parts| parts.image);
        usage.output = completion.saturating_sub(usage.output_audio).saturating_sub(usage.output_image);
        usage.reasoning = reasoning.min(usage.output);
        usage
    }

    /// All input and all output.
    fn whole_counts(&self, counting: Counting) -> (u64, u64) {
        let (prompt, completion) = (self.prompt.max(self.input), self.completion.max(self.output));
        let Some(total) = self.total else { return (or_none(prompt), or_none(completion)) };
        match (prompt, completion) {
            (prompt, completion) if counting == Counting::Embeddings => {
                (or_none(prompt).max(total.saturating_sub(or_none(completion))), or_none(completion))
            }
            (None, Some(completion)) => (total.saturating_sub(completion), completion),
            (prompt, completion) => (or_none(prompt), or_none(completion).max(total.saturating_sub(or_none(prompt)))),
        }
    }

    fn split_input(&self, prompt: u64, usage: &mut Usage) {
        let part = |of: fn(&Parts) -> Option<u64>| most(of(&self.prompt_parts), of(&self.input_parts));
        usage.input_audio = part(|parts| parts.audio);
        usage.cache_write_5m = part(|parts| parts.written);
        let mut rest = prompt.saturating_sub(usage.input_audio).saturating_sub(usage.cache_write_5m);
        let cached = part(|parts| parts.cached).max(or_none(self.cache_hit));
        if cached <= rest {
            rest -= cached;
            usage.cache_read = cached;
        } else if cached > prompt {
            usage.cache_read = cached;
        }
        usage.input_image = part(|parts| parts.image).min(rest);
        usage.input = rest - usage.input_image;
    }

    fn place(&mut self, group: Group, key: &str) -> Place<'_> {
        match group {
            Group::Usage => self.outer_place(key),
            Group::Prompt => self.prompt_parts.place(key),
            Group::Input => self.input_parts.place(key),
            Group::Completion => self.completion_parts.place(key),
            Group::Output => self.output_parts.place(key),
            Group::Written => match key {
                "ephemeral_5m_input_tokens" => Place::Count(&mut self.written_5m),
                "ephemeral_1h_input_tokens" => Place::Count(&mut self.written_1h),
                _ => Place::Nowhere,
            },
        }
    }

    fn outer_place(&mut self, key: &str) -> Place<'_> {
        match key {
            "prompt_tokens" => Place::Count(&mut self.prompt),
            "input_tokens" => Place::Count(&mut self.input),
            "completion_tokens" => Place::Count(&mut self.completion),
            "output_tokens" => Place::Count(&mut self.output),
            "total_tokens" => Place::Count(&mut self.total),
            "prompt_cache_hit_tokens" => Place::Count(&mut self.cache_hit),
            "cache_read_input_tokens" => Place::Count(&mut self.cache_read),
            "cache_creation_input_tokens" => Place::Count(&mut self.cache_written),
            "service_tier" => Place::Tier(&mut self.tier),
            "prompt_tokens_details" => Place::Group(Group::Prompt, self),
            "input_tokens_details" => Place::Group(Group::Input, self),
            "completion_tokens_details" => Place::Group(Group::Completion, self),
            "output_tokens_details" => Place::Group(Group::Output, self),
            "cache_creation" => Place::Group(Group::Written, self),
            _ => Place::Nowhere,
        }
    }
}

impl Parts {
    fn place(&mut self, key: &str) -> Place<'_> {
        match key {
            "cached_tokens" => Place::Count(&mut self.cached),
            "cache_write_tokens" => Place::Count(&mut self.written),
            "audio_tokens" => Place::Count(&mut self.audio),
            "image_tokens" => Place::Count(&mut self.image),
            "reasoning_tokens" | "thinking_tokens" => Place::Count(&mut self.reasoning),
            _ => Place::Nowhere,
        }
    }
}

/// The tier a provider's word stands for; `None` for words without a price of their own.
pub(super) fn tier(word: &[u8]) -> Option<Tier> {
    match word {
        b"default" | b"standard" | b"scale" => Some(Tier::Standard),
        b"flex" => Some(Tier::Flex),
        b"priority" => Some(Tier::Priority),
        b"batch" => Some(Tier::Batch),
        _ => None,
    }
}

fn or_none(count: Option<u64>) -> u64 {
    count.unwrap_or(0)
}

/// One count under two names: servers that give both leave one of them 0.
fn most(one: Option<u64>, other: Option<u64>) -> u64 {
    or_none(one.max(other))
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

/// Takes what fits the place, and passes over anything else.
impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_u64<E>(self, count: u64) -> Result<(), E> {
        if let (Self::Count(place), true) = (self, count <= LARGEST) {
            *place = Some(count);
        }
        Ok(())
    }

    /// Some servers write `12.0`.
    fn visit_f64<E>(self, count: f64) -> Result<(), E> {
        if let (Self::Count(place), true) = (self, (0.0..=LARGEST as f64).contains(&count)) {
            *place = Some(count.ceil() as u64);
        }
        Ok(())
    }

    fn visit_str<E>(self, word: &str) -> Result<(), E> {
        if let Self::Tier(place) = self {
            *place = tier(word.as_bytes()).or(*place);
        }
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self::Group(group, counts) = self else {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        while let Some(place) = members.next_key_seed(KeyOf(group, &mut *counts))? {
            members.next_value_seed(place)?;
        }
        Ok(())
    }
}

/// A key, read as the place of its value.
struct KeyOf<'c>(Group, &'c mut Counts);

impl<'de, 'c> DeserializeSeed<'de> for KeyOf<'c> {
    type Value = Place<'c>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Place<'c>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'c> Visitor<'_> for KeyOf<'c> {
    type Value = Place<'c>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Place<'c>, E> {
        Ok(self.1.place(self.0, key))
    }
}
