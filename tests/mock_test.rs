//! The mock provider over loopback, byte by byte: what leaves it in order, and what breaks exactly where it was asked to.

#![cfg(feature = "enabled")]

use iron_runtime::Protocol;
use iron_runtime::mock::{MOCK_HELP, Mock, MockConfig, MockStats};
use iron_runtime::money::{Tier, Usage};
use iron_runtime::policy::Prices;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Far longer than anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn mock() -> Mock {
    Mock::start(MockConfig::default()).expect("a mock")
}

/// A request that is sent on a connection of its own.
struct Request<'a> {
    method: &'a str,
    target: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    body: Vec<u8>,
}

impl<'a> Request<'a> {
    fn new(method: &'a str, target: &'a str) -> Self {
        Self { method, target, fields: vec![("Authorization", "Bearer sk-test")], body: Vec::new() }
    }

    fn post(target: &'a str, body: &Value) -> Self {
        Self { body: body.to_string().into_bytes(), ..Self::new("POST", target) }
    }

    fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.fields.retain(|(field, _)| *field != name);
        self.fields.push((name, value));
        self
    }

    fn bytes(&self, close: bool) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n", self.method, self.target);
        self.fields.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        if close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        [head.into_bytes(), self.body.clone()].concat()
    }

    fn connect(&self, mock: &Mock, close: bool) -> TcpStream {
        let mut socket = TcpStream::connect(("127.0.0.1", mock.port())).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.write_all(&self.bytes(close)).expect("a request sent");
        socket
    }

    /// The whole reply, up to the end of the connection.
    fn reply(&self, mock: &Mock) -> Reply {
        let mut bytes = Vec::new();
        let end = self.connect(mock, true).read_to_end(&mut bytes);
        assert!(end.is_ok(), "the connection ends in order, even if the reply does not: {end:?}");
        Reply::of(&bytes)
    }
}

/// A reply as it came.
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether it ended as its framing says.
    whole: bool,
}

impl Reply {
    fn of(bytes: &[u8]) -> Self {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Self { status: 0, head: String::from_utf8_lossy(bytes).into_owned(), body: Vec::new(), whole: false };
        };
        let head = String::from_utf8(bytes[..end].to_vec()).expect("a head");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut reply = Self { status, head, body: Vec::new(), whole: false };
        let rest = &bytes[end + 4..];
        (reply.body, reply.whole) = match reply.field("content-length") {
            Some(length) => (rest.to_vec(), length == rest.len().to_string()),
            None => dechunked(rest),
        };
        reply
    }

    fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The data of the events, as far as they are JSON.
    fn events(&self) -> Vec<Value> {
        self.text().lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
    }
}

/// The bytes of a chunked body, and whether the final chunk came.
fn dechunked(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok()).expect("a size");
        if size == 0 {
            return (body, &rest[end..] == b"\r\n\r\n");
        }
        let chunk = &rest[end + 2..];
        assert!(chunk.len() >= size + 2, "chunks leave in one piece");
        body.extend_from_slice(&chunk[..size]);
        rest = &chunk[size + 2..];
    }
    (body, false)
}

fn chat(more: Value) -> Value {
    with(json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}), more)
}

fn with(mut body: Value, more: Value) -> Value {
    for (name, field) in more.as_object().into_iter().flatten() {
        body[name] = field.clone();
    }
    body
}

fn ask_chat<'a>(more: Value) -> Request<'a> {
    Request::post("/v1/chat/completions", &chat(more))
}

