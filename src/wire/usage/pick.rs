//! Picks a few values out of JSON text that comes in pieces: [`Picker`]. No value tree, no buffer but for the values wanted.
//!
//! It follows the members of the outermost object, and of one object inside it, and jumps over everything else: strings by searching
//! their closing quote, nested values by counting brackets (not matched by kind: that is the business of whoever uses the reply). What
//! it finds does not depend on how the text was cut. It is no validator; text that can't be a JSON object is not looked at any further.

use memchr::memchr;
use std::borrow::Cow;
use std::ops::Range;

/// The longest value that is collected. A longer one is reported as being there, without its text.
pub(super) const LONGEST_VALUE: usize = 64 << 10;

/// The longest text of a key that is compared: the longest wanted one, every letter of it escaped.
const LONGEST_KEY: usize = 12 * 6;

/// How many words of a string are looked at one by one.
const SHORT_WORDS: usize = 3;

/// The longest beginning of an object that is remembered.
const LONGEST_HEAD: usize = 512;

/// What text of this kind may say, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A whole reply of any metered endpoint.
    Reply,
    /// An event of a stream of chat completions or completions.
    Chunk,
    /// An event of a stream of responses.
    Response,
    /// An event of a stream of messages.
    Message,
    /// A chat chunk that may be nothing but the usage that was asked for.
    UsageChunk,
}

/// A value of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The usage.
    Usage,
    /// The usage as known when a message begins.
    FirstUsage,
    /// The service tier.
    Tier,
    /// The kind of the event.
    Kind,
    /// An error.
    Error,
    /// The choices of a chunk.
    Choices,
}

/// What to do with the value behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Pass,
    Enter,
    Take(What),
}

