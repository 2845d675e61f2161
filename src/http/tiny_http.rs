//! The same [`Service`] behind the crate `tiny_http`: the listener of the design card, kept as a choice and as a demonstration.
//!
//! Our framing rules are applied to what it lets through, and replies are framed by us. What it can't give is not given: its sockets can't
//! be watched, closed or handed over, and what a service leaves of a chunked body it would take for the next request (so it is read to its
//! end here, however long). So [`Client::gone`] is always false, an upgrade is `Unsupported`, a reply that broke off leaves the
//! client waiting, limits of time and of connections don't hold, and its own threads outlive [`TinyServer::stop`] while clients stay
//! connected. `tests/why_not_tiny_http.rs` shows its faults.

use super::body::{Ahead, Body, Coding};
use super::connection::Serving;
use super::head;
use super::progress::{Progress, Reply};
use super::reply::{self, Client, Responder};
use super::{ServerLimits, Service, Violation};
use crate::call::{BodyLength, Inbound, Version};
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use tiny_http::Request;

/// The buffer between its reader and a service.
const BUFFER_BYTES: usize = 8 << 10;

/// A running `tiny_http` server. Dropped, it stops.
pub struct TinyServer {
    server: Arc<tiny_http::Server>,
    serving: Arc<Serving>,
    address: SocketAddr,
    receiver: Mutex<Option<JoinHandle<()>>>,
}

impl TinyServer {
    /// Serves connections of `listener`, a thread a request. Of `limits`, those of a target's size and a body's time hold.
    ///
    /// # Errors
    /// The listener is not a TCP one any more, or the receiving thread can't be started.
    pub fn start(listener: TcpListener, limits: ServerLimits, service: Arc<dyn Service>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let server = Arc::new(tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?);
        let serving = Arc::new(Serving { limits: limits.summable(), service, stopping: AtomicBool::new(false) });
        let (receiving, shared) = (Arc::clone(&server), Arc::clone(&serving));
        let receiver = thread::Builder::new().name("tiny-http".into()).spawn(move || receive(&receiving, &shared))?;
        Ok(Self { server, serving, address, receiver: Mutex::new(Some(receiver)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests and waits for those under way. A second call does nothing.
    pub fn stop(&self) {
        self.serving.stopping.store(true, SeqCst);
        if let Some(receiver) = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.server.unblock();
            let _ = receiver.join();
        }
    }
}

impl Drop for TinyServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The receiving thread; the scope joins the requests' threads.
fn receive(server: &tiny_http::Server, serving: &Serving) {
    thread::scope(|scope| {
        while !serving.stopping.load(SeqCst) {
            // An error is what `unblock` makes of a wait.
            let Ok(request) = server.recv() else { continue };
            // Without a thread the request is dropped, which answers 500.
            let _ = thread::Builder::new().spawn_scoped(scope, || answer(request, serving));
        }
    });
}

fn answer(request: Request, serving: &Serving) {
    let (method, target) = (request.method().to_string(), request.url().to_string());
    let (fields, version) = (request.headers().to_vec(), version(&request));
    let headers: Vec<httparse::Header<'_>> = fields
        .iter()
        .map(|field| httparse::Header { name: field.field.as_str().as_str(), value: field.value.as_str().as_bytes() })
        .collect();
    let slot = Mutex::new(Some(request));
    let mut sink = Sink { slot: &slot, writer: None };
    match head::check(&method, &target, version, &headers, &serving.limits) {
        Ok(head) => serve(&head.inbound, head.keep_alive, &slot, &mut sink, serving),
        Err(violation) => refuse(violation, &mut sink, serving, method == "HEAD"),
    }
}

fn version(request: &Request) -> Version {
    if *request.http_version() == (1, 0) { Version::Http10 } else { Version::Http11 }
}

fn serve(inbound: &Inbound<'_>, keep_alive: bool, slot: &Mutex<Option<Request>>, sink: &mut Sink<'_>, serving: &Serving) {
    let coding = match inbound.length {
        BodyLength::Chunked => Coding::Decoded,
        length => Coding::of(length),
    };
    let (mut buffer, mut source, client) = (vec![0; BUFFER_BYTES], Source(slot), Client::unwatched());
    // What is left of a body is its business, and `100 Continue` too.
    let progress = Progress::new(0, keep_alive, false, &serving.stopping);
    let mut body = Body::new(coding, Ahead { bytes: &mut buffer, start: 0, end: 0 }, &mut source, &progress, serving.limits.body_timeout);
    let (mut out, head_only) = (Vec::new(), inbound.method == "HEAD");
    let responder =
        Responder { out: &mut out, sink, progress: &progress, version: inbound.version, head_only, client: &client, handover: None };
    let panicked = catch_unwind(AssertUnwindSafe(|| serving.service.serve(inbound, &mut body, responder))).is_err();
    if progress.reply() == Reply::None || panicked && progress.reply() == Reply::Decided {
        refuse(progress.violation(), sink, serving, head_only);
    }
}

fn refuse(violation: Violation, sink: &mut Sink<'_>, serving: &Serving, head_only: bool) {
    let body = serving.violation_body(violation, b"");
    let _ = reply::write_violation(&mut Vec::new(), sink, violation, &body, head_only);
}

/// Its request, which is reader and writer at once until the first byte of the reply.
struct Source<'a>(&'a Mutex<Option<Request>>);

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(request) => request.as_reader().read(buf),
            None => Ok(0),
        }
    }
}

struct Sink<'a> {
    slot: &'a Mutex<Option<Request>>,
    writer: Option<Box<dyn Write + Send>>,
}

impl Sink<'_> {
    fn writer(&mut self) -> io::Result<&mut Box<dyn Write + Send>> {
        if self.writer.is_none() {
            let request = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.writer = request.map(|mut request| {
                skip_chunks(&mut request);
                request.into_writer()
            });
        }
        self.writer.as_mut().ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

/// Reads a chunked body to its end. Fixed lengths it skips by itself; after `Connection: upgrade` it reads no further request, and its reader
/// has no end.
fn skip_chunks(request: &mut Request) {
    let names = |field: &'static str| request.headers().iter().filter(move |header| header.field.equiv(field));
    let upgrade = names("Connection").any(|header| header.value.as_str().to_ascii_lowercase().contains("upgrade"));
    if names("Transfer-Encoding").next().is_some() && !upgrade {
        let _ = io::copy(request.as_reader(), &mut io::sink());
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// All parts, and out: its writer keeps up to 1 KiB back.
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let writer = self.writer()?;
        for part in parts {
            writer.write_all(part)?;
        }
        writer.flush()?;
        Ok(parts.iter().map(|part| part.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer()?.flush()
    }
}