fn ask_messages<'a>(more: Value) -> Request<'a> {
    let body = json!({"model": "claude-sonnet-4-20250514", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello!"}]});
    Request::post("/v1/messages", &with(body, more)).with("anthropic-version", "2023-06-01").with("x-api-key", "k")
}

/// Waits for the counters to get there.
fn eventually(mock: &Mock, reached: impl Fn(&MockStats) -> bool) -> MockStats {
    let start = Instant::now();
    loop {
        let stats = mock.stats();
        if reached(&stats) {
            return stats;
        }
        assert!(start.elapsed() < PATIENCE, "{stats:?}");
        std::thread::yield_now();
    }
}

#[test]
fn both_protocols_answer_with_their_headers() {
    let mock = mock();
    let openai = ask_chat(json!({})).reply(&mock);
    assert_eq!((openai.status, openai.whole, openai.field("x-request-id")), (200, true, Some("req_mock00000001")));
    assert_eq!(openai.json()["choices"][0]["message"]["content"], "Hello! This is the mock provider of iron_runtime.");
    assert!(openai.field("openai-processing-ms").is_some() && openai.field("x-ratelimit-remaining-requests").is_some());
    let anthropic = ask_messages(json!({})).reply(&mock);
    assert_eq!((anthropic.status, anthropic.field("request-id")), (200, Some("req_mock00000002")));
    assert_eq!(anthropic.json()["content"][0]["text"], "Hello! This is the mock provider of iron_runtime.");
    assert!(anthropic.field("anthropic-ratelimit-requests-reset").is_some_and(|reset| reset.ends_with('Z')));
}

#[test]
fn streams_end_with_their_last_event_and_chunk() {
    let mock = mock();
    let openai = ask_chat(json!({"stream": true})).with("x-mock", "events=3,spacing=1").reply(&mock);
    assert_eq!((openai.whole, openai.field("content-type")), (true, Some("text/event-stream; charset=utf-8")));
    assert!(openai.text().ends_with("data: [DONE]\n\n"));
    let words: String = openai.events().iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(words, "Hello! This is");
    let anthropic = ask_messages(json!({"stream": true})).reply(&mock);
    assert!(anthropic.whole && anthropic.text().ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    assert_eq!(mock.stats().streams, 2);
}

#[test]
fn every_status_comes_in_the_shape_of_its_protocol() {
    let mock = mock();
    for status in [400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529] {
        let name = status.to_string();
        let openai = ask_chat(json!({})).with("x-mock", &name).reply(&mock);
        assert_eq!(openai.status, status);
        assert!(openai.json()["error"]["message"].is_string() && openai.json()["error"].get("code").is_some());
        let model = format!("mock-{status}");
        let anthropic = ask_messages(json!({"model": model})).reply(&mock);
        assert_eq!((anthropic.status, &anthropic.json()["type"]), (status, &json!("error")));
        assert!(anthropic.json()["error"]["type"].is_string());
        for reply in [openai, anthropic] {
            assert_eq!(reply.field("retry-after"), (status == 429).then_some("1"));
        }
    }
    let reply = ask_chat(json!({})).with("x-mock", "503,retry-after=7").reply(&mock);
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("7")));
    assert_eq!(mock.stats().by_status[&529], 2);
}

#[test]
fn what_a_provider_refuses_is_refused() {
    let mock = mock();
    let malformed = Request { body: b"{\"model\":".to_vec(), ..ask_chat(json!({})) };
    let keyless = |request: Request<'static>| request.with("Authorization", "Basic eA==");
    let table = [
        (malformed, 400, "error"),
        (ask_chat(json!({"messages": []})), 400, "error"),
        (ask_messages(json!({"max_tokens": null})), 400, "type"),
        (ask_chat(json!({})).with("x-mock", "cutt"), 400, "error"),
        (keyless(ask_chat(json!({}))), 401, "error"),
        (ask_chat(json!({})).with("Authorization", "Bearer sk-invalid"), 401, "error"),
        (ask_messages(json!({})).with("x-api-key", "invalid"), 401, "type"),
        (ask_chat(json!({"model": "nonexistent-1"})), 404, "error"),
        (Request::new("GET", "/v1/unknown"), 404, "error"),
        (Request::new("GET", "/v1/unknown").with("anthropic-version", "2023-06-01"), 404, "type"),
        (Request::new("GET", "/v1/files").with("anthropic-version", "2023-06-01"), 404, "type"),
        (Request::new("GET", "/v1/files/file-none"), 404, "error"),
        (Request::new("GET", "/v1/chat/completions"), 405, "error"),
    ];
    for (request, status, shape) in table {
        let reply = request.reply(&mock);
        assert_eq!(reply.status, status, "{} {}", request.method, request.target);
        assert!(reply.json().get(shape).is_some());
    }
    let mut versionless = ask_messages(json!({}));
    versionless.fields.retain(|(name, _)| *name != "anthropic-version");
    assert_eq!(versionless.reply(&mock).status, 400);
}

#[test]
fn a_cut_reply_never_looks_whole() {
    let mock = mock();
    let whole = ask_chat(json!({})).with("x-mock", "cut").reply(&mock);
    assert_eq!((whole.status, whole.whole), (200, false));
    assert!(!whole.body.is_empty());
    for request in [ask_chat(json!({"stream": true})), ask_messages(json!({"stream": true}))] {
        let stream = request.with("x-mock", "cut").reply(&mock);
        let carries = |event: &&Value| {
            let text = event["choices"][0]["delta"]["content"].as_str().or(event["delta"]["text"].as_str());
            text.is_some_and(|text| !text.is_empty())
        };
        assert_eq!((stream.whole, stream.events().iter().filter(carries).count()), (false, 4), "half of eight");
        assert!(stream.text().ends_with("\n\n"), "at the boundary of an event");
    }
    let before = ask_chat(json!({"model": "mock-cut-before"})).reply(&mock);
    assert_eq!((before.status, before.head.as_str()), (0, ""));
}

#[test]
fn a_reply_is_cut_at_any_byte() {
    let mock = mock();
    for stream in [false, true] {
        let reply_to = |words: &str| ask_chat(json!({"stream": stream})).with("x-mock", words).reply(&mock);
        let length = reply_to("events=2").body.len();
        for at in 0..length {
            let reply = reply_to(&format!("events=2,cut={at}"));
            assert_eq!((reply.status, reply.body.len(), reply.whole), (200, at, false));
        }
        assert!(reply_to(&format!("events=2,cut={}", length + 1)).whole);
    }
}

#[test]
fn a_stalled_reply_waits_for_its_client_to_go() {
    let mock = mock();
    for (gone, stream) in [(1, false), (2, true)] {
        let mut socket = ask_chat(json!({"stream": stream, "model": "mock-stall"})).connect(&mock, false);
        let mut seen = Vec::new();
        let mut buffer = [0; 4096];
        while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
            let count = socket.read(&mut buffer).expect("the first half");
            assert_ne!(count, 0, "it stays open");
            seen.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(mock.stats().client_gone, gone - 1);
        drop(socket);
        eventually(&mock, |stats| stats.client_gone == gone);
    }
}

#[test]
fn a_client_that_leaves_a_stream_is_counted_with_what_it_got() {
    let mock = mock();
    let mut socket = ask_chat(json!({"stream": true})).with("x-mock", "events=100000,spacing=1").connect(&mock, false);
    let mut seen = [0; 1];
    socket.read_exact(&mut seen).expect("the beginning");
    drop(socket);
    let stats = eventually(&mock, |stats| stats.client_gone == 1);
    assert!(stats.tokens.input == 2 && stats.tokens.output < 100_000, "{stats:?}");
}

#[test]
fn a_failure_in_mid_stream_is_an_event() {
    let mock = mock();
    let openai = ask_chat(json!({"stream": true, "model": "mock-error-event"})).reply(&mock);
    assert!(openai.whole && openai.events().last().is_some_and(|event| event["error"]["type"] == "server_error"));
    assert!(!openai.text().contains("[DONE]"));
    let anthropic = ask_messages(json!({"stream": true, "model": "mock-error-event"})).reply(&mock);
    assert!(anthropic.whole && anthropic.text().contains("event: error\n") && !anthropic.text().contains("message_stop"));
    assert_eq!(ask_chat(json!({"model": "mock-error-event"})).reply(&mock).status, 500);
}

#[test]
fn garbage_is_not_json() {
    let mock = mock();
    let whole = ask_chat(json!({"model": "mock-garbage"})).reply(&mock);
    assert!(whole.whole && serde_json::from_slice::<Value>(&whole.body).is_err() && std::str::from_utf8(&whole.body).is_err());
    let stream = ask_chat(json!({"model": "mock-garbage", "stream": true})).reply(&mock);
    assert!(std::str::from_utf8(&stream.body).is_err() && stream.text().ends_with("data: [DONE]\n\n"));
}

/// The content of a gzip body that consists of stored blocks.
fn gunzipped(body: &[u8]) -> Vec<u8> {
    let (mut rest, mut content) = (&body[10..], Vec::new());
    loop {
        let (last, length) = (rest[0] == 1, usize::from(u16::from_le_bytes([rest[1], rest[2]])));
        content.extend_from_slice(&rest[5..5 + length]);
        rest = &rest[5 + length..];
        if last {
            assert_eq!(rest[4..], (content.len() as u32).to_le_bytes());
            return content;
        }
    }
}

#[test]
fn a_compressed_reply_says_so_and_holds_the_same() {
    let mock = mock();
    for stream in [false, true] {
        let reply = ask_chat(json!({"stream": stream, "model": "mock-gzip"})).reply(&mock);
        assert_eq!((reply.field("content-encoding"), reply.whole), (Some("gzip"), true));
        let content = String::from_utf8(gunzipped(&reply.body)).expect("text");
        assert!(content.contains(" iron_runtime.") && content.ends_with(if stream { "[DONE]\n\n" } else { "}" }));
    }
}

#[test]
fn slow_replies_come_whole() {
    let mock = mock();
    for stream in [false, true] {
        let reply = ask_chat(json!({"stream": stream})).with("x-mock", "slow,latency=1,spacing=1").reply(&mock);
        assert!(reply.whole && reply.text().contains("iron_runtime."));
    }
}

#[test]
fn echo_tells_what_was_sent() {
    let mock = mock();
    let request = Request { body: vec![0xff, 0], ..Request::new("PUT", "/any/path?a=1&b") };
    let echo = request.with("X-Twice", "1").with("x-mock", "echo").with("X-Other", "caf\u{e9}").reply(&mock).json();
    assert_eq!((&echo["method"], &echo["target"], &echo["body_base64"]), (&json!("PUT"), &json!("/any/path?a=1&b"), &json!("/wA=")));
    let names: Vec<&str> = echo["headers"].as_array().into_iter().flatten().filter_map(|field| field[0].as_str()).collect();
    assert_eq!(names[..5], ["Host", "Authorization", "X-Twice", "x-mock", "X-Other"]);
    assert_eq!(echo["headers"][4][1], "caf\u{c3}\u{a9}", "a character a byte");
    let echo = ask_chat(json!({"model": "mock-echo"})).reply(&mock).json();
    assert_eq!(echo["body"], chat(json!({"model": "mock-echo"})).to_string());
}

#[test]
fn a_connection_serves_many_requests() {
    let mock = mock();
    let mut socket = ask_chat(json!({"stream": true})).connect(&mock, false);
    socket.write_all(&ask_messages(json!({})).bytes(true)).expect("a second request");
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).expect("two replies");
    let second = bytes.windows(5).rposition(|window| window == b"HTTP/").expect("a head");
    let (first, second) = (Reply::of(&bytes[..second]), Reply::of(&bytes[second..]));
    assert!(first.whole && first.text().ends_with("data: [DONE]\n\n"));
    assert!(second.whole && second.json()["type"] == "message");
}

