//! Passes an upstream's reply on to the client as it comes: read, meter, edit, write. Nothing is collected, and a reply that broke off
//! never ends like a whole one. The call is settled here, just before the client sees the end: the last body byte, or the event that ends
//! a stream.

mod whole;

use super::exchange::Translation;
use super::open::Open;
use super::upstream::UpstreamReply;
use super::watch::{TICK, Watch};
use crate::call::{End, Protocol, Reason, Refusal};
use crate::config::Timeouts;
use crate::http::{Client, Framing, Responder, Stream};
use crate::money::Reported;
use crate::wire::headers::{self, Nominated};
use crate::wire::sse;
use crate::wire::translate;
use crate::wire::usage::{Meter, WithoutUsage};
use std::cell::RefCell;
use std::io::{self, Read};
use std::sync::atomic::AtomicU64;
use std::time::Instant;
use ureq::http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};

/// Bytes read at once.
const BUFFER: usize = 16 << 10;

/// The most bytes of a stream's last event that are held at once.
const MAX_HELD: usize = 256 << 10;

thread_local! {
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the relay needs to know of the exchange.
pub(super) struct Context<'c> {
    /// The shape of an error event.
    pub(super) protocol: Protocol,
    /// What tells the usage in a reply of this call; `None`: nothing does.
    pub(super) endpoint: Option<crate::call::Endpoint>,
    /// Whether the request was a HEAD.
    pub(super) is_head: bool,
    /// Whether the usage chunk was our wish, not the client's.
    pub(super) strip_usage: bool,
    /// How the reply is translated, where client and upstream speak different protocols.
    pub(super) translation: Option<&'c Translation>,
    /// Fields of ours in the reply.
    pub(super) added: &'c [(&'static str, String)],
    /// The longest reply that is taken into memory, where that has to be.
    pub(super) max_whole_bytes: u64,
    /// Bytes of bodies held in memory now, of all calls.
    pub(super) buffered: &'c AtomicU64,
    /// The most of them.
    pub(super) max_buffered_bytes: u64,
    /// The limits on silence.
    pub(super) timeouts: &'c Timeouts,
    /// The client's side.
    pub(super) client: &'c Client,
    /// When the request had been read.
    pub(super) started: Instant,
}

/// How the reply was passed on, or the refusal to send instead because nothing of it had reached the client yet.
pub(super) enum Relayed<'a> {
    /// It is over, and settled.
    Done,
    /// It failed before its first byte: the client can still get an honest error.
    Unstarted(Responder<'a>, Refusal),
}

/// Relays a reply to its end, whatever that is.
pub(super) fn relay<'a>(mut reply: UpstreamReply, responder: Responder<'a>, context: &Context<'_>, open: &mut Open<'_>) -> Relayed<'a> {
    let kind = Kind::of(&reply);
    open.progress.streamed = kind == Kind::Events;
    let edit = match context.translation {
        Some(translation) if kind != Kind::Events || !reply.is_success() => {
            return whole::relay(reply, responder, context, translation, open);
        }
        Some(translation) => Edit::Translate(Box::new(translation.plan.stream())),
        None if context.strip_usage && kind == Kind::Events => Edit::WithoutUsage(WithoutUsage::default()),
        None => Edit::Nothing,
    };
    let framing = framing(&reply, context.is_head, !edit.is_nothing());
    let mut buffer = SPARE.take();
    buffer.resize(BUFFER, 0);
    // A live stream's head leaves before its first event; any other reply's head waits for the body's first bytes, so that both share a
    // write, and a body that fails at once is still an honest error.
    let first = match framing {
        Framing::NoBody(_) | Framing::Length(0) => First::End,
        _ if kind == Kind::Events && !Watch::seen().buffered => First::Waiting,
        _ => match next(&mut reply.body, &mut buffer) {
            Next::Bytes(count) => First::Bytes(count),
            Next::End => First::End,
            Next::Tick => First::Waiting,
            Next::Broken => {
                let message = "the upstream's connection broke off before the reply's body began";
                return Relayed::Unstarted(responder, Refusal::new(Reason::Upstream("upstream_reset"), message));
            }
        },
    };
    let meter = context.endpoint.filter(|_| kind != Kind::Opaque).map(|endpoint| Meter::new(endpoint, kind == Kind::Events));
    let own_id = open.id_to_add();
    open.note_head(reply.status, kind != Kind::Opaque, fields(&reply, context, own_id.as_deref()));
    let stream = responder.start(reply.status, fields(&reply, context, own_id.as_deref()), framing);
    let relay = Relay {
        stream,
        context,
        open,
        live: kind == Kind::Events,
        meter,
        edit,
        edited: Vec::new(),
        last_word: context.started,
        held: Vec::new(),
        length: length_of(framing),
        boundary: sse::Boundary::default(),
    };
    relay.run(&mut reply.body, &mut buffer, first);
    SPARE.set(buffer);
    Relayed::Done
}

