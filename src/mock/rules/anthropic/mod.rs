//! The rules of `/v1/messages`: fields and figures here, turns and blocks in the inner module.

mod turns;

use super::claude::Claude;
use super::{given, items, plain, refuse_if, schemas, unknown};
use crate::mock::answer::{Ask, Problem};
use serde_json::Value;
use turns::Turn;

/// The least thinking budget.
const MIN_BUDGET: u64 = 1024;

/// The most cache marks.
const MAX_MARKS: usize = 4;

/// The longest name of a tool.
const MAX_NAME: usize = 128;

/// The longest id of a user.
const MAX_USER_ID: usize = 256;

/// The fields of both endpoints, and those of replies alone.
const SHARED: [&str; 15] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "cache_control",
    "output_config",
    "output_format",
    "context_management",
    "mcp_servers",
    "speed",
    "user_profile_id",
    "workspace_id",
    "betas",
];
const OF_REPLIES: [&str; 14] = [
    "max_tokens",
    "metadata",
    "stop_sequences",
    "stream",
    "temperature",
    "top_k",
    "top_p",
    "service_tier",
    "container",
    "inference_geo",
    "diagnostics",
    "fallbacks",
    "thread",
    "compaction",
];

const TOOL_FIELDS: [&str; 10] = [
    "type",
    "name",
    "description",
    "input_schema",
    "cache_control",
    "strict",
    "allowed_callers",
    "defer_loading",
    "eager_input_streaming",
    "input_examples",
];

/// A request for a reply. `signed` tells whether a thought has this signature.
pub(in super::super) fn reply(ask: &Ask<'_>, signed: &dyn Fn(&str, &str) -> bool) -> Result<(), Problem> {
    let claude = ask.model().and_then(Claude::named);
    fields(ask, &[&SHARED[..], &OF_REPLIES[..]].concat())?;
    figures(ask, claude)?;
    formats(ask, claude)?;
    let turns = prompt(ask, claude, signed)?;
    thinking(ask, claude, &turns)
}

/// A request to count tokens.
pub(in super::super) fn count(ask: &Ask<'_>, signed: &dyn Fn(&str, &str) -> bool) -> Result<(), Problem> {
    fields(ask, &SHARED)?;
    prompt(ask, ask.model().and_then(Claude::named), signed).map(|_| ())
}

/// What is counted as input: system, tools, messages.
fn prompt<'a>(ask: &'a Ask<'_>, claude: Option<Claude>, signed: &dyn Fn(&str, &str) -> bool) -> Result<Vec<Turn<'a>>, Problem> {
    refuse_if("system", turns::system_fault(ask.field("system")))?;
    refuse_if("tools", tools_fault(ask.field("tools"), claude))?;
    refuse_if("tool_choice", choice_fault(ask.field("tool_choice"), ask.field("tools")))?;
    let marks = marks(ask.field("system")) + marks(ask.field("tools")) + marks(ask.field("messages"));
    if marks > MAX_MARKS {
        return Err(Problem::field("messages", format!("A maximum of 4 blocks with cache_control may be provided. Found {marks}.")));
    }
    let turns = turns::read(ask.field("messages")).map_err(|fault| Problem::field("messages", fault))?;
    refuse_if("messages", turns::fault(&turns, signed))?;
    Ok(turns)
}

fn fields(ask: &Ask<'_>, known: &[&str]) -> Result<(), Problem> {
    let extra = ask.body.iter().find(|(name, value)| !value.is_null() && !known.contains(&name.as_str()));
    refuse_if("body", extra.map(|(name, _)| format!("{name}: Extra inputs are not permitted")))
}

