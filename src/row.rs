//! What is kept of a call: one [`Row`] each, and where rows go ([`Books`]). Names and figures only, never a prompt, a reply or a key.

use crate::call::{End, Outcome};
use crate::clock::UnixMs;
use crate::error::Error;
use crate::money::{NanoUsd, Price, Tier, Usage};
use crate::outbox::{Item, SavedLease};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

/// What is known of a call while it is under way.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// Counts the router's calls from 1.
    pub serial: u64,
    /// When it had been read.
    pub at: UnixMs,
    /// The agent whose token it came with, else the name in its `x-iron-agent` or `X-Agent-Name` field.
    pub agent: Option<Arc<str>>,
    /// The name of the upstream.
    pub upstream: Arc<str>,
    /// The method.
    pub method: Cow<'static, str>,
    /// The path, without the query.
    pub path: Cow<'static, str>,
    /// The model, if the request named one.
    pub model: Option<String>,
    /// Whether a stream was asked for.
    pub stream: bool,
    /// Body bytes of the request, where that is known before it is sent.
    pub request_bytes: Option<u64>,
    /// Whether client and upstream speak different protocols.
    pub translated: bool,
}

/// A method or path as rows keep it: the usual ones are not copied.
pub fn kept(word: &str) -> Cow<'static, str> {
    const USUAL: [&str; 11] = [
        "POST",
        "GET",
        "DELETE",
        "PUT",
        "HEAD",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/messages",
        "/v1/models",
    ];
    USUAL.into_iter().find(|usual| *usual == word).map_or_else(|| Cow::Owned(word.to_string()), Cow::Borrowed)
}

/// Bytes of a model's name that rows keep: no real one is as long.
const MAX_NAME: usize = 256;

/// A model's name as rows keep it: bounded, whatever a client sends.
pub fn name(model: &str) -> String {
    let end = (0..=model.len().min(MAX_NAME)).rev().find(|at| model.is_char_boundary(*at)).unwrap_or(0);
    model[..end].to_string()
}

/// What a call cost.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    /// Tokens by class: the provider's own figures, or the estimate that was billed; `None`: nothing was used.
    pub usage: Option<Usage>,
    /// The cost; `None`: tokens were or may have been used, and no price is known.
    pub cost: Option<NanoUsd>,
    /// Whether an upper estimate stands in for figures that the provider did not give.
    pub estimated: bool,
    /// The price it was computed with.
    pub price: Option<Arc<Price>>,
    /// The service tier.
    pub tier: Tier,
}

impl Bill {
    /// The bill of a call that used nothing.
    pub fn nothing() -> Self {
        Self { cost: Some(NanoUsd::ZERO), ..Self::default() }
    }
}

/// A settled call.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose call it was and what it asked for.
    pub info: Arc<RequestInfo>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it cost.
    pub bill: Bill,
    /// The code of the refusal or failure that we answered with, if we did.
    pub code: Option<&'static str>,
    /// The `x-request-id` that the client saw: the provider's, or ours where it sent none.
    pub request_id: Option<Arc<str>>,
    /// What only a call's details show; `None`: nobody was looking.
    pub details: Option<Arc<Details>>,
}

/// What a call's details show beside its row. Made while somebody looks at events, or where content is captured, and told with the closing
/// event only: never kept in the ledger.
#[derive(Debug, Default)]
pub struct Details {
    /// The header fields of the request as the client sent them, credentials left out: names and values, in order.
    pub request_headers: Vec<(String, String)>,
    /// The header fields of the reply as the client got them, likewise.
    pub reply_headers: Vec<(String, String)>,
    /// The provider's own words, or ours, where the call failed: at most 2,000 characters.
    pub error: Option<String>,
    /// The bodies, where `capture` is on.
    pub content: Fleeting,
}

/// The bodies of a call, each cut at a bound.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// The request's, before anything of ours was done to it; empty where it was not read into memory, as uploads are not.
    pub request: Vec<u8>,
    /// The reply's, as the client saw it; empty where it was compressed.
    pub reply: Vec<u8>,
}

/// Content that is let go when that of enough later calls has come, wherever its event still is: so that what the last events hold of it is
/// bounded.
#[derive(Debug, Default)]
pub struct Fleeting(Mutex<Option<Arc<Content>>>);

impl Fleeting {
    /// The content, while it is kept.
    pub fn get(&self) -> Option<Arc<Content>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps it no longer.
    pub fn let_go(&self) {
        let content = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(content);
    }
}

impl From<Option<Content>> for Fleeting {
    fn from(content: Option<Content>) -> Self {
        Self(Mutex::new(content.map(Arc::new)))
    }
}

impl Row {
    /// A row without what is only known of calls that were answered, or only wanted by who looks at details.
    pub fn new(info: impl Into<Arc<RequestInfo>>, outcome: Outcome, bill: Bill, code: Option<&'static str>) -> Self {
        Self { info: info.into(), outcome, bill, code, request_id: None, details: None }
    }

    /// Refused by us before anything was sent.
    pub fn is_refused(&self) -> bool {
        self.outcome.end == End::Refused
    }

    /// Sent, and answered without a 2xx, or cut.
    pub fn is_failed(&self) -> bool {
        !self.is_refused() && !self.outcome.succeeded()
    }
}

/// Where settled rows go.
pub trait Books: Send + Sync {
    /// Keeps a row. When it returns, the row survives the end of the process, as far as these books promise that.
    ///
    /// # Errors
    /// The row could not be kept: disk full, file gone. The caller tells the user; the call itself is over already.
    fn record(&self, row: &Arc<Row>) -> Result<(), Error>;

    /// Keeps a row together with what must be sent because of it and what is new of its lease, all of it or nothing; `false`: these books
    /// keep nothing but rows, and the items are still the caller's.
    ///
    /// # Errors
    /// As [`Books::record`]; the items are still the caller's.
    fn record_with(&self, row: &Arc<Row>, _items: &[Item], _lease: Option<&SavedLease>) -> Result<bool, Error> {
        self.record(row).map(|()| false)
    }

    /// Whether a row could be kept now. Asked before a call is admitted, where the user wants no call without a record.
    ///
    /// # Errors
    /// Why not.
    fn ready(&self) -> Result<(), Error> {
        Ok(())
    }
}
