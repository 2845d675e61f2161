//! Raw settings to a checked [`Config`](crate::Config), in one step.
//!
//! One table ([`SETTINGS`]) names every setting. Values come from, in this order: flags (or Python's keywords), `IRON_…` variables, the
//! config file, the variables that other tools use too (`IC_TOKEN` with `IC_SERVER`, else `OPENAI_API_KEY` and `ANTHROPIC_API_KEY`), the
//! defaults. The last but one are read only when no key option and no control server is given, so that what is named is what is used.
//! `OPENAI_BASE_URL` and its like are never read: inside a router's reach they point back at a router.
//!
//! Environment and files are arguments ([`Outside`]); nothing here opens a socket or starts anything.
//!
//! ```
//! use iron_runtime::settings::{Outside, Settings};
//! let nothing = Outside { variable: &|_| None, read: &|_| Err(std::io::ErrorKind::NotFound.into()) };
//! let given = Settings::from_pairs([("openai_key", "sk-x"), ("port", "8080")])?;
//! let config = given.complete(&nothing)?.check(&nothing)?.config;
//! assert_eq!((config.port, config.upstreams[0].name.as_str()), (8080, "openai"));
//! # Ok::<(), iron_runtime::Error>(())
//! ```

mod agent;
mod check;
mod file;
mod key;
mod mocked;
mod nearest;
mod show;
mod spending;
mod table;
mod token;
mod value;

pub use check::{Checked, LogFormat, TokenSource};
pub use mocked::names_a_place;
pub use nearest::nearest;
pub use show::{masked, quoted};
pub use table::{Kind, SETTINGS, Setting, markdown_table};

use crate::error::Error;
use crate::secret::Secret;
use agent::AgentTable;
use file::UpstreamTable;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use value::Value;

/// What settings are read from beside their text: the environment and the file system.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// An environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// The text of a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Outside<'static> {
    /// The environment and the files of this process.
    pub fn process() -> Self {
        Self { variable: &|name| std::env::var_os(name), read: &file::read_bounded }
    }
}

impl Outside<'_> {
    /// A variable that is set, not empty and text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>, Error> {
        match (self.variable)(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) if text.is_empty() => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(Error::Config(format!("{name}: is not UTF-8 text"))),
        }
    }

    /// The path with a leading `~/` replaced by the home directory, as a shell would.
    fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), (self.variable)("HOME")) {
            (Ok(rest), Some(home)) => Path::new(&home).join(rest),
            _ => path.to_path_buf(),
        }
    }
}

/// Where a value was given; what an error names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In a call: Python's keyword, Rust's pair.
    Argument,
    /// In this environment variable.
    Variable(&'static str),
    /// In this config file.
    File(PathBuf),
    /// Nowhere: it is what the commands do without.
    Usual,
}

impl Origin {
    /// How a setting from here is called in a message.
    pub fn label(&self, setting: &Setting) -> String {
        match self {
            Self::Flag => setting.flag(),
            Self::Argument | Self::Usual => setting.name.into(),
            Self::Variable(name) => (*name).into(),
            Self::File(path) => format!("{}: {}", path.display(), setting.name),
        }
    }
}

/// Settings as given: each value well-formed by itself, not yet checked against the others.
#[derive(Clone, Default)]
pub struct Settings {
    given: BTreeMap<&'static str, Given>,
    upstreams: Vec<UpstreamTable>,
    agents: Vec<AgentTable>,
}

#[derive(Clone)]
struct Given {
    value: Value,
    origin: Origin,
}

/// Settings that name where calls go or whose keys they use. With one of them given, the variables of other tools are not read.
const NAMES_A_PROVIDER: [&str; 4] = ["openai_key", "anthropic_key", "api_key", "server_url"];

impl Settings {
    /// Settings from names and values, as Python's keywords and Rust callers give them. A name given twice: the last counts, but lists grow.
    ///
    /// # Errors
    /// [`Error::Config`]: an unknown name (the nearest known one is suggested) or a malformed value.
    pub fn from_pairs<N: AsRef<str>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, Error> {
        let mut settings = Self::default();
        for (name, value) in pairs {
            let name = name.as_ref();
            let setting = Setting::named(name).ok_or_else(|| Error::Config(unknown("unknown setting", name, Setting::nearest(name))))?;
            settings.set(setting, value.into(), Origin::Argument)?;
        }
        Ok(settings)
    }

