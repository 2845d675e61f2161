//! Checked settings. A [`Config`] that exists can be run; where its values come from (flags, environment, file, Python)
//! is the business of `settings`.

use crate::call::Protocol;
use crate::clock::UnixMs;
use crate::error::Error;
use crate::money::NanoUsd;
use crate::secret::Secret;
use std::path::PathBuf;
use std::time::Duration;

/// Everything the router can be told. Build it with [`Config::default`] and set what differs.
///
/// ```
/// use iron_runtime::{Config, Protocol, Secret, Upstream};
/// let mut config = Config::default();
/// config.upstreams.push(Upstream::openai("https://api.openai.com/v1".parse()?, Secret::new("sk-…")));
/// assert_eq!(config.upstreams[0].protocol, Protocol::OpenAi);
/// # Ok::<(), iron_runtime::Error>(())
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The address to listen on. Default `127.0.0.1`.
    pub host: String,
    /// The port; 0 picks a free one. Default 0.
    pub port: u16,
    /// Host names beside the loopback ones that `Host` and `Origin` may hold. Default none.
    pub allow_hosts: Vec<String>,
    /// What clients must send. `None`: the control server's token in server mode, else random for each router.
    pub client_token: Option<Secret>,
    /// Where calls may go.
    pub upstreams: Vec<Upstream>,
    /// The control server that holds the keys, in server mode.
    pub control: Option<Control>,
    /// A PEM file of root certificates that replace the bundled ones. `None`: the one `SSL_CERT_FILE` names, if it is set.
    pub ca_file: Option<PathBuf>,
    /// What calls may cost.
    pub spending: Spending,
    /// Agents with a token, and perhaps a budget, of their own. Default none.
    pub agents: Vec<Agent>,
    /// The ledger's file. `None`: the last 10,000 rows are kept in memory. Default none.
    pub state: Option<PathBuf>,
    /// What becomes of calls while the ledger can't keep rows. Default [`OnLedgerError::Continue`].
    pub on_ledger_error: OnLedgerError,
    /// Whether a request is refused of which the other provider's protocol can't carry everything. Default false: what is left out is
    /// named in `x-iron-lossy`.
    pub strict_translation: bool,
    /// Whether the bodies of calls are kept in memory for the dashboard: the first 64 KiB of each, of the last 200 calls; never in the
    /// ledger or the log. Default false.
    pub capture: bool,
    /// What listens. Default our own server.
    pub listener: Listener,
    /// Sizes and counts.
    pub limits: Limits,
    /// Times.
    pub timeouts: Timeouts,
}

/// The HTTP server in front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listener {
    /// Our own, with every limit of [`Limits`] and [`Timeouts`].
    #[default]
    Own,
    /// The crate `tiny_http`, with its faults: `tests/why_not_tiny_http.rs` shows them.
    #[cfg(feature = "tiny_http")]
    TinyHttp,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 0,
            allow_hosts: Vec::new(),
            client_token: None,
            upstreams: Vec::new(),
            control: None,
            ca_file: None,
            spending: Spending::default(),
            agents: Vec::new(),
            state: None,
            on_ledger_error: OnLedgerError::default(),
            strict_translation: false,
            capture: false,
            listener: Listener::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
        }
    }
}

/// What calls may cost, and what becomes of those whose cost can't be told.
#[derive(Clone, Debug)]
pub struct Spending {
    /// The limit; `None`: unlimited. Default none.
    pub budget: Option<NanoUsd>,
    /// What is done with a call whose worst case does not fit. Default [`OnBudget::Clamp`].
    pub on_budget: OnBudget,
    /// How long a call waits while only the holds of others are in its way. Default 5 s.
    pub wait: Duration,
    /// Which spending counts against the budget. Default [`Window::Run`].
    pub window: Window,
    /// What is done, under a budget, with a model whose price is not known. Default [`Allow::Refuse`].
    pub unknown_model: Allow,
    /// What is done, under a budget, with a request whose worst case is unbounded. Default [`Allow::Refuse`].
    pub unmetered: Allow,
    /// Percentages of the budget that raise an event when spending reaches them, ascending. Default 50, 80, 95, 100.
    pub thresholds: Vec<u8>,
    /// A file of prices that override or add to the bundled ones. Default none.
    pub prices: Option<PathBuf>,
}

