//! What the property test is fed with: any JSON with the protocols' words in it, conversations of which most are good, streams of which
//! most are.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

// --- any JSON ---

/// Keys that mean something in some place.
const KEYS: [&str; 61] = [
    "model",
    "messages",
    "role",
    "content",
    "type",
    "text",
    "system",
    "name",
    "id",
    "tools",
    "function",
    "parameters",
    "strict",
    "description",
    "input_schema",
    "tool_choice",
    "tool_calls",
    "tool_call_id",
    "arguments",
    "tool_use_id",
    "is_error",
    "input",
    "refusal",
    "image_url",
    "url",
    "detail",
    "file",
    "file_data",
    "filename",
    "source",
    "media_type",
    "data",
    "title",
    "citations",
    "cache_control",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "stop_sequences",
    "n",
    "stream",
    "stream_options",
    "include_usage",
    "metadata",
    "user",
    "user_id",
    "reasoning_effort",
    "thinking",
    "budget_tokens",
    "output_config",
    "effort",
    "format",
    "response_format",
    "json_schema",
    "schema",
    "service_tier",
    "reasoning_details",
    "signature",
];

/// Values that mean something in some place.
const WORDS: [&str; 48] = [
    "user",
    "assistant",
    "system",
    "developer",
    "tool",
    "function",
    "text",
    "image",
    "image_url",
    "file",
    "document",
    "tool_use",
    "tool_result",
    "thinking",
    "redacted_thinking",
    "refusal",
    "input_audio",
    "base64",
    "url",
    "image/png",
    "application/pdf",
    "aGk=",
    "data:image/png;base64,aGk=",
    "data:application/pdf;base64,aGk=",
    "https://example.com/a",
    "auto",
    "none",
    "any",
    "required",
    "low",
    "high",
    "max",
    "enabled",
    "adaptive",
    "disabled",
    "json_schema",
    "json_object",
    "reasoning.text",
    "reasoning.encrypted",
    "claude-sonnet-4-20250514",
    "claude-opus-4-6",
    "claude-3-5-haiku-latest",
    "gpt-5",
    "gpt-4o",
    "f",
    "a",
    "{}",
    "{\"a\":1}",
];

pub fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        2 => (0u64..5_000).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => (-3.0..3.0).prop_map(Value::from),
        6 => prop::sample::select(WORDS.to_vec()).prop_map(Value::from),
        1 => any::<String>().prop_map(Value::from),
    ]
}

pub fn object(key: impl Strategy<Value = String>, value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((key, value), 0..6).prop_map(|members| members.into_iter().collect::<Map<_, _>>().into())
}

pub fn key() -> impl Strategy<Value = String> {
    prop_oneof![9 => prop::sample::select(KEYS.to_vec()).prop_map(String::from), 1 => any::<String>()]
}

/// Any JSON value.
pub fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(5, 60, 6, |inner| {
        prop_oneof![prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from), object(key(), inner)]
    })
}

// --- conversations, most of them good ---

/// A value where one is expected: as a rule what is, now and then any.
fn mostly(good: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![150 => good, 1 => value()].boxed()
}

fn one_of(values: Vec<Value>) -> impl Strategy<Value = Value> + Clone {
    prop::sample::select(values)
}

fn prose() -> impl Strategy<Value = Value> {
    prop_oneof![4 => "[ -~\n]{1,30}".prop_map(Value::from), 1 => "\\PC{0,12}".prop_map(Value::from), 1 => Just(json!(""))]
}

/// Prose that is not empty.
fn words() -> impl Strategy<Value = Value> {
    "[!-~][ -~\n]{0,30}".prop_map(Value::from)
}

fn list(item: impl Strategy<Value = Value> + 'static, most: usize) -> impl Strategy<Value = Value> {
    prop::collection::vec(mostly(item), 0..=most).prop_map(Value::from)
}

/// An object that has each of these members or has it not.
fn some_of(members: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = Value> {
    let (keys, values): (Vec<_>, Vec<_>) = members.into_iter().unzip();
    let present = prop::collection::vec(prop::bool::weighted(0.35), keys.len());
    (values, present).prop_map(move |(values, present)| {
        let members = keys.iter().zip(values).zip(present).filter(|(_, present)| *present);
        members.map(|((key, value), _)| (key.to_string(), value)).collect::<Map<_, _>>().into()
    })
}

/// The members of both; the second's count.
pub fn joined(first: Value, second: Value) -> Value {
    let both = [first, second].into_iter().filter_map(|value| if let Value::Object(members) = value { Some(members) } else { None });
    both.flatten().collect::<Map<_, _>>().into()
}

fn call_id() -> impl Strategy<Value = Value> {
    one_of(vec![json!("call_1"), json!("call_2"), json!("a b|c")])
}

fn arguments() -> impl Strategy<Value = Value> {
    one_of(vec![
        json!("{}"),
        json!(""),
        json!("{\"a\": [1, \"\\u00e9\"]}"),
        json!("{\"a\":\"b\nc\"}"),
        json!("{\"a\":\"\\q\"}"),
        json!("[1]"),
        json!("{\"a\":"),
    ])
}

fn tool_name() -> impl Strategy<Value = Value> {
    one_of(vec![json!("f"), json!("get_weather"), json!("json_answer")])
}

fn mark() -> Value {
    json!({"type": "ephemeral"})
}

fn openai_part() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => prose().prop_map(|text| json!({"type": "text", "text": text})),
        1 => prose().prop_map(|text| json!({"type": "text", "text": text, "cache_control": mark()})),
        1 => Just(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}})),
        1 => Just(json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})),
        1 => Just(json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}})),
    ]
}

