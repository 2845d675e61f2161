//! OpenAI's `/v1/responses`, whole and streamed: text, structured text and function calls.
//!
//! Request JSON in, reply values out. Nothing is stored: `previous_response_id` is accepted and means nothing, and a response can't be fetched
//! again.

use super::answer::{Answer, Ask, Frame, Frames, Problem, Tokens};
use super::openai;
use super::scene::{Event, Scene};
use super::speech::{self, Speech, ToolCall, Wanted};
use super::text::{Finish, Pieces};
use serde_json::{Value, json};

/// `POST /v1/responses`.
pub(super) fn responses(ask: &Ask<'_>) -> Result<Answer, Problem> {
    let model = openai::model(ask)?;
    if ask.field("input").is_null() {
        return Err(openai::missing("input"));
    }
    let tools = openai::tools(ask.field("tools"), "");
    let choice = openai::choice(ask.field("tool_choice"));
    let said = speech::speak(Wanted {
        words: ask.words,
        limit: openai::limit(ask, "max_output_tokens")?,
        structured: openai::structured(&ask.field("text")["format"], ""),
        calls: speech::calls(&tools, &choice, &scene(ask.field("input")), ask.field("parallel_tool_calls").as_bool())?,
        reasoning: openai::reasoning(model, &ask.field("reasoning")["effort"]),
        ..Wanted::default()
    });
    let tokens = openai::usage(&["input", "instructions", "tools", "text"], ask, &said, 1);
    let items: Vec<Value> = items(ask, &said);
    let response = response(ask, model);
    if ask.flag("stream") {
        return Ok(stream(response, said, items, tokens));
    }
    Ok(Answer::metered(&ended(response, &said.finish, items, tokens), tokens))
}

/// How the conversation stands.
fn scene(input: &Value) -> Scene {
    let Some(items) = input.as_array() else { return Scene::of([Event::Asked(openai::text_of(input).to_owned())]) };
    Scene::of(items.iter().map(|item| match item["type"].as_str() {
        Some("function_call") => Event::Called(item["name"].as_str().unwrap_or_default().to_owned()),
        Some("function_call_output") => Event::Result(openai::all_text(&item["output"])),
        _ if item["role"] == "assistant" => Event::Turn,
        _ => Event::Asked(openai::text_of(&item["content"]).to_owned()),
    }))
}

/// The response as it stands when it begins.
fn response(ask: &Ask<'_>, model: &str) -> Value {
    let or = |name: &str, default: Value| if ask.field(name).is_null() { default } else { ask.field(name).clone() };
    let format = match &ask.field("text")["format"] {
        Value::Null => json!({"type": "text"}),
        format => format.clone(),
    };
    json!({
        "id": ask.id("resp_"), "object": "response", "created_at": ask.now, "status": "in_progress", "background": false, "error": null,
        "incomplete_details": null, "instructions": ask.field("instructions"), "max_output_tokens": ask.field("max_output_tokens"),
        "max_tool_calls": null, "model": model, "output": [], "parallel_tool_calls": or("parallel_tool_calls", json!(true)),
        "previous_response_id": ask.field("previous_response_id"), "prompt_cache_key": null,
        "reasoning": {"effort": ask.field("reasoning")["effort"], "summary": null}, "safety_identifier": null, "service_tier": "default",
        "store": or("store", json!(true)), "temperature": or("temperature", json!(1.0)), "text": {"format": format, "verbosity": "medium"},
        "tool_choice": or("tool_choice", json!("auto")), "tools": or("tools", json!([])), "top_logprobs": 0, "top_p": or("top_p", json!(1.0)),
        "truncation": "disabled", "usage": null, "user": null, "metadata": or("metadata", json!({})),
    })
}

/// The response as it stands at its end.
fn ended(mut response: Value, finish: &Finish, items: Vec<Value>, tokens: Tokens) -> Value {
    response["status"] = json!(status(finish));
    if *finish == Finish::Length {
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
    }
    response["output"] = Value::Array(items);
    response["usage"] = json!({
        "input_tokens": tokens.prompt(),
        "input_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": 0},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.prompt() + tokens.output,
    });
    response
}

