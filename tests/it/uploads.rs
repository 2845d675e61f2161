//! Request bodies: limits, streams that are sent once only, replies that come early.

use super::client::{Client, Reply, Request};
use super::rig::{self, Router, TOKEN};
use super::upstream::{Upstream, json, reply};
use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

fn multipart(length: usize) -> Request {
    Request::new("POST", "/v1/files").field("content-type", "multipart/form-data; boundary=x").body("u".repeat(length))
}

#[test]
fn json_bodies_have_a_limit() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::both(&upstream, &upstream);
    config.limits.max_body_bytes = 1000;
    let router = Router::start(config);
    let body = |length: usize| format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", "y".repeat(length - 25));
    assert_eq!(router.call(&Request::post("/v1/chat/completions", &body(1000))).status, 200);
    let too_large = router.call(&Request::post("/v1/chat/completions", &body(1001)));
    assert_eq!(too_large.error(), (413, "request_too_large".into()));
    assert!(too_large.text().contains("max-body-bytes"), "{}", too_large.text());
    let in_chunks = Request::new("POST", "/v1/chat/completions").field("content-type", "application/json");
    let text = body(1001);
    assert_eq!(router.call(&in_chunks.chunked(&text.as_bytes().chunks(100).collect::<Vec<_>>())).status, 413);
    let message = router.call(&Request::post("/v1/messages", &body(1001)));
    assert_eq!(message.anthropic_error(), (413, "request_too_large".into()));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn a_refused_body_is_still_answered_while_it_is_sent() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::openai(&upstream);
    config.limits.max_body_bytes = 1000;
    let router = Router::start(config);
    let request = Request::post("/v1/chat/completions", &"x".repeat(8 << 20));
    for (request, status) in [(request.clone(), 413), (request.without_token(), 401)] {
        let mut client = router.client();
        let mut sender = client.sender();
        thread::scope(|scope| {
            scope.spawn(move || sender.write_all(&request.bytes()));
            assert_eq!(client.reply("POST").status, status);
        });
    }
}

#[test]
fn many_small_bodies_of_unknown_length_are_not_many_large_ones() {
    const CALLS: usize = 24;
    let together = std::sync::Arc::new(std::sync::Barrier::new(CALLS));
    let upstream = Upstream::start(move |conn| {
        if conn.request().is_some() {
            together.wait();
            conn.send(&json("{}"));
        }
    });
    let router = Router::openai(&upstream);
    let request = Request::new("POST", "/v1/chat/completions").field("content-type", "application/json");
    let request = request.chunked(&[br#"{"model":"gpt-4o"}"#]);
    thread::scope(|scope| {
        let calls: Vec<_> = (0..CALLS).map(|_| scope.spawn(|| router.call(&request).status)).collect();
        let statuses: Vec<_> = calls.into_iter().map(|call| call.join().expect("call")).collect();
        assert_eq!(statuses, [200; CALLS]);
    });
}

/// Bytes that come now and then, each in time, do not hold a body for ever, whichever way it is framed.
#[test]
fn a_trickled_body_ends_by_its_total_time() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::openai(&upstream);
    config.timeouts.body = Duration::from_millis(40);
    let router = Router::start(config);
    for (framing, piece) in [("Content-Length: 100000", &b"x"[..]), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")] {
        let mut client = router.client();
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n{framing}\r\n\r\n");
        client.send(head.as_bytes());
        assert_eq!(trickle(&mut client, piece).error(), (408, "request_timeout".into()), "{framing}");
    }
    assert!(upstream.requests().is_empty());
}

/// Sends `piece` again and again until the reply comes.
fn trickle(client: &mut Client, piece: &[u8]) -> Reply {
    let (answered, answer) = channel::<()>();
    let mut sender = client.sender();
    thread::scope(move |scope| {
        scope.spawn(move || {
            while answer.recv_timeout(Duration::from_millis(10)) == Err(RecvTimeoutError::Timeout) {
                let _ = sender.write_all(piece);
            }
        });
        let reply = client.reply("POST");
        drop(answered);
        reply
    })
}

/// The connection's memory serves one body after another; only the body's own bytes go on.
#[test]
fn no_body_shows_in_the_next() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    let mut client = router.client();
    let body = |letter: &str, length: usize| format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", letter.repeat(length));
    let bodies = [("a", 100_000), ("b", 10), ("c", 300_000), ("d", 20_000), ("e", 90_000)].map(|(letter, length)| body(letter, length));
    for body in &bodies {
        assert_eq!(client.call(&Request::post("/v1/chat/completions", body)).status, 200);
        let in_chunks = Request::new("POST", "/v1/chat/completions").field("content-type", "application/json");
        let chunks: Vec<_> = body.as_bytes().chunks(5000).take(3).collect();
        assert_eq!(client.call(&in_chunks.chunked(&chunks)).status, 200);
    }
    let sent = bodies.iter().flat_map(|body| [body.as_bytes(), &body.as_bytes()[..body.len().min(15_000)]]);
    assert_eq!(upstream.requests().len(), 2 * bodies.len());
    for (request, body) in upstream.requests().iter().zip(sent) {
        assert!(request.body == body, "{} bytes came, {} were sent", request.body.len(), body.len());
    }
}