impl Shape {
    /// What stands behind this key; `level` 1 is the outermost object, 2 the one entered.
    fn wants(self, level: u8, key: &[u8]) -> Want {
        use What::{Choices, Error, FirstUsage, Kind, Tier, Usage};
        match (self, level, key) {
            (Self::Message, 2, b"usage") => Want::Take(FirstUsage),
            (Self::Response, 1, b"usage") => Want::Pass,
            (_, _, b"usage") => Want::Take(Usage),
            (Self::Reply | Self::Chunk, 1, b"service_tier") | (Self::Response, 2, b"service_tier") => Want::Take(Tier),
            (Self::Chunk | Self::Response | Self::Message, 1, b"error") => Want::Take(Error),
            (Self::Response | Self::Message, 1, b"type") => Want::Take(Kind),
            (Self::Response, 1, b"response") | (Self::Message, 1, b"message") | (Self::Chunk, 1, b"x_groq") => Want::Enter,
            (Self::UsageChunk, 1, b"choices") => Want::Take(Choices),
            _ => Want::Pass,
        }
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// White space before the outermost object.
    Start,
    /// Behind the `{` of an object that is followed.
    FirstKey,
    /// Behind a comma.
    NextKey,
    /// Inside a key.
    Key,
    /// Behind a key.
    Colon,
    /// Before a value.
    Value,
    /// Inside a number or word.
    Scalar,
    /// Inside a string.
    Text,
    /// Inside nested brackets.
    Nested,
    /// Inside a string in nested brackets.
    NestedText,
    /// Behind a value.
    Comma,
    /// Behind the outermost object.
    Ended,
    /// This is no JSON object.
    NoObject,
}

/// An incremental walk over one JSON object.
#[derive(Debug)]
pub(super) struct Picker {
    shape: Shape,
    at: At,
    level: u8,
    want: Want,
    /// Open brackets inside the value that is passed over.
    depth: usize,
    /// Whether the last piece ended in an odd number of backslashes inside a string.
    escaped: bool,
    /// What came of a key, or of a value that is taken, before the piece at hand; one byte over its bound when there was more.
    text: Vec<u8>,
    head: Head,
}

/// The beginning of an earlier object, up to its first nested value of no interest. The events of a stream all begin alike (id, model,
/// date); one that begins like the last is followed from there on.
#[derive(Debug, Default)]
struct Head {
    text: Vec<u8>,
    /// The value that was found in it; one with more of them is not remembered.
    found: Option<(What, Range<usize>)>,
    /// Whether the object at hand is being remembered: it lies in one piece so far.
    learning: bool,
}

impl Picker {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, at: At::Start, level: 0, want: Want::Pass, depth: 0, escaped: false, text: Vec::new(), head: Head::default() }
    }

    /// Begins anew, with another text of the same kind.
    pub(super) fn reset(&mut self) {
        self.at = At::Start;
        self.escaped = false;
        self.text.clear();
    }

    /// Whether the outermost object has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.at == At::Ended
    }

    /// How much text is collected.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.text.len()
    }

    /// Takes the next piece and calls `found` with every wanted value that ends in it; without its text where that was too long.
    pub(super) fn feed(&mut self, piece: &[u8], found: &mut impl FnMut(What, Option<&[u8]>)) {
        let mut next = if self.at == At::Start && self.shape != Shape::Reply { self.past_head(piece, found) } else { 0 };
        while next < piece.len() {
            next = match self.at {
                At::Ended | At::NoObject => break,
                At::Key => self.key(piece, next),
                At::Scalar | At::Text | At::Nested | At::NestedText => self.value(piece, next, found),
                _ => {
                    self.token(piece[next]);
                    // The first byte of a value belongs to it, that of a key is a quote and does not.
                    next + usize::from(!matches!(self.at, At::Scalar | At::Text | At::Nested))
                }
            };
        }
        self.head.learning = false;
    }

    /// Where to go on with an object that begins like the last one.
    fn past_head(&mut self, piece: &[u8], found: &mut impl FnMut(What, Option<&[u8]>)) -> usize {
        let head = &mut self.head;
        if head.text.is_empty() || !piece.starts_with(&head.text) {
            (head.learning, head.found) = (true, None);
            head.text.clear();
            return 0;
        }
        (self.level, self.want, self.at) = (1, Want::Pass, At::Value);
        if let Some((what, place)) = &head.found {
            found(*what, Some(&piece[place.clone()]));
        }
        head.text.len()
    }

    /// The value that begins here is the first that is nested.
    fn learn(&mut self, head: &[u8]) {
        if self.level == 1 && self.want == Want::Pass && head.len() <= LONGEST_HEAD {
            self.head.text.extend_from_slice(head);
            self.head.learning = false;
        }
    }

    /// One byte between keys and values.
    #[inline]
    fn token(&mut self, byte: u8) {
        self.at = match (self.at, byte) {
            (at, byte) if is_space(byte) => at,
            (At::FirstKey | At::NextKey, b'"') => At::Key,
            (At::Colon, b':') => At::Value,
            (At::Value, byte) => self.value_begins(byte),
            (At::Comma, b',') => At::NextKey,
            (At::FirstKey | At::Comma, b'}') => self.close(),
            (At::Start, b'{') => {
                self.level = 1;
                At::FirstKey
            }
            _ => At::NoObject,
        };
    }

    fn value_begins(&mut self, byte: u8) -> At {
        match byte {
            b'{' if self.want == Want::Enter => {
                self.level = 2;
                At::FirstKey
            }
            b'{' | b'[' => {
                self.depth = 0;
                At::Nested
            }
            // Its own quote must not end it: `value` looks behind it.
            b'"' => {
                self.depth = 0;
                At::Text
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' => At::Scalar,
            _ => At::NoObject,
        }
    }

    fn close(&mut self) -> At {
        self.level -= 1;
        if self.level == 0 { At::Ended } else { At::Comma }
    }

    /// Inside a key, up to and with its closing quote.
    fn key(&mut self, piece: &[u8], from: usize) -> usize {
        let Some(end) = self.text_end(piece, from) else {
            keep(&mut self.text, &piece[from..], LONGEST_KEY);
            return piece.len();
        };
        let here = &piece[from..end - 1];
        if self.text.is_empty() {
            self.want = self.wants(here);
        } else {
            keep(&mut self.text, here, LONGEST_KEY);
            self.want = self.wants(&self.text);
            self.text.clear();
        }
        self.at = At::Colon;
        // Without white space, as providers write: no need to go byte by byte.
        if let [b':', byte, ..] = piece[end..]
            && !is_space(byte)
        {
            self.at = self.value_begins(byte);
            if self.at == At::Nested && self.head.learning {
                self.learn(&piece[..end + 1]);
            }
            return end + 1 + usize::from(self.at == At::FirstKey);
        }
        end
    }

    fn wants(&self, key: &[u8]) -> Want {
        if key.len() > LONGEST_KEY {
            return Want::Pass;
        }
        unescaped(key).map_or(Want::Pass, |key| self.shape.wants(self.level, &key))
    }

    /// Inside a value, up to its end. A value that is taken and lies in this piece is not copied.
    fn value(&mut self, piece: &[u8], from: usize, found: &mut impl FnMut(What, Option<&[u8]>)) -> usize {
        let end = match self.at {
            At::Scalar => piece[from..].iter().position(|byte| !is_scalar(*byte)).map(|length| from + length),
            At::Text => self.string_end(piece, from),
            _ => self.nested_end(piece, from),
        };
        if let Want::Take(what) = self.want {
            let here = &piece[from..end.unwrap_or(piece.len())];
            if end.is_none() || !self.text.is_empty() {
                keep(&mut self.text, here, LONGEST_VALUE);
            }
            if let Some(end) = end {
                self.head.learning &= self.head.found.is_none();
                if self.head.learning {
                    self.head.found = Some((what, from..end));
                }
                let value = if self.text.is_empty() { here } else { &self.text };
                found(what, (value.len() <= LONGEST_VALUE).then_some(value));
                self.text.clear();
            }
        }
        let Some(end) = end else { return piece.len() };
        if piece[end..].starts_with(b",\"") {
            self.at = At::Key;
            return end + 2;
        }
        self.at = At::Comma;
        end
    }

    /// Behind the closing quote of a string; the first byte of the value is its opening quote.
    fn string_end(&mut self, piece: &[u8], from: usize) -> Option<usize> {
        let opening = usize::from(self.depth == 0);
        self.depth = 1;
        self.text_end(piece, from + opening)
    }

    /// Behind the bracket that closes a nested value.
    fn nested_end(&mut self, piece: &[u8], from: usize) -> Option<usize> {
        let mut next = from;
        loop {
            if self.at == At::NestedText {
                next = self.text_end(piece, next)?;
                self.at = At::Nested;
            }
            next += mark(&piece[next..])?;
            match piece[next] {
                b'"' => self.at = At::NestedText,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                _ => {}
            }
            next += 1;
            if self.depth == 0 {
                return Some(next);
            }
        }
    }

    /// Behind the quote that ends a string whose next byte is at `from`.
    #[inline]
    fn text_end(&mut self, piece: &[u8], from: usize) -> Option<usize> {
        let rest = &piece[from..];
        match near_quote(rest) {
            Some(length) if !self.escaped && (length == 0 || rest[length - 1] != b'\\') => Some(from + length + 1),
            _ => self.long_text_end(piece, from),
        }
    }

    /// The same for any string. Escapes are not stopped at: prose is full of line ends.
    fn long_text_end(&mut self, piece: &[u8], from: usize) -> Option<usize> {
        let mut next = from;
        let mut escaped = std::mem::take(&mut self.escaped);
        loop {
            let rest = &piece[next..];
            let Some(length) = memchr(b'"', rest) else {
                self.escaped = ends_escaping(rest, escaped);
                return None;
            };
            let is_text = ends_escaping(&rest[..length], escaped);
            escaped = false;
            next += length + 1;
            if !is_text {
                return Some(next);
            }
        }
    }
}

