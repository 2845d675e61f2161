//! One account: a limit, what has been spent of it, what calls under way hold of it. And the window of time in which spending counts.

use crate::clock::UnixMs;
use crate::config::Window;
use crate::event::Crossing;
use crate::money::NanoUsd;
use std::sync::Arc;

/// Whose account it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The router's own.
    Router,
    /// An agent's, by name.
    Agent(Arc<str>),
    /// The control server's: a lease.
    Lease,
}

/// A limit and what counts against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) owner: Owner,
    /// `None`: unlimited. Spending and holds are kept all the same, since a limit may be set while calls are under way.
    pub(super) limit: Option<NanoUsd>,
    pub(super) spent: NanoUsd,
    /// The sum of the holds of calls under way. Wide, so that the sum is exact whatever they hold.
    held: u128,
    /// How many thresholds have been told.
    reached: usize,
}

impl Account {
    pub(super) fn new(owner: Owner, limit: Option<NanoUsd>, spent: NanoUsd) -> Self {
        Self { owner, limit, spent, held: 0, reached: 0 }
    }

    /// What the calls under way hold.
    pub(super) fn held(&self) -> NanoUsd {
        NanoUsd(u64::try_from(self.held).unwrap_or(u64::MAX))
    }

    /// What would be free if no call were under way; `None`: no limit.
    pub(super) fn left(&self) -> Option<NanoUsd> {
        self.limit.map(|limit| limit.minus(self.spent))
    }

    /// What is free now; `None`: no limit.
    pub(super) fn free(&self) -> Option<NanoUsd> {
        self.left().map(|left| left.minus(self.held()))
    }

    /// Whether an amount is more than what is free now.
    pub(super) fn lacks(&self, amount: NanoUsd) -> bool {
        self.free().is_some_and(|free| free < amount)
    }

    pub(super) fn hold(&mut self, amount: NanoUsd) {
        self.held += u128::from(amount.0);
    }

    pub(super) fn release(&mut self, amount: NanoUsd) {
        self.held = self.held.saturating_sub(u128::from(amount.0));
    }

    /// Forgets what was spent: a new window or lease begins. What is held stays.
    pub(super) fn restart(&mut self) {
        (self.spent, self.reached) = (NanoUsd::ZERO, 0);
    }

    /// The thresholds (percentages, ascending) that spending has reached since the last call of this; each once. Those that a higher limit
    /// has put out of reach again can be reached anew. A limit of 0 has none, and changes nothing about those told before.
    pub(super) fn crossings(&mut self, thresholds: &[u8]) -> Vec<Crossing> {
        let limit = match self.limit {
            Some(NanoUsd::ZERO) => return Vec::new(),
            None => {
                self.reached = 0;
                return Vec::new();
            }
            Some(limit) => limit,
        };
        let is_reached = |percent: &&u8| u128::from(self.spent.0) * 100 >= u128::from(**percent) * u128::from(limit.0);
        let reached = thresholds.iter().take_while(is_reached).count();
        let crossed = thresholds.get(self.reached..reached).unwrap_or_default();
        self.reached = reached;
        let agent = match &self.owner {
            Owner::Agent(name) => Some(name.clone()),
            Owner::Router | Owner::Lease => None,
        };
        crossed.iter().map(|&percent| Crossing { agent: agent.clone(), percent, spent: self.spent, limit }).collect()
    }
}

const DAY_MS: u64 = 86_400_000;

/// The window of time in which spending counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    window: Window,
    /// When it ends; `None`: never.
    ends: Option<UnixMs>,
}

impl Period {
    /// The one that holds `now`.
    pub(super) fn holding(window: Window, now: UnixMs) -> Self {
        let day = now.0 / DAY_MS;
        let begins = |day: u64| UnixMs(day.saturating_mul(DAY_MS));
        let month = |day: u64| begins(day).rfc3339()[..7].to_string();
        let ends = match window {
            Window::Run | Window::Total => None,
            Window::Day => Some(begins(day + 1)),
            Window::Month => (day + 1..=day + 31).map(begins).find(|next| next.rfc3339()[..7] != month(day)),
        };
        Self { window, ends }
    }

    /// Goes on to the window that holds `now`; whether that is a later one. A clock that goes back changes nothing.
    pub(super) fn advance(&mut self, now: UnixMs) -> bool {
        let is_over = self.ends.is_some_and(|ends| now >= ends);
        if is_over {
            *self = Self::holding(self.window, now);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percents(account: &mut Account) -> Vec<u8> {
        account.crossings(&[50, 80, 95, 100]).iter().map(|crossing| crossing.percent).collect()
    }

    #[test]
    fn thresholds_once_each_and_again_after_a_rise() {
        let mut account = Account::new(Owner::Router, Some(NanoUsd(1000)), NanoUsd::ZERO);
        let steps: [(u64, Option<u64>, &[u8]); 12] = [
            (499, Some(1000), &[]),
            (500, Some(1000), &[50]),
            (799, Some(1000), &[]),
            (960, Some(1000), &[80, 95]),
            (960, Some(1000), &[]),
            (2000, Some(1000), &[100]),
            (2000, Some(0), &[]),
            (2000, Some(1000), &[]),
            (2000, Some(3000), &[]),
            (2400, Some(3000), &[80]),
            (2400, None, &[]),
            (2400, Some(2400), &[50, 80, 95, 100]),
        ];
        for (step, (spent, limit, crossed)) in steps.into_iter().enumerate() {
            (account.spent, account.limit) = (NanoUsd(spent), limit.map(NanoUsd));
            assert_eq!(percents(&mut account), crossed, "step {step}");
        }
    }

    #[test]
    fn sums_beyond_the_range() {
        let mut account = Account::new(Owner::Router, Some(NanoUsd(u64::MAX)), NanoUsd(u64::MAX));
        account.hold(NanoUsd(u64::MAX));
        account.hold(NanoUsd(u64::MAX));
        assert_eq!((account.held(), account.free(), percents(&mut account).len()), (NanoUsd(u64::MAX), Some(NanoUsd::ZERO), 4));
        account.release(NanoUsd(u64::MAX));
        assert_eq!(account.held(), NanoUsd(u64::MAX));
        account.release(NanoUsd(u64::MAX));
        account.release(NanoUsd(1));
        assert_eq!(account.held(), NanoUsd::ZERO);
    }

    #[test]
    fn windows_end_at_midnight_utc() {
        // 2024-02-28 12:00, a leap year; the day after, March, and the same with the clock set back.
        let noon = UnixMs(1_709_121_600_000);
        let (leap_day, march) = (UnixMs(1_709_164_800_000), UnixMs(1_709_251_200_000));
        for (window, ends) in [(Window::Run, None), (Window::Total, None), (Window::Day, Some(leap_day)), (Window::Month, Some(march))] {
            let mut period = Period::holding(window, noon);
            assert_eq!(period.ends, ends, "{window:?}");
            let Some(ends) = ends else {
                assert!(!period.advance(UnixMs(u64::MAX)));
                continue;
            };
            assert!(!period.advance(UnixMs(ends.0 - 1)) && !period.advance(UnixMs(0)), "{window:?}");
            assert!(period.advance(ends) && !period.advance(ends) && !period.advance(noon), "{window:?}");
        }
        for last in [UnixMs(u64::MAX), UnixMs(0)] {
            Period::holding(Window::Month, last).advance(last);
            Period::holding(Window::Day, last).advance(last);
        }
    }
}