fn figures(ask: &Ask<'_>, claude: Option<Claude>) -> Result<(), Problem> {
    if ask.field("max_tokens").as_u64() == Some(0) {
        return Err(Problem::field("max_tokens", "max_tokens: Input should be greater than or equal to 1"));
    }
    let mut samplings = 0;
    for name in ["temperature", "top_p"] {
        match ask.field(name).as_f64() {
            Some(figure) if (0.0..=1.0).contains(&figure) => samplings += usize::from(figure < 1.0 || claude.is_some_and(one_of_two)),
            Some(_) => return Err(Problem::field("temperature", format!("{name}: range: 0..1"))),
            None if ask.field(name).is_null() => {}
            None => return Err(Problem::field("temperature", format!("{name}: Input should be a valid number"))),
        }
    }
    match claude.map(Claude::samplings) {
        Some(0) if samplings > 0 => {
            return Err(Problem::field("temperature", "`temperature` and `top_p` are deprecated for this model."));
        }
        Some(1) if samplings > 1 => {
            let why = "`temperature` and `top_p` cannot both be specified for this model. Please use only one.";
            return Err(Problem::field("temperature", why));
        }
        _ => {}
    }
    if items(ask.field("stop_sequences")).iter().any(|stop| stop.as_str().is_none_or(|stop| stop.trim().is_empty())) {
        return Err(Problem::field("stop_sequences", "stop_sequences: each stop sequence must contain non-whitespace"));
    }
    if !matches!(ask.field("stop_sequences"), Value::Null | Value::Array(_)) {
        return Err(Problem::field("stop_sequences", "stop_sequences: Input should be a valid list"));
    }
    if let Some(extra) = unknown(ask.field("metadata"), &["user_id"]).next() {
        return Err(Problem::field("metadata", format!("metadata.{extra}: Extra inputs are not permitted")));
    }
    if ask.field("metadata")["user_id"].as_str().is_some_and(|id| id.chars().count() > MAX_USER_ID) {
        return Err(Problem::field("metadata", "metadata.user_id: String should have at most 256 characters"));
    }
    if !matches!(ask.field("service_tier").as_str(), None | Some("auto" | "standard_only")) {
        return Err(Problem::field("service_tier", "service_tier: Input should be 'auto' or 'standard_only'"));
    }
    Ok(())
}

/// Whether even neutral figures count, because the model takes but one of them.
fn one_of_two(claude: Claude) -> bool {
    claude.samplings() == 1
}

/// The output format and the effort.
fn formats(ask: &Ask<'_>, claude: Option<Claude>) -> Result<(), Problem> {
    let config = ask.field("output_config");
    let format = given(config, "format").or_else(|| ask.body.get("output_format").filter(|format| !format.is_null()));
    if let Some(format) = format {
        if claude.is_some_and(|claude| !claude.structures()) {
            let why = format!("'{}' does not support output format.", ask.model().unwrap_or_default());
            return Err(Problem::field("output_config", why));
        }
        if format["type"] != "json_schema" || !format["schema"].is_object() {
            return Err(Problem::field("output_config", "output_config.format: Input tag should be 'json_schema' with a schema"));
        }
        if schemas::strict_fault(&format["schema"], false).is_some() {
            let why = "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false";
            return Err(Problem::field("output_config", why));
        }
    }
    match config["effort"].as_str() {
        None => Ok(()),
        Some("low" | "medium" | "high" | "xhigh" | "max") if claude.is_none_or(Claude::has_effort) => Ok(()),
        Some("low" | "medium" | "high" | "xhigh" | "max") => {
            Err(Problem::field("output_config", "output_config.effort: This model does not support the effort parameter."))
        }
        Some(_) => {
            let why = "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'";
            Err(Problem::field("output_config", why))
        }
    }
}

fn tools_fault(tools: &Value, claude: Option<Claude>) -> Option<String> {
    let mut names = Vec::new();
    for (nth, tool) in items(tools).iter().enumerate() {
        if !(tool["type"].is_null() || tool["type"] == "custom") {
            continue;
        }
        if let Some(fault) = tool_fault(tool, claude) {
            return Some(format!("tools.{nth}.custom{fault}"));
        }
        if names.contains(&&tool["name"]) {
            return Some("tools: Tool names must be unique.".to_owned());
        }
        names.push(&tool["name"]);
    }
    None
}

