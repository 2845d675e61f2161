//! The checks, as plain functions over plain state: [`access`] before a body is read, [`admit`] before a call is sent, [`settle`] after.
//! This is the one place where they run, in this order; each later check gets its line here.

mod access;
mod price;
mod quote;

pub use access::{AccessRules, access};
pub use price::{Found, Prices};
pub use quote::{Ended, Quote, bill, quote};

use crate::call::{AgentId, Hold, Reason, Refusal, Ticket, Verdict};
use crate::clock::UnixMs;
use crate::config::{Agent, Spending};
use crate::event::Crossing;
use crate::money::NanoUsd;
use crate::row::Row;

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
    /// Calls sent that ended without a 2xx, or broke off.
    pub failed: u64,
    /// Calls answered by us.
    pub refused: u64,
    /// Calls under way.
    pub in_flight: u64,
}

/// A call as the budget sees it.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose token it came with.
    pub agent: Option<AgentId>,
    /// Its worst case; `None`: it costs nothing, or the settings let it through unmetered.
    pub quote: Option<&'a Quote>,
    /// Whether the key is the control server's, so that its lease pays.
    pub leased: bool,
}

impl State {
    /// The state of a router that starts now. `spent` is what earlier rows of the ledger count against the window: the router's, then one an
    /// agent.
    pub fn new(_spending: &Spending, _agents: &[Agent], _spent: (NanoUsd, Vec<NanoUsd>), _now: UnixMs) -> Self {
        Self::default()
    }

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
pub fn admit(state: &mut State, _ask: &Ask<'_>, _ticket: Option<Ticket>, _now: UnixMs) -> Verdict {
    if state.closing {
        return Verdict::Refuse(Refusal::new(Reason::Overloaded("router_stopping"), "the router is stopping and takes no new requests"));
    }
    state.serial += 1;
    state.in_flight += 1;
    Verdict::Forward(Hold { serial: state.serial, amount: NanoUsd::ZERO, agent: None, leased: false, clamp: None })
}

/// Gives back what an admitted call held, books what it cost, and counts how it ended. Returns the thresholds that its cost has reached.
pub fn settle(state: &mut State, _hold: Hold, row: &Row, _now: UnixMs) -> Vec<Crossing> {
    state.in_flight -= 1;
    state.totals.requests += 1;
    if row.is_failed() {
        state.totals.failed += 1;
    }
    Vec::new()
}

/// Counts a request that was refused before there was a call to admit.
pub fn count_refusal(state: &mut State) {
    state.totals.requests += 1;
    state.totals.refused += 1;
}
