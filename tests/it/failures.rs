//! Providers that can't be reached, break off or talk nonsense: what the client is told.

use super::client::{End, Request};
use super::rig::{self, Router};
use super::upstream::{Upstream, json, sse_head};
use std::time::Duration;

fn upstream_at(url: &str) -> iron_runtime::Config {
    let mut config = rig::bare();
    config.upstreams.push(iron_runtime::Upstream::openai(url.parse().expect("url"), rig::OPENAI_KEY.into()));
    config
}

#[test]
fn a_provider_that_is_down() {
    let router = Router::start(upstream_at("http://127.0.0.1:1"));
    let reply = router.call(&Request::chat());
    assert_eq!(reply.error(), (502, "upstream_refused".into()));
    assert_eq!(reply.json()["error"]["type"], "upstream_error");
    assert!(reply.head.get("x-should-retry").is_none(), "the SDK's own rules");
    assert_eq!(router.settled(1), (1, 1, 0));
}

#[test]
fn a_provider_that_is_down_in_anthropics_shape() {
    let mut config = rig::bare();
    config.upstreams.push(iron_runtime::Upstream::anthropic("http://127.0.0.1:1".parse().expect("url"), rig::ANTHROPIC_KEY.into()));
    let reply = Router::start(config).call(&Request::messages_stream());
    assert_eq!(reply.anthropic_error(), (502, "api_error".into()));
}

#[test]
fn a_provider_whose_name_does_not_resolve() {
    let router = Router::start(upstream_at("http://no-such-host.invalid"));
    let reply = router.call(&Request::chat());
    assert_eq!(reply.error(), (502, "upstream_dns".into()));
    assert!(reply.text().contains("no-such-host.invalid"), "{}", reply.text());
    assert_eq!(router.settled(1), (1, 1, 0));
}

#[test]
fn a_provider_that_speaks_no_tls() {
    let upstream = Upstream::start(|conn| {
        conn.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        conn.eof();
    });
    let router = Router::start(upstream_at(&format!("https://{}", upstream.authority())));
    assert_eq!(router.call(&Request::chat()).error(), (502, "upstream_tls".into()));
    assert_eq!(router.settled(1), (1, 1, 0));
}

#[test]
fn a_provider_that_accepts_and_does_no_handshake() {
    let upstream = Upstream::start(|conn| conn.eof());
    let mut config = upstream_at(&format!("https://{}", upstream.authority()));
    config.timeouts.connect = Duration::from_millis(80);
    let router = Router::start(config);
    assert_eq!(router.call(&Request::chat()).error(), (502, "upstream_connect_timeout".into()));
    assert_eq!(router.settled(1), (1, 1, 0));
}

#[test]
fn a_connection_reset_or_closed_before_the_reply() {
    for start in [&b""[..], b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\ncontent-type: app"] {
        for reset in [false, true] {
            let upstream = Upstream::start(move |conn| {
                conn.request();
                conn.send(start);
                if reset {
                    conn.reset();
                }
            });
            let router = Router::openai(&upstream);
            let (status, code) = router.call(&Request::chat()).error();
            assert_eq!(status, 502, "{start:?} {reset}");
            assert!(code == "upstream_reset" || (code == "upstream_garbage" && !start.is_empty()), "{start:?} {reset}: {code}");
            assert_eq!(upstream.requests().len(), 1, "a fresh connection is not tried twice");
            assert_eq!(router.settled(1), (1, 1, 0));
        }
    }
}

