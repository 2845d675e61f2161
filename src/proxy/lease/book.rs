//! What is known of the lease, and what is to be done about it: a state machine without I/O. Times are since the router started.
//!
//! **Money.** Calls cost nano-USD, the protocol speaks micro-USD. `nano` counts what all calls since the handshake cost, `micro` what of it
//! was put into reports: always `floor(nano / 1000)`, so that a remainder is carried into the next report, also from a lease to the one
//! that a refresh puts in its place. A lease's own share begins at its `base` (of `micro`); what is returned for it rounds up. What is
//! settled while there is no lease is carried into the next one.
//!
//! **Refresh.** The server closes the old lease when it grants the new one, so all that belongs to the old one must have been reported
//! before. [`Book::freeze`] draws the line: charges after it have serials from [`Cut::serial`] on and are reported after the refresh, on
//! whichever lease is there then.

use super::talk::{Grant, MARGIN_S};
use crate::call::{Protocol, Refusal};
use crate::money::NanoUsd;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// How long a failed handshake is answered again without asking the server.
pub(in crate::proxy) const FAILURE_FOR: Duration = Duration::from_secs(1);

/// The pause before the server is asked once more for money it did not have.
pub(in crate::proxy) const DENIED_FOR: Duration = Duration::from_secs(30);

/// The least pause between two refreshes.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// The same while calls ask for money that the server does not have.
const ASKED_PAUSE: Duration = Duration::from_secs(5);

/// A lease in use is renewed this long before it ends, or in the last quarter of its life where that is shorter.
const AHEAD: Duration = Duration::from_secs(60);

/// The part of a grant at which more is asked for: a fifth.
const LOW_PART: u64 = 5;

/// The sum that is asked for beyond what is held, and the most of any (the protocol's default and limit), micro-USD.
const USUAL_ASK: u64 = 10_000_000;
const MOST_ASK: u64 = 100_000_000;

/// Replaced leases and ended ones that are remembered.
const MAX_REMEMBERED: usize = 64;

/// All that is known.
#[derive(Default)]
pub(in crate::proxy) struct Book {
    lease: Option<Lease>,
    /// The server said that it keeps no budgets.
    no_budgets: bool,
    /// It has lent before.
    has_lent: bool,
    /// Why money could not be talked about last; `None`: it could.
    trouble: Option<String>,
    nano: u64,
    micro: u64,
    /// `nano` when the account began to count: at the handshake or the last refresh.
    counted_from: u64,
    orphan_nano: u64,
    serial: u64,
    /// Serials of charges whose reports are being put into the outbox.
    putting: BTreeSet<u64>,
    frozen: Option<Cut>,
    replaced: VecDeque<Replaced>,
    closing: VecDeque<Closing>,
    ended: VecDeque<String>,
    not_before: Duration,
    tried: Option<Duration>,
    asked: bool,
    /// What the last refresh asked for, micro-USD.
    sum: Option<u64>,
    exhausted: bool,
    pub(in crate::proxy) handshakes: Handshakes,
    /// Something may lie in the outbox that was not tried yet.
    pub(in crate::proxy) unsent: bool,
    /// Stopping; until then messages are sent.
    pub(in crate::proxy) stopping: Option<Duration>,
    /// The owner is gone: nothing is sent any more.
    pub(in crate::proxy) abandoned: bool,
    /// The background thread is done.
    pub(in crate::proxy) over: bool,
}

/// Handshakes, one at a time.
#[derive(Default)]
pub(in crate::proxy) struct Handshakes {
    pub(in crate::proxy) in_flight: bool,
    /// How many have ended.
    pub(in crate::proxy) rounds: u64,
    /// How the last one ended, for those who waited.
    pub(in crate::proxy) last: Option<Result<bool, Refusal>>,
    failed: Option<(Duration, Refusal)>,
}

/// The lease in use.
struct Lease {
    id: String,
    provider: Protocol,
    granted: u64,
    /// `micro` when it began.
    base: u64,
    first_serial: u64,
    expires: Option<Duration>,
    renew_by: Option<Duration>,
}

/// Where a refresh divides the charges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Cut {
    /// The lease to be replaced.
    pub(in crate::proxy) lease_id: String,
    /// Charges from this one on are the next lease's.
    pub(in crate::proxy) serial: u64,
    micro: u64,
}

