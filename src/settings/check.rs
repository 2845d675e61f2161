//! The one step from settings to a [`Config`] that can be run: values against each other, keys fetched from where they are.

use super::file::UpstreamTable;
use super::value::Value;
use super::{Given, Origin, Outside, Setting, Settings, key, token};
use crate::call::Protocol;
use crate::config::{BaseUrl, Config, Control, Key, OnLedgerError, Upstream, Window};
use crate::error::Error;
use crate::router::{ANTHROPIC_BASE_URL, LlmRouter, OPENAI_BASE_URL};
use crate::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// Settings that complaints about other ones name.
const REFERRED_TO: [&str; 6] = ["openai_key", "anthropic_key", "api_key", "server_url", "state", "budget_window"];

/// Settings that agree with each other.
pub struct Checked {
    /// What to start the router with. Better done by [`Checked::start`], which sees to the token file.
    pub config: Config,
    /// Where the client token comes from.
    pub token: TokenSource,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Whether the ledger is where the commands keep it, and nobody asked for it.
    usual_ledger: bool,
}

/// Where the client token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// It was given by `client_token`.
    Given,
    /// It was read from this file.
    File(PathBuf),
    /// It has to be written to this file, which is missing or empty: the IC token in server mode, else a random one.
    ToFile(PathBuf),
    /// It is the IC token.
    IcToken,
    /// The router makes a random one.
    Random,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

impl Settings {
    /// Checks the values against each other and reads the keys. Writes nothing.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Io`] (a key or token file), [`Error::NoProvider`].
    pub fn check(&self, outside: &Outside<'_>) -> Result<Checked, Error> {
        let mut config = Config::default();
        self.listening(&mut config);
        self.limits(&mut config);
        self.money(&mut config, outside)?;
        config.strict_translation = matches!(self.value("strict_translation"), Some(Value::Switch(true)));
        config.capture = matches!(self.value("capture"), Some(Value::Switch(true)));
        config.control = self.control(outside)?;
        config.upstreams = self.all_upstreams(config.control.is_some(), outside)?;
        if config.upstreams.is_empty() {
            return Err(Error::NoProvider);
        }
        refuse_a_circle(&config)?;
        let token = self.client_token(&mut config, outside)?;
        config.agents = self.all_agents(&config, outside)?;
        let usual_ledger = self.origin("state") == Some(&Origin::Usual);
        Ok(Checked { config, token, log_format: self.log_format(), usual_ledger })
    }

    /// How log lines are written.
    pub fn log_format(&self) -> LogFormat {
        if self.words("log_format") == Some("json") { LogFormat::Json } else { LogFormat::Text }
    }

    /// Host and port to listen on, and the hosts that clients may use.
    fn listening(&self, config: &mut Config) {
        if let Some(host) = self.words("host") {
            config.host = host.into();
        }
        if let Some(port) = self.number("port").and_then(|port| u16::try_from(port).ok()) {
            config.port = port;
        }
        if let Some(Value::Hosts(hosts)) = self.value("allow_host") {
            config.allow_hosts.clone_from(hosts);
        }
    }

    fn limits(&self, config: &mut Config) {
        let times = &mut config.timeouts;
        for (name, time) in [
            ("keepalive_seconds", &mut times.keepalive),
            ("connect_timeout", &mut times.connect),
            ("first_byte_timeout", &mut times.first_byte),
            ("idle_timeout", &mut times.idle),
            ("header_timeout", &mut times.header),
            ("body_timeout", &mut times.body),
            ("write_timeout", &mut times.write),
        ] {
            *time = self.time(name).unwrap_or(*time);
        }
        let limits = &mut config.limits;
        limits.max_body_bytes = self.number("max_body_bytes").unwrap_or(limits.max_body_bytes);
        limits.max_upload_bytes = self.number("max_upload_bytes").unwrap_or(limits.max_upload_bytes);
        // One body of the allowed size must fit, or the setting would be a lie.
        limits.max_buffered_bytes = limits.max_buffered_bytes.max(limits.max_body_bytes);
        if let Some(count) = self.number("max_connections").and_then(|count| usize::try_from(count).ok()) {
            limits.max_connections = count;
        }
    }

    /// The control server, when its two settings are given.
    fn control(&self, outside: &Outside<'_>) -> Result<Option<Control>, Error> {
        let server_url = self.url("server_url");
        let ic_token = self.key("api_key", outside)?;
        match (server_url, ic_token) {
            (None, None) => Ok(None),
            (Some(server_url), Some(ic_token)) => {
                let cache_ttl = self.time("cache_ttl_seconds").unwrap_or(Duration::from_secs(300));
                Ok(Some(Control { server_url, ic_token, cache_ttl }))
            }
            (Some(_), None) => Err(self.wrong("server_url", "needs the IC token too: give api_key (or set IC_TOKEN)")),
            (None, Some(_)) => Err(self.wrong("api_key", "is the IC token of a control server: give server_url too (or set IC_SERVER)")),
        }
    }

