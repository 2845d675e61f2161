//! Thinking that a client can't carry from one turn to the next. Anthropic's models sign their thinking and want it back beside the tool
//! calls it led to; OpenAI's clients send the calls back and nothing else. So it is kept here, by the call's id, and put back
//! ([`restore`]). Bounded: the oldest goes first.
//!
//! Kept is what a provider can check: signed thinking, and thinking that only the provider can read. Whatever else a server calls
//! thinking nobody asks for again.
//!
//! Keys have an owner because an id is no secret and not always unique: it stands in logs and transcripts, and the client of another
//! agent may send any id it likes. It must not have the thinking of others put into its conversation, where the model could be asked to
//! repeat it, nor put its own in the place of theirs.

use super::form::{Block, Content, Delta, Event, Part, Reply, Request, Role, Thought};
use crate::call::AgentId;
use std::collections::{BTreeMap, HashMap};
use std::mem::{size_of, take};
use std::sync::Arc;

/// The most bytes of thinking that one stream collects before a call; more is not kept.
const MAX_COLLECTED: usize = 1 << 20;

/// What an entry of the store is counted for, on top of its texts: two keys, and their places in a table and a tree.
const ENTRY_BYTES: usize = 256;

/// The thinking that led to one tool call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The call's id.
    call: Arc<str>,
    thoughts: Arc<[Thought<'static>]>,
}

impl Kept {
    /// The memory it takes, about.
    fn bytes(&self) -> usize {
        self.thoughts.iter().map(thought_bytes).fold(ENTRY_BYTES + self.call.len(), usize::saturating_add)
    }
}

/// Whose call, and which.
type Key = (Option<AgentId>, Arc<str>);

/// A bounded store of [`Kept`], by whose call it was and the call's id.
#[derive(Debug)]
pub struct Thoughts {
    /// With each its place in `order`.
    kept: HashMap<Key, (u64, Kept)>,
    /// From the oldest to the newest.
    order: BTreeMap<u64, Key>,
    /// The next place.
    next: u64,
    bytes: usize,
    max_bytes: usize,
}

impl Thoughts {
    /// An empty store for at most `max_bytes` of thinking.
    pub fn new(max_bytes: usize) -> Self {
        Self { kept: HashMap::new(), order: BTreeMap::new(), next: 0, bytes: 0, max_bytes }
    }

    /// Keeps what led to a call, in the place of what was kept for it before. What is larger than the whole store is not kept.
    pub fn keep(&mut self, owner: Option<AgentId>, kept: Kept) {
        let key = (owner, Arc::clone(&kept.call));
        self.remove(&key);
        let bytes = kept.bytes();
        if bytes > self.max_bytes {
            return;
        }
        while self.bytes > self.max_bytes - bytes {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        self.order.insert(self.next, key.clone());
        self.kept.insert(key, (self.next, kept));
        self.next += 1;
        self.bytes += bytes;
    }

    /// What led to a call, if it is still there.
    pub fn recall(&self, owner: Option<AgentId>, call: &str) -> Option<Kept> {
        self.kept.get(&(owner, plain(call))).map(|(_, kept)| kept.clone())
    }

    fn remove(&mut self, key: &Key) {
        if let Some((place, kept)) = self.kept.remove(key) {
            self.order.remove(&place);
            self.bytes -= kept.bytes();
        }
    }
}

/// Watches a stream for thinking that leads to calls.
pub(super) struct Collector {
    wanted: bool,
    /// Thoughts under way, by their blocks' numbers.
    open: Vec<(u32, Thought<'static>)>,
    leading: Leading,
    kept: Vec<Kept>,
}

impl Collector {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, open: Vec::new(), leading: Leading::default(), kept: Vec::new() }
    }

    /// One step of the stream.
    pub(super) fn see(&mut self, event: &Event<'_>) {
        if !self.wanted {
            return;
        }
        match event {
            Event::Open(number, Block::Thought) => self.begin(*number, Thought::Signed { text: "".into(), signature: "".into() }),
            Event::Open(number, Block::Redacted(data)) => self.begin(*number, Thought::Redacted { data: data.clone() }.into_owned()),
            Event::Open(_, Block::Call { id, .. }) => self.call(id),
            Event::Delta(number, delta) => self.grow(*number, delta),
            Event::Close(number) => self.close(*number),
            _ => {}
        }
    }

    /// What was found since the last time.
    pub(super) fn take(&mut self) -> Vec<Kept> {
        take(&mut self.kept)
    }

    fn begin(&mut self, number: u32, thought: Thought<'static>) {
        if self.room(thought_bytes(&thought)) {
            self.open.push((number, thought));
        }
    }

