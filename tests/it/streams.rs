//! Streams while they are under way: flushed, kept alive, many at once, left by their clients.

use super::WAIT;
use super::client::{Client, End, Request};
use super::framing::{chunk, chunked};
use super::rig::{self, Router};
use super::upstream::{Upstream, chunked_head, json, sse_head};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

/// A receiver that scripts may share.
fn gate<T>(receiver: Receiver<T>) -> impl Fn() -> Option<T> {
    let receiver = Mutex::new(receiver);
    move || receiver.lock().expect("gate").recv_timeout(WAIT).ok()
}

#[test]
fn each_event_arrives_before_the_next_is_sent() {
    let (got, next) = channel::<()>();
    let next = gate(next);
    let upstream = Upstream::start(move |conn| {
        conn.request();
        conn.send(&sse_head());
        for n in 0..20 {
            conn.send(&chunk(format!("data: {n}\n\n").as_bytes()));
            next();
        }
        conn.send(b"0\r\n\r\n");
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    client.send(&Request::chat_stream().bytes());
    let head = client.head().expect("head");
    for n in 0..20 {
        client.stream_until(&head, &format!("data: {n}\n\n"));
        got.send(()).expect("upstream waits");
    }
    assert_eq!(client.body(&head, "POST", |_| false).1, End::Whole);
}

#[test]
fn parts_of_events_are_not_held_back() {
    let (got, next) = channel::<()>();
    let next = gate(next);
    let upstream = Upstream::start(move |conn| {
        conn.request();
        conn.send(&sse_head());
        for part in ["data: {\"a", "b\":", "1}\n", "\n"] {
            conn.send(&chunk(part.as_bytes()));
            next();
        }
        conn.send(b"0\r\n\r\n");
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    client.send(&Request::chat_stream().bytes());
    let head = client.head().expect("head");
    for so_far in ["data: {\"a", "data: {\"ab\":", "data: {\"ab\":1}\n", "data: {\"ab\":1}\n\n"] {
        client.stream_until(&head, so_far);
        got.send(()).expect("upstream waits");
    }
    assert_eq!(client.body(&head, "POST", |_| false).1, End::Whole);
}

#[test]
fn the_head_does_not_wait_for_the_first_event() {
    let (got, next) = channel::<()>();
    let next = gate(next);
    let upstream = Upstream::start(move |conn| {
        conn.request();
        conn.send(&sse_head());
        next();
        conn.send(&chunked(&[b"data: 1\n\n"]));
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    client.send(&Request::chat_stream().bytes());
    let head = client.head().expect("head");
    got.send(()).expect("upstream waits");
    assert_eq!(client.body(&head, "POST", |_| false), (b"data: 1\n\n".to_vec(), End::Whole));
}

#[test]
fn thirty_two_streams_at_once() {
    const STREAMS: usize = 32;
    let together = Arc::new(Barrier::new(STREAMS));
    let upstream = Upstream::start(move |conn| {
        let Some(request) = conn.request() else { return };
        let name = request.head.get("x-name").expect("name");
        conn.send(&[sse_head(), chunk(format!("data: {name} first\n\n").as_bytes())].concat());
        together.wait();
        for n in 0..50 {
            conn.send(&chunk(format!("data: {name} {n}\n\n").as_bytes()));
        }
        conn.send(b"0\r\n\r\n");
    });
    let router = Router::openai(&upstream);
    thread::scope(|scope| {
        for name in 0..STREAMS {
            let router = &router;
            scope.spawn(move || {
                let reply = router.call(&Request::chat_stream().field("x-name", name.to_string()));
                let rest: String = (0..50).map(|n| format!("data: {name} {n}\n\n")).collect();
                assert_eq!((reply.end, reply.text()), (End::Whole, format!("data: {name} first\n\n{rest}")));
            });
        }
    });
    assert_eq!(router.settled(STREAMS as u64), (STREAMS as u64, 0, 0));
}

/// Reads a silent stream until `count` more comments have come; a clock that needs no clock.
fn comments(client: &mut Client, head: &super::framing::Head, count: usize) -> String {
    let lines = |data: &[u8]| String::from_utf8_lossy(data).lines().filter(|line| line.starts_with(':')).count();
    let (data, end) = client.body(head, "POST", |data| lines(data) >= count);
    assert_eq!((end, lines(&data) >= count), (End::Broken, true), "{:?}", String::from_utf8_lossy(&data));
    String::from_utf8(data).expect("text")
}

fn short_keepalive(upstream: &Upstream) -> Router {
    let mut config = rig::openai(upstream);
    config.timeouts.keepalive = Duration::from_millis(30);
    Router::start(config)
}

/// Starts a stream and reads its head.
fn opened(router: &Router, request: &Request) -> (Client, super::framing::Head) {
    let mut client = router.client();
    client.send(&request.bytes());
    let head = client.head().expect("head");
    (client, head)
}

#[test]
fn a_silent_stream_gets_comments_between_events_only() {
    let (go, next) = channel::<()>();
    let next = gate(next);
    let upstream = Upstream::start(move |conn| {
        let Some(request) = conn.request() else { return };
        conn.send(&[sse_head(), chunk(b"data: {\"n\":1}\n\n")].concat());
        if request.head.get("x-role").is_some_and(|role| role == "clock") {
            return conn.eof();
        }
        next();
        conn.send(&chunk(b"data: {\"n\""));
        next();
        conn.send(&chunked(&[b":2}\r\n\r\ndata: [DONE]\n\n"]));
    });
    let router = short_keepalive(&upstream);
    let (mut clock, clock_head) = opened(&router, &Request::chat_stream().field("x-role", "clock"));
    let (mut client, head) = opened(&router, &Request::chat_stream());
    let quiet = comments(&mut client, &head, 3);
    assert!(quiet.starts_with("data: {\"n\":1}\n\n:"), "{quiet:?}");
    go.send(()).expect("upstream");
    client.stream_until(&head, "data: {\"n\"");
    let ticks = comments(&mut clock, &clock_head, 1).matches("\n\n").count();
    comments(&mut clock, &clock_head, ticks + 5);
    go.send(()).expect("upstream");
    let (data, end) = client.body(&head, "POST", |_| false);
    let text = String::from_utf8(data).expect("text");
    assert_eq!(end, End::Whole);
    assert!(text.contains("data: {\"n\":2}\r\n\r\ndata: [DONE]\n\n"), "no comment inside an event: {text:?}");
    let comments_apart: String = text.split("\n\n").filter(|event| !event.starts_with(':')).collect();
    assert!(!comments_apart.contains("\n:"), "each comment is an event of its own: {text:?}");
}

#[test]
fn what_is_no_plain_event_stream_gets_no_comments() {
    for fields in [
        "content-type: application/json\r\n",
        "content-type: text/event-stream\r\ncontent-encoding: gzip\r\n",
        "content-type: application/octet-stream\r\n",
    ] {
        let (go, next) = channel::<()>();
        let next = gate(next);
        let upstream = Upstream::start(move |conn| {
            let Some(request) = conn.request() else { return };
            if request.head.get("x-role").is_some_and(|role| role == "clock") {
                conn.send(&sse_head());
                return conn.eof();
            }
            conn.send(&[chunked_head(200, fields), chunk(b"one\n\n")].concat());
            next();
            conn.send(&chunked(&[b"two"]));
        });
        let router = short_keepalive(&upstream);
        let (mut clock, clock_head) = opened(&router, &Request::chat_stream().field("x-role", "clock"));
        let (mut client, head) = opened(&router, &Request::chat_stream());
        client.stream_until(&head, "one\n\n");
        let ticks = comments(&mut clock, &clock_head, 1).matches("\n\n").count();
        comments(&mut clock, &clock_head, ticks + 4);
        go.send(()).expect("upstream");
        let (data, end) = client.body(&head, "POST", |_| false);
        assert_eq!((String::from_utf8_lossy(&data).as_ref(), end), ("one\n\ntwo", End::Whole), "{fields}");
    }
}

#[test]
fn no_comment_comes_before_the_head() {
    let (go, next) = channel::<()>();
    let next = gate(next);
    let upstream = Upstream::start(move |conn| {
        let Some(request) = conn.request() else { return };
        if request.head.get("x-role").is_some_and(|role| role == "clock") {
            conn.send(&sse_head());
            return conn.eof();
        }
        next();
        conn.send(&super::upstream::reply(429, "content-type: application/json\r\n", "{}"));
    });
    let router = short_keepalive(&upstream);
    let mut client = router.client();
    client.send(&Request::chat_stream().bytes());
    let (mut clock, clock_head) = opened(&router, &Request::chat_stream().field("x-role", "clock"));
    comments(&mut clock, &clock_head, 4);
    go.send(()).expect("upstream");
    let reply = client.reply("POST");
    assert_eq!((reply.status, reply.text().as_str()), (429, "{}"));
}

#[test]
fn a_client_that_leaves_ends_the_call() {
    // Silent before the head, after it, and after an event.
    for start in [Vec::new(), sse_head(), [sse_head(), chunk(b"data: 1\n\n")].concat()] {
        for reset in [false, true] {
            let sent = start.clone();
            let upstream = Upstream::start(move |conn| {
                conn.request();
                conn.send(&sent);
                conn.eof();
            });
            let router = Router::openai(&upstream);
            let mut client = router.client();
            client.send(&Request::chat_stream().bytes());
            upstream.wait("the request is there", |log| log.requests.len() == 1);
            if !start.is_empty() {
                let head = client.head().expect("head");
                if start.ends_with(b"\n\n\r\n") {
                    client.stream_until(&head, "data: 1\n\n");
                }
            }
            client.leave(reset);
            upstream.wait("the provider sees the end", |log| log.closed == 1);
            let (requests, failed, _) = router.settled(1);
            assert_eq!((requests, failed), (1, 1));
        }
    }
}

#[test]
fn a_client_that_reads_nothing_and_leaves_ends_the_call() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(&sse_head());
        let event = chunk(&[b"data: ", "x".repeat(8000).as_bytes(), b"\n\n"].concat());
        while conn.send(&event) {}
        conn.eof();
    });
    let router = Router::openai(&upstream);
    let (client, _) = opened(&router, &Request::chat_stream());
    client.leave(false);
    upstream.wait("the provider sees the end", |log| log.closed == 1);
    assert_eq!(router.settled(1), (1, 1, 0));
}

#[test]
fn a_pipelined_request_is_not_a_client_that_has_left() {
    let (go, next) = channel::<()>();
    let next = gate(next);
    let upstream = Upstream::start(move |conn| {
        while conn.request().is_some() {
            next();
            conn.send(&json("{}"));
        }
    });
    let router = short_keepalive(&upstream);
    let mut client = router.client();
    client.send(&[Request::chat().bytes(), Request::chat().bytes()].concat());
    upstream.wait("the first is there", |log| log.requests.len() == 1);
    go.send(()).expect("upstream");
    go.send(()).expect("upstream");
    for _ in 0..2 {
        assert_eq!(client.reply("POST").status, 200);
    }
    assert_eq!(router.settled(2), (2, 0, 0));
}

#[test]
fn a_chunk_size_without_an_end_is_not_collected() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(&chunked_head(200, ""));
        conn.send(b"5\r\nhello\r\n");
        // Far more than any line may have: the router closes.
        let line = vec![b'1'; 1 << 20];
        let _ = (0..64).take_while(|_| conn.send(&line)).count();
        conn.eof();
    });
    let reply = Router::openai(&upstream).call(&Request::chat());
    assert_eq!((reply.text().as_str(), reply.end), ("hello", End::Broken));
    upstream.wait("the close", |log| log.closed == 1);
}