struct Replaced {
    old: String,
    serial: u64,
    new: String,
}

/// A lease to be returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Closing {
    /// Its name.
    pub(in crate::proxy) lease_id: String,
    /// What was spent on it, micro-USD, rounded up.
    pub(in crate::proxy) spent: u64,
    /// Whether it is that of an earlier run.
    pub(in crate::proxy) recovered: bool,
}

/// What a settled call adds to the books.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Charge {
    pub(in crate::proxy) serial: u64,
    pub(in crate::proxy) lease_id: String,
    pub(in crate::proxy) provider: Protocol,
    /// Micro-USD to report.
    pub(in crate::proxy) micro: u64,
}

/// What to do for a call that a lease must pay for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Action {
    /// Go on: whether a lease pays.
    Go(bool),
    /// Ask the server for a lease.
    Shake,
    /// Another call asks for it: wait.
    Wait,
    /// It was asked a moment ago, in vain.
    Fail(Refusal),
}

/// Granted, spent and held, as the account has them.
pub(in crate::proxy) type Status = (NanoUsd, NanoUsd, NanoUsd);

impl Book {
    /// What a call does whose key is `provider`'s. A lease that is another provider's or about to end is no lease.
    pub(in crate::proxy) fn decide(&self, provider: Protocol, now: Duration) -> Action {
        if self.no_budgets {
            return Action::Go(false);
        }
        if self.lease.as_ref().is_some_and(|lease| lease.provider == provider && !lease.is_ending(now)) {
            return Action::Go(true);
        }
        self.handshakes.decide(now)
    }

    /// Whether there is a lease, fit or not.
    pub(in crate::proxy) fn is_open(&self) -> bool {
        self.lease.is_some()
    }

    /// Whether the server has lent before: then it can't be one that keeps no budgets, whatever stands in its place now.
    pub(in crate::proxy) fn has_lent(&self) -> bool {
        self.has_lent
    }

    /// The server keeps no budgets: calls go on without a lease.
    pub(in crate::proxy) fn keep_none(&mut self) {
        self.no_budgets = true;
    }

