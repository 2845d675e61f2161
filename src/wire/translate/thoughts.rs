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
        self.kept.extend(self.leading.led_to(id));
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
            Content::Call(call) => kept.extend(leading.led_to(&call.id)),
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
    fn led_to(&mut self, id: &str) -> Option<Kept> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Usage;
    use crate::wire::translate::form::{Call, Stop, Turn};
    use proptest::prelude::*;

    fn signed(text: &str) -> Thought<'static> {
        Thought::Signed { text: text.to_owned().into(), signature: "s".into() }
    }

    fn kept(call: &str, texts: &[&str]) -> Kept {
        Kept { call: call.into(), thoughts: texts.iter().map(|text| signed(text)).collect() }
    }

    fn call<'a>(id: &'a str) -> Content<'a> {
        Content::Call(Call { id: id.into(), name: "f".into(), arguments: "{}".into() })
    }

    fn text<'a>(text: &'a str) -> Delta<'a> {
        Delta::Text(text.into())
    }

    /// The steps of a signed thought.
    fn thought<'a>(number: u32, said: &'a str) -> [Event<'a>; 4] {
        let signature = Delta::Signature("s".into());
        [Event::Open(number, Block::Thought), Event::Delta(number, text(said)), Event::Delta(number, signature), Event::Close(number)]
    }

    fn open_call<'a>(number: u32, id: &'a str) -> Event<'a> {
        Event::Open(number, Block::Call { id: id.into(), name: "f".into() })
    }

    fn collected(events: &[Event<'_>]) -> Vec<Kept> {
        let mut collector = Collector::new(true);
        events.iter().for_each(|event| collector.see(event));
        collector.take()
    }

    #[test]
    fn the_oldest_goes_first() {
        let entry = kept("a", &["x"]).bytes();
        let mut store = Thoughts::new(2 * entry);
        for id in ["a", "b", "a", "c"] {
            store.keep(None, kept(id, &["x"]));
        }
        // Kept again, "a" was newer than "b".
        assert_eq!(["a", "b", "c"].map(|id| store.recall(None, id).is_some()), [true, false, true]);
    }

    #[test]
    fn what_is_kept_again_replaces_what_was() {
        let mut store = Thoughts::new(10_000);
        store.keep(None, kept("a", &["one"]));
        store.keep(None, kept("a", &["two"]));
        assert_eq!(store.recall(None, "a"), Some(kept("a", &["two"])));
        // Too large to be kept, but what was there is no longer what led to the call.
        store.keep(None, kept("a", &[&"x".repeat(10_000)]));
        assert_eq!((store.recall(None, "a"), store.bytes), (None, 0));
    }

    #[test]
    fn nobody_gets_the_thinking_of_others() {
        let mut store = Thoughts::new(10_000);
        store.keep(Some(AgentId(1)), kept("a", &["one"]));
        store.keep(Some(AgentId(2)), kept("a", &["two"]));
        assert_eq!(store.recall(Some(AgentId(1)), "a"), Some(kept("a", &["one"])));
        assert_eq!(store.recall(Some(AgentId(2)), "a"), Some(kept("a", &["two"])));
        assert_eq!((store.recall(None, "a"), store.recall(Some(AgentId(3)), "a")), (None, None));
    }

    #[test]
    fn ids_are_known_again_in_the_letters_that_requests_may_have() {
        let found = collected(&[&thought(0, "A")[..], &[open_call(1, "functions.f:0")]].concat());
        let mut store = Thoughts::new(10_000);
        found.into_iter().for_each(|kept| store.keep(None, kept));
        assert!(store.recall(None, "functions.f:0").is_some() && store.recall(None, "functions_f_0").is_some());
    }

    #[test]
    fn thoughts_belong_to_the_next_call() {
        let redacted = [Event::Open(1, Block::Redacted("d".into())), Event::Close(1)];
        let events = [
            &thought(0, "A")[..],
            &redacted,
            &[open_call(2, "a"), Event::Close(2), open_call(3, "b"), Event::Close(3)],
            &thought(4, "B"),
            &[open_call(5, "c")],
            &thought(6, "behind the last call"),
        ];
        let found = collected(&events.concat());
        let first = Kept { call: "a".into(), thoughts: [signed("A"), Thought::Redacted { data: "d".into() }].into() };
        assert_eq!(found, [first, kept("c", &["B"])]);
    }

    #[test]
    fn only_whole_thoughts_are_kept() {
        let [open, said, signature, close] = thought(0, "A");
        let before = [open.clone(), said.clone(), open_call(1, "a"), signature.clone(), close.clone(), open_call(2, "b")];
        assert_eq!(collected(&before), [kept("b", &["A"])]);
        assert_eq!(collected(&[open, said, close, open_call(1, "a")]), [], "unsigned");
        assert_eq!(Collector::new(false).take(), []);
    }

    #[test]
    fn too_much_thinking_is_not_kept_for_that_call() {
        let long = "x".repeat(MAX_COLLECTED / 3);
        let much: Vec<Event<'_>> = (0..4).flat_map(|number| thought(number, &long)).chain([open_call(4, "a")]).collect();
        assert_eq!(collected(&much), []);
        let then = [&much[..], &thought(5, "B"), &[open_call(6, "b")]].concat();
        assert_eq!(collected(&then), [kept("b", &["B"])]);
    }

    #[test]
    fn a_thought_across_calls_stays_within_the_bound() {
        let long = "x".repeat(MAX_COLLECTED / 3);
        let mut events = vec![Event::Open(0, Block::Thought)];
        for number in 1..6 {
            events.extend([Event::Delta(0, text(&long)), open_call(number, "a")]);
        }
        events.extend([Event::Delta(0, Delta::Signature("s".into())), Event::Close(0), open_call(6, "b")]);
        assert_eq!(collected(&events), []);
    }

    #[test]
    fn whole_replies_are_read_like_streams() {
        let contents = [
            Content::Thought(signed("A")),
            Content::Text("So.".into()),
            call("a"),
            call("b"),
            Content::Thought(signed("B")),
            call("c"),
            Content::Thought(Thought::Signed { text: "unsigned".into(), signature: "".into() }),
            call("d"),
        ];
        let parts = contents.into_iter().map(Part::from).collect();
        let reply = Reply { id: "".into(), model: "".into(), created: None, parts, stop: Stop::Calls, usage: Usage::default() };
        assert_eq!(of_reply(&reply), [kept("a", &["A"]), kept("c", &["B"])]);
    }

    /// What stands in the assistant's turn after thoughts were put back into it.
    fn restored(contents: Vec<Content<'_>>, known: &[Kept]) -> Vec<String> {
        let parts = contents.into_iter().map(Part::from).collect();
        let mut request = Request { turns: vec![Turn { role: Role::Assistant, parts }], ..Request::default() };
        restore(&mut request, &|id| known.iter().find(|kept| &*kept.call == id).cloned());
        let word = |part: &Part<'_>| match &part.content {
            Content::Thought(Thought::Signed { text, .. }) => format!("({text})"),
            Content::Call(call) => call.id.to_string(),
            Content::Text(text) => text.to_string(),
            other => format!("{other:?}"),
        };
        request.turns.iter().flat_map(|turn| turn.parts.iter().map(word)).collect()
    }

    #[test]
    fn thoughts_go_back_before_their_calls() {
        let known = [kept("a", &["A", "B"]), kept("c", &["C"])];
        let turn = vec![Content::Text("So.".into()), call("a"), call("b"), call("c")];
        assert_eq!(restored(turn, &known), ["(A)", "(B)", "So.", "a", "b", "(C)", "c"]);
        assert_eq!(restored(vec![Content::Text("So.".into()), call("b"), call("c")], &known), ["So.", "b", "(C)", "c"]);
    }

    #[test]
    fn turns_with_thinking_of_their_own_stay_as_they_are() {
        let turn = vec![call("a"), Content::Thought(signed("own")), call("c")];
        assert_eq!(restored(turn, &[kept("a", &["A"]), kept("c", &["C"])]), ["a", "(own)", "c"]);
    }

    proptest! {
        #[test]
        fn the_store_holds_what_came_last_within_its_bound(
            max_bytes in 0usize..3_000,
            steps in prop::collection::vec((0usize..3, 0usize..6, 0usize..400), 0..60),
        ) {
            let mut store = Thoughts::new(max_bytes);
            // The same, told in the simplest way: oldest first.
            let mut model: Vec<(usize, Kept)> = Vec::new();
            for (owner, id, length) in steps {
                let entry = kept(&id.to_string(), &[&"x".repeat(length)]);
                store.keep(Some(AgentId(owner)), entry.clone());
                model.retain(|(of, kept)| (*of, &kept.call) != (owner, &entry.call));
                if entry.bytes() <= max_bytes {
                    model.push((owner, entry));
                }
                let bytes = |model: &[(usize, Kept)]| model.iter().map(|(_, kept)| kept.bytes()).sum::<usize>();
                while bytes(&model) > max_bytes {
                    model.remove(0);
                }
                prop_assert_eq!((store.bytes, store.kept.len(), store.order.len()), (bytes(&model), model.len(), model.len()));
            }
            for owner in 0..3 {
                for id in 0..6 {
                    let expected = model.iter().find(|(of, kept)| *of == owner && *kept.call == *id.to_string());
                    prop_assert_eq!(store.recall(Some(AgentId(owner)), &id.to_string()), expected.map(|(_, kept)| kept.clone()));
                }
            }
        }
    }
}
