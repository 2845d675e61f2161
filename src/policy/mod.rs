//! The checks, as plain functions over plain state: [`access`] before a body is read, [`quote`] and [`admit`] before a call is sent,
//! [`bill`] and [`settle`] after. This is the one place where they run, in this order; each later check gets its line here.

mod access;
mod bill;
mod budget;
mod price;
mod quote;
mod stats;

pub use access::{AccessRules, access};
pub use bill::{Ended, bill};
pub use price::{Found, Prices};
pub use quote::{Quote, quote};
pub use stats::{Stats, tally_json};

use crate::call::{AgentId, Hold, Reason, Refusal, Ticket, Verdict};
use crate::clock::UnixMs;
use crate::config::{Agent, Spending};
use crate::event::Crossing;
use crate::money::NanoUsd;
use crate::row::Row;
use crate::tally::Tally;
use budget::{Answer, Budget};

/// What the checks remember between calls. One short lock guards it; nothing is done under that lock but these functions.
///
/// Calls may wait in it ([`Verdict::Wait`]). Whoever holds the lock wakes all who wait, if [`State::waiting`] is not 0, after each of:
/// [`settle`], an [`admit`] with a ticket that does not wait on, [`give_up`], [`leave`], [`set_budget`], [`set_agent_budget`], the `lease_…`
/// functions, [`State::close`].
#[derive(Clone, Debug)]
pub struct State {
    serial: u64,
    in_flight: u64,
    closing: bool,
    /// What calls have cost since the router started, in whatever window.
    spent: NanoUsd,
    unpriced: u64,
    tally: Tally,
    budget: Budget,
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

/// The figures of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountStatus {
    /// Spent in the window.
    pub spent: NanoUsd,
    /// Held by calls under way.
    pub held: NanoUsd,
    /// The limit; `None`: unlimited.
    pub limit: Option<NanoUsd>,
}

/// The figures of the control server's lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaseStatus {
    /// What the server granted.
    pub granted: NanoUsd,
    /// What calls settled since it began have cost.
    pub spent: NanoUsd,
    /// Held by calls under way.
    pub held: NanoUsd,
}

impl State {
    /// The state of a router that starts now. `spent` is what earlier rows of the ledger count against the window: the router's, then one an
    /// agent; under [`Window::Run`](crate::config::Window::Run) nothing earlier counts, whatever is given.
    pub fn new(spending: &Spending, agents: &[Agent], spent: (NanoUsd, Vec<NanoUsd>), now: UnixMs) -> Self {
        Self {
            serial: 0,
            in_flight: 0,
            closing: false,
            spent: NanoUsd::ZERO,
            unpriced: 0,
            tally: Tally::default(),
            budget: Budget::new(spending, agents, spent, now),
        }
    }

    /// Refuses every call from now on: the router is stopping.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// The counts so far.
    pub fn totals(&self) -> Totals {
        let all = &self.tally.all;
        Totals { requests: all.requests, failed: all.failed, refused: all.refused, in_flight: self.in_flight }
    }

    /// The sums over all settled and refused calls.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How many calls wait for others' holds.
    pub fn waiting(&self) -> usize {
        self.budget.waiting()
    }

    /// What calls have cost since the router started, whatever the window.
    pub fn spent(&self) -> NanoUsd {
        self.spent
    }

    /// How many settled calls had no known price: they are missing in every amount.
    pub fn unpriced(&self) -> u64 {
        self.unpriced
    }

    /// What calls under way hold.
    pub fn held(&self) -> NanoUsd {
        self.status().held
    }

    /// The limit of the router's own budget; `None`: unlimited.
    pub fn budget(&self) -> Option<NanoUsd> {
        self.status().limit
    }

    /// Spent in the window, and the limit; `None`: unlimited.
    pub fn budget_status(&self) -> Option<(NanoUsd, NanoUsd)> {
        let status = self.status();
        status.limit.map(|limit| (status.spent, limit))
    }

    /// The figures of the router's own account.
    pub fn status(&self) -> AccountStatus {
        self.budget.status(None).unwrap_or_default()
    }

    /// The figures of an agent's account; `None`: there is no such agent.
    pub fn agent_status(&self, agent: AgentId) -> Option<AccountStatus> {
        self.budget.status(Some(agent))
    }
}

impl Default for State {
    /// Without a budget.
    fn default() -> Self {
        Self::new(&Spending::default(), &[], (NanoUsd::ZERO, Vec::new()), UnixMs(0))
    }
}

