//! The budget as a small state machine: accounts on which calls hold their worst case before they are sent, and a line of those that wait.
//!
//! # The invariant
//! On every account with a limit, `spent + held <= limit` after each step, as long as
//! 1. the limit is not lowered, nor a lease replaced, below what is spent and held already, and
//! 2. no call costs more than it holds.
//!
//! A call is admitted only where its hold is at most what is free (`limit - spent - held`) on *all* accounts that pay for it, and then holds
//! on all of them in the same step; when it is settled, the hold is replaced by a cost that is not more. Holds follow from
//! [`quote`](super::quote), whose bound is proved there. A cost above its hold — the provider billed more than its own documents allow —
//! is booked in full all the same: what was spent is never hidden, and nothing more is admitted until there is room again.
//!
//! # The line
//! Who does not fit only because of others' holds waits in one line. Somebody before me in the line goes first on the accounts that we share
//! and that stand in their way ([`Budget::is_behind`]); agents whose own account is exhausted do not block others. No new hold is laid on
//! an account in the way of the first who waits there, so what is free on it only grows until they fit: nobody starves.

mod account;
mod line;
mod share;
mod words;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use super::{AccountStatus, Ask, LeaseStatus};
use crate::call::{AgentId, Hold, Refusal, Ticket};
use crate::clock::UnixMs;
use crate::config::{Agent, OnBudget, Spending, Window};
use crate::event::Crossing;
use crate::money::NanoUsd;
use account::{Account, Owner, Period};
use line::{Line, Waiting};
use share::Share;
use std::time::Duration;

/// Whose accounts pay for a call, beside the router's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payers {
    agent: Option<AgentId>,
    leased: bool,
}

impl Payers {
    pub(super) fn of(ask: &Ask<'_>) -> Self {
        Self { agent: ask.agent, leased: ask.leased }
    }
}

/// The answer to a call.
pub(super) enum Answer {
    /// It is admitted and holds this much on each of its accounts.
    Yes { amount: NanoUsd, clamp: Option<u64> },
    /// It has a place in the line.
    Wait(Ticket),
    /// It is refused.
    No(Refusal),
}

/// What has been decided, before anything is changed.
enum Decision {
    Take(Share),
    Wait { least: NanoUsd },
    Refuse(Refusal),
}

/// All accounts, and the line before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    on_budget: OnBudget,
    wait: Duration,
    /// Ascending, each once.
    thresholds: Vec<u8>,
    period: Period,
    router: Account,
    agents: Vec<Account>,
    lease: Account,
    /// Whether there is a lease. Without one its account only counts what is still held.
    has_lease: bool,
    /// Whether the control server grants no more.
    exhausted: bool,
    line: Line,
}

impl Budget {
    pub(super) fn new(spending: &Spending, agents: &[Agent], spent: (NanoUsd, Vec<NanoUsd>), now: UnixMs) -> Self {
        let mut thresholds = spending.thresholds.clone();
        thresholds.sort_unstable();
        thresholds.dedup();
        let earlier = |spent: NanoUsd| if spending.window == Window::Run { NanoUsd::ZERO } else { spent };
        let open = |owner, limit, spent| {
            let mut account = Account::new(owner, limit, earlier(spent));
            // Those that earlier rows have reached were told when that happened.
            account.crossings(&thresholds);
            account
        };
        let agent = |(index, agent): (usize, &Agent)| {
            let spent = spent.1.get(index).copied().unwrap_or_default();
            open(Owner::Agent(agent.name.as_str().into()), agent.budget, spent)
        };
        Self {
            on_budget: spending.on_budget,
            wait: spending.wait,
            period: Period::holding(spending.window, now),
            router: open(Owner::Router, spending.budget, spent.0),
            agents: agents.iter().enumerate().map(agent).collect(),
            lease: Account::new(Owner::Lease, Some(NanoUsd::ZERO), NanoUsd::ZERO),
            has_lease: false,
            exhausted: false,
            line: Line::default(),
            thresholds,
        }
    }

    /// Goes on to the window that holds `now`: what was spent before it no longer counts.
    pub(super) fn advance(&mut self, now: UnixMs) {
        if self.period.advance(now) {
            self.router.restart();
            self.agents.iter_mut().for_each(Account::restart);
        }
    }

