//! A chat completion request, read: its settings. Its messages are read in `read_messages`, its tools in `read_tools`.

use super::members::Members;
use super::read_messages::read_messages;
use super::read_tools::{read_choice, read_tools};
use crate::call::Refusal;
use crate::wire::json::{Kind, Raw};
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::{Effort, Format, Reasoning, Request, ServiceTier, Text};

/// The fields that are read; any other is lost, unless it asks for nothing.
const READ: [&str; 19] = [
    "model",
    "messages",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_completion_tokens",
    "max_tokens",
    "stop",
    "temperature",
    "top_p",
    "user",
    "safety_identifier",
    "reasoning_effort",
    "response_format",
    "service_tier",
    "stream",
    "stream_options",
    "n",
    "modalities",
];

/// Reads a request; also whether the client wants a stream's usage in a chunk of its own.
///
/// # Errors
/// 400, naming the field.
pub(in super::super) fn read_request<'a>(root: &Field<'a, '_>, loss: &mut Loss) -> Result<(Request<'a>, bool), Refusal> {
    let body = Members::of(root)?;
    let model = named(&body.required("model")?)?;
    pass_over(&body, loss)?;
    one_answer_in_text(&body)?;
    let (system, turns) = read_messages(&body.required("messages")?, loss)?;
    let mut offered = read_tools(body.get("tools"), loss)?;
    let request = Request {
        model,
        system,
        turns,
        tool_choice: body.read("tool_choice", |choice| read_choice(choice, &mut offered))?.flatten(),
        tools: offered,
        parallel_calls: body.read("parallel_tool_calls", |field| field.bool())?,
        max_output: max_output(&body)?,
        stop: body.read("stop", stop)?.unwrap_or_default(),
        temperature: body.read("temperature", |field| within(field, 2))?,
        top_p: body.read("top_p", |field| within(field, 1))?,
        user: user(&body)?,
        reasoning: body.read("reasoning_effort", reasoning)?,
        format: body.read("response_format", format)?.flatten(),
        tier: body.read("service_tier", |field| tier(field, loss))?.flatten(),
        stream: body.read("stream", |field| field.bool())?.unwrap_or(false),
    };
    let include_usage = body.read("stream_options", include_usage)?.unwrap_or(false);
    Ok((request, include_usage))
}

/// A text that names something.
pub(super) fn named<'a>(field: &Field<'a, '_>) -> Result<Text<'a>, Refusal> {
    let name = field.text()?;
    if name.is_empty() { Err(field.refused("must not be empty")) } else { Ok(name) }
}

/// Declares the fields that nobody reads.
fn pass_over(body: &Members<'_, '_>, loss: &mut Loss) -> Result<(), Refusal> {
    for (key, field) in body.iter().filter(|(key, _)| !READ.contains(key)) {
        if matches!(key, "functions" | "function_call") {
            return Err(field.refused("is the old form of calls, which can't be carried: use tools and tool_choice"));
        }
        if !asks_nothing(key, field.raw) {
            loss.add(key.to_owned());
        }
    }
    Ok(())
}

/// Whether a field that can't be carried asks for what happens without it, too.
fn asks_nothing(key: &str, value: Raw<'_>) -> bool {
    match key {
        "logprobs" | "store" => value.as_bool() == Some(false),
        "frequency_penalty" | "presence_penalty" | "top_logprobs" => value.as_f64() == Some(0.0),
        "logit_bias" | "metadata" => value.kind() == Kind::Object && value.members().next().is_none(),
        "verbosity" => value.as_str().is_some_and(|word| word == "medium"),
        _ => false,
    }
}

/// Anthropic's protocol gives one answer, and no sound.
fn one_answer_in_text(body: &Members<'_, '_>) -> Result<(), Refusal> {
    body.read("n", |n| match n.whole()? {
        1 => Ok(()),
        _ => Err(n.refused("must be 1: this model's provider gives one answer to a request")),
    })?;
    body.read("modalities", |modalities| {
        modalities.items()?.try_for_each(|modality| match &*modality.text()? {
            "text" => Ok(()),
            _ => Err(modality.untranslatable("an answer that is not text")),
        })
    })?;
    Ok(())
}

