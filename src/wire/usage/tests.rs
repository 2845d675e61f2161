//! The meter and the filter against recorded and made-up replies, cut in every way.

use super::pick::LONGEST_VALUE;
use super::*;
use crate::money::{Tier, Usage};
use crate::wire::bom::BOM;
use proptest::collection::vec;
use proptest::prelude::*;

/// A case of the data file.
struct Case {
    name: String,
    endpoint: Endpoint,
    events: bool,
    expected: Reported,
    over: bool,
    /// Where the event that ends the stream begins.
    last_at: Option<usize>,
    body: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let text = include_str!("../../../tests/data/usage_cases.txt");
    text.split("\n=== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (name, rest) = text.split_once('\n').expect("a name");
    let (header, body) = rest.split_once("---\n").unwrap_or_else(|| panic!("{name}: no body"));
    let field = |name: &str| header.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let says: Vec<&str> = field("says").expect("what it says").split_whitespace().collect();
    let (endpoint, kind) = field("for").and_then(|what| what.split_once(' ')).expect("what it is");
    let tier = says.iter().find_map(|word| counts::tier(word.strip_prefix("tier=")?.as_bytes()));
    let line_end = match field("as") {
        Some("crlf") => "\r\n",
        Some("cr") => "\r",
        _ => "\n",
    };
    let bom = if field("as") == Some("bom") { "\u{feff}" } else { "" };
    let body = bom.to_owned() + &(body.to_owned() + "\n").replace('\n', line_end);
    let begins = |start: &str| body.rfind(start).unwrap_or_else(|| panic!("{name}: no {start}"));
    Case {
        endpoint: match endpoint {
            "chat" => Endpoint::ChatCompletions,
            "completions" => Endpoint::Completions,
            "responses" => Endpoint::Responses,
            "embeddings" => Endpoint::Embeddings,
            "messages" => Endpoint::Messages,
            _ => Endpoint::Other,
        },
        events: kind == "events",
        expected: Reported { usage: usage(field("usage").expect("a usage")), complete: says.contains(&"complete"), tier },
        over: says.contains(&"over"),
        last_at: field("ends").map(begins),
        name: name.into(),
        body: body.into_bytes(),
    }
}

fn usage(text: &str) -> Option<Usage> {
    let mut usage = Usage::default();
    for (class, tokens) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
        let place = match class {
            "input" => &mut usage.input,
            "cache_read" => &mut usage.cache_read,
            "cache_write_5m" => &mut usage.cache_write_5m,
            "cache_write_1h" => &mut usage.cache_write_1h,
            "input_audio" => &mut usage.input_audio,
            "input_image" => &mut usage.input_image,
            "output" => &mut usage.output,
            "output_audio" => &mut usage.output_audio,
            "output_image" => &mut usage.output_image,
            "reasoning" => &mut usage.reasoning,
            other => panic!("no class {other}"),
        };
        *place = tokens.parse().expect("a number");
    }
    (text != "none").then_some(usage)
}

/// Feeds the pieces, and watches what must hold at each of them.
fn watched<'b>(case: &Case, pieces: impl IntoIterator<Item = &'b [u8]>) -> Meter {
    let mut meter = Meter::new(case.endpoint, case.events);
    let (mut fed, mut settled) = (0, None);
    for piece in pieces {
        meter.feed(piece);
        let name = &case.name;
        if let Some(at) = meter.terminal_at().filter(|_| case.events) {
            assert_eq!(Some(at), case.last_at.map(|last| last.saturating_sub(fed)), "{name}: where the last event begins");
        }
        assert!(!meter.is_over() || meter.terminal_at().is_some(), "{name}: over before it was seen to end");
        if meter.is_over() {
            assert_eq!(*settled.get_or_insert(meter.reported()), meter.reported(), "{name}: reported more when it was over");
        }
        fed += piece.len();
    }
    meter
}

fn check(case: &Case, meter: &Meter, how: &str) {
    assert_eq!(meter.reported(), case.expected, "{}, {how}", case.name);
    if case.events {
        assert_eq!(meter.is_over(), case.over, "{}, {how}: over", case.name);
        assert_eq!(meter.terminal_at().is_some(), case.last_at.is_some(), "{}, {how}: the last event", case.name);
    } else {
        let whole = serde_json::from_slice::<serde_json::Map<_, _>>(case.body.strip_prefix(BOM).unwrap_or(&case.body)).is_ok();
        assert!(meter.is_over() || !whole, "{}, {how}: the object has ended", case.name);
        assert_eq!(meter.terminal_at().is_some(), meter.is_over(), "{}, {how}", case.name);
    }
}

