//! OpenAI's text endpoints: `/v1/chat/completions` and the legacy `/v1/completions`, whole and streamed.
//!
//! Request JSON in, reply values out; no I/O. Fields that a small mock has no use for (temperature, seed, logprobs…) are accepted and ignored,
//! as a model that always says the same would.

use super::answer::{Answer, Ask, Frame, Frames, Problem, Tokens};
use super::rules;
use super::scene::{self, Event, Scene};
use super::schema;
use super::speech::{self, Choice, Speech, Tool, ToolCall, Wanted};
use super::text::{self, Counter, Finish, Pieces};
use serde_json::{Value, json};

/// The most choices of one reply.
const MAX_CHOICES: u64 = 128;

/// The default output limit of `/v1/completions`.
const COMPLETIONS_LIMIT: u64 = 16;

/// Models of a compatible server that shows its thoughts, as `reasoning_content`.
const SHOWS_THOUGHTS: &str = "deepseek-reasoner";

/// From how many prompt tokens on a part of them counts as cached, and in which steps.
const CACHED_FROM: u64 = 1024;
const CACHED_STEP: u64 = 128;

/// `POST /v1/chat/completions`.
pub(super) fn chat(ask: &Ask<'_>) -> Result<Answer, Problem> {
    let model = model(ask)?;
    let messages = match ask.field("messages") {
        Value::Array(messages) if !messages.is_empty() => messages,
        Value::Null => return Err(missing("messages")),
        _ => return Err(Problem::field("messages", "Invalid 'messages': expected a non-empty array of message objects.")),
    };
    rules::openai::chat(ask)?;
    let choices = choices(ask)?;
    let limit = limit(ask, "max_completion_tokens")?.or(limit(ask, "max_tokens")?);
    let tools = tools(ask.field("tools"), "function");
    let choice = choice(ask.field("tool_choice"));
    let scene = scene(messages);
    let thought = model.starts_with(SHOWS_THOUGHTS).then(|| scene.thought());
    let said = speech::speak(Wanted {
        words: ask.words,
        limit,
        stops: ask.strings("stop"),
        structured: structured(ask.field("response_format"), "json_schema"),
        calls: speech::calls(&tools, &choice, &scene, ask.field("parallel_tool_calls").as_bool())?,
        reasoning: if thought.is_some() { 0 } else { reasoning(model, ask.field("reasoning_effort")) },
        thought,
        sealed: false,
        before: scene.seen(),
    });
    let tokens = usage(&["messages", "tools", "response_format"], ask, &said, choices);
    let reply = Reply { head: head(ask, "chatcmpl-", model), said, tokens, choices, include_usage: include_usage(ask) };
    Ok(if ask.flag("stream") { chat_stream(reply) } else { chat_whole(reply) })
}

/// What the whole and the streamed form of a reply share.
struct Reply {
    head: Value,
    said: Speech,
    tokens: Tokens,
    choices: u64,
    include_usage: bool,
}

/// The fields in front of every reply and chunk.
fn head(ask: &Ask<'_>, prefix: &str, model: &str) -> Value {
    json!({
        "id": ask.id(prefix), "created": ask.now, "model": model, "service_tier": "default", "system_fingerprint": "fp_mock",
    })
}

/// The fields of `base` and those of `more`.
fn with(base: &Value, more: Value) -> Value {
    let mut whole = base.clone();
    if let (Value::Object(whole), Value::Object(more)) = (&mut whole, more) {
        whole.extend(more);
    }
    whole
}

fn chat_whole(reply: Reply) -> Answer {
    let said = &reply.said;
    let mut message = json!({"role": "assistant", "content": said.text, "refusal": null, "annotations": []});
    if !said.calls.is_empty() {
        message["content"] = Value::Null;
        message["tool_calls"] = said.calls.iter().enumerate().map(|(nth, call)| tool_call(&reply.head, nth, call)).collect();
    }
    if let Some(thought) = &said.thought {
        message["reasoning_content"] = json!(thought);
    }
    let choice = |index| json!({"index": index, "message": message, "logprobs": null, "finish_reason": finish_reason(&said.finish)});
    let choices: Vec<Value> = (0..reply.choices).map(choice).collect();
    let body = json!({"object": "chat.completion", "choices": choices, "usage": usage_json(reply.tokens)});
    Answer::metered(&with(&reply.head, body), reply.tokens)
}

