//! A messages request, read: its members, and which of them have no counterpart. What is said stands in `read_blocks`, how it is to be
//! answered in `read_settings`.
//!
//! Cache marks are checked and carried; a protocol whose provider caches by itself leaves them out without losing anything.

use super::read_blocks::{read_messages, read_system};
use super::read_settings::{Asked, read_tools};
use crate::call::{Reason, Refusal};
use crate::wire::json::Raw;
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::{Request, ServiceTier, Text};

/// Reads a request.
///
/// # Errors
/// 400, naming the field.
pub(in super::super) fn read_request<'a>(root: &Field<'a, '_>, loss: &mut Loss) -> Result<Request<'a>, Refusal> {
    let request = read_conversation(root, loss)?;
    if request.max_output.is_none() {
        root.required("max_tokens")?;
    }
    Ok(request)
}

/// Reads a request that need not say how long its answer may be: one to `count_tokens`.
///
/// # Errors
/// 400, naming the field.
pub(in super::super) fn read_conversation<'a>(root: &Field<'a, '_>, loss: &mut Loss) -> Result<Request<'a>, Refusal> {
    let mut request = Request::default();
    let mut linked = Linked::default();
    for (key, raw) in root.members()? {
        if !linked.take(&key, raw) {
            read_member(&root.at(&key, raw), &key, &mut request, loss)?;
        }
    }
    if request.model.is_empty() {
        return Err(root.required("model")?.refused("must not be empty"));
    }
    linked.read(root, &mut request, loss)?;
    Ok(request)
}

/// The members that are read in an order of their own, wherever they stand.
#[derive(Default)]
struct Linked<'a> {
    system: Option<Raw<'a>>,
    messages: Option<Raw<'a>>,
    tools: Option<Raw<'a>>,
    tool_choice: Option<Raw<'a>>,
    asked: Asked<'a>,
}

impl<'a> Linked<'a> {
    /// Whether it is one of them.
    fn take(&mut self, key: &str, raw: Raw<'a>) -> bool {
        let slot = match key {
            "system" => &mut self.system,
            "messages" => &mut self.messages,
            "tools" => &mut self.tools,
            "tool_choice" => &mut self.tool_choice,
            "thinking" => &mut self.asked.thinking,
            "output_config" => &mut self.asked.output_config,
            "output_format" => &mut self.asked.output_format,
            _ => return false,
        };
        *slot = Some(raw);
        true
    }

    fn read(&self, root: &Field<'a, '_>, request: &mut Request<'a>, loss: &mut Loss) -> Result<(), Refusal> {
        if let Some(system) = self.system {
            read_system(&root.at("system", system), &mut request.system)?;
        }
        match self.messages {
            Some(messages) => read_messages(&root.at("messages", messages), request, loss)?,
            None => drop(root.required("messages")?),
        }
        let tools = self.tools.map(|tools| root.at("tools", tools));
        let choice = self.tool_choice.map(|choice| root.at("tool_choice", choice));
        read_tools(tools.as_ref(), choice.as_ref(), request, loss)?;
        self.asked.read(root, request, loss)
    }
}

/// A member that depends on no other.
fn read_member<'a>(field: &Field<'a, '_>, key: &str, request: &mut Request<'a>, loss: &mut Loss) -> Result<(), Refusal> {
    match key {
        "model" => request.model = field.text()?,
        "max_tokens" => request.max_output = Some(at_least_one(field)?),
        "temperature" => request.temperature = Some(field.float()?),
        "top_p" => request.top_p = Some(field.float()?),
        "stop_sequences" => request.stop = field.items()?.map(|item| full_text(&item)).collect::<Result<_, _>>()?,
        "stream" => request.stream = field.bool()?,
        "service_tier" => request.tier = Some(read_tier(field)?),
        "metadata" => read_metadata(field, request, loss)?,
        // Marks the end of the conversation for the cache.
        "cache_control" => drop(field.object()?),
        "thread" => read_thread(field)?,
        "compaction" => return Err(field.untranslatable("a request to compact the conversation")),
        "speed" if field.raw.as_str().as_deref() == Some("standard") => {}
        _ if is_neutral(field.raw) => {}
        _ => loss.add(key.to_owned()),
    }
    Ok(())
}

/// Reads whether the provider is to keep the conversation, so that only what is new need be sent next time. It may forget at any time, and
/// whoever asks for that has to send everything again when told so: nothing is lost where nothing is kept.
fn read_thread(thread: &Field<'_, '_>) -> Result<(), Refusal> {
    let kind = thread.required("type")?;
    match &*kind.text()? {
        "create" => Ok(()),
        "continue" => Err(Refusal::new(
            Reason::ThreadNotFound,
            format!(
                "{}: this model's provider keeps no threads of messages: send the whole conversation, without `thread`",
                thread.place()
            ),
        )),
        _ => Err(kind.unknown("create, continue")),
    }
}

/// Whether a setting that is not known here asks for nothing: `false`, `[]`, `{}`.
pub(super) fn is_neutral(raw: Raw<'_>) -> bool {
    raw.text() == "false" || (matches!(raw.text().as_bytes().first(), Some(b'[' | b'{')) && is_hollow(raw))
}

fn is_hollow(container: Raw<'_>) -> bool {
    container.items().next().is_none() && container.members().next().is_none()
}

fn at_least_one(field: &Field<'_, '_>) -> Result<u64, Refusal> {
    match field.whole()? {
        0 => Err(field.refused("must be at least 1")),
        number => Ok(number),
    }
}

/// A text that is not empty.
pub(super) fn full_text<'a>(field: &Field<'a, '_>) -> Result<Text<'a>, Refusal> {
    let text = field.text()?;
    if text.is_empty() { Err(field.refused("must not be empty")) } else { Ok(text) }
}

