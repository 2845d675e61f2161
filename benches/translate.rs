//! What a translation costs, both ways: requests, replies, events of streams, errors.
//!
//! ```text
//! cargo bench --bench translate
//! cargo bench --bench translate -- request --min-time 3
//! ```
//!
//! Names say who the client is: `request_openai` is a chat completion for an upstream of Anthropic's protocol, `reply_openai` a message on
//! its way back. Beside `request_…` stands the size of the body: `1 KB` a question with a system message, `3 KB` a conversation with two
//! tools and a call of one, `100 KB` one with long texts, `1 MB` one picture. `stream_…` feeds 200 deltas of text, one event a piece, as
//! they come from a provider; the figure is that of all, so an event costs a 200th, and `items/s` counts events. What is fed is made
//! outside of what is measured.
//!
//! Aims: a request of the first two sizes in 20 µs, an event in 2 µs. Nothing is asserted of time.

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use iron_runtime::Protocol;
use iron_runtime::wire::translate::{Far, Plan, request};
use serde_json::{Value, json};
use std::time::Duration;

fn main() {
    divan::Divan::default().min_time(Duration::from_millis(400)).max_time(Duration::from_secs(2)).config_with_args().main();
}

/// The bodies of requests.
const SIZES: [&str; 4] = ["1 KB", "3 KB", "100 KB", "1 MB"];

/// Deltas in a stream.
const DELTAS: usize = 200;

/// What a call gave.
const ARGUMENTS: &str = r#"{"city":"Paris","unit":"celsius","days":[1,2,3]}"#;

/// Prose of so many bytes, with a quote or a line's end now and then.
fn prose(bytes: usize) -> String {
    "The ship's log says \"all well\", and the wind has been from the west since the morning watch.\n".chars().cycle().take(bytes).collect()
}

fn schema() -> Value {
    json!({"type": "object", "required": ["city"], "additionalProperties": false, "properties": {
        "city": {"type": "string", "description": "The city, as it is called in its own language"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 14}}
    }})
}

/// A picture of about a megabyte, as base64.
fn picture() -> String {
    "iVBORw0KGgoAAAANSUhEUgAA".repeat((1 << 20) / 24)
}