fn max_output(body: &Members<'_, '_>) -> Result<Option<u64>, Refusal> {
    let key = if body.get("max_completion_tokens").is_some() { "max_completion_tokens" } else { "max_tokens" };
    body.read(key, |field| match field.whole()? {
        0 => Err(field.refused("must be at least 1")),
        tokens => Ok(tokens),
    })
}

fn stop<'a>(field: &Field<'a, '_>) -> Result<Vec<Text<'a>>, Refusal> {
    match field.raw.kind() {
        Kind::String => Ok(vec![field.text()?]),
        Kind::Array => field.items()?.map(|item| item.text()).collect(),
        _ => Err(field.refused("must be a string or an array of strings")),
    }
}

/// A number from 0 to `most`.
fn within(field: &Field<'_, '_>, most: u8) -> Result<f64, Refusal> {
    let number = field.float()?;
    if (0.0..=f64::from(most)).contains(&number) { Ok(number) } else { Err(field.refused(&format!("must be from 0 to {most}"))) }
}

fn user<'a>(body: &Members<'a, '_>) -> Result<Option<Text<'a>>, Refusal> {
    let user = body.read("user", |field| field.text())?;
    let user = if user.is_some() { user } else { body.read("safety_identifier", |field| field.text())? };
    Ok(user.filter(|user| !user.is_empty()))
}

fn reasoning(field: &Field<'_, '_>) -> Result<Reasoning, Refusal> {
    match &*field.text()? {
        "none" => Ok(Reasoning::Off),
        word => Effort::parse(word)
            .map(|effort| Reasoning::On(Some(effort)))
            .ok_or_else(|| field.unknown("none, minimal, low, medium, high, xhigh, max")),
    }
}

fn format<'a>(field: &Field<'a, '_>) -> Result<Option<Format<'a>>, Refusal> {
    let kind = field.required("type")?;
    match &*kind.text()? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::JsonObject)),
        "json_schema" => json_schema(&field.required("json_schema")?).map(Some),
        _ => Err(kind.unknown("text, json_object, json_schema")),
    }
}

fn json_schema<'a>(field: &Field<'a, '_>) -> Result<Format<'a>, Refusal> {
    let form = Members::of(field)?;
    let name = named(&form.required("name")?)?;
    // Without a schema nothing is said but that it should be JSON.
    let Some(schema) = form.read("schema", |schema| schema.object())? else { return Ok(Format::JsonObject) };
    let description = form.read("description", |field| field.text())?;
    Ok(Format::JsonSchema { name, description, schema, strict: form.read("strict", |field| field.bool())? })
}

fn tier(field: &Field<'_, '_>, loss: &mut Loss) -> Result<Option<ServiceTier>, Refusal> {
    Ok(match &*field.text()? {
        "auto" => Some(ServiceTier::Auto),
        "default" => Some(ServiceTier::Standard),
        _ => {
            loss.add("service_tier");
            None
        }
    })
}

