//! The one table of settings. Flags, `IRON_…` variables, keys of the config file, Python's keywords, `--help` and the README table are
//! all read from it, so that they can't disagree.

use super::nearest;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the config file and in Python; with `-` for `_` and `--` before it, the flag.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// The default, as a user would write it; or in words what happens without it.
    pub default: &'static str,
    /// The environment variable.
    pub variable: &'static str,
    /// What it is for: one line, lower case, no full stop.
    pub help: &'static str,
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A port, 0 to 65535.
    Port,
    /// A host name or IP address.
    Host,
    /// Several host names: the flag may be repeated, a variable holds them separated by commas.
    Hosts,
    /// A key or token: `env:NAME`, `file:PATH` or the value itself. Never shown.
    Key,
    /// An `http://` or `https://` address.
    Url,
    /// A time in seconds, decimals allowed.
    Seconds {
        /// Whether 0 means something.
        zero: bool,
    },
    /// A size in bytes, or with a unit: `32MiB`.
    Bytes {
        /// The largest that is allowed.
        most: u64,
    },
    /// A whole number from 1.
    Count {
        /// The largest that is allowed.
        most: u64,
    },
    /// On or off: the flag alone is on.
    Switch,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A file.
    File,
    /// A file, or the word `none`.
    FileOrNone,
    /// An amount of US dollars from 0, decimals allowed.
    Usd,
    /// Percentages from 1 to 100, separated by commas; none at all is allowed.
    Percents,
}

impl Kind {
    /// The placeholder of the value in `--help`.
    pub fn placeholder(self) -> String {
        match self {
            Self::Port | Self::Count { .. } => "N".into(),
            Self::Host | Self::Hosts => "HOST".into(),
            Self::Key => "KEY".into(),
            Self::Url => "URL".into(),
            Self::Seconds { .. } => "SECONDS".into(),
            Self::Bytes { .. } => "BYTES".into(),
            Self::Switch => String::new(),
            Self::Word(words) => words.join("|"),
            Self::File => "FILE".into(),
            Self::FileOrNone => "FILE|none".into(),
            Self::Usd => "USD".into(),
            Self::Percents => "N,N,…".into(),
        }
    }

    /// The type, for the README table.
    pub fn type_name(self) -> String {
        match self {
            Self::Port => "port".into(),
            Self::Host => "host".into(),
            Self::Hosts => "list of hosts".into(),
            Self::Key => "key, `env:NAME` or `file:PATH`".into(),
            Self::Url => "address".into(),
            Self::Seconds { .. } => "seconds".into(),
            Self::Bytes { .. } => "bytes".into(),
            Self::Count { .. } => "whole number".into(),
            Self::Switch => "`true` or `false`".into(),
            Self::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
            Self::File => "file".into(),
            Self::FileOrNone => "file or `none`".into(),
            Self::Usd => "US dollars".into(),
            Self::Percents => "list of percentages".into(),
        }
    }
}

const SECONDS: Kind = Kind::Seconds { zero: false };

const fn setting(name: &'static str, kind: Kind, default: &'static str, variable: &'static str, help: &'static str) -> Setting {
    Setting { name, kind, default, variable, help }
}

