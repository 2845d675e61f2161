//! The key cache against tables of times, and against a scripted control server on loopback.

use super::*;
use crate::proxy::scripted::{Server, answer};
use std::io::{Read, Write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;

const TOKEN: &str = "ic_TOKENCANARY";
const GRANTED: &str = r#"{"provider_key":"sk-KEYCANARY","provider":"openai"}"#;

// ---- the state machine

fn assigned(key: &str) -> Assigned {
    Assigned { key: Secret::new(key), provider: Protocol::OpenAi, base_url: None }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn down() -> Refusal {
    Refusal::new(UNREACHABLE, "down")
}

fn shown(action: Action) -> String {
    match action {
        Action::Use(assigned) => format!("use {}", assigned.key.expose()),
        Action::Fetch => "fetch".into(),
        Action::Wait => "wait".into(),
        Action::Fail(refusal) => format!("fail {}", refusal.message),
    }
}

#[test]
fn decisions() {
    let ttl = 300;
    let edge = ttl + STALE_FOR.as_secs();
    // (age of the key, a fetch is under way, seconds since the last failure) → action
    for (age, in_flight, failed, expected) in [
        (None, false, None, "fetch"),
        (None, true, None, "wait"),
        (None, true, Some(0), "wait"),
        (None, false, Some(0), "fail down"),
        (None, false, Some(1), "fetch"),
        (Some(0), false, None, "use k"),
        (Some(ttl - 1), false, None, "use k"),
        (Some(ttl - 1), true, Some(0), "use k"),
        (Some(ttl), false, None, "fetch"),
        (Some(ttl), true, None, "use k"),
        (Some(ttl), false, Some(4), "use k"),
        (Some(ttl), false, Some(5), "fetch"),
        (Some(edge - 1), true, None, "use k"),
        (Some(edge - 1), false, Some(4), "use k"),
        (Some(edge), true, None, "wait"),
        (Some(edge), false, Some(0), "fail down"),
        (Some(edge), false, Some(1), "fetch"),
    ] {
        let now = secs(1_000_000);
        let mut state = State::new(secs(ttl));
        state.in_flight = in_flight;
        state.cached = age.map(|age| Cached { assigned: Arc::new(assigned("k")), since: now - secs(age) });
        state.failed = failed.map(|ago| (now - secs(ago), down()));
        assert_eq!(shown(state.decide(now)), expected, "age {age:?}, in flight {in_flight}, failed {failed:?}");
    }
}

#[test]
fn a_failure_keeps_the_stale_key_and_a_refusal_drops_it() {
    for (reason, expected) in [(UNREACHABLE, "use k"), (REFUSED, "fail no")] {
        let mut state = State::new(secs(1));
        assert!(state.land(Ok(assigned("k")), secs(0)).is_ok());
        let landed = state.land(Err(Refusal::new(reason, "no")), secs(1));
        assert_eq!(landed.is_ok(), reason == UNREACHABLE);
        assert_eq!(shown(state.decide(secs(1))), expected);
    }
}

#[test]
fn the_longest_time_to_live_does_not_overflow() {
    let mut state = State::new(Duration::MAX);
    assert!(state.land(Ok(assigned("k")), secs(0)).is_ok());
    assert_eq!(shown(state.decide(Duration::MAX)), "fetch");
    assert!(state.land(Err(down()), Duration::MAX).is_err());
}

#[test]
fn only_the_cached_key_is_rejected_and_the_same_text_not_twice_in_a_row() {
    let mut state = State::new(secs(300));
    let first = state.land(Ok(assigned("k")), secs(0)).expect("landed");
    state.reject(&Arc::new(assigned("k")), secs(0));
    assert_eq!(shown(state.decide(secs(0))), "use k", "another request's key");
    state.reject(&first, secs(0));
    assert_eq!(shown(state.decide(secs(0))), "fetch");
    let again = state.land(Ok(assigned("k")), secs(0)).expect("landed");
    state.reject(&again, secs(4));
    assert_eq!(shown(state.decide(secs(4))), "use k", "the server has nothing newer");
    state.reject(&again, secs(5));
    assert_eq!(shown(state.decide(secs(5))), "fetch");
}

// ---- the shell, against a server on loopback

fn key(number: usize) -> String {
    format!(r#"{{"provider_key":"sk-{number}","provider":"anthropic","base_url":"https://proxy.example/v1"}}"#)
}

/// A cache of that server with a time to live of 300 s, and its clock in milliseconds.
fn cache(url: &str) -> (KeyCache, Arc<AtomicU64>) {
    let control = Control { server_url: url.parse().expect("url"), ic_token: Secret::new(TOKEN), cache_ttl: secs(300) };
    let config = ureq::Agent::config_builder().timeout_connect(Some(secs(5))).proxy(None).build();
    let mut cache = KeyCache::new(control, ureq::Agent::new_with_config(config));
    let millis = Arc::new(AtomicU64::new(0));
    let clock = millis.clone();
    cache.clock = Box::new(move || Duration::from_millis(clock.load(SeqCst)));
    (cache, millis)
}

fn text(result: Result<Arc<Assigned>, Refusal>) -> String {
    match result {
        Ok(assigned) => assigned.key.expose().to_string(),
        Err(refusal) => format!("{:?}", refusal.reason),
    }
}

/// The refusal of one fetch; it must name the server, and neither token nor key may be in it.
fn refusal(server: &Server, cache: &KeyCache) -> Refusal {
    let refusal = cache.get().err().expect("refused");
    assert!(refusal.message.contains(&server.url), "{}", refusal.message);
    assert!(!format!("{refusal:?}").contains("CANARY"), "{}", refusal.message);
    refusal
}

#[test]
fn the_request_is_the_protocols() {
    let server = Server::start(|n, stream| answer(stream, 200, &key(n)));
    let (cache, _) = cache(&format!("{}/", server.url));
    assert!(cache.peek().is_none());
    let got = cache.get().expect("key");
    assert_eq!((got.key.expose(), got.provider), ("sk-0", Protocol::Anthropic));
    assert_eq!(got.base_url.as_ref().map(ToString::to_string).as_deref(), Some("https://proxy.example"));
    assert!(cache.peek().is_some_and(|peeked| Arc::ptr_eq(&peeked, &got)));
    let request = server.requests()[0].text.clone();
    assert!(request.starts_with("POST /api/v1/agents/provider-key HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/json\r\n"), "{request}");
    assert!(request.ends_with(&format!("\r\n\r\n{{\"ic_token\":\"{TOKEN}\"}}")), "{request}");
}

fn storm(cache: &KeyCache, threads: usize, call: impl Fn(&KeyCache) -> String + Sync) -> Vec<String> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let one = || {
            barrier.wait();
            call(cache)
        };
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        started.into_iter().map(|thread| thread.join().expect("thread")).collect()
    })
}

