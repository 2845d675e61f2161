//! The connection: requests in order on one socket.
//!
//! One thread runs it from top to bottom: wait for a head, let the service answer, find what follows, again. Whatever goes wrong ends the
//! connection; what may follow on it is decided here and nowhere else.

use super::body::{Ahead, Body, Coding, Rest};
use super::head::{self, Head, Slot};
use super::input::Input;
use super::link::{Inlet, Link, Patience};
use super::progress::{DRAIN_BYTES, Progress, Reply};
use super::reply::{self, Client, Handover, Responder};
use super::{ServerLimits, Service, Violation};
use crate::call::BodyLength;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Fields that have their room on the stack; a higher limit costs an allocation a request.
const USUAL_HEADERS: usize = 128;

/// How long an unread body is waited for, to save the connection.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How long and how much is read after the last reply, so that a client that still sends gets to read it instead of a reset.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 << 20;

/// What all connections of a server share.
pub(super) struct Serving {
    pub(super) limits: ServerLimits,
    pub(super) service: Arc<dyn Service>,
    pub(super) stopping: AtomicBool,
}

impl Serving {
    /// The body of a refusal; a service that panics even here gives an empty one.
    pub(super) fn violation_body(&self, violation: Violation, partial_head: &[u8]) -> Vec<u8> {
        catch_unwind(AssertUnwindSafe(|| self.service.violation_body(violation, partial_head))).unwrap_or_default()
    }
}

/// Serves one connection to its end.
pub(super) fn serve(link: &Arc<Link>, serving: &Serving) {
    let client = Client::new(Arc::downgrade(link));
    let mut connection = Connection { link, serving, client, input: Input::new(), out: Vec::with_capacity(512) };
    while connection.turn() {}
}

struct Connection<'s> {
    link: &'s Link,
    serving: &'s Serving,
    client: Client,
    input: Input,
    /// The head of the reply under way.
    out: Vec<u8>,
}

/// How a request ended, as the service left it.
struct Left {
    panicked: bool,
    rest: Rest,
    head_only: bool,
}

