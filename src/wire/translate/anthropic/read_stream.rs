//! The events of a streamed message, read.
//!
//! A message comes block by block; the events of a block bear its index, and nothing is taken for granted about the order in which blocks
//! come and go. Events, blocks and deltas of types unknown here are passed over, as the protocol asks of its clients, and counted.

use super::read_reply::{arguments, read_stop, settled};
use super::read_usage::Counts;
use crate::call::Protocol;
use crate::wire::json::Raw;
use crate::wire::translate::failure;
use crate::wire::translate::form::{Block, Delta, Event, Stop, Text};

/// The most blocks that may be open at once. The provider's own streams have one.
const MAX_OPEN: usize = 128;

/// Reads one stream.
#[derive(Debug)]
pub(in super::super) struct StreamReader {
    /// See [`Plan::answer_tool`](crate::wire::translate::Plan::answer_tool).
    answer_tool: Option<String>,
    stage: Stage,
    open: Vec<Open>,
    /// How many blocks have begun: the next one's number.
    begun: u32,
    /// Whether there was a call; of the answer tool; of another.
    answered: bool,
    called: bool,
    counts: Counts,
    stop: Stop<'static>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Before,
    Within,
    Over,
}

/// A block that has begun and not ended.
#[derive(Debug)]
struct Open {
    /// Its index in the message.
    index: u64,
    /// Its number in the form, where passed-over blocks don't count.
    number: u32,
    kind: Kind,
}

/// What an open block is.
#[derive(Debug)]
enum Kind {
    Text,
    Thought,
    Redacted,
    Call(Arguments),
    Answer(Arguments),
}

/// The members of an event. Taken all at once: events are small and many.
#[derive(Default)]
struct Told<'a> {
    kind: Text<'a>,
    index: Option<u64>,
    /// What it is about: the message, the block, or the delta.
    about: Option<Raw<'a>>,
    usage: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
}

/// What has come of a call's arguments.
#[derive(Debug)]
enum Arguments {
    /// Nothing.
    None,
    /// All, as it seems, with the block's beginning, which is how some servers do it. If pieces follow, they are the arguments.
    Held(String),
    /// Pieces, passed on.
    Begun,
}

impl StreamReader {
    /// A call of `answer_tool` is the answer's text, and does not count as a call.
    pub(in super::super) fn new(answer_tool: Option<String>) -> Self {
        Self {
            answer_tool,
            stage: Stage::Before,
            open: Vec::new(),
            begun: 0,
            answered: false,
            called: false,
            counts: Counts::default(),
            stop: Stop::End,
        }
    }

    /// Reads the data of one event. False: nothing is known of it.
    pub(in super::super) fn event(&mut self, data: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> bool {
        let Ok(raw) = Raw::parse(data) else { return false };
        if self.stage == Stage::Over {
            return false;
        }
        let told = Told::of(raw);
        match (told.kind.as_ref(), self.stage) {
            ("content_block_delta", Stage::Within) => return self.delta(&told, emit).is_some(),
            ("ping", _) => emit(Event::Ping),
            ("error", _) => self.error(told.error.unwrap_or(raw), emit),
            // Servers between us and the provider leave the type out.
            ("", _) => match told.error {
                Some(error) => self.error(error, emit),
                None => return false,
            },
            ("message_start", Stage::Before) => self.start(told.about, emit),
            ("content_block_start", Stage::Within) => return self.open(&told, emit).is_some(),
            ("content_block_stop", Stage::Within) => return self.close(&told, emit).is_some(),
            ("message_delta", Stage::Within) => self.message_delta(&told),
            ("message_stop", Stage::Within) => self.end(emit),
            _ => return false,
        }
        true
    }

    fn error(&mut self, error: Raw<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        self.stage = Stage::Over;
        emit(Event::Error(failure::read_error(Protocol::Anthropic, error)));
    }

    fn start(&mut self, message: Option<Raw<'_>>, emit: &mut dyn FnMut(Event<'_>)) {
        self.stage = Stage::Within;
        let text = |name| message.and_then(|message| message.str_of(name)).unwrap_or_default();
        if let Some(usage) = message.and_then(|message| message.get("usage")) {
            self.counts.read(usage);
        }
        emit(Event::Start { id: text("id"), model: text("model"), created: None, usage: self.counts.usage() });
    }

