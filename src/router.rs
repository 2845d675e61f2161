//! The router: settings in, a listening address out. Puts the layers together and owns their threads.

mod history;
mod keeping;
mod pages;
mod visitors;

use crate::call::Protocol;
use crate::config::{Agent, Config, Control, Key, Listener, Upstream};
use crate::error::Error;
use crate::event::{Audience, Event};
#[cfg(feature = "tiny_http")]
use crate::http::TinyServer;
use crate::http::{Server, ServerLimits};
use crate::live::{Live, Subscription};
use crate::money::NanoUsd;
use crate::policy::{self, AccessRules, Prices, State, Stats};
use crate::proxy::exchange::{Proxy, Stage, Store};
use crate::proxy::purse::Purse;
use crate::proxy::tell;
use crate::row::Row;
use crate::secret::Secret;
use crate::wire::news::Hello;
use history::Restoring;
use keeping::Keeping;
use pages::LivePages;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// A running router. Dropped, it stops.
///
/// ```
/// use iron_runtime::{Config, LlmRouter, Secret, Upstream};
/// let mut config = Config::default();
/// config.upstreams.push(Upstream::openai("https://api.openai.com".parse()?, Secret::new("sk-proj-example")));
/// let mut router = LlmRouter::start(config)?;
/// assert_eq!(router.base_url(), format!("http://127.0.0.1:{}/v1", router.port()));
/// assert_eq!(router.provider(), "openai");
/// router.shutdown();
/// assert!(!router.is_running());
/// # Ok::<(), iron_runtime::Error>(())
/// ```
pub struct LlmRouter {
    proxy: Arc<Proxy>,
    live: Arc<Live>,
    pages: Arc<LivePages>,
    front: Front,
    token: Secret,
    agents: Vec<Agent>,
    keeping: Arc<Keeping>,
    /// Figures of earlier runs on their way.
    restoring: Restoring,
    host: String,
    port: u16,
    drain: Duration,
    provider: Option<Protocol>,
    running: AtomicBool,
}

/// The HTTP server in front.
enum Front {
    Own(Server),
    #[cfg(feature = "tiny_http")]
    Tiny(TinyServer),
}

/// Calls of earlier runs of the same ledger that are shown among the last events.
const RECENT: usize = 200;

/// OpenAI's address.
pub const OPENAI_BASE_URL: &str = "https://api.openai.com";

/// Anthropic's address.
pub const ANTHROPIC_BASE_URL: &str = "https://api.anthropic.com";

