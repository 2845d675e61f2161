//! What one request costs on its way through the router, step by step and as a whole.
//!
//! ```text
//! cargo bench                        # all of it, in ten seconds once it is built
//! cargo bench -- scan                # what has `scan` in its name
//! cargo bench -- --min-time 3 prompt # for longer, on a busy machine
//! ```
//!
//! **Steps** (`head`, `target`, `scan_…`, `terms_…`, `include_usage`, `limit_output`, `headers`, `boundary`, `refusal`, `admit_and_settle`)
//! are pure functions in a warm cache: what the router itself does
//! for a request, sockets aside. Numbers beside `scan_…` are lengths of bodies. The order of the keys matters there, because the walk
//! ends at the model: Python's SDKs send the messages first, others the model. `terms_…` and `include_usage` see the whole body always.
//!
//! `meter_…` and `without_usage` are what following a reply costs: `meter_json` by length of the reply, `meter_embeddings` one of 100 KB of
//! numbers, `meter_…_event` one event a piece, `meter_events` 64 of them in one, none with a usage; `without_usage` the same 64.
//!
//! **Whole requests** (`json`, `prompt`, `stream`) go over loopback on one kept-alive connection to a provider in this process, once
//! `Direct` and once `Routed`, through a real router with its default policies. What the router adds is the difference, and most of that
//! is the kernel's: one hop more each way. `json` is a small chat both ways, `prompt` one of 100 KB. `stream` is 100 events that the
//! provider writes one by one without a pause; the router passes on what has come, often several events at a time, so that a client may
//! have the whole of it sooner than without a router. Real events come one at a time; their delay is not measured here.
//!
//! Compare medians of runs on the same machine, one after the other; on a busy one, `fastest`. Nothing is asserted of time.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use iron_runtime::call::{AgentId, BodyLength, End, Endpoint, Headers, Outcome, Reason, Refusal, Verdict};
use iron_runtime::config::{Agent, Key, Spending};
use iron_runtime::http::{ServerLimits, head};
use iron_runtime::money::{NanoUsd, Usage};
use iron_runtime::policy::{self, Ask, Quote, State};
use iron_runtime::row::{Bill, RequestInfo, Row};
use iron_runtime::wire::headers::Nominated;
use iron_runtime::wire::route::{self, Table};
use iron_runtime::wire::usage::{Meter, WithoutUsage};
use iron_runtime::wire::{refusal, scan, sse, terms};
use iron_runtime::{Config, LlmRouter, Protocol, Secret, UnixMs, Upstream};
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

fn main() {
    divan::Divan::default().min_time(Duration::from_millis(400)).max_time(Duration::from_secs(2)).config_with_args().main();
}

/// Lengths of request bodies: a question, a conversation, a prompt with documents in it.
const BODIES: [usize; 3] = [200, 10_000, 100_000];

/// What the client of the whole requests sends.
const TOKEN: &str = "token-of-the-client";

/// A head as the OpenAI package for Python sends it.
fn chat_head(authority: &str, body_bytes: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {authority}\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
         Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 1.99.1\r\nX-Stainless-Lang: python\r\n\
         X-Stainless-Package-Version: 1.99.1\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\n\
         X-Stainless-Runtime-Version: 3.12.3\r\nAuthorization: Bearer {TOKEN}\r\nX-Stainless-Async: false\r\n\
         x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\nContent-Length: {body_bytes}\r\n\r\n"
    )
}

