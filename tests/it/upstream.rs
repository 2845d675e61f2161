//! A provider on loopback that does what its script says, byte by byte, and remembers what it was sent.

use super::WAIT;
use super::framing::Head;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    /// The connection it came on, from 0.
    pub(crate) connection: usize,
    /// Its head.
    pub(crate) head: Head,
    /// Its body, decoded.
    pub(crate) body: Vec<u8>,
    /// Everything as it came.
    pub(crate) raw: Vec<u8>,
}

/// What the provider has seen.
#[derive(Default)]
pub(crate) struct Log {
    /// Connections accepted.
    pub(crate) connections: usize,
    /// TLS handshakes that succeeded.
    pub(crate) handshakes: usize,
    /// Connections that [`Conn::eof`] saw closed by the other side.
    pub(crate) closed: usize,
    /// Whole requests (and heads, by [`Conn::head`]), in order of arrival.
    pub(crate) requests: Vec<Recorded>,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
    closing: AtomicBool,
    sockets: Mutex<HashMap<usize, TcpStream>>,
}

impl Shared {
    fn note<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log.lock().expect("log"));
        self.changed.notify_all();
        result
    }
}

/// The provider. Dropped, it closes everything.
pub(crate) struct Upstream {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Upstream {
    /// Runs `script` for each connection, in a thread of its own; the connection closes when the script returns.
    pub(crate) fn start(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        Self::with_tls(None, script)
    }

    /// The same behind TLS.
    pub(crate) fn start_tls(tls: Arc<rustls::ServerConfig>, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        Self::with_tls(Some(tls), script)
    }

    /// Answers every request with what `answer` makes of it, on connections that stay open.
    pub(crate) fn answering(answer: impl Fn(&Recorded) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |conn| {
            while let Some(request) = conn.request() {
                conn.send(&answer(&request));
            }
        })
    }

    /// Answers every request with the same bytes.
    pub(crate) fn saying(reply: impl Into<Vec<u8>>) -> Self {
        let reply = reply.into();
        Self::answering(move |_| reply.clone())
    }