/// What a reply's body is, as far as it can be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A stream of events that we may read and add to: `text/event-stream`, not compressed.
    Events,
    /// One value, not compressed.
    Value,
    /// Compressed.
    Opaque,
}

impl Kind {
    fn of(reply: &UpstreamReply) -> Self {
        const EVENT_STREAM: &[u8] = b"text/event-stream";
        let value = |name: HeaderName| reply.headers.get(name).map(|value| value.as_bytes().trim_ascii());
        if !value(CONTENT_ENCODING).is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity")) {
            return Self::Opaque;
        }
        let kind = value(CONTENT_TYPE).and_then(|kind| kind.get(..EVENT_STREAM.len()));
        if kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM)) { Self::Events } else { Self::Value }
    }
}

/// `edited`: the body may become shorter than the upstream says.
fn framing(reply: &UpstreamReply, is_head: bool, edited: bool) -> Framing {
    match reply.length {
        length if is_head || matches!(reply.status, 204 | 304) => Framing::NoBody(length),
        _ if edited => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

fn length_of(framing: Framing) -> Option<u64> {
    match framing {
        Framing::Length(length) => Some(length),
        Framing::NoBody(_) => Some(0),
        Framing::Chunked => None,
    }
}

/// The fields of the reply for the client: the upstream's, and ours. Where it is translated, the request's id has the other protocol's
/// name beside its own; where the upstream gave none, it is `own_id`.
fn fields<'f>(reply: &'f UpstreamReply, context: &'f Context<'_>, own_id: Option<&'f str>) -> impl Iterator<Item = (&'f str, &'f [u8])> {
    let nominated = Nominated::by(reply.headers.get_all(CONNECTION).iter().map(|value| value.as_bytes()));
    let fields = reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let passed = fields.filter(move |(name, _)| nominated.lets_to_client(name));
    let request_id = context.translation.and_then(|translation| {
        let (theirs, ours) = headers::request_id_names(translation.plan.upstream);
        let value = reply.headers.get(theirs).filter(|_| !reply.headers.contains_key(ours))?;
        Some((ours, value.as_bytes()))
    });
    let own_id = own_id.map(|id| (headers::request_id_names(context.protocol).0, id.as_bytes()));
    passed.chain(request_id).chain(own_id).chain(context.added.iter().map(|(name, value)| (*name, value.as_bytes())))
}

/// What happens to a reply's bytes on their way.
enum Edit {
    /// Nothing.
    Nothing,
    /// The usage that we asked for is taken out.
    WithoutUsage(WithoutUsage),
    /// They become events of the other protocol.
    Translate(Box<translate::Stream>),
}

impl Edit {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Nothing => out.extend_from_slice(bytes),
            Self::WithoutUsage(filter) => filter.feed(bytes, out),
            Self::Translate(stream) => stream.feed(bytes, out),
        }
    }

    /// Whether the client was told of an error, behind which nothing follows.
    fn has_failed(&self) -> bool {
        matches!(self, Self::Translate(stream) if stream.has_failed())
    }

    /// No more bytes come. False: what they became must not be taken for whole.
    fn finish(&mut self, out: &mut Vec<u8>) -> bool {
        match self {
            Self::Nothing => true,
            Self::WithoutUsage(filter) => {
                filter.finish(out);
                true
            }
            Self::Translate(stream) => {
                let ended = stream.finish(out);
                if stream.ignored() > 0 {
                    log::debug!("{} events of the stream are unknown and were not translated", stream.ignored());
                }
                ended == translate::Ended::Whole
            }
        }
    }
}

/// What the first look at the body brought.
enum First {
    Bytes(usize),
    Waiting,
    End,
}

/// What a read of the body brought.
enum Next {
    Bytes(usize),
    End,
    /// Silence for one [`TICK`].
    Tick,
    Broken,
}

fn next(body: &mut impl Read, buffer: &mut [u8]) -> Next {
    loop {
        return match body.read(buffer) {
            Ok(0) => Next::End,
            Ok(count) => Next::Bytes(count),
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => Next::Tick,
            Err(_) => Next::Broken,
        };
    }
}