/// A chat of about `bytes` bytes, mostly prose with an escaped line end now and then.
fn messages(bytes: usize) -> String {
    const LINE: &str = r#"The ship's log says \"all well\", and the wind has been from the west since the morning watch.\n"#;
    let text: String = LINE.chars().cycle().take(bytes.saturating_sub(130)).collect();
    let text = text.trim_end_matches('\\');
    format!(r#"[{{"role":"system","content":"You are helpful."}},{{"role":"user","content":"{text}"}}]"#)
}

fn messages_first(bytes: usize, stream: bool) -> String {
    format!(r#"{{"messages":{},"model":"gpt-4o-mini","stream":{stream}}}"#, messages(bytes))
}

fn model_first(bytes: usize) -> String {
    format!(r#"{{"model":"gpt-4o-mini","messages":{}}}"#, messages(bytes))
}

fn limits() -> ServerLimits {
    let minute = Duration::from_secs(60);
    ServerLimits {
        max_connections: 1,
        max_header_bytes: 64 << 10,
        max_headers: 100,
        max_target_bytes: 16 << 10,
        header_timeout: minute,
        body_timeout: minute,
        keep_alive: minute,
        write_timeout: minute,
    }
}

/// Runs `look` with the parsed fields of [`chat_head`].
fn with_fields(look: impl FnOnce(Headers<'_>)) {
    let bytes = chat_head("127.0.0.1:8080", 200);
    let mut slots = [const { MaybeUninit::uninit() }; 100];
    let head = head::parse(bytes.as_bytes(), &mut slots, &limits()).expect("a good head");
    assert_eq!(head.inbound.length, BodyLength::Fixed(200));
    look(head.inbound.headers);
}

// --- steps ---

#[divan::bench]
fn head(bencher: Bencher<'_, '_>) {
    let (bytes, limits) = (chat_head("127.0.0.1:8080", 200), limits());
    bencher.counter(BytesCount::of_str(&bytes)).bench_local(|| {
        let mut slots = [const { MaybeUninit::uninit() }; 100];
        head::parse(black_box(bytes.as_bytes()), &mut slots, &limits).is_ok_and(|head| head.keep_alive)
    });
}

#[divan::bench(args = ["/v1/chat/completions", "/anthropic/v1/messages?beta=true"])]
fn target(bencher: Bencher<'_, '_>, target: &str) {
    let upstream = |name, protocol| Upstream::new(name, protocol, "http://localhost".parse().expect("an address"), Key::None);
    let upstreams = [upstream("openai", Protocol::OpenAi), upstream("anthropic", Protocol::Anthropic)];
    let table = Table { upstreams: &upstreams, usable: &[true, true], primary: None };
    let model = if target.contains("anthropic") { "claude-sonnet-4" } else { "gpt-4o-mini" };
    bencher.bench_local(|| {
        let target = route::parse_target(black_box(target), "127.0.0.1:8080")?;
        route::choose(&target, "POST", black_box(Some(model)), false, &table)
    });
}

#[divan::bench(args = BODIES)]
fn scan_messages_first(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = messages_first(bytes, true);
    bencher.counter(BytesCount::of_str(&body)).bench_local(|| scan::scan(black_box(body.as_bytes())).is_ok_and(|facts| facts.stream));
}

#[divan::bench(args = BODIES)]
fn scan_model_first(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = model_first(bytes);
    bencher.counter(BytesCount::of_str(&body)).bench_local(|| scan::scan(black_box(body.as_bytes())).is_ok_and(|facts| facts.stream));
}

#[divan::bench]
fn headers(bencher: Bencher<'_, '_>) {
    with_fields(|fields| {
        bencher.bench_local(|| {
            let nominated = Nominated::by(black_box(fields).all("connection"));
            fields.iter().filter(|(name, _)| nominated.lets_to_provider(name)).count()
        });
    });
}

#[divan::bench]
fn boundary(bencher: Bencher<'_, '_>) {
    let read: Vec<u8> = event(0).into_bytes().into_iter().cycle().take(16 << 10).collect();
    let mut boundary = sse::Boundary::default();
    bencher.counter(BytesCount::of_slice(&read)).bench_local(|| {
        boundary.feed(black_box(&read));
        boundary.is_between_events()
    });
}

#[divan::bench(args = [Protocol::OpenAi, Protocol::Anthropic])]
fn refusal(bencher: Bencher<'_, '_>, protocol: Protocol) {
    let refused = Refusal::new(Reason::Unauthorized, "send the router's token as the API key");
    bencher.bench_local(|| refusal::render(black_box(&refused), protocol).body.len());
}

// --- whole requests ---

/// The way a request takes to the provider.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Routed,
}

const WAYS: [Way; 2] = [Way::Direct, Way::Routed];

#[divan::bench(args = WAYS)]
fn json(bencher: Bencher<'_, '_>, way: Way) {
    whole(bencher, way, &messages_first(200, false));
}

#[divan::bench(args = WAYS)]
fn prompt(bencher: Bencher<'_, '_>, way: Way) {
    whole(bencher, way, &messages_first(100_000, false));
}

#[divan::bench(args = WAYS)]
fn stream(bencher: Bencher<'_, '_>, way: Way) {
    whole(bencher, way, &messages_first(200, true));
}

/// The same request again and again on one connection.
fn whole(bencher: Bencher<'_, '_>, way: Way, body: &str) {
    let provider = start_provider().expect("a provider on loopback");
    let mut config = Config::default();
    config.client_token = Some(Secret::new(TOKEN));
    config.upstreams.push(Upstream::openai(format!("http://{provider}").parse().expect("an address"), Secret::new("sk-provider")));
    let router = LlmRouter::start(config).expect("a router on loopback");
    let address = match way {
        Way::Direct => provider,
        Way::Routed => SocketAddr::from(([127, 0, 0, 1], router.port())),
    };
    let request = chat_head(&address.to_string(), body.len()) + body;
    let mut connection = Connection::new(TcpStream::connect(address).expect("a connection"));
    bencher.bench_local(|| {
        connection.socket.write_all(request.as_bytes()).expect("a request is taken");
        let (head_bytes, length) = connection.message().expect("a whole reply").expect("a reply");
        assert!(connection.last(head_bytes).starts_with(b"HTTP/1.1 200 "), "the reply is no 200");
        length
    });
}

/// One side of a connection on which whole messages come, one at a time.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(socket: TcpStream) -> Self {
        socket.set_nodelay(true).expect("an option of every socket");
        Self { socket, buffer: vec![0; 256 << 10] }
    }

    /// Reads one message: the lengths of its head and of all of it; `None` where the other side has left.
    fn message(&mut self) -> io::Result<Option<(usize, usize)>> {
        let (mut filled, mut framing) = (0, None);
        loop {
            let count = self.socket.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return if filled == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            filled += count;
            let read = &self.buffer[..filled];
            framing = framing.or_else(|| framing_of(read));
            match framing {
                Some((head, Some(body))) if filled >= head + body => return Ok(Some((head, filled))),
                Some((head, None)) if read.ends_with(b"0\r\n\r\n") => return Ok(Some((head, filled))),
                _ => {}
            }
        }
    }

    /// The first `bytes` of the last message.
    fn last(&self, bytes: usize) -> &[u8] {
        &self.buffer[..bytes]
    }
}

/// The length of a message's head, once that is whole, and of its body, if that is not chunked.
fn framing_of(read: &[u8]) -> Option<(usize, Option<usize>)> {
    let head = memchr::memmem::find(read, b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse().ok())?
    });
    Some((head, length))
}