    /// Reserves a call's worst case on all of its accounts, or on none.
    pub(super) fn reserve(&mut self, ask: &Ask<'_>, ticket: Option<Ticket>) -> Answer {
        match self.decide(ask, ticket.as_ref()) {
            Decision::Take(Share { amount, clamp }) => {
                ticket.into_iter().for_each(|ticket| self.leave(ticket));
                self.each_mut(Payers::of(ask), |account| account.hold(amount));
                Answer::Yes { amount, clamp }
            }
            Decision::Wait { least } => match self.line.stay(ticket, Payers::of(ask), least) {
                Some(ticket) => Answer::Wait(ticket),
                None => Answer::No(words::line_is_full(self.tightest(Payers::of(ask)), &quoted(ask), least)),
            },
            Decision::Refuse(refusal) => {
                ticket.into_iter().for_each(|ticket| self.leave(ticket));
                Answer::No(refusal)
            }
        }
    }

    /// The decision, in order: is it metered at all, could it ever fit, does somebody go first, what fits.
    fn decide(&self, ask: &Ask<'_>, ticket: Option<&Ticket>) -> Decision {
        let Some(quote) = ask.quote else { return Decision::Take(Share::NOTHING) };
        let payers = Payers::of(ask);
        if payers.leased && !self.has_lease {
            return Decision::Refuse(words::no_lease());
        }
        let least = share::least(quote, self.on_budget);
        if let Some(short) = self.never_fits(payers, least) {
            return Decision::Refuse(words::exceeded(short, quote, least));
        }
        let free = self.limited(payers).filter_map(Account::free).min();
        match Share::of(free, quote, self.on_budget) {
            Some(share) if share.amount == NanoUsd::ZERO => Decision::Take(share),
            Some(share) if !self.is_behind(payers, ticket) => Decision::Take(share),
            _ => Decision::Wait { least },
        }
    }

    /// The account that could not pay `least` even if no other call were under way. A lease that may be replaced by another is none;
    /// a limit of 0 allows nothing, not even what costs nothing.
    fn never_fits(&self, payers: Payers, least: NanoUsd) -> Option<&Account> {
        let is_short = |account: &&Account| match account.owner {
            Owner::Lease => self.exhausted && account.left().is_some_and(|left| left < least),
            _ => account.limit == Some(NanoUsd::ZERO) || account.left().is_some_and(|left| left < least),
        };
        self.limited(payers).filter(is_short).min_by_key(|account| account.left())
    }

    /// Whether somebody before the holder of `ticket` (before a newcomer: all who wait) goes first.
    fn is_behind(&self, payers: Payers, ticket: Option<&Ticket>) -> bool {
        self.line.before(ticket).any(|earlier| self.goes_first(earlier, payers))
    }

    /// Whether one who waits goes first on an account that `payers` would use: on those that hold too much for them to fit; on all
    /// of theirs, if they fit and have only not asked again yet. Who waits for more than holds (for another lease, for the refusal that a
    /// lowered limit means for them) stands in nobody's way.
    fn goes_first(&self, earlier: &Waiting, payers: Payers) -> bool {
        let own = || self.limited(earlier.payers);
        if own().any(|account| account.left().is_some_and(|left| left < earlier.least)) {
            return false;
        }
        let fits = !own().any(|account| account.lacks(earlier.least));
        own().any(|account| (fits || account.lacks(earlier.least)) && self.limited(payers).any(|other| std::ptr::eq(account, other)))
    }

    /// The figures for one who has waited too long, and is out of the line now.
    pub(super) fn give_up(&mut self, ask: &Ask<'_>, ticket: Ticket) -> Refusal {
        self.leave(ticket);
        let least = ask.quote.map_or(NanoUsd::ZERO, |quote| share::least(quote, self.on_budget));
        let account = self.tightest(Payers::of(ask));
        if account.owner == Owner::Lease && account.left().is_some_and(|left| left < least) {
            // It waited for another lease, not for others.
            return words::exceeded(account, &quoted(ask), least);
        }
        words::insufficient(account, &quoted(ask), least, self.wait)
    }

    /// Whether it is the lease that has least to give of the accounts that pay for a call.
    pub(super) fn is_short_of_lease(&self, ask: &Ask<'_>) -> bool {
        self.tightest(Payers::of(ask)).owner == Owner::Lease
    }

