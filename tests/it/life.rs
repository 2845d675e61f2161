//! The router as a whole: full, stopped, dropped.

use super::client::{End, Request};
use super::framing::{chunk, chunked};
use super::rig::{self, Router, in_child};
use super::upstream::{Upstream, json, sse_head};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

#[test]
fn a_full_house_says_so_and_recovers() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::openai(&upstream);
    config.limits.max_connections = 2;
    let router = Router::start(config);
    let (mut one, mut two) = (router.client(), router.client());
    assert_eq!((one.call(&Request::chat()).status, two.call(&Request::chat()).status), (200, 200));
    let mut third = router.client();
    let reply = third.call(&Request::chat());
    assert_eq!((reply.status, reply.head.get("retry-after").is_some(), third.is_closed()), (503, true, true));
    assert_eq!(reply.json()["error"]["type"], "overloaded_error");
    one.leave(false);
    let start = Instant::now();
    while router.call(&Request::chat()).status != 200 {
        assert!(start.elapsed() < super::WAIT, "no room again");
    }
    assert_eq!(two.call(&Request::chat()).status, 200);
}

#[test]
fn a_slow_head_holds_nobody_up() {
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::openai(&upstream);
    config.timeouts.header = Duration::from_millis(80);
    let router = Router::start(config);
    let mut slow = router.client();
    slow.send(b"GET /v1/models HTTP/1.1\r\nHo");
    assert_eq!(router.call(&Request::chat()).status, 200);
    let ended = slow.head().is_none_or(|head| head.status() == 408);
    assert!(ended, "408 or closed");
}

#[test]
fn a_port_in_use_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let upstream = Upstream::saying(json("{}"));
    let mut config = rig::openai(&upstream);
    config.port = listener.local_addr().expect("address").port();
    let error = iron_runtime::LlmRouter::start(config).err().expect("an error");
    assert!(matches!(error, iron_runtime::Error::Bind { .. }), "{error}");
}

#[test]
fn without_a_provider_it_does_not_start() {
    let error = iron_runtime::LlmRouter::start(rig::bare()).err().expect("an error");
    assert!(matches!(error, iron_runtime::Error::NoProvider), "{error}");
}

#[test]
fn a_stopped_router_is_gone() {
    let upstream = Upstream::saying(json("{}"));
    let mut router = Router::openai(&upstream);
    let port = router.inner().port();
    let mut idle = router.client();
    assert_eq!(idle.call(&Request::chat()).status, 200);
    router.stop();
    router.stop();
    assert!(!router.inner().is_running());
    assert!(idle.is_closed(), "an idle connection is closed at once");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert_eq!(router.settled(1), (1, 0, 0));
}

#[test]
fn a_call_under_way_may_end_within_the_time_to_drain() {
    let (go, next) = channel::<()>();
    let next = std::sync::Mutex::new(next);
    let upstream = Upstream::start(move |conn| {
        conn.request();
        conn.send(&[sse_head(), chunk(b"data: 1\n\n")].concat());
        let _ = next.lock().map(|next| next.recv());
        conn.send(&chunked(&[b"data: 2\n\n"]));
    });
    let mut config = rig::openai(&upstream);
    config.timeouts.drain = super::WAIT;
    let mut router = Router::start(config);
    let port = router.inner().port();
    let mut client = router.client();
    client.send(&Request::chat_stream().bytes());
    let head = client.head().expect("head");
    client.stream_until(&head, "data: 1\n\n");
    let reading = std::thread::spawn(move || client.body(&head, "POST", |_| false));
    let stopping = std::thread::spawn(move || {
        router.stop();
        router
    });
    // The listener closes first; then the call is let go.
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(start.elapsed() < super::WAIT, "it still listens");
    }
    go.send(()).expect("upstream");
    assert_eq!(reading.join().expect("reader"), (b"data: 1\n\ndata: 2\n\n".to_vec(), End::Whole));
    assert_eq!(stopping.join().expect("stop").settled(1), (1, 0, 0));
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn wait_for_threads(at_most: usize) {
    let start = Instant::now();
    while threads() > at_most {
        assert!(start.elapsed() < super::WAIT, "{} threads, not {at_most}", threads());
        std::thread::yield_now();
    }
}

#[test]
fn stopping_cuts_a_stream_and_leaves_no_thread() {
    if !in_child("it::life::stopping_cuts_a_stream_and_leaves_no_thread", &[]) {
        return;
    }
    let upstream = Upstream::start(|conn| {
        if let Some(request) = conn.request() {
            if request.head.get("x-silent").is_none() {
                conn.send(&[sse_head(), chunk(b"data: 1\n\n")].concat());
            }
            conn.eof();
        }
    });
    let before = threads();
    for by_drop in [false, true] {
        let mut config = rig::openai(&upstream);
        config.timeouts.drain = Duration::from_millis(100);
        let mut router = Router::start(config);
        let closed = upstream.log(|log| log.closed);
        let (mut idle, mut silent, mut client) = (router.client(), router.client(), router.client());
        assert_eq!(idle.call(&Request::get("/healthz")).status, 200);
        silent.send(&Request::chat_stream().field("x-silent", "1").bytes());
        client.send(&Request::chat_stream().bytes());
        let head = client.head().expect("head");
        client.stream_until(&head, "data: 1\n\n");
        router.wait_stats(|totals| totals.in_flight == 2);
        if by_drop {
            drop(router);
        } else {
            router.stop();
            assert_eq!(router.settled(2).0, 2, "the cut calls are settled");
        }
        let (data, end) = client.body(&head, "POST", |_| false);
        assert!(data.starts_with(b"data: 1\n\n"));
        assert_eq!(end, End::Broken, "a cut stream has no clean end");
        assert!(silent.head().is_none_or(|head| head.status() >= 500));
        upstream.wait("the provider sees the end", |log| log.closed == closed + 2);
        drop((idle, silent, client));
        wait_for_threads(before);
    }
}

#[test]
fn many_starts_and_stops_leave_nothing() {
    if !in_child("it::life::many_starts_and_stops_leave_nothing", &[]) {
        return;
    }
    let files = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let upstream = Upstream::saying(json("{}"));
    let round = || assert_eq!(Router::openai(&upstream).call(&Request::chat()).status, 200);
    let before = threads();
    round();
    wait_for_threads(before);
    let files_before = files();
    (0..20).for_each(|_| round());
    wait_for_threads(before);
    let start = Instant::now();
    while files() > files_before {
        assert!(start.elapsed() < super::WAIT, "{} files, not {files_before}", files());
    }
}
