//! The provider key in server mode: asked of the control server, kept for a while, never shown.
//!
//! A request takes the key from here at the last moment. What decides is a small state machine without I/O ([`State::decide`]: state
//! and time in, action out); around it stand one mutex, one condition variable and one POST. The rules:
//!
//! - One fetch at a time, however many requests want the key; those without a key wait for it and share its result, also a failure.
//! - After its time to live a key is *stale*. One request renews it, for at most [`RENEW_LIMIT`]; the others go on with the stale one.
//! - While the server is down the stale key serves for [`STALE_FOR`], and renewing is tried every [`RETRY_EVERY`].
//! - Where the server says no (unknown token, none assigned, disabled), the key is dropped at once: revoked tokens stop working.
//! - Without a key a failure is remembered for [`FAILURE_FOR`], so that a storm of requests does not hammer a dead server.
//!
//! This is not the place where the key is sent to the provider, and no other client of the control server is in here.

use super::control::{Client, Manner};
use crate::call::{Protocol, Reason, Refusal, Retry};
use crate::config::{BaseUrl, Control};
use crate::secret::Secret;
use serde::Deserialize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The whole of one fetch may take this long.
pub const FETCH_LIMIT: Duration = Duration::from_secs(10);
/// As [`FETCH_LIMIT`], while there is a stale key to fall back on: a request that can be answered is not held up for long.
pub const RENEW_LIMIT: Duration = Duration::from_secs(2);
/// How long after its time to live a key is still used while the server does not answer.
pub const STALE_FOR: Duration = Duration::from_secs(3600);
/// With a stale key at hand, the pause between two tries to renew it; also between two fetches of a key that the provider rejects.
pub const RETRY_EVERY: Duration = Duration::from_secs(5);
/// Without a key, how long a failure is answered again without asking the server.
pub const FAILURE_FOR: Duration = Duration::from_secs(1);

pub(super) const UNREACHABLE: Reason = Reason::Overloaded("control_server_unreachable");
pub(super) const REFUSED: Reason = Reason::Overloaded("control_server_refused");

/// What the control server assigned.
pub struct Assigned {
    /// The provider's key.
    pub key: Secret,
    /// Whose key it is.
    pub provider: Protocol,
    /// Where the key may be sent, if not to the provider's own address.
    pub base_url: Option<BaseUrl>,
}

/// The key of one control server: fetched when first needed, shared by all requests.
pub struct KeyCache {
    client: Client,
    clock: Box<dyn Fn() -> Duration + Send + Sync>,
    fetch_limit: Duration,
    state: Mutex<State>,
    landed: Condvar,
}

impl KeyCache {
    /// An empty cache; nothing is asked yet. `agent` brings the connect limit, the TLS roots and the proxy.
    pub fn new(control: Control, agent: ureq::Agent) -> Self {
        let start = Instant::now();
        let state = State::new(control.cache_ttl);
        Self {
            client: Client::new(control, agent),
            clock: Box::new(move || start.elapsed()),
            fetch_limit: FETCH_LIMIT,
            state: Mutex::new(state),
            landed: Condvar::new(),
        }
    }

    /// The key: cached, or fetched. Blocks for [`FETCH_LIMIT`] (a second more for those who wait for another's fetch) at most, and not at all
    /// while the cached key is fresh.
    ///
    /// # Errors
    /// The refusal to answer: `control_server_unreachable` or `control_server_refused`.
    pub fn get(&self) -> Result<Arc<Assigned>, Refusal> {
        let state = self.lock();
        self.obtain(state)
    }

    /// The provider answered 401 to `rejected`: drops it, if it is still the cached one, and gives the key that replaces it. However many
    /// requests were rejected together, the server is asked once. Where it had nothing newer to offer within [`RETRY_EVERY`], the same
    /// key comes back.
    ///
    /// # Errors
    /// As [`KeyCache::get`].
    pub fn refetch(&self, rejected: &Arc<Assigned>) -> Result<Arc<Assigned>, Refusal> {
        let mut state = self.lock();
        state.reject(rejected, (self.clock)());
        self.obtain(state)
    }

    /// What is cached, fresh or not; asks nobody.
    pub fn peek(&self) -> Option<Arc<Assigned>> {
        self.lock().cached.as_ref().map(|cached| cached.assigned.clone())
    }

    fn obtain(&self, mut state: MutexGuard<'_, State>) -> Result<Arc<Assigned>, Refusal> {
        match state.decide((self.clock)()) {
            Action::Use(assigned) => Ok(assigned),
            Action::Fail(refusal) => Err(refusal),
            Action::Wait => self.wait(state),
            Action::Fetch => {
                let limit = self.fetch_limit.min(if state.cached.is_some() { RENEW_LIMIT } else { FETCH_LIMIT });
                let flight = Flight::begin(self, &mut state);
                drop(state);
                flight.land(self.ask(limit))
            }
        }
    }

