//! The body of a request, read on demand.
//!
//! A body sits over the bytes that were read together with the head, and a source for the rest. Fixed lengths are read straight into the
//! caller's memory; chunked ones through the connection's buffer, many chunks a read.

use super::BodyBuffer;
use super::chunked::Chunked;
use super::progress::{Progress, UNKNOWN};
use crate::call::BodyLength;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// A whole body may take this many times the longest silence inside it.
const PATIENCE: u32 = 10;

/// What can go wrong while a request body is read.
#[derive(Debug)]
pub enum BodyError {
    /// Over the limit the reader gave; nothing beyond it was kept.
    TooLarge,
    /// The chunked coding is malformed.
    BadChunk,
    /// The client closed before the end.
    Truncated,
    /// The client was silent for too long.
    Timeout,
    /// The connection failed.
    Io(io::Error),
}

/// A request body. Reading it sends `100 Continue` first where the client waits for that.
pub struct Body<'a> {
    coding: Coding,
    ahead: Ahead<'a>,
    source: &'a mut (dyn Read + Send),
    interim: Option<&'a mut (dyn Write + Send)>,
    progress: &'a Progress<'a>,
    /// The longest silence; the whole of a buffered body may take [`PATIENCE`] times that.
    silence: Duration,
}

/// How the bytes of the source become payload.
#[derive(Debug)]
pub(super) enum Coding {
    /// So many bytes are left.
    Fixed(u64),
    Chunked(Chunked),
    /// Decoded before it gets here; ends where the source does.
    #[cfg(feature = "tiny_http")]
    Decoded,
    Ended,
    /// An error was reported; the rest can't be found.
    Failed,
}

impl Coding {
    pub(super) fn of(length: BodyLength) -> Self {
        match length {
            BodyLength::None | BodyLength::Fixed(0) => Self::Ended,
            BodyLength::Fixed(bytes) => Self::Fixed(bytes),
            BodyLength::Chunked => Self::Chunked(Chunked::new()),
        }
    }

    /// Payload bytes to come, [`UNKNOWN`] where nobody can say.
    pub(super) fn unread(&self) -> u64 {
        match self {
            Self::Fixed(left) => *left,
            Self::Ended => 0,
            _ => UNKNOWN,
        }
    }
}

/// A buffer with the bytes that were read and not used yet.
pub(super) struct Ahead<'a> {
    pub(super) bytes: &'a mut [u8],
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Ahead<'_> {
    fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

