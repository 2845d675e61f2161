//! The socket under ureq, and the only file that names `ureq::unversioned`.
//!
//! ureq speaks HTTP and TLS; this file decides how bytes wait and leave. Head and body leave in one write, also under TLS. A read wakes every [`TICK`] to see whether waiting still makes sense ([`Watch`]): a client that has gone or a limit that has passed ends
//! it. A connection that broke off never looks like one that ended.
//!
//! One thread carries one exchange, so what belongs to the exchange lives in a thread-local [`Watch`].

use crate::http::Client;
use crate::http::handles::Handle;
use socket2::SockRef;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, NextTimeout, RustlsConnector, Transport,
};
use ureq::{Agent, Error, Timeout};

/// How often a waiting read looks up.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// Read buffer of a connection.
const INPUT: usize = 16 << 10;

/// Write buffer of a connection; grows up to [`OUTPUT_MAX`] for larger bodies, so that they leave in few writes.
const OUTPUT: usize = 8 << 10;
const OUTPUT_MAX: usize = 256 << 10;

/// How long a resolved name is used, and for how long after that if it can't be resolved any more.
const DNS_TTL: Duration = Duration::from_secs(30);
const DNS_STALE: Duration = Duration::from_secs(300);

/// An agent on our transport.
pub(super) fn agent(config: ureq::config::Config, write_timeout: Duration) -> Agent {
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(SocketConnector { write_timeout })
            .chain(RustlsConnector::default())
            .chain(Connected);
    Agent::with_parts(config, connector, CachingResolver::default())
}

thread_local! {
    static WATCH: RefCell<Watch> = const { RefCell::new(Watch::none()) };
    static SPARE: RefCell<Option<(Input, Vec<u8>)>> = const { RefCell::new(None) };
}

/// What the exchange on this thread is waiting for, and what the transport has seen of it.
pub(super) struct Watch {
    client: Option<Client>,
    phase: Phase,
    first_byte: Duration,
    body_len: usize,
    ends_by_close: bool,
    seen: Seen,
}

/// What the transport has seen of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// The connection came from the pool.
    pub(super) reused: bool,
    /// At least one byte of the reply has come.
    pub(super) reply_bytes: bool,
    /// Bytes of the reply are waiting in a buffer: the next read does not block.
    pub(super) buffered: bool,
    /// The client went away while the upstream was waited for.
    pub(super) client_gone: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Connecting, TLS included; must be done by then.
    Connect(Option<Instant>),
    /// The request leaves; its end starts the clock.
    Send,
    /// The request has left; the reply's head must come by then.
    Head(Instant),
    /// Inside the reply's body: every tick is handed to the reader.
    Body,
}

impl Watch {
    const fn none() -> Self {
        Self {
            client: None,
            phase: Phase::Connect(None),
            first_byte: Duration::ZERO,
            body_len: 0,
            ends_by_close: false,
            seen: Seen { reused: false, reply_bytes: false, buffered: false, client_gone: false },
        }
    }

    /// Begins an exchange on this thread. `client` is peeked at while the upstream is silent; `body_len` sizes the write buffer.
    pub(super) fn begin(client: Option<Client>, connect: Duration, first_byte: Duration, body_len: usize) {
        let until = Instant::now() + connect;
        WATCH.with_borrow_mut(|watch| *watch = Self { client, phase: Phase::Connect(Some(until)), first_byte, body_len, ..Self::none() });
    }

    /// The connection stands, and the request follows.
    fn connected() {
        WATCH.with_borrow_mut(|watch| watch.phase = Phase::Send);
    }

    /// The reply's head has been read: from now on every tick ends the read with `WouldBlock`. Only a reply without framing may end by
    /// close.
    pub(super) fn body(ends_by_close: bool) {
        WATCH.with_borrow_mut(|watch| {
            watch.phase = Phase::Body;
            watch.ends_by_close = ends_by_close;
        });
    }

    /// The exchange is over.
    pub(super) fn end() {
        WATCH.with_borrow_mut(|watch| *watch = Self::none());
    }

    /// What has been seen of the exchange.
    pub(super) fn seen() -> Seen {
        WATCH.with_borrow(|watch| watch.seen)
    }

    /// The upstream is waited for from now on.
    fn wait(&mut self) {
        if self.phase == Phase::Send {
            self.phase = Phase::Head(Instant::now() + self.first_byte);
        }
    }

    /// A read has waited for a tick: `Ok` to wait on.
    fn tick(&mut self) -> Result<(), Error> {
        match self.phase {
            Phase::Body => return Err(io::Error::from(io::ErrorKind::WouldBlock).into()),
            Phase::Connect(Some(until)) if Instant::now() >= until => return Err(Error::Timeout(Timeout::Connect)),
            Phase::Head(until) if Instant::now() >= until => return Err(Error::Timeout(Timeout::RecvResponse)),
            Phase::Connect(_) | Phase::Send | Phase::Head(_) => {}
        }
        self.seen.client_gone = self.client.as_ref().is_some_and(Client::gone);
        if self.seen.client_gone { Err(io::Error::new(io::ErrorKind::BrokenPipe, "client gone").into()) } else { Ok(()) }
    }
}