fn tool_call(head: &Value, nth: usize, call: &ToolCall) -> Value {
    json!({"id": call_id(head, nth), "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn call_id(head: &Value, nth: usize) -> String {
    format!("call_{}_{nth}", head["id"].as_str().unwrap_or_default().trim_start_matches("chatcmpl-"))
}

/// A step of a streamed choice: the delta, the text it carries, the reason to finish.
struct Step {
    delta: Value,
    carried: String,
    finish: Value,
}

impl Step {
    fn new(delta: Value) -> Self {
        Self { delta, carried: String::new(), finish: Value::Null }
    }

    fn carrying(delta: Value, carried: String) -> Self {
        Self { carried, ..Self::new(delta) }
    }
}

fn chat_stream(reply: Reply) -> Answer {
    let Reply { head, said, tokens, choices, include_usage } = reply;
    let carriers = carriers(&said) * choices as usize;
    let steps = chat_steps(&head, said);
    let head = with(&head, json!({"object": "chat.completion.chunk"}));
    let end = usage_frames(&head, tokens, include_usage);
    let chunks = steps.flat_map(move |step| {
        let head = head.clone();
        (0..choices).map(move |index| {
            let choice = json!({"index": index, "delta": step.delta, "logprobs": null, "finish_reason": step.finish});
            chunk(&head, &choice, include_usage).carrying(&step.carried)
        })
    });
    Answer::Stream { frames: Box::new(chunks.chain(end)), carriers, tokens, failure: failure() }
}

/// Pieces of the reply in one streamed choice.
fn carriers(said: &Speech) -> usize {
    let arguments: usize = said.calls.iter().map(|call| Pieces::count_of(&call.arguments)).sum();
    let thought = said.thought.as_deref().map_or(0, Pieces::count_of);
    thought + Pieces::count_of(&said.text) + arguments
}

fn chat_steps(head: &Value, said: Speech) -> impl Iterator<Item = Step> + use<> {
    let content = if said.calls.is_empty() { json!("") } else { Value::Null };
    let first = Step::new(json!({"role": "assistant", "content": content, "refusal": null}));
    let last = Step { finish: json!(finish_reason(&said.finish)), ..Step::new(json!({})) };
    let thought = Pieces::new(said.thought.unwrap_or_default())
        .map(|piece| Step::carrying(json!({"content": null, "reasoning_content": piece}), piece));
    let words = Pieces::new(said.text).map(|piece| Step::carrying(json!({"content": piece}), piece));
    let ids: Vec<String> = (0..said.calls.len()).map(|nth| call_id(head, nth)).collect();
    let calls = said.calls.into_iter().zip(ids).enumerate().flat_map(|(index, (call, id))| {
        let begin = json!({"index": index, "id": id, "type": "function", "function": {"name": call.name, "arguments": ""}});
        let pieces = Pieces::new(call.arguments).map(move |piece| {
            let delta = json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]});
            Step::carrying(delta, piece)
        });
        std::iter::once(Step::new(json!({"tool_calls": [begin]}))).chain(pieces)
    });
    std::iter::once(first).chain(thought).chain(words).chain(calls).chain(std::iter::once(last))
}

fn chunk(head: &Value, choice: &Value, include_usage: bool) -> Frame {
    let mut chunk = with(head, json!({"choices": [choice]}));
    if include_usage {
        chunk["usage"] = Value::Null;
    }
    Frame::data(&chunk)
}

/// The last events: the usage, if it was asked for, and the end mark.
fn usage_frames(head: &Value, tokens: Tokens, include_usage: bool) -> impl Iterator<Item = Frame> + use<> {
    let usage = include_usage.then(|| Frame::data(&with(head, json!({"choices": [], "usage": usage_json(tokens)}))));
    usage.into_iter().chain(std::iter::once(Frame { event: None, data: "[DONE]".into(), chars: 0 }))
}

