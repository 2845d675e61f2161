//! One synchronous HTTP/1.1 server: a thread a connection, keep-alive, pipelining in order, fixed and chunked bodies both ways.
//!
//! It knows nothing of LLMs. Four users share it: the router, the mock provider, the control server and the agent app, each a
//! [`Service`]. What it promises: framing by RFC 9112 with every ambiguity a 400 and a close, a bound on everything, and a reply that
//! broke off never looks like one that ended.

mod body;
mod buffer;
mod chunked;
mod connection;
pub(crate) mod handles;
pub mod head;
mod input;
mod limits;
mod link;
mod listener;
mod progress;
mod registry;
mod reply;
#[cfg(feature = "tiny_http")]
mod tiny_http;

pub use body::{Body, BodyError};
pub use buffer::BodyBuffer;
pub use limits::ServerLimits;
pub use listener::{Server, StopReport};
pub use reply::{Client, Framing, Responder, Stream};
#[cfg(feature = "tiny_http")]
pub use tiny_http::TinyServer;

use crate::call::Inbound;

/// What answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. The body may be read or left; what is left is drained or the connection closed. Returning without a reply
    /// sends a 500; a panic ends this request only.
    fn serve(&self, request: &Inbound<'_>, body: &mut Body<'_>, reply: Responder<'_>);

    /// The body of an error reply that the server itself makes (malformed head, full house, panic). `partial_head` holds the bytes that
    /// were read, possibly none.
    fn violation_body(&self, violation: Violation, partial_head: &[u8]) -> Vec<u8>;
}

/// Why the server itself refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The status: 400, 405, 408, 413, 414, 417, 431, 500, 501, 503 or 505.
    pub status: u16,
    /// A word for it, e.g. `malformed_header`.
    pub code: &'static str,
    /// What was wrong, for people.
    pub message: &'static str,
}
