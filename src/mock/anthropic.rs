//! Anthropic's `/v1/messages`, whole and streamed, and `/v1/messages/count_tokens`.
//!
//! Request JSON in, reply values out; no I/O. The one thing remembered between requests is handed in: which cached prompts were seen before.

use super::answer::{Answer, Ask, Frame, Frames, Problem, Tokens};
use super::encode;
use super::openai::{all_text, text_of};
use super::rules;
use super::scene::{self, Event, Scene};
use super::schema;
use super::speech::{self, Choice, Speech, Tool, ToolCall, Wanted};
use super::text::{self, CacheMark, Counter, Finish, Pieces};
use crate::call::Protocol;
use serde_json::{Value, json};

/// `POST /v1/messages`. `seen` tells whether the prompt up to a cache mark was sent before, and remembers it.
pub(super) fn messages(ask: &Ask<'_>, seen: impl FnOnce(CacheMark) -> bool) -> Result<Answer, Problem> {
    let model = model(ask)?;
    let limit = ask.field("max_tokens").as_u64().ok_or_else(|| required("max_tokens"))?;
    if ask.field("thread")["type"] == "continue" {
        return Err(Problem::unknown_thread());
    }
    let messages = checked_messages(ask)?;
    rules::anthropic::reply(ask, &signed)?;
    let tools = tools(ask.field("tools"));
    let tool_choice = ask.field("tool_choice");
    let parallel = tool_choice["disable_parallel_tool_use"].as_bool().map(|disabled| !disabled);
    let scene = scene(messages);
    let thinking = matches!(ask.field("thinking")["type"].as_str(), Some("enabled" | "adaptive"));
    let said = speech::speak(Wanted {
        words: ask.words,
        limit: Some(limit),
        stops: ask.strings("stop_sequences"),
        structured: structured(ask),
        calls: speech::calls(&tools, &choice(tool_choice), &scene, parallel)?,
        thought: thinking.then(|| scene.thought()),
        sealed: scene.asks("secret"),
        before: scene.seen(),
        reasoning: 0,
    });
    let counter = count(ask);
    let usage = usage(&counter, &said, seen);
    let head = json!({"id": ask.id("msg_"), "type": "message", "role": "assistant", "model": model});
    Ok(if ask.flag("stream") { stream(ask, head, said, usage) } else { whole(ask, head, &said, usage) })
}

/// `POST /v1/messages/count_tokens`.
pub(super) fn count_tokens(ask: &Ask<'_>) -> Result<Answer, Problem> {
    model(ask)?;
    checked_messages(ask)?;
    rules::anthropic::count(ask, &signed)?;
    Ok(Answer::json(&json!({"input_tokens": count(ask).tokens()})))
}

fn model<'a>(ask: &'a Ask<'_>) -> Result<&'a str, Problem> {
    ask.model().ok_or_else(|| required("model"))
}

fn required(field: &'static str) -> Problem {
    Problem::field(field, format!("{field}: Field required"))
}

fn checked_messages<'a>(ask: &'a Ask<'_>) -> Result<&'a [Value], Problem> {
    let messages = ask.field("messages").as_array().ok_or_else(|| required("messages"))?;
    if messages.is_empty() {
        return Err(Problem::field("messages", "messages: at least one message is required"));
    }
    for (nth, message) in messages.iter().enumerate() {
        if message["role"] != "user" && message["role"] != "assistant" {
            let why = format!("messages.{nth}.role: Input should be 'user' or 'assistant'");
            return Err(Problem::field("messages", why));
        }
    }
    Ok(messages)
}

fn tools(tools: &Value) -> Vec<Tool> {
    let tools = tools.as_array().into_iter().flatten();
    tools
        .filter(|tool| tool["type"].is_null() || tool["type"] == "custom")
        .filter_map(|tool| Some(Tool { name: tool["name"].as_str()?.to_owned(), schema: tool["input_schema"].clone() }))
        .collect()
}

