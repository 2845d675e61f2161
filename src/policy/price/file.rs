//! The user's own prices: JSON, read strictly. A mistyped field must not leave a model cheaper than its user thinks.
//!
//! ```json
//! {"models": {"llama-3.3-70b": {"provider": "ollama", "input": 0, "output": 0, "max_output_tokens": 8192}}}
//! ```
//!
//! Prices are USD a million tokens. They are taken from the text of the file, digit by digit.

use super::decimal::pico_usd;
use super::rates::{CLASSES, Given};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The fields that are no rates.
const FURTHER: [&str; 3] = ["provider", "max_output_tokens", "context_window"];

/// One model of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) model: String,
    /// `None`: the price holds at every upstream.
    pub(super) provider: Option<String>,
    pub(super) rates: Given,
    pub(super) max_output_tokens: Option<u64>,
    pub(super) context_window: Option<u64>,
}

/// The models of a file.
///
/// # Errors
/// What is wrong with it: model, field, and place in the text.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let entries = (&mut json).deserialize_map(Whole).and_then(|entries| json.end().map(|()| entries));
    entries.map_err(|error| error.to_string())
}

/// The whole file.
struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object {\"models\": {…}}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != "models" {
                return Err(A::Error::custom(unknown("field", &key, &["models"])));
            }
            if entries.replace(map.next_value_seed(Models)?).is_some() {
                return Err(A::Error::custom("models is there twice"));
            }
        }
        entries.ok_or_else(|| A::Error::custom("models is missing"))
    }
}

/// The object of models.
struct Models;

impl<'de> DeserializeSeed<'de> for Models {
    type Value = Vec<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Models {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("models: an object of models by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<Entry> = Vec::new();
        while let Some(model) = map.next_key::<String>()? {
            if model.is_empty() || entries.iter().any(|entry| entry.model == model) {
                return Err(A::Error::custom(format_args!("model \"{model}\" is there twice, or has no name")));
            }
            entries.push(map.next_value_seed(Model(model))?);
        }
        Ok(entries)
    }
}

/// The object of one model.
struct Model(String);

impl<'de> DeserializeSeed<'de> for Model {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Model {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model \"{}\": an object of its prices", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entry = Entry { model: self.0, ..Entry::default() };
        let mut seen: Vec<String> = Vec::new();
        while let Some(field) = map.next_key::<String>()? {
            let wrong = |why: &dyn fmt::Display| A::Error::custom(format_args!("model \"{}\": {field} {why}", entry.model));
            if seen.contains(&field) {
                return Err(wrong(&"is there twice"));
            }
            // What is no JSON at all (`NaN`) fails here, while it is known where.
            let value = map.next_value::<&RawValue>().map_err(|error| wrong(&format_args!("has no JSON value: {error}")))?;
            let set = entry.set(&field, value.get());
            set.map_err(|why| A::Error::custom(format_args!("model \"{}\": {why}", entry.model)))?;
            seen.push(field);
        }
        match ["input", "output"].into_iter().find(|field| !seen.iter().any(|seen| seen == field)) {
            Some(field) => Err(A::Error::custom(format_args!("model \"{}\": {field} is missing", entry.model))),
            None => Ok(entry),
        }
    }
}

impl Entry {
    /// Sets a field from the text of its value.
    fn set(&mut self, field: &str, value: &str) -> Result<(), String> {
        if let Some(class) = CLASSES.iter().position(|class| *class == field) {
            let wrong = |why: &str| match value.starts_with('"') {
                true => format!("{field} is a string, {value}: a number is due, USD a million tokens"),
                false => format!("{field} {why}: {value}"),
            };
            self.rates[class] = Some(pico_usd(value).map_err(wrong)?);
            return Ok(());
        }
        let tokens = || {
            let tokens = value.parse().ok().filter(|tokens| (1..=u64::from(u32::MAX)).contains(tokens));
            tokens.map(Some).ok_or_else(|| format!("{field} is no whole number of tokens above 0: {value}"))
        };
        match field {
            "provider" => self.provider = Some(name(value).ok_or_else(|| format!("provider is no name: {value}"))?),
            "max_output_tokens" => self.max_output_tokens = tokens()?,
            "context_window" => self.context_window = tokens()?,
            _ => return Err(unknown("field", field, &[&CLASSES[..], &FURTHER[..]].concat())),
        }
        Ok(())
    }
}

/// A string that is not empty.
fn name(json: &str) -> Option<String> {
    serde_json::from_str::<String>(json).ok().filter(|name| !name.is_empty())
}

/// What is said of a name that is not among the known ones: the nearest of them, or all.
fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let nearest = known.iter().min_by_key(|known| distance(name, known)).filter(|known| distance(name, known) <= known.len() / 2);
    match nearest {
        Some(nearest) => format!("unknown {what} \"{name}\": did you mean \"{nearest}\"?"),
        None => format!("unknown {what} \"{name}\": known are {}", known.join(", ")),
    }
}