#[test]
fn many_requests_one_fetch() {
    for (status, expected) in [(200, "sk-0"), (503, "Overloaded(\"control_server_unreachable\")")] {
        let server = Server::start(move |n, stream| answer(stream, status, &key(n)));
        let (cache, _) = cache(&server.url);
        let got = storm(&cache, 32, |cache| text(cache.get()));
        assert!(got.iter().all(|one| one == expected), "{got:?}");
        assert_eq!(server.count(), 1);
    }
}

#[test]
fn a_rejected_key_is_fetched_again_once() {
    let server = Server::start(|n, stream| answer(stream, 200, &key(n)));
    let (cache, _) = cache(&server.url);
    let first = cache.get().expect("key");
    let got = storm(&cache, 32, |cache| text(cache.refetch(&first)));
    assert!(got.iter().all(|one| one == "sk-1"), "{got:?}");
    assert_eq!((server.count(), text(cache.get()).as_str()), (2, "sk-1"));
}

#[test]
fn a_key_the_provider_keeps_rejecting_is_not_fetched_each_time() {
    let server = Server::start(|_, stream| answer(stream, 200, GRANTED));
    let (cache, _) = cache(&server.url);
    let mut current = cache.get().expect("key");
    for _ in 0..5 {
        current = cache.refetch(&current).expect("key");
    }
    assert_eq!(server.count(), 2);
}

