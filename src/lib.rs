//! A local control point between AI agents and their LLM providers.
//!
//! A script points its OpenAI or Anthropic client at the router's address; the router holds the real keys, forwards, streams and tells
//! what happens. Everything is synchronous: a thread a connection, no async runtime anywhere in the tree.
//!
//! # The architecture on one screen
//!
//! Vocabulary (values; no I/O, no policy): [`error`], [`clock`], [`secret`], [`call`] (the types of a request's journey: read it first),
//! [`event`], [`config`], [`provider`], [`money`] (amounts, tokens, prices), [`row`] (what is kept of a call),
//! [`tally`] (sums of rows), [`outbox`] (what waits for the control server).
//!
//! On it stand three layers that do not see each other: `http` (one synchronous HTTP/1.1 server that knows nothing of LLMs), `wire`
//! (bytes to values and back: routing, headers, refusals, events of a stream) and `policy` (pure decisions: `admit` and `settle`).
//!
//! Above them the I/O: `proxy` (one exchange with the upstream, from top to bottom), `ledger` (where rows are kept), `live` (what happens, shown while it happens), `mock` (a provider to try things with). Then
//! `router`, which puts them together, and the edges: `settings`, `cli`.
//!
//! The rule that a test holds: vocabulary ← {http, wire, policy} ← {proxy, ledger, live, mock} ← router ← {settings, cli}.

pub mod call;
pub mod clock;
pub mod config;
pub mod error;
pub mod event;
pub mod money;
pub mod outbox;
pub mod provider;
pub mod row;
pub mod secret;
pub mod tally;

pub mod policy;
pub mod wire;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "enabled")]
pub mod http;
#[cfg(feature = "enabled")]
pub mod ledger;
#[cfg(feature = "enabled")]
pub mod live;
#[cfg(feature = "enabled")]
pub mod llm_router;
#[cfg(feature = "enabled")]
pub mod mock;
#[cfg(feature = "enabled")]
mod proxy;
#[cfg(feature = "python")]
mod python;
#[cfg(feature = "enabled")]
pub mod router;
#[cfg(feature = "enabled")]
pub mod settings;

pub use call::Protocol;
pub use clock::UnixMs;
pub use config::{BaseUrl, Config, Upstream};
pub use error::Error;
#[cfg(feature = "enabled")]
pub use router::LlmRouter;
pub use secret::Secret;

/// The README's Rust example, run as a doc test.
#[cfg(all(doctest, feature = "enabled"))]
#[doc = include_str!("../README.md")]
pub struct ReadmeExamples;