/// Every setting, in the order in which `--help` and README show them.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting("port", Kind::Port, "0", "IRON_PORT", "port to listen on; 0 picks a free one"),
    setting("host", Kind::Host, "127.0.0.1", "IRON_HOST", "address to listen on; any but a loopback one lets other machines in"),
    setting("allow_host", Kind::Hosts, "none", "IRON_ALLOW_HOST",
        "host name beside the loopback ones that clients may use in Host and Origin; may be repeated"),
    setting("client_token", Kind::Key, "api_key in server mode, else random", "IRON_CLIENT_TOKEN", "what clients must send as their API key"),
    setting("token_file", Kind::File, "none", "IRON_TOKEN_FILE",
        "file with the client token; missing or empty, the token is written there (mode 0600); not used when client_token is given"),
    setting("openai_key", Kind::Key, "the variable OPENAI_API_KEY", "IRON_OPENAI_KEY", "OpenAI's key"),
    setting("anthropic_key", Kind::Key, "the variable ANTHROPIC_API_KEY", "IRON_ANTHROPIC_KEY", "Anthropic's key"),
    setting("openai_base_url", Kind::Url, "https://api.openai.com", "IRON_OPENAI_BASE_URL",
        "where OpenAI's calls go; the only place openai_key is sent to"),
    setting("anthropic_base_url", Kind::Url, "https://api.anthropic.com", "IRON_ANTHROPIC_BASE_URL",
        "where Anthropic's calls go; the only place anthropic_key is sent to"),
    setting("server_url", Kind::Url, "the variable IC_SERVER", "IRON_SERVER_URL", "the control server that holds the keys (server mode)"),
    setting("api_key", Kind::Key, "the variable IC_TOKEN", "IRON_API_KEY", "the IC token by which the control server knows this router"),
    setting("cache_ttl_seconds", Kind::Seconds { zero: true }, "300", "IRON_CACHE_TTL_SECONDS",
        "how long a key from the control server is used before it is fetched again"),
    setting("budget", Kind::Usd, "no limit", "IRON_BUDGET", "the most that all calls together may cost; 0 allows none"),
    setting("on_budget", Kind::Word(&["clamp", "refuse"]), "clamp", "IRON_ON_BUDGET",
        "a call whose worst case does not fit into the budget gets a lower output limit, or is refused"),
    setting("budget_wait", Kind::Seconds { zero: true }, "5", "IRON_BUDGET_WAIT",
        "how long a call waits for money that only other calls under way hold"),
    setting("budget_window", Kind::Word(&["run", "day", "month", "total"]), "run", "IRON_BUDGET_WINDOW",
        "spending that counts against the budget: this router's, or with earlier rows of its ledger today's, this month's (UTC), all"),
    setting("unknown_model", Kind::Word(&["refuse", "allow"]), "refuse", "IRON_UNKNOWN_MODEL",
        "under a budget, calls to a model without a known price"),
    setting("unmetered", Kind::Word(&["refuse", "allow"]), "refuse", "IRON_UNMETERED",
        "under a budget, calls whose worst case is unbounded, such as batches and hosted tools"),
    setting("usage", Kind::Word(&["inject", "observe"]), "inject", "IRON_USAGE",
        "streams of the two providers are asked to tell their usage, or nothing is touched and what is not told is estimated"),
    setting("thresholds", Kind::Percents, "50,80,95,100", "IRON_THRESHOLDS",
        "percentages of the budget that are told, once each, when spending reaches them; none: no such events"),
    setting("prices", Kind::File, "none", "IRON_PRICES", "file (JSON) of prices that override or add to the bundled ones"),
    setting("state", Kind::FileOrNone, "commands: `~/.local/state/iron-runtime/ledger.db`; Python, Rust: none", "IRON_STATE",
        "the ledger: a file with a row for every call; none: the last 10,000 are kept in memory"),
    setting("on_ledger_error", Kind::Word(&["continue", "stop"]), "continue", "IRON_ON_LEDGER_ERROR",
        "while the ledger can't keep rows, calls go on, or are refused"),
    setting("strict_translation", Kind::Switch, "false", "IRON_STRICT_TRANSLATION",
        "a request of which the other provider's protocol can't carry everything is refused; else the reply names what was left out"),
    setting("capture", Kind::Switch, "false", "IRON_CAPTURE",
        "bodies of calls are kept in memory for the dashboard: 64 KiB of each, the last 200 calls; never in the ledger or the log"),
    setting("config", Kind::File, "none", "IRON_CONFIG",
        "config file (TOML) with these names, [upstreams.NAME] and [agents.NAME] tables"),
    setting("keepalive_seconds", Kind::Seconds { zero: true }, "15", "IRON_KEEPALIVE_SECONDS",
        "a stream silent for this long gets an SSE comment; 0 turns that off"),
    setting("connect_timeout", SECONDS, "10", "IRON_CONNECT_TIMEOUT", "to connect to a provider, name look-up and TLS included"),
    setting("first_byte_timeout", SECONDS, "600", "IRON_FIRST_BYTE_TIMEOUT", "from the end of a request to the head of its reply"),
    setting("idle_timeout", SECONDS, "300", "IRON_IDLE_TIMEOUT", "the longest silence inside a provider's reply"),
    setting("header_timeout", SECONDS, "10", "IRON_HEADER_TIMEOUT", "a client's request head, from its first byte to its last"),
    setting("body_timeout", SECONDS, "30", "IRON_BODY_TIMEOUT", "the longest silence inside a client's request body"),
    setting("write_timeout", SECONDS, "60", "IRON_WRITE_TIMEOUT", "how long a client may take no bytes of its reply"),
    setting("max_body_bytes", Kind::Bytes { most: 4 << 30 }, "32MiB", "IRON_MAX_BODY_BYTES", "largest JSON request body"),
    setting("max_upload_bytes", Kind::Bytes { most: 1 << 40 }, "1GiB", "IRON_MAX_UPLOAD_BYTES", "largest upload (multipart, binary)"),
    setting("max_connections", Kind::Count { most: 100_000 }, "1024", "IRON_MAX_CONNECTIONS", "client connections at once"),
    setting("log_format", Kind::Word(&["text", "json"]), "text", "IRON_LOG_FORMAT", "how log lines on stderr are written"),
];

