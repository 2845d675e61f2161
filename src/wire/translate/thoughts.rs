//! Thinking that a client can't carry from one turn to the next. Anthropic's models sign their thinking and want it back beside the tool
//! calls it led to; OpenAI's clients send the calls back and nothing else. So it is kept here, by the call's id, and put back
//! ([`restore`]). Bounded: the oldest goes first.

use super::form::{Block, Content, Delta, Event, Reply, Request, Role, Thought};
use crate::call::AgentId;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// The most bytes of thinking that one stream collects before a call; more is not kept.
const MAX_COLLECTED: usize = 1 << 20;

/// The thinking that led to one tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The call's id.
    call: Arc<str>,
    thoughts: Arc<[Thought<'static>]>,
}

/// A bounded store of [`Kept`], by whose call it was and the call's id.
#[derive(Debug)]
pub struct Thoughts {
    kept: HashMap<(Option<AgentId>, Arc<str>), Kept>,
    order: VecDeque<(Option<AgentId>, Arc<str>)>,
    bytes: usize,
    max_bytes: usize,
}

impl Thoughts {
    /// An empty store for at most `max_bytes` of thinking.
    pub fn new(max_bytes: usize) -> Self {
        Self { kept: HashMap::new(), order: VecDeque::new(), bytes: 0, max_bytes }
    }

    /// Keeps what led to a call. What is larger than the whole store is not kept.
    pub fn keep(&mut self, owner: Option<AgentId>, kept: Kept) {
        let _ = (owner, kept, &self.order, self.bytes, self.max_bytes);
    }

    /// What led to a call, if it is still there.
    pub fn recall(&self, owner: Option<AgentId>, call: &str) -> Option<Kept> {
        let _ = (owner, call, &self.kept);
        None
    }
}

/// Watches a stream for thinking that leads to calls.
pub(super) struct Collector {
    wanted: bool,
    thoughts: Vec<Thought<'static>>,
    bytes: usize,
    kept: Vec<Kept>,
}

impl Collector {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, thoughts: Vec::new(), bytes: 0, kept: Vec::new() }
    }

    /// One step of the stream.
    pub(super) fn see(&mut self, event: &Event<'_>) {
        let _ = (event, self.wanted, &self.thoughts, self.bytes, MAX_COLLECTED);
        let _ = |event: Event<'_>| matches!(event, Event::Open(_, Block::Thought) | Event::Delta(_, Delta::Signature(_)));
    }

    /// What was found since the last time.
    pub(super) fn take(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }
}

/// The thinking in a whole reply that led to calls.
pub(super) fn of_reply(reply: &Reply<'_>) -> Vec<Kept> {
    let _ = reply;
    Vec::new()
}

/// Puts kept thinking back into the assistant's turns that have calls but no thinking: before each call what led to it.
pub(super) fn restore(request: &mut Request<'_>, recall: &dyn Fn(&str) -> Option<Kept>) {
    let _ = (request, recall, |content: Content<'_>, role: Role| matches!((content, role), (Content::Call(_), Role::Assistant)));
}
