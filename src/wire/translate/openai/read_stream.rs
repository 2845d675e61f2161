//! The chunks of a streamed chat completion, read.
//!
//! How it ended is told when `[DONE]` comes, not with `finish_reason`: usage comes behind that, and from some servers more of the answer.

use super::completion::{CallPiece, Choice, Completion, Finish, Said, Speech, made_id, settled, wrapped};
use crate::money::Usage;
use crate::wire::json::{Kind, Raw};
use crate::wire::translate::form::{Block, Delta, Event, Stop, Text};

/// What ends a stream.
const DONE: &[u8] = b"[DONE]";

/// The most calls of one reply; pieces of others are not known.
const MOST_CALLS: usize = 256;

/// The longest arguments that are held because they do not begin as an object; a piece beyond is left out.
const MAX_HELD: usize = 64 << 10;

/// Reads one stream.
#[derive(Debug, Default)]
pub(in super::super) struct StreamReader {
    /// The reply's id, once it has begun.
    id: Option<String>,
    /// How many blocks have been opened.
    blocks: u32,
    /// The block of words that is open.
    speech: Option<(Speech, u32)>,
    /// The calls so far: they stay open, since pieces of any may follow.
    calls: Vec<Call>,
    has_refusal: bool,
    stop: Option<Stop<'static>>,
    usage: Option<Usage>,
    over: bool,
}

/// A call under way.
#[derive(Debug)]
struct Call {
    index: u64,
    id: String,
    name: String,
    /// Its block, opened when its name is known.
    block: Option<u32>,
    /// Whether its arguments begin as an object, so that they go on as they come. Others are held, to be wrapped into one.
    flows: bool,
    held: String,
}

type Emit<'e> = dyn FnMut(Event<'_>) + 'e;

