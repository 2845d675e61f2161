//! A call that was admitted and has not been settled. It is settled once, on every way out: by the relay just before the client sees the
//! end, by the exchange when there was no reply, or when it is dropped.

use super::details::Notes;
use super::exchange::{Proxy, Routed};
use super::purse::Purse;
use super::upstream::UpstreamReply;
use crate::call::{End, Hold, Outcome, Refusal, Stages};
use crate::event::{Crossing, Event};
use crate::money::{Price, Reported, Terms};
use crate::policy::{self, Ended};
use crate::row::{Bill, RequestInfo, Row};
use crate::wire::headers;
use crate::wire::refusal::{self, Rendered};
use crate::wire::terms::{self, Metering};
use crate::wire::translate::Kept;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a call is settled by.
pub(super) struct Money {
    /// Whether its reply tells what it cost.
    pub(super) metering: Metering,
    /// The price of its model.
    pub(super) price: Option<Arc<Price>>,
    /// Whether the control server's lease pays.
    pub(super) leased: bool,
}

/// How far the exchange has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Whether the request had left for the upstream.
    pub(super) sent: bool,
    /// The status of the upstream's reply; 0: none came.
    pub(super) status: u16,
    /// Whether it is a stream of events that can be read.
    pub(super) streamed: bool,
    /// Bytes of the reply's body that came.
    pub(super) received: u64,
    /// Bytes of it that went to the client.
    pub(super) passed: u64,
    /// From the request's last byte read to the reply's first byte written.
    pub(super) first_byte: Option<Duration>,
    /// When the stages before that were reached.
    pub(super) stages: Stages,
}

/// An admitted call.
pub(super) struct Open<'p> {
    proxy: &'p Proxy,
    routed: &'p Routed<'p>,
    money: &'p Money,
    hold: Option<(Hold, Arc<RequestInfo>)>,
    /// What happened, to be told when the client has its reply.
    told: Option<Arc<Row>>,
    clamp: Option<u64>,
    serial: u64,
    /// The id that the client sees; `None`: not known yet.
    request_id: Option<Arc<str>>,
    /// What is noted for those who look.
    pub(super) notes: Option<Box<Notes>>,
    /// How far it came; where it is dropped unsettled, this is what it is settled by.
    pub(super) progress: Progress,
    started: Instant,
}

impl<'p> Open<'p> {
    /// The call begins.
    pub(super) fn new(proxy: &'p Proxy, hold: Hold, routed: &'p Routed<'p>, money: &'p Money, started: Instant) -> Self {
        let (serial, clamp) = (hold.serial, hold.clamp());
        let info = Arc::new(proxy.info(routed, serial));
        proxy.tell(Event::RequestStarted(info.clone()));
        Self {
            proxy,
            routed,
            money,
            hold: Some((hold, info)),
            told: None,
            clamp,
            serial,
            request_id: None,
            notes: None,
            progress: Progress::default(),
            started,
        }
    }

    /// Whether the reply's bytes tell what the call costs.
    pub(super) fn is_metered(&self) -> bool {
        self.money.metering == Metering::Read
    }

    /// Whether it is over.
    pub(super) fn is_settled(&self) -> bool {
        self.hold.is_none()
    }

    /// Settles the call with what the provider reported; later calls do nothing. When this returns, the row is in the ledger.
    pub(super) fn settle(&mut self, end: End, reported: &Reported) {
        self.close(self.progress.status, end, reported, None);
    }

    /// Settles a call that we answer ourselves, because there is no reply to pass on, and gives what is answered. Where a reply came and
    /// could not be passed on, the call is settled already.
    pub(super) fn settle_refused(&mut self, refused: &Refusal) -> Rendered {
        let rendered = refusal::render(refused, self.routed.call.protocol);
        self.fail_as(rendered.status, End::UpstreamFailed, &Reported::default(), refused);
        self.note_own(&rendered);
        self.fail(&refused.message);
        rendered
    }

    /// Settles a call whose reply came, wholly or in part, and could not be passed on; it is answered with an error of ours.
    pub(super) fn settle_unpassed(&mut self, refused: &Refusal, reported: &Reported) {
        self.fail_as(refusal::status(refused.reason), End::UpstreamCut, reported, refused);
    }