/// A provider that answers every request at once; a thread a connection, gone with the process.
fn start_provider() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || answer(Connection::new(socket)));
        }
    });
    Ok(address)
}

fn answer(mut connection: Connection) -> io::Result<()> {
    let (whole, head, chunks) = (json_reply(), stream_head(), chunks());
    while let Some((_, length)) = connection.message()? {
        // `stream` comes last in the bodies of this file.
        if connection.last(length).ends_with(br#""stream":true}"#) {
            connection.socket.write_all(head.as_bytes())?;
            chunks.iter().try_for_each(|chunk| connection.socket.write_all(chunk.as_bytes()))?;
        } else {
            connection.socket.write_all(whole.as_bytes())?;
        }
    }
    Ok(())
}

fn json_reply() -> String {
    let body = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1760000000,"model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"All well, wind from the west."},"finish_reason":"stop"}],"usage":{"prompt_tokens":21,"completion_tokens":8,"total_tokens":29}}"#;
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn stream_head() -> String {
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-request-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n".into()
}

/// 100 events, a chunk each, and the last chunk.
fn chunks() -> Vec<String> {
    let chunk = |event: String| format!("{:x}\r\n{event}\r\n", event.len());
    (0..99).map(event).chain(["data: [DONE]\n\n".into()]).map(chunk).chain(["0\r\n\r\n".into()]).collect()
}

fn event(number: usize) -> String {
    format!(
        r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini","choices":[{{"index":0,"delta":{{"content":" word{number}"}},"finish_reason":null}}]}}"#
    ) + "\n\n"
}

/// The budget's part of a call, its sums in the tally included: a hold on the accounts of the router and of an agent, and the settled row.
#[divan::bench]
fn admit_and_settle(bencher: Bencher<'_, '_>) {
    let spending = Spending { budget: NanoUsd::from_usd(1e6), ..Spending::default() };
    let agent = Agent { name: "blue".into(), token: Secret::new("token-of-blue"), budget: NanoUsd::from_usd(1e5) };
    let now = UnixMs(1_760_000_000_000);
    let mut state = State::new(&spending, &[agent], (NanoUsd::ZERO, vec![]), now);
    let quote = Quote {
        input_pico_usd: 300_000_000,
        output_pico_usd: 600_000,
        own_limit: Some(500),
        model_limit: 16_384,
        least_limit: 16,
        field: Some("max_tokens"),
    };
    let ask = Ask { agent: Some(AgentId(0)), quote: Some(&quote), leased: false };
    let rows: Vec<_> = (0..20).map(|number| settled_row(&format!("gpt-4o-mini-{number}"), now)).collect();
    let mut next = rows.iter().cycle();
    bencher.bench_local(|| {
        let verdict = policy::admit(&mut state, black_box(&ask), None, now);
        let (Verdict::Forward(hold), Some(row)) = (verdict, next.next()) else { unreachable!("there is room") };
        policy::settle(&mut state, hold, black_box(row), now)
    });
}

fn settled_row(model: &str, at: UnixMs) -> Row {
    let info = RequestInfo {
        serial: 1,
        at,
        agent: Some("blue".into()),
        upstream: "openai".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some(model.into()),
        stream: false,
        request_bytes: None,
        translated: false,
    };
    let outcome = Outcome { reply_bytes: 600, ..Outcome::failed(200, End::Complete, Duration::from_millis(3)) };
    let usage = Usage { input: 21, output: 8, ..Usage::default() };
    Row::new(info, outcome, Bill { usage: Some(usage), cost: Some(NanoUsd(7_950)), ..Bill::default() }, None)
}

/// What the request's thread pays for an analytics event: the item for the outbox. (Its random id is a system call more.)
#[cfg(feature = "analytics")]
#[divan::bench]
fn analytics_event(bencher: Bencher<'_, '_>) {
    let row = settled_row("gpt-4o-mini", UnixMs(1_700_000_000_000));
    let id = || String::from("6f9619ff-8b86-4d01-b42d-00c04fc964ff");
    bencher.with_inputs(id).bench_local_values(|id| iron_runtime::wire::event::event_item(black_box(&row), id));
}

// --- what a request may cost ---

#[divan::bench(args = BODIES)]
fn terms_chat(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = messages_first(bytes, true);
    bencher.counter(BytesCount::of_str(&body)).bench_local(|| terms::read(Endpoint::ChatCompletions, black_box(body.as_bytes())).is_ok());
}

/// An agent's turn: tools, their calls and their results, as many small values.
#[divan::bench(args = BODIES)]
fn terms_agent(bencher: Bencher<'_, '_>, bytes: usize) {
    const TURN: &str = r#"{"role":"assistant","content":[{"type":"tool_use","id":"toolu_01","name":"read_file","input":{"path":"src/lib.rs","lines":[1,80]}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_01","content":[{"type":"text","text":"//! The crate."}]}]}"#;
    let turns = vec![TURN; bytes / TURN.len() + 1].join(",");
    let tool = r#"{"name":"read_file","input_schema":{"type":"object","properties":{"path":{"type":"string"}}}}"#;
    let body = format!(r#"{{"model":"claude-sonnet-4","max_tokens":1024,"tools":[{tool}],"messages":[{turns}]}}"#);
    bencher.counter(BytesCount::of_str(&body)).bench_local(|| terms::read(Endpoint::Messages, black_box(body.as_bytes())).is_ok());
}

#[divan::bench(args = BODIES)]
fn include_usage(bencher: Bencher<'_, '_>, bytes: usize) {
    let body = messages_first(bytes, true);
    bencher.counter(BytesCount::of_str(&body)).bench_local(|| terms::include_usage(black_box(body.as_bytes())));
}

#[divan::bench]
fn limit_output(bencher: Bencher<'_, '_>) {
    let body = messages_first(200, true);
    bencher.bench_local(|| terms::limit_output(black_box(body.as_bytes()), Endpoint::ChatCompletions, "max_completion_tokens", 64));
}

// --- replies, followed ---

/// A chat's reply of about so many bytes.
fn chat_reply(bytes: usize) -> String {
    let text = messages(bytes.saturating_sub(500));
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","created":1760000000,"model":"gpt-4o-mini-2024-07-18","choices":[{{"index":0,"message":{{"role":"assistant","content":{text},"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":21,"completion_tokens":8,"total_tokens":29,"prompt_tokens_details":{{"cached_tokens":0,"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}},"service_tier":"default","system_fingerprint":"fp_1"}}"#
    )
}