impl StreamReader {
    /// Reads the data of one event. False: nothing is known of it.
    pub(in super::super) fn event(&mut self, data: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> bool {
        if self.over {
            return true;
        }
        if data.trim_ascii() == DONE {
            self.complete(emit);
            return true;
        }
        let Some(raw) = Raw::parse(data).ok().filter(|raw| raw.kind() == Kind::Object) else { return false };
        let completion = Completion::read(raw);
        if let Some(failure) = completion.error(raw) {
            self.over = true;
            emit(Event::Error(failure));
            return true;
        }
        self.usage = completion.usage().or(self.usage);
        let mut known = completion.is_known();
        for choice in completion.choices().filter(Choice::is_first) {
            self.start(&completion, emit);
            known &= self.choice(&choice, emit);
        }
        known
    }

    /// The stream ended without `[DONE]`: completes it where all but that had come.
    pub(in super::super) fn end(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if self.stop.is_some() && !self.over {
            self.complete(emit);
        }
    }

    /// The first chunk with an answer tells what it is an answer of; Azure sends one before that knows neither id nor model.
    fn start(&mut self, completion: &Completion<'_>, emit: &mut Emit<'_>) {
        if self.id.is_some() {
            return;
        }
        let text = |raw: Option<Raw<'_>>| raw.and_then(Raw::as_str).unwrap_or_default().into_owned();
        let id = self.id.insert(text(completion.id));
        emit(Event::Start {
            id: id.as_str().into(),
            model: text(completion.model).into(),
            created: completion.created.and_then(Raw::as_u64),
            usage: self.usage.unwrap_or_default(),
        });
    }

    /// False: some of it can't be read.
    fn choice(&mut self, choice: &Choice<'_>, emit: &mut Emit<'_>) -> bool {
        let mut read = choice.said.words(&mut |kind, text| self.say(kind, text, emit));
        read &= self.calls(&choice.said, emit);
        match choice.finish() {
            Finish::Open => {}
            // Told twice, the word that says more than `stop` counts.
            Finish::Stop(Stop::End) if self.stop.is_some() => {}
            Finish::Stop(stop) => self.stop = Some(stop.into_owned()),
            Finish::Broken(failure) => {
                self.over = true;
                emit(Event::Error(failure));
            }
        }
        read
    }

    fn say(&mut self, kind: Speech, text: Text<'_>, emit: &mut Emit<'_>) {
        let block = match self.speech {
            Some((open, block)) if open == kind => block,
            _ => {
                self.hush(emit);
                let block = self.next_block();
                self.speech = Some((kind, block));
                self.has_refusal |= kind == Speech::Refusal;
                let opened = match kind {
                    Speech::Thought => Block::Thought,
                    Speech::Text => Block::Text,
                    Speech::Refusal => Block::Refusal,
                };
                emit(Event::Open(block, opened));
                block
            }
        };
        emit(Event::Delta(block, Delta::Text(text)));
    }

    /// Closes the block of words.
    fn hush(&mut self, emit: &mut Emit<'_>) {
        if let Some((_, block)) = self.speech.take() {
            emit(Event::Close(block));
        }
    }

    fn next_block(&mut self) -> u32 {
        let block = self.blocks;
        self.blocks += 1;
        block
    }

    fn calls(&mut self, said: &Said<'_>, emit: &mut Emit<'_>) -> bool {
        let mut read = true;
        for (nth, piece) in said.calls().enumerate() {
            read &= self.call(&piece, nth as u64, emit);
        }
        read
    }

    /// A piece of a call, the `nth` in its chunk.
    fn call(&mut self, piece: &CallPiece<'_>, nth: u64, emit: &mut Emit<'_>) -> bool {
        let at = self.find(piece, nth).unwrap_or(self.calls.len());
        if at == self.calls.len() {
            if at == MOST_CALLS {
                return false;
            }
            let (index, id) = (piece.index.unwrap_or(nth), piece.id.to_string());
            self.calls.push(Call { index, id, name: String::new(), block: None, flows: false, held: String::new() });
        }
        if !piece.name.is_empty() {
            self.open(at, &piece.name, emit);
        }
        if let Some(call) = self.calls.get_mut(at) {
            call.argue(&piece.arguments, emit);
        }
        true
    }

    /// The call that a piece belongs to, if it is not the first of one: by its index, else its id, else its place in the chunk.
    fn find(&self, piece: &CallPiece<'_>, nth: u64) -> Option<usize> {
        let by_id = || self.calls.iter().rposition(|call| !piece.id.is_empty() && call.id == piece.id);
        let by_index = |index| self.calls.iter().rposition(|call| call.index == index);
        let at = match piece.index {
            Some(index) => by_index(index),
            None => by_id().or_else(|| by_index(nth)),
        }?;
        self.calls.get(at).is_some_and(|call| !call.is_another(piece)).then_some(at)
    }

    /// Opens a call whose name is known now.
    fn open(&mut self, at: usize, name: &str, emit: &mut Emit<'_>) {
        if self.calls.get(at).is_none_or(|call| call.block.is_some()) {
            return;
        }
        self.hush(emit);
        let block = self.next_block();
        let Some(call) = self.calls.get_mut(at) else { return };
        (call.name, call.block) = (name.into(), Some(block));
        let made = call.id.is_empty().then(|| made_id(self.id.as_deref().unwrap_or_default(), at));
        let id = made.as_deref().unwrap_or(&call.id).into();
        emit(Event::Open(block, Block::Call { id, name: name.into() }));
    }

    /// All has come; nothing at all is no reply.
    fn complete(&mut self, emit: &mut Emit<'_>) {
        if self.id.is_none() {
            return;
        }
        self.over = true;
        self.hush(emit);
        self.calls.iter().for_each(|call| call.close(emit));
        let has_calls = self.calls.iter().any(|call| call.block.is_some());
        emit(Event::Stop(settled(self.stop.take(), has_calls, self.has_refusal)));
        if let Some(usage) = self.usage {
            emit(Event::Usage(usage));
        }
        emit(Event::End);
    }
}

impl Call {
    /// Whether a piece begins another call under this one's index, as servers do that give every call the same. An id alone does not
    /// tell: there are servers that make up a new one for each piece.
    fn is_another(&self, piece: &CallPiece<'_>) -> bool {
        let ids_differ = !self.id.is_empty() && !piece.id.is_empty() && self.id != piece.id;
        !self.name.is_empty() && !piece.name.is_empty() && (ids_differ || self.name != piece.name)
    }

