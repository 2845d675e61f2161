//! Finds `model` and `stream` in a JSON request body without parsing it.
//!
//! A walk over the outermost object that jumps over strings and nested values, stops as soon as both are found, and never allocates
//! unless a name has escapes. It is no validator: it sees only what it passes on its way. A key written with escapes (`"mod\u0065l"`) is not
//! recognised, and of two `model` keys the first counts, where most parsers take the last: enough to route by, not enough to bill by.

use memchr::{memchr, memmem};
use std::borrow::Cow;
use std::ops::Range;

/// What [`scan`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The value of `model`, if it is a string.
    pub model: Option<Cow<'a, str>>,
    /// Where that string stands in the body, quotes included.
    pub model_at: Option<Range<usize>>,
    /// Whether `stream` is `true`.
    pub stream: bool,
}

/// The body is not one JSON object, as far as the walk went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The byte at which it was noticed.
    pub at: usize,
}

/// Looks for the outermost `model` and `stream`.
///
/// # Errors
/// [`Malformed`] where the walk can't go on. A fault behind the point where both were found is not seen.
///
/// ```
/// use iron_runtime::wire::scan::scan;
/// let facts = scan(br#"{"messages":[{"model":"no"}],"model":"gpt-4o","stream":true}"#).unwrap();
/// assert_eq!((facts.model.as_deref(), facts.stream), (Some("gpt-4o"), true));
/// ```
pub fn scan(body: &[u8]) -> Result<Facts<'_>, Malformed> {
    let mut facts = Facts::default();
    // Whether a `stream` may come behind the model. Most bodies do not mention it there: then the walk may stop.
    let mut may_follow = None;
    let mut walk = Walk { body, at: 0 };
    walk.expect(b'{')?;
    if walk.next_is(b'}') {
        return walk.end(facts);
    }
    loop {
        let key = walk.string()?;
        walk.expect(b':')?;
        walk.space();
        let value_at = walk.at;
        match &body[key.start + 1..key.end - 1] {
            b"model" if walk.peek() == Some(b'"') => {
                let text = walk.string()?;
                facts.model = unescape(&body[text.clone()]);
                facts.model_at = Some(text);
            }
            b"stream" => {
                walk.value()?;
                facts.stream = &body[value_at..walk.at] == b"true";
                may_follow = Some(false);
            }
            _ => walk.value()?,
        }
        if facts.model.is_some() && !*may_follow.get_or_insert_with(|| memmem::find(&body[walk.at..], b"\"stream\"").is_some()) {
            return Ok(facts);
        }
        if walk.next_is(b'}') {
            return walk.end(facts);
        }
        walk.expect(b',')?;
        walk.space();
    }
}

/// A cursor over JSON text.
struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn malformed<T>(&self) -> Result<T, Malformed> {
        Err(Malformed { at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips white space and `byte`, if that is what follows.
    fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.next_is(byte) {
            self.space();
            Ok(())
        } else {
            self.malformed()
        }
    }

    /// Nothing but white space may follow the object.
    fn end(mut self, facts: Facts<'a>) -> Result<Facts<'a>, Malformed> {
        self.space();
        if self.at == self.body.len() { Ok(facts) } else { self.malformed() }
    }

    /// Skips a string; its range includes the quotes.
    fn string(&mut self) -> Result<Range<usize>, Malformed> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return self.malformed();
        }
        self.at += 1;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let Some(text) = memchr(b'"', rest).map(|end| &rest[..end]) else {
                self.at = self.body.len();
                return self.malformed();
            };
            self.at += text.len() + 1;
            // Behind an odd number of backslashes the quote is text. Escapes are not stopped at: prose is full of line ends.
            let backslashes = text.iter().rev().take_while(|byte| **byte == b'\\').count();
            if backslashes % 2 == 0 {
                return Ok(start..self.at);
            }
        }
    }

    /// Skips any value. Brackets are counted, not matched by kind: that is the provider's business.
    fn value(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[') => self.nested(),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E')) {
                    self.at += 1;
                }
                Ok(())
            }
            _ => self.malformed(),
        }
    }

    fn nested(&mut self) -> Result<(), Malformed> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
                None => return self.malformed(),
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// The text of a quoted JSON string; borrowed when it has no escapes.
fn unescape(quoted: &[u8]) -> Option<Cow<'_, str>> {
    if memchr(b'\\', quoted).is_none() {
        return std::str::from_utf8(&quoted[1..quoted.len() - 1]).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> (Option<String>, bool) {
        let facts = scan(body.as_bytes()).unwrap_or_else(|fault| panic!("{body}: {fault:?}"));
        (facts.model.map(Cow::into_owned), facts.stream)
    }

    #[test]
    fn finds_what_is_there() {
        for (body, model, stream) in [
            (r#"{"model":"gpt-4o"}"#, Some("gpt-4o"), false),
            (r#" { "model" : "gpt-4o" , "stream" : true } "#, Some("gpt-4o"), true),
            (r#"{"stream":true,"model":"m"}"#, Some("m"), true),
            (r#"{"stream":false,"model":"m"}"#, Some("m"), false),
            (r#"{"stream":null,"model":"m"}"#, Some("m"), false),
            (r#"{"messages":[{"model":"x","stream":true}],"model":"m"}"#, Some("m"), false),
            (r#"{"a":"\"model\":\"x\"","model":"m"}"#, Some("m"), false),
            (r#"{"a":"\\","model":"m"}"#, Some("m"), false),
            (r#"{"a":{"b":["]}","\\\""]},"model":"m"}"#, Some("m"), false),
            (r#"{"model":"a\u0062c"}"#, Some("abc"), false),
            (r#"{"model":7}"#, None, false),
            (r#"{"model":null,"stream":true}"#, None, true),
            (r#"{"n":-1.5e+3,"t":true,"model":"m"}"#, Some("m"), false),
            ("{}", None, false),
            (" {\n} ", None, false),
        ] {
            assert_eq!(found(body), (model.map(String::from), stream), "{body}");
        }
    }

    #[test]
    fn refuses_what_is_no_object() {
        for body in [
            "",
            " ",
            "null",
            "[]",
            "\"x\"",
            "{",
            "{\"model\"",
            "{\"model\":",
            "{\"model\":\"x",
            "{\"a\":1",
            "{\"a\" 1}",
            "{\"a\":}",
            "{a:1}",
            "{}x",
            "{\"a\":[1}",
            "{\"a\":\"\\",
        ] {
            assert!(scan(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_range_is_the_quoted_model() {
        let body = br#"{"x":1,"model":"fast"}"#;
        let at = scan(body).unwrap().model_at.unwrap();
        assert_eq!(&body[at], br#""fast""#);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(proptest::sample::select(br#"{}[]":,\model strea1tu "#.to_vec()), 0..60)) {
            let _ = scan(&body);
        }

        #[test]
        fn strings_end_where_a_parser_ends_them(text in r#"[\\"n]{0,12}"#) {
            let body = format!(r#"{{"a":"{text}","model":"m"}}"#);
            let parsed = serde_json::from_str::<serde_json::Value>(&body);
            let model = scan(body.as_bytes()).ok().and_then(|facts| facts.model.map(Cow::into_owned));
            proptest::prop_assert!(parsed.is_err() || model.as_deref() == Some("m"), "{}", body);
        }

        #[test]
        fn agrees_with_a_parser(before in ".*", model in ".*", stream in proptest::bool::ANY) {
            let body = serde_json::json!({"a": before, "b": [{"model": "no"}], "model": model, "stream": stream}).to_string();
            proptest::prop_assert_eq!(found(&body), (Some(model), stream));
        }
    }
}
