//! One client's socket, shared by the thread that serves it, those who watch it and the one that stops the server.
//!
//! Timeouts are set on the socket once, when it is accepted: `tick`, the shortest of those that reading needs. A read that has to wait
//! longer waits again; only then a clock is read and an option set. On the hot path a read is one system call.

use super::ServerLimits;
use super::handles::Handle;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Waiting for a request, or for the client to leave.
const IDLE: u8 = 0;
/// A request is under way.
const BUSY: u8 = 1;
/// Shut down while idle; nothing may begin.
const CLOSED: u8 = 2;

/// A client's socket.
pub(super) struct Link {
    /// Dropped before the socket.
    _handle: Handle,
    socket: TcpStream,
    phase: AtomicU8,
    cut: AtomicBool,
    tick: Duration,
}

impl Link {
    /// Sets the options of an accepted socket.
    pub(super) fn new(socket: TcpStream, limits: &ServerLimits) -> io::Result<Self> {
        let handle = Handle::of(&socket);
        let tick = limits.header_timeout.min(limits.body_timeout).min(limits.keep_alive).max(Duration::from_millis(1));
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(tick))?;
        socket.set_write_timeout(Some(limits.write_timeout.max(Duration::from_millis(1))))?;
        Ok(Self { _handle: handle, socket, phase: AtomicU8::new(IDLE), cut: AtomicBool::new(false), tick })
    }

    /// A request begins; `false` if the server was faster and has closed the connection.
    pub(super) fn begin(&self) -> bool {
        self.phase.compare_exchange(IDLE, BUSY, SeqCst, SeqCst).is_ok()
    }

    /// The request has ended.
    pub(super) fn end(&self) {
        self.phase.store(IDLE, SeqCst);
    }

    /// Shuts the connection down unless a request is under way; whether one is.
    pub(super) fn close_if_idle(&self) -> bool {
        if self.phase.compare_exchange(IDLE, CLOSED, SeqCst, SeqCst) == Err(BUSY) {
            return true;
        }
        let _ = self.socket.shutdown(Shutdown::Both);
        false
    }

    /// Ends the connection, whatever is under way; whether a request was.
    pub(super) fn cut(&self) -> bool {
        // Asked first: a request that is cut may be over before the next line.
        let busy = self.phase.load(SeqCst) == BUSY;
        self.cut.store(true, SeqCst);
        let _ = self.socket.shutdown(Shutdown::Both);
        busy
    }

    /// Nothing on it waits any more: reads and writes do what they can at once.
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// No more will be written.
    pub(super) fn close_write(&self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Closing will reset the connection: for a reply that only its end would mark as whole.
    pub(super) fn reset_on_close(&self) {
        let _ = socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// A handle of its own to the socket, without timeouts.
    pub(super) fn hand_over(&self) -> io::Result<TcpStream> {
        let socket = self.socket.try_clone()?;
        socket.set_read_timeout(None)?;
        socket.set_write_timeout(None)?;
        Ok(socket)
    }

    /// Whether the client has closed or reset its side, or the server has cut the connection.
    pub(super) fn client_gone(&self) -> bool {
        self.cut.load(SeqCst)
            || match peek(&self.socket) {
                Ok(count) => count == 0,
                Err(error) => !is_timeout(&error) && error.kind() != io::ErrorKind::Interrupted,
            }
    }

    /// Reads once, waiting at most `limit`; a longer silence is `TimedOut`.
    pub(super) fn read_within(&self, buf: &mut [u8], limit: Duration) -> io::Result<usize> {
        match self.read_once(buf) {
            // The tick has struck: that much of the limit is over.
            Err(error) if is_timeout(&error) => self.read_until(buf, Instant::now() + limit.saturating_sub(self.tick)),
            result => result,
        }
    }

    /// Reads once, waiting at most until `deadline`.
    pub(super) fn read_until(&self, buf: &mut [u8], deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let result = self.read_once(buf);
        self.socket.set_read_timeout(Some(self.tick))?;
        match result {
            Err(error) if is_timeout(&error) => Err(io::ErrorKind::TimedOut.into()),
            result => result,
        }
    }

    fn read_once(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&self.socket).read(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Write for &Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.socket).write(bytes)
    }

    /// Not the standard library's `writev`: in a host that has not silenced `SIGPIPE`, a client that has gone would end the process.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        return socket2::SockRef::from(&self.socket).send_vectored_with_flags(parts, libc::MSG_NOSIGNAL);
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        return (&self.socket).write_vectored(parts);
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How long a reader waits for the client.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    /// So long for each read.
    Silence(Duration),
    /// Until then for all of them.
    Deadline(Instant),
}

/// The reading side of a link, for a body.
pub(super) struct Inlet<'a> {
    pub(super) link: &'a Link,
    pub(super) patience: Patience,
}

impl Read for Inlet<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.patience {
            Patience::Silence(limit) => self.link.read_within(buf, limit),
            Patience::Deadline(deadline) => self.link.read_until(buf, deadline),
        }
    }
}

/// Both kinds mean the same; which one comes depends on the platform.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(unix)]
fn peek(socket: &TcpStream) -> io::Result<usize> {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    socket2::SockRef::from(socket).recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT)
}

#[cfg(not(unix))]
fn peek(socket: &TcpStream) -> io::Result<usize> {
    socket.set_nonblocking(true)?;
    let result = socket.peek(&mut [0]);
    socket.set_nonblocking(false)?;
    result
}
