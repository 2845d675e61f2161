//! A messages request, written: its settings, in an order that never changes, as providers' prompt caches know a request by its bytes.
//! The conversation is written in `write_turns`, tools in `write_tools`; how much to think is decided in `thinking`.

use super::thinking::{Think, think};
use super::write_tools::Tooling;
use super::write_turns::{write_said, write_system, write_turns};
use crate::call::Protocol;
use crate::wire::json::{Json, Object};
use crate::wire::translate::claude::{Facts, Sampling, Unasked, facts};
use crate::wire::translate::form::{Request, ServiceTier};
use crate::wire::translate::loss::Setting;
use crate::wire::translate::{Far, Loss};

/// The least `top_p` beside thinking.
const LEAST_TOP_P: f64 = 0.95;

/// Writes a request. Returns the name of the tool that stands for the form of the answer, where the model has no other way to hold to it.
pub(in super::super) fn write_request(
    request: &Request<'_>,
    far: &Far,
    client: Protocol,
    loss: &mut Loss,
    out: &mut Vec<u8>,
) -> Option<String> {
    let facts = facts(&request.model);
    let mut lose = |setting| loss.setting(setting, client);
    let tooling = Tooling::of(request, facts, &mut lose);
    let think = think(request, far, facts, tooling.is_forced(), &mut lose);
    let thinks = think.map_or(facts.unasked != Unasked::Rests, Think::is_on);
    let sampling = Sampled::of(request, facts, thinks, &mut lose);
    let asks_on = request.begins_answer() && !facts.goes_on;
    Json::new(out).object(|body| {
        body.text("model", &request.model);
        if let Some(tokens) = request.max_output {
            body.whole("max_tokens", tokens);
        }
        write_system(&request.system, body);
        body.key("messages").array(|messages| {
            write_turns(&request.turns, thinks, messages);
            if asks_on {
                write_said(GO_ON, messages);
            }
        });
        tooling.write(body, &mut lose);
        write_thinking(think, facts, &tooling, body);
        sampling.write(body);
        write_stop(request, body, &mut lose);
        write_rest(request, far, body);
    });
    if asks_on {
        loss.add("messages.prefill");
    }
    if far.own && request.user.as_deref().is_some_and(|user| !is_opaque(user)) {
        loss.add("user");
    }
    tooling.answer_tool()
}

/// The longest name of an end user that the provider takes.
const LONGEST_USER: usize = 256;

/// What the user says to a model that does not go on with a begun answer by itself.
const GO_ON: &str = "Go on.";

/// The sampling settings that go on.
struct Sampled {
    temperature: Option<f64>,
    top_p: Option<f64>,
}

impl Sampled {
    fn of(request: &Request<'_>, facts: Facts, thinks: bool, lose: &mut dyn FnMut(Setting)) -> Self {
        let mut lost = |wanted: &mut Option<f64>, setting| {
            // 1 is what happens without the setting, too.
            if wanted.take().is_some_and(|value| value != 1.0) {
                lose(setting);
            }
        };
        let Request { mut temperature, mut top_p, .. } = *request;
        if temperature.is_some_and(|value| value > 1.0) {
            lost(&mut temperature, Setting::Temperature);
            temperature = Some(1.0);
        }
        if thinks && temperature != Some(1.0) {
            lost(&mut temperature, Setting::Temperature);
        }
        if thinks && top_p.is_some_and(|value| value < LEAST_TOP_P) {
            lost(&mut top_p, Setting::TopP);
        }
        match (facts.sampling, temperature, top_p) {
            (Sampling::Neither, ..) => {
                lost(&mut temperature, Setting::Temperature);
                lost(&mut top_p, Setting::TopP);
            }
            (Sampling::One, Some(1.0), Some(_)) => temperature = None,
            (Sampling::One, Some(_), Some(_)) => lost(&mut top_p, Setting::TopP),
            _ => {}
        }
        Self { temperature, top_p }
    }

    fn write(&self, body: &mut Object<'_>) {
        if let Some(temperature) = self.temperature {
            body.key("temperature").float(temperature);
        }
        if let Some(top_p) = self.top_p {
            body.key("top_p").float(top_p);
        }
    }
}

fn write_thinking(think: Option<Think>, facts: Facts, tooling: &Tooling<'_, '_>, body: &mut Object<'_>) {
    match think {
        Some(Think::Budget(tokens)) => body.key("thinking").object(|thinking| {
            thinking.text("type", "enabled");
            thinking.whole("budget_tokens", tokens);
        }),
        Some(Think::Adaptive(_)) => body.key("thinking").object(|thinking| {
            thinking.text("type", "adaptive");
            // Who asks for thinking sees it; these models would keep it back.
            if facts.late {
                thinking.text("display", "summarized");
            }
        }),
        Some(Think::Not(word)) => body.key("thinking").object(|thinking| thinking.text("type", word)),
        None => {}
    }
    let effort = think.and_then(|think| think.effort(facts));
    let schema = tooling.native_schema();
    if effort.is_none() && schema.is_none() {
        return;
    }
    body.key("output_config").object(|config| {
        if let Some(effort) = effort {
            config.text("effort", effort);
        }
        if let Some(schema) = schema {
            config.key("format").object(|format| {
                format.text("type", "json_schema");
                format.key("schema").raw(schema);
            });
        }
    });
}