fn tool_fault(tool: &Value, claude: Option<Claude>) -> Option<String> {
    let schema = &tool["input_schema"];
    let strict = tool["strict"] == true;
    if let Some(extra) = unknown(tool, &TOOL_FIELDS).next() {
        Some(format!(".{extra}: Extra inputs are not permitted"))
    } else if !tool["name"].as_str().is_some_and(|name| plain(name, MAX_NAME)) {
        Some(".name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'".to_owned())
    } else if !schema.is_object() {
        Some(".input_schema: Field required".to_owned())
    } else if schema["type"] != "object" {
        Some(".input_schema.type: Input should be 'object'".to_owned())
    } else if ["oneOf", "allOf", "anyOf"].iter().any(|name| schema.get(name).is_some()) {
        Some(".input_schema: input_schema does not support oneOf, allOf, or anyOf at the top level".to_owned())
    } else if strict && claude.is_some_and(|claude| !claude.structures()) {
        Some(".strict: This model does not support strict tools".to_owned())
    } else if strict && schemas::strict_fault(schema, false).is_some() {
        Some(".input_schema: For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned())
    } else {
        None
    }
}

fn choice_fault(choice: &Value, tools: &Value) -> Option<String> {
    if choice.is_null() {
        return None;
    }
    let kind = choice["type"].as_str().unwrap_or_default();
    let known: &[&str] = match kind {
        "auto" | "any" => &["type", "disable_parallel_tool_use"],
        "tool" => &["type", "name", "disable_parallel_tool_use"],
        "none" => &["type"],
        _ => return Some("tool_choice: Input tag should be one of 'auto', 'any', 'tool', 'none'".to_owned()),
    };
    if let Some(extra) = unknown(choice, known).next() {
        return Some(format!("tool_choice.{kind}.{extra}: Extra inputs are not permitted"));
    }
    if items(tools).is_empty() {
        return Some("tool_choice: tool_choice may only be specified while providing tools".to_owned());
    }
    let offered = items(tools).iter().any(|tool| tool["name"] == choice["name"]);
    (kind == "tool" && !offered).then(|| format!("Tool '{}' not found in provided tools", choice["name"].as_str().unwrap_or_default()))
}

/// The rules of thinking: its own fields, those it excludes, and that a turn under way must keep its thoughts.
fn thinking(ask: &Ask<'_>, claude: Option<Claude>, turns: &[Turn<'_>]) -> Result<(), Problem> {
    let thinking = ask.field("thinking");
    let (budget, known): (bool, &[&str]) = match thinking["type"].as_str() {
        Some("enabled") => (true, &["type", "budget_tokens", "display"]),
        Some("adaptive") => (false, &["type", "display"]),
        Some("disabled" | "between_tools") => return Ok(()),
        _ if thinking.is_null() => return Ok(()),
        _ => return Err(Problem::field("thinking", "thinking: Input tag should be 'enabled', 'adaptive' or 'disabled'")),
    };
    let refused = match claude {
        Some(claude) if !claude.thinks() => Some("This model does not support extended thinking."),
        Some(claude) if budget && !claude.budgets() => Some(
            "\"thinking.type.enabled\" is not supported for this model. Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior.",
        ),
        Some(claude) if !budget && !claude.adapts() => Some("adaptive thinking is not supported on this model"),
        _ => None,
    };
    refuse_if("thinking", refused.map(str::to_owned))?;
    refuse_if("thinking", unknown(thinking, known).next().map(|extra| format!("thinking.{extra}: Extra inputs are not permitted")))?;
    refuse_if("thinking", excluded(ask).map(str::to_owned))?;
    if budget {
        self::budget(thinking, ask.field("max_tokens").as_u64().unwrap_or(0))?;
        refuse_if("messages", turns::thoughtless(turns))?;
    }
    Ok(())
}

