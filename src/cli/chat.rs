//! One question in either protocol, plain or streamed: the request's bytes, and text, tokens and times from the reply. What `ask` and
//! `demo` share; other programs use their provider's own client.

use super::client::{Body, Connection, Event, Events, describe};
use crate::call::Protocol;
use serde_json::{Value, json};
use std::io;
use std::time::{Duration, Instant};

/// Tokens a reply may have in Anthropic's protocol, which asks for a limit.
const MAX_TOKENS: u32 = 4096;

/// What is asked.
pub(super) struct Question<'q> {
    pub protocol: Protocol,
    pub model: &'q str,
    pub text: &'q str,
    pub stream: bool,
    /// What the router wants as API key.
    pub token: &'q str,
    /// Header fields beside those that the protocol asks for.
    pub fields: &'q [(&'q str, &'q str)],
}

/// What came back.
#[derive(Default)]
pub(super) struct Answer {
    pub status: u16,
    pub text: String,
    /// The output limit that the router lowered it to: `FIELD=N`.
    pub clamped: Option<String>,
    /// Why the reply ended, in the provider's word.
    pub stop: Option<String>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    /// From the request to the first piece of text; of a plain reply: to its head.
    pub first_token: Duration,
    pub total: Duration,
    /// The reply as the provider sent it; of a stream the list of its events.
    pub raw: Value,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// The status, if a head came.
    pub status: Option<u16>,
    pub why: String,
}

/// Asks, and hands each piece of text to `on_text` when it arrives.
///
/// # Errors
/// The connection fails, the status is not 2xx, the reply is malformed or ends in an error.
pub(super) fn ask(connection: &mut Connection, question: &Question<'_>, on_text: &mut dyn FnMut(&str)) -> Result<Answer, Failure> {
    let (path, fields, body) = request(question);
    let own = fields.iter().map(|(name, value)| (*name, value.as_str()));
    let fields: Vec<(&str, &str)> = own.chain(question.fields.iter().copied()).collect();
    let started = Instant::now();
    let broken = |status| move |error: io::Error| Failure { status, why: describe(&error) };
    let (head, body) = connection.send("POST", path, &fields, body.to_string().as_bytes()).map_err(broken(None))?;
    let status = head.status;
    let mut answer = Answer { status, clamped: head.clamped, first_token: started.elapsed(), ..Answer::default() };
    if !(200..300).contains(&status) {
        let bytes = body.all().map_err(broken(Some(status)))?;
        return Err(Failure { status: Some(status), why: message_of(&bytes) });
    }
    if question.stream {
        answer.streamed(body, started, on_text).map_err(|why| Failure { status: Some(status), why })?;
    } else {
        let bytes = body.all().map_err(broken(Some(status)))?;
        let reply: Value =
            serde_json::from_slice(&bytes).map_err(|_| Failure { status: Some(status), why: "the reply is not JSON".into() })?;
        answer.plain(reply);
        on_text(&answer.text);
    }
    answer.total = started.elapsed();
    Ok(answer)
}

