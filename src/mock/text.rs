//! What the mock says and how it counts: the words of a reply, where they end, and tokens.
//!
//! Pure functions. There is no model here: the text is always the same sentence, repeated as often as the number of events asks for.

use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One sentence of eight words, the default number of events.
const SENTENCE: [&str; 8] = ["Hello!", "This", "is", "the", "mock", "provider", "of", "iron_runtime."];

/// Characters of a token.
const CHARS_PER_TOKEN: u64 = 4;

/// What binary input (an image, a file) counts for, in characters: 85 tokens.
const BINARY_CHARS: u64 = 85 * CHARS_PER_TOKEN;

/// The longest piece of a text without spaces in one event.
const MAX_PIECE_CHARS: usize = 16;

/// Tokens of a number of characters: a quarter, rounded up.
pub(super) fn tokens(chars: u64) -> u64 {
    chars.div_ceil(CHARS_PER_TOKEN)
}

/// Tokens of a text.
pub(super) fn tokens_of(text: &str) -> u64 {
    tokens(text.chars().count() as u64)
}

/// `words` words.
pub(super) fn sentence(words: usize) -> String {
    let mut text = String::with_capacity(words * 7);
    for (index, word) in SENTENCE.iter().cycle().take(words).enumerate() {
        if index > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// Why a reply ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It was said to the end.
    Stop,
    /// The output limit was reached.
    Length,
    /// A stop sequence would have come next.
    StopSequence(String),
    /// It calls tools.
    ToolCalls,
}

/// Cuts `text` at the output limit or before the first stop sequence, whichever comes first.
pub(super) fn cut(mut text: String, stops: &[String], limit_tokens: Option<u64>) -> (String, Finish) {
    let mut finish = Finish::Stop;
    if let Some(limit) = limit_tokens {
        let chars = usize::try_from(limit.saturating_mul(CHARS_PER_TOKEN)).unwrap_or(usize::MAX);
        if let Some((end, _)) = text.char_indices().nth(chars) {
            text.truncate(end);
            finish = Finish::Length;
        }
    }
    let hit = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| Some((text.find(stop.as_str())?, stop))).min();
    if let Some((at, stop)) = hit {
        finish = Finish::StopSequence(stop.clone());
        text.truncate(at);
    }
    (text, finish)
}

/// The pieces in which a text is streamed: each begins at a space and is at most 16 characters long.
pub(super) struct Pieces {
    text: String,
    at: usize,
}

impl Pieces {
    /// The pieces of `text`; together they are `text` again.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), at: 0 }
    }

    /// Length in bytes of the piece at the start of `rest`.
    fn length(rest: &str) -> usize {
        rest.char_indices()
            .enumerate()
            .find(|(nth, (at, c))| (*c == ' ' && *at > 0) || *nth == MAX_PIECE_CHARS)
            .map_or(rest.len(), |(_, (at, _))| at)
    }

    /// How many pieces `text` has.
    pub(super) fn count_of(text: &str) -> usize {
        let mut rest = text;
        let mut count = 0;
        while !rest.is_empty() {
            rest = &rest[Self::length(rest)..];
            count += 1;
        }
        count
    }
}

impl Iterator for Pieces {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let piece = rest[..Self::length(rest)].to_owned();
        self.at += piece.len();
        Some(piece)
    }
}

/// Where the part of a prompt ends that the caller wants cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CacheMark {
    /// Characters up to here.
    pub(super) chars: u64,
    /// A digest of the text up to here: equal prompts have equal ones.
    pub(super) digest: u64,
    /// Whether it is to be kept for an hour instead of five minutes.
    pub(super) one_hour: bool,
}

/// Counts the characters of a prompt: every string value but types, roles and ids; binary data by a flat sum.
#[derive(Default)]
pub(super) struct Counter {
    chars: u64,
    hasher: DefaultHasher,
    mark: Option<CacheMark>,
}

