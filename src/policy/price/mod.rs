//! The price table: which row a model's name finds, and why.
//!
//! Rows come from the table compiled in (`bundled`) and from files of the user's, which go first. A name is taken as providers take it
//! (`names`), and never guessed: what is not found has no price.

mod bundled;
mod decimal;
mod family;
mod file;
mod names;
mod rates;

pub(super) use family::searches;

use crate::call::Protocol;
use crate::error::Error;
use crate::money::{Card, Price};
use names::{Form, forms};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Stands for the provider of a price that holds at every upstream.
const ANY: &str = "any";

/// Other names of the table's providers, as upstreams or as prefixes of models.
const PROVIDER_NAMES: [(&str, &str); 14] = [
    ("xai", "x-ai"),
    ("grok", "x-ai"),
    ("gemini", "google"),
    ("vertex_ai", "google"),
    ("together_ai", "together"),
    ("together-ai", "together"),
    ("togetherai", "together"),
    ("fireworks_ai", "fireworks"),
    ("fireworks-ai", "fireworks"),
    ("moonshot", "moonshotai"),
    ("mistralai", "mistral"),
    ("meta_llama", "meta"),
    ("voyage", "voyageai"),
    ("z-ai", "zai"),
];

/// Every price that is known: the bundled table, and what files of the user's override or add.
///
/// ```
/// use iron_runtime::{Protocol, policy::Prices};
/// let prices = Prices::bundled();
/// let found = prices.explain("openai", Protocol::OpenAi, "gpt-4o-mini-2024-07-18").expect("a known model");
/// assert_eq!((found.price.standard.base.input, found.rule), (150_000, "another name of the model"));
/// assert!(prices.find("openai", Protocol::OpenAi, "gpt-4o-super-new").is_none());
/// ```
pub struct Prices {
    /// The bundled rows, each made when it is first asked for.
    rows: Box<[OnceLock<Arc<Price>>]>,
    /// The rows of files, by model.
    own: HashMap<String, Arc<Price>>,
    version: String,
}

/// A price, and how it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The row.
    pub price: Arc<Price>,
    /// The rule by which the name led to it, in words.
    pub rule: &'static str,
}

/// Where prices are looked for.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The provider whose rows go first.
    provider: &'a str,
    /// Where else: an upstream that is neither of the two providers also takes any row of the user's, and then its protocol's prices.
    other: Option<Protocol>,
}

impl Prices {
    /// The table compiled in.
    pub fn bundled() -> Self {
        Self { rows: (0..bundled::len()).map(|_| OnceLock::new()).collect(), own: HashMap::new(), version: bundled::VERSION.into() }
    }

    /// The same with the prices of a file, which go before all others; `name` stands for it in errors, in the version and as the prices'
    /// source. A row that names no provider holds at every upstream; one that names a bundled model takes over limits that it does not give.
    ///
    /// ```
    /// # use iron_runtime::{Protocol, policy::Prices};
    /// let text = r#"{"models": {"llama-3.3-70b": {"input": 0, "output": 0, "max_output_tokens": 8192}}}"#;
    /// let prices = Prices::bundled().with_file(text, "prices.json")?;
    /// assert!(prices.find("ollama", Protocol::OpenAi, "llama-3.3-70b").is_some());
    /// # Ok::<(), iron_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`]: not of the form that README tells, a price that is negative or finer than a pico-USD a token, an unknown field.
    pub fn with_file(mut self, text: &str, name: &str) -> Result<Self, Error> {
        let entries = file::parse(text).map_err(|why| Error::Config(format!("{name}: {why}")))?;
        for entry in entries {
            let price = price_of(&entry, name);
            self.own.insert(entry.model, Arc::new(price));
        }
        self.version = format!("{}+{name}", self.version);
        Ok(self)
    }

    /// The price of `model` at the upstream of this name, which speaks `protocol`; `None`: not known.
    pub fn find(&self, upstream: &str, protocol: Protocol, model: &str) -> Option<Arc<Price>> {
        self.explain(upstream, protocol, model).map(|found| found.price)
    }

    /// The same, with the rule by which it was found.
    pub fn explain(&self, upstream: &str, protocol: Protocol, model: &str) -> Option<Found> {
        let provider = canonical(upstream);
        let place = Place { provider, other: (!["openai", "anthropic"].contains(&provider)).then_some(protocol) };
        self.search(place, model, &OWN).or_else(|| {
            let (prefix, rest) = model.split_once('/')?;
            let provider = canonical(prefix);
            self.knows(provider).then(|| self.search(Place { provider, other: None }, rest, &PREFIXED))?
        })
    }

