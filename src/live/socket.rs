//! One WebSocket subscriber: frames out, pings answered, close handled, never waited for.
//!
//! The socket does not block: whatever it will not take now waits in a bounded queue, and what finds no room there is counted and told as
//! a gap once there is room again. Time is an argument. What the peer sends is read in bounded portions; its messages mean nothing here
//! and are handed to the caller, who drops them. (`tests/websocket_test.rs` takes this file by itself and sends what it hears back.)

use crate::wire::news;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tungstenite::{Bytes, Utf8Bytes, WebSocket};

/// Most bytes, and most events, that wait for one subscriber.
pub(super) const QUEUE_BYTES: usize = 1 << 20;
pub(super) const QUEUE_EVENTS: u64 = 4096;

/// Most bytes of a frame that holds several events.
pub(super) const FRAME_BYTES: usize = 64 << 10;

/// Most bytes of a message, and of a frame, that a subscriber may send.
const INCOMING_BYTES: usize = 64 << 10;

/// Most bytes that are read from a subscriber at a time: one that never stops sending must not keep the thread.
const PORTION_BYTES: usize = 64 << 10;

/// How often a subscriber is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(60);

/// How long a subscriber for whom something waits may take nothing of it.
const STUCK: Duration = Duration::from_secs(30);

/// How long the other side may take to answer our close frame, and then to close the connection.
const CLOSING: Duration = Duration::from_secs(1);

/// When a subscriber that took nothing is tried again: at first, and at last.
const RETRY_FIRST: Duration = Duration::from_millis(1);
const RETRY_LAST: Duration = Duration::from_millis(64);

/// A text frame with so many events in it. Clones share the text.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) text: Utf8Bytes,
    pub(super) events: u64,
}

impl Frame {
    /// Something told that is no event.
    pub(super) fn notice(text: String) -> Self {
        Self { text: text.into(), events: 0 }
    }
}

/// What waits for a subscriber.
#[derive(Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
    events: u64,
    /// Events that found no room, and of which the subscriber has not been told.
    missed: u64,
}

impl Waiting {
    fn push(&mut self, frame: &Frame) {
        self.admit_loss();
        let room = self.bytes + frame.text.len() <= QUEUE_BYTES && self.events + frame.events <= QUEUE_EVENTS;
        if self.missed == 0 && room {
            self.take_in(frame.clone());
        } else {
            self.missed = self.missed.saturating_add(frame.events);
        }
    }

    fn pop(&mut self) -> Option<Frame> {
        self.admit_loss();
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.text.len();
        self.events -= frame.events;
        Some(frame)
    }

    /// Tells of what was missed, at the place where it is missing. Only when half the queue is free: else a subscriber that is a little
    /// too slow would be told of a gap at every other event.
    fn admit_loss(&mut self) {
        if self.missed > 0 && self.bytes <= QUEUE_BYTES / 2 && self.events <= QUEUE_EVENTS / 2 {
            self.take_in(Frame::notice(news::gap(self.missed)));
            self.missed = 0;
        }
    }

    fn take_in(&mut self, frame: Frame) {
        self.bytes += frame.text.len();
        self.events += frame.events;
        self.frames.push_back(frame);
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.missed == 0
    }
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// A close frame is on its way, from us or to us; until then at most the rest of the handshake is waited for.
    Closing(Instant),
    /// The peer broke the protocol: it is told why, and nothing that it says is heard any more.
    Failing(Instant),
    /// We have said everything. What is still on its way to us is read, lest a reset swallow our last words.
    Parting(Instant),
    Over,
}

/// A subscriber at the other end of a socket.
pub(super) struct Socket {
    web: WebSocket<Metered>,
    waiting: Waiting,
    phase: Phase,
    /// The socket took nothing more: since when nothing at all, when to try again, and how long to wait after that.
    blocked: Option<Blocked>,
    ping_at: Instant,
    /// When the first ping was sent that has not been answered.
    asked: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Blocked {
    since: Instant,
    retry: Instant,
    pause: Duration,
}

/// The limits of the WebSocket. The write buffer holds one frame of ours at a time, and the answers to pings.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(QUEUE_BYTES + FRAME_BYTES)
        .max_message_size(Some(INCOMING_BYTES))
        .max_frame_size(Some(INCOMING_BYTES))
        .accept_unmasked_frames(false)
}

