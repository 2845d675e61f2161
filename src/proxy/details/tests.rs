//! What is noted, what is left out, and how much.

use super::*;
use crate::call::{Protocol, Reason, Refusal};
use crate::wire::refusal;

const KEY: &str = "sk-KEYCANARY";

fn secrets() -> Secrets {
    Secrets::new([KEY, "", "sk-KEYCANARY-longer", "abc"].into_iter().map(Secret::new))
}

fn notes(fields: &[(&str, &str)], body: &[u8], capture: bool) -> Notes {
    let fields: Vec<_> = fields.iter().map(|(name, value)| httparse::Header { name, value: value.as_bytes() }).collect();
    Notes::of(&Headers(&fields), Some(body), capture, &secrets())
}

fn names(fields: &[(String, String)]) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

/// The details of a call whose reply had this status and came in these pieces.
fn told(capture: bool, status: u16, pieces: &[&[u8]]) -> Details {
    let mut notes = notes(&[], b"{}", capture);
    notes.head(status, std::iter::empty(), true, &secrets());
    pieces.iter().for_each(|piece| notes.feed(piece));
    notes.done(&secrets())
}

#[test]
fn credentials_are_left_out() {
    let sent = [
        ("User-Agent", "x/1"),
        ("Authorization", "Bearer x"),
        ("X-Api-Key", "x"),
        ("api-key", "x"),
        ("Cookie", "x"),
        ("Proxy-Authorization", "x"),
        ("X-Auth-Key", "x"),
        ("x-amz-security-token", "x"),
        ("x-goog-api-key", "x"),
        ("x-note", "my key is sk-KEYCANARY, mind"),
        ("x-note", "abc"),
        ("accept", "*/*"),
        ("accept", "b"),
    ];
    let mut notes = notes(&sent, b"", false);
    let reply: [(&str, &[u8]); 4] =
        [("a", b"1"), ("Set-Cookie", b"x"), ("x-echo", KEY.as_bytes()), ("x-ratelimit-remaining-tokens", b"\xff")];
    notes.head(200, reply.into_iter(), true, &secrets());
    let details = notes.done(&secrets());
    assert_eq!(names(&details.request_headers), ["User-Agent", "accept", "accept"]);
    let wanted = [("a".to_string(), "1".to_string()), ("x-ratelimit-remaining-tokens".into(), "\u{fffd}".into())];
    assert_eq!(details.reply_headers, wanted);
    assert!(details.error.is_none() && details.content.get().is_none());
}

#[test]
fn heads_are_bounded() {
    let many = vec![("a", "1"); 100];
    assert_eq!(notes(&many, b"", false).details.request_headers.len(), MAX_FIELDS);
    let long = "v".repeat(5000);
    let two = [("a", long.as_str()), ("b", long.as_str()), ("c", "1")];
    assert_eq!(names(&notes(&two, b"", false).details.request_headers), ["a"]);
}

#[test]
fn the_words_of_a_failure() {
    let long = "ä".repeat(3000);
    for (status, body, words) in [
        (200, r#"{"error":{"message":"no"}}"#, None),
        (429, r#"{"error":{"message":"slow down","type":"x"}}"#, Some("slow down")),
        (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, Some("Overloaded")),
        (404, r#"{"error":"no such model"}"#, Some("no such model")),
        (500, " <h1>oops</h1>\n", Some("<h1>oops</h1>")),
        (502, "", None),
        (500, &long, Some(&long[..4000])),
        (401, r#"{"error":{"message":"bad key sk-KEYCANARY-longer"}}"#, Some("bad key *******************")),
    ] {
        let (first, last) = body.as_bytes().split_at(body.len() / 3);
        let details = told(false, status, &[first, last]);
        assert_eq!(details.error.as_deref(), words, "{status}");
        assert!(details.content.get().is_none());
    }
}

#[test]
fn a_reason_of_ours_goes_before_the_body() {
    let refusal = Refusal::new(Reason::BudgetExceeded, "too dear");
    let mut notes = notes(&[], b"", true);
    notes.head(200, [("from", &b"upstream"[..])].into_iter(), true, &secrets());
    notes.feed(b"half of it");
    notes.answer(&refusal::render(&refusal, Protocol::OpenAi), ("x-request-id", "iron-1-1"), &secrets());
    notes.fail("the reason");
    let details = notes.done(&secrets());
    assert_eq!(details.error.as_deref(), Some("the reason"));
    assert_eq!(names(&details.reply_headers), ["content-type", "x-should-retry", "x-request-id"]);
    let reply = details.content.get().expect("captured").reply.clone();
    assert!(reply.starts_with(b"{\"error\"") && memchr::memmem::find(&reply, b"too dear").is_some());
}

#[test]
fn a_translated_streams_error_is_told() {
    let mut notes = notes(&[], b"", false);
    notes.fail_by(
        b"event: x\ndata: {\"a\":1}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"Overloaded\"}}\n\ndata: [DONE]\n\n",
    );
    assert_eq!(notes.done(&secrets()).error.as_deref(), Some("Overloaded"));
}

#[test]
fn content_is_cut_and_without_keys_wherever_they_are() {
    for at in [0, MAX_BODY - KEY.len(), MAX_BODY - 5, MAX_BODY, MAX_BODY + MARGIN + 9] {
        let mut body = vec![b'x'; at];
        body.extend_from_slice(KEY.as_bytes());
        body.resize(body.len().max(2 * MAX_BODY), b'y');
        let mut notes = notes(&[], &body, true);
        notes.head(200, std::iter::empty(), true, &secrets());
        body.chunks(7919).for_each(|piece| notes.feed(piece));
        let content = notes.done(&secrets()).content.get().expect("captured");
        for kept in [&content.request, &content.reply] {
            assert_eq!(kept.len(), MAX_BODY);
            assert!(memchr::memmem::find(kept, b"sk-K").is_none(), "{at}");
        }
    }
}

#[test]
fn what_is_compressed_is_not_kept() {
    let mut notes = notes(&[], b"{}", true);
    notes.head(500, std::iter::empty(), false, &secrets());
    notes.feed(b"\x1f\x8b");
    let details = notes.done(&secrets());
    assert_eq!((details.error, details.content.get().map(|content| content.reply.len())), (None, Some(0)));
}

#[test]
fn the_content_of_the_last_calls_is_kept() {
    let contents = Contents::default();
    let all: Vec<Arc<Details>> = (0..MAX_CONTENTS + 3).map(|_| Arc::new(told(true, 200, &[b"reply"]))).collect();
    all.iter().for_each(|details| contents.keep(details));
    let kept: Vec<bool> = all.iter().map(|details| details.content.get().is_some()).collect();
    assert_eq!(kept.iter().filter(|kept| !**kept).count(), 3);
    assert!(kept[..3].iter().all(|kept| !kept));
}