/// An event of 250 bytes, as a provider sends it that was asked for the usage.
fn chat_event(number: usize) -> String {
    format!(
        r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_1","choices":[{{"index":0,"delta":{{"content":" word{number}"}},"finish_reason":null}}]}}"#
    ) + "\n\n"
}

#[divan::bench(args = [1_500, 100_000])]
fn meter_json(bencher: Bencher<'_, '_>, bytes: usize) {
    let reply = chat_reply(bytes);
    bencher.counter(BytesCount::of_str(&reply)).bench_local(|| {
        let mut meter = Meter::new(Endpoint::ChatCompletions, false);
        meter.feed(black_box(reply.as_bytes()));
        assert!(meter.reported().complete);
    });
}

#[divan::bench]
fn meter_embeddings(bencher: Bencher<'_, '_>) {
    let numbers = vec!["-0.006929283"; 8_000].join(",");
    let reply = format!(r#"{{"data":[{{"embedding":[{numbers}]}}],"usage":{{"prompt_tokens":8,"total_tokens":8}}}}"#);
    bencher.counter(BytesCount::of_str(&reply)).bench_local(|| {
        let mut meter = Meter::new(Endpoint::Embeddings, false);
        meter.feed(black_box(reply.as_bytes()));
        assert!(meter.reported().complete);
    });
}

/// One event a piece, as they come; each a little different from the last.
fn meter_stream(bencher: Bencher<'_, '_>, endpoint: Endpoint, event: impl Fn(usize) -> String) {
    let events: Vec<String> = (0..64).map(event).collect();
    let mut pieces = events.iter().cycle();
    let mut meter = Meter::new(endpoint, true);
    bencher.counter(BytesCount::of_str(&events[0])).bench_local(|| {
        if let Some(piece) = pieces.next() {
            meter.feed(black_box(piece.as_bytes()));
        }
    });
}

#[divan::bench]
fn meter_chat_event(bencher: Bencher<'_, '_>) {
    meter_stream(bencher, Endpoint::ChatCompletions, chat_event);
}

#[divan::bench]
fn meter_message_event(bencher: Bencher<'_, '_>) {
    meter_stream(bencher, Endpoint::Messages, |number| {
        let delta = format!(r#"{{"type":"text_delta","text":" word{number}"}}"#);
        format!("event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{delta}}}\n\n")
    });
}

#[divan::bench]
fn meter_response_event(bencher: Bencher<'_, '_>) {
    meter_stream(bencher, Endpoint::Responses, |number| {
        let kind = "response.output_text.delta";
        let data = format!(
            r#"{{"type":"{kind}","sequence_number":{number},"item_id":"msg_68c0d4f6a3b48190a7e3c9","output_index":0,"content_index":0,"delta":" word{number}","logprobs":[]}}"#
        );
        format!("event: {kind}\ndata: {data}\n\n")
    });
}

#[divan::bench]
fn meter_events(bencher: Bencher<'_, '_>) {
    let events: String = (0..64).map(chat_event).collect();
    let mut meter = Meter::new(Endpoint::ChatCompletions, true);
    bencher.counter(BytesCount::of_str(&events)).bench_local(|| meter.feed(black_box(events.as_bytes())));
}

#[divan::bench]
fn without_usage(bencher: Bencher<'_, '_>) {
    let events: String = (0..64).map(chat_event).collect();
    let (mut filter, mut out) = (WithoutUsage::default(), Vec::new());
    bencher.counter(BytesCount::of_str(&events)).bench_local(|| {
        out.clear();
        filter.feed(black_box(events.as_bytes()), &mut out);
        out.len()
    });
}