    /// `openai`, `anthropic`, then the tables of the config file in its order.
    fn all_upstreams(&self, server_mode: bool, outside: &Outside<'_>) -> Result<Vec<Upstream>, Error> {
        let mut upstreams = Vec::new();
        for (protocol, key, url, usual) in [
            (Protocol::OpenAi, "openai_key", "openai_base_url", OPENAI_BASE_URL),
            (Protocol::Anthropic, "anthropic_key", "anthropic_base_url", ANTHROPIC_BASE_URL),
        ] {
            if let Some(key) = self.provider_key(key, url, server_mode, outside)? {
                let base = self.url(url).map_or_else(|| usual.parse(), Ok)?;
                let usage = self.usage();
                upstreams.push(Upstream { usage, ..Upstream::new(protocol.as_str(), protocol, base, key) });
            }
        }
        for table in &self.upstreams {
            if table.name == "openai" || table.name == "anthropic" {
                extend(&mut upstreams, table)?;
            } else {
                upstreams.push(added(table, outside)?);
            }
        }
        Ok(upstreams)
    }

    /// A provider's key: given, else the control server's; none where the address is of this machine. `None`: no such upstream.
    fn provider_key(&self, key: &str, url: &str, server_mode: bool, outside: &Outside<'_>) -> Result<Option<Key>, Error> {
        match (self.key(key, outside)?, self.url(url)) {
            (Some(key), _) => Ok(Some(Key::Given(key))),
            (None, _) if server_mode => Ok(Some(Key::Control)),
            (None, None) => Ok(None),
            (None, Some(base)) if base.is_loopback() => Ok(Some(Key::None)),
            (None, Some(_)) => Err(self.wrong(url, &format!("needs {key} too; only an address of this machine may go without"))),
        }
    }

    /// `client_token`, else what `token_file` holds, else the IC token, else random.
    fn client_token(&self, config: &mut Config, outside: &Outside<'_>) -> Result<TokenSource, Error> {
        let ic_token = config.control.as_ref().map(|control| control.ic_token.clone());
        let (token, source) = if let Some(token) = self.key("client_token", outside)? {
            (Some(token), TokenSource::Given)
        } else if let Some(path) = self.path("token_file", outside) {
            match token::read(&path, outside).map_err(|error| self.in_setting("token_file", error))? {
                Some(token) => (Some(token), TokenSource::File(path)),
                None => (ic_token, TokenSource::ToFile(path)),
            }
        } else if ic_token.is_some() {
            (ic_token, TokenSource::IcToken)
        } else {
            (None, TokenSource::Random)
        };
        config.client_token = token;
        Ok(source)
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        debug_assert!(Setting::named(name).is_some(), "{name} is not in the table");
        self.given.get(name).map(|given| &given.value)
    }

    fn number(&self, name: &str) -> Option<u64> {
        if let Some(Value::Number(number)) = self.value(name) { Some(*number) } else { None }
    }

    pub(super) fn time(&self, name: &str) -> Option<Duration> {
        if let Some(Value::Time(time)) = self.value(name) { Some(*time) } else { None }
    }

    pub(super) fn words(&self, name: &str) -> Option<&str> {
        if let Some(Value::Text(text)) = self.value(name) { Some(text) } else { None }
    }

    /// The address of this setting.
    pub fn url(&self, name: &str) -> Option<BaseUrl> {
        if let Some(Value::Url(base)) = self.value(name) { Some(base.clone()) } else { None }
    }

    /// A complaint about a setting, named as it was given.
    pub(super) fn wrong(&self, name: &str, why: &str) -> Error {
        let label = match (self.given.get(name), Setting::named(name)) {
            (Some(Given { origin, .. }), Some(setting)) => origin.label(setting),
            _ => name.into(),
        };
        Error::Config(format!("{label}: {}", self.as_flags(name, why)))
    }

    /// Names of settings in `why` are flags for who wrote a flag.
    fn as_flags(&self, name: &str, why: &str) -> String {
        if self.origin(name) != Some(&Origin::Flag) {
            return why.into();
        }
        let as_flag = |why: String, name: &str| why.replace(name, &format!("--{}", name.replace('_', "-")));
        REFERRED_TO.iter().fold(why.to_string(), |why, name| as_flag(why, name))
    }

    fn in_setting(&self, name: &str, error: Error) -> Error {
        match error {
            Error::Config(why) => self.wrong(name, &why),
            Error::Io { what, source } => Error::Io { what: format!("{name}: {what}"), source },
            other => other,
        }
    }
}

impl Checked {
    fn can_do_without_ledger(&self) -> bool {
        let Config { spending, on_ledger_error, .. } = &self.config;
        self.usual_ledger && spending.window == Window::Run && *on_ledger_error == OnLedgerError::Continue
    }