/// Opens TCP connections that wake every [`TICK`].
#[derive(Debug)]
struct SocketConnector {
    write_timeout: Duration,
}

impl<In: Transport> Connector<In> for SocketConnector {
    type Out = Either<In, Socket>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        if let Some(transport) = chained {
            return Ok(Some(Either::A(transport)));
        }
        let limit = details.timeout.not_zero().map_or(Duration::from_secs(30), |after| *after);
        let stream = connect_any(&details.addrs, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(self.write_timeout))?;
        Ok(Some(Either::B(Socket::new(stream, details.needs_tls()))))
    }
}

/// Tries the addresses in turn, each with its share of the time that is left.
fn connect_any(addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, Error> {
    let until = Instant::now() + limit;
    let mut last = Error::HostNotFound;
    for (at, address) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let share = (left / (addresses.len() - at) as u32).max(Duration::from_millis(10));
        match TcpStream::connect_timeout(address, share) {
            Ok(stream) => return Ok(stream),
            Err(fault) if fault.kind() == io::ErrorKind::TimedOut => last = Error::Timeout(Timeout::Connect),
            Err(fault) => last = fault.into(),
        }
    }
    Err(last)
}

/// Bytes read and not yet used.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

/// A TCP connection to an upstream.
struct Socket {
    /// Dropped before the socket.
    _handle: Handle,
    stream: TcpStream,
    input: Input,
    output: Vec<u8>,
    progress: bool,
    /// A write failed; the upstream may have answered before it stopped reading, so its reply is still looked for.
    broken: Option<io::Error>,
    in_use: bool,
    /// TLS runs on it: a plain end of the connection is then never an end of the reply.
    tls: bool,
    /// Bytes at the front of `output` that wait for what follows them.
    held: usize,
    /// The next write begins a message: it is held until the second piece or the wait for a reply.
    begins: bool,
}

impl Socket {
    fn new(stream: TcpStream, tls: bool) -> Self {
        let mut socket = Self {
            _handle: Handle::of(&stream),
            stream,
            input: Input::default(),
            output: Vec::new(),
            progress: false,
            broken: None,
            in_use: true,
            tls,
            held: 0,
            begins: true,
        };
        socket.take_buffers();
        socket
    }

    /// Buffers wander with the thread, not with the connection: idle connections hold none.
    fn take_buffers(&mut self) {
        if let Some((input, output)) = SPARE.take() {
            (self.input, self.output) = (input, output);
        }
        if self.input.bytes.is_empty() {
            self.input.bytes = vec![0; INPUT];
        }
        self.size_output(OUTPUT);
    }

    fn leave_buffers(&mut self) {
        (self.input.from, self.input.to) = (0, 0);
        SPARE.set(Some((std::mem::take(&mut self.input), std::mem::take(&mut self.output))));
    }

    fn size_output(&mut self, size: usize) {
        if self.output.len() < size {
            self.output.resize(size, 0);
        }
    }

    /// Writes what stands in the output buffer. The upstream may have answered and closed before it read everything (413, 401): a failed
    /// write is remembered, and the reply still looked for.
    fn write(&mut self, amount: usize) -> Result<(), Error> {
        self.held = 0;
        if self.broken.is_some() {
            return Ok(());
        }
        match (&self.stream).write_all(&self.output[..amount]) {
            Ok(()) => Ok(()),
            Err(fault) if is_timeout(&fault) => Err(Error::Timeout(Timeout::SendBody)),
            Err(fault) => {
                self.broken = Some(fault);
                Ok(())
            }
        }
    }

    /// The connection has ended. Inside a body that is an error, unless the reply has no other end; one that ureq does not take for an end.
    fn ended(&mut self, fault: Option<io::Error>) -> Result<bool, Error> {
        let (in_body, by_close) = WATCH.with_borrow(|watch| (watch.phase == Phase::Body, watch.ends_by_close));
        if in_body && (fault.is_some() || self.tls || !by_close) {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the upstream's connection broke off").into());
        }
        match self.broken.take().or(fault) {
            None => Ok(false),
            Some(fault) => Err(fault.into()),
        }
    }
}

/// A socket timeout, under the names it has on different systems.
fn is_timeout(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("peer", &self.stream.peer_addr().ok()).finish()
    }
}

impl Buffers for Socket {
    fn output(&mut self) -> &mut [u8] {
        self.size_output(OUTPUT);
        &mut self.output[self.held..]
    }

