//! Translated replies that are not as they should be: errors in odd places, noise, odd statuses, and who may see whose thinking.

use super::client::{End, Request};
use super::framing::chunk;
use super::rig::{self, OPENAI_KEY, Router};
use super::translation::{
    CLAUDE, CLAUDE_EVENTS, GPT_EVENTS, bill_of, completion, data, limited, message, said, streamed, to_claude, to_gpt,
};
use super::upstream::{Conn, Upstream, json, reply, sse_head};
use iron_runtime::config::{Agent, UsageMode};
use iron_runtime::money::NanoUsd;
use iron_runtime::{Protocol, Secret};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// An upstream that sends this after the head of a stream and then is silent, its connection open.
fn stalling_after(events: Vec<u8>) -> Upstream {
    Upstream::start(move |conn| {
        if conn.request().is_some() {
            conn.send(&[sse_head(), chunk(&events)].concat());
            conn.eof();
        }
    })
}

/// A client takes an error for the end, and so must the router, whether or not the meter has a word for it.
#[test]
fn an_error_that_only_the_translator_knows_ends_the_call() {
    let broken = br#"data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{},"error":{"code":502,"message":"Gone"}}]}"#;
    let broken = [GPT_EVENTS[0].as_bytes(), broken, b"\n\n", GPT_EVENTS[1].as_bytes()].concat();
    let long = format!("event: x\ndata: {{\"type\":\"x\",\"x\":\"{}\"}}\n\n{}", "x".repeat(300 << 10), CLAUDE_EVENTS[2]);
    let long = [CLAUDE_EVENTS[0].as_bytes(), long.as_bytes()].concat();
    for (upstream, request, told) in [
        (stalling_after(broken), to_gpt(r#","stream":true"#), "Gone"),
        (stalling_after(long), to_claude(r#","stream":true"#), "262144 bytes"),
    ] {
        let router = Router::both(&upstream, &upstream);
        let mut client = router.client();
        client.send(&request.bytes());
        let head = client.head().expect("head");
        let (text, end) = client.body(&head, "POST", |so_far| {
            let is_told = String::from_utf8_lossy(so_far).contains(told);
            assert!(!is_told || router.stats().in_flight == 0, "settled before the client sees the end");
            false
        });
        let text = String::from_utf8(text).expect("text");
        assert_eq!((end, text.contains(told), text.contains("Hi.")), (End::Whole, true, false), "nothing follows an error: {text}");
        assert_eq!(router.settled(1), (1, 1, 0));
        upstream.wait("the upstream is let go", |log| log.closed == 1);
    }
}

/// Sends a piece over and over until the router hangs up.
fn repeat(conn: &mut Conn, piece: &[u8]) {
    while conn.send(&chunk(piece)) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A provider may be busy for long and say so in a way that has no place in the client's protocol.
#[test]
fn a_stream_that_says_nothing_for_long_is_kept_alive_and_watched() {
    for noise in [": OPENROUTER PROCESSING\n\n", "data: {\"object\":\"progress\"}\n\n"] {
        let upstream = Upstream::start(move |conn| {
            if conn.request().is_some() {
                conn.send(&[sse_head(), chunk(noise.as_bytes())].concat());
                repeat(conn, noise.as_bytes());
                conn.eof();
            }
        });
        let mut config = rig::both(&upstream, &upstream);
        config.timeouts.keepalive = Duration::from_millis(30);
        let router = Router::start(config);
        let mut client = router.client();
        client.send(&to_gpt(r#","stream":true"#).bytes());
        let head = client.head().expect("the head does not wait for an event");
        client.stream_until(&head, ": keepalive\n\n: keepalive\n\n");
        client.leave(false);
        upstream.wait("the upstream is let go although it is never silent", |log| log.closed == 1);
        router.settled(1);
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_reply() {
    let marked = |events: &[&str]| streamed(&[&["\u{feff}"], events].concat());
    let in_body = |raw: Vec<u8>| {
        let text = String::from_utf8(raw).expect("text");
        let body = text.split_once("\r\n\r\n").expect("a body").1;
        reply(200, "content-type: application/json\r\n", format!("\u{feff}{body}"))
    };
    // The first event has all of the text.
    let first = GPT_EVENTS[0].replace(r#""content":"""#, r#""content":"Hi.""#);
    let (openai, anthropic) = (Upstream::saying(marked(&[&first, GPT_EVENTS[2], GPT_EVENTS[4]])), Upstream::saying(marked(&CLAUDE_EVENTS)));
    let router = Router::both(&openai, &anthropic);
    let reply = router.call(&to_gpt(r#","stream":true"#));
    assert!(reply.end == End::Whole && reply.text().contains("Hi."), "{}", reply.text());
    let reply = router.call(&to_claude(r#","stream":true"#));
    assert!(reply.end == End::Whole && reply.text().contains("[DONE]"), "{}", reply.text());
    let (openai, anthropic) = (Upstream::saying(in_body(completion("Hi."))), Upstream::saying(in_body(said("Hi."))));
    let router = Router::both(&openai, &anthropic);
    for request in [to_gpt(""), to_claude("")] {
        let reply = router.call(&request);
        assert_eq!((reply.status, reply.text().contains("Hi.")), (200, true), "{}", reply.text());
    }
}

#[test]
fn odd_statuses_are_told() {
    let fields = "content-type: application/json\r\ncontent-encoding: gzip\r\nretry-after: 3\r\n";
    let upstream = Upstream::saying(reply(429, fields, b"\x1f\x8b\x08"));
    let router = Router::both(&upstream, &upstream);
    let answer = router.call(&to_claude(""));
    assert_eq!(answer.error(), (429, "rate_limit_exceeded".into()), "a compressed error keeps its status");
    assert_eq!((answer.head.get("content-encoding"), answer.head.get("retry-after").as_deref()), (None, Some("3")));
    assert_eq!(router.call(&to_gpt("")).anthropic_error(), (429, "rate_limit_error".into()));
    for (status, raw) in [
        (502, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        (302, reply(302, "location: http://localhost/elsewhere\r\n", "")),
        (500, reply(500, "", "")),
        (503, reply(503, "content-type: text/event-stream\r\n", "data: {}\n\n")),
    ] {
        let upstream = Upstream::saying(raw);
        let router = Router::both(&upstream, &upstream);
        for stream in ["", r#","stream":true"#] {
            let answer = router.call(&to_gpt(stream));
            assert_eq!((answer.status, answer.end), (status, End::Whole), "{}", answer.text());
            assert!(answer.json()["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
        }
        router.settled(2);
    }
}

#[test]
fn a_reply_may_be_of_the_other_kind_than_was_asked_for() {
    let (openai, anthropic) = (Upstream::saying(completion("Hi.")), Upstream::saying(said("Hi.")));
    let router = Router::both(&openai, &anthropic);
    assert_eq!(router.call(&to_gpt(r#","stream":true"#)).json()["content"][0]["text"], "Hi.");
    assert_eq!(router.call(&to_claude(r#","stream":true"#)).json()["choices"][0]["message"]["content"], "Hi.");
    let (openai, anthropic) = (Upstream::saying(streamed(&GPT_EVENTS)), Upstream::saying(streamed(&CLAUDE_EVENTS)));
    let router = Router::both(&openai, &anthropic);
    assert_eq!(data(&router.call(&to_gpt(""))).last().map(|last| last["type"].clone()), Some(json!("message_stop")));
    assert_eq!(data(&router.call(&to_claude(""))).last(), Some(&Value::from("[DONE]")));
    assert_eq!(router.settled(2), (2, 0, 0));
}

/// An id is no secret: it must not open one agent's thinking to another.
#[test]
fn thinking_is_its_agents_alone() {
    let thought = json!({"type": "thinking", "thinking": "Mine.", "signature": "c2lnbmVk"});
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}});
    let upstream = Upstream::saying(message(&json!([thought, call]), "tool_use"));
    let mut config = rig::both(&upstream, &upstream);
    let agent = |name: &str| Agent { name: name.into(), token: Secret::new(format!("tok-{name}")), budget: None };
    config.agents = vec![agent("one"), agent("two")];
    let router = Router::start(config);
    let tools = r#""tools":[{"type":"function","function":{"name":"look"}}],"reasoning_effort":"low","max_tokens":9000"#;
    let turns = r#"{"role":"assistant","tool_calls":[{"id":"toolu_1","type":"function","function":{"name":"look","arguments":"{}"}}]},{"role":"tool","tool_call_id":"toolu_1","content":"x"}"#;
    let body = |turns: &str| format!(r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"hi"}}{turns}],{tools}}}"#);
    let ask = |token: &str, turns: &str| {
        let request = Request::post("/v1/chat/completions", &body(turns)).without_token().field("Authorization", format!("Bearer {token}"));
        assert_eq!(router.call(&request).status, 200);
        String::from_utf8(upstream.requests().pop().expect("request").body).expect("text")
    };
    ask("tok-one", "");
    let turns = format!(",{turns}");
    for (token, is_there) in [("tok-two", false), (rig::TOKEN, false), ("tok-one", true)] {
        assert_eq!(ask(token, &turns).contains("Mine."), is_there, "{token}");
        // What the answer to the stranger had led to is now the stranger's own.
        if token == rig::TOKEN {
            assert!(ask(token, &turns).contains("Mine."));
        }
    }
}

/// A name for a model of a compatible server that speaks the other protocol, and the prefixes that choose a provider.
#[test]
fn aliases_and_prefixes() {
    let (local, anthropic) = (Upstream::saying(completion("Hi.")), Upstream::saying(said("Ho.")));
    let mut config = rig::anthropic(&anthropic);
    let mut other =
        iron_runtime::Upstream::new("local", Protocol::OpenAi, local.url().parse().expect("url"), iron_runtime::config::Key::None);
    other.aliases = vec![("claude-mine".into(), "qwen3".into())];
    config.upstreams.push(other);
    let router = Router::start(config);
    let body =
        r#"{"model":"claude-mine","max_tokens":9,"stop_sequences":["a","b","c","d","e"],"messages":[{"role":"user","content":"hi"}]}"#;
    let answer = router.call(&Request::post("/v1/messages", body));
    assert_eq!((answer.status, answer.json()["content"][0]["text"].as_str()), (200, Some("Hi.")), "{}", answer.text());
    let sent: Value = serde_json::from_slice(&local.request().body).expect("JSON");
    assert_eq!(
        (&sent["model"], &sent["max_tokens"], sent["stop"].as_array().map(Vec::len)),
        (&json!("qwen3"), &json!(9), Some(5)),
        "{sent}"
    );
    let chat = format!(r#"{{"model":"{CLAUDE}","messages":[{{"role":"user","content":"hi"}}]}}"#);
    let answer = router.call(&Request::post("/anthropic/v1/chat/completions", &chat));
    assert_eq!((answer.status, answer.json()["choices"][0]["message"]["content"].as_str()), (200, Some("Ho.")), "{}", answer.text());
    let answer = router.call(&Request::post("/openai/v1/messages", body));
    assert_eq!(answer.anthropic_error(), (400, "invalid_request_error".into()), "OpenAI itself has no key here: {}", answer.text());
}

/// What a GPT model's stream costs does not depend on who asked for it, also where it breaks off before its usage comes or never tells.
#[test]
fn a_translated_gpt_stream_costs_what_the_native_one_costs() {
    let silent = streamed(&[GPT_EVENTS[0], GPT_EVENTS[1], GPT_EVENTS[2], GPT_EVENTS[4]]);
    let whole = streamed(&GPT_EVENTS);
    let cut = whole[..whole.len() / 2].to_vec();
    for (raw, usage) in [whole, silent, cut].into_iter().flat_map(|raw| [(raw.clone(), UsageMode::Inject), (raw, UsageMode::Observe)]) {
        let upstream = Upstream::start(move |conn| {
            if conn.request().is_some() {
                conn.send(&raw);
            }
        });
        let mut config = limited(rig::both(&upstream, &upstream), 10_000_000_000);
        config.upstreams.iter_mut().for_each(|upstream| upstream.usage = usage);
        let router = Router::start(config);
        let translated = bill_of(&router, &to_gpt(r#","stream":true"#));
        let mut sent: Value = serde_json::from_slice(&upstream.requests().pop().expect("request").body).expect("JSON");
        assert_eq!(sent["stream_options"].is_object(), usage == UsageMode::Inject, "{sent}");
        sent.as_object_mut().expect("object").remove("stream_options");
        assert_eq!(translated, bill_of(&router, &Request::post("/v1/chat/completions", &sent.to_string())));
        assert_eq!(router.inner().stats().held, NanoUsd::ZERO);
    }
}

/// A key that was replaced meanwhile is fetched again, and the translated body sent again as it was.
#[test]
fn a_replaced_key_does_not_show_in_a_translated_call() {
    let provider = Upstream::answering(|request| {
        let knows = request.head.get("authorization").is_some_and(|key| key.ends_with(OPENAI_KEY));
        if knows { completion("Hi.") } else { reply(401, "content-type: application/json\r\n", r#"{"error":{"message":"whose key?"}}"#) }
    });
    let asked = AtomicUsize::new(0);
    let control = Upstream::answering(move |_| {
        let key = if asked.fetch_add(1, SeqCst) == 0 { "sk-KEYCANARY-old" } else { OPENAI_KEY };
        json(&format!(r#"{{"provider_key":"{key}","provider":"openai"}}"#))
    });
    let router = Router::start(super::control::config(&control, &provider));
    let answer = router.call(&to_gpt(""));
    assert_eq!((answer.status, answer.json()["content"][0]["text"].as_str()), (200, Some("Hi.")), "{}", answer.text());
    let bodies: Vec<_> = provider.requests().into_iter().map(|request| request.body).collect();
    assert!(bodies.len() == 2 && bodies[0] == bodies[1]);
    let answer = router.call(&to_claude(""));
    assert_eq!(answer.error().0, 400, "the key is for the other provider: {}", answer.text());
    assert_eq!(provider.requests().len(), 2);
}