/// A message, or a call and what it gave.
fn openai_messages() -> impl Strategy<Value = Vec<Value>> {
    let text = || mostly(prose().prop_map(|text| json!({"type": "text", "text": text})));
    let said = || prop_oneof![3 => mostly(prose()), 1 => list(text(), 3).boxed()];
    let asked = prop_oneof![3 => mostly(words()), 2 => list(openai_part(), 3).boxed()];
    let details = one_of(vec![
        json!([{"type": "reasoning.text", "text": "Hm.", "signature": "c2ln", "index": 0}]),
        json!([{"type": "reasoning.encrypted", "data": "eA=="}, {"type": "reasoning.text", "text": "no signature"}]),
    ]);
    let extra = || some_of(vec![("refusal", mostly(prose())), ("content", mostly(Just(Value::Null)))]);
    let calls = prop::collection::vec((call_id(), tool_name(), arguments(), mostly(said())), 1..3);
    let of = |role: &'static str| move |content: Value| json!({"role": role, "content": content});
    let exchange = (said(), prop::option::of(details), extra(), calls).prop_map(|(content, details, extra, calls)| {
        let call = |(id, name, arguments, _): &(Value, Value, Value, Value)| {
            json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
        };
        let message = json!({"role": "assistant", "content": content, "reasoning_details": details, "tool_calls": calls.iter().map(call).collect::<Vec<_>>()});
        let results = calls.into_iter().map(|(id, _, _, content)| json!({"role": "tool", "tool_call_id": id, "content": content}));
        std::iter::once(joined(message, extra)).chain(results).collect::<Vec<_>>()
    });
    let one = |message: Value| vec![message];
    prop_oneof![
        20 => prose().prop_map(of("system")).prop_map(one),
        60 => asked.prop_map(of("user")).prop_map(one),
        40 => (said().prop_map(of("assistant")), extra()).prop_map(|(message, extra)| joined(message, extra)).prop_map(one),
        40 => exchange,
        1 => (call_id(), said()).prop_map(|(id, content)| vec![json!({"role": "tool", "tool_call_id": id, "content": content})]),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    one_of(vec![
        json!({"type": "object", "properties": {"a": {"type": "string"}}}),
        json!({}),
        json!({"properties": {}}),
        json!({"type": "array"}),
    ])
}

pub fn openai_request() -> impl Strategy<Value = Value> {
    let tool = (tool_name(), schema(), any::<bool>())
        .prop_map(|(name, schema, strict)| json!({"type": "function", "function": {"name": name, "parameters": schema, "strict": strict}}));
    let choice = one_of(vec![json!("auto"), json!("none"), json!("required"), json!({"type": "function", "function": {"name": "f"}})]);
    let format = prop_oneof![
        Just(json!({"type": "json_object"})),
        schema().prop_map(|schema| json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}})),
    ];
    let settings = some_of(vec![
        ("tools", list(tool, 3).boxed()),
        ("tool_choice", mostly(choice)),
        ("parallel_tool_calls", mostly(any::<bool>().prop_map(Value::from))),
        ("max_tokens", mostly((1u64..20_000).prop_map(Value::from))),
        ("max_completion_tokens", mostly((1u64..20_000).prop_map(Value::from))),
        ("temperature", mostly((0.0..2.0).prop_map(Value::from))),
        ("top_p", mostly((0.0..1.0).prop_map(Value::from))),
        ("stop", mostly(one_of(vec![json!("END"), json!(["a", " ", "b"]), json!([]), json!("")]))),
        ("reasoning_effort", mostly(one_of(["none", "minimal", "low", "medium", "high", "xhigh"].map(Value::from).to_vec()))),
        ("response_format", mostly(format)),
        ("stream", mostly(any::<bool>().prop_map(Value::from))),
        ("user", mostly(prose())),
        ("seed", mostly(Just(json!(7)))),
    ]);
    (one_of(models()), words(), prop::collection::vec(openai_messages(), 0..6), settings).prop_map(|(model, first, messages, settings)| {
        let messages: Vec<_> = std::iter::once(json!({"role": "user", "content": first})).chain(messages.into_iter().flatten()).collect();
        joined(settings, json!({"model": model, "messages": messages}))
    })
}

