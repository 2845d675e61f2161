//! The mock as a service: one request from its head to the answer that is delivered.
//!
//! Here the parts meet: the plan a request asks for, the key it must have, the endpoint it is for. The state behind it is three small
//! stores, each under its own lock, none held while anything is written or waited for.

use super::answer::{Answer, Ask, Problem};
use super::control::{Call, Control};
use super::deliver::{Delivery, Fields, borrowed};
use super::faults::{Fault, Plan};
use super::files::Files;
use super::prices::{self, ModelRates};
use super::route::{self, Endpoint};
use super::stats::{Counters, MockStats};
use super::text::CacheMark;
use super::{MockConfig, anthropic, catalog, encode, openai, responses};
use crate::call::{Headers, Inbound, Protocol};
use crate::clock::UnixMs;
use crate::http::{Body, BodyError, Responder, Service, Violation};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The largest request body.
const MAX_BODY_BYTES: u64 = 64 << 20;

/// Cached prompts remembered.
const MAX_PROMPTS: usize = 10_000;

/// The mock provider behind its listener.
pub(super) struct Provider {
    config: MockConfig,
    base_url: String,
    serial: AtomicU64,
    pub(super) counters: Counters,
    files: Mutex<Files>,
    control: Mutex<Control>,
    prompts: Mutex<HashSet<u64>>,
}

/// One request to the provider with what was found out of its head.
struct Visit<'a> {
    request: &'a Inbound<'a>,
    path: &'a str,
    endpoint: Option<Endpoint<'a>>,
    protocol: Protocol,
    serial: u64,
    now: UnixMs,
}

impl Provider {
    /// A provider that is reached at `base_url`.
    pub(super) fn new(config: MockConfig, base_url: String) -> Self {
        Self {
            config,
            base_url,
            serial: AtomicU64::new(0),
            counters: Counters::default(),
            files: Mutex::default(),
            control: Mutex::default(),
            prompts: Mutex::default(),
        }
    }

    /// What it has seen and booked.
    pub(super) fn stats(&self) -> MockStats {
        MockStats { booked: lock(&self.control).booked(), ..self.counters.read() }
    }

    /// Forgets everything but the serial number, so that ids stay unique.
    fn reset(&self) {
        self.counters.reset();
        *lock(&self.files) = Files::default();
        *lock(&self.control) = Control::default();
        lock(&self.prompts).clear();
    }

    /// The mock's own addresses.
    fn own(&self, request: &Inbound<'_>, path: &str, reply: Responder<'_>) {
        let (status, body) = match (request.method, path) {
            ("GET", "/__stats") => (200, serde_json::to_vec(&self.stats()).unwrap_or_default()),
            ("POST", "/__reset") => {
                self.reset();
                (200, b"{}".to_vec())
            }
            _ => (404, b"{\"error\":\"GET /__stats or POST /__reset\"}".to_vec()),
        };
        send(reply, status, &body);
    }

    /// A call of the control-server protocol.
    fn controlled(&self, call: Call, request: &Inbound<'_>, body: &mut Body<'_>, reply: Responder<'_>) {
        self.counters.arrived(call.path());
        self.counters.controlled(call.name());
        let (status, answer) = if request.method != "POST" {
            (405, json!({"error": "method not allowed"}))
        } else {
            let mut bytes = Vec::new();
            match body.read_all(MAX_BODY_BYTES, &mut bytes) {
                Ok(()) => lock(&self.control).answer(call, &bytes, bearer(request.headers), &self.base_url),
                Err(error) => (400, json!({"error": error.to_string()})),
            }
        };
        self.counters.ending(status, super::Tokens::default(), None);
        send(reply, status, answer.to_string().as_bytes());
    }

    /// A request to the provider.
    fn provided(&self, request: &Inbound<'_>, path: &str, body: &mut Body<'_>, reply: Responder<'_>) {
        let endpoint = Endpoint::at(path);
        let visit = Visit {
            request,
            path,
            endpoint,
            protocol: route::protocol(endpoint, request.headers),
            serial: self.serial.fetch_add(1, Ordering::Relaxed) + 1,
            now: now(),
        };
        let request_id = format!("req_mock{:08}", visit.serial);
        self.counters.arrived(endpoint.map_or("other", Endpoint::pattern));
        self.counters.named(&request_id);
        let mut plan = Plan::usual(&self.config);
        let mut rates = None;
        let answer = self.answer(&visit, body, &mut plan, &mut rates);
        let mut fields = fields(visit.protocol, &request_id, &plan, visit.now);
        let (status, answer) = match answer {
            Ok(Answer::Whole { .. }) if plan.fault == Some(Fault::ErrorEvent) => {
                let problem = Problem::on_request(visit.protocol, 500, "");
                (500, Answer::json(&problem.body(visit.protocol, &request_id)))
            }
            Ok(answer) => (200, answer),
            Err(problem) => (problem.status, Answer::json(&problem.body(visit.protocol, &request_id))),
        };
        let retry_after = plan.retry_after.or((status == 429).then_some(1)).filter(|_| status >= 400);
        fields.extend(retry_after.map(|seconds| ("retry-after", seconds.to_string())));
        Delivery { status, fields, plan, rates, counters: &self.counters }.send(reply, answer);
    }

