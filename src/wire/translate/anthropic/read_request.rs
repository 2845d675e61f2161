//! A messages request, read: its members, and which of them have no counterpart. What is said stands in `read_blocks`, how it is to be
//! answered in `read_settings`.
//!
//! Cache marks are checked and carried; a protocol whose provider caches by itself leaves them out without losing anything.

use super::read_blocks::{read_messages, read_system};
use super::read_settings::{Asked, read_tools};
use crate::call::Refusal;
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
        _ if is_neutral(field.raw) => {}
        _ => loss.add(key.to_owned()),
    }
    Ok(())
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
