//! The rules of turns and their blocks: what may stand in them, and that every tool call is answered where the provider looks for it.

use super::super::{items, picture_fault, plain, unknown, web};
use crate::mock::encode;
use serde_json::Value;
use std::collections::HashSet;

/// The longest name in a call.
const MAX_CALLED: usize = 200;

/// The longest id of a call.
const MAX_ID: usize = 512;

/// A turn: adjacent messages of one role.
pub(super) struct Turn<'a> {
    role: &'a str,
    blocks: Vec<Block<'a>>,
}

impl Turn<'_> {
    fn has(&self, kind: &str) -> bool {
        self.blocks.iter().any(|block| block.kind == kind)
    }

    fn only_results(&self) -> bool {
        self.blocks.iter().all(|block| block.kind == "tool_result")
    }
}

/// A content block and where it stands.
struct Block<'a> {
    kind: &'a str,
    value: &'a Value,
    message: usize,
    place: usize,
}

impl Block<'_> {
    fn path(&self) -> String {
        format!("messages.{}.content.{}", self.message, self.place)
    }
}

/// The turns of `messages`, which are joined as the provider joins them.
pub(super) fn read(messages: &Value) -> Result<Vec<Turn<'_>>, String> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    let last = items(messages).len().saturating_sub(1);
    for (nth, message) in items(messages).iter().enumerate() {
        if let Some(extra) = unknown(message, &["role", "content"]).next() {
            return Err(format!("messages.{nth}.{extra}: Extra inputs are not permitted"));
        }
        let role = message["role"].as_str().unwrap_or_default();
        let blocks = blocks(&message["content"], nth)?;
        if blocks.is_empty() && !(nth == last && role == "assistant") {
            let why = "all messages must have non-empty content except for the optional final assistant message";
            return Err(format!("messages.{nth}: {why}"));
        }
        match turns.last_mut().filter(|turn| turn.role == role) {
            Some(turn) => turn.blocks.extend(blocks),
            None => turns.push(Turn { role, blocks }),
        }
    }
    match turns.first() {
        Some(turn) if turn.role != "user" => Err("messages: first message must use the \"user\" role".to_owned()),
        _ => Ok(turns),
    }
}

fn blocks<'a>(content: &'a Value, message: usize) -> Result<Vec<Block<'a>>, String> {
    match content {
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(_) => Ok(vec![Block { kind: "text", value: content, message, place: 0 }]),
        Value::Array(list) => {
            let block = |(place, value): (usize, &'a Value)| match value["type"].as_str() {
                Some(kind) => Ok(Block { kind, value, message, place }),
                None => Err(format!("messages.{message}.content.{place}.type: Field required")),
            };
            list.iter().enumerate().map(block).collect()
        }
        Value::Null => Err(format!("messages.{message}.content: Field required")),
        _ => Err(format!("messages.{message}.content: Input should be a valid list")),
    }
}

