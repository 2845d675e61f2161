//! Python's keywords as settings: which go together, what each of them is called in the table, and what a misspelt one may have meant.

use super::errors;
use crate::error::Error;
use crate::mock::{Mock, MockConfig};
use crate::money::{MOST_USD, NanoUsd};
use crate::provider::provider_of_key;
use crate::router::LlmRouter;
use crate::secret::Secret;
use crate::settings::{Kind, Outside, SETTINGS, Setting, Settings, names_a_place, nearest, quoted};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use std::time::Duration;

/// Keywords of the class that are not settings of the table.
const OWN: [&str; 5] = ["provider_key", "provider_keys", "base_urls", "mock", "agents"];

/// Settings of the command that mean nothing to a class: Python's `logging` has formats of its own.
const NOT_HERE: [&str; 1] = ["log_format"];

/// The providers that `provider_keys` and `base_urls` name.
const PROVIDERS: [&str; 2] = ["openai", "anthropic"];

/// What `LlmRouter(…)` was called with.
pub(super) struct Arguments<'py> {
    pub(super) api_key: Option<Bound<'py, PyAny>>,
    pub(super) server_url: Option<Bound<'py, PyAny>>,
    pub(super) cache_ttl_seconds: Option<Bound<'py, PyAny>>,
    pub(super) provider_key: Option<Bound<'py, PyAny>>,
    pub(super) provider_keys: Option<Bound<'py, PyAny>>,
    pub(super) base_urls: Option<Bound<'py, PyAny>>,
    pub(super) mock: Option<Bound<'py, PyAny>>,
    pub(super) agents: Option<Bound<'py, PyAny>>,
    pub(super) settings: Option<Bound<'py, PyDict>>,
}

/// A name of the table and its value.
type Pair = (String, Secret);

/// A client with a token and perhaps a budget of its own.
struct AgentGiven {
    name: String,
    token: Option<Secret>,
    budget: Option<String>,
}

/// The same, free of Python: may be carried out without the GIL.
pub(super) struct Plan {
    pairs: Vec<Pair>,
    agents: Vec<AgentGiven>,
    provider_key: Option<Secret>,
    mock: bool,
}

impl Arguments<'_> {
    /// Checks what can be checked without a look at environment and files.
    pub(super) fn plan(self) -> PyResult<Plan> {
        let mut pairs = Vec::new();
        if let Some(settings) = &self.settings {
            for (name, value) in settings.iter() {
                add_setting(&mut pairs, &name.extract::<String>()?, &value)?;
            }
        }
        if let Some(keys) = &self.provider_keys {
            add_by_provider(&mut pairs, "provider_keys", keys, "key")?;
        }
        if let Some(urls) = &self.base_urls {
            add_by_provider(&mut pairs, "base_urls", urls, "base_url")?;
        }
        if let Some(ttl) = &self.cache_ttl_seconds {
            add_setting(&mut pairs, "cache_ttl_seconds", ttl)?;
        }
        if let Some(url) = &self.server_url {
            pairs.push(("server_url".into(), string("server_url", url)?));
        }
        let provider_key = self.provider_key.map(|key| string("provider_key", &key)).transpose()?;
        let mock = self.mock.map_or(Ok(false), |mock| mock.extract::<bool>().map_err(|_| wrong_type("mock", "True or False", &mock)))?;
        let direct = mock || provider_key.is_some() || pairs.iter().any(|(name, _)| is_provider(name));
        if let Some(key) = &self.api_key {
            let server_mode = pairs.iter().any(|(name, _)| name == "server_url");
            let name = if direct && !server_mode { "client_token" } else { "api_key" };
            if pairs.iter().any(|(other, _)| other == name) {
                return Err(errors::config(format!("api_key and {name} say the same here: give one of them")));
            }
            pairs.push((name.into(), string("api_key", key)?));
        }
        refuse_contradictions(&pairs, provider_key.is_some(), mock)?;
        let agents = self.agents.map_or(Ok(Vec::new()), |agents| agents_of(&agents))?;
        Ok(Plan { pairs, agents, provider_key, mock })
    }
}

impl Plan {
    /// Whether starting may have to wait for a control server.
    pub(super) fn asks_a_server(&self) -> bool {
        !self.mock
    }

    /// Starts the router, and the mock provider where one was asked for.
    pub(super) fn start(self) -> Result<(LlmRouter, Option<Mock>), Error> {
        let outside = Outside::process();
        if self.mock {
            let mock = Mock::start(MockConfig::default())?;
            let settings = settings(self.pairs, self.agents)?.on_mock(mock.base_url(), &outside)?;
            return Ok((settings.check(&outside)?.start()?, Some(mock)));
        }
        let mut pairs = self.pairs;
        if let Some(key) = self.provider_key {
            pairs.push((name_of(&key, &outside)?.into(), key));
        }
        Ok((settings(pairs, self.agents)?.complete(&outside)?.check(&outside)?.start()?, None))
    }
}