#[test]
fn a_reset_inside_the_body() {
    for head in ["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n"] {
        let (seen, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        let upstream = Upstream::start(move |conn| {
            conn.request();
            conn.send(&[head.as_bytes(), b"0123456789"].concat());
            // A reset may overtake what was sent before it.
            let _ = wait.lock().map(|wait| wait.recv());
            conn.reset();
        });
        let router = Router::openai(&upstream);
        let mut client = router.client();
        client.send(&Request::chat().bytes());
        let head = client.head().expect("head");
        client.body(&head, "POST", |data| data.len() == 10);
        seen.send(()).expect("upstream");
        let (body, end) = client.body(&head, "POST", |_| false);
        assert_eq!((head.status(), body.as_slice(), end), (200, &b"0123456789"[..], End::Broken));
        assert_eq!(router.settled(1), (1, 1, 0));
    }
}

#[test]
fn a_reply_that_is_none() {
    let long_line = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(2 << 20));
    for garbage in [
        "nonsense\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/2 200\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
        "<html>\r\n\r\n</html>",
        &long_line,
    ] {
        let owned = garbage.to_string();
        let upstream = Upstream::start(move |conn| {
            conn.request();
            conn.send(owned.as_bytes());
        });
        let router = Router::openai(&upstream);
        let shown = &garbage[..garbage.len().min(50)];
        let (status, code) = router.call(&Request::chat()).error();
        assert_eq!(status, 502, "{shown:?}");
        assert!(code == "upstream_garbage" || code == "upstream_reset", "{shown:?}: {code}");
        assert_eq!(router.settled(1), (1, 1, 0), "{shown:?}");
    }
}

#[test]
fn a_reply_with_bad_chunks_is_not_a_whole_one() {
    for body in ["5\r\nhelloXX0\r\n\r\n", "5\r\nhello\r\nzz\r\n", "-1\r\n", "5\r\nhello\r\nffffffffffffffffff\r\n"] {
        let upstream = Upstream::start(move |conn| {
            conn.request();
            conn.send(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}").as_bytes());
        });
        let router = Router::openai(&upstream);
        let reply = router.call(&Request::chat());
        assert!(reply.status == 502 || reply.end == End::Broken, "{body:?}: {reply:?}");
        assert_eq!(router.settled(1), (1, 1, 0), "{body:?}");
    }
}

#[test]
fn both_framings_at_once_are_never_taken_for_two_replies() {
    let upstream =
        Upstream::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec());
    let router = Router::openai(&upstream);
    for _ in 0..3 {
        let reply = router.call(&Request::chat());
        assert!(reply.status == 502 || (reply.status == 200 && reply.text() == "{}"), "{reply:?}");
    }
}

#[test]
fn a_switch_of_protocols_nobody_asked_for_is_a_failure() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    });
    let router = Router::openai(&upstream);
    assert_eq!(router.call(&Request::chat()).error(), (502, "upstream_garbage".into()));
    assert_eq!(router.settled(1), (1, 1, 0));
}

#[test]
fn more_than_the_length_says_does_not_spill_into_the_next_reply() {
    let upstream = Upstream::start(|conn| {
        while conn.request().is_some() {
            if !conn.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nSPILL") {
                return;
            }
        }
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    for _ in 0..5 {
        let reply = client.call(&Request::chat());
        assert!(!reply.text().contains("SPILL"), "{}", reply.text());
    }
}

#[test]
fn silence_before_the_head() {
    for start in [&b""[..], b"HTTP/1.1 200 OK\r\nx-a: "] {
        let upstream = Upstream::start(move |conn| {
            conn.request();
            conn.send(start);
            conn.eof();
        });
        let mut config = rig::both(&upstream, &upstream);
        config.timeouts.first_byte = Duration::from_millis(80);
        let router = Router::start(config);
        assert_eq!(router.call(&Request::chat()).error(), (504, "upstream_timeout".into()));
        assert_eq!(router.call(&Request::messages_stream()).anthropic_error(), (504, "api_error".into()));
        upstream.wait("both connections were closed", |log| log.closed == 2);
        assert_eq!(router.settled(2), (2, 2, 0));
    }
}

#[test]
fn silence_inside_a_body() {
    for head in ["content-length: 100\r\n\r\n0123456789", "transfer-encoding: chunked\r\n\r\na\r\n0123456789\r\n"] {
        let upstream = Upstream::start(move |conn| {
            conn.request();
            conn.send(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes());
            conn.eof();
        });
        let mut config = rig::openai(&upstream);
        config.timeouts.idle = Duration::from_millis(80);
        let router = Router::start(config);
        let reply = router.call(&Request::chat());
        assert_eq!((reply.status, reply.text().as_str(), reply.end), (200, "0123456789", End::Broken));
        upstream.wait("the connection was closed", |log| log.closed == 1);
        assert_eq!(router.settled(1), (1, 1, 0));
    }
}

#[test]
fn silence_inside_a_stream() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(&[sse_head(), super::framing::chunk(b"data: {\"n\":1}\n\n")].concat());
        conn.eof();
    });
    let mut config = rig::both(&upstream, &upstream);
    config.timeouts.idle = Duration::from_millis(80);
    let router = Router::start(config);
    for (request, beginning) in [(Request::chat_stream(), "data: {\"error\":{"), (Request::messages_stream(), "event: error\ndata: {")] {
        let reply = router.call(&request);
        let text = reply.text();
        let tail = text.strip_prefix("data: {\"n\":1}\n\n").unwrap_or_else(|| panic!("{text:?}"));
        assert_eq!((reply.status, reply.end), (200, End::Broken), "never a clean end");
        assert!(tail.starts_with(beginning) && tail.ends_with("}\n\n"), "{tail:?}");
        let data = tail.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
        let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
        assert!(data["error"]["message"].is_string() && data["error"]["type"].is_string(), "{data}");
    }
    assert_eq!(router.settled(2), (2, 2, 0));
}

