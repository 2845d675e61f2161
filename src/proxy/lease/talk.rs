//! The words of the budget protocol: what the server's answers mean. Pure; a reply that is not what the protocol says grants nothing.

use crate::call::{Reason, Refusal, Retry};
use crate::config::Control;
use crate::proxy::control::Answer;
use crate::proxy::keys::{REFUSED, UNREACHABLE};
use serde_json::Value;

/// The most micro-USD that a grant can be: more is no sum that anybody meant.
const MOST_MICRO_USD: u64 = 1_000_000_000_000_000;

/// The longest id of a lease.
const MAX_ID_BYTES: usize = 200;

/// A lease that ends sooner than this is as good as ended, seconds.
pub(super) const MARGIN_S: u64 = 5;

/// A lease, as granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Grant {
    /// Its name.
    pub(in crate::proxy) lease_id: String,
    /// Micro-USD lent.
    pub(in crate::proxy) granted: u64,
    /// Micro-USD left to lend, if the server tells.
    pub(in crate::proxy) remaining: Option<u64>,
    /// When it ends, seconds since 1970.
    pub(in crate::proxy) expires_at: Option<u64>,
}

/// A handshake that led to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) struct Unshaken {
    /// What the call is answered.
    pub(in crate::proxy) refusal: Refusal,
    /// The lease that a reply names which is useless otherwise: it should be returned.
    pub(in crate::proxy) lent: Option<String>,
}

impl From<Refusal> for Unshaken {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, lent: None }
    }
}

/// What a handshake's answer means; `None`: this server keeps no budgets. `now` is seconds since 1970.
pub(in crate::proxy) fn handshake(answer: &Answer, control: &Control, now: u64) -> Result<Option<Grant>, Unshaken> {
    if answer.is_unknown_call() {
        return Ok(None);
    }
    if answer.status == 200 {
        let body = object(&answer.body).map_err(|why| unreachable(control, why))?;
        // Some servers have one answer for every address.
        if ["lease_id", "budget_granted", "ip_token"].iter().all(|field| !body.contains_key(*field)) {
            return Ok(None);
        }
        return grant(&body, now).map(Some).map_err(|why| Unshaken { refusal: unreachable(control, why), lent: lease_id(&body).ok() });
    }
    let refusal = match answer.status {
        403 if is_about_the_limit(answer) => no_budget(answer, control),
        400 | 401 => refused(answer, control, "check the IC token (api_key, IC_TOKEN): it is wrong, revoked or replaced"),
        403 => refused(answer, control, "check the provider key assigned to this agent there, and that it is enabled"),
        404 => refused(answer, control, "assign a key of that provider to this agent there"),
        300..=399 => unreachable(control, &format!("status {}: redirects are not followed", answer.status)),
        _ => unreachable(control, &format!("status {}", answer.said(control))),
    };
    Err(refusal.into())
}

/// What a refresh's answer means.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Refreshed {
    /// This lease in the place of the old one.
    Approved(Grant),
    /// There is no more; the old one goes on.
    Denied,
    /// The old lease is no more; why.
    Ended(String),
    /// The token is no more; why.
    Revoked(String),
    /// No answer that means anything; why.
    Failed(String),
}

/// What a refresh's answer means; `current` is the lease to be replaced.
pub(in crate::proxy) fn refresh(answer: &Answer, control: &Control, current: &str, now: u64) -> Refreshed {
    match answer.status {
        200 => renewed(&answer.body, current, now).unwrap_or_else(|why| Refreshed::Failed(why.into())),
        401 => Refreshed::Revoked(answer.said(control)),
        403 if is_about_the_limit(answer) => Refreshed::Denied,
        _ if answer.is_passing() => Refreshed::Failed(format!("status {}", answer.said(control))),
        400..=499 => Refreshed::Ended(answer.said(control)),
        other => Refreshed::Failed(format!("status {other}")),
    }
}

fn renewed(body: &[u8], current: &str, now: u64) -> Result<Refreshed, &'static str> {
    let body = object(body)?;
    match body.get("status").and_then(Value::as_str) {
        Some("denied") => Ok(Refreshed::Denied),
        Some("approved") => {
            let grant = grant(&body, now)?;
            if grant.lease_id == current { Err("the reply's lease_id is the old one") } else { Ok(Refreshed::Approved(grant)) }
        }
        _ => Err("the reply's status is neither approved nor denied"),
    }
}

/// What becomes of a message that was sent: a report, an event, a return.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Sent {
    /// It arrived.
    Done,
    /// It will never be taken; why.
    Dropped(String),
    /// As before, because of its lease.
    Ended(String),
    /// As before, because of the token.
    Revoked(String),
    /// The server does not know this call.
    Unknown,
    /// Once more, later; why.
    Later(String),
}

/// What the answer to a report, a return or an event means.
pub(in crate::proxy) fn sent(answer: &Answer, control: &Control) -> Sent {
    match answer.status {
        200..=299 => Sent::Done,
        _ if answer.is_unknown_call() => Sent::Unknown,
        _ if answer.is_passing() => Sent::Later(format!("status {}", answer.said(control))),
        401 => Sent::Revoked(answer.said(control)),
        403 | 404 => Sent::Ended(answer.said(control)),
        _ => Sent::Dropped(answer.said(control)),
    }
}

