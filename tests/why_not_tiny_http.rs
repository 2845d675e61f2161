//! Why the default listener is our own: each fault is shown on bare `tiny_http` 0.12.0, and the same probe then passes on our server.
//!
//! Run with `cargo test --features tiny_http --test why_not_tiny_http`. Where a fault is that nothing comes, a read that gives up after
//! [`SILENCE`] stands for it. The last test shows that the adapter still serves what can be served.

use iron_runtime::call::Inbound;
use iron_runtime::http::{Body, Framing, Responder, Server, ServerLimits, Service, TinyServer, Violation};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Much longer than any answer takes.
const SILENCE: Duration = Duration::from_secs(2);

/// Tells a copy of this program which server to let the huge length loose on.
const CHILD: &str = "IRON_WHY_NOT_CHILD";

/// Says 413 to a POST without reading its body, breaks off the reply to `/cut`, answers `ok` else.
struct Plain;

impl Service for Plain {
    fn serve(&self, request: &Inbound<'_>, body: &mut Body<'_>, reply: Responder<'_>) {
        let none: [(&str, &[u8]); 0] = [];
        let mut text = Vec::new();
        let _ = match (request.method, request.target) {
            ("POST", "/echo") => body.read_all(1 << 20, &mut text).map_or(Ok(()), |()| reply.send(200, none, &text)),
            ("POST", _) => reply.send(413, none, b"too large"),
            (_, "/cut") => reply.start(200, none, Framing::Chunked).write(b"part"),
            _ => reply.send(200, none, b"ok"),
        };
    }

    fn violation_body(&self, violation: Violation, _partial_head: &[u8]) -> Vec<u8> {
        violation.code.into()
    }
}

fn limits() -> ServerLimits {
    let patience = Duration::from_secs(30);
    ServerLimits {
        max_connections: 64,
        max_header_bytes: 64 << 10,
        max_headers: 100,
        max_target_bytes: 16 << 10,
        header_timeout: patience,
        body_timeout: patience,
        keep_alive: patience,
        write_timeout: patience,
    }
}

fn ours() -> Server {
    Server::start(Server::listen("127.0.0.1", 0).unwrap(), limits(), Arc::new(Plain)).unwrap()
}

/// `tiny_http` as its documentation shows it: a loop that answers one request after the other. Never stopped: it ends with the process.
fn bare() -> SocketAddr {
    let server = tiny_http::Server::http("127.0.0.1:0").unwrap();
    let address = server.server_addr().to_ip().unwrap();
    std::thread::spawn(move || {
        for request in server.incoming_requests() {
            let _ = match (request.method(), request.url()) {
                (tiny_http::Method::Post, _) => request.respond(tiny_http::Response::from_string("too large").with_status_code(413)),
                (_, "/cut") => {
                    let status = tiny_http::StatusCode(200);
                    request.respond(tiny_http::Response::new(status, Vec::new(), BreaksOff(b"part"), None, None))
                }
                _ => request.respond(tiny_http::Response::from_string("ok")),
            };
        }
    });
    address
}

/// Gives its bytes, then fails.
struct BreaksOff(&'static [u8]);

impl Read for BreaksOff {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.0.is_empty() { Err(ErrorKind::ConnectionReset.into()) } else { self.0.read(buf) }
    }
}

fn send(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(SILENCE)).unwrap();
    let _ = client.write_all(bytes);
    client
}

/// What comes until the connection ends (`true`) or falls silent.
fn hear(client: &mut TcpStream) -> (String, bool) {
    let mut bytes = Vec::new();
    let ended = client.read_to_end(&mut bytes).is_ok();
    (String::from_utf8_lossy(&bytes).into_owned(), ended)
}

fn answers(address: SocketAddr) -> bool {
    hear(&mut send(address, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")).0.ends_with("ok")
}

/// How a copy of this program ended in which one POST of a huge length was refused unread and another request sent.
fn child_ends(server: &str) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child_with_a_huge_length"]).env(CHILD, server);
    child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

/// Only at work in the child of the next test.
#[test]
fn child_with_a_huge_length() {
    let Ok(which) = std::env::var(CHILD) else { return };
    let server = ours();
    let address = if which == "bare" { bare() } else { server.address() };
    let mut client = send(address, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999\r\n\r\n");
    assert!(client.read(&mut [0; 12]).unwrap() > 0);
    drop(client);
    assert!(answers(address));
}

/// What is left of an unread body is skipped through a buffer of that size, which no machine has: the process aborts.
#[test]
fn one_request_ends_the_process() {
    let bare = child_ends("bare");
    #[cfg(unix)]
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&bare), Some(6), "SIGABRT expected: {bare}");
    assert!(!bare.success());
    assert!(child_ends("ours").success());
}

/// Sixteen clients connect, ask once and keep their connection; how many are answered.
fn answered_of_sixteen(address: SocketAddr) -> usize {
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let begin = |_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address.into());
        socket
    };
    let clients: Vec<Socket> = (0..16).map(begin).collect();
    for client in &clients {
        client.set_nonblocking(false).unwrap();
        client.set_read_timeout(Some(SILENCE / 8)).unwrap();
        client.send(request).unwrap();
    }
    clients.iter().filter(|client| (&mut &**client).read(&mut [0; 12]).is_ok_and(|count| count > 0)).count()
}