    /// `content_block_start`. What a block begins with is its first piece; the provider itself begins with nothing.
    fn open(&mut self, told: &Told<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Option<()> {
        let (index, block) = (told.index?, told.about?);
        // A server that begins a block at the place of another has ended that.
        self.take(index).into_iter().for_each(|before| before.close(emit));
        if self.open.len() == MAX_OPEN {
            return None;
        }
        let number = self.begun;
        let first = |name| block.str_of(name).filter(|text| !text.is_empty());
        let kind = match block.str_of("type")?.as_ref() {
            "text" => {
                emit(Event::Open(number, Block::Text));
                pass(first("text"), |text| emit(Event::Delta(number, Delta::Text(text))));
                Kind::Text
            }
            "thinking" => {
                emit(Event::Open(number, Block::Thought));
                pass(first("thinking"), |text| emit(Event::Delta(number, Delta::Text(text))));
                pass(first("signature"), |text| emit(Event::Delta(number, Delta::Signature(text))));
                Kind::Thought
            }
            "redacted_thinking" => {
                emit(Event::Open(number, Block::Redacted(first("data")?)));
                Kind::Redacted
            }
            "tool_use" => self.open_call(first("id")?, first("name")?, Arguments::of(block.get("input")), emit)?,
            _ => return None,
        };
        self.begun += 1;
        self.open.push(Open { index, number, kind });
        Some(())
    }

    /// A call, or the answer in the form of one. Of answers only the first is passed on: one is JSON, two in a row are not.
    fn open_call(&mut self, id: Text<'_>, name: Text<'_>, arguments: Arguments, emit: &mut dyn FnMut(Event<'_>)) -> Option<Kind> {
        if self.answer_tool.as_deref() != Some(name.as_ref()) {
            self.called = true;
            emit(Event::Open(self.begun, Block::Call { id, name }));
            return Some(Kind::Call(arguments));
        }
        if std::mem::replace(&mut self.answered, true) {
            return None;
        }
        emit(Event::Open(self.begun, Block::Text));
        Some(Kind::Answer(arguments))
    }

    /// `content_block_delta`. One that does not fit its block is unknown.
    fn delta(&mut self, told: &Told<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Option<()> {
        let (index, delta) = (told.index?, told.about?);
        let block = self.open.iter_mut().rfind(|block| block.index == index)?;
        let delta = match (delta.str_of("type")?.as_ref(), &mut block.kind) {
            ("text_delta", Kind::Text) => Delta::Text(delta.str_of("text")?),
            ("thinking_delta", Kind::Thought) => Delta::Text(delta.str_of("thinking")?),
            ("signature_delta", Kind::Thought) => Delta::Signature(delta.str_of("signature")?),
            ("input_json_delta", Kind::Call(arguments) | Kind::Answer(arguments)) => {
                let piece = delta.str_of("partial_json")?;
                if !piece.is_empty() {
                    *arguments = Arguments::Begun;
                }
                Delta::Text(piece)
            }
            _ => return None,
        };
        let (Delta::Text(text) | Delta::Signature(text)) = &delta;
        if !text.is_empty() {
            emit(Event::Delta(block.number, delta));
        }
        Some(())
    }

    /// `content_block_stop`.
    fn close(&mut self, told: &Told<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Option<()> {
        self.take(told.index?)?.close(emit);
        Some(())
    }

    /// `message_delta`. There may be several, so that nothing is final before the message's end.
    fn message_delta(&mut self, told: &Told<'_>) {
        if let Some(usage) = told.usage {
            self.counts.read(usage);
        }
        if let Some(stop) = told.about.and_then(read_stop) {
            self.stop = match stop {
                Stop::Sequence(text) => Stop::Sequence(text.into_owned().into()),
                Stop::End => Stop::End,
                Stop::Length => Stop::Length,
                Stop::Calls => Stop::Calls,
                Stop::Refusal => Stop::Refusal,
            };
        }
    }

    /// `message_stop`.
    fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        self.stage = Stage::Over;
        self.open.drain(..).for_each(|block| block.close(emit));
        emit(Event::Stop(settled(std::mem::replace(&mut self.stop, Stop::End), self.called)));
        emit(Event::Usage(self.counts.usage()));
        emit(Event::End);
    }

    /// The open block at this index, no longer open.
    fn take(&mut self, index: u64) -> Option<Open> {
        let at = self.open.iter().rposition(|block| block.index == index)?;
        Some(self.open.remove(at))
    }
}

impl<'a> Told<'a> {
    fn of(event: Raw<'a>) -> Self {
        let mut told = Self::default();
        for (name, value) in event.members().filter(|(_, value)| !value.is_null()) {
            match name.as_ref() {
                "type" => told.kind = value.as_str().unwrap_or_default(),
                "index" => told.index = value.as_u64(),
                "delta" | "content_block" | "message" => told.about = Some(value),
                "usage" => told.usage = Some(value),
                "error" => told.error = Some(value),
                _ => {}
            }
        }
        told
    }
}

impl Open {
    fn close(self, emit: &mut dyn FnMut(Event<'_>)) {
        let mut piece = |text: Text<'_>| emit(Event::Delta(self.number, Delta::Text(text)));
        match self.kind {
            Kind::Call(Arguments::Held(whole)) | Kind::Answer(Arguments::Held(whole)) => piece(whole.into()),
            // To a call, no arguments mean an empty object; a text must say so.
            Kind::Answer(Arguments::None) => piece("{}".into()),
            _ => {}
        }
        emit(Event::Close(self.number));
    }
}

impl Arguments {
    /// What a call begins with.
    fn of(input: Option<Raw<'_>>) -> Self {
        let told = arguments(input);
        let is_empty = told.bytes().all(|byte| matches!(byte, b'{' | b'}') || byte.is_ascii_whitespace());
        if is_empty { Self::None } else { Self::Held(told.into_owned()) }
    }
}

fn pass<'a>(text: Option<Text<'a>>, to: impl FnOnce(Text<'a>)) {
    if let Some(text) = text {
        to(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &mut StreamReader, data: &str) -> (bool, usize) {
        let mut events = 0;
        let known = reader.event(data.as_bytes(), &mut |_| events += 1);
        (known, events)
    }

    #[test]
    fn open_blocks_have_a_bound() {
        let mut reader = StreamReader::new(None);
        read(&mut reader, r#"{"type":"message_start"}"#);
        for index in 0..MAX_OPEN + 10 {
            let begin = format!(r#"{{"type":"content_block_start","index":{index},"content_block":{{"type":"text"}}}}"#);
            assert_eq!(read(&mut reader, &begin), if index < MAX_OPEN { (true, 1) } else { (false, 0) });
        }
        assert_eq!(read(&mut reader, r#"{"type":"message_stop"}"#), (true, MAX_OPEN + 3));
    }

    #[test]
    fn nothing_is_passed_on_before_the_beginning_or_behind_the_end() {
        let mut reader = StreamReader::new(None);
        assert_eq!(read(&mut reader, r#"{"type":"message_stop"}"#), (false, 0));
        assert_eq!(read(&mut reader, r#"{"type":"ping"}"#), (true, 1));
        read(&mut reader, r#"{"type":"message_start","message":{}}"#);
        assert_eq!(read(&mut reader, r#"{"type":"message_stop"}"#), (true, 3));
        assert_eq!(read(&mut reader, r#"{"type":"message_stop"}"#), (false, 0));
        assert_eq!(read(&mut reader, r#"{"type":"error","error":{}}"#), (false, 0));
    }

    /// Events that a stream may be made of, in any order.
    const STEPS: [&str; 24] = [
        r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":"A"}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"A","signature":"s"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"d"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking"}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{"a":1}}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"answer"}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"t","name":"f"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"B"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"B"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"t"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"."}}"#,
        r#"{"type":"message_stop"}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"#,
    ];

    /// What the form promises to writers, checked step by step.
    #[derive(Default)]
    struct Promise {
        started: bool,
        opened: u32,
        open: Vec<(u32, bool)>,
        called: bool,
        stops: u32,
        usages: u32,
        ended: bool,
    }

    impl Promise {
        fn see(&mut self, event: &Event<'_>) {
            assert!(!self.ended, "{event:?} behind the end");
            assert!(self.started || matches!(event, Event::Start { .. } | Event::Ping | Event::Error(_)), "{event:?} before the start");
            match event {
                Event::Start { .. } => assert!(!std::mem::replace(&mut self.started, true)),
                Event::Open(number, block) => {
                    assert_eq!(*number, self.opened);
                    self.opened += 1;
                    self.called |= matches!(block, Block::Call { .. });
                    self.open.push((*number, *block == Block::Thought));
                }
                Event::Delta(number, delta) => {
                    let (Delta::Text(text) | Delta::Signature(text)) = delta;
                    let is_thought = self.open.iter().find(|(open, _)| open == number).expect("it is open").1;
                    assert!(!text.is_empty() && (is_thought || matches!(delta, Delta::Text(_))));
                }
                Event::Close(number) => {
                    let at = self.open.iter().position(|(open, _)| open == number).expect("it is open");
                    self.open.remove(at);
                }
                Event::Stop(stop) => {
                    assert!(self.open.is_empty());
                    assert!(self.called || *stop != Stop::Calls);
                    self.stops += 1;
                }
                Event::Usage(_) => self.usages += 1,
                Event::End => {
                    assert_eq!((self.stops, self.usages), (1, 1));
                    self.ended = true;
                }
                Event::Error(_) => self.ended = true,
                Event::Ping => {}
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_in_whatever_order_the_form_holds(steps in proptest::collection::vec(0..STEPS.len(), 0..60)) {
            let mut reader = StreamReader::new(Some("answer".into()));
            let mut promise = Promise::default();
            // Left to chance, most streams would end, or not begin, at once.
            let begin = [STEPS[0]].into_iter().filter(|_| steps.len() % 8 != 0);
            let may_end = steps.len() % 4 == 0;
            let rest = steps.iter().map(|step| STEPS[*step]).filter(|data| may_end || !data.contains("message_stop"));
            for data in begin.chain(rest) {
                reader.event(data.as_bytes(), &mut |event| promise.see(&event));
            }
            reader.event(br#"{"type":"message_stop"}"#, &mut |event| promise.see(&event));
            proptest::prop_assert_eq!(promise.ended, promise.started);
        }
    }
}
