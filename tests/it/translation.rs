//! Calls whose client and provider speak different protocols, through the whole router: what goes over the wire, what it costs, and what
//! happens when the provider breaks off.

use super::client::{End, Reply, Request};
use super::framing::{chunk, chunked};
use super::rig::{self, ANTHROPIC_KEY, OPENAI_KEY, Router, TOKEN};
use super::upstream::{Upstream, json, reply, sse_head};
use iron_runtime::Config;
use iron_runtime::config::Spending;
use iron_runtime::money::NanoUsd;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

pub(super) const CLAUDE: &str = "claude-sonnet-4-20250514";

/// OpenAI's question to Claude.
pub(super) fn to_claude(more: &str) -> Request {
    Request::post("/v1/chat/completions", &format!(r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"hi"}}]{more}}}"#))
}

/// Anthropic's question to GPT.
pub(super) fn to_gpt(more: &str) -> Request {
    let body = format!(r#"{{"model":"gpt-4o","max_tokens":50,"messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
    Request::post("/v1/messages", &body).field("anthropic-version", "2023-06-01")
}

pub(super) fn message(content: &Value, stop: &str) -> Vec<u8> {
    let body = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": CLAUDE, "content": content, "stop_reason": stop,
        "stop_sequence": null, "usage": {"input_tokens": 8, "output_tokens": 3},
    });
    reply(200, "content-type: application/json\r\nrequest-id: req_7\r\nanthropic-ratelimit-requests-limit: 50\r\n", body.to_string())
}

pub(super) fn said(text: &str) -> Vec<u8> {
    message(&json!([{"type": "text", "text": text}]), "end_turn")
}

pub(super) fn completion(text: &str) -> Vec<u8> {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11});
    json(
        &json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 9, "model": "gpt-4o", "choices": [choice], "usage": usage})
            .to_string(),
    )
}

pub(super) const CLAUDE_EVENTS: [&str; 6] = [
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":8,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi.\"}}\n\n",
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":3}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

pub(super) const GPT_EVENTS: [&str; 5] = [
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":9,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":9,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi.\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":9,\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":9,\"model\":\"gpt-4o\",\"choices\":[],\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":3}}\n\n",
    "data: [DONE]\n\n",
];

pub(super) fn streamed(events: &[&str]) -> Vec<u8> {
    [sse_head(), chunked(&events.iter().map(|event| event.as_bytes()).collect::<Vec<_>>())].concat()
}

/// The values of a stream's `data` lines.
pub(super) fn data(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_string).collect::<Vec<_>>();
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| Value::from(line.as_str()))).collect()
}

#[test]
fn an_openai_client_talks_to_claude() {
    let (openai, anthropic) = (Upstream::saying(completion("no")), Upstream::saying(said("Hi.")));
    let router = Router::both(&openai, &anthropic);
    let reply = router.call(&to_claude(r#","top_k":5,"seed":1"#).field("OpenAI-Organization", "org").field("X-Title", "kept"));
    assert_eq!((reply.status, reply.json()["choices"][0]["message"]["content"].as_str()), (200, Some("Hi.")), "{}", reply.text());
    assert_eq!(reply.json()["object"], "chat.completion");
    assert!(reply.json()["created"].as_u64().is_some_and(|created| created > 1_600_000_000), "{}", reply.text());
    let field = |name: &str| reply.head.get(name);
    assert_eq!((field("x-request-id").as_deref(), field("request-id").as_deref()), (Some("req_7"), Some("req_7")));
    assert_eq!((field("content-type").as_deref(), field("x-iron-lossy").as_deref()), (Some("application/json"), Some("top_k,seed")));
    assert_eq!(field("anthropic-ratelimit-requests-limit").as_deref(), Some("50"));
    let sent = anthropic.request();
    assert_eq!(sent.head.first, "POST /v1/messages HTTP/1.1");
    for (name, value) in [
        ("x-api-key", Some(ANTHROPIC_KEY)),
        ("authorization", None),
        ("openai-organization", None),
        ("x-title", Some("kept")),
        ("anthropic-version", Some("2023-06-01")),
        ("content-type", Some("application/json")),
        ("accept-encoding", Some("identity")),
    ] {
        assert_eq!(sent.head.get(name).as_deref(), value, "{name}");
    }
    let body: Value = serde_json::from_slice(&sent.body).expect("JSON");
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!(CLAUDE), &json!(64_000)), "the model's own limit: {body}");
    assert_eq!(openai.log(|log| log.connections), 0);
    assert_eq!(router.inner().total_spent(), NanoUsd(8 * 3_000 + 3 * 15_000));
    let row = router.inner().last_rows(1).remove(0);
    assert_eq!((row.info.path.as_ref(), row.info.upstream.as_ref(), row.outcome.status), ("/v1/chat/completions", "anthropic", 200));
}

