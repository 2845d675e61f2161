//! A client of the router that sees bytes: it can send anything, and tells a reply that ended from one that broke off.

use super::WAIT;
use super::framing::{Head, find};
use super::rig::{CANARY, TOKEN};
use super::upstream::is_gone;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// How a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By its own framing.
    Whole,
    /// The connection closed or was reset first.
    Broken,
}

/// A reply.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: u16,
    /// Its head.
    pub(crate) head: Head,
    /// Its body, decoded.
    pub(crate) body: Vec<u8>,
    /// How it ended.
    pub(crate) end: End,
}

impl Reply {
    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// Status and code of an error in OpenAI's shape.
    pub(crate) fn error(&self) -> (u16, String) {
        let body = self.json();
        assert!(body["error"]["message"].is_string() && body["error"]["type"].is_string(), "{body}");
        assert_eq!((self.end, self.head.get("content-type").as_deref()), (End::Whole, Some("application/json")));
        (self.status, body["error"]["code"].as_str().unwrap_or_default().to_string())
    }

    /// Status and type of an error in Anthropic's shape.
    pub(crate) fn anthropic_error(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["type"], "error", "{body}");
        assert!(body["error"]["message"].is_string() && body["error"].get("code").is_none(), "{body}");
        (self.status, body["error"]["type"].as_str().unwrap_or_default().to_string())
    }
}

/// A connection to the router.
pub(crate) struct Client {
    socket: TcpStream,
    unread: Vec<u8>,
    over: bool,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("connect to the router");
        socket.set_nodelay(true).expect("nodelay");
        socket.set_read_timeout(Some(WAIT)).expect("read timeout");
        Self { socket, unread: Vec::new(), over: false }
    }

    /// Sends bytes; false when the router has closed.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// Another handle on the connection, for sending from another thread.
    pub(crate) fn sender(&self) -> TcpStream {
        self.socket.try_clone().expect("clone")
    }

    /// Closes, by a reset if so wished.
    pub(crate) fn leave(self, reset: bool) {
        if reset {
            socket2::SockRef::from(&self.socket).set_linger(Some(std::time::Duration::ZERO)).expect("linger");
        } else {
            self.socket.shutdown(Shutdown::Both).expect("shutdown");
        }
    }

    /// Sends a request and reads the reply.
    pub(crate) fn call(&mut self, request: &Request) -> Reply {
        self.send(&request.bytes());
        self.reply(&request.method)
    }

    /// Everything that comes until `mark` has.
    pub(crate) fn until(&mut self, mark: &[u8]) -> String {
        while find(&self.unread, mark).is_none() {
            assert!(self.fill(), "closed before it");
        }
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// Reads a reply to `method`.
    pub(crate) fn reply(&mut self, method: &str) -> Reply {
        let head = self.head().expect("a reply");
        let (body, end) = self.body(&head, method, |_| false);
        Reply { status: head.status(), head, body, end }
    }

    /// Whether what comes next is an interim reply.
    pub(crate) fn interim(&mut self) -> bool {
        while Head::parse(&self.unread).is_none() && self.fill() {}
        Head::parse(&self.unread).is_some_and(|head| head.status() == 100)
    }

    /// Reads the head of a reply, interim ones skipped; `None` when the connection ends first.
    pub(crate) fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(head) = Head::parse(&self.unread) {
                self.unread.drain(..head.length);
                if head.status() >= 200 {
                    return Some(head);
                }
            } else if !self.fill() {
                return None;
            }
        }
    }

    /// Reads the body until it ends or `enough` says so; then what has come so far stays readable.
    pub(crate) fn body(&mut self, head: &Head, method: &str, enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, End) {
        loop {
            let body = head.reply_body(method, &self.unread, self.over);
            if let Some(end) = body.end {
                self.unread.drain(..end);
                return (body.data, End::Whole);
            }
            if enough(&body.data) || !self.fill() {
                return (body.data, End::Broken);
            }
        }
    }

    /// Reads a stream until it holds `text`; all of it so far.
    pub(crate) fn stream_until(&mut self, head: &Head, text: &str) -> String {
        let (data, end) = self.body(head, "POST", |data| find(data, text.as_bytes()).is_some());
        let data = String::from_utf8(data).expect("text");
        assert!(data.contains(text), "the stream ended ({end:?}) without {text:?}: {data:?}");
        data
    }

    /// Whether the router has closed the connection, without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.unread.is_empty() && !self.fill() && self.unread.is_empty()
    }

    /// Reads more; false at the end of the connection. No provider key may ever come this way.
    fn fill(&mut self) -> bool {
        let mut buf = vec![0; 64 << 10];
        let count = match self.socket.read(&mut buf) {
            Ok(count) => count,
            Err(error) if is_gone(&error) => 0,
            Err(error) => panic!("the client waited in vain: {error}; so far {:?}", String::from_utf8_lossy(&self.unread)),
        };
        self.over |= count == 0;
        let seam = self.unread.len().saturating_sub(CANARY.len());
        self.unread.extend_from_slice(&buf[..count]);
        assert!(find(&self.unread[seam..], CANARY.as_bytes()).is_none(), "a key reached the client");
        count > 0
    }
}

/// A request to be sent.
#[derive(Clone)]
pub(crate) struct Request {
    /// Its method.
    pub(crate) method: String,
    target: String,
    host: Option<String>,
    fields: Vec<u8>,
    token: bool,
    body: Vec<u8>,
    framed: bool,
}

impl Request {
    /// A request with the client token.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_string(), target.to_string());
        Self { method, target, host: None, fields: Vec::new(), token: true, body: Vec::new(), framed: false }
    }

    /// A GET.
    pub(crate) fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST of JSON.
    pub(crate) fn post(target: &str, json: &str) -> Self {
        Self::new("POST", target).field("Content-Type", "application/json").body(json)
    }

    /// A chat completion of gpt-4o.
    pub(crate) fn chat() -> Self {
        Self::post("/v1/chat/completions", r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#)
    }

    /// The same as a stream, with its usage: nothing of it is edited.
    pub(crate) fn chat_stream() -> Self {
        let body =
            r#"{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}"#;
        Self::post("/v1/chat/completions", body)
    }

    /// A message to claude as a stream.
    pub(crate) fn messages_stream() -> Self {
        let body = r#"{"model":"claude-sonnet-4-20250514","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
        Self::post("/v1/messages", body).field("anthropic-version", "2023-06-01")
    }

    /// Adds a field.
    pub(crate) fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for part in [name.as_bytes(), b": ", value.as_ref(), b"\r\n"] {
            self.fields.extend_from_slice(part);
        }
        self
    }

    /// Leaves the client token out.
    pub(crate) fn without_token(mut self) -> Self {
        self.token = false;
        self
    }

    /// Another `Host`.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_string());
        self
    }

    /// A body with its length.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = self.body.len().to_string();
        self.field("Content-Length", length).framed()
    }

    /// A chunked body, a chunk a part.
    pub(crate) fn chunked(mut self, parts: &[&[u8]]) -> Self {
        self.body = super::framing::chunked(parts);
        self.field("Transfer-Encoding", "chunked").framed()
    }

    fn framed(mut self) -> Self {
        assert!(!self.framed, "one framing only");
        self.framed = true;
        self
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let host = self.host.as_deref().unwrap_or("127.0.0.1");
        let token = if self.token { format!("Authorization: Bearer {TOKEN}\r\n") } else { String::new() };
        let start = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n{token}", self.method, self.target);
        [start.as_bytes(), &self.fields, b"\r\n", &self.body].concat()
    }
}