#[test]
fn uploaded_files_come_back_byte_for_byte() {
    let mock = mock();
    let content: Vec<u8> = (0..100_000u32).map(|nth| (nth * 7 % 256) as u8).collect();
    let mut form = b"--xyz\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--xyz\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a b.bin\"\r\n\r\n"
        .to_vec();
    form.extend_from_slice(&content);
    form.extend_from_slice(b"\r\n--xyz--\r\n");
    let upload = Request { body: form, ..Request::new("POST", "/v1/files").with("Content-Type", "multipart/form-data; boundary=xyz") };
    let made = upload.reply(&mock).json();
    assert_eq!((&made["filename"], &made["bytes"]), (&json!("a b.bin"), &json!(content.len())));
    let path = format!("/v1/files/{}", made["id"].as_str().expect("an id"));
    let download = Request::new("GET", &format!("{path}/content")).reply(&mock);
    assert_eq!(download.field("content-type"), Some("application/octet-stream"));
    assert!(download.body == content);
    assert_eq!(Request::new("GET", "/v1/files?purpose=batch").reply(&mock).json()["data"], json!([made]));
    assert_eq!(Request::new("DELETE", &path).reply(&mock).json()["deleted"], true);
    assert_eq!(Request::new("GET", &path).reply(&mock).status, 404);
}