    /// The tables this was made of: date and version of the bundled one, then the files.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Every price, by provider, then by model.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Price>> {
        self.sorted(|_| true)
    }

    /// Those whose provider and model (`openai/gpt-4o`), or another name of the model, hold this text in any case; in the same order.
    pub fn matching(&self, text: &str) -> impl Iterator<Item = &Arc<Price>> {
        let text = text.to_ascii_lowercase();
        self.sorted(move |name| name.to_ascii_lowercase().contains(&text))
    }

    /// The prices any of whose names is wanted.
    fn sorted(&self, wanted: impl Fn(&str) -> bool) -> std::vec::IntoIter<&Arc<Price>> {
        let full = |provider: &str, model: &str| format!("{provider}/{model}");
        let rows = (0..self.rows.len()).filter(|row| {
            let provider = bundled::provider(*row);
            self.override_of(*row).is_none() && bundled::names(*row).any(|name| wanted(&full(provider, name)))
        });
        let own = self.own.values().filter(|price| wanted(&full(&price.provider, &price.model)));
        let mut found: Vec<_> = rows.map(|row| self.bundled_row(row)).chain(own).collect();
        found.sort_by(|a, b| (&a.provider, &a.model).cmp(&(&b.provider, &b.model)));
        found.into_iter()
    }

    /// The first of a name's forms that is known at the place, explained in the place's words.
    fn search(&self, place: Place<'_>, model: &str, words: &Words) -> Option<Found> {
        forms(model).find_map(|(form, name)| {
            let (price, fallback) = self.at(place, &name)?;
            let other_name = form == Form::Exact && price.model != name;
            let words = if fallback { &FALLBACK } else { words };
            Some(Found { price: Arc::clone(price), rule: if other_name { words[Form::ALIAS] } else { words[form as usize] } })
        })
    }

    /// The price of exactly this name, and whether it is the protocol's provider's.
    fn at(&self, place: Place<'_>, name: &str) -> Option<(&Arc<Price>, bool)> {
        let own = if self.own.is_empty() { None } else { self.own.get(name) };
        if let Some(price) = own.filter(|price| price.provider == ANY || canonical(&price.provider) == place.provider) {
            return Some((price, false));
        }
        let in_table = |provider: &str| bundled::lookup(provider, name).map(|row| self.row(row));
        let here = in_table(place.provider).or(own.filter(|_| place.other.is_some()));
        here.map(|price| (price, false)).or_else(|| in_table(place.other?.as_str()).map(|price| (price, true)))
    }

    /// A bundled row, or what stands in its place.
    fn row(&self, row: usize) -> &Arc<Price> {
        self.override_of(row).unwrap_or_else(|| self.bundled_row(row))
    }

    fn bundled_row(&self, row: usize) -> &Arc<Price> {
        self.rows[row].get_or_init(|| Arc::new(bundled::price(row)))
    }

    /// The user's price for the model of a bundled row, by whichever of its names that was found.
    fn override_of(&self, row: usize) -> Option<&Arc<Price>> {
        if self.own.is_empty() {
            return None;
        }
        let price = self.own.get(bundled::model(row))?;
        (price.provider == ANY || canonical(&price.provider) == bundled::provider(row)).then_some(price)
    }

    fn knows(&self, provider: &str) -> bool {
        bundled::knows(provider) || self.own.values().any(|price| canonical(&price.provider) == provider)
    }
}

impl fmt::Debug for Prices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prices").field("version", &self.version).field("own", &self.own.len()).finish_non_exhaustive()
    }
}

/// The table's name of a provider.
fn canonical(provider: &str) -> &str {
    PROVIDER_NAMES.iter().find(|(other, _)| *other == provider).map_or(provider, |(_, name)| name)
}

/// The price that an entry of a file stands for.
fn price_of(entry: &file::Entry, source: &str) -> Price {
    let provider = entry.provider.as_deref().map(canonical);
    let makers: &[&str] = &[provider.unwrap_or("openai"), provider.unwrap_or("anthropic")];
    let known = makers.iter().find_map(|maker| bundled::lookup(maker, &entry.model)).map(bundled::price);
    // Without a provider it may be used at Anthropic's, whose caches cost the most to write.
    let maker = provider.unwrap_or(if entry.model.starts_with("claude") { "anthropic" } else { ANY });
    Price {
        provider: entry.provider.clone().map_or(Cow::Borrowed(ANY), Cow::Owned),
        model: entry.model.clone().into(),
        source: source.to_owned().into(),
        standard: Card { base: rates::complete(maker, &entry.rates), long: Cow::Borrowed(&[]) },
        tiers: Cow::Borrowed(&[]),
        max_output_tokens: entry.max_output_tokens.or(known.as_ref().and_then(|price| price.max_output_tokens)),
        context_window: entry.context_window.or(known.as_ref().and_then(|price| price.context_window)),
        image_tokens: family::image_tokens(maker, &entry.model),
        reasoning: family::reasons(&entry.model),
    }
}

/// How rules are called, in the order of [`Form`], and last another name of the model.
type Words = [&'static str; Form::ALIAS + 1];

impl Form {
    const ALIAS: usize = Self::Undated as usize + 1;
}

/// At the upstream's own provider, or in the user's file.
const OWN: Words = ["exact name", "name in lower case", "fine-tune", "-latest dropped", "date dropped", "another name of the model"];

/// By a `provider/` prefix.
const PREFIXED: Words = [
    "provider prefix",
    "provider prefix, name in lower case",
    "provider prefix, fine-tune",
    "provider prefix, -latest dropped",
    "provider prefix, date dropped",
    "provider prefix, another name of the model",
];

/// At the provider whose protocol an upstream speaks.
const FALLBACK: Words = [
    "price of the protocol's provider",
    "price of the protocol's provider, name in lower case",
    "price of the protocol's provider, fine-tune",
    "price of the protocol's provider, -latest dropped",
    "price of the protocol's provider, date dropped",
    "price of the protocol's provider, another name of the model",
];

#[cfg(test)]
mod tests;
