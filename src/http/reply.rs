//! The reply to a request, written once, in order.
//!
//! A reply is a head in a reused buffer and body bytes that are never copied: every write is one vectored system call. Framing is decided
//! here and nowhere else, so fields that would contradict it are dropped on the way.

use super::Violation;
use super::head::is_token_byte;
use super::link::Link;
use super::progress::{Progress, Reply};
use crate::call::Version;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::sync::Weak;

/// How a streamed reply is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    Length(u64),
    /// Unknown: chunked for HTTP/1.1, ended by close for 1.0.
    Chunked,
    /// No body follows the head: HEAD (with the `Content-Length` a GET would have had, if known), 204, 304.
    NoBody(Option<u64>),
}

/// The right to answer one request. Dropped unused, the server sends a 500, or the 4xx that tells how reading the body failed.
pub struct Responder<'a> {
    /// The reused buffer of the head.
    pub(super) out: &'a mut Vec<u8>,
    pub(super) sink: &'a mut (dyn Write + Send),
    pub(super) progress: &'a Progress<'a>,
    pub(super) version: Version,
    /// The request was a HEAD.
    pub(super) head_only: bool,
    pub(super) client: &'a Client,
    /// What an upgrade takes over; `None` where that can't be done.
    pub(super) handover: Option<Handover<'a>>,
}

/// What an upgrade takes over.
pub(super) struct Handover<'a> {
    pub(super) link: &'a Link,
    /// Bytes that came after the head.
    pub(super) read_ahead: &'a [u8],
}

impl<'a> Responder<'a> {
    /// Sends a whole reply in one write. `headers` must not hold framing fields; they are added. For HEAD the body is left out. A status
    /// that can't end an exchange (below 200, over 999) becomes a 500.
    ///
    /// # Errors
    /// The client can't be written to.
    pub fn send<'h>(self, status: u16, headers: impl IntoIterator<Item = (&'h str, &'h [u8])>, body: &[u8]) -> io::Result<()> {
        let mut stream = self.start(status, headers, Framing::Length(body.len() as u64));
        if let Mode::Length(left) = &mut stream.mode {
            *left = 0;
            stream.put([body, b"", b""])?;
        }
        stream.finish()
    }

    /// Begins a streamed reply. The head leaves with the first bytes of the body, or with [`Stream::flush`].
    pub fn start<'h>(self, status: u16, headers: impl IntoIterator<Item = (&'h str, &'h [u8])>, framing: Framing) -> Stream<'a> {
        let status = if (200..1000).contains(&status) { status } else { 500 };
        status_line(self.out, status);
        fields(self.out, headers);
        let mode = end_head(self.out, status, framing, self.head_only, self.version, self.progress);
        self.progress.set_reply(Reply::Decided);
        Stream { out: self.out, sink: self.sink, progress: self.progress, mode, head_pending: true, failed: false }
    }

    /// Answers `101 Switching Protocols` and hands the connection over: the socket and the bytes already read from it.
    ///
    /// `headers` must hold `Upgrade`; `Connection: Upgrade` is added. The socket comes without timeouts and is the caller's to close: the
    /// server never shuts it down by itself once [`Service::serve`](super::Service::serve) has returned. Until then the connection counts
    /// as a request under way, and stopping the server cuts it like any other; to outlive that, hand the socket to a thread of your own.
    ///
    /// # Errors
    /// The client can't be written to; the request has a body (no telling where the new protocol begins); `Unsupported`: the listener
    /// can't give its sockets away.
    pub fn upgrade<'h>(self, headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> io::Result<(TcpStream, Vec<u8>)> {
        let Some(Handover { link, read_ahead }) = self.handover else { return Err(io::ErrorKind::Unsupported.into()) };
        let socket = link.hand_over()?;
        status_line(self.out, 101);
        fields(self.out, headers);
        self.out.extend_from_slice(b"Connection: Upgrade\r\n\r\n");
        self.progress.close_after();
        self.progress.set_reply(Reply::Begun);
        write_parts(self.sink, &mut [IoSlice::new(self.out)])?;
        self.progress.set_reply(Reply::Upgraded);
        Ok((socket, read_ahead.to_vec()))
    }

    /// Whether [`Responder::upgrade`] has a connection to hand over: the request has no body, and the listener can give its sockets away.
    pub fn can_upgrade(&self) -> bool {
        self.handover.is_some()
    }

    /// The client's side of the connection, to be asked while nothing is written.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Closes the connection after this reply.
    pub fn close_after(&mut self) {
        self.progress.close_after();
    }
}

