//! Laws of requests.

use super::{is_object_text, items, other, text, tree, written};
use iron_runtime::Protocol;
use iron_runtime::call::{Endpoint, Reason, Refusal};
use iron_runtime::wire::terms;
use iron_runtime::wire::translate::{Far, Kept, Plan, Translated, count_tokens, request};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::OnceLock;

type Recall = dyn Fn(&str) -> Option<Kept>;

/// The longest message of a refusal, bytes: it is read by people, and goes into logs.
const LONGEST_MESSAGE: usize = 1_000;

/// Holds them for a provider's own API, with thinking kept for every call, and for a compatible server without.
pub(super) fn hold(client: Protocol, body: &[u8]) {
    let _ = count_tokens(body);
    let own = Far { protocol: other(client), own: true, model_limit: Some(8_192) };
    let compatible = Far { own: false, model_limit: None, ..own };
    translated(client, &own, body, &|_| Some(kept()));
    translated(client, &compatible, body, &|_| None);
}

/// Thinking that led to a call.
fn kept() -> Kept {
    static KEPT: OnceLock<Option<Kept>> = OnceLock::new();
    let make = || {
        let plan = Plan {
            client: Protocol::OpenAi,
            upstream: Protocol::Anthropic,
            include_usage: false,
            answer_tool: None,
            names: Vec::new(),
            created: 0,
        };
        let reply = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, {"type": "tool_use", "id": "call_1", "name": "f", "input": {}}
        ]});
        plan.reply(reply.to_string().as_bytes()).ok().and_then(|whole| whole.kept.into_iter().next())
    };
    KEPT.get_or_init(make).clone().expect("thinking before a call is kept")
}

fn translated(client: Protocol, far: &Far, body: &[u8], recall: &Recall) {
    let Some(first) = twice(client, far, body, recall) else { return };
    let header = first.loss.to_header();
    assert!(header.bytes().all(|byte| byte.is_ascii_graphic()), "{header:?} is no value of a header field");
    assert_eq!(first.loss.is_empty(), header.is_empty());
    // What is no JSON to a strict parser (bad escapes in what is passed on unread) is the upstream's business.
    let Some(asked) = tree(body) else { return };
    written(&first.body);
    // The same, every key once: what follows need not know which of two counts.
    let Some(plain) = twice(client, far, asked.to_string().as_bytes(), recall) else { return };
    let Some(body) = written(&plain.body) else { return };
    assert_eq!(body["model"], asked["model"]);
    terms_are_the_clients(client, far, &asked, &plain.body);
    match far.protocol {
        Protocol::Anthropic => to_anthropic(&asked, &body),
        Protocol::OpenAi => to_openai(&asked, &body),
    }
    there_and_back(client, far, &body);
}

/// A translation, which must be the same the second time. `None`: it was refused.
fn twice(client: Protocol, far: &Far, body: &[u8], recall: &Recall) -> Option<Translated> {
    match (request(client, far, body, recall), request(client, far, body, recall)) {
        (Ok(first), Ok(again)) => {
            assert_eq!((&first.body, &first.loss), (&again.body, &again.loss));
            Some(first)
        }
        (Err(first), Err(again)) => {
            assert_eq!(first, again);
            refused(&first);
            None
        }
        (first, again) => panic!("{first:?}, then {again:?}"),
    }
}

fn refused(refusal: &Refusal) {
    let known = ["invalid_json", "json_too_deep", "invalid_field", "untranslatable_content"];
    assert!(matches!(refusal.reason, Reason::Invalid(code) if known.contains(&code)), "{refusal:?}");
    assert!(refusal.message.len() <= LONGEST_MESSAGE, "a message of {} bytes: {}", refusal.message.len(), refusal.message);
}