fn include_usage(field: &Field<'_, '_>) -> Result<bool, Refusal> {
    field.object()?;
    field.get("include_usage").map_or(Ok(false), |include| include.bool())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Protocol, Reason};
    use crate::wire::translate::{Far, request};

    fn translated(body: &[u8]) -> Result<String, Refusal> {
        let far = Far { protocol: Protocol::Anthropic, own: true, model_limit: None };
        request(Protocol::OpenAi, &far, body, &|_| None).map(|done| String::from_utf8_lossy(&done.body).into_owned())
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for body in
            [&b"{\"model\":\"\xff\"}"[..], b"\xff", b"", b"[]", b"7", b"{\"model\":\"claude\",\"messages\":[{\"role\":\"us\xc3\"}]}"]
        {
            let refusal = translated(body).expect_err("no request");
            assert!(matches!(refusal.reason, Reason::Invalid(_)), "{}", refusal.message);
        }
    }

    /// Whatever bytes are missing, the answer is a refusal or a request, never a panic.
    #[test]
    fn broken_off_anywhere() {
        assert!(translated(RICH.as_bytes()).is_ok());
        for end in 0..RICH.len() {
            assert!(translated(&RICH.as_bytes()[..end]).is_err(), "{end}");
        }
    }

    /// Every value of a request replaced by every odd one: a refusal that says where, or a request that an upstream can read.
    #[test]
    fn odd_values_anywhere() {
        let odd = [
            "null",
            "true",
            "0",
            "-1",
            "1.5",
            "1e999",
            r#""""#,
            r#"" ""#,
            r#""x""#,
            r#""\ud800""#,
            "[]",
            "{}",
            "[null]",
            "[[]]",
            r#"{"type":"x"}"#,
        ];
        let spots = spots(RICH);
        assert!(spots.len() > 80, "{}", spots.len());
        for (start, end) in spots {
            for odd in odd {
                let body = format!("{}{odd}{}", &RICH[..start], &RICH[end..]);
                match translated(body.as_bytes()) {
                    Err(refusal) => assert!(matches!(refusal.reason, Reason::Invalid(_)) && !refusal.message.is_empty(), "{body}"),
                    Ok(text) => assert_is_sound(&text, &body),
                }
            }
        }
    }

    /// Where values stand in a text: all but the whole of it.
    fn spots(text: &str) -> Vec<(usize, usize)> {
        fn collect(value: Raw<'_>, text: &str, spots: &mut Vec<(usize, usize)>) {
            for inner in value.members().map(|(_, inner)| inner).chain(value.items()) {
                let start = inner.text().as_ptr() as usize - text.as_ptr() as usize;
                spots.push((start, start + inner.text().len()));
                collect(inner, text, spots);
            }
        }
        let mut spots = Vec::new();
        collect(Raw::parse(text.as_bytes()).expect("JSON"), text, &mut spots);
        spots
    }

    /// Roles alternate, and nothing is empty.
    fn assert_is_sound(text: &str, body: &str) {
        // Marks and schemas go on as they are, even where they hold what only some parsers take.
        if text.contains("1e999") || text.contains("ud800") {
            return;
        }
        let sent: serde_json::Value = serde_json::from_str(text).unwrap_or_else(|fault| panic!("{fault}: {text} of {body}"));
        let messages = sent["messages"].as_array().expect("messages");
        assert!(!messages.is_empty(), "{body}");
        assert!(messages.windows(2).all(|pair| pair[0]["role"] != pair[1]["role"]), "{text} of {body}");
        for message in messages {
            let content = &message["content"];
            assert!(content.as_str().is_some_and(|text| !text.is_empty()) || content.as_array().is_some_and(|blocks| !blocks.is_empty()));
        }
    }

    const RICH: &str = r#"{"model":"claude-sonnet-4-5","n":1,"messages":[{"role":"system","content":"S","name":"s"},
        {"role":"user","content":[{"type":"text","text":"\u00e9","cache_control":{"type":"ephemeral"}},
        {"type":"image_url","image_url":{"url":"data:image/png;base64,eHh4","detail":"low"}},
        {"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,eHh4"}}]},
        {"role":"assistant","content":"A","refusal":"R","reasoning_details":[{"type":"reasoning.text","text":"t","signature":"s","index":0},
        {"type":"reasoning.encrypted","data":"d","index":1}],
        "tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},
        {"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"r"}]},{"role":"user","content":"U"}],
        "tools":[{"type":"function","function":{"name":"f","description":"d","strict":true,
        "parameters":{"type":"object","properties":{"x":{"type":"number"}},"required":["x"],"additionalProperties":false}}}],
        "tool_choice":"auto","parallel_tool_calls":false,"max_completion_tokens":9000,"max_tokens":5,"stop":["a"],"temperature":1,
        "top_p":0.99,"user":"u","safety_identifier":"i","reasoning_effort":"low","service_tier":"auto","stream":true,
        "stream_options":{"include_usage":true},"modalities":["text"],"logit_bias":{},"seed":1,
        "response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","strict":true,
        "schema":{"type":"object","properties":{},"additionalProperties":false}}}}"#;
}
