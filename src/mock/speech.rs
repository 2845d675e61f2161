//! One reply before it has a protocol: text or tool calls, why it ended, what it cost.
//!
//! The builders of both protocols ask for a [`Speech`] and put it into their shapes.

use super::answer::Problem;
use super::scene::Scene;
use super::schema;
use super::text::{self, Finish};
use serde_json::Value;

/// The most tools called at once.
const MAX_CALLS: usize = 8;

/// What a shown thought says.
pub(super) const THOUGHT: &str = "The mock needs no thought: every reply of it is the same.";

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

/// The calls that answer a request; none: it is answered in words. `parallel` is what the request says about several calls at once.
///
/// One call, of the first tool; of several, when `parallel` or the user's text asks for that; one after the other when the text has the
/// word `then`, or a tool must be called in any case.
pub(super) fn calls(tools: &[Tool], choice: &Choice, scene: &Scene, parallel: Option<bool>) -> Result<Vec<ToolCall>, Problem> {
    let in_turn = scene.asks("then");
    if let Choice::Named(name) = choice {
        let named = tools.iter().find(|tool| tool.name == *name);
        let named = named.ok_or_else(|| Problem::field("tool_choice", format!("Tool choice '{name}' not found in 'tools' parameter.")))?;
        return Ok(if scene.answered { Vec::new() } else { vec![call(named)] });
    }
    let wanted = match choice {
        Choice::Auto if scene.answered => in_turn && asked_for(tools, &scene.asked),
        Choice::Auto => asked_for(tools, &scene.asked),
        Choice::Always => true,
        Choice::Never | Choice::Named(_) => false,
    };
    let both = parallel.unwrap_or_else(|| scene.asks("both") || scene.asks("parallel"));
    let most = if both && !in_turn { MAX_CALLS } else { 1 };
    let left = tools.iter().filter(|tool| !(scene.answered && scene.called.contains(&tool.name)));
    Ok(if wanted { left.take(most).map(call).collect() } else { Vec::new() })
}

/// Whether a text asks for one of the tools.
fn asked_for(tools: &[Tool], text: &str) -> bool {
    let text = text.to_lowercase();
    ["tool", "weather"].iter().any(|word| text.contains(word)) || tools.iter().any(|tool| text.contains(&tool.name.to_lowercase()))
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
    /// A thought to be shown.
    pub(super) thought: Option<String>,
    /// Whether a part of the thought is not shown but sealed.
    pub(super) sealed: bool,
    /// What stands before a text that is not structured.
    pub(super) before: String,
}

/// One reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Speech {
    /// The thought before it, if one was asked for.
    pub(super) thought: Option<String>,
    /// Whether a sealed part of it follows.
    pub(super) sealed: bool,
    /// The text; empty where tools are called.
    pub(super) text: String,
    /// The tools it calls.
    pub(super) calls: Vec<ToolCall>,
    /// Why it ended.
    pub(super) finish: Finish,
    /// Tokens, reasoning included; never above the limit.
    pub(super) output: u64,
    /// Tokens of reasoning, shown or not.
    pub(super) reasoning: u64,
}

/// Says it. Reasoning takes at most half of the limit, so that something is left to say.
pub(super) fn speak(wanted: Wanted) -> Speech {
    let half = wanted.limit.map_or(u64::MAX, |limit| limit / 2);
    let thought = wanted.thought.filter(|thought| text::tokens_of(thought) <= half);
    let sealed = wanted.sealed && thought.is_some();
    let shown = thought.as_deref().map_or(0, text::tokens_of);
    let before = wanted.reasoning.min(half - shown) + shown;
    let left = wanted.limit.map(|limit| limit.saturating_sub(before));
    if !wanted.calls.is_empty() {
        let (calls, finish, output) = limited(wanted.calls, left);
        return Speech { thought, sealed, text: String::new(), calls, finish, output: before + output, reasoning: before };
    }
    let text = wanted.structured.unwrap_or_else(|| wanted.before + &text::sentence(wanted.words));
    let (text, finish) = text::cut(text, &wanted.stops, left);
    let output = before + text::tokens_of(&text);
    Speech { thought, sealed, text, calls: Vec::new(), finish, output, reasoning: before }
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
    use super::super::scene::Event;
    use super::*;
    use serde_json::json;

    fn tools() -> Vec<Tool> {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        vec![Tool { name: "get_weather".into(), schema }, Tool { name: "clock".into(), schema: Value::Null }]
    }

    /// A conversation that begins with this text; what was called since has been answered.
    fn scene(text: &str, called: &[&str]) -> Scene {
        let since = called.iter().flat_map(|name| [Event::Called((*name).into()), Event::Turn, Event::Result("1".into())]);
        Scene::of(std::iter::once(Event::Asked(text.into())).chain(since))
    }

    #[test]
    fn tools_are_called_when_asked_for() {
        let names = |choice: &Choice, text: &str, called: &[&str], parallel| -> Vec<String> {
            calls(&tools(), choice, &scene(text, called), parallel).expect("known tools").into_iter().map(|call| call.name).collect()
        };
        let (none, first, second, both) = (&[][..], &["get_weather"][..], &["clock"][..], &["get_weather", "clock"][..]);
        let named = Choice::Named("clock".into());
        let table = [
            (Choice::Auto, "hello", none, None, none),
            (Choice::Auto, "What is the Weather?", none, None, first),
            (Choice::Auto, "What is the Weather?", first, None, none),
            (Choice::Auto, "ask the clock", none, Some(true), both),
            (Choice::Auto, "ask both tools", none, None, both),
            (Choice::Auto, "ask both tools", both, None, none),
            (Choice::Auto, "ask both tools", none, Some(false), first),
            (Choice::Auto, "the weather, then the clock", none, Some(true), first),
            (Choice::Auto, "the weather, then the clock", first, None, second),
            (Choice::Auto, "the weather, then the clock", both, None, none),
            (Choice::Always, "hello", none, None, first),
            (Choice::Always, "hello", first, None, second),
            (Choice::Always, "hello", both, None, none),
            (Choice::Never, "weather", none, None, none),
            (named.clone(), "hello", none, Some(true), second),
            (named, "hello", second, None, none),
        ];
        for (choice, text, called, parallel, expected) in table {
            assert_eq!(names(&choice, text, called, parallel), expected, "{choice:?} {text} {called:?} {parallel:?}");
        }
        let unknown = calls(&tools(), &Choice::Named("x".into()), &scene("", &[]), None);
        assert_eq!(unknown.map_err(|problem| problem.status), Err(400));
    }

    #[test]
    fn arguments_satisfy_the_schema() {
        let called = calls(&tools(), &Choice::Always, &scene("", &[]), Some(true)).expect("known tools");
        assert_eq!(called[0].arguments, "{\"city\":\"mock\"}");
        assert_eq!(called[1].arguments, "{}");
    }

    #[test]
    fn output_never_exceeds_the_limit() {
        for limit in 0..60 {
            for calling in [false, true] {
                let calls = if calling { tools().iter().map(call).collect() } else { Vec::new() };
                let said = speak(Wanted { words: 30, limit: Some(limit), calls, reasoning: 64, ..Wanted::default() });
                assert!(said.output <= limit, "{limit} {said:?}");
                let said = speak(Wanted { words: 30, limit: Some(limit), thought: Some(THOUGHT.into()), ..Wanted::default() });
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