impl LlmRouter {
    /// Starts a router with checked settings. When it returns, the port is bound and listening. In server mode the key is asked for once
    /// before that, so that [`LlmRouter::provider`] is known; a server that does not answer delays the start by its time limits at most.
    ///
    /// # Errors
    /// [`Error::NoProvider`] without upstreams, [`Error::Bind`], [`Error::Config`], [`Error::Io`].
    pub fn start(mut config: Config) -> Result<Self, Error> {
        if config.upstreams.is_empty() {
            return Err(Error::NoProvider);
        }
        if config.ca_file.is_none() {
            config.ca_file = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(Into::into);
        }
        let token = client_token(&config)?;
        let (host, port, drain) = (config.host.clone(), config.port, config.timeouts.drain);
        let provider = config.upstreams.iter().find(|upstream| !matches!(upstream.key, Key::Control)).map(|upstream| upstream.protocol);
        let (listens, limits) = (config.listener, server_limits(&config));
        let agents = config.agents.iter().map(|agent| agent.token.clone()).collect();
        let rules = AccessRules { allow_hosts: config.allow_hosts.clone(), token: token.clone(), agents };
        let prices = prices(&config)?;
        let keeping = Arc::new(Keeping::open(&config)?);
        let bind = |source| Error::Bind { address: format!("{host}:{port}"), source };
        let listener = Server::listen(&host, port).map_err(bind)?;
        let earlier = keeping.earlier(&config, tell::now())?;
        let state = State::new(&config.spending, &config.agents, earlier, tell::now());
        let purse = Arc::new(Purse::new(state, config.spending.wait));
        let agents = config.agents.clone();
        let live = Live::start(config.capture)?;
        live.introduce(Hello { started_at: tell::now(), ledger: config.state.is_some(), capture: config.capture });
        match history::recent(&keeping, RECENT) {
            Ok(events) => live.replay(events),
            Err(error) => log::warn!("events of earlier runs are left out: {error}"),
        }
        let restoring = history::restore(&keeping, &live);
        let store = Store { books: keeping.books(), outbox: keeping.outbox(), leases: keeping.lease_store() };
        let pages = Arc::new(LivePages::new(live.clone(), purse.clone(), keeping.clone(), token.clone()));
        let stage = Stage { audience: live.clone(), pages: pages.clone() };
        let proxy = Arc::new(Proxy::new(config, rules, prices, purse, store, stage)?);
        if let Some(Err(refused)) = proxy.keys().map(|keys| keys.get()) {
            log::warn!("{}", refused.message);
        }
        let front = match listens {
            Listener::Own => Front::Own(Server::start(listener, limits, proxy.clone()).map_err(bind)?),
            #[cfg(feature = "tiny_http")]
            Listener::TinyHttp => Front::Tiny(TinyServer::start(listener, limits, proxy.clone()).map_err(bind)?),
        };
        let port = front.port();
        pages.listens_at(address(&host, port), port);
        let started = Event::RouterStarted { at: tell::now(), port };
        tell::log(&started);
        live.tell(started);
        Ok(Self {
            live,
            pages,
            proxy,
            front,
            token,
            agents,
            keeping,
            restoring,
            host,
            port,
            drain,
            provider,
            running: AtomicBool::new(true),
        })
    }

    /// Server mode: the keys come from the control server at `server_url`, which knows us by the IC token `api_key`.
    ///
    /// ```
    /// # #[cfg(feature = "enabled")] {
    /// use iron_runtime::LlmRouter;
    /// use iron_runtime::mock::{Mock, MockConfig};
    /// let server = Mock::start(MockConfig::default())?;
    /// let mut router = LlmRouter::create("ic_xxx".to_string(), server.base_url(), 300)?;
    /// println!("Proxy running at: {}", router.get_base_url());
    /// assert_eq!(router.get_provider(), "openai");
    /// router.shutdown();
    /// # }
    /// # Ok::<(), iron_runtime::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`LlmRouter::start`]; a server that does not answer is not an error, see [`LlmRouter::provider`].
    pub fn create(api_key: impl Into<String>, server_url: impl Into<String>, cache_ttl_seconds: u64) -> Result<Self, Error> {
        let ic_token = Secret::new(api_key);
        if ic_token.is_empty() {
            return Err(Error::Config("api_key (the IC token) is empty".into()));
        }
        let control = Control { server_url: server_url.into().parse()?, ic_token, cache_ttl: Duration::from_secs(cache_ttl_seconds) };
        let upstreams = vec![
            Upstream::new("openai", Protocol::OpenAi, OPENAI_BASE_URL.parse()?, Key::Control),
            Upstream::new("anthropic", Protocol::Anthropic, ANTHROPIC_BASE_URL.parse()?, Key::Control),
        ];
        Self::start(Config { control: Some(control), upstreams, ..Config::default() })
    }

