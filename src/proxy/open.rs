//! A call that was admitted and has not been settled. It is settled once, on every way out: by the relay just before the client sees the
//! end, by the exchange when there was no reply, or when it is dropped.

use super::exchange::{Proxy, Routed};
use super::purse::Purse;
use crate::call::{End, Hold, Outcome, Refusal, Stages};
use crate::event::{Crossing, Event};
use crate::money::{Price, Reported, Terms};
use crate::policy::{self, Ended};
use crate::row::{Bill, Details, RequestInfo, Row};
use crate::wire::refusal;
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
    /// The `x-request-id` that the client sees.
    pub(super) request_id: Option<Arc<str>>,
    /// What only a call's details show.
    pub(super) details: Option<Details>,
    /// How far it came; where it is dropped unsettled, this is what it is settled by.
    pub(super) progress: Progress,
    started: Instant,
}

impl<'p> Open<'p> {
    /// The call begins.
    pub(super) fn new(proxy: &'p Proxy, hold: Hold, routed: &'p Routed<'p>, money: &'p Money, started: Instant) -> Self {
        let info = Arc::new(proxy.info(routed, hold.serial));
        proxy.tell(Event::RequestStarted(info.clone()));
        let clamp = hold.clamp();
        Self {
            proxy,
            routed,
            money,
            hold: Some((hold, info)),
            told: None,
            clamp,
            request_id: None,
            details: None,
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

    /// Settles a call that we answer ourselves, because there is no reply to pass on.
    pub(super) fn settle_answered(&mut self, status: u16, code: &'static str) {
        self.close(status, End::UpstreamFailed, &Reported::default(), Some(code));
    }

    /// Settles a call whose reply came, wholly or in part, and could not be passed on; it is answered with an error of ours.
    pub(super) fn settle_unpassed(&mut self, refused: &Refusal, reported: &Reported) {
        self.close(refusal::status(refused.reason), End::UpstreamCut, reported, Some(refused.reason.code()));
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
        // What is settled is whole, or will never be.
        stages.received = stages.head.map(|_| total);
        let outcome = Outcome { status, end, reply_bytes: passed, first_byte, total, stages };
        let bill = self.bill(end, reported);
        let (request_id, details) = (self.request_id.take(), self.details.take().map(Arc::new));
        let row = Arc::new(Row { request_id, details, ..Row::new(info, outcome, bill, code) });
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
            self.proxy.tell(Event::closing(row));
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