#[test]
fn a_reply_in_one_piece_is_over_when_its_object_ends() {
    let body = br#" {"a":"}","usage":{"prompt_tokens":1}} "#;
    let end = body.len() - 1;
    let mut meter = Meter::new(Endpoint::ChatCompletions, false);
    meter.feed(&body[..end - 1]);
    assert_eq!((meter.is_over(), meter.terminal_at()), (false, None));
    meter.feed(&body[end - 1..end]);
    assert_eq!((meter.is_over(), meter.terminal_at()), (true, Some(0)));
    meter.feed(&body[end..]);
    assert!(meter.is_over());
}

#[test]
fn cases_whole_and_byte_by_byte() {
    let cases = cases();
    assert!(cases.len() >= 50, "{} cases", cases.len());
    for case in &cases {
        check(case, &watched(case, [&case.body[..]]), "whole");
        check(case, &watched(case, case.body.chunks(1)), "byte by byte");
        check(case, &watched(case, case.body.chunks(1).flat_map(|byte| [byte, &[]])), "with empty pieces");
    }
}

#[test]
fn cases_cut_anywhere() {
    for case in &cases() {
        for at in 0..=case.body.len() {
            let (before, after) = case.body.split_at(at);
            check(case, &watched(case, [before, after]), &format!("cut at {at}"));
        }
    }
}

/// Before the end is recognised, no client has seen a whole line that tells it.
#[test]
fn the_end_is_recognised_before_its_line_is_whole() {
    for case in cases() {
        let Some(last_at) = case.last_at else { continue };
        let mut meter = Meter::new(case.endpoint, case.events);
        let recognised = case.body.chunks(1).position(|byte| {
            meter.feed(byte);
            meter.terminal_at().is_some()
        });
        let passed = &case.body[last_at..recognised.expect("an end")];
        let lines = String::from_utf8_lossy(passed);
        let told = lines.split(['\n', '\r']).rev().skip(1).any(|line| line.contains("[DONE]") || line.contains("\"type\""));
        assert!(!told, "{}: {lines}", case.name);
    }
}

