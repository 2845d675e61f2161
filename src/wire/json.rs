//! A cursor over JSON text that jumps from quote to quote: [`Walk`]. It builds no tree and allocates nothing; what a value means is its
//! user's business. Two ways over a value: [`Walk::value`] counts brackets and is for those who only look for something on the way,
//! [`Walk::exact`] holds to the grammar and is for those who must see what a provider's parser sees.

mod raw;
mod write;

pub(in crate::wire) use raw::Kind;
pub use raw::Raw;
pub(in crate::wire) use write::{Array, Json, Object};

use crate::call::{Reason, Refusal};
use memchr::memchr;
use std::borrow::Cow;
use std::ops::Range;

/// How deep values may nest where the grammar is held to. What SDKs send is about ten deep.
pub(super) const MAX_DEPTH: usize = 512;

/// The body is not one JSON object, as far as the walk went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The byte at which it was noticed.
    pub at: usize,
}

impl From<Malformed> for Refusal {
    fn from(fault: Malformed) -> Self {
        let message = format!("the request body is not a JSON object (noticed at byte {})", fault.at);
        Self::new(Reason::Invalid("invalid_json"), message)
    }
}

/// A cursor over JSON text.
pub(super) struct Walk<'a> {
    pub(super) body: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    pub(super) fn malformed<T>(&self) -> Result<T, Malformed> {
        Err(Malformed { at: self.at })
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    #[inline]
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips white space and `byte`, if that is what follows.
    #[inline]
    pub(super) fn next_is(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips white space, `byte`, and white space.
    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.next_is(byte) {
            self.space();
            Ok(())
        } else {
            self.malformed()
        }
    }

    /// Nothing but white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Malformed> {
        self.space();
        if self.at == self.body.len() { Ok(()) } else { self.malformed() }
    }

    /// Skips a string; its range includes the quotes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Range<usize>, Malformed> {
        self.short_string().map_or_else(|| self.long_string(), Ok)
    }

    /// A string that [`short`] sees the end of, if that is what stands here: it has no escapes.
    #[inline]
    fn short_string(&mut self) -> Option<Range<usize>> {
        let text = self.body.get(self.at..)?.strip_prefix(b"\"")?;
        let start = self.at;
        self.at += short(text)? + 2;
        Some(start..self.at)
    }

    fn long_string(&mut self) -> Result<Range<usize>, Malformed> {
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

    /// Skips a key, its colon, and the white space before the value. `None` where the key's escapes are no escapes.
    pub(super) fn key(&mut self) -> Result<Option<Cow<'a, [u8]>>, Malformed> {
        let short = self.short_string();
        let plain = short.is_some();
        let quoted = short.map_or_else(|| self.long_string(), Ok)?;
        self.expect(b':')?;
        let text = &self.body[quoted.start + 1..quoted.end - 1];
        if plain || memchr(b'\\', text).is_none() {
            return Ok(Some(Cow::Borrowed(text)));
        }
        Ok(unescape(&self.body[quoted]).map(|text| Cow::Owned(text.into_owned().into_bytes())))
    }

    /// Skips any value. Brackets are counted, not matched by kind: that is the provider's business.
    pub(super) fn value(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[') => self.nested(),
            Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.word();
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

    /// The run of bytes of which numbers and literals are made.
    fn word(&mut self) -> &'a [u8] {
        let start = self.at;
        while matches!(self.peek(), Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E')) {
            self.at += 1;
        }
        &self.body[start..self.at]
    }

    /// Skips a number, `true`, `false` or `null`.
    pub(super) fn scalar(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.at;
        let word = self.word();
        if matches!(word, b"true" | b"false" | b"null") || is_number(word) {
            return Ok(word);
        }
        self.at = start;
        self.malformed()
    }

    /// Skips any value by the letter of the grammar and returns how many values it is made of, itself included. `on_key` is shown every
    /// key inside, and the byte its value begins with. Containers may be `depth` deep at most.
    ///
    /// A loop with a stack of bits, not a recursion: how deep a body nests must not decide how much of the thread's stack is used.
    pub(super) fn exact(&mut self, depth: usize, mut on_key: impl FnMut(&[u8], Option<u8>)) -> Result<u64, Fault> {
        let mut open = Open::default();
        let mut values = 0;
        loop {
            values += 1;
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(bracket @ (b'{' | b'[')) => {
                    if open.depth == depth.min(MAX_DEPTH) {
                        return Err(Fault::TooDeep(depth.min(MAX_DEPTH)));
                    }
                    open.push(bracket == b'{');
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(bracket + 2) {
                        self.member_key(&open, &mut on_key)?;
                        continue;
                    }
                }
                _ => {
                    self.scalar()?;
                }
            }
            while open.depth > 0 {
                let close = if open.in_object() { b'}' } else { b']' };
                if !self.next_is(close) {
                    break;
                }
                open.depth -= 1;
            }
            if open.depth == 0 {
                return Ok(values);
            }
            self.expect(b',')?;
            self.member_key(&open, &mut on_key)?;
        }
    }

    /// In an object, skips the next member's key.
    fn member_key(&mut self, open: &Open, on_key: &mut impl FnMut(&[u8], Option<u8>)) -> Result<(), Malformed> {
        if open.in_object() {
            let key = self.key()?;
            on_key(key.as_deref().unwrap_or_default(), self.peek());
        }
        Ok(())
    }
}

/// Why a walk by the letter can't go on.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Malformed(Malformed),
    /// Deeper than this.
    TooDeep(usize),
}