#[test]
fn the_control_server_gives_a_key_that_works_here() {
    let mock = mock();
    for (token, provider, status) in [("ic_1", "openai", 200), ("ic_anthropic", "anthropic", 200), ("ic_stale", "openai", 401)] {
        let given =
            Request::post("/api/v1/agents/provider-key", &json!({"ic_token": token})).with("Authorization", "Basic eA==").reply(&mock);
        let given = given.json();
        assert_eq!((&given["provider"], given["base_url"].as_str()), (&json!(provider), Some(mock.base_url())));
        let bearer = format!("Bearer {}", given["provider_key"].as_str().expect("a key"));
        assert_eq!(ask_chat(json!({})).with("Authorization", &bearer).reply(&mock).status, status);
    }
    let event = json!({"ic_token": "ic_1", "event_id": "e", "timestamp_ms": 1, "event_type": "llm_request_failed", "model": "m", "provider": "openai"});
    let send = || Request::post("/api/v1/analytics/events", &event).with("Authorization", "Bearer ic_1").reply(&mock).status;
    assert_eq!((send(), send()), (202, 200));
    assert_eq!(mock.stats().events, 1);
    assert_eq!(Request::new("GET", "/api/v1/budget/return").reply(&mock).status, 405);
    assert_eq!(mock.stats().control, [("analytics_event", 2), ("budget_return", 1), ("provider_key", 3)].into());
}

