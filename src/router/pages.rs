//! The pages that show what happens: who may see them, and what they are.

use crate::call::Inbound;
use crate::http::Responder;
use crate::live::{Live, dashboard};
use crate::proxy::pages::{Page, Pages, Visit};
use std::sync::Arc;

/// Makes the pages.
pub(super) struct LivePages {
    live: Arc<Live>,
}

impl LivePages {
    pub(super) fn new(live: Arc<Live>) -> Self {
        Self { live }
    }

    /// The dashboard's address with a token that works once.
    pub(super) fn one_time_address(&self) -> String {
        String::new()
    }
}

impl Pages for LivePages {
    fn admits(&self, request: &Inbound<'_>) -> bool {
        let _ = request;
        false
    }

    fn serve(&self, page: Page, visit: Visit<'_, '_>, reply: Responder<'_>) {
        let _ = (page, visit.has_token, visit.request, visit.body, dashboard::page(), self.live.metrics().to_text());
        let _ = reply.send(404, [], b"");
    }
}
