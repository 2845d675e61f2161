//! What a call that the budget turns away is told: the figures, what would fit, what to do.

use super::account::{Account, Owner};
use super::line::MAX_WAITING;
use crate::call::{Reason, Refusal};
use crate::money::NanoUsd;
use crate::policy::Quote;
use std::time::Duration;

/// Spent leaves too little on `account`, even if no other call were under way.
pub(super) fn exceeded(account: &Account, quote: &Quote, least: NanoUsd) -> Refusal {
    let message = format!(
        "Iron Cage budget limit exceeded. {} {} {}. {}.",
        figures(account),
        need(quote, least),
        fitting(account, quote),
        advice(account, quote)
    );
    Refusal::new(Reason::BudgetExceeded, message)
}

/// The holds of other calls have left too little on `account` for as long as the call could wait.
pub(super) fn insufficient(account: &Account, quote: &Quote, least: NanoUsd, waited: Duration) -> Refusal {
    let message = format!(
        "Iron Cage budget is held by other calls. {} {} {}; waited {} s (--budget-wait). Try again when they have ended, or wait longer \
         with --budget-wait. {}.",
        figures(account),
        need(quote, least),
        fitting(account, quote),
        waited.as_secs_f64(),
        advice(account, quote)
    );
    Refusal::new(Reason::InsufficientBudget, message)
}

/// The line is full.
pub(super) fn line_is_full(account: &Account, quote: &Quote, least: NanoUsd) -> Refusal {
    let message = format!(
        "Iron Cage budget is held by other calls. {} {} {}, and {MAX_WAITING} calls are waiting already. Try again when some have ended. {}.",
        figures(account),
        need(quote, least),
        fitting(account, quote),
        advice(account, quote)
    );
    Refusal::new(Reason::InsufficientBudget, message)
}

/// The control server pays for the call, and has granted no lease.
pub(super) fn no_lease() -> Refusal {
    Refusal::new(
        Reason::Overloaded("control_server_unreachable"),
        "this call is paid from a lease of the control server (--server-url), and the router has none now: the server has not been reached, \
         or has not granted one; try again in a moment",
    )
}

fn figures(account: &Account) -> String {
    let limit = account.limit.unwrap_or_default();
    let whose = match &account.owner {
        Owner::Router => String::new(),
        Owner::Agent(name) => format!(" This is the budget of agent {name:?}."),
        Owner::Lease => " This is the lease of the control server.".into(),
    };
    format!("Spent: {}, Reserved: {}, Limit: {limit}.{whose}", account.spent, account.held())
}

fn need(quote: &Quote, least: NanoUsd) -> String {
    let whole = quote.at(quote.limit());
    if least < whole {
        return format!("This call may cost up to {whole}, and {least} with its output limited to {} tokens;", quote.least_limit);
    }
    format!("This call may cost up to {whole};")
}

fn fitting(account: &Account, quote: &Quote) -> String {
    match tokens(account, quote) {
        Some(tokens) => format!("at most {tokens} output tokens would fit now"),
        None => "nothing fits now".into(),
    }
}

/// The output tokens that would fit now; `None`: not one.
fn tokens(account: &Account, quote: &Quote) -> Option<u64> {
    let tokens = account.free().and_then(|free| quote.fitting(free))?;
    (tokens > 0 && quote.output_pico_usd > 0).then_some(tokens.min(quote.limit()))
}

fn advice(account: &Account, quote: &Quote) -> String {
    let raise = match &account.owner {
        Owner::Router => "Raise the limit with --budget or set_budget()".to_string(),
        Owner::Agent(name) => format!("Raise the budget of agent {name:?} ([agents.{name}] budget, in Python agents=)"),
        Owner::Lease => "Raise the budget at the control server".to_string(),
    };
    match (quote.field, tokens(account, quote)) {
        _ if account.limit == Some(NanoUsd::ZERO) => raise,
        (Some(field), Some(tokens)) => format!("{raise}, or set {field} to {tokens} or less"),
        (Some(field), None) => format!("{raise}, or send a shorter request with a lower {field}"),
        (None, _) => format!("{raise}, or send a shorter request"),
    }
}