#[test]
fn an_anthropic_client_talks_to_gpt() {
    let (openai, anthropic) = (Upstream::saying(completion("Hi.")), Upstream::saying(said("no")));
    let router = Router::both(&openai, &anthropic);
    let reply = router.call(&to_gpt(r#","top_k":5"#).field("anthropic-beta", "x"));
    assert_eq!((reply.status, reply.json()["content"][0]["text"].as_str()), (200, Some("Hi.")), "{}", reply.text());
    assert_eq!(reply.head.get("x-iron-lossy").as_deref(), Some("top_k"));
    let sent = openai.request();
    assert_eq!(sent.head.first, "POST /v1/chat/completions HTTP/1.1");
    let bearer = format!("Bearer {OPENAI_KEY}");
    for (name, value) in
        [("authorization", Some(bearer.as_str())), ("x-api-key", None), ("anthropic-version", None), ("anthropic-beta", None)]
    {
        assert_eq!(sent.head.get(name).as_deref(), value, "{name}");
    }
    assert!(!String::from_utf8_lossy(&sent.body).contains(TOKEN));
    assert_eq!(router.inner().total_spent(), NanoUsd(8 * 2_500 + 3 * 10_000));
}

#[test]
fn streams_are_translated_event_by_event() {
    let (openai, anthropic) = (Upstream::saying(streamed(&GPT_EVENTS)), Upstream::saying(streamed(&CLAUDE_EVENTS)));
    let router = Router::both(&openai, &anthropic);
    let reply = router.call(&to_claude(r#","stream":true"#));
    assert_eq!((reply.status, reply.end), (200, End::Whole));
    assert_eq!(reply.head.get("content-type").as_deref(), Some("text/event-stream; charset=utf-8"));
    let events = data(&reply);
    let text: String = events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!((text.as_str(), events.last()), ("Hi.", Some(&Value::from("[DONE]"))));
    assert!(events.iter().all(|event| event.get("usage").is_none()), "it was not asked for: {events:?}");
    let reply = router.call(&to_gpt(r#","stream":true"#));
    let kinds: Vec<String> = data(&reply).iter().map(|event| event["type"].as_str().unwrap_or_default().to_string()).collect();
    let expected = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"];
    assert_eq!(kinds, expected, "{}", reply.text());
    let sent: Value = serde_json::from_slice(&openai.request().body).expect("JSON");
    assert_eq!(sent["stream_options"], json!({"include_usage": true}), "{sent}");
    assert_eq!(data(&reply)[4]["usage"]["output_tokens"], 3);
    assert_eq!(router.inner().total_spent(), NanoUsd(8 * 3_000 + 3 * 15_000 + 8 * 2_500 + 3 * 10_000));
}

/// Nothing is held back: an event that has come is seen before the next one is sent.
#[test]
fn an_event_in_gives_its_events_out_at_once() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(&sse_head());
        for event in &CLAUDE_EVENTS[..3] {
            conn.send(&chunk(event.as_bytes()));
        }
        conn.eof();
    });
    let router = Router::both(&upstream, &upstream);
    let mut client = router.client();
    client.send(&to_claude(r#","stream":true"#).bytes());
    let head = client.head().expect("head");
    let body = client.body(&head, "POST", |so_far| String::from_utf8_lossy(so_far).contains("Hi."));
    assert!(String::from_utf8_lossy(&body.0).contains("Hi."));
    client.leave(true);
    upstream.wait("the upstream is let go", |log| log.closed == 1);
    router.wait_stats(|totals| totals.in_flight == 0);
    assert!(router.inner().total_spent() > NanoUsd::ZERO, "what was used is billed");
}

#[test]
fn errors_are_translated_and_keep_their_status() {
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    let quota = r#"{"error":{"message":"You exceeded your quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    let anthropic = Upstream::saying(reply(529, "content-type: application/json\r\nretry-after: 7\r\n", overloaded));
    let openai = Upstream::saying(reply(429, "content-type: application/json\r\nx-should-retry: false\r\n", quota));
    let router = Router::both(&openai, &anthropic);
    for stream in ["", r#","stream":true"#] {
        let reply = router.call(&to_claude(stream));
        assert_eq!((reply.status, reply.json()["error"]["message"].as_str()), (529, Some("Overloaded")));
        assert_eq!(reply.head.get("retry-after").as_deref(), Some("7"));
        assert_eq!(reply.json()["error"]["type"], "overloaded_error");
        let reply = router.call(&to_gpt(stream));
        assert_eq!((reply.status, reply.json()["type"].as_str()), (429, Some("error")), "{}", reply.text());
        assert_eq!(reply.json()["error"]["message"], "You exceeded your quota");
        assert_eq!(reply.head.get("x-should-retry").as_deref(), Some("false"));
    }
    assert_eq!(router.inner().total_spent(), NanoUsd::ZERO);
}

#[test]
fn what_cannot_be_carried_is_refused_when_that_is_wanted() {
    let upstream = Upstream::saying(said("Hi."));
    let mut config = rig::both(&upstream, &upstream);
    config.strict_translation = true;
    let router = Router::start(config);
    let reply = router.call(&to_claude(r#","seed":1"#));
    assert_eq!(reply.error(), (400, "lossy_translation".into()));
    assert!(reply.text().contains("seed") && reply.text().contains("--strict-translation"), "{}", reply.text());
    assert_eq!(router.call(&to_gpt(r#","top_k":1"#)).anthropic_error(), (400, "invalid_request_error".into()));
    assert_eq!(router.call(&to_claude("")).status, 200);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn bad_requests_are_refused_in_the_clients_own_words() {
    let upstream = Upstream::saying(said("Hi."));
    let router = Router::both(&upstream, &upstream);
    let chat = |body: &str| router.call(&Request::post("/v1/chat/completions", body));
    let deep = format!(r#"{{"model":"{CLAUDE}","messages":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    for (body, code) in [
        (format!(r#"{{"model":"{CLAUDE}","messages":7}}"#), "invalid_field"),
        (format!(r#"{{"model":"{CLAUDE}"}}"#), "invalid_field"),
        (
            format!(r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":[{{"type":"input_audio"}}]}}]}}"#),
            "untranslatable_content",
        ),
        (deep, "json_too_deep"),
    ] {
        assert_eq!(chat(&body).error(), (400, code.into()), "{body}");
    }
    let reply = router.call(&Request::post("/v1/messages", r#"{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}"#));
    assert_eq!(reply.anthropic_error(), (400, "invalid_request_error".into()));
    assert!(reply.text().contains("max_tokens"), "{}", reply.text());
    assert_eq!(upstream.log(|log| log.connections), 0);
}

#[test]
fn garbage_is_an_honest_error() {
    for garbage in [json("nonsense"), json("[]"), json("{}"), reply(200, "content-type: text/html\r\n", "<html>")] {
        let upstream = Upstream::saying(garbage);
        let router = Router::both(&upstream, &upstream);
        assert_eq!(router.call(&to_claude("")).error(), (502, "upstream_garbage".into()));
        assert_eq!(router.call(&to_gpt("")).anthropic_error(), (502, "api_error".into()));
        assert_eq!(router.settled(2), (2, 2, 0));
    }
    let compressed = reply(200, "content-type: application/json\r\ncontent-encoding: gzip\r\n", "x");
    let upstream = Upstream::saying(compressed);
    let answer = Router::both(&upstream, &upstream).call(&to_claude(""));
    assert!(answer.status == 502 && answer.text().contains("compressed"), "{}", answer.text());
}

#[test]
fn replies_in_memory_have_a_bound_each_and_together() {
    let upstream = Upstream::saying(said(&"x".repeat(3_000)));
    let config = |each, together| {
        let mut config = rig::both(&upstream, &upstream);
        (config.limits.max_body_bytes, config.limits.max_buffered_bytes) = (each, together);
        config
    };
    assert_eq!(Router::start(config(2_000, 100_000)).call(&to_claude("")).error(), (502, "upstream_garbage".into()));
    let full = Router::start(config(100_000, 2_000));
    assert_eq!(full.call(&to_claude("")).error(), (503, "router_busy".into()));
    let roomy = Router::start(config(100_000, 4_000));
    (0..5).for_each(|_| assert_eq!(roomy.call(&to_claude("")).status, 200));
}

pub(super) fn limited(mut config: Config, nano_usd: u64) -> Config {
    config.spending = Spending { budget: Some(NanoUsd(nano_usd)), ..Spending::default() };
    config
}

#[test]
fn a_budget_clamps_a_translated_call_like_any_other() {
    let (openai, anthropic) = (Upstream::saying(completion("Hi.")), Upstream::saying(said("Hi.")));
    let router = Router::start(limited(rig::both(&openai, &anthropic), 20_000_000));
    // Without a limit of its own: an eighth of what is free, at least 1,024 tokens.
    let reply = router.call(&to_claude(""));
    let clamped = reply.head.get("x-iron-clamped").unwrap_or_else(|| panic!("told: {}", reply.text()));
    let body: Value = serde_json::from_slice(&anthropic.request().body).expect("JSON");
    assert_eq!(format!("max_tokens={}", body["max_tokens"]), clamped);
    let reply = router.call(&to_claude(r#","max_completion_tokens":30"#));
    assert_eq!((reply.status, reply.head.get("x-iron-clamped")), (200, None));
    let reply =
        router.call(&Request::post("/v1/messages", r#"{"model":"gpt-4o","max_tokens":16000,"messages":[{"role":"user","content":"x"}]}"#));
    let clamped = reply.head.get("x-iron-clamped").unwrap_or_else(|| panic!("told: {}", reply.text()));
    let body: Value = serde_json::from_slice(&openai.request().body).expect("JSON");
    // It is told in the client's words.
    assert_eq!(format!("max_tokens={}", body["max_completion_tokens"]), clamped);
    router.inner().set_budget(Some(NanoUsd(1)));
    assert_eq!(router.call(&to_claude("")).error(), (402, "budget_exceeded".into()));
    let refused = router.call(&to_gpt(""));
    assert_eq!(refused.anthropic_error(), (402, "iron_cage_budget_exceeded".into()));
    assert!(refused.text().contains("a lower max_tokens"), "{}", refused.text());
}

#[test]
fn a_body_that_can_t_be_read_can_t_be_translated_or_counted() {
    let upstream = Upstream::saying(completion("Hi."));
    let router = Router::both(&upstream, &upstream);
    for path in ["/openai/v1/messages", "/openai/v1/messages/count_tokens"] {
        let reply = router.call(&Request::post(path, "{}").field("Content-Encoding", "gzip"));
        assert_eq!(reply.anthropic_error(), (400, "invalid_request_error".into()));
        assert!(reply.text().contains("without content-encoding"), "{}", reply.text());
    }
}

#[test]
fn thinking_is_kept_for_a_client_that_cannot_carry_it() {
    let thought = json!({"type": "thinking", "thinking": "I must look.", "signature": "c2lnbmVk"});
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": 1}});
    let first = message(&json!([thought, call]), "tool_use");
    let upstream =
        Upstream::answering(
            move |request| {
                if String::from_utf8_lossy(&request.body).contains("tool_result") { said("Done.") } else { first.clone() }
            },
        );
    let router = Router::both(&upstream, &upstream);
    let tools = r#","tools":[{"type":"function","function":{"name":"look"}}],"reasoning_effort":"low","max_tokens":9000"#;
    let reply = router.call(&to_claude(tools)).json();
    let message = &reply["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "I must look.", "{reply}");
    // A client that knows nothing of thinking sends the call back, and nothing else.
    let mut turn = json!({"role": "assistant", "content": null, "tool_calls": message["tool_calls"]});
    turn["tool_calls"][0]["index"] = Value::Null;
    let result = json!({"role": "tool", "tool_call_id": "toolu_1", "content": "seen"});
    let body = format!(r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"hi"}},{turn},{result}]{tools}}}"#);
    let second = router.call(&Request::post("/v1/chat/completions", &body));
    assert_eq!((second.status, second.head.get("x-iron-lossy")), (200, None), "{}", second.text());
    let sent: Value = serde_json::from_slice(&upstream.requests().pop().expect("request").body).expect("JSON");
    assert_eq!(sent["messages"][1]["content"], json!([thought, call]), "{sent}");
    assert_eq!(sent["thinking"]["type"], "enabled");
}

#[test]
fn tokens_are_estimated_where_the_provider_does_not_count() {
    let upstream = Upstream::saying(said("no"));
    let router = Router::both(&upstream, &upstream);
    let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"How many tokens has this sentence, do you think?"}]}"#;
    let reply = router.call(&Request::post("/v1/messages/count_tokens", body));
    assert!((5..40).contains(&reply.json()["input_tokens"].as_u64().expect("a number")), "{}", reply.text());
    assert_eq!(reply.head.get("x-iron-estimated").as_deref(), Some("input_tokens"));
    assert_eq!(upstream.log(|log| log.connections), 0);
    assert_eq!(router.call(&Request::post("/v1/messages/count_tokens", r#"{"model":"gpt-4o"}"#)).anthropic_error().0, 400);
}

#[test]
fn lists_of_models_are_one_list_in_the_askers_words() {
    let of_openai = r#"{"object":"list","data":[{"id":"gpt-4o","object":"model","created":1700000000,"owned_by":"system"}]}"#;
    let of_anthropic = r#"{"data":[{"type":"model","id":"claude-x","display_name":"Claude X","created_at":"2024-02-29T00:00:00Z"}],"has_more":false,"first_id":"claude-x","last_id":"claude-x"}"#;
    let one = r#"{"type":"model","id":"claude-x","display_name":"Claude X","created_at":"2024-02-29T00:00:00Z"}"#;
    let openai = Upstream::saying(json(of_openai));
    let anthropic = Upstream::answering(move |request| json(if request.head.first.contains("/v1/models/") { one } else { of_anthropic }));
    let router = Router::both(&openai, &anthropic);
    let ids = |reply: &Reply| {
        let body = reply.json();
        body["data"].as_array().unwrap_or_else(|| panic!("{body}")).iter().map(|model| model["id"].clone()).collect::<Vec<_>>()
    };
    let reply = router.call(&Request::get("/v1/models"));
    assert_eq!((ids(&reply), reply.json()["object"].clone()), (vec![json!("gpt-4o"), json!("claude-x")], json!("list")));
    let version = |path: &str| Request::get(path).field("anthropic-version", "2023-06-01");
    let reply = router.call(&version("/v1/models"));
    assert_eq!((ids(&reply), reply.json()["has_more"].clone()), (vec![json!("gpt-4o"), json!("claude-x")], json!(false)));
    assert_eq!(reply.json()["data"][0]["type"], "model");
    let reply = router.call(&Request::get("/v1/models/claude-x")).json();
    assert_eq!((&reply["object"], &reply["created"]), (&json!("model"), &json!(1_709_164_800)), "{reply}");
    assert_eq!(router.call(&Request::get("/openai/v1/models")).text(), of_openai, "byte for byte");
    assert_eq!(router.settled(4), (4, 0, 0));
    assert_eq!(router.inner().last_rows(9).len(), 4);
    drop(anthropic);
    let reply = router.call(&Request::get("/v1/models"));
    assert_eq!((ids(&reply), reply.head.get("x-iron-unavailable").as_deref()), (vec![json!("gpt-4o")], Some("anthropic")));
}

/// The provider's connection ends at every byte of a reply in turn: it never looks whole before it is, and each call is settled once.
fn cut_everywhere(raw: Vec<u8>, request: &Request, is_whole: impl Fn(&Reply) -> bool, ends_at: usize) {
    let length = Arc::new(AtomicUsize::new(0));
    let (cut, whole) = (length.clone(), raw.clone());
    let upstream = Upstream::start(move |conn| {
        if conn.request().is_some() {
            conn.send(&whole[..cut.load(SeqCst)]);
        }
    });
    let router = Router::both(&upstream, &upstream);
    for cut in 0..=raw.len() {
        length.store(cut, SeqCst);
        let reply = router.call(request);
        let honest = reply.status == 502 && reply.end == End::Whole && reply.json()["error"]["message"].is_string();
        let broken = reply.status == 200 && reply.end == End::Broken;
        let whole = reply.status == 200 && reply.end == End::Whole && is_whole(&reply);
        assert!(if cut == raw.len() { whole } else { honest || broken }, "{cut}: {reply:?}");
        assert!(cut >= ends_at || !is_whole(&reply), "whole after {cut} bytes: {reply:?}");
    }
    let calls = raw.len() as u64 + 1;
    let (requests, _, refused) = router.settled(calls);
    assert_eq!((requests, refused, router.stats().in_flight), (calls, 0, 0));
    assert_eq!(router.inner().stats().held, NanoUsd::ZERO);
}

#[test]
fn cut_streams_never_look_whole() {
    let raw = streamed(&CLAUDE_EVENTS);
    let end = raw.windows(12).rposition(|part| part == b"message_stop").expect("the end");
    cut_everywhere(raw, &to_claude(r#","stream":true"#), |reply| reply.text().contains("[DONE]"), end);
    let raw = streamed(&GPT_EVENTS);
    let end = raw.windows(6).rposition(|part| part == b"[DONE]").expect("the end");
    cut_everywhere(raw, &to_gpt(r#","stream":true"#), |reply| reply.text().contains("message_stop"), end);
}

#[test]
fn cut_replies_are_honest_errors() {
    for (raw, request) in [(said("Hi."), to_claude("")), (completion("Hi."), to_gpt(""))] {
        let whole = raw.len();
        cut_everywhere(raw, &request, |reply| reply.status == 200, whole);
    }
}

/// What a call came to: its bill, but for what tells one call from another.
pub(super) fn bill_of(router: &Router, request: &Request) -> String {
    let before = router.stats().requests;
    router.call(request);
    router.wait_stats(|totals| totals.requests == before + 1 && totals.in_flight == 0);
    let row = router.inner().last_rows(1).remove(0);
    format!("{:?} {:?}", row.bill, row.info.upstream)
}

/// A reply of Anthropic's protocol, or a piece of one.
fn provider_reply() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let usage = (0..5_000u64, 0..5_000u64, 0..5_000u64, 0..5_000u64);
    (usage, any::<bool>(), "[a-z é\"]{0,40}", 0..=100usize).prop_map(|((input, read, write, output), stream, text, percent)| {
        let usage = json!({
            "input_tokens": input, "cache_read_input_tokens": read, "cache_creation_input_tokens": write, "output_tokens": output,
        });
        let content = json!([{"type": "text", "text": text}]);
        let mut message = json!({"id": "m", "type": "message", "role": "assistant", "model": CLAUDE, "content": content,
            "stop_reason": "end_turn", "stop_sequence": null, "usage": usage});
        if !stream {
            let raw = json(&message.to_string());
            let cut = if percent > 70 { raw.len() } else { raw.len() * percent / 70 };
            return (false, raw[..cut].to_vec());
        }
        message["content"] = json!([]);
        let events = [
            json!({"type": "message_start", "message": message}),
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output + 7}}),
            json!({"type": "message_stop"}),
        ];
        let texts: Vec<String> =
            events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())).collect();
        let raw = streamed(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let cut = if percent > 70 { raw.len() } else { raw.len() * percent / 70 };
        (true, raw[..cut].to_vec())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Budget, price and meter see a translated call as they see the same call from the provider's own client.
    #[test]
    fn a_translated_call_costs_what_the_same_native_call_costs((stream, raw) in provider_reply(), text in "[a-z][a-z é\\n]{0,59}", limit in 20..3_000u64) {
        let upstream = Upstream::start(move |conn| {
            if conn.request().is_some() {
                conn.send(&raw);
            }
        });
        let router = Router::start(limited(rig::both(&upstream, &upstream), 10_000_000_000));
        let body = json!({"model": CLAUDE, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}],
            "max_completion_tokens": limit, "stream": stream});
        let translated = bill_of(&router, &Request::post("/v1/chat/completions", &body.to_string()));
        let sent = upstream.requests().pop().expect("request").body;
        let native = Request::post("/v1/messages", &String::from_utf8(sent).expect("text")).field("anthropic-version", "2023-06-01");
        prop_assert_eq!(translated, bill_of(&router, &native));
    }
}