fn openai_request(size: &str) -> String {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "description": prose(120), "parameters": schema()}});
    let say = |role: &str, bytes: usize| json!({"role": role, "content": prose(bytes)});
    let (messages, tools) = match size {
        "1 KB" => (vec![say("system", 400), say("user", 450)], None),
        "3 KB" => {
            let call = json!({"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}});
            let called = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            let result = json!({"role": "tool", "tool_call_id": "call_1", "content": prose(300)});
            (vec![say("system", 600), say("user", 200), called, result], Some(json!([tool("get_weather"), tool("get_tides")])))
        }
        "100 KB" => (vec![say("system", 10_000), say("user", 40_000), say("assistant", 10_000), say("user", 40_000)], None),
        _ => {
            let url = format!("data:image/png;base64,{}", picture());
            let content = json!([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]);
            (vec![json!({"role": "user", "content": content})], None)
        }
    };
    let mut body =
        json!({"model": "claude-sonnet-4-20250514", "messages": messages, "max_tokens": 500, "temperature": 0.5, "stream": true});
    if let Some(tools) = tools {
        body["tools"] = tools;
    }
    body.to_string()
}

fn anthropic_request(size: &str) -> String {
    let tool = |name: &str| json!({"name": name, "description": prose(120), "input_schema": schema()});
    let say = |role: &str, bytes: usize| json!({"role": role, "content": [{"type": "text", "text": prose(bytes)}]});
    let (system, messages, tools) = match size {
        "1 KB" => (400, vec![say("user", 450)], None),
        "3 KB" => {
            let call = json!({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris", "days": [1, 2, 3]}});
            let result = json!({"type": "tool_result", "tool_use_id": "toolu_1", "content": prose(300)});
            let turns =
                vec![say("user", 200), json!({"role": "assistant", "content": [call]}), json!({"role": "user", "content": [result]})];
            (600, turns, Some(json!([tool("get_weather"), tool("get_tides")])))
        }
        "100 KB" => (10_000, vec![say("user", 40_000), say("assistant", 10_000), say("user", 40_000)], None),
        _ => {
            let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture()}});
            (400, vec![json!({"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]})], None)
        }
    };
    let mut body = json!({"model": "gpt-4o-mini", "system": prose(system), "messages": messages, "max_tokens": 500, "temperature": 0.5});
    if let Some(tools) = tools {
        body["tools"] = tools;
    }
    body.to_string()
}

fn far(protocol: Protocol) -> Far {
    Far { protocol, own: true, model_limit: Some(16_384) }
}

fn plan(client: Protocol) -> Plan {
    let upstream = if client == Protocol::OpenAi { Protocol::Anthropic } else { Protocol::OpenAi };
    Plan { client, upstream, include_usage: true, answer_tool: None, names: Vec::new(), created: 1_700_000_000 }
}

fn translate(bencher: Bencher<'_, '_>, client: Protocol, body: &str) {
    let far = far(plan(client).upstream);
    assert!(request(client, &far, body.as_bytes(), &|_| None).is_ok());
    bencher.counter(BytesCount::of_str(body)).bench(|| request(client, &far, black_box(body.as_bytes()), &|_| None));
}

#[divan::bench(args = SIZES)]
fn request_openai(bencher: Bencher<'_, '_>, size: &str) {
    translate(bencher, Protocol::OpenAi, &openai_request(size));
}

#[divan::bench(args = SIZES)]
fn request_anthropic(bencher: Bencher<'_, '_>, size: &str) {
    translate(bencher, Protocol::Anthropic, &anthropic_request(size));
}

#[divan::bench]
fn reply_openai(bencher: Bencher<'_, '_>) {
    let body = json!({
        "id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": "claude-sonnet-4-20250514",
        "content": [{"type": "text", "text": prose(800)}, {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Paris"}}],
        "stop_reason": "tool_use", "stop_sequence": null, "usage": {"input_tokens": 900, "cache_read_input_tokens": 600, "output_tokens": 220}
    });
    back(bencher, Protocol::OpenAi, &body);
}

#[divan::bench]
fn reply_anthropic(bencher: Bencher<'_, '_>) {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}});
    let message = json!({"role": "assistant", "content": prose(800), "refusal": null, "tool_calls": [call]});
    let body = json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1_741_569_952, "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 900, "completion_tokens": 220, "total_tokens": 1_120, "prompt_tokens_details": {"cached_tokens": 600}}
    });
    back(bencher, Protocol::Anthropic, &body);
}

fn back(bencher: Bencher<'_, '_>, client: Protocol, body: &Value) {
    let (plan, body) = (plan(client), body.to_string());
    assert!(plan.reply(body.as_bytes()).is_ok());
    bencher.counter(BytesCount::of_str(&body)).bench(|| plan.reply(black_box(body.as_bytes())));
}

#[divan::bench]
fn stream_openai(bencher: Bencher<'_, '_>) {
    let usage = json!({"input_tokens": 900, "output_tokens": 1});
    let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4", "content": [], "usage": usage});
    let first = [
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ];
    let delta = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " the morning"}});
    let events = first.into_iter().chain(std::iter::repeat_n(delta, DELTAS));
    feed(
        bencher,
        Protocol::OpenAi,
        events.map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())),
    );
}

#[divan::bench]
fn stream_anthropic(bencher: Bencher<'_, '_>) {
    let delta = json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion.chunk", "created": 1_741_569_952, "model": "gpt-4o-mini",
        "service_tier": "default", "system_fingerprint": "fp_44709d6fcb", "usage": null,
        "choices": [{"index": 0, "delta": {"content": " the morning"}, "logprobs": null, "finish_reason": null}]
    });
    feed(bencher, Protocol::Anthropic, std::iter::repeat_n(delta, DELTAS).map(|event| format!("data: {event}\n\n")));
}

/// Events one by one, each into a piece of its own.
fn feed(bencher: Bencher<'_, '_>, client: Protocol, events: impl Iterator<Item = String>) {
    let (plan, events): (_, Vec<String>) = (plan(client), events.collect());
    bencher.counter(ItemsCount::new(events.len())).bench_local(|| {
        let (mut stream, mut out) = (plan.stream(), Vec::new());
        for event in &events {
            out.clear();
            stream.feed(black_box(event.as_bytes()), &mut out);
        }
        out
    });
}

#[divan::bench(args = ["openai", "anthropic"])]
fn error(bencher: Bencher<'_, '_>, client: &str) {
    let (client, body) = match client {
        "openai" => (Protocol::OpenAi, json!({"type": "error", "error": {"type": "rate_limit_error", "message": prose(100)}})),
        _ => (
            Protocol::Anthropic,
            json!({"error": {"message": prose(100), "type": "requests", "param": null, "code": "rate_limit_exceeded"}}),
        ),
    };
    let (plan, body) = (plan(client), body.to_string());
    bencher.bench(|| plan.error(429, black_box(body.as_bytes())));
}