fn settings(pairs: Vec<Pair>, agents: Vec<AgentGiven>) -> Result<Settings, Error> {
    let mut settings = Settings::from_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.expose())))?;
    for agent in agents {
        settings.add_agent(&agent.name, agent.token, agent.budget.as_deref())?;
    }
    Ok(settings)
}

/// The setting that a `provider_key` stands for, told by how the key itself begins.
fn name_of(key: &Secret, outside: &Outside<'_>) -> Result<&'static str, Error> {
    let as_provider_key = |error| match error {
        Error::Config(why) => Error::Config(why.replacen("openai_key", "provider_key", 1)),
        Error::Io { what, source } => Error::Io { what: what.replacen("openai_key", "provider_key", 1), source },
        other => other,
    };
    let settings = Settings::from_pairs([("openai_key", key.expose())]).map_err(as_provider_key)?;
    let found = settings.key("openai_key", outside).map_err(as_provider_key)?;
    let protocol = found.map_or(crate::Protocol::OpenAi, |key| provider_of_key(key.expose()));
    Ok(if protocol == crate::Protocol::Anthropic { "anthropic_key" } else { "openai_key" })
}

/// Adds one setting; its name must stand in the table.
fn add_setting(pairs: &mut Vec<Pair>, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let Some(setting) = Setting::named(name).filter(|setting| setting.name == name && !NOT_HERE.contains(&name)) else {
        return Err(errors::unknown_keyword(unknown(name)));
    };
    if value.is_none() {
        return Ok(());
    }
    for text in texts(setting, value)? {
        pairs.push((setting.name.into(), text));
    }
    Ok(())
}

fn unknown(name: &str) -> String {
    if NOT_HERE.contains(&name) {
        return format!("{name}: a setting of the command only; Python's logging has its own formats (logger iron_runtime)");
    }
    let table = SETTINGS.iter().map(|setting| setting.name).filter(|name| !NOT_HERE.contains(name));
    match nearest(name, OWN.into_iter().chain(table)) {
        Some(near) => format!("LlmRouter() has no keyword {}; did you mean {near}?", quoted(name)),
        None => format!("LlmRouter() has no keyword {}; help(iron_runtime.LlmRouter) lists them", quoted(name)),
    }
}

/// A value as the table reads it; a list is several values, for a setting that takes several.
fn texts(setting: &Setting, value: &Bound<'_, PyAny>) -> PyResult<Vec<Secret>> {
    let is_list = value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>();
    match setting.kind {
        Kind::Hosts if is_list => value.try_iter()?.map(|item| text(setting.name, &item?)).collect(),
        Kind::Percents if is_list => {
            let percents: Vec<Secret> = value.try_iter()?.map(|item| text(setting.name, &item?)).collect::<PyResult<_>>()?;
            Ok(vec![Secret::new(percents.iter().map(Secret::expose).collect::<Vec<_>>().join(","))])
        }
        Kind::Usd => Ok(vec![Secret::new(dollars(setting.name, value)?)]),
        Kind::Switch => {
            let on = value.cast::<PyBool>().map_err(|_| wrong_type(setting.name, "True or False", value))?;
            Ok(vec![Secret::new(on.is_true().to_string())])
        }
        _ => Ok(vec![text(setting.name, value)?]),
    }
}

/// Whether a value is a number; Python's booleans are none here.
fn is_number(value: &Bound<'_, PyAny>) -> bool {
    (value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>()) && !value.is_instance_of::<PyBool>()
}

/// A number of dollars as text.
fn dollars(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    if is_number(value) { Ok(value.str()?.to_string()) } else { Err(wrong_type(name, "a number of US dollars", value)) }
}

/// An amount of money; `None`: no limit.
pub(super) fn amount(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<NanoUsd>> {
    if value.is_none() {
        return Ok(None);
    }
    let text = dollars(name, value)?;
    let wrong =
        || errors::config(format!("{name}: must be an amount of US dollars from 0 to {MOST_USD}, or None for no limit, not {text}"));
    text.parse().ok().and_then(NanoUsd::from_usd).map(Some).ok_or_else(wrong)
}

/// A whole number from 0 on.
pub(super) fn number(name: &str, value: &Bound<'_, PyAny>) -> PyResult<u64> {
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, "a whole number", value));
    }
    value.extract().map_err(|_| errors::config(format!("{name}: must be a whole number from 0 to {}", u64::MAX)))
}

/// A number of seconds from 0 on.
pub(super) fn seconds(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    if !is_number(value) {
        return Err(wrong_type(name, "a number of seconds", value));
    }
    let wrong = || errors::config(format!("{name}: must be a number of seconds from 0 on, or None for no limit"));
    Duration::try_from_secs_f64(value.extract().map_err(|_| wrong())?).map_err(|_| wrong())
}