fn models() -> Vec<Value> {
    let names = [
        "claude-sonnet-4-20250514",
        "claude-3-5-haiku-latest",
        "claude-3-7-sonnet-latest",
        "claude-opus-4-6",
        "claude-opus-4-7",
        "gpt-4o",
        "gpt-5",
        "qwen3",
    ];
    names.map(Value::from).to_vec()
}

/// A turn, or a call and what it gave.
fn anthropic_turns() -> impl Strategy<Value = Vec<Value>> {
    let input = one_of(vec![json!({}), json!({"a": [1, "\u{e9}"]})]);
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}});
    let document =
        json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}, "title": "a.pdf"});
    let text = || prose().prop_map(|text| json!({"type": "text", "text": text}));
    let marked = prose().prop_map(|text| json!({"type": "text", "text": text, "cache_control": mark()}));
    let thought = one_of(vec![
        json!({"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}),
        json!({"type": "thinking", "thinking": "Hm.", "signature": "iron_runtime:reasoning_content"}),
        json!({"type": "redacted_thinking", "data": "eA=="}),
    ]);
    let shown = one_of(vec![
        image,
        document,
        json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A text."}}),
    ]);
    let given = prop_oneof![prose().boxed(), list(prop_oneof![text(), shown.clone()], 2).boxed()];
    let asked = prop_oneof![1 => mostly(words()), 1 => list(prop_oneof![2 => text(), 1 => marked, 1 => shown], 3).boxed()];
    let said = list(prop_oneof![2 => text(), 1 => thought.clone()], 3);
    let calls = prop::collection::vec((call_id(), tool_name(), mostly(input), mostly(given), any::<bool>()), 1..3);
    let exchange = (thought, calls).prop_map(|(thought, calls)| {
        let call = |call: &(Value, Value, Value, Value, bool)| json!({"type": "tool_use", "id": call.0, "name": call.1, "input": call.2});
        let result = |call: &(Value, Value, Value, Value, bool)| {
            json!({"type": "tool_result", "tool_use_id": call.0, "content": call.3, "is_error": call.4})
        };
        let asked: Vec<_> = std::iter::once(thought).chain(calls.iter().map(call)).collect();
        let given: Vec<_> = calls.iter().map(result).collect();
        vec![json!({"role": "assistant", "content": asked}), json!({"role": "user", "content": given})]
    });
    let of = |role: &'static str| move |content: Value| vec![json!({"role": role, "content": content})];
    prop_oneof![3 => asked.prop_map(of("user")), 2 => said.prop_map(of("assistant")), 3 => exchange]
}

pub fn anthropic_request() -> impl Strategy<Value = Value> {
    let tool = (tool_name(), schema()).prop_map(|(name, schema)| json!({"name": name, "input_schema": schema}));
    let choice = one_of(vec![
        json!({"type": "auto", "disable_parallel_tool_use": true}),
        json!({"type": "any"}),
        json!({"type": "none"}),
        json!({"type": "tool", "name": "f"}),
    ]);
    let thinking =
        one_of(vec![json!({"type": "enabled", "budget_tokens": 2_000}), json!({"type": "adaptive"}), json!({"type": "disabled"})]);
    let format = schema().prop_map(|schema| json!({"effort": "low", "format": {"type": "json_schema", "schema": schema}}));
    let settings = some_of(vec![
        ("system", mostly(prop_oneof![prose().boxed(), list(prose().prop_map(|text| json!({"type": "text", "text": text})), 2).boxed()])),
        ("tools", list(tool, 3).boxed()),
        ("tool_choice", mostly(choice)),
        ("temperature", mostly((0.0..1.0).prop_map(Value::from))),
        ("top_p", mostly((0.0..1.0).prop_map(Value::from))),
        ("top_k", mostly(Just(json!(40)))),
        ("stop_sequences", mostly(one_of(vec![json!(["END"]), json!(["a", "b", "c", "d", "e"]), json!([])]))),
        ("thinking", mostly(thinking)),
        ("output_config", mostly(format)),
        ("metadata", mostly(Just(json!({"user_id": "u"})))),
        ("stream", mostly(any::<bool>().prop_map(Value::from))),
    ]);
    let limit = mostly((1u64..20_000).prop_map(Value::from));
    let turns = prop::collection::vec(anthropic_turns(), 0..6);
    (one_of(models()), limit, words(), turns, settings).prop_map(|(model, limit, first, turns, settings)| {
        let messages: Vec<_> = std::iter::once(json!({"role": "user", "content": first})).chain(turns.into_iter().flatten()).collect();
        joined(settings, json!({"model": model, "max_tokens": limit, "messages": messages}))
    })
}

// --- streams ---

fn anthropic_event() -> impl Strategy<Value = Value> {
    let index = || 0u64..3;
    let block = one_of(vec![
        json!({"type": "text", "text": ""}),
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        json!({"type": "redacted_thinking", "data": "eA=="}),
        json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}),
        json!({"type": "tool_use", "id": "toolu_2", "name": "json_answer", "input": {}}),
        json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}),
    ]);
    let delta = one_of(vec![
        json!({"type": "text_delta", "text": "Hi."}),
        json!({"type": "text_delta", "text": ""}),
        json!({"type": "thinking_delta", "thinking": "Hm."}),
        json!({"type": "signature_delta", "signature": "c2ln"}),
        json!({"type": "input_json_delta", "partial_json": "{\"a\":"}),
        json!({"type": "input_json_delta", "partial_json": "1}"}),
    ]);
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}});
    let reason = one_of(["end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal", "pause_turn"].map(Value::from).to_vec());
    prop_oneof![
        1 => Just(start),
        4 => (index(), block).prop_map(|(index, block)| json!({"type": "content_block_start", "index": index, "content_block": block})),
        8 => (index(), delta).prop_map(|(index, delta)| json!({"type": "content_block_delta", "index": index, "delta": delta})),
        4 => index().prop_map(|index| json!({"type": "content_block_stop", "index": index})),
        2 => reason.prop_map(|reason| json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null}, "usage": {"output_tokens": 9}})),
        1 => Just(json!({"type": "message_stop"})),
        1 => Just(json!({"type": "ping"})),
        1 => Just(json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
    ]
}