/// A budget reads the same output limit off the translated request that the client asked for, or the model's own where that is lower.
fn terms_are_the_clients(client: Protocol, far: &Far, asked: &Value, body: &[u8]) {
    let endpoint = if far.protocol == Protocol::Anthropic { Endpoint::Messages } else { Endpoint::ChatCompletions };
    let reading = terms::read(endpoint, body).unwrap_or_else(|refusal| panic!("{}: {}", refusal.message, String::from_utf8_lossy(body)));
    assert_eq!(reading.model.as_deref(), asked["model"].as_str());
    let limit = match client {
        Protocol::OpenAi if !asked["max_completion_tokens"].is_null() => &asked["max_completion_tokens"],
        _ => &asked["max_tokens"],
    };
    let limit = limit.as_u64().or_else(|| limit.as_f64().map(|limit| limit as u64));
    let limit = limit.map(|limit| far.model_limit.map_or(limit, |most| limit.min(most)));
    assert_eq!(reading.terms.output_limit, limit, "{}", String::from_utf8_lossy(body));
}

/// What one protocol's writer writes, its reader reads.
fn there_and_back(client: Protocol, far: &Far, body: &Value) {
    let mut body = body.clone();
    if far.protocol == Protocol::Anthropic {
        body.as_object_mut().expect("an object").entry("max_tokens").or_insert(json!(100_000));
        let counted = count_tokens(body.to_string().as_bytes());
        assert!(counted.is_ok() || is_too_deep(counted.as_ref().err()), "{counted:?}: {body}");
    }
    let back = request(far.protocol, &Far { protocol: client, ..*far }, body.to_string().as_bytes(), &|_| None);
    // What says nothing but white space is refused by Anthropic, and so by the reader that reads for it; likewise numbers out of range.
    let is_theirs = |refusal: &Refusal| {
        client == Protocol::Anthropic && (refusal.message.ends_with("must not be empty") || refusal.message.contains(" must be from 0 to "))
    };
    assert!(back.is_ok() || is_too_deep(back.as_ref().err()) || back.as_ref().is_err_and(is_theirs), "{back:?}: {body}");
}

/// A schema may stand one deeper than it did.
fn is_too_deep(refusal: Option<&Refusal>) -> bool {
    refusal.is_some_and(|refusal| refusal.reason.code() == "json_too_deep")
}

// --- to Anthropic ---

fn to_anthropic(asked: &Value, body: &Value) {
    let turns = items(&body["messages"]);
    assert!(!turns.is_empty(), "no turns: {body}");
    let mut calls: Vec<&str> = Vec::new();
    let mut results: Vec<&str> = Vec::new();
    for (nth, turn) in turns.iter().enumerate() {
        assert!(nth == 0 || turn["role"] != turns[nth - 1]["role"], "turn {nth} has the role of the one before: {body}");
        let is_user = turn["role"] == "user";
        assert!(is_user || turn["role"] == "assistant", "{turn}");
        let blocks = items(&turn["content"]);
        assert!(!blocks.is_empty() || !text(&turn["content"]).is_empty(), "an empty turn: {turn}");
        for block in blocks {
            block_of(block, is_user);
            match text(&block["type"]) {
                "tool_use" => calls.push(text(&block["id"])),
                "tool_result" => {
                    let id = text(&block["tool_use_id"]);
                    assert!(calls.contains(&id), "no call has the id of {block}");
                    results.push(id);
                }
                _ => {}
            }
        }
    }
    if let Some(last) = turns.last().filter(|turn| turn["role"] == "assistant") {
        let end = items(&last["content"]).last().map_or(&last["content"], |block| &block["text"]);
        assert_eq!(text(end), text(end).trim_end(), "white space at the end of the answer's beginning: {last}");
    }
    let (asked_calls, asked_results) = calls_of_openai(asked);
    assert!(are_numbered(&calls, &asked_calls), "calls, in order: {body}");
    // A second result of one call stands in the first.
    let told = |asked: &String| results.iter().any(|found| found.starts_with(asked.as_str()));
    assert!(results.len() <= asked_results.len() && asked_results.iter().all(told), "results: {body}");
    assert_eq!(calls.iter().collect::<HashSet<_>>().len(), calls.len(), "two calls of one id: {body}");
    settings_of_anthropic(body);
}

