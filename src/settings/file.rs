//! The config file: TOML with the names of the table, `[upstreams.NAME]` tables for further places that calls may go to, and
//! `[agents.NAME]` tables for clients with a token and a budget of their own.
//!
//! Messages name the file, the line and the key, and never repeat a line: there are keys in it.

use super::agent::{self, AgentTable};
use super::value::{Value, url, usd};
use super::{Kind, Origin, Outside, Setting, Settings, nearest, quoted, unknown};
use crate::call::Protocol;
use crate::config::{Auth, BaseUrl, UsageMode};
use crate::error::Error;
use crate::secret::Secret;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A config or key file may be this long.
const MOST_BYTES: u64 = 1 << 20;

/// One `[upstreams.NAME]` table, each value well-formed by itself.
#[derive(Clone)]
pub(super) struct UpstreamTable {
    pub name: String,
    /// `FILE line N`, for messages.
    pub place: String,
    pub protocol: Option<Protocol>,
    pub base_url: Option<BaseUrl>,
    pub key: Option<Secret>,
    pub auth: Option<Auth>,
    pub models: Vec<String>,
    pub aliases: Vec<(String, String)>,
    pub usage: Option<UsageMode>,
}

/// The names an `[upstreams.NAME]` table may have.
const UPSTREAM_NAMES: [&str; 7] = ["protocol", "base_url", "key", "auth", "models", "aliases", "usage"];

/// The names an `[agents.NAME]` table may have.
const AGENT_NAMES: [&str; 2] = ["token", "budget"];

/// The tables beside the settings.
const TABLES: [&str; 2] = ["upstreams", "agents"];

/// The text of a file, if it is not longer than any config or key file has reason to be.
pub(super) fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is longer than 1 MiB"));
    }
    Ok(text)
}

