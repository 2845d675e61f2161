//! The socket under ureq, and the only file that names `ureq::unversioned`.
//!
//! ureq speaks HTTP; this file decides how bytes wait and leave. The request's head, the header fields of the client
//! (as they were sent, in their order) and the beginning of the body leave in one write, under TLS as well. A read wakes every [`TICK`]
//! to see whether waiting still makes sense. A connection that broke off never looks like one that ended.

use super::idle::{Idle, PlaceId};
use super::tls::Tls;
use super::watch::{Enough, TICK, Watch};
use crate::http::handles::Handle;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use socket2::SockRef;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, Transport, TransportAdapter,
};
use ureq::{Agent, Error, Timeout};

/// Read buffer of a connection.
const INPUT: usize = 16 << 10;

/// Write buffer of a connection; grows up to [`OUTPUT_MAX`] for larger requests, so that they leave in few writes.
const OUTPUT: usize = 8 << 10;
const OUTPUT_MAX: usize = 256 << 10;

/// Bytes of a reply that may wait for something to be made of them: ureq bounds a head below that, but not a chunk's size line or a trailer.
const INPUT_MAX: usize = 128 << 10;

/// Room for what ureq itself writes of a head: request line, host, framing.
const OWN_HEAD: usize = 2 << 10;

/// How long a resolved name is used, and for how long after that if it can't be resolved any more.
const DNS_TTL: Duration = Duration::from_secs(30);
const DNS_STALE: Duration = Duration::from_secs(300);

/// How long a connection may take where neither the exchange nor ureq says so.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// An agent on our transport.
pub(super) fn agent(config: ureq::config::Config, tls: Arc<Tls>, write_timeout: Duration) -> Agent {
    let proxied = config.proxy().is_some();
    let connector = SocketConnector { tls, write_timeout, proxied, tunnels: ConnectProxyConnector::default(), idle: Arc::default() };
    Agent::with_parts(config, connector, CachingResolver::default())
}

thread_local! {
    /// Buffers wander with the thread, not with the connection: idle connections hold none.
    static SPARE: RefCell<Option<(Input, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Opens connections: TCP, or what a proxy has tunnelled; with TLS on it where the address asks for it.
struct SocketConnector {
    tls: Arc<Tls>,
    write_timeout: Duration,
    /// Whether there is a proxy; the connection to the proxy itself is asked for without one.
    proxied: bool,
    tunnels: ConnectProxyConnector,
    /// ureq's own pool is set to keep nothing.
    idle: Arc<Idle<Link>>,
}

impl std::fmt::Debug for SocketConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketConnector").finish_non_exhaustive()
    }
}

impl Connector<()> for SocketConnector {
    type Out = Socket;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Socket>, Error> {
        if self.proxied && details.config.proxy().is_none() {
            let until = Instant::now() + connect_limit(details);
            let link = self.secured(self.dial(details)?, details, until)?;
            return Ok(Some(Socket::new(link, None)));
        }
        let place = self.idle.place(details.needs_tls(), details.uri.authority().map_or("", |authority| authority.as_str()));
        let kept = self.idle.take(place, Link::is_quiet);
        let reused = kept.is_some();
        let link = kept.map_or_else(|| self.open(details), Ok)?;
        Watch::connected(reused);
        Ok(Some(Socket::new(link, Some((self.idle.clone(), place)))))
    }
}

impl SocketConnector {
    /// A new connection: through the proxy, if there is one for this address, and with TLS, if it asks for that.
    fn open(&self, details: &ConnectionDetails) -> Result<Link, Error> {
        let until = Instant::now() + connect_limit(details);
        let wire = match Connector::<()>::connect(&self.tunnels, details, None)? {
            Some(tunnel) => Wire::Tunnel(Box::new(TransportAdapter::new(tunnel.boxed(), details.current_time.clone()))),
            None => self.dial(details)?,
        };
        self.secured(wire, details, until)
    }

    fn secured(&self, wire: Wire, details: &ConnectionDetails, until: Instant) -> Result<Link, Error> {
        if details.needs_tls() { self.handshake(wire, details.uri, until) } else { Ok(Link::Plain(wire)) }
    }

    fn dial(&self, details: &ConnectionDetails) -> Result<Wire, Error> {
        let stream = self.dial_any(&details.addrs, connect_limit(details))?;
        Ok(Wire::Tcp { _handle: Handle::of(&stream), stream })
    }