    /// Starts a router. Where its client token belongs in a file that does not hold it yet, it is written there when the router listens,
    /// readable by this user only.
    ///
    /// A ledger that nobody asked for and that can't be used (a home that can't be written to) is no reason not to start: a warning tells
    /// it, and rows are kept in memory. Not so where a setting needs a ledger.
    ///
    /// # Errors
    /// As [`LlmRouter::start`]; [`Error::Io`]: the file can't be written.
    pub fn start(self) -> Result<LlmRouter, Error> {
        let files = [("state", self.config.state.clone()), ("prices", self.config.spending.prices.clone())];
        let spare = self.can_do_without_ledger().then(|| self.config.clone());
        let started = match (LlmRouter::start(self.config), spare) {
            (Err(error), Some(mut config)) if setting_of(&error, &files) == Some("state") => {
                log::warn!("{error}; rows are kept in memory, and reports will not show them: name another file with --state");
                config.state = None;
                LlmRouter::start(config)
            }
            (started, _) => started,
        };
        let router = started.map_err(|error| naming_the_setting(error, &files))?;
        if let TokenSource::ToFile(path) = &self.token {
            token::write(path, router.api_key())?;
        }
        Ok(router)
    }
}

/// A file and the setting that names it.
type Named = (&'static str, Option<PathBuf>);

/// The setting that names the file which an error is about.
fn setting_of(error: &Error, files: &[Named]) -> Option<&'static str> {
    let (Error::Config(text) | Error::Io { what: text, .. }) = error else { return None };
    let is_it =
        |(name, path): &&Named| path.as_ref().is_some_and(|path| text.contains(&path.display().to_string())) && !text.starts_with(name);
    files.iter().find(is_it).map(|(name, _)| *name)
}

/// An error about one of these files, with the setting that names it before it.
fn naming_the_setting(error: Error, files: &[Named]) -> Error {
    let label = setting_of(&error, files).map(|name| format!("{name}: ")).unwrap_or_default();
    match error {
        Error::Config(why) => Error::Config(label + &why),
        Error::Io { what, source } => Error::Io { what: label + &what, source },
        other => other,
    }
}

/// Models and aliases for one of the two providers that have options of their own.
fn extend(upstreams: &mut [Upstream], table: &UpstreamTable) -> Result<(), Error> {
    let UpstreamTable { name, place, .. } = table;
    if table.protocol.is_some() || table.base_url.is_some() || table.key.is_some() {
        return Err(Error::Config(format!(
            "{place}: upstreams.{name}: takes models, aliases, auth and usage only; its key and address are {name}_key and {name}_base_url"
        )));
    }
    let Some(upstream) = upstreams.iter_mut().find(|upstream| upstream.name == *name) else {
        return Err(Error::Config(format!("{place}: upstreams.{name}: adds to a provider that has no key: give {name}_key")));
    };
    upstream.auth = table.auth.unwrap_or(upstream.auth);
    upstream.usage = table.usage.unwrap_or(upstream.usage);
    upstream.models.clone_from(&table.models);
    upstream.aliases.clone_from(&table.aliases);
    Ok(())
}

/// A further upstream.
fn added(table: &UpstreamTable, outside: &Outside<'_>) -> Result<Upstream, Error> {
    let UpstreamTable { name, place, .. } = table;
    let missing = |what: &str| Error::Config(format!("{place}: upstreams.{name}: needs {what}"));
    let protocol = table.protocol.ok_or_else(|| missing("protocol = \"openai\" or \"anthropic\": what it speaks"))?;
    let base = table.base_url.clone().ok_or_else(|| missing("base_url, its address"))?;
    let key: Option<Secret> = match &table.key {
        Some(raw) => Some(key::resolve(&format!("{place}: upstreams.{name}.key"), raw, outside)?),
        None => None,
    };
    if table.auth.is_some() && key.is_none() {
        return Err(missing("key too: auth says how it is sent"));
    }
    let mut upstream = Upstream::new(name, protocol, base, key.map_or(Key::None, Key::Given));
    upstream.auth = table.auth.unwrap_or(upstream.auth);
    upstream.usage = table.usage.unwrap_or(upstream.usage);
    upstream.models.clone_from(&table.models);
    upstream.aliases.clone_from(&table.aliases);
    Ok(upstream)
}

/// An upstream at the router's own address would call the router for ever.
fn refuse_a_circle(config: &Config) -> Result<(), Error> {
    let own = |upstream: &&Upstream| config.port != 0 && upstream.base.is_loopback() && upstream.base.port() == config.port;
    match config.upstreams.iter().find(own) {
        Some(upstream) => Err(Error::Config(format!(
            "upstream {}: {} is the router's own port {}: it would call itself; give another port or address",
            upstream.name, upstream.base, config.port
        ))),
        None => Ok(()),
    }
}
