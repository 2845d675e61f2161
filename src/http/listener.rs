//! The listener: accepts, counts, stops.
//!
//! One thread accepts and never waits for anything else: who can't be served is told so with a write that does not block. Stopping wakes
//! it, closes who waits, lets who works finish, cuts the rest, and joins everybody.

use super::connection::{self, Serving};
use super::handles::Handle;
use super::limits::LONGEST;
use super::link::Link;
use super::registry::{Entered, Registry};
use super::reply;
use super::{ServerLimits, Service, Violation};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Enough for a request's journey, TLS to the upstream included; a thousand connections take 256 MiB of addresses, not of memory.
const STACK_BYTES: usize = 256 << 10;

/// The pause after an accept that failed for want of descriptors or memory: they come back when a connection ends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// A running server. Dropped, it stops with no time to drain.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Mutex<Option<Acceptor>>,
    /// The process that started it: in a forked child there is no thread to join, and the sockets are the parent's.
    process: u32,
}

/// The accepting thread, and the socket to wake it by.
struct Acceptor {
    thread: JoinHandle<()>,
    /// Dropped before the socket.
    handle: Handle,
    listener: TcpListener,
}

struct Shared {
    serving: Serving,
    registry: Registry,
    /// The name of the connections' threads.
    thread_name: String,
}

/// What [`Server::stop`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// Requests under way that ended by themselves within the time to drain.
    pub drained: usize,
    /// Requests that were cut.
    pub cut: usize,
}

impl Server {
    /// Binds `host:port` (0 = any) with a backlog of 1024 and listens; when it returns, clients can connect. `host` is an address (IPv6 with
    /// or without brackets) or a name; of a name's addresses the first that can be bound is taken, IPv4 before IPv6.
    ///
    /// # Errors
    /// The address can't be resolved or bound.
    pub fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match bind(address) {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Serves connections of `listener`, a thread each (named `http:PORT`).
    ///
    /// # Errors
    /// The accepting thread can't be started.
    pub fn start(listener: TcpListener, limits: ServerLimits, service: Arc<dyn Service>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(false)?;
        let serving = Serving { limits: limits.summable(), service, stopping: AtomicBool::new(false) };
        let shared = Arc::new(Shared { serving, registry: Registry::default(), thread_name: format!("http:{}", address.port()) });
        let (accepting, own) = (listener.try_clone()?, Arc::clone(&shared));
        let handle = Handle::of(&listener);
        let thread = thread_builder(&shared).spawn(move || accept(&accepting, &own))?;
        let acceptor = Mutex::new(Some(Acceptor { thread, handle, listener }));
        Ok(Self { shared, address, acceptor, process: std::process::id() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.shared.registry.connections()
    }

    /// Stops: accepts no more, closes idle connections at once, waits up to `drain` for requests under way, then cuts them; joins every
    /// thread before it returns. A second call does nothing (one at the same time waits for the first).
    ///
    /// A cut request sees its reads and writes fail and [`Client::gone`](super::Client::gone) answer true; a service that heeds neither
    /// keeps this waiting. Called from a request's own thread, it waits for all but that one. In a forked child it does nothing.
    pub fn stop(&self, drain: Duration) -> StopReport {
        let nothing = StopReport { drained: 0, cut: 0 };
        if std::process::id() != self.process {
            return nothing;
        }
        let mut acceptor = self.acceptor.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Acceptor { thread, handle, listener }) = acceptor.take() else { return nothing };
        self.shared.serving.stopping.store(true, SeqCst);
        wake(&listener, self.address, &thread);
        let _ = thread.join();
        drop(handle);
        drop(listener);
        let registry = &self.shared.registry;
        let busy = registry.close_idle();
        let cut = if registry.wait_until_left(Instant::now() + drain.min(LONGEST)) { 0 } else { registry.cut() };
        registry.join_all();
        StopReport { drained: busy.saturating_sub(cut), cut }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait for the last connections' TIME_WAIT. Elsewhere the option means something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn thread_builder(shared: &Shared) -> thread::Builder {
    thread::Builder::new().name(shared.thread_name.clone()).stack_size(STACK_BYTES)
}

/// The accepting thread.
fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let _handle = Handle::of(listener);
    loop {
        let accepted = listener.accept();
        if shared.serving.stopping.load(SeqCst) {
            return;
        }
        match accepted {
            Ok((socket, _)) => receive(socket, shared),
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
            Err(error) => {
                log::warn!("accept connection: {error}");
                thread::sleep(ACCEPT_PAUSE);
            }
        }
    }
}

fn receive(socket: TcpStream, shared: &Arc<Shared>) {
    // A socket that takes no options has lost its client already.
    let Ok(link) = Link::new(socket, &shared.serving.limits) else { return };
    let link = Arc::new(link);
    if shared.registry.connections() >= shared.serving.limits.max_connections {
        return turn_away(link, shared, "too_many_connections");
    }
    let entered = shared.registry.enter(Arc::clone(&link), |first| {
        let own = Arc::clone(shared);
        thread_builder(shared).spawn(move || work(first, &own))
    });
    if let Err(error) = entered {
        log::warn!("start connection thread: {error}");
        turn_away(link, shared, "out_of_threads");
    }
}

/// A connection's thread, and that of those after it.
fn work(first: Entered, shared: &Shared) {
    let _ending = OnDrop(|| shared.registry.end_thread());
    let mut next = Some(first);
    while let Some(Entered { number, link }) = next {
        // Off the list first, then closed: a client that sees the end finds room to come again.
        let leaving = OnDrop(|| shared.registry.leave(number));
        connection::serve(&link, &shared.serving);
        drop(leaving);
        drop(link);
        next = shared.registry.next();
    }
}

/// Calls when dropped, so that no panic leaves anything on a list.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Tells a client that there is no room, without waiting for it.
fn turn_away(link: Arc<Link>, shared: &Shared, code: &'static str) {
    let violation = Violation { status: 503, code, message: "too many connections; try again in a moment" };
    let body = shared.serving.violation_body(violation, b"");
    if link.set_nonblocking().is_ok() {
        let _ = reply::write_violation(&mut Vec::new(), &mut &*link, violation, &body, false);
        link.close_write();
        shared.registry.part(link);
    }
}

/// Gets the accepting thread out of its wait. On Linux, shutting the listening socket down does; elsewhere a connection to ourselves.
fn wake(listener: &TcpListener, address: SocketAddr, thread: &JoinHandle<()>) {
    let _ = socket2::SockRef::from(listener).shutdown(std::net::Shutdown::Both);
    let target = SocketAddr::new(reachable(address.ip()), address.port());
    while !thread.is_finished() {
        // It may take no connection for want of descriptors; it looks at the flag after every failure, so trying again is enough.
        let _ = TcpStream::connect_timeout(&target, ACCEPT_PAUSE);
        thread::yield_now();
    }
}

/// An address of this machine that reaches a listener on `ip`.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}