/// How body bytes go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// So many bytes of the announced length are left.
    Length(u64),
    Chunked,
    /// To the end of the connection.
    ToClose,
    /// Nowhere: the reply has no body.
    Mute,
}

/// A reply whose head is decided and whose body is under way. Dropped without [`Stream::finish`], the connection is closed so that the
/// client sees the reply broke off.
pub struct Stream<'a> {
    out: &'a mut Vec<u8>,
    sink: &'a mut (dyn Write + Send),
    progress: &'a Progress<'a>,
    mode: Mode,
    head_pending: bool,
    /// A write failed: nobody knows how much of it left, so nothing may follow.
    failed: bool,
}

impl Stream<'_> {
    /// Writes body bytes at once: one system call, the head included if it has not left yet, a chunk's size line and end included. Empty
    /// input writes nothing.
    ///
    /// # Errors
    /// The client can't be written to, or more than the announced length was given.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.put_body(bytes, b"\r\n")
    }

    /// Sends the head if it has not left yet.
    ///
    /// # Errors
    /// The client can't be written to.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.head_pending { self.put([b"", b"", b""]) } else { Ok(()) }
    }

    /// Whether any byte of the reply has left.
    pub fn started(&self) -> bool {
        !self.head_pending
    }

    /// Ends the reply: the final chunk, or nothing more where a length was announced.
    ///
    /// # Errors
    /// The client can't be written to, or fewer bytes than announced were written.
    pub fn finish(mut self) -> io::Result<()> {
        if self.mode == Mode::Chunked {
            self.put([b"0\r\n\r\n", b"", b""])?;
        }
        self.complete()
    }

    /// Like [`Stream::finish`], with the last bytes of the body in the same write.
    ///
    /// # Errors
    /// As [`Stream::finish`].
    pub fn finish_with(mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return self.finish();
        }
        self.put_body(bytes, b"\r\n0\r\n\r\n")?;
        self.complete()
    }

    /// Writes body bytes; `after` follows them if the reply is chunked.
    fn put_body(&mut self, bytes: &[u8], after: &[u8]) -> io::Result<()> {
        match &mut self.mode {
            Mode::Mute => Ok(()),
            Mode::ToClose => self.put([bytes, b"", b""]),
            Mode::Length(left) => {
                let rest = left.checked_sub(bytes.len() as u64);
                *left = rest.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "more bytes than the announced length"))?;
                self.put([bytes, b"", b""])
            }
            Mode::Chunked => {
                let mut line = [0; 18];
                let line = size_line(bytes.len(), &mut line);
                self.put([line, bytes, after])
            }
        }
    }

    /// Writes the head, if it has not left, and these parts.
    fn put(&mut self, [one, two, three]: [&[u8]; 3]) -> io::Result<()> {
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let head: &[u8] = if self.head_pending { self.out } else { b"" };
        if self.head_pending {
            self.head_pending = false;
            self.progress.set_reply(if self.mode == Mode::ToClose { Reply::BegunByClose } else { Reply::Begun });
        }
        let result = write_parts(self.sink, &mut [IoSlice::new(head), IoSlice::new(one), IoSlice::new(two), IoSlice::new(three)]);
        self.failed = result.is_err();
        result
    }

    fn complete(&mut self) -> io::Result<()> {
        self.flush()?;
        if let Mode::Length(1..) = self.mode {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "fewer bytes than the announced length"));
        }
        if self.failed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.progress.set_reply(Reply::Complete);
        Ok(())
    }
}

/// The client's side of a connection: can tell whether it has gone. Cheap to clone, `Send`.
#[derive(Clone)]
pub struct Client {
    /// Weak, so that whoever keeps it keeps no socket open.
    link: Option<Weak<Link>>,
}

impl Client {
    pub(super) fn new(link: Weak<Link>) -> Self {
        Self { link: Some(link) }
    }

    /// For a listener that can't watch its sockets.
    #[cfg(feature = "tiny_http")]
    pub(super) fn unwatched() -> Self {
        Self { link: None }
    }

    /// Whether the client has closed or reset its side (one non-blocking peek; pipelined bytes do not count as gone), or the server is
    /// stopping and cuts what is under way.
    pub fn gone(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.upgrade().is_none_or(|link| link.client_gone()))
    }
}

