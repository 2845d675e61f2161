//! What happened, as values: the one enum that logs, statistics and the live view are fed from.

use crate::call::End;
use crate::clock::UnixMs;
use crate::money::NanoUsd;
use crate::row::{RequestInfo, Row};
use std::sync::Arc;

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
    RequestStarted(Arc<RequestInfo>),
    /// A call was answered whole with a 2xx.
    RequestCompleted(Arc<Row>),
    /// A call was refused, answered otherwise, or broke off.
    RequestFailed(Arc<Row>),
    /// Spending has reached a share of a budget.
    ThresholdReached {
        /// When.
        at: UnixMs,
        /// What was reached.
        crossing: Crossing,
    },
    /// The ledger could not keep a row.
    LedgerFailed {
        /// When.
        at: UnixMs,
        /// What the ledger said.
        why: String,
    },
}

/// Who hears of events. Telling never waits and never fails: what can't be taken is counted by whoever was to take it.
pub trait Audience: Send + Sync {
    /// Something happened.
    fn tell(&self, event: Event);

    /// Whether somebody looks at the details of calls now.
    fn wants_details(&self) -> bool;
}

/// An event and its place in the router's sequence.
#[derive(Clone, Debug)]
pub struct Numbered {
    /// Counts from 1, without gaps.
    pub seq: u64,
    /// What happened.
    pub event: Event,
}

/// A share of a budget that spending has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crossing {
    /// The agent whose budget it is; `None`: the router's own.
    pub agent: Option<Arc<str>>,
    /// Percent of the limit.
    pub percent: u8,
    /// Spent so far.
    pub spent: NanoUsd,
    /// The limit.
    pub limit: NanoUsd,
}

impl Event {
    /// When it happened; of a closed call: when it began.
    pub fn at(&self) -> UnixMs {
        match self {
            Self::RouterStarted { at, .. } | Self::RouterStopped { at } => *at,
            Self::ThresholdReached { at, .. } | Self::LedgerFailed { at, .. } => *at,
            Self::RequestStarted(info) => info.at,
            Self::RequestCompleted(row) | Self::RequestFailed(row) => row.info.at,
        }
    }

    /// The event's name as tools know it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RouterStarted { .. } => "router_started",
            Self::RouterStopped { .. } => "router_stopped",
            Self::RequestStarted(_) => "llm_request_started",
            Self::RequestCompleted(..) => "llm_request_completed",
            Self::RequestFailed(..) => "llm_request_failed",
            Self::ThresholdReached { .. } => "budget_threshold_reached",
            Self::LedgerFailed { .. } => "ledger_failed",
        }
    }

    /// The closing event of a call.
    pub fn closing(row: Arc<Row>) -> Self {
        if row.outcome.succeeded() { Self::RequestCompleted(row) } else { Self::RequestFailed(row) }
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