fn choice(value: &Value) -> Choice {
    match (value["type"].as_str(), value["name"].as_str()) {
        (Some("none"), _) => Choice::Never,
        (Some("any"), _) => Choice::Always,
        (Some("tool"), Some(name)) => Choice::Named(name.to_owned()),
        _ => Choice::Auto,
    }
}

/// How a conversation stands.
fn scene(messages: &[Value]) -> Scene {
    Scene::of(messages.iter().flat_map(|message| {
        let blocks = message["content"].as_array().into_iter().flatten();
        if message["role"] == "assistant" {
            let calls = blocks.filter(|block| block["type"] == "tool_use").filter_map(|block| block["name"].as_str());
            return calls.map(|name| Event::Called(name.to_owned())).chain(std::iter::once(Event::Turn)).collect();
        }
        let said = message["content"].as_str().map(|text| Event::Asked(text.to_owned()));
        said.into_iter().chain(blocks.flat_map(told)).collect::<Vec<_>>()
    }))
}

/// What a block of the user's tells; a tool's result may show something as well.
fn told(block: &Value) -> Vec<Event> {
    let source = &block["source"];
    let text = |name: &str| source[name].as_str().unwrap_or_default();
    match (block["type"].as_str(), text("type")) {
        (Some("text"), _) => vec![Event::Asked(text_of(&json!([block])).to_owned())],
        (Some("image"), "base64") => vec![Event::Shown(scene::picture(text("media_type"), text("data")))],
        (Some("image"), "url") => vec![Event::Shown(format!("a picture at {}", text("url")))],
        (Some("document"), "base64") => vec![Event::Shown(scene::document(block["title"].as_str(), text("data")))],
        (Some("tool_result"), _) => {
            let content = &block["content"];
            let shown = content.as_array().into_iter().flatten().filter(|part| part["type"] != "text").flat_map(told);
            std::iter::once(Event::Result(all_text(content))).chain(shown).collect()
        }
        _ => Vec::new(),
    }
}

/// The JSON reply that an output format asks for.
fn structured(ask: &Ask<'_>) -> Option<String> {
    let format = [&ask.field("output_config")["format"], ask.field("output_format")].into_iter().find(|format| !format.is_null())?;
    (format["type"] == "json_schema").then(|| schema::minimal(&format["schema"]).to_string())
}

/// Counts the prompt in the order in which it is cached: tools, system, messages.
fn count(ask: &Ask<'_>) -> Counter {
    let mut counter = Counter::default();
    ["tools", "system", "messages"].iter().for_each(|name| counter.add(ask.field(name)));
    counter.set_mark(ask.body.get("cache_control"));
    counter
}

/// What a reply uses.
fn usage(counter: &Counter, said: &Speech, seen: impl FnOnce(CacheMark) -> bool) -> Tokens {
    let mut tokens = Tokens { input: counter.tokens(), output: said.output, ..Tokens::default() };
    let Some(mark) = counter.mark() else { return tokens };
    let cached = text::tokens(mark.chars).min(tokens.input);
    tokens.input -= cached;
    if seen(mark) {
        tokens.cache_read = cached;
    } else {
        tokens.cache_write = cached;
        tokens.cache_write_1h = if mark.one_hour { cached } else { 0 };
    }
    tokens
}

fn usage_json(tokens: Tokens, output: u64) -> Value {
    let (five_minutes, one_hour) = (tokens.cache_write - tokens.cache_write_1h, tokens.cache_write_1h);
    json!({
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": five_minutes, "ephemeral_1h_input_tokens": one_hour},
        "output_tokens": output,
        "service_tier": "standard",
    })
}

fn stop_reason(finish: &Finish) -> Value {
    let (reason, sequence) = match finish {
        Finish::Stop => ("end_turn", None),
        Finish::Length => ("max_tokens", None),
        Finish::StopSequence(sequence) => ("stop_sequence", Some(sequence)),
        Finish::ToolCalls => ("tool_use", None),
    };
    json!({"stop_reason": reason, "stop_sequence": sequence})
}

