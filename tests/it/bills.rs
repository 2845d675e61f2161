//! Bills of calls that end in unusual ways, and requests that try to pass the meter by: what is held is never passed and never left behind,
//! and nothing that a provider would bill goes through as free.

use super::client::Request;
use super::framing::{chunk, chunked};
use super::rig::{self, Router, a_silence};
use super::upstream::{self, Conn, Upstream, json, sse_head};
use iron_runtime::config::{Key, OnBudget, Spending};
use iron_runtime::mock::{Mock, MockConfig};
use iron_runtime::money::NanoUsd;
use iron_runtime::{Config, Protocol, Secret};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const CENT: u64 = 10_000_000;

/// What the mock can do wrong.
const FAULTS: [&str; 12] =
    ["", "cut", "cut=0", "cut=100", "cut-before", "error-event", "garbage", "gzip", "500", "429", "cut=2000,gzip", "events=300"];

/// One request of each endpoint that is metered.
fn of_kind(number: usize, rest: &str) -> Request {
    match number {
        0 => chat("gpt-4o-mini", rest),
        1 => chat("gpt-4o", &format!(r#","max_tokens":300,"n":2{rest}"#)),
        2 => Request::post("/v1/responses", &format!(r#"{{"model":"o3-mini","input":"hi"{rest}}}"#)),
        3 => Request::post("/v1/embeddings", r#"{"model":"text-embedding-3-small","input":["hi","there"]}"#),
        _ => {
            let body = r#"{"model":"claude-sonnet-4-20250514","max_tokens":500,"messages":[{"role":"user","content":"hi"}]"#;
            Request::post("/v1/messages", &format!("{body}{rest}}}"))
        }
    }
}

fn with_mock(mock: &Mock) -> Config {
    let mut config = rig::bare();
    for upstream in [iron_runtime::Upstream::openai, iron_runtime::Upstream::anthropic] {
        config.upstreams.push(upstream(mock.base_url().parse().expect("url"), Secret::new(rig::OPENAI_KEY)));
    }
    config
}

fn limited(mut config: Config, nano_usd: u64) -> Config {
    config.spending = Spending { budget: Some(NanoUsd(nano_usd)), ..Spending::default() };
    config
}

fn chat(model: &str, rest: &str) -> Request {
    Request::post("/v1/chat/completions", &format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]{rest}}}"#))
}

/// What is spent of a budget after one call to a provider that does this.
fn spent_of(budget: u64, provider: impl Fn(&mut Conn) + Send + Sync + 'static, request: &Request) -> u64 {
    let upstream = Upstream::start(provider);
    let router = Router::start(limited(rig::openai(&upstream), budget));
    let mut client = router.client();
    client.send(&request.bytes());
    if let Some(head) = client.head() {
        client.body(&head, "POST", |_| true);
    }
    router.wait_stats(|totals| totals.requests == 1 && totals.in_flight == 0);
    let stats = router.inner().stats();
    assert_eq!((stats.held, upstream.requests().len()), (NanoUsd::ZERO, 1), "{stats:?}");
    stats.spent.0
}

#[test]
fn an_estimate_is_never_more_than_what_was_held() {
    // A clamp takes all that is free; what it and the wish for the usage put into the body must not count as input afterwards.
    for rest in [r#","max_tokens":16000"#, "", r#","stream":true"#, r#","stream":true,"max_tokens":16000"#] {
        for model in ["gpt-4o", "gpt-5"] {
            let spent = spent_of(CENT, |conn| drop(conn.request()), &chat(model, rest));
            assert!(spent > 0 && spent <= CENT, "{model} {rest}: {spent}");
        }
    }
}

#[test]
fn the_usage_at_the_end_of_a_very_long_event_is_found() {
    // What ends a stream of responses repeats the whole response, and tells the usage behind it.
    let last = format!(
        "event: response.completed\ndata: {{\"type\":\"response.completed\",\"response\":{{\"output\":\"{}\",\"usage\":\
         {{\"input_tokens\":7,\"output_tokens\":3}}}}}}\n\n",
        "x".repeat(700 << 10)
    );
    let sent = last.clone();
    let upstream = Upstream::answering(move |_| [sse_head(), chunked(&sent.as_bytes().chunks(9000).collect::<Vec<_>>())].concat());
    let router = Router::openai(&upstream);
    let reply = router.call(&Request::post("/v1/responses", r#"{"model":"gpt-4o","input":"hi","stream":true}"#));
    assert_eq!(reply.text(), last);
    assert_eq!(router.inner().total_spent(), NanoUsd(7 * 2_500 + 3 * 10_000));
}

#[test]
fn no_fault_makes_a_call_cost_more_than_is_known() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let router = Router::start(limited(with_mock(&mock), 1000 * CENT));
    for fault in FAULTS {
        for number in 0..10 {
            let before = (mock.stats().nano_usd, router.inner().total_spent().0);
            router.call(&of_kind(number % 5, ["", r#","stream":true"#][number / 5]).field("x-mock", fault));
            router.wait_stats(|totals| totals.in_flight == 0);
            let (billed, known) = (mock.stats().nano_usd - before.0, router.inner().total_spent().0 - before.1);
            assert!(billed <= known, "{fault}, {number}: {billed} and {known}");
            assert!(!fault.is_empty() || billed == known, "{number}: {billed} and {known}");
        }
    }
}

#[test]
fn faults_of_every_kind_leave_no_hold_and_never_cost_more_than_is_known() {
    let mock = Mock::start(MockConfig::default()).expect("mock");
    let router = Arc::new(Router::start(limited(with_mock(&mock), 40 * CENT)));
    let clients = (0..12).map(|nth| {
        let router = router.clone();
        thread::spawn(move || {
            for turn in 0..60 {
                let number = nth * 7 + turn;
                let rest = ["", r#","stream":true"#][number / FAULTS.len() % 2];
                let request = of_kind(number % 5, rest);
                let mut client = router.client();
                client.send(&request.field("x-mock", FAULTS[number % FAULTS.len()]).bytes());
                let Some(head) = client.head().filter(|_| turn % 6 != 5) else { continue };
                // Some leave in mid-reply.
                client.body(&head, "POST", |seen| turn % 4 == 3 && seen.len() > 40 * nth);
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().expect("client"));
    router.wait_stats(|totals| totals.in_flight == 0);
    let (billed, stats) = (mock.stats().nano_usd, router.inner().stats());
    assert_eq!(stats.held, NanoUsd::ZERO);
    assert!(billed > 0 && billed <= stats.spent.0, "the provider billed {billed}, {} are known of", stats.spent.0);
    assert!(stats.spent.0 <= 40 * CENT, "{} of {}", stats.spent.0, 40 * CENT);
}

#[test]
fn a_running_count_is_the_bill_of_a_whole_stream_only() {
    let counted = |output: u64| {
        format!("data: {{\"choices\":[{{\"delta\":{{}}}}],\"usage\":{{\"prompt_tokens\":8,\"completion_tokens\":{output}}}}}\n\n")
    };
    let stream = [counted(1), counted(2)].concat();
    let whole = chunked(&[stream.as_bytes()]);
    let cut = whole[..whole.len() - 5].to_vec();
    let request = chat("gpt-4o", r#","stream":true,"stream_options":{"include_usage":true}"#);
    let told = 8 * 2_500 + 2 * 10_000;
    for (stream, is_whole) in [(whole, true), (cut, false)] {
        let provider = move |conn: &mut Conn| {
            conn.request();
            conn.send(&[sse_head(), stream.clone()].concat());
        };
        let spent = spent_of(100 * CENT, provider, &request);
        assert!(if is_whole { spent == told } else { spent > told + 1024 * 10_000 }, "{spent}");
    }
}

#[test]
fn nothing_that_could_be_billed_passes_as_free() {
    let upstream = Upstream::saying(json(r#"{"usage":{"prompt_tokens":1,"completion_tokens":1}}"#));
    let router = Router::start(limited(rig::openai(&upstream), CENT));
    let body = r#"{"model":"gpt-4o","messages":[]}"#;
    let post = |target: &str| Request::post(target, body);
    let bare = || Request::new("POST", "/v1/chat/completions").field("Content-Type", "application/json");
    let of_kind = |method: &str, kind: &str| Request::new(method, "/v1/chat/completions").field("Content-Type", kind).body(body);
    for (nth, request) in [
        bare().field("Content-Encoding", "gzip").body(body),
        of_kind("POST", "multipart/form-data; boundary=x"),
        of_kind("PUT", "application/json"),
        of_kind("PATCH", "application/json"),
        of_kind("post", "application/json"),
        post("/v1/chat/completions/"),
        post("/openai/v1/chat/completions/"),
        post("/V1/Chat/Completions"),
        post("/v1//chat/completions"),
        post("/v1/chat%2Fcompletions"),
        post("/chat/completions"),
        post("/v1/responses/compact"),
        post("/v1/files/..%2fchat%2fcompletions"),
        post("/v1/images/generations"),
        Request::new("GET", "/v1/chat/completions")
            .field("X-HTTP-Method-Override", "POST")
            .field("Content-Type", "application/json")
            .body(body),
        Request::post("/v1/chat/completions", r#"{"model":"gpt-4o-search-preview","messages":[]}"#),
        Request::post("/v1/chat/completions", r#"{"model":"gpt-4o","messages":[],"search_parameters":{"mode":"on"}}"#),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(router.call(request).error(), (402, "unmetered_request".into()), "request {nth}");
    }
    for (nth, request) in [
        Request::new("POST", "/v1/chat/completions").field("Content-Type", "application/x-www-form-urlencoded").body("model=gpt-4o"),
        bare().body(format!("\u{feff}{body}")),
        bare().body(b"{\"model\":\"gpt-4o\",\"messages\":[\"\xff\"]}"),
        bare().body(r#"{"model":["gpt-4o"],"messages":[]}"#),
        bare().body(""),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(router.call(request).status, 400, "request {nth}");
    }
    assert!(upstream.requests().is_empty());
    // These are read as what they are.
    let plain = of_kind("POST", "text/plain");
    let parts: [&[u8]; 2] = [br#"{"model":"gpt-4o","#, br#""messages":[]}"#];
    for request in [
        plain,
        bare().chunked(&parts),
        post("http://127.0.0.1/v1/chat/completions?a=b"),
        post("/openai/v1/chat/completions"),
        post("/v1/v1/chat/completions"),
    ] {
        assert_eq!(router.call(&request).status, 200);
    }
    assert_eq!(router.inner().total_spent(), NanoUsd(5 * (2_500 + 10_000)));
}

/// A reply with these fields and this body, of a known length.
fn plain(status: u16, fields: &str, body: &str) -> Vec<u8> {
    upstream::reply(status, fields, body)
}

#[test]
fn replies_of_every_shape_are_billed_once_and_passed_on_whole() {
    const USAGE: &str = r#""usage":{"prompt_tokens":10,"completion_tokens":20}"#;
    const TOLD: u64 = 10 * 2_500 + 20 * 10_000;
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let usage = format!("data: {{\"choices\":[],{USAGE}}}\n\n");
    let done = "data: [DONE]\n\n";
    let stream = [text, &usage, done].concat();
    let crlf = stream.replace('\n', "\r\n");
    let json_body = format!("{{\"choices\":[{{\"index\":0}}],{USAGE}}}");
    let sse = "Content-Type: text/event-stream\r\n";
    let typed = "Content-Type: application/json\r\n";
    let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
    let without = [text, done].concat();
    let estimate = None;
    for (case, asks_stream, reply, body, cost) in [
        ("a stream in one piece", true, [sse_head(), chunked(&[stream.as_bytes()])].concat(), without.clone(), Some(TOLD)),
        ("a stream byte by byte", true, [sse_head(), chunked(&bytes)].concat(), without.clone(), Some(TOLD)),
        ("lines that end in CRLF", true, [sse_head(), chunked(&[crlf.as_bytes()])].concat(), without.replace('\n', "\r\n"), Some(TOLD)),
        ("a stream with its length", true, plain(200, sse, &stream), without.clone(), Some(TOLD)),
        ("a stream without its end", true, plain(200, sse, &[text, &usage].concat()), text.into(), Some(TOLD)),
        ("one value for a stream", true, plain(200, typed, &json_body), json_body.clone(), Some(TOLD)),
        ("a stream for one value", false, plain(200, sse, &stream), stream.clone(), Some(TOLD)),
        ("no type", false, plain(200, "", &json_body), json_body.clone(), Some(TOLD)),
        ("an error with 200", false, plain(200, typed, r#"{"error":{"message":"x"}}"#), r#"{"error":{"message":"x"}}"#.into(), estimate),
        ("an error", false, plain(400, typed, r#"{"error":{"message":"x"}}"#), r#"{"error":{"message":"x"}}"#.into(), Some(0)),
        ("an error with a bill", false, plain(500, typed, &json_body), json_body.clone(), Some(TOLD)),
        ("a redirection", false, plain(307, "Location: /x\r\n", ""), String::new(), Some(0)),
        ("nothing", false, plain(200, typed, ""), String::new(), estimate),
        ("no content", false, b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), String::new(), estimate),
        ("a coding", false, plain(200, "Content-Encoding: gzip\r\n", "not read"), "not read".into(), estimate),
        (
            "an early hint",
            false,
            [b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".to_vec(), plain(200, typed, &json_body)].concat(),
            json_body.clone(),
            Some(TOLD),
        ),
    ] {
        let upstream = Upstream::saying(reply);
        let router = Router::start(limited(rig::openai(&upstream), 100 * CENT));
        let request = chat("gpt-4o", &format!(r#","max_tokens":1000,"stream":{asks_stream}"#));
        let got = router.call(&request);
        assert_eq!(got.text(), body, "{case}");
        let stats = router.inner().stats();
        let (spent, tally) = (stats.spent.0, &stats.tally.all);
        assert_eq!((stats.held, tally.requests, stats.totals.in_flight), (NanoUsd::ZERO, 1, 0), "{case}");
        match cost {
            Some(cost) => assert_eq!(spent, cost, "{case}"),
            None => assert!(spent > TOLD && spent <= 2 * CENT, "{case}: {spent}"),
        }
    }
}

#[test]
fn an_alias_costs_what_its_model_costs() {
    let upstream = Upstream::saying(json(r#"{"usage":{"prompt_tokens":10,"completion_tokens":20}}"#));
    let mut config = limited(rig::bare(), CENT);
    let mut local = iron_runtime::Upstream::new("local", Protocol::OpenAi, upstream.url().parse().expect("url"), Key::None);
    local.aliases = vec![("fast".into(), "gpt-4o".into())];
    config.upstreams.push(local);
    let router = Router::start(config);
    let reply = router.call(&chat("fast", r#","service_tier":"default""#));
    let clamped = reply.head.get("x-iron-clamped").expect("told");
    let limit = clamped.strip_prefix("max_tokens=").expect("the name that compatible servers know");
    let body = String::from_utf8(upstream.request().body).expect("text");
    assert_eq!(
        body,
        format!(r#"{{"max_tokens":{limit},"model":"gpt-4o","messages":[{{"role":"user","content":"hi"}}],"service_tier":"default"}}"#)
    );
    assert_eq!(router.inner().total_spent(), NanoUsd(10 * 2_500 + 20 * 10_000));
}

#[test]
fn whoever_leaves_leaves_no_hold_and_no_place_in_the_line() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.eof();
    });
    let mut config = limited(rig::openai(&upstream), CENT);
    config.spending.on_budget = OnBudget::Refuse;
    config.spending.wait = super::WAIT;
    let router = Router::start(config);
    let request = chat("gpt-4o", r#","max_tokens":600,"service_tier":"default""#);
    let mut holding = router.client();
    holding.send(&request.bytes());
    upstream.wait("the first call", |log| log.requests.len() == 1);
    for reset in [true, false] {
        let mut waiting = router.client();
        waiting.send(&request.bytes());
        a_silence();
        waiting.leave(reset);
    }
    a_silence();
    assert_eq!((router.stats().in_flight, upstream.requests().len()), (1, 1), "two such calls do not fit");
    holding.leave(true);
    router.wait_stats(|totals| totals.in_flight == 0);
    assert_eq!(router.inner().stats().held, NanoUsd::ZERO);
    // Those who waited were not sent, and stand in nobody's way.
    router.inner().set_budget(Some(NanoUsd(2 * CENT)));
    let mut next = router.client();
    next.send(&request.bytes());
    upstream.wait("the next call", |log| log.requests.len() == 2);
}

#[test]
fn a_stop_in_mid_reply_settles_what_is_cut() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(&[sse_head(), chunk(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n")].concat());
        conn.eof();
    });
    let mut config = limited(rig::openai(&upstream), 100 * CENT);
    config.timeouts.drain = Duration::ZERO;
    let mut router = Router::start(config);
    let mut clients: Vec<_> = (0..8).map(|_| router.client()).collect();
    for client in &mut clients {
        client.send(&chat("gpt-4o", r#","stream":true,"max_tokens":500"#).bytes());
        let head = client.head().expect("a head");
        client.stream_until(&head, "content");
    }
    router.stop();
    let stats = router.inner().stats();
    assert_eq!((stats.held, stats.totals.in_flight, stats.tally.all.requests), (NanoUsd::ZERO, 0, 8));
    assert!(stats.spent > NanoUsd::ZERO && stats.spent.0 < 8 * 2 * CENT, "{:?}", stats.spent);
}

#[test]
fn a_silent_provider_is_billed_by_the_estimate() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.eof();
    });
    let mut config = limited(rig::openai(&upstream), CENT);
    config.timeouts.first_byte = Duration::from_millis(300);
    let router = Router::start(config);
    assert_eq!(router.call(&chat("gpt-4o", r#","max_tokens":100"#)).status, 504);
    let stats = router.inner().stats();
    assert_eq!(stats.held, NanoUsd::ZERO);
    assert!(stats.spent.0 >= 100 * 10_000 && stats.spent.0 <= CENT, "{:?}", stats.spent);
}