    fn with_tls(tls: Option<Arc<rustls::ServerConfig>>, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::<Shared>::default();
        let (sharing, script) = (shared.clone(), Arc::new(script));
        let accepting = thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                if sharing.closing.load(SeqCst) {
                    return;
                }
                let (shared, script, tls) = (sharing.clone(), script.clone(), tls.clone());
                thread::spawn(move || {
                    if let Some(mut conn) = Conn::open(socket, tls, shared) {
                        script(&mut conn);
                    }
                });
            }
        });
        Self { address, scheme, shared, accepting: Some(accepting) }
    }

    /// Its address as a setting.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Looks at what it has seen.
    pub(crate) fn log<T>(&self, look: impl FnOnce(&Log) -> T) -> T {
        look(&self.shared.log.lock().expect("log"))
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.log(|log| log.requests.clone())
    }

    /// The only request so far.
    pub(crate) fn request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests: {requests:?}");
        requests.remove(0)
    }

    /// Waits until what it has seen is as wanted.
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Log) -> bool) {
        let log = self.shared.log.lock().expect("log");
        let (_log, waited) = self.shared.changed.wait_timeout_while(log, WAIT, |log| !wanted(log)).expect("log");
        assert!(!waited.timed_out(), "waited in vain: {what}");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.closing.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(thread::JoinHandle::join);
        for socket in self.shared.sockets.lock().expect("sockets").values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// One connection, as its script sees it.
pub(crate) struct Conn {
    /// Which one it is, from 0.
    pub(crate) number: usize,
    wire: Box<dyn Wire>,
    socket: TcpStream,
    unread: Vec<u8>,
    shared: Arc<Shared>,
}

impl Conn {
    fn open(socket: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, shared: Arc<Shared>) -> Option<Self> {
        socket.set_nodelay(true).ok()?;
        let number = shared.note(|log| {
            log.connections += 1;
            log.connections - 1
        });
        shared.sockets.lock().expect("sockets").insert(number, socket.try_clone().ok()?);
        let (again, wire) = (socket.try_clone().ok()?, wrap(socket, tls, &shared)?);
        Some(Self { number, wire, socket: again, unread: Vec::new(), shared })
    }

    /// Reads one request; `None` when the connection ends before it is whole.
    pub(crate) fn request(&mut self) -> Option<Recorded> {
        loop {
            if let Some(head) = Head::parse(&self.unread) {
                let body = head.request_body(&self.unread[head.length..]);
                if let Some(end) = body.end {
                    let raw: Vec<u8> = self.unread.drain(..head.length + end).collect();
                    return Some(self.record(head, body.data, raw));
                }
            }
            self.fill()?;
        }
    }

    /// Reads a request's head and leaves its body.
    pub(crate) fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(head) = Head::parse(&self.unread) {
                let raw = self.unread.drain(..head.length).collect();
                return Some(self.record(head, Vec::new(), raw).head);
            }
            self.fill()?;
        }
    }

    /// Sends bytes; false when the other side has gone.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.wire.write_all(bytes).and_then(|()| self.wire.flush()).is_ok()
    }

    /// Reads until the other side closes.
    pub(crate) fn eof(&mut self) {
        while self.fill().is_some() {}
        self.shared.note(|log| log.closed += 1);
    }

    /// Reads until `text` has come, through whatever framing there is.
    pub(crate) fn until(&mut self, text: &[u8]) {
        while super::framing::find(&self.unread, text).is_none() && self.fill().is_some() {}
    }

    /// Everything that comes until the other side closes, after what was read so far.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill().is_some() {}
        std::mem::take(&mut self.unread)
    }

    /// Closes now.
    pub(crate) fn shut(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Makes the close at the script's end a reset.
    pub(crate) fn reset(&mut self) {
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).expect("linger");
    }

    fn record(&self, head: Head, body: Vec<u8>, raw: Vec<u8>) -> Recorded {
        let recorded = Recorded { connection: self.number, head, body, raw };
        self.shared.note(|log| log.requests.push(recorded.clone()));
        recorded
    }

    fn fill(&mut self) -> Option<()> {
        let mut buf = vec![0; 64 << 10];
        let count = self.wire.read(&mut buf).ok().filter(|count| *count > 0)?;
        self.unread.extend_from_slice(&buf[..count]);
        Some(())
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        // The copy of the socket that `Upstream` keeps must not hold the connection open.
        self.shared.sockets.lock().expect("sockets").remove(&self.number);
        let linger = socket2::SockRef::from(&self.socket).linger().ok().flatten();
        if linger.is_none() {
            let _ = self.wire.flush();
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }
}

/// Does the TLS handshake, if there is one to do.
fn wrap(mut socket: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, shared: &Shared) -> Option<Box<dyn Wire>> {
    let Some(tls) = tls else { return Some(Box::new(socket)) };
    let mut session = rustls::ServerConnection::new(tls).ok()?;
    while session.is_handshaking() {
        session.complete_io(&mut socket).ok().filter(|(read, written)| read + written > 0)?;
    }
    shared.note(|log| log.handshakes += 1);
    Some(Box::new(rustls::StreamOwned::new(session, socket)))
}

/// A reply with a length.
pub(crate) fn reply(status: u16, fields: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut raw = format!("HTTP/1.1 {status} Status\r\n{fields}content-length: {}\r\n\r\n", body.len()).into_bytes();
    raw.extend_from_slice(body);
    raw
}

/// A 200 with a JSON body.
pub(crate) fn json(body: &str) -> Vec<u8> {
    reply(200, "content-type: application/json\r\n", body)
}

/// The head of a chunked reply.
pub(crate) fn chunked_head(status: u16, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Status\r\n{fields}transfer-encoding: chunked\r\n\r\n").into_bytes()
}

/// The head of an event stream.
pub(crate) fn sse_head() -> Vec<u8> {
    chunked_head(200, "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n")
}

/// Whether the error of a connection means that the other side went away.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | BrokenPipe | ConnectionAborted | UnexpectedEof)
}
