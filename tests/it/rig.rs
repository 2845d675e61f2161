//! The router under test, and a watch on everything it logs.

use super::WAIT;
use super::client::{Client, Reply, Request};
use super::upstream::Upstream;
use iron_runtime::policy::Totals;
use iron_runtime::{Config, LlmRouter, Secret};
use std::process::Command;
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

/// What every provider key of the tests holds; it must never be seen outside the provider.
pub(crate) const CANARY: &str = "KEYCANARY";
/// OpenAI's key.
pub(crate) const OPENAI_KEY: &str = "sk-KEYCANARY-openai";
/// Anthropic's key.
pub(crate) const ANTHROPIC_KEY: &str = "sk-ant-KEYCANARY-anthropic";
/// What clients send.
pub(crate) const TOKEN: &str = "token-of-the-client";

/// A running router.
pub(crate) struct Router {
    router: LlmRouter,
    port: u16,
}

impl Router {
    /// Starts one.
    pub(crate) fn start(config: Config) -> Self {
        watch_log();
        let router = LlmRouter::start(config).expect("router starts");
        let port = router.port();
        Self { router, port }
    }

    /// One with OpenAI's place taken.
    pub(crate) fn openai(upstream: &Upstream) -> Self {
        Self::start(openai(upstream))
    }

    /// One with both.
    pub(crate) fn both(openai: &Upstream, anthropic: &Upstream) -> Self {
        Self::start(both(openai, anthropic))
    }

    /// A connection to it.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// One request on a connection of its own.
    pub(crate) fn call(&self, request: &Request) -> Reply {
        self.client().call(request)
    }

    /// Its counts.
    pub(crate) fn stats(&self) -> Totals {
        self.router.stats().totals
    }

    /// Waits until its counts are as wanted: a client may see the end of a reply before the call is settled.
    pub(crate) fn wait_stats(&self, wanted: impl Fn(&Totals) -> bool) -> Totals {
        let start = Instant::now();
        loop {
            let totals = self.stats();
            if wanted(&totals) {
                return totals;
            }
            assert!(start.elapsed() < WAIT, "waited in vain, counts are {totals:?}");
            std::thread::yield_now();
        }
    }

    /// Waits until nothing is under way, and gives (requests, failed, refused).
    pub(crate) fn settled(&self, requests: u64) -> (u64, u64, u64) {
        let totals = self.wait_stats(|totals| totals.requests >= requests && totals.in_flight == 0);
        (totals.requests, totals.failed, totals.refused)
    }

    /// Stops it.
    pub(crate) fn stop(&mut self) {
        self.router.shutdown();
    }

    /// The router itself.
    pub(crate) fn inner(&self) -> &LlmRouter {
        &self.router
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let leaks = LEAKS.lock().expect("leaks").clone();
        assert!(std::thread::panicking() || leaks.is_empty(), "logged with a key in it: {leaks:?}");
    }
}

/// A configuration without upstreams.
pub(crate) fn bare() -> Config {
    let mut config = Config::default();
    // The journey also runs on the design card's listener: see `tests/run`.
    #[cfg(feature = "tiny_http")]
    if std::env::var_os("IRON_TEST_LISTENER").is_some_and(|name| name == "tiny_http") {
        config.listener = iron_runtime::config::Listener::TinyHttp;
    }
    config.client_token = Some(Secret::new(TOKEN));
    config
}

/// A configuration with OpenAI's place taken.
pub(crate) fn openai(upstream: &Upstream) -> Config {
    let mut config = bare();
    config.upstreams.push(iron_runtime::Upstream::openai(upstream.url().parse().expect("url"), Secret::new(OPENAI_KEY)));
    config
}

/// A configuration with Anthropic's place taken.
pub(crate) fn anthropic(upstream: &Upstream) -> Config {
    let mut config = bare();
    config.upstreams.push(iron_runtime::Upstream::anthropic(upstream.url().parse().expect("url"), Secret::new(ANTHROPIC_KEY)));
    config
}

/// A configuration with both.
pub(crate) fn both(openai_at: &Upstream, anthropic_at: &Upstream) -> Config {
    let mut config = openai(openai_at);
    config.upstreams.extend(anthropic(anthropic_at).upstreams);
    config
}

static LEAKS: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Every line that tells a request's id.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// The first line of the log that has `text` in it, once it is there: with its level before it, and its members behind it.
pub(crate) fn logged(text: &str) -> String {
    let start = Instant::now();
    loop {
        let found = LINES.lock().expect("lines").iter().find(|line| line.contains(text)).cloned();
        if let Some(line) = found {
            return line;
        }
        assert!(start.elapsed() < WAIT, "waited in vain for a log line with {text:?}");
        std::thread::yield_now();
    }
}

struct Watch;

impl log::Log for Watch {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut members = Members(String::new());
        record.key_values().visit(&mut members).expect("members");
        let line = format!("{} {}: {}{}", record.level(), record.target(), record.args(), members.0);
        if line.contains("request_id") {
            LINES.lock().expect("lines").push(line.clone());
        }
        if line.contains(CANARY) || line.contains(TOKEN) {
            LEAKS.lock().expect("leaks").push(line);
        }
    }

    fn flush(&self) {}
}

/// What a line has beside its text.
struct Members(String);

impl<'kvs> log::kv::VisitSource<'kvs> for Members {
    fn visit_pair(&mut self, key: log::kv::Key<'kvs>, value: log::kv::Value<'kvs>) -> Result<(), log::kv::Error> {
        self.0 += &format!(" {key}={value}");
        Ok(())
    }
}

fn watch_log() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Watch).expect("the only logger");
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// Returns when whoever waits in a read has looked up more than once: when another router has given up on a silent provider.
pub(crate) fn a_silence() {
    let silent = Upstream::start(|conn| conn.eof());
    let mut config = openai(&silent);
    config.timeouts.first_byte = Duration::from_millis(600);
    assert_eq!(Router::start(config).call(&Request::chat()).status, 504);
}

/// Runs the test `name` again in a process of its own, with these variables set. True in that process; false in the one that started it,
/// once the other has succeeded.
pub(crate) fn in_child(name: &str, variables: &[(&str, &str)]) -> bool {
    const SWITCH: &str = "ROUTER_TEST_CHILD";
    if std::env::var(SWITCH).is_ok() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("own path"));
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(SWITCH, "1").envs(variables.iter().copied());
    let output = command.output().expect("child process");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "in the child process: {text}\n{errors}");
    false
}
