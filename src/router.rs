//! The router: settings in, a listening address out. Puts the layers together and owns their threads.

use crate::config::Config;
use crate::error::Error;

/// A running router. Dropped, it stops.
pub struct LlmRouter {
    _gap: (),
}

impl LlmRouter {
    /// Starts a router with checked settings. When it returns, the port is bound and listening.
    ///
    /// # Errors
    /// [`Error::NoProvider`] without upstreams and control server, [`Error::Bind`], [`Error::Config`].
    pub fn start(_config: Config) -> Result<Self, Error> {
        todo!()
    }

    /// Server mode: the keys come from the control server at `server_url`, which knows us by the IC token `api_key`.
    ///
    /// # Errors
    /// As [`LlmRouter::start`]; a server that does not answer is not an error, see [`LlmRouter::provider`].
    pub fn create(_api_key: impl Into<String>, _server_url: impl Into<String>, _cache_ttl_seconds: u64) -> Result<Self, Error> {
        todo!()
    }

    /// `http://127.0.0.1:{port}/v1`, for OpenAI clients (Anthropic's work with it too).
    pub fn base_url(&self) -> String {
        todo!()
    }

    /// What clients must send.
    pub fn api_key(&self) -> &str {
        todo!()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        todo!()
    }

    /// `"openai"`, `"anthropic"`, or `"unknown"` while the control server has not told.
    pub fn provider(&self) -> &'static str {
        todo!()
    }

    /// Whether it still listens.
    pub fn is_running(&self) -> bool {
        todo!()
    }

    /// Calls so far.
    pub fn stats(&self) -> crate::policy::Totals {
        todo!()
    }

    /// Stops: waits for calls under way ([`Timeouts::drain`](crate::config::Timeouts::drain)), then cuts them. Twice is fine.
    pub fn shutdown(&mut self) {
        todo!()
    }
}