impl Default for Spending {
    fn default() -> Self {
        Self {
            budget: None,
            on_budget: OnBudget::default(),
            wait: Duration::from_secs(5),
            window: Window::default(),
            unknown_model: Allow::default(),
            unmetered: Allow::default(),
            thresholds: vec![50, 80, 95, 100],
            prices: None,
        }
    }
}

/// What is done with a call whose worst case does not fit into what is free of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBudget {
    /// Its output limit is lowered until it fits.
    #[default]
    Clamp,
    /// It is refused.
    Refuse,
}

/// Which spending counts against the budget. Days and months are UTC's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// This router's.
    #[default]
    Run,
    /// Today's, that of earlier rows of the same ledger included.
    Day,
    /// This month's, likewise.
    Month,
    /// All of the ledger.
    Total,
}

impl Window {
    /// When the window that holds `now` began; `None`: with the first row.
    pub fn begins(self, now: UnixMs) -> Option<UnixMs> {
        const DAY_MS: u64 = 86_400_000;
        let today = now.0 / DAY_MS;
        let day_of_month = || now.rfc3339().get(8..10).and_then(|day| day.parse().ok()).unwrap_or(1);
        match self {
            Self::Run => Some(now),
            Self::Day => Some(UnixMs(today * DAY_MS)),
            Self::Month => Some(UnixMs(((today + 1).saturating_sub(day_of_month())) * DAY_MS)),
            Self::Total => None,
        }
    }
}

/// Whether something is let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Allow {
    /// It is refused.
    #[default]
    Refuse,
    /// It is let through, and settled with what the provider reports.
    Allow,
}

/// Whether requests to an upstream are touched so that their replies tell what they used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsageMode {
    /// Streams are asked for their usage, metered replies for no compression.
    #[default]
    Inject,
    /// Nothing is touched; replies that can't be read are settled at the estimate.
    Observe,
}

/// What becomes of calls while the ledger can't keep rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLedgerError {
    /// They go on; each lost row is told in the log.
    #[default]
    Continue,
    /// They are refused with 503 until rows can be kept again.
    Stop,
}

/// An agent: a client with a token of its own.
#[derive(Clone)]
pub struct Agent {
    /// Its name in the ledger, reports and events.
    pub name: String,
    /// What it sends in place of the router's client token.
    pub token: Secret,
    /// Its share of the router's budget at most; `None`: no limit of its own.
    pub budget: Option<NanoUsd>,
}

/// A place that calls are sent to, with the one key that is ever sent there.
#[derive(Clone)]
pub struct Upstream {
    /// Its name in settings, logs and events: `openai`, `anthropic`, or the NAME of `[upstreams.NAME]`.
    pub name: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Its address.
    pub base: BaseUrl,
    /// Its key.
    pub key: Key,
    /// How the key is sent.
    pub auth: Auth,
    /// The models it serves beside the well-known names: exact, or ending in `*`. First match in the order of upstreams wins.
    pub models: Vec<String>,
    /// Other names for models: `(name the client sends, name the upstream gets)`.
    pub aliases: Vec<(String, String)>,
    /// Whether requests are touched so that replies tell their usage. [`UsageMode::Observe`] for all but the two providers.
    pub usage: UsageMode,
}

impl Upstream {
    /// OpenAI, or a place that stands in for it.
    pub fn openai(base: BaseUrl, key: Secret) -> Self {
        Self::new("openai", Protocol::OpenAi, base, Key::Given(key))
    }

    /// Anthropic, or a place that stands in for it.
    pub fn anthropic(base: BaseUrl, key: Secret) -> Self {
        Self::new("anthropic", Protocol::Anthropic, base, Key::Given(key))
    }

    /// An upstream whose key is sent in the usual way of its protocol.
    pub fn new(name: &str, protocol: Protocol, base: BaseUrl, key: Key) -> Self {
        let usage = if name == protocol.as_str() { UsageMode::Inject } else { UsageMode::Observe };
        Self { name: name.into(), protocol, base, key, auth: Auth::of(protocol), models: Vec::new(), aliases: Vec::new(), usage }
    }
}

