//! One reply, told whole and told in events: a client must be told the same.

use super::laws::streams::events;
use iron_runtime::Protocol;
use iron_runtime::wire::translate::{Ended, Plan};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A block of a reply, in the pieces in which it comes.
#[derive(Clone, Debug)]
pub enum Block {
    Text(Vec<String>),
    Thought(Vec<String>),
    Call { id: &'static str, arguments: Vec<String> },
}

/// Blocks, and whether pieces of calls come by turns.
pub fn blocks() -> impl Strategy<Value = (Vec<Block>, bool)> {
    let pieces = || prop::collection::vec("[ -~\n\u{e9}]{1,8}", 1..4);
    let arguments = prop::sample::select(vec!["{}", "", r#"{"a":[1,"\u00e9é"],"b":{"c":null}}"#, r#"{"text":"a \"b\" \\ c"}"#]);
    let arguments = (arguments, 1usize..9).prop_map(|(text, size)| {
        let letters: Vec<char> = text.chars().collect();
        letters.chunks(size).map(|piece| piece.iter().collect()).collect()
    });
    let block = prop_oneof![
        2 => pieces().prop_map(Block::Text),
        1 => pieces().prop_map(Block::Thought),
        2 => (prop::sample::select(vec!["call_1", "call_2"]), arguments).prop_map(|(id, arguments)| Block::Call { id, arguments }),
    ];
    (prop::collection::vec(block, 0..5), any::<bool>())
}

fn plan(client: Protocol) -> Plan {
    let upstream = if client == Protocol::OpenAi { Protocol::Anthropic } else { Protocol::OpenAi };
    Plan { client, upstream, include_usage: true, answer_tool: None, names: Vec::new(), created: 1 }
}

/// A reply to this client, whole, and as the client puts its events together.
fn both(client: Protocol, whole: &Value, stream: &[Value], put_together: impl Fn(&[(&str, Value)]) -> Value) -> (Value, Value) {
    let plan = plan(client);
    let whole = plan.reply(whole.to_string().as_bytes()).expect("a reply");
    let (mut translator, mut out) = (plan.stream(), Vec::new());
    for event in stream {
        translator.feed(format!("data: {event}\n\n").as_bytes(), &mut out);
    }
    let kept = translator.take_kept();
    assert_eq!((translator.finish(&mut out), kept), (Ended::Whole, whole.kept));
    (serde_json::from_slice(&whole.body).expect("JSON"), put_together(&events(&out)))
}

fn value_of(arguments: &str) -> Value {
    serde_json::from_str(if arguments.is_empty() { "{}" } else { arguments }).expect("JSON")
}

// --- a message, for an OpenAI client ---

pub fn to_openai(blocks: &[Block]) {
    let usage = json!({"input_tokens": 8, "cache_read_input_tokens": 2, "output_tokens": 3});
    let reason = if blocks.iter().any(|block| matches!(block, Block::Call { .. })) { "tool_use" } else { "end_turn" };
    let message = |content: Vec<Value>, reason: Option<&str>| json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content, "stop_reason": reason, "usage": usage});
    let mut stream = vec![json!({"type": "message_start", "message": message(Vec::new(), None)})];
    for (index, block) in blocks.iter().enumerate() {
        let (begun, deltas) = begun(block);
        stream.push(json!({"type": "content_block_start", "index": index, "content_block": begun}));
        stream.extend(deltas.into_iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})));
        stream.push(json!({"type": "content_block_stop", "index": index}));
    }
    stream.push(json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 3}}));
    stream.push(json!({"type": "message_stop"}));
    let (whole, told) =
        both(Protocol::OpenAi, &message(blocks.iter().map(block_of_message).collect(), Some(reason)), &stream, completion_of);
    assert_eq!(told, simple_completion(&whole));
}

fn block_of_message(block: &Block) -> Value {
    match block {
        Block::Text(pieces) => json!({"type": "text", "text": pieces.concat()}),
        Block::Thought(pieces) => json!({"type": "thinking", "thinking": pieces.concat(), "signature": "c2ln"}),
        Block::Call { id, arguments } => json!({"type": "tool_use", "id": id, "name": "f", "input": value_of(&arguments.concat())}),
    }
}

fn begun(block: &Block) -> (Value, Vec<Value>) {
    match block {
        Block::Text(pieces) => {
            (json!({"type": "text", "text": ""}), pieces.iter().map(|text| json!({"type": "text_delta", "text": text})).collect())
        }
        Block::Thought(pieces) => {
            let deltas = pieces.iter().map(|text| json!({"type": "thinking_delta", "thinking": text}));
            let signature = json!({"type": "signature_delta", "signature": "c2ln"});
            (json!({"type": "thinking", "thinking": "", "signature": ""}), deltas.chain([signature]).collect())
        }
        Block::Call { id, arguments } => {
            let deltas = arguments.iter().map(|text| json!({"type": "input_json_delta", "partial_json": text}));
            (json!({"type": "tool_use", "id": id, "name": "f", "input": {}}), deltas.collect())
        }
    }
}