/// Insertions, deletions and substitutions that lead from one name to the other.
fn distance(from: &str, to: &str) -> usize {
    // Longer names are near nothing, and must not cost time.
    if from.len() > 64 {
        return usize::MAX;
    }
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.bytes().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.bytes().enumerate() {
            row.push((last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1));
        }
        last = row;
    }
    last.pop().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_read() {
        let text = r#"{"models": {"a/b": {"provider": "groq", "input": 0.05, "output": 0.08, "cache_read": 5e-3, "cache_write_5m": 1,
            "cache_write_1h": 2, "input_audio": 3, "output_audio": 4, "max_output_tokens": 100, "context_window": 200},
            "free": {"input": 0, "output": 0.0}}}"#;
        let entries = parse(text).expect("it is well-formed");
        let million = |usd: u64| Some(usd * 1_000_000);
        let rates = [Some(50_000), Some(5_000), million(1), million(2), Some(80_000), million(3), million(4), None, None];
        let first =
            Entry { model: "a/b".into(), provider: Some("groq".into()), rates, max_output_tokens: Some(100), context_window: Some(200) };
        assert_eq!(entries[0], first);
        assert_eq!((entries[1].provider.as_ref(), entries[1].rates[0], entries[1].rates[4]), (None, Some(0), Some(0)));
        assert_eq!(parse(r#"{"models": {}}"#), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let model = |fields: &str| format!(r#"{{"models": {{"m": {{{fields}}}}}}}"#);
        for (text, words) in [
            (model(r#""input": -1, "output": 1"#), &["\"m\"", "input is negative"][..]),
            (model(r#""input": NaN, "output": 1"#), &["\"m\"", "input has no JSON value", "line 1"]),
            (model(r#""input": "0.15", "output": 1"#), &["\"m\"", "input is a string"]),
            (model(r#""input": null, "output": 1"#), &["\"m\"", "input is no number: null"]),
            (model(r#""input": 1e400, "output": 1"#), &["\"m\"", "input is more than"]),
            (model(r#""input": 1, "output": 0.0000001"#), &["\"m\"", "output is finer than", "pico-USD", "0.0000001"]),
            (model(r#""input": 1"#), &["\"m\"", "output is missing"]),
            (model(r#""output": 1"#), &["\"m\"", "input is missing"]),
            (model(r#""imput": 1, "output": 1"#), &["\"m\"", "\"imput\"", "did you mean \"input\""]),
            (model(r#""cache_write_5min": 1"#), &["\"m\"", "did you mean \"cache_write_5m\""]),
            (model(r#""zzzzzzzzzz": 1"#), &["\"m\"", "known are input, cache_read"]),
            (model(r#""input": 1, "input": 2, "output": 1"#), &["\"m\"", "input is there twice"]),
            (model(r#""max_output_tokens": 0"#), &["\"m\"", "max_output_tokens is no whole number"]),
            (model(r#""context_window": 1.5"#), &["\"m\"", "context_window is no whole number"]),
            (model(r#""provider": 3"#), &["\"m\"", "provider is no name"]),
            (model(r#""provider": """#), &["\"m\"", "provider is no name"]),
            (r#"{"models": {"m": 1}}"#.into(), &["model \"m\": an object"]),
            (r#"{"models": []}"#.into(), &["an object of models"]),
            (r#"{"models": {"m": {"input": 1, "output": 1}, "m": {"input": 1, "output": 1}}}"#.into(), &["\"m\" is there twice"]),
            (r#"{"model": {}}"#.into(), &["did you mean \"models\""]),
            (r#"{"models": {}, "models": {}}"#.into(), &["twice"]),
            ("{}".into(), &["models is missing"]),
            ("[]".into(), &["an object"]),
            ("{\"models\": {}} x".into(), &["line 1"]),
            (String::new(), &["EOF"]),
        ] {
            let error = parse(&text).expect_err(&text);
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
    }
}