/// It counts its idle threads before they have taken what was queued for them, so of a burst of connections often only those four threads'
/// are served, and the others wait for them to end. A race: about three bursts in four lose somebody.
#[test]
fn clients_that_keep_their_connection_starve_the_others() {
    let starved = (0..50).any(|_| {
        let address = bare();
        // Its threads are up and idle.
        assert!(answers(address));
        answered_of_sixteen(address) < 16
    });
    assert!(starved);
    let server = ours();
    for _ in 0..5 {
        assert_eq!(answered_of_sixteen(server.address()), 16);
    }
}

#[test]
fn a_request_line_of_http_2_hangs() {
    let probe = b"GET / HTTP/2.0\r\nHost: h\r\n\r\n";
    assert_eq!(hear(&mut send(bare(), probe)), (String::new(), false));
    let (reply, ended) = hear(&mut send(ours().address(), probe));
    assert!(reply.starts_with("HTTP/1.1 505 ") && ended, "{reply}");
}

#[test]
fn a_head_has_no_limit() {
    let probe = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(4 << 20));
    assert!(hear(&mut send(bare(), probe.as_bytes())).0.ends_with("ok"));
    let (reply, ended) = hear(&mut send(ours().address(), probe.as_bytes()));
    assert!(reply.starts_with("HTTP/1.1 431 ") && ended, "{reply}");
}

/// A chunked body that its service did not read is taken for what comes next on the connection, so that a client of somebody else's who
/// may choose a body (here: one chunk with an extension) can send requests in his name.
#[test]
fn an_unread_chunked_body_becomes_a_request() {
    let probe = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n8;x /smuggled HTTP/1.1\r\nX: y\r\n\r\n\r\n0\r\n\r\n";
    let (replies, _) = hear(&mut send(bare(), probe));
    assert!(replies.contains("too large") && replies.contains("HTTP/1.1 200 OK"), "{replies}");
    let (reply, ended) = hear(&mut send(ours().address(), probe));
    assert!(reply.ends_with("too large") && ended, "{reply}");
}

#[test]
fn two_lengths_are_taken_for_one_message() {
    let probe = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(hear(&mut send(bare(), probe)).0.starts_with("HTTP/1.1 413 "));
    assert!(hear(&mut send(ours().address(), probe)).0.starts_with("HTTP/1.1 400 "));
}

/// Worse than a client left hanging: a body whose source failed gets the final chunk all the same, so half a reply looks whole. Written
/// past its own framing, as the adapter does, the client is left hanging instead, because a connection can't be closed.
#[test]
fn a_reply_that_broke_off_ends_as_if_it_were_whole() {
    let probe = b"GET /cut HTTP/1.1\r\nHost: h\r\n\r\n";
    let (reply, ended) = hear(&mut send(bare(), probe));
    assert!(reply.ends_with("4\r\npart\r\n0\r\n\r\n") && !ended, "{reply}");
    let adapter = TinyServer::start(Server::listen("127.0.0.1", 0).unwrap(), limits(), Arc::new(Plain)).unwrap();
    let (reply, ended) = hear(&mut send(adapter.address(), probe));
    assert!(reply.ends_with("4\r\npart\r\n") && !ended, "{reply}");
    let (reply, ended) = hear(&mut send(ours().address(), probe));
    assert!(reply.ends_with("4\r\npart\r\n") && ended, "{reply}");
}

#[test]
fn the_adapter_serves_the_same_service() {
    let server = TinyServer::start(Server::listen("127.0.0.1", 0).unwrap(), limits(), Arc::new(Plain)).unwrap();
    assert!(answers(server.address()));
    for (probe, end) in [
        ("POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("POST /echo HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hello"),
        ("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "Content-Length: 2\r\nConnection: close\r\n\r\n"),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "missing_host"),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "ambiguous_length"),
    ] {
        let reply = hear(&mut send(server.address(), probe.as_bytes())).0;
        assert!(reply.contains(end), "{probe:?}: {reply}");
    }
    server.stop();
    server.stop();
}
