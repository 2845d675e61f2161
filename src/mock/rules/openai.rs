//! The rules of `/v1/chat/completions`.
//!
//! Those of the conversation are for every model; those of fields and figures only for OpenAI's own: a compatible server takes more.

use super::{data_url, given, gpt, items, picture_fault, plain, refuse_if, schemas, unknown, web};
use crate::mock::answer::{Ask, Problem};
use crate::mock::encode;
use serde_json::Value;

/// The longest name of a function, and the longest id of a call.
const MAX_NAME: usize = 64;
const MAX_CALL_ID: usize = 40;

/// The most stop sequences.
const MAX_STOPS: usize = 4;

const FIELDS: [&str; 37] = [
    "model",
    "messages",
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// The fields of messages; an assistant's come back as the provider gave them.
const MESSAGE_FIELDS: [&str; 9] =
    ["role", "content", "name", "tool_calls", "tool_call_id", "refusal", "audio", "annotations", "function_call"];

/// A request for a chat completion.
pub(in super::super) fn chat(ask: &Ask<'_>) -> Result<(), Problem> {
    let model = ask.model().unwrap_or_default();
    if gpt::own(model) {
        fields(ask, model)?;
        figures(ask)?;
        refuse_if("response_format", format_fault(ask.field("response_format")))?;
    }
    refuse_if("tools", tools_fault(ask, gpt::own(model)))?;
    refuse_if("messages", messages_fault(items(ask.field("messages")), gpt::own(model)))
}

fn fields(ask: &Ask<'_>, model: &str) -> Result<(), Problem> {
    let reasons = gpt::reasons(model);
    let argument = |name: &str| !FIELDS.contains(&name) || name == "reasoning_effort" && !reasons;
    if let Some((name, _)) = ask.body.iter().find(|(name, value)| !value.is_null() && argument(name)) {
        return Err(Problem::new(400, format!("Unrecognized request argument supplied: {name}")));
    }
    if reasons && !ask.field("max_tokens").is_null() {
        let why = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return Err(Problem { code: Some("unsupported_parameter"), ..Problem::field("max_tokens", why) });
    }
    if !ask.field("stream_options").is_null() && !ask.flag("stream") {
        return Err(Problem::field("stream_options", "The 'stream_options' parameter is only allowed when 'stream' is enabled."));
    }
    match ask.field("reasoning_effort").as_str() {
        None | Some("none" | "minimal" | "low" | "medium" | "high" | "xhigh") => Ok(()),
        Some(effort) => {
            let why = format!("Invalid value: '{effort}'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', and 'xhigh'.");
            Err(Problem { code: Some("invalid_value"), ..Problem::field("reasoning_effort", why) })
        }
    }
}

fn figures(ask: &Ask<'_>) -> Result<(), Problem> {
    let ranges = [("temperature", 0.0, 2.0), ("top_p", 0.0, 1.0), ("presence_penalty", -2.0, 2.0), ("frequency_penalty", -2.0, 2.0)];
    for (name, least, most) in ranges {
        let why = match ask.field(name) {
            Value::Null => continue,
            Value::Number(figure) if figure.as_f64().is_some_and(|figure| figure < least) => {
                format!("Invalid '{name}': decimal below minimum value. Expected a value >= {least}, but got {figure} instead.")
            }
            Value::Number(figure) if figure.as_f64().is_some_and(|figure| figure > most) => {
                format!("Invalid '{name}': decimal above maximum value. Expected a value <= {most}, but got {figure} instead.")
            }
            Value::Number(_) => continue,
            _ => format!("Invalid type for '{name}': expected a decimal."),
        };
        return Err(Problem::field(name, why));
    }
    let stops = items(ask.field("stop")).len();
    if stops > MAX_STOPS {
        let why = format!(
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length {stops} instead."
        );
        return Err(Problem { code: Some("array_above_max_length"), ..Problem::field("stop", why) });
    }
    match ask.field("service_tier").as_str() {
        None | Some("auto" | "default" | "flex" | "scale" | "priority") => Ok(()),
        Some(tier) => Err(Problem::field("service_tier", format!("Invalid value: '{tier}'."))),
    }
}

fn format_fault(format: &Value) -> Option<String> {
    let shape = &format["json_schema"];
    match format["type"].as_str() {
        None if format.is_null() => None,
        Some("text" | "json_object") => None,
        Some("json_schema") if given(shape, "name").is_none() => {
            Some("Missing required parameter: 'response_format.json_schema.name'.".to_owned())
        }
        Some("json_schema") if !shape["name"].as_str().is_some_and(|name| plain(name, MAX_NAME)) => Some(
            "Invalid 'response_format.json_schema.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
                .to_owned(),
        ),
        Some("json_schema") if shape["strict"] == true => {
            let name = shape["name"].as_str().unwrap_or_default();
            let fault = schemas::strict_fault(&shape["schema"], true)?;
            Some(format!("Invalid schema for response_format '{name}': {fault}"))
        }
        Some("json_schema") => None,
        _ => Some("Invalid value for 'response_format.type'. Supported values are: 'json_object', 'json_schema', and 'text'.".to_owned()),
    }
}

fn tools_fault(ask: &Ask<'_>, own: bool) -> Option<String> {
    let tools = ask.field("tools");
    if tools.as_array().is_some_and(Vec::is_empty) && own {
        return Some("Invalid 'tools': empty array. Expected an array with minimum length 1, but got an empty array instead.".to_owned());
    }
    if tools.is_null() && own {
        let idle = ["tool_choice", "parallel_tool_calls"].into_iter().find(|name| !ask.field(name).is_null() && *ask.field(name) != "none");
        return idle.map(|name| format!("Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."));
    }
    items(tools).iter().enumerate().find_map(|(nth, tool)| match tool["type"].as_str() {
        Some("function") => function_fault(nth, &tool["function"], own),
        Some("custom") => None,
        Some(kind) => Some(format!("Invalid value: '{kind}'. Supported values are: 'function' and 'custom'.")),
        None => Some(format!("Missing required parameter: 'tools[{nth}].type'.")),
    })
}

fn function_fault(nth: usize, function: &Value, own: bool) -> Option<String> {
    let Some(name) = function["name"].as_str() else {
        return Some(format!("Missing required parameter: 'tools[{nth}].function.name'."));
    };
    if !plain(name, MAX_NAME) {
        let pattern = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'";
        return Some(format!("Invalid 'tools[{nth}].function.name': string does not match pattern. {pattern}."));
    }
    if !own {
        return None;
    }
    if let Some(extra) = unknown(function, &["name", "description", "parameters", "strict"]).next() {
        return Some(format!("Unknown parameter: 'tools[{nth}].function.{extra}'."));
    }
    // Without parameters a function has none; an empty schema is taken for the same.
    let schema = given(function, "parameters").filter(|schema| schema.as_object().is_none_or(|fields| !fields.is_empty()))?;
    let fault = if schema["type"] != "object" {
        "schema must be a JSON Schema of 'type: \"object\"'.".to_owned()
    } else if !schema["properties"].is_object() {
        "In context=(), object schema missing properties.".to_owned()
    } else {
        schemas::strict_fault(schema, true).filter(|_| function["strict"] == true)?
    };
    Some(format!("Invalid schema for function '{name}': {fault}"))
}

fn messages_fault(messages: &[Value], own: bool) -> Option<String> {
    let own_fault = messages.iter().enumerate().find_map(|(nth, message)| message_fault(nth, message, own));
    own_fault.or_else(|| unanswered(messages))
}

fn message_fault(nth: usize, message: &Value, own: bool) -> Option<String> {
    let at = format!("messages[{nth}]");
    let content = &message["content"];
    let kinds: &[&str] = match message["role"].as_str() {
        Some("user") => &["text", "image_url", "input_audio", "file"],
        Some("assistant") => &["text", "refusal"],
        Some("system" | "developer" | "tool" | "function") => &["text"],
        Some(role) => {
            let known = "'system', 'assistant', 'user', 'function', 'tool', and 'developer'";
            return Some(format!("Invalid value: '{role}'. Supported values are: {known}."));
        }
        None => return Some(format!("Missing required parameter: '{at}.role'.")),
    };
    if let Some(extra) = unknown(message, &MESSAGE_FIELDS).next().filter(|_| own) {
        return Some(format!("Unknown parameter: '{at}.{extra}'."));
    }
    let calls = message["role"] == "assistant"
        && ["tool_calls", "function_call", "audio", "refusal"].iter().any(|name| given(message, name).is_some());
    match content {
        Value::Null if !calls => return Some(format!("Invalid value for '{at}.content': expected a string, got null.")),
        Value::Null | Value::String(_) => {}
        Value::Array(parts) if parts.is_empty() => {
            return Some(format!(
                "Invalid '{at}.content': empty array. Expected an array with minimum length 1, but got an empty array instead."
            ));
        }
        Value::Array(parts) => {
            let place = |nth: usize| format!("{at}.content[{nth}]");
            let fault = parts.iter().enumerate().find_map(|(nth, part)| part_fault(&place(nth), part, kinds, own));
            if fault.is_some() {
                return fault;
            }
        }
        _ => return Some(format!("Invalid type for '{at}.content': expected one of a string or array of objects.")),
    }
    calls_fault(&at, message)
}

fn part_fault(at: &str, part: &Value, kinds: &[&str], own: bool) -> Option<String> {
    let kind = part["type"].as_str().unwrap_or_default();
    if !kinds.contains(&kind) {
        let known = kinds.iter().map(|kind| format!("'{kind}'")).collect::<Vec<_>>().join(", ");
        return Some(format!("Invalid value: '{kind}'. Supported values are: {known}."));
    }
    if let Some(extra) = unknown(part, &["type", kind]).next().filter(|_| own) {
        return Some(format!("Unknown parameter: '{at}.{extra}'."));
    }
    match kind {
        "image_url" => picture_url_fault(at, &part["image_url"]),
        "file" => file_fault(at, &part["file"]),
        "input_audio" => None,
        _ => (!part[kind].is_string()).then(|| format!("Missing required parameter: '{at}.{kind}'.")),
    }
}

fn picture_url_fault(at: &str, picture: &Value) -> Option<String> {
    let Some(url) = picture["url"].as_str() else { return Some(format!("Missing required parameter: '{at}.image_url.url'.")) };
    if !matches!(picture["detail"].as_str(), None | Some("auto" | "low" | "high" | "original")) {
        return Some(format!("Invalid value for '{at}.image_url.detail'."));
    }
    let fault = match data_url(url) {
        Some((media_type, content)) => picture_fault(media_type, content)?,
        None if web(url) => return None,
        None => "Expected a valid URL, but got a value with an invalid format.".to_owned(),
    };
    Some(format!("Invalid '{at}.image_url.url'. {fault}"))
}

fn file_fault(at: &str, file: &Value) -> Option<String> {
    if file["file_id"].is_string() {
        return None;
    }
    let Some(data) = file["file_data"].as_str() else { return Some(format!("Missing required parameter: '{at}.file.file_id'.")) };
    let decoded = data_url(data).filter(|(media_type, _)| *media_type == "application/pdf").and_then(|(_, data)| encode::from_base64(data));
    if decoded.is_none_or(|bytes| bytes.is_empty()) {
        return Some(format!("Invalid '{at}.file.file_data'. Expected a base64-encoded data URL with an application/pdf MIME type."));
    }
    (!file["filename"].is_string()).then(|| format!("Missing required parameter: '{at}.file.filename'."))
}

fn calls_fault(at: &str, message: &Value) -> Option<String> {
    let calls = &message["tool_calls"];
    if calls.as_array().is_some_and(Vec::is_empty) {
        return Some(format!(
            "Invalid '{at}.tool_calls': empty array. Expected an array with minimum length 1, but got an empty array instead."
        ));
    }
    items(calls).iter().enumerate().find_map(|(nth, call)| {
        let at = format!("{at}.tool_calls[{nth}]");
        let Some(id) = call["id"].as_str() else { return Some(format!("Missing required parameter: '{at}.id'.")) };
        if id.len() > MAX_CALL_ID {
            let length = id.len();
            return Some(format!(
                "Invalid '{at}.id': string too long. Expected a string with maximum length 40, but got a string with length {length} instead."
            ));
        }
        match call["type"].as_str() {
            Some("function") => {}
            Some("custom") => return None,
            _ => return Some(format!("Missing required parameter: '{at}.type'.")),
        }
        if !call["function"]["name"].as_str().is_some_and(|name| plain(name, MAX_NAME)) {
            return Some(format!("Invalid '{at}.function.name': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]{{1,64}}$'."));
        }
        (!call["function"]["arguments"].is_string()).then(|| format!("Invalid type for '{at}.function.arguments': expected a string."))
    })
}

/// A call without its result right after, or a result without its call right before.
fn unanswered(messages: &[Value]) -> Option<String> {
    let mut open: Vec<&str> = Vec::new();
    let mut called: Vec<&str> = Vec::new();
    let missing = |open: &[&str]| {
        let why = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'.";
        (!open.is_empty()).then(|| format!("{why} The following tool_call_ids did not have response messages: {}", open.join(", ")))
    };
    for message in messages {
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if !called.contains(&id) {
                let why = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                return Some(format!("Invalid parameter: {why}"));
            }
            open.retain(|open| *open != id);
            continue;
        }
        if let Some(fault) = missing(&open) {
            return Some(fault);
        }
        called = items(&message["tool_calls"]).iter().filter_map(|call| call["id"].as_str()).collect();
        open.clone_from(&called);
    }
    missing(&open)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{verdict, with};
    use super::*;
    use serde_json::json;

    fn said(more: &Value) -> String {
        let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]});
        verdict(&with(body, more), chat)
    }

    fn messages(list: Value) -> Value {
        json!({"messages": list})
    }

    fn part(part: Value) -> Value {
        messages(json!([{"role": "user", "content": [part]}]))
    }

    fn call(id: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
    }

    fn calls(list: Value) -> Value {
        json!({"role": "assistant", "content": null, "tool_calls": list})
    }

    fn result(id: &str) -> Value {
        json!({"role": "tool", "tool_call_id": id, "content": "1"})
    }

    fn tool(function: Value) -> Value {
        json!({"tools": [{"type": "function", "function": function}]})
    }

    #[test]
    fn what_the_provider_takes_is_taken() {
        let table = [
            json!({"temperature": 2, "top_p": 0, "stop": ["a", "b", "c", "d"], "stream": true, "stream_options": {"include_usage": true}}),
            json!({"model": "gpt-5-nano", "reasoning_effort": "low", "max_completion_tokens": 9}),
            json!({"model": "deepseek-reasoner", "max_tokens": 9, "reasoning_effort": "high", "top_k": 3}),
            messages(json!([{"role": "user", "content": "x"}, calls(json!([call("a"), call("b")])), result("b"), result("a")])),
            part(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}})),
            part(json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})),
            part(json!({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}})),
            tool(json!({"name": "f"})),
            tool(json!({"name": "f", "strict": true, "parameters": {"type": "object", "properties": {}, "additionalProperties": false}})),
        ];
        for more in table {
            assert_eq!(said(&more), "", "{more}");
        }
    }

    #[test]
    fn what_it_refuses_is_refused_in_its_words() {
        let format = |shape: Value| json!({"response_format": {"type": "json_schema", "json_schema": shape}});
        let table = [
            (json!({"top_k": 1}), "Unrecognized request argument supplied: top_k"),
            (json!({"reasoning_effort": "low"}), "Unrecognized request argument supplied: reasoning_effort"),
            (json!({"model": "o3-mini", "reasoning_effort": "max"}), "Invalid value: 'max'"),
            (json!({"model": "gpt-5-nano", "max_tokens": 5}), "Use 'max_completion_tokens' instead"),
            (json!({"stream_options": {}}), "only allowed when 'stream'"),
            (json!({"temperature": 2.5}), "above maximum value"),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "array too long"),
            (json!({"service_tier": "standard_only"}), "Invalid value: 'standard_only'"),
            (json!({"tool_choice": "auto"}), "only allowed when 'tools'"),
            (json!({"parallel_tool_calls": true}), "only allowed when 'tools'"),
            (json!({"tools": []}), "Invalid 'tools': empty array"),
            (json!({"tools": [{"name": "f", "input_schema": {}}]}), "'tools[0].type'"),
            (tool(json!({"name": "a.b"})), "does not match pattern"),
            (tool(json!({"name": "x".repeat(65)})), "does not match pattern"),
            (tool(json!({"name": "f", "cache_control": {}})), "Unknown parameter: 'tools[0].function.cache_control'"),
            (tool(json!({"name": "f", "parameters": {"type": "object"}})), "object schema missing properties"),
            (tool(json!({"name": "f", "parameters": {"type": "string"}})), "schema must be"),
            (tool(json!({"name": "f", "strict": true, "parameters": {"type": "object", "properties": {}}})), "'additionalProperties'"),
            (format(json!({"schema": {}})), "'response_format.json_schema.name'"),
            (format(json!({"name": "a b"})), "does not match pattern"),
            (format(json!({"name": "a", "strict": true, "schema": {"type": "object"}})), "response_format 'a'"),
        ];
        for (more, words) in table {
            let said = said(&more);
            assert!(said.contains(words), "{more}: {said:?}");
        }
    }

    #[test]
    fn conversations_are_checked() {
        let ask = json!({"role": "user", "content": "x"});
        let table = [
            (messages(json!([{"role": "model", "content": "x"}])), "Invalid value: 'model'"),
            (messages(json!([{"role": "user", "content": null}])), "expected a string, got null"),
            (messages(json!([{"role": "user", "content": []}])), "empty array"),
            (messages(json!([{"role": "user", "content": "x", "cache_control": {}}])), "Unknown parameter: 'messages[0].cache_control'"),
            (messages(json!([ask, calls(json!([]))])), "Invalid 'messages[1].tool_calls': empty array"),
            (messages(json!([ask, calls(json!([call("a"), call("b")])), result("a")])), "did not have response messages: b"),
            (messages(json!([ask, calls(json!([call("a")])), ask])), "did not have response messages: a"),
            (messages(json!([ask, result("a")])), "must be a response to a preceeding message"),
            (messages(json!([ask, calls(json!([call("a")])), result("a"), ask, result("a")])), "must be a response"),
            (messages(json!([ask, calls(json!([call(&"x".repeat(41))])), result(&"x".repeat(41))])), "string too long"),
            (
                messages(json!([
                    ask,
                    calls(json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}])),
                    result("a")
                ])),
                "arguments': expected a string",
            ),
            (part(json!({"type": "image", "source": {}})), "Invalid value: 'image'"),
            (part(json!({"type": "text", "text": "x", "cache_control": {}})), "Unknown parameter: 'messages[0].content[0].cache_control'"),
            (part(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,?"}})), "invalid base64"),
            (part(json!({"type": "image_url", "image_url": {"url": "file:///x"}})), "Expected a valid URL"),
            (part(json!({"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA"}})), "application/pdf"),
        ];
        for (more, words) in table {
            let said = said(&more);
            assert!(said.contains(words), "{more}: {said:?}");
        }
    }
}
