//! The chunks of a streamed chat completion, written.
//!
//! What all chunks of a stream begin with is written once and copied from then on. Texts go out as they come; nothing else is held but
//! what each open block needs to be called in its chunks.

use super::write_reply::{THOUGHT_FORMAT, finish_reason};
use super::write_usage::write_usage;
use crate::money::Usage;
use crate::wire::json::{Json, Object};
use crate::wire::translate::form::{Block, Delta, Event};

/// Writes one stream.
#[derive(Debug)]
pub(in super::super) struct StreamWriter {
    include_usage: bool,
    created: u64,
    /// What every chunk begins with, up to its choices.
    envelope: Vec<u8>,
    open: Vec<Open>,
    /// How many calls there were.
    calls: u64,
    /// How many thoughts there were that left a trace.
    thoughts: u64,
    /// Told after the last chunk of the choice, whenever it came.
    usage: Option<Usage>,
}

/// An open block: its number in the form, and what it is.
#[derive(Debug)]
struct Open(u32, Kind);

/// What an open block is called in its chunks.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Refusal,
    /// Its index among the thoughts, from its first piece on: an index without entries would shift the entries of later ones in clients
    /// that collect them in a list.
    Thought(Option<u64>),
    Redacted,
    Call {
        /// Its index among the calls.
        index: u64,
        /// Whether there were arguments.
        begun: bool,
    },
}

impl StreamWriter {
    /// `include_usage`: the client wants the usage in a chunk of its own; `created`: Unix seconds, where the reply does not tell.
    pub(in super::super) fn new(include_usage: bool, created: u64) -> Self {
        Self { include_usage, created, envelope: Vec::new(), open: Vec::new(), calls: 0, thoughts: 0, usage: None }
    }

