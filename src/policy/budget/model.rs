//! The budget against a model of it: every order of every step of small worlds, and random walks through larger ones.
//!
//! A [`World`] is a state and some calls, each at its own point: not asked yet, in the line, under way, over. After each step it checks what
//! must hold ([`World::check`], [`World::check_admitted`]); and from every world that was reached, that it comes to rest ([`World::drain`]).

use super::account::Account;
use super::tests::{chat, fixed, row, state_of};
use super::{Payers, share};
use crate::call::{AgentId, Hold, Reason, Ticket, Verdict};
use crate::clock::UnixMs;
use crate::config::OnBudget::{self, Clamp, Refuse};
use crate::config::{Spending, Window};
use crate::money::NanoUsd;
use crate::policy::*;
use proptest::prelude::*;
use std::collections::HashSet;

/// A call and where it is.
#[derive(Clone, Debug)]
struct Call {
    quote: Option<Quote>,
    payers: Payers,
    at: Point,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Point {
    New,
    /// With the number of its ticket.
    Waiting(u64),
    /// With what it holds.
    Open {
        amount: u64,
        clamp: Option<u64>,
    },
    /// With the code of its refusal, if it was refused.
    Over(Option<&'static str>),
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A call asks, or asks again.
    Ask(usize),
    GiveUp(usize),
    Leave(usize),
    /// A call ends, and has cost this share (percent) of what it held.
    Settle(usize, u64),
    Budget(Option<u64>),
    AgentBudget(usize, Option<u64>),
    Lease(u64),
    EndLease,
    Exhausted(bool),
    /// So many hours pass; the clock may also go back.
    Hours(i64),
}

#[derive(Clone, Debug)]
struct World {
    state: State,
    calls: Vec<Call>,
    now: UnixMs,
    on_budget: OnBudget,
    /// A limit has been lowered or a lease replaced: what is spent and held may be above it, until calls end.
    lowered: bool,
}

impl World {
    fn new(budget: Option<u64>, agents: &[Option<u64>], on_budget: OnBudget, calls: &[(Option<Quote>, Option<usize>, bool)]) -> Self {
        let call = |(quote, agent, leased): &(Option<Quote>, Option<usize>, bool)| Call {
            quote: quote.clone(),
            payers: Payers { agent: agent.map(AgentId), leased: *leased },
            at: Point::New,
        };
        let calls = calls.iter().map(call).collect();
        let spending = Spending { budget: budget.map(NanoUsd), on_budget, window: Window::Day, ..Spending::default() };
        Self { state: state_of(spending, agents, (0, &[])), calls, now: UnixMs(1_709_121_600_000), on_budget, lowered: false }
    }

    /// Takes a step; `false`: it does not apply.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Ask(index) => return self.ask(index),
            Step::GiveUp(index) | Step::Leave(index) => return self.stop_waiting(index, step == Step::GiveUp(index)),
            Step::Settle(index, percent) => return self.settle(index, percent),
            Step::Budget(limit) => {
                self.lowered = true;
                set_budget(&mut self.state, limit.map(NanoUsd));
            }
            Step::AgentBudget(agent, limit) => {
                self.lowered = true;
                set_agent_budget(&mut self.state, AgentId(agent), limit.map(NanoUsd));
            }
            Step::Lease(granted) => {
                self.lowered = true;
                lease_renew(&mut self.state, NanoUsd(granted));
            }
            Step::EndLease => lease_end(&mut self.state),
            Step::Exhausted(exhausted) => lease_exhausted(&mut self.state, exhausted),
            Step::Hours(hours) => {
                self.now = UnixMs(self.now.0.saturating_add_signed(hours * 3_600_000));
                advance(&mut self.state, self.now);
            }
        }
        self.check();
        true
    }

