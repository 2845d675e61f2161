//! How a messages request is to be answered: with which tools, after how much thinking, in what form.

use super::read_blocks::{cache_mark, need, pick, pick_and};
use super::read_request::{full_text, is_neutral};
use crate::call::Refusal;
use crate::wire::json::Raw;
use crate::wire::translate::Loss;
use crate::wire::translate::field::Field;
use crate::wire::translate::form::{Effort, Format, Reasoning, Request, Tool, ToolChoice};

/// Reads the tools and which of them must or may be called. Without tools there is nothing to choose from.
pub(super) fn read_tools<'a>(
    tools: Option<&Field<'a, '_>>,
    choice: Option<&Field<'a, '_>>,
    request: &mut Request<'a>,
    loss: &mut Loss,
) -> Result<(), Refusal> {
    if let Some(tools) = tools {
        for tool in tools.items()? {
            request.tools.extend(read_tool(&tool, loss)?);
        }
    }
    let Some(choice) = choice else { return Ok(()) };
    let [kind, name, alone] = pick(choice, ["type", "name", "disable_parallel_tool_use"])?;
    let chosen = read_choice(choice, kind, name)?;
    let alone = alone.map(|raw| choice.at("disable_parallel_tool_use", raw).bool()).transpose()?;
    if request.tools.is_empty() {
        return match chosen {
            ToolChoice::Auto | ToolChoice::Never => Ok(()),
            ToolChoice::Any | ToolChoice::Named(_) => Err(choice.refused("wants a call of a tool, and none is offered")),
        };
    }
    if matches!(&chosen, ToolChoice::Named(name) if request.tools.iter().all(|tool| tool.name != *name)) {
        return Err(choice.required("name")?.refused("is no tool that is offered"));
    }
    request.parallel_calls = (alone == Some(true)).then_some(false);
    request.tool_choice = Some(chosen);
    Ok(())
}

fn read_choice<'a>(choice: &Field<'a, '_>, kind: Option<Raw<'a>>, name: Option<Raw<'a>>) -> Result<ToolChoice<'a>, Refusal> {
    let kind = need(choice, "type", kind)?;
    Ok(match &*kind.text()? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Any,
        "none" => ToolChoice::Never,
        "tool" => ToolChoice::Named(full_text(&need(choice, "name", name)?)?),
        _ => return Err(kind.unknown("auto, any, tool, none")),
    })
}

/// A tool that the client runs; those that the provider runs or knows by itself are lost.
fn read_tool<'a>(tool: &Field<'a, '_>, loss: &mut Loss) -> Result<Option<Tool<'a>>, Refusal> {
    let mut extras = Vec::new();
    let names = ["type", "name", "description", "input_schema", "strict", "cache_control"];
    let [kind, name, description, schema, strict, cache] = pick_and(tool, names, |key, raw| {
        if means_something(key, raw) {
            extras.push(format!("tools.{key}"));
        }
    })?;
    if let Some(kind) = kind.map(|raw| tool.at("type", raw)) {
        match &*kind.text()? {
            "custom" => {}
            // The other protocol's: a mistake that would leave a program without its tools.
            "function" => return Err(kind.unknown("custom, and the types of the provider's own tools")),
            word => {
                loss.add(format!("tools.{word}"));
                return Ok(None);
            }
        }
    }
    extras.into_iter().for_each(|name| loss.add(name));
    let schema = need(tool, "input_schema", schema)?;
    Ok(Some(Tool {
        name: full_text(&need(tool, "name", name)?)?,
        description: description.map(|raw| tool.at("description", raw).text()).transpose()?,
        schema: Some(read_schema(&schema)?),
        strict: strict.map(|raw| tool.at("strict", raw).bool()).transpose()?.unwrap_or_default(),
        cache: cache_mark(tool, cache)?,
    }))
}

/// The schema of a tool's arguments, which are always an object's.
fn read_schema<'a>(schema: &Field<'a, '_>) -> Result<Raw<'a>, Refusal> {
    let raw = schema.object()?;
    if let Some(kind) = schema.get("type")
        && kind.raw.as_str().as_deref() != Some("object")
    {
        return Err(kind.unknown("object"));
    }
    Ok(raw)
}

/// Whether something else that a tool says concerns more than how its calls are streamed, or who calls it.
fn means_something(key: &str, raw: Raw<'_>) -> bool {
    key != "eager_input_streaming" && !is_neutral(raw) && raw.text() != r#"["direct"]"#
}

/// The members by which a request asks for thinking and for a form.
#[derive(Default)]
pub(super) struct Asked<'a> {
    pub(super) thinking: Option<Raw<'a>>,
    pub(super) output_config: Option<Raw<'a>>,
    /// Where the form of the answer stood before `output_config`.
    pub(super) output_format: Option<Raw<'a>>,
}

impl<'a> Asked<'a> {
    pub(super) fn read(&self, root: &Field<'a, '_>, request: &mut Request<'a>, loss: &mut Loss) -> Result<(), Refusal> {
        let mut effort = None;
        if let Some(format) = self.output_format {
            request.format = Some(read_format(&root.at("output_format", format))?);
        }
        if let Some(config) = self.output_config {
            let config = root.at("output_config", config);
            for (key, raw) in config.members()? {
                let field = config.at(&key, raw);
                match &*key {
                    "effort" => effort = Some(read_effort(&field)?),
                    "format" => request.format = Some(read_format(&field)?),
                    _ if is_neutral(raw) => {}
                    _ => loss.add(format!("output_config.{key}")),
                }
            }
        }
        request.reasoning = match self.thinking {
            Some(thinking) => read_thinking(&root.at("thinking", thinking), effort)?,
            None => effort.map(|effort| Reasoning::On(Some(effort))),
        };
        Ok(())
    }
}

fn read_effort(field: &Field<'_, '_>) -> Result<Effort, Refusal> {
    Effort::parse(&field.text()?).ok_or_else(|| field.unknown("low, medium, high, xhigh, max"))
}

/// How much to think. A word says it better than a budget, as it is what both protocols have.
fn read_thinking(thinking: &Field<'_, '_>, effort: Option<Effort>) -> Result<Option<Reasoning>, Refusal> {
    let [kind, budget] = pick(thinking, ["type", "budget_tokens"])?;
    let kind = need(thinking, "type", kind)?;
    Ok(match &*kind.text()? {
        // The second is what some models have in the place of the first.
        "disabled" | "between_tools" => Some(Reasoning::Off),
        "adaptive" => Some(Reasoning::On(effort)),
        "enabled" => {
            let budget = need(thinking, "budget_tokens", budget)?.whole()?;
            Some(effort.map_or(Reasoning::Budget(budget), |effort| Reasoning::On(Some(effort))))
        }
        _ => return Err(kind.unknown("enabled, adaptive, disabled, between_tools")),
    })
}

fn read_format<'a>(format: &Field<'a, '_>) -> Result<Format<'a>, Refusal> {
    let [kind, schema] = pick(format, ["type", "schema"])?;
    let kind = need(format, "type", kind)?;
    if kind.text()? != "json_schema" {
        return Err(kind.unknown("json_schema"));
    }
    let schema = need(format, "schema", schema)?.object()?;
    Ok(Format::JsonSchema { name: "answer".into(), description: None, schema, strict: None })
}