impl Connection<'_> {
    /// One request; whether another may follow.
    fn turn(&mut self) -> bool {
        match self.input.await_head(self.link, &self.serving.limits) {
            Ok(Some(length)) => self.link.begin() && self.exchange(length) && self.rest(),
            Ok(None) => false,
            Err(violation) => {
                self.refuse(violation, self.input.pending().len(), false);
                self.linger()
            }
        }
    }

    /// Between two requests.
    fn rest(&self) -> bool {
        self.link.end();
        // In this order: the one who stops looks at them in the other.
        !self.serving.stopping.load(SeqCst)
    }

    /// Answers the request whose head is pending with `length` bytes; whether the connection lives on.
    fn exchange(&mut self, length: usize) -> bool {
        let Serving { limits, stopping, .. } = self.serving;
        let (mut few, mut many) = ([const { MaybeUninit::uninit() }; USUAL_HEADERS], Vec::new());
        let (bytes, ahead) = self.input.split(length);
        let head = match head::parse(bytes, slots(&mut few, &mut many, limits.max_headers), limits) {
            Ok(head) => head,
            Err(violation) => {
                self.refuse(violation, length, false);
                return self.linger();
            }
        };
        let unread = Coding::of(head.inbound.length).unread();
        let progress = Progress::new(unread, head.keep_alive, head.expects_continue, stopping);
        let left = call(self.serving, self.link, &self.client, &head, ahead, &mut self.out, &progress);
        self.conclude(length, left, &progress)
    }

    fn conclude(&mut self, length: usize, left: Left, progress: &Progress<'_>) -> bool {
        match progress.reply() {
            Reply::Complete => {
                self.input.advance(length, &left.rest);
                self.after(left.rest.coding, progress)
            }
            Reply::None | Reply::Decided if left.panicked || progress.reply() == Reply::None => {
                self.refuse(progress.violation(), length, left.head_only);
                self.linger()
            }
            Reply::Begun => self.linger(),
            Reply::BegunByClose => {
                self.link.reset_on_close();
                false
            }
            Reply::None | Reply::Decided | Reply::Upgraded => false,
        }
    }

    /// After a whole reply: reads what is left of the body, within bounds, so that the next request is found behind it.
    fn after(&mut self, coding: Coding, progress: &Progress<'_>) -> bool {
        let ended = matches!(coding, Coding::Ended);
        if progress.keeps_alive() && (ended || self.drain(coding, progress)) {
            return true;
        }
        // With nothing unread a close can't become a reset.
        if ended && self.input.pending().is_empty() { false } else { self.linger() }
    }

    fn drain(&mut self, coding: Coding, progress: &Progress<'_>) -> bool {
        let (_, ahead) = self.input.split(0);
        let mut inlet = Inlet { link: self.link, patience: Patience::Deadline(Instant::now() + DRAIN_TIME) };
        let mut body = Body::new(coding, ahead, &mut inlet, progress, DRAIN_TIME);
        let found_end = body.discard(DRAIN_BYTES);
        let rest = body.into_rest();
        self.input.advance(0, &rest);
        found_end
    }

    /// Sends an error reply of the server's own; the head it answers is the first `length` pending bytes.
    fn refuse(&mut self, violation: Violation, length: usize, head_only: bool) {
        let body = self.serving.violation_body(violation, &self.input.pending()[..length]);
        let mut sink = self.link;
        let _ = reply::write_violation(&mut self.out, &mut sink, violation, &body, head_only);
    }

    /// The end of a connection on which the client may still be sending. Always `false`: nothing follows.
    fn linger(&mut self) -> bool {
        self.link.end();
        self.link.close_write();
        let (deadline, mut left) = (Instant::now() + LINGER_TIME, LINGER_BYTES);
        while let Ok(count @ 1..) = self.link.read_until(self.input.scratch(), deadline) {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
        false
    }
}

/// Room for `count` fields.
fn slots<'s, 'b>(few: &'s mut [Slot<'b>; USUAL_HEADERS], many: &'s mut Vec<Slot<'b>>, count: usize) -> &'s mut [Slot<'b>] {
    if count <= USUAL_HEADERS {
        return &mut few[..count];
    }
    many.resize_with(count, MaybeUninit::uninit);
    many
}

/// Lets the service answer.
fn call(
    serving: &Serving,
    link: &Link,
    client: &Client,
    head: &Head<'_>,
    ahead: Ahead<'_>,
    out: &mut Vec<u8>,
    progress: &Progress<'_>,
) -> Left {
    let (request, mut sink, mut interim) = (&head.inbound, link, link);
    let mut inlet = Inlet { link, patience: Patience::Silence(serving.limits.body_timeout) };
    let filled = ahead.end;
    // Without a body, the bytes behind the head belong to an upgrade, or to the next request.
    let (ahead, read_ahead, handover) = match request.length {
        BodyLength::None => (Ahead { bytes: &mut [], start: 0, end: 0 }, &ahead.bytes[..filled], true),
        _ => (ahead, &[][..], false),
    };
    let mut body =
        Body::new(Coding::of(request.length), ahead, &mut inlet, progress, serving.limits.body_timeout).with_interim(&mut interim);
    let responder = Responder {
        out,
        sink: &mut sink,
        progress,
        version: request.version,
        head_only: request.method == "HEAD",
        client,
        handover: handover.then_some(Handover { link, read_ahead }),
    };
    let panicked = catch_unwind(AssertUnwindSafe(|| serving.service.serve(request, &mut body, responder))).is_err();
    let rest = if handover { Rest { coding: Coding::Ended, start: 0, end: filled } } else { body.into_rest() };
    Left { panicked, rest, head_only: request.method == "HEAD" }
}