/// What an OpenAI client makes of chunks.
fn completion_of(events: &[(&str, Value)]) -> Value {
    let (mut content, mut thinking, mut calls) = (String::new(), String::new(), Vec::<(Value, String)>::new());
    let (mut reason, mut usage) = (Value::Null, Value::Null);
    for (_, chunk) in events.iter().filter(|(_, chunk)| chunk.is_object()) {
        let choice = &chunk["choices"][0];
        content += choice["delta"]["content"].as_str().unwrap_or_default();
        thinking += choice["delta"]["reasoning_content"].as_str().unwrap_or_default();
        for piece in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
            if piece["id"].is_string() {
                calls.push((piece["id"].clone(), String::new()));
            }
            let index = piece["index"].as_u64().expect("an index") as usize;
            calls[index].1 += piece["function"]["arguments"].as_str().unwrap_or_default();
        }
        reason = if choice["finish_reason"].is_null() { reason } else { choice["finish_reason"].clone() };
        usage = if chunk["usage"].is_null() { usage } else { chunk["usage"].clone() };
    }
    let calls: Vec<Value> = calls.iter().map(|(id, arguments)| json!([id, value_of(arguments)])).collect();
    json!([content, thinking, calls, reason, usage])
}

fn simple_completion(whole: &Value) -> Value {
    let (message, text) = (&whole["choices"][0]["message"], |value: &Value| value.as_str().unwrap_or_default().to_owned());
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls: Vec<Value> = calls.map(|call| json!([call["id"], value_of(&text(&call["function"]["arguments"]))])).collect();
    json!([text(&message["content"]), text(&message["reasoning_content"]), calls, whole["choices"][0]["finish_reason"], whole["usage"]])
}

// --- a chat completion, for an Anthropic client ---

pub fn to_anthropic(blocks: &[Block], by_turns: bool) {
    let usage = json!({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11, "prompt_tokens_details": {"cached_tokens": 2}});
    let texts = |of: fn(&Block) -> &[String]| blocks.iter().flat_map(of).map(String::as_str).collect::<Vec<_>>();
    let content = texts(|block| if let Block::Text(pieces) = block { pieces } else { &[] });
    let thinking = texts(|block| if let Block::Thought(pieces) = block { pieces } else { &[] });
    let calls = blocks.iter().filter_map(|block| if let Block::Call { id, arguments } = block { Some((id, arguments)) } else { None });
    let calls: Vec<_> = calls.collect();
    let reason = if calls.is_empty() { "stop" } else { "tool_calls" };
    let called: Vec<Value> = calls
        .iter()
        .map(|(id, arguments)| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": arguments.concat()}}))
        .collect();
    let message = json!({
        "role": "assistant", "content": Some(content.concat()).filter(|text| !text.is_empty()), "reasoning_content": thinking.concat(),
        "tool_calls": Some(called).filter(|calls| !calls.is_empty())
    });
    let whole = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt", "usage": usage,
        "choices": [{"index": 0, "message": message, "finish_reason": reason}]});
    let deltas = thinking.iter().map(|text| json!({"reasoning_content": text})).chain(content.iter().map(|text| json!({"content": text})));
    let stream: Vec<Value> = deltas
        .chain(call_pieces(&calls, by_turns))
        .map(|delta| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]), Value::Null))
        .chain([chunk(json!([{"index": 0, "delta": {}, "finish_reason": reason}]), Value::Null), chunk(json!([]), usage.clone())])
        .collect();
    // `[DONE]` is no JSON, so it is left out: a finish reason and the usage are all that a reply needs.
    let (whole, told) = both(Protocol::Anthropic, &whole, &stream, message_of);
    let content: Vec<Value> = whole["content"].as_array().into_iter().flatten().map(simple_block).collect();
    assert_eq!(told, json!([content, whole["stop_reason"], whole["usage"]]));
}

fn chunk(choices: Value, usage: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "choices": choices, "usage": usage})
}

/// The pieces of calls: one call after the other, or first all beginnings, then a piece of each in turn.
fn call_pieces(calls: &[(&&str, &Vec<String>)], by_turns: bool) -> Vec<Value> {
    let mut pieces = Vec::new();
    for (index, (id, arguments)) in calls.iter().enumerate() {
        let first = json!({"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": ""}});
        pieces.push((0, index, first));
        for (nth, piece) in arguments.iter().enumerate() {
            pieces.push((nth + 1, index, json!({"index": index, "function": {"arguments": piece}})));
        }
    }
    if by_turns {
        pieces.sort_by_key(|(nth, index, _)| (*nth, *index));
    }
    pieces.into_iter().map(|(_, _, piece)| json!({"tool_calls": [piece]})).collect()
}

/// What an Anthropic client makes of events.
fn message_of(events: &[(&str, Value)]) -> Value {
    let mut blocks: Vec<(Value, String)> = Vec::new();
    let (mut reason, mut usage) = (Value::Null, Value::Null);
    for (name, event) in events {
        let at = event["index"].as_u64().unwrap_or_default() as usize;
        match *name {
            "content_block_start" => blocks.push((event["content_block"].clone(), String::new())),
            "content_block_delta" if event["delta"]["type"] == "signature_delta" => {
                blocks[at].0["signature"] = event["delta"]["signature"].clone();
            }
            "content_block_delta" => {
                let piece = ["text", "thinking", "partial_json"].iter().find_map(|key| event["delta"][*key].as_str());
                blocks[at].1 += piece.expect("a piece");
            }
            "message_delta" => (reason, usage) = (event["delta"]["stop_reason"].clone(), event["usage"].clone()),
            _ => {}
        }
    }
    let content = blocks.into_iter().map(|(mut block, pieces)| {
        match block["type"].as_str() {
            Some("text") => block["text"] = pieces.into(),
            Some("thinking") => block["thinking"] = pieces.into(),
            _ => block["input"] = value_of(&pieces),
        }
        simple_block(&block)
    });
    json!([content.collect::<Vec<_>>(), reason, usage])
}

fn simple_block(block: &Value) -> Value {
    let keys = ["type", "id", "name", "text", "thinking", "signature", "input"];
    keys.iter().map(|key| block[*key].clone()).collect()
}