#[test]
fn cached_prompts_are_known_the_second_time() {
    let mock = mock();
    let system = json!([{"type": "text", "text": "x".repeat(40), "cache_control": {"type": "ephemeral"}}]);
    let usage = || ask_messages(json!({"system": system})).reply(&mock).json()["usage"].clone();
    assert_eq!(usage()["cache_creation_input_tokens"], 10);
    assert_eq!(usage()["cache_read_input_tokens"], 10);
    let tokens = mock.stats().tokens;
    assert_eq!((tokens.input, tokens.cache_write, tokens.cache_read, tokens.output), (4, 10, 10, 26));
}

#[test]
fn replies_cost_what_the_price_table_says() {
    let mock = mock();
    let system = json!([{"type": "text", "text": "x".repeat(40), "cache_control": {"type": "ephemeral", "ttl": "1h"}}]);
    let claude = || ask_messages(json!({"system": system, "model": "claude-3-5-haiku-latest"})).reply(&mock);
    let prices = Prices::bundled();
    let mut due = 0;
    for (model, protocol, reply) in [
        ("gpt-4o-mini", Protocol::OpenAi, ask_chat(json!({"model": "gpt-4o-mini"})).reply(&mock)),
        ("claude-3-5-haiku-latest", Protocol::Anthropic, claude()),
        ("claude-3-5-haiku-latest", Protocol::Anthropic, claude()),
    ] {
        let price = prices.find(protocol.as_str(), protocol, model).expect("a price");
        let usage = &reply.json()["usage"];
        let tokens = |names: &[&str]| names.iter().filter_map(|name| usage[name].as_u64()).sum();
        let usage = Usage {
            input: tokens(&["prompt_tokens", "input_tokens"]),
            cache_read: tokens(&["cache_read_input_tokens"]),
            cache_write_1h: tokens(&["cache_creation_input_tokens"]),
            output: tokens(&["completion_tokens", "output_tokens"]),
            ..Usage::default()
        };
        due += price.cost(Tier::Standard, &usage).0;
    }
    ask_chat(json!({"model": "of-nobody"})).reply(&mock);
    let stats = mock.stats();
    assert_eq!((stats.nano_usd, stats.nano_usd_by_model.values().sum()), (due, due));
    assert_eq!(stats.nano_usd_by_model.keys().copied().collect::<Vec<_>>(), ["claude-3-5-haiku-latest", "gpt-4o-mini"]);
    assert_eq!((stats.tokens.cache_write, stats.tokens.cache_write_1h, stats.tokens.cache_read), (10, 10, 10));
}