/// What is wrong with the turns, if anything is.
pub(super) fn fault(turns: &[Turn<'_>], signed: &dyn Fn(&str, &str) -> bool) -> Option<String> {
    let blocks = turns.iter().flat_map(|turn| turn.blocks.iter().map(move |block| (turn.role, block)));
    let own = blocks.clone().find_map(|(role, block)| block_fault(role, block, signed));
    own.or_else(|| twice_called(turns)).or_else(|| unanswered(turns)).or_else(|| {
        let last = turns.last().filter(|turn| turn.role == "assistant")?.blocks.last().filter(|block| block.kind == "text")?;
        let text = text_of(last.value);
        (text != text.trim_end()).then(|| "messages: final assistant content cannot end with trailing whitespace".to_owned())
    })
}

/// The text of a block, or of a string that stands for one.
fn text_of(value: &Value) -> &str {
    value.as_str().or(value["text"].as_str()).unwrap_or_default()
}

fn block_fault(role: &str, block: &Block<'_>, signed: &dyn Fn(&str, &str) -> bool) -> Option<String> {
    let value = block.value;
    let (known, by): (&[&str], &str) = match block.kind {
        "text" => (&["type", "text", "cache_control", "citations"], "both"),
        "image" => (&["type", "source", "cache_control", "transformations"], "user"),
        "document" => (&["type", "source", "cache_control", "citations", "context", "title"], "user"),
        "tool_result" => (&["type", "tool_use_id", "content", "is_error", "cache_control", "toolset_name"], "user"),
        "tool_use" => (&["type", "id", "name", "input", "cache_control", "caller", "toolset_name"], "assistant"),
        "thinking" => (&["type", "thinking", "signature"], "assistant"),
        "redacted_thinking" => (&["type", "data"], "assistant"),
        // Blocks of the provider's own tools: their shape is of no concern to a translation, which never makes them.
        "search_result" | "container_upload" => return None,
        kind if kind == "server_tool_use" || kind.ends_with("_tool_result") => return None,
        kind => return Some(format!("{}: Input tag '{kind}' found using 'type' does not match any of the expected tags", block.path())),
    };
    if by != "both" && by != role {
        return Some(format!("{}: `{}` blocks may only be in `{by}` messages", block.path(), block.kind));
    }
    if let Some(extra) = unknown(value, known).next() {
        return Some(format!("{}.{}.{extra}: Extra inputs are not permitted", block.path(), block.kind));
    }
    if value.get("cache_control").is_some_and(|mark| !mark.is_null() && mark["type"] != "ephemeral") {
        return Some(format!("{}.{}.cache_control.type: Input should be 'ephemeral'", block.path(), block.kind));
    }
    content_fault(block.kind, value, signed).map(|fault| format!("{}{fault}", block.path()))
}

/// What is wrong inside a block; text to be put after its path.
fn content_fault(kind: &str, value: &Value, signed: &dyn Fn(&str, &str) -> bool) -> Option<String> {
    match kind {
        "text" => text_fault(value).map(|fault| format!(".text: {fault}")),
        "image" => image_fault(&value["source"]).map(|fault| format!(".image.source{fault}")),
        "document" => document_fault(&value["source"]).map(|fault| format!(".document.source{fault}")),
        "tool_use" => call_fault(value).map(|fault| format!(".tool_use.{fault}")),
        "tool_result" => result_fault(value).map(|fault| format!(".tool_result{fault}")),
        "thinking" => match (value["thinking"].as_str(), value["signature"].as_str()) {
            (Some(thought), Some(signature)) if signed(thought, signature) => None,
            (Some(_), Some(_)) => Some(": Invalid `signature` in `thinking` block".to_owned()),
            (None, _) => Some(".thinking.thinking: Field required".to_owned()),
            (_, None) => Some(".thinking.signature: Field required".to_owned()),
        },
        "redacted_thinking" if !value["data"].as_str().is_some_and(|data| signed("", data)) => {
            Some(": Invalid `data` in `redacted_thinking` block".to_owned())
        }
        _ => None,
    }
}

fn text_fault(value: &Value) -> Option<&'static str> {
    match text_of(value) {
        _ if value.is_object() && !value["text"].is_string() => Some("Input should be a valid string"),
        "" => Some("text content blocks must be non-empty"),
        text if text.trim().is_empty() => Some("text content blocks must contain non-whitespace text"),
        _ => None,
    }
}

fn image_fault(source: &Value) -> Option<String> {
    let text = |name: &str| source[name].as_str().unwrap_or_default();
    match text("type") {
        "base64" => picture_fault(text("media_type"), text("data")).map(|fault| format!(".base64: {fault}")),
        "url" => (!web(text("url"))).then(|| ".url.url: Only HTTP(S) URLs are supported".to_owned()),
        "file" => None,
        _ => Some(": Input tag should be 'base64', 'url' or 'file'".to_owned()),
    }
}

fn document_fault(source: &Value) -> Option<String> {
    let text = |name: &str| source[name].as_str().unwrap_or_default();
    match text("type") {
        "base64" if text("media_type") != "application/pdf" => Some(".base64.media_type: Input should be 'application/pdf'".to_owned()),
        "base64" => {
            encode::from_base64(text("data")).is_none_or(|bytes| bytes.is_empty()).then(|| ".base64.data: invalid base64 data".to_owned())
        }
        "text" if text("media_type") != "text/plain" => Some(".text.media_type: Input should be 'text/plain'".to_owned()),
        "text" | "content" | "file" => None,
        "url" => (!web(text("url"))).then(|| ".url.url: Only HTTP(S) URLs are supported".to_owned()),
        _ => Some(": Input tag should be 'base64', 'text', 'content', 'url' or 'file'".to_owned()),
    }
}

fn call_fault(call: &Value) -> Option<&'static str> {
    if !call["id"].as_str().is_some_and(|id| plain(id, MAX_ID)) {
        Some("id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    } else if !call["name"].as_str().is_some_and(|name| plain(name, MAX_CALLED)) {
        Some("name: String should match pattern '^[a-zA-Z0-9_-]{1,200}$'")
    } else if !call["input"].is_object() {
        Some("input: Input should be a valid dictionary")
    } else {
        None
    }
}