    /// Messages about money do not get through; why.
    pub(in crate::proxy) fn trouble(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// They do again.
    pub(in crate::proxy) fn no_trouble(&mut self) {
        self.trouble = None;
    }

    /// Why the server has not lent more, where it was asked and has not said no.
    pub(in crate::proxy) fn unanswered(&self) -> Option<&str> {
        let waits = (self.asked || self.frozen.is_some()).then_some("it has not answered yet");
        self.trouble.as_deref().or(waits).filter(|_| !self.exhausted)
    }

    /// A handshake's lease begins. Gives what the account may spend of it, and whether the server has no more.
    pub(in crate::proxy) fn begin(&mut self, grant: &Grant, provider: Protocol, now: Duration, unix: u64) -> (NanoUsd, bool) {
        (self.nano, self.micro) = (std::mem::take(&mut self.orphan_nano), 0);
        self.counted_from = self.nano;
        (self.has_lent, self.trouble) = (true, None);
        self.lease = Some(Lease::new(grant, provider, now, unix, self.serial));
        (self.frozen, self.not_before, self.tried, self.asked) = (None, now, None, false);
        self.exhausted = grant.remaining == Some(0);
        if self.exhausted {
            self.not_before = now.saturating_add(DENIED_FOR);
        }
        (NanoUsd::from_micro_usd(grant.granted).minus(NanoUsd(self.nano)), self.exhausted)
    }

    /// The lease is no more, for whatever reason; `give_back` says whether the server should hear of it. False without a lease.
    pub(in crate::proxy) fn end(&mut self, give_back: bool) -> bool {
        let Some(lease) = self.lease.take() else { return false };
        self.frozen = None;
        if give_back {
            let spent = self.nano.div_ceil(1000).saturating_sub(lease.base);
            self.give_back(Closing { lease_id: lease.id.clone(), spent: spent.min(lease.granted), recovered: false });
            remember(&mut self.ended, lease.id);
        }
        true
    }

    /// As [`Book::end`], if it is this lease.
    pub(in crate::proxy) fn end_of(&mut self, lease_id: &str, give_back: bool) -> bool {
        self.is_current(lease_id) && self.end(give_back)
    }

    /// Whether this is the lease in use.
    pub(in crate::proxy) fn is_current(&self, lease_id: &str) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.id == lease_id)
    }

    /// Whether this one was in use and has ended: what is still reported on it was counted when it was returned.
    pub(in crate::proxy) fn has_ended(&self, lease_id: &str) -> bool {
        self.ended.iter().any(|ended| ended == lease_id)
    }

    /// A lease to be returned.
    pub(in crate::proxy) fn give_back(&mut self, closing: Closing) {
        self.closing.push_back(closing);
    }

    /// The next lease to be returned. Where it can't be, it is given back to the books.
    pub(in crate::proxy) fn take_closing(&mut self) -> Option<Closing> {
        self.closing.pop_front()
    }

    /// As [`Book::take_closing`], of this run only.
    pub(in crate::proxy) fn take_own_closing(&mut self) -> Option<Closing> {
        let at = self.closing.iter().position(|closing| !closing.recovered)?;
        self.closing.remove(at)
    }

    /// Whether leases wait to be returned.
    pub(in crate::proxy) fn is_closing(&self) -> bool {
        !self.closing.is_empty()
    }

    /// The lease in use and what was reported of it.
    pub(in crate::proxy) fn spent(&self) -> Option<(&str, Protocol, u64, u64)> {
        let lease = self.lease.as_ref()?;
        Some((&lease.id, lease.provider, lease.granted, self.micro - lease.base))
    }

    /// Books what a call cost; `None` without a lease. [`Book::put`] must follow when its report lies in the outbox.
    pub(in crate::proxy) fn charge(&mut self, cost: NanoUsd) -> Option<Charge> {
        let Some(lease) = &self.lease else {
            self.orphan_nano = self.orphan_nano.saturating_add(cost.0);
            return None;
        };
        self.nano = self.nano.saturating_add(cost.0);
        let micro = self.nano / 1000 - self.micro;
        self.micro += micro;
        let serial = self.serial;
        self.serial += 1;
        self.putting.insert(serial);
        Some(Charge { serial, lease_id: lease.id.clone(), provider: lease.provider, micro })
    }

    /// The charge's report is in the outbox, or lost.
    pub(in crate::proxy) fn put(&mut self, serial: u64) {
        self.putting.remove(&serial);
        self.unsent = true;
    }

    /// Spending for which there is no lease yet.
    pub(in crate::proxy) fn orphaned(&self) -> NanoUsd {
        NanoUsd(self.orphan_nano)
    }

    /// A call did not fit, or found the lease exhausted: the server is asked for more at the next chance.
    pub(in crate::proxy) fn ask_more(&mut self) {
        self.asked = self.lease.is_some();
    }

    /// Whether to ask for a refresh now; if not, when to look again, where that can be said.
    pub(in crate::proxy) fn refresh_due(&self, status: Option<Status>, now: Duration) -> Result<(), Option<Duration>> {
        let (Some(lease), None) = (&self.lease, &self.frozen) else { return Err(None) };
        let free = status.map(|(granted, spent, held)| granted.minus(spent).minus(held));
        let low = free.is_some_and(|free| free <= NanoUsd(NanoUsd::from_micro_usd(lease.granted).0 / LOW_PART));
        let used = self.serial > lease.first_serial;
        let ending = lease.renew_by.filter(|_| used);
        let pause = if self.exhausted { ASKED_PAUSE } else { REFRESH_PAUSE };
        let paused = self.tried.map_or(Duration::ZERO, |at| at.saturating_add(pause));
        let from = match (self.asked, low, ending) {
            (true, ..) => paused,
            (_, true, _) => self.not_before.max(paused),
            (_, _, Some(by)) => by.max(self.not_before).max(paused),
            _ => return Err(None),
        };
        if from <= now { Ok(()) } else { Err(Some(from)) }
    }

    /// Draws the line before a refresh.
    pub(in crate::proxy) fn freeze(&mut self, now: Duration) -> Option<Cut> {
        let lease = self.lease.as_ref()?;
        let cut = Cut { lease_id: lease.id.clone(), serial: self.serial, micro: self.micro };
        (self.tried, self.asked, self.frozen) = (Some(now), false, Some(cut.clone()));
        Some(cut)
    }

    /// Whether every charge before the line lies in the outbox.
    pub(in crate::proxy) fn is_still(&self, cut: &Cut) -> bool {
        self.putting.first().is_none_or(|first| *first >= cut.serial)
    }

    /// Whether the last answer was that there is no more.
    pub(in crate::proxy) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// The sum to ask for: what is held, what the call that needs most waits for, and the usual sum on top.
    pub(in crate::proxy) fn sum_to_ask(&mut self, status: Option<Status>, wanted: NanoUsd) -> u64 {
        let held = status.map_or(0, |(_, _, held)| held.micro_usd_up());
        let sum = held.saturating_add(wanted.micro_usd_up()).saturating_add(USUAL_ASK).min(MOST_ASK);
        self.sum = Some(sum);
        sum
    }

    /// The refresh led to nothing: everything is as before; not again before `not_before`.
    pub(in crate::proxy) fn thaw(&mut self, not_before: Duration) {
        self.frozen = None;
        self.not_before = not_before;
    }

    /// The server has no more: the lease goes on.
    pub(in crate::proxy) fn deny(&mut self, now: Duration) {
        self.thaw(now.saturating_add(DENIED_FOR));
        self.exhausted = true;
    }

    /// The lease of a refresh begins, in the place of the one in use; `spent` is what the account has counted on that by now. Gives
    /// what the account may spend from here on (what was settled since the line was drawn is spent of it already), and whether the server
    /// has no more.
    pub(in crate::proxy) fn renew(&mut self, cut: &Cut, grant: &Grant, spent: NanoUsd, now: Duration, unix: u64) -> (NanoUsd, bool) {
        let Some(old) = self.lease.take() else { return (NanoUsd::ZERO, true) };
        let rest = old.granted.saturating_sub(cut.micro - old.base);
        let mut lease = Lease::new(grant, old.provider, now, unix, cut.serial);
        lease.base = cut.micro;
        remember(&mut self.replaced, Replaced { old: old.id, serial: cut.serial, new: lease.id.clone() });
        self.lease = Some(lease);
        self.counted_from = self.counted_from.saturating_add(spent.0);
        let total = NanoUsd::from_micro_usd(cut.micro.saturating_add(grant.granted));
        // The rest of the old lease lent again is no more money, whatever it is called; unless no more was asked for.
        let all_there_is = grant.granted <= rest && self.sum.is_none_or(|sum| grant.granted < sum);
        self.exhausted = grant.remaining == Some(0) || all_there_is;
        self.thaw(if self.exhausted { now.saturating_add(DENIED_FOR) } else { now });
        (total.minus(NanoUsd(self.counted_from)), self.exhausted)
    }

    /// The lease on which a charge is reported that was booked on `lease_id`.
    pub(in crate::proxy) fn reported_on<'b>(&'b self, serial: u64, lease_id: &'b str) -> &'b str {
        self.replaced.iter().fold(lease_id, |id, replaced| if replaced.old == id && serial >= replaced.serial { &replaced.new } else { id })
    }
}