fn openai_event() -> impl Strategy<Value = Value> {
    let index = || 0u64..3;
    let delta = prop_oneof![
        4 => Just(json!({"content": "Hi."})),
        1 => Just(json!({"role": "assistant", "content": ""})),
        1 => Just(json!({"refusal": "No."})),
        1 => Just(json!({"reasoning_content": "Hm."})),
        1 => Just(json!({"reasoning": "Hm.", "content": null})),
        3 => (index(), call_id()).prop_map(|(index, id)| json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": ""}}]})),
        4 => (index(), arguments()).prop_map(|(index, arguments)| json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})),
        1 => Just(json!({})),
    ];
    let reason = one_of(vec![json!("stop"), json!("length"), json!("tool_calls"), json!("content_filter"), json!("function_call")]);
    let chunk = |choices: Value| json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": choices});
    prop_oneof![
        12 => delta.prop_map(move |delta| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]))),
        2 => reason.prop_map(move |reason| chunk(json!([{"index": 0, "delta": {}, "finish_reason": reason}]))),
        1 => Just(joined(chunk(json!([])), json!({"usage": {"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11}}))),
        1 => Just(json!("[DONE]")),
        1 => Just(json!({"error": {"message": "No.", "type": "server_error"}})),
    ]
}

/// The bytes of a stream for the laws: how to read it, how to cut it, the events. As a rule it begins and ends as one should.
fn stream(event: impl Strategy<Value = Value> + 'static, first: Value, last: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let events = prop::collection::vec(mostly(event), 0..12);
    (0u8..4, any::<u8>(), events, prop::bool::weighted(0.9), any::<bool>(), any::<bool>()).prop_map(
        move |(how, cuts, events, begins, ends, names)| {
            let first = begins.then(|| first.clone());
            let last = if ends { last.clone() } else { Vec::new() };
            let mut bytes = vec![how, cuts];
            for event in first.into_iter().chain(events).chain(last) {
                if let (true, Some(name)) = (names, event["type"].as_str()) {
                    bytes.extend_from_slice(format!("event: {}\n", name.replace(['\n', '\r'], "")).as_bytes());
                }
                let data = if event == "[DONE]" { "[DONE]".into() } else { event.to_string() };
                bytes.extend_from_slice(format!("data: {data}\n\n").as_bytes());
            }
            bytes
        },
    )
}

pub fn anthropic_stream() -> impl Strategy<Value = Vec<u8>> {
    let first = json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}}});
    let last = vec![
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 9}}),
        json!({"type": "message_stop"}),
    ];
    stream(anthropic_event(), first, last)
}

pub fn openai_stream() -> impl Strategy<Value = Vec<u8>> {
    let chunk = |choice: Value| json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": [choice]});
    let first = chunk(json!({"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": null}));
    let last = vec![chunk(json!({"index": 0, "delta": {}, "finish_reason": "stop"})), json!("[DONE]")];
    stream(openai_event(), first, last)
}
