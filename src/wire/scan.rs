//! Finds `model` and `stream` in a JSON request body without parsing it.
//!
//! A walk over the outermost object that jumps over strings and nested values, stops as soon as both are found, and never allocates
//! unless a name has escapes. It is no validator: it sees only what it passes on its way. Of two `model` keys the first counts, where most
//! parsers take the last: enough to route by, not enough to bill by. Under a budget [`terms::read`](super::terms::read) reads the whole
//! body and refuses one that says a thing twice, so that what was routed is what is billed.

pub use super::json::Malformed;
use super::json::{Walk, unescape};
use memchr::memmem;
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
    let mut walk = Walk::new(body);
    walk.expect(b'{')?;
    if walk.next_is(b'}') {
        return walk.end().map(|()| facts);
    }
    loop {
        let key = walk.key()?;
        let value_at = walk.at;
        match key.as_deref() {
            Some(b"model") if walk.peek() == Some(b'"') => {
                let text = walk.string()?;
                if facts.model.is_none() {
                    facts.model = unescape(&body[text.clone()]);
                    facts.model_at = Some(text);
                }
            }
            Some(b"stream") => {
                walk.value()?;
                facts.stream = &body[value_at..walk.at] == b"true";
                may_follow = Some(false);
            }
            _ => walk.value()?,
        }
        if facts.model.is_some() && !*may_follow.get_or_insert_with(|| may_name_stream(&body[walk.at..])) {
            return Ok(facts);
        }
        if walk.next_is(b'}') {
            return walk.end().map(|()| facts);
        }
        walk.expect(b',')?;
    }
}

/// Whether a key `stream` may be in here: as it is, or with one of its letters escaped, which are `\u0061` to `\u0074`.
fn may_name_stream(rest: &[u8]) -> bool {
    let escaped = |at: usize| matches!(rest.get(at + 4), Some(b'6' | b'7'));
    memmem::find(rest, b"\"stream\"").is_some() || memmem::find_iter(rest, b"\\u00").any(escaped)
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
            (r#"{"mod\u0065l":"m","\u0073tream":true}"#, Some("m"), true),
            (r#"{"model":"m","a":"\u00e9","strea\u006d":true}"#, Some("m"), true),
            (r#"{"mod\u00el":"x","model":"m"}"#, Some("m"), false),
            (r#"{"model":"first","model":"last","stream":true}"#, Some("first"), true),
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
