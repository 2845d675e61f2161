//! What is different about a call whose client and upstream speak different protocols: its body is written anew before anything else looks
//! at it, so that budget, price and ledger see it as they see any other call of the upstream's protocol.

use super::{Proxy, Routed};
use crate::call::{AgentId, Endpoint, Protocol, Refusal};
use crate::config::Upstream;
use crate::http::Responder;
use crate::wire::translate::{self, DEFAULT_MAX_TOKENS, Far, Kept, Plan, Translated};
use crate::wire::{headers, route};
use std::sync::{MutexGuard, PoisonError};

/// How the reply of a translated request is translated, and what the client is told about the request.
pub(in super::super) struct Translation {
    /// How.
    pub(in super::super) plan: Plan,
    /// The value of `x-iron-lossy`; empty: everything was carried.
    lossy: String,
    /// The output limit that the upstream's protocol needs and the client did not give.
    limit: Option<u64>,
}

impl Proxy {
    /// Writes a call's body anew in its upstream's protocol.
    ///
    /// # Errors
    /// 400: what can't be translated, or may not be under `strict_translation`.
    pub(super) fn translate<'a>(&'a self, routed: &mut Routed<'a>) -> Result<(), Refusal> {
        let call = &routed.call;
        let upstream = &self.config.upstreams[call.upstream.0];
        let body = body_of(routed, || route::unreadable(call.protocol, upstream))?;
        let model = routed.real_model.or(call.model.as_deref());
        let price = model.and_then(|model| self.prices.find(&upstream.name, upstream.protocol, model));
        let own = upstream.name == upstream.protocol.as_str();
        let far = Far { protocol: upstream.protocol, own, model_limit: price.and_then(|price| price.max_output_tokens) };
        let recall = |id: &str| self.thoughts().recall(routed.agent, id);
        let Translated { body, max_output, loss, plan } = translate::request(call.protocol, &far, body, &recall)?;
        if self.config.strict_translation && !loss.is_empty() {
            return Err(loss.refusal(call.protocol, upstream.protocol));
        }
        let needs_limit = upstream.protocol == Protocol::Anthropic && max_output.is_none();
        let limit = needs_limit.then(|| far.model_limit.unwrap_or(DEFAULT_MAX_TOKENS));
        let (endpoint, path) = match upstream.protocol {
            Protocol::OpenAi => (Endpoint::ChatCompletions, "/v1/chat/completions"),
            Protocol::Anthropic => (Endpoint::Messages, "/v1/messages"),
        };
        routed.replace_body(&body, self.config.limits.max_buffered_bytes)?;
        (routed.call.endpoint, routed.call.path, routed.call.query) = (endpoint, path, None);
        routed.translation = Some(Translation { plan, lossy: loss.to_header(), limit });
        Ok(())
    }

    /// Keeps thinking for the next turn.
    pub(in super::super) fn keep_thoughts(&self, owner: Option<AgentId>, kept: Vec<Kept>) {
        let mut thoughts = self.thoughts();
        kept.into_iter().for_each(|kept| thoughts.keep(owner, kept));
    }

    /// The store is whole between any two calls of it, so that a panic elsewhere leaves nothing half done.
    fn thoughts(&self) -> MutexGuard<'_, translate::Thoughts> {
        self.thoughts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Routed<'_> {
    /// Fields of ours in the reply.
    pub(super) fn added_fields(&self, clamped: Option<String>) -> Vec<(&'static str, String)> {
        let lossy = self.translation.as_ref().map(|translation| &translation.lossy).filter(|lossy| !lossy.is_empty());
        let clamped = clamped.map(|clamped| ("x-iron-clamped", clamped));
        clamped.into_iter().chain(lossy.map(|lossy| ("x-iron-lossy", lossy.clone()))).collect()
    }

    /// The field that limits the output, as the client calls it: Anthropic's must give a limit, so that there is one to lower under any name.
    pub(super) fn field_told(&self, field: Option<&'static str>) -> Option<&'static str> {
        match &self.translation {
            Some(translation) if translation.plan.client == Protocol::Anthropic => field.map(|_| "max_tokens"),
            _ => field,
        }
    }

    /// The output limit to put in where nobody gave one and the upstream's protocol needs one.
    pub(super) fn limit_to_insert(&self) -> Option<u64> {
        self.translation.as_ref()?.limit
    }
}

fn body_of<'r>(routed: &'r Routed<'_>, refusal: impl FnOnce() -> Refusal) -> Result<&'r [u8], Refusal> {
    routed.body_bytes().ok_or_else(refusal)
}

/// The fields of a translated request, from those that pass by themselves.
pub(super) fn set_fields(fields: &mut Vec<(&str, &[u8])>, client: Protocol) {
    fields.retain(|(name, _)| headers::survives_translation(name, client));
    fields.push(("content-type", b"application/json"));
    fields.push(("accept-encoding", b"identity"));
    if client == Protocol::OpenAi && !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("anthropic-version")) {
        fields.push(("anthropic-version", b"2023-06-01"));
    }
}

/// The estimate of a conversation's tokens.
///
/// # Errors
/// 400: what can't be read.
pub(super) fn count(routed: &Routed<'_>, upstream: &Upstream) -> Result<u64, Refusal> {
    translate::count_tokens(body_of(routed, || route::unreadable(routed.call.protocol, upstream))?)
}

/// Answers with it, and says that it is an estimate.
pub(super) fn answer_count(reply: Responder<'_>, tokens: u64, id: &str) {
    let id_name = headers::request_id_names(Protocol::Anthropic).0;
    let fields: [(&str, &[u8]); 3] =
        [("content-type", b"application/json"), ("x-iron-estimated", b"input_tokens"), (id_name, id.as_bytes())];
    if let Err(fault) = reply.send(200, fields, format!(r#"{{"input_tokens":{tokens}}}"#).as_bytes()) {
        log::debug!("client gone: {fault} request_id={id}");
    }
}
