//! The events of a streamed message, written.

use super::write_reply::write_stop;
use super::write_usage::write_usage;
use crate::money::Usage;
use crate::wire::json::{Json, Object};
use crate::wire::translate::form::{Block, Delta, Event, Stop, UNSIGNED};

/// Writes one stream.
#[derive(Debug, Default)]
pub(in super::super) struct StreamWriter {
    has_begun: bool,
    /// What the pieces of each open block are called: blocks overlap, so that the last one opened says nothing of a piece.
    pieces: Vec<(u32, Piece)>,
    /// The thinking that nobody has signed yet.
    unsigned: Option<u32>,
    /// `message_delta` tells the end and the usage at once, so that one waits for the other.
    stop: Option<Stop<'static>>,
    usage: Usage,
}

/// What a piece of a block is called: its type, and the member with its text.
type Piece = (&'static str, &'static str);

impl StreamWriter {
    /// Writes what a step means to a client, if anything. Errors are not its business.
    pub(in super::super) fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, usage, .. } => self.start(id, model, usage, out),
            Event::Open(number, block) => self.open(*number, block, out),
            Event::Delta(number, Delta::Text(text)) => {
                if let Some((_, piece)) = self.pieces.iter().rfind(|(open, _)| open == number) {
                    write_piece(*number, *piece, text, out);
                }
            }
            Event::Delta(number, Delta::Signature(signature)) => self.sign(*number, signature, out),
            Event::Close(number) => self.close(*number, out),
            Event::Stop(stop) => self.stop = Some(stop.clone().into_owned()),
            Event::Usage(usage) => self.usage = *usage,
            Event::End => self.end(out),
            // Clients do not expect an event before the message has begun.
            Event::Ping if self.has_begun => write("ping", out, |_| {}),
            Event::Ping | Event::Error(_) => {}
        }
    }

    fn start(&mut self, id: &str, model: &str, usage: &Usage, out: &mut Vec<u8>) {
        (self.has_begun, self.usage) = (true, *usage);
        write("message_start", out, |event| {
            event.key("message").object(|message| {
                message.text("id", id);
                message.text("type", "message");
                message.text("role", "assistant");
                message.text("model", model);
                message.key("content").array(|_| {});
                write_stop(None, message);
                write_usage(usage, message.key("usage"));
            });
        });
    }

    fn open(&mut self, number: u32, block: &Block<'_>, out: &mut Vec<u8>) {
        // Of thinking that is not legible there are no pieces.
        let (kind, piece) = match block {
            Block::Text | Block::Refusal => ("text", ("text_delta", "text")),
            Block::Thought => ("thinking", ("thinking_delta", "thinking")),
            Block::Redacted(_) => ("redacted_thinking", ("", "")),
            Block::Call { .. } => ("tool_use", ("input_json_delta", "partial_json")),
        };
        self.pieces.push((number, piece));
        write("content_block_start", out, |event| {
            event.whole("index", number.into());
            event.key("content_block").object(|object| {
                object.text("type", kind);
                write_beginning(block, object);
            });
        });
        if *block == Block::Thought {
            self.unsigned = Some(number);
        }
    }

    fn sign(&mut self, number: u32, signature: &str, out: &mut Vec<u8>) {
        self.unsigned = self.unsigned.filter(|unsigned| *unsigned != number);
        write_piece(number, ("signature_delta", "signature"), signature, out);
    }

    fn close(&mut self, number: u32, out: &mut Vec<u8>) {
        if self.unsigned == Some(number) {
            self.sign(number, UNSIGNED, out);
        }
        self.pieces.retain(|(open, _)| *open != number);
        write("content_block_stop", out, |event| event.whole("index", number.into()));
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        write("message_delta", out, |event| {
            event.key("delta").object(|delta| write_stop(self.stop.as_ref(), delta));
            write_usage(&self.usage, event.key("usage"));
        });
        write("message_stop", out, |_| {});
    }
}

/// What stands in a block when it begins.
fn write_beginning(block: &Block<'_>, object: &mut Object<'_>) {
    match block {
        Block::Text | Block::Refusal => object.text("text", ""),
        Block::Thought => {
            object.text("thinking", "");
            object.text("signature", "");
        }
        Block::Redacted(data) => object.text("data", data),
        Block::Call { id, name } => {
            object.text("id", id);
            object.text("name", name);
            object.key("input").object(|_| {});
        }
    }
}

fn write_piece(number: u32, (kind, member): Piece, text: &str, out: &mut Vec<u8>) {
    write("content_block_delta", out, |event| {
        event.whole("index", number.into());
        event.key("delta").object(|delta| {
            delta.key("type").plain(&[kind]);
            delta.text(member, text);
        });
    });
}

/// One event: its name stands in its data once more.
fn write(name: &str, out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    [b"event: ", name.as_bytes(), b"\ndata: "].iter().for_each(|bytes| out.extend_from_slice(bytes));
    Json::new(out).object(|event| {
        event.key("type").plain(&[name]);
        fill(event);
    });
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(steps: &[Event<'_>]) -> String {
        let (mut writer, mut out) = (StreamWriter::default(), Vec::new());
        steps.iter().for_each(|step| writer.event(step, &mut out));
        String::from_utf8(out).expect("UTF-8")
    }

    fn start() -> Event<'static> {
        Event::Start { id: "".into(), model: "".into(), created: None, usage: Usage::default() }
    }

    #[test]
    fn no_ping_comes_before_the_message() {
        assert_eq!(written(&[Event::Ping]), "");
        assert!(written(&[start(), Event::Ping]).ends_with("\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n"));
    }

    #[test]
    fn only_what_nobody_signed_is_signed_here() {
        let signed = |signature: Option<&'static str>| {
            let signature = signature.map(|signature| Event::Delta(0, Delta::Signature(signature.into())));
            let steps: Vec<_> = [Event::Open(0, Block::Thought)].into_iter().chain(signature).chain([Event::Close(0)]).collect();
            let out = written(&steps);
            (out.contains(UNSIGNED), out.contains("c2ln"))
        };
        assert_eq!((signed(None), signed(Some("c2ln"))), ((true, false), (false, true)));
    }

    #[test]
    fn thinking_that_is_not_legible_is_whole_at_once() {
        let out = written(&[Event::Open(0, Block::Redacted("b3Bhcw".into())), Event::Close(0)]);
        let (begun, ended) = out.split_once("\n\n").expect("two events");
        assert!(
            begun.ends_with(r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"b3Bhcw"}}"#)
        );
        assert_eq!(ended, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
    }
}
