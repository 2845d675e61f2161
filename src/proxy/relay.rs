//! Passes an upstream's reply on to the client as it comes: read, (policies that look at or edit the reply have their place in
//! [`Relay::pass`]), write. Nothing is collected, and a reply that broke off never ends like a whole one.

use super::upstream::UpstreamReply;
use super::watch::{TICK, Watch};
use crate::call::{End, Outcome, Protocol, Reason, Refusal};
use crate::config::Timeouts;
use crate::http::{Client, Framing, Responder, Stream};
use crate::wire::headers::Nominated;
use crate::wire::sse;
use std::cell::RefCell;
use std::io::{self, Read};
use std::time::{Duration, Instant};
use ureq::http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};

/// Bytes read at once.
const BUFFER: usize = 16 << 10;

thread_local! {
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What the relay needs to know of the exchange.
pub(super) struct Context<'c> {
    /// The shape of an error event.
    pub(super) protocol: Protocol,
    /// Whether the request was a HEAD.
    pub(super) is_head: bool,
    /// The limits on silence.
    pub(super) timeouts: &'c Timeouts,
    /// The client's side.
    pub(super) client: &'c Client,
    /// When the request had been read.
    pub(super) started: Instant,
}

/// How the reply was passed on, or the refusal to send instead because nothing of it had reached the client yet.
pub(super) enum Relayed<'a> {
    /// It is over.
    Done(Outcome),
    /// It failed before its first byte: the client can still get an honest error.
    Unstarted(Responder<'a>, Refusal),
}

/// Relays a reply to its end, whatever that is.
pub(super) fn relay<'a>(mut reply: UpstreamReply, responder: Responder<'a>, context: &Context<'_>) -> Relayed<'a> {
    let framing = framing(&reply, context.is_head);
    let mut buffer = SPARE.take();
    buffer.resize(BUFFER, 0);
    let live = is_event_stream(&reply);
    // A live stream's head leaves before its first event; any other reply's head waits for the body's first bytes, so that both share a
    // write, and a body that fails at once is still an honest error.
    let first = match framing {
        Framing::NoBody(_) | Framing::Length(0) => First::End,
        _ if live && !Watch::seen().buffered => First::Waiting,
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
    let stream = start(&reply, responder, framing);
    let relay =
        Relay { stream, context, live, length: length_of(framing), passed: 0, first_byte: None, boundary: sse::Boundary::default() };
    let status = reply.status;
    let (end, passed, first_byte) = relay.run(&mut reply.body, &mut buffer, first);
    SPARE.set(buffer);
    Relayed::Done(Outcome { status, end, reply_bytes: passed, first_byte, total: context.started.elapsed() })
}

fn framing(reply: &UpstreamReply, is_head: bool) -> Framing {
    match reply.length {
        length if is_head || matches!(reply.status, 204 | 304) => Framing::NoBody(length),
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

/// Whether the body is a stream of events that we may add to: `text/event-stream`, not compressed.
fn is_event_stream(reply: &UpstreamReply) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let value = |name: HeaderName| reply.headers.get(name).map(|value| value.as_bytes().trim_ascii());
    let plain = value(CONTENT_ENCODING).is_none_or(|coding| coding.eq_ignore_ascii_case(b"identity"));
    plain && value(CONTENT_TYPE).and_then(|kind| kind.get(..EVENT_STREAM.len())).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}

fn start<'a>(reply: &UpstreamReply, responder: Responder<'a>, framing: Framing) -> Stream<'a> {
    let nominated = Nominated::by(reply.headers.get_all(CONNECTION).iter().map(|value| value.as_bytes()));
    let fields = reply.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    responder.start(reply.status, fields.filter(|(name, _)| nominated.lets_to_client(name)), framing)
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
struct Relay<'s, 'r, 'c> {
    stream: Stream<'s>,
    context: &'r Context<'c>,
    live: bool,
    length: Option<u64>,
    passed: u64,
    first_byte: Option<Duration>,
    boundary: sse::Boundary,
}

impl Relay<'_, '_, '_> {
    /// Reads and writes until an end. The connection goes back to the pool before the client sees the end, so that its next request,
    /// perhaps on another connection of its own, finds it there.
    fn run(mut self, body: &mut impl Read, buffer: &mut [u8], first: First) -> (End, u64, Option<Duration>) {
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
                if self.length == Some(self.passed + pending as u64) {
                    return match next(body, &mut [0]) {
                        Next::End => self.finish(&buffer[..pending]),
                        _ => self.ended(End::UpstreamCut),
                    };
                }
                if self.pass(&buffer[..pending]).is_err() {
                    return self.ended(End::ClientGone);
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

    /// Bytes of the reply on their way to the client. Policies that meter or edit replies stand here.
    fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.live {
            self.boundary.feed(bytes);
        }
        self.stream.write(bytes)?;
        self.note(bytes.len());
        Ok(())
    }

    fn note(&mut self, count: usize) {
        self.passed += count as u64;
        if self.first_byte.is_none() {
            self.first_byte = Some(self.context.started.elapsed());
        }
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
        if due && self.live && self.length.is_none() && self.boundary.is_between_events() && self.stream.write(sse::COMMENT).is_err() {
            return Some(End::ClientGone);
        }
        None
    }

    fn over(self, end: End) -> (End, u64, Option<Duration>) {
        match end {
            End::UpstreamCut => {
                let message =
                    format!("the upstream was silent for {} s in mid-reply (--idle-timeout)", self.context.timeouts.idle.as_secs_f64());
                self.broken("upstream_timeout", &message)
            }
            other => self.ended(other),
        }
    }

    /// Tells the client of a live stream why it ends, where an event may stand, then closes without an end.
    fn broken(mut self, code: &str, message: &str) -> (End, u64, Option<Duration>) {
        if self.live && self.length.is_none() && self.boundary.is_between_events() {
            let _ = self.stream.write(&sse::error_event(self.context.protocol, code, message));
        }
        self.ended(End::UpstreamCut)
    }

    fn finish(mut self, last: &[u8]) -> (End, u64, Option<Duration>) {
        self.note(last.len());
        let (passed, first_byte) = (self.passed, self.first_byte);
        let end = if self.stream.finish_with(last).is_ok() { End::Complete } else { End::ClientGone };
        (end, passed, first_byte)
    }

    /// Drops the stream unfinished: the connection closes, and the client sees that the reply broke off.
    fn ended(self, end: End) -> (End, u64, Option<Duration>) {
        (end, self.passed, self.first_byte)
    }
}
