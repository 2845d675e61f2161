//! The HTTP server on loopback, spoken to with raw bytes: what it takes, what it refuses, and how connections end.
//!
//! No test sleeps for ordering: a service that must be waited for says on a channel where it is.

#![cfg(feature = "enabled")]

#[path = "http_server/ending.rs"]
mod ending;
#[path = "http_server/exchange.rs"]
mod exchange;
#[path = "http_server/malformed.rs"]
mod malformed;

use iron_runtime::call::Inbound;
use iron_runtime::http::{Body, Framing, Responder, Server, ServerLimits, Service, Violation};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// No test gets near it; one that hangs ends with an error instead.
const PATIENCE: Duration = Duration::from_secs(30);

const NO_FIELDS: [(&str, &[u8]); 0] = [];

fn limits() -> ServerLimits {
    ServerLimits {
        max_connections: 64,
        max_header_bytes: 8 << 10,
        max_headers: 32,
        max_target_bytes: 2 << 10,
        header_timeout: PATIENCE,
        body_timeout: PATIENCE,
        keep_alive: PATIENCE,
        write_timeout: PATIENCE,
    }
}

type Answer = dyn Fn(&Inbound<'_>, &mut Body<'_>, Responder<'_>) + Send + Sync;

/// Answers by a closure and counts.
struct Scripted {
    answer: Box<Answer>,
    calls: AtomicUsize,
}

impl Service for Scripted {
    fn serve(&self, request: &Inbound<'_>, body: &mut Body<'_>, reply: Responder<'_>) {
        self.calls.fetch_add(1, SeqCst);
        (self.answer)(request, body, reply);
    }

    fn violation_body(&self, violation: Violation, _partial_head: &[u8]) -> Vec<u8> {
        format!("{{\"code\":\"{}\"}}", violation.code).into_bytes()
    }
}

struct House {
    server: Arc<Server>,
    service: Arc<Scripted>,
}

impl House {
    fn new(limits: ServerLimits, answer: impl Fn(&Inbound<'_>, &mut Body<'_>, Responder<'_>) + Send + Sync + 'static) -> Self {
        let service = Arc::new(Scripted { answer: Box::new(answer), calls: AtomicUsize::new(0) });
        let listener = Server::listen("127.0.0.1", 0).unwrap();
        let server = Arc::new(Server::start(listener, limits, Arc::<Scripted>::clone(&service)).unwrap());
        Self { server, service }
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn calls(&self) -> usize {
        self.service.calls.load(SeqCst)
    }

    /// Whether it still answers a plain request on a new connection.
    fn alive(&self) -> bool {
        talk(self.address(), b"GET /alive HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").starts_with("HTTP/1.1 200 ")
    }
}

/// Replies with the method, the target and the body; 400 when the body can't be read.
fn echo(request: &Inbound<'_>, body: &mut Body<'_>, reply: Responder<'_>) {
    let mut text = format!("{} {} ", request.method, request.target).into_bytes();
    let _ = match body.read_all(1 << 20, &mut text) {
        Ok(()) => reply.send(200, NO_FIELDS, &text),
        Err(_) => reply.send(400, NO_FIELDS, b"bad body"),
    };
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Sends bytes on a new connection and reads to the end of it.
fn talk(address: SocketAddr, bytes: &[u8]) -> String {
    let mut client = connect(address);
    client.write_all(bytes).unwrap();
    read_to_close(&mut client)
}

fn read_to_close(client: &mut TcpStream) -> String {
    let mut reply = Vec::new();
    client.read_to_end(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

/// Reads until what was read ends in `end`.
fn read_until(client: &mut TcpStream, end: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(end.as_bytes()) {
        assert_eq!(client.read(&mut byte).unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// Sends `byte` again and again, each time a little later, until the server answers; what it says to the end.
fn trickle(client: &mut TcpStream, byte: &[u8]) -> String {
    client.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let mut reply = Vec::new();
    while reply.is_empty() {
        let mut first = [0];
        match client.read(&mut first) {
            Ok(count) => reply.extend_from_slice(&first[..count]),
            Err(_) => client.write_all(byte).unwrap(),
        }
    }
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.read_to_end(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}