/// Decides about a routed call. The checks, in order: the router is not stopping, the budget has room.
///
/// A call that waits asks again with its ticket, or gives the ticket to [`give_up`] or [`leave`].
pub fn admit(state: &mut State, ask: &Ask<'_>, ticket: Option<Ticket>, now: UnixMs) -> Verdict {
    if state.closing {
        ticket.into_iter().for_each(|ticket| leave(state, ticket));
        return Verdict::Refuse(Refusal::new(Reason::Overloaded("router_stopping"), "the router is stopping and takes no new requests"));
    }
    state.budget.advance(now);
    match state.budget.reserve(ask, ticket) {
        Answer::Yes { amount, clamp } => {
            state.serial += 1;
            state.in_flight += 1;
            Verdict::Forward(Hold { serial: state.serial, amount, agent: ask.agent, leased: ask.leased, clamp })
        }
        Answer::Wait(ticket) => Verdict::Wait(ticket),
        Answer::No(refusal) => Verdict::Refuse(refusal),
    }
}

/// Takes a call that has waited for as long as it may out of the line: 402
/// [`InsufficientBudget`](crate::call::Reason::InsufficientBudget); [`BudgetExceeded`](crate::call::Reason::BudgetExceeded) where it
/// waited for another lease, because this one could not pay it whatever the others do.
pub fn give_up(state: &mut State, ask: &Ask<'_>, ticket: Ticket) -> Refusal {
    state.budget.give_up(ask, ticket)
}

/// Takes a call whose client has gone out of the line.
pub fn leave(state: &mut State, ticket: Ticket) {
    state.budget.leave(ticket);
}

/// Gives back what an admitted call held, books what it cost, and counts how it ended. Returns the thresholds that its cost has reached.
///
/// A cost above what was held is booked in full; one that is not known counts as nothing, and is counted in [`State::unpriced`].
pub fn settle(state: &mut State, hold: Hold, row: &Row, now: UnixMs) -> Vec<Crossing> {
    state.budget.advance(now);
    let cost = row.bill.cost.unwrap_or_default();
    state.in_flight = state.in_flight.saturating_sub(1);
    state.spent = state.spent.plus(cost);
    state.unpriced += u64::from(row.bill.cost.is_none());
    state.tally.add(row);
    state.budget.settle(&hold, cost)
}

/// The serial number of a call that is refused: it is counted like any other.
pub fn next_serial(state: &mut State) -> u64 {
    state.serial += 1;
    state.serial
}

/// Counts a call that was routed and then refused.
pub fn refuse(state: &mut State, row: &Row) {
    state.tally.add(row);
}

/// Counts a request that was refused before there was a call to admit.
pub fn count_refusal(state: &mut State) {
    state.tally.all.requests += 1;
    state.tally.all.refused += 1;
}

/// Sets the router's own limit, at any time; `None`: unlimited. Below what is spent, nothing more is admitted. Returns the thresholds that
/// are reached now and were not before.
pub fn set_budget(state: &mut State, limit: Option<NanoUsd>) -> Vec<Crossing> {
    state.budget.set_limit(None, limit)
}

/// The same for an agent's limit.
pub fn set_agent_budget(state: &mut State, agent: AgentId, limit: Option<NanoUsd>) -> Vec<Crossing> {
    state.budget.set_limit(Some(agent), limit)
}

/// Goes on to the window that holds `now`, for figures that are asked for when no call has come since midnight.
pub fn advance(state: &mut State, now: UnixMs) {
    state.budget.advance(now);
}

/// The control server has granted a lease.
pub fn lease_begin(state: &mut State, granted: NanoUsd) {
    state.budget.lease(granted);
}

/// A new lease has replaced the old one: its spending starts at nothing, what calls under way hold counts against it.
pub fn lease_renew(state: &mut State, granted: NanoUsd) {
    state.budget.lease(granted);
}

/// The lease is over: calls that it would pay for are refused until another begins.
pub fn lease_end(state: &mut State) {
    state.budget.end_lease();
}

/// The figures of the lease; `None`: there is none.
pub fn lease_status(state: &State) -> Option<LeaseStatus> {
    state.budget.lease_status()
}

/// Whether it is time to ask for another lease: at most 20 % of this one is free, or a call waits for more than is left of it.
pub fn lease_is_low(state: &State) -> bool {
    state.budget.lease_is_low()
}

/// Whether the lease is what a call that was refused is short of: of all that pay for it, it has the least to give.
pub fn is_short_of_lease(state: &State, ask: &Ask<'_>) -> bool {
    state.budget.is_short_of_lease(ask)
}

/// The most that one of the calls needs which wait for the lease.
pub fn wanted_of_lease(state: &State) -> NanoUsd {
    state.budget.wanted_of_lease()
}

/// Says whether the control server has denied another lease. Until then, calls that do not fit into what is left of this one wait.
pub fn lease_exhausted(state: &mut State, exhausted: bool) {
    state.budget.set_exhausted(exhausted);
}