/// A reply under way.
struct Relay<'s, 'r, 'p, 'c> {
    stream: Stream<'s>,
    context: &'r Context<'c>,
    open: &'r mut Open<'p>,
    live: bool,
    meter: Option<Meter>,
    edit: Edit,
    /// What became of bytes that were edited, reused.
    edited: Vec<u8>,
    /// When something that was edited left for the client last.
    last_word: Instant,
    /// Bytes that must not leave before the call is settled.
    held: Vec<u8>,
    length: Option<u64>,
    boundary: sse::Boundary,
}

impl Relay<'_, '_, '_, '_> {
    /// Reads and writes until an end. The connection goes back to the pool before the client sees the end, so that its next request,
    /// perhaps on another connection of its own, finds it there.
    fn run(mut self, body: &mut impl Read, buffer: &mut [u8], first: First) {
        let mut pending = match first {
            First::Bytes(count) => count,
            First::End => return self.finish(&[]),
            First::Waiting if self.stream.flush().is_err() => return self.ended(End::ClientGone),
            First::Waiting => 0,
        };
        let mut silent_ticks = 0u32;
        loop {
            if pending > 0 {
                silent_ticks = 0;
                let is_last = self.length == Some(self.open.progress.received + pending as u64);
                self.take(&buffer[..pending]);
                if is_last {
                    return match next(body, &mut [0]) {
                        Next::End => self.finish(&buffer[..pending]),
                        _ => {
                            self.open.fail("the upstream's reply is not as long as it says");
                            self.ended(End::UpstreamCut)
                        }
                    };
                }
                if self.pass(&buffer[..pending]).is_err() {
                    return self.ended(End::ClientGone);
                }
                if self.edit.has_failed() {
                    return self.finish(&[]);
                }
            }
            pending = 0;
            match next(body, buffer) {
                Next::Bytes(count) => pending = count,
                Next::End => return self.finish(&[]),
                Next::Broken => return self.broken("upstream_reset", "the upstream's connection broke off in mid-reply"),
                Next::Tick => {
                    silent_ticks += 1;
                    if let Some(over) = self.wait(silent_ticks) {
                        return self.over(over);
                    }
                }
            }
        }
    }

    /// Bytes have come: counted and metered.
    fn take(&mut self, bytes: &[u8]) {
        self.open.progress.received += bytes.len() as u64;
        if let Some(meter) = &mut self.meter {
            meter.feed(bytes);
        }
    }

