//! One protocol's conversation in the other's words: tables of cases, every stream replayed whole, byte by byte and cut at every offset.
//!
//! The form of the files in `tests/data/translate`: a case begins with `=== NAME`; lines `WORD: VALUE` follow; then its bodies, each
//! begun by a line `--- in` or `--- out`. Words:
//!
//! * `far:` the upstream of a request: `own` (the default) or `compatible`, and `limit=N`
//! * `loss:` what `x-iron-lossy` must say; without it nothing may be lost
//! * `refused:` the code of a 400, then words of its message; there is no `out`
//! * `plan:` `include_usage`, `answer_tool=NAME`: how a reply is to be read
//! * `kept:` how many tool calls have thinking to be kept
//! * `garbled:` words of the complaint about a reply that is none
//! * `status:` of an error
//! * `ends:` `cut` where a stream ends before its reply has
//! * `ignored:` how many events are unknown
//!
//! JSON is compared by value, streams by the names and values of their events. `<N*text>` in a body repeats.

use iron_runtime::Protocol;
use iron_runtime::wire::translate::{Ended, Far, Plan, Stream, request};
use serde_json::Value;

/// When replies are said to have begun, where they do not tell.
const CREATED: u64 = 1_700_000_000;

#[derive(Default)]
struct Case {
    name: String,
    words: Vec<(String, String)>,
    input: String,
    output: Option<String>,
}

impl Case {
    fn word(&self, wanted: &str) -> Option<&str> {
        self.words.iter().find(|(word, _)| word == wanted).map(|(_, value)| value.as_str())
    }

    fn far(&self, protocol: Protocol) -> Far {
        let words = self.word("far").unwrap_or_default();
        let model_limit = words.split(' ').find_map(|word| word.strip_prefix("limit=")).map(|limit| limit.parse().expect("a number"));
        Far { protocol, own: !words.contains("compatible"), model_limit }
    }

    fn plan(&self, client: Protocol) -> Plan {
        let words = self.word("plan").unwrap_or_default();
        let answer_tool = words.split(' ').find_map(|word| word.strip_prefix("answer_tool=")).map(String::from);
        Plan {
            client,
            upstream: other(client),
            include_usage: words.contains("include_usage"),
            answer_tool,
            names: Vec::new(),
            created: CREATED,
        }
    }
}

fn other(protocol: Protocol) -> Protocol {
    match protocol {
        Protocol::OpenAi => Protocol::Anthropic,
        Protocol::Anthropic => Protocol::OpenAi,
    }
}

/// `<N*text>` repeated.
fn unfold(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let fold = rest[at + 1..].split_once('>').and_then(|(fold, after)| {
            let (times, what) = fold.split_once('*')?;
            Some((what.repeat(times.parse().ok()?), after))
        });
        match fold {
            Some((repeated, after)) => {
                out.push_str(&repeated);
                rest = after;
            }
            None => {
                out.push('<');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

fn cases(file: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(format!("tests/data/translate/{file}.txt")).unwrap_or_else(|fault| panic!("{file}: {fault}"));
    let mut cases: Vec<Case> = Vec::new();
    let mut section = None;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches('\n');
        if let Some(name) = bare.strip_prefix("=== ") {
            assert!(cases.iter().all(|case| case.name != name), "{file}: two cases named {name:?}");
            cases.push(Case { name: name.into(), ..Case::default() });
            section = None;
            continue;
        }
        let Some(case) = cases.last_mut() else {
            assert!(bare.is_empty() || bare.starts_with('#'), "{file}: {bare:?} before the first case");
            continue;
        };
        match (bare, section) {
            ("--- in", _) => section = Some("in"),
            ("--- out", _) => {
                section = Some("out");
                case.output = Some(String::new());
            }
            (_, Some("in")) => case.input.push_str(line),
            (_, Some(_)) => case.output.as_mut().expect("it has begun").push_str(line),
            ("", None) => {}
            (_, None) => {
                let (word, value) = bare.split_once(": ").unwrap_or_else(|| panic!("{}: {bare:?} is no WORD: VALUE", case.name));
                case.words.push((word.into(), value.into()));
            }
        }
    }
    for case in &mut cases {
        case.input = unfold(&case.input);
        case.output = case.output.as_deref().map(unfold);
    }
    cases
}

/// Runs every case of a file and tells all that went wrong at once.
fn run(file: &str, least: usize, check: impl Fn(&Case) -> Result<(), String>) {
    let cases = cases(file);
    let wrong: Vec<String> =
        cases.iter().filter_map(|case| check(case).err().map(|why| format!("=== {} ({file})\n{why}", case.name))).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= least, "only {} cases in {file}", cases.len());
}

fn json(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).map_err(|fault| format!("no JSON: {fault}: {}", String::from_utf8_lossy(text)))
}