#[test]
fn a_stream_costs_what_of_it_was_sent() {
    let cost = |words| {
        let mock = mock();
        ask_chat(json!({"stream": true, "model": "gpt-4o"})).with("x-mock", words).reply(&mock);
        let stats = mock.stats();
        assert_eq!(stats.nano_usd, stats.tokens.input * 2500 + stats.tokens.output * 10_000, "{words}");
        stats.nano_usd
    };
    assert!(cost("cut") < cost("events=8") && cost("cut") > 0);
    assert_eq!(cost("429"), 0);
}

#[test]
fn statistics_are_told_and_forgotten() {
    let mock = mock();
    ask_chat(json!({})).reply(&mock);
    Request::new("GET", "/v1/models/gpt-4o").reply(&mock);
    Request::new("GET", "/favicon.ico").reply(&mock);
    let stats = Request::new("GET", "/__stats").reply(&mock).json();
    assert_eq!(stats["by_path"], json!({"/v1/chat/completions": 1, "/v1/models/{id}": 1, "other": 1}));
    assert_eq!((&stats["requests"], &stats["by_status"]), (&json!(3), &json!({"200": 2, "404": 1})));
    assert_eq!(stats["request_ids"][2], "req_mock00000003");
    assert_eq!(Request::new("POST", "/__reset").reply(&mock).status, 200);
    assert_eq!(mock.stats(), MockStats::default());
    assert_eq!(Request::new("GET", "/__other").reply(&mock).status, 404);
}

#[test]
fn many_clients_are_answered_at_once() {
    let mock = mock();
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert!(ask_chat(json!({"stream": true})).with("x-mock", "latency=5,spacing=1").reply(&mock).whole));
        }
    });
    let stats = mock.stats();
    assert_eq!((stats.streams, stats.tokens.output, stats.client_gone), (32, 32 * 13, 0));
}

#[test]
fn stopping_cuts_what_is_under_way() {
    let mock = mock();
    let mut socket = ask_chat(json!({"stream": true, "model": "mock-stall"})).connect(&mock, false);
    let mut first = [0; 1];
    socket.read_exact(&mut first).expect("the beginning");
    mock.stop();
    mock.stop();
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = socket.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let first = mock();
    let error = Mock::start(MockConfig { port: first.port(), ..MockConfig::default() }).err().expect("a refusal");
    assert!(error.to_string().starts_with(&format!("bind 127.0.0.1:{}: ", first.port())), "{error}");
}

#[test]
fn the_configured_figures_are_the_usual_ones() {
    let config = MockConfig { events: 2, latency: Duration::from_millis(3), spacing: Duration::from_millis(1), ..MockConfig::default() };
    let mock = Mock::start(config).expect("a mock");
    let reply = ask_chat(json!({})).reply(&mock);
    assert_eq!(
        (&reply.json()["choices"][0]["message"]["content"], reply.field("openai-processing-ms")),
        (&json!("Hello! This"), Some("3"))
    );
    assert!(MOCK_HELP.contains("x-mock"));
}