    /// A failure of ours goes by an id of ours.
    fn fail_as(&mut self, status: u16, end: End, reported: &Reported, refused: &Refusal) {
        if !self.is_settled() {
            self.request_id = None;
            self.close(status, end, reported, Some(refused.reason.code()));
        }
    }

    /// The time since the request had been read.
    pub(super) fn elapsed(&self) -> Option<Duration> {
        Some(self.started.elapsed())
    }

    /// The request leaves for the upstream now.
    pub(super) fn leaves(&mut self) {
        self.progress.stages.sent = self.elapsed();
    }

    /// The head of the upstream's reply has come.
    pub(super) fn answered(&mut self, reply: &UpstreamReply) {
        let stages = Stages { head: self.elapsed(), ..self.progress.stages };
        self.progress = Progress { sent: true, status: reply.status, stages, ..Progress::default() };
        let (own, other) = headers::request_id_names(self.routed.call.protocol);
        self.request_id = [own, other].into_iter().find_map(|name| id_in(reply.headers.get(name)?.as_bytes()));
    }

    /// There will be no reply; `sent`: the request had left all the same.
    pub(super) fn unanswered(&mut self, sent: bool) {
        self.progress.sent = sent;
        self.progress.stages.sent = self.progress.stages.sent.filter(|_| sent);
    }

    /// The id that the client knows the call by.
    pub(super) fn id(&mut self) -> Arc<str> {
        let (proxy, serial) = (self.proxy, self.serial);
        self.request_id.get_or_insert_with(|| proxy.own_id(serial)).clone()
    }

    /// An id of ours, for the client of a provider that gave none.
    pub(super) fn id_to_add(&mut self) -> Option<Arc<str>> {
        if self.request_id.is_some() { None } else { Some(self.id()) }
    }

    /// The field that tells the client.
    pub(super) fn id_field(&self) -> (&'static str, &str) {
        (headers::request_id_names(self.routed.call.protocol).0, self.request_id.as_deref().unwrap_or_default())
    }

    /// The head of the reply, as the client gets it.
    pub(super) fn note_head<'f>(&mut self, status: u16, readable: bool, fields: impl Iterator<Item = (&'f str, &'f [u8])>) {
        if let Some(notes) = &mut self.notes {
            notes.head(status, fields, readable, &self.proxy.secrets(self.routed.assigned()));
        }
    }

    /// The reply is one of ours.
    pub(super) fn note_own(&mut self, rendered: &Rendered) {
        let id = self.id();
        if let Some(notes) = &mut self.notes {
            let name = headers::request_id_names(self.routed.call.protocol).0;
            notes.answer(rendered, (name, &id), &self.proxy.secrets(self.routed.assigned()));
        }
    }

    /// Bytes of the reply's body, as the client gets them.
    pub(super) fn note_body(&mut self, bytes: &[u8]) {
        if let Some(notes) = &mut self.notes {
            notes.feed(bytes);
        }
    }

    /// A translated stream ended with an error, told by the last of these events.
    pub(super) fn fail_by(&mut self, events: &[u8]) {
        if let Some(notes) = &mut self.notes {
            notes.fail_by(events);
        }
    }

    /// Why the call failed.
    pub(super) fn fail(&mut self, why: &str) {
        if let Some(notes) = &mut self.notes {
            notes.fail(why);
        }
    }

    /// Keeps thinking of the reply for the client's next turn.
    pub(super) fn keep_thoughts(&self, kept: Vec<Kept>) {
        self.proxy.keep_thoughts(self.routed.agent(), kept);
    }

    fn close(&mut self, status: u16, end: End, reported: &Reported, code: Option<&'static str>) {
        let Some((hold, info)) = self.hold.take() else { return };
        let Progress { passed, first_byte, mut stages, .. } = self.progress;
        let total = self.started.elapsed();
        // What is written now for the first time leaves at once.
        let first_byte = first_byte.or((passed > 0).then_some(total));
        // What is settled as complete is whole.
        stages.received = stages.head.filter(|_| end == End::Complete).map(|_| total);
        let outcome = Outcome { status, end, reply_bytes: passed, first_byte, total, stages };
        let bill = self.bill(end, reported);
        let row = Arc::new(Row { request_id: Some(self.id()), ..Row::new(info, outcome, bill, code) });
        let settling = Settling::new(self.proxy.purse(), hold, &row);
        self.proxy.keep(&row, self.money.leased);
        self.proxy.tell_crossings(settling.done());
        self.told = Some(row);
    }

    fn bill(&self, end: End, reported: &Reported) -> Bill {
        let Progress { sent, status, streamed, received, .. } = self.progress;
        match &self.money.metering {
            Metering::Free => Bill::nothing(),
            Metering::Unbounded(_) if !sent || status != 0 && !(200..300).contains(&status) => Bill::nothing(),
            Metering::Unbounded(_) => Bill::default(),
            Metering::Read => {
                let ended = Ended { sent, status, streamed, reply_bytes: received, end, clamp: self.clamp };
                policy::bill(self.money.price.as_ref(), reported, || self.terms(), &ended)
            }
        }
    }

    /// The terms of the request, read again where nobody needed them before. What was admitted can be read. What our own edits have put in
    /// is no input: counted, an estimate would be more than what was held before they were made.
    fn terms(&self) -> Terms {
        let body = self.routed.body_bytes().unwrap_or_default();
        let mut terms = terms::read(self.routed.call.endpoint, body).map(|reading| reading.terms).unwrap_or_default();
        terms.input_tokens = terms.input_tokens.saturating_sub(self.routed.added_bytes());
        terms
    }
}

