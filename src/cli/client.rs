//! The smallest HTTP/1.1 client that `ask`, `demo` and `doctor` need: one loopback connection, one POST or GET at a time, replies with
//! `Content-Length`, in chunks, or up to the close. Not the way to a provider: that is `proxy`.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Bytes of a reply's head.
const MOST_HEAD: usize = 64 << 10;
/// Bytes of a line within the body: a chunk's size, an event's field.
const MOST_LINE: u64 = 32 << 20;

/// A connection that is kept between requests.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

/// The head of a reply; its body is read from [`Body`].
pub(super) struct Head {
    pub status: u16,
    /// What the router says of an output limit that it lowered.
    pub clamped: Option<String>,
    length: Left,
}

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Bytes(u64),
    /// Bytes of the chunk under way; zero: its size line comes next.
    Chunk(u64),
    /// Everything up to the close.
    ToClose,
    Nothing,
}

impl Connection {
    /// Connects; no read or write waits longer than `silence`.
    pub(super) fn open(address: SocketAddr, connect: Duration, silence: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, connect)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(silence))?;
        stream.set_write_timeout(Some(silence))?;
        Ok(Self { stream: BufReader::with_capacity(16 << 10, stream) })
    }

    /// Sends a request and reads the reply's head.
    pub(super) fn send(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> io::Result<(Head, Body<'_>)> {
        let host = self.stream.get_ref().peer_addr()?;
        let mut message = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in fields {
            message += &format!("{name}: {value}\r\n");
        }
        message += "\r\n";
        let mut message = message.into_bytes();
        message.extend_from_slice(body);
        self.stream.get_mut().write_all(&message)?;
        let head = self.head()?;
        let left = head.length;
        Ok((head, Body { from: &mut self.stream, left }))
    }

    fn head(&mut self) -> io::Result<Head> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let read = (&mut self.stream).take(MOST_HEAD as u64).read_until(b'\n', &mut bytes)?;
            if read == 0 {
                return Err(broken("the connection was closed before a reply"));
            }
            if bytes.len() >= MOST_HEAD {
                return Err(broken("the reply's head is too long"));
            }
        }
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Response::new(&mut fields);
        let status = match parsed.parse(&bytes) {
            Ok(httparse::Status::Complete(_)) => parsed.code.unwrap_or_default(),
            _ => return Err(broken("the reply is not HTTP")),
        };
        let clamped = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case("x-iron-clamped"));
        let clamped = clamped.map(|field| String::from_utf8_lossy(field.value).into_owned());
        Ok(Head { status, clamped, length: length_of(status, parsed.headers)? })
    }
}

/// How the body is delimited (RFC 9112 6.3).
fn length_of(status: u16, fields: &[httparse::Header<'_>]) -> io::Result<Left> {
    let value = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    if matches!(status, 204 | 304) {
        return Ok(Left::Nothing);
    }
    if value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        return Ok(Left::Chunk(0));
    }
    match value("content-length") {
        Some(value) => {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            length.map(Left::Bytes).ok_or_else(|| broken("the reply's length is malformed"))
        }
        None => Ok(Left::ToClose),
    }
}

/// The body of a reply. A body that breaks off is an error, never an end.
pub(super) struct Body<'c> {
    from: &'c mut BufReader<TcpStream>,
    left: Left,
}

impl Body<'_> {
    /// All of it.
    pub(super) fn all(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The size line of the next chunk; the last one ends the body, its trailer section is skipped.
    fn next_chunk(&mut self) -> io::Result<()> {
        let line = line(self.from)?.ok_or_else(|| broken("the reply broke off"))?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| broken("a chunk's size is malformed"))?;
        if size > 0 {
            self.left = Left::Chunk(size);
            return Ok(());
        }
        self.left = Left::Nothing;
        while !line_or_cut(self.from)?.is_empty() {}
        Ok(())
    }
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == Left::Chunk(0) {
            self.next_chunk()?;
        }
        let most = match self.left {
            Left::Nothing | Left::Bytes(0) => return Ok(0),
            Left::ToClose => u64::MAX,
            Left::Bytes(left) | Left::Chunk(left) => left,
        };
        let room = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.from.read(&mut buffer[..room])?;
        if read == 0 && room > 0 && self.left != Left::ToClose {
            return Err(broken("the reply broke off"));
        }
        match &mut self.left {
            Left::Bytes(left) => *left -= read as u64,
            Left::Chunk(left) => {
                *left -= read as u64;
                if *left == 0 && !line_or_cut(self.from)?.is_empty() {
                    return Err(broken("a chunk is longer than its size"));
                }
            }
            Left::ToClose | Left::Nothing => {}
        }
        Ok(read)
    }
}

/// The events of a `text/event-stream` body: name and data.
pub(super) struct Events<'c> {
    body: BufReader<Body<'c>>,
}

/// One event; the name is empty when none was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub name: String,
    pub data: String,
}

impl<'c> Events<'c> {
    pub(super) fn new(body: Body<'c>) -> Self {
        Self { body: BufReader::new(body) }
    }

    /// The next event; `None` at the body's end.
    pub(super) fn next(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event { name: String::new(), data: String::new() };
        while let Some(line) = line(&mut self.body)? {
            match line.split_once(':') {
                None if line.is_empty() && !event.data.is_empty() => return Ok(Some(event)),
                Some(("event", name)) => event.name = name.trim_start().into(),
                Some(("data", data)) => {
                    if !event.data.is_empty() {
                        event.data.push('\n');
                    }
                    event.data += data.strip_prefix(' ').unwrap_or(data);
                }
                // Comments, `id`, `retry`, blank lines between events.
                _ => {}
            }
        }
        Ok(None)
    }
}

/// One line without its end; `None` at the end of input.
fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    from.take(MOST_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(broken("the reply broke off"));
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map(Some).map_err(|_| broken("the reply is not UTF-8"))
}

fn line_or_cut(from: &mut impl BufRead) -> io::Result<String> {
    line(from)?.ok_or_else(|| broken("the reply broke off"))
}

fn broken(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// A failure of the connection in words.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer within the time limit".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A connection to a server that answers anything with these bytes and closes.
    fn answered_with(reply: &'static str) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("accept");
            let mut head = [0; 4096];
            let _ = client.read(&mut head);
            let _ = client.write_all(reply.as_bytes());
        });
        Connection::open(address, Duration::from_secs(10), Duration::from_secs(10)).expect("connect")
    }

    fn body(reply: &'static str) -> io::Result<String> {
        let mut connection = answered_with(reply);
        let (_, body) = connection.send("GET", "/", &[], b"")?;
        body.all().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    #[test]
    fn bodies_of_every_length() {
        for (reply, want) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc", "abc"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nt: 1\r\n\r\n", "abc"),
            ("HTTP/1.1 200 OK\r\n\r\nabc", "abc"),
            ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        ] {
            assert_eq!(body(reply).ok().as_deref(), Some(want), "{reply}");
        }
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        for reply in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(body(reply).is_err(), "{reply}");
        }
    }

    #[test]
    fn events() -> io::Result<()> {
        let reply = "HTTP/1.1 200 OK\r\n\r\n: ping\n\nevent: a\ndata: 1\ndata: 2\n\ndata:x\r\n\r\n";
        let mut connection = answered_with(reply);
        let (_, body) = connection.send("GET", "/", &[], b"")?;
        let mut events = Events::new(body);
        assert_eq!(events.next()?, Some(Event { name: "a".into(), data: "1\n2".into() }));
        assert_eq!(events.next()?, Some(Event { name: String::new(), data: "x".into() }));
        assert_eq!(events.next()?, None);
        Ok(())
    }
}