#[test]
fn silence_inside_an_event_leaves_no_room_for_another() {
    let upstream = Upstream::start(|conn| {
        conn.request();
        conn.send(&[sse_head(), super::framing::chunk(b"data: {\"n\":1}\n\ndata: {\"n\"")].concat());
        conn.eof();
    });
    let mut config = rig::openai(&upstream);
    config.timeouts.idle = Duration::from_millis(80);
    let reply = Router::start(config).call(&Request::chat_stream());
    assert_eq!((reply.text().as_str(), reply.end), ("data: {\"n\":1}\n\ndata: {\"n\"", End::Broken));
}

#[test]
fn a_stale_connection_is_tried_again_unnoticed() {
    // The first connection closes when it is used for the second time, as a provider's idle limit does at the wrong moment.
    let upstream = Upstream::start(|conn| {
        if conn.number > 0 {
            while conn.request().is_some() {
                conn.send(&json("{\"n\":2}"));
            }
        } else if conn.request().is_some() {
            conn.send(&json("{\"n\":1}"));
            conn.request();
        }
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    for (n, requests) in [(1, 1), (2, 3), (2, 4)] {
        let reply = client.call(&Request::chat());
        assert_eq!((reply.status, reply.json()["n"].as_u64()), (200, Some(n)));
        assert_eq!(upstream.requests().len(), requests);
    }
    assert_eq!((upstream.log(|log| log.connections), router.settled(3)), (2, (3, 0, 0)));
}

#[test]
fn a_connection_closed_while_idle_is_not_used() {
    let (closing, closed) = std::sync::mpsc::channel();
    let closing = std::sync::Mutex::new(closing);
    let upstream = Upstream::start(move |conn| {
        conn.request();
        conn.send(&json("{}"));
        conn.shut();
        let _ = closing.lock().map(|closing| closing.send(()));
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    for _ in 0..3 {
        assert_eq!(client.call(&Request::chat()).status, 200);
        closed.recv_timeout(super::WAIT).expect("closed");
    }
    assert_eq!((upstream.requests().len(), router.settled(3)), (3, (3, 0, 0)));
}

#[test]
fn a_second_failure_is_told() {
    let upstream = Upstream::start(|conn| {
        if conn.number == 0 && conn.request().is_some() {
            conn.send(&json("{}"));
        }
        conn.request();
    });
    let router = Router::openai(&upstream);
    let mut client = router.client();
    assert_eq!(client.call(&Request::chat()).status, 200);
    assert_eq!(client.call(&Request::chat()).error(), (502, "upstream_reset".into()));
    assert_eq!(upstream.requests().len(), 3, "once stale, once fresh, and no more");
}
