//! A JSON value as it was sent: [`Raw`], a slice of a text that was checked as a whole. What is not looked at is never parsed, and what
//! goes on unchanged (schemas, arguments) goes on byte for byte.

use super::{Fault, Malformed, Walk, unescape};
use memchr::memchr;
use std::borrow::Cow;
use std::str::from_utf8;

/// How deep a value may nest that is taken apart here.
pub(in crate::wire) const MAX_RAW_DEPTH: usize = 128;

/// One JSON value. Made by [`Raw::parse`] only, so that its text is one value by the letter of the grammar, strings' escapes aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl<'a> Raw<'a> {
    /// Checks a whole text: UTF-8, one value, at most [`MAX_RAW_DEPTH`] deep.
    pub(in crate::wire) fn parse(text: &'a [u8]) -> Result<Self, Fault> {
        let text = from_utf8(text).map_err(|fault| Malformed { at: fault.valid_up_to() })?;
        let mut walk = Walk::new(text.as_bytes());
        walk.space();
        let start = walk.at;
        walk.exact(MAX_RAW_DEPTH, |_, _| {})?;
        let end = walk.at;
        walk.end()?;
        Ok(Self(&text[start..end]))
    }

    /// The value as it was sent.
    pub(in crate::wire) fn text(self) -> &'a str {
        self.0
    }

    /// What it is.
    pub(in crate::wire) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// Whether it is `null`.
    pub(in crate::wire) fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    /// A string's text; borrowed where it has no escapes. `None`: no string, or escapes that are none (a lone surrogate).
    pub(in crate::wire) fn as_str(self) -> Option<Cow<'a, str>> {
        if self.kind() != Kind::String {
            return None;
        }
        match memchr(b'\\', self.0.as_bytes()) {
            None => self.0.get(1..self.0.len() - 1).map(Cow::Borrowed),
            Some(_) => unescape(self.0.as_bytes()),
        }
    }

    /// A number that is whole and not negative; `1.0` and `1e2` are.
    pub(in crate::wire) fn as_u64(self) -> Option<u64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let whole = |number: f64| ((0.0..=EXACT).contains(&number) && number.fract() == 0.0).then_some(number as u64);
        self.0.parse().ok().or_else(|| self.as_f64().and_then(whole))
    }

    /// A number.
    pub(in crate::wire) fn as_f64(self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.0.parse().ok())?
    }

    /// `true` or `false`.
    pub(in crate::wire) fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The members of an object, in order; none of anything else. Keys have their escapes undone.
    pub(in crate::wire) fn members(self) -> Members<'a> {
        Members(self.inside(Kind::Object), self.0)
    }

    /// The items of an array, in order; none of anything else.
    pub(in crate::wire) fn items(self) -> Items<'a> {
        Items(self.inside(Kind::Array), self.0)
    }

    /// The last member of this name that is not null, as most parsers would have it. For many members of one object, [`Raw::members`] is
    /// the cheaper way.
    pub(in crate::wire) fn get(self, name: &str) -> Option<Raw<'a>> {
        self.members().filter(|(key, value)| key == name && !value.is_null()).last().map(|(_, value)| value)
    }

    /// A string member's text.
    pub(in crate::wire) fn str_of(self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).and_then(Raw::as_str)
    }

    /// A cursor behind the first bracket, if it is of this kind.
    fn inside(self, kind: Kind) -> Walk<'a> {
        let mut walk = Walk::new(if self.kind() == kind { self.0.as_bytes() } else { b"" });
        walk.at = usize::from(!walk.body.is_empty());
        walk
    }
}

/// The next value of a checked container, whose text this is, and the comma behind it.
fn next_value<'a>(walk: &mut Walk<'a>, text: &'a str) -> Option<Raw<'a>> {
    walk.space();
    let start = walk.at;
    walk.value().ok()?;
    let value = text.get(start..walk.at)?;
    walk.next_is(b',');
    Some(Raw(value))
}

/// See [`Raw::members`].
pub(in crate::wire) struct Members<'a>(Walk<'a>, &'a str);

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Raw<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.space();
        let quoted = self.0.string().ok()?;
        let key = self.1.get(quoted).and_then(|quoted| Raw(quoted).as_str()).unwrap_or_default();
        self.0.expect(b':').ok()?;
        Some((key, next_value(&mut self.0, self.1)?))
    }
}

/// See [`Raw::items`].
pub(in crate::wire) struct Items<'a>(Walk<'a>, &'a str);

impl<'a> Iterator for Items<'a> {
    type Item = Raw<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        next_value(&mut self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Raw<'_> {
        Raw::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn values_are_taken_apart() {
        let value = raw(r#" {"a" : [1, "x\n", {"b":null}] , "\u0063":true,"a2":-0.5e1, "a":2 } "#);
        assert_eq!(value.get("a").map(Raw::text), Some("2"));
        let keys: Vec<_> = value.members().map(|(key, value)| format!("{key}={}", value.text())).collect();
        assert_eq!(keys, [r#"a=[1, "x\n", {"b":null}]"#, "c=true", "a2=-0.5e1", "a=2"]);
        let (_, array) = value.members().next().expect("a member");
        assert_eq!(array.items().map(Raw::text).collect::<Vec<_>>(), ["1", r#""x\n""#, r#"{"b":null}"#]);
        assert_eq!(array.items().nth(1).and_then(Raw::as_str).as_deref(), Some("x\n"));
        assert_eq!((raw("[]").items().count(), raw("{ }").members().count(), raw("[]").members().count()), (0, 0, 0));
    }

    #[test]
    fn numbers() {
        for (text, whole) in [
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("1e2", Some(100)),
            ("-1", None),
            ("1.5", None),
            ("\"7\"", None),
            ("18446744073709551615", Some(u64::MAX)),
        ] {
            assert_eq!(raw(text).as_u64(), whole, "{text}");
        }
    }

    #[test]
    fn no_value_by_the_letter_is_no_value() {
        for text in [&b""[..], b"{", b"[1,]", b"\"\xff\"", b"{} {}"] {
            assert!(Raw::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(raw(r#""\ud800""#).as_str(), None);
    }
}
