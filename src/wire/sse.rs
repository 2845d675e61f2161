//! Server-sent events as far as a relay needs them: where one event ends and the next may begin ([`Boundary`]), and what its `event` and
//! `data` lines say ([`Events`]) (HTML Living Standard, 9.2.6: lines end in LF, CR or CRLF; an empty line ends an event).

use crate::call::Protocol;
use memchr::memchr2;
use serde_json::json;

/// An SSE comment; clients ignore it, and it keeps idle connections open on their way.
pub const COMMENT: &[u8] = b": keepalive\n\n";

/// Follows a stream and tells whether it stands between two events. The answer does not depend on how the bytes were cut.
#[derive(Clone, Copy, Debug)]
pub struct Boundary {
    /// The last two line-end-relevant bytes: whether the current line is empty, and whether the last byte was a CR.
    line_empty: bool,
    last_cr: bool,
    at_boundary: bool,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { line_empty: true, last_cr: false, at_boundary: true }
    }
}

impl Boundary {
    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        // Only the tail matters: everything before the last byte that is no line end just makes the line non-empty.
        let tail = bytes.iter().rposition(|b| !matches!(b, b'\n' | b'\r'));
        if let Some(at) = tail {
            *self = Self { line_empty: false, last_cr: false, at_boundary: false };
            self.ends(&bytes[at + 1..]);
        } else {
            self.ends(bytes);
        }
    }

    /// Whether an event has just ended, or nothing has come yet.
    pub fn is_between_events(&self) -> bool {
        self.at_boundary
    }

    fn ends(&mut self, line_ends: &[u8]) {
        for &byte in line_ends {
            if byte == b'\n' && self.last_cr {
                self.last_cr = false;
                continue;
            }
            self.at_boundary = self.line_empty;
            self.line_empty = true;
            self.last_cr = byte == b'\r';
        }
    }
}

/// The longest name of an event that is told apart from others.
const LONGEST_NAME: usize = 40;

/// A part of a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'b> {
    /// The first byte of an event (of its first line, a comment perhaps) is next.
    Begin,
    /// The next bytes of its data; between two lines of data a line feed.
    Data(&'b [u8]),
    /// Its name is known: [`Events::name`].
    Name,
    /// It has ended.
    End,
}

/// Takes a stream of events apart as it comes, without collecting it. The parts do not depend on how the bytes were cut, but for where
/// [`Part::Data`] is cut.
#[derive(Clone, Debug, Default)]
pub struct Events {
    place: Place,
    /// Whether an event has begun.
    open: bool,
    /// Whether the last byte was a CR: an LF that follows belongs to it.
    last_cr: bool,
    /// Whether the event had a line of data already.
    has_data: bool,
    /// The text of a field's name so far, of `event` or `data`: which one it may become, and how much of it was there.
    matched: usize,
    is_event: bool,
    name: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    LineStart,
    /// Inside `data` or `event`.
    Field,
    /// Behind the colon, where one space is no part of the value.
    Space,
    Data,
    Name,
    /// In a line of no interest.
    Other,
}