    fn ask(&mut self, index: usize) -> bool {
        let call = self.calls[index].clone();
        let ticket = match call.at {
            Point::New => None,
            Point::Waiting(number) => Some(Ticket { number }),
            Point::Open { .. } | Point::Over(_) => return false,
        };
        let before = self.state.budget.clone();
        let ask = Ask { agent: call.payers.agent, quote: call.quote.as_ref(), leased: call.payers.leased };
        self.calls[index].at = match admit(&mut self.state, &ask, ticket, self.now) {
            Verdict::Forward(hold) => {
                self.check_admitted(index, &hold, &before);
                Point::Open { amount: hold.amount.0, clamp: hold.clamp }
            }
            Verdict::Wait(ticket) => Point::Waiting(ticket.number),
            Verdict::Refuse(refusal) => {
                assert!(refusal.message.contains("Iron Cage") || refusal.reason == Reason::Overloaded("control_server_unreachable"));
                Point::Over(Some(refusal.reason.code()))
            }
        };
        self.check();
        true
    }

    fn stop_waiting(&mut self, index: usize, gives_up: bool) -> bool {
        let Call { quote, payers, at: Point::Waiting(number) } = self.calls[index].clone() else { return false };
        let ticket = Ticket { number };
        self.calls[index].at = Point::Over(None);
        if gives_up {
            let ask = Ask { agent: payers.agent, quote: quote.as_ref(), leased: payers.leased };
            let refusal = give_up(&mut self.state, &ask, ticket);
            assert!(refusal.reason == Reason::InsufficientBudget || payers.leased && refusal.reason == Reason::BudgetExceeded);
        } else {
            leave(&mut self.state, ticket);
        }
        self.check();
        true
    }

    fn settle(&mut self, index: usize, percent: u64) -> bool {
        let Call { payers, at: Point::Open { amount, clamp }, .. } = self.calls[index].clone() else { return false };
        let hold = Hold { serial: 0, amount: NanoUsd(amount), agent: payers.agent, leased: payers.leased, clamp };
        settle(&mut self.state, hold, &row(Some(amount * percent / 100)), self.now);
        self.calls[index].at = Point::Over(None);
        self.check();
        true
    }

    /// What a call needs at least.
    fn least(&self, call: &Call) -> NanoUsd {
        call.quote.as_ref().map_or(NanoUsd::ZERO, |quote| share::least(quote, self.on_budget))
    }

    /// A call was admitted: there was room for it on each of its accounts, in its class, and nobody was overtaken.
    fn check_admitted(&self, index: usize, hold: &Hold, before: &Budget) {
        let call = &self.calls[index];
        let Some(quote) = &call.quote else { return assert_eq!(hold.amount, NanoUsd::ZERO) };
        assert_eq!(hold.amount, quote.at(hold.clamp.unwrap_or(quote.limit())));
        assert!(hold.clamp.is_none_or(|limit| (quote.least_limit..quote.limit()).contains(&limit)), "{:?}", hold.clamp);
        for account in self.state.budget.limited(call.payers).filter(|_| hold.amount > NanoUsd::ZERO) {
            assert!(account.spent.plus(account.held()) <= account.limit.unwrap(), "past the limit: {account:?}");
        }
        let mine = if let Point::Waiting(number) = call.at { number } else { u64::MAX };
        for earlier in self.calls.iter().filter(|other| matches!(other.at, Point::Waiting(number) if number < mine)) {
            let least = self.least(earlier);
            let could = before.limited(earlier.payers).all(|account| account.left() >= Some(least));
            let shared = |account: &&Account| before.limited(call.payers).any(|own| own.owner == account.owner);
            let held_up = before.limited(earlier.payers).filter(|account| account.free() < Some(least)).find(shared);
            assert!(!could || held_up.is_none() || hold.amount == NanoUsd::ZERO, "{earlier:?} was overtaken by {call:?} on {held_up:?}");
        }
    }

