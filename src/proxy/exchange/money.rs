//! The money of one exchange: what it may cost, whether that may be spent, what a budget changes in the request, and where its row goes.

use super::super::lease::{Leases, STOP_DEADLINE};
use super::super::open::Money;
use super::super::purse::Denied;
use super::super::tell;
use super::{Admitted, Edited, Proxy, Routed};
use crate::call::{Endpoint, Inbound, Reason, Refusal};
use crate::config::{Allow, Key, OnLedgerError, UsageMode};
use crate::event::{Crossing, Event};
use crate::http::Client;
use crate::policy::{self, Ask, Quote};
use crate::row::{self, RequestInfo, Row};
use crate::wire::headers;
use crate::wire::terms::{self, Metering};
use std::sync::Arc;

/// How many leases are asked for, for one call, at most.
const MOST_LEASES: u32 = 3;

impl Proxy {
    /// What the call may cost, and whether that may be spent now. Where the lease ends between its grant and the call's admission, another
    /// is asked for; where more was lent at the moment when the call gave up waiting, it tries once more.
    pub(super) fn admit(&self, routed: &Routed<'_>, request: &Inbound<'_>, client: &Client) -> Result<Admitted, Denied> {
        let mut left = MOST_LEASES;
        loop {
            left -= 1;
            match self.admit_once(routed, request, client) {
                Err(Denied::NoLease(_)) if left > 0 => {}
                other => return other,
            }
        }
    }

    fn admit_once(&self, routed: &Routed<'_>, request: &Inbound<'_>, client: &Client) -> Result<Admitted, Denied> {
        let money = self.money(routed, request).map_err(Denied::Refused)?;
        let mut quote = None;
        if self.is_limited(routed, &money) {
            // What is let through without a worst case still stops where nothing may be spent.
            quote = Some(self.quote(routed, &money).map_err(Denied::Refused)?.unwrap_or_default());
        }
        let ask = Ask { agent: routed.agent, quote: quote.as_ref(), leased: money.leased };
        let ask_more = || self.leases.iter().filter(|_| money.leased).for_each(Leases::ask_more);
        match (self.purse.admit(&ask, client, routed.at, ask_more), &self.leases) {
            (Ok(hold), _) => Ok((money, hold, quote)),
            (Err(Denied::LeaseShort(refused)), Some(leases)) => match leases.short(refused) {
                (refused, true) => Err(Denied::NoLease(refused)),
                (refused, false) => Err(Denied::Refused(refused)),
            },
            (Err(denied), _) => Err(denied),
        }
    }

    /// How the call will be billed.
    fn money(&self, routed: &Routed<'_>, request: &Inbound<'_>) -> Result<Money, Refusal> {
        if self.config.on_ledger_error == OnLedgerError::Stop {
            self.books.ready().map_err(|fault| {
                let message =
                    format!("the ledger can't keep a row, and calls without one are not wanted (--on-ledger-error stop): {fault}");
                Refusal::new(Reason::Overloaded("ledger_unavailable"), message)
            })?;
        }
        let call = &routed.call;
        let upstream = &self.config.upstreams[call.upstream.0];
        let metering = match terms::metered(call.method, call.path, call.endpoint) {
            Metering::Read if routed.body.is_none() => Metering::Unbounded("a compressed or streamed request body"),
            Metering::Free if headers::overrides_method(&request.headers) => Metering::Unbounded("a header gives it another method"),
            other => other,
        };
        let model = routed.real_model.or(call.model.as_deref()).filter(|_| metering == Metering::Read);
        let price = model.and_then(|model| self.prices.find(&upstream.name, upstream.protocol, model));
        let leased = match (&upstream.key, &routed.assigned, &self.leases) {
            (Key::Control, Some(assigned), Some(leases)) if metering != Metering::Free => leases.ensure(assigned.provider)?,
            _ => false,
        };
        Ok(Money { metering, price, leased })
    }

    /// Whether a limit bears on the call.
    fn is_limited(&self, routed: &Routed<'_>, money: &Money) -> bool {
        let own = || routed.agent.is_some_and(|agent| self.config.agents[agent.0].budget.is_some());
        money.metering != Metering::Free && (money.leased || self.purse.is_limited() || own())
    }

