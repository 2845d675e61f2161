//! What calls cost and what a budget lets through, through the whole router: against the mock, which keeps books of its own, and against
//! scripted providers that break off.

use super::client::{Client, End, Request};
use super::framing::{chunk, chunked};
use super::rig::{self, OPENAI_KEY, Router};
use super::upstream::{Upstream, json, sse_head};
use iron_runtime::config::{Agent, Allow, OnBudget, Spending};
use iron_runtime::mock::{Mock, MockConfig};
use iron_runtime::money::NanoUsd;
use iron_runtime::{Config, Secret};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

const CENT: u64 = 10_000_000;

fn limited(mut config: Config, nano_usd: u64) -> Config {
    config.spending = Spending { budget: Some(NanoUsd(nano_usd)), ..Spending::default() };
    config
}

fn with_mock(mock: &Mock) -> Config {
    let mut config = rig::bare();
    for upstream in [iron_runtime::Upstream::openai, iron_runtime::Upstream::anthropic] {
        config.upstreams.push(upstream(mock.base_url().parse().expect("url"), Secret::new(OPENAI_KEY)));
    }
    config
}

pub(crate) fn chat(model: &str, rest: &str) -> Request {
    Request::post("/v1/chat/completions", &format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]{rest}}}"#))
}

fn messages(rest: &str) -> Request {
    let body = format!(r#"{{"model":"claude-sonnet-4-20250514","max_tokens":50,"messages":[{{"role":"user","content":"hi"}}]{rest}}}"#);
    Request::post("/v1/messages", &body).field("anthropic-version", "2023-06-01")
}

/// A chat reply with a usage of `input` and `output` tokens.
pub(crate) fn billed(input: u64, output: u64) -> Vec<u8> {
    json(&format!(
        r#"{{"id":"x","object":"chat.completion","choices":[],"usage":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":9}}}}"#
    ))
}

#[test]
fn many_clients_together_never_pass_the_budget() {
    let rounds = std::env::var("IRON_TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(3);
    for round in 0..rounds {
        let budget = CENT / 4 + 977 * round;
        let mock = Mock::start(MockConfig::default()).expect("mock");
        let mut config = limited(with_mock(&mock), budget);
        config.spending.wait = Duration::from_millis(300);
        let router = Arc::new(Router::start(config));
        let refused = Arc::new(AtomicU64::new(0));
        let start = Arc::new(Barrier::new(64));
        let clients = (0..64).map(|nth| {
            let (router, refused, start) = (router.clone(), refused.clone(), start.clone());
            thread::spawn(move || {
                start.wait();
                let mut client = router.client();
                for turn in nth.. {
                    let request = match turn % 4 {
                        0 => chat("gpt-4o-mini", ""),
                        1 => chat("gpt-4o-mini", r#","stream":true,"max_tokens":400"#),
                        2 => messages(""),
                        _ => messages(r#","stream":true"#),
                    };
                    let reply = client.call(&request);
                    assert_eq!(reply.end, End::Whole);
                    match reply.status {
                        200 => {}
                        402 => {
                            refused.fetch_add(1, SeqCst);
                            return;
                        }
                        other => panic!("{other}: {}", reply.text()),
                    }
                }
            })
        });
        clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().expect("client"));
        let (mock, stats) = (mock.stats(), router.inner().stats());
        assert_eq!(refused.load(SeqCst), 64);
        assert!(mock.nano_usd <= budget, "the provider billed {} of {budget}", mock.nano_usd);
        assert_eq!((stats.spent, stats.held), (NanoUsd(mock.nano_usd), NanoUsd::ZERO), "round {round}");
        assert!(stats.spent.0 > budget / 2, "it stopped too early: {:?} of {budget}", stats.spent);
    }
}

#[test]
fn an_ample_budget_refuses_nobody() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let router = Arc::new(Router::start(limited(with_mock(&mock), 3_000 * CENT)));
    let clients = (0..64).map(|_| {
        let router = router.clone();
        thread::spawn(move || {
            let mut client = router.client();
            for request in [chat("gpt-4o-mini", ""), chat("gpt-4o", r#","stream":true"#), messages(""), messages(r#","stream":true"#)] {
                let reply = client.call(&request);
                assert_eq!((reply.status, reply.head.get("x-iron-clamped")), (200, None), "{}", reply.text());
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().expect("client"));
    let stats = router.inner().stats();
    assert_eq!((stats.spent.0, stats.tally.all.requests), (mock.stats().nano_usd, 256));
}

#[test]
fn a_reply_is_settled_before_its_client_sees_the_end() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let router = Router::start(with_mock(&mock));
    let mut client = router.client();
    let requests = [
        chat("gpt-4o-mini", ""),
        chat("gpt-4o-mini", r#","stream":true"#),
        chat("gpt-4o-mini", r#","stream":true,"stream_options":{"include_usage":true}"#),
        messages(""),
        messages(r#","stream":true"#),
        Request::post("/v1/responses", r#"{"model":"gpt-4.1","input":"hi","stream":true}"#),
        Request::post("/v1/embeddings", r#"{"model":"text-embedding-3-small","input":"hi"}"#),
    ];
    for round in 1..=20 {
        for (nth, request) in requests.iter().enumerate() {
            assert_eq!(client.call(request).status, 200);
            let stats = router.inner().stats();
            assert_eq!(stats.tally.all.requests as usize, (round - 1) * requests.len() + nth + 1);
            assert_eq!(stats.spent.0, mock.stats().nano_usd, "request {nth}");
            let row = router.inner().last_rows(1).remove(0);
            assert!(row.outcome.reply_bytes > 0 && row.outcome.first_byte.is_some(), "request {nth}: {row:?}");
        }
    }
}

#[test]
fn a_stream_is_asked_for_its_usage_and_the_client_sees_nothing_of_it() {
    let events = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":20}}\n\n",
        "data: [DONE]\n\n",
    ];
    let upstream = Upstream::answering(move |_| [sse_head(), chunked(&[events.concat().as_bytes()])].concat());
    let router = Router::openai(&upstream);
    let body = r#"{"model":"gpt-4o","stream":true, "messages":[]}"#;
    let reply = router.call(&Request::post("/v1/chat/completions", body).field("Accept-Encoding", "gzip"));
    assert_eq!(reply.text(), [events[0], events[2]].concat());
    let sent = upstream.request();
    let text = String::from_utf8(sent.body.clone()).expect("text");
    assert_eq!(
        text.replace(r#""stream_options":{"include_usage":true},"#, "").replace(r#","stream_options":{"include_usage":true}"#, ""),
        body
    );
    assert!(text.len() > body.len(), "{text}");
    assert_eq!(sent.head.get("accept-encoding").as_deref(), Some("identity"));
    assert_eq!(router.inner().total_spent(), NanoUsd(10 * 2_500 + 20 * 10_000));
}

#[test]
fn a_client_that_asked_for_usage_gets_every_byte() {
    let events = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";
    let upstream = Upstream::answering(move |_| [sse_head(), chunked(&[events.as_bytes()])].concat());
    let router = Router::openai(&upstream);
    let body = r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
    assert_eq!(router.call(&Request::post("/v1/chat/completions", body)).text(), events);
    assert_eq!(upstream.request().body, body.as_bytes());
}

#[test]
fn the_output_limit_is_lowered_to_what_fits_and_the_client_is_told() {
    let upstream = Upstream::saying(billed(1, 1));
    let router = Router::start(limited(rig::openai(&upstream), CENT));
    let reply = router.call(&chat("gpt-4o", r#","max_tokens":16000,"service_tier":"default""#));
    let clamped = reply.head.get("x-iron-clamped").expect("told");
    let limit: u64 = clamped.strip_prefix("max_tokens=").and_then(|limit| limit.parse().ok()).expect("a number");
    assert!((900..1000).contains(&limit), "{limit} tokens of $10 a million in a cent");
    assert!(String::from_utf8_lossy(&upstream.request().body).contains(&format!(r#""max_tokens":{limit}"#)));
    let reply = router.call(&chat("gpt-4o", ""));
    assert!(reply.head.get("x-iron-clamped").is_some_and(|value| value.starts_with("max_completion_tokens=")), "{}", reply.text());
}

#[test]
fn refusals_have_figures_in_both_protocols() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let mut config = limited(with_mock(&mock), 1000);
    config.spending.on_budget = OnBudget::Refuse;
    let router = Router::start(config);
    let reply = router.call(&chat("gpt-4o", ""));
    assert_eq!(reply.error(), (402, "budget_exceeded".into()));
    assert_eq!(reply.head.get("x-should-retry").as_deref(), Some("false"));
    let message = reply.json()["error"]["message"].as_str().expect("message").to_string();
    for part in ["Iron Cage budget limit exceeded", "Spent: $0.00", "Reserved: $0.00", "Limit: $0.000001"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(reply.json()["error"]["type"], "iron_cage_budget_exceeded");
    assert_eq!(router.call(&messages("")).anthropic_error(), (402, "iron_cage_budget_exceeded".into()));
    assert_eq!(router.call(&chat("gpt-99-unheard-of", "")).error(), (402, "unknown_model_price".into()));
    let fine_tuning = Request::post("/v1/fine_tuning/jobs", r#"{"model":"gpt-4o-mini"}"#);
    assert_eq!(router.call(&fine_tuning).error(), (402, "unmetered_request".into()));
    assert_eq!(router.call(&Request::get("/v1/models")).status, 200);
    let stats = router.inner().stats();
    assert_eq!((stats.tally.all.refused, stats.spent, mock.stats().nano_usd), (4, NanoUsd::ZERO, 0));
}

#[test]
fn budget_zero_lets_nothing_metered_through() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let router = Router::start(limited(with_mock(&mock), 0));
    assert_eq!(router.call(&chat("gpt-4o-mini", "")).error(), (402, "budget_exceeded".into()));
    assert_eq!(router.call(&Request::get("/v1/models")).status, 200);
    router.inner().set_budget(Some(NanoUsd(CENT)));
    assert_eq!(router.call(&chat("gpt-4o-mini", "")).status, 200);
    router.inner().set_budget(Some(NanoUsd::ZERO));
    assert_eq!(router.call(&messages("")).anthropic_error().0, 402);
    router.inner().set_budget(None);
    assert_eq!(router.call(&messages("")).status, 200);
}

#[test]
fn what_is_unmetered_or_unknown_passes_when_allowed() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let mut config = limited(with_mock(&mock), CENT);
    config.spending.unknown_model = Allow::Allow;
    config.spending.unmetered = Allow::Allow;
    let router = Router::start(config);
    assert_ne!(router.call(&chat("gpt-99-unheard-of", "")).status, 402);
    assert_ne!(router.call(&Request::post("/v1/fine_tuning/jobs", r#"{"model":"gpt-4o-mini"}"#)).status, 402);
}

#[test]
fn a_call_waits_for_the_holds_of_others() {
    let (go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let upstream = Upstream::start(move |conn| {
        while let Some(request) = conn.request() {
            if String::from_utf8_lossy(&request.body).contains("first") {
                gate.lock().expect("gate").recv().expect("told to go on");
            }
            conn.send(&billed(10, 10));
        }
    });
    let mut config = limited(rig::openai(&upstream), CENT);
    config.spending.on_budget = OnBudget::Refuse;
    config.spending.wait = super::WAIT;
    let router = Arc::new(Router::start(config));
    let sharing = router.clone();
    let first = thread::spawn(move || sharing.call(&chat("gpt-4o", r#","max_tokens":400,"user":"first""#)).status);
    upstream.wait("the first call", |log| log.requests.len() == 1);
    let sharing = router.clone();
    let second = thread::spawn(move || sharing.call(&chat("gpt-4o", r#","max_tokens":400"#)).status);
    router.wait_stats(|totals| totals.in_flight == 1);
    go.send(()).expect("the provider listens");
    assert_eq!((first.join().expect("first"), second.join().expect("second")), (200, 200));
}

#[test]
fn a_call_that_waited_in_vain_is_told_to_come_again() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.eof();
    });
    let mut config = limited(rig::openai(&upstream), CENT);
    config.spending.on_budget = OnBudget::Refuse;
    config.spending.wait = Duration::from_millis(10);
    let router = Router::start(config);
    let mut holding = router.client();
    holding.send(&chat("gpt-4o", r#","max_tokens":400"#).bytes());
    upstream.wait("the first call", |log| log.requests.len() == 1);
    let reply = router.call(&chat("gpt-4o", r#","max_tokens":400"#));
    assert_eq!(reply.error(), (402, "insufficient_budget".into()));
    assert_eq!(reply.head.get("retry-after").as_deref(), Some("1"));
    holding.leave(true);
    router.wait_stats(|totals| totals.in_flight == 0);
}

/// What a call on a broken-off reply costs: the status the client saw, the spent nano-USD and whether anything is still held.
fn broken_off(script: impl Fn(&mut super::upstream::Conn) + Send + Sync + 'static, request: &Request) -> u64 {
    let upstream = Upstream::start(script);
    let router = Router::start(limited(rig::openai(&upstream), 100 * CENT));
    let mut client = router.client();
    client.send(&request.bytes());
    if let Some(head) = client.head() {
        client.body(&head, "POST", |_| false);
    }
    router.wait_stats(|totals| totals.requests == 1 && totals.in_flight == 0);
    let stats = router.inner().stats();
    assert_eq!(stats.held, NanoUsd::ZERO);
    stats.spent.0
}

#[test]
fn what_ends_without_usage_is_billed_at_the_upper_estimate() {
    let request = chat("gpt-4o", r#","max_tokens":1000"#);
    let whole = 1000 * 10_000;
    // It may have done its work: nobody knows.
    assert!(broken_off(|conn| drop(conn.request()), &request) >= whole);
    // An error is not billed by any provider.
    let error = |conn: &mut super::upstream::Conn| {
        conn.request();
        conn.send(b"HTTP/1.1 500 X\r\ncontent-length: 2\r\n\r\n{}");
    };
    assert_eq!(broken_off(error, &request), 0);
    // A stream that breaks off: no more tokens than bytes.
    let cut = |conn: &mut super::upstream::Conn| {
        conn.request();
        conn.send(&sse_head());
        conn.send(&chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"));
    };
    let spent = broken_off(cut, &chat("gpt-4o", r#","max_tokens":16000,"stream":true"#));
    assert!(spent > 0 && spent < 3_000 * 10_000, "{spent}");
}

#[test]
fn a_provider_that_cannot_be_reached_costs_nothing() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("address");
    let mut config = rig::bare();
    config.upstreams.push(iron_runtime::Upstream::openai(format!("http://{free}").parse().expect("url"), Secret::new(OPENAI_KEY)));
    let router = Router::start(limited(config, CENT));
    assert_eq!(router.call(&chat("gpt-4o-mini", "")).status, 502);
    let stats = router.inner().stats();
    assert_eq!((stats.spent, stats.held, stats.tally.all.failed), (NanoUsd::ZERO, NanoUsd::ZERO, 1));
}

#[test]
fn an_agents_token_decides_its_limit_and_a_label_decides_nothing() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let mut config = limited(with_mock(&mock), CENT);
    config.agents = vec![
        Agent { name: "small".into(), token: Secret::new("tok-small"), budget: Some(NanoUsd(100)) },
        Agent { name: "free".into(), token: Secret::new("tok-free"), budget: None },
    ];
    let router = Router::start(config);
    let as_agent = |token: &str| chat("gpt-4o-mini", "").without_token().field("Authorization", format!("Bearer {token}"));
    let refused = router.call(&as_agent("tok-small").field("x-iron-agent", "free"));
    assert_eq!(refused.error(), (402, "budget_exceeded".into()));
    assert!(refused.text().contains("small"), "{}", refused.text());
    assert_eq!(router.call(&as_agent("tok-free")).status, 200);
    assert_eq!(router.call(&as_agent("tok-none")).status, 401);
    assert_eq!(router.call(&chat("gpt-4o-mini", "").field("X-Agent-Name", "label")).status, 200);
    // Nor does a label make anybody an agent.
    assert_eq!(router.call(&chat("gpt-4o-mini", "").field("X-Agent-Name", "free")).status, 200);
    let agents = router.inner().stats().tally.by_agent;
    let requests = |name: &str| agents.get(name).map(|figures| (figures.requests, figures.refused));
    assert_eq!((requests("small"), requests("free"), requests("label")), (Some((1, 1)), Some((1, 0)), Some((1, 0))));
}

#[test]
fn two_values_for_one_field_are_refused_under_a_budget() {
    let upstream = Upstream::saying(billed(1, 1));
    let router = Router::start(limited(rig::openai(&upstream), CENT));
    for body in [
        r#"{"model":"gpt-4o-mini","messages":[],"model":"gpt-4"}"#,
        r#"{"model":"gpt-4o-mini","messages":[],"mod\u0065l":"gpt-4"}"#,
        r#"{"model":"gpt-4o-mini","max_tokens":1,"messages":[],"max_tokens":99999}"#,
    ] {
        assert_eq!(router.call(&Request::post("/v1/chat/completions", body)).error(), (400, "duplicate_field".into()), "{body}");
    }
    assert!(upstream.requests().is_empty());
}

#[test]
fn json_of_unknown_length_waits_for_its_end_and_is_passed_on_whole() {
    let body = r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;
    let upstream = Upstream::answering(move |_| {
        let mut reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        body.as_bytes().chunks(9).for_each(|piece| reply.extend(chunk(piece)));
        reply.extend(b"0\r\n\r\n");
        reply
    });
    let router = Router::openai(&upstream);
    let mut client: Client = router.client();
    for round in 1..=50 {
        assert_eq!(client.call(&chat("gpt-4o", "")).text(), body);
        assert_eq!(router.inner().total_spent(), NanoUsd(round * (7 * 2_500 + 3 * 10_000)));
    }
}