fn read_tier(field: &Field<'_, '_>) -> Result<ServiceTier, Refusal> {
    match &*field.text()? {
        "auto" => Ok(ServiceTier::Auto),
        "standard_only" => Ok(ServiceTier::Standard),
        _ => Err(field.unknown("auto, standard_only")),
    }
}

fn read_metadata<'a>(metadata: &Field<'a, '_>, request: &mut Request<'a>, loss: &mut Loss) -> Result<(), Refusal> {
    for (key, raw) in metadata.members()? {
        if key == "user_id" {
            request.user = Some(metadata.at("user_id", raw).text()?).filter(|user| !user.is_empty());
        } else {
            loss.add(format!("metadata.{key}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::call::{Protocol, Refusal};
    use crate::wire::translate::{Far, Translated, request};
    use serde_json::{Value, json};

    fn translated(body: &[u8], own: bool) -> Result<Translated, Refusal> {
        request(Protocol::Anthropic, &Far { protocol: Protocol::OpenAi, own, model_limit: None }, body, &|_| None)
    }

    /// A request that has something of everything.
    fn rich() -> Value {
        let png = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}});
        let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="});
        json!({
            "model": "gpt-5", "max_tokens": 50, "temperature": 0.5, "top_p": 1, "top_k": 5, "stream": true, "stop_sequences": ["a"],
            "metadata": {"user_id": "u"}, "service_tier": "auto", "cache_control": {"type": "ephemeral"},
            "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}},
            "tools": [{"name": "t", "description": "d", "strict": true, "input_schema": {"properties": {"a": {}}}}, {"type": "bash_20250124"}],
            "tool_choice": {"type": "tool", "name": "t", "disable_parallel_tool_use": true},
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "Hi"}, png, {"type": "document", "source": pdf, "title": "T", "context": "C", "citations": {"enabled": true}},
                    {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Hi"}]}},
                    {"type": "image", "source": {"type": "url", "url": "https://a.example/x"}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "s"}, {"type": "redacted_thinking", "data": "x"},
                    {"type": "server_tool_use"}, {"type": "tool_use", "id": "1", "name": "t", "input": {"a": 1}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "is_error": true, "content": [{"type": "text", "text": "Hi"}, png]}]},
                {"role": "system", "content": "S"},
                {"role": "assistant", "content": "A"},
            ],
        })
    }

    /// The request with each of its values put in another's place, one at a time.
    fn spoilt(with: &Value) -> Vec<Vec<u8>> {
        fn each(at: &mut Value, path: &str, paths: &mut Vec<String>) {
            paths.push(path.to_owned());
            match at {
                Value::Object(members) => members.iter_mut().for_each(|(key, value)| each(value, &format!("{path}/{key}"), paths)),
                Value::Array(items) => items.iter_mut().enumerate().for_each(|(nth, value)| each(value, &format!("{path}/{nth}"), paths)),
                _ => {}
            }
        }
        let mut paths = Vec::new();
        each(&mut rich(), "", &mut paths);
        let spoil = |path: &String| {
            let mut whole = rich();
            *whole.pointer_mut(path).expect("a path of it") = with.clone();
            whole.to_string().into_bytes()
        };
        paths.iter().map(spoil).collect()
    }

    #[test]
    fn whatever_is_wrong_is_refused_or_carried_and_always_alike() {
        let mut outcomes = [0, 0];
        let odd = [
            json!(null),
            json!(true),
            json!(-1),
            json!(0),
            json!(1e300),
            json!(""),
            json!("é\u{0}"),
            json!([]),
            json!({}),
            json!([[]]),
            json!({"type": "text"}),
        ];
        for body in odd.iter().flat_map(spoilt) {
            match (translated(&body, true), translated(&body, false)) {
                (Ok(once), Ok(_)) => {
                    assert!(serde_json::from_slice::<Value>(&once.body).is_ok_and(|body| body.is_object()));
                    assert_eq!(translated(&body, true).map(|again| (again.body, again.loss)).ok(), Some((once.body, once.loss)));
                    outcomes[0] += 1;
                }
                (Err(refusal), Err(_)) => {
                    assert!(["invalid_field", "untranslatable_content"].contains(&refusal.reason.code()), "{}", refusal.message);
                    outcomes[1] += 1;
                }
                _ => panic!("refused for one upstream only: {}", String::from_utf8_lossy(&body)),
            }
        }
        assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
    }

    #[test]
    fn what_is_no_utf8_is_no_json() {
        let refusal = translated(b"{\"model\":\"\xff\",\"max_tokens\":5,\"messages\":[]}", true).expect_err("no UTF-8");
        assert_eq!(refusal.reason.code(), "invalid_json");
        assert!(refusal.message.contains("noticed at byte 10"), "{}", refusal.message);
    }

    #[test]
    fn schemas_and_arguments_go_on_byte_for_byte() {
        let schema = r#"{ "type":"object","properties": {"\u0061":{"minimum":1e0}},"properties":{} }"#;
        let input = r#"{"n":1.0,  "b":"\u0041" }"#;
        let call = format!(r#"{{"type":"tool_use","id":"1","name":"t","input":{input}}}"#);
        let body = format!(
            r#"{{"model":"m","max_tokens":5,"tools":[{{"name":"t","input_schema":{schema}}}],"messages":[{{"role":"user","content":"a"}},{{"role":"assistant","content":[{call}]}}]}}"#
        );
        let out = String::from_utf8(translated(body.as_bytes(), true).expect(&body).body).expect("UTF-8");
        assert!(out.contains(&format!(r#""parameters":{schema}"#)), "{out}");
        assert!(out.contains(&format!(r#""arguments":{}"#, json!(input))), "{out}");
    }
}
