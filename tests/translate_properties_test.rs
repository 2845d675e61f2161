//! The laws of translation on what fuzzing began with and found (`fuzz/corpus`), and on generated conversations and streams.

#[path = "translate_properties/generators.rs"]
mod generators;
#[path = "translate_properties/laws.rs"]
mod laws;
#[path = "translate_properties/one_reply.rs"]
mod one_reply;

use generators::{anthropic_request, anthropic_stream, joined, key, leaf, object, openai_request, openai_stream, value};
use iron_runtime::Protocol;
use iron_runtime::wire::translate::{Far, request};
use proptest::prelude::*;
use serde_json::{Value, json};

/// What fuzzing began with, and what it found.
#[test]
fn the_corpus_holds() {
    for (target, law) in laws::ALL {
        let folder = format!("fuzz/corpus/{target}");
        let files = std::fs::read_dir(&folder).unwrap_or_else(|fault| panic!("{folder}: {fault}"));
        let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{folder} is empty");
        for path in paths {
            let input = std::fs::read(&path).expect("a file");
            if let Err(broken) = std::panic::catch_unwind(|| law(&input)) {
                eprintln!("{} breaks a law", path.display());
                std::panic::resume_unwind(broken);
            }
        }
    }
}

/// The corpus stays small: everybody downloads it.
#[test]
fn the_corpus_is_small() {
    let (mut files, mut bytes) = (0, 0);
    for (target, _) in laws::ALL {
        for file in std::fs::read_dir(format!("fuzz/corpus/{target}")).expect("a folder") {
            files += 1;
            bytes += file.expect("a file").metadata().expect("its length").len();
        }
    }
    assert!(files <= 200 && bytes <= 400_000, "{files} files, {bytes} bytes");
}

/// The threads that translate have small stacks.
#[test]
fn the_deepest_body_fits_a_small_stack() {
    let nested = |open: &str, close: &str, times: usize| format!("{}1{}", open.repeat(times), close.repeat(times));
    let arrays = nested("[", "]", 120);
    let results = nested(r#"[{"type":"tool_result","tool_use_id":"a","content":"#, "}]", 60);
    let documents = nested(r#"[{"type":"document","source":{"type":"content","content":"#, "}}]", 40);
    let bodies: Vec<String> = [
        format!(r#"{{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{{"role":"user","content":"a"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{{"a":{arrays}}}}}}}]}}"#),
        format!(r#"{{"model":"gpt-4o","max_tokens":9,"messages":[{{"role":"user","content":"a"}}],"tools":[{{"name":"f","input_schema":{{"a":{arrays}}}}}]}}"#),
        format!(r#"{{"model":"gpt-4o","max_tokens":9,"messages":[{{"role":"user","content":{results}}}]}}"#),
        format!(r#"{{"model":"gpt-4o","max_tokens":9,"messages":[{{"role":"user","content":{documents}}}]}}"#),
        format!(r#"{{"model":"gpt-4o","max_tokens":9,"messages":{}}}"#, nested(r#"[{"role":"user","content":"#, "}]", 60)),
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
    ]
    .into();
    let translate_all = move || {
        let translated = bodies.iter().map(|body| {
            let of = |client, protocol| {
                let far = Far { protocol, own: true, model_limit: None };
                request(client, &far, body.as_bytes(), &|_| None).is_ok()
            };
            let _ = iron_runtime::wire::translate::count_tokens(body.as_bytes());
            of(Protocol::OpenAi, Protocol::Anthropic) || of(Protocol::Anthropic, Protocol::OpenAi)
        });
        translated.collect::<Vec<_>>()
    };
    let thread = std::thread::Builder::new().stack_size(128 << 10).spawn(translate_all).expect("a thread");
    let translated = thread.join().expect("the stack suffices");
    assert_eq!(translated[..2], [true, true]);
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_json_is_translated_or_refused(body in object(key(), value()), model in leaf()) {
        for body in [body.clone(), joined(body, json!({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}))] {
            laws::request_openai(&bytes(&body));
            laws::request_anthropic(&bytes(&body));
        }
    }

    #[test]
    fn requests_of_openai_clients(body in openai_request()) {
        laws::request_openai(&bytes(&body));
    }

    #[test]
    fn requests_of_anthropic_clients(body in anthropic_request()) {
        laws::request_anthropic(&bytes(&body));
    }

    #[test]
    fn streams_to_openai_clients(stream in anthropic_stream()) {
        laws::stream_openai(&stream);
    }

    #[test]
    fn streams_to_anthropic_clients(stream in openai_stream()) {
        laws::stream_anthropic(&stream);
    }

    /// A client is told the same by a reply and by its events.
    #[test]
    fn a_stream_says_what_the_whole_says((blocks, by_turns) in one_reply::blocks()) {
        one_reply::to_openai(&blocks);
        one_reply::to_anthropic(&blocks, by_turns);
    }

    #[test]
    fn any_reply_is_translated_or_garbled(how in any::<u8>(), body in value(), other in prop::collection::vec(any::<u8>(), 0..40)) {
        laws::reply(&[&[how][..], &bytes(&body)].concat());
        laws::reply(&[&[how][..], &other].concat());
    }
}

/// The generators are worth nothing if most of what they make is refused.
#[test]
fn most_generated_conversations_are_translated() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for client in [Protocol::OpenAi, Protocol::Anthropic] {
        let (bodies, protocol) = match client {
            Protocol::OpenAi => (openai_request().boxed(), Protocol::Anthropic),
            Protocol::Anthropic => (anthropic_request().boxed(), Protocol::OpenAi),
        };
        let far = Far { protocol, own: true, model_limit: Some(64_000) };
        let refused = (0..200).filter_map(|_| {
            let body = bodies.new_tree(&mut runner).expect("a value").current();
            request(client, &far, &bytes(&body), &|_| None).err().map(|refusal| refusal.message)
        });
        let refused: Vec<String> = refused.collect();
        assert!(refused.len() < 100, "{} of 200 were refused: {refused:#?}", refused.len());
    }
}
