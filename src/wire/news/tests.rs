//! Every event against `data/events.schema.json`: the members it requires, no others, and their types.

use super::*;
use crate::call::{End, Outcome, Stages};
use crate::money::{NanoUsd, Usage};
use crate::row::{Bill, Content};
use serde_json::{Value, json};
use std::sync::Arc;

const SCHEMA: &str = include_str!("../../../data/events.schema.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

fn info() -> RequestInfo {
    RequestInfo {
        serial: 12,
        at: UnixMs(1_790_000_000_123),
        agent: Some("re\"searcher\n".into()),
        upstream: "openai".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("gpt-4o\u{2028}".into()),
        stream: true,
        request_bytes: Some(123),
        translated: false,
    }
}

/// An info of which everything is unknown that may be.
fn bare() -> RequestInfo {
    RequestInfo { agent: None, model: None, request_bytes: None, ..info() }
}

fn row() -> Row {
    let micros = |us| Some(Duration::from_micros(us));
    let outcome = Outcome {
        status: 200,
        end: End::Complete,
        reply_bytes: 456,
        first_byte: micros(1200),
        total: Duration::from_micros(12_345),
        stages: Stages { sent: micros(7), head: micros(1000), received: micros(12_000) },
    };
    let usage = Usage { input: 5, cache_read: 2, cache_write_5m: 1, output: 3, ..Usage::default() };
    let bill = Bill { usage: Some(usage), cost: Some(NanoUsd(1234)), ..Bill::default() };
    Row { request_id: Some("req_1".into()), ..Row::new(info(), outcome, bill, None) }
}

fn failed() -> Row {
    Row::new(bare(), Outcome::failed(0, End::ClientGone, Duration::ZERO), Bill::default(), Some("upstream_timeout"))
}

fn detailed(content: Option<Content>) -> Row {
    let details = Details {
        request_headers: vec![("accept".into(), "a".into()), ("accept".into(), "\u{1}b".into())],
        error: Some("no\r\nsuch model".into()),
        content: content.into(),
        ..Details::default()
    };
    Row { details: Some(Arc::new(details)), ..row() }
}

/// One of each kind, and of the large ones the fullest and the emptiest.
fn events() -> Vec<Event> {
    let at = UnixMs(7);
    let crossing = |agent| Crossing { agent, percent: 80, spent: NanoUsd(8), limit: NanoUsd(u64::MAX) };
    vec![
        Event::RouterStarted { at, port: 8080 },
        Event::RouterStopped { at },
        Event::RequestStarted(Arc::new(info())),
        Event::RequestStarted(Arc::new(bare())),
        Event::RequestCompleted(Arc::new(row())),
        Event::RequestFailed(Arc::new(failed())),
        Event::RequestFailed(Arc::new(detailed(None))),
        Event::RequestCompleted(Arc::new(detailed(Some(Content { request: b"{}\n".to_vec(), reply: vec![0xff, b'x'] })))),
        Event::ThresholdReached { at, crossing: crossing(None) },
        Event::ThresholdReached { at, crossing: crossing(Some("a".into())) },
        Event::LedgerFailed { at, why: "disk \\ full".into() },
    ]
}

/// Follows `$ref` within the schema.
fn resolved<'a>(schema: &'a Value, part: &'a Value) -> &'a Value {
    match part["$ref"].as_str() {
        Some(name) => schema.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} is defined")),
        None => part,
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}: no type of JSON Schema"),
    }
}

/// The value is of the type that the schema names; an object has all that is required, and nothing that is not described.
fn check(schema: &Value, part: &Value, value: &Value, at: &str) {
    let part = resolved(schema, part);
    if let Some(constant) = part.get("const") {
        return assert_eq!(value, constant, "{at}");
    }
    let kinds: Vec<&str> = match &part["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    assert!(kinds.iter().any(|kind| is(value, kind)), "{at}: {value} is none of {kinds:?}");
    if let Some(words) = part["enum"].as_array() {
        assert!(words.contains(value), "{at}: {value}");
    }
    for item in value.as_array().into_iter().flatten() {
        check(schema, &part["items"], item, at);
    }
    let Some(members) = value.as_object() else { return };
    assert_eq!(part["additionalProperties"], true, "{at}: members may be added");
    for name in part["required"].as_array().expect("required").iter().filter_map(Value::as_str) {
        assert!(members.contains_key(name), "{at}: {name} is missing in {value}");
    }
    for (name, value) in members {
        let member = part["properties"].get(name).unwrap_or_else(|| panic!("{at}: {name} is not described"));
        check(schema, member, value, &format!("{at}.{name}"));
    }
}

/// Checks a message against the definition of its type.
fn check_message(text: &str) -> Value {
    let (schema, value) = (schema(), serde_json::from_str::<Value>(text).unwrap_or_else(|why| panic!("{why}: {text}")));
    let name = value["type"].as_str().expect("a type").to_string();
    check(&schema, &schema["$defs"][&name], &value, &name);
    assert!(!text.contains(['\n', '\r']), "a message is one line: {text}");
    value
}

#[test]
fn every_event_is_what_the_schema_says() {
    for (seq, event) in (1..).zip(events()) {
        let value = check_message(&json(seq, &event));
        assert_eq!((&value["seq"], &value["type"]), (&json!(seq), &json!(event.name())));
    }
    check_message(&gap(3));
    check_message(&hello(17, &Hello { started_at: UnixMs(5), ledger: true, capture: false }));
}

#[test]
fn the_schema_defines_what_there_is_and_nothing_else() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut told: Vec<String> = events().iter().map(|event| event.name().to_string()).chain(["gap".into(), "hello".into()]).collect();
    told.sort();
    told.dedup();
    let listed = schema["oneOf"].as_array().expect("oneOf").iter().filter_map(|part| part["$ref"].as_str());
    let mut listed: Vec<String> = listed.map(|name| name.trim_start_matches("#/$defs/").to_string()).collect();
    listed.sort();
    assert_eq!(listed, told);
}

#[test]
fn a_completed_call_to_the_byte() {
    let expected = concat!(
        r#"{"seq":17,"at":1790000000123,"type":"llm_request_completed","call":12,"agent":"re\"searcher\n","model":"gpt-4o"#,
        "\u{2028}",
        r#"","provider":"openai","method":"POST","path":"/v1/chat/completions","stream":true,"translated":false,"request_bytes":123,"#,
        r#""status":200,"end":"complete","refused":false,"code":null,"request_id":"req_1","duration_ms":12.345,"first_byte_ms":1.200,"#,
        r#""sent_ms":0.007,"head_ms":1.000,"received_ms":12.000,"reply_bytes":456,"input_tokens":8,"cached_tokens":2,"output_tokens":3,"#,
        r#""reasoning_tokens":0,"cost_nano_usd":1234,"estimated":false}"#
    );
    assert_eq!(json(17, &Event::RequestCompleted(Arc::new(row()))), expected);
    assert_eq!(closed(&Arc::new(row())), expected.replace(r#""seq":17,"#, ""));
}

#[test]
fn bodies_that_are_no_text_are_shown_as_far_as_they_are() {
    let content = Content { request: b"a\xffb".to_vec(), reply: Vec::new() };
    let value: Value = serde_json::from_str(&closed(&Arc::new(detailed(Some(content))))).expect("JSON");
    assert_eq!(value["details"]["request_body"], "a\u{fffd}b");
    assert_eq!(value["details"]["request_headers"], json!([["accept", "a"], ["accept", "\u{1}b"]]));
    assert_eq!(value["details"]["reply_body"], "");
}
