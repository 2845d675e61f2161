//! The checks, as plain functions over plain state: [`access`] before a body is read, [`admit`] before a call is sent, [`settle`] after.
//! This is the one place where they run, in this order; each later check gets its line here.

mod access;

pub use access::{AccessRules, access};

use crate::call::{Call, End, Hold, Outcome, Reason, Refusal, Verdict};
use crate::clock::UnixMs;

/// What the checks remember between calls. One short lock guards it; nothing is done under that lock but these functions.
#[derive(Debug, Default)]
pub struct State {
    serial: u64,
    in_flight: u64,
    closing: bool,
    totals: Totals,
}

/// Counts since the router started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Calls that were sent to an upstream or refused.
    pub requests: u64,
    /// Calls sent that ended without a 2xx or 3xx, or broke off.
    pub failed: u64,
    /// Calls answered by us.
    pub refused: u64,
    /// Calls under way.
    pub in_flight: u64,
}

impl State {
    /// Refuses every call from now on: the router is stopping.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// The counts so far.
    pub fn totals(&self) -> Totals {
        Totals { in_flight: self.in_flight, ..self.totals }
    }
}

/// Decides about a routed call. The checks, in order: the router is not stopping.
pub fn admit(state: &mut State, _call: &Call<'_>, _now: UnixMs) -> Verdict {
    if state.closing {
        return Verdict::Refuse(Refusal::new(Reason::Overloaded("router_stopping"), "the router is stopping and takes no new requests"));
    }
    state.serial += 1;
    state.in_flight += 1;
    Verdict::Forward(Hold { serial: state.serial })
}

/// Gives back what an admitted call held and counts how it ended. Returns the call's serial number.
pub fn settle(state: &mut State, hold: Hold, outcome: &Outcome) -> u64 {
    state.in_flight -= 1;
    state.totals.requests += 1;
    if outcome.end == End::Refused {
        state.totals.refused += 1;
    } else if !outcome.succeeded() {
        state.totals.failed += 1;
    }
    hold.serial
}

/// Counts a request that was refused before there was a call to admit.
pub fn count_refusal(state: &mut State) {
    state.totals.requests += 1;
    state.totals.refused += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Endpoint, Protocol, UpstreamId};
    use std::time::Duration;

    fn call() -> Call<'static> {
        Call {
            protocol: Protocol::OpenAi,
            upstream: UpstreamId(0),
            method: "POST",
            path: "/v1/chat/completions",
            query: None,
            endpoint: Endpoint::ChatCompletions,
            model: None,
            stream: false,
        }
    }

    fn outcome(status: u16, end: End) -> Outcome {
        Outcome::failed(status, end, Duration::ZERO)
    }

    #[test]
    fn every_way_out_is_counted_once() {
        let mut state = State::default();
        for (status, end) in [
            (200, End::Complete),
            (404, End::Complete),
            (200, End::UpstreamCut),
            (503, End::Refused),
            (502, End::UpstreamFailed),
            (0, End::Abandoned),
        ] {
            let Verdict::Forward(hold) = admit(&mut state, &call(), UnixMs(0)) else { panic!("refused") };
            assert_eq!(state.totals().in_flight, 1);
            settle(&mut state, hold, &outcome(status, end));
        }
        count_refusal(&mut state);
        assert_eq!(state.totals(), Totals { requests: 7, failed: 4, refused: 2, in_flight: 0 });
    }

    #[test]
    fn a_closing_router_admits_nothing() {
        let mut state = State::default();
        state.close();
        assert!(matches!(admit(&mut state, &call(), UnixMs(0)), Verdict::Refuse(_)));
        assert_eq!(state.totals().in_flight, 0);
    }
}