/// Whether a thought bears its own signature.
fn signed(thought: &str, given: &str) -> bool {
    signature(thought) == given
}

/// What a thought is signed with. No secret: it shows that a thought came back as it was said.
fn signature(thought: &str) -> String {
    encode::base64(format!("mock-signature:{}", encode::digest(thought)).as_bytes())
}

/// The part of a thought that is not shown.
fn sealed() -> Value {
    json!({"type": "redacted_thinking", "data": signature("")})
}

fn tool_use(ask: &Ask<'_>, nth: usize, call: &ToolCall, input: Value) -> Value {
    json!({"type": "tool_use", "id": format!("{}_{nth}", ask.id("toolu_")), "name": call.name, "input": input})
}

fn whole(ask: &Ask<'_>, mut head: Value, said: &Speech, tokens: Tokens) -> Answer {
    let mut content = Vec::new();
    if let Some(thought) = &said.thought {
        content.push(json!({"type": "thinking", "thinking": thought, "signature": signature(thought)}));
    }
    if said.sealed {
        content.push(sealed());
    }
    if said.calls.is_empty() {
        content.push(json!({"type": "text", "text": said.text}));
    }
    for (nth, call) in said.calls.iter().enumerate() {
        // Arguments cut by the output limit are no JSON; the provider gives what it could parse, here nothing.
        content.push(tool_use(ask, nth, call, serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}))));
    }
    head["content"] = Value::Array(content);
    head["usage"] = usage_json(tokens, tokens.output);
    let Value::Object(reason) = stop_reason(&said.finish) else { return Answer::json(&head) };
    head.as_object_mut().into_iter().for_each(|head| head.extend(reason.clone()));
    Answer::metered(&head, tokens)
}

/// A content block of a stream: how it begins, its deltas with the text each carries, and whether it is a signed thought.
struct Block {
    begin: Value,
    kind: &'static str,
    field: &'static str,
    text: String,
    signed: bool,
}

impl Block {
    fn frames(self, index: usize) -> impl Iterator<Item = Frame> {
        let Self { begin, kind, field, text, signed } = self;
        let delta = move |delta: Value| {
            Frame::named("content_block_delta", &json!({"type": "content_block_delta", "index": index, "delta": delta}))
        };
        let signature = signed.then(|| delta(json!({"type": "signature_delta", "signature": signature(&text)})));
        let pieces = Pieces::new(text).map(move |piece| delta(json!({"type": kind, field: piece})).carrying(&piece));
        let begin = json!({"type": "content_block_start", "index": index, "content_block": begin});
        let stop = json!({"type": "content_block_stop", "index": index});
        std::iter::once(Frame::named("content_block_start", &begin))
            .chain(pieces)
            .chain(signature)
            .chain(std::iter::once(Frame::named("content_block_stop", &stop)))
    }
}

fn blocks(ask: &Ask<'_>, said: Speech) -> Vec<Block> {
    let mut blocks = Vec::new();
    if let Some(thought) = said.thought {
        let begin = json!({"type": "thinking", "thinking": "", "signature": ""});
        blocks.push(Block { begin, kind: "thinking_delta", field: "thinking", text: thought, signed: true });
    }
    if said.sealed {
        // It comes whole: nobody can read it in pieces either.
        blocks.push(Block { begin: sealed(), kind: "", field: "", text: String::new(), signed: false });
    }
    if said.calls.is_empty() {
        let begin = json!({"type": "text", "text": ""});
        blocks.push(Block { begin, kind: "text_delta", field: "text", text: said.text, signed: false });
    }
    for (nth, call) in said.calls.into_iter().enumerate() {
        let begin = tool_use(ask, nth, &call, json!({}));
        blocks.push(Block { begin, kind: "input_json_delta", field: "partial_json", text: call.arguments, signed: false });
    }
    blocks
}