/// The server could not be asked, or answered nonsense.
pub(in crate::proxy) fn unreachable(control: &Control, cause: &str) -> Refusal {
    let url = &control.server_url;
    Refusal::new(
        UNREACHABLE,
        format!("no budget: control server {url}: {cause}; check that it runs and that server_url is right, then try again"),
    )
}

/// The lease in use is too small for a call, and the server has not lent more.
pub(in crate::proxy) fn not_lent(control: &Control, cause: &str) -> Refusal {
    let url = &control.server_url;
    let message = format!(
        "what is left of the lease is too little for this call, and control server {url} has not lent more: {cause}; check that it runs, \
         then try again, or send a request that may cost less"
    );
    Refusal::new(UNREACHABLE, message)
}

fn refused(answer: &Answer, control: &Control, advice: &str) -> Refusal {
    let (url, said) = (&control.server_url, answer.said(control));
    Refusal { reason: REFUSED, message: format!("no budget: control server {url} refused with {said}: {advice}"), retry: Retry::Never }
}

fn no_budget(answer: &Answer, control: &Control) -> Refusal {
    let (url, said) = (&control.server_url, answer.said(control));
    Refusal::new(
        Reason::BudgetExceeded,
        format!("the control server grants no budget: {url} refused with {said}; raise this agent's budget there"),
    )
}

fn is_about_the_limit(answer: &Answer) -> bool {
    answer.error().is_some_and(|text| text.to_ascii_lowercase().contains("budget limit exceeded"))
}

type Object = serde_json::Map<String, Value>;

fn object(body: &[u8]) -> Result<Object, &'static str> {
    serde_json::from_slice(body).map_err(|_| "the reply is not what a control server answers")
}

fn lease_id(body: &Object) -> Result<String, &'static str> {
    let id = body.get("lease_id").and_then(Value::as_str).ok_or("the reply has no lease_id")?;
    let fit = !id.is_empty() && id.len() <= MAX_ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
    if fit { Ok(id.to_owned()) } else { Err("the reply's lease_id is empty or malformed") }
}

