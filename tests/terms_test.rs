//! What a request may cost, read off its body: a table of cases, and properties against a parser that builds a tree.

use iron_runtime::call::Endpoint;
use iron_runtime::money::{Terms, Tiers};
use iron_runtime::wire::terms::{Edit, REQUEST_TOKENS, include_usage, limit_output, read};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const ENDPOINTS: [(&str, Endpoint, Option<&str>); 5] = [
    ("chat", Endpoint::ChatCompletions, Some("max_completion_tokens")),
    ("completions", Endpoint::Completions, Some("max_tokens")),
    ("responses", Endpoint::Responses, Some("max_output_tokens")),
    ("embeddings", Endpoint::Embeddings, None),
    ("messages", Endpoint::Messages, Some("max_tokens")),
];

// --- the table ---

/// `<N*text>` repeated.
fn unfold(text: &str) -> String {
    let Some((before, rest)) = text.split_once('<') else { return text.into() };
    let (fold, after) = rest.split_once('>').expect("a fold ends");
    let (times, what) = fold.split_once('*').expect("N*text");
    before.to_string() + &what.repeat(times.parse().expect("a number")) + &unfold(after)
}

/// What was found, in the words of the table; and the whole message, of which the table has a word.
fn found(endpoint: Endpoint, own_field: Option<&str>, body: &str) -> (Vec<String>, Option<String>) {
    let reading = match read(endpoint, body.as_bytes()) {
        Ok(reading) => reading,
        Err(refusal) => return (vec![refusal.reason.code().into()], Some(refusal.message)),
    };
    let Terms { input_tokens, images, documents, audio_input, audio_output, cache_write, output_field, output_limit, .. } = reading.terms;
    let Terms { choices, thinking_budget, tiers, unbounded, .. } = reading.terms;
    let text = input_tokens as i64 - body.len() as i64;
    let number = |name: &str, found: Option<u64>| found.map(|number| format!("{name}={number}"));
    let flag = |name: &str, found: bool| found.then(|| name.to_string());
    let tier = if let Tiers::Only(tier) = tiers { Some(format!("tier={}", tier.as_str())) } else { None };
    let words = [
        reading.model.map(|model| format!("model={model}")),
        (text != REQUEST_TOKENS as i64).then(|| format!("text={text:+}")),
        number("images", Some(images).filter(|count| *count > 0)),
        flag("documents", documents),
        flag("audio-in", audio_input),
        flag("audio-out", audio_output),
        flag("cache", cache_write),
        number("limit", output_limit),
        output_field.filter(|field| Some(*field) != own_field).map(|field| format!("field={field}")),
        number("choices", Some(choices).filter(|count| *count != 1)),
        number("thinking", thinking_budget),
        tier,
        flag("unbounded", unbounded.is_some()),
    ];
    (words.into_iter().flatten().collect(), unbounded)
}

#[test]
fn cases() {
    let table = include_str!("data/terms_cases.txt");
    let mut lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut count, mut wrong) = (0, Vec::new());
    while let (Some(case), Some(expected)) = (lines.next(), lines.next()) {
        let (name, body) = case.split_once(' ').unwrap_or((case, ""));
        let (_, endpoint, own_field) = ENDPOINTS.iter().find(|(known, ..)| *known == name).unwrap_or_else(|| panic!("{case}: endpoint?"));
        let (mut words, message) = found(*endpoint, *own_field, &unfold(body));
        let mut expected = expected.trim().to_string();
        if let Some(message) = message {
            // The rest of the line stands in the message.
            let known = words.join(" ");
            let rest = expected.strip_prefix(&known).unwrap_or("?").trim().to_string();
            expected = if !rest.is_empty() && message.contains(&rest) { known } else { format!("{expected}: {message}") };
        } else if words.is_empty() {
            words.push("-".into());
        }
        if words.join(" ") != expected {
            wrong.push(format!("{case}\n    expected {expected}\n    found    {}", words.join(" ")));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 150, "{count} cases");
}