#[test]
fn an_expired_key_is_renewed() {
    let server = Server::start(|n, stream| answer(stream, 200, &key(n)));
    let (cache, clock) = cache(&server.url);
    for (at, expected) in [(0, "sk-0"), (299_999, "sk-0"), (300_000, "sk-1"), (599_999, "sk-1"), (600_000, "sk-2")] {
        clock.store(at, SeqCst);
        assert_eq!(text(cache.get()), expected, "at {at}");
    }
    assert_eq!(server.count(), 3);
}

#[test]
fn a_stale_key_serves_while_the_server_fails() {
    let server = Server::start(|n, stream| match n {
        0 => answer(stream, 200, GRANTED),
        1 | 3 => answer(stream, 500, r#"{"error":"x","code":"INTERNAL_ERROR"}"#),
        2 => drop(stream.shutdown(std::net::Shutdown::Both)),
        _ => answer(stream, 200, &key(n)),
    });
    let (cache, clock) = cache(&server.url);
    let edge = 300_000 + STALE_FOR.as_millis() as u64;
    let none = "Overloaded(\"control_server_unreachable\")";
    for (at, expected, count) in [
        (0, "sk-KEYCANARY", 1),
        (300_000, "sk-KEYCANARY", 2),
        (304_999, "sk-KEYCANARY", 2),
        (305_000, "sk-KEYCANARY", 3),
        (edge, none, 4),
        (edge + 999, none, 4),
        (edge + 1000, "sk-4", 5),
    ] {
        clock.store(at, SeqCst);
        assert_eq!((text(cache.get()).as_str(), server.count()), (expected, count), "at {at}");
    }
}

#[test]
fn others_use_the_stale_key_while_one_renews_it() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = Server::start(move |n, stream| {
        if n > 0 {
            let _ = wait.lock().map(|wait| wait.recv());
        }
        answer(stream, 200, &key(n));
    });
    let (cache, clock) = cache(&server.url);
    assert_eq!(text(cache.get()), "sk-0");
    clock.store(300_000, SeqCst);
    thread::scope(|scope| {
        let renewing = scope.spawn(|| text(cache.get()));
        while !cache.lock().in_flight {
            thread::yield_now();
        }
        assert_eq!(text(cache.get()), "sk-0");
        go.send(()).expect("server");
        assert_eq!(renewing.join().expect("thread"), "sk-1");
    });
}