    fn input(&self) -> &[u8] {
        &self.input.bytes[self.input.from..self.input.to]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        let input = &mut self.input;
        if input.from == input.to {
            (input.from, input.to) = (0, 0);
        } else if input.to == input.bytes.len() {
            input.bytes.copy_within(input.from..input.to, 0);
            (input.from, input.to) = (0, input.to - input.from);
        }
        if input.to == input.bytes.len() {
            // A reply head larger than the buffer; ureq bounds it.
            input.bytes.resize(input.bytes.len() + INPUT, 0);
        }
        &mut self.input.bytes[self.input.to..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.input.to += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.input.from += amount;
        let buffered = !self.tls && self.input.from < self.input.to;
        WATCH.with_borrow_mut(|watch| watch.seen.buffered = buffered);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        let body_len = WATCH.with_borrow(|watch| watch.body_len);
        self.size_output((OUTPUT + body_len).min(OUTPUT_MAX));
        if self.input.bytes.len() - self.input.to < INPUT {
            self.input.bytes.resize(self.input.to + INPUT, 0);
        }
        (&mut self.input.bytes[self.input.to..], &mut self.output[self.held..])
    }

    fn can_use_input(&self) -> bool {
        self.progress && self.input.from < self.input.to
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), Error> {
        let pending = self.held + amount;
        if std::mem::take(&mut self.begins) && pending < OUTPUT / 2 {
            self.held = pending;
            return Ok(());
        }
        self.write(pending)
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, Error> {
        if self.held > 0 {
            self.write(self.held)?;
        }
        WATCH.with_borrow_mut(Watch::wait);
        loop {
            self.input_append_buf();
            let Input { bytes, to, .. } = &mut self.input;
            match (&self.stream).read(&mut bytes[*to..]) {
                Ok(0) => return self.ended(None),
                Ok(read) => {
                    *to += read;
                    self.begins = true;
                    WATCH.with_borrow_mut(|watch| watch.seen.reply_bytes = true);
                    return Ok(true);
                }
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) if is_timeout(&fault) => WATCH.with_borrow_mut(Watch::tick)?,
                Err(fault) => return self.ended(Some(fault)),
            }
        }
    }

    /// Asked twice: when an exchange gives the connection back (its end has just been read: fit, without a system call), and when another
    /// takes it (then one peek: nothing may have come, not even an end).
    fn is_open(&mut self) -> bool {
        if self.in_use {
            self.in_use = false;
            self.leave_buffers();
            return self.broken.is_none();
        }
        let quiet = is_quiet(&self.stream);
        if quiet {
            self.in_use = true;
            self.take_buffers();
            self.begins = true;
            WATCH.with_borrow_mut(|watch| watch.seen.reused = true);
            Watch::connected();
        }
        quiet
    }
}

/// Whether nothing waits to be read, no end either.
fn is_quiet(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::<u8>::uninit()];
    #[cfg(unix)]
    let peeked = SockRef::from(stream).recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT);
    #[cfg(not(unix))]
    let peeked = {
        let socket = SockRef::from(stream);
        socket.set_nonblocking(true).and_then(|()| {
            let peeked = socket.peek(&mut byte);
            socket.set_nonblocking(false).and(peeked)
        })
    };
    matches!(peeked, Err(fault) if fault.kind() == io::ErrorKind::WouldBlock)
}

/// The last link of the chain: the connection is ready, TLS included.
#[derive(Debug)]
struct Connected;

impl<In: Transport> Connector<In> for Connected {
    type Out = In;

    fn connect(&self, _: &ConnectionDetails, chained: Option<In>) -> Result<Option<In>, Error> {
        Watch::connected();
        Ok(chained)
    }
}

/// Resolves a name once in [`DNS_TTL`]; address literals never. A look-up that fails later falls back on the last answer for a while. The
/// look-up runs in a thread of its own, because the system's resolver has no time limit.
#[derive(Debug, Default)]
struct CachingResolver {
    known: Mutex<HashMap<String, (Vec<SocketAddr>, Instant)>>,
}

impl Resolver for CachingResolver {
    fn resolve(&self, uri: &Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let mut found = self.empty();
        if let Ok(address) = host.parse::<IpAddr>() {
            found.push(SocketAddr::new(address, port));
        } else {
            self.named(host, port)?.into_iter().take(16).for_each(|address| found.push(address));
        }
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

impl CachingResolver {
    fn named(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let key = format!("{host}:{port}");
        let known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get(&key).cloned();
        if let Some((addresses, at)) = &known
            && at.elapsed() < DNS_TTL
        {
            return Ok(addresses.clone());
        }
        match look_up(key.clone()) {
            Ok(addresses) => {
                let entry = (addresses.clone(), Instant::now());
                self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(key, entry);
                Ok(addresses)
            }
            Err(fault) => match known {
                Some((addresses, at)) if at.elapsed() < DNS_STALE => Ok(addresses),
                _ => Err(fault),
            },
        }
    }
}

/// Asks the system's resolver, within the time that the exchange has to connect.
fn look_up(host_and_port: String) -> Result<Vec<SocketAddr>, Error> {
    let limit = WATCH.with_borrow(|watch| match watch.phase {
        Phase::Connect(Some(until)) => until.saturating_duration_since(Instant::now()),
        _ => Duration::from_secs(10),
    });
    let (answer, answered) = mpsc::sync_channel(1);
    let asked = std::thread::Builder::new().name("dns".into()).spawn(move || {
        let _ = answer.send(host_and_port.to_socket_addrs().map(Vec::from_iter));
    });
    asked?;
    match answered.recv_timeout(limit) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(_)) => Err(Error::HostNotFound),
        Err(_) => Err(Error::Timeout(Timeout::Resolve)),
    }
}