impl Lease {
    fn new(grant: &Grant, provider: Protocol, now: Duration, unix: u64, serial: u64) -> Self {
        let left = grant.expires_at.map(|at| Duration::from_secs(at.saturating_sub(unix)));
        Self {
            id: grant.lease_id.clone(),
            provider,
            granted: grant.granted,
            base: 0,
            first_serial: serial,
            expires: left.map(|left| now.saturating_add(left)),
            renew_by: left.map(|left| now.saturating_add(left.saturating_sub(AHEAD.min(left / 4)))),
        }
    }

    fn is_ending(&self, now: Duration) -> bool {
        self.expires.is_some_and(|at| at <= now.saturating_add(Duration::from_secs(MARGIN_S)))
    }
}

impl Handshakes {
    fn decide(&self, now: Duration) -> Action {
        if self.in_flight {
            return Action::Wait;
        }
        let recent = self.failed.as_ref().filter(|(at, _)| now.saturating_sub(*at) < FAILURE_FOR);
        recent.map_or(Action::Shake, |(_, refusal)| Action::Fail(refusal.clone()))
    }

    /// One has ended.
    pub(in crate::proxy) fn land(&mut self, result: &Result<bool, Refusal>, now: Duration) {
        self.in_flight = false;
        self.rounds += 1;
        self.failed = result.as_ref().err().map(|refusal| (now, refusal.clone()));
        self.last = Some(result.clone());
    }
}

fn remember<T>(queue: &mut VecDeque<T>, value: T) {
    if queue.len() == MAX_REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(value);
}

#[cfg(test)]
mod tests;