    /// Bytes of the reply on their way to the client. Those that end it stay here until the call is settled.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.open.is_settled() {
            return self.put(bytes);
        }
        let (ends_at, is_over) = self.meter.as_ref().map_or((None, false), |meter| (meter.terminal_at(), meter.is_over()));
        match ends_at {
            None => self.put(bytes),
            Some(_) if is_over && self.held.is_empty() => {
                self.settle_before(bytes.len());
                self.put(bytes)
            }
            Some(at) => {
                let (free, last) = bytes.split_at(if self.held.is_empty() { at.min(bytes.len()) } else { 0 });
                self.put(free)?;
                self.held.extend_from_slice(last);
                if is_over {
                    self.settle_before(self.held.len());
                }
                // A longer event goes on in parts, unsettled: nobody can act on it before its data has ended.
                if is_over || self.held.len() > MAX_HELD { self.release() } else { Ok(()) }
            }
        }
    }

    /// Lets go of what was held.
    fn release(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut held = std::mem::take(&mut self.held);
        let result = self.put(&held);
        held.clear();
        self.held = held;
        result
    }

    /// Writes, edited where that is due.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() || self.edit.is_nothing() {
            return self.write(bytes);
        }
        let mut edited = std::mem::take(&mut self.edited);
        edited.clear();
        self.edit.feed(bytes, &mut edited);
        self.keep_thoughts();
        if self.edit.has_failed() {
            // Whoever sees it takes it for the end, also where the meter does not.
            self.open.fail_by(&edited);
            self.note(edited.len());
            self.settle(End::UpstreamCut);
        }
        let result = if edited.is_empty() { self.say_nothing() } else { self.write_edited(&edited) };
        self.edited = edited;
        result
    }

    fn write_edited(&mut self, edited: &[u8]) -> io::Result<()> {
        self.last_word = Instant::now();
        self.write(edited)
    }

    /// What has come means nothing to the client, yet: the beginning of an event, or one that has no place in its protocol. An upstream may
    /// go on with that for long: the client must not wait for the head, nor take the silence for a dead connection, and one that has gone
    /// must be found out.
    fn say_nothing(&mut self) -> io::Result<()> {
        self.stream.flush()?;
        if self.context.client.gone() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let keepalive = self.context.timeouts.keepalive;
        if keepalive.is_zero() || self.last_word.elapsed() < keepalive || !self.may_add() {
            return Ok(());
        }
        self.last_word = Instant::now();
        self.stream.write(sse::COMMENT)
    }

    fn keep_thoughts(&mut self) {
        if let Edit::Translate(stream) = &mut self.edit {
            let kept = stream.take_kept();
            if !kept.is_empty() {
                self.open.keep_thoughts(kept);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.live {
            self.boundary.feed(bytes);
        }
        self.stream.write(bytes)?;
        self.open.note_body(bytes);
        self.note(bytes.len());
        Ok(())
    }

    fn note(&mut self, count: usize) {
        let progress = &mut self.open.progress;
        progress.passed += count as u64;
        if progress.first_byte.is_none() {
            progress.first_byte = Some(self.context.started.elapsed());
        }
    }

    /// Settles just before the last bytes leave: the row has them, too. (As they came: an edit makes them a little shorter or longer.)
    fn settle_before(&mut self, last: usize) {
        self.note(last);
        self.settle(End::Complete);
    }

    fn settle(&mut self, end: End) {
        let reported = self.meter.as_ref().map_or_else(Reported::default, Meter::reported);
        self.open.settle(end, &reported);
    }

    /// One more tick of silence: `Some` when waiting makes no more sense.
    fn wait(&mut self, silent_ticks: u32) -> Option<End> {
        if self.context.client.gone() {
            return Some(End::ClientGone);
        }
        let silence = TICK * silent_ticks;
        if silence >= self.context.timeouts.idle {
            return Some(End::UpstreamCut);
        }
        let keepalive = self.context.timeouts.keepalive;
        let due = !keepalive.is_zero()
            && silence.as_millis() / keepalive.as_millis().max(1) > (silence - TICK).as_millis() / keepalive.as_millis().max(1);
        if due && self.may_add() && self.stream.write(sse::COMMENT).is_err() {
            return Some(End::ClientGone);
        }
        None
    }

    /// Whether something of ours may stand in the stream here.
    fn may_add(&self) -> bool {
        self.live && self.length.is_none() && self.held.is_empty() && self.boundary.is_between_events()
    }

    fn over(self, end: End) {
        match end {
            End::UpstreamCut => {
                let message =
                    format!("the upstream was silent for {} s in mid-reply (--idle-timeout)", self.context.timeouts.idle.as_secs_f64());
                self.broken("upstream_timeout", &message)
            }
            other => self.ended(other),
        }
    }

    /// Tells the client of a live stream why it ends, where an event may stand, then closes without an end. What an edit holds of an
    /// unfinished event is of no use to anybody.
    fn broken(mut self, code: &str, message: &str) {
        self.open.fail(message);
        self.settle(End::UpstreamCut);
        if self.release().is_ok() && self.may_add() {
            let event = sse::error_event(self.context.protocol, code, message);
            self.open.note_body(&event);
            let _ = self.stream.write(&event);
        }
    }

    fn finish(mut self, last: &[u8]) {
        let mut rest = std::mem::take(&mut self.edited);
        rest.clear();
        let held = std::mem::take(&mut self.held);
        if !(held.is_empty() && self.edit.is_nothing()) {
            self.edit.feed(&held, &mut rest);
            self.edit.feed(last, &mut rest);
            let whole = self.edit.finish(&mut rest);
            self.keep_thoughts();
            if !whole {
                let _ = self.write(&rest);
                return self.broken("upstream_reset", "the upstream's stream ended before the reply was complete");
            }
        }
        let last = if rest.is_empty() && self.edit.is_nothing() { last } else { &rest };
        self.open.note_body(last);
        self.open.progress.passed += last.len() as u64;
        if let Some(meter) = &mut self.meter {
            meter.end();
        }
        self.settle(End::Complete);
        // Settled as complete: if the client has gone at this very point, the provider's work was done all the same.
        if let Err(fault) = self.stream.finish_with(last) {
            log::debug!("client gone at the end: {fault} request_id={}", self.open.id());
        }
    }

    /// Drops the stream unfinished: the connection closes, and the client sees that the reply broke off.
    fn ended(mut self, end: End) {
        self.settle(end);
    }
}