/// What goes not together with thinking.
fn excluded(ask: &Ask<'_>) -> Option<&'static str> {
    let figure = |name: &str| ask.field(name).as_f64();
    if figure("temperature").is_some_and(|figure| figure != 1.0) {
        Some("`temperature` may only be set to 1 when thinking is enabled.")
    } else if !ask.field("top_k").is_null() {
        Some("`top_k` must be unset when thinking is enabled.")
    } else if figure("top_p").is_some_and(|figure| figure < 0.95) {
        Some("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")
    } else if matches!(ask.field("tool_choice")["type"].as_str(), Some("any" | "tool")) {
        Some("Thinking may not be enabled when tool_choice forces tool use.")
    } else {
        None
    }
}

fn budget(thinking: &Value, limit: u64) -> Result<(), Problem> {
    match thinking["budget_tokens"].as_u64() {
        Some(budget) if budget >= limit => Err(Problem::field("max_tokens", "`max_tokens` must be greater than `thinking.budget_tokens`.")),
        Some(budget) if budget >= MIN_BUDGET => Ok(()),
        _ => Err(Problem::field("thinking", "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")),
    }
}

/// The cache marks in a value.
fn marks(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(marks).sum(),
        Value::Object(fields) => {
            usize::from(fields.get("cache_control").is_some_and(Value::is_object)) + fields.get("content").map_or(0, marks)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{verdict, with};
    use super::*;
    use serde_json::json;

    fn said(more: &Value) -> String {
        let tool = json!({"name": "f", "input_schema": {"type": "object"}});
        let body = json!({"model": "claude-sonnet-4-20250514", "max_tokens": 4000, "tools": [tool],
            "messages": [{"role": "user", "content": "Hello!"}]});
        verdict(&with(body, more), |ask| reply(ask, &|_, signature| signature == "signed"))
    }

    #[test]
    fn what_the_provider_takes_is_taken() {
        let table = [
            json!({"temperature": 0.3, "top_p": 0.5, "top_k": 4, "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "stream": true}),
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}, "temperature": 1, "top_p": 0.95, "tool_choice": {"type": "none"}}),
            json!({"model": "claude-opus-4-6", "thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
            json!({"tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true}}),
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}], "system": "", "service_tier": "auto"}),
            json!({"model": "claude-sonnet-4-5", "output_config": {"format": {"type": "json_schema",
                "schema": {"type": "object", "additionalProperties": false}}}}),
            json!({"model": "glm-4", "thinking": {"type": "adaptive"}, "top_p": 1}),
        ];
        for more in table {
            assert_eq!(said(&more), "", "{more}");
        }
    }

    #[test]
    fn what_it_refuses_is_refused_in_its_words() {
        let budget = |more: Value| with(json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), &more);
        let mark = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
        let tool = |more: Value| json!({"tools": [with(json!({"name": "f", "input_schema": {"type": "object"}}), &more)]});
        let table = [
            (json!({"frequency_penalty": 1}), "frequency_penalty: Extra inputs"),
            (json!({"max_tokens": 0}), "max_tokens: Input"),
            (json!({"temperature": 1.5}), "temperature: range: 0..1"),
            (json!({"model": "claude-opus-4-1", "temperature": 1, "top_p": 0.9}), "cannot both"),
            (json!({"model": "claude-opus-4-7", "temperature": 0.2}), "deprecated for this model"),
            (json!({"stop_sequences": [" "]}), "non-whitespace"),
            (json!({"stop_sequences": "x"}), "a valid list"),
            (json!({"metadata": {"user": "u"}}), "metadata.user: Extra"),
            (json!({"metadata": {"user_id": "u".repeat(257)}}), "at most 256"),
            (json!({"service_tier": "default"}), "service_tier"),
            (json!({"output_config": {"format": {"type": "json_schema", "schema": {}}}}), "does not support output format"),
            (
                json!({"model": "claude-opus-4-5", "output_format": {"type": "json_schema", "schema": {"type": "object"}}}),
                "additionalProperties",
            ),
            (json!({"output_config": {"effort": "low"}}), "does not support the effort"),
            (json!({"system": [{"type": "text", "text": ""}]}), "system: text content blocks must be non-empty"),
            (json!({"system": [mark, mark, mark, mark, mark]}), "Found 5"),
            (tool(json!({"parameters": {}})), "tools.0.custom.parameters: Extra"),
            (tool(json!({"name": "a b"})), "tools.0.custom.name: String should match"),
            (tool(json!({"input_schema": null})), "tools.0.custom.input_schema: Field required"),
            (tool(json!({"input_schema": {}})), "input_schema.type: Input should be 'object'"),
            (tool(json!({"strict": true})), "strict"),
            (
                json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}, {"name": "f", "input_schema": {"type": "object"}}]}),
                "unique",
            ),
            (json!({"tool_choice": {"type": "tool", "name": "g"}}), "Tool 'g' not found"),
            (json!({"tool_choice": "auto"}), "tool_choice: Input tag"),
            (json!({"tool_choice": {"type": "any"}, "tools": []}), "while providing tools"),
            (json!({"model": "claude-3-5-haiku-latest", "thinking": {"type": "enabled", "budget_tokens": 1024}}), "extended thinking"),
            (json!({"model": "claude-opus-4-7", "thinking": {"type": "enabled", "budget_tokens": 1024}}), "Use \"thinking.type.adaptive\""),
            (json!({"thinking": {"type": "adaptive"}}), "adaptive thinking is not"),
            (json!({"thinking": {"type": "enabled", "budget_tokens": 10}}), "1024"),
            (budget(json!({"max_tokens": 1024})), "`max_tokens` must be greater"),
            (budget(json!({"temperature": 0})), "`temperature` may only"),
            (budget(json!({"top_k": 3})), "`top_k` must be unset"),
            (budget(json!({"top_p": 0.5})), "`top_p` must be"),
            (budget(json!({"tool_choice": {"type": "any"}})), "forces tool use"),
        ];
        for (more, words) in table {
            let said = said(&more);
            assert!(said.contains(words), "{more}: {said:?}");
        }
    }

    #[test]
    fn counting_takes_no_fields_of_replies() {
        let body = json!({"model": "claude-sonnet-4-0", "messages": [{"role": "user", "content": "Hello!"}]});
        assert_eq!(verdict(&body, |ask| count(ask, &|_, _| true)), "");
        assert!(verdict(&with(body, &json!({"max_tokens": 5})), |ask| count(ask, &|_, _| true)).starts_with("max_tokens: Extra"));
    }
}