    /// Tries the addresses in turn, each with its share of the time that is left.
    fn dial_any(&self, addresses: &[SocketAddr], limit: Duration) -> Result<TcpStream, Error> {
        let until = Instant::now() + limit;
        let mut last = Error::HostNotFound;
        for (at, address) in addresses.iter().enumerate() {
            let left = until.saturating_duration_since(Instant::now());
            let share = (left / (addresses.len() - at) as u32).max(Duration::from_millis(10));
            match TcpStream::connect_timeout(address, share) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(TICK))?;
                    stream.set_write_timeout(Some(self.write_timeout))?;
                    return Ok(stream);
                }
                Err(fault) if fault.kind() == io::ErrorKind::TimedOut => last = Error::Timeout(Timeout::Connect),
                Err(fault) => last = fault.into(),
            }
        }
        Err(last)
    }

    fn handshake(&self, wire: Wire, uri: &Uri, until: Instant) -> Result<Link, Error> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_string()).map_err(|_| Error::Tls("the host is no name that a certificate can hold"))?;
        let connection = ClientConnection::new(self.tls.config(), name).map_err(|cause| tls_fault(&cause))?;
        let mut stream = StreamOwned::new(connection, wire);
        while stream.conn.is_handshaking() {
            match stream.conn.complete_io(&mut stream.sock) {
                Ok(_) => {}
                Err(fault) if is_timeout(&fault) && Instant::now() < until => go_on()?,
                Err(fault) if is_timeout(&fault) => return Err(Error::Timeout(Timeout::Connect)),
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(Link::Tls(Box::new(stream)))
    }
}

/// What is left of the time to connect.
fn connect_limit(details: &ConnectionDetails) -> Duration {
    Watch::left_to_connect().or_else(|| details.timeout.not_zero().map(|after| *after)).unwrap_or(CONNECT_LIMIT)
}

fn tls_fault(cause: &rustls::Error) -> Error {
    io::Error::new(io::ErrorKind::InvalidData, cause.to_string()).into()
}

/// A socket timeout, under the names it has on different systems.
fn is_timeout(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Asks the exchange whether to wait on.
fn go_on() -> Result<(), Error> {
    Watch::tick().map_err(|enough| match enough {
        Enough::Tick => io::Error::from(io::ErrorKind::WouldBlock).into(),
        Enough::Connect => Error::Timeout(Timeout::Connect),
        Enough::Head => Error::Timeout(Timeout::RecvResponse),
        Enough::ClientGone => io::Error::new(io::ErrorKind::BrokenPipe, "client gone").into(),
    })
}

/// What carries the bytes.
enum Wire {
    /// Straight; the record of the socket is dropped before it.
    Tcp { _handle: Handle, stream: TcpStream },
    /// Through a proxy; a socket of ours lies under it.
    Tunnel(Box<TransportAdapter>),
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp { stream, .. } => stream.read(buf),
            Self::Tunnel(tunnel) => {
                tunnel.set_timeout(NextTimeout { after: TICK.into(), reason: ONE_TICK, ..NextTimeout::default() });
                tunnel.read(buf).map_err(silence)
            }
        }
    }
}

/// The reason of a limit that nothing else has: the read of a tunnel has waited for one [`TICK`].
const ONE_TICK: Timeout = Timeout::PerCall;

/// A tick of a tunnel, as a socket says it.
fn silence(fault: io::Error) -> io::Error {
    match fault.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Error::Timeout(ONE_TICK)) => io::ErrorKind::WouldBlock.into(),
        _ => fault,
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp { stream, .. } => stream.write(buf),
            Self::Tunnel(tunnel) => tunnel.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes' way, with or without TLS.
enum Link {
    Plain(Wire),
    Tls(Box<StreamOwned<ClientConnection, Wire>>),
    /// Given back.
    Gone,
}

impl Link {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buf),
            Self::Tls(stream) => stream.read(buf),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Whether nothing waits to be read, no end either; under TLS also nothing that has been decrypted already.
    fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(wire) => wire.is_quiet(),
            Self::Tls(stream) => {
                let state = stream.conn.process_new_packets();
                state.is_ok_and(|state| state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed()) && stream.sock.is_quiet()
            }
            Self::Gone => false,
        }
    }
}

impl Wire {
    fn is_quiet(&mut self) -> bool {
        match self {
            Self::Tcp { stream, .. } => is_quiet(stream),
            Self::Tunnel(tunnel) => tunnel.get_mut().is_open(),
        }
    }
}

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

/// Bytes read and not yet used.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