/// Whether these ids are those that were asked for, but for a number behind one that was taken.
fn are_numbered(ids: &[&str], asked: &[String]) -> bool {
    let is_number = |rest: &str| rest.strip_prefix('_').is_some_and(|number| number.parse::<u32>().is_ok());
    let is_of = |(id, asked): (&&str, &String)| id.strip_prefix(asked.as_str()).is_some_and(|rest| rest.is_empty() || is_number(rest));
    ids.len() == asked.len() && ids.iter().zip(asked).all(is_of)
}

/// The ids of the calls and of the results in a chat completion request, as Anthropic takes them.
fn calls_of_openai(asked: &Value) -> (Vec<String>, Vec<String>) {
    let fit = |id: &Value| text(id).chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect::<String>();
    let messages = || items(&asked["messages"]).iter();
    let calls = messages().filter(|message| message["role"] == "assistant").flat_map(|message| items(&message["tool_calls"]));
    let results = messages().filter(|message| message["role"] == "tool");
    (calls.map(|call| fit(&call["id"])).collect(), results.map(|result| fit(&result["tool_call_id"])).collect())
}

fn block_of(block: &Value, is_user: bool) {
    assert!(block["cache_control"].is_null() || block["cache_control"].is_object(), "{block}");
    match (text(&block["type"]), is_user) {
        ("text", _) => assert!(!text(&block["text"]).is_empty(), "an empty text"),
        ("image" | "document", true) => assert!(matches!(text(&block["source"]["type"]), "base64" | "url" | "text"), "{block}"),
        ("tool_result", true) => {
            items(&block["content"]).iter().for_each(|inner| assert_ne!(inner["type"], "tool_result"));
            items(&block["content"]).iter().for_each(|inner| block_of(inner, true));
        }
        ("tool_use", false) => {
            assert!(block["input"].is_object() && !text(&block["name"]).is_empty() && !text(&block["id"]).is_empty(), "{block}");
        }
        ("thinking", false) => assert!(block["thinking"].is_string() && block["signature"].is_string(), "{block}"),
        ("redacted_thinking", false) => assert!(block["data"].is_string(), "{block}"),
        _ => panic!("a block that the protocol has not got there: {block}"),
    }
}

fn settings_of_anthropic(body: &Value) {
    let temperature = body["temperature"].as_f64().unwrap_or(1.0);
    assert!((0.0..=1.0).contains(&temperature), "{temperature}");
    assert!(items(&body["stop_sequences"]).iter().all(|stop| !text(stop).trim().is_empty()), "{body}");
    let thinking = &body["thinking"];
    if thinking["type"] == "enabled" {
        let budget = thinking["budget_tokens"].as_u64().unwrap_or(0);
        assert!(budget >= 1_024 && body["max_tokens"].as_u64().is_none_or(|limit| budget < limit), "{body}");
    }
    if matches!(text(&thinking["type"]), "enabled" | "adaptive") {
        assert!(!matches!(text(&body["tool_choice"]["type"]), "any" | "tool"), "thinking and a forced call: {body}");
    }
    let names: Vec<&str> = items(&body["tools"]).iter().map(|tool| text(&tool["name"])).collect();
    assert!(names.iter().all(|name| !name.is_empty()), "{body}");
    assert!(items(&body["tools"]).iter().all(|tool| tool["input_schema"].is_object()), "{body}");
    if body["tool_choice"]["type"] == "tool" {
        assert!(names.contains(&text(&body["tool_choice"]["name"])), "{body}");
    }
    assert!(body["tool_choice"].is_null() || !names.is_empty(), "a choice of no tools: {body}");
}