/// The event of a failure in mid-stream.
fn failure() -> Frame {
    let problem = Problem::on_request(crate::call::Protocol::OpenAi, 500, "");
    Frame::data(&problem.body(crate::call::Protocol::OpenAi, ""))
}

/// `POST /v1/completions`.
pub(super) fn completions(ask: &Ask<'_>) -> Result<Answer, Problem> {
    let model = model(ask)?;
    let prompts = match ask.field("prompt") {
        Value::Null => return Err(missing("prompt")),
        Value::Array(prompts) if prompts.iter().any(|prompt| !prompt.is_u64()) => prompts.len() as u64,
        _ => 1,
    };
    let said = speech::speak(Wanted {
        words: ask.words,
        limit: Some(limit(ask, "max_tokens")?.unwrap_or(COMPLETIONS_LIMIT)),
        stops: ask.strings("stop"),
        ..Wanted::default()
    });
    let choices = (choices(ask)? * prompts).min(MAX_CHOICES);
    let tokens = usage(&["prompt"], ask, &said, choices);
    let head = with(&head(ask, "cmpl-", model), json!({"object": "text_completion"}));
    if !ask.flag("stream") {
        let choice = |index| completion_choice(index, &said.text, json!(finish_reason(&said.finish)));
        let choices: Vec<Value> = (0..choices).map(choice).collect();
        return Ok(Answer::metered(&with(&head, json!({"choices": choices, "usage": usage_json(tokens)})), tokens));
    }
    let include_usage = include_usage(ask);
    let carriers = carriers(&said) * choices as usize;
    let end = usage_frames(&head, tokens, include_usage);
    let finish = json!(finish_reason(&said.finish));
    let pieces = Pieces::new(said.text).map(|piece| (piece, Value::Null)).chain(std::iter::once((String::new(), finish)));
    let chunks = pieces.flat_map(move |(piece, finish)| {
        let head = head.clone();
        (0..choices).map(move |index| {
            let choice = completion_choice(index, &piece, finish.clone());
            chunk(&head, &choice, include_usage).carrying(&piece)
        })
    });
    let frames: Frames = Box::new(chunks.chain(end));
    Ok(Answer::Stream { frames, carriers, tokens, failure: failure() })
}

fn completion_choice(index: u64, text: &str, finish: Value) -> Value {
    json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish})
}

/// The model, or the refusal of a request without one.
pub(super) fn model<'a>(ask: &'a Ask<'_>) -> Result<&'a str, Problem> {
    ask.model().ok_or_else(|| Problem::field("model", "you must provide a model parameter"))
}

/// The refusal of a request without a required field.
pub(super) fn missing(param: &'static str) -> Problem {
    let message = format!("Missing required parameter: '{param}'.");
    Problem { code: Some("missing_required_parameter"), ..Problem::field(param, message) }
}

/// An output limit: absent, or at least 1.
pub(super) fn limit(ask: &Ask<'_>, name: &'static str) -> Result<Option<u64>, Problem> {
    match ask.field(name) {
        Value::Null => Ok(None),
        value => match value.as_u64().filter(|limit| *limit > 0) {
            Some(limit) => Ok(Some(limit)),
            None => Err(Problem::field(name, format!("Invalid value for '{name}': expected an integer of at least 1."))),
        },
    }
}

fn choices(ask: &Ask<'_>) -> Result<u64, Problem> {
    match ask.field("n") {
        Value::Null => Ok(1),
        n => n.as_u64().filter(|n| (1..=MAX_CHOICES).contains(n)).ok_or_else(|| Problem::field("n", "Invalid 'n': expected 1 to 128.")),
    }
}

fn include_usage(ask: &Ask<'_>) -> bool {
    ask.field("stream_options")["include_usage"] == true
}

/// The tools of a request; `nested` names the field that holds a tool's name and parameters, empty where they are in the tool itself.
pub(super) fn tools(tools: &Value, nested: &str) -> Vec<Tool> {
    let functions = tools.as_array().into_iter().flatten().filter(|tool| tool["type"] == "function");
    functions
        .map(|tool| if nested.is_empty() { tool } else { &tool[nested] })
        .filter_map(|tool| Some(Tool { name: tool["name"].as_str()?.to_owned(), schema: tool["parameters"].clone() }))
        .collect()
}