    /// `http://127.0.0.1:{port}/v1`, for OpenAI clients (Anthropic's work with it too).
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.address())
    }

    /// The same without `/v1`, for Anthropic clients.
    pub fn anthropic_base_url(&self) -> String {
        self.address()
    }

    /// Where it listens, as a client on this machine reaches it.
    fn address(&self) -> String {
        address(&self.host, self.port)
    }

    /// What clients must send.
    pub fn api_key(&self) -> &str {
        self.token.expose()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `"openai"`, `"anthropic"`, or `"unknown"` while the control server has not told. With keys for both, the first.
    pub fn provider(&self) -> &'static str {
        let assigned = || self.proxy.keys().and_then(|keys| keys.peek()).map(|assigned| assigned.provider);
        self.provider.or_else(assigned).map_or("unknown", Protocol::as_str)
    }

    /// Whether it still listens.
    pub fn is_running(&self) -> bool {
        self.running.load(SeqCst)
    }

    /// Counts and money since it started; also after [`LlmRouter::shutdown`].
    pub fn stats(&self) -> Stats {
        self.proxy.purse().figures(Stats::of)
    }

    /// What its calls have cost since it started.
    pub fn total_spent(&self) -> NanoUsd {
        self.proxy.purse().with(|state| state.spent())
    }

    /// The limit; `None`: unlimited.
    pub fn budget(&self) -> Option<NanoUsd> {
        self.proxy.purse().with(|state| state.budget())
    }

    /// What counts against the limit, and the limit; `None` without one.
    pub fn budget_status(&self) -> Option<(NanoUsd, NanoUsd)> {
        self.proxy.purse().figures(State::budget_status)
    }

    /// Sets another limit, or none, also while calls are under way: those that were admitted go on, the next ones meet the new limit.
    pub fn set_budget(&self, budget: Option<NanoUsd>) {
        let crossings = self.proxy.purse().change(|state| policy::set_budget(state, budget));
        self.proxy.tell_crossings(crossings);
    }

    /// The last settled and refused calls, newest first: of the 10,000 that are kept in memory. With a ledger they are read by
    /// [`Report`](crate::ledger::Report) instead, and this is empty.
    pub fn last_rows(&self, limit: usize) -> Vec<Arc<Row>> {
        self.keeping.last_rows(limit)
    }

    /// What happens, as it happens. `since`: from behind this number on, as far as the last 4,096 events reach back (0: all of them);
    /// `None`: from now on. Who is too slow is told so by [`Told::Gap`](crate::live::Told::Gap) and never waited for. When the router
    /// stops, the subscription ends behind its last event.
    ///
    /// ```
    /// use iron_runtime::live::Told;
    /// use iron_runtime::{Config, LlmRouter, Secret, Upstream};
    /// let mut config = Config::default();
    /// config.upstreams.push(Upstream::openai("https://api.openai.com".parse()?, Secret::new("sk-proj-example")));
    /// let mut router = LlmRouter::start(config)?;
    /// let events = router.events(Some(0));
    /// router.shutdown();
    /// let names = events.map(|told| match told {
    ///     Told::Event(event) => event.event.name(),
    ///     Told::Gap(_) => "gap",
    /// });
    /// assert_eq!(names.collect::<Vec<_>>(), ["router_started", "router_stopped"]);
    /// # Ok::<(), iron_runtime::Error>(())
    /// ```
    pub fn events(&self, since: Option<u64>) -> Subscription {
        self.live.subscribe(since)
    }

    /// The dashboard's address for a browser. It lets in whoever opens it first, once: every call gives another address.
    pub fn dashboard_url(&self) -> String {
        self.pages.one_time_address()
    }

    /// `http://127.0.0.1:{port}/metrics`, for Prometheus, which must send [`LlmRouter::api_key`] as its bearer token.
    pub fn metrics_url(&self) -> String {
        format!("{}/metrics", self.address())
    }

    /// What `/metrics` says, in Prometheus' text format; also after [`LlmRouter::shutdown`].
    pub fn metrics_text(&self) -> String {
        self.pages.metrics_text()
    }

    /// What the agent of this name sends as its API key; `None`: no such agent.
    pub fn agent_token(&self, name: &str) -> Option<&str> {
        self.agents.iter().find(|agent| agent.name == name).map(|agent| agent.token.expose())
    }

    /// [`LlmRouter::budget_status`], under the name older programs use.
    pub fn get_budget_status(&self) -> Option<(NanoUsd, NanoUsd)> {
        self.budget_status()
    }

    /// [`LlmRouter::base_url`], under the name older programs use.
    pub fn get_base_url(&self) -> String {
        self.base_url()
    }

    /// [`LlmRouter::api_key`], under the name older programs use.
    pub fn get_api_key(&self) -> &str {
        self.api_key()
    }

    /// [`LlmRouter::port`], under the name older programs use.
    pub fn get_port(&self) -> u16 {
        self.port()
    }

    /// [`LlmRouter::provider`], under the name older programs use.
    pub fn get_provider(&self) -> &'static str {
        self.provider()
    }

    /// Stops: waits for calls under way ([`Timeouts::drain`](crate::config::Timeouts::drain)), then cuts them, and joins every thread.
    /// Twice is fine.
    pub fn shutdown(&mut self) {
        self.shutdown_within(self.drain);
    }

    /// The same for a router that is shared, with a time of one's own for calls under way; zero cuts them at once.
    pub fn shutdown_within(&self, drain: Duration) {
        if !self.running.swap(false, SeqCst) {
            return;
        }
        self.proxy.close();
        let cut = self.front.stop(drain);
        if cut > 0 {
            log::warn!("{cut} calls under way were cut after {} s", drain.as_secs_f64());
        }
        self.proxy.stop_leases();
        self.restoring.end();
        self.keeping.stop();
        let stopped = Event::RouterStopped { at: tell::now() };
        tell::log(&stopped);
        self.live.tell(stopped);
        self.live.stop();
    }

    /// How long [`LlmRouter::shutdown`] waits for calls under way.
    pub fn drain(&self) -> Duration {
        self.drain
    }
}

