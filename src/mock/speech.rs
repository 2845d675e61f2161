//! One reply before it has a protocol: text or tool calls, why it ended, what it cost.
//!
//! The builders of both protocols ask for a [`Speech`] and put it into their shapes.

use super::answer::Problem;
use super::schema;
use super::text::{self, Finish};
use serde_json::Value;

/// The most tools called at once.
const MAX_CALLS: usize = 8;

/// What a shown thought says.
const THOUGHT: &str = "The mock needs no thought: every reply of it is the same.";

/// A tool that a request offers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tool {
    /// Its name.
    pub(super) name: String,
    /// The JSON schema of its arguments; null where it has none.
    pub(super) schema: Value,
}

/// What a request says about calling tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Not at all.
    Never,
    /// When the user's text asks for it.
    Auto,
    /// In any case.
    Always,
    /// This one.
    Named(String),
}

/// A tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToolCall {
    /// The tool's name.
    pub(super) name: String,
    /// Its arguments, a JSON text.
    pub(super) arguments: String,
}

/// The calls that answer a request; none: it is answered in words. `last_text` is the user's last text, `None` after a tool's result.
///
/// One call, of the first tool; of several, when `parallel` asks for that.
pub(super) fn calls(tools: &[Tool], choice: &Choice, last_text: Option<&str>, parallel: bool) -> Result<Vec<ToolCall>, Problem> {
    let Some(last_text) = last_text else { return Ok(Vec::new()) };
    let asked = || {
        let text = last_text.to_lowercase();
        ["tool", "weather"].iter().any(|word| text.contains(word)) || tools.iter().any(|tool| text.contains(&tool.name.to_lowercase()))
    };
    let called: Vec<&Tool> = match choice {
        Choice::Never => Vec::new(),
        Choice::Auto if !asked() => Vec::new(),
        Choice::Auto | Choice::Always => tools.iter().take(if parallel { MAX_CALLS } else { 1 }).collect(),
        Choice::Named(name) => {
            let named = tools.iter().find(|tool| tool.name == *name);
            vec![named.ok_or_else(|| Problem::field("tool_choice", format!("Tool choice '{name}' not found in 'tools' parameter.")))?]
        }
    };
    Ok(called.into_iter().map(call).collect())
}

fn call(tool: &Tool) -> ToolCall {
    let arguments = schema::minimal(&tool.schema);
    ToolCall { name: tool.name.clone(), arguments: if arguments.is_object() { arguments.to_string() } else { "{}".to_owned() } }
}