/// Reads the config file.
pub(super) fn read(path: &Path, outside: &Outside<'_>) -> Result<Settings, Error> {
    let text = (outside.read)(path).map_err(|source| Error::Io { what: format!("read config file {}", path.display()), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Settings, Error> {
    let reader = Reader { path, text };
    let table = DeTable::parse(text).map_err(|error| reader.wrong(error.span().unwrap_or_default(), error.message()))?;
    let mut settings = Settings::default();
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        match Setting::named(name).filter(|setting| setting.name == name) {
            _ if name == "upstreams" => settings.upstreams = reader.upstreams(value)?,
            _ if name == "agents" => settings.agents = reader.agents(value)?,
            Some(Setting { name: "config", .. }) => return Err(reader.wrong(key.span(), "config: a config file can't name another one")),
            Some(setting) => reader.setting(&mut settings, setting, value)?,
            None => {
                let nearest = nearest(&name.replace('-', "_"), super::SETTINGS.iter().map(|s| s.name).chain(TABLES));
                return Err(reader.wrong(key.span(), &unknown("unknown key", name, nearest)));
            }
        }
    }
    Ok(settings)
}

/// The file being read, for messages.
struct Reader<'f> {
    path: &'f Path,
    text: &'f str,
}

type Entry<'t> = Spanned<DeValue<'t>>;
type Name<'t> = Spanned<std::borrow::Cow<'t, str>>;

impl Reader<'_> {
    fn place(&self, span: &Range<usize>) -> String {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        format!("{} line {}", self.path.display(), before.matches('\n').count() + 1)
    }

    fn wrong(&self, span: Range<usize>, why: &str) -> Error {
        Error::Config(format!("{}: {why}", self.place(&span)))
    }

    fn setting(&self, settings: &mut Settings, setting: &'static Setting, value: &Entry<'_>) -> Result<(), Error> {
        if setting.kind == Kind::Percents
            && let Some(items) = value.get_ref().as_array()
        {
            return self.percents(settings, setting, items, value);
        }
        let is_list = setting.kind == Kind::Hosts && value.get_ref().is_array();
        let text = if is_list { Ok(self.texts(setting.name, value)?.join(",")) } else { scalar(value.get_ref()) };
        let parsed =
            text.and_then(|text| if is_list && text.is_empty() { Ok(Value::Hosts(Vec::new())) } else { Value::parse(setting.kind, text) });
        let value = parsed.map_err(|why| self.wrong(value.span(), &format!("{}: {why}", setting.name)))?;
        settings.given.insert(setting.name, super::Given { value, origin: Origin::File(self.path.to_path_buf()) });
        Ok(())
    }

    /// A list of percentages.
    fn percents(&self, settings: &mut Settings, setting: &'static Setting, items: &[Entry<'_>], value: &Entry<'_>) -> Result<(), Error> {
        let wrong = |why: String| self.wrong(value.span(), &format!("{}: {why}", setting.name));
        let texts: Vec<String> = items.iter().map(|item| scalar(item.get_ref())).collect::<Result<_, _>>().map_err(wrong)?;
        let value = Value::parse(setting.kind, texts.join(",")).map_err(wrong)?;
        settings.given.insert(setting.name, super::Given { value, origin: Origin::File(self.path.to_path_buf()) });
        Ok(())
    }

    /// The tables under `kind`, in the order of the file.
    fn tables<T>(
        &self,
        kind: &str,
        example: &str,
        value: &Entry<'_>,
        table: impl Fn(&Name<'_>, &Entry<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let Some(tables) = value.get_ref().as_table() else {
            return Err(self.wrong(value.span(), &format!("{kind}: must be tables such as [{kind}.{example}]")));
        };
        let mut tables: Vec<_> = tables.iter().collect();
        tables.sort_by_key(|(name, _)| name.span().start);
        tables.into_iter().map(|(name, value)| table(name, value)).collect()
    }

    fn upstreams(&self, value: &Entry<'_>) -> Result<Vec<UpstreamTable>, Error> {
        self.tables("upstreams", "local", value, |name, value| self.upstream(name, value))
    }

    fn agents(&self, value: &Entry<'_>) -> Result<Vec<AgentTable>, Error> {
        self.tables("agents", "researcher", value, |name, value| self.agent(name, value))
    }

    fn agent(&self, name: &Name<'_>, value: &Entry<'_>) -> Result<AgentTable, Error> {
        let place = self.place(&name.span());
        let name = agent::checked_name(name.get_ref()).map_err(|why| Error::Config(format!("{place}: agents: {why}")))?;
        let Some(entries) = value.get_ref().as_table() else {
            return Err(Error::Config(format!("{place}: agents.{name}: must be a table: [agents.{name}]")));
        };
        let mut table = AgentTable { label: format!("{place}: agents.{name}"), name, token: None, budget: None };
        for (key, value) in entries {
            let path = format!("agents.{}.{}", table.name, key.get_ref());
            let wrong = |why: String| self.wrong(value.span(), &format!("{path}: {why}"));
            let text = || scalar(value.get_ref()).map_err(wrong);
            match key.get_ref().as_ref() {
                "token" => table.token = Some(Secret::new(text()?)),
                "budget" => table.budget = Some(usd(&text()?).map_err(wrong)?),
                other => {
                    let near = nearest(other, AGENT_NAMES.into_iter());
                    return Err(self.wrong(key.span(), &unknown(&format!("agents.{}: unknown key", table.name), other, near)));
                }
            }
        }
        if table.token.is_none() {
            return Err(Error::Config(format!(
                "{}: needs token, by which its calls are known: env:NAME, file:PATH or the token",
                table.label
            )));
        }
        Ok(table)
    }

    fn upstream(&self, name: &Name<'_>, value: &Entry<'_>) -> Result<UpstreamTable, Error> {
        let place = self.place(&name.span());
        let name: &str = name.get_ref();
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(Error::Config(format!("{place}: upstreams: a name is 1 to 64 letters, digits, - _ or ., not {}", quoted(name))));
        }
        let Some(entries) = value.get_ref().as_table() else {
            return Err(Error::Config(format!("{place}: upstreams.{name}: must be a table: [upstreams.{name}]")));
        };
        let mut table = UpstreamTable {
            name: name.into(),
            place,
            protocol: None,
            base_url: None,
            key: None,
            auth: None,
            models: Vec::new(),
            aliases: Vec::new(),
            usage: None,
        };
        for (key, value) in entries {
            self.upstream_entry(&mut table, key, value)?;
        }
        Ok(table)
    }

    fn upstream_entry(&self, table: &mut UpstreamTable, key: &Name<'_>, value: &Entry<'_>) -> Result<(), Error> {
        let path = format!("upstreams.{}.{}", table.name, key.get_ref());
        let wrong = |why: String| self.wrong(value.span(), &format!("{path}: {why}"));
        let text = || scalar(value.get_ref()).map_err(wrong);
        match key.get_ref().as_ref() {
            "protocol" => {
                table.protocol = Some(word(&text()?, &[("openai", Protocol::OpenAi), ("anthropic", Protocol::Anthropic)]).map_err(wrong)?)
            }
            "auth" => {
                let words = [("bearer", Auth::Bearer), ("x-api-key", Auth::XApiKey), ("api-key", Auth::ApiKey)];
                table.auth = Some(word(&text()?, &words).map_err(wrong)?);
            }
            "usage" => {
                let words = [("inject", UsageMode::Inject), ("observe", UsageMode::Observe)];
                table.usage = Some(word(&text()?, &words).map_err(wrong)?);
            }
            "base_url" => table.base_url = Some(url(&text()?).map_err(wrong)?),
            "key" => table.key = Some(Secret::new(text()?)),
            "models" => {
                table.models = self.texts(&path, value)?;
                if let Some(bad) = table.models.iter().find(|model| !is_pattern(model)) {
                    return Err(wrong(format!("{} is not a model's name, or its beginning and a * at the end", quoted(bad))));
                }
            }
            "aliases" => table.aliases = self.aliases(&path, value)?,
            other => {
                let near = nearest(other, UPSTREAM_NAMES.into_iter());
                return Err(self.wrong(key.span(), &unknown(&format!("upstreams.{}: unknown key", table.name), other, near)));
            }
        }
        Ok(())
    }

    fn texts(&self, path: &str, value: &Entry<'_>) -> Result<Vec<String>, Error> {
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.wrong(value.span(), &format!("{path}: must be a list of texts such as [\"a\", \"b\"]")));
        };
        let text = |item: &Entry<'_>| match item.get_ref().as_str() {
            Some(text) => Ok(text.to_string()),
            None => Err(self.wrong(item.span(), &format!("{path}: must be a list of texts such as [\"a\", \"b\"]"))),
        };
        items.iter().map(text).collect()
    }

    fn aliases(&self, path: &str, value: &Entry<'_>) -> Result<Vec<(String, String)>, Error> {
        let wrong = |span| self.wrong(span, &format!("{path}: must be a table of names such as {{ fast = \"llama-3.1-8b\" }}"));
        let Some(entries) = value.get_ref().as_table() else { return Err(wrong(value.span())) };
        let alias = |(name, model): (&Name<'_>, &Entry<'_>)| match model.get_ref().as_str() {
            Some(model) if !model.is_empty() && !name.get_ref().is_empty() => Ok((name.get_ref().to_string(), model.to_string())),
            _ => Err(wrong(model.span())),
        };
        entries.iter().map(alias).collect()
    }
}

/// A model's name, or the beginning of one and a `*`.
fn is_pattern(model: &str) -> bool {
    let name = model.strip_suffix('*').unwrap_or(model);
    !model.is_empty() && !name.contains('*')
}

/// A text or number as the text of which every value is made.
fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_string()),
        DeValue::Float(number) => Ok(number.as_str().to_string()),
        _ => Err("must be a text or a number".into()),
    }
}

fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let allowed = || words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| format!("must be one of {}, not {}", allowed(), quoted(text)))
}