impl Front {
    fn port(&self) -> u16 {
        match self {
            Self::Own(server) => server.address().port(),
            #[cfg(feature = "tiny_http")]
            Self::Tiny(server) => server.address().port(),
        }
    }

    /// Stops; how many calls had to be cut.
    fn stop(&self, drain: Duration) -> usize {
        match self {
            Self::Own(server) => server.stop(drain).cut,
            #[cfg(feature = "tiny_http")]
            Self::Tiny(server) => {
                server.stop();
                0
            }
        }
    }
}

impl Drop for LlmRouter {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The bundled prices, and over them those of the file.
fn prices(config: &Config) -> Result<Prices, Error> {
    let Some(path) = &config.spending.prices else { return Ok(Prices::bundled()) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io { what: format!("read price file {name}"), source })?;
    Prices::bundled().with_file(&text, &name)
}

/// The token given, else in server mode the IC token, else a random one.
fn client_token(config: &Config) -> Result<Secret, Error> {
    if let Some(token) = &config.client_token {
        if token.is_empty() {
            return Err(Error::Config("the client token is empty".into()));
        }
        return Ok(token.clone());
    }
    match &config.control {
        Some(control) => Ok(control.ic_token.clone()),
        None => random_token(),
    }
}

/// `iron-` and 32 hexadecimal digits from the operating system's random source.
///
/// # Errors
/// The operating system has no random source.
pub fn random_token() -> Result<Secret, Error> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|cause| Error::Config(format!("no random numbers from the operating system: {cause}")))?;
    let mut token = String::with_capacity(37);
    token.push_str("iron-");
    for byte in bytes {
        token.push_str(&format!("{byte:02x}"));
    }
    Ok(Secret::new(token))
}

/// Where a router on this host and port listens, as a client on this machine reaches it.
fn address(host: &str, port: u16) -> String {
    let host = match host {
        "0.0.0.0" | "localhost" | "::" => "127.0.0.1",
        host => host,
    };
    if host.contains(':') { format!("http://[{}]:{port}", host.trim_matches(['[', ']'])) } else { format!("http://{host}:{port}") }
}

fn server_limits(config: &Config) -> ServerLimits {
    let (limits, timeouts) = (&config.limits, &config.timeouts);
    ServerLimits {
        max_connections: limits.max_connections,
        max_header_bytes: limits.max_header_bytes,
        max_headers: limits.max_headers,
        max_target_bytes: limits.max_target_bytes,
        header_timeout: timeouts.header,
        body_timeout: timeouts.body,
        keep_alive: timeouts.keep_alive,
        write_timeout: timeouts.write,
    }
}