/// The threads that read bodies have small stacks.
#[test]
fn the_deepest_body_fits_a_small_stack() {
    let tail = |times| r#"[{"type":"document","source":{"content":"#.repeat(times) + "1" + &"}}]".repeat(times);
    let bodies =
        [r#"{"messages":[{"content":"#.to_string() + &tail(150) + "}]}", "{\"a\":".to_string() + &"[".repeat(511) + &"]".repeat(511) + "}"];
    let read_all = move || bodies.iter().all(|body| read(Endpoint::Messages, body.as_bytes()).is_ok());
    let reading = std::thread::Builder::new().stack_size(128 << 10).spawn(read_all).expect("a thread");
    assert!(reading.join().expect("the stack suffices"));
}

// --- properties ---

/// Any JSON value, its keys now and then ones that mean something.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5).prop_map(|members| members.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

/// Keys that mean something in some place, but for those under which pictures and documents stand.
fn key() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "model",
        "messages",
        "input",
        "prompt",
        "content",
        "role",
        "type",
        "text",
        "tools",
        "thinking",
        "stream",
        "stream_options",
        "id",
        "cache_control",
        "image_url",
        "url",
        "file",
        "output",
        "source",
        "system",
        "metadata",
        "response_format",
    ]);
    prop_oneof![known.prop_map(String::from), any::<String>()]
}

/// The bytes of all text in a value, keys included.
fn text_bytes(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(elements) => elements.iter().map(text_bytes).sum(),
        Value::Object(members) => members.iter().map(|(key, value)| key.len() as u64 + text_bytes(value)).sum(),
        _ => 0,
    }
}

/// JSON with every character beyond ASCII as an escape, as Python's encoder writes it.
fn ascii(json: &str) -> String {
    let escaped = |unit: &mut u16| format!("\\u{unit:04x}");
    let one = |c: char| if c.is_ascii() { c.to_string() } else { c.encode_utf16(&mut [0; 2]).iter_mut().map(escaped).collect() };
    json.chars().map(one).collect()
}