impl Socket {
    /// A socket whose handshake is done; `read_ahead` are bytes that came behind it.
    ///
    /// # Errors
    /// The socket can't be made non-blocking.
    pub(super) fn new(socket: TcpStream, read_ahead: Vec<u8>, now: Instant) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Events leave in frames that are whole already.
        let _ = socket.set_nodelay(true);
        let metered = Metered { socket, written: 0, readable: PORTION_BYTES };
        Ok(Self {
            web: WebSocket::from_partially_read(metered, read_ahead, Role::Server, Some(limits())),
            waiting: Waiting::default(),
            phase: Phase::Open,
            blocked: None,
            ping_at: now + PING_EVERY,
            asked: None,
        })
    }

    /// Sends a frame as soon as it can leave; counts its events as missed if there is no room for it.
    pub(super) fn tell(&mut self, frame: &Frame) {
        if self.phase == Phase::Open {
            self.waiting.push(frame);
        }
    }

    /// Counts events that nobody has any more.
    pub(super) fn miss(&mut self, events: u64) {
        if self.phase == Phase::Open {
            self.waiting.missed = self.waiting.missed.saturating_add(events);
        }
    }

    /// Whether so little waits that older events may be fetched.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.bytes < FRAME_BYTES
    }

    /// Whether everything has left for the peer.
    pub(super) fn is_drained(&self) -> bool {
        self.waiting.is_empty() && self.blocked.is_none()
    }

    /// When a socket that took nothing is to be tried again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.blocked.map(|blocked| blocked.retry)
    }

    /// Whether it has taken nothing for so long that it may wait until all of them are looked at.
    pub(super) fn is_stuck(&self) -> bool {
        self.blocked.is_some_and(|blocked| blocked.pause >= RETRY_LAST)
    }

    /// Whether nothing is left to do but to drop it.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn write(&mut self, now: Instant) {
        if self.blocked.is_some_and(|blocked| now < blocked.retry) {
            return;
        }
        let before = self.web.get_ref().written;
        let result = self.write_all();
        let moved = self.web.get_ref().written != before;
        match result {
            Ok(()) => self.blocked = None,
            Err(Error::Io(error)) if would_block(&error) => self.block(moved, now),
            Err(Error::ConnectionClosed) => self.part(now),
            Err(_) => self.phase = Phase::Over,
        }
        if matches!(self.phase, Phase::Failing(_)) && self.blocked.is_none() {
            self.part(now);
        }
    }

    fn write_all(&mut self) -> Result<(), Error> {
        if matches!(self.phase, Phase::Parting(_) | Phase::Over) {
            return Ok(());
        }
        // Only what is flushed is followed by more: so the write buffer never holds more than one frame, and has room for a close frame.
        self.web.flush()?;
        while self.phase == Phase::Open
            && let Some(frame) = self.waiting.pop()
        {
            self.web.write(Message::Text(frame.text))?;
            self.web.flush()?;
        }
        Ok(())
    }

    fn block(&mut self, moved: bool, now: Instant) {
        let (since, pause) = match self.blocked {
            Some(blocked) if !moved => (blocked.since, (blocked.pause * 2).min(RETRY_LAST)),
            _ => (now, RETRY_FIRST),
        };
        self.blocked = Some(Blocked { since, retry: now + pause, pause });
    }

    /// Reads what has come, at most a portion: answers pings and the close handshake, hands messages to `heard`.
    pub(super) fn read(&mut self, now: Instant, mut heard: impl FnMut(Message)) {
        self.web.get_mut().readable = PORTION_BYTES;
        while matches!(self.phase, Phase::Open | Phase::Closing(_)) {
            match self.web.read() {
                Ok(Message::Pong(_)) => self.asked = None,
                Ok(Message::Close(_)) => self.phase = Phase::Closing(now + CLOSING),
                Ok(message) => heard(message),
                Err(Error::Io(error)) if would_block(&error) => break,
                Err(error) => self.end(&error, now),
            }
        }
        if matches!(self.phase, Phase::Parting(_)) {
            self.read_rest();
        }
    }

    fn end(&mut self, error: &Error, now: Instant) {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => self.part(now),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_) => self.phase = Phase::Over,
            Error::Capacity(_) => self.fail(CloseCode::Size, "message too long", now),
            Error::Utf8(_) => self.fail(CloseCode::Invalid, "not UTF-8", now),
            _ => self.fail(CloseCode::Protocol, "protocol error", now),
        }
    }

    /// Ends a connection whose peer broke the protocol.
    fn fail(&mut self, code: CloseCode, why: &'static str, now: Instant) {
        self.send_close(code, why);
        if self.phase != Phase::Over {
            self.phase = Phase::Failing(now + CLOSING);
            self.write(now);
        }
    }

    /// Begins the close handshake. What waits is given up.
    pub(super) fn close(&mut self, code: CloseCode, why: &'static str, now: Instant) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing(now + CLOSING);
            self.send_close(code, why);
        }
    }

    fn send_close(&mut self, code: CloseCode, why: &'static str) {
        self.waiting = Waiting::default();
        match self.web.close(Some(CloseFrame { code, reason: why.into() })) {
            Err(Error::Io(error)) if would_block(&error) => {}
            // It reads nothing any more, not even this.
            Err(Error::ConnectionClosed) | Ok(()) => {}
            Err(_) => self.phase = Phase::Over,
        }
    }

    /// Both sides have said that they close, or ours will say nothing more.
    fn part(&mut self, now: Instant) {
        let shut = self.web.get_ref().socket.shutdown(Shutdown::Write);
        (self.waiting, self.blocked) = (Waiting::default(), None);
        self.phase = if shut.is_ok() { Phase::Parting(now + CLOSING) } else { Phase::Over };
    }

    fn read_rest(&mut self) {
        let mut rest = [0; 4096];
        loop {
            match self.web.get_mut().read(&mut rest) {
                Ok(0) => return self.phase = Phase::Over,
                Ok(_) => {}
                Err(error) if would_block(&error) => return,
                Err(_) => return self.phase = Phase::Over,
            }
        }
    }

    /// Looks at the time: asks whether the peer is there, ends what takes too long.
    pub(super) fn tend(&mut self, now: Instant) {
        match self.phase {
            Phase::Open if self.blocked.is_some_and(|blocked| now.saturating_duration_since(blocked.since) >= STUCK) => {
                self.phase = Phase::Over;
            }
            Phase::Open if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) >= PONG_WITHIN) => {
                self.close(CloseCode::Policy, "no pong", now);
            }
            Phase::Open if now >= self.ping_at => self.ping(now),
            Phase::Closing(until) | Phase::Failing(until) | Phase::Parting(until) if now >= until => self.phase = Phase::Over,
            _ => {}
        }
    }

    fn ping(&mut self, now: Instant) {
        self.ping_at = now + PING_EVERY;
        // One that takes nothing has a limit of its own.
        if self.blocked.is_some() {
            return;
        }
        self.asked = self.asked.or(Some(now));
        match self.web.send(Message::Ping(Bytes::new())) {
            Err(Error::Io(error)) if would_block(&error) => self.block(true, now),
            Ok(()) => {}
            Err(_) => self.phase = Phase::Over,
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// A socket that counts what leaves, and gives out only so much of what comes.
struct Metered {
    socket: TcpStream,
    written: u64,
    readable: usize,
}

impl Read for Metered {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.readable == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let most = room.len().min(self.readable);
        let read = self.socket.read(&mut room[..most])?;
        self.readable -= read;
        Ok(read)
    }
}

impl Write for Metered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.socket.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