fn stream(ask: &Ask<'_>, mut head: Value, said: Speech, tokens: Tokens) -> Answer {
    head["content"] = json!([]);
    head["stop_reason"] = Value::Null;
    head["stop_sequence"] = Value::Null;
    head["usage"] = usage_json(tokens, 1);
    let start = Frame::named("message_start", &json!({"type": "message_start", "message": head}));
    let reason = stop_reason(&said.finish);
    let total = json!({
        "input_tokens": tokens.input, "cache_creation_input_tokens": tokens.cache_write, "cache_read_input_tokens": tokens.cache_read,
        "output_tokens": tokens.output,
    });
    let end = [
        Frame::named("message_delta", &json!({"type": "message_delta", "delta": reason, "usage": total})),
        Frame::named("message_stop", &json!({"type": "message_stop"})),
    ];
    let blocks = blocks(ask, said);
    let carriers = blocks.iter().map(|block| Pieces::count_of(&block.text)).sum();
    let mut content = blocks.into_iter().enumerate().flat_map(|(index, block)| block.frames(index));
    // The provider's ping comes after the start of the first block.
    let first = content.next();
    let ping = Frame::named("ping", &json!({"type": "ping"}));
    let frames: Frames = Box::new([Some(start), first, Some(ping)].into_iter().flatten().chain(content).chain(end));
    let problem = Problem::on_request(Protocol::Anthropic, 529, "");
    let mut failure = problem.body(Protocol::Anthropic, "");
    failure.as_object_mut().map(|failure| failure.remove("request_id"));
    Answer::Stream { frames, carriers, tokens, failure: Frame::named("error", &failure) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::answer::testing::{reply, streamed};

    fn unseen(ask: &Ask<'_>) -> Result<Answer, Problem> {
        messages(ask, |_| false)
    }

    fn ask(more: Value) -> Value {
        let mut body = json!({"model": "claude-sonnet-4-20250514", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello!"}]});
        for (name, field) in more.as_object().into_iter().flatten() {
            body[name] = field.clone();
        }
        body
    }

    /// The same with another text of the user.
    fn with(mut more: Value, text: &str) -> Value {
        more["messages"] = json!([{"role": "user", "content": text}]);
        more
    }

    fn tool() -> Value {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string", "minLength": 30}}, "required": ["city"]});
        json!({"name": "get_weather", "input_schema": schema})
    }

    #[test]
    fn stop_reasons_are_told() {
        let thinking = json!({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}});
        let table = [
            (json!({}), "end_turn", vec!["text"]),
            (json!({"max_tokens": 2}), "max_tokens", vec!["text"]),
            (json!({"stop_sequences": [" This"]}), "stop_sequence", vec!["text"]),
            (json!({"tools": [tool()], "tool_choice": {"type": "any"}}), "tool_use", vec!["tool_use"]),
            (json!({"tools": [tool()], "tool_choice": {"type": "none"}}), "end_turn", vec!["text"]),
            (json!({"tools": [tool()], "tool_choice": {"type": "tool", "name": "get_weather"}}), "tool_use", vec!["tool_use"]),
            (thinking.clone(), "end_turn", vec!["thinking", "text"]),
            (with(thinking, "a secret"), "end_turn", vec!["thinking", "redacted_thinking", "text"]),
        ];
        for (more, reason, kinds) in table {
            let body = reply(ask(more.clone()), unseen).expect("a reply");
            let got: Vec<&str> = body["content"].as_array().into_iter().flatten().filter_map(|block| block["type"].as_str()).collect();
            assert_eq!((&body["stop_reason"], got), (&json!(reason), kinds), "{more}");
            assert_eq!(body["stop_sequence"].is_string(), reason == "stop_sequence");
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        let table = [
            json!({"max_tokens": null}),
            json!({"model": null}),
            json!({"messages": []}),
            json!({"messages": [{"role": "system", "content": "x"}]}),
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
            json!({"max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": 10}}),
        ];
        for more in table {
            assert_eq!(reply(ask(more.clone()), unseen).map_err(|problem| problem.status), Err(400), "{more}");
        }
    }

    /// The message that a client puts together from a stream.
    fn assembled(events: &[Value]) -> Value {
        let mut message = json!(null);
        for event in events {
            let index = event["index"].as_u64().unwrap_or(0) as usize;
            match event["type"].as_str().expect("a type") {
                "message_start" => message = event["message"].clone(),
                "content_block_start" => message["content"].as_array_mut().expect("blocks").push(event["content_block"].clone()),
                "content_block_delta" => apply(&mut message["content"][index], &event["delta"]),
                "content_block_stop" => {
                    if let Some(json) = message["content"][index]["input"].as_str() {
                        message["content"][index]["input"] = serde_json::from_str(json).expect("whole arguments");
                    }
                }
                "message_delta" => {
                    message["stop_reason"] = event["delta"]["stop_reason"].clone();
                    message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                    message["usage"]["output_tokens"] = event["usage"]["output_tokens"].clone();
                }
                _ => {}
            }
        }
        message
    }

    fn apply(block: &mut Value, delta: &Value) {
        let (field, piece) = match delta["type"].as_str().expect("a type") {
            "text_delta" => ("text", &delta["text"]),
            "thinking_delta" => ("thinking", &delta["thinking"]),
            "signature_delta" => ("signature", &delta["signature"]),
            _ => ("input", &delta["partial_json"]),
        };
        let before = block[field].as_str().unwrap_or_default().to_owned();
        block[field] = json!(before + piece.as_str().expect("a piece"));
    }

    #[test]
    fn a_stream_assembles_to_the_whole_message() {
        let thinking = json!({"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}});
        let tools = json!({"tools": [tool(), {"name": "clock", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": false}});
        for more in [json!({}), json!({"max_tokens": 2}), with(thinking.clone(), "a secret"), thinking, tools] {
            let whole = reply(ask(more.clone()), unseen).expect("a reply");
            let mut more = more;
            more["stream"] = json!(true);
            let (events, _) = streamed(ask(more), unseen);
            assert_eq!(assembled(&events), whole);
            assert_eq!((&events[2]["type"], &events[events.len() - 1]["type"]), (&json!("ping"), &json!("message_stop")));
        }
    }

    #[test]
    fn cached_prompts_are_written_then_read() {
        let block = json!({"type": "text", "text": "x".repeat(400), "cache_control": {"type": "ephemeral", "ttl": "1h"}});
        let body = ask(json!({"system": [block]}));
        let usage = |seen: bool| reply(body.clone(), |ask: &Ask<'_>| messages(ask, |_| seen)).expect("a reply")["usage"].clone();
        let (first, second) = (usage(false), usage(true));
        assert_eq!((&first["cache_creation_input_tokens"], &first["cache_read_input_tokens"]), (&json!(100), &json!(0)));
        assert_eq!(first["cache_creation"]["ephemeral_1h_input_tokens"], 100);
        assert_eq!((&second["cache_creation_input_tokens"], &second["cache_read_input_tokens"]), (&json!(0), &json!(100)));
        assert_eq!((&first["input_tokens"], &second["input_tokens"]), (&json!(2), &json!(2)));
    }

    #[test]
    fn tokens_are_counted_as_they_are_billed() {
        let mut body = ask(json!({"system": "Be brief."}));
        body.as_object_mut().and_then(|body| body.remove("max_tokens"));
        let counted = reply(body, count_tokens).expect("a count");
        let billed = reply(ask(json!({"system": "Be brief."})), unseen).expect("a reply");
        assert_eq!(counted["input_tokens"], billed["usage"]["input_tokens"]);
    }

    #[test]
    fn structured_replies_satisfy_their_schema() {
        let schema = json!({"type": "object", "required": ["a"], "additionalProperties": false});
        let format = json!({"format": {"type": "json_schema", "schema": schema}});
        let body = reply(ask(json!({"model": "claude-sonnet-4-5", "output_config": format})), unseen).expect("a reply");
        assert_eq!(body["content"][0]["text"], "{\"a\":\"mock\"}");
    }
}
