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
    let offered = read_tools(body.get("tools"), loss)?;
    let request = Request {
        model,
        system,
        turns,
        tool_choice: body.read("tool_choice", |choice| read_choice(choice, &offered))?.flatten(),
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
        let body =
            br#"{"model":"claude","n":1,"messages":[{"role":"user","content":[{"type":"text","text":"\u00e9"}]}],"stop":["a"],"tools":[]}"#;
        assert!(translated(body).is_ok());
        for end in 0..body.len() {
            assert!(translated(&body[..end]).is_err(), "{end}");
        }
    }
}