/// The text of an object with these members in this order, some letters of the keys escaped.
fn written(members: &[(&str, Value, bool)]) -> String {
    let members = members.iter().map(|(key, value, escape)| {
        let (first, rest) = key.split_at(1);
        let key = if *escape { format!("\\u{:04x}{rest}", first.as_bytes()[0]) } else { key.to_string() };
        format!(" \"{key}\" : {value}")
    });
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// Members of a chat's top level, good and bad, once or more often.
fn members() -> impl Strategy<Value = Vec<(&'static str, Value, bool)>> {
    let number = prop_oneof![(0u64..9).prop_map(Value::from), any::<u64>().prop_map(Value::from), Just(Value::Null)];
    let odd = prop_oneof![Just(json!("7")), Just(json!(-1)), Just(json!(1.5)), Just(json!(true)), Just(json!([])), Just(json!({"n": 1}))];
    let numbers = ["max_tokens", "max_completion_tokens", "n"];
    let member = prop_oneof![
        4 => (prop::sample::select(numbers.to_vec()), number),
        1 => (prop::sample::select(numbers.to_vec()), odd),
        2 => (Just("model"), prop_oneof![any::<String>().prop_map(Value::from), Just(Value::Null)]),
        3 => (Just("stream"), prop_oneof![Just(json!(true)), Just(json!(false)), Just(Value::Null)]),
        3 => (Just("stream_options"), prop_oneof![
            Just(json!({})), Just(json!({"include_usage": true})), Just(json!({"include_usage": false, "a": "}"})),
            Just(json!({"include_obfuscation": false})), Just(json!({"include_usage": null})), Just(Value::Null),
        ]),
        2 => (prop::sample::select(vec!["x", "y", "z"]), value()),
    ];
    prop::collection::vec((member, any::<bool>()).prop_map(|((key, value), escape)| (key, value, escape)), 0..6)
}

fn without_duplicates(members: Vec<(&'static str, Value, bool)>) -> Vec<(&'static str, Value, bool)> {
    let mut kept: Vec<(&str, Value, bool)> = Vec::new();
    for member in members {
        if kept.iter().all(|(key, ..)| *key != member.0) {
            kept.push(member);
        }
    }
    kept
}

/// Makes edits in the order in which they are given.
fn edited(body: &str, edits: &[Edit]) -> String {
    let mut body = body.to_string();
    for edit in edits {
        body.replace_range(edit.at.clone(), &edit.text);
    }
    body
}

proptest! {
    #[test]
    fn never_panics(body in prop::collection::vec(prop_oneof![
        4 => prop::sample::select(br#"{}[]":,\ n-1.e"#.to_vec()).prop_map(|byte| vec![byte]),
        2 => prop::sample::select(vec![
            &b"\"messages\":["[..], b"\"content\":[", b"{\"type\":\"image\",", b"\"source\":{", b"\"n\":", b"\"stream\":true", b"\\u00", b"\xff", b"null",
        ]).prop_map(<[u8]>::to_vec),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ], 0..40)) {
        let body = [&b"{"[..], &body.concat()].concat();
        for (_, endpoint, field) in ENDPOINTS {
            let _ = read(endpoint, &body);
            let _ = limit_output(&body, endpoint, field.unwrap_or_default(), 16);
        }
        let _ = include_usage(&body);
    }

    /// What is refused is refused for what it is; what is read is what a parser reads.
    #[test]
    fn agrees_with_a_parser(members in members()) {
        let body = written(&members);
        let parsed: Value = serde_json::from_str(&body).unwrap();
        let of = |key: &str| members.iter().filter(|(own, ..)| *own == key).map(|(_, value, _)| value).collect::<Vec<_>>();
        let read_keys = ["model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n"];
        let twice = read_keys.iter().any(|key| of(key).len() > 1);
        let wrong = ["max_tokens", "max_completion_tokens", "n"].iter().any(|key| of(key).iter().any(|value| !value.is_null() && !value.is_u64()));
        match read(Endpoint::ChatCompletions, body.as_bytes()) {
            Err(refusal) => {
                let code = refusal.reason.code();
                prop_assert!(twice && code == "duplicate_field" || wrong && code == "invalid_field", "{body}: {}", refusal.message);
            }
            Ok(reading) => {
                prop_assert!(!twice && !wrong, "{body}");
                prop_assert_eq!(reading.model.as_deref(), parsed["model"].as_str());
                let limit = parsed["max_tokens"].as_u64().max(parsed["max_completion_tokens"].as_u64());
                prop_assert_eq!(reading.terms.output_limit, limit);
                prop_assert_eq!(reading.terms.choices, parsed["n"].as_u64().unwrap_or(1).max(1));
            }
        }
    }

    /// The bound holds for tokens of one byte, however the text was escaped.
    #[test]
    fn no_text_is_longer_than_its_bound(members in prop::collection::vec((key(), value()), 0..6), escape in any::<bool>()) {
        let body = Value::Object(members.into_iter().filter(|(key, _)| key != "model").collect());
        let text = if escape { ascii(&body.to_string()) } else { body.to_string() };
        for (_, endpoint, _) in ENDPOINTS {
            let terms = read(endpoint, text.as_bytes()).map_err(|refusal| TestCaseError::fail(refusal.message))?.terms;
            prop_assert!(terms.input_tokens >= text_bytes(&body), "{text}");
        }
    }

    /// Pictures are counted where the protocol takes them, one by one, and nothing but their base64 is left out.
    #[test]
    fn pictures_are_left_out_of_the_text(parts in prop::collection::vec((any::<bool>(), "[A-Za-z0-9+/]{0,60}", any::<bool>()), 0..6)) {
        let url = |data: &str| format!("data:image/png;base64,{data}");
        let part = |(picture, data, first): &(bool, String, bool), shape: &dyn Fn(&str) -> Value| {
            let part = if *picture { shape(data) } else { json!({"type": "text", "text": url(data)}) };
            // `type` first or last.
            let mut members: Vec<_> = part.as_object().unwrap().iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            if *first { members.reverse() }
            format!("{{{}}}", members.join(","))
        };
        let chat = |data: &str| json!({"type": "image_url", "image_url": {"url": url(data)}});
        let messages = |data: &str| json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}});
        let pictures = parts.iter().filter(|(picture, ..)| *picture);
        let (count, bytes) = (pictures.clone().count() as u64, pictures.map(|(_, data, _)| data.len() as u64).sum::<u64>());
        for (endpoint, shape) in [(Endpoint::ChatCompletions, &chat as &dyn Fn(&str) -> Value), (Endpoint::Messages, &messages)] {
            let content: Vec<_> = parts.iter().map(|parts| part(parts, shape)).collect();
            let body = format!(r#"{{"messages":[{{"role":"user","content":[{}]}}]}}"#, content.join(","));
            let terms = read(endpoint, body.as_bytes()).unwrap().terms;
            prop_assert_eq!(terms.images, count, "{}", &body);
            prop_assert_eq!(terms.input_tokens, body.len() as u64 - bytes + REQUEST_TOKENS, "{}", &body);
        }
    }

    /// The stream's usage is asked for, and nothing else has changed.
    #[test]
    fn usage_is_put_in_and_nothing_else(members in members().prop_map(without_duplicates)) {
        let body = written(&members);
        let before: Value = serde_json::from_str(&body).unwrap();
        let wanted = before["stream"] == true && before["stream_options"]["include_usage"] != true;
        let edit = include_usage(body.as_bytes());
        prop_assert_eq!(edit.is_some(), wanted, "{}", &body);
        let after: Value = serde_json::from_str(&edited(&body, edit.as_slice())).unwrap();
        let mut expected = before;
        if wanted {
            if expected["stream_options"].is_null() {
                expected["stream_options"] = json!({});
            }
            expected["stream_options"]["include_usage"] = json!(true);
        }
        prop_assert_eq!(after, expected, "{}", &body);
    }

    /// Afterwards every limit is at or below the new one, there is one, and nothing else has changed.
    #[test]
    fn limits_are_lowered_and_nothing_else(members in members().prop_map(without_duplicates), limit in 0u64..9, older in any::<bool>()) {
        let body = written(&members);
        let Ok(reading) = read(Endpoint::ChatCompletions, body.as_bytes()) else { return Ok(()) };
        let field = if older { "max_tokens" } else { reading.terms.output_field.unwrap() };
        let after = edited(&body, &limit_output(body.as_bytes(), Endpoint::ChatCompletions, field, limit));
        let mut expected: Value = serde_json::from_str(&body).unwrap();
        let fields = ["max_tokens", "max_completion_tokens"];
        let none = fields.iter().all(|field| expected[*field].is_null());
        for field in fields {
            if let Some(own) = expected[field].as_u64() {
                expected[field] = own.min(limit).into();
            }
        }
        if none {
            expected[field] = limit.into();
        }
        prop_assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), expected, "{}", &body);
        prop_assert!(limit_output(after.as_bytes(), Endpoint::ChatCompletions, field, limit).is_empty());
    }
}