/// A connection to an upstream.
struct Socket {
    link: Link,
    input: Input,
    output: Vec<u8>,
    /// Bytes at the front of `output` that wait for what follows them.
    held: usize,
    /// The next write begins a request: its head.
    begins: bool,
    progress: bool,
    /// Where it waits between two exchanges. Without one it leads to a proxy and carries another connection, whose life it shares: it keeps
    /// its buffers, and what passes through it is no request or reply of the exchange.
    home: Option<(Arc<Idle<Link>>, PlaceId)>,
    /// The exchange has given it back whole.
    fit: bool,
    /// A write failed; the upstream may have answered before it stopped reading, so its reply is still looked for.
    broken: Option<io::Error>,
}

impl Socket {
    fn new(link: Link, home: Option<(Arc<Idle<Link>>, PlaceId)>) -> Self {
        let (input, output) = home.as_ref().and_then(|_| SPARE.take()).unwrap_or_default();
        let begins = home.is_some();
        let mut socket = Self { link, input, output, held: 0, begins, progress: false, home, fit: false, broken: None };
        socket.size_buffers();
        socket
    }

    fn size_buffers(&mut self) {
        if self.input.bytes.len() < INPUT {
            self.input.bytes.resize(INPUT, 0);
        }
        let output = (OWN_HEAD + Watch::room()).clamp(OUTPUT, OUTPUT_MAX);
        if self.output.len() < output {
            self.output.resize(output, 0);
        }
    }

    /// The head that ureq wrote, with the client's fields put in before its empty line; held until the body or the wait joins it.
    fn begin(&mut self, amount: usize) -> usize {
        const EMPTY_LINE: &[u8] = b"\r\n";
        Watch::with_fields(|fields| {
            if fields.is_empty() || !self.output[..amount].ends_with(b"\r\n\r\n") {
                return amount;
            }
            let at = amount - EMPTY_LINE.len();
            let whole = amount + fields.len();
            if self.output.len() < whole {
                self.output.resize(whole, 0);
            }
            self.output[at..at + fields.len()].copy_from_slice(fields);
            self.output[whole - EMPTY_LINE.len()..whole].copy_from_slice(EMPTY_LINE);
            whole
        })
    }

    /// Writes the front of the output buffer. The upstream may have answered and closed before it read everything (413, 401): a failed
    /// write is remembered, and the reply still looked for. A head is wiped behind it: its key is not to wander on with the buffer.
    fn write(&mut self, amount: usize) -> Result<(), Error> {
        let head = std::mem::take(&mut self.held);
        if self.broken.is_some() {
            return Ok(());
        }
        let written = self.link.write_all(&self.output[..amount]);
        self.output[..head].fill(0);
        match written {
            Ok(()) => Ok(()),
            // With a reply there, the upstream does not want the rest.
            Err(fault) if is_timeout(&fault) && self.link.is_quiet() => Err(Error::Timeout(Timeout::SendBody)),
            Err(fault) => {
                self.broken = Some(fault);
                Ok(())
            }
        }
    }

    /// The connection has ended while a reply was waited for.
    fn ended(&mut self, fault: Option<io::Error>) -> Result<bool, Error> {
        Watch::ended(fault.is_none())?;
        match self.broken.take().or(fault) {
            None => Ok(false),
            Some(fault) => Err(fault.into()),
        }
    }
}

/// Goes home, if it is fit; its buffers stay with the thread.
impl Drop for Socket {
    fn drop(&mut self) {
        let Some((idle, place)) = self.home.take() else { return };
        (self.input.from, self.input.to) = (0, 0);
        self.output[..self.held].fill(0);
        let buffers = (std::mem::take(&mut self.input), std::mem::take(&mut self.output));
        let _ = SPARE.try_with(|spare| spare.replace(Some(buffers)));
        if self.fit {
            idle.put(place, std::mem::replace(&mut self.link, Link::Gone));
        }
    }
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").finish_non_exhaustive()
    }
}

impl Buffers for Socket {
    fn output(&mut self) -> &mut [u8] {
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
            // A reply's head larger than the buffer.
            input.bytes.resize(input.bytes.len() + INPUT, 0);
        }
        &mut input.bytes[input.to..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.input.to += amount;
    }

