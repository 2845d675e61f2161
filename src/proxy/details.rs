//! What is noted of a call for those who look at its details: header fields without credentials, the words of a failure, and the bodies
//! where `capture` is on. While nobody looks, nothing is noted.
//!
//! A key or token has no place here: fields that carry one are left out, and where a provider repeats one in its own words or in a body, it
//! is blotted out.

use crate::call::Headers;
use crate::row::{Content, Details};
use crate::secret::Secret;
use crate::wire::refusal::Rendered;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Fields of a head that are noted.
const MAX_FIELDS: usize = 64;

/// Bytes of names and values of a head that are noted.
const MAX_FIELD_BYTES: usize = 8 << 10;

/// Characters of the words of a failure.
const MAX_ERROR: usize = 2000;

/// Bytes of a body that are kept.
const MAX_BODY: usize = 64 << 10;

/// So much more of it is looked at, so that a key that lies across the cut is seen.
const MARGIN: usize = 1 << 10;

/// Calls whose bodies are kept at once: 25 MiB.
const MAX_CONTENTS: usize = 200;

/// A text shorter than this is found everywhere and is no secret.
const LEAST_SECRET: usize = 4;

/// What must not be seen: every key and token of the router.
pub(super) struct Secrets(Vec<Secret>);

impl Secrets {
    /// These.
    pub(super) fn new(secrets: impl Iterator<Item = Secret>) -> Self {
        let mut secrets: Vec<Secret> = secrets.filter(|secret| !secret.is_empty()).collect();
        // One may be the beginning of another.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        Self(secrets)
    }

    fn are_in(&self, value: &[u8]) -> bool {
        self.0.iter().any(|secret| memchr::memmem::find(value, secret.expose().as_bytes()).is_some())
    }

    /// Blots them out, byte for byte.
    fn hide(&self, text: &mut [u8]) {
        for secret in self.0.iter().map(|secret| secret.expose().as_bytes()).filter(|secret| secret.len() >= LEAST_SECRET) {
            let found: Vec<usize> = memchr::memmem::find_iter(text, secret).collect();
            found.into_iter().for_each(|at| text[at..at + secret.len()].fill(b'*'));
        }
    }

    fn hide_in(&self, text: String) -> String {
        let mut bytes = text.into_bytes();
        self.hide(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// What is noted while a call is under way.
#[derive(Default)]
pub(super) struct Notes {
    details: Details,
    /// The request's body, where content is captured.
    request: Option<Vec<u8>>,
    /// The beginning of the reply's body, as the client sees it.
    reply: Vec<u8>,
    /// Whether that is of any use.
    reads: bool,
    /// Whether the reply is a failure.
    failed: bool,
}

impl Notes {
    /// A request has been read; `capture`: its body, too, is to be kept.
    pub(super) fn of(headers: &Headers<'_>, body: Option<&[u8]>, capture: bool, secrets: &Secrets) -> Self {
        let request_headers = fields(headers.iter().filter(|(name, _)| !carries_credentials(name)), secrets);
        let request = capture.then(|| beginning(body.unwrap_or_default()).to_vec());
        Self { details: Details { request_headers, ..Details::default() }, request, ..Self::default() }
    }

    /// The head of the reply, as the client gets it; `readable`: the body is not compressed.
    pub(super) fn head<'f>(&mut self, status: u16, headers: impl Iterator<Item = (&'f str, &'f [u8])>, readable: bool, secrets: &Secrets) {
        self.details.reply_headers = fields(headers.filter(|(name, _)| !name.eq_ignore_ascii_case("set-cookie")), secrets);
        self.failed = !(200..300).contains(&status);
        self.reads = readable && (self.failed || self.request.is_some());
        self.reply.clear();
    }

    /// Bytes of the reply's body, as the client gets them.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.reads {
            let room = (MAX_BODY + MARGIN).saturating_sub(self.reply.len());
            self.reply.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// The reply is one of ours.
    pub(super) fn answer(&mut self, rendered: &Rendered, id: (&str, &str), secrets: &Secrets) {
        let headers = rendered.headers.iter().map(|(name, value)| (*name, value.as_bytes()));
        self.head(rendered.status, headers.chain([(id.0, id.1.as_bytes())]), true, secrets);
        self.feed(&rendered.body);
    }

    /// Why the call failed.
    pub(super) fn fail(&mut self, why: &str) {
        self.details.error = Some(why.into());
    }

    /// A translated stream ended with an error, told by the last of these events.
    pub(super) fn fail_by(&mut self, events: &[u8]) {
        let data = events.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data: "));
        self.details.error = data.rev().find_map(message);
    }

    /// The call is over.
    pub(super) fn done(self, secrets: &Secrets) -> Details {
        let Self { mut details, request, mut reply, failed, .. } = self;
        secrets.hide(&mut reply);
        let told = if failed { words(&reply) } else { None };
        details.error = details.error.or(told).map(|error| secrets.hide_in(error).chars().take(MAX_ERROR).collect());
        let kept = |mut body: Vec<u8>| {
            secrets.hide(&mut body);
            body.truncate(MAX_BODY);
            body.shrink_to_fit();
            body
        };
        details.content = request.map(|request| Content { request: kept(request), reply: kept(reply) }).into();
        details
    }
}

/// The last calls whose content is kept.
#[derive(Default)]
pub(super) struct Contents(Mutex<VecDeque<Weak<Details>>>);

impl Contents {
    /// One more; the oldest lets its content go.
    pub(super) fn keep(&self, details: &Arc<Details>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if last.len() == MAX_CONTENTS { last.pop_front() } else { None };
        last.push_back(Arc::downgrade(details));
        drop(last);
        if let Some(details) = oldest.and_then(|details| details.upgrade()) {
            details.content.let_go();
        }
    }
}

/// Whether a request's field carries a credential, by its name: also one that is not meant for us.
fn carries_credentials(name: &str) -> bool {
    const WORDS: [&str; 8] = ["auth", "cookie", "api-key", "apikey", "token", "secret", "password", "credential"];
    let name = name.to_ascii_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// Fields within the bounds; values that hold a secret are left out.
fn fields<'f>(headers: impl Iterator<Item = (&'f str, &'f [u8])>, secrets: &Secrets) -> Vec<(String, String)> {
    let mut left = MAX_FIELD_BYTES;
    let within = headers.filter(|(_, value)| !secrets.are_in(value)).map_while(|(name, value)| {
        left = left.checked_sub(name.len() + value.len())?;
        Some((name.to_string(), String::from_utf8_lossy(value).into_owned()))
    });
    within.take(MAX_FIELDS).collect()
}

fn beginning(body: &[u8]) -> &[u8] {
    &body[..body.len().min(MAX_BODY + MARGIN)]
}

/// What an error says: its message, where it is JSON of either protocol, else all of it. `None`: nothing.
fn words(body: &[u8]) -> Option<String> {
    message(body).or_else(|| Some(String::from_utf8_lossy(body).trim().into())).filter(|text: &String| !text.is_empty())
}

/// The message of an error in JSON.
fn message(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let error = &value["error"];
    error["message"].as_str().or(error.as_str()).map(String::from)
}

#[cfg(test)]
mod tests;