/// Reads `{NAME: {"budget": …, "token": …}}`.
fn agents_of(values: &Bound<'_, PyAny>) -> PyResult<Vec<AgentGiven>> {
    let wanted = "a dict such as {\"researcher\": {\"budget\": 0.5}}";
    if values.is_none() {
        return Ok(Vec::new());
    }
    let Ok(mapping) = values.cast::<PyMapping>() else { return Err(wrong_type("agents", wanted, values)) };
    let mut agents = Vec::new();
    for item in mapping.items()?.iter() {
        let (name, fields) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let Ok(name) = name.extract::<String>() else { return Err(wrong_type("agents", "a dict whose names are text", &name)) };
        agents.push(agent_of(name, &fields)?);
    }
    Ok(agents)
}

fn agent_of(name: String, fields: &Bound<'_, PyAny>) -> PyResult<AgentGiven> {
    let label = format!("agents.{}", quoted(&name));
    let Ok(fields) = fields.cast::<PyMapping>() else {
        return Err(wrong_type(&label, "a dict with budget, token, or nothing", fields));
    };
    let mut agent = AgentGiven { name, token: None, budget: None };
    for item in fields.items()?.iter() {
        let (field, value) = item.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let field = field.extract::<String>().map_err(|_| wrong_type(&label, "a dict whose names are text", &field))?;
        match field.as_str() {
            "budget" | "token" if value.is_none() => {}
            "budget" => agent.budget = Some(dollars(&format!("{label}.budget"), &value)?),
            "token" => agent.token = Some(string(&format!("{label}.token"), &value)?),
            other => return Err(errors::config(format!("{label}: takes budget and token, not {}", quoted(other)))),
        }
    }
    Ok(agent)
}

/// A value that is text and nothing else.
fn string(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Secret> {
    if value.is_instance_of::<PyString>() { Ok(Secret::new(value.extract::<String>()?)) } else { Err(wrong_type(name, "text", value)) }
}

/// Says the type of a value, never the value: it may be a key.
fn wrong_type(name: &str, wanted: &str, value: &Bound<'_, PyAny>) -> PyErr {
    match value.get_type().name() {
        Ok(found) => errors::config(format!("{name}: must be {wanted}, not {found}")),
        Err(error) => error,
    }
}

fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Secret> {
    if value.is_instance_of::<PyString>() {
        Ok(Secret::new(value.extract::<String>()?))
    } else if is_number(value) {
        Ok(Secret::new(value.str()?.to_string()))
    } else if let Ok(path) = value.call_method0("__fspath__") {
        Ok(Secret::new(path.extract::<String>()?))
    } else {
        Err(wrong_type(name, "text or a number", value))
    }
}

/// Adds the values of `{"openai": …, "anthropic": …}` as `openai_WHAT` and `anthropic_WHAT`.
fn add_by_provider(pairs: &mut Vec<Pair>, keyword: &str, values: &Bound<'_, PyAny>, what: &str) -> PyResult<()> {
    let Ok(mapping) = values.cast::<PyMapping>() else {
        return Err(wrong_type(keyword, "a dict such as {\"openai\": …}", values));
    };
    for item in mapping.items()?.iter() {
        let (provider, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let provider: String = provider.extract().map_err(|_| wrong_type(keyword, "a dict whose names are text", &provider))?;
        if !PROVIDERS.contains(&provider.as_str()) {
            let near = nearest(&provider, PROVIDERS.into_iter())
                .map_or_else(|| "it takes openai and anthropic".into(), |near| format!("did you mean {near}?"));
            return Err(errors::config(format!("{keyword}: unknown provider {}; {near}", quoted(&provider))));
        }
        let text = string(&format!("{keyword}: {provider}"), &value)?;
        let name = format!("{provider}_{what}");
        if pairs.iter().any(|(other, _)| *other == name) {
            return Err(errors::config(format!("{name} and {keyword}: {provider} say the same: give one of them")));
        }
        pairs.push((name, text));
    }
    Ok(())
}

/// Whether a setting is about a provider, not about a control server.
fn is_provider(name: &str) -> bool {
    PROVIDERS.iter().any(|provider| name.strip_prefix(provider).is_some_and(|rest| rest == "_key" || rest == "_base_url"))
}

fn refuse_contradictions(pairs: &[Pair], provider_key: bool, mock: bool) -> PyResult<()> {
    let given = |wanted: fn(&str) -> bool| pairs.iter().find(|(name, _)| wanted(name)).map(|(name, _)| name.as_str());
    if mock {
        let other = if provider_key { Some("provider_key") } else { given(names_a_place) };
        if let Some(other) = other {
            return Err(errors::config(format!("mock=True brings a provider of its own: leave out {other}")));
        }
    }
    if provider_key && let Some(other) = given(|name| name == "openai_key" || name == "anthropic_key") {
        return Err(errors::config(format!("provider_key and {other} both give a key: use provider_keys for several")));
    }
    Ok(())
}
