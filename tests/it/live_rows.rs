//! What a call leaves behind for those who look: the id that client, log and row share, and when its stages were reached.

use super::client::{Client, Reply, Request};
use super::rig::{self, Router};
use super::upstream::{Upstream, chunked_head, json, reply, sse_head};
use iron_runtime::row::Row;
use std::sync::Arc;

const CHAT: &str = r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","model":"claude-sonnet-4-20250514","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}"#;

/// A message to claude, whole.
fn message() -> Request {
    Request::post("/v1/messages", r#"{"model":"claude-sonnet-4-20250514","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#)
        .field("anthropic-version", "2023-06-01")
}

/// The same for a model of OpenAI's.
fn message_to_gpt() -> Request {
    Request::post("/v1/messages", r#"{"model":"gpt-4o","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#)
        .field("anthropic-version", "2023-06-01")
}

fn chat_to_claude() -> Request {
    Request::post("/v1/chat/completions", r#"{"model":"claude-sonnet-4-20250514","messages":[{"role":"user","content":"hi"}]}"#)
}

/// A client's ids: under `x-request-id` and under `request-id`.
fn ids(reply: &Reply) -> (Option<String>, Option<String>) {
    (reply.head.get("x-request-id"), reply.head.get("request-id"))
}

/// Whether an id is ours.
fn is_ours(id: Option<&str>) -> bool {
    let parts: Vec<&str> = id.unwrap_or_default().split('-').collect();
    matches!(parts[..], ["iron", run, serial] if run.len() == 8 && !serial.is_empty())
}

/// The only row, once it is there.
fn row(router: &Router) -> Arc<Row> {
    router.settled(1);
    let mut rows = router.inner().last_rows(9);
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn row_id(router: &Router) -> Option<String> {
    row(router).request_id.as_deref().map(String::from)
}

#[test]
fn a_providers_id_is_the_calls() {
    let fields = "content-type: application/json\r\nx-request-id: req_openai_7f\r\n";
    let upstream = Upstream::saying(reply(200, fields, CHAT));
    let router = Router::openai(&upstream);
    let got = router.call(&Request::chat().field("x-request-id", "mine-1"));
    assert_eq!(got.head.all("x-request-id"), [b"req_openai_7f"]);
    assert_eq!(got.head.names(), ["content-length", "content-type", "x-request-id"], "nothing is added");
    assert_eq!(upstream.request().head.get("x-request-id").as_deref(), Some("mine-1"), "the client's own goes on");
    assert_eq!(row_id(&router).as_deref(), Some("req_openai_7f"));
    let line = rig::logged("req_openai_7f");
    assert!(line.starts_with("INFO") && line.contains("llm_request_completed"), "{line}");
}

#[test]
fn a_provider_that_gives_none_has_one_of_ours() {
    for (request, body) in [(Request::chat(), CHAT), (message(), MESSAGE)] {
        let upstream = Upstream::saying(json(body));
        let router = Router::both(&upstream, &upstream);
        let got = router.call(&request);
        let (openai, anthropic) = ids(&got);
        assert_ne!(openai.is_some(), anthropic.is_some(), "under the name that the client's protocol has for it");
        let id = openai.or(anthropic);
        assert!(is_ours(id.as_deref()), "{id:?}");
        assert_eq!(row_id(&router), id);
        assert!(rig::logged(&id.unwrap_or_default()).contains("llm_request_completed"));
    }
}

#[test]
fn translated_replies_have_one_too() {
    let (openai, anthropic) = (Upstream::saying(json(CHAT)), Upstream::saying(json(MESSAGE)));
    for (request, is_openai) in [(chat_to_claude(), true), (message_to_gpt(), false)] {
        let router = Router::both(&openai, &anthropic);
        let (x, plain) = ids(&router.call(&request));
        let id = if is_openai { x } else { plain };
        assert!(is_ours(id.as_deref()), "{id:?}");
        assert_eq!(row_id(&router), id);
    }
    let anthropic = Upstream::saying(reply(200, "content-type: application/json\r\nrequest-id: req_a\r\n", MESSAGE));
    let router = Router::both(&openai, &anthropic);
    assert_eq!(ids(&router.call(&chat_to_claude())), (Some("req_a".into()), Some("req_a".into())));
    assert_eq!(row_id(&router).as_deref(), Some("req_a"));
}

#[test]
fn what_is_refused_before_it_is_a_call_has_an_id_that_the_log_tells() {
    let upstream = Upstream::saying(json(CHAT));
    let router = Router::openai(&upstream);
    let mut seen = Vec::new();
    for (request, is_openai) in [
        (Request::chat().without_token(), true),
        (message().without_token(), false),
        (Request::chat().host("evil.com"), true),
        (Request::post("/v1/chat/completions", "no JSON"), true),
        (Request::get("/v1/../x"), true),
        (Request::new("DELETE", "/stats"), true),
    ] {
        let got = router.call(&request);
        let (x, plain) = ids(&got);
        let id = if is_openai { x } else { plain };
        assert!(got.status >= 400 && is_ours(id.as_deref()), "{} {id:?}", got.status);
        let line = rig::logged(id.as_deref().unwrap_or_default());
        assert!(line.contains(&format!("status={}", got.status)) && line.starts_with("INFO"), "{line}");
        seen.push(id);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6, "each its own");
}

#[test]
fn an_estimate_of_tokens_has_one() {
    let upstream = Upstream::saying(json(CHAT));
    let router = Router::openai(&upstream);
    let request = Request::post("/v1/messages/count_tokens", r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#);
    let got = router.call(&request.field("anthropic-version", "2023-06-01"));
    assert_eq!(got.status, 200, "{}", got.text());
    assert!(is_ours(ids(&got).1.as_deref()), "{:?}", ids(&got));
}

#[test]
fn a_list_of_models_has_one() {
    let upstream = Upstream::saying(json(r#"{"object":"list","data":[{"id":"gpt-4o","object":"model"}]}"#));
    let router = Router::both(&upstream, &upstream);
    let got = router.call(&Request::get("/v1/models"));
    assert_eq!(got.status, 200, "{}", got.text());
    let (id, row) = (ids(&got).0, row(&router));
    assert!(is_ours(id.as_deref()), "{id:?}");
    assert_eq!(row.request_id.as_deref(), id.as_deref());
    assert!(row.outcome.stages.sent <= row.outcome.stages.head && row.outcome.stages.sent.is_some());
}

#[test]
fn failures_of_ours_go_by_ids_of_ours() {
    let refused = {
        let upstream = Upstream::saying(json(CHAT));
        let mut config = rig::openai(&upstream);
        config.spending.budget = Some(iron_runtime::money::NanoUsd(0));
        (Router::start(config), 402, "budget_exceeded", false)
    };
    let gone = {
        let upstream = Upstream::start(|conn| drop(conn.request()));
        (Router::openai(&upstream), 502, "upstream_refused", false)
    };
    let cut_upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(&chunked_head(200, "content-type: application/json\r\nx-request-id: req_broken\r\n"));
        conn.reset();
    });
    let cut = (Router::openai(&cut_upstream), 502, "upstream_reset", true);
    for (router, status, code, was_sent) in [refused, gone, cut] {
        let got = router.call(&Request::chat());
        assert_eq!(got.error(), (status, code.into()));
        let (id, row) = (ids(&got).0, row(&router));
        assert!(is_ours(id.as_deref()), "{code}: {id:?}");
        assert_eq!((row.request_id.as_deref(), row.code), (id.as_deref(), Some(code)));
        assert_eq!((row.outcome.stages.sent.is_some(), row.outcome.stages.received), (was_sent, None), "{code}");
        let line = rig::logged(id.as_deref().unwrap_or_default());
        assert!(line.starts_with("WARN") && line.contains("llm_request_failed") && line.contains(code), "{line}");
    }
}

#[test]
fn the_stages_of_a_whole_reply_and_of_a_stream() {
    let events = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n";
    let stream = [sse_head(), super::framing::chunked(&[events.as_bytes()])].concat();
    for (request, bytes) in [(Request::chat(), json(CHAT)), (Request::chat_stream(), stream), (chat_to_claude(), json(MESSAGE))] {
        let upstream = Upstream::saying(bytes);
        let router = Router::both(&upstream, &upstream);
        assert_eq!(router.call(&request).status, 200);
        let outcome = row(&router).outcome.clone();
        let stages = [outcome.stages.sent, outcome.stages.head, outcome.stages.received, Some(outcome.total)];
        assert!(stages.is_sorted() && stages.iter().all(Option::is_some), "{stages:?}");
        assert!(outcome.stages.head <= outcome.first_byte, "{outcome:?}");
    }
}

#[test]
fn a_cut_stream_has_not_been_received() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(&sse_head());
        conn.send(&super::framing::chunked(&[b"data: {\"choices\":[]}\n\n"])[..20]);
        conn.reset();
    });
    let router = Router::openai(&upstream);
    let mut client: Client = router.client();
    client.send(&Request::chat_stream().bytes());
    let head = client.head().expect("a head");
    client.body(&head, "POST", |_| false);
    let row = row(&router);
    assert!(row.outcome.stages.head.is_some() && row.outcome.stages.received.is_none(), "{:?}", row.outcome);
    assert_eq!(head.get("x-request-id").as_deref(), row.request_id.as_deref());
}