fn same(found: &[u8], expected: Option<&str>) -> Result<(), String> {
    let expected = expected.ok_or_else(|| format!("there is no `out`; found {}", String::from_utf8_lossy(found)))?;
    let (found, expected) = (json(found)?, json(expected.as_bytes())?);
    if found == expected { Ok(()) } else { Err(format!("expected {expected}\nfound    {found}")) }
}

fn check_request(case: &Case, client: Protocol) -> Result<(), String> {
    let far = case.far(other(client));
    let translated = match (request(client, &far, case.input.trim().as_bytes(), &|_| None), case.word("refused")) {
        (Ok(translated), None) => translated,
        (Ok(translated), Some(refused)) => {
            return Err(format!("expected a refusal, {refused}; found {}", String::from_utf8_lossy(&translated.body)));
        }
        (Err(refusal), refused) => {
            let (code, words) = refused.unwrap_or_default().split_once(' ').unwrap_or_default();
            let as_expected = refusal.reason.code() == code && refusal.message.contains(words);
            return if as_expected { Ok(()) } else { Err(format!("refused: {} {}", refusal.reason.code(), refusal.message)) };
        }
    };
    same(&translated.body, case.output.as_deref())?;
    let lost = translated.loss.to_header();
    let expected = case.word("loss").unwrap_or_default();
    if lost == expected { Ok(()) } else { Err(format!("lost {lost:?}, expected {expected:?}")) }
}

fn check_reply(case: &Case, client: Protocol) -> Result<(), String> {
    match (case.plan(client).reply(case.input.trim().as_bytes()), case.word("garbled")) {
        (Ok(whole), None) => {
            let kept = case.word("kept").map_or(0, |count| count.parse().expect("a number"));
            if whole.kept.len() != kept {
                return Err(format!("{} calls have kept thinking, expected {kept}", whole.kept.len()));
            }
            same(&whole.body, case.output.as_deref())
        }
        (Err(garbled), Some(words)) if garbled.0.contains(words) => Ok(()),
        (other, _) => Err(format!("{other:?}")),
    }
}

/// A translated stream: what came out, how it ended, how many events were ignored, how many calls have kept thinking.
fn translated(plan: &Plan, pieces: &[&[u8]]) -> (Vec<u8>, Ended, u64, usize) {
    let mut stream: Stream = plan.stream();
    let (mut out, mut kept) = (Vec::new(), 0);
    for piece in pieces {
        stream.feed(piece, &mut out);
        kept += stream.take_kept().len();
    }
    let ended = stream.finish(&mut out);
    (out, ended, stream.ignored(), kept)
}

/// The events of a stream as `NAME VALUE` a line, comments left out.
fn events(stream: &str) -> Result<Vec<(String, Value)>, String> {
    let mut events = Vec::new();
    for block in stream.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let (mut name, mut data) = (String::new(), String::new());
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => name = value.into(),
                Some(("data", value)) => data.push_str(value),
                _ if line.starts_with(':') || line.starts_with('#') => {}
                _ => return Err(format!("{line:?} is no line of an event")),
            }
        }
        if !data.is_empty() {
            events.push((name, if data == "[DONE]" { Value::from(data) } else { json(data.as_bytes())? }));
        }
    }
    Ok(events)
}