/// Stop sequences; those of nothing but white space are refused by the provider.
fn write_stop(request: &Request<'_>, body: &mut Object<'_>, lose: &mut dyn FnMut(Setting)) {
    let useful = || request.stop.iter().filter(|text| !text.trim().is_empty());
    if useful().count() < request.stop.len() {
        lose(Setting::Stop);
    }
    if useful().next().is_some() {
        body.key("stop_sequences").array(|stop| useful().for_each(|text| stop.item().text(text)));
    }
}

/// Whether the provider takes it for who the end user is: it refuses what is long, an e-mail address or a telephone number.
fn is_opaque(user: &str) -> bool {
    let is_mail = user.split_once('@').is_some_and(|(_, host)| host.contains('.'));
    let digits = user.bytes().filter(u8::is_ascii_digit).count();
    let is_number = (7..=15).contains(&digits) && user.bytes().all(|byte| byte.is_ascii_digit() || b" -().+".contains(&byte));
    user.chars().count() <= LONGEST_USER && !is_mail && !is_number
}

fn write_rest(request: &Request<'_>, far: &Far, body: &mut Object<'_>) {
    if let Some(user) = request.user.as_deref().filter(|user| !far.own || is_opaque(user)) {
        body.key("metadata").object(|metadata| metadata.text("user_id", user));
    }
    match request.tier {
        Some(ServiceTier::Auto) => body.text("service_tier", "auto"),
        Some(ServiceTier::Standard) => body.text("service_tier", "standard_only"),
        None => {}
    }
    if request.stream {
        body.key("stream").bool(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::translate::request;

    fn translated(body: &str) -> String {
        let far = Far { protocol: Protocol::Anthropic, own: true, model_limit: Some(64_000) };
        let done = request(Protocol::OpenAi, &far, body.as_bytes(), &|_| None).expect("a request");
        String::from_utf8(done.body).expect("text")
    }

    /// What providers' prompt caches see.
    #[test]
    fn fields_stand_in_one_order_and_schemas_and_arguments_go_on_byte_for_byte() {
        let schema = r#"{ "type" : "object", "properties":{"b":{"const":1.50},"a":{"description":"\u00e9\/"}} }"#;
        let marked = r#"{"type":"ephemeral" , "ttl":"1h"}"#;
        let body = format!(
            r#"{{"stream":true,"service_tier":"auto","user":"u","stop":"x","top_p":0.97,"temperature":1,"reasoning_effort":"low",
            "tool_choice":"auto","tools":[{{"cache_control":{marked},"function":{{"parameters":{schema},"name":"f","description":"d"}}}}],
            "messages":[{{"content":"a","role":"user"}},{{"role":"assistant","tool_calls":[{{"id":"c","function":{{"arguments":"{{ \"z\": 1e1,\"a\":\"\\u00e9\" }}","name":"f"}}}}],
            "reasoning_details":[{{"type":"reasoning.text","text":"t","signature":"s"}}]}},{{"role":"tool","tool_call_id":"c","content":"r"}},
            {{"role":"system","content":"s"}}],"max_tokens":9000,"model":"claude-sonnet-4-0"}}"#
        );
        let expected = [
            r#"{"model":"claude-sonnet-4-0","max_tokens":9000,"system":"s","messages":[{"role":"user","content":"a"},"#,
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},"#,
            r#"{"type":"tool_use","id":"c","name":"f","input":{ "z": 1e1,"a":"\u00e9" }}]},"#,
            r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"r"}]}],"#,
            r#""tools":[{"name":"f","description":"d","input_schema":"#,
            schema,
            r#","cache_control":"#,
            marked,
            r#"}],"tool_choice":{"type":"auto"},"thinking":{"type":"enabled","budget_tokens":4096},"temperature":1.0,"top_p":0.97,"#,
            r#""stop_sequences":["x"],"metadata":{"user_id":"u"},"service_tier":"auto","stream":true}"#,
        ];
        assert_eq!(translated(&body), expected.concat());
        assert_eq!(translated(&body), translated(&body));
    }

    #[test]
    fn the_form_of_the_answer_by_a_tool_is_told() {
        let far = Far { protocol: Protocol::Anthropic, own: true, model_limit: None };
        let format = r#"{"type":"json_schema","json_schema":{"name":"city","schema":{"type":"object","additionalProperties":false}}}"#;
        for (model, expected) in [("claude-sonnet-4-0", Some("city")), ("claude-sonnet-4-5", None)] {
            let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"a"}}],"response_format":{format}}}"#);
            let done = request(Protocol::OpenAi, &far, body.as_bytes(), &|_| None).expect("a request");
            assert_eq!(done.plan.answer_tool.as_deref(), expected, "{model}");
        }
    }
}