/// Where the next quote is, if it is in the first words. Most strings are short: that saves the search which pays for long ones.
#[inline]
fn near_quote(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    let (words, _) = text.as_chunks::<8>();
    for (nth, word) in words.iter().take(SHORT_WORDS).enumerate() {
        // Zero where a quote was; the lowest bit set below is exact.
        let word = u64::from_le_bytes(*word) ^ (ONES * u64::from(b'"'));
        let found = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if found != 0 {
            return Some(nth * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    None
}

/// Whether what follows this part of a string is escaped; `before`: whether its own first byte is.
fn ends_escaping(text: &[u8], before: bool) -> bool {
    let backslashes = text.iter().rev().take_while(|byte| **byte == b'\\').count();
    (backslashes % 2 == 1) != (before && backslashes == text.len())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// What numbers, `true`, `false` and `null` consist of.
fn is_scalar(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E')
}

/// Where the next quote or bracket is. Long rows of numbers (embeddings) are searched by the block.
#[inline]
fn mark(text: &[u8]) -> Option<usize> {
    const BLOCK: usize = 32;
    // With this bit set, both kinds of brackets look alike. So do a quote and a byte that JSON text does not hold.
    let is_mark = |byte: u8| matches!(byte | 0x20, b'"' | b'{' | b'}');
    let near = text.len().min(BLOCK / 2);
    if let Some(at) = text[..near].iter().position(|byte| is_mark(*byte)) {
        return Some(at);
    }
    let (blocks, _) = text[near..].as_chunks::<BLOCK>();
    let holds_mark = |block: &&[u8; BLOCK]| block.iter().fold(0, |any, byte| any | u8::from(is_mark(*byte))) != 0;
    let at = near + BLOCK * blocks.iter().take_while(|block| !holds_mark(block)).count();
    text[at..].iter().position(|byte| is_mark(*byte)).map(|found| at + found)
}

/// Appends up to the bound and one byte over it.
fn keep(text: &mut Vec<u8>, more: &[u8], bound: usize) {
    let room = (bound + 1).saturating_sub(text.len());
    text.extend_from_slice(&more[..more.len().min(room)]);
}

/// The text of a string without its quotes.
fn unescaped(inner: &[u8]) -> Option<Cow<'_, [u8]>> {
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    let quoted = [b"\"", inner, b"\""].concat();
    serde_json::from_slice::<String>(&quoted).ok().map(|text| Cow::Owned(text.into_bytes()))
}

/// The text of a quoted string; `None` for any other value.
pub(super) fn string(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    unescaped(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?)
}