impl Events {
    /// The next part of the stream in `bytes` from `at` on, which moves behind it; `None`: all bytes have been taken.
    pub fn next<'b>(&mut self, bytes: &'b [u8], at: &mut usize) -> Option<Part<'b>> {
        while let Some(&byte) = bytes.get(*at) {
            if std::mem::take(&mut self.last_cr) && byte == b'\n' {
                *at += 1;
                continue;
            }
            if !self.open {
                if !is_line_end(byte) {
                    self.open = true;
                    self.name.clear();
                    return Some(Part::Begin);
                }
                self.line_end(byte, at);
                continue;
            }
            if let Some(part) = self.within(bytes, byte, at) {
                return Some(part);
            }
        }
        None
    }

    /// The name of the event at hand or just ended, at most its first 40 bytes; empty where it has none.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// One step inside an event.
    fn within<'b>(&mut self, bytes: &'b [u8], byte: u8, at: &mut usize) -> Option<Part<'b>> {
        match self.place {
            Place::LineStart if is_line_end(byte) => {
                self.line_end(byte, at);
                (self.open, self.has_data) = (false, false);
                Some(Part::End)
            }
            Place::LineStart if bytes[*at..].starts_with(b"data:") => {
                *at += 5;
                self.is_event = false;
                self.value_begins()
            }
            Place::LineStart => {
                (self.matched, self.is_event) = (0, byte == b'e');
                self.place = Place::Field;
                None
            }
            Place::Field => self.field(byte, at),
            Place::Space => {
                *at += usize::from(byte == b' ');
                self.place = if self.is_event { Place::Name } else { Place::Data };
                None
            }
            Place::Data | Place::Name | Place::Other => self.value(bytes, at),
        }
    }

    /// One byte of a field's name, or what ends it.
    fn field<'b>(&mut self, byte: u8, at: &mut usize) -> Option<Part<'b>> {
        let wanted: &[u8] = if self.is_event { b"event" } else { b"data" };
        if wanted.get(self.matched) == Some(&byte) {
            self.matched += 1;
            *at += 1;
            return None;
        }
        let known = self.matched == wanted.len();
        if known && byte == b':' {
            *at += 1;
            self.value_begins()
        } else {
            // A known name without a colon has an empty value, which says nothing to anybody here.
            self.place = Place::Other;
            None
        }
    }

    /// Behind the colon of a known field.
    fn value_begins<'b>(&mut self) -> Option<Part<'b>> {
        self.place = Place::Space;
        if self.is_event {
            self.name.clear();
        } else if std::mem::replace(&mut self.has_data, true) {
            return Some(Part::Data(b"\n"));
        }
        None
    }

    /// The value of a field, up to the end of its line.
    fn value<'b>(&mut self, bytes: &'b [u8], at: &mut usize) -> Option<Part<'b>> {
        let rest = &bytes[*at..];
        let length = memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let value = &rest[..length];
        *at += length;
        let place = self.place;
        if place == Place::Name {
            let room = LONGEST_NAME.saturating_sub(self.name.len());
            self.name.extend_from_slice(&value[..length.min(room)]);
        }
        if let Some(&byte) = rest.get(length)
            && (length == 0 || place != Place::Data)
        {
            self.line_end(byte, at);
        }
        match place {
            Place::Data if length > 0 => Some(Part::Data(value)),
            Place::Name if self.place == Place::LineStart => Some(Part::Name),
            _ => None,
        }
    }

    fn line_end(&mut self, byte: u8, at: &mut usize) {
        *at += 1;
        self.last_cr = byte == b'\r';
        self.place = Place::LineStart;
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// The event that tells a client of its protocol that a stream broke off.
pub fn error_event(protocol: Protocol, code: &str, message: &str) -> Vec<u8> {
    match protocol {
        Protocol::OpenAi => {
            let data = json!({"error": {"message": message, "type": "upstream_error", "param": null, "code": code}});
            format!("data: {data}\n\n").into_bytes()
        }
        Protocol::Anthropic => {
            let data = json!({"type": "error", "error": {"type": "api_error", "message": message}});
            format!("event: error\ndata: {data}\n\n").into_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(stream: &[u8]) -> bool {
        let mut boundary = Boundary::default();
        boundary.feed(stream);
        boundary.is_between_events()
    }

    #[test]
    fn boundaries() {
        for (stream, between) in [
            (&b""[..], true),
            (b"data: x", false),
            (b"data: x\n", false),
            (b"data: x\n\n", true),
            (b"data: x\r\n", false),
            (b"data: x\r\n\r\n", true),
            (b"data: x\r\r", true),
            (b"data: x\r", false),
            (b"data: x\n\r\n", true),
            (b"data: x\n\ndata", false),
            (b": c\n\n\n", true),
        ] {
            assert_eq!(after(stream), between, "{:?}", String::from_utf8_lossy(stream));
        }
    }

    /// What the events of a stream say: `NAME=DATA`, `.` behind those that have ended.
    fn told<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<String> {
        let (mut events, mut told) = (Events::default(), Vec::new());
        let mut data = Vec::new();
        for piece in pieces {
            let mut at = 0;
            while let Some(part) = events.next(piece, &mut at) {
                match part {
                    Part::Begin => told.push(String::new()),
                    Part::Data(more) => data.extend_from_slice(more),
                    Part::Name => {}
                    Part::End => {
                        let name = String::from_utf8_lossy(events.name()).into_owned();
                        *told.last_mut().expect("a beginning") = format!("{name}={}.", String::from_utf8_lossy(&std::mem::take(&mut data)));
                    }
                }
            }
        }
        told
    }

    #[test]
    fn events_say_their_name_and_data() {
        for (stream, expected) in [
            ("", &[][..]),
            ("\n\n\r\n", &[]),
            ("data: a\n\n", &["=a."]),
            ("data: a", &[""]),
            ("data:a\ndata:  b\ndata:\n\n", &["=a\n b\n."]),
            ("event: e\rdata: a\r\rdata: b\r\r", &["e=a.", "=b."]),
            ("data: a\r\nevent:e\r\n\r\n: c\r\n\r\n", &["e=a.", "=."]),
            ("event: e\nevent: f\ndata\ndatabase: 1\neven: 2\n data: 3\n\n", &["f=."]),
            ("event: 0123456789012345678901234567890123456789more\n\n", &["0123456789012345678901234567890123456789=."]),
        ] {
            assert_eq!(told([stream.as_bytes()]), expected, "{stream:?}");
            assert_eq!(told(stream.as_bytes().chunks(1)), expected, "{stream:?} byte by byte");
        }
    }

    proptest::proptest! {
        #[test]
        fn events_do_not_depend_on_cuts(words in proptest::collection::vec(proptest::sample::select(vec!["data:", "data: ", "event:", "e", ":", " ", "\n", "\r", "\r\n", "\n\n"]), 0..24), cut in 0usize..80) {
            let stream = words.concat().into_bytes();
            let (before, after) = stream.split_at(cut.min(stream.len()));
            proptest::prop_assert_eq!(told([before, after]), told([&stream[..]]));
            proptest::prop_assert_eq!(told(stream.chunks(1)), told([&stream[..]]));
        }

        #[test]
        fn cutting_changes_nothing(stream in proptest::collection::vec(proptest::sample::select(b"\n\rx".to_vec()), 0..24), cut in 0usize..24) {
            let cut = cut.min(stream.len());
            let mut boundary = Boundary::default();
            boundary.feed(&stream[..cut]);
            boundary.feed(&stream[cut..]);
            let mut one_by_one = Boundary::default();
            stream.chunks(1).for_each(|byte| one_by_one.feed(byte));
            proptest::prop_assert_eq!(boundary.is_between_events(), after(&stream));
            proptest::prop_assert_eq!(one_by_one.is_between_events(), after(&stream));
        }
    }
}