#[test]
fn a_huge_announced_length_costs_nothing() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    for content_type in ["application/json", "application/octet-stream"] {
        let mut client = router.client();
        let request = Request::new("POST", "/v1/files").field("content-type", content_type).field("content-length", "99999999999");
        assert_eq!(client.call(&request).error(), (413, "request_too_large".into()));
    }
    assert_eq!(router.call(&Request::chat()).status, 200, "alive");
}

#[test]
fn uploads_have_a_limit_of_their_own() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::openai(&upstream);
    (config.limits.max_body_bytes, config.limits.max_upload_bytes) = (1000, 100_000);
    let router = Router::start(config);
    assert_eq!(router.call(&multipart(100_000)).status, 200);
    assert_eq!(router.call(&multipart(100_001)).error(), (413, "request_too_large".into()));
    let part = "u".repeat(10_000);
    let parts = vec![part.as_bytes(); 11];
    let in_chunks = Request::new("POST", "/v1/files").field("content-type", "application/octet-stream").chunked(&parts);
    assert_eq!(router.call(&in_chunks).error(), (413, "request_too_large".into()));
    assert_eq!(upstream.requests().len(), 1, "what was cut off never looks like a whole request");
}

#[test]
fn all_buffered_bodies_together_have_a_limit() {
    let (go, next) = channel::<()>();
    let next = std::sync::Mutex::new(next);
    let upstream = Upstream::start(move |conn| {
        while conn.request().is_some() {
            let _ = next.lock().map(|next| next.recv());
            conn.send(&json("{}"));
        }
    });
    let mut config = rig::openai(&upstream);
    config.limits.max_buffered_bytes = 1000;
    let router = Router::start(config);
    let request = Request::post("/v1/chat/completions", &format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", "y".repeat(600)));
    let mut first = router.client();
    first.send(&request.bytes());
    upstream.wait("the first is there", |log| log.requests.len() == 1);
    let refused = router.call(&request);
    assert_eq!((refused.status, refused.head.get("retry-after").is_some()), (503, true), "{}", refused.text());
    go.send(()).expect("upstream");
    assert_eq!(first.reply("POST").status, 200);
    go.send(()).expect("upstream");
    router.wait_stats(|totals| totals.in_flight == 0);
    assert_eq!(first.call(&request).status, 200, "room again");
}

#[test]
fn an_upload_is_streamed() {
    let (got, next) = channel::<()>();
    let got = std::sync::Mutex::new(got);
    let upstream = Upstream::start(move |conn| {
        conn.head();
        conn.until(b"first part");
        let _ = got.lock().map(|got| got.send(()));
        conn.until(b"second part");
        conn.send(&json("{}"));
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    let request = Request::new("POST", "/v1/files").field("content-type", "audio/wav").field("content-length", "21");
    client.send(&[&request.bytes()[..], b"first part"].concat());
    next.recv_timeout(super::WAIT).expect("the first part arrives before the second is sent");
    client.send(b"second part");
    assert_eq!(client.reply("POST").status, 200);
}

#[test]
fn an_upload_is_never_sent_twice() {
    let upstream = Upstream::start(|conn| {
        if conn.request().is_some() {
            conn.send(&json("{}"));
        }
        conn.request();
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    assert_eq!(client.call(&Request::chat()).status, 200);
    assert_eq!(client.call(&multipart(50_000)).error(), (502, "upstream_reset".into()));
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn a_client_that_leaves_inside_its_upload_sends_no_whole_request() {
    let (left, rest) = channel();
    let left = std::sync::Mutex::new(left);
    let upstream = Upstream::start(move |conn| {
        conn.head();
        conn.until(b"uuu");
        let _ = left.lock().map(|left| left.send(conn.rest()));
    });
    let router = Router::openai(&upstream);
    for framing in ["content-length: 1000\r\n\r\nuuu", "transfer-encoding: chunked\r\n\r\n3\r\nuuu\r\n"] {
        let before = upstream.requests().len();
        let mut client = router.client();
        let head = String::from_utf8(Request::new("POST", "/v1/files").field("content-type", "audio/wav").bytes()).expect("text");
        client.send(format!("{}{framing}", head.trim_end_matches("\r\n").to_string() + "\r\n").as_bytes());
        upstream.wait("the head is there", |log| log.requests.len() > before);
        client.leave(false);
        let rest: Vec<u8> = rest.recv_timeout(super::WAIT).expect("the provider sees the end");
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&rest));
    }
    router.wait_stats(|totals| totals.in_flight == 0);
}

#[test]
fn an_early_reply_reaches_a_client_that_still_uploads() {
    let upstream = Upstream::start(|conn| {
        conn.head();
        conn.send(&reply(413, "content-type: application/json\r\nconnection: close\r\n", r#"{"error":"too big for me"}"#));
        conn.eof();
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    let length = 64 << 20;
    let request = Request::new("POST", "/v1/files").field("content-type", "audio/wav").field("content-length", length.to_string());
    client.send(&request.bytes());
    let mut sender = client.sender();
    thread::scope(|scope| {
        let uploading = scope.spawn(move || {
            let part = vec![b'u'; 1 << 16];
            (0..length >> 16).all(|_| sender.write_all(&part).is_ok())
        });
        let reply = client.reply("POST");
        assert_eq!((reply.status, reply.text().as_str()), (413, r#"{"error":"too big for me"}"#));
        client.leave(false);
        let _ = uploading.join();
    });
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let upstream = Upstream::saying(json("{}"));
    let router = Router::openai(&upstream);
    for content_type in ["application/json", "audio/wav"] {
        let mut client = router.client();
        let request = Request::new("POST", "/v1/chat/completions").field("content-type", content_type);
        client.send(&request.field("content-length", "18").field("expect", "100-continue").bytes());
        assert!(client.interim(), "100 Continue");
        client.send(br#"{"model":"gpt-4o"}"#);
        assert_eq!(client.reply("POST").status, 200, "{content_type}");
        assert!(upstream.requests().pop().expect("request").head.get("expect").is_none());
    }
}

#[test]
fn a_refusal_is_told_when_the_provider_takes_no_more() {
    let (told, over) = channel::<()>();
    let over = std::sync::Mutex::new(over);
    let upstream = Upstream::start(move |conn| {
        conn.head();
        conn.send(&reply(413, "", "too much"));
        // Neither read nor closed before the client has its answer.
        let _ = over.lock().expect("channel").recv();
    });
    let mut config = rig::openai(&upstream);
    config.timeouts.write = std::time::Duration::from_millis(300);
    let router = Router::start(config);
    let mut client = router.client();
    let mut sender = client.sender();
    let upload = Request::new("POST", "/v1/files").field("content-type", "audio/wav").body(vec![b'x'; 32 << 20]);
    let sending = thread::spawn(move || sender.write_all(&upload.bytes()));
    let got = client.reply("POST");
    assert_eq!((got.status, got.text().as_str()), (413, "too much"));
    drop(told);
    // Whether the rest of the upload was still taken does not matter.
    let _ = sending.join().expect("sender");
}
