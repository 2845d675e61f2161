//! Takes out of a stream of chunks the one that was only sent because the router asked for it: [`WithoutUsage`].

use super::pick::{Picker, Shape, What};
use crate::wire::sse::{Events, Part};
use memchr::memchr2;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// The most of an unfinished event that is held.
const MOST_HELD: usize = 256 << 10;

static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));

/// How the letters of a key begin when they are escaped.
static ESCAPED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\\u00"));

/// Takes the usage chunk out of a chat or completions stream, for a client that did not ask for it: an event whose JSON has an empty
/// `choices` array and a `usage` object. Every other byte goes on as it is; the result does not depend on how the bytes were cut.
///
/// ```
/// use iron_runtime::wire::usage::WithoutUsage;
/// let (mut filter, mut out) = (WithoutUsage::default(), Vec::new());
/// filter.feed(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":8}}\n\ndata: [DONE]\n", &mut out);
/// assert!(out.is_empty());
/// filter.feed(b"\n", &mut out);
/// assert_eq!(out, b"data: [DONE]\n\n");
/// ```
#[derive(Debug, Default)]
pub struct WithoutUsage {
    ends: Ends,
    /// What has come of an unfinished event.
    held: Vec<u8>,
    /// Whether the event at hand is too long to be held and goes on as it comes.
    too_long: bool,
    /// Whether the last whole event was taken out.
    took_out: bool,
}

impl WithoutUsage {
    /// Takes the next bytes and appends to `out` what goes on; whole events at once. At most 256 KiB of an unfinished one are held: a
    /// longer one is never taken out and goes on as it comes.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        if self.held.is_empty() && !self.too_long && self.ends.takes_lf(bytes) {
            out.extend_from_slice(if self.took_out { b"" } else { b"\n" });
            rest = &bytes[1..];
        }
        if !self.held.is_empty() || self.too_long {
            let Some(end) = self.ends.next(rest, 0) else { return self.hold(rest, out) };
            self.finish_event(&rest[..end], out);
            rest = &rest[end..];
        }
        let mut whole = 0;
        while let Some(end) = self.ends.next(rest, whole) {
            whole = end;
        }
        self.pass(&rest[..whole], out);
        self.hold(&rest[whole..], out);
    }

    /// Appends what is still held: the stream has ended.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    /// The last bytes of the event at hand.
    fn finish_event(&mut self, last: &[u8], out: &mut Vec<u8>) {
        if std::mem::take(&mut self.too_long) {
            self.took_out = false;
            return out.extend_from_slice(last);
        }
        let mut event = std::mem::take(&mut self.held);
        event.extend_from_slice(last);
        self.pass(&event, out);
        event.clear();
        self.held = event;
    }

    /// Whole events.
    fn pass(&mut self, events: &[u8], out: &mut Vec<u8>) {
        if events.is_empty() {
            return;
        }
        if !may_tell(events) {
            self.took_out = false;
            return out.extend_from_slice(events);
        }
        let (mut ends, mut from) = (Ends::default(), 0);
        while let Some(end) = ends.next(events, from) {
            let event = &events[from..end];
            self.took_out = is_usage_chunk(event);
            if !self.took_out {
                out.extend_from_slice(event);
            }
            from = end;
        }
    }

    /// Bytes of an event that goes on behind them.
    fn hold(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.held.len() + bytes.len() > MOST_HELD {
            self.too_long = true;
            out.append(&mut self.held);
        }
        if self.too_long {
            out.extend_from_slice(bytes);
        } else {
            self.held.extend_from_slice(bytes);
        }
    }
}

/// Whether one of these events may be a usage chunk, by its text alone. Most streams say `"usage":null` in every other chunk.
fn may_tell(events: &[u8]) -> bool {
    let says_null = |at: usize| {
        let value = events[at + USAGE.needle().len()..].trim_ascii_start().strip_prefix(b":");
        value.is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
    };
    USAGE.find_iter(events).any(|at| !says_null(at)) || ESCAPED.find(events).is_some()
}

/// Whether an event is a chunk without choices and with a usage.
fn is_usage_chunk(event: &[u8]) -> bool {
    let shown = event.len() - usize::from(event.ends_with(b"\r\n"));
    if shown > MOST_HELD || !may_tell(event) {
        return false;
    }
    let (mut events, mut picker) = (Events::default(), Picker::new(Shape::UsageChunk));
    let (mut no_choices, mut usage) = (false, false);
    let mut at = 0;
    while let Some(part) = events.next(event, &mut at) {
        let Part::Data(data) = part else { continue };
        picker.feed(data, &mut |what, value| match what {
            What::Choices => no_choices = value.is_some_and(is_empty_array),
            _ => usage = value.is_some_and(|value| value.starts_with(b"{")),
        });
    }
    no_choices && usage && picker.has_ended()
}

fn is_empty_array(value: &[u8]) -> bool {
    let inner = value.strip_prefix(b"[").and_then(|value| value.strip_suffix(b"]"));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

/// Finds the ends of events.
#[derive(Clone, Copy, Debug)]
struct Ends {
    line_empty: bool,
    last_cr: bool,
}

impl Default for Ends {
    fn default() -> Self {
        Self { line_empty: true, last_cr: false }
    }
}

impl Ends {
    /// Behind the end of the event that goes on, or begins, at `from`; `None`: it does not end here, and all bytes have been taken.
    fn next(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            let rest = &bytes[at..];
            let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            if length > 0 {
                *self = Self { line_empty: false, last_cr: false };
            }
            let byte = *rest.get(length)?;
            at += length + 1;
            if byte == b'\n' && std::mem::take(&mut self.last_cr) {
                continue;
            }
            self.last_cr = byte == b'\r';
            if std::mem::replace(&mut self.line_empty, true) {
                return Some(at + usize::from(self.takes_lf(&bytes[at..])));
            }
        }
    }

    /// Whether these bytes begin with the LF of a CRLF that has begun.
    fn takes_lf(&mut self, bytes: &[u8]) -> bool {
        let takes = self.last_cr && bytes.first() == Some(&b'\n');
        self.last_cr &= bytes.is_empty();
        takes
    }
}