    /// What holds between steps: all holds are those of calls under way, no limit is passed, and the line holds who waits.
    fn check(&self) {
        let budget = &self.state.budget;
        let open = |call: &Call| if let Point::Open { amount, .. } = call.at { amount } else { 0 };
        let sum = |pays: &dyn Fn(&Call) -> bool| NanoUsd(self.calls.iter().filter(|call| pays(call)).map(open).sum());
        assert_eq!(budget.router.held(), sum(&|_| true));
        assert_eq!(budget.lease.held(), sum(&|call| call.payers.leased));
        for (index, agent) in budget.agents.iter().enumerate() {
            assert_eq!(agent.held(), sum(&|call| call.payers.agent == Some(AgentId(index))));
        }
        let accounts = std::iter::once(&budget.router).chain(&budget.agents).chain(budget.has_lease.then_some(&budget.lease));
        for account in accounts.filter(|_| !self.lowered) {
            assert!(account.limit.is_none_or(|limit| account.spent.plus(account.held()) <= limit), "past the limit: {account:?}");
        }
        let at = |is: fn(&Point) -> bool| self.calls.iter().filter(|call| is(&call.at)).count();
        assert_eq!(self.state.waiting(), at(|point| matches!(point, Point::Waiting(_))));
        assert_eq!(self.state.totals().in_flight, at(|point| matches!(point, Point::Open { .. })) as u64);
    }

    /// All calls under way end; then those who wait ask again, in this order or the other way round, as long as that changes anything.
    /// All get an answer, but those who wait for another lease, and nothing is left behind.
    fn drain(mut self, backwards: bool) {
        let settle_all = |world: &mut Self| (0..world.calls.len()).filter(|index| world.step(Step::Settle(*index, 100))).count();
        settle_all(&mut self);
        loop {
            let order: Vec<_> = if backwards { (0..self.calls.len()).rev().collect() } else { (0..self.calls.len()).collect() };
            let before = self.state.waiting();
            for index in order {
                if let Point::Waiting(_) = self.calls[index].at {
                    self.step(Step::Ask(index));
                }
            }
            settle_all(&mut self);
            if self.state.waiting() == before {
                break;
            }
        }
        let lease = self.state.budget.lease.clone();
        for index in 0..self.calls.len() {
            if let Point::Waiting(_) = self.calls[index].at {
                let waits_for_lease = self.calls[index].payers.leased && lease.left() < Some(self.least(&self.calls[index]));
                assert!(waits_for_lease && !self.state.budget.exhausted, "it starves: {:?} of {self:?}", self.calls[index]);
                self.step(Step::Leave(index));
            }
        }
        assert_eq!((self.state.waiting(), self.state.held(), self.state.totals().in_flight), (0, NanoUsd::ZERO, 0));
    }
}

/// Takes every order of the calls' steps and of `moves` (each at most once), and checks every world that is reached. Returns how many
/// there are.
fn explore(world: World, moves: &[Step]) -> usize {
    let calls = world.calls.len();
    let of_call = |index| [Step::Ask(index), Step::GiveUp(index), Step::Leave(index), Step::Settle(index, 0), Step::Settle(index, 100)];
    let mut seen = HashSet::new();
    let mut open = vec![(world, vec![true; moves.len()])];
    while let Some((world, left)) = open.pop() {
        let points: Vec<_> = world.calls.iter().map(|call| &call.at).collect();
        if !seen.insert(format!("{points:?} {left:?} {} {:?}", world.lowered, world.state.budget)) {
            continue;
        }
        world.clone().drain(false);
        world.clone().drain(true);
        let mut go = |step, left: &[bool]| {
            let mut next = world.clone();
            if next.step(step) {
                open.push((next, left.to_vec()));
            }
        };
        (0..calls).flat_map(of_call).for_each(|step| go(step, &left));
        for (index, step) in moves.iter().enumerate().filter(|(index, _)| left[*index]) {
            let mut rest = left.clone();
            rest[index] = false;
            go(*step, &rest);
        }
    }
    seen.len()
}

#[test]
fn four_calls_on_one_account() {
    let of = |amount| (Some(fixed(amount)), None, false);
    let reached = explore(World::new(Some(100), &[], Refuse, &[of(60), of(80), of(10), of(40)]), &[]);
    assert!(reached > 1000, "{reached}");
}

#[test]
fn four_calls_that_can_be_lowered() {
    let of = |quote| (Some(quote), None, false);
    explore(World::new(Some(60), &[], Clamp, &[of(chat(Some(40))), of(chat(None)), of(chat(Some(5))), of(fixed(30))]), &[]);
}