#[test]
fn edits_by_example() {
    let limited = |body: &str, field: &str| edited(body, &limit_output(body.as_bytes(), Endpoint::ChatCompletions, field, 64));
    for (body, field, after) in [
        (r#"{}"#, "max_tokens", r#"{"max_tokens":64}"#),
        (r#" { "n": 1 }"#, "max_tokens", r#" {"max_tokens":64, "n": 1 }"#),
        (r#"{"max_tokens":65}"#, "max_tokens", r#"{"max_tokens":64}"#),
        (r#"{"max_tokens":63}"#, "max_tokens", r#"{"max_tokens":63}"#),
        (r#"{"max_tokens":null}"#, "max_tokens", r#"{"max_tokens":64}"#),
        (r#"{"max_tokens":null}"#, "max_completion_tokens", r#"{"max_completion_tokens":64,"max_tokens":null}"#),
        (r#"{"max_tokens":99,"max_completion_tokens":100}"#, "max_tokens", r#"{"max_tokens":64,"max_completion_tokens":64}"#),
        (r#"{"max\u005ftokens":99}"#, "max_completion_tokens", r#"{"max\u005ftokens":64}"#),
        (r#"{"messages":[{"max_tokens":99}],"max_tokens":70}"#, "max_tokens", r#"{"messages":[{"max_tokens":99}],"max_tokens":64}"#),
    ] {
        assert_eq!(limited(body, field), after);
    }
    assert_eq!(limit_output(br#"{"max_tokens":9}"#, Endpoint::Embeddings, "max_tokens", 1), []);
    assert_eq!(limit_output(b"no object", Endpoint::Messages, "max_tokens", 1), []);
    for (body, after) in [
        (r#"{"stream":true}"#, Some(r#"{"stream_options":{"include_usage":true},"stream":true}"#)),
        (r#"{"stream":true,"stream_options":null}"#, Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)),
        (r#"{"stream":true,"stream_options": { "a": 1 } }"#, Some(r#"{"stream":true,"stream_options": {"include_usage":true, "a": 1 } }"#)),
        (r#"{"stream":true,"stream_options":{"include_usage":false}}"#, Some(r#"{"stream":true,"stream_options":{"include_usage":true}}"#)),
        (r#"{"stream":true,"stream_options":{"include_usage":true}}"#, None),
        (r#"{"stream":true,"stream_options":{"include_usage":"yes"}}"#, None),
        (r#"{"stream":true,"stream_options":[]}"#, None),
        (r#"{"stream":false}"#, None),
        (r#"{"messages":[{"stream":true}]}"#, None),
        (r#"{"stream":true"#, None),
        ("[]", None),
    ] {
        let edit = include_usage(body.as_bytes());
        assert_eq!(edit.map(|edit| edited(body, &[edit])).as_deref(), after, "{body}");
    }
}
