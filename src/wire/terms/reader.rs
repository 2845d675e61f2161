//! What the shapes of all endpoints are read with: [`Reader`], one pass over the body.

use crate::call::{Reason, Refusal};
use crate::money::Terms;
use crate::wire::json::{Fault, MAX_DEPTH, Walk, unescape};
use memchr::memmem;
use std::borrow::Cow;

/// What reading something yields.
pub(super) type Read<T> = Result<T, Refusal>;

/// Deeper than this, shapes are not followed. They are recursive (a tool's result may hold documents that hold pictures), and this bounds
/// how much of the thread's stack they use. No provider takes what is half as deep.
const MAX_SHAPE_DEPTH: usize = 32;

/// What a provider writes anew for the model (schemas of tools, their arguments) may take so many tokens more for each value in it: a
/// space behind a comma, a line's end, or the tags that stand for a key: `<parameter name="a">1</parameter>` for `"a":1`.
const REWRITTEN_VALUE: u64 = 6;

/// Written anew, text outside ASCII may come out as escapes: `\u00e9` for the two bytes of `é`, so at most two bytes more for each.
const REWRITTEN_BYTE: u64 = 2;

/// A cursor over the body and what it has found so far.
pub(super) struct Reader<'a> {
    pub(super) walk: Walk<'a>,
    pub(super) terms: Terms,
    pub(super) model: Option<Cow<'a, str>>,
    /// Bytes of the body that stand for pictures and documents, not for text.
    pub(super) media_bytes: u64,
    /// Tokens that the bytes of the body do not account for.
    pub(super) extra_tokens: u64,
    /// The largest of `n` and its like.
    pub(super) answers: u64,
    /// How many prompts one request holds.
    pub(super) prompts: u64,
    /// JSON values passed.
    values: u64,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self {
            walk: Walk::new(body),
            terms: Terms::default(),
            model: None,
            media_bytes: 0,
            extra_tokens: 0,
            answers: 1,
            prompts: 1,
            values: 0,
            depth: 0,
        }
    }

    /// Visits the members of an object whose keys are in `keys`; any other is text, and so is a value that is no object. `null` counts as
    /// absent.
    ///
    /// # Errors
    /// 400 `duplicate_field`: one of `keys` twice. Some parsers take the first, most the last: what is read here might not be what is
    /// billed.
    pub(super) fn object(
        &mut self,
        keys: &'static [&'static str],
        mut member: impl FnMut(&mut Self, &'static str) -> Read<()>,
    ) -> Read<()> {
        if !self.enter(b'{') {
            return self.skip();
        }
        let mut seen = 0u64;
        let mut more = !self.walk.next_is(b'}');
        while more {
            let key = self.walk.key()?;
            let text = key.as_deref().unwrap_or_default();
            let next = self.walk.peek();
            self.note_cache(text, next);
            match keys.iter().position(|known| known.as_bytes() == text) {
                None => self.skip()?,
                Some(index) => {
                    if seen & 1 << index != 0 {
                        return Err(duplicate(keys[index]));
                    }
                    seen |= 1 << index;
                    if next == Some(b'n') { self.skip()? } else { member(self, keys[index])? }
                }
            }
            more = self.more(b'}')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Visits the elements of an array. A value that is no array is text.
    pub(super) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        if !self.enter(b'[') {
            return self.skip();
        }
        let mut more = !self.walk.next_is(b']');
        while more {
            element(self)?;
            more = self.more(b']')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Steps into a container that begins with `bracket`, if that is what stands here.
    fn enter(&mut self, bracket: u8) -> bool {
        if self.walk.peek() != Some(bracket) {
            return false;
        }
        if self.depth == MAX_SHAPE_DEPTH {
            self.unbounded("content that nests so deep may hold anything");
            return false;
        }
        self.depth += 1;
        self.values += 1;
        self.walk.at += 1;
        true
    }

    /// Skips what stands behind a member or an element: the bracket that closes, or a comma, and then there is more.
    fn more(&mut self, close: u8) -> Read<bool> {
        if self.walk.next_is(close) {
            return Ok(false);
        }
        self.walk.expect(b',')?;
        Ok(true)
    }

    /// Skips a value, which is text, but for the wish to write a cache.
    pub(super) fn skip(&mut self) -> Read<()> {
        if self.walk.peek() == Some(b'"') {
            self.values += 1;
            self.walk.string()?;
            return Ok(());
        }
        let depth = MAX_DEPTH - self.depth;
        let mut caches = false;
        let values = self.walk.exact(depth, |key, next| caches |= key == b"cache_control" && next != Some(b'n'));
        // What is told is how deep the body may be, not what was left of that here.
        self.values += values.map_err(|fault| if let Fault::TooDeep(_) = fault { Fault::TooDeep(MAX_DEPTH) } else { fault })?;
        self.terms.cache_write |= caches;
        Ok(())
    }

    fn note_cache(&mut self, key: &[u8], next: Option<u8>) {
        self.terms.cache_write |= key == b"cache_control" && next != Some(b'n');
    }

    /// The text of a string; `None` for any other value.
    pub(super) fn word(&mut self) -> Read<Option<Cow<'a, str>>> {
        if self.walk.peek() != Some(b'"') {
            self.skip()?;
            return Ok(None);
        }
        self.values += 1;
        let quoted = self.walk.string()?;
        let (at, quoted) = (quoted.start, &self.walk.body[quoted]);
        unescape(quoted).map(Some).ok_or_else(|| crate::wire::json::Malformed { at }.into())
    }

    /// Skips a value and returns its bytes; of a string, what is between the quotes.
    pub(super) fn raw(&mut self) -> Read<&'a [u8]> {
        let start = self.walk.at;
        self.skip()?;
        let value = &self.walk.body[start..self.walk.at];
        Ok(value.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(value))
    }

    /// A whole number that limits something.
    ///
    /// # Errors
    /// 400 `invalid_field`: anything else. What a provider would make of `"7"` or `7.5` can't be relied on.
    pub(super) fn number(&mut self, field: &'static str) -> Read<u64> {
        let start = self.walk.at;
        self.skip()?;
        let text = &self.walk.body[start..self.walk.at];
        let digits = text.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(text).ok()).flatten();
        digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| invalid(field, "must be a whole number from 0 to 18446744073709551615"))
    }

    /// Whether a value is anything but `false`, an empty array or an empty object.
    pub(super) fn is_set(&mut self) -> Read<bool> {
        let (start, before) = (self.walk.at, self.values);
        self.skip()?;
        let empty = self.values == before + 1 && matches!(self.walk.body[start], b'[' | b'{');
        Ok(!empty && &self.walk.body[start..self.walk.at] != b"false")
    }

    /// Reads what the provider writes anew for the model, and allows for what that may add.
    pub(super) fn rewritten(&mut self, read: impl FnOnce(&mut Self) -> Read<()>) -> Read<()> {
        let (start, before) = (self.walk.at, self.values);
        read(self)?;
        let text = &self.walk.body[start..self.walk.at];
        // In pieces whose count fits a byte: the sum is then made many bytes at a time.
        let beyond_ascii: u64 =
            text.chunks(255).map(|piece| u64::from(piece.iter().map(|byte| byte >> 7).fold(0u8, u8::wrapping_add))).sum();
        self.extra_tokens += (self.values - before) * REWRITTEN_VALUE + beyond_ascii * REWRITTEN_BYTE;
        Ok(())
    }

    /// Notes what makes the worst case unbounded. The first thing found is named.
    pub(super) fn unbounded(&mut self, words: impl Into<String>) {
        self.terms.unbounded.get_or_insert_with(|| words.into());
    }

    /// The value that stands here makes the worst case unbounded, if it is set.
    pub(super) fn unbounded_if_set(&mut self, words: &'static str) -> Read<()> {
        if self.is_set()? {
            self.unbounded(words);
        }
        Ok(())
    }
}

/// How many bytes of a string, as it stands in the body, are the payload of a `data:…;base64,` URL.
pub(super) fn base64_bytes(url: &[u8]) -> u64 {
    const MARK: &[u8] = b";base64,";
    let head = &url[..url.len().min(256)];
    let payload = head.starts_with(b"data:").then(|| memmem::find(head, MARK)).flatten();
    payload.map_or(0, |at| (url.len() - at - MARK.len()) as u64)
}

fn duplicate(field: &str) -> Refusal {
    let message = format!(
        "`{field}` stands twice in the same object of the request body; which one counts differs from parser to parser: send it once"
    );
    Refusal::new(Reason::Invalid("duplicate_field"), message)
}

pub(super) fn invalid(field: &str, what: &str) -> Refusal {
    Refusal::new(Reason::Invalid("invalid_field"), format!("`{field}` in the request body {what}"))
}