impl Setting {
    /// The setting of this name, written with `_` or `-`.
    ///
    /// ```
    /// use iron_runtime::settings::Setting;
    /// assert_eq!(Setting::named("max-body-bytes").map(|s| s.variable), Some("IRON_MAX_BODY_BYTES"));
    /// ```
    pub fn named(name: &str) -> Option<&'static Self> {
        let same = |setting: &&Self| {
            setting.name.len() == name.len() && setting.name.bytes().zip(name.bytes()).all(|(a, b)| a == b || (a == b'_' && b == b'-'))
        };
        SETTINGS.iter().find(same)
    }

    /// The flag, with its dashes.
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// The name nearest to a mistyped one, if one is near.
    pub fn nearest(name: &str) -> Option<&'static str> {
        nearest::nearest(&name.replace('-', "_"), SETTINGS.iter().map(|setting| setting.name))
    }
}

/// The table as Markdown, for README.
pub fn markdown_table() -> String {
    let mut table = String::from("| name | type | variable | default | what it is for |\n|---|---|---|---|---|\n");
    for setting in SETTINGS {
        let kind = setting.kind.type_name();
        table += &format!("| `{}` | {kind} | `{}` | {} | {} |\n", setting.name, setting.variable, setting.default, setting.help);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_variables_agree_and_are_unique() {
        let mut seen = HashSet::new();
        for setting in SETTINGS {
            assert_eq!(setting.variable, format!("IRON_{}", setting.name.to_ascii_uppercase()));
            assert!(setting.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{}", setting.name);
            assert!(seen.insert(setting.name), "{} twice", setting.name);
            assert!(!setting.help.contains('|') && !setting.help.ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn finds_a_setting_by_either_spelling() {
        for name in ["max_body_bytes", "max-body-bytes"] {
            assert_eq!(Setting::named(name).map(Setting::flag).as_deref(), Some("--max-body-bytes"));
        }
        assert!(Setting::named("--port").is_none() && Setting::named("").is_none());
    }

    #[test]
    fn markdown_has_a_row_for_each_setting() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), SETTINGS.len() + 2);
        assert!(table.lines().all(|row| row.matches('|').count() == 6), "{table}");
        assert!(table.contains("| `port` | port | `IRON_PORT` | 0 | port to listen on; 0 picks a free one |"));
    }
}