/// Where a body was left, so that what follows can be found.
pub(super) struct Rest {
    pub(super) coding: Coding,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl<'a> Body<'a> {
    pub(super) fn new(
        coding: Coding,
        ahead: Ahead<'a>,
        source: &'a mut (dyn Read + Send),
        progress: &'a Progress<'a>,
        silence: Duration,
    ) -> Self {
        Self { coding, ahead, source, interim: None, progress, silence }
    }

    /// Sends `100 Continue` to `interim` before the first byte is waited for.
    pub(super) fn with_interim(mut self, interim: &'a mut (dyn Write + Send)) -> Self {
        self.interim = Some(interim);
        self
    }

    pub(super) fn into_rest(self) -> Rest {
        Rest { coding: self.coding, start: self.ahead.start, end: self.ahead.end }
    }

    /// Reads the rest of the body, at most `limit` bytes, and keeps nothing of it; whether its end was reached.
    pub(super) fn discard(&mut self, mut limit: u64) -> bool {
        loop {
            match self.piece() {
                Ok(0) => return matches!(self.coding, Coding::Ended),
                Ok(ready) if ready as u64 > limit => return false,
                Ok(ready) => {
                    limit -= ready as u64;
                    self.consume(ready);
                }
                Err(_) => return false,
            }
        }
    }

    /// Appends the whole body to `into`; reads no further than `limit` bytes.
    ///
    /// # Errors
    /// [`BodyError`]; after one, the connection closes once the reply is sent.
    pub fn read_all(&mut self, limit: u64, into: &mut Vec<u8>) -> Result<(), BodyError> {
        let mut buffer = BodyBuffer::from(std::mem::take(into));
        let result = self.read_into(limit, &mut buffer);
        *into = buffer.into_vec();
        result
    }

    /// As [`Body::read_all`], into memory that may have served before.
    ///
    /// # Errors
    /// [`BodyError`], as [`Body::read_all`].
    pub fn read_into(&mut self, limit: u64, into: &mut BodyBuffer) -> Result<(), BodyError> {
        let result = match self.coding {
            Coding::Fixed(length) if length > limit => Err(BodyError::TooLarge),
            Coding::Fixed(length) => self.read_fixed(length, into),
            _ => self.read_pieces(limit, into),
        };
        result.map_err(|error| self.fail(error))
    }

    /// The next bytes of the body, decoded; 0 at its end.
    ///
    /// # Errors
    /// [`BodyError`], as [`Body::read_all`].
    pub fn read_some(&mut self, buf: &mut [u8]) -> Result<usize, BodyError> {
        if buf.is_empty() {
            return Ok(0);
        }
        let result = match self.coding {
            Coding::Fixed(left) if self.ahead.filled().is_empty() => self.read_direct(left, buf),
            _ => self.read_piece(buf),
        };
        result.map_err(|error| self.fail(error))
    }

    /// Appends the next bytes of the body, at most `most` of them; how many, 0 at its end. For who counts what is held as it comes; the
    /// bound on the whole time is then [`Body::deadline`].
    ///
    /// # Errors
    /// [`BodyError`], as [`Body::read_all`].
    pub fn read_more(&mut self, most: usize, deadline: Instant, into: &mut BodyBuffer) -> Result<usize, BodyError> {
        let count = self.read_some(into.room(most))?;
        into.advance(count);
        if count > 0 {
            in_time(deadline).map_err(|error| self.fail(error))?;
        }
        Ok(count)
    }

    /// By when a body that is buffered from now on must have come.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.silence * PATIENCE
    }

    fn fail(&mut self, error: BodyError) -> BodyError {
        self.progress.body_failed(&error);
        self.coding = Coding::Failed;
        error
    }

    /// From the source into the caller's memory, past the buffer.
    fn read_direct(&mut self, left: u64, buf: &mut [u8]) -> Result<usize, BodyError> {
        let most = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.read_source(&mut buf[..most])?;
        if count == 0 {
            return Err(BodyError::Truncated);
        }
        self.count_fixed(count);
        Ok(count)
    }

    fn read_piece(&mut self, buf: &mut [u8]) -> Result<usize, BodyError> {
        let count = self.piece()?.min(buf.len());
        buf[..count].copy_from_slice(&self.ahead.filled()[..count]);
        self.consume(count);
        Ok(count)
    }

    fn read_fixed(&mut self, length: u64, into: &mut BodyBuffer) -> Result<(), BodyError> {
        let length = usize::try_from(length).map_err(|_| BodyError::TooLarge)?;
        into.reserve(length);
        let ready = length.min(self.ahead.filled().len());
        into.append(&self.ahead.filled()[..ready]);
        self.consume(ready);
        if ready == length { Ok(()) } else { self.fill(into, length - ready) }
    }

    /// Reads `left` bytes into the end of `into`, in a bounded time: a client that sends a byte at a time can't sit here for ever.
    fn fill(&mut self, into: &mut BodyBuffer, mut left: usize) -> Result<(), BodyError> {
        let deadline = self.deadline();
        loop {
            let count = self.read_source(into.room(left))?;
            if count == 0 {
                return Err(BodyError::Truncated);
            }
            self.count_fixed(count);
            into.advance(count);
            left -= count;
            if left == 0 {
                return Ok(());
            }
            in_time(deadline)?;
        }
    }

    fn read_pieces(&mut self, limit: u64, into: &mut BodyBuffer) -> Result<(), BodyError> {
        let (mut total, mut deadline) = (0, None);
        loop {
            let ready = self.piece()?;
            if ready == 0 {
                return Ok(());
            }
            total += ready as u64;
            if total > limit {
                return Err(BodyError::TooLarge);
            }
            into.append(&self.ahead.filled()[..ready]);
            self.consume(ready);
            in_time(*deadline.get_or_insert_with(|| self.deadline()))?;
        }
    }