/// Writes the whole reply to a request that the server itself refuses; the connection ends after it.
pub(super) fn write_violation(
    out: &mut Vec<u8>,
    sink: &mut dyn Write,
    violation: Violation,
    body: &[u8],
    head_only: bool,
) -> io::Result<()> {
    status_line(out, violation.status);
    let kind: &[u8] = if body.starts_with(b"{") { b"application/json" } else { b"text/plain; charset=utf-8" };
    fields(out, [("Content-Type", kind)]);
    match violation.status {
        405 => fields(out, [("Allow", &b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"[..])]),
        503 => fields(out, [("Retry-After", &b"1"[..])]),
        _ => {}
    }
    length_field(out, body.len() as u64);
    out.extend_from_slice(b"Connection: close\r\n\r\n");
    write_parts(sink, &mut [IoSlice::new(out), IoSlice::new(if head_only { b"" } else { body })])
}

/// Writes everything; in the common case with one system call.
fn write_parts(sink: &mut dyn Write, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    let used = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
    parts = &mut parts[..used];
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match sink.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut parts, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Begins a head in `out`.
fn status_line(out: &mut Vec<u8>, status: u16) {
    out.clear();
    if status == 200 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Adds fields, less those that frame the message (they are ours) and those that could break it.
fn fields<'h>(out: &mut Vec<u8>, headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) {
    for (name, value) in headers {
        if is_framing(name) || !is_whole(name, value) {
            continue;
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
}

fn is_framing(name: &str) -> bool {
    match name.len() {
        10 => name.eq_ignore_ascii_case("connection"),
        14 => name.eq_ignore_ascii_case("content-length"),
        17 => name.eq_ignore_ascii_case("transfer-encoding"),
        _ => false,
    }
}

fn is_whole(name: &str, value: &[u8]) -> bool {
    !name.is_empty() && name.bytes().all(is_token_byte) && memchr::memchr3(b'\r', b'\n', 0, value).is_none()
}

/// Adds framing, `Connection` and the empty line. Where no body may follow (HEAD, 204, 304), none will, whatever was asked for.
fn end_head(out: &mut Vec<u8>, status: u16, framing: Framing, head_only: bool, version: Version, progress: &Progress<'_>) -> Mode {
    let mute = head_only || status == 204 || status == 304;
    let mode = match framing {
        Framing::Length(length) | Framing::NoBody(Some(length)) if mute => {
            // RFC 9110 8.6: never with 204; with 304 only what a 200 would have said, which an empty body does not tell.
            if head_only && status != 204 && status != 304 || status == 304 && length > 0 {
                length_field(out, length);
            }
            Mode::Mute
        }
        Framing::Chunked | Framing::NoBody(None) if mute => Mode::Mute,
        Framing::Length(length) => {
            length_field(out, length);
            Mode::Length(length)
        }
        Framing::NoBody(_) => {
            length_field(out, 0);
            Mode::Length(0)
        }
        Framing::Chunked if version == Version::Http10 => {
            progress.close_after();
            Mode::ToClose
        }
        Framing::Chunked => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            Mode::Chunked
        }
    };
    connection_field(out, version, progress);
    out.extend_from_slice(b"\r\n");
    mode
}

fn connection_field(out: &mut Vec<u8>, version: Version, progress: &Progress<'_>) {
    if !progress.keeps_alive() {
        // What was announced is kept, even if the body ends well after all.
        progress.close_after();
        out.extend_from_slice(b"Connection: close\r\n");
    } else if version == Version::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

fn length_field(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

/// `size` in hex and CRLF, written into the end of `line`.
fn size_line(mut size: usize, line: &mut [u8; 18]) -> &[u8] {
    let mut at = line.len() - 2;
    line[at..].copy_from_slice(b"\r\n");
    while size > 0 {
        at -= 1;
        line[at] = b"0123456789abcdef"[size & 15];
        size >>= 4;
    }
    &line[at..]
}

/// The reason phrase of a status; nobody reads it but people.
fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        529 => "Overloaded",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    /// Takes what is written, at most `most` bytes a call.
    struct Slow {
        taken: Vec<u8>,
        most: usize,
        calls: usize,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.most);
            self.taken.extend_from_slice(&bytes[..count]);
            self.calls += 1;
            Ok(count)
        }

        fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
            let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            self.write(&all)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `answer` puts on the wire, the number of writes it took, and how far the reply got.
    fn written(version: Version, head_only: bool, most: usize, answer: impl FnOnce(Responder<'_>)) -> (String, usize, Reply) {
        let (stopping, client) = (AtomicBool::new(false), Client { link: None });
        let progress = Progress::new(0, true, false, &stopping);
        let (mut out, mut sink) = (Vec::new(), Slow { taken: Vec::new(), most, calls: 0 });
        answer(Responder { out: &mut out, sink: &mut sink, progress: &progress, version, head_only, client: &client, handover: None });
        (String::from_utf8_lossy(&sink.taken).into_owned(), sink.calls, progress.reply())
    }

    const NONE: [(&str, &[u8]); 0] = [];

    #[test]
    fn a_whole_reply_is_one_write() {
        let (text, calls, reply) = written(Version::Http11, false, 9999, |reply| reply.send(200, [("A", &b"b"[..])], b"hi").unwrap());
        assert_eq!((text.as_str(), calls, reply), ("HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nhi", 1, Reply::Complete));
    }

    #[test]
    fn every_piece_of_a_stream_is_one_write() {
        let (text, calls, _) = written(Version::Http11, false, 9999, |reply| {
            let mut stream = reply.start(200, NONE, Framing::Chunked);
            stream.write(b"0123456789abcdef").unwrap();
            stream.write(b"").unwrap();
            stream.finish_with(b"end").unwrap();
        });
        let expected = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n3\r\nend\r\n0\r\n\r\n";
        assert_eq!((text.as_str(), calls), (expected, 2));
    }

    #[test]
    fn short_writes_give_the_same_bytes() {
        let answer = |reply: Responder<'_>| {
            let mut stream = reply.start(201, [("X", &b"y"[..])], Framing::Chunked);
            stream.write(b"hello").unwrap();
            stream.finish().unwrap();
        };
        let (whole, ..) = written(Version::Http11, false, 9999, answer);
        for most in 1..whole.len() {
            assert_eq!(written(Version::Http11, false, most, answer).0, whole, "{most} bytes a write");
        }
    }

    #[test]
    fn framing_fields_and_broken_fields_are_dropped() {
        let fields = [
            ("Content-Length", &b"9"[..]),
            ("transfer-encoding", b"x"),
            ("Connection", b"y"),
            ("A\r\nB", b"c"),
            ("A", b"b\r\nC: d"),
            ("N", b"\0"),
            ("", b"v"),
            ("Keep", b"\xff"),
        ];
        let (text, ..) = written(Version::Http11, false, 9999, |reply| reply.send(404, fields, b"").unwrap());
        assert_eq!(text, "HTTP/1.1 404 Not Found\r\nKeep: \u{fffd}\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn replies_without_a_body() {
        for (head_only, status, framing, field) in [
            (true, 200, Framing::Length(5), "Content-Length: 5\r\n"),
            (true, 200, Framing::NoBody(None), ""),
            (true, 200, Framing::Chunked, ""),
            (false, 204, Framing::Length(5), ""),
            (false, 304, Framing::NoBody(Some(7)), "Content-Length: 7\r\n"),
            (false, 304, Framing::Length(0), ""),
            (false, 200, Framing::NoBody(Some(7)), "Content-Length: 0\r\n"),
        ] {
            let (text, _, reply) = written(Version::Http11, head_only, 9999, |reply| {
                let mut stream = reply.start(status, NONE, framing);
                let _ = stream.write(b"hello");
                stream.finish().unwrap();
            });
            let (head, body) = text.split_once("\r\n").unwrap_or_default();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{head}");
            assert_eq!((body, reply), (format!("{field}\r\n").as_str(), Reply::Complete), "{status} {framing:?}");
        }
    }

    #[test]
    fn an_old_client_gets_a_reply_that_ends_by_close() {
        let (text, _, reply) = written(Version::Http10, false, 9999, |reply| {
            reply.start(200, NONE, Framing::Chunked).write(b"part").unwrap();
        });
        assert_eq!((text.as_str(), reply), ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart", Reply::BegunByClose));
        let (text, ..) = written(Version::Http10, false, 9999, |reply| reply.send(200, NONE, b"").unwrap());
        assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    }

    #[test]
    fn an_announced_length_is_kept() {
        let (.., reply) = written(Version::Http11, false, 9999, |reply| {
            let mut stream = reply.start(200, NONE, Framing::Length(3));
            assert!(stream.write(b"four").is_err());
            stream.write(b"1").unwrap();
            assert!(stream.finish().is_err());
        });
        assert_eq!(reply, Reply::Begun);
    }

    #[test]
    fn an_interim_status_never_ends_an_exchange() {
        let (text, ..) = written(Version::Http11, false, 9999, |reply| reply.send(100, NONE, b"").unwrap());
        assert!(text.starts_with("HTTP/1.1 500 "), "{text}");
    }
}