fn grant(body: &Object, now: u64) -> Result<Grant, &'static str> {
    let lease_id = lease_id(body)?;
    let given = |name| body.get(name).filter(|value| !value.is_null());
    let whole = |name, why| given(name).map(|value| value.as_u64().ok_or(why)).transpose();
    let granted = whole("budget_granted", "the reply's budget_granted is not a whole number of micro-USD")?;
    let granted = granted.ok_or("the reply has no budget_granted")?;
    if granted == 0 {
        return Err("the reply's budget_granted is 0");
    }
    if granted > MOST_MICRO_USD {
        return Err("the reply's budget_granted is absurd");
    }
    let remaining = whole("budget_remaining", "the reply's budget_remaining is not a whole number of micro-USD")?;
    let expires_at = whole("expires_at", "the reply's expires_at is not a whole number of seconds")?;
    if expires_at.is_some_and(|at| at <= now.saturating_add(MARGIN_S)) {
        return Err("the reply's expires_at has passed, or is about to: compare the clocks");
    }
    Ok(Grant { lease_id, granted, remaining, expires_at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use std::time::Duration;
    use zeroize::Zeroizing;

    fn control() -> Control {
        Control { server_url: "http://localhost:9".parse().expect("url"), ic_token: Secret::new("ic_CANARY"), cache_ttl: Duration::ZERO }
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: Zeroizing::new(body.as_bytes().to_vec()), retry_after: None }
    }

    const GOOD: &str =
        r#"{"ip_token":"AES256:a:b:c","lease_id":"lease_1","budget_granted":10000000,"budget_remaining":5,"expires_at":1006}"#;

    #[test]
    fn a_grant_is_read() {
        let grant = Grant { lease_id: "lease_1".into(), granted: 10_000_000, remaining: Some(5), expires_at: Some(1006) };
        assert_eq!(handshake(&answer(200, GOOD), &control(), 1000), Ok(Some(grant.clone())));
        let bare = answer(200, r#"{"lease_id":"lease_1","budget_granted":10000000,"expires_at":null}"#);
        assert_eq!(handshake(&bare, &control(), 1000), Ok(Some(Grant { remaining: None, expires_at: None, ..grant })));
    }

    #[test]
    fn lies_grant_nothing_and_are_named() {
        // body → what is wrong, whether there is a lease to return
        for (body, wrong, lent) in [
            ("", "not what a control server", false),
            ("[]", "not what a control server", false),
            (r#"{"budget_granted":1}"#, "no lease_id", false),
            (r#"{"lease_id":7,"budget_granted":1}"#, "no lease_id", false),
            (r#"{"lease_id":"","budget_granted":1}"#, "lease_id is empty", false),
            (r#"{"lease_id":"a b","budget_granted":1}"#, "lease_id is empty or malformed", false),
            (r#"{"lease_id":"l"}"#, "no budget_granted", true),
            (r#"{"lease_id":"l","budget_granted":null}"#, "no budget_granted", true),
            (r#"{"lease_id":"l","budget_granted":-5}"#, "budget_granted is not a whole number", true),
            (r#"{"lease_id":"l","budget_granted":1.5}"#, "budget_granted is not a whole number", true),
            (r#"{"lease_id":"l","budget_granted":"10"}"#, "budget_granted is not a whole number", true),
            (r#"{"lease_id":"l","budget_granted":1e30}"#, "budget_granted is not a whole number", true),
            (r#"{"lease_id":"l","budget_granted":0}"#, "budget_granted is 0", true),
            (r#"{"lease_id":"l","budget_granted":1000000000000001}"#, "absurd", true),
            (r#"{"lease_id":"l","budget_granted":1,"budget_remaining":-1}"#, "budget_remaining", true),
            (r#"{"lease_id":"l","budget_granted":1,"expires_at":"soon"}"#, "expires_at is not", true),
            (r#"{"lease_id":"l","budget_granted":1,"expires_at":1005}"#, "expires_at has passed", true),
        ] {
            let unshaken = handshake(&answer(200, body), &control(), 1000).expect_err(body);
            assert_eq!((unshaken.refusal.reason, unshaken.refusal.retry), (UNREACHABLE, Retry::After(1)), "{body}");
            assert!(unshaken.refusal.message.contains(wrong), "{body}: {}", unshaken.refusal.message);
            assert!(!unshaken.refusal.message.contains("CANARY"), "{body}");
            assert_eq!(unshaken.lent.is_some(), lent, "{body}");
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        for (status, body, reason, retry, words) in [
            (
                403,
                r#"{"error":"Budget limit exceeded"}"#,
                Reason::BudgetExceeded,
                Retry::Never,
                "the control server grants no budget: http://localhost:9",
            ),
            (403, r#"{"error":"provider key disabled"}"#, REFUSED, Retry::Never, "provider key disabled"),
            (403, "", REFUSED, Retry::Never, "refused with 403"),
            (401, r#"{"error":"ic_CANARY is no token"}"#, REFUSED, Retry::Never, "IC token"),
            (400, r#"{"error":"bad"}"#, REFUSED, Retry::Never, "400 bad"),
            (404, r#"{"error":"no key for that provider"}"#, REFUSED, Retry::Never, "assign a key"),
            (307, "", UNREACHABLE, Retry::After(1), "redirects"),
            (500, r#"{"error":"x"}"#, UNREACHABLE, Retry::After(1), "status 500 x"),
            (429, "", UNREACHABLE, Retry::After(1), "status 429"),
            (201, GOOD, UNREACHABLE, Retry::After(1), "status 201"),
        ] {
            let Unshaken { refusal, lent } = handshake(&answer(status, body), &control(), 0).expect_err(body);
            assert_eq!((refusal.reason, refusal.retry, lent), (reason, retry, None), "{status} {body}");
            assert!(refusal.message.contains(words) && !refusal.message.contains("CANARY"), "{}", refusal.message);
        }
    }

    #[test]
    fn an_older_server_keeps_no_budgets() {
        let no_lease = r#"{"provider_key":"sk-x","provider":"openai"}"#;
        for (status, body) in [(404, "Not Found"), (404, ""), (405, r#"{"detail":"Method Not Allowed"}"#), (501, "<html>"), (200, no_lease)]
        {
            assert_eq!(handshake(&answer(status, body), &control(), 0), Ok(None), "{status} {body}");
        }
    }

    #[test]
    fn refreshes() {
        let approved = r#"{"status":"approved","lease_id":"lease_2","budget_granted":3,"budget_remaining":0,"reason":null}"#;
        let grant = Grant { lease_id: "lease_2".into(), granted: 3, remaining: Some(0), expires_at: None };
        let denied = r#"{"status":"denied","budget_granted":null,"budget_remaining":0,"lease_id":null,"reason":"insufficient_budget"}"#;
        let failed = |why: &str| Refreshed::Failed(why.into());
        for (status, body, expected) in [
            (200, approved, Refreshed::Approved(grant)),
            (200, denied, Refreshed::Denied),
            (200, r#"{"status":"approved","lease_id":"lease_1","budget_granted":3}"#, failed("the reply's lease_id is the old one")),
            (200, r#"{"status":"approved","lease_id":"lease_2"}"#, failed("the reply has no budget_granted")),
            (200, r#"{"status":"perhaps"}"#, failed("the reply's status is neither approved nor denied")),
            (401, r#"{"error":"revoked"}"#, Refreshed::Revoked("401 revoked".into())),
            (403, r#"{"error":"Budget limit exceeded"}"#, Refreshed::Denied),
            (404, r#"{"error":"unknown lease"}"#, Refreshed::Ended("404 unknown lease".into())),
            (400, "", Refreshed::Ended("400".into())),
            (503, "", failed("status 503")),
        ] {
            assert_eq!(refresh(&answer(status, body), &control(), "lease_1", 0), expected, "{status} {body}");
        }
    }
}
