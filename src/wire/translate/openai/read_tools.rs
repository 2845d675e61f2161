//! The tools of a chat completion request, read, and which of them must be called.

use super::members::Members;
use super::read_request::named;
use crate::call::Refusal;
use crate::wire::json::{Kind, Raw};
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::{Tool, ToolChoice};

/// Reads the tools that are offered. Those that a provider runs, and those without JSON arguments, are lost.
///
/// # Errors
/// 400, naming the field.
pub(super) fn read_tools<'a>(tools: Option<Field<'a, '_>>, loss: &mut Loss) -> Result<Vec<Tool<'a>>, Refusal> {
    let Some(tools) = tools else { return Ok(Vec::new()) };
    let mut offered = Vec::new();
    for tool in tools.items()? {
        offered.extend(read_tool(&tool, loss)?);
    }
    Ok(offered)
}

/// Reads which tool must be called, if that says anything: without tools, `none` and `auto` do not. A choice of some tools leaves only
/// those offered.
///
/// # Errors
/// 400, naming the field: also where a tool is named that is not offered.
pub(super) fn read_choice<'a>(choice: &Field<'a, '_>, offered: &mut Vec<Tool<'a>>) -> Result<Option<ToolChoice<'a>>, Refusal> {
    let word = match choice.raw.kind() {
        Kind::String => choice.text()?,
        Kind::Object => return named_choice(choice, offered).map(Some),
        _ => return Err(choice.refused("must be a string or an object")),
    };
    match &*word {
        "none" | "auto" if offered.is_empty() => Ok(None),
        "none" => Ok(Some(ToolChoice::Never)),
        "auto" => Ok(Some(ToolChoice::Auto)),
        "required" if offered.is_empty() => Err(choice.refused("is \"required\", but no tools are offered")),
        "required" => Ok(Some(ToolChoice::Any)),
        _ => Err(choice.unknown("none, auto, required and an object that names a function")),
    }
}

fn read_tool<'a>(tool: &Field<'a, '_>, loss: &mut Loss) -> Result<Option<Tool<'a>>, Refusal> {
    let fields = Members::of(tool)?;
    let kind = fields.read("type", |kind| kind.text())?;
    if let Some(kind) = kind.filter(|kind| kind != "function") {
        loss.add(format!("tools.{kind}"));
        return Ok(None);
    }
    let function = fields.required("function")?;
    let function = Members::of(&function)?;
    let cache = match mark(&fields)? {
        None => mark(&function)?,
        mark => mark,
    };
    Ok(Some(Tool {
        name: named(&function.required("name")?)?,
        description: function.read("description", |field| field.text())?.filter(|text| !text.is_empty()),
        schema: function.read("parameters", read_schema)?,
        strict: function.read("strict", |field| field.bool())?.unwrap_or(false),
        cache,
    }))
}

/// The schema of a function's arguments, which are always an object's.
fn read_schema<'a>(schema: &Field<'a, '_>) -> Result<Raw<'a>, Refusal> {
    let raw = schema.object()?;
    match schema.get("type") {
        Some(kind) if kind.raw.as_str().as_deref() != Some("object") => Err(kind.unknown("object")),
        _ => Ok(raw),
    }
}

fn named_choice<'a>(choice: &Field<'a, '_>, offered: &mut Vec<Tool<'a>>) -> Result<ToolChoice<'a>, Refusal> {
    let kind = choice.required("type")?;
    let key = match &*kind.text()? {
        "function" => "function",
        "custom" => "custom",
        "allowed_tools" => return some_choice(&choice.required("allowed_tools")?, offered),
        _ => return Err(kind.unknown("function, allowed_tools")),
    };
    let function = choice.required(key)?;
    function.object()?;
    let field = function.required("name")?;
    let name = field.text()?;
    if key == "custom" || offered.iter().all(|tool| tool.name != name) {
        return Err(field.unknown("the functions in tools"));
    }
    Ok(ToolChoice::Named(name))
}

/// A choice among some of the tools.
fn some_choice<'a>(allowed: &Field<'a, '_>, offered: &mut Vec<Tool<'a>>) -> Result<ToolChoice<'a>, Refusal> {
    let mut names = Vec::new();
    let tools = allowed.required("tools")?;
    for tool in tools.items()? {
        match named_choice(&tool, offered)? {
            ToolChoice::Named(name) => names.push(name),
            _ => return Err(tool.refused("must name a function")),
        }
    }
    if names.is_empty() {
        return Err(tools.refused("must not be empty"));
    }
    offered.retain(|tool| names.contains(&tool.name));
    let mode = allowed.required("mode")?;
    match &*mode.text()? {
        "auto" => Ok(ToolChoice::Auto),
        "required" => Ok(ToolChoice::Any),
        _ => Err(mode.unknown("auto, required")),
    }
}

/// A cache mark, as clients of other gateways set it in requests of this protocol.
///
/// # Errors
/// 400: it is no object.
pub(super) fn mark<'a>(fields: &Members<'a, '_>) -> Result<Option<Raw<'a>>, Refusal> {
    fields.read("cache_control", |mark| mark.object())
}