    fn input_consume(&mut self, amount: usize) {
        self.progress = amount > 0;
        self.input.from += amount;
        Watch::buffered(self.input.from < self.input.to);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        // A streamed body is read through `tmp` into `output`; both must offer some room.
        if self.input.bytes.len() - self.input.to < INPUT {
            self.input.bytes.resize(self.input.to + INPUT, 0);
        }
        if self.output.len() - self.held < OWN_HEAD {
            self.output.resize(self.held + OUTPUT, 0);
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
        if std::mem::take(&mut self.begins) {
            self.held = self.begin(amount);
            return Ok(());
        }
        self.write(self.held + amount)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        if self.held > 0 {
            self.write(self.held)?;
        }
        if self.home.is_some() {
            Watch::wait();
        }
        if self.input().len() >= INPUT_MAX {
            return Err(io::Error::other("the reply holds a line without an end").into());
        }
        let mut waited = Duration::ZERO;
        loop {
            self.input_append_buf();
            let Input { bytes, to, .. } = &mut self.input;
            match self.link.read(&mut bytes[*to..]) {
                Ok(0) => return self.ended(None),
                Ok(read) => {
                    *to += read;
                    if self.home.is_some() {
                        Watch::reply_byte();
                    }
                    return Ok(true);
                }
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(fault) if is_timeout(&fault) => {
                    go_on()?;
                    waited += TICK;
                    if timeout.not_zero().is_some_and(|limit| waited >= *limit) {
                        return Err(Error::Timeout(timeout.reason));
                    }
                }
                Err(fault) => return self.ended(Some(fault)),
            }
        }
    }

    /// ureq asks when an exchange gives the connection back: its end has just been read, so it is fit without a system call; whether it
    /// still is when another takes it, one peek tells then. One that carries another is asked when that one is taken.
    fn is_open(&mut self) -> bool {
        let whole = self.broken.is_none() && self.input().is_empty();
        if self.home.is_none() {
            return whole && self.link.is_quiet();
        }
        self.fit = whole;
        whole
    }

    fn is_tls(&self) -> bool {
        matches!(self.link, Link::Tls(_))
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
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let mut found = self.empty();
        if let Some(address) = literal(host) {
            found.push(SocketAddr::new(address, port));
        } else {
            self.named(host, port)?.into_iter().take(16).for_each(|address| found.push(address));
        }
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

/// An address written out: it begins with a digit or a bracket (as some names do too).
fn literal(host: &str) -> Option<IpAddr> {
    host.starts_with(|first: char| first.is_ascii_digit() || first == '[').then(|| host.trim_matches(['[', ']']).parse().ok())?
}

impl CachingResolver {
    fn named(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let last = known().get(host).cloned();
        if let Some((addresses, at)) = &last
            && at.elapsed() < DNS_TTL
        {
            return Ok(with_port(addresses, port));
        }
        match look_up(format!("{host}:{port}")) {
            Ok(addresses) => {
                known().insert(host.to_string(), (addresses.clone(), Instant::now()));
                Ok(addresses)
            }
            Err(fault) => match last {
                Some((addresses, at)) if at.elapsed() < DNS_STALE => Ok(with_port(&addresses, port)),
                _ => Err(fault),
            },
        }
    }
}

fn with_port(addresses: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|address| SocketAddr::new(address.ip(), port)).collect()
}

/// Asks the system's resolver, within the time that the exchange has to connect.
fn look_up(host_and_port: String) -> Result<Vec<SocketAddr>, Error> {
    let limit = Watch::left_to_connect().unwrap_or(Duration::from_secs(10));
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

#[cfg(test)]
mod tests {
    use super::super::watch::Begin;
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_key_does_not_stay_in_the_write_buffer() {
        const FIELDS: &[u8] = b"x: y\r\nauthorization: Bearer sk-canary\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let stream = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
        let (mut upstream, _) = listener.accept().expect("accept");
        let limit = Duration::from_secs(10);
        let begin = Begin { client: None, connect: limit, first_byte: limit, room: 0 };
        Watch::begin(begin, |fields| fields.extend_from_slice(FIELDS));
        let mut socket = Socket::new(Link::Plain(Wire::Tcp { _handle: Handle::of(&stream), stream }), {
            let idle: Arc<Idle<Link>> = Arc::default();
            let place = idle.place(false, "here");
            Some((idle, place))
        });
        for part in [&b"POST / HTTP/1.1\r\n\r\n"[..], b"body"] {
            socket.output()[..part.len()].copy_from_slice(part);
            socket.transmit_output(part.len(), NextTimeout::default()).expect("sent");
        }
        let sent = [b"POST / HTTP/1.1\r\n", FIELDS, b"\r\nbody"].concat();
        let mut came = vec![0; sent.len()];
        upstream.read_exact(&mut came).expect("the request");
        assert_eq!(String::from_utf8_lossy(&came), String::from_utf8_lossy(&sent));
        assert!(memchr::memmem::find(&socket.output, b"sk-canary").is_none());
        Watch::end();
    }
}
