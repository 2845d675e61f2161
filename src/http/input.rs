//! The reading buffer of a connection: finds where the next head ends and keeps what came after it.
//!
//! The buffer is initialised once for a thread and never zeroed again. It grows for a large head only, and shrinks back after it.

use super::body::{Ahead, Rest};
use super::head::{self, TARGET_TOO_LONG};
use super::link::{Link, is_timeout};
use super::{ServerLimits, Violation};
use memchr::memmem;
use std::time::Instant;

/// The usual size.
const BUFFER_BYTES: usize = 16 << 10;

/// The least room a read is given.
const READ_ROOM_BYTES: usize = 1 << 10;

/// Room that a body finds behind its head, at least.
const BODY_ROOM_BYTES: usize = 4 << 10;

/// Bytes read from a client and not used yet.
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; BUFFER_BYTES], start: 0, end: 0 }
    }

    /// What was read and not used.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// All of the buffer, to read into what nobody will look at.
    pub(super) fn scratch(&mut self) -> &mut [u8] {
        (self.start, self.end) = (0, 0);
        &mut self.bytes
    }

    /// Waits until a whole head is pending; its length, or `None` when the client has left or was idle for too long.
    pub(super) fn await_head(&mut self, link: &Link, limits: &ServerLimits) -> Result<Option<usize>, Violation> {
        let (mut seen, mut deadline, mut skipped) = (0, None, false);
        loop {
            // RFC 9112 2.2: one empty line before a request is forgiven; some old clients end a body with it.
            if !skipped && self.pending().starts_with(b"\r\n") {
                self.start += 2;
                (skipped, seen) = (true, 0);
            }
            if let Some(length) = self.head_length(seen, limits)? {
                return Ok(Some(length));
            }
            if self.start < self.end {
                head::check_partial(self.pending(), seen)?;
                seen = self.end - self.start;
                deadline.get_or_insert_with(|| Instant::now() + limits.header_timeout);
            }
            if self.read_more(link, limits, deadline)? == 0 {
                return Ok(None);
            }
        }
    }

    /// The length of the head if all of it is pending; its first `seen` bytes are known not to hold its end.
    fn head_length(&self, seen: usize, limits: &ServerLimits) -> Result<Option<usize>, Violation> {
        let pending = self.pending();
        // Three bytes back, for an end that was cut.
        let from = seen.saturating_sub(3);
        let length = memmem::find(&pending[from..], b"\r\n\r\n").map(|at| from + at + 4);
        if length.unwrap_or(pending.len()) <= limits.max_header_bytes {
            return Ok(length);
        }
        let first_line = memchr::memchr(b'\n', pending).unwrap_or(pending.len());
        if first_line >= limits.max_header_bytes {
            return Err(TARGET_TOO_LONG);
        }
        Err(Violation { status: 431, code: "headers_too_large", message: "the request head is over its limit" })
    }

    /// Reads once; 0 when there will be no request.
    fn read_more(&mut self, link: &Link, limits: &ServerLimits, deadline: Option<Instant>) -> Result<usize, Violation> {
        self.make_room(READ_ROOM_BYTES);
        let room = &mut self.bytes[self.end..];
        let read = match deadline {
            Some(deadline) => link.read_until(room, deadline),
            None => link.read_within(room, limits.keep_alive),
        };
        match read {
            Ok(0) if deadline.is_some() => Err(head::bad("truncated_head", "the connection ended inside the request head")),
            Ok(count) => {
                self.end += count;
                Ok(count)
            }
            Err(error) if deadline.is_some() && is_timeout(&error) => {
                Err(Violation { status: 408, code: "request_timeout", message: "the request head came too slowly" })
            }
            Err(_) => Ok(0),
        }
    }

    /// At least `room` bytes behind what is pending: by moving it to the front, then by growing.
    fn make_room(&mut self, room: usize) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.bytes.len() - self.end >= room {
            return;
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.bytes.len() - self.end < room {
            self.bytes.resize((self.bytes.len() * 2).max(self.end + room), 0);
        }
    }

    /// The head of `length` bytes, and the buffer behind it with what was read ahead.
    pub(super) fn split(&mut self, length: usize) -> (&[u8], Ahead<'_>) {
        let read_ahead = self.end - self.start - length;
        self.make_room(BODY_ROOM_BYTES.saturating_sub(read_ahead));
        let (front, bytes) = self.bytes.split_at_mut(self.start + length);
        (&front[self.start..], Ahead { bytes, start: 0, end: read_ahead })
    }

    /// The request whose head had `length` bytes is over; `rest` says where its body ended, counted from the end of the head.
    pub(super) fn advance(&mut self, length: usize, rest: &Rest) {
        let base = self.start + length;
        (self.start, self.end) = (base + rest.start, base + rest.end);
        // Well below the usual size, lest a long pipeline make it grow and shrink with every request.
        if self.bytes.len() > BUFFER_BYTES && self.end - self.start <= BODY_ROOM_BYTES {
            let mut usual = vec![0; BUFFER_BYTES];
            let pending = self.pending();
            usual[..pending.len()].copy_from_slice(pending);
            (self.start, self.end, self.bytes) = (0, pending.len(), usual);
        }
    }
}
