//! The provider's own account of a reply, found in its bytes as they pass: [`Meter`]. Nothing is collected but the values looked for, each
//! at most 64 KiB, and nothing depends on how the bytes were cut. And the edit that goes with asking for it: [`WithoutUsage`].
//!
//! Where the account stands:
//!
//! | endpoint | JSON | events |
//! |---|---|---|
//! | chat completions, completions, others | `usage`, `service_tier` | the same in any chunk, also `x_groq.usage`; the last that says something counts; told more than once, it is a running count, whole when the stream has ended |
//! | responses | `usage`, `service_tier` | `response.usage`, `response.service_tier`; whole only in an event that ends the response |
//! | embeddings | `usage` | – |
//! | messages | `usage` | `message.usage` of `message_start`, overridden field by field by `usage` of `message_delta`, which makes it whole |
//!
//! A reply that is compressed, or is no JSON, says nothing.

mod counts;
mod pick;
mod without;

pub use without::WithoutUsage;

use crate::call::Endpoint;
use crate::money::{Reported, Usage};
use crate::wire::bom::Bom;
use crate::wire::sse::{Events, Part};
use counts::{Counting, Counts};
use pick::{Picker, Shape, What};

/// What one usage object of this endpoint's tells, in disjoint classes; `None` where it tells nothing.
///
/// One reading for all: what a client is told is what it is charged for.
pub(in crate::wire) fn told(endpoint: Endpoint, usage: &[u8]) -> Option<Usage> {
    Counts::default().and(usage)?.usage(Counting::of(endpoint))
}

/// What ends a stream of OpenAI's.
const DONE: &[u8] = b"[DONE]";

/// Looks at the bytes of one reply. The result does not depend on how they were cut.
///
/// ```
/// use iron_runtime::call::Endpoint;
/// use iron_runtime::wire::usage::Meter;
/// let mut meter = Meter::new(Endpoint::ChatCompletions, false);
/// meter.feed(br#"{"choices":[],"usage":{"prompt_tokens":8,"completion_tok"#);
/// meter.feed(br#"ens":3}}"#);
/// let reported = meter.reported();
/// assert!(reported.complete);
/// assert_eq!(reported.usage.map(|usage| (usage.input, usage.output)), Some((8, 3)));
/// ```
#[derive(Debug)]
pub struct Meter {
    events: Option<Events>,
    bom: Bom,
    picker: Picker,
    stream: Stream,
    findings: Findings,
}

/// How far a stream of events has come.
#[derive(Debug, Default)]
struct Stream {
    /// How much of [`DONE`] the data of the event at hand has begun with; `None`: with something else.
    done: Option<usize>,
    /// Where in the piece at hand the event at hand began.
    began: usize,
    /// The same of the event that ends the stream, once that is known.
    last_began: Option<usize>,
    over: bool,
}

/// What was found.
#[derive(Debug)]
struct Findings {
    endpoint: Endpoint,
    events: bool,
    counts: Counts,
    complete: bool,
    /// Whether the event at hand told a usage.
    told: bool,
    /// How many events of a chat stream have told one: of more than one, none is known to be the last before the stream has ended.
    times_told: u32,
    /// Whether the event at hand ends the stream.
    last: bool,
}