    /// The most that one of those in the line needs whom the lease would pay for.
    pub(super) fn wanted_of_lease(&self) -> NanoUsd {
        self.line.iter().filter(|waiting| waiting.payers.leased).map(|waiting| waiting.least).max().unwrap_or_default()
    }

    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.line.leave(ticket);
    }

    pub(super) fn waiting(&self) -> usize {
        self.line.len()
    }

    /// Replaces a hold by what the call cost. Returns the thresholds that are reached now.
    pub(super) fn settle(&mut self, hold: &Hold, cost: NanoUsd) -> Vec<Crossing> {
        let payers = Payers { agent: hold.agent, leased: hold.leased };
        self.each_mut(payers, |account| {
            account.release(hold.amount);
            account.spent = account.spent.plus(cost);
        });
        let mut crossings = self.router.crossings(&self.thresholds);
        if let Some(agent) = hold.agent.and_then(|AgentId(index)| self.agents.get_mut(index)) {
            crossings.append(&mut agent.crossings(&self.thresholds));
        }
        crossings
    }

    /// Sets the limit of the router's own account, or of an agent's. Returns the thresholds that are reached now.
    pub(super) fn set_limit(&mut self, agent: Option<AgentId>, limit: Option<NanoUsd>) -> Vec<Crossing> {
        let account = match agent {
            None => Some(&mut self.router),
            Some(AgentId(index)) => self.agents.get_mut(index),
        };
        let Some(account) = account else { return Vec::new() };
        account.limit = limit;
        account.crossings(&self.thresholds)
    }

    /// A lease of `granted` begins, or replaces the one before: what calls under way hold counts against the new one.
    pub(super) fn lease(&mut self, granted: NanoUsd) {
        self.lease.restart();
        self.lease.limit = Some(granted);
        (self.has_lease, self.exhausted) = (true, false);
    }

    pub(super) fn end_lease(&mut self) {
        self.has_lease = false;
    }

    pub(super) fn set_exhausted(&mut self, exhausted: bool) {
        self.exhausted = exhausted;
    }

    pub(super) fn lease_status(&self) -> Option<LeaseStatus> {
        let granted = self.lease.limit.unwrap_or_default();
        self.has_lease.then(|| LeaseStatus { granted, spent: self.lease.spent, held: self.lease.held() })
    }

    /// Whether at most a fifth of the lease is free, or somebody waits for more than is left of it.
    pub(super) fn lease_is_low(&self) -> bool {
        let (free, left) = (self.lease.free().unwrap_or_default(), self.lease.left().unwrap_or_default());
        let granted = self.lease.limit.unwrap_or_default();
        let is_wanted = || self.line.iter().any(|waiting| waiting.payers.leased && waiting.least > left);
        self.has_lease && (u128::from(free.0) * 5 <= u128::from(granted.0) || is_wanted())
    }

    /// The figures of the router's own account, or of an agent's.
    pub(super) fn status(&self, agent: Option<AgentId>) -> Option<AccountStatus> {
        let account = match agent {
            None => &self.router,
            Some(AgentId(index)) => self.agents.get(index)?,
        };
        Some(AccountStatus { spent: account.spent, held: account.held(), limit: account.limit })
    }

    /// The accounts that pay for a call and have a limit.
    fn limited(&self, payers: Payers) -> impl Iterator<Item = &Account> {
        let agent = payers.agent.and_then(|AgentId(index)| self.agents.get(index));
        let lease = (payers.leased && self.has_lease).then_some(&self.lease);
        std::iter::once(&self.router).chain(agent).chain(lease).filter(|account| account.limit.is_some())
    }

    /// The account with the least free; the router's own where none has a limit.
    fn tightest(&self, payers: Payers) -> &Account {
        self.limited(payers).min_by_key(|account| account.free()).unwrap_or(&self.router)
    }

    fn each_mut(&mut self, payers: Payers, mut change: impl FnMut(&mut Account)) {
        change(&mut self.router);
        if let Some(agent) = payers.agent.and_then(|AgentId(index)| self.agents.get_mut(index)) {
            change(agent);
        }
        if payers.leased {
            change(&mut self.lease);
        }
    }
}

/// The quote of a call that waits: it has one.
fn quoted(ask: &Ask<'_>) -> super::Quote {
    ask.quote.cloned().unwrap_or_default()
}