#[test]
fn a_limit_that_moves() {
    let of = |amount| (Some(fixed(amount)), None, false);
    for moves in [[Step::Budget(Some(50)), Step::Budget(Some(150))], [Step::Budget(Some(0)), Step::Budget(None)]] {
        explore(World::new(Some(100), &[], Refuse, &[of(60), of(80), of(10)]), &moves);
    }
}

#[test]
fn agents_under_one_limit() {
    let of = |amount, agent| (Some(fixed(amount)), agent, false);
    let calls = [of(50, Some(0)), of(40, Some(0)), of(60, Some(1)), of(70, None)];
    explore(World::new(Some(100), &[Some(60), Some(80)], Refuse, &calls), &[]);
    let calls = [of(50, Some(0)), of(40, Some(0)), of(60, None)];
    explore(World::new(Some(100), &[Some(60)], Refuse, &calls), &[Step::AgentBudget(0, Some(95)), Step::Budget(Some(70))]);
    let calls = [of(50, Some(0)), of(40, Some(0)), (None, Some(0), false), of(60, None)];
    explore(World::new(None, &[Some(60)], Refuse, &calls), &[]);
}

#[test]
fn a_lease_that_is_replaced_and_ends() {
    let of = |amount, leased| (Some(fixed(amount)), None, leased);
    let mut world = World::new(Some(100), &[], Refuse, &[of(50, true), of(40, true), of(60, false)]);
    world.step(Step::Lease(60));
    explore(world.clone(), &[Step::Lease(45), Step::Exhausted(true)]);
    explore(world, &[Step::EndLease, Step::Lease(90)]);
}

fn any_call() -> impl Strategy<Value = (Option<Quote>, Option<usize>, bool)> {
    let quote = prop_oneof![
        (0..120_u64).prop_map(|amount| Some(fixed(amount))),
        prop::option::of(0..200_u64).prop_map(|own_limit| Some(chat(own_limit))),
        (17..60_u64).prop_map(|least_limit| Some(Quote { least_limit, ..chat(None) })),
        Just(None),
    ];
    (quote, prop::option::of(0..3_usize), any::<bool>())
}

fn any_step(calls: usize) -> impl Strategy<Value = Step> {
    let limit = || prop::option::of(0..300_u64);
    prop_oneof![
        8 => (0..calls).prop_map(Step::Ask),
        6 => (0..calls, 0..=100_u64).prop_map(|(index, percent)| Step::Settle(index, percent)),
        1 => (0..calls).prop_map(Step::GiveUp),
        1 => (0..calls).prop_map(Step::Leave),
        1 => limit().prop_map(Step::Budget),
        1 => (0..2_usize, limit()).prop_map(|(agent, limit)| Step::AgentBudget(agent, limit)),
        1 => (0..300_u64).prop_map(Step::Lease),
        1 => prop_oneof![Just(Step::EndLease), any::<bool>().prop_map(Step::Exhausted), (-30..60_i64).prop_map(Step::Hours)],
    ]
}

proptest! {
    /// Random walks. Half of them leave the limits alone, so that `spent + held <= limit` is checked after each step.
    #[test]
    fn random_walks(
        budget in prop::option::of(0..300_u64),
        agents in prop::collection::vec(prop::option::of(0..200_u64), 2),
        (clamps, limits_stay) in any::<(bool, bool)>(),
        calls in prop::collection::vec(any_call(), 24),
        steps in prop::collection::vec(any_step(24), 0..200),
    ) {
        let mut world = World::new(budget, &agents, if clamps { Clamp } else { Refuse }, &calls);
        world.step(Step::Lease(150));
        world.lowered = false;
        for step in steps {
            let moves_limit = matches!(step, Step::Budget(_) | Step::AgentBudget(..) | Step::Lease(_));
            if !(limits_stay && moves_limit) {
                world.step(step);
            }
        }
        world.clone().drain(false);
        world.drain(true);
    }
}