#[test]
fn a_revoked_token_stops_at_once() {
    for (status, code, hint, reason) in [
        (401, "UNAUTHORIZED", "IC token", Reason::Unauthorized),
        (403, "NO_PROVIDER_ASSIGNED", "assign", REFUSED),
        (404, "INVALID_TOKEN", "IC token", Reason::Unauthorized),
        (404, "PROVIDER_NOT_FOUND", "assign another", REFUSED),
        (400, "INVALID_TOKEN", "IC token", Reason::Unauthorized),
    ] {
        let server = Server::start(move |n, stream| match n {
            0 => answer(stream, 200, GRANTED),
            _ => answer(stream, status, &format!(r#"{{"error":"{TOKEN} is revoked","code":"{code}"}}"#)),
        });
        let (cache, clock) = cache(&server.url);
        assert_eq!(text(cache.get()), "sk-KEYCANARY");
        clock.store(300_000, SeqCst);
        let refusal = refusal(&server, &cache);
        assert_eq!((refusal.reason, refusal.retry), (reason, Retry::Never));
        assert!(refusal.message.contains(code) && refusal.message.contains(hint), "{}", refusal.message);
        assert!(cache.peek().is_none());
    }
}

#[test]
fn what_is_not_an_answer_is_a_failure() {
    let huge = format!(r#"{{"provider_key":"sk-KEYCANARY","provider":"openai","x":"{}"}}"#, "y".repeat(70_000));
    let bodies: [(u16, &str); 15] = [
        (200, ""),
        (200, "<html>sk-KEYCANARY</html>"),
        (200, r#"{"provider_key":7,"provider":"openai"}"#),
        (200, r#"{"provider_key":"sk-KEYCANARY"}"#),
        (200, r#"{"provider_key":"","provider":"openai"}"#),
        (200, r#"{"provider_key":"sk-KEYCANARY\r\nx: y","provider":"openai"}"#),
        (200, r#"{"provider_key":"sk-KEYCANARY","provider":"sk-KEYCANARY"}"#),
        (200, r#"{"provider_key":"sk-KEYCANARY","provider":"openai","base_url":"ftp://KEYCANARY"}"#),
        (200, r#"{"provider_key":"sk-KEYCANARY","provider":"openai""#),
        (200, &huge),
        (201, GRANTED),
        (405, GRANTED),
        (429, r#"{"code":"sk-KEYCANARY"}"#),
        (500, r#"{"code":"ic_TOKENCANARY"}"#),
        (503, r#"{"error":"ic_TOKENCANARY","code":"CRYPTO_UNAVAILABLE"}"#),
    ];
    for (status, body) in bodies {
        let owned = body.to_string();
        let server = Server::start(move |_, stream| answer(stream, status, &owned));
        let refusal = refusal(&server, &cache(&server.url).0);
        let shown: String = body.chars().take(80).collect();
        assert_eq!((refusal.reason, refusal.retry), (UNREACHABLE, Retry::After(1)), "{status} {shown}");
        assert_eq!(refusal.message.contains("CRYPTO_UNAVAILABLE"), body.contains("CRYPTO_UNAVAILABLE"), "{}", refusal.message);
    }
}

#[test]
fn broken_replies_are_failures() {
    for bytes in ["", "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"provider_key\":\"sk-KEYCANARY\""] {
        let server = Server::start(move |_, stream| drop(stream.write_all(bytes.as_bytes())));
        assert_eq!(refusal(&server, &cache(&server.url).0).reason, UNREACHABLE, "{bytes:?}");
    }
}

#[test]
fn redirects_are_not_followed() {
    let other = Server::start(|n, stream| answer(stream, 200, &key(n)));
    for status in [301, 302, 303, 307, 308] {
        let to = other.url.clone();
        let server = Server::start(move |_, stream| {
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nlocation: {to}/\r\ncontent-length: 0\r\n\r\n");
        });
        assert_eq!(refusal(&server, &cache(&server.url).0).reason, UNREACHABLE, "{status}");
    }
    assert_eq!(other.count(), 0);
}

#[test]
fn a_dead_server_is_named_and_not_hammered() {
    let url = "http://127.0.0.1:1";
    let (cache, clock) = cache(url);
    let refusal = cache.get().err().expect("refused");
    assert!(refusal.message.contains(url) && refusal.message.contains("refused"), "{}", refusal.message);
    let rounds = cache.lock().rounds;
    assert!(cache.get().is_err());
    assert_eq!(cache.lock().rounds, rounds);
    clock.store(1000, SeqCst);
    assert!(cache.get().is_err());
    assert_eq!(cache.lock().rounds, rounds + 1);
}

#[test]
fn a_silent_server_costs_no_more_than_the_limit() {
    // Silent before the head, and inside the body; the script ends when the client has closed.
    for start in ["", "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"] {
        let server = Server::start(move |_, stream| {
            let _ = stream.write_all(start.as_bytes());
            let _ = stream.read(&mut [0; 1]);
        });
        let (mut cache, _) = cache(&server.url);
        cache.fetch_limit = Duration::from_millis(100);
        let got = storm(&cache, 4, |cache| text(cache.get()));
        assert!(got.iter().all(|one| one == "Overloaded(\"control_server_unreachable\")"), "{got:?}");
        assert!(refusal(&server, &cache).message.contains("timeout"));
        assert_eq!(server.count(), 1);
    }
}

#[test]
fn a_fetch_that_panics_releases_those_who_wait() {
    let reached = Arc::new(AtomicUsize::new(0));
    let (cache, _) = cache("http://127.0.0.1:1");
    thread::scope(|scope| {
        let flight = Flight::begin(&cache, &mut cache.lock());
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    reached.fetch_add(1, SeqCst);
                    text(cache.get())
                })
            })
            .collect();
        while reached.load(SeqCst) < 4 {
            thread::yield_now();
        }
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _flight = flight;
            std::panic::resume_unwind(Box::new("in the fetch"));
        }));
        assert!(panicked.is_err());
        for thread in waiting {
            assert_eq!(thread.join().expect("thread"), "Overloaded(\"control_server_unreachable\")");
        }
    });
    assert!(!cache.lock().in_flight);
}