/// Where an upstream's key comes from.
#[derive(Clone)]
pub enum Key {
    /// It was given.
    Given(Secret),
    /// The control server gives it.
    Control,
    /// The upstream needs none (a local model server).
    None,
}

/// The header field that carries the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer KEY` (OpenAI and most others).
    Bearer,
    /// `x-api-key: KEY` (Anthropic).
    XApiKey,
    /// `api-key: KEY` (Azure).
    ApiKey,
}

impl Auth {
    /// The usual way of a protocol.
    pub fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::OpenAi => Self::Bearer,
            Protocol::Anthropic => Self::XApiKey,
        }
    }
}

/// The control server and the token by which it knows us.
#[derive(Clone)]
pub struct Control {
    /// Its address.
    pub server_url: BaseUrl,
    /// The IC token: opaque.
    pub ic_token: Secret,
    /// How long a fetched key is used before it is fetched again; 300 s is usual.
    pub cache_ttl: Duration,
}

/// Sizes and counts; each has a bound.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Client connections at once; one more gets 503. Default 1024.
    pub max_connections: usize,
    /// Bytes of a request head. Default 64 KiB.
    pub max_header_bytes: usize,
    /// Fields of a request head. Default 100.
    pub max_headers: usize,
    /// Bytes of a request target. Default 16 KiB.
    pub max_target_bytes: usize,
    /// Bytes of a buffered (JSON) request body. Default 32 MiB.
    pub max_body_bytes: u64,
    /// Bytes of all buffered bodies together; over it 503. Default 256 MiB. (Besides, the thread of a connection keeps up to 256 KiB of
    /// memory for its next body.)
    pub max_buffered_bytes: u64,
    /// Bytes of a streamed (multipart, binary) request body. Default 1 GiB.
    pub max_upload_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_header_bytes: 64 << 10,
            max_headers: 100,
            max_target_bytes: 16 << 10,
            max_body_bytes: 32 << 20,
            max_buffered_bytes: 256 << 20,
            max_upload_bytes: 1 << 30,
        }
    }
}

/// Times; each has a bound.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From a request head's first byte to its last. Default 10 s.
    pub header: Duration,
    /// The longest silence inside a request body. Default 30 s.
    pub body: Duration,
    /// How long a kept-alive client connection may be idle. Default 300 s.
    pub keep_alive: Duration,
    /// How long a client may take no bytes of its reply. Default 60 s.
    pub write: Duration,
    /// To connect to an upstream, name look-up and TLS included. Default 10 s.
    pub connect: Duration,
    /// From the request's end to the reply head's end. Default 600 s.
    pub first_byte: Duration,
    /// The longest silence inside a reply. Default 300 s.
    pub idle: Duration,
    /// After this silence a stream gets an SSE comment; zero turns that off. Default 15 s.
    pub keepalive: Duration,
    /// How long `shutdown` waits for calls under way before it cuts them. Default 5 s.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            header: seconds(10),
            body: seconds(30),
            keep_alive: seconds(300),
            write: seconds(60),
            connect: seconds(10),
            first_byte: seconds(600),
            idle: seconds(300),
            keepalive: seconds(15),
            drain: seconds(5),
        }
    }
}

/// An upstream's address in parts, from which request addresses are built: `http` or `https`, host, port, base path.
/// A trailing `/` or `/v1` is dropped, because the client's path brings its own.
///
/// ```
/// let base: iron_runtime::BaseUrl = "https://openrouter.ai/api/v1".parse()?;
/// assert_eq!((base.to_string().as_str(), base.path()), ("https://openrouter.ai/api", "/api"));
/// # Ok::<(), iron_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    https: bool,
    authority: String,
    path: String,
}

impl BaseUrl {
    /// Whether it is reached by TLS.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Host and, if given, `:port`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host alone; an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = match self.authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next(),
            None => self.authority.split(':').next(),
        };
        host.unwrap_or_default()
    }

    /// The port, given or by default of the scheme.
    pub fn port(&self) -> u16 {
        let after_host = self.authority.rsplit(']').next().unwrap_or_default();
        let given = after_host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        given.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// The base path: empty, or `/…` without a trailing slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the host is this machine by name or address.
    pub fn is_loopback(&self) -> bool {
        is_loopback_host(self.host())
    }
}