fn result_fault(result: &Value) -> Option<String> {
    if !result["tool_use_id"].is_string() {
        return Some(".tool_use_id: Field required".to_owned());
    }
    let content = &result["content"];
    if result["is_error"] == true && (content.is_null() || *content == "" || content.as_array().is_some_and(Vec::is_empty)) {
        return Some(": content cannot be empty if `is_error` is true".to_owned());
    }
    let inner = items(content).iter().enumerate().find_map(|(nth, part)| {
        let fault = match part["type"].as_str().unwrap_or_default() {
            "text" => text_fault(part).map(str::to_owned),
            "image" => image_fault(&part["source"]),
            "document" => document_fault(&part["source"]),
            "search_result" | "tool_reference" => None,
            _ => Some("Input tag should be 'text', 'image', 'search_result', 'document' or 'tool_reference'".to_owned()),
        };
        fault.map(|fault| format!(".content.{nth}: {fault}"))
    });
    let kind = !matches!(content, Value::Null | Value::String(_) | Value::Array(_));
    inner.or_else(|| kind.then(|| ".content: Input should be a valid string or list".to_owned()))
}

/// The ids that blocks of a kind name in `field`.
fn ids<'a>(blocks: &'a [Block<'a>], kind: &'a str, field: &'a str) -> impl Iterator<Item = &'a str> {
    blocks.iter().filter(move |block| block.kind == kind).filter_map(move |block| block.value[field].as_str())
}

fn twice_called(turns: &[Turn<'_>]) -> Option<String> {
    let mut seen = HashSet::new();
    let twice = turns.iter().flat_map(|turn| ids(&turn.blocks, "tool_use", "id")).any(|id| !seen.insert(id));
    twice.then(|| "messages: `tool_use` ids must be unique".to_owned())
}

/// A call without its result at the start of the next turn, or a result without its call in the turn before.
fn unanswered(turns: &[Turn<'_>]) -> Option<String> {
    for (nth, turn) in turns.iter().enumerate() {
        let before: Vec<&str> = match nth.checked_sub(1).and_then(|before| turns.get(before)) {
            Some(before) => ids(&before.blocks, "tool_use", "id").collect(),
            None => Vec::new(),
        };
        for block in turn.blocks.iter().filter(|block| block.kind == "tool_result") {
            let id = block.value["tool_use_id"].as_str().unwrap_or_default();
            if !before.contains(&id) {
                return Some(format!(
                    "{}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
                    block.path()
                ));
            }
            if ids(&turn.blocks, "tool_result", "tool_use_id").filter(|other| *other == id).count() > 1 {
                return Some(format!("each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"));
            }
        }
        let next = turns.get(nth + 1).map_or(&[][..], |next| &next.blocks[..]);
        let leading = next.iter().take_while(|block| block.kind == "tool_result").count();
        let answered: Vec<&str> = ids(&next[..leading], "tool_result", "tool_use_id").collect();
        let missing: Vec<&str> = ids(&turn.blocks, "tool_use", "id").filter(|id| !answered.contains(id)).collect();
        if let Some(message) = turn.blocks.last().map(|block| block.message).filter(|_| !missing.is_empty()) {
            return Some(format!(
                "messages.{message}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
                missing.join(", ")
            ));
        }
    }
    None
}

/// The fault of a loop of calls under way that did not begin with a thought, or of a reply to be continued that did not, where thinking has
/// a budget. Between the calls of one loop a model need not think again.
pub(super) fn thoughtless(turns: &[Turn<'_>]) -> Option<String> {
    let (mut at, last) = turns.iter().enumerate().rfind(|(_, turn)| turn.role == "assistant")?;
    if !last.has("tool_use") && at + 1 < turns.len() {
        return None;
    }
    while at >= 2 && turns.get(at - 1).is_some_and(Turn::only_results) {
        at -= 2;
    }
    let first = turns.get(at)?.blocks.first().filter(|first| !first.kind.ends_with("thinking"))?;
    Some(format!(
        "{}.type: Expected `thinking` or `redacted_thinking`, but found `{}`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).",
        first.path(),
        first.kind
    ))
}

/// What is wrong with a system prompt.
pub(super) fn system_fault(system: &Value) -> Option<String> {
    match system {
        Value::Null | Value::String(_) => None,
        Value::Array(blocks) => blocks.iter().find_map(|block| {
            let known = ["type", "text", "cache_control", "citations"];
            let extra = unknown(block, &known).next().map(|extra| format!("system.0.{extra}: Extra inputs are not permitted"));
            let kind = (block["type"] != "text").then(|| "system.0.type: Input should be 'text'".to_owned());
            extra.or(kind).or_else(|| text_fault(block).map(|fault| format!("system: {fault}")))
        }),
        _ => Some("system: Input should be a valid list".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(messages: &Value) -> String {
        let signed = |_: &str, signature: &str| signature == "signed";
        match read(messages) {
            Ok(turns) => fault(&turns, &signed).or_else(|| thoughtless(&turns)).unwrap_or_default(),
            Err(fault) => fault,
        }
    }

    fn thought() -> Value {
        json!({"type": "thinking", "thinking": "hm", "signature": "signed"})
    }

    fn call(id: &str) -> Value {
        json!({"type": "tool_use", "id": id, "name": "f", "input": {}})
    }

    fn result(id: &str) -> Value {
        json!({"type": "tool_result", "tool_use_id": id, "content": "1"})
    }

    fn user(content: Value) -> Value {
        json!({"role": "user", "content": content})
    }

    fn assistant(content: Value) -> Value {
        json!({"role": "assistant", "content": content})
    }

    #[test]
    fn loops_in_order_are_taken() {
        let ask = user(json!("weather"));
        let table = [
            json!([
                ask,
                assistant(json!([thought(), call("a"), call("b")])),
                user(json!([result("b"), result("a"), {"type": "text", "text": "x"}]))
            ]),
            json!([ask, assistant(json!([thought(), call("a")])), user(json!([result("a")])), user(json!("go on"))]),
            json!([ask, assistant(json!("words")), user(json!("more"))]),
            json!([
                ask,
                assistant(json!([thought(), call("a")])),
                user(json!([result("a")])),
                assistant(json!([call("b")])),
                user(json!([result("b")]))
            ]),
            json!([ask, assistant(json!([call("a")])), user(json!([result("a")])), assistant(json!("words")), user(json!("more"))]),
            json!([ask, assistant(json!(""))]),
            json!([ask, assistant(json!([{"type": "redacted_thinking", "data": "signed"}, call("a")])), user(json!([result("a")]))]),
            json!([user(json!([{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]))]),
            json!([user(json!([{"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}]))]),
        ];
        for messages in table {
            assert_eq!(said(&messages), "", "{messages}");
        }
    }

    #[test]
    fn loops_out_of_order_are_refused() {
        let ask = user(json!("weather"));
        let text = json!({"type": "text", "text": "x"});
        let table = [
            (
                json!([ask, assistant(json!([thought(), call("a")])), user(json!("so?"))]),
                "without `tool_result` blocks immediately after: a.",
            ),
            (json!([ask, assistant(json!([thought(), call("a")])), user(json!([text, result("a")]))]), "without `tool_result`"),
            (json!([ask, assistant(json!([thought(), call("a"), call("b")])), user(json!([result("a")]))]), "immediately after: b."),
            (json!([ask, assistant(json!([thought(), call("a")]))]), "immediately after: a."),
            (json!([ask, assistant(json!("words")), user(json!([result("a")]))]), "unexpected `tool_use_id`"),
            (json!([ask, assistant(json!([thought(), call("a")])), user(json!([result("a"), result("a")]))]), "single result"),
            (json!([ask, assistant(json!([thought(), call("a"), call("a")])), user(json!([result("a")]))]), "must be unique"),
            (
                json!([ask, assistant(json!([call("a")])), user(json!([result("a")]))]),
                "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
            ),
            (
                json!([ask, assistant(json!([{"type": "thinking", "thinking": "hm", "signature": "x"}]))]),
                "Invalid `signature` in `thinking` block",
            ),
            (json!([ask, assistant(json!([thought(), call("a.b")])), user(json!([result("a.b")]))]), "tool_use.id: String should match"),
            (json!([assistant(json!("x")), ask]), "first message must use"),
        ];
        for (messages, words) in table {
            assert!(said(&messages).contains(words), "{messages}: {}", said(&messages));
        }
    }

    #[test]
    fn blocks_are_checked() {
        let image = |source: Value| json!({"type": "image", "source": source});
        let base64 = |kind: &str, data: &str| image(json!({"type": "base64", "media_type": kind, "data": data}));
        let table = [
            (json!(""), "all messages must have non-empty content"),
            (json!([]), "all messages must have non-empty content"),
            (json!(null), "Field required"),
            (json!([{"type": "text", "text": ""}]), "must be non-empty"),
            (json!(" \n"), "non-whitespace text"),
            (json!([{"type": "text", "text": "x", "index": 0}]), "messages.0.content.0.text.index: Extra inputs"),
            (json!([{"type": "image_url", "image_url": {"url": "x"}}]), "Input tag 'image_url'"),
            (json!([{"type": "thinking", "thinking": "x", "signature": "signed"}]), "may only be in `assistant`"),
            (json!([base64("image/bmp", "AAAA")]), "Input should be 'image/jpeg'"),
            (json!([base64("image/png", "not base64")]), "invalid base64 data"),
            (json!([base64("image/jpeg", "iVBORw0KGgo=")]), "does not match the provided media type"),
            (json!([base64("image/png", "data:image/png;base64,AAAA")]), "invalid base64 data"),
            (json!([image(json!({"type": "url", "url": "data:x"}))]), "Only HTTP(S)"),
            (json!([{"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "AAAA"}}]), "application/pdf"),
        ];
        for (content, words) in table {
            let messages = json!([user(content)]);
            assert!(said(&messages).contains(words), "{messages}: {}", said(&messages));
        }
        assert!(said(&json!([user(json!("x")), assistant(json!("words "))])).contains("trailing whitespace"));
    }
}