fn status(finish: &Finish) -> &'static str {
    if *finish == Finish::Length { "incomplete" } else { "completed" }
}

/// The output: a message, or the function calls.
fn items(ask: &Ask<'_>, said: &Speech) -> Vec<Value> {
    let status = status(&said.finish);
    if said.calls.is_empty() {
        return vec![
            json!({"id": ask.id("msg_"), "type": "message", "status": status, "role": "assistant", "content": [part(&said.text)]}),
        ];
    }
    let item = |(nth, call): (usize, &ToolCall)| {
        json!({
            "id": format!("{}_{nth}", ask.id("fc_")), "type": "function_call", "status": status, "call_id": format!("{}_{nth}", ask.id("call_")),
            "name": call.name, "arguments": call.arguments,
        })
    };
    said.calls.iter().enumerate().map(item).collect()
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

/// An event before it has its number.
struct Step {
    kind: &'static str,
    fields: Value,
    carried: String,
}

impl Step {
    fn new(kind: &'static str, fields: Value) -> Self {
        Self { kind, fields, carried: String::new() }
    }

    fn numbered(self, number: usize) -> Frame {
        let mut data = self.fields;
        data["type"] = json!(self.kind);
        data["sequence_number"] = json!(number);
        Frame::named(self.kind, &data).carrying(&self.carried)
    }
}

type Steps = Box<dyn Iterator<Item = Step>>;

fn stream(response: Value, said: Speech, items: Vec<Value>, tokens: Tokens) -> Answer {
    let carriers = Pieces::count_of(&said.text) + said.calls.iter().map(|call| Pieces::count_of(&call.arguments)).sum::<usize>();
    let begin = ["response.created", "response.in_progress"].map(|kind| Step::new(kind, json!({"response": response})));
    let last = if said.finish == Finish::Length { "response.incomplete" } else { "response.completed" };
    let end = Step::new(last, json!({"response": ended(response, &said.finish, items.clone(), tokens)}));
    let output = items.into_iter().enumerate().flat_map(|(index, item)| {
        let (inner, begun) = if item["type"] == "message" { message_steps(index, &item) } else { call_steps(index, &item) };
        let added = Step::new("response.output_item.added", json!({"output_index": index, "item": begun}));
        let done = Step::new("response.output_item.done", json!({"output_index": index, "item": item}));
        std::iter::once(added).chain(inner).chain(std::iter::once(done))
    });
    let steps = begin.into_iter().chain(output).chain(std::iter::once(end));
    let frames: Frames = Box::new(steps.enumerate().map(|(number, step)| step.numbered(number)));
    Answer::Stream { frames, carriers, tokens, failure: failure() }
}

/// The event of a failure in mid-stream.
fn failure() -> Frame {
    let message = Problem::on_request(crate::call::Protocol::OpenAi, 500, "").message;
    Step::new("error", json!({"code": "server_error", "message": message, "param": null})).numbered(0)
}

/// The events inside a message, and the message as it stands when it begins.
fn message_steps(index: usize, item: &Value) -> (Steps, Value) {
    let mut begun = item.clone();
    begun["status"] = json!("in_progress");
    begun["content"] = json!([]);
    let id = item["id"].clone();
    let place = move |more: Value| {
        let mut fields = json!({"item_id": id, "output_index": index, "content_index": 0});
        if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
            fields.extend(more);
        }
        fields
    };
    let text = item["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    let added = Step::new("response.content_part.added", place(json!({"part": part("")})));
    let done = [
        Step::new("response.output_text.done", place(json!({"text": text, "logprobs": []}))),
        Step::new("response.content_part.done", place(json!({"part": part(&text)}))),
    ];
    let deltas = Pieces::new(text).map(move |piece| {
        let fields = place(json!({"delta": piece, "logprobs": []}));
        Step { carried: piece, ..Step::new("response.output_text.delta", fields) }
    });
    (Box::new(std::iter::once(added).chain(deltas).chain(done)), begun)
}

/// The events inside a function call, and the call as it stands when it begins.
fn call_steps(index: usize, item: &Value) -> (Steps, Value) {
    let mut begun = item.clone();
    begun["status"] = json!("in_progress");
    begun["arguments"] = json!("");
    let id = item["id"].clone();
    let arguments = item["arguments"].as_str().unwrap_or_default().to_owned();
    let fields = json!({"item_id": id, "output_index": index, "name": item["name"], "arguments": arguments});
    let done = Step::new("response.function_call_arguments.done", fields);
    let deltas = Pieces::new(arguments).map(move |piece| {
        let fields = json!({"item_id": id, "output_index": index, "delta": piece});
        Step { carried: piece, ..Step::new("response.function_call_arguments.delta", fields) }
    });
    (Box::new(deltas.chain(std::iter::once(done))), begun)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mock::answer::testing::{reply, streamed};

    const KINDS: [&str; 6] = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.output_item.done",
        "response.completed",
        "response.incomplete",
    ];

    fn ask(mut more: Value) -> Value {
        more["model"] = json!("gpt-4.1");
        more["input"] = json!([{"role": "user", "content": [{"type": "input_text", "text": "use the tool"}]}]);
        more
    }

    #[test]
    fn a_stream_ends_with_the_whole_response() {
        let tool = json!({"type": "function", "name": "f", "parameters": {"type": "object", "required": ["a"]}});
        for more in [json!({}), json!({"max_output_tokens": 2}), json!({"tools": [tool]})] {
            let whole = reply(ask(more.clone()), responses).expect("a reply");
            let mut more = more;
            more["stream"] = json!(true);
            let (events, carriers) = streamed(ask(more), responses);
            assert_eq!(events.last().map(|event| &event["response"]), Some(&whole));
            assert!(events.iter().enumerate().all(|(number, event)| event["sequence_number"] == number));
            let deltas: Vec<&str> = events.iter().filter_map(|event| event["delta"].as_str()).collect();
            assert_eq!(deltas.len(), carriers);
            let item = &whole["output"][0];
            assert_eq!(item["content"][0]["text"].as_str().or(item["arguments"].as_str()), Some(deltas.concat().as_str()));
            let outer: Vec<&str> = events.iter().filter_map(|event| event["type"].as_str()).filter(|kind| KINDS.contains(kind)).collect();
            assert_eq!(outer[..4], KINDS[..4]);
            assert_eq!(outer[4] == "response.incomplete", whole["status"] == "incomplete");
        }
    }

    #[test]
    fn a_functions_result_is_answered_in_words() {
        let mut body = ask(json!({"tools": [{"type": "function", "name": "f"}], "tool_choice": "required"}));
        assert_eq!(reply(body.clone(), responses).map(|body| body["output"][0]["type"].clone()), Ok(json!("function_call")));
        body["input"] = json!([{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"}]);
        assert_eq!(reply(body, responses).map(|body| body["output"][0]["type"].clone()), Ok(json!("message")));
    }

    #[test]
    fn input_may_be_a_text_or_missing() {
        assert!(reply(json!({"model": "gpt-4o", "input": "Hi"}), responses).is_ok());
        assert_eq!(reply(json!({"model": "gpt-4o"}), responses).map_err(|problem| problem.param), Err(Some("input")));
    }

    #[test]
    fn text_formats_are_kept() {
        let format = json!({"type": "json_schema", "name": "x", "schema": {"type": "object", "required": ["a"]}});
        let body = reply(ask(json!({"text": {"format": format}})), responses).expect("a reply");
        assert_eq!((&body["output"][0]["content"][0]["text"], &body["text"]["format"]), (&json!("{\"a\":\"mock\"}"), &format));
    }
}
