//! A stream of one protocol turned into the other's as it comes: [`Stream`]. It cuts the bytes into events, has each read into steps of the
//! one form and written at once, and holds nothing but the event at hand.

use super::form::{Event, Failure, FailureKind};
use super::ids::{self, Names};
use super::thoughts::{Collector, Kept};
use super::{Plan, anthropic, failure, openai};
use crate::call::Protocol;
use crate::wire::bom::Bom;
use crate::wire::sse::{Events, Part};

/// The longest event that is taken: its data, bytes.
const MAX_EVENT: usize = 256 << 10;

/// A stream under way.
pub struct Stream {
    bom: Bom,
    events: Events,
    /// The data of an event that did not come in one piece.
    data: Vec<u8>,
    client: Protocol,
    reader: Reader,
    writer: Writer,
    collector: Collector,
    state: State,
    names: Names,
    ignored: u64,
}

/// How a stream stands when no more bytes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of the reply has come, or the provider's own error.
    Whole,
    /// It broke off: the client must not take it for whole.
    Cut,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// All has come.
    Over,
    /// The client was told of an error: nothing follows it.
    Failed,
}

enum Reader {
    OpenAi(openai::StreamReader),
    Anthropic(anthropic::StreamReader),
}

enum Writer {
    OpenAi(openai::StreamWriter),
    Anthropic(anthropic::StreamWriter),
}

impl Stream {
    pub(super) fn new(plan: &Plan) -> Self {
        let reader = match plan.upstream {
            Protocol::OpenAi => Reader::OpenAi(openai::StreamReader::default()),
            Protocol::Anthropic => Reader::Anthropic(anthropic::StreamReader::new(plan.answer_tool.clone())),
        };
        let writer = match plan.client {
            Protocol::OpenAi => Writer::OpenAi(openai::StreamWriter::new(plan.include_usage, plan.created)),
            Protocol::Anthropic => Writer::Anthropic(anthropic::StreamWriter::default()),
        };
        Self {
            bom: Bom::default(),
            events: Events::default(),
            data: Vec::new(),
            client: plan.client,
            reader,
            writer,
            collector: Collector::new(plan.client == Protocol::OpenAi),
            state: State::Open,
            names: plan.names.clone(),
            ignored: 0,
        }
    }

    /// Takes the next bytes of the upstream's stream and appends what they mean to `out`: whole events only.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let (from, text) = self.bom.pass(bytes);
        if !text.is_empty() {
            self.take(text, out);
        }
        self.take(bytes.get(from..).unwrap_or_default(), out);
    }

    /// No more bytes come: completes what can be completed.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Ended {
        if self.state == State::Open {
            self.step(out, |reader, emit| {
                match reader {
                    Reader::OpenAi(reader) => reader.end(emit),
                    Reader::Anthropic(_) => {}
                }
                true
            });
        }
        if self.state == State::Open { Ended::Cut } else { Ended::Whole }
    }

    /// Whether the client was told of an error, the provider's or that an event is too long: whatever still comes means nothing to it.
    pub fn has_failed(&self) -> bool {
        self.state == State::Failed
    }

    /// How many events were passed over because nothing is known of them.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// The thinking that the client can't carry and that has come since this was asked last.
    pub fn take_kept(&mut self) -> Vec<Kept> {
        self.collector.take()
    }

    /// Bytes that belong to events.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut at = 0;
        // Where the data of the event at hand stands in `bytes`, as long as it is one slice of them.
        let mut whole: Option<&[u8]> = None;
        while let Some(part) = self.events.next(bytes, &mut at) {
            match part {
                Part::Begin | Part::Name => {}
                Part::Data(piece) if self.data.is_empty() && whole.is_none() => whole = Some(piece),
                Part::Data(piece) => {
                    self.collect(whole.take(), out);
                    self.collect(Some(piece), out);
                }
                Part::End => {
                    let held = std::mem::take(&mut self.data);
                    match whole.take() {
                        Some(data) if held.is_empty() => self.event(data, out),
                        _ if !held.is_empty() => self.event(&held, out),
                        _ => {}
                    }
                    self.data = held;
                    self.data.clear();
                }
            }
        }
        self.collect(whole, out);
    }

    /// Appends to the data of the event at hand.
    fn collect(&mut self, piece: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(piece) = piece else { return };
        if self.data.len() + piece.len() <= MAX_EVENT {
            self.data.extend_from_slice(piece);
        } else if self.state == State::Open {
            let message = format!("the upstream sent an event of more than {MAX_EVENT} bytes, which can't be translated");
            let failure = Failure { kind: FailureKind::Server, message: message.into(), code: None, param: None };
            failure::write_event(self.client, &failure, out);
            self.state = State::Failed;
        }
    }

    /// One event of the upstream's.
    fn event(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let known = self.step(out, |reader, emit| match reader {
            Reader::OpenAi(reader) => reader.event(data, emit),
            Reader::Anthropic(reader) => reader.event(data, emit),
        });
        self.ignored += u64::from(!known);
    }

    fn step(&mut self, out: &mut Vec<u8>, read: impl FnOnce(&mut Reader, &mut dyn FnMut(Event<'_>)) -> bool) -> bool {
        let Self { reader, writer, collector, state, client, names, .. } = self;
        read(reader, &mut |mut event| {
            if *state != State::Open {
                return;
            }
            ids::restore_name(&mut event, names);
            collector.see(&event);
            match (&event, &mut *writer) {
                (Event::Error(failure), _) => failure::write_event(*client, failure, out),
                (_, Writer::OpenAi(writer)) => writer.event(&event, out),
                (_, Writer::Anthropic(writer)) => writer.event(&event, out),
            }
            match event {
                Event::End => *state = State::Over,
                Event::Error(_) => *state = State::Failed,
                _ => {}
            }
        })
    }
}