fn check_stream(case: &Case, client: Protocol) -> Result<(), String> {
    let plan = case.plan(client);
    let input = case.input.as_bytes();
    let whole = translated(&plan, &[input]);
    let found = events(&String::from_utf8_lossy(&whole.0))?;
    let expected = events(case.output.as_deref().ok_or("there is no `out`")?)?;
    for (nth, pair) in found.iter().zip(&expected).enumerate() {
        if pair.0 != pair.1 {
            return Err(format!("event {nth}:\nexpected {:?} {}\nfound    {:?} {}", pair.1.0, pair.1.1, pair.0.0, pair.0.1));
        }
    }
    if found.len() != expected.len() {
        let more = if found.len() > expected.len() { &found[expected.len()..] } else { &expected[found.len()..] };
        return Err(format!("{} events, expected {}; beyond: {more:?}", found.len(), expected.len()));
    }
    let ended = if case.word("ends") == Some("cut") { Ended::Cut } else { Ended::Whole };
    let number = |word: &str| case.word(word).map_or(0, |count| count.parse().expect("a number"));
    if (whole.1, whole.2, whole.3 as u64) != (ended, number("ignored"), number("kept")) {
        return Err(format!("ended {:?}, {} ignored, {} kept", whole.1, whole.2, whole.3));
    }
    for at in 0..=input.len() {
        if translated(&plan, &[&input[..at], &input[at..]]) != whole {
            return Err(format!("another result when cut at byte {at}"));
        }
    }
    let bytes: Vec<&[u8]> = input.chunks(1).collect();
    if translated(&plan, &bytes) != whole {
        return Err("another result byte by byte".into());
    }
    // Other line ends, other layout: the same events.
    let crlf = case.input.replace('\n', "\r\n");
    if translated(&plan, &[crlf.as_bytes()]).0 != whole.0 {
        return Err("another result with CRLF".into());
    }
    Ok(())
}

fn check_error(case: &Case, client: Protocol) -> Result<(), String> {
    let status = case.word("status").expect("a status").parse().expect("a number");
    same(&case.plan(client).error(status, case.input.trim_end_matches('\n').as_bytes()), case.output.as_deref())
}

#[test]
fn requests_of_openai_clients() {
    run("requests_openai", 70, |case| check_request(case, Protocol::OpenAi));
}

#[test]
fn requests_of_anthropic_clients() {
    run("requests_anthropic", 180, |case| check_request(case, Protocol::Anthropic));
}

#[test]
fn replies_to_openai_clients() {
    run("replies_openai", 1, |case| check_reply(case, Protocol::OpenAi));
}

#[test]
fn replies_to_anthropic_clients() {
    run("replies_anthropic", 1, |case| check_reply(case, Protocol::Anthropic));
}

#[test]
fn streams_to_openai_clients() {
    run("streams_openai", 1, |case| check_stream(case, Protocol::OpenAi));
}

#[test]
fn streams_to_anthropic_clients() {
    run("streams_anthropic", 1, |case| check_stream(case, Protocol::Anthropic));
}

#[test]
fn errors_to_openai_clients() {
    run("errors_openai", 1, |case| check_error(case, Protocol::OpenAi));
}

#[test]
fn errors_to_anthropic_clients() {
    run("errors_anthropic", 1, |case| check_error(case, Protocol::Anthropic));
}

/// What a provider takes no name as long as is called by a shorter one there, and by its own name here: in replies and streams.
#[test]
fn a_tool_of_a_long_name_keeps_it() {
    let long = format!("mcp__{}", "server_".repeat(12));
    let far = Far { protocol: Protocol::OpenAi, own: true, model_limit: None };
    let body = serde_json::json!({
        "model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": long, "input_schema": {"type": "object"}}],
    });
    let translated = request(Protocol::Anthropic, &far, body.to_string().as_bytes(), &|_| None).expect("a request");
    let sent = json(&translated.body).expect("JSON");
    let short = sent["tools"][0]["function"]["name"].as_str().expect("a name");
    assert!(short.len() == 64 && long.starts_with(&short[..50]), "{short}");
    let call = serde_json::json!({"index": 0, "id": "c", "type": "function", "function": {"name": short, "arguments": "{}"}});
    let message = serde_json::json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let reply = serde_json::json!({"id": "x", "object": "chat.completion", "model": "gpt-4o",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    let whole = translated.plan.reply(reply.to_string().as_bytes()).expect("a reply");
    assert_eq!(json(&whole.body).expect("JSON")["content"][0]["name"], long);
    let chunk = serde_json::json!({"id": "x", "object": "chat.completion.chunk", "model": "gpt-4o",
        "choices": [{"index": 0, "delta": message, "finish_reason": "tool_calls"}]});
    let stream = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    let (out, ended, ..) = self::translated(&translated.plan, &[stream.as_bytes()]);
    assert!(ended == Ended::Whole && String::from_utf8_lossy(&out).contains(&long), "{}", String::from_utf8_lossy(&out));
}