    /// Waits for the end of the fetch under way and takes its result.
    fn wait(&self, state: MutexGuard<'_, State>) -> Result<Arc<Assigned>, Refusal> {
        let round = state.rounds;
        // The fetch has its own limit; the second on top is for a machine that is slow to wake us.
        let limit = self.fetch_limit + Duration::from_secs(1);
        let waited = self.landed.wait_timeout_while(state, limit, |state| state.rounds == round);
        let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(self.unreachable("no answer within the time limit"));
        }
        state.last.clone().unwrap_or_else(|| Err(self.unreachable("the fetch broke off")))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One POST to the control server.
    fn ask(&self, limit: Duration) -> Result<Assigned, Refusal> {
        let token = self.client.control().ic_token.expose();
        let body = Zeroizing::new(serde_json::json!({ "ic_token": token }).to_string());
        let manner = Manner { limit, bearer: false, keep: false };
        let answer = self.client.post("/api/v1/agents/provider-key", &body, manner).map_err(|cause| self.unreachable(&cause))?;
        self.understand(answer.status, &answer.body)
    }

    fn understand(&self, status: u16, body: &[u8]) -> Result<Assigned, Refusal> {
        match status {
            200 => parse_assigned(body).map_err(|why| self.unreachable(why)),
            400 | 401 | 403 | 404 => Err(self.refused(status, self.safe_code(body).as_deref())),
            300..=399 => Err(self.unreachable(&format!("status {status}: redirects are not followed"))),
            _ => {
                let code = self.safe_code(body).map(|code| format!(" {code}")).unwrap_or_default();
                Err(self.unreachable(&format!("status {status}{code}")))
            }
        }
    }

    /// The `code` of an error reply, if it looks like one. Nothing else of the reply is ever repeated.
    fn safe_code(&self, body: &[u8]) -> Option<String> {
        let Failed { code } = serde_json::from_slice(body).ok()?;
        let looks_like_one = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        (looks_like_one && !code.is_empty() && !code.contains(self.client.control().ic_token.expose())).then_some(code)
    }

    fn unreachable(&self, cause: &str) -> Refusal {
        let url = &self.client.control().server_url;
        Refusal::new(
            UNREACHABLE,
            format!("no provider key: control server {url}: {cause}; check that it runs and that server_url is right, then try again"),
        )
    }

    fn refused(&self, status: u16, code: Option<&str>) -> Refusal {
        let code = code.unwrap_or("no code");
        let (reason, advice) = match (status, code) {
            (403, _) => (REFUSED, "assign a provider key to this agent there, or enable it"),
            (404, "PROVIDER_NOT_FOUND") => (REFUSED, "the provider key assigned to this agent is gone: assign another there"),
            (404, "no code") => (REFUSED, "check that server_url is the control server's address"),
            // What clients send is this token: to them it is a wrong key.
            _ => (Reason::Unauthorized, "check the IC token (api_key, IC_TOKEN): it is wrong, revoked or replaced"),
        };
        let url = &self.client.control().server_url;
        Refusal {
            reason,
            message: format!("no provider key: control server {url} refused with {status} {code}: {advice}"),
            retry: Retry::Never,
        }
    }
}

/// A successful reply of the server.
#[derive(Deserialize)]
struct Granted {
    provider_key: String,
    provider: String,
    base_url: Option<String>,
}

/// A reply that says no.
#[derive(Deserialize)]
struct Failed {
    code: String,
}

/// Reads a reply; an error says what was wrong without repeating any of it.
fn parse_assigned(body: &[u8]) -> Result<Assigned, &'static str> {
    let granted: Granted = serde_json::from_slice(body).map_err(|_| "the reply is not what a control server answers")?;
    let key = Secret::new(granted.provider_key);
    if key.is_empty() || !key.expose().bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the reply's provider_key is empty or malformed");
    }
    let provider = match granted.provider.as_str() {
        "openai" => Protocol::OpenAi,
        "anthropic" => Protocol::Anthropic,
        _ => return Err("the reply's provider is neither openai nor anthropic"),
    };
    let base_url = granted.base_url.filter(|text| !text.is_empty()).map(|text| text.parse());
    let base_url = base_url.transpose().map_err(|_| "the reply's base_url is malformed")?;
    Ok(Assigned { key, provider, base_url })
}