impl Meter {
    /// For a reply of this endpoint; `events`: it is a stream of server-sent events, else one JSON value.
    pub fn new(endpoint: Endpoint, events: bool) -> Self {
        let shape = match endpoint {
            _ if !events => Shape::Reply,
            Endpoint::Responses => Shape::Response,
            Endpoint::Messages => Shape::Message,
            _ => Shape::Chunk,
        };
        Self {
            events: events.then(Events::default),
            bom: Bom::default(),
            picker: Picker::new(shape),
            stream: Stream::default(),
            findings: Findings { endpoint, events, counts: Counts::default(), complete: false, told: false, times_told: 0, last: false },
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.stream.began = 0;
        self.stream.last_began = self.stream.last_began.map(|_| 0);
        let (from, text) = self.bom.pass(bytes);
        if !text.is_empty() {
            self.walk(text, 0);
        }
        self.walk(bytes, from);
    }

    /// Whether the event that ends the stream has told all it has to tell: `[DONE]`, `message_stop`, `response.completed` and its like, or
    /// an error has been read to the end of its data; of a reply in one piece, whether its object has ended. From here on
    /// [`Meter::reported`] is final.
    pub fn is_over(&self) -> bool {
        self.stream.over || self.value_ended()
    }

    fn value_ended(&self) -> bool {
        self.events.is_none() && self.picker.has_ended()
    }

    /// Where in the piece fed last the event that ends the stream begins: 0 where it began in an earlier piece, and where an object has
    /// ended that is no stream; `None` where no such event has been recognised.
    ///
    /// It is recognised before the line that gives it away is whole, so that no client can have acted on what was passed on before: who
    /// holds back the bytes from here on until [`Meter::is_over`] and settles then, has settled before the client sees the end. When the
    /// stream ends while bytes are held, they are passed on as they are; and so are those of an event that is longer than one cares to
    /// hold (it may repeat the whole response): its data ends in a later piece, which is held in its turn.
    pub fn terminal_at(&self) -> Option<usize> {
        self.stream.last_began.or_else(|| self.value_ended().then_some(0))
    }

    /// What was found so far.
    pub fn reported(&self) -> Reported {
        let Findings { endpoint, complete, counts, .. } = &self.findings;
        let usage = counts.usage(Counting::of(*endpoint));
        let ended = self.stream.over || self.findings.times_told <= 1;
        Reported { usage, complete: *complete && ended && usage.is_some(), tier: counts.tier }
    }

    /// The reply has ended as it should, with or without an event that says so: a running count is whole now.
    pub fn end(&mut self) {
        self.findings.times_told = 0;
    }

    fn walk(&mut self, bytes: &[u8], from: usize) {
        let Self { events, picker, stream, findings, .. } = self;
        let Some(events) = events else {
            return picker.feed(&bytes[from..], &mut |what, value| findings.take(what, value));
        };
        let mut at = from;
        while let Some(part) = events.next(bytes, &mut at) {
            match part {
                Part::Begin => {
                    stream.begin(at);
                    findings.begin();
                    picker.reset();
                }
                Part::Data(data) => {
                    findings.last |= stream.is_done(data);
                    picker.feed(data, &mut |what, value| findings.take(what, value));
                }
                Part::Name => findings.kind(events.name()),
                Part::End => {}
            }
            if findings.last {
                stream.ends(part == Part::End || picker.has_ended());
            }
        }
    }
}

impl Stream {
    fn begin(&mut self, at: usize) {
        self.began = at;
        self.done = Some(0);
    }

    /// Whether the data of the event at hand begins with [`DONE`], as far as has come with its next bytes.
    fn is_done(&mut self, data: &[u8]) -> bool {
        let Some(before) = self.done.take() else { return false };
        let length = data.len().min(DONE.len() - before);
        if data[..length] != DONE[before..before + length] {
            return false;
        }
        let is_done = before + length == DONE.len();
        self.over |= is_done;
        self.done = (!is_done).then_some(before + length);
        is_done
    }

    /// The event at hand is the last one.
    fn ends(&mut self, told_all: bool) {
        self.last_began.get_or_insert(self.began);
        self.over |= told_all;
    }
}

impl Findings {
    fn begin(&mut self) {
        (self.told, self.last) = (false, false);
    }

    /// A wanted value; without its text when that is too long to be what it should be.
    fn take(&mut self, what: What, value: Option<&[u8]>) {
        match (what, value) {
            (What::Usage | What::FirstUsage, Some(value)) => self.usage(what, value),
            (What::Tier, Some(value)) => self.counts.tier = counts::tier(&pick::string(value).unwrap_or_default()).or(self.counts.tier),
            (What::Kind, Some(value)) => self.kind(&pick::string(value).unwrap_or_default()),
            (What::Error, value) => self.last |= !value.is_some_and(is_nothing),
            _ => {}
        }
    }

    /// A usage object. One without figures, or with nothing but zeros where that can't be all, is not listened to.
    fn usage(&mut self, what: What, value: &[u8]) {
        let Some(alone) = self.counts.only_tier().and(value) else { return };
        if self.events && self.endpoint == Endpoint::Messages {
            if alone == alone.only_tier() {
                return;
            }
            self.counts = self.counts.and(value).unwrap_or(alone);
            self.complete |= what == What::Usage;
        } else if alone.usage(Counting::of(self.endpoint)).is_some() {
            self.counts = alone;
            if self.events && self.endpoint != Endpoint::Responses && !std::mem::replace(&mut self.told, true) {
                self.times_told = self.times_told.saturating_add(1);
            }
            self.told = true;
            self.complete = !(self.events && self.endpoint == Endpoint::Responses) || self.last;
        }
    }

    /// The kind of the event at hand, by its name or its own word.
    fn kind(&mut self, kind: &[u8]) {
        self.last |= match self.endpoint {
            _ if kind == b"error" => true,
            Endpoint::Messages => kind == b"message_stop",
            Endpoint::Responses => {
                matches!(kind, b"response.completed" | b"response.incomplete" | b"response.failed" | b"response.cancelled")
            }
            _ => false,
        };
        self.complete |= self.last && self.told;
    }
}

/// Whether the value of `error` says that there is none. Some servers have the member in every event.
fn is_nothing(error: &[u8]) -> bool {
    let inner = match error {
        [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] | [b'"', inner @ .., b'"'] => inner,
        word => return matches!(word, b"null" | b"false" | b"0"),
    };
    inner.trim_ascii().is_empty()
}

#[cfg(test)]
mod tests;