    /// More of its arguments. White space before them is left out: clients that parse what has come so far take it for broken.
    fn argue(&mut self, text: &str, emit: &mut Emit<'_>) {
        if let (Some(block), true) = (self.block, self.flows) {
            return pass(block, text, emit);
        }
        let text = if self.held.is_empty() { text.trim_start() } else { text };
        let room = MAX_HELD.saturating_sub(self.held.len());
        let begins = if self.held.is_empty() { text } else { &self.held }.starts_with('{');
        if let (Some(block), true) = (self.block, begins) {
            self.flows = true;
            pass(block, &std::mem::take(&mut self.held), emit);
            pass(block, text, emit);
        } else if text.len() <= room {
            self.held.push_str(text);
        }
    }

    fn close(&self, emit: &mut Emit<'_>) {
        let Some(block) = self.block else { return };
        match self.held.trim() {
            "" | "null" => {}
            held => pass(block, &wrapped(held), emit),
        }
        emit(Event::Close(block));
    }
}

fn pass(block: u32, text: &str, emit: &mut Emit<'_>) {
    if !text.is_empty() {
        emit(Event::Delta(block, Delta::Text(text.into())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::translate::form::Failure;
    use proptest::prelude::*;

    /// What a stream of these chunks is read as, `[DONE]` included; the words of each step.
    fn read(chunks: &[String]) -> Vec<String> {
        let (mut reader, mut steps) = (StreamReader::default(), Vec::new());
        for chunk in chunks.iter().map(String::as_bytes).chain([DONE]) {
            reader.event(chunk, &mut |event| steps.push(format!("{event:?}")));
        }
        steps
    }

    fn chunk(delta: &str) -> String {
        format!(r#"{{"id":"a","model":"m","choices":[{{"index":0,"delta":{delta}}}]}}"#)
    }

    fn piece(index: usize, name: &str, arguments: &str) -> String {
        chunk(&format!(
            r#"{{"tool_calls":[{{"index":{index},"id":"i{index}","function":{{"name":"{name}","arguments":"{arguments}"}}}}]}}"#
        ))
    }

    #[test]
    fn calls_and_what_is_held_are_bounded() {
        let many: Vec<String> = (0..MOST_CALLS + 5).map(|index| piece(index, "f", "")).collect();
        let opened = read(&many).iter().filter(|step| step.starts_with("Open")).count();
        assert_eq!(opened, MOST_CALLS);
        let long = "x".repeat(MAX_HELD / 2 + 1);
        let held = [piece(0, "f", &long), piece(0, "", &long), piece(0, "", "y")];
        let kept = read(&held).iter().map(String::len).max();
        assert!(kept.is_some_and(|length| (MAX_HELD / 2..MAX_HELD).contains(&length)), "{kept:?}");
    }

    #[test]
    fn nothing_is_read_behind_an_error() {
        let error = r#"{"error":{"message":"Gone"},"choices":[]}"#.to_string();
        let steps = read(&[chunk(r#"{"content":"a"}"#), error.clone(), chunk(r#"{"content":"b"}"#), error]);
        assert_eq!(steps.iter().filter(|step| step.contains("Error")).count(), 1);
        assert!(steps.last().is_some_and(|step| step.starts_with("Error")));
    }

    /// Steps in their order, blocks opened once, counted up, and closed, nothing empty.
    fn check(steps: &[Event<'_>]) -> Result<(), String> {
        let (mut opened, mut open, mut ends) = (0, Vec::new(), 0);
        for (nth, step) in steps.iter().enumerate() {
            let fits = match step {
                Event::Start { .. } => nth == 0,
                Event::Open(block, _) => {
                    opened += 1;
                    open.push(*block);
                    *block + 1 == opened
                }
                Event::Delta(block, Delta::Text(text)) => open.contains(block) && !text.is_empty(),
                Event::Close(block) => open.iter().position(|number| number == block).map(|at| open.remove(at)).is_some(),
                Event::Stop(_) => open.is_empty(),
                Event::End => {
                    ends += 1;
                    nth + 1 == steps.len() && steps.iter().filter(|step| matches!(step, Event::Stop(_))).count() == 1
                }
                Event::Error(_) => nth + 1 == steps.len(),
                Event::Delta(_, Delta::Signature(_)) => false,
                Event::Usage(_) | Event::Ping => true,
            };
            if !fits {
                return Err(format!("step {nth}: {step:?}"));
            }
        }
        if ends == 0 && matches!(steps.last(), Some(Event::Stop(_))) { Err("no end".into()) } else { Ok(()) }
    }

    fn any_delta() -> impl Strategy<Value = String> {
        let call = (0..3usize, "|a|b", "|f|g", r"|\{|\}|\[| |null|\{\}").prop_map(|(index, id, name, arguments)| {
            let index = if index == 2 { String::new() } else { format!(r#""index":{index},"#) };
            format!(r#"{{"tool_calls":[{{{index}"id":"{id}","function":{{"name":"{name}","arguments":"{arguments}"}}}}]}}"#)
        });
        let words = ("content|reasoning|reasoning_content|refusal|x", r#"""|"a"|null|7|\[\]|\[\{"type":"text","text":"b"\}\]"#);
        prop_oneof![call, words.prop_map(|(key, value)| format!(r#"{{"{key}":{value}}}"#)), Just("7".to_string())]
    }

    proptest! {
        #[test]
        fn steps_come_in_their_order(
            deltas in prop::collection::vec(any_delta(), 0..12),
            finish in r#"null|"stop"|"length"|"tool_calls"|"error"|"#,
            junk in r#"\[DONE\]|\{\}|\{"choices":\[7,\{\}\]\}|\{"usage":\{"prompt_tokens":1\}\}|[\[\]{}":,a]{0,9}"#,
            at in 0..12usize,
        ) {
            let mut chunks: Vec<String> = deltas.iter().map(|delta| chunk(delta)).collect();
            chunks.push(format!(r#"{{"choices":[{{"finish_reason":{finish}}}]}}"#));
            chunks.insert(at.min(chunks.len()), junk);
            let (mut reader, mut steps) = (StreamReader::default(), Vec::new());
            for chunk in &chunks {
                reader.event(chunk.as_bytes(), &mut |event| steps.push(unborrowed(event)));
            }
            reader.end(&mut |event| steps.push(unborrowed(event)));
            prop_assert_eq!(check(&steps), Ok(()), "{:?}", chunks);
        }
    }

    /// The step without what it borrows, as far as the check looks at it.
    fn unborrowed(event: Event<'_>) -> Event<'static> {
        match event {
            Event::Start { created, usage, .. } => Event::Start { id: "".into(), model: "".into(), created, usage },
            Event::Open(number, _) => Event::Open(number, Block::Text),
            Event::Delta(number, Delta::Text(text) | Delta::Signature(text)) => Event::Delta(number, Delta::Text(text.into_owned().into())),
            Event::Close(number) => Event::Close(number),
            Event::Stop(_) => Event::Stop(Stop::End),
            Event::Usage(usage) => Event::Usage(usage),
            Event::End => Event::End,
            Event::Error(failure) => Event::Error(Failure { kind: failure.kind, message: "".into(), code: None, param: None }),
            Event::Ping => Event::Ping,
        }
    }
}