/// Whether a host name or address literal (without brackets) always means this machine.
pub fn is_loopback_host(host: &str) -> bool {
    host == "127.0.0.1" || host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl std::fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", if self.https { "https" } else { "http" }, self.authority, self.path)
    }
}

impl std::str::FromStr for BaseUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Config(format!("address {text:?}: {why}"));
        let (https, rest) = if let Some(rest) = strip_prefix_any_case(text, "https://") {
            (true, rest)
        } else if let Some(rest) = strip_prefix_any_case(text, "http://") {
            (false, rest)
        } else {
            return Err(wrong("must begin with http:// or https://"));
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err(Error::Config("an address must not hold a user name or password: give the key with its own option".into()));
        }
        if path.contains(['?', '#']) || authority.contains(['?', '#']) {
            return Err(wrong("must not have a query or fragment"));
        }
        if !is_authority(authority) {
            return Err(wrong("host or port is malformed"));
        }
        if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b)) {
            return Err(wrong("the path has a character that is not allowed in an address"));
        }
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix("/v1").unwrap_or(path).trim_end_matches('/');
        if path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(wrong("the path must not have dot segments"));
        }
        Ok(Self { https, authority: authority.to_ascii_lowercase(), path: path.to_string() })
    }
}

fn strip_prefix_any_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    text.get(..prefix.len()).filter(|head| head.eq_ignore_ascii_case(prefix)).map(|_| &text[prefix.len()..])
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`, the port from 1 to 65535.
fn is_authority(text: &str) -> bool {
    let (host_ok, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => (address.parse::<std::net::Ipv6Addr>().is_ok(), port),
            None => (false, ""),
        },
        None => {
            let (host, port) = text.find(':').map_or((text, ""), |at| text.split_at(at));
            (!host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)), port)
        }
    };
    let port_ok = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok_and(|n| n > 0 && !p.starts_with('+')));
    host_ok && port_ok
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, shown, host, port) in [
            ("https://api.openai.com", "https://api.openai.com", "api.openai.com", 443),
            ("https://api.openai.com/v1", "https://api.openai.com", "api.openai.com", 443),
            ("https://api.openai.com/v1/", "https://api.openai.com", "api.openai.com", 443),
            ("HTTP://LOCALHOST:11434/v1", "http://localhost:11434", "localhost", 11434),
            ("http://[::1]:80/api/", "http://[::1]:80/api", "::1", 80),
            ("http://[::1]", "http://[::1]", "::1", 80),
            ("https://x.openai.azure.com/openai/v1", "https://x.openai.azure.com/openai", "x.openai.azure.com", 443),
        ] {
            let base: BaseUrl = text.parse().expect(text);
            assert_eq!((base.to_string().as_str(), base.host(), base.port()), (shown, host, port), "{text}");
        }
    }

    #[test]
    fn refused_addresses() {
        for text in [
            "",
            "api.openai.com",
            "ftp://x",
            "http://",
            "http:///v1",
            "http://user:pw@host",
            "http://host:0",
            "http://host:99999",
            "http://host:+80",
            "http://host:8a",
            "http://ho st",
            "http://host/?q",
            "http://host#f",
            "http://host/a b",
            "http://[::1",
            "http://[zz]",
            "http://host/../x",
        ] {
            assert!(text.parse::<BaseUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn windows_begin_at_midnight_utc() {
        let now = UnixMs(1_709_210_096_789);
        for (window, begins) in [
            (Window::Run, Some("2024-02-29T12:34:56.789Z")),
            (Window::Day, Some("2024-02-29T00:00:00.000Z")),
            (Window::Month, Some("2024-02-01T00:00:00.000Z")),
            (Window::Total, None),
        ] {
            assert_eq!(window.begins(now).map(UnixMs::rfc3339).as_deref(), begins, "{window:?}");
        }
    }

    #[test]
    fn loopback_names() {
        for (host, yes) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("localhost.evil.com", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback_host(host), yes, "{host}");
        }
    }
}