/// `tool_choice` of both of OpenAI's protocols.
pub(super) fn choice(value: &Value) -> Choice {
    let name = value["function"]["name"].as_str().or(value["name"].as_str());
    match (value.as_str(), name) {
        (Some("none"), _) => Choice::Never,
        (Some("required"), _) => Choice::Always,
        (_, Some(name)) => Choice::Named(name.to_owned()),
        _ => Choice::Auto,
    }
}

/// How a conversation stands.
fn scene(messages: &[Value]) -> Scene {
    Scene::of(messages.iter().flat_map(|message| match message["role"].as_str() {
        Some("assistant") => {
            let calls = message["tool_calls"].as_array().into_iter().flatten().filter_map(|call| call["function"]["name"].as_str());
            calls.map(|name| Event::Called(name.to_owned())).chain(std::iter::once(Event::Turn)).collect()
        }
        Some("tool" | "function") => vec![Event::Result(all_text(&message["content"]))],
        Some("user") => {
            let parts = message["content"].as_array().into_iter().flatten();
            let text = Some(text_of(&message["content"])).filter(|text| !text.is_empty());
            parts.filter_map(shown).chain(text.map(|text| Event::Asked(text.to_owned()))).collect()
        }
        _ => Vec::new(),
    }))
}

/// What a part shows, if it is a picture or a document.
fn shown(part: &Value) -> Option<Event> {
    let in_words = match part["type"].as_str()? {
        "image_url" => {
            let url = part["image_url"]["url"].as_str()?;
            match rules::data_url(url) {
                Some((media_type, content)) => scene::picture(media_type, content),
                None => format!("a picture at {url}"),
            }
        }
        "file" => {
            let (_, content) = rules::data_url(part["file"]["file_data"].as_str()?)?;
            scene::document(part["file"]["filename"].as_str(), content)
        }
        _ => return None,
    };
    Some(Event::Shown(in_words))
}

/// All texts of a content.
pub(super) fn all_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

/// A content's text: the string, or the last text among its parts.
pub(super) fn text_of(content: &Value) -> &str {
    let last_part = || content.as_array()?.iter().rev().find_map(|part| part["text"].as_str());
    content.as_str().or_else(last_part).unwrap_or_default()
}

/// The JSON reply that a response format asks for; its schema is in `wrapper`, or in the format itself where that is empty.
pub(super) fn structured(format: &Value, wrapper: &str) -> Option<String> {
    match format["type"].as_str()? {
        "json_object" => Some(json!({"reply": text::sentence(8)}).to_string()),
        "json_schema" => {
            let holder = if wrapper.is_empty() { format } else { &format[wrapper] };
            Some(schema::minimal(&holder["schema"]).to_string())
        }
        _ => None,
    }
}

/// Tokens of hidden reasoning: none for ordinary models, 64 for reasoning ones, less or more by effort.
pub(super) fn reasoning(model: &str, effort: &Value) -> u64 {
    let bytes = model.as_bytes();
    let reasons = model.starts_with("gpt-5") || matches!(bytes, [b'o', digit, ..] if digit.is_ascii_digit());
    match effort.as_str() {
        Some("none" | "minimal") => 0,
        Some("low") => 32,
        Some("medium") => 64,
        Some("high" | "xhigh") => 128,
        _ if reasons => 64,
        _ => 0,
    }
}

/// What a reply uses: the prompt is what the named fields hold; of long prompts half counts as cached, in steps of 128.
pub(super) fn usage(prompt: &[&str], ask: &Ask<'_>, said: &Speech, choices: u64) -> Tokens {
    let mut counter = Counter::default();
    prompt.iter().for_each(|name| counter.add(ask.field(name)));
    let prompt = counter.tokens();
    let cache_read = if prompt < CACHED_FROM { 0 } else { prompt / 2 / CACHED_STEP * CACHED_STEP };
    let (output, reasoning) = (said.output * choices, said.reasoning * choices);
    Tokens { input: prompt - cache_read, cache_read, output, reasoning, ..Tokens::default() }
}