// --- to OpenAI ---

fn to_openai(asked: &Value, body: &Value) {
    let messages = items(&body["messages"]);
    assert!(!messages.is_empty(), "no messages: {body}");
    let mut calls: Vec<&str> = Vec::new();
    let mut results: Vec<&str> = Vec::new();
    for (nth, message) in messages.iter().enumerate() {
        let content = &message["content"];
        let something = !text(content).is_empty() || !items(content).is_empty();
        match text(&message["role"]) {
            "system" => assert!(nth == 0 && something, "{body}"),
            "user" => {
                assert!(something, "an empty turn: {message}");
                items(content).iter().for_each(part_of);
            }
            "assistant" => {
                items(&message["tool_calls"]).iter().for_each(call_of);
                calls.extend(items(&message["tool_calls"]).iter().map(|call| text(&call["id"])));
                let thought = message["reasoning_content"].is_string();
                assert!(something || thought || !items(&message["tool_calls"]).is_empty(), "an empty turn: {message}");
                assert!(message["tool_calls"].is_null() || !items(&message["tool_calls"]).is_empty(), "{message}");
            }
            "tool" => {
                let id = text(&message["tool_call_id"]);
                assert!(calls.contains(&id), "no call has the id of {message}");
                assert!(content.is_string(), "{message}");
                results.push(id);
            }
            _ => panic!("{message}"),
        }
    }
    let (asked_calls, asked_results) = calls_of_anthropic(asked);
    assert!(are_fitted(&calls, &asked_calls) && are_fitted(&results, &asked_results), "calls and results, in order: {body}");
    let names: Vec<&str> = items(&body["tools"]).iter().map(|tool| text(&tool["function"]["name"])).collect();
    assert!(names.iter().all(|name| !name.is_empty()), "{body}");
    let choice = &body["tool_choice"];
    assert!(choice.is_null() || !names.is_empty(), "a choice of no tools: {body}");
    assert!(!choice.is_object() || names.contains(&text(&choice["function"]["name"])), "{body}");
}

/// Whether these ids are those that were asked for, but for the end of those that are too long.
fn are_fitted(ids: &[&str], asked: &[&str]) -> bool {
    const LONGEST: usize = 40;
    let is_of = |(id, asked): (&&str, &&str)| {
        let begins_alike = || id.chars().zip(asked.chars()).take(LONGEST - 9).all(|(a, b)| a == b);
        id == asked || asked.chars().count() > LONGEST && id.chars().count() == LONGEST && begins_alike()
    };
    ids.len() == asked.len() && ids.iter().zip(asked).all(is_of)
}

/// The ids of the calls and of the results in a messages request.
fn calls_of_anthropic(asked: &Value) -> (Vec<&str>, Vec<&str>) {
    let ids = |role: &str, kind: &str, key: &str| {
        let turns = items(&asked["messages"]).iter().filter(|turn| turn["role"] == role);
        let blocks = turns.flat_map(|turn| items(&turn["content"])).filter(|block| block["type"] == kind);
        blocks.map(|block| text(&block[key])).collect()
    };
    (ids("assistant", "tool_use", "id"), ids("user", "tool_result", "tool_use_id"))
}

fn part_of(part: &Value) {
    match text(&part["type"]) {
        "text" => assert!(!text(&part["text"]).is_empty(), "an empty text"),
        "image_url" => assert!(!text(&part["image_url"]["url"]).is_empty(), "{part}"),
        "file" => assert!(text(&part["file"]["file_data"]).starts_with("data:application/pdf;base64,"), "{part}"),
        _ => panic!("a part that the protocol has not got: {part}"),
    }
}

fn call_of(call: &Value) {
    let function = &call["function"];
    assert!(call["type"] == "function" && !text(&call["id"]).is_empty() && !text(&function["name"]).is_empty(), "{call}");
    assert!(is_object_text(&function["arguments"]), "{call}");
}
