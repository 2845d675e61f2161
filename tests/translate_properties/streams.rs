//! Laws of streams.

use super::{items, other, text, written};
use iron_runtime::Protocol;
use iron_runtime::wire::translate::{Ended, Kept, Plan};
use serde_json::Value;

/// What became of a stream.
#[derive(Debug, PartialEq)]
struct Outcome {
    out: Vec<u8>,
    ended: Ended,
    ignored: u64,
    kept: Vec<Kept>,
}

pub(super) fn hold(client: Protocol, input: &[u8]) {
    let [how, cuts, stream @ ..] = input else { return };
    let plan = Plan {
        client,
        upstream: other(client),
        include_usage: how & 1 == 1,
        answer_tool: (how & 2 == 2).then(|| "json_answer".into()),
        names: Vec::new(),
        created: 1_700_000_000,
    };
    let whole = translated(&plan, [stream]);
    assert_eq!(translated(&plan, pieces(*cuts, stream)), whole, "cut");
    assert_eq!(translated(&plan, stream.chunks(1)), whole, "byte by byte");
    let events = events(&whole.out);
    let over = match client {
        Protocol::OpenAi => chunks(&events, plan.include_usage),
        Protocol::Anthropic => message(&events),
    };
    assert_eq!(over, whole.ended == Ended::Whole, "{}", String::from_utf8_lossy(&whole.out));
}

fn translated<'a>(plan: &Plan, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut stream = plan.stream();
    let (mut out, mut kept) = (Vec::new(), Vec::new());
    for piece in pieces {
        stream.feed(piece, &mut out);
        assert!(out.is_empty() || out.ends_with(b"\n\n"), "half an event: {}", String::from_utf8_lossy(&out));
        kept.extend(stream.take_kept());
    }
    let ended = stream.finish(&mut out);
    let (ignored, length) = (stream.ignored(), out.len());
    // Behind the end comes nothing.
    assert_eq!(stream.finish(&mut out), ended);
    if ended == Ended::Whole {
        stream.feed(b"\n\ndata: {\"type\":\"ping\"}\n\ndata: [DONE]\n\ndata: {\"error\":{\"message\":\"x\"}}\n\n", &mut out);
        assert_eq!(stream.finish(&mut out), ended);
    }
    assert_eq!(out.len(), length, "after the end: {}", String::from_utf8_lossy(&out[length..]));
    Outcome { out, ended, ignored, kept }
}