    /// The answer to a request; what it asks for beyond that is left in `plan`, what its model costs in `rates`.
    fn answer(
        &self,
        visit: &Visit<'_>,
        body: &mut Body<'_>,
        plan: &mut Plan,
        rates: &mut Option<&'static ModelRates>,
    ) -> Result<Answer, Problem> {
        let words = visit.request.headers.text("x-mock");
        if let Some(words) = words {
            *plan = plan.with(words).map_err(|why| Problem::new(400, why))?;
        }
        let mut bytes = Vec::new();
        body.read_all(MAX_BODY_BYTES, &mut bytes).map_err(|error| unreadable(&error))?;
        if let Some(answer) = asked(visit, plan, "", &bytes)? {
            return Ok(answer);
        }
        check_key(visit)?;
        let unknown = || Problem::unknown_path(visit.protocol, visit.request.method, visit.path);
        let endpoint = visit.endpoint.ok_or_else(unknown)?;
        if !endpoint.methods().contains(&visit.request.method) {
            let message = format!("Not allowed to {} on {}.", visit.request.method, visit.path);
            return Err(Problem::new(405, message));
        }
        match endpoint {
            Endpoint::Models => Ok(catalog::models(visit.protocol)),
            Endpoint::Model(id) => catalog::model(visit.protocol, id),
            Endpoint::Files | Endpoint::File(_) | Endpoint::FileContent(_) => self.file(visit, endpoint, &bytes),
            _ => {
                let json = parse(visit.protocol, &bytes)?;
                let model = json.get("model").and_then(Value::as_str).unwrap_or_default();
                *rates = prices::rates(model);
                if words.is_none() {
                    *plan = plan.with_model(model);
                    if let Some(answer) = asked(visit, plan, model, &bytes)? {
                        return Ok(answer);
                    }
                }
                if catalog::nonexistent(model) {
                    return Err(Problem::unknown_model(visit.protocol, model));
                }
                self.said(visit, endpoint, &Ask { body: &json, serial: visit.serial, now: visit.now.0 / 1000, words: plan.events })
            }
        }
    }

    /// The endpoints that take a JSON object.
    fn said(&self, visit: &Visit<'_>, endpoint: Endpoint<'_>, ask: &Ask<'_>) -> Result<Answer, Problem> {
        if visit.protocol == Protocol::Anthropic && visit.request.headers.get("anthropic-version").is_none() {
            return Err(Problem::new(400, "anthropic-version: header is required"));
        }
        match endpoint {
            Endpoint::Chat => openai::chat(ask),
            Endpoint::Completions => openai::completions(ask),
            Endpoint::Responses => responses::responses(ask),
            Endpoint::Embeddings => catalog::embeddings(ask),
            Endpoint::Moderations => catalog::moderations(ask),
            Endpoint::Speech => catalog::speech(ask),
            Endpoint::Messages => anthropic::messages(ask, |mark| self.seen(mark)),
            Endpoint::CountTokens => anthropic::count_tokens(ask),
            _ => Err(Problem::unknown_path(visit.protocol, visit.request.method, visit.path)),
        }
    }

    /// The endpoints of files; OpenAI's alone.
    fn file(&self, visit: &Visit<'_>, endpoint: Endpoint<'_>, bytes: &[u8]) -> Result<Answer, Problem> {
        if visit.protocol == Protocol::Anthropic {
            return Err(Problem::unknown_path(visit.protocol, visit.request.method, visit.path));
        }
        let mut files = lock(&self.files);
        match (endpoint, visit.request.method) {
            (Endpoint::Files, "POST") => {
                let content_type = visit.request.headers.text("content-type").unwrap_or_default();
                files.upload(format!("file-mock{:08}", visit.serial), visit.now.0 / 1000, content_type, bytes)
            }
            (Endpoint::File(id), "DELETE") => files.delete(id),
            (Endpoint::File(id), _) => files.describe(id),
            (Endpoint::FileContent(id), _) => files.content(id),
            _ => Ok(files.list()),
        }
    }

    /// Whether a prompt was cached before; it is now.
    fn seen(&self, mark: CacheMark) -> bool {
        let mut prompts = lock(&self.prompts);
        if prompts.len() >= MAX_PROMPTS {
            prompts.clear();
        }
        !prompts.insert(mark.digest)
    }
}

impl Service for Provider {
    fn serve(&self, request: &Inbound<'_>, body: &mut Body<'_>, reply: Responder<'_>) {
        let path = request.target.split('?').next().unwrap_or_default();
        if path.starts_with("/__") {
            self.own(request, path, reply);
        } else if let Some(call) = Call::at(path) {
            self.controlled(call, request, body, reply);
        } else {
            self.provided(request, path, body, reply);
        }
    }