/// Characters of an id that are kept.
const MAX_ID: usize = 128;

/// A provider's id, bounded; `None`: there is none in the field.
fn id_in(value: &[u8]) -> Option<Arc<str>> {
    let value = value.trim_ascii();
    let text = String::from_utf8_lossy(&value[..value.len().min(MAX_ID)]);
    (!text.is_empty()).then(|| Arc::from(&*text))
}

/// A hold that is about to be settled: also if what comes before panics.
struct Settling<'s> {
    purse: &'s Purse,
    hold: Option<Hold>,
    row: &'s Row,
}

impl<'s> Settling<'s> {
    fn new(purse: &'s Purse, hold: Hold, row: &'s Row) -> Self {
        Self { purse, hold: Some(hold), row }
    }

    /// Settles it now.
    fn done(mut self) -> Vec<Crossing> {
        self.settle()
    }

    fn settle(&mut self) -> Vec<Crossing> {
        self.hold.take().map(|hold| self.purse.settle(hold, self.row)).unwrap_or_default()
    }
}

impl Drop for Settling<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.close(self.progress.status, End::Abandoned, &Reported::default(), None);
        if let Some(row) = self.told.take() {
            self.proxy.tell_closed(row, self.notes.take(), self.routed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::config::Spending;
    use crate::money::NanoUsd;
    use crate::policy::{Ask, Quote, State};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_hold_is_released_although_the_row_could_not_be_kept() {
        let spending = Spending { budget: Some(NanoUsd(100)), ..Spending::default() };
        let purse = Purse::new(State::new(&spending, &[], (NanoUsd::ZERO, Vec::new()), UnixMs(0)), Duration::ZERO);
        let quote = Quote { input_pico_usd: 40_000, ..Quote::default() };
        let ask = Ask { agent: None, quote: Some(&quote), leased: false };
        let verdict = purse.with(|state| policy::admit(state, &ask, None, UnixMs(0)));
        let crate::call::Verdict::Forward(hold) = verdict else { panic!("it fits") };
        let info = RequestInfo {
            serial: 1,
            at: UnixMs(0),
            agent: None,
            upstream: "openai".into(),
            method: "POST".into(),
            path: "/v1/chat/completions".into(),
            model: None,
            stream: false,
            request_bytes: None,
            translated: false,
        };
        let outcome = Outcome::failed(200, End::Complete, Duration::ZERO);
        let row = Row::new(info, outcome, Bill { cost: Some(NanoUsd(30)), ..Bill::default() }, None);
        assert_eq!(purse.with(|state| (state.held(), state.spent())), (NanoUsd(40), NanoUsd::ZERO));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _settling = Settling::new(&purse, hold, &row);
            panic!("the ledger");
        }));
        assert!(panicked.is_err());
        assert_eq!(purse.with(|state| (state.held(), state.spent(), state.totals().in_flight)), (NanoUsd::ZERO, NanoUsd(30), 0));
    }
}
