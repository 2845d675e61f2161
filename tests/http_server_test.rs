//! The HTTP server on loopback, spoken to with raw bytes: what it takes, what it refuses, and how connections end.
//!
//! No test sleeps for ordering: a service that must be waited for says on a channel where it is.

#![cfg(feature = "enabled")]

use iron_runtime::call::Inbound;
use iron_runtime::http::{Body, Responder, Server, ServerLimits, Service, Violation};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

/// No test gets near it; one that hangs ends with an error instead.
const PATIENCE: Duration = Duration::from_secs(3);

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

#[test]
fn requests_follow_each_other_on_one_connection() {
    let house = House::new(limits(), echo);
    let mut client = connect(house.address());
    for (request, reply) in [
        ("GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a "),
        ("POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", "POST /b hello"),
        ("POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST /c abc"),
        ("\r\nGET /d HTTP/1.1\r\nHost: h\r\n\r\n", "GET /d "),
    ] {
        client.write_all(request.as_bytes()).unwrap();
        assert!(read_until(&mut client, reply).contains(&format!("Content-Length: {}\r\n", reply.len())), "{request}");
    }
    assert_eq!((house.calls(), house.server.connections()), (4, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let house = House::new(limits(), echo);
    let mut requests: String = (0..200).map(|n| format!("POST /{n} HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n{n:03}")).collect();
    requests.push_str("GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let replies = talk(house.address(), requests.as_bytes());
    let bodies: Vec<&str> = replies.split("\r\n\r\n").skip(1).map(|part| part.split("HTTP/1.1").next().unwrap()).collect();
    let expected: Vec<String> = (0..200).map(|n| format!("POST /{n} {n:03}")).chain(["GET /end ".into()]).collect();
    assert_eq!(bodies, expected);
}

#[test]
fn stop_leaves_no_connection() {
    let house = House::new(limits(), echo);
    let mut client = connect(house.address());
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    read_until(&mut client, "GET / ");
    let report = house.server.stop(PATIENCE);
    assert_eq!((report.drained, report.cut, house.server.connections()), (0, 0, 0));
    assert_eq!(read_to_close(&mut client), "");
    assert!(TcpStream::connect(house.address()).is_err());
    assert_eq!(house.server.stop(PATIENCE).cut, 0);
}

/// Every case of the table: the status, one reply, the connection closed, the service called or not, the server alive.
#[test]
fn malformed_requests() {
    let cases: Vec<Case> = include_str!("data/malformed_requests.txt").lines().filter_map(Case::parse).collect();
    let house = House::new(limits(), echo);
    let failures: Vec<String> = cases.iter().filter_map(|case| check(&house, case).map(|why| format!("{}: {why}", case.name))).collect();
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(cases.len() >= 136, "{} cases", cases.len());
}

/// What is wrong with the answer to a case, if anything.
fn check(house: &House, case: &Case) -> Option<String> {
    let before = house.calls();
    let mut client = connect(house.address());
    client.write_all(&case.bytes).unwrap();
    if case.half_close {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let mut reply = Vec::new();
    let ended = client.read_to_end(&mut reply);
    let (reply, calls) = (String::from_utf8_lossy(&reply), house.calls() - before);
    let right = ended.is_ok()
        && reply.starts_with(&format!("HTTP/1.1 {} ", case.status))
        && reply.matches("HTTP/1.1 ").count() == 1
        && reply.contains("\r\nConnection: close\r\n")
        && calls == usize::from(case.seen != "no")
        && reply.ends_with("bad body") == (case.seen == "body")
        && house.alive();
    (!right).then(|| format!("{ended:?}, {calls} calls, {reply:?}"))
}

/// One line of the table.
struct Case {
    status: u16,
    seen: String,
    half_close: bool,
    name: String,
    bytes: Vec<u8>,
}

impl Case {
    fn parse(line: &str) -> Option<Self> {
        let line = Some(line).filter(|line| !line.is_empty() && !line.starts_with('#'))?;
        let (status, rest) = line.split_once(' ')?;
        let (seen, rest) = rest.trim_start().split_once(' ')?;
        let (name, text) = rest.trim_start().split_once(' ')?;
        let (seen, half_close) = seen.strip_suffix("+eof").map_or((seen, false), |seen| (seen, true));
        let bytes = unescape(&expand(text.trim_start()));
        Some(Self { status: status.parse().unwrap(), seen: seen.into(), half_close, name: name.into(), bytes })
    }
}

/// Replaces `{get}`, `{3*abc}` and the like; any other brace stands for itself.
fn expand(text: &str) -> String {
    let Some(open) = text.find('{') else { return text.into() };
    let (before, rest) = (&text[..open], &text[open + 1..]);
    let replaced = matching_brace(rest).and_then(|close| Some((replacement(&rest[..close])?, &rest[close + 1..])));
    match replaced {
        Some((value, after)) => format!("{before}{value}{}", expand(after)),
        None => format!("{before}{{{}", expand(rest)),
    }
}

fn matching_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    text.char_indices()
        .find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth < 0
        })
        .map(|(at, _)| at)
}

fn replacement(name: &str) -> Option<String> {
    let post = "POST / HTTP/1.1\\r\\nHost: h\\r\\n";
    match name {
        "get" => Some("GET / HTTP/1.1\\r\\nHost: h\\r\\n".into()),
        "post" => Some(post.into()),
        "chunked" => Some(format!("{post}Transfer-Encoding: chunked\\r\\n\\r\\n")),
        "end" => Some("\\r\\n\\r\\n".into()),
        _ => {
            let (count, text) = name.split_once('*')?;
            Some(expand(text).repeat(count.parse().ok()?))
        }
    }
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        (rest, _) = match (first, after) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                (after, bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()))
            }
            (b'\\', [escape, after @ ..]) => {
                let byte = match escape {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    other => *other,
                };
                (after, bytes.push(byte))
            }
            _ => (after, bytes.push(*first)),
        };
    }
    bytes
}
