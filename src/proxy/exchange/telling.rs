//! What is told of an exchange, and to whom: the id by which client, log and row know it, the event of its end, and the details for those
//! who look.

use super::{Proxy, Routed, send_rendered};
use crate::call::{End, Inbound, Outcome, Refusal};
use crate::config::Key;
use crate::event::Event;
use crate::http::Responder;
use crate::policy;
use crate::proxy::details::{Notes, Secrets};
use crate::proxy::keys::{Assigned, KeyCache};
use crate::row::{Bill, Row};
use crate::wire::{headers, refusal, route};
use std::sync::Arc;
use std::time::Instant;

impl Proxy {
    /// Answers a request that never became a call. There is no row of it: the log has its id.
    pub(super) fn refuse(&self, request: &Inbound<'_>, refused: &Refusal, reply: Responder<'_>) {
        self.purse.with(policy::count_refusal);
        let protocol = route::error_protocol(request);
        let rendered = refusal::render(refused, protocol);
        let (id, code) = (self.ids.next(), refused.reason.code());
        let (method, path) = (request.method, request.target.split('?').next().unwrap_or_default());
        log::info!(
            method, path, status = rendered.status, code, request_id = &*id;
            "refused {method} {path} status={} code={code} request_id={id}", rendered.status
        );
        send_rendered(reply, &rendered, (headers::request_id_names(protocol).0, &id));
    }

    /// Answers a call that was refused before it was sent; it is kept like any other.
    pub(super) fn refuse_call(
        &self,
        routed: &Routed<'_>,
        notes: Option<Box<Notes>>,
        refused: &Refusal,
        started: Instant,
        reply: Responder<'_>,
    ) {
        let rendered = refusal::render(refused, routed.call.protocol);
        let serial = self.purse.with(policy::next_serial);
        let (name, id) = (headers::request_id_names(routed.call.protocol).0, self.own_id(serial));
        let outcome = Outcome::failed(rendered.status, End::Refused, started.elapsed());
        let row = Row::new(self.info(routed, serial), outcome, Bill::nothing(), Some(refused.reason.code()));
        let row = Arc::new(Row { request_id: Some(id.clone()), ..row });
        let notes = notes.map(|mut notes| {
            notes.answer(&rendered, (name, &id), &self.secrets(routed.assigned()));
            notes.fail(&refused.message);
            notes
        });
        self.keep(&row, false);
        self.purse.with(|state| policy::refuse(state, &row));
        self.tell_closed(row, notes, routed);
        send_rendered(reply, &rendered, (name, &id));
    }

    /// The id of a call that no provider gave one.
    pub(in super::super) fn own_id(&self, serial: u64) -> Arc<str> {
        self.ids.of_call(serial)
    }

    /// The request, for those who look, as it came.
    pub(super) fn notes(&self, request: &Inbound<'_>, body: Option<&[u8]>, assigned: Option<&Assigned>) -> Option<Box<Notes>> {
        let noted = || Box::new(Notes::of(&request.headers, body, self.config.capture, &self.secrets(assigned)));
        self.audience.wants_details().then(noted)
    }

    /// Every key and token there is.
    pub(in super::super) fn secrets(&self, assigned: Option<&Assigned>) -> Secrets {
        let given = self.config.upstreams.iter().filter_map(|upstream| match &upstream.key {
            Key::Given(key) => Some(key),
            Key::None | Key::Control => None,
        });
        let tokens = self.rules.agents.iter().chain([&self.rules.token]).chain(self.config.control.iter().map(|control| &control.ic_token));
        let newest = self.keys.as_ref().and_then(KeyCache::peek);
        let fetched = newest.iter().map(|assigned| assigned.key.clone()).chain(assigned.map(|assigned| assigned.key.clone()));
        Secrets::new(given.chain(tokens).cloned().chain(fetched))
    }

    /// Tells how a call ended, with its details where somebody looks. Those are no part of the row that is kept.
    pub(in super::super) fn tell_closed(&self, row: Arc<Row>, notes: Option<Box<Notes>>, routed: &Routed<'_>) {
        let Some(notes) = notes else { return self.tell(Event::closing(row)) };
        let details = Arc::new(notes.done(&self.secrets(routed.assigned())));
        self.contents.keep(&details);
        self.tell(Event::closing(Arc::new(Row { details: Some(details), ..Row::clone(&row) })));
    }

    /// Tells what happened: the log, and whoever else listens.
    pub(in super::super) fn tell(&self, event: Event) {
        crate::proxy::tell::log(&event);
        self.audience.tell(event);
    }
}

impl Routed<'_> {
    /// The key that the control server gave for the call, if it did.
    pub(in super::super) fn assigned(&self) -> Option<&Assigned> {
        self.assigned.as_deref()
    }
}

#[cfg(test)]
mod tests;
