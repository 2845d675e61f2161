//! What the body, the reply and the connection of one request tell each other while it is answered.
//!
//! The three are borrowed apart (a service may read the body while it writes the reply), so what they share is here, in atomics: plain
//! moves on the machines we care for, and `Body` and `Responder` stay `Send`.

use super::{BodyError, Violation, head};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// The most of an unread body that is read and thrown away to save the connection.
pub(super) const DRAIN_BYTES: u64 = 256 << 10;

/// The unread length of a body that doesn't say.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// How far the reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Reply {
    /// Nothing decided.
    None,
    /// The head is decided, nothing of it has left.
    Decided,
    /// Bytes have left, the end has not.
    Begun,
    /// The same, and only the end of the connection would mark the end.
    BegunByClose,
    /// All of it has left.
    Complete,
    /// The connection belongs to somebody else now.
    Upgraded,
}

/// The shared state of one exchange.
pub(super) struct Progress<'a> {
    /// Body bytes not taken yet, [`UNKNOWN`] for a chunked one under way.
    unread: AtomicU64,
    /// How reading the body failed, if it did.
    fault: OnceLock<Violation>,
    /// The client waits for `100 Continue` and has not got it.
    continue_due: AtomicBool,
    /// The connection ends after this exchange.
    close: AtomicBool,
    reply: AtomicU8,
    stopping: &'a AtomicBool,
}

impl<'a> Progress<'a> {
    pub(super) fn new(unread: u64, keep_alive: bool, expects_continue: bool, stopping: &'a AtomicBool) -> Self {
        Self {
            unread: AtomicU64::new(unread),
            fault: OnceLock::new(),
            continue_due: AtomicBool::new(expects_continue),
            close: AtomicBool::new(!keep_alive),
            reply: AtomicU8::new(Reply::None as u8),
            stopping,
        }
    }

    pub(super) fn set_unread(&self, bytes: u64) {
        self.unread.store(bytes, Relaxed);
    }

    /// The body can't be read on: nothing after it could be found.
    pub(super) fn body_failed(&self, error: &BodyError) {
        let _ = self.fault.set(violation_of(error));
        self.close_after();
    }

    /// Whether `100 Continue` is to be sent now: asked once, and never after the reply has begun.
    pub(super) fn take_continue(&self) -> bool {
        self.continue_due.load(Relaxed) && matches!(self.reply(), Reply::None | Reply::Decided) && self.continue_due.swap(false, Relaxed)
    }

    /// The client is no longer waiting: it has sent body bytes.
    pub(super) fn forget_continue(&self) {
        self.continue_due.store(false, Relaxed);
    }

    pub(super) fn close_after(&self) {
        self.close.store(true, Relaxed);
    }

    /// Whether the connection can live on after this exchange, as far as is known now. A client that waits for `100 Continue` and gets a
    /// reply instead may send its body or not: nobody can tell what comes next.
    pub(super) fn keeps_alive(&self) -> bool {
        let unread = self.unread.load(Relaxed);
        let too_much = unread != UNKNOWN && unread > DRAIN_BYTES;
        let undecided = self.continue_due.load(Relaxed) && unread > 0;
        !self.close.load(Relaxed) && !too_much && !undecided && !self.stopping.load(SeqCst)
    }

    pub(super) fn set_reply(&self, reply: Reply) {
        self.reply.store(reply as u8, Relaxed);
    }

    pub(super) fn reply(&self) -> Reply {
        [Reply::None, Reply::Decided, Reply::Begun, Reply::BegunByClose, Reply::Complete, Reply::Upgraded]
            [usize::from(self.reply.load(Relaxed))]
    }

    /// What to answer when the service has not.
    pub(super) fn violation(&self) -> Violation {
        let internal = Violation { status: 500, code: "internal_error", message: "the request could not be answered" };
        self.fault.get().copied().unwrap_or(internal)
    }
}

fn violation_of(error: &BodyError) -> Violation {
    match error {
        BodyError::TooLarge => Violation { status: 413, code: "request_too_large", message: "the request body is over its limit" },
        BodyError::BadChunk => head::bad("bad_chunk", "the chunked coding of the request body is malformed"),
        BodyError::Timeout => Violation { status: 408, code: "request_timeout", message: "the request body came too slowly" },
        BodyError::Truncated | BodyError::Io(_) => head::bad("truncated_body", "the request body ended before its length"),
    }
}