    fn violation_body(&self, violation: Violation, partial_head: &[u8]) -> Vec<u8> {
        let anthropic = memchr::memmem::find(partial_head, b" /v1/messages").is_some();
        let protocol = if anthropic { Protocol::Anthropic } else { Protocol::OpenAi };
        let problem = Problem { code: Some(violation.code), ..Problem::new(violation.status, violation.message) };
        problem.body(protocol, "req_mock").to_string().into_bytes()
    }
}

/// The answer or the problem that a plan asks for, if it asks for one of them.
fn asked(visit: &Visit<'_>, plan: &Plan, model: &str, body: &[u8]) -> Result<Option<Answer>, Problem> {
    match plan.fault {
        Some(Fault::Status(status)) => Err(Problem::on_request(visit.protocol, status, model)),
        Some(Fault::Echo) => Ok(Some(Answer::json(&echo(visit.request, body)))),
        _ => Ok(None),
    }
}

/// The request as JSON. Bytes of header values are given as the characters of the same numbers (ISO 8859-1).
fn echo(request: &Inbound<'_>, body: &[u8]) -> Value {
    let latin1 = |value: &[u8]| value.iter().map(|byte| char::from(*byte)).collect::<String>();
    let headers: Vec<Value> = request.headers.iter().map(|(name, value)| json!([name, latin1(value)])).collect();
    let mut echo = json!({"method": request.method, "target": request.target, "headers": headers});
    match std::str::from_utf8(body) {
        Ok(text) => echo["body"] = json!(text),
        Err(_) => echo["body_base64"] = json!(encode::base64(body)),
    }
    echo
}

/// Any key will do, unless it holds `invalid`.
fn check_key(visit: &Visit<'_>) -> Result<(), Problem> {
    let headers = visit.request.headers;
    let key = headers.text("x-api-key").or_else(|| headers.text("api-key")).or_else(|| bearer(headers)).unwrap_or_default();
    if key.contains("invalid") {
        return Err(Problem::on_request(visit.protocol, 401, ""));
    }
    if key.is_empty() {
        let message = match visit.protocol {
            Protocol::OpenAi => "You didn't provide an API key. Provide it in an Authorization header using Bearer auth.",
            Protocol::Anthropic => "x-api-key header is required",
        };
        return Err(Problem { code: None, ..Problem::new(401, message) });
    }
    Ok(())
}

/// The token of `Authorization: Bearer`.
fn bearer(headers: Headers<'_>) -> Option<&str> {
    let (scheme, token) = headers.text("authorization")?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn parse(protocol: Protocol, bytes: &[u8]) -> Result<Map<String, Value>, Problem> {
    serde_json::from_slice(bytes).map_err(|_| {
        let message = match protocol {
            Protocol::OpenAi => "We could not parse the JSON body of your request. The OpenAI API expects a JSON payload.",
            Protocol::Anthropic => "The request body is not valid JSON",
        };
        Problem::new(400, message)
    })
}

fn unreadable(error: &BodyError) -> Problem {
    let status = match error {
        BodyError::TooLarge => 413,
        BodyError::Timeout => 408,
        _ => 400,
    };
    Problem::new(status, error.to_string())
}

/// The header fields that a provider's replies have.
fn fields(protocol: Protocol, request_id: &str, plan: &Plan, now: UnixMs) -> Fields {
    let id = request_id.to_owned();
    let fixed = |pairs: &[(&'static str, &str)]| pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect::<Fields>();
    match protocol {
        Protocol::OpenAi => {
            let mut fields = fixed(&[
                ("openai-version", "2020-10-01"),
                ("openai-organization", "mock"),
                ("x-ratelimit-limit-requests", "10000"),
                ("x-ratelimit-remaining-requests", "9999"),
                ("x-ratelimit-reset-requests", "6ms"),
                ("x-ratelimit-limit-tokens", "2000000"),
                ("x-ratelimit-remaining-tokens", "1999000"),
                ("x-ratelimit-reset-tokens", "30ms"),
            ]);
            fields.push(("openai-processing-ms", plan.latency.as_millis().to_string()));
            fields.push(("x-request-id", id));
            fields
        }
        Protocol::Anthropic => {
            let mut fields = fixed(&[
                ("anthropic-organization-id", "mock"),
                ("anthropic-ratelimit-requests-limit", "4000"),
                ("anthropic-ratelimit-requests-remaining", "3999"),
                ("anthropic-ratelimit-tokens-limit", "400000"),
                ("anthropic-ratelimit-tokens-remaining", "399000"),
            ]);
            fields.push(("anthropic-ratelimit-requests-reset", UnixMs(now.0 + 1000).rfc3339()));
            fields.push(("request-id", id));
            fields
        }
    }
}

/// A JSON reply outside the provider's endpoints.
fn send(reply: Responder<'_>, status: u16, body: &[u8]) {
    let fields: Fields = vec![("content-type", "application/json".to_owned())];
    // A client that has gone misses its reply; there is nobody to tell.
    let _ = reply.send(status, borrowed(&fields), body);
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixMs(since.map_or(0, |since| since.as_millis() as u64))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