    /// Makes payload ready in `ahead`; how much, 0 at the end of the body.
    fn piece(&mut self) -> Result<usize, BodyError> {
        loop {
            let filled = self.ahead.filled();
            match &mut self.coding {
                Coding::Ended => return Ok(0),
                Coding::Failed => return Err(BodyError::Truncated),
                Coding::Fixed(left) if !filled.is_empty() => return Ok(at_most(filled.len(), *left)),
                Coding::Fixed(_) => {}
                #[cfg(feature = "tiny_http")]
                Coding::Decoded if !filled.is_empty() => return Ok(filled.len()),
                #[cfg(feature = "tiny_http")]
                Coding::Decoded => {}
                Coding::Chunked(chunked) => {
                    let skipped = chunked.advance(filled).map_err(|_| BodyError::BadChunk)?;
                    let (ready, ended) = (at_most(filled.len() - skipped, chunked.payload()), chunked.ended());
                    self.ahead.start += skipped;
                    if ended {
                        self.end();
                        return Ok(0);
                    }
                    if ready > 0 {
                        return Ok(ready);
                    }
                }
            }
            self.refill()?;
        }
    }

    /// `count` bytes of what [`Body::piece`] made ready were used.
    fn consume(&mut self, count: usize) {
        self.ahead.start += count;
        if count > 0 {
            self.progress.forget_continue();
        }
        match &mut self.coding {
            Coding::Chunked(chunked) if count > 0 => chunked.took(count as u64),
            Coding::Fixed(_) => self.count_fixed(count),
            _ => {}
        }
    }

    fn count_fixed(&mut self, count: usize) {
        if let Coding::Fixed(left) = &mut self.coding {
            *left -= count as u64;
            self.progress.set_unread(*left);
            if *left == 0 {
                self.coding = Coding::Ended;
            }
        }
    }

    fn end(&mut self) {
        self.coding = Coding::Ended;
        self.progress.set_unread(0);
    }

    /// Reads into the empty buffer.
    fn refill(&mut self) -> Result<(), BodyError> {
        self.send_interim()?;
        let count = read_retrying(self.source, self.ahead.bytes)?;
        (self.ahead.start, self.ahead.end) = (0, count);
        if count > 0 {
            return Ok(());
        }
        #[cfg(feature = "tiny_http")]
        if matches!(self.coding, Coding::Decoded) {
            self.end();
            return Ok(());
        }
        Err(BodyError::Truncated)
    }

    fn read_source(&mut self, buf: &mut [u8]) -> Result<usize, BodyError> {
        self.send_interim()?;
        read_retrying(self.source, buf)
    }

    fn send_interim(&mut self) -> Result<(), BodyError> {
        match &mut self.interim {
            Some(client) if self.progress.take_continue() => client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").map_err(BodyError::Io),
            _ => Ok(()),
        }
    }
}

fn at_most(available: usize, left: u64) -> usize {
    usize::try_from(left).map_or(available, |left| available.min(left))
}

fn in_time(deadline: Instant) -> Result<(), BodyError> {
    if Instant::now() < deadline { Ok(()) } else { Err(BodyError::Timeout) }
}

fn read_retrying(source: &mut dyn Read, buf: &mut [u8]) -> Result<usize, BodyError> {
    loop {
        match source.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => return Err(BodyError::Timeout),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(BodyError::Truncated),
            result => return result.map_err(BodyError::Io),
        }
    }
}

/// The same as [`Body::read_some`], with the error inside an [`io::Error`] (its `get_ref` is the [`BodyError`]).
impl io::Read for Body<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_some(buf).map_err(io::Error::other)
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge => f.write_str("request body over its limit"),
            Self::BadChunk => f.write_str("malformed chunked coding"),
            Self::Truncated => f.write_str("client closed before the end of its body"),
            Self::Timeout => f.write_str("client was silent for too long inside its body"),
            Self::Io(source) => write!(f, "read request body: {source}"),
        }
    }
}

impl std::error::Error for BodyError {}
