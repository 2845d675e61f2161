//! The rules of the budget one by one, through the functions that the proxy calls.

use super::line::MAX_WAITING;
use crate::Secret;
use crate::call::{AgentId, End, Hold, Outcome, Reason, Refusal, Retry, Ticket, Verdict};
use crate::clock::UnixMs;
use crate::config::{Agent, OnBudget, Spending, Window};
use crate::event::Crossing;
use crate::money::NanoUsd;
use crate::policy::*;
use crate::row::{Bill, RequestInfo, Row};
use std::time::Duration;

const NOON: UnixMs = UnixMs(1_709_121_600_000);
const DAY_MS: u64 = 86_400_000;
/// No thresholds.
const NONE: [u8; 0] = [];

/// A state whose calls are given one by one. Amounts are in nano-USD.
pub(super) fn state(budget: Option<u64>, agents: &[Option<u64>], on_budget: OnBudget) -> State {
    state_of(Spending { budget: budget.map(NanoUsd), on_budget, ..Spending::default() }, agents, (0, &[]))
}

pub(super) fn state_of(spending: Spending, agents: &[Option<u64>], spent: (u64, &[u64])) -> State {
    let agent = |(index, budget): (usize, &Option<u64>)| Agent {
        name: format!("agent-{index}"),
        token: Secret::new(format!("token-{index}")),
        budget: budget.map(NanoUsd),
    };
    let agents: Vec<_> = agents.iter().enumerate().map(agent).collect();
    State::new(&spending, &agents, (NanoUsd(spent.0), spent.1.iter().copied().map(NanoUsd).collect()), NOON)
}

/// A call that costs `amount` at most, and has no output to limit.
pub(super) fn fixed(amount: u64) -> Quote {
    Quote { input_pico_usd: u128::from(amount) * 1000, ..Quote::default() }
}

/// A call that costs 1 for its input and 1 for each token of output, of which the model makes 10,000 at most.
pub(super) fn chat(own_limit: Option<u64>) -> Quote {
    Quote { input_pico_usd: 1000, output_pico_usd: 1000, own_limit, model_limit: 10_000, least_limit: 16, field: Some("max_tokens") }
}

pub(super) fn row(cost: Option<u64>) -> Row {
    let info = RequestInfo {
        serial: 1,
        at: NOON,
        agent: None,
        upstream: "openai".into(),
        method: "POST".into(),
        path: "/v1/chat/completions".into(),
        model: Some("m".into()),
        stream: false,
        request_bytes: None,
        translated: false,
    };
    let outcome = Outcome { status: 200, ..Outcome::failed(200, End::Complete, Duration::ZERO) };
    Row::new(info, outcome, Bill { cost: cost.map(NanoUsd), ..Bill::default() }, None)
}

fn ask(quote: &Quote) -> Ask<'_> {
    Ask { agent: None, quote: Some(quote), leased: false }
}

fn of_agent(quote: &Quote, index: usize) -> Ask<'_> {
    Ask { agent: Some(AgentId(index)), ..ask(quote) }
}

fn leased(quote: &Quote) -> Ask<'_> {
    Ask { leased: true, ..ask(quote) }
}

#[track_caller]
fn forward(state: &mut State, ask: &Ask<'_>, ticket: Option<Ticket>) -> Hold {
    match admit(state, ask, ticket, NOON) {
        Verdict::Forward(hold) => hold,
        other => panic!("not forwarded: {other:?}"),
    }
}

#[track_caller]
fn wait(state: &mut State, ask: &Ask<'_>, ticket: Option<Ticket>) -> Ticket {
    match admit(state, ask, ticket, NOON) {
        Verdict::Wait(ticket) => ticket,
        other => panic!("does not wait: {other:?}"),
    }
}