impl From<Malformed> for Fault {
    fn from(fault: Malformed) -> Self {
        Self::Malformed(fault)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(fault) => fault.into(),
            Fault::TooDeep(depth) => {
                let message =
                    format!("the request body nests more than {depth} deep; that is as deep as a body may be that has to be read whole");
                Self::new(Reason::Invalid("json_too_deep"), message)
            }
        }
    }
}

/// The containers that are open, a bit each.
#[derive(Default)]
struct Open {
    depth: usize,
    objects: [u64; MAX_DEPTH / 64],
}

impl Open {
    fn push(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        self.objects[word] = self.objects[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
    }

    fn in_object(&self) -> bool {
        let top = self.depth - 1;
        self.objects[top / 64] >> (top % 64) & 1 == 1
    }
}

/// The length of a string of at most 15 bytes without escapes, as keys and words are; `text` begins behind its quote. Eight bytes at a
/// time: for so few, setting up a search costs more than the search.
fn short(text: &[u8]) -> Option<usize> {
    let (words, _) = text.as_chunks::<8>();
    for (index, word) in words.iter().take(2).enumerate() {
        let word = u64::from_le_bytes(*word);
        let (quotes, backslashes) = (bytes_like(word, b'"'), bytes_like(word, b'\\'));
        let first = (quotes | backslashes).trailing_zeros();
        if first < 64 {
            return (quotes >> first & 1 == 1).then_some(index * 8 + first as usize / 8);
        }
    }
    None
}

/// The high bit of every byte that is `byte`. Bits above the lowest one set may be wrong, as borrows run upwards.
fn bytes_like(word: u64, byte: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let zeros = word ^ (ONES * u64::from(byte));
    zeros.wrapping_sub(ONES) & !zeros & (ONES << 7)
}

/// RFC 8259 section 6.
fn is_number(word: &[u8]) -> bool {
    fn digits(text: &[u8]) -> Option<&[u8]> {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (count > 0).then(|| &text[count..])
    }
    let unsigned = word.strip_prefix(b"-").unwrap_or(word);
    let Some(mut rest) = unsigned.strip_prefix(b"0").or_else(|| digits(unsigned)) else { return false };
    if let Some(fraction) = rest.strip_prefix(b".") {
        let Some(behind) = digits(fraction) else { return false };
        rest = behind;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let Some(behind) = digits(exponent) else { return false };
        rest = behind;
    }
    rest.is_empty()
}

/// The text of a quoted JSON string; borrowed when it has no escapes.
pub(super) fn unescape(quoted: &[u8]) -> Option<Cow<'_, str>> {
    if memchr(b'\\', quoted).is_none() {
        return std::str::from_utf8(&quoted[1..quoted.len() - 1]).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many values the text is made of, if it is one by the letter.
    fn values(text: &str) -> Option<u64> {
        let mut walk = Walk::new(text.as_bytes());
        walk.space();
        let values = walk.exact(MAX_DEPTH, |_, _| {}).ok()?;
        walk.end().ok().map(|()| values)
    }

    #[test]
    fn values_by_the_letter() {
        for (text, expected) in [
            ("1", Some(1)),
            ("-0.5e+10", Some(1)),
            ("[]", Some(1)),
            ("{}", Some(1)),
            (r#"{"a":[1,{"b":null}],"c":{}}"#, Some(6)),
            (r#"[[],[ ] , "]" ]"#, Some(4)),
            ("[1,]", None),
            ("{,}", None),
            (r#"{"a":1,}"#, None),
            (r#"{"a"}"#, None),
            ("[1}", None),
            (r#"{"a":1]"#, None),
            ("[1 2]", None),
            ("NaN", None),
            ("nul", None),
            ("01", None),
            ("1.", None),
            ("1e", None),
            ("+1", None),
            ("", None),
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_has_a_bound() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(values(&nested(MAX_DEPTH)), Some(MAX_DEPTH as u64));
        assert_eq!(values(&nested(MAX_DEPTH + 1)), None);
    }

    #[test]
    fn keys_are_shown_unescaped() {
        let mut keys = Vec::new();
        let text = br#"{"\u0061":[{"b":null}],"c":"d"}"#;
        assert!(Walk::new(text).exact(MAX_DEPTH, |key, next| keys.push((key.to_vec(), next))).is_ok());
        assert_eq!(keys, [(b"a".to_vec(), Some(b'[')), (b"b".to_vec(), Some(b'n')), (b"c".to_vec(), Some(b'"'))]);
    }

    proptest::proptest! {
        #[test]
        fn short_strings_end_where_long_ones_do(text in r#"[a!#\[\]é"\\]{0,20}"#, behind in r#"["\\a]{0,9}"#) {
            let text = format!("{text}\"{behind}");
            let first = text.find(['"', '\\']).filter(|at| text.as_bytes()[*at] == b'"');
            let seen = text.len() / 8 * 8;
            proptest::prop_assert_eq!(short(text.as_bytes()), first.filter(|at| *at < seen.min(16)), "{}", text);
        }

        /// Strings aside, whose inner rules are the provider's business, the grammar is a parser's.
        #[test]
        fn agrees_with_a_parser(text in r#"[\[\]{},: 0-1.eE+\-"a]{0,12}|(true|false|null|nan|\[|\]|,){0,6}"#) {
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            // The parser also refuses numbers beyond its range.
            let range = parsed.as_ref().is_err_and(|fault| fault.to_string().contains("out of range"));
            proptest::prop_assert!(range || values(&text).is_some() == parsed.is_ok(), "{}", text);
        }
    }
}