/// What a reply is to be like.
#[derive(Default)]
pub(super) struct Wanted {
    /// Words of a text.
    pub(super) words: usize,
    /// The output limit, tokens.
    pub(super) limit: Option<u64>,
    /// Stop sequences.
    pub(super) stops: Vec<String>,
    /// A structured reply instead of the usual text.
    pub(super) structured: Option<String>,
    /// The tools to call instead.
    pub(super) calls: Vec<ToolCall>,
    /// Tokens of hidden reasoning to account for.
    pub(super) reasoning: u64,
    /// Whether a thought is shown.
    pub(super) thinking: bool,
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Speech {
    /// The thought before it, if one was asked for.
    pub(super) thought: Option<&'static str>,
    /// The text; empty where tools are called.
    pub(super) text: String,
    /// The tools it calls.
    pub(super) calls: Vec<ToolCall>,
    /// Why it ended.
    pub(super) finish: Finish,
    /// Tokens, reasoning included; never above the limit.
    pub(super) output: u64,
    /// Tokens of reasoning.
    pub(super) reasoning: u64,
}

/// Says it. Reasoning takes at most half of the limit, so that something is left to say.
pub(super) fn speak(wanted: Wanted) -> Speech {
    let half = wanted.limit.map_or(u64::MAX, |limit| limit / 2);
    let thought = wanted.thinking.then_some(THOUGHT).filter(|thought| text::tokens_of(thought) <= half);
    let reasoning = wanted.reasoning.min(half);
    let before = reasoning + thought.map_or(0, text::tokens_of);
    let left = wanted.limit.map(|limit| limit.saturating_sub(before));
    if !wanted.calls.is_empty() {
        let (calls, finish, output) = limited(wanted.calls, left);
        return Speech { thought, text: String::new(), calls, finish, output: before + output, reasoning };
    }
    let text = wanted.structured.unwrap_or_else(|| text::sentence(wanted.words));
    let (text, finish) = text::cut(text, &wanted.stops, left);
    let output = before + text::tokens_of(&text);
    Speech { thought, text, calls: Vec::new(), finish, output, reasoning }
}

/// Cuts the arguments of calls where the limit is reached; a real model stops there too.
fn limited(calls: Vec<ToolCall>, limit: Option<u64>) -> (Vec<ToolCall>, Finish, u64) {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut said = Vec::new();
    let mut output = 0;
    for mut call in calls {
        let name = text::tokens_of(&call.name).min(left);
        let (arguments, finish) = text::cut(call.arguments, &[], Some(left - name));
        let used = name + text::tokens_of(&arguments);
        left -= used;
        output += used;
        call.arguments = arguments;
        said.push(call);
        if finish == Finish::Length {
            return (said, finish, output);
        }
    }
    (said, Finish::ToolCalls, output)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tools() -> Vec<Tool> {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        vec![Tool { name: "get_weather".into(), schema }, Tool { name: "clock".into(), schema: Value::Null }]
    }

    #[test]
    fn tools_are_called_when_asked_for() {
        let names = |choice: &Choice, text: Option<&str>, parallel| -> Vec<String> {
            calls(&tools(), choice, text, parallel).expect("known tools").into_iter().map(|call| call.name).collect()
        };
        let (none, first, both) =
            (Vec::<String>::new(), vec!["get_weather".to_owned()], vec!["get_weather".to_owned(), "clock".to_owned()]);
        assert_eq!(names(&Choice::Auto, Some("hello"), false), none);
        assert_eq!(names(&Choice::Auto, Some("What is the Weather?"), false), first);
        assert_eq!(names(&Choice::Auto, Some("ask the clock"), true), both);
        assert_eq!(names(&Choice::Always, Some("hello"), false), first);
        assert_eq!(names(&Choice::Always, None, false), none);
        assert_eq!(names(&Choice::Never, Some("weather"), false), none);
        assert_eq!(names(&Choice::Named("clock".into()), Some("hello"), true), both[1..]);
        assert_eq!(calls(&tools(), &Choice::Named("x".into()), Some(""), false).map_err(|problem| problem.status), Err(400));
    }

    #[test]
    fn arguments_satisfy_the_schema() {
        let called = calls(&tools(), &Choice::Always, Some(""), true).expect("known tools");
        assert_eq!(called[0].arguments, "{\"city\":\"mock\"}");
        assert_eq!(called[1].arguments, "{}");
    }

    #[test]
    fn output_never_exceeds_the_limit() {
        for limit in 0..60 {
            for calling in [false, true] {
                let calls = if calling { calls(&tools(), &Choice::Always, Some(""), true).expect("known tools") } else { Vec::new() };
                let said = speak(Wanted { words: 30, limit: Some(limit), calls, reasoning: 64, thinking: false, ..Wanted::default() });
                assert!(said.output <= limit, "{limit} {said:?}");
                let said = speak(Wanted { words: 30, limit: Some(limit), thinking: true, ..Wanted::default() });
                assert!(said.output <= limit, "{limit} {said:?}");
            }
        }
    }

    #[test]
    fn reasoning_is_part_of_output() {
        let said = speak(Wanted { words: 8, reasoning: 64, ..Wanted::default() });
        assert_eq!((said.output, said.reasoning), (64 + text::tokens_of(&said.text), 64));
        assert_eq!(said.finish, Finish::Stop);
    }
}
