//! Laws of whole replies, of errors, and of lists of models.

use super::{is_object_text, items, other, text, tree, written};
use iron_runtime::Protocol;
use iron_runtime::wire::translate::{ModelList, Plan, model};
use serde_json::Value;

/// Statuses of errors, known and odd.
const STATUSES: [u16; 14] = [400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 504, 529, 999];

pub(super) fn hold(input: &[u8]) {
    let [how, body @ ..] = input else { return };
    let client = if how & 1 == 0 { Protocol::OpenAi } else { Protocol::Anthropic };
    let answer_tool = (how & 2 == 2).then(|| String::from("json_answer"));
    let plan = Plan { client, upstream: other(client), include_usage: false, answer_tool, names: Vec::new(), created: 1_700_000_000 };
    reply(&plan, body);
    error(&plan, STATUSES[usize::from(how >> 2) % STATUSES.len()], body);
    models(&plan, body);
}

fn reply(plan: &Plan, body: &[u8]) {
    let (first, again) = (plan.reply(body), plan.reply(body));
    let (Ok(whole), Ok(again)) = (&first, &again) else {
        assert_eq!(first.err(), again.err());
        return;
    };
    assert_eq!((&whole.body, &whole.kept), (&again.body, &again.kept));
    assert!(plan.client == Protocol::OpenAi || whole.kept.is_empty());
    if tree(body).is_some()
        && let Some(reply) = written(&whole.body)
    {
        match plan.client {
            Protocol::OpenAi => completion(&reply),
            Protocol::Anthropic => message(&reply),
        }
    }
}

fn completion(reply: &Value) {
    assert_eq!(reply["object"], "chat.completion");
    assert!(reply["id"].is_string() && reply["model"].is_string() && reply["created"].is_u64(), "{reply}");
    let choices = items(&reply["choices"]);
    assert_eq!(choices.len(), 1, "{reply}");
    let (message, reason) = (&choices[0]["message"], text(&choices[0]["finish_reason"]));
    assert!(matches!(reason, "stop" | "length" | "tool_calls" | "content_filter"), "{reply}");
    assert_eq!(message["role"], "assistant");
    assert!(message["content"].is_null() || message["content"].is_string(), "{reply}");
    for call in items(&message["tool_calls"]) {
        assert!(
            call["type"] == "function" && call["function"]["name"].is_string() && is_object_text(&call["function"]["arguments"]),
            "{call}"
        );
    }
    let number = |key: &str| reply["usage"][key].as_u64().unwrap_or_else(|| panic!("no {key}: {reply}"));
    assert_eq!(number("total_tokens"), number("prompt_tokens").saturating_add(number("completion_tokens")));
}

fn message(reply: &Value) {
    assert!(reply["type"] == "message" && reply["role"] == "assistant", "{reply}");
    assert!(reply["id"].is_string() && reply["model"].is_string() && reply["content"].is_array(), "{reply}");
    let reason = text(&reply["stop_reason"]);
    assert!(matches!(reason, "end_turn" | "max_tokens" | "tool_use" | "stop_sequence" | "refusal"), "{reply}");
    for block in items(&reply["content"]) {
        match text(&block["type"]) {
            "text" => assert!(block["text"].is_string(), "{block}"),
            "thinking" => assert!(block["thinking"].is_string() && block["signature"].is_string(), "{block}"),
            "tool_use" => assert!(block["id"].is_string() && block["name"].is_string() && block["input"].is_object(), "{block}"),
            _ => panic!("a block that no reply has: {block}"),
        }
    }
    for key in ["input_tokens", "output_tokens"] {
        assert!(reply["usage"][key].is_u64(), "{reply}");
    }
}

fn error(plan: &Plan, status: u16, body: &[u8]) {
    let found = plan.error(status, body);
    assert_eq!(found, plan.error(status, body));
    let error = written(&found).expect("within bounds");
    assert!(error["error"]["message"].is_string() && error["error"]["type"].is_string(), "{error}");
    assert!(plan.client == Protocol::OpenAi || error["type"] == "error", "{error}");
}

fn models(plan: &Plan, body: &[u8]) {
    let mut list = ModelList::default();
    for upstream in [Protocol::OpenAi, Protocol::Anthropic] {
        let _ = list.add(upstream, "somebody", body);
    }
    let listed = written(&list.to_json(plan.client)).expect("within bounds");
    assert!(listed["data"].is_array(), "{listed}");
    if let Ok(one) = model(plan.upstream, "somebody", plan.client, body) {
        let one = written(&one).expect("within bounds");
        assert!(one["id"].is_string(), "{one}");
    }
}