/// Path, header fields and body.
fn request(question: &Question<'_>) -> (&'static str, Vec<(&'static str, String)>, Value) {
    let json_type = ("content-type", "application/json".to_string());
    let messages = json!([{ "role": "user", "content": question.text }]);
    match question.protocol {
        Protocol::OpenAi => {
            let mut body = json!({ "model": question.model, "messages": messages });
            if question.stream {
                body["stream"] = true.into();
                body["stream_options"] = json!({ "include_usage": true });
            }
            ("/v1/chat/completions", vec![json_type, ("authorization", format!("Bearer {}", question.token))], body)
        }
        Protocol::Anthropic => {
            let mut body = json!({ "model": question.model, "max_tokens": MAX_TOKENS, "messages": messages });
            if question.stream {
                body["stream"] = true.into();
            }
            let fields = vec![json_type, ("x-api-key", question.token.to_string()), ("anthropic-version", "2023-06-01".to_string())];
            ("/v1/messages", fields, body)
        }
    }
}

impl Answer {
    /// Takes text and usage from a whole reply of either protocol.
    fn plain(&mut self, reply: Value) {
        let choice = &reply["choices"][0];
        if let Some(text) = choice["message"]["content"].as_str() {
            self.text = text.into();
        }
        for block in reply["content"].as_array().into_iter().flatten() {
            self.text += block["text"].as_str().unwrap_or_default();
        }
        self.note_stop(choice["finish_reason"].as_str().or_else(|| reply["stop_reason"].as_str()));
        self.note_usage(&reply["usage"]);
        self.raw = reply;
    }

    fn streamed(&mut self, body: Body<'_>, started: Instant, on_text: &mut dyn FnMut(&str)) -> Result<(), String> {
        let mut events = Events::new(body);
        let mut seen_text = false;
        let mut ended = false;
        let mut all = Vec::new();
        while let Some(Event { name, data }) = events.next().map_err(|error| describe(&error))? {
            if data == "[DONE]" {
                ended = true;
                continue;
            }
            let event: Value = serde_json::from_str(&data).map_err(|_| "an event of the stream is not JSON".to_string())?;
            if name == "error" || event["error"].is_object() {
                return Err(message_of(data.as_bytes()));
            }
            ended |= event["type"] == "message_stop";
            let text = self.event(&event);
            if !text.is_empty() {
                if !std::mem::replace(&mut seen_text, true) {
                    self.first_token = started.elapsed();
                }
                on_text(&text);
                self.text += &text;
            }
            all.push(event);
        }
        self.raw = all.into();
        if ended { Ok(()) } else { Err("the stream ended before the reply was whole".into()) }
    }

    /// Takes usage and end from one event of either protocol, and returns its text.
    fn event(&mut self, event: &Value) -> String {
        let choice = &event["choices"][0];
        self.note_stop(choice["finish_reason"].as_str().or_else(|| event["delta"]["stop_reason"].as_str()));
        self.note_usage(&event["usage"]);
        self.note_usage(&event["message"]["usage"]);
        let text = choice["delta"]["content"].as_str().or_else(|| event["delta"]["text"].as_str());
        text.unwrap_or_default().into()
    }

    fn note_stop(&mut self, stop: Option<&str>) {
        if let Some(stop) = stop {
            self.stop = Some(stop.into());
        }
    }

    /// Figures of a later report replace those of an earlier one: they are cumulative in both protocols. Anthropic's input excludes what
    /// came from its cache; here it is all of the input.
    fn note_usage(&mut self, usage: &Value) {
        let figure = |name: &str| usage[name].as_u64();
        let cached = figure("cache_read_input_tokens").unwrap_or(0) + figure("cache_creation_input_tokens").unwrap_or(0);
        if let Some(input) = figure("prompt_tokens").or_else(|| figure("input_tokens").map(|input| input + cached)) {
            self.input_tokens = Some(input);
        }
        if let Some(output) = figure("completion_tokens").or_else(|| figure("output_tokens")) {
            self.output_tokens = Some(output);
        }
    }

    /// Whether the reply was cut off by its limit of tokens.
    pub(super) fn is_cut_short(&self) -> bool {
        matches!(self.stop.as_deref(), Some("length" | "max_tokens"))
    }
}

/// The message of an error body in either protocol, else its beginning.
fn message_of(body: &[u8]) -> String {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    match parsed["error"]["message"].as_str().or_else(|| parsed["error"].as_str()) {
        Some(message) => message.into(),
        None if body.is_empty() => "no message".into(),
        None => String::from_utf8_lossy(body).chars().take(500).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_of_both_protocols() {
        for (usage, input, output) in [
            (json!({"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}), Some(9), Some(12)),
            (json!({"input_tokens": 9, "output_tokens": 12}), Some(9), Some(12)),
            (
                json!({"input_tokens": 2, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 1, "output_tokens": 0}),
                Some(8),
                Some(0),
            ),
            (json!({"output_tokens": 7}), None, Some(7)),
            (json!(null), None, None),
        ] {
            let mut answer = Answer::default();
            answer.note_usage(&usage);
            assert_eq!((answer.input_tokens, answer.output_tokens), (input, output), "{usage}");
        }
    }

    #[test]
    fn messages_of_errors() {
        for (body, want) in [
            (r#"{"error":{"message":"no","type":"x"}}"#, "no"),
            (r#"{"type":"error","error":{"type":"x","message":"no"}}"#, "no"),
            (r#"{"error":"no"}"#, "no"),
            ("<html>", "<html>"),
            ("", "no message"),
        ] {
            assert_eq!(message_of(body.as_bytes()), want);
        }
    }
}