    /// The worst case, if there is one.
    fn quote(&self, routed: &Routed<'_>, money: &Money) -> Result<Option<Quote>, Refusal> {
        let (call, spending) = (&routed.call, &self.config.spending);
        match (&money.metering, spending.unmetered) {
            (Metering::Free, _) | (Metering::Unbounded(_), Allow::Allow) => Ok(None),
            (Metering::Unbounded(what), Allow::Refuse) => Err(Refusal::new(
                Reason::Unmetered,
                format!(
                    "{} {}: {what}: its cost has no bound that could be held against the budget; let such requests through with --unmetered allow",
                    call.method, call.path
                ),
            )),
            (Metering::Read, _) => {
                let reading = terms::read(call.endpoint, routed.body_bytes().unwrap_or_default())?;
                let model = routed.real_model.or(reading.model.as_deref());
                let quote = policy::quote(money.price.as_deref(), &reading.terms, model, spending)?;
                Ok(quote.map(|quote| Quote { field: routed.field_told(quote.field), ..quote }))
            }
        }
    }

    /// The edits that a budget makes: a limit lowered or put in, the usage of a stream asked for.
    pub(super) fn edit(&self, routed: &mut Routed<'_>, clamp: Option<u64>, quote: Option<&Quote>) -> Edited {
        let upstream = &self.config.upstreams[routed.call.upstream.0];
        let endpoint = routed.call.endpoint;
        let mut edited = Edited::default();
        if let (Some(limit), Some(quote), Some(body)) = (clamp, quote, routed.body_bytes()) {
            // Compatible servers know the older name only.
            let compatible = upstream.name != "openai" && quote.own_limit.is_none() && endpoint == Endpoint::ChatCompletions;
            let field = if compatible { "max_tokens" } else { quote.field.unwrap_or("max_tokens") };
            let edits = terms::limit_output(body, endpoint, field, limit);
            edited.clamped = Some(format!("{field}={limit}"));
            routed.edit(edits);
        }
        let tells_when_asked = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Completions);
        if edited.clamped.is_none()
            && let Some(limit) = routed.limit_to_insert()
        {
            let edits = routed.body_bytes().map(|body| terms::limit_output(body, endpoint, "max_tokens", limit));
            routed.edit(edits.into_iter().flatten());
        }
        if upstream.usage == UsageMode::Inject && routed.call.stream && tells_when_asked {
            let edit = routed.body_bytes().and_then(terms::include_usage);
            edited.usage_asked = edit.is_some();
            routed.edit(edit);
        }
        edited
    }

    /// What is known of a call when it begins.
    pub(in super::super) fn info(&self, routed: &Routed<'_>, serial: u64) -> RequestInfo {
        let call = &routed.call;
        // A label that is an agent's name would have the agent's account pay, once the rows are counted again at the next start.
        let label = routed.label.filter(|label| !self.config.agents.iter().any(|agent| agent.name == *label));
        let agent = routed.agent.map(|agent| self.config.agents[agent.0].name.as_str()).or(label);
        RequestInfo {
            serial,
            at: routed.at,
            agent: agent.map(Arc::from),
            upstream: self.names[call.upstream.0].clone(),
            method: row::kept(call.method),
            path: row::kept(routed.asked_path),
            model: call.model.as_deref().map(row::name),
            stream: call.stream,
            request_bytes: routed.body_bytes().map(|body| body.len() as u64),
            translated: routed.translation.is_some(),
        }
    }

    /// Puts a row into the ledger, and with it what the control server must hear of it: all of it survives, or nothing. A row that can't
    /// be kept is told as loudly as can be.
    pub(in super::super) fn keep(&self, row: &Arc<Row>, leased: bool) {
        let kept = match &self.leases {
            None => self.books.record(row),
            Some(leases) => {
                let mut note = leases.note(row, leased);
                let kept = self.books.record_with(row, &note.items, note.lease.as_ref());
                if !matches!(kept, Ok(true)) {
                    leases.put(std::mem::take(&mut note.items));
                }
                leases.noted(&note);
                kept.map(drop)
            }
        };
        if let Err(fault) = kept {
            self.tell(Event::LedgerFailed { at: tell::now(), why: fault.to_string() });
        }
    }

    /// Sends what waits for the control server and returns its lease. For when no call is under way any more.
    pub(crate) fn stop_leases(&self) {
        self.leases.iter().for_each(|leases| leases.stop(STOP_DEADLINE));
    }

    /// Tells the thresholds that were reached.
    pub(crate) fn tell_crossings(&self, crossings: Vec<Crossing>) {
        for crossing in crossings {
            self.tell(Event::ThresholdReached { at: tell::now(), crossing });
        }
    }
}