/// A fetch under way. Dropped without a result (a panic), it lands as a failure: nobody waits for ever.
#[must_use]
struct Flight<'a> {
    cache: &'a KeyCache,
    over: bool,
}

impl<'a> Flight<'a> {
    fn begin(cache: &'a KeyCache, state: &mut State) -> Self {
        state.in_flight = true;
        Self { cache, over: false }
    }

    /// Ends the fetch and wakes those who wait. After a failure the caller goes on with the stale key, if there is one.
    fn land(mut self, result: Result<Assigned, Refusal>) -> Result<Arc<Assigned>, Refusal> {
        self.over = true;
        self.end(result)
    }

    fn end(&self, result: Result<Assigned, Refusal>) -> Result<Arc<Assigned>, Refusal> {
        let now = (self.cache.clock)();
        let outcome = self.cache.lock().land(result, now);
        self.cache.landed.notify_all();
        outcome
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.end(Err(self.cache.unreachable("the fetch broke off")));
        }
    }
}

/// What is known of the key, and when; times are since the cache was made.
struct State {
    ttl: Duration,
    cached: Option<Cached>,
    in_flight: bool,
    /// Fetches that have ended.
    rounds: u64,
    /// How the last fetch ended, for those who waited for it.
    last: Option<Result<Arc<Assigned>, Refusal>>,
    /// The last failure, until a fetch succeeds.
    failed: Option<(Duration, Refusal)>,
    /// The key that the provider rejected last.
    rejected: Option<(Duration, Arc<Assigned>)>,
}

struct Cached {
    assigned: Arc<Assigned>,
    since: Duration,
}

/// What to do for a request that wants the key.
enum Action {
    /// Take this one.
    Use(Arc<Assigned>),
    /// Ask the server.
    Fetch,
    /// Another request asks the server: wait for it.
    Wait,
    /// It was asked a moment ago, in vain.
    Fail(Refusal),
}

impl State {
    fn new(ttl: Duration) -> Self {
        Self { ttl, cached: None, in_flight: false, rounds: 0, last: None, failed: None, rejected: None }
    }

    fn decide(&self, now: Duration) -> Action {
        let usable = self.cached.as_ref().map(|cached| (cached, now.saturating_sub(cached.since)));
        match usable {
            Some((cached, age)) if age < self.ttl => Action::Use(cached.assigned.clone()),
            Some((cached, age))
                if age < self.ttl.saturating_add(STALE_FOR) && (self.in_flight || self.failed_within(RETRY_EVERY, now).is_some()) =>
            {
                Action::Use(cached.assigned.clone())
            }
            _ if self.in_flight => Action::Wait,
            _ => self.failed_within(FAILURE_FOR, now).map_or(Action::Fetch, |refusal| Action::Fail(refusal.clone())),
        }
    }

    fn failed_within(&self, span: Duration, now: Duration) -> Option<&Refusal> {
        self.failed.as_ref().filter(|(at, _)| now.saturating_sub(*at) < span).map(|(_, refusal)| refusal)
    }

    /// Drops the cached key if it is `rejected`; not if it is the same text that was rejected and fetched again a moment ago.
    fn reject(&mut self, rejected: &Arc<Assigned>, now: Duration) {
        if !self.cached.as_ref().is_some_and(|cached| Arc::ptr_eq(&cached.assigned, rejected)) {
            return;
        }
        let again = self
            .rejected
            .as_ref()
            .is_some_and(|(at, before)| now.saturating_sub(*at) < RETRY_EVERY && before.key.matches(rejected.key.expose().as_bytes()));
        if !again {
            self.rejected = Some((now, rejected.clone()));
            self.cached = None;
        }
    }

    /// Takes in the end of a fetch; gives what its caller gets.
    fn land(&mut self, result: Result<Assigned, Refusal>, now: Duration) -> Result<Arc<Assigned>, Refusal> {
        self.in_flight = false;
        self.rounds += 1;
        let outcome = match result {
            Ok(assigned) => {
                let assigned = Arc::new(assigned);
                self.cached = Some(Cached { assigned: assigned.clone(), since: now });
                self.failed = None;
                Ok(assigned)
            }
            Err(refusal) => {
                self.failed = Some((now, refusal.clone()));
                let serves = |cached: &Cached| now.saturating_sub(cached.since) < self.ttl.saturating_add(STALE_FOR);
                self.cached = self.cached.take().filter(|cached| refusal.reason == UNREACHABLE && serves(cached));
                self.cached.as_ref().map(|cached| cached.assigned.clone()).ok_or(refusal)
            }
        };
        self.last = Some(outcome.clone());
        outcome
    }
}

#[cfg(test)]
mod tests;
