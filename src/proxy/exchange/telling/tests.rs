//! What an audience is told of calls, and that it is never told a key.

use super::*;
use crate::call::Inbound;
use crate::clock::UnixMs;
use crate::config::{Config, Upstream};
use crate::error::Error;
use crate::event::Audience;
use crate::http::{Server, ServerLimits};
use crate::outbox::{Item, Outbox};
use crate::policy::{AccessRules, Prices, State};
use crate::proxy::exchange::{Stage, Store};
use crate::proxy::pages::{Page, Pages, Visit};
use crate::proxy::purse::Purse;
use crate::proxy::scripted::{self, answer_with};
use crate::row::{Books, Details};
use crate::secret::Secret;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

const TOKEN: &str = "TOKENCANARY";
const KEY: &str = "sk-KEYCANARY";

/// Keeps what it is told.
#[derive(Default)]
struct Ear {
    looks: bool,
    events: Mutex<Vec<Event>>,
}

impl Audience for Ear {
    fn tell(&self, event: Event) {
        self.events.lock().expect("events").push(event);
    }

    fn wants_details(&self) -> bool {
        self.looks
    }
}

/// Keeps rows, and nothing else.
#[derive(Default)]
struct Shelf(Mutex<Vec<Arc<Row>>>);

impl Books for Shelf {
    fn record(&self, row: &Arc<Row>) -> Result<(), Error> {
        self.0.lock().expect("rows").push(row.clone());
        Ok(())
    }
}

impl Outbox for Shelf {
    fn put(&self, _: Item) -> Result<(), Error> {
        Ok(())
    }

    fn pending(&self, _: usize) -> Result<Vec<Item>, Error> {
        Ok(Vec::new())
    }

    fn done(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

struct NoPages;

impl Pages for NoPages {
    fn admits(&self, _: &Inbound<'_>) -> bool {
        false
    }

    fn serve(&self, _: Page, _: Visit<'_, '_>, _: Responder<'_>) {}
}

/// A proxy on loopback in front of a provider of both protocols, and what was told of it.
struct Rig {
    server: Server,
    ear: Arc<Ear>,
    shelf: Arc<Shelf>,
}

impl Rig {
    fn start(provider: &scripted::Server, looks: bool, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        let base = || provider.url.parse().expect("an address");
        config.upstreams = vec![Upstream::openai(base(), Secret::new(KEY)), Upstream::anthropic(base(), Secret::new(KEY))];
        change(&mut config);
        let rules = AccessRules { allow_hosts: Vec::new(), token: Secret::new(TOKEN), agents: Vec::new() };
        let state = State::new(&config.spending, &[], Default::default(), UnixMs(0));
        let purse = Arc::new(Purse::new(state, Duration::ZERO));
        let (ear, shelf) = (Arc::new(Ear { looks, ..Ear::default() }), Arc::<Shelf>::default());
        let store = Store { books: shelf.clone(), outbox: shelf.clone(), leases: None };
        let stage = Stage { audience: ear.clone(), pages: Arc::new(NoPages) };
        let proxy = Proxy::new(config, rules, Prices::bundled(), purse, store, stage).expect("a proxy");
        let listener = Server::listen("127.0.0.1", 0).expect("a port");
        let server = Server::start(listener, limits(), Arc::new(proxy)).expect("a server");
        Self { server, ear, shelf }
    }

    /// Asks, and gives the whole reply and, once it was told, the row of the event.
    fn ask(&self, fields: &str, path: &str, body: &str) -> (String, Arc<Row>) {
        let mut socket = TcpStream::connect(self.server.address()).expect("a connection");
        let head = format!("POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n{fields}");
        let request = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).expect("a request is taken");
        let mut reply = Vec::new();
        let _ = socket.read_to_end(&mut reply);
        (String::from_utf8_lossy(&reply).into_owned(), self.told())
    }

    /// The row of the last call, once it is told.
    fn told(&self) -> Arc<Row> {
        let start = Instant::now();
        loop {
            let last = self.ear.events.lock().expect("events").last().cloned();
            if let Some(Event::RequestCompleted(row) | Event::RequestFailed(row)) = last {
                return row;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for the end of a call");
            std::thread::yield_now();
        }
    }
}

fn limits() -> ServerLimits {
    let patience = Duration::from_secs(20);
    ServerLimits {
        max_connections: 16,
        max_header_bytes: 64 << 10,
        max_headers: 64,
        max_target_bytes: 8 << 10,
        header_timeout: patience,
        body_timeout: patience,
        keep_alive: patience,
        write_timeout: patience,
    }
}

fn details(row: &Row) -> &Details {
    row.details.as_deref().expect("details")
}

fn chat(model: &str, stream: bool) -> String {
    format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}],"stream":{stream}}}"#)
}

const JSON: &str = "content-type: application/json\r\n";
const CHAT: &str = "/v1/chat/completions";

