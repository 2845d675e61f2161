//! The router's own pages that show what happens. Who makes them stands above this layer; here is only where they are, and who may see
//! them.

use crate::call::Inbound;
use crate::http::{Body, Responder};

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    /// `/events`: a WebSocket of events.
    Events,
    /// `/dashboard`: the page for people. Without a token or a cookie it asks for the token.
    Dashboard,
    /// `/history`: earlier calls, from the ledger.
    History,
    /// `/metrics`: figures for Prometheus.
    Metrics,
}

impl Page {
    /// The page at this path.
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "/events" => Some(Self::Events),
            "/dashboard" => Some(Self::Dashboard),
            "/history" => Some(Self::History),
            "/metrics" => Some(Self::Metrics),
            _ => None,
        }
    }
}

/// A request for a page. Host and Origin are checked.
pub(crate) struct Visit<'v, 'b> {
    /// Its head.
    pub(crate) request: &'v Inbound<'v>,
    /// Whether it came with the client token.
    pub(crate) has_token: bool,
    /// Its body: a form, if anything.
    pub(crate) body: &'v mut Body<'b>,
}

/// Who makes the pages.
pub(crate) trait Pages: Send + Sync {
    /// Whether the request comes from a browser that was let in before. Says nothing about Host and Origin.
    fn admits(&self, request: &Inbound<'_>) -> bool;

    /// Answers. `/events` is handed over by [`Responder::upgrade`].
    fn serve(&self, page: Page, visit: Visit<'_, '_>, reply: Responder<'_>);
}
