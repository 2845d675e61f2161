//! A chat completion request, written: how it is to be answered. What is said stands in `write_messages`.
//!
//! The provider's own servers refuse what they do not know, so that only what they take is sent to them; servers compatible with it get
//! the older words, which all of them know (`max_tokens`), and what the client asked for by name.

use super::schema::{is_strict, write_parameters};
use super::write_messages::write_messages;
use crate::call::Protocol;
use crate::wire::json::{Array, Json, Object};
use crate::wire::translate::form::{Effort, Format, Reasoning, Request, ServiceTier, Tool, ToolChoice};
use crate::wire::translate::loss::Setting;
use crate::wire::translate::{Far, Loss, gpt};

/// The most stop sequences that the provider itself takes.
const MOST_STOPS: usize = 4;

/// The longest name of an end user that is taken.
const LONGEST_USER: usize = 64;

/// Writes a request.
pub(in super::super) fn write_request(request: &Request<'_>, far: &Far, client: Protocol, loss: &mut Loss, out: &mut Vec<u8>) {
    let mut writer = Writer { request, far, client, loss };
    Json::new(out).object(|body| {
        body.text("model", &request.model);
        if let Some(limit) = request.max_output {
            body.whole(if far.own { "max_completion_tokens" } else { "max_tokens" }, limit);
        }
        body.key("messages").array(|messages| write_messages(request, far, client, writer.loss, messages));
        writer.tools(body);
        writer.format(body);
        writer.reasoning(body);
        writer.sampling(body);
        writer.service(body);
    });
}

struct Writer<'r, 'l> {
    request: &'r Request<'r>,
    far: &'r Far,
    client: Protocol,
    loss: &'l mut Loss,
}

impl Writer<'_, '_> {
    fn lose(&mut self, setting: Setting) {
        self.loss.setting(setting, self.client);
    }

    fn tools(&mut self, body: &mut Object<'_>) {
        let request = self.request;
        if request.tools.is_empty() {
            return;
        }
        body.key("tools").array(|tools| request.tools.iter().for_each(|tool| self.tool(tool, tools)));
        if let Some(choice) = &request.tool_choice {
            write_choice(choice, body.key("tool_choice"));
        }
        let Some(parallel) = request.parallel_calls else { return };
        if self.far.own && !gpt::takes_parallel_calls(&request.model) {
            self.lose(Setting::ParallelCalls);
        } else {
            body.key("parallel_tool_calls").bool(parallel);
        }
    }

    /// A tool. A schema that leaves anything open can't be held to to the letter: the provider would refuse the whole request.
    fn tool(&mut self, tool: &Tool<'_>, tools: &mut Array<'_>) {
        let strict = tool.strict && tool.schema.is_some_and(is_strict);
        if tool.strict && !strict {
            self.lose(Setting::ToolStrict);
        }
        write_function(tools.item(), |function| {
            function.text("name", &tool.name);
            if let Some(description) = &tool.description {
                function.text("description", description);
            }
            if let Some(schema) = tool.schema {
                write_parameters(schema, function.key("parameters"));
            }
            if strict {
                function.key("strict").bool(true);
            }
        });
    }

    fn format(&self, body: &mut Object<'_>) {
        let Some(format) = &self.request.format else { return };
        body.key("response_format").object(|place| match format {
            Format::JsonObject => place.text("type", "json_object"),
            Format::JsonSchema { name, description, schema, strict } => {
                place.text("type", "json_schema");
                place.key("json_schema").object(|json_schema| {
                    json_schema.text("name", name);
                    if let Some(description) = description {
                        json_schema.text("description", description);
                    }
                    json_schema.key("schema").raw(*schema);
                    json_schema.key("strict").bool(strict.unwrap_or_else(|| is_strict(*schema)));
                });
            }
        });
    }

    /// Writes how much to think where that is understood: by the provider's reasoning models, and, if the client itself named an effort,
    /// by whatever a compatible server runs. Models that take no tools while they reason are told not to: tools are the harder wish.
    fn reasoning(&mut self, body: &mut Object<'_>) {
        let reasons = gpt::reasons(&self.request.model);
        if self.far.own && !self.request.tools.is_empty() && gpt::reasons_without_tools(&self.request.model) {
            if !matches!(self.request.reasoning, None | Some(Reasoning::Off)) {
                self.lose(Setting::Reasoning);
            }
            return body.text("reasoning_effort", "none");
        }
        let effort = match self.request.reasoning {
            None | Some(Reasoning::Off) => return,
            Some(Reasoning::On(None)) if reasons => return,
            Some(Reasoning::On(Some(effort))) if reasons || !self.far.own => effort,
            Some(Reasoning::Budget(tokens)) if reasons => Effort::of_budget(tokens),
            Some(_) => return self.lose(Setting::Reasoning),
        };
        let word = if self.far.own { gpt::effort_word(effort, &self.request.model) } else { effort.as_str() };
        body.text("reasoning_effort", word);
    }

    /// Writes how to choose among words, and where to stop. The provider's reasoning models have no say in that: all but the default is an
    /// error.
    fn sampling(&mut self, body: &mut Object<'_>) {
        let request = self.request;
        let fixed = self.far.own && gpt::reasons(&request.model);
        for (key, value, setting) in [("temperature", request.temperature, Setting::Temperature), ("top_p", request.top_p, Setting::TopP)] {
            match value {
                None => {}
                Some(value) if fixed && value != 1.0 => self.lose(setting),
                Some(value) => body.key(key).float(value),
            }
        }
        let most = match self.far.own {
            _ if fixed => 0,
            true => MOST_STOPS,
            false => usize::MAX,
        };
        if request.stop.len() > most {
            self.lose(Setting::Stop);
        }
        if !request.stop.is_empty() && most > 0 {
            body.key("stop").array(|stops| request.stop.iter().take(most).for_each(|stop| stops.item().text(stop)));
        }
    }

    fn service(&mut self, body: &mut Object<'_>) {
        match &self.request.user {
            Some(user) if user.chars().count() > LONGEST_USER => {
                self.loss.add(if self.client == Protocol::Anthropic { "metadata.user_id" } else { "user" });
            }
            Some(user) => body.text("user", user),
            None => {}
        }
        match self.request.tier {
            Some(ServiceTier::Auto) => body.text("service_tier", "auto"),
            Some(ServiceTier::Standard) => body.text("service_tier", "default"),
            None => {}
        }
        if self.request.stream {
            body.key("stream").bool(true);
        }
    }
}

fn write_choice(choice: &ToolChoice<'_>, place: Json<'_>) {
    match choice {
        ToolChoice::Auto => place.text("auto"),
        ToolChoice::Never => place.text("none"),
        ToolChoice::Any => place.text("required"),
        ToolChoice::Named(name) => write_function(place, |function| function.text("name", name)),
    }
}

fn write_function(place: Json<'_>, fill: impl FnOnce(&mut Object<'_>)) {
    place.object(|tool| {
        tool.text("type", "function");
        tool.key("function").object(fill);
    });
}