    /// Writes what a step means to a client, if anything. Errors are not its business.
    pub(in super::super) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created, .. } => {
                self.begin(id, model, created.unwrap_or(self.created));
                self.chunk(out, |delta| {
                    delta.text("role", "assistant");
                    delta.text("content", "");
                    delta.key("refusal").null();
                });
            }
            Event::Open(number, block) => self.open(*number, block, out),
            Event::Delta(number, delta) => self.delta(*number, delta, out),
            Event::Close(number) => self.close(*number, out),
            Event::Stop(stop) => self.choice(out, Some(finish_reason(stop)), |_| {}),
            Event::Usage(usage) => self.usage = Some(*usage),
            Event::End => self.end(out),
            Event::Ping => out.extend_from_slice(b": ping\n\n"),
            Event::Error(_) => {}
        }
    }

    fn begin(&mut self, id: &str, model: &str, created: u64) {
        self.envelope.extend_from_slice(b"data: ");
        Json::new(&mut self.envelope).object(|chunk| {
            chunk.text("id", id);
            chunk.text("object", "chat.completion.chunk");
            chunk.whole("created", created);
            chunk.text("model", model);
            chunk.key("choices").array(|_| {});
        });
        self.envelope.truncate(self.envelope.len() - b"]}".len());
    }

    fn open(&mut self, number: u32, block: &Block<'_>, out: &mut Vec<u8>) {
        let kind = match block {
            Block::Text => Kind::Text,
            Block::Refusal => Kind::Refusal,
            Block::Thought => Kind::Thought(None),
            Block::Redacted(data) => {
                let index = next(&mut self.thoughts);
                self.chunk(out, |delta| {
                    write_detail(delta, |detail| {
                        detail.text("type", "reasoning.encrypted");
                        detail.text("data", data);
                        detail.text("format", THOUGHT_FORMAT);
                        detail.whole("index", index);
                    });
                });
                Kind::Redacted
            }
            Block::Call { id, name } => {
                let index = next(&mut self.calls);
                self.chunk(out, |delta| {
                    write_call(delta, index, |call| {
                        call.text("id", id);
                        call.text("type", "function");
                        call.key("function").object(|function| {
                            function.text("name", name);
                            function.text("arguments", "");
                        });
                    });
                });
                Kind::Call { index, begun: false }
            }
        };
        self.open.push(Open(number, kind));
    }

    fn delta(&mut self, number: u32, delta: &Delta<'_>, out: &mut Vec<u8>) {
        let Self { open, thoughts, .. } = self;
        let Some(Open(_, kind)) = open.iter_mut().rfind(|open| open.0 == number) else { return };
        match (kind, delta) {
            (Kind::Text, Delta::Text(text)) => self.chunk(out, |delta| delta.text("content", text)),
            (Kind::Refusal, Delta::Text(text)) => self.chunk(out, |delta| delta.text("refusal", text)),
            (Kind::Thought(index), delta) => {
                let is_first = index.is_none();
                let index = *index.get_or_insert_with(|| next(thoughts));
                self.chunk(out, |chunk| write_thinking(chunk, delta, index, is_first));
            }
            (Kind::Call { index, begun }, Delta::Text(piece)) => {
                *begun = true;
                let index = *index;
                self.chunk(out, |delta| write_arguments(delta, index, piece));
            }
            _ => {}
        }
    }

    /// Clients parse a call's arguments, so that none are an object without members, not no text.
    fn close(&mut self, number: u32, out: &mut Vec<u8>) {
        let Some(at) = self.open.iter().rposition(|open| open.0 == number) else { return };
        if let Open(_, Kind::Call { index, begun: false }) = self.open.remove(at) {
            self.chunk(out, |delta| write_arguments(delta, index, "{}"));
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if let (true, Some(usage)) = (self.include_usage, self.usage) {
            out.extend_from_slice(&self.envelope);
            out.extend_from_slice(b"],\"usage\":");
            write_usage(&usage, Json::new(out));
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn chunk(&self, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
        self.choice(out, None, fill);
    }

    /// A chunk with one choice.
    fn choice(&self, out: &mut Vec<u8>, finish_reason: Option<&str>, fill: impl FnOnce(&mut Object<'_>)) {
        out.extend_from_slice(&self.envelope);
        Json::new(out).object(|choice| {
            choice.whole("index", 0);
            choice.key("delta").object(fill);
            choice.key("logprobs").null();
            choice.text_or_null("finish_reason", finish_reason);
        });
        let end: &[u8] = if self.include_usage { b"],\"usage\":null}\n\n" } else { b"]}\n\n" };
        out.extend_from_slice(end);
    }
}

/// Counts up; what it was before.
fn next(counter: &mut u64) -> u64 {
    *counter += 1;
    *counter - 1
}

/// A piece of a thought, as text for those who only show it and as a part of an entry for those who send it back. OpenAI's SDK puts entries
/// of one index together by joining their strings, `type` aside: what is the same in all of them stands in the first only.
fn write_thinking(delta: &mut Object<'_>, piece: &Delta<'_>, index: u64, is_first: bool) {
    if let Delta::Text(text) = piece {
        delta.text("reasoning_content", text);
    }
    write_detail(delta, |detail| {
        detail.text("type", "reasoning.text");
        match piece {
            Delta::Text(text) => detail.text("text", text),
            Delta::Signature(signature) => {
                // Thinking whose text the provider leaves out.
                if is_first {
                    detail.text("text", "");
                }
                detail.text("signature", signature);
            }
        }
        if is_first {
            detail.text("format", THOUGHT_FORMAT);
        }
        detail.whole("index", index);
    });
}

fn write_detail(delta: &mut Object<'_>, fill: impl FnOnce(&mut Object<'_>)) {
    delta.key("reasoning_details").array(|details| details.item().object(fill));
}

fn write_arguments(delta: &mut Object<'_>, index: u64, piece: &str) {
    write_call(delta, index, |call| call.key("function").object(|function| function.text("arguments", piece)));
}

fn write_call(delta: &mut Object<'_>, index: u64, fill: impl FnOnce(&mut Object<'_>)) {
    delta.key("tool_calls").array(|calls| {
        calls.item().object(|call| {
            call.whole("index", index);
            fill(call);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Protocol;
    use crate::wire::translate::form::Stop;
    use crate::wire::translate::{Ended, Plan};

    fn written(include_usage: bool, events: &[Event<'_>]) -> String {
        let mut writer = StreamWriter::new(include_usage, 7);
        let mut out = Vec::new();
        events.iter().for_each(|event| writer.event(event, &mut out));
        String::from_utf8(out).expect("text")
    }

    fn start() -> Event<'static> {
        Event::Start { id: "a".into(), model: "m".into(), created: None, usage: Usage::default() }
    }

    #[test]
    fn usage_that_comes_early_is_told_last() {
        let usage = Usage { input: 1, output: 2, ..Usage::default() };
        let events = [start(), Event::Usage(usage), Event::Stop(Stop::End), Event::End];
        let out = written(true, &events);
        let last: Vec<_> = out.split("\n\n").collect();
        assert!(last[1].contains(r#""finish_reason":"stop""#) && last[1].ends_with(r#""usage":null}"#), "{out}");
        assert!(last[2].contains(r#""choices":[],"usage":{"prompt_tokens":1"#), "{out}");
        assert_eq!(last[3..], ["data: [DONE]", ""]);
        assert!(!written(false, &events).contains("usage"));
    }

    #[test]
    fn signs_of_life_are_comments() {
        assert_eq!(written(true, &[Event::Ping]), ": ping\n\n");
    }

    #[test]
    fn refusals_have_a_place_of_their_own() {
        let out = written(false, &[start(), Event::Open(0, Block::Refusal), Event::Delta(0, Delta::Text("No.".into())), Event::Close(0)]);
        assert!(out.contains(r#""delta":{"refusal":"No."}"#), "{out}");
    }

    #[test]
    fn pieces_of_blocks_that_are_not_open_are_nothing() {
        assert_eq!(written(false, &[Event::Delta(3, Delta::Text("x".into())), Event::Close(3)]), "");
    }

    /// A client must be able to tell a reply that broke off from a whole one.
    #[test]
    fn no_stream_that_is_cut_anywhere_looks_whole() {
        let stream = concat!(
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\"}}\n\n",
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\"}}\n\n",
            "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":3}}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n",
        );
        let plan = Plan {
            client: Protocol::OpenAi,
            upstream: Protocol::Anthropic,
            include_usage: true,
            answer_tool: None,
            names: Vec::new(),
            created: 7,
        };
        for cut in 0..=stream.len() {
            let (mut reader, mut out) = (plan.stream(), Vec::new());
            reader.feed(&stream.as_bytes()[..cut], &mut out);
            // The last line feed is the one that ends the event.
            let is_whole = cut == stream.len();
            assert_eq!(reader.finish(&mut out), if is_whole { Ended::Whole } else { Ended::Cut }, "cut at byte {cut}");
            let out = String::from_utf8(out).expect("text");
            assert_eq!(out.contains("[DONE]"), is_whole, "{out}");
            assert_eq!(out.contains(r#""finish_reason":""#), is_whole, "{out}");
        }
    }
}