/// A stream in pieces of 1 to 64 bytes, and now and then none.
fn pieces(cuts: u8, mut stream: &[u8]) -> Vec<&[u8]> {
    let mut state = u32::from(cuts);
    let mut pieces = Vec::new();
    while !stream.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = stream.split_at((state >> 26).min(stream.len() as u32) as usize);
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

/// The events of what was written: names and data. A stream is whole events, of these lines only.
pub fn events(out: &[u8]) -> Vec<(&str, Value)> {
    let out = std::str::from_utf8(out).expect("UTF-8");
    let mut events = Vec::new();
    for block in out.split_terminator("\n\n") {
        let (name, data) = match block.split_once('\n') {
            Some((name, data)) => (name.strip_prefix("event: ").expect("the line of a name"), data),
            None if block == ": ping" => continue,
            None => ("", block),
        };
        let data = data.strip_prefix("data: ").unwrap_or_else(|| panic!("no line of data: {block}"));
        assert!(!data.contains(['\n', '\r']), "{block}");
        events.push((name, if data == "[DONE]" { Value::from(data) } else { written(data.as_bytes()).expect("within bounds") }));
    }
    events
}

/// Chunks of a chat completion, in an order that makes sense; whether they came to their end.
fn chunks(events: &[(&str, Value)], include_usage: bool) -> bool {
    let mut finished = false;
    let mut calls = 0;
    let mut over = false;
    for (nth, (name, chunk)) in events.iter().enumerate() {
        assert!(!over && name.is_empty(), "{chunk} behind the end, or with a name");
        over = chunk == "[DONE]" || !chunk["error"].is_null();
        if over {
            assert!(chunk != "[DONE]" || finished, "an end without a reason");
            assert!(chunk == "[DONE]" || chunk["error"]["message"].is_string(), "{chunk}");
            continue;
        }
        for key in ["id", "model", "created", "object"] {
            assert_eq!(chunk[key], events[0].1[key], "{key}");
        }
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert!(chunk["id"].is_string() && chunk["model"].is_string() && chunk["created"].is_u64(), "{chunk}");
        assert_eq!(chunk.get("usage").is_some(), include_usage, "{chunk}");
        let Some(choice) = items(&chunk["choices"]).first() else {
            assert!(chunk["usage"]["total_tokens"].is_u64(), "{chunk}");
            continue;
        };
        let delta = &choice["delta"];
        assert_eq!(!delta["role"].is_null(), nth == 0, "who speaks is said in the first chunk: {chunk}");
        assert!(!finished, "{chunk} after the last");
        finished = choice["finish_reason"].is_string();
        items(&delta["tool_calls"]).iter().for_each(|call| calls = call_in_pieces(call, calls));
    }
    over
}

/// A piece of a call: the first of each says what it is, and they are numbered. Returns how many there are by now.
fn call_in_pieces(call: &Value, known: u64) -> u64 {
    let index = call["index"].as_u64().expect("an index");
    let first = !call["id"].is_null();
    assert_eq!(first, index == known, "{call}");
    assert!(index <= known && call["function"]["arguments"].is_string(), "{call}");
    assert!(!first || (!text(&call["id"]).is_empty() && !text(&call["function"]["name"]).is_empty()), "{call}");
    known + u64::from(first)
}

/// The events of a message, in the protocol's order; whether they came to their end.
fn message(events: &[(&str, Value)]) -> bool {
    let mut open: Vec<(u64, &str)> = Vec::new();
    let (mut blocks, mut stopped, mut over) = (0, false, false);
    for (nth, (name, event)) in events.iter().filter(|(name, _)| *name != "ping").enumerate() {
        assert_eq!(*name, text(&event["type"]));
        assert!(!over, "{event} behind the end");
        assert!(*name == "error" || (*name == "message_start") == (nth == 0), "a message starts once: {event}");
        let index = event["index"].as_u64();
        match *name {
            "message_start" => start(&event["message"]),
            "content_block_start" => {
                assert!(!stopped && index == Some(blocks), "{event}");
                open.push((blocks, text(&event["content_block"]["type"])));
                blocks += 1;
            }
            "content_block_delta" => {
                let kind = open.iter().find(|(open, _)| Some(*open) == index).map(|(_, kind)| *kind);
                assert!(fits(kind.expect("an open block"), text(&event["delta"]["type"])), "{event}");
            }
            "content_block_stop" => {
                let before = open.len();
                open.retain(|(open, _)| Some(*open) != index);
                assert_eq!(open.len() + 1, before, "{event}");
            }
            "message_delta" => {
                assert!(open.is_empty() && !stopped && event["delta"]["stop_reason"].is_string(), "{event}");
                assert!(event["usage"]["output_tokens"].is_u64(), "{event}");
                stopped = true;
            }
            "message_stop" => {
                assert!(stopped, "an end without a reason");
                over = true;
            }
            "error" => {
                assert!(event["error"]["message"].is_string() && event["error"]["type"].is_string(), "{event}");
                over = true;
            }
            _ => panic!("an event that the protocol has not got: {event}"),
        }
    }
    over
}

fn start(message: &Value) {
    assert!(message["type"] == "message" && message["role"] == "assistant" && message["id"].is_string(), "{message}");
    assert!(message["content"] == Value::Array(Vec::new()) && message["usage"]["input_tokens"].is_u64(), "{message}");
}

/// Whether a delta is one of this kind of block.
fn fits(block: &str, delta: &str) -> bool {
    match block {
        "text" => delta == "text_delta",
        "thinking" => matches!(delta, "thinking_delta" | "signature_delta"),
        "tool_use" => delta == "input_json_delta",
        _ => false,
    }
}