#[track_caller]
fn refused(state: &mut State, ask: &Ask<'_>, ticket: Option<Ticket>) -> Refusal {
    match admit(state, ask, ticket, NOON) {
        Verdict::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn end(state: &mut State, hold: Hold, cost: u64) -> Vec<u8> {
    percents(&settle(state, hold, &row(Some(cost)), NOON))
}

fn percents(crossings: &[Crossing]) -> Vec<u8> {
    crossings.iter().map(|crossing| crossing.percent).collect()
}

#[test]
fn without_a_budget_everything_goes_and_is_counted() {
    let mut state = state(None, &[None], OnBudget::Clamp);
    let holds = [ask(&fixed(7)), of_agent(&fixed(u64::MAX), 0), of_agent(&fixed(u64::MAX), 9), Ask { quote: None, ..ask(&fixed(0)) }]
        .map(|ask| forward(&mut state, &ask, None));
    assert_eq!((state.held(), state.totals().in_flight), (NanoUsd(u64::MAX), 4));
    for hold in holds {
        assert_eq!(hold.clamp(), None);
        assert_eq!(end(&mut state, hold, 5), NONE);
    }
    assert_eq!((state.spent(), state.held(), state.budget_status()), (NanoUsd(20), NanoUsd::ZERO, None));
    assert_eq!(state.agent_status(AgentId(0)), Some(AccountStatus { spent: NanoUsd(5), ..AccountStatus::default() }));
    assert_eq!(state.agent_status(AgentId(9)), None);
}

#[test]
fn a_budget_of_nothing_allows_nothing_metered() {
    for (budget, agent) in [(Some(0), None), (None, Some(0)), (Some(5), Some(0))] {
        let mut state = state(budget, &[agent], OnBudget::Clamp);
        for quote in [fixed(0), fixed(1), chat(None)] {
            let refusal = refused(&mut state, &of_agent(&quote, 0), None);
            assert_eq!((refusal.reason, refusal.retry), (Reason::BudgetExceeded, Retry::Never));
            assert!(refusal.message.contains("Limit: $0.00") && refusal.message.contains("nothing fits"), "{}", refusal.message);
        }
        let free = Ask { quote: None, ..of_agent(&fixed(0), 0) };
        let hold = forward(&mut state, &free, None);
        assert_eq!(end(&mut state, hold, 0), NONE);
    }
}

#[test]
fn the_texts_of_refusals() {
    let mut state = state_of(
        Spending { budget: Some(NanoUsd::from_usd(1.0).unwrap()), on_budget: OnBudget::Refuse, ..Spending::default() },
        &[Some(40)],
        (0, &[]),
    );
    let hold = forward(&mut state, &ask(&fixed(900_000_000)), None);
    end(&mut state, hold, 900_000_000);
    let _held = forward(&mut state, &ask(&fixed(99_999_500)), None);
    let exceeded = refused(&mut state, &ask(&Quote { output_pico_usd: 1_000_000_000, ..chat(None) }), None);
    assert_eq!(
        exceeded.message,
        "Iron Cage budget limit exceeded. Spent: $0.90, Reserved: $0.0999995, Limit: $1.00. This call may cost up to $10.000000001; nothing \
         fits now. Raise the limit with --budget or set_budget(), or send a shorter request with a lower max_tokens."
    );
    let quote = chat(Some(600));
    let ticket = wait(&mut state, &ask(&quote), None);
    let insufficient = give_up(&mut state, &ask(&quote), ticket);
    assert_eq!(
        insufficient.message,
        "Iron Cage budget is held by other calls. Spent: $0.90, Reserved: $0.0999995, Limit: $1.00. This call may cost up to $0.000000601; at \
         most 499 output tokens would fit now; waited 5 s (--budget-wait). Try again when they have ended, or wait longer with --budget-wait. \
         Raise the limit with --budget or set_budget(), or set max_tokens to 499 or less."
    );
    assert_eq!((insufficient.reason, insufficient.retry), (Reason::InsufficientBudget, Retry::After(1)));
    let agents = refused(&mut state, &of_agent(&chat(None), 0), None);
    assert_eq!(
        agents.message,
        "Iron Cage budget limit exceeded. Spent: $0.00, Reserved: $0.00, Limit: $0.00000004. This is the budget of agent \"agent-0\". This call \
         may cost up to $0.000010001; at most 39 output tokens would fit now. Raise the budget of agent \"agent-0\" ([agents.agent-0] budget, in \
         Python agents=), or set max_tokens to 39 or less."
    );
    let mut clamping = super::tests::state(Some(10), &[], OnBudget::Clamp);
    let clamped = refused(&mut clamping, &ask(&chat(None)), None);
    assert!(
        clamped.message.contains("This call may cost up to $0.000010001, and $0.000000017 with its output limited to 16 tokens; at most 9")
    );
}

#[test]
fn a_clamp_takes_what_is_free_of_the_smallest_account() {
    let mut state = state(Some(5000), &[Some(3000)], OnBudget::Clamp);
    let whole = forward(&mut state, &of_agent(&chat(Some(1000)), 0), None);
    assert_eq!((whole.amount, whole.clamp()), (NanoUsd(1001), None));
    let lowered = forward(&mut state, &of_agent(&chat(Some(5000)), 0), None);
    assert_eq!((lowered.amount, lowered.clamp()), (NanoUsd(1999), Some(1998)));
    let modest = forward(&mut state, &ask(&chat(None)), None);
    assert_eq!((modest.amount, modest.clamp()), (NanoUsd(1025), Some(1024)));
    assert_eq!((state.held(), state.agent_status(AgentId(0)).unwrap().held), (NanoUsd(4025), NanoUsd(3000)));
    for (hold, cost) in [(whole, 1001), (lowered, 2), (modest, 3)] {
        end(&mut state, hold, cost);
    }
    assert_eq!(state.budget_status(), Some((NanoUsd(1006), NanoUsd(5000))));
    assert_eq!(
        state.agent_status(AgentId(0)),
        Some(AccountStatus { spent: NanoUsd(1003), held: NanoUsd::ZERO, limit: Some(NanoUsd(3000)) })
    );
}

#[test]
fn the_line_is_fair() {
    let mut state = state(Some(100), &[], OnBudget::Refuse);
    let (large, small, free) = (fixed(80), fixed(10), fixed(0));
    let held = forward(&mut state, &ask(&fixed(60)), None);
    let first = wait(&mut state, &ask(&large), None);
    // It would fit, but goes behind the first; what costs nothing does not.
    let second = wait(&mut state, &ask(&small), None);
    let passes = forward(&mut state, &ask(&free), None);
    end(&mut state, passes, 0);
    let second = wait(&mut state, &ask(&small), Some(second));
    assert_eq!(state.waiting(), 2);
    end(&mut state, held, 20);
    // The first fits now and has only not asked again.
    let second = wait(&mut state, &ask(&small), Some(second));
    let held = forward(&mut state, &ask(&large), Some(first));
    assert_eq!(state.waiting(), 1);
    let second = wait(&mut state, &ask(&small), Some(second));
    end(&mut state, held, 80);
    // Now it can never fit.
    assert_eq!(refused(&mut state, &ask(&small), Some(second)).reason, Reason::BudgetExceeded);
    assert_eq!((state.waiting(), state.held()), (0, NanoUsd::ZERO));
}

#[test]
fn who_gives_up_or_leaves_makes_way() {
    let mut state = state(Some(100), &[], OnBudget::Refuse);
    let (large, small) = (fixed(80), fixed(10));
    let _held = forward(&mut state, &ask(&fixed(60)), None);
    let (first, second, third) =
        (wait(&mut state, &ask(&large), None), wait(&mut state, &ask(&large), None), wait(&mut state, &ask(&small), None));
    assert_eq!(give_up(&mut state, &ask(&large), first).reason, Reason::InsufficientBudget);
    let third = wait(&mut state, &ask(&small), Some(third));
    leave(&mut state, second);
    let _third = forward(&mut state, &ask(&small), Some(third));
    assert_eq!((state.waiting(), state.held()), (0, NanoUsd(70)));
}

#[test]
fn agents_wait_for_their_own_account_alone() {
    let mut state = state(Some(1000), &[Some(100), Some(100)], OnBudget::Refuse);
    let quote = fixed(80);
    let held = forward(&mut state, &of_agent(&quote, 0), None);
    let waiting = wait(&mut state, &of_agent(&quote, 0), None);
    let other = forward(&mut state, &of_agent(&quote, 1), None);
    let own = forward(&mut state, &ask(&quote), None);
    let behind = wait(&mut state, &of_agent(&fixed(1), 0), None);
    end(&mut state, held, 0);
    // The agent's account is free again; until it has asked, it is first on the router's too.
    let newcomer = wait(&mut state, &ask(&fixed(1)), None);
    let waiting = forward(&mut state, &of_agent(&quote, 0), Some(waiting));
    let behind = forward(&mut state, &of_agent(&fixed(1), 0), Some(behind));
    let newcomer = forward(&mut state, &ask(&fixed(1)), Some(newcomer));
    for hold in [other, own, waiting, newcomer, behind] {
        end(&mut state, hold, 1);
    }
    assert_eq!((state.held(), state.spent(), state.waiting()), (NanoUsd::ZERO, NanoUsd(5), 0));
}

#[test]
fn the_line_is_bounded() {
    let mut state = state(Some(100), &[], OnBudget::Refuse);
    let quote = fixed(80);
    let _held = forward(&mut state, &ask(&quote), None);
    let mut tickets: Vec<_> = (0..MAX_WAITING).map(|_| wait(&mut state, &ask(&quote), None)).collect();
    let refusal = refused(&mut state, &ask(&quote), None);
    assert_eq!((refusal.reason, refusal.retry), (Reason::InsufficientBudget, Retry::After(1)));
    assert!(refusal.message.contains("1024 calls are waiting already"), "{}", refusal.message);
    // Who is in it keeps the place.
    let last = tickets.pop().map(|ticket| wait(&mut state, &ask(&quote), Some(ticket)));
    tickets.into_iter().chain(last).for_each(|ticket| leave(&mut state, ticket));
    assert_eq!(state.waiting(), 0);
}

#[test]
fn the_limit_moves_while_calls_wait() {
    let mut state = state(Some(100), &[Some(90)], OnBudget::Refuse);
    let quote = fixed(60);
    let held = forward(&mut state, &of_agent(&quote, 0), None);
    let waiting = wait(&mut state, &of_agent(&quote, 0), None);
    assert!(set_budget(&mut state, Some(NanoUsd(200))).is_empty());
    let waiting = wait(&mut state, &of_agent(&quote, 0), Some(waiting));
    assert!(set_agent_budget(&mut state, AgentId(0), Some(NanoUsd(120))).is_empty());
    let second = forward(&mut state, &of_agent(&quote, 0), Some(waiting));
    let waiting = wait(&mut state, &of_agent(&quote, 0), None);
    set_budget(&mut state, Some(NanoUsd(10)));
    assert_eq!(refused(&mut state, &of_agent(&quote, 0), Some(waiting)).reason, Reason::BudgetExceeded);
    assert_eq!(end(&mut state, held, 60), [50, 80, 95, 100, 50], "the router's, then the agent's");
    end(&mut state, second, 0);
    set_budget(&mut state, None);
    set_agent_budget(&mut state, AgentId(0), None);
    assert!(set_agent_budget(&mut state, AgentId(7), None).is_empty());
    assert_eq!(forward(&mut state, &of_agent(&fixed(u64::MAX), 0), None).clamp(), None);
}

#[test]
fn a_limit_set_while_calls_are_under_way_knows_what_they_hold() {
    let mut state = state(None, &[], OnBudget::Refuse);
    let held = forward(&mut state, &ask(&fixed(60)), None);
    set_budget(&mut state, Some(NanoUsd(100)));
    let waiting = wait(&mut state, &ask(&fixed(60)), None);
    // A cost above the hold is booked in full.
    assert_eq!(end(&mut state, held, 130), [50, 80, 95, 100]);
    assert_eq!(state.budget_status(), Some((NanoUsd(130), NanoUsd(100))));
    assert_eq!(refused(&mut state, &ask(&fixed(60)), Some(waiting)).reason, Reason::BudgetExceeded);
}

#[test]
fn thresholds_of_a_lowered_limit() {
    let mut state = state(Some(1000), &[], OnBudget::Refuse);
    let hold = forward(&mut state, &ask(&fixed(400)), None);
    assert_eq!(end(&mut state, hold, 400), NONE);
    let crossings = set_budget(&mut state, Some(NanoUsd(500)));
    assert_eq!(crossings.first(), Some(&Crossing { agent: None, percent: 50, spent: NanoUsd(400), limit: NanoUsd(500) }));
    assert_eq!(percents(&crossings), [50, 80]);
    assert_eq!(percents(&set_budget(&mut state, Some(NanoUsd(500)))), NONE);
    assert_eq!(percents(&set_budget(&mut state, Some(NanoUsd(1000)))), NONE);
    let hold = forward(&mut state, &ask(&fixed(400)), None);
    assert_eq!(end(&mut state, hold, 400), [50, 80]);
}

#[test]
fn windows() {
    for (window, spent, crossed) in [(Window::Run, 0, vec![]), (Window::Total, 70, vec![80]), (Window::Day, 70, vec![80])] {
        let spending = Spending { budget: Some(NanoUsd(100)), on_budget: OnBudget::Refuse, window, ..Spending::default() };
        let mut state = state_of(spending, &[Some(100)], (70, &[40]));
        assert_eq!(state.status().spent, NanoUsd(spent), "{window:?}");
        let hold = forward(&mut state, &ask(&fixed(15)), None);
        assert_eq!(end(&mut state, hold, 15), crossed, "{window:?}: earlier rows told of 50 when they came");
        let (over_midnight, agents) = (forward(&mut state, &ask(&fixed(5)), None), forward(&mut state, &of_agent(&fixed(10), 0), None));
        let tomorrow = UnixMs(NOON.0 + DAY_MS);
        advance(&mut state, tomorrow);
        let restarts = window == Window::Day;
        assert_eq!(state.status().spent, NanoUsd(if restarts { 0 } else { spent + 15 }), "{window:?}");
        assert_eq!(state.held(), NanoUsd(15));
        settle(&mut state, over_midnight, &row(Some(5)), tomorrow);
        // A clock set back changes nothing.
        settle(&mut state, agents, &row(Some(10)), NOON);
        let before = if restarts { 0 } else { spent + 15 };
        assert_eq!(state.status().spent, NanoUsd(before + 15), "{window:?}");
        assert_eq!(state.spent(), NanoUsd(30), "{window:?}: since the start, whatever the window");
    }
}

#[test]
fn leases() {
    let mut state = state(Some(1000), &[], OnBudget::Refuse);
    let quote = fixed(60);
    let unreachable = refused(&mut state, &leased(&quote), None);
    assert_eq!((unreachable.reason, unreachable.retry), (Reason::Overloaded("control_server_unreachable"), Retry::After(1)));
    assert_eq!((lease_status(&state), lease_is_low(&state)), (None, false));
    let free = forward(&mut state, &Ask { quote: None, ..leased(&quote) }, None);
    end(&mut state, free, 0);

    lease_begin(&mut state, NanoUsd(100));
    assert!(!lease_is_low(&state));
    let first = forward(&mut state, &leased(&quote), None);
    // Does not fit: waits for the hold, though nothing is low yet; and then for another lease.
    let second = wait(&mut state, &leased(&quote), None);
    assert!(!lease_is_low(&state));
    end(&mut state, first, 50);
    let second = wait(&mut state, &leased(&quote), Some(second));
    assert!(lease_is_low(&state), "somebody wants more than is left");
    // A smaller call need not wait with it.
    let small = forward(&mut state, &leased(&fixed(30)), None);
    assert_eq!(lease_status(&state), Some(LeaseStatus { granted: NanoUsd(100), spent: NanoUsd(50), held: NanoUsd(30) }));

    lease_renew(&mut state, NanoUsd(80));
    assert_eq!(lease_status(&state), Some(LeaseStatus { granted: NanoUsd(80), spent: NanoUsd::ZERO, held: NanoUsd(30) }));
    let second = wait(&mut state, &leased(&quote), Some(second));
    end(&mut state, small, 10);
    let second = forward(&mut state, &leased(&quote), Some(second));
    assert!(lease_is_low(&state), "10 of 80 are free");
    end(&mut state, second, 60);
    assert_eq!(state.spent(), NanoUsd(120));

    let third = wait(&mut state, &leased(&quote), None);
    lease_exhausted(&mut state, true);
    let refusal = refused(&mut state, &leased(&quote), Some(third));
    assert_eq!((refusal.reason, refusal.retry), (Reason::BudgetExceeded, Retry::Never));
    assert!(refusal.message.contains("Limit: $0.00000008. This is the lease of the control server."), "{}", refusal.message);
    let own = forward(&mut state, &ask(&quote), None);
    end(&mut state, own, 60);

    let under_way = forward(&mut state, &leased(&fixed(10)), None);
    lease_end(&mut state);
    assert_eq!(refused(&mut state, &leased(&quote), None).reason, Reason::Overloaded("control_server_unreachable"));
    lease_begin(&mut state, NanoUsd(65));
    let fourth = wait(&mut state, &leased(&quote), None);
    end(&mut state, under_way, 4);
    let fourth = forward(&mut state, &leased(&quote), Some(fourth));
    end(&mut state, fourth, 60);
    assert_eq!(lease_status(&state), Some(LeaseStatus { granted: NanoUsd(65), spent: NanoUsd(64), held: NanoUsd::ZERO }));
}

#[test]
fn a_budget_beside_a_lease_is_a_second_cap() {
    let mut state = state(Some(50), &[], OnBudget::Clamp);
    lease_begin(&mut state, NanoUsd(1000));
    assert_eq!(forward(&mut state, &leased(&chat(Some(100))), None).clamp(), Some(49));
    set_budget(&mut state, Some(NanoUsd(60)));
    assert_eq!(refused(&mut state, &leased(&fixed(61)), None).reason, Reason::BudgetExceeded);
    lease_renew(&mut state, NanoUsd(52));
    let _waits = wait(&mut state, &leased(&fixed(10)), None);
}

#[test]
fn a_stopping_router_empties_its_line() {
    let mut state = state(Some(100), &[], OnBudget::Refuse);
    let quote = fixed(80);
    let held = forward(&mut state, &ask(&quote), None);
    let waiting = wait(&mut state, &ask(&quote), None);
    state.close();
    assert_eq!(refused(&mut state, &ask(&quote), Some(waiting)).reason, Reason::Overloaded("router_stopping"));
    end(&mut state, held, 80);
    assert_eq!((state.waiting(), state.held(), state.totals().in_flight), (0, NanoUsd::ZERO, 0));
}

#[test]
fn counts() {
    let mut state = state(Some(100), &[], OnBudget::Refuse);
    let (good, failed, unpriced) = (
        forward(&mut state, &ask(&fixed(10)), None),
        forward(&mut state, &ask(&fixed(10)), None),
        forward(&mut state, &Ask { quote: None, ..ask(&fixed(0)) }, None),
    );
    assert_eq!(state.totals(), Totals { in_flight: 3, ..Totals::default() });
    end(&mut state, good, 7);
    let cut = Row { outcome: Outcome::failed(0, End::UpstreamCut, Duration::ZERO), ..row(Some(9)) };
    settle(&mut state, failed, &cut, NOON);
    settle(&mut state, unpriced, &row(None), NOON);
    refuse(&mut state, &Row { outcome: Outcome::failed(402, End::Refused, Duration::ZERO), ..row(Some(0)) });
    count_refusal(&mut state);
    assert_eq!(state.totals(), Totals { requests: 5, failed: 1, refused: 2, in_flight: 0 });
    assert_eq!((state.spent(), state.unpriced()), (NanoUsd(16), 1));
    let of_model = state.tally().by_model["m"];
    assert_eq!((of_model.requests, of_model.failed, of_model.refused, of_model.cost_nano_usd), (4, 1, 1, 16));
    assert_eq!((state.tally().all.requests, state.tally().by_model.len()), (5, 1));
}