impl Counter {
    /// Adds a value: messages, a system prompt, tools. Absent (null) counts nothing.
    pub(super) fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add_text(text),
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(fields) => {
                for (name, field) in fields {
                    match name.as_str() {
                        "type" | "role" | "id" | "tool_call_id" | "tool_use_id" | "call_id" | "cache_control" | "signature" => {}
                        "data" | "file_data" if field.is_string() => self.chars += BINARY_CHARS,
                        _ => self.add(field),
                    }
                }
                self.set_mark(fields.get("cache_control"));
            }
            _ => {}
        }
    }

    fn add_text(&mut self, text: &str) {
        text.hash(&mut self.hasher);
        self.chars += if text.starts_with("data:") { BINARY_CHARS } else { text.chars().count() as u64 };
    }

    /// Everything so far is to be cached, if `control` says so.
    pub(super) fn set_mark(&mut self, control: Option<&Value>) {
        if let Some(control) = control.filter(|control| control.is_object()) {
            let one_hour = control["ttl"] == "1h";
            self.mark = Some(CacheMark { chars: self.chars, digest: self.hasher.finish(), one_hour });
        }
    }

    /// The tokens counted; a prompt is at least one.
    pub(super) fn tokens(&self) -> u64 {
        tokens(self.chars).max(1)
    }

    /// The last cache mark.
    pub(super) fn mark(&self) -> Option<CacheMark> {
        self.mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn four_characters_are_a_token() {
        for (text, count) in [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("žluťoučký", 3)] {
            assert_eq!(tokens_of(text), count, "{text}");
        }
    }

    #[test]
    fn a_reply_ends_at_limit_or_stop() {
        let text = || sentence(8);
        let table = [
            (vec![], None, text(), Finish::Stop),
            (vec![], Some(1000), text(), Finish::Stop),
            (vec![], Some(2), "Hello! T".into(), Finish::Length),
            (vec![" mock", " is"], None, "Hello! This".into(), Finish::StopSequence(" is".into())),
            (vec![" mock"], Some(2), "Hello! T".into(), Finish::Length),
            (vec![""], None, text(), Finish::Stop),
            (vec![], Some(0), String::new(), Finish::Length),
        ];
        for (stops, limit, said, finish) in table {
            let stops: Vec<String> = stops.into_iter().map(String::from).collect();
            assert_eq!(cut(text(), &stops, limit), (said, finish), "{stops:?} {limit:?}");
        }
    }

    #[test]
    fn pieces_join_to_the_text() {
        for text in ["", " ", "one", " two  words", "{\"a\":\"0123456789abcdefghijklmnopq\"}", "ěščřžýáíé ěščřžýáíéúůťďňěščřžýáíé"]
        {
            let pieces: Vec<String> = Pieces::new(text).collect();
            assert_eq!(pieces.concat(), text);
            assert_eq!(pieces.len(), Pieces::count_of(text));
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.chars().count() <= MAX_PIECE_CHARS), "{pieces:?}");
        }
        assert_eq!(Pieces::new(sentence(100)).count(), 100);
    }

    #[test]
    fn prompts_are_counted_by_their_text() {
        let mut counter = Counter::default();
        counter.add(&json!([{"role": "user", "content": "12345678"}]));
        assert_eq!(counter.tokens(), 2);
        counter.add(&json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]));
        assert_eq!(counter.tokens(), 87);
        counter.add(&json!({"type": "image", "source": {"type": "base64", "media_type": "", "data": "AAAA"}}));
        assert_eq!(counter.tokens(), 172);
    }

    #[test]
    fn the_last_mark_counts() {
        let prompt = json!([{"type": "text", "text": "12345678", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, {"text": "more"}]);
        let mark_of = |prompt: &Value| {
            let mut counter = Counter::default();
            counter.add(prompt);
            counter.mark()
        };
        let mark = mark_of(&prompt).expect("a mark");
        assert_eq!((mark.chars, mark.one_hour), (8, true));
        assert_eq!(mark_of(&prompt), Some(mark));
        assert_eq!(mark_of(&json!("no mark")), None);
    }
}
