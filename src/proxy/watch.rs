//! What the exchange on this thread waits for. One thread carries one exchange, and ureq hands no context down to the transport: so the
//! limits, the client to look after and the head to send lie in a thread-local, set when an exchange begins and cleared when it ends.

use crate::http::Client;
use std::cell::RefCell;
use std::io;
use std::time::{Duration, Instant};

/// How often a waiting read looks up. Limits on silence are kept to this grain.
pub(super) const TICK: Duration = Duration::from_millis(250);

thread_local! {
    static WATCH: RefCell<Watch> = const { RefCell::new(Watch::none()) };
}

/// The exchange on this thread.
pub(super) struct Watch {
    client: Option<Client>,
    phase: Phase,
    first_byte: Duration,
    ends_by_close: bool,
    seen: Seen,
    /// Header fields that the transport adds to the head ureq writes: `name: value CRLF`, as the client sent them.
    fields: Vec<u8>,
    /// Room that the request wants in the write buffer.
    room: usize,
}

/// What the transport has seen of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The connection came from the pool.
    pub(super) reused: bool,
    /// The whole request has left.
    pub(super) sent: bool,
    /// At least one byte of the reply has come.
    pub(super) reply_bytes: bool,
    /// Bytes of the reply wait in a buffer: the next read does not block.
    pub(super) buffered: bool,
    /// The client went away while the upstream was waited for.
    pub(super) client_gone: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// No exchange with a client: limits are ureq's own.
    None,
    /// Connecting, TLS included; must be done by then.
    Connect(Instant),
    /// The request leaves; its end starts the clock.
    Send,
    /// The request has left; the reply's head must come by then.
    Head(Instant),
    /// Inside the reply's body: every tick is handed to the reader.
    Body,
}

/// Why a wait ends.
pub(super) enum Enough {
    /// Hand the tick to the reader.
    Tick,
    /// The connection took too long.
    Connect,
    /// The reply's head took too long.
    Head,
    /// The client has gone.
    ClientGone,
}

/// Ends the exchange on this thread when dropped: no way out, a panic least of all, leaves its key and client to the next request.
pub(super) struct EndOnDrop;

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        Watch::end();
    }
}

/// What an exchange begins with.
pub(super) struct Begin {
    /// Peeked at while the upstream is silent.
    pub(super) client: Option<Client>,
    /// The time to connect.
    pub(super) connect: Duration,
    /// The time from the request's end to the reply's head.
    pub(super) first_byte: Duration,
    /// Bytes that the request takes on the wire, roughly.
    pub(super) room: usize,
}

impl Watch {
    const fn none() -> Self {
        let seen = Seen { reused: false, sent: false, reply_bytes: false, buffered: false, client_gone: false };
        Self { client: None, phase: Phase::None, first_byte: Duration::ZERO, ends_by_close: false, seen, fields: Vec::new(), room: 0 }
    }

    /// Begins an exchange on this thread. `write_fields` writes the header fields that go with the request.
    pub(super) fn begin(begin: Begin, write_fields: impl FnOnce(&mut Vec<u8>)) {
        WATCH.with_borrow_mut(|watch| {
            let mut fields = std::mem::take(&mut watch.fields);
            fields.clear();
            write_fields(&mut fields);
            let phase = Phase::Connect(Instant::now() + begin.connect);
            let room = begin.room + fields.len();
            *watch = Self { client: begin.client, phase, first_byte: begin.first_byte, room, fields, ..Self::none() };
        });
    }

    /// The reply's head has been read: from now on every tick ends the read with `WouldBlock`. Only a reply without framing may end by
    /// close.
    pub(super) fn body(ends_by_close: bool) {
        WATCH.with_borrow_mut(|watch| {
            watch.phase = Phase::Body;
            watch.ends_by_close = ends_by_close;
        });
    }

    /// The exchange is over. Keeps the buffer for the next, but not a key in it.
    pub(super) fn end() {
        WATCH.with_borrow_mut(|watch| {
            let mut fields = std::mem::take(&mut watch.fields);
            zeroize::Zeroize::zeroize(&mut fields);
            *watch = Self { fields, ..Self::none() };
        });
    }

    /// Runs what is no part of the exchange but happens in its midst, such as a question to the control server: none of its fields go with
    /// that, and none of its limits hold there.
    pub(super) fn aside<R>(other: impl FnOnce() -> R) -> R {
        struct Back(Option<Watch>);
        impl Drop for Back {
            fn drop(&mut self) {
                if let Some(watch) = self.0.take() {
                    WATCH.set(watch);
                }
            }
        }
        let _back = Back(Some(WATCH.replace(Self::none())));
        other()
    }

    /// What has been seen of the exchange.
    pub(super) fn seen() -> Seen {
        WATCH.with_borrow(|watch| watch.seen)
    }

    /// Room for the request in a write buffer.
    pub(super) fn room() -> usize {
        WATCH.with_borrow(|watch| watch.room)
    }

    /// The fields to add to the request's head, once.
    pub(super) fn with_fields<R>(add: impl FnOnce(&[u8]) -> R) -> R {
        WATCH.with_borrow(|watch| add(&watch.fields))
    }

    /// The connection stands, from the pool or new; the request follows.
    pub(super) fn connected(reused: bool) {
        WATCH.with_borrow_mut(|watch| {
            watch.seen.reused = reused;
            if watch.phase != Phase::None {
                watch.phase = Phase::Send;
            }
        });
    }

    /// The upstream is waited for from now on.
    pub(super) fn wait() {
        WATCH.with_borrow_mut(|watch| {
            if watch.phase == Phase::Send {
                watch.phase = Phase::Head(Instant::now() + watch.first_byte);
                watch.seen.sent = true;
            }
        });
    }

    /// A byte of the reply has come.
    pub(super) fn reply_byte() {
        WATCH.with_borrow_mut(|watch| watch.seen.reply_bytes = true);
    }

    /// Whether read bytes wait to be used.
    pub(super) fn buffered(waiting: bool) {
        WATCH.with_borrow_mut(|watch| watch.seen.buffered = waiting);
    }

    /// How long a connection may take, if the exchange says so.
    pub(super) fn left_to_connect() -> Option<Duration> {
        WATCH.with_borrow(|watch| match watch.phase {
            Phase::Connect(until) => Some(until.saturating_duration_since(Instant::now())),
            _ => None,
        })
    }

    /// A read has waited for a tick.
    ///
    /// # Errors
    /// Why waiting makes no more sense.
    pub(super) fn tick() -> Result<(), Enough> {
        WATCH.with_borrow_mut(|watch| {
            match watch.phase {
                Phase::Body => return Err(Enough::Tick),
                Phase::Connect(until) if Instant::now() >= until => return Err(Enough::Connect),
                Phase::Head(until) if Instant::now() >= until => return Err(Enough::Head),
                _ => {}
            }
            watch.seen.client_gone = watch.client.as_ref().is_some_and(Client::gone);
            if watch.seen.client_gone { Err(Enough::ClientGone) } else { Ok(()) }
        })
    }

    /// The connection has ended while a read waited: what that means to a reply's body, if it is one.
    ///
    /// # Errors
    /// Inside a body an end is an error, unless the reply has no other end and the connection ended in order; one that ureq does not take
    /// for an end.
    pub(super) fn ended(in_order: bool) -> io::Result<()> {
        let broken_off = WATCH.with_borrow(|watch| watch.phase == Phase::Body && !(in_order && watch.ends_by_close));
        if broken_off { Err(io::Error::new(io::ErrorKind::BrokenPipe, "the upstream's connection broke off")) } else { Ok(()) }
    }
}