    /// Gives one setting a value.
    ///
    /// # Errors
    /// [`Error::Config`]: the value is malformed; the message names the setting as `origin` calls it.
    pub fn set(&mut self, setting: &'static Setting, text: String, origin: Origin) -> Result<(), Error> {
        let mut value = Value::parse(setting.kind, text).map_err(|why| Error::Config(format!("{}: {why}", origin.label(setting))))?;
        if let (Value::Hosts(more), Some(Given { value: Value::Hosts(hosts), origin: same })) = (&value, self.given.get(setting.name))
            && *same == origin
        {
            value = Value::Hosts([hosts.as_slice(), more.as_slice()].concat());
        }
        self.given.insert(setting.name, Given { value, origin });
        Ok(())
    }

    /// Adds what was not given from the environment, the config file and the variables of other tools.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Io`]: a malformed variable, a config file that can't be read or is wrong.
    pub fn complete(mut self, outside: &Outside<'_>) -> Result<Self, Error> {
        self.add_below(Self::from_environment(outside)?);
        if let Some(path) = self.path("config", outside) {
            self.add_below(file::read(&path, outside)?);
        }
        self.add_usual_variables(outside)?;
        Ok(self)
    }

    /// Whether a value was given, and where.
    pub fn origin(&self, name: &str) -> Option<&Origin> {
        self.given.get(name).map(|given| &given.origin)
    }

    /// As if this setting had not been given.
    pub fn forget(&mut self, name: &str) {
        self.given.remove(name);
    }

    fn from_environment(outside: &Outside<'_>) -> Result<Self, Error> {
        let mut settings = Self::default();
        for setting in SETTINGS {
            if let Some(text) = outside.text(setting.variable)? {
                settings.set(setting, text, Origin::Variable(setting.variable))?;
            }
        }
        Ok(settings)
    }

    /// What `lower` has and `self` has not.
    fn add_below(&mut self, lower: Self) {
        for (name, given) in lower.given {
            self.given.entry(name).or_insert(given);
        }
        self.upstreams.extend(lower.upstreams);
        self.add_agents_below(lower.agents);
    }

    /// `IC_TOKEN` with `IC_SERVER`, else the providers' own variables; only where no option says otherwise.
    fn add_usual_variables(&mut self, outside: &Outside<'_>) -> Result<(), Error> {
        let server_mode = self.has("api_key") || self.has("server_url");
        if !server_mode && NAMES_A_PROVIDER.iter().any(|name| self.has(name)) {
            return Ok(());
        }
        let both = outside.text("IC_TOKEN")?.is_some() && outside.text("IC_SERVER")?.is_some();
        let usual: &[(&str, &'static str)] = if server_mode || both {
            &[("api_key", "IC_TOKEN"), ("server_url", "IC_SERVER")]
        } else {
            &[("openai_key", "OPENAI_API_KEY"), ("anthropic_key", "ANTHROPIC_API_KEY")]
        };
        for (name, variable) in usual {
            if let (false, Some(text), Some(setting)) = (self.has(name), outside.text(variable)?, Setting::named(name)) {
                self.set(setting, text, Origin::Variable(variable))?;
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    fn path(&self, name: &str, outside: &Outside<'_>) -> Option<PathBuf> {
        match &self.given.get(name)?.value {
            Value::File(path) => Some(outside.expand(path)),
            _ => None,
        }
    }

    /// The key of this setting, read from where it points to.
    ///
    /// # Errors
    /// [`Error::Config`] and [`Error::Io`]: what it points to is missing, empty or can't be sent in a header.
    pub fn key(&self, name: &str, outside: &Outside<'_>) -> Result<Option<Secret>, Error> {
        let (Some(Given { value: Value::Key(raw), origin }), Some(setting)) = (self.given.get(name), Setting::named(name)) else {
            return Ok(None);
        };
        key::resolve(&origin.label(setting), raw, outside).map(Some)
    }

    /// Whether this key is given as `env:NAME` or `file:PATH`.
    pub fn is_reference(&self, name: &str) -> bool {
        let prefixes = ["env:", "file:"];
        matches!(self.given.get(name), Some(Given { value: Value::Key(raw), .. }) if prefixes.iter().any(|p| raw.expose().starts_with(p)))
    }

    /// The file a key is read from, if it is given as `file:PATH`.
    pub fn key_file(&self, name: &str, outside: &Outside<'_>) -> Option<PathBuf> {
        match &self.given.get(name)?.value {
            Value::Key(raw) => key::file_of(raw, outside),
            _ => None,
        }
    }
}

/// `unknown option --prot; did you mean --port?`, without repeating what may be a key.
fn unknown(what: &str, name: &str, nearest: Option<&str>) -> String {
    let name = quoted(name);
    match nearest {
        Some(nearest) => format!("{what} {name}; did you mean {nearest}?"),
        None => format!("{what} {name}"),
    }
}

#[cfg(test)]
mod tests;