fn usage_json(tokens: Tokens) -> Value {
    json!({
        "prompt_tokens": tokens.prompt(),
        "completion_tokens": tokens.output,
        "total_tokens": tokens.prompt() + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopSequence(_) => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::answer::testing::{reply, streamed};

    fn hello(more: Value) -> Value {
        with(&json!({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}), more)
    }

    fn weather(more: Value) -> Value {
        let tool = json!({"type": "function", "function": {"name": "get_weather", "parameters": {
            "type": "object", "properties": {"city": {"type": "string", "minLength": 40}}, "required": ["city"]}}});
        with(&json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "weather?"}], "tools": [tool]}), more)
    }

    #[test]
    fn a_chat_is_answered() {
        let body = reply(hello(json!({"n": 2})), chat).expect("a reply");
        assert_eq!(body["choices"][1]["message"]["content"], text::sentence(8));
        assert_eq!(body["choices"][1]["finish_reason"], "stop");
        assert_eq!(body["usage"]["prompt_tokens"], 2);
        assert_eq!(body["usage"]["completion_tokens"], 2 * text::tokens_of(&text::sentence(8)));
    }

    #[test]
    fn limits_and_stops_are_kept() {
        let table = [
            (json!({"max_tokens": 2}), "Hello! T", "length"),
            (json!({"max_tokens": 90, "max_completion_tokens": 1}), "Hell", "length"),
            (json!({"stop": " is"}), "Hello! This", "stop"),
            (json!({"stop": ["x", " This"]}), "Hello!", "stop"),
        ];
        for (more, said, finish) in table {
            let body = reply(hello(more.clone()), chat).expect("a reply");
            assert_eq!(
                (&body["choices"][0]["message"]["content"], &body["choices"][0]["finish_reason"]),
                (&json!(said), &json!(finish)),
                "{more}"
            );
        }
    }

    #[test]
    fn malformed_chats_name_the_field() {
        let table = [
            (json!({"messages": []}), "messages"),
            (json!({"messages": null}), "messages"),
            (json!({"model": null}), "model"),
            (json!({"n": 0}), "n"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": "5"}), "max_completion_tokens"),
        ];
        for (more, param) in table {
            assert_eq!(reply(hello(more), chat).map_err(|problem| (problem.status, problem.param)), Err((400, Some(param))));
        }
    }

    #[test]
    fn a_stream_says_what_the_whole_reply_says() {
        for more in [json!({}), json!({"n": 3}), json!({"max_tokens": 3}), json!({"response_format": {"type": "json_object"}})] {
            let whole = reply(hello(more.clone()), chat).expect("a reply");
            let (chunks, carriers) = streamed(hello(with(&more, json!({"stream": true}))), chat);
            let choices = whole["choices"].as_array().map_or(0, Vec::len);
            let mut said = vec![String::new(); choices];
            let mut finish = vec![Value::Null; choices];
            for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().into_iter().flatten()) {
                let index = choice["index"].as_u64().expect("an index") as usize;
                said[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
                finish[index] = choice["finish_reason"].clone();
            }
            for (index, choice) in whole["choices"].as_array().into_iter().flatten().enumerate() {
                assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(said[index]), &finish[index]));
            }
            assert_eq!(chunks.len(), carriers + 2 * choices + 1, "{more}");
            assert_eq!(chunks.last(), Some(&Value::Null), "[DONE] ends it");
        }
    }

    #[test]
    fn usage_is_streamed_only_on_request() {
        let (chunks, _) = streamed(hello(json!({"stream": true})), chat);
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
        for (of, body) in [
            (chat as fn(&Ask<'_>) -> Result<Answer, Problem>, hello(json!({"stream": true, "stream_options": {"include_usage": true}}))),
            (completions, json!({"model": "m", "prompt": "Hi", "stream": true, "stream_options": {"include_usage": true}})),
        ] {
            let (chunks, _) = streamed(body, of);
            let (last, others) = chunks[..chunks.len() - 1].split_last().expect("chunks");
            assert!(last["choices"] == json!([]) && last["usage"]["total_tokens"].is_u64());
            assert!(others.iter().all(|chunk| chunk.get("usage") == Some(&Value::Null)));
        }
    }

    #[test]
    fn tools_are_called_whole_and_in_pieces() {
        let body = reply(weather(json!({})), chat).expect("a reply");
        let call = &body["choices"][0]["message"]["tool_calls"][0];
        assert_eq!((&body["choices"][0]["finish_reason"], &body["choices"][0]["message"]["content"]), (&json!("tool_calls"), &Value::Null));
        let (chunks, carriers) = streamed(weather(json!({"stream": true})), chat);
        let deltas = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"]["tool_calls"][0]);
        let arguments: String = deltas.clone().filter_map(|delta| delta["function"]["arguments"].as_str()).collect();
        assert_eq!(call["function"]["arguments"], arguments);
        assert!(deltas.into_iter().any(|delta| delta["id"] == call["id"]) && carriers > 2);
    }

    #[test]
    fn a_result_of_a_tool_is_answered_in_words() {
        let messages = json!([{"role": "user", "content": "weather?"}, {"role": "assistant", "content": null, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "sunny"}]);
        let body = reply(weather(json!({"messages": messages, "tool_choice": "required"})), chat).expect("a reply");
        assert_eq!(body["choices"][0]["finish_reason"], "stop");
        let said = body["choices"][0]["message"]["content"].as_str().expect("a text");
        assert!(said.starts_with("The tools said: sunny. Hello!"), "{said}");
    }

    #[test]
    fn a_compatible_server_shows_its_thoughts() {
        let model = json!({"model": "deepseek-reasoner"});
        let whole = reply(weather(model.clone()), chat).expect("a reply");
        let (chunks, _) = streamed(weather(with(&model, json!({"stream": true}))), chat);
        let said: String = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["reasoning_content"].as_str()).collect();
        assert_eq!(whole["choices"][0]["message"]["reasoning_content"], speech::THOUGHT);
        assert_eq!((said.as_str(), &whole["choices"][0]["finish_reason"]), (speech::THOUGHT, &json!("tool_calls")));
        assert_eq!(whole["usage"]["completion_tokens_details"]["reasoning_tokens"], text::tokens_of(speech::THOUGHT));
    }

    #[test]
    fn a_picture_is_told_by_its_measures() {
        let parts = json!([{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlh"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}]);
        let body = reply(hello(json!({"messages": [{"role": "user", "content": parts}]})), chat).expect("a reply");
        let said = body["choices"][0]["message"]["content"].as_str().expect("a text");
        assert!(said.starts_with("I see an image/gif of 6 bytes. I see a document of 3 bytes named a.pdf. Hello!"), "{said}");
    }

    #[test]
    fn structured_replies_satisfy_their_schema() {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}}, "required": ["n"]});
        let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
        let body = reply(hello(json!({"response_format": format})), chat).expect("a reply");
        assert_eq!(body["choices"][0]["message"]["content"], "{\"n\":3}");
    }

    #[test]
    fn reasoning_and_caching_are_accounted_for() {
        let long = "x".repeat(8000);
        let more = json!({"model": "gpt-5-nano", "messages": [{"role": "user", "content": long}], "max_completion_tokens": 50});
        let usage = reply(hello(more), chat).expect("a reply")["usage"].clone();
        assert_eq!((&usage["prompt_tokens"], &usage["prompt_tokens_details"]["cached_tokens"]), (&json!(2000), &json!(896)));
        assert_eq!(usage["completion_tokens_details"]["reasoning_tokens"], 25);
        assert!(usage["completion_tokens"].as_u64().is_some_and(|output| output <= 50));
    }

    #[test]
    fn legacy_completions_answer_each_prompt() {
        let body = reply(json!({"model": "m", "prompt": ["a", "b"], "max_tokens": 3}), completions).expect("a reply");
        assert_eq!(body["choices"].as_array().map(Vec::len), Some(2));
        assert_eq!((&body["choices"][1]["text"], &body["choices"][1]["finish_reason"]), (&json!("Hello! This "), &json!("length")));
        assert_eq!(reply(json!({"model": "m"}), completions).map_err(|problem| problem.param), Err(Some("prompt")));
    }
}
