//! The policy's state, shared: one short lock around its pure functions, and the line of calls that wait until others have settled.

use super::keys::UNREACHABLE;
use super::lease::LeaseAccount;
use crate::call::{Hold, Reason, Refusal, Verdict};
use crate::clock::UnixMs;
use crate::event::Crossing;
use crate::http::Client;
use crate::money::NanoUsd;
use crate::policy::{self, Ask, State};
use crate::row::Row;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiting call looks whether its client is still there.
const LOOK: Duration = Duration::from_millis(250);

/// The state, its lock and its line.
pub(crate) struct Purse {
    state: Mutex<State>,
    /// Something was settled, or a limit has changed.
    freed: Condvar,
    /// How long a call waits.
    wait: Duration,
    /// Whether the router has a budget now: without one a call's worst case need not be known.
    limited: AtomicBool,
}

/// Why a call was not admitted.
pub(crate) enum Denied {
    /// To be answered to the client.
    Refused(Refusal),
    /// To be answered so, if the control server does not say otherwise: it is the lease that is too small.
    LeaseShort(Refusal),
    /// To be answered so, if no lease can be had any more: there is none now.
    NoLease(Refusal),
    /// The client left while it waited.
    ClientGone,
}

impl Denied {
    fn by(state: &State, ask: &Ask<'_>, refused: Refusal) -> Self {
        match refused.reason {
            UNREACHABLE => Self::NoLease(refused),
            Reason::BudgetExceeded | Reason::InsufficientBudget if policy::is_short_of_lease(state, ask) => Self::LeaseShort(refused),
            _ => Self::Refused(refused),
        }
    }
}

impl Purse {
    /// A state and the longest wait.
    pub(crate) fn new(state: State, wait: Duration) -> Self {
        let limited = AtomicBool::new(state.budget().is_some());
        Self { state: Mutex::new(state), freed: Condvar::new(), wait, limited }
    }

    /// Looks at the state, or changes it in a way that lets nobody waiting go on.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.lock())
    }

    /// Looks at what is spent, in the window that holds this moment: no call may have come since the last one ended.
    pub(crate) fn figures<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        let mut state = self.lock();
        policy::advance(&mut state, super::tell::now());
        look(&state)
    }

    /// Changes limits: whoever waits looks again.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        self.limited.store(state.budget().is_some(), Ordering::Relaxed);
        drop(state);
        self.freed.notify_all();
        result
    }

    /// Whether the router has a budget.
    pub(crate) fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }

    /// Admits a call, after a wait if only others' holds are in its way; `waits` is told so once, without the lock.
    ///
    /// # Errors
    /// [`Denied`].
    pub(crate) fn admit(&self, ask: &Ask<'_>, client: &Client, now: UnixMs, waits: impl FnOnce()) -> Result<Hold, Denied> {
        let (mut ticket, mut now, mut waits, mut begun) = (None, now, Some(waits), None);
        let mut state = self.lock();
        loop {
            let waited = ticket.is_some();
            let verdict = policy::admit(&mut state, ask, ticket.take(), now);
            if waited && !matches!(verdict, Verdict::Wait(_)) && state.waiting() > 0 {
                // Who stood behind may be next.
                self.freed.notify_all();
            }
            let waiting = match verdict {
                Verdict::Forward(hold) => return Ok(hold),
                Verdict::Refuse(refused) => return Err(Denied::by(&state, ask, refused)),
                Verdict::Wait(ticket) => ticket,
            };
            let begun = *begun.get_or_insert_with(Instant::now);
            if let Some(waits) = waits.take() {
                drop(state);
                waits();
                state = self.lock();
                ticket = Some(waiting);
                continue;
            }
            let left = self.wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let refused = policy::give_up(&mut state, ask, waiting);
                self.freed.notify_all();
                return Err(Denied::by(&state, ask, refused));
            }
            state = self.freed.wait_timeout(state, left.min(LOOK)).unwrap_or_else(PoisonError::into_inner).0;
            if client.gone() {
                policy::leave(&mut state, waiting);
                self.freed.notify_all();
                return Err(Denied::ClientGone);
            }
            (ticket, now) = (Some(waiting), super::tell::now());
        }
    }

    /// Settles a call and wakes who waits.
    pub(crate) fn settle(&self, hold: Hold, row: &Row) -> Vec<Crossing> {
        let now = UnixMs(row.info.at.0.saturating_add(row.outcome.total.as_millis() as u64));
        let mut state = self.lock();
        let crossings = policy::settle(&mut state, hold, row, now);
        let waiting = state.waiting() > 0;
        drop(state);
        if waiting {
            self.freed.notify_all();
        }
        crossings
    }

    /// A panic elsewhere leaves sums that are still right: every change is a whole one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseAccount for Purse {
    fn begin(&self, granted: NanoUsd) {
        self.change(|state| policy::lease_begin(state, granted));
    }

    fn renew(&self, granted: &mut dyn FnMut(NanoUsd) -> NanoUsd) {
        self.change(|state| {
            let spent = policy::lease_status(state).map_or(NanoUsd::ZERO, |lease| lease.spent);
            policy::lease_renew(state, granted(spent));
        });
    }

    fn end(&self) {
        self.change(policy::lease_end);
    }

    fn exhausted(&self, yes: bool) {
        self.change(|state| policy::lease_exhausted(state, yes));
    }

    fn wanted(&self) -> NanoUsd {
        self.with(|state| policy::wanted_of_lease(state))
    }

    fn status(&self) -> Option<(NanoUsd, NanoUsd, NanoUsd)> {
        self.with(|state| policy::lease_status(state)).map(|lease| (lease.granted, lease.spent, lease.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::config::{Spending, Window};

    #[test]
    fn figures_are_those_of_the_window_that_is_now() {
        let spending = Spending { budget: Some(NanoUsd(9)), window: Window::Day, ..Spending::default() };
        let long_ago = State::new(&spending, &[], (NanoUsd(5), Vec::new()), UnixMs(86_400_000));
        assert_eq!(long_ago.budget_status(), Some((NanoUsd(5), NanoUsd(9))));
        let purse = Purse::new(long_ago, Duration::ZERO);
        assert_eq!(purse.figures(State::budget_status), Some((NanoUsd::ZERO, NanoUsd(9))));
    }
}