#[test]
fn who_does_not_look_is_told_no_details() {
    let provider = scripted::Server::start(|_, stream| answer_with(stream, 200, JSON, "{}"));
    let (_, row) = Rig::start(&provider, false, |_| {}).ask("", CHAT, &chat("gpt-4o", false));
    assert!(row.details.is_none() && row.request_id.is_some());
}

#[test]
fn who_looks_sees_heads_and_no_content_and_the_row_that_is_kept_has_none_of_it() {
    let provider =
        scripted::Server::start(|_, stream| answer_with(stream, 200, &format!("{JSON}x-request-id: r1\r\nset-cookie: c\r\n"), "{}"));
    let rig = Rig::start(&provider, true, |_| {});
    let (reply, row) = rig.ask("X-Trace: 7\r\nCookie: a=b\r\n", CHAT, &chat("gpt-4o", false));
    assert!(reply.contains("set-cookie: c"), "{reply}");
    let details = details(&row);
    let names = |fields: &[(String, String)]| fields.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(" ");
    assert_eq!(names(&details.request_headers), "Host Connection X-Trace Content-Type Content-Length");
    assert_eq!(names(&details.reply_headers), "content-type x-request-id");
    assert!(details.error.is_none() && details.content.get().is_none());
    let kept = rig.shelf.0.lock().expect("rows").clone();
    assert!(kept.len() == 1 && kept[0].details.is_none() && kept[0].request_id.as_deref() == Some("r1"));
}

#[test]
fn captured_bodies_are_those_that_the_client_saw() {
    let message = r#"{"id":"m","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hello there"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}"#;
    let provider = scripted::Server::start(move |_, stream| answer_with(stream, 200, JSON, message));
    let rig = Rig::start(&provider, true, |config| config.capture = true);
    let asked = chat("claude-sonnet-4-20250514", false);
    let (reply, row) = rig.ask("", CHAT, &asked);
    let content = details(&row).content.get().expect("captured");
    assert_eq!(content.request, asked.as_bytes(), "before it was translated");
    let seen = reply.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    assert_eq!((content.reply.as_slice(), seen.contains("chat.completion")), (seen.as_bytes(), true));
}

#[test]
fn a_captured_stream_is_whole() {
    let events = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n";
    let provider = scripted::Server::start(move |_, stream| answer_with(stream, 200, "content-type: text/event-stream\r\n", events));
    let rig = Rig::start(&provider, true, |config| config.capture = true);
    let (_, row) = rig.ask("", CHAT, &chat("gpt-4o", true));
    assert_eq!(details(&row).content.get().expect("captured").reply, events.as_bytes());
}

#[test]
fn errors_are_told_in_full_and_never_a_key() {
    let echo = format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY} ({TOKEN})"}}}}"#);
    let anthropic = format!(r#"{{"type":"error","error":{{"type":"authentication_error","message":"bad {KEY}"}}}}"#);
    let provider = scripted::Server::hearing(move |_, request, stream| {
        let body = if request.path() == "/v1/messages" { &anthropic } else { &echo };
        answer_with(stream, 401, &format!("{JSON}x-echo: {KEY}\r\n"), body);
    });
    let rig = Rig::start(&provider, true, |config| config.capture = true);
    for (model, words) in
        [("gpt-4o", "Incorrect API key provided: ************ (***********)"), ("claude-sonnet-4-20250514", "bad ************")]
    {
        let (_, row) = rig.ask(&format!("X-Note: {TOKEN}\r\nX-Other: {KEY}\r\n"), CHAT, &chat(model, false).replace("hi", KEY));
        assert_eq!(details(&row).error.as_deref(), Some(words));
        let content = details(&row).content.get().expect("captured");
        let told = format!(
            "{:?} {}",
            rig.ear.events.lock().expect("events"),
            String::from_utf8_lossy(&[&content.request[..], &content.reply].concat())
        );
        assert!(!told.contains(KEY) && !told.contains(TOKEN), "{told}");
        assert!(!told.contains("x-echo") && !told.contains("X-Note") && !told.contains("X-Other"), "{told}");
    }
}

#[test]
fn our_own_words_are_told_too() {
    let provider = scripted::Server::start(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 99\r\n\r\ndata: {}\n\n");
    });
    let (_, cut) = Rig::start(&provider, true, |_| {}).ask("", CHAT, &chat("gpt-4o", true));
    assert_eq!(details(&cut).error.as_deref(), Some("the upstream's connection broke off in mid-reply"));
    let broke = |config: &mut Config| config.spending.budget = Some(crate::money::NanoUsd::ZERO);
    let rig = Rig::start(&provider, true, broke);
    let (reply, refused) = rig.ask("", CHAT, &chat("gpt-4o", false));
    let words = details(&refused).error.clone().expect("words");
    assert!(reply.starts_with("HTTP/1.1 402") && reply.contains(&words), "{words} {reply}");
    let id = refused.request_id.as_deref().unwrap_or_default();
    assert!(details(&refused).reply_headers.contains(&("x-request-id".into(), id.into())));
}
