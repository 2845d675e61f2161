//! A provider to try things with: OpenAI's and Anthropic's protocols and the control server's, on a loopback port, without a model, a key or
//! a network.
//!
//! It is faithful where clients look: shapes, streams, tools, structured replies, usage, errors and headers are those the typed SDKs accept.
//! It refuses what they refuse: fields they do not know, tool calls without results, pictures that are none, thoughts that were changed.
//!
//! It is not a model: every text reply is the same sentence, and tool arguments and structured replies are the smallest value their schema
//! allows. How it comes to call tools is told below.
//!
//! It is also the place where everything that can go wrong with a provider can be asked for:
#![doc = "```text"]
#![doc = include_str!("words.txt")]
#![doc = "```"]
//!
//! `GET /__stats` tells what was seen ([`MockStats`]), `POST /__reset` forgets it. Neither these nor anything else ever logs a request.

mod answer;
mod anthropic;
mod catalog;
mod control;
mod deliver;
mod encode;
mod faults;
mod files;
mod leases;
mod openai;
mod prices;
mod provider;
mod responses;
mod route;
mod rules;
mod scene;
mod schema;
mod speech;
mod stats;
mod text;

pub use answer::Tokens;
pub use leases::BookStats;
pub use stats::MockStats;

use crate::config::{Limits, Timeouts};
use crate::error::Error;
use crate::http::{Server, ServerLimits};
use provider::Provider;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What a request can ask the mock for, as text for people.
pub const MOCK_HELP: &str = include_str!("words.txt");

/// Connections at once: more than a router has clients by default.
const MAX_CONNECTIONS: usize = 4096;

/// How a mock behaves towards requests that ask for nothing special.
///
/// ```
/// let config = iron_runtime::mock::MockConfig::default();
/// assert_eq!((config.host.as_str(), config.port, config.events), ("127.0.0.1", 0, 8));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MockConfig {
    /// The address to listen on. Default `127.0.0.1`.
    pub host: String,
    /// The port; 0 picks a free one. Default 0.
    pub port: u16,
    /// Before a reply's first byte. Default zero.
    pub latency: Duration,
    /// Words of a text reply, each an event of a stream; at most 100,000. Default 8.
    pub events: usize,
    /// Between the events of a stream. Default zero.
    pub spacing: Duration,
    /// What the control server allocates to a token that says nothing else, micro-USD. Default $100.
    pub allocated_micro_usd: u64,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 0,
            latency: Duration::ZERO,
            events: 8,
            spacing: Duration::ZERO,
            allocated_micro_usd: 100_000_000,
        }
    }
}

/// A running mock provider. Dropped, it stops.
///
/// ```
/// use iron_runtime::mock::{Mock, MockConfig};
/// let mock = Mock::start(MockConfig::default())?;
/// assert_eq!(mock.base_url(), format!("http://127.0.0.1:{}", mock.port()));
/// assert_eq!(mock.stats().requests, 0);
/// # Ok::<(), iron_runtime::Error>(())
/// ```
pub struct Mock {
    server: Server,
    provider: Arc<Provider>,
    base_url: String,
    port: u16,
}

impl Mock {
    /// Starts a mock; when it returns, clients can connect.
    ///
    /// # Errors
    /// [`Error::Bind`]; [`Error::Io`] if its threads can't be started.
    pub fn start(config: MockConfig) -> Result<Self, Error> {
        let bind = |source| Error::Bind { address: format!("{}:{}", config.host, config.port), source };
        let listener = Server::listen(&config.host, config.port).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let base_url = base_url(address);
        let provider = Arc::new(Provider::new(config, base_url.clone()));
        let server = Server::start(listener, limits(), Arc::clone(&provider) as _)
            .map_err(|source| Error::Io { what: "start the mock provider".into(), source })?;
        Ok(Self { server, provider, base_url, port: address.port() })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `http://127.0.0.1:{port}`, without `/v1`; the address of a control server too.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// What it has seen so far.
    pub fn stats(&self) -> MockStats {
        self.provider.stats()
    }

    /// Stops at once: replies under way are cut. Twice is fine.
    pub fn stop(&self) {
        self.server.stop(Duration::ZERO);
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where clients of this machine reach `address`.
fn base_url(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    format!("http://{address}")
}

/// The router's own defaults, with room for more connections.
fn limits() -> ServerLimits {
    let (limits, timeouts) = (Limits::default(), Timeouts::default());
    ServerLimits {
        max_connections: MAX_CONNECTIONS,
        max_header_bytes: limits.max_header_bytes,
        max_headers: limits.max_headers,
        max_target_bytes: limits.max_target_bytes,
        header_timeout: timeouts.header,
        body_timeout: timeouts.body,
        keep_alive: timeouts.keep_alive,
        write_timeout: timeouts.write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_one_that_clients_reach() {
        for (bound, url) in
            [("127.0.0.1:80", "http://127.0.0.1:80"), ("0.0.0.0:81", "http://127.0.0.1:81"), ("[::1]:82", "http://[::1]:82")]
        {
            assert_eq!(bound.parse().map(base_url), Ok(url.to_owned()));
        }
    }
}