fn cut<'b>(body: &'b [u8], cuts: &[usize]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    places.extend([0, body.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn cases_cut_at_random(nth in any::<prop::sample::Index>(), cuts in vec(any::<usize>(), 0..12)) {
        let cases = cases();
        let case = &cases[nth.index(cases.len())];
        check(case, &watched(case, cut(&case.body, &cuts)), "cut at random");
    }

    /// Text made of what the machine looks at: whatever it is, the cuts do not matter.
    #[test]
    fn noise_cut_at_random(words in vec(prop::sample::select(WORDS.to_vec()), 0..40), cuts in vec(any::<usize>(), 0..8), endpoint in 0usize..3, events: bool) {
        let body = words.concat().into_bytes();
        let endpoint = [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Messages][endpoint];
        let mut whole = Meter::new(endpoint, events);
        whole.feed(&body);
        let mut pieces = Meter::new(endpoint, events);
        cut(&body, &cuts).into_iter().for_each(|piece| pieces.feed(piece));
        prop_assert_eq!(whole.reported(), pieces.reported());
        prop_assert_eq!(whole.is_over(), pieces.is_over());
        prop_assert_eq!(whole.terminal_at().is_some(), pieces.terminal_at().is_some());
    }

    /// Events that begin alike are followed from where they differ: that must not be seen.
    #[test]
    fn events_alike_cut_at_random(chosen in vec((0usize..4, 0usize..8), 0..8), cuts in vec(any::<usize>(), 0..8), endpoint in 0usize..3) {
        let heads = [r#"{"type":"a","service_tier":"#, r#"{"service_tier":"#, r#"{"id":1,"type":"#, r#"{"response":{"id":[]},"message":{},"type":"#];
        let tails = [
            r#""flex","choices":[]}"#, r#""priority","delta":{"a":1},"usage":{"prompt_tokens":3,"output_tokens":4}}"#, r#""flex","#,
            r#""error","choices":[{"x":"\\\""}],"usage":null}"#, r#""response.failed","choices":[],"response":{"usage":{"input_tokens":5}}}"#,
            r#""message_stop","choices":{}}"#, r#""flex","message":{"usage":{"input_tokens":6}},"choices":[],"error":null}"#, r#""flex","choices": [],"error":1}"#,
        ];
        let body: String = chosen.iter().map(|(head, tail)| format!("data: {}{}\n\n", heads[*head], tails[*tail])).collect();
        let endpoint = [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Messages][endpoint];
        let told = |pieces: Vec<&[u8]>| {
            let mut meter = Meter::new(endpoint, true);
            pieces.into_iter().for_each(|piece| meter.feed(piece));
            (meter.reported(), meter.is_over(), meter.terminal_at().is_some())
        };
        let one_by_one = told(body.as_bytes().chunks(1).collect());
        prop_assert_eq!(told(vec![body.as_bytes()]), one_by_one);
        prop_assert_eq!(told(cut(body.as_bytes(), &cuts)), one_by_one);
    }

    #[test]
    fn random_bytes_do_no_harm(pieces in vec(vec(any::<u8>(), 0..300), 0..20), events: bool) {
        let mut meter = Meter::new(Endpoint::ChatCompletions, events);
        pieces.iter().for_each(|piece| meter.feed(piece));
        prop_assert!(meter.picker.held() <= LONGEST_VALUE + 1);
    }

    /// The picker finds what a parser finds.
    #[test]
    fn agrees_with_a_parser(before in ".*", key in ".*", prompt in 1u64..1 << 40, completion in 0u64..1 << 40, cuts in vec(any::<usize>(), 0..4)) {
        let body = serde_json::json!({
            "a": before, "b": {&key: [&before, {&key: null}]}, "usage": {"prompt_tokens": prompt, "completion_tokens": completion}, "z": key,
        }).to_string().into_bytes();
        let mut meter = Meter::new(Endpoint::ChatCompletions, false);
        cut(&body, &cuts).into_iter().for_each(|piece| meter.feed(piece));
        prop_assert_eq!(meter.reported().usage, Some(Usage { input: prompt, output: completion, ..Usage::default() }));
    }

    /// However inconsistent, the input costs no less than the prompt as text where the cache can't explain it, and no output is lost.
    #[test]
    fn figures_never_shrink(prompt in 0u64..100, cached in 0u64..150, audio in 0u64..150, image in 0u64..150, completion in 0u64..100, reasoning in 0u64..150, total in 0u64..300) {
        let body = serde_json::json!({"usage": {
            "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": audio, "image_tokens": image},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }}).to_string();
        let mut meter = Meter::new(Endpoint::ChatCompletions, false);
        meter.feed(body.as_bytes());
        let usage = meter.reported().usage.unwrap_or_default();
        prop_assert!(usage.input_tokens() >= prompt);
        let full_price = usage.input_tokens() - usage.cache_read;
        prop_assert!(cached + audio <= prompt || full_price >= prompt, "{usage:?}");
        prop_assert!(usage.output_tokens() >= completion.max(reasoning) && usage.output_tokens() + prompt >= total);
        prop_assert!(usage.reasoning <= usage.output);
    }

    #[test]
    fn the_filter_takes_out_the_usage_chunk_only(chosen in vec(0usize..EVENTS.len(), 0..8), line_end in 0usize..3, unfinished: bool, cuts in vec(any::<usize>(), 0..10)) {
        let (body, expected) = stream(&chosen, ["\n", "\r\n", "\r"][line_end], unfinished);
        for pieces in [cut(&body, &cuts), vec![&body[..]], body.chunks(1).collect()] {
            prop_assert_eq!(filtered(pieces), String::from_utf8_lossy(&expected));
        }
    }
}

const WORDS: [&str; 36] = [
    "data: ",
    "data:",
    "event: ",
    "\n",
    "\n",
    "\n\n",
    "\r",
    "\r\n\r\n",
    ":",
    ",",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u0061",
    "\"usage\":",
    "{\"prompt_tokens\":7}",
    "{\"input_tokens\":7,\"output_tokens\":1}",
    "{\"usage\":",
    "\"us\\u0061ge\":",
    "\"type\":",
    "\"error\":",
    "null",
    "message_stop",
    "error",
    "\"response.completed\"",
    "[DONE]",
    "1.5e3",
    "\u{feff}",
    "\"response\":{",
    "\"message\":{",
    "\"service_tier\":\"flex\"",
    " ",
    "}}",
];

/// Events, and whether they are usage chunks; `~` stands for a line end.
const EVENTS: [(&str, bool); 16] = [
    (r#"data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":3}}~~"#, true),
    (r#"data:{ "usage" : { } , "choices" : [ ] }~~"#, true),
    (r#"id: 1~data: {"us\u0061ge":{"prompt_tokens":8},~data: "choices":[~data: ]}~: c~~"#, true),
    (r#"data: {"choices":[{"usage":1}],"usage":{},"choices":[]}~~"#, true),
    (r#"data: {"choices":[],"usage":null}~~"#, false),
    (r#"data: {"choices":[{"delta":{"content":"a"}}],"usage":null}~~"#, false),
    (r#"data: {"choices":[{"delta":{"content":"\"usage\":{}"}}],"usage" :  null}~~"#, false),
    (r#"data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":8}}~~"#, false),
    (r#"data: {"choices":[],"prompt_filter_results":[{"usage":{}}]}~~"#, false),
    (r#"data: {"usage":{"prompt_tokens":8}}~~"#, false),
    (r#"data: {"choices":[],"usage":{"prompt_tokens":8}~~"#, false),
    (r#"data: {"choices":[[]],"usage":{"prompt_tokens":8}}~~"#, false),
    (r#"x: {"choices":[],"usage":{"prompt_tokens":8}}~~"#, false),
    (": keepalive~~", false),
    ("~", false),
    ("data: [DONE]~~", false),
];

/// A stream of these events, and what is left of it.
fn stream(chosen: &[usize], line_end: &str, unfinished: bool) -> (Vec<u8>, Vec<u8>) {
    let (mut body, mut expected) = (String::new(), String::new());
    for (event, is_usage) in chosen.iter().map(|nth| EVENTS[*nth]) {
        let event = event.replace('~', line_end);
        body += &event;
        expected += if is_usage { "" } else { &event };
    }
    if unfinished {
        let rest = r#"data: {"choices":[],"usage":{"prompt_tokens":8}}"#;
        body += rest;
        expected += rest;
    }
    (body.into_bytes(), expected.into_bytes())
}

fn filtered<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> String {
    let (mut filter, mut out) = (WithoutUsage::default(), Vec::new());
    pieces.into_iter().for_each(|piece| filter.feed(piece, &mut out));
    filter.finish(&mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn the_filter_at_every_cut() {
    for line_end in ["\n", "\r\n", "\r"] {
        let all: Vec<usize> = (0..EVENTS.len()).collect();
        let (body, expected) = stream(&all, line_end, true);
        for at in 0..=body.len() {
            let (before, after) = body.split_at(at);
            assert_eq!(filtered([before, after]).as_bytes(), expected, "{line_end:?} cut at {at}");
        }
    }
}

#[test]
fn the_filter_passes_whole_events_at_once() {
    let (mut filter, mut out) = (WithoutUsage::default(), Vec::new());
    filter.feed(b"data: a\n\ndata: b", &mut out);
    assert_eq!(out, b"data: a\n\n");
    filter.feed(b"\r\n\r", &mut out);
    assert_eq!(out, b"data: a\n\ndata: b\r\n\r");
}

#[test]
fn the_filter_holds_no_more_than_its_bound() {
    let long = format!(r#"data: {{"choices":[],"x":"{}","usage":{{}}}}"#, "x".repeat(256 << 10)) + "\n\n";
    let body = format!("{long}data: {{\"choices\":[],\"usage\":{{}}}}\n\ndata: x\n\n");
    let expected = format!("{long}data: x\n\n");
    for size in [1000, 100_000, body.len()] {
        assert!(filtered(body.as_bytes().chunks(size)) == expected, "in pieces of {size}");
    }
}

/// A value that is too long is not collected, and what follows it is still found.
#[test]
fn values_are_bounded() {
    let long = "x".repeat(LONGEST_VALUE + 1);
    for (body, input) in [
        (format!(r#"{{"usage":{{"prompt_tokens":1,"x":"{long}"}}}}"#), None),
        (format!(r#"{{"service_tier":"{long}","{long}":1,"usage":{{"prompt_tokens":1}}}}"#), Some(1)),
        (format!(r#"{{"usage":{{"prompt_tokens":1}},"usage":"{long}"}}"#), Some(1)),
    ] {
        for size in [1000, body.len()] {
            let mut meter = Meter::new(Endpoint::ChatCompletions, false);
            body.as_bytes().chunks(size).for_each(|piece| meter.feed(piece));
            assert_eq!(meter.reported().usage.map(|usage| usage.input), input);
            assert!(meter.picker.held() <= LONGEST_VALUE + 1);
        }
    }
}

#[test]
fn an_error_too_long_to_collect_is_still_an_error() {
    let mut meter = Meter::new(Endpoint::ChatCompletions, true);
    meter.feed(format!("data: {{\"error\":\"{}\"}}\n\n", "x".repeat(LONGEST_VALUE)).as_bytes());
    assert!(meter.is_over());
}

#[test]
fn tiers_by_their_words() {
    for (word, known) in [
        ("default", Some(Tier::Standard)),
        ("scale", Some(Tier::Standard)),
        ("flex", Some(Tier::Flex)),
        ("priority", Some(Tier::Priority)),
        ("batch", Some(Tier::Batch)),
        ("auto", None),
        ("on_demand", None),
    ] {
        assert_eq!(counts::tier(word.as_bytes()), known, "{word}");
    }
}