    fn grow(&mut self, number: u32, delta: &Delta<'_>) {
        let Some(at) = self.open.iter().rposition(|(open, _)| *open == number) else { return };
        let (Delta::Text(piece) | Delta::Signature(piece)) = delta;
        if !self.room(piece.len()) {
            return;
        }
        if let Some((_, Thought::Signed { text, signature })) = self.open.get_mut(at) {
            let place = if matches!(delta, Delta::Text(_)) { text } else { signature };
            place.to_mut().push_str(piece);
        }
    }

    /// Only a whole thought is of use.
    fn close(&mut self, number: u32) {
        if let Some(at) = self.open.iter().rposition(|(open, _)| *open == number) {
            self.leading.thoughts.push(self.open.remove(at).1);
        }
    }

    fn call(&mut self, id: &str) {
        self.kept.extend(self.leading.to_call(id));
        self.leading.bytes = self.open.iter().map(|(_, thought)| thought_bytes(thought)).sum();
    }

    /// Whether so much more may be collected; if not, nothing of it is.
    fn room(&mut self, more: usize) -> bool {
        let room = self.leading.room(more);
        if !room {
            self.open.clear();
        }
        room
    }
}

/// The thinking in a whole reply that led to calls.
pub(super) fn of_reply(reply: &Reply<'_>) -> Vec<Kept> {
    let mut leading = Leading::default();
    let mut kept = Vec::new();
    for part in &reply.parts {
        match &part.content {
            Content::Thought(thought) if leading.room(thought_bytes(thought)) => leading.thoughts.push(thought.clone().into_owned()),
            Content::Call(call) => kept.extend(leading.to_call(&call.id)),
            _ => {}
        }
    }
    kept
}

/// Puts kept thinking back into the assistant's turns that have calls but no thinking: before each call what led to it. What led to the
/// first goes to the front of the turn: a turn with thinking must begin with it.
pub(super) fn restore(request: &mut Request<'_>, recall: &dyn Fn(&str) -> Option<Kept>) {
    for turn in request.turns.iter_mut().filter(|turn| turn.role == Role::Assistant) {
        if turn.parts.iter().any(|part| matches!(part.content, Content::Thought(_))) {
            continue;
        }
        let mut is_first = true;
        let mut parts = Vec::with_capacity(turn.parts.len());
        for part in turn.parts.drain(..) {
            if let Content::Call(call) = &part.content {
                let at = if take(&mut is_first) { 0 } else { parts.len() };
                let led = recall(&call.id);
                let thoughts = led.iter().flat_map(|kept| kept.thoughts.iter());
                parts.splice(at..at, thoughts.map(|thought| Part::from(Content::Thought(thought.clone()))));
            }
            parts.push(part);
        }
        turn.parts = parts;
    }
}

/// Thoughts since the last call.
#[derive(Default)]
struct Leading {
    thoughts: Vec<Thought<'static>>,
    /// What they take, those under way included; beyond the most, nothing is kept.
    bytes: usize,
}

impl Leading {
    /// Whether so much more may be collected; if not, nothing of it is, until a call has been.
    fn room(&mut self, more: usize) -> bool {
        self.bytes = self.bytes.saturating_add(more);
        let room = self.bytes <= MAX_COLLECTED;
        if !room {
            self.thoughts = Vec::new();
        }
        room
    }

    /// They led to this call.
    fn to_call(&mut self, id: &str) -> Option<Kept> {
        let too_much = take(&mut self.bytes) > MAX_COLLECTED;
        let mut thoughts = take(&mut self.thoughts);
        thoughts.retain(is_checked);
        (!too_much && !thoughts.is_empty()).then(|| Kept { call: plain(id), thoughts: thoughts.into() })
    }
}

/// Whether the provider can tell that it is its own.
fn is_checked(thought: &Thought<'_>) -> bool {
    match thought {
        Thought::Signed { signature, .. } => !signature.is_empty(),
        Thought::Redacted { .. } => true,
    }
}

/// The memory it takes, about.
fn thought_bytes(thought: &Thought<'_>) -> usize {
    let texts = match thought {
        Thought::Signed { text, signature } => text.len().saturating_add(signature.len()),
        Thought::Redacted { data } => data.len(),
    };
    texts.saturating_add(size_of::<Thought<'_>>())
}

/// An id as it may stand in a request to Anthropic: the one who asks may have made it so, or not yet.
fn plain(id: &str) -> Arc<str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if id.chars().all(is_plain) {
        return id.into();
    }
    id.chars().map(|c| if is_plain(c) { c } else { '_' }).collect::<String>().into()
}
