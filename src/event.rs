//! What happened, as values: the one enum that logs, statistics and the live view are fed from.

use crate::call::{End, Outcome};
use crate::clock::UnixMs;

/// Something worth telling. Events carry sizes, names and times, never a prompt, a reply or a key.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The router listens.
    RouterStarted {
        /// When.
        at: UnixMs,
        /// The port on which it listens.
        port: u16,
    },
    /// The router has stopped.
    RouterStopped {
        /// When.
        at: UnixMs,
    },
    /// A call was admitted and is on its way to the upstream.
    RequestStarted(Box<RequestInfo>),
    /// A call was answered whole with a 2xx or 3xx.
    RequestCompleted(Box<RequestInfo>, Outcome),
    /// A call was answered otherwise, or broke off.
    RequestFailed(Box<RequestInfo>, Outcome),
}

/// What is known of a call while it is under way.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// Counts the router's calls from 1.
    pub serial: u64,
    /// When it was admitted.
    pub at: UnixMs,
    /// The name of the upstream.
    pub upstream: String,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The model, if the request named one.
    pub model: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
}

impl Event {
    /// The event's name as tools know it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RouterStarted { .. } => "router_started",
            Self::RouterStopped { .. } => "router_stopped",
            Self::RequestStarted(_) => "llm_request_started",
            Self::RequestCompleted(..) => "llm_request_completed",
            Self::RequestFailed(..) => "llm_request_failed",
        }
    }

    /// The closing event of a call.
    pub fn closing(info: Box<RequestInfo>, outcome: Outcome) -> Self {
        if outcome.succeeded() { Self::RequestCompleted(info, outcome) } else { Self::RequestFailed(info, outcome) }
    }
}

impl End {
    /// A word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Refused => "refused",
            Self::UpstreamFailed => "upstream_failed",
            Self::UpstreamCut => "upstream_cut",
            Self::ClientGone => "client_gone",
            Self::Abandoned => "abandoned",
        }
    }
}
