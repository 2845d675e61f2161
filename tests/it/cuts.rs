//! The provider's connection ends at every byte of a reply in turn. Only the whole reply may look whole.

use super::client::{End, Reply, Request};
use super::framing::{Head, chunk, chunked, dechunk};
use super::rig::Router;
use super::upstream::{Upstream, json, sse_head};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const OPENAI_EVENTS: [&str; 3] =
    ["data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", "data: {\"choices\":[]}\r\n\r\n", "data: [DONE]\n\n"];
const ANTHROPIC_EVENTS: [&str; 3] = [
    "event: message_start\ndata: {\"type\":\"message_start\"}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
];

/// Events in chunks that end where events end, but for one that is split.
fn recorded_stream(events: [&str; 3]) -> Vec<u8> {
    let (left, right) = events[1].as_bytes().split_at(9);
    [sse_head(), chunk(events[0].as_bytes()), chunk(left), chunked(&[right, events[2].as_bytes()])].concat()
}

/// Asks once for every length of `raw`, and hands each reply to `check` with that length.
fn cut_everywhere(raw: Vec<u8>, request: &Request, reset: bool, check: impl Fn(&Reply, usize)) {
    let length = Arc::new(AtomicUsize::new(0));
    let (cut, whole) = (length.clone(), raw.clone());
    let upstream = Upstream::start(move |conn| {
        if conn.request().is_some() {
            conn.send(&whole[..cut.load(SeqCst)]);
            if reset {
                conn.reset();
            }
        }
    });
    let router = Router::both(&upstream, &upstream);
    for cut in 0..=raw.len() {
        length.store(cut, SeqCst);
        check(&router.call(request), cut);
    }
    let calls = raw.len() as u64 + 1;
    let (requests, failed, refused) = router.settled(calls);
    assert_eq!((requests, refused, router.stats().in_flight), (calls, 0, 0), "each is counted once");
    // Once the event that ends a stream has come, the call is complete, whatever becomes of the framing behind it.
    let behind_the_end = if raw.windows(3).any(|part| part == b"\r\n0") { b"\n\r\n0\r\n\r\n".len() as u64 + 1 } else { 0 };
    assert!((calls - 1 - behind_the_end..calls).contains(&failed) || reset, "{failed} of {calls} failed");
    length.store(raw.len(), SeqCst);
    assert!(reset || router.call(request).end == End::Whole, "alive afterwards");
}

fn is_clean_502(reply: &Reply, head: &Head) -> bool {
    assert!(head.length > 0);
    reply.status == 502 && reply.end == End::Whole && reply.json()["error"]["message"].is_string()
}

/// What a reply that was cut after `cut` bytes may look like.
fn check_stream(raw: &[u8], reply: &Reply, cut: usize, error_event: &str) {
    let head = Head::parse(raw).expect("head");
    let sent = if cut < head.length { Vec::new() } else { dechunk(&raw[head.length..cut]).data };
    if cut == raw.len() {
        assert_eq!((reply.status, reply.end), (200, End::Whole));
        assert_eq!(reply.text(), String::from_utf8_lossy(&sent));
    } else if cut < head.length {
        assert!(is_clean_502(reply, &head), "{cut}: {reply:?}");
    } else if !(sent.is_empty() && is_clean_502_or_false(reply)) {
        assert_eq!((reply.status, reply.end), (200, End::Broken), "{cut}");
        let text = reply.text();
        let tail = text.strip_prefix(&*String::from_utf8_lossy(&sent)).unwrap_or_else(|| panic!("{cut}: {text:?}"));
        // A lone CR ends a line too, so an event may end before the LF of its last CRLF.
        let at_boundary = sent.is_empty() || [&b"\n\n"[..], b"\r\n\r\n", b"\r\n\r"].iter().any(|end| sent.ends_with(end));
        assert_eq!(tail.starts_with(error_event) && tail.ends_with("\n\n"), at_boundary, "{cut}: {text:?}");
        assert_eq!(tail.is_empty(), !at_boundary, "{cut}: {text:?}");
    }
}

fn is_clean_502_or_false(reply: &Reply) -> bool {
    reply.status == 502 && reply.end == End::Whole
}

#[test]
fn a_stream_of_openai() {
    let raw = recorded_stream(OPENAI_EVENTS);
    cut_everywhere(raw.clone(), &Request::chat_stream(), false, |reply, cut| check_stream(&raw, reply, cut, "data: {\"error\":{"));
}

#[test]
fn a_stream_of_anthropic() {
    let raw = recorded_stream(ANTHROPIC_EVENTS);
    cut_everywhere(raw.clone(), &Request::messages_stream(), false, |reply, cut| {
        check_stream(&raw, reply, cut, "event: error\ndata: {\"");
    });
}

fn check_json(raw: &[u8], reply: &Reply, cut: usize) {
    let head = Head::parse(raw).expect("head");
    if cut == raw.len() {
        assert_eq!((reply.status, reply.end, reply.body.as_slice()), (200, End::Whole, &raw[head.length..]));
    } else if cut < head.length {
        assert!(is_clean_502(reply, &head), "{cut}: {reply:?}");
    } else if !(cut == head.length && is_clean_502_or_false(reply)) {
        assert_eq!((reply.status, reply.end, reply.body.as_slice()), (200, End::Broken, &raw[head.length..cut]), "{cut}");
    }
}

#[test]
fn a_reply_with_a_length() {
    for request in [Request::chat(), Request::messages_stream()] {
        let raw = json(r#"{"id":"x","choices":[{"message":{"content":"hello"}}]}"#);
        cut_everywhere(raw.clone(), &request, false, |reply, cut| check_json(&raw, reply, cut));
    }
}

#[test]
fn resets_everywhere() {
    // A reset may overtake bytes, also the last ones: it is enough that nothing short looks whole.
    for (raw, request) in [(recorded_stream(OPENAI_EVENTS), Request::chat_stream()), (json(r#"{"id":"x"}"#), Request::chat())] {
        let head = Head::parse(&raw).expect("head");
        let whole = head.reply_body("POST", &raw[head.length..], true).data;
        cut_everywhere(raw.clone(), &request, true, |reply, cut| {
            let clean = reply.status == 200 && reply.end == End::Whole;
            assert!(!clean || (cut == raw.len() && reply.body == whole), "{cut}: {reply:?}");
            assert!(clean || reply.status == 502 || reply.end == End::Broken, "{cut}: {reply:?}");
        });
    }
}
